"""Models behind a server: a real llama.cpp one, and one that misbehaves. Reports reach no other machine."""

import contextlib
import http.server
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import xllamacpp

from radlite.errors import UserError
from radlite.evaluation.metrics import rows_of
from radlite.evaluation.run import evaluate_models
from radlite.reader import Reader
from radlite.runtime import remote
from tests.evaluation.items import item

REPORT = "CT of the chest. FINDINGS: Mrs Example has no metastasis."


@pytest.fixture(scope="module")
def served(model_file: Path) -> Iterator[str]:
    """A llama.cpp server with a tiny model, as `llama-server` starts one."""
    settings = xllamacpp.CommonParams()
    settings.model.path = str(model_file)
    settings.model_alias = {"team/tiny"}
    settings.n_ctx, settings.n_parallel, settings.warmup, settings.fit_params = 2048, 2, False, False
    settings.verbosity, settings.hostnames, settings.port = -1, ["127.0.0.1"], free_port()
    settings.api_keys = ["a key"]
    server = xllamacpp.Server(settings)
    yield f"http://127.0.0.1:{settings.port}/v1"
    del server


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


@contextlib.contextmanager
def answering(answer: Callable[[str, Any], tuple[int, Any]]) -> Iterator[tuple[str, list[Any]]]:
    """A server of (path, question) to (HTTP status, reply), and the questions it got."""
    asked: list[Any] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._reply(200, {"data": [{"id": "m"}]})

        def do_POST(self) -> None:
            asked.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self._reply(*answer(self.path, asked[-1]))

        def _reply(self, status: int, value: Any) -> None:
            data = value if isinstance(value, bytes) else json.dumps(value).encode()
            self.send_response(status)
            if status // 100 == 3:
                self.send_header("Location", "http://127.0.0.1:9/elsewhere")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1", asked
    finally:
        server.shutdown()
        server.server_close()


def said(text: str, reason: str = "stop") -> dict[str, Any]:
    return {"choices": [{"message": {"content": text}, "finish_reason": reason}], "usage": {"prompt_tokens": 7}}


def test_a_real_server_is_evaluated_as_any_model_is(
    served: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "a key")
    items = [item("m_staging", number, "M0", inputs={"report": f"{number}. {REPORT}"}) for number in range(12)]
    items.append(item("m_staging", 99, "M0", inputs={"report": REPORT * 400}))
    [run] = evaluate_models([f"openai:{served}#team/tiny"], items, tmp_path)
    found = rows_of(run.answered, run.setup)
    [lost] = [row for row in found if (row["metric"], row["slice"]) == ("too_long", "all")]
    assert (lost["model"], lost["n"], round(lost["value"] * lost["n"])) == ("team/tiny", 13, 1)
    [path] = tmp_path.glob("team_tiny-served-0-test/m_staging.jsonl")
    first = path.read_bytes()
    assert b"Example" not in first.split(b"\n")[0]
    [again] = evaluate_models([f"openai:{served}#team/tiny"], items, tmp_path)
    assert again.answered == run.answered  # nothing is asked again
    assert path.read_bytes() == first


@pytest.mark.parametrize(
    ("key", "name", "told"), [("wrong", "team/tiny", "refuses the key"), ("a key", "x", "no model x")]
)
def test_a_wrong_key_or_model_is_told_before_any_report_is_sent(
    served: str, key: str, name: str, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", key)
    with pytest.raises(UserError, match=told):
        remote.open_model(f"openai:{served}#{name}")


def test_questions_carry_turns_and_answers_come_back_with_their_numbers() -> None:
    with answering(lambda path, question: (200, said(question["messages"][1]["content"][-1]))) as (url, asked):
        reader = Reader(remote.open_model(f"openai:{url}#m"), "instruction", constrain=False)
        texts = [str(number % 10) for number in range(30)]
        found = list(reader.read_many(("radiology_qa", {"report": f"A {one}", "question": "Why?"}) for one in texts))
        assert len(asked) == 30 and asked[0]["temperature"] == 0 and asked[0]["model"] == "m"
        assert asked[0]["messages"][0]["role"] == "system"
        assert len({reading.text for reading in found}) >= 1 and all(one.tokens["prompt"] == 7 for one in found)


def test_a_busy_server_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "_PAUSE", 0.01)
    replies = iter([(503, {}), (429, {}), (200, b"no JSON"), (200, {"choices": []}), (200, said("M0"))])
    with answering(lambda *_: next(replies)) as (url, asked):
        reading = Reader(remote.open_model(f"openai:{url}#m"), constrain=False).read("m_staging", {"report": REPORT})
        assert (reading.status, reading.text, len(asked)) == ("ok", "M0", 5)


def test_a_cut_answer_is_unreadable_and_a_long_report_too_long() -> None:
    replies = iter([(200, said("M0", "length")), (400, {"error": {"code": "context_length_exceeded"}})])
    with answering(lambda *_: next(replies)) as (url, _):
        reader = Reader(remote.open_model(f"openai:{url}#m"), constrain=False)
        assert [reader.read("m_staging", {"report": REPORT}).status for _ in "ab"] == ["unreadable", "too_long"]


@pytest.mark.parametrize("status", [302, 307, 400, 401, 404, 503])
def test_a_refusal_is_one_sentence_without_the_report_and_no_redirection_is_followed(
    status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote, "_PAUSE", 0.01)
    with answering(lambda _, question: (status, {"error": question})) as (url, _):
        reader = Reader(remote.open_model(f"openai:{url}#m"), constrain=False)
        with pytest.raises(UserError, match=str(status)) as raised:
            reader.read("m_staging", {"report": REPORT})
        assert "Example" not in str(raised.value)


def test_no_proxy_of_the_environment_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with answering(lambda *_: (200, said("M0"))) as (url, _):
        reader = Reader(remote.open_model(f"openai:{url}#m"), constrain=False)
        assert reader.read("m_staging", {"report": REPORT}).text == "M0"


@pytest.mark.parametrize(
    ("place", "told"),
    [
        ("openai:http://example.org/v1#m", "another machine"),
        ("openai:http://10.1.2.3:8000/v1#m", "--send-to 10.1.2.3"),
        ("openai:http://127.0.0.1.example.org/v1#m", "another machine"),
        ("openai:http://localhost/v1", "openai:URL#MODEL"),
        ("openai:ftp://localhost/v1#m", "openai:URL#MODEL"),
        ("openai:file:///etc/passwd#m", "openai:URL#MODEL"),
        ("openai:http://me:secret@localhost/v1#m", "password"),
        ("openai:", "openai:URL#MODEL"),
        (f"openai:http://127.0.0.1:{9}/v1#m", "does not answer"),
    ],
)
def test_reports_go_to_this_machine_or_where_the_user_said(place: str, told: str) -> None:
    with pytest.raises(UserError, match=told) as raised:
        remote.open_model(place)
    assert "secret" not in str(raised.value)


@contextlib.contextmanager
def raw(answer: Callable[[socket.socket], None]) -> Iterator[str]:
    """A server that answers each connection in its own way, once it has got something."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = listening.accept()
                    threading.Thread(target=one, args=(connection,), daemon=True).start()

        def one(connection: socket.socket) -> None:
            with contextlib.suppress(OSError), connection:
                got = connection.recv(1 << 16)
                if b"/models" in got:
                    body = json.dumps({"data": [{"id": "m"}]}).encode()
                    connection.sendall(b"HTTP/1.0 200 OK\r\n\r\n" + body)
                else:
                    answer(connection)

        threading.Thread(target=serve, daemon=True).start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/v1"


def drip(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.0 200 OK\r\n\r\n")
    while True:
        connection.sendall(b" ")
        time.sleep(0.05)


@pytest.mark.parametrize("answer", [lambda _: time.sleep(60), drip], ids=["hangs", "drips"])
def test_whoever_stops_waits_for_no_server(answer: Callable[[socket.socket], None]) -> None:
    with raw(answer) as url:
        asked = Reader(remote.open_model(f"openai:{url}#m"), "instruction", constrain=False)
        end = time.monotonic() + 1
        found = list(asked.readings([("m_staging", {"report": REPORT})] * 3, lambda: time.monotonic() > end))
        assert not found and time.monotonic() < end + 20


def test_a_reply_that_drips_for_longer_than_allowed_is_hung_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "_TIMEOUT", 0.4)
    monkeypatch.setattr(remote, "_TRIES", 1)
    with raw(drip) as url, pytest.raises(UserError, match="gave no answer 1 times"):
        Reader(remote.open_model(f"openai:{url}#m"), "instruction").read("m_staging", {"report": REPORT})


@pytest.mark.parametrize(
    "reply",
    [b"SECRET \x1b[31m garbage\r\n\r\n", b"HTTP/1.0 200 OK\r\n\r\n" + b"[" * 200_000,
     b'HTTP/1.0 200 OK\r\n\r\n{"choices":[{"message":{"content":"M0"},"finish_reason":"stop"}],'
     b'"usage":{"prompt_tokens":Infinity}}',
     b"HTTP/1.0 200 OK\r\n\r\n" + b" " * (3 << 20), b"HTTP/1.0 200 OK\r\nContent-Length: 9\r\n\r\n{"],
    ids=["status", "nesting", "infinity", "size", "cut"],
)  # fmt: skip
def test_what_is_no_answer_is_told_in_words_of_ours(reply: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "_PAUSE", 0.0)
    with raw(lambda connection: connection.sendall(reply)) as url, pytest.raises(UserError, match="gave no") as told:
        Reader(remote.open_model(f"openai:{url}#m"), "instruction").read("m_staging", {"report": REPORT})
    assert "SECRET" not in str(told.value)


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:abc/v1", "http://127.0.0.1:99999/v1", "http://[::1/v1", "http://127.0.0.1/a b", "x:y"]
)
def test_what_is_no_endpoint_is_told(url: str) -> None:
    with pytest.raises(UserError, match="is no endpoint"):
        remote.open_model(f"openai:{url}#m")


def test_a_key_that_is_none_is_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    with answering(lambda *_: (200, {})) as (url, _):
        monkeypatch.setenv("OPENAI_API_KEY", "secret\nkey")
        with pytest.raises(UserError, match="OPENAI_API_KEY") as told:
            remote.open_model(f"openai:{url}#m")
        assert "secret" not in str(told.value)
        monkeypatch.setenv("OPENAI_API_KEY", "secret123\n")
        remote.open_model(f"openai:{url}#m")
