"""A report in, a Reading out: the one path of evaluation, command line and server."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Literal

from radlite.chat import Prompt, Turn
from radlite.errors import UserError
from radlite.runtime.model import Completion, Model, Request
from radlite.tasks import SYSTEM, Example, Reading, Task, named

Style = Literal["cue", "instruction"]


def turns(task: Task, inputs: Mapping[str, str], style: Style = "cue", shots: Sequence[Example] = ()) -> list[Turn]:
    """The whole conversation that asks `task` of `inputs`: system, solved examples if any, texts, task.

    Solved examples are asked by cue in any style: they show the form themselves, and the window is small.
    """
    asked = [Turn("system", SYSTEM)]
    for shot in shots:
        asked += [Turn("user", text) for text in task.turns(shot.inputs)]
        asked.append(Turn("assistant", shot.answer))
    return asked + [Turn("user", text) for text in task.turns(inputs, style)]


class Reader:
    """Asks a model tasks about reports.

    `style` is `cue` for models tuned by RadLite and `instruction` for others; `shots` are solved examples per task;
    `constrain` holds answers from a closed set to the task's grammar.
    """

    def __init__(
        self,
        model: Model,
        style: Style = "cue",
        shots: Mapping[str, Sequence[Example]] | None = None,
        constrain: bool = True,
    ) -> None:
        self.model = model
        self.style: Style = style
        self.shots = shots or {}
        self.constrain = constrain

    def prompt(self, task: Task, inputs: Mapping[str, str]) -> Prompt:
        """The prompt sent for `task` on `inputs`."""
        return self.model.renderer.prompt(turns(task, inputs, self.style, self.shots.get(task.name, ())))

    def read(self, task: str, inputs: Mapping[str, str]) -> Reading:
        """Ask one task. Raises `UserError` for an unknown task, or one input missing or empty."""
        return next(self.read_many([(task, inputs)]))

    def read_many(self, questions: Iterable[tuple[str, Mapping[str, str]]]) -> Iterator[Reading]:
        """Ask many (task, inputs), answers in order. What does not fit the context comes back as `too_long`."""
        asked = [(named(task), inputs) for task, inputs in questions]
        prompts = [self.prompt(task, inputs) for task, inputs in asked]
        fits = [self._fits(prompt, task) for prompt, (task, _) in zip(prompts, asked, strict=True)]
        completions = self.model.complete(
            [Request(prompt, task.max_tokens, task.grammar if self.constrain else ())
             for prompt, (task, _), fit in zip(prompts, asked, fits, strict=True) if fit]
        )  # fmt: skip
        for (task, _), prompt, fit in zip(asked, prompts, fits, strict=True):
            yield self._reading(task, next(completions)) if fit else self._too_long(task, prompt)

    def _fits(self, prompt: Prompt, task: Task) -> bool:
        return len(prompt.ids) + task.max_tokens <= self.model.context_tokens

    def _reading(self, task: Task, completion: Completion) -> Reading:
        answer = task.read(completion.text) if completion.stop_reason == "end" else None
        return Reading(
            task=task.name,
            status="unreadable" if answer is None else "ok",
            answer=answer,
            text=completion.text,
            warnings=() if completion.stop_reason == "end" else ("the answer was cut at the task's token limit",),
            model=self.model.name,
            stop_reason=completion.stop_reason,
            tokens={
                "prompt": completion.prompt_tokens,
                "cached": completion.cached_tokens,
                "generated": completion.generated_tokens,
            },
            seconds=completion.seconds,
        )

    def _too_long(self, task: Task, prompt: Prompt) -> Reading:
        need, have = len(prompt.ids) + task.max_tokens, self.model.context_tokens
        return Reading(
            task=task.name,
            status="too_long",
            answer=None,
            text="",
            warnings=(f"report and answer need {need:,} tokens, the model's window holds {have:,}",),
            model=self.model.name,
            tokens={"prompt": len(prompt.ids), "cached": 0, "generated": 0},
        )


def demand_fit(reading: Reading) -> Reading:
    """`reading`, or a `UserError` if the report was too long for the model."""
    if reading.status == "too_long":
        raise UserError(
            f"The report is too long: {reading.warnings[0]}; shorten it or use a model with a larger window."
        )
    return reading
