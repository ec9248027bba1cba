"""Two models on the same items: which answers better, and whether that may be chance."""

import functools
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

import numpy as np
from rich import box
from rich.table import Table
from rich.text import Text

from radlite.errors import UserError
from radlite.evaluation.estimate import Estimate, Vector, exchanged, holm, mcnemar, statistic, stratified
from radlite.evaluation.metrics import Answered, Measure, counted, measures
from radlite.tasks import named

LEVEL: Final = 0.05
"""Adjusted probability below which a difference is told as one."""

BOTH: Final = (
    "An interval is of one task alone, p is adjusted for all: an interval without 0 may stand beside 'no evidence of a "
    "difference'."
)
"""What readers of both have to know."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """One metric of one task, of two models A and B on the same `n` items."""

    task: str
    metric: str
    n: int
    first: Estimate
    second: Estimate
    difference: Estimate
    """A less B, with a paired bootstrap interval."""
    test: str
    """`McNemar` where an item is right or wrong, `randomisation` otherwise."""
    probability: float
    """Of a difference at least so large if both are as good: two-sided."""
    adjusted: float
    """The same, by Holm's method for all tasks compared at once."""
    unlike: tuple[int, int] | None = None
    """Items that only A and that only B has right, where an item is right or wrong."""

    @property
    def words(self) -> str:
        """What it comes to."""
        if self.adjusted >= LEVEL:
            return "no evidence of a difference"
        return f"{'A' if self.difference.value > 0 else 'B'} is higher"


def compare(first: Sequence[Answered], second: Sequence[Answered], metric: str = "") -> list[Comparison]:
    """Compare two models' answers to the same items, task by task; `metric` in place of each task's primary one.

    As in the result rows every item counts, but proxies where there are true answers. Raises `UserError` if the items
    are not the same, or if no task has the metric.
    """
    ours, theirs = (_by_task(answered) for answered in (first, second))
    tasks = [task for task in ours if task in theirs]
    if not tasks:
        raise UserError("A and B have no task in common; evaluate both in the same tasks.")
    found = [_compared(one) for task in tasks if (one := _paired(task, ours[task], theirs[task], metric))]
    if not found:
        raise UserError(
            f"No task that A and B have in common has the metric {metric}; see the metrics in summary.json."
        )
    adjusted = holm([one.probability for one in found])
    return [replace(one, adjusted=value) for one, value in zip(found, adjusted, strict=True)]


def macro(first: Sequence[Answered], second: Sequence[Answered]) -> Comparison:
    """The mean over tasks of each one's primary metric, which has 0..1, of two models on the same items.

    Every task counts alike. Intervals are of a bootstrap in which each task keeps its number of items; the probability
    is of a randomisation test over all items. Raises `UserError` as `compare` does.
    """
    ours, theirs = (_by_task(answered) for answered in (first, second))
    if not ours or ours.keys() != theirs.keys():
        raise UserError("A and B answered different tasks; evaluate both in the same tasks.")
    pairs = [pair for task in ours if (pair := _paired(task, ours[task], theirs[task]))]
    ends = np.cumsum([pair.n for pair in pairs])

    def gain(kept: Vector) -> Vector:
        parts = np.split(kept, ends[:-1], axis=1)
        result: Vector = np.mean([_gain(pair.both, part) for pair, part in zip(pairs, parts, strict=True)], axis=0)
        return result

    n = int(ends[-1])
    a = stratified([(pair.ours.function, pair.n) for pair in pairs])
    b = stratified([(pair.theirs.function, pair.n) for pair in pairs])
    difference = stratified([(pair.less, pair.n) for pair in pairs], floor=-1.0)
    probability = exchanged(gain, n)
    name = f"mean of {len(pairs)} {'task' if len(pairs) == 1 else 'tasks'}"
    return Comparison(name, "primary", n, a, b, difference, "randomisation", probability, probability)


def _by_task(answered: Sequence[Answered]) -> dict[str, list[Answered]]:
    groups: dict[str, list[Answered]] = {}
    for one in answered:
        groups.setdefault(one.task, []).append(one)
    return groups


@dataclass(frozen=True, slots=True)
class _Pair:
    """One metric of one task, of A, of B, and of the items of both one after the other."""

    task: str
    metric: str
    n: int
    ours: Measure
    theirs: Measure
    both: Measure

    def less(self, weights: Vector) -> Vector:
        """A less B, from weights of the items, (resamples, n)."""
        result: Vector = self.ours.function(weights) - self.theirs.function(weights)
        return result


def _paired(task: str, first: Sequence[Answered], second: Sequence[Answered], metric: str = "") -> _Pair | None:
    """The two models' answers to one task; None if it does not have the metric."""
    by_id = {one.id: one for one in second}
    if len(by_id) != len(second) or {one.id for one in first} != set(by_id) or len(first) != len(by_id):
        raise UserError(f"A and B answered different items of {task}; evaluate both with the same corpus and --limit.")
    first = counted(first)
    second = [by_id[one.id] for one in first]
    if any(one.truth != other.truth or one.split != other.split for one, other in zip(first, second, strict=True)):
        raise UserError(f"A and B answered items of {task} with other true answers; evaluate both on the same corpus.")
    metric, whole = metric or named(task).metric, metric.startswith("f1 ")
    ours, theirs = (measures(named(task), part, whole).get(metric) for part in (first, second))
    both = measures(named(task), [*first, *second], whole).get(metric)
    if not (both and ours and theirs):
        return None
    n = len(both.of) // 2
    if [place + len(first) for place in both.of[:n]] != list(both.of[n:]):
        raise UserError(f"The metric {metric} of {task} is about different items for A and B; choose another.")
    return _Pair(task, metric, n, ours, theirs, both)


def _compared(pair: _Pair) -> Comparison:
    """One task, without what it takes to know the other tasks."""
    span = pair.both.ceiling - pair.both.floor
    difference = statistic(pair.less, pair.n, floor=-span, ceiling=span)
    test, probability, unlike = _tested(pair.both, pair.n)
    first, second = pair.ours.estimate(), pair.theirs.estimate()
    return Comparison(pair.task, pair.metric, pair.n, first, second, difference, test, probability, 1.0, unlike)


def _gain(both: Measure, kept: Vector) -> Vector:
    """A less B, where A answers an item with its own answer if it is `kept`, 1 or 0, else with that of B."""
    ours = np.hstack([kept, 1 - kept])
    result: Vector = both.function(ours) - both.function(1 - ours)
    return result


def _tested(both: Measure, n: int) -> tuple[str, float, tuple[int, int] | None]:
    if both.binary and both.values:
        pairs = list(zip(both.values[:n], both.values[n:], strict=True))
        unlike = (pairs.count((1.0, 0.0)), pairs.count((0.0, 1.0)))
        return "McNemar", mcnemar(*unlike), unlike
    return "randomisation", exchanged(functools.partial(_gain, both), n), None


def table(compared: Sequence[Comparison], names: tuple[str, str]) -> Table:
    """A table for a terminal of 80 columns."""
    result = Table(
        box=box.SIMPLE_HEAD, padding=0, pad_edge=False, caption_justify="left",
        title=Text(f"A: {names[0]}\nB: {names[1]}"), title_justify="left", title_style="",
        caption="A - B with its 95 % interval by a paired bootstrap; p by Holm's method for "
        f"{len(compared)} {'task' if len(compared) == 1 else 'tasks'}: McNemar's exact test where an item is right or "
        "wrong, else a randomisation test. " + BOTH,
    )  # fmt: skip
    result.add_column("task\nmetric, n", overflow="fold")
    for head in ("A", "B", "A - B", "p"):
        result.add_column(head, justify="right")
    result.add_column("", overflow="fold")
    for one in compared:
        gap = one.difference
        result.add_row(
            f"{one.task.replace('_', ' ')}\n{one.metric}, n={one.n:,}",
            f"{one.first.value:.2f}\n{one.first.low:.2f}-{one.first.high:.2f}",
            f"{one.second.value:.2f}\n{one.second.low:.2f}-{one.second.high:.2f}",
            f"{gap.value:+.2f}\n{gap.low:+.2f} to {gap.high:+.2f}",
            told_p(one.adjusted),
            one.words + (f"\nright in one only: A {one.unlike[0]}, B {one.unlike[1]}" if one.unlike else ""),
        )
        result.add_section()
    return result


def told_p(probability: float) -> str:
    """A probability as it is printed."""
    return "<0.001" if probability < 0.001 else f"{probability:.3f}"


def as_json(compared: Sequence[Comparison]) -> list[dict[str, Any]]:
    """For programs."""
    return [{**asdict(one), "words": one.words} for one in compared]
