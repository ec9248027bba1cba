"""Near-duplicates across splits: templated reports that would let a model recite its test set."""

from collections.abc import Callable, Iterator, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from radlite.data.texts import BANDS, Shingles, jaccard

THRESHOLD: Final = 0.8
"""Jaccard similarity of the sets of five-word shingles from which on two texts are near-duplicates."""
_AT_ONCE: Final = 1 << 15


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
    pairs; they are then compared exactly by `shingles(number of a text)`.
    """
    leaves = np.zeros(len(split), np.bool_)
    held = np.flatnonzero(split == 2)
    for weaker in (1, 0):
        asked = np.flatnonzero(split == weaker)
        index = _Index(bands, held)
        for number, candidates in index.candidates(bands, asked):
            own = shingles(number)
            leaves[number] = any(jaccard(own, shingles(other)) >= threshold for other in candidates)
        held = np.concatenate([held, asked[~leaves[asked]]])
    return leaves


class _Index:
    """Texts by their bands."""

    def __init__(self, bands: NDArray[np.uint64], members: NDArray[np.int64]) -> None:
        flat = bands[members].ravel()
        order = np.argsort(flat, kind="stable")
        self.values = flat[order]
        self.owners = np.repeat(members, BANDS)[order]

    def candidates(self, bands: NDArray[np.uint64], asked: NDArray[np.int64]) -> Iterator[tuple[int, Sequence[int]]]:
        """Each of `asked` that shares a band with a member, with these members, those that share most bands first."""
        for start in range(0, len(asked), _AT_ONCE):
            part = asked[start : start + _AT_ONCE]
            first = np.searchsorted(self.values, bands[part], "left")
            last = np.searchsorted(self.values, bands[part], "right")
            for row in np.flatnonzero((last > first).any(1)):
                shared = np.concatenate(
                    [self.owners[low:high] for low, high in zip(first[row], last[row], strict=True) if high > low]
                )
                members, counts = np.unique(shared, return_counts=True)
                yield int(part[row]), members[np.argsort(-counts, kind="stable")].tolist()
