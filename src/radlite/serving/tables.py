"""Tables of any size, row by row and in order: CSV, JSON lines, Parquet, Excel."""

import contextlib
import csv
import itertools
import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from radlite.data.sources import files
from radlite.data.sources.source import Tally, printable
from radlite.errors import UserError
from radlite.files import atomic

FORMATS: Final = (".csv", ".jsonl", ".parquet", ".xlsx")

_ACTIVE: Final = re.compile(r"[=+\-@\t\r'＝＋－＠]")
"""How a cell begins that a spreadsheet would compute, and `'`, so that the guard can be taken off again."""
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")
"""No workbook may hold these."""
_SHEET_ROWS: Final = 1 << 20
_SHEET_CELL: Final = 32_767
_PIECE: Final = 1024
"""Rows of Parquet that are written at once."""


@dataclass(frozen=True, slots=True)
class Row:
    """A data row of a table."""

    number: int
    """1 for the first."""
    values: Mapping[str, Any]
    """Of the columns asked for; nothing in a row that cannot be read."""
    why: str = ""
    """Why it cannot be read, without its text."""


@dataclass
class _Told(Tally):
    """Keeps the reasons of the rows that could not be read until the next one that could be."""

    waiting: list[str] = field(default_factory=list)

    def read(self, path: Path, name: str = "") -> None:
        """Nothing: the digest of the whole table is taken once."""

    def reject(self, file: Path, line: int, why: str) -> None:
        """Remember a row that cannot be read."""
        self.waiting.append(printable(why[:255]))

    def taken(self) -> list[str]:
        waiting, self.waiting = self.waiting, []
        return waiting


def suffix(path: Path) -> str:
    """The format of a table by its name, of which `.gz` is no part. Raises `UserError` for another one."""
    found = Path(path.name.lower().removesuffix(".gz")).suffix
    if found not in FORMATS:
        raise UserError(f"{path} is no table by its name; it has to end in {', '.join(FORMATS)}.")
    return found


def read(path: Path, columns: Sequence[str]) -> Iterator[Row]:
    """The rows of a table, one by one, also those that cannot be read; lines without anything on them are no rows.

    Raises `UserError` if the table is missing, no table, has not all of the columns or one of them twice.
    """
    kind = suffix(path)
    if not path.is_file():
        raise UserError(f"{path} is {'no file' if path.exists() else 'not there'}; name a table.")
    tally, number = _Told(), 0
    place = (path.parent, path.name, columns, tally)
    found: Iterator[tuple[int, dict[str, Any]]]
    if kind == ".jsonl":
        found = files.read_json_lines(*place)
    else:
        readers = {".csv": files.read_csv, ".parquet": files.read_parquet, ".xlsx": files.read_workbook}
        found = readers[kind](*place, columns)
    for _, values in found:
        for why in tally.taken():
            number += 1
            yield Row(number, {}, why)
        number += 1
        yield Row(number, {name: values[name] for name in columns})
    for late, why in enumerate(tally.taken(), start=number + 1):
        yield Row(late, {}, why)


def plain(value: Any) -> str | int | float | None:
    """A cell of any type as a number or text; None if it is empty."""
    if value is None or value == "" or (isinstance(value, float) and not math.isfinite(value)):
        return None
    if isinstance(value, str | int | float):
        return value
    return json.dumps(value, ensure_ascii=False, default=str) if isinstance(value, list | dict) else str(value)


def demand_writable(path: Path) -> None:
    """Raise `UserError` now for a table that could not be written later."""
    if path.name.lower().endswith(".gz"):
        raise UserError(f"{path} would be packed, which is not done here; leave .gz away.")
    if suffix(path) == ".xlsx":
        _openpyxl()


def write(path: Path, columns: Mapping[str, type], records: Iterable[Mapping[str, Any]]) -> None:
    """Write `records` in their order, whole or not at all. What a record lacks is empty.

    `columns` are names to `int`, `float`, `str`, `list` (of texts) or `dict`, which only JSON lines and Parquet have.
    In CSV and Excel, a cell or name that begins with one of `= + - @ '`, also as wide characters, a tab or a carriage
    return gets a `'` in front of it; who takes one away where a cell begins with it has what was there.

    Raises `UserError` if the place cannot be written, or if a workbook cannot hold the table.
    """
    writer = {".csv": _write_csv, ".jsonl": _write_json, ".parquet": _write_parquet, ".xlsx": _write_workbook}
    with atomic(path) as part:
        writer[suffix(path)](part, columns, records)


def _cells(columns: Mapping[str, type], record: Mapping[str, Any]) -> list[Any]:
    return [guarded(_flat(record.get(name))) for name, kind in columns.items() if kind is not dict]


def _names(columns: Mapping[str, type]) -> list[Any]:
    return [guarded(name) for name, kind in columns.items() if kind is not dict]


def _flat(value: Any) -> Any:
    if isinstance(value, list):
        return "; ".join(value)
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict) else value


def guarded(value: Any) -> Any:
    """The value as a spreadsheet takes it for text: with a `'` in front of a text that it might take for a formula."""
    return f"'{value}" if isinstance(value, str) and _ACTIVE.match(value) else value


def _write_csv(part: Path, columns: Mapping[str, type], records: Iterable[Mapping[str, Any]]) -> None:
    with part.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(_names(columns))
        writer.writerows(_cells(columns, record) for record in records)


def _write_json(part: Path, columns: Mapping[str, type], records: Iterable[Mapping[str, Any]]) -> None:
    with part.open("w", newline="\n", encoding="utf-8") as file:
        for record in records:
            file.write(json.dumps({name: record.get(name) for name in columns}, ensure_ascii=False) + "\n")


def _write_parquet(part: Path, columns: Mapping[str, type], records: Iterable[Mapping[str, Any]]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    kinds = {int: pa.int64(), float: pa.float64()}
    schema = pa.schema([(name, kinds.get(kind, pa.string())) for name, kind in columns.items()])
    coming = iter(records)
    with pq.ParquetWriter(part, schema) as writer:
        while piece := list(itertools.islice(coming, _PIECE)):
            values = {
                name: [_typed(_flat(record.get(name)), kind) for record in piece] for name, kind in columns.items()
            }
            writer.write_table(pa.table(values, schema))


def _typed(value: Any, kind: type) -> Any:
    return value if value is None or kind in (int, float) else str(value)


def _write_workbook(part: Path, columns: Mapping[str, type], records: Iterable[Mapping[str, Any]]) -> None:
    book = _openpyxl().Workbook(write_only=True)
    sheet = book.create_sheet("answers")
    with contextlib.closing(sheet):
        sheet.append([_fit(name) for name in _names(columns)])
        for number, record in enumerate(records, start=2):
            if number > _SHEET_ROWS:
                raise _too_much(f"more than {_SHEET_ROWS:,} rows")
            sheet.append([_fit(cell) for cell in _cells(columns, record)])
    book.save(part)


def _openpyxl() -> Any:
    try:
        import openpyxl
    except ModuleNotFoundError as error:
        raise UserError(
            "Writing Excel workbooks needs openpyxl; install it with: pip install 'radlite[data]'."
        ) from error
    return openpyxl


def _fit(cell: Any) -> Any:
    if not isinstance(cell, str):
        return cell
    if len(cell) > _SHEET_CELL:
        raise _too_much(f"a cell of more than {_SHEET_CELL:,} characters")
    return _CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), cell)


def _too_much(what: str) -> UserError:
    return UserError(
        f"A workbook cannot hold {what}; give the journal a name that ends in .csv.journal, and run the same with that "
        "name without .journal as OUT."
    )
