"""A corpus is read as it was written, appears whole or not at all, and is never read when damaged."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from radlite.data import corpus
from radlite.errors import UserError
from radlite.files import sha256
from radlite.tasks import Example
from tests.data.rows import row

ROWS = [
    row("a", split="train", tags=("unseen_wording", "x"), inputs={"report": 'Nodes: \u00e9, \u2265 1 cm,\n"two".'}),
    row("b", split="train", answer="N2"),
    row("c", split="test", answer="N1"),
    row("d", "radiology_nli", "neutral", split="train", inputs={"premise": "One.", "hypothesis": "Two."}),
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    corpus.write(tmp_path / "corpus", ROWS, {"seed": 7})
    return tmp_path / "corpus"


def test_rows_are_read_as_they_were_written(folder: Path) -> None:
    assert corpus.read(folder, "n_staging") == ROWS[:2]
    assert corpus.read(folder, "n_staging", "test") == [ROWS[2]]
    assert corpus.read(folder) == [*ROWS[:2], ROWS[3]]
    assert corpus.tasks(folder) == ["n_staging", "radiology_nli"]


@settings(max_examples=25, deadline=None)
@given(text=st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(str.strip))
def test_any_text_survives(text: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("any") / "corpus"
    corpus.write(folder, [row("a", split="train", inputs={"report": text})], {})
    assert corpus.read(folder)[0].inputs == {"report": text}


def test_the_manifest_counts_rows_by_source_tier_label_and_tag(folder: Path) -> None:
    made = corpus.describe(folder)
    assert made["kind"] == "corpus" and made["rows"] == 4 and made["seed"] == 7
    assert made["counts"]["n_staging"]["train"] == {
        "rows": 2,
        "patients": 2,
        "sources": {"here": 2},
        "tiers": {"gold": 2},
        "labels": {"N0": 1, "N2": 1},
        "tags": {"unseen_wording": 1, "x": 1},
    }


def test_the_same_rows_in_another_order_make_the_same_files(folder: Path, tmp_path: Path) -> None:
    again = corpus.write(tmp_path / "again", reversed(ROWS), {})
    assert again["files"] == corpus.describe(folder)["files"] and again["data"] == corpus.describe(folder)["data"]


def test_a_patient_in_two_splits_is_refused(tmp_path: Path) -> None:
    rows = [row("a", split="train", patient="p"), row("b", split="test", patient="p")]
    with pytest.raises(UserError, match="leak: 1 patients and 0 texts"):
        corpus.write(tmp_path / "corpus", rows, {})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "bad",
    [
        row("x", split="train", inputs={"premise": "One."}),
        row("x", split="train", inputs={"report": " "}),
        row("x", split="elsewhere"),
        row("x", split="train", licence=""),
        replace(row("x", split="train"), answer="N7"),
    ],
)
def test_a_row_that_is_not_of_its_task_is_a_defect(bad: Example, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"here row"):
        corpus.write(tmp_path / "corpus", [*ROWS, bad], {})


def test_an_id_that_occurs_twice_in_a_task_is_told_with_the_source(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"The id a is given to two rows of n_staging \(in here\)"):
        corpus.write(tmp_path / "corpus", [*ROWS, row("a", split="train")], {})


def test_an_earlier_corpus_is_replaced_as_a_whole(folder: Path) -> None:
    corpus.write(folder, [ROWS[3]], {})
    assert corpus.tasks(folder) == ["radiology_nli"]
    assert sorted(path.name for path in folder.rglob("*")) == ["corpus.json", "radiology_nli", "train.parquet"]
    assert list(folder.parent.iterdir()) == [folder]


@pytest.mark.parametrize("name", ["notes.txt", "n_staging/mine.csv"])
def test_what_is_not_part_of_a_corpus_is_never_replaced(folder: Path, name: str) -> None:
    (folder / name).write_text("mine")
    with pytest.raises(UserError, match="not part of a corpus"):
        corpus.write(folder, ROWS, {})
    assert (folder / name).read_text() == "mine" and len(corpus.read(folder)) == 3


def test_a_folder_of_something_else_or_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UserError, match="not part of a corpus"):
        corpus.write(tmp_path, ROWS, {})
    with pytest.raises(UserError, match="is there and is no folder"):
        corpus.write(tmp_path / "file", ROWS, {})
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "corpus.json").write_text("{")
    with pytest.raises(UserError, match=r"holds a corpus\.json that describes no corpus; choose another folder"):
        corpus.write(tmp_path / "broken", ROWS, {})
    with pytest.raises(UserError, match="characters that cannot be shown"):
        corpus.write(tmp_path / os.fsdecode(b"caf\xe9"), ROWS, {})
    with pytest.raises(UserError, match="where a disk is mounted"):
        corpus.write(Path("/proc"), ROWS, {})


def test_an_error_in_the_middle_leaves_no_corpus_and_keeps_the_earlier_one(folder: Path, tmp_path: Path) -> None:
    def broken() -> Iterator[Example]:
        yield ROWS[0]
        raise KeyboardInterrupt

    for place in (folder, tmp_path / "new"):
        with pytest.raises(KeyboardInterrupt):
            corpus.write(place, broken(), {})
    assert len(corpus.read(folder)) == 3 and list(tmp_path.iterdir()) == [folder]


KILLED = """
import os, signal, sys
from pathlib import Path
from radlite.data import corpus
from tests.data.rows import row

left = int(sys.argv[2])
out = Path(sys.argv[1])

def watch(event, arguments):
    global left
    if event in ("open", "os.mkdir", "os.rename") and str(out.parent) in str(arguments[0]):
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)

rows = [row(str(n), split=["train", "test"][n % 2]) for n in range(50)]
import pyarrow.parquet
sys.addaudithook(watch)
corpus.write(out, rows, {"new": True})
os._exit(0)
"""


@pytest.mark.parametrize("earlier", [pytest.param(False, marks=pytest.mark.slow), True])
def test_a_kill_at_any_moment_leaves_a_whole_corpus_or_none(tmp_path: Path, earlier: bool) -> None:
    outcomes = set()
    for moment in range(8, 60):
        place = tmp_path / str(moment) / "corpus"
        place.parent.mkdir()
        if earlier:
            corpus.write(place, ROWS, {})
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
        done = subprocess.run([sys.executable, "-c", KILLED, place, str(moment)], env=environment, check=False)
        outcomes.add(done.returncode)
        if place.exists():
            assert len(corpus.read(place)) == (25 if corpus.describe(place).get("new") else 3)
        if done.returncode == 0:
            break
    assert moment > 12 and outcomes == {0, -signal.SIGKILL}


def test_a_folder_that_is_no_corpus_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"not a corpus: it has no corpus\.json"):
        corpus.read(tmp_path)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"kind": "adapter"}', '{"kind": "corpus", "files": 3}'])
def test_a_damaged_manifest_is_named(folder: Path, text: str) -> None:
    (folder / "corpus.json").write_text(text)
    with pytest.raises(UserError, match=r"corpus\.json"):
        corpus.read(folder)


def test_a_missing_split_or_task_is_named_with_what_there_is(folder: Path) -> None:
    with pytest.raises(UserError, match="no validation split of n_staging: it has n_staging/test, n_staging/train"):
        corpus.read(folder, "n_staging", "validation")
    with pytest.raises(UserError, match="no train split of m_staging"):
        corpus.read(folder, "m_staging")
    with pytest.raises(UserError, match="no split 'dev'"):
        corpus.read(folder, split="dev")
    with pytest.raises(UserError, match="did you mean n_staging"):
        corpus.read(folder, "nstaging")


def test_a_changed_damaged_or_missing_file_is_not_read(folder: Path) -> None:
    path = folder / "n_staging" / "train.parquet"
    data = path.read_bytes()
    for damage in (data[:-20], data[:40] + b"\0" + data[41:], b"", (folder / "n_staging/test.parquet").read_bytes()):
        path.write_bytes(damage)
        with pytest.raises(UserError, match=r"train\.parquet is damaged or was changed"):
            corpus.read(folder, "n_staging")
    path.unlink()
    with pytest.raises(UserError, match=r"train\.parquet cannot be read"):
        corpus.read(folder, "n_staging")


def test_a_file_that_is_no_parquet_is_named_even_if_the_manifest_vouches_for_it(folder: Path) -> None:
    path = folder / "n_staging" / "train.parquet"
    path.write_bytes(b"PAR1 nothing PAR1")
    made = json.loads((folder / "corpus.json").read_text())
    made["files"]["n_staging/train.parquet"]["sha256"] = sha256(path)
    (folder / "corpus.json").write_text(json.dumps(made))
    with pytest.raises(UserError, match="cannot be read"):
        corpus.read(folder, "n_staging")


@pytest.mark.parametrize("change", [{"answer": "N9"}, {"id": None}, {"inputs": {"report": None}}, {"tags": [None]}])
def test_rows_changed_by_hand_are_refused_even_if_the_manifest_vouches_for_them(
    change: dict[str, object], folder: Path
) -> None:
    path = folder / "n_staging" / "train.parquet"
    table = pq.read_table(path)
    rows = [{**row, **change} for row in table.to_pylist()]
    try:
        pq.write_table(pa.Table.from_pylist(rows, table.schema), path)
    except (pa.ArrowException, OSError):  # no nulls under this schema
        pq.write_table(pa.Table.from_pylist(rows), path)
    made = json.loads((folder / "corpus.json").read_text())
    made["files"]["n_staging/train.parquet"]["sha256"] = sha256(path)
    (folder / "corpus.json").write_text(json.dumps(made))
    with pytest.raises(UserError, match=r"train\.parquet was .*build the corpus again"):
        corpus.read(folder, "n_staging")


@pytest.mark.parametrize(
    "change",
    [
        {"files": {}},
        {"files": {"../x.parquet": {}}},
        {"rows": None},
        {"sources": []},
        {"counts": None},
        {"kind": "x"},
        {"sources": {"here": 3}},
        {"sources": {"here": {"dropped": [1]}}},
        {"removed": {"why": 3}},
    ],
)
def test_a_manifest_that_describes_no_corpus_is_refused(change: dict[str, object], folder: Path) -> None:
    made = json.loads((folder / "corpus.json").read_text())
    (folder / "corpus.json").write_text(json.dumps({**made, **change}))
    with pytest.raises(UserError, match="does not describe a corpus"):
        corpus.describe(folder)
