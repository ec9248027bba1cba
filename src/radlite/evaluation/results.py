"""The rows of an evaluation, to be looked up, with the answers behind them: which model does best, and beside what."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from radlite.evaluation.comparison import Comparison, compare
from radlite.evaluation.estimate import Estimate
from radlite.evaluation.metrics import FEW, Answered, Row
from radlite.evaluation.run import Run
from radlite.tasks import named

_STAGES: Final = {"base": "base", "tuned": "tuned", "quantized": "tuned quantized"}
"""Stages of one model, from the first to the last, as a page calls them; any other stage is a model of its own."""
_FAILURES: Final = {
    "unreadable": "unread", "abstained": "withheld", "severity abstained": "withheld", "too_long": "too long",
}  # fmt: skip
_SHORT: Final = {"rads", "ner", "nli", "qa"}


@dataclass(frozen=True, slots=True)
class Entry:
    """What result rows are of: a model at a stage and in a way of asking, a baseline, or an ensemble."""

    stage: str
    model: str
    shots: int = 0
    asked: str = ""

    @property
    def is_model(self) -> bool:
        return self.stage not in ("baseline", "ensemble")

    @property
    def own(self) -> str:
        """The model that this is a stage of."""
        return self.model if self.stage in _STAGES else f"{self.model}, {self.stage}"

    @property
    def order(self) -> tuple[bool, int]:
        """Asked in the usual way after the others, late stages after early ones."""
        stages = list(_STAGES)
        return not (self.shots or self.asked), stages.index(self.stage) if self.stage in stages else len(stages)

    @property
    def way(self) -> str:
        """How it is asked; empty in the usual way."""
        return " ".join(filter(None, (f"{self.shots}-shot" if self.shots else "", self.asked)))

    @property
    def at(self) -> str:
        """Model and stage."""
        return f"{self.model}, {_STAGES.get(self.stage, self.stage)}" if self.is_model else self.name

    @property
    def name(self) -> str:
        """What it is called on every table and picture."""
        if not self.is_model:
            return "TF-IDF" if self.model == "tfidf" else self.model
        return " ".join(filter(None, (self.at, self.way)))


class Results:
    """Result rows with the runs they are of. `others` are the answers behind rows of baselines and ensembles, by name,
    as far as they are at hand."""

    def __init__(self, rows: Sequence[Row], runs: Sequence[Run], others: Mapping[str, Sequence[Answered]]) -> None:
        self.rows, self.runs = rows, runs
        self.tasks = list(dict.fromkeys(row["task"] for row in rows))
        self.entries = list(dict.fromkeys(map(_entry, rows)))
        self._rows = {(_entry(row), row["task"], row["metric"], row["slice"]): row for row in rows}
        self._answered: dict[Entry, Sequence[Answered]] = {entry_of(run): run.answered for run in runs}
        for entry in self.entries:
            if not entry.is_model and entry.model in others:
                self._answered[entry] = others[entry.model]
        self._base = {entry_of(run): run.setup.origin for run in runs if run.setup.stage in _STAGES}
        self.models = [entry for entry in self.entries if entry.is_model]
        self.ensembles = [entry for entry in self.entries if entry.stage == "ensemble"]
        self.last = self._last()
        """Each model at its last stage, asked in the usual way."""
        self.best = self._best(self.models)
        """Of each task the model with the highest value: of those alike the one at the latest stage."""
        self.next = self._next()
        """Of each task the best model of another base; if there is none, of another stage, kind or way of asking."""
        self.baseline = self._best([entry for entry in self.entries if entry.stage == "baseline"])
        """Of each task the baseline with the highest value."""

    def row(self, entry: Entry | None, task: str, metric: str = "", slice: str = "all") -> Row | None:
        """The row of an entry in a task; of the primary metric if none is named."""
        return self._rows.get((entry, task, metric or named(task).metric, slice)) if entry else None

    def failures(self, entry: Entry, task: str) -> str:
        """How many items have no answer, and why; empty if all have one."""
        counts: dict[str, int] = {}
        for metric, word in _FAILURES.items():
            row = self.row(entry, task, metric)
            if row and (count := round(row["value"] * row["n"])):
                counts[word] = count
        return ", ".join(f"{count:,} {word}" for word, count in counts.items())

    def answered(self, task: str) -> list[Answered]:
        """All answers to a task that are at hand."""
        return [one for found in self._answered.values() for one in found if one.task == task]

    def compared(self, first: Mapping[str, Entry], second: Mapping[str, Entry]) -> dict[str, Comparison]:
        """Task by task one entry against another on the same items, with Holm's method over these tasks; without the
        tasks whose answers are not at hand."""
        ours: list[Answered] = []
        theirs: list[Answered] = []
        for task in (task for task in first if task in second):
            pair = [self._part(side[task], task) for side in (first, second)]
            if all(pair) and first[task] != second[task]:
                ours += pair[0]
                theirs += pair[1]
        return {one.task: one for one in compare(ours, theirs)} if ours else {}

    def _part(self, entry: Entry, task: str) -> list[Answered]:
        if not self.row(entry, task):
            return []
        return [one for one in self._answered.get(entry, ()) if one.task == task]

    def _last(self) -> list[Entry]:
        found: dict[str, Entry] = {}
        for entry in self.models:
            if not entry.way and (entry.own not in found or entry.order > found[entry.own].order):
                found[entry.own] = entry
        return list(found.values())

    def _best(self, entries: Sequence[Entry]) -> dict[str, Entry]:
        return {task: best for task in self.tasks if (best := self._highest(entries, task))}

    def _next(self) -> dict[str, Entry]:
        found: dict[str, Entry] = {}
        for task, best in self.best.items():
            base = self._base.get(best, best.own)
            others = [entry for entry in self.models if self._base.get(entry, entry.own) != base]
            rest = others or [entry for entry in self.models if entry != best]
            if following := self._highest(rest, task):
                found[task] = following
        return found

    def _highest(self, entries: Sequence[Entry], task: str) -> Entry | None:
        values = {entry: row["value"] for entry in entries if (row := self.row(entry, task))}
        return max(values, key=lambda entry: (round(values[entry], 9), entry.order), default=None)


def entry_of(run: Run) -> Entry:
    """What the rows of a run are of."""
    return Entry(run.setup.stage, run.setup.name, run.setup.shots, run.setup.asked)


def _entry(row: Row) -> Entry:
    return Entry(row["stage"], row["model"], row["shots"], row["asked"])


def called(task: str) -> str:
    """A task's name for people."""
    name = " ".join(word.upper() if word in _SHORT else word for word in task.split("_"))
    return name[:1].upper() + name[1:]


def measured(metric: str) -> str:
    """A metric's name for people; that of a label stays as it is."""
    name, *label = metric.split(" ", 1)
    if name == "severity":
        return label[0].replace("_", " ")
    return " ".join([name.replace("_", " ").replace("f1", "F1").replace("rouge l", "ROUGE-L"), *label])


def said(row: Row | None) -> str:
    """A value with its interval."""
    if row is None:
        return ""
    return f"{row['value']:.2f} [{row['low']:.2f}, {row['high']:.2f}]{' (few)' if row['n'] < FEW else ''}"


def span(found: Estimate, digits: int = 2) -> str:
    """The same of an estimate."""
    return f"{found.value:.{digits}f} [{found.low:.{digits}f}, {found.high:.{digits}f}]"


def signed(number: float, digits: int = 2) -> str:
    """A difference, its sign before it also where that is plus."""
    return f"{number:+.{digits}f}".replace("-", "\N{MINUS SIGN}")


def gap(one: Comparison | None) -> str:
    """A difference with its interval, in words, and the probability by Holm's method."""
    if one is None:
        return ""
    found = one.difference
    value, low, high = map(signed, (found.value, found.low, found.high))
    p = "p<0.001" if one.adjusted < 0.001 else f"p={one.adjusted:.3f}"
    return f"{value} [{low}, {high}], {towards(one)}, {p}"


def towards(one: Comparison) -> str:
    """Whether the first of two is higher or lower."""
    return {"A is higher": "higher", "B is higher": "lower"}.get(one.words, one.words)
