"""The claim of validity: under its grammar a task's answer is readable whatever the model, random weights included."""

from pathlib import Path

import pytest

import radlite
from radlite.data import sample
from radlite.reader import Reader
from radlite.runtime import hf
from radlite.tasks import TASKS
from radlite.tokenizer import Tokenizer
from radlite.training.base import Shape, new_model, save

REPORTS = 200
GRAMMARS = [name for name in TASKS if TASKS[name].grammar(dict.fromkeys(TASKS[name].inputs, "A nodule."))]


def test_all_tasks_but_those_in_prose_have_a_grammar() -> None:
    assert set(TASKS) - set(GRAMMARS) == {"impression_generation", "radiology_qa"}


@pytest.fixture(scope="module", params=["qwen2.5", "qwen3"])
def reader(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Reader:
    shape = Shape(hidden=256, feed_forward=256, layers=2)
    folder = tmp_path_factory.mktemp("base")
    tokenizer = Tokenizer.from_folder(Path(radlite.__file__).parent / "models" / "tiny-qwen3")
    save(new_model(request.param, shape, tokenizer, 0), tokenizer, request.param, folder)
    return Reader(hf.open_model(folder, batch_size=32))


@pytest.mark.parametrize("reports", [12, pytest.param(REPORTS, marks=pytest.mark.slow)])
@pytest.mark.parametrize("task", GRAMMARS)
def test_a_model_with_random_weights_gives_readable_answers_only(reader: Reader, task: str, reports: int) -> None:
    questions = [(task, example.inputs) for example in sample.examples(task, "test", reports)]
    readings = list(reader.read_many(questions))
    assert [reading.status for reading in readings] == ["ok"] * reports
    for reading, (_, inputs) in zip(readings, questions, strict=True):
        report = inputs[TASKS[task].inputs[0]]
        assert all(report[one.start : one.end] == one.quote for one in reading.evidence)
        if TASKS[task].labels:
            assert reading.confidence is not None and 0 < reading.confidence <= 1
        if task == "radiology_ner":
            assert all(one.end for one in reading.answer.entities)


def test_probabilities_of_labels_and_states_make_one(reader: Reader) -> None:
    for task in ("radiology_nli", "n_staging", "m_staging"):
        example = next(sample.examples(task, "test", 1))
        spread = reader.read(task, example.inputs).probabilities
        assert sum(spread.values()) == pytest.approx(1) and len(spread) > 1
    example = next(sample.examples("abnormality_detection", "test", 1))
    reading = reader.read("abnormality_detection", example.inputs)
    assert reading.probabilities.keys() == reading.answer.states.keys()
    for name, spread in reading.probabilities.items():
        assert sum(spread.values()) == pytest.approx(1)
        assert max(spread, key=spread.__getitem__) == reading.answer.states[name]


def test_wording_of_a_task_that_the_model_was_not_tuned_with_is_said(reader: Reader) -> None:
    example = next(sample.examples("m_staging", "test", 1))
    other = Reader(reader.model, tuned={"m_staging": "0" * 16})
    assert "the model was tuned with another wording of this task" in other.read("m_staging", example.inputs).warnings
    known = Reader(reader.model, tuned={"m_staging": TASKS["m_staging"].wording})
    assert known.read("m_staging", example.inputs).warnings == ()
