"""The synthesiser as a source: data for all nine tasks that nobody has to ask for."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from radlite.data import sample
from radlite.data.sources.source import Source, Tally
from radlite.tasks import TASKS, Example

ROWS = {"train": 1000, "validation": 100, "test": 200}
"""Rows of each task and split unless others are asked for."""


def source(counts: Mapping[str, int] = ROWS) -> Source:
    """The source with `counts[split]` rows of each task; its splits are given, as test text has wordings of its own."""

    def rows(folder: Path, tally: Tally) -> Iterator[Example]:
        for task in TASKS:
            for split, count in counts.items():
                for row in sample.examples(task, split, count):
                    tally.rows += 1
                    yield row

    return Source(
        name="sample",
        title="Synthetic reports written by rule, with the wordings of the test split kept out of training",
        licence="Apache-2.0",
        access="generated",
        tier="synthetic",
        citation="RadLite, radlite.data.sample",
        tasks=tuple(TASKS),
        how_to="Nothing to get: it is generated, the same each time.",
        rows=rows,
        needs_folder=False,
    )
