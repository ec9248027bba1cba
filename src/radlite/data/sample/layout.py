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
BOILERPLATE = (
    wordings(
        "Images were reviewed on a workstation by the reporting radiologist with reference to the request form.",
        "All images were reviewed at a picture archiving workstation, and the request form was taken into account.",
        "The complete data set was read at a workstation together with the clinical request.",
        "Interpretation took place at a reading workstation with the clinical request at hand.",
    ),
    wordings(
        "The patient tolerated the procedure well and left the department in good condition.",
        "There were no immediate complications and the procedure was well tolerated.",
        "No adverse reaction occurred during or after the examination.",
        "The examination went without any complication and was tolerated well.",
    ),
    wordings(
        "Identity, allergies and relevant laboratory values were checked beforehand according to local rules.",
        "Before the study identity, allergies and laboratory values were confirmed as local rules require.",
        "Pre-procedure checks of identity, allergies and laboratory values were carried out.",
        "A pre-examination check covered identity, allergy status and laboratory values.",
    ),
    wordings(
        "Measurements are given in the longest dimension unless stated otherwise, taken with electronic calipers.",
        "Sizes were taken with electronic calipers; the longest dimension is given unless stated otherwise.",
        "Unless noted otherwise, sizes refer to the longest dimension and come from electronic calipers.",
        "Electronic calipers were used, and sizes mean the longest diameter where nothing else is said.",
    ),
    wordings(
        "Informed consent was obtained after the purpose, the course and the possible risks of the examination "
        "had been "
        "explained to the patient in plain language, and all questions were answered.",
        "The patient was informed about the purpose and course of the examination and its possible risks, had the "
        "opportunity to ask questions, and agreed to it.",
        "After an explanation of the examination, its purpose and its risks, the patient consented and had no "
        "open questions.",
        "Consent followed an explanation of purpose, course and risks in plain language; there were no further "
        "questions.",
    ),
    wordings(
        "The examination was planned and supervised by the radiologist on duty, who was present in the department "
        "during "
        "the whole procedure and checked the images before the patient left.",
        "A radiologist planned and supervised the study, and checked the images for completeness before the "
        "patient left.",
        "Planning and supervision were by the radiologist on duty, who checked all images before the patient was "
        "released.",
        "The duty radiologist supervised the study and looked through the images while the patient was still present.",
    ),
    wordings(
        "A copy of the images was sent to the archive, and the report will be available to the referring "
        "clinician in the "
        "electronic record as soon as it is signed.",
        "Images were archived, and the signed report is made available to the referring clinician in the "
        "electronic record.",
        "The images are in the archive; the referring clinician will find the signed report in the electronic record.",
        "All images were archived and the report goes to the referring clinician through the electronic record.",
    ),
    wordings(
        "Previous examinations, where there are any, were retrieved from the archive before the reading, and relevant "
        "documents of other departments were looked through as far as they were available in the electronic record.",
        "Earlier examinations and relevant documents of other departments were retrieved from archive and electronic "
        "record before the reading, as far as there were any.",
        "Before the reading, archive and electronic record were searched for earlier examinations and documents of "
        "other departments, and what was found was taken into account.",
        "For the reading, the archive and the record were searched for earlier examinations and relevant documents.",
    ),
    wordings(
        "The scanner passed its daily quality control, the protocol follows the recommendations of the professional "
        "societies, and the dose was kept as low as reasonably achievable for the question that was asked.",
        "Daily quality control of the scanner was passed; protocol and dose follow the recommendations of the "
        "professional societies for the question that was asked.",
        "The equipment had passed its quality control on that day, and the protocol is the one that the societies "
        "recommend for such a question.",
        "Quality control of the equipment was passed, and the recommended protocol for the question was used.",
    ),
    wordings(
        "This report was dictated with speech recognition; in spite of careful review errors may remain, "
        "and the reader is asked to contact the department if anything in it seems unclear or contradictory.",
        "Speech recognition was used for this report. It was reviewed, but errors may remain; please call "
        "the department if something is unclear.",
        "The text was dictated by speech recognition and reviewed; for anything that remains unclear the department "
        "can be called at any time.",
        "Dictated by speech recognition and reviewed; please call the department if anything seems unclear.",
    ),
)
"""Sentences found in any report that say nothing of the patient's state."""


@dataclass(frozen=True, slots=True)
class Study:
    """What a report is of. `history` may speak of other studies and systems; an answer never follows from it."""

    exam: str
    history: str
    technique: str
    comparison: str | None = None
    """None: drawn at random."""


def length(writer: Writer) -> int:
    """Words a report should have at least: most 70 to 150, one in thirty up to 340."""
    if writer.chance(1 / 30):
        return writer.random.randint(160, 340)
    return 60 + int(writer.random.expovariate(1 / 36))


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
    sections = [("exam", [study.exam])]
    if not writer.brief:
        sections += _preamble(writer, study)
    sections.append(("findings", list(findings)))
    if impression:
        numbered = len(impression) > 1 and writer.chance(0.5)
        sections.append(("impression", [f"{n}. {text}" if numbered else text for n, text in enumerate(impression, 1)]))
    return "\n".join(_section(name, texts, style, lines) for name, texts in sections)


def _preamble(writer: Writer, study: Study) -> list[tuple[str, list[str]]]:
    """The sections between examination and findings; the history in front or, now and then, at the end."""
    sections = []
    if writer.chance(0.75):
        sections.append(("technique", [study.technique]))
    if study.comparison is not None or writer.chance(0.6):
        sections.append(("comparison", [study.comparison or _comparison(writer)]))
    sections.insert(len(sections) if writer.chance(0.15) else 0, ("history", [study.history]))
    return sections


def _section(name: str, texts: list[str], style: int, lines: bool) -> str:
    body = ("\n" if lines and name in ("findings", "impression") else " ").join(texts)
    return f"{_HEADINGS[name][style]}:{chr(10) if style in (0, 2) and name == 'findings' else ' '}{body}"


def _comparison(writer: Writer) -> str:
    number = writer.random.randint(1, 12)
    return writer.say(_COMPARISON, month=_MONTHS[number - 1], number=number, year=writer.random.randint(2015, 2025))
