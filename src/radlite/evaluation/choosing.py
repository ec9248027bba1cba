"""Which model answers which task: learned from validation answers, with no more certainty than they give."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, get_args

import numpy as np

from radlite.errors import UserError
from radlite.evaluation.calibration import Kept, confidences, fit, kept
from radlite.evaluation.comparison import LEVEL, compare, told_p
from radlite.evaluation.estimate import holm
from radlite.evaluation.metrics import FEW, Answered, Measure, Stage, counted, measures
from radlite.evaluation.run import Run
from radlite.rads import systems
from radlite.routing.router import SPLIT, Choice, Router
from radlite.tasks import named

_HALVES: Final = 1_000


@dataclass(frozen=True, slots=True)
class Candidate:
    """A model with its answers. `size` is in bytes, 0 where unknown; `identity` as in `Choice`."""

    name: str
    size: int
    answered: Sequence[Answered]
    identity: str = ""

    def of(self, task: str, group: str | None = None) -> "Candidate":
        """Its answers to one task, or to the items of one slice of it."""
        part = [one for one in self.answered if one.task == task and (group is None or group in one.slices)]
        return replace(self, answered=part)


@dataclass(frozen=True, slots=True)
class Noise:
    """The advantage on one task of choosing by the very items that are then scored, over the router's choice."""

    apparent: float
    """Mean over random halves of the items: the best model's value less the router's, on the half it was best on."""
    honest: float
    """The same models on the other half: what is left of the advantage on new items."""


def learn(candidates: Sequence[Candidate], risk: float | None = None) -> Router:
    """For each task the best model on validation answers, or where others are not told apart from it a cheaper one.

    Of such models one that other tasks need anyway goes first, then the smallest, then the one named first. A RADS
    system of 30 items or more gets a model of its own where that is told apart from the task's. Label tasks get their
    temperature, and with `risk` the threshold below which answers are withheld so that at most this share of the others
    is wrong. Raises `UserError` if answers are not of the validation split or not to the same items.
    """
    for one in candidates:
        if wrong := {answer.split for answer in one.answered} - {SPLIT}:
            raise UserError(
                f"Answers of {one.name} are from the {wrong.pop()} split; a router learns from {SPLIT} answers only."
            )
    if len({one.name for one in candidates}) < len(candidates):
        raise UserError("Two runs are of one model; give one run of each.")
    tasks = list(dict.fromkeys(answer.task for one in candidates for answer in one.answered))
    if not tasks:
        raise UserError("There are no validation answers to learn a router from; run radlite evaluate first.")
    able = {task: [part for one in candidates if (part := one.of(task)).answered] for task in tasks}
    ties = {task: _ties(able[task]) for task in tasks}
    needed = {tied[0].name for tied, _ in ties.values() if len(tied) == 1}
    choices: dict[str, Choice] = {}
    for task in tasks:
        tied, why = ties[task]
        chosen = min(tied, key=lambda one: (one.name not in needed, one.size))
        needed.add(chosen.name)
        if chosen is not tied[0]:
            cheaper = "already needed or smaller, and not told apart"
            why = f"{cheaper} from {tied[0].name}, {_value(tied[0]):.2f}"
        choices[task] = _choice(chosen, why, risk)
        choices |= _systems(able[task], chosen, task, risk)
    return Router(choices)


def _ties(candidates: Sequence[Candidate]) -> tuple[list[Candidate], str]:
    """The best candidate and those that are not told apart from it, and how it stands to the next best."""
    best, *others = sorted(candidates, key=lambda one: -_value(one))
    if not others:
        return [best], "the only one"
    found = [compare(best.answered, one.answered)[0] for one in others]
    adjusted = holm([one.probability for one in found])
    tied = [one for one, probability in zip(others, adjusted, strict=True) if probability >= LEVEL]
    after = f"{others[0].name}, {_value(others[0]):.2f}"
    if tied:
        return [best, *tied], f"the highest, not told apart from {after}"
    return [best], f"higher than {after}, p {told_p(adjusted[0])} in this task alone"


def _value(candidate: Candidate) -> float:
    measure = _measure(candidate)
    return float(measure.function(np.ones((1, len(measure.of))))[0])


def _measure(candidate: Candidate) -> Measure:
    task = named(candidate.answered[0].task)
    return measures(task, counted(candidate.answered))[task.metric]


def _choice(candidate: Candidate, why: str, risk: float | None) -> Choice:
    task = named(candidate.answered[0].task)
    found = _measure(candidate).estimate()
    made = Choice(
        candidate.name, task.metric, found.value, found.low, found.high, found.n, why, identity=candidate.identity
    )
    return replace(made, calibration=fit(counted(candidate.answered), risk)) if task.labels else made


def _systems(candidates: Sequence[Candidate], usual: Candidate, task: str, risk: float | None) -> dict[str, Choice]:
    """The RADS systems for which another model than the task's is the better one, beyond chance."""
    rivals = []
    for system in systems():
        own = usual.of(task, system)
        if len(own.answered) < FEW:
            continue
        for one in candidates:
            if one.name != usual.name:
                part = one.of(task, system)
                [found] = compare(part.answered, own.answered)
                rivals.append((system, part, found))
    adjusted = holm([found.probability for *_, found in rivals])
    better: dict[str, list[tuple[float, Candidate]]] = {}
    for (system, part, found), probability in zip(rivals, adjusted, strict=True):
        if probability < LEVEL and found.difference.value > 0:
            better.setdefault(system, []).append((found.first.value, part))
    return {
        f"{task}/{system}": _choice(max(found, key=lambda one: one[0])[1], f"higher than {usual.name} there", risk)
        for system, found in better.items()
    }


def routed(candidates: Sequence[Candidate], router: Router) -> list[Answered]:
    """What the router comes to on these answers, each taken from the model that it chose.

    The system of a RADS item is its true one here; a reader has to find it out.
    """
    by_name = {one.name: {(answer.task, answer.id): answer for answer in one.answered} for one in candidates}
    identities = {one.name: one.identity for one in candidates}
    result = []
    for answer in dict.fromkeys((a.task, a.id, a.slices) for one in candidates for a in one.answered):
        task, id, slices = answer
        system = next((name for name in slices if name in systems()), None)
        choice = router.choice_for(task, system)
        if choice.identity and choice.identity != identities.get(choice.model, choice.identity):
            raise UserError(
                f"The router chose {choice.model} for {task} by the answers of another file than the one of that name "
                "here; evaluate that file, or learn a router from this one's answers to the validation split."
            )
        found = by_name.get(choice.model, {}).get((task, id))
        if not found:
            raise UserError(f"The router's model for {task} is not among the results; evaluate it too.")
        result.append(found)
    return result


@dataclass(frozen=True, slots=True)
class Withheld:
    """What a router's limit on one task, or RADS system, comes to on answers that it was not learned from."""

    task: str
    model: str
    risk: float
    """The share of wrong answers that was asked for, at most."""
    kept: Kept

    @property
    def words(self) -> str:
        """Whether it holds."""
        wrong = self.kept.wrong
        if not wrong.n or wrong.high <= self.risk:
            return "holds"
        if wrong.low > self.risk:
            return "does not hold"
        return "not told: " + ("above" if wrong.value > self.risk else "below") + " it within chance"


def withheld(candidates: Sequence[Candidate], router: Router) -> list[Withheld]:
    """The limits of a router on these answers. The system of a RADS item is its true one, as in `routed`."""
    by_name = {one.name: one for one in candidates}
    found = []
    for key, choice in router.choices.items():
        task, _, system = key.partition("/")
        if not (choice.calibration.threshold and choice.calibration.risk and choice.model in by_name):
            continue
        own = [other.partition("/")[2] for other in router.choices if not system and other.startswith(f"{task}/")]
        items = [
            one for one in counted(by_name[choice.model].of(task, system or None).answered)
            if not any(name in one.slices for name in own)
        ]  # fmt: skip
        if items:
            given, right = confidences(items, choice.calibration.temperature)
            left = kept(given, right, choice.calibration.threshold)
            found.append(Withheld(key, choice.model, choice.calibration.risk, left))
    return found


def noise(candidates: Sequence[Candidate], router: Router, task: str, seed: int = 0) -> Noise:
    """How much of an oracle's advantage on `task`, that is of the best model on these very items, is chance.

    By nested resampling: the best model on a random half of the items is held against the router's on both halves.
    """
    parts = [one.of(task) for one in candidates]
    values = [_measure(one) for one in parts if one.answered]
    names = [one.name for one in parts if one.answered]
    ours = names.index(router.choice_for(task).model)
    n = len(values[0].of)
    if n < 2 or any(len(one.of) != n for one in values):
        return Noise(0.0, 0.0)
    generator = np.random.default_rng(seed)
    half = np.argsort(generator.random((_HALVES, n)), axis=1) < n // 2
    near, far = (np.stack([one.function(part.astype(np.float64)) for one in values]) for part in (half, ~half))
    best = near.argmax(axis=0)
    at = np.arange(_HALVES)
    return Noise(float((near[best, at] - near[ours]).mean()), float((far[best, at] - far[ours]).mean()))


def candidates(runs: Sequence[Run]) -> list[Candidate]:
    """The models of these runs, asked in the usual way, each at the last stage that it is there in.

    Raises `UserError` if two runs are of one model and stage: a router tells models apart by their names.
    """
    order = list(get_args(Stage))
    found: dict[str, Run] = {}
    for run in (run for run in runs if run.setup.usual):
        known = found.get(run.setup.name)
        if known and order.index(known.setup.stage) > order.index(run.setup.stage):
            continue
        if known and known.setup.stage == run.setup.stage:
            raise UserError(
                f"{known.folder} and {run.folder} are both of {run.setup.name}; give one of them, or evaluate both in "
                "one call, which tells them apart by the names of their files."
            )
        found[run.setup.name] = run
    return [
        Candidate(run.setup.name, run.setup.size, run.answered, run.identity if run.setup.kind else "")
        for run in found.values()
    ]


def value(candidate: Candidate, task: str) -> float | None:
    """Its primary metric in a task; None if it was not asked that."""
    part = candidate.of(task)
    return _value(part) if part.answered else None
