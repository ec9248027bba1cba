"""TCGA reports: joined by patient, stages folded, long reports condensed by whole sentences."""

import csv
import re
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from radlite.data.sources import SOURCES, Tally
from radlite.data.sources.condense import OMITTED, condense, split_sentences
from radlite.errors import UserError
from radlite.tasks import Example, named

SOURCE = SOURCES["tcga_tnm"]


def tables(folder: Path, n: list[str], m: list[str], texts: list[str]) -> Path:
    """The three files: patient `TCGA-AA-0000` has the first stage of each kind and the first text, and so on."""
    for name, column, stages in (
        ("TCGA_N03_patients.csv", "ajcc_pathologic_n", n),
        ("TCGA_M01_patients.csv", "ajcc_pathologic_m", m),
    ):
        with (folder / name).open("w", newline="") as file:
            table = csv.writer(file)
            table.writerow([column, "project_id", "case_id", "case_submitter_id"])
            table.writerows([s, "TCGA-BRCA", f"case {i}", f"TCGA-AA-{i:04}"] for i, s in enumerate(stages) if s)
    with (folder / "T14_test.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["patient_filename", "label", "text"])
        table.writerows([f"TCGA-AA-{i:04}.{i:08}-UUID", 0, text] for i, text in enumerate(texts))
    return folder


def read(folder: Path, task: str | None = None) -> tuple[list[Example], Tally]:
    tally = Tally()
    return [example for example in SOURCE.read(folder, tally) if task in (None, example.task)], tally


def test_reports_are_joined_with_their_stages_by_patient(tmp_path: Path) -> None:
    rows, _ = read(tables(tmp_path, ["N1a", "N0"], ["", "M1b"], ["First.", "Second.", "Third."]))
    assert [(row.task, row.patient, row.answer, row.inputs["report"]) for row in rows] == [
        ("n_staging", "TCGA-AA-0000", "Positive. N staging: N1", "First."),
        ("n_staging", "TCGA-AA-0001", "Negative. N staging: N0", "Second."),
        ("m_staging", "TCGA-AA-0001", "M1", "Second."),
    ]


@pytest.mark.parametrize(
    ("written", "stage"),
    [("N0", "N0"), ("N0 (i+)", "N0"), ("N0 (mol+)", "N0"), ("N1mi", "N1"), ("N2c", "N2"), ("N3b", "N3"), ("pN1", "N1")],
)
def test_substages_are_folded(written: str, stage: str, tmp_path: Path) -> None:
    rows, _ = read(tables(tmp_path, [written], [], ["Report."]))
    assert [named(row.task).read(row.answer).category for row in rows] == [stage]


def test_an_x_or_an_unknown_stage_is_dropped_and_counted_and_is_not_malformed(tmp_path: Path) -> None:
    rows, tally = read(tables(tmp_path, ["NX", "'--", "Not Reported", "N1"], ["MX"], ["a b"] * 4))
    assert [row.patient for row in rows] == ["TCGA-AA-0003"] and not tally.malformed
    assert tally.dropped["ajcc_pathologic_n: X or unknown"] == 3
    assert tally.dropped["ajcc_pathologic_m: X or unknown"] == 1
    assert tally.dropped["n_staging: no known stage"] == 3


def test_a_patient_with_two_stages_has_none(tmp_path: Path) -> None:
    tables(tmp_path, ["N0", "N1"], [], ["a b", "c d"])
    with (tmp_path / "TCGA_N03_patients.csv").open("a") as file:
        file.write("N2,TCGA-BRCA,again,TCGA-AA-0000\nN1c,TCGA-BRCA,again,TCGA-AA-0001\n")
    rows, tally = read(tmp_path)
    assert [row.patient for row in rows] == ["TCGA-AA-0001"]
    assert tally.dropped["ajcc_pathologic_n: two stages for one patient"] == 1


def test_few_malformed_rows_are_listed_and_many_stop_the_build(tmp_path: Path) -> None:
    rows, tally = read(tables(tmp_path, ["N1"] * 199 + ["N7"], ["M0"], ["a b"] * 200))
    assert len(tally.malformed) == 1 and tally.malformed[0].line == 201 and len(rows) == 200
    with pytest.raises(UserError, match=r"TCGA_N03_patients\.csv line 2 \(ajcc_pathologic_n is no stage\).*1%"):
        read(tables(tmp_path, ["four"] * 20, ["M0"], ["a b"] * 20))


def test_a_folder_without_the_files_is_told_how_to_get_them(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"has no TCGA_N03_patients\.csv"):
        read(tmp_path)
    with pytest.raises(UserError, match=r"needs a folder.*data how tcga_tnm"):
        read(tmp_path / "nowhere")


STATED = ["pT2 pN1 pMX", "pT3NO", "Stage: T2, N0, M0.", "nodes (pN): pN2a", "pT 1c N 0", "pNOMX", "Positive nodes: N3."]
NOT_STATED = ["One of two nodes, 1/2.", "pNX", "CD20 and EGFR N10", "No nodes seen.", "IN 1 OF 3 NODES", "SN2 removed"]


@pytest.mark.parametrize("text", STATED)
def test_a_report_that_spells_its_n_stage_out_is_tagged(text: str, tmp_path: Path) -> None:
    rows, _ = read(tables(tmp_path, ["N1"], [], [text]))
    assert "stated_stage" in rows[0].tags


@pytest.mark.parametrize("text", NOT_STATED)
def test_a_report_that_does_not_is_tagged_too(text: str, tmp_path: Path) -> None:
    rows, _ = read(tables(tmp_path, ["N1"], [], [text]))
    assert "no_stated_stage" in rows[0].tags


@pytest.mark.parametrize(
    ("text", "stated"),
    [("T3 NO M1", True), ("cM0", True), ("pT2N2M0", True), ("pT1 pN0 pMX", False), ("SNOMED M80703", False),
     ("2 cm 1 mm", False)],
)  # fmt: skip
def test_a_stated_m_stage_is_told_from_sizes_and_codes(text: str, stated: bool, tmp_path: Path) -> None:
    rows, _ = read(tables(tmp_path, [], ["M0"], [text]))
    assert ("stated_stage" in rows[0].tags) == stated


def test_the_real_files_have_826_reports_with_n_and_659_with_m(shared: Path) -> None:
    rows, tally = read(shared / "tcga")
    labels = Counter(named(row.task).read(row.answer).category for row in rows)
    assert labels == {"N0": 471, "N1": 221, "N2": 105, "N3": 29, "M0": 613, "M1": 46}
    assert not tally.malformed and tally.dropped["n_staging: no known stage"] == 1034 - 826
    assert tally.dropped["m_staging: no known stage"] == 1034 - 659
    stated = Counter(row.task for row in rows if "stated_stage" in row.tags)
    assert stated == {"n_staging": 465, "m_staging": 27}


def count(text: str) -> int:
    return len(re.findall(r"\w+|[^\w\s]", text))


LONG = (
    "Received fresh in one container is a breast. It measures 20 cm. Skin is tan. 1. Breast, left, excision: Invasive "
    "ductal carcinoma. Margins are free. Lymph nodes. Two of twelve. The weather on that day was rather fine again. "
    "Pathologic stage: pT2 pN1. Sections are submitted in cassettes with lymph node tissue."
)


def test_a_report_within_the_budget_is_left_as_it_is() -> None:
    assert condense(LONG, count(LONG), count) == LONG


def test_stage_then_nodes_then_what_follows_them_then_diagnosis_are_kept_in_the_order_of_the_report() -> None:
    assert condense(LONG, 16, count) == "[...] Pathologic stage: pT2 pN1. [...]"
    assert condense(LONG, 28, count) == "[...] Lymph nodes. Two of twelve. [...] Pathologic stage: pT2 pN1. [...]"
    assert condense(LONG, 45, count) == (
        "[...] 1. Breast, left, excision: Invasive ductal carcinoma. Margins are free. Lymph nodes. Two of twelve. "
        "[...] Pathologic stage: pT2 pN1. [...]"
    )


def test_nothing_is_kept_rather_than_a_piece_of_a_sentence() -> None:
    assert condense("one two three four five six seven", 4, count) == ""


def test_a_full_stop_inside_a_line_break_does_not_end_a_sentence() -> None:
    assert split_sentences("Tumor in the. left lobe. 2. Nodes are free.\nDone") == [
        "Tumor in the. left lobe.",
        "2. Nodes are free.",
        "Done",
    ]


@given(st.lists(st.sampled_from([*split_sentences(LONG), "pN2.", "Nodes (0/4): free!", "a;b"]), max_size=30),
       st.integers(1, 120))  # fmt: skip
def test_the_budget_holds_and_only_whole_sentences_in_order_are_kept(sentences: list[str], budget: int) -> None:
    report = " ".join(sentences)
    short = condense(report, budget, count)
    assert count(short) <= budget
    if short != report:
        rest = report
        for part in filter(None, (part.strip() for part in short.split(OMITTED))):
            assert all(piece in split_sentences(report) for piece in split_sentences(part))
            assert part in rest
            rest = rest[rest.index(part) + len(part) :]


def test_real_long_reports_keep_their_stated_stage(shared: Path) -> None:
    rows = [row for row in read(shared / "tcga", "n_staging")[0] if count(row.inputs["report"]) > 400]
    stated = [row.inputs["report"] for row in rows if "stated_stage" in row.tags]
    assert len(stated) > 150
    kept = [condense(text, 400, count) for text in stated]
    assert all(short and count(short) <= 400 for short in kept)
    assert sum(bool(re.search(r"N ?[0-3O]", short)) for short in kept) == len(kept)
