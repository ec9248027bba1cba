"""The results on one page: what a sceptical reviewer, a radiologist and a regulator ask of them."""

import json
import math
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, Final

import numpy as np

from radlite.data import pages, pictures
from radlite.data.pages import Cell, Picture
from radlite.evaluation import calibration
from radlite.evaluation.comparison import compare
from radlite.evaluation.estimate import Estimate
from radlite.evaluation.metrics import FEW, Answered, Row
from radlite.evaluation.report import NOTE, Column, columns_of
from radlite.evaluation.run import Run
from radlite.files import atomic
from radlite.rads import systems
from radlite.tasks import Example, named
from radlite.tasks.rads import RADS

Line = tuple[Cell, ...]

WORST: Final = 10
"""Wrong answers of each model and task that are listed."""
_MOST: Final = 12
"""Labels of a confusion matrix; the others are summed."""
_DISCLAIMER: Final = (
    "Research software, not a medical device: these numbers are of the items named here, and say nothing of other "
    "hospitals, scanners or ways of dictating. Whether a model is fit for use, those have to judge who answer for it."
)
_GRAVEST: Final = (
    "undercall_major", "missed_rads", "false_closure", "wrong_system", "overcall_major", "false_rads",
    "false_incomplete", "invalid", "abstained", "undercall_minor", "overcall_minor", "lateral",
)  # fmt: skip
"""Classes of RADS errors, the one with the gravest consequence first."""


def write(
    path: Path,
    rows: Sequence[Row],
    runs: Sequence[Run],
    facts: Mapping[str, str],
    texts: Mapping[tuple[str, str], Example] | None = None,
) -> None:
    """Write the page, atomically. `facts` are told at its end: command, machine, versions.

    `texts` are the items by task and id, if their text may be shown beside wrong answers. Raises `UserError` if
    matplotlib is missing.
    """
    pictures.demand()
    with pictures.style():
        body = "".join(_sections(rows, runs, facts, texts or {}))
    counts = {(row["task"], row["n"]) for row in rows if row["slice"] == "all" and row["metric"] == "unreadable"}
    split = next((row["split"] for row in rows), "")
    lead = (
        f"<p>Split: {pages.text(split)}; tasks: {len({task for task, _ in counts})}; models: "
        f"{len({row['model'] for row in rows if row['stage'] != 'baseline'})}. {pages.text(_DISCLAIMER)}</p>"
    )
    with atomic(path) as part:
        part.write_text(pages.page("Evaluation", lead, body), "utf-8")


def _sections(
    rows: Sequence[Row], runs: Sequence[Run], facts: Mapping[str, str], texts: Mapping[tuple[str, str], Example]
) -> Iterator[str]:
    columns = columns_of(rows)
    tasks = list(dict.fromkeys(row["task"] for row in rows))
    yield _block("Results", _summary(rows, columns, tasks), NOTE.replace("Under", "Beside").replace("Bold", "Marked *"))
    for picture in _pictures(rows, runs, columns, tasks):
        yield pages.section(picture, pictures.saved(picture.figure, "svg"))
    yield from _published(rows)
    for task in tasks:
        yield _task(task, rows, runs, columns, texts)
    yield _block("How this was made", pages.table(("", ""), list(facts.items()), "Facts"))


def _block(heading: str, body: str, caption: str = "") -> str:
    words = f"<p>{pages.text(caption)}</p>" if caption else ""
    return f"<section>\n<h2>{pages.text(heading)}</h2>\n{body}\n{words}</section>\n"


def _of(rows: Iterable[Row], column: Column, task: str, metric: str, slice: str = "all") -> Row | None:
    for row in rows:
        if (row["stage"], row["shots"], row["asked"], row["model"]) == (
            column.stage, column.shots, column.asked, column.model
        ) and (row["task"], row["metric"], row["slice"]) == (task, metric, slice):  # fmt: skip
            return row
    return None


def _said(row: Row | None, best: float | None = None) -> str:
    if row is None:
        return ""
    star = "* " if best is not None and row["value"] >= best - 1e-9 else ""
    few = " (few)" if row["n"] < FEW else ""
    return f"{star}{row['value']:.2f} ({row['low']:.2f} to {row['high']:.2f}){few}"


def _summary(rows: Sequence[Row], columns: Sequence[Column], tasks: Sequence[str]) -> str:
    lines: list[Line] = []
    for task in tasks:
        metric = named(task).metric
        cells = [_of(rows, column, task, metric) for column in columns]
        values = [cell["value"] for cell in cells if cell]
        n = next((cell["n"] for cell in cells if cell), 0)
        best = max(values, default=None)
        lines.append((task.replace("_", " "), metric, n, *(_said(cell, best) for cell in cells)))
    heads = ("task", "metric", "n", *(_title(column) for column in columns))
    return pages.table(heads, lines, "Results of all models in all tasks")


def _title(column: Column) -> str:
    own = column.stage in ("baseline", "ensemble")
    return column.title if own else f"{column.model}, {column.title}"


# Pictures


def _pictures(
    rows: Sequence[Row], runs: Sequence[Run], columns: Sequence[Column], tasks: Sequence[str]
) -> Iterator[Picture]:
    models = [column for column in columns if column.stage not in ("baseline", "ensemble")]
    if len(tasks) > 2 and models:
        yield _radar(rows, models, tasks)
    if {column.stage for column in models} >= {"base"} and len({column.stage for column in models}) > 1:
        yield _tuning(rows, models, tasks)
    if RADS.name in tasks and models:
        yield _severity(rows, models)
        if any(row["slice"] in systems() for row in rows):
            yield _systems(rows, models)
    if shots := list(_shots(runs)):
        yield _few_shot(shots)
    if len(sized := [run for run in runs if run.setup.size]) > 1:
        yield _sizes(rows, sized, tasks)


def _radar(rows: Sequence[Row], models: Sequence[Column], tasks: Sequence[str]) -> Picture:
    from matplotlib.figure import Figure

    figure: Any = Figure(figsize=(pictures.WIDTH, 5.2), layout="constrained", facecolor="none")
    axes = figure.add_subplot(projection="polar")
    angles = [2 * math.pi * at / len(tasks) for at in range(len(tasks))]
    table = []
    marks = ("o", "s", "^", "D", "v", "P", "X")
    for at, column in enumerate(models):
        found = [_of(rows, column, task, named(task).metric) for task in tasks]
        values = [row["value"] if row else math.nan for row in found]
        axes.plot(
            [*angles, angles[0]], [*values, values[0]], marker=marks[at % len(marks)], markersize=4, linewidth=1.4,
            color=pictures.COLOURS[at % len(pictures.COLOURS)], label=pictures.short(_title(column)),
            linestyle=("-", "--", ":")[at // len(pictures.COLOURS) % 3],
        )  # fmt: skip
        table += [(_title(column), task, _said(row)) for task, row in zip(tasks, found, strict=True) if row]
    axes.set_xticks(angles, [task.replace("_", "\n") for task in tasks])
    axes.set_ylim(0, 1)
    axes.set_yticks([0.25, 0.5, 0.75, 1], ["0.25", "0.5", "0.75", "1"])
    axes.legend(loc="upper left", bbox_to_anchor=(0, -0.08), ncols=2)
    return Picture(
        "radar", "All tasks at a glance", "The primary metric of each task, 0 in the middle to 1. Areas mean nothing.",
        figure, ("model", "task", "value (95 % interval)"), table,
    )  # fmt: skip


def _dots(axes: Any, lines: Sequence[str], series: Mapping[str, Sequence[Row | None]]) -> None:
    """Values with their intervals, one line each, one mark a series."""
    marks = ("o", "s", "^", "D", "v", "P")
    for at, (name, found) in enumerate(series.items()):
        shift = (at - (len(series) - 1) / 2) * 0.7 / max(1, len(series))
        there = [(line + shift, row) for line, row in enumerate(found) if row]
        axes.errorbar(
            [row["value"] for _, row in there], [line for line, _ in there],
            xerr=_reach(row for _, row in there),
            fmt=marks[at % len(marks)], markersize=4, linewidth=1, capsize=2,
            color=pictures.COLOURS[at % len(pictures.COLOURS)], label=pictures.short(name),
        )  # fmt: skip
    axes.set_yticks(range(len(lines)), lines)
    axes.set_ylim(len(lines) - 0.5, -0.5)
    axes.grid(axis="x", linewidth=0.4, alpha=0.5)
    if len(series) > 1:
        axes.legend(loc="upper left", bbox_to_anchor=(0, -0.08), ncols=2)


def _reach(rows: Iterable[Row]) -> Any:
    """Of each value how far its interval goes down and up, as matplotlib wants it."""
    return np.array([[row["value"] - row["low"], row["high"] - row["value"]] for row in rows]).reshape(-1, 2).T


def _tuning(rows: Sequence[Row], models: Sequence[Column], tasks: Sequence[str]) -> Picture:
    plain = [column for column in models if not column.shots and not column.asked]
    series = {_title(column): [_of(rows, column, task, named(task).metric) for task in tasks] for column in plain}
    figure = pictures.figure(0.16 * len(tasks) * max(2, len(plain)) + 1.4, "")
    axes = figure.add_subplot()
    _dots(axes, [task.replace("_", " ") for task in tasks], series)
    axes.set_xlim(-0.02, 1.02)
    table = [(name, task, _said(row)) for name, found in series.items() for task, row in zip(tasks, found, strict=True)]
    return Picture(
        "tuning", "Before and after tuning",
        "The primary metric of each task with its 95 % interval, without solved examples. All answers are held to the "
        "task's grammar, where it has one: so this is no test of form.",
        figure, ("model", "task", "value (95 % interval)"), table,
    )  # fmt: skip


def _severity(rows: Sequence[Row], models: Sequence[Column]) -> Picture:
    seen = (row for row in rows if row["stage"] not in ("baseline", "ensemble") and row["value"])
    names = sorted({row["metric"] for row in seen if row["metric"].startswith("severity ")}, key=_grave)
    lines = [_title(column) for column in models]
    found = {name: [_of(rows, column, RADS.name, name) for column in models] for name in names}
    figure = pictures.figure(0.3 * len(lines) + 1.6, "")
    axes = figure.add_subplot()
    ends = [0.0] * len(lines)
    for at, (name, cells) in enumerate(found.items()):
        turn, kind = divmod(at, len(pictures.COLOURS))
        values = [cell["value"] if cell else 0.0 for cell in cells]
        axes.barh(
            range(len(lines)), values, left=ends, height=0.72, label=name.removeprefix("severity ").replace("_", " "),
            color=pictures.COLOURS[kind], hatch=("", "///", "...")[turn % 3],
            edgecolor="white", linewidth=0.3,
        )  # fmt: skip
        ends = [end + value for end, value in zip(ends, values, strict=True)]
    axes.set_yticks(range(len(lines)), [pictures.short(line) for line in lines])
    axes.set_ylim(len(lines) - 0.5, -0.5)
    axes.set_xlim(0, 1)
    axes.legend(loc="upper left", bbox_to_anchor=(0, -0.12), ncols=3)
    table = [
        (line, name.removeprefix("severity "), _said(cell))
        for name, cells in found.items() for line, cell in zip(lines, cells, strict=True)
    ]  # fmt: skip
    return Picture(
        "severity", "RADS: how grave the errors are",
        "Share of all items by where the answer would have led: after a minor error to the same next step, after a "
        "major one to another.",
        figure, ("model", "class", "share (95 % interval)"), table,
    )  # fmt: skip


def _grave(name: str) -> tuple[int, str]:
    """Right answers first, then from light to grave."""
    short = name.removeprefix("severity ")
    return (-1 if short not in _GRAVEST else len(_GRAVEST) - _GRAVEST.index(short), short)


def _systems(rows: Sequence[Row], models: Sequence[Column]) -> Picture:
    seen = [system for system in systems() if any(row["slice"] == system for row in rows)]
    found = [[_of(rows, column, RADS.name, RADS.metric, system) for column in models] for system in seen]
    figure = pictures.figure(0.42 * len(seen) + 1.2, "")
    axes = figure.add_subplot()
    values = np.array([[row["value"] if row else math.nan for row in line] for line in found])
    axes.pcolormesh(values, vmin=0, vmax=1, cmap="cividis", edgecolors="white", linewidth=1)  # imshow makes a bitmap
    axes.invert_yaxis()
    for y, line in enumerate(found):
        for x, row in enumerate(line):
            if row:
                words = f"{row['value']:.2f}\n{row['low']:.2f}–{row['high']:.2f}"
                axes.text(
                    x + 0.5,
                    y + 0.5,
                    words,
                    ha="center",
                    va="center",
                    size=7,
                    color="black" if row["value"] > 0.5 else "white",
                )
    counts = [next((row["n"] for row in line if row), 0) for line in found]
    axes.set_yticks(
        [at + 0.5 for at in range(len(seen))],
        [f"{name}, n={n}{' (few)' if n < FEW else ''}" for name, n in zip(seen, counts, strict=True)],
    )
    axes.set_xticks(
        [at + 0.5 for at in range(len(models))],
        [pictures.short(_title(column)).replace(", ", "\n") for column in models],
    )
    axes.spines[:].set_visible(False)
    table = [
        (system, _title(column), row["n"], _said(row))
        for system, line in zip(seen, found, strict=True) for column, row in zip(models, line, strict=True) if row
    ]  # fmt: skip
    return Picture(
        "systems", "RADS by system", f"Accuracy with its 95 % interval; fewer than {FEW} items say little.",
        figure, ("system", "model", "n", "accuracy (95 % interval)"), table,
    )  # fmt: skip


def _shots(runs: Sequence[Run]) -> Iterator[tuple[str, str, Any]]:
    """Of each model with and without solved examples: its name, the way of asking, and the paired comparisons."""
    for run in runs:
        plain = next((one for one in runs if not one.setup.shots and not one.setup.asked
                      and (one.setup.name, one.setup.stage) == (run.setup.name, run.setup.stage)
                      and one.split == run.split), None)  # fmt: skip
        if run.setup.shots and plain:
            way = f"{run.setup.name}, {run.setup.stage}, {run.setup.shots}-shot {run.setup.asked}".strip()
            for one in compare(run.answered, plain.answered):
                yield way, one.task, one


def _few_shot(found: Sequence[tuple[str, str, Any]]) -> Picture:
    ways = list(dict.fromkeys(way for way, _, _ in found))
    tasks = list(dict.fromkeys(task for _, task, _ in found))
    at = {(way, task): one for way, task, one in found}
    figure = pictures.figure(0.16 * len(tasks) * max(2, len(ways)) + 1.4, "")
    axes = figure.add_subplot()
    series: dict[str, list[Any]] = {
        way: [
            {"value": one.difference.value, "low": one.difference.low, "high": one.difference.high} if one else None
            for one in (at.get((way, task)) for task in tasks)
        ]
        for way in ways
    }
    _dots(axes, [task.replace("_", " ") for task in tasks], series)
    axes.axvline(0, color=pictures.INK, linewidth=0.8)
    table = [
        (way, task, one.n, f"{one.difference.value:+.2f} ({one.difference.low:+.2f} to {one.difference.high:+.2f})",
         one.words.replace("A is", "with examples is").replace("B is", "without examples is"))
        for way, task, one in found
    ]  # fmt: skip
    return Picture(
        "few-shot", "Solved examples in the prompt",
        "Primary metric with solved examples less that without, same items, 95 % interval: left of zero they hurt.",
        figure, ("model", "task", "n", "difference (95 % interval)", "by Holm's method"), table,
    )  # fmt: skip


def _sizes(rows: Sequence[Row], runs: Sequence[Run], tasks: Sequence[str]) -> Picture:
    task = RADS.name if RADS.name in tasks else tasks[0]
    metric = named(task).metric
    figure = pictures.figure(3.4, "")
    axes = figure.add_subplot()
    table = []
    for at, run in enumerate(runs):
        setup = run.setup
        column = Column("", setup.stage, setup.shots, setup.name, setup.asked)
        row = _of(rows, column, task, metric)
        seconds = [one.seconds for one in run.answered if one.task == task and one.seconds]
        if not row or setup.shots or setup.asked or run.split != row["split"]:
            continue
        axes.errorbar(
            [setup.size / 1e6], [row["value"]], yerr=_reach([row]),
            fmt=("o", "s", "^", "D", "v", "P")[at % 6], capsize=2, color=pictures.COLOURS[at % len(pictures.COLOURS)],
            label=pictures.short(f"{setup.name}, {setup.stage}"),
        )  # fmt: skip
        took = f"{np.median(seconds):.2f}" if seconds else ""
        table.append((f"{setup.name}, {setup.stage}", f"{setup.size / 1e6:,.0f}", _said(row), took))
    axes.set_xlabel("MB of weights")
    axes.set_ylabel(metric)
    axes.set_ylim(-0.02, 1.02)
    axes.grid(linewidth=0.4, alpha=0.5)
    axes.legend(loc="upper left", bbox_to_anchor=(0, -0.18), ncols=2)
    return Picture(
        "sizes", "Size and quality", f"{metric} in {task.replace('_', ' ')}, 95 % interval. Measured points only.",
        figure, ("model", "MB", "value (95 % interval)", "median seconds an answer"), table,
    )  # fmt: skip


# Tasks


def _published(rows: Sequence[Row]) -> Iterator[str]:
    """The paper's values, where task and metric are the same."""
    known = json.loads((resources.files("radlite.evaluation") / "published.json").read_text("utf-8"))
    lines = []
    for one in known["rows"]:
        ours = [row for row in rows if (row["task"], row["metric"], row["slice"]) == (one["task"], one["metric"], "all")
                and (row["stage"] == one["stage"] or (one["stage"] == "tuned" and row["stage"] == "quantized"))
                and not row["shots"] and not row["asked"]]  # fmt: skip
        for row in ours:
            values = ", ".join(f"{name} {one[name]:.3f}" for name in ("qwen2.5", "qwen3") if name in one)
            n = f", n={one['n']}" if "n" in one else ""
            lines.append((one["task"].replace("_", " "), one["metric"], one["stage"], f"{values}{n}",
                          f"{row['model']}, {row['stage']}: {_said(row)}", one.get("note", "")))  # fmt: skip
    if lines:
        heads = ("task", "metric", "stage", "published", "here (95 % interval)", "note")
        yield _block(
            "Beside the published values", pages.table(heads, lines, "Published values"),
            f"Published: {known['source']}, without intervals. Items and models differ: nothing can be paired, "
            "and a difference here is no evidence of one.",
        )  # fmt: skip


def _task(
    task: str, rows: Sequence[Row], runs: Sequence[Run], columns: Sequence[Column],
    texts: Mapping[tuple[str, str], Example],
) -> str:  # fmt: skip
    own = [row for row in rows if row["task"] == task]
    heads = ("metric", *(_title(column) for column in columns))
    metrics = list(dict.fromkeys(row["metric"] for row in own if row["slice"] == "all"))
    parts = [
        "<h3>Metrics</h3>",
        pages.table(
            heads, [(m, *(_said(_of(own, c, task, m)) for c in columns)) for m in metrics], f"Metrics of {task}"
        ),
    ]
    metric = named(task).metric
    slices = [name for name in dict.fromkeys(row["slice"] for row in own) if name != "all"]
    if slices:
        lines: list[Line] = []
        for name in slices:
            cells = [_of(own, column, task, metric, name) for column in columns]
            n = next((cell["n"] for cell in cells if cell), 0)
            lines.append((name, n, *map(_said, cells)))
        parts += [f"<h3>Slices, {pages.text(metric)}</h3>",
                  pages.table(("slice", "n", *heads[1:]), lines, f"Slices of {task}")]  # fmt: skip
    for run in runs:
        answered = [one for one in run.answered if one.task == task]
        if answered and not run.setup.shots and not run.setup.asked:
            parts += _of_run(run, answered, texts)
    return (
        f"<section>\n<h2>{pages.text(task.replace('_', ' '))}</h2>\n"
        "<details>\n<summary>Metrics, slices, errors</summary>\n"
        f"{''.join(parts)}\n</details>\n</section>\n"
    )


def _of_run(run: Run, answered: Sequence[Answered], texts: Mapping[tuple[str, str], Example]) -> Iterator[str]:
    title = f"{run.setup.name}, {run.setup.stage}"
    task = named(answered[0].task)
    if task.labels:
        heads, lines = _confusion(answered)
        yield f"<h3>{pages.text(title)}: answers (columns) to true labels (lines)</h3>"
        yield pages.table(heads, lines, f"Confusion matrix of {title}")
    if any(one.probabilities for one in answered):
        yield from _sureness(title, answered)
    wrong = sorted((one for one in answered if _loss(one) > 0), key=lambda one: (-_loss(one), one.id))[:WORST]
    if wrong:
        lines = []
        for one in wrong:
            kind = next((name.removeprefix("severity ") for name, value in one.values.items()
                         if name.startswith("severity ") and value), one.status)  # fmt: skip
            item = texts.get((one.task, one.id))
            shown = (item.answer if item else one.truth or "", one.text) if item or one.truth else ("", "")
            report = " ".join(item.inputs.values()) if item else ""
            lines.append((one.id, kind, *shown, *((report,) if texts else ())))
        heads = ("item", "error", "true answer", "model's answer", *(("text",) if texts else ()))
        yield f"<h3>{pages.text(title)}: worst errors</h3>"
        yield pages.table(heads, lines, f"Worst errors of {title}")


def _loss(one: Answered) -> float:
    """How bad an answer is: of RADS by the class of the error, else by the primary metric's shortfall."""
    for at, name in enumerate(_GRAVEST):
        if one.values.get(f"severity {name}"):
            return len(_GRAVEST) - at
    task = named(one.task)
    return 1 - one.values[task.metric] if task.metric in one.values else float(one.label != one.truth)


def _confusion(answered: Sequence[Answered]) -> tuple[tuple[str, ...], list[Line]]:
    pairs = Counter((one.truth or "", one.label or f"({one.status})") for one in answered)
    frequent = Counter(label for pair, count in pairs.items() for label in pair for _ in range(count))
    names = sorted(name for name, _ in frequent.most_common(_MOST))
    other = "other" if len(frequent) > len(names) else ""

    def of(label: str) -> str:
        return label if label in names else other

    merged: Counter[tuple[str, str]] = Counter()
    for (truth, label), count in pairs.items():
        merged[of(truth), of(label)] += count
    shown = [*names, *filter(None, [other])]
    lines: list[Line] = [(truth, *(merged[truth, label] for label in shown)) for truth in shown
             if any(merged[truth, label] for label in shown)]  # fmt: skip
    return ("true", *shown), lines


def _sureness(title: str, answered: Sequence[Answered]) -> Iterator[str]:
    """Reliability and risk-coverage of a model's probabilities as they are."""
    given, right = calibration.confidences(answered)
    found = calibration.reliability(given, right)
    figure = pictures.figure(2.8, "")
    left, other = figure.subplots(1, 2)
    sure = [mean for mean, _ in found.bins]
    left.plot([0, 1], [0, 1], linestyle=":", color=pictures.INK, linewidth=0.8)
    left.errorbar(
        sure, [share.value for _, share in found.bins],
        yerr=np.array([[share.value - share.low, share.high - share.value] for _, share in found.bins]).T,
        fmt="o", markersize=4, capsize=2, linewidth=1, color=pictures.COLOURS[0],
    )  # fmt: skip
    left.set(xlabel="probability told", ylabel="share right", xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    line = calibration.curve(given, right)
    other.plot([share for share, _ in line], [risk for _, risk in line], color=pictures.COLOURS[1], linewidth=1.4)
    other.set(xlabel="share answered, surest first", ylabel="share of these wrong", xlim=(0, 1.02), ylim=(-0.02, 1.02))
    task = answered[0].task
    picture = Picture(
        f"sure-{zlib.crc32(f'{task} {title}'.encode())}", f"{title}: reliability",
        f"Expected calibration error {_span(found.error, 3)}, Brier score {_span(found.brier, 3)}, n={found.n}.",
        figure, ("mean probability", "share right (95 % interval)", "n"),
        [(f"{mean:.2f}", _span(share), share.n) for mean, share in found.bins],
    )  # fmt: skip
    yield pages.section(picture, pictures.saved(figure, "svg"), level=3)


def _span(found: Estimate, digits: int = 2) -> str:
    return f"{found.value:.{digits}f} ({found.low:.{digits}f} to {found.high:.{digits}f})"
