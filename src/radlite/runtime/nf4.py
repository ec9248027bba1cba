"""Numbers in four bits as QLoRA has them, NF4 (Dettmers et al., 2023): blocks of 64, each with its largest magnitude.

The sixteen levels are quantiles of a normal distribution; values, order of bits and rounding are those of bitsandbytes,
to the bit, so that what was trained on its matrices is known without it.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from radlite.runtime.weights import Array

BLOCK: Final = 64
"""Numbers of a row that share a scale."""

BYTES: Final = 0.5 + 4 / BLOCK
"""Of a number, with its share of the scale."""

LEVELS: Final[Array] = np.array(
    [
        -1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635,
        -0.18477343022823334, -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725, 0.24611230194568634,
        0.33791524171829224, 0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0,
    ],
    np.float32,
)  # fmt: skip
"""What each of the sixteen codes stands for, as a share of its block's largest magnitude."""

_BOUNDS: Final[Array] = (LEVELS[:-1] + LEVELS[1:]) / np.float32(2)
_LEAST: Final = np.float32(1e-38)
"""In place of the largest magnitude of a block of zeros."""


def encode(values: Array) -> tuple[NDArray[np.uint8], Array]:
    """`values`, (rows, columns), finite, as codes (rows, columns / 2), the first of two in the high bits, and scales
    (rows, columns / 64). Raises `ValueError` unless rows are whole blocks."""
    rows, columns = values.shape
    if columns % BLOCK:
        raise ValueError(f"{columns} columns are no multiple of {BLOCK}")
    blocks = values.reshape(rows, -1, BLOCK)
    scales = np.abs(blocks).max(axis=2)
    shares = (blocks * (np.float32(1) / np.maximum(scales, _LEAST))[..., None]).reshape(rows, columns)
    codes = np.zeros(shares.shape, np.uint8)
    for bound in _BOUNDS:  # several times as fast as a binary search
        codes += shares > bound
    return (codes[:, ::2] << np.uint8(4)) | codes[:, 1::2], scales


def decode(codes: NDArray[np.uint8], scales: Array) -> Array:
    """What `encode` made of values: (rows, columns)."""
    rows, columns = codes.shape[0], codes.shape[1] * 2
    shares = np.empty((rows, columns), np.float32)
    shares[:, ::2], shares[:, 1::2] = LEVELS[codes >> 4], LEVELS[codes & 15]
    values: Array = (shares.reshape(rows, -1, BLOCK) * scales[..., None]).reshape(rows, columns)
    return values
