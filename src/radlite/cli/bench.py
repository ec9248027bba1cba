"""`radlite bench`: how fast this machine reads reports."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from radlite.cli.common import Adapter, Json, print_json, tell_cost
from radlite.errors import UserError


def bench(
    model: Annotated[
        Path | None, typer.Argument(metavar="MODEL", help="GGUF file; a tiny demonstration model if not given.")
    ] = None,
    adapter: Adapter = None,
    shape: Annotated[
        str, typer.Option(help="Instead a model of this shape with random weights: qwen2.5-3b, qwen3-4b and others.")
    ] = "",
    quantization: Annotated[str, typer.Option(help="Of the shape, as of radlite export.")] = "Q4_K_M",
    layers: Annotated[int | None, typer.Option(min=1, help="Cut the shape to its first layers.")] = None,
    vocabulary: Annotated[
        Path | None, typer.Option(help="GGUF or model folder with the shape's vocabulary; a small one if not given.")
    ] = None,
    keep: Annotated[Path | None, typer.Option(help="Keep the shape as this file.")] = None,
    engine: Annotated[str, typer.Option(help="native, wheel, or auto: native where it is installed.")] = "auto",
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads.")] = None,
    context: Annotated[int | None, typer.Option(min=64, help="Window in tokens; the model's own if not given.")] = None,
    reports: Annotated[
        int | None, typer.Option(min=1, help="Reports to read; 3 if not given, fewer where they take minutes.")
    ] = None,
    tune: Annotated[bool, typer.Option("--tune", help="Measure anew how the native engine is set best.")] = False,
    plot: Annotated[Path | None, typer.Option(help="Picture of the seconds of each task, .png or .svg.")] = None,
    as_json: Json = False,
) -> None:
    """Measure this machine with a model, or with a shape of true size before there is one: tokens a second and the
    share of what the machine can do, seconds of each task, reports an hour, memory.

    A shape is written to a temporary folder (qwen2.5-3b: 2.0 GB, if the disk has as much) and removed at the end.
    """
    import contextlib
    from dataclasses import asdict

    from rich.console import Console

    from radlite.serving import asking
    from radlite.serving import bench as measuring

    if model and shape:
        raise UserError("Name a model file or a --shape, not both.")
    if not shape and (layers or vocabulary or keep or quantization != "Q4_K_M"):
        raise UserError("--quantization, --layers, --vocabulary and --keep are of a shape; name one with --shape.")
    asking.demand_one([model] if model else [], adapter)
    if plot:
        measuring.demand_drawable(plot)
    tell_cost(adapter)
    with contextlib.ExitStack() as stack:
        log = Console(stderr=True)
        status = stack.enter_context(log.status("radlite: measuring")) if log.is_terminal else None

        def told(what: str) -> None:
            if status:
                status.update(f"radlite: {what}")
            else:
                log.print(f"radlite: {what} ...", soft_wrap=True, markup=False, highlight=False)

        if shape:
            model = stack.enter_context(
                measuring.shape_file(shape, keep, quantization, layers, vocabulary, engine, context, told)
            )
        elif model is None:
            print("radlite: measuring the tiny demonstration model; others are slower.", file=sys.stderr)
            model = asking.demonstration()
        found = measuring.measure(model, engine, threads, context, reports, tune, told, adapter=adapter)
    if as_json:
        print_json(asdict(found))
    else:
        measuring.show(found, Console())
    if plot:
        measuring.draw(found, plot)
