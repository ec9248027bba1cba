"""The answers to a table as they come, in a file that is only ever added to."""

import json
import os
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from io import FileIO
from pathlib import Path
from typing import Any, Final, Self

from radlite.errors import UserError

Entry = dict[str, Any]
"""One answer, or why there is none: `row`; `at`, its place among the `of` entries of the row; and what it tells."""

_SAFE_EVERY: Final = 5.0
"""Seconds after which what was written is safe from a loss of power too; from the end of the process it is at once."""


class Journal:
    """A file whose first line says what the answers depend on; each other line is an entry, in any order of rows.

    Rows are begun more or less in their order, so that little is remembered: all rows up to one are complete, and of
    the few after it, it is known which entries are there. Safe to use from several threads.
    """

    def __init__(self, path: Path, header: Mapping[str, Any]) -> None:
        """Begin the journal, or go on with it; a last line that was cut short is dropped.

        Raises `UserError` if it is the journal of something else, is damaged, or cannot be written.
        """
        self.statuses: Counter[str] = Counter()
        """How often each status was noted."""
        self.rows = 0
        """How many rows are complete."""
        self._path = path
        self._lock = threading.Lock()
        self._safe = time.monotonic()
        self._before = 1
        """All rows before this one are complete."""
        self._known: dict[int, set[int]] = {}
        self._of: dict[int, int] = {}
        try:
            self._open(json.dumps(header).encode() + b"\n")
        except OSError as error:
            raise self._unwritable(error) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with self._lock, self._file:
            os.fsync(self._file.fileno())
        if not self.entries:  # so that a model which could not be opened is not in the way of another one
            self.remove()

    @property
    def entries(self) -> int:
        """How many entries there are."""
        return self.statuses.total()

    def has(self, row: int, at: int | None = None) -> bool:
        """Whether a row is complete, or whether one of its entries is there."""
        if row < self._before:
            return True
        known = self._known.get(row, ())
        return len(known) == self._of.get(row) if at is None else at in known

    def add(self, entry: Entry) -> None:
        """Write an entry unless it is there. Raises `UserError` if it cannot be written."""
        with self._lock:
            if self._note(entry):
                _write(self._file, self._path, json.dumps(entry).encode() + b"\n")
                if time.monotonic() - self._safe > _SAFE_EVERY:
                    os.fsync(self._file.fileno())
                    self._safe = time.monotonic()

    def in_order(self) -> Iterator[list[Entry]]:
        """The entries of each complete row, in the order of the rows."""
        held: dict[int, dict[int, Entry]] = {}
        following = 1
        for entry, _ in self._read():
            held.setdefault(entry["row"], {})[entry["at"]] = entry
            while following in held and len(held[following]) == next(iter(held[following].values()))["of"]:
                entries = held.pop(following)
                yield [entries[at] for at in sorted(entries)]
                following += 1

    def remove(self) -> None:
        """Delete the file: its answers are elsewhere."""
        self._path.unlink(missing_ok=True)

    def _open(self, first: bytes) -> None:
        self._path.touch()
        with self._path.open("rb") as file:
            begun = file.readline()
        if not first.startswith(begun):
            raise UserError(f"{self._path} {_difference(begun, first)}; give another OUT, or delete it to begin anew.")
        whole = len(first) if begun == first else 0
        if whole:
            for entry, end in self._read():
                self._note(entry)
                whole = end
        self._file = self._path.open("ab", buffering=0)
        self._file.truncate(whole)
        if not whole:
            _write(self._file, self._path, first)

    def _read(self) -> Iterator[tuple[Entry, int]]:
        """The whole entries, each with the number of bytes up to its end."""
        with self._path.open("rb") as file:
            size = len(file.readline())
            for number, line in enumerate(file, start=2):
                if not line.endswith(b"\n"):
                    return
                try:
                    entry = json.loads(line)
                    entry["row"], entry["at"], entry["of"], entry["status"]
                except (ValueError, TypeError, KeyError, RecursionError) as error:
                    raise UserError(
                        f"Line {number} of {self._path} is damaged; delete it and what follows, and run the same again."
                    ) from error
                size += len(line)
                yield entry, size

    def _note(self, entry: Entry) -> bool:
        """Whether the entry is new."""
        row = entry["row"]
        if self.has(row, entry["at"]):
            return False
        self.statuses[entry["status"]] += 1
        self._of[row] = entry["of"]
        self._known.setdefault(row, set()).add(entry["at"])
        self.rows += self.has(row)
        while self._before in self._known and self.has(self._before):
            del self._known[self._before], self._of[self._before]
            self._before += 1
        return True

    def _unwritable(self, error: OSError) -> UserError:
        return UserError(f"Cannot write {self._path}: {error.strerror}. Free some space or choose another place.")


def _write(file: FileIO, path: Path, line: bytes) -> None:
    rest = line
    try:
        while rest:
            rest = rest[file.write(rest) :]
    except OSError as error:
        raise UserError(f"Cannot write {path}: {error.strerror}. Free some space, then run the same again.") from error


def _difference(begun: bytes, first: bytes) -> str:
    try:
        found, header = json.loads(begun), json.loads(first)
        names = [name for name in {**header, **found} if found.get(name) != header.get(name)]
    except (ValueError, AttributeError):
        return "is no journal"
    return f"is the journal of another batch (different {', '.join(names)})"
