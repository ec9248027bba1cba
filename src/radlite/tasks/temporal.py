"""Temporal comparison: what changed since the prior study, each change with the words that say it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final, Literal

from radlite.sections import sentences
from radlite.tasks.answers import overlap, place, quote, squeeze, tally
from radlite.tasks.grammar import Edge, Grammar, spans
from radlite.tasks.prompts import cue, instruction
from radlite.tasks.task import Counts, Grounded, Task

Status = Literal["new", "worsened", "improved", "resolved", "unchanged"]
WORDING: Final[dict[Status, str]] = {
    "new": "New Finding",
    "worsened": "Worsened",
    "improved": "Improved",
    "resolved": "Resolved",
    "unchanged": "No Change",
}
"""How the paper's plain form writes each status."""
NO_COMPARISON: Final = "No comparison."

_STATUS = {word.casefold(): status for status, word in WORDING.items()}
_LINE = re.compile(r"-?\s*\[([^\]]+)\]\s*(.*?)\s*\(related to:\s*(.+?)\s*\)", re.IGNORECASE)
_ANATOMY = re.compile(
    r"\b(?:(?:right|left|bilateral|both)\s+)?(?:(?:upper|middle|lower|mid)\s+)?"
    r"(?:lobes?|lungs?|zones?|lung bases?|bases?|apex|apices|hila|hilum|hilar|pleural|pleura|hemithorax|mediastin\w+|"
    r"heart|cardiac|ribs?|liver|kidneys?|spleen|pancreas|breasts?|brain|vertebra\w*|segment \d)\b",
    re.IGNORECASE,
)
_LONGEST_CUE, _LONGEST_FINDING = 4, 4
_CURRENT = re.compile(r"^CURRENT (?:FINDINGS|IMPRESSION|REPORT)\b", re.MULTILINE)
"""Where the newer of two reports begins that are given as one text."""


@dataclass(frozen=True, slots=True)
class Change:
    """One change. Anatomy and place come from the report, not from the model's text."""

    finding: str
    status: Status
    cue: str
    """The words of the report that say so."""
    anatomy: str = field(default="", compare=False)
    start: int | None = field(default=None, compare=False)
    """Where the sentence stands in the report; None if no sentence has both finding and cue."""
    end: int | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Changes:
    """All changes in the order of the report; none if nothing is compared."""

    changes: tuple[Change, ...]


def render(answer: Changes) -> str:
    """Lines `- [Worsened] increased (related to: effusion)`; `No comparison.` for none."""
    lines = [f"- [{WORDING[one.status]}] {one.cue} (related to: {one.finding})" for one in answer.changes]
    return "\n".join(lines) or NO_COMPARISON


def read(text: str) -> Changes | None:
    """The changes in the order they are written; None if any line is in another form."""
    if text.strip().casefold() == NO_COMPARISON.casefold():
        return Changes(())
    changes = []
    for line in filter(str.strip, text.splitlines()):
        found = _LINE.fullmatch(line.strip())
        status = found and _STATUS.get(found[1].casefold())
        if not found or not status or not found[2]:
            return None
        changes.append(Change(squeeze(found[3]), status, squeeze(found[2])))
    return Changes(tuple(changes)) if changes else None


def grammar(inputs: Mapping[str, str]) -> Grammar:
    """Lines whose cue and finding are words of the report, in lower case."""
    report = inputs["report"].lower()
    cues = spans(report, _LONGEST_CUE)
    if not cues:
        return ((Edge((NO_COMPARISON,), 1),),)
    heads = tuple(f"- [{word}]" for word in WORDING.values())
    findings = spans(report, _LONGEST_FINDING)
    return (
        (Edge((NO_COMPARISON,), 5), Edge(heads, 1)),
        (Edge(cues, 2),),
        (Edge((" (related to:",), 3),),
        (Edge(findings, 4),),
        (Edge((")",), 5), Edge(tuple(f")\n{head}" for head in heads), 1)),
    )


def ground(answer: Changes, inputs: Mapping[str, str]) -> Grounded:
    """The sentence of each change: the next one, else any, that has both its finding and its cue."""
    report = inputs["report"]
    said = sentences(report)
    current = _CURRENT.search(report)
    last = sum(one.start < current.start() for one in said) if current else 0
    changes, evidence, missing = [], [], 0
    for change in answer.changes:
        order = [*range(last, len(said)), *range(last)]
        at = next((number for number in order if _says(report[said[number].start : said[number].end], change)), None)
        if at is None:
            missing += 1
            changes.append(change)
            continue
        last, found = at, said[at]
        anatomy = _ANATOMY.search(report, found.start, found.end)
        words = squeeze(anatomy[0]).lower() if anatomy else ""
        changes.append(replace(change, anatomy=words, start=found.start, end=found.end))
        evidence.append(quote(report, found.start, found.end))
    warnings = (f"{missing} of {len(changes)} changes are in no sentence of the report",) if missing else ()
    return Grounded(Changes(tuple(changes)), tuple(dict.fromkeys(evidence)), warnings)


def _says(sentence: str, change: Change) -> bool:
    return bool(place(change.cue, sentence) and place(change.finding, sentence))


def judge(answer: Changes | None, truth: Changes) -> dict[str, float]:
    """F1 over (finding, status), status accuracy where the finding is right, Jaccard over lines as the paper scores."""
    said = answer.changes if answer else ()
    pairs = [[(one.finding.casefold(), one.status) for one in changes] for changes in (said, truth.changes)]
    lines = [{(*pair, one.cue.casefold()) for pair, one in zip(part, changes, strict=True)}
             for part, changes in zip(pairs, (said, truth.changes), strict=True)]  # fmt: skip
    union = lines[0] | lines[1]
    return {
        "change_f1": overlap(*pairs)[2] if answer else 0.0,
        "finding_f1": overlap(*([finding for finding, _ in part] for part in pairs))[2] if answer else 0.0,
        "jaccard": len(lines[0] & lines[1]) / len(union) if union else float(answer is not None),
    }


def count(answer: Changes | None, truth: Changes) -> Counts:
    """Findings by status."""
    found, true = ([(one.status, one.finding.casefold()) for one in changes.changes] if changes else []
                   for changes in (answer, truth))  # fmt: skip
    return tally(found, true)


TEMPORAL = Task(
    name="temporal_comparison",
    inputs=("report",),
    cue=cue("temporal_comparison"),
    instruction=instruction("temporal_comparison"),
    form=Changes,
    read=read,
    render=render,
    judge=judge,
    metric="change_f1",
    max_tokens=192,
    grammar=grammar,
    ground=ground,
    count=count,
)
