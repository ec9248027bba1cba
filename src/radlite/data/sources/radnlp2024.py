"""RadNLP 2024 (NTCIR-18): English reports of chest CT in lung cancer before treatment, with N and M by experts.

The files come in one of two forms: `english_train.csv`, `english_val.csv` and `english_test.csv` of the Hugging Face
hub, or the package of the task, `en/main_task/train/label.csv` (id,t,n,m) with a text file for each id beside it, and
the same for `val`, and `test` where its labels are there. The columns of the hub's files were not seen: they are taken
to be id, text, t, n and m, in upper or lower case.

This is the only open set of radiology reports with true N and M. Subdivisions (M1c) are kept where the answers allowed
for the report have them, that is, where its tumor is seen to be of the lung; else the main category (M1) stands.
"""

import csv
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Literal

from radlite.data.sources.files import _text, find, read_csv
from radlite.data.sources.json_values import TOO_LARGE
from radlite.data.sources.source import Source, Tally
from radlite.files import MAX_TEXT_BYTES
from radlite.tasks import Example, named
from radlite.tasks.staging import Stage, stage
from radlite.tasks.tumors import primary, stated

_SPLITS = {"train": "train", "val": "validation", "test": "test"}
_COLUMNS = ("id", "t", "n", "m")
_AXES: dict[str, Literal["N", "M"]] = {"n_staging": "N", "m_staging": "M"}


def rows(folder: Path, tally: Tally) -> Iterator[Example]:
    """N and M of each report."""
    tables = [] if any(folder.rglob("english_*.csv*")) else _tables(folder)
    found = _package(tables, tally) if tables else _hub(folder, tally)
    seen: set[str] = set()
    for path, line, split, row in found:
        if row["id"] in seen:
            tally.reject(path, line, "a repeated id")
            continue
        seen.add(row["id"])
        for task in _AXES:
            yield from _example(task, row, split, path, line, tally)


def _example(task: str, row: Mapping[str, str], split: str, path: Path, line: int, tally: Tally) -> Iterator[Example]:
    axis = _AXES[task]
    value, report = row[axis.lower()].strip(), row["text"].strip()
    if not value:
        tally.dropped[f"{task}: no stage"] += 1
        return
    answer = named(task).read(value)
    if answer is None:
        tally.reject(path, line, f"{axis.lower()} is no stage")
        return
    allowed = _allowed(answer, axis, report)
    written = "stated_stage" if stated(report, axis) else "no_stated_stage"
    yield RADNLP2024.example(
        task=task,
        id=row["id"],
        inputs={"report": report},
        answer=named(task).render(allowed),
        study=f"radnlp2024:{row['id']}",
        split=split,
        tags=(written,) if allowed == answer else (written, "main_category"),
    )


def _allowed(answer: Stage, axis: Literal["N", "M"], report: str) -> Stage:
    """The stage as far as the answers for this report go: without its subdivision where they have none."""
    tumor = primary(report)
    categories = () if tumor is None else tumor.n if axis == "N" else tumor.m
    return answer if answer.category in categories else stage(answer.main)


def _hub(folder: Path, tally: Tally) -> Iterator[tuple[Path, int, str, dict[str, str]]]:
    """(file, line, split, row) of the three files of the hub, their columns in lower case."""
    for name, split in _SPLITS.items():
        path = find(folder, (f"english_{name}.csv",), "CSV with the columns id, text, t, n, m")
        yield from ((path, line, split, row) for line, row in _read(path, (*_COLUMNS, "text"), tally))


def _package(tables: Iterable[Path], tally: Tally) -> Iterator[tuple[Path, int, str, dict[str, str]]]:
    """(file, line, split, row) of the package: what `label.csv` has, with the text of the file of that id."""
    for path in tables:
        name = path.parent.name
        for line, row in _read(path, _COLUMNS, tally):
            place = path.parent / f"{row['id']}.txt"
            named = place.parent == path.parent and place.name.isprintable() and len(place.name) < 100
            text, why = _content(place) if named else ("", "an id that is no name of a file")
            if why:
                tally.reject(path, line, why)
                continue
            tally.read(place, f"{name}/{place.name}")
            yield path, line, _SPLITS[name], {**row, "text": text}
        tally.files[f"{name}/{path.name}"] = tally.files.pop(path.name)


def _tables(folder: Path) -> list[Path]:
    """The tables of labels of the English main task in the package, by split; the Japanese ones are left."""
    found = {
        path.parent.name: path
        for path in sorted(folder.resolve().rglob("label.csv"))
        if path.parts[-3] == "main_task" and path.parts[-4] != "ja" and path.is_file()
    }
    return [found[name] for name in _SPLITS if name in found]


def _read(path: Path, columns: tuple[str, ...], tally: Tally) -> Iterator[tuple[int, dict[str, str]]]:
    """The rows, the columns in lower case; stages may be blank."""
    with _text(path, f"CSV with the columns {', '.join(columns)}") as file:
        header = next(csv.reader([file.readline(4096)]), [])
    spelled = {name.strip().lower(): name.strip() for name in header}
    actual = [spelled.get(name, name) for name in columns]
    blank = [spelled.get(name, name) for name in ("t", "n", "m")]
    for line, row in read_csv(path.parent, path.name, actual, tally, blank=blank):
        yield line, {name: row[key] for name, key in zip(columns, actual, strict=True)}


def _content(path: Path) -> tuple[str, str]:
    """The text of a file, or why there is none."""
    if not path.is_file():
        return "", "no text file of this id"
    try:
        with path.open(encoding="utf-8-sig") as file:
            text = file.read(MAX_TEXT_BYTES + 1)
    except UnicodeDecodeError:
        return "", "a text file that is not UTF-8"
    except OSError:
        return "", "a text file that cannot be read"
    if len(text) > MAX_TEXT_BYTES:
        return "", f"a text file {TOO_LARGE}"
    return text, "" if text.strip() else "an empty text file"


RADNLP2024 = Source(
    name="radnlp2024",
    title="RadNLP 2024: reports of chest CT with N and M stage of lung cancer, by experts",
    licence="CC BY 4.0",
    access="open",
    tier="gold",
    citation="Nakamura et al.: the NTCIR-18 RadNLP 2024 shared task. NTCIR-18, Tokyo, 2025.",
    tasks=tuple(_AXES),
    how_to=(
        "1. Download english_train.csv, english_val.csv and english_test.csv of the data set "
        "RadNLP/RadNLP2024_main_task from huggingface.co (no account is needed).\n"
        "2. Put them into one folder and run: radlite data build --source radnlp2024=FOLDER --out corpus"
    ),
    rows=rows,
    hub=("RadNLP/RadNLP2024_main_task", ("english_*.csv",)),
)
