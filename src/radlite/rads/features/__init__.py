"""What a report says in the words of a guideline's decision table, as far as a light extractor can tell.

A check of a model's answer, never an answer: where a fact that the table needs is not found, there is no ruling. One
file a system, as in `radlite.rads.rules`; its function `records` gives a record for each lesion of a report, and None
for a lesion of which too little is said.
"""

import importlib
from dataclasses import dataclass
from typing import Any

from radlite.errors import UserError
from radlite.rads.features.said import Said, read
from radlite.rads.rules import Ruling
from radlite.rads.severity import parent
from radlite.rads.table import category, systems

__all__ = ["Check", "Said", "check", "disagreement", "read"]


@dataclass(frozen=True, slots=True)
class Check:
    """The gravest ruling that the findings of a report reach."""

    ruling: Ruling
    complete: bool
    """Every lesion that was seen has a ruling; else the category may be higher, but not lower."""


def check(report: str, system: str, scale: str | None = None) -> Check | None:
    """What the rule of `system` makes of the findings in `report`; None where too little of them is found.

    With `scale` rulings on another one do not count: a benign cyst beside a treated tumor of the liver.
    """
    if system not in systems():
        return None
    extractor, rules = (_module(room, system) for room in ("features", "rules"))
    rulings = [record and _ruled(rules, record) for record in extractor.records(read(report))]
    reached = [ruling for ruling in rulings if ruling]
    counted = [ruling for ruling in reached if scale in (None, _scale(ruling))]
    return Check(max(counted, key=_gravity), len(reached) == len(rulings)) if counted else None


def disagreement(report: str, answer: str) -> Ruling | None:
    """The ruling that differs from the category `answer` in what is done next; None if there is none, or no ruling."""
    given = category(answer)
    found = check(report, given.system, given.scale) if given else None
    ruled = found and category(found.ruling.category)
    if not found or not given or not ruled or parent(answer) == parent(ruled.code):
        return None
    differs = given.tier < ruled.tier or (found.complete and given.tier != ruled.tier)
    return found.ruling if differs else None


def _module(room: str, system: str) -> Any:
    return importlib.import_module(f"radlite.rads.{room}.{system.lower().replace('-', '_')}")


def _ruled(rules: Any, record: Any) -> Ruling | None:
    try:
        ruling: Ruling = rules.decide(record)
    except UserError:  # What was found contradicts itself, or lacks what its row of the table asks for.
        return None
    return ruling


def _scale(ruling: Ruling) -> str | None:
    found = category(ruling.category)
    return found.scale if found else None


def _gravity(ruling: Ruling) -> tuple[float, int]:
    """What is incomplete outweighs what is probably benign, and yields to what is suspicious."""
    found = category(ruling.category)
    return (found.tier or 2.5, found.rank or 0) if found else (0, 0)
