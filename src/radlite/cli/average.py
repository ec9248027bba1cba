"""`radlite average`: several adapters as one."""

from pathlib import Path
from typing import Annotated

import typer

from radlite.errors import UserError


def average(
    adapters: Annotated[list[Path], typer.Argument(help="Adapter folders over one base, two or more.")],
    out: Annotated[Path, typer.Option(help="Adapter folder to make.")],
    weights: Annotated[
        str, typer.Option(help="How much each counts, separated by commas, such as 2,1,1.", show_default="all alike")
    ] = "",
    rank: Annotated[
        int | None,
        typer.Option(min=1, help="Rank of the nearest such adapter; the sum of their ranks, which is exact, if unset."),
    ] = None,
) -> None:
    """Average what several adapters change in their base: the mean of the products B A, not of A and of B."""
    from rich.console import Console

    from radlite.evaluation.run import progress
    from radlite.export import average as averaging

    try:
        shares = [float(part) for part in weights.split(",")] if weights else None
    except ValueError as error:
        raise UserError(
            f"Cannot read the weights {weights!r}; give numbers separated by commas, such as 2,1,1."
        ) from error
    with progress(Console(stderr=True)) as bar:
        found = averaging.average(adapters, out, shares, rank, bar)
    kept = "exact" if found.kept == 1 else f"{found.kept:.1%} of the change's squared norm"
    typer.echo(f"Adapter: {out}, rank {found.rank}, {kept}.")
