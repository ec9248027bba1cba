"""Estimates: reference values of Wilson's interval, and what must hold for any data."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from radlite.evaluation.estimate import Estimate, mean, paired, proportion, statistic

SHARES = st.lists(st.floats(0, 1), max_size=30)


# Newcombe, Statistics in Medicine 17 (1998), table I; and the figures of the paper's own small systems.
@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0000, 0.1611),
        (1, 29, 0.0061, 0.1718),
        (29, 29, 0.8830, 1.0000),
        (5, 8, 0.31, 0.86),
        (1, 3, 0.06, 0.79),
    ],
)
def test_wilson_intervals_agree_with_published_ones(successes: int, n: int, low: float, high: float) -> None:
    estimate = proportion(successes, n)
    digits = 4 if n > 8 else 2
    assert (round(estimate.low, digits), round(estimate.high, digits)) == (low, high)
    assert estimate.value == successes / n and estimate.n == n


def test_nothing_is_known_from_no_items() -> None:
    for estimate in (proportion(0, 0), mean([])):
        assert (estimate.low, estimate.high, estimate.n) == (0, 1, 0)
        assert math.isfinite(estimate.value)
    assert (paired([], []).low, paired([], []).high) == (-1, 1)


def test_one_item_leaves_a_wide_interval() -> None:
    assert mean([1.0]).low < 0.25 and mean([0.0]).high > 0.75
    assert mean([0.5]).high - mean([0.5]).low > 0.7


@pytest.mark.parametrize("value", [0.0, 0.3, 1.0])
def test_equal_values_do_not_make_an_interval_of_no_width(value: float) -> None:
    narrow, wide = mean([value] * 100), mean([value] * 10)
    assert wide.low <= narrow.low <= value <= narrow.high <= wide.high
    assert wide.high - wide.low > 0.25 > narrow.high - narrow.low > 0.03


def test_a_perfect_statistic_keeps_the_same_doubt_as_a_perfect_share() -> None:
    perfect = statistic(lambda weights: np.ones(len(weights)), 10)
    assert perfect.low == pytest.approx(proportion(10, 10).low) and perfect.high == 1


@given(SHARES, st.integers(0, 5))
@settings(max_examples=60, deadline=None)
def test_a_mean_lies_in_its_interval_and_keeps_n(values: list[float], seed: int) -> None:
    estimate = mean(values, seed)
    assert 0 <= estimate.low <= estimate.value <= estimate.high <= 1
    assert estimate.n == len(values)
    assert estimate == mean(values, seed)
    assert not values or estimate.value == pytest.approx(float(np.mean(values)))


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), max_size=30))
@settings(max_examples=60, deadline=None)
def test_a_paired_difference_lies_in_its_interval_and_turns_round(pairs: list[tuple[float, float]]) -> None:
    first, second = [a for a, _ in pairs], [b for _, b in pairs]
    there, back = paired(first, second), paired(second, first)
    assert -1 <= there.low <= there.value <= there.high <= 1
    assert not pairs or (there.value, there.low, there.high) == pytest.approx((-back.value, -back.high, -back.low))


def test_the_bootstrap_interval_of_a_mean_agrees_with_theory() -> None:
    values = np.random.default_rng(1).beta(2, 3, 400)
    estimate, error = mean(values.tolist()), values.std() / math.sqrt(400)
    assert (estimate.low, estimate.high) == pytest.approx(
        (values.mean() - 1.96 * error, values.mean() + 1.96 * error), abs=0.004
    )


def test_wilson_covers_the_truth_as_often_as_it_says() -> None:
    generator = np.random.default_rng(2)
    covered = [proportion(int(hits), 30) for hits in generator.binomial(30, 0.8, 4000)]
    assert 0.93 < np.mean([estimate.low <= 0.8 <= estimate.high for estimate in covered]) < 0.975


def test_pairing_sees_what_two_intervals_do_not() -> None:
    hard = np.random.default_rng(3).random(200)
    first, second = (hard * 0.9 + 0.05).tolist(), (hard * 0.9).tolist()
    assert mean(first).low < mean(second).high
    assert paired(first, second).low > 0


def test_a_test_set_beyond_one_block_of_resamples_gives_the_same_kind_of_interval() -> None:
    values = np.random.default_rng(4).random(3000)
    estimate = mean(values.tolist())
    assert estimate.high - estimate.low == pytest.approx(2 * 1.96 * values.std() / math.sqrt(3000), rel=0.1)


@pytest.mark.parametrize("values", [[1.5], [-0.1], [float("nan")]])
def test_values_that_are_no_shares_are_refused(values: list[float]) -> None:
    with pytest.raises(ValueError, match=r"0\.\.1"):
        mean(values)


def test_impossible_counts_and_unequal_pairs_are_refused() -> None:
    with pytest.raises(ValueError):
        proportion(3, 2)
    with pytest.raises(ValueError):
        paired([1.0], [])


def test_an_estimate_reads_as_value_interval_and_n() -> None:
    assert str(proportion(5, 8)) == "0.62 [0.31, 0.86] n=8"
    assert str(Estimate(0, 0, 1, 0)) == "no items"


def f1(answers: Any, truths: Any) -> Any:
    """A function of weights, as the F1 of a result is."""
    right = np.stack([(answers == truths) & (truths == label) for label in range(3)], 1).astype(float)
    both = np.stack([(answers == label).astype(float) + (truths == label) for label in range(3)], 1)
    return lambda weights: np.mean(2 * (weights @ right) / np.maximum(weights @ both, 1), axis=1)


def test_bootstrap_intervals_cover_the_truth_as_often_as_they_say() -> None:
    """Of a mean of shares, of a macro F1, and of a paired difference, each from 600 samples of 200 items."""
    generator = np.random.default_rng(6)

    def drawn(n: int) -> tuple[Any, Any, Any]:
        truths = generator.choice(3, n, p=(0.5, 0.3, 0.2))
        told = [np.where(generator.random(n) < share, truths, generator.choice(3, n)) for share in (0.7, 0.6)]
        return truths, *told

    truths, good, poor = drawn(2_000_000)
    exact = {
        "mean": 0.4,
        "f1": f1(good, truths)(np.ones((1, len(truths))))[0],
        "difference": float(np.mean(good == truths) - np.mean(poor == truths)),
    }
    covered = dict.fromkeys(exact, 0)
    for _ in range(600):
        truths, good, poor = drawn(200)
        found = {
            "mean": mean(generator.beta(2, 3, 200).tolist()),
            "f1": statistic(f1(good, truths), 200),
            "difference": paired((good == truths).astype(float).tolist(), (poor == truths).astype(float).tolist()),
        }
        for name, estimate in found.items():
            covered[name] += estimate.low <= exact[name] <= estimate.high
    # 0.95 of 600, and three standard errors of what so many samples can show
    assert all(0.93 - 0.01 < count / 600 < 0.97 + 0.01 for count in covered.values()), covered
