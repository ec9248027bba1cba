"""ReXGradient-160K: chest radiograph reports of 79 sites, one row a study.

A section may be the text `None`, which is read as empty. The official splits, made by patient, are kept.

There are no rows on change over time: patients do have several dated studies in a split, but nobody has labelled what
changed between them.

Assumed, for it was seen only of the JSON files beside them: the tables train_metadata.csv, valid_metadata.csv and
test_metadata.csv have the columns PatientID, StudyInstanceUid, Indication, Comparison, Findings and Impression. A
table without them is refused by name.
"""

from collections.abc import Iterator
from pathlib import Path

from radlite.data.sources import construct
from radlite.data.sources.files import read_csv
from radlite.data.sources.source import Source, Tally
from radlite.tasks import Example

_FILES = {
    "train": "metadata/train_metadata.csv",
    "validation": "metadata/valid_metadata.csv",
    "test": "metadata/test_metadata.csv",
}
_SECTIONS = ("Indication", "Comparison", "Findings", "Impression")


def rows(folder: Path, tally: Tally) -> Iterator[Example]:
    """The impression of each study that has one and has findings."""
    seen: set[str] = set()
    for split, name in _FILES.items():
        columns = ("PatientID", "StudyInstanceUid", *_SECTIONS)
        for _, row in read_csv(folder, name, columns, tally, blank=_SECTIONS):
            study, patient = row["StudyInstanceUid"].strip(), row["PatientID"].strip()
            if study in seen:
                tally.dropped["another row of a study"] += 1
                continue
            seen.add(study)
            sections = {column.upper(): _said(row[column]) for column in _SECTIONS}
            answer = construct.impression(sections.pop("IMPRESSION"))
            if not answer or not sections["FINDINGS"]:
                tally.dropped[f"impression_generation: no {'findings' if answer else 'impression'}"] += 1
                continue
            yield REXGRADIENT.example(
                task="impression_generation",
                id=study,
                inputs={"report": construct.report(sections)},
                answer=answer,
                patient=f"rexgradient:{patient}",
                study=f"rexgradient:{study}",
                split=split,
                tags=("section:findings",),
            )


def _said(text: str) -> str:
    """The text of a section; nothing if it says that there is none."""
    return "" if text.strip().rstrip(".").casefold() in ("none", "nan") else text.strip()


REXGRADIENT = Source(
    name="rexgradient",
    title="ReXGradient-160K: chest radiograph reports",
    licence="ReXGradient-160K agreement of Harvard and Gradient: non-commercial; read locally, do not redistribute",
    access="registration",
    tier="gold",
    citation=(
        "X. Zhang, J. N. Acosta, J. Miller, O. Huang, P. Rajpurkar: ReXGradient-160K: a large-scale publicly available "
        "dataset of chest radiographs with free-text reports. arXiv:2505.00228, 2025."
    ),
    tasks=("impression_generation",),
    how_to=(
        "1. Log in to huggingface.co and accept the agreement of the data set rajpurkarlab/ReXGradient-160K.\n"
        "2. Download train_metadata.csv, valid_metadata.csv and test_metadata.csv from its folder metadata; the images "
        "are not needed.\n"
        "3. Put them into one folder and run: radlite data build --source rexgradient=FOLDER --out corpus"
    ),
    rows=rows,
)
