"""Merlin as it is downloaded: the whole reports in a workbook, thirty labels in a table."""

import csv
import random
from collections.abc import Sequence
from pathlib import Path

import openpyxl

from radlite.data import sample
from radlite.sections import sections

HEADER = ("study id", "Findings", "Split", "Few Shot")
LABELS = (
    "submucosal_edema", "renal_hypodensities", "aortic_valve_calcification", "coronary_calcification", "thrombosis",
    "metastatic_disease", "pancreatic_atrophy", "renal_cyst", "osteopenia", "surgically_absent_gallbladder",
    "atelectasis", "abdominal_aortic_aneurysm", "anasarca", "hiatal_hernia", "lymphadenopathy", "prostatomegaly",
    "biliary_ductal_dilation", "cardiomegaly", "splenomegaly", "hepatomegaly", "atherosclerosis", "ascites",
    "pleural_effusion", "hepatic_steatosis", "appendicitis", "gallstones", "hydronephrosis", "bowel_obstruction",
    "free_air", "fracture",
)  # fmt: skip


def write(folder: Path, count: int = 20, seed: int = 0) -> None:
    """Write both files with `count` studies; every fifth report has no impression, every seventh study no labels."""
    draw = random.Random(seed)
    reports: list[tuple[str, str | None, str, str]] = []
    labels: list[tuple[str, int, int]] = []
    for index, one in enumerate(sample.examples("m_staging", "train", count, seed)):
        study = f"AC{draw.randrange(16**6):06x}{index:x}"
        text = one.inputs["report"]
        findings = next(text[part.body : part.end].strip() for part in sections(text) if part.name == "findings")
        report = f"Lower thorax: Clear.\nLiver and biliary tree: Normal.\nLymph nodes: See below.\n{findings}"
        if index % 5 != 4:
            report += f"\n\nIMPRESSION: \n1. Stage {one.answer}.\n2. No acute finding in the abdomen."
        split = ("train", "train", "train", "val", "test")[index % 5 if count >= 5 else 0]
        reports.append((study, report, split, draw.choice(("yes", ""))))
        if index % 7 != 6:
            labels.append((study, draw.choice((1, 0, -1)), int(one.answer == "M1")))
    tables(folder, reports, labels)


def tables(
    folder: Path, reports: Sequence[tuple[str, str | None, str, str]], labels: Sequence[tuple[str, object, object]]
) -> None:
    """Write the workbook, and the labels (study, lymphadenopathy, metastatic_disease) with -1 for all others."""
    folder.mkdir(parents=True, exist_ok=True)
    book = openpyxl.Workbook()
    for line in (HEADER, *reports):
        book.worksheets[0].append(line)
    book.save(folder / "reports_final.xlsx")
    with (folder / "zero_shot_findings_disease_cls.csv").open("w", newline="", encoding="utf-8") as file:
        lines = csv.writer(file)
        lines.writerow(("study id", *LABELS))
        for study, nodes, metastases in labels:
            values = {"lymphadenopathy": nodes, "metastatic_disease": metastases}
            lines.writerow((study, *(values.get(name, -1) for name in LABELS)))
