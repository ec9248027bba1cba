"""The results on one page: what a sceptical reviewer, a radiologist and a regulator ask of them."""

import json
import shlex
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Final

import numpy as np

from radlite import manifest
from radlite.data import pages, pictures
from radlite.data.pages import Cell, Chapter, Part, Picture, Table
from radlite.evaluation import choosing, ensembles
from radlite.evaluation.choosing import Candidate
from radlite.evaluation.comparison import Comparison, compare
from radlite.evaluation.estimate import proportion
from radlite.evaluation.figures import (
    GRAVEST,
    Values,
    by_place,
    drawn,
    said,
    span,
    sureness,
    titled,
    unquantised,
    value_of,
)  # fmt: skip
from radlite.evaluation.metrics import FEW, Answered, Row
from radlite.evaluation.report import NOTE, Column, columns_of
from radlite.evaluation.run import Run
from radlite.files import atomic
from radlite.routing.router import Router
from radlite.runtime import machine
from radlite.tasks import Example, named

Line = tuple[Cell, ...]
Texts = Mapping[tuple[str, str], Example]
"""Items by task and id."""

WORST: Final = 10
"""Wrong answers of each model and task that are listed."""
_MOST: Final = 12
"""Labels of a confusion matrix; the others are summed."""
_DISCLAIMER: Final = (
    "Research software, not a medical device: these numbers are of the items named here, and say nothing of other "
    "hospitals, scanners or ways of dictating. Whether a model is fit for use, those have to judge who answer for it."
)


def write(
    path: Path,
    rows: Sequence[Row],
    runs: Sequence[Run],
    facts: Mapping[str, str],
    texts: Texts | None = None,
    router: Router | None = None,
) -> None:
    """Write the page, and beside it the same in Markdown (`.md`) but for the pictures, each atomically.

    `facts` are told at the end: command, machine, versions. `texts` are the items, if their text may be shown beside
    wrong answers. Raises `UserError` if matplotlib is missing.
    """
    pictures.demand()
    tasks = {row["task"] for row in rows}
    models = {row["model"] for row in rows if row["stage"] not in ("baseline", "ensemble")}
    split = next((row["split"] for row in rows), "")
    lead = f"Split: {split}; tasks: {len(tasks)}; models: {len(models)}. {_DISCLAIMER}"
    with pictures.style():
        parts = list(_parts(rows, runs, facts, texts or {}, router))
        body = "".join(map(pages.part, parts))
    with atomic(path) as part:
        part.write_text(pages.page("Evaluation", f"<p>{pages.text(lead)}</p>", body), "utf-8")
    with atomic(path.with_suffix(".md")) as part:
        lines = ["# Evaluation", "", lead, "", *(line for one in parts for line in pages.markdown(one))]
        part.write_text("\n".join(lines) + "\n", "utf-8")


def facts(**own: str) -> dict[str, str]:
    """What a page says of how it was made: the command, the time, versions and machine, and `own` facts."""
    made, here = manifest.describe("results"), machine.describe()
    return {
        "Command": shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "Made": made["created"],
        "radlite": made["radlite"],
        "Versions": ", ".join(f"{name} {version}" for name, version in made["versions"].items()),
        "Machine": f"{here.cpu}, {here.cores} cores",
        **own,
    }


def _parts(
    rows: Sequence[Row], runs: Sequence[Run], facts: Mapping[str, str], texts: Texts, router: Router | None
) -> Iterator[Part]:
    columns, values = columns_of(rows), by_place(rows)
    tasks = list(dict.fromkeys(row["task"] for row in rows))
    yield _summary(values, columns, tasks)
    yield from drawn(values, runs, columns, tasks)
    yield from _ladder(runs)
    yield from _together(values, runs, columns, tasks, router)
    yield from _published(rows)
    for task in tasks:
        yield Chapter(task.replace("_", " "), list(_task(task, rows, values, runs, columns, texts)))
    if runs:
        yield _asked(runs)
    yield Table("How this was made", ("", ""), list(facts.items()))


def _asked(runs: Sequence[Run]) -> Table:
    """Which files the answers are of, and how they were asked."""
    lines: list[Line] = [
        (one.name, one.stage, one.kind, f"{one.size / 1e6:,.1f}" if one.size else "", one.shots, one.asked, run.prompts,
         run.identity)
        for run in runs for one in (run.setup,)
    ]  # fmt: skip
    heads = ("model", "stage", "weights", "MB", "solved examples", "asked", "prompts", "digest of the weights")
    return Table("Models", heads, lines, "The manifest in a model's file or folder says how it was made.")


def _summary(values: Values, columns: Sequence[Column], tasks: Sequence[str]) -> Table:
    lines: list[Line] = []
    for task in tasks:
        metric = named(task).metric
        cells = [value_of(values, column, task, metric) for column in columns]
        n = next((cell["n"] for cell in cells if cell), 0)
        best = max((cell["value"] for cell in cells if cell), default=None)
        lines.append((task.replace("_", " "), metric, n, *(said(cell, best) for cell in cells)))
    heads = ("task", "metric", "n", *map(titled, columns))
    return Table("Results", heads, lines, NOTE.replace("Under", "Beside").replace("Bold", "Marked *"))


def _ladder(runs: Sequence[Run]) -> Iterator[Table]:
    """What each kind of weights costs and takes, task by task."""
    lines: list[Line] = []
    for run in runs:
        exact = unquantised(run, runs) if run.setup.kind and run.setup.usual else None
        if exact:
            pairs = {} if exact is run else {one.task: one for one in compare(run.answered, exact.answered)}
            lines += [
                (f"{run.setup.name}, {run.setup.kind}", f"{run.setup.size / 1e6:,.1f}", task.replace("_", " "),
                 *_cost([one.seconds for one in run.answered if one.task == task]), *_loss_of(pairs.get(task)))
                for task in dict.fromkeys(one.task for one in run.answered)
            ]  # fmt: skip
    if any(line[-1] for line in lines):
        yield Table(
            "Kinds of weights",
            (
                "file, kind",
                "MB",
                "task",
                "n",
                "median seconds",
                "less exact weights (95 % interval)",
                "by Holm's method",
            ),
            lines,
            "Primary metric, on the same items. Seconds of an answer are of this run on the machine named below.",
        )


def _cost(seconds: Sequence[float]) -> tuple[int, str]:
    return len(seconds), f"{np.median(seconds):.3f}"


def _loss_of(one: Comparison | None) -> tuple[str, str]:
    if one is None:
        return "", ""
    gap = one.difference
    words = one.words.replace("A is", "this file is").replace("B is", "exact is")
    return f"{gap.value:+.3f} ({gap.low:+.3f} to {gap.high:+.3f})", words


def _together(
    values: Values, runs: Sequence[Run], columns: Sequence[Column], tasks: Sequence[str], router: Router | None
) -> Iterator[Table]:
    """Several models as one: what choosing among them, and putting them together, comes to."""
    candidates = choosing.candidates(runs)
    made = [column for column in columns if column.stage == "ensemble"]
    if len(candidates) < 2 or not made:
        return
    lines: list[Line] = []
    for task in tasks:
        metric = named(task).metric
        single = {one.name: found for one in candidates if (found := choosing.value(one, task)) is not None}
        if single:
            best = max(single, key=single.__getitem__)
            noise = choosing.noise(candidates, router, task) if router else None
            luck = (f"{noise.apparent:+.3f}", f"{noise.honest:+.3f}") if noise else ("", "")
            cells = [said(value_of(values, column, task, metric)) for column in made]
            lines.append((task.replace("_", " "), metric, *cells, f"{single[best]:.2f}, {best}", *luck))
    heads = ("oracle", "oracle less router", "of that on other items")
    yield Table("Router and ensembles", ("task", "metric", *map(titled, made), *heads), lines, _TOGETHER)
    yield from _agreement(candidates)


_TOGETHER: Final = (
    "Router: the model chosen on validation answers. Averaged: the label that is likeliest on average. Consensus: the "
    "impression most like the others. Agreed: the label that all give, else nothing, which scores 0. Oracle: the best "
    "model on these very items, which nobody can know before. Its advantage is taken on random halves of the items; "
    "what is left of it on the other halves is more than luck."
)


def _agreement(candidates: Sequence[Candidate]) -> Iterator[Table]:
    lines: list[Line] = []
    answered = ensembles.agreed({one.name: one.answered for one in candidates})
    for task in dict.fromkeys(one.task for one in answered):
        given = [one for one in answered if one.task == task]
        sure = [one for one in given if one.label is not None]
        right = proportion(sum(one.label == one.truth for one in sure), len(sure))
        lines.append((task.replace("_", " "), len(given), span(proportion(len(sure), len(given))), span(right)))
    if lines:
        heads = ("task", "n", "share of items (95 % interval)", "of these right (95 % interval)")
        yield Table("Where all models agree", heads, lines)


def _published(rows: Sequence[Row]) -> Iterator[Table]:
    """The paper's values, where task and metric are the same."""
    known = json.loads((resources.files("radlite.evaluation") / "published.json").read_text("utf-8"))
    lines: list[Line] = []
    for one in known["rows"]:
        ours = [row for row in rows if (row["task"], row["metric"], row["slice"]) == (one["task"], one["metric"], "all")
                and (row["stage"] == one["stage"] or (one["stage"] == "tuned" and row["stage"] == "quantized"))
                and not row["shots"] and not row["asked"]]  # fmt: skip
        for row in ours:
            values = ", ".join(f"{name} {one[name]:.3f}" for name in ("qwen2.5", "qwen3") if name in one)
            n = f", n={one['n']}" if "n" in one else ""
            lines.append((one["task"].replace("_", " "), one["metric"], one["stage"], f"{values}{n}",
                          f"{row['model']}, {row['stage']}: {said(row)}", one.get("note", "")))  # fmt: skip
    if lines:
        yield Table(
            "Beside the published values",
            ("task", "metric", "stage", "published", "here (95 % interval)", "note"), lines,
            f"Published: {known['source']}, without intervals. Items and models differ: nothing can be paired, and a "
            "difference here is no evidence of one.",
        )  # fmt: skip


def _task(
    task: str, rows: Sequence[Row], values: Values, runs: Sequence[Run], columns: Sequence[Column], texts: Texts
) -> Iterator[Picture | Table]:
    own = [row for row in rows if row["task"] == task]
    heads = tuple(map(titled, columns))
    metrics = dict.fromkeys(row["metric"] for row in own if row["slice"] == "all")
    yield Table(
        "Metrics", ("metric", *heads),
        [(name, *(said(value_of(values, column, task, name)) for column in columns)) for name in metrics],
    )  # fmt: skip
    metric = named(task).metric
    lines: list[Line] = []
    for name in dict.fromkeys(row["slice"] for row in own if row["slice"] != "all"):
        cells = [value_of(values, column, task, metric, name) for column in columns]
        n = next((cell["n"] for cell in cells if cell), 0)
        lines.append((name, n, *map(said, cells)))
    if lines:
        yield Table(f"Slices, {metric}", ("slice", "n", *heads), lines, f"Few: below {FEW} items, which say little.")
    for run in runs:
        answered = [one for one in run.answered if one.task == task]
        if answered and run.setup.usual:
            yield from _of_run(f"{run.setup.name}, {run.setup.kind or run.setup.stage}", answered, texts)


def _of_run(title: str, answered: Sequence[Answered], texts: Texts) -> Iterator[Picture | Table]:
    if named(answered[0].task).labels:
        yield Table(f"{title}: answers (columns) to true labels (lines)", *_confusion(answered))
    if any(one.probabilities for one in answered):
        yield sureness(title, answered)
    wrong = sorted((one for one in answered if _loss(one) > 0), key=lambda one: (-_loss(one), one.id))[:WORST]
    if not wrong:
        return
    lines: list[Line] = []
    for one in wrong:
        kind = next((name.removeprefix("severity ") for name, value in one.values.items()
                     if name.startswith("severity ") and value), one.status)  # fmt: skip
        item = texts.get((one.task, one.id))
        shown = (item.answer if item else one.truth or "", one.text) if item or one.truth else ("", "")
        report = (" ".join(item.inputs.values()) if item else "",) if texts else ()
        lines.append((one.id, kind, *(" ".join(text.split()) for text in (*shown, *report))))
    heads = ("item", "error", "true answer", "model's answer", *(("text",) if texts else ()))
    yield Table(f"{title}: worst errors", heads, lines)


def _loss(one: Answered) -> float:
    """How bad an answer is: of RADS by the class of the error, else by the primary metric's shortfall."""
    for at, name in enumerate(GRAVEST):
        if one.values.get(f"severity {name}"):
            return len(GRAVEST) - at
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
