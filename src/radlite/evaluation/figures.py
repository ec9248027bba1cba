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
from radlite.evaluation.results import Entry, Results, called, entry_of, gap, measured, said, span
from radlite.evaluation.run import Run
from radlite.rads import systems
from radlite.tasks import named
from radlite.tasks.rads import RADS

SEVERITIES: Final = {
    "exact": ("#56B4E9", 0.25), "exact_at_parent": ("#56B4E9", 0.5), "lateral": ("#009E73", 0.3),
    "overcall_minor": ("#F0E442", 0.45), "undercall_minor": ("#F0E442", 0.8), "abstained": ("#808080", 0.25),
    "invalid": ("#808080", 0.55), "false_incomplete": ("#808080", 0.85), "false_rads": ("#E69F00", 0.6),
    "overcall_major": ("#E69F00", 1), "wrong_system": ("#CC79A7", 1), "false_closure": ("#0072B2", 1),
    "missed_rads": ("#D55E00", 1), "undercall_major": ("#A50F15", 1),
}  # fmt: skip
"""Classes of RADS answers, the one with the gravest consequence last, each with its colour and how solid that is."""

_WIDTH: Final = 4.4
"""Inches of a picture."""
_MARKS: Final = ("o", "s", "^", "D", "v", "P", "X")
_BASELINE: Final = "#8a8a8a"
_MOST_LINES: Final = 5
"""Lines of a radar that can still be told apart."""
_ALIKE: Final = 1.1
"""Files are of one size if the largest has at most so many times the bytes of the smallest."""

Line = tuple[str, Mapping[str, Any], Sequence[Row | None]]
"""A name, how it is drawn, and its rows."""


def drawn(results: Results) -> Iterator[Picture]:
    """The pictures that there are results for."""
    if results.last and len(results.tasks) > 2:
        yield _glance(results)
    if tuned := _with_base(results):
        yield _stages(results, tuned)
    if pairs := after_tuning(results.runs):
        yield _differences(
            results, "tuning", "What tuning changed", "Primary metric after tuning less that of the base, on the same "
            "items, with its 95 % interval. All answers are held to the task's grammar, where it has one: so "
            "this is no test of form.", pairs,
        )  # fmt: skip
    if RADS.name in results.tasks and results.models:
        yield _severity(results)
        if seen := [name for name in systems()
                    if any(results.row(one, RADS.name, slice=name) for one in results.last)]:  # fmt: skip
            yield _systems(results, seen)
    if pairs := with_examples(results.runs):
        yield _differences(
            results, "few-shot", "Solved examples in the prompt", "Primary metric with solved examples less that "
            "without, same items, 95 % interval: left of zero they hurt.", pairs,
        )  # fmt: skip
    if pairs := after_quantising(results.runs):
        yield _differences(
            results, "quantised", "What quantising changed", "Primary metric of the quantised file less that of the "
            "exact weights, same items, 95 % interval.", pairs,
        )  # fmt: skip
    sized = [run for run in _plain(results.runs) if run.setup.size]
    sizes = [run.setup.size for run in sized]
    if sizes and max(sizes) > _ALIKE * min(sizes):
        yield _sizes(results, sized)


def look(results: Results, entry: Entry) -> dict[str, Any]:
    """Colour and mark of an entry, the same on all pictures: a colour for each model, a mark for each stage and way."""
    if not entry.is_model:
        return {"color": pictures.INK if entry.stage == "ensemble" else _BASELINE, "marker": "x"}
    models = list(dict.fromkeys(one.own for one in results.models))
    ways = list(dict.fromkeys((one.stage, one.way) for one in results.models))
    again, colour = divmod(models.index(entry.own), len(pictures.COLOURS))
    mark = ways.index((entry.stage, entry.way)) + again * len(ways)
    return {"color": pictures.COLOURS[colour], "marker": _MARKS[mark % len(_MARKS)]}


def _canvas(height: float) -> tuple[Any, Any]:
    figure = pictures.figure(height, "", _WIDTH)
    return figure, figure.add_subplot()


def _legend(figure: Any, axes: Any, columns: int = 2, place: str = "outside lower left") -> None:
    """Below the axes, where it takes no width from them."""
    handles, names = axes.get_legend_handles_labels()
    columns = columns if max(map(len, names), default=0) < 34 else 1
    figure.legend(handles, names, loc=place, ncols=columns, fontsize=7.5, columnspacing=1)


def _legend_height(count: int, columns: int = 2) -> float:
    return 0.17 * math.ceil(count / columns)


def _split(name: str) -> str:
    """A name on two lines: what it is, and at which stage."""
    return pictures.short(name).replace(", ", ",\n", 1)


def _glance(results: Results) -> Picture:
    tasks = results.tasks
    lines: list[Line] = [
        (one.name, look(results, one), [results.row(one, task) for task in tasks]) for one in results.last
    ]
    if results.baseline:
        beside = [results.row(results.baseline.get(task), task) for task in tasks]
        lines.append(("best baseline", {"color": _BASELINE, "marker": "x", "linestyle": "--"}, beside))
    for router in (one for one in results.ensembles if one.model == "router"):
        way = {**look(results, router), "marker": ".", "linestyle": ":"}
        lines.append((router.name, way, [results.row(router, task) for task in tasks]))
    table = [(name, called(task), said(row)) for name, _, found in lines
             for task, row in zip(tasks, found, strict=True) if row]  # fmt: skip
    radar = len(lines) <= _MOST_LINES
    figure = _radar(lines, tasks) if radar else _dotted(lines, tasks)
    middle = "0 in the middle to 1 at the rim; areas mean nothing" if radar else "with its 95 % interval"
    return Picture(
        "glance", "All tasks at a glance", f"The primary metric of each task, {middle}. Each model is at its last "
        "stage; the best baseline is that of each task.",
        figure, ("model", "task", "value [95 % interval]"), table, cards=True,
    )  # fmt: skip


def _radar(lines: Sequence[Line], tasks: Sequence[str]) -> Any:
    below = _legend_height(len(lines)) + 0.1
    height, across = 3.1 + below, 2.1
    figure = pictures.figure(height, "", _WIDTH)
    size = [0.5 - across / 2 / _WIDTH, (below + 0.5) / height, across / _WIDTH, across / height]
    figure.set_layout_engine("none")  # which knows nothing of the names around the circle
    axes = figure.add_axes(size, projection="polar")
    angles = [2 * math.pi * at / len(tasks) for at in range(len(tasks))]
    for name, way, found in lines:
        reached = [row["value"] if row else math.nan for row in found]
        axes.plot(
            [*angles, angles[0]], [*reached, reached[0]], markersize=4, linewidth=1.4, label=pictures.short(name), **way
        )
    axes.set_xticks(angles, [""] * len(tasks))
    for angle, task in zip(angles, tasks, strict=True):
        side = "center" if abs(math.cos(angle)) < 0.2 else "left" if math.cos(angle) > 0 else "right"
        edge = "center" if abs(math.sin(angle)) < 0.8 else "bottom" if math.sin(angle) > 0 else "top"
        axes.text(angle, 1.08, called(task).replace(" ", "\n", 1), ha=side, va=edge, size=8)
    axes.set_ylim(0, 1)
    axes.set_yticks([0.25, 0.5, 0.75, 1], ["0.25", "0.5", "0.75", "1"], size=6.5)
    axes.grid(linewidth=0.4)
    _legend(figure, axes, place="lower left")
    return figure


def _dotted(lines: Sequence[Line], tasks: Sequence[str]) -> Any:
    """Values of tasks from 0 to 1."""
    series = {name: (way, [_estimate(row) for row in found]) for name, way, found in lines}
    figure, axes = _dots(series, tasks)
    axes.set_xlim(-0.02, 1.02)
    return figure


def _dots(series: Mapping[str, tuple[Mapping[str, Any], Sequence[Estimate | None]]], tasks: Sequence[str]) -> Any:
    """Values with their intervals, one line a task, one mark a series."""
    thick = 0.11 if len(series) > 2 else 0.15
    figure, axes = _canvas(len(tasks) * (thick * len(series) + 0.08) + _legend_height(len(series)) + 0.5)
    for at, (name, (way, found)) in enumerate(series.items()):
        shift = (at - (len(series) - 1) / 2) * 0.75 / len(series)
        there = [(line + shift, one) for line, one in enumerate(found) if one]
        axes.errorbar(
            [one.value for _, one in there], [line for line, _ in there], xerr=_reach(one for _, one in there),
            fmt=way["marker"], color=way["color"], markersize=4, linewidth=1, capsize=2, label=pictures.short(name),
        )  # fmt: skip
    axes.set_yticks(range(len(tasks)), map(called, tasks))
    axes.set_ylim(len(tasks) - 0.5, -0.5)
    axes.grid(axis="x", linewidth=0.4, alpha=0.5)
    for between in range(len(tasks) - 1):
        axes.axhline(between + 0.5, color=_BASELINE, linewidth=0.3)
    _legend(figure, axes)
    return figure, axes


def _reach(found: Iterable[Estimate]) -> Any:
    """Of each value how far its interval goes down and up, as matplotlib wants it."""
    return np.array([[one.value - one.low, one.high - one.value] for one in found]).reshape(-1, 2).T


def _estimate(row: Row | None) -> Estimate | None:
    return Estimate(row["value"], row["low"], row["high"], row["n"]) if row else None


def _with_base(results: Results) -> list[Entry]:
    """The models whose base was asked too, at all their stages, that is before and after tuning."""
    pairs = [(tuned, base) for tuned, base, _ in after_tuning(results.runs)]
    wanted = {entry_of(run) for pair in pairs for run in pair}
    return [one for one in results.models if one in wanted]


def _stages(results: Results, models: Sequence[Entry]) -> Picture:
    tasks = results.tasks
    lines: list[Line] = [(one.name, look(results, one), [results.row(one, task) for task in tasks]) for one in models]
    table = [(name, called(task), said(row)) for name, _, found in lines
             for task, row in zip(tasks, found, strict=True)]  # fmt: skip
    return Picture(
        "stages", "Before and after tuning",
        "The primary metric of each task with its 95 % interval, without solved examples.",
        _dotted(lines, tasks), ("model", "task", "value [95 % interval]"), table, cards=True,
    )  # fmt: skip


def _severity(results: Results) -> Picture:
    from matplotlib.colors import to_rgb

    models = results.models
    made = {row["metric"] for row in results.rows if row["value"] and row["stage"] not in ("baseline", "ensemble")}
    names = [name for name in SEVERITIES if f"severity {name}" in made]
    figure, axes = _canvas(0.32 * len(models) + _legend_height(len(names), 3) + 0.5)
    ends = [0.0] * len(models)
    table = []
    for name in names:
        colour, solid = SEVERITIES[name]
        rows = [results.row(one, RADS.name, f"severity {name}") for one in models]
        shares = [row["value"] if row else 0.0 for row in rows]
        bars = axes.barh(
            range(len(models)), shares, left=ends, height=0.78, label=name.replace("_", " "), color=(colour, solid)
        )
        red, green, blue = to_rgb(colour)
        bright = 0.3 * red + 0.6 * green + 0.1 * blue > 0.5
        ink = pictures.INK if solid < 0.7 else "black" if bright else "white"
        axes.bar_label(
            bars,
            [f"{share:.0%}".replace("%", " %") if share >= 0.08 else "" for share in shares],
            label_type="center",
            size=6.5,
            color=ink,
        )
        ends = [end + value for end, value in zip(ends, shares, strict=True)]
        table += [(one.name, name.replace("_", " "), said(row)) for one, row in zip(models, rows, strict=True)]
    axes.set_yticks(range(len(models)), [_split(one.name) for one in models], size=7)
    axes.set_ylim(len(models) - 0.5, -0.5)
    axes.set_xlim(0, 1)
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", "25 %", "50 %", "75 %", "100 %"])
    _legend(figure, axes, 3)
    return Picture(
        "severity", "RADS: how grave the errors are",
        "Share of all items by where the answer would have led: after a minor error to the same next step, after a "
        "major one to another. The graver, the more solid and the farther right.",
        figure, ("model", "class", "share [95 % interval]"), table, cards=True,
    )  # fmt: skip


def _systems(results: Results, seen: Sequence[str]) -> Picture:
    from matplotlib import colormaps
    from matplotlib.patches import Rectangle

    models = results.last
    found = [[results.row(one, RADS.name, slice=system) for one in models] for system in seen]
    enough = any(row and row["n"] >= FEW for line in found for row in line)
    names = [_split(one.name) for one in models]
    turned = len(models) > 3
    longest = max(len(line) for name in names for line in name.split("\n"))
    figure, axes = _canvas((0.45 if enough else 0.22) * len(seen) + (0.4 + 0.04 * longest if turned else 0.7))
    for y, line in enumerate(found):
        for x, row in enumerate(line):
            if row is None:
                continue
            few = row["n"] < FEW
            colour = (_BASELINE, 0.12) if few else colormaps["cividis"](row["value"])
            axes.add_patch(Rectangle((x + 0.02, y + 0.04), 0.96, 0.92, linewidth=0, facecolor=colour))
            if few:  # lines, as a pattern is not drawn alike on screen and paper
                count = max(4, 28 // len(models))
                starts = [x + 0.02 + 0.84 * at / (count - 1) for at in range(count)]
                axes.plot([starts, [at + 0.12 for at in starts]], [[y + 0.96] * count, [y + 0.04] * count],
                          color=_BASELINE, linewidth=0.3)  # fmt: skip
            words = f"n={row['n']}" if few else f"{row['value']:.2f}\n{row['low']:.2f}–{row['high']:.2f}"
            ink = pictures.INK if few else "black" if row["value"] > 0.5 else "white"
            box = {"boxstyle": "round,pad=0.15", "facecolor": pictures.GROUND, "edgecolor": "none"} if few else None
            axes.text(
                x + 0.5, y + 0.5, words if len(models) < 6 else words.replace("–", "\n"), ha="center", va="center",
                size=7 if len(models) < 6 else 6, color=ink,
                bbox=box,
            )  # fmt: skip
    axes.set_xlim(0, len(models))
    axes.set_ylim(len(seen), 0)
    counts = [next((row["n"] for row in line if row), 0) for line in found]
    axes.set_yticks([at + 0.5 for at in range(len(seen))],
                    [f"{name}, n={n}" if n >= FEW else name for name, n in zip(seen, counts, strict=True)])  # fmt: skip
    slant: Any = {"rotation": 40, "ha": "right", "rotation_mode": "anchor"} if turned else {}
    axes.set_xticks([at + 0.5 for at in range(len(models))], names, size=7, **slant)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    table = [
        (system, one.name, row["n"], said(row))
        for system, line in zip(seen, found, strict=True) for one, row in zip(models, line, strict=True) if row
    ]  # fmt: skip
    none = "" if enough else " No system has that many here."
    return Picture(
        "systems", "RADS by system", "Accuracy with its 95 % interval, each model at its last stage. Grey: fewer than "
        f"{FEW} items, too few to colour.{none}",
        figure, ("system", "model", "n", "accuracy [95 % interval]"), table, cards=True,
    )  # fmt: skip


Pairs = Sequence[tuple[Run, Run, Sequence[Comparison]]]
"""Runs of two models or ways of asking, and what comes of holding them against each other task by task."""


def with_examples(runs: Sequence[Run]) -> Pairs:
    """Each model with solved examples against the same without."""
    return [
        (run, plain, compare(run.answered, plain.answered))
        for run in runs if run.setup.shots
        for plain in _plain(runs) if (plain.setup.name, plain.setup.stage) == (run.setup.name, run.setup.stage)
    ]  # fmt: skip


def after_tuning(runs: Sequence[Run]) -> Pairs:
    """Each tuned model against its base as it is."""
    plain = _plain(runs)
    return [
        (run, one, compare(run.answered, one.answered))
        for run in plain if run.setup.stage in ("tuned", "quantized")
        for one in plain if one.setup.stage == "base" and one.setup.origin == run.setup.origin
        and not one.setup.quantized
    ]  # fmt: skip


def after_quantising(runs: Sequence[Run]) -> Pairs:
    """Each quantised file against the same weights as they were before."""
    return [
        (run, one, compare(run.answered, one.answered))
        for run in _plain(runs) if run.setup.quantized and (one := unquantised(run, runs))
    ]  # fmt: skip


def unquantised(run: Run, runs: Sequence[Run]) -> Run | None:
    """The run of the same weights before they were quantised."""
    stages = ("base",) if run.setup.stage == "base" else ("tuned", "quantized")
    same = [one for one in _plain(runs) if not one.setup.quantized and one.setup.origin == run.setup.origin
            and one.setup.stage in stages]  # fmt: skip
    return max(same, key=lambda one: bool(one.setup.kind), default=None)


def _plain(runs: Sequence[Run]) -> list[Run]:
    return [run for run in runs if run.setup.usual]


def _differences(results: Results, name: str, heading: str, caption: str, pairs: Pairs) -> Picture:
    """Differences of primary metrics with their intervals: of the first run of each pair less the second."""
    tasks = [task for task in results.tasks if any(one.task == task for *_, found in pairs for one in found)]
    series = {}
    table = []
    for run, _, found in pairs:
        entry, by_task = entry_of(run), {one.task: one for one in found}
        each = [by_task.get(task) for task in tasks]
        series[entry.name] = look(results, entry), [one.difference if one else None for one in each]
        table += [(entry.name, called(one.task), one.n, gap(one)) for one in each if one]
    figure, axes = _dots(series, tasks)
    axes.axvline(0, color=pictures.INK, linewidth=0.8)
    heads = ("model", "task", "n", "difference [interval], p")
    return Picture(name, heading, caption, figure, heads, table, cards=True)


def _sizes(results: Results, runs: Sequence[Run]) -> Picture:
    task = RADS.name if RADS.name in results.tasks else results.tasks[0]
    metric = named(task).metric
    figure, axes = _canvas(2.6 + _legend_height(len(runs)))
    table = []
    for run in runs:
        entry, setup = entry_of(run), run.setup
        found = _estimate(results.row(entry, task))
        seconds = [one.seconds for one in run.answered if one.task == task and one.seconds]
        if not found:
            continue
        way = look(results, entry)
        axes.errorbar(
            [setup.size / 1e6], [found.value], yerr=_reach([found]), fmt=way["marker"], color=way["color"],
            capsize=2, label=pictures.short(entry.name),
        )  # fmt: skip
        took = f"{np.median(seconds):.2f}" if seconds else ""
        table.append((entry.name, setup.kind, f"{setup.size / 1e6:,.1f}", said(results.row(entry, task)), took))
    axes.set_xlabel("MB of weights")
    axes.set_ylabel(measured(metric))
    axes.set_ylim(-0.02, 1.02)
    axes.grid(linewidth=0.4, alpha=0.5)
    _legend(figure, axes)
    return Picture(
        "sizes", "Size and quality", f"{called(task)}, {measured(metric)}: measured points with their 95 % interval.",
        figure, ("model", "weights", "MB", "value [95 % interval]", "median seconds an answer"), table, cards=True,
    )  # fmt: skip


def sureness(results: Results, entry: Entry, answered: Sequence[Answered]) -> Picture:
    """Reliability and risk-coverage of a model's probabilities as they are."""
    given, right = calibration.confidences(answered)
    found = calibration.reliability(given, right)
    figure = pictures.figure(2.1, "", _WIDTH)
    left, other = figure.subplots(1, 2)
    sure = [mean for mean, _ in found.bins]
    way = look(results, entry)
    left.plot([0, 1], [0, 1], linestyle=":", color=pictures.INK, linewidth=0.8)
    left.errorbar(
        sure, [share.value for _, share in found.bins],
        yerr=_reach(share for _, share in found.bins),
        fmt=way["marker"], markersize=4, capsize=2, linewidth=1, color=way["color"],
    )  # fmt: skip
    left.set(xlabel="probability told", ylabel="share right", xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    line = calibration.curve(given, right)
    other.plot([share for share, _ in line], [risk for _, risk in line], color=way["color"], linewidth=1.4)
    other.set(xlabel="share answered, surest first", ylabel="share of these wrong", xlim=(0, 1.02), ylim=(-0.02, 1.02))
    task = answered[0].task
    return Picture(
        f"sure-{zlib.crc32(f'{task} {entry}'.encode())}", f"{entry.name}: reliability",
        f"Expected calibration error {span(found.error, 3)}, Brier score {span(found.brier, 3)}, n={found.n}.",
        figure, ("mean probability", "share right [95 % interval]", "n"),
        [(f"{mean:.2f}", span(share), share.n) for mean, share in found.bins], cards=True,
    )  # fmt: skip
