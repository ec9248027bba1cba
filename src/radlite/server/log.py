"""The server's log: one JSON object a line on stderr, without the text of a report, an address's query or a value."""

import contextlib
import json
import logging
import sys
import threading
import traceback
from datetime import UTC, datetime
from typing import Any, TextIO


class Log:
    """Writes events. A log that nobody reads any more is no reason to stop."""

    def __init__(self, out: TextIO | None = None) -> None:
        self._out = out or sys.stderr
        self._lock = threading.Lock()

    def write(self, event: str, **facts: Any) -> None:
        """One line: when, what, and what else there is to tell."""
        line = json.dumps({"time": now(), "event": event, **facts}, ensure_ascii=True, default=str)
        with self._lock, contextlib.suppress(OSError, ValueError):
            self._out.write(line + "\n")
            self._out.flush()

    def defect(self, error: BaseException, **facts: Any) -> None:
        """An error that is ours: its types and places, without what it says, which may quote a report."""
        self.write("error", **facts, **described(error))


def now() -> str:
    """The time, in UTC."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def described(error: BaseException) -> dict[str, Any]:
    """Types and places of an error and those behind it."""
    types: list[str] = []
    places: list[str] = []
    seen: BaseException | None = error
    while seen is not None and len(types) < 8:
        types.append(type(seen).__name__)
        places += [
            f"{one.filename.rpartition('/')[2]}:{one.lineno}" for one in traceback.extract_tb(seen.__traceback__)
        ]
        seen = seen.exceptions[0] if isinstance(seen, BaseExceptionGroup) else seen.__cause__ or seen.__context__
    return {"types": types, "places": places[-24:]}


class Handler(logging.Handler):
    """Takes what libraries log: where they log it, and an error as `described`. What they say may quote a request; only
    uvicorn's texts are known not to, without their arguments."""

    def __init__(self, log: Log) -> None:
        super().__init__(logging.WARNING)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        """Write a line for the record."""
        facts: dict[str, Any] = {"logger": record.name, "place": f"{record.filename}:{record.lineno}"}
        if record.name.startswith("uvicorn"):
            facts["message"] = str(record.msg).strip()
        if record.exc_info and record.exc_info[1]:
            facts |= described(record.exc_info[1])
        self._log.write("library", **facts)
