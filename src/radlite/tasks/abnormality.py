"""Abnormality detection: the state of each of the fourteen CheXpert classes. The answer maps class to state."""

import re
from typing import Final

from radlite.tasks.answers import overlap
from radlite.tasks.task import Grammar, Task

# The column order of mimic-cxr-2.0.0-chexpert.csv, which the paper's output follows.
CLASSES: Final = (
    "Atelectasis", "Cardiomegaly", "Consolidation", "Edema", "Enlarged Cardiomediastinum", "Fracture", "Lung Lesion",
    "Lung Opacity", "No Finding", "Pleural Effusion", "Pleural Other", "Pneumonia", "Pneumothorax", "Support Devices",
)  # fmt: skip
STATES: Final = ("positive", "negative", "uncertain", "not mentioned")
# CheXpert's labeler separates what is denied from what is not mentioned; three states would merge the two.

_CLASS = {name.casefold(): name for name in CLASSES}
_LINE = re.compile(r"-?\s*([A-Za-z ]+?)\s*:\s*(positive|negative|uncertain|not mentioned)\s*", re.IGNORECASE)


def render(states: dict[str, str]) -> str:
    """Fourteen lines `- Atelectasis: negative`."""
    return "\n".join(f"- {name}: {states[name]}" for name in CLASSES)


def read(text: str) -> dict[str, str] | None:
    """All fourteen states; None if a class is missing, repeated or unknown."""
    states: dict[str, str] = {}
    for line in filter(str.strip, text.splitlines()):
        found = _LINE.fullmatch(line.strip())
        name = found and _CLASS.get(found[1].casefold())
        if not found or not name or name in states:
            return None
        states[name] = found[2].lower()
    return {name: states[name] for name in CLASSES} if len(states) == len(CLASSES) else None


def judge(answer: dict[str, str] | None, truth: dict[str, str]) -> dict[str, float]:
    """F1 over the (class, state) pairs that are mentioned, and the share of the fourteen states that are right."""
    if answer is None:
        return {"mention_f1": 0.0, "state_accuracy": 0.0}
    mentioned = [{(name, state) for name, state in states.items() if state != STATES[3]} for states in (answer, truth)]
    return {
        "mention_f1": overlap(*mentioned)[2],
        "state_accuracy": sum(answer[name] == truth[name] for name in CLASSES) / len(CLASSES),
    }


def _grammar() -> Grammar:
    states = tuple(f" {state}" for state in STATES)
    slots: list[tuple[str, ...]] = []
    for index, name in enumerate(CLASSES):
        slots += [(f"{chr(10) if index else ''}- {name}:",), states]
    return tuple(slots)


ABNORMALITY = Task(
    name="abnormality_detection",
    inputs=("report",),
    cue="State of each finding.",
    instruction=(
        "For each of these findings say whether the report calls it positive, negative, uncertain, or does not "
        f"mention it: {', '.join(CLASSES)}. Answer with one line for each, in this order and form: "
        "'- Atelectasis: not mentioned'."
    ),
    read=read,
    render=render,
    judge=judge,
    metric="mention_f1",
    max_tokens=160,
    grammar=_grammar(),
)
