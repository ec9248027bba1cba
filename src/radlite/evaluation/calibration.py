"""How far a model's probabilities can be trusted, and below which of them it had better say nothing.

Everything here is learned from validation answers, in tasks with labels.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from radlite.evaluation.estimate import Estimate, Vector, mean, proportion, statistic
from radlite.evaluation.metrics import Answered
from radlite.routing.router import Calibration, tempered
from radlite.tasks import named

_BINS: Final = 10
_COLDEST, _HOTTEST = 0.2, 10.0
_LEAST: Final = 1e-6
"""Probability that a label has at least, so that one surprise does not outweigh all else."""


@dataclass(frozen=True, slots=True)
class Reliability:
    """How confidence and truth agree over all items; what has no answer counts as confident of nothing, and wrong."""

    n: int
    error: Estimate
    """Expected calibration error, over bins with as many items each (Naeini et al., AAAI 2015)."""
    brier: Estimate
    """Mean squared distance of confidence from right (1) or wrong (0)."""
    bins: tuple[tuple[float, Estimate], ...]
    """Mean confidence and share that is right, from the least confident tenth to the most."""


@dataclass(frozen=True, slots=True)
class Kept:
    """What is left where answers below a threshold of confidence are withheld."""

    threshold: float
    coverage: Estimate
    """Share of items that are answered."""
    wrong: Estimate
    """Share of these whose answer is wrong."""


def fit(answered: Sequence[Answered], risk: float | None = None) -> Calibration:
    """The temperature for one task's validation answers and, with `risk`, the threshold (0 where none is low enough).

    The temperature is that under which the true labels are likeliest (Guo et al., ICML 2017).
    """
    temperature = _temperature(answered)
    given, right = confidences(answered, temperature)
    kept = threshold(given, right, risk) if risk is not None else None
    return Calibration(temperature, kept.threshold if kept else 0.0, len(answered), risk or 0.0)


def confidences(answered: Sequence[Answered], temperature: float = 1.0) -> tuple[Vector, Vector]:
    """Of each item the probability of its answer, 0 where there is none, and whether the answer is right."""
    given, right = [], []
    for one in answered:
        likely = tempered(one.probabilities, len(named(one.task).labels), temperature)
        given.append(likely.get(one.label, 0.0) if one.label is not None else 0.0)
        right.append(float(one.label is not None and one.label == one.truth))
    return np.array(given), np.array(right)


def _temperature(answered: Sequence[Answered]) -> float:
    """By golden section over its logarithm: the likelihood has one maximum there."""
    told = [one for one in answered if one.probabilities and one.truth is not None]
    if not told:
        return 1.0

    def loss(logarithm: float) -> float:
        likely = [tempered(one.probabilities, len(named(one.task).labels), float(np.exp(logarithm))) for one in told]
        return -float(np.mean([np.log(max(_LEAST, _of(by, one))) for by, one in zip(likely, told, strict=True)]))

    low, high = np.log(_COLDEST), np.log(_HOTTEST)
    ratio = (np.sqrt(5) - 1) / 2
    for _ in range(30):
        first, second = high - ratio * (high - low), low + ratio * (high - low)
        low, high = (low, second) if loss(first) <= loss(second) else (first, high)
    return round(float(np.exp((low + high) / 2)), 4)


def at_its_end(temperature: float) -> str:
    """Words for a temperature that would have been lower or higher if that were tried; else nothing."""
    if temperature <= _COLDEST * 1.01:
        return " (the lowest tried)"
    return " (the highest tried)" if temperature >= _HOTTEST / 1.01 else ""


def _of(likely: dict[str, float], one: Answered) -> float:
    """The probability of the true label; one that was not told has its share of what is left."""
    if one.truth in likely:
        return likely[one.truth]
    others = len(named(one.task).labels) - len(likely)
    return (1 - sum(likely.values())) / others if others > 0 else 0.0


def reliability(given: Vector, right: Vector) -> Reliability:
    """Hold confidence against truth."""
    n = len(given)
    order = np.argsort(given, kind="stable")
    parts = [part for part in np.array_split(order, _BINS) if len(part)]
    member = np.zeros((n, len(parts)))
    for number, part in enumerate(parts):
        member[part, number] = 1
    gap = member * (given - right)[:, None]

    def error(weights: Vector) -> Vector:
        result: Vector = np.abs(weights @ gap).sum(1) / weights.sum(1)
        return result

    return Reliability(
        n,
        statistic(error, n),
        mean(((given - right) ** 2).tolist()),
        tuple((float(given[part].mean()), proportion(int(right[part].sum()), len(part))) for part in parts),
    )


def curve(given: Vector, right: Vector) -> list[tuple[float, float]]:
    """Risk against coverage: for each number of items answered, the most confident first, the share that is wrong."""
    order = np.argsort(-given, kind="stable")
    wrong = np.cumsum(1 - right[order])
    count = np.arange(1, len(order) + 1)
    return [(float(share), float(risk)) for share, risk in zip(count / len(order), wrong / count, strict=True)]


def kept(given: Vector, right: Vector, least: float) -> Kept:
    """What is left of these answers at the threshold `least`."""
    answered = given >= least
    wrong = int((1 - right)[answered].sum())
    return Kept(least, proportion(int(answered.sum()), len(given)), proportion(wrong, int(answered.sum())))


def threshold(given: Vector, right: Vector, risk: float) -> Kept | None:
    """The lowest threshold from which on the share of wrong answers is surely at most `risk`; None if there is none.

    Surely: by the upper end of its interval. Thresholds that leave one tenth of the items, two and so on are tested in
    this fixed order up to the first that fails, so that looking at several costs nothing (fixed-sequence testing);
    those that leave too few to tell are passed over.
    """
    found = None
    order = np.sort(given[given > 0])[::-1]
    for tenth in range(1, _BINS + 1):
        count = math.ceil(len(given) * tenth / _BINS)
        if not len(order):
            break
        one = kept(given, right, float(order[min(count, len(order)) - 1]))
        if one.wrong.high <= risk:
            found = one
        elif proportion(0, one.wrong.n).high <= risk:
            break
    return found
