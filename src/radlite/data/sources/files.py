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
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any, Final, Self
from xml.parsers import expat

from radlite.data.sources.json_values import TOO_LARGE, Broken, JsonValues, unsound
from radlite.data.sources.source import Tally, printable
from radlite.errors import UserError
from radlite.files import MAX_TEXT_BYTES

_TOO_LARGE_VALUE: Final = f"a value {TOO_LARGE}"
_BATCH: Final = 64
"""Rows of Parquet that are held at once: a file of kilobytes may have a text of megabytes in each."""
_MAX_ROWS: Final = 1 << 20
"""Of a workbook, as in Excel."""
_MAX_COLUMNS: Final = 1000
_MAX_UNPACKED: Final = 256 << 20
"""Bytes of a workbook, unpacked: those of 80,000 reports of 3 KiB."""
_MAX_ELEMENTS: Final = 1 << 21
"""Elements and attributes of a part of a workbook that may be held at once."""


def find(folder: Path, names: Sequence[str], expected: str) -> Path:
    """The first of `names` in `folder` or below it, plain or with `.gz`; `expected` says what it holds.

    A name may have folders (`note/radiology.csv`), which need not be there. Raises `UserError` if there is none, or
    several.
    """
    for name in names:
        for path in (folder / name, folder / f"{name}.gz"):
            if path.is_file():
                return path
    odd = []
    for name in names:
        base = Path(name).name
        there = sorted(path for path in folder.rglob("*") if path.name in (base, f"{base}.gz"))
        found = [path for path in there if path.is_file()]
        if len(found) > 1:
            two = " and ".join(printable(path.relative_to(folder)) for path in found[:2])
            raise UserError(f"{folder} has several files {base}, such as {two}; keep one.")
        if found:
            return found[0]
        odd += there
    if odd:
        kind = "is a folder" if odd[0].is_dir() else "is a pipe or device" if odd[0].exists() else "leads nowhere"
        seen = f"{printable(odd[0].relative_to(folder))} {kind}, and no file"
    else:
        inside = sorted(printable(path.name) for path in folder.iterdir())
        more = f" and {len(inside) - 5} more" if len(inside) > 5 else ""
        seen = f"found {', '.join(inside[:5]) or 'nothing'}{more}"
    raise UserError(f"{folder} has no {printable(' or '.join(names))} (expected {expected}); {seen}.")


def read_csv(
    folder: Path,
    name: str | Sequence[str],
    columns: Sequence[str],
    tally: Tally,
    blank: Sequence[str] = (),
    delimiter: str = ",",
) -> Iterator[tuple[int, dict[str, str]]]:
    """(line number, row) of a CSV file that has at least `columns`; of these only `blank` may be empty."""
    expected = f"CSV with the columns {printable(', '.join(columns))}"
    path = find(folder, _names(name), expected)
    tally.read(path)
    before = csv.field_size_limit(MAX_TEXT_BYTES)
    try:
        with _text(path, expected) as file:
            lines = _CsvLines(file)
            reader = csv.reader(lines, strict=True, delimiter=delimiter)
            header = _header(reader, path, columns, expected)
            yield from _csv_rows(reader, lines, header, set(columns) - set(blank), path, tally)
    finally:
        csv.field_size_limit(before)


def read_json_lines(
    folder: Path, name: str | Sequence[str], keys: Sequence[str], tally: Tally
) -> Iterator[tuple[int, dict[str, Any]]]:
    """(line number, mapping) of a file with one JSON mapping a line, each of which has `keys`.

    A line without the keys is malformed; if the first line is, the file is another one.
    """
    expected = f"one JSON mapping a line with the keys {printable(', '.join(keys))}"
    path = find(folder, _names(name), expected)
    tally.read(path)
    read = False
    with _text(path, expected, newline="\n") as file:
        for number, line in enumerate(_lines(file), start=1):
            if line is not None and not line.strip():
                continue
            tally.rows += 1
            row, why = (None, TOO_LARGE) if line is None else _mapping(line, keys)
            first, read = not read, True
            if row is None and first:
                raise UserError(f"{path} is not {expected}: line {number} is {printable(why)}; get the file itself.")
            if row is None:
                tally.reject(path, number, why)
            else:
                yield number, row


def read_json_entries(
    folder: Path, name: str | Sequence[str], what: str, tally: Tally
) -> Iterator[tuple[int, str, Any]]:
    """(number, key, value) of the entries of one large JSON mapping; `what` says what it maps."""

    def entries(values: JsonValues) -> Iterator[tuple[str, Any, str]]:
        for key in values.parts("{}"):
            yield key, *values.value()

    yield from _json(folder, name, f"a JSON mapping of {what}", tally, entries)


def read_json_items(
    folder: Path, name: str | Sequence[str], key: str, what: str, tally: Tally
) -> Iterator[tuple[int, Any]]:
    """(number, value) of the items of the list under `key` in a JSON mapping."""

    def items(values: JsonValues) -> Iterator[tuple[str, Any, str]]:
        for one in values.parts("{}"):
            if one == key and values.next() == "[":
                for _ in values.parts("[]"):
                    yield "", *values.value()
            else:
                values.value()

    for number, _, value in _json(folder, name, f"a JSON list of {what}", tally, items):
        yield number, value


def read_workbook(
    folder: Path, name: str | Sequence[str], columns: Sequence[str], tally: Tally, blank: Sequence[str] = ()
) -> Iterator[tuple[int, dict[str, str]]]:
    """(row number, row) of the first sheet of an Excel workbook (.xlsx) whose first row names the columns.

    Of these, the first `_MAX_COLUMNS` are seen.
    """
    expected = f"an Excel workbook with the columns {printable(', '.join(columns))}"
    path = find(folder, _names(name), expected)
    tally.read(path)
    openpyxl = _library("openpyxl", "Excel workbooks")
    try:
        _demand_modest(path)
        book = openpyxl.load_workbook(path, read_only=True, data_only=True)
        with contextlib.closing(book):
            yield from _sheet_rows(book.worksheets[0], path, columns, blank, expected, tally)
    except UserError:
        raise
    except Exception as error:  # The library raises of many kinds, some with the content of a cell.
        with path.open("rb") as raw:
            kind = "" if raw.read(2) == b"PK" else _kind_of(path)
        raise UserError(f"{path} is {kind or 'damaged'} (expected {expected}); get it again.") from error


def _demand_modest(path: Path) -> None:
    """Raise `UserError` for a workbook that would take much memory.

    openpyxl holds all shared strings, a row as long as it reads it, and an element for each row that it has read.
    """
    large = UserError(f"{path} is larger or has more rows than a workbook can here; save its table as CSV.")
    with zipfile.ZipFile(path) as packed:
        if sum(part.file_size for part in packed.infolist()) > _MAX_UNPACKED:
            raise large
        for part in packed.infolist():
            with packed.open(part) as file, contextlib.suppress(expat.ExpatError):
                if _most_held(file) > _MAX_ELEMENTS:
                    raise large


def _most_held(file: IO[bytes]) -> int:
    """The most elements and attributes of an XML file that are held at once, if those in a row are let go where it
    ends. No more is read than shows that they are too many, as they also are in a tag that takes megabytes."""
    parents: list[tuple[str, int]] = []
    held = most = size = 0

    def start(tag: str, attributes: dict[str, str]) -> None:
        nonlocal held, most
        parents.append((tag, held + 1))
        held += 1 + len(attributes)
        most = max(most, held)

    def end(_: str) -> None:
        nonlocal held
        tag, itself = parents.pop()
        if len(parents) == 1 or (len(parents) == 2 and tag.endswith("row")):
            held = itself

    parser = expat.ParserCreate()
    parser.StartElementHandler, parser.EndElementHandler = start, end
    while most <= _MAX_ELEMENTS and size - parser.CurrentByteIndex <= MAX_TEXT_BYTES and (piece := file.read(1 << 16)):
        size += len(piece)
        parser.Parse(piece)
    return most if size - parser.CurrentByteIndex <= MAX_TEXT_BYTES else _MAX_ELEMENTS + 1


def _sheet_rows(
    sheet: Any, path: Path, columns: Sequence[str], blank: Sequence[str], expected: str, tally: Tally
) -> Iterator[tuple[int, dict[str, str]]]:
    # The size that a workbook states is not asked for: some writers state too small a one, and rows would be lost.
    first = next(sheet.iter_rows(max_row=1, max_col=_MAX_COLUMNS, values_only=True), ())
    header = ["" if cell is None else str(cell).strip() for cell in first]
    while header and not header[-1]:
        header.pop()
    _demand(header, path, columns, expected)
    filled = set(columns) - set(blank)
    rows = sheet.iter_rows(min_row=2, max_row=_MAX_ROWS, max_col=len(header), values_only=True)
    for number, cells in enumerate(rows, start=2):
        texts = ["" if cell is None else str(cell) for cell in cells]
        if any(texts):
            yield from _checked(number, texts, header, filled, path, tally)


def read_parquet(
    folder: Path, name: str | Sequence[str], columns: Sequence[str], tally: Tally, blank: Sequence[str] = ()
) -> Iterator[tuple[int, dict[str, Any]]]:
    """(row number, the `columns` of the row) of a Parquet file; values have the file's types."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    expected = f"Parquet with the columns {printable(', '.join(columns))}"
    path = find(folder, _names(name), expected)
    tally.read(path)
    try:
        with path.open("rb") as raw, pq.ParquetFile(raw) as file:
            _demand(file.schema_arrow.names, path, columns, expected)
            with path.open("rb") as pages:
                size = _rows_at_once(file, pages, columns)
            number = 0
            for batch in file.iter_batches(size, columns=list(columns)):
                for row in batch.to_pylist():
                    number += 1
                    tally.rows += 1
                    empty = [key for key in columns if key not in blank and row[key] in (None, "")]
                    large = any(
                        isinstance(value, str | bytes) and len(value) > MAX_TEXT_BYTES for value in row.values()
                    )
                    if empty or large:
                        tally.reject(path, number, _TOO_LARGE_VALUE if large else f"no {empty[0]}")
                    else:
                        yield number, row
    except (OSError, pa.ArrowException, ValueError, OverflowError) as error:
        with path.open("rb") as raw:
            kind = "" if raw.read(4) == b"PAR1" else _kind_of(path)
        raise UserError(f"{path} is {kind or 'damaged'} (expected {expected}); get it again.") from error


def _rows_at_once(file: Any, raw: IO[bytes], columns: Sequence[str]) -> int:
    """As many rows as keep a batch small even if each repeats the largest value of a dictionary, if there are any."""
    most = 1.0
    for group in (file.metadata.row_group(number) for number in range(file.num_row_groups)):
        for part in (group.column(at) for at in range(group.num_columns)):
            if part.path_in_schema.split(".")[0] in columns:
                most = max(most, part.total_uncompressed_size / max(group.num_rows, 1), _dictionary_bytes(part, raw))
    return max(1, min(_BATCH, int(16 * MAX_TEXT_BYTES / most)))


def _dictionary_bytes(part: Any, raw: IO[bytes]) -> int:
    """The size of a column's dictionary page unpacked, from its header; 0 if there is none.

    The header is Thrift's compact form of the page's kind and its size, each a zigzag varint after a byte 0x15
    (https://parquet.apache.org/docs/file-format/data-pages/).
    """
    if not part.has_dictionary_page or part.dictionary_page_offset is None:
        return 0
    raw.seek(part.dictionary_page_offset)
    head, size = raw.read(8), 0
    for at, byte in enumerate(head[3:]):
        size |= (byte & 0x7F) << (7 * at)
        if byte < 0x80:
            break
    return size >> 1


def read_members(
    folder: Path,
    archive: str | Sequence[str],
    suffix: str,
    expected: str,
    tally: Tally,
    stem: re.Pattern[str] = re.compile(".*", re.DOTALL),
) -> Iterator[tuple[str, bytes]]:
    """(name, content) of the files named `stem` and `suffix`: members of the archive (.tgz, .tar, .zip) if there is
    one, else the files in or below `folder`, in the order of their names, for which one digest is noted.

    Of these only those that cannot be used, as they are larger than `MAX_TEXT_BYTES` or have a name that cannot be
    printed, are counted as rows, and malformed ones. Without an archive's name, there may be no file.
    """

    def wanted(name: str) -> bool:
        base = name.rpartition("/")[2]
        return base.endswith(suffix) and stem.fullmatch(base.removesuffix(suffix)) is not None

    names = _names(archive)
    if path := next((path for name in names for path in sorted(folder.rglob(Path(name).name)) if path.is_file()), None):
        tally.read(path)
        yield from _members(path, wanted, expected, tally)
        return
    found = sorted(path for path in folder.rglob(f"*{suffix}") if wanted(path.name) and path.is_file())
    if not found:
        if names:
            find(folder, names, expected)
        return
    digest = hashlib.sha256()
    for path in found:
        name = path.relative_to(folder).as_posix()
        try:
            content = _content(name, path.open("rb"), tally)
        except OSError as error:
            raise UserError(f"{path} cannot be read: {error.strerror} (expected {expected}).") from error
        if content is not None:
            digest.update(hashlib.sha256(content).digest() + name.encode())
            yield name, content
    tally.files[f"*{suffix}"] = digest.hexdigest()


def _content(name: str, file: IO[bytes], tally: Tally) -> bytes | None:
    """What a file of an archive or folder holds; None if it is a malformed row."""
    with file:
        content = file.read(MAX_TEXT_BYTES + 1)
    why = TOO_LARGE if len(content) > MAX_TEXT_BYTES else "" if name.isprintable() else "a name that cannot be printed"
    if not why:
        return content
    tally.rows += 1
    tally.reject(Path(name), 1, why)
    return None


def _names(name: str | Sequence[str]) -> Sequence[str]:
    return (name,) if isinstance(name, str) else name


def _library(name: str, what: str) -> Any:
    import importlib

    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise UserError(f"Reading {what} needs {name}; install it with: pip install 'radlite[data]'.") from error


class _TarInfo(tarfile.TarInfo):
    """A header of a tar archive that has no name or attributes of megabytes, which tarfile would hold whole."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        header = super().frombuf(buf, encoding, errors)
        if header.size > MAX_TEXT_BYTES and header.type not in tarfile.REGULAR_TYPES:
            raise tarfile.ReadError("a header of megabytes")
        return header


def _members(path: Path, wanted: Callable[[str], bool], expected: str, tally: Tally) -> Iterator[tuple[str, bytes]]:
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as packed:
                for entry in packed.infolist():
                    content = _content(entry.filename, packed.open(entry), tally) if wanted(entry.filename) else None
                    if content is not None:
                        yield entry.filename, content
            return
        with tarfile.open(path, "r|*", tarinfo=_TarInfo) as tar:
            while member := tar.next():
                tar.members = []  # type: ignore[attr-defined]  # it would keep all that it has seen
                file = tar.extractfile(member) if member.isfile() and wanted(member.name) else None
                content = _content(member.name, file, tally) if file else None
                if content is not None:
                    yield member.name, content
    except Exception as error:  # Compression has many kinds of errors.
        with path.open("rb") as raw:
            is_packed = raw.read(2) in (b"\x1f\x8b", b"PK")
        what = "damaged or cut short" if is_packed else _kind_of(path) or "damaged or cut short"
        raise UserError(f"{path} is {what} (expected {expected}); get it again.") from error


def _json(
    folder: Path,
    name: str | Sequence[str],
    expected: str,
    tally: Tally,
    read: Callable[[JsonValues], Iterator[tuple[str, Any, str]]],
) -> Iterator[tuple[int, str, Any]]:
    path = find(folder, _names(name), expected)
    tally.read(path)
    number = 0
    with _text(path, expected) as file:
        values = JsonValues(file)
        try:
            entries = read(values) if values.next() == "{" else ()
            for number, (key, value, why) in enumerate(entries, start=1):
                tally.rows += 1
                if why:
                    tally.reject(path, number, why)
                else:
                    yield number, key, value
            if number and values.next():
                raise Broken("goes on")
        except Broken as error:
            raise UserError(
                f"{path} is no whole JSON file: it {error} after entry {number} (expected {expected}); get it again."
            ) from error
    if not number:
        raise UserError(f"{path} has no entries (expected {expected}); get the file itself.")


def _mapping(line: str, keys: Iterable[str]) -> tuple[dict[str, Any] | None, str]:
    """A line as a mapping, or why it is none."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return None, unsound(line, None) or "no JSON"
    if why := unsound(line, row):
        return None, why
    if not isinstance(row, dict):
        return None, "no JSON mapping"
    lacking = [key for key in keys if key not in row]
    return (None, f"without {lacking[0]}") if lacking else (row, "")


class _CsvLines:
    """The lines of a CSV file for `csv.reader`, of which those of one row are at most `MAX_TEXT_BYTES` characters."""

    def __init__(self, file: io.TextIOWrapper) -> None:
        self._file = file
        self.number = 0
        """Of the line given last."""
        self.line = ""
        """That line; of one that is too large, a quote if it has an odd number of them."""
        self.room = MAX_TEXT_BYTES
        """What the row may still take; to be set anew before the next one is asked for."""

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        self.line = line = self._file.readline(self.room + 1)
        if not line:
            raise StopIteration
        self.number += 1
        self.room -= len(line)
        if self.room < 0:
            quotes = line.count('"') + sum(piece.count('"') for piece in _rest(self._file, line))
            self.line = '"' * (quotes % 2)
            raise csv.Error(TOO_LARGE)
        return line


def _csv_rows(
    reader: Any, lines: _CsvLines, header: Sequence[str], filled: set[str], path: Path, tally: Tally
) -> Iterator[tuple[int, dict[str, str]]]:
    while True:
        line, lines.room = lines.number + 1, MAX_TEXT_BYTES
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            # Within a record of several lines, a line of its text would pass for the next row.
            if lines.number != line or lines.line.count('"') % 2:
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
    if any(len(cell) > MAX_TEXT_BYTES for cell in cells):
        return _TOO_LARGE_VALUE
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
def _text(path: Path, expected: str, newline: str = "") -> Iterator[io.TextIOWrapper]:
    with _binary(path, expected) as file:
        yield io.TextIOWrapper(file, "utf-8-sig", errors="surrogateescape", newline=newline)


def _lines(file: io.TextIOWrapper) -> Iterator[str | None]:
    """The lines; None for one of more than `MAX_TEXT_BYTES` characters."""
    while line := file.readline(MAX_TEXT_BYTES + 1):
        if len(line) <= MAX_TEXT_BYTES:
            yield line
        else:
            for _ in _rest(file, line):
                pass
            yield None


def _rest(file: io.TextIOWrapper, begun: str) -> Iterator[str]:
    """What follows of a line of which as much was read as was asked for, in pieces."""
    while begun and not begun.endswith("\n"):
        begun = file.readline(1 << 20)
        yield begun
        if len(begun) < 1 << 20:
            return


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
            f"{path} lacks the column {printable(missing[0])} (expected {expected}); "
            f"found {len(header)} columns{shown}."
        )
    if twice := [name for name in columns if header.count(name) > 1]:
        raise UserError(f"{path} has the column {printable(twice[0])} twice (expected {expected}); rename one of them.")
