"""The sections of a report, by their headings."""

from dataclasses import dataclass
from typing import Literal

Name = Literal["other", "exam", "indication", "technique", "comparison", "findings", "impression", "recommendation", "addendum"]


@dataclass(frozen=True, slots=True)
class Section:
    """A stretch of a report. `text[start:end]` with its heading, `text[body:end]` without."""

    name: Name
    start: int
    body: int
    end: int


def sections(text: str) -> list[Section]:
    """The sections in the order of the text; together they cover all of it."""
    raise NotImplementedError
