"""RadQA: answers are words of the report at their place, or that it does not say; recurring ids stay apart."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from radlite.data.sources.radqa import RADQA
from radlite.data.sources.source import Tally
from radlite.errors import UserError
from radlite.tasks import Example, named
from radlite.tasks.qa import NOT_STATED
from tests.data.shapes import radqa as shape

CONTEXT = "FINDINGS:  There is a solid 12 mm nodule in the\nright upper lobe, new since [**2101-1-2**]. No effusion.\n"
FILES = ("train.json", "dev.json", "test.json")


def read(folder: Path, most: float = 0.01) -> tuple[list[Example], Tally]:
    tally = Tally()
    return list(RADQA.read(folder, tally, most)), tally


def ask(id: str, text: str | None, **keys: Any) -> dict[str, Any]:
    answers = [] if text is None else [{"text": text, "answer_start": CONTEXT.index(text)}]
    return {"id": id, "question": "Where is the nodule?", "is_impossible": text is None, "answers": answers} | keys


def document(qas: list[Any], title: str = "4711", **keys: Any) -> dict[str, Any]:
    return {"title": title, "paragraphs": [{"document_id": "88_O", "context": CONTEXT, "qas": qas} | keys]}


def train(folder: Path, *documents: Any) -> Path:
    """A folder with these documents to train on and one question in each of the other files."""
    for part, data in (("train", documents), ("dev", [document([], "1")]), ("test", [document([], "2")])):
        (folder / f"{part}.json").write_text(json.dumps({"version": "1.0.0", "data": list(data)}))
    return folder


def test_every_question_of_a_paragraph_becomes_an_example_with_a_readable_answer(tmp_path: Path) -> None:
    shape.write(tmp_path, count=20)
    rows, tally = read(tmp_path)
    assert len(rows) == tally.rows == 20 * 2 * 2 and not tally.malformed and sorted(tally.files) == sorted(FILES)
    assert len({row.id for row in rows}) == len(rows)
    for row in rows:
        assert row.task == "radiology_qa" and row.source == "radqa" and row.tier == "gold"
        assert named(row.task).read(row.answer) is not None
        assert set(row.inputs) == {"report", "question"} and all(text.strip() for text in row.inputs.values())


def test_patients_have_several_reports_and_one_split_each(tmp_path: Path) -> None:
    shape.write(tmp_path, count=20)
    rows, _ = read(tmp_path)
    splits: dict[str, set[str]] = {}
    studies: dict[str, set[str]] = {}
    for row in rows:
        splits.setdefault(row.patient, set()).add(row.split)
        studies.setdefault(row.patient, set()).add(row.study)
    assert all(len(found) == 1 for found in splits.values()) and all(len(found) == 4 for found in studies.values())
    assert set().union(*splits.values()) == {"train", "validation", "test"} and len(splits) == 20


def test_an_answer_is_the_words_at_its_place_without_the_break_of_the_line(tmp_path: Path) -> None:
    rows, _ = read(train(tmp_path, document([ask("q1", "in the\nright upper lobe")])))
    assert rows[0].answer == "in the right upper lobe" and rows[0].tags == ("answerable",)
    assert rows[0].inputs["question"] == "Where is the nodule?"
    assert rows[0].inputs["report"] == (
        "FINDINGS: There is a solid 12 mm nodule in the right upper lobe, new since [**2101-1-2**]. No effusion."
    )
    task = named("radiology_qa")
    assert task.ground(task.read(rows[0].answer), rows[0].inputs).answer.kind == "extractive"
    assert (rows[0].patient, rows[0].study, rows[0].split) == ("mimic3:4711", "radqa:88_O", "train")


def test_the_first_of_several_answers_is_taken(tmp_path: Path) -> None:
    both = [{"text": text, "answer_start": CONTEXT.index(text)} for text in ("12 mm", "No effusion")]
    assert read(train(tmp_path, document([ask("q1", "12 mm", answers=both)])))[0][0].answer == "12 mm"


def test_an_impossible_question_is_not_stated_even_with_plausible_answers(tmp_path: Path) -> None:
    plausible = ask("q2", "12 mm", is_impossible=True)
    rows, _ = read(train(tmp_path, document([ask("q1", None), plausible])))
    assert [(row.answer, row.tags) for row in rows] == [(NOT_STATED, ("unanswerable",))] * 2


def test_a_question_asked_of_findings_and_impression_is_two_examples(tmp_path: Path) -> None:
    first = document([ask("q1", "12 mm")])
    paragraph = first["paragraphs"][0]
    first["paragraphs"].append(paragraph | {"document_id": "88_I"})
    first["paragraphs"].append(paragraph)  # the same document again
    rows, tally = read(train(tmp_path, first))
    assert [row.id for row in rows] == ["88_O.1/q1", "88_I.2/q1", "88_O.3/q1"] and not tally.malformed


def test_a_paragraph_without_a_document_id_is_named_by_its_patient_or_its_place(tmp_path: Path) -> None:
    rows, _ = read(
        train(
            tmp_path,
            document([ask("q1", "12 mm")], document_id=None),
            document([ask("q1", "12 mm")], title="", document_id=None),
        )
    )
    assert [(row.id, row.patient) for row in rows] == [("4711.1/q1", "mimic3:4711"), ("train-2.1/q1", "")]


@pytest.mark.parametrize("title", ["Radiology report 4711", "100012345", "", "train"])
def test_a_title_that_is_no_subject_of_mimic_iii_tells_no_patient(title: str, tmp_path: Path) -> None:
    assert read(train(tmp_path, document([ask("q1", "12 mm")], title=title)))[0][0].patient == ""


SPAN = "the answer is not at its place in the context"
NO_ANSWER = "answerable, but without an answer"
BAD = {
    "shifted": (ask("q", None, is_impossible=False, answers=[{"text": "12 mm", "answer_start": 3}]), SPAN),
    "negative": (ask("q", None, is_impossible=False, answers=[{"text": "\n", "answer_start": -1}]), NO_ANSWER),
    "counted from the end": (ask("q", None, is_impossible=False, answers=[{"text": ".", "answer_start": -2}]), SPAN),
    "place as text": (ask("q", None, is_impossible=False, answers=[{"text": "12", "answer_start": "22"}]), SPAN),
    "no answers": (ask("q", None, is_impossible=False), NO_ANSWER),
    "no is_impossible": (ask("q", "12 mm", is_impossible=None), "is_impossible is neither true nor false"),
    "no question": (ask("q", "12 mm", question=" "), "no question"),
    "no id": (ask("", "12 mm"), "no id"),
    "a repeated id": (ask("q0", "12 mm"), "a repeated id"),
    "a list": ([], "not in the form of SQuAD 2.0"),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_question_is_malformed_and_the_others_are_read(kind: str, tmp_path: Path) -> None:
    bad, why = BAD[kind]
    good = [ask(f"q{number}", "12 mm") for number in range(150)]
    rows, tally = read(train(tmp_path, document([]), document([*good, bad])))
    assert len(rows) == 150 and tally.rows == 151
    assert [(row.file, row.line, row.why) for row in tally.malformed] == [
        ("train.json", 2, f"question 151 of paragraph 1: {why}")
    ]


@pytest.mark.parametrize("bad", [7, {"title": "9"}, {"title": "9", "paragraphs": [{"context": "Clear.", "qas": None}]}])
def test_a_document_or_paragraph_of_another_form_is_malformed(bad: Any, tmp_path: Path) -> None:
    rows, tally = read(train(tmp_path, document([ask("q1", "12 mm")]), bad), most=1)
    assert len(rows) == 1 and tally.rows == 2 and tally.malformed[0].line == 2


def test_many_bad_answers_stop_the_build_though_there_are_few_documents(tmp_path: Path) -> None:
    shifted = ask("q2", "12 mm", answers=[{"text": "12 mm", "answer_start": 0}])
    with pytest.raises(UserError, match=r"1 of 2 rows of radqa .* train\.json line 1") as caught:
        read(train(tmp_path, document([ask("q1", "12 mm"), shifted])))
    assert "12 mm" not in str(caught.value)


WRONG: dict[str, Callable[[bytes], bytes]] = {
    "a web page": lambda good: b"<!DOCTYPE html><html><body>Log in to PhysioNet</body></html>",
    "gzip": lambda good: gzip.compress(good)[:-200],
    "ends or breaks": lambda good: good[:-50],
    "no entries": lambda good: good.replace(b'"data":', b'"rows":'),
}


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("kind", WRONG)
def test_a_wrong_file_is_named_and_not_quoted(file: str, kind: str, tmp_path: Path) -> None:
    shape.write(tmp_path, count=20)
    path = tmp_path / file
    path.write_bytes(WRONG[kind](path.read_bytes()))
    with pytest.raises(UserError, match=kind) as caught:
        read(tmp_path)
    assert file in str(caught.value) and "Log in" not in str(caught.value)


@pytest.mark.parametrize("file", FILES)
def test_a_missing_file_is_named_and_a_packed_one_is_read(file: str, tmp_path: Path) -> None:
    shape.write(tmp_path, count=5)
    good = (tmp_path / file).read_bytes()
    (tmp_path / file).unlink()
    with pytest.raises(UserError, match=f"has no {file}"):
        read(tmp_path)
    (tmp_path / f"{file}.gz").write_bytes(gzip.compress(good))
    assert len(read(tmp_path)[0]) == 5 * 4


def test_the_fixture_is_the_same_for_the_same_seed(tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        (tmp_path / name).mkdir()
        shape.write(tmp_path / name, count=5, seed=seed)
    written = [[(tmp_path / name / file).read_bytes() for file in FILES] for name in "abc"]
    assert written[0] == written[1] != written[2]
