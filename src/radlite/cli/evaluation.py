"""`radlite evaluate`, `compare` and `route`: models asked, held against each other, and chosen from."""

import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from radlite.cli.common import Corpus, Json, PromptPack, Ray, Workers, print_json
from radlite.errors import UserError, shown


def evaluate(
    models: Annotated[
        list[str],
        typer.Argument(
            help="GGUF files, model folders, adapters, BASE+ADAPTER (folders, or GGUF files), or openai:URL#MODEL."
        ),
    ],
    corpus: Corpus,
    out: Annotated[Path, typer.Option(help="Folder for answers and summary.json; an interrupted run goes on there.")],
    split: Annotated[str, typer.Option(help="validation or test.")] = "test",
    tasks: Annotated[str, typer.Option(help="Tasks, separated by commas; all of the corpus if not given.")] = "",
    shots: Annotated[
        str,
        typer.Option(help="Solved training examples in each prompt: 3, random:3 or nearest:3; several by commas."),
    ] = "0",
    limit: Annotated[int, typer.Option(min=1, help="Items of each task at most.")] = 500,
    prompt_style: Annotated[
        str, typer.Option(help="report-first or task-first, or both by a comma; the pack's, else report-first.")
    ] = "",
    prompts: PromptPack = None,
    send_to: Annotated[
        str, typer.Option(metavar="HOST", help="Another machine that may have the reports, for openai:URL#MODEL.")
    ] = "",
    router: Annotated[
        Path | None, typer.Option(help="Router file of radlite route: what its choices come to on these items.")
    ] = None,
    workers: Workers = 1,
    ray: Ray = "",
    show_text: Annotated[
        bool, typer.Option("--show-text", help="Show the reports of the worst errors on the page: keep it to yourself.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Ask models a split of a corpus, beside the baselines; every number with n and a 95 % interval.

    OUT gets the answers, summary.json, summary.md and report.html, a page to look at and to print; report.md is the
    same without pictures. Of the validation split they are summary-validation.json and so on.
    """
    from rich.console import Console

    from radlite.data import pictures
    from radlite.data.corpus import read
    from radlite.evaluation import baselines, choosing, ensembles, page, report, selection
    from radlite.evaluation.metrics import rows_of
    from radlite.evaluation.run import demand_gguf, demand_models, evaluate_models, progress
    from radlite.files import exclusive
    from radlite.routing.router import Router
    from radlite.tasks import named
    from radlite.tasks.prompting import chosen

    pictures.demand()
    if split not in ("validation", "test"):
        raise UserError(f"--split is {split}; give validation or test: from train a model has learned.")
    demand_models(models)  # told now: the baselines take their time
    if workers > 1 or ray:
        demand_gguf(models)
    chosen_before = Router.load(router) if router else None
    puts = list(
        {put.hash: put for style in prompt_style.split(",") if (put := chosen(style.strip(), prompts))}.values()
    )
    ways = list(dict.fromkeys(selection.Shots.read(text) for text in shots.split(",")))
    wanted = list(dict.fromkeys(named(name.strip()).name for name in tasks.split(",") if name.strip()))
    items = selection.sample([row for task in wanted or (None,) for row in read(corpus, task, split)], limit)
    asked = list(dict.fromkeys(item.task for item in items))
    known = _training_rows(corpus, asked, any(way.count for way in ways))
    with exclusive(out):
        found = baselines.rows_of_all(known, items)
        with progress(Console(stderr=True)) as bar:
            runs = evaluate_models(models, items, out, known, ways, puts, bar, send_to, workers, ray)
        found += [row for run in runs for row in rows_of(run.answered, run.setup)]
        found += ensembles.rows_of_all(runs, chosen_before)
        limits = choosing.withheld(choosing.candidates(runs), chosen_before) if chosen_before else []
        metrics = ("accuracy", "macro_f1") if all(named(task).labels for task in asked) else ()
        made = {"corpus": str(corpus), "split": split, "limit": limit, "prompts": [put.hash for put in puts]}
        made["withheld"] = [asdict(one) for one in limits]
        suffix = "" if split == "test" else f"-{split}"
        report.write_summary(out, found, made, metrics, name=f"summary{suffix}")
        texts = {(item.task, item.id): item for item in items} if show_text else None
        facts = page.facts(Corpus=str(corpus), Prompts=", ".join(put.hash for put in puts))
        page.write(out / f"report{suffix}.html", found, runs, facts, texts, chosen_before)
    if as_json:
        print_json(found)
    else:
        report.show(Console(), found, metrics=metrics)
        _tell_limits(limits)
        typer.echo(f"All of it, with figures: {out / f'report{suffix}.html'}")


def _training_rows(corpus: Path, tasks: Sequence[str], for_shots: bool) -> list[Any]:
    """What baselines and solved examples may be taken from. Says on stderr what is left out for lack of it.

    Raises `UserError` if there is none to take solved examples from.
    """
    from radlite.data.corpus import has, read

    lacking = [task for task in tasks if not has(corpus, task, "train")]
    if lacking and for_shots:
        raise UserError(
            f"{corpus} has no training rows of {', '.join(lacking)} to take solved examples from; leave out --shots."
        )
    if lacking:
        print(
            f"radlite: {corpus} has no training rows of {', '.join(lacking)}; baselines that learn are left out there.",
            file=sys.stderr,
        )
    return [row for task in tasks if task not in lacking for row in read(corpus, task, "train")]


def _tell_limits(limits: Sequence[Any]) -> None:
    """Print what the limits of a router come to."""
    for one in limits:
        given, wrong = one.kept.coverage, one.kept.wrong
        typer.echo(
            f"{one.task}: answers less sure than {one.kept.threshold:.2f} are withheld, so that at most {one.risk:.0%} "
            f"are wrong. Given here {wrong.n} of {given.n}, wrong {wrong.value:.0%} of these "
            f"({wrong.low:.0%} to {wrong.high:.0%}): {one.words}."
        )
    if limits:
        typer.echo("A limit was learned from the validation split, and holds for reports like those.")


def compare(
    first: Annotated[Path, typer.Argument(metavar="A", help="Folder of a model's answers, in the --out of evaluate.")],
    second: Annotated[Path, typer.Argument(metavar="B", help="The same of another model, on the same items.")],
    metric: Annotated[str, typer.Option(help="Metric of the summary; the primary one of each task if not given.")] = "",
    as_json: Json = False,
) -> None:
    """Hold two models against each other on the same items: differences with intervals, and whether chance may do."""
    from rich.console import Console

    from radlite.evaluation import comparison
    from radlite.evaluation.run import runs

    pair = []
    for folder in (first, second):
        found = runs(folder)
        if len(found) > 1:
            raise UserError(f"{folder} holds several runs; name one: {', '.join(one.folder.name for one in found)}.")
        pair += found
    ours, theirs = pair
    if unlike := [task for task in ours.data if theirs.data.get(task, ours.data[task]) != ours.data[task]]:
        raise UserError(f"{first} and {second} are of different items ({', '.join(unlike)}); evaluate both alike.")
    for task in sorted(set(ours.data) ^ set(theirs.data)):
        print(f"radlite: {task} is in one of the two only and left out.", file=sys.stderr)
    compared = comparison.compare(ours.answered, theirs.answered, metric)
    if as_json:
        print_json(comparison.as_json(compared))
    else:
        Console().print(comparison.table(compared, (shown(str(first)), shown(str(second)))))


def route(
    results: Annotated[
        list[Path], typer.Argument(help="Folders of answers to the validation split, or the --out they are in.")
    ],
    out: Annotated[Path, typer.Option(help="Router file to write.")] = Path("router.json"),
    risk: Annotated[
        float | None,
        typer.Option(
            min=0.001, max=0.999, help="Withhold the answers least sure, so that at most this share is wrong."
        ),
    ] = None,
) -> None:
    """Choose for each task the model that did best on validation data, or a smaller one that is not told apart from it.

    In tasks with labels it also fits how sure each model may be taken to be.
    """
    from radlite.evaluation import calibration, choosing
    from radlite.evaluation.run import runs
    from radlite.routing.router import SPLIT

    found = [run for folder in results for run in runs(folder)]
    wanted = [run for run in found if run.split == SPLIT or run.folder in results]
    learned = choosing.learn(choosing.candidates(wanted), risk)
    learned.save(out)
    for task, choice in learned.choices.items():
        line = f"{task}: {shown(choice.model)} ({choice.metric} {choice.value:.2f}, n={choice.n}; {choice.why})"
        fitted = choice.calibration
        if fitted.n:
            line += f", temperature {fitted.temperature:.2f}{calibration.at_its_end(fitted.temperature)}"
        if fitted.threshold:
            line += f", answers below {fitted.threshold:.2f} withheld"
        elif fitted.risk:
            line += f", nothing withheld: no limit keeps the share of wrong answers surely below {fitted.risk:.0%}"
        typer.echo(line)
    typer.echo(f"Written to {out}; use it with radlite read --router {out} --model A.gguf --model B.gguf.")
