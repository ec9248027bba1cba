"""RadNLI and MedNLI: pairs read with their official parts; the two spellings of the id are not mixed up."""

import gzip
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from radlite.data.sources.nli import MEDNLI, RADNLI
from radlite.data.sources.source import Source, Tally
from radlite.errors import UserError
from radlite.tasks import Example, named
from tests.data.shapes import nli as shape

SOURCES = {"radnli": RADNLI, "mednli": MEDNLI}
ID = {"radnli": "pair_id", "mednli": "pairID"}
FILES = {
    "radnli": ["radnli_dev_v1.jsonl", "radnli_test_v1.jsonl"],
    "mednli": ["mli_train_v1.jsonl", "mli_dev_v1.jsonl", "mli_test_v1.jsonl"],
}
EACH_FILE = [(name, file) for name, files in FILES.items() for file in files]


def read(source: Source, folder: Path, most: float = 0.01) -> tuple[list[Example], Tally]:
    tally = Tally()
    return list(source.read(folder, tally, most)), tally


def change(path: Path, line: int, **keys: Any) -> None:
    """Set keys of the row at `line` (from 1); None takes the key out."""
    rows = [json.loads(text) for text in path.read_text().splitlines()]
    rows[line - 1] = {key: value for key, value in (rows[line - 1] | keys).items() if value is not None}
    shape.lines(path, rows)


@pytest.mark.parametrize("name", SOURCES)
def test_every_pair_becomes_one_example_with_both_sentences_and_a_readable_answer(name: str, tmp_path: Path) -> None:
    shape.write(tmp_path, count=20)
    rows, tally = read(SOURCES[name], tmp_path)
    assert len(rows) == tally.rows == 20 * len(FILES[name]) and not tally.malformed
    assert sorted(tally.files) == sorted(FILES[name])
    assert len({row.id for row in rows}) == len(rows)
    for row in rows:
        assert row.task == "radiology_nli" and named(row.task).read(row.answer) is not None
        assert set(row.inputs) == {"premise", "hypothesis"} and all(text.strip() for text in row.inputs.values())
        assert row.source == name and row.tier == "gold" and not row.patient


@pytest.mark.parametrize("label", ["entailment", "contradiction", "neutral"])
def test_sentence1_is_the_premise_sentence2_the_hypothesis_and_the_label_the_answer(label: str, tmp_path: Path) -> None:
    shape.write(tmp_path, count=2)
    change(tmp_path / "radnli_dev_v1.jsonl", 1, gold_label=label, sentence1="The heart is\nlarge. ", sentence2="Large.")
    rows, _ = read(RADNLI, tmp_path)
    assert rows[0].inputs == {"premise": "The heart is large.", "hypothesis": "Large."} and rows[0].answer == label


def test_radnli_trains_on_its_development_pairs_and_has_no_validation(tmp_path: Path) -> None:
    shape.write(tmp_path, count=5)
    rows, _ = read(RADNLI, tmp_path)
    assert [(row.split, row.id) for row in rows[::5]] == [("train", "dev/dev0"), ("test", "test/test0")]
    assert Counter(row.split for row in rows) == {"train": 5, "test": 5}


def test_mednli_keeps_its_three_parts(tmp_path: Path) -> None:
    shape.write(tmp_path, count=5)
    rows, _ = read(MEDNLI, tmp_path)
    assert [row.split for row in rows[::5]] == ["train", "validation", "test"]
    assert rows[0].inputs["premise"] == rows[1].inputs["premise"] and rows[0].id != rows[1].id
    assert not any("ROOT" in text for row in rows for text in row.inputs.values())


@pytest.mark.parametrize(("name", "file"), EACH_FILE)
def test_a_file_with_the_other_spelling_of_the_id_is_said_to_be_of_the_other_set(
    name: str, file: str, tmp_path: Path
) -> None:
    shape.write(tmp_path, count=3)
    other = next(key for key in SOURCES if key != name)
    (tmp_path / file).write_bytes((tmp_path / FILES[other][0]).read_bytes())
    with pytest.raises(UserError, match=rf"{file} spells the id {ID[other]}.*taken for a file of {other}.*{ID[name]}"):
        read(SOURCES[name], tmp_path)


def test_an_id_that_recurs_in_another_file_is_another_pair_and_in_the_same_file_is_malformed(tmp_path: Path) -> None:
    shape.write(tmp_path, count=3)
    change(tmp_path / "radnli_test_v1.jsonl", 1, pair_id="dev0")
    rows, tally = read(RADNLI, tmp_path)
    assert len({row.id for row in rows}) == 6 and not tally.malformed
    change(tmp_path / "radnli_test_v1.jsonl", 2, pair_id="dev0")
    rows, tally = read(RADNLI, tmp_path, most=1)
    assert len(rows) == 5 and tally.malformed[0].why == "a repeated pair_id" and tally.malformed[0].line == 2


def test_a_numeric_id_is_an_id(tmp_path: Path) -> None:
    shape.write(tmp_path, count=2)
    change(tmp_path / "radnli_dev_v1.jsonl", 1, pair_id=0)
    assert read(RADNLI, tmp_path)[0][0].id == "dev/0"


MALFORMED = {
    "no pairID": {"pairID": None},
    "gold_label is none of entailment, contradiction, neutral": {"gold_label": "-"},
    "no sentence1": {"sentence1": "  "},
    "no sentence2": {"sentence2": 7},
    "without gold_label": {"gold_label": None},
}


@pytest.mark.parametrize("why", MALFORMED)
def test_a_malformed_row_is_counted_with_file_and_line(why: str, tmp_path: Path) -> None:
    shape.write(tmp_path, count=40)
    change(tmp_path / "mli_dev_v1.jsonl", 7, **MALFORMED[why])
    rows, tally = read(MEDNLI, tmp_path)
    assert len(rows) == 119
    assert [(row.file, row.line, row.why) for row in tally.malformed] == [("mli_dev_v1.jsonl", 7, why)]


def test_many_malformed_rows_stop_the_build(tmp_path: Path) -> None:
    shape.write(tmp_path, count=10)
    change(tmp_path / "radnli_test_v1.jsonl", 3, gold_label="unknown")
    with pytest.raises(UserError, match=r"1 of 20 rows of radnli.*radnli_test_v1\.jsonl line 3"):
        read(RADNLI, tmp_path)


@pytest.mark.parametrize(("name", "file"), EACH_FILE)
def test_wrong_files_are_named_and_not_quoted(name: str, file: str, tmp_path: Path) -> None:
    shape.write(tmp_path, count=10)
    path = tmp_path / file
    good = path.read_bytes()
    wrong = {
        "gzip": gzip.compress(good)[:-20],
        "a web page": b"<!DOCTYPE html><html><body>Log in to PhysioNet</body></html>",
        "without sentence1": good.replace(b'"sentence1":', b'"text1":'),
    }
    for kind, content in wrong.items():
        path.write_bytes(content)
        with pytest.raises(UserError, match=kind) as caught:
            read(SOURCES[name], tmp_path)
        assert file in str(caught.value) and "Log in" not in str(caught.value)
    path.unlink()
    with pytest.raises(UserError, match=f"has no {file}"):
        read(SOURCES[name], tmp_path)
    (tmp_path / f"{file}.gz").write_bytes(gzip.compress(good))
    assert read(SOURCES[name], tmp_path)[0]


def test_the_fixture_is_the_same_for_the_same_seed(tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        (tmp_path / name).mkdir()
        shape.write(tmp_path / name, count=4, seed=seed)
    written = [[path.read_bytes() for path in sorted((tmp_path / name).iterdir())] for name in "abc"]
    assert written[0] == written[1] != written[2]
