"""Engines that answer batches of questions, each in a process of its own."""

import math
import queue
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol, TypeVar

from radlite.errors import UserError
from radlite.reader import Chooser, Reader
from radlite.routing.router import Calibration
from radlite.runtime import child
from radlite.runtime.machine import cores
from radlite.runtime.model import never
from radlite.serving import asking
from radlite.tasks import Example, Reading
from radlite.tasks.prompting import OURS, Prompts


@dataclass(frozen=True, slots=True)
class Engine:
    """How a model is opened and asked: `context` in tokens and `threads` as the engine chooses if None, `kind` as in
    `runtime.engine.open_model`, `seconds` of work for an answer at most, `prompts` in which it is asked, `adapter` over
    it if given, `shots`, `choose` and `calibration` as in `Reader`."""

    path: Path
    context: int | None = None
    threads: int | None = None
    kind: str = "auto"
    seconds: float | None = None
    prompts: Prompts = OURS
    adapter: Path | None = None
    shots: Mapping[str, Sequence[Example]] = field(default_factory=dict)
    choose: Chooser | None = None
    calibration: Mapping[str, Calibration] = field(default_factory=dict)

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
        return asking.reader(
            model, self.seconds or math.inf, self.prompts, self.calibration, shots=self.shots, choose=self.choose
        )


class Question(Protocol):
    """A task and the texts that it is asked of; an `Example` is one."""

    @property
    def task(self) -> str: ...

    @property
    def inputs(self) -> Mapping[str, str]: ...


Q = TypeVar("Q", bound=Question)


def answers(
    reader: Reader, batch: Sequence[Question], stop: Callable[[], bool] = never
) -> Iterator[tuple[int, Reading]]:
    """The answers to questions that are asked together, as they are ready, each with the number of its question; it
    ends early once `stop()` is true.

    A report that radlite itself cannot handle, which is a defect, costs its own answer and no other; it is `failed`.
    """
    waiting = dict.fromkeys(range(len(batch)))
    try:
        for number, reading in reader.readings([(one.task, one.inputs) for one in batch], stop):
            del waiting[number]
            yield number, reading
    except UserError:
        raise
    except Exception as error:
        if len(batch) == 1:
            why = f"radlite could not handle this report ({type(error).__name__})"
            yield 0, Reading(batch[0].task, "failed", None, "", warnings=(why,), model=reader.model.name)
            return
        for number in waiting:
            yield from ((number, reading) for _, reading in answers(reader, [batch[number]], stop))


def ask(engine: Engine, workers: int, work: Iterable[Sequence[Q]], add: Callable[[Q, Reading], None]) -> int:
    """Have batches of questions answered by as many engines of this machine, which share its cores unless threads are
    named; each question and its answer are given to `add`, from whichever thread. Returns how often one had to be
    started again.

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

    def answer(batch: Sequence[Q]) -> None:
        own = free.get()
        try:
            for number, reading in answers(own, batch, stop.is_set):
                add(batch[number], reading)
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
                return sum(reader.model.restarts for reader in opened if isinstance(reader.model, child.ChildModel))
            finally:
                stop.set()
    finally:
        for reader in opened:
            reader.model.close()
