"""A log of every answer that is only ever added to: each line holds the hash of the line before it, none holds text.

docs/records.md has the form of a line, what `verify` finds, and what it cannot find.
"""

import contextlib
import datetime
import hashlib
import hmac
import json
import os
import re
import secrets
import threading
import uuid
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from io import FileIO
from pathlib import Path
from typing import Any, Final, NamedTuple, Self

from radlite.errors import UserError
from radlite.files import exclusive, read_text, told
from radlite.tasks import Reading

HEAD: Final = "HEAD"
"""File beside the log with the number and the hash of its last entry."""
KEY: Final = "audit.key"
"""File beside the folder of the log with the key of its digests."""
BEGIN: Final = "0" * 64
"""In place of the hash of the entry before the first."""
ROTATE: Final = 16 << 20

_FILE: Final = re.compile(r"audit-(\d{6})\.jsonl")
_SEAL: Final = len(f',"hash":"{BEGIN}"}}\n')
_LONGEST: Final = 1 << 16
"""Bytes of a line."""
_HEAD_BYTES: Final = 192
"""Always as many, within one sector: what stands there is written over at once or not at all."""
_SAFE_EVERY: Final = 1.0
"""Seconds after which an entry is safe from a loss of power; from the end of the process it is at once."""
_LISTED: Final = 20
"""Faults that are listed of a log."""


class Head(NamedTuple):
    """Where a log ends."""

    entries: int
    hash: str
    synced: int = 0
    """Entries that are safe from a loss of power."""


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
                self._key = _key(folder, make=True)
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
        reading: Reading,
        inputs: Mapping[str, str],
        request: str,
        user: str = "",
        model: str = "",
        settings: str = "",
        system: str | None = None,
    ) -> str:
        """Add the entry of an answer, before it leaves, and return its id.

        `user` is the name of a key; `model` the SHA-256 of the model's file; `settings` a digest of how the server is
        set. Texts of inputs and answer go in as keyed digests.
        """
        return self.add(
            "answer",
            request=request,
            user=user,
            task=reading.task,
            system=system,
            inputs={name: self.digest(text) for name, text in inputs.items() if text.strip()},
            wording=reading.wording,
            model={"name": reading.model, "sha256": model},
            settings=settings,
            answer=self.digest(reading.text),
            status=reading.status,
            stop_reason=reading.stop_reason,
            warnings=len(reading.warnings),
            seconds=round(reading.seconds, 3),
        )

    def review(self, review: str, answer: str, task: str, action: str, user: str = "", corrected: str = "") -> str:
        """Add the entry of a review, given the ids of review and answer, and return its id."""
        facts = {"review": review, "answer": answer, "task": task, "action": action, "user": user}
        return self.add("review", **facts, corrected=self.digest(corrected) if corrected.strip() else "")

    def digest(self, text: str) -> str:
        """HMAC-SHA256 of a text, white space at its ends left out, with the key of this log."""
        return _digest(self._key, text)

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
        files, head = _files(self._folder), _head(self._folder)
        if _unbegun(self._folder, files):
            self._head = _opened(self._folder / HEAD, append=False)
            self._file, self._size = _opened(self._folder / _name(1)), 0
            held.callback(self._close)
            self._file.truncate(0)
            self._write("file", {"name": _name(1), "after": "", "key": _fingerprint(self._key)})
            _sync_folder(self._folder)
            return
        end = _resumed(files, head) if head and files else None
        if head is None or end is None:
            raise UserError(
                f"The audit log {self._folder} does not end where its file {HEAD} says; see radlite audit verify "
                f"{self._folder}, then move it away to begin a new one."
            )
        for path in files[files.index(end.file) + 1 :]:
            path.unlink()
        self._head = _opened(self._folder / HEAD, append=False)
        self._file, self._size = _opened(end.file), end.size
        held.callback(self._close)
        self._file.truncate(end.size)
        self._end = Head(end.number, end.hash, min(head.synced, end.number))
        if end.dropped:
            self._write("torn", {"bytes": end.dropped})
        if head.entries > end.number:
            self._write("lost", {"from": end.number + 1, "to": head.entries, "hash": head.hash})
        if new_key:
            self._write("key", {"key": _fingerprint(self._key)})

    def _next_file(self) -> None:
        """Go on in a new file, whose first entry names the one before it."""
        before, size = self._file, self._size
        last = Path(os.fsdecode(before.name)).name
        name = _name(int(last[6:12]) + 1)
        path = self._folder / name
        try:
            os.fsync(before.fileno())
            self._put_head(self._end._replace(synced=self._end.entries))
        except OSError as error:
            raise self._broken(error) from error
        try:
            self._file, self._size = _opened(path, new=True), 0
        except OSError as error:
            raise self._unwritable(error.strerror) from error
        try:
            self._write("file", {"name": name, "after": last, "key": _fingerprint(self._key)})
        except UserError:
            self._file.close()
            self._file, self._size = before, size
            path.unlink()
            raise
        before.close()
        _sync_folder(self._folder)

    def _write(self, kind: str, facts: Mapping[str, Any]) -> str:
        id = uuid.uuid4().hex
        line, own = _line(
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
        self._head.write(_head_line(head))
        self._end = head

    def _take_back(self) -> None:
        """Take a line that could not be written whole out again."""
        try:
            self._file.truncate(self._size)
            self._put_head(self._end)
        except OSError as error:
            self._broken(error)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What `verify` found."""

    entries: int
    files: int
    head: str
    """Hash of the last entry."""
    begun: str
    """Time of the first entry, in UTC."""
    ended: str
    kinds: Mapping[str, int]
    """Kind to number of entries."""
    faults: tuple[str, ...]
    """Edits, gaps and truncations; the first of them, if there are many."""
    notes: tuple[str, ...]
    """What a crash or a loss of power has left."""

    @property
    def sound(self) -> bool:
        """Whether the log is whole."""
        return not self.faults


def verify(folder: Path, heads: Sequence[str] = (), after: str = BEGIN, last: str = "") -> Verdict:
    """Go through the whole log of a folder, also while it is written to.

    `heads` are hashes that were noted elsewhere: each has to be that of an entry. Of an archive, `after` is the hash
    that the first entry follows, where earlier files were taken away, and `last` that of the last one, in place of
    `HEAD`. Raises `UserError` if there is no log or it cannot be read.
    """
    try:
        head = _head(folder)  # before the files, which may grow meanwhile
        files = _files(folder)
        if not files:
            raise UserError(f"{folder} has no audit log; give the folder audit of the server's state.")
        walk = _Walk(after, {*heads}, head, last)
        for path in files:
            walk.file(path, last=path == files[-1])
    except OSError as error:
        raise UserError(f"Cannot read the audit log {folder}: {error.strerror}.") from error
    walk.end()
    return Verdict(
        walk.entries, len(files), walk.hash, walk.begun, walk.ended, dict(walk.kinds), tuple(walk.faults[:_LISTED]),
        tuple(walk.notes),
    )  # fmt: skip


def find(folder: Path, text: str) -> Iterator[dict[str, Any]]:
    """The entries of answers to `text`, found by its digest. Raises `UserError` if there is no log or no key."""
    digest = _digest(_key(folder), text)
    for path in _files(folder):
        with path.open("rb") as file:
            for line in file:
                entry = _entry(line)
                if entry and digest in entry[0]["facts"].get("inputs", {}).values():
                    yield entry[0]


@dataclass
class _Walk:
    """What is known of a log up to some entry."""

    hash: str
    """Of the last entry; empty where that cannot be told."""
    heads: set[str]
    """Hashes that are to come."""
    head: Head | None
    """What `HEAD` says."""
    last: str = ""
    """Hash of the last entry that there has to be; empty: as `HEAD` says."""
    number: int = 0
    """Of the last entry; 0 if it is not known."""
    entries: int = 0
    begun: str = ""
    ended: str = ""
    kinds: Counter[str] = field(default_factory=Counter)
    there: str = ""
    """Hash of the entry with the number that `HEAD` says."""
    faults: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    before: str = ""
    """Name of the file before."""

    def file(self, path: Path, last: bool) -> None:
        """Go through a file; `last`: it is the one that is written to."""
        if self.before and self.before != (due := _name_before(path.name)):
            self.faults.append(f"{due} is missing")
        line = 0
        with path.open("rb") as file:
            while text := file.readline(_LONGEST):
                line += 1
                if last and not text.endswith(b"\n") and len(text) < _LONGEST:
                    self.notes.append(
                        f"{path.name}: the last line is cut short, by a crash or while it is written; the next start "
                        "drops it"
                    )
                    break
                self._line(f"{path.name} line {line}", text, path.name if line == 1 else "")
        if not line:
            (self.notes if last else self.faults).append(f"{path.name} is empty")
        self.before = path.name

    def _line(self, where: str, text: bytes, begins: str) -> None:
        found = _entry(text)
        self.entries += 1
        if not found:
            self.faults.append(f"{where} is edited or damaged")
            self.number, self.hash = self.number + 1 if self.number else 0, ""
            return
        entry, own = found
        if self.hash and entry["before"] != self.hash:
            self.faults.append(f"{where} does not follow what is before it: entries were removed, added or moved")
        elif self.number and entry["number"] != self.number + 1:
            self.faults.append(f"{where} is entry {entry['number']}, where {self.number + 1} is due")
        elif not self.number and self.hash == BEGIN and entry["number"] != 1:
            self.faults.append(f"{where} is entry {entry['number']}, where 1 is due")
        facts = entry["facts"]
        if begins and (entry["kind"], facts.get("name"), facts.get("after")) != ("file", begins, _name_before(begins)):
            self.faults.append(f"{where} does not say that it begins {begins}")
        if entry["kind"] == "torn":
            self.notes.append(f"{where}: {facts.get('bytes')} bytes that a crash had cut short were dropped")
        if entry["kind"] == "lost":
            self.notes.append(
                f"{where}: entries {facts.get('from')} to {facts.get('to')} were lost, as in a loss of power"
            )
        self.number, self.hash = entry["number"], own
        if self.head and self.number == self.head.entries:
            self.there = own
        self.heads.discard(own)
        self.begun, self.ended = self.begun or entry["time"], entry["time"]
        self.kinds[entry["kind"]] += 1

    def end(self) -> None:
        """Hold the end against `HEAD` and against what was noted elsewhere."""
        head = self.head
        if self.last:
            if self.hash != self.last:
                self.faults.append(f"the log ends with the hash {self.hash or 'unknown'}, where {self.last} is due")
        elif head is None:
            self.faults.append(f"{HEAD} is missing or damaged: nothing shows where the log ends")
        elif self.number < head.entries:
            self.faults.append(
                f"the log ends with entry {self.number}, {HEAD} with {head.entries}: entries were removed, or lost "
                "with the power"
            )
        elif self.there != head.hash:
            self.faults.append(f"entry {head.entries} is another one than {HEAD} says")
        elif self.number > head.entries:
            self.notes.append(
                f"{HEAD} is behind the log by {self.number - head.entries}, by a crash or while it is written"
            )
        self.faults += [f"no entry has the hash {one}, which was noted elsewhere" for one in sorted(self.heads)]


class _End(NamedTuple):
    """Where an unbroken log ends."""

    file: Path
    number: int
    hash: str
    size: int
    """Bytes of the file up to there."""
    dropped: int
    """Bytes after it."""


def _resumed(files: Sequence[Path], head: Head) -> _End | None:
    """Where to go on: after the last entry of the last file that has a sound one. None if safe entries are missing, or
    `head` is of another log."""
    dropped = 0
    for path in reversed(files):
        hashes, number, size = dict[int, str](), 0, 0
        with path.open("rb") as file:
            while (found := _entry(line := file.readline(_LONGEST))) and (
                not number or (found[0]["number"], found[0]["before"]) == (number + 1, hashes[number])
            ):
                entry, own = found
                hashes.setdefault(entry["number"] - 1, entry["before"])
                number = entry["number"]
                hashes[number] = own
                size += len(line)
        dropped += path.stat().st_size - size
        if number:
            known = hashes.get(head.entries) == head.hash if number >= head.entries else number >= head.synced
            return _End(path, number, hashes[number], size, dropped) if known else None
    return None


def _line(body: Mapping[str, Any]) -> tuple[bytes, str]:
    """The line of an entry, and its hash: that of the same line without it."""
    text = json.dumps(body, separators=(",", ":"), allow_nan=False).encode()
    own = hashlib.sha256(text).hexdigest()
    line = text[:-1] + f',"hash":"{own}"}}\n'.encode()
    if len(line) >= _LONGEST:
        raise ValueError(f"the facts of a {body['kind']} are too long for a line of the audit log")
    return line, own


def _entry(line: bytes) -> tuple[dict[str, Any], str] | None:
    """The entry of a line, and its hash; None unless the line is exactly what was written."""
    text, seal = line[:-_SEAL] + b"}", line[-_SEAL:]
    own = hashlib.sha256(text).hexdigest()
    if seal != f',"hash":"{own}"}}\n'.encode():
        return None
    try:
        entry = json.loads(text)
        sound = isinstance(entry["number"], int) and isinstance(entry["facts"], dict) and len(entry) == 6
        _ = entry["time"] + entry["kind"] + entry["id"] + entry["before"]
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    return (entry, own) if sound else None


def _head_line(head: Head) -> bytes:
    return json.dumps(head._asdict()).encode().ljust(_HEAD_BYTES - 1) + b"\n"


def _head(folder: Path) -> Head | None:
    """What `HEAD` says; None if it is missing or damaged."""
    try:
        with (folder / HEAD).open("rb") as file:
            text = file.read(_HEAD_BYTES + 1)
        head = Head(**json.loads(text))
    except (FileNotFoundError, ValueError, TypeError, RecursionError):
        return None
    return head if _head_line(head) == text and isinstance(head.entries, int) and isinstance(head.synced, int) else None


def _name(number: int) -> str:
    return f"audit-{number:06}.jsonl"


def _name_before(name: str) -> str:
    number = int(name[6:12]) - 1
    return _name(number) if number else ""


def _files(folder: Path) -> list[Path]:
    """The files of the log, in order."""
    return sorted(path for path in folder.iterdir() if _FILE.fullmatch(path.name)) if folder.is_dir() else []


def _unbegun(folder: Path, files: Sequence[Path]) -> bool:
    """Whether there is no log, or one of which not even the first line was written whole."""
    head = folder / HEAD
    if head.exists() and head.stat().st_size:
        return False
    return not files or ([path.name for path in files] == [_name(1)] and b"\n" not in files[0].read_bytes())


def _opened(path: Path, append: bool = True, new: bool = False) -> FileIO:
    flags = os.O_RDWR | os.O_CREAT | (os.O_APPEND if append else 0) | (os.O_EXCL if new else 0)
    return FileIO(path, "a" if append else "r+", opener=lambda name, _: os.open(name, flags, 0o600))


def _sync_folder(folder: Path) -> None:
    """Make the names of new files safe, where the system can."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _key(folder: Path, make: bool = False) -> bytes:
    """The key beside a log; a new one if there is none and it may be made."""
    path = folder.with_name(KEY)
    if make and not path.exists():
        with _opened(path, new=True) as file:
            file.write(secrets.token_hex(32).encode() + b"\n")
            os.fsync(file.fileno())
    if os.name == "posix" and path.is_file() and path.stat().st_mode & 0o077:
        raise UserError(f"Others may read the key {path}; run chmod 600 on it.")
    text = read_text(path, "key of the audit log", limit=1 << 10).strip()
    if not re.fullmatch(r"[0-9a-f]{64}", text):
        raise UserError(f"{path} is no key of an audit log; put the one that belongs to it there.")
    return bytes.fromhex(text)


def _fingerprint(key: bytes) -> str:
    """Tells keys apart, and tells nothing of a key."""
    return hashlib.sha256(key).hexdigest()[:16]


def _digest(key: bytes, text: str) -> str:
    return hmac.new(key, text.strip().encode("utf-8", "surrogatepass"), "sha256").hexdigest()
