"""Rows on their way from sources to a corpus: checked, measured, and laid down in pieces that outlive a crash."""

import contextlib
import itertools
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final

import numpy as np
from numpy.typing import NDArray

from radlite.data.split import SPLITS, Ties, describe, ties
from radlite.data.texts import BANDS, ROWS, Shingles, key, shingles, signature, text_of, words
from radlite.files import atomic
from radlite.tasks import Example, Task, named

PIECE: Final = 2_000
"""Rows of a piece."""
TEXTS: Final = ("id", "answer", "source", "tier", "patient", "study", "licence")
"""Columns of plain text that every row of a corpus has."""
MORE: Final = ("split", "stratum", "name")
"""Columns of a piece that do not go into the corpus."""


def schema(task: Task, *more: str) -> Any:
    """The Arrow schema of the rows of a task, with the columns `more` of plain text behind."""
    import pyarrow as pa

    def text(name: str, kind: Any = None) -> Any:
        return pa.field(name, kind or pa.string(), nullable=False)

    return pa.schema(
        [
            *map(text, TEXTS),
            text("inputs", pa.struct([text(one) for one in task.inputs])),
            text("tags", pa.list_(text("item"))),
            *map(text, more),
        ]
    )


def lay(examples: Iterable[Example], folder: Path, source: str, workers: int = 1) -> int:
    """Lay the rows of one source down in `folder`, piece by piece; returns the number of pieces.

    Pieces that are there from an earlier call, which has to have been given the same rows, stay as they are. The work
    is shared by `workers` processes; how many does not change the result. Raises `ValueError` for a row that is not of
    its task.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rows = iter(examples)
    count = 0

    def missing() -> Iterator[tuple[Path, tuple[Example, ...]]]:
        nonlocal count
        for piece in iter(lambda: tuple(itertools.islice(rows, PIECE)), ()):
            path = folder / f"{source}-{count:05}.npz"
            count += 1
            if not path.exists():
                yield path, piece

    _shared(missing(), workers)
    return count


def _shared(work: Iterator[tuple[Path, tuple[Example, ...]]], workers: int) -> None:
    """Do the work, with processes from the second piece on: starting them takes longer than a small piece."""
    first = next(work, None)
    if first:
        _lay(*first)
    second = next(work, None) if workers > 1 else None
    if second is None:
        for path, rows in work:
            _lay(path, rows)
        return
    # Spawned: forking a process that has threads, such as a progress bar's, may deadlock.
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), initializer=_begin) as pool:
        running: set[Future[None]] = set()
        try:
            for path, rows in itertools.chain([second], work):
                if len(running) > 2 * workers:  # More would only wait, in memory.
                    done, running = wait(running, return_when=FIRST_COMPLETED)
                    for future in done:
                        future.result()
                with _held_interrupt():
                    running.add(pool.submit(_lay, path, rows))
            for future in running:
                future.result()
        except BaseException:
            # To the end of the pieces in hand: what a process writes later would outlive its folder.
            pool.shutdown(wait=True, cancel_futures=True)
            raise


@contextlib.contextmanager
def _held_interrupt() -> Iterator[None]:
    """Ctrl-C is for this process: those that start in the block never get it, this one gets it after the block."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _begin() -> None:
    """In a process that helps: end with the one it helps, even if that is killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def follow() -> None:
        if parent := multiprocessing.parent_process():
            parent.join()
            os._exit(1)

    threading.Thread(target=follow, daemon=True).start()


def _lay(path: Path, rows: Sequence[Example]) -> None:
    """Write a piece: the rows of each task as Parquet, then, which makes it whole, the measures of their texts."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = sorted(rows, key=lambda row: row.task)
    number: dict[str, int] = {}
    of_row = [number.setdefault(text_of(checked(row)), len(number)) for row in rows]
    for task, part in itertools.groupby(rows, key=lambda row: row.task):
        columns = _columns(list(part))
        with atomic(path.with_suffix(f".{task}.parquet")) as file:
            made = pa.table(columns, schema=schema(named(task), *MORE))
            pq.write_table(made, file, compression="zstd")
    said = [words(text) or [text] for text in number]
    found = [shingles(one) for one in said]
    with atomic(path) as part_file, part_file.open("wb") as file:
        np.savez(
            file,
            text=np.array(of_row, np.int32),
            key=np.frombuffer(b"".join(map(key, said)), np.uint64).reshape(-1, 2),
            signature=np.stack([signature(one) for one in found]),
            shingles=np.concatenate(found),
            lengths=np.array([len(one) for one in found], np.int32),
            tasks=np.array([row.task for row in rows]),
        )


def _columns(rows: Sequence[Example]) -> dict[str, list[Any]]:
    columns: dict[str, list[Any]] = {column: [getattr(row, column) for row in rows] for column in TEXTS}
    columns["inputs"] = [dict(row.inputs) for row in rows]
    columns["tags"] = [list(row.tags) for row in rows]
    described = [describe(row) for row in rows]
    return columns | {column: [one[column] for one in described] for column in MORE}


def checked(row: Example) -> Example:
    """The row; `ValueError` if it is not of its task."""
    task = named(row.task)
    if set(row.inputs) != set(task.inputs) or not all(text.strip() for text in row.inputs.values()):
        raise ValueError(f"{row.source} row {row.id}: {row.task} needs exactly the inputs {', '.join(task.inputs)}")
    if task.read(row.answer) is None:
        raise ValueError(f"{row.source} row {row.id}: the answer is not in the form of {row.task}")
    if row.split not in ("", *SPLITS) or not row.licence:
        raise ValueError(f"{row.source} row {row.id}: a split ({', '.join(SPLITS)}, or none) and a licence are needed")
    return row


@dataclass(frozen=True, slots=True)
class Laid:
    """All pieces of a folder. Rows are numbered through all tables, texts through all pieces."""

    tables: list[tuple[Path, str, int]]
    """File, task and number of the first row of each table."""
    ties: Ties
    task: NDArray[np.int16]
    """Of each row, as an index into `tasks`."""
    tasks: list[str]
    signatures: NDArray[np.uint32]
    """Of each text, as numbered in `ties.text`."""
    shingles: Callable[[int], Shingles]
    """Of a text."""
    source: list[str]
    id: list[str]


def laid(folder: Path, sources: Sequence[tuple[str, int]]) -> Laid:
    """What `lay` has laid down for `sources`, each a name with its number of pieces, in this order."""
    import pyarrow.parquet as pq

    tables: list[tuple[Path, str, int]] = []
    wanted = ("id", "source", "tier", "patient", *MORE)
    columns: dict[str, list[str]] = {column: [] for column in (*wanted, "task")}
    texts: list[NDArray[np.int64]] = []
    number: dict[bytes, int] = {}
    starts = [0]
    with (folder / "shingles.bin").open("wb") as file, (folder / "signatures.bin").open("wb") as other:
        for source, count in sources:
            for piece in (folder / f"{source}-{at:05}.npz" for at in range(count)):
                with np.load(piece) as found:
                    texts.append(_numbered(found, number, starts, file, other)[found["text"]])
                    present = sorted(set(found["tasks"].tolist()))
                for task in present:
                    path = piece.with_suffix(f".{task}.parquet")
                    read = pq.read_table(path, columns=list(wanted)).to_pydict()
                    tables.append((path, task, len(columns["id"])))
                    for column, values in read.items():
                        columns[column] += values
                    columns["task"] += [task] * len(read["id"])
    flat = _mapped(folder / "shingles.bin")
    tasks = sorted(set(columns["task"]))
    return Laid(
        tables,
        ties(columns, np.concatenate(texts) if texts else np.zeros(0, np.int64)),
        np.searchsorted(tasks, columns["task"]).astype(np.int16) if tasks else np.zeros(0, np.int16),
        tasks,
        _mapped(folder / "signatures.bin").reshape(-1, BANDS * ROWS),
        lambda text: flat[starts[text] : starts[text + 1]],
        columns["source"],
        columns["id"],
    )


def _mapped(path: Path) -> NDArray[np.uint32]:
    return np.memmap(path, np.uint32, "r") if path.stat().st_size else np.zeros(0, np.uint32)


def _numbered(
    found: Any, number: dict[bytes, int], starts: list[int], file: BinaryIO, signatures: BinaryIO
) -> NDArray[np.int64]:
    """The numbers of a piece's texts; the measures of those that are new are kept."""
    ends = np.cumsum(found["lengths"], dtype=np.int64)
    measured, digests = found["shingles"], found["key"]
    numbers, new = [], []
    for at, digest in enumerate(digests):
        before = len(number)
        numbers.append(number.setdefault(digest.tobytes(), before))
        if numbers[-1] == before:
            new.append(at)
            part = measured[ends[at] - found["lengths"][at] : ends[at]]
            part.tofile(file)
            starts.append(starts[-1] + len(part))
    found["signature"][new].tofile(signatures)
    return np.array(numbers, np.int64)
