"""RADS assignment: one category of one of ten systems, or none. The answer is the canonical spelling."""

from radlite.rads import NO_RADS, labels
from radlite.tasks.answers import choice, exact, one_of
from radlite.tasks.task import Task

RADS = Task(
    name="rads_assignment",
    inputs=("report",),
    cue="RADS category.",
    instruction=(
        "Which category of which ACR-style reporting system (BI-RADS, TI-RADS, LI-RADS, PI-RADS, VI-RADS, O-RADS, "
        "CAD-RADS, Lung-RADS, NI-RADS, GB-RADS) do the findings of this study call for? Answer with the category only, "
        f"such as 'BI-RADS 4B' or 'LR-5'; '{NO_RADS}' if none of the systems applies to this study."
    ),
    read=one_of(labels()),
    render=str,
    judge=exact,
    metric="accuracy",
    max_tokens=24,
    labels=labels(),
    grammar=choice(labels()),
)
