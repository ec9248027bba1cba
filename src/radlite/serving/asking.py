"""What reading one report and reading a table have in common: which model, how it is asked, and which tasks."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

from radlite.errors import UserError
from radlite.manifest import file_identity, tuned_base, tuned_wording
from radlite.reader import Chooser, Reader
from radlite.routing.detection import detect
from radlite.routing.router import Calibration, Choice, Router
from radlite.runtime import adapter as adapters
from radlite.runtime import gguf
from radlite.tasks import TASKS, Example
from radlite.tasks.prompting import OURS, Prompts
from radlite.tasks.rads import RADS
from radlite.tasks.task import Style


def demonstration() -> Path:
    """The small GGUF that ships with the package; its answers are not fit for any use."""
    path = Path(str(resources.files("radlite") / "models" / "demonstration.gguf"))
    if not path.is_file():
        raise UserError("This installation has no demonstration model; name one with --model FILE.gguf.")
    return path


def demand_one(models: Sequence[Path], adapter: Path | None) -> None:
    """Raise `UserError` if an adapter is given with more or fewer than one model."""
    if adapter and len(models) != 1:
        raise UserError(
            f"The adapter {adapter} goes over one model; name a GGUF of its base with --model, and no other."
        )


def tuning(path: Path, adapter: Path | None, any_model: bool) -> Mapping[str, Any]:
    """How a GGUF file, or the adapter over it, was tuned: its manifest, empty if it has none.

    Raises `UserError` if one cannot be used, if they do not belong together, or if radlite made one of them not and
    that is not accepted.
    """
    header = gguf.read(path)
    headers = [header, *([adapters.read(adapter, header)] if adapter else [])]
    for one in headers:
        if one.manifest is None and not any_model:
            raise UserError(
                f"{one.path} was not made by radlite, so it may not know the tasks; add --any-model to use it anyway."
            )
    return headers[-1].manifest or {}


def reader(
    model: Any,
    seconds: float = math.inf,
    prompts: Prompts = OURS,
    calibration: Mapping[str, Calibration] | None = None,
    shots: Mapping[str, Sequence[Example]] | None = None,
    choose: Chooser | None = None,
) -> Reader:
    """Ask a model of a GGUF file as it, or the adapter over it, was tuned: by cue if radlite did, else by instruction
    or a user's `prompts`. The rest is as in `Reader`."""
    made = model.manifest or {}
    style: Style = "cue" if tuned_base(made) else "instruction"
    return Reader(
        model, style, shots, tuned=tuned_wording(made), seconds=seconds, prompts=prompts, choose=choose,
        calibration=calibration,
    )  # fmt: skip


def possible(given: Sequence[str]) -> tuple[str, ...]:
    """The tasks that `fitting` may find where texts of these names are given."""
    return tuple(task.name for task in TASKS.values() if set(task.inputs) <= {*given, "premise"})


def fitting(given: Mapping[str, str]) -> tuple[str, ...]:
    """The tasks that fit the text `given["report"]`, and those that a question or a hypothesis is there for."""
    also = (("radiology_qa", "question"), ("radiology_nli", "hypothesis"))
    return (*detect(given["report"]).tasks, *(task for task, text in also if given.get(text, "").strip()))


@dataclass(frozen=True, slots=True)
class Share:
    """What one model answers of several questions: their numbers, and by task how its probabilities are put right."""

    numbers: list[int] = field(default_factory=list)
    calibration: dict[str, Calibration] = field(default_factory=dict)


def names(models: Sequence[Path], any_model: bool, adapter: Path | None = None) -> dict[str, Path]:
    """GGUF files by the names that a router knows them by: the base if radlite tuned it, or the adapter over it, else
    the file's own. Raises `UserError` as `tuning` does, and if two have one name."""
    found: dict[str, Path] = {}
    for path in models:
        name = tuned_base(tuning(path, adapter, any_model)) or adapters.name(path, adapter)
        if name in found:
            raise UserError(f"{found[name]} and {path} are both {name}; give one of them.")
        found[name] = path
    return found


def _any_file(path: Path, choice: Choice, task: str) -> None:
    """Of the name that the router knows, any file will do, as it was looked at before."""


def shared_out(
    names: Mapping[str, Path],
    router: Router | None,
    questions: Sequence[tuple[str, Mapping[str, str]]],
    demand: Callable[[Path, Choice, str], None] = _any_file,
) -> dict[Path, Share]:
    """Which of the questions about one report each of the named models answers: all the only one, else as `router`
    says, if `demand` of the file, the choice and the task raises nothing.

    Raises `UserError` if a model is missing, or if there are several without a router.
    """
    if router is None:
        if len(names) > 1:
            raise UserError("Several models need a router that says which answers what; make one with radlite route.")
        return {next(iter(names.values())): Share(list(range(len(questions))))}
    found: dict[Path, Share] = {}
    for number, (task, inputs) in enumerate(questions):
        system = inputs.get("system") or detect(inputs["report"]).system if task == RADS.name else None
        choice = router.choice_for(task, system)
        if choice.model not in names:
            raise UserError(
                f"The router sends {task} to {choice.model}, which is not among the models; add it with --model."
            )
        demand(names[choice.model], choice, task)
        share = found.setdefault(names[choice.model], Share())
        share.numbers.append(number)
        share.calibration[task] = choice.calibration
    return found


def shares(
    models: Sequence[Path],
    router: Path | None,
    questions: Sequence[tuple[str, Mapping[str, str]]],
    any_model: bool,
    adapter: Path | None = None,
) -> dict[Path, Share]:
    """`shared_out` for GGUF files and a router file. Raises `UserError` as that and `names` do, for several models with
    an adapter, and if the router was learned from the answers of another file than the one of that name."""

    def demand(path: Path, choice: Choice, task: str) -> None:
        demand_same(path, lambda: file_identity(path, adapter), choice, task)

    demand_one(models, adapter)
    chosen = Router.load(router) if router else None
    return shared_out(names(models, any_model, adapter), chosen, questions, demand)


def demand_same(path: Path, identity: Callable[[], str], choice: Choice, task: str) -> None:
    """Raise `UserError` unless the choice was learned from this file: probabilities and limits hold for no other."""
    if choice.identity and identity() != choice.identity:
        raise UserError(
            f"The router chose {choice.model} for {task} by the answers of another file than {path}; give that file, "
            "or learn a router from this one's answers to the validation split."
        )
