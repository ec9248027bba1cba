"""`radlite card`: a model described by its file and its answers."""

from pathlib import Path
from typing import Annotated

import typer

from radlite.cli.common import Adapter


def card(
    model: Annotated[Path, typer.Argument(help="GGUF file that radlite evaluate has asked.")],
    results: Annotated[Path, typer.Option(help="The --out of that evaluation, or the folder of one run in it.")],
    out: Annotated[Path, typer.Option(help="Card to write; an earlier one is replaced.")] = Path("README.md"),
    adapter: Adapter = None,
) -> None:
    """Write a model card in the Hugging Face form: intended use, data and licences, results with intervals, failures.

    Its numbers are those of the answers to the test split, asked in the usual way without solved examples.
    """
    from radlite.errors import shown
    from radlite.evaluation import card as cards

    cards.write(out, model, results, adapter)
    typer.echo(shown(f"{out}: the card of {(adapter or model).name}."))
