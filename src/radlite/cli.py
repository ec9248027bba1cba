"""The command line: verbs only. Whatever is heavy is imported inside the verb that needs it."""

import json
import os
import sys
import warnings
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

import radlite
from radlite.errors import UserError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Small language models as a multi-task radiology assistant on an ordinary CPU. Not a medical device.",
)
data = typer.Typer(no_args_is_help=True, help="Sources, corpora, and what a row looks like.")
app.add_typer(data, name="data")
rads = typer.Typer(no_args_is_help=True, help="RADS categories: find, mask, decide by rule, look up.")
app.add_typer(rads, name="rads")

Corpus = Annotated[Path, typer.Option(help="Corpus folder, made by `radlite data build`.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout and nothing else there.")]


_EXTRA = {
    "accelerate", "datasketch", "nervaluate", "peft", "rouge_score", "safetensors", "sklearn", "torch", "transformers"
}  # fmt: skip
"""What `pip install radlite` leaves to its extra `train`."""


def main() -> None:
    """Run the command line. Exit codes: 0 done, 1 the check it ran failed, 2 the input was wrong, 130 interrupted."""
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    if not sys.warnoptions:
        warnings.simplefilter("ignore")  # those of libraries are for us; our own come as results and errors
    try:
        app()
    except UserError as error:
        print(f"radlite: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in _EXTRA:
            raise
        print(f"radlite: this command needs {error.name}; run pip install 'radlite[train]'.", file=sys.stderr)
        raise SystemExit(2) from None
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        print(f"radlite: {where}{error.strerror or type(error).__name__}.", file=sys.stderr)
        raise SystemExit(2) from None


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


def _print_json(value: Any) -> None:
    typer.echo(json.dumps(value, indent=1, ensure_ascii=False))


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Where corpus, models and results go.")] = Path("demo"),
    fast: Annotated[bool, typer.Option("--fast", help="Little data: shows that it works, not how well.")] = False,
) -> None:
    """The whole path on the tiny bases and sample data, offline: corpus, training, evaluation, export, a reading."""
    from radlite.demo import run

    raise typer.Exit(0 if run(out, fast) else 1)


@data.command("list")
def data_list(as_json: Json = False) -> None:
    """The sources: what they hold, who may use them, which tasks they feed."""
    from radlite.data.sources import SOURCES

    if as_json:
        facts = ("name", "title", "licence", "access", "tier", "citation", "tasks")
        _print_json([{fact: getattr(source, fact) for fact in facts} for source in SOURCES.values()])
        return
    for source in SOURCES.values():
        typer.echo(f"{source.name}: {source.title}\n  tasks: {', '.join(source.tasks)}")
        typer.echo(
            f"  {source.tier}; {source.access}; licence: {source.licence}\n  {source.citation}\n  {source.how_to}\n"
        )


@data.command("build")
def data_build(
    source: Annotated[
        list[str], typer.Option(help="NAME=FOLDER, or NAME alone where no files are needed; repeatable.")
    ],
    out: Annotated[Path, typer.Option(help="Corpus folder to make.")],
    seed: Annotated[int, typer.Option(help="Seed of the split.")] = 0,
    max_tokens: Annotated[int | None, typer.Option(help="Condense longer reports to this many tokens.")] = None,
    tokenizer: Annotated[Path | None, typer.Option(help="Model folder whose tokenizer counts them.")] = None,
) -> None:
    """Build one leak-free corpus from sources: by patient, stratified 70/15/15, near-duplicates out."""
    from radlite.data.build import build
    from radlite.tokenizer import Tokenizer

    if max_tokens and not tokenizer:
        raise UserError("Condensing counts tokens; name the base that will be trained with --tokenizer FOLDER.")
    counting = Tokenizer.from_folder(tokenizer) if tokenizer else None
    sources: dict[str, Path | None] = {}
    for name, equals, folder in (given.partition("=") for given in source):
        if name in sources:
            raise UserError(f"The source {name} is given twice; put its files into one folder.")
        sources[name] = Path(folder) if equals else None
    made = build(sources, out, seed, max_tokens, (lambda text: len(counting.encode(text))) if counting else None)
    for task, splits in made["counts"].items():
        typer.echo(f"{task}: " + ", ".join(f"{split} {count['rows']:,}" for split, count in splits.items()))
    for what, removed in made["removed"].items():
        if removed:
            typer.echo(f"removed, {what}: {sum(removed.values()):,} rows")
    for name, facts in made["sources"].items():
        for reason, number in facts["dropped"].items():
            typer.echo(f"left out of {name}, {reason}: {number:,} rows")


@data.command("show")
def data_show(
    corpus: Annotated[Path, typer.Argument(help="Corpus folder.")],
    task: Annotated[str, typer.Option(help="Task.")],
    base: Annotated[Path, typer.Option(help="Model folder whose tokenizer and template render the rows.")],
    split: Annotated[str, typer.Option(help="train, validation or test.")] = "train",
    count: Annotated[int, typer.Option(help="Number of rows.")] = 3,
) -> None:
    """Rows as they are trained on, in colour: what is learned green, what is only read grey."""
    from rich.console import Console
    from rich.text import Text

    from radlite.chat import Renderer
    from radlite.data.corpus import read
    from radlite.reader import turns
    from radlite.tasks import named

    renderer, asked, console = Renderer.from_folder(base), named(task), Console(soft_wrap=True)
    for example in read(corpus, asked.name, split)[:count]:
        ids, mask = renderer.training(renderer.prompt(turns(asked, example.inputs)), example.answer)
        target = mask.index(1)
        row = Text(renderer.tokenizer.decode(ids[:target]), style="bright_black")
        row.append(renderer.tokenizer.decode(ids[target:]), style="green")
        console.print(f"[bold]{example.id}[/bold] {len(ids)} tokens, {len(ids) - target} learned")
        console.print(row, "\n")


@app.command()
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


@app.command()
def evaluate(
    models: Annotated[list[str], typer.Argument(help="GGUF files, model folders, adapters, or BASE+ADAPTER.")],
    corpus: Corpus,
    out: Annotated[Path, typer.Option(help="Folder for answers and summary.json; an interrupted run goes on there.")],
    split: Annotated[str, typer.Option(help="validation or test.")] = "test",
    tasks: Annotated[str, typer.Option(help="Tasks, separated by commas; all of the corpus if not given.")] = "",
    shots: Annotated[int, typer.Option(min=0, help="Solved training examples in each prompt.")] = 0,
    limit: Annotated[int, typer.Option(min=1, help="Items of each task at most.")] = 500,
    as_json: Json = False,
) -> None:
    """Ask models a split of a corpus, beside the baselines; every number with n and a 95 % interval."""
    from rich.console import Console

    from radlite.data.corpus import read
    from radlite.evaluation import baselines, report, selection
    from radlite.evaluation.metrics import rows
    from radlite.evaluation.run import evaluate_models, progress
    from radlite.tasks import named

    wanted = [named(name.strip()).name for name in tasks.split(",") if name.strip()]
    items = selection.sample([row for task in wanted or (None,) for row in read(corpus, task, split)], limit)
    known = [row for task in dict.fromkeys(item.task for item in items) for row in read(corpus, task, "train")]
    found = rows(baselines.majority(known, items), "majority", "baseline")
    found += rows(baselines.tfidf(known, items), "tfidf", "baseline")
    with progress(Console(stderr=True)) as bar:
        found += evaluate_models(models, items, out, selection.shots(known, shots) if shots else {}, bar)
    metrics = ("accuracy", "macro_f1") if all(named(item.task).labels for item in items) else ()
    report.write_summary(out, found, {"corpus": str(corpus), "split": split, "limit": limit}, metrics)
    if as_json:
        _print_json(found)
    else:
        report.show(Console(), found, metrics=metrics)


@app.command()
def route(
    results: Annotated[
        list[Path], typer.Argument(help="summary.json files, or their folders, of the validation split.")
    ],
    out: Annotated[Path, typer.Option(help="Router file to write.")] = Path("router.json"),
) -> None:
    """Choose for each task the model that did best on validation data."""
    from radlite.evaluation.report import read_rows
    from radlite.routing.router import learn

    rows = [row for path in results for row in read_rows(path) if row["stage"] != "baseline"]
    router = learn(rows)
    router.save(out)
    for task, choice in router.choices.items():
        typer.echo(f"{task}: {choice.model} ({choice.metric} {choice.value:.2f}, n={choice.n})")


@app.command()
def export(
    adapter: Annotated[Path, typer.Argument(help="Adapter folder, or a merged model folder.")],
    out: Annotated[Path, typer.Option(help="GGUF file to write.")],
    quantize: Annotated[
        str, typer.Option(help="F32, F16, BF16, Q8_0, Q6_K, Q5_K_M, Q4_K_M, Q4_K_S or IQ4_XS.")
    ] = "Q4_K_M",
    base: Annotated[Path | None, typer.Option(help="The adapter's base, if it is not where it was.")] = None,
    merged: Annotated[Path | None, typer.Option(help="Keep the merged model in this folder.")] = None,
) -> None:
    """Merge an adapter into its base and write a GGUF file that carries template, tokenizer and manifest."""
    import tempfile

    from radlite import manifest
    from radlite.export import gguf
    from radlite.export.merge import merge

    gguf.demand_kind(quantize)
    if manifest.read(adapter).get("kind") != "adapter":
        gguf.write(adapter, out, quantize)
    else:
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=out.parent, prefix=".merged.") as room:
            folder = merge(adapter, merged or Path(room) / adapter.resolve().name, base)
            gguf.write(folder, out, quantize)
    typer.echo(f"{out}: {out.stat().st_size / 1e6:,.1f} MB, {quantize}.")
    if merged:
        typer.echo(f"Check it: radlite verify {out} --against {merged} --corpus CORPUS")


@app.command()
def verify(
    gguf: Annotated[Path, typer.Argument(help="GGUF file.")],
    against: Annotated[Path, typer.Option(help="Merged model folder it was made from (radlite export --merged).")],
    corpus: Corpus,
    limit: Annotated[int, typer.Option(min=1, help="Items of each task at most.")] = 20,
    as_json: Json = False,
) -> None:
    """Hold a GGUF file against its model: ids, weights, log-probabilities, answers, scores. Exit code 1 if it fails."""
    from dataclasses import asdict

    from rich.console import Console

    from radlite.data.corpus import read
    from radlite.evaluation.selection import sample
    from radlite.export import verify as gate

    found = gate.verify(gguf, against, sample(read(corpus, split="validation"), limit))
    if as_json:
        _print_json({**asdict(found), "passed": found.passed})
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
        _print_json({"system": SYSTEM, "tasks": [{fact: getattr(task, fact) for fact in facts} for task in chosen]})
        return
    for task in chosen:
        labels = f"{', '.join(task.labels[:8])}{', ...' if len(task.labels) > 8 else ''}" if task.labels else "text"
        if name and task.labels:
            labels = ", ".join(task.labels)
        typer.echo(f"{task.name}: of {' and '.join(task.inputs)}, measured by {task.metric}")
        typer.echo(f"  asked by: {task.cue} (wording {task.wording})\n  or, of a model not tuned: {task.instruction}")
        typer.echo(f"  answers: {labels}\n")
    typer.echo(f"System prompt of all: {SYSTEM}")


@app.command()
def read(
    report: Annotated[str, typer.Argument(help="Report as a UTF-8 text file, or - for standard input.")] = "",
    task: Annotated[
        str, typer.Option(help="Task or tasks, separated by commas; without it, those that fit are proposed.")
    ] = "",
    model: Annotated[Path | None, typer.Option(help="GGUF file; a tiny demonstration model if not given.")] = None,
    question: Annotated[str, typer.Option(help="For radiology_qa.")] = "",
    hypothesis: Annotated[str, typer.Option(help="For radiology_nli; the report is the premise.")] = "",
    context: Annotated[int | None, typer.Option(min=64, help="Window in tokens; the model's own if not given.")] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads.")] = None,
    any_model: Annotated[bool, typer.Option("--any-model", help="Accept a GGUF that radlite did not make.")] = False,
    schema: Annotated[str, typer.Option(help="Print the JSON schema of this task's answers, and nothing else.")] = "",
    as_json: Json = False,
) -> None:
    """Read one report: ask a model one task or several and print the answers."""
    from radlite.tasks import named

    if schema:
        _print_json(named(schema).schema())
        return
    if not report:
        raise UserError("Name a report: a text file, or - for standard input.")
    asked = [named(name.strip()) for name in task.split(",") if name.strip()]
    text = _text(report)
    if not asked:
        _propose(report, text, as_json)
        return
    given = {"report": text, "premise": text, "question": question, "hypothesis": hypothesis}
    questions = [(one.name, {name: given.get(name, "") for name in one.inputs}) for one in asked]
    for one, (_, inputs) in zip(asked, questions, strict=True):
        one.turns(inputs)
    if model is None:
        print("radlite: using the tiny demonstration model; its answers are not fit for any use.", file=sys.stderr)
        model = _demonstration()
    from radlite.manifest import tuned_base, tuned_wording
    from radlite.reader import Reader, demand_fit
    from radlite.runtime.wheel import open_model

    engine = open_model(model, context, threads)
    if engine.manifest is None and not any_model:
        raise UserError(
            f"{model} was not made by radlite, so it may not know the tasks; add --any-model to use it anyway."
        )
    made = engine.manifest or {}
    reader = Reader(engine, "cue" if tuned_base(made) else "instruction", tuned=tuned_wording(made))
    readings = [demand_fit(reading) for reading in reader.read_many(questions)]
    engine.close()
    if as_json:
        _print_json(asdict(readings[0]) if len(readings) == 1 else [asdict(reading) for reading in readings])
    for one, reading in zip(asked, readings, strict=True):
        heading = f"{one.name}: " if len(asked) > 1 else ""
        if reading.answer is None:
            print(
                f"radlite: {heading}the model's answer is unreadable ({reading.stop_reason}); --json shows it.",
                file=sys.stderr,
            )
        elif not as_json:
            answer = one.render(reading.answer)
            typer.echo(f"{heading.strip()}\n{answer}" if heading and "\n" in answer else f"{heading}{answer}")
            for warning in reading.warnings:
                print(f"radlite: {heading}{warning}.", file=sys.stderr)
    if any(reading.answer is None for reading in readings):
        raise typer.Exit(1)


def _text(source: str, what: str = "report") -> str:
    """The text of a file, or of standard input for `-`."""
    from radlite.files import MAX_TEXT_BYTES, decode, read_text

    if source == "-":
        return decode(sys.stdin.buffer.read(MAX_TEXT_BYTES + 1), f"{what} on standard input")
    return read_text(Path(source), what)


def _propose(source: str, text: str, as_json: bool) -> None:
    """Say which tasks fit the report."""
    from radlite.routing.detection import detect
    from radlite.tasks import TASKS

    if not text.strip():
        raise UserError("The report is empty; give a text.")
    found = detect(text)
    if as_json:
        _print_json(asdict(found))
    elif found.tasks:
        system = f" ({found.system})" if found.system else ""
        typer.echo(f"Tasks that fit{system}: {', '.join(found.tasks)}\n  because: {'; '.join(found.why)}")
        typer.echo(f"Ask them: radlite read {source} --task {','.join(found.tasks)}")
    else:
        typer.echo(f"Unclear what this is; choose with --task from: {', '.join(TASKS)}")


@rads.command("find")
def rads_find(text: Annotated[str, typer.Argument(help="Text, or - for standard input.")] = "-") -> None:
    """Every RADS category that a text mentions, one JSON line each."""
    from radlite.rads.mentions import find

    for mention in find(_given(text)):
        typer.echo(json.dumps(asdict(mention), ensure_ascii=False))


@rads.command("mask")
def rads_mask(text: Annotated[str, typer.Argument(help="Text, or - for standard input.")] = "-") -> None:
    """The text without any RADS category: what is then asked has to be inferred."""
    from radlite.rads.mentions import mask

    typer.echo(mask(_given(text)))


@rads.command("rule")
def rads_rule(
    system: Annotated[str, typer.Argument(help="System, for example TI-RADS.")],
    features: Annotated[str, typer.Argument(help="Findings as a JSON file, or - for standard input.")] = "",
    schema: Annotated[bool, typer.Option("--schema", help="Print the JSON schema of the findings instead.")] = False,
    as_json: Json = False,
) -> None:
    """The category that a guideline's decision table gives for findings, and the rule that fired."""
    from radlite.rads import rules

    system = _system(system)
    if schema:
        _print_json(rules.schema(system))
        return
    if not features:
        raise UserError("Name the findings: a JSON file, or - for standard input; --schema prints their form.")
    try:
        value = json.loads(_text(features, "file of findings"))
    except (json.JSONDecodeError, RecursionError) as error:
        line = getattr(error, "lineno", 1)
        raise UserError(f"The findings are not JSON (line {line}); --schema prints their form.") from error
    ruling = rules.decide(system, value)
    if as_json:
        _print_json(asdict(ruling))
    else:
        typer.echo("\n".join(filter(None, (ruling.category, ruling.rule, ruling.advice))))


@rads.command("table")
def rads_table(
    system: Annotated[str, typer.Argument(help="System; all ten if not given.")] = "", as_json: Json = False
) -> None:
    """The categories of the systems with order, risk and management; version and source of each system."""
    from rich.console import Console

    from radlite.rads import systems

    chosen = [systems()[_system(system)]] if system else list(systems().values())
    if as_json:
        _print_json([asdict(one) for one in chosen])
        return
    for one in chosen:
        Console().print(_table(one))


def _system(name: str) -> str:
    """The system called so, in any case of letters."""
    from radlite.rads import systems

    found = next((system for system in systems() if system.casefold() == name.casefold()), None)
    if found is None:
        raise UserError(f"There is no system {name!r}; choose from {', '.join(systems())}.")
    return found


def _table(system: Any) -> Any:
    """One system as a table for people."""
    from rich import box
    from rich.table import Table

    title = f"{system.name}: {system.title}. {system.version}.\n{system.source}."
    table = Table("category", "risk", "next", title=title, title_justify="left", title_style="", box=box.SIMPLE_HEAD)
    for scale in system.scales:
        if not scale.stated_only:
            table.add_section()
            for one in scale.categories:
                table.add_row(one.code, one.risk, one.management)
    table.caption = "; ".join(f"{name}: {meaning}" for name, meaning in system.modifiers.items())
    return table


def _given(text: str) -> str:
    return _text("-", "text") if text == "-" else text


def _demonstration() -> Path:
    """The small GGUF that ships with the package."""
    from importlib import resources

    path = Path(str(resources.files("radlite") / "models" / "demonstration.gguf"))
    if not path.is_file():
        raise UserError("This installation has no demonstration model; name one with --model FILE.gguf.")
    return path
