"""Temporal comparison: what changed since the prior study. The answer is a list of `{status, cue, finding}`."""

import re

from radlite.tasks.answers import overlap
from radlite.tasks.task import Task

STATUSES = ("New Finding", "Worsened", "Improved", "Resolved", "No Change")
NO_COMPARISON = "No comparison."

_STATUS = {status.casefold(): status for status in STATUSES}
_LINE = re.compile(r"-?\s*\[([^\]]+)\]\s*(.*?)\s*\(related to:\s*(.+?)\s*\)", re.IGNORECASE)


def render(changes: list[dict[str, str]]) -> str:
    """Lines `- [Worsened] increased (related to: effusion)`; `No comparison.` for none."""
    lines = [f"- [{change['status']}] {change['cue']} (related to: {change['finding']})" for change in changes]
    return "\n".join(lines) or NO_COMPARISON


def read(text: str) -> list[dict[str, str]] | None:
    """The changes in the order they are written; None if any line is in another form."""
    if text.strip().casefold() == NO_COMPARISON.casefold():
        return []
    changes = []
    for line in filter(str.strip, text.splitlines()):
        found = _LINE.fullmatch(line.strip())
        status = found and _STATUS.get(found[1].casefold())
        if not found or not status:
            return None
        changes.append({"status": status, "cue": found[2], "finding": found[3]})
    return changes or None


def judge(answer: list[dict[str, str]] | None, truth: list[dict[str, str]]) -> dict[str, float]:
    """F1 over (finding, status) pairs, and the Jaccard index over whole lines as the paper scores it."""
    if answer is None:
        return {"change_f1": 0.0, "jaccard": 0.0}
    pairs = [[(change["finding"].casefold(), change["status"]) for change in changes] for changes in (answer, truth)]
    lines = [
        {tuple(value.casefold() for value in change.values()) for change in changes} for changes in (answer, truth)
    ]
    union = lines[0] | lines[1]
    return {"change_f1": overlap(*pairs)[2], "jaccard": len(lines[0] & lines[1]) / len(union) if union else 1.0}


TEMPORAL = Task(
    name="temporal_comparison",
    inputs=("report",),
    cue="Changes since the prior study.",
    instruction=(
        "List each change since the prior study in the order of the report, one line each, in the form "
        "'- [Worsened] increased (related to: effusion)': the kind of change (New Finding, Worsened, Improved, "
        f"Resolved or No Change), the word that says it, the finding. If nothing is compared answer '{NO_COMPARISON}'"
    ),
    read=read,
    render=render,
    judge=judge,
    metric="change_f1",
    max_tokens=192,
)
