"""Chest ImaGenome's silver scene graphs and splits in their official shapes, with sentences of our own."""

import json
import random
import zipfile
from pathlib import Path
from typing import Any

from tests.data.shapes.radgraph import filler

# Phrase as it stands in the graph, region, finding, name of the comparison ("" for none).
Said = tuple[str, str, str, str]

PHRASES: list[Said] = [
    ("The lungs are\n well expanded.", "right lung", "anatomicalfinding|no|lung opacity", ""),
    ("Small left pleural\n effusion has increased.", "left lower lung zone", "anatomicalfinding|yes|pleural effusion",
     "comparison|yes|worsened"),
    ("Cardiomegaly is unchanged.", "cardiac silhouette", "anatomicalfinding|yes|enlarged cardiac silhouette",
     "comparison|yes|no change"),
    ("Pulmonary edema has improved since ___.", "right lung", "anatomicalfinding|yes|pulmonary edema/hazy opacity",
     "comparison|yes|improved"),
    ("No interval change of the pneumonia.", "left lung", "disease|yes|pneumonia", "comparison|yes|no change"),
]  # fmt: skip
VIEWS = ("AP", "PA")


def dicom(number: int) -> str:
    """A DICOM id as MIMIC-CXR has them."""
    return "-".join(f"{number * 7919 + part:08x}" for part in range(5))


def attribute(image: str, study: int, number: int, said: Said) -> dict[str, Any]:
    """What a phrase says of a region; cues are labels, one list a phrase."""
    phrase, region, finding, comparison = said
    return {
        region: True,
        "bbox_name": region,
        "synsets": ["C0000000"],
        "name": region.capitalize(),
        "attributes": [[finding, "nlp|yes|abnormal"]],
        "attributes_ids": [["C0000001", "C0205161"]],
        "phrases": [phrase],
        "phrase_IDs": [f"{study}|{number}"],
        "sections": ["finalreport"],
        "comparison_cues": [[comparison] if comparison else []],
        "temporal_cues": [[]],
        "severity_cues": [[]],
        "texture_cues": [[]],
        "object_id": f"{image}_{region}",
    }


def relationship(image: str, before: str, said: Said) -> dict[str, Any]:
    """A region in two images."""
    phrase, region, finding, comparison = said
    return {
        "relationship_id": f"{image}|{region}|{before}",
        "predicate": f"['{comparison.rpartition('|')[2]}']",
        "subject_id": f"{image}_{region}",
        "object_id": f"{before}_{region}",
        "relationship_names": [comparison],
        "relationship_contexts": [1.0],
        "phrase": phrase,
        "attributes": [finding, "nlp|yes|abnormal"],
        "bbox_name": region,
    }


def graph(image: str, patient: int, study: int, said: list[Said], order: int = 2) -> dict[str, Any]:
    """A scene graph; as in the official ones the regions do not stand in the order of the report."""
    numbered = [(number, one) for number, one in enumerate(said, start=5)]
    return {
        "image_id": image,
        "viewpoint": "AP",
        "patient_id": patient,
        "study_id": study,
        "gender": "F",
        "age_decile": "50-60",
        "reason_for_exam": "___ year old woman with cough.",
        "StudyOrder": order,
        "StudyDateTime": "2150-01-01 10:00:00 UTC",
        "objects": [{"object_id": f"{image}_{one[1]}", "bbox_name": one[1], "x1": 1, "y1": 1} for one in said],
        "attributes": [attribute(image, study, number, one) for number, one in reversed(numbered)],
        "relationships": [relationship(image, dicom(0), one) for one in reversed(said) if one[3]],
    }


def write(folder: Path, count: int = 20, seed: int = 0) -> None:
    """`count` studies, two a patient and two images a study; the last but one is to be avoided, the last is a first
    study without comparisons."""
    rng = random.Random(seed)
    more = filler(rng)
    graphs, table = {}, []
    for n in range(count):
        patient, study = 10_000_000 + n // 2, 50_000_000 + n
        picked = sorted(rng.sample(range(len(PHRASES)), rng.randint(2, len(PHRASES))))
        other = [(one, "left lung", "anatomicalfinding|no|lung opacity", "") for one in next(more)]
        said = [*(PHRASES[k] for k in picked), *other]
        for view in range(2):
            image = dicom(2 * n + view + 1)
            last = n == count - 1
            graphs[image] = graph(image, patient, study, PHRASES[:1] if last else said, order=1 if last else 2)
            table.append((patient, study, image, VIEWS[view]))
    archive(folder, graphs)
    parts = {"train": table[: 2 * (count - 8)], "valid": table[2 * (count - 8) : 2 * (count - 4)]}
    for name, lines in {**parts, "test": table[2 * (count - 4) :]}.items():
        split(folder, name, lines)
    split(folder, "images_to_avoid", [table[-4]], numbered=False)


def archive(folder: Path, graphs: dict[str, dict[str, Any]]) -> None:
    """The archive, with a folder inside as it is unpacked."""
    (folder / "silver_dataset").mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(folder / "silver_dataset" / "scene_graph.zip", "w", zipfile.ZIP_DEFLATED) as packed:
        for image, content in graphs.items():
            packed.writestr(f"scene_graph/{image}_SceneGraph.json", json.dumps(content))


def split(folder: Path, name: str, lines: list[tuple[int, int, str, str]], numbered: bool = True) -> None:
    """A table of images; the first column of those of the split has a number and no name."""
    path = folder / "silver_dataset" / "splits" / f"{name}.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    head = "subject_id,study_id,dicom_id,path,ViewPosition"
    text = [f",{head}" if numbered else head]
    for number, (patient, study, image, view) in enumerate(lines):
        place = f"files/p{patient // 1_000_000}/p{patient}/s{study}/{image}.dcm"
        text.append(f"{f'{number},' if numbered else ''}{patient},{study},{image},{place},{view}")
    path.write_text("\n".join(text) + "\n")
