"""Radiology natural language inference: does the hypothesis follow from the premise?"""

from dataclasses import dataclass
from typing import Final, Literal, get_args

from radlite.tasks.answers import choice, of_labels, one_label, one_of
from radlite.tasks.prompts import cue, instruction
from radlite.tasks.task import Counts, Task

Label = Literal["entailment", "contradiction", "neutral"]
LABELS: Final[tuple[Label, ...]] = get_args(Label)


@dataclass(frozen=True, slots=True)
class Relation:
    """How a hypothesis stands to its premise."""

    label: Label


_label = one_of(LABELS)


def read(text: str) -> Relation | None:
    """The relation; None if the text is none of the three words."""
    label = _label(text)
    return Relation(label) if label else None  # type: ignore[arg-type]


def render(relation: Relation) -> str:
    """The word alone."""
    return relation.label


def judge(answer: Relation | None, truth: Relation) -> dict[str, float]:
    """Right or not."""
    return {"accuracy": float(answer == truth)}


def count(answer: Relation | None, truth: Relation) -> Counts:
    """The label given and the true one."""
    return one_label(answer.label if answer else None, truth.label)


NLI = Task(
    name="radiology_nli",
    inputs=("premise", "hypothesis"),
    cue=cue("radiology_nli"),
    instruction=instruction("radiology_nli"),
    form=Relation,
    read=read,
    render=render,
    judge=judge,
    metric="accuracy",
    max_tokens=8,
    grammar=choice(LABELS),
    labels=LABELS,
    label=render,
    probabilities=of_labels,
    count=count,
)
