"""How often each task's rows, and within a task those of each label, are seen in an epoch."""

import difflib
import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from radlite.errors import UserError
from radlite.tasks import Example, named


@dataclass(frozen=True, slots=True)
class Balance:
    """What evens a mixture out. As it is, it changes nothing."""

    temperature: float = 1.0
    """A task of n rows counts as n^(1/temperature) of them; the epoch keeps its size. 1: as many as it has."""
    cap: int | None = None
    """Rows of a task that an epoch shows at most, repeated ones counted again."""
    labels: float = 0.0
    """0: labels, or RADS systems, as often as they occur; 1: alike often; a label of n rows counts as n^(1-labels)."""
    repeats: int | None = None
    """How often an epoch shows a row at most; what a rare label may not take goes to the others of its task."""


def mix(
    by_task: Mapping[str, Sequence[Example]], weights: Mapping[str, float], seed: int, balance: Balance = Balance()
) -> list[Example]:
    """The rows of one epoch, shuffled: a task of n rows contributes n times its weight, but for what `balance` evens.

    Weight 3: every row three times; 0.5: a half drawn by `seed`; 1.5: every row once and a drawn half twice; a task
    without a weight has weight 1. Without a temperature the draw of one task does not depend on which others there are.

    Raises `UserError` for a weight that is negative or no number, for a task that has none of the rows, and if
    nothing is left.
    """
    for task, weight in weights.items():
        if task not in by_task:
            near = difflib.get_close_matches(task, by_task, n=1, cutoff=0.4)
            hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(by_task) or 'none'}."
            raise UserError(f"The mixture weighs {task!r}, but the corpus has no such task; {hint}")
        if not (math.isfinite(weight) and weight >= 0):
            raise UserError(f"The mixture weight of {task} is {weight}; give a number of 0 or more.")
    sizes = _sizes({task: len(rows) for task, rows in by_task.items()}, weights, balance)
    mixed = [row for task in sorted(by_task) for row in _task(task, by_task[task], sizes[task], seed, balance)]
    if not mixed:
        raise UserError("The mixture is empty; give a weight above 0 to a task that has rows.")
    random.Random(f"{seed}/order").shuffle(mixed)
    return mixed


def _sizes(rows: Mapping[str, int], weights: Mapping[str, float], balance: Balance) -> dict[str, float]:
    """Rows that each task contributes to an epoch, fractions left."""
    plain = {task: weights.get(task, 1.0) * count for task, count in rows.items()}
    even = {task: weights.get(task, 1.0) * count ** (1 / balance.temperature) for task, count in rows.items()}
    scale = sum(plain.values()) / (sum(even.values()) or 1.0) if balance.temperature != 1 else 1.0
    return {
        task: min(
            scale * even[task],
            math.inf if balance.cap is None else balance.cap,
            math.inf if balance.repeats is None else balance.repeats * count,
        )
        for task, count in rows.items()
    }


def _task(task: str, rows: Sequence[Example], size: float, seed: int, balance: Balance) -> list[Example]:
    """About `size` of the rows of a task, its strata evened out."""
    if not balance.labels:
        return _draw(task, rows, size / len(rows) if rows else 0.0, seed)
    strata: dict[str, list[Example]] = {}
    for row in rows:
        strata.setdefault(_stratum(row), []).append(row)
    shares = _evened({name: len(members) for name, members in strata.items()}, size, balance)
    return [
        row
        for name, members in sorted(strata.items())
        for row in _draw(f"{task}/{name}", members, shares[name] / len(members), seed)
    ]


def _stratum(row: Example) -> str:
    task = named(row.task)
    answer = task.read(row.answer)
    if task.group:
        return task.group(answer)
    return task.label(answer) if task.labels else ""


def _evened(counts: Mapping[str, int], size: float, balance: Balance) -> dict[str, float]:
    """`size` rows shared out over strata in proportion to n^(1-labels), none of them over its limit of repeats."""
    most = {name: math.inf if balance.repeats is None else balance.repeats * n for name, n in counts.items()}
    parts = {name: n ** (1 - balance.labels) for name, n in counts.items()}
    shares: dict[str, float] = {}
    while parts:
        left = size - sum(shares.values())
        over = [name for name, part in parts.items() if left * part / sum(parts.values()) > most[name]]
        if not over:
            return shares | {name: left * part / sum(parts.values()) for name, part in parts.items()}
        for name in over:
            shares[name] = most[name]
            del parts[name]
    return shares


def _draw(name: str, rows: Sequence[Example], weight: float, seed: int) -> list[Example]:
    whole = int(weight)
    rest = math.floor((weight - whole) * len(rows) + 0.5)
    return [*rows] * whole + random.Random(f"{seed}/{name}").sample(rows, rest)
