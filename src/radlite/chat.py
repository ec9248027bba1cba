"""The one renderer: turns to the ids that a model is trained on and asked with."""

import functools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
from jinja2.sandbox import ImmutableSandboxedEnvironment

from radlite.errors import UserError
from radlite.files import read_json, read_text
from radlite.manifest import text_hash, weights_hash
from radlite.tokenizer import Tokenizer

END_OF_TURN = ("<|im_end|>", "<|eot_id|>", "<end_of_turn>", "<turn|>", "<|END_OF_TURN_TOKEN|>", "<|end|>", "</s>")
"""Names of the token that ends a turn: the first that the vocabulary has and the template names, else that it has. What
the file itself names as the end comes after these."""

_SPACE = "\u2003"  # white space that no template has of its own
_MARK = re.compile(f"({_SPACE}?)\ue000(\\d{{1,9}})\ue001({_SPACE}?)")


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

    `special` are the names of the tokens that templates know as `bos_token` and `eos_token`; `first` is the id that
    begins every prompt, whether the template writes it or not.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        template: str,
        special: Mapping[str, str] | None = None,
        first: int | None = None,
    ) -> None:
        self.tokenizer = tokenizer
        self.template = template
        self.special = {name: text for name, text in (special or {}).items() if text in tokenizer.control}
        self.first = first
        named = (*END_OF_TURN, self.special.get("eos_token", ""))
        ends = [name for name in named if name in tokenizer.control]
        if not ends:
            raise UserError("This model's vocabulary has no end-of-turn token; use an instruction-tuned model.")
        self.end = next((name for name in ends if name in template), ends[0])
        self.end_id = tokenizer.control[self.end]
        self._control = re.compile("|".join(map(re.escape, sorted(tokenizer.control, key=len, reverse=True))))

    @classmethod
    def from_folder(cls, folder: Path) -> "Renderer":
        """The renderer of a Hugging Face model folder: its tokenizer.json and its chat template."""
        tokenizer = Tokenizer.from_folder(folder)
        path = folder / "tokenizer_config.json"
        settings = read_json(path, "tokenizer settings") if path.is_file() else {}
        template = settings.get("chat_template")
        if (folder / "chat_template.jinja").is_file():
            template = read_text(folder / "chat_template.jinja", "chat template")
        if not isinstance(template, str) or not template:
            raise UserError(f"{folder} has no chat template; use the folder of an instruction-tuned model.")
        named = {name: settings.get(name) for name in ("bos_token", "eos_token")}
        texts = {name: one.get("content") if isinstance(one, dict) else one for name, one in named.items()}
        return cls(tokenizer, template, {name: one for name, one in texts.items() if isinstance(one, str)})

    @property
    def hash(self) -> str:
        """Digest of the template, for manifests."""
        return text_hash(self.template)

    def prompt(self, turns: Sequence[Turn]) -> Prompt:
        """The prompt that makes the model answer `turns`.

        A template that does not take them as they are gets what it takes of: the system text at the head of the first
        user turn, turns of one role in a row as one, or both; a blank line is then between the texts.

        Raises `UserError` if the template refuses or drops turns in all these forms.
        """
        wrong: UserError | None = None
        for form in _forms(turns):
            try:
                return self._encode(self._rendered(form))
            except UserError as error:
                wrong = wrong or error
        assert wrong
        raise wrong

    def _rendered(self, turns: Sequence[Turn]) -> list[tuple[str, bool]]:
        """Consecutive (text, whether control tokens count in it) of the turns as they are."""
        # The white space around a placeholder shows whether the template strips what turns hold.
        messages = [
            {"role": turn.role, "content": f"{_SPACE}\ue000{number}\ue001{_SPACE}"} for number, turn in enumerate(turns)
        ]
        given = {"bos_token": "", "eos_token": "", **self.special}
        try:
            # No clock is given: a prompt that tells the date would be another one each day.
            rendered = _compiled(self.template).render(
                messages=messages, add_generation_prompt=True, enable_thinking=False, **given
            )
        except UserError:
            raise
        except Exception as error:  # foreign code in a sandbox: it may raise anything
            raise UserError(
                f"The model's chat template refuses these turns ({type(error).__name__}); use another model."
            ) from error
        pieces: list[tuple[str, bool]] = []
        found, end = [], 0
        for mark in _MARK.finditer(rendered):
            found.append(int(mark[2]))
            if found[-1] >= len(turns):
                break
            text = turns[found[-1]].text
            text = text if mark[1] else text.lstrip()
            pieces += [(rendered[end : mark.start()], True), (text if mark[3] else text.rstrip(), False)]
            end = mark.end()
        if sorted(found) != list(range(len(turns))):
            raise UserError("The model's chat template drops or repeats a turn; use another model.")
        return [*pieces, (rendered[end:], True)]

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
        if self.tokenizer.opens_with_blank and not runs[-1]:
            raise UserError(
                "This model's prompts end in a control token, after which its vocabulary opens an answer with a blank; "
                "that is not supported, use another model."
            )
        ids: list[int] = []
        for run in runs:
            ids += [run] if isinstance(run, int) else self.tokenizer.encode(run, opening=True)
        text = "".join(text for text, _ in pieces)
        if self.first is not None and ids[:1] != [self.first]:
            ids, text = [self.first, *ids], self.tokenizer.decode([self.first]) + text
        return Prompt(tuple(ids), text)


def demand_base(made: Mapping[str, Any], adapter: Path, base: Path) -> None:
    """Raise `UserError` unless `base` has the weights and template that the manifest `made` of `adapter` names."""
    if not (base / "config.json").is_file():
        raise UserError(f"{base} has no config.json; give the folder of the base that {adapter} was trained on.")
    if weights_hash(base) != made["base_hash"]:
        raise UserError(f"{adapter} was trained on other weights than {base} holds; give the base it was trained on.")
    if Renderer.from_folder(base).hash != made["template_hash"]:
        raise UserError(f"{adapter} was trained with another chat template than {base} has; give its own base.")


def _forms(turns: Sequence[Turn]) -> Iterator[Sequence[Turn]]:
    """The turns as they are; without a system turn; without two turns of one role in a row; without either."""
    yield turns
    folded = turns
    if len(turns) > 1 and (turns[0].role, turns[1].role) == ("system", "user"):
        folded = [_joined(turns[0], turns[1], "user"), *turns[2:]]
        yield folded
    for form in (turns, folded)[: 1 + (folded is not turns)]:
        merged = [form[0]]
        for turn in form[1:]:
            if turn.role == merged[-1].role:
                merged[-1] = _joined(merged[-1], turn, turn.role)
            else:
                merged.append(turn)
        if len(merged) < len(form):
            yield merged


def _joined(one: Turn, other: Turn, role: str) -> Turn:
    return Turn(role, f"{one.text}\n\n{other.text}")


@functools.cache
def _compiled(template: str) -> jinja2.Template:
    # A template comes with a model file, so it is foreign code: it runs in the sandbox.
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
    )
    environment.globals["raise_exception"] = _refuse
    try:
        return environment.from_string(template)
    except jinja2.TemplateError as error:
        raise UserError("The model's chat template is not valid Jinja; get the model again.") from error


def _refuse(message: str) -> Any:
    raise jinja2.TemplateError(message)
