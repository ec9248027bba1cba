"""CheXpert Plus: chest radiograph reports of Stanford with their impressions, and CheXbert labels of their sections.

The table has a row for each image, so a report repeats over its views; the study is `patient42142/study5` in
`path_to_image`, whatever the folder before it and the ending after it. The labels were made section by section, so each
section is paired with the file of its own labels; those of whole reports (`report_fixed.json`) are not used. The labels
of findings call a report without findings `No Finding`; only reports that have the section are read.

The official split `valid` is given as test: it is the held-out part of CheXpert, chosen apart from the training set,
whose images radiologists labelled, and the only one published beside it, so that published work reports on it.

Left out of the input are `section_narrative`, `section_procedure_comments` and `section_summary`: the card of the data
set does not say what they hold, and a summary may give the conclusion away. `patient_report_date_order` is not used,
since the order was found to be wrong in about half of the pairs that could be checked.
"""

import re
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Final

from radlite.data.sources import construct
from radlite.data.sources.files import read_csv, read_json_lines
from radlite.data.sources.mimic_cxr import conclusion, decode, encode, says
from radlite.data.sources.source import Source, Tally
from radlite.tasks import Example
from radlite.tasks.abnormality import CLASSES

_REPORTS: Final = "df_chexpert_plus_240401.csv"
_SPLITS: Final = {"train": "train", "valid": "test"}
_STUDY: Final = re.compile(r"(?:^|/)((patient\d+)/study\d+)/[^/]+$")

# In the order in which they stand in a report.
_BEFORE: Final = {
    "section_clinical_history": "CLINICAL HISTORY",
    "section_history": "HISTORY",
    "section_comparison": "COMPARISON",
    "section_technique": "TECHNIQUE",
    "section_findings": "FINDINGS",
}
_LABELLED: Final = ("findings", "impression")


def rows(folder: Path, tally: Tally) -> Iterator[Example]:
    """For each study an impression, and the abnormalities of its findings and of its impression, each by itself."""
    labels = {section: _labels(folder, section, tally) for section in _LABELLED}
    seen: set[str] = set()
    texts = (*_BEFORE, "section_impression")
    for line, row in read_csv(folder, _REPORTS, ("path_to_image", *texts, "split"), tally, blank=texts):
        place, split = _STUDY.search(row["path_to_image"].strip()), _SPLITS.get(row["split"].strip())
        if not place or not split:
            why = "split is neither train nor valid" if place else "path_to_image has no patient, study and view"
            tally.reject(folder / _REPORTS, line, why)
        elif place[1] in seen:
            tally.dropped["another view of a study"] += 1
        else:
            seen.add(place[1])
            make = partial(
                CHEXPERT_PLUS.example, patient=f"chexpert:{place[2]}", study=f"chexpert:{place[1]}", split=split
            )
            yield from _impression(place[1], row, make, tally)
            for section, known in labels.items():
                yield from _abnormalities(place[1], section, row, known, make, tally)


def _impression(id: str, row: Mapping[str, str], make: Callable[..., Example], tally: Tally) -> Iterator[Example]:
    if answer := conclusion(row["section_findings"], row["section_impression"], tally):
        text = construct.report({heading: row[column] for column, heading in _BEFORE.items()})
        yield make(task="impression_generation", id=id, inputs={"report": text}, answer=answer, tags=("radiograph",))


def _abnormalities(
    id: str,
    section: str,
    row: Mapping[str, str],
    labels: Mapping[str, str],
    make: Callable[..., Example],
    tally: Tally,
) -> Iterator[Example]:
    text = row[f"section_{section}"]
    if not says(text):
        tally.dropped[f"abnormality_detection: no {section}"] += 1
    elif not (known := labels.get(id)):
        why = f"no labels of the {section}" if known is None else f"views with different labels of the {section}"
        tally.dropped[f"abnormality_detection: {why}"] += 1
    else:
        yield make(
            task="abnormality_detection",
            id=f"{id}/{section}",
            inputs={"report": construct.report({section.upper(): text})},
            answer=construct.abnormalities(decode(known)),
            tags=("radiograph", f"section:{section}"),
            tier="silver",
        )


def _labels(folder: Path, section: str, tally: Tally) -> dict[str, str]:
    """Study to its encoded labels; they are empty where its views disagree."""
    name = f"chexbert_labels/{section}_fixed.json"
    found: dict[str, str] = {}
    for number, row in read_json_lines(folder, name, ("path_to_image", *CLASSES), tally):
        place, labels = _STUDY.search(str(row["path_to_image"]).strip()), encode(row)
        if not place:
            tally.reject(folder / name, number, "path_to_image has no patient, study and view")
        elif labels is None:
            tally.reject(folder / name, number, "a label is none of 1.0, 0.0, -1.0 and null")
        elif found.setdefault(place[1], sys.intern(labels)) != labels:
            found[place[1]] = ""
    return found


CHEXPERT_PLUS = Source(
    name="chexpert_plus",
    title="CheXpert Plus chest radiograph reports, with the CheXbert labels of their findings and impressions",
    licence="Stanford University Dataset Research Use Agreement",
    access="registration",
    tier="gold",
    citation=(
        "P. Chambon et al.: CheXpert Plus, augmenting a large chest X-ray dataset with text radiology reports, patient "
        "demographics and additional image formats. arXiv 2405.19538, 2024. A. Smit et al.: CheXbert. EMNLP, 2020."
    ),
    tasks=("impression_generation", "abnormality_detection"),
    how_to=(
        "1. Register at the Stanford AIMI shared datasets (aimi.stanford.edu) and open CheXpert Plus.\n"
        "2. Accept its research use agreement; it forbids to pass the data on.\n"
        "3. Download df_chexpert_plus_240401.csv and the folder chexbert_labels, of which findings_fixed.json and "
        "impression_fixed.json are read.\n"
        "4. Put them into one folder and run: radlite data build --source chexpert_plus=FOLDER --out corpus"
    ),
    rows=rows,
)
