"""What a source is, and how its files are read: row by row, wrong files named, bad rows counted."""

import csv
import gzip
import io
import re
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from radlite.errors import UserError
from radlite.files import MAX_TEXT_BYTES, sha256
from radlite.tasks import Example

MAX_MALFORMED = 0.01
"""Share of malformed rows above which a file is taken to be the wrong one."""


@dataclass(frozen=True, slots=True)
class Malformed:
    """A row that could not be read: where and why, never its text."""

    file: str
    line: int
    why: str


@dataclass
class Tally:
    """What became of the rows of one source."""

    files: dict[str, str] = field(default_factory=dict)
    """SHA-256 of each file read, by name."""
    rows: int = 0
    malformed: list[Malformed] = field(default_factory=list)
    dropped: Counter[str] = field(default_factory=Counter)
    """Sound rows that are not used, by reason."""

    def reject(self, file: Path, line: int, why: str) -> None:
        """Count a malformed row."""
        self.malformed.append(Malformed(file.name, line, why))


@dataclass(frozen=True)
class Source:
    """A data set that RadLite can learn from: what it is, under which terms, and how its files become examples."""

    name: str
    title: str
    licence: str
    access: Literal["open", "registration", "credentialed", "generated"]
    tier: Literal["gold", "silver", "synthetic"]
    citation: str
    tasks: tuple[str, ...]
    how_to: str
    """Where its users get the files, and which."""
    rows: Callable[[Path, Tally], Iterator[Example]]
    """(folder, tally) to examples; patients are named so that equal names mean one person in all sources."""
    condense: Callable[[str, int, Callable[[str], int]], str] | None = None
    """(report, budget, counter) to a selection of its sentences that keeps the answers true; None: there is none."""
    needs_folder: bool = True

    def read(self, folder: Path | None, tally: Tally) -> Iterator[Example]:
        """The examples of the files in `folder`, one by one; `tally` counts the rest.

        Raises `UserError` if a file is missing or wrong, or if more than 1 % of the rows are malformed.
        """
        if self.needs_folder and (folder is None or not folder.is_dir()):
            raise UserError(f"{self.name} needs a folder with its files, but got {folder}. {self.how_to}")
        yield from self.rows(folder or Path(), tally)
        if len(tally.malformed) > MAX_MALFORMED * tally.rows:
            first = tally.malformed[0]
            raise UserError(
                f"{len(tally.malformed)} of {tally.rows} rows of {self.name} are malformed, the first in {first.file} "
                f"line {first.line} ({first.why}); more than {MAX_MALFORMED:.0%} means the wrong or a damaged file: "
                "get the files again."
            )


def read_csv(
    folder: Path, name: str, columns: Sequence[str], tally: Tally, blank: Sequence[str] = ()
) -> Iterator[tuple[int, dict[str, str]]]:
    """(line number, row) of a CSV file, plain or with `.gz`, that has at least `columns`; only `blank` may be empty.

    Malformed rows are counted in `tally` and left out. Raises `UserError`, with the file, what is expected and what was
    found, if there is no such file or it is something else: a web page, a Git LFS pointer, binary, cut short, or
    without a column.
    """
    path = _find(folder, name, columns)
    expected = f"expected CSV with the columns {', '.join(columns)}"
    tally.files[path.name] = sha256(path)
    before = csv.field_size_limit(MAX_TEXT_BYTES)
    try:
        with _text(path, expected) as file:
            reader = csv.reader(file, strict=True)
            header = _header(reader, path, columns, expected)
            yield from _rows(reader, header, set(columns) - set(blank), path, tally)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise UserError(f"{path} is a damaged or incomplete gzip file ({expected}); get it again.") from error
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror} ({expected}).") from error
    finally:
        csv.field_size_limit(before)


def _rows(
    reader: Any, header: Sequence[str], filled: set[str], path: Path, tally: Tally
) -> Iterator[tuple[int, dict[str, str]]]:
    while True:
        line = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            tally.rows += 1
            tally.reject(path, line, f"no valid CSV: {error}")
            continue
        if not cells:
            continue
        tally.rows += 1
        if why := _fault(cells, header, filled):
            tally.reject(path, line, why)
        else:
            yield line, dict(zip(header, cells, strict=True))


def _fault(cells: Sequence[str], header: Sequence[str], filled: set[str]) -> str:
    if len(cells) != len(header):
        return f"{len(cells)} fields instead of {len(header)}"
    if any("\udc80" <= character <= "\udcff" for cell in cells if not cell.isascii() for character in cell):
        return "not UTF-8"
    if "\0" in "".join(cells):
        return "binary content"
    empty = [name for name, cell in zip(header, cells, strict=True) if name in filled and not cell.strip()]
    return f"no {empty[0]}" if empty else ""


def _find(folder: Path, name: str, columns: Sequence[str]) -> Path:
    for path in (folder / name, folder / f"{name}.gz"):
        if path.is_file():
            return path
    there = sorted(path.name for path in folder.iterdir())
    found = ", ".join(there[:5]) + (f" and {len(there) - 5} more" if len(there) > 5 else "")
    raise UserError(
        f"{folder} has no {name} (expected CSV with the columns {', '.join(columns)}); found {found or 'nothing'}."
    )


def _text(path: Path, expected: str) -> io.TextIOWrapper:
    """The file as text, unpacked if need be; `UserError` if its beginning shows that it is something else."""
    with path.open("rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
    binary: gzip.GzipFile | io.BufferedReader = gzip.GzipFile(path) if packed else path.open("rb")
    text = io.TextIOWrapper(binary, "utf-8-sig", errors="surrogateescape", newline="")
    try:
        kind = _kind(binary.peek(4096))
    except BaseException:
        text.close()
        raise
    if kind:
        text.close()
        raise UserError(f"{path} is {kind} ({expected}); get the file itself.")
    return text


def _kind(head: bytes) -> str:
    """What a file is that is no table, from its first bytes; empty for one that may be."""
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip()[:200].lower()
    if not start:
        return "empty"
    if start.startswith((b"<!doctype", b"<html", b"<?xml", b"<head")):
        return "a web page, perhaps of a log-in or an error"
    if start.startswith(b"version https://git-lfs"):
        return "a Git LFS pointer and not the data; run git lfs pull"
    if start.startswith(b"pk\x03\x04"):
        return "a zip archive or an Excel workbook"
    return "a binary file, or text in UTF-16" if b"\0" in head else ""


def _header(reader: Any, path: Path, columns: Sequence[str], expected: str) -> list[str]:
    try:
        header = [name.strip() for name in next(reader)]
    except (csv.Error, StopIteration) as error:
        raise UserError(f"{path} has no readable header ({expected}); get the file again.") from error
    if missing := [name for name in columns if name not in header]:
        # The first line of a file without a header may be a report: only what looks like a column's name is shown.
        names = [name for name in header if re.fullmatch(r"[A-Za-z_]\w{0,39}", name)][:20]
        raise UserError(
            f"{path} lacks the column {missing[0]} ({expected}); "
            f"found {len(header)} columns{': ' if names else ''}{', '.join(names)}."
        )
    return header
