"""The verb that trains."""

import os
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Annotated, Any

import typer

from radlite.errors import UserError


def train(
    recipe: Annotated[Path, typer.Argument(help="Recipe in YAML; see recipes/ and docs/training.md.")],
    settings: Annotated[list[str] | None, typer.Argument(help="Settings over the recipe's, as key=value.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the newest whole checkpoint.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check all, rehearse a few steps, tell needs and time; write nothing.")
    ] = False,
    sweep: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=V,V",
            help="Values of a setting to try, one run for each combination, in folders under the recipe's out; "
            "repeatable. Finished runs are not made again.",
        ),
    ] = None,
) -> None:
    """Fine-tune a LoRA adapter on a corpus.

    On N devices: torchrun --nproc-per-node N -m radlite train RECIPE.
    """
    with _processes():
        from radlite.training.config import load

        config = load(recipe, settings or ())
        if sweep:
            if dry_run:
                raise UserError("--dry-run is for one run; leave out --sweep, or give one of its combinations.")
            if "RANK" in os.environ:
                raise UserError("A sweep is made in one process; start it without torchrun, one on each device.")
            _sweep(recipe, settings or [], sweep)
            return
        from radlite.training import devices, trainer

        if dry_run:
            found = trainer.rehearse(config, resume)
            if devices.first():
                _show(found)
            return
        made = trainer.train(config, resume)
        if devices.first():
            typer.echo(f"Adapter: {made}")


def _processes() -> AbstractContextManager[None]:
    """Where torchrun started several processes, they are one to the user."""
    if "RANK" not in os.environ:
        return nullcontext()
    from radlite.training import devices

    return devices.one_voice()


def _show(found: Any) -> None:
    from rich.console import Console

    from radlite.training import outlook, plan

    console = Console()
    plan.show(found.plan.mixture, console)
    outlook.show(found, console)


def _sweep(recipe: Path, settings: list[str], sweep: list[str]) -> None:
    from rich.console import Console

    from radlite.training import sweep as sweeps

    results = sweeps.sweep(recipe, settings, sweep)
    sweeps.show(results, Console())
    if results[0].diverged:
        raise UserError("Every run of the sweep diverged; try lower rates of learning.")
    typer.echo(f"Best on validation: {' '.join(f'{key}={value}' for key, value in results[0].settings.items())}")
