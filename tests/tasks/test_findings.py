"""Claims about the lexicon of findings: what is denied, doubted or there, on which side, and what rests on what."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from radlite.data.sample import examples
from radlite.sections import sentences
from radlite.tasks import named
from radlite.tasks.abnormality import CLASSES, Abnormalities
from radlite.tasks.findings import finding_f1, findings, states, support

SIGN = {"positive": "+", "negative": "-", "uncertain": "?"}


def read(text: str) -> str:
    """The findings in short: `Edema-, Pleural Effusion+ left`."""
    return ", ".join(f"{one.name}{SIGN[one.state]} {one.side}".strip() for one in findings(text))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("No effusion, pneumothorax or consolidation.", "Pleural Effusion-, Pneumothorax-, Consolidation-"),
        ("No focal consolidation, effusion, or pneumothorax.", "Consolidation-, Pleural Effusion-, Pneumothorax-"),
        ("Neither pleural effusion nor pneumothorax is identified.", "Pleural Effusion-, Pneumothorax-"),
        ("Effusion and pneumothorax are not seen.", "Pleural Effusion-, Pneumothorax-"),
        ("Free of effusion or edema.", "Pleural Effusion-, Edema-"),
        ("ABSENCE OF\nPNEUMOTHORAX", "Pneumothorax-"), ("no pleural\neffusion", "Pleural Effusion-"),
        ("Pneumothorax: none. Effusion: absent.", "Pneumothorax-, Pleural Effusion-"),
        ("Pneumonia is unlikely.", "Pneumonia-"),
        ("No findings suspicious for metastasis.", "metastasis-"),
        ("Probably no pneumothorax.", "Pneumothorax-"),
        ("No filling defects in the pulmonary arteries to suggest PE.", "pulmonary embolism-, pulmonary embolism-"),
    ],
)  # fmt: skip
def test_a_denial_reaches_over_its_list(text: str, found: str) -> None:
    assert read(text) == found


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("No pneumothorax but there is a right effusion.", "Pneumothorax-, Pleural Effusion+ right"),
        ("No pneumothorax. Effusion.", "Pneumothorax-, Pleural Effusion+"),
        ("No pneumothorax, small left effusion.", "Pneumothorax-, Pleural Effusion+ left"),
        ("No consolidation and small effusion.", "Consolidation-, Pleural Effusion+"),
        ("No pneumothorax is seen, effusion is unchanged.", "Pneumothorax-, Pleural Effusion+"),
        ("No pneumothorax is seen and the heart is enlarged.", "Pneumothorax-, Cardiomegaly+"),
        ("No edema; although effusion.", "Edema-, Pleural Effusion+"),
        ("Consolidation is present, pneumothorax is not seen.", "Consolidation+, Pneumothorax-"),
        ("Unchanged left pneumothorax without new effusion.", "Pneumothorax+ left, Pleural Effusion-"),
        ("There is no pneumothorax with small bulla and emphysema.", "Pneumothorax-, emphysema+"),
    ],
)  # fmt: skip
def test_a_denial_ends_at_a_conjunction_a_clause_or_words_of_presence(text: str, found: str) -> None:
    assert read(text) == found


@pytest.mark.parametrize(
    "text",
    [
        "No change in effusion.", "Without change in the effusion.", "No significant interval change of the effusion.",
        "Not only the effusion.", "No increase in effusion.", "Effusion not well seen.", "Effusion nearly resolved.",
        "Partial resolution of effusion.", "Effusion is not significantly changed.", "No. 2 is the effusion.",
    ],
)  # fmt: skip
def test_a_no_that_denies_something_else_denies_no_finding(text: str) -> None:
    assert read(text) == "Pleural Effusion+"


@pytest.mark.parametrize(
    "text",
    [
        "Possible pneumonia.", "May represent pneumonia.", "Pneumonia cannot be excluded.", "Cannot exclude pneumonia.",
        "Suspicious for pneumonia.", "Likely pneumonia.", "Questionable pneumonia.", "? pneumonia", "Pneumonia?",
        "Pneumonia is possible.", "Pneumonia is not ruled out.", "Pneumonia cannot be entirely excluded on this film.",
        "Not excluded is pneumonia.", "There may be pneumonia.",
    ],
)  # fmt: skip
def test_doubt_before_or_after_makes_uncertain(text: str) -> None:
    assert read(text) == "Pneumonia?"


@pytest.mark.parametrize("link", ["versus", "vs.", "or", "and/or"])
def test_alternatives_are_both_uncertain(link: str) -> None:
    assert read(f"Atelectasis {link} pneumonia.") == "Atelectasis?, Pneumonia?"


def test_doubt_ends_at_a_comma_but_not_within_a_list() -> None:
    assert read("Possible edema, effusion is stable.") == "Edema?, Pleural Effusion+"
    assert read("May reflect edema, pneumonia, or aspiration.") == "Edema?, Pneumonia?, aspiration?"


def test_what_has_resolved_is_denied_and_what_is_past_is_left_out() -> None:
    assert read("Effusion has resolved. Pneumonia has cleared.") == "Pleural Effusion-, Pneumonia-"
    assert read("Right effusion has resolved and left effusion persists.") == (
        "Pleural Effusion- right, Pleural Effusion+ left"
    )
    assert read("The chest tube has been removed.") == "Support Devices-"
    assert read("History of pneumonia. Prior pneumothorax.") == ""
    assert read("History of breast cancer, now with effusion.") == "Pleural Effusion+"
    assert read("Compared with the prior study, effusion has increased.") == "Pleural Effusion+"
    assert read("Previous pneumothorax is no longer seen.") == "Pneumothorax-"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("The lungs are clear.", "Consolidation-, Lung Opacity-"),
        ("LUNGS: Clear. HEART: Normal size.", "Consolidation-, Lung Opacity-, Cardiomegaly-"),
        ("Heart size is normal.", "Cardiomegaly-"), ("The heart is not enlarged.", "Cardiomegaly-"),
        ("The cardiac silhouette is moderately enlarged.", "Cardiomegaly+"),
        ("Heart size is top normal.", "Cardiomegaly?"),
        ("The cardiomediastinal silhouette is unremarkable.", "Cardiomegaly-, Enlarged Cardiomediastinum-"),
        ("Heart and mediastinum are normal.", "Cardiomegaly-, Enlarged Cardiomediastinum-"),
        ("Costophrenic angles are sharp.", "Pleural Effusion-"), ("Osseous structures are intact.", "Fracture-"),
        ("Blunting of the left costophrenic angle.", "Pleural Effusion? left"), ("Lung volumes are normal.", ""),
        ("No acute cardiopulmonary abnormality.", "No Finding+"), ("No acute osseous abnormality.", "Fracture-"),
    ],
)  # fmt: skip
def test_normal_anatomy_denies_what_it_would_show(text: str, found: str) -> None:
    assert read(text) == found


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("Pleural Effusion", "pleural fluid|hydrothorax|haemothorax|parapneumonic effusions"),
        ("Atelectasis", "collapse of the left lung|atelectatic|right upper lobe collapse"),
        ("Cardiomegaly", "enlarged heart|cardiac enlargement|enlargement of the cardiac silhouette"),
        ("Edema", "pulmonary oedema|vascular congestion|congestive heart failure"),
        ("Lung Opacity", "airspace disease|air-space opacity|infiltrates|ground-glass opacities"),
        ("Lung Lesion", "pulmonary nodules|lung mass|nodular opacity"),
        ("Pleural Other", "pleural thickening|pleural plaques|fibrothorax"),
        ("Fracture", "fractured|compression deformity|vertebral collapse"),
        ("Support Devices", "endotracheal tube|PICC|pacemaker|central venous catheter|chest tube|sternotomy wires"),
        ("Enlarged Cardiomediastinum", "widened mediastinum|mediastinal widening"),
        ("pulmonary embolism", "pulmonary emboli|PE|filling defect in the right pulmonary artery"),
        ("lymphadenopathy", "adenopathy|enlarged mediastinal lymph nodes"),
        ("liver metastasis", "hepatic metastases|metastasis in the liver"),
    ],
)
def test_synonyms_and_inflections_have_one_name(name: str, words: str) -> None:
    for one in words.split("|"):
        assert [(found.name, found.state) for found in findings(f"There is {one}.")] == [(name, "positive")]
        assert [(found.name, found.state) for found in findings(f"No {one.upper()}.")] == [(name, "negative")]


def test_an_effusion_edema_or_collapse_elsewhere_is_not_of_the_chest() -> None:
    text = "Pericardial effusion. Knee joint effusion. Soft tissue edema. Opacification of the aorta. Mass effect."
    assert read(text) == "pericardial effusion+, joint effusion+"


def test_a_lesion_belongs_to_the_nearest_organ_else_to_what_was_examined() -> None:
    assert read("Liver metastases and a mass in the left kidney.") == "liver metastasis+, kidney mass+ left"
    assert read("EXAM: Ultrasound of the thyroid.\nFINDINGS: A solid nodule.") == "thyroid nodule+"
    assert read("EXAM: Chest CT.\nFINDINGS: Spleen normal. A solid nodule.") == "splenomegaly-, Lung Lesion+"
    assert read("A solid nodule.") == "Lung Lesion+"


@pytest.mark.parametrize(
    ("text", "side"),
    [
        ("Left effusion.", "left"), ("Effusion on the right.", "right"), ("Bilateral effusions.", "bilateral"),
        ("Left greater than right effusions.", "bilateral"), ("Effusion.", ""), ("Right-sided effusion", "right"),
        ("Right upper lobe and left lower lobe effusions.", "bilateral"), ("right\neffusion", "right"),
        ("Effusion in the right clinical setting.", ""), ("Effusion is again seen within the left chest.", "left"),
    ],
)  # fmt: skip
def test_the_side_is_that_of_the_words_around(text: str, side: str) -> None:
    assert [one.side for one in findings(text)] == [side]


def test_each_finding_has_its_own_side() -> None:
    assert (
        read("Consolidation in the left lower lobe and right effusion.")
        == "Consolidation+ left, Pleural Effusion+ right"
    )
    assert read("Left-sided effusion, right-sided pneumothorax.") == "Pleural Effusion+ left, Pneumothorax+ right"


def test_the_reason_for_a_study_is_no_finding() -> None:
    report = "EXAM: CT, pulmonary embolism protocol\nINDICATION: Pneumonia?\nFINDINGS: Edema."
    assert read(report) == "Edema+"
    assert read("INDICATION: Pneumonia?\n\nEdema is seen.") == "Edema+"


def test_positive_wins_over_uncertain_over_negative() -> None:
    assert states("No edema. Possible edema. Edema.")["Edema"] == "positive"
    assert states("No edema. Possible edema.")["Edema"] == "uncertain"
    assert states("")["Edema"] == "not mentioned"
    assert tuple(states("Edema.")) == CLASSES


def test_no_finding_needs_a_text_that_denies_and_calls_nothing_positive() -> None:
    for text, state in [
        ("Normal chest radiograph.", "positive"), ("No effusion. Pacemaker.", "positive"), ("", "not mentioned"),
        ("No acute cardiopulmonary abnormality. Cardiomegaly.", "not mentioned"), ("Gallstones.", "not mentioned"),
        ("No acute abnormality. Possible effusion.", "not mentioned"), ("Pacemaker.", "not mentioned"),
    ]:  # fmt: skip
        assert states(text)["No Finding"] == state


def test_a_pulmonary_edema_report_is_read_as_a_radiologist_would() -> None:
    report = (
        "The cardiac silhouette is enlarged. Interstitial pulmonary edema with bilateral airspace opacities and small "
        "bilateral pleural effusions. There is no pneumothorax. No acute fracture."
    )
    said = {name: state for name, state in states(report).items() if state != "not mentioned"}
    assert said == {
        "Cardiomegaly": "positive", "Edema": "positive", "Lung Opacity": "positive", "Pleural Effusion": "positive",
        "Pneumothorax": "negative", "Fracture": "negative",
    }  # fmt: skip


def test_on_validation_data_of_the_sample_the_states_are_right() -> None:
    task = named("abnormality_detection")
    scores = []
    for one in examples("abnormality_detection", "validation", 300):
        truth = task.read(one.answer)
        scores.append(task.judge(Abnormalities(states(one.inputs["report"])), truth))  # type: ignore[arg-type]
    assert sum(score["mention_f1"] for score in scores) / 300 > 0.98
    assert sum(score["state_accuracy"] for score in scores) / 300 > 0.99


@pytest.mark.parametrize(
    ("one", "other", "f1"),
    [
        ("Pneumonia.", "No pneumonia.", 0.0), ("Left effusion.", "Right effusion.", 0.0),
        ("Left effusion.", "Effusion.", 1.0), ("Bilateral effusions.", "Left effusion.", 2 / 3),
        ("Pleural fluid on the left.", "Left pleural effusion.", 1.0), ("Pneumonia.", "Possible pneumonia.", 0.0),
        ("Edema.", "Edema. No effusion.", 2 / 3), ("Edema. Edema.", "Edema.", 1.0), ("Thank you.", "", 1.0),
        ("Edema.", "", 0.0), ("Left effusion. The effusion is large.", "Left effusion.", 1.0),
        # What the lexicon does not tell apart: size and age.
        ("3 mm nodule.", "3 cm nodule.", 1.0), ("Acute infarct.", "Chronic infarct.", 1.0),
    ],
)  # fmt: skip
def test_f1_tells_negation_and_side_apart_but_not_size_nor_age(one: str, other: str, f1: float) -> None:
    assert finding_f1(one, other) == pytest.approx(f1)


REPORT = (
    "INDICATION: Pneumonia?\nFINDINGS: The left effusion is small. There is a 30 mm mass in the right upper lobe. "
    "No pneumothorax. Consolidation at the left base. The heart is enlarged.\nIMPRESSION: Left effusion."
)


def test_a_conclusion_rests_on_the_sentence_of_the_findings() -> None:
    for conclusion, source in [
        ("Small left effusion.", "The left effusion is small."), ("No pneumothorax.", "No pneumothorax."),
        ("3.0 cm right lung mass.", "There is a 30 mm mass in the right upper lobe."),
        ("Cardiomegaly.", "The heart is enlarged."), ("Opacity.", "There is a 30 mm mass in the right upper lobe."),
    ]:  # fmt: skip
        found = support(conclusion, REPORT)
        assert REPORT[found.sources[0].start : found.sources[0].end] == source
        assert found.warnings == ()


def test_at_most_three_sources_and_none_for_what_is_not_there() -> None:
    assert len(support("Effusion.", "Effusion. " * 9).sources) == 3
    assert support("Appendicitis.", REPORT).sources == ()


def test_a_conclusion_without_finding_rests_on_its_words() -> None:
    report = "The trachea is midline. Calibre of the aorta is normal."
    found = support("Aorta of normal calibre", report)
    assert [report[one.start : one.end] for one in found.sources] == ["Calibre of the aorta is normal."]


@pytest.mark.parametrize(
    ("conclusion", "warning"),
    [
        ("Appendicitis.", "names a finding that the report does not"),
        ("Pneumonia.", "names a finding that the report does not"),
        ("Possible pneumothorax.", "names a finding that the report does not"),
        ("Pneumothorax.", "calls positive what the report denies"),
        ("Right effusion.", "a side differs from the report"),
        ("Bilateral effusions.", "a side differs from the report"),
        ("Left lung mass.", "a side differs from the report"),
        ("30 cm lung mass.", "a number is not in the report"),
        ("3 mm lung mass.", "a number is not in the report"),
        ("No effusion.", "denies what the report calls positive"),
    ],
)
def test_a_conclusion_that_the_report_does_not_bear_out_is_flagged(conclusion: str, warning: str) -> None:
    assert support(conclusion, REPORT).warnings == (warning,)


@pytest.mark.parametrize("text", ["3 cm mass", "3.0-cm mass", "mass of 30 mm", "3,0 cm mass", "No right effusion.",
                                  "CT in 6 months", "No acute abnormality."])  # fmt: skip
def test_other_spellings_other_sides_and_dates_are_not_flagged(text: str) -> None:
    assert support(text, REPORT).warnings == ()


def test_the_true_impressions_of_the_sample_raise_no_warning_and_their_findings_have_sources() -> None:
    for one in examples("impression_generation", "validation", 60):
        for line in one.answer.splitlines():
            found = support(line, one.inputs["report"])
            assert not found.warnings
            assert found.sources or not findings(line)


def test_no_warning_quotes_the_text() -> None:
    for text in ("Xylophonia mass 77 mm", "Left xylophonia pneumothorax"):
        assert not any("xylo" in warning.lower() or "77" in warning for warning in support(text, REPORT).warnings)


VOCABULARY = """no not without possible cannot be excluded but , . ; : or and / versus vs. effusion pneumothorax mass
nodule left right bilateral liver lung heart is normal enlarged clear resolved history of 3 mm x 1. - ? İ FINDINGS:
INDICATION: the of unchanged there has acute abnormality"""
WORDS = st.lists(st.sampled_from([*VOCABULARY.split(), "\n"]), max_size=60).map(" ".join)
TEXTS = st.one_of(st.text(max_size=200), WORDS)


@settings(deadline=None)
@given(TEXTS)
def test_any_text_is_read_and_spans_lie_in_it(text: str) -> None:
    found = findings(text)
    assert [one.start for one in found] == sorted(one.start for one in found)
    assert all(0 <= one.start < one.end <= len(text) and text[one.start : one.end].strip() for one in found)
    assert all(one.state in SIGN and one.side in ("left", "right", "bilateral", "") and one.name for one in found)
    assert tuple(states(text)) == CLASSES


@settings(deadline=None)
@given(TEXTS, TEXTS)
def test_f1_is_symmetric_and_one_for_a_text_and_itself(one: str, other: str) -> None:
    assert finding_f1(one, other) == finding_f1(other, one)
    assert 0 <= finding_f1(one, other) <= 1
    assert finding_f1(one, one) == 1


@settings(deadline=None)
@given(TEXTS, TEXTS)
def test_support_never_fails_and_points_at_sentences(conclusion: str, report: str) -> None:
    found = support(conclusion, report)
    assert len(found.sources) <= 3
    assert set(found.sources) <= set(sentences(report))


@pytest.mark.parametrize(
    "piece", ["no ", ".", ". ", "1", "3 x ", "is ", "mass liver ", "no effusion, ", "heart ", "\n", "not now ", "? "]
)
def test_a_long_hostile_text_is_read_to_its_end(piece: str) -> None:
    text = piece * (200_000 // len(piece)) + " Edema."
    assert findings(text)[-1].name == "Edema"
    support("Edema of 3 mm", text)
