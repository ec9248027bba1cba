"""Sweeps: every combination once, one table from validation alone, resumed where it stopped."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from radlite import manifest
from radlite.cli import app
from radlite.errors import UserError
from radlite.training import sweep
from radlite.training.config import TrainConfig

Recipe = Callable[..., TrainConfig]
qwen3 = pytest.mark.parametrize("base", ["qwen3"], indirect=True)


@pytest.fixture
def path(recipe: Recipe, tmp_path: Path) -> Path:
    """A recipe of few steps in a file."""
    file = tmp_path / "recipe.yaml"
    config = recipe(out=tmp_path / "sweep", max_steps=3, schedule="constant", warmup=0)
    file.write_text(json.dumps(config.model_dump(mode="json", exclude_unset=True)), "utf-8")
    return file


@qwen3
def test_a_sweep_makes_each_combination_once_and_names_the_best_on_validation(path: Path, tmp_path: Path) -> None:
    command = ["train", str(path), "--sweep", "learning_rate=1e-5,1e-2,1e30", "--sweep", "rank=2"]
    done = CliRunner().invoke(app, command, env={"COLUMNS": "200"})
    assert done.exit_code == 0, done.output
    assert "Best on validation: learning_rate=1e-2 rank=2" in done.output and "diverged" in done.output
    out = tmp_path / "sweep"
    table = json.loads((out / sweep.TABLE).read_text("utf-8"))
    assert [one["settings"]["learning_rate"] for one in table["runs"]] == ["1e-2", "1e-5", "1e30"]
    assert [bool(one["diverged"]) for one in table["runs"]] == [False, False, True]
    for one in table["runs"][:2]:
        adapter = out / f"learning_rate={one['settings']['learning_rate']},rank=2"
        losses = manifest.read(adapter, "adapter")["losses"]["validation"]
        assert one["losses"] == losses and len(losses) == 3
        assert one["loss"] == pytest.approx(sum(losses.values()) / 3, abs=1e-6)

    before = {file: file.stat().st_mtime_ns for file in out.glob("*/adapter_model.safetensors")}
    again = sweep.sweep(path, [], ["learning_rate=1e-5,1e-2,3e-3", "rank=2"], progress=False)
    assert len(again) == 3 and not any(one.diverged for one in again)
    assert before.items() <= {file: file.stat().st_mtime_ns for file in out.glob("*/adapter_model.safetensors")}.items()


@qwen3
def test_a_sweep_that_could_not_be_compared_or_read_is_refused_before_a_run(path: Path, tmp_path: Path) -> None:
    for texts, words in (
        (["learning_rate"], "write it as setting=value,value"),
        (["learning_rate=1e-4,,1e-3"], "write it as setting=value,value"),
        (["rank=2", "rank=4"], "swept twice"),
        (["max_tokens=64,128"], "not be measured on the same rows"),
        (["learing_rate=1e-4"], "did you mean 'learning_rate'"),
        (["rank=2,many"], "must be a whole number"),
    ):
        with pytest.raises(UserError, match=words):
            sweep.sweep(path, [], texts, progress=False)
    assert not (tmp_path / "sweep").exists()
    assert sweep.axes(["targets=[q_proj, v_proj],[o_proj]"]) == {"targets": ["[q_proj, v_proj]", "[o_proj]"]}
