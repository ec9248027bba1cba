"""The form of the audit log: lines that each hold the hash of the line before, the file `HEAD`, and the key.

docs/records.md describes them.
"""

import contextlib
import hashlib
import hmac
import json
import mmap
import os
import re
import secrets
from collections.abc import Iterator, Mapping, Sequence
from io import FileIO
from pathlib import Path
from typing import Any, Final, NamedTuple

from radlite.errors import UserError
from radlite.files import read_text

HEAD: Final = "HEAD"
"""File beside the log with the number and the hash of its last entry."""
KEY: Final = "audit.key"
"""File beside the folder of the log with the key of its digests, its ids and its end."""
BEGIN: Final = "0" * 64
"""In place of the hash of the entry before the first."""
LONGEST: Final = 1 << 16
"""Bytes of a line."""

_FILE: Final = re.compile(r"audit-(\d{6})\.jsonl")
_SEAL: Final = len(f',"hash":"{BEGIN}"}}\n')
_TRIES: Final = 20
_HEAD_BYTES: Final = 256
"""Always as many, within one sector: what stands there is written over at once or not at all."""


class Head(NamedTuple):
    """Where a log ends."""

    entries: int
    hash: str
    synced: int = 0
    """Entries that are safe from a loss of power."""

    def line(self, key: bytes) -> bytes:
        """What `HEAD` holds of it: sealed, so that who has not the key cannot make another end."""
        text = json.dumps({**self._asdict(), "seal": digest(key, json.dumps(self))})
        return text.encode().ljust(_HEAD_BYTES - 1) + b"\n"


def head(folder: Path, key: bytes | None) -> Head | None:
    """What `HEAD` says; None if it is missing or damaged, or not sealed with the key, where one is given."""
    for _ in range(_TRIES):  # it may be half old and half new while it is written over
        try:
            with (folder / HEAD).open("rb") as file:
                text = file.read(_HEAD_BYTES + 1)
        except FileNotFoundError:
            return None
        if found := _head(text, key):
            return found
    return None


def _head(text: bytes, key: bytes | None) -> Head | None:
    try:
        said = json.loads(text)
        seal = said.pop("seal")
        found = Head(**said)
        sound = isinstance(found.entries, int) and isinstance(found.synced, int) and isinstance(found.hash, str)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None
    if len(text) != _HEAD_BYTES or not sound or (key and seal != digest(key, json.dumps(found))):
        return None
    return found


def line(body: Mapping[str, Any]) -> tuple[bytes, str]:
    """The line of an entry, and its hash: that of the same line without it."""
    text = json.dumps(body, separators=(",", ":"), allow_nan=False).encode()
    own = hashlib.sha256(text).hexdigest()
    whole = text[:-1] + f',"hash":"{own}"}}\n'.encode()
    if len(whole) >= LONGEST:
        raise ValueError(f"the facts of a {body['kind']} are too long for a line of the audit log")
    return whole, own


def entry(line: bytes) -> tuple[dict[str, Any], str] | None:
    """The entry of a line, and its hash; None unless the line is exactly what was written."""
    text, seal = line[:-_SEAL] + b"}", line[-_SEAL:]
    own = hashlib.sha256(text).hexdigest()
    if seal != f',"hash":"{own}"}}\n'.encode():
        return None
    try:
        found = json.loads(text)
        sound = isinstance(found["number"], int) and isinstance(found["facts"], dict) and len(found) == 6
        _ = found["time"] + found["kind"] + found["id"] + found["before"]
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    return (found, own) if sound else None


def entries(folder: Path, word: str) -> Iterator[dict[str, Any]]:
    """The entries whose lines hold a word, in their order."""
    mark = word.encode()
    for path in files(folder):
        with path.open("rb") as file:
            yield from (found[0] for text in file if mark in text and (found := entry(text)))


def one(folder: Path, id: str) -> dict[str, Any] | None:
    """The entry with an id, looked for from the end."""
    mark = f'"id":"{id}"'.encode()
    for path in reversed(files(folder)):
        with path.open("rb") as file:
            if not os.fstat(file.fileno()).st_size:
                continue
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as text:
                if (at := text.rfind(mark)) >= 0:
                    found = entry(text[text.rfind(b"\n", 0, at) + 1 : text.find(b"\n", at) + 1])
                    return found[0] if found else None
    return None


def name(number: int) -> str:
    """Of a file of the log."""
    return f"audit-{number:06}.jsonl"


def name_before(name_: str) -> str:
    """Of the file before another one; empty for that of the first."""
    number = int(name_[6:12]) - 1
    return name(number) if number else ""


def files(folder: Path) -> list[Path]:
    """The files of the log, in order. What is no file of its own, such as a link, is none of them."""
    found = folder.iterdir() if folder.is_dir() else ()
    return sorted(one for one in found if _FILE.fullmatch(one.name) and one.is_file() and not one.is_symlink())


def opened(path: Path, append: bool = True, new: bool = False) -> FileIO:
    """A file for its owner alone, to be written to and read."""
    flags = os.O_RDWR | os.O_CREAT | (os.O_APPEND if append else 0) | (os.O_EXCL if new else 0)
    return FileIO(path, "a" if append else "r+", opener=lambda name, _: os.open(name, flags, 0o600))


def sync_folder(folder: Path) -> None:
    """Make the names of new files safe, where the system can."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def key(folder: Path, make: bool = False) -> bytes:
    """The key beside a log; a new one if there is none and it may be made."""
    path = folder.with_name(KEY)
    if make and not path.exists():
        with opened(path, new=True) as file:
            file.write(secrets.token_hex(32).encode() + b"\n")
            os.fsync(file.fileno())
    return read_key(path)


def read_key(path: Path) -> bytes:
    """The key in a file. Raises `UserError` if there is none, or others may read it."""
    if os.name == "posix" and path.is_file() and path.stat().st_mode & 0o077:
        raise UserError(f"Others may read the key {path}; run chmod 600 on it.")
    text = read_text(path, "key of the audit log", limit=1 << 10).strip()
    if not re.fullmatch(r"[0-9a-f]{64}", text):
        raise UserError(f"{path} is no key of an audit log; put the one that belongs to it there.")
    return bytes.fromhex(text)


def fingerprint(key: bytes) -> str:
    """Tells keys apart, and tells nothing of a key."""
    return hashlib.sha256(key).hexdigest()[:16]


def digest(key: bytes, text: str) -> str:
    """HMAC-SHA256 of a text, white space at its ends left out."""
    return hmac.new(key, text.strip().encode("utf-8", "surrogatepass"), "sha256").hexdigest()


def signed_id(key: bytes) -> str:
    """A new id, 32 hex digits: half of it random, the other half says that it was made with this key."""
    half = secrets.token_hex(8)
    return half + digest(key, f"id {half}")[:16]


def is_signed(key: bytes, id: str) -> bool:
    """Whether an id was made with this key."""
    return hmac.compare_digest(id[16:].encode(), digest(key, f"id {id[:16]}")[:16].encode())


class End(NamedTuple):
    """Where an unbroken log ends."""

    file: Path
    number: int
    hash: str
    size: int
    """Bytes of the file up to there."""
    dropped: int
    """Bytes after it."""


def resumed(files: Sequence[Path], head: Head) -> End | None:
    """Where to go on: after the last entry of the last file, or of the one before it if that has no sound line yet.
    None if safe entries are missing, or `head` is of another log."""
    dropped = 0
    for path in files[:-3:-1]:
        hashes, number, size = dict[int, str](), 0, 0
        with path.open("rb") as file:
            while (found := entry(line := file.readline(LONGEST))) and (
                not number or (found[0]["number"], found[0]["before"]) == (number + 1, hashes[number])
            ):
                body, own = found
                hashes.setdefault(body["number"] - 1, body["before"])
                number = body["number"]
                hashes[number] = own
                size += len(line)
        dropped += path.stat().st_size - size
        if number:
            known = hashes.get(head.entries) == head.hash if number >= head.entries else number >= head.synced
            alone = path == files[-1] or name_before(files[-1].name) == path.name
            return End(path, number, hashes[number], size, dropped) if known and alone else None
    return None
