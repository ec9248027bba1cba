"""What reading one report and reading a table have in common: which model, how it is asked, and which tasks."""

import math
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from radlite.errors import UserError
from radlite.manifest import tuned_base, tuned_wording
from radlite.reader import Reader
from radlite.routing.detection import detect
from radlite.tasks import known


def demonstration() -> Path:
    """The small GGUF that ships with the package; its answers are not fit for any use."""
    path = Path(str(resources.files("radlite") / "models" / "demonstration.gguf"))
    if not path.is_file():
        raise UserError("This installation has no demonstration model; name one with --model FILE.gguf.")
    return path


def demand_ours(path: Path, made: Mapping[str, Any] | None) -> None:
    """Raise `UserError` if `made`, the manifest of the GGUF file `path`, is missing."""
    if made is None:
        raise UserError(
            f"{path} was not made by radlite, so it may not know the tasks; add --any-model to use it anyway."
        )


def reader(model: Any, seconds: float = math.inf) -> Reader:
    """Ask a model of a GGUF file as it was tuned: by cue if radlite did, else by instruction."""
    made = model.manifest or {}
    return Reader(model, "cue" if tuned_base(made) else "instruction", tuned=tuned_wording(made), seconds=seconds)


def possible(given: Sequence[str]) -> tuple[str, ...]:
    """The tasks, the user's own included, for which texts of these names are all that is needed."""
    return tuple(task.name for task in known().values() if set(task.inputs) <= set(given))


def fitting(given: Mapping[str, str]) -> tuple[str, ...]:
    """The tasks that fit the text `given["report"]`, and those that a question or a hypothesis is there for."""
    also = (("radiology_qa", "question"), ("radiology_nli", "hypothesis"))
    return (*detect(given["report"]).tasks, *(task for task, text in also if given.get(text, "").strip()))
