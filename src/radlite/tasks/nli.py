"""Radiology natural language inference: does the hypothesis follow from the premise?"""

from radlite.tasks.answers import choice, exact, one_of
from radlite.tasks.task import Task

LABELS = ("entailment", "contradiction", "neutral")

NLI = Task(
    name="radiology_nli",
    inputs=("premise", "hypothesis"),
    cue="Answer entailment, contradiction or neutral.",
    instruction=(
        "Does the hypothesis follow from the premise? Answer with one word: entailment if it must be true, "
        "contradiction if it cannot be true, neutral if the premise does not settle it."
    ),
    read=one_of(LABELS),
    render=str,
    judge=exact,
    metric="accuracy",
    max_tokens=8,
    labels=LABELS,
    grammar=choice(LABELS),
)
