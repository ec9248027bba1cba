"""From single answers to result rows: every item counts, whether it was answered or not."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from typing_extensions import TypedDict

from radlite.errors import UserError
from radlite.evaluation.estimate import Estimate, Vector, mean, proportion, statistic
from radlite.rads import NO_RADS, system_of
from radlite.tasks import Example, Reading, named
from radlite.tasks.task import Status

Stage = Literal["baseline", "base", "tuned", "quantized", "ensemble"]


class Row(TypedDict):
    """One number of a result, as it stands in `summary.json`."""

    model: str
    """Name of the base model at every stage; `majority` and `tfidf` for baselines, `router` for the ensemble."""
    stage: Stage
    shots: int
    split: str
    """Split of the corpus the items come from; a router may learn from `validation` only."""
    task: str
    slice: str
    """`all`, a RADS system, `seen_wording`, `unseen_wording`, or a source where a task has several."""
    metric: str
    """A metric of the task, or `unreadable` or `too_long`: the share of items that got no answer for this reason."""
    value: float
    low: float
    high: float
    n: int


@dataclass(frozen=True, slots=True)
class Answered:
    """One item and what became of it. It holds what the model wrote, but no report and no reference text."""

    id: str
    task: str
    split: str
    status: Status
    text: str
    values: Mapping[str, float]
    """What `Task.judge` says; all 0 unless the status is `ok`."""
    label: str | None
    """The answer, in tasks with a closed set of labels."""
    truth: str | None
    """The true label, in tasks with a closed set of labels."""
    slices: tuple[str, ...]
    seconds: float


def grade(example: Example, reading: Reading) -> Answered:
    """Judge one reading. Raises `UserError` if the example's own answer is not in the task's form."""
    task = named(example.task)
    truth = task.read(example.answer)
    if truth is None:
        raise UserError(f"The answer of item {example.id} is not in the form of {task.name}; build the corpus again.")
    answer = reading.answer if reading.status == "ok" else None
    return Answered(
        id=example.id,
        task=task.name,
        split=example.split,
        status=reading.status,
        text=reading.text,
        values=task.judge(answer, truth),
        label=answer if task.labels else None,
        truth=truth if task.labels else None,
        slices=tuple(_slices(example, truth if task.labels else None)),
        seconds=reading.seconds,
    )


def _slices(example: Example, label: str | None) -> Iterable[str]:
    if example.task == "rads_assignment" and label is not None:
        yield NO_RADS if label == NO_RADS else system_of(label)
    if "unseen_wording" in example.tags:
        yield "unseen_wording"
    elif "seen_wording" in example.tags or example.tier == "synthetic":
        yield "seen_wording"
    yield f"source {example.source}"


def rows(answered: Sequence[Answered], model: str, stage: Stage, shots: int = 0) -> list[Row]:
    """Result rows of one model: for each task and slice its metrics, macro-F1 if it has labels, and the failures.

    The denominator is every item given. Raises `UserError` if a task's items come from several splits.
    """
    result: list[Row] = []
    for task, items in _groups(answered, lambda item: (item.task,)).items():
        splits = {item.split for item in items}
        if len(splits) > 1:
            raise UserError(f"The items of {task} come from several splits ({', '.join(sorted(splits))}); give one.")
        for name, part in {"all": items, **_parts(items)}.items():
            for metric, estimate in _estimates(part).items():
                result.append(
                    {"model": model, "stage": stage, "shots": shots, "split": items[0].split, "task": task,
                     "slice": name, "metric": metric, "value": estimate.value, "low": estimate.low,
                     "high": estimate.high, "n": estimate.n}
                )  # fmt: skip
    return result


def _parts(items: Sequence[Answered]) -> dict[str, list[Answered]]:
    parts = _groups(items, lambda item: item.slices)
    # A task with one source has nothing to tell apart.
    return {name: parts[name] for name in sorted(parts) if not (name.startswith("source ") and parts[name] == [*items])}


def _groups(items: Iterable[Answered], keys: Callable[[Answered], Iterable[str]]) -> dict[str, list[Answered]]:
    groups: dict[str, list[Answered]] = {}
    for item in items:
        for key in keys(item):
            groups.setdefault(key, []).append(item)
    return groups


def _estimates(items: Sequence[Answered]) -> dict[str, Estimate]:
    estimates = {metric: mean([item.values[metric] for item in items]) for metric in items[0].values}
    truths = [item.truth for item in items if item.truth is not None]
    if truths:
        estimates["macro_f1"] = macro_f1([item.label for item in items], truths)
    for failure in ("unreadable", "too_long"):
        estimates[failure] = proportion(sum(item.status == failure for item in items), len(items))
    return estimates


def macro_f1(answers: Sequence[str | None], truths: Sequence[str]) -> Estimate:
    """Mean of the F1 of each label that occurs in `truths`, with a bootstrap over items; None is an answer missed."""
    labels = sorted(set(truths))
    guessed = np.array([[answer == label for label in labels] for answer in answers], dtype=np.float64)
    true = np.array([[truth == label for label in labels] for truth in truths], dtype=np.float64)

    def score(weights: Vector) -> Vector:
        support = weights @ true
        f1 = 2 * (weights @ (guessed * true)) / np.maximum(weights @ guessed + support, 1)
        result: Vector = (f1 * (support > 0)).sum(axis=1) / (support > 0).sum(axis=1)
        return result

    return statistic(score, len(truths))


def routed(rows: Iterable[Row], model_for: Callable[[str], str]) -> list[Row]:
    """The rows of a router: for each task those of the model it sends the task to. Give rows of one stage.

    A router sends all items of a task to one model, so that its result is that model's result.
    """
    return [{**row, "model": "router", "stage": "ensemble"} for row in rows if row["model"] == model_for(row["task"])]
