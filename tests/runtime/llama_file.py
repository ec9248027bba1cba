"""Small GGUF files of the Llama architecture with vocabularies of others: a byte-level BPE, and SentencePiece's."""

import json
from pathlib import Path
from typing import Any

import gguf
import numpy as np

from tests.conftest import TEXTS

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6

LLAMA3 = (
    "{{ bos_token }}{% for message in messages %}<|start_header_id|>{{ message.role }}<|end_header_id|>\n\n"
    "{{ message.content | trim }}<|eot_id|>{% endfor %}<|start_header_id|>assistant<|end_header_id|>\n\n"
)
GEMMA = (
    "{{ bos_token }}{% for message in messages %}{% if message.role == 'system' %}{{ raise_exception('no system') }}"
    "{% endif %}<start_of_turn>{{ message.role }}\n{{ message.content }}<end_of_turn>\n{% endfor %}"
    "<start_of_turn>model\n"
)
ZEPHYR = (
    "{% for message in messages %}<|{{ message.role }}|>\n{{ message.content }}{{ eos_token }}\n{% endfor %}"
    "<|assistant|>\n"
)


def byte_level(pre: str = "llama-bpe", template: str = LLAMA3) -> dict[str, Any]:
    """The keys of a byte-level BPE learned from the tests' texts, with Llama 3's control tokens."""
    from radlite.training.base import learn_tokenizer

    model = json.loads(learn_tokenizer(TEXTS, 512).definition)["model"]
    control = ["<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]
    tokens = [*sorted(model["vocab"], key=model["vocab"].__getitem__), *control, "    "]
    return {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": pre,
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": [NORMAL] * (len(tokens) - 5) + [CONTROL] * 4 + [USER_DEFINED],
        "tokenizer.ggml.merges": [one if isinstance(one, str) else " ".join(one) for one in model["merges"]],
        "tokenizer.ggml.bos_token_id": tokens.index("<|begin_of_text|>"),
        "tokenizer.ggml.eos_token_id": tokens.index("<|eot_id|>"),
        "tokenizer.chat_template": template,
    }


def sentence_piece(template: str = GEMMA, blank: bool = False, texts: list[str] = TEXTS) -> dict[str, Any]:
    """The keys of a vocabulary of SentencePiece: all beginnings of the words of `texts`, the shortest first."""
    words = {f"\u2581{word}" for text in texts for word in text.split()}
    pieces = sorted({word[i:j] for word in words for i in (0, 1) for j in range(i + 1, len(word) + 1)}, key=len)
    special = ["<pad>", "<s>", "</s>", "<unk>", "<start_of_turn>", "<end_of_turn>"]
    bytes_ = [f"<0x{value:02X}>" for value in range(256)]
    runs = ["\n\n", "  ", "    "]
    return {
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.tokens": [*special, *bytes_, *pieces, *runs],
        "tokenizer.ggml.token_type": [CONTROL] * 3
        + [UNKNOWN]
        + [CONTROL] * 2
        + [BYTE] * 256
        + [NORMAL] * len(pieces)
        + [USER_DEFINED] * len(runs),
        "tokenizer.ggml.scores": [0.0] * 262 + [-float(n) for n in range(len(pieces))] + [0.0] * len(runs),
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.eos_token_id": 2,
        "tokenizer.ggml.unknown_token_id": 3,
        "tokenizer.ggml.add_space_prefix": blank,
        "tokenizer.chat_template": template,
    }


def write(path: Path, keys: dict[str, Any], seed: int = 0) -> Path:
    """Write a model of two layers with random weights and these `keys`; those that are None are left out."""
    width, rows = 64, len(keys["tokenizer.ggml.tokens"])
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(2)
    writer.add_context_length(4096)
    writer.add_embedding_length(width)
    writer.add_feed_forward_length(width)
    writer.add_head_count(2)
    writer.add_head_count_kv(2)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(width // 2)
    kinds = {str: writer.add_string, bool: writer.add_bool, int: writer.add_uint32, list: writer.add_array}
    for name, value in keys.items():
        if value is not None:
            kinds[type(value)](name, value)
    random = np.random.default_rng(seed)
    for block in range(2):
        for name in ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"):
            writer.add_tensor(f"blk.{block}.{name}.weight", random.normal(0, 0.3, (width, width)).astype("f4"))
        for name in ("attn_norm", "ffn_norm"):
            writer.add_tensor(f"blk.{block}.{name}.weight", np.ones(width, "f4"))
    writer.add_tensor("token_embd.weight", random.normal(0, 1, (rows, width)).astype("f4"))
    writer.add_tensor("output_norm.weight", np.ones(width, "f4"))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
