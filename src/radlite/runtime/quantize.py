"""Numbers to a GGUF's tensor types and back, and how large an error each may make."""

import ctypes
import functools
import importlib
import math
from collections.abc import Callable
from typing import Any, Final

import gguf
import numpy as np
from gguf import GGMLQuantizationType as Type
from numpy.typing import NDArray

from radlite.errors import UserError
from radlite.runtime.layout import FLOATS, size
from radlite.runtime.weights import Array

# Types that the `gguf` package encodes itself; the others are left to the engine's library.
_OWN = {Type.Q8_0, Type.Q5_0, Type.Q5_1}

WEIGHED: Final = frozenset({Type.Q6_K, Type.Q5_K, Type.Q4_K, Type.Q5_0, Type.Q5_1, Type.IQ4_XS, Type.IQ4_NL})
"""Types for whose blocks llama.cpp searches a scale, so that it can be told which columns to search for."""

# The largest error of a type: (share of the norm, quanta of half precision), see `excess`. The shares are about three
# times what normally distributed rows lose (Q4_K 0.071, Q5_K 0.036, Q6_K 0.018, IQ4 0.077, Q8_0 0.005, Q5_0 0.043,
# Q5_1 0.038) and hold for rows with outliers, which lose more; the quanta are the largest product of a type's levels
# and block scales, which decide for rows so small that the half-precision scale is coarse.
LOSS: Final = {
    Type.F32: (0.0, 0), Type.F16: (2**-11, 1), Type.BF16: (2**-8, 0),
    Type.Q8_0: (0.02, 127), Type.Q6_K: (0.06, 128 * 32), Type.Q5_K: (0.12, 63 * 31), Type.Q4_K: (0.22, 63 * 15),
    Type.Q5_0: (0.14, 16), Type.Q5_1: (0.12, 32), Type.IQ4_XS: (0.24, 32 * 127), Type.IQ4_NL: (0.24, 127),
}  # fmt: skip
_QUANTUM = 2.0**-25
"""Half the step between the smallest numbers of half precision."""

_LEAST = 1e-9
"""Importance of a column that had no input, as a share of the mean: of a block of zeros llama.cpp would make zeros."""


def encode(values: Array, type: Type, importance: Array | None = None) -> NDArray[np.uint8]:
    """`values`, (rows, columns), finite, in `type`: (rows, bytes). The engine's library works outside the GIL.

    `importance`, (columns), finite and not negative, is how much the square of an error counts in each column, which
    the `WEIGHED` types heed. A row that would so lose more than its type may is encoded without: too much of it would
    be given up for a few columns. Raises `UserError` if the engine's library offers no encoder for `type`,
    `ValueError` unless there is one importance for each column.
    """
    if importance is not None and importance.shape != values.shape[1:]:
        raise ValueError(f"{importance.shape} importances for {values.shape[1]} columns")
    rows: NDArray[np.uint8]
    if importance is None or type not in WEIGHED or not importance.any():
        encoded = gguf.quantize(values, type) if type in FLOATS or type in _OWN else _encoder(type)(values)
        rows = np.ascontiguousarray(encoded).view(np.uint8).reshape(len(values), -1)
        return rows
    # By a power of two, so that llama.cpp computes the very bits that it does of the numbers as they are.
    shares = np.ldexp(importance, -round(math.log2(importance.mean(dtype=np.float64))))
    rows = _encoder(type)(values, np.maximum(shares, np.float32(_LEAST)))
    if (spoiled := _excesses(values, decode(rows, type), type) > 1).any():
        rows[spoiled] = encode(values[spoiled], type)
    return rows


def decode(data: NDArray[np.uint8], type: Type) -> Array:
    """What `encode` made of values, read back by the `gguf` package: (rows, columns)."""
    decoded: Array = gguf.dequantize(data, type)
    return decoded


def excess(values: Array, decoded: Array, type: Type) -> float:
    """The largest error in `decoded` as a multiple of what `type` may lose: up to 1 is right.

    Errors are compared row by row in the Euclidean norm, because block types round a block's values together; for
    floating-point types value by value.
    """
    return float(_excesses(values, decoded, type).max(initial=0.0))


def _excesses(values: Array, decoded: Array, type: Type) -> NDArray[np.float64]:
    """`excess` of each row, or for floating-point types of each value."""
    share, quanta = LOSS[type]
    if type in FLOATS:
        values, decoded = values.reshape(-1, 1), decoded.reshape(-1, 1)
    error = np.linalg.norm(decoded.astype(np.float64) - values, axis=1)
    may = share * np.linalg.norm(values, axis=1) + quanta * _QUANTUM * np.sqrt(values.shape[1])
    ratio = error / (may + np.finfo(np.float32).tiny)
    return np.where(np.isnan(ratio), np.inf, ratio)


@functools.cache
def _encoder(type: Type) -> Callable[..., NDArray[np.uint8]]:
    """An encoder from llama.cpp's library inside `xllamacpp`, tried out before use: its symbols are no promised API."""
    try:
        library = ctypes.CDLL(str(importlib.import_module("xllamacpp.xllamacpp").__file__))
        encoder = _bound(library, type)
        generator = np.random.default_rng(0)
        values = generator.normal(size=(4, 512)).astype(np.float32)
        works = excess(values, decode(encoder(values), type), type) <= 1
    except (ImportError, OSError, AttributeError, ValueError) as error:
        raise _unavailable(type) from error
    if not works:
        raise _unavailable(type)
    return encoder


def _unavailable(type: Type) -> UserError:
    return UserError(f"The installed xllamacpp cannot encode {type.name}; export as Q8_0, or install its last release.")


def _bound(library: Any, type: Type) -> Callable[..., NDArray[np.uint8]]:
    """`ggml_quantize_chunk` for one type; `ValueError` if the library means another type by its number."""
    quantize, name, row_size = library.ggml_quantize_chunk, library.ggml_type_name, library.ggml_row_size
    name.argtypes, name.restype = [ctypes.c_int], ctypes.c_char_p
    row_size.argtypes, row_size.restype = [ctypes.c_int, ctypes.c_int64], ctypes.c_size_t
    quantize.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, *[ctypes.c_int64] * 3, ctypes.c_void_p]
    quantize.restype = ctypes.c_size_t
    if (name(type) or b"").decode().upper() != type.name or row_size(type, 512) != size(1, 512, type):
        raise ValueError(f"type {type} is not {type.name}")
    library.ggml_quantize_init(ctypes.c_int(type))

    def encode(values: Array, importance: Array | None = None) -> NDArray[np.uint8]:
        values = np.ascontiguousarray(values, np.float32)
        rows, columns = values.shape
        data = np.zeros((rows, size(1, columns, type)), np.uint8)
        counts = None if importance is None else importance.ctypes.data
        written = quantize(type, values.ctypes.data, data.ctypes.data, 0, rows, columns, counts)
        if written != data.nbytes:
            raise ValueError(f"{written} bytes written of {data.nbytes}")
        return data

    return encode
