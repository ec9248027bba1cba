"""A number with its 95 % interval and the count it rests on."""

import functools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Z = 1.959963984540054
"""The 97.5 % point of the normal distribution."""

RESAMPLES = 2_000
EXCHANGES = 10_000
"""Of answers between two models, in a randomisation test: the least probability it can find is 1 in as many."""

# Resampled counts are made in blocks of at most this many numbers, so that memory does not grow with the test set.
_BLOCK = 2_000_000

Vector = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value, its 95 % interval `low`..`high`, and the number of items `n`; low <= value <= high always.

    Nothing is known from no items: `n` is 0, the interval is the whole range, and the value (its lower end) means
    nothing.
    """

    value: float
    low: float
    high: float
    n: int

    def __str__(self) -> str:
        return f"{self.value:.2f} [{self.low:.2f}, {self.high:.2f}] n={self.n}" if self.n else "no items"


def proportion(successes: int, n: int) -> Estimate:
    """Share of `n` items, with Wilson's score interval (Wilson, 1927)."""
    if not 0 <= successes <= n:
        raise ValueError(f"{successes} successes of {n} items")
    if n == 0:
        return Estimate(0.0, 0.0, 1.0, 0)
    share = successes / n
    centre = (share + Z * Z / (2 * n)) / (1 + Z * Z / n)
    reach = Z / (1 + Z * Z / n) * math.sqrt(share * (1 - share) / n + Z * Z / (4 * n * n))
    return Estimate(share, min(share, max(0.0, centre - reach)), max(share, min(1.0, centre + reach)), n)


def mean(values: Sequence[float], seed: int = 0) -> Estimate:
    """Mean of per-item values in 0..1: Wilson's interval if all are 0 or 1, else a percentile bootstrap."""
    array = _array(values, 0.0)
    if np.all((array == 0) | (array == 1)):
        return proportion(int(array.sum()), len(array))
    return statistic(lambda weights: weights @ array / len(array), len(array), seed)


def paired(first: Sequence[float], second: Sequence[float], seed: int = 0) -> Estimate:
    """Mean of `first - second` over the same items, values in 0..1, by a paired percentile bootstrap."""
    if len(first) != len(second):
        raise ValueError(f"{len(first)} and {len(second)} values are no pairs")
    difference = _array(first, 0.0) - _array(second, 0.0)
    return statistic(lambda weights: weights @ difference / len(difference), len(difference), seed, floor=-1.0)


def statistic(
    function: Callable[[Vector], Vector],
    n: int,
    seed: int = 0,
    floor: float = 0.0,
    ceiling: float = 1.0,
    telling: int | None = None,
) -> Estimate:
    """A statistic of `n` items with a percentile bootstrap of 2,000 resamples (Efron, 1979).

    `function` takes weights, (resamples, n): how often each item was drawn; it gives one value a resample, between
    `floor` and `ceiling`. Where every resample gives the same value, as for a perfect score, the bootstrap is blind;
    the interval then allows for a share of items unlike all that were seen, at most Wilson's upper bound of 0 in `n`,
    which might take any value; or of 0 in `telling`, where only so many of the items have a say.
    """
    if n == 0:
        return Estimate(floor, floor, ceiling, 0)
    value = float(function(np.ones((1, n)))[0])
    return _percentiles(value, _bootstrap(function, n, seed), n, floor, ceiling, n if telling is None else telling)


def stratified(parts: Sequence[tuple[Callable[[Vector], Vector], int]], floor: float = 0.0, seed: int = 0) -> Estimate:
    """The mean of statistics, each (function, n) as in `statistic`, of items of its own and between `floor` and 1.

    Each part is resampled by itself, so that it has its own number of items in every resample (stratified bootstrap).
    """
    if not parts or not all(n for _, n in parts):
        return Estimate(floor, floor, 1.0, 0)
    value = float(np.mean([function(np.ones((1, n)))[0] for function, n in parts]))
    draws = np.mean([_bootstrap(function, n, seed + at) for at, (function, n) in enumerate(parts)], axis=0)
    total = sum(n for _, n in parts)
    return _percentiles(value, draws, total, floor, 1.0, total)


def _percentiles(value: float, draws: Vector, n: int, floor: float, ceiling: float, telling: int) -> Estimate:
    value = float(np.clip(value, floor, ceiling))
    if np.ptp(draws) < 1e-12:
        unseen = proportion(0, telling).high
        low, high = ((1 - unseen) * value + unseen * end for end in (floor, ceiling))
    else:
        low, high = np.clip(np.quantile(draws, (0.025, 0.975)), floor, ceiling).tolist()
    return Estimate(value, min(low, value), max(high, value), n)


def mcnemar(first_only: int, second_only: int) -> float:
    """Exact two-sided probability of a split of the unlike pairs at least so uneven, if both are as good.

    `first_only` and `second_only` items were right in one of the two only (McNemar, 1947; binomial, not chi-squared).
    """
    unlike = first_only + second_only
    tail = sum(math.comb(unlike, number) for number in range(min(first_only, second_only) + 1))
    return min(1.0, float(2 * tail / 2**unlike))


def exchanged(difference: Callable[[Vector], Vector], n: int, seed: int = 0) -> float:
    """Two-sided probability of a difference at least so large, if it were chance which of two gave which answer.

    A randomisation test over the same `n` items (Noreen, 1989), for any statistic. `difference` takes (resamples, n)
    zeros and ones: 1 where the two keep their answers, 0 where they exchange them.
    """
    if n == 0:
        return 1.0
    seen = abs(difference(np.ones((1, n)))[0]) - 1e-12
    generator = np.random.default_rng(seed)
    beyond = 0
    for count in _blocks(EXCHANGES, n):
        beyond += int((np.abs(difference(generator.integers(0, 2, (count, n)).astype(np.float64))) >= seen).sum())
    return (beyond + 1) / (EXCHANGES + 1)


def holm(probabilities: Sequence[float]) -> list[float]:
    """The probabilities adjusted for their number: that chance brings any below 0.05 is no likelier (Holm, 1979)."""
    order = sorted(range(len(probabilities)), key=lambda number: probabilities[number])
    adjusted, highest = [0.0] * len(order), 0.0
    for place, number in enumerate(order):
        highest = max(highest, min(1.0, (len(order) - place) * probabilities[number]))
        adjusted[number] = highest
    return adjusted


def _bootstrap(function: Callable[[Vector], Vector], n: int, seed: int) -> Vector:
    if n * RESAMPLES <= _BLOCK:
        return function(_drawn_once(n, seed))
    return np.concatenate([function(weights) for weights in _drawn(n, seed)])


@functools.lru_cache(maxsize=1)
def _drawn_once(n: int, seed: int) -> Vector:
    """All resamples, kept for the next statistic of the same items."""
    weights = np.concatenate(list(_drawn(n, seed)))
    weights.flags.writeable = False
    return weights


def _drawn(n: int, seed: int) -> Iterator[Vector]:
    """Blocks of resamples: how often each of the `n` items was drawn, with replacement."""
    generator = np.random.default_rng(seed)
    for count in _blocks(RESAMPLES, n):
        drawn = generator.integers(0, n, (count, n)) + n * np.arange(count)[:, None]
        yield np.bincount(drawn.ravel(), minlength=count * n).reshape(count, n).astype(np.float64)


def _blocks(rows: int, n: int) -> Iterator[int]:
    size = max(1, _BLOCK // n)
    for start in range(0, rows, size):
        yield min(size, rows - start)


def _array(values: Sequence[float], floor: float) -> Vector:
    array = np.asarray(values, dtype=np.float64)
    if array.size and not (array.min() >= floor and array.max() <= 1):
        raise ValueError("values outside 0..1 have no place in an estimate")
    return array
