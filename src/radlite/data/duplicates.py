"""Near-duplicates across splits: templated reports that would let a model recite its test set."""

from collections.abc import Callable, Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

from radlite.data.texts import BANDS, Shingles, bands, jaccard

THRESHOLD: Final = 0.8
"""Jaccard similarity of the sets of five-word shingles from which on two texts are near-duplicates."""
_AT_ONCE: Final = 1 << 15
_FEW: Final = 2
"""Members of each bucket that are compared first."""
_MOST: Final = 4096
"""Members whose signatures are looked at then: those that share most bands."""
_MARGIN: Final = 0.12
"""Three standard deviations of the estimate by signatures; what is below the threshold by more is not compared."""
_LIKELY: Final = 128
"""Of these, members that are compared: those most alike."""
_TABLE: Final = 1 << 27

Numbers = NDArray[np.int64]


def near(
    signatures: NDArray[np.uint32],
    split: NDArray[np.int8],
    shingles: Callable[[int], Shingles],
    threshold: float = THRESHOLD,
) -> NDArray[np.bool_]:
    """Which texts nearly repeat one of a stronger split, and have to leave.

    `signatures` are those of the texts; `split` says 0 train, 1 validation, 2 test, or less than 0 for texts that do
    not count. Test texts always stay; a validation text leaves if it is near a test text, a training text if it is near
    one of either that stays. Candidates come from MinHash LSH, so that the work grows with the number of texts, not of
    pairs, and are compared exactly by `shingles(number of a text)`. A text of which too many shingles occur nowhere in
    the stronger splits needs no comparison.
    """
    leaves = np.zeros(len(split), np.bool_)
    known = np.zeros(_TABLE, np.bool_)
    held = np.flatnonzero(split == 2)
    new = held
    for weaker in (1, 0):
        for number in new.tolist():
            known[shingles(number) % _TABLE] = True
        asked = np.flatnonzero(split == weaker)
        for number, candidates in _Index(signatures, held, threshold).candidates(signatures, asked):
            own = shingles(number)
            if known[own % _TABLE].mean() >= threshold:
                leaves[number] = any(
                    some and (jaccard(own, [*map(shingles, some)]) >= threshold).any() for some in candidates
                )
        new = asked[~leaves[asked]]
        held = np.concatenate([held, new])
    return leaves


class _Index:
    """Texts by their bands."""

    def __init__(self, signatures: NDArray[np.uint32], members: Numbers, threshold: float) -> None:
        self.members, self.threshold = members, threshold
        self.signatures = signatures[members]
        flat = bands(self.signatures).ravel()
        order = np.argsort(flat, kind="stable")
        self.values = flat[order]
        self.owners = np.repeat(np.arange(len(members)), BANDS)[order]

    def candidates(self, signatures: NDArray[np.uint32], asked: Numbers) -> Iterator[tuple[int, Iterator[list[int]]]]:
        """Each of `asked` that shares a band with a member, with lists of such members, the most promising first."""
        for start in range(0, len(asked), _AT_ONCE):
            part = asked[start : start + _AT_ONCE]
            own = signatures[part]
            first, last = (np.searchsorted(self.values, bands(own), side) for side in ("left", "right"))
            for row in np.flatnonzero((last > first).any(1)):
                yield int(part[row]), self._sharing(own[row], first[row], last[row])

    def _sharing(self, own: NDArray[np.uint32], first: Numbers, last: Numbers) -> Iterator[list[int]]:
        few = np.unique(self._of(first, np.minimum(last, first + _FEW)))
        yield self.members[few].tolist()
        if (last - first).max() > _FEW:
            counts = np.bincount(self._of(first, last))
            best = np.argpartition(-counts, _MOST)[:_MOST] if len(counts) > _MOST else np.arange(len(counts))
            best = best[counts[best] > 0]
            estimated = (self.signatures[best] == own).mean(1)
            likely = np.flatnonzero(estimated >= self.threshold - _MARGIN)
            likely = likely[np.argsort(-estimated[likely], kind="stable")[:_LIKELY]]
            yield self.members[best[likely]].tolist()

    def _of(self, first: Numbers, last: Numbers) -> Numbers:
        return np.concatenate([self.owners[low:high] for low, high in zip(first, last, strict=True)])
