"""Task, Example and Reading: what is asked, what is learned from, and what comes back."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from radlite.errors import UserError
from radlite.manifest import text_hash
from radlite.tasks.grammar import Grammar
from radlite.tasks.prompts import SYSTEM

Answer = Any
"""A dataclass of the task's own, such as `nli.Relation`: see `Task.form`."""

Counts = Mapping[str, tuple[float, float, float]]
"""Label to (answers that are right, answers, true ones) of one item: from sums over items comes F1."""

Style = Literal["cue", "instruction"]
Status = Literal["ok", "abstained", "unreadable", "too_long", "not_applicable", "failed"]
"""`failed`: the engine could not answer, whatever the report says."""


@dataclass(frozen=True, slots=True)
class Example:
    """One row of the corpus. `answer` is the plain text that is trained on; `Task.read` gives its structured form."""

    id: str
    task: str
    inputs: Mapping[str, str]
    answer: str
    source: str
    tier: Literal["gold", "silver", "synthetic", "proxy"]
    """By whom it was answered: experts, programs, the rule that wrote it, or only a stand-in for the answer."""
    patient: str
    study: str
    split: str
    licence: str
    tags: tuple[str, ...] = ()
    """Facts for slices, such as the RADS system or `unseen_wording`."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """A stretch of an input that an answer rests on: exactly `inputs[name][start:end]` for the task's first input."""

    quote: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Grounded:
    """An answer held against the text it is about."""

    answer: Answer
    """With the places in the text filled in, where the task has such."""
    evidence: tuple[Evidence, ...] = ()
    warnings: tuple[str, ...] = ()
    """What does not fit the text, without quoting it."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What the model said of one report in one task. `answer` is None unless `status` is `ok`."""

    task: str
    status: Status
    answer: Answer | None
    text: str
    confidence: float | None = None
    """The probability the model gives the answer among all that the task allows; None for free text."""
    probabilities: Mapping[str, Any] = field(default_factory=dict)
    """Of each label, or for each finding of each state."""
    evidence: tuple[Evidence, ...] = ()
    warnings: tuple[str, ...] = ()
    model: str = ""
    wording: str = ""
    """Digest of how the task was asked."""
    stop_reason: str = ""
    tokens: dict[str, int] = field(default_factory=dict)
    """`prompt`, `cached` and `generated` token counts."""
    seconds: float = 0.0


def _as_said(answer: Answer, inputs: Mapping[str, str]) -> Grounded:
    return Grounded(answer)


def _any_text(inputs: Mapping[str, str]) -> Grammar:
    return ()


def _no_draft(inputs: Mapping[str, str]) -> str:
    return ""


def _uncounted(answer: Answer | None, truth: Answer) -> Counts:
    return {}


@dataclass(frozen=True)
class Task:
    """How a task is asked, how its answer is written, read, held against the text, and judged."""

    name: str
    inputs: tuple[str, ...]
    """Names of the texts it needs; each is a user turn of its own, the first is the report."""
    cue: str
    """All that a fine-tuned model needs to be told."""
    instruction: str
    """The form of the answer in full, for a model that was not tuned."""
    form: type
    """The dataclass of its answers."""
    read: Callable[[str], Answer | None]
    """Plain text to answer; None when unreadable, never a guess."""
    render: Callable[[Answer], str]
    """Answer to the plain text that is trained on; `read(render(answer)) == answer`."""
    judge: Callable[[Answer | None, Answer], dict[str, float]]
    """(answer or None, truth), both grounded, to values in 0..1 for this one item; an unreadable answer scores 0."""
    metric: str
    """The value that heads a table: one of `judge`, or an F1 over `count`."""
    max_tokens: int
    grammar: Callable[[Mapping[str, str]], Grammar] = _any_text
    """The answers that the inputs allow; the empty grammar for free text."""
    draft: Callable[[Mapping[str, str]], str] = _no_draft
    """An answer that rules find likely, as plain text, or nothing: an engine may try whether the model gives it too."""
    ground: Callable[[Answer, Mapping[str, str]], Grounded] = _as_said
    """Finds the answer's evidence in the inputs, and what does not fit them. It never changes what was said."""
    labels: tuple[str, ...] = ()
    """The closed set of answers, where there is one."""
    label: Callable[[Answer], str] = str
    """The one of `labels` that an answer comes to."""
    probabilities: Callable[[tuple[Mapping[str, float], ...]], Mapping[str, Any]] | None = None
    """From the alternatives of a completion to the probabilities of a reading; None if there is nothing to tell."""
    count: Callable[[Answer | None, Answer], Counts] = _uncounted
    """(answer or None, truth), both grounded, to the counts of this one item."""
    rank: Callable[[str], tuple[str, int] | None] | None = None
    """Where the labels have an order: label to its scale and its rank there; None for a label outside the order."""
    group: Callable[[Answer], str] | None = None
    """The slice of the results that a true answer belongs to, such as its RADS system."""

    @property
    def wording(self) -> str:
        """Digest of how it is asked: a model that was tuned with one wording knows no other."""
        return text_hash([SYSTEM, self.cue, self.instruction])

    def schema(self) -> dict[str, Any]:
        """The JSON schema of the answers."""
        import pydantic

        return pydantic.TypeAdapter(self.form).json_schema(mode="serialization")

    def given(self, inputs: Mapping[str, str]) -> dict[str, str]:
        """The inputs it needs, without white space at their ends. Raises `UserError` if one is missing or empty."""
        found = {name: inputs.get(name, "").strip() for name in self.inputs}
        if missing := [name for name, text in found.items() if not text]:
            raise UserError(f"The task {self.name} needs a {missing[0]} that is not empty.")
        return found

    def texts(self, inputs: Mapping[str, str]) -> tuple[str, ...]:
        """The inputs as they are sent: the report as it is, any other with its name before it."""
        given = self.given(inputs).items()
        return tuple(text if name == "report" else f"{name.capitalize()}: {text}" for name, text in given)

    def told(self, style: Style = "cue") -> str:
        """The task itself, as it is sent."""
        return f"[TASK: {self.name}]\n{self.cue if style == 'cue' else self.instruction}"

    def turns(self, inputs: Mapping[str, str], style: Style = "cue") -> tuple[str, ...]:
        """The user turns for `inputs`: each text by itself, then the task.

        The task stands in a turn of its own, after the texts: the texts' KV state serves every task, and no text can
        imitate the boundary, which is a control token.
        """
        return (*self.texts(inputs), self.told(style))
