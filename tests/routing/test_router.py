"""The router learns from validation results, says what it learned, and survives bad files."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from radlite.errors import UserError
from radlite.routing.router import Router, learn


def row(model: str, value: float, task: str = "m_staging", **other: Any) -> dict[str, Any]:
    known = {
        "stage": "tuned",
        "shots": 0,
        "asked": "",
        "split": "validation",
        "slice": "all",
        "metric": "accuracy",
        "n": 50,
    }
    return {"model": model, "task": task, "value": value, "low": value - 0.1, "high": value + 0.1, **known, **other}


def test_each_task_goes_to_the_model_that_did_best() -> None:
    router = learn([row("a", 0.6), row("b", 0.7), row("a", 0.5, "n_staging"), row("b", 0.4, "n_staging")])
    assert (router.model_for("m_staging"), router.model_for("n_staging")) == ("b", "a")
    choice = router.choices["m_staging"]
    assert (choice.value, choice.low, choice.high, choice.n) == (0.7, 0.6, 0.7 + 0.1, 50)
    assert (choice.runner_up, choice.runner_up_value) == ("a", 0.6)


def test_on_a_tie_the_model_named_first_is_kept() -> None:
    assert learn([row("small", 0.7), row("large", 0.7)]).model_for("m_staging") == "small"


def test_the_primary_metric_over_all_items_decides() -> None:
    rows = [row("a", 0.6), row("b", 0.5), row("b", 0.9, slice="BI-RADS"), row("b", 0.9, metric="macro_f1")]
    assert learn(rows).model_for("m_staging") == "a"


@pytest.mark.parametrize("other", [{}, {"slice": "seen_wording"}, {"metric": "macro_f1"}])
def test_a_single_row_from_the_test_split_is_refused(other: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="validation results only"):
        learn([row("a", 0.6), row("b", 0.7, split="test", **other)])


def test_results_that_cannot_be_compared_are_refused() -> None:
    with pytest.raises(UserError, match="two validation results"):
        learn([row("a", 0.6), row("a", 0.7, stage="quantized")])
    with pytest.raises(UserError, match="different numbers"):
        learn([row("a", 0.6), row("b", 0.7, n=20)])
    with pytest.raises(UserError, match="no validation results"):
        learn([])


def test_a_task_without_results_has_no_model() -> None:
    with pytest.raises(UserError, match="n_staging"):
        learn([row("a", 0.6)]).model_for("n_staging")
    with pytest.raises(UserError, match="did you mean m_staging"):
        learn([row("a", 0.6)]).model_for("m_stagin")


def test_a_saved_router_is_read_back_whole(tmp_path: Path) -> None:
    router = learn([row("a", 0.6), row("b", 0.7), row("a", 1.0, "radiology_nli")])
    router.save(tmp_path / "router.json")
    assert Router.load(tmp_path / "router.json") == router


def test_a_missing_file_is_the_users_to_mend(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="Cannot read"):
        Router.load(tmp_path / "router.json")


JSON = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(JSON, JSON)
@settings(max_examples=40, deadline=None)
def test_whatever_stands_in_the_file_either_loads_or_is_a_user_error(
    tmp_path_factory: pytest.TempPathFactory, value: Any, choice: Any
) -> None:
    path = tmp_path_factory.getbasetemp() / "router.json"
    for content in (value, {"kind": "router", "split": "validation", "tasks": value},
                    {"kind": "router", "split": "validation", "tasks": {"m_staging": choice}}):  # fmt: skip
        path.write_text(json.dumps(content), "utf-8")
        try:
            Router.load(path)
        except UserError as error:
            assert "router.json" in str(error) or "no task" in str(error)


def test_an_edited_file_with_a_wrong_value_names_the_place(tmp_path: Path) -> None:
    path = tmp_path / "router.json"
    learn([row("a", 0.6)]).save(path)
    content = json.loads(path.read_text("utf-8"))
    content["tasks"]["m_staging"]["model"] = 3
    path.write_text(json.dumps(content), "utf-8")
    with pytest.raises(UserError, match=r"m_staging\.model"):
        Router.load(path)
    content["split"] = "test"
    path.write_text(json.dumps(content), "utf-8")
    with pytest.raises(UserError, match="no router file"):
        Router.load(path)
