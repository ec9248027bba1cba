"""What every engine offers: complete prompts, greedily, within a grammar."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, TypeVar

from radlite.chat import Prompt, Renderer
from radlite.tasks.grammar import Grammar

T = TypeVar("T")

NEGLIGIBLE = 0.001
"""Probability below which labels that begin alike are not told apart; telling costs an engine a question or more."""

DEFAULT_CONTEXT = 4096
"""Tokens of context that an engine opens, if the model has as many: a report, some solved examples, and an answer."""


@dataclass(frozen=True, slots=True)
class Request:
    """One prompt to complete with at most `max_tokens` tokens, inside `grammar` if there is one.

    In a closed set of texts the answer is the likeliest of them; any other is built up greedily, id by id.
    `alternatives` asks how likely the texts are that the answer was chosen from, but for those that begin alike and
    together are less likely than `least`. `draft` is a likely answer, which may make the true one come sooner and never
    changes it. After `seconds` of work the answer is cut.
    """

    prompt: Prompt
    max_tokens: int
    grammar: Grammar = ()
    alternatives: bool = False
    least: float = NEGLIGIBLE
    draft: str = ""
    kind: str = ""
    """Of requests that are alike, such as a task's: how well guesses turn out is learned by kind."""
    seconds: float = math.inf


@dataclass(frozen=True, slots=True)
class Completion:
    """What came back.

    `stop_reason`: `end` (the model ended its turn), `length` or `time` (it was stopped), `failed` (its engine ended
    twice over it), `too_long` (a server's window does not hold it).
    """

    text: str
    stop_reason: Literal["end", "length", "time", "failed", "too_long"]
    prompt_tokens: int
    cached_tokens: int
    generated_tokens: int
    seconds: float
    probability: float | None = None
    """Of an answer within a grammar, among all that it allows, as a product over the choices on its way."""
    alternatives: tuple[Mapping[str, float], ...] = ()
    """For each state of the grammar with texts to choose from, in the answer's order: text to probability."""


def never() -> bool:
    """Nobody asks to stop."""
    return False


class Model(Protocol):
    """An engine with a model in it."""

    name: str
    renderer: Renderer
    context_tokens: int
    """Prompt and answer together have to fit in this many tokens."""

    def complete(
        self, requests: Sequence[Request], stop: Callable[[], bool] = never
    ) -> Iterator[tuple[int, Completion]]:
        """Complete the requests, greedily; each comes with its number, as soon as it is ready.

        The caller has checked that each fits the context. The work ends when the iterator is closed, and within one
        step once `stop()` is true.
        """
        ...

    def close(self) -> None:
        """Free the model; a second call does nothing."""
        ...


def in_order(completions: Iterable[tuple[int, T]]) -> Iterator[T]:
    """What comes numbered from 0 in any order, in the order of the numbers."""
    early: dict[int, T] = {}
    following = 0
    for number, completion in completions:
        early[number] = completion
        while following in early:
            yield early.pop(following)
            following += 1


def end_ids(renderer: Renderer) -> frozenset[int]:
    """Ids at which a model stops: the end of its turn, the end that its file names, and that which base models know."""
    control = renderer.tokenizer.control
    names = ("<|endoftext|>", renderer.special.get("eos_token", ""))
    return frozenset({renderer.end_id, *(control[name] for name in names if name in control)})
