"""The server as a process: its address, its log, and how it ends."""

import contextlib
import logging
import os
import signal
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator
from typing import Any

import uvicorn

import radlite
from radlite.errors import UserError
from radlite.files import told
from radlite.server import guard
from radlite.server.app import application
from radlite.server.log import Handler, Log
from radlite.server.service import Service
from radlite.server.settings import Settings

_BACKLOG = 1024
"""Connections that may wait to be taken."""


def run(settings: Settings, tell: Callable[[str], None]) -> None:
    """Serve until SIGTERM or Ctrl-C, then finish what is in hand. `tell` is given the address.

    Raises `UserError` if a file cannot be used, the address is taken, or the models cannot be opened.
    """
    log = Log()
    os.umask(0o077)  # all that is written is for this account alone
    folder = settings.folder
    with told(folder):
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o700)
        (folder / "tmp").mkdir(exist_ok=True)
    tempfile.tempdir = str(folder / "tmp")  # uploads, which hold reports, are nowhere else
    logging.basicConfig(handlers=[Handler(log)], level=logging.WARNING, force=True)
    threading.excepthook = lambda told: log.defect(told.exc_value or told.exc_type())
    if settings.tls_cert:
        _demand_certificate(settings)
    service = Service(settings, log, failing=lambda: server.end())
    with _bound(settings) as listening:
        server = _Server(service, settings)
        host, port = listening.getsockname()[:2]
        address = f"{'https' if settings.tls_cert else 'http'}://{f'[{host}]' if ':' in host else host}:{port}"
        tell(f"RadLite serves at {address}; stop it with Ctrl-C.")
        log.write("start", address=address, radlite=radlite.__version__, models=service.readers.names)
        server.run([listening])
    log.write("stop")
    if service.desk.failed:
        raise service.desk.failed


class _Server(uvicorn.Server):
    """Ends by its own signals, and gracefully."""

    def __init__(self, service: Service, settings: Settings) -> None:
        self._service = service
        super().__init__(
            uvicorn.Config(
                application(service),
                http=guard.protocol(settings),
                ws="none",
                loop="asyncio",
                lifespan="on",
                log_config=None,
                access_log=False,
                proxy_headers=False,
                server_header=False,
                backlog=_BACKLOG,
                timeout_keep_alive=5,
                timeout_graceful_shutdown=int(settings.stop_seconds) + 5,
                h11_max_incomplete_event_size=settings.header_bytes,
                ssl_certfile=settings.tls_cert,
                ssl_keyfile=settings.tls_key,
            )
        )

    def end(self) -> None:
        """Stop as soon as what is in hand is finished. From any thread."""
        self.should_exit = True

    def handle_exit(self, sig: int, frame: Any) -> None:
        """The first signal takes no more work; a second Ctrl-C ends at once."""
        if self.should_exit and sig == signal.SIGINT:
            self.force_exit = True
        self._service.stopping()
        self.end()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """As uvicorn's, but the signal is not raised again: a stop that was asked for is no failure."""
        before = {number: signal.signal(number, self.handle_exit) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def _demand_certificate(settings: Settings) -> None:
    import ssl

    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(
            str(settings.tls_cert),
            str(settings.tls_key),
            password=lambda: b"",  # or it would be asked for at a terminal
        )
    except (OSError, ssl.SSLError) as error:
        why = error.strerror or type(error).__name__
        raise UserError(f"Cannot use {settings.tls_cert} with {settings.tls_key}: {why}; give both in PEM.") from error


@contextlib.contextmanager
def _bound(settings: Settings) -> Iterator[socket.socket]:
    try:
        found = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, number, _, address = found[0]
        listening = socket.socket(family, kind, number)
        if os.name == "posix":
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(_BACKLOG)
    except OSError as error:
        raise UserError(
            f"Cannot listen at {settings.host} port {settings.port}: {error.strerror}; choose another --host or --port."
        ) from error
    with listening:
        yield listening
