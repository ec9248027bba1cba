"""Abnormality detection: the state of each of the fourteen CheXpert classes."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal, get_args

from radlite.tasks.answers import overlap, quote, tally
from radlite.tasks.grammar import Grammar, sequence
from radlite.tasks.prompts import cue, instruction
from radlite.tasks.task import Counts, Evidence, Grounded, Task

State = Literal["positive", "negative", "uncertain", "not mentioned"]
STATES: Final[tuple[State, ...]] = get_args(State)
# CheXpert's labeler separates what is denied from what is not mentioned; three states would merge the two.

# The column order of mimic-cxr-2.0.0-chexpert.csv, which the paper's output follows.
CLASSES: Final = (
    "Atelectasis", "Cardiomegaly", "Consolidation", "Edema", "Enlarged Cardiomediastinum", "Fracture", "Lung Lesion",
    "Lung Opacity", "No Finding", "Pleural Effusion", "Pleural Other", "Pneumonia", "Pneumothorax", "Support Devices",
)  # fmt: skip

_CLASS = {name.casefold(): name for name in CLASSES}
_LINE = re.compile(r"-?\s*([A-Za-z ]+?)\s*:\s*(positive|negative|uncertain|not mentioned)\s*", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Abnormalities:
    """Class to state, all fourteen."""

    states: Mapping[str, State]
    places: Mapping[str, tuple[Evidence, ...]] = field(default_factory=dict, compare=False)
    """Where a lexicon finds the positive ones, in the order of the report. They come from the report, not the model."""


def render(answer: Abnormalities) -> str:
    """Fourteen lines `- Atelectasis: negative`."""
    return "\n".join(f"- {name}: {answer.states[name]}" for name in CLASSES)


def read(text: str) -> Abnormalities | None:
    """All fourteen states; None if a class is missing, repeated or unknown."""
    states: dict[str, Any] = {}
    for line in filter(str.strip, text.splitlines()):
        found = _LINE.fullmatch(line.strip())
        name = found and _CLASS.get(found[1].casefold())
        if not found or not name or name in states:
            return None
        states[name] = found[2].lower()
    return Abnormalities({name: states[name] for name in CLASSES}) if len(states) == len(CLASSES) else None


def grammar(inputs: Mapping[str, str]) -> Grammar:
    """Fourteen forced lines with four states each."""
    return _GRAMMAR


def draft(inputs: Mapping[str, str]) -> str:
    """What a lexicon finds, each class that it does not find as not mentioned."""
    from radlite.tasks.findings import states  # which itself needs the classes

    found: Mapping[str, Any] = states(inputs["report"])
    return render(Abnormalities({name: found.get(name, "not mentioned") for name in CLASSES}))


def _lines() -> Grammar:
    slots: list[tuple[str, ...]] = []
    for index, name in enumerate(CLASSES):
        slots += [(f"{chr(10) if index else ''}- {name}:",), tuple(f" {state}" for state in STATES)]
    return sequence(*slots)


_GRAMMAR = _lines()


def probabilities(alternatives: tuple[Mapping[str, float], ...]) -> dict[str, dict[str, float]]:
    """Class to state to probability."""
    found = [{state.strip(): value for state, value in one.items()} for one in alternatives]
    return dict(zip(CLASSES, found, strict=True)) if found else {}


def ground(answer: Abnormalities, inputs: Mapping[str, str]) -> Grounded:
    """Where a lexicon finds each class that was called positive; a warning for those it finds only denied."""
    from radlite.tasks.findings import findings  # which itself needs the classes

    report = inputs["report"]
    named: dict[str, list[Any]] = {}
    for finding in findings(report):
        named.setdefault(finding.name, []).append(finding)
    places: dict[str, tuple[Evidence, ...]] = {}
    warnings = []
    for name in (name for name in CLASSES if answer.states[name] == "positive" and name != "No Finding"):
        if name not in named:
            continue
        if found := tuple(quote(report, one.start, one.end) for one in named[name] if one.state == "positive"):
            places[name] = found
        if all(one.state == "negative" for one in named[name]):
            warnings.append(f"{name} is called positive, where the report seems to deny it")
    evidence = tuple(one for found in places.values() for one in found)
    return Grounded(replace(answer, places=places), evidence, tuple(warnings))


def judge(answer: Abnormalities | None, truth: Abnormalities) -> dict[str, float]:
    """F1 over the (class, state) pairs that are mentioned, share of the states that are right, all fourteen right."""
    if answer is None:
        return {"mention_f1": 0.0, "state_accuracy": 0.0, "exact_match": 0.0}
    found, true = (_mentioned(one) for one in (answer, truth))
    right = [answer.states[name] == truth.states[name] for name in CLASSES]
    return {
        "mention_f1": overlap(found, true)[2],
        "state_accuracy": sum(right) / len(right),
        "exact_match": float(all(right)),
    }


def count(answer: Abnormalities | None, truth: Abnormalities) -> Counts:
    """Mentioned states by class and state, such as `Edema positive`."""
    found, true = ([(f"{name} {state}", name) for name, state in _mentioned(one)] if one else []
                   for one in (answer, truth))  # fmt: skip
    return tally(found, true)


def group(truth: Abnormalities) -> str:
    """`abnormal` if anything but devices is there or may be."""
    others = (state for name, state in truth.states.items() if name not in ("No Finding", "Support Devices"))
    return "abnormal" if {"positive", "uncertain"} & set(others) else "normal"


def _mentioned(answer: Abnormalities) -> list[tuple[str, str]]:
    return [(name, state) for name, state in answer.states.items() if state != "not mentioned"]


ABNORMALITY = Task(
    name="abnormality_detection",
    inputs=("report",),
    cue=cue("abnormality_detection"),
    instruction=instruction("abnormality_detection"),
    form=Abnormalities,
    read=read,
    render=render,
    judge=judge,
    metric="mention_f1",
    max_tokens=160,
    grammar=grammar,
    draft=draft,
    ground=ground,
    probabilities=probabilities,
    count=count,
    group=group,
)
