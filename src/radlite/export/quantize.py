"""Numbers to a GGUF's tensor types, and which type each tensor of a model gets."""

import ctypes
import functools
import importlib
import re
from collections.abc import Callable
from typing import Any, Final

import gguf
import numpy as np
from gguf import GGMLQuantizationType as Type
from gguf import LlamaFileType as FileType
from numpy.typing import NDArray

from radlite.errors import UserError
from radlite.export.weights import Array

KINDS: Final = {
    "F32": (FileType.ALL_F32, Type.F32),
    "F16": (FileType.MOSTLY_F16, Type.F16),
    "BF16": (FileType.MOSTLY_BF16, Type.BF16),
    "Q8_0": (FileType.MOSTLY_Q8_0, Type.Q8_0),
    "Q6_K": (FileType.MOSTLY_Q6_K, Type.Q6_K),
    "Q5_K_M": (FileType.MOSTLY_Q5_K_M, Type.Q5_K),
    "Q4_K_M": (FileType.MOSTLY_Q4_K_M, Type.Q4_K),
    "Q4_K_S": (FileType.MOSTLY_Q4_K_S, Type.Q4_K),
    "IQ4_XS": (FileType.MOSTLY_IQ4_XS, Type.IQ4_XS),
}
"""Kind of file: llama.cpp's number for it, and the type of most of its matrices."""

FLOATS: Final = (Type.F32, Type.F16, Type.BF16)

# What llama.cpp takes where the columns are no multiple of a block of 256.
_NARROW = {Type.Q4_K: Type.Q5_0, Type.Q5_K: Type.Q5_1, Type.Q6_K: Type.Q8_0, Type.IQ4_XS: Type.IQ4_NL}
# Types that the `gguf` package encodes itself; the others are left to the engine's library.
_OWN = {Type.Q8_0, Type.Q5_0, Type.Q5_1}

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


def tensor_type(name: str, columns: int, kind: str, layers: int, group: int, tied: bool) -> Type:
    """The type of GGUF tensor `name` in a file of `kind`, as llama.cpp's `llama-quant.cpp` chooses it for Qwen.

    `columns` is the row length, `group` the query heads that share a key head, `tied` whether the embeddings are the
    output matrix too. Vectors stay in float32.
    """
    default = KINDS[kind][1]
    if not name.endswith(".weight") or name.endswith("_norm.weight"):
        return Type.F32
    return default if default in FLOATS else _fitting(_mixed(name, columns, kind, layers, group, tied), columns)


def _mixed(name: str, columns: int, kind: str, layers: int, group: int, tied: bool) -> Type:
    """The mixture: more bits for the output, and for values and `ffn_down` of the first, the last, and some layers."""
    default = KINDS[kind][1]
    if name == "output.weight" or (tied and name == "token_embd.weight"):
        return Type.Q8_0 if columns % gguf.GGML_QUANT_SIZES[default][0] or default == Type.Q8_0 else Type.Q6_K
    part = re.fullmatch(r"blk\.(\d+)\.(attn_v|ffn_down)\.weight", name)
    if not part:
        return default
    layer, value = int(part[1]), part[2] == "attn_v"
    eighth = layers // 8
    if kind in ("Q4_K_M", "Q5_K_M"):
        more = layer < eighth or layer >= 7 * layers // 8 or (layer - eighth) % 3 == 2
        return Type.Q6_K if more else default
    if kind == "Q4_K_S":
        return Type.Q5_K if layer < (4 if value else eighth) else default
    if kind == "IQ4_XS":
        return Type.Q5_K if (group >= 4 if value else layer < eighth) else default
    return default


def _fitting(type: Type, columns: int) -> Type:
    if columns % gguf.GGML_QUANT_SIZES[type][0]:
        type = _NARROW.get(type, Type.F16)
    return Type.F16 if columns % gguf.GGML_QUANT_SIZES[type][0] else type


def size(rows: int, columns: int, type: Type) -> int:
    """Bytes of a (rows, columns) matrix in `type`."""
    block, stored = gguf.GGML_QUANT_SIZES[type]
    return rows * columns // int(block) * int(stored)


def encode(values: Array, type: Type) -> NDArray[np.uint8]:
    """`values`, (rows, columns), finite, in `type`: (rows, bytes). The engine's library works outside the GIL.

    Raises `UserError` if the engine's library offers no encoder for `type`.
    """
    encoded = gguf.quantize(values, type) if type in FLOATS or type in _OWN else _encoder(type)(values)
    rows: NDArray[np.uint8] = np.ascontiguousarray(encoded).view(np.uint8).reshape(len(values), -1)
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
    share, quanta = LOSS[type]
    if type in FLOATS:
        values, decoded = values.reshape(-1, 1), decoded.reshape(-1, 1)
    error = np.linalg.norm(decoded.astype(np.float64) - values, axis=1)
    may = share * np.linalg.norm(values, axis=1) + quanta * _QUANTUM * np.sqrt(values.shape[1])
    ratio = error / (may + np.finfo(np.float32).tiny)
    return float(np.where(np.isnan(ratio), np.inf, ratio).max(initial=0.0))


@functools.cache
def _encoder(type: Type) -> Callable[[Array], NDArray[np.uint8]]:
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


def _bound(library: Any, type: Type) -> Callable[[Array], NDArray[np.uint8]]:
    """`ggml_quantize_chunk` for one type; `ValueError` if the library means another type by its number."""
    quantize, name, row_size = library.ggml_quantize_chunk, library.ggml_type_name, library.ggml_row_size
    name.argtypes, name.restype = [ctypes.c_int], ctypes.c_char_p
    row_size.argtypes, row_size.restype = [ctypes.c_int, ctypes.c_int64], ctypes.c_size_t
    quantize.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, *[ctypes.c_int64] * 3, ctypes.c_void_p]
    quantize.restype = ctypes.c_size_t
    if (name(type) or b"").decode().upper() != type.name or row_size(type, 512) != size(1, 512, type):
        raise ValueError(f"type {type} is not {type.name}")
    library.ggml_quantize_init(ctypes.c_int(type))

    def encode(values: Array) -> NDArray[np.uint8]:
        values = np.ascontiguousarray(values, np.float32)
        rows, columns = values.shape
        data = np.zeros((rows, size(1, columns, type)), np.uint8)
        written = quantize(type, values.ctypes.data, data.ctypes.data, 0, rows, columns, None)
        if written != data.nbytes:
            raise ValueError(f"{written} bytes written of {data.nbytes}")
        return data

    return encode
