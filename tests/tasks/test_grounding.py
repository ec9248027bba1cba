"""Claims about answers held against their report: what supports them is quoted exactly, what does not fit is said."""

from typing import Any

import pytest

from radlite.tasks import named
from radlite.tasks.task import Grounded

REPORT = (
    "INDICATION: Cough. History of pneumonia.\n"
    "COMPARISON: Chest radiograph of 2021.\n"
    "FINDINGS: The left pleural effusion has increased. New 8 mm nodule in the right upper lobe, previously not seen. "
    "No pneumothorax. The heart is normal in size.\n"
)


def held(task: str, text: str, report: str = REPORT, **inputs: str) -> Grounded:
    asked = named(task)
    answer = asked.read(text)
    assert answer is not None
    return asked.ground(answer, {"report": report, **inputs})


def quotes(found: Grounded, report: str = REPORT) -> list[str]:
    assert all(report[one.start : one.end] == one.quote for one in found.evidence)
    return [one.quote for one in found.evidence]


def test_entities_get_their_place_in_the_order_of_the_report() -> None:
    found = held("radiology_ner", "Anatomy: heart; lung\nMeasurement: 8 mm\nObservation (Absent): pneumothorax",
                 "Heart and lung: the heart is large. 8 mm. No pneumothorax, lung clear.")  # fmt: skip
    places = {one.text: (one.start, one.end) for one in found.answer.entities}
    assert places == {"heart": (0, 5), "lung": (10, 14), "pneumothorax": (45, 57), "8 mm": (36, 40)}
    assert not found.warnings


def test_the_second_mention_of_a_word_is_the_next_one_in_the_report() -> None:
    found = held("radiology_ner", "Anatomy: lung; lung", "The left lung and the right lung.")
    assert [one.start for one in found.answer.entities] == [9, 28]


def test_an_entity_that_is_not_in_the_report_has_no_place_and_is_counted() -> None:
    found = held("radiology_ner", "Anatomy: heart; spleen")
    assert [one.end is None for one in found.answer.entities] == [False, True]
    assert found.warnings == ("1 of 2 entities are not in the report",)
    assert "spleen" not in found.warnings[0]


def test_a_word_is_not_found_inside_another() -> None:
    assert held("radiology_ner", "Anatomy: rib", "The caribbean.").warnings


def test_a_change_rests_on_the_sentence_that_has_its_finding_and_its_cue() -> None:
    found = held(
        "temporal_comparison", "- [Worsened] increased (related to: effusion)\n- [New Finding] new (related to: nodule)"
    )
    assert quotes(found) == [
        "The left pleural effusion has increased.",
        "New 8 mm nodule in the right upper lobe, previously not seen.",
    ]
    assert [one.anatomy for one in found.answer.changes] == ["left pleural", "right upper lobe"]


def test_a_change_that_no_sentence_says_is_flagged() -> None:
    found = held("temporal_comparison", "- [Improved] decreased (related to: effusion)")
    assert found.warnings == ("1 of 1 changes are in no sentence of the report",)
    assert found.answer.changes[0].start is None


def test_an_impression_rests_on_sentences_and_a_wrong_side_is_flagged() -> None:
    right = held("impression_generation", "Increased left pleural effusion.")
    assert "The left pleural effusion has increased." in quotes(right)
    assert not right.warnings
    wrong = held("impression_generation", "Increased left pleural effusion.\nRight pleural effusion.\n9 mm nodule.")
    assert {warning.split(":")[0] for warning in wrong.warnings} == {"line 2", "line 3"}


@pytest.mark.parametrize("text", ["Pneumothorax.", "Liver metastasis."])
def test_a_finding_that_the_report_denies_or_does_not_have_is_flagged(text: str) -> None:
    assert held("impression_generation", text).warnings


def test_an_abnormality_is_shown_where_it_is_and_one_that_is_denied_is_flagged() -> None:
    from radlite.tasks.abnormality import CLASSES

    states = {"Pleural Effusion": "positive", "Pneumothorax": "positive"}
    text = "\n".join(f"- {name}: {states.get(name, 'not mentioned')}" for name in CLASSES)
    found = held("abnormality_detection", text)
    assert any("effusion" in quote for quote in quotes(found))
    assert found.answer.places == {"Pleural Effusion": found.evidence}
    assert found.warnings == ("Pneumothorax is called positive, where the report seems to deny it",)


@pytest.mark.parametrize(
    ("text", "kind", "quote"),
    [
        ("8 mm", "extractive", "8 mm"), ("Right upper lobe.", "extractive", "right upper lobe"),
        ("Yes", "knowledge", None), ("Not stated in the report.", "unanswerable", None),
    ],
)  # fmt: skip
def test_an_answer_to_a_question_is_of_the_report_of_knowledge_or_none(text: str, kind: str, quote: str | None) -> None:
    found = held("radiology_qa", text, question="?")
    assert found.answer.kind == kind
    assert (found.answer.quote and found.answer.quote.quote) == quote


LUNG = "INDICATION: Prior stage cT1N1M0.\nFINDINGS: Lung cancer of the right upper lobe.\nIMPRESSION: {}\n"


def test_a_stage_that_the_report_states_is_its_evidence_and_an_earlier_one_is_not() -> None:
    report = LUNG.format("Bronchial carcinoma, cT2 N2 M0.")
    right = held("n_staging", "Positive. N staging: N2", report)
    assert quotes(right, report) == ["N2"] and not right.warnings
    assert right.answer.site == "lung"
    earlier = held("n_staging", "Positive. N staging: N1", report)
    assert not earlier.evidence and earlier.warnings == ("the report states N2",)


def test_the_stages_allowed_are_those_of_the_tumor() -> None:
    def allowed(task: str, report: str) -> set[str]:
        grammar = named(task).grammar({"report": report})
        answers = [named(task).read(text) for edge in grammar[0] for text in edge.texts]
        return {answer.category for answer in answers if answer}

    lung = allowed("n_staging", LUNG.format("Lung cancer."))
    assert {"N0", "N1", "N2", "N3"} <= lung and "N2a" in lung and "N3c" not in lung
    assert "N2" not in allowed("n_staging", "FINDINGS: Prostate cancer in the left peripheral zone.")
    assert allowed("n_staging", "FINDINGS: Normal.") == {"N0", "N1", "N2", "N3", "NX"}
    assert "M1c1" in allowed("m_staging", LUNG.format("Lung cancer."))


@pytest.mark.parametrize(
    ("text", "report", "stated", "warning"),
    [
        ("BI-RADS 4A", "FINDINGS: Mass.\nIMPRESSION: BI-RADS category 4A.", True, None),
        ("BI-RADS 4A", "FINDINGS: Mass.\nIMPRESSION: BI-RADS category 4.", False, "the report states BI-RADS 4"),
        ("BI-RADS 4", "FINDINGS: Mass.\nIMPRESSION: BI-RADS category 4A.", True, None),
        ("BI-RADS 2", "FINDINGS: Mass.\nIMPRESSION: BI-RADS 4A. Previously BI-RADS 2.", False,
         "the report states BI-RADS 4A"),
        ("BI-RADS 3", "INDICATION: Prior BI-RADS 3.\nFINDINGS: Mass.", False,
         "the report states this category for an earlier study only"),
        ("LR-5", "FINDINGS: Observation. IMPRESSION: LI-RADS 5.", True, None),
        ("No applicable RADS", "FINDINGS: Fracture.", False, None),
    ],
)  # fmt: skip
def test_a_category_is_held_against_what_the_report_states(
    text: str, report: str, stated: bool, warning: str | None
) -> None:
    found = held("rads_assignment", text, report)
    assert found.answer.stated is stated
    assert found.warnings == ((warning,) if warning else ())
    assert bool(quotes(found, report)) is stated


THYROID = (
    "EXAM: Ultrasound of the thyroid.\nFINDINGS: Nodule in the mid right lobe, 12 mm: solid, hypoechoic, "
    "taller than wide, irregular margin, punctate echogenic foci.\n"
)


def test_a_category_in_another_tier_than_the_rule_gives_is_flagged_with_the_rule() -> None:
    found = held("rads_assignment", "TI-RADS 3", THYROID)
    assert found.answer.category == "TI-RADS 3"
    assert found.warnings == ("by the guideline's rule the findings are TI-RADS 5: 12 points: 7 or more.",)
    assert not held("rads_assignment", "TI-RADS 5", THYROID).warnings
    assert not held("rads_assignment", "TI-RADS 3", THYROID.replace("hypoechoic, ", "")).warnings


def test_nothing_of_the_report_is_in_a_warning() -> None:
    secret: Any = "Xylophonia"
    report = f"FINDINGS: {secret} is new. No {secret} of the right lung. cN1."
    for task, text in [
        ("radiology_ner", "Anatomy: heart"), ("temporal_comparison", "- [Improved] gone (related to: heart)"),
        ("impression_generation", "Pneumothorax of 8 cm."), ("n_staging", "Negative. N staging: N0"),
        ("rads_assignment", "BI-RADS 3"),
    ]:  # fmt: skip
        assert all(secret not in warning for warning in held(task, text, report).warnings)


def test_of_two_reports_a_change_is_quoted_from_the_current_one() -> None:
    report = "PRIOR FINDINGS: The effusion is stable.\nCURRENT FINDINGS: The effusion is stable."
    task = named("temporal_comparison")
    grounded = task.ground(task.read("- [No Change] stable (related to: effusion)"), {"report": report})
    assert [one.start for one in grounded.evidence] == [report.index("CURRENT")]
