"""Task, Example and Reading: what is asked, what is learned from, and what comes back."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from radlite.errors import UserError

Answer = Any
"""A label, a text, a list of changes, a mapping of findings: JSON values; each task's module says which."""

Grammar = tuple[tuple[str, ...], ...]
"""The closed set of answers of a task as consecutive slots; a slot is a tuple of alternatives, a forced text is a slot
with one. `(("M0", "M1"),)` allows two answers. Alternatives begin where the tokenizer begins a word (`" negative"`)."""

Status = Literal["ok", "abstained", "unreadable", "too_long", "not_applicable"]


@dataclass(frozen=True, slots=True)
class Example:
    """One row of the corpus. `answer` is the plain text that is trained on; `Task.read` gives its structured form."""

    id: str
    task: str
    inputs: Mapping[str, str]
    answer: str
    source: str
    tier: Literal["gold", "silver", "synthetic"]
    patient: str
    study: str
    split: str
    licence: str
    tags: tuple[str, ...] = ()
    """Facts for slices, such as the RADS system or `unseen_wording`."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What the model said of one report in one task. `answer` is None unless `status` is `ok`."""

    task: str
    status: Status
    answer: Answer | None
    text: str
    confidence: float | None = None
    evidence: tuple[dict[str, Any], ...] = ()
    warnings: tuple[str, ...] = ()
    model: str = ""
    stop_reason: str = ""
    tokens: dict[str, int] = field(default_factory=dict)
    """`prompt`, `cached` and `generated` token counts."""
    seconds: float = 0.0


@dataclass(frozen=True)
class Task:
    """One of the nine tasks: how it is asked, how its answer is written, read and judged."""

    name: str
    inputs: tuple[str, ...]
    """Names of the texts it needs; each is a user turn of its own, the first is the report."""
    cue: str
    """All that a fine-tuned model needs to be told."""
    instruction: str
    """The form of the answer in full, for a model that was not tuned."""
    read: Callable[[str], Answer | None]
    """Plain text to answer; None when unreadable, never a guess."""
    render: Callable[[Answer], str]
    """Answer to the plain text that is trained on; `read(render(answer)) == answer`."""
    judge: Callable[[Answer | None, Answer], dict[str, float]]
    """(answer or None, truth) to values in 0..1 for this one item; an unreadable answer scores 0."""
    metric: str
    """The value of `judge` that heads a table."""
    max_tokens: int
    labels: tuple[str, ...] = ()
    """The closed set of answers, where there is one."""
    grammar: Grammar = ()

    def turns(self, inputs: Mapping[str, str], style: Literal["cue", "instruction"] = "cue") -> tuple[str, ...]:
        """The user turns for `inputs`: each text by itself, then the task.

        The task stands in a turn of its own, after the texts: the texts' KV state serves every task, and no text can
        imitate the boundary, which is a control token.
        """
        missing = [name for name in self.inputs if not inputs.get(name, "").strip()]
        if missing:
            raise UserError(f"The task {self.name} needs a {missing[0]} that is not empty.")
        texts = [
            inputs[name].strip() if name == "report" else f"{name.capitalize()}: {inputs[name].strip()}"
            for name in self.inputs
        ]
        return (*texts, f"[TASK: {self.name}]\n{self.cue if style == 'cue' else self.instruction}")
