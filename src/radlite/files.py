"""Files read with clear errors and written whole or not at all."""

import contextlib
import errno
import hashlib
import json
import os
import re
import shutil
import tempfile
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import filelock

from radlite.errors import UserError, shown

MAX_TEXT_BYTES = 4 << 20
"""A report beyond 4 MiB is no report."""

MAX_MODEL_TEXT_BYTES = 64 << 20
"""A model's tokenizer.json has some 10 MiB."""


_BIG = 64 << 20
"""Bytes from which on the digest of a file takes long enough to be remembered."""

_MAX_TOML_BYTES = 1 << 20
_MAX_DOTS = 100
"""In a line: for a dotted key, tomllib takes memory by the square of its parts."""


@contextlib.contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Yield a path beside `path` to write to; it takes the name `path` only if the block ends without an error.

    Raises `UserError` when the place cannot be written (missing rights, full disk), or is there and no file.
    """
    if path.exists() and not path.is_file():
        raise UserError(f"{path} is there and is no file; choose another place.")
    with told(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
        os.close(handle)
    part = Path(name)
    try:
        with told(path):
            yield part
            with part.open("rb+") as file:
                os.fsync(file.fileno())
            part.chmod(0o666 & ~_umask())
            part.replace(path)
    finally:
        part.unlink(missing_ok=True)


@contextlib.contextmanager
def atomic_folder(folder: Path) -> Iterator[Path]:
    """Yield an empty folder beside `folder` to fill; it takes the place of `folder`, if there is one, at the end.

    If the block raises, `folder` is as before. Raises `UserError` when the place cannot be written.
    """
    with told(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        room = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}.", suffix=".part"))
    new, old = room / folder.name, room / "old"
    try:
        with told(folder):
            new.mkdir(mode=0o777 & ~_umask())
            yield new
            if folder.exists():
                folder.rename(old)
            new.rename(folder)
    finally:
        if old.exists() and not folder.exists():
            old.rename(folder)
        shutil.rmtree(room, ignore_errors=True)


@contextlib.contextmanager
def exclusive(folder: Path) -> Iterator[None]:
    """Keep other processes that ask for the same folder, under whatever name, out of it; remove what one that was
    killed had begun to write there.

    Raises `UserError` if one of them has it. A process that dies gives it back.
    """
    folder = folder.resolve()
    # Not of one thread: who gives it back may be another than who took it.
    lock = filelock.FileLock(folder.with_name(f".{folder.name}.lock"), timeout=0, thread_local=False)
    with told(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire()
        except filelock.Timeout as error:
            raise UserError(f"Another radlite is writing to {folder}; wait for it, or choose another place.") from error
    try:
        for part in folder.parent.iterdir():
            if re.fullmatch(rf"\.{re.escape(folder.name)}\.\w{{8}}\.part", part.name):
                shutil.rmtree(part) if part.is_dir() else part.unlink()
        yield
    finally:
        # While it is held: filelock tells a file without a name from the one that others ask for.
        Path(lock.lock_file).unlink(missing_ok=True)
        lock.release()


@contextlib.contextmanager
def told(path: Path) -> Iterator[None]:
    """Errors of the file system as a `UserError` that names `path`."""
    try:
        yield
    except OSError as error:
        # The block may also read: what could not be read is named.
        where = f" ({error.filename})" if error.filename and str(error.filename) != str(path) else ""
        number = error.errno or _guessed(path)
        advice = "Free some space or choose" if number == errno.ENOSPC else "Choose"
        why = error.strerror or (os.strerror(number) if number else type(error).__name__)
        raise UserError(f"Cannot write {path}: {why}{where}. {advice} another place.") from error


def _guessed(path: Path) -> int:
    """ENOSPC if the disk of `path` is full: some libraries do not pass on why they could not write. Else 0."""
    place = next((one for one in path.absolute().parents if one.is_dir()), Path())
    return errno.ENOSPC if shutil.disk_usage(place).free < 1 << 20 else 0


def _umask() -> int:
    umask = os.umask(0)
    os.umask(umask)
    return umask


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON, atomically."""
    with atomic(path) as part:
        # Half of a surrogate pair, as in a file's name that is not UTF-8, becomes its escape in JSON.
        text = json.dumps(value, indent=1, ensure_ascii=False) + "\n"
        part.write_text(text, encoding="utf-8", errors="backslashreplace")


def read_json(path: Path, what: str, keys: Sequence[str] = ()) -> dict[str, Any]:
    """Read a JSON file that holds a mapping with these keys; `what` names it in the error ("router file")."""
    try:
        value = json.loads(read_text(path, what, MAX_MODEL_TEXT_BYTES))
    except (json.JSONDecodeError, RecursionError) as error:
        line = getattr(error, "lineno", 1)
        raise UserError(f"The {what} {path} is not JSON (line {line}); make it again.") from error
    if not isinstance(value, dict):
        raise UserError(f"The {what} {path} is not a JSON mapping; make it again.")
    if lacking := [key for key in keys if key not in value]:
        raise UserError(f"The {what} {path} lacks {lacking[0]!r}; make it again.")
    return value


def read_toml(path: Path, what: str) -> dict[str, Any]:
    """Read a TOML file that someone wrote by hand; `what` names it in the error ("task file")."""
    text = read_text(path, what, _MAX_TOML_BYTES)
    for number, line in enumerate(text.split("\n"), start=1):
        if line.count(".") > _MAX_DOTS and ("=" in line or line.startswith("[")):
            raise UserError(
                f"The {what} {path} has more than {_MAX_DOTS} dots in line {number}; make that line shorter."
            )
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # a number of thousands of digits is a mere ValueError
        why = "it is nested too deep" if isinstance(error, RecursionError) else shown(str(error))
        raise UserError(f"The {what} {path} is not TOML: {why}.") from error


def front_matter(path: Path) -> dict[str, Any]:
    """The YAML mapping at the head of a Markdown file, such as a model card; empty if there is no such thing."""
    import yaml

    try:
        head = re.match(r"---\n(.*?)\n---(?:\n|$)", read_text(path, "Markdown file").replace("\r\n", "\n"), re.DOTALL)
        found = yaml.safe_load(head[1]) if head else None
    except (UserError, yaml.YAMLError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def read_text(path: Path, what: str, limit: int = MAX_TEXT_BYTES) -> str:
    """Read a UTF-8 text file of at most `limit` bytes; `what` names it in the error ("report")."""
    try:
        with path.open("rb") as file:
            # In pieces: Python sets aside as much as is asked for, and a pipe does not say how much it has.
            data = bytearray()
            while len(data) <= limit and (piece := file.read(1 << 20)):
                data += piece
    except OSError as error:
        raise UserError(f"Cannot read the {what} {path}: {error.strerror}.") from error
    return decode(bytes(data), f"{what} {path}", limit)


def decode(data: bytes, what: str, limit: int = MAX_TEXT_BYTES) -> str:
    """The text in `data`, or a `UserError` that says why it is none."""
    if len(data) > limit:
        raise UserError(f"The {what} is larger than {limit >> 20} MiB; give a plain text of less.")
    if b"\0" in data:
        raise UserError(f"The {what} is a binary file; give plain UTF-8 text.")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"The {what} is not UTF-8 (byte {error.start}); convert it, for example with iconv.") from error


def cache_folder() -> Path:
    """Where what was found out once is kept for this user; it may be deleted at any time."""
    base = os.environ.get("XDG_CACHE_HOME") or os.environ.get("LOCALAPPDATA") or str(Path.home() / ".cache")
    return Path(base) / "radlite"


def known_sha256(path: Path) -> str:
    """As `sha256`, but computed once for each big file: it is remembered with its size and times of change."""
    stat, key = path.stat(), str(path.resolve())
    if stat.st_size < _BIG:
        return sha256(path)
    state = [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns]
    place, known = cache_folder() / "digests.json", dict[str, Any]()
    with contextlib.suppress(UserError):
        known = read_json(place, "digests")
    found = known.get(key)
    if isinstance(found, list) and found[:-1] == state:
        return str(found[-1])
    digest = sha256(path)
    with contextlib.suppress(UserError, OSError):  # where it cannot be kept, it is computed again
        write_json(place, {**known, key: [*state, digest]})
    return digest


def sha256(path: Path) -> str:
    """Hex digest of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
