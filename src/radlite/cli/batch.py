"""`radlite batch`: whole tables of reports."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from radlite.cli.common import Adapter, PromptPack, PromptStyle, Ray, Workers, tell_cost


def batch(
    table: Annotated[Path, typer.Argument(metavar="IN", help="Table of reports: .csv, .jsonl, .parquet or .xlsx.")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Table of answers, in any of these formats.")],
    task: Annotated[str, typer.Option(help="Tasks, separated by commas, or all: those that fit each report.")],
    column: Annotated[str, typer.Option(help="Column with the reports.")] = "report",
    question: Annotated[str, typer.Option(metavar="COLUMN", help="Column with questions, for radiology_qa.")] = "",
    hypothesis: Annotated[str, typer.Option(metavar="COLUMN", help="Column with hypotheses, for radiology_nli.")] = "",
    id: Annotated[str, typer.Option(metavar="COLUMN", help="Column that tells reports apart, carried into OUT.")] = "",
    keep: Annotated[
        list[str] | None, typer.Option(metavar="COLUMN", help="Another column to carry into OUT; repeatable.")
    ] = None,
    wide: Annotated[bool, typer.Option("--wide", help="One row a report, not one a report and task.")] = False,
    model: Annotated[Path | None, typer.Option(help="GGUF file; a tiny demonstration model if not given.")] = None,
    adapter: Adapter = None,
    any_model: Annotated[bool, typer.Option("--any-model", help="Accept a GGUF that radlite did not make.")] = False,
    engine: Annotated[str, typer.Option(help="native, wheel, or auto: native where it is installed.")] = "auto",
    prompt_style: PromptStyle = "",
    prompts: PromptPack = None,
    context: Annotated[int | None, typer.Option(min=64, help="Window in tokens; the model's own if not given.")] = None,
    workers: Workers = 1,
    threads: Annotated[
        int | None, typer.Option(min=1, help="CPU threads of each; cores / workers if not given.")
    ] = None,
    seconds: Annotated[float | None, typer.Option(min=0.1, help="Cut an answer after so much work.")] = None,
    ray: Ray = "",
) -> None:
    """Read a table of reports into a table of answers, in its order, one row a report and task.

    What cannot be answered is a row with a status. A run that was interrupted, however it was, goes on when the same
    command is given again.
    """
    from rich.console import Console

    from radlite.serving import asking
    from radlite.serving.batch import Job, run
    from radlite.serving.engines import Engine
    from radlite.tasks import named
    from radlite.tasks.prompting import chosen

    given = {"report": column, "question": question, "hypothesis": hypothesis}
    job = Job(
        table,
        out,
        () if task.strip() == "all" else tuple(named(name.strip()).name for name in task.strip(", ").split(",")),
        {name: one for name, one in given.items() if one},
        tuple(name for name in (id, *(keep or ())) if name),
        wide,
    )
    put = chosen(prompt_style, prompts)
    asking.demand_one([model] if model else [], adapter)
    if model is None:
        print("radlite: using the tiny demonstration model; its answers are not fit for any use.", file=sys.stderr)
        model = asking.demonstration()
    tell_cost(adapter)
    opened = Engine(model, context, threads, engine, seconds, put, adapter)
    done = run(job, opened, workers, ray, any_model, Console(stderr=True))
    told = ", ".join(f"{count:,} {status}" for status, count in done.statuses.most_common())
    print(f"radlite: {done.rows:,} rows of {table} are read into {out}: {told or 'no answers'}.", file=sys.stderr)
