"""Sample data for all nine tasks: facts are drawn, the answer follows by rule, then they are put into words."""

import random
from collections.abc import Iterator

from radlite.data.sample import chest, rads, staging
from radlite.data.sample.item import Item, Maker
from radlite.data.sample.wording import Writer, census
from radlite.tasks import Example, named

__all__ = ["MAKERS", "SEED", "census", "examples", "item"]

MAKERS: dict[str, Maker] = {**rads.MAKERS, **staging.MAKERS, **chest.MAKERS}
SEED = 2026
"""The seed of the demonstration corpus."""


def item(task: str, split: str, index: int, seed: int = SEED) -> tuple[Item, bool]:
    """The item number `index`, and whether it uses a wording that training text never has.

    Unseen wordings are used in the split `test` alone. Each item has a generator of its own: any one can be made again
    without the others.
    """
    writer = Writer(random.Random(f"{seed}/{split}/{task}/{index}"), held_out=split == "test")
    made = MAKERS[task](writer)
    return made, writer.unseen > 0


def examples(task: str, split: str, count: int, seed: int = SEED) -> Iterator[Example]:
    """The first `count` examples of a task in a split (`train`, `validation`, `test`)."""
    render = named(task).render
    for index in range(count):
        made, unseen = item(task, split, index, seed)
        identity = f"sample-{seed}-{split}-{task}-{index}"
        yield Example(
            id=identity,
            task=task,
            inputs=made.inputs,
            answer=render(made.answer),
            source="sample",
            tier="synthetic",
            patient=identity,
            study=identity,
            split=split,
            licence="Apache-2.0",
            tags=(*made.tags, "unseen_wording" if unseen else "seen_wording"),
        )
