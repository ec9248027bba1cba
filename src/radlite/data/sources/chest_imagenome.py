"""Chest ImaGenome: what the scene graphs of MIMIC-CXR's radiographs say has changed since the image before.

The graphs were made by programs (silver). Known of them are the names of the keys; this is assumed:

* `phrase_IDs` stand beside the `phrases` of an attribute and end in the number of the sentence, `55916528|6`. They
  give the order of the report; phrases without a number follow in the order of the graph.
* The cues of a graph are labels, `comparison|yes|worsened`, and seldom words of the report. So the cue of a change is
  looked for in the phrase: the label's own word, else one of a small list for its status.
* The findings are names too (`enlarged cardiac silhouette`). A change is about the words of the phrase that stand for
  the name, as the answers of the task are words of the report.
* A relationship between two images tells of improved, worsened or no change only; new and resolved findings are not
  told apart. Findings that are denied (`|no|`), devices and technique are left out.
* An image that is in none of the three files of the split has no official split.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from radlite.data.sources.files import read_csv, read_members
from radlite.data.sources.source import Source, Tally
from radlite.tasks import Example, named
from radlite.tasks.answers import squeeze
from radlite.tasks.temporal import Change, Changes, Status

_TASK = "temporal_comparison"
_ENDING = "_SceneGraph.json"
_SPLITS = {"train.csv": "train", "valid.csv": "validation", "test.csv": "test"}

Course = Literal["worsened", "improved", "unchanged"]
_COURSE: Final[dict[str, Course]] = {
    "comparison|yes|worsened": "worsened",
    "comparison|yes|improved": "improved",
    "comparison|yes|no change": "unchanged",
}
_KINDS = ("anatomicalfinding|yes|", "disease|yes|")

_MUCH = r"(?:(?:significant|interval|substantial|appreciable|relevant|definite|major|overall)\s+){0,3}"
_CUES: Final[dict[Status, str]] = {
    "worsened": r"worsened|worsening|worse|increased|increasing|increase|progressed|progressing|progression|larger"
    r"|more\s+(?:extensive|prominent|pronounced|conspicuous|confluent|severe|dense)|greater",
    "improved": r"improved|improving|improvement|decreased|decreasing|decrease|reduced|reduction|smaller|better"
    r"|less\s+(?:extensive|prominent|pronounced|conspicuous|confluent|severe|dense)|cleared|clearing",
    "unchanged": rf"unchanged|no\s+{_MUCH}change|not\s+{_MUCH}changed|without\s+{_MUCH}change|stable|constant|similar"
    r"|persistent|persisting|persists?|remains?|re-?demonstrated|as\s+before",
    "new": r"new|newly|interval\s+(?:development|appearance)|(?:has|have)\s+(?:developed|appeared|arisen)",
    "resolved": r"resolved|(?:interval|complete)\s+(?:resolution|clearing)|resolution(?=\s+of)"
    r"|disappeared|vanished|gone|(?:has|have)\s+(?:(?:now|since|completely|entirely|fully)\s+)?cleared"
    r"|no\s+longer\s+(?:seen|visuali[sz]ed|visible|identified|evident|present|appreciated|demonstrated|apparent|noted)",
}
# "No increase" is no increase; a change that is none begins with such a word itself.
_DENIED = r"(?<!\bno )(?<!\bnot )(?<!\bwithout )(?<!\bno interval )(?<!\bno significant )"
_CUE = {status: re.compile(rf"{_DENIED}(?<!\w)(?:{words})(?!\w)", re.IGNORECASE) for status, words in _CUES.items()}

# Words for a finding besides its name; names and words may have a plural. Longer ones first where one holds another.
_WORDS: Final[dict[str, str]] = {
    "airspace opacity": r"air-?\s?space opacit(?:y|ies)|opacit(?:y|ies)|opacification",
    "atelectasis": "atelectasis|atelectases|atelectatic changes?",
    "consolidation": "consolidations?|consolidative opacit(?:y|ies)",
    "copd/emphysema": "copd|emphysema|emphysematous changes?",
    "costophrenic angle blunting": "blunting|costophrenic angles?",
    "enlarged cardiac silhouette": "cardiomegaly|cardiac enlargement|enlarged cardiac silhouette|enlarged heart"
    "|cardiac silhouette|cardiomediastinal silhouette|heart size|heart(?! failure)",
    "enlarged hilum": "hilar enlargement|hilar prominence|enlarged hil(?:um|a)|hil(?:um|a)",
    "fluid overload/heart failure": "fluid overload|volume overload|heart failure|cardiac decompensation|chf",
    "increased reticular markings/ild pattern": "reticular markings|interstitial markings|interstitial opacit(?:y|ies)",
    "infiltration": "infiltrations?|infiltrates?",
    "linear/patchy atelectasis": "(?:linear|patchy|plate-?like|subsegmental) atelectasis|atelectasis|atelectases",
    "lobar/segmental collapse": "(?:lobar|segmental|lobe|lung) collapse|collapse",
    "lung lesion": "lung lesions?|lesions?|nodules?|mass(?:es)?",
    "lung opacity": "lung opacit(?:y|ies)|opacit(?:y|ies)|opacification|opacifications",
    "mass/nodule (not otherwise specified)": "nodules?|mass(?:es)?|nodular opacit(?:y|ies)",
    "mediastinal widening": "mediastinal widening|widened mediastinum|widening",
    "multiple masses/nodules": "nodules|masses",
    "pleural effusion": "pleural effusions?|effusions?|pleural fluid",
    "pleural/parenchymal scarring": "scarring|scars?|pleural thickening",
    "pneumonia": "pneumonias?",
    "pneumothorax": "pneumothorax|pneumothoraces|hydropneumothorax",
    "pulmonary edema/hazy opacity": "(?:(?:pulmonary|interstitial|alveolar) )?edema|hazy opacit(?:y|ies)|haziness",
    "rib fracture": "rib fractures?|fractures?",
    "spinal fracture": "compression fractures?|fractures?|compression deformit(?:y|ies)",
    "superior mediastinal mass/enlargement": "mediastinal (?:mass|enlargement)",
    "vascular congestion": "(?:pulmonary )?(?:venous|vascular) congestion|congestion",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Graph:
    """A scene graph as far as it is used."""

    patient: str
    study: str
    phrases: tuple[str, ...]
    """Each once, in the order of the report."""
    relations: tuple[tuple[str, frozenset[str], tuple[str, ...]], ...]
    """(phrase, names of the relationship, attributes) of each."""


def cue(course: Course, sentence: str) -> str:
    """The words of a sentence that say so, in lower case; empty if there are none."""
    found = _CUE[course].search(sentence)
    return squeeze(found[0]).lower() if found else ""


def cues(sentence: str) -> list[tuple[int, int, Status]]:
    """(start, end, status) of all words of a sentence that tell of change, in order; none overlap.

    Of those that do the one that begins first is given, or else the longer one.
    """
    found = ((one, status) for status, words in _CUE.items() for one in words.finditer(sentence))
    apart: list[tuple[int, int, Status]] = []
    for one, status in sorted(found, key=lambda entry: (entry[0].start(), -entry[0].end())):
        if not apart or one.start() >= apart[-1][1]:
            apart.append((*one.span(), status))
    return apart


def mention(finding: str, sentence: str) -> str:
    """The words of a sentence, in lower case, for a finding by its name in Chest ImaGenome; empty if there are none."""
    # "Cyst/bullae" has a name on either side; names of which only a part does have words of their own.
    parts = [squeeze(part) for part in re.sub(r"\(.*?\)", "", finding).split("/")]
    otherwise = _WORDS.get(finding) or "|".join(rf"{re.escape(part)}s?" for part in parts if part)
    for words in (rf"{re.escape(finding)}s?", otherwise or "(?!)"):
        if found := re.search(rf"(?<!\w)(?:{words})(?!\w)", sentence, re.IGNORECASE):
            return squeeze(found[0]).lower()
    return ""


def rows(folder: Path, tally: Tally) -> Iterator[Example]:
    """One example a study: the phrases of its first image with a change that the phrases state."""
    splits: dict[str, str] = {}
    for name, split in _SPLITS.items():
        splits.update((row["dicom_id"], split) for row in _images(folder, name, tally))
    # An image that is to be avoided shares its report with the others of its study.
    avoided = {row[key] for row in _images(folder, "images_to_avoid.csv", tally) for key in ("dicom_id", "study_id")}
    done: set[str] = set()
    archive = ("silver_dataset/scene_graph.zip", "scene_graph.zip")
    expected = f"the scene graphs of Chest ImaGenome, DICOM{_ENDING}"
    for name, content in read_members(folder, archive, _ENDING, expected, tally):
        tally.rows += 1
        image = Path(name).name.removesuffix(_ENDING)
        graph = _graph(content)
        if isinstance(graph, str):
            tally.reject(Path(name), 1, graph)
        elif image in avoided or graph.study in avoided:
            tally.dropped[f"{_TASK}: an image to avoid"] += 1
        elif graph.study in done:
            tally.dropped[f"{_TASK}: another image of the study"] += 1
        elif example := _example(graph, splits.get(image, ""), tally):
            done.add(graph.study)
            yield example


def _images(folder: Path, name: str, tally: Tally) -> Iterator[dict[str, str]]:
    columns = ("subject_id", "study_id", "dicom_id")
    for _, row in read_csv(folder, f"silver_dataset/splits/{name}", columns, tally):
        yield row


def _example(graph: _Graph, split: str, tally: Tally) -> Example | None:
    changes = Changes(tuple(dict.fromkeys(_changes(graph, tally))))
    task = named(_TASK)
    answer = task.render(changes)
    if not changes.changes:
        tally.dropped[f"{_TASK}: an image without a change that a phrase states"] += 1
    elif task.read(answer) != changes:
        tally.dropped[f"{_TASK}: a change that the plain form cannot carry"] += 1
    else:
        report, study = "\n".join(graph.phrases), f"s{graph.study}"
        return CHEST_IMAGENOME.example(
            _TASK,
            f"chest_imagenome:{study}",
            {"report": report},
            answer,
            f"mimic:{graph.patient}",
            f"mimic:{study}",
            split,
        )
    return None


def _changes(graph: _Graph, tally: Tally) -> Iterator[Change]:
    """The changes in the order of the report; a phrase that tells of several regions gives the same one again."""
    for phrase, names, attributes in sorted(graph.relations, key=lambda one: graph.phrases.index(one[0])):
        courses = {_COURSE[name] for name in names if name in _COURSE}
        findings = [one.split("|", 2)[2] for one in attributes if one.startswith(_KINDS)]
        if len(courses) != 1:
            tally.dropped[f"change left out: {'both ways' if courses else 'of no known kind'}"] += 1
            continue
        course = courses.pop()
        if not findings:
            tally.dropped["change left out: of no finding"] += 1
        for finding in findings:
            words, said = mention(finding, phrase), cue(course, phrase)
            if words and said:
                yield Change(words, course, said)
            else:
                why = "no word of the change" if words else "no word of the finding"
                tally.dropped[f"change left out: {why} in the phrase"] += 1


def _graph(content: bytes) -> _Graph | str:
    """What is used of a scene graph, or why it is none."""
    try:
        graph = json.loads(content)
    except (ValueError, RecursionError):
        return "no JSON"
    if not isinstance(graph, dict):
        return "no JSON mapping"
    for key in ("patient_id", "study_id", "attributes", "relationships"):
        if key not in graph:
            return f"without {key}"
    ids = [str(graph[key]).removeprefix(mark) for key, mark in (("patient_id", "p"), ("study_id", "s"))]
    if not all(re.fullmatch(r"\d{8}", one) for one in ids):
        return "patient_id or study_id is no number of eight digits"
    relations, numbered = _relations(graph["relationships"]), _numbered(graph["attributes"])
    if relations is None or numbered is None:
        return "relationships or attributes of another shape"
    return _Graph(ids[0], ids[1], _ordered(numbered, (phrase for phrase, _, _ in relations)), relations)


def _relations(value: Any) -> tuple[tuple[str, frozenset[str], tuple[str, ...]], ...] | None:
    if not _mappings(value):
        return None
    phrases = [squeeze(str(one.get("phrase") or "")) for one in value]
    lists = [(one.get("relationship_names"), one.get("attributes")) for one in value]
    if not all(isinstance(names, list) and isinstance(attributes, list) for names, attributes in lists):
        return None
    return tuple(
        (phrase, frozenset(map(str, names)), tuple(map(str, attributes)))
        for phrase, (names, attributes) in zip(phrases, lists, strict=True)
        if phrase
    )


def _numbered(value: Any) -> dict[str, int | None] | None:
    """The phrases of the attributes, with the number of the sentence where it is given."""
    if not _mappings(value):
        return None
    found: dict[str, int | None] = {}
    for attribute in value:
        phrases, numbers = attribute.get("phrases"), attribute.get("phrase_IDs")
        if not isinstance(phrases, list):
            return None
        marks = numbers if isinstance(numbers, list) and len(numbers) == len(phrases) else [""] * len(phrases)
        for phrase, mark in zip(phrases, marks, strict=True):
            number = str(mark).rpartition("|")[2]
            found.setdefault(squeeze(str(phrase)), int(number) if re.fullmatch(r"\d{1,6}", number) else None)
    return found


def _mappings(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(one, Mapping) for one in value)


def _ordered(numbered: Mapping[str, int | None], others: Iterable[str]) -> tuple[str, ...]:
    known = sorted((number, phrase) for phrase, number in numbered.items() if number is not None)
    phrases = dict.fromkeys([*(phrase for _, phrase in known), *numbered, *others])
    return tuple(filter(None, phrases))


CHEST_IMAGENOME = Source(
    name="chest_imagenome",
    title="Chest ImaGenome 1.0.0: changes in MIMIC-CXR reports, from its scene graphs",
    licence="PhysioNet Credentialed Health Data License 1.5.0",
    access="credentialed",
    tier="silver",
    citation=(
        "J. T. Wu et al.: Chest ImaGenome Dataset for Clinical Reasoning. NeurIPS Datasets and Benchmarks, 2021."
    ),
    tasks=(_TASK,),
    how_to=(
        "1. Become a credentialed user of PhysioNet and complete the training that it asks for.\n"
        "2. Sign the data use agreement of Chest ImaGenome 1.0.0: physionet.org/content/chest-imagenome/1.0.0.\n"
        "3. Download silver_dataset/scene_graph.zip and silver_dataset/splits/train.csv, valid.csv, test.csv and "
        "images_to_avoid.csv; the archive need not be unpacked.\n"
        "4. Put them into one folder and run: radlite data build --source chest_imagenome=FOLDER --out corpus"
    ),
    rows=rows,
)
