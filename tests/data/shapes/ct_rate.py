"""CT-RATE as it is downloaded: reports and labels, one row a reconstruction, for train and valid."""

import csv
import random
from collections.abc import Iterable, Mapping
from pathlib import Path

from radlite.data import sample
from radlite.sections import sections

REPORTS = ("VolumeName", "ClinicalInformation_EN", "Technique_EN", "Findings_EN", "Impressions_EN")
LABELS = (
    "Medical material", "Arterial wall calcification", "Cardiomegaly", "Pericardial effusion",
    "Coronary artery wall calcification", "Hiatal hernia", "Lymphadenopathy", "Emphysema", "Atelectasis",
    "Lung nodule", "Lung opacity", "Pulmonary fibrotic sequela", "Pleural effusion", "Mosaic attenuation pattern",
    "Peribronchial thickening", "Consolidation", "Bronchiectasis", "Interlobular septal thickening",
)  # fmt: skip

FILES = {
    "train": ("radiology_text_reports/train_reports.csv", "multi_abnormality_labels/train_predicted_labels.csv"),
    "valid": ("radiology_text_reports/validation_reports.csv", "multi_abnormality_labels/valid_predicted_labels.csv"),
}


def write(folder: Path, count: int = 20, seed: int = 0) -> None:
    """Write the four files with `count` studies, a quarter of them valid; every third patient has two scans."""
    draw = random.Random(seed)
    for split, number, first in (("train", count - count // 4, 0), ("valid", count // 4, count)):
        studies, patient = [], 0
        while len(studies) < number:
            patient += 1
            studies += [f"{split}_{patient}_{scan}" for scan in ("ab" if patient % 3 == 1 else "a")]
        reports: list[tuple[str, ...]] = []
        labels: dict[str, list[str]] = {}
        made = sample.examples("abnormality_detection", "train", number, seed + first)
        for study, one in zip(studies[:number], made, strict=True):
            text = one.inputs["report"]
            parts = {part.name: text[part.body : part.end].strip() for part in sections(text)}
            answers = dict(line[2:].split(": ") for line in one.answer.splitlines())
            present = [name for name in LABELS if answers.get(_NAMES.get(name, ""), "") == "positive"]
            impression = parts.get("impression") or "; ".join(present) or "Findings within normal limits."
            report = (
                draw.choice(("Not given.", parts["indication"])),
                "Non-contrast images were taken in the axial plane.",
                draw.choices((parts["findings"], "Not given."), (9, 1))[0],
                draw.choices((impression, "Not given."), (9, 1))[0],
            )
            for reconstruction in range(1, draw.randint(2, 4)):
                reports.append((f"{study}_{reconstruction}.nii.gz", *report))
                labels[f"{study}_{reconstruction}.nii.gz"] = present
        tables(folder, split, reports, labels)


_NAMES = {
    "Medical material": "Support Devices",
    "Cardiomegaly": "Cardiomegaly",
    "Atelectasis": "Atelectasis",
    "Lung nodule": "Lung Lesion",
    "Lung opacity": "Lung Opacity",
    "Pleural effusion": "Pleural Effusion",
    "Consolidation": "Consolidation",
}


def tables(folder: Path, split: str, reports: Iterable[tuple[str, ...]], labels: Mapping[str, Iterable[str]]) -> None:
    """Write both files of `split`; `labels` maps a volume to the labels that are 1."""
    for name, header, lines in (
        (FILES[split][0], REPORTS, list(reports)),
        (
            FILES[split][1],
            ("VolumeName", *LABELS),
            [(volume, *(int(name in set(present)) for name in LABELS)) for volume, present in labels.items()],
        ),
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        with (folder / name).open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([header, *lines])
