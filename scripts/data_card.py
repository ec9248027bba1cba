"""Write the data card, docs/data/sources.md, from the adapters: `python scripts/data_card.py`; a test keeps it true."""

from pathlib import Path

from radlite.data.sources import SOURCES

HEAD = """# Data card: the sources

Written by `scripts/data_card.py` from the adapters in `src/radlite/data/sources/`; do not edit by hand. What an
adapter does with a data set, which rows it leaves out and which facts of a schema were assumed stands at the top of
its file. RadLite ships none of these data. Restricted ones are never downloaded; `radlite data how NAME` prints the
steps below.

Tiers: `gold` answered by experts, `silver` by programs, `synthetic` by the rule that wrote the report, `proxy` by
something that stands for the answer; an adapter may give single tasks a lower tier than its own. Access: `open` to
anyone; `registration` an account and terms; `credentialed` training and a data use agreement besides; `own` yours.

| source | what | tasks | tier | access | licence |
|---|---|---|---|---|---|
"""
PATH = Path(__file__).parents[1] / "docs" / "data" / "sources.md"


def card() -> str:
    """The card's text."""
    rows = [
        f"| {s.name} | {s.title} | {', '.join(s.tasks)} | {s.tier} | {s.access} | {s.licence} |\n"
        for s in SOURCES.values()
    ]
    parts = [f"\n## {s.name}\n\n{s.title}.\n\n{s.how_to}\n\nCite: {s.citation}\n" for s in SOURCES.values()]
    return HEAD + "".join(rows) + "".join(parts)


if __name__ == "__main__":
    PATH.parent.mkdir(parents=True, exist_ok=True)
    PATH.write_text(card(), "utf-8")
