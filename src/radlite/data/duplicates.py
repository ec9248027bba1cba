"""Near-duplicates across splits: templated reports that would let a model recite its test set."""

from collections.abc import Callable, Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

from radlite.data.texts import BANDS, Shingles, jaccard

THRESHOLD: Final = 0.8
"""Jaccard similarity of the sets of five-word shingles from which on two texts are near-duplicates."""
_AT_ONCE: Final = 1 << 15
_FEW, _MOST, _BUCKET = 2, 64, 512


def near(
    bands: NDArray[np.uint64],
    split: NDArray[np.int8],
    shingles: Callable[[int], Shingles],
    threshold: float = THRESHOLD,
) -> NDArray[np.bool_]:
    """Which texts nearly repeat one of a stronger split, and have to leave.

    `bands` has shape (texts, BANDS); `split` says 0 train, 1 validation, 2 test, or less than 0 for texts that do not
    count. Test texts always stay; a validation text leaves if it is near a test text, a training text if it is near one
    of either that stays. Candidates come from MinHash LSH, so that the work grows with the number of texts, not of
    pairs. They are compared exactly by `shingles(number of a text)`: first a few of each bucket, which settles most
    copies of a template, then the `_MOST` that share most bands, of a bucket its first `_BUCKET`.
    """
    leaves = np.zeros(len(split), np.bool_)
    held = np.flatnonzero(split == 2)
    for weaker in (1, 0):
        asked = np.flatnonzero(split == weaker)
        index = _Index(bands, held)
        for number, candidates in index.candidates(bands, asked):
            own = shingles(number)
            leaves[number] = any((jaccard(own, [*map(shingles, some)]) >= threshold).any() for some in candidates)
        held = np.concatenate([held, asked[~leaves[asked]]])
    return leaves


class _Index:
    """Texts by their bands."""

    def __init__(self, bands: NDArray[np.uint64], members: NDArray[np.int64]) -> None:
        flat = bands[members].ravel()
        order = np.argsort(flat, kind="stable")
        self.values = flat[order]
        self.owners = np.repeat(members, BANDS)[order]

    def candidates(
        self, bands: NDArray[np.uint64], asked: NDArray[np.int64]
    ) -> Iterator[tuple[int, Iterator[list[int]]]]:
        """Each of `asked` that shares a band with a member, with lists of such members, the most promising first."""
        for start in range(0, len(asked), _AT_ONCE):
            part = asked[start : start + _AT_ONCE]
            first = np.searchsorted(self.values, bands[part], "left")
            last = np.searchsorted(self.values, bands[part], "right")
            for row in np.flatnonzero((last > first).any(1)):
                yield int(part[row]), self._members(first[row], last[row])

    def _members(self, first: NDArray[np.int64], last: NDArray[np.int64]) -> Iterator[list[int]]:
        few = np.unique(self._of(first, np.minimum(last, first + _FEW)))
        yield few.tolist()
        if (last - first).max() > _FEW:
            members, counts = np.unique(self._of(first, np.minimum(last, first + _BUCKET)), return_counts=True)
            order = np.argsort(-counts, kind="stable")[:_MOST]
            yield members[order].tolist()

    def _of(self, first: NDArray[np.int64], last: NDArray[np.int64]) -> NDArray[np.int64]:
        return np.concatenate([self.owners[low:high] for low, high in zip(first, last, strict=True)])
