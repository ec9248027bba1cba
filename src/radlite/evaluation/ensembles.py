"""Several models as one: the likeliest label on average, the text that the others agree with most, or nothing."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from radlite.errors import UserError
from radlite.evaluation.choosing import candidates, routed
from radlite.evaluation.metrics import Answered
from radlite.evaluation.run import Run
from radlite.routing.router import Router, tempered
from radlite.tasks import named
from radlite.tasks.answers import rouge_l
from radlite.tasks.findings import finding_f1
from radlite.tasks.impression import IMPRESSION

_NOTHING = {"severity abstained"}
"""What an item without an answer has of, where all else is 0."""

Answers = Mapping[str, Sequence[Answered]]
"""Model to its answers, to the same items in one order."""


def averaged(answers: Answers, router: Router | None = None) -> list[Answered]:
    """In tasks with labels, of the labels that any model gives the one that is likeliest on average over them.

    Each model's probabilities are at its temperature if it is the `router`'s choice for the task, else as they are.
    """

    def choose(said: Sequence[tuple[str, Answered]]) -> Answered:
        labels = len(named(said[0][1].task).labels)
        likely = []
        for name, one in said:
            choice = router.choices.get(one.task) if router else None
            temperature = choice.calibration.temperature if choice and choice.model == name else 1.0
            likely.append(tempered(one.probabilities, labels, temperature))
        given = [one for _, one in said if one.label is not None]
        if not given:
            return said[0][1]
        return max(given, key=lambda one: sum(told.get(one.label or "", 0.0) for told in likely))

    return _each(answers, choose, lambda task: bool(named(task).labels))


def consensus(answers: Answers) -> list[Answered]:
    """Of the impressions of an item the one most like the others, in findings and words: the least expected loss where
    each model's text stands for what may be true (minimum Bayes risk). Two models give the first one's.
    """

    def choose(said: Sequence[tuple[str, Answered]]) -> Answered:
        given = [one for _, one in said if one.status == "ok"]
        if not given:
            return said[0][1]
        gain = [sum(_alike(one.text, other.text) for other in given if other is not one) for one in given]
        return given[gain.index(max(gain))]

    return _each(answers, choose, lambda task: task == IMPRESSION.name)


def agreed(answers: Answers) -> list[Answered]:
    """In tasks with labels, the label where all models give the same one; else nothing, which scores 0."""

    def choose(said: Sequence[tuple[str, Answered]]) -> Answered:
        first = said[0][1]
        if len({one.label for _, one in said}) == 1 and first.label is not None:
            return first
        return replace(
            first, status="abstained", label=None, values={name: float(name in _NOTHING) for name in first.values},
            counts={label: (0.0, 0.0, true) for label, (_, _, true) in first.counts.items() if true},
        )  # fmt: skip

    return _each(answers, choose, lambda task: bool(named(task).labels))


def answers_of_all(runs: Sequence[Run], router: Router | None = None) -> dict[str, list[Answered]]:
    """What the router answers, if there is one, and several bases put together in each way they allow."""
    found = candidates(runs)
    answers = {one.name: one.answered for one in found}
    made = {"router": routed(found, router)} if router else {}
    if len({run.setup.origin for run in runs}) > 1:
        if all(any(one.probabilities for one in answered) for answered in answers.values()):
            made["averaged"] = averaged(answers, router)
        if len(answers) > 2:
            made["consensus"] = consensus(answers)
        made["agreed"] = agreed(answers)
    return made


def _each(
    answers: Answers, choose: Callable[[Sequence[tuple[str, Answered]]], Answered], fits: Callable[[str], bool]
) -> list[Answered]:
    """One answer for each item of the tasks that fit. Raises `UserError` if the models answered different items."""
    result = []
    names = list(answers)
    for said in zip(*answers.values(), strict=True):
        if len({(one.task, one.id) for one in said}) != 1:
            raise UserError("The models answered different items; evaluate all with the same corpus and --limit.")
        if fits(said[0].task):
            result.append(choose(list(zip(names, said, strict=True))))
    return result


def _alike(one: str, other: str) -> float:
    return (finding_f1(one, other) + rouge_l(one, other)) / 2
