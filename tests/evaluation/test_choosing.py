"""Choosing by validation answers: what chance does, what it does not, and what an oracle's advantage is worth."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from radlite.cli import app
from radlite.errors import UserError
from radlite.evaluation import choosing, ensembles
from radlite.evaluation.choosing import Candidate, learn, noise, routed
from radlite.evaluation.ensembles import agreed, averaged, consensus
from radlite.evaluation.metrics import Answered, Setup, Stage, grade, rows
from radlite.evaluation.run import Run, evaluate
from radlite.reader import Reader
from radlite.routing.router import Calibration, Choice, Router
from radlite.runtime.scripted import ScriptedModel
from tests.evaluation.items import item, said


def staged(
    share: float, n: int = 100, seed: int = 0, split: str = "validation", task: str = "m_staging"
) -> list[Answered]:
    """Answers of which this share is right."""
    wrong = set(np.random.default_rng(seed).permutation(n)[: round(n * (1 - share))].tolist())
    return [
        grade(item(task, number, "M0", split), said(task, "M1" if number in wrong else "M0")) for number in range(n)
    ]


def related(right: set[int], n: int = 60) -> list[Answered]:
    made = []
    for number in range(n):
        answer = "entailment" if number in right else "neutral"
        made.append(grade(item("radiology_nli", number, "entailment", "validation"), said("radiology_nli", answer)))
    return made


def test_a_model_that_is_clearly_better_gets_the_task_whatever_its_size() -> None:
    router = learn([Candidate("small", 1, staged(0.5)), Candidate("large", 9, staged(0.9, seed=1))])
    choice = router.choice_for("m_staging")
    assert choice.model == "large" and "higher than small, 0.50" in choice.why
    assert (choice.metric, choice.value, choice.n) == ("accuracy", 0.9, 100)


def run(name: str, stage: Stage, answered: list[Answered], **facts: Any) -> Run:
    return Run(Path("x"), Setup(name, stage, **facts), tuple(answered), {})


def test_of_the_runs_of_a_model_the_last_stage_asked_in_the_usual_way_is_chosen_from() -> None:
    runs = [
        run("one", "quantized", staged(0.9), size=3), run("one", "tuned", staged(0.8)),
        run("one", "quantized", staged(0.7), shots=3), run("two", "base", staged(0.5)),
        run("two", "base", staged(0.5), asked="task-first"),
    ]  # fmt: skip
    found = choosing.candidates(runs)
    assert [(one.name, one.size, choosing.value(one, "m_staging")) for one in found] == [
        ("one", 3, 0.9),
        ("two", 0, 0.5),
    ]


def test_two_files_of_one_name_and_stage_are_never_taken_for_one() -> None:
    two = [run("one", "quantized", staged(0.9), kind="Q4_K_M"), run("one", "quantized", staged(0.5), kind="Q8_0")]
    with pytest.raises(UserError, match="are both of one"):
        choosing.candidates(two)


def test_a_router_takes_no_other_file_for_the_one_it_was_learned_from() -> None:
    own = [Candidate("a", 1, staged(0.9), "first"), Candidate("b", 1, staged(0.2), "second")]
    router = learn(own)
    assert len(routed(own, router)) == 100
    with pytest.raises(UserError, match="of another file"):
        routed([dataclasses.replace(one, identity="third") for one in own], router)


def test_several_models_together_have_rows_and_one_alone_has_none() -> None:
    three = [
        run(name, "base", staged(share, seed=at))
        for at, (name, share) in enumerate({"a": 0.9, "b": 0.8, "c": 0.7}.items())
    ]
    router = learn(choosing.candidates(three))
    made = {(row["model"], row["value"]) for row in ensembles.rows_of_all(three, router)
            if (row["metric"], row["slice"]) == ("accuracy", "all")}  # fmt: skip
    assert ("router", 0.9) in made
    assert {name for name, _ in made} == {"router", "agreed"}  # no probabilities, no impressions
    kinds = [run(f"a-{kind}", "base", staged(0.9), base="a", kind=kind) for kind in ("F16", "Q4_K_M")]
    assert not ensembles.rows_of_all(three[:1]) and not ensembles.rows_of_all(kinds)


def test_models_that_are_not_told_apart_are_chosen_by_size_and_then_by_order() -> None:
    near = [Candidate("large", 9, staged(0.92)), Candidate("small", 1, staged(0.9, seed=1))]
    assert learn(near).choice_for("m_staging").model == "small"
    assert "not told apart from large, 0.92" in learn(near).choice_for("m_staging").why
    same = [Candidate("one", 0, staged(0.9)), Candidate("two", 0, staged(0.9))]
    assert learn(same).choice_for("m_staging").model == "one"


def test_a_model_that_another_task_needs_anyway_goes_before_a_smaller_one() -> None:
    every = set(range(60))
    small = Candidate("small", 1, [*staged(0.9), *related(set(range(10)))])
    large = Candidate("large", 9, [*staged(0.92, seed=1), *related(every)])
    router = learn([small, large])
    assert {task: choice.model for task, choice in router.choices.items()} == {
        "m_staging": "large", "radiology_nli": "large",
    }  # fmt: skip


def assigned(right: dict[str, bool], n: int = 40) -> list[Answered]:
    codes = {"TI-RADS": ("TI-RADS 3", "TI-RADS 4"), "LI-RADS": ("LR-3", "LR-5")}
    return [
        grade(item("rads_assignment", number * 2 + (system == "TI-RADS"), codes[system][0], "validation"),
              said("rads_assignment", codes[system][0 if good or number % 4 == 0 else 1]))
        for system, good in right.items()
        for number in range(n)
    ]  # fmt: skip


def test_a_system_gets_a_model_of_its_own_only_where_that_is_better_beyond_chance() -> None:
    one = Candidate("one", 1, assigned({"TI-RADS": True, "LI-RADS": False}))
    two = Candidate("two", 2, assigned({"TI-RADS": False, "LI-RADS": True}))
    router = learn([one, two])
    assert router.choice_for("rads_assignment", "TI-RADS").model == "one"
    assert router.choice_for("rads_assignment", "LI-RADS").model == "two"
    assert [answer.label == answer.truth for answer in routed([one, two], router)] == [True] * 80
    few = [
        Candidate("one", 1, assigned({"TI-RADS": True, "LI-RADS": False}, 20)),
        Candidate("two", 2, assigned({"TI-RADS": False, "LI-RADS": True}, 20)),
    ]
    assert set(learn(few).choices) == {"rads_assignment"}


def test_models_that_are_alike_leave_an_oracle_nothing_on_new_items() -> None:
    found = []
    for draw in range(20):
        shares = np.random.default_rng(draw).binomial(60, 0.7, 6) / 60
        every = [Candidate(str(number), 1, staged(share, 60, 6 * draw + number)) for number, share in enumerate(shares)]
        found.append(noise(every, Router({"m_staging": learn(every[:1]).choices["m_staging"]}), "m_staging"))
    apparent, honest = (np.mean([getattr(one, name) for one in found]) for name in ("apparent", "honest"))
    assert apparent > 0.06 and abs(honest) < 0.03
    better = [Candidate("a", 1, staged(0.5, 200)), Candidate("b", 2, staged(0.9, 200, 1))]
    poor = Router({"m_staging": learn(better[:1]).choices["m_staging"]})
    assert noise(better, poor, "m_staging").honest == pytest.approx(0.4, abs=0.05)


def test_other_splits_items_and_names_given_twice_are_refused() -> None:
    with pytest.raises(UserError, match="validation answers only"):
        learn([Candidate("a", 1, staged(0.9, split="test"))])
    with pytest.raises(UserError, match="different items"):
        learn([Candidate("a", 1, staged(0.9)), Candidate("b", 1, staged(0.9, 90))])
    with pytest.raises(UserError, match="of one model"):
        learn([Candidate("a", 1, staged(0.9))] * 2)
    with pytest.raises(UserError, match="no validation answers"):
        learn([])


def likely(label: str, truth: str, share: float) -> Answered:
    answered = grade(item("radiology_nli", 1, truth), said("radiology_nli", label))
    others = {"entailment", "neutral", "contradiction"} - {label}
    told = {label: share, **dict.fromkeys(others, (1 - share) / 2)}
    return Answered(**{**{name: getattr(answered, name) for name in answered.__slots__}, "probabilities": told})


def test_the_average_takes_the_label_that_is_likeliest_over_all_models() -> None:
    sure, unsure = likely("entailment", "entailment", 0.95), likely("neutral", "entailment", 0.5)
    [found] = averaged({"a": [unsure], "b": [sure]})
    assert found.label == "entailment" and found.values["accuracy"] == 1
    [lost] = averaged({"a": [grade(item("radiology_nli", 1, "neutral"), said("radiology_nli", "?"))]})
    assert lost.status == "unreadable"


def test_agreement_answers_only_where_all_say_the_same() -> None:
    one, other = likely("entailment", "entailment", 0.9), likely("neutral", "entailment", 0.9)
    [same], [none] = agreed({"a": [one], "b": [one]}), agreed({"a": [one], "b": [other]})
    assert same.label == "entailment" and (none.label, none.status, none.values["accuracy"]) == (None, "abstained", 0)
    assert {row["value"] for row in rows([none], "x", "ensemble") if row["metric"] == "accuracy"} == {0.0}


def test_consensus_is_the_impression_most_like_the_others() -> None:
    texts = ["Small left pleural effusion.", "Left pleural effusion, small.", "Fracture of the right hip."]
    answers = {
        text: [grade(item("impression_generation", 1, "Left effusion."), said("impression_generation", text))]
        for text in texts
    }
    [found] = consensus(answers)
    assert found.text in texts[:2]


def test_a_limit_is_held_against_answers_that_it_was_not_learned_from() -> None:
    sure, unsure = likely("entailment", "entailment", 0.9), likely("neutral", "entailment", 0.5)
    calibration = Calibration(threshold=0.6, n=40, risk=0.3)
    choice = Choice("a", "accuracy", 1.0, 0.9, 1.0, 40, "the only one", calibration)
    router = Router({"radiology_nli": choice})
    wrong = likely("neutral", "entailment", 0.9)

    def held(*answered: Answered) -> choosing.Withheld:
        [found] = choosing.withheld([Candidate("a", 1, answered), Candidate("b", 1, answered)], router)
        return found

    one = held(*[sure] * 60, *[unsure] * 40)
    assert (one.kept.coverage.value, one.kept.wrong.n, one.kept.wrong.value, one.words) == (0.6, 60, 0.0, "holds")
    assert held(*[sure] * 10, *[wrong] * 30).words == "does not hold"
    assert held(*[sure] * 6, *[wrong] * 4).words == "not told: above it within chance"
    assert held(*[sure] * 9, *[wrong]).words == "not told: below it within chance"
    assert held(unsure).words == "holds" and held(unsure).kept.wrong.n == 0
    assert not choosing.withheld([Candidate("b", 1, [sure])], router)


def test_where_no_limit_is_low_enough_the_command_says_so(tmp_path: Path) -> None:
    answered = [likely("entailment" if number % 2 else "neutral", "entailment", 0.9) for number in range(40)]
    out = tmp_path / "router.json"
    learn([Candidate("a", 1, [dataclasses.replace(one, split="validation") for one in answered])], 0.1).save(out)
    [choice] = Router.load(out).choices.values()
    assert (choice.calibration.threshold, choice.calibration.risk) == (0.0, 0.1)


def test_the_command_learns_from_the_validation_runs_of_a_folder(tmp_path: Path) -> None:
    for split in ("validation", "test"):
        items = [item("m_staging", number, "M0", split) for number in range(40)]
        for name, text in (("good", "M0"), ("bad", "M1")):
            model = ScriptedModel(lambda _, text=text: text, name=name)  # type: ignore[misc]
            evaluate(Reader(model), items, tmp_path / "out" / f"{name}-{split}", setup=Setup(name))
    run = CliRunner()
    done = run.invoke(
        app, ["route", str(tmp_path / "out"), "--out", str(tmp_path / "router.json")], catch_exceptions=False
    )
    assert "m_staging: good (accuracy 1.00, n=40; higher than bad, 0.00, p <0.001 in this task alone)" in done.stdout
    assert f"Written to {tmp_path / 'router.json'}" in done.stdout
    assert Router.load(tmp_path / "router.json").choice_for("m_staging").model == "good"
    with pytest.raises(UserError, match="validation answers only"):
        run.invoke(app, ["route", str(tmp_path / "out" / "good-test")], catch_exceptions=False)
