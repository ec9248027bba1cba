"""What the findings of a report say, sentence by sentence, and how a pattern reads it."""

import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from radlite.sections import sections, sentences

Words = Sequence[tuple[str, Any]]
"""Patterns, each with what it stands for; the first that a text has decides."""


@dataclass(frozen=True, slots=True)
class Said:
    """The parts of a report that an extractor reads, in lower case and without line breaks."""

    exam: str
    """What was done: title and technique."""
    reason: str
    """Why."""
    findings: tuple[str, ...]
    """The sentences of findings and conclusions."""

    @property
    def whole(self) -> str:
        """All findings as one text."""
        return " ".join(self.findings)


_EXAM: Final = ("exam", "technique")
_ELSEWHERE: Final = frozenset((*_EXAM, "indication", "comparison", "recommendation"))


def read(report: str) -> Said:
    """The parts of `report`. Without headings its first line is the title, and all of it findings."""
    parts = sections(report)
    bodies = {name: [report[part.body : part.end] for part in parts if part.name == name] for name in _ELSEWHERE}
    title = report.strip().partition("\n")[0][:200] if not parts or parts[0].name == "other" else ""
    away = [(part.start, part.end) for part in parts if part.name in _ELSEWHERE]
    headings = {(part.start, part.body) for part in parts}
    found = (
        report[one.start : one.end]
        for one in sentences(report)
        if not any(start <= one.start < end for start, end in away)
        and not any(start <= one.start and one.end <= body for start, body in headings)
    )
    return Said(
        _plain(" ".join((title, *itertools.chain.from_iterable(bodies[name] for name in _EXAM)))),
        _plain(" ".join(bodies["indication"])),
        tuple(map(_plain, found)),
    )


def _plain(text: str) -> str:
    return " ".join(re.sub(r"[\u2010-\u2013]", "-", text).lower().split())


def lesions(said: Said, begins: str, near: int = 3, apart: str = r"(?!)", unless: str = r"(?!)") -> Iterator[str]:
    """Each sentence that matches `begins` and not `unless`, with up to `near` sentences after it.

    Those that begin another lesion, or match `apart`, and what follows them, do not belong to it.
    """
    other = rf"{begins}|{apart}"
    for number, sentence in enumerate(said.findings):
        if re.search(begins, sentence) and not re.search(unless, sentence):
            following = said.findings[number + 1 : number + 1 + near]
            yield " ".join((sentence, *itertools.takewhile(lambda text: not re.search(other, text), following)))


_SIZE: Final = re.compile(r"(\d+(?:\.\d+)?)(?:\s?(?:mm|cm)?\s?[x×]\s?\d+(?:\.\d+)?){0,2}\s?(mm|cm)\b")


def size(text: str) -> float | None:
    """The largest length in `text`, in mm; of `12 x 9 mm` the first is taken for the longest."""
    found = [float(number) * (10 if unit == "cm" else 1) for number, unit in _SIZE.findall(text)]
    return max(found, default=None) or None


def first(text: str, words: Words) -> Any:
    """What the first pattern that `text` has stands for; None if it has none."""
    return next((value for pattern, value in words if re.search(pattern, text)), None)


def only(text: str, words: Words) -> Any:
    """What the patterns that `text` has stand for, if they agree; None if there is none, or they differ."""
    found = {value for pattern, value in words if re.search(pattern, text)}
    return found.pop() if len(found) == 1 else None


_DENIED: Final = re.compile(r"\b(?:no|not|without|absent|neither|nor|denied)\b[\w -]{0,40}$")
_DENIAL: Final = re.compile(r"\b(?:no|without|absent|neither|nor|not (?:show|have|demonstrate|contain|exhibit))\b")
_DOUBTED: Final = re.compile(
    r"\b(?:possib\w+|probabl\w+|suspected|suspicious for|equivocal|question\w*|may|might|could|cannot|exclude)\b"
)
_ABSENT: Final = re.compile(
    r"[\w -]{0,20}?(?:\babsent\b|\bnone\b|\bnegative\b|\b(?:is|are|was) not\b|\bnot (?:seen|present))"
)


def stated(text: str, pattern: str) -> bool | None:
    """Whether a feature is there, as said where it is first named.

    None if it is not named, is in doubt, or stands in a list of which a pattern cannot tell how far its `no` reaches.
    """
    found = re.search(pattern, text)
    if not found:
        return None
    clause = re.split(r"[.;:]|\bbut\b|\bwith\b|\bhowever\b", text[: found.start()])[-1]
    near = re.split(r",|\band\b", clause)[-1]
    if _DENIED.search(near) or re.match(r"\s*:?\s*(?:no|none|absent|negative)\b", text[found.end() :]):
        return False
    if _ABSENT.match(text, found.end()):
        return False
    if _DOUBTED.search(near) or (_DENIAL.search(clause) and not re.match(r"\s*(?:an?|the)\b", near)):
        return None
    return True
