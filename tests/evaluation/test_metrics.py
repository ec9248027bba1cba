"""Rows: every item counts, slices add up, macro-F1 is the field's."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from radlite.errors import UserError
from radlite.evaluation.metrics import Answered, Row, grade, rows
from radlite.tasks import named
from radlite.tasks.ner import LABELS, NO_ENTITIES
from tests.evaluation.items import grounded, item, said


def value(found: list[Row], metric: str, slice: str = "all") -> tuple[float, int]:
    [row] = [row for row in found if row["metric"] == metric and row["slice"] == slice]
    assert row["low"] <= row["value"] <= row["high"]
    return row["value"], row["n"]


def staged(*pairs: tuple[str, str]) -> list[Answered]:
    return [
        grade(item("m_staging", number, truth), said("m_staging", text)) for number, (truth, text) in enumerate(pairs)
    ]


def test_what_could_not_be_read_or_did_not_fit_stays_in_the_denominator() -> None:
    answered = staged(("M0", "M0"), ("M1", "M1"), ("M0", "the stage is unclear"))
    answered.append(grade(item("m_staging", 9, "M0"), said("m_staging", "", "too_long")))
    found = rows(answered, "tiny", "base")
    assert value(found, "accuracy") == (0.5, 4)
    assert value(found, "unreadable") == (0.25, 4)
    assert value(found, "too_long") == (0.25, 4)


def test_an_answer_that_was_withheld_scores_nothing_even_if_it_would_be_right() -> None:
    reading = said("m_staging", "M1")
    withheld = grade(item("m_staging", 1, "M1"), type(reading)("m_staging", "abstained", reading.answer, "M1"))
    assert value(rows([withheld], "tiny", "tuned"), "accuracy") == (0.0, 1)


def test_rows_have_the_keys_of_every_result_and_the_split() -> None:
    [row, *_] = rows(staged(("M0", "M0")), "tiny", "tuned", shots=3)
    assert list(row) == [
        "model", "stage", "shots", "asked", "split", "task", "slice", "metric", "value", "low", "high", "n",
    ]  # fmt: skip
    assert (row["model"], row["stage"], row["shots"], row["split"]) == ("tiny", "tuned", 3, "test")


def test_rads_is_sliced_by_the_true_system_and_by_wording() -> None:
    answers = [("BI-RADS 4B", "BI-RADS 4B"), ("LR-5", "BI-RADS 5"), ("No applicable RADS", "No applicable RADS")]
    answered = [
        grade(
            item("rads_assignment", number, truth, tags=("unseen_wording",) * (number == 0)),
            said("rads_assignment", text),
        )
        for number, (truth, text) in enumerate(answers)
    ]
    found = rows(answered, "tiny", "tuned")
    assert value(found, "accuracy", "BI-RADS") == (1.0, 1)
    assert value(found, "accuracy", "LI-RADS") == (0.0, 1)
    assert value(found, "accuracy", "No applicable RADS") == (1.0, 1)
    assert value(found, "accuracy", "unseen_wording") == (1.0, 1)
    assert value(found, "accuracy", "seen_wording") == (0.5, 2)


def test_real_reports_are_in_no_wording_slice_and_several_sources_are_told_apart() -> None:
    answered = staged(("M0", "M0"), ("M1", "M0"))
    real = item("m_staging", 7, "M1", source="tcga", tier="gold")
    found = rows([*answered, grade(real, said("m_staging", "M1"))], "tiny", "tuned")
    assert value(found, "accuracy", "source tcga") == (1.0, 1)
    assert value(found, "accuracy", "source sample") == (0.5, 2)
    assert value(found, "accuracy", "seen_wording") == (0.5, 2)
    assert not [row for row in rows(answered, "tiny", "tuned") if row["slice"].startswith("source")]


def test_every_value_of_the_task_becomes_a_row() -> None:
    answer = grade(item("radiology_qa", 1, "three cm"), said("radiology_qa", "three cm"))
    assert {row["metric"] for row in rows([answer], "tiny", "base")} == {
        "word_f1", "exact_match", "answerable_accuracy", "rouge_l", "unreadable", "too_long",
    }  # fmt: skip


def test_no_reference_text_is_kept_for_tasks_in_prose() -> None:
    answer = grade(item("impression_generation", 1, "Secret conclusion."), said("impression_generation", "Other."))
    assert "Secret" not in repr(answer)


N = st.sampled_from(["N0", "N1", "N2", "N3"])


def graded(pairs: list[tuple[str | None, str]]) -> list[Answered]:
    task = named("n_staging")
    return [
        grade(
            item("n_staging", number, task.render(task.read(truth))),
            said("n_staging", answer or "?"),
        )
        for number, (answer, truth) in enumerate(pairs)
    ]


@given(st.lists(st.tuples(N | st.none(), N), min_size=1, max_size=40))
@settings(max_examples=30, deadline=None)
def test_f1_is_that_of_scikit_learn(pairs: list[tuple[str | None, str]]) -> None:
    from sklearn.metrics import f1_score

    answers, truths = [answer or "none" for answer, _ in pairs], [truth for _, truth in pairs]
    found = rows(graded(pairs), "tiny", "base")
    here = sorted(set(truths))
    assert value(found, "macro_f1")[0] == pytest.approx(
        f1_score(truths, answers, labels=here, average="macro", zero_division=0)
    )
    for label in here:
        assert value(found, f"f1 {label}")[0] == pytest.approx(
            f1_score(truths, answers, labels=[label], average="macro", zero_division=0)
        )


@given(st.lists(st.tuples(N, N), min_size=2, max_size=40))
@settings(max_examples=30, deadline=None)
def test_kappa_is_that_of_scikit_learn_and_the_distance_that_of_the_ranks(pairs: list[tuple[str, str]]) -> None:
    from sklearn.metrics import cohen_kappa_score

    found = rows(graded(list(pairs)), "tiny", "base")
    ranks = [(int(answer[1]), int(truth[1])) for answer, truth in pairs]
    if len({rank for pair in ranks for rank in pair}) > 1:
        expected = cohen_kappa_score(*zip(*ranks, strict=True), weights="quadratic", labels=[0, 1, 2, 3])
        assert value(found, "kappa")[0] == pytest.approx(expected)
    distance = sum(abs(answer - truth) for answer, truth in ranks) / len(ranks)
    [row] = [row for row in found if row["metric"] == "rank_error" and row["slice"] == "all"]
    assert row["value"] == pytest.approx(distance)


WORDS = [f"word{number}" for number in range(8)]
# Of each pair of words the first or both: spans of one side do not overlap, which nervaluate takes for errors.
SPANS = st.dictionaries(st.integers(0, 3), st.tuples(st.integers(1, 2), st.sampled_from(LABELS[:3])), max_size=4).map(
    lambda found: {" ".join(WORDS[2 * at : 2 * at + long]): label for at, (long, label) in found.items()}
)


def entities(spans: dict[str, str]) -> str:
    by_label: dict[str, list[str]] = {}
    for words, label in spans.items():
        by_label.setdefault(label, []).append(words)
    lines = [f"{label}: {'; '.join(by_label[label])}" for label in LABELS if label in by_label]
    return "\n".join(lines) or NO_ENTITIES


@given(st.lists(st.tuples(SPANS, SPANS), min_size=1, max_size=8))
@settings(max_examples=40, deadline=None)
def test_f1_over_entities_is_that_of_nervaluate_for_the_whole_corpus(pairs: list[tuple[dict[str, str], ...]]) -> None:
    from nervaluate.evaluator import Evaluator

    report = {"report": " ".join(WORDS)}
    answered = [
        grade(
            item("radiology_ner", number, entities(true), inputs=report),
            grounded("radiology_ner", entities(given), report),
        )
        for number, (true, given) in enumerate(pairs)
    ]
    placed = [
        [[{"label": label, "start": report["report"].index(words), "end": report["report"].index(words) + len(words)}
          for words, label in spans.items()] for spans in side]
        for side in zip(*pairs, strict=True)
    ]  # fmt: skip
    if any(map(len, placed[0])) and any(map(len, placed[1])):
        theirs = Evaluator(placed[0], placed[1], tags=list(LABELS), loader="dict").evaluate()["overall"]["strict"].f1
        assert value(rows(answered, "tiny", "base"), "micro_f1")[0] == pytest.approx(theirs)


@given(st.lists(st.tuples(*[st.lists(st.sampled_from(WORDS), min_size=1, max_size=9)] * 2), min_size=1, max_size=6))
@settings(max_examples=40, deadline=None)
def test_rouge_is_that_of_rouge_score(pairs: list[tuple[list[str], list[str]]]) -> None:
    from rouge_score.rouge_scorer import RougeScorer

    texts = [(" ".join(true), " ".join(given)) for true, given in pairs]
    answered = [
        grade(item("impression_generation", number, true), said("impression_generation", given))
        for number, (true, given) in enumerate(texts)
    ]
    theirs = [RougeScorer(["rougeL"]).score(true, given)["rougeL"].fmeasure for true, given in texts]
    assert value(rows(answered, "tiny", "base"), "rouge_l")[0] == pytest.approx(sum(theirs) / len(theirs))


def test_an_answer_without_a_rank_counts_as_the_farthest_one() -> None:
    pairs: list[tuple[str | None, str]] = [("N0", "N0"), ("N3", "N3"), (None, "N3"), ("NX", "N0")]
    [row] = [row for row in rows(graded(pairs), "t", "base") if row["metric"] == "rank_error" and row["slice"] == "all"]
    assert row["value"] == pytest.approx(6 / 4)


def assigned(*pairs: tuple[str, str]) -> list[Row]:
    return rows(
        [grade(item("rads_assignment", number, truth), said("rads_assignment", text))
         for number, (truth, text) in enumerate(pairs)], "tiny", "tuned",
    )  # fmt: skip


def test_every_item_has_one_severity_and_all_shares_make_one() -> None:
    found = assigned(("BI-RADS 4B", "BI-RADS 4B"), ("BI-RADS 4B", "BI-RADS 4"), ("LR-5", "LR-3"), ("LR-5", "nothing"))
    shares = {row["metric"]: row["value"] for row in found
              if row["slice"] == "all" and row["metric"].startswith("severity ")}  # fmt: skip
    assert sum(shares.values()) == pytest.approx(1)
    assert (
        shares["severity exact_at_parent"] == shares["severity undercall_major"] == shares["severity invalid"] == 0.25
    )
    assert value(found, "accuracy") == (0.25, 4)
    assert value(found, "parent_accuracy") == (0.5, 4)


def test_sensitivity_is_over_those_that_need_the_action_and_what_is_unreadable_misses_it() -> None:
    found = assigned(
        ("PI-RADS 4", "PI-RADS 5"), ("PI-RADS 5", "?"), ("PI-RADS 2", "PI-RADS 3"), ("PI-RADS X", "PI-RADS X")
    )
    assert value(found, "sensitivity") == (0.5, 2)
    assert value(found, "specificity") == (1.0, 1)


def test_kappa_of_several_scales_is_weighted_by_their_items() -> None:
    same = assigned(("LR-3", "LR-3"), ("LR-5", "LR-5"), ("US-1", "US-3"), ("US-3", "US-1"))
    assert value(same, "kappa", "LI-RADS")[0] == pytest.approx((2 * 1 + 2 * -1) / 4)


def test_of_a_label_that_one_item_has_next_to_nothing_is_known() -> None:
    found = rows(staged(*[("M0", "M0")] * 39, ("M1", "M0")), "tiny", "base")
    [rare] = [row for row in found if (row["metric"], row["slice"]) == ("f1 M1", "all")]
    assert (rare["value"], rare["n"]) == (0, 40) and rare["high"] > 0.7


def test_a_majority_answer_has_a_low_macro_f1() -> None:
    found = rows(staged(*[("M0", "M0")] * 9, ("M1", "M0")), "majority", "baseline")
    assert value(found, "accuracy")[0] == 0.9
    assert value(found, "macro_f1")[0] == pytest.approx((2 * 9 / 19) / 2)


def test_splits_are_never_pooled() -> None:
    mixed = [
        grade(item("m_staging", 1, "M0", split=split), said("m_staging", "M0")) for split in ("test", "validation")
    ]
    with pytest.raises(UserError, match="several splits"):
        rows(mixed, "tiny", "base")


def test_an_item_whose_own_answer_is_unreadable_is_an_error_that_names_it_alone() -> None:
    with pytest.raises(UserError, match="test-3") as raised:
        grade(item("m_staging", 3, "secret words"), said("m_staging", "M0"))
    assert "secret" not in str(raised.value)


def test_items_are_sliced_by_what_is_stated_by_variant_length_tier_and_rarity() -> None:
    short, long = {"report": "A few words."}, {"report": "word " * 301}
    answered = [
        grade(item("rads_assignment", number, "TI-RADS 3" if number else "TI-RADS 4", tags=tags, inputs=inputs),
              said("rads_assignment", "TI-RADS 3"))
        for number, (tags, inputs) in enumerate(
            [(("stated", "variant:us"), short), (("masked", "variant:us"), long), *[(("masked",), short)] * 8]
        )
    ]  # fmt: skip
    found = rows(answered, "tiny", "base")
    assert value(found, "accuracy", "stated") == (0, 1) and value(found, "accuracy", "masked") == (1, 9)
    assert value(found, "accuracy", "variant us") == (0.5, 2)
    assert value(found, "accuracy", "long") == (1, 1) and value(found, "accuracy", "short")[1] == 9
    assert value(found, "accuracy", "rare labels") == (0, 1)
    assert not {row["slice"] for row in found} & {"tier synthetic", "source sample", "medium"}


def test_impressions_and_abnormalities_are_sliced_by_whether_anything_is_found() -> None:
    texts = ["Normal chest.", "No pneumonia.", "Small left pleural effusion."]
    answered = [
        grade(item("impression_generation", number, text), said("impression_generation", text))
        for number, text in enumerate(texts)
    ]
    found = rows(answered, "tiny", "base")
    assert value(found, "rouge_l", "abnormal") == (1, 1) and value(found, "rouge_l", "normal") == (1, 2)
