"""RadGraph, RadGraph2 and RadGraph-XL: reports with their entities and relations, annotated by experts and by models.

All three are read with one reader. What the files say is known of RadGraph 1.0.0; of the others this is assumed:

* RadGraph2's files are mappings of the same shape. A name with train, dev, valid or test is a gold file of that split,
  any other one is the machine-annotated part (silver).
* RadGraph-XL's files are such mappings, or DyGIE's JSON lines with `doc_key`, `sentences` and `ner` (token indices of
  the whole document, the last one included). A file whose name tells no split is gold without a split.
* Keys of MIMIC-CXR reports are paths with `p10659857/s59206984`; keys of CheXpert tell the patient only where they
  hold `patient42142`.
* A measurement is a Measurement whether XL files it under Observation or under Anatomy.

The text comes in tokens, parted by blanks, and is put together as one would write it. Relations are used to tell what
changed, and are not part of the entities' answer.
"""

import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from radlite.data.sources import construct
from radlite.data.sources.files import read_json_entries, read_json_lines
from radlite.data.sources.source import Source, Tally, Tier, printable
from radlite.errors import UserError
from radlite.tasks import Example, named
from radlite.tasks.ner import LABELS, Entities, Entity, Label
from radlite.tasks.temporal import Change, Changes, Status

_LICENCE = "PhysioNet Credentialed Health Data License 1.5.0"
_NER, _TEMPORAL = "radiology_ner", "temporal_comparison"
_EXPECTED = "RadGraph's reports by key, each with text and entities"

_CERTAINTY: Final[dict[str, Label]] = {
    "definitely present": "Observation (Present)",
    "definitely absent": "Observation (Absent)",
    "uncertain": "Observation (Uncertain)",
}
_LABELS: Final[dict[str, Label]] = {
    "ANAT-DP": "Anatomy",
    "OBS-DP": "Observation (Present)",
    "OBS-DA": "Observation (Absent)",
    "OBS-U": "Observation (Uncertain)",
    **{f"Observation::{certainty}": label for certainty, label in _CERTAINTY.items()},
    **{f"Anatomy::{certainty}": "Anatomy" for certainty in _CERTAINTY},
    **{f"{kind}::measurement::{certainty}": "Measurement"
       for kind in ("Observation", "Anatomy") for certainty in _CERTAINTY},
}  # fmt: skip
_STATUS: Final[dict[str, Status]] = {
    "CHAN-NC": "unchanged",
    "CHAN-CON-AP": "new",
    "CHAN-CON-WOR": "worsened",
    "CHAN-CON-IMP": "improved",
    "CHAN-CON-RES": "resolved",
}

_SPLIT = re.compile(
    r"(?<![a-z])(?:(?P<train>train(?:ing)?)|(?P<validation>dev|val(?:id(?:ation)?)?)|(?P<test>test))(?![a-z])"
)
_ORDER = ("test", "validation", "train", "")
_MIMIC = re.compile(r"(?:^|/)p(\d{8})/s(\d{8})(?!\d)")
_CHEXPERT = re.compile(r"(patient\d{5})(?!\d)(?:\W?_?(study\d+))?")
_DYGIE = re.compile(rb'\s*\{\s*"(?:doc_key|dataset|sentences|ner|relations|clusters)"\s*:')


class _Fault(Exception):
    """Why a report cannot be read, without its content."""


@dataclass(frozen=True, slots=True)
class _File:
    name: str
    split: str
    tier: Tier
    known: bool = True
    """Whether the data set has a file of this name; one that was merely found may be something else."""


@dataclass(frozen=True, slots=True)
class _Mark:
    """An entity: `report[start:end]`, with the keys of the entities that it modifies."""

    kind: str
    label: Label
    start: int
    end: int
    modifies: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Report:
    text: str
    marks: Mapping[str, _Mark]
    tags: tuple[str, ...]

    def words(self, mark: _Mark) -> str:
        return self.text[mark.start : mark.end]


def _first(folder: Path, tally: Tally) -> Iterator[Example]:
    """RadGraph: the gold files are needed, the silver ones are read where they are."""
    gold = [_File("test.json", "test", "gold"), _File("dev.json", "validation", "gold")]
    gold.append(_File("train.json", "train", "gold"))
    silver = [_File(name, "", "silver") for name in ("MIMIC-CXR_graphs.json", "CheXpert_graphs.json")]
    there = [file for file in silver if any(folder.rglob(file.name)) or any(folder.rglob(f"{file.name}.gz"))]
    yield from _examples(RADGRAPH, folder, [*gold, *there], tally)


def _second(folder: Path, tally: Tally) -> Iterator[Example]:
    yield from _examples(RADGRAPH2, folder, _files(folder, ("*.json", "*.json.gz"), "silver"), tally)


def _large(folder: Path, tally: Tally) -> Iterator[Example]:
    patterns = ("*.json", "*.json.gz", "*.jsonl", "*.jsonl.gz")
    yield from _examples(RADGRAPH_XL, folder, _files(folder, patterns, "gold"), tally)


def _files(folder: Path, patterns: Sequence[str], rest: Tier) -> list[_File]:
    """The files in or below `folder`, test first and those without a split, which are of the tier `rest`, last."""
    files = []
    for path in sorted(path for pattern in patterns for path in folder.rglob(pattern) if path.is_file()):
        found = _SPLIT.search(path.name.lower())
        split = found.lastgroup or "" if found else ""
        files.append(_File(path.relative_to(folder).as_posix(), split, "gold" if split else rest, known=False))
    if not files:
        raise UserError(f"{folder} has no {' or '.join(patterns)} (expected {_EXPECTED}); put the files there.")
    return sorted(files, key=lambda file: _ORDER.index(file.split))


def _examples(source: Source, folder: Path, files: Sequence[_File], tally: Tally) -> Iterator[Example]:
    """Gold files come first: what is in them, and whoever is in those of dev and test, is left out of silver ones."""
    seen: set[str] = set()
    gold: set[str] = set()
    held: set[str] = set()
    shaped = False
    for file in files:
        for number, key, value in _entries(folder, file, tally):
            shaped = True
            patient, _ = _who(key)
            if file.tier == "silver" and (key in gold or patient in held):
                why = "the report is in a gold file" if key in gold else "the patient is in a gold dev or test file"
                tally.dropped[f"silver: {why}"] += 1
                continue
            if key in seen:
                tally.reject(Path(file.name), number, "a repeated key")
                continue
            seen.add(key)
            if file.tier == "gold":
                gold.add(key)
            if file.split in ("test", "validation") and patient:
                held.add(patient)
            try:
                report = _report(value)
            except _Fault as fault:
                tally.reject(Path(file.name), number, str(fault))
                continue
            yield from _tasks(source, file, key, report, tally)
    if not shaped:
        raise UserError(f"No file in {folder} is of the right kind (expected {_EXPECTED}); get the files themselves.")


def _entries(folder: Path, file: _File, tally: Tally) -> Iterator[tuple[int, str, Any]]:
    """(number, key, report); a file that was found and begins with no report, as a model's settings do, is left out."""
    if _is_dygie(folder / file.name):
        stem = printable(Path(file.name).name.split(".")[0])
        for number, row in read_json_lines(folder, file.name, ("sentences", "ner"), tally):
            yield number, str(row.get("doc_key") or f"{stem}:{number}"), row
        return
    known = file.known
    for number, key, value in read_json_entries(folder, file.name, _EXPECTED, tally):
        known = known or (isinstance(value, dict) and bool(value.keys() & {"text", "entities", "labeler_1"}))
        if not known:
            tally.dropped[f"{printable(Path(file.name).name)}: a file of another kind"] += 1
            return
        yield number, key, value


def _is_dygie(path: Path) -> bool:
    """Whether a file has one report a line; a damaged one has not, and its reader will say what is wrong."""
    if not path.is_file():
        return False
    with path.open("rb") as raw:
        head = raw.read(4096)
    if head[:2] == b"\x1f\x8b":
        try:
            head = zlib.decompressobj(zlib.MAX_WBITS | 16).decompress(head)
        except zlib.error:
            return False
    return _DYGIE.match(head.removeprefix(b"\xef\xbb\xbf")) is not None


def _who(key: str) -> tuple[str, str]:
    """Patient and study of a key; empty where it does not tell them."""
    if found := _MIMIC.search(key):
        return f"mimic:{found[1]}", f"mimic:s{found[2]}"
    if found := _CHEXPERT.search(key):
        return f"chexpert:{found[1]}", f"chexpert:{found[1]}/{found[2]}" if found[2] else ""
    return "", ""


def _report(value: Any) -> _Report:
    if not isinstance(value, dict):
        raise _Fault("no mapping")
    labelers = sorted(key for key in value if re.fullmatch(r"labeler_\d+", key))
    graph = value["labeler_1"] if "labeler_1" in labelers else value
    if not isinstance(graph, dict):
        raise _Fault("labeler_1 is no mapping")
    tokens, entities = _of_dygie(value) if "sentences" in value else (_tokens(value), graph.get("entities"))
    if not isinstance(entities, dict):
        raise _Fault("no entities")
    if not tokens:
        raise _Fault("no text")
    text, places = construct.joined(tokens)
    marks = {key: _mark(entity, tokens, places) for key, entity in entities.items()}
    return _Report(text, marks, (f"labelers:{len(labelers)}",) if labelers else ())


def _tokens(value: Mapping[str, Any]) -> list[str]:
    text = value.get("text")
    return text.split() if isinstance(text, str) else []


def _of_dygie(row: Mapping[str, Any]) -> tuple[list[str], dict[str, Any]]:
    """Tokens and entities of a line."""
    try:
        tokens = [str(token) for sentence in row["sentences"] for token in sentence]
        marks = [mark for sentence in row["ner"] for mark in sentence]
        entities = {str(n): {"start_ix": mark[0], "end_ix": mark[1], "label": mark[2]} for n, mark in enumerate(marks)}
    except (TypeError, LookupError) as error:
        raise _Fault("sentences or ner of another shape") from error
    return tokens, entities


def _mark(entity: Any, tokens: Sequence[str], places: Sequence[tuple[int, int]]) -> _Mark:
    if not isinstance(entity, dict):
        raise _Fault("an entity is no mapping")
    kind, first, last = (entity.get(key) for key in ("label", "start_ix", "end_ix"))
    label = _label(kind)
    if not label:
        raise _Fault("an entity with an unknown label")
    if not (isinstance(first, int) and isinstance(last, int) and 0 <= first <= last < len(tokens)):
        raise _Fault("an entity outside the text")
    # The words tell whether the indices are what they are taken for.
    words = entity.get("tokens")
    if words is not None and str(words).split() != tokens[first : last + 1]:
        raise _Fault("an entity whose words are not at its place")
    return _Mark(str(kind), label, places[first][0], places[last][1], _modified(entity.get("relations", ())))


def _label(kind: Any) -> Label | None:
    if not isinstance(kind, str):
        return None
    return "Change" if kind.startswith("CHAN-") else _LABELS.get(kind)


def _modified(relations: Any) -> tuple[str, ...]:
    """Keys of the entities that are modified."""
    try:
        return tuple(str(other) for kind, other in relations if kind == "modify")
    except (TypeError, ValueError) as error:
        raise _Fault("a relation is no pair") from error


def _tasks(source: Source, file: _File, key: str, report: _Report, tally: Tally) -> Iterator[Example]:
    patient, study = _who(key)
    answers = {_NER: _entities(report, tally)}
    if _TEMPORAL in source.tasks:
        answers[_TEMPORAL] = _comparison(report, file.tier, tally)
    # The three sources have reports, and so keys, in common.
    identity = f"{source.name}:{key}"
    for task, answer in answers.items():
        if answer is not None:
            yield source.example(
                task, identity, {"report": report.text}, answer, patient, study, file.split,
                (*report.tags, *filter(None, [patient.partition(":")[0]])), file.tier,
            )  # fmt: skip


def _entities(report: _Report, tally: Tally) -> str | None:
    """The answer; None if the plain form cannot carry an entity: it has a semicolon, or is a part of a word."""
    marks = sorted(report.marks.values(), key=lambda mark: (LABELS.index(mark.label), mark.start, mark.end))
    entities = Entities(tuple(Entity(report.words(mark), mark.label) for mark in marks))
    answer = named(_NER).render(entities)
    text = report.text
    whole = not any(re.search(r"\w", text[max(mark.start - 1, 0) : mark.start] + text[mark.end : mark.end + 1])
                    for mark in marks)  # fmt: skip
    if whole and named(_NER).read(answer) == entities:
        return answer
    tally.dropped[f"{_NER}: an entity that the plain form cannot carry"] += 1
    return None


def _comparison(report: _Report, tier: Tier, tally: Tally) -> str | None:
    """The answer; None where nothing can be told. That nothing is compared is believed of experts only."""
    found = any(mark.label == "Change" for mark in report.marks.values())
    # What is said twice, as in findings and impression, is one change.
    changes = Changes(tuple(dict.fromkeys(_changes(report, tally))))
    answer = named(_TEMPORAL).render(changes)
    if found and not changes.changes:
        why = "no change of a known kind and finding"
    elif not found and tier != "gold":
        why = "no change in a silver report"
    elif named(_TEMPORAL).read(answer) != changes:
        why = "a change that the plain form cannot carry"
    else:
        return answer
    tally.dropped[f"{_TEMPORAL}: {why}"] += 1
    return None


def _changes(report: _Report, tally: Tally) -> Iterator[Change]:
    """The changes in the order of the report, in lower case as the task's grammar has them."""
    for key, mark in sorted(report.marks.items(), key=lambda item: (item[1].start, item[1].end)):
        if mark.label != "Change":
            continue
        status, findings = _STATUS.get(mark.kind), _changed(report, key, mark)
        # "No new effusion" is no new effusion.
        told = [one for one in findings if not (one.kind == "OBS-DA" and status in ("new", "worsened"))]
        if status is None:
            device = mark.kind.startswith("CHAN-DEV-")
            tally.dropped[f"change left out: {'of a device' if device else 'of another kind'}"] += 1
        elif not told:
            tally.dropped[f"change left out: {'of an absent finding' if findings else 'of nothing in particular'}"] += 1
        else:
            cue = report.words(mark).lower()
            yield from (Change(report.words(finding).lower(), status, cue) for finding in told)


def _changed(report: _Report, key: str, change: _Mark) -> list[_Mark]:
    """What a change modifies; where there is nothing, what modifies the change."""
    targets = [report.marks[other] for other in change.modifies if other in report.marks]
    sources = [mark for mark in report.marks.values() if key in mark.modifies]
    return [mark for mark in targets if mark.label != "Change"] or [mark for mark in sources if mark.label != "Change"]


RADGRAPH = Source(
    name="radgraph",
    title="RadGraph 1.0.0: entities of chest radiograph reports",
    licence=_LICENCE,
    access="credentialed",
    tier="gold",
    citation=(
        "S. Jain et al.: RadGraph: Extracting Clinical Entities and Relations from Radiology Reports. "
        "NeurIPS Datasets and Benchmarks, 2021."
    ),
    tasks=(_NER,),
    how_to=(
        "1. Become a credentialed user of PhysioNet and complete the training that it asks for.\n"
        "2. Sign the data use agreement of RadGraph 1.0.0: physionet.org/content/radgraph/1.0.0.\n"
        "3. Download train.json, dev.json and test.json, and for the reports annotated by a model also "
        "MIMIC-CXR_graphs.json and CheXpert_graphs.json.\n"
        "4. Put them into one folder and run: radlite data build --source radgraph=FOLDER --out corpus"
    ),
    rows=_first,
)

RADGRAPH2 = Source(
    name="radgraph2",
    title="RadGraph2 1.0.0: entities and changes of chest radiograph reports",
    licence=_LICENCE,
    access="credentialed",
    tier="gold",
    citation=(
        "S. Khanna et al.: RadGraph2: Modeling Disease Progression in Radiology Reports via Hierarchical Information "
        "Extraction. MLHC, 2023."
    ),
    tasks=(_NER, _TEMPORAL),
    how_to=(
        "1. Become a credentialed user of PhysioNet and complete the training that it asks for.\n"
        "2. Sign the data use agreement of RadGraph2 1.0.0: physionet.org/content/radgraph2-radiology-reports.\n"
        "3. Download its JSON files. A name with train, dev, valid or test tells the split of annotated reports; "
        "any other file is taken to be annotated by a model.\n"
        "4. Put them into one folder and run: radlite data build --source radgraph2=FOLDER --out corpus"
    ),
    rows=_second,
)

RADGRAPH_XL = Source(
    name="radgraph_xl",
    title="RadGraph-XL 1.0.0: entities of reports on chest, abdomen, pelvis and brain",
    licence=_LICENCE,
    access="credentialed",
    tier="gold",
    citation=(
        "J.-B. Delbrouck et al.: RadGraph-XL: A Large-Scale Expert-Annotated Dataset for Entity and Relation "
        "Extraction from Radiology Reports. Findings of ACL, 2024."
    ),
    tasks=(_NER,),
    how_to=(
        "1. Become a credentialed user of PhysioNet and complete the training that it asks for.\n"
        "2. Sign the data use agreement of RadGraph-XL 1.0.0: physionet.org/content/radgraph-xl. "
        "The reports of Stanford are given out by Stanford AIMI under terms of its own.\n"
        "3. Download the JSON files, either mappings or JSON lines.\n"
        "4. Put them into one folder and run: radlite data build --source radgraph_xl=FOLDER --out corpus"
    ),
    rows=_large,
)
