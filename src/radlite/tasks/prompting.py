"""How tasks are put to a model: in which order, under which system prompt, in whose words, and how it answers."""

import dataclasses
import itertools
import string
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, cast, get_args

from radlite.errors import UserError
from radlite.manifest import text_hash
from radlite.tasks.answers import squeeze
from radlite.tasks.grammar import Edge, Grammar
from radlite.tasks.prompts import SYSTEM
from radlite.tasks.task import Answer, Style, Task

Order = Literal["report-first", "task-first"]
"""`report-first`: each text a turn of its own, then the task. `task-first`: the task, then the texts, in one turn."""


@dataclass(frozen=True, slots=True)
class Template:
    """A text with places for inputs: pairs of a text and the name of the input that follows it, empty for none."""

    pieces: tuple[tuple[str, str], ...]

    @classmethod
    def parse(cls, text: str) -> "Template":
        """A template of its text: `{report}` is a place, `{{` and `}}` are braces. Raises `ValueError` otherwise."""
        pieces = []
        for literal, name, form, conversion in string.Formatter().parse(text):
            if form or conversion or name == "":
                raise ValueError("a place holds a name and nothing else")
            pieces.append((literal, name or ""))
        return cls(tuple(pieces))

    @property
    def names(self) -> set[str]:
        """The inputs it has places for."""
        return {name for _, name in self.pieces if name}

    def filled(self, inputs: Mapping[str, str]) -> str:
        """The text with all inputs in their places, in one pass: what an input holds is never a place itself."""
        return "".join(text + (inputs[name] if name else "") for text, name in self.pieces)


@dataclass(frozen=True, slots=True)
class Wording:
    """One task in a user's words."""

    template: Template
    """The one user turn; where the report comes first, the last turn, without places."""
    answers: Mapping[str, str] = field(default_factory=dict)
    """What the model writes, to the plain text of ours that it stands for, as `Task.render` writes it."""
    max_tokens: int | None = None
    """The task's own if None, or what the longest of `answers` may need."""
    constrain: bool = True
    """Whether answers are held to the task's grammar."""

    def plain(self, text: str) -> str:
        """The plain text that an answer stands for: itself unless all of it is one of `answers`."""
        said = folded(text)
        return next((plain for own, plain in self.answers.items() if folded(own) == said), text)

    def grammar(self, task: Task, grammar: Grammar) -> Grammar:
        """`grammar`, with whole answers in the model's words.

        Where these tell all labels of `task`, what else comes to one of them (M1a, to M1) is left out; where they do
        not, the rest stays in radlite's words.
        """
        if not (self.constrain and grammar):
            return ()
        said: dict[str, list[str]] = {}
        for own, plain in self.answers.items():
            said.setdefault(plain, []).append(own)
        labels = {plain: task.label(task.read(plain)) for plain in said} if task.labels else {}
        all_told = {*labels.values()} >= {*task.labels}
        edges = []
        for edge in grammar[0]:
            if edge.to == len(grammar):
                told = {labels[text] for text in edge.texts if text in labels} if all_told else {}
                texts = (
                    said.get(text, [] if told and task.label(task.read(text)) in told else [text])
                    for text in edge.texts
                )
                edge = Edge(tuple(itertools.chain(*texts)), edge.to)
            edges.append(edge)
        return (tuple(edges), *grammar[1:])

    def spread(self, alternatives: Mapping[str, float]) -> dict[str, float]:
        """Probabilities of the model's words, as those of the plain texts they stand for."""
        found: dict[str, float] = {}
        for text, value in alternatives.items():
            plain = self.plain(text)
            found[plain] = found.get(plain, 0.0) + value
        return found

    def adapted(self, task: Task) -> Task:
        """`task`, with its answers in these words."""
        read, grammar, told = task.read, task.grammar, task.probabilities

        def own_read(text: str) -> Answer | None:
            return read(self.plain(text))

        def own_grammar(inputs: Mapping[str, str]) -> Grammar:
            return self.grammar(task, grammar(inputs))

        def own_told(alternatives: tuple[Mapping[str, float], ...]) -> Mapping[str, Any]:
            return told(tuple(self.spread(one) for one in alternatives)) if told else {}

        return dataclasses.replace(
            task,
            read=own_read,
            grammar=own_grammar,
            probabilities=own_told if told else None,
            max_tokens=self.max_tokens or max([task.max_tokens, *(len(own.encode()) + 2 for own in self.answers)]),
        )


@dataclass(frozen=True, slots=True)
class Prompts:
    """How tasks are put. A task that `own` has no wording for is asked in radlite's words."""

    order: Order = "report-first"
    system: str = SYSTEM
    """No system turn is sent where it is empty."""
    own: Mapping[str, Wording] = field(default_factory=dict)

    @property
    def hash(self) -> str:
        """Digest of all of it, for journals and results."""
        return text_hash(dataclasses.asdict(self))

    def turns(self, task: Task, inputs: Mapping[str, str], style: Style = "cue") -> tuple[str, ...]:
        """The user turns that ask `task`. Raises `UserError` if an input is missing or empty."""
        own = self.own.get(task.name)
        if self.order == "report-first":
            return (*task.texts(inputs), own.template.filled({}) if own else task.told(style))
        if own:
            return (own.template.filled(task.given(inputs)),)
        return ("\n\n".join((task.told(style), *task.texts(inputs))),)

    def wording(self, task: Task) -> str:
        """Digest of how it is asked: the task's own where nothing differs, as manifests of tuned models hold it."""
        own = self.own.get(task.name)
        if self.order == "report-first" and self.system == SYSTEM and not own:
            return task.wording
        return text_hash([self.order, self.system, own.template.pieces if own else [task.cue, task.instruction]])

    def asked(self, task: Task) -> Task:
        """`task`, with its answers read and held to a form as its wording says."""
        own = self.own.get(task.name)
        return own.adapted(task) if own else task

    def written(self, task: Task, answer: str) -> str:
        """The plain text `answer` as the model itself writes it, for solved examples."""
        own, found = self.own.get(task.name), task.read(answer)
        if not own or found is None:
            return answer
        plain = task.render(found)
        return next((text for text, meant in own.answers.items() if meant == plain), answer)


OURS = Prompts()
"""How radlite's own models are asked, and others unless a user says otherwise."""


def folded(text: str) -> str:
    """What two spellings of one answer have in common: case, white space and a full stop at the end do not count, nor
    how a character is composed."""
    return unicodedata.normalize("NFKC", squeeze(text).rstrip(".").casefold())


def chosen(order: str, pack: Path | None) -> Prompts:
    """The prompts of a style by name (empty: the pack's, else report-first) and of a pack, if there is one.

    Raises `UserError` for an unknown style, one that is not the pack's, or a file that is no pack.
    """
    if order not in ("", *get_args(Order)):
        raise UserError(f"There is no prompt style {order!r}; choose from {', '.join(get_args(Order))}.")
    if pack is None:
        return Prompts(cast(Order, order or "report-first"))
    from radlite.tasks.pack import load  # only now: it needs pydantic, which takes long to load

    found = load(pack)
    if order not in ("", found.order):
        raise UserError(f"The prompt file {pack} is {found.order}, not {order}; leave out --prompt-style.")
    return found
