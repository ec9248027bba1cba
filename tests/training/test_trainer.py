import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import transformers
from safetensors.torch import load_file

from radlite import manifest
from radlite.chat import Renderer
from radlite.data import corpus
from radlite.errors import UserError
from radlite.hub import base_folder
from radlite.training import lora
from radlite.training.config import TrainConfig
from radlite.training.trainer import train
from tests.training.conftest import example, examples

Recipe = Callable[..., TrainConfig]
RUN = """
import sys
from radlite.training.config import TrainConfig
from radlite.training.trainer import train
train(TrainConfig.model_validate_json(sys.argv[1]), progress=False)
"""
qwen3 = pytest.mark.parametrize("base", ["qwen3"], indirect=True)


def weights(adapter: Path) -> dict[str, torch.Tensor]:
    return load_file(adapter / "adapter_model.safetensors")


def same(left: Path, right: Path) -> bool:
    one, two = weights(left), weights(right)
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


def log(adapter: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (adapter / "log.jsonl").read_text("utf-8").splitlines()]


def test_a_run_makes_an_adapter_that_tells_its_story(
    recipe: Recipe, base: Path, small_corpus: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    config = recipe(max_steps=30)
    adapter = train(config, progress=False)
    assert capfd.readouterr() == ("", "")
    made = manifest.read(adapter, "adapter")
    assert made["base"] == str(base) and made["base_hash"] == manifest.weights_hash(base)
    assert made["template_hash"] == Renderer.from_folder(base).hash
    assert made["corpus"] == corpus.describe(small_corpus)["data"]
    assert made["recipe"] == config.model_dump(mode="json")
    assert made["steps"] == 30 and made["excluded"] == {}
    assert made["base_model"] is None and made["base_licence"] == {}
    assert made["sources"] == [
        {"source": "handmade", "title": "", "access": "", "tier": "synthetic", "licence": "CC0-1.0", "rows": 36}
    ]
    assert sum(one["gradient_share"] for one in made["mixture"].values()) == pytest.approx(1, abs=1e-3)
    losses = [line["loss"] for line in log(adapter) if "loss" in line]
    assert len(losses) == 3 and losses[-1] < losses[0] - 0.5
    assert set(made["losses"]["validation"]) == {"n_staging", "radiology_ner", "radiology_nli"}
    assert list(adapter.parent.iterdir()) == [adapter]
    assert all(tensor.dtype == torch.float32 for tensor in weights(adapter).values())
    model = transformers.AutoModelForCausalLM.from_pretrained(base)
    assert len(weights(adapter)) == model.config.num_hidden_layers * 7 * 2


@qwen3
def test_the_same_seed_makes_the_same_weights_and_another_does_not(recipe: Recipe, tmp_path: Path) -> None:
    first, second, other = (
        train(recipe(out=tmp_path / name, seed=seed, dropout=0.05), progress=False)
        for name, seed in (("a", 0), ("b", 0), ("c", 1))
    )
    assert same(first, second)
    assert not same(first, other)


@qwen3
def test_the_loss_is_the_mean_over_targets_however_a_step_is_cut(recipe: Recipe, tmp_path: Path) -> None:
    whole = train(recipe(out=tmp_path / "a", rows_per_step=4), progress=False)
    parts = train(recipe(out=tmp_path / "b", gradient_accumulation=4), progress=False)
    assert manifest.read(whole)["losses"]["training"] == pytest.approx(manifest.read(parts)["losses"]["training"], 1e-4)
    one, two = weights(whole), weights(parts)
    assert all(torch.allclose(one[name], two[name], atol=1e-4) for name in one)


@qwen3
def test_bf16_and_masked_attention_learn_the_same(recipe: Recipe, tmp_path: Path) -> None:
    plain, masked, bf16 = (
        manifest.read(train(recipe(out=tmp_path / name, max_steps=10, **settings), progress=False))["losses"]
        for name, settings in (("a", {}), ("b", {"attention": "sdpa"}), ("c", {"precision": "bf16"}))
    )
    assert masked["training"] == pytest.approx(plain["training"], abs=1e-3)
    assert bf16["training"] == pytest.approx(plain["training"], abs=0.05)


@qwen3
def test_a_run_killed_and_resumed_ends_with_the_same_weights(recipe: Recipe, tmp_path: Path) -> None:
    config = recipe(max_steps=40, save_every=5, evaluate_every=7, dropout=0.05, keep_best="loss")
    whole = train(config.model_copy(update={"out": tmp_path / "whole"}), progress=False)
    work = tmp_path / "adapter.training"
    child = subprocess.Popen([sys.executable, "-c", RUN, config.model_dump_json(exclude_unset=True)])
    while not (work / "checkpoint-10" / manifest.NAME).exists():
        assert child.poll() is None
        time.sleep(0.002)
    child.send_signal(signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL
    assert not config.out.exists()
    with pytest.raises(UserError, match="unfinished run; go on with --resume"):
        train(config, progress=False)
    # A later checkpoint whose writing was cut off: it has no manifest, and half its weights.
    cut = work / "checkpoint-35"
    shutil.copytree(work / "checkpoint-10", cut)
    (cut / manifest.NAME).unlink()
    (cut / "adapter_model.safetensors").write_bytes((cut / "adapter_model.safetensors").read_bytes()[:999])

    assert same(train(config, resume=True, progress=False), whole)
    steps = [line["step"] for line in log(config.out) if "loss" in line]
    assert steps == [10, 20, 30, 40]
    assert not work.exists()
    made = (config.out / manifest.NAME).read_bytes()
    assert train(config, resume=True, progress=False) == config.out
    assert (config.out / manifest.NAME).read_bytes() == made


@qwen3
def test_resuming_with_another_recipe_is_refused(recipe: Recipe, tmp_path: Path) -> None:
    config = recipe()
    train(config, progress=False)
    with pytest.raises(UserError, match="exists already; choose another out"):
        train(config, progress=False)
    with pytest.raises(UserError, match="exists already; choose another out"):
        train(recipe(rank=8), resume=True, progress=False)
    work = tmp_path / "adapter.training"
    config.out.rename(tmp_path / "kept")
    manifest.write(_folder(work / "checkpoint-2"), manifest.describe("checkpoint", run="another", step=2))
    with pytest.raises(UserError, match="a run of another recipe, base or corpus"):
        train(config, resume=True, progress=False)
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="Cannot write"):
        train(recipe(out=tmp_path / "file" / "adapter"), progress=False)


def _folder(path: Path) -> Path:
    path.mkdir(parents=True)
    return path


@qwen3
def test_excluded_rows_are_counted_and_listed_without_their_text(recipe: Recipe, tmp_path: Path) -> None:
    long = example("n_staging", 99, {"report": "secretname " * 300}, "N1")
    corpus.write(tmp_path / "long", [*examples(), long], {})
    adapter = train(recipe(corpus=tmp_path / "long"), progress=False)
    assert manifest.read(adapter)["excluded"] == {"n_staging": 1}
    assert manifest.read(adapter)["losses"]["validation"] == {}
    (listed,) = json.loads((adapter / "excluded.json").read_text("utf-8"))
    assert listed["id"] == long.id and listed["tokens"] > 512
    assert not any(b"secretname" in file.read_bytes() for file in adapter.iterdir())


@qwen3
def test_a_task_whose_rows_are_all_too_long_is_an_error(recipe: Recipe) -> None:
    config = recipe(max_tokens=16)
    with pytest.raises(UserError, match=r"Every row of .* is longer than 16 tokens"):
        train(config, progress=False)
    assert list(config.out.parent.iterdir()) == []


@qwen3
def test_only_the_tasks_of_the_recipe_are_trained(recipe: Recipe) -> None:
    adapter = train(recipe(tasks={"n_staging": 1}, max_steps=None, epochs=2, limit_per_task=5), progress=False)
    assert {task: one["gradient_share"] for task, one in manifest.read(adapter)["mixture"].items()} == {
        "n_staging": 1.0
    }
    assert [one["rows"] for one in manifest.read(adapter)["sources"]] == [5]
    with pytest.raises(UserError, match="has no train split of m_staging"):
        train(recipe(tasks={"m_staging": 1}, out=adapter.with_name("other")), progress=False)


@qwen3
def test_a_matrix_that_the_model_lacks_is_an_error(base: Path) -> None:
    model = transformers.AutoModelForCausalLM.from_pretrained(base)
    for target in ("qkv_proj", "lm_head"):
        with pytest.raises(UserError, match=f"no matrix '{target}' to tune; it has down_proj.*, v_proj"):
            lora.attach(model, 4, 8, ["q_proj", target], 0.0, False)


def test_a_base_that_is_neither_here_nor_on_the_hub_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"has no config.json; give the folder"):
        base_folder(str(tmp_path))
    for name in ("Qwen/Qwen3-4B", "no/such/folder", "../up"):
        with pytest.raises(UserError, match="give a local model folder, or set HF_ENDPOINT"):
            base_folder(name)
