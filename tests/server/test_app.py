"""The API as others see it: a real server, asked over HTTP."""

import asyncio
import csv
import io
import json
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import psutil
import pytest

from radlite.rads import NO_RADS, systems
from radlite.reader import Reader
from radlite.runtime.scripted import ScriptedModel
from radlite.server.app import application
from radlite.server.log import Log
from radlite.server.service import Service
from radlite.server.settings import Settings
from radlite.server.verdict import verify
from radlite.tasks import TASKS, named
from tests.chromium import chromium
from tests.server.process import REPORT, Server, events

LIVER = (
    "MRI abdomen with contrast, cirrhosis. Findings: segment 7 observation of 24 mm with nonrim arterial phase "
    "hyperenhancement, washout and an enhancing capsule. Prior: none."
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("server"), "report_characters=20000") as own:
        yield own


def code(answer: httpx.Response) -> tuple[int, str]:
    assert answer.headers["content-type"] == "application/json"
    body = answer.json()
    assert list(body) == ["error"] and body["error"]["message"].count("\n") == 0
    return answer.status_code, body["error"]["code"]


def test_it_lives_and_is_ready(server: Server) -> None:
    assert server.client.get("/health").json() == {"status": "ok"}
    assert server.client.get("/ready").json() == {"ready": True, "models": ["demonstration"]}


def test_the_tasks_that_fit_are_proposed(server: Server) -> None:
    found = server.client.post("/v1/detect", json={"report": REPORT}).json()
    assert "abnormality_detection" in found["tasks"] and found["system"] is None
    assert server.client.post("/v1/detect", json={"report": LIVER}).json()["system"] == "LI-RADS"
    assert server.client.post("/v1/detect", json={"report": "Buy milk."}).json()["tasks"] == []


def test_answers_are_those_of_the_reader_in_the_order_that_was_asked(server: Server) -> None:
    asked = ["radiology_ner", "abnormality_detection", "radiology_nli", "radiology_qa", "rads_assignment"]
    answer = server.read(
        tasks=asked, question="Which side is the effusion on?", hypothesis="There is an effusion."
    ).json()
    assert answer["tasks"] == [one["task"] for one in answer["answers"]] == asked
    for one in answer["answers"]:
        assert one["status"] == "ok"
        task = named(one["task"])
        assert one["rendered"] == task.render(task.read(one["text"]))
        assert all(REPORT[quote["start"] : quote["end"]] == quote["quote"] for quote in one["evidence"])
        assert one["model"] == "demonstration" and one["wording"] == task.wording
    assert len({answer["id"], *(one["id"] for one in answer["answers"])}) == 6


def test_without_tasks_those_that_fit_are_asked(server: Server) -> None:
    proposed = server.client.post("/v1/detect", json={"report": REPORT}).json()["tasks"]
    assert server.read().json()["tasks"] == proposed
    assert server.read(hypothesis="No effusion.").json()["tasks"] == [*proposed, "radiology_nli"]
    assert server.read("Buy milk.").json()["answers"] == []


@pytest.mark.parametrize("system", ["LI-RADS", "BI-RADS", "NI-RADS", "CAD-RADS"])
def test_a_system_holds_a_rads_answer_to_its_categories(server: Server, system: str) -> None:
    answer = server.read(LIVER, tasks=["rads_assignment"], system=system).json()["answers"][0]
    allowed = {*systems()[system].answers, NO_RADS}
    assert answer["answer"]["category"] in allowed
    assert answer["probabilities"].keys() <= allowed
    assert sum(answer["probabilities"].values()) == pytest.approx(1, abs=0.01)


def test_no_other_task_knows_of_the_system() -> None:
    for task in TASKS.values():
        inputs = dict.fromkeys(task.inputs, REPORT)
        same = task.grammar({**inputs, "system": "LI-RADS"}) == task.grammar(inputs)
        assert same == (task.name != "rads_assignment")
        assert task.turns({**inputs, "system": "LI-RADS"}) == task.turns(inputs)


def test_a_stream_gives_the_answers_as_they_come(server: Server) -> None:
    for asked in (
        {"json": {"report": REPORT, "stream": True}},
        {"json": {"report": REPORT}, "headers": {"Accept": "text/event-stream"}},
    ):
        answer = server.client.post("/v1/read", **asked)  # type: ignore[arg-type]
        assert answer.headers["content-type"].startswith("text/event-stream")
        told = events(answer.text)
        names = [name for name, _ in told if name != "queued"]
        assert names == ["begun", *["answer"] * (len(names) - 2), "done"]
        assert [data for name, data in told if name == "queued"][-1] == {"place": 0}
        assert sorted(data["task"] for name, data in told if name == "answer") == sorted(told[0][1]["tasks"])
        assert told[0][1]["id"] == answer.headers["x-request-id"]


def test_a_bundle_comes_with_the_answers_or_in_their_place(server: Server) -> None:
    answer = server.read(tasks=["abnormality_detection"], fhir=True, subject="Patient/7").json()
    assert answer["fhir"]["resourceType"] == "Bundle"
    assert "Patient/7" in json.dumps(answer["fhir"])
    assert answer["answers"][0]["id"] in json.dumps(answer["fhir"]).replace("-", "")
    assert server.read(tasks=["radiology_ner"]).json()["fhir"] is None
    given = server.client.post("/v1/read", json={"report": REPORT}, headers={"Accept": "application/fhir+json"})
    assert given.headers["content-type"] == "application/fhir+json"
    assert given.json()["resourceType"] == "Bundle"
    told = events(server.client.post("/v1/read", json={"report": REPORT, "stream": True, "fhir": True}).text)
    assert told[-1][1]["fhir"]["resourceType"] == "Bundle"
    assert code(server.read(subject="<script>")) == (422, "invalid")


def test_answers_are_a_table_where_that_is_accepted(server: Server) -> None:
    tasks = ["temporal_comparison", "m_staging"]
    report = "Chest radiograph. Findings: the effusion is larger than before."
    told = server.read(report, tasks=tasks).json()["answers"]
    asked = {"report": report, "tasks": tasks}
    given = server.client.post("/v1/read", json=asked, headers={"Accept": "text/csv"})
    assert given.headers["content-type"] == "text/csv; charset=utf-8"
    rows = list(csv.DictReader(io.StringIO(given.text, newline="")))
    assert [(row["task"], row["status"], row["model"]) for row in rows] == [
        (one["task"], one["status"], one["model"]) for one in told
    ]
    assert [row["answer"].removeprefix("'") for row in rows] == [one["rendered"] or "" for one in told]
    assert not any(row["answer"].startswith("-") for row in rows)  # no formula for a spreadsheet
    assert server.noted(id=rows[0]["id"])[0]["facts"]["task"] == rows[0]["task"]


def test_what_does_not_fit_the_models_window_says_so_and_is_not_cut(server: Server) -> None:
    answer = server.read("No effusion. " * 1400, tasks=["radiology_ner"]).json()["answers"][0]
    assert (answer["status"], answer["answer"], answer["rendered"]) == ("too_long", None, None)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({}, (422, "invalid")),
        ({"report": ""}, (422, "empty")),
        ({"report": " \n "}, (422, "empty")),
        ({"report": 7}, (422, "invalid")),
        ({"report": "canary\0canary"}, (422, "binary")),
        ({"report": "x" * 20001}, (413, "too_long")),
        ({"report": REPORT, "question": "x" * 20001}, (413, "too_long")),
        ({"report": REPORT, "tasks": ["canary"]}, (422, "unknown_task")),
        ({"report": REPORT, "tasks": "radiology_ner"}, (422, "invalid")),
        ({"report": REPORT, "tasks": []}, (422, "invalid")),
        ({"report": REPORT, "tasks": ["radiology_qa"]}, (422, "empty")),
        ({"report": REPORT, "system": "canary"}, (422, "unknown_system")),
        ({"report": REPORT, "canary": 1}, (422, "invalid")),
        ({"report": REPORT, "stream": "yes"}, (422, "invalid")),
        ([], (422, "invalid")),
        ("canary", (422, "invalid")),
        (None, (422, "invalid")),
    ],
)
def test_a_wrong_request_is_told_by_its_field_and_never_quoted(
    server: Server, body: Any, expected: tuple[int, str]
) -> None:
    answer = server.client.post("/v1/read", json=body)
    assert code(answer) == expected
    assert "canary" not in answer.text


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"canary", (400, "malformed")),
        (b"", (422, "invalid")),
        (b"\xff\xfe{}", (400, "malformed")),
        (b"[" * 100_000, (400, "malformed")),
        (b'{"report": "\\ud800 canary"}', (422, "invalid")),
        (b'{"report": NaN}', (422, "invalid")),
        (b'{"report": "a", "report": {"canary": "b"}}', (422, "invalid")),
        (b"1" * 5000, (400, "malformed")),
    ],
)
def test_what_is_no_sound_json_is_told(server: Server, content: bytes, expected: tuple[int, str]) -> None:
    answer = server.client.post("/v1/read", content=content, headers={"Content-Type": "application/json"})
    assert answer.status_code in (400, 422)
    assert code(answer)[0] == expected[0] or content[:1] in (b"[", b"1", b"\xff")
    assert "canary" not in answer.text


def test_unknown_paths_and_methods_are_told_in_the_same_form(server: Server) -> None:
    assert code(server.client.get("/v1/canary")) == (404, "not_found")
    answer = server.client.put("/v1/read", json={})
    assert code(answer) == (405, "method")
    assert answer.headers["allow"] == "POST"


@pytest.mark.parametrize(
    "path",
    [
        "/page/../../../../etc/passwd",
        "/page/..%2f..%2fsettings.py",
        "/page/%2e%2e%2fsettings.py",
        "/page/settings.py",
        "/v1/docs/..%2f__init__.py",
        "/page/",
        "/page/index.html%00.js",
        "/v1/batch/..%2f..%2freviews.jsonl/result",
    ],
)
def test_no_path_of_a_request_reaches_the_file_system(server: Server, path: str) -> None:
    answer = server.client.get(path)
    assert answer.status_code == 404
    assert b"import" not in answer.content and b"root:" not in answer.content


def test_the_tasks_tell_their_schemas_and_the_rads_systems(server: Server) -> None:
    found = server.client.get("/v1/tasks").json()
    assert [one["name"] for one in found["tasks"]] == list(TASKS)
    assert found["tasks"][0]["schema"] == TASKS["rads_assignment"].schema()
    assert [one["system"] for one in found["rads"]] == list(systems())
    codes = [one["code"] for system in found["rads"] for one in system["categories"]]
    assert [*codes, NO_RADS] == list(TASKS["rads_assignment"].labels)


def test_the_models_are_a_list_as_openai_has_it_with_the_files_behind_it(server: Server) -> None:
    found = server.client.get("/v1/models").json()
    assert [one["id"] for one in found["data"]] == [*TASKS, "chat"]
    (loaded,) = found["loaded"]
    assert (loaded["name"], loaded["base"], loaded["kind"], loaded["card"]) == (
        "demonstration",
        "tiny-qwen3",
        "Q4_K_M",
        None,
    )
    assert len(loaded["sha256"]) == 64 and loaded["bytes"] > 1 << 20


def test_the_document_and_its_viewer_come_from_here(server: Server) -> None:
    document = server.client.get("/v1/openapi.json").json()
    assert {"/v1/read", "/v1/detect", "/v1/batch", "/v1/chat/completions"} <= document["paths"].keys()
    page = server.client.get("/v1/docs")
    assert page.headers["content-type"].startswith("text/html") and "http" not in page.text
    for name in ("viewer.css", "viewer.js"):
        given = server.client.get(f"/v1/docs/{name}")
        assert given.status_code == 200
        assert (
            server.client.get(f"/v1/docs/{name}", headers={"If-None-Match": given.headers["etag"]}).status_code == 304
        )


def test_the_viewer_runs_within_its_own_policy(server: Server) -> None:
    from playwright.sync_api import sync_playwright

    with (
        sync_playwright() as browsers,
        browsers.chromium.launch(executable_path=chromium(), args=["--no-sandbox"]) as one,
    ):
        page = one.new_page()
        told: list[str] = []
        asked: list[str] = []
        page.on("console", lambda message: told.append(message.text))
        page.on("pageerror", lambda error: told.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(f"{server.url}/v1/docs")
        page.get_by_text("/v1/read", exact=True).click()
        assert "hypothesis" in page.locator("details[open]").inner_text()
        assert page.locator("summary").count() > 12
        assert told == []
        assert [url for url in asked if not url.startswith((server.url, "data:"))] == []


def test_numbers_for_prometheus_count_what_happened(server: Server) -> None:
    def number(name: str) -> float:
        lines = server.client.get("/metrics").text.splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name))

    names = (
        'radlite_answers_total{status="ok",task="radiology_ner"}',
        "radlite_tokens_total",
        'radlite_refused_total{code="empty"}',
        "radlite_wait_seconds_count",
    )
    before = [number(name) for name in names]
    server.read(tasks=["radiology_ner"])
    server.read("")
    after = [number(name) for name in names]
    assert [after[0] - before[0], after[2] - before[2], after[3] - before[3]] == [1, 1, 1]
    assert after[1] > before[1]
    assert number("radlite_ready") == 1
    assert "effusion" not in server.client.get("/metrics").text


def test_a_review_is_kept_and_exported(server: Server) -> None:
    answer = server.read(tasks=["rads_assignment"]).json()["answers"][0]
    before = server.client.get("/v1/reviews").json()["count"]
    body = {"answer_id": answer["id"], "task": "rads_assignment", "action": "correct", "answer": answer["rendered"]}
    body |= {"corrected": "LI-RADS 5", "inputs": {"report": REPORT}}
    assert server.client.post("/v1/reviews", json=body).status_code == 201
    assert server.client.get("/v1/reviews").json()["count"] == before + 1
    table = server.client.get("/v1/reviews/export?format=jsonl").text.splitlines()
    assert (json.loads(table[-1])["rads_assignment"], json.loads(table[-1])["report"]) == ("LR-5", REPORT)
    for wrong in (
        {"corrected": "canary"},
        {"action": "canary"},
        {"task": "canary"},
        {"answer_id": "canary"},
        {"note": "x" * 4001},
        {"inputs": {"canary": "x"}},
    ):
        refused = server.client.post("/v1/reviews", json={**body, **wrong})
        assert refused.status_code == 422 and "canary" not in refused.text
    assert server.client.get("/v1/reviews/export?format=canary").status_code == 422


def test_only_what_was_answered_can_be_reviewed(server: Server) -> None:
    answer = server.read(tasks=["m_staging"]).json()["answers"][0]
    body = {"answer_id": answer["id"], "task": "m_staging", "action": "accept", "answer": answer["rendered"]}
    body |= {"inputs": {"report": REPORT}}
    before = server.client.get("/v1/reviews").json()["count"]
    other = "M1" if answer["rendered"].startswith("M0") else "M0"
    for wrong, code in (
        ({"answer_id": "0" * 32}, "unknown_answer"),
        ({"answer_id": answer["id"][:-1] + ("0" if answer["id"][-1] != "0" else "1")}, "unknown_answer"),
        ({"answer_id": server.noted("start")[-1]["id"]}, "unknown_answer"),
        ({"task": "n_staging", "answer": "", "action": "reject"}, "other_answer"),
        ({"answer": other}, "other_answer"),
        ({"inputs": {"report": f"{REPORT} Metastases of the liver."}}, "other_answer"),
    ):
        refused = server.client.post("/v1/reviews", json={**body, **wrong})
        assert (refused.status_code, refused.json()["error"]["code"]) == (422, code), wrong
        assert "etastas" not in refused.text
    assert server.client.get("/v1/reviews").json()["count"] == before
    assert server.client.post("/v1/reviews", json=body).status_code == 201


def test_every_answer_has_its_entry_in_a_sound_audit_log_without_text(server: Server) -> None:
    answer = server.read(tasks=["radiology_ner", "abnormality_detection"]).json()
    found = verify(server.state / "audit")
    assert found.sound
    text = "".join(path.read_text() for path in sorted((server.state / "audit").glob("*.jsonl")))
    entries = {entry["id"]: entry for entry in map(json.loads, text.splitlines())}
    for one in answer["answers"]:
        facts = entries[one["id"]]["facts"]
        assert (facts["task"], facts["request"], facts["status"]) == (one["task"], answer["id"], "ok")
        assert len(facts["model"]["sha256"]) == 64
    assert "effusion" not in text


def test_a_client_that_leaves_frees_the_engine(server: Server) -> None:
    tasks = ["radiology_ner", "impression_generation"]
    engine = psutil.Process(server.engine())
    engine.suspend()  # so that it does not answer before the client has gone
    try:
        asked = {"report": REPORT, "stream": True, "tasks": tasks}
        with server.client.stream("POST", "/v1/read", json=asked) as stream:
            lines = stream.iter_lines()
            assert next(line for line in lines if '"place": 0' in line)  # it is being read
            assert "radlite_streams 1.0" in server.client.get("/metrics").text
        with pytest.raises(httpx.ReadTimeout):
            server.client.post("/v1/read", json={"report": REPORT, "tasks": tasks}, timeout=0.05)
    finally:
        engine.resume()
    assert server.read(tasks=["rads_assignment"]).status_code == 200
    for _ in range(200):
        if '"status": 499' in server.log and "radlite_streams 0.0" in server.client.get("/metrics").text:
            break
        time.sleep(0.05)
    assert "radlite_streams 0.0" in server.client.get("/metrics").text
    left = server.noted(status="cancelled")  # what was begun and never answered is in the audit log as such
    assert {one["facts"]["task"] for one in left} >= set(tasks)
    assert all(one["facts"]["inputs"]["report"] for one in left)


def test_who_says_no_more_is_gone_and_nothing_of_him_is_left(server: Server) -> None:
    place = urlsplit(server.url)
    body = json.dumps({"report": REPORT, "tasks": ["m_staging"]}).encode()
    head = b"POST /v1/read HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    with socket.create_connection((place.hostname or "", place.port or 0)) as half:
        half.sendall(head + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        half.shutdown(socket.SHUT_WR)
        assert half.recv(1) == b""
    for _ in range(600):
        if [one for one in server.events if one["event"] == "request" and one["received"] == len(body)]:
            return
        time.sleep(0.05)
    raise AssertionError("its request has not ended")


def test_a_defect_is_told_in_the_one_form_and_once_in_the_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: str) -> None:
        raise ValueError("canary")

    async def once() -> httpx.Response:
        transport = httpx.ASGITransport(application(service))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            return await client.post("/v1/detect", json={"report": REPORT})

    out = io.StringIO()
    service = Service(Settings(state=tmp_path), Log(out))
    monkeypatch.setattr(service, "detect", broken)
    answer = asyncio.run(once())
    service.close()
    assert (answer.status_code, answer.json()["error"]["code"]) == (500, "internal")
    lines = [line for line in map(json.loads, out.getvalue().splitlines()) if line.get("request")]
    assert [line["event"] for line in lines] == ["error", "request"]
    assert lines[0]["request"] in answer.json()["error"]["message"] and "canary" not in out.getvalue() + answer.text


def test_killing_the_engine_costs_an_answer_a_retry(server: Server) -> None:
    long = "Findings: the heart is normal in size. " * 40

    def kill() -> None:
        time.sleep(0.2)
        os.kill(server.engine(), signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    answer = server.read(long, tasks=["radiology_ner", "abnormality_detection", "rads_assignment"])
    killer.join()
    assert [one["status"] for one in answer.json()["answers"]] == ["ok"] * 3
    assert server.read().status_code == 200
    assert "radlite_engine_restarts 1.0" in server.client.get("/metrics").text


def test_two_callers_at_once_get_their_own_answers(server: Server) -> None:
    found: dict[int, str] = {}

    def ask(number: int) -> None:
        report = f"Chest radiograph. Findings: {'small' if number % 2 else 'no'} pleural effusion. Number {number}."
        with httpx.Client(base_url=server.url, timeout=120, trust_env=False) as client:
            told = client.post("/v1/read", json={"report": report, "tasks": ["radiology_ner"]}).json()
        quotes = [one["quote"] for one in told["answers"][0]["evidence"]]
        assert all(report.find(quote) >= 0 for quote in quotes)
        found[number] = told["id"]

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(6)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert len(set(found.values())) == 6


def test_no_report_is_in_the_log(server: Server) -> None:
    assert len(server.events) > 20
    for word in ("effusion", "radiograph", "canary", "heart"):
        assert word not in server.log


def test_a_reader_holds_to_the_system_too() -> None:
    reader = Reader(ScriptedModel(["LR-5"]))
    assert reader.read("rads_assignment", {"report": LIVER, "system": "LI-RADS"}).answer.category == "LR-5"  # type: ignore[union-attr]


def test_a_state_folder_is_for_one_server_and_one_account(server: Server, tmp_path: Path) -> None:
    assert (server.state.stat().st_mode & 0o777) == 0o700
    for path in server.state.rglob("*"):
        assert path.stat().st_mode & 0o077 == 0
