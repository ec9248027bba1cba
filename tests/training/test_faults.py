"""Runs that meet numbers which are not finite, a full disk, or a kill at any instant."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import transformers
from safetensors.torch import load_file

from radlite.data import corpus
from radlite.errors import UserError
from radlite.tokenizer import Tokenizer
from radlite.training.config import TrainConfig
from radlite.training.trainer import train
from tests.training.conftest import example, examples

Recipe = Callable[..., TrainConfig]
qwen3 = pytest.mark.parametrize("base", ["qwen3"], indirect=True)


def poisoned(base: Path, folder: Path, token: int) -> Path:
    """The base, whose embedding of `token` is no number; the output matrix is apart and sound."""
    shutil.copytree(base, folder)
    model = transformers.AutoModelForCausalLM.from_pretrained(base)
    model.config.tie_word_embeddings = False
    model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight.detach().clone())
    with torch.no_grad():
        model.model.embed_tokens.weight[token] = torch.nan
    model.save_pretrained(folder)
    return folder


@qwen3
def test_a_row_that_gives_no_number_is_named_and_what_was_learned_stays(
    recipe: Recipe, base: Path, tmp_path: Path
) -> None:
    bad = example("n_staging", 99, {"report": "The secret is §."}, "N1")
    corpus.write(tmp_path / "corpus", [*examples(), bad], {})
    token = Tokenizer.from_folder(base).encode("§")[-1]
    folder = poisoned(base, tmp_path / "poisoned", token)
    config = recipe(base=str(folder), corpus=tmp_path / "corpus", max_steps=None, epochs=20, save_every=1, seed=3)
    with pytest.raises(
        UserError, match=rf"Step \d+ gives what is no finite number: .* the rows n_staging {bad.id};"
    ) as told:
        train(config, progress=False)
    assert "secret" not in str(told.value) and "§" not in str(told.value)
    assert not config.out.exists()
    last = max((tmp_path / "adapter.training").glob("checkpoint-*"), key=lambda path: int(path.name[11:]), default=None)
    if last:
        assert f"The checkpoint of step {last.name[11:]} is whole." in str(told.value)
        kept = load_file(last / "adapter_model.safetensors")
        assert all(tensor.isfinite().all() for tensor in kept.values())


@qwen3
def test_weights_that_grow_beyond_bounds_end_the_run_before_they_are_kept(recipe: Recipe, tmp_path: Path) -> None:
    settings: dict[str, object] = {"schedule": "constant", "warmup": 0, "save_every": 1, "max_steps": 10}
    with pytest.raises(UserError, match=r"Step 2 .* lower learning_rate\. The checkpoint of step 1 is whole\."):
        train(recipe(learning_rate=1e30, **settings), progress=False)
    folders = [path.name for path in (tmp_path / "adapter.training").glob("checkpoint-*")]
    assert folders == ["checkpoint-1"] and not (tmp_path / "adapter").exists()
    with pytest.raises(
        UserError, match=r"Step 1 .* grown beyond all bounds; lower learning_rate\. There is no checkpoint"
    ):
        train(recipe(learning_rate=1e300, out=tmp_path / "other", **settings), progress=False)
    assert not list((tmp_path / "other.training").glob("checkpoint-*"))


@qwen3
def test_a_gradient_that_is_no_number_ends_the_run_though_the_loss_is_one(
    recipe: Recipe, base: Path, tmp_path: Path
) -> None:
    shutil.copytree(base, tmp_path / "steep")
    model = transformers.AutoModelForCausalLM.from_pretrained(base)
    mlp = model.model.layers[0].mlp
    with torch.no_grad():  # what goes into down_proj is huge in one place, and down_proj itself takes nothing of it
        mlp.up_proj.weight[0] *= 1e30
        mlp.down_proj.weight[:, 0] = 0
    model.save_pretrained(tmp_path / "steep")
    with pytest.raises(UserError, match=r"Step 1 gives what is no finite number: every row does that;"):
        train(recipe(base=str(tmp_path / "steep")), progress=False)
    assert not (tmp_path / "adapter").exists()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@qwen3
def test_on_a_gpu_a_poisoned_row_is_named_before_a_checkpoint_is_written(
    recipe: Recipe, base: Path, tmp_path: Path
) -> None:
    bad = example("n_staging", 99, {"report": "The secret is §."}, "N1")
    corpus.write(tmp_path / "corpus", [*examples(), bad], {})
    folder = poisoned(base, tmp_path / "poisoned", Tokenizer.from_folder(base).encode("§")[-1])
    config = recipe(base=str(folder), corpus=tmp_path / "corpus", max_steps=None, epochs=5, save_every=5, threads=None)
    with pytest.raises(UserError, match=rf"the rows n_staging {bad.id};"):
        train(config, progress=False)
    for path in (tmp_path / "adapter.training").glob("checkpoint-*/adapter_model.safetensors"):
        assert all(tensor.isfinite().all() for tensor in load_file(path).values())


@qwen3
def test_validation_that_gives_no_number_ends_the_run(recipe: Recipe, base: Path, tmp_path: Path) -> None:
    bad = example("n_staging", 99, {"report": "The secret is §."}, "N1", "validation")
    corpus.write(tmp_path / "corpus", [*examples(), bad], {})
    folder = poisoned(base, tmp_path / "poisoned", Tokenizer.from_folder(base).encode("§")[-1])
    with pytest.raises(UserError, match=r"The validation loss of n_staging is not finite after step 2"):
        train(recipe(base=str(folder), corpus=tmp_path / "corpus", evaluate_every=2), progress=False)


KILLS = 20
HARNESS = '''
import os, random, signal, sys, time
from pathlib import Path
import torch
torch.set_num_threads(1)
from radlite.training.config import TrainConfig
from radlite.training.trainer import train
from radlite import manifest
config = TrainConfig.model_validate_json(sys.argv[1])
whole = config.model_copy(update={"out": config.out.with_name("whole")})
work = config.out.with_name(config.out.name + ".training")

def child(config, resume=True):
    """A process of its own that trains, with all that takes long to import there already."""
    pid = os.fork()
    if pid == 0:
        try:
            train(config, resume=resume, progress=False)
            os._exit(0)
        except BaseException as error:
            print(type(error).__name__, error, file=sys.stderr, flush=True)
            os._exit(1)
    return pid

def ended(pid):
    return os.waitpid(pid, os.WNOHANG)[0] != 0

begun = time.monotonic()
assert os.waitpid(child(whole), 0)[1] == 0
length = time.monotonic() - begun
draw, killed, writing = random.Random(0), 0, 0
while killed < int(sys.argv[2]) and not config.out.exists():
    pid = child(config)
    if killed % 2:  # inside the writing of a checkpoint: its folder is there, and its mark is not
        old = set(work.glob("checkpoint-*"))
        while not (new := set(work.glob("checkpoint-*")) - old) and not config.out.exists():
            assert not ended(pid), "the run ended by itself"
        time.sleep(draw.uniform(0, 0.01))
    else:
        time.sleep(draw.uniform(0, length / 12))
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    killed += 1
    writing += any(not (path / manifest.NAME).exists() for path in work.glob("checkpoint-*"))
    assert not config.out.exists() or (config.out / manifest.NAME).exists()
assert os.waitpid(child(config), 0)[1] == 0
print(killed, writing)
'''


@pytest.mark.slow
@qwen3
def test_a_run_killed_at_twenty_instants_ends_with_the_same_weights(recipe: Recipe, tmp_path: Path) -> None:
    config = recipe(
        max_steps=120, save_every=2, evaluate_every=12, dropout=0.05,
        generate_items=1, keep_best="score", patience=100, tasks={"n_staging": 1, "radiology_nli": 2},
    )  # fmt: skip
    command = [sys.executable, "-c", HARNESS, config.model_dump_json(exclude_unset=True), str(KILLS)]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr
    killed, writing = map(int, done.stdout.split())
    assert killed == KILLS and writing >= 3
    one, two = (load_file(tmp_path / name / "adapter_model.safetensors") for name in ("adapter", "whole"))
    assert one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)
    validation = [
        [line for line in map(json.loads, (tmp_path / name / "log.jsonl").read_text("utf-8").splitlines())
         if "validation" in line]
        for name in ("adapter", "whole")
    ]  # fmt: skip
    assert validation[0] == validation[1]


FULL = """
import os, subprocess, sys, threading, time
from pathlib import Path
import torch
torch.set_num_threads(1)
from radlite import manifest
from radlite.errors import UserError
from radlite.training.config import TrainConfig
from radlite.training.trainer import train
config = TrainConfig.model_validate_json(sys.argv[1])
disk = config.out.parent
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "none", str(disk)], check=True)

def fill():
    while not list(disk.glob("adapter.training/checkpoint-*/" + manifest.NAME)):
        time.sleep(0.005)
    with (disk / "filler").open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            pass

threading.Thread(target=fill).start()
try:
    train(config, progress=False)
except UserError as error:
    print(error)
assert not config.out.exists()
(disk / "filler").unlink()
train(config, resume=True, progress=False)
whole = config.model_copy(update={"out": disk / "whole"})
train(whole, progress=False)
one, two = ((out / "adapter_model.safetensors").read_bytes() for out in (config.out, whole.out))
assert one == two
"""


@pytest.mark.slow
@qwen3
def test_a_full_disk_is_told_and_the_run_goes_on_once_there_is_room(recipe: Recipe, tmp_path: Path) -> None:
    if subprocess.run(["unshare", "-Urm", "mount", "-t", "tmpfs", "none", tmp_path], capture_output=True).returncode:
        pytest.skip("this system lets nobody mount a small disk of his own")
    (tmp_path / "disk").mkdir()
    config = recipe(out=tmp_path / "disk" / "adapter", max_steps=60, save_every=3)
    command = ["unshare", "-Urm", sys.executable, "-c", FULL, config.model_dump_json(exclude_unset=True)]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr
    (told,) = done.stdout.splitlines()
    assert "adapter.training" in told and ("No space left on device" in told or "is full" in told)
