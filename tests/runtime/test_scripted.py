import pytest

from radlite.reader import Reader
from radlite.runtime.model import Model
from radlite.runtime.scripted import ScriptedModel


def test_a_script_of_texts_is_used_up_one_by_one() -> None:
    model = ScriptedModel(["M1", "no stage"])
    reader = Reader(model)
    assert reader.read("m_staging", {"report": "Liver lesions."}).answer.category == "M1"
    assert reader.read("m_staging", {"report": "Liver lesions."}).status == "unreadable"
    with pytest.raises(RuntimeError, match="no answer left"):
        reader.read("m_staging", {"report": "Liver lesions."})


def test_a_script_may_look_at_the_prompt() -> None:
    model: Model = ScriptedModel(lambda prompt: "M1" if "metastases" in prompt else "M0")
    answers = Reader(model).read_many([("m_staging", {"report": text}) for text in ("No mass.", "Liver metastases.")])
    assert [reading.answer.category for reading in answers] == ["M0", "M1"]


def test_what_was_asked_is_kept() -> None:
    model = ScriptedModel(["M0"])
    Reader(model).read("m_staging", {"report": "Größe: 8 mm"})
    assert "Größe: 8 mm" in model.prompts[0].text


def test_a_script_may_stop_short() -> None:
    reading = Reader(ScriptedModel(["M0"], stop_reason="length")).read("m_staging", {"report": "x"})
    assert reading.status == "unreadable"


def test_a_small_context_makes_a_report_too_long() -> None:
    assert Reader(ScriptedModel([], context_tokens=50)).read("m_staging", {"report": "x"}).status == "too_long"
