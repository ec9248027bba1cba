"""A model behind an OpenAI-compatible server, asked by chat completions. Reports go there, and nowhere else."""

import contextlib
import http.client
import ipaddress
import json
import os
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Any, Final, Literal
from urllib.parse import SplitResult, urlsplit

from radlite.chat import Prompt, Renderer, Turn
from radlite.errors import UserError, shown
from radlite.runtime.model import Completion, Request, never
from radlite.runtime.scripted import byte_renderer

PREFIX: Final = "openai:"
_AT_ONCE: Final = 8
"""Questions on their way at the same time."""
_TRIES: Final = 5
_PAUSE: Final = 0.5
"""Seconds before the second try, doubled before each further one."""
_CONNECT: Final = 10.0
_TIMEOUT: Final = 600.0
"""Seconds for a whole reply."""
_MOST: Final = 1 << 20
"""Bytes of an answer."""
_MOST_MODELS: Final = 16 << 20
"""Bytes of a list of models."""
_BUSY: Final = {408, 429, 500, 502, 503, 504}
_LENGTH: Final = re.compile(r"context[ _](?:length|size|window)|too long|longer than the (?:model|max)", re.IGNORECASE)
"""How OpenAI, vLLM, llama.cpp and SGLang say that a prompt is too long."""


def open_model(place: str, allowed: str = "") -> "RemoteModel":
    """The model at `openai:URL#MODEL`, as in `openai:http://127.0.0.1:8080/v1#qwen`.

    The key is taken from the environment variable OPENAI_API_KEY, if there is one. A server that is not on this machine
    has to be `allowed` by its host's name. Raises `UserError` if it is not, or if it does not serve the model.
    """
    url, _, name = place.removeprefix(PREFIX).partition("#")
    parts = _endpoint(url)
    if not parts or not parts.hostname or not name:
        raise UserError(
            f"{shown(place)} is no endpoint; write openai:URL#MODEL, as in openai:http://127.0.0.1:8080/v1#qwen."
        )
    if parts.username or parts.password:
        raise UserError("The endpoint's URL holds a password; leave it out and set OPENAI_API_KEY.")
    if not _local(parts.hostname) and parts.hostname != allowed:
        raise UserError(
            f"{parts.hostname} is another machine, and every report would be sent there; if it may have them, add "
            f"--send-to {parts.hostname}."
        )
    key = os.environ.get("OPENAI_API_KEY", "").strip()
    if not re.fullmatch(r"[ -~]*", key):
        raise UserError("OPENAI_API_KEY holds characters that no key has; set it anew.")
    model = RemoteModel(url.rstrip("/"), name, key)
    model.demand_served()
    return model


def _endpoint(url: str) -> SplitResult | None:
    """The parts of a URL that can be asked; None of any other."""
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and (parts.port is None or parts.port > 0)
    except ValueError:
        return None
    return parts if usable and re.fullmatch(r"[!-~]+", url) else None


def _local(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class _Messages(Renderer):
    """Turns as the messages of a request, in JSON: the server's own template makes the prompt of them."""

    def __init__(self) -> None:
        plain = byte_renderer()
        super().__init__(plain.tokenizer, plain.template)

    def prompt(self, turns: Sequence[Turn]) -> Prompt:
        return Prompt((), json.dumps([{"role": turn.role, "content": turn.text} for turn in turns]))


class RemoteModel:
    """A model of an OpenAI-compatible server, several questions at a time. It knows no grammar: answers are free text.

    Whether a prompt fits its window only the server can tell.
    """

    def __init__(self, url: str, name: str, key: str = "") -> None:
        self.name = shown(name)
        self.renderer: Renderer = _Messages()
        self.context_tokens = 1 << 30
        self.url = url
        self._asked = name
        self._head = {"Content-Type": "application/json", **({"Authorization": f"Bearer {key}"} if key else {})}
        self._closed = threading.Event()

    def demand_served(self) -> None:
        """Raises `UserError` if the server does not answer, or says that it serves other models only."""
        try:
            found = self._send("/models", None, _Calls(), _MOST_MODELS)
        except _RefusedError as error:
            if error.status in (401, 403):
                raise UserError(f"{self.url} refuses the key; set OPENAI_API_KEY to one it takes.") from None
            return  # not every server lists its models
        except _FAILURES as error:
            raise UserError(f"{self.url} does not answer ({_why(error)}); start the server or mend the URL.") from None
        listed = found.get("data") if isinstance(found, dict) else None
        names = [one.get("id") for one in listed if isinstance(one, dict)] if isinstance(listed, list) else []
        if names and self._asked not in names:
            others = shown(", ".join(str(name)[:80] for name in names[:5]))
            raise UserError(f"{self.url} has no model {self.name}; it has {others}.")

    def complete(
        self, requests: Sequence[Request], stop: Callable[[], bool] = never
    ) -> Iterator[tuple[int, Completion]]:
        """Complete the requests; what was asked already is answered by the server even where nobody waits for it."""
        left, calls = iter(enumerate(requests)), _Calls()
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            going: dict[Future[Completion], int] = {}
            try:
                while not (stop() or self._closed.is_set()):
                    for number, request in left:
                        going[pool.submit(self._answer, request, calls)] = number
                        if len(going) == _AT_ONCE:
                            break
                    if not going:
                        return
                    for done in wait(going, timeout=0.2, return_when=FIRST_COMPLETED).done:
                        yield going.pop(done), done.result()
                    calls.cut_late()
            finally:  # hang up: else the threads would wait for the server, and the caller for the threads
                calls.cut_all()
                for one in going:
                    one.cancel()

    def close(self) -> None:
        """End what is being asked; a second call does nothing."""
        self._closed.set()

    def _answer(self, request: Request, calls: "_Calls") -> Completion:
        begun = time.perf_counter()
        question = {
            "model": self._asked,
            "messages": json.loads(request.prompt.text),
            "max_tokens": request.max_tokens,
            "temperature": 0,
            "seed": 0,
        }
        for number in range(_TRIES):
            try:
                return _completion(self._send("/chat/completions", question, calls), time.perf_counter() - begun)
            except _RefusedError as error:
                if error.status not in _BUSY:
                    if error.status in (400, 413, 422) and _LENGTH.search(error.said):
                        return Completion("", "too_long", 0, 0, 0, time.perf_counter() - begun)
                    raise UserError(f"{self.url} answers with HTTP {error.status}; see the server's own log.") from None
                what = f"HTTP {error.status}"
            except _FAILURES as error:
                what = _why(error)
            if calls.over.wait(_PAUSE * 2**number if number + 1 < _TRIES else 0):
                break
        raise UserError(f"{self.url} gave no answer {_TRIES} times ({what}); run the same again when it does.")

    def _send(self, path: str, body: Any, calls: "_Calls", most: int = _MOST) -> Any:
        """What the server answers, as JSON; with a `body` by POST.

        Neither a proxy of the environment nor a redirection is followed: they may carry a report to another machine.
        """
        data = None if body is None else json.dumps(body).encode()
        parts = urlsplit(self.url)
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        with contextlib.closing(kind(parts.hostname or "", parts.port, timeout=_CONNECT)) as connection:
            connection.connect()
            connection.sock.settimeout(_TIMEOUT)
            with calls.through(connection.sock):
                target = parts.path + path + (f"?{parts.query}" if parts.query else "")
                connection.request("GET" if data is None else "POST", target, data, self._head)
                reply = connection.getresponse()
                content = reply.read(most + 1)
        if reply.status != 200:
            raise _RefusedError(reply.status, content.decode("utf-8", errors="replace"))
        if len(content) > most:
            raise ValueError(f"more than {most:,} bytes")
        return json.loads(content)


_FAILURES = (OSError, ValueError, OverflowError, RecursionError, http.client.HTTPException)
"""What comes of a server that is not there, hangs up, or answers what is no chat completion."""


def _why(error: BaseException) -> str:
    """In words that are ours: what a server sent is not repeated."""
    if isinstance(error, TimeoutError):
        return "it took too long"
    if isinstance(error, http.client.RemoteDisconnected | ConnectionResetError):
        return "it hung up"
    if isinstance(error, OSError):
        return error.strerror or type(error).__name__
    return "what it sends is no answer in OpenAI's form"


class _Calls:
    """Connections on which an answer is awaited: they can be hung up, which ends the wait."""

    def __init__(self) -> None:
        self.over = threading.Event()
        self._lock = threading.Lock()
        self._open: dict[socket.socket, float] = {}

    @contextlib.contextmanager
    def through(self, connection: socket.socket) -> Iterator[None]:
        """Within, the connection can be hung up."""
        with self._lock:
            self._open[connection] = time.monotonic() + _TIMEOUT
        try:
            if self.over.is_set():
                raise ConnectionAbortedError("hung up")
            yield
        finally:
            with self._lock:
                del self._open[connection]

    def cut_late(self) -> None:
        """Hang up where a reply takes too long, however steadily it drips."""
        now = time.monotonic()
        self._cut(lambda end: end < now)

    def cut_all(self) -> None:
        """Hang up, and try nothing again."""
        self.over.set()
        self._cut(lambda end: True)

    def _cut(self, due: Callable[[float], bool]) -> None:
        with self._lock:
            for connection in [one for one, end in self._open.items() if due(end)]:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)


class _RefusedError(Exception):
    """A server's answer that is none. What it `said` may quote the report."""

    def __init__(self, status: int, said: str) -> None:
        super().__init__(f"HTTP {status}")
        self.status = status
        self.said = said


def _completion(found: Any, seconds: float) -> Completion:
    """Raises `ValueError` if `found` is no chat completion."""
    try:
        choice = found["choices"][0]
        text, reason, usage = choice["message"].get("content") or "", choice["finish_reason"], found.get("usage") or {}
        tokens = [int(usage.get(name) or 0) for name in ("prompt_tokens", "completion_tokens")]
        cached = int((usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0)
    except (TypeError, KeyError, IndexError, AttributeError) as error:
        raise ValueError("no chat completion") from error
    ended: Literal["end", "length"] = "length" if reason == "length" else "end"
    return Completion(str(text), ended, tokens[0], cached, tokens[1], seconds)
