"""CT-RATE: non-contrast chest CT reports of Istanbul, translated from Turkish by machine, with eighteen labels.

A report repeats for every reconstruction of its volume (`train_12_a_1`, `train_12_a_2`) and is read once. The
validation set is the one that results are published on, so it is the test set here.

Impressions are silver, since a machine translated them. Abnormality is silver, since a classifier predicted the labels
from the reports. Of the eighteen labels seven stand for a CheXpert class, see `_CLASSES`. A label of 1 makes its class
positive. A label of 0 does not tell a denial from silence: that is left to the lexicon of findings, and where the
lexicon contradicts the 0 the class counts as not mentioned. A 0 for lung nodules says nothing of masses, so there the
lexicon decides alone. `Medical material` is wider than support devices, it also holds clips. The lexicon answers for
the other classes, but `No Finding` is never positive where one of the labels of a finding is 1.

Assumed, for they were not seen: the columns ClinicalInformation_EN and Technique_EN stand in the reports beside
Findings_EN and Impressions_EN. The sample of CT-CLIP (train.csv, val.csv with labels set by hand) is not read.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from radlite.data.sources import construct
from radlite.data.sources.files import read_csv
from radlite.data.sources.source import Source, Tally
from radlite.tasks import Example
from radlite.tasks.findings import states as states_of

_FILES = {
    "train": ("radiology_text_reports/train_reports.csv", "multi_abnormality_labels/train_predicted_labels.csv"),
    "test": ("radiology_text_reports/validation_reports.csv", "multi_abnormality_labels/valid_predicted_labels.csv"),
}

_CLASSES = {
    "Medical material": "Support Devices",
    "Cardiomegaly": "Cardiomegaly",
    "Atelectasis": "Atelectasis",
    "Lung nodule": "Lung Lesion",
    "Lung opacity": "Lung Opacity",
    "Pleural effusion": "Pleural Effusion",
    "Consolidation": "Consolidation",
}

_OTHERS = (
    "Arterial wall calcification", "Pericardial effusion", "Coronary artery wall calcification", "Hiatal hernia",
    "Lymphadenopathy", "Emphysema", "Pulmonary fibrotic sequela", "Mosaic attenuation pattern",
    "Peribronchial thickening", "Bronchiectasis", "Interlobular septal thickening",
)  # fmt: skip

_SECTIONS = {
    "CLINICAL INFORMATION": "ClinicalInformation_EN",
    "TECHNIQUE": "Technique_EN",
    "FINDINGS": "Findings_EN",
    "IMPRESSION": "Impressions_EN",
}

_VOLUME = re.compile(r"(((?:train|valid)_\d+)_[a-z]+)_\d+\.nii\.gz")
_ODD_VOLUME = "VolumeName is no split, patient, scan and reconstruction"

_Labels = frozenset[str]
"""Those of the eighteen that are 1."""


def rows(folder: Path, tally: Tally) -> Iterator[Example]:
    """An impression and the abnormalities of each study."""
    for split, (reports, labels) in _FILES.items():
        known = _labels(folder, labels, tally)
        seen: set[str] = set()
        for line, row in read_csv(
            folder, reports, ("VolumeName", *_SECTIONS.values()), tally, blank=tuple(_SECTIONS.values())
        ):
            volume = _VOLUME.fullmatch(row["VolumeName"].strip())
            if volume is None:
                tally.reject(folder / reports, line, _ODD_VOLUME)
                continue
            study, patient = volume[1], volume[2]
            if study in seen:
                tally.dropped["another reconstruction of a study"] += 1
                continue
            seen.add(study)
            sections = {name: _said(row[column]) for name, column in _SECTIONS.items()}
            for task, made in (
                ("impression_generation", _impression(sections, tally)),
                ("abnormality_detection", _abnormality(sections, known.get(study), tally)),
            ):
                if made:
                    yield CT_RATE.example(
                        task=task,
                        id=study,
                        inputs={"report": made[0]},
                        answer=made[1],
                        patient=f"ct_rate:{patient}",
                        study=f"ct_rate:{study}",
                        split=split,
                        tags=("translated",),
                    )


def _impression(sections: dict[str, str], tally: Tally) -> tuple[str, str] | None:
    """The report before the impression, and the answer."""
    answer = construct.impression(sections["IMPRESSION"])
    missing = "impression" if not answer else "findings" if not sections["FINDINGS"] else ""
    if not answer or missing:
        tally.dropped[f"impression_generation: no {missing}"] += 1
        return None
    return construct.report({name: text for name, text in sections.items() if name != "IMPRESSION"}), answer


def _abnormality(sections: dict[str, str], labels: _Labels | None, tally: Tally) -> tuple[str, str] | None:
    """Findings and impression, from which the labels were predicted, and the answer."""
    text = construct.report({name: sections[name] for name in ("FINDINGS", "IMPRESSION")})
    if not text or labels is None:
        why = "no labels" if text else "no findings and no impression"
        tally.dropped[f"abnormality_detection: {why}"] += 1
        return None
    states: dict[str, Any] = states_of(text)
    for label, name in _CLASSES.items():
        if label in labels:
            states[name] = "positive"
        elif label != "Lung nodule" and states[name] != "negative":
            states[name] = "not mentioned"
    found = any(state in ("positive", "uncertain") for name, state in states.items() if name not in _NO_FINDINGS)
    if found or labels - {"Medical material"}:
        states["No Finding"] = "not mentioned"
    return text, construct.abnormalities(states)


_NO_FINDINGS = ("No Finding", "Support Devices")
"""Classes that a normal study may have."""


def _labels(folder: Path, name: str, tally: Tally) -> dict[str, _Labels]:
    """Study to its labels; a study whose reconstructions differ in theirs has none."""
    labels: dict[str, _Labels] = {}
    disputed: set[str] = set()
    columns = (*_CLASSES, *_OTHERS)
    for line, row in read_csv(folder, name, ("VolumeName", *columns), tally):
        volume = _VOLUME.fullmatch(row["VolumeName"].strip())
        odd = [column for column in columns if row[column].strip() not in ("0", "1", "0.0", "1.0")]
        if volume is None or odd:
            tally.reject(folder / name, line, f"{odd[0]} is neither 0 nor 1" if volume else _ODD_VOLUME)
            continue
        present = frozenset(column for column in columns if row[column].strip().startswith("1"))
        if labels.setdefault(volume[1], present) != present:
            disputed.add(volume[1])
    tally.dropped["studies whose reconstructions have different labels"] += len(disputed)
    return {study: present for study, present in labels.items() if study not in disputed}


def _said(text: str) -> str:
    """The text of a section; nothing if it says that there is none."""
    return "" if text.strip().rstrip(".").casefold() == "not given" else text.strip()


CT_RATE = Source(
    name="ct_rate",
    title="CT-RATE: chest CT reports with eighteen predicted labels",
    licence="CC BY-NC-SA 4.0",
    access="registration",
    tier="silver",
    citation=(
        "I. E. Hamamci, S. Er, F. Almas et al.: A foundation model utilizing chest CT volumes and radiology reports "
        "for supervised-level zero-shot detection of abnormalities. arXiv:2403.17834, 2024."
    ),
    tasks=("impression_generation", "abnormality_detection"),
    how_to=(
        "1. Log in to huggingface.co and accept the terms of the data set ibrahimhamamci/CT-RATE.\n"
        "2. Download train_reports.csv and validation_reports.csv from its folder radiology_text_reports, and "
        "train_predicted_labels.csv and valid_predicted_labels.csv from its folder multi_abnormality_labels. The "
        "volumes are not needed.\n"
        "3. Put them into one folder and run: radlite data build --source ct_rate=FOLDER --out corpus"
    ),
    rows=rows,
)
