"""A task's grammar as token ids: what may come next, what has to, and how likely the model finds each alternative.

Both engines walk the same automaton, so a constrained answer has one spelling in tokens, the one that training used.
A grammar over characters, such as GBNF, would admit others ("B", "I", "-"), which the model was never shown.
"""

import copy
import functools
import heapq
import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from radlite.tasks.grammar import Grammar
from radlite.tokenizer import Tokenizer

Ask = Callable[[Sequence[int], Sequence[int]], Mapping[int, float]]
"""(ids of an answer's beginning, ids that may follow) to the probability of each of these; together they make 1.
Nothing where that is yet to be computed."""


@dataclass(eq=False, slots=True)
class _Trie:
    """A place in the texts of one state: the ids that go on, and the states reached here."""

    next: dict[int, "_Trie"] = field(default_factory=dict)
    to: set[int] = field(default_factory=set)
    shortest: int = 1 << 30
    """Ids to the end of the answer, at least."""


class Node:
    """A place in an answer: the ids that may follow, with the places they lead to, and whether it may end here."""

    def __init__(self, machine: "_Machine", places: frozenset[_Trie]) -> None:
        self._machine = machine
        self._places = places
        self._next: dict[int, Node] | None = None
        self.end = machine.over in places
        self.shortest = min(place.shortest for place in places)
        """Ids that complete the shortest answer."""

    @property
    def next(self) -> Mapping[int, "Node"]:
        """The places after each id that may follow."""
        if self._next is None:
            self._next = self._machine.after(self._places)
        return self._next


class _Machine:
    """The deterministic automaton of a grammar, made as far as it is walked."""

    def __init__(self, grammar: Grammar, tokenizer: Tokenizer) -> None:
        texts = list(dict.fromkeys(text for state in grammar for edge in state for text in edge.texts))
        ids = dict(zip(texts, map(tuple, tokenizer.encode_many(texts)), strict=True))
        self._edges = [[(ids[text], edge.to) for edge in state for text in edge.texts] for state in grammar]
        self._shortest = _distances(
            [
                [(min(len(ids[text]) for text in edge.texts), edge.to) for edge in state if edge.texts]
                for state in grammar
            ]
        )
        self._roots: dict[int, _Trie] = {}
        self._nodes: dict[frozenset[_Trie], Node] = {}
        self.over = _Trie(shortest=0)
        self._roots[len(grammar)] = self.over

    def start(self) -> Node:
        return self._node({self._root(0)})

    def after(self, places: frozenset[_Trie]) -> dict[int, Node]:
        steps: dict[int, set[_Trie]] = {}
        for place in places:
            for token, following in place.next.items():
                steps.setdefault(token, set()).add(following)
        return {token: self._node(following) for token, following in steps.items()}

    def _node(self, fresh: set[_Trie]) -> Node:
        """The node of these places and of the beginnings of the states they reach; what nothing can follow is left out.

        Where one text is the beginning of another ("BI-RADS 4", "BI-RADS 4A") both the longer one and what follows the
        state are allowed.
        """
        reached: set[_Trie] = set()
        while fresh:
            reached |= fresh
            fresh = {self._root(state) for place in fresh for state in place.to} - reached
        places = frozenset(place for place in reached if place.next or place is self.over)
        if places not in self._nodes:
            self._nodes[places] = Node(self, places)
        return self._nodes[places]

    def _root(self, state: int) -> _Trie:
        if state not in self._roots:
            root = self._roots[state] = _Trie()
            for ids, to in self._edges[state]:
                place, left = root, len(ids) + self._shortest[to]
                place.shortest = min(place.shortest, left)
                for token in ids:
                    place, left = place.next.setdefault(token, _Trie()), left - 1
                    place.shortest = min(place.shortest, left)
                place.to.add(to)
        return self._roots[state]


def _distances(edges: Sequence[Sequence[tuple[int, int]]]) -> list[int]:
    """For each state the number of ids to the end of the answer, at least; `edges` are (ids, state) from each state."""
    found = [1 << 30] * len(edges) + [0]
    for _ in edges:
        for state, ways in enumerate(edges):
            found[state] = min([found[state], *(ids + found[to] for ids, to in ways)])
    return found


@functools.lru_cache(maxsize=64)
def automaton(grammar: Grammar, tokenizer: Tokenizer) -> Node:
    """The start of the deterministic automaton of `grammar` over ids; each text is tokenised by itself."""
    return _Machine(grammar, tokenizer).start()


class Walk:
    """An answer within a grammar, on its way: what is forced is there already, the engine chooses the rest.

    At most `most` ids, the end of turn `end` included, and then the answer is whole: where the rest has to be kept
    short, only what leads to the end in time may follow. Cut short only if even the shortest answer is longer.
    """

    def __init__(self, grammar: Grammar, tokenizer: Tokenizer, end: int, most: int) -> None:
        self._node: Node | None = automaton(grammar, tokenizer)
        self._end, self.most = end, most
        self.ids: list[int] = []
        """The answer so far."""
        self.choices: dict[int, Mapping[int, float]] = {}
        """Position in `ids` to the probability of each id that might have stood there."""
        self.options: list[int] = []
        """The ids to choose from; empty when the answer is whole."""
        self._advance()

    def take(self, likely: Mapping[int, float]) -> list[int]:
        """Go on with the likeliest of the options; the ids that this adds, with what it forces."""
        begin = len(self.ids)
        self.choices[begin] = {token: likely[token] for token in self.options}
        self.go(max(self.options, key=likely.__getitem__))
        return self.ids[begin:]

    def go(self, token: int) -> None:
        """Go on with this one of the options, and with what it forces."""
        self._step(token)
        self._advance()

    def copy(self) -> "Walk":
        """The same way so far, to try how it might go on."""
        other = copy.copy(self)
        other.ids, other.choices, other.options = [*self.ids], {**self.choices}, [*self.options]
        return other

    def along(self, guess: Sequence[int]) -> dict[tuple[int, ...], list[int]]:
        """The options at each choice from here on, by the beginning of the answer that leads there, as far as the
        answer may go on with the ids of `guess`."""
        ahead, start, found = self.copy(), len(self.ids), dict[tuple[int, ...], list[int]]()
        while ahead.options:
            found[tuple(ahead.ids)] = ahead.options
            at = len(ahead.ids) - start
            if ahead.ids[start:] != list(guess[:at]) or at >= len(guess) or guess[at] not in ahead.options:
                break
            ahead.go(guess[at])
        return found

    def everywhere(self, most: int) -> dict[tuple[int, ...], list[int]]:
        """The options at every choice of every answer, by the beginning that leads there; none if they are more than
        `most`."""
        found, open_ = dict[tuple[int, ...], list[int]](), [self]
        while open_:
            walk = open_.pop()
            if walk.options:
                found[tuple(walk.ids)] = walk.options
                if len(found) > most:
                    return {}
                for token in walk.options:
                    following = walk.copy()
                    following.go(token)
                    open_.append(following)
        return found

    @property
    def probability(self) -> float:
        """Of the answer so far, as a product over its choices."""
        return math.prod(likely[self.ids[position]] for position, likely in self.choices.items())

    def remembered(self, ask: Ask) -> Ask:
        """`ask`, but for what was chosen from on the way."""

        def answer(beginning: Sequence[int], allowed: Sequence[int]) -> Mapping[int, float]:
            known = self.choices.get(len(beginning), {}) if list(beginning) == self.ids[: len(beginning)] else {}
            if not all(token in known for token in allowed):
                return ask(beginning, allowed)
            mass = sum(known[token] for token in allowed)
            return {token: known[token] / mass for token in allowed} if mass else ask(beginning, allowed)

        return answer

    def _advance(self) -> None:
        self.options = self._allowed()
        while len(self.options) == 1:
            self._step(self.options[0])
            self.options = self._allowed()

    def _step(self, token: int) -> None:
        self.ids.append(token)
        assert self._node
        self._node = self._node.next.get(token)

    def _allowed(self) -> list[int]:
        """Ids that may follow and leave room for the rest and the end of turn."""
        if not self._node or len(self.ids) >= self.most:
            return []
        room = self.most - len(self.ids) - 2
        allowed = [token for token, node in self._node.next.items() if node.shortest <= room]
        if self._node.end:
            allowed.append(self._end)
        return sorted(allowed) or [min(self._node.next, key=lambda token: self._shortest_after(token))]

    def _shortest_after(self, token: int) -> tuple[int, int]:
        assert self._node
        return self._node.next[token].shortest, token


class Weighed(NamedTuple):
    """A whole answer within a grammar, how likely it is, and what might have stood there."""

    ids: list[int]
    probability: float
    alternatives: tuple[Mapping[str, float], ...]
    """For each state on the way that has texts to choose from, the probability of each of them."""


def weigh(
    grammar: Grammar, tokenizer: Tokenizer, end: int, walk: Walk, ask: Ask, least: float | None = None
) -> Weighed:
    """The answer at the end of a walk, or, where the grammar is one closed set of texts, the likeliest of these.

    A walk looks one id ahead, so that texts which begin alike may outweigh the likeliest. With `least` the alternatives
    are told as well, except for texts that begin alike and together are less likely than this: at 0 all of them are.
    Where the walk did not pass, `ask` is asked.
    """
    closed, ask = len(grammar) == 1, walk.remembered(ask)
    ids, probability, told = walk.ids, walk.probability, list[Mapping[str, float]]()
    for begin, state in _states(grammar, tokenizer, tuple(walk.ids)) if closed or least is not None else ():
        texts = {
            text: (*own, end) if to == len(grammar) else own for text, own, to in _texts(grammar, tokenizer)[state]
        }
        if closed:
            texts = {text: own for text, own in texts.items() if len(own) <= walk.most}
        if len(texts) < 2:
            continue
        spread = _spread(texts, tuple(walk.ids[:begin]), ask, least or 0.0)
        found = dict(spread if least is not None else itertools.islice(spread, 1))
        if least is not None:
            told.append({text: found[text] for text in texts if text in found})
        if closed and found and walk.ids[-1:] == [end]:
            best = max(found, key=found.__getitem__)
            ids, probability = list(texts[best]), found[best]
    return Weighed(ids, probability, tuple(told))


def longest(grammar: Grammar, tokenizer: Tokenizer) -> int:
    """Ids of the longest text of a closed set, the end of turn included; 0 for any other grammar."""
    return max(len(own) + 1 for _, own, _ in _texts(grammar, tokenizer)[0]) if len(grammar) == 1 else 0


@functools.lru_cache(maxsize=64)
def _texts(grammar: Grammar, tokenizer: Tokenizer) -> tuple[tuple[tuple[str, tuple[int, ...], int], ...], ...]:
    """For each state its texts, with their ids and the states they lead to; of texts with the same ids, the first."""
    found = []
    for state in grammar:
        first: dict[tuple[tuple[int, ...], int], str] = {}
        for edge in state:
            for text in edge.texts:
                first.setdefault((tuple(tokenizer.encode(text)), edge.to), text)
        found.append(tuple((text, ids, to) for (ids, to), text in first.items()))
    return tuple(found)


def _states(grammar: Grammar, tokenizer: Tokenizer, answer: tuple[int, ...]) -> list[tuple[int, int]]:
    """The states that the answer passes, each with the position where its text begins."""

    def way(state: int, begin: int) -> list[tuple[int, int]] | None:
        if state == len(grammar):
            return [] if begin >= len(answer) - 1 else None  # the end of turn may stand there
        for _, ids, to in _texts(grammar, tokenizer)[state]:
            if answer[begin : begin + len(ids)] == ids:
                rest = way(to, begin + len(ids))
                if rest is not None:
                    return [(begin, state), *rest]
        return None

    return way(0, 0) or []


def _spread(
    texts: Mapping[str, tuple[int, ...]], prefix: tuple[int, ...], ask: Ask, least: float
) -> Iterator[tuple[str, float]]:
    """Texts that go on with these ids after `prefix`, each with its probability, the likeliest first.

    Beginnings are followed in the order of their probability, which is at least that of each text that begins so
    (uniform-cost search). One that has less than `least` and several texts is left out.
    """
    number = itertools.count()
    open_ = [(-1.0, next(number), 0, texts)]
    while open_:
        mass, _, at, branch = heapq.heappop(open_)
        if len(branch) == 1:
            yield next(iter(branch)), -mass
            continue
        if -mass < least:
            continue
        ways: dict[int, dict[str, tuple[int, ...]]] = {}
        while len(ways) < 2:
            ways, at = {}, at + 1
            for text, ids in branch.items():
                ways.setdefault(ids[at - 1], {})[text] = ids
        beginning = (*prefix, *next(iter(branch.values()))[: at - 1])
        for token, likely in ask(beginning, sorted(ways)).items():
            heapq.heappush(open_, (mass * likely, next(number), at, ways[token]))
