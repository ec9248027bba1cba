"""Texts as numbers: what makes two of them one text, or nearly one."""

import functools
import hashlib
import random
import re
import unicodedata
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from radlite.tasks import Example, named

SHINGLE: Final = 5
"""Words in a shingle."""
BANDS: Final = 21
ROWS: Final = 6
"""Two texts of Jaccard similarity s share a band of MinHash values with probability 1 - (1 - s^6)^21: 0.998 at 0.8,
0.08 at 0.4 (Leskovec, Rajaraman & Ullman, Mining of Massive Datasets, 3.4)."""

Shingles = NDArray[np.uint32]
"""The different shingles of a text as digests, sorted."""


def text_of(example: Example) -> str:
    """The text a row is about: the first input of its task. Questions and hypotheses recur, and tie nothing."""
    return example.inputs[named(example.task).inputs[0]]


def folded(text: str) -> str:
    """The text in the one form of its spellings: Unicode's folded form without what is not seen, such as soft hyphens,
    with one kind of digits and of hyphens."""
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text).translate(_ALIKE)
    return text.casefold()


class _Alike(dict[int, int | str | None]):
    """What a character is replaced by; filled as characters come."""

    def __missing__(self, code: int) -> int | str | None:
        kind = unicodedata.category(chr(code))
        alike = {"Cf": None, "Nd": str(unicodedata.digit(chr(code), 0)), "Pd": "-"}.get(kind, code)
        self[code] = alike
        return alike


_ALIKE = _Alike()


def words(text: str) -> list[str]:
    """Words and numbers in their folded form."""
    return re.findall(r"\w+", folded(text))


def key(said: Sequence[str]) -> bytes:
    """Digest of a text's words, 16 bytes: equal whatever the case, the spacing and the punctuation."""
    return hashlib.blake2b(" ".join(said).encode("utf-8", "surrogatepass"), digest_size=16).digest()


@functools.lru_cache(1 << 12)
def text_key(text: str) -> bytes:
    """`key` of a text; one without words is told from others by its characters."""
    return key(words(text) or [text])


def shingles(said: Sequence[str]) -> Shingles:
    """The runs of five words; a shorter text is one shingle by itself."""
    number = np.fromiter(map(_NUMBERS.__getitem__, said or [""]), np.uint64, max(1, len(said)))
    count = max(1, len(number) - SHINGLE + 1)
    total = np.zeros(count, np.uint64)
    for start in range(min(SHINGLE, len(number))):
        total = total * _PRIME + number[start : start + count]
    return np.unique((_mixed(total) >> np.uint64(32)).astype(np.uint32))


def signature(found: Shingles) -> NDArray[np.uint32]:
    """MinHash values (Broder, 1997) of a text's shingles; shape (BANDS * ROWS,).

    The share of values that two texts have in common estimates their Jaccard similarity, to 0.036 (one standard
    deviation) at 0.8.
    """
    values = (_MULTIPLY[:, None] * found.astype(np.uint64) + _ADD[:, None]) >> np.uint64(32)
    least: NDArray[np.uint32] = values.min(1).astype(np.uint32)
    return least


def bands(signatures: NDArray[np.uint32]) -> NDArray[np.uint64]:
    """Signatures, shape (texts, BANDS * ROWS), hashed band by band; shape (texts, BANDS)."""
    total = np.broadcast_to(np.arange(BANDS, dtype=np.uint64), (len(signatures), BANDS))
    for row in range(ROWS):
        total = _mixed(total * _PRIME + signatures[:, row::ROWS])
    return total


def jaccard(one: Shingles, others: Sequence[Shingles]) -> NDArray[np.float64]:
    """Jaccard similarity, 0..1, of a set of shingles with each of others."""
    lengths = np.array([len(other) for other in others])
    every = np.concatenate(others)
    at = np.minimum(np.searchsorted(one, every), len(one) - 1)
    both = np.add.reduceat(one[at] == every, np.cumsum(lengths) - lengths, dtype=np.int64)
    similarity: NDArray[np.float64] = both / (len(one) + lengths - both)
    return similarity


class _Numbers(dict[str, int]):
    """A number for each word, remembered."""

    def __missing__(self, word: str) -> int:
        if len(self) >= 1 << 20:  # Misread and made-up words must not fill the memory.
            self.clear()
        digest = hashlib.blake2b(word.encode("utf-8", "surrogatepass"), digest_size=8).digest()
        self[word] = number = int.from_bytes(digest, "little")
        return number


_NUMBERS: Final = _Numbers()
_PRIME: Final = np.uint64(0x9E3779B97F4A7C15)
_draw = random.Random(1)
# Multiply-shift hashing (Dietzfelbinger, 1996): 64-bit products of 32-bit keys, of which the upper half counts.
_MULTIPLY: Final = np.array([_draw.getrandbits(64) | 1 for _ in range(BANDS * ROWS)], np.uint64)
_ADD: Final = np.array([_draw.getrandbits(64) for _ in range(BANDS * ROWS)], np.uint64)


def _mixed(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Every bit of the result depends on every bit of the value (the finalizer of SplitMix64)."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))
