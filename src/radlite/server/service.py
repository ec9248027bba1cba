"""What the routes stand on: the models, the queue before them, and what is kept of what they answer."""

import functools
import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from radlite.rads import systems
from radlite.routing.detection import detect
from radlite.server.desk import Desk, Work
from radlite.server.guard import Caller
from radlite.server.log import Log
from radlite.server.readers import Question, Readers
from radlite.server.settings import Settings
from radlite.server.wire import Read, Refused, demand_named, demand_text
from radlite.serving.asking import fitting
from radlite.tasks import Reading, known, named


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

    @property
    def tasks(self) -> list[str]:
        """Names, in the order in which they are asked."""
        return [one.task for one in self.questions]


class Service:
    """Everything but HTTP. `failing` is called if the models cannot be opened; `desk.failed` then says why."""

    def __init__(self, settings: Settings, log: Log, failing: Callable[[], None] = lambda: None) -> None:
        self.settings = settings
        self.log = log
        self.readers = Readers(settings)
        self.desk = Desk(
            self._open, self.readers.close, settings.queue, settings.caller_queue, settings.request_seconds, failing,
            log.defect,
        )  # fmt: skip
        self.begun = int(time.time())
        """When it was started, in seconds since 1970."""
        self._streams = 0

    def _open(self) -> None:
        self.readers.open()
        self.log.write("ready", models=self.readers.names)

    def start(self) -> None:
        """Begin to open the models."""
        self.desk.start()

    def stopping(self) -> None:
        """Take no more work, and give what is in hand its last seconds."""
        self.desk.stop(self.settings.stop_seconds)

    def close(self) -> None:
        """Finish what is in hand, and end everything."""
        self.desk.close(self.settings.stop_seconds)

    def take_stream(self) -> Callable[[], None]:
        """Take a place among the streams; it is given back by what is returned. Raises `Refused` if there is none."""
        if self._streams >= self.settings.streams:
            raise Refused(429, "streams", "Too many answers are being streamed; ask again later.", 5)
        self._streams += 1
        return self._give_stream_back

    def _give_stream_back(self) -> None:
        self._streams -= 1

    def bundle(self, answers: Sequence[Answered]) -> dict[str, Any] | None:
        """A FHIR R4 Bundle of the answers."""
        return None

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
        return Panel(tuple(self._question(name, given, asked.system) for name in names), asked.system)

    def _question(self, name: str, given: Mapping[str, str], system: str | None) -> Question:
        inputs = {text: given.get(text, "") for text in named(name).inputs}
        if lacking := next((text for text, value in inputs.items() if not value.strip()), None):
            raise Refused(422, "empty", f"The task {name} needs a {lacking} that is not empty; send it.")
        return Question(name, inputs | ({"system": system} if system and name == "rads_assignment" else {}))

    def ask(self, caller: Caller, panel: Panel) -> Work:
        """Queue a panel; gives `Answered`s. Raises `Refused`."""
        return self.desk.put(caller.turn, functools.partial(self._answers, caller, panel.questions))

    def _answers(self, caller: Caller, questions: Sequence[Question], stop: Callable[[], bool]) -> Iterator[Answered]:
        for number, reading in self.readers.readings(questions, stop):
            yield Answered(number, reading, self.record(caller, questions[number], reading))

    def record(self, caller: Caller, question: Question, reading: Reading) -> str:
        """Note an answer before it leaves; its id."""
        return secrets.token_hex(16)
