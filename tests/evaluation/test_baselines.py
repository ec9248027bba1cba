"""Baselines: what is learned from words and counts alone."""

import random

import pytest

from radlite.errors import UserError
from radlite.evaluation.baselines import majority, rows_of_all, rules, tfidf
from radlite.evaluation.metrics import Answered, rows
from radlite.rads import NO_RADS
from radlite.tasks import Example, named
from radlite.tasks.abnormality import CLASSES, Abnormalities
from tests.evaluation.items import item

BENIGN = ("No suspicious lesion in liver or bone.", "The liver is normal; no metastasis.", "Bones are unremarkable.")
SPREAD = ("Multiple hepatic metastases are present.", "Lytic bone lesions in keeping with metastatic disease.")


def staged(split: str, count: int, seed: int) -> list[Example]:
    draw = random.Random(seed)
    made = []
    for number in range(count):
        spread = draw.random() < 0.3
        report = f"CT of case {number}. The heart is normal. {draw.choice(SPREAD if spread else BENIGN)}"
        made.append(item("m_staging", number, "M1" if spread else "M0", split, inputs={"report": report}))
    return made


def accuracy(answered: list[Answered]) -> float:
    return next(row["value"] for row in rows(answered, "any", "baseline") if row["metric"] == "accuracy")


def test_the_majority_answers_what_training_data_says_most() -> None:
    train, test = staged("train", 100, 1), staged("test", 50, 2)
    answered = majority(train, test)
    assert {answer.text for answer in answered} == {"M0"}
    assert accuracy(answered) == sum(example.answer == "M0" for example in test) / 50


def test_the_majority_of_abnormalities_is_taken_class_by_class() -> None:
    render = named("abnormality_detection").render
    states = [
        Abnormalities(dict.fromkeys(CLASSES, "not mentioned") | {name: "negative"})  # type: ignore[arg-type]
        for name in (CLASSES[0], CLASSES[0], CLASSES[1])
    ]
    train = [item("abnormality_detection", number, render(each), "train") for number, each in enumerate(states)]
    [answer] = majority(train, [item("abnormality_detection", 1, render(states[2]))])
    assert f"- {CLASSES[0]}: negative" in answer.text and f"- {CLASSES[1]}: not mentioned" in answer.text
    assert answer.values["state_accuracy"] == 12 / 14


@pytest.mark.parametrize("task", ["impression_generation", "radiology_qa", "radiology_ner", "temporal_comparison"])
def test_the_majority_of_written_answers_is_the_most_frequent_one(task: str) -> None:
    common, rare = {
        "radiology_ner": ("Anatomy: heart", "No entities."),
        "temporal_comparison": ("No comparison.", "- [Worsened] increased (related to: effusion)"),
    }.get(task, ("No effusion.", "A nodule."))
    train = [item(task, number, answer, "train") for number, answer in enumerate([rare, common, common])]
    texts = dict.fromkeys(named(task).inputs, "The heart is normal.")
    [answer] = majority(train, [item(task, 1, common, inputs=texts)])
    assert (answer.text, answer.status) == (common, "ok")
    assert answer.values[named(task).metric] == 1


def test_words_beat_the_majority_where_words_decide() -> None:
    train, test = staged("train", 200, 1), staged("test", 80, 2)
    assert accuracy(tfidf(train, test)) == 1.0 > accuracy(majority(train, test))


def test_inference_baselines_tell_the_premise_from_the_hypothesis() -> None:
    def pair(number: int, split: str, draw: random.Random) -> Example:
        sides = [draw.choice(("effusion", "fracture")) for _ in range(2)]
        answer = "entailment" if sides[0] == "effusion" else "contradiction" if sides[1] == "effusion" else "neutral"
        texts = {"premise": f"There is {sides[0]}.", "hypothesis": f"There is {sides[1]}."}
        return item("radiology_nli", number, answer, split, inputs=texts)

    draw = random.Random(3)
    train, test = ([pair(number, split, draw) for number in range(120)] for split in ("train", "test"))
    assert accuracy(tfidf(train, test)) == 1.0


def test_the_classifier_knows_the_labels_of_training_data_only_and_answers_for_label_tasks_only() -> None:
    words = ("Negative. N staging: N0", "Positive. N staging: N1")
    train = [item("n_staging", number, words[number % 2], "train") for number in range(20)]
    test = [item("n_staging", 1, "Positive. N staging: N3"), item("radiology_qa", 2, "Left.")]
    [answer] = tfidf(train, test)
    assert (answer.truth, answer.values["accuracy"]) == ("N3", 0.0) and answer.label in ("N0", "N1")


def test_one_label_or_no_words_in_training_data_still_give_answers() -> None:
    test = staged("test", 5, 2)
    assert {answer.text for answer in tfidf([item("m_staging", 1, "M0", "train")], test)} == {"M0"}
    wordless = [item("m_staging", number, f"M{number % 2}", "train", inputs={"report": "..."}) for number in range(4)]
    assert len(tfidf(wordless, test)) == 5


def test_a_baseline_refuses_to_learn_from_what_is_evaluated_or_from_nothing() -> None:
    test = staged("test", 5, 2)
    for baseline in (majority, tfidf):
        with pytest.raises(UserError, match="both learned from and evaluated"):
            baseline(test, test)
        with pytest.raises(UserError, match="no training data"):
            baseline([], test)


def ruled(task: str, inputs: dict[str, str], train: list[Example] | None = None) -> str:
    known = train if train is not None else [item(task, 0, ANSWERS[task], "train")]
    [answered] = rules(known, [item(task, 1, ANSWERS[task], inputs=inputs)])
    return answered.text


ANSWERS = {
    "rads_assignment": "TI-RADS 3",
    "temporal_comparison": "No comparison.",
    "impression_generation": "First.\nSecond.",
    "abnormality_detection": named("abnormality_detection").render(
        Abnormalities(dict.fromkeys(CLASSES, "not mentioned"))
    ),
}
NODULE = "Ultrasound of the thyroid. FINDINGS: A thyroid nodule is seen. "


def test_rules_take_the_category_that_is_stated_and_else_what_the_study_allows() -> None:
    assert ruled("rads_assignment", {"report": NODULE + "IMPRESSION: TI-RADS 4."}) == "TI-RADS 4"
    assert ruled("rads_assignment", {"report": NODULE}) == "TI-RADS 3"  # the system's usual one
    assert ruled("rads_assignment", {"report": "MRI of the knee. FINDINGS: A meniscal tear is seen."}) == NO_RADS


def test_rules_find_abnormalities_and_changes_by_a_lexicon() -> None:
    report = {"report": "Chest radiograph. FINDINGS: The pleural effusion has increased. No pneumothorax."}
    found = named("abnormality_detection").read(ruled("abnormality_detection", report))
    assert (found.states["Pleural Effusion"], found.states["Pneumothorax"]) == ("positive", "negative")
    changed = ruled("temporal_comparison", report)
    assert changed == "- [Worsened] increased (related to: pleural effusion)"
    assert ruled("temporal_comparison", {"report": "Normal chest."}) == "No comparison."


def test_rules_copy_as_many_leading_sentences_as_impressions_have_lines() -> None:
    report = {"report": "EXAM: CT chest.\nFINDINGS: One nodule. Two cysts. Three stones.\n"}
    assert ruled("impression_generation", report) == "One nodule.\nTwo cysts."


def test_every_baseline_gives_rows_and_rules_only_where_there_are_rules() -> None:
    found = rows_of_all(staged("train", 60, 1), staged("test", 40, 2))
    assert {row["model"] for row in found} == {"majority", "tfidf"}
    task = "rads_assignment"
    train, test = ([item(task, number, "TI-RADS 3", split) for number in range(4)] for split in ("train", "test"))
    assert {row["model"] for row in rows_of_all(train, test)} == {"majority", "tfidf", "rules"}


def test_baselines_count_what_is_scored_and_not_its_subdivisions() -> None:
    rows = [item("m_staging", number, answer, "train") for number, answer in enumerate(["M0", "M1", "M1a", "M1b"] * 5)]
    tested = [item("m_staging", 100 + number, answer) for number, answer in enumerate(["M0", "M1", "M1a", "M1b"] * 5)]
    assert sum(one.values["accuracy"] for one in majority(rows, tested)) == 15
    assert sum(one.values["accuracy"] for one in tfidf(rows, tested)) >= 15


def test_without_training_examples_the_rules_are_the_only_baseline() -> None:
    tested = [item("rads_assignment", number, "TI-RADS 3") for number in range(3)]
    assert {row["model"] for row in rows_of_all([], tested)} == {"rules"}
