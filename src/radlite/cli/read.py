"""`radlite read`: one report, one task or a panel of them."""

import contextlib
import math
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from radlite.cli.common import Adapter, Json, PromptPack, PromptStyle, print_json, read_text, tell_cost
from radlite.errors import UserError


def read(
    report: Annotated[str, typer.Argument(help="Report as a UTF-8 text file, or - for standard input.")] = "",
    task: Annotated[
        str, typer.Option(help="Tasks, separated by commas, or all that fit; without it they are proposed only.")
    ] = "",
    model: Annotated[
        list[Path] | None, typer.Option(help="GGUF file, or several with --router; a demonstration model without it.")
    ] = None,
    adapter: Adapter = None,
    router: Annotated[Path | None, typer.Option(help="Which model answers which task, made by radlite route.")] = None,
    question: Annotated[str, typer.Option(help="For radiology_qa.")] = "",
    hypothesis: Annotated[str, typer.Option(help="For radiology_nli; the report is the premise.")] = "",
    context: Annotated[int | None, typer.Option(min=64, help="Window in tokens; the model's own if not given.")] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads.")] = None,
    seconds: Annotated[float | None, typer.Option(min=0.1, help="Cut an answer after so much work.")] = None,
    engine: Annotated[str, typer.Option(help="native, wheel, or auto: native where it is installed.")] = "auto",
    any_model: Annotated[bool, typer.Option("--any-model", help="Accept a GGUF that radlite did not make.")] = False,
    prompt_style: PromptStyle = "",
    prompts: PromptPack = None,
    schema: Annotated[str, typer.Option(help="Print the JSON schema of this task's answers, and nothing else.")] = "",
    as_json: Json = False,
    as_fhir: Annotated[
        bool, typer.Option("--fhir", help="Print the answers as a FHIR R4 Bundle and nothing else: docs/records.md.")
    ] = False,
    subject: Annotated[str, typer.Option(metavar="REFERENCE", help="Whom the Bundle is about: Patient/123.")] = "",
) -> None:
    """Read one report: ask one task or a panel of several, and print the answers as they come."""
    if schema:
        from radlite.tasks import named

        print_json(named(schema).schema())
        return
    if not report:
        raise UserError("Name a report: a text file, or - for standard input.")
    _demand_form(task, as_json, as_fhir, subject)
    text = read_text(report)
    given = {"report": text, "premise": text, "question": question, "hypothesis": hypothesis}
    if not task:
        _propose(report, text, as_json)
        return
    asked = _asked(task, given)
    questions = [(one.name, {name: given.get(name, "") for name in one.inputs}) for one in asked]
    for one, (_, inputs) in zip(asked, questions, strict=True):
        one.turns(inputs)
    from radlite.reader import demand_fit
    from radlite.runtime.engine import open_model
    from radlite.serving import asking
    from radlite.tasks.prompting import chosen

    put = chosen(prompt_style, prompts)
    if not model and not adapter:
        print("radlite: using the tiny demonstration model; its answers are not fit for any use.", file=sys.stderr)
        model = [asking.demonstration()]
    shares = asking.shares(model or [], router, questions, any_model, adapter)
    tell_cost(adapter)
    begun, readings = time.perf_counter(), {}
    for path, share in shares.items():  # one model after the other: each reads the report once
        opened = open_model(path, context, threads, engine, told=_told, adapter=adapter)
        with contextlib.closing(opened):
            reader = asking.reader(opened, seconds or math.inf, put, share.calibration)
            for at, reading in reader.readings([questions[number] for number in share.numbers]):
                number = share.numbers[at]
                readings[number] = demand_fit(reading)
                if not (as_json or as_fhir):
                    _show(asked[number], reading, alone=len(asked) == 1)
    whole = [readings[number] for number in range(len(asked))]
    if as_fhir:
        _print_bundle(whole, shares, adapter, given, subject)
    elif as_json:
        print_json(asdict(whole[0]) if len(whole) == 1 else [asdict(reading) for reading in whole])
    elif len(whole) > 1:
        _sum_up(whole, time.perf_counter() - begun)
    if any(reading.answer is None for reading in whole):
        raise typer.Exit(1)


def _demand_form(task: str, as_json: bool, as_fhir: bool, subject: str) -> None:
    """Raise `UserError` if the options of the form do not go together."""
    if (subject and not as_fhir) or (as_fhir and (as_json or not task)):
        raise UserError("--fhir goes with --task and without --json, --subject with --fhir; give them so.")
    if subject:
        from radlite.server.fhir import demand_reference

        demand_reference(subject)


def _print_bundle(
    readings: Sequence[Any], models: Iterable[Path], adapter: Path | None, given: dict[str, str], subject: str
) -> None:
    """Print the answers as a FHIR Bundle of now."""
    import datetime
    import uuid

    from radlite.files import sha256
    from radlite.runtime import adapter as adapters
    from radlite.server import fhir

    files = {adapters.name(path, adapter): {one.name: sha256(one) for one in (path, adapter) if one} for path in models}
    texts = {name: text for name, text in given.items() if name != "premise"}
    now = datetime.datetime.now(datetime.UTC)
    print_json(fhir.bundle(readings, [uuid.uuid4().hex for _ in readings], files, now, texts, subject))


def _told(what: str) -> None:
    print(f"radlite: {what} ...", file=sys.stderr)


def _asked(names: str, given: dict[str, str]) -> list[Any]:
    """The tasks of a list; of `all`, those that fit the report and have all they need."""
    from radlite.serving.asking import fitting
    from radlite.tasks import named

    if names.strip() != "all":
        return [named(name.strip()) for name in names.split(",") if name.strip()]
    asked = [named(name) for name in fitting(given)]
    if not asked:
        raise UserError("No task fits this text; is it a radiology report? Name one with --task.")
    return asked


def _show(task: Any, reading: Any, alone: bool) -> None:
    """Print one answer: by itself, with what is wrong on stderr, or as a part of a page."""
    if reading.status == "abstained":
        unreadable = f"the model is not sure enough to answer: {reading.warnings[-1]}"
    else:
        unreadable = f"the model's answer is unreadable ({reading.stop_reason}); --json shows it"
    if alone:
        if reading.answer is not None:
            typer.echo(task.render(reading.answer))
        for warning in reading.warnings if reading.answer is not None else (unreadable,):
            print(f"radlite: {warning}.", file=sys.stderr)
        return
    from rich.console import Console
    from rich.text import Text

    from radlite.errors import shown

    page = Text(task.name, style="bold")
    sure = "" if reading.confidence is None else f", probability {reading.confidence:.2f}"
    page.append(f"  {reading.seconds:.1f} s, {reading.tokens['generated']} tokens{sure}\n", style="not bold dim")
    said = shown(task.render(reading.answer)).splitlines() if reading.answer is not None else []
    page.append("".join(f"  {line}\n" for line in said), style="not bold")
    for warning in reading.warnings if said else (unreadable,):
        page.append(f"  ! {warning}\n", style="not bold yellow")
    Console(soft_wrap=True).print(page)


def _sum_up(readings: Sequence[Any], seconds: float) -> None:
    tokens = [reading.tokens for reading in readings]
    read, shared = sum(one["prompt"] for one in tokens), sum(one["cached"] for one in tokens)
    print(
        f"radlite: {len(readings)} answers in {seconds:.1f} s: {read - shared:,} tokens read, {shared:,} shared, "
        f"{sum(one['generated'] for one in tokens):,} written.",
        file=sys.stderr,
    )


def _propose(source: str, text: str, as_json: bool) -> None:
    """Say which tasks fit the report."""
    from radlite.routing.detection import detect
    from radlite.tasks import TASKS

    if not text.strip():
        raise UserError("The report is empty; give a text.")
    found = detect(text)
    if as_json:
        print_json(asdict(found))
    elif found.tasks:
        system = f" ({found.system})" if found.system else ""
        typer.echo(f"Tasks that fit{system}: {', '.join(found.tasks)}\n  because: {'; '.join(found.why)}")
        typer.echo(f"Ask them: radlite read {source} --task {','.join(found.tasks)}, or all of them: --task all")
    else:
        typer.echo(f"Unclear what this is; choose with --task from: {', '.join(TASKS)}")
