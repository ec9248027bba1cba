"""A model that says what it is told to: for tests, documentation and trying a pipeline without weights."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Literal

import tokenizers

from radlite.chat import Prompt, Renderer
from radlite.runtime.model import Completion, Request, never
from radlite.tokenizer import Tokenizer, definition

_CONTROL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def byte_renderer() -> Renderer:
    """A renderer of plain ChatML in which every byte is a token: it needs no vocabulary."""
    alphabet = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    control = {name: len(alphabet) + index for index, name in enumerate(_CONTROL)}
    return Renderer(Tokenizer(definition(alphabet, [], control)), _TEMPLATE)


class ScriptedModel:
    """Answers from a script: a function of the prompt's text, or texts used up one by one.

    Answers are given as they stand, whatever the grammar and `max_tokens` say, and all end with `stop_reason`.
    `prompts` lists what was asked.
    """

    def __init__(
        self,
        script: Callable[[str], str] | Iterable[str],
        renderer: Renderer | None = None,
        context_tokens: int = 1 << 20,
        name: str = "scripted",
        stop_reason: Literal["end", "length"] = "end",
    ) -> None:
        self.name = name
        self.renderer = renderer or byte_renderer()
        self.context_tokens = context_tokens
        self.prompts: list[Prompt] = []
        self.stop_reason: Literal["end", "length"] = stop_reason
        self._answer = script if callable(script) else _one_by_one(iter(script))

    def complete(
        self, requests: Sequence[Request], stop: Callable[[], bool] = never
    ) -> Iterator[tuple[int, Completion]]:
        """Complete the requests in their order. Raises `RuntimeError` when the script has no answer left."""
        for number, request in enumerate(requests):
            if stop():
                return
            self.prompts.append(request.prompt)
            answer = self._answer(request.prompt.text)
            completion = Completion(
                text=answer,
                stop_reason=self.stop_reason,
                prompt_tokens=len(request.prompt.ids),
                cached_tokens=0,
                generated_tokens=len(self.renderer.tokenizer.encode(answer)) + 1,
                seconds=0.0,
            )
            yield number, completion

    def close(self) -> None:
        """Nothing to free."""


def _one_by_one(answers: Iterator[str]) -> Callable[[str], str]:
    def answer(_: str) -> str:
        for text in answers:
            return text
        raise RuntimeError("the script has no answer left")

    return answer
