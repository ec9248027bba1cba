"""The nine tasks, by the paper's names."""

import difflib

from radlite.errors import UserError
from radlite.tasks.abnormality import ABNORMALITY
from radlite.tasks.impression import IMPRESSION
from radlite.tasks.ner import NER
from radlite.tasks.nli import NLI
from radlite.tasks.qa import QA
from radlite.tasks.rads import RADS
from radlite.tasks.staging import M_STAGING, N_STAGING
from radlite.tasks.task import Answer, Example, Grammar, Reading, Task
from radlite.tasks.temporal import TEMPORAL

__all__ = ["SYSTEM", "TASKS", "Answer", "Example", "Grammar", "Reading", "Task", "named"]

SYSTEM = "You are a radiology assistant. Answer from the report alone, in the form that is asked for."
"""The system prompt of every task: one for all, so that tasks share the prompt up to their own turn."""

TASKS = {
    task.name: task
    for task in (RADS, IMPRESSION, TEMPORAL, NER, N_STAGING, M_STAGING, NLI, ABNORMALITY, QA)
}  # fmt: skip


def named(name: str) -> Task:
    """The task called `name`; a `UserError` that suggests the nearest names if there is none."""
    if name not in TASKS:
        near = difflib.get_close_matches(name, TASKS, n=1, cutoff=0.4)
        hint = f"did you mean {near[0]}?" if near else f"choose from {', '.join(TASKS)}."
        raise UserError(f"There is no task {name!r}; {hint}")
    return TASKS[name]
