"""The verb that trains."""

import os
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Annotated, Any

import typer


def train(
    recipe: Annotated[Path, typer.Argument(help="Recipe in YAML; see recipes/ and docs/training.md.")],
    settings: Annotated[list[str] | None, typer.Argument(help="Settings over the recipe's, as key=value.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the newest whole checkpoint.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check all, rehearse a few steps, tell needs and time; write nothing.")
    ] = False,
) -> None:
    """Fine-tune a LoRA adapter on a corpus.

    On N devices: torchrun --nproc-per-node N -m radlite train RECIPE.
    """
    with _processes():
        from radlite.training.config import load

        config = load(recipe, settings or ())
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
