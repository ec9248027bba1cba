"""A small GGUF in F32, written straight from a model folder: the engine's tests need no exporter."""

import json
from pathlib import Path
from typing import Any

import gguf
from safetensors.torch import load_file

from radlite.tokenizer import Tokenizer


def write(folder: Path, path: Path, keys: dict[str, str | None] | None = None) -> Path:
    """Write the model in `folder` to `path`, with the text `keys` added, or left out where None."""
    config = json.loads((folder / "config.json").read_text())
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    tokenizer = Tokenizer.from_folder(folder)
    arch = config["model_type"]
    writer = gguf.GGUFWriter(path, arch)
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_freq_base(config["rope_parameters"]["rope_theta"])
    if "head_dim" in config:
        writer.add_key_length(config["head_dim"])
        writer.add_value_length(config["head_dim"])
    _vocabulary(writer, tokenizer, config["vocab_size"])
    texts = {"tokenizer.chat_template": settings["chat_template"], "tokenizer.huggingface.json": tokenizer.definition}
    for key, text in {**texts, **(keys or {})}.items():
        if text is not None:
            writer.add_string(key, text)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH[arch.upper()], config["num_hidden_layers"])
    for name, tensor in load_file(folder / "model.safetensors").items():
        writer.add_tensor(names.get_name(name, try_suffixes=(".weight", ".bias")), tensor.float().numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _vocabulary(writer: Any, tokenizer: Tokenizer, size: int) -> None:
    model = json.loads(tokenizer.definition)["model"]
    tokens = [f"[PAD{number}]" for number in range(size)]
    types = [gguf.TokenType.UNUSED] * size
    for named, kind in ((model["vocab"], gguf.TokenType.NORMAL), (tokenizer.control, gguf.TokenType.CONTROL)):
        for token, number in named.items():
            tokens[number], types[number] = token, kind
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    writer.add_token_merges([merge if isinstance(merge, str) else " ".join(merge) for merge in model["merges"]])
    writer.add_eos_token_id(tokenizer.control["<|im_end|>"])
    writer.add_pad_token_id(tokenizer.control["<|endoftext|>"])
    writer.add_bool("tokenizer.ggml.add_bos_token", False)
