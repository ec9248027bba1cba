"""From the files of sources to a corpus: read, condense, split, take near-duplicates out, write."""

import contextlib
import json
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import radlite
from radlite.data import corpus, duplicates, spool
from radlite.data.sources import SOURCES, Source, Tally
from radlite.data.sources.source import MAX_MALFORMED
from radlite.data.split import OUT, SPLITS, share_out
from radlite.errors import UserError, shown
from radlite.files import exclusive, read_json, told, write_json
from radlite.tasks import Example


def build(
    sources: Mapping[str, Path | None],
    out: Path,
    seed: int = 0,
    max_tokens: int | None = None,
    count: Callable[[str], int] | None = None,
    known: Mapping[str, Source] = SOURCES,
    hold_out: Sequence[str] = (),
    most_malformed: float = MAX_MALFORMED,
    workers: int | None = None,
) -> dict[str, Any]:
    """Build the corpus `out` from `sources` (name to folder) and return its manifest.

    Patients and texts are grouped, labels stratified 70/15/15, near-duplicates of a stronger split taken out. With
    `max_tokens`, texts that `count` finds longer are condensed where their source knows a sound way to, and excluded
    with their number given where it does not; without it every text stays whole. Rows with a tag of `hold_out` (such as
    `profile:3`) become test rows. The same inputs and seed make the same files, however many `workers` (processes;
    default: one a core) share the work.

    Memory grows with the number of rows by some hundred bytes a row, not with their text. What is read is laid down
    beside `out` until the end: a build that was interrupted goes on where it stopped if it is called again with the
    same arguments and unchanged files.

    Raises `UserError` for an unknown source, a missing or wrong file, or if `out` holds something else.
    """
    if max_tokens is not None and (max_tokens < 1 or count is None):
        raise UserError("Condensing needs a limit of at least 1 token and the tokenizer of the base that is trained.")
    if unknown := [name for name in sources if name not in known]:
        raise UserError(f"There is no source {unknown[0]!r}; choose from {', '.join(known)}.")
    out = corpus.vacant(out)
    if around := [name for name, folder in sources.items() if folder and out.is_relative_to(folder.resolve())]:
        raise UserError(f"{out} lies in the folder of the source {around[0]}; choose a place outside it with --out.")
    room = out.with_name(f".{out.name}.building")
    with exclusive(out), _told_if_killed(), _kept_if_interrupted(room):
        measure = count(_PROBE) if count else None
        plan = _plan(sources, known, seed, max_tokens, measure, hold_out, most_malformed)
        _make_room(room, plan)
        accounts = {}
        for name in sorted(sources):
            limit = (max_tokens, count) if max_tokens is not None and count is not None else None
            accounts[name] = _lay(
                known[name], sources[name], room, limit, hold_out, most_malformed, workers or _cores()
            )
        if absent := [tag for tag in hold_out if not any(tag in account["held"] for account in accounts.values())]:
            raise UserError(f"No row has the tag {absent[0]!r} that is to be held out; check its spelling.")
        _demand_some(accounts)
        with told(room):
            rows = spool.laid(room, [(name, account["pieces"]) for name, account in accounts.items()])
        split, removed = _split(rows, seed)
        return corpus.write_laid(
            out,
            rows,
            split,
            {
                "seed": seed,
                "max_tokens": max_tokens,
                "hold_out": list(hold_out),
                "near_duplicates": f"Jaccard similarity of five-word shingles of {duplicates.THRESHOLD} or more",
                "sources": {name: _account(known[name], account) for name, account in accounts.items()},
                "removed": removed,
                "kept": _by_place(rows, np.flatnonzero(split != OUT), split),
                "condensed": _sum(account["condensed"] for account in accounts.values()),
            },
        )


def fit(
    examples: Iterable[Example], source: Source, max_tokens: int, count: Callable[[str], int], tally: Tally
) -> Iterator[Example]:
    """The examples with texts of at most `max_tokens`; those that were condensed are tagged with how much was kept."""
    done: dict[str, str] = {}  # the last report: the rows of its tasks follow one another
    for example in examples:
        if sum(map(count, example.inputs.values())) <= max_tokens:
            yield example
            continue
        report = example.inputs.get("report")
        if source.condense is None or report is None or len(example.inputs) > 1:
            tally.dropped[f"{example.task}: longer than {max_tokens} tokens"] += 1
            continue
        if report not in done:
            done = {report: source.condense(report, max_tokens, count)}
        if short := done[report]:
            share = f"kept_{10 * (10 * len(short) // len(report))}%"
            yield replace(example, inputs={"report": short}, tags=(*example.tags, "condensed", share))
        else:
            tally.dropped[f"{example.task}: no sentence fits {max_tokens} tokens"] += 1


_PROBE = " ".join(f"{n}.{n} cm pN{n % 4} adenocarcinoma of node {n}, perihepatic effusion" for n in range(99))
"""Tokenizers are told apart by how many tokens they make of this."""


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextlib.contextmanager
def _told_if_killed() -> Iterator[None]:
    try:
        yield
    except BrokenProcessPool as error:
        raise UserError(
            "A process that the build had started was killed, perhaps for want of memory; give the same command again "
            "with fewer --workers: it goes on where it stopped."
        ) from error


@contextlib.contextmanager
def _kept_if_interrupted(room: Path) -> Iterator[None]:
    """Remove `room` at the end and after an error that a second try would meet again."""
    try:
        yield
    except (BrokenProcessPool, OSError):
        raise
    except Exception:
        shutil.rmtree(room, ignore_errors=True)
        raise
    shutil.rmtree(room, ignore_errors=True)


def _plan(sources: Mapping[str, Path | None], known: Mapping[str, Source], *settings: Any) -> dict[str, Any]:
    """All that what is laid down depends on: settings, and what the files of the sources look like from outside."""
    files = {}
    for name, folder in sorted(sources.items()):
        paths = sorted(folder.rglob("*")) if folder and folder.is_dir() else []
        stats = [(shown(str(path)), path.stat()) for path in paths if path.is_file()]
        files[name] = [[path, stat.st_size, stat.st_mtime_ns] for path, stat in stats]
    tasks = {name: list(known[name].tasks) for name in sorted(sources)}
    plan = {"radlite": radlite.__version__, "files": files, "tasks": tasks, "settings": list(settings)}
    normal: dict[str, Any] = json.loads(json.dumps(plan))
    return normal


def _make_room(room: Path, plan: dict[str, Any]) -> None:
    """An empty room, or that of an interrupted build with the same plan."""
    path = room / "plan.json"
    if not (path.is_file() and read_json(path, "plan of a build") == plan):
        with told(room):
            shutil.rmtree(room, ignore_errors=True)
            room.mkdir(parents=True)
        write_json(path, plan)


def _lay(
    source: Source,
    folder: Path | None,
    room: Path,
    limit: tuple[int, Callable[[str], int]] | None,
    hold_out: Sequence[str],
    most_malformed: float,
    workers: int,
) -> dict[str, Any]:
    """Lay the rows of a source down and return what became of them; at once if that was done before."""
    path = room / f"{source.name}.json"
    if path.is_file():
        return read_json(path, "account of a source")
    tally, made, held, condensed = Tally(), Counter[str](), Counter[str](), dict[str, Counter[str]]()

    def rows() -> Iterator[Example]:
        found = source.read(folder, tally, most_malformed)
        for row in fit(found, source, *limit, tally) if limit else found:
            made[row.task] += 1
            if "condensed" in row.tags:
                marks = (tag for tag in row.tags if tag == "condensed" or tag.startswith("kept_"))
                condensed.setdefault(row.task, Counter()).update(marks)
            tags = [tag for tag in row.tags if tag in hold_out]
            held.update(tags)
            yield replace(row, split="test") if tags else row

    pieces = spool.lay(_progress(rows(), f"reading {source.name}"), room, source.name, workers)
    account = {
        "files": tally.files,
        "rows": tally.rows,
        "dropped": dict(tally.dropped),
        "rejected": tally.rejected,
        "malformed": [asdict(row) for row in tally.malformed],
        "examples": dict(sorted(made.items())),
        "held": held,
        "condensed": condensed,
        "pieces": pieces,
    }
    write_json(path, account)
    return read_json(path, "account of a source")


def _demand_some(accounts: Mapping[str, Mapping[str, Any]]) -> None:
    if any(account["pieces"] for account in accounts.values()):
        return
    told = [
        f"{name} has {account['rows']:,} rows, of which {account['rejected']:,} are malformed"
        + "".join(f" (in {one['file']} line {one['line']}: {one['why']})" for one in account["malformed"][:1])
        + "".join(f", {number:,} left out ({reason})" for reason, number in sorted(account["dropped"].items()))
        for name, account in accounts.items()
    ]
    raise UserError(f"The corpus would be empty: {'; '.join(told)}. Give sources that have usable rows.")


def _split(rows: spool.Laid, seed: int) -> tuple[NDArray[np.int8], dict[str, dict[str, int]]]:
    """The split of each row, and what was removed, by reason and place."""
    split = share_out(rows.ties, seed=seed)
    leaked = np.flatnonzero(split == OUT)
    texts = np.full(len(rows.signatures), OUT, np.int8)
    texts[rows.ties.text[split != OUT]] = split[split != OUT]
    near = duplicates.near(rows.signatures, texts, rows.shingles)[rows.ties.text] & (split != OUT)
    removed = {
        "leaks between given splits": _by_place(rows, leaked, rows.ties.given),
        "near-duplicates of a stronger split": _by_place(rows, np.flatnonzero(near), split),
    }
    split[near] = OUT
    return split, removed


def _by_place(rows: spool.Laid, members: NDArray[np.int64], split: NDArray[Any]) -> dict[str, int]:
    """Number of rows by task, split and source."""
    names = (*SPLITS, "unsplit")  # -1 is the last
    places = Counter(
        f"{rows.tasks[rows.task[number]]}/{names[split[number]]}/{rows.source[number]}" for number in members.tolist()
    )
    return dict(sorted(places.items()))


def _account(source: Source, account: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "title": source.title,
        "licence": source.licence,
        "access": source.access,
        "tier": source.tier,
        "citation": source.citation,
        "files": account["files"],
        "rows": account["rows"],
        "dropped": {reason: number for reason, number in sorted(account["dropped"].items()) if number},
        "rejected": account["rejected"],
        "malformed": account["malformed"],
        "examples": account["examples"],
    }


def _sum(counts: Iterable[Mapping[str, Mapping[str, int]]]) -> dict[str, dict[str, int]]:
    """By task: how many reports are condensed, and how much of them was kept (share of characters, rounded down)."""
    total: dict[str, Counter[str]] = {}
    for one in counts:
        for task, counted in one.items():
            total.setdefault(task, Counter()).update(counted)
    return {task: dict(sorted(counted.items())) for task, counted in sorted(total.items())}


def _progress(examples: Iterable[Example], what: str) -> Iterator[Example]:
    """The examples, with a running count on stderr if that is a terminal."""
    from rich.console import Console
    from rich.progress import MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    columns = (SpinnerColumn(), TextColumn("{task.description}"), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as progress:
        yield from progress.track(examples, description=what)
