"""The router: for each task the model that did best on validation data, and how its probabilities are put right."""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from radlite import manifest
from radlite.errors import UserError, shown
from radlite.files import read_json, write_json
from radlite.rads import systems
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
    risk: float = 0.0
    """The share of wrong answers among those given that was asked for; 0 if none was."""


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
    """The model chosen for a task, or for a RADS system, with its primary metric on validation data."""

    model: str
    metric: str
    value: float
    low: float
    high: float
    n: int
    why: str
    """Why this one: what the paired test says of it and the next best."""
    calibration: Calibration = field(default_factory=Calibration)
    identity: str = ""
    """Digest of the GGUF file, or of it and the adapter over it, whose answers this was learned from; empty for other
    models."""


def _wrong(choice: Choice) -> str:
    """The first field with a number that cannot be; empty if all can be."""
    known = choice.calibration
    possible = {
        "value": choice.low <= choice.value <= choice.high,
        "n": choice.n >= 0,
        "calibration.temperature": 0.01 <= known.temperature <= 100,
        "calibration.threshold": 0 <= known.threshold <= 1,
        "calibration.risk": 0 <= known.risk <= 1,
        "calibration.n": known.n >= 0,
    }
    return next((name for name, can_be in possible.items() if not can_be), "")


@dataclass(frozen=True, slots=True)
class Router:
    """Sends each task to one model. `choices` has a task's name as key, or `rads_assignment/LI-RADS` for one system."""

    choices: Mapping[str, Choice]

    def choice_for(self, task: str, system: str | None = None) -> Choice:
        """The choice for `task`; `UserError` if the task is unknown or was not in the validation results."""
        name = named(task).name
        found = self.choices.get(f"{name}/{system}") or self.choices.get(name)
        if not found:
            raise UserError(f"The router knows no model for {name}; learn it from validation results with this task.")
        return found

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
        for key, choice in choices.items():
            task, _, system = key.partition("/")
            named(task)
            if system and system not in systems():
                raise UserError(f"The router file {path} names {shown(system)}, no RADS system; make it again.")
            if wrong := _wrong(choice):
                raise UserError(f"The router file {path} is broken at {key}.{wrong}; make it again with radlite route.")
        return cls(choices)
