"""MS-CXR-T: sentences for inference, and courses of findings where both reports are there and the current says so."""

import gzip
from collections import Counter
from pathlib import Path

import pytest

from radlite.data.sources.ms_cxr_t import MS_CXR_T
from radlite.data.sources.source import Tally
from radlite.errors import UserError
from radlite.tasks import Example, named
from tests.data.shapes import ms_cxr_t as shape

FILES = (shape.SENTENCES, shape.IMAGES, shape.REPORTS, shape.STUDIES)


def read(folder: Path, most: float = 0.01) -> tuple[list[Example], Tally]:
    tally = Tally()
    return list(MS_CXR_T.read(folder, tally, most)), tally


def pairs(folder: Path, *rows: shape.Row, reports: list[shape.Row]) -> tuple[list[Example], Tally]:
    """The comparisons of these pairs of images: 1 is of study 51000000, 2 and 3 of study 52000000."""
    shape.write(folder, 2)
    shape.save(folder / shape.IMAGES, list(rows))
    shape.save(folder / shape.REPORTS, reports)
    shape.save(folder / shape.STUDIES, [shape.place(10_000_032, study, image)
               for image, study in ((1, 51_000_000), (2, 52_000_000), (3, 52_000_000))])  # fmt: skip
    found, tally = read(folder, most=1)
    return [row for row in found if row.task == "temporal_comparison"], tally


def pair(image: int = 2, **labels: str) -> shape.Row:
    return shape.pair(10_000_032, 52_000_000, image, 1, **labels)


BEFORE = shape.section(51_000_000, "There was\n an effusion.")


def now(findings: str = "", impression: str = "", last: str = "") -> list[shape.Row]:
    return [BEFORE, shape.section(52_000_000, findings, impression, last)]


def test_every_example_is_a_gold_test_item_of_its_task(tmp_path: Path) -> None:
    shape.write(tmp_path)
    rows, tally = read(tmp_path)
    assert not tally.malformed and len({(row.task, row.id) for row in rows}) == len(rows)
    assert Counter(row.task for row in rows) == {"radiology_nli": 20, "temporal_comparison": 20}
    for row in rows:
        task = named(row.task)
        assert task.read(row.answer) is not None and set(row.inputs) == set(task.inputs)
        assert all(text.strip() for text in row.inputs.values())
        assert (row.split, row.tier) == ("test", "gold")


def test_a_paraphrase_is_entailed_and_a_contradiction_contradicts(tmp_path: Path) -> None:
    shape.write(tmp_path, 2)
    shape.save(tmp_path / shape.SENTENCES, [
        {"": "0", "sentence_1": "Edema is worse.", "sentence_2": "Worse\n edema.", "category": "paraphrase",
         "subset_name": "RadGraph"},
        {"": "1", "sentence_1": "Edema is worse.", "sentence_2": "Edema is better.", "category": "contradiction",
         "subset_name": "a longer text that is no name"},
    ])  # fmt: skip
    rows = [row for row in read(tmp_path)[0] if row.task == "radiology_nli"]
    assert [(row.answer, row.inputs["premise"], row.inputs["hypothesis"], row.tags, row.patient) for row in rows] == [
        ("entailment", "Edema is worse.", "Worse edema.", ("subset:radgraph",), ""),
        ("contradiction", "Edema is worse.", "Edema is better.", (), ""),
    ]
    assert rows[0].id != rows[1].id


def test_the_course_of_a_finding_becomes_a_change_where_the_current_report_says_so(tmp_path: Path) -> None:
    text = "Pneumothorax is stable. The large left pleural\n effusion has increased. No edema."
    labels = {"pleural_effusion": "worsening", "pneumothorax": "stable", "edema": "improving"}
    rows, tally = pairs(tmp_path, pair(**labels), reports=now(text))
    assert rows[0].answer == (
        "- [No Change] stable (related to: pneumothorax)\n- [Worsened] increased (related to: pleural effusion)"
    )
    assert rows[0].inputs["report"].splitlines()[0] == "PRIOR FINDINGS: There was"
    assert (
        "\nCURRENT FINDINGS: Pneumothorax is stable. The large left pleural effusion has increased. No edema."
        in (rows[0].inputs["report"])
    )
    assert tally.dropped["change left out: the report does not say so"] == 1
    assert (rows[0].id, rows[0].patient, rows[0].study) == (
        "ms_cxr_t:s52000000-s51000000", "mimic:10000032", "mimic:s52000000")  # fmt: skip
    assert not named("temporal_comparison").ground(
        named("temporal_comparison").read(rows[0].answer), rows[0].inputs
    ).warnings  # fmt: skip


def test_the_cue_stands_in_a_sentence_on_the_finding(tmp_path: Path) -> None:
    text = "Heart is unchanged. There is edema."
    rows, tally = pairs(tmp_path, pair(edema="stable"), reports=now(text))
    assert not rows and tally.dropped["temporal_comparison: no change that the report states"] == 1


def test_a_label_on_which_experts_disagree_is_left_out(tmp_path: Path) -> None:
    labels = {"edema": "worsening/disagreement", "pneumonia": "stable/multiple_experts"}
    rows, tally = pairs(tmp_path, pair(**labels), reports=now("Edema is worse. Pneumonia is stable."))
    assert rows[0].answer == "- [No Change] stable (related to: pneumonia)"
    assert tally.dropped["change left out: the experts disagree"] == 1


def test_two_images_of_a_study_give_one_example(tmp_path: Path) -> None:
    rows, tally = pairs(tmp_path, pair(2, edema="stable"), pair(3, edema="stable"), reports=now("Stable edema."))
    assert len(rows) == 1 and tally.dropped["temporal_comparison: other images of the two studies"] == 1


@pytest.mark.parametrize(
    ("sections", "name"),
    [({"findings": "Stable edema.", "impression": "No."}, "FINDINGS"), ({"impression": "Stable edema."}, "IMPRESSION"),
     ({"last": "Stable edema."}, "REPORT")],
)  # fmt: skip
def test_without_findings_the_impression_or_the_last_paragraph_is_read(
    sections: dict[str, str], name: str, tmp_path: Path
) -> None:
    rows, _ = pairs(tmp_path, pair(edema="stable"), reports=now(**sections))
    assert rows[0].inputs["report"].endswith(f"CURRENT {name}: Stable edema.")


def test_a_pair_without_both_reports_is_dropped(tmp_path: Path) -> None:
    rows, tally = pairs(tmp_path, pair(edema="stable"), pair(3, edema="stable"), reports=now())
    assert not rows and tally.dropped["temporal_comparison: no report of one of the studies"] == 2
    stranger = shape.pair(10_000_032, 52_000_000, 2, 99, edema="stable")
    rows, tally = pairs(tmp_path, stranger, reports=now("Stable edema."))
    assert not rows and tally.dropped["temporal_comparison: no report of one of the studies"] == 1


def test_without_the_reports_there_is_inference_only(tmp_path: Path) -> None:
    shape.write(tmp_path, reports=False)
    rows, tally = read(tmp_path)
    assert {row.task for row in rows} == {"radiology_nli"} and len(rows) == 20
    assert tally.dropped["temporal_comparison: no reports, as mimic_cxr_sectioned.csv is not there"] == 20


def test_packed_reports_are_found_too(tmp_path: Path) -> None:
    shape.write(tmp_path)
    for name in (shape.REPORTS, shape.STUDIES):
        (tmp_path / f"{name}.gz").write_bytes(gzip.compress((tmp_path / name).read_bytes()))
        (tmp_path / name).unlink()
    assert len(read(tmp_path)[0]) == 40


@pytest.mark.parametrize(
    ("name", "good", "bad", "why"),
    [
        (shape.SENTENCES, "paraphrase", "neutral", "category is neither paraphrase nor contradiction"),
        (shape.IMAGES, "stable", "odd", "pneumonia_progression is no course"),
        (shape.IMAGES, "10000000", "secret", "subject_id or study_id is no number of eight digits"),
    ],
)
def test_a_malformed_row_is_listed_by_file_and_line(name: str, good: str, bad: str, why: str, tmp_path: Path) -> None:
    shape.write(tmp_path)
    if name == shape.IMAGES:
        row = shape.pair(10_000_000, 50_000_001, 1, 0, pneumonia="stable")
    else:
        row = {"sentence_1": "a", "sentence_2": "b", "category": "paraphrase"}
    shape.save(tmp_path / name, [{key: value.replace(good, bad) for key, value in row.items()}])
    _, tally = read(tmp_path, most=1)
    assert [(row.file, row.line, row.why) for row in tally.malformed] == [(name, 2, why)]


COLUMN = {shape.SENTENCES: "category", shape.IMAGES: "edema_progression", shape.REPORTS: "findings",
          shape.STUDIES: "study_id"}  # fmt: skip


@pytest.mark.parametrize("name", FILES)
def test_a_wrong_file_is_named(name: str, tmp_path: Path) -> None:
    shape.write(tmp_path)
    path = tmp_path / name
    good = path.read_bytes()
    path.write_bytes(b"<!DOCTYPE html><html>Log in</html>")
    with pytest.raises(UserError, match=rf"{name} is a web page"):
        read(tmp_path)
    path.write_bytes(good.replace(COLUMN[name].encode(), b"other"))
    with pytest.raises(UserError, match=rf"{name} lacks the column {COLUMN[name]}"):
        read(tmp_path)
    path.write_bytes(gzip.compress(good * 20)[:-20])
    with pytest.raises(UserError, match=rf"{name} is a damaged or incomplete gzip"):
        read(tmp_path)


@pytest.mark.parametrize("name", [shape.SENTENCES, shape.IMAGES, shape.STUDIES])
def test_a_missing_file_is_named(name: str, tmp_path: Path) -> None:
    shape.write(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(UserError, match=f"has no {name}"):
        read(tmp_path)
