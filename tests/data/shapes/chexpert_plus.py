"""Files in the shape of CheXpert Plus, filled by the project's own synthesiser."""

import csv
import json
from collections.abc import Mapping
from pathlib import Path

from radlite.data import sample
from radlite.sections import sections
from radlite.tasks.findings import states

COLUMNS = (
    "path_to_image", "path_to_dcm", "frontal_lateral", "ap_pa", "deid_patient_id", "patient_report_date_order",
    "report", "section_narrative", "section_clinical_history", "section_history", "section_comparison",
    "section_technique", "section_procedure_comments", "section_findings", "section_impression",
    "section_end_of_impression", "section_summary", "section_accession_number", "age", "sex", "race", "ethnicity",
    "interpreter_needed", "insurance_type", "recent_bmi", "deceased", "split",
)  # fmt: skip
CLASSES = (
    "Enlarged Cardiomediastinum", "Cardiomegaly", "Lung Opacity", "Lung Lesion", "Edema", "Consolidation", "Pneumonia",
    "Atelectasis", "Pneumothorax", "Pleural Effusion", "Pleural Other", "Fracture", "Support Devices", "No Finding",
)  # fmt: skip
VALUES = {"positive": 1.0, "negative": 0.0, "uncertain": -1.0, "not mentioned": None}


def write(folder: Path, count: int = 20, seed: int = 0) -> None:
    """`count` studies, two for each patient; one patient in four is `valid`; every other study has two views.

    Official shapes: all 27 columns, JSON lines in files called `.json`, labels in CheXbert's order for every image, and
    where a section is missing (most reports have no findings), it counts as `No Finding`.
    """
    (folder / "chexbert_labels").mkdir(parents=True, exist_ok=True)
    images: list[dict[str, str]] = []
    labels: dict[str, list[dict[str, object]]] = {"findings": [], "impression": [], "report": []}
    for index, example in enumerate(sample.examples("impression_generation", "train", count, seed)):
        row = _row(index, example.inputs["report"], example.answer)
        for view in ("view1_frontal.jpg", "view2_lateral.jpg")[: 1 + index % 2]:
            path = f"{row['split']}/{row['deid_patient_id']}/study{1 + index % 2}/{view}"
            images.append({**row, "path_to_image": path, "path_to_dcm": path.replace(".jpg", ".dcm")})
            for section, lines in labels.items():
                lines.append({"path_to_image": path, **label(row.get(f"section_{section}", row["report"]))})
    with (folder / "df_chexpert_plus_240401.csv").open("w", newline="") as file:
        table = csv.DictWriter(file, COLUMNS, restval="")
        table.writeheader()
        table.writerows(images)
    for section, lines in labels.items():
        written = "".join(f"{json.dumps(line)}\n" for line in lines)
        (folder / "chexbert_labels" / f"{section}_fixed.json").write_text(written)


def label(text: str) -> Mapping[str, float | None]:
    """The labels that stand for CheXbert's; those of no text are `No Finding`."""
    said = states(text) if text else {**dict.fromkeys(CLASSES, "not mentioned"), "No Finding": "positive"}
    return {name: VALUES[said[name]] for name in CLASSES}


def _row(index: int, report: str, impression: str) -> dict[str, str]:
    parts = {part.name: report[part.body : part.end].strip() for part in sections(report)}
    patient = index // 2
    findings = "" if index % 3 == 2 else f"\n{parts['findings']}\n"
    numbered = "\n\n".join(f"{number}.  {line.upper()}" for number, line in enumerate(impression.splitlines(), start=1))
    return {
        "frontal_lateral": "Frontal", "ap_pa": "AP", "deid_patient_id": f"patient{42142 + patient}",
        "patient_report_date_order": str(1 + index % 2), "report": f"NARRATIVE:\nCHEST: 1/1/01\n\n{numbered}",
        "section_narrative": "CHEST: 1/1/01", "section_clinical_history": parts.get("indication", ""),
        "section_comparison": "1/1/01", "section_findings": findings, "section_impression": f"\n{numbered}\n",
        "section_summary": "4-POSSIBLE SIGNIFICANT FINDINGS", "age": "61.0", "sex": "Female",
        "split": "valid" if patient % 4 == 3 else "train",
    }  # fmt: skip
