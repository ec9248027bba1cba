"""Results as tables for people and as `summary.json` for programs."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from radlite import manifest
from radlite.errors import UserError, shown
from radlite.evaluation.metrics import Row, Stage
from radlite.files import atomic, read_json, write_json
from radlite.tasks import named


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table: the rows of a stage with this number of shots, of one model or of each base model."""

    title: str
    stage: Stage
    shots: int = 0
    model: str | None = None
    asked: str = ""

    @property
    def width(self) -> int:
        """Columns of a terminal that it takes."""
        return max(7, *map(len, self.title.split()))

    def fits(self, rows: Sequence[Row]) -> bool:
        """Whether one of `rows` stands in it."""
        return any(_key(row)[:3] == (self.stage, self.shots, self.asked) and self.model in (None, row["model"])
                   for row in rows)  # fmt: skip


Key = tuple[Stage, int, str, str | None]
"""Stage, shots, how it was asked, and model: None for each base model."""


_STAGES: Final[dict[Stage, str]] = {
    "base": "base", "served": "served", "tuned": "tuned", "quantized": "tuned quantized"
}  # fmt: skip

NOTE = (
    "Under each value its 95 % interval: Wilson's for shares of right answers, bootstrap over items otherwise. n is "
    "every item: answers that could not be read ('unread') and reports too long for the model ('long') score 0. Bold: "
    "the highest value of the task; where intervals overlap, the order may be chance."
)


_BESIDE: Final = 13, 41
"""Columns of a terminal beside those of the values, with one base model and with several."""


@dataclass(frozen=True, slots=True)
class _Entry:
    """One metric of one task."""

    task: str
    metric: str
    models: tuple[str, ...]
    rows: Mapping[Key, Row]
    failures: Mapping[Key, str]

    def lines(self, columns: Sequence[Column]) -> Iterator[tuple[str, list[Row | None]]]:
        """For each base model its name and its rows by column; what is of no base model stands in the first line."""
        for number, model in enumerate(self.models or ("",)):
            cells = [
                self.rows.get((column.stage, column.shots, column.asked, column.model or model))
                if number == 0 or not column.model
                else None
                for column in columns
            ]
            yield model, cells

    @property
    def n(self) -> str:
        counts = sorted({row["n"] for row in self.rows.values()})
        return f"{counts[0]:,}" if len(counts) == 1 else f"{counts[0]:,} to {counts[-1]:,}"

    def is_best(self, row: Row) -> bool:
        return row["value"] >= max(other["value"] for other in self.rows.values()) - 1e-9


def table(
    rows: Sequence[Row], titles: Mapping[Stage, str] = _STAGES, metrics: Sequence[str] = (), slice: str = "all"
) -> Table:
    """A rich table for a terminal: for each task one entry a base model, its value over the interval.

    There is a column for each baseline, each stage by its name in `titles` and number of shots, and the router, as far
    as there are rows for it. Without `metrics` each task shows its primary one. Raises `UserError` if two rows claim
    one cell, as those of two splits do.
    """
    entries, columns = _entries(rows, _columns(rows, titles), metrics, slice)
    alone = len(entries[0].models) == 1 if entries else True
    result = Table(box=box.SIMPLE_HEAD, padding=0, pad_edge=False)
    result.add_column("task\nmetric, n", overflow="fold", max_width=12 if alone else None)
    if not alone:
        result.add_column("model", overflow="fold")
    for column in columns:
        result.add_column(column.title.replace(" ", "\n"), justify="right", width=column.width)
    for entry in entries:
        head = Text(f"{entry.task.replace('_', ' ') if alone else entry.task}\n{entry.metric}, n={entry.n}")
        for model, cells in entry.lines(columns):
            result.add_row(head, *(() if alone else (Text(model),)), *(_stacked(entry, row) for row in cells))
            head = Text("")
        result.add_section()
    return result


def _columns(rows: Iterable[Row], titles: Mapping[Stage, str]) -> list[Column]:
    """What a table of `rows` may show, in its order."""
    there = sorted({(row["stage"], row["shots"], row["asked"]) for row in rows}, key=lambda key: key[1:])
    return [
        Column("majority", "baseline", model="majority"),
        Column("TF-IDF", "baseline", model="tfidf"),
        Column("rules", "baseline", model="rules"),
        Column("best baseline", "baseline", model="best"),
        *(
            Column(" ".join(filter(None, (title, f"{shots}-shot" if shots else "", asked))), stage, shots, asked=asked)
            for stage, title in titles.items()
            for found, shots, asked in there
            if found == stage
        ),
        Column("router", "ensemble", model="router"),
    ]


def columns_of(rows: Sequence[Row], titles: Mapping[Stage, str] = _STAGES) -> list[Column]:
    """A column for each baseline, for each model in each way it was asked, and for the ensembles."""
    found = []
    for column in _columns(rows, titles):
        key = (column.stage, column.shots, column.asked)
        models = dict.fromkeys(row["model"] for row in rows if _key(row)[:3] == key)
        found += [replace(column, model=name) for name in models if column.model in (None, name)]
    others = dict.fromkeys(row["model"] for row in rows if row["stage"] == "ensemble" and row["model"] != "router")
    return found + [Column(name, "ensemble", model=name) for name in others]


def show(
    console: Console, rows: Sequence[Row], titles: Mapping[Stage, str] = _STAGES, metrics: Sequence[str] = ()
) -> None:
    """Print the results: one table, or where the terminal is too narrow for it one for each base model, with the best
    baseline of each task in place of all."""
    models = list(dict.fromkeys(row["model"] for row in rows if row["stage"] not in ("baseline", "ensemble")))
    width = _BESIDE[len(models) > 1] + sum(column.width + 1 for column in _columns(rows, titles) if column.fits(rows))
    if console.width >= width or not models:
        console.print(table(rows, titles, metrics))
    else:
        shared = [*_best_baselines(rows), *(row for row in rows if row["stage"] == "ensemble")]
        for name in models:
            console.print(Text(f"\n{name}", style="bold"))
            console.print(table([*shared, *(row for row in rows if row["model"] == name)], titles, metrics))
    console.print(NOTE, style="dim")


def _best_baselines(rows: Sequence[Row]) -> Iterator[Row]:
    """Of each task the rows of the baseline that does best in its primary metric, under one name."""
    baselines = [row for row in rows if row["stage"] == "baseline"]
    for task in dict.fromkeys(row["task"] for row in baselines):
        metric = named(task).metric
        values = {row["model"]: row["value"] for row in baselines
                  if (row["task"], row["metric"], row["slice"]) == (task, metric, "all")}  # fmt: skip
        if values:
            best = max(values, key=values.__getitem__)
            for row in baselines:
                if (row["task"], row["model"]) == (task, best):
                    yield {**row, "model": "best"}


def _stacked(entry: _Entry, row: Row | None) -> Text:
    if row is None:
        return Text("")
    text = Text(f"{row['value']:.2f}", style="bold" if entry.is_best(row) else "")
    text.append(f"\n{_interval(row)}".replace("0.", ".").replace("1.00", "1"), style="not bold dim")
    if failure := entry.failures.get(_key(row)):
        text.append(f"\n{failure.replace(', ', chr(10))}", style="not bold dim")
    return text


def markdown(
    rows: Sequence[Row], titles: Mapping[Stage, str] = _STAGES, metrics: Sequence[str] = (), slice: str = "all"
) -> str:
    """The same as a Markdown table, one line for each task, metric and base model, and the note below it."""
    entries, columns = _entries(rows, _columns(rows, titles), metrics, slice)
    heads = ["task", "metric", "n", "model", *(column.title for column in columns)]
    lines = [f"| {' | '.join(heads)} |", f"|{'---|' * 4}{'---:|' * len(columns)}"]
    for entry in entries:
        head = [entry.task, entry.metric, entry.n]
        for model, cells in entry.lines(columns):
            lines.append(f"| {' | '.join([*head, plain(model), *(_inline(entry, row) for row in cells)])} |")
            head = ["", "", ""]
    return "\n".join([*lines, "", NOTE.replace("Under", "Beside"), ""])


def plain(text: str) -> str:
    """The text on one line, without meaning to a terminal, Markdown, HTML or mathematics."""
    return re.sub(r"[\\`*\[\]<>|~$#&]", r"\\\g<0>", " ".join(shown(text).split()))


def _inline(entry: _Entry, row: Row | None) -> str:
    if row is None:
        return ""
    value = f"**{row['value']:.2f}**" if entry.is_best(row) else f"{row['value']:.2f}"
    failure = entry.failures.get(_key(row))
    return f"{value} {_interval(row)}" + (f" ({failure})" if failure else "")


def _interval(row: Row) -> str:
    return f"{row['low']:.2f}–{row['high']:.2f}"


def _key(row: Row) -> Key:
    return row["stage"], row["shots"], row["asked"], row["model"]


def _entries(
    rows: Sequence[Row], columns: Sequence[Column], metrics: Sequence[str], slice: str
) -> tuple[list[_Entry], list[Column]]:
    """What a table shows: its entries, and those of `columns` that have a row in them."""
    fixed: set[Key] = {(column.stage, column.shots, column.asked, column.model) for column in columns}
    found: dict[tuple[str, str], dict[Key, Row]] = {}
    for row in rows:
        key = _key(row)
        if row["slice"] == slice and fixed & {key, (*key[:3], None)}:
            cells = found.setdefault((row["task"], row["metric"]), {})
            if key in cells:
                raise UserError(
                    f"There are two results of {row['model']} in {row['task']}; show one split and run at a time."
                )
            cells[key] = row
    models = tuple(dict.fromkeys(row["model"] for row in rows if (*_key(row)[:3], None) in fixed))
    entries = [
        _Entry(task, metric, models, found[task, metric], _failures(task, found))
        for task in dict.fromkeys(task for task, _ in found)
        for metric in metrics or (named(task).metric,)
        if (task, metric) in found
    ]
    shown = {key for entry in entries for key in entry.rows}
    shown |= {(*key[:3], None) for key in shown}
    return entries, [one for one in columns if (one.stage, one.shots, one.asked, one.model) in shown]


def _failures(task: str, found: Mapping[tuple[str, str], Mapping[Key, Row]]) -> dict[Key, str]:
    said: dict[Key, str] = {}
    for metric, word in (("unreadable", "unread"), ("too_long", "long"), ("failed", "failed")):
        for key, row in found.get((task, metric), {}).items():
            if count := round(row["value"] * row["n"]):
                said[key] = f"{said[key]}, {count:,} {word}" if key in said else f"{count:,} {word}"
    return said


def write_summary(
    folder: Path,
    rows: Sequence[Row],
    facts: Mapping[str, Any],
    metrics: Sequence[str] = (),
    titles: Mapping[Stage, str] = _STAGES,
    name: str = "summary",
) -> None:
    """Write the results into `folder`, each file atomically.

    `summary.json`: a manifest with `facts` (timings, file sizes, seeds) and the result rows; `summary.md`: their table.
    """
    write_json(folder / f"{name}.json", {**manifest.describe("results", **facts), "rows": list(rows)})
    splits = ", ".join(dict.fromkeys(row["split"] for row in rows))
    with atomic(folder / f"{name}.md") as part:
        part.write_text(
            f"Items of the {splits} split.\n\n{markdown(rows, titles, metrics)}", "utf-8", errors="backslashreplace"
        )


def read_rows(path: Path) -> list[Row]:
    """The result rows in a `summary.json`, or in the folder that holds one."""
    path = path / "summary.json" if path.is_dir() else path
    import pydantic

    try:
        content = json.dumps(read_json(path, "results file").get("rows"))
        return pydantic.TypeAdapter(list[Row]).validate_json(content, strict=True)
    except pydantic.ValidationError as error:
        raise UserError(f"{path} has no result rows; make it with radlite evaluate.") from error
