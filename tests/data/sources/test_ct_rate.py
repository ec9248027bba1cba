"""CT-RATE: one example a study, valid is test, a label of 0 never makes a class positive."""

import gzip
from pathlib import Path

import pytest

from radlite.data.sources import Tally
from radlite.data.sources.ct_rate import CT_RATE
from radlite.errors import UserError
from radlite.tasks import Example, named
from tests.data.shapes import ct_rate as shape

FINDINGS = "There is a nodule in the right lung. No pleural effusion. Heart size is enlarged."
NAMES = sorted(name for names in shape.FILES.values() for name in names)


def read(folder: Path, most: float = 0.01) -> tuple[list[Example], Tally]:
    tally = Tally()
    return list(CT_RATE.read(folder, tally, most)), tally


def one(folder: Path, findings: str, impression: str, *labels: str) -> tuple[dict[str, Example], Tally]:
    """The examples of a single study, by task."""
    volume = "train_12_a_1.nii.gz"
    shape.tables(folder, "train", [(volume, "Not given.", "Axial images.", findings, impression)], {volume: labels})
    shape.tables(folder, "valid", [], {})
    found, tally = read(folder)
    return {row.task: row for row in found}, tally


def states(row: Example) -> dict[str, str]:
    return dict(named(row.task).read(row.answer).states)


def test_every_row_of_the_official_shape_is_read_or_counted(tmp_path: Path) -> None:
    shape.write(tmp_path)
    found, tally = read(tmp_path)
    assert not tally.malformed and {(row.task, row.split) for row in found} == {
        (task, split) for task in CT_RATE.tasks for split in ("train", "test")
    }
    for row in found:
        assert named(row.task).read(row.answer) is not None
        assert set(row.inputs) == set(named(row.task).inputs) and row.inputs["report"].strip()
        assert row.tier == "silver"
    assert len({(row.task, row.id) for row in found}) == len(found)
    for task in CT_RATE.tasks:
        dropped = sum(number for why, number in tally.dropped.items() if why.startswith(task))
        assert dropped + sum(row.task == task for row in found) == 20


def test_a_report_that_repeats_over_its_reconstructions_is_read_once(tmp_path: Path) -> None:
    volumes = ["train_12_a_1.nii.gz", "train_12_a_2.nii.gz", "train_12_b_1.nii.gz", "train_2_a_1.nii.gz"]
    shape.tables(
        tmp_path,
        "train",
        [(name, "", "", f"{name} is clear.", "Normal.") for name in volumes],
        dict.fromkeys(volumes, ()),
    )
    volume = "valid_12_a_1.nii.gz"
    shape.tables(tmp_path, "valid", [(volume, "", "", "Clear.", "Normal.")], {volume: ()})
    found, tally = read(tmp_path)
    assert [(row.id, row.patient, row.split) for row in found if row.task == "impression_generation"] == [
        ("train_12_a", "ct_rate:train_12", "train"),
        ("train_12_b", "ct_rate:train_12", "train"),
        ("train_2_a", "ct_rate:train_2", "train"),
        ("valid_12_a", "ct_rate:valid_12", "test"),
    ]
    assert tally.dropped["another reconstruction of a study"] == 1 and len(found) == 8


def test_the_impression_is_not_in_the_input_and_not_given_is_nothing(tmp_path: Path) -> None:
    found, _ = one(tmp_path, FINDINGS, "Nodule.\nCardiomegaly.")
    row = found["impression_generation"]
    assert row.inputs == {"report": f"TECHNIQUE: Axial images.\nFINDINGS: {FINDINGS}"}
    assert row.answer == "Nodule.\nCardiomegaly."


def test_a_label_of_one_is_positive_and_a_label_of_zero_is_never(tmp_path: Path) -> None:
    text = f"{FINDINGS} Atelectasis in the left lung. Possible consolidation."
    found, _ = one(tmp_path, text, "As above.", "Cardiomegaly", "Lung nodule", "Medical material", "Lung opacity")
    row = found["abnormality_detection"]
    assert row.inputs["report"] == f"FINDINGS: {text}\nIMPRESSION: As above."
    assert {name: state for name, state in states(row).items() if state != "not mentioned"} == {
        "Cardiomegaly": "positive",
        "Lung Lesion": "positive",
        "Lung Opacity": "positive",
        "Pleural Effusion": "negative",
        "Support Devices": "positive",
    }


def test_a_mass_is_a_lesion_also_where_no_nodule_is_labelled(tmp_path: Path) -> None:
    found, _ = one(tmp_path, "There is a 4 cm mass in the right lung.", "Mass.")
    assert states(found["abnormality_detection"])["Lung Lesion"] == "positive"


@pytest.mark.parametrize(("label", "state"), [("Emphysema", "not mentioned"), ("Medical material", "positive")])
def test_no_finding_needs_that_no_finding_is_labelled(label: str, state: str, tmp_path: Path) -> None:
    found, _ = one(tmp_path, "No pleural effusion. No pneumothorax.", "Nothing else.", label)
    assert states(found["abnormality_detection"])["No Finding"] == state


@pytest.mark.parametrize(
    ("findings", "impression", "why"),
    [("Not given.", "Normal.", "no findings"), ("Clear.", "Not given.", "no impression"), ("", "", "no impression")],
)
def test_studies_without_findings_or_impression_are_dropped(
    findings: str, impression: str, why: str, tmp_path: Path
) -> None:
    found, tally = one(tmp_path, findings, impression)
    assert tally.dropped[f"impression_generation: {why}"] == 1 and "impression_generation" not in found
    assert ("abnormality_detection" in found) == bool(findings)


def test_studies_without_labels_or_with_two_sets_have_no_abnormalities(tmp_path: Path) -> None:
    volumes = ["train_1_a_1.nii.gz", "train_1_a_2.nii.gz", "train_2_a_1.nii.gz"]
    reports = [(name, "", "", "Clear.", "Normal.") for name in volumes]
    shape.tables(tmp_path, "train", reports, {volumes[0]: ["Atelectasis"], volumes[1]: []})
    shape.tables(tmp_path, "valid", [], {})
    found, tally = read(tmp_path)
    assert {row.task for row in found} == {"impression_generation"}
    assert tally.dropped["abnormality_detection: no labels"] == 2
    assert tally.dropped["studies whose reconstructions have different labels"] == 1


def test_malformed_rows_are_counted_with_file_and_line(tmp_path: Path) -> None:
    volume = "train_1_a_1.nii.gz"
    shape.tables(tmp_path, "train", [(volume, "", "", "Clear.", "Normal."), ("x.nii.gz", "", "", "", "")], {volume: ()})
    shape.tables(tmp_path, "valid", [], {"valid_1_a_1.nii.gz": (), "valid_1.nii.gz": ()})
    labels = tmp_path / shape.FILES["valid"][1]
    labels.write_text(labels.read_text().replace("a_1.nii.gz,0,0", "a_1.nii.gz,0,2"))
    _, tally = read(tmp_path, most=1.0)
    assert [(row.file, row.line, row.why) for row in tally.malformed] == [
        ("train_reports.csv", 3, "VolumeName is no split, patient, scan and reconstruction"),
        ("valid_predicted_labels.csv", 2, "Arterial wall calcification is neither 0 nor 1"),
        ("valid_predicted_labels.csv", 3, "VolumeName is no split, patient, scan and reconstruction"),
    ]


@pytest.mark.parametrize("name", NAMES)
def test_each_file_is_missed_and_each_wrong_one_refused(name: str, tmp_path: Path) -> None:
    shape.write(tmp_path)
    path = tmp_path / name
    content = path.read_bytes()
    path.unlink()
    with pytest.raises(UserError, match=f"has no {name}"):
        read(tmp_path)
    path.write_text("<!DOCTYPE html><html>Log in</html>")
    with pytest.raises(UserError, match="a web page"):
        read(tmp_path)
    path.write_bytes(content.replace(b"VolumeName", b"Volume", 1))
    with pytest.raises(UserError, match="lacks the column VolumeName"):
        read(tmp_path)
    path.unlink()
    path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(content)[:-9])
    with pytest.raises(UserError, match="incomplete gzip"):
        read(tmp_path)
