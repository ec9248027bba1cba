"""What the verbs share: options, and how text comes in and JSON goes out."""

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

Corpus = Annotated[Path, typer.Option(help="Corpus folder, made by `radlite data build`.")]
PromptStyle = Annotated[
    str, typer.Option(help="report-first, or task-first for a model tuned so; the pack's, else report-first.")
]
PromptPack = Annotated[
    Path | None,
    typer.Option(metavar="FILE.toml", help="The tasks in your own words, for a model of others: docs/other-models.md."),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout and nothing else there.")]
Workers = Annotated[int, typer.Option(min=1, help="Engines, each a process; they share the model's memory.")]
Ray = Annotated[
    str, typer.Option(metavar="ADDRESS", help="Run on a Ray cluster: auto, local, or host:port of its head.")
]
Adapter = Annotated[
    Path | None,
    typer.Option(metavar="FILE.gguf", help="LoRA adapter over the model, from radlite export --adapter-only."),
]


def tell_cost(adapter: Path | None) -> None:
    """Say on stderr what an adapter costs at run time, if there is one."""
    if adapter:
        print(
            "radlite: an adapter makes reading about a fifth and writing about a tenth slower than a merged file; "
            "to merge it: radlite export ADAPTER --out model.gguf.",
            file=sys.stderr,
        )


def print_json(value: Any) -> None:
    """Print one JSON document."""
    typer.echo(json.dumps(value, indent=1, ensure_ascii=False))


def read_text(source: str, what: str = "report") -> str:
    """The text of a file, or of standard input for `-`."""
    from radlite.files import MAX_TEXT_BYTES, decode, read_text

    if source == "-":
        return decode(sys.stdin.buffer.read(MAX_TEXT_BYTES + 1), f"{what} on standard input")
    return read_text(Path(source), what)
