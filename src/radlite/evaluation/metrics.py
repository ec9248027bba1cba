"""From single answers to result rows: every item counts, whether it was answered or not."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from typing_extensions import TypedDict

from radlite.errors import UserError
from radlite.evaluation.estimate import Estimate, Vector, mean, proportion, statistic
from radlite.tasks import Example, Reading, Task, named
from radlite.tasks.task import Counts, Status

_MOST_LABELS = 48
"""A task with more labels gets no rows for single ones."""

_PROXY = "proxy"
"""Tier and slice of answers that only stand for the true ones."""

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
    """`all`, a RADS system, `seen_wording`, `unseen_wording`, `proxy`, or a source where a task has several. Proxies,
    whose answer only stands for the true one, are not in `all` beside true answers."""
    metric: str
    """A metric of the task, `f1 LABEL` of one label, `macro_f1` over those that occur, `micro_f1` over all,
    `kappa` (quadratic weights) and `rank_error` where labels have an order, or `unreadable` or `too_long`: the share of
    items that got no answer for this reason."""
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
    """What `Task.judge` says of this item."""
    counts: Counts
    """What `Task.count` says of it."""
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
    truth = task.ground(truth, example.inputs).answer
    answer = reading.answer if reading.status == "ok" else None
    return Answered(
        id=example.id,
        task=task.name,
        split=example.split,
        status=reading.status,
        text=reading.text,
        values=task.judge(answer, truth),
        counts=task.count(answer, truth),
        label=task.label(answer) if task.labels and answer is not None else None,
        truth=task.label(truth) if task.labels else None,
        slices=tuple(_slices(example, task.group(truth) if task.group else None)),
        seconds=reading.seconds,
    )


def _slices(example: Example, group: str | None) -> Iterable[str]:
    if group is not None:
        yield group
    if "unseen_wording" in example.tags:
        yield "unseen_wording"
    elif "seen_wording" in example.tags or example.tier == "synthetic":
        yield "seen_wording"
    if example.tier == _PROXY:
        yield _PROXY
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
        whole = [item for item in items if _PROXY not in item.slices] or items
        for name, part in {"all": whole, **_parts(items)}.items():
            for metric, estimate in _estimates(named(task), part, name == "all").items():
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


def _estimates(task: Task, items: Sequence[Answered], whole: bool) -> dict[str, Estimate]:
    """Every metric of these items of one task; with `whole` those of single labels too.

    A metric that only some items have, such as the sensitivity at a threshold, is over these.
    """
    metrics = dict.fromkeys(metric for item in items for metric in item.values)
    found = {name: mean([item.values[name] for item in items if name in item.values]) for name in metrics}
    found |= _f1([item.counts for item in items], whole)
    if task.rank:
        found |= _ordinal(task.rank, items)
    for failure in ("unreadable", "too_long"):
        found[failure] = proportion(sum(item.status == failure for item in items), len(items))
    return found


def _f1(counts: Sequence[Counts], whole: bool) -> dict[str, Estimate]:
    """F1 from counts summed over items: over all labels, the mean of those that are true somewhere, of each."""
    labels = sorted({label for one in counts for label in one})
    if not labels:
        return {}
    empty = (0.0, 0.0, 0.0)
    right, given, true = np.array([[one.get(label, empty) for label in labels] for one in counts]).transpose(2, 0, 1)

    def micro(weights: Vector) -> Vector:
        return _ratio(2 * (weights @ right).sum(1), (weights @ given).sum(1) + (weights @ true).sum(1))

    def macro(weights: Vector) -> Vector:
        support = weights @ true > 0
        return _ratio((_ratio(2 * (weights @ right), weights @ (given + true)) * support).sum(1), support.sum(1))

    def of(column: int) -> Callable[[Vector], Vector]:
        return lambda weights: _ratio(2 * (weights @ right[:, column]), weights @ (given + true)[:, column])

    n = len(counts)
    found = {"macro_f1": statistic(macro, n), "micro_f1": statistic(micro, n)}
    if whole and len(labels) <= _MOST_LABELS:
        found |= {f"f1 {label}": statistic(of(column), n) for column, label in enumerate(labels)}
    return found


def _ratio(part: Vector, whole: Vector) -> Vector:
    """`part / whole`, and 0 where there is no whole."""
    result: Vector = np.divide(part, whole, out=np.zeros_like(part, dtype=np.float64), where=whole > 0)
    return result


def _ordinal(rank: Callable[[str], tuple[str, int] | None], items: Sequence[Answered]) -> dict[str, Estimate]:
    """Quadratic weighted kappa and mean distance of ranks, over the items whose truth has a rank.

    Kappa is of each scale by itself, weighted by its items. An answer that is not on the truth's scale, or none at all,
    counts as the rank farthest from the truth.
    """
    scales: dict[str, list[tuple[int, int | None]]] = {}
    for item in items:
        true = rank(item.truth) if item.truth else None
        if true:
            given = rank(item.label) if item.label else None
            scales.setdefault(true[0], []).append((true[1], given[1] if given and given[0] == true[0] else None))
    if not scales:
        return {}
    pairs = np.array([pair for scale in scales.values() for pair in _filled(scale)], dtype=np.float64)
    member = np.repeat(np.eye(len(scales)), [len(scale) for scale in scales.values()], axis=0)
    right, said = pairs[:, :1] * member, pairs[:, 1:] * member
    apart = (right - said) ** 2

    def kappa(weights: Vector) -> Vector:
        count = np.maximum(weights @ member, 1)
        chance = weights @ (right**2 + said**2) / count - 2 * (weights @ right / count) * (weights @ said / count)
        seen = weights @ apart / count
        each = 1 - np.divide(seen, chance, out=(seen > 0).astype(np.float64), where=chance > 1e-12)
        result: Vector = (each * (weights @ member)).sum(1) / weights.sum(1)
        return result

    distance = np.abs(pairs[:, 0] - pairs[:, 1])
    return {
        "kappa": statistic(kappa, len(pairs), floor=-1.0),
        "rank_error": statistic(lambda w: w @ distance / len(pairs), len(pairs), ceiling=float(pairs.max())),
    }


def _filled(scale: Sequence[tuple[int, int | None]]) -> Iterable[tuple[int, int]]:
    """True and given ranks of one scale; what was not given is the farthest of the ranks that occur."""
    ranks = [rank for pair in scale for rank in pair if rank is not None]
    low, high = min(ranks), max(ranks)
    for true, given in scale:
        yield true, (low if true - low > high - true else high) if given is None else given


def routed(rows: Iterable[Row], model_for: Callable[[str], str]) -> list[Row]:
    """The rows of a router: for each task those of the model it sends the task to. Give rows of one stage.

    A router sends all items of a task to one model, so that its result is that model's result.
    """
    return [{**row, "model": "router", "stage": "ensemble"} for row in rows if row["model"] == model_for(row["task"])]
