"""Which items are evaluated, and which solved examples a prompt carries."""

import random
from collections.abc import Iterable, Sequence

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


def shots(train: Iterable[Example], count: int, seed: int = 0) -> dict[str, list[Example]]:
    """`count` solved examples for each task of `train`, drawn at random with as many different answers as there are.

    They are drawn from the shortest third of the task's examples: prompts of small models hold about 1,000 tokens, and
    three reports of usual length would leave no room for the one that is asked about. An item that still does not fit
    beside them counts as `too_long`. Raises `UserError` if an example is not training data or there are too few.
    """
    chosen: dict[str, list[Example]] = {}
    for task, items in _by_task(train).items():
        if any(example.split != "train" for example in items):
            raise UserError(f"Solved examples for {task} come from another split than train; give training data only.")
        if len(items) < count:
            raise UserError(f"The task {task} has {len(items)} training examples, fewer than {count}; lower --shots.")
        by_length = sorted(items, key=lambda example: (_length(example), example.id))
        pool = by_length[: max(count, len(by_length) // 3)]
        random.Random(f"{seed} {task}").shuffle(pool)
        chosen[task] = _different(pool, count)
    return chosen


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
