"""RXL-RADSet: every id pattern and score becomes a canonical category, each report as it is and masked."""

import csv
import gzip
import sys
from collections import Counter
from pathlib import Path

import pytest

from radlite.data.sources import Tally
from radlite.data.sources.rads import RADS
from radlite.errors import UserError
from radlite.files import MAX_TEXT_BYTES
from radlite.rads import system_of
from radlite.rads.mentions import find
from radlite.tasks import Example, named
from tests.data.shapes import rads as shape

TASK = "rads_assignment"
HEADER = ["Report_Number", "Modality", "Profile", "RADS_score"]
SECRET = "Mrs Example has a carcinoma"


def read(folder: Path, most: float = 1.0) -> tuple[list[Example], Tally]:
    tally = Tally()
    return list(RADS.read(folder, tally, most)), tally


def texts(folder: Path, entries: dict[str, tuple[str, str]], modality: str = "US") -> Path:
    """metadata.csv and text files; `entries` is number to (score, report)."""
    with (folder / "metadata.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(HEADER)
        table.writerows([number, modality, "1", score] for number, (score, _) in entries.items())
    for number, (_, report) in entries.items():
        (folder / f"{number}.txt").write_text(report)
    return folder


def answers(folder: Path) -> dict[str, str]:
    return {row.id.split("/")[0]: row.answer for row in read(folder)[0]}


def test_the_pdfs_give_two_rows_a_report_one_as_it_is_and_one_masked(tmp_path: Path) -> None:
    shape.write(tmp_path)
    rows, tally = read(tmp_path)
    usable = {number: code for number, *_, code in shape.entries(24) if code}
    assert Counter(row.id for row in rows) == Counter(f"{one}/{way}" for one in usable for way in ("stated", "masked"))
    assert all(row.answer == usable[row.id.split("/")[0]] for row in rows)
    assert not tally.malformed and tally.files.keys() == {"metadata.csv", "*.pdf"}
    for row in rows:
        number, way = row.id.split("/")
        assert row.patient == row.study == f"rads:{number}" and row.split == "" and row.tier == "synthetic"
        assert row.tags[:2] == (way, f"system:{system_of(row.answer)}")
        codes = [one.category for one in find(row.inputs["report"])]
        assert row.answer in codes if way == "stated" else not codes


def test_every_row_is_one_that_the_task_reads(tmp_path: Path) -> None:
    shape.write(tmp_path, 48, seed=1)
    rows, _ = read(tmp_path)
    assert len({row.id for row in rows}) == len(rows) == 80
    for row in rows:
        assert named(row.task).read(row.answer) is not None and row.task == TASK
        assert set(row.inputs) == {"report"} and row.inputs["report"].strip()


def test_a_report_is_the_text_of_its_pdf_over_all_pages(tmp_path: Path) -> None:
    texts(tmp_path, {"R001_P_MRI": ("4", "")}, "MRI")
    (tmp_path / "R001_P_MRI.txt").unlink()
    long = "\n".join(f"Line {number} (of many)." for number in range(120)) + "\nImpression: PI-RADS v2.1 score 4."
    (tmp_path / "R001_P_MRI.pdf").write_bytes(shape.pdf(long))
    rows, _ = read(tmp_path)
    assert rows[0].inputs["report"] == long and rows[0].answer == "PI-RADS 4"
    assert rows[1].inputs["report"].endswith("Line 119 (of many).\nImpression:.")


SCORES = [
    ("R001_B_MG", "0", "BI-RADS 0"),
    ("R002_B_MRI", "4C", "BI-RADS 4C"),
    ("R073_B_Us", "5", "BI-RADS 5"),
    ("R001_Cor_CT", "4A", "CAD-RADS 4A"),
    ("R064_Cor_CT", "N", "CAD-RADS N"),
    ("R_001_GB_US", "0", "GB-RADS 0"),
    ("R001_L_CT", "TIV", "LR-TIV"),
    ("R046_L_MRI", "M", "LR-M"),
    ("R002_L_MRI", "5", "LR-5"),
    ("R001_LRTR_CT", "Nonviable", "LR-TR Nonviable"),
    ("R034_LRTR_MR", "Equivocal", "LR-TR Equivocal"),
    ("R008_LRTR_MR", "Nonevaluable", "LR-TR Nonevaluable"),
    ("R002_LRTR_MR", "Nonprogressing", "LR-TR Nonprogressing"),
    ("R003_LRTR_CT", "Viable", "LR-TR Viable"),
    ("R008_Lung", "4B", "Lung-RADS 4B"),
    ("R002_NI_CT", "1 // 2", "NI-RADS primary 1, neck 2"),
    ("R017_NI_CT", "2b // 1", "NI-RADS primary 2b, neck 1"),
    ("R014_O_MRI", "0", "O-RADS MRI 0"),
    ("R001_O_US", "2", "O-RADS US 2"),
    ("R001_P_MRI", "3", "PI-RADS 3"),
    ("R002_T_US", "2", "TI-RADS 2"),
    ("R004_VI_MR", "5", "VI-RADS 5"),
]


def test_each_id_and_score_of_the_metadata_has_its_canonical_category(tmp_path: Path) -> None:
    texts(tmp_path, {number: (score, f"Report {number}.") for number, score, _ in SCORES})
    assert answers(tmp_path) == {number: code for number, _, code in SCORES}


def test_liver_ultrasound_is_surveillance_where_the_score_allows_it_and_contrast_enhanced_where_not(
    tmp_path: Path,
) -> None:
    scores = ("1", "2", "3", "4", "5", "M", "TIV")
    texts(tmp_path, {f"R00{index}_L_US": (score, f"Liver {score}.") for index, score in enumerate(scores)})
    assert [*answers(tmp_path).values()] == ["US-1", "US-2", "US-3", "LR-4", "LR-5", "LR-M", "LR-TIV"]


def test_a_score_without_a_canonical_category_is_dropped_and_counted(tmp_path: Path) -> None:
    lacking = {"R006_T_US": "NC", "R006_VI_MR": "NC", "R028_Lung": "4", "R062_NI_CT": "2 // 1", "R001_B_MG": "1"}
    texts(tmp_path, {number: (score, f"Report {number}.") for number, score in lacking.items()})
    rows, tally = read(tmp_path)
    assert [row.id for row in rows] == ["R001_B_MG/masked"] and not tally.malformed
    assert {reason: number for reason, number in tally.dropped.items() if number} == {
        "rads_assignment: TI-RADS has no category NC": 1,
        "rads_assignment: VI-RADS has no category NC": 1,
        "rads_assignment: Lung-RADS has no category 4": 1,
        "rads_assignment: NI-RADS has no category 2 // 1": 1,
        "rads_assignment: no usable score for the report": 4,
    }


def test_modality_and_profile_are_tags_for_slices(tmp_path: Path) -> None:
    shape.write(tmp_path)
    tags = {row.id: row.tags for row in read(tmp_path)[0]}
    assert tags["R011_Lung/masked"] == (
        "masked", "system:Lung-RADS", "variant:Lung-RADS", "modality:CT", "profile:1",
    )  # fmt: skip
    assert "variant:LI-RADS surveillance" in tags["R008_L_US/stated"]


def test_a_report_that_states_nothing_gives_the_masked_row_alone(tmp_path: Path) -> None:
    texts(tmp_path, {"R001_T_US": ("5", "Nodule in the left lobe."), "R002_T_US": ("4", "Nodule. TI-RADS 4.")})
    assert [row.id for row in read(tmp_path)[0]] == ["R001_T_US/masked", "R002_T_US/stated", "R002_T_US/masked"]


def test_a_report_of_nothing_but_its_category_gives_no_masked_row(tmp_path: Path) -> None:
    rows, tally = read(texts(tmp_path, {"R001_T_US": ("5", "TI-RADS 5.")}))
    assert [row.id for row in rows] == ["R001_T_US/stated"]
    assert tally.dropped["rads_assignment: nothing but the category"] == 1


def test_reports_in_a_csv_are_read_without_pdfs(tmp_path: Path) -> None:
    texts(tmp_path, {"R_001_GB_US": ("3", "")})
    (tmp_path / "R_001_GB_US.txt").unlink()
    (tmp_path / "reports.csv.gz").write_bytes(
        gzip.compress(b"Report_Number,report\nR_001_GB_US,Thick wall. GB-RADS 3\n")
    )
    assert [row.inputs["report"] for row in read(tmp_path)[0]] == ["Thick wall. GB-RADS 3", "Thick wall."]


def test_a_file_is_found_in_other_case_and_without_the_extra_underscore_and_other_files_are_left(
    tmp_path: Path,
) -> None:
    texts(tmp_path, {"R_001_GB_US": ("3", "Wall."), "R073_B_Us": ("2", "Cyst.")})
    (tmp_path / "below").mkdir()
    (tmp_path / "R_001_GB_US.txt").rename(tmp_path / "below" / "R001_GB_US.txt")
    (tmp_path / "R073_B_Us.txt").rename(tmp_path / "R073_B_US.txt")
    (tmp_path / "README.txt").write_text("No report." * (MAX_TEXT_BYTES // 9))
    (tmp_path / "sample_reports.md").write_text("No report.")
    assert answers(tmp_path) == {"R_001_GB_US": "GB-RADS 3", "R073_B_Us": "BI-RADS 2"}
    assert not read(tmp_path)[1].rejected


def test_a_second_copy_and_a_report_or_score_that_stands_alone_are_counted(tmp_path: Path) -> None:
    texts(tmp_path, {"R001_T_US": ("5", "Nodule."), "R002_T_US": ("4", "Nodule.")})
    (tmp_path / "R001_T_US.pdf").write_bytes(shape.pdf("Nodule."))
    (tmp_path / "R002_T_US.txt").rename(tmp_path / "R003_T_US.txt")
    rows, tally = read(tmp_path)
    assert [row.id for row in rows] == ["R001_T_US/masked"]
    assert tally.dropped == {
        "rads_assignment: a second copy of the report": 1,
        "rads_assignment: no usable score for the report": 1,
        "rads_assignment: no report for the score": 1,
    }


MALFORMED = [
    ("R1-T-US,US,1,3", "Report_Number has another form"),
    ("R001_T_US,US,6,3", "Profile is not 1 to 5"),
    (f"R001_T_US,{SECRET},1,3", "Modality is another one"),
    (f"R001_T_US,US,1,{SECRET}", "RADS_score has another form"),
    ("R000_t_us,US,1,3", "a repeated Report_Number"),
    ("R001_T_US,US,1,", "no RADS_score"),
]


@pytest.mark.parametrize(("row", "why"), MALFORMED)
def test_a_malformed_row_of_the_metadata_is_named_by_line_and_not_quoted(row: str, why: str, tmp_path: Path) -> None:
    texts(tmp_path, {"R000_T_US": ("2", "Nodule.")})
    with (tmp_path / "metadata.csv").open("a") as file:
        file.write(f"{row}\n")
    rows, tally = read(tmp_path)
    assert [(bad.file, bad.line, bad.why) for bad in tally.malformed] == [("metadata.csv", 3, why)] and len(rows) == 1
    with pytest.raises(UserError, match=r"malformed, the first in metadata\.csv line 3") as caught:
        read(tmp_path, most=0.01)
    assert SECRET not in str(caught.value)


BROKEN = {
    "a web page": ("R001_T_US.pdf", b"<!DOCTYPE html><html>Log in</html>", "no readable pdf file"),
    "a cut PDF": ("R001_T_US.pdf", shape.pdf("Nodule.")[:80], "no readable pdf file"),
    "a PDF without text": ("R001_T_US.pdf", shape.pdf(""), "no text"),
    "another encoding": ("R001_T_US.txt", b"Gr\xf6\xdfe", "no readable txt file"),
    "an empty file": ("R001_T_US.txt", b"\n", "no text"),
    "a large file": ("R001_T_US.txt", b"a" * (MAX_TEXT_BYTES + 1), "larger than 4 MiB"),
    "a large PDF": ("R001_T_US.pdf", b"a" * (MAX_TEXT_BYTES + 1), "larger than 4 MiB"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_report_is_malformed_and_the_others_are_read(kind: str, tmp_path: Path) -> None:
    texts(tmp_path, {"R001_T_US": ("5", ""), "R002_T_US": ("4", "Nodule.")})
    (tmp_path / "R001_T_US.txt").unlink()
    name, content, why = BROKEN[kind]
    (tmp_path / name).write_bytes(content)
    rows, tally = read(tmp_path)
    assert [row.id for row in rows] == ["R002_T_US/masked"]
    assert [(bad.file, bad.line, bad.why) for bad in tally.malformed] == [(name, 1, why)]


WRONG = {
    "web page": b"<!DOCTYPE html><html>Log in</html>",
    "lacks the column RADS_score": b"Report_Number,Modality,Profile\nR001_T_US,US,1\n",
    "damaged or incomplete gzip": gzip.compress(b"Report_Number,Modality,Profile,RADS_score\n" * 99)[:-9],
}


@pytest.mark.parametrize("kind", WRONG)
def test_a_wrong_metadata_file_is_named(kind: str, tmp_path: Path) -> None:
    texts(tmp_path, {"R001_T_US": ("5", "Nodule.")})
    (tmp_path / "metadata.csv").write_bytes(WRONG[kind])
    with pytest.raises(UserError, match=rf"metadata\.csv .*{kind}"):
        read(tmp_path)


def test_a_folder_without_metadata_or_without_reports_says_what_is_missing(tmp_path: Path) -> None:
    texts(tmp_path, {"R001_T_US": ("5", "Nodule.")})
    (tmp_path / "R001_T_US.txt").unlink()
    with pytest.raises(UserError, match=r"has no reports \(expected R001_B_MG\.pdf"):
        read(tmp_path)
    (tmp_path / "metadata.csv").unlink()
    with pytest.raises(UserError, match=r"has no metadata\.csv"):
        read(tmp_path)


def test_without_pypdf_the_error_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shape.write(tmp_path, 1)
    monkeypatch.setitem(sys.modules, "pypdf", None)
    with pytest.raises(UserError, match=r"Reading PDF needs pypdf; install it with: pip install 'radlite\[data\]'"):
        read(tmp_path)
