"""What stands before every request: who may call, from where, how much and how slowly; and headers of the answer."""

import asyncio
import hashlib
import hmac
import ipaddress
import re
import secrets
import socket
import time
from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from radlite.errors import UserError
from radlite.files import read_text
from radlite.server.log import Log
from radlite.server.settings import Settings
from radlite.server.wire import Refused, defect, refusal

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

OPEN: Final = re.compile(r"/|/health|/ready|/page/[^/]*|/v1/openapi\.json|/v1/docs(/[^/]*)?")
"""Paths that need no key: they tell nothing of reports, callers or work."""
UPLOAD: Final = "/v1/batch"
"""The one path that takes a form with a file."""
REVIEWS: Final = "reviews"
"""Behind a key in the key file: its caller may take out the reviews of all."""
LEAST_KEY: Final = 32
"""Characters of a key: short ones could be guessed."""

_SAFE = {"GET", "HEAD", "OPTIONS"}
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS: Final = (
    (b"content-security-policy", _POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), geolocation=(), microphone=()"),
)


def keys(path: Path) -> tuple[dict[str, bytes], set[str]]:
    """Names to digests of the keys in a file, and the names that may take out the reviews of all.

    Raises `UserError` that names the line and never quotes it.
    """
    found: dict[str, bytes] = {}
    reviewers: set[str] = set()
    for number, line in enumerate(read_text(path, "key file").splitlines(), start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        name, sign, key = (part.strip() for part in line.partition(":"))
        if not sign or not re.fullmatch(r"[\w.@-]{1,64}", name):
            raise UserError(f"Line {number} of {path} is not name:KEY with a name of letters, digits and . _ @ -.")
        key, _, right = key.partition(" ")
        if right.strip() not in ("", REVIEWS):
            raise UserError(f"Line {number} of {path} has more than a key; only the word {REVIEWS} may follow it.")
        if len(key) < LEAST_KEY or not key.isascii() or not key.isprintable():
            raise UserError(
                f"The key in line {number} of {path} has to be {LEAST_KEY} or more visible ASCII characters; make one "
                "with: openssl rand -hex 32."
            )
        digest = _digest(key)
        if name in found or digest in found.values():
            raise UserError(f"Line {number} of {path} repeats a name or a key; give each caller his own.")
        found[name] = digest
        reviewers |= {name} if right else set()
    if not found:
        raise UserError(f"{path} holds no key; write a line name:KEY.")
    return found, reviewers


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()


@dataclass
class Caller:
    """Who asks: `user` is the name of a key, empty where there are none; `turn` shares out the engine."""

    request: str
    user: str
    turn: str
    reviewer: bool = True
    """Whether he may take out the reviews of others."""


class Guard:
    """The outermost part of the application. What passes has a `Caller` in `scope["state"]["caller"]`.

    `counted` is told of every answer: route, method, status, seconds; `refused` of the code of what did not pass.
    """

    def __init__(
        self,
        app: App,
        settings: Settings,
        log: Log,
        counted: Callable[[str, str, int, float], None] = lambda *_: None,
        refused: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._app, self._settings, self._log, self._counted = app, settings, log, counted
        self._refused = refused
        self._keys, self.reviewers = keys(settings.keys) if settings.keys else ({}, {""})
        self._hosts = {"localhost", *(host.lower() for host in settings.hosts)}
        if not settings.loopback:
            self._hosts |= {socket.gethostname().lower(), settings.host.lower()}
        self._origins = {origin.lower().rstrip("/") for origin in settings.origins}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or the beginning and end of the application."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            await _Exchange(self, scope, receive, send).run()

    def check(self, scope: Scope, headers: Mapping[str, str]) -> str:
        """The name of the key that the request has. Raises `Refused` if it may not pass."""
        if sum(len(name) + len(value) for name, value in scope["headers"]) > self._settings.header_bytes:
            raise Refused(431, "header", "The head of the request is too large; send less, or raise header_bytes.")
        if not self._is_ours(headers.get("host", "")):
            raise Refused(
                403, "host", "The server is not known by this name; call it by its address, or add it to hosts."
            )
        origin = headers.get("origin", "").lower()
        if origin and not self.may_share(origin) and origin.partition("://")[2] != headers.get("host", "").lower():
            self._demand_safe(scope)
        if headers.get("sec-fetch-site") == "cross-site" and not self.may_share(origin):
            self._demand_safe(scope)
        if not self._keys or OPEN.fullmatch(scope["path"]) or scope["method"] == "OPTIONS":
            return ""
        scheme, _, key = headers.get("authorization", "").partition(" ")
        digest, user = _digest(key.strip()), ""
        for name, known in self._keys.items():  # all of them, so that time tells nothing
            if hmac.compare_digest(known, digest):
                user = name
        if scheme.lower() != "bearer" or not user:
            raise Refused(401, "no_key", "This needs a key; send it as: Authorization: Bearer KEY.")
        return user

    def may_share(self, origin: str) -> bool:
        """Whether the pages of a site may use the API."""
        return origin.lower() in self._origins

    def _demand_safe(self, scope: Scope) -> None:
        if scope["method"] not in _SAFE:
            raise Refused(
                403, "origin", "Pages of other sites may not use this server; add the site to origins to allow it."
            )

    def _is_ours(self, host: str) -> bool:
        """Whether a Host header names this server. An IP address does: only names can be made to point here."""
        name = host.lower()
        if name.startswith("["):
            name, closing, _ = name[1:].partition("]")
            if not closing:
                return False
        elif name.count(":") <= 1:
            name = name.partition(":")[0]
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return name.rstrip(".") in self._hosts
        return True


class _Exchange:
    """One request and its answer."""

    def __init__(self, guard: Guard, scope: Scope, receive: Receive, send: Send) -> None:
        self._guard, self._scope, self._receive, self._send = guard, scope, receive, send
        self._settings = guard._settings
        self._id = secrets.token_hex(16)
        self._begun = time.monotonic()
        self._headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        self._upload = scope["path"] == UPLOAD and scope["method"] == "POST"
        self._size = self._sent = 0
        self._deadline = self._begun + (self._settings.upload_seconds if self._upload else self._settings.body_seconds)
        self._whole = self._whole_answer = False
        self._status = 0
        self._caller = Caller(self._id, "", "")
        self._close = False

    async def run(self) -> None:
        try:
            await self._answer()
        except Exception as error:
            self._guard._log.defect(error, request=self._id)
            if self._whole_answer:
                return
            if self._status:  # it is cut off in the middle: the client sees that it is not whole
                raise
            await self._refuse(defect(self._id))
        finally:
            self._tell()

    async def _answer(self) -> None:
        try:
            user = self._guard.check(self._scope, self._headers)
            client = self._scope.get("client") or ("", 0)
            self._caller = Caller(self._id, user, user or client[0], user in self._guard.reviewers)
            self._scope.setdefault("state", {})["caller"] = self._caller
            if self._scope["method"] == "OPTIONS" and "access-control-request-method" in self._headers:
                await self._preflight()
                return
            self._demand_body()
            await self._guard._app(self._scope, self._read, self._write)
        except Refused as why:
            if self._status:
                raise
            await self._refuse(why)

    def _demand_body(self) -> None:
        """Refuse a body that is too large by its own word, or of another kind than is taken here."""
        method, kind = self._scope["method"], self._headers.get("content-type", "").partition(";")[0].strip().lower()
        length = self._headers.get("content-length", "")
        if length and "transfer-encoding" in self._headers:  # a proxy may believe the other one
            self._close = True
            raise Refused(400, "malformed", "The head tells the length of the body in two ways; see /v1/docs.")
        if length.isdigit() and int(length) > self._most:
            raise self._too_large()
        has_body = length not in ("", "0") or "transfer-encoding" in self._headers
        wanted = "multipart/form-data" if self._upload else "application/json"
        if has_body and method not in _SAFE and kind != wanted:
            raise Refused(415, "content_type", f"The body has to be {wanted}; say so in Content-Type.")

    @property
    def _most(self) -> int:
        return self._settings.upload_bytes if self._upload else self._settings.body_bytes

    def _too_large(self) -> Refused:
        limit = "upload_bytes" if self._upload else "body_bytes"
        return Refused(413, "too_large", f"The body has more than {self._most:,} bytes; send less, or raise {limit}.")

    async def _read(self) -> Message:
        """A piece of the body, as long as it is not too large and does not take too long."""
        if self._whole:
            return await self._receive()
        try:
            message = await asyncio.wait_for(self._receive(), max(0.0, self._deadline - time.monotonic()))
        except TimeoutError:
            self._close = True
            raise Refused(
                408, "slow", "The body did not come in time; send it faster, or raise body_seconds."
            ) from None
        if message["type"] == "http.request":
            self._size += len(message.get("body", b""))
            self._whole = not message.get("more_body", False)
            if self._size > self._most:
                raise self._too_large()
        return message

    async def _write(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._status = message["status"]
            message["headers"] = [*message.get("headers", ()), *self._own_headers(message.get("headers", ()))]
        else:
            self._sent += len(message.get("body", b""))
            self._whole_answer = not message.get("more_body", False)
        await self._send(message)

    def _own_headers(self, given: Sequence[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
        there = {name.lower() for name, _ in given}
        own = [(name, value) for name, value in _HEADERS if name not in there]
        if b"cache-control" not in there:
            own.append((b"cache-control", b"no-store"))
        own.append((b"x-request-id", self._id.encode()))
        if self._settings.tls_cert:
            own.append((b"strict-transport-security", b"max-age=31536000"))
        if (origin := self._headers.get("origin", "")) and self._guard.may_share(origin):
            own += [(b"access-control-allow-origin", origin.encode("latin-1")), (b"vary", b"Origin")]
            own.append((b"access-control-expose-headers", b"X-Request-ID, Retry-After"))
        if self._close:
            own.append((b"connection", b"close"))
        return own

    async def _preflight(self) -> None:
        allowed = self._guard.may_share(self._headers.get("origin", ""))
        headers = [
            (b"access-control-allow-methods", b"GET, POST, DELETE"),
            (b"access-control-allow-headers", b"Authorization, Content-Type, Accept"),
            (b"access-control-max-age", b"600"),
        ]
        await self._write(
            {"type": "http.response.start", "status": 204 if allowed else 403, "headers": headers if allowed else []}
        )
        await self._write({"type": "http.response.body", "body": b""})

    async def _refuse(self, why: Refused) -> None:
        self._guard._refused(why.code)
        await refusal(self._scope["path"], why)(self._scope, self._receive, self._write)

    def _tell(self) -> None:
        route = self._scope.get("route")
        template = getattr(route, "path", "") or "-"
        seconds = time.monotonic() - self._begun
        method = self._scope["method"] if self._scope["method"] in _METHODS else "-"
        self._guard._counted(template, method, self._status, seconds)
        self._guard._log.write(
            "request",
            request=self._id,
            user=self._caller.user,
            client=(self._scope.get("client") or ("",))[0],
            method=method,
            route=template,
            status=self._status,
            seconds=round(seconds, 4),
            received=self._size,
            sent=self._sent,
        )


_GOODBYE: Final = 2.0
"""Seconds that the other side has to close a connection too."""

_METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT"}


def protocol(settings: Settings) -> type[asyncio.Protocol]:
    """uvicorn's protocol, which cuts off connections whose request's head does not come, or that do not read."""
    import h11
    from uvicorn.protocols.http.h11_impl import H11Protocol

    async def full(scope: Scope, receive: Receive, send: Send) -> None:
        why = Refused(503, "connections", "Too many connections are open; ask again later.", 5)
        await refusal(scope["path"], _last(why))(scope, receive, send)

    class Protocol(H11Protocol):
        """A connection that may not dawdle."""

        _head: asyncio.TimerHandle | None = None
        _reader: asyncio.TimerHandle | None = None

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            # Nothing waits here: else what the kernel does not take would wait unseen, and the client with it.
            # (Not 0, at which asyncio's TLS holds an empty buffer for a full one.)
            transport.set_write_buffer_limits(high=1, low=0)
            if len(self.connections) > settings.connections:
                self.app = full
            if len(self.connections) > 2 * settings.connections:
                transport.abort()
            self._watch()

        def connection_lost(self, exc: Exception | None) -> None:
            for timer in (self._head, self._reader):
                if timer:
                    timer.cancel()
            super().connection_lost(exc)

        def data_received(self, data: bytes) -> None:
            # h11 raises its own kinds of error where a peer speaks no HTTP; what is left then is to hang up.
            try:
                super().data_received(data)
            except Exception:
                self.transport.abort()
                return
            self._watch()

        def send_400_response(self, msg: str) -> None:
            """What is no HTTP gets an error in the one form too, and is hung up on."""
            answer = refusal("", _last(Refused(400, "malformed", "This is no HTTP request; see /v1/docs.")))
            for event in (
                h11.Response(status_code=400, headers=answer.raw_headers, reason=b"Bad Request"),
                h11.Data(data=bytes(answer.body)),
                h11.EndOfMessage(),
            ):
                self.transport.write(self.conn.send(event) or b"")
            self.transport.close()

        def _watch(self) -> None:
            """A head that has begun, or the first one, has to come in time."""
            busy = self.cycle is not None and not self.cycle.response_complete
            if busy and self._head:
                self._head.cancel()
                self._head = None
            elif not busy and not self._head:
                self._head = self.loop.call_later(settings.body_seconds, self._late)

        def _late(self) -> None:
            self._head = None
            if self.cycle is None or self.cycle.response_complete:
                self.transport.abort()

        def shutdown(self) -> None:
            super().shutdown()
            self._hang_up_soon()

        def on_response_complete(self) -> None:
            super().on_response_complete()
            self._hang_up_soon()

        def _hang_up_soon(self) -> None:
            """A closed connection is over, also where the other side does not say goodbye, as TLS wants it."""
            if self.transport.is_closing():
                self.loop.call_later(_GOODBYE, self.transport.abort)

        def pause_writing(self) -> None:
            super().pause_writing()
            self._reader = self._reader or self.loop.call_later(settings.slow_seconds, self.transport.abort)

        def resume_writing(self) -> None:
            super().resume_writing()
            if self._reader:
                self._reader.cancel()
                self._reader = None

    return Protocol


def _last(why: Refused) -> Refused:
    """The last that is said on a connection, which has not come as far as the headers of a `Guard`."""
    why.headers = {name.decode(): value.decode() for name, value in _HEADERS}
    why.headers |= {"cache-control": "no-store", "connection": "close"}
    return why


async def gone(receive: Receive) -> None:
    """Return when the client has left."""
    while (await receive())["type"] != "http.disconnect":
        pass
