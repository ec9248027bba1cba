"""Calibration: known temperatures are found again, thresholds keep their word on new data."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from radlite.evaluation.calibration import confidences, curve, fit, kept, reliability, threshold
from radlite.evaluation.metrics import Answered
from radlite.routing.router import tempered

LABELS = ("entailment", "neutral", "contradiction")


def drawn(n: int, heat: float, seed: int) -> list[Answered]:
    """Answers of a model whose probabilities are true ones to the power `heat`: it is overconfident above 1."""
    generator = np.random.default_rng(seed)
    made = []
    for number, true in enumerate(generator.dirichlet((1, 1, 1), n)):
        truth = LABELS[generator.choice(3, p=true)]
        told = true**heat / (true**heat).sum()
        likely = dict(zip(LABELS, told.tolist(), strict=True))
        label = max(likely, key=lambda name: likely[name])
        made.append(
            Answered(str(number), "radiology_nli", "validation", "ok", label, {}, {}, label, truth, (), 0.0, likely)
        )
    return made


@pytest.mark.parametrize("heat", [0.5, 1.0, 2.0, 4.0])
def test_the_temperature_of_a_model_is_found_again(heat: float) -> None:
    answered = drawn(3000, heat, 1)
    found = fit(answered)
    assert found.temperature == pytest.approx(heat, rel=0.12) and found.n == 3000 and found.threshold == 0
    before, after = (reliability(*confidences(answered, one)) for one in (1.0, found.temperature))
    assert after.error.value < 0.03 and after.brier.value <= before.brier.value + 1e-3
    if heat > 1.5:
        assert before.error.value > 0.08


@given(st.lists(st.floats(1e-6, 1), min_size=2, max_size=8), st.floats(0.2, 10))
@settings(max_examples=100, deadline=None)
def test_a_temperature_keeps_the_order_and_the_sum(values: list[float], temperature: float) -> None:
    told = {str(number): value / sum(values) for number, value in enumerate(values)}
    found = tempered(told, len(told), temperature)
    assert sum(found.values()) == pytest.approx(1)
    order = sorted(told, key=lambda name: told[name])
    assert [found[name] for name in order] == pytest.approx(sorted(found.values()))


def test_labels_that_were_not_told_keep_their_share() -> None:
    found = tempered({"a": 0.9, "b": 0.08}, 22, 2.0)
    assert 0 < found["b"] < found["a"] < 0.9 and sum(found.values()) < 1


def test_a_threshold_keeps_its_word_on_new_answers() -> None:
    """Chosen on 400 answers, held against many more: the share of wrong ones is above the limit as seldom as said."""
    broken = told = 0
    truth: Any = drawn(40_000, 1.0, 99)
    new = confidences(truth)
    for seed in range(60):
        found = threshold(*confidences(drawn(400, 1.0, seed)), 0.3)
        if not found:
            continue
        assert found.wrong.high <= 0.3
        told += 1
        broken += kept(*new, found.threshold).wrong.value > 0.3
    assert broken <= 6 and told > 30


def test_no_threshold_is_given_where_none_is_low_enough() -> None:
    given_, right = np.full(50, 0.9), np.zeros(50)
    assert threshold(given_, right, 0.1) is None
    assert threshold(np.zeros(0), np.zeros(0), 0.1) is None
    assert fit(drawn(30, 1.0, 3), risk=0.001).threshold == 0


def test_items_without_an_answer_count_as_wrong_and_are_never_confident() -> None:
    lost = Answered("x", "radiology_nli", "validation", "unreadable", "?", {}, {}, None, "neutral", (), 0.0)
    given_, right = confidences([lost, *drawn(9, 1.0, 4)], 2.0)
    assert (given_[0], right[0]) == (0, 0)
    assert reliability(given_, right).n == 10
    assert curve(given_, right)[-1] == (1.0, pytest.approx(1 - right.mean()))
    assert fit([lost]).temperature == 1
