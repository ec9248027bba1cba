"""`radlite train --dry-run`: what a run needs is told, what would fail later fails now, and nothing is written."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import peft.helpers
import pytest
import torch
import transformers
from typer.testing import CliRunner

from radlite import manifest
from radlite.cli import app
from radlite.errors import UserError
from radlite.training import batches, outlook, plan
from radlite.training.config import TrainConfig
from radlite.training.trainer import prepare, rehearse, train

Recipe = Callable[..., TrainConfig]
qwen3 = pytest.mark.parametrize("base", ["qwen3"], indirect=True)


def test_a_dry_run_tells_what_the_run_then_needs_and_writes_nothing(recipe: Recipe, base: Path) -> None:
    config = recipe()
    found = rehearse(config)
    assert list(config.out.parent.iterdir()) == []
    sizes = transformers.AutoConfig.from_pretrained(base)
    model = transformers.AutoModelForCausalLM.from_pretrained(base)
    matrices = [one for name, one in model.model.named_modules() if name.endswith("_proj")]
    assert len(matrices) == 7 * sizes.num_hidden_layers
    assert found.needs.trained == sum(config.rank * (one.in_features + one.out_features) for one in matrices)
    assert found.needs.parameters == found.needs.trained + sum(one.numel() for one in model.parameters())
    assert found.rehearsal.tokens_per_second > 0 and found.rehearsal.steps >= 2 and found.seconds > 0
    made = manifest.read(train(config, progress=False))
    assert (found.steps, found.plan.mixture) == (made["steps"], made["mixture"])


@qwen3
def test_the_command_prints_needs_and_mixture(recipe: Recipe, tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(json.dumps(recipe(max_steps=2).model_dump(mode="json", exclude_unset=True)), "utf-8")
    done = CliRunner().invoke(app, ["train", str(path), "--dry-run"], env={"COLUMNS": "120"})
    assert done.exit_code == 0, done.output
    for word in ("radiology_nli", "parameters", "are trained", "memory", "disk", "tokens/s, n = "):
        assert word in done.output
    assert [one.name for one in tmp_path.iterdir()] == ["recipe.yaml"]


@qwen3
def test_a_dry_run_refuses_what_the_run_would_refuse(recipe: Recipe, base: Path, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    with pytest.raises(UserError, match="exists already; choose another out"):
        rehearse(recipe(out=tmp_path / "there"))
    (tmp_path / "begun.training").mkdir()
    with pytest.raises(UserError, match="go on with --resume"):
        rehearse(recipe(out=tmp_path / "begun"))
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="Cannot write"):
        rehearse(recipe(out=tmp_path / "file" / "adapter"))
    with pytest.raises(UserError, match="no matrix 'qkv_proj' to tune"):
        rehearse(recipe(targets=["qkv_proj"]))
    bare = shutil.copytree(base, tmp_path / "bare")
    (bare / "tokenizer_config.json").write_text("{}", "utf-8")
    with pytest.raises(UserError, match="has no chat template"):
        rehearse(recipe(base=str(bare)))


@qwen3
def test_a_tokenizer_with_more_ids_than_the_base_is_told_before_training(
    recipe: Recipe, base: Path, tmp_path: Path
) -> None:
    cut = shutil.copytree(base, tmp_path / "cut")
    settings = json.loads((cut / "config.json").read_text("utf-8"))
    (cut / "config.json").write_text(json.dumps({**settings, "vocab_size": 300}), "utf-8")
    with pytest.raises(UserError, match=r"row \S+ of \w+ has a token with the number \d+, but the base knows 300"):
        train(recipe(base=str(cut)), progress=False)
    assert not (tmp_path / "adapter").exists() and not (tmp_path / "adapter.training").exists()


@qwen3
def test_too_little_disk_or_memory_is_told_with_numbers(recipe: Recipe, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"The run needs [\d,.]+ GB .*, but [\d,.]+ [GM]B are free"):
        train(recipe(rank=10_000_000), progress=False)
    assert not (tmp_path / "adapter.training").exists()
    config = recipe()
    for needs, words in (
        (outlook.Needs(2, 1, 1, 1, disk=10**18), "for checkpoints and adapter, but"),
        (outlook.Needs(2, 1, 10**15, 1, disk=1), r"of memory \(1,000,000.0 GB for weights"),
    ):
        with pytest.raises(UserError, match=words):
            outlook.demand(needs, config.out, tmp_path / "adapter.training", config, cuda=False)


@pytest.mark.parametrize(("bf16", "dora"), [(False, False), (True, False), (True, True), (False, True)])
def test_the_estimated_memory_of_a_step_is_about_what_it_keeps(
    recipe: Recipe, base: Path, bf16: bool, dora: bool
) -> None:
    config = recipe(rank=16, dora=dora)
    rows = plan.draw(config, base).rows[:1]
    estimated = outlook.needs(config, base, rows, bf16, cuda=False).activations
    dtype = torch.bfloat16 if bf16 else torch.float32
    model = transformers.AutoModelForCausalLM.from_pretrained(base, dtype=dtype, attn_implementation="radlite_segments")
    model = prepare(model, config)
    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with (
        peft.helpers.disable_input_dtype_casting(model, active=bf16),
        torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor),
    ):
        loss = batches.loss(model, batches.collate(rows), bf16)
    for weight in model.parameters():
        kept.pop(weight.untyped_storage().data_ptr(), None)
    assert loss.isfinite() and 0.75 < estimated / sum(kept.values()) < 1.25
