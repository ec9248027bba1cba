"""A prompt pack: one TOML file with the words in which a model of others knows its tasks."""

from pathlib import Path
from typing import Annotated

import pydantic
from pydantic import Field

from radlite.errors import UserError
from radlite.files import read_toml
from radlite.tasks import named
from radlite.tasks.prompting import Order, Prompts, Template, Wording, folded
from radlite.tasks.prompts import SYSTEM
from radlite.tasks.task import Task

_Words = Annotated[str, Field(min_length=1, pattern=r"[^\s.]")]


_FAULTS = {
    "extra_forbidden": "there is no such key",
    "model_type": "it has to be a table of keys",
    "string_pattern_mismatch": "a text with words is needed",
    "string_too_short": "a text with words is needed",
}
"""What is wrong, by pydantic's name of it, where its own words speak of our code."""


class _Strict(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid", strict=True)


class _Wording(_Strict):
    template: _Words
    answers: dict[_Words, _Words] = {}
    max_tokens: Annotated[int, Field(ge=1, le=4096)] | None = None
    constrain: bool = True


class _File(_Strict):
    """What stands in a pack."""

    style: Order = "task-first"
    system: str = SYSTEM
    tasks: dict[str, _Wording] = {}


def load(path: Path) -> Prompts:
    """The prompts in a TOML file. Raises `UserError`, which names the key, if the file is no pack."""
    try:
        facts = _File.model_validate(read_toml(path, "prompt file"))
    except pydantic.ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"] if part != "[key]")
        what = _FAULTS.get(first["type"], f"{first['msg'][:1].lower()}{first['msg'][1:]}")
        raise UserError(f"The prompt file {path} cannot be used: {where}: {what}.") from error
    own = {}
    for name, said in facts.tasks.items():
        where = f"The prompt file {path} cannot be used: tasks.{name}"
        try:
            task = named(name)
        except UserError as error:
            raise UserError(f"{where}: {error}") from error
        template = _template(f"{where}.template", said.template, task, facts.style)
        own[name] = Wording(template, _answers(f"{where}.answers", said, task), said.max_tokens, said.constrain)
    return Prompts(facts.style, facts.system, own)


def _template(where: str, text: str, task: Task, order: Order) -> Template:
    places = " and ".join(f"{{{name}}}" for name in task.inputs)
    try:
        template = Template.parse(text)
    except ValueError as error:
        why = str(error).removesuffix(" in format string")
        raise UserError(f"{where}: {why}; places are {places}, braces as such {{{{ and }}}}.") from error
    if order == "report-first":
        if template.names:
            raise UserError(f"{where}: with style report-first the texts stand before it; leave out {places}.")
    elif unknown := sorted(template.names - {*task.inputs}):
        raise UserError(f"{where}: there is no {{{unknown[0]}}}; this task has {places}.")
    elif lacking := [name for name in task.inputs if name not in template.names]:
        raise UserError(f"{where}: it lacks {{{lacking[0]}}}; write that where the text is to stand.")
    return template


def _answers(where: str, said: _Wording, task: Task) -> dict[str, str]:
    """The model's words, to plain text as the task renders it."""
    found: dict[str, str] = {}
    for own, plain in said.answers.items():
        answer = task.read(plain)
        if answer is None:
            raise UserError(f"{where}: {plain!r} is no answer of {task.name}; docs/tasks.md shows their form.")
        if folded(own) in map(folded, found):
            raise UserError(f"{where}: {own!r} is there twice; leave one out.")
        found[own.strip()] = task.render(answer)
    if task.labels:
        _demand_distinct(where, found, task)
    elif said.constrain:
        _demand_whole(where, found, task)
    return found


def _demand_distinct(where: str, answers: dict[str, str], task: Task) -> None:
    """Raise `UserError` if words that stand for one label are how another one is written."""
    for own, plain in answers.items():
        other = task.read(own)
        if other is not None and (text := task.render(other)) not in (plain, *answers.values()):
            raise UserError(f"{where}: {own!r} is to be {plain}; say also what the model writes for {text}.")


def _demand_whole(where: str, answers: dict[str, str], task: Task) -> None:
    """Raise `UserError` if the task's grammar makes one of the answers of parts, so that it cannot be replaced."""
    grammar = task.grammar(dict.fromkeys(task.inputs, "Nodule."))
    whole = (
        [text for edge in grammar[0] if edge.to == len(grammar) for text in edge.texts] if grammar else answers.values()
    )
    if parts := [plain for plain in answers.values() if plain not in whole]:
        only = f"only {' or '.join(map(repr, whole))} can" if whole else "none can"
        raise UserError(f"{where}: {parts[0]!r} is made of parts; {only} be put in other words.")
