"""ReXGradient: one impression a study, sections that say None are empty, splits are the official ones."""

import gzip
from pathlib import Path

import pytest

from radlite.data.sources import Tally
from radlite.data.sources.rexgradient import REXGRADIENT
from radlite.errors import UserError
from radlite.tasks import Example, named
from tests.data.shapes import rexgradient as shape

SPLITS = ("train", "valid", "test")


def read(folder: Path, most: float = 0.01) -> tuple[list[Example], Tally]:
    tally = Tally()
    return list(REXGRADIENT.read(folder, tally, most)), tally


def tables(folder: Path, *rows: tuple[str, ...]) -> Path:
    """Train has `rows`, the others are empty."""
    for split in SPLITS:
        shape.table(folder, split, rows if split == "train" else [])
    return folder


def test_every_row_of_the_official_shape_is_read_or_counted(tmp_path: Path) -> None:
    shape.write(tmp_path)
    found, tally = read(tmp_path)
    assert not tally.malformed and {row.split for row in found} == {"train", "validation", "test"}
    assert len(found) + sum(tally.dropped.values()) == tally.rows == 20
    for row in found:
        assert row.task == "impression_generation" and named(row.task).read(row.answer) is not None
        assert set(row.inputs) == {"report"} and row.inputs["report"].strip() and row.tier == "gold"
    assert len({row.id for row in found}) == len(found) > len({row.patient for row in found})


def test_a_study_becomes_its_impression_and_what_stands_before_it(tmp_path: Path) -> None:
    tables(tmp_path, shape.row("GRDN1", "1.2.3", "Cough.", "None", "Lungs are\nclear.", "1. Normal.\n2. No change."))
    (row,), _ = read(tmp_path)
    assert row.inputs == {"report": "INDICATION: Cough.\nFINDINGS: Lungs are\nclear."}
    assert row.answer == "Normal.\nNo change."
    assert (row.id, row.patient, row.study, row.split) == ("1.2.3", "rexgradient:GRDN1", "rexgradient:1.2.3", "train")


def test_studies_of_one_patient_have_one_name_and_give_no_rows_on_change(tmp_path: Path) -> None:
    studies = [shape.row("GRDN1", f"1.{n}", "", "", "Clear.", "Normal.", date=f"2020010{n}") for n in (1, 2)]
    found, _ = read(tables(tmp_path, *studies))
    assert [(row.task, row.patient) for row in found] == [("impression_generation", "rexgradient:GRDN1")] * 2


@pytest.mark.parametrize("nothing", ["None", "none.", "", " ", "nan"])
def test_studies_without_findings_or_impression_are_dropped_and_counted(nothing: str, tmp_path: Path) -> None:
    tables(
        tmp_path,
        shape.row("G1", "1.1", "a", "b", nothing, "Normal."),
        shape.row("G1", "1.2", "a", "b", "Clear.", nothing),
    )
    found, tally = read(tmp_path)
    assert not found and not tally.malformed
    assert tally.dropped == {"impression_generation: no findings": 1, "impression_generation: no impression": 1}


def test_a_section_that_only_begins_with_none_is_kept(tmp_path: Path) -> None:
    tables(tmp_path, shape.row("G1", "1.1", "", "None available.", "Clear.", "None of the above."))
    (row,), _ = read(tmp_path)
    assert row.inputs["report"].startswith("COMPARISON: None available.") and row.answer == "None of the above."


def test_a_study_that_comes_again_in_any_split_is_read_once(tmp_path: Path) -> None:
    good = shape.row("G1", "1.1", "", "", "Clear.", "Normal.")
    tables(tmp_path, good, good)
    shape.table(tmp_path, "test", [good])
    found, tally = read(tmp_path)
    assert [row.split for row in found] == ["train"] and tally.dropped["another row of a study"] == 2


def test_malformed_rows_are_counted_with_file_and_line(tmp_path: Path) -> None:
    good = shape.row("G1", "1.1", "", "", "Clear.", "Normal.")
    tables(tmp_path, good, shape.row("", "1.2", "", "", "Clear.", "Normal."), good[:-1])
    found, tally = read(tmp_path, most=1.0)
    assert [row.split for row in found] == ["train"]
    assert [(row.file, row.line, row.why) for row in tally.malformed] == [
        ("train_metadata.csv", 3, "no PatientID"),
        ("train_metadata.csv", 4, "11 fields instead of 12"),
    ]


@pytest.mark.parametrize("split", SPLITS)
def test_each_file_is_missed_and_each_wrong_one_refused(split: str, tmp_path: Path) -> None:
    shape.write(tmp_path)
    path = tmp_path / "metadata" / f"{split}_metadata.csv"
    content = path.read_bytes()
    path.unlink()
    with pytest.raises(UserError, match=f"has no metadata/{split}_metadata.csv"):
        read(tmp_path)
    path.write_text("<!DOCTYPE html><html>Log in</html>")
    with pytest.raises(UserError, match="a web page"):
        read(tmp_path)
    path.write_bytes(content.replace(b"Findings", b"findings_text", 1))
    with pytest.raises(UserError, match="lacks the column Findings"):
        read(tmp_path)
    path.unlink()
    path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(content)[:-9])
    with pytest.raises(UserError, match="incomplete gzip"):
        read(tmp_path)
