"""How a report is laid out: headings, order, sentences to paragraphs, a history full of things that do not count."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from radlite.data.sample.wording import Writer, wordings

_AGE = wordings(
    "{age}-year-old {sex}",
    "{age} year old {sex}",
    "{sex}, {age} years",
    "{age}{letter}",
    "{age} y/o {sex}",
    "{sex} of {age} years",
)
_COMPARISON = wordings(
    "None available.",
    "{month} {year}.",
    "Prior study from {month} {year}.",
    "{year}-{number:02d}.",
    "Study dated {number}/{year}.",
    "None.",
    "No prior studies.",
    "Outside examination of {month} {year}.",
)
_MONTHS = ("January", "February", "March", "April", "May", "June", "July", "August", "September", "October",
           "November", "December")  # fmt: skip
_HEADINGS = {
    "exam": ("EXAMINATION", "EXAM", "Examination", "STUDY", "Procedure"),
    "history": ("CLINICAL HISTORY", "INDICATION", "Clinical information", "HISTORY", "Indication"),
    "technique": ("TECHNIQUE", "Technique", "PROTOCOL", "TECHNIQUE", "Technique"),
    "comparison": ("COMPARISON", "Comparison", "COMPARISON", "PRIOR STUDIES", "Comparison"),
    "findings": ("FINDINGS", "Findings", "FINDINGS", "REPORT", "Findings"),
    "impression": ("IMPRESSION", "Impression", "CONCLUSION", "IMPRESSION", "Impression"),
}


@dataclass(frozen=True, slots=True)
class Study:
    """What a report is of. `history` may speak of other studies and systems; an answer never follows from it."""

    exam: str
    history: str
    technique: str
    comparison: str | None = None
    """None: drawn at random."""


def patient(writer: Writer, sex: str | None = None, low: int = 28, high: int = 89) -> str:
    """The patient in words: age and sex."""
    sex = sex or writer.one(("male", "female"))
    noun = writer.one((sex, "man" if sex == "male" else "woman"))
    return articles(writer.say(_AGE, age=writer.random.randint(low, high), sex=noun, letter=sex[0].upper()))


def articles(text: str) -> str:
    """The text with `a` made `an` before vowels and before 8, 11, 18 and the eighties, which templates cannot know."""
    return re.sub(r"\b([Aa]) (?=[aeioAEIO]|8\d?\b|1[18]\b)", r"\1n ", text)


def compose(writer: Writer, study: Study, findings: Sequence[str], impression: Sequence[str] = ()) -> str:
    """The report: sections in one of the usual styles. `findings` and `impression` are whole sentences, kept in order.

    Without `impression` the section is left out (its content would be the answer, or is not wanted).
    """
    style = int(writer.random.random() * 5)
    lines = writer.chance(0.3)
    sections = [("exam", [study.exam]), ("history", [study.history])]
    if writer.chance(0.75):
        sections.append(("technique", [study.technique]))
    if study.comparison is not None or writer.chance(0.6):
        sections.append(("comparison", [study.comparison or _comparison(writer)]))
    if writer.chance(0.15):
        sections[1:] = [*sections[2:], sections[1]]
    sections.append(("findings", list(findings)))
    if impression:
        numbered = len(impression) > 1 and writer.chance(0.5)
        sections.append(("impression", [f"{n}. {text}" if numbered else text for n, text in enumerate(impression, 1)]))
    return "\n".join(_section(name, texts, style, lines) for name, texts in sections)


def _section(name: str, texts: list[str], style: int, lines: bool) -> str:
    body = ("\n" if lines and name in ("findings", "impression") else " ").join(texts)
    return f"{_HEADINGS[name][style]}:{chr(10) if style in (0, 2) and name == 'findings' else ' '}{body}"


def _comparison(writer: Writer) -> str:
    number = writer.random.randint(1, 12)
    return writer.say(_COMPARISON, month=_MONTHS[number - 1], number=number, year=writer.random.randint(2015, 2025))
