"""The router file: what it says of a task, and that bad files are told."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from radlite.errors import UserError
from radlite.routing.router import Calibration, Choice, Router


def choice(model: str, **calibration: Any) -> Choice:
    return Choice(model, "accuracy", 0.7, 0.6, 0.8, 50, "the only one", Calibration(**calibration))


def test_a_task_or_a_system_of_it_has_its_model() -> None:
    router = Router({"rads_assignment": choice("a"), "rads_assignment/LI-RADS": choice("b")})
    assert router.choice_for("rads_assignment").model == "a"
    assert router.choice_for("rads_assignment", "LI-RADS").model == "b"
    assert router.choice_for("rads_assignment", "BI-RADS").model == "a"


def test_a_task_without_results_has_no_model() -> None:
    with pytest.raises(UserError, match="n_staging"):
        Router({"m_staging": choice("a")}).choice_for("n_staging")
    with pytest.raises(UserError, match="did you mean m_staging"):
        Router({"m_staging": choice("a")}).choice_for("m_stagin")


def test_a_saved_router_is_read_back_whole(tmp_path: Path) -> None:
    router = Router({"m_staging": choice("a", temperature=1.5, threshold=0.8, n=40), "radiology_nli": choice("b")})
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
    Router({"m_staging": choice("a")}).save(path)
    content = json.loads(path.read_text("utf-8"))
    content["tasks"]["m_staging"]["model"] = 3
    path.write_text(json.dumps(content), "utf-8")
    with pytest.raises(UserError, match=r"m_staging\.model"):
        Router.load(path)
    content["tasks"]["m_staging"] |= {"model": "a", "calibration": {"temperature": 0.0}}
    path.write_text(json.dumps(content), "utf-8")
    with pytest.raises(UserError, match=r"m_staging\.calibration"):
        Router.load(path)
    content["split"] = "test"
    path.write_text(json.dumps(content), "utf-8")
    with pytest.raises(UserError, match="no router file"):
        Router.load(path)


@pytest.mark.parametrize(
    ("place", "value"),
    [("calibration.threshold", "NaN"), ("calibration.threshold", -1), ("calibration.temperature", "Infinity"),
     ("calibration.temperature", 1e-300), ("calibration.risk", 2), ("value", "NaN"), ("n", -5)],
)  # fmt: skip
def test_numbers_that_cannot_be_are_told(tmp_path: Path, place: str, value: Any) -> None:
    path = tmp_path / "router.json"
    Router({"m_staging": choice("a", n=40)}).save(path)
    content = json.loads(path.read_text())
    *outer, last = place.split(".")
    within = content["tasks"]["m_staging"]
    for name in outer:
        within = within[name]
    within[last] = float(value) if isinstance(value, str) else value
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match="broken at m_staging"):
        Router.load(path)


def test_a_system_that_is_none_is_told(tmp_path: Path) -> None:
    Router({"rads_assignment/X\x1bRADS": choice("a")}).save(tmp_path / "router.json")
    with pytest.raises(UserError, match=r"names X\\x1bRADS, no RADS system"):
        Router.load(tmp_path / "router.json")
