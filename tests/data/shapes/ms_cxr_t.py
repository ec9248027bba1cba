"""MS-CXR-T's two tables, and the two of MIMIC-CXR that go with them, in their official shapes, with our own text."""

import csv
import random
from pathlib import Path

from tests.data.shapes.radgraph import filler

SENTENCES = "MS_CXR_T_temporal_sentence_similarity_v1.0.0.csv"
IMAGES = "MS_CXR_T_temporal_image_classification_v1.0.0.csv"
REPORTS = "mimic_cxr_sectioned.csv"
STUDIES = "mimic-cxr-2.0.0-split.csv"

FINDINGS = ("consolidation", "edema", "pleural_effusion", "pneumonia", "pneumothorax")
COURSES = ("improving", "stable", "worsening")
QUALITIES = ("one_expert", "multiple_experts")
WORDS = {"improving": "decreased", "stable": "unchanged", "worsening": "increased"}

Row = dict[str, str]


def dicom(number: int) -> str:
    """A DICOM id as MIMIC-CXR has them."""
    return "-".join(f"{number * 7919 + part:08x}" for part in range(5))


def pair(patient: int, study: int, image: int, previous: int, **labels: str) -> Row:
    """A row on two images: `edema="stable"` or `edema="stable/disagreement"`."""
    row = {"dicom_id": dicom(image), "previous_dicom_id": dicom(previous), "study_id": str(study),
           "subject_id": str(patient)}  # fmt: skip
    for finding in FINDINGS:
        course, _, quality = labels.get(finding, "").partition("/")
        row[f"{finding}_progression"] = course
        row[f"{finding}_label_quality"] = (quality or "one_expert") if course else ""
    return row


def section(study: int, findings: str = "", impression: str = "", last: str = "") -> Row:
    """A report as MIMIC-CXR's script cuts it."""
    return {"study": f"s{study}", "impression": impression, "findings": findings, "last_paragraph": last,
            "comparison": "___"}  # fmt: skip


def place(patient: int, study: int, image: int) -> Row:
    """The row of an image in the table of splits."""
    return {"dicom_id": dicom(image), "study_id": str(study), "subject_id": str(patient), "split": "train"}


def save(path: Path, rows: list[Row]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        table = csv.DictWriter(file, list(rows[0]))
        table.writeheader()
        table.writerows(rows)


def write(folder: Path, count: int = 20, seed: int = 0, reports: bool = True) -> None:
    """`count` pairs of sentences and of studies, two pairs of studies a patient; reports where `reports`."""
    rng = random.Random(seed)
    more = filler(rng)
    save(folder / SENTENCES, [_sentences(rng, n) for n in range(count)])
    pairs: list[Row] = []
    texts: list[Row] = []
    places: list[Row] = []
    for n in range(count):
        patient, first, second = 10_500_000 + n // 2, 57_000_000 + 2 * n, 57_000_001 + 2 * n
        labels = {finding: rng.choice(COURSES) for finding in rng.sample(FINDINGS, rng.randint(1, 3))}
        pairs.append(pair(patient, second, 2 * n + 1, 2 * n, **labels))
        now = [f"The {finding.replace('_', ' ')} has {WORDS[course]} since ___." for finding, course in labels.items()]
        texts += [section(first, "\n ".join(next(more))), section(second, "\n ".join([*now, *next(more)]))]
        places += [place(patient, first, 2 * n), place(patient, second, 2 * n + 1)]
    save(folder / IMAGES, pairs)
    if reports:
        save(folder / REPORTS, texts)
        save(folder / STUDIES, places)


def _sentences(rng: random.Random, number: int) -> Row:
    finding, course = rng.choice(FINDINGS).replace("_", " "), rng.choice(COURSES)
    same = rng.random() < 0.5
    other = course if same else COURSES[(COURSES.index(course) + 1) % 3]
    return {
        "": str(number),
        "sentence_1": f"The {finding} has {WORDS[course]} since ___.",
        "sentence_2": f"Compared with before, {finding} is {WORDS[other]}.",
        "category": "paraphrase" if same else "contradiction",
        "subset_name": rng.choice(("RadGraph", "swaps")),
    }
