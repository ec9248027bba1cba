"""A corpus in pictures: one HTML page that needs nothing besides itself, and a PNG of each picture for papers."""

import functools
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from radlite.data import corpus, pages, pictures
from radlite.data.pages import Picture
from radlite.data.split import SPLITS
from radlite.errors import UserError
from radlite.files import atomic
from radlite.tasks import Example, named

MOST = 20
"""Bars of one kind that are shown at most; the rest is summed."""


@dataclass
class Counts:
    """What the pictures show, from one pass over the rows. Its size does not depend on their number."""

    rows: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    """By task and split."""
    lengths: dict[str, Counter[int]] = field(default_factory=lambda: defaultdict(Counter))
    """By task: how many rows have inputs of so many tokens or words."""
    labels: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    """By task, where it has labels; of RADS assignment the systems."""
    sources: Counter[str] = field(default_factory=Counter)
    licences: Counter[str] = field(default_factory=Counter)
    tiers: Counter[str] = field(default_factory=Counter)


def write(
    folder: Path, out: Path, weights: Mapping[str, float], tokens: Callable[[str], int] | None = None
) -> list[Path]:
    """Write the page `out` on the corpus `folder`, and beside it `{stem of out}-{picture}.png`; returns all paths.

    `weights`: how often an epoch shows each training row of a task, 1 where it says nothing. `tokens` counts the tokens
    of a text; without it, words between blanks are counted. No text of reports is written.

    Raises `UserError` if matplotlib is missing, `folder` is no corpus, or the place cannot be written.
    """
    pictures.demand()
    made = corpus.describe(folder)
    if out.resolve().is_relative_to(folder.resolve()):
        raise UserError(f"{out} lies in the corpus, which holds nothing else; choose a place outside it with --out.")
    counts = count(corpus.scan(folder), tokens)
    files: dict[Path, bytes] = {}
    sections = []
    with pictures.style():
        for picture in _pictures(counts, made, weights, "tokens" if tokens else "words"):
            png = out.with_name(f"{out.stem}-{picture.name}.png")
            files[png] = pictures.saved(picture.figure, "png")
            sections.append(pages.section(picture, pictures.saved(picture.figure, "svg"), png.name))
    page = _page(folder.absolute().name, made, counts, sections)
    files[out] = page.encode()
    if strange := [path for path in files if path.exists() and not path.is_file()]:
        raise UserError(f"{strange[0]} is there and is no file; choose another place with --out.")
    for path, data in files.items():
        with atomic(path) as part:
            part.write_bytes(data)
    return [out, *(path for path in files if path != out)]


def count(examples: Iterable[Example], tokens: Callable[[str], int] | None = None) -> Counts:
    """Count the rows, `tokens` as in `write`."""
    counts = Counts()
    for row in examples:
        counts.rows[row.task][row.split] += 1
        counts.lengths[row.task][
            sum(tokens(text) if tokens else len(text.split()) for text in row.inputs.values())
        ] += 1
        counts.sources[row.source] += 1
        counts.licences[row.licence] += 1
        counts.tiers[row.tier] += 1
        if (label := _label(row.task, row.answer)) is not None:
            counts.labels[row.task][label] += 1
    return counts


@functools.lru_cache(1 << 12)
def _label(name: str, answer: str) -> str | None:
    task = named(name)
    if not task.labels:
        return None
    return (task.group or task.label)(task.read(answer))


# Pictures


def _pictures(counts: Counts, made: Mapping[str, Any], weights: Mapping[str, float], unit: str) -> Iterable[Picture]:
    yield _overview(counts, weights)
    yield _lengths(counts, unit)
    yield _splits(counts)
    yield _taken_out(counts, made)
    yield _shares(counts)
    if counts.labels:
        yield _labels(counts)


def _overview(counts: Counts, weights: Mapping[str, float]) -> Picture:
    tasks = sorted(counts.rows, key=lambda task: (-counts.rows[task]["train"], task))
    rows = [counts.rows[task]["train"] for task in tasks]
    shown = [weights.get(task, 1.0) * number for task, number in zip(tasks, rows, strict=True)]
    systems = _most(counts.labels.get("rads_assignment", Counter()))
    split = Counter({name: sum(by[name] for by in counts.rows.values()) for name in SPLITS})
    below = max(len(systems), len(SPLITS))
    heights = [0.4 * len(tasks) + 0.6, 0.24 * below + 0.4]
    figure = pictures.figure(sum(heights) + 0.5, f"What the corpus has (n = {split.total():,} rows)")
    grid = figure.add_gridspec(2, 2 if systems else 1, height_ratios=heights)
    top = figure.add_subplot(grid[0, :])
    pictures.bars(
        top, tasks, {"training rows": rows, "rows × weight": shown},
        [f"{number:,} × {weights.get(task, 1.0):g} = {_number(total)}"
         for task, number, total in zip(tasks, rows, shown, strict=True)],
        stacked=False,
    )  # fmt: skip
    top.set_title(f"Training rows and what an epoch shows of them (n = {sum(rows):,})", loc="left")
    left = figure.add_subplot(grid[1, 0])
    pictures.bars(left, list(split), {"rows": list(split.values())}, _percent(split), lines=below)
    left.set_title(f"Splits (n = {split.total():,})", loc="left")
    if systems:
        right = figure.add_subplot(grid[1, 1])
        pictures.bars(right, list(systems), {"rows": list(systems.values())}, _percent(systems), lines=below)
        right.set_title(f"RADS systems (n = {systems.total():,})", loc="left")
    return Picture(
        "overview",
        "Overview",
        "Training rows of each task, and how many of them an epoch shows (rows × weight); rows by split"
        + (" and by RADS system." if systems else "."),
        figure,
        ("Group", "Name", "Rows", "Weight", "Rows × weight"),
        [
            *(("task, training rows", task, number, f"{weights.get(task, 1.0):g}", _number(total))
              for task, number, total in zip(tasks, rows, shown, strict=True)),
            *(("split", name, number, "", "") for name, number in split.items()),
            *(("RADS system", name, number, "", "") for name, number in systems.items()),
        ],
    )  # fmt: skip


def _lengths(counts: Counts, unit: str) -> Picture:
    from matplotlib.ticker import NullFormatter

    tasks = sorted(counts.lengths)
    total = sum(of_task.total() for of_task in counts.lengths.values())
    least = max(1, min(min(of_task) for of_task in counts.lengths.values()))
    greatest = max(max(of_task) for of_task in counts.lengths.values())
    edges = _edges(least, greatest)
    ticks = [base * 10**power for power in range(8) for base in (1, 2, 5)]
    ticks = [tick for tick in ticks if edges[0] <= tick <= edges[-1]]
    if edges[-1] / edges[0] > 1000:
        ticks = [tick for tick in ticks if str(tick)[0] == "1"] or ticks
    if len(ticks) < 3:
        ticks = edges
    columns = min(2, len(tasks))
    lines = math.ceil(len(tasks) / columns)
    figure = pictures.figure(1.25 * lines + 0.8, f"Length of the inputs in {unit} (n = {total:,} rows)")
    for at, task in enumerate(tasks):
        axes = figure.add_subplot(lines, columns, at + 1)
        axes.stairs(_binned(counts.lengths[task], edges), edges, fill=True, color=pictures.COLOURS[0])
        middle = _quantile(counts.lengths[task], 0.5)
        axes.axvline(max(1, middle), color=pictures.COLOURS[-1], linewidth=1.5, linestyle="--")
        axes.set_xscale("log")
        axes.set_xticks(ticks, [f"{tick:,}" for tick in ticks])
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_xlim(edges[0], edges[-1])
        axes.locator_params(axis="y", nbins=3, integer=True)
        axes.set_title(f"{pictures.short(task)} (n = {counts.rows[task].total():,}, median {middle:,})", loc="left")
    figure.supxlabel(f"{unit} of a row's inputs (logarithmic)", size="medium")
    figure.supylabel("rows", size="medium")
    quantiles = (0, 0.5, 0.95, 0.99, 1)
    return Picture(
        "lengths",
        "Lengths",
        f"How many rows of each task have inputs of so many {unit}; the broken line is the median.",
        figure,
        ("Task", "Rows", "Least", "Median", "95 % at most", "99 % at most", "Greatest"),
        [
            (task, counts.rows[task].total(), *(_quantile(counts.lengths[task], share) for share in quantiles))
            for task in tasks
        ],
    )


def _splits(counts: Counts) -> Picture:
    tasks = sorted(counts.rows)
    total = sum(by.total() for by in counts.rows.values())
    figure = pictures.figure(0.26 * len(tasks) + 0.9, f"Rows by task and split (n = {total:,})")
    pictures.bars(
        figure.add_subplot(),
        tasks,
        {split: [counts.rows[task][split] for task in tasks] for split in SPLITS},
        [" / ".join(f"{counts.rows[task][split]:,}" for split in SPLITS) for task in tasks],
    )
    return Picture(
        "splits",
        "Splits",
        f"Rows of each task in the splits; the numbers are {' / '.join(SPLITS)}.",
        figure,
        ("Task", *SPLITS, "All"),
        [(task, *(counts.rows[task][split] for split in SPLITS), counts.rows[task].total()) for task in tasks],
    )


def _taken_out(counts: Counts, made: Mapping[str, Any]) -> Picture:
    reasons = _reasons(made)
    sources = list(dict.fromkeys([*made.get("sources", {}), *(source for source, _, _ in reasons), *counts.sources]))
    kinds = list(dict.fromkeys(["not used", "malformed", *made.get("removed", {})]))
    by_kind = {kind: [0] * len(sources) for kind in kinds}
    for (source, kind, _), number in reasons.items():
        by_kind[kind][sources.index(source)] += number
    totals = Counter({source: sum(rows[at] for rows in by_kind.values()) for at, source in enumerate(sources)})
    figure = pictures.figure(
        0.26 * min(len(sources), MOST + 1) + 0.95, f"Rows taken out, by source (n = {totals.total():,})"
    )
    order = list(_most(totals))
    summed = [source for source in sources if source not in order]
    series = {
        kind: [rows[sources.index(name)] if name in totals else sum(rows[sources.index(one)] for one in summed)
               for name in order]
        for kind, rows in by_kind.items()
    }  # fmt: skip
    pictures.bars(
        figure.add_subplot(),
        order,
        series,
        [f"{sum(rows[at] for rows in series.values()):,}" for at in range(len(order))],
    )
    return Picture(
        "removed",
        "What was taken out",
        "Rows of each source that are not in the corpus: not used for a reason of its adapter, malformed, or removed "
        "so that nothing leaks between the splits.",
        figure,
        ("Source", "What", "Reason", "Rows"),
        [(*place, number) for place, number in reasons.items()] or [("all", "", "nothing was taken out", 0)],
    )


def _reasons(made: Mapping[str, Any]) -> Counter[tuple[str, str, str]]:
    """(source, kind, reason) to the number of rows that are not in the corpus."""
    found: Counter[tuple[str, str, str]] = Counter()
    for source, facts in made.get("sources", {}).items():
        for reason, number in facts.get("dropped", {}).items():
            found[source, "not used", reason] += number
        for row in facts.get("malformed", ()):
            found[source, "malformed", row.get("file", "")] += 1
    for kind, places in made.get("removed", {}).items():
        for place, number in places.items():
            task, split, source = place.split("/", 2)
            found[source, kind, f"{task}, {split}"] += number
    return found


def _shares(counts: Counts) -> Picture:
    parts = {"Licences": _most(counts.licences), "Tiers": _most(counts.tiers)}
    figure = _stacked_panels(f"Licences and tiers of the rows (n = {counts.tiers.total():,})", parts)
    return Picture(
        "licences",
        "Licences and tiers",
        "Shares of the rows by the licence of their source, and by who answered them: experts (gold), programs "
        "(silver), the rule that wrote them (synthetic), or a stand-in for the answer (proxy).",
        figure,
        ("Group", "Name", "Rows", "Share"),
        _share_table(parts),
    )


def _labels(counts: Counts) -> Picture:
    parts = {task: _most(counts.labels[task]) for task in sorted(counts.labels)}
    total = sum(part.total() for part in parts.values())
    figure = _stacked_panels(f"Labels of the tasks that have them (n = {total:,} rows)", parts)
    return Picture(
        "labels",
        "Labels",
        "How often each answer is the true one, in all splits; RADS assignment by system.",
        figure,
        ("Task", "Label", "Rows", "Share"),
        _share_table(parts),
    )


# Drawing


def _stacked_panels(title: str, parts: Mapping[str, Counter[str]]) -> Any:
    """A figure with one panel of bars for each of `parts`, all bars equally wide."""
    heights = [0.22 * len(part) + 0.3 for part in parts.values()]
    figure = pictures.figure(sum(heights) + 0.4, title)
    grid = figure.add_gridspec(len(parts), 1, height_ratios=heights)
    for at, (name, part) in enumerate(parts.items()):
        axes = figure.add_subplot(grid[at, 0])
        pictures.bars(axes, list(part), {"rows": list(part.values())}, _percent(part))
        axes.set_title(f"{pictures.short(name)} (n = {part.total():,})", loc="left")
    return figure


def _most(counted: Counter[str]) -> Counter[str]:
    """The most frequent names, those that are left summed as one."""
    ordered = sorted(counted.items(), key=lambda entry: (-entry[1], entry[0]))
    if len(ordered) <= MOST:
        return Counter(dict(ordered))
    rest = ordered[MOST:]
    return Counter({**dict(ordered[:MOST]), f"{len(rest)} others": sum(number for _, number in rest)})


def _percent(counted: Counter[str]) -> list[str]:
    return [f"{number:,} ({_share(number, counted.total())})" for number in counted.values()]


def _share(number: float, total: float) -> str:
    return f"{100 * number / total if total else 0:.1f} %"


def _share_table(parts: Mapping[str, Counter[str]]) -> list[tuple[str, str, int, str]]:
    return [
        (group, name, number, _share(number, part.total()))
        for group, part in parts.items()
        for name, number in part.items()
    ]


def _edges(least: int, greatest: int) -> list[int]:
    """Edges of bins that widen by about a quarter, so that they look equally wide on a logarithmic axis."""
    edges = sorted({round(2 ** (step / 3)) for step in range(3 * greatest.bit_length() + 4)})
    first = max(at for at, edge in enumerate(edges) if edge <= least)
    last = min(at for at, edge in enumerate(edges) if edge > greatest)
    return edges[max(0, first - 1) : last + 2]


def _binned(lengths: Counter[int], edges: Sequence[int]) -> list[int]:
    import bisect

    binned = [0] * (len(edges) - 1)
    for length, number in lengths.items():
        binned[max(0, bisect.bisect_right(edges, length) - 1)] += number
    return binned


def _quantile(lengths: Counter[int], share: float) -> int:
    """The least length that `share` of the rows do not exceed."""
    wanted, seen = share * lengths.total(), 0
    for length in sorted(lengths):
        seen += lengths[length]
        if seen >= wanted:
            return length
    return max(lengths)


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 or value == round(value) else f"{value:,.1f}"


# The page


def _page(name: str, made: Mapping[str, Any], counts: Counts, sections: Sequence[str]) -> str:
    rows = counts.tiers.total()
    sources = made.get("sources", {})
    facts = [
        (
            source,
            *(str(sources.get(source, {}).get(key, "")) for key in ("title", "licence", "access", "tier")),
            counts.sources[source],
        )
        for source in dict.fromkeys([*sources, *sorted(counts.sources)])
    ]
    created = f"; built: {pages.text(str(made.get('created', ''))[:10])}" if made.get("created") else ""
    lead = f"""<p>Rows: {rows:,}; tasks: {len(counts.rows)}; sources: {len(counts.sources)}; data:
{pages.text(str(made.get("data", "")))}{created}. Counts only: no text of reports is on this page.</p>"""
    body = f"""<section>
<h2>Sources</h2>
{pages.table(("Source", "Title", "Licence", "Access", "Tier", "Rows in the corpus"), facts, "Sources")}
</section>
{"".join(sections)}"""
    return pages.page(f"Corpus {name}", lead, body)
