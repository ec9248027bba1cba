"""CheXpert Plus: one row a study, each section with its own labels, the official valid set as test."""

import csv
import gzip
import json
from pathlib import Path

import pytest

from radlite.data.sources.chexpert_plus import CHEXPERT_PLUS
from radlite.data.sources.source import Tally
from radlite.errors import UserError
from radlite.tasks import Example, named
from radlite.tasks.abnormality import CLASSES
from tests.data.shapes import chexpert_plus as shape

REPORTS, FINDINGS, IMPRESSION = "df_chexpert_plus_240401.csv", "findings_fixed.json", "impression_fixed.json"
NAMES = [REPORTS, FINDINGS, IMPRESSION]
STUDY = {
    "path_to_image": "train/patient42142/study5/view1_frontal.jpg",
    "section_narrative": "A narrative.",
    "section_clinical_history": "Cough.",
    "section_comparison": "1/1/01",
    "section_findings": "\nThe heart is large.\n",
    "section_impression": "\n1.  CARDIOMEGALY.\n\n2.  NO EDEMA.\n",
    "section_summary": "4-POSSIBLE",
    "split": "train",
}
LATERAL = {**STUDY, "path_to_image": "train/patient42142/study5/view2_lateral.jpg"}


def files(folder: Path, *rows: dict[str, str]) -> Path:
    """The rows; labels of the images of `STUDY`, of its findings and of its impression."""
    (folder / "chexbert_labels").mkdir(exist_ok=True)
    with (folder / REPORTS).open("w", newline="") as file:
        table = csv.DictWriter(file, shape.COLUMNS, restval="")
        table.writeheader()
        table.writerows(rows)
    for name, known in ((FINDINGS, {"Cardiomegaly": 1.0}), (IMPRESSION, {"Cardiomegaly": 1.0, "Edema": 0.0,
                                                                        "Pneumonia": -1.0})):  # fmt: skip
        labels(folder, name, STUDY["path_to_image"], known)
        labels(folder, name, LATERAL["path_to_image"], known)
    return folder


def labels(folder: Path, name: str, path: str, known: dict[str, object]) -> None:
    """One more line of labels."""
    with (folder / "chexbert_labels" / name).open("a") as file:
        file.write(json.dumps({"path_to_image": path, **dict.fromkeys(shape.CLASSES), **known}) + "\n")


def read(folder: Path, task: str | None = None, most: float = 0.01) -> tuple[list[Example], Tally]:
    tally = Tally()
    return [row for row in CHEXPERT_PLUS.read(folder, tally, most) if task in (None, row.task)], tally


def states(row: Example) -> dict[str, str]:
    answer = named(row.task).read(row.answer)
    return {name: state for name, state in answer.states.items() if state != "not mentioned"}


def test_a_study_gives_an_impression_and_the_sections_before_it_as_input(tmp_path: Path) -> None:
    rows, tally = read(files(tmp_path, STUDY), "impression_generation")
    (row,) = rows
    assert row.inputs["report"] == "CLINICAL HISTORY: Cough.\nCOMPARISON: 1/1/01\nFINDINGS: The heart is large."
    assert row.answer == "CARDIOMEGALY.\nNO EDEMA."
    assert (row.id, row.patient, row.study, row.split, row.tier) == (
        "patient42142/study5", "chexpert:patient42142", "chexpert:patient42142/study5", "train", "gold",
    )  # fmt: skip
    assert not tally.malformed and not tally.dropped


def test_each_section_has_the_labels_of_its_own_file(tmp_path: Path) -> None:
    findings, impression = read(files(tmp_path, STUDY), "abnormality_detection")[0]
    assert findings.id == "patient42142/study5/findings" and findings.tags == ("radiograph", "section:findings")
    assert findings.inputs["report"] == "FINDINGS: The heart is large." and states(findings) == {
        "Cardiomegaly": "positive"
    }
    assert impression.id == "patient42142/study5/impression" and impression.tags[1] == "section:impression"
    assert impression.inputs["report"] == "IMPRESSION: 1. CARDIOMEGALY.\n\n2. NO EDEMA."
    assert states(impression) == {"Cardiomegaly": "positive", "Edema": "negative", "Pneumonia": "uncertain"}
    assert {row.tier for row in (findings, impression)} == {"silver"}


def test_a_report_that_repeats_over_its_views_is_read_once(tmp_path: Path) -> None:
    rows, tally = read(files(tmp_path, STUDY, LATERAL))
    assert len(rows) == 3 and tally.dropped == {"another view of a study": 1}


def test_a_path_with_another_folder_and_ending_is_the_same_study(tmp_path: Path) -> None:
    path = "CheXpert-v1.0/PNG/train/patient42142/study5/view1_frontal.png"
    rows, tally = read(files(tmp_path, {**STUDY, "path_to_image": path}))
    assert len(rows) == 3 and rows[0].study == "chexpert:patient42142/study5" and not tally.dropped


def test_the_official_valid_set_is_the_test_set(tmp_path: Path) -> None:
    assert {row.split for row in read(files(tmp_path, {**STUDY, "split": "valid"}))[0]} == {"test"}


def test_labels_of_a_section_that_the_report_lacks_are_not_used(tmp_path: Path) -> None:
    files(tmp_path, {**STUDY, "section_findings": " "})
    rows, tally = read(tmp_path)
    assert [row.id for row in rows] == ["patient42142/study5/impression"]
    assert tally.dropped == {"impression_generation: no findings": 1, "abnormality_detection: no findings": 1}


def test_what_is_not_used_is_counted_with_the_reason(tmp_path: Path) -> None:
    files(
        tmp_path,
        {**STUDY, "section_impression": ""},
        {**STUDY, "path_to_image": "a/patient1/study1/v.jpg", "section_impression": " The heart  is large."},
    )
    labels(tmp_path, FINDINGS, LATERAL["path_to_image"], {"Edema": 1.0})
    rows, tally = read(tmp_path)
    assert not rows and tally.dropped == {
        "impression_generation: no impression": 1,
        "abnormality_detection: views with different labels of the findings": 1,
        "abnormality_detection: no impression": 1,
        "impression_generation: findings and impression are the same text": 1,
        "abnormality_detection: no labels of the findings": 1,
        "abnormality_detection: no labels of the impression": 1,
    }


def test_a_label_that_is_not_a_number_counts_as_missing(tmp_path: Path) -> None:
    files(tmp_path, {**STUDY, "path_to_image": "train/patient1/study1/view1.jpg", "section_findings": ""})
    labels(tmp_path, IMPRESSION, "train/patient1/study1/view1.jpg", {"Edema": float("nan"), "Fracture": 1})
    (row,) = read(tmp_path)[0]
    assert states(row) == {"Fracture": "positive"}


def test_malformed_rows_are_counted_with_file_and_line(tmp_path: Path) -> None:
    files(tmp_path, STUDY, {**STUDY, "split": "test"}, {**STUDY, "path_to_image": "patient42142"})
    labels(tmp_path, FINDINGS, "nowhere.jpg", {})
    labels(tmp_path, FINDINGS, LATERAL["path_to_image"], {"Edema": "yes"})
    labels(tmp_path, FINDINGS, LATERAL["path_to_image"], {"Edema": [1.0]})
    labels(tmp_path, FINDINGS, LATERAL["path_to_image"], {"Edema": 2.0})
    with (tmp_path / "chexbert_labels" / IMPRESSION).open("a") as file:
        file.write('{"path_to_image": "train/patient42142/st')
    rows, tally = read(tmp_path, most=1.0)
    wrong = "a label is none of 1.0, 0.0, -1.0 and null"
    assert len(rows) == 3 and [(bad.file, bad.line, bad.why) for bad in tally.malformed] == [
        (FINDINGS, 3, "path_to_image has no patient, study and view"),
        *((FINDINGS, line, wrong) for line in (4, 5, 6)),
        (IMPRESSION, 3, "no JSON"),
        (REPORTS, 9, "split is neither train nor valid"),
        (REPORTS, 16, "path_to_image has no patient, study and view"),
    ]


@pytest.mark.parametrize("name", NAMES)
def test_a_missing_file_is_named(name: str, tmp_path: Path) -> None:
    files(tmp_path, STUDY)
    next(tmp_path.rglob(name)).unlink()
    with pytest.raises(UserError, match=f"has no .*{name}"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("name", "column"), [(REPORTS, "section_findings"), (FINDINGS, "Edema"), (IMPRESSION, "Edema")]
)
def test_a_missing_column_is_named(name: str, column: str, tmp_path: Path) -> None:
    path = next(files(tmp_path, STUDY).rglob(name))
    path.write_text(path.read_text().replace(column, "other"))
    with pytest.raises(UserError, match=f"{name}.* (lacks the column|line 1 .*without) {column}"):
        read(tmp_path)


@pytest.mark.parametrize("name", NAMES)
def test_a_truncated_gzip_file_and_a_log_in_page_are_told(name: str, tmp_path: Path) -> None:
    shape.write(tmp_path)
    path = next(tmp_path.rglob(name))
    content = gzip.compress(path.read_bytes())
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match="damaged or incomplete gzip"):
        read(tmp_path)
    path.write_text("<html><head><title>Log in</title></head></html>")
    with pytest.raises(UserError, match="a web page"):
        read(tmp_path)


def test_files_in_the_official_shape_give_readable_examples_of_both_splits(tmp_path: Path) -> None:
    shape.write(tmp_path, count=24)
    rows, tally = read(tmp_path)
    for row in rows:
        assert named(row.task).read(row.answer) is not None
        assert tuple(row.inputs) == named(row.task).inputs and row.inputs["report"].strip()
    assert not tally.malformed and len({(row.task, row.id) for row in rows}) == len(rows) == 16 + 16 + 24
    for task in CHEXPERT_PLUS.tasks:
        assert {row.split for row in rows if row.task == task} == {"train", "test"}
    assert tally.dropped == {
        "another view of a study": 12,
        "impression_generation: no findings": 8,
        "abnormality_detection: no findings": 8,
    }
    assert len({row.patient for row in rows}) == 12 and sorted(shape.CLASSES) == sorted(CLASSES)
