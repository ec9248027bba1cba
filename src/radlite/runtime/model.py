"""What every engine offers: complete prompts, greedily, within a grammar."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from radlite.chat import Prompt, Renderer
from radlite.tasks.grammar import Grammar

DEFAULT_CONTEXT = 4096
"""Tokens of context that an engine opens, if the model has as many: a report, some solved examples, and an answer."""


@dataclass(frozen=True, slots=True)
class Request:
    """One prompt to complete with at most `max_tokens` tokens, inside `grammar` if there is one.

    `alternatives` asks how likely the texts are that the answer was chosen from.
    """

    prompt: Prompt
    max_tokens: int
    grammar: Grammar = ()
    alternatives: bool = False


@dataclass(frozen=True, slots=True)
class Completion:
    """What came back. `stop_reason`: `end` (the model ended its turn) or `length` (it was stopped)."""

    text: str
    stop_reason: Literal["end", "length"]
    prompt_tokens: int
    cached_tokens: int
    generated_tokens: int
    seconds: float
    probability: float | None = None
    """Of an answer within a grammar, among all that it allows, as a product over the choices on its way."""
    alternatives: tuple[Mapping[str, float], ...] = ()
    """For each state of the grammar with a few texts to choose from, in the answer's order: text to probability."""


class Model(Protocol):
    """An engine with a model in it."""

    name: str
    renderer: Renderer
    context_tokens: int
    """Prompt and answer together have to fit in this many tokens."""

    def complete(self, requests: Sequence[Request]) -> Iterator[Completion]:
        """Complete the requests, greedily, in their order. The caller has checked that each fits the context."""
        ...

    def close(self) -> None:
        """Free the model; a second call does nothing."""
        ...


def end_ids(renderer: Renderer) -> frozenset[int]:
    """Ids at which a model stops: the end of its turn, and the end of text that base models know."""
    control = renderer.tokenizer.control
    return frozenset({renderer.end_id, control.get("<|endoftext|>", renderer.end_id)})
