"""The router: for each task the model that did best on validation data."""

import dataclasses
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from radlite import manifest
from radlite.errors import UserError
from radlite.files import read_json, write_json
from radlite.tasks import named

SPLIT = "validation"
"""The only split that a router may learn from."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """How a model's probabilities of the labels of a task are put right, from `n` validation answers.

    They are raised to the power 1 / `temperature`; an answer less likely than `threshold` after that is withheld.
    """

    temperature: float = 1.0
    threshold: float = 0.0
    n: int = 0


def tempered(probabilities: Mapping[str, float], labels: int, temperature: float) -> dict[str, float]:
    """Label to probability at a temperature, of a task with so many labels.

    Labels that were not told are very unlikely ones. Each has its share of what is left to them, also afterwards.
    """
    if not probabilities or temperature == 1:
        return dict(probabilities)
    others = max(0, labels - len(probabilities))
    left = max(0.0, 1 - sum(probabilities.values())) / others if others else 0.0
    raised = {label: value ** (1 / temperature) for label, value in probabilities.items()}
    total = sum(raised.values()) + others * left ** (1 / temperature)
    return {label: value / total for label, value in raised.items()} if total else dict(probabilities)


@dataclass(frozen=True, slots=True)
class Choice:
    """The model chosen for a task, its primary metric with interval and n, and the next best model, if any."""

    model: str
    metric: str
    value: float
    low: float
    high: float
    n: int
    runner_up: str | None
    runner_up_value: float | None


@dataclass(frozen=True, slots=True)
class Router:
    """Sends each task to one model. `choices` maps task to choice."""

    choices: Mapping[str, Choice]

    def model_for(self, task: str) -> str:
        """Name of the model for `task`; `UserError` if the task is unknown or was not in the validation results."""
        name = named(task).name
        if name not in self.choices:
            raise UserError(f"The router knows no model for {name}; learn it from validation results with this task.")
        return self.choices[name].model

    def save(self, path: Path) -> None:
        """Write the router as JSON, atomically."""
        tasks = {task: dataclasses.asdict(choice) for task, choice in self.choices.items()}
        write_json(path, manifest.describe("router", split=SPLIT, tasks=tasks))

    @classmethod
    def load(cls, path: Path) -> "Router":
        """Read what `save` wrote; `UserError` if the file is missing, broken or something else."""
        import pydantic

        content = read_json(path, "router file")
        if not isinstance(content, dict) or content.get("kind") != "router" or content.get("split") != SPLIT:
            raise UserError(f"{path} is no router file; make one with radlite route.")
        try:
            tasks = json.dumps(content.get("tasks"))
            choices = pydantic.TypeAdapter(dict[str, Choice]).validate_json(tasks, strict=True)
        except pydantic.ValidationError as error:
            place = ".".join(map(str, error.errors()[0]["loc"])) or "tasks"
            raise UserError(
                f"The router file {path} is broken at {place}; make it again with radlite route."
            ) from error
        return cls({named(task).name: choice for task, choice in choices.items()})


def learn(rows: Iterable[Mapping[str, Any]]) -> Router:
    """For each task the model with the highest primary metric over all items; on a tie the one that comes first.

    `rows` are result rows (as in `summary.json`) of one stage, so give the smaller model first. Raises `UserError` if
    one of them is not from the validation split, if a model has two results for a task, or if models were validated
    on different numbers of items.
    """
    candidates: dict[str, list[Choice]] = {}
    for row in rows:
        if row["split"] != SPLIT:
            raise UserError(
                f"A result of {row['model']} in {row['task']} is from the {row['split']} split; "
                f"a router is learned from {SPLIT} results only."
            )
        if row["slice"] == "all" and row["metric"] == named(row["task"]).metric:
            candidates.setdefault(row["task"], []).append(_candidate(row))
    if not candidates:
        raise UserError("There are no validation results to learn a router from; run radlite evaluate first.")
    return Router({task: _best(task, listed) for task, listed in candidates.items()})


def _candidate(row: Mapping[str, Any]) -> Choice:
    measured = {key: row[key] for key in ("model", "metric", "value", "low", "high", "n")}
    return Choice(**measured, runner_up=None, runner_up_value=None)


def _best(task: str, candidates: list[Choice]) -> Choice:
    if len({choice.model for choice in candidates}) < len(candidates):
        raise UserError(f"A model has two validation results in {task}; give results of one stage and number of shots.")
    if len({choice.n for choice in candidates}) > 1:
        raise UserError(f"The models were validated on different numbers of items in {task}; evaluate them alike.")
    best, *others = sorted(candidates, key=lambda choice: -choice.value)
    if not others:
        return best
    return dataclasses.replace(best, runner_up=others[0].model, runner_up_value=others[0].value)
