"""What a maker of sample data returns."""

from collections.abc import Callable
from dataclasses import dataclass

from radlite.data.sample.wording import Writer
from radlite.tasks import Answer


@dataclass(frozen=True, slots=True)
class Item:
    """The inputs of a task, the structured answer that follows from the drawn facts, and tags for slices."""

    inputs: dict[str, str]
    answer: Answer
    tags: tuple[str, ...] = ()


Maker = Callable[[Writer], Item]
