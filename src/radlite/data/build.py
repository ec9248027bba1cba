"""From the files of sources to a corpus: read, condense, split, take near-duplicates out, write."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from radlite.data import corpus, duplicates, split
from radlite.data.sources import SOURCES, Source, Tally
from radlite.errors import UserError
from radlite.tasks import Example


def build(
    sources: Mapping[str, Path | None],
    out: Path,
    seed: int = 0,
    max_tokens: int | None = None,
    count: Callable[[str], int] | None = None,
    known: Mapping[str, Source] = SOURCES,
) -> dict[str, Any]:
    """Build the corpus `out` from `sources` (name to folder) and return its manifest.

    Patients and texts are grouped, labels stratified 70/15/15, near-duplicates of a stronger split taken out. With
    `max_tokens`, texts that `count` finds longer are condensed where their source knows a sound way to, and excluded
    with their number given where it does not; without it every text stays whole.

    Raises `UserError` for an unknown source, a missing or wrong file, or if `out` holds something else.
    """
    if max_tokens is not None and (max_tokens < 1 or count is None):
        raise UserError("Condensing needs a limit of at least 1 token and the tokenizer of the base that is trained.")
    if unknown := [name for name in sources if name not in known]:
        raise UserError(f"There is no source {unknown[0]!r}; choose from {', '.join(known)}.")
    corpus.vacant(out)
    tallies = {name: Tally() for name in sources}
    rows: list[Example] = []
    for name, folder in sources.items():
        found = known[name].read(folder, tallies[name])
        if max_tokens is not None and count is not None:
            found = fit(found, known[name], max_tokens, count, tallies[name])
        rows.extend(_progress(found, f"reading {name}"))
    assigned = split.assign(rows, seed=seed)
    kept, near = duplicates.out(assigned)
    stayed = {(row.task, row.id) for row in assigned}
    return corpus.write(
        out,
        kept,
        {
            "seed": seed,
            "max_tokens": max_tokens,
            "sources": {name: _account(known[name], tallies[name]) for name in sources},
            "removed": {
                "leaks between given splits": _by_place([row for row in rows if (row.task, row.id) not in stayed]),
                "near-duplicates of a stronger split": _by_place(near),
            },
            "condensed": _condensed(kept),
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


def _account(source: Source, tally: Tally) -> dict[str, Any]:
    return {
        "title": source.title,
        "licence": source.licence,
        "access": source.access,
        "tier": source.tier,
        "citation": source.citation,
        "files": tally.files,
        "rows": tally.rows,
        "dropped": {reason: number for reason, number in sorted(tally.dropped.items()) if number},
        "malformed": [asdict(row) for row in tally.malformed],
    }


def _by_place(rows: Iterable[Example]) -> dict[str, int]:
    """Number of rows by task, split and source."""
    return dict(sorted(Counter(f"{row.task}/{row.split or 'unsplit'}/{row.source}" for row in rows).items()))


def _condensed(rows: Iterable[Example]) -> dict[str, dict[str, int]]:
    """By task: how many reports are condensed, and how much of them was kept (share of characters, rounded down)."""
    counted: dict[str, Counter[str]] = {}
    for row in rows:
        if "condensed" in row.tags:
            tags = [tag for tag in row.tags if tag == "condensed" or tag.startswith("kept_")]
            counted.setdefault(row.task, Counter()).update(tags)
    return {task: dict(sorted(counts.items())) for task, counts in sorted(counted.items())}


def _progress(examples: Iterable[Example], what: str) -> Iterator[Example]:
    """The examples, with a running count on stderr if that is a terminal."""
    from rich.console import Console
    from rich.progress import MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    columns = (SpinnerColumn(), TextColumn("{task.description}"), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as progress:
        yield from progress.track(examples, description=what)
