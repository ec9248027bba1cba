"""The answers a task allows, as an automaton over pieces of text."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Edge:
    """One of `texts`, then state `to`. Texts begin where the tokenizer begins a word (`" negative"`)."""

    texts: tuple[str, ...]
    to: int


Grammar = tuple[tuple[Edge, ...], ...]
"""The edges of each state. An answer begins in state 0 and ends in state `len(grammar)`, which has no edges; the empty
grammar allows any text. The empty text as an edge's only one allows to go on without saying anything."""


def sequence(*slots: Sequence[str]) -> Grammar:
    """One text of each slot after the other: `sequence(["M0", "M1"])` allows two answers."""
    return tuple((Edge(tuple(slot), number),) for number, slot in enumerate(slots, start=1))


_WORD = re.compile(r"\S+")
_EDGES = re.compile(r"^\W+|\W+$")


def spans(text: str, most: int) -> tuple[str, ...]:
    """Every run of up to `most` words of `text`, a blank before it; none goes across punctuation between words."""
    found: dict[str, None] = {}
    for run in _runs(text):
        for begin in range(len(run)):
            for end in range(begin + 1, min(begin + most, len(run)) + 1):
                found[" " + " ".join(run[begin:end])] = None
    return tuple(found)


def _runs(text: str) -> Iterable[list[str]]:
    """Words of `text` without the punctuation around them, as lists that punctuation ends."""
    run: list[str] = []
    for chunk in _WORD.findall(text):
        word = _EDGES.sub("", chunk)
        if run and (not word or not chunk.startswith(word[0])):
            yield run
            run = []
        if word:
            run.append(word)
        if run and not chunk.endswith(word[-1:] or " "):
            yield run
            run = []
    if run:
        yield run
