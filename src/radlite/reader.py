"""A report in, a Reading out: the one path of evaluation, command line and server."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from radlite.chat import Prompt, Turn
from radlite.errors import UserError
from radlite.routing.router import Calibration, tempered
from radlite.runtime.grammar import longest
from radlite.runtime.model import NEGLIGIBLE, Completion, Model, Request, in_order, never
from radlite.tasks import TASKS, Example, Reading, Task, named
from radlite.tasks.prompting import OURS, Prompts
from radlite.tasks.task import Status, Style

CUT = {
    "length": "the answer was cut at the task's token limit",
    "time": "the answer was cut at the limit of time",
    "failed": "the engine ended twice over this report",
    "too_long": "report and answer do not fit the server's window",
}
_UNANSWERED: dict[str, Status] = {"failed": "failed", "too_long": "too_long"}
REWORDED = "the model was tuned with another wording of this task"


Chooser = Callable[[str, Mapping[str, str], Sequence[Example]], Sequence[Example]]
"""Task, inputs and the solved examples there are, to those that are shown."""


def turns(
    task: Task,
    inputs: Mapping[str, str],
    style: Style = "cue",
    shots: Sequence[Example] = (),
    prompts: Prompts = OURS,
) -> list[Turn]:
    """The whole conversation that asks `task` of `inputs`: system, solved examples if any, texts and task.

    Solved examples are asked by cue in any style: they show the form themselves, and the window is small.
    """
    asked = [Turn("system", prompts.system)] if prompts.system else []
    for shot in shots:
        asked += [Turn("user", text) for text in prompts.turns(task, shot.inputs)]
        asked.append(Turn("assistant", prompts.written(task, shot.answer)))
    return asked + [Turn("user", text) for text in prompts.turns(task, inputs, style)]


@dataclass(frozen=True, slots=True)
class Asked:
    """Questions to a model: the requests, the numbers and texts of the questions they are of, and the readings of those
    that do not fit its context."""

    requests: list[Request]
    numbers: list[int]
    questions: list[tuple[Task, Mapping[str, str]]]
    unasked: list[tuple[int, Reading]]


class Reader:
    """Asks a model tasks about reports.

    `style` is `cue` for models tuned by RadLite and `instruction` for others; `shots` are solved examples per task;
    `constrain` holds answers to the task's grammar. `tuned` is task to the wording that the model was tuned with, if
    that is known: a reading warns of another one. `probabilities` of the labels cost a question or two more to the
    model where labels begin alike; those that together are less likely than `least` are not told. An answer is cut
    after `seconds` of work. `prompts` are for a model of others that is asked in another order or other words; a model
    that radlite tuned is warned of. `choose` picks those of the solved examples that an item is asked beside; all of
    them without it. `calibration` puts the probabilities of a task's labels right; an answer that is then less likely
    than its threshold is withheld.
    """

    def __init__(
        self,
        model: Model,
        style: Style = "cue",
        shots: Mapping[str, Sequence[Example]] | None = None,
        constrain: bool = True,
        tuned: Mapping[str, str] | None = None,
        probabilities: bool = True,
        seconds: float = math.inf,
        least: float = NEGLIGIBLE,
        prompts: Prompts = OURS,
        choose: Chooser | None = None,
        calibration: Mapping[str, Calibration] | None = None,
    ) -> None:
        self.model = model
        self.style: Style = style
        self.shots = shots or {}
        self.constrain = constrain
        self.tuned = tuned or {}
        self.probabilities = probabilities
        self.seconds = seconds
        self.least = least
        self.prompts = prompts
        self.choose = choose
        self.calibration = calibration or {}

    def prompt(self, task: Task, inputs: Mapping[str, str]) -> Prompt:
        """The prompt sent for `task` on `inputs`."""
        shots = self.shots.get(task.name, ())
        if shots and self.choose:
            shots = self.choose(task.name, inputs, shots)
        return self.model.renderer.prompt(turns(task, inputs, self.style, shots, self.prompts))

    def read(self, task: str, inputs: Mapping[str, str]) -> Reading:
        """Ask one task. Raises `UserError` for an unknown task, or one input missing or empty."""
        return next(self.read_many([(task, inputs)]))

    def read_many(self, questions: Iterable[tuple[str, Mapping[str, str]]]) -> Iterator[Reading]:
        """Ask many (task, inputs), answers in order. What does not fit the context comes back as `too_long`."""
        return in_order(self.readings(questions))

    def readings(
        self, questions: Iterable[tuple[str, Mapping[str, str]]], stop: Callable[[], bool] = never
    ) -> Iterator[tuple[int, Reading]]:
        """As `read_many`, but each answer as soon as it is ready, with the number of its question.

        It ends early, within one step of the engine, once `stop()` is true.
        """
        asked = self.asked(questions)
        yield from asked.unasked
        for at, completion in self.model.complete(asked.requests, stop):
            yield asked.numbers[at], self.reading(asked, at, completion)

    def asked(self, questions: Iterable[tuple[str, Mapping[str, str]]]) -> "Asked":
        """What the model is to be asked for these (task, inputs), without asking it."""
        found = Asked([], [], [], [])
        for number, (name, inputs) in enumerate(questions):
            task = self.prompts.asked(named(name))
            prompt = self.prompt(task, inputs)
            if self._fits(prompt, task):
                found.numbers.append(number)
                found.questions.append((task, inputs))
                found.requests.append(self.request(prompt, task, inputs))
            else:
                found.unasked.append((number, self._too_long(task, prompt)))
        return found

    def reading(self, asked: "Asked", at: int, completion: Completion) -> Reading:
        """What the model's completion of the request at this place comes to."""
        return self._reading(*asked.questions[at], completion)

    def request(self, prompt: Prompt, task: Task, inputs: Mapping[str, str]) -> Request:
        """What the model is asked to complete, for `task` on `inputs` by this prompt.

        Raises `UserError` if a user's limit is too low for a label: the other labels would be given in its place.
        """
        grammar = task.grammar(inputs) if self.constrain else ()
        if task is not TASKS.get(task.name):
            need = longest(grammar, self.model.renderer.tokenizer)
            if need > task.max_tokens:
                raise UserError(
                    f"{task.name} has max_tokens {task.max_tokens}, but its longest label needs {need}; raise it."
                )
        wanted = bool(grammar and task.probabilities and (self.probabilities or task.name in self.calibration))
        return Request(
            prompt,
            task.max_tokens,
            grammar,
            alternatives=wanted,
            least=self.least,
            draft=task.draft(inputs),
            kind=task.name,
            seconds=self.seconds,
        )

    def _fits(self, prompt: Prompt, task: Task) -> bool:
        return len(prompt.ids) + task.max_tokens <= self.model.context_tokens

    def _reading(self, task: Task, inputs: Mapping[str, str], completion: Completion) -> Reading:
        answer = task.read(completion.text) if completion.stop_reason == "end" else None
        told = task.probabilities(completion.alternatives) if task.probabilities else {}
        sure = completion.probability if task.labels else None
        known = self.calibration.get(task.name, Calibration())
        if task.labels and answer is not None:
            told = tempered(told, len(task.labels), known.temperature)
            sure = told.get(task.label(answer), sure)
        doubted = sure is not None and sure < known.threshold
        held = task.ground(answer, inputs) if answer is not None and not doubted else None
        answered: Status = "unreadable" if answer is None else "abstained" if doubted else "ok"
        return Reading(
            task=task.name,
            status=_UNANSWERED.get(completion.stop_reason, answered),
            answer=held and held.answer,
            text=completion.text,
            confidence=sure,
            probabilities=told,
            evidence=held.evidence if held else (),
            warnings=(
                *((CUT[completion.stop_reason],) if completion.stop_reason in CUT else ()),
                *((REWORDED,) if self._reworded(task) else ()),
                *((f"its probability {sure:.2f} is below the limit {known.threshold:.2f}",) if doubted else ()),
                *(held.warnings if held else ()),
            ),
            model=self.model.name,
            wording=self.prompts.wording(task),
            stop_reason=completion.stop_reason,
            tokens={
                "prompt": completion.prompt_tokens,
                "cached": completion.cached_tokens,
                "generated": completion.generated_tokens,
            },
            seconds=completion.seconds,
        )

    def _reworded(self, task: Task) -> bool:
        asked = self.prompts.wording(task)
        return self.tuned.get(task.name, task.wording if self.style == "cue" else asked) != asked

    def _too_long(self, task: Task, prompt: Prompt) -> Reading:
        need, have = len(prompt.ids) + task.max_tokens, self.model.context_tokens
        return Reading(
            task=task.name,
            status="too_long",
            answer=None,
            text="",
            warnings=(f"report and answer need {need:,} tokens, the model's window holds {have:,}",),
            model=self.model.name,
            wording=self.prompts.wording(task),
            tokens={"prompt": len(prompt.ids), "cached": 0, "generated": 0},
        )


def demand_fit(reading: Reading) -> Reading:
    """`reading`, or a `UserError` if the report was too long for the model."""
    if reading.status == "too_long":
        raise UserError(
            f"The report is too long: {reading.warnings[0]}; shorten it or use a model with a larger window."
        )
    return reading
