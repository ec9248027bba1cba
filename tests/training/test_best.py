"""Scores while training, the best adapter kept, and runs that end when they no longer gain."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from radlite import manifest
from radlite.data import corpus
from radlite.errors import UserError
from radlite.evaluation.metrics import grade, rows
from radlite.reader import Reader
from radlite.runtime import hf
from radlite.tasks import named
from radlite.training.config import TrainConfig
from radlite.training.trainer import train
from tests.training.conftest import examples

Recipe = Callable[..., TrainConfig]
qwen3 = pytest.mark.parametrize("base", ["qwen3"], indirect=True)
QUICK = {"n_staging": 1, "radiology_nli": 1}
"""Tasks whose answers have few tokens."""


def same(left: Path, right: Path) -> bool:
    one, two = (load_file(adapter / "adapter_model.safetensors") for adapter in (left, right))
    return all(torch.equal(one[name], two[name]) for name in one)


def measurements(adapter: Path) -> list[dict[str, object]]:
    lines = map(json.loads, (adapter / "log.jsonl").read_text("utf-8").splitlines())
    return [line for line in lines if "macro" in line]


@qwen3
def test_scores_are_those_of_evaluation_and_measuring_changes_no_weight(
    recipe: Recipe, base: Path, small_corpus: Path, tmp_path: Path
) -> None:
    config = recipe(max_steps=12, learning_rate=5e-3, dropout=0.1, evaluate_every=4, tasks=QUICK)
    plain = train(config, progress=False)
    scored = train(config.model_copy(update={"out": tmp_path / "scored", "generate_items": 3}), progress=False)
    assert same(plain, scored)
    items = [item for task in QUICK for item in corpus.read(small_corpus, task, "validation")]
    reader = Reader(hf.open_model(base, scored), probabilities=False)
    readings = reader.read_many((item.task, item.inputs) for item in items)
    found = rows([grade(*pair) for pair in zip(items, readings, strict=True)], "", "tuned")
    wanted = {
        row["task"]: row["value"]
        for row in found
        if (row["slice"], row["metric"]) == ("all", named(row["task"]).metric)
    }
    scores = manifest.read(scored)["scores"]
    assert scores == pytest.approx(wanted, abs=1e-6) and scores.keys() == QUICK.keys() and any(scores.values())
    assert [line["step"] for line in measurements(scored)] == [4, 8, 12]
    assert measurements(scored)[-1]["macro"]["score"] == pytest.approx(sum(scores.values()) / 2, abs=1e-6)


@qwen3
def test_a_run_that_no_longer_gains_ends_and_its_best_adapter_is_kept(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = recipe(
        max_steps=100, learning_rate=0.02, schedule="constant", warmup=0, evaluate_every=5, save_every=5, patience=2,
        loss_norm="token",  # the other norms' scale is of all rows of a run, so that a shorter one has another
    )  # fmt: skip
    kept = config.model_copy(update={"keep_best": "loss"})
    monkeypatch.setattr(shutil, "rmtree", lambda *_, **__: None)  # as if killed before it could clean up
    adapter = train(kept, progress=False)
    monkeypatch.undo()
    made = manifest.read(adapter)
    losses = {line["step"]: line["macro"]["loss"] for line in measurements(adapter)}
    best = min(losses, key=lambda step: losses[step])
    assert made["kept"] == {"step": best, "by": "loss", "value": losses[best]}
    assert made["steps"] == max(losses) == best + 10 < 100
    assert set(made["losses"]["validation"]) == {"n_staging", "radiology_ner", "radiology_nli"}
    # The adapter is what a run to the best step gives.
    assert same(
        adapter, train(config.model_copy(update={"out": tmp_path / "short", "max_steps": best}), progress=False)
    )

    # A kill between the end of the training and the adapter's folder costs nothing.
    adapter.rename(tmp_path / "first")
    assert same(train(kept, resume=True, progress=False), tmp_path / "first")
    assert not (tmp_path / "adapter.training").exists()
    last = config.model_copy(update={"out": tmp_path / "last"})
    monkeypatch.setattr(shutil, "rmtree", lambda *_, **__: None)
    train(last, progress=False)
    monkeypatch.undo()
    last.out.rename(tmp_path / "second")
    assert same(train(last, resume=True, progress=False), tmp_path / "second")
    assert manifest.read(last.out)["steps"] == made["steps"]
    assert not same(last.out, adapter.with_name("first"))


@qwen3
def test_to_keep_the_best_there_must_be_something_to_measure(recipe: Recipe, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no scores are measured; set generate_items"):
        recipe(keep_best="score")
    corpus.write(tmp_path / "bare", examples(4), {})
    for settings in ({"keep_best": "loss"}, {"patience": 3}, {"keep_best": "score", "generate_items": 4}):
        with pytest.raises(UserError, match="go by rows of validation, of which the corpus has none"):
            train(recipe(corpus=tmp_path / "bare", **settings), progress=False)
