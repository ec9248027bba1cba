"""Fixtures: tiny random models of both families, and the real files of `shared/` where they are."""

import os
from pathlib import Path

import pytest

from radlite.runtime import gguf
from radlite.tokenizer import Tokenizer

os.environ["HF_HUB_OFFLINE"] = "1"

SHARED = Path(__file__).parents[2] / "shared" / "data"

TEXTS = [
    "Chest radiograph. Findings: the heart is normal in size. No pleural effusion or pneumothorax is seen.",
    "Small left pleural effusion, increased since the prior study. - Atelectasis: negative\n- Edema: positive",
    "Positive. N staging: N2 BI-RADS 4A No applicable RADS entailment contradiction neutral M0 M1 (related to: nodule)",
]


@pytest.fixture(scope="session", params=["qwen2.5", "qwen3"])
def base(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A two-layer model folder with random weights, once for each family."""
    return random_base(request.param, tmp_path_factory.mktemp(request.param))


def random_base(family: str, folder: Path, seed: int = 0) -> Path:
    """Write a random model folder with a tokenizer learned from `TEXTS`."""
    from radlite.training.base import Shape, learn_tokenizer, new_model, save

    tokenizer = learn_tokenizer(TEXTS, 512)
    shape = Shape(hidden=256, feed_forward=256, layers=2, context=1024)
    save(new_model(family, shape, tokenizer, seed), tokenizer, family, folder)
    return folder


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with the real vocabulary and reports; tests that need it are skipped in a clone alone."""
    if not SHARED.is_dir():
        pytest.skip("the folder shared/data with real vocabulary and reports is not beside the checkout")
    return SHARED


@pytest.fixture(scope="session")
def qwen(shared: Path) -> Tokenizer:
    """Qwen's real vocabulary."""
    return gguf.read(shared / "qwen" / "ggml-vocab-qwen2.gguf").tokenizer()
