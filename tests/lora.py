"""Adapter folders with random weights, as training writes them."""

import shutil
from pathlib import Path
from typing import Any, Final

import torch
import transformers
from safetensors.torch import load_file, save_file

from radlite import manifest
from radlite.chat import Renderer

REFUSED: Final[list[dict[str, Any]]] = [
    {"bias": "lora_only"},
    {"lora_bias": True},
    {"rank_pattern": {"q_proj": 2}},
    {"alpha_pattern": {"q_proj": 2}},
    {"modules_to_save": ["norm"]},
    {"init_lora_weights": "pissa"},
    {"trainable_token_indices": [1, 2]},
]
"""Settings of PEFT that a sum W + scale * B A cannot express."""


def in_float32(base: Path, folder: Path) -> Path:
    """A copy of `base` in float32, so that a merge rounds nothing."""
    shutil.copytree(base, folder)
    tensors = load_file(folder / "model.safetensors")
    save_file({name: tensor.float() for name, tensor in tensors.items()}, folder / "model.safetensors")
    return folder


def write(base: Path, folder: Path, deviation: float = 0.02, facts: dict[str, Any] | None = None, **own: Any) -> Path:
    """An adapter over `base` with B of standard deviation `deviation`; `own` are settings of PEFT, `facts` of the
    manifest."""
    import peft

    torch.manual_seed(1)
    model = transformers.AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    usual = {"r": 4, "lora_alpha": 16, "target_modules": ["q_proj", "v_proj", "down_proj"]}
    tuned = peft.get_peft_model(model, peft.LoraConfig(task_type="CAUSAL_LM", **{**usual, **own}))
    for key, parameter in tuned.named_parameters():
        if "lora_B" in key:
            parameter.data.normal_(0, deviation)
    tuned.save_pretrained(folder, save_embedding_layers=False)
    usual_facts = {
        "base": str(base), "base_hash": manifest.weights_hash(base),
        "template_hash": Renderer.from_folder(base).hash,
        "recipe": {"base": str(base), "out": str(folder), "rank": 4},
    }  # fmt: skip
    manifest.write(folder, manifest.describe("adapter", **{**usual_facts, **(facts or {})}))
    return folder
