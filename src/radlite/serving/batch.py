"""A table of reports in, a table of answers out: in order, every row once, however often it is interrupted."""

import itertools
import math
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Self

from rich.console import Console

import radlite
from radlite.errors import UserError
from radlite.files import MAX_TEXT_BYTES, exclusive, sha256
from radlite.manifest import text_hash
from radlite.serving import engines, tables
from radlite.serving.asking import fitting, possible, tuning
from radlite.serving.engines import Engine
from radlite.serving.journal import Entry, Journal
from radlite.serving.tables import Row
from radlite.tasks import Reading, named

# Windows and batches are formed from the table alone and always asked whole: engines compute neighbours together, which
# the last digits of a result depend on. So a continued run gives what one without interruption gives.
_WINDOW: Final = 256
"""Rows that are sorted by length together."""
_WINDOW_TEXT: Final = 16 << 20
"""Characters that end a window before it has so many rows."""
_BATCH: Final = 32
"""Reports that are asked together, all tasks of each."""
_TOLD_EVERY: Final = 60.0
"""Seconds between two lines about the progress where there is no terminal."""


@dataclass(frozen=True, slots=True)
class Job:
    """What is asked of which columns of a table, and how the answers are laid out.

    `tasks` is empty where those that fit each report are asked. `texts` are columns by the names of the inputs that
    they hold, `report` at least; `carried` columns go into the result as they are.
    """

    table: Path
    out: Path
    tasks: tuple[str, ...]
    texts: dict[str, str]
    carried: tuple[str, ...]
    wide: bool
    longest: int = MAX_TEXT_BYTES
    """Characters of a text at most."""

    @property
    def journal(self) -> Path:
        """Where the answers are until all are there."""
        return self.out.with_name(f"{self.out.name}.journal")

    @property
    def asked(self) -> tuple[str, ...]:
        """The tasks that a row may be asked."""
        return self.tasks or possible(tuple(self.texts))


@dataclass(frozen=True, slots=True)
class Question:
    """A task to ask of a row of the table: the one numbered `at`, from 0, of the `of` entries that the row has."""

    row: int
    at: int
    of: int
    carried: Mapping[str, Any]
    task: str
    inputs: Mapping[str, str]
    status: str = ""
    """Of one that cannot be asked."""
    why: str = ""

    def entry(self, reading: Reading | None = None) -> Entry:
        """What the journal holds of it."""
        status, warnings = (reading.status, list(reading.warnings)) if reading else (self.status, [self.why])
        entry: Entry = {"row": self.row, "at": self.at, "of": self.of, "carried": dict(self.carried)}
        entry |= {"task": self.task, "status": status, "warnings": warnings}
        if reading:
            entry |= {"model": reading.model, "seconds": round(reading.seconds, 3)}
            entry["confidence"] = None if reading.confidence is None else round(reading.confidence, 4)
            entry["probabilities"] = dict(reading.probabilities)
            if reading.answer is not None:
                entry |= {"answer": named(self.task).render(reading.answer), "structured": asdict(reading.answer)}
        return entry


@dataclass(frozen=True, slots=True)
class Done:
    """What a batch came to: how many rows the table has, and how many answers have each status."""

    rows: int
    statuses: Counter[str]


Mark = Callable[[Question, Reading], Entry]
"""Tells what else the journal holds of an answer."""

Tell = Callable[[int, int, Mapping[str, int]], None]
"""Is told how many rows are complete, how many there are, and how many answers have each status."""


def run(
    job: Job,
    engine: Engine,
    workers: int = 1,
    ray: str = "",
    any_model: bool = False,
    log: Console | None = None,
    tell: Tell | None = None,
    mark: Mark | None = None,
    most: int | None = None,
) -> Done:
    """Have the table answered by as many engines, each in a process of its own, or on the Ray cluster at `ray`.

    Answers are kept in `OUT.journal` as they come, from which the same call goes on after an interruption; at the end
    they become `OUT`, and the journal is removed. The text of reports is written to neither, but answers may quote it.
    `log` is told of the progress, and `tell` at the beginning, about each second, and at the end. With `mark` the
    journal is left, for the caller to take from it what was marked, and then to remove it.

    Raises `UserError` if the table or the model cannot be used, if the table has more than `most` rows, if `OUT` or
    another batch is in the way, or if the result cannot be written.
    """
    columns = _columns(job)
    tables.demand_writable(job.out)
    tuning(engine.path, engine.adapter, any_model)
    with exclusive(job.out):
        if not job.journal.exists():
            _demand_free(job.out)
        # Before the work: what is wrong with a table is told now. No more is counted than is allowed.
        total = sum(1 for _ in itertools.islice(_rows(job), None if most is None else most + 1))
        if most is not None and total > most:
            raise UserError(f"{job.table} has more than {most:,} rows, which are allowed; split it.")
        depends = _depends(job, engine)
        with Journal(job.journal, depends) as journal:
            if journal.rows < total:
                _demand_free(job.out)
            with _Meter(log or Console(quiet=True), journal, total, tell) as meter:
                _ask(job, engine, workers, ray, journal, meter, mark)
            if sha256(job.table) != depends["table"]:
                raise UserError(f"{job.table} was changed while it was read; delete {job.journal} and begin anew.")
            tables.write(job.out, columns, _records(job, journal))
            if not mark:
                journal.remove()
        return Done(journal.rows, journal.statuses)


def _columns(job: Job) -> dict[str, type]:
    """Those of the result. Raises `UserError` if it cannot have them."""
    for name in job.tasks:
        if lacking := [text for text in named(name).inputs if text not in (*job.texts, "premise")]:
            raise UserError(f"The task {name} needs a {lacking[0]}; name its column with --{lacking[0]}.")
    own: dict[str, type] = {"row": int}
    if job.wide:
        for task in job.asked:
            own |= {task: str, f"{task} status": str, f"{task} confidence": float}
        own |= {"warnings": list, "model": str}
    else:
        own |= {"task": str, "status": str, "answer": str, "confidence": float, "warnings": list, "model": str}
        own |= {"seconds": float, "structured": dict, "probabilities": dict}
    for name in job.carried:
        if name == job.texts["report"]:
            raise UserError(f"The reports are not written into {job.out}; carry another column than {name} into it.")
        if name in own:
            raise UserError(f"{job.out} has a column {name} of its own; give that of {job.table} another name.")
    return {"row": int, **dict.fromkeys(job.carried, str), **own}


def _demand_free(out: Path) -> None:
    if out.exists():
        raise UserError(f"{out} is there already; give another OUT, or move it away.")


def _depends(job: Job, engine: Engine) -> dict[str, Any]:
    """First line of the journal: what the answers depend on."""
    asked = [named(name) for name in job.asked]
    return {
        "kind": "batch",
        "radlite": radlite.__version__,
        "table": sha256(job.table),
        "columns": [job.texts, job.carried],
        "tasks": {task.name: text_hash([task.wording, task.max_tokens, task.labels]) for task in asked},
        "prompts": engine.prompts.hash,
        "all": not job.tasks,
        "model": sha256(engine.path),
        **({"adapter": sha256(engine.adapter)} if engine.adapter else {}),
        **(
            {"calibration": {task: asdict(one) for task, one in engine.calibration.items()}}
            if engine.calibration
            else {}
        ),
        "context": engine.context,
        "seconds": engine.seconds,
    }


def _ask(
    job: Job, engine: Engine, workers: int, ray: str, journal: Journal, meter: "_Meter", mark: Mark | None
) -> None:
    """Fill the journal."""

    def add(question: Question, reading: Reading) -> None:
        journal.add(question.entry(reading) | (mark(question, reading) if mark else {}))
        meter.show()

    work = _batches(job, journal)
    if (first := next(work, None)) is None:
        return
    work = itertools.chain([first], work)
    if ray:
        from radlite.serving import cluster

        cluster.ask(engine, workers, ray, work, add)
    else:
        engines.ask(engine, workers, work, add)


def _batches(job: Job, journal: Journal) -> Iterator[list[Question]]:
    """What is still to be asked, all tasks of a report one after the other. The entries of rows that cannot be asked go
    straight into the journal."""
    for window in _windows(_rows(job)):
        if all(journal.has(row.number) for row in window):
            continue
        rows = [_questions(job, row) for row in window]
        reports = [asked for questions in rows if (asked := [one for one in questions if not one.status])]
        reports.sort(key=lambda asked: -sum(map(len, asked[0].inputs.values())))
        for begin in range(0, len(reports), _BATCH):
            batch = list(itertools.chain(*reports[begin : begin + _BATCH]))
            if not all(journal.has(question.row, question.at) for question in batch):
                yield batch
        for question in itertools.chain(*rows):
            if question.status:
                journal.add(question.entry())


def _windows(rows: Iterator[Row]) -> Iterator[list[Row]]:
    window: list[Row] = []
    size = 0
    for row in rows:
        window.append(row)
        size += sum(len(value) for value in row.values.values() if isinstance(value, str))
        if len(window) == _WINDOW or size > _WINDOW_TEXT:
            yield window
            window, size = [], 0
    if window:
        yield window


def _rows(job: Job) -> Iterator[Row]:
    return tables.read(job.table, list(dict.fromkeys([*job.texts.values(), *job.carried])))


def _questions(job: Job, row: Row) -> list[Question]:
    """The entries that a row is to have, at least one."""
    given = {name: "" if (cell := row.values.get(column)) is None else cell for name, column in job.texts.items()}
    why = row.why or next(
        (f"{job.texts[name]} holds {why}" for name in given if (why := _fault(given[name], job.longest))), ""
    )
    status, tasks = "malformed" if why else "", job.tasks
    if not (tasks or why):
        tasks = fitting(given)
        if not given["report"].strip():
            status, why = "no_text", "no report"
        elif not tasks:
            status, why = "not_applicable", "no task fits this text"
    given["premise"] = given["report"]
    carried = {name: tables.plain(row.values.get(name)) for name in job.carried}
    questions = []
    for at, task in enumerate(tasks or ("",)):
        texts = {name: given[name] for name in named(task).inputs} if not why else {}
        empty = next((name for name, text in texts.items() if not text.strip()), "")
        lacking = ("no_text", f"no {empty}") if empty else (status, why)
        questions.append(Question(row.number, at, len(tasks) or 1, carried, task, texts, *lacking))
    return questions


def _fault(text: Any, longest: int) -> str:
    """Why a cell is no text that can be asked about; empty if it is one."""
    if not isinstance(text, str):
        return "no text"
    return "binary content" if "\0" in text else f"more than {longest:,} characters" if len(text) > longest else ""


def _records(job: Job, journal: Journal) -> Iterator[dict[str, Any]]:
    """The rows of the result."""
    for entries in journal.in_order():
        base = {"row": entries[0]["row"], **entries[0]["carried"]}
        if not job.wide:
            yield from ({**entry, **base} for entry in entries)
            continue
        for entry in entries:
            for task in [entry["task"]] if entry["task"] else job.asked:
                base |= {task: entry.get("answer"), f"{task} status": entry["status"]}
                base[f"{task} confidence"] = entry.get("confidence")
        told = [f"{entry['task']}: {why}" if entry["task"] else why for entry in entries for why in entry["warnings"]]
        yield {**base, "warnings": told, "model": next((one["model"] for one in entries if "model" in one), None)}


class _Meter:
    """Tells how far a batch is: on a terminal in one line that changes, elsewhere a line now and then."""

    def __init__(self, log: Console, journal: Journal, total: int, tell: Tell | None) -> None:
        self._log, self._journal, self._total, self._tell = log, journal, total, tell
        self._passed_on = 0.0
        self._begun = self._told = time.monotonic()
        self._before = journal.rows
        self._status = log.status("radlite: opening the model") if log.is_terminal else None

    def __enter__(self) -> Self:
        if self._status:
            self._status.start()
        self._pass_on()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if not kind:
            self._pass_on()
        if self._status:
            self._status.stop()
        if kind and issubclass(kind, KeyboardInterrupt | SystemExit):
            self._say(f"interrupted; {self._journal.entries:,} answers are kept, and the same command goes on.")

    def show(self) -> None:
        """Tell how far it is, unless that was told of late. From any thread."""
        now = time.monotonic()
        if now - self._passed_on >= 1:
            self._pass_on()
        if now - self._told < (1 if self._status else _TOLD_EVERY) or self._journal.rows == self._before:
            return
        self._told = now
        hourly = (self._journal.rows - self._before) / (now - self._begun) * 3600
        left = (self._total - self._journal.rows) / hourly
        told = f"{self._journal.rows:,} of {self._total:,} reports, {hourly:,.0f} an hour, {_span(left)} left"
        if self._status:
            self._status.update(f"radlite: {told}")
        else:
            self._say(f"{told}.")

    def _pass_on(self) -> None:
        self._passed_on = time.monotonic()
        if self._tell:
            self._tell(self._journal.rows, self._total, dict(self._journal.statuses))

    def _say(self, text: str) -> None:
        self._log.print(f"radlite: {text}", soft_wrap=True, markup=False, highlight=False)


def _span(hours: float) -> str:
    minutes = math.ceil(hours * 60)
    return f"{minutes // 60} h {minutes % 60:02} min" if minutes >= 60 else f"{minutes} min"
