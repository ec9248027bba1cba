"""A table of reports becomes a table of answers: in order, every row once, whatever is in it or happens to it."""

import contextlib
import csv
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import openpyxl
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from radlite.errors import UserError
from radlite.files import exclusive
from radlite.serving.asking import demonstration
from radlite.serving.batch import Done, Job, run
from radlite.serving.engines import Engine
from radlite.serving.journal import Journal
from tests.test_cli import complains, radlite

ENGINE = Engine(demonstration(), threads=1)
FORMATS = (".csv", ".jsonl", ".parquet", ".xlsx")
Table = list[dict[str, Any]]


def reports(count: int) -> Table:
    """Reports of different lengths."""
    return [
        {"id": f"A{number}", "report": f"CT chest for staging. Nodule of {number} mm.{' No effusion.' * (number % 5)}"}
        for number in range(count)
    ]


def write(path: Path, rows: Table) -> Path:
    """A table in the format of its name, by other means than ours."""
    if path.suffix == ".csv":
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(rows)
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    elif path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    else:
        book = openpyxl.Workbook()
        for cells in (list(rows[0]), *(list(row.values()) for row in rows)):
            book.active.append(cells)
        book.save(path)
    return path


def read(path: Path) -> Table:
    """The table as others see it; empty cells are None."""
    if path.suffix == ".csv":
        with path.open(newline="", encoding="utf-8") as file:
            return [{name: cell or None for name, cell in row.items()} for row in csv.DictReader(file)]
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    if path.suffix == ".parquet":
        return list(pq.read_table(path).to_pylist())
    book = openpyxl.load_workbook(path)
    header, *rows = book.active.values
    return [dict(zip(header, row, strict=True)) for row in rows]


def job(table: Path, out: Path, tasks: str = "m_staging", carried: Sequence[str] = ("id",), **texts: str) -> Job:
    return Job(table, out, tuple(tasks.split()), {"report": "report", **texts}, tuple(carried), wide=False)


def batch(table: Path, out: Path, *arguments: object) -> list[str]:
    """The command as it is given to a process."""
    given = ["batch", table, out, "--task", "m_staging", "--id", "id", "--threads", 1, *arguments]
    return [sys.executable, "-c", "from radlite.cli import main; main()", *map(str, given)]


def told(rows: Table, *names: str) -> list[tuple[str, ...]]:
    """Some columns as text."""
    return [tuple(str(row[name]) for name in names) for row in rows]


def assert_same(one: Table, other: Table) -> None:
    """The same rows; batches that were put together in another way round in another way."""
    assert told(one, "row", "id", "task", "status") == told(other, "row", "id", "task", "status")
    for left, right in zip(one, other, strict=True):
        assert float(left["confidence"]) == pytest.approx(float(right["confidence"]), abs=0.03)
        assert left["answer"] == right["answer"] or float(left["confidence"]) < 0.55


@contextlib.contextmanager
def interrupted(monkeypatch: pytest.MonkeyPatch, after: int) -> Iterator[None]:
    """Ctrl-C once so many answers are there."""
    add = Journal.add

    def stop(self: Journal, entry: dict[str, Any]) -> None:
        if self.entries == after:
            raise KeyboardInterrupt
        add(self, entry)

    with monkeypatch.context() as patched:
        patched.setattr(Journal, "add", stop)
        with pytest.raises(KeyboardInterrupt):
            yield


@pytest.mark.parametrize(("of", "to"), list(zip(FORMATS, (*FORMATS[1:], FORMATS[0]), strict=True)))
def test_each_format_comes_in_and_goes_out_in_the_order_of_the_table(of: str, to: str, tmp_path: Path) -> None:
    table, out = write(tmp_path / f"in{of}", reports(7)), tmp_path / f"out{to}"
    done = run(job(table, out, "m_staging n_staging"), ENGINE)
    assert done == Done(7, done.statuses) and done.statuses == {"ok": 14}
    rows = read(out)
    expected = [(str(1 + at), f"A{at}", task, "ok") for at in range(7) for task in ("m_staging", "n_staging")]
    assert told(rows, "row", "id", "task", "status") == expected
    assert {row["answer"] for row in rows if row["task"] == "m_staging"} <= {"M0", "M1"}
    assert all(0 < float(row["confidence"]) <= 1 for row in rows)
    if to in (".jsonl", ".parquet"):
        made = [row["structured"] if to == ".jsonl" else json.loads(row["structured"]) for row in rows]
        assert made[0]["category"] == rows[0]["answer"]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([table.name, out.name])


def test_wide_is_one_row_a_report_and_all_asks_what_fits(tmp_path: Path) -> None:
    rows = [{**row, "site": "x"} for row in reports(3)] + [{"id": "B", "report": "Roses are red.", "site": None}]
    table, out = write(tmp_path / "in.jsonl", rows), tmp_path / "out.jsonl"
    done = radlite("batch", table, out, "--task", "all", "--wide", "--id", "id", "--keep", "site", "--threads", 1)
    assert done.returncode == 0 and done.stdout == b"" and b"demonstration model" in done.stderr
    *read_, foreign = read(out)
    for at, row in enumerate(read_):
        assert (row["row"], row["id"], row["site"]) == (1 + at, f"A{at}", "x")
        assert row["abnormality_detection status"] == "ok" and "Edema: " in row["abnormality_detection"]
        assert "radiology_qa" not in row and row["impression_generation"] is None
    assert foreign["id"] == "B" and foreign["abnormality_detection status"] == "not_applicable"
    assert foreign["warnings"] == ["no task fits this text"]


def test_what_cannot_be_asked_is_a_row_with_a_status_and_its_reason(tmp_path: Path) -> None:
    table, out = tmp_path / "in.csv", tmp_path / "out.csv"
    huge = b"effusion " * 500_000
    lines = [
        b"id,report,question",
        b"a,No effusion.,Is there an effusion?",
        b"b, ,x",
        b"c,No effusion.,",
        b"d,one,two,three",
    ]
    lines += [
        b"e,gr\xf6sser,x",
        b"f," + huge + b",x",
        b"g,effusion \0,x",
        b"",
        b"h," + b"No effusion. " * 2000 + b",Why?",
    ]
    table.write_bytes(b"\n".join(lines))
    run(job(table, out, "m_staging radiology_qa", question="question"), replace(ENGINE, context=512))
    rows = read(out)
    assert [
        (row["row"], row["id"], row["status"], row["warnings"]) for row in rows if row["task"] == "radiology_qa"
    ] == [
        ("1", "a", rows[1]["status"], rows[1]["warnings"]),
        ("2", "b", "no_text", "no report"),
        ("3", "c", "no_text", "no question"),
        ("4", None, "malformed", "4 fields instead of 3"),
        ("5", None, "malformed", "not UTF-8"),
        ("6", None, "malformed", "no valid CSV: larger than 4 MiB"),
        ("7", None, "malformed", "binary content"),
        ("8", "h", "too_long", rows[-1]["warnings"]),
    ]
    assert [row["status"] for row in rows if row["task"] == "m_staging"] == [
        "ok", "no_text", "ok", *["malformed"] * 4, "too_long",
    ]  # fmt: skip
    assert "tokens" in rows[-1]["warnings"]


@pytest.mark.parametrize("cell", [7, None, ["No effusion."], "effusion\0"])
def test_a_cell_of_another_kind_is_no_report(cell: Any, tmp_path: Path) -> None:
    rows = [{"id": "a", "report": "No effusion."}, {"id": None, "report": cell}]
    table, out = write(tmp_path / "in.jsonl", rows), tmp_path / "out.jsonl"
    run(job(table, out), ENGINE)
    assert [row["status"] for row in read(out)] == ["ok", "no_text" if cell is None else "malformed"]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("in.csv", b"id,text\na,effusion\n", "lacks the column report"),
        ("in.csv", b"id,report,report\na,effusion,x\n", "column report twice"),
        ("in.csv", b"", "empty"),
        ("in.csv", b"PK\x03\x04effusion", "zip archive"),
        ("in.csv", "id,report\na,effusion\n".encode("utf-16"), "UTF-16"),
        ("in.csv", b'id,report\na,"effusion\nb,x\nc,y\n', "do not close"),
        ("in.jsonl", b'{"id": 1, "text": "effusion"}\n', "without report"),
        ("in.jsonl", b"effusion\n", "no JSON"),
        ("in.parquet", b"PAR1effusion", "damaged"),
        ("in.xlsx", b"PK\x03\x04effusion", "damaged"),
        ("in.txt", b"effusion", "has to end in .csv, .jsonl, .parquet, .xlsx"),
        ("none.csv", None, "not there"),
    ],
)
def test_what_is_no_such_table_is_told_in_one_sentence_before_any_model_is_loaded(
    name: str, content: bytes | None, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    monkeypatch.setattr(Engine, "open", None)
    with pytest.raises(UserError, match=words) as raised:
        run(job(tmp_path / name, tmp_path / "out.csv"), ENGINE)
    assert "effusion" not in str(raised.value)
    assert [path.name for path in tmp_path.iterdir()] == [name] * (content is not None)


def test_a_table_without_rows_becomes_one_without_rows(tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("id,report\n")
    for suffix in FORMATS:
        assert run(job(tmp_path / "in.csv", tmp_path / f"out{suffix}"), ENGINE).rows == 0
        assert read(tmp_path / f"out{suffix}") == []


def test_a_command_that_makes_no_sense_is_refused(tmp_path: Path) -> None:
    table, out = write(tmp_path / "in.csv", reports(2)), tmp_path / "out.csv"
    wrong = [
        (job(table, out, "radiology_qa"), "--question"),
        (job(table, out, "radiology_nli"), "--hypothesis"),
        (job(table, out, carried=("report",)), "not written"),
        (job(table, tmp_path / "out.doc"), r"out\.doc"),
        (job(table, tmp_path / "out.csv.gz"), "leave .gz away"),
        (job(table, table), r"in\.csv is there already"),
    ]
    for asked, words in wrong:
        with pytest.raises(UserError, match=words):
            run(asked, ENGINE)
    table = write(tmp_path / "own.csv", [{"status": "x", **row} for row in reports(2)])
    with pytest.raises(UserError, match="column status of its own"):
        run(job(table, out, carried=("status",)), ENGINE)
    complains(radlite("batch", table, out, "--task", ""), "no task")
    complains(radlite("batch", table, out, "--task", "m_stagin"), "m_staging")
    foreign = tmp_path / "foreign.gguf"
    foreign.write_bytes(b"effusion" * 100)
    complains(radlite("batch", table, out, "--task", "m_staging", "--model", foreign), "foreign.gguf")
    assert not out.exists() and not list(tmp_path.glob("*.journal"))


def test_no_cell_of_csv_or_excel_is_a_formula_and_nothing_is_lost(tmp_path: Path) -> None:
    nasty = ["=1+1", "+1", "-1", "@a", "'x", "''", "\t=1", "＝1", "x=1", 'a;b,"c"\nd', "\x07"]
    rows = [{"=id": value, "report": "Chest radiograph. No effusion."} for value in nasty]
    table = write(tmp_path / "in.jsonl", rows)
    for suffix in FORMATS:
        out = tmp_path / f"out{suffix}"
        run(job(table, out, "abnormality_detection", carried=("=id",)), ENGINE)
        found = read(out)
        if suffix in (".csv", ".xlsx"):
            cells = [str(cell) for row in found for one in row.items() for cell in one if cell is not None]
            assert not [cell for cell in cells if cell[0] in "=+-@\t＝"]
            found = [
                {name.removeprefix("'"): str(cell or "").removeprefix("'") for name, cell in row.items()}
                for row in found
            ]
        bell = "\\x07" if suffix == ".xlsx" else "\x07"  # which a workbook cannot hold
        assert [row["=id"] for row in found] == [*nasty[:-1], bell]
        assert all(row["answer"].startswith("- Atelectasis") for row in found)


def test_what_a_workbook_cannot_hold_is_told_and_the_answers_are_kept(tmp_path: Path) -> None:
    table = write(tmp_path / "in.csv", [{"id": "x" * 40_000, "report": "No effusion."}])
    with pytest.raises(UserError, match=r"32,767 characters.*\.csv\.journal"):
        run(job(table, tmp_path / "out.xlsx"), ENGINE)
    (tmp_path / "out.xlsx.journal").rename(tmp_path / "out.csv.journal")
    run(job(table, tmp_path / "out.csv"), replace(ENGINE, kind="none"))  # nothing is left to be asked
    assert len(read(tmp_path / "out.csv")) == 1


@pytest.mark.slow
def test_a_run_that_is_killed_again_and_again_ends_as_one_that_was_left_alone(tmp_path: Path) -> None:
    table, count = write(tmp_path / "in.csv", reports(270)), 0
    subprocess.run(batch(table, tmp_path / "alone.csv"), check=True, capture_output=True)
    out, journal = tmp_path / "out.csv", tmp_path / "out.csv.journal"
    for workers in (1, 2):
        command = batch(table, out, "--workers", workers)
        process = subprocess.Popen(command, start_new_session=True, stderr=subprocess.DEVNULL)
        try:
            while not journal.exists() or journal.read_bytes().count(b"\n") <= count + 5:
                assert process.poll() is None
                time.sleep(0.005)
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        count = journal.read_bytes().count(b"\n")
        assert not out.exists()
    subprocess.run(batch(table, out, "--workers", 2), check=True, capture_output=True)
    assert_same(read(out), read(tmp_path / "alone.csv"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["alone.csv", "in.csv", "out.csv"]


def test_no_answer_that_is_there_is_asked_for_or_written_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked, out = job(write(tmp_path / "in.csv", reports(100)), tmp_path / "out.csv"), tmp_path / "out.csv"
    with interrupted(monkeypatch, after=40):
        run(asked, ENGINE)
    kept = asked.journal.read_bytes()
    with asked.journal.open("ab") as file:
        file.write(b'{"row": 3, "at"')  # a line that was cut short
    with monkeypatch.context() as patched:
        patched.setattr(Journal, "remove", lambda self: None)
        run(asked, ENGINE)
    whole, first = asked.journal.read_bytes(), out.read_bytes()
    assert whole.startswith(kept) and whole.count(b"\n") == 101
    # Killed after OUT was written and before the journal was removed: the next run removes it.
    monkeypatch.setattr(Engine, "open", None)
    run(asked, ENGINE)
    assert out.read_bytes() == first and not asked.journal.exists()


def test_the_text_of_reports_is_in_no_file_and_no_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = job(write(tmp_path / "in.csv", reports(40)), tmp_path / "out.csv")
    with interrupted(monkeypatch, after=20):
        run(asked, ENGINE)
    assert b"effusion" not in asked.journal.read_bytes()
    run(asked, ENGINE)
    assert b"effusion" not in asked.out.read_bytes()


def test_a_journal_of_something_else_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table, out = write(tmp_path / "in.csv", reports(10)), tmp_path / "out.csv"
    with interrupted(monkeypatch, after=5):
        run(job(table, out), ENGINE)
    kept = job(table, out).journal.read_bytes()
    model = tmp_path / "other.gguf"
    model.write_bytes(ENGINE.path.read_bytes() + b"\0")
    other = write(tmp_path / "other.csv", reports(11))
    for asked, engine, words in (
        (job(table, out), replace(ENGINE, path=model), "different model"),
        (job(table, out), replace(ENGINE, context=512), "different context"),
        (job(table, out, "n_staging"), ENGINE, "different tasks"),
        (job(table, out, carried=()), ENGINE, "different columns"),
        (job(other, out), ENGINE, "different table"),
    ):
        with pytest.raises(UserError, match=words):
            run(asked, engine)
        assert job(table, out).journal.read_bytes() == kept
    lines = kept.splitlines(keepends=True)
    for content, words in (
        (b"my notes\n", "is no journal"),
        (b"".join([*lines[:2], b"{}\n", lines[2]]), "Line 3 .* damaged"),
    ):
        job(table, out).journal.write_bytes(content)
        with pytest.raises(UserError, match=words):
            run(job(table, out), ENGINE)
        assert job(table, out).journal.read_bytes() == content


def test_neither_a_result_nor_a_batch_that_is_there_is_overwritten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = job(write(tmp_path / "in.csv", reports(10)), tmp_path / "out.csv")
    asked.out.write_text("mine")
    with pytest.raises(UserError, match=r"out\.csv is there already"):
        run(asked, ENGINE)
    asked.out.unlink()
    with interrupted(monkeypatch, after=5):
        run(asked, ENGINE)
    asked.out.write_text("mine")
    with pytest.raises(UserError, match=r"out\.csv is there already"):
        run(asked, ENGINE)
    assert asked.out.read_text() == "mine"
    asked.out.unlink()
    with exclusive(asked.out), pytest.raises(UserError, match="Another radlite"):
        run(asked, ENGINE)
    assert run(asked, ENGINE).rows == 10


def test_a_table_that_changes_while_it_is_read_gives_no_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = job(write(tmp_path / "in.csv", reports(5)), tmp_path / "out.csv")
    add = Journal.add

    def change(self: Journal, entry: dict[str, Any]) -> None:
        write(asked.table, reports(6))
        add(self, entry)

    monkeypatch.setattr(Journal, "add", change)
    with pytest.raises(UserError, match="was changed"):
        run(asked, ENGINE)
    assert not asked.out.exists()


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), pytest.param(signal.SIGTERM, 143, marks=pytest.mark.slow)]
)
def test_who_interrupts_is_told_what_is_kept_and_no_process_stays(number: int, code: int, tmp_path: Path) -> None:
    table, out = write(tmp_path / "in.csv", reports(300)), tmp_path / "out.csv"
    process = subprocess.Popen(batch(table, out, "--workers", 2), stderr=subprocess.PIPE)
    while not (tmp_path / "out.csv.journal").exists() or (tmp_path / "out.csv.journal").stat().st_size < 5000:
        assert process.poll() is None
        time.sleep(0.005)
    started = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(number)
    _, said = process.communicate(timeout=60)
    assert process.returncode == code and b"Traceback" not in said
    kept = (tmp_path / "out.csv.journal").read_bytes().count(b"\n") - 1
    assert f"interrupted; {kept} answers are kept, and the same command goes on".encode() in said
    assert started and psutil.wait_procs(started, timeout=20)[1] == []


def test_as_many_workers_as_one_likes_give_the_same_table(tmp_path: Path) -> None:
    table = write(tmp_path / "in.csv", reports(100))
    for workers in (1, 2):
        run(job(table, tmp_path / f"{workers}.csv"), ENGINE, workers)
    assert_same(read(tmp_path / "1.csv"), read(tmp_path / "2.csv"))


def test_an_engine_that_is_killed_costs_no_row(tmp_path: Path) -> None:
    table, out = write(tmp_path / "in.csv", reports(100)), tmp_path / "out.csv"
    journal = job(table, out).journal
    killed = threading.Event()

    def kill() -> None:
        while not journal.exists() or journal.read_bytes().count(b"\n") < 10:
            time.sleep(0.002)
        for one in psutil.Process().children():
            if "spawn_main" in " ".join(one.cmdline()):
                one.kill()
                killed.set()

    thread = threading.Thread(target=kill)
    thread.start()
    done = run(job(table, out), ENGINE)
    thread.join()
    assert killed.is_set() and done.statuses == {"ok": 100}
    assert [row["row"] for row in read(out)] == [str(1 + at) for at in range(100)]


def test_a_defect_of_ours_costs_the_answer_that_it_is_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from radlite import tasks

    def ground(answer: Any, inputs: Any) -> Any:
        if "Nodule of 3 mm" in inputs["report"]:
            raise ZeroDivisionError(inputs["report"])
        return staging.ground(answer, inputs)

    staging = tasks.TASKS["m_staging"]
    monkeypatch.setitem(tasks.TASKS, "m_staging", replace(staging, ground=ground))
    out = tmp_path / "out.jsonl"
    run(job(write(tmp_path / "in.csv", reports(8)), out), ENGINE)
    rows = read(out)
    assert [row["status"] for row in rows] == ["ok"] * 3 + ["failed"] + ["ok"] * 4
    assert rows[3]["warnings"] == ["radlite could not handle this report (ZeroDivisionError)"]


def test_without_ray_one_is_told_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    asked = job(write(tmp_path / "in.csv", reports(2)), tmp_path / "out.csv")
    with pytest.raises(UserError, match=r"radlite\[ray\]"):
        run(asked, ENGINE, ray="local")
    assert not asked.journal.exists()


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_a_node_of_a_cluster_that_is_lost_midway_costs_no_row(tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="the extra `ray` is not installed")
    from ray.cluster_utils import Cluster

    table, out = write(tmp_path / "in.csv", reports(600)), tmp_path / "out.csv"
    journal = job(table, out).journal
    complains(radlite(*batch(table, out, "--ray", "127.0.0.1:1")[3:]), "cannot be reached")
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    try:
        lost, _ = cluster.add_node(num_cpus=1), cluster.add_node(num_cpus=1)
        process = subprocess.Popen(batch(table, out, "--workers", 2, "--ray", cluster.address))
        while not journal.exists() or journal.read_bytes().count(b"\n") < 100:
            assert process.poll() is None
            time.sleep(0.02)
        cluster.remove_node(lost, allow_graceful=False)
        assert len(journal.read_bytes().splitlines()) < 600
        assert process.wait(timeout=200) == 0
    finally:
        cluster.shutdown()
    run(job(table, tmp_path / "alone.csv"), ENGINE)
    assert_same(read(out), read(tmp_path / "alone.csv"))
