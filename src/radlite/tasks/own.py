"""A task of a user's own, from one TOML file: a choice between labels, or a short text."""

import os
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import pydantic
from pydantic import Field
from pydantic.dataclasses import dataclass

from radlite.errors import UserError
from radlite.files import read_toml
from radlite.tasks.answers import choice, free_text, of_labels, one_label, one_of, overlap, words
from radlite.tasks.task import Task

VARIABLE: Final = "RADLITE_TASKS"
"""Environment variable with the files, or folders of files, that hold such tasks; separated as in PATH."""

_Words = Annotated[str, Field(min_length=1, pattern=r"\S")]


@dataclass(frozen=True)
class Choice:
    """One of the task's labels."""

    label: str


@dataclass(frozen=True)
class Prose:
    """A text."""

    text: str


class _File(pydantic.BaseModel):
    """What stands in a task's file."""

    model_config = pydantic.ConfigDict(extra="forbid")

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{2,40}$")]
    inputs: Annotated[list[Literal["report", "question"]], Field(min_length=1)] = ["report"]
    cue: _Words
    instruction: _Words
    labels: list[_Words] = []
    max_tokens: Annotated[int, Field(ge=1, le=1024)]


def tasks() -> dict[str, Task]:
    """The tasks of the files that `RADLITE_TASKS` names. Raises `UserError` if one cannot be used."""
    found: dict[str, Task] = {}
    for place in filter(None, os.environ.get(VARIABLE, "").split(os.pathsep)):
        path = Path(place)
        for file in sorted(path.glob("*.toml")) if path.is_dir() else [path]:
            task = load(file)
            if task.name in found:
                raise UserError(f"Two task files are called {task.name}; rename the one in {file}.")
            found[task.name] = task
    return found


def load(path: Path) -> Task:
    """The task in a TOML file. Raises `UserError` if the file is no such task."""
    try:
        facts = _File.model_validate(read_toml(path, "task file"))
    except pydantic.ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise UserError(f"The task file {path} is no task: {where}: {first['msg']}.") from error
    return _choice(facts) if facts.labels else _prose(facts)


def _choice(facts: _File) -> Task:
    label = one_of(facts.labels)

    def read(text: str) -> Choice | None:
        found = label(text)
        return Choice(found) if found else None

    return Task(
        **_common(facts),
        form=Choice,
        read=read,
        render=_label,
        judge=lambda answer, truth: {"accuracy": float(answer == truth)},
        metric="accuracy",
        grammar=choice(facts.labels),
        labels=tuple(facts.labels),
        label=_label,
        probabilities=of_labels,
        count=lambda answer, truth: one_label(answer.label if answer else None, truth.label),
    )


def _label(answer: Choice) -> str:
    return answer.label


def _prose(facts: _File) -> Task:
    def read(text: str) -> Prose | None:
        found = free_text(text)
        return Prose(found) if found else None

    def judge(answer: Prose | None, truth: Prose) -> dict[str, float]:
        said = words(answer.text) if answer else []
        return {
            "word_f1": overlap(said, words(truth.text))[2] if answer else 0.0,
            "exact_match": float(answer is not None and said == words(truth.text)),
        }

    return Task(
        **_common(facts),
        form=Prose,
        read=read,
        render=lambda answer: str(answer.text),
        judge=judge,
        metric="word_f1",
    )


def _common(facts: _File) -> dict[str, Any]:
    return {
        "name": facts.name,
        "inputs": tuple(dict.fromkeys(facts.inputs)),
        "cue": facts.cue.strip(),
        "instruction": " ".join(facts.instruction.split()),
        "max_tokens": facts.max_tokens,
    }
