"""A Hugging Face model folder as one GGUF file: weights, tokenizer, chat template and manifest."""

import functools
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal

import gguf
import numpy as np
from numpy.typing import NDArray

from radlite import manifest
from radlite.chat import Renderer
from radlite.errors import UserError
from radlite.export.importance import Importance, demand_use
from radlite.files import atomic
from radlite.runtime import gguf as header
from radlite.runtime import layout, weights
from radlite.runtime.quantize import encode
from radlite.runtime.weights import Array, Tensor

_TOO_LARGE = 65520.0
"""The smallest number that rounds to infinity in half precision."""


def write(
    folder: Path, out: Path, kind: str = "F16", threads: int | None = None, importance: Importance | None = None
) -> Path:
    """Write the model in `folder` to the GGUF file `out` and return its path; `kind` is one of `layout.KINDS`.

    Where `importance` is given, what counts most to the model's answers is rounded finest. Memory: a few blocks of one
    tensor, and that tensor encoded. The file appears whole or not at all. Raises `UserError` for another architecture,
    weights that are missing, damaged or not finite, a full disk, and importance for a kind that has no use for it.
    """
    layout.demand_kind(kind)
    if importance:
        demand_use(kind)
    config = layout.settings(folder)
    sources = tensors(folder, config)
    shapes = {name: tensor.shape for name, tensor in sources.items()}
    types = layout.types(shapes, kind, config, weighed=importance is not None)
    tied = bool(config.get("tie_word_embeddings"))
    columns = {name: importance.of(tensor, tied) if importance else None for name, tensor in sources.items()}
    with atomic(out) as part, ThreadPoolExecutor(threads or os.cpu_count()) as pool:
        layout.write_head(part, {**_about(folder, kind, importance), **keys(folder, config)}, shapes, types)
        with part.open("ab") as file:
            for name, tensor in sources.items():
                file.write(bytes(-file.tell() % layout.ALIGNMENT))
                encoded = functools.partial(_encoded, tensor, types[name], columns[name])
                for data in pool.map(encoded, tensor.blocks()):
                    file.write(data.data)
            file.write(bytes(-file.tell() % layout.ALIGNMENT))
    return out


def _encoded(
    tensor: Tensor, type: gguf.GGMLQuantizationType, importance: Array | None, block: tuple[int, int]
) -> NDArray[np.uint8]:
    values = tensor.read(*block)
    if type == gguf.GGMLQuantizationType.F16 and np.abs(values).max() >= _TOO_LARGE:
        raise UserError(f"{tensor.name} has a value beyond what F16 holds (65,504); export as BF16.")
    return encode(values, type, importance)


def tensors(folder: Path, config: dict[str, Any]) -> dict[str, Tensor]:
    """The weights that the GGUF holds, by their names there, in its order.

    Raises `UserError` if one is missing, has another shape than the configuration says, or is not known.
    """
    sources = weights.read(folder)
    chosen = {}
    for source, (name, shape) in layout.tensors(config).items():
        if source not in sources:
            raise UserError(f"{folder} has no {source}; the model is incomplete, get or train it again.")
        if sources[source].shape != shape:
            raise UserError(f"{source} in {folder} has shape {sources[source].shape}, but config.json implies {shape}.")
        chosen[name] = sources.pop(source)
    # Tied models may carry the output matrix all the same; it is the embeddings again.
    ignored = "lm_head.weight" if config.get("tie_word_embeddings") else None
    for source in sources:
        if source != ignored:
            raise UserError(f"{folder} has {source}, which no Qwen model of this kind has; it cannot be exported.")
    return chosen


def keys(folder: Path, config: dict[str, Any]) -> dict[str, Any]:
    """Every key of the GGUF that decides what the model does: sizes, rope, tokenizer, chat template."""
    return layout.keys(config, Renderer.from_folder(folder), folder)


def _about(folder: Path, kind: str, importance: Importance | None) -> dict[str, Any]:
    made = manifest.describe(
        "gguf",
        quantization=kind,
        weights_hash=manifest.weights_hash(folder),
        template_hash=Renderer.from_folder(folder).hash,
        source=manifest.read(folder) if (folder / manifest.NAME).is_file() else None,
        **({"importance": importance.made()} if importance else {}),
    )
    return {**layout.about(folder.resolve().name, kind, made), **(importance.keys() if importance else {})}


def read(
    path: Path, kind: Literal["model", "adapter"] = "model"
) -> Iterator[tuple[str, gguf.GGMLQuantizationType, NDArray[np.uint8]]]:
    """The tensors in the GGUF file of a model or an adapter: name, type, and data mapped into memory, (rows, bytes)."""
    found = header.read(path, kind)
    data = np.memmap(path, np.uint8, "r")
    for name, shape in found.tensors.items():
        type, start = gguf.GGMLQuantizationType(found.types[name]), found.starts[name]
        yield name, type, data[start : start + found.size(name)].reshape(-1, layout.size(1, shape[0], type))
