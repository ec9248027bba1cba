"""Engines that answer batches of questions, each in a process of its own."""

import math
import queue
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from radlite.errors import UserError
from radlite.reader import Reader
from radlite.runtime import child
from radlite.runtime.machine import cores
from radlite.runtime.model import never
from radlite.serving import asking
from radlite.serving.journal import Entry
from radlite.tasks import Reading, named
from radlite.tasks.prompting import OURS, Prompts


@dataclass(frozen=True, slots=True)
class Engine:
    """How a model is opened: `context` in tokens and `threads` as the engine chooses if None, `kind` as in
    `runtime.engine.open_model`, `seconds` of work for an answer at most, `prompts` in which it is asked, `adapter` over
    it if given."""

    path: Path
    context: int | None = None
    threads: int | None = None
    kind: str = "auto"
    seconds: float | None = None
    prompts: Prompts = OURS
    adapter: Path | None = None

    @property
    def files(self) -> tuple[Path, ...]:
        """What it reads."""
        return (self.path, self.adapter) if self.adapter else (self.path,)

    def open(self) -> Reader:
        """Start a process with the model; processes share the memory of the file. `Reader.model.close` ends it."""
        model = child.open_model(
            self.path,
            context_tokens=self.context,
            threads=self.threads,
            engine=self.kind,
            remembered=0,
            adapter=self.adapter,
        )
        return asking.reader(model, self.seconds or math.inf, self.prompts)


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


Batch = Sequence[Question]
"""Questions that are asked together: all tasks of a report one after the other."""


def answers(reader: Reader, batch: Batch, stop: Callable[[], bool] = never) -> Iterator[Entry]:
    """The answers to a batch as they are ready; it ends early once `stop()` is true.

    A report that radlite itself cannot handle, which is a defect, costs its own answer and no other one.
    """
    waiting = dict(enumerate(batch))
    try:
        for number, reading in reader.readings([(one.task, one.inputs) for one in batch], stop):
            question = waiting.pop(number)
            yield question.entry(reading)
    except UserError:
        raise
    except Exception as error:
        if len(batch) == 1:
            why = f"radlite could not handle this report ({type(error).__name__})"
            yield replace(batch[0], status="failed", why=why).entry()
            return
        for question in waiting.values():
            yield from answers(reader, [question], stop)


def ask(engine: Engine, workers: int, work: Iterable[Batch], add: Callable[[Entry], None]) -> None:
    """Have `work` answered by as many engines of this machine, which share its cores unless threads are named; each
    answer is given to `add`, from whichever thread.

    Raises `UserError` if an engine cannot be opened or goes down for good. However it ends, the processes are gone.
    """
    if workers > 1:  # one alone is set as was measured
        engine = replace(engine, threads=engine.threads or max(1, cores() // workers))
    stop = threading.Event()
    opened: list[Reader] = []
    free: queue.SimpleQueue[Reader] = queue.SimpleQueue()

    def open_one() -> None:
        own = engine.open()
        opened.append(own)
        free.put(own)

    def answer(batch: Batch) -> None:
        own = free.get()
        try:
            for entry in answers(own, batch, stop.is_set):
                add(entry)
        finally:
            free.put(own)

    try:
        with ThreadPoolExecutor(workers) as pool:
            try:
                for one in [pool.submit(open_one) for _ in range(workers)]:
                    one.result()
                running: set[Future[None]] = set()
                for batch in work:
                    running.add(pool.submit(answer, batch))
                    if len(running) > workers:  # one more than can be answered, so that none has to wait for it
                        done, running = wait(running, return_when=FIRST_COMPLETED)
                        for one in done:
                            one.result()
                for one in running:
                    one.result()
            finally:
                stop.set()
    finally:
        for reader in opened:
            reader.model.close()
