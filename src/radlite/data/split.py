"""Which rows are trained on, chosen by and tested on: no patient and no text on two sides."""

import functools
import hashlib
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace

from radlite.tasks import Example, named

SPLITS = ("train", "validation", "test")

Key = tuple[str, str]
"""What ties rows together: `("patient", id)` or `("text", hash)`."""


def assign(
    examples: Iterable[Example], fractions: tuple[float, float, float] = (0.70, 0.15, 0.15), seed: int = 0
) -> list[Example]:
    """The examples with a split each, in the order given; those that would leak are left out.

    Rows that share a patient or a text stay together, across tasks, and so do rows linked through others. A row that
    comes with a split keeps it, and unsplit rows tied to it follow it. Where given splits disagree, test wins over
    validation and validation over train: the row on the weaker side is left out, so that an official test set stays
    whole. The other rows are shared out by `fractions` (train, validation, test), each (task, label) as evenly as the
    groups permit (iterative stratification: Sechidis et al., ECML PKDD 2011). The order of rows does not matter.
    """
    rows = list(examples)
    chosen = [row.split for row in rows]
    claimed: dict[Key, str] = {}
    for split in SPLITS:
        claimed.update((key, split) for row in rows if row.split == split for key in keys(row))
    free: list[list[int]] = []
    for group in _groups(rows, [number for number, row in enumerate(rows) if not row.split]):
        bound = [claimed[key] for number in group for key in keys(rows[number]) if key in claimed]
        if not bound:
            free.append(group)
        for number in group if bound else ():
            chosen[number] = max(bound, key=SPLITS.index)
    for group, split in zip(free, _stratify(rows, free, fractions, seed), strict=True):
        for number in group:
            chosen[number] = split
    return _settle([replace(row, split=split) for row, split in zip(rows, chosen, strict=True)])


def leaks(examples: Iterable[Example]) -> list[Key]:
    """The patients and texts that occur in more than one split, sorted; empty for a sound corpus."""
    first: dict[Key, str] = {}
    return sorted({key for row in examples for key in keys(row) if first.setdefault(key, row.split) != row.split})


def keys(example: Example) -> list[Key]:
    """What ties this row to others: its patient, if known, and the text it is about (report or premise)."""
    tied = [("text", text_key(text_of(example)))]
    return [*tied, ("patient", example.patient)] if example.patient else tied


def text_of(example: Example) -> str:
    """The text a row is about: the first input of its task. Questions and hypotheses recur, and tie nothing."""
    return example.inputs[named(example.task).inputs[0]]


@functools.lru_cache(1 << 16)
def text_key(text: str) -> str:
    """Digest of the words of `text`: equal whatever the case, the spacing and the punctuation."""
    return hashlib.blake2b(" ".join(words(text) or [text]).encode(), digest_size=16).hexdigest()


def words(text: str) -> list[str]:
    """Words and numbers in Unicode's folded form."""
    return re.findall(r"\w+", unicodedata.normalize("NFKC", text).casefold())


def _groups(rows: Sequence[Example], members: Sequence[int]) -> list[list[int]]:
    """`members` parted into groups linked by common keys (union-find with path halving)."""
    parent: dict[int, int] = {number: number for number in members}

    def root(number: int) -> int:
        while parent[number] != number:
            parent[number] = number = parent[parent[number]]
        return number

    holder: dict[Key, int] = {}
    for number in members:
        for key in keys(rows[number]):
            parent[root(number)] = root(holder.setdefault(key, number))
    groups: dict[int, list[int]] = defaultdict(list)
    for number in members:
        groups[root(number)].append(number)
    return list(groups.values())


def _stratify(
    rows: Sequence[Example], groups: Sequence[list[int]], fractions: tuple[float, float, float], seed: int
) -> list[str]:
    """A split for each group: the rarest stratum first, its largest groups first, each to the split that lacks most.

    Lack is relative to what the split should have, so that every split draws from the whole order: large groups, such
    as patients with rows in several tasks, do not all fall to training.
    """
    strata = [Counter(_stratum(rows[number]) for number in group) for group in groups]
    total: Counter[str] = sum(strata, Counter())
    has: list[Counter[str]] = [Counter() for _ in SPLITS]
    draw = [_draw(seed, min((rows[n].source, rows[n].task, rows[n].id) for n in group)) for group in groups]
    holding: dict[str, list[int]] = defaultdict(list)
    for number in sorted(range(len(groups)), key=lambda number: (-len(groups[number]), draw[number])):
        for name in strata[number]:
            holding[name].append(number)
    chosen: dict[int, int] = {}
    for name in sorted(total, key=lambda name: (total[name], name)):
        for number in holding[name]:
            if number not in chosen:
                split = min(
                    (split for split in range(3) if fractions[split] > 0),
                    key=lambda split: (has[split][name] / fractions[split], has[split].total() / fractions[split]),
                )
                chosen[number] = split
                has[split] += strata[number]
    return [SPLITS[chosen[number]] for number in range(len(groups))]


def _stratum(row: Example) -> str:
    return f"{row.task}: {row.answer}" if named(row.task).labels else row.task


def _draw(seed: int, name: tuple[str, ...]) -> bytes:
    return hashlib.blake2b("\0".join([str(seed), *name]).encode(), digest_size=8).digest()


def _settle(rows: list[Example]) -> list[Example]:
    """Without the rows that share a key with a row of a stronger split."""
    taken: set[Key] = set()
    kept: set[int] = set()
    for split in reversed(SPLITS):
        side = [(n, keys(row)) for n, row in enumerate(rows) if row.split == split]
        side = [(number, tied) for number, tied in side if taken.isdisjoint(tied)]
        kept.update(number for number, _ in side)
        taken.update(key for _, tied in side for key in tied)
    return [row for number, row in enumerate(rows) if number in kept]
