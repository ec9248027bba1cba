"""What the routes stand on: the models, the queue before them, and what is kept of what they answer."""

import contextlib
import functools
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import radlite
from radlite.chat import Turn
from radlite.errors import UserError
from radlite.rads import systems
from radlite.routing.detection import detect
from radlite.runtime.model import Completion
from radlite.server import fhir
from radlite.server.audit import Audit, noted
from radlite.server.desk import Desk, Work
from radlite.server.guard import Caller
from radlite.server.jobs import Jobs
from radlite.server.ledger import Ledger
from radlite.server.log import Log
from radlite.server.metrics import Metrics
from radlite.server.readers import Question, Readers
from radlite.server.reviews import Reviews
from radlite.server.settings import Settings
from radlite.server.wire import Read, Refused, Review, demand_named, demand_text
from radlite.serving.asking import fitting
from radlite.tasks import Reading, known, named

FREE: Final = "chat"
"""The name of the model in free chat."""
_HEAD_EVERY = 3600.0
"""Seconds."""
_LOOK_EVERY = 3.0
"""Seconds between looks at whether the engines live."""


@dataclass(frozen=True, slots=True)
class Answered:
    """An answer, the number of its question, and the id of its entry in the audit log."""

    number: int
    reading: Reading
    id: str


@dataclass(frozen=True, slots=True)
class Panel:
    """What is asked of one report."""

    questions: tuple[Question, ...]
    system: str | None
    given: Mapping[str, str]
    """The texts that came with it."""
    subject: str = ""
    """Whom it is about, as FHIR refers to him."""

    @property
    def tasks(self) -> list[str]:
        """Names, in the order in which they are asked."""
        return [one.task for one in self.questions]


class Service:
    """Everything but HTTP. `failing` is called if the models cannot be opened; `desk.failed` then says why.

    Raises `UserError` if models, state folder or its files cannot be used.
    """

    def __init__(self, settings: Settings, log: Log, failing: Callable[[], None] = lambda: None) -> None:
        self.settings = settings
        self.log = log
        self.readers = Readers(settings)
        self.metrics = Metrics()
        self.desk = Desk(
            self._open, self.readers.close, settings.queue, settings.caller_queue, settings.request_seconds, failing,
            self.metrics.waited, log.defect,
        )  # fmt: skip
        self.begun = int(time.time())
        """When it was started, in seconds since 1970."""
        folder = settings.folder
        self.audit = Audit(folder / "audit", settings.audit_bytes)
        self.reviews = Reviews(folder / "reviews.jsonl", settings.keep_reviews)
        self.jobs = Jobs(
            folder / "jobs", settings, log, self._note_job, self._ledger, self.audit.key,
            lambda: next(iter(self.readers.files.values()), {}),
        )  # fmt: skip
        self._streams = 0
        self._over = threading.Event()
        self._watch()

    def _note_job(self, **facts: Any) -> None:
        self.audit.add("job", **facts, models=self.readers.digests, settings=self._digest)

    def _ledger(self, job: str, user: str, journal: Path) -> Ledger:
        return Ledger(self.audit, job, user, journal, self._digest)

    def _watch(self) -> None:
        watch = self.metrics.watch
        watch("radlite_waiting", "Reports that wait for the engine.", lambda: self.desk.waiting)
        watch("radlite_busy", "Whether the engine is at work.", lambda: self.desk.busy)
        watch("radlite_ready", "Whether reports are answered.", lambda: self.ready)
        watch("radlite_streams", "Answers that are being streamed.", lambda: self._streams)
        watch("radlite_engine_restarts", "How often an engine was started again.", lambda: self.readers.restarts)
        for status in ("waiting", "running", "failed"):
            watch(
                f"radlite_jobs_{status}", f"Batch jobs that are {status}.", functools.partial(self.jobs.counts, status)
            )

    def _open(self) -> None:
        self.readers.open()
        self.audit.add("start", radlite=radlite.__version__, models=self.readers.digests, settings=self._digest)
        self.log.write("ready", models=self.readers.names)
        self.jobs.start()
        threading.Thread(target=self._look_after, daemon=True).start()

    def start(self) -> None:
        """Begin to open the models."""
        self.desk.start()
        threading.Thread(target=self._tell_head, daemon=True).start()

    @property
    def ready(self) -> bool:
        """Whether reports are answered."""
        return self.desk.ready and not self.readers.broken

    def _look_after(self) -> None:
        """Start engines again that have ended, so that none waits for it, and say what became of it."""
        while not self._over.wait(_LOOK_EVERY):
            before = self.readers.broken, self.readers.restarts
            self.readers.revive()
            if (self.readers.broken, self.readers.restarts) != before:
                self.log.write("engine", restarts=self.readers.restarts, broken=self.readers.broken)

    def _tell_head(self) -> None:
        """Write the head of the audit log into the log of events now and then, which is kept elsewhere."""
        while not self._over.wait(_HEAD_EVERY):
            with contextlib.suppress(UserError):
                self._log_head()

    def _log_head(self) -> None:
        head = self.audit.head()
        self.log.write("audit", entries=head.entries, head=head.hash)

    def stopping(self) -> None:
        """Take no more work, and give what is in hand its last seconds."""
        self.desk.stop(self.settings.stop_seconds)
        threading.Thread(target=self._halt, daemon=True).start()

    def _halt(self) -> None:
        self._over.set()
        self.jobs.stop()

    def close(self) -> None:
        """Finish what is in hand, and end everything."""
        self._halt()
        self.desk.close(self.settings.stop_seconds)
        try:
            self.audit.add("stop")
            self._log_head()
            self.audit.close()
        except UserError as error:
            self.log.defect(error)
        self.reviews.close()

    @property
    def names(self) -> list[str]:
        """The tasks, and free chat where it is offered: what may be named as a model."""
        return [*known(), *([FREE] if self.settings.chat else [])]

    def take_stream(self) -> Callable[[], None]:
        """Take a place among the streams; it is given back by what is returned. Raises `Refused` if there is none."""
        if self._streams >= self.settings.streams:
            raise Refused(429, "streams", "Too many answers are being streamed; ask again later.", 5)
        self._streams += 1
        return self._give_stream_back

    def _give_stream_back(self) -> None:
        self._streams -= 1

    def bundle(self, panel: Panel, answers: Sequence[Answered]) -> dict[str, Any]:
        """A FHIR R4 Bundle of the answers to a panel, in the order of its tasks."""
        answers = sorted(answers, key=lambda one: one.number)
        return fhir.bundle(
            [one.reading for one in answers],
            [one.id for one in answers],
            self.readers.files,
            datetime.now(UTC),
            panel.given,
            panel.subject,
        )

    def detect(self, report: str) -> Any:
        """The tasks that fit a report."""
        demand_text(report, "report", self.settings.report_characters, needed=True)
        return detect(report)

    def panel(self, asked: Read) -> Panel:
        """What a request asks. Raises `Refused` if it cannot be asked."""
        most = self.settings.report_characters
        demand_text(asked.report, "report", most, needed=True)
        given = {"report": asked.report, "premise": asked.report}
        for name in ("question", "hypothesis"):
            demand_text(text := getattr(asked, name), name, most)
            given[name] = text
        if asked.system is not None:
            demand_named(systems(), asked.system, "system", "GET /v1/tasks lists the RADS systems")
        names = fitting(given) if asked.tasks is None else tuple(dict.fromkeys(asked.tasks))
        for at, name in enumerate(asked.tasks or ()):
            demand_named(known(), name, f"tasks[{at}]", "GET /v1/tasks lists the tasks")
        try:
            fhir.demand_reference(asked.subject)
        except UserError as error:
            raise Refused(422, "invalid", str(error)) from error
        questions = tuple(self._question(name, given, asked.system) for name in names)
        if asked.tasks is None:
            questions = tuple(one for one in questions if not self.readers.why_not(one))
        elif why := next(filter(None, map(self.readers.why_not, questions)), ""):
            raise Refused(422, "unrouted", why)
        return Panel(questions, asked.system, {**given, "premise": ""}, asked.subject)

    def _question(self, name: str, given: Mapping[str, str], system: str | None) -> Question:
        inputs = {text: given.get(text, "") for text in named(name).inputs}
        if lacking := next((text for text, value in inputs.items() if not value.strip()), None):
            raise Refused(422, "empty", f"The task {name} needs a {lacking} that is not empty; send it.")
        return Question(name, inputs | ({"system": system} if system and name == "rads_assignment" else {}))

    def ask(self, caller: Caller, panel: Panel) -> Work:
        """Queue a panel; gives `Answered`s. Raises `Refused`."""
        return self.desk.put(caller.turn, functools.partial(self._answers, caller, panel.questions))

    def _answers(self, caller: Caller, questions: Sequence[Question], stop: Callable[[], bool]) -> Iterator[Answered]:
        left = dict(enumerate(questions))
        try:
            for number, reading in self.readers.readings(questions, stop):
                id = self._noted(caller, left.pop(number), reading)
                self.metrics.answer(reading)
                yield Answered(number, reading, id)
        finally:
            with contextlib.suppress(UserError):  # no answer leaves
                for question in left.values():
                    self._noted(caller, question, Reading(question.task, "failed", None, ""), cancelled=stop())

    def _noted(self, caller: Caller, question: Question, reading: Reading, cancelled: bool = False) -> str:
        """Note an answer before it leaves; its id. Raises `UserError` if it cannot be noted: it does not leave then."""
        inputs = {name: text for name, text in question.inputs.items() if name != "system"}
        facts = noted(reading, inputs, self.audit.digest, question.inputs.get("system"))
        sha256 = self.readers.digests.get(reading.model, "")
        facts |= {"status": "cancelled"} if cancelled else {}
        return self.audit.answer(facts, caller.request, caller.user, reading.model, sha256, self._digest)

    def review(self, caller: Caller, asked: Review) -> str:
        """Keep a review, and note that there is one; its id. Raises `Refused`."""
        most = self.settings.report_characters
        inputs = {str(name): text for name, text in (asked.inputs or {}).items()}
        for name, text in {"answer": asked.answer, "corrected": asked.corrected or "", **inputs}.items():
            demand_text(text, name, most)
        demand_named(known(), asked.task, "task", "GET /v1/tasks lists the tasks")
        self._demand_given(asked, inputs)
        try:
            id = self.reviews.add(
                asked.answer_id,
                asked.task,
                asked.action,
                asked.answer,
                asked.corrected,
                asked.note,
                inputs,
                caller.user,
            )
        except UserError as error:
            if isinstance(error.__cause__, OSError):  # the disk's fault, not the caller's
                raise
            raise Refused(422, "invalid", str(error)) from error
        self.audit.review(id, asked.answer_id, asked.task, asked.action, caller.user, asked.corrected or "")
        return id

    def _demand_given(self, asked: Review, inputs: Mapping[str, str]) -> None:
        """Raise `Refused` unless this server gave that answer to those texts, as far as its log still holds it."""
        entry = self.audit.entry(asked.answer_id)
        if entry is None or (entry and entry["kind"] != "answer"):
            raise Refused(422, "unknown_answer", "answer_id is of no answer of this server; give the id of the answer.")
        if not entry:
            return
        facts, given = entry["facts"], {"premise": inputs.get("report", ""), **inputs}
        digests = {name: self.audit.digest(text) for name, text in given.items() if text.strip()}
        wrong = [name for name, digest in digests.items() if facts["inputs"].get(name, digest) != digest]
        if facts["task"] != asked.task:
            wrong.append("task")
        if asked.answer.strip() and facts["answer"] != self.audit.digest(asked.answer):
            wrong.append("answer")
        if wrong:
            raise Refused(422, "other_answer", f"{wrong[0]} is not that of the answer with this id; send it as it was.")

    def talk(self, caller: Caller, turns: Sequence[Turn], tokens: int) -> Work:
        """Queue an answer in free chat; gives a `Completion`. Raises `Refused`."""

        said = self.audit.digest("\n".join(turn.text for turn in turns))

        def note(status: str, completion: Completion | None = None) -> None:
            answer = self.audit.digest(completion.text) if completion else ""
            name = self.readers.names[0]
            self.audit.add(
                "chat", request=caller.request, user=caller.user, inputs={"messages": said}, answer=answer,
                status=status, model={"name": name, "sha256": self.readers.digests[name]}, settings=self._digest,
            )  # fmt: skip

        def run(stop: Callable[[], bool]) -> Iterator[Completion]:
            found = [*self.readers.chat(turns, tokens, stop)]
            if not found:
                note("cancelled")
                return
            [completion] = found
            if completion is None:
                note("too_long")
                raise Refused(413, "too_long", "The conversation does not fit the model's window; shorten it.")
            if completion.stop_reason == "failed":
                note("failed")
                raise Refused(503, "failed", "The engine ended twice over this; ask in other words.", 10)
            read, known, written = completion.prompt_tokens, completion.cached_tokens, completion.generated_tokens
            self.metrics.tokens(read, known, written)
            note("ok", completion)
            yield completion

        return self.desk.put(caller.turn, run)

    @functools.cached_property
    def _digest(self) -> str:
        return self.readers.settings_digest
