"""MS-CXR-T: pairs of sentences on change, and the course of five findings in pairs of MIMIC-CXR's radiographs.

It is a benchmark: all of it is test. The sentences make items of inference. The courses were read from images; they
become items of temporal comparison only where the reports of both studies are there and the current one says so.

Assumed of the files: the table of sentences may have further columns, of which `subset_name` becomes a tag; its rows
have no id of their own, so that the line of the file is one. The section of a report is its findings, or else its
impression or its last paragraph, as MIMIC-CXR's own script cuts them.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from radlite.data.sources import construct
from radlite.data.sources.chest_imagenome import Course, cue, mention
from radlite.data.sources.files import read_csv
from radlite.data.sources.source import Source, Tally
from radlite.sections import sentences
from radlite.tasks import Example, named
from radlite.tasks.answers import squeeze
from radlite.tasks.nli import Relation
from radlite.tasks.temporal import Change, Changes

_NLI, _TEMPORAL = "radiology_nli", "temporal_comparison"
_SENTENCES = "MS_CXR_T_temporal_sentence_similarity_v1.0.0.csv"
_IMAGES = "MS_CXR_T_temporal_image_classification_v1.0.0.csv"
_REPORTS = "mimic_cxr_sectioned.csv"
_STUDIES = "mimic-cxr-2.0.0-split.csv"

_RELATIONS: Final = {"paraphrase": Relation("entailment"), "contradiction": Relation("contradiction")}
_COURSES: Final[dict[str, Course]] = {"improving": "improved", "stable": "unchanged", "worsening": "worsened"}
_FINDINGS: Final = {
    "consolidation": "consolidation",
    "edema": "pulmonary edema/hazy opacity",
    "pleural_effusion": "pleural effusion",
    "pneumonia": "pneumonia",
    "pneumothorax": "pneumothorax",
}
"""Columns to Chest ImaGenome's names."""


@dataclass(frozen=True, slots=True)
class _Pair:
    """Two images of a patient and the courses that are agreed on."""

    patient: str
    study: str
    previous_image: str
    courses: Mapping[str, Course]


def rows(folder: Path, tally: Tally) -> Iterator[Example]:
    """The pairs of sentences, then the pairs of studies whose reports are in the folder."""
    yield from _inference(folder, tally)
    pairs = list(_pairs(folder, tally))
    if any(folder.rglob(_REPORTS)) or any(folder.rglob(f"{_REPORTS}.gz")):
        yield from _comparisons(folder, pairs, tally)
    else:
        tally.dropped[f"{_TEMPORAL}: no reports, as {_REPORTS} is not there"] += len(pairs)


def _inference(folder: Path, tally: Tally) -> Iterator[Example]:
    columns = ("sentence_1", "sentence_2", "category")
    for line, row in read_csv(folder, _SENTENCES, columns, tally):
        relation = _RELATIONS.get(row["category"].strip().lower())
        if not relation:
            tally.reject(Path(_SENTENCES), line, "category is neither paraphrase nor contradiction")
            continue
        inputs = {"premise": squeeze(row["sentence_1"]), "hypothesis": squeeze(row["sentence_2"])}
        subset = row.get("subset_name", "").strip().lower()
        tags = (f"subset:{subset}",) if re.fullmatch(r"\w{1,20}", subset) else ()
        answer = named(_NLI).render(relation)
        yield MS_CXR_T.example(_NLI, f"ms_cxr_t:sentences-{line}", inputs, answer, split="test", tags=tags)


def _pairs(folder: Path, tally: Tally) -> Iterator[_Pair]:
    ids = ("dicom_id", "previous_dicom_id", "study_id", "subject_id")
    labels = [f"{finding}_{what}" for finding in _FINDINGS for what in ("progression", "label_quality")]
    for line, row in read_csv(folder, _IMAGES, (*ids, *labels), tally, blank=labels):
        patient, study = (row[key].strip().lstrip("ps") for key in ("subject_id", "study_id"))
        courses: dict[str, Course] = {}
        for finding in _FINDINGS:
            label = row[f"{finding}_progression"].strip().lower()
            if label and label not in _COURSES:
                tally.reject(Path(_IMAGES), line, f"{finding}_progression is no course")
                break
            if label and row[f"{finding}_label_quality"].strip().lower() == "disagreement":
                tally.dropped["change left out: the experts disagree"] += 1
            elif label:
                courses[finding] = _COURSES[label]
        else:
            if re.fullmatch(r"\d{8}", patient) and re.fullmatch(r"\d{8}", study):
                yield _Pair(patient, study, row["previous_dicom_id"].strip(), courses)
            else:
                tally.reject(Path(_IMAGES), line, "subject_id or study_id is no number of eight digits")


def _comparisons(folder: Path, pairs: list[_Pair], tally: Tally) -> Iterator[Example]:
    """One example for two studies. Of the reports only those of the benchmark, some two thousand, are held."""
    studies = _studies(folder, {pair.previous_image for pair in pairs}, tally)
    reports = _reports(folder, {pair.study for pair in pairs} | set(studies.values()), tally)
    done: set[str] = set()
    for pair in pairs:
        previous = studies.get(pair.previous_image, "")
        identity = f"ms_cxr_t:s{pair.study}-s{previous}"
        before, now = reports.get(previous), reports.get(pair.study)
        if not (before and now):
            tally.dropped[f"{_TEMPORAL}: no report of one of the studies"] += 1
        elif identity in done:
            tally.dropped[f"{_TEMPORAL}: other images of the two studies"] += 1
        elif answer := _answer(pair, now[1], tally):
            done.add(identity)
            report = construct.report({f"PRIOR {before[0]}": before[1], f"CURRENT {now[0]}": now[1]})
            # Changes of other findings are not annotated: the answer may lack some that the report states.
            yield MS_CXR_T.example(
                _TEMPORAL, identity, {"report": report}, answer, f"mimic:{pair.patient}", f"mimic:s{pair.study}",
                "test", ("findings:five",),
            )  # fmt: skip


def _studies(folder: Path, images: set[str], tally: Tally) -> dict[str, str]:
    """The study of each of the images."""
    table = read_csv(folder, _STUDIES, ("dicom_id", "study_id"), tally)
    return {row["dicom_id"]: row["study_id"].strip().lstrip("s") for _, row in table if row["dicom_id"] in images}


def _reports(folder: Path, studies: set[str], tally: Tally) -> dict[str, tuple[str, str]]:
    """Name and text of the section of each of the studies that has one."""
    found: dict[str, tuple[str, str]] = {}
    names = {"findings": "FINDINGS", "impression": "IMPRESSION", "last_paragraph": "REPORT"}
    for _, row in read_csv(folder, _REPORTS, ("study", *names), tally, blank=tuple(names)):
        study = row["study"].strip().lstrip("s")
        texts = [(name, row[column]) for column, name in names.items() if row[column].strip()]
        if study in studies and texts:
            found[study] = texts[0]
    return found


def _answer(pair: _Pair, text: str, tally: Tally) -> str | None:
    """The changes that the current report states, in its order."""
    text = construct.plain(text)
    said = [squeeze(text[one.start : one.end]) for one in sentences(text)]
    changes: list[tuple[int, Change]] = []
    for finding, course in pair.courses.items():
        stated = ((n, mention(_FINDINGS[finding], one), cue(course, one)) for n, one in enumerate(said))
        first = next(((n, Change(words, course, how)) for n, words, how in stated if words and how), None)
        if first:
            changes.append(first)
        else:
            tally.dropped["change left out: the report does not say so"] += 1
    if not changes:
        tally.dropped[f"{_TEMPORAL}: no change that the report states"] += 1
        return None
    return named(_TEMPORAL).render(Changes(tuple(change for _, change in sorted(changes, key=lambda one: one[0]))))


MS_CXR_T = Source(
    name="ms_cxr_t",
    title="MS-CXR-T 1.0.0: a benchmark of change in chest radiographs and sentences on them",
    licence="PhysioNet Credentialed Health Data License 1.5.0",
    access="credentialed",
    tier="gold",
    citation=(
        "S. Bannur et al.: MS-CXR-T: Learning to Exploit Temporal Structure for Biomedical Vision-Language Processing. "
        "PhysioNet, 2023."
    ),
    tasks=(_NLI, _TEMPORAL),
    how_to=(
        "1. Become a credentialed user of PhysioNet and complete the training that it asks for.\n"
        "2. Sign the data use agreement of MS-CXR-T 1.0.0: physionet.org/content/ms-cxr-t/1.0.0; for the reports also "
        "those of MIMIC-CXR and MIMIC-CXR-JPG.\n"
        f"3. Download {_SENTENCES} and {_IMAGES}.\n"
        f"4. For temporal comparison also make {_REPORTS} from the reports of MIMIC-CXR with create_section_files.py "
        f"of github.com/MIT-LCP/mimic-cxr, and download {_STUDIES}.gz of MIMIC-CXR-JPG.\n"
        "5. Put them into one folder and run: radlite data build --source ms_cxr_t=FOLDER --out corpus"
    ),
    rows=rows,
)
