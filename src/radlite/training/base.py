"""New small models of true Qwen architecture: the tiny bases, and the models of tests and benchmarks."""

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import tokenizers
import torch
import transformers

from radlite.tokenizer import QWEN_PATTERN, Tokenizer, definition

Family = Literal["qwen2.5", "qwen3"]

CONTROL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<think>", "</think>")

# The plain-chat part of Qwen's templates: same text for any list of system, user and assistant turns without tools.
_TURNS = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n"
)
TEMPLATES: dict[str, str] = {
    "qwen2.5": _TURNS + "{% endif %}",
    "qwen3": _TURNS
    + "{% if enable_thinking is defined and not enable_thinking %}<think>\n\n</think>\n\n{% endif %}{% endif %}",
}


@dataclass(frozen=True)
class Shape:
    """Sizes of a model; rows of every matrix must be multiples of 256 to be K-quantised."""

    hidden: int = 256
    feed_forward: int = 768
    layers: int = 6
    heads: int = 4
    key_value_heads: int = 2
    head_size: int = 64
    context: int = 2048


def learn_tokenizer(texts: Iterable[str], size: int) -> Tokenizer:
    """Learn a byte-level BPE of `size` ids, Qwen's pattern and control tokens included, from `texts`."""
    learner = tokenizers.Tokenizer(tokenizers.models.BPE())
    learner.normalizer = tokenizers.normalizers.NFC()
    learner.pre_tokenizer = tokenizers.pre_tokenizers.Sequence(
        [
            tokenizers.pre_tokenizers.Split(tokenizers.Regex(QWEN_PATTERN), behavior="isolated"),
            tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    learner.train_from_iterator(
        texts,
        tokenizers.trainers.BpeTrainer(
            vocab_size=size - len(CONTROL),
            initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    model = json.loads(learner.to_str())["model"]
    tokens = sorted(model["vocab"], key=model["vocab"].get)
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in model["merges"]]
    return Tokenizer(definition(tokens, merges, {name: len(tokens) + index for index, name in enumerate(CONTROL)}))


def new_model(family: Family, shape: Shape, tokenizer: Tokenizer, seed: int) -> Any:
    """A model with random weights: Qwen2 with attention bias, or Qwen3 with query and key norms; tied embeddings."""
    common: dict[str, Any] = {
        "vocab_size": -(-tokenizer.size // 64) * 64,
        "hidden_size": shape.hidden,
        "intermediate_size": shape.feed_forward,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.key_value_heads,
        "max_position_embeddings": shape.context,
        "tie_word_embeddings": True,
        "rms_norm_eps": 1e-6,
        "rope_parameters": {"rope_type": "default", "rope_theta": 10_000.0},
        "bos_token_id": tokenizer.control["<|endoftext|>"],
        "pad_token_id": tokenizer.control["<|endoftext|>"],
        "eos_token_id": tokenizer.control["<|im_end|>"],
    }
    torch.manual_seed(seed)
    if family == "qwen2.5":
        return transformers.Qwen2ForCausalLM(transformers.Qwen2Config(**common))
    return transformers.Qwen3ForCausalLM(transformers.Qwen3Config(**common, head_dim=shape.head_size))


@torch.no_grad()
def look_back(model: Any) -> None:
    """Start the first heads of layer 0 looking one, two, ... tokens back, for pretraining from scratch.

    Copying from the context needs a head that knows the previous token, and one above it that finds where that token
    stood before. On random text neither pays without the other, and a small model waits thousands of steps for both;
    given the first, it copies after a hundred. (Structured starts for attention: Trockman and Kolter, 2023.)

    All embeddings share a direction, which shifts all logits alike. The heads that share the first key make query and
    key of it alone, so that rotary position is all they see; each query is turned back by its offset.
    """
    attention, config = model.model.layers[0].self_attn, model.config
    size, group = attention.head_dim, config.num_attention_heads // config.num_key_value_heads
    embeddings = model.get_input_embeddings().weight
    direction = torch.randn(config.hidden_size)
    direction /= direction.norm()
    embeddings += direction * embeddings.norm(dim=-1).mean()
    # The fastest few frequencies tell neighbours apart best; several, so that no distance looks like another.
    fast = 6
    angles = config.rope_parameters["rope_theta"] ** (-torch.arange(0, size, 2)[:fast] / size)
    part = direction / math.sqrt(config.hidden_size / 2)  # times a normed embedding: about 1
    strength = 6.0 if hasattr(attention, "q_norm") else 9.0
    key = torch.zeros(size)
    key[:fast] = strength
    attention.k_proj.weight[:size] = torch.outer(key, part)
    for head in range(group):
        query = torch.zeros(size)
        query[:fast] = strength * torch.cos(angles * (head + 1))
        query[size // 2 : size // 2 + fast] = -strength * torch.sin(angles * (head + 1))
        attention.q_proj.weight[head * size : (head + 1) * size] = torch.outer(query, part)
    if hasattr(attention, "q_norm"):  # which would make the scores of these heads too even
        attention.q_norm.weight.fill_(2.0)
        attention.k_norm.weight.fill_(2.0)


def save(model: Any, tokenizer: Tokenizer, family: Family, folder: Path) -> None:
    """Write a Hugging Face model folder: bf16 safetensors, config, tokenizer.json and chat template."""
    model.to(torch.bfloat16).save_pretrained(folder)
    (folder / "tokenizer.json").write_text(tokenizer.definition, "utf-8")
    settings = {"tokenizer_class": "Qwen2Tokenizer", "eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"}
    (folder / "tokenizer_config.json").write_text(
        json.dumps({**settings, "chat_template": TEMPLATES[family], "add_bos_token": False}, indent=1) + "\n", "utf-8"
    )
