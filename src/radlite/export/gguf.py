"""A Hugging Face model folder as one GGUF file: weights, tokenizer, chat template and manifest.

Keys and names: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md and llama.cpp's loader of Qwen2 and Qwen3.
"""

import functools
import json
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import gguf
import numpy as np
from numpy.typing import NDArray

from radlite import manifest
from radlite.chat import Renderer
from radlite.errors import UserError
from radlite.export import weights
from radlite.export.quantize import FLOATS, KINDS, encode, size, tensor_type
from radlite.export.weights import Tensor
from radlite.files import atomic, read_json
from radlite.tokenizer import QWEN_PATTERN

FAMILIES: Final = {"Qwen2ForCausalLM": "qwen2", "Qwen3ForCausalLM": "qwen3"}
_ALIGNMENT = 32
_TOO_LARGE = 65520.0
"""The smallest number that rounds to infinity in half precision."""

Layout = dict[str, tuple[str, tuple[int, ...]]]
"""Name of a tensor in the folder to its name in the GGUF, and its shape."""


def write(folder: Path, out: Path, kind: str = "F16", threads: int | None = None) -> Path:
    """Write the model in `folder` to the GGUF file `out` and return its path; `kind` is one of `KINDS`.

    Memory: a few blocks of one tensor, and that tensor encoded. The file appears whole or not at all. Raises
    `UserError` for another architecture, weights that are missing, damaged or not finite, and a full disk.
    """
    demand_kind(kind)
    config = settings(folder)
    sources = tensors(folder, config)
    types = {name: _type(name, tensor, kind, config) for name, tensor in sources.items()}
    with atomic(out) as part, ThreadPoolExecutor(threads or os.cpu_count()) as pool:
        _write_head(part, keys(folder, config), _about(folder, kind), sources, types)
        with part.open("ab") as file:
            for name, tensor in sources.items():
                file.write(bytes(-file.tell() % _ALIGNMENT))
                for data in pool.map(functools.partial(_encoded, tensor, types[name]), tensor.blocks()):
                    file.write(data.data)
            file.write(bytes(-file.tell() % _ALIGNMENT))
    return out


def demand_kind(kind: str) -> None:
    """Raise `UserError` unless `kind` is one of `KINDS`."""
    if kind not in KINDS:
        raise UserError(f"There is no kind of GGUF called {kind!r}; choose from {', '.join(KINDS)}.")


def _encoded(tensor: Tensor, type: gguf.GGMLQuantizationType, block: tuple[int, int]) -> NDArray[np.uint8]:
    values = tensor.read(*block)
    if type == gguf.GGMLQuantizationType.F16 and np.abs(values).max() >= _TOO_LARGE:
        raise UserError(f"{tensor.name} has a value beyond what F16 holds (65,504); export as BF16.")
    return encode(values, type)


def settings(folder: Path) -> dict[str, Any]:
    """The folder's config.json. Raises `UserError` for a model that this module does not know how to write."""
    config = read_json(folder / "config.json", "model configuration")
    names = config.get("architectures") or ["unnamed"]
    if names[0] not in FAMILIES:
        raise UserError(f"{folder} is a {names[0]}; only {' and '.join(FAMILIES)} can be exported.")
    rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
    unknown = {
        "rope_type": rope.get("rope_type", rope.get("type", "default")) != "default",
        "use_sliding_window": config.get("use_sliding_window", False),
        "hidden_act": config.get("hidden_act", "silu") != "silu",
        "quantization_config": config.get("quantization_config") is not None,
    }
    for name, is_set in unknown.items():
        if is_set:
            raise UserError(f"{folder} sets {name} in config.json to what cannot be exported; use a plain Qwen model.")
    try:
        config["rope_theta"] = float(rope["rope_theta"] if "rope_theta" in rope else config["rope_theta"])
        config["head_dim"] = config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]
        for name in ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
                     "num_key_value_heads", "rms_norm_eps", "max_position_embeddings"):  # fmt: skip
            config[name] = config[name] + 0
    except (KeyError, TypeError, ZeroDivisionError) as error:
        raise UserError(f"The config.json in {folder} is incomplete ({error}); get the model again.") from error
    return config


def tensors(folder: Path, config: dict[str, Any]) -> dict[str, Tensor]:
    """The weights that the GGUF holds, by their names there, in its order.

    Raises `UserError` if one is missing, has another shape than the configuration says, or is not known.
    """
    sources = weights.read(folder)
    chosen = {}
    for source, (name, shape) in _layout(config).items():
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


def _layout(config: dict[str, Any]) -> Layout:
    """Every tensor that a model of this configuration has."""
    hidden, wide, head = config["hidden_size"], config["intermediate_size"], config["head_dim"]
    query, key = config["num_attention_heads"] * head, config["num_key_value_heads"] * head
    layer: Layout = {
        "input_layernorm.weight": ("attn_norm.weight", (hidden,)),
        "self_attn.q_proj.weight": ("attn_q.weight", (query, hidden)),
        "self_attn.k_proj.weight": ("attn_k.weight", (key, hidden)),
        "self_attn.v_proj.weight": ("attn_v.weight", (key, hidden)),
        "self_attn.o_proj.weight": ("attn_output.weight", (hidden, query)),
        "post_attention_layernorm.weight": ("ffn_norm.weight", (hidden,)),
        "mlp.gate_proj.weight": ("ffn_gate.weight", (wide, hidden)),
        "mlp.up_proj.weight": ("ffn_up.weight", (wide, hidden)),
        "mlp.down_proj.weight": ("ffn_down.weight", (hidden, wide)),
    }
    if FAMILIES[config["architectures"][0]] == "qwen2":
        for part, rows in (("q", query), ("k", key), ("v", key)):
            layer[f"self_attn.{part}_proj.bias"] = (f"attn_{part}.bias", (rows,))
    else:
        layer |= {f"self_attn.{part}_norm.weight": (f"attn_{part}_norm.weight", (head,)) for part in "qk"}
    layout: Layout = {"model.embed_tokens.weight": ("token_embd.weight", (config["vocab_size"], hidden))}
    for number in range(config["num_hidden_layers"]):
        for source, (name, shape) in layer.items():
            layout[f"model.layers.{number}.{source}"] = (f"blk.{number}.{name}", shape)
    layout["model.norm.weight"] = ("output_norm.weight", (hidden,))
    if not config.get("tie_word_embeddings"):
        layout["lm_head.weight"] = ("output.weight", (config["vocab_size"], hidden))
    return layout


def keys(folder: Path, config: dict[str, Any]) -> dict[str, Any]:
    """Every key of the GGUF that decides what the model does: sizes, rope, tokenizer, chat template."""
    family = FAMILIES[config["architectures"][0]]
    renderer = Renderer.from_folder(folder)
    end = renderer.end_id
    text_end = renderer.tokenizer.control.get("<|endoftext|>", end)
    return {
        "general.architecture": family,
        f"{family}.block_count": config["num_hidden_layers"],
        f"{family}.context_length": config["max_position_embeddings"],
        f"{family}.embedding_length": config["hidden_size"],
        f"{family}.feed_forward_length": config["intermediate_size"],
        f"{family}.attention.head_count": config["num_attention_heads"],
        f"{family}.attention.head_count_kv": config["num_key_value_heads"],
        f"{family}.attention.key_length": config["head_dim"],
        f"{family}.attention.value_length": config["head_dim"],
        f"{family}.attention.layer_norm_rms_epsilon": float(config["rms_norm_eps"]),
        f"{family}.rope.freq_base": config["rope_theta"],
        **_vocabulary(folder, json.loads(renderer.tokenizer.definition), config["vocab_size"]),
        "tokenizer.ggml.eos_token_id": end,
        "tokenizer.ggml.eot_token_id": end,
        "tokenizer.ggml.padding_token_id": text_end,
        "tokenizer.ggml.bos_token_id": text_end,
        "tokenizer.ggml.add_bos_token": False,
        "tokenizer.chat_template": renderer.template,
        "tokenizer.huggingface.json": renderer.tokenizer.definition,
    }


def _vocabulary(folder: Path, definition: dict[str, Any], size: int) -> dict[str, Any]:
    """Tokens by id, filled up to `size`, the model's rows; their types; the merges as text."""
    cutter = definition.get("pre_tokenizer") or {}
    splits = cutter.get("pretokenizers", [cutter])
    if not any(split.get("pattern") == {"Regex": QWEN_PATTERN} for split in splits):
        raise UserError(f"The tokenizer in {folder} does not cut text as Qwen2's and Qwen3's do; use a Qwen model.")
    tokens = [f"[PAD{number}]" for number in range(size)]
    types = [gguf.TokenType.UNUSED] * size
    special = (gguf.TokenType.USER_DEFINED, gguf.TokenType.CONTROL)
    entries = [(number, token, gguf.TokenType.NORMAL) for token, number in definition["model"]["vocab"].items()]
    entries += [(entry["id"], entry["content"], special[entry["special"]]) for entry in definition["added_tokens"]]
    for number, token, kind in entries:
        if not 0 <= number < size:
            raise UserError(f"The tokenizer in {folder} has id {number}, but the model has {size:,} rows.")
        tokens[number], types[number] = token, kind
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in definition["model"]["merges"]]
    return {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "qwen2",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": [int(kind) for kind in types],
        "tokenizer.ggml.merges": merges,
    }


def _about(folder: Path, kind: str) -> dict[str, Any]:
    """Keys that say what the file is and how it came to be."""
    source = manifest.read(folder) if (folder / manifest.NAME).is_file() else None
    made = manifest.describe(
        "gguf",
        quantization=kind,
        weights_hash=manifest.weights_hash(folder),
        template_hash=Renderer.from_folder(folder).hash,
        source=source,
    )
    file_type, default = KINDS[kind]
    return {
        "general.type": "model",
        "general.name": folder.resolve().name,
        "general.file_type": int(file_type),
        **({} if default in FLOATS else {"general.quantization_version": gguf.GGML_QUANT_VERSION}),
        "radlite.manifest": json.dumps(made, ensure_ascii=False),
    }


def _type(name: str, tensor: Tensor, kind: str, config: dict[str, Any]) -> gguf.GGMLQuantizationType:
    return tensor_type(
        name,
        tensor.shape[-1],
        kind,
        layers=config["num_hidden_layers"],
        group=config["num_attention_heads"] // config["num_key_value_heads"],
        tied=bool(config.get("tie_word_embeddings")),
    )


def _write_head(
    path: Path,
    behaviour: dict[str, Any],
    about: dict[str, Any],
    sources: dict[str, Tensor],
    types: dict[str, gguf.GGMLQuantizationType],
) -> None:
    """Write everything before the tensors' data, whose size is known before it is made."""
    writer = gguf.GGUFWriter(path, behaviour["general.architecture"])
    for name, value in {**about, **behaviour}.items():
        _add(writer, name, value)
    for name, tensor in sources.items():
        writer.add_tensor_info(
            name,
            tensor.shape,
            np.dtype(np.float32),
            size(tensor.rows, tensor.shape[-1], types[name]),
            raw_dtype=types[name],
        )
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    writer.close()


def _add(writer: Any, name: str, value: Any) -> None:
    if name == "general.architecture":
        return  # the writer's own
    kinds = {str: "string", bool: "bool", int: "uint32", float: "float32", list: "array"}
    getattr(writer, f"add_{kinds[type(value)]}")(name, value)


def read(path: Path) -> Iterator[tuple[str, gguf.GGMLQuantizationType, NDArray[np.uint8]]]:
    """The tensors in a GGUF file: name, type, and data mapped into memory, (rows, bytes)."""
    for tensor in gguf.GGUFReader(path).tensors:
        row = size(1, int(tensor.shape[0]), tensor.tensor_type)
        yield tensor.name, tensor.tensor_type, tensor.data.view(np.uint8).reshape(-1, row)
