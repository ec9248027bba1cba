"""A model behind an OpenAI-compatible server, asked by chat completions. Reports go there, and nowhere else."""

import ipaddress
import json
import os
import re
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Any, Final, Literal
from urllib.parse import urlsplit

from radlite.chat import Prompt, Renderer, Turn
from radlite.errors import UserError
from radlite.runtime.model import Completion, Request, never
from radlite.runtime.scripted import byte_renderer

PREFIX: Final = "openai:"
_AT_ONCE: Final = 8
"""Questions on their way at the same time."""
_TRIES: Final = 5
_PAUSE: Final = 0.5
"""Seconds before the second try, doubled before each further one."""
_TIMEOUT: Final = 600.0
_MOST: Final = 16 << 20
"""Bytes of a reply."""
_BUSY: Final = {408, 429, 500, 502, 503, 504}
_LENGTH: Final = re.compile(r"context[ _](?:length|size|window)|too long|longer than the (?:model|max)", re.IGNORECASE)
"""How OpenAI, vLLM, llama.cpp and SGLang say that a prompt is too long."""


def open_model(place: str, allowed: str = "") -> "RemoteModel":
    """The model at `openai:URL#MODEL`, as in `openai:http://127.0.0.1:8080/v1#qwen`.

    The key is taken from the environment variable OPENAI_API_KEY, if there is one. A server that is not on this machine
    has to be `allowed` by its host's name. Raises `UserError` if it is not, or if it does not serve the model.
    """
    url, _, name = place.removeprefix(PREFIX).partition("#")
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or not name:
        raise UserError(f"{place} is no endpoint; write openai:URL#MODEL, as in openai:http://127.0.0.1:8080/v1#qwen.")
    if parts.username or parts.password:
        raise UserError("The endpoint's URL holds a password; leave it out and set OPENAI_API_KEY.")
    if not _local(parts.hostname) and parts.hostname != allowed:
        raise UserError(
            f"{parts.hostname} is another machine, and every report would be sent there; if it may have them, add "
            f"--send-to {parts.hostname}."
        )
    model = RemoteModel(url.rstrip("/"), name, os.environ.get("OPENAI_API_KEY", ""))
    model.demand_served()
    return model


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
        self.name = name
        self.renderer: Renderer = _Messages()
        self.context_tokens = 1 << 30
        self.url = url
        self._head = {"Content-Type": "application/json", **({"Authorization": f"Bearer {key}"} if key else {})}
        # Neither a proxy of the environment nor a redirection may carry a report to another machine.
        self._opener = urllib.request.OpenerDirector()
        for handler in (urllib.request.HTTPHandler, urllib.request.HTTPSHandler, urllib.request.HTTPDefaultErrorHandler,
                        urllib.request.HTTPErrorProcessor):  # fmt: skip
            self._opener.add_handler(handler())
        self._closed = threading.Event()

    def demand_served(self) -> None:
        """Raises `UserError` if the server does not answer, or says that it serves other models only."""
        try:
            found = self._send("/models", None)
        except _RefusedError as error:
            if error.status in (401, 403):
                raise UserError(f"{self.url} refuses the key; set OPENAI_API_KEY to one it takes.") from None
            return  # not every server lists its models
        except (OSError, ValueError) as error:
            reason = getattr(error, "reason", error)
            raise UserError(f"{self.url} does not answer ({reason}); start the server or mend the URL.") from None
        listed = found.get("data") if isinstance(found, dict) else None
        names = [one.get("id") for one in listed if isinstance(one, dict)] if isinstance(listed, list) else []
        if names and self.name not in names:
            raise UserError(f"{self.url} has no model {self.name}; it has {', '.join(map(str, names[:5]))}.")

    def complete(
        self, requests: Sequence[Request], stop: Callable[[], bool] = never
    ) -> Iterator[tuple[int, Completion]]:
        """Complete the requests; what was asked already is answered by the server even where nobody waits for it."""
        left = iter(enumerate(requests))
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            going: dict[Future[Completion], int] = {}
            try:
                while not stop():
                    for number, request in left:
                        going[pool.submit(self._answer, request)] = number
                        if len(going) == _AT_ONCE:
                            break
                    if not going:
                        return
                    for done in wait(going, timeout=0.2, return_when=FIRST_COMPLETED).done:
                        yield going.pop(done), done.result()
            finally:
                for one in going:
                    one.cancel()

    def close(self) -> None:
        """End what is being tried again; a second call does nothing."""
        self._closed.set()

    def _answer(self, request: Request) -> Completion:
        begun = time.perf_counter()
        question = {
            "model": self.name,
            "messages": json.loads(request.prompt.text),
            "max_tokens": request.max_tokens,
            "temperature": 0,
            "seed": 0,
        }
        for number in range(_TRIES):
            try:
                return _completion(self._send("/chat/completions", question), time.perf_counter() - begun)
            except _RefusedError as error:
                if error.status not in _BUSY:
                    if error.status in (400, 413, 422) and _LENGTH.search(error.said):
                        return Completion("", "too_long", 0, 0, 0, time.perf_counter() - begun)
                    raise UserError(f"{self.url} answers with HTTP {error.status}; see the server's own log.") from None
                what = f"HTTP {error.status}"
            except (OSError, ValueError) as error:
                what = str(getattr(error, "reason", type(error).__name__))
            if self._closed.wait(_PAUSE * 2**number if number + 1 < _TRIES else 0):
                break
        raise UserError(f"{self.url} did not answer {_TRIES} times ({what}); run the same again when it does.")

    def _send(self, path: str, body: Any) -> Any:
        """What the server answers, as JSON; with a `body` by POST."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, self._head)
        try:
            with self._opener.open(request, timeout=_TIMEOUT) as reply:
                return json.loads(reply.read(_MOST))
        except urllib.error.HTTPError as error:
            with error:
                raise _RefusedError(error.code, error.read(_MOST).decode("utf-8", errors="replace")) from None


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
