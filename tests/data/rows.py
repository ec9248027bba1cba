"""Examples for the tests of the corpus: short, and different in the one thing that a test is about."""

from typing import Any

from radlite.tasks import Example, named


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
