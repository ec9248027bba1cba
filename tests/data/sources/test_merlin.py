"""Merlin: the report is split at its mark, the official split is kept, stages are proxies and say so."""

import gzip
from pathlib import Path

import openpyxl
import pytest

from radlite.data.sources import Tally
from radlite.data.sources.merlin import MERLIN
from radlite.errors import UserError
from radlite.tasks import Example, named
from tests.data.shapes import merlin as shape

REPORT = "Liver: Normal.\nLymph nodes: Enlarged.\n\nIMPRESSION: \n1. Enlarged nodes.\n2. No metastasis."
WORKBOOK, LABELS = "reports_final.xlsx", "zero_shot_findings_disease_cls.csv"


def read(folder: Path, most: float = 0.01) -> tuple[list[Example], Tally]:
    tally = Tally()
    return list(MERLIN.read(folder, tally, most)), tally


def one(
    folder: Path, report: str | None, nodes: object = 1, metastases: object = 0
) -> tuple[dict[str, Example], Tally]:
    """The examples of a single study, by task."""
    shape.tables(folder, [("AC421363e", report, "val", "")], [("AC421363e", nodes, metastases)])
    found, tally = read(folder)
    return {row.task: row for row in found}, tally


def test_every_row_of_the_official_shape_is_read_or_counted(tmp_path: Path) -> None:
    shape.write(tmp_path)
    found, tally = read(tmp_path)
    assert not tally.malformed and {row.split for row in found} == {"train", "validation", "test"}
    for row in found:
        assert named(row.task).read(row.answer) is not None
        assert set(row.inputs) == set(named(row.task).inputs) and row.inputs["report"].strip()
    assert len({(row.task, row.id) for row in found}) == len(found)
    for task in MERLIN.tasks:
        dropped = sum(number for why, number in tally.dropped.items() if why.startswith(task))
        assert dropped + sum(row.task == task for row in found) == 20


def test_a_report_is_split_at_its_mark_for_the_impression_and_whole_for_the_stages(tmp_path: Path) -> None:
    found, _ = one(tmp_path, REPORT)
    row = found["impression_generation"]
    assert row.inputs == {"report": "FINDINGS: Liver: Normal.\nLymph nodes: Enlarged."}
    assert row.answer == "Enlarged nodes.\nNo metastasis."
    assert (row.id, row.study, row.patient, row.split) == ("AC421363e", "merlin:AC421363e", "", "validation")
    assert (row.tier, row.tags) == ("gold", ())
    for task, answer in (("n_staging", "Positive. N staging: N1"), ("m_staging", "M0")):
        assert found[task].answer == answer
        assert "IMPRESSION:" in found[task].inputs["report"] and "Liver: Normal." in found[task].inputs["report"]


@pytest.mark.parametrize(
    ("label", "n", "m"),
    [(1, "Positive. N staging: N1", "M1"), (0, "Negative. N staging: N0", "M0"), (-1, None, None),
     ("1.0", "Positive. N staging: N1", "M1"), ("-1.0", None, None)],
)  # fmt: skip
def test_stages_are_proxies_and_what_is_not_mentioned_has_none(
    label: object, n: str | None, m: str | None, tmp_path: Path
) -> None:
    found, tally = one(tmp_path, REPORT, label, label)
    assert [found[task].answer if task in found else None for task in ("n_staging", "m_staging")] == [n, m]
    assert all(row.tier == "proxy" and "proxy" in row.tags for task, row in found.items() if "staging" in task)
    assert tally.dropped["m_staging: metastatic_disease is not mentioned"] == (m is None)


@pytest.mark.parametrize(
    ("report", "why"),
    [
        ("Liver: Normal.", "no impression"),
        ("Liver: Normal. IMPRESSION:", "no impression"),
        ("IMPRESSION: Normal.", "no findings"),
        (f"{REPORT}\nImpression: Again.", "several impressions"),
    ],
)
def test_reports_that_cannot_be_split_have_stages_but_no_impression(report: str, why: str, tmp_path: Path) -> None:
    found, tally = one(tmp_path, report)
    assert set(found) == {"n_staging", "m_staging"} and tally.dropped[f"impression_generation: {why}"] == 1


def test_an_empty_report_is_dropped_and_carriage_returns_are_lines(tmp_path: Path) -> None:
    found, tally = one(tmp_path, None)
    assert not found and tally.dropped["no report"] == 1 and not tally.malformed
    found, _ = one(tmp_path, REPORT.replace("\n", "_x000D_\n"))
    assert found["impression_generation"].answer == "Enlarged nodes.\nNo metastasis."
    assert "x000D" not in found["n_staging"].inputs["report"]


def test_a_report_that_has_its_heading_gets_no_second_one(tmp_path: Path) -> None:
    found, _ = one(tmp_path, f"FINDINGS:\n{REPORT}")
    assert found["impression_generation"].inputs["report"].count("FINDINGS") == 1


def test_studies_without_labels_or_with_two_sets_have_no_stages(tmp_path: Path) -> None:
    shape.tables(tmp_path, [("AC1", REPORT, "train", ""), ("AC2", REPORT, "test", "")], [("AC2", 1, 1), ("AC2", 0, 1)])
    found, tally = read(tmp_path)
    assert {row.task for row in found} == {"impression_generation"}
    assert tally.dropped["n_staging: no labels"] == tally.dropped["m_staging: no labels"] == 2
    assert tally.dropped["studies with two sets of labels"] == 1


def test_malformed_rows_are_counted_with_file_and_row(tmp_path: Path) -> None:
    reports = [
        ("AC1", REPORT, "train", ""),
        ("AC1", REPORT, "train", ""),
        ("AC2", REPORT, "dev", ""),
        ("", "x", "val", ""),
    ]
    shape.tables(tmp_path, reports, [("AC1", 1, 2), ("AC2", 0, 0), ("", 0, 0)])
    found, tally = read(tmp_path, most=1.0)
    assert [row.task for row in found] == ["impression_generation"]
    assert tally.dropped["another row of a study"] == 1
    assert sorted((row.file, row.line, row.why) for row in tally.malformed) == [
        (WORKBOOK, 4, "Split is none of the three"),
        (WORKBOOK, 5, "no study id"),
        (LABELS, 2, "metastatic_disease is none of 1, 0 and -1"),
        (LABELS, 4, "no study id"),
    ]


@pytest.mark.parametrize("name", [WORKBOOK, LABELS])
def test_each_file_is_missed_and_a_web_page_under_its_name_refused(name: str, tmp_path: Path) -> None:
    shape.write(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(UserError, match=f"has no {name}"):
        read(tmp_path)
    (tmp_path / name).write_text("<!DOCTYPE html><html>Log in</html>")
    with pytest.raises(UserError, match="a web page"):
        read(tmp_path)


def test_damaged_files_and_missing_columns_are_refused(tmp_path: Path) -> None:
    shape.write(tmp_path)
    book, labels = tmp_path / WORKBOOK, tmp_path / LABELS
    content = book.read_bytes()
    book.write_bytes(content[:-100])
    with pytest.raises(UserError, match=f"{WORKBOOK} is .*get it again"):
        read(tmp_path)
    other = openpyxl.Workbook()
    other.worksheets[0].append(("study id", "Findings"))
    other.save(book)
    with pytest.raises(UserError, match="lacks the column Split"):
        read(tmp_path)
    book.write_bytes(content)
    table = labels.read_bytes()
    labels.write_bytes(table.replace(b"lymphadenopathy", b"nodes"))
    with pytest.raises(UserError, match="lacks the column lymphadenopathy"):
        read(tmp_path)
    labels.with_name(f"{LABELS}.gz").write_bytes(gzip.compress(table)[:-9])
    labels.unlink()
    with pytest.raises(UserError, match="incomplete gzip"):
        read(tmp_path)
