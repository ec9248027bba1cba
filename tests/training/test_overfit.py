"""The gate before any real training: every task can be learned to the letter, through the real loop and the reader."""

import random
from pathlib import Path

import pytest

import radlite
from radlite.data import corpus
from radlite.reader import Reader
from radlite.runtime.hf import open_model
from radlite.tasks import TASKS, Example
from radlite.tasks.abnormality import CLASSES, STATES
from radlite.tasks.temporal import WORDING
from radlite.training.config import TrainConfig
from radlite.training.trainer import train
from tests.training.conftest import example

SAMPLES = 16
WORDS = (
    "small", "large", "left", "right", "upper", "lower", "lobe", "nodule", "effusion", "heart", "lung",
    "mediastinum", "opacity", "edema", "fracture", "catheter", "stable", "increased", "resolved", "pleural",
    "basal", "apical", "node", "mass", "liver", "kidney", "bone", "marrow", "density", "margin", "calcified",
)  # fmt: skip


def answer(task: str, seen: list[str], rng: random.Random) -> str:
    """An answer in the form of the task: words of what was `seen`, and a choice that must be learned by heart."""
    match task:
        case "radiology_ner":
            return f"Anatomy: {seen[0]}\nObservation (Absent): {' '.join(seen[1:3])}; {seen[5]}"
        case "abnormality_detection":
            states = {name: rng.choice(STATES) for name in rng.sample(CLASSES, 2)}
            return "\n".join(f"- {name}: {states.get(name, STATES[3])}" for name in CLASSES)
        case "temporal_comparison":
            return f"- [{rng.choice(list(WORDING.values()))}] {seen[1]} (related to: {' '.join(seen[3:5])})"
        case "impression_generation" | "radiology_qa":
            return " ".join(seen[:4])
    return rng.choice(TASKS[task].labels)


def rows() -> list[Example]:
    rng = random.Random(0)
    made = []
    for task in TASKS:
        for number in range(SAMPLES):
            texts = [rng.sample(WORDS, 8) for _ in TASKS[task].inputs]
            inputs = {name: " ".join(text) for name, text in zip(TASKS[task].inputs, texts, strict=True)}
            made.append(example(task, number, inputs, answer(task, texts[0], rng)))
    return made


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("name", ["tiny-qwen2.5", "tiny-qwen3"])
def test_sixteen_rows_of_every_task_are_learned_to_the_letter(name: str, tmp_path: Path) -> None:
    base = Path(radlite.__file__).parent / "models" / name
    examples = rows()
    corpus.write(tmp_path / "corpus", examples, {})
    adapter = train(
        TrainConfig(
            base=str(base), corpus=tmp_path / "corpus", out=tmp_path / "adapter", learning_rate=2e-3, warmup=0.05,
            tasks=dict.fromkeys(TASKS, 1.0), epochs=45, max_tokens=1024, rows_per_step=1,
        ),
        progress=False,
    )  # fmt: skip
    reader = Reader(open_model(base, adapter), constrain=False)
    readings = list(reader.read_many([(row.task, row.inputs) for row in examples]))
    wrong = {
        row.id: reading.text for row, reading in zip(examples, readings, strict=True) if reading.text != row.answer
    }
    assert wrong == {}
    assert {reading.stop_reason for reading in readings} == {"end"}
