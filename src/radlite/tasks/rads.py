"""RADS assignment: one category of one of ten systems, or none."""

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from radlite.rads import NO_RADS, category, labels, spelled, systems
from radlite.rads.features import disagreement
from radlite.rads.mentions import find, stated
from radlite.rads.severity import SEVERITIES, acts, parent, severity
from radlite.tasks.answers import of_labels, one_label, one_of, quote, squeeze
from radlite.tasks.grammar import Grammar, sequence
from radlite.tasks.prompts import cue, instruction
from radlite.tasks.task import Counts, Grounded, Task


@dataclass(frozen=True, slots=True)
class Assignment:
    """A category with what the system's table says of it."""

    category: str
    """Canonical, or `No applicable RADS`; the other fields are then empty."""
    modifiers: tuple[str, ...] = ()
    system: str | None = None
    rank: int | None = None
    tier: int | None = None
    risk: str = ""
    management: str = ""
    stated: bool = field(default=False, compare=False)
    """Whether the report itself gives this category; else it was inferred from the findings."""


def assignment(code: str, modifiers: tuple[str, ...] = ()) -> Assignment:
    """The assignment of a canonical category."""
    found = category(code)
    if not found:
        return Assignment(code)
    return Assignment(code, modifiers, found.system, found.rank, found.tier, found.risk, found.management)


_label = one_of(labels())


def read(text: str) -> Assignment | None:
    """The category, in canonical or another known spelling (`LI-RADS 5`); None if the text is anything else besides."""
    label = _label(text)
    if label:
        return assignment(label)
    whole = squeeze(text).rstrip(".")
    mentions = find(whole)
    if len(mentions) != 1 or (mentions[0].start, mentions[0].end) != (0, len(whole)) or mentions[0].range:
        return None
    found = mentions[0]
    return assignment(found.category, found.modifiers) if found.category in labels() else None


def render(answer: Assignment) -> str:
    """Canonical spelling, with modifiers if there are any."""
    return spelled(answer.category, answer.modifiers)


def grammar(inputs: Mapping[str, str]) -> Grammar:
    """The categories of the system that `inputs["system"]` names, or of all ten, and `No applicable RADS`."""
    return _allowed(inputs.get("system", ""))


@functools.cache
def _allowed(system: str) -> Grammar:
    return sequence((*systems()[system].answers, NO_RADS) if system in systems() else labels())


def draft(inputs: Mapping[str, str]) -> str:
    """The category that the report itself gives, if any."""
    found = stated(inputs["report"])
    return found.category if found and found.category in labels() else ""


def ground(answer: Assignment, inputs: Mapping[str, str]) -> Grounded:
    """Where the report states this category; a warning if it states another one, or the findings make it another one.

    What is stated of an earlier study or in the history does not count, nor do other systems. The findings are those of
    a light extractor; they speak only where the guideline's rule puts them into another tier.
    """
    report = inputs["report"]
    same = [one for one in find(report) if not one.prior and one.system == answer.system]
    agreeing = tuple(one for one in same if answer.category in (one.category, parent(one.category)))
    written = stated(report, answer.system) if answer.system else stated(report)
    warnings: list[str] = []
    if written and not agreeing:
        warnings.append(f"the report states {spelled(written.category, written.modifiers)}")
    elif not written and any(one.category == answer.category for one in find(report)):
        warnings.append("the report states this category for an earlier study only")
    if ruling := disagreement(report, answer.category):
        warnings.append(f"by the guideline's rule the findings are {ruling.category}: {ruling.rule}")
    return Grounded(
        replace(answer, stated=bool(agreeing)),
        tuple(quote(report, one.start, one.end) for one in agreeing),
        tuple(warnings),
    )


def judge(answer: Assignment | None, truth: Assignment) -> dict[str, float]:
    """Right; right without subdivision; right system; the class of the error, each a share of all items.

    `sensitivity` and `specificity` are of the system's action threshold, over the items that they are defined for.
    """
    given = answer.category if answer else None
    found = severity(given, truth.category)
    values = {
        "accuracy": float(given == truth.category),
        "parent_accuracy": float(given is not None and parent(given) == parent(truth.category)),
        "system_accuracy": float(answer is not None and answer.system == truth.system),
        **{f"severity {name}": float(name == found) for name in SEVERITIES},
    }
    due = acts(truth.category)
    if due is not None:
        values["sensitivity" if due else "specificity"] = float(given is not None and acts(given) is due)
    return values


def count(answer: Assignment | None, truth: Assignment) -> Counts:
    """The category given and the true one."""
    return one_label(answer.category if answer else None, truth.category)


def _category(answer: Assignment) -> str:
    return answer.category


def _rank(code: str) -> tuple[str, int] | None:
    found = category(code)
    return (found.scale, found.rank) if found and found.rank is not None else None


def _group(truth: Assignment) -> str:
    return truth.system or NO_RADS


RADS = Task(
    name="rads_assignment",
    inputs=("report",),
    cue=cue("rads_assignment"),
    instruction=instruction("rads_assignment"),
    form=Assignment,
    read=read,
    render=render,
    judge=judge,
    metric="accuracy",
    max_tokens=24,
    grammar=grammar,
    draft=draft,
    ground=ground,
    labels=labels(),
    label=_category,
    probabilities=of_labels,
    count=count,
    rank=_rank,
    group=_group,
)
