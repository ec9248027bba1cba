"""`radlite serve` as a process: what it refuses to start with, how it stops, TLS, digests, several models."""

import hashlib
import json
import os
import shutil
import signal
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from radlite import manifest
from radlite.errors import UserError
from radlite.export import gguf
from radlite.routing.router import Calibration, Choice, Router
from radlite.server.readers import Readers, card
from radlite.server.settings import load
from radlite.server.verdict import verify
from radlite.serving.asking import demonstration
from tests.conftest import random_base
from tests.server.process import COMMAND, REPORT, Server, events

LONG = (
    "Chest radiograph. Findings: the heart is normal in size. " + "No effusion is seen on the left or the right. " * 60
)


def refused(*arguments: object, cwd: Path | None = None) -> str:
    """The last line on stderr of a server that does not start."""
    done = subprocess.run([*COMMAND, *map(str, arguments)], capture_output=True, text=True, timeout=120, cwd=cwd)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr.strip().splitlines()[-1]


def wrong(state: Path, **given: Any) -> str:
    """Why there is no server with these settings."""
    with pytest.raises(UserError) as told:
        Readers(load(None, {"state": state, **given})).open()
    return str(told.value)


def test_it_listens_to_this_machine_alone_unless_there_are_keys(tmp_path: Path) -> None:
    assert "needs a key file" in wrong(tmp_path, host="0.0.0.0")
    (tmp_path / "keys").write_text("ris:short\n")
    assert "32 or more" in refused("--host", "0.0.0.0", "--keys", tmp_path / "keys", "--state", tmp_path)
    (tmp_path / "keys").write_text(f"ris:{'k' * 40}\n")
    with Server(tmp_path, "--host", "0.0.0.0", "--keys", tmp_path / "keys") as server:
        port = server.url.rpartition(":")[2]
        assert httpx.get(f"http://127.0.0.1:{port}/v1/models", trust_env=False).status_code == 401


def test_what_cannot_be_used_is_told_before_it_listens(tmp_path: Path) -> None:
    (tmp_path / "model.gguf").write_bytes(b"\x80\x04pickle")
    assert "no GGUF" in refused("--model", tmp_path / "model.gguf", "--state", tmp_path)
    assert "model.bin" in wrong(tmp_path, model=str(tmp_path / "model.bin"))
    assert "no setting" in wrong(tmp_path, nothing="1")
    (tmp_path / "state").write_text("a file")
    assert "Cannot write" in refused("--state", tmp_path / "state")
    two = [tmp_path / "a.gguf", tmp_path / "b.gguf"]
    for path in two:
        shutil.copy(demonstration(), path)
    assert "give one of them" in wrong(tmp_path, model=f"{two[0]},{two[1]}")


def test_an_address_that_is_taken_and_a_state_in_use_are_told(tmp_path: Path) -> None:
    with Server(tmp_path) as server:
        port = server.url.rpartition(":")[2]
        command = [*COMMAND[:-1], port, "--state", str(tmp_path / "other")]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
        assert (done.returncode, "Cannot listen" in done.stderr) == (2, True)
        assert "Another radlite" in refused("--state", server.state)


def test_a_model_is_told_by_its_digest_and_its_card(tmp_path: Path) -> None:
    model = tmp_path / "model.gguf"
    shutil.copy(demonstration(), model)
    digest = hashlib.sha256(model.read_bytes()).hexdigest()
    sums = tmp_path / "SHA256SUMS"
    sums.write_text(f"{digest} *model.gguf\n{'0' * 64}  other.gguf\n")
    metric = {"type": "f1", "name": "micro_f1, n=60, 95 % interval 0.81 to 0.93", "value": 0.88}
    results = [
        {"task": {"type": "text-generation", "name": "abnormality_detection"}, "metrics": [metric]},
        {"broken": 1},
    ]
    index = {"tags": ["radlite"], "model-index": [{"name": "model", "results": results}]}
    (tmp_path / "README.md").write_text(f"---\n{json.dumps(index)}\n---\n# Model\n")
    with Server(tmp_path, "--model", model) as server:
        loaded = server.client.get("/v1/models").json()["loaded"][0]
    score = {"metric": "micro_f1", "value": 0.88, "low": 0.81, "high": 0.93, "n": 60}
    assert (loaded["sha256"], loaded["card"]) == (digest, [{"task": "abnormality_detection", **score}])
    model.rename(tmp_path / "other.gguf")
    assert card(tmp_path / "other.gguf") is None  # a card is of the model that it names
    assert "SHA256SUMS" in wrong(tmp_path, model=str(tmp_path / "other.gguf"))


def test_a_router_withholds_answers_that_are_not_sure_enough(tmp_path: Path) -> None:
    sure = Calibration(temperature=1.0, threshold=0.999999, n=50)
    digest = hashlib.sha256(demonstration().read_bytes()).hexdigest()
    choice = Choice("tiny-qwen3", "accuracy", 0.5, 0.4, 0.6, 50, "the only one", sure, digest)
    Router(dict.fromkeys(("rads_assignment", "m_staging"), choice)).save(tmp_path / "router.json")
    with Server(tmp_path, "--router", tmp_path / "router.json") as server:
        answer = server.read(tasks=["rads_assignment"]).json()["answers"][0]
        assert (answer["status"], answer["answer"]) == ("abstained", None)
        assert "below the limit" in answer["warnings"][-1]
        table = f"report\n{REPORT}\n"
        job = server.client.post(
            "/v1/batch", files={"file": ("a.csv", table)}, data={"tasks": "rads_assignment"}
        ).json()
        while (found := server.client.get(f"/v1/batch/{job['id']}").json())["status"] in ("waiting", "running"):
            time.sleep(0.05)
        assert found["statuses"] == {"abstained": 1}
        unknown = server.read(tasks=["n_staging"])
        assert (unknown.status_code, unknown.json()["error"]["code"]) == (422, "unrouted")


def test_the_wheel_engine_serves_too(tmp_path: Path) -> None:
    with Server(tmp_path, "engine=wheel") as server:
        assert server.read(tasks=["m_staging"]).json()["answers"][0]["status"] == "ok"
        assert server.client.get("/v1/models").json()["loaded"][0]["engine"] == "wheel"


def test_a_router_over_two_models_has_each_answer_its_tasks(tmp_path: Path) -> None:
    base = random_base("qwen3", tmp_path / "base")
    manifest.write(base, manifest.describe("merged", base={"name": "random"}))
    other = gguf.write(base, tmp_path / "random.gguf", "F16")

    def choice(model: str) -> Choice:
        return Choice(model, "accuracy", 0.5, 0.4, 0.6, 50, "the best", Calibration())

    chosen = {
        "m_staging": choice("random"),
        "n_staging": choice("tiny-qwen3"),
        "rads_assignment/LI-RADS": choice("random"),
    }
    Router(chosen).save(tmp_path / "router.json")
    both = ("--model", demonstration(), "--model", other, "--router", tmp_path / "router.json")
    with Server(tmp_path, *both) as server:
        asked = {"tasks": ["n_staging", "m_staging", "rads_assignment"], "system": "LI-RADS"}
        answers = server.read(**asked).json()["answers"]
        assert [one["model"] for one in answers] == ["demonstration", "random", "random"]
        assert server.read(**{**asked, "system": "BI-RADS"}).json()["error"]["code"] == "unrouted"
        assert server.read().json()["tasks"] == []  # of those that fit, no model answers any
        assert [one["name"] for one in server.client.get("/v1/models").json()["loaded"]] == ["demonstration", "random"]
        refused = server.client.post("/v1/batch", files={"file": ("a.csv", b"report")}, data={"tasks": "m_staging"})
        assert (refused.status_code, refused.json()["error"]["code"]) == (422, "models")


def gone(processes: list[psutil.Process]) -> bool:
    """Whether they end."""
    left = psutil.wait_procs(processes, 30)[1]
    return all(one.status() == psutil.STATUS_ZOMBIE for one in left if one.is_running())


def test_a_router_that_was_learned_from_another_file_is_not_used(tmp_path: Path) -> None:
    choice = Choice("tiny-qwen3", "accuracy", 0.5, 0.4, 0.6, 50, "the only one", Calibration(), "0" * 64)
    Router({"m_staging": choice}).save(tmp_path / "router.json")
    assert "another file" in wrong(tmp_path, router=str(tmp_path / "router.json"))


@pytest.mark.slow
def test_an_engine_that_cannot_be_started_again_is_told_until_it_can(tmp_path: Path) -> None:
    model = tmp_path / "model.gguf"
    shutil.copy(demonstration(), model)
    with Server(tmp_path, "--model", model) as server:
        model.rename(tmp_path / "aside")
        os.kill(server.engine(), signal.SIGKILL)
        while server.client.get("/ready").status_code != 503:  # it is noticed without a request
            time.sleep(0.05)
        answer = server.read(tasks=["m_staging"])
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "unable")
        assert int(answer.headers["retry-after"]) > 0 and str(tmp_path) not in answer.text
        assert "radlite_ready 0.0" in server.client.get("/metrics").text
        assert "replaced or changed" in next(one for one in server.events if one["event"] == "engine")["broken"]
        model.write_bytes(
            demonstration().read_bytes() + b"\0"
        )  # another file of that name is not read, by no job either
        table = {"file": ("a.csv", f"report\n{REPORT}\n")}
        job = server.client.post("/v1/batch", files=table, data={"tasks": "m_staging"}).json()
        while (found := server.client.get(f"/v1/batch/{job['id']}").json())["status"] in ("waiting", "running"):
            time.sleep(0.05)
        assert (found["status"], "was replaced" in found["message"]) == ("failed", True)
        (tmp_path / "aside").replace(model)
        server.wait()
        assert server.read(tasks=["m_staging"]).status_code == 200


def slow_read(server: Server, found: list[httpx.Response], **asked: Any) -> threading.Thread:
    def ask() -> None:
        with httpx.Client(base_url=server.url, timeout=120, trust_env=False) as client:
            body = {"report": LONG, "tasks": ["radiology_ner", "impression_generation"], **asked}
            found.append(client.post("/v1/read", json=body))

    thread = threading.Thread(target=ask)
    thread.start()
    for _ in range(1000):
        if "radlite_busy 1.0" in server.client.get("/metrics").text:
            break
        time.sleep(0.01)
    return thread


def test_a_stop_finishes_what_is_in_hand_and_leaves_no_process(tmp_path: Path) -> None:
    with Server(tmp_path) as server:
        found: list[httpx.Response] = []
        thread = slow_read(server, found)
        children = psutil.Process(server.process.pid).children(recursive=True)
        assert server.stop(signal.SIGTERM) == 0
        thread.join()
        assert [one["status"] for one in found[0].json()["answers"]] == ["ok", "ok"]
        assert gone(children)
        assert server.events[-1]["event"] == "stop"
    audit = verify(tmp_path / "state" / "audit")
    assert audit.sound and audit.kinds["stop"] == 1 and audit.kinds["answer"] == 2
    assert [one["head"] for one in server.events if one["event"] == "audit" and "head" in one][-1:] == [audit.head]


def test_a_stop_does_not_wait_forever_and_tells_what_it_cuts_off(tmp_path: Path) -> None:
    with Server(tmp_path, "stop_seconds=0.1") as server:
        found: list[httpx.Response] = []
        thread = slow_read(
            server,
            found,
            report=LONG * 2,
            tasks=["impression_generation", "radiology_ner", "abnormality_detection"],
            stream=True,
        )
        assert server.stop(signal.SIGINT) == 0
        thread.join()
        last = events(found[0].text)[-1]
        assert last[0] in ("error", "done")
        if last[0] == "error":
            assert last[1]["code"] == "stopping"


def test_a_server_that_is_killed_leaves_no_process_and_a_sound_log(tmp_path: Path) -> None:
    with Server(tmp_path) as server:
        server.read(tasks=["radiology_ner"])
        children = psutil.Process(server.process.pid).children(recursive=True)
        server.stop(signal.SIGKILL)
        assert gone(children)
    assert verify(tmp_path / "state" / "audit").sound
    with Server(tmp_path) as again:
        assert again.read(tasks=["radiology_ner"]).status_code == 200


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("small"), "queue=1", "streams=1", "request_seconds=120") as server:
        yield server


def test_beyond_the_queue_it_says_when_to_come_again(small: Server) -> None:
    found: list[httpx.Response] = []
    os.kill(small.engine(), signal.SIGSTOP)
    thread = slow_read(small, found)
    with small.client.stream("POST", "/v1/read", json={"report": LONG, "stream": True}) as waiting:
        lines = waiting.iter_lines()  # which hangs up where nobody holds it
        assert next(lines) == "event: begun"
        with httpx.Client(base_url=small.url, timeout=120, trust_env=False) as client:
            answer = client.post("/v1/read", json={"report": REPORT})
        assert (answer.status_code, answer.json()["error"]["code"]) == (429, "busy")
        assert 1 <= int(answer.headers["retry-after"]) <= 600
        os.kill(small.engine(), signal.SIGCONT)
    thread.join()
    assert found[0].status_code == 200


def test_more_streams_than_allowed_are_refused_and_places_come_free(small: Server) -> None:
    os.kill(small.engine(), signal.SIGSTOP)
    body = {"report": REPORT, "stream": True}
    with small.client.stream("POST", "/v1/read", json=body) as first:
        lines = first.iter_lines()
        assert next(lines) == "event: begun"
        refused = small.client.post("/v1/read", json=body)
        assert (refused.status_code, refused.json()["error"]["code"]) == (429, "streams")
    os.kill(small.engine(), signal.SIGCONT)
    for _ in range(200):
        if (again := small.client.post("/v1/read", json=body)).status_code == 200:
            break
        time.sleep(0.02)
    assert events(again.text)[-1][0] == "done"


def test_a_request_that_takes_too_long_is_told_so(tmp_path: Path) -> None:
    with Server(tmp_path, "request_seconds=0.5") as server:
        os.kill(server.engine(), signal.SIGSTOP)
        answer = server.read()
        os.kill(server.engine(), signal.SIGCONT)
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "timeout")
        assert "retry-after" in answer.headers


def test_it_speaks_https_with_a_certificate(tmp_path: Path) -> None:
    if not shutil.which("openssl"):
        pytest.skip("openssl is not installed")
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    make = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-keyout",
        str(key),
        "-out",
        str(cert),
        "-days",
        "2",
    ]
    subprocess.run([*make, *subject], check=True, capture_output=True)
    with Server(tmp_path, f"tls_cert={cert}", f"tls_key={key}") as server:
        assert server.url.startswith("https://")
        trusted = ssl.create_default_context(cafile=str(cert))
        with httpx.Client(verify=trusted, trust_env=False) as client:
            answer = client.get(f"{server.url}/health")
        assert answer.status_code == 200
        assert "strict-transport-security" in answer.headers
        with pytest.raises(httpx.TransportError):
            httpx.get(server.url.replace("https", "http") + "/health", trust_env=False, timeout=10)
        assert server.client.get("/health").status_code == 200
    locked = ["openssl", "rsa", "-in", str(key), "-aes128", "-passout", "pass:secret", "-out", str(tmp_path / "locked")]
    subprocess.run(locked, check=True, capture_output=True)  # nobody is asked for a password
    assert "give both in PEM" in refused(
        f"tls_cert={cert}", f"tls_key={tmp_path / 'locked'}", "--state", tmp_path / "s"
    )
    key.write_text("no key")
    assert "give both in PEM" in refused(f"tls_cert={cert}", f"tls_key={key}", "--state", tmp_path / "s")


def test_a_full_disk_gives_no_answer_without_its_entry(tmp_path: Path) -> None:
    with Server(tmp_path) as server:
        head = server.state / "audit" / "HEAD"
        limit = psutil.RLIMIT_FSIZE  # as full for this process as a disk can be
        process = psutil.Process(server.process.pid)
        before = process.rlimit(limit)
        given = server.read(tasks=["m_staging"]).json()["answers"][0]["id"]
        process.rlimit(limit, (head.stat().st_size // 2, before[1]))
        answer = server.read(tasks=["radiology_ner"])
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "unable")
        assert "answers" not in answer.json()
        review = {"answer_id": given, "task": "m_staging", "action": "reject"}
        assert server.client.post("/v1/reviews", json=review).status_code == 503  # no fault of the reviewer
        process.rlimit(limit, before)
        assert server.read(tasks=["radiology_ner"]).status_code == 200
    assert verify(tmp_path / "state" / "audit").sound


def test_the_command_line_stays_light() -> None:
    code = (
        "import sys; import radlite.cli; print(any(name in sys.modules for name in ('fastapi', 'uvicorn', 'pydantic')))"
    )
    done = subprocess.run([COMMAND[0], "-c", code], capture_output=True, text=True, timeout=60, env=os.environ)
    assert done.stdout.strip() == "False"
