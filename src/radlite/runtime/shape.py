"""A GGUF of a real model's shape with random weights, so that a machine can be judged before anything is trained.

It has the sizes, types and vocabulary rows of the real file, so memory and speed are true; what it answers is noise.
So has a model folder, from which export can be judged.
"""

import json
import math
from collections.abc import Iterator, Mapping
from importlib import resources
from pathlib import Path
from typing import Any, Final, Literal

import gguf
import numpy as np
from gguf import GGMLQuantizationType as Type
from numpy.typing import NDArray

from radlite import manifest
from radlite.chat import Renderer
from radlite.errors import UserError
from radlite.files import atomic, atomic_folder
from radlite.runtime import gguf as header
from radlite.runtime import layout
from radlite.runtime.gguf import Header

_COMMON: Final = {
    "vocab_size": 151_936,
    "head_dim": 128,
    "num_hidden_layers": 36,
    "rms_norm_eps": 1e-6,
    "rope_theta": 1e6,
    "tie_word_embeddings": True,
}
_QWEN2: Final = _COMMON | {
    "architectures": ["Qwen2ForCausalLM"],
    "num_key_value_heads": 2,
    "max_position_embeddings": 32_768,
}
_QWEN3: Final = _COMMON | {
    "architectures": ["Qwen3ForCausalLM"],
    "num_key_value_heads": 8,
    "max_position_embeddings": 40_960,
}
SHAPES: Final[dict[str, dict[str, Any]]] = {
    "qwen2.5-0.5b": _QWEN2 | {
        "hidden_size": 896, "intermediate_size": 4864, "num_hidden_layers": 24, "num_attention_heads": 14,
        "head_dim": 64,
    },
    "qwen2.5-3b": _QWEN2 | {"hidden_size": 2048, "intermediate_size": 11_008, "num_attention_heads": 16},
    "qwen3-0.6b": _QWEN3 | {
        "hidden_size": 1024, "intermediate_size": 3072, "num_hidden_layers": 28, "num_attention_heads": 16,
    },
    "qwen3-4b": _QWEN3 | {"hidden_size": 2560, "intermediate_size": 9728, "num_attention_heads": 32},
}  # fmt: skip
"""What config.json says of Qwen2.5-0.5B-Instruct, Qwen2.5-3B-Instruct, Qwen3-0.6B and Qwen3-4B."""

# Where a block has its half-precision numbers, as multiples of its scale: (offset in bytes, multiple). A second one
# shifts the block so that its mean is zero. The rest of a block may be any bytes. From ggml-common.h.
_HALVES: Final[dict[Type, tuple[tuple[int, float], ...]]] = {
    Type.Q8_0: ((0, 1),),
    Type.Q6_K: ((208, 1),),
    Type.Q5_K: ((0, 1), (2, 15.5)),
    Type.Q4_K: ((0, 1), (2, 7.5)),
    Type.IQ4_XS: ((0, 1),),
    Type.IQ4_NL: ((0, 1),),
    Type.Q5_1: ((0, 1), (2, -15.5)),
    Type.Q5_0: ((0, 1),),
}
# Floating-point types, as integers: width in bytes, bits of the exponent's field, its place and its bias.
_EXPONENT: Final[dict[Type, tuple[int, int, int, int]]] = {
    Type.F32: (4, 0x7F800000, 23, 127),
    Type.F16: (2, 0x7C00, 10, 15),
    Type.BF16: (2, 0x7F80, 7, 127),
}
_SHARP: Final = 5.0
"""The last norm: logits spread so far that a model's choices are about as sure as a trained one's. Where all labels
were alike likely, an engine would weigh more of them than it ever has to."""
_PIECE: Final = 1 << 24
"""About as many bytes are made and written at once."""

_SHARD: Final = 4_000_000_000
"""Bytes of tensors in one file of a model folder, as on the hub: Qwen2.5-3B comes in two, Qwen3-4B in three."""


def write(
    name: str,
    path: Path,
    quantization: str = "Q4_K_M",
    layers: int | None = None,
    seed: int = 0,
    vocabulary: Path | None = None,
) -> Path:
    """Write a GGUF of shape `name`, one of `SHAPES`, with random weights, and return its path.

    `layers` cuts the model to its first layers. `vocabulary`, a GGUF or a model folder, gives tokenizer and chat
    template; without it they are those of the tiny base of the family, whose ids fill a part of the rows. The weights
    depend on `seed` alone. Memory: some 50 MB beside the vocabulary. The file appears whole or not at all. Raises
    `UserError` for a name, kind or number of layers that there is not, another vocabulary than Qwen's, a full disk.
    """
    keys, shapes, types = _plan(name, quantization, layers, seed, vocabulary)
    random = np.random.Generator(np.random.SFC64(seed))
    with atomic(path) as part:
        layout.write_head(part, keys, shapes, types)
        with part.open("ab") as file:
            for tensor, shape in shapes.items():
                file.write(bytes(-file.tell() % layout.ALIGNMENT))
                for data in _values(tensor, shape, types[tensor], random):
                    file.write(data.data)
            file.write(bytes(-file.tell() % layout.ALIGNMENT))
    return path


def plan(
    name: str,
    path: Path,
    quantization: str = "Q4_K_M",
    layers: int | None = None,
    seed: int = 0,
    vocabulary: Path | None = None,
) -> Header:
    """What the header of the file that `write` makes would say, to know its needs before it is written.

    Raises `UserError` as `write` does.
    """
    keys, shapes, types = _plan(name, quantization, layers, seed, vocabulary)
    return Header(
        path,
        keys,
        {tensor: shape[::-1] for tensor, shape in shapes.items()},
        {tensor: int(type) for tensor, type in types.items()},
    )


def write_folder(
    name: str,
    folder: Path,
    layers: int | None = None,
    seed: int = 0,
    vocabulary: Path | None = None,
    type: Literal["BF16", "F16"] = "BF16",
) -> Path:
    """Write a Hugging Face folder of shape `name` with random weights in `type`, and return it; else as `write`.

    Matrices are normally distributed, about as trained ones are. Files of at most 4 GB, with their index. Memory: some
    100 MB beside the vocabulary. The folder appears whole or not at all. Raises `UserError` as `write` does.
    """
    config = _config(name, layers)
    source = vocabulary or _tiny(name)
    renderer = Renderer.from_folder(source) if source.is_dir() else header.read(source).renderer()
    layout.keys(config, renderer, source)  # which refuses another vocabulary than Qwen's
    shapes = {tensor: shape for tensor, (_, shape) in layout.tensors(config).items()}
    names = {tensor: gguf_name for tensor, (gguf_name, _) in layout.tensors(config).items()}
    shards = _shards(shapes)
    random = np.random.Generator(np.random.SFC64(seed))
    with atomic_folder(folder) as part:
        index: dict[str, str] = {}
        for number, tensors in enumerate(shards, start=1):
            file = "model.safetensors" if len(shards) == 1 else f"model-{number:05}-of-{len(shards):05}.safetensors"
            index |= dict.fromkeys(tensors, file)
            with (part / file).open("wb") as out:
                out.write(_table({tensor: shapes[tensor] for tensor in tensors}, type))
                for tensor in tensors:
                    for values in _normal(names[tensor], shapes[tensor], random):
                        out.write((values.astype("<f2") if type == "F16" else layout.bfloat16(values)).data)
        if len(shards) > 1:
            total = {"total_size": sum(2 * math.prod(shape) for shape in shapes.values())}
            _json(part / "model.safetensors.index.json", {"metadata": total, "weight_map": index})
        _json(part / "config.json", _settings(config, renderer, type))
        (part / "tokenizer.json").write_text(renderer.tokenizer.definition, "utf-8")
        tokens = {"eos_token": renderer.end, "pad_token": "<|endoftext|>"}
        about = {"tokenizer_class": "Qwen2Tokenizer", **tokens, "add_bos_token": False}
        _json(part / "tokenizer_config.json", {**about, "chat_template": renderer.template})
        facts = {"weights": "random", "shape": name, "layers": config["num_hidden_layers"], "seed": seed}
        manifest.write(part, manifest.describe("base", **facts))
    return folder


def _shards(shapes: Mapping[str, tuple[int, ...]]) -> list[list[str]]:
    """Names of the tensors of each file, in order."""
    shards: list[list[str]] = [[]]
    taken = 0
    for tensor, shape in shapes.items():
        size = 2 * math.prod(shape)
        if shards[-1] and taken + size > _SHARD:
            shards.append([])
            taken = 0
        shards[-1].append(tensor)
        taken += size
    return shards


def _table(shapes: Mapping[str, tuple[int, ...]], type: str) -> bytes:
    """What a safetensors file of these tensors begins with; two bytes a number."""
    table: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for tensor, shape in shapes.items():
        begin, end = end, end + 2 * math.prod(shape)
        table[tensor] = {"dtype": type, "shape": list(shape), "data_offsets": [begin, end]}
    text = json.dumps(table).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def _settings(config: Mapping[str, Any], renderer: Renderer, type: str) -> dict[str, Any]:
    """config.json, as transformers reads it."""
    text_end = renderer.tokenizer.control.get("<|endoftext|>", renderer.end_id)
    return {
        **config,
        "model_type": layout.FAMILIES[config["architectures"][0]],
        "dtype": "float16" if type == "F16" else "bfloat16",
        "hidden_act": "silu",
        "rope_parameters": {"rope_type": "default", "rope_theta": config["rope_theta"]},
        "use_sliding_window": False,
        "bos_token_id": text_end,
        "eos_token_id": renderer.end_id,
        "pad_token_id": text_end,
    }


def _json(path: Path, value: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", "utf-8")


def _normal(tensor: str, shape: tuple[int, ...], random: np.random.Generator) -> Iterator[NDArray[np.float32]]:
    """The numbers of the tensor that the GGUF calls `tensor`, in pieces; norms as in `_values`."""
    left = math.prod(shape)
    while left:
        count = min(left, _PIECE // 4)
        if tensor.endswith("_norm.weight"):
            yield np.full(count, _SHARP if tensor == "output_norm.weight" else 1.0, np.float32)
        else:
            yield random.standard_normal(count, np.float32) * np.float32(shape[-1] ** -0.5)
        left -= count


def _plan(
    name: str, quantization: str, layers: int | None, seed: int, vocabulary: Path | None
) -> tuple[dict[str, Any], dict[str, tuple[int, ...]], dict[str, Type]]:
    """Keys, and for each tensor its shape and its type."""
    layout.demand_kind(quantization)
    config = _config(name, layers)
    source = vocabulary or _tiny(name)
    renderer = Renderer.from_folder(source) if source.is_dir() else header.read(source).renderer()
    shapes = dict(layout.tensors(config).values())
    made = manifest.describe(
        "gguf", quantization=quantization, weights="random", shape=name, layers=config["num_hidden_layers"], seed=seed
    )
    keys = layout.about(f"{name}-random", quantization, made) | layout.keys(config, renderer, source)
    return keys, shapes, layout.types(shapes, quantization, config)


def _config(name: str, layers: int | None) -> dict[str, Any]:
    if name not in SHAPES:
        raise UserError(f"There is no shape called {name!r}; choose from {', '.join(SHAPES)}.")
    whole = SHAPES[name]["num_hidden_layers"]
    if layers is not None and not 1 <= layers <= whole:
        raise UserError(f"{name} has {whole} layers, so it cannot be cut to {layers}; ask for 1 to {whole}.")
    return SHAPES[name] | {"num_hidden_layers": layers or whole}


def _tiny(name: str) -> Path:
    """The tiny base of the family, which ships with the package."""
    return Path(str(resources.files("radlite") / "models" / f"tiny-{name.partition('-')[0]}"))


def _values(
    tensor: str, shape: tuple[int, ...], type: Type, random: np.random.Generator
) -> Iterator[NDArray[np.generic]]:
    """The data of a tensor, in pieces. Norms are one, so that with matrices that keep length nothing grows or dies."""
    if tensor.endswith("_norm.weight"):
        yield np.full(shape, _SHARP if tensor == "output_norm.weight" else 1.0, "<f4")
    else:
        yield from _random(math.prod(shape), type, shape[-1] ** -0.5, random)


def _random(count: int, type: Type, deviation: float, random: np.random.Generator) -> Iterator[NDArray[np.generic]]:
    """`count` random numbers of standard deviation `deviation` in `type`, in pieces."""
    block, stored = (int(number) for number in gguf.GGML_QUANT_SIZES[type])
    left = count // block
    while left:
        blocks = min(left, _PIECE // stored)
        data = random.integers(0, 1 << 64, -(-blocks * stored // 8), np.uint64).view(np.uint8)[: blocks * stored]
        yield _scaled(data.reshape(blocks, stored), type, deviation)
        left -= blocks


def _scaled(data: NDArray[np.uint8], type: Type, deviation: float) -> NDArray[np.generic]:
    """Random bytes, (blocks, bytes), made numbers of standard deviation `deviation`, in place."""
    if type in _EXPONENT:
        width, field, place, bias = _EXPONENT[type]
        values = data.view(f"<u{width}")
        values &= values.dtype.type(~field & (1 << 8 * width) - 1)
        values |= values.dtype.type(bias + round(math.log2(deviation / 1.5)) << place)  # 1.5: of numbers in 1..2
        return values
    _set_scale(data, type, 1)
    _set_scale(data, type, deviation / float(np.std(gguf.dequantize(data[:4096], type))))
    return data


def _set_scale(data: NDArray[np.uint8], type: Type, scale: float) -> None:
    for offset, multiple in _HALVES[type]:
        data[:, offset : offset + 2].view("<f2")[:] = multiple * scale
