"""Items and readings for the tests of this folder."""

from collections.abc import Mapping
from dataclasses import replace

from radlite.tasks import Example, Reading, named


def item(task: str, number: int, answer: str, split: str = "test", **facts: object) -> Example:
    """An example whose texts carry its number; `inputs` replaces them."""
    texts = {name: f"The {name} of item {number} says {answer.split()[0].lower()}." for name in named(task).inputs}
    known = {
        "inputs": texts, "source": "sample", "tier": "synthetic", "patient": f"p{number}", "study": f"s{number}",
        "licence": "CC0-1.0",
    }  # fmt: skip
    return Example(id=f"{split}-{number}", task=task, answer=answer, split=split, **{**known, **facts})  # type: ignore[arg-type]


def said(task: str, text: str, status: str | None = None) -> Reading:
    """A reading of `text`, as the reader makes it."""
    answer = named(task).read(text) if status is None else None
    return Reading(task, status or ("unreadable" if answer is None else "ok"), answer, text)  # type: ignore[arg-type]


def grounded(task: str, text: str, inputs: Mapping[str, str]) -> Reading:
    """As `said`, with what the reader makes of the answer beside the report."""
    found = said(task, text)
    return found if found.answer is None else replace(found, answer=named(task).ground(found.answer, inputs).answer)
