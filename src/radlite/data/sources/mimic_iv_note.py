"""MIMIC-IV-Note: radiology reports of all modalities with their impressions, and the RADS categories they state.

A note is split into sections by `radlite.sections`; the input is what is neither impression, recommendation nor
addendum. Where a note has no examination of its own, `exam_name` of the details opens the input. Addenda are notes of
their own (`AR`) and are dropped; a note that has one is tagged `has_addendum`, for its conclusion may have changed.

A category counts as stated if the impression gives it for the present study, all of the note agrees, and it is neither
a range, nor incomplete (`O-RADS 3`), nor denied (`no LR-5 lesion`). Such a note gives two rows: as it is, where the
category is only to be found, and with every mention masked, where it is to be inferred from the findings.

Assumed, as in the reports of MIMIC-CXR and not confirmed for these notes: preliminary readings are marked `WET READ`
and stand before a line `FINAL REPORT`; the section `NOTIFICATION` says who was called. Neither is used.
"""

import re
from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

from radlite.data.sources import construct
from radlite.data.sources.files import read_csv
from radlite.data.sources.mimic_cxr import says
from radlite.data.sources.source import Source, Tally
from radlite.rads import labels
from radlite.rads.mentions import Mention, find, mask
from radlite.sections import sections
from radlite.tasks import Example, named
from radlite.tasks.rads import assignment

_NOTES: Final = ("note/radiology.csv", "radiology.csv")
_DETAILS: Final = ("note/radiology_detail.csv", "radiology_detail.csv")
_ID: Final = re.compile(r"(\d{8})-(RR|AR)-(\d{1,5})")

_FINAL: Final = re.compile(r"^[ \t]*FINAL REPORT[ \t]*$", re.MULTILINE)
_PRELIMINARY: Final = re.compile(r"^[ \t]*WET READ\b", re.MULTILINE)
_NOTIFICATION: Final = re.compile(
    r"^[ \t]*NOTIFICATIONS?(?:\(S\))?:.*?(?=^[ \t]*[A-Z][A-Z ()/]{3,40}:|\Z)", re.MULTILINE | re.DOTALL
)
_CONCLUDING: Final = {"impression", "recommendation", "addendum"}

# `No mammographic evidence of malignancy BI-RADS 1` denies the malignancy, not the category.
_DENIED: Final = re.compile(
    r"\b(?:no|not|nor|neither|without)\b(?!(?:\s\w+){0,2}\s(?:evidence|signs?|findings)\s(?:of|for)\s(?:\w+\s)?malig)"
    r"[^.,;:()\n-]{0,60}$",
    re.IGNORECASE,
)

_MODALITIES: Final = (
    ("mr", re.compile(r"\bMR(?:I|A|V|CP|E)?\b")),
    ("ct", re.compile(r"\bCT(?:A|V|U)?\b")),
    ("us", re.compile(r"\bUS\b|ULTRASOUND|DUPLEX|DOPP|\bVEINS?\b")),
    ("mammography", re.compile(r"MAMMO|TOMOSYNTHESIS")),
    ("radiograph", re.compile(r"\bCHEST\b|\bPORTABLE\b|\bVIEWS?\b|\b(?:AP|PA)\b|\bXR\b")),
)

# A note in 64 bits: patient (27), number of the note (17), number of its examination's name (20).
_NAME_BITS: Final = 20


@dataclass(slots=True)
class _Details:
    """What the details say of all notes, compactly: there are millions."""

    names: list[str] = field(default_factory=list)
    exams: "array[int]" = field(default_factory=lambda: array("Q"))
    """Sorted, note and name of its examination."""
    amended: set[int] = field(default_factory=set)
    """Notes that have an addendum."""

    def of(self, note: int) -> list[str]:
        """The names of a note's examinations."""
        at = bisect_left(self.exams, note << _NAME_BITS)
        found = []
        while at < len(self.exams) and self.exams[at] >> _NAME_BITS == note:
            found.append(self.names[self.exams[at] & (1 << _NAME_BITS) - 1])
            at += 1
        return found


def rows(folder: Path, tally: Tally) -> Iterator[Example]:
    """For each report an impression; where it states a RADS category, this from the note as it is and masked."""
    details = _details(folder, tally)
    for line, row in read_csv(folder, _NOTES, ("note_id", "subject_id", "note_type", "text"), tally, blank=("text",)):
        note = _ID.fullmatch(row["note_id"].strip())
        if not note or (note[1], note[2]) != (row["subject_id"].strip(), row["note_type"].strip()):
            why = "note_id is not of its subject_id and note_type" if note else "note_id is not SUBJECT-RR-NUMBER"
            tally.reject(folder / "radiology.csv", line, why)
        elif note[2] == "AR":
            tally.dropped["addendum"] += 1
        elif (text := _final(row["text"])) is None:
            tally.dropped["a preliminary reading without an end"] += 1
        else:
            key = _key(note)
            exams = details.of(key)
            tags = (*_modality(exams), *(("has_addendum",) if key in details.amended else ()))
            make = partial(MIMIC_IV_NOTE.example, patient=f"mimic:{note[1]}", study=f"mimic:{note[0]}")
            parts = _parts(text, exams)
            yield from _impression(note[0], parts, tags, make, tally)
            yield from _category(note[0], parts, tags, make, tally)


@dataclass(frozen=True, slots=True)
class _Part:
    """A section of a note."""

    name: str
    text: str
    """With its heading."""
    body: str


def _parts(text: str, exams: Sequence[str]) -> list[_Part]:
    found = [
        _Part(one.name, construct.plain(text[one.start : one.end]), text[one.body : one.end]) for one in sections(text)
    ]
    if exams and all(part.name != "exam" for part in found):
        found.insert(0, _Part("exam", f"EXAM: {', '.join(exams)}", ""))
    return found


def _final(text: str) -> str | None:
    """The note without preliminary reading and notification; None if the former cannot be told from the rest."""
    *before, report = _FINAL.split(text)
    if _PRELIMINARY.search(report):
        return None
    if not any(map(_PRELIMINARY.search, before)):
        report = "\n".join((*before, report))
    return _NOTIFICATION.sub("", report)


def _impression(
    id: str, parts: Sequence[_Part], tags: tuple[str, ...], make: Callable[..., Example], tally: Tally
) -> Iterator[Example]:
    findings = [part.body for part in parts if part.name == "findings" and says(part.body)]
    impressions = [part.body for part in parts if part.name == "impression" and says(part.body)]
    answer = "\n".join(filter(None, map(construct.impression, impressions)))
    if not answer:
        tally.dropped["impression_generation: no impression"] += 1
    elif not findings:
        tally.dropped["impression_generation: no findings"] += 1
    elif " ".join(findings).split() == " ".join(impressions).split():
        tally.dropped["impression_generation: findings and impression are the same text"] += 1
    else:
        text = "\n".join(part.text for part in parts if part.name not in _CONCLUDING and part.text)
        yield make(task="impression_generation", id=id, inputs={"report": text}, answer=answer, tags=tags)


def _category(
    id: str, parts: Sequence[_Part], tags: tuple[str, ...], make: Callable[..., Example], tally: Tally
) -> Iterator[Example]:
    report = "\n".join(part.text for part in parts if part.text)
    found, why = _stated(report)
    if found is None:
        tally.dropped[f"rads_assignment: {why}"] += 1
        return
    task = named("rads_assignment")
    make = partial(make, task=task.name, answer=task.render(assignment(found.category, found.modifiers)), tier="silver")
    tags = (f"system:{found.system}", *tags)
    yield make(id=f"{id}/stated", inputs={"report": report}, tags=("stated", *tags))
    if any(part.name == "findings" and says(part.body) for part in parts):
        yield make(id=f"{id}/masked", inputs={"report": mask(report).strip()}, tags=("masked", *tags))
    else:
        tally.dropped["rads_assignment: masked, but no findings to infer it from"] += 1


def _stated(report: str) -> tuple[Mention | None, str]:
    """The one category that the impression states, or why there is none."""
    current = [one for one in find(report) if not one.prior]
    if not current:
        return None, "no current category"
    spans = [(part.start, part.end) for part in sections(report) if part.name == "impression"]
    own = [one for one in current if any(start <= one.start < end for start, end in spans)]
    if not own:
        return None, "no category in the impression"
    if len({one.category for one in current}) > 1 or any(one.range for one in current):
        return None, "several categories or a range"
    if own[0].category not in labels():
        return None, "an incomplete category"
    if any(_DENIED.search(report, max(0, one.start - 120), one.start) for one in own):
        return None, "a denied category"
    return max(own, key=lambda one: len(one.modifiers)), ""


def _details(folder: Path, tally: Tally) -> _Details:
    found = _Details()
    numbers: dict[str, int] = {}
    columns = ("note_id", "field_name", "field_value")
    for line, row in read_csv(folder, _DETAILS, columns, tally, blank=("field_value",)):
        name, value = row["field_name"].strip(), " ".join(row["field_value"].split())
        note = _ID.fullmatch(value if name == "parent_note_id" else row["note_id"].strip())
        if name not in ("exam_name", "parent_note_id") or not value:
            continue
        number = numbers.setdefault(value, len(numbers)) if name == "exam_name" else 0
        if not note or number >> _NAME_BITS:
            why = f"{name} with too many values" if note else f"{name} of no note"
            tally.reject(folder / "radiology_detail.csv", line, why)
        elif name == "parent_note_id":
            found.amended.add(_key(note))
        elif note[2] == "RR":
            found.exams.append(_key(note) << _NAME_BITS | number)
    found.names = list(numbers)
    found.exams = array("Q", sorted(found.exams))
    return found


def _key(note: re.Match[str]) -> int:
    return int(note[1]) << 17 | int(note[3])


def _modality(exams: Sequence[str]) -> tuple[str, ...]:
    """The modality that all examinations of a note have, if it is known."""
    found = {next((name for name, words in _MODALITIES if words.search(exam.upper())), "") for exam in exams}
    return tuple(found) if len(found) == 1 and "" not in found else ()


MIMIC_IV_NOTE = Source(
    name="mimic_iv_note",
    title="MIMIC-IV-Note radiology reports, with the RADS categories they state",
    licence="PhysioNet Credentialed Health Data License 1.5.0",
    access="credentialed",
    tier="gold",
    citation=(
        "A. E. W. Johnson et al.: MIMIC-IV-Note, deidentified free-text clinical notes, version 2.2. PhysioNet, 2023."
    ),
    tasks=("impression_generation", "rads_assignment"),
    how_to=(
        "1. Become a credentialed user of PhysioNet (physionet.org); its training is CITI's Data or Specimens Only.\n"
        "2. Sign the data use agreement of mimic-iv-note there.\n"
        "3. Download note/radiology.csv.gz and note/radiology_detail.csv.gz.\n"
        "4. Put them into one folder and run: radlite data build --source mimic_iv_note=FOLDER --out corpus"
    ),
    rows=rows,
)
