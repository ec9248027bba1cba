"""Impression generation: the conclusions that follow from the findings, one a line."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from radlite.tasks.answers import free_text, overlap, quote, rouge_l, squeeze, words
from radlite.tasks.findings import finding_f1, findings, support
from radlite.tasks.prompts import cue, instruction
from radlite.tasks.task import Evidence, Grounded, Task

_NUMBER = re.compile(r"(?:[-*\u2022]|\(?\d{1,2}[.)])\s+")


@dataclass(frozen=True, slots=True)
class Conclusion:
    """One line of an impression."""

    text: str
    sources: tuple[Evidence, ...] = field(default=(), compare=False)
    """The sentences of the report it rests on, best first. They come from the report, not from the model."""


@dataclass(frozen=True, slots=True)
class Impression:
    """The conclusions, most important first."""

    lines: tuple[Conclusion, ...]


def read(text: str) -> Impression | None:
    """One conclusion a line, without numbers or dashes before it; None when there is none."""
    prose = free_text(text)
    if prose is None:
        return None
    lines = [squeeze(_NUMBER.sub("", line.strip(), count=1)) for line in prose.splitlines()]
    return Impression(tuple(Conclusion(line) for line in lines if line)) if any(lines) else None


def render(impression: Impression) -> str:
    """One conclusion a line."""
    return "\n".join(line.text for line in impression.lines)


def ground(impression: Impression, inputs: Mapping[str, str]) -> Grounded:
    """The sentences each line rests on; a warning for a finding, side or number that the report does not have."""
    report, lines, warnings = inputs["report"], [], []
    for number, line in enumerate(impression.lines, start=1):
        found = support(line.text, report)
        sources = tuple(quote(report, source.start, source.end) for source in found.sources)
        lines.append(replace(line, sources=sources))
        warnings += [f"line {number}: {warning}" for warning in found.warnings]
    evidence = dict.fromkeys(source for line in lines for source in line.sources)
    return Grounded(Impression(tuple(lines)), tuple(evidence), tuple(warnings))


def judge(answer: Impression | None, truth: Impression) -> dict[str, float]:
    """F1 over the findings with their negation and side, ROUGE-L as the paper scores it, and word F1.

    ROUGE prefers a negation error to a synonym; the finding F1, from a lexicon of the project, does not.
    """
    said, right = render(answer) if answer else "", render(truth)
    return {
        "lexicon_finding_f1": finding_f1(said, right) if answer else 0.0,
        "rouge_l": rouge_l(said, right),
        "word_f1": overlap(words(said), words(right))[2] if answer else 0.0,
    }


def group(truth: Impression) -> str:
    """`abnormal` if it calls any finding present or possible, by a lexicon."""
    found = (one for one in findings(render(truth)) if one.name not in ("No Finding", "Support Devices"))
    return "abnormal" if any(one.state != "negative" for one in found) else "normal"


IMPRESSION = Task(
    name="impression_generation",
    inputs=("report",),
    cue=cue("impression_generation"),
    instruction=instruction("impression_generation"),
    form=Impression,
    read=read,
    render=render,
    judge=judge,
    metric="lexicon_finding_f1",
    max_tokens=256,
    ground=ground,
    group=group,
)
