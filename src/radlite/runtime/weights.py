"""Weights of a model folder, read tensor by tensor, without torch.

The format: https://huggingface.co/docs/safetensors#format. NumPy has no bfloat16, which is what the weights are in.
"""

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from radlite.errors import UserError
from radlite.runtime.layout import bfloat16

Array = NDArray[np.float32]

_STORED: dict[str, np.dtype[Any]] = {"F32": np.dtype("<f4"), "F16": np.dtype("<f2"), "BF16": np.dtype("<u2")}
_BLOCK = 1 << 22
"""Numbers read at once: 16 MiB in float32, so that memory does not grow with the model."""


@dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor in a file; `offset` counts from the file's start, in bytes. Reading it is safe from several threads."""

    name: str
    path: Path
    type: str
    shape: tuple[int, ...]
    offset: int

    @property
    def rows(self) -> int:
        """Rows of the tensor as a matrix; one for a vector."""
        return math.prod(self.shape[:-1])

    @property
    def bytes(self) -> int:
        """Size in the file."""
        return math.prod(self.shape) * int(_STORED[self.type].itemsize)

    def read(self, begin: int = 0, end: int | None = None) -> Array:
        """Rows `begin` to `end` in float32, (rows, columns). Raises `UserError` if a value is not finite."""
        rows, columns = (self.rows if end is None else end) - begin, self.shape[-1]
        stored = _STORED[self.type]
        offset = self.offset + begin * columns * stored.itemsize
        data = np.fromfile(self.path, stored, rows * columns, offset=offset)
        values: Array
        values = (data.astype("<u4") << 16).view("<f4") if self.type == "BF16" else data.astype(np.float32, copy=False)
        if not np.isfinite(values).all():
            raise UserError(f"{self.path} has a value in {self.name} that is no finite number; train or get it again.")
        return values.reshape(rows, columns)

    def blocks(self) -> Iterator[tuple[int, int]]:
        """Consecutive ranges of rows, each small enough to hold in memory."""
        step = max(1, _BLOCK // self.shape[-1])
        for begin in range(0, self.rows, step):
            yield begin, min(begin + step, self.rows)


def stored(values: Array, type: str) -> bytes:
    """`values` in a tensor's own type, rounded to nearest even."""
    if type == "BF16":
        return bytes(bfloat16(values))
    with np.errstate(over="ignore"):
        return bytes(values.astype(_STORED[type]))


def write(path: Path, shapes: Mapping[str, tuple[int, ...]], values: Iterable[Array]) -> None:
    """Write a safetensors file of float32 tensors, whose `values` come in the order of `shapes`, one at a time."""
    table: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    begin = 0
    for name, shape in shapes.items():
        end = begin + math.prod(shape) * _STORED["F32"].itemsize
        table[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [begin, end]}
        begin = end
    head = json.dumps(table).encode()
    head += b" " * (-len(head) % 8)
    with path.open("wb") as file:
        file.write(len(head).to_bytes(8, "little") + head)
        for shape, value in zip(shapes.values(), values, strict=True):
            if value.shape != shape:
                raise ValueError(f"values of shape {value.shape} for a tensor of shape {shape}")
            file.write(stored(value, "F32"))


def read(folder: Path) -> dict[str, Tensor]:
    """The tensors of all safetensors files in `folder`, by name, in the order of files and of offsets.

    Raises `UserError` for a folder without weights, a file that is damaged or cut short, an integer type.
    """
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise UserError(f"{folder} has no safetensors weights; give a model folder.")
    tensors: dict[str, Tensor] = {}
    for path in files:
        for tensor in _tensors(path):
            if tensor.name in tensors:
                raise UserError(f"{tensor.name} is in two files of {folder}; remove the weights that do not belong.")
            tensors[tensor.name] = tensor
    return tensors


def header(path: Path) -> bytes:
    """What a safetensors file begins with: the length of its table, and the table."""
    try:
        with path.open("rb") as file:
            size = file.read(8)
            table = file.read(min(int.from_bytes(size, "little"), path.stat().st_size))
    except OSError as error:
        raise UserError(f"Cannot read the weights {path}: {error.strerror}.") from error
    return size + table


def _tensors(path: Path) -> list[Tensor]:
    start = header(path)
    try:
        table: dict[str, Any] = json.loads(start[8:])
        tensors = [
            Tensor(name, path, entry["dtype"], tuple(entry["shape"]), len(start) + entry["data_offsets"][0])
            for name, entry in table.items()
            if name != "__metadata__"
        ]
        tensors.sort(key=lambda tensor: tensor.offset)
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise UserError(f"{path} is damaged or cut short; get or train the model again.") from error
    end = len(start)
    for tensor in tensors:
        if tensor.type not in _STORED or not tensor.shape:
            raise UserError(f"{path} holds {tensor.name} as {tensor.type}; only 16- and 32-bit floats are supported.")
        if tensor.offset != end:
            raise UserError(f"{path} is damaged at {tensor.name}; get or train the model again.")
        end += tensor.bytes
    if end != path.stat().st_size:
        raise UserError(f"{path} is cut short or damaged ({path.stat().st_size:,} of {end:,} bytes); get it again.")
    return tensors
