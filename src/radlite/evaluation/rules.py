"""Answers without a model: what a careful programmer gets from words and tables alone. A baseline, not a product."""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

from radlite.rads import NO_RADS, features, labels, system_of
from radlite.routing.detection import detect
from radlite.sections import sections, sentences
from radlite.tasks import Example, named
from radlite.tasks.abnormality import ABNORMALITY
from radlite.tasks.answers import squeeze
from radlite.tasks.findings import findings
from radlite.tasks.impression import IMPRESSION, Conclusion, Impression
from radlite.tasks.rads import RADS
from radlite.tasks.temporal import TEMPORAL, Change, Changes, Status

Inputs = Mapping[str, str]
Rule = Callable[[Inputs], str]
"""An item's inputs to an answer as plain text."""


def rule_for(task: str, train: Sequence[Example]) -> Rule | None:
    """The rules of a task, with what they take from its training examples; None where there are none."""
    maker = _MAKERS.get(named(task).name)
    return maker([example for example in train if example.task == task]) if maker else None


def _rads(train: Sequence[Example]) -> Rule:
    """The category that the report states. Where it states none: no system, if the study is none of a system's; else
    what the guideline's table makes of the findings, or failing that the system's most frequent category in training.
    """
    seen: dict[str, Counter[str]] = {}
    for example in train:
        if (read := RADS.read(example.answer)) and read.system:
            seen.setdefault(read.system, Counter())[example.answer] += 1

    def rule(inputs: Inputs) -> str:
        if stated := RADS.draft(inputs):
            return stated
        report = inputs["report"]
        system = detect(report).system
        if not system:
            return NO_RADS
        found = features.check(report, system)
        if found and found.ruling.category in labels():
            return found.ruling.category
        usual = sorted(seen.get(system, {}).items(), key=lambda entry: (-entry[1], entry[0]))
        return usual[0][0] if usual else next(code for code in labels() if system_of(code) == system)

    return rule


def _abnormality(train: Sequence[Example]) -> Rule:
    """A lexicon of findings with their denial and doubt."""
    return ABNORMALITY.draft


_WORDS: Final[Mapping[Status, str]] = {
    "resolved": r"resolved|resolution of|cleared|no longer (?:seen|present|visible|identified)|has disappeared",
    "unchanged": r"unchanged|stable|similar|no (?:significant |interval |relevant )*change|persistent|persists",
    "worsened": r"worsen(?:ed|ing)|increas(?:ed?|ing)|enlarg(?:ed|ing)|progress(?:ed|ion|ive|ing)|larger|grown",
    "improved": r"improv(?:ed|ing|ement)|decreas(?:ed?|ing)|smaller|reduced|diminished|regress(?:ed|ion)",
    "new": r"interval development of|newly|new|developed|appeared",
}
_CHANGED = {status: re.compile(rf"\b(?:{words})\b", re.IGNORECASE) for status, words in _WORDS.items()}


def _temporal(train: Sequence[Example]) -> Rule:
    """Each finding of the lexicon with the nearest word for a change in its sentence."""
    return lambda inputs: TEMPORAL.render(Changes(tuple(_changes(inputs["report"]))))


def _changes(report: str) -> Iterator[Change]:
    found = findings(report)
    for sentence in sentences(report):
        cues = [
            (match.start() + sentence.start, match[0], status)
            for status, pattern in _CHANGED.items()
            for match in pattern.finditer(report[sentence.start : sentence.end])
        ]
        for one in found:
            if cues and sentence.start <= one.start < sentence.end:
                _, cue, status = min(cues, key=lambda cue: abs(cue[0] - one.start))
                yield Change(squeeze(report[one.start : one.end]).lower(), status, squeeze(cue).lower())


def _lead(train: Sequence[Example]) -> Rule:
    """The first sentences of the findings, as many as impressions of the training data usually have lines."""
    lines = sorted(len(read.lines) for example in train if (read := IMPRESSION.read(example.answer)))
    usual = lines[len(lines) // 2] if lines else 1

    def rule(inputs: Inputs) -> str:
        report = inputs["report"]
        parts = [part for part in sections(report) if part.name == "findings"]
        begin, end = (parts[0].body, parts[0].end) if parts else (0, len(report))
        said = [report[one.start : one.end] for one in sentences(report) if begin <= one.start < end]
        return IMPRESSION.render(Impression(tuple(Conclusion(squeeze(text)) for text in (said or [report])[:usual])))

    return rule


_MAKERS: Final[Mapping[str, Callable[[Sequence[Example]], Rule]]] = {
    RADS.name: _rads,
    ABNORMALITY.name: _abnormality,
    TEMPORAL.name: _temporal,
    IMPRESSION.name: _lead,
}
