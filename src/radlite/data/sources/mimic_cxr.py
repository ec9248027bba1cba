"""MIMIC-CXR: chest radiograph reports with their impressions, and the CheXpert labels of MIMIC-CXR-JPG.

The labels were made by the CheXpert labeler. Assumed: it was given what `create_section_files.py` of
github.com/MIT-LCP/mimic-cxr writes for it, one section of a report: the impression, without one the findings, then the
last paragraph, then the comparison. The input of abnormality detection is therefore that section alone: a class that
only another section names is blank in the labels. For the same reason an unlabelled class is one that this section does
not mention.
"""

import re
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final

from radlite.data.sources import construct
from radlite.data.sources.files import read_csv
from radlite.data.sources.source import Source, Tally
from radlite.tasks import Example
from radlite.tasks.abnormality import CLASSES, State

_REPORTS: Final = "mimic_cxr_sectioned.csv"
_SPLIT: Final = "mimic-cxr-2.0.0-split.csv"
_LABELS: Final = "mimic-cxr-2.0.0-chexpert.csv"

_SPLITS: Final = {"train": "train", "validate": "validation", "test": "test"}
_STUDY: Final = re.compile(r"s(\d{8})")
_NUMBER: Final = re.compile(r"\d{8}")

# In the order in which the labeler looked for the section; what has no heading of its own gets a neutral one.
_SECTIONS: Final = {
    "impression": "IMPRESSION", "findings": "FINDINGS", "last_paragraph": "REPORT", "comparison": "REPORT",
}  # fmt: skip

_MARKS: Final = {1.0: "+", 0.0: "-", -1.0: "?"}
_STATES: Final[Mapping[str, State]] = {"+": "positive", "-": "negative", "?": "uncertain", " ": "not mentioned"}


def rows(folder: Path, tally: Tally) -> Iterator[Example]:
    """An example a study and task. Without the labels' file, which is optional, there is no abnormality detection."""
    split = _splits(folder, tally)
    labels = _labels(folder, tally) if _has(folder, _LABELS) else None
    seen: set[str] = set()
    columns = ("study", "impression", "findings", "last_paragraph", "comparison")
    for line, row in read_csv(folder, _REPORTS, columns, tally, blank=columns[1:]):
        study = _STUDY.fullmatch(row["study"].strip())
        if not study or study[1] in seen:
            tally.reject(folder / _REPORTS, line, "a repeated study" if study else "study is no s and eight digits")
            continue
        seen.add(study[1])
        if study[1] not in split:
            tally.dropped["study is not in the split file"] += 1
            continue
        subject, part = split[study[1]]
        make = partial(
            MIMIC_CXR.example, id=study[0], patient=f"mimic:{subject}", study=f"mimic:{study[0]}", split=part
        )
        yield from _impression(row, make, tally)
        yield from _abnormalities(row, None if labels is None else labels.get(study[1], ""), make, tally)


def encode(row: Mapping[str, Any]) -> str | None:
    """The labels of a row, 1, 0, -1 or nothing a class, as one character a class; None if a label is anything else."""
    try:
        return "".join(_mark(row[name]) for name in CLASSES)
    except (KeyError, TypeError, ValueError):
        return None


def decode(labels: str) -> dict[str, State]:
    """The state of each class from what `encode` made."""
    return {name: _STATES[mark] for name, mark in zip(CLASSES, labels, strict=True)}


def says(text: str) -> bool:
    """Whether a section has words, and not only marks of de-identification."""
    return re.search(r"[^\W\d_]", text) is not None


def conclusion(findings: str, impression: str, tally: Tally) -> str | None:
    """The answer of impression generation; None, counted in `tally`, where one of the two sections says nothing."""
    answer = construct.impression(impression) if says(impression) else None
    if answer is None:
        tally.dropped["impression_generation: no impression"] += 1
    elif not says(findings):
        tally.dropped["impression_generation: no findings"] += 1
    elif findings.split() == impression.split():
        tally.dropped["impression_generation: findings and impression are the same text"] += 1
    else:
        return answer
    return None


def _mark(value: Any) -> str:
    # A JSON writer may spell a missing label as null or NaN.
    return " " if value is None or value == "" or value != value else _MARKS[float(value)]


def _impression(row: Mapping[str, str], make: Callable[..., Example], tally: Tally) -> Iterator[Example]:
    if answer := conclusion(row["findings"], row["impression"], tally):
        text = construct.report({"COMPARISON": row["comparison"], "FINDINGS": row["findings"]})
        yield make(task="impression_generation", inputs={"report": text}, answer=answer, tags=("radiograph",))


def _abnormalities(
    row: Mapping[str, str], labels: str | None, make: Callable[..., Example], tally: Tally
) -> Iterator[Example]:
    """`labels` is None without their file, and empty without a row in it."""
    section = next((name for name in _SECTIONS if row[name].strip()), None)
    if labels is None:
        tally.dropped[f"abnormality_detection: no file {_LABELS}"] += 1
    elif section is None or not says(row[section]):
        tally.dropped["abnormality_detection: no text that was labelled"] += 1
    elif not labels:
        tally.dropped["abnormality_detection: no labels"] += 1
    else:
        yield make(
            task="abnormality_detection",
            inputs={"report": construct.report({_SECTIONS[section]: row[section]})},
            answer=construct.abnormalities(decode(labels)),
            tags=("radiograph", f"section:{section}"),
            tier="silver",
        )


def _splits(folder: Path, tally: Tally) -> dict[str, tuple[str, str]]:
    """Study to (patient, split); the file has a row for each image."""
    found: dict[str, tuple[str, str]] = {}
    for line, row in read_csv(folder, _SPLIT, ("dicom_id", "study_id", "subject_id", "split"), tally):
        study, subject, split = row["study_id"].strip(), row["subject_id"].strip(), row["split"].strip()
        if not _NUMBER.fullmatch(study) or not _NUMBER.fullmatch(subject):
            tally.reject(folder / _SPLIT, line, "study_id or subject_id has no eight digits")
        elif split not in _SPLITS:
            tally.reject(folder / _SPLIT, line, "split is none of train, validate and test")
        elif found.setdefault(study, (subject, _SPLITS[split])) != (subject, _SPLITS[split]):
            tally.reject(folder / _SPLIT, line, "a study with two patients or splits")
    return found


def _labels(folder: Path, tally: Tally) -> dict[str, str]:
    """Study to its encoded labels."""
    found: dict[str, str] = {}
    columns = ("subject_id", "study_id", *CLASSES)
    for line, row in read_csv(folder, _LABELS, columns, tally, blank=CLASSES):
        labels = encode(row)
        if labels is None:
            tally.reject(folder / _LABELS, line, "a label is none of 1.0, 0.0, -1.0 and blank")
        elif found.setdefault(row["study_id"].strip(), sys.intern(labels)) != labels:
            tally.reject(folder / _LABELS, line, "a study with two rows of labels")
    return found


def _has(folder: Path, name: str) -> bool:
    return (folder / name).is_file() or any(path.is_file() for path in folder.rglob(f"{name}*"))


MIMIC_CXR = Source(
    name="mimic_cxr",
    title="MIMIC-CXR chest radiograph reports, with the CheXpert labels of MIMIC-CXR-JPG",
    licence="PhysioNet Credentialed Health Data License 1.5.0",
    access="credentialed",
    tier="gold",
    citation=(
        "A. E. W. Johnson et al.: MIMIC-CXR, a de-identified publicly available database of chest radiographs with "
        "free-text reports. Scientific Data, 2019; MIMIC-CXR-JPG, a large publicly available database of labeled chest "
        "radiographs. arXiv 1901.07042, 2019. J. Irvin et al.: CheXpert. AAAI, 2019."
    ),
    tasks=("impression_generation", "abnormality_detection"),
    how_to=(
        "1. Become a credentialed user of PhysioNet (physionet.org); its training is CITI's Data or Specimens Only.\n"
        "2. Sign the data use agreements of mimic-cxr and mimic-cxr-jpg there.\n"
        "3. Download mimic-cxr-reports.zip of mimic-cxr and unpack it, and of mimic-cxr-jpg the files "
        "mimic-cxr-2.0.0-split.csv.gz and, for abnormality detection, mimic-cxr-2.0.0-chexpert.csv.gz.\n"
        "4. Clone github.com/MIT-LCP/mimic-cxr and run its txt/create_section_files.py on the reports, which writes "
        "mimic_cxr_sectioned.csv.\n"
        "5. Put the three files into one folder and run: "
        "radlite data build --source mimic_cxr=FOLDER --out corpus"
    ),
    rows=rows,
)
