"""The script that makes the tiny bases, as a real process."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import radlite
from radlite.manifest import read, weights_hash

ROOT = Path(__file__).parent.parent
BASE = Path(radlite.__file__).parent / "models" / "tiny-qwen3"


def pretrain(family: str, out: Path) -> list[str]:
    settings = "--seed 9 --steps 6 --copy-steps 2 --save-every 2 --tokens 512 --threads 1 --eager"
    script = str(ROOT / "scripts" / "pretrain.py")
    return [sys.executable, script, family, "--start", str(BASE), "--out", str(out), *settings.split()]


@pytest.mark.slow
def test_a_killed_pretraining_goes_on_and_ends_with_the_same_weights(tmp_path: Path) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    subprocess.run(pretrain("qwen3", whole), check=True, capture_output=True, timeout=280)
    process = subprocess.Popen(pretrain("qwen3", cut), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    kept = tmp_path / "cut.training.pt"
    while not kept.exists():
        assert process.poll() is None, "it ended before it was killed"
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert read(cut)["steps"] < 6
    subprocess.run(pretrain("qwen3", cut), check=True, capture_output=True, timeout=280)
    assert read(cut)["steps"] == 6
    assert weights_hash(cut) == weights_hash(whole)
    assert not kept.exists()


@pytest.mark.slow
def test_a_qwen2_base_grows_from_a_qwen3_one(tmp_path: Path) -> None:
    out = tmp_path / "grown"
    subprocess.run(pretrain("qwen2.5", out), check=True, capture_output=True, timeout=280)
    made = read(out, "base")
    assert made["family"] == "qwen2.5"
    assert made["earlier"][-1]["recipe"]["family"] == "qwen3"
