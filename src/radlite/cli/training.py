"""The verb that trains."""

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
    """Fine-tune a LoRA adapter on a corpus."""
    from radlite.training.config import load

    config = load(recipe, settings or ())
    from radlite.training import trainer

    if dry_run:
        _show(trainer.rehearse(config, resume))
        return
    typer.echo(f"Adapter: {trainer.train(config, resume)}")


def _show(found: Any) -> None:
    from rich.console import Console

    from radlite.training import outlook, plan

    console = Console()
    plan.show(found.plan.mixture, console)
    outlook.show(found, console)
