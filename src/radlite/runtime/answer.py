"""An answer on its way: what an engine has to compute next, what that settles, and what it may guess meanwhile."""

import math
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from radlite.chat import Renderer
from radlite.runtime.grammar import Walk, Weighed, weigh
from radlite.runtime.model import Request, end_ids

Beginning = tuple[int, ...]
"""The first ids of an answer; the empty one stands at the end of the prompt."""

_AT_ONCE = 8
"""Choices on the ways to all answers up to which all are computed at once, which costs less than another step."""
_ALL = 1024
"""The same, where every answer's probability is asked for, however small."""

_EXTRA = 0.2
"""What one more id in a small batch costs beside a step of its own (docs/performance.md)."""
_FARTHEST = 64
"""Ids that are guessed ahead at most."""


class Answer:
    """What a request has been answered so far, greedily, within its grammar if it has one.

    An engine computes the logits after each of the beginnings in `asks`, gives them to `tell`, and begins again until
    there is nothing to ask. Several beginnings at once are guesses that may turn out right (each goes on from the one
    before), or all labels of a closed set. What is settled depends on the logits alone and not on the guesses.
    """

    def __init__(self, request: Request, renderer: Renderer) -> None:
        self.request = request
        self.stop_reason: Literal["", "end", "length", "time"] = ""
        self.guesses: list[tuple[int, int]] = []
        """Of each step that guessed: how many came true, and how many were tried, up to the first that did not."""
        self._tokenizer, self._end, self._ends = renderer.tokenizer, renderer.end_id, end_ids(renderer)
        self._walk = Walk(request.grammar, self._tokenizer, self._end, request.max_tokens) if request.grammar else None
        self._weighed: Weighed | None = None
        self._free: list[int] = []
        self._known: dict[Beginning, dict[int, float]] = {}
        self._likeliest: dict[Beginning, int] = {}
        self._open: dict[Beginning, list[int]] = {}
        self._guessing = False
        draft = [*self._tokenizer.encode(request.draft), self._end] if request.draft else []
        self._lookup = Lookup(draft, request.prompt.ids)
        self._advance()

    @property
    def ids(self) -> list[int]:
        """The ids of the answer so far, the end of turn included."""
        if self._weighed:
            return self._weighed.ids
        return self._walk.ids if self._walk else self._free

    @property
    def weighing(self) -> bool:
        """Whether an answer stands, and others that may be likelier or are to be told are still being computed."""
        return self._walk is not None and not self._walk.options and not self.stop_reason

    @property
    def text(self) -> str:
        """The answer so far, without the end of turn."""
        return self._tokenizer.decode(self.ids[:-1] if self.ids and self.ids[-1] in self._ends else self.ids)

    @property
    def probability(self) -> float | None:
        """Of the answer so far among all that its grammar allows; None for free text."""
        if self._weighed:
            return self._weighed.probability
        return self._walk.probability if self._walk else None

    @property
    def alternatives(self) -> tuple[Mapping[str, float], ...]:
        """At the end, what `Completion.alternatives` is to be."""
        return self._weighed.alternatives if self._weighed else ()

    def asks(self, trust: float) -> list[Beginning]:
        """The beginnings whose logits are needed next, and as many guesses ahead as pay where one comes true with the
        probability `trust`; none at the end."""
        self._open = self._needed(trust)
        return list(self._open)

    def tell(self, beginning: Beginning, logits: NDArray[np.float32]) -> None:
        """The logits (vocabulary) after one of the beginnings that were asked for."""
        options = self._open[beginning]
        if options:
            values = logits[options].astype(float)
            if not np.isfinite(values).all():
                raise ArithmeticError("the model's weights compute what is no number")
            self._known.setdefault(beginning, {}).update(zip(options, values.tolist(), strict=True))
        else:
            likeliest = int(logits.argmax())
            if not math.isfinite(logits[likeliest]):
                raise ArithmeticError("the model's weights compute what is no number")
            self._likeliest[beginning] = likeliest

    def settle(self) -> None:
        """Go on as far as what was told allows."""
        before = len(self.ids)
        self._advance()
        if self._guessing and len(self._open) > 1:
            ahead = [beginning for beginning in self._open if len(beginning) > before]
            right = sum(beginning == tuple(self.ids[: len(beginning)]) for beginning in ahead)
            self.guesses.append((right, min(right + 1, len(ahead))))

    def stop(self, reason: Literal["time"]) -> None:
        """End the answer where it stands."""
        self.stop_reason = reason

    def _needed(self, trust: float) -> dict[Beginning, list[int]]:
        self._guessing = False
        if self.stop_reason:
            return {}
        if self._walk is None:
            here = tuple(self._free)
            guess = self._lookup.after(here, min(_FARTHEST, self.request.max_tokens - len(here) - 1))
            return self._worth(trust, {(*here, *guess[:count]): [] for count in range(len(guess) + 1)})
        if not self._walk.options:
            return self._weigh()[1]
        most = _ALL if self.request.least == 0 else _AT_ONCE
        if self.request.alternatives and not self._known and (all_ := self._walk.everywhere(most)):
            return all_
        return self._worth(trust, self._walk.along(self._lookup.after(self._walk.ids, _FARTHEST)))

    def _worth(self, trust: float, chain: dict[Beginning, list[int]]) -> dict[Beginning, list[int]]:
        """The beginnings as far as it pays: right, a guess saves a step; wrong, its ids were computed in vain."""
        self._guessing = True
        likely, found, last = 1.0, dict[Beginning, list[int]](), None
        for beginning, options in chain.items():
            if last is not None:
                likely *= trust
                if likely < (1 - likely) * (len(beginning) - len(last)) * _EXTRA:
                    break
            found[beginning], last = options, beginning
        return found

    def _advance(self) -> None:
        if self._walk:
            while self._walk.options and (known := self._known.get(tuple(self._walk.ids))):
                self._walk.take(_shares(known, self._walk.options))
            if not self._walk.options:
                weighed, missing = self._weigh()
                if not missing:
                    self._weighed = weighed
                    self.stop_reason = "end" if weighed.ids[-1:] == [self._end] else "length"
            return
        while not self.stop_reason and (token := self._likeliest.get(tuple(self._free))) is not None:
            self._free.append(token)
            if token in self._ends:
                self.stop_reason = "end"
            elif len(self._free) == self.request.max_tokens:
                self.stop_reason = "length"

    def _weigh(self) -> tuple[Weighed, dict[Beginning, list[int]]]:
        """The whole answer by what is known, and what has to be known besides: only without such is it right."""
        missing: dict[Beginning, list[int]] = {}

        def ask(beginning: Sequence[int], allowed: Sequence[int]) -> Mapping[int, float]:
            known = self._known.get(tuple(beginning), {})
            if all(token in known for token in allowed):
                return _shares(known, allowed)
            missing[tuple(beginning)] = list(allowed)
            return {}

        assert self._walk
        least = self.request.least if self.request.alternatives else None
        return weigh(self.request.grammar, self._tokenizer, self._end, self._walk, ask, least), missing


class Lookup:
    """What followed the last ids where they stood before: prompt lookup (Saxena, 2023), here in a draft and a prompt.

    Words of a report come back in its entities, changes and impression, and a draft names the likely answer.
    """

    def __init__(self, draft: Sequence[int], prompt: Sequence[int]) -> None:
        self._draft = list(draft)
        self._ids = [*draft, -1, *prompt, -1]
        self._places: dict[Beginning, int] = {}
        for size in (1, 2, 3):
            for at in range(len(self._ids) - size, -1, -1):  # of several places the first, which is the draft's
                self._places[tuple(self._ids[at : at + size])] = at + size

    def after(self, ids: Sequence[int], most: int) -> list[int]:
        """At most `most` ids that may follow the answer's first `ids`; none where the last of them stood nowhere."""
        if most < 1:
            return []
        if not ids:
            return self._draft[:most]
        for size in (3, 2, 1):
            if len(ids) >= size and (at := self._places.get(tuple(ids[-size:]))) is not None:
                found = self._ids[at : at + most]
                return found[: found.index(-1)] if -1 in found else found
        return []


def _shares(logits: Mapping[int, float], allowed: Sequence[int]) -> dict[int, float]:
    """The probability of each of the ids, among these."""
    highest = max(logits[token] for token in allowed)
    weights = {token: math.exp(logits[token] - highest) for token in allowed}
    return {token: weight / sum(weights.values()) for token, weight in weights.items()}
