"""The pictures of results: every value with its interval, measured points only."""

import math
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np

from radlite.data import pictures
from radlite.data.pages import Picture
from radlite.evaluation import calibration
from radlite.evaluation.comparison import Comparison, compare
from radlite.evaluation.estimate import Estimate
from radlite.evaluation.metrics import FEW, Answered, Row
from radlite.evaluation.report import Column
from radlite.evaluation.run import Run
from radlite.rads import systems
from radlite.tasks import named
from radlite.tasks.rads import RADS

GRAVEST: Final = (
    "undercall_major", "missed_rads", "false_closure", "wrong_system", "overcall_major", "false_rads",
    "false_incomplete", "invalid", "abstained", "undercall_minor", "overcall_minor", "lateral",
)  # fmt: skip
"""Classes of RADS errors, the one with the gravest consequence first."""
_MARKS: Final = ("o", "s", "^", "D", "v", "P", "X")


Values = Mapping[tuple[Any, ...], Row]
"""Result rows by what they are of; see `value_of`."""


def by_place(rows: Iterable[Row]) -> Values:
    """The rows, to be looked up."""
    return {
        (row["stage"], row["shots"], row["asked"], row["model"], row["task"], row["metric"], row["slice"]): row
        for row in rows
    }


def value_of(values: Values, column: Column, task: str, metric: str, slice: str = "all") -> Row | None:
    """The row of a column in a task."""
    return values.get((column.stage, column.shots, column.asked, column.model, task, metric, slice))


def drawn(values: Values, runs: Sequence[Run], columns: Sequence[Column], tasks: Sequence[str]) -> Iterator[Picture]:
    """The pictures that there are results for."""
    models = [column for column in columns if column.stage not in ("baseline", "ensemble")]
    if len(tasks) > 2 and models:
        yield _radar(values, models, tasks)
    stages = {column.stage for column in models}
    if "base" in stages and len(stages) > 1:
        yield _stages(values, models, tasks)
        if pairs := after_tuning(runs):
            yield _differences(
                "tuning", "What tuning changed", "Primary metric after tuning less that of the base, on the same "
                "items, with its 95 % interval. All answers are held to the task's grammar, where it has one: so "
                "this is no test of form.", pairs, ("tuned", "the base"),
            )  # fmt: skip
    if RADS.name in tasks and models:
        yield _severity(values, models)
        if seen := [system for system in systems() if any(row["slice"] == system for row in values.values())]:
            yield _systems(values, models, seen)
    if pairs := with_examples(runs):
        yield _differences(
            "few-shot", "Solved examples in the prompt", "Primary metric with solved examples less that without, same "
            "items, 95 % interval: left of zero they hurt.", pairs, ("with examples", "without examples"),
        )  # fmt: skip
    if pairs := after_quantising(runs):
        yield _differences(
            "quantised", "What quantising changed", "Primary metric of the quantised file less that of the exact "
            "weights, same items, 95 % interval.", pairs, ("quantised", "exact"),
        )  # fmt: skip
    if len(sized := [run for run in _plain(runs) if run.setup.size]) > 1:
        yield _sizes(values, sized, tasks)


def _radar(values: Values, models: Sequence[Column], tasks: Sequence[str]) -> Picture:
    from matplotlib.figure import Figure

    figure: Any = Figure(figsize=(pictures.WIDTH, 5.2), layout="constrained", facecolor="none")
    axes = figure.add_subplot(projection="polar")
    angles = [2 * math.pi * at / len(tasks) for at in range(len(tasks))]
    table = []
    for at, column in enumerate(models):
        found = [value_of(values, column, task, named(task).metric) for task in tasks]
        reached = [row["value"] if row else math.nan for row in found]
        axes.plot(
            [*angles, angles[0]], [*reached, reached[0]], marker=_MARKS[at % len(_MARKS)], markersize=4, linewidth=1.4,
            color=pictures.COLOURS[at % len(pictures.COLOURS)], label=pictures.short(titled(column)),
            linestyle=("-", "--", ":")[at // len(pictures.COLOURS) % 3],
        )  # fmt: skip
        table += [(titled(column), task, said(row)) for task, row in zip(tasks, found, strict=True) if row]
    axes.set_xticks(angles, [task.replace("_", "\n") for task in tasks])
    axes.set_ylim(0, 1)
    axes.set_yticks([0.25, 0.5, 0.75, 1], ["0.25", "0.5", "0.75", "1"])
    axes.legend(loc="upper left", bbox_to_anchor=(0, -0.08), ncols=2)
    return Picture(
        "radar", "All tasks at a glance", "The primary metric of each task, 0 in the middle to 1. Areas mean nothing.",
        figure, ("model", "task", "value (95 % interval)"), table,
    )  # fmt: skip


def _dots(axes: Any, lines: Sequence[str], series: Mapping[str, Sequence[Estimate | None]]) -> None:
    """Values with their intervals, one line each, one mark a series."""
    for at, (name, found) in enumerate(series.items()):
        shift = (at - (len(series) - 1) / 2) * 0.7 / max(1, len(series))
        there = [(line + shift, one) for line, one in enumerate(found) if one]
        axes.errorbar(
            [one.value for _, one in there], [line for line, _ in there], xerr=_reach(one for _, one in there),
            fmt=_MARKS[at % len(_MARKS)], markersize=4, linewidth=1, capsize=2,
            color=pictures.COLOURS[at % len(pictures.COLOURS)], label=pictures.short(name),
        )  # fmt: skip
    axes.set_yticks(range(len(lines)), lines)
    axes.set_ylim(len(lines) - 0.5, -0.5)
    axes.grid(axis="x", linewidth=0.4, alpha=0.5)
    if len(series) > 1:
        axes.legend(loc="upper left", bbox_to_anchor=(0, -0.08), ncols=2)


def _reach(found: Iterable[Estimate]) -> Any:
    """Of each value how far its interval goes down and up, as matplotlib wants it."""
    return np.array([[one.value - one.low, one.high - one.value] for one in found]).reshape(-1, 2).T


def _estimate(row: Row | None) -> Estimate | None:
    return Estimate(row["value"], row["low"], row["high"], row["n"]) if row else None


def _stages(values: Values, models: Sequence[Column], tasks: Sequence[str]) -> Picture:
    plain = [column for column in models if not column.shots and not column.asked]
    series = {
        titled(column): [value_of(values, column, task, named(task).metric) for task in tasks] for column in plain
    }
    figure = pictures.figure(0.16 * len(tasks) * max(2, len(plain)) + 1.4, "")
    axes = figure.add_subplot()
    _dots(axes, [task.replace("_", " ") for task in tasks],
          {name: [_estimate(row) for row in found] for name, found in series.items()})  # fmt: skip
    axes.set_xlim(-0.02, 1.02)
    table = [(name, task, said(row)) for name, found in series.items() for task, row in zip(tasks, found, strict=True)]
    return Picture(
        "stages", "Before and after tuning",
        "The primary metric of each task with its 95 % interval, without solved examples.",
        figure, ("model", "task", "value (95 % interval)"), table,
    )  # fmt: skip


def _severity(values: Values, models: Sequence[Column]) -> Picture:
    seen = (row for row in values.values() if row["stage"] not in ("baseline", "ensemble") and row["value"])
    names = sorted({row["metric"] for row in seen if row["metric"].startswith("severity ")}, key=_grave)
    lines = [titled(column) for column in models]
    found = {name: [value_of(values, column, RADS.name, name) for column in models] for name in names}
    figure = pictures.figure(0.3 * len(lines) + 1.6, "")
    axes = figure.add_subplot()
    ends = [0.0] * len(lines)
    for at, (name, cells) in enumerate(found.items()):
        turn, kind = divmod(at, len(pictures.COLOURS))
        shares = [cell["value"] if cell else 0.0 for cell in cells]
        axes.barh(
            range(len(lines)), shares, left=ends, height=0.72, label=name.removeprefix("severity ").replace("_", " "),
            color=pictures.COLOURS[kind], hatch=("", "///", "...")[turn % 3],
            edgecolor="white", linewidth=0.3,
        )  # fmt: skip
        ends = [end + value for end, value in zip(ends, shares, strict=True)]
    axes.set_yticks(range(len(lines)), [pictures.short(line) for line in lines])
    axes.set_ylim(len(lines) - 0.5, -0.5)
    axes.set_xlim(0, 1)
    axes.legend(loc="upper left", bbox_to_anchor=(0, -0.12), ncols=3)
    table = [
        (line, name.removeprefix("severity "), said(cell))
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
    return (-1 if short not in GRAVEST else len(GRAVEST) - GRAVEST.index(short), short)


def _systems(values: Values, models: Sequence[Column], seen: Sequence[str]) -> Picture:
    found = [[value_of(values, column, RADS.name, RADS.metric, system) for column in models] for system in seen]
    figure = pictures.figure(0.42 * len(seen) + 1.2, "")
    axes = figure.add_subplot()
    shades = np.array([[row["value"] if row else math.nan for row in line] for line in found])
    axes.pcolormesh(shades, vmin=0, vmax=1, cmap="cividis", edgecolors="white", linewidth=1)  # imshow makes a bitmap
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
        [pictures.short(titled(column)).replace(", ", "\n") for column in models],
        **({"rotation": 40, "ha": "right", "rotation_mode": "anchor"} if len(models) > 4 else {}),
    )
    axes.spines[:].set_visible(False)
    table = [
        (system, titled(column), row["n"], said(row))
        for system, line in zip(seen, found, strict=True) for column, row in zip(models, line, strict=True) if row
    ]  # fmt: skip
    return Picture(
        "systems", "RADS by system", f"Accuracy with its 95 % interval; fewer than {FEW} items say little.",
        figure, ("system", "model", "n", "accuracy (95 % interval)"), table,
    )  # fmt: skip


Pairs = Sequence[tuple[str, Sequence[Comparison]]]
"""Two models or ways of asking, in words, and what comes of holding them against each other task by task."""


def with_examples(runs: Sequence[Run]) -> Pairs:
    """Each model with solved examples against the same without."""
    found = []
    for run in runs:
        setup = run.setup
        plain = next(
            (one for one in _plain(runs) if (one.setup.name, one.setup.stage) == (setup.name, setup.stage)), None
        )
        if setup.shots and plain:
            way = f"{setup.name}, {setup.stage}, {setup.shots}-shot {setup.asked}".strip()
            found.append((way, compare(run.answered, plain.answered)))
    return found


def after_tuning(runs: Sequence[Run]) -> Pairs:
    """Each tuned model against its base as it is."""
    plain = _plain(runs)
    return [
        (f"{run.setup.name}, {run.setup.stage}", compare(run.answered, one.answered))
        for run in plain if run.setup.stage in ("tuned", "quantized")
        for one in plain if one.setup.stage == "base" and one.setup.origin == run.setup.origin
        and not one.setup.quantized
    ]  # fmt: skip


def after_quantising(runs: Sequence[Run]) -> Pairs:
    """Each quantised file against the same weights as they were before."""
    found = []
    for run in _plain(runs):
        if run.setup.quantized and (one := unquantised(run, runs)):
            found.append((f"{run.setup.name}, {run.setup.kind}", compare(run.answered, one.answered)))
    return found


def unquantised(run: Run, runs: Sequence[Run]) -> Run | None:
    """The run of the same weights before they were quantised."""
    same = [one for one in _plain(runs) if not one.setup.quantized and one.setup.origin == run.setup.origin
            and (one.setup.stage == "base") == (run.setup.stage == "base")]  # fmt: skip
    return max(same, key=lambda one: bool(one.setup.kind), default=None)


def _plain(runs: Sequence[Run]) -> list[Run]:
    return [run for run in runs if run.setup.usual]


def _differences(name: str, heading: str, caption: str, pairs: Pairs, sides: tuple[str, str]) -> Picture:
    """Differences of primary metrics with their intervals; `sides` are what A and B are in words."""
    ways = [way for way, _ in pairs]
    tasks = list(dict.fromkeys(one.task for _, found in pairs for one in found))
    by_task = {way: {one.task: one.difference for one in found} for way, found in pairs}
    figure = pictures.figure(0.16 * len(tasks) * max(2, len(ways)) + 1.4, "")
    axes = figure.add_subplot()
    _dots(axes, [task.replace("_", " ") for task in tasks],
          {way: [by_task[way].get(task) for task in tasks] for way in ways})  # fmt: skip
    axes.axvline(0, color=pictures.INK, linewidth=0.8)
    table = [
        (way, one.task, one.n, f"{one.difference.value:+.2f} ({one.difference.low:+.2f} to {one.difference.high:+.2f})",
         _worded(one, sides))
        for way, found in pairs for one in found
    ]  # fmt: skip
    return Picture(
        name, heading, caption, figure, ("model", "task", "n", "difference (95 % interval)", "by Holm's method"), table
    )


def _worded(one: Comparison, sides: tuple[str, str]) -> str:
    return one.words.replace("A is", f"{sides[0]} is").replace("B is", f"{sides[1]} is")


def _sizes(values: Values, runs: Sequence[Run], tasks: Sequence[str]) -> Picture:
    task = RADS.name if RADS.name in tasks else tasks[0]
    metric = named(task).metric
    figure = pictures.figure(3.4, "")
    axes = figure.add_subplot()
    table = []
    for at, run in enumerate(runs):
        setup = run.setup
        row = value_of(values, Column("", setup.stage, model=setup.name), task, metric)
        found = _estimate(row)
        seconds = [one.seconds for one in run.answered if one.task == task and one.seconds]
        if not found:
            continue
        name = f"{setup.name}, {setup.kind or setup.stage}"
        axes.errorbar(
            [setup.size / 1e6], [found.value], yerr=_reach([found]),
            fmt=_MARKS[at % len(_MARKS)], capsize=2, color=pictures.COLOURS[at % len(pictures.COLOURS)],
            label=pictures.short(name),
        )  # fmt: skip
        took = f"{np.median(seconds):.2f}" if seconds else ""
        table.append((name, f"{setup.size / 1e6:,.0f}", said(row), took))
    axes.set_xlabel("MB of weights")
    axes.set_ylabel(metric)
    axes.set_ylim(-0.02, 1.02)
    axes.grid(linewidth=0.4, alpha=0.5)
    axes.legend(loc="upper left", bbox_to_anchor=(0, -0.18), ncols=2)
    return Picture(
        "sizes", "Size and quality", f"{metric} in {task.replace('_', ' ')}, 95 % interval. Measured points only.",
        figure, ("model", "MB", "value (95 % interval)", "median seconds an answer"), table,
    )  # fmt: skip


def sureness(title: str, answered: Sequence[Answered]) -> Picture:
    """Reliability and risk-coverage of a model's probabilities as they are."""
    given, right = calibration.confidences(answered)
    found = calibration.reliability(given, right)
    figure = pictures.figure(2.8, "")
    left, other = figure.subplots(1, 2)
    sure = [mean for mean, _ in found.bins]
    left.plot([0, 1], [0, 1], linestyle=":", color=pictures.INK, linewidth=0.8)
    left.errorbar(
        sure, [share.value for _, share in found.bins],
        yerr=_reach(share for _, share in found.bins),
        fmt="o", markersize=4, capsize=2, linewidth=1, color=pictures.COLOURS[0],
    )  # fmt: skip
    left.set(xlabel="probability told", ylabel="share right", xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    line = calibration.curve(given, right)
    other.plot([share for share, _ in line], [risk for _, risk in line], color=pictures.COLOURS[1], linewidth=1.4)
    other.set(xlabel="share answered, surest first", ylabel="share of these wrong", xlim=(0, 1.02), ylim=(-0.02, 1.02))
    task = answered[0].task
    return Picture(
        f"sure-{zlib.crc32(f'{task} {title}'.encode())}", f"{title}: reliability",
        f"Expected calibration error {span(found.error, 3)}, Brier score {span(found.brier, 3)}, n={found.n}.",
        figure, ("mean probability", "share right (95 % interval)", "n"),
        [(f"{mean:.2f}", span(share), share.n) for mean, share in found.bins],
    )  # fmt: skip


def span(found: Estimate, digits: int = 2) -> str:
    return f"{found.value:.{digits}f} ({found.low:.{digits}f} to {found.high:.{digits}f})"


def said(row: Row | None, best: float | None = None) -> str:
    if row is None:
        return ""
    star = "* " if best is not None and row["value"] >= best - 1e-9 else ""
    few = " (few)" if row["n"] < FEW else ""
    return f"{star}{row['value']:.2f} ({row['low']:.2f} to {row['high']:.2f}){few}"


def titled(column: Column) -> str:
    own = column.stage in ("baseline", "ensemble")
    return column.title if own else f"{column.model}, {column.title}"
