"""How well the model in training answers: each task's own metric, by the reader, on a few validation items."""

import contextlib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch

from radlite.chat import Renderer
from radlite.evaluation.metrics import Answered, grade, measures
from radlite.reader import Reader
from radlite.runtime.hf import BATCH, HfModel
from radlite.runtime.model import DEFAULT_CONTEXT
from radlite.tasks import Example, named
from radlite.training import devices


def measure(model: Any, renderer: Renderer, items: Sequence[Example], bf16: bool) -> dict[str, float]:
    """Task to the value of its metric over `items`, in 0..1, as `radlite evaluate` measures it.

    Each process asks a part of the items. The model is the trainer's own; weights, random state and mode are
    afterwards as before.
    """
    context = min(model.config.max_position_embeddings, DEFAULT_CONTEXT)
    size = BATCH.get(model.device.type, BATCH["cpu"])
    reader = Reader(HfModel("trained", model, renderer, context, size), probabilities=False)
    own = items[devices.rank() :: devices.count()]
    with _answering(model, bf16):
        readings = reader.read_many((item.task, item.inputs) for item in own)
        graded = [(item.task, grade(item, reading)) for item, reading in zip(own, readings, strict=True)]
    answered: dict[str, list[Answered]] = defaultdict(list)
    for task, found in devices.pooled(graded):
        answered[task].append(found)
    return {task: _value(task, found) for task, found in answered.items()}


def macro(values: dict[str, float]) -> float:
    """The mean over tasks, to six digits: each task counts alike, however many items it has."""
    return round(sum(values.values()) / len(values), 6)


def _value(task: str, answered: Sequence[Answered]) -> float:
    found = measures(named(task), answered)[named(task).metric]
    return round(float(found.function(np.ones((1, len(found.of))))[0]), 6)


@contextlib.contextmanager
def _answering(model: Any, bf16: bool) -> Iterator[None]:
    """The model as one that reads prompts: with attention that takes masks and a cache, and nothing compiled anew."""
    base = model.get_base_model()
    trained = base.config._attn_implementation
    base.set_attn_implementation("sdpa")
    try:
        with torch.compiler.set_stance("force_eager"), torch.autocast(model.device.type, torch.bfloat16, enabled=bf16):
            yield
    finally:
        base.set_attn_implementation(trained)
