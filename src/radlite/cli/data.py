"""`radlite data`: sources, corpora, and what a row looks like."""

from pathlib import Path
from typing import Annotated, Any

import typer

from radlite.cli.common import Json, print_json
from radlite.errors import UserError, shown

data = typer.Typer(no_args_is_help=True, help="Sources, corpora, and what a row looks like.")

Folder = Annotated[Path, typer.Argument(metavar="CORPUS", help="Corpus folder.")]


@data.command("list")
def data_list(as_json: Json = False) -> None:
    """The sources: what they hold, who may use them, which tasks they feed."""
    from radlite.data.sources import SOURCES

    if as_json:
        facts = ("name", "title", "licence", "access", "tier", "citation", "tasks", "how_to")
        print_json([{fact: getattr(source, fact) for fact in facts} for source in SOURCES.values()])
        return
    for source in SOURCES.values():
        typer.echo(f"{source.name}: {source.title}\n  tasks: {', '.join(source.tasks)}")
        typer.echo(f"  {source.tier}; {source.access}; licence: {source.licence}\n  {source.citation}\n")
    typer.echo("How to get one: radlite data how NAME")


@data.command("how")
def data_how(name: Annotated[str, typer.Argument(help="Source; radlite data list names them.")]) -> None:
    """How to get the files of a source, step by step, and where to put them."""
    source = _source(name)
    typer.echo(f"{source.title}\nAccess: {source.access}. Licence: {source.licence}.\n{source.how_to}")
    if source.hub:
        typer.echo(f"Or: radlite data pull {name} FOLDER")


@data.command("pull")
def data_pull(
    name: Annotated[str, typer.Argument(help="Source that anyone may get from the Hugging Face hub.")],
    folder: Annotated[Path, typer.Argument(help="Folder for its files.")],
) -> None:
    """Get the files of an openly licensed source from the Hugging Face hub; those under an agreement never."""
    from radlite.data.sources import SOURCES

    source = _source(name)
    if not source.hub:
        able = ", ".join(one.name for one in SOURCES.values() if one.hub)
        raise UserError(f"{name} cannot be pulled; radlite data how {name} tells how to get it. These can: {able}.")
    import huggingface_hub

    repository, patterns = source.hub
    try:
        huggingface_hub.snapshot_download(
            repository, repo_type="dataset", allow_patterns=list(patterns), local_dir=folder
        )
    except Exception as error:  # The hub's client raises of many kinds: name, network, rights, disk.
        raise UserError(
            f"{name} cannot be had from the Hugging Face hub ({type(error).__name__}); unset HF_HUB_OFFLINE, set "
            f"HF_ENDPOINT to a mirror, or get the files by hand: radlite data how {name}."
        ) from error
    typer.echo(f"{folder}: radlite data build --source {name}={folder} --out corpus")


@data.command("build")
def data_build(
    source: Annotated[
        list[str], typer.Option(help="NAME=FOLDER, or NAME alone where no files are needed; repeatable.")
    ],
    out: Annotated[Path, typer.Option(help="Corpus folder to make.")],
    seed: Annotated[int, typer.Option(help="Seed of the split.")] = 0,
    max_tokens: Annotated[int | None, typer.Option(help="Condense longer reports to this many tokens.")] = None,
    tokenizer: Annotated[Path | None, typer.Option(help="Model folder whose tokenizer counts them.")] = None,
    hold_out: Annotated[
        list[str] | None, typer.Option(help="Tag of rows to test on, such as profile:3; repeatable.")
    ] = None,
    max_malformed: Annotated[float, typer.Option(min=0, max=1, help="Share of unreadable rows to put up with.")] = 0.01,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes; one a core if not given.")] = None,
) -> None:
    """Build one leak-free corpus from sources: by patient, stratified 70/15/15, near-duplicates out.

    A build that was interrupted goes on where it stopped. How many processes work on it does not change the result.
    """
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
    count = (lambda text: len(counting.encode(text))) if counting else None
    _show_made(
        build(
            sources, out, seed, max_tokens, count,
            hold_out=hold_out or (), most_malformed=max_malformed, workers=workers,
        )
    )  # fmt: skip


def _show_made(made: dict[str, Any]) -> None:
    """Print what is in a corpus, and what became of all the other rows."""
    for task, splits in made["counts"].items():
        typer.echo(f"{task}: " + ", ".join(f"{split} {count['rows']:,}" for split, count in splits.items()))
    for what, removed in made["removed"].items():
        if removed:
            typer.echo(f"removed, {what}: {sum(removed.values()):,} rows")
    for name, facts in made["sources"].items():
        if not facts["examples"]:
            typer.echo(f"nothing came from {name}: it has {facts['rows']:,} rows and no usable one")
        for reason, number in facts["dropped"].items():
            typer.echo(f"left out of {name}, {reason}: {number:,} rows")
        if facts["malformed"]:
            first = facts["malformed"][0]
            more = "all are" if facts["rejected"] == len(facts["malformed"]) else "the first are"
            typer.echo(
                f"malformed in {name}: {facts['rejected']:,} of {facts['rows']:,} rows, the first in "
                f"{first['file']} line {first['line']} ({first['why']}); {more} in corpus.json"
            )


@data.command("check")
def data_check(
    corpus: Folder, workers: Annotated[int, typer.Option(min=1, help="Processes.")] = 1, as_json: Json = False
) -> None:
    """Read a corpus again and look for patients, texts and near-duplicates in two splits; exit code 1 if there are."""
    from dataclasses import asdict

    from radlite.data.check import check
    from radlite.data.corpus import describe

    found = check(corpus, workers)
    if as_json:
        print_json([asdict(one) for one in found])
    elif found:
        for one in found:
            typer.echo(f"{one.task}/{one.split} {shown(one.id)}: its {one.kind} is also in a stronger split")
    else:
        typer.echo(f"{describe(corpus)['rows']:,} rows: no patient, no text and no near-duplicate is in two splits.")
    raise typer.Exit(1 if found else 0)


@data.command("show")
def data_show(
    corpus: Folder,
    base: Annotated[Path, typer.Option(help="Model folder whose tokenizer and template render the rows.")],
    task: Annotated[str, typer.Option(help="Rows of this task only.")] = "",
    split: Annotated[str, typer.Option(help="train, validation or test.")] = "train",
    source: Annotated[str, typer.Option(help="Rows of this source only.")] = "",
    grep: Annotated[str, typer.Option(help="Rows whose text or answer has a match of this regular expression.")] = "",
    count: Annotated[int, typer.Option(min=1, help="Number of rows.")] = 3,
    random: Annotated[int | None, typer.Option(min=1, help="As many rows, drawn at random.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of the draw.")] = 0,
) -> None:
    """Rows as they are trained on, in colour: what is learned green, what is only read grey."""
    from rich.console import Console
    from rich.text import Text

    from radlite.chat import Renderer
    from radlite.reader import turns
    from radlite.tasks import named

    renderer, console = Renderer.from_folder(base), Console(soft_wrap=True)
    for example in _chosen(corpus, task, split, source, grep, count, random, seed):
        ids, mask = renderer.training(renderer.prompt(turns(named(example.task), example.inputs)), example.answer)
        target = mask.index(1)
        row = Text(shown(example.id), style="bold")
        row.append(f" {len(ids)} tokens, {len(ids) - target} learned\n", style="not bold")
        row.append(shown(renderer.tokenizer.decode(ids[:target])), style="not bold bright_black")
        row.append(shown(renderer.tokenizer.decode(ids[target:])), style="not bold green")
        console.print(row, "\n")


def _chosen(
    corpus: Path, task: str, split: str, source: str, grep: str, count: int, number: int | None, seed: int
) -> list[Any]:
    """The rows asked for: the first ones, or `number` of them drawn at random (reservoir sampling)."""
    import itertools
    import random
    import re

    from radlite.data.corpus import describe, scan
    from radlite.tasks import named

    try:
        pattern = re.compile(grep)
    except re.error as error:
        raise UserError(f"--grep is no regular expression: {error}.") from error
    if source and source not in (known := sorted(describe(corpus).get("sources", {}))):
        raise UserError(f"The corpus has no source {source!r}; it has {', '.join(known) or 'none by name'}.")
    rows = (
        row
        for row in scan(corpus, named(task).name if task else None, split)
        if source in ("", row.source) and any(map(pattern.search, (*row.inputs.values(), row.answer)))
    )
    if number is None:
        return list(itertools.islice(rows, count))
    generator, chosen = random.Random(seed), []
    for seen, row in enumerate(rows):
        if seen < number:
            chosen.append(row)
        elif (at := generator.randrange(seen + 1)) < number:
            chosen[at] = row
    return chosen


@data.command("stats")
def data_stats(
    corpus: Folder,
    out: Annotated[Path, typer.Option(help="HTML page to write; its pictures are also written as PNG beside it.")],
    base: Annotated[Path | None, typer.Option(help="Model folder whose tokenizer counts; words without it.")] = None,
) -> None:
    """A page of pictures: tasks and weights, RADS systems, lengths, splits, what was left out, licences, labels."""
    from radlite.data.stats import write
    from radlite.tokenizer import Tokenizer
    from radlite.training.config import PAPER_WEIGHTS

    counting = Tokenizer.from_folder(base) if base else None
    tokens = (lambda text: len(counting.encode(text))) if counting else None
    for path in write(corpus, out, PAPER_WEIGHTS, tokens):
        typer.echo(str(path))


@data.command("hints")
def data_hints(corpus: Folder, as_json: Json = False) -> None:
    """Scan for likely identifiers: dates, record and phone numbers, names after titles, ages over 89.

    These are hints and no guarantee: what is not found may be there, and what is found may be none. Rows are named by
    task and id; their text is not shown.
    """
    from radlite.data.corpus import scan
    from radlite.data.hints import scan as look

    found = look(scan(corpus))
    if as_json:
        print_json(found)
        return
    for source, facts in found.items():
        typer.echo(f"{shown(source)}: {facts['rows with a hint']:,} of {facts['rows']:,} rows have a hint")
        for kind, one in facts["kinds"].items():
            such = shown(", ".join(one["pointers"][:3]))
            typer.echo(f"  {kind}: {one['hits']:,} in {one['rows']:,} rows, such as {such}")
    typer.echo("Hints, no guarantee: read rows yourself with radlite data show.")


def _source(name: str) -> Any:
    from radlite.data.sources import SOURCES

    if name not in SOURCES:
        raise UserError(f"There is no source {name!r}; choose from {', '.join(SOURCES)}.")
    return SOURCES[name]
