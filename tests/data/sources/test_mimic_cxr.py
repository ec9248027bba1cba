"""MIMIC-CXR: sections, official splits, one row a study, and the labels of the section that was labelled."""

import csv
import gzip
from pathlib import Path

import pytest

from radlite.data.sources.mimic_cxr import MIMIC_CXR
from radlite.data.sources.source import Tally
from radlite.errors import UserError
from radlite.tasks import Example, named
from radlite.tasks.abnormality import CLASSES
from tests.data.shapes import mimic_cxr as shape

REPORTS, SPLIT, LABELS = "mimic_cxr_sectioned.csv", "mimic-cxr-2.0.0-split.csv", "mimic-cxr-2.0.0-chexpert.csv"
IMPRESSION, FINDINGS = (
    "1. No pneumothorax. \n \n 2. Small left effusion, ___ unchanged.",
    "The heart is large. \n Clear.",
)
LABEL = {"Pneumothorax": "0.0", "Pleural Effusion": "1.0", "Pneumonia": "-1.0"}


def table(path: Path, header: list[str], *rows: list[str]) -> None:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])


def files(folder: Path, *reports: list[str], labels: bool = True) -> Path:
    """Reports (study, impression, findings, last paragraph, comparison); studies s50414267 and s50414268 are known."""
    table(folder / REPORTS, ["study", "impression", "findings", "last_paragraph", "comparison"], *reports)
    table(
        folder / SPLIT,
        ["dicom_id", "study_id", "subject_id", "split"],
        *(["a", "50414267", "10000032", "validate"], ["b", "50414267", "10000032", "validate"]),
        ["c", "50414268", "10000033", "test"],
    )
    if labels:
        header = ["subject_id", "study_id", *CLASSES]
        table(folder / LABELS, header, ["10000032", "50414267", *(LABEL.get(name, "") for name in CLASSES)])
    return folder


def read(folder: Path, task: str | None = None, most: float = 0.01) -> tuple[list[Example], Tally]:
    tally = Tally()
    return [row for row in MIMIC_CXR.read(folder, tally, most) if task in (None, row.task)], tally


def test_a_study_gives_an_impression_and_its_findings_as_input(tmp_path: Path) -> None:
    rows, tally = read(files(tmp_path, ["s50414267", IMPRESSION, FINDINGS, "", "None."]), "impression_generation")
    (row,) = rows
    assert dict(row.inputs) == {"report": "COMPARISON: None.\nFINDINGS: The heart is large.\nClear."}
    assert row.answer == "No pneumothorax.\nSmall left effusion, ___ unchanged."
    assert (row.id, row.patient, row.study, row.split, row.tier) == (
        "s50414267", "mimic:10000032", "mimic:s50414267", "validation", "gold",
    )  # fmt: skip
    assert not tally.malformed and set(tally.files) == {REPORTS, SPLIT, LABELS}


def test_the_labels_are_those_of_the_impression_which_alone_is_the_input(tmp_path: Path) -> None:
    (row,) = read(files(tmp_path, ["s50414267", IMPRESSION, FINDINGS, "", "None."]), "abnormality_detection")[0]
    assert row.inputs["report"].startswith("IMPRESSION: 1. No pneumothorax.") and "heart" not in row.inputs["report"]
    known = {"Pneumothorax": "negative", "Pleural Effusion": "positive", "Pneumonia": "uncertain"}
    assert named(row.task).read(row.answer).states == {name: known.get(name, "not mentioned") for name in CLASSES}
    assert row.tier == "silver" and row.tags == ("radiograph", "section:impression") and row.split == "validation"


@pytest.mark.parametrize(
    ("sections", "text", "section"),
    [
        (["", "No edema.", "", "None."], "FINDINGS: No edema.", "findings"),
        (["", "", "No edema.", "None."], "REPORT: No edema.", "last_paragraph"),
        (["", "", "", "No edema."], "REPORT: No edema.", "comparison"),
    ],
)
def test_without_an_impression_the_next_section_was_labelled(
    sections: list[str], text: str, section: str, tmp_path: Path
) -> None:
    rows, tally = read(files(tmp_path, ["s50414267", *sections]))
    assert [(row.task, row.inputs["report"], row.tags[1]) for row in rows] == [
        ("abnormality_detection", text, f"section:{section}")
    ]
    assert tally.dropped == {"impression_generation: no impression": 1}


def test_the_labels_are_found_by_name_in_any_order_of_columns(tmp_path: Path) -> None:
    files(tmp_path, ["s50414267", IMPRESSION, FINDINGS, "", ""])
    header = ["study_id", "subject_id", *reversed(CLASSES)]
    table(tmp_path / LABELS, header, ["50414267", "10000032", "1.0", *[""] * 13])
    (row,) = read(tmp_path, "abnormality_detection")[0]
    assert named(row.task).read(row.answer).states["Support Devices"] == "positive"


def test_without_the_file_of_labels_there_are_impressions_only(tmp_path: Path) -> None:
    rows, tally = read(files(tmp_path, ["s50414267", IMPRESSION, FINDINGS, "", ""], labels=False))
    assert [row.task for row in rows] == ["impression_generation"]
    assert tally.dropped == {f"abnormality_detection: no file {LABELS}": 1}


def test_what_is_not_used_is_counted_with_the_reason(tmp_path: Path) -> None:
    reports = [
        ["s50414267", IMPRESSION, "___ \n ___", "", ""],
        ["s50414268", "Clear  lungs.", "Clear \n lungs.", "", ""],
        ["s50414269", "a b", "c d", "", ""],
    ]
    rows, tally = read(files(tmp_path, *reports))
    assert [(row.task, row.id) for row in rows] == [("abnormality_detection", "s50414267")]
    assert tally.dropped == {
        "impression_generation: no findings": 1,
        "impression_generation: findings and impression are the same text": 1,
        "abnormality_detection: no labels": 1,
        "study is not in the split file": 1,
    }


def test_a_study_without_text_has_nothing_that_was_labelled(tmp_path: Path) -> None:
    rows, tally = read(files(tmp_path, ["s50414267", "___", "The lungs are clear.", "", ""]))
    assert not rows and tally.dropped["abnormality_detection: no text that was labelled"] == 1


def test_malformed_rows_are_counted_with_file_and_line(tmp_path: Path) -> None:
    reports = [["s50414267", IMPRESSION, FINDINGS, "", ""]] * 2 + [["50414268", "a b", "c d", "", ""], ["s50414268"]]
    files(tmp_path, *reports)
    with (tmp_path / SPLIT).open("a") as file:
        file.write("d,50414267,10000099,validate\ne,50414270,10000034,valid\nf,p1,10000034,train\n")
    with (tmp_path / LABELS).open("a") as file:
        file.write(f"10000033,50414268,2.0{',' * 13}\n10000032,50414267,1.0{',' * 13}\n")
    rows, tally = read(tmp_path, most=1.0)
    assert [row.id for row in rows] == ["s50414267"] * 2
    assert [(bad.file, bad.line, bad.why) for bad in tally.malformed] == [
        (SPLIT, 5, "a study with two patients or splits"),
        (SPLIT, 6, "split is none of train, validate and test"),
        (SPLIT, 7, "study_id or subject_id has no eight digits"),
        (LABELS, 3, "a label is none of 1.0, 0.0, -1.0 and blank"),
        (LABELS, 4, "a study with two rows of labels"),
        (REPORTS, 6, "a repeated study"),
        (REPORTS, 10, "study is no s and eight digits"),
        (REPORTS, 11, "1 fields instead of 5"),
    ]
    with pytest.raises(UserError, match="more than 1% means the wrong"):
        read(tmp_path)


@pytest.mark.parametrize("name", [REPORTS, SPLIT])
def test_a_missing_file_is_named(name: str, tmp_path: Path) -> None:
    files(tmp_path, ["s50414267", IMPRESSION, FINDINGS, "", ""])
    (tmp_path / name).unlink()
    with pytest.raises(UserError, match=f"has no {name}"):
        read(tmp_path)


@pytest.mark.parametrize(("name", "column"), [(REPORTS, "findings"), (SPLIT, "split"), (LABELS, "Edema")])
def test_a_missing_column_is_named(name: str, column: str, tmp_path: Path) -> None:
    files(tmp_path, ["s50414267", IMPRESSION, FINDINGS, "", ""])
    path = tmp_path / name
    path.write_text(path.read_text().replace(column, "other", 1))
    with pytest.raises(UserError, match=f"{name} lacks the column {column}"):
        read(tmp_path)


@pytest.mark.parametrize("name", [REPORTS, SPLIT, LABELS])
def test_a_truncated_gzip_file_and_a_log_in_page_are_told(name: str, tmp_path: Path) -> None:
    shape.write(tmp_path)
    path = next(path for path in tmp_path.iterdir() if path.name.startswith(name))
    content = path.read_bytes() if path.suffix == ".gz" else gzip.compress(path.read_bytes())
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match="damaged or incomplete gzip"):
        read(tmp_path)
    path.write_text("<!DOCTYPE html><title>Log in</title>")
    with pytest.raises(UserError, match="a web page"):
        read(tmp_path)


def test_files_in_the_official_shape_give_readable_examples_of_every_split(tmp_path: Path) -> None:
    shape.write(tmp_path, count=36)
    rows, tally = read(tmp_path)
    for row in rows:
        assert named(row.task).read(row.answer) is not None
        assert tuple(row.inputs) == named(row.task).inputs and row.inputs["report"].strip()
    assert not tally.malformed and len({(row.task, row.id) for row in rows}) == len(rows)
    for task in MIMIC_CXR.tasks:
        assert {row.split for row in rows if row.task == task} == {"train", "validation", "test"}
    assert tally.dropped == {"impression_generation: no impression": 3, "impression_generation: no findings": 5}
    studies = [row for row in rows if row.task == "abnormality_detection"]
    assert len(studies) == 36 and len({row.patient for row in studies}) == 12
    assert {tag for row in studies for tag in row.tags} == {"radiograph", "section:impression",
                                                            "section:last_paragraph"}  # fmt: skip


def test_wrapped_lines_of_the_official_files_are_no_conclusions_of_their_own(tmp_path: Path) -> None:
    long = "Large right pleural effusion with adjacent compressive atelectasis in the lower \n lobe, unchanged."
    (row,) = read(files(tmp_path, ["s50414267", long, FINDINGS, "", ""]), "impression_generation")[0]
    assert len(row.answer.splitlines()) == 1
