"""Tables of the user's own (CSV, JSON lines, Parquet, Excel), read as `table.toml` beside them says.

docs/own-data.md shows the form of `table.toml`.
"""

import difflib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, ClassVar, Final, Literal

from radlite.data.sources import construct
from radlite.data.sources.files import read_csv, read_json_lines, read_parquet, read_workbook
from radlite.data.sources.source import Source, Tally, Tier, printable
from radlite.errors import UserError
from radlite.files import read_toml
from radlite.sections import sections
from radlite.tasks import TASKS, Example, Task, named
from radlite.tasks.abnormality import CLASSES

_FILE: Final = "table.toml"
_INPUTS: Final = ("report", "premise", "hypothesis", "question")
_SECTIONS: Final = ("indication", "technique", "comparison", "findings")
"""What an impression is drawn from, in the order of a report."""
_FORMATS: Final = (".csv", ".tsv", ".jsonl", ".parquet", ".xlsx")
_SPLITS: Final = {
    "": "", "train": "train", "validation": "validation", "valid": "validation", "val": "validation",
    "dev": "validation", "test": "test",
}  # fmt: skip
_STATES: Final = {"1": "positive", "0": "negative", "-1": "uncertain", "": "not mentioned"}


@dataclass(frozen=True, kw_only=True)
class _Rows:
    """One `[[rows]]` of the mapping: a file, a task, and the columns that hold what the task needs."""

    __pydantic_config__: ClassVar = {"extra": "forbid"}  # for pydantic, which is loaded only when needed

    file: str
    task: str
    report: str = ""
    premise: str = ""
    hypothesis: str = ""
    question: str = ""
    answer: str = ""
    indication: str = ""
    technique: str = ""
    comparison: str = ""
    findings: str = ""
    impression: str = ""
    states: dict[str, str] = field(default_factory=dict)
    """CheXpert class to the column with 1, 0, -1 or nothing."""
    labels: dict[str, str] = field(default_factory=dict)
    """What stands in the answer's column to the answer it means; to nothing: the row is left out."""
    id: str = ""
    patient: str = ""
    study: str = ""
    split: str = ""
    delimiter: str = ""
    encoding: Literal["utf-8"] = "utf-8"
    title: str = ""
    licence: str = ""
    tier: Tier | None = None
    patients: str = ""
    """Name space of patients and studies."""


@dataclass(frozen=True, kw_only=True)
class _Mapping:
    """What stands in `table.toml`: the tables, and what holds for those of them that do not say it themselves."""

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    rows: list[_Rows]
    licence: str = "own data"
    tier: Tier = "gold"
    patients: str = "table"


class _Unused(Exception):
    """A sound row that gives no example; the message is the reason that is counted."""


class _Malformed(Exception):
    """A row that cannot be read; the message says why without quoting it."""


def rows(folder: Path, tally: Tally) -> Iterator[Example]:
    """The examples of each table, in the order of the mapping."""
    path = folder / _FILE
    tables = _load(path)
    tally.read(path)
    seen: set[tuple[str, str]] = set()
    for table in tables:
        _demand_inside(folder, table.file)
        for line, row in _read(folder, table, tally):
            try:
                example = _example(table, line, row)
                if (example.task, example.id) in seen:
                    raise _Malformed("a repeated id")
            except _Unused as reason:
                tally.dropped[f"{table.task}: {reason}"] += 1
            except _Malformed as why:
                tally.reject(folder / table.file, line, str(why))
            else:
                seen.add((example.task, example.id))
                yield example


def _example(table: _Rows, line: int, row: Mapping[str, str]) -> Example:
    """The example of a row. Raises `_Unused` or `_Malformed` where there is none."""
    if table.id and not row[table.id]:
        raise _Malformed(f"no {table.id}")
    split = _SPLITS.get(row.get(table.split, "").lower())
    if split is None:
        raise _Malformed("the split is none of train, validation and test")
    inputs = _inputs(table, row)
    partly = 0 < len(table.states) < len(CLASSES)
    tier = "silver" if partly and table.tier == "gold" else table.tier
    marks = {"proxy": tier == "proxy", "partly_lexicon": partly}
    example = TABLE.example(
        task=table.task,
        id=row[table.id] if table.id else f"{table.title}/{line}",
        inputs=inputs,
        answer=_states(table, row, inputs["report"]) if table.states else _answer(table, row),
        patient=_in_space(table, row.get(table.patient, "")),
        study=_in_space(table, row.get(table.study, "")),
        split=split,
        tags=(f"table:{table.title}", *(mark for mark, holds in marks.items() if holds)),
        tier=tier,
    )
    return replace(example, licence=table.licence)


def _inputs(table: _Rows, row: Mapping[str, str]) -> dict[str, str]:
    if table.findings:
        texts = {name: row[column] for name in _SECTIONS if (column := getattr(table, name))}
        lacking = [] if texts["findings"] else ["findings"]
        inputs = {"report": construct.report({name.upper(): text for name, text in texts.items()})}
    else:
        inputs = {name: row[getattr(table, name)] for name in named(table.task).inputs}
        lacking = [name for name, text in inputs.items() if not text]
    if lacking:
        raise _Unused(f"no {lacking[0]}")
    if table.task == "impression_generation" and any(part.name == "impression" for part in sections(inputs["report"])):
        raise _Unused("an impression in the findings")
    return inputs


def _answer(table: _Rows, row: Mapping[str, str]) -> str:
    """The answer in the task's own form."""
    text = row[table.impression or table.answer]
    text = table.labels.get(text, text)
    if not text:
        raise _Unused("no impression" if table.impression else "no answer")
    if table.task == "impression_generation":
        text = construct.impression(text) or ""
    task = named(table.task)
    answer = task.read(text)
    if answer is None:
        raise _Malformed(f"the answer is not in the form of {table.task}")
    return task.render(answer)


def _states(table: _Rows, row: Mapping[str, str], report: str) -> str:
    """The fourteen states; classes that the table does not have are those of the lexicon of findings."""
    values = {name: row[column].removesuffix(".0") for name, column in table.states.items()}
    if not any(values.values()):
        raise _Unused("no state")
    if odd := [name for name, value in values.items() if value not in _STATES]:
        raise _Malformed(f"{odd[0]} is none of 1, 0, -1 and nothing")
    known = {name: _STATES[value] for name, value in values.items()}
    others = {state for name, state in known.items() if name not in ("No Finding", "Support Devices")}
    if others & {"positive", "uncertain"}:
        known = {"No Finding": "not mentioned", **known}  # whatever the lexicon finds
    return construct.abnormalities(known, "" if len(known) == len(CLASSES) else report)


def _in_space(table: _Rows, value: str) -> str:
    return f"{table.patients}:{value}" if value else ""


def _read(folder: Path, table: _Rows, tally: Tally) -> Iterator[tuple[int, dict[str, str]]]:
    """(line or row number, column to text) of a table; of the columns that the mapping names, all are there."""
    columns = list(dict.fromkeys(_columns(table)))
    blank = [column for column in columns if column != table.id]
    suffix = _suffix(table.file)
    found: Iterable[tuple[int, Mapping[str, Any]]]
    if suffix == ".jsonl":
        found = read_json_lines(folder, table.file, columns, tally)
    elif suffix == ".parquet":
        found = read_parquet(folder, table.file, columns, tally, blank)
    elif suffix == ".xlsx":
        found = read_workbook(folder, table.file, columns, tally, blank)
    else:
        delimiter = table.delimiter or ("\t" if suffix == ".tsv" else ",")
        found = read_csv(folder, table.file, columns, tally, blank, delimiter)
    for line, row in found:
        texts = {column: _text(row[column]) for column in columns}
        odd = next((column for column, text in texts.items() if text is None), None)
        if odd is None:
            yield line, {column: text or "" for column, text in texts.items()}
        else:
            tally.reject(folder / table.file, line, f"{odd} is neither text nor a number")


def _columns(table: _Rows) -> Iterator[str]:
    names = (*_INPUTS, *_SECTIONS, "answer", "impression", "id", "patient", "study", "split")
    yield from filter(None, (getattr(table, name) for name in names))
    yield from table.states.values()


def _text(value: Any) -> str | None:
    """A cell as text: whole numbers without a point, nothing for null and NaN; None for lists and mappings."""
    if value is None or value != value:
        return ""
    if isinstance(value, list | dict | bytes):
        return None
    if isinstance(value, bool) or (isinstance(value, float) and value.is_integer()):
        value = int(value)
    # Excel stores the carriage return of a line break in this spelling.
    return str(value).replace("_x000D_", "").replace("\r\n", "\n").replace("\r", "\n").strip()


def _suffix(file: str) -> str:
    suffix = Path(file.lower().removesuffix(".gz")).suffix
    return ".jsonl" if suffix == ".ndjson" else suffix


def _demand_inside(folder: Path, file: str) -> None:
    """Raise `UserError` unless the file stands where the mapping says, and that is in the folder."""
    found = next((path for path in (folder / file, folder / f"{file}.gz") if path.is_file()), None)
    if found is None:
        raise UserError(f"{folder / file} is not there, though {_FILE} names it; give the file's path in the folder.")
    if not found.resolve().is_relative_to(folder.resolve()):
        raise UserError(f"{file} in {folder / _FILE} is not in that folder; put a copy of the file into it.")


def _load(path: Path) -> list[_Rows]:
    """The tables of a mapping, each with all that holds for it. Raises `UserError` if it cannot be used."""
    import pydantic  # only now: it takes long to load

    if not path.is_file():
        raise UserError(f"{path.parent} has no {_FILE}, which says what the tables hold; see docs/own-data.md.")
    try:
        mapping = pydantic.TypeAdapter(_Mapping).validate_python(read_toml(path, "mapping"))
    except pydantic.ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise UserError(
            f"The mapping {path} cannot be used: {_told(first['loc'], first['type'], first['msg'])}"
        ) from error
    return [_settled(path, number, mapping) for number in range(len(mapping.rows))]


def _told(place: tuple[int | str, ...], kind: str, message: str) -> str:
    """An error of pydantic in one clause; rows are counted from 1, and an unknown key comes with the nearest one."""
    where = printable(".".join(str(part + 1) if isinstance(part, int) else part for part in place))
    if kind != "unexpected_keyword_argument":
        return f"{where}: {message}."
    known = [one.name for one in fields(_Mapping if len(place) == 1 else _Rows)]
    return f"{where} is no key; {_nearest(str(place[-1]), known)}"


def _nearest(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.4)
    return f"did you mean {near[0]}?" if near else f"choose from {', '.join(known)}."


def _settled(path: Path, number: int, mapping: _Mapping) -> _Rows:
    """The table with that number, checked, and with what the mapping says for all."""
    table = mapping.rows[number]
    try:
        task = named(table.task)
        wrong = _wrong_columns(table, task) or _wrong_values(table, task)
    except UserError as error:
        wrong = str(error)
    if wrong:
        raise UserError(f"The mapping {path} cannot be used: rows.{number + 1}: {wrong}")
    return replace(
        table,
        title=table.title or Path(table.file).name.split(".")[0],
        licence=table.licence or mapping.licence,
        tier=table.tier or mapping.tier,
        patients=table.patients or mapping.patients,
    )


def _wrong_columns(table: _Rows, task: Task) -> str:
    """What the columns lack or have too much for the task; empty if they fit."""
    sectioned = bool(table.impression or any(getattr(table, name) for name in _SECTIONS))
    if sectioned and task.name != "impression_generation":
        return f"sections and impression are for impression_generation, not for {task.name}."
    if table.states and task.name != "abnormality_detection":
        return f"states are for abnormality_detection, not for {task.name}."
    needed = {"findings", "impression"} if sectioned else set(task.inputs) if table.states else {*task.inputs, "answer"}
    given = {name for name in (*_INPUTS, "findings", "answer", "impression") if getattr(table, name)}
    if lacking := sorted(needed - given):
        return f'{task.name} needs the column of the {lacking[0]}: {lacking[0]} = "...".'
    if surplus := sorted(given - needed):
        return f"{task.name} has no use for {surplus[0]} beside {' and '.join(sorted(needed))}; take it out."
    return ""


def _wrong_values(table: _Rows, task: Task) -> str:
    """Which other value does not fit; empty if they all do."""
    suffix = _suffix(table.file)
    if not table.file.isprintable() or len(table.file.encode()) > 255:
        return "the file has a name that cannot be printed, or is longer than 255 bytes."
    if suffix not in _FORMATS:
        return f"the file {table.file} ends in none of {', '.join(_FORMATS)}."
    if table.delimiter and (suffix not in (".csv", ".tsv") or len(table.delimiter) != 1):
        return "delimiter is one character, and for CSV only."
    if unknown := [name for name in table.states if name not in CLASSES]:
        return f"states.{printable(unknown[0])} is no class; {_nearest(unknown[0], CLASSES)}"
    if unread := [answer for answer in table.labels.values() if answer and task.read(answer) is None]:
        return f"labels give {unread[0]!r}, which is no answer of {task.name}."
    return ""


TABLE = Source(
    name="table",
    title="Tables of your own: CSV, JSON lines, Parquet or Excel",
    licence="own data",
    access="own",
    tier="gold",
    citation="Data of your own.",
    tasks=tuple(TASKS),
    how_to=(
        "1. Put your tables into one folder.\n"
        "2. Write beside them table.toml, which says for each task which column holds what (docs/own-data.md has an "
        "example). Ids should be pseudonyms.\n"
        "3. Run: radlite data build --source table=FOLDER --out corpus"
    ),
    rows=rows,
)
