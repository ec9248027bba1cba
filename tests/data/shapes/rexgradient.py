"""ReXGradient-160K as it is downloaded: a table of studies for each split, with the keys of its JSON files."""

import csv
import random
from collections.abc import Iterable
from pathlib import Path

from radlite.data import sample
from radlite.sections import sections

HEADER = (
    "id", "PatientID", "AccessionNumber", "StudyInstanceUid", "StudyDate", "PatientSex", "PatientAge", "EthnicGroup",
    "Indication", "Comparison", "Findings", "Impression",
)  # fmt: skip


CHANGES = (
    "The left pleural effusion has increased since the prior study.",
    "Pulmonary edema has improved.",
    "Stable cardiomegaly.",
    "There is a new opacity at the right base.",
    "The right pneumothorax has resolved.",
)


def write(folder: Path, count: int = 20, seed: int = 0) -> None:
    """Write the three tables with `count` studies, a fifth each valid and test; patients have two.

    Most findings tell of a change. In ten patients one has both studies on a day, one has no date of one study.
    """
    draw = random.Random(seed)
    studies: dict[str, list[tuple[str, ...]]] = {"train": [], "valid": [], "test": []}
    day = ""
    for index, one in enumerate(sample.examples("impression_generation", "train", count, seed)):
        split = ("train", "train", "train", "train", "train", "train", "valid", "valid", "test", "test")[index % 10]
        text = one.inputs["report"]
        parts = {part.name: text[part.body : part.end].strip() for part in sections(text)}
        before, day = day, f"20{draw.randint(10, 22)}{draw.randint(1, 12):02d}{draw.randint(1, 28):02d}"
        if index % 20 == 11:
            day = before
        studies[split].append(
            row(
                f"GRDN{index // 2:012d}",
                f"1.2.826.{index + 1}",
                draw.choice(("None", parts["indication"])),
                draw.choice(("None", parts.get("comparison", ""))),
                "None" if index % 10 == 3 else f"{parts['findings']} {draw.choice(CHANGES)}",
                "" if index % 10 == 5 else one.answer,
                date="" if index % 20 == 13 else day,
            )
        )
    for split, lines in studies.items():
        table(folder, split, lines)


def row(
    patient: str, study: str, indication: str, comparison: str, findings: str, impression: str, date: str = "20200131"
) -> tuple[str, ...]:
    """One study."""
    accession = f"A{study.replace('.', '')}"
    head = (f"p{patient}_a{accession}_s{study}", patient, accession, study, date, "F", "045Y", "")
    return (*head, indication, comparison, findings, impression)


def table(folder: Path, split: str, rows: Iterable[tuple[str, ...]]) -> None:
    """Write the table of a split (`train`, `valid`, `test`)."""
    path = folder / "metadata" / f"{split}_metadata.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([HEADER, *rows])
