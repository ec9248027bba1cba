"""Reviews: nothing unreadable is kept, nothing is lost, and what is given out is what a corpus can be built from."""

import csv
import errno
import io
import json
import os
import random
import stat
import threading
import zipfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from radlite.data.build import build
from radlite.data.corpus import read
from radlite.errors import UserError
from radlite.server.reviews import FORMATS, Reviews
from radlite.tasks import TASKS

REPORT = "MRI of the liver. FINDINGS: Observation of 22 mm in segment 8, arterial hyperenhancement, washout."
IDS = [f"{number:032x}" for number in range(100)]
ANSWERS = {
    "rads_assignment": "LR-5",
    "impression_generation": "Hepatocellular carcinoma.",
    "temporal_comparison": "- [Worsened] increased (related to: effusion)",
    "radiology_ner": "Anatomy: segment 8\nObservation (Present): washout",
    "n_staging": "Positive. N staging: N2",
    "m_staging": "M0",
    "radiology_nli": "entailment",
    "abnormality_detection": TASKS["abnormality_detection"].draft({"report": "No pneumothorax."}),
    "radiology_qa": "Segment 8",
}


@pytest.fixture
def reviews(tmp_path: Path) -> Any:
    with Reviews(tmp_path / "state" / "reviews.jsonl") as found:
        yield found


def exported(reviews: Reviews) -> list[dict[str, str]]:
    return [json.loads(line) for line in b"".join(reviews.export("jsonl")).decode().split("\n") if line]


def accept(reviews: Reviews, number: int, task: str = "m_staging", report: str = REPORT, **more: Any) -> str:
    inputs = {name: report if name in ("report", "premise") else f"A {name}." for name in TASKS[task].inputs}
    facts = {"action": "accept", "answer": ANSWERS[task], "inputs": inputs, **more}
    return reviews.add(IDS[number], task, **facts)


def different(number: int) -> list[str]:
    """Reports that are no near-duplicates of each other."""
    words = [
        "mass",
        "node",
        "effusion",
        "cyst",
        "liver",
        "spleen",
        "kidney",
        "rib",
        "vessel",
        "duct",
        "margin",
        "lesion",
    ]
    draw = random.Random(0)
    return [f"CT of the abdomen. FINDINGS: {' '.join(draw.choices(words, k=30))}." for _ in range(number)]


def test_accepted_and_corrected_answers_are_given_out_and_rejected_ones_not(reviews: Reviews) -> None:
    accept(reviews, 0)
    accept(reviews, 1, report="Another.", action="correct", corrected="m1", note="bone metastasis")
    accept(reviews, 2, report="A third.", action="reject")
    rows = exported(reviews)
    assert [(row["answer_id"], row["action"], row["m_staging"]) for row in rows] == [
        (IDS[0], "accept", "M0"),
        (IDS[1], "correct", "M1"),
    ]
    assert rows[1]["note"] == "bone metastasis" and rows[0]["report"] == REPORT
    assert reviews.counts() == {"count": 3, "actions": {"accept": 1, "correct": 1, "reject": 1}, "keep": "text"}


def test_the_last_review_of_a_task_on_a_text_counts(reviews: Reviews) -> None:
    accept(reviews, 0)
    accept(reviews, 0, action="correct", corrected="M1")
    accept(reviews, 1, action="correct", corrected="M0", note="read again")
    assert [row["note"] for row in exported(reviews)] == ["read again"]
    accept(reviews, 1, action="reject")
    assert exported(reviews) == []


def test_csv_holds_the_rows_of_json_lines_as_text_for_a_spreadsheet(reviews: Reviews) -> None:
    for number, task in enumerate(TASKS):
        accept(reviews, number, task, report="=cmd|' /C calc'!A1\nand \"quotes\", commas", note="@SUM(A1)", user="+ris")
    table = list(csv.DictReader(io.StringIO(b"".join(reviews.export("csv")).decode(), newline="")))
    assert not any(value.startswith(("=", "+", "-", "@")) for row in table for value in row.values())
    assert [{name: value.removeprefix("'") for name, value in row.items()} for row in table] == exported(reviews)
    assert len(table) == 9 and {row["note"] for row in table} == {"'@SUM(A1)"}


def test_a_caller_gets_what_he_said_himself(reviews: Reviews) -> None:
    accept(reviews, 0, user="ris")
    accept(reviews, 0, user="ward", action="correct", corrected="M1")
    accept(reviews, 1, user="ward", report="Another.")
    own = [json.loads(line) for line in b"".join(reviews.export("jsonl", "ris")).splitlines()]
    assert [(row["user"], row["m_staging"]) for row in own] == [("ris", "M0")]
    assert [row["user"] for row in exported(reviews)] == ["ward", "ward"]
    assert b"".join(reviews.export("jsonl", "study")) == b""


def test_a_long_table_comes_in_pieces(reviews: Reviews) -> None:
    for number in range(5):
        accept(reviews, number, report=f"{number} " * 20_000)
    assert len(list(reviews.export("csv"))) > 2
    assert len(list(csv.reader(io.StringIO(b"".join(reviews.export("csv")).decode())))) == 6


def test_a_corpus_is_built_from_an_exported_table(reviews: Reviews, tmp_path: Path) -> None:
    """Each accepted answer of all nine tasks becomes a row; rows of one report never stand in two splits."""
    for number, report in enumerate(different(20)):
        for task in TASKS:
            accept(reviews, number, task, report=report)
    folder = tmp_path / "reviews"
    with zipfile.ZipFile(io.BytesIO(b"".join(reviews.export("zip")))) as archive:
        assert archive.namelist() == ["reviews.jsonl", "table.toml"]
        archive.extractall(folder)
    manifest = build({"table": folder}, tmp_path / "corpus")
    assert manifest["sources"]["table"]["malformed"] == []
    rows = [(split, row) for split in ("train", "validation", "test") for row in read(tmp_path / "corpus", split=split)]
    assert {row.task: row.answer for _, row in rows} == ANSWERS
    placed: dict[str, set[str]] = {}
    for split, row in rows:
        placed.setdefault(row.patient, set()).add(split)
    assert all(len(splits) == 1 for splits in placed.values()) and len(placed) > 1
    assert {row.tier for _, row in rows} == {"gold"} and {row.source for _, row in rows} == {"table"}


texts = st.text(min_size=1, max_size=60).filter(str.strip)


@given(rows=st.lists(st.tuples(texts, texts), min_size=1, max_size=5))
@settings(max_examples=40, deadline=None)
def test_whatever_was_written_comes_back_from_a_table(rows: list[tuple[str, str]], tmp_path_factory: Any) -> None:
    from radlite.data.sources import Tally
    from radlite.data.sources.table import TABLE

    folder = tmp_path_factory.mktemp("reviews")
    with Reviews(folder / "reviews") as reviews:
        for number, (report, answer) in enumerate(rows):
            if TASKS["radiology_qa"].read(answer):
                inputs = {"report": report, "question": f"Question {number}?"}
                reviews.add(IDS[number], "radiology_qa", "accept", answer=answer, inputs=inputs)
        with zipfile.ZipFile(io.BytesIO(b"".join(reviews.export("zip")))) as archive:
            archive.extractall(folder / "table")
        kept = exported(reviews)
    if not kept:
        return
    tally = Tally()
    found = list(TABLE.read(folder / "table", tally, 1.0))
    assert tally.malformed == []
    assert len(found) == len(kept)
    assert [row.inputs["report"] for row in found] == [row["report"].strip() for row in kept]


@pytest.mark.parametrize(
    ("task", "facts", "words"),
    [
        ("m_staging", {"action": "accept", "answer": ""}, "answer is empty"),
        ("m_staging", {"action": "accept", "answer": "a carcinoma"}, "not in the form of m_staging"),
        ("m_staging", {"action": "correct", "corrected": None}, "corrected is empty"),
        ("rads_assignment", {"action": "correct", "corrected": "carcinoma 9"}, "not in the form of rads_assignment"),
        ("m_staging", {"action": "praise"}, "action is none of"),
        ("carcinoma", {"action": "reject"}, "choose from rads_assignment"),
        ("m_staging", {"action": "reject", "note": "carcinoma " * 500}, "shorten it"),
        ("m_staging", {"action": "reject", "inputs": {"report": "carcinoma" * 400_000}}, "too long"),
    ],
)
def test_a_review_that_cannot_be_used_is_told_and_not_quoted(
    reviews: Reviews, task: str, facts: dict[str, Any], words: str
) -> None:
    with pytest.raises(UserError, match=words) as told:
        reviews.add(IDS[0], task, **facts)
    assert "carcinoma" not in str(told.value)
    assert reviews.counts()["count"] == 0


@pytest.mark.parametrize("wrong", ["", "x" * 32, "../../etc/passwd", IDS[0] + "\n"])
def test_an_id_that_is_none_is_refused(reviews: Reviews, wrong: str) -> None:
    with pytest.raises(UserError, match="answer_id"):
        reviews.add(wrong, "m_staging", "reject")


def test_answers_alone_are_kept_where_texts_may_not_be(tmp_path: Path) -> None:
    with Reviews(tmp_path / "reviews.jsonl", "answers") as reviews:
        accept(reviews, 0, note="Mrs Example")
        assert [(row["m_staging"], row["report"], row["group"]) for row in exported(reviews)] == [("M0", "", "")]
    text = (tmp_path / "reviews.jsonl").read_text()
    assert "liver" not in text and "Example" not in text


def test_nothing_is_kept_where_it_is_off(tmp_path: Path) -> None:
    with Reviews(tmp_path / "reviews.jsonl", "off") as reviews:
        assert len(accept(reviews, 0)) == 32
        with pytest.raises(UserError):
            reviews.add(IDS[0], "m_staging", "accept", answer="nonsense")
        assert exported(reviews) == []
    assert (tmp_path / "reviews.jsonl").read_bytes() == b""


def test_inputs_that_the_task_does_not_have_are_left_out(reviews: Reviews) -> None:
    reviews.add(IDS[0], "m_staging", "accept", answer="M0", inputs={"report": REPORT, "name": "Mrs Example"})
    assert "Example" not in (reviews._path).read_text()


def test_a_report_may_stand_for_the_premise(reviews: Reviews) -> None:
    inputs = {"report": REPORT, "question": "", "hypothesis": "There is a mass."}
    reviews.add(IDS[0], "radiology_nli", "accept", answer="entailment", inputs=inputs)
    (row,) = exported(reviews)
    assert (row["premise"], row["hypothesis"], row["report"]) == (REPORT, "There is a mass.", "")


def test_the_last_line_that_a_crash_cut_short_is_dropped(tmp_path: Path) -> None:
    path = tmp_path / "reviews.jsonl"
    with Reviews(path) as reviews:
        accept(reviews, 0)
    whole = path.read_bytes()
    for cut in (1, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole + whole[:cut])
        with Reviews(path) as reviews:
            accept(reviews, 1, report="Another.")
            assert [row["answer_id"] for row in exported(reviews)] == IDS[:2]


@pytest.mark.parametrize("line", [b"{}\n", b"\n", b"[" * 100_000 + b"\n", b'{"action": "accept"}\n', b"\xff\n"])
def test_a_damaged_line_is_named(tmp_path: Path, line: bytes) -> None:
    path = tmp_path / "reviews.jsonl"
    with Reviews(path) as reviews:
        accept(reviews, 0)
    path.write_bytes(line + path.read_bytes())
    with pytest.raises(UserError, match=r"Line 1 of .*reviews\.jsonl is damaged"):
        Reviews(path)


def test_on_a_full_disk_a_review_is_refused_and_the_file_stays_whole(reviews: Reviews, monkeypatch: Any) -> None:
    accept(reviews, 0)

    def fail(handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(UserError, match=r"No space left on device\. Free some space; the review is not kept"):
        accept(reviews, 1, report="Another.")
    monkeypatch.undo()
    accept(reviews, 2, report="A third.")
    assert [row["answer_id"] for row in exported(reviews)] == [IDS[0], IDS[2]]


def test_threads_review_at_once(reviews: Reviews) -> None:
    threads = [
        threading.Thread(target=lambda at=at: [accept(reviews, at, report=f"{at} {one}") for one in range(10)])
        for at in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(exported(reviews)) == reviews.counts()["count"] == 60


def test_the_file_is_for_its_owner_only(reviews: Reviews) -> None:
    assert stat.S_IMODE(reviews._path.stat().st_mode) == 0o600


def test_an_unknown_format_is_refused_with_those_there_are(reviews: Reviews) -> None:
    with pytest.raises(UserError, match=", ".join(FORMATS)):
        reviews.export("xml")


def test_an_empty_table_has_its_header(reviews: Reviews) -> None:
    assert b"".join(reviews.export("csv")).startswith(b"id,group,time")
    assert b"".join(reviews.export("jsonl")) == b""
