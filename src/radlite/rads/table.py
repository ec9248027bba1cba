"""The ten RADS systems as one table, `systems.json`: categories, their order, what is done next, version and source."""

import functools
import json
from dataclasses import dataclass
from importlib import resources
from typing import Any

NO_RADS = "No applicable RADS"
"""The answer where no system applies to the study."""


@dataclass(frozen=True, slots=True)
class Category:
    """A category, or for NI-RADS a pair of them. Ranks and tiers compare within one scale only."""

    code: str
    """Canonical spelling, such as `BI-RADS 4B`."""
    system: str
    scale: str
    """Name of the `Scale` it stands on."""
    rank: int | None
    """Order of suspicion; None outside the order (incomplete study, proven cancer)."""
    tier: int
    """What is done next: 0 the study is incomplete, 1 nothing or routine, 2 earlier follow-up, 3 and 4 diagnosis."""
    risk: str
    management: str
    variants: tuple[str, ...]
    """The kinds of study in which it is used."""
    parent: str | None = None
    """The coarser category it is a part of: `BI-RADS 4` of 4A, 4B and 4C."""


@dataclass(frozen=True, slots=True)
class Scale:
    """Categories that can be compared with each other."""

    name: str
    variants: tuple[str, ...]
    threshold: int
    """The rank from which on the system's main action is due."""
    action: str
    """What the threshold is for."""
    categories: tuple[Category, ...]
    stated_only: bool = False
    """How reports name a category loosely (`O-RADS 3`); never an answer."""
    half: bool = False
    """One site of NI-RADS: an answer is a pair of categories, one from each site."""


@dataclass(frozen=True, slots=True)
class System:
    """One of the ten systems."""

    name: str
    title: str
    organ: str
    version: str
    source: str
    scales: tuple[Scale, ...]
    modifiers: dict[str, str]
    """What may stand beside a category, and its meaning."""

    @property
    def answers(self) -> tuple[str, ...]:
        """The categories that a study may be given, in canonical spelling."""
        halves = [scale for scale in self.scales if scale.half]
        pairs = [pair.code for pair in _pairs(halves)] if halves else []
        single = [one.code for scale in self.scales if not scale.half and not scale.stated_only
                  for one in scale.categories]  # fmt: skip
        return (*single, *pairs)


@functools.cache
def systems() -> dict[str, System]:
    """The systems by name."""
    table = json.loads((resources.files(__package__) / "systems.json").read_text("utf-8"))
    return {name: _system(name, facts) for name, facts in table.items()}


@functools.cache
def labels() -> tuple[str, ...]:
    """Every answer of every system, and `No applicable RADS`."""
    return (*(code for system in systems().values() for code in system.answers), NO_RADS)


def category(code: str) -> Category | None:
    """The category in canonical spelling `code`; None if there is none, as for `No applicable RADS`."""
    return _categories().get(code)


def scale(name: str) -> Scale:
    """The scale called `name`. Raises `KeyError` if there is none."""
    return _scales()[name]


def system_of(code: str) -> str:
    """The system a canonical category belongs to; `none` for `No applicable RADS`."""
    found = category(code)
    return found.system if found else "none"


def _system(name: str, facts: dict[str, Any]) -> System:
    scales = tuple(_scale(name, one) for one in facts["scales"])
    return System(
        name, facts["title"], facts["organ"], facts["version"], facts["source"], scales, facts.get("modifiers", {})
    )


def _scale(system: str, facts: dict[str, Any]) -> Scale:
    variants = tuple(facts["variants"])
    rows = (
        Category(
            system=system, scale=facts["name"], **{**row, "variants": tuple(row.get("variants", variants))}
        )
        for row in facts["categories"]
    )  # fmt: skip
    return Scale(
        name=facts["name"],
        variants=variants,
        threshold=facts["threshold"]["rank"],
        action=facts["threshold"]["name"],
        categories=tuple(rows),
        stated_only=facts.get("stated_only", False),
        half=facts.get("half", False),
    )


def _pairs(halves: list[Scale]) -> list[Category]:
    """NI-RADS: each category of the primary site with each of the neck; the worse of the two says what is done."""
    primary, neck = halves
    return [_pair(one, other) for one in primary.categories for other in neck.categories]


def _pair(primary: Category, neck: Category) -> Category:
    worse = max(primary, neck, key=lambda site: (site.tier, site.rank or 0))
    return Category(
        code=f"{primary.code}, {neck.code.removeprefix('NI-RADS ')}",
        system=primary.system,
        scale=PAIRS,
        # A site that cannot be assessed leaves the order to the other one, unless both are such.
        rank=worse.rank,
        tier=worse.tier,
        risk=worse.risk,
        management=worse.management,
        variants=primary.variants,
    )


PAIRS = "NI-RADS"
"""Name of the scale of pairs; its rank is that of the worse site."""


@functools.cache
def _categories() -> dict[str, Category]:
    found = {one.code: one for scale in _scales().values() for one in scale.categories}
    assert all(code in found for code in labels() if code != NO_RADS)
    return found


@functools.cache
def _scales() -> dict[str, Scale]:
    found = {scale.name: scale for system in systems().values() for scale in system.scales}
    halves = [scale for scale in found.values() if scale.half]
    found[PAIRS] = Scale(PAIRS, halves[0].variants, halves[0].threshold, halves[0].action, tuple(_pairs(halves)))
    return found


def spelled(code: str, modifiers: tuple[str, ...] = ()) -> str:
    """A category with its modifiers: `CAD-RADS 4A/P2/HRP`, `Lung-RADS 4A S`, `US-2 VIS-B`."""
    return ("/" if system_of(code) == "CAD-RADS" else " ").join((code, *modifiers))
