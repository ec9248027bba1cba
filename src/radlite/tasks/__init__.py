"""The nine tasks, by the paper's names, and those that a user adds."""

import difflib
import os

from radlite.errors import UserError
from radlite.tasks.abnormality import ABNORMALITY
from radlite.tasks.grammar import Grammar
from radlite.tasks.impression import IMPRESSION
from radlite.tasks.ner import NER
from radlite.tasks.nli import NLI
from radlite.tasks.prompts import SYSTEM
from radlite.tasks.qa import QA
from radlite.tasks.rads import RADS
from radlite.tasks.staging import M_STAGING, N_STAGING
from radlite.tasks.task import Answer, Evidence, Example, Reading, Task
from radlite.tasks.temporal import TEMPORAL

__all__ = ["SYSTEM", "TASKS", "Answer", "Evidence", "Example", "Grammar", "Reading", "Task", "known", "named"]

TASKS = {
    task.name: task
    for task in (RADS, IMPRESSION, TEMPORAL, NER, N_STAGING, M_STAGING, NLI, ABNORMALITY, QA)
}  # fmt: skip


def known() -> dict[str, Task]:
    """The nine tasks and the user's own. Raises `UserError` if a file of these cannot be used."""
    if not os.environ.get("RADLITE_TASKS"):
        return TASKS
    from radlite.tasks import own  # only now: it needs pydantic, which takes long to load

    added = own.tasks()
    if taken := added.keys() & TASKS.keys():
        raise UserError(f"{taken.pop()} is the name of a task that radlite has; rename yours.")
    return {**TASKS, **added}


def named(name: str) -> Task:
    """The task called `name`; a `UserError` that suggests the nearest names if there is none."""
    if name in TASKS:
        return TASKS[name]
    tasks = known()
    if name not in tasks:
        near = difflib.get_close_matches(name, tasks, n=1, cutoff=0.4)
        hint = f"did you mean {near[0]}?" if near else f"choose from {', '.join(tasks)}."
        raise UserError(f"There is no task {name!r}; {hint}")
    return tasks[name]
