"""FHIR: every answer of every task is a valid Bundle, codes stand where they mean the same, nothing is invented."""

import datetime
import hashlib
import json
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fhir.resources.R4B.bundle import Bundle
from hypothesis import given, settings
from hypothesis import strategies as st

from radlite.errors import UserError
from radlite.rads import systems
from radlite.server import fhir
from radlite.tasks import TASKS, Evidence, Reading, named

REPORT = "CT chest. COMPARISON: January. FINDINGS: Nodule of 8 mm in the right upper lobe, increased. No pneumothorax."
MAMMOGRAM = "Bilateral digital mammography. FINDINGS: Spiculated mass. Ultrasound is recommended. BI-RADS 4."
WHEN = datetime.datetime(2026, 11, 27, 18, 30, 5, 123456, datetime.timezone(datetime.timedelta(hours=1)))
MODELS = {"radlite-3b": {"radlite-3b.gguf": "ab" * 32}}
TEXTS = {
    "rads_assignment": "Lung-RADS 4A",
    "impression_generation": "Growing nodule.\nNo pneumothorax.",
    "temporal_comparison": "- [Worsened] increased (related to: nodule)",
    "radiology_ner": "Anatomy: right lobe\nObservation (Present): nodule\nRelations: nodule > located_at > right lobe",
    "n_staging": "Positive. N staging: N2",
    "m_staging": "M0",
    "radiology_nli": "entailment",
    "abnormality_detection": TASKS["abnormality_detection"].draft({"report": REPORT}),
    "radiology_qa": "8 mm",
}


def reading(task: str, text: str = "", report: str = REPORT, **facts: Any) -> Reading:
    """What the reader makes of a model's text."""
    text = text or TEXTS[task]
    answer = named(task).read(text)
    assert answer is not None
    held = named(task).ground(answer, {"report": report, "premise": report})
    known = {"evidence": held.evidence, "warnings": held.warnings, "model": "radlite-3b", "wording": "w", **facts}
    return Reading(task, "ok", held.answer, text, **known)


def bundle(*answers: Reading, **more: Any) -> dict[str, Any]:
    """The Bundle as a receiver gets it, valid by the R4B models."""
    ids = [f"{number:032x}" for number in range(len(answers))]
    found = json.loads(json.dumps(fhir.bundle(answers, ids, MODELS, WHEN, **more)))
    Bundle.model_validate(found)
    places = [entry["fullUrl"] for entry in found["entry"]]
    assert len(set(places)) == len(places) and set(references(found)) - {more.get("subject")} <= set(places)
    return dict(found)


def references(value: Any) -> list[str]:
    if isinstance(value, dict):
        own = [value["reference"]] if "reference" in value else []
        return own + [one for part in value.values() for one in references(part)]
    return [one for part in value for one in references(part)] if isinstance(value, list) else []


def resources(found: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    return [entry["resource"] for entry in found["entry"] if entry["resource"]["resourceType"] == kind]


def observed(answer: Reading, **more: Any) -> dict[str, Any]:
    (found,) = resources(bundle(answer, **more), "Observation")
    return found


def parts(observation: dict[str, Any]) -> list[tuple[str, Any]]:
    return [
        (one["code"]["text"], one.get("valueString") or one.get("valueCodeableConcept", {}).get("text"))
        for one in observation.get("component", ())
        if "valueQuantity" not in one
    ]


def probabilities(observation: dict[str, Any]) -> dict[str, float]:
    return {
        one["code"]["text"]: one["valueQuantity"]["value"]
        for one in observation.get("component", ())
        if "valueQuantity" in one
    }


def codes(value: Any) -> set[tuple[str, str]]:
    """All codings, as (system, code)."""
    if isinstance(value, dict):
        own = {(one["system"], one["code"]) for one in value.get("coding", ())}
        return own.union(*(codes(part) for part in value.values()))
    return set().union(*(codes(part) for part in value)) if isinstance(value, list) else set()


def test_all_nine_tasks_make_one_preliminary_report() -> None:
    found = bundle(*map(reading, TASKS), inputs={"report": REPORT, "question": "How large?", "hypothesis": ""})
    assert found["type"] == "collection" and found["timestamp"] == "2026-11-27T17:30:05.123Z"
    (report,) = resources(found, "DiagnosticReport")
    observations = resources(found, "Observation")
    assert len(observations) == len(report["result"]) == 9
    assert {one["status"] for one in (report, *observations)} == {"preliminary"}
    assert report["conclusion"] == TEXTS["impression_generation"]
    assert codes(found) == {
        ("http://loinc.org", "18748-4"),
        ("http://loinc.org", "19005-8"),
        ("http://terminology.hl7.org/CodeSystem/v2-0074", "RAD"),
        ("http://terminology.hl7.org/CodeSystem/observation-category", "imaging"),
        ("http://terminology.hl7.org/CodeSystem/provenance-participant-type", "assembler"),
    }


R4 = {
    "Bundle": "identifier type timestamp entry",
    "DiagnosticReport": "text identifier status category code subject issued result conclusion",
    "Observation": "identifier status category code subject issued valueCodeableConcept valueString dataAbsentReason "
    "note method device component",
    "Device": "identifier status deviceName type version note",
    "Provenance": "target occurredDateTime recorded activity agent entity",
}
"""The elements used, each found in the resource's definition in R4 (4.0.1): the library has models of R4B only."""


def test_only_elements_that_r4_has_are_used() -> None:
    silent = replace(reading("m_staging"), status="abstained", answer=None)
    found = bundle(*map(reading, TASKS), silent, inputs={"report": REPORT}, subject="Patient/1")
    for one in [found, *(entry["resource"] for entry in found["entry"])]:
        assert one.keys() - {"resourceType"} <= set(R4[one["resourceType"]].split())


def test_no_patient_and_no_time_of_the_study_are_invented() -> None:
    found = bundle(*map(reading, TASKS))
    for key in ('"subject"', '"effective', '"performer"', '"resultsInterpreter"', '"encounter"'):
        assert key not in json.dumps(found)
    found = bundle(*map(reading, TASKS), subject="Patient/123")
    about = [one["resource"].get("subject") for one in found["entry"][:10]]
    assert about == [{"reference": "Patient/123"}] * 10


@pytest.mark.parametrize("subject", ["Patient", "Mrs Example", "Patient/1 2", "javascript:alert(1)", "Doctor/1", "\n"])
def test_a_subject_that_is_no_reference_is_refused_and_not_quoted(subject: str) -> None:
    with pytest.raises(UserError, match="no reference of FHIR") as told:
        bundle(reading("m_staging"), subject=subject)
    assert subject == "Patient" or subject == "\n" or subject not in str(told.value)


@pytest.mark.parametrize("subject", ["Patient/a-1.b", "https://ris.example/fhir/Patient/7", "urn:uuid:x"])
def test_a_subject_may_be_relative_absolute_or_a_urn(subject: str) -> None:
    assert resources(bundle(reading("m_staging"), subject=subject), "Observation")[0]["subject"]["reference"] == subject


def test_an_answer_with_one_value_has_it_as_value() -> None:
    assert observed(reading("rads_assignment"))["valueCodeableConcept"] == {"text": "Lung-RADS 4A"}
    assert observed(reading("n_staging"))["valueCodeableConcept"] == {"text": "N2"}
    assert observed(reading("radiology_nli"))["valueString"] == "entailment"
    assert observed(reading("radiology_qa"))["valueString"] == "8 mm"
    assert observed(reading("radiology_ner", "No entities."))["valueString"] == "No entities."
    assert observed(reading("temporal_comparison", "No comparison."))["valueString"] == "No comparison."


def test_an_answer_with_parts_has_them_as_components() -> None:
    assert parts(observed(reading("radiology_ner"))) == [
        ("Anatomy", "right lobe"),
        ("Observation (Present)", "nodule"),
        ("Relation", "nodule located_at right lobe"),
    ]
    assert parts(observed(reading("temporal_comparison"))) == [("nodule", "Worsened (increased)")]
    states = parts(observed(reading("abnormality_detection")))
    assert len(states) == 14 and ("Pneumothorax", "negative") in states and ("Edema", "not mentioned") in states


@pytest.mark.parametrize(
    ("category", "code"),
    [
        ("BI-RADS 0", "397138000"),
        ("BI-RADS 1", "397140005"),
        ("BI-RADS 2", "397141009"),
        ("BI-RADS 3", "397143007"),
        ("BI-RADS 4", "397144001"),
        ("BI-RADS 4A", "397144001"),
        ("BI-RADS 4C", "397144001"),
        ("BI-RADS 5", "397145000"),
    ],
)
def test_a_category_of_a_mammogram_has_the_code_for_mammograms(category: str, code: str) -> None:
    found = observed(reading("rads_assignment", category), inputs={"report": MAMMOGRAM})
    assert found["valueCodeableConcept"] == {
        "coding": [{"system": "http://snomed.info/sct", "code": code}],
        "text": category,
    }


@pytest.mark.parametrize(
    ("category", "report"),
    [
        ("BI-RADS 6", MAMMOGRAM),
        ("LR-5", MAMMOGRAM),
        ("No applicable RADS", MAMMOGRAM),
        ("BI-RADS 4", "MRI of both breasts. FINDINGS: Mass. Compare with mammography. BI-RADS 4."),
        ("BI-RADS 4", "Mammography and ultrasound of the breasts. FINDINGS: Mass."),
        ("BI-RADS 4", "Ultrasound of the left breast. FINDINGS: Mass."),
        ("BI-RADS 4", ""),
    ],
)
def test_no_code_stands_where_it_would_mean_something_else(category: str, report: str) -> None:
    found = observed(reading("rads_assignment", category), inputs={"report": report})
    assert found["valueCodeableConcept"] == {"text": category}


@pytest.mark.parametrize(
    ("status", "code"),
    [
        ("abstained", "asked-declined"),
        ("unreadable", "error"),
        ("too_long", "unsupported"),
        ("failed", "error"),
        ("not_applicable", "not-applicable"),
    ],
)
def test_what_was_not_answered_says_why_and_has_no_value(status: Any, code: str) -> None:
    silent = replace(reading("rads_assignment", confidence=0.4), status=status, answer=None, text="secret")
    found = observed(silent)
    assert codes(found["dataAbsentReason"]) == {("http://terminology.hl7.org/CodeSystem/data-absent-reason", code)}
    assert not any(key.startswith("value") for key in found)
    whole = bundle(silent)
    assert "secret" not in json.dumps(whole) and "No answer: " in resources(whole, "DiagnosticReport")[0]["text"]["div"]


def test_probabilities_are_components_with_ucum_units() -> None:
    spread = {"Lung-RADS 4A": 0.81234567, "Lung-RADS 4B": 0.1, "Lung-RADS 3": 0.01}
    found = observed(reading("rads_assignment", confidence=0.81234567, probabilities=spread))
    assert probabilities(found) == {"model probability": 0.8123, "model probability of Lung-RADS 4B": 0.1}
    assert {one["valueQuantity"]["system"] for one in found["component"]} == {"http://unitsofmeasure.org"}
    known = {"Pneumothorax": {"negative": 0.9, "positive": 0.1}, "Edema": {"not mentioned": 1.0}}
    found = observed(reading("abnormality_detection", probabilities=known))
    assert probabilities(found) == {
        "model probability of Pneumothorax: negative": 0.9,
        "model probability of Edema: not mentioned": 1.0,
    }


def test_warnings_and_evidence_are_notes() -> None:
    facts = {"evidence": (Evidence("nodule", 3, 9),), "warnings": ("the report states Lung-RADS 2",)}
    assert observed(reading("rads_assignment", **facts))["note"] == [
        {"text": "Warning: the report states Lung-RADS 2."},
        {"text": 'Evidence, characters 3 to 9: "nodule"'},
    ]


def test_each_model_is_a_device_with_the_digests_of_its_files() -> None:
    found = bundle(reading("m_staging"), reading("n_staging", model="other"), reading("radiology_qa"))
    one, two = resources(found, "Device")
    assert one["deviceName"] == [{"name": "radlite-3b", "type": "model-name"}]
    assert one["identifier"] == [{"type": {"text": "SHA-256 of radlite-3b.gguf"}, "value": "ab" * 32}]
    assert "identifier" not in two and "Not a medical device" in one["note"][0]["text"]
    used = [observation["device"]["reference"] for observation in resources(found, "Observation")]
    assert used[0] == used[2] != used[1]
    (made,) = resources(found, "Provenance")
    assert {agent["who"]["reference"] for agent in made["agent"]} == set(used)


def test_provenance_has_digests_of_the_texts_and_no_text() -> None:
    found = bundle(reading("m_staging"), inputs={"report": REPORT, "question": "How large?"})
    (made,) = resources(found, "Provenance")
    digests = [one["what"]["identifier"]["value"] for one in made["entity"]]
    assert digests == [hashlib.sha256(text.encode()).hexdigest() for text in (REPORT, "How large?")]
    assert len(made["target"]) == 2 and made["occurredDateTime"] == made["recorded"] == found["timestamp"]
    assert "Nodule of 8 mm" not in json.dumps(found) and "How large" not in json.dumps(found)


def test_the_narrative_says_first_what_this_is_not() -> None:
    (report,) = resources(bundle(reading("rads_assignment")), "DiagnosticReport")
    page = ElementTree.fromstring(report["text"]["div"])
    assert page.tag == "{http://www.w3.org/1999/xhtml}div"
    said = "".join(page.itertext())
    assert said.startswith("Preliminary: written by a language model") and "not reviewed" in said
    assert "Not a medical device" in said and said.endswith("RADS categoryLung-RADS 4A")


def test_an_observation_has_the_id_of_its_audit_entry_and_equal_answers_make_an_equal_bundle() -> None:
    found = bundle(reading("m_staging"), reading("n_staging"))
    assert [one["identifier"][0]["value"] for one in resources(found, "Observation")] == [
        "urn:uuid:00000000-0000-0000-0000-000000000000",
        "urn:uuid:00000000-0000-0000-0000-000000000001",
    ]
    assert found == bundle(reading("m_staging"), reading("n_staging"))


def test_a_task_of_ones_own_is_a_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own.toml").write_text(
        'name = "side"\ncue = "Side?"\ninstruction = "Say the side."\nlabels = ["left", "right"]\nmax_tokens = 4\n'
    )
    monkeypatch.setenv("RADLITE_TASKS", str(tmp_path))
    found = observed(Reading("side", "ok", named("side").read("left"), "left", 0.7, {"left": 0.7, "right": 0.3}))
    assert found["valueString"] == "left" and found["code"] == {"text": "side"}
    assert probabilities(found) == {"model probability": 0.7, "model probability of right": 0.3}


ODD = st.text(st.characters(codec=None, exclude_categories=()), min_size=1, max_size=40)


@given(text=ODD, other=ODD)
@settings(max_examples=200, deadline=None)
def test_whatever_stands_in_an_answer_the_bundle_is_valid_and_its_page_is_xhtml(text: str, other: str) -> None:
    answer = TASKS["radiology_qa"].read(f"<script>&\x1b[31m{text}")
    assert answer is not None or "think" in text or "<|" in text
    made = Reading(
        "radiology_qa", "ok", answer, text, evidence=(Evidence(other, 0, 1),), warnings=(other,), model=f"m{other}"
    )
    found = bundle(made, inputs={"report": other})
    page = resources(found, "DiagnosticReport")[0]["text"]["div"]
    assert [one.tag.split("}")[1] for one in ElementTree.fromstring(page).iter() if "script" in one.tag] == []
    assert not re.search(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]", json.loads(json.dumps(page)))
    assert not empty(found)
    json.dumps(found, ensure_ascii=False).encode()


def empty(value: Any) -> bool:
    """Whether a list, a mapping or a text in it is empty, which FHIR's JSON never has."""
    if isinstance(value, dict | list):
        return not value or any(map(empty, value.values() if isinstance(value, dict) else value))
    return isinstance(value, str) and not value.strip()


def test_a_report_that_nothing_was_asked_of_is_a_valid_bundle_that_says_so() -> None:
    found = bundle(inputs={"report": REPORT})
    assert not empty(found) and [one["resource"]["resourceType"] for one in found["entry"]] == ["DiagnosticReport"]
    assert "nothing was asked" in found["entry"][0]["resource"]["text"]["div"]


def test_every_category_of_the_ten_systems_is_a_value_with_the_codes_of_its_own_study_alone() -> None:
    assert len(systems()) == 10
    for code in {code for one in systems().values() for code in one.answers}:
        found = observed(reading("rads_assignment", code), inputs={"report": MAMMOGRAM})["valueCodeableConcept"]
        assert found["text"] == named("rads_assignment").render(named("rads_assignment").read(code))  # type: ignore[arg-type]
        assert ("coding" in found) == (code.startswith("BI-RADS") and code != "BI-RADS 6"), code


def radlite(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from radlite.cli import main; main()", *map(str, arguments)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment)


def test_the_command_line_prints_a_bundle_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "report.txt").write_text(REPORT)
    tasks = "m_staging,abnormality_detection"
    done = radlite("read", tmp_path / "report.txt", "--task", tasks, "--fhir", "--subject", "Patient/7")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    Bundle.model_validate(found)
    assert len(resources(found, "Observation")) == 2
    (device,) = resources(found, "Device")
    assert device["identifier"][0]["type"]["text"] == "SHA-256 of demonstration.gguf"
    assert len(resources(found, "Provenance")[0]["entity"]) == 1


@pytest.mark.parametrize(
    "options",
    [["--fhir"], ["--fhir", "--json", "--task", "m_staging"], ["--subject", "Patient/7", "--task", "m_staging"]],
)
def test_options_that_do_not_go_together_are_told(tmp_path: Path, options: list[str]) -> None:
    (tmp_path / "report.txt").write_text(REPORT)
    done = radlite("read", tmp_path / "report.txt", *options)
    assert done.returncode == 2 and "--fhir goes with --task" in done.stderr and done.stdout == ""
