"""Which items are evaluated, and which solved examples a prompt carries."""

import random
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast, get_args

import numpy as np

from radlite.errors import UserError
from radlite.tasks import Example


def sample(examples: Sequence[Example], limit: int | None, seed: int = 0) -> list[Example]:
    """At most `limit` items of each task, in the order given, spread over its answers as they are in `examples`.

    The choice depends on the items and the seed, not on their order, and a smaller limit chooses among the items of
    a larger one. `None` keeps all.
    """
    if limit is None:
        return list(examples)
    if limit < 1:
        raise UserError(f"The limit of items is {limit}; give 1 or more, or leave it out for all.")
    chosen: set[tuple[str, str]] = set()
    for task, items in _by_task(examples).items():
        ranked = sorted(
            (rank, example.id)
            for answer in sorted({example.answer for example in items})
            for rank, example in _ranked([item for item in items if item.answer == answer], f"{seed} {task} {answer}")
        )
        chosen.update((task, id) for _, id in ranked[:limit])
    return [example for example in examples if (example.task, example.id) in chosen]


def _ranked(items: Iterable[Example], seed: str) -> list[tuple[float, Example]]:
    """Each item with a rank in 0..1, evenly spaced in random order: any cut of the ranks takes its share of them."""
    generator = random.Random(seed)
    order = sorted(items, key=lambda example: example.id)
    generator.shuffle(order)
    offset = generator.random()
    return [((index + offset) / len(order), example) for index, example in enumerate(order)]


Choice = Literal["stratified", "random", "nearest"]


@dataclass(frozen=True, slots=True)
class Shots:
    """Solved examples for prompts: how many, and how they are chosen."""

    count: int = 0
    how: Choice = "stratified"

    @classmethod
    def read(cls, text: str) -> "Shots":
        """`3` or `nearest:3`. Raises `UserError` if it is neither."""
        how, _, count = text.strip().rpartition(":")
        if how not in ("", *get_args(Choice)) or not re.fullmatch(r"\d{1,3}", count):
            ways = ", ".join(f"{way}:{3}" for way in get_args(Choice))
            raise UserError(f"{text!r} is no number of solved examples; write a number, or one of {ways}.")
        return cls(int(count), cast(Choice, how or "stratified") if int(count) else "stratified")

    @property
    def asked(self) -> str:
        """How it is told apart in results; nothing for the usual."""
        return "" if self.how == "stratified" or not self.count else self.how

    def pool(self, train: Iterable[Example], seed: int = 0) -> dict[str, list[Example]]:
        """The examples of each task of `train` that prompts carry or, of the nearest, may carry.

        They are of the shortest third of the task's examples: prompts of small models hold about 1,000 tokens, and
        three reports of usual length would leave no room for the one that is asked about. An item that still does not
        fit beside them counts as `too_long`. Stratified ones have as many different answers as there are; random ones
        answers as frequent as they are. Raises `UserError` if an example is not training data or there are too few.
        """
        chosen: dict[str, list[Example]] = {}
        for task, items in _by_task(train).items() if self.count else ():
            if any(example.split != "train" for example in items):
                raise UserError(f"Solved examples for {task} come from another split than train; give training data.")
            if len(items) < self.count:
                raise UserError(
                    f"The task {task} has {len(items)} training examples, fewer than {self.count}; lower --shots."
                )
            by_length = sorted(items, key=lambda example: (_length(example), example.id))
            short = by_length[: max(self.count, len(by_length) // 3)]
            random.Random(f"{seed} {task}").shuffle(short)
            if self.how == "nearest":
                chosen[task] = sorted(short, key=lambda example: example.id)
            else:
                chosen[task] = short[: self.count] if self.how == "random" else _different(short, self.count)
        return chosen

    def chooser(self) -> "Nearest | None":
        """What picks of the pool for an item, where not all are for all."""
        return Nearest(self.count) if self.how == "nearest" else None


class Nearest:
    """Picks the solved examples whose texts are most like an item's, by the cosine of TF-IDF weights of words."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._known: dict[str, tuple[Any, Any]] = {}

    def __call__(self, task: str, inputs: Mapping[str, str], pool: Sequence[Example]) -> Sequence[Example]:
        """The most alike stands last, next to the question. Raises `UserError` if scikit-learn is not installed."""
        if task not in self._known:
            vectorizer = _vectorizer()
            self._known[task] = vectorizer, vectorizer.fit_transform([_text(example.inputs) for example in pool])
        vectorizer, known = self._known[task]
        likeness = (known @ vectorizer.transform([_text(inputs)]).T).toarray().ravel()
        best = np.argsort(-likeness, kind="stable")[: self._count]
        return [pool[at] for at in best[::-1]]


def _vectorizer() -> Any:
    try:
        from sklearn.feature_extraction.text import TfidfVectorizer
    except ImportError as error:
        raise UserError("The nearest examples need scikit-learn; run pip install 'radlite[evaluate]'.") from error
    return TfidfVectorizer(sublinear_tf=True, token_pattern=r"(?u)\w+|$")


def _text(inputs: Mapping[str, str]) -> str:
    return "\n".join(inputs.values())


def _different(pool: list[Example], count: int) -> list[Example]:
    """The first `count` of `pool`, an answer coming again only after every other has come."""
    turn: dict[str, int] = {}
    rounds = []
    for example in pool:
        turn[example.answer] = turn.get(example.answer, 0) + 1
        rounds.append((turn[example.answer], example))
    return [example for _, example in sorted(rounds, key=lambda entry: entry[0])[:count]]


def _length(example: Example) -> int:
    return sum(map(len, example.inputs.values())) + len(example.answer)


def _by_task(examples: Iterable[Example]) -> dict[str, list[Example]]:
    groups: dict[str, list[Example]] = {}
    for example in examples:
        groups.setdefault(example.task, []).append(example)
    return groups
