"""From single answers to result rows: every item counts, whether it was answered or not."""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from typing_extensions import TypedDict

from radlite.errors import UserError
from radlite.evaluation.estimate import Estimate, Vector, mean, statistic
from radlite.tasks import Example, Reading, Task, named
from radlite.tasks.task import Counts, Status

_MOST_LABELS = 48
"""A task with more labels gets no rows for single ones."""

_SHORT, _LONG = 100, 300
"""Words of an item's texts: below the one short, above the other long."""

FEW = 30
"""A slice with fewer items is marked: its interval says little more than that."""

_PROXY = "proxy"
"""Tier and slice of answers that only stand for the true ones."""

Stage = Literal["baseline", "base", "served", "tuned", "quantized", "ensemble"]
"""`served`: behind a server, which does not tell what its weights are."""


class Row(TypedDict):
    """One number of a result, as it stands in `summary.json`."""

    model: str
    """Name of the base model at every stage; of baselines `majority`, `tfidf` and `rules`; of ensembles `router`,
    `averaged`, `consensus` and `agreed`."""
    stage: Stage
    shots: int
    asked: str
    """How the prompts differ from the usual: `nearest` or `random` solved examples, `task-first`, or both."""
    split: str
    """Split of the corpus the items come from; a router may learn from `validation` only."""
    task: str
    slice: str
    """`all`, a RADS system, `stated` or `masked` (whether the report names its category), `variant NAME`, `normal` or
    `abnormal`, `seen_wording`, `unseen_wording`, `proxy`, `short`, `medium` or `long`, `rare labels`, and where a task
    has several a source or a tier. Proxies, whose answer only stands for the true one, are not in `all` beside true
    answers."""
    metric: str
    """A metric of the task, `f1 LABEL` of one label, `macro_f1` over those that occur, `micro_f1` over all,
    `kappa` (quadratic weights) and `rank_error` where labels have an order, or `unreadable`, `too_long` or, where there
    are such, `failed`: the share of items that got no answer for this reason."""
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
    probabilities: Mapping[str, float] = field(default_factory=dict)
    """Of the labels, in tasks with a closed set of them, where the engine tells them; not of very unlikely ones."""


@dataclass(frozen=True, slots=True)
class Setup:
    """A model and how it is asked: what result rows say of it, and what of its weights is known."""

    name: str
    stage: Stage = "base"
    shots: int = 0
    asked: str = ""
    size: int = 0
    """Bytes."""
    base: str = ""
    """Name of the base, where `name` is that of a file."""
    kind: str = ""
    """Of a GGUF file the kind of its weights, such as F16 or Q4_K_M."""

    @property
    def origin(self) -> str:
        """What models of the same base have in common."""
        return self.base or self.name

    @property
    def usual(self) -> bool:
        """Whether it is asked without solved examples, in the usual order."""
        return not (self.shots or self.asked)

    @property
    def quantized(self) -> bool:
        """Whether the weights are known to be coarser than they were."""
        return self.kind not in ("", "F32", "F16", "BF16")


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
        probabilities=dict(reading.probabilities) if task.labels else {},
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
    yield from (tag for tag in ("stated", "masked") if tag in example.tags)
    yield from (tag.replace(":", " ", 1) for tag in example.tags if tag.startswith("variant:"))
    length = sum(len(text.split()) for text in example.inputs.values())
    yield "short" if length < _SHORT else "medium" if length <= _LONG else "long"
    yield f"source {example.source}"
    yield f"tier {example.tier}"


def rows_of(answered: Sequence[Answered], setup: Setup) -> list[Row]:
    """As `rows`."""
    return rows(answered, setup.name, setup.stage, setup.shots, setup.asked)


def rows(answered: Sequence[Answered], model: str, stage: Stage, shots: int = 0, asked: str = "") -> list[Row]:
    """Result rows of one model: for each task and slice its metrics, macro-F1 if it has labels, and the failures.

    The denominator is every item given. Raises `UserError` if a task's items come from several splits.
    """
    result: list[Row] = []
    for task, items in _groups(answered, lambda item: (item.task,)).items():
        splits = {item.split for item in items}
        if len(splits) > 1:
            raise UserError(f"The items of {task} come from several splits ({', '.join(sorted(splits))}); give one.")
        for name, part in {"all": counted(items), **_parts(items)}.items():
            for metric, measure in measures(named(task), part, name == "all").items():
                estimate = measure.estimate()
                result.append(
                    {"model": model, "stage": stage, "shots": shots, "asked": asked, "split": items[0].split,
                     "task": task, "slice": name, "metric": metric, "value": estimate.value, "low": estimate.low,
                     "high": estimate.high, "n": estimate.n}
                )  # fmt: skip
    return result


def counted(items: Sequence[Answered]) -> list[Answered]:
    """What stands in `all`: not the proxies of a task that also has items with a true answer."""
    return [item for item in items if _PROXY not in item.slices] or list(items)


def _parts(items: Sequence[Answered]) -> dict[str, list[Answered]]:
    """The slices. Where all items are of one source, tier or length, that has nothing to tell apart."""
    parts = _groups(items, lambda item: item.slices)
    if rare := _rare(items):
        parts["rare labels"] = rare
    same = [name for name in parts if _KINDS.match(name) and len(parts[name]) == len(items)]
    return {name: parts[name] for name in sorted(parts) if name not in same}


_KINDS = re.compile(r"source |tier |(?:short|medium|long)$")


def _rare(items: Sequence[Answered]) -> list[Answered]:
    """The items whose true label is less than half as frequent as if all that occur were alike frequent."""
    seen = Counter(item.truth for item in items if item.truth is not None)
    return [item for item in items if item.truth is not None and 2 * seen[item.truth] * len(seen) < len(items)]


def _groups(items: Iterable[Answered], keys: Callable[[Answered], Iterable[str]]) -> dict[str, list[Answered]]:
    groups: dict[str, list[Answered]] = {}
    for item in items:
        for key in keys(item):
            groups.setdefault(key, []).append(item)
    return groups


@dataclass(frozen=True, slots=True)
class Measure:
    """A metric of some items, as a function of how often each counts."""

    of: tuple[int, ...]
    """The places of the items that it is about: sensitivity is about those that need the action."""
    function: Callable[[Vector], Vector]
    """From weights of these items, (resamples, items), to a value for each resample."""
    values: tuple[float, ...] | None = None
    """Where it is a mean: of what."""
    floor: float = 0.0
    ceiling: float = 1.0
    telling: int | None = None
    """How many of the items have a say, where not all have: those with a label that it is the F1 of."""

    @property
    def binary(self) -> bool:
        return self.values is not None and set(self.values) <= {0.0, 1.0}

    def estimate(self) -> Estimate:
        if self.values is not None:
            return mean(self.values)
        return statistic(self.function, len(self.of), 0, self.floor, self.ceiling, self.telling)


def measures(task: Task, items: Sequence[Answered], whole: bool = False) -> dict[str, Measure]:
    """Every metric of these items of one task; with `whole` those of single labels too.

    A metric that only some items have, such as the sensitivity at a threshold, is over these.
    """
    names = dict.fromkeys(metric for item in items for metric in item.values)
    found = {name: _mean({at: item.values[name] for at, item in enumerate(items) if name in item.values})
             for name in names}  # fmt: skip
    found |= _f1([item.counts for item in items], whole)
    if task.rank:
        found |= _ordinal(task, items)
    for failure in ("unreadable", "too_long", "failed"):
        if failure != "failed" or any(item.status == failure for item in items):
            found[failure] = _mean({at: float(item.status == failure) for at, item in enumerate(items)})
    return found


def _mean(values: Mapping[int, float]) -> Measure:
    array = np.array(list(values.values()))
    return Measure(tuple(values), lambda weights: weights @ array / weights.sum(1), tuple(values.values()))


def _f1(counts: Sequence[Counts], whole: bool) -> dict[str, Measure]:
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

    every = tuple(range(len(counts)))
    found = {"macro_f1": Measure(every, macro), "micro_f1": Measure(every, micro)}
    if whole and len(labels) <= _MOST_LABELS:
        telling = (true > 0).sum(0).tolist()
        found |= {
            f"f1 {label}": Measure(every, of(column), telling=telling[column]) for column, label in enumerate(labels)
        }
    return found


def _ratio(part: Vector, whole: Vector) -> Vector:
    """`part / whole`, and 0 where there is no whole."""
    result: Vector = np.divide(part, whole, out=np.zeros_like(part, dtype=np.float64), where=whole > 0)
    return result


def _ordinal(task: Task, items: Sequence[Answered]) -> dict[str, Measure]:
    """Quadratic weighted kappa and mean distance of ranks, over the items whose truth has a rank.

    Kappa is of each scale by itself, weighted by its items. An answer that is not on the truth's scale, or none at all,
    counts as the rank farthest from the truth.
    """
    assert task.rank
    scales: dict[str, list[int]] = {}
    for label in task.labels:
        if ranked := task.rank(label):
            scales.setdefault(ranked[0], []).append(ranked[1])
    places: list[int] = []
    pairs: list[tuple[str, int, int]] = []
    for at, item in enumerate(items):
        if true := task.rank(item.truth) if item.truth else None:
            given = task.rank(item.label) if item.label else None
            farthest = max(scales[true[0]], key=lambda rank, true=true[1]: abs(rank - true))  # type: ignore[misc]
            places.append(at)
            pairs.append((*true, given[1] if given and given[0] == true[0] else farthest))
    if not pairs:
        return {}
    names = sorted({scale for scale, _, _ in pairs})
    member = np.array([[scale == name for name in names] for scale, _, _ in pairs], dtype=np.float64)
    ranks = np.array([pair[1:] for pair in pairs], dtype=np.float64)
    right, said = ranks[:, :1] * member, ranks[:, 1:] * member
    apart = (right - said) ** 2
    distance = np.abs(ranks[:, 0] - ranks[:, 1])

    def kappa(weights: Vector) -> Vector:
        count = np.maximum(weights @ member, 1)
        chance = weights @ (right**2 + said**2) / count - 2 * (weights @ right / count) * (weights @ said / count)
        seen = weights @ apart / count
        each = 1 - np.divide(seen, chance, out=(seen > 0).astype(np.float64), where=chance > 1e-12)
        result: Vector = (each * (weights @ member)).sum(1) / weights.sum(1)
        return result

    def error(weights: Vector) -> Vector:
        result: Vector = weights @ distance / weights.sum(1)
        return result

    most = max(float(max(scales[name]) - min(scales[name])) for name in names)
    return {
        "kappa": Measure(tuple(places), kappa, floor=-1.0),
        "rank_error": Measure(tuple(places), error, ceiling=most),
    }
