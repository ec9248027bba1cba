"""Variants of LoRA: each learns what it should, is resumed to the bit, and is merged as PEFT merges it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from radlite import manifest
from radlite.chat import Renderer, Turn
from radlite.errors import UserError
from radlite.export import adapter as adapters
from radlite.export.merge import merge
from radlite.runtime import hf
from radlite.training import attention, batches, lora
from radlite.training.batches import Row
from radlite.training.config import TrainConfig
from radlite.training.trainer import fit, prepare
from tests.lora import in_float32
from tests.training.conftest import examples

METHODS: list[dict[str, Any]] = [{"rslora": True}, {"dora": True}, {"dropout": 0.2}, {"lora_plus_ratio": 8}]

Recipe = Callable[..., TrainConfig]
pytestmark = pytest.mark.parametrize("base", ["qwen3"], indirect=True)
methods = pytest.mark.parametrize("settings", METHODS, ids=lambda settings: next(iter(settings)))


def packed(base: Path) -> list[Row]:
    samples, _ = batches.encode(examples(16), Renderer.from_folder(base), 512)
    return batches.pack(list(samples.values()), 256)


def model_of(base: Path, config: TrainConfig) -> Any:
    transformers.set_seed(config.seed)
    kind = attention.chosen("segments", torch.device("cpu"), False)
    model = transformers.AutoModelForCausalLM.from_pretrained(base, attn_implementation=kind, dtype=torch.float32)
    return prepare(model, config)


def with_a_row_of_zeros(base: Path) -> Path:
    """The tiny bases have such rows, which have no direction that DoRA could keep."""
    tensors = load_file(base / "model.safetensors")
    tensors["model.layers.0.self_attn.q_proj.weight"][3] = 0
    save_file(tensors, base / "model.safetensors", metadata={"format": "pt"})
    return base


def learned(model: Any) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in model.named_parameters() if value.requires_grad}


@methods
def test_a_variant_learns_and_is_resumed_to_the_bit_and_merges_as_peft_does(
    base: Path, recipe: Recipe, tmp_path: Path, settings: dict[str, Any]
) -> None:
    torch.set_num_threads(1)
    config = recipe(max_steps=6, save_every=2, learning_rate=3e-3, **settings)
    exact = with_a_row_of_zeros(in_float32(base, tmp_path / "exact"))
    rows = packed(base)[:6]
    model = model_of(exact, config)
    start = learned(model)
    fit(model, config, tmp_path, rows, {}, bf16=False)
    whole = learned(model)
    # A in the first step has no gradient, as B is zero; after that everything moves.
    assert all(not torch.equal(start[name], whole[name]) for name in whole)

    other = model_of(exact, config)
    fit(other, config, tmp_path, rows, {}, bf16=False, checkpoint=tmp_path / "checkpoint-4")
    resumed = learned(other)
    assert whole.keys() == resumed.keys() and all(torch.equal(whole[name], resumed[name]) for name in whole)

    facts = {
        "base": str(exact),
        "base_hash": manifest.weights_hash(exact),
        "template_hash": Renderer.from_folder(exact).hash,
    }
    lora.save(model, tmp_path / "adapter", {}, facts)
    merged = load_file(merge(tmp_path / "adapter", tmp_path / "merged") / "model.safetensors")
    read = hf.open_model(exact, tmp_path / "adapter", device="cpu")
    prompt = read.renderer.prompt([Turn("user", "No pleural effusion is seen.")])
    following = read.next_log_probabilities(prompt, 99)
    assert following == pytest.approx(hf.open_model(tmp_path / "merged").next_log_probabilities(prompt, 99), abs=1e-3)
    expected = model.merge_and_unload().state_dict()
    before = load_file(exact / "model.safetensors")
    changed = [name for name in merged if not torch.equal(merged[name], before[name])]
    assert len(changed) == 2 * 7
    for name in changed:
        torch.testing.assert_close(merged[name], expected[name], rtol=1e-5, atol=1e-7)
    if settings == {"dora": True}:
        with pytest.raises(UserError, match="DoRA adapter cannot stand alone"):
            adapters.write(tmp_path / "adapter", tmp_path / "adapter.gguf")
        assert not (tmp_path / "adapter.gguf").exists()


def test_lora_plus_quickens_b_alone(base: Path, recipe: Recipe, tmp_path: Path) -> None:
    torch.set_num_threads(1)
    moved = []
    for ratio in (1, 4):
        # The first step of Adam moves every number by its rate, whatever the gradient.
        config = recipe(max_steps=1, warmup=0, schedule="constant", lora_plus_ratio=ratio)
        model = model_of(base, config)
        start = learned(model)
        fit(model, config, tmp_path / str(ratio), packed(base)[:1], {}, bf16=False)
        steps = {name: (value - start[name]).abs().max().item() for name, value in learned(model).items()}
        moved.append([max(step for name, step in steps.items() if f"lora_{part}" in name) for part in ("A", "B")])
    assert moved[0] == pytest.approx([0, config.learning_rate], rel=1e-3)
    assert moved[1] == pytest.approx([0, 4 * config.learning_rate], rel=1e-3)


def test_dora_in_bf16_keeps_its_lengths_in_fp32_and_starts_from_the_base(base: Path, recipe: Recipe) -> None:
    model = transformers.AutoModelForCausalLM.from_pretrained(base, dtype=torch.bfloat16)
    tuned = prepare(model, recipe(dora=True, precision="bf16"))
    lengths = {name: value for name, value in tuned.named_parameters() if "magnitude" in name}
    assert len(lengths) == 2 * 7 and {value.dtype for value in lengths.values()} == {torch.float32}
    matrix = load_file(base / "model.safetensors")["model.layers.0.mlp.up_proj.weight"].float()
    (found,) = (value for name, value in lengths.items() if "layers.0.mlp.up_proj" in name)
    torch.testing.assert_close(found.detach(), matrix.norm(dim=1), rtol=2**-8, atol=0)
