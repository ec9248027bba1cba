"""Ways to say one thing, some of them kept out of all training text."""

import random
from collections.abc import Sequence
from typing import ClassVar, TypeVar

Option = TypeVar("Option")


class Wordings(tuple[str, ...]):
    """Variants of one statement, `{name}` where a fact goes in. The last quarter is unseen: said in test text only."""

    made: ClassVar[list["Wordings"]] = []

    @property
    def seen(self) -> int:
        """How many of the variants training text may use."""
        return len(self) - len(self) // 4


def wordings(*variants: str) -> Wordings:
    """A table entry; it counts towards `census`."""
    entry = Wordings(variants)
    Wordings.made.append(entry)
    return entry


def census() -> dict[str, int]:
    """Number of variants in all tables, and how many of them are unseen in training."""
    return {
        "variants": sum(map(len, Wordings.made)),
        "unseen": sum(len(entry) - entry.seen for entry in Wordings.made),
    }


class Writer:
    """Draws facts and wordings for one report; counts the unseen wordings it used.

    `held_out` permits the unseen ones: half of what it says then comes from them, where there are any. `brief` leaves
    out what no answer needs: all sections but examination, findings and impression, and filling sentences.
    """

    def __init__(self, generator: random.Random, held_out: bool, brief: bool = False) -> None:
        self.random = generator
        self.held_out = held_out
        self.brief = brief
        self.unseen = 0

    def say(self, variants: Wordings, **facts: object) -> str:
        """One of the variants, with the facts filled in."""
        draw = self.random.random
        first, count = 0, variants.seen
        if self.held_out and count < len(variants) and draw() < 0.5:
            first, count = count, len(variants) - count
            self.unseen += 1
        chosen = variants[first + int(draw() * count)]
        return chosen.format(**facts) if "{" in chosen else chosen

    def one(self, options: Sequence[Option]) -> Option:
        """One of the options, all alike likely; for facts, which are never held out."""
        return options[int(self.random.random() * len(options))]

    def some(self, options: Sequence[str], low: int, high: int) -> list[str]:
        """Between `low` and `high` different options, in random order."""
        return self.random.sample(options, min(len(options), self.random.randint(low, high)))

    def chance(self, probability: float) -> bool:
        """True with this probability."""
        return self.random.random() < probability
