"""Near-duplicates across splits: templated reports that would let a model recite its test set."""

import functools
import zlib
from collections.abc import Iterable
from typing import Any

from radlite.data.split import SPLITS, text_key, text_of, words
from radlite.errors import UserError
from radlite.tasks import Example

SHINGLE = 5
"""Words in a shingle."""

_BANDS, _ROWS = 21, 6
# A pair of Jaccard similarity s becomes a candidate with probability 1 - (1 - s^6)^21: 0.998 at 0.8, 0.08 at 0.4
# (Leskovec, Rajaraman & Ullman, Mining of Massive Datasets, 3.4). Candidates are then compared exactly.


def out(examples: Iterable[Example], threshold: float = 0.8) -> tuple[list[Example], list[Example]]:
    """The examples without those that nearly repeat a text of a stronger split, and those taken out; order is kept.

    Test rows always stay; a validation row leaves if its text is near a test row's, a training row if it is near one of
    either. Near: Jaccard similarity of the sets of five-word shingles is at least `threshold`. Candidate pairs come
    from MinHash LSH (Broder, 1997), so that the work grows with the number of texts, not of pairs.
    """
    rows = list(examples)
    index = _Index(threshold)
    near: set[tuple[str, str]] = set()
    for split in reversed(SPLITS):
        texts = {text_key(text_of(row)): text_of(row) for row in rows if row.split == split}
        kept = {key: text for key, text in texts.items() if not index.near(text)}
        near.update((split, key) for key in texts.keys() - kept.keys())
        if split != SPLITS[0]:
            for key, text in kept.items():
                index.add(key, text)
    return (
        [row for row in rows if (row.split, text_key(text_of(row))) not in near],
        [row for row in rows if (row.split, text_key(text_of(row))) in near],
    )


def jaccard(left: str, right: str) -> float:
    """Jaccard similarity of the five-word shingles of two texts, 0..1."""
    one, other = _shingles(left), _shingles(right)
    return len(one & other) / len(one | other)


class _Index:
    """Texts that can be asked for near-duplicates of another."""

    def __init__(self, threshold: float) -> None:
        try:
            from datasketch import MinHashLSH
        except ModuleNotFoundError as error:
            raise UserError(
                "Finding near-duplicates needs datasketch; install it with: pip install 'radlite[train]'."
            ) from error
        self.threshold = threshold
        self.texts: dict[str, str] = {}
        self._lsh = MinHashLSH(num_perm=_BANDS * _ROWS, params=(_BANDS, _ROWS))

    def add(self, key: str, text: str) -> None:
        if key not in self.texts:
            self.texts[key] = text
            self._lsh.insert(key, _minhash(text))

    def near(self, text: str) -> bool:
        return any(jaccard(text, self.texts[key]) >= self.threshold for key in self._lsh.query(_minhash(text)))


def _minhash(text: str) -> Any:
    from datasketch import MinHash

    made = MinHash(num_perm=_BANDS * _ROWS, seed=1, hashfunc=zlib.crc32)
    made.update_batch([shingle.encode() for shingle in _shingles(text)])
    return made


@functools.lru_cache(1 << 12)
def _shingles(text: str) -> frozenset[str]:
    """Runs of five words; a shorter text is one shingle by itself."""
    cut = words(text)
    return frozenset(" ".join(cut[start : start + SHINGLE]) for start in range(max(1, len(cut) - SHINGLE + 1)))
