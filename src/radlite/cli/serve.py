"""`radlite serve`: the reader over HTTP."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer


def serve(
    settings: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME=VALUE]...", help="Any setting that --print-config lists.")
    ] = None,
    config: Annotated[
        Path | None, typer.Option(metavar="FILE.toml", help="Settings; the environment and the command line go before.")
    ] = None,
    model: Annotated[
        list[Path] | None, typer.Option(help="GGUF file, or several with --router; a demonstration model without it.")
    ] = None,
    router: Annotated[Path | None, typer.Option(help="Which model answers which task, made by radlite route.")] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen at; all but loopback need --keys.")] = None,
    port: Annotated[int | None, typer.Option(help="Port; 0 takes a free one.", show_default="8000")] = None,
    keys: Annotated[Path | None, typer.Option(metavar="FILE", help="API keys, a line each: name:KEY.")] = None,
    state: Annotated[Path | None, typer.Option(metavar="DIR", help="Folder of audit log, reviews and jobs.")] = None,
    print_config: Annotated[
        bool, typer.Option("--print-config", help="Print all settings as TOML, with comments, and nothing else.")
    ] = False,
) -> None:
    """Serve the reader over HTTP: an API, OpenAI's API and a page for people; to this machine only by default.

    The address is printed on stdout; the log goes to stderr, a JSON object a line, and never holds text of a report.
    """
    from radlite.server.settings import assigned, load, printed

    options: dict[str, Any] = {"model": model or None, "router": router, "host": host, "port": port}
    options |= {"keys": keys, "state": state}
    given = {name: value for name, value in options.items() if value is not None}
    chosen = load(config, {**assigned(settings or ()), **given})
    if print_config:
        typer.echo(printed(chosen), nl=False)
        return
    if not chosen.model:
        print("radlite: using the tiny demonstration model; its answers are not fit for any use.", file=sys.stderr)
    from radlite.server.run import run

    run(chosen, typer.echo)
