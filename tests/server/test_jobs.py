"""Whole tables over HTTP: a job survives whatever happens to the server, and is its owner's alone."""

import csv
import gzip
import io
import json
import os
import signal
import time
import zipfile
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from radlite.server import chain
from radlite.server.audit import Audit
from radlite.server.jobs import Facts, Jobs
from radlite.server.ledger import Ledger
from radlite.server.log import Log
from radlite.server.settings import Settings
from radlite.server.verdict import find, verify
from radlite.serving import tables
from tests.server.process import REPORT, Server

KEYS = {"ward": "w" * 40, "study": "s" * 40}


def table(rows: int, word: str = "effusion") -> bytes:
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(["nr", "report", "question"])
    for number in range(rows):
        writer.writerow(
            [number, f"Chest radiograph. Findings: small {word} number {number}. The heart is normal.", "Where?"]
        )
    return out.getvalue().encode()


def post(server: Server, content: bytes, name: str = "reports.csv", **fields: Any) -> httpx.Response:
    data = {"tasks": "m_staging", **fields}
    return server.client.post("/v1/batch", files={"file": (name, content)}, data=data)


def ended(server: Server, id: str) -> dict[str, Any]:
    for _ in range(2400):
        job: dict[str, Any] = server.client.get(f"/v1/batch/{id}").json()
        if job["status"] not in ("waiting", "running"):
            return job
        time.sleep(0.05)
    raise AssertionError(job)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("server")
    keys = folder / "keys"
    keys.write_text("".join(f"{name}:{key}\n" for name, key in KEYS.items()) + f"training:{'t' * 40} reviews\n")
    with Server(folder, "--keys", keys, "upload_rows=60", "upload_bytes=300000", "jobs=8") as own:
        own.client.headers["Authorization"] = f"Bearer {KEYS['ward']}"
        yield own


def other(server: Server) -> httpx.Client:
    headers = {"Authorization": f"Bearer {KEYS['study']}"}
    return httpx.Client(base_url=server.url, timeout=60, trust_env=False, headers=headers)


def test_a_table_is_read_and_comes_back_in_its_order(server: Server) -> None:
    answer = post(
        server,
        table(6),
        "C:\\folder\\my reports.csv",
        tasks="m_staging, radiology_qa",
        question="question",
        id="nr",
        format="jsonl",
    )
    assert answer.status_code == 202
    job = answer.json()
    assert answer.headers["location"] == f"/v1/batch/{job['id']}"
    assert (job["name"], job["status"]) == ("my reports.csv", "waiting")
    done = ended(server, job["id"])
    assert (done["status"], done["rows"], done["total"], sum(done["statuses"].values())) == ("done", 6, 6, 12)
    given = server.client.get(f"/v1/batch/{job['id']}/result")
    rows = [json.loads(line) for line in given.text.splitlines()]
    assert [(row["nr"], row["task"]) for row in rows] == [
        (str(nr), task) for nr in range(6) for task in ("m_staging", "radiology_qa")
    ]
    assert "my reports-answers.jsonl" in given.headers["content-disposition"].replace("%20", " ")
    folder = server.state / "jobs" / job["id"]
    assert not (folder / "table.csv").exists()  # the reports are kept no longer than needed
    assert server.client.delete(f"/v1/batch/{job['id']}").status_code == 200
    assert not folder.exists()
    assert server.client.get(f"/v1/batch/{job['id']}").status_code == 404


@pytest.mark.parametrize(("format", "name"), [("csv", "a.jsonl"), ("xlsx", "a.csv.gz"), ("parquet", "a.csv")])
def test_every_format_goes_in_and_out(server: Server, tmp_path: Path, format: str, name: str) -> None:
    pytest.importorskip("openpyxl")
    content = table(2)
    if name.endswith(".jsonl"):
        content = b"".join(json.dumps(row).encode() + b"\n" for row in csv.DictReader(io.StringIO(content.decode())))
    elif name.endswith(".gz"):
        content = gzip.compress(content)
    id = post(server, content, name, format=format, keep="nr", wide="true").json()["id"]
    assert ended(server, id)["status"] == "done"
    given = server.client.get(f"/v1/batch/{id}/result")
    (path := tmp_path / f"result.{format}").write_bytes(given.content)
    assert [row.values["nr"] for row in tables.read(path, ["nr", "m_staging"])] == ["0", "1"]
    server.client.delete(f"/v1/batch/{id}")


@pytest.mark.parametrize(
    ("content", "name", "fields", "words"),
    [
        (table(61), "a.csv", {}, "more than 60 rows"),
        (table(2), "a.csv", {"column": "text"}, "no column"),
        (b"", "a.csv", {}, "table.csv"),
        (b"PK\x03\x04 no workbook", "a.xlsx", {}, "damaged"),
        (b"\x1f\x8b broken", "a.csv.gz", {}, "damaged"),
        (table(2), "a.parquet", {}, "text"),
        (table(2), "a.csv", {"keep": "report"}, "report"),
    ],
)
def test_a_table_that_cannot_be_read_fails_in_one_sentence_without_paths(
    server: Server, content: bytes, name: str, fields: dict[str, str], words: str
) -> None:
    id = post(server, content, name, **fields).json()["id"]
    job = ended(server, id)
    assert job["status"] == "failed"
    assert job["message"] and str(server.state) not in job["message"] and "Traceback" not in job["message"]
    assert server.client.get(f"/v1/batch/{id}/result").status_code == 404
    assert not list((server.state / "jobs" / id).glob("table*"))
    server.client.delete(f"/v1/batch/{id}")


@pytest.mark.slow
def test_a_workbook_that_would_fill_the_memory_is_refused(server: Server) -> None:
    pytest.importorskip("openpyxl")
    bomb = io.BytesIO()
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("xl/workbook.xml", "<workbook/>")
        packed.writestr("xl/sharedStrings.xml", "<sst>" + "<si><t>a</t></si>" * 2_200_000)
    assert len(bomb.getvalue()) < 300_000
    id = post(server, bomb.getvalue(), "a.xlsx").json()["id"]
    assert ended(server, id)["status"] == "failed"
    server.client.delete(f"/v1/batch/{id}")


@pytest.mark.parametrize(
    ("name", "fields", "status"),
    [
        ("a.exe", {}, 415),
        ("a", {}, 415),
        ("a.parquet.gz", {}, 415),
        ("a.csv", {"tasks": ""}, 422),
        ("a.csv", {"tasks": " , "}, 422),
        ("a.csv", {"tasks": "canary"}, 422),
        ("a.csv", {"tasks": "radiology_qa"}, 422),
        ("a.csv", {"wide": "canary"}, 422),
        ("a.csv", {"format": "canary"}, 422),
        ("a.csv", {"canary": "x"}, 422),
        ("a.csv", {"tasks": "x" * 5000}, 400),
    ],
)
def test_a_wrong_form_is_refused_at_once(server: Server, name: str, fields: dict[str, str], status: int) -> None:
    answer = post(server, table(1), name, **fields)
    assert answer.status_code == status
    assert "canary" not in answer.text


def test_what_is_no_form_with_a_file_is_refused(server: Server) -> None:
    assert server.client.post("/v1/batch", json={}).status_code == 415
    assert server.client.post("/v1/batch", data={"tasks": "all"}).status_code == 415
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    for body in (
        b"",
        b"--x\r\n",
        b"--x--\r\n",
        b"\0" * 100,
        b'--x\r\nContent-Disposition: form-data; name="file"\r\n\r\nreport\r\n--x--\r\n',
    ):
        assert server.client.post("/v1/batch", content=body, headers=headers).status_code in (400, 422)
    no_boundary = {"Content-Type": "multipart/form-data"}
    assert server.client.post("/v1/batch", content=b"x", headers=no_boundary).status_code in (400, 422)
    two = [("file", ("a.csv", table(1))), ("file", ("b.csv", table(1)))]
    assert server.client.post("/v1/batch", files=two, data={"tasks": "all"}).status_code == 400
    assert post(server, table(5000)).status_code == 413


@pytest.mark.parametrize("charset", ["punycode", "unicode_escape", "utf-8"])
def test_a_form_says_nothing_of_how_its_fields_are_written(server: Server, charset: str) -> None:
    headers = {"Content-Type": f"multipart/form-data; boundary=x; charset={charset}"}
    body = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a\\ud800.csv"\r\n\r\nreport\r\n--x--\r\n'
    answer = server.client.post("/v1/batch", content=body, headers=headers)
    assert (answer.status_code, answer.json()["error"]["code"]) == (415, "content_type")


def test_a_report_that_is_too_long_for_a_request_is_too_long_in_a_table(server: Server) -> None:
    content = b"report\n" + b"No effusion. " * 9000 + b"\nNo effusion.\n"
    id = post(server, content).json()["id"]
    assert ended(server, id)["statuses"] == {"malformed": 1, "ok": 1}
    server.client.delete(f"/v1/batch/{id}")


def test_a_table_that_the_disk_does_not_take_is_not_queued(server: Server) -> None:
    limit, process = psutil.RLIMIT_FSIZE, psutil.Process(server.process.pid)
    before = process.rlimit(limit)
    process.rlimit(limit, (1000, before[1]))
    try:
        for content in (table(1), table(10), table(10) + b" " * 280_000):  # no room for entry, table, upload
            answer = post(server, content)
            assert (answer.status_code, answer.json()["error"]["code"]) == (503, "full")
    finally:
        process.rlimit(limit, before)
    assert server.client.get("/v1/batch").json() == {"jobs": []}
    assert list((server.state / "jobs").iterdir()) == []


def test_a_job_is_its_owners_alone(server: Server) -> None:
    id = post(server, table(1)).json()["id"]
    with other(server) as stranger:
        assert stranger.get("/v1/batch").json() == {"jobs": []}
        for answer in (
            stranger.get(f"/v1/batch/{id}"),
            stranger.get(f"/v1/batch/{id}/result"),
            stranger.delete(f"/v1/batch/{id}"),
        ):
            assert answer.status_code == 404
    assert ended(server, id)["status"] == "done"
    server.client.delete(f"/v1/batch/{id}")


def test_a_job_that_is_removed_ends_at_once_and_leaves_nothing(server: Server) -> None:
    long = post(server, table(60), tasks="radiology_ner,impression_generation,abnormality_detection").json()["id"]
    waiting = post(server, table(2)).json()["id"]
    while server.client.get(f"/v1/batch/{long}").json()["status"] != "running":
        time.sleep(0.02)
    assert server.client.delete(f"/v1/batch/{long}").json()["status"] == "cancelled"
    assert ended(server, waiting)["status"] == "done"  # the next one begins
    assert not (server.state / "jobs" / long).exists()
    server.client.delete(f"/v1/batch/{waiting}")
    jobs = [
        one for one in psutil.Process(server.process.pid).children() if "radlite.server.jobs" in " ".join(one.cmdline())
    ]
    assert jobs == []


def test_reviews_are_taken_out_by_whoever_made_them_and_by_a_key_that_may(server: Server) -> None:
    answer = server.read(tasks=["m_staging"]).json()["answers"][0]
    body = {"answer_id": answer["id"], "task": "m_staging", "action": "accept", "answer": answer["rendered"]}
    assert server.client.post("/v1/reviews", json={**body, "inputs": {"report": REPORT}}).status_code == 201
    assert REPORT in server.client.get("/v1/reviews/export?format=jsonl").text
    with other(server) as stranger:
        assert stranger.get("/v1/reviews/export?format=jsonl").text == ""
        assert REPORT not in stranger.get("/v1/reviews/export?format=csv").text
        stranger.headers["Authorization"] = f"Bearer {'t' * 40}"
        assert REPORT in stranger.get("/v1/reviews/export?format=jsonl").text


def test_more_jobs_than_may_be_kept_are_refused(server: Server) -> None:
    ids = [post(server, table(1)).json()["id"] for _ in range(8)]
    answer = post(server, table(1))
    assert (answer.status_code, answer.json()["error"]["code"]) == (429, "jobs")
    assert int(answer.headers["retry-after"]) > 0
    assert [one["id"] for one in server.client.get("/v1/batch").json()["jobs"]] == ids[::-1]
    for id in ids:
        server.client.delete(f"/v1/batch/{id}")
    assert server.client.get("/v1/batch").json() == {"jobs": []}


def test_neither_log_nor_audit_hold_any_text(server: Server) -> None:
    assert verify(server.state / "audit").sound
    audit = "".join(path.read_text() for path in (server.state / "audit").glob("*.jsonl"))
    assert '"kind":"job"' in audit
    for word in ("effusion", "canary"):
        assert word not in server.log and word not in audit


def test_a_job_whose_process_is_killed_has_failed_and_says_so(server: Server) -> None:
    id = post(server, table(60), tasks="abnormality_detection").json()["id"]
    while server.client.get(f"/v1/batch/{id}").json()["total"] is None:
        time.sleep(0.02)
    children = psutil.Process(server.process.pid).children()
    job = next(one for one in children if "radlite.server.jobs" in " ".join(one.cmdline()))
    if (score := Path(f"/proc/{job.pid}/oom_score_adj")).exists():
        assert score.read_text() == "500\n"  # where memory is short, it goes first
    os.kill(job.pid, signal.SIGKILL)
    assert ended(server, id)["status"] == "failed"
    server.client.delete(f"/v1/batch/{id}")


@pytest.mark.slow
def test_a_job_goes_on_whenever_the_server_was_ended(tmp_path: Path) -> None:
    def end(server: Server, number: int) -> None:
        children = psutil.Process(server.process.pid).children(recursive=True)
        assert server.stop(number) == (0 if number == signal.SIGTERM else -number)
        psutil.wait_procs(children, 30)
        assert [one for one in children if one.is_running() and one.status() != psutil.STATUS_ZOMBIE] == []

    with Server(tmp_path) as first:
        asked = {"tasks": "abnormality_detection", "id": "nr", "format": "jsonl"}
        id = post(first, table(40), **asked).json()["id"]
        while (rows := first.client.get(f"/v1/batch/{id}").json()["rows"]) < 1:
            time.sleep(0.02)
        end(first, signal.SIGKILL)
    with Server(tmp_path) as second:
        while (begun := second.client.get(f"/v1/batch/{id}").json())["status"] == "waiting":
            time.sleep(0.02)
        assert (begun["status"], begun["rows"] >= rows) == ("running", True)
        end(second, signal.SIGTERM)
    with Server(tmp_path) as last:
        assert ended(last, id)["status"] == "done"
        given = [json.loads(line) for line in last.client.get(f"/v1/batch/{id}/result").text.splitlines()]
        assert [row["nr"] for row in given] == [str(nr) for nr in range(40)]
        # each of them is in the audit log, once
        assert len(last.noted(request=id)) == 40
        told = {(row["row"], row["task"], row["status"], digest(last, row["answer"])) for row in given}
        assert {
            (one["facts"]["row"], *(one["facts"][name] for name in ("task", "status", "answer")))
            for one in last.noted(request=id)
        } == told
        assert verify(last.state / "audit").sound


def digest(server: Server, text: str) -> str:
    return chain.digest(chain.key(server.state / "audit"), text)


def test_an_answer_of_a_table_is_found_in_the_audit_log_by_its_report(server: Server) -> None:
    rows = [["report", "question"], [REPORT, "Where is it?"], ["", "What?"], [REPORT, ""]]
    out = io.StringIO()
    csv.writer(out).writerows(rows)
    id = post(server, out.getvalue().encode(), tasks="radiology_qa", question="question", format="jsonl").json()["id"]
    assert ended(server, id)["status"] == "done"
    first, *others = sorted((one["facts"] for one in server.noted(request=id)), key=lambda one: one["row"])
    assert [(one["row"], one["status"], one["inputs"]) for one in others] == [(2, "no_text", {}), (3, "no_text", {})]
    model = server.client.get("/v1/models").json()["loaded"][0]
    answer = json.loads(server.client.get(f"/v1/batch/{id}/result").text.splitlines()[0])
    assert first == {
        "request": id,
        "row": 1,
        "user": "ward",
        "task": "radiology_qa",
        "system": None,
        "inputs": {"report": digest(server, REPORT), "question": digest(server, "Where is it?")},
        "answer": digest(server, answer["answer"]),
        "status": "ok",
        "model": {"name": model["name"], "sha256": model["sha256"]},
        "settings": server.noted("start")[-1]["facts"]["settings"],
        **{name: first[name] for name in ("wording", "stop_reason", "warnings", "seconds")},
    }
    assert len(first["wording"]) == 16 and first["stop_reason"] == "end"
    assert [one["facts"]["request"] for one in find(server.state / "audit", REPORT)].count(id) == 1
    server.client.delete(f"/v1/batch/{id}")


@pytest.mark.slow
def test_what_a_job_had_answered_is_in_the_audit_log_also_where_it_is_removed(tmp_path: Path) -> None:
    with Server(tmp_path) as first:
        id = post(first, table(60), tasks="m_staging,abnormality_detection").json()["id"]
        while first.client.get(f"/v1/batch/{id}").json()["rows"] < 1:
            time.sleep(0.02)
        children = psutil.Process(first.process.pid).children(recursive=True)
        first.stop(signal.SIGKILL)
        psutil.wait_procs(children, 30)
    journal = tmp_path / "state" / "jobs" / id / "result.csv.journal"
    answered = [json.loads(line) for line in journal.read_text().splitlines(keepends=True)[1:] if line.endswith("\n")]
    assert answered
    # One whose turn has not come: it is removed before anything goes on.
    facts = json.loads((tmp_path / "state" / "jobs" / id / "job.json").read_text())
    (tmp_path / "state" / "jobs" / id / "job.json").write_text(json.dumps({**facts, "status": "failed"}))
    with Server(tmp_path) as second:
        assert second.client.delete(f"/v1/batch/{id}").status_code == 200
        noted = [(one["facts"]["row"], one["facts"]["task"]) for one in second.noted(request=id)]
        assert sorted(noted) == sorted((one["row"], one["task"]) for one in answered)


def test_a_damaged_journal_is_noted_up_to_the_damage(tmp_path: Path) -> None:
    lines = [
        {"model": "ab" * 32},
        *({"row": row, "task": "m_staging", "status": "ok", "model": "m"} for row in range(3)),
    ]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (tmp_path / "journal").write_text(text[:-40] + "\0\n" + text[-40:])
    with Audit(tmp_path / "audit") as audit:
        for _ in range(2):
            Ledger(audit, "f" * 32, "ris", tmp_path / "journal", "s").note()
        assert [one["facts"]["row"] for one in audit.entries("f" * 32)] == [0, 1]


def test_a_job_whose_answers_cannot_be_noted_gives_none(tmp_path: Path) -> None:
    with Server(tmp_path) as server:
        while (size := (server.state / "audit" / "audit-000001.jsonl").stat().st_size) < 20_000:
            server.read(tasks=["m_staging"])
        psutil.Process(server.process.pid).rlimit(psutil.RLIMIT_FSIZE, (size + 3000, size + 3000))
        id = post(server, table(8)).json()["id"]
        job = ended(server, id)
        assert job["status"] == "failed" and "audit log" in job["message"]
        assert server.client.get(f"/v1/batch/{id}/result").status_code == 404
        assert not list((server.state / "jobs" / id).glob("table*"))


def test_jobs_that_ended_long_ago_are_removed(tmp_path: Path) -> None:
    folder = tmp_path / "jobs"
    ids = [number * 32 for number in "012"]  # one of long ago, one of today, and one that was never whole
    for id in ids:
        (folder / id).mkdir(parents=True)
    for id in ids[:2]:
        facts = Facts(id, "a.csv", "", ("m_staging",), {}, (), False, "table.csv", "result.csv", status="done")
        (folder / id / "job.json").write_text(json.dumps(asdict(facts)))
    long_ago = time.time() - 100 * 3600
    os.utime(folder / ids[0] / "job.json", (long_ago, long_ago))
    with Audit(tmp_path / "audit") as audit:
        none = Ledger(audit, "", "", tmp_path / "none", "")
        jobs = Jobs(folder, Settings(), Log(io.StringIO()), lambda **_: None, lambda *_: none, audit.key)
    jobs.start()
    while (folder / ids[0]).exists():
        time.sleep(0.01)
    jobs.stop()
    assert [one.id for one in jobs.all("")] == ids[1:2]
    assert [one.name for one in folder.iterdir()] == ids[1:2]
