"""A small handmade corpus, and a recipe for a few steps on it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from radlite.data import corpus
from radlite.tasks import Example, named
from radlite.training.config import TrainConfig

STAGES = ("N0", "N1", "N2", "N3")
ENTAILS = ("entailment", "contradiction", "neutral")


def example(task: str, number: int, inputs: dict[str, str], answer: str, split: str = "train") -> Example:
    identity = f"{task}-{split}-{number}"
    text = named(task).render(named(task).read(answer))
    return Example(
        id=identity, task=task, inputs=inputs, answer=text, source="handmade", tier="synthetic",
        patient=identity, study="", split=split, licence="CC0-1.0",
    )  # fmt: skip


def examples(count: int = 12, split: str = "train") -> list[Example]:
    """Rows of three tasks, with no text in two splits."""
    made = []
    for number in range(count):
        seen = f"{split} {number}: the nodes are of size {number} mm. No pleural effusion is seen."
        made += [
            example("n_staging", number, {"report": f"Study {seen}"}, STAGES[number % 4], split),
            example("radiology_ner", number, {"report": f"Scan {seen}"}, "Anatomy: nodes; heart", split),
            example("radiology_nli", number, {"premise": f"Premise {seen}", "hypothesis": f"Hypothesis {seen}"},
                    ENTAILS[number % 3], split),
        ]  # fmt: skip
    return made


@pytest.fixture(scope="session")
def small_corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus") / "handmade"
    corpus.write(folder, [*examples(), *examples(3, "validation")], {})
    return folder


@pytest.fixture
def recipe(base: Path, small_corpus: Path, tmp_path: Path) -> Callable[..., TrainConfig]:
    """Make a recipe of a few steps in fp32 on one thread; keywords change it."""

    def make(**settings: Any) -> TrainConfig:
        usual: dict[str, Any] = {
            "base": str(base), "corpus": small_corpus, "out": tmp_path / "adapter", "rank": 4, "alpha": 8,
            "learning_rate": 1e-3, "max_steps": 4, "max_tokens": 512, "pack_tokens": 512, "rows_per_step": 1,
            "evaluate_every": 100, "save_every": 100, "threads": 1, "precision": "fp32",
        }  # fmt: skip
        return TrainConfig(**{**usual, **settings})

    return make
