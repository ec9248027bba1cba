"""One layer of the real models' shapes, random weights, through F16 and Q4_K_M and into llama.cpp."""

import os
from pathlib import Path
from typing import Any

import pytest
from gguf import GGMLQuantizationType as Type

from radlite.chat import Turn
from radlite.export import gguf
from radlite.runtime import hf, layout, wheel
from radlite.runtime.quantize import decode, excess
from radlite.training.base import Family, Shape, learn_tokenizer, new_model, save
from tests.conftest import TEXTS

SHAPES: dict[Family, Shape] = {
    "qwen2.5": Shape(2048, 11008, layers=1, heads=16, key_value_heads=2, head_size=128),  # Qwen2.5-3B
    "qwen3": Shape(2560, 9728, layers=1, heads=32, key_value_heads=8, head_size=128),  # Qwen3-4B
}


@pytest.mark.slow
@pytest.mark.parametrize("family", SHAPES)
def test_a_layer_of_true_shape_survives_the_round_trip(family: Family, tmp_path: Path) -> None:
    import torch

    shape = SHAPES[family]
    tokenizer = learn_tokenizer(TEXTS, 512)
    model = new_model(family, shape, tokenizer, seed=0)
    for name, parameter in model.named_parameters():
        if name.endswith(".bias"):
            parameter.data.normal_(0, 0.5, generator=torch.Generator().manual_seed(0))
    folder = tmp_path / family
    save(model, tokenizer, family, folder)
    del model
    source = hf.open_model(folder, device="cpu")
    prompt = source.renderer.prompt([Turn("system", "Answer."), Turn("user", "Small left pleural effusion.")])
    expected = source.next_log_probabilities(prompt, 448)
    source.close()
    config = layout.settings(folder)
    tensors = gguf.tensors(folder, config)
    for kind, most in (("F16", 0.02), ("Q4_K_M", 1.0)):
        path = gguf.write(folder, tmp_path / f"{kind}.gguf", kind, threads=int(os.environ.get("OMP_NUM_THREADS", "2")))
        types: dict[str, Type] = {}
        for name, type, data in gguf.read(path):
            types[name] = type
            for block in tensors[name].blocks():
                assert excess(tensors[name].read(*block), decode(data[slice(*block)], type), type) <= 1, name
        assert types == expected_types(family, kind)
        engine = wheel.open_model(path, threads=1)
        found = engine.next_log_probabilities(prompt, 448)
        engine.close()
        assert max(abs(found[token] - expected[token]) for token in expected) <= most
        path.unlink()


def expected_types(family: Family, kind: str) -> dict[str, Any]:
    """Layer 0 of 1 counts as a last one (0 >= 7 // 8), so that its values and `ffn_down` get six bits."""
    exact = kind == "F16"
    matrix, more = (Type.F16, Type.F16) if exact else (Type.Q4_K, Type.Q6_K)
    types = {f"blk.0.{part}.weight": matrix for part in ("attn_q", "attn_k", "attn_output", "ffn_gate", "ffn_up")}
    types |= {"blk.0.attn_v.weight": more, "blk.0.ffn_down.weight": more, "token_embd.weight": more}
    vectors = ["output_norm.weight", "blk.0.attn_norm.weight", "blk.0.ffn_norm.weight"]
    if family == "qwen3":
        vectors += ["blk.0.attn_q_norm.weight", "blk.0.attn_k_norm.weight"]
    else:
        vectors += [f"blk.0.attn_{part}.bias" for part in "qkv"]
    return types | dict.fromkeys(vectors, Type.F32)
