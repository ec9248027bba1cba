"""A base whose matrices are rounded to few bits: what an adapter is trained on, answers on and is merged with.

An adapter that was trained on rounded matrices has learned around their errors, and is right on them alone.
"""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, get_args

import numpy as np
from gguf import GGMLQuantizationType as Type

from radlite.errors import UserError
from radlite.runtime import layout, nf4
from radlite.runtime.quantize import decode, encode
from radlite.runtime.weights import Array, Tensor

NF4: Final = "NF4"
"""QLoRA's four bits, in the layers alone; the other kinds are those of GGUF files, which round embeddings too."""

Kind = Literal["Q4_K_M", "Q4_K_S", "IQ4_XS", "NF4"]
KINDS: Final[tuple[str, ...]] = get_args(Kind)
"""Kinds that a base can be rounded to: of those with more bits there is little to learn around."""


@dataclass(frozen=True, slots=True)
class Rounding:
    """What becomes of each tensor of a base."""

    kind: str
    types: dict[str, Type | None]
    """Tensors that change, by their names in the model folder: the GGUF type of each; None is NF4."""

    def read(self, tensor: Tensor, begin: int = 0, end: int | None = None) -> Array:
        """Rows `begin` to `end` in float32, (rows, columns), as they are after rounding and decoding.

        All cores work on them. Raises `UserError` as `Tensor.read` and `quantize.encode` do.
        """
        values = tensor.read(begin, end)
        if tensor.name not in self.types:
            return values
        type = self.types[tensor.name]

        def rounded(part: Array) -> Array:
            return nf4.decode(*nf4.encode(part)) if type is None else decode(encode(part, type), type)

        values = over_rows(rounded, values)
        if not np.isfinite(values).all():
            raise UserError(f"{tensor.name} has values too large for {self.kind}; round the base to another kind.")
        return values


def of(folder: Path, kind: str) -> Rounding:
    """How the base in `folder` is rounded to `kind`, one of `KINDS`: as `gguf.write` rounds it, without importance.

    Raises `UserError` for another kind, for a model that is no Qwen, and for one whose rows do not fit the kind.
    """
    if kind not in KINDS:
        raise UserError(f"A base cannot be rounded to {kind!r}; choose from {', '.join(KINDS)}.")
    config = layout.settings(folder)
    tensors = layout.tensors(config)
    if kind == NF4:
        inside = {name: shape for name, (short, shape) in tensors.items() if short.startswith("blk.")}
        matrices = [name for name, shape in inside.items() if len(shape) == 2]
        if odd := next((name for name in matrices if inside[name][1] % nf4.BLOCK), None):
            raise UserError(
                f"The rows of {odd} in {folder} are no multiple of {nf4.BLOCK}, as NF4 needs; use another kind."
            )
        return Rounding(kind, dict.fromkeys(matrices))
    types = layout.types(dict(tensors.values()), kind, config)
    return Rounding(kind, {name: types[short] for name, (short, _) in tensors.items() if types[short] != Type.F32})


def survives(rounded: str, kind: str) -> bool:
    """Whether what an adapter adds to a base in `rounded` survives that the sum is rounded again, to a GGUF of `kind`.

    On the very levels that the base was rounded to, matrices fall back to the values that they had, and much of the
    change is gone. docs/export.md has the measurement.
    """
    return rounded == NF4 or layout.KINDS[rounded][1] != layout.KINDS[kind][1]


def over_rows(work: Callable[[Array], Array], values: Array) -> Array:
    """`work` on all rows of `values`, on each core a part of them; NumPy and the encoders work outside the GIL."""
    count = min(len(values), os.cpu_count() or 1)
    if count < 2:
        return work(values)
    with ThreadPoolExecutor(count) as pool:
        return np.concatenate(list(pool.map(work, np.array_split(values, count))))
