"""How often each task's rows are seen in an epoch."""

import difflib
import math
import random
from collections.abc import Mapping, Sequence

from radlite.errors import UserError
from radlite.tasks import Example


def mix(by_task: Mapping[str, Sequence[Example]], weights: Mapping[str, float], seed: int) -> list[Example]:
    """The rows of one epoch, shuffled: a task of n rows contributes n times its weight.

    Weight 3: every row three times; 0.5: a half drawn by `seed`; 1.5: every row once and a drawn half twice; a task
    without a weight has weight 1. The draw of one task does not depend on which other tasks there are.

    Raises `UserError` for a weight that is negative or no number, for a task that has none of the rows, and if
    nothing is left.
    """
    for task, weight in weights.items():
        if task not in by_task:
            near = difflib.get_close_matches(task, by_task, n=1, cutoff=0.4)
            hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(by_task) or 'none'}."
            raise UserError(f"The mixture weighs {task!r}, but the corpus has no such task; {hint}")
        if not (math.isfinite(weight) and weight >= 0):
            raise UserError(f"The mixture weight of {task} is {weight}; give a number of 0 or more.")
    mixed = [row for task in sorted(by_task) for row in _draw(task, by_task[task], weights.get(task, 1.0), seed)]
    if not mixed:
        raise UserError("The mixture is empty; give a weight above 0 to a task that has rows.")
    random.Random(f"{seed}/order").shuffle(mixed)
    return mixed


def _draw(task: str, rows: Sequence[Example], weight: float, seed: int) -> list[Example]:
    whole = int(weight)
    rest = math.floor((weight - whole) * len(rows) + 0.5)
    return [*rows] * whole + random.Random(f"{seed}/{task}").sample(rows, rest)
