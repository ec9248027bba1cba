"""Which rows are trained on, chosen by and tested on: no patient and no text on two sides."""

import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from radlite.data.texts import folded
from radlite.tasks import Example, named

SPLITS = ("train", "validation", "test")
FRACTIONS = (0.70, 0.15, 0.15)
"""Shares of the three splits among rows that come with none."""
OUT = -1
"""In place of a split: left out."""

COLUMNS = ("task", "tier", "patient", "split", "stratum", "name")
"""What a split depends on besides the text. `stratum`: the task, with the label if it has labels; rows of one stratum
are shared out evenly. `name`: what no other row is called."""
Numbers = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Ties:
    """All that a split depends on. Arrays have one number for each row."""

    text: Numbers
    """Equal for equal texts."""
    patient: Numbers
    """Equal for rows of one patient; -1: not known."""
    given: Numbers
    """Index of the official split in `SPLITS`; -1: there is none."""
    stratum: Numbers
    """Task and label, as an index into `strata`; of a task without labels the task."""
    barred: NDArray[np.bool_]
    """Shape (rows, splits): what an unsplit row is not good enough for, as experts' answers are evaluated there."""
    name: Sequence[str]
    """Source, task and id, joined by null characters: different for each row."""
    strata: Sequence[str]


def share_out(rows: Ties, fractions: tuple[float, float, float] = FRACTIONS, seed: int = 0) -> NDArray[np.int8]:
    """The split of each row as an index into `SPLITS`, or `OUT`.

    Rows that share a patient or a text stay together, across tasks, and so do rows linked through others. A row that
    comes with a split keeps it, and unsplit rows tied to it follow it. Rows that are answered by programs, or only
    stand in, are not evaluated beside those of experts (`Ties.barred`): they go to training, or out if tied to what is
    evaluated. Where given splits disagree, test wins over validation and validation over train: the row on the weaker
    side is left out, so that an official test set stays whole. The other rows are
    shared out by `fractions` (train, validation, test), each (task, label) as evenly as the groups permit (iterative
    stratification: Sechidis et al., ECML PKDD 2011). The order of rows does not matter.
    """
    chosen = rows.given.astype(np.int8)
    claimed = [_strongest(tie, rows.given) for tie in (rows.text, rows.patient)]
    bound = np.maximum(*(np.where(tie >= 0, most[tie], -1) for tie, most in zip(_tied(rows), claimed, strict=True)))
    free: list[Numbers] = []
    for group in _groups(rows, np.flatnonzero(rows.given < 0)):
        to = bound[group].max()
        if to < 0:
            free.append(group)
        else:
            chosen[group] = np.where(rows.barred[group, to], OUT, to)
    for group, split in zip(free, _stratify(rows, free, fractions, seed), strict=True):
        chosen[group] = np.where(rows.barred[group, split], OUT, split)
    return _settle(rows, chosen)


def ties(columns: Mapping[str, Sequence[str]], text: Numbers) -> Ties:
    """What ties rows together, from their `COLUMNS`, and a number for the text of each."""
    strata = sorted(set(columns["stratum"]))
    at = {one: number for number, one in enumerate(strata)}
    return Ties(
        text=text,
        patient=numbered([person(patient) for patient in columns["patient"]]),
        given=np.fromiter((SPLITS.index(one) if one else -1 for one in columns["split"]), np.int64, len(text)),
        stratum=np.fromiter((at[one] for one in columns["stratum"]), np.int64, len(text)),
        barred=_barred(columns),
        name=columns["name"],
        strata=strata,
    )


def _barred(columns: Mapping[str, Sequence[str]]) -> NDArray[np.bool_]:
    """See `Ties.barred`."""
    rows = list(zip(columns["task"], columns["tier"], columns["split"], strict=True))
    experts = {(task, split) for task, tier, split in rows if tier == "gold"}
    pairs = sorted({(task, tier) for task, tier, _ in rows})
    table = np.array(
        [
            [tier != "gold" and split != SPLITS[0] and (task, split) in experts for split in SPLITS]
            for task, tier in pairs
        ],
        np.bool_,
    ).reshape(-1, len(SPLITS))
    at = {pair: number for number, pair in enumerate(pairs)}
    barred: NDArray[np.bool_] = table[np.fromiter((at[task, tier] for task, tier, _ in rows), np.int64, len(rows))]
    return barred


def describe(row: Example) -> dict[str, str]:
    """The `COLUMNS` of a row."""
    return {
        "task": row.task,
        "tier": row.tier,
        "patient": row.patient,
        "split": row.split,
        "stratum": f"{row.task}: {row.answer}" if named(row.task).labels else row.task,
        "name": f"{row.source}\0{row.task}\0{row.id}",
    }


def person(patient: str) -> str:
    """The id of a patient in the one form of its spellings: a table may hold `0012`, another `12.0` (a spreadsheet's
    number), `P 7` with another blank, or an accented letter in two characters. Ids that become equal are kept together,
    which costs nothing but a little choice; ids held apart would leak."""
    space, colon, own = " ".join(folded(patient).split()).rpartition(":")
    own = own.strip()
    if number := re.fullmatch(r"(-?)0*([0-9]+)(?:\.0*)?", own):
        own = "".join(number.groups())
    return f"{space.strip()}{colon}{own}"


def numbered(values: Sequence[str]) -> Numbers:
    """Equal numbers for equal values; -1 for an empty one."""
    numbers = {"": -1}
    return np.fromiter((numbers.setdefault(value, len(numbers)) for value in values), np.int64, len(values))


def _tied(rows: Ties) -> tuple[Numbers, Numbers]:
    return rows.text, rows.patient


def _strongest(tie: Numbers, split: Numbers) -> Numbers:
    """For each value of `tie` the greatest split among its rows, -1 if none has one."""
    most = np.full(tie.max(initial=0) + 1, -1, np.int64)
    known = tie >= 0
    np.maximum.at(most, tie[known], split[known])
    return most


def _groups(rows: Ties, members: Numbers) -> list[Numbers]:
    """`members` parted into groups linked by common ties (union-find with path halving)."""
    parent = list(range(len(members)))

    def root(number: int) -> int:
        while parent[number] != number:
            parent[number] = number = parent[parent[number]]
        return number

    for tie in _tied(rows):
        holder: dict[int, int] = {}
        for number, value in enumerate(tie[members].tolist()):
            if value >= 0:
                parent[root(number)] = root(holder.setdefault(value, number))
    roots = np.fromiter(map(root, range(len(members))), np.int64, len(members))
    order = np.argsort(roots, kind="stable")
    starts = np.flatnonzero(np.diff(roots[order], prepend=-1))
    return np.split(members[order], starts[1:]) if len(members) else []


def _stratify(rows: Ties, groups: Sequence[Numbers], fractions: tuple[float, float, float], seed: int) -> list[int]:
    """A split for each group: the rarest stratum first, its largest groups first, each to the split that lacks most.

    Lack is relative to what the split should have, so that every split draws from the whole order: large groups, such
    as patients with rows in several tasks, do not all fall to training.
    """
    strata = [Counter(rows.stratum[group].tolist()) for group in groups]
    total: Counter[int] = Counter()
    for counted in strata:
        total.update(counted)
    draw = [_draw(seed, min(rows.name[number] for number in group)) for group in groups]
    holding: dict[int, list[int]] = defaultdict(list)
    for number in sorted(range(len(groups)), key=lambda number: (-len(groups[number]), draw[number])):
        for at in strata[number]:
            holding[at].append(number)
    shared = [split for split in range(3) if fractions[split] > 0]
    barred = [np.logical_and.reduce(rows.barred[group]).tolist() for group in groups]
    has = [[0] * len(rows.strata) for _ in SPLITS]
    size = [0] * len(SPLITS)
    chosen = [OUT] * len(groups)
    for at in sorted(total, key=lambda at: (total[at], rows.strata[at])):
        for number in holding[at]:
            if chosen[number] == OUT:
                split = min(
                    [split for split in shared if not barred[number][split]] or [0],
                    key=lambda split: (has[split][at] / fractions[split], size[split] / fractions[split]),
                )
                chosen[number] = split
                for one, count in strata[number].items():
                    has[split][one] += count
                    size[split] += count
    return chosen


def _draw(seed: int, name: str) -> bytes:
    return hashlib.blake2b(f"{seed}\0{name}".encode(), digest_size=8).digest()


def _settle(rows: Ties, chosen: NDArray[np.int8]) -> NDArray[np.int8]:
    """Without the rows that share a tie with a row of a stronger split."""
    chosen = chosen.copy()
    taken = [np.zeros(tie.max(initial=0) + 1, np.bool_) for tie in _tied(rows)]
    for split in reversed(range(len(SPLITS))):
        side = np.flatnonzero(chosen == split)
        barred = np.zeros(len(side), np.bool_)
        for tie, seen in zip(_tied(rows), taken, strict=True):
            barred |= (tie[side] >= 0) & seen[tie[side]]
        chosen[side[barred]] = OUT
        for tie, seen in zip(_tied(rows), taken, strict=True):
            kept = tie[side[~barred]]
            seen[kept[kept >= 0]] = True
    return chosen
