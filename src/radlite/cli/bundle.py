"""`radlite bundle`: one archive for a machine without a network."""

import sys
from pathlib import Path
from typing import Annotated

import typer


def bundle(
    out: Annotated[Path, typer.Argument(help="Archive to write: .tar.gz, or .tar, which large models fill faster.")],
    model: Annotated[
        list[Path], typer.Option(help="GGUF file, with its card README.md beside it; several with --router.")
    ],
    router: Annotated[Path | None, typer.Option(help="Which model answers which task, made by radlite route.")] = None,
    any_model: Annotated[bool, typer.Option("--any-model", help="Accept a GGUF that radlite did not make.")] = False,
    wheels: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Take the wheels, radlite's too, from here and ask no index."),
    ] = None,
    python: Annotated[str, typer.Option(help="Version of Python there, such as 3.12.", show_default="this one")] = "",
    platform: Annotated[
        list[str] | None,
        typer.Option(help="Tag of wheels that run there, such as manylinux_2_28_x86_64; as here if not given."),
    ] = None,
    extra: Annotated[
        list[str] | None, typer.Option(help="Extra of radlite to take along, such as data; repeatable.")
    ] = None,
) -> None:
    """Pack radlite with all it needs, models, checksums, a bill of materials and an install script into one archive.

    The machine there needs Linux, Python and libgomp.
    """
    from radlite.server import bundle as bundles

    target = bundles.Target(python or bundles.Target().python, tuple(platform or ()))
    made = bundles.make(out, model, router, wheels, target, extra or (), any_model, _told)
    unstated = [one.name for one in made.wheels if not one.licence]
    typer.echo(
        f"{made.path}: {made.path.stat().st_size / 1e6:,.1f} MB, {len(made.wheels)} wheels for Python "
        f"{made.target.python} on {made.target.machine}, {', '.join(Path(name).name for name in made.models)}."
    )
    typer.echo(f"sha256 {made.sha256}  (note it, and compare it there: sha256sum {made.path.name})")
    typer.echo(f"sha256 {made.sums}  (of SHA256SUMS in it, which install.sh prints)")
    if unstated:
        print(f"radlite: the metadata of {', '.join(unstated)} state no licence.", file=sys.stderr)


def _told(what: str) -> None:
    print(f"radlite: {what} ...", file=sys.stderr)
