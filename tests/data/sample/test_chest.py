"""Chest reports: the rules at their boundaries, and what every written item keeps to."""

import itertools
import random
import re
from collections import Counter
from collections.abc import Iterator

import pytest

from radlite.data.sample import chest, chest_wordings
from radlite.data.sample.chest_findings import SINGLE, Finding, answer_of, conclude, infer, states
from radlite.data.sample.chest_wordings import CHANGED, KINDS, LOBES, MARK, TIPS
from radlite.data.sample.item import Item
from radlite.data.sample.wording import Wordings, Writer
from radlite.tasks import TASKS
from radlite.tasks.abnormality import CLASSES
from radlite.tasks.ner import LABELS as ENTITY_LABELS
from radlite.tasks.nli import LABELS
from radlite.tasks.qa import NOT_STATED
from radlite.tasks.temporal import WORDING, Change

COUNT = 400


def items(task: str, count: int = COUNT, held_out: bool = False) -> list[Item]:
    return [chest.MAKERS[task](Writer(random.Random(f"{task}/{n}"), held_out)) for n in range(count)]


@pytest.fixture(scope="module")
def made() -> dict[str, list[Item]]:
    return {task: items(task) for task in chest.MAKERS}


# Rules.


def test_a_report_without_disease_has_no_finding_even_with_a_device() -> None:
    found = states([Finding("effusion", "absent"), Finding("device", "present")])
    assert found["No Finding"] == "positive"
    assert found["Pleural Effusion"] == "negative"
    assert found["Support Devices"] == "positive"
    assert found["Edema"] == "not mentioned"


@pytest.mark.parametrize("kind", [kind for kind in SINGLE if kind != "device"])
@pytest.mark.parametrize("state", ["present", "uncertain"])
def test_any_disease_present_or_possible_takes_no_finding_away(kind: str, state: str) -> None:
    assert states([Finding(kind, state)])["No Finding"] == "not mentioned"  # type: ignore[arg-type]


def test_every_class_but_no_finding_is_reported_by_some_kind() -> None:
    assert {KINDS[kind].label for kind in SINGLE} | {"No Finding"} == set(CLASSES)


def test_of_two_mentions_of_a_class_the_stronger_counts() -> None:
    for first, second in itertools.permutations([Finding("mass", "absent"), Finding("nodule", "uncertain")]):
        assert states([first, second])["Lung Lesion"] == "uncertain"
    assert states([Finding("mass", "present"), Finding("nodule", "uncertain")])["Lung Lesion"] == "positive"


@pytest.mark.parametrize(
    ("size", "advice"),
    [
        (5, "No routine follow-up is needed."),
        (6, "Follow-up CT in 6 to 12 months is recommended."),
        (8, "Follow-up CT in 6 to 12 months is recommended."),
        (9, "PET/CT or tissue sampling is recommended."),
    ],
)
def test_a_nodule_on_ct_is_followed_by_its_size(size: int, advice: str) -> None:
    nodule = Finding("nodule", "present", place="left upper lobe", size=size)
    assert conclude([nodule], ct=True)[1:] == [f"{size} mm left upper lobe pulmonary nodule.", advice]
    assert conclude([nodule], ct=False)[-1] == "Chest CT is recommended."


def test_the_impression_puts_the_acute_first_and_the_resolved_last_whatever_the_order_of_the_findings() -> None:
    findings = [
        Finding("cardiomegaly", "present", grade="mild"),
        Finding("effusion", "absent", place="left", change="Resolved"),
        Finding("edema", "uncertain"),
        Finding("device", "present", "PICC"),
        Finding("pneumothorax", "present", place="right", grade="small", change="Worsened"),
        Finding("fracture", "absent"),
    ]
    expected = [
        "Small right pneumothorax, increased.",
        "Possible pulmonary edema.",
        "Mild cardiomegaly.",
        "Resolved left pleural effusion.",
    ]
    assert all(conclude(order, ct=False) == expected for order in itertools.permutations(findings))


def test_a_normal_or_only_chronic_report_is_called_not_acute() -> None:
    assert conclude([Finding("effusion", "absent")], ct=True) == ["No acute cardiopulmonary abnormality."]
    chronic = [Finding("thickening", "present", place="left", change="No Change")]
    assert conclude(chronic, ct=True) == [
        "No acute cardiopulmonary abnormality.",
        "Left pleural thickening, unchanged.",
    ]


EFFUSION = Finding("effusion", "present", place="right", grade="small")


@pytest.mark.parametrize(
    ("fact", "claim", "label"),
    [
        (EFFUSION, Finding("effusion"), "entailment"),
        (EFFUSION, EFFUSION, "entailment"),
        (EFFUSION, Finding("effusion", place="left"), "contradiction"),
        (EFFUSION, Finding("effusion", grade="large"), "contradiction"),
        (EFFUSION, Finding("effusion", change="Worsened"), "neutral"),
        (EFFUSION, Finding("effusion", "absent"), "contradiction"),
        (EFFUSION, Finding("pleural abnormality"), "entailment"),
        (EFFUSION, Finding("pleural abnormality", "absent"), "contradiction"),
        (EFFUSION, Finding("lung abnormality"), "neutral"),
        (EFFUSION, Finding("nodule"), "neutral"),
        (Finding("effusion"), EFFUSION, "neutral"),
        (Finding("effusion", place="bilateral"), Finding("effusion", place="left"), "entailment"),
        (Finding("effusion", place="left"), Finding("effusion", place="bilateral"), "contradiction"),
        (Finding("effusion", "uncertain"), Finding("effusion"), "neutral"),
        (Finding("effusion", "uncertain"), Finding("effusion", "absent"), "neutral"),
        (Finding("effusion", "absent"), Finding("effusion", "absent"), "entailment"),
        (Finding("effusion", "absent"), EFFUSION, "contradiction"),
        (Finding("effusion", "absent"), Finding("pleural abnormality"), "neutral"),
        (Finding("pleural abnormality", "absent"), Finding("pleural abnormality"), "contradiction"),
        (Finding("nodule", size=8), Finding("nodule", size=9), "contradiction"),
        (Finding("nodule", change="Improved"), Finding("nodule", change="Worsened"), "contradiction"),
    ],
)
def test_what_follows_from_what(fact: Finding, claim: Finding, label: str) -> None:
    assert infer([fact], claim) == label
    assert infer([Finding("device"), fact], claim) == label


def test_nothing_follows_from_an_unrelated_premise() -> None:
    assert infer([], Finding("effusion")) == "neutral"


def test_an_answer_is_the_fact_that_was_asked_for() -> None:
    mass = Finding("mass", "present", place="left upper lobe", size=42, former=30, change="Worsened")
    assert answer_of(mass, "size", True) == "4.2 cm"
    assert answer_of(mass, "former size", True) == "3 cm"
    assert answer_of(mass, "location", True) == "left upper lobe"
    assert answer_of(mass, "presence", True) == "Yes"
    assert answer_of(Finding("mass", "absent"), "presence", True) == "No"
    assert answer_of(mass, "location", False) == NOT_STATED
    tube = Finding("device", "present", "endotracheal tube", TIPS["endotracheal tube"][0])
    assert answer_of(tube, "tip", True) == "2 cm above the carina"


def test_marks_become_entities_in_the_order_of_the_text() -> None:
    marked = "No [effusion|-]. [Stable|c] [8 mm|m] [nodule|+] in the [left lung|a], or [edema|?] of the [right lung|a]."
    assert chest.plain(marked) == "No effusion. Stable 8 mm nodule in the left lung, or edema of the right lung."
    assert [(one.label, one.text) for one in chest.entities(marked).entities] == [
        ("Anatomy", "left lung"),
        ("Anatomy", "right lung"),
        ("Observation (Present)", "nodule"),
        ("Observation (Absent)", "effusion"),
        ("Observation (Uncertain)", "edema"),
        ("Measurement", "8 mm"),
        ("Change", "Stable"),
    ]


# Items.


@pytest.mark.parametrize("task", chest.MAKERS)
@pytest.mark.parametrize("held_out", [False, True])
def test_every_answer_reads_back_and_every_text_is_clean(task: str, held_out: bool) -> None:
    for item in items(task, held_out=held_out):
        assert TASKS[task].read(TASKS[task].render(item.answer)) == item.answer
        truth = TASKS[task].ground(item.answer, item.inputs)
        assert truth.answer == item.answer and not truth.warnings, item.inputs
        assert TASKS[task].judge(truth.answer, truth.answer)[TASKS[task].metric] == 1.0
        assert TASKS[task].turns(item.inputs)
        for text in item.inputs.values():
            assert not re.search(r"[\[\]{}|]|  | [.,]|\.\.", text), text
            assert not re.search(r"\b[Aa] (?:[aeiou]|8|11 |18 )", _findings(text)), text


@pytest.mark.parametrize("task", [task for task in chest.MAKERS if task != "radiology_nli"])
def test_reports_have_sixty_to_four_hundred_words_and_most_are_short(made: dict[str, list[Item]], task: str) -> None:
    lengths = sorted(len(item.inputs["report"].split()) for item in made[task])
    assert lengths[0] >= 60
    assert lengths[-1] <= 400
    assert 70 <= lengths[len(lengths) // 2] <= 150


@pytest.mark.parametrize("task", chest.MAKERS)
def test_the_same_seed_writes_the_same_items(made: dict[str, list[Item]], task: str) -> None:
    assert items(task, 20) == made[task][:20]


@pytest.mark.parametrize("task", chest.MAKERS)
def test_items_differ(made: dict[str, list[Item]], task: str) -> None:
    assert len({str(item.inputs) for item in made[task]}) > 0.97 * COUNT


def test_training_text_has_no_unseen_wording() -> None:
    entries = [entry for value in vars(chest_wordings).values() for entry in _entries(value)]
    unseen = [_literal(variant) for entry in entries for variant in entry[entry.seen :]]
    seen = " ".join(_literal(variant) for entry in entries for variant in entry[: entry.seen])
    telling = [text for text in unseen if len(text) >= 10 and text not in seen]
    assert len(telling) > 40
    for task in chest.MAKERS:
        for number in range(150):
            writer = Writer(random.Random(f"{task}-{number}"), held_out=False)
            text = " ".join(chest.MAKERS[task](writer).inputs.values()).lower()
            assert writer.unseen == 0
            assert not [part for part in telling if part in text]


def test_test_text_uses_unseen_wordings() -> None:
    writers = [Writer(random.Random(number), held_out=True) for number in range(100)]
    for writer in writers:
        chest.report(writer)
    assert sum(writer.unseen > 0 for writer in writers) > 90


def _entries(value: object) -> Iterator[Wordings]:
    """The wordings in a table of the module, however it nests them."""
    if isinstance(value, Wordings):
        yield value
    elif isinstance(value, dict | tuple):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _entries(part)


def _literal(variant: str) -> str:
    """The longest part of a wording that has no fact in it."""
    return max(re.split(r"\{\w+\}", MARK.sub(r"\1", variant).lower().strip(".")), key=len).strip()


def test_each_state_is_frequent_and_none_of_a_class_prevails(made: dict[str, list[Item]]) -> None:
    counts = Counter(state for item in made["abnormality_detection"] for state in item.answer.states.values())
    assert max(counts.values()) < 0.55 * counts.total()
    assert counts["positive"] > 0.12 * counts.total()
    assert counts["uncertain"] > 0.02 * counts.total()


def test_a_class_that_the_history_alone_names_is_not_mentioned(made: dict[str, list[Item]]) -> None:
    only_history = 0
    for item in made["abnormality_detection"]:
        said = _findings(item.inputs["report"]).lower()
        assert ("pneumonia" in said) == (item.answer.states["Pneumonia"] != "not mentioned")
        only_history += "pneumonia" in item.inputs["report"] and "pneumonia" not in said
    assert only_history > 5


def test_changes_are_balanced_and_stand_in_the_order_of_the_text(made: dict[str, list[Item]]) -> None:
    counts = Counter(change.status for item in made["temporal_comparison"] for change in item.answer.changes)
    assert {WORDING[status] for status in counts} == set(CHANGED)
    assert max(counts.values()) < 0.35 * counts.total()
    empty = sum(not item.answer.changes for item in made["temporal_comparison"]) / COUNT
    assert 0.1 < empty < 0.4
    for item in made["temporal_comparison"]:
        text, at = re.sub(r"(\d)\.(\d)", r"\1,\2", _findings(item.inputs["report"])).lower(), 0
        assert len(item.answer.changes) <= 5
        for change in item.answer.changes:
            sentence = next(s.start() for s in re.finditer(r"[^.]*\.", text[at:]) if _both(s[0], change)) + at
            at = text.index(".", sentence) + 1


def _findings(report: str) -> str:
    return re.split(r"(?:FINDINGS|Findings|REPORT):", report)[-1]


def _both(sentence: str, change: Change) -> bool:
    return change.cue in sentence and change.finding in sentence


def test_entities_are_parts_of_the_report_and_four_to_fourteen(made: dict[str, list[Item]]) -> None:
    for item in made["radiology_ner"]:
        at = dict.fromkeys(ENTITY_LABELS, 0)
        for entity in item.answer.entities:
            at[entity.label] = item.inputs["report"].index(entity.text, at[entity.label]) + len(entity.text)
        assert 4 <= len(item.answer.entities) <= 14
    labels = Counter(entity.label for item in made["radiology_ner"] for entity in item.answer.entities)
    assert min(labels[label] for label in ENTITY_LABELS) > 0.01 * labels.total()


def test_the_hypothesis_alone_does_not_give_the_label_away() -> None:
    made = items("radiology_nli", 3000)
    for tag in ("present", "absent"):
        counts = Counter(item.answer.label for item in made if item.tags == (tag,))
        assert all(0.28 < counts[label] / counts.total() < 0.39 for label in LABELS)
    words: dict[str, Counter[str]] = {}
    for item in made:
        for word in set(item.inputs["hypothesis"].lower().strip(".").split()):
            words.setdefault(word, Counter())[item.answer.label] += 1
    common = [counts for counts in words.values() if counts.total() >= 300]
    assert len(common) > 8
    assert all(max(counts.values()) < 0.45 * counts.total() for counts in common)


def test_impressions_are_not_in_the_report(made: dict[str, list[Item]]) -> None:
    for item in made["impression_generation"]:
        assert not re.search(r"impression|conclusion|no acute", item.inputs["report"], re.IGNORECASE)
    common = Counter(item.answer for item in made["impression_generation"]).most_common(1)[0]
    assert common[1] < 0.35 * COUNT


def test_answers_to_questions_are_in_the_report_and_some_are_not_stated(made: dict[str, list[Item]]) -> None:
    missing = 0
    for item in made["radiology_qa"]:
        report = item.inputs["report"].lower()
        answer = item.answer.text
        if answer == NOT_STATED:
            missing += 1
        elif answer not in ("Yes", "No", "bilateral"):
            assert answer.lower() in report
        if item.tags[1] == "location" and answer != NOT_STATED:
            assert answer in LOBES
    assert 0.08 < missing / COUNT < 0.22
    assert len({item.tags[1] for item in made["radiology_qa"]}) == 8


def test_a_question_about_presence_is_answered_by_the_findings(made: dict[str, list[Item]]) -> None:
    asked = [item for item in items("radiology_qa", 1500) if item.tags[1] == "presence"]
    counts = Counter(item.answer.text for item in asked)
    assert set(counts) == {"Yes", "No", NOT_STATED}
    assert max(counts.values()) < 0.55 * counts.total()


def test_reports_and_sentences_for_pretraining_are_plain_text() -> None:
    writer = Writer(random.Random(1), held_out=False)
    for _ in range(200):
        report, sentence = chest.report(writer), chest.sentence(writer)
        assert "indings" in report or "REPORT" in report or "FINDINGS" in report
        assert sentence[0] == sentence[0].upper() and sentence.endswith(".")
        assert not re.search(r"[\[\]{}|]", report + sentence)
    assert writer.unseen == 0
