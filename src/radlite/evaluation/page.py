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
from radlite.evaluation import choosing, ensembles, glossary
from radlite.evaluation.choosing import Candidate, Withheld
from radlite.evaluation.comparison import Comparison, compare
from radlite.evaluation.estimate import proportion
from radlite.evaluation.figures import SEVERITIES, drawn, sureness, unquantised
from radlite.evaluation.metrics import FEW, Answered, Row
from radlite.evaluation.results import Entry, Results, called, entry_of, gap, measured, said, signed, span, towards
from radlite.evaluation.run import Run
from radlite.files import atomic
from radlite.routing.router import Router
from radlite.runtime import machine
from radlite.tasks import Example, named
from radlite.tasks.rads import RADS

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
    withheld: Sequence[Withheld] = (),
    others: Mapping[str, Sequence[Answered]] | None = None,
) -> None:
    """Write the page, and beside it the same in Markdown (`.md`) but for the pictures, each atomically.

    `facts` are told at the end: command, machine, versions. `texts` are the items, if their text may be shown beside
    wrong answers. `withheld` tells what the limits of the router come to. `others` are the answers behind rows of
    baselines and ensembles, by the name in the rows: what is not there is not compared.

    Raises `UserError` if matplotlib is missing.
    """
    pictures.demand()
    results = Results(rows, runs, others or {})
    split = next((row["split"] for row in rows), "")
    title = f"Evaluation, {split} split" if split else "Evaluation"
    lead = " ".join(_lead(results, facts, split))
    with pictures.style():
        parts = list(_parts(results, facts, texts or {}, router, withheld))
        body = "".join(map(pages.part, parts))
    closed = '<p class="screen">What is closed is not printed: open what you want on paper.</p>'
    with atomic(path) as part:
        part.write_text(pages.page(title, f"<p>{pages.text(lead)}</p>\n{closed}", body), "utf-8")
    with atomic(path.with_suffix(".md")) as part:
        lines = [f"# {title}", "", lead, "", *(line for one in parts for line in pages.markdown(one))]
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


def _lead(results: Results, facts: Mapping[str, str], split: str) -> Iterator[str]:
    if corpus := facts.get("Corpus"):
        yield f"Corpus: {corpus}."
    entries = [*results.models, *results.entries]
    counts = [next((row["n"] for one in entries if (row := results.row(one, task))), 0) for task in results.tasks]
    each = f"{min(counts):,}" if len(set(counts)) == 1 else f"{min(counts):,} to {max(counts):,}" if counts else "0"
    tasks = "1 task" if len(counts) == 1 else f"{len(counts)} tasks"
    yield f"{split.capitalize()} split, {tasks}, {each} items each." if split else f"{tasks}."
    yield _DISCLAIMER


def _parts(
    results: Results, facts: Mapping[str, str], texts: Texts, router: Router | None,
    withheld: Sequence[Withheld],
) -> Iterator[Part]:  # fmt: skip
    if results.models:
        yield _models(results)
        yield _fit(results)
    yield _values(results)
    yield from drawn(results)
    yield from _kinds(results)
    yield from _together(results, router)
    if withheld:
        yield _withheld(withheld)
    yield from _published(results)
    for task in results.tasks:
        yield Chapter(_main(results, task), list(_task(results, task, texts)))
    if any(run.identity for run in results.runs):
        yield _weights(results.runs)
    yield Table("How this was made", ("", ""), list(facts.items()))
    yield Table("Words", ("word", "what it means"), list(glossary.lines(results.rows)))


def _filled(head: Sequence[str], lines: Sequence[Line]) -> tuple[tuple[str, ...], list[Line]]:
    """A table without the columns that are empty throughout."""
    kept = [at for at in range(len(head)) if any(len(line) == 1 or line[at] != "" for line in lines)]
    kept = [at for at in kept if any(len(line) > 1 and line[at] != "" for line in lines)]
    return tuple(head[at] for at in kept), [
        line if len(line) == 1 else tuple(line[at] for at in kept) for line in lines
    ]


def _models(results: Results) -> Table:
    setups = {(run.setup.name, run.setup.stage): run.setup for run in results.runs}
    lines: list[Line] = []
    for at in dict.fromkeys(entry.at for entry in results.models):
        own = [entry for entry in results.models if entry.at == at]
        setup = setups.get((own[0].model, own[0].stage))  # type: ignore[arg-type]
        size = f"{setup.size / 1e6:,.1f}" if setup and setup.size else ""
        ways = ", ".join(entry.way or "no examples" for entry in own)
        lines.append((own[0].model, at.removeprefix(f"{own[0].model}, "), setup.kind if setup else "", size, ways))
    heads = ("model", "stage", "weights", "MB", "solved examples, order of the prompt")
    return Table("Models", *_filled(heads, lines), cards=True)


# What is fit for what


def _fit(results: Results) -> Table:
    """Of each task the best model, held against the best baseline and the next model."""
    baselines = results.compared(results.best, results.baseline)
    rivals = results.compared(results.best, results.next)
    lines: list[Line] = []
    for task, best in results.best.items():
        row = results.row(best, task)
        value = f"{said(row)}, n={row['n']:,}" if row else ""
        baseline, rival = results.baseline.get(task), results.next.get(task)
        lines.append((
            called(task), _verdict(baselines.get(task), baseline), best.name, value,
            results.failures(best, task), _than(baselines.get(task), baseline), _than(rivals.get(task), rival),
        ))  # fmt: skip
    heads = ("task", "verdict", "best model", "value [interval]", "without an answer", "against the best baseline",
             "against the next model")  # fmt: skip
    return Table("Which model for what", *_filled(heads, lines), _FIT, cards=True)


_FIT: Final = (
    "A 95 % interval is for one task alone; p is adjusted for all tasks of its column (Holm's method): so the two can "
    "disagree. Best: the highest value on these very items, which flatters it a little where models are close. Next: "
    "the best model of another base, or where there is none of another stage, kind or way of asking. Both sides "
    "answered the same items; McNemar's exact test where an item is right or wrong, else a randomisation test."
)


def _verdict(one: Comparison | None, baseline: Entry | None) -> str:
    if baseline is None:
        return "no baseline"
    if one is None:
        return f"not compared with {baseline.name}"
    known = {"higher": "above every baseline", "lower": f"below {baseline.name}"}
    return known.get(towards(one), f"not told apart from {baseline.name}")


def _than(one: Comparison | None, other: Entry | None) -> str:
    return f"{other.name}: {gap(one)}" if one and other else ""


def _values(results: Results) -> Table:
    """Every value, task by task."""
    against = {entry: results.compared(dict.fromkeys(results.tasks, entry), results.baseline)
               for entry in (*results.models, *results.ensembles)}  # fmt: skip
    lines: list[Line] = []
    for task in results.tasks:
        best = results.baseline.get(task)
        beside = f"; best baseline: {best.name}" if best else ""
        lines.append((f"{called(task)}, {measured(named(task).metric)}{beside}",))
        for entry in results.entries:
            if row := results.row(entry, task):
                less = gap(against.get(entry, {}).get(task))
                lines.append((entry.name, said(row), row["n"], results.failures(entry, task), less))
    heads = ("model", "value [interval]", "n", "without an answer", "against the best baseline")
    return Table("Results", *_filled(heads, lines), _VALUES, cards=True)


_VALUES: Final = (
    "95 % intervals: Wilson's for shares of right answers, bootstrap over items otherwise. n is every item: those "
    "without an answer score 0. Differences are paired, with p by Holm's method over the tasks of each model."
)


# Several models or files


def _kinds(results: Results) -> Iterator[Table]:
    """What each kind of weights costs and takes, task by task."""
    lines: list[Line] = []
    known = False
    for run in results.runs:
        exact = unquantised(run, results.runs) if run.setup.kind and run.setup.usual else None
        if exact:
            pairs = {} if exact is run else {one.task: one for one in compare(run.answered, exact.answered)}
            known |= bool(pairs)
            lines.append((f"{entry_of(run).name}: {run.setup.kind}, {run.setup.size / 1e6:,.1f} MB",))
            for task in dict.fromkeys(one.task for one in run.answered):
                seconds = [one.seconds for one in run.answered if one.task == task]
                lines.append((called(task), len(seconds), f"{np.median(seconds):.3f}", gap(pairs.get(task))))
    if known:
        yield Table(
            "Kinds of weights", ("task", "n", "median seconds", "against the exact weights"), lines,
            "Primary metric, on the same items. Seconds of an answer are of this run on the machine named below.",
            cards=True,
        )  # fmt: skip


def _together(results: Results, router: Router | None) -> Iterator[Table]:
    """Several models as one: what choosing among them, and putting them together, comes to."""
    candidates = [Candidate(one.own, 0, run.answered) for one in results.last for run in results.runs
                  if entry_of(run) == one]  # fmt: skip
    made, names = results.ensembles, {one.own: one.name for one in results.last}
    if not made:
        return
    lines: list[Line] = []
    for task in results.tasks:
        single = {one.name: found for one in candidates if (found := choosing.value(one, task)) is not None}
        best = max(single, key=single.__getitem__, default="")
        noise = choosing.noise(candidates, router, task) if router and len(single) > 1 else None
        luck = (signed(noise.apparent, 3), signed(noise.honest, 3)) if noise else ("", "")
        oracle = f"{single[best]:.2f}, {names[best]}" if len(single) > 1 else ""
        lines.append((called(task), *(said(results.row(one, task)) for one in made), oracle, *luck))
    heads = ("task", *(one.name for one in made), "oracle", "oracle less router", "of that on other items")
    told = " ".join(words for name, words in _TOGETHER.items() if name in {one.model for one in made})
    words = f"{told} {_ORACLE}" if len(candidates) > 1 else told
    heading = "Router and ensembles" if any(one.model == "router" for one in made) else "Ensembles"
    yield Table(heading, *_filled(heads, lines), words, cards=True)
    if len(candidates) > 1:
        yield from _agreement(candidates)


_TOGETHER: Final = {
    "router": "Router: the model chosen on validation answers.",
    "averaged": "Averaged: the label that is likeliest on average.",
    "consensus": "Consensus: the impression most like the others.",
    "agreed": "Agreed: the label that all give, else nothing, which scores 0.",
}
_ORACLE: Final = (
    "Oracle: the best model on these very items, which nobody can know before. Its advantage is taken on random halves "
    "of the items; what is left of it on the other halves is more than luck."
)


def _agreement(candidates: Sequence[Candidate]) -> Iterator[Table]:
    lines: list[Line] = []
    answered = ensembles.agreed({one.name: one.answered for one in candidates})
    for task in dict.fromkeys(one.task for one in answered):
        given = [one for one in answered if one.task == task]
        sure = [one for one in given if one.label is not None]
        right = proportion(sum(one.label == one.truth for one in sure), len(sure))
        lines.append((called(task), len(given), span(proportion(len(sure), len(given))), span(right) if sure else ""))
    if lines:
        heads = ("task", "n", "share of items [95 % interval]", "of these right [95 % interval]")
        yield Table("Where all models agree", heads, lines, cards=True)


def _withheld(found: Sequence[Withheld]) -> Table:
    lines: list[Line] = []
    for one in found:
        given, wrong = one.kept.coverage, one.kept.wrong
        share = f"{wrong.value:.2f} [{wrong.low:.2f}, {wrong.high:.2f}]" if wrong.n else ""
        lines.append((
            called(one.task), one.model, f"{one.kept.threshold:.2f}", f"{wrong.n:,} of {given.n:,}", share,
            f"{one.risk:.2f}", one.words,
        ))  # fmt: skip
    heads = ("task", "model", "withheld below", "answers given", "share wrong [95 % interval]", "share allowed",
             "whether it holds")  # fmt: skip
    return Table(
        "Answers withheld by the router", heads, lines,
        "An answer less likely than the limit, which validation answers gave, is withheld, so that no larger share of "
        "the answers given is wrong than was allowed.", cards=True,
    )  # fmt: skip


def _published(results: Results) -> Iterator[Table]:
    """The paper's values, where task and metric are the same, beside each model at its last stage."""
    known = json.loads((resources.files("radlite.evaluation") / "published.json").read_text("utf-8"))
    bases = [entry for entry in results.models if entry.stage == "base" and not entry.way]
    tuned = [entry for entry in results.last if entry.stage in ("tuned", "quantized")]
    lines: list[Line] = []
    for one in known["rows"]:
        task, metric = one["task"], one["metric"]
        here = [f"{entry.name} {said(row)}" for entry in (tuned if one["stage"] == "tuned" else bases)
                if (row := results.row(entry, task, metric))]  # fmt: skip
        if here:
            values = ", ".join(f"{name} {one[name]:.3f}" for name in ("qwen2.5", "qwen3") if name in one)
            n = f", n={one['n']}" if "n" in one else ""
            notes = (_INVENTED if _is_synthetic(results, task) else "", one.get("note", ""))
            lines.append((f"{called(task)}, {measured(metric)}", f"{one['stage']}: {values}{n}", "; ".join(here),
                          "; ".join(filter(None, notes))))  # fmt: skip
    if lines:
        yield Table(
            "Beside the published values", *_filled(("task", "published", "here", "note"), lines),
            f"Published: {known['source']}, without intervals. Items and models differ: nothing can be paired, and a "
            "difference here is no evidence of one.", cards=True,
        )  # fmt: skip


_INVENTED: Final = "not comparable: the items here are synthetic"


def _is_synthetic(results: Results, task: str) -> bool:
    answered = results.answered(task)
    return bool(answered) and all("tier synthetic" in one.slices for one in answered)


# One task


def _main(results: Results, task: str) -> str:
    """The heading of a task's chapter: what the best model came to."""
    best = results.best.get(task)
    row = results.row(best, task)
    if not best or not row:
        return called(task)
    failures = results.failures(best, task)
    return ", ".join(filter(None, (f"{called(task)}: {said(row)}", f"n={row['n']:,}", failures, best.name)))


def _task(results: Results, task: str, texts: Texts) -> Iterator[Picture | Table]:
    heads = [entry.name for entry in results.entries]
    own = [row for row in results.rows if row["task"] == task]
    lines: list[Line] = [
        (measured(name), *(said(results.row(entry, task, name)) for entry in results.entries))
        for name in _metrics(results, task, own)
    ]
    yield Table("Metrics", *_filled(("metric", *heads), lines))
    lines = []
    for name in dict.fromkeys(row["slice"] for row in own if row["slice"] != "all"):
        rows = [results.row(entry, task, slice=name) for entry in results.entries]
        n = next((row["n"] for row in rows if row), 0)
        lines.append((name.replace("_", " "), n, *map(said, rows)))
    if lines:
        heads_ = ("slice", "n", *heads)
        yield Table(
            f"Slices, {measured(named(task).metric)}",
            *_filled(heads_, lines),
            f"Few: below {FEW} items, which say little.",
        )
    for run in results.runs:
        answered = [one for one in run.answered if one.task == task]
        if answered and run.setup.usual:
            yield from _of_run(results, entry_of(run), answered, texts)


def _metrics(results: Results, task: str, rows: Sequence[Row]) -> list[str]:
    """The metrics of a task, without those of labels that no item has and of errors that nobody made."""
    answered = results.answered(task)
    true = {label for one in answered for label, (_, _, count) in one.counts.items() if count}
    made = {row["metric"] for row in rows if row["value"]}
    return [
        name for name in dict.fromkeys(row["metric"] for row in rows if row["slice"] == "all")
        if (not name.startswith("f1 ") or not answered or name.removeprefix("f1 ") in true)
        and (not name.startswith("severity ") or name in made)
    ]  # fmt: skip


def _of_run(results: Results, entry: Entry, answered: Sequence[Answered], texts: Texts) -> Iterator[Picture | Table]:
    if named(answered[0].task).labels:
        yield Table(f"{entry.name}: answers (columns) to true labels (lines)", *_confusion(answered))
    if any(one.probabilities for one in answered):
        yield sureness(results, entry, answered)
    wrong = sorted((one for one in answered if _loss(one) > 0), key=lambda one: (-_loss(one), one.id))[:WORST]
    if wrong:
        heads = ("item", "score", "class of error", "no answer", "true answer", "model's answer", "text")
        lines = [_error(one, texts) for one in wrong]
        yield Table(f"{entry.name}: worst errors", *_filled(heads, lines))


def _error(one: Answered, texts: Texts) -> Line:
    item = texts.get((one.task, one.id))
    kind = next((name for name in SEVERITIES if one.values.get(f"severity {name}")), "")
    true = item.answer if item else one.truth or ""
    answer = one.text if true else ""  # free text by itself says nothing, and may quote the report
    text = " ".join(item.inputs.values()) if item else ""
    shown = (" ".join(words.split()) for words in (true, answer, text))
    status = "" if one.status == "ok" else one.status.replace("_", " ")
    return (one.id, f"{_score(one):.2f}", kind.replace("_", " "), status, *shown)


def _score(one: Answered) -> float:
    return one.values.get(named(one.task).metric, float(one.label == one.truth))


def _loss(one: Answered) -> float:
    """How bad an answer is: of RADS by the class of the error, else by the primary metric's shortfall."""
    if one.task == RADS.name:
        return max((at for at, name in enumerate(SEVERITIES) if one.values.get(f"severity {name}")), default=0)
    return 1 - _score(one)


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
    given = [label for label in shown if any(merged[truth, label] for truth in shown)]
    lines: list[Line] = [(truth, *(merged[truth, label] for label in given)) for truth in shown
             if any(merged[truth, label] for label in shown)]  # fmt: skip
    return ("true", *given), lines


def _weights(runs: Sequence[Run]) -> Table:
    """Which files the answers are of."""
    lines = list(dict.fromkeys((entry_of(run).at, run.prompts, run.identity) for run in runs))
    heads = ("model", "digest of the prompts", "digest of the weights")
    return Table("Weights and prompts", heads, lines, "The manifest in a model's file or folder says how it was made.")
