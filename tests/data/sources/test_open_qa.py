"""MedMCQA: radiology alone, the right option whether the index counts from 0 or 1, and nothing that needs an image."""

import gzip
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from radlite.data.sources.open_qa import MEDMCQA
from radlite.data.sources.source import Tally
from radlite.errors import UserError
from radlite.tasks import Example, named
from tests.data.shapes import open_qa as shape

OPTIONS = {"opa": "CT", "opb": "MRI", "opc": "Ultrasound", "opd": "Plain  radiograph"}
JSON = ("train.json", "dev.json")
PARQUET = ("train-00000-of-00001.parquet", "validation-00000-of-00001.parquet")


def read(folder: Path, most: float = 0.01) -> tuple[list[Example], Tally]:
    tally = Tally()
    return list(MEDMCQA.read(folder, tally, most)), tally


def change(path: Path, line: int, **keys: Any) -> None:
    """Set keys of the row at `line` (from 1) of JSON lines."""
    rows = [json.loads(text) for text in path.read_text().splitlines()]
    rows[line - 1] |= keys
    shape.lines(path, rows)


def test_every_question_on_radiology_becomes_an_example_with_a_readable_answer(tmp_path: Path) -> None:
    shape.write(tmp_path, count=20)
    rows, tally = read(tmp_path)
    assert len(rows) == 40 and tally.rows == 80 and not tally.malformed and sorted(tally.files) == sorted(JSON)
    assert tally.dropped == {"radiology_qa: another subject": 40}
    assert len({row.id for row in rows}) == 40
    assert Counter(row.split for row in rows) == {"train": 20, "test": 20}
    for row in rows:
        assert row.task == "radiology_qa" and row.source == "medmcqa" and row.tier == "gold" and not row.patient
        assert named(row.task).read(row.answer) is not None
        assert set(row.inputs) == {"report", "question"} and all(text.strip() for text in row.inputs.values())
        assert any(line[3:] == row.answer for line in row.inputs["report"].splitlines()[1:])


@pytest.mark.parametrize(("cop", "answer"), [*enumerate(["CT", "MRI", "Ultrasound", "Plain radiograph"], start=1)])
def test_an_index_from_1_names_the_right_option(cop: int, answer: str, tmp_path: Path) -> None:
    shape.write(tmp_path, count=20)
    change(tmp_path / "train.json", 1, **OPTIONS, cop=cop, question="Best for  gallstones?", id="x")
    row = read(tmp_path)[0][0]
    assert (row.id, row.answer, row.inputs["question"]) == ("x", answer, "Best for gallstones?")
    assert row.inputs["report"] == "Options:\nA. CT\nB. MRI\nC. Ultrasound\nD. Plain radiograph"


def test_parquet_with_an_index_from_0_gives_the_same_examples_and_the_hidden_test_part_is_not_read(
    tmp_path: Path,
) -> None:
    for name, write in (("lines", shape.write), ("parquet", shape.write_parquet)):
        (tmp_path / name).mkdir()
        write(tmp_path / name, count=20)
    rows, tally = read(tmp_path / "parquet")
    assert rows == read(tmp_path / "lines")[0] and sorted(tally.files) == sorted(PARQUET)


def test_each_file_is_asked_for_its_own_index(tmp_path: Path) -> None:
    shape.write(tmp_path, count=20)
    right = [row.answer for row in read(tmp_path)[0]]
    dev = [json.loads(line) for line in (tmp_path / "dev.json").read_text().splitlines()]
    shape.lines(tmp_path / "dev.json", [row | {"cop": row["cop"] - 1} for row in dev])
    assert [row.answer for row in read(tmp_path)[0]] == right


@pytest.mark.parametrize(("values", "said"), [([1, 2, 3], "neither 0 nor 4"), ([0, 2, 4], "both 0 and 4")])
def test_an_index_that_may_count_from_0_or_1_is_an_error_that_says_so(
    values: list[int], said: str, tmp_path: Path
) -> None:
    shape.write(tmp_path, count=20)
    rows = [json.loads(line) for line in (tmp_path / "train.json").read_text().splitlines()]
    shape.lines(tmp_path / "train.json", [row | {"cop": values[n % 3]} for n, row in enumerate(rows)])
    with pytest.raises(UserError, match=rf"train\.json has {said} in cop.*from 0 or from 1"):
        read(tmp_path)


def test_the_hidden_test_part_in_place_of_the_development_part_is_told(tmp_path: Path) -> None:
    shape.write_parquet(tmp_path, count=5)
    (tmp_path / "data" / "test-00000-of-00001.parquet").rename(tmp_path / "data" / PARQUET[1])
    with pytest.raises(UserError, match=r"validation-.* neither 0 nor 4 .* answers are hidden"):
        read(tmp_path)


IMAGE = [
    "Identify the structure in the image shown below",
    "What is the diagnosis in this picture?",
    "The given X-ray shows",
    "A 40 year old has pain. CT scan is shown. The diagnosis is",
    "Sign seen in the following image is",
]
NO_IMAGE = [
    "Which of the following X-ray views is best for the sinuses?",
    "Air crescent sign is shown by",
    "The imaging modality of choice is",
    "Mirror image artifact is seen in",
    "In this patient the best investigation is",
    "MRI is contraindicated in",
]


@pytest.mark.parametrize(("question", "kept"), [*((q, False) for q in IMAGE), *((q, True) for q in NO_IMAGE)])
def test_a_question_about_an_image_is_dropped_and_counted(question: str, kept: bool, tmp_path: Path) -> None:
    shape.write(tmp_path, count=10)
    change(tmp_path / "train.json", 1, question=question)
    rows, tally = read(tmp_path)
    assert (question in [row.inputs["question"] for row in rows]) == kept
    assert tally.dropped["radiology_qa: needs the image"] == 1 - kept and not tally.malformed


def test_an_option_that_is_not_given_is_left_out(tmp_path: Path) -> None:
    shape.write(tmp_path, count=10)
    change(tmp_path / "train.json", 1, **OPTIONS | {"opc": None, "opd": " "}, cop=2)
    row = read(tmp_path)[0][0]
    assert row.inputs["report"] == "Options:\nA. CT\nB. MRI" and row.answer == "MRI"


MALFORMED = {
    "cop is no index of an option": {"cop": 7},
    "the right option is blank": {"cop": 3, "opc": ""},
    "fewer than two options": {"opb": None, "opc": None, "opd": None},
    "no question": {"question": None},
    "no id or a repeated one": {"id": " "},
}


@pytest.mark.parametrize("why", MALFORMED)
def test_a_malformed_question_is_counted_with_file_and_line(why: str, tmp_path: Path) -> None:
    shape.write(tmp_path, count=40)
    change(tmp_path / "dev.json", 5, **MALFORMED[why])
    rows, tally = read(tmp_path)
    assert len(rows) == 79 and [(row.file, row.line, row.why) for row in tally.malformed] == [("dev.json", 5, why)]


def test_a_repeated_id_is_malformed_and_rows_of_other_subjects_are_not_looked_at(tmp_path: Path) -> None:
    shape.write(tmp_path, count=40)
    change(tmp_path / "train.json", 2, question=None, opa=None, cop=None)  # not on radiology
    assert not read(tmp_path)[1].malformed
    first = json.loads((tmp_path / "train.json").read_text().splitlines()[0])
    change(tmp_path / "dev.json", 3, id=first["id"])
    rows, tally = read(tmp_path)
    assert len(rows) == 79 and tally.malformed[0].why == "no id or a repeated one"


@pytest.mark.parametrize("file", JSON)
def test_wrong_json_lines_are_named_and_not_quoted(file: str, tmp_path: Path) -> None:
    shape.write(tmp_path, count=20)
    path = tmp_path / file
    good = path.read_bytes()
    wrong = {
        "gzip": gzip.compress(good)[:-20],
        "a web page": b"<html><body>Sign in to continue</body></html>",
        "without cop": good.replace(b'"cop":', b'"answer":'),
    }
    for kind, content in wrong.items():
        path.write_bytes(content)
        with pytest.raises(UserError, match=kind) as caught:
            read(tmp_path)
        assert file in str(caught.value) and "Sign in" not in str(caught.value)
    path.unlink()
    with pytest.raises(UserError, match=f"has no .*parquet or {file}"):
        read(tmp_path)
    (tmp_path / f"{file}.gz").write_bytes(gzip.compress(good))
    assert len(read(tmp_path)[0]) == 40


@pytest.mark.parametrize("file", PARQUET)
def test_wrong_parquet_is_named_and_not_quoted(file: str, tmp_path: Path) -> None:
    shape.write_parquet(tmp_path, count=20)
    path = tmp_path / "data" / file
    good = path.read_bytes()
    pq.write_table(pq.read_table(path).drop_columns(["cop"]), path)
    wrong = {
        "lacks the column cop": path.read_bytes(),
        "a web page": b"<html><body>Sign in to continue</body></html>",
        "Git LFS pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 3\n",
        "parquet is": good[:-40],
        "no train|no validation": None,
    }
    for kind, content in wrong.items():
        path.unlink(missing_ok=True) if content is None else path.write_bytes(content)
        with pytest.raises(UserError, match=kind) as caught:
            read(tmp_path)
        assert file in str(caught.value) and "Sign in" not in str(caught.value)


def test_the_fixture_is_the_same_for_the_same_seed(tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        (tmp_path / name).mkdir()
        shape.write(tmp_path / name, count=5, seed=seed)
    written = [[(tmp_path / name / file).read_bytes() for file in JSON] for name in "abc"]
    assert written[0] == written[1] != written[2]
