"""OpenI, the chest radiographs of Indiana University: reports and the MeSH terms that people gave them.

Read are the reports in XML (`NLMCXR_reports.tgz`, or its `ecgen-radiology/*.xml` unpacked) or, where none are there,
Kaggle's `indiana_reports.csv`. Every patient has one study. The mark XXXX of de-identification stays. It has taken the
word "new" out of all reports, so there are no rows on change over time.

Abnormality: `_CLASSES` says which MeSH terms stand for which CheXpert class; a term with the qualifier `borderline` is
uncertain, others are positive. What no term names, such as a denial, comes from the lexicon of findings. Reports coded
`normal` in which the lexicon yet finds something are left out: one of the two is wrong. So are those coded
`No Indexing`, which nobody has coded.
"""

import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from radlite.data.sources import construct
from radlite.data.sources.files import read_csv, read_members
from radlite.data.sources.source import Source, Tally
from radlite.tasks import Example
from radlite.tasks.findings import states as states_of

_ARCHIVE = "NLMCXR_reports.tgz"
_TABLE = "indiana_reports.csv"

_CLASSES = {
    "airspace disease": ("Lung Opacity", ()),
    "calcinosis": ("Pleural Other", ("pleura",)),
    "cardiac shadow": ("Cardiomegaly", ("enlarged", "borderline")),
    "cardiomegaly": ("Cardiomegaly", ()),
    "catheters, indwelling": ("Support Devices", ()),
    "cicatrix": ("Pleural Other", ("pleura",)),
    "consolidation": ("Consolidation", ()),
    "fractures, bone": ("Fracture", ()),
    "implanted medical device": ("Support Devices", ()),
    "infiltrate": ("Lung Opacity", ()),
    "mass": ("Lung Lesion", ("lung",)),
    "mediastinum": ("Enlarged Cardiomediastinum", ("enlarged",)),
    "medical device": ("Support Devices", ()),
    "nodule": ("Lung Lesion", ("lung",)),
    "opacity": ("Lung Opacity", ("lung", "pulmonary alveoli")),
    "pleural effusion": ("Pleural Effusion", ()),
    "pneumonia": ("Pneumonia", ()),
    "pneumothorax": ("Pneumothorax", ()),
    "pulmonary atelectasis": ("Atelectasis", ()),
    "pulmonary congestion": ("Edema", ()),
    "pulmonary edema": ("Edema", ()),
    "thickening": ("Pleural Other", ("pleura",)),
    "tube, inserted": ("Support Devices", ()),
}
"""MeSH heading to class; where qualifiers follow, a term needs one of them (`Nodule/lung`, but not `Nodule/breast`).

Congestion and airspace disease stand where CheXpert's labeler has them. `Surgical Instruments` are mostly clips, which
are no support devices; granulomas are no lung lesions.
"""

_NO_FINDINGS = ("No Finding", "Support Devices")
"""Classes that a normal report may have."""


@dataclass(frozen=True, slots=True)
class _Report:
    file: Path
    line: int
    number: str
    sections: dict[str, str]
    """Of `INDICATION`, `COMPARISON`, `FINDINGS` and `IMPRESSION`, those that are there."""
    terms: list[str]
    """MeSH majors such as `Opacity/lung/base/left`, in lower case."""


def rows(folder: Path, tally: Tally) -> Iterator[Example]:
    """An impression and the abnormalities of each report."""
    in_xml = (folder / _ARCHIVE).is_file() or any(folder.rglob("*.xml")) or not any(folder.rglob(f"{_TABLE}*"))
    seen: set[str] = set()
    for report in _xml(folder, tally) if in_xml else _csv(folder, tally):
        if report.number in seen:
            tally.reject(report.file, report.line, "a repeated number of the report")
            continue
        seen.add(report.number)
        for example in (_impression(report, tally), _abnormality(report, tally)):
            if example:
                yield example


def _impression(report: _Report, tally: Tally) -> Example | None:
    answer = construct.impression(report.sections.get("IMPRESSION", ""))
    if not answer:
        tally.dropped["impression_generation: no impression"] += 1
        return None
    if not report.sections.get("FINDINGS"):
        tally.dropped["impression_generation: no findings"] += 1
        return None
    before = {name: text for name, text in report.sections.items() if name != "IMPRESSION"}
    return _example("impression_generation", report, construct.report(before), answer)


def _abnormality(report: _Report, tally: Tally) -> Example | None:
    text = construct.report({name: report.sections.get(name, "") for name in ("FINDINGS", "IMPRESSION")})
    if not text:
        tally.dropped["abnormality_detection: no findings and no impression"] += 1
        return None
    if not report.terms or "no indexing" in report.terms:
        tally.dropped["abnormality_detection: not coded"] += 1
        return None
    states: dict[str, Any] = {**states_of(text), **_coded(report.terms)}
    found = any(state in ("positive", "uncertain") for name, state in states.items() if name not in _NO_FINDINGS)
    if found and report.terms == ["normal"]:
        tally.dropped["abnormality_detection: coded normal, but the lexicon finds something"] += 1
        return None
    if found or report.terms == ["normal"]:
        states["No Finding"] = "not mentioned" if found else "positive"
    return _example("abnormality_detection", report, text, construct.abnormalities(states))


def _example(task: str, report: _Report, text: str, answer: str) -> Example:
    told = ("FINDINGS", "IMPRESSION") if task == "abnormality_detection" else ("FINDINGS",)
    return OPENI.example(
        task=task,
        id=f"CXR{report.number}",
        inputs={"report": text},
        answer=answer,
        patient=f"openi:{report.number}",
        study=f"openi:{report.number}",
        tags=tuple(f"section:{name.lower()}" for name in told if report.sections.get(name)),
        tier="silver" if task == "abnormality_detection" else "gold",
    )


def _coded(terms: list[str]) -> dict[str, str]:
    """The classes that MeSH majors name, to their states; positive wins over uncertain."""
    states: dict[str, str] = {}
    for term in terms:
        heading, *qualifiers = (part.strip() for part in term.split("/"))
        name, needed = _CLASSES.get(heading, ("", ()))
        if name and (not needed or set(needed) & set(qualifiers)) and states.get(name) != "positive":
            states[name] = "uncertain" if "borderline" in qualifiers else "positive"
    return states


def _xml(folder: Path, tally: Tally) -> Iterator[_Report]:
    for name, content in read_members(folder, _ARCHIVE, ".xml", f"reports in XML, or {_TABLE}", tally):
        tally.rows += 1
        try:
            root = _parsed(content)
        except ValueError as error:
            tally.reject(Path(name), 1, str(error))
            continue
        uid = root.find(".//uId")
        number = re.fullmatch(r"CXR(\d+)", "" if uid is None else uid.get("id", ""))
        if number is None:
            tally.reject(Path(name), 1, "no uId with the id CXR and a number")
            continue
        written: dict[str, list[str]] = {}
        for part in root.iter("AbstractText"):
            written.setdefault(part.get("Label", "").strip().upper(), []).append("".join(part.itertext()))
        majors = ["".join(major.itertext()) for major in root.iterfind(".//MeSH/major")]
        sections = {label: "\n".join(texts) for label, texts in written.items()}
        yield _report(Path(name), 1, number[1], sections, majors)


def _parsed(content: bytes) -> ET.Element:
    """The root of an XML file. Raises `ValueError` with the reason if it is none, or could define entities."""
    if b"\0" in content or b"<!DOCTYPE" in content:
        raise ValueError("a document type or UTF-16, which these reports do not have")
    try:
        return ET.fromstring(content)
    except (ET.ParseError, LookupError) as error:
        raise ValueError("no XML") from error


def _csv(folder: Path, tally: Tally) -> Iterator[_Report]:
    columns = ("uid", "MeSH", "indication", "comparison", "findings", "impression")
    for line, row in read_csv(folder, _TABLE, columns, tally, blank=columns[1:]):
        number = row["uid"].strip()
        if not re.fullmatch(r"[0-9]+", number):
            tally.reject(folder / _TABLE, line, "uid is no number")
            continue
        yield _report(
            folder / _TABLE, line, number, {name.upper(): row[name] for name in columns[2:]}, row["MeSH"].split(";")
        )


def _report(file: Path, line: int, number: str, sections: dict[str, str], terms: list[str]) -> _Report:
    named = {name: sections.get(name, "").strip() for name in ("INDICATION", "COMPARISON", "FINDINGS", "IMPRESSION")}
    said = {name: text for name, text in named.items() if text}
    return _Report(file, line, number, said, [term.strip().lower() for term in terms if term.strip()])


OPENI = Source(
    name="openi",
    title="OpenI: chest radiograph reports of Indiana University with MeSH terms",
    licence="unclear, commonly given as CC BY-NC-ND 4.0; read locally, do not redistribute",
    access="open",
    tier="gold",
    citation=(
        "D. Demner-Fushman, M. D. Kohli, M. B. Rosenman et al.: Preparing a collection of radiology examinations for "
        "distribution and retrieval. J Am Med Inform Assoc 23(2):304-310, 2016."
    ),
    tasks=("impression_generation", "abnormality_detection"),
    how_to=(
        f"1. Download https://openi.nlm.nih.gov/imgs/collections/{_ARCHIVE} (1.1 MB); no account is needed. Kaggle's "
        f"{_TABLE} of the set chest-xrays-indiana-university does as well.\n"
        "2. Read the terms on that site: the licence is commonly given as CC BY-NC-ND 4.0.\n"
        f"3. Put {_ARCHIVE}, or ecgen-radiology/*.xml unpacked from it, or {_TABLE} into one folder; if both are "
        "there, the XML is read.\n"
        "4. Run: radlite data build --source openi=FOLDER --out corpus"
    ),
    rows=rows,
)
