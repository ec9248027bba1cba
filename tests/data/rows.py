"""Examples for the tests of the corpus: short, and different in the one thing that a test is about."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from radlite.data.split import COLUMNS, FRACTIONS, OUT, SPLITS, describe, numbered, share_out, ties
from radlite.data.texts import text_key, text_of
from radlite.tasks import Example, named

Key = tuple[str, str]
"""What ties rows together: `("patient", id)` or `("text", digest)`."""


def row(name: str, task: str = "n_staging", answer: Any = "N0", **changes: Any) -> Example:
    """An example called `name` of a patient of its own, its text like no other's."""
    facts: dict[str, Any] = {
        "id": name,
        "task": task,
        "inputs": {"report": f"Report {name}. Lymph nodes are described."},
        "answer": named(task).render(named(task).read(answer)),
        "source": "here",
        "tier": "gold",
        "patient": f"patient {name}",
        "study": name,
        "split": "",
        "licence": "CC0",
        "tags": (),
    }
    return Example(**{**facts, **changes})


def assign(
    examples: Iterable[Example], fractions: tuple[float, float, float] = FRACTIONS, seed: int = 0
) -> list[Example]:
    """The examples with a split each, in the order given; those that would leak are left out. See `share_out`."""
    rows = list(examples)
    columns = {column: [describe(row)[column] for row in rows] for column in COLUMNS}
    chosen = share_out(ties(columns, numbered([text_key(text_of(row)).hex() for row in rows])), fractions, seed)
    return [replace(row, split=SPLITS[at]) for row, at in zip(rows, chosen, strict=True) if at != OUT]


def keys(example: Example) -> list[Key]:
    """What ties this row to others: its patient, if known, and the text it is about (report or premise)."""
    tied = [("text", text_key(text_of(example)).hex())]
    return [*tied, ("patient", example.patient)] if example.patient else tied


def leaks(examples: Iterable[Example]) -> list[Key]:
    """The patients and texts that occur in more than one split, sorted; empty for a sound corpus."""
    first: dict[Key, str] = {}
    return sorted({key for row in examples for key in keys(row) if first.setdefault(key, row.split) != row.split})
