"""One run for each combination of settings, and one table of what they came to on validation."""

import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import rich.box
import rich.console
import rich.table

from radlite import manifest
from radlite.errors import UserError
from radlite.files import write_json
from radlite.training.config import load
from radlite.training.loop import Diverged
from radlite.training.scores import macro
from radlite.training.trainer import train

TABLE = "sweep.json"
"""Name of the table in the folder of a sweep; it is written anew after each run."""

_FIXED = ("base", "corpus", "out", "tasks", "tiers", "max_tokens", "generate_items")
"""Settings on which it depends by which rows and in which ids a run is measured."""


_VALUES = {"loss": "losses", "score": "scores"}

_COLUMNS = 6
"""Runs whose losses are printed by task; `TABLE` has all."""


@dataclass(frozen=True, slots=True)
class Result:
    """What a run of the sweep came to, on validation alone."""

    settings: dict[str, str]
    steps: int = 0
    losses: dict[str, float] = field(default_factory=dict)
    """Task to the validation loss of the adapter, in nats a token."""
    scores: dict[str, float] = field(default_factory=dict)
    """Task to its metric, if the recipe has the model answer (`generate_items`)."""
    diverged: str = ""
    """Why it ended early, if a loss was no number."""

    @property
    def loss(self) -> float:
        """Mean over tasks; infinite for a run that diverged."""
        return macro(self.losses) if self.losses else float("inf")

    @property
    def score(self) -> float:
        """Mean over tasks."""
        return macro(self.scores) if self.scores else float("-inf")


def axes(texts: Sequence[str]) -> dict[str, list[str]]:
    """Setting to the values to try, from texts such as `learning_rate=1e-4,2e-4`.

    Raises `UserError` for a text of another form, a setting named twice, or one that all runs must have in common.
    """
    found: dict[str, list[str]] = {}
    for text in texts:
        key, _, values = text.partition("=")
        # Commas inside brackets are of one value, such as a list of matrices.
        found_values = [value.strip() for value in re.split(r",(?![^\[]*\])", values)]
        if not key.strip() or not all(found_values):
            raise UserError(f"Cannot read the sweep {text!r}; write it as setting=value,value.")
        if key.strip() in found:
            raise UserError(f"The setting {key.strip()!r} is swept twice; give all its values at once.")
        if key.strip() in _FIXED:
            raise UserError(
                f"The setting {key.strip()!r} cannot be swept: its runs would not be measured on the same rows, or not "
                "in the same tokens. Make a sweep of its own for each."
            )
        found[key.strip()] = list(dict.fromkeys(found_values))
    return found


def sweep(recipe: Path, settings: Sequence[str], texts: Sequence[str], progress: bool = True) -> list[Result]:
    """Train an adapter for each combination of the values in `texts`; the results, the best first.

    The recipe's `out` is the folder of the sweep. Runs that are finished are not made again, an unfinished one goes on,
    and one whose loss is no number is told in the table. Raises `UserError` as `train` does, before the first run for a
    combination that is no recipe.
    """
    tried = axes(texts)
    common = load(recipe, settings)
    if (common.out / manifest.NAME).exists():
        raise UserError(f"{common.out} is an adapter, not the folder of a sweep; choose another out.")
    every = [dict(zip(tried, values, strict=True)) for values in itertools.product(*tried.values())]
    configs = []
    for one in every:
        name = ",".join(re.sub(r"[^\w.=+-]+", "_", f"{key}={value}") for key, value in one.items())
        given = [f"{key}={value}" for key, value in one.items()]
        config = load(recipe, [*settings, *given])
        configs.append(config.model_copy(update={"out": common.out / name}))
    by = "score" if common.keep_best == "score" else "loss"
    results: list[Result] = []
    for number, (one, config) in enumerate(zip(every, configs, strict=True), 1):
        if progress:
            told = ", ".join(f"{key}={value}" for key, value in one.items())
            rich.console.Console(stderr=True).print(f"Run {number} of {len(every)}: {told}", highlight=False)
        try:
            results.append(_result(one, train(config, resume=True, progress=progress)))
        except Diverged as error:
            results.append(Result(one, diverged=str(error)))
        results.sort(key=lambda found: -found.score if by == "score" else found.loss)
        rows = [{**asdict(found), "loss": found.loss if found.losses else None} for found in results]
        write_json(common.out / TABLE, {"kind": "sweep", "by": by, "of": len(every), "runs": rows})
    return results


def show(results: Sequence[Result], console: rich.console.Console) -> None:
    """Print the runs, the best first, and below the validation loss of each task in the best of them."""
    means = [kind for kind in ("loss", "score") if any(getattr(one, _VALUES[kind]) for one in results)]
    table = rich.table.Table("run", "settings", "steps", box=rich.box.SIMPLE_HEAD, pad_edge=False)
    for kind in means:
        table.add_column(f"mean {kind}", justify="right")
    for number, one in enumerate(results, 1):
        name = "\n".join(f"{key}={value}" for key, value in one.settings.items())
        values = ["diverged"] if one.diverged else [f"{getattr(one, kind):.4f}" for kind in means]
        table.add_row(str(number), name, f"{one.steps:,}", *values)
    console.print(table)
    shown = [one for one in results if one.losses][:_COLUMNS]
    losses = rich.table.Table("validation loss of run", box=rich.box.SIMPLE_HEAD, pad_edge=False)
    for number in range(len(shown)):
        losses.add_column(str(number + 1), justify="right")
    for task in sorted({task for one in shown for task in one.losses}):
        losses.add_row(task, *(f"{one.losses[task]:.4f}" for one in shown))
    console.print(losses)


def _result(settings: Mapping[str, str], adapter: Path) -> Result:
    made = manifest.read(adapter, "adapter")
    losses = made["losses"]["validation"]
    if not losses:
        raise UserError(
            "A sweep chooses by validation, of which the corpus has no rows for these tasks; build it anew."
        )
    return Result(dict(settings), made["steps"], losses, made.get("scores", {}))
