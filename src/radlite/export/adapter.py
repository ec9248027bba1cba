"""A LoRA adapter as a GGUF file of its own, which an engine adds to a base while it runs.

Keys and names are those of llama.cpp's `llama-adapter.cpp`: NAME.lora_a is A (rank, columns), NAME.lora_b is B (rows,
rank), and each matrix changes by `alpha / rank * B A`, whatever PEFT's scale was.
"""

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np
from gguf import GGMLQuantizationType as Type
from gguf import LlamaFileType as FileType

from radlite import manifest
from radlite.errors import UserError
from radlite.export import gguf
from radlite.export.merge import Change, change
from radlite.files import atomic
from radlite.runtime import layout
from radlite.runtime.quantize import LOSS, decode, encode, excess
from radlite.runtime.weights import Tensor

_ROUNDED: Final = 2.0**-10
"""The share of a tensor's norm that half precision may lose: twice what it does where its numbers are normal."""


def write(adapter: Path, out: Path, base: Path | None = None) -> Path:
    """Write the adapter folder to the GGUF file `out` and return its path.

    `base` is where the manifest says unless given. Tensors are in F16, but in F32 where that would lose more than
    2**-10 of one's norm. `adapter.lora.alpha` is `scale * rank`, which with rsLoRA is not PEFT's alpha. Memory: a block
    of one tensor. The file appears whole or not at all. Raises `UserError` as `merge.change` does, and for a value that
    is not finite.
    """
    found = change(adapter, base)
    sources = tensors(found)
    shapes = {name: tensor.shape for name, tensor in sources.items()}
    types = {name: _type(tensor) for name, tensor in sources.items()}
    made = manifest.describe("adapter gguf", **found.made)
    keys = {
        "general.architecture": layout.FAMILIES[layout.settings(found.base)["architectures"][0]],
        "general.type": "adapter",
        "general.name": adapter.resolve().name,
        "general.file_type": int(FileType.MOSTLY_F16 if Type.F16 in types.values() else FileType.ALL_F32),
        "adapter.type": "lora",
        "adapter.lora.alpha": alpha(found),
        "radlite.manifest": json.dumps(made, ensure_ascii=False),
    }
    with atomic(out) as part:
        layout.write_head(part, keys, shapes, types)
        with part.open("ab") as file:
            for name, tensor in sources.items():
                file.write(bytes(-file.tell() % layout.ALIGNMENT))
                for block in tensor.blocks():
                    file.write(encode(tensor.read(*block), types[name]).data)
            file.write(bytes(-file.tell() % layout.ALIGNMENT))
    return out


def alpha(found: Change) -> float:
    """What the file says as `adapter.lora.alpha`: the engine divides it by the rank."""
    return found.scale * found.rank


def tensors(found: Change) -> dict[str, Tensor]:
    """The adapter's tensors by their names in the GGUF, in the order of the base's; `UserError` for DoRA."""
    if found.lengths:
        raise UserError(
            "A DoRA adapter cannot stand alone in a GGUF, which has no place for lengths; merge it instead."
        )
    names = {source: name for source, (name, _) in layout.tensors(layout.settings(found.base)).items()}
    if unknown := found.pairs.keys() - names.keys():
        raise UserError(f"The adapter changes {min(unknown)}, which a GGUF of {found.base} does not have.")
    return {
        f"{name}.{part}": tensor
        for source, name in names.items()
        if source in found.pairs
        for part, tensor in zip(("lora_a", "lora_b"), found.pairs[source], strict=True)
    }


def _type(tensor: Tensor) -> Type:
    """F16, unless it would overflow, or most of the tensor is so small that its numbers there are coarse."""
    lost = norm = 0.0
    for block in tensor.blocks():
        values = tensor.read(*block)
        with np.errstate(over="ignore"):
            lost += float(np.square(values.astype(np.float16).astype(np.float64) - values).sum())
        norm += float(np.square(values.astype(np.float64)).sum())
    return Type.F16 if lost <= _ROUNDED**2 * norm else Type.F32


def errors(path: Path, found: Change) -> Iterator[tuple[str, float]]:
    """Each tensor of the adapter, and the largest error of the file's as a multiple of what its type may lose.

    Infinite for one that is missing, of another shape, or more than the adapter has.
    """
    sources = tensors(found)
    for name, type, data in gguf.read(path, "adapter"):
        tensor = sources.pop(name, None)
        if tensor and type in LOSS and data.shape == (tensor.rows, layout.size(1, tensor.shape[-1], type)):
            yield name, max(excess(tensor.read(*b), decode(data[slice(*b)], type), type) for b in tensor.blocks())
        else:
            yield name, math.inf
    yield from ((name, math.inf) for name in sources)
