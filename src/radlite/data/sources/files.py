"""The files of sources as they were downloaded, row by row: wrong ones are named, bad rows counted, none held whole.

Every reader gives (row number, content) and takes a `Tally`, in which it notes the digest of the file, the rows it saw
and those it could not read. A missing or wrong file is a `UserError` with the file, what was expected and what was
found. Content is never quoted.
"""

import contextlib
import csv
import gzip
import hashlib
import io
import json
import re
import tarfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any

from radlite.data.sources.source import Tally
from radlite.errors import UserError
from radlite.files import MAX_TEXT_BYTES, sha256


def find(folder: Path, names: Sequence[str], expected: str) -> Path:
    """The first of `names` in `folder` or below it, plain or with `.gz`; `expected` says what it holds.

    A name may have folders (`note/radiology.csv`), which need not be there. Raises `UserError` if there is none, or
    several.
    """
    for name in names:
        for path in (folder / name, folder / f"{name}.gz"):
            if path.is_file():
                return path
    for name in names:
        base = Path(name).name
        found = sorted(path for path in folder.rglob("*") if path.name in (base, f"{base}.gz") and path.is_file())
        if len(found) > 1:
            raise UserError(f"{folder} has several files {base}, such as {found[0]} and {found[1]}; keep one.")
        if found:
            return found[0]
    there = sorted(path.name for path in folder.iterdir())
    shown = ", ".join(there[:5]) + (f" and {len(there) - 5} more" if len(there) > 5 else "")
    raise UserError(f"{folder} has no {' or '.join(names)} (expected {expected}); found {shown or 'nothing'}.")


def read_csv(
    folder: Path,
    name: str | Sequence[str],
    columns: Sequence[str],
    tally: Tally,
    blank: Sequence[str] = (),
    delimiter: str = ",",
) -> Iterator[tuple[int, dict[str, str]]]:
    """(line number, row) of a CSV file that has at least `columns`; of these only `blank` may be empty."""
    expected = f"CSV with the columns {', '.join(columns)}"
    path = find(folder, _names(name), expected)
    tally.files[path.name] = sha256(path)
    before = csv.field_size_limit(MAX_TEXT_BYTES)
    try:
        with _text(path, expected) as file:
            last = [""]
            reader = csv.reader(_remembered(file, last), strict=True, delimiter=delimiter)
            header = _header(reader, path, columns, expected)
            yield from _csv_rows(reader, last, header, set(columns) - set(blank), path, tally)
    finally:
        csv.field_size_limit(before)


def read_json_lines(
    folder: Path, name: str | Sequence[str], keys: Sequence[str], tally: Tally
) -> Iterator[tuple[int, dict[str, Any]]]:
    """(line number, mapping) of a file with one JSON mapping a line, each of which has `keys`.

    A line without the keys is malformed; if the first line is, the file is another one.
    """
    expected = f"one JSON mapping a line with the keys {', '.join(keys)}"
    path = find(folder, _names(name), expected)
    tally.files[path.name] = sha256(path)
    read = False
    with _text(path, expected) as file:
        for number, line in enumerate(_lines(file), start=1):
            if not line.strip():
                continue
            tally.rows += 1
            row, why = _mapping(line, keys)
            first, read = not read, True
            if row is None and first:
                raise UserError(f"{path} is not {expected}: line {number} is {why}; get the file itself.")
            if row is None:
                tally.reject(path, number, why)
            else:
                yield number, row


def read_json_entries(
    folder: Path, name: str | Sequence[str], what: str, tally: Tally
) -> Iterator[tuple[int, str, Any]]:
    """(number, key, value) of the entries of one large JSON mapping; `what` says what it maps."""
    yield from _streamed(folder, _names(name), f"a JSON mapping of {what}", tally, "kvitems", "")


def read_json_items(
    folder: Path, name: str | Sequence[str], place: str, what: str, tally: Tally
) -> Iterator[tuple[int, Any]]:
    """(number, value) of the items of a list in a JSON file: `item` if the file is the list, `data.item` in a key."""
    for number, _, value in _streamed(folder, _names(name), f"a JSON list of {what}", tally, "items", place):
        yield number, value


def read_workbook(
    folder: Path, name: str | Sequence[str], columns: Sequence[str], tally: Tally, blank: Sequence[str] = ()
) -> Iterator[tuple[int, dict[str, str]]]:
    """(row number, row) of the first sheet of an Excel workbook (.xlsx) whose first row names the columns."""
    expected = f"an Excel workbook with the columns {', '.join(columns)}"
    path = find(folder, _names(name), expected)
    tally.files[path.name] = sha256(path)
    openpyxl = _library("openpyxl", "Excel workbooks")
    try:
        book = openpyxl.load_workbook(path, read_only=True, data_only=True)
        with contextlib.closing(book):
            sheet = book.worksheets[0]
            sheet.reset_dimensions()  # Some writers state too small a size, and rows would be lost.
            yield from _sheet_rows(sheet.iter_rows(values_only=True), path, columns, blank, expected, tally)
    except UserError:
        raise
    except Exception as error:  # The library raises of many kinds, some with the content of a cell.
        with path.open("rb") as raw:
            kind = "" if raw.read(2) == b"PK" else _kind_of(path)
        raise UserError(f"{path} is {kind or 'damaged'} (expected {expected}); get it again.") from error


def _sheet_rows(
    rows: Iterator[Any], path: Path, columns: Sequence[str], blank: Sequence[str], expected: str, tally: Tally
) -> Iterator[tuple[int, dict[str, str]]]:
    header = ["" if cell is None else str(cell).strip() for cell in next(rows, ())]
    _demand(header, path, columns, expected)
    filled = set(columns) - set(blank)
    for number, cells in enumerate(rows, start=2):
        texts = ["" if cell is None else str(cell) for cell in cells][: len(header)]
        if any(texts):
            texts += [""] * (len(header) - len(texts))
            yield from _checked(number, texts, header, filled, path, tally)


def read_parquet(
    folder: Path, name: str | Sequence[str], columns: Sequence[str], tally: Tally, blank: Sequence[str] = ()
) -> Iterator[tuple[int, dict[str, Any]]]:
    """(row number, row) of a Parquet file with at least `columns`; values have the file's types."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    expected = f"Parquet with the columns {', '.join(columns)}"
    path = find(folder, _names(name), expected)
    tally.files[path.name] = sha256(path)
    try:
        with pq.ParquetFile(path) as file:
            _demand(file.schema_arrow.names, path, columns, expected)
            number = 0
            for batch in file.iter_batches(1024):
                for row in batch.to_pylist():
                    number += 1
                    tally.rows += 1
                    empty = [key for key in columns if key not in blank and row[key] in (None, "")]
                    if empty:
                        tally.reject(path, number, f"no {empty[0]}")
                    else:
                        yield number, row
    except (OSError, pa.ArrowException, ValueError, OverflowError) as error:
        with path.open("rb") as raw:
            kind = "" if raw.read(4) == b"PAR1" else _kind_of(path)
        raise UserError(f"{path} is {kind or 'damaged'} (expected {expected}); get it again.") from error


def read_members(
    folder: Path, archive: str | Sequence[str], suffix: str, expected: str, tally: Tally
) -> Iterator[tuple[str, bytes]]:
    """(name, content) of the files that end in `suffix`: members of the archive (.tgz, .tar, .zip) if there is one,
    else the files in or below `folder`, in the order of their names, for which one digest is noted. Files are not
    counted as rows."""
    names = _names(archive)
    if path := next((path for name in names for path in sorted(folder.rglob(Path(name).name)) if path.is_file()), None):
        tally.files[path.name] = sha256(path)
        yield from _members(path, suffix, expected)
        return
    found = sorted(path for path in folder.rglob(f"*{suffix}") if path.is_file())
    if not found:
        find(folder, names, expected)
    digest = hashlib.sha256()
    for path in found:
        if path.stat().st_size > MAX_TEXT_BYTES:
            raise UserError(f"{path} is larger than {MAX_TEXT_BYTES >> 20} MiB (expected {expected}).")
        name, content = path.relative_to(folder).as_posix(), path.read_bytes()
        digest.update(hashlib.sha256(content).digest() + name.encode("utf-8", "surrogateescape"))
        yield name, content
    tally.files[f"*{suffix}"] = digest.hexdigest()


def _names(name: str | Sequence[str]) -> Sequence[str]:
    return (name,) if isinstance(name, str) else name


def _library(name: str, what: str) -> Any:
    import importlib

    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise UserError(f"Reading {what} needs {name}; install it with: pip install 'radlite[data]'.") from error


def _members(path: Path, suffix: str, expected: str) -> Iterator[tuple[str, bytes]]:
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as packed:
                for entry in packed.infolist():
                    if entry.filename.endswith(suffix) and not entry.is_dir():
                        yield entry.filename, _small(path, packed.open(entry), expected)
            return
        with tarfile.open(path, "r|*") as tar:
            for member in tar:
                file = tar.extractfile(member) if member.isfile() and member.name.endswith(suffix) else None
                if file:
                    yield member.name, _small(path, file, expected)
    except UserError:
        raise
    except Exception as error:  # Compression has many kinds of errors.
        with path.open("rb") as raw:
            is_packed = raw.read(2) in (b"\x1f\x8b", b"PK")
        what = "damaged or cut short" if is_packed else _kind_of(path) or "damaged or cut short"
        raise UserError(f"{path} is {what} (expected {expected}); get it again.") from error


def _small(path: Path, file: IO[bytes], expected: str) -> bytes:
    with file:
        content = file.read(MAX_TEXT_BYTES + 1)
    if len(content) > MAX_TEXT_BYTES:
        raise UserError(f"{path} has a member larger than {MAX_TEXT_BYTES >> 20} MiB (expected {expected}).")
    return content


def _streamed(
    folder: Path, names: Sequence[str], expected: str, tally: Tally, how: str, place: str
) -> Iterator[tuple[int, str, Any]]:
    path = find(folder, names, expected)
    tally.files[path.name] = sha256(path)
    ijson = _library("ijson", "large JSON files")
    number = 0
    with _binary(path, expected) as file:
        try:
            for entry in getattr(ijson, how)(file, place, use_float=True):
                number += 1
                tally.rows += 1
                key, value = entry if how == "kvitems" else ("", entry)
                yield number, key, value
        except (ijson.JSONError, UnicodeDecodeError) as error:
            raise UserError(
                f"{path} is no whole JSON file: it ends or breaks after entry {number} (expected {expected}); "
                "get it again."
            ) from error
    if not number:
        raise UserError(f"{path} has no entries (expected {expected}); get the file itself.")


def _mapping(line: str, keys: Iterable[str]) -> tuple[dict[str, Any] | None, str]:
    """A line as a mapping, or why it is none."""
    if not line.isascii() and any("\udc80" <= character <= "\udcff" for character in line):
        return None, "not UTF-8"
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return None, "no JSON"
    if not isinstance(row, dict):
        return None, "no JSON mapping"
    if "\\u" in line and re.search("[\ud800-\udfff]", json.dumps(row, ensure_ascii=False)):
        return None, "half of a surrogate pair"
    lacking = [key for key in keys if key not in row]
    return (None, f"without {lacking[0]}") if lacking else (row, "")


def _remembered(file: Iterable[str], last: list[str]) -> Iterator[str]:
    """The lines of a file; `last` holds the one given last."""
    for line in file:
        last[0] = line
        yield line


def _csv_rows(
    reader: Any, last: list[str], header: Sequence[str], filled: set[str], path: Path, tally: Tally
) -> Iterator[tuple[int, dict[str, str]]]:
    while True:
        line = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            # Within a record of several lines, a line of its text would pass for the next row.
            if reader.line_num != line or last[0].count('"') % 2:
                raise UserError(
                    f"Line {line} of {path} begins a row whose quotes do not close, so that the rows after it cannot "
                    "be told from its text; mend the line, or save the table again with quotes in a cell doubled."
                ) from error
            tally.rows += 1
            tally.reject(path, line, f"no valid CSV: {error}")
            continue
        if cells:
            yield from _checked(line, cells, header, filled, path, tally)


def _checked(
    number: int, cells: Sequence[str], header: Sequence[str], filled: set[str], path: Path, tally: Tally
) -> Iterator[tuple[int, dict[str, str]]]:
    tally.rows += 1
    if why := _fault(cells, header, filled):
        tally.reject(path, number, why)
    else:
        yield number, dict(zip(header, cells, strict=True))


def _fault(cells: Sequence[str], header: Sequence[str], filled: set[str]) -> str:
    if len(cells) != len(header):
        return f"{len(cells)} fields instead of {len(header)}"
    if any("\udc80" <= character <= "\udcff" for cell in cells if not cell.isascii() for character in cell):
        return "not UTF-8"
    if "\0" in "".join(cells):
        return "binary content"
    empty = [name for name, cell in zip(header, cells, strict=True) if name in filled and not cell.strip()]
    return f"no {empty[0]}" if empty else ""


@contextlib.contextmanager
def _binary(path: Path, expected: str) -> Iterator[IO[bytes]]:
    """The file unpacked; `UserError` if its beginning shows that it is something else, or if it is cut short."""
    try:
        with path.open("rb") as raw:
            packed = raw.read(2) == b"\x1f\x8b"
            raw.seek(0)
            file: Any = gzip.GzipFile(fileobj=raw) if packed else raw
            if kind := _kind(file.peek(4096)):
                raise UserError(f"{path} is {kind} (expected {expected}); get the file itself.")
            yield file
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise UserError(f"{path} is a damaged or incomplete gzip file (expected {expected}); get it again.") from error
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror} (expected {expected}).") from error


@contextlib.contextmanager
def _text(path: Path, expected: str) -> Iterator[io.TextIOWrapper]:
    with _binary(path, expected) as file:
        yield io.TextIOWrapper(file, "utf-8-sig", errors="surrogateescape", newline="")


def _lines(file: io.TextIOWrapper) -> Iterator[str]:
    """The lines, none longer than a report may be."""
    while line := file.readline(MAX_TEXT_BYTES):
        yield line


def _kind_of(path: Path) -> str:
    with path.open("rb") as file:
        return _kind(file.read(4096))


def _kind(head: bytes) -> str:
    """What a file is that is no text of data, from its first bytes; empty for one that may be."""
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
        raise UserError(f"{path} has no readable header (expected {expected}); get the file again.") from error
    _demand(header, path, columns, expected)
    return header


def _demand(header: Sequence[str], path: Path, columns: Sequence[str], expected: str) -> None:
    if missing := [name for name in columns if name not in header]:
        # The first line of a file without a header may be a report: names are shown only beside one that was expected.
        names = [name for name in header if re.fullmatch(r"[A-Za-z_]\w{0,39}", name)][:20]
        shown = f": {', '.join(names)}" if names and set(columns) & set(header) else ""
        raise UserError(
            f"{path} lacks the column {missing[0]} (expected {expected}); found {len(header)} columns{shown}."
        )
    if twice := [name for name in columns if header.count(name) > 1]:
        raise UserError(f"{path} has the column {twice[0]} twice (expected {expected}); rename one of them.")
