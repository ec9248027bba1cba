"""Comparisons: known values of the tests, what chance does to them, and what must not be compared."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from radlite.cli import app
from radlite.errors import UserError
from radlite.evaluation.comparison import compare, macro
from radlite.evaluation.estimate import exchanged, holm, mcnemar
from radlite.evaluation.metrics import Answered, grade, rows
from radlite.evaluation.run import evaluate
from radlite.reader import Reader
from radlite.runtime.scripted import ScriptedModel
from tests.evaluation.items import item, said

CATEGORIES = ("N0", "N1", "N2", "N3")


def staged(truths: list[str], answers: list[str | None]) -> list[Answered]:
    return [
        grade(item("n_staging", number, text(truth)), said("n_staging", text(answer) if answer else "?"))
        for number, (truth, answer) in enumerate(zip(truths, answers, strict=True))
    ]


def text(category: str) -> str:
    return f"{'Negative' if category == 'N0' else 'Positive'}. N staging: {category}"


# Fagerland, Lydersen and Laake, BMC Medical Research Methodology 13:91 (2013), table 1: 1 and 7 unlike pairs.
def test_mcnemars_exact_test_gives_published_values() -> None:
    assert mcnemar(1, 7) == pytest.approx(0.0703, abs=5e-5)
    assert mcnemar(0, 0) == mcnemar(3, 3) == 1
    assert mcnemar(0, 5000) == 0 or mcnemar(0, 5000) < 1e-300


def test_holms_method_gives_published_values() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == [] and holm([0.9, 0.8]) == [1, 1]


@given(st.lists(st.floats(0, 1), max_size=12))
@settings(max_examples=100, deadline=None)
def test_adjusting_never_lowers_a_probability_nor_changes_the_order(probabilities: list[float]) -> None:
    adjusted = holm(probabilities)
    assert all(1 >= after >= before for before, after in zip(probabilities, adjusted, strict=True))
    pairs = sorted(zip(probabilities, adjusted, strict=True))
    assert [after for _, after in pairs] == sorted(adjusted)


@given(st.integers(0, 12), st.integers(0, 12))
@settings(max_examples=25, deadline=None)
def test_exchanging_answers_agrees_with_mcnemars_exact_test(first: int, second: int) -> None:
    gaps = np.array([1.0] * first + [-1.0] * second + [0.0] * 10)
    found = exchanged(lambda kept: (2 * kept - 1) @ gaps, len(gaps))
    assert found == pytest.approx(mcnemar(first, second), abs=0.02)


def test_of_models_that_are_alike_few_are_told_apart() -> None:
    generator = np.random.default_rng(5)
    told = 0
    for _ in range(100):
        truths = generator.choice(CATEGORIES, 60).tolist()
        first, second = (np.where(generator.random(60) < 0.7, truths, generator.choice(CATEGORIES, 60)) for _ in "ab")
        [found] = compare(staged(truths, first.tolist()), staged(truths, second.tolist()), "macro_f1")
        told += found.words != "no evidence of a difference"
    assert 1 <= told <= 12  # 0.05 of 100, and what chance allows


def test_a_large_difference_is_found_and_turns_round() -> None:
    truths = [CATEGORIES[number % 4] for number in range(80)]
    good: list[str | None] = list(truths)
    bad: list[str | None] = [truth if number % 3 else None for number, truth in enumerate(truths)]
    for metric in ("", "macro_f1", "kappa"):
        [there], [back] = (
            compare(staged(truths, good), staged(truths, bad), metric),
            compare(staged(truths, bad), staged(truths, good), metric),
        )
        assert there.words == "A is higher" and back.words == "B is higher"
        assert there.difference.low > 0 and there.n == 80
        assert there.difference.value == pytest.approx(-back.difference.value)
        assert there.difference.value == pytest.approx(there.first.value - there.second.value)
    [whole] = compare(staged(truths, good), staged(truths, bad), "accuracy")
    assert whole.test == "McNemar" and whole.unlike == (27, 0)


def test_the_values_compared_are_those_of_the_result_rows() -> None:
    truths = [CATEGORIES[number % 4] for number in range(40)]
    said_: list[str | None] = [CATEGORIES[number % 3] if number % 7 else None for number in range(40)]
    answered = staged(truths, said_)
    for row in rows(answered, "model", "base"):
        if row["slice"] == "all" and not row["metric"].startswith("f1 "):
            [found] = compare(answered, answered, row["metric"])
            assert (found.first.value, found.first.low, found.n) == (row["value"], row["low"], row["n"])
            assert found.difference.value == 0 and found.words == "no evidence of a difference"


def test_several_tasks_are_adjusted_for_together() -> None:
    truths, one_wrong = ["N1"] * 8, ["N1", *["N0"] * 7]
    right = [grade(item("m_staging", number, "M0"), said("m_staging", "M0")) for number in range(8)]
    alone = compare(staged(truths, list(truths)), staged(truths, list(one_wrong)), "accuracy")
    both = compare([*staged(truths, list(truths)), *right], [*staged(truths, list(one_wrong)), *right], "accuracy")
    assert both[0].probability == alone[0].probability and both[0].adjusted == 2 * alone[0].adjusted


def test_different_items_or_truths_are_never_compared() -> None:
    truths = ["N0", "N1"]
    ours = staged(truths, list(truths))
    with pytest.raises(UserError, match="different items of n_staging"):
        compare(ours, ours[:1])
    with pytest.raises(UserError, match="other true answers"):
        compare(ours, staged(["N0", "N2"], list(truths)))
    with pytest.raises(UserError, match="no task in common"):
        compare(ours, [grade(item("m_staging", 0, "M0"), said("m_staging", "M0"))])
    with pytest.raises(UserError, match="nonsense"):
        compare(ours, ours, "nonsense")


def answered_in(folder: Path, say: str, count: int = 12) -> Path:
    """Answers of a scripted model that always says one thing, beside one task more."""
    items = [item("m_staging", number, "M0" if number % 4 else "M1") for number in range(count)]
    evaluate(Reader(ScriptedModel(lambda _: say)), items, folder)
    return folder


def test_the_command_shows_a_table_or_json_and_names_what_is_left_out(tmp_path: Path) -> None:
    ours, theirs = answered_in(tmp_path / "a", "M0", 40), answered_in(tmp_path / "b", "M1", 40)
    evaluate(Reader(ScriptedModel(lambda _: "Left.")), [item("radiology_qa", 1, "Left lung.")], ours)
    shown = CliRunner().invoke(app, ["compare", str(ours), str(theirs)], catch_exceptions=False)
    assert "A is higher" in shown.stdout and "McNemar" in shown.stdout
    assert "radiology_qa is in one of the two only" in shown.stderr
    assert max(map(len, shown.stdout.splitlines())) <= 80
    printed = CliRunner().invoke(app, ["compare", str(ours), str(theirs), "--json"], catch_exceptions=False)
    [found] = json.loads(printed.stdout)
    assert (found["n"], found["unlike"], found["words"]) == (40, [30, 10], "A is higher")
    assert found["difference"]["value"] == pytest.approx(0.5)


def test_answers_to_other_items_unfinished_ones_and_other_files_are_refused(tmp_path: Path) -> None:
    ours, fewer = answered_in(tmp_path / "a", "M0"), answered_in(tmp_path / "b" / "c", "M0", 11)
    run = CliRunner()
    with pytest.raises(UserError, match="different items"):
        run.invoke(app, ["compare", str(ours), str(fewer)], catch_exceptions=False)
    with pytest.raises(UserError, match="different items"):
        run.invoke(app, ["compare", str(ours), str(fewer.parent)], catch_exceptions=False)
    with pytest.raises(UserError, match="holds no answers"):
        run.invoke(app, ["compare", str(ours), str(tmp_path / "nowhere")], catch_exceptions=False)
    path = ours / "m_staging.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole[:-10])
    with pytest.raises(UserError, match="11 answers to 12 items"):
        run.invoke(app, ["compare", str(ours), str(fewer)], catch_exceptions=False)
    for content in (b"", b"\x00\xff\n", b"[]\n", b'{"task": 1}\n'):
        path.write_bytes(content)
        with pytest.raises(UserError, match="no file of answers"):
            run.invoke(app, ["compare", str(ours), str(fewer)], catch_exceptions=False)


def test_the_mean_of_one_task_is_that_task_and_of_two_counts_both_alike() -> None:
    right = staged(["N0", "N1", "N2", "N3"] * 5, ["N0", "N1", "N2", "N3"] * 5)
    half = staged(["N0", "N1", "N2", "N3"] * 5, ["N0", "N1", "N0", "N1"] * 5)
    (alone,), mean = compare(right, half), macro(right, half)
    assert (mean.task, mean.n, mean.test) == ("mean of 1 task", 20, "randomisation")
    assert (mean.first.value, mean.second.value, mean.difference.value) == (1, 0.5, 0.5)
    assert (mean.difference.low, mean.difference.high) == (alone.difference.low, alone.difference.high)
    assert mean.probability == pytest.approx(alone.probability, abs=0.01) and mean.adjusted == mean.probability

    other = [replace(one, task="m_staging", id=f"m{one.id}") for one in staged(["N0"] * 4, ["N0", "N0", "N0", "N1"])]
    both = macro([*right, *other], [*half, *other])
    assert both.n == 24 and both.first.value == pytest.approx((1 + 0.75) / 2)
    assert both.difference.value == pytest.approx(0.25)
    assert both.difference.low < 0.25 < both.difference.high < alone.difference.high
    assert macro(right, right).probability == 1
    with pytest.raises(UserError, match="answered different tasks"):
        macro(right, [*half, *other])
    with pytest.raises(UserError, match="answered different items"):
        macro(right, half[1:])
