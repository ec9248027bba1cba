"""A corpus read again from its files: does any patient, text or near-duplicate stand in two splits?"""

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from radlite.data import corpus, duplicates, spool
from radlite.data.split import SPLITS


@dataclass(frozen=True, slots=True)
class Offender:
    """A row that should not be where it is."""

    kind: Literal["patient", "text", "near-duplicate"]
    """What it shares with a row of a stronger split (test over validation over train)."""
    task: str
    split: str
    id: str


def check(folder: Path, workers: int = 1) -> list[Offender]:
    """The rows of the corpus `folder` that leak, by kind, task and id; none of a sound corpus.

    Everything is computed anew from the files, whose digests are compared with the manifest's. Raises `UserError` if
    `folder` is no corpus or a file is damaged.
    """
    with tempfile.TemporaryDirectory() as room:
        count = spool.lay(corpus.scan(folder), Path(room), "corpus", workers)
        rows = spool.laid(Path(room), [("corpus", count)])
    split = rows.ties.given
    found = []
    for kind, tie in (("patient", rows.ties.patient), ("text", rows.ties.text)):
        strongest = np.full(tie.max(initial=0) + 1, -1)
        np.maximum.at(strongest, tie[tie >= 0], split[tie >= 0])
        found.append((kind, np.flatnonzero((tie >= 0) & (split < strongest[tie]))))
    texts = np.full(len(rows.signatures), -1, np.int8)
    np.maximum.at(texts, rows.ties.text, split.astype(np.int8))
    near = duplicates.near(rows.signatures, texts, rows.shingles)
    found.append(("near-duplicate", np.flatnonzero(near[rows.ties.text])))
    return [
        Offender(kind, rows.tasks[rows.task[number]], SPLITS[split[number]], rows.id[number])  # type: ignore[arg-type]
        for kind, members in found
        for number in sorted(members.tolist(), key=lambda number: (rows.tasks[rows.task[number]], rows.id[number]))
    ]
