"""A log of every answer that is only ever added to: each line holds the hash of the line before it, none holds text.

docs/records.md has the form of a line and what is noted when.
"""

import contextlib
import datetime
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Self

from radlite.errors import UserError
from radlite.files import exclusive, told
from radlite.server import chain
from radlite.server.chain import BEGIN, HEAD, KEY, Head
from radlite.tasks import Reading, named

ROTATE: Final = 16 << 20
"""Bytes from which on a new file is begun."""
_SAFE_EVERY: Final = 1.0
"""Seconds after which an entry is safe from a loss of power; from the end of the process it is at once."""


def noted(
    reading: Reading, inputs: Mapping[str, str], digest: Callable[[str], str], system: str | None = None
) -> dict[str, Any]:
    """What is noted of a reading: who reads it learns nothing of the texts, and who has them finds them again.

    The answer is that which people see, `Task.render`'s; where there is none, what the model wrote.
    """
    said = reading.text if reading.answer is None else named(reading.task).render(reading.answer)
    return {
        "task": reading.task,
        "system": system,
        "inputs": {name: digest(text) for name, text in inputs.items() if text.strip()},
        "wording": reading.wording,
        "answer": digest(said),
        "status": reading.status,
        "stop_reason": reading.stop_reason,
        "warnings": len(reading.warnings),
        "seconds": round(reading.seconds, 3),
    }


class Audit:
    """The log in a folder, gone on with or begun; other processes are kept out. Safe to use from several threads.

    A line that a crash has cut short is dropped, and entries that a loss of power has taken are noted, each by an entry
    of its own. Raises `UserError` if the folder is in use or cannot be written, or if its log does not end where `HEAD`
    says.
    """

    def __init__(self, folder: Path, rotate_bytes: int = ROTATE) -> None:
        self._folder = folder
        self._rotate = rotate_bytes
        self._lock = threading.RLock()
        self._syncing = threading.Lock()
        self._closing = threading.Event()
        self._failed = ""
        with contextlib.ExitStack() as held:
            with told(folder):
                folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                folder.mkdir(mode=0o700, exist_ok=True)
            held.enter_context(exclusive(folder))
            with told(folder):
                new = not folder.with_name(KEY).exists()
                self.key = chain.key(folder, make=True)
                self._end = Head(0, BEGIN)
                self._open(held, new)
            self._held = held.pop_all()
        self._keeper = threading.Thread(target=self._keep_safe, name="audit", daemon=True)
        self._keeper.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def add(self, kind: str, **facts: Any) -> str:
        """Add an entry and return its id, 32 hex digits; the entry is then safe from the end of this process.

        `facts` are JSON values without any text of a report. Raises `UserError` if it cannot be written: what it is
        about must then not be done.
        """
        with self._lock:
            self._demand_open()
            if self._size >= self._rotate:
                self._next_file()
            return self._write(kind, facts)

    def answer(
        self,
        facts: Mapping[str, Any],
        request: str,
        user: str = "",
        model: str = "",
        sha256: str = "",
        settings: str = "",
        row: int | None = None,
    ) -> str:
        """Add the entry of an answer, before it leaves, and return its id.

        `facts` are what `noted` makes of a reading; `request` is that of the request or the job, `row` that of the
        job's table; `user` the name of a key; `model` the name of a model, `sha256` of its file; `settings` a digest
        of how the server is set.
        """
        made = {"model": {"name": model, "sha256": sha256}, "settings": settings}
        return self.add("answer", request=request, row=row, user=user, **facts, **made)

    def entry(self, id: str) -> dict[str, Any] | None:
        """The entry with an id that this log made, empty if it was archived; None if this log made no such id."""
        if not chain.is_signed(self.key, id):
            return None
        with told(self._folder):
            return chain.one(self._folder, id) or {}

    def entries(self, request: str) -> Iterator[dict[str, Any]]:
        """The entries of the answers to a request or a job."""
        with told(self._folder):
            for found in chain.entries(self._folder, request):
                if found["kind"] == "answer" and found["facts"].get("request") == request:
                    yield found

    def review(self, review: str, answer: str, task: str, action: str, user: str = "", corrected: str = "") -> str:
        """Add the entry of a review, given the ids of review and answer, and return its id."""
        facts = {"review": review, "answer": answer, "task": task, "action": action, "user": user}
        return self.add("review", **facts, corrected=self.digest(corrected) if corrected.strip() else "")

    def digest(self, text: str) -> str:
        """HMAC-SHA256 of a text, white space at its ends left out, with the key of this log."""
        return chain.digest(self.key, text)

    def head(self) -> Head:
        """Where the log ends; all of it is then safe from a loss of power. To be noted where others keep it."""
        self.sync()
        with self._lock:
            return self._end

    def sync(self) -> None:
        """Make what was added safe from a loss of power."""
        with self._syncing:
            with self._lock:
                self._demand_open()
                upto = self._end.entries
                if self._end.synced == upto:
                    return
                handle = os.dup(self._file.fileno())
            try:
                os.fsync(handle)
                with self._lock:
                    self._put_head(self._end._replace(synced=max(upto, self._end.synced)))
                    os.fsync(self._head.fileno())
            except OSError as error:
                raise self._broken(error) from error
            finally:
                os.close(handle)

    def close(self) -> None:
        """Make all entries safe and let others have the folder; a second call does nothing."""
        if self._closing.is_set():
            return
        self._closing.set()
        self._keeper.join()
        try:
            if not self._failed:
                self.sync()
        finally:
            self._held.close()

    def _close(self) -> None:
        self._file.close()
        self._head.close()

    def _keep_safe(self) -> None:
        while not self._closing.wait(_SAFE_EVERY):
            with contextlib.suppress(UserError):  # the next entry tells it
                self.sync()

    def _demand_open(self) -> None:
        if self._file.closed:
            raise UserError(f"The audit log {self._folder} is closed; start again.")
        if self._failed:
            raise self._unwritable(self._failed)

    def _broken(self, error: OSError) -> UserError:
        """Take no more entries: what an fsync has failed to write may be gone from memory too, a second one proves
        nothing."""
        self._failed = f"{error.strerror}; start again when the disk is sound"
        return self._unwritable(self._failed)

    def _unwritable(self, why: str | None) -> UserError:
        return UserError(f"Cannot write the audit log {self._folder}: {why}. Nothing is answered without its entry.")

    def _open(self, held: contextlib.ExitStack, new_key: bool) -> None:
        files = chain.files(self._folder)
        head = chain.head(self._folder, None if new_key else self.key)
        if _unbegun(self._folder, files):
            self._head = chain.opened(self._folder / HEAD, append=False)
            self._file, self._size = chain.opened(self._folder / chain.name(1)), 0
            held.callback(self._close)
            self._file.truncate(0)
            self._write("file", {"name": chain.name(1), "after": "", "key": chain.fingerprint(self.key)})
            chain.sync_folder(self._folder)
            return
        if head is None and chain.head(self._folder, None):
            raise UserError(
                f"{HEAD} of the audit log {self._folder} is not sealed with the key {KEY} beside it: put back the key "
                "that belongs to it, or move the log away to begin a new one."
            )
        end = chain.resumed(files, head) if head and files else None
        if head is None or end is None:
            raise UserError(
                f"The audit log {self._folder} does not end where its file {HEAD} says; see radlite audit verify "
                f"{self._folder}, then move it away to begin a new one."
            )
        for path in files[files.index(end.file) + 1 :]:
            path.unlink()
        self._head = chain.opened(self._folder / HEAD, append=False)
        self._file, self._size = chain.opened(end.file), end.size
        held.callback(self._close)
        self._file.truncate(end.size)
        self._end = Head(end.number, end.hash, min(head.synced, end.number))
        if end.dropped:
            self._write("torn", {"bytes": end.dropped})
        if head.entries > end.number:
            self._write("lost", {"from": end.number + 1, "to": head.entries, "hash": head.hash})
        if new_key:
            self._write("key", {"key": chain.fingerprint(self.key)})

    def _next_file(self) -> None:
        """Go on in a new file, whose first entry names the one before it."""
        before, size = self._file, self._size
        last = Path(os.fsdecode(before.name)).name
        name = chain.name(int(last[6:12]) + 1)
        path = self._folder / name
        try:
            os.fsync(before.fileno())
            self._put_head(self._end._replace(synced=self._end.entries))
        except OSError as error:
            raise self._broken(error) from error
        try:
            self._file, self._size = chain.opened(path, new=True), 0
        except OSError as error:
            raise self._unwritable(error.strerror) from error
        try:
            self._write("file", {"name": name, "after": last, "key": chain.fingerprint(self.key)})
        except UserError:
            self._file.close()
            self._file, self._size = before, size
            path.unlink()
            raise
        before.close()
        chain.sync_folder(self._folder)

    def _write(self, kind: str, facts: Mapping[str, Any]) -> str:
        id = chain.signed_id(self.key)
        line, own = chain.line(
            {
                "number": self._end.entries + 1,
                "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds"),
                "kind": kind,
                "id": id,
                "facts": facts,
                "before": self._end.hash,
            }
        )
        try:
            rest = line
            while rest:
                rest = rest[self._file.write(rest) :]
            self._put_head(Head(self._end.entries + 1, own, self._end.synced))
        except OSError as error:
            self._take_back()
            raise self._unwritable(error.strerror) from error
        self._size += len(line)
        return id

    def _put_head(self, head: Head) -> None:
        self._head.seek(0)
        self._head.write(head.line(self.key))
        self._end = head

    def _take_back(self) -> None:
        """Take a line that could not be written whole out again."""
        try:
            self._file.truncate(self._size)
            self._put_head(self._end)
        except OSError as error:
            self._broken(error)


def _unbegun(folder: Path, files: Sequence[Path]) -> bool:
    """Whether there is no log, or one of which not even the first line was written whole."""
    head = folder / HEAD
    if head.exists() and head.stat().st_size:
        return False
    return not files or ([path.name for path in files] == [chain.name(1)] and b"\n" not in files[0].read_bytes())
