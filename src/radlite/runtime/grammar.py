"""A task's closed set of answers as token ids: what may come next, and what has to.

Both engines walk the same automaton, so a constrained answer has one spelling in tokens, the one that training used.
A grammar over characters, such as GBNF, would admit others ("B", "I", "-"), which the model was never shown.
"""

import functools
from dataclasses import dataclass, field
from typing import NamedTuple

from radlite.tasks import Grammar
from radlite.tokenizer import Tokenizer


@dataclass(eq=False, slots=True)
class Node:
    """A place in an answer: the ids that may follow, with the places they lead to, and whether it may end here."""

    next: dict[int, "Node"] = field(default_factory=dict)
    end: bool = False


class _Place(NamedTuple):
    slot: int
    ids: tuple[int, ...]
    """What was said of the slot so far."""


@functools.lru_cache(maxsize=64)
def automaton(grammar: Grammar, tokenizer: Tokenizer) -> Node:
    """The start of the deterministic automaton of `grammar` over ids of `tokenizer`.

    Each alternative of a slot is tokenised by itself. Where one is the beginning of another ("BI-RADS 4",
    "BI-RADS 4A") both the longer one and what follows the slot are allowed.
    """
    slots = [{tuple(tokenizer.encode(text)) for text in slot} for slot in grammar]
    begun = [{ids[:length] for ids in slot for length in range(len(ids))} for slot in slots]

    def close(places: set[_Place]) -> frozenset[_Place]:
        """Add the next slot's start where a slot is complete; leave out places that nothing can follow."""
        reached: set[_Place] = set()
        fresh = places
        while fresh:
            reached |= fresh
            complete = {slot for slot, ids in fresh if slot < len(slots) and ids in slots[slot]}
            fresh = {_Place(slot + 1, ()) for slot in complete} - reached
        return frozenset(_Place(slot, ids) for slot, ids in reached if slot == len(slots) or ids in begun[slot])

    start = close({_Place(0, ())})
    nodes: dict[frozenset[_Place], Node] = {start: Node()}
    open_places = [start]
    while open_places:
        places = open_places.pop()
        steps: dict[int, set[_Place]] = {}
        for slot, ids in places:
            for whole in slots[slot] if slot < len(slots) else ():
                if len(whole) > len(ids) and whole[: len(ids)] == ids:
                    steps.setdefault(whole[len(ids)], set()).add(_Place(slot, whole[: len(ids) + 1]))
        nodes[places].end = any(slot == len(slots) for slot, _ in places)
        for token, target in steps.items():
            closed = close(target)
            if closed not in nodes:
                nodes[closed] = Node()
                open_places.append(closed)
            nodes[places].next[token] = nodes[closed]
    return nodes[start]


def forced(node: Node, end: int) -> tuple[list[int], Node | None]:
    """The ids that have to follow `node`, `end` included, and the node of the next choice, None if there is none."""
    ids: list[int] = []
    while len(node.next) == 1 and not node.end:
        [(token, node)] = node.next.items()
        ids.append(token)
    return (ids, node) if node.next else ([*ids, end], None)


def gbnf(node: Node) -> str:
    """The choice at `node` as a llama.cpp grammar of one token id; the empty text lets the turn end."""
    choices = [f"<[{token}]>" for token in sorted(node.next)]
    return "root ::= " + " | ".join([*choices, '""'] if node.end else choices)
