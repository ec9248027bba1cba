"""The corpus on disk: `{task}/{split}.parquet` and `corpus.json`, written whole or not at all."""

import contextlib
import re
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from radlite import manifest
from radlite.data import spool
from radlite.data.split import OUT, SPLITS
from radlite.errors import UserError, shown
from radlite.files import atomic_folder, read_json, sha256, write_json
from radlite.tasks import Example, Task, named

NAME = "corpus.json"
"""The manifest of a corpus; a folder without it is no corpus."""

ENCODED = ".encoded"
"""Folder inside a corpus where training keeps the ids of its rows; it goes when the corpus is built again."""

_FILE = re.compile(rf"\w+/(?:{'|'.join(SPLITS)})\.parquet")

_SLICE = 50_000
"""Rows that are sorted at once; they make a row group."""


def write(folder: Path, examples: Iterable[Example], facts: Mapping[str, Any]) -> dict[str, Any]:
    """Write `examples`, which have their splits, as a corpus and return its manifest: counts, hashes, and `facts`.

    Raises `UserError` as `write_laid` does, `ValueError` for a row that is not of its task or has no split.
    """
    folder = vacant(folder)
    with tempfile.TemporaryDirectory() as room:
        count = spool.lay(examples, Path(room), "rows")
        rows = spool.laid(Path(room), [("rows", count)])
        if (rows.ties.given < 0).any():
            raise ValueError("a row has no split")
        return write_laid(folder, rows, rows.ties.given.astype(np.int8), facts)


def write_laid(folder: Path, rows: spool.Laid, split: NDArray[np.int8], facts: Mapping[str, Any]) -> dict[str, Any]:
    """Write the rows, each into its `split` (index into `SPLITS`, or `OUT`), as a corpus and return its manifest.

    The folder appears whole, in place of an earlier corpus if there is one. Rows are sorted by id, so that the same
    rows make the same files. Raises `UserError` if `folder` holds anything but a corpus, if there are no rows, if an id
    occurs twice in a task, or if a patient or a text is in two splits.
    """
    folder = vacant(folder)
    _check(rows, split)
    with atomic_folder(folder) as new, tempfile.TemporaryDirectory(dir=new.parent) as room:
        parts = _parts(rows, split)
        slices = _scattered(rows, parts, Path(room))
        files, counts = {}, defaultdict[str, dict[str, Any]](dict)
        for (task, at), members in parts.items():
            path = new / task / f"{SPLITS[at]}.parquet"
            counts[task][SPLITS[at]] = _write_part(path, named(task), slices[task, at])
            known = rows.ties.patient[members]
            counts[task][SPLITS[at]]["patients"] = len(np.unique(known[known >= 0]))
            files[f"{task}/{SPLITS[at]}.parquet"] = {"rows": len(members), "sha256": sha256(path)}
        made = manifest.describe(
            "corpus",
            rows=int((split != OUT).sum()),
            data=manifest.text_hash(files),
            counts=dict(counts),
            files=files,
            wording={task: named(task).wording for task in sorted(counts)},
            **facts,
        )
        write_json(new / NAME, made)
    return made


def read(folder: Path, task: str | None = None, split: str = "train") -> list[Example]:
    """The rows of one split, of one task or of all that have it, in the order on disk.

    Raises `UserError` if `folder` is no corpus, lacks the task or the split, or if a file is damaged or was changed.
    """
    return list(scan(folder, task, split))


def scan(folder: Path, task: str | None = None, split: str | None = None) -> Iterator[Example]:
    """As `read`, but row by row, so that memory does not grow; of all splits if none is named."""
    files = describe(folder)["files"]
    if split not in (None, *SPLITS):
        raise UserError(f"There is no split {split!r}; choose from {', '.join(SPLITS)}.")
    wanted = [named(task).name] if task else tasks(folder)
    found = [
        (name, one) for name in wanted for one in sorted(SPLITS) if f"{name}/{one}.parquet" in files
        if split in (None, one)
    ]  # fmt: skip
    if not found:
        have = sorted({file.removesuffix(".parquet") for file in files if not task or file.startswith(f"{task}/")})
        whose = f" of {task}" if task else ""
        raise UserError(
            f"The corpus {folder} has no {split} split{whose}: it has {', '.join(have) or 'other tasks only'}; "
            "choose one of these or build it with more sources."
        )
    for name, one in found:
        yield from _read_part(folder, name, one, files[f"{name}/{one}.parquet"])


def has(folder: Path, task: str, split: str) -> bool:
    """Whether the corpus has rows of this task in this split."""
    return f"{task}/{split}.parquet" in describe(folder)["files"]


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
    if not (
        made.get("kind") == "corpus"
        and isinstance(files, dict)
        and files
        and all(_FILE.fullmatch(name) and isinstance(entry, dict) for name, entry in files.items())
        and isinstance(made.get("rows"), int)
        and all(_mappings(made.get(part, {})) for part in ("counts", "sources", "removed"))
        and all(isinstance(source.get("dropped", {}), dict) for source in made.get("sources", {}).values())
    ):
        raise UserError(f"{path} does not describe a corpus; make it again with radlite data build.")
    return made


def _mappings(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(entry, dict) for entry in value.values())


def vacant(folder: Path) -> Path:
    """`folder` as an absolute path, if a corpus may be written there: absent, empty, or an earlier corpus only.

    Raises `UserError` otherwise: what radlite did not make is never replaced.
    """
    folder = folder.resolve()
    if shown(str(folder)) != str(folder):
        raise UserError(f"{folder} has characters that cannot be shown; choose a folder of another name with --out.")
    if not folder.exists():
        return folder
    if not folder.is_dir():
        raise UserError(f"{folder} is there and is no folder; choose another place with --out.")
    if folder.is_mount():
        raise UserError(f"{folder} is where a disk is mounted; choose a folder in it with --out.")
    inside = {str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir()}
    try:
        made = {one for one in inside if one.startswith(f"{ENCODED}/")}
        ours = {NAME, *describe(folder)["files"], *made} if NAME in inside else set()
    except UserError as error:
        raise UserError(
            f"{folder} holds a {NAME} that describes no corpus; choose another folder with --out, or remove this one."
        ) from error
    if strange := sorted(inside - ours):
        raise UserError(
            f"{folder} holds {strange[0]}, which is not part of a corpus; choose another folder with --out."
        )
    return folder


def _check(rows: spool.Laid, split: NDArray[np.int8]) -> None:
    kept = split != OUT
    if not kept.any():
        raise UserError(
            f"The corpus would be empty: {len(split):,} rows came from its sources, and none is left after the split "
            "(leaks between given splits, near-duplicates); give more sources."
        )
    leaking = []
    for tie in (rows.ties.text, rows.ties.patient):
        known = kept & (tie >= 0)
        sides = np.unique(np.stack([tie[known], split[known]]), axis=1)[0]
        leaking.append(len(sides) - len(np.unique(sides)))
    if any(leaking):
        raise UserError(
            f"The corpus would leak: {leaking[1]} patients and {leaking[0]} texts are in more than one split; "
            "assign the splits with radlite data build."
        )


def _parts(rows: spool.Laid, split: NDArray[np.int8]) -> dict[tuple[str, int], list[int]]:
    """(task, split) to its rows by their ids, tasks and splits in the order of their names."""
    parts: dict[tuple[str, int], list[int]] = {}
    for number, task in enumerate(rows.tasks):
        for at in sorted(range(len(SPLITS)), key=SPLITS.__getitem__):
            members = np.flatnonzero((rows.task == number) & (split == at)).tolist()
            if members:
                parts[task, at] = sorted(members, key=rows.id.__getitem__)
        _demand_different(task, rows, np.flatnonzero((rows.task == number) & (split != OUT)).tolist())
    return parts


def _demand_different(task: str, rows: spool.Laid, members: Sequence[int]) -> None:
    first: dict[str, int] = {}
    for number in members:
        other = first.setdefault(rows.id[number], number)
        if other != number:
            sources = " and ".join(sorted({rows.source[number], rows.source[other]}))
            raise UserError(
                f"The id {shown(rows.id[number])} is given to two rows of {task} (in {sources}); give every row an id "
                "of its own."
            )


def _scattered(
    rows: spool.Laid, parts: Mapping[tuple[str, int], Sequence[int]], room: Path
) -> dict[tuple[str, int], list[Path]]:
    """Files with the rows of each part, cut into slices by id, each row with its place in the part."""
    import pyarrow as pa

    place = np.full(len(rows.id), -1, np.int64)
    slot = np.full(len(rows.id), -1, np.int64)
    files: list[Path] = []
    slices: dict[tuple[str, int], list[Path]] = {}
    for part, members in parts.items():
        place[members] = np.arange(len(members))
        slot[members] = len(files) + np.arange(len(members)) // _SLICE
        slices[part] = [room / f"{len(files) + at}.arrow" for at in range(1 + (len(members) - 1) // _SLICE)]
        files += slices[part]
    writers: dict[int, Any] = {}
    with contextlib.ExitStack() as stack:
        for path, task, start in rows.tables:
            table = _table(path, named(task))
            own = slice(start, start + table.num_rows)
            table = table.append_column("place", pa.array(place[own]))
            for at in np.unique(slot[own][slot[own] >= 0]).tolist():
                if at not in writers:
                    file = stack.enter_context(pa.OSFile(str(files[at]), "wb"))
                    writers[at] = stack.enter_context(pa.ipc.new_stream(file, table.schema))
                writers[at].write_table(table.filter(pa.array(slot[own] == at)))
    return slices


def _table(path: Path, task: Task) -> Any:
    import pyarrow.parquet as pq

    return pq.read_table(path, columns=spool.schema(task).names, schema=spool.schema(task, *spool.MORE))


def _write_part(path: Path, task: Task, slices: Sequence[Path]) -> dict[str, Any]:
    """Write one file of the corpus; returns what is counted in it."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    path.parent.mkdir(exist_ok=True)
    facts: dict[str, Counter[str]] = {name: Counter() for name in ("sources", "tiers", "labels", "tags")}
    count = 0
    with pq.ParquetWriter(path, spool.schema(task), compression="zstd") as writer:
        for part in slices:
            with pa.OSFile(str(part), "rb") as file, pa.ipc.open_stream(file) as reader:
                table = reader.read_all().sort_by("place").drop_columns(["place"])
            writer.write_table(table.combine_chunks())
            part.unlink()
            count += table.num_rows
            facts["sources"].update(_counted(table["source"]))
            facts["tiers"].update(_counted(table["tier"]))
            facts["tags"].update(_counted(table["tags"].combine_chunks().flatten()))
            for answer, number in _counted(table["answer"]).items() if task.labels else ():
                facts["labels"][task.label(task.read(answer))] += number
    return {"rows": count, **{name: dict(sorted(counted.items())) for name, counted in facts.items() if counted}}


def _counted(column: Any) -> dict[str, int]:
    return {entry["values"]: entry["counts"] for entry in column.value_counts().to_pylist()}


def _read_part(folder: Path, task: str, split: str, entry: Mapping[str, Any]) -> Iterator[Example]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = folder / task / f"{split}.parquet"
    try:
        if sha256(path) != entry.get("sha256"):
            raise UserError(
                f"{path} is damaged or was changed since the corpus was built; build the corpus again, or wait if that "
                "is being done."
            )
        with pq.ParquetFile(path) as file:
            if file.schema_arrow != spool.schema(named(task)):
                raise UserError(f"{path} was written by another version of radlite; build the corpus again.")
            for batch in file.iter_batches(1024):
                for row in batch.to_pylist():
                    yield spool.checked(Example(task=task, split=split, **{**row, "tags": tuple(row["tags"])}))
    except (OSError, pa.ArrowException) as error:
        raise UserError(f"{path} cannot be read ({type(error).__name__}); build the corpus again.") from error
    except ValueError as error:
        raise UserError(f"{path} was not made by radlite data build ({error}); build the corpus again.") from error
