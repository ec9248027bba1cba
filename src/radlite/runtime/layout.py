"""What a GGUF of a Qwen model is made of: its keys, its tensors, and the type that each tensor gets.

Nothing here needs the weights: the exporter fills them in from a folder, `shape` with random numbers. Keys and names:
https://github.com/ggml-org/ggml/blob/master/docs/gguf.md and llama.cpp's loader of Qwen2 and Qwen3.
"""

import contextlib
import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import gguf
import numpy as np
from gguf import GGMLQuantizationType as Type
from gguf import LlamaFileType as FileType
from numpy.typing import NDArray

from radlite.chat import Renderer
from radlite.errors import UserError
from radlite.files import read_json
from radlite.runtime.gguf import Header
from radlite.tokenizer import QWEN_PATTERN

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

FAMILIES: Final = {"Qwen2ForCausalLM": "qwen2", "Qwen3ForCausalLM": "qwen3"}
ALIGNMENT: Final = 32
"""Each tensor's data begin at a multiple of this many bytes, counted from the first's."""


Layout = dict[str, tuple[str, tuple[int, ...]]]
"""Name of a tensor in a Hugging Face folder to its name in the GGUF, and its shape."""


def demand_kind(kind: str) -> None:
    """Raise `UserError` unless `kind` is one of `KINDS`."""
    if kind not in KINDS:
        raise UserError(f"There is no kind of GGUF called {kind!r}; choose from {', '.join(KINDS)}.")


def settings(folder: Path) -> dict[str, Any]:
    """The folder's config.json. Raises `UserError` for a model that cannot be written as a GGUF."""
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


def tensors(config: Mapping[str, Any]) -> Layout:
    """Every tensor that a model has, in its GGUF's order; `config` holds what the family's config.json does."""
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


def tensor_type(name: str, columns: int, kind: str, layers: int, group: int, tied: bool, weighed: bool = False) -> Type:
    """The type of GGUF tensor `name` in a file of `kind`, as llama.cpp's `llama-quant.cpp` chooses it for Qwen.

    `columns` is the row length, `group` the query heads that share a key head, `tied` whether the embeddings are the
    output matrix too, `weighed` whether it is rounded by importance. Vectors stay in float32.
    """
    default = KINDS[kind][1]
    if not name.endswith(".weight") or name.endswith("_norm.weight"):
        return Type.F32
    return (
        default if default in FLOATS else _fitting(_mixed(name, columns, kind, layers, group, tied, weighed), columns)
    )


def _mixed(name: str, columns: int, kind: str, layers: int, group: int, tied: bool, weighed: bool) -> Type:
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
        return Type.Q5_K if (group >= 4 if value else layer < eighth and not weighed) else default
    return default


def _fitting(type: Type, columns: int) -> Type:
    if columns % gguf.GGML_QUANT_SIZES[type][0]:
        type = _NARROW.get(type, Type.F16)
    return Type.F16 if columns % gguf.GGML_QUANT_SIZES[type][0] else type


def size(rows: int, columns: int, type: Type) -> int:
    """Bytes of a (rows, columns) matrix in `type`."""
    block, stored = gguf.GGML_QUANT_SIZES[type]
    return rows * columns // int(block) * int(stored)


def bfloat16(values: NDArray[np.float32]) -> NDArray[np.uint16]:
    """`values` in bfloat16, which NumPy has not, as bits; rounded to nearest even."""
    bits = values.view("<u4")
    rounded: NDArray[np.uint16] = ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype("<u2")
    return rounded


def types(
    shapes: Mapping[str, tuple[int, ...]], kind: str, config: Mapping[str, Any], weighed: bool = False
) -> dict[str, Type]:
    """The type of each GGUF tensor of these `shapes`, in a file of `kind`, `weighed` if rounded by importance."""
    facts = {
        "layers": config["num_hidden_layers"],
        "group": config["num_attention_heads"] // config["num_key_value_heads"],
        "tied": bool(config.get("tie_word_embeddings")),
        "weighed": weighed,
    }
    return {name: tensor_type(name, shape[-1], kind, **facts) for name, shape in shapes.items()}


def keys(config: Mapping[str, Any], renderer: Renderer, source: Path) -> dict[str, Any]:
    """Every key of the GGUF that decides what the model does: sizes, rope, tokenizer, chat template.

    Raises `UserError`, which names `source`, for a tokenizer that is not Qwen's or has more ids than the model rows.
    """
    family = FAMILIES[config["architectures"][0]]
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
        **_vocabulary(source, json.loads(renderer.tokenizer.definition), config["vocab_size"]),
        "tokenizer.ggml.eos_token_id": end,
        "tokenizer.ggml.eot_token_id": end,
        "tokenizer.ggml.padding_token_id": text_end,
        "tokenizer.ggml.bos_token_id": text_end,
        "tokenizer.ggml.add_bos_token": False,
        "tokenizer.chat_template": renderer.template,
        "tokenizer.huggingface.json": renderer.tokenizer.definition,
    }


def _vocabulary(source: Path, definition: dict[str, Any], size: int) -> dict[str, Any]:
    """Tokens by id, filled up to `size`, the model's rows; their types; the merges as text."""
    cutter = definition.get("pre_tokenizer") or {}
    splits = cutter.get("pretokenizers", [cutter])
    if not any(split.get("pattern") == {"Regex": QWEN_PATTERN} for split in splits):
        raise UserError(f"The tokenizer in {source} does not cut text as Qwen2's and Qwen3's do; use a Qwen model.")
    tokens = [f"[PAD{number}]" for number in range(size)]
    types = [gguf.TokenType.UNUSED] * size
    special = (gguf.TokenType.USER_DEFINED, gguf.TokenType.CONTROL)
    entries = [(number, token, gguf.TokenType.NORMAL) for token, number in definition["model"]["vocab"].items()]
    entries += [(entry["id"], entry["content"], special[entry["special"]]) for entry in definition["added_tokens"]]
    for number, token, kind in entries:
        if not 0 <= number < size:
            raise UserError(f"The tokenizer in {source} has id {number}, but the model has {size:,} rows.")
        tokens[number], types[number] = token, kind
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in definition["model"]["merges"]]
    return {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "qwen2",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": [int(kind) for kind in types],
        "tokenizer.ggml.merges": merges,
    }


def about(name: str, kind: str, made: Mapping[str, Any]) -> dict[str, Any]:
    """Keys that say what the file is, and by the manifest `made` how it came to be."""
    file_type, default = KINDS[kind]
    return {
        "general.type": "model",
        "general.name": name,
        "general.file_type": int(file_type),
        **({} if default in FLOATS else {"general.quantization_version": gguf.GGML_QUANT_VERSION}),
        "radlite.manifest": json.dumps(made, ensure_ascii=False),
    }


def write_head(
    path: Path, keys: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]], types: Mapping[str, Type]
) -> None:
    """Write everything before the tensors' data, whose size is known before it is made."""
    with contextlib.closing(gguf.GGUFWriter(path, keys["general.architecture"])) as writer:
        for name, value in keys.items():
            _add(writer, name, value)
        for name, shape in shapes.items():
            stored = size(math.prod(shape[:-1]), shape[-1], types[name])
            writer.add_tensor_info(name, shape, np.dtype(np.float32), stored, raw_dtype=types[name])
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()


def cut(whole: Header, path: Path, layers: int, rows: int) -> None:
    """Write a GGUF of `layers` layers of `whole`, evenly spaced, and of `rows` ids at most, without a tokenizer.

    It computes as fast as such a part of the whole. Raises `LookupError` or `TypeError` for a file whose keys or
    tensors are not as llama.cpp names them, and `OSError` where the disk is full.
    """
    family = whole.keys["general.architecture"]
    count = whole.keys[f"{family}.block_count"]
    kept = sorted({round(number * (count - 1) / max(layers - 1, 1)) for number in range(layers)})
    names = {f"blk.{old}.": f"blk.{new}." for new, old in enumerate(kept)}
    sources: dict[str, str] = {}
    for name in whole.tensors:
        layer = re.match(r"blk\.\d+\.", name)
        if not layer or layer[0] in names:
            sources[names[layer[0]] + name[layer.end() :] if layer else name] = name
    shapes = {name: whole.tensors[source][::-1] for name, source in sources.items()}
    for name in ("token_embd.weight", "output.weight"):
        if name in shapes:
            shapes[name] = (min(rows, shapes[name][0]), *shapes[name][1:])
    types = {name: Type(whole.types[source]) for name, source in sources.items()}
    keys = {name: value for name, value in whole.keys.items() if name.split(".")[0] not in ("tokenizer", "radlite")}
    keys |= {
        f"{family}.block_count": len(kept),
        f"{family}.vocab_size": shapes["token_embd.weight"][0],
        "tokenizer.ggml.model": "none",
    }
    write_head(path, keys, shapes, types)
    with whole.path.open("rb") as source_file, path.open("ab") as file:
        for name, source in sources.items():
            file.write(bytes(-file.tell() % ALIGNMENT))
            source_file.seek(whole.starts[source])
            file.write(source_file.read(size(math.prod(shapes[name][:-1]), shapes[name][-1], types[name])))
        file.write(bytes(-file.tell() % ALIGNMENT))


def _add(writer: Any, name: str, value: Any) -> None:
    if name == "general.architecture":
        return  # the writer's own
    kinds = {str: "string", bool: "bool", int: "uint32", float: "float32", list: "array"}
    kind = kinds[type(value)]
    if kind == "uint32" and not 0 <= value < 1 << 32:
        kind = "int64" if value < 0 else "uint64"
    getattr(writer, f"add_{kind}")(name, value)
