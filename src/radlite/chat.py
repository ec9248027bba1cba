"""The one renderer: turns to the ids that a model is trained on and asked with."""

import functools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
from jinja2.sandbox import ImmutableSandboxedEnvironment

from radlite.errors import UserError
from radlite.files import read_json, read_text
from radlite.manifest import text_hash, weights_hash
from radlite.tokenizer import Tokenizer

END_OF_TURN = ("<|im_end|>", "<|eot_id|>", "<end_of_turn>", "<|end|>", "</s>")
"""Names of the token that ends a turn; the first that a vocabulary has is used."""


@dataclass(frozen=True, slots=True)
class Turn:
    """One message. `text` is data: no part of it becomes a control token."""

    role: str
    text: str


@dataclass(frozen=True, slots=True)
class Prompt:
    """What is sent to a model: its ids, and the text they spell."""

    ids: tuple[int, ...]
    text: str


class Renderer:
    """Renders turns by a model's own chat template (the Jinja text that ships with it).

    The template runs over placeholders, so that its own text, in which control tokens count, and the turns' text, in
    which they do not, never mix. Stretches of ordinary text are tokenised as one across that border, as the official
    tokenizer would. Templates with a thinking mode are asked for none: for Qwen3 the empty think block becomes part
    of the prompt, in training and at inference alike.
    """

    def __init__(self, tokenizer: Tokenizer, template: str) -> None:
        self.tokenizer = tokenizer
        self.template = template
        end = next((name for name in END_OF_TURN if name in tokenizer.control), None)
        if end is None:
            raise UserError("This model's vocabulary has no end-of-turn token; use an instruction-tuned model.")
        self.end = end
        self.end_id = tokenizer.control[end]
        self._control = re.compile("|".join(map(re.escape, sorted(tokenizer.control, key=len, reverse=True))))

    @classmethod
    def from_folder(cls, folder: Path) -> "Renderer":
        """The renderer of a Hugging Face model folder: its tokenizer.json and its chat template."""
        tokenizer = Tokenizer.from_folder(folder)
        if (folder / "chat_template.jinja").is_file():
            return cls(tokenizer, read_text(folder / "chat_template.jinja", "chat template"))
        settings = folder / "tokenizer_config.json"
        template = read_json(settings, "tokenizer settings").get("chat_template") if settings.is_file() else None
        if not isinstance(template, str) or not template:
            raise UserError(f"{folder} has no chat template; use the folder of an instruction-tuned model.")
        return cls(tokenizer, template)

    @property
    def hash(self) -> str:
        """Digest of the template, for manifests."""
        return text_hash(self.template)

    def prompt(self, turns: Sequence[Turn]) -> Prompt:
        """The prompt that makes the model answer `turns`.

        Raises `UserError` if the template refuses the turns or drops one.
        """
        template = _compiled(self.template)
        marks = [f"\ue000{number}\ue001" for number in range(len(turns))]
        messages = [{"role": turn.role, "content": mark} for turn, mark in zip(turns, marks, strict=True)]
        try:
            rendered = template.render(messages=messages, add_generation_prompt=True, enable_thinking=False)
        except Exception as error:  # foreign code in a sandbox: it may raise anything
            raise UserError(f"The model's chat template refuses these turns ({type(error).__name__}).") from error
        if any(rendered.count(mark) != 1 for mark in marks):
            raise UserError("The model's chat template drops or repeats a turn; use another model.")
        pieces = re.split("\ue000(\\d+)\ue001", rendered)
        return self._encode(
            [
                (piece if even else turns[int(piece)].text, even)
                for even, piece in ((index % 2 == 0, piece) for index, piece in enumerate(pieces))
            ]
        )

    def training(self, prompt: Prompt, answer: str) -> tuple[list[int], list[int]]:
        """Ids and loss mask of one training row: the prompt's very ids, the answer's, the end of turn.

        The mask is 1 on the answer and the end of turn, set by position. The template's line break after the last
        turn is left out: nothing is predicted there.
        """
        target = [*self.tokenizer.encode(answer), self.end_id]
        return [*prompt.ids, *target], [0] * len(prompt.ids) + [1] * len(target)

    def _encode(self, pieces: list[tuple[str, bool]]) -> Prompt:
        """Ids of consecutive (text, whether control tokens count in it)."""
        runs: list[str | int] = [""]
        for text, may_control in pieces:
            start = 0
            for found in self._control.finditer(text) if may_control else ():
                runs[-1] = str(runs[-1]) + text[start : found.start()]
                runs += [self.tokenizer.control[found[0]], ""]
                start = found.end()
            runs[-1] = str(runs[-1]) + text[start:]
        ids: list[int] = []
        for run in runs:
            ids += [run] if isinstance(run, int) else self.tokenizer.encode(run)
        return Prompt(tuple(ids), "".join(text for text, _ in pieces))


def demand_base(made: Mapping[str, Any], adapter: Path, base: Path) -> None:
    """Raise `UserError` unless `base` has the weights and template that the manifest `made` of `adapter` names."""
    if not (base / "config.json").is_file():
        raise UserError(f"{base} has no config.json; give the folder of the base that {adapter} was trained on.")
    if weights_hash(base) != made["base_hash"]:
        raise UserError(f"{adapter} was trained on other weights than {base} holds; give the base it was trained on.")
    if Renderer.from_folder(base).hash != made["template_hash"]:
        raise UserError(f"{adapter} was trained with another chat template than {base} has; give its own base.")


@functools.cache
def _compiled(template: str) -> jinja2.Template:
    # A template comes with a model file, so it is foreign code: it runs in the sandbox.
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    environment.globals["raise_exception"] = _refuse
    try:
        return environment.from_string(template)
    except jinja2.TemplateError as error:
        raise UserError("The model's chat template is not valid Jinja; get the model again.") from error


def _refuse(message: str) -> Any:
    raise jinja2.TemplateError(message)
