"""RXL-RADSet: synthetic reports of the ten RADS systems, written by language models and checked by radiologists.

`metadata.csv` has one row a report (Report_Number,Modality,Profile,RADS_score); the reports themselves come as PDF or
text files of that name, or as `reports.csv`. Where the table in the repository's README differs from the metadata, the
metadata counts. Reports `L_US` can be of surveillance or of contrast-enhanced ultrasound: a score of 1 to 3 is taken
for one of surveillance (US-1 to US-3; all hundred of the published metadata are such), any other one for LR-4 to LR-TIV
of contrast-enhanced ultrasound, as surveillance has no such.

The reports are given on request only and were not seen here but for three samples: that `reports.csv` has the columns
Report_Number and report is our own form, for users who have the texts in a table.
"""

import io
import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from radlite.data.sources.construct import plain
from radlite.data.sources.files import _library, read_csv, read_members
from radlite.data.sources.source import Source, Tally
from radlite.errors import UserError
from radlite.rads import category, labels
from radlite.rads.mentions import mask
from radlite.tasks import Example, named
from radlite.tasks.rads import assignment

_TASK = "rads_assignment"
_COLUMNS = ("Report_Number", "Modality", "Profile", "RADS_score")

# R001_B_MG, R_001_GB_US, R073_B_Us, R001_Lung: number, system, and for most the modality.
_NUMBER = re.compile(r"R_?\d+_(?P<system>B|Cor|GB|L|LRTR|Lung|NI|O|P|T|VI)(?:_(?P<modality>MG|MRI?|US|CT))?", re.I)
_SYSTEMS = {"B": "BI-RADS", "COR": "CAD-RADS", "GB": "GB-RADS", "L": "LI-RADS", "LRTR": "LI-RADS", "LUNG": "Lung-RADS",
            "NI": "NI-RADS", "O": "O-RADS", "P": "PI-RADS", "T": "TI-RADS", "VI": "VI-RADS"}  # fmt: skip
# What a score looks like, whether or not the system has such a category.
_SITE = r"[0-4][ab]?|X"
_SCORE = re.compile(
    rf"[0-6][abcx]?|NC?|M|TIV|(?:{_SITE}) ?// ?(?:{_SITE})|(?:non)?viable|nonprogressing|equivocal|nonevaluable",
    re.I,
)


@dataclass(frozen=True, slots=True)
class _Entry:
    """What the metadata say of a report."""

    number: str
    answer: str
    tags: tuple[str, ...]


def rows(folder: Path, tally: Tally) -> Iterator[Example]:
    """Two examples a report, as it is and with every mention of a category masked; one where there is no mention."""
    entries = _entries(folder, tally)
    waiting = dict(entries)
    for path, line, name, text in _reports(folder, tally):
        key = _key(name)
        if key not in entries:
            tally.dropped[f"{_TASK}: no usable score for the report"] += 1
        elif key not in waiting:
            tally.dropped[f"{_TASK}: a second copy of the report"] += 1
        else:
            entry = waiting.pop(key)
            if text:
                yield from _examples(entry, text, tally)
            else:
                tally.reject(path, line, "no text")
    tally.dropped[f"{_TASK}: no report for the score"] += len(waiting)


def _examples(entry: _Entry, text: str, tally: Tally) -> Iterator[Example]:
    masked = mask(text).strip()
    variants = {"masked": masked} if masked == text else {"stated": text, "masked": masked}
    for variant, report in variants.items():
        if re.search(r"\w", report):
            yield RADS.example(
                task=_TASK,
                id=f"{entry.number}/{variant}",
                inputs={"report": report},
                answer=entry.answer,
                patient=f"rads:{entry.number}",
                study=f"rads:{entry.number}",
                tags=(variant, *entry.tags),
            )
        else:
            tally.dropped[f"{_TASK}: nothing but the category"] += 1


def _entries(folder: Path, tally: Tally) -> dict[str, _Entry]:
    """Key of each report with a canonical category to what the metadata say of it."""
    entries: dict[str, _Entry] = {}
    seen: set[str] = set()
    for line, row in read_csv(folder, "metadata.csv", _COLUMNS, tally):
        number, modality, profile, score = (row[name].strip() for name in _COLUMNS)
        found = _NUMBER.fullmatch(number)
        why = _fault(number, modality, profile, score)
        if why or not found or _key(number) in seen:
            tally.reject(folder / "metadata.csv", line, why or "a repeated Report_Number")
            continue
        seen.add(_key(number))
        system = _SYSTEMS[found["system"].upper()]
        code = _code(found["system"].upper(), (found["modality"] or modality).upper(), score)
        known = category(code)
        if not known or code not in labels():
            tally.dropped[f"{_TASK}: {system} has no category {score.upper()}"] += 1
            continue
        tags = (f"system:{system}", f"variant:{known.scale}", f"modality:{modality}", f"profile:{profile}")
        entries[_key(number)] = _Entry(number, named(_TASK).render(assignment(code)), tags)
    return entries


def _fault(number: str, modality: str, profile: str, score: str) -> str:
    """Why a row of the metadata cannot be read; empty where it can."""
    if not _NUMBER.fullmatch(number):
        return "Report_Number has another form"
    if modality not in ("CT", "MRI", "Mammography", "US"):
        return "Modality is another one"
    if profile not in ("1", "2", "3", "4", "5"):
        return "Profile is not 1 to 5"
    return "" if _SCORE.fullmatch(score) else "RADS_score has another form"


def _key(number: str) -> str:
    """The number without case and underscores: a file need not be spelled as its row is."""
    return re.sub(r"[^A-Z0-9]", "", number.upper())


def _code(system: str, modality: str, score: str) -> str:
    """The canonical spelling of a score, whether or not there is such a category."""
    if system == "LRTR":
        return f"LR-TR {score.capitalize()}"
    if system == "NI":
        primary, _, neck = score.partition("//")
        return f"NI-RADS primary {_site(primary)}, neck {_site(neck)}"
    score = score.upper()
    if system == "L":
        return f"US-{score}" if modality == "US" and score in ("1", "2", "3") else f"LR-{score}"
    name = _SYSTEMS[system]
    return (
        f"{name} {modality.replace('MRI', 'MR').replace('MR', 'MRI')} {score}" if system == "O" else f"{name} {score}"
    )


def _site(score: str) -> str:
    return score.strip().lower().replace("x", "X")


def _reports(folder: Path, tally: Tally) -> Iterator[tuple[Path, int, str, str]]:
    """(file, line, Report_Number, text) of `reports.csv`, the text files and the PDFs; empty text where there is none.

    Raises `UserError` if there is none of them.
    """
    found = 0
    if any(folder.rglob("reports.csv")) or any(folder.rglob("reports.csv.gz")):
        for line, row in read_csv(folder, "reports.csv", ("Report_Number", "report"), tally):
            found += 1
            yield folder / "reports.csv", line, row["Report_Number"], plain(row["report"])
    for suffix, read in ((".txt", _text_of_file), (".pdf", _text_of_pdf)):
        for name, content in read_members(folder, (), suffix, "reports named by Report_Number", tally, _NUMBER):
            path = folder / name
            found += 1
            tally.rows += 1
            text = read(content)
            if text is None:
                tally.reject(path, 1, f"no readable {suffix[1:]} file")
            else:
                yield path, 1, path.stem, plain(text)
    if not found:
        raise UserError(
            f"{folder} has no reports (expected R001_B_MG.pdf or R001_B_MG.txt and so on, in it or below, or "
            "reports.csv with the columns Report_Number and report); put them beside metadata.csv."
        )


def _text_of_file(content: bytes) -> str | None:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return None


def _text_of_pdf(content: bytes) -> str | None:
    """The text of all pages; None if it is no PDF, or a damaged or locked one."""
    if b"%PDF-" not in content[:1024]:
        return None
    pypdf = _library("pypdf", "PDF")
    logging.getLogger("pypdf").setLevel(logging.CRITICAL + 1)  # Its warnings quote what it reads.
    try:
        return "\n".join(page.extract_text().strip() for page in pypdf.PdfReader(io.BytesIO(content)).pages)
    except Exception:  # on a damaged file pypdf raises whatever its parts do
        return None


RADS = Source(
    name="rads",
    title="RXL-RADSet: synthetic reports of ten RADS systems, checked by radiologists",
    licence="CC BY-NC-SA 4.0",
    access="registration",
    tier="synthetic",
    citation="RXL-RADSet: a radiologist-validated synthetic benchmark for language models. arXiv:2601.03232, 2026.",
    tasks=(_TASK,),
    how_to=(
        "1. Request access with the form that github.com/RadioX-Labs/RADSet links to, and accept its licence "
        "(CC BY-NC-SA 4.0).\n"
        "2. Download the reports as the e-mail says, and assets/samples/metadata.csv from that repository.\n"
        "3. Put the reports (PDF or text files named by Report_Number, in folders or not) and metadata.csv into one "
        "folder and run: radlite data build --source rads=FOLDER --out corpus"
    ),
    rows=rows,
)
