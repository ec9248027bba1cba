"""Who may call, from where, how much and how slowly."""

import asyncio
import json
import logging
import re
import socket
import time
from collections.abc import Iterator, Mapping
from io import StringIO
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from hypothesis import given
from hypothesis import settings as profile
from hypothesis import strategies as st

from radlite.errors import UserError
from radlite.server.guard import Guard, keys
from radlite.server.log import Handler, Log
from radlite.server.settings import Settings, load
from tests.server.process import REPORT, Server

KEY = "k" * 40
OTHER = "o" * 40


async def inner(scope: Any, receive: Any, send: Any) -> None:
    """Says who calls, once it has read the body."""
    size, more = 0, True
    while more:
        message = await receive()
        size += len(message.get("body", b""))
        more = message.get("more_body", False)
    body = json.dumps({"user": scope["state"]["caller"].user, "size": size}).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]})
    await send({"type": "http.response.body", "body": body})


def ask(
    settings: Settings,
    method: str = "GET",
    path: str = "/v1/tasks",
    url: str = "http://localhost:8000",
    log: Log | None = None,
    **given: Any,
) -> httpx.Response:
    """What the guard answers, or lets the inner application answer."""

    async def once() -> httpx.Response:
        transport = httpx.ASGITransport(Guard(inner, settings, log or Log(StringIO())))
        async with httpx.AsyncClient(transport=transport, base_url=url) as client:
            return await client.request(method, path, **given)

    return asyncio.run(once())


@pytest.fixture
def guarded(tmp_path: Path) -> Settings:
    path = tmp_path / "keys"
    path.write_text(f"# callers\nris:{KEY}\n\nward.3@clinic: {OTHER}\n")
    return load(None, {"keys": path})


def code(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


def test_without_a_key_file_everyone_on_this_machine_may_call() -> None:
    assert ask(load()).json() == {"user": "", "size": 0}


@pytest.mark.parametrize(("key", "user"), [(KEY, "ris"), (OTHER, "ward.3@clinic")])
def test_a_key_names_its_caller(guarded: Settings, key: str, user: str) -> None:
    assert ask(guarded, headers={"Authorization": f"Bearer {key}"}).json()["user"] == user
    assert ask(guarded, headers={"Authorization": f"bearer  {key} "}).json()["user"] == user


@pytest.mark.parametrize(
    "sent",
    [
        "",
        "Bearer",
        "Bearer ",
        f"Bearer {KEY[:-1]}",
        f"Bearer {KEY}k",
        f"Basic {KEY}",
        KEY,
        f"Bearer ris:{KEY}",
        f"Bearer {KEY},{OTHER}",
        "Bearer \xe9",
    ],
)
def test_a_wrong_key_is_refused(guarded: Settings, sent: str) -> None:
    answer = ask(guarded, headers={"Authorization": sent.encode("latin-1")} if sent else {})
    assert code(answer) == (401, "no_key")
    assert answer.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize(
    "path", ["/", "/health", "/ready", "/page/app.js", "/v1/openapi.json", "/v1/docs", "/v1/docs/viewer.js"]
)
def test_what_tells_nothing_needs_no_key(guarded: Settings, path: str) -> None:
    assert ask(guarded, path=path).status_code == 200


@pytest.mark.parametrize(
    "path",
    [
        "/metrics",
        "/v1/models",
        "/v1/batch",
        "/page/../v1/read",
        "/page/a/b",
        "/health/",
        "/v1/docs/a/b",
        "/HEALTH",
        "/page/x%2f..%2f..%2fv1%2fbatch",
    ],
)
def test_all_else_does(guarded: Settings, path: str) -> None:
    assert ask(guarded, path=path).status_code == 401


@pytest.mark.parametrize(
    "text",
    [
        "",
        "# nothing\n",
        "ris:short",
        f"ris {KEY}",
        f":{KEY}",
        f"a b:{KEY}",
        f"ris:{KEY}\nris:{OTHER}",
        f"ris:{KEY}\nward:{KEY}",
        f"ris:{'k' * 31}",
        f"ris:{'k' * 20} {'k' * 20}",
        f"ris:{'é' * 40}",
        f"ris:{KEY} kkk",
        f"ris:{KEY} reviews kkk",
    ],
)
def test_a_key_file_that_is_unsafe_is_refused_without_quoting_it(tmp_path: Path, text: str) -> None:
    path = tmp_path / "keys"
    path.write_text(text)
    with pytest.raises(UserError) as told:
        keys(path)
    assert KEY not in str(told.value) and "kkk" not in str(told.value)


def test_a_word_behind_a_key_says_that_its_caller_may_take_out_all_reviews(tmp_path: Path) -> None:
    (path := tmp_path / "keys").write_text(f"ris:{KEY}\nstudy:{OTHER}   reviews\n")
    found, reviewers = keys(path)
    assert [*found] == ["ris", "study"] and reviewers == {"study"}


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "localhost.evil.example",
        "127.0.0.1.nip.io",
        "",
        "localhost@evil.example",
        "0x7f.1",
        "[::1",
        "evil.example:8000",
    ],
)
def test_a_name_that_was_made_to_point_here_is_refused(host: str) -> None:
    assert code(ask(load(), headers={"Host": host}))[0] == 403


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "LOCALHOST:8000",
        "127.0.0.1:1",
        "[::1]:8000",
        "localhost.",
        "10.1.2.3",
        "radlite.clinic.example:443",
    ],
)
def test_the_servers_own_names_and_addresses_are_taken(host: str) -> None:
    assert ask(load(None, {"hosts": "radlite.clinic.example"}), headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://["},
        {"Origin": "localhost:8000"},
        {"Origin": "http://localhost:9999"},
        {"Origin": "https://localhost:8000.evil.example"},
        {"Sec-Fetch-Site": "cross-site"},
    ],
)
@pytest.mark.parametrize("method", ["POST", "DELETE", "PUT"])
def test_pages_of_other_sites_change_nothing(headers: Mapping[str, str], method: str) -> None:
    assert code(ask(load(), method, headers=headers)) == (403, "origin")


def test_the_servers_own_page_and_sites_that_were_named_may() -> None:
    own = {"Origin": "http://localhost:8000", "Sec-Fetch-Site": "same-origin"}
    assert ask(load(), "POST", headers=own).status_code == 200
    settings = load(None, {"origins": "https://ris.example"})
    answer = ask(settings, "POST", headers={"Origin": "https://ris.example", "Sec-Fetch-Site": "cross-site"})
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == "https://ris.example"
    wanted = {"Origin": "https://ris.example", "Access-Control-Request-Method": "POST"}
    asked = ask(settings, "OPTIONS", headers=wanted)
    assert (asked.status_code, asked.headers["access-control-allow-origin"]) == (204, "https://ris.example")
    refused = ask(load(), "OPTIONS", headers=wanted)
    assert refused.status_code == 403
    assert "access-control-allow-origin" not in refused.headers


@pytest.mark.parametrize(
    "kind",
    [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "",
        "application/jsonx",
        "text/json",
    ],
)
def test_a_body_that_a_form_of_another_site_could_send_is_refused(kind: str) -> None:
    headers = {"Content-Type": kind} if kind else {}
    assert code(ask(load(), "POST", content=b"{}", headers=headers)) == (415, "content_type")
    assert (
        ask(load(), "POST", content=b"{}", headers={"Content-Type": "Application/JSON; charset=utf-8"}).status_code
        == 200
    )


def test_a_body_is_counted_whatever_its_head_says() -> None:
    settings, kind = load(None, {"body_bytes": 1000}), {"Content-Type": "application/json"}

    async def pieces() -> Any:
        for _ in range(20):
            yield b"x" * 100

    assert ask(settings, "POST", content=b"x" * 1000, headers=kind).json()["size"] == 1000
    assert code(ask(settings, "POST", content=b"x" * 1001, headers=kind)) == (413, "too_large")
    assert code(ask(settings, "POST", content=pieces(), headers=kind)) == (413, "too_large")


def test_every_answer_has_the_headers_that_keep_a_browser_safe(guarded: Settings) -> None:
    for answer in (ask(load()), ask(guarded), ask(load(), headers={"Host": "evil.example"})):
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy and "frame-ancestors 'none'" in policy and "unsafe" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["cache-control"] == "no-store"
        assert (
            answer.headers["cross-origin-opener-policy"]
            == answer.headers["cross-origin-resource-policy"]
            == "same-origin"
        )
        assert re.fullmatch("[0-9a-f]{32}", answer.headers["x-request-id"])
        assert "server" not in answer.headers


def test_a_log_line_has_neither_query_nor_path_nor_key_nor_what_an_error_says(guarded: Settings) -> None:
    async def broken(scope: Any, receive: Any, send: Any) -> None:
        raise ValueError("canary in an error") from KeyError("canary behind it")

    async def once() -> httpx.Response:
        transport = httpx.ASGITransport(Guard(broken, guarded, Log(out)))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            return await client.get(
                "/v1/canary?report=canary", headers={"Authorization": f"Bearer {KEY}", "User-Agent": "canary"}
            )

    out = StringIO()
    answer = asyncio.run(once())
    assert code(answer) == (500, "internal")
    lines = [json.loads(line) for line in out.getvalue().splitlines()]
    assert "canary" not in out.getvalue() + answer.text and KEY not in out.getvalue()
    assert [line["event"] for line in lines] == ["error", "request"]
    assert lines[0]["types"] == ["ValueError", "KeyError"]
    assert lines[0]["places"][-1].startswith("test_guard.py:") or "test_guard.py" in str(lines[0]["places"])
    assert lines[0]["request"] == lines[1]["request"] == answer.headers["x-request-id"]
    assert (lines[1]["user"], lines[1]["status"], lines[1]["route"]) == ("ris", 500, "-")


@profile(max_examples=150, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(
                [b"host", b"origin", b"authorization", b"content-type", b"content-length", b"sec-fetch-site", b"x"]
            ),
            st.binary(max_size=30),
        ),
        max_size=8,
    ),
    st.sampled_from(["GET", "POST", "DELETE", "OPTIONS", "\x00", "BREW"]),
    st.text(max_size=20),
)
def test_no_head_of_a_request_breaks_the_guard(headers: list[tuple[bytes, bytes]], method: str, path: str) -> None:
    async def once() -> list[Any]:
        sent: list[Any] = []

        async def send(message: Any) -> None:
            sent.append(message)

        async def receive() -> Any:
            return {"type": "http.request", "body": b"", "more_body": False}

        scope = {
            "type": "http",
            "method": method,
            "path": path,
            "headers": headers,
            "client": None,
            "query_string": b"",
        }
        await guard(scope, receive, send)
        return sent

    out = StringIO()
    guard = Guard(inner, load(), Log(out))
    sent = asyncio.run(once())
    assert sent[0]["status"] in (200, 204, 403, 413, 415)
    assert len(out.getvalue().splitlines()) == 1


def test_what_libraries_say_is_not_repeated() -> None:
    out = StringIO()
    logger = logging.getLogger("a.dependency")
    handler = Handler(Log(out))
    logger.addHandler(handler)
    try:
        logger.warning("Found canary in %s", "canary")
        try:
            raise ValueError("canary")
        except ValueError:
            logger.exception("canary")
    finally:
        logger.removeHandler(handler)
    lines = [json.loads(line) for line in out.getvalue().splitlines()]
    assert "canary" not in out.getvalue()
    assert [line["logger"] for line in lines] == ["a.dependency"] * 2
    assert lines[0]["place"].startswith("test_guard.py:") and lines[1]["types"] == ["ValueError"]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    limits = ("body_seconds=1", "slow_seconds=1", "header_bytes=4096", "connections=20", "body_bytes=200000")
    with Server(tmp_path_factory.mktemp("server"), *limits) as own:
        yield own


def connect(server: Server) -> socket.socket:
    place = urlsplit(server.url)
    return socket.create_connection((place.hostname or "", place.port or 0), timeout=30)


def heard(own: socket.socket) -> bytes:
    """All until the server hangs up."""
    found = b""
    try:
        while piece := own.recv(1 << 16):
            found += piece
    except ConnectionResetError:
        pass
    return found


HEAD = b"POST /v1/read HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"


@pytest.mark.parametrize("begun", [b"", b"GET /hea", HEAD, b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\nGET /he"])
def test_a_head_that_does_not_come_is_not_waited_for(server: Server, begun: bytes) -> None:
    with connect(server) as own:
        own.sendall(begun)
        answer = heard(own)
    assert answer.count(b"HTTP/1.1") == begun.count(b"\r\n\r\n")


def test_a_body_that_does_not_come_is_not_waited_for(server: Server) -> None:
    with connect(server) as own:
        own.sendall(HEAD + b"Content-Length: 100\r\n\r\n{")
        answer = heard(own)
    assert answer.startswith(b"HTTP/1.1 408") and b'"slow"' in answer


def test_a_body_whose_length_is_told_in_two_ways_is_not_read(server: Server) -> None:
    with connect(server) as own:
        own.sendall(
            HEAD + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /health HTTP/1.1\r\n\r\n"
        )
        answer = heard(own)
    assert answer.startswith(b"HTTP/1.1 400 Bad Request\r\n") and answer.count(b"HTTP/1.1") == 1


def test_a_body_that_drips_is_not_waited_for_either(server: Server) -> None:
    with connect(server) as own:
        own.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
        own.settimeout(0.2)
        answer = b""
        for _ in range(100):
            try:
                own.sendall(b"1\r\n \r\n")
                answer += own.recv(1 << 16)
            except TimeoutError:
                continue
            except OSError:
                break
            if b"408" in answer:
                break
    assert answer.startswith(b"HTTP/1.1 408")


def test_a_head_that_is_too_large_is_refused(server: Server) -> None:
    with connect(server) as own:
        own.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nX: " + b"x" * 8000 + b"\r\n\r\n")
        assert heard(own).startswith(b"HTTP/1.1 431")
    with connect(server) as own:
        own.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 80_000)
        assert heard(own).startswith(b"HTTP/1.1 400")


def test_what_is_no_http_is_hung_up_on(server: Server) -> None:
    for noise in (
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"\0" * 100,
        b"GET / HTTP/9.9\r\nConnection: close\r\n\r\n",
        b"GET http://[ HTTP/1.1\r\nHost: \xff\r\nConnection: close\r\n\r\n",
    ):
        with connect(server) as own:
            own.sendall(noise)
            answer = heard(own)
            assert answer[:12] in (b"HTTP/1.1 400", b"HTTP/1.1 403")
            assert answer.count(b'{"error":{"code":"') == 1 and b"nosniff" in answer  # in the one form
    assert server.client.get("/health").status_code == 200


def test_a_client_that_does_not_read_is_cut_off_and_holds_up_nobody(server: Server) -> None:
    place = urlsplit(server.url)
    with socket.socket() as own:
        own.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
        own.connect((place.hostname, place.port))
        own.sendall(b"GET /v1/openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n" * 400)  # many megabytes
        assert server.read(tasks=["radiology_ner"]).status_code == 200
        time.sleep(2.5)
        received = len(heard(own))
    assert received < 8 << 20
    assert server.client.get("/health").status_code == 200


def test_more_connections_than_allowed_are_refused_and_the_server_recovers(server: Server) -> None:
    held = [connect(server) for _ in range(30)]
    with connect(server) as own:
        own.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        answer = heard(own)
        assert answer.startswith(b"HTTP/1.1 503") and b'"connections"' in answer and b"retry-after" in answer
    for one in held:
        one.close()
    for _ in range(100):
        if httpx.get(f"{server.url}/health", timeout=30, trust_env=False).status_code == 200:
            break
        time.sleep(0.05)
    assert server.read(tasks=["radiology_ner"]).status_code == 200


def test_the_log_of_all_that_names_no_report(server: Server) -> None:
    server.read()
    assert server.events
    assert "effusion" not in server.log and REPORT not in server.log and "Traceback" not in server.log
