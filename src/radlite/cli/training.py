"""The verb that trains."""

from pathlib import Path
from typing import Annotated

import typer


def train(
    recipe: Annotated[Path, typer.Argument(help="Recipe in YAML; see recipes/ and docs/training.md.")],
    settings: Annotated[list[str] | None, typer.Argument(help="Settings over the recipe's, as key=value.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the newest whole checkpoint.")] = False,
) -> None:
    """Fine-tune a LoRA adapter on a corpus."""
    from radlite.training.config import load

    config = load(recipe, settings or ())
    from radlite.training.trainer import train as run

    typer.echo(f"Adapter: {run(config, resume)}")
