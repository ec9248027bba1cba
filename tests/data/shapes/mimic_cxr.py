"""Files in the shape of MIMIC-CXR and MIMIC-CXR-JPG, filled by the project's own synthesiser."""

import csv
import gzip
from pathlib import Path

from radlite.data import sample
from radlite.sections import sections
from radlite.tasks.abnormality import CLASSES
from radlite.tasks.findings import states

VALUES = {"positive": "1.0", "negative": "0.0", "uncertain": "-1.0", "not mentioned": ""}
SPLITS = ("train", "train", "train", "validate", "test")


def write(folder: Path, count: int = 20, seed: int = 0) -> None:
    """`count` studies, three for each patient but the last; every seventh has no findings, every eleventh no headings.

    Official shapes: wrapped lines that begin with a blank, `___`, two or three images a study, gzip, blank labels.
    """
    folder.mkdir(parents=True, exist_ok=True)
    reports, images, labels = [], [], []
    for index, example in enumerate(sample.examples("impression_generation", "train", count, seed)):
        study, patient = str(50000000 + 37 * index + seed), str(10000032 + index // 3)
        row = _row(index, example.inputs["report"], example.answer)
        reports.append([f"s{study}", *row])
        split = SPLITS[index // 3 % len(SPLITS)]
        images += [[f"{index:08x}-{view:08x}", study, patient, split] for view in range(1 + index % 3)]
        said = states(next(text for text in row if text))
        labels.append([patient, study, *(VALUES[said[name]] for name in CLASSES)])
    _write(folder / "mimic_cxr_sectioned.csv", ["study", "impression", "findings", "last_paragraph", "comparison"],
           reports)  # fmt: skip
    _write(folder / "mimic-cxr-2.0.0-split.csv.gz", ["dicom_id", "study_id", "subject_id", "split"], images)
    _write(folder / "mimic-cxr-2.0.0-chexpert.csv.gz", ["subject_id", "study_id", *CLASSES], labels)


def _row(index: int, report: str, impression: str) -> list[str]:
    """Impression, findings, last paragraph and comparison."""
    parts = {part.name: report[part.body : part.end].strip() for part in sections(report)}
    findings = _wrap(f"{parts['findings']} ___ was informed.")
    if index % 11 == 10:
        return ["", "", findings, ""]
    numbered = "\n ".join(f"{number}. {line}" for number, line in enumerate(impression.splitlines(), start=1))
    return [_wrap(numbered), "" if index % 7 == 6 else findings, "", "Radiograph of ___."]


def _wrap(text: str) -> str:
    lines = [""]
    for word in text.split(" "):
        if len(lines[-1]) + len(word) > 78:
            lines.append("")
        lines[-1] += f" {word}"
    return "\n".join(lines).strip()


def _write(path: Path, header: list[str], rows: list[list[str]]) -> None:
    with (gzip.open if path.suffix == ".gz" else open)(path, "wt", newline="") as file:
        csv.writer(file).writerows([header, *rows])
