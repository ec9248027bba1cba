"""Answers as a FHIR R4 Bundle: a preliminary DiagnosticReport with an Observation for each answer, Device, Provenance.

docs/records.md has the codes, where each was verified, and what is left as text. Nothing is said of the patient that
the caller does not give.
"""

import datetime
import hashlib
import html
import re
import uuid
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import radlite
from radlite.errors import UserError
from radlite.rads import category
from radlite.sections import sections
from radlite.tasks import Reading, named
from radlite.tasks.abnormality import Abnormalities
from radlite.tasks.impression import Impression
from radlite.tasks.ner import Entities
from radlite.tasks.rads import Assignment
from radlite.tasks.staging import Stage
from radlite.tasks.temporal import WORDING, Changes

Resource = dict[str, Any]

STANDING: Final = (
    "Preliminary: written by a language model from the text of a report and not reviewed by a radiologist. "
    "Not a medical device; for research only."
)
MEDIA_TYPE: Final = "application/fhir+json"

_HL7: Final = "http://terminology.hl7.org/CodeSystem"
_ABSENT: Final = {
    "abstained": ("asked-declined", "the model is not sure enough to answer"),
    "unreadable": ("error", "the model's answer is unreadable"),
    "too_long": ("unsupported", "the report is too long for the model"),
    "not_applicable": ("not-applicable", "the task does not apply"),
    "failed": ("error", "the engine could not answer"),
}
"""Status of a reading to FHIR's reason for there being no value."""
_NAMES: Final = {
    "rads_assignment": "RADS category",
    "impression_generation": "Impression",
    "temporal_comparison": "Change since the prior study",
    "radiology_ner": "Named entities",
    "n_staging": "N category of the primary tumor",
    "m_staging": "M category of the primary tumor",
    "radiology_nli": "Relation of a hypothesis to the report",
    "abnormality_detection": "Chest abnormalities (CheXpert classes)",
    "radiology_qa": "Answer to a question",
}
_IMPRESSION: Final = "19005-8"
"""LOINC: the impression section of an imaging report."""
_MAMMOGRAPHY: Final = {
    "BI-RADS 0": "397138000",
    "BI-RADS 1": "397140005",
    "BI-RADS 2": "397141009",
    "BI-RADS 3": "397143007",
    "BI-RADS 4": "397144001",
    "BI-RADS 5": "397145000",
}
"""SNOMED CT: `Mammography assessment (Category 0)` and so on, as in DICOM's CID 6027. There is none for 6."""
_TOLD: Final = 0.05
"""Probability from which on a label beside the answer is told."""
_SUBJECT: Final = re.compile(r"(https?://\S+/)?(Patient|Group|Device|Location)/[A-Za-z0-9.-]{1,64}|urn:(uuid|oid):\S+")
_SPACE: Final = uuid.UUID("6f0b9d0e-3c5c-4c0b-9d35-2a5f4b7f9f0a")
"""Name space of the ids that are made from those of the answers."""


def bundle(
    answers: Sequence[Reading],
    ids: Sequence[str],
    models: Mapping[str, Mapping[str, str]],
    when: datetime.datetime,
    inputs: Mapping[str, str] | None = None,
    subject: str = "",
) -> Resource:
    """The Bundle of the answers to one report.

    `ids` are those of the answers, 32 hex digits each; `models` is name of a model to SHA-256 of each of its files, by
    the file's name; `when` has a time zone; `inputs` are the texts, of which the Bundle gets digests; `subject` refers
    to the patient (`Patient/123`). Without answers it is a report that says so. Equal arguments make an equal Bundle.
    Raises `UserError` for another form of `subject`.
    """
    demand_reference(subject)
    about = {"subject": {"reference": subject}} if subject else {}
    time = when.astimezone(datetime.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    devices = {name: _own(f"device {name!a} {sorted(models.get(name, {}).items())!a}") for name in _names(answers)}
    coded = _is_mammography((inputs or {}).get("report", ""))
    observations = [
        (_uuid(id), _observation(one, _uuid(id), devices[one.model], time, about, coded))
        for id, one in zip(ids, answers, strict=True)
    ]
    results = [{"reference": place} for place, _ in observations]
    report = _own(f"report {' '.join(ids)}")
    entries = [
        (report, _report(answers, results, report, time, about)),
        *observations,
        *((place, _device(name, models.get(name, {}))) for name, place in devices.items()),
    ]
    if answers:  # else nobody made anything of anything
        made = _provenance([{"reference": report}, *results], list(devices.values()), time, inputs or {})
        entries.append((_own(f"provenance {' '.join(ids)}"), made))
    return {
        "resourceType": "Bundle",
        "identifier": {"system": "urn:ietf:rfc:3986", "value": _own(f"bundle {' '.join(ids)}")},
        "type": "collection",
        "timestamp": time,
        "entry": [{"fullUrl": place, "resource": resource} for place, resource in entries],
    }


def demand_reference(subject: str) -> None:
    """Raise `UserError` unless this may stand as the subject of a report, or is empty."""
    if subject and not _SUBJECT.fullmatch(subject):
        raise UserError("The subject is no reference of FHIR; give one such as Patient/123.")


def _names(answers: Sequence[Reading]) -> list[str]:
    return list(dict.fromkeys(one.model for one in answers))


def _report(
    answers: Sequence[Reading], results: list[Resource], place: str, time: str, about: Mapping[str, Any]
) -> Resource:
    impressions = [_text(one) for one in answers if isinstance(one.answer, Impression)]
    return {
        "resourceType": "DiagnosticReport",
        "text": _narrative(answers),
        "identifier": [{"system": "urn:ietf:rfc:3986", "value": place}],
        "status": "preliminary",
        "category": [_concept("Radiology", f"{_HL7}/v2-0074", "RAD")],
        "code": _concept("Reading of a radiology report by a language model", "http://loinc.org", "18748-4"),
        **about,
        "issued": time,
        **({"result": results} if results else {}),
        **({"conclusion": impressions[0]} if impressions else {}),
    }


def _observation(
    reading: Reading, place: str, device: str, time: str, about: Mapping[str, Any], coded: bool
) -> Resource:
    name = _NAMES.get(reading.task, reading.task)
    impression = ("http://loinc.org", _IMPRESSION) if reading.task == "impression_generation" else ()
    notes = [f"Warning: {one}." for one in reading.warnings]
    notes += [f'Evidence, characters {one.start} to {one.end}: "{one.quote}"' for one in reading.evidence]
    components = [*_components(reading), *_probabilities(reading)]
    return {
        "resourceType": "Observation",
        "identifier": [{"system": "urn:ietf:rfc:3986", "value": place}],
        "status": "preliminary",
        "category": [_concept("Imaging", f"{_HL7}/observation-category", "imaging")],
        "code": _concept(name, *impression),
        **about,
        "issued": time,
        **_value(reading, coded),
        **({"note": [{"text": _clean(note)} for note in notes]} if notes else {}),
        "method": {
            "text": f"Language model, task {reading.task}, wording {reading.wording or 'unknown'}; not reviewed"
        },
        "device": {"reference": device},
        **({"component": components} if components else {}),
    }


def _value(reading: Reading, coded: bool) -> Resource:
    """The value of an answer; nothing where its components are the value; else why there is none."""
    answer = reading.answer
    if answer is None:
        code, text = _ABSENT.get(reading.status, ("unknown", "there is no answer"))
        return {"dataAbsentReason": _concept(text, f"{_HL7}/data-absent-reason", code)}
    if isinstance(answer, Assignment):
        return {"valueCodeableConcept": _concept(_text(reading), *_mammography(answer, coded))}
    if isinstance(answer, Stage):
        return {"valueCodeableConcept": _concept(answer.category)}
    if next(_components(reading), None):
        return {}
    return {"valueString": _text(reading)}


def _components(reading: Reading) -> Iterator[Resource]:
    """The parts of an answer that has parts."""
    answer = reading.answer
    if isinstance(answer, Abnormalities):
        for name, state in answer.states.items():
            yield {"code": _concept(name), "valueCodeableConcept": _concept(state)}
    elif isinstance(answer, Entities):
        for entity in answer.entities:
            yield {"code": _concept(entity.label), "valueString": _clean(entity.text)}
        for one in answer.relations:
            yield {"code": _concept("Relation"), "valueString": _clean(f"{one.head} {one.type} {one.tail}")}
    elif isinstance(answer, Changes):
        for change in answer.changes:
            yield {
                "code": _concept(change.finding),
                "valueCodeableConcept": _concept(f"{WORDING[change.status]} ({change.cue})"),
            }


def _probabilities(reading: Reading) -> Iterator[Resource]:
    """How sure the model is, as components."""
    if reading.confidence is not None:
        yield _probability("model probability", reading.confidence)
    if isinstance(reading.answer, Abnormalities):
        for name, state in reading.answer.states.items():
            if (known := reading.probabilities.get(name)) and state in known:
                yield _probability(f"model probability of {name}: {state}", known[state])
        return
    given = named(reading.task).label(reading.answer) if reading.answer and named(reading.task).labels else None
    for label, value in sorted(reading.probabilities.items(), key=lambda one: -_number(one[1])):
        if label != given and _number(value) >= _TOLD:
            yield _probability(f"model probability of {label}", value)


def _number(value: Any) -> float:
    return value if isinstance(value, int | float) else 0.0


def _probability(name: str, value: float) -> Resource:
    quantity = {"value": round(value, 4), "unit": "1", "system": "http://unitsofmeasure.org", "code": "1"}
    return {"code": _concept(name), "valueQuantity": quantity}


def _mammography(answer: Assignment, coded: bool) -> tuple[str, ...]:
    """The SNOMED CT code of a BI-RADS category of a mammogram; that of 4 for 4A, 4B and 4C."""
    found = category(answer.category) if coded else None
    code = _MAMMOGRAPHY.get(answer.category) or (_MAMMOGRAPHY.get(found.parent or "") if found else None)
    return ("http://snomed.info/sct", code) if coded and code else ()


def _is_mammography(report: str) -> bool:
    """Whether the study is a mammogram and nothing else, by what stands before its findings."""
    begin = next((part.start for part in sections(report) if part.name == "findings"), 300)
    head = report[:begin].lower()
    other = r"\bmri?\b|magnetic|ultraso|sonogr|\bus\b"
    return bool(re.search(r"mammogr|tomosynthesis", head)) and not re.search(other, head)


def _device(name: str, files: Mapping[str, str]) -> Resource:
    digests = [
        {"type": {"text": f"SHA-256 of {_clean(file)}"}, "value": digest} for file, digest in files.items() if digest
    ]
    return {
        "resourceType": "Device",
        **({"identifier": digests} if digests else {}),
        "status": "active",
        "deviceName": [{"name": _clean(name) or "unknown", "type": "model-name"}],
        "type": {"text": "Language model that reads the text of radiology reports"},
        "version": [{"type": {"text": "RadLite"}, "value": radlite.__version__}],
        "note": [{"text": STANDING}],
    }


def _provenance(targets: list[Resource], devices: list[str], time: str, inputs: Mapping[str, str]) -> Resource:
    entities = [
        {
            "role": "source",
            "what": {
                "identifier": {"type": {"text": f"SHA-256 of the {name} in UTF-8"}, "value": _sha256(text)},
                "display": f"The {name} as it was given; its text is not here",
            },
        }
        for name, text in inputs.items()
        if text.strip()
    ]
    role = _concept("Assembler", f"{_HL7}/provenance-participant-type", "assembler")
    return {
        "resourceType": "Provenance",
        "target": targets,
        "occurredDateTime": time,
        "recorded": time,
        "activity": {"text": "Reading of report text by a language model"},
        "agent": [{"type": role, "who": {"reference": device}} for device in devices],
        **({"entity": entities} if entities else {}),
    }


def _narrative(answers: Sequence[Reading]) -> Resource:
    """What the resource says, for people."""
    rows = "".join(
        f"<tr><td>{_escaped(_NAMES.get(one.task, one.task))}</td><td>{_escaped(_told(one))}</td></tr>"
        for one in answers
    )
    told = f"<table><tbody>{rows}</tbody></table>" if rows else "<p>No task fits this text; nothing was asked.</p>"
    page = f'<div xmlns="http://www.w3.org/1999/xhtml"><p>{STANDING}</p>{told}</div>'
    return {"status": "generated", "div": page}


def _told(reading: Reading) -> str:
    if reading.answer is None:
        return f"No answer: {_ABSENT.get(reading.status, ('', 'there is none'))[1]}"
    return "; ".join([_text(reading), *(f"warning: {one}" for one in reading.warnings)])


def _escaped(text: str) -> str:
    return html.escape(_clean(text)).replace("\n", "<br/>")


def _text(reading: Reading) -> str:
    return _clean(named(reading.task).render(reading.answer)) or "(empty)"


def _concept(text: str, system: str = "", code: str = "") -> Resource:
    coding = {"coding": [{"system": system, "code": code}]} if code else {}
    return {**coding, "text": _clean(text)}


def _clean(text: str) -> str:
    """The text with a mark in place of what neither FHIR's strings nor XHTML may hold."""
    return re.sub(r"[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", "\ufffd", text).strip()


def _uuid(id: str) -> str:
    return f"urn:uuid:{uuid.UUID(hex=id)}"


def _own(name: str) -> str:
    return f"urn:uuid:{uuid.uuid5(_SPACE, name)}"


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
