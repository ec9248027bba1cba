"""MIMIC-IV-Note: whole notes split into sections, addenda dropped, categories mined only where they are certain."""

import csv
import gzip
from pathlib import Path

import pytest

from radlite.data.sources.mimic_iv_note import MIMIC_IV_NOTE
from radlite.data.sources.source import Tally
from radlite.errors import UserError
from radlite.rads.mentions import find
from radlite.tasks import Example, named
from tests.data.shapes import mimic_iv_note as shape

NOTE = """EXAMINATION:  CHEST (PA AND LAT)

INDICATION:  ___ with cough  // pneumonia?

TECHNIQUE:  Two views

COMPARISON:  ___

FINDINGS:\x20

The heart is large.  There is no pneumothorax.  There is a small effusion on the
left.

IMPRESSION:\x20

1. Cardiomegaly.
2. Small left pleural effusion.

RECOMMENDATION(S):  None.

NOTIFICATION:  The findings were telephoned to Dr. ___.
"""
ID = "10000032-RR-14"


def files(folder: Path, *notes: tuple[str, str, str, str], details: list[list[str]] | None = None) -> Path:
    """Notes (note_id, subject_id, note_type, text) and details (note_id, subject_id, name, value, ordinal)."""
    (folder / "note").mkdir(exist_ok=True)
    with (folder / "note" / "radiology.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(shape.NOTES)
        table.writerows([note, subject, "", kind, "14", "t", "t", text] for note, subject, kind, text in notes)
    with (folder / "note" / "radiology_detail.csv").open("w", newline="") as file:
        csv.writer(file).writerows(
            [shape.DETAILS, *(details or [[ID, "10000032", "exam_name", "CHEST (PA & LAT)", "1"]])]
        )
    return folder


def read(folder: Path, task: str | None = None, most: float = 0.01) -> tuple[list[Example], Tally]:
    tally = Tally()
    return [row for row in MIMIC_IV_NOTE.read(folder, tally, most) if task in (None, row.task)], tally


def one(folder: Path, text: str, task: str, details: list[list[str]] | None = None) -> tuple[list[Example], Tally]:
    return read(files(folder, (ID, "10000032", "RR", text), details=details), task)


def rads(folder: Path, impression: str, findings: str = "An irregular mass.") -> tuple[list[Example], Tally]:
    return one(folder, f"FINDINGS:\n{findings}\n\nIMPRESSION:\n{impression}\n", "rads_assignment")


def test_the_input_is_what_stands_before_the_impression(tmp_path: Path) -> None:
    rows, tally = one(tmp_path, NOTE, "impression_generation")
    (row,) = rows
    assert row.inputs["report"] == (
        "EXAMINATION: CHEST (PA AND LAT)\nINDICATION: ___ with cough // pneumonia?\nTECHNIQUE: Two views\n"
        "COMPARISON: ___\nFINDINGS:\n\nThe heart is large. There is no pneumothorax. There is a small effusion on the "
        "left."
    )
    assert row.answer == "Cardiomegaly.\nSmall left pleural effusion."
    assert (row.id, row.patient, row.study, row.split, row.tier, row.tags) == (
        ID, "mimic:10000032", f"mimic:{ID}", "", "gold", ("radiograph",),
    )  # fmt: skip
    assert tally.dropped == {"rads_assignment: no current category": 1} and not tally.malformed


def test_a_note_without_an_examination_gets_the_names_of_the_details(tmp_path: Path) -> None:
    details = [
        [ID, "10000032", "cpt_code", "71250", "1"],
        [ID, "10000032", "exam_name", "CT CHEST W/O CONTRAST", "1"],
        ["10000032-RR-141", "10000032", "exam_name", "MR HEAD", "1"],
        [ID, "10000032", "exam_name", "CTA ABD", "2"],
    ]
    text = "FINDINGS: A nodule.\nIMPRESSION: Nodule."
    (row,) = one(tmp_path, text, "impression_generation", details)[0]
    assert row.inputs["report"] == "EXAM: CT CHEST W/O CONTRAST, CTA ABD\nFINDINGS: A nodule." and row.tags == ("ct",)


@pytest.mark.parametrize(
    ("exam", "tags"),
    [("MRCP (MR ABD W&W/OC)", ("mr",)), ("BILAT LOWER EXT VEINS", ("us",)), ("SCREENING MAMMO", ("mammography",)),
     ("CHEST (PORTABLE AP)", ("radiograph",)), ("CT CHEST W/CONTRAST", ("ct",)), ("PARACENTESIS", ())],
)  # fmt: skip
def test_the_modality_is_a_tag_where_it_is_known(exam: str, tags: tuple[str, ...], tmp_path: Path) -> None:
    (row,) = one(tmp_path, NOTE, "impression_generation", [[ID, "10000032", "exam_name", exam, "1"]])[0]
    assert row.tags == tags


def test_addenda_are_dropped_and_the_reports_they_amend_are_tagged(tmp_path: Path) -> None:
    addendum = "10000032-AR-15"
    details = [[addendum, "10000032", "parent_note_id", ID, "1"], [addendum, "10000032", "exam_name", "CT", "1"]]
    notes = ((ID, "10000032", "RR", NOTE), (addendum, "10000032", "AR", NOTE))
    rows, tally = read(files(tmp_path, *notes, details=details))
    assert [(row.id, row.tags) for row in rows] == [(ID, ("has_addendum",))] and tally.dropped["addendum"] == 1


def test_a_preliminary_reading_is_not_in_the_input(tmp_path: Path) -> None:
    text = f" WET READ: ___ ___ 9:00 AM\n Cardiomegaly and effusion.\n______\n                 FINAL REPORT\n{NOTE}"
    (row,) = one(tmp_path, text, "impression_generation")[0]
    assert row.inputs["report"].startswith("EXAMINATION") and "WET" not in row.inputs["report"]
    (row,) = one(tmp_path, f"    FINAL REPORT  \n{NOTE}", "impression_generation")[0]
    assert row.inputs["report"].startswith("EXAMINATION")
    rows, tally = one(tmp_path, f"WET READ: Cardiomegaly.\n{NOTE}", "impression_generation")
    assert not rows and tally.dropped == {"a preliminary reading without an end": 1}


def test_a_note_with_two_impressions_gives_both(tmp_path: Path) -> None:
    text = "CHEST FINDINGS: A nodule.\nCHEST IMPRESSION: Nodule.\nABDOMEN FINDINGS: Gallstones.\nIMPRESSION: Stones."
    (row,) = one(tmp_path, text, "impression_generation", [[ID, "10000032", "exam_name", "", "1"]])[0]
    assert row.inputs["report"] == "CHEST FINDINGS: A nodule.\nABDOMEN FINDINGS: Gallstones."
    assert row.answer == "Nodule.\nStones."


@pytest.mark.parametrize(
    ("text", "why"),
    [("FINDINGS: A nodule.", "no impression"), ("FINDINGS: A nodule.\nIMPRESSION: ___.", "no impression"), ("", "no imp"
     "ression"), ("Title.\nIMPRESSION: A nodule.", "no findings"), ("FINDINGS AND IMPRESSION: Nodule.", "no findings"),
     ("FINDINGS: A  nodule.\nIMPRESSION: A nodule.", "findings and impression are the same text")],
)  # fmt: skip
def test_what_is_not_used_is_counted_with_the_reason(text: str, why: str, tmp_path: Path) -> None:
    rows, tally = one(tmp_path, text, "impression_generation")
    assert not rows and tally.dropped[f"impression_generation: {why}"] == 1 and not tally.malformed


def test_a_stated_category_gives_a_row_with_and_one_without_it(tmp_path: Path) -> None:
    text = (
        "EXAM: Mammogram.\nHISTORY: Recall for BI-RADS 0.\nFINDINGS:\nAn irregular mass (BI-RADS 4B).\n\nIMPRESSION:\n"
        "Suspicious mass. ACR BI-RADS category 4B.\n\nRECOMMENDATION(S): Biopsy.\n"
    )
    stated, masked = one(tmp_path, text, "rads_assignment")[0]
    assert (stated.id, stated.tags) == (f"{ID}/stated", ("stated", "system:BI-RADS", "radiograph"))
    assert (masked.id, masked.tags) == (f"{ID}/masked", ("masked", "system:BI-RADS", "radiograph"))
    assert stated.answer == masked.answer == "BI-RADS 4B" and {stated.tier, masked.tier} == {"silver"}
    assert "category 4B" in stated.inputs["report"] and "Biopsy" in stated.inputs["report"]
    assert not find(masked.inputs["report"]) and "Suspicious mass." in masked.inputs["report"]


def test_modifiers_belong_to_the_answer(tmp_path: Path) -> None:
    stated, _ = rads(tmp_path, "Nodule, emphysema. Lung-RADS 4A S.", "A nodule of 9 mm. Lung-RADS 4A.")[0]
    assert stated.answer == "Lung-RADS 4A S"


@pytest.mark.parametrize(
    ("impression", "why"),
    [
        ("A mass.", "no current category"),
        ("The mass was BI-RADS 4 on the prior study.", "no current category"),
        ("Right breast BI-RADS 2. Left breast BI-RADS 4.", "several categories or a range"),
        ("A mass, BI-RADS 4A-4B.", "several categories or a range"),
        ("BI-RADS 2. Liver lesion LR-3.", "several categories or a range"),
        ("Ovarian cyst, O-RADS 3.", "an incomplete category"),
        ("Cirrhosis, without any observation that would be LR-5.", "a denied category"),
    ],
)
def test_a_category_that_is_not_certain_is_not_used(impression: str, why: str, tmp_path: Path) -> None:
    rows, tally = rads(tmp_path, impression)
    assert not rows and tally.dropped[f"rads_assignment: {why}"] == 1


def test_a_category_outside_the_impression_is_not_used(tmp_path: Path) -> None:
    rows, tally = rads(tmp_path, "A mass.", "A mass, BI-RADS 4.")
    assert not rows and tally.dropped["rads_assignment: no category in the impression"] == 1
    rows, tally = rads(tmp_path, "A mass, BI-RADS 4.", "A cyst, BI-RADS 2. A mass.")
    assert not rows and tally.dropped["rads_assignment: several categories or a range"] == 1


@pytest.mark.parametrize(
    "impression",
    [
        "No mammographic evidence of malignancy BI-RADS 1",
        "No suspicious finding. BI-RADS 1.",
        "BI-RADS 1 - negative.\n",
    ],
)
def test_a_denied_malignancy_is_no_denied_category(impression: str, tmp_path: Path) -> None:
    assert [row.answer for row in rads(tmp_path, impression)[0]] == ["BI-RADS 1"] * 2


def test_without_findings_a_category_cannot_be_inferred(tmp_path: Path) -> None:
    rows, tally = one(tmp_path, "FINDINGS AND IMPRESSION: Simple cyst, BI-RADS 2.", "rads_assignment")
    assert [row.id for row in rows] == [f"{ID}/stated"]
    assert tally.dropped["rads_assignment: masked, but no findings to infer it from"] == 1


def test_malformed_rows_are_counted_with_file_and_line(tmp_path: Path) -> None:
    notes = [
        (ID, "10000032", "RR", "x"), ("10000032", "10000032", "RR", "x"), (ID, "10000033", "RR", "x"),
        (ID, "10000032", "AR", "x"),
    ]  # fmt: skip
    details = [
        ["x", "1", "exam_name", "CT", "1"],
        ["x", "1", "parent_note_id", "y", "1"],
        ["x", "1", "exam_code", "", "1"],
    ]
    _, tally = read(files(tmp_path, *notes, details=details), most=1.0)
    assert [(bad.file, bad.line, bad.why) for bad in tally.malformed] == [
        ("radiology_detail.csv", 2, "exam_name of no note"),
        ("radiology_detail.csv", 3, "parent_note_id of no note"),
        ("radiology.csv", 3, "note_id is not SUBJECT-RR-NUMBER"),
        ("radiology.csv", 4, "note_id is not of its subject_id and note_type"),
        ("radiology.csv", 5, "note_id is not of its subject_id and note_type"),
    ]


@pytest.mark.parametrize("name", ["radiology.csv", "radiology_detail.csv"])
def test_a_missing_file_is_named(name: str, tmp_path: Path) -> None:
    (files(tmp_path, (ID, "10000032", "RR", NOTE)) / "note" / name).unlink()
    with pytest.raises(UserError, match=f"has no note/{name}"):
        read(tmp_path)


def test_the_files_are_found_without_their_folder(tmp_path: Path) -> None:
    rows, _ = read(files(tmp_path, (ID, "10000032", "RR", NOTE)) / "note")
    assert len(rows) == 1


@pytest.mark.parametrize(("name", "column"), [("radiology.csv", "text"), ("radiology_detail.csv", "field_name")])
def test_a_missing_column_is_named(name: str, column: str, tmp_path: Path) -> None:
    path = files(tmp_path, (ID, "10000032", "RR", NOTE)) / "note" / name
    path.write_text(path.read_text().replace(column, "other", 1))
    with pytest.raises(UserError, match=f"{name} lacks the column {column}"):
        read(tmp_path)


@pytest.mark.parametrize("name", ["radiology.csv.gz", "radiology_detail.csv.gz"])
def test_a_truncated_gzip_file_and_a_log_in_page_are_told(name: str, tmp_path: Path) -> None:
    shape.write(tmp_path)
    path = tmp_path / "note" / name
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(UserError, match="damaged or incomplete gzip"):
        read(tmp_path)
    path.write_bytes(gzip.compress(b"<!DOCTYPE html><title>Log in</title>"))
    with pytest.raises(UserError, match="a web page"):
        read(tmp_path)


def test_files_in_the_official_shape_give_readable_examples(tmp_path: Path) -> None:
    shape.write(tmp_path, count=40)
    rows, tally = read(tmp_path)
    for row in rows:
        assert named(row.task).read(row.answer) is not None
        assert tuple(row.inputs) == named(row.task).inputs and row.inputs["report"].strip()
    assert not tally.malformed and len({(row.task, row.id) for row in rows}) == len(rows)
    assert tally.dropped["addendum"] == 6 and {row.split for row in rows} == {""}
    assert sum(row.task == "impression_generation" for row in rows) == 40
    found = [row for row in rows if row.task == "rads_assignment"]
    assert len(found) >= 8 and all(named(row.task).read(row.answer).system for row in found)
    assert len({row.patient for row in rows}) == 14
