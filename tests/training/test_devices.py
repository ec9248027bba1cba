"""Several processes on one CPU, over gloo, as several devices would be."""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from radlite import manifest
from radlite.data import corpus
from radlite.tokenizer import Tokenizer
from radlite.training import devices
from radlite.training.config import TrainConfig
from tests.training import processes
from tests.training.conftest import example, examples
from tests.training.test_faults import poisoned

Recipe = Callable[..., TrainConfig]
pytestmark = pytest.mark.parametrize("base", ["qwen3"], indirect=True)
slow = pytest.mark.slow

UNEVEN = {"max_tokens": 400, "pack_tokens": 400, "tasks": {"n_staging": 1, "radiology_ner": 1}}
"""Packs of few rows, so that the targets of two processes are far from equal in number."""


def curve(adapter: Path) -> list[dict[str, Any]]:
    """The log, but for the speed and the length of the gradient, which is no mean."""
    lines = [json.loads(line) for line in (adapter / "log.jsonl").read_text("utf-8").splitlines()]
    return [
        {name: value for name, value in line.items() if name not in ("tokens_per_second", "grad_norm")}
        for line in lines
    ]


def weights(adapter: Path) -> dict[str, torch.Tensor]:
    return load_file(adapter / "adapter_model.safetensors")


def alike(one: Path, two: Path) -> bool:
    """Whether two runs have the same curve to four decimals, and all but the same weights."""
    left, right = weights(one), weights(two)
    assert left.keys() == right.keys()
    assert all(torch.allclose(left[name], right[name], atol=2e-4) for name in left)
    assert len(curve(one)) == len(curve(two))
    for mine, other in zip(curve(one), curve(two), strict=True):
        assert mine == {name: pytest.approx(value, abs=5e-5) for name, value in other.items()}
    return True


def test_two_processes_learn_what_one_does(recipe: Recipe, tmp_path: Path) -> None:
    usual = {**UNEVEN, "max_steps": None, "epochs": 2, "evaluate_every": 4}
    one, two = recipe(out=tmp_path / "one", rows_per_step=2, **usual), recipe(out=tmp_path / "two", **usual)
    processes.run(one, 1)
    processes.run(two, 2)
    assert alike(two.out, one.out)
    assert manifest.read(two.out)["devices"] == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one", "two"]


@slow
def test_processes_that_hold_a_part_of_the_model_learn_what_one_does(recipe: Recipe, tmp_path: Path) -> None:
    usual = {**UNEVEN, "max_steps": None, "epochs": 2, "evaluate_every": 4, "gradient_accumulation": 2}
    one, two = recipe(out=tmp_path / "one", rows_per_step=2, **usual), recipe(out=tmp_path / "two", shard=True, **usual)
    processes.run(one, 1)
    processes.run(two, 2)
    assert alike(two.out, one.out)


@slow
def test_a_base_in_bf16_is_held_in_parts_beside_an_adapter_in_fp32(recipe: Recipe, tmp_path: Path) -> None:
    one, two = recipe(out=tmp_path / "one", rows_per_step=2), recipe(out=tmp_path / "two", precision="bf16", shard=True)
    processes.run(one, 1)
    processes.run(two, 2)
    losses = [manifest.read(made.out)["losses"]["training"] for made in (one, two)]
    assert losses[1] == pytest.approx(losses[0], abs=0.05)
    assert all(tensor.dtype == torch.float32 for tensor in weights(two.out).values())


@slow
@pytest.mark.parametrize("before, after", [(2, 1), (1, 2)])
@pytest.mark.parametrize("shard", [False, True], ids=["whole", "parts"])
def test_a_run_cut_off_goes_on_with_another_number_of_processes(
    recipe: Recipe, tmp_path: Path, shard: bool, before: int, after: int
) -> None:
    usual = {**UNEVEN, "max_steps": 20, "evaluate_every": 7, "save_every": 5, "shard": shard}
    whole = recipe(out=tmp_path / "whole", rows_per_step=2, **usual)
    processes.run(whole, 1)
    cut = recipe(out=tmp_path / "cut", rows_per_step=2 // before, **usual)
    cut_off(cut, before, "checkpoint-10")
    processes.run(cut, after, resume=True)
    assert alike(cut.out, whole.out)
    assert manifest.read(cut.out)["devices"] == after
    assert manifest.read(cut.out)["recipe"]["rows_per_step"] == 2 // before


def cut_off(config: TrainConfig, count: int, checkpoint: str) -> list[tuple[int, str]]:
    """Train until there is this checkpoint, kill the last process, and tell how the others end."""
    *others, last = processes.start(*[config] * count)
    made = config.out.with_name(f"{config.out.name}.training") / checkpoint / manifest.NAME
    while not made.exists():
        assert last.process.is_alive()
        time.sleep(0.002)
    last.process.kill()
    last.process.join()
    assert not config.out.exists()
    return [worker.end() for worker in others]


@slow
def test_when_a_process_is_lost_the_others_end_with_a_sentence(recipe: Recipe, tmp_path: Path) -> None:
    config = recipe(max_steps=2000, save_every=5)
    ((code, sentence),) = cut_off(config, 2, "checkpoint-5")
    assert code == 2
    assert sentence == "Another process of this run has ended; start all of them again with --resume."
    assert list(tmp_path.glob("adapter.training/checkpoint-*/radlite.json"))


@slow
def test_processes_with_different_data_do_not_begin(recipe: Recipe, tmp_path: Path) -> None:
    corpus.write(tmp_path / "other", examples(11), {})
    one, two = recipe(), recipe(corpus=tmp_path / "other")
    ends = [worker.end() for worker in processes.start(one, two)]
    assert [code for code, _ in ends] == [2, 2]
    assert "has another recipe, base, corpus or kind of device" in ends[0][1]
    assert not one.out.exists()


@slow
def test_what_one_process_finds_wrong_ends_them_all(recipe: Recipe) -> None:
    config = recipe()
    config.out.mkdir()
    ends = [worker.end() for worker in processes.start(config, config)]
    assert ends == [(2, f"{config.out} exists already; choose another out or delete it.")] * 2


def test_a_step_of_a_run_stays_what_it_was_when_the_number_of_processes_changes(recipe: Recipe) -> None:
    config = recipe(rows_per_step=4, gradient_accumulation=3)
    assert devices.shared_out(config, None) is config
    assert devices.shared_out(config, 12) is config
    shared = devices.shared_out(config, 30)
    assert (shared.rows_per_step, shared.gradient_accumulation) == (3, 10)


@slow
def test_a_row_that_no_loss_can_be_had_of_ends_all_and_is_named(recipe: Recipe, base: Path, tmp_path: Path) -> None:
    folder = poisoned(base, tmp_path / "poisoned", Tokenizer.from_folder(base).encode("§")[-1])
    corpus.write(tmp_path / "rows", [*examples(), example("n_staging", 99, {"report": "The secret is §."}, "N1")], {})
    config = recipe(base=str(folder), corpus=tmp_path / "rows", max_steps=None, epochs=1)
    told = [sentence for _, sentence in (worker.end() for worker in processes.start(config, config))]
    assert any("finite number: that comes from the rows n_staging n_staging-train-99;" in one for one in told), told
    assert not any("secret" in one for one in told)
    assert not config.out.exists()


@slow
def test_scores_and_the_best_adapter_are_the_same_when_processes_share_the_asking(
    recipe: Recipe, tmp_path: Path
) -> None:
    usual = {**UNEVEN, "max_steps": 8, "evaluate_every": 4, "generate_items": 2, "keep_best": "loss", "patience": 3}
    one, two = recipe(out=tmp_path / "one", rows_per_step=2, **usual), recipe(out=tmp_path / "two", **usual)
    processes.run(one, 1)
    processes.run(two, 2)
    assert alike(two.out, one.out)
    assert manifest.read(two.out)["kept"]["step"] == manifest.read(one.out)["kept"]["step"]


@slow
def test_torchrun_starts_it_and_an_error_is_told_once(recipe: Recipe, tmp_path: Path) -> None:
    config = recipe(**UNEVEN)
    file = tmp_path / "recipe.yaml"
    file.write_text(config.model_dump_json(exclude_unset=True))
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "-m", "radlite", "train", file]
    done = subprocess.run(launch, capture_output=True, text=True, timeout=200)
    assert (done.returncode, done.stdout) == (0, f"Adapter: {config.out}\n"), done.stderr
    assert done.stderr.count("100%") == 1
    assert manifest.read(config.out)["devices"] == 2
    done = subprocess.run(launch, capture_output=True, text=True, timeout=200)
    assert done.returncode != 0 and done.stdout == ""
    assert done.stderr.count("exists already; choose another out or delete it.") == 1


@slow
def test_the_lines_for_ray_in_the_documentation_train(recipe: Recipe, tmp_path: Path) -> None:
    pytest.importorskip("ray.train.torch", reason="Ray is not installed: pip install 'ray[train]'")
    text = (Path(__file__).parents[2] / "docs" / "training.md").read_text("utf-8")
    (script,) = [block for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if "TorchTrainer" in block]
    config = recipe(**UNEVEN)
    (tmp_path / "recipe.yaml").write_text(config.model_dump_json(exclude_unset=True))
    (tmp_path / "on_ray.py").write_text(script)
    settings = {"RAY_USAGE_STATS_ENABLED": "0", "HOME": str(tmp_path), "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}
    done = subprocess.run(
        [sys.executable, tmp_path / "on_ray.py", tmp_path / "recipe.yaml", "2"],
        capture_output=True, text=True, timeout=280, env={**os.environ, **settings},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert manifest.read(config.out)["devices"] == 2
