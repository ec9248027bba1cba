"""The command line: verbs only. Whatever is heavy is imported inside the verb that needs it."""

import logging
import math
import os
import signal
import sys
import time
import warnings
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

import radlite
from radlite.cli.audit import audit
from radlite.cli.average import average
from radlite.cli.batch import batch
from radlite.cli.bench import bench
from radlite.cli.bundle import bundle
from radlite.cli.card import card
from radlite.cli.common import Adapter, Json, print_json
from radlite.cli.data import data
from radlite.cli.evaluation import compare, evaluate, route
from radlite.cli.hub import pull, push
from radlite.cli.rads import rads
from radlite.cli.read import read
from radlite.cli.serve import serve
from radlite.cli.training import train
from radlite.errors import UserError, shown

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Small language models as a multi-task radiology assistant on an ordinary CPU. Not a medical device.",
)
app.add_typer(data, name="data")
app.add_typer(rads, name="rads")
app.add_typer(audit, name="audit")

_EXTRA = {
    "accelerate", "nervaluate", "peft", "rouge_score", "safetensors", "sklearn", "torch", "transformers"
}  # fmt: skip
"""What `pip install radlite` leaves to its extra `train`."""


def main() -> None:
    """Run the command line. Exit codes: 0 done, 1 the check it ran failed, 2 the input was wrong, 130 interrupted,
    143 terminated."""
    for name in ("SIGTERM", "SIGHUP"):  # as Ctrl-C does, they leave nothing half written and no process behind
        if (number := getattr(signal, name, None)) and signal.getsignal(number) == signal.SIG_DFL:
            signal.signal(number, _end)
    signal.signal(signal.SIGINT, _interrupt)
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    if not sys.warnoptions:
        warnings.simplefilter("ignore")  # those of libraries are for us; our own come as results and errors
        logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    try:
        app()
    except UserError as error:
        print(f"radlite: {shown(str(error))}", file=sys.stderr)
        raise SystemExit(2) from None
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in _EXTRA:
            raise
        print(f"radlite: this command needs {error.name}; run pip install 'radlite[train]'.", file=sys.stderr)
        raise SystemExit(2) from None
    except OSError as error:
        where = f"{shown(str(error.filename))}: " if error.filename else ""
        print(f"radlite: {where}{error.strerror or type(error).__name__}.", file=sys.stderr)
        raise SystemExit(2) from None


def _end(number: int, _frame: Any) -> None:
    signal.signal(number, signal.SIG_IGN)
    raise SystemExit(128 + number)


def _interrupt(number: int, frame: Any) -> None:
    """Ctrl-C, but a second one at once does not cut off what the first has begun to put in order."""
    global _interrupted
    if time.monotonic() - _interrupted > _PATIENCE:
        _interrupted = time.monotonic()
        raise KeyboardInterrupt


_interrupted = -math.inf
_PATIENCE = 5.0
"""Seconds."""


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(radlite.__version__)
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print version.")
    ] = False,
) -> None:
    pass


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Where corpus, models and results go.")] = Path("demo"),
    fast: Annotated[bool, typer.Option("--fast", help="Little data: shows that it works, not how well.")] = False,
) -> None:
    """The whole path on the tiny bases and sample data, offline: corpus, training, evaluation, export, a reading."""
    from radlite.demo import run

    raise typer.Exit(0 if run(out, fast) else 1)


app.command()(train)


@app.command()
def export(
    adapter: Annotated[Path, typer.Argument(help="Adapter folder, or a model folder: merged, or a base.")],
    out: Annotated[Path, typer.Option(help="GGUF file to write.")],
    quantize: Annotated[
        str,
        typer.Option(help="F32, F16, BF16, Q8_0, Q6_K, Q5_K_M, Q4_K_M, Q4_K_S or IQ4_XS.", show_default="Q4_K_M"),
    ] = "",
    base: Annotated[Path | None, typer.Option(help="The adapter's base, if it is not where it was.")] = None,
    merged: Annotated[Path | None, typer.Option(help="Keep the merged model in this folder.")] = None,
    importance: Annotated[
        Path | None,
        typer.Option(
            metavar="CORPUS|FILE",
            help="Corpus of your reports: round finest what its training rows show to count. Takes the whole model in "
            "float32, and long for a large one without a GPU. Or what --keep-importance wrote.",
        ),
    ] = None,
    keep_importance: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Keep what was measured, for --importance of another kind of file."),
    ] = None,
    adapter_only: Annotated[
        bool,
        typer.Option("--adapter-only", help="The adapter alone, for --adapter of radlite read; slower than merged."),
    ] = False,
    rounded: Annotated[
        bool | None,
        typer.Option(
            "--rounded/--unrounded",
            help="Merge onto the base as training had rounded it, or as it is; unset: as the kind of file bears it.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Merge an adapter into its base and write a GGUF file that carries template, tokenizer and manifest.

    A model folder, such as a base, is written as it is.
    """
    import tempfile

    from radlite import manifest
    from radlite.export.merge import merge, note
    from radlite.runtime.layout import demand_kind

    if adapter_only:
        from radlite.export import adapter as adapters

        if quantize or merged or importance or keep_importance or rounded is not None:
            raise UserError(
                "An adapter alone is neither merged nor quantised; leave out --quantize, --merged, --importance "
                "and --rounded."
            )
        adapters.write(adapter, out, base)
        typer.echo(
            f"{out}: {out.stat().st_size / 1e6:,.1f} MB, an adapter; read with --model BASE.gguf --adapter {out}."
        )
        if line := note(manifest.read(adapter)):
            typer.echo(line)
        return
    demand_kind(quantize := quantize or "Q4_K_M")
    if keep_importance and (importance is None or importance.is_file()):
        raise UserError("--keep-importance keeps what was measured on a corpus; name that with --importance.")
    counting = _counting(importance, quantize) if importance else None
    line = ""
    plain = (adapter / "config.json").is_file() and not (adapter / manifest.NAME).is_file()
    if plain or manifest.read(adapter).get("kind") != "adapter":
        if rounded is not None:
            raise UserError(f"{adapter} is no adapter, so that nothing is merged; leave out --rounded and --unrounded.")
        _write(adapter, out, quantize, counting, keep_importance)
    else:
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=out.parent, prefix=".merged.") as room:
            folder = merge(adapter, merged or Path(room) / adapter.resolve().name, base, quantize, rounded)
            _write(folder, out, quantize, counting, keep_importance)
            line = note(manifest.read(folder), quantize)
    typer.echo(f"{out}: {out.stat().st_size / 1e6:,.1f} MB, {quantize}.")
    typer.echo(
        f"For Ollama: {out.with_suffix('.Modelfile')}; for llama.cpp and LM Studio: {out.stem}.ask.md beside it."
    )
    if line:
        typer.echo(line)
    if merged:
        typer.echo(f"Check it: radlite verify {out} --against {merged} --corpus CORPUS")
    typer.echo(f"Describe it, once evaluated: radlite card {out} --results RESULTS")


def _counting(given: Path, kind: str) -> Path | list[Any]:
    """What shows what counts in a model: the rows of the corpus `given`, or the file `given` itself."""
    from radlite.data.corpus import read
    from radlite.evaluation.selection import sample
    from radlite.export.importance import ROWS, check, demand_use

    demand_use(kind)
    if given.is_file():
        check(given)
        return given
    return sample(read(given, split="train"), ROWS)


def _write(folder: Path, out: Path, kind: str, counting: Path | list[Any] | None, keep: Path | None) -> None:
    """Write the model in `folder` to a GGUF file, rounded by what `counting` shows to count, which goes into `keep`."""
    from rich.console import Console

    from radlite.evaluation.run import progress
    from radlite.export import gguf, notes
    from radlite.export.importance import load, measure, save
    from radlite.runtime import layout

    found, config = None, layout.settings(folder)
    if isinstance(counting, Path):
        found = load(counting, folder, config)
    elif counting:
        gguf.tensors(folder, config)  # what cannot be written is told before the long measurement
        with progress(Console(stderr=True)) as bar:
            found = measure(folder, counting, bar)
        if keep:
            save(found, keep, config)
    gguf.write(folder, out, kind, importance=found)
    notes.write(out)


@app.command()
def verify(
    gguf: Annotated[Path, typer.Argument(help="GGUF file.")],
    against: Annotated[
        Path,
        typer.Option(
            help="Model folder it was made from (radlite export --merged); with --adapter the adapter folder."
        ),
    ],
    corpus: Annotated[Path | None, typer.Option(help="Corpus folder, made by `radlite data build`.")] = None,
    file_only: Annotated[
        bool, typer.Option("--file-only", help="Settings, vocabulary, template and weights alone; nothing is asked.")
    ] = False,
    adapter: Adapter = None,
    base: Annotated[Path | None, typer.Option(help="The adapter's base, if it is not where it was.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="Items of each task at most.")] = 20,
    as_json: Json = False,
) -> None:
    """Hold a GGUF file against its model: ids, weights, log-probabilities, answers, scores. Exit code 1 if it fails."""

    from rich.console import Console

    from radlite.data.corpus import read
    from radlite.evaluation.selection import sample
    from radlite.export import verify as gate

    if base and not adapter:
        raise UserError("--base is the base of an adapter; name its GGUF with --adapter, or leave --base out.")
    if (corpus is None) != file_only:
        raise UserError("Name the corpus that the model is asked about with --corpus, or else give --file-only.")
    examples = sample(read(corpus, split="validation"), limit) if corpus else None
    found = gate.verify(gguf, against, examples, adapter=adapter, base=base)
    if as_json:
        print_json({**asdict(found), "passed": found.passed})
    else:
        Console().print(gate.table(found))
    raise typer.Exit(0 if found.passed else 1)


@app.command()
def tasks(
    name: Annotated[str, typer.Argument(help="Task; all of them if not given.")] = "", as_json: Json = False
) -> None:
    """The tasks: what they need, how they are asked, which answers they have, how they are measured."""
    from radlite.tasks import SYSTEM, known, named

    chosen = [named(name)] if name else list(known().values())
    facts = ("name", "inputs", "cue", "instruction", "wording", "labels", "metric", "max_tokens")
    if as_json:
        print_json({"system": SYSTEM, "tasks": [{fact: getattr(task, fact) for fact in facts} for task in chosen]})
        return
    for task in chosen:
        labels = f"{', '.join(task.labels[:8])}{', ...' if len(task.labels) > 8 else ''}" if task.labels else "text"
        if name and task.labels:
            labels = ", ".join(task.labels)
        typer.echo(f"{task.name}: of {' and '.join(task.inputs)}, measured by {task.metric}")
        typer.echo(f"  asked by: {task.cue} (wording {task.wording})\n  or, of a model not tuned: {task.instruction}")
        typer.echo(f"  answers: {labels}\n")
    typer.echo(f"System prompt of all: {SYSTEM}")


app.command()(average)
app.command()(evaluate)
app.command()(compare)
app.command()(route)
app.command()(card)
app.command()(read)
app.command()(batch)
app.command()(bench)
app.command()(bundle)
app.command()(serve)
app.command()(pull)
app.command()(push)
