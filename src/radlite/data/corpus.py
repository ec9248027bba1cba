"""The corpus on disk: `{task}/{split}.parquet` and `corpus.json`, written whole or not at all."""

import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from radlite import manifest
from radlite.data.split import SPLITS, leaks
from radlite.errors import UserError
from radlite.files import atomic_folder, read_json, sha256, write_json
from radlite.tasks import Example, Task, named

NAME = "corpus.json"
"""The manifest of a corpus; a folder without it is no corpus."""

_TEXTS = ("id", "answer", "source", "tier", "patient", "study", "licence")


def write(folder: Path, examples: Iterable[Example], facts: Mapping[str, Any]) -> dict[str, Any]:
    """Write `examples` as a corpus and return its manifest: counts, hashes, and `facts` on how it was made.

    The folder appears whole, in place of an earlier corpus if there is one. Rows are sorted by id, so that the same
    rows make the same files. Raises `UserError` if `folder` holds anything but a corpus, if there are no rows, or if a
    patient or a text is in two splits; `ValueError` for a row that is not of its task.
    """
    folder = vacant(folder)
    rows = sorted(examples, key=lambda row: (row.task, row.split, row.id))
    _check(rows)
    parts: dict[tuple[str, str], list[Example]] = defaultdict(list)
    for row in rows:
        parts[row.task, row.split].append(row)
    with atomic_folder(folder) as new:
        files = {}
        for (task, split), part in parts.items():
            path = new / task / f"{split}.parquet"
            _write_part(path, named(task), part)
            files[f"{task}/{split}.parquet"] = {"rows": len(part), "sha256": sha256(path)}
        counts: dict[str, dict[str, Any]] = defaultdict(dict)
        for (task, split), part in parts.items():
            counts[task][split] = _count(named(task), part)
        made = manifest.describe(
            "corpus",
            rows=len(rows),
            data=manifest.text_hash(files),
            counts=dict(counts),
            files=files,
            wording={task: named(task).wording for task in sorted({row.task for row in rows})},
            **facts,
        )
        write_json(new / NAME, made)
    return made


def read(folder: Path, task: str | None = None, split: str = "train") -> list[Example]:
    """The rows of one split, of one task or of all that have it, in the order on disk.

    Raises `UserError` if `folder` is no corpus, lacks the task or the split, or if a file is damaged or was changed.
    """
    files = describe(folder)["files"]
    if split not in SPLITS:
        raise UserError(f"There is no split {split!r}; choose from {', '.join(SPLITS)}.")
    wanted = [named(task).name] if task else tasks(folder)
    found = [name for name in wanted if f"{name}/{split}.parquet" in files]
    if not found:
        have = sorted({file.removesuffix(".parquet") for file in files if not task or file.startswith(f"{task}/")})
        whose = f" of {task}" if task else ""
        raise UserError(
            f"The corpus {folder} has no {split} split{whose}: it has {', '.join(have) or 'other tasks only'}; "
            "choose one of these or build it with more sources."
        )
    return [row for name in found for row in _read_part(folder, name, split, files[f"{name}/{split}.parquet"])]


def tasks(folder: Path) -> list[str]:
    """Names of the tasks that the corpus has rows of, sorted."""
    return sorted({file.split("/")[0] for file in describe(folder)["files"]})


def describe(folder: Path) -> dict[str, Any]:
    """The manifest of the corpus: counts by task and split, sources, licences, hashes; `UserError` if it is none."""
    path = folder / NAME
    if not path.is_file():
        raise UserError(f"{folder} is not a corpus: it has no {NAME}; make one with radlite data build.")
    made = read_json(path, "corpus manifest")
    files = made.get("files")
    if (
        made.get("kind") != "corpus"
        or not isinstance(files, dict)
        or not all(isinstance(entry, dict) for entry in files.values())
    ):
        raise UserError(f"{path} does not describe a corpus; make it again with radlite data build.")
    return made


def vacant(folder: Path) -> Path:
    """`folder` as an absolute path, if a corpus may be written there: absent, empty, or an earlier corpus only.

    Raises `UserError` otherwise: what radlite did not make is never replaced.
    """
    folder = folder.absolute()
    if not folder.exists():
        return folder
    if not folder.is_dir():
        raise UserError(f"{folder} is a file; choose a folder for the corpus with --out.")
    inside = {str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir()}
    ours = {NAME, *describe(folder)["files"]} if NAME in inside else set()
    if strange := sorted(inside - ours):
        raise UserError(
            f"{folder} holds {strange[0]}, which is not part of a corpus; choose another folder with --out."
        )
    return folder.resolve()


def _check(rows: Sequence[Example]) -> None:
    if not rows:
        raise UserError("The corpus would be empty; give sources that have rows.")
    seen: set[tuple[str, str]] = set()
    for row in rows:
        task = named(row.task)
        if set(row.inputs) != set(task.inputs) or not all(text.strip() for text in row.inputs.values()):
            raise ValueError(f"{row.source} row {row.id}: {row.task} needs exactly the inputs {', '.join(task.inputs)}")
        if task.read(row.answer) is None:
            raise ValueError(f"{row.source} row {row.id}: the answer is not in the form of {row.task}")
        if row.split not in SPLITS or not row.licence:
            raise ValueError(f"{row.source} row {row.id}: a split ({', '.join(SPLITS)}) and a licence are needed")
        if (row.task, row.id) in seen:
            raise ValueError(f"{row.source} row {row.id}: the id is not unique in {row.task}")
        seen.add((row.task, row.id))
    if found := leaks(rows):
        kinds = Counter(kind for kind, _ in found)
        raise UserError(
            f"The corpus would leak: {kinds['patient']} patients and {kinds['text']} texts are in more than one split; "
            "assign the splits with radlite data build."
        )


def _schema(task: Task) -> Any:
    import pyarrow as pa

    return pa.schema(
        [
            *((name, pa.string()) for name in _TEXTS),
            ("inputs", pa.struct([(name, pa.string()) for name in task.inputs])),
            ("tags", pa.list_(pa.string())),
        ]
    )


def _write_part(path: Path, task: Task, rows: Sequence[Example]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns: dict[str, list[Any]] = {name: [getattr(row, name) for row in rows] for name in _TEXTS}
    columns["inputs"] = [dict(row.inputs) for row in rows]
    columns["tags"] = [list(row.tags) for row in rows]
    path.parent.mkdir(exist_ok=True)
    with path.open("wb") as file:
        pq.write_table(pa.table(columns, schema=_schema(task)), file, compression="zstd")
        file.flush()
        os.fsync(file.fileno())


def _read_part(folder: Path, task: str, split: str, entry: Mapping[str, Any]) -> Iterator[Example]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = folder / task / f"{split}.parquet"
    try:
        changed = sha256(path) != entry.get("sha256")
        table = None if changed else pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise UserError(f"{path} cannot be read ({type(error).__name__}); build the corpus again.") from error
    if table is None:
        raise UserError(f"{path} is damaged or was changed since the corpus was built; build the corpus again.")
    if table.schema != _schema(named(task)):
        raise UserError(f"{path} was written by another version of radlite; build the corpus again.")
    for row in table.to_pylist():
        yield Example(task=task, split=split, **{**row, "tags": tuple(row["tags"])})


def _count(task: Task, rows: Sequence[Example]) -> dict[str, Any]:
    facts: dict[str, Counter[str]] = {
        "sources": Counter(row.source for row in rows),
        "tiers": Counter(row.tier for row in rows),
        "labels": Counter(task.label(task.read(row.answer)) for row in rows) if task.labels else Counter(),
        "tags": Counter(tag for row in rows for tag in row.tags),
    }
    return {
        "rows": len(rows),
        "patients": len({row.patient for row in rows if row.patient}),
        **{name: dict(sorted(counted.items())) for name, counted in facts.items() if counted},
    }
