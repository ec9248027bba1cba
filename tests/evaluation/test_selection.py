"""Which items are evaluated and shown as solved examples."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from radlite.errors import UserError
from radlite.evaluation.selection import Shots, sample
from tests.evaluation.items import item

STAGES = [item("n_staging", number, f"Positive. N staging: N{1 + (number % 10 > 6)}") for number in range(200)]


def test_a_sample_keeps_the_shares_of_the_answers() -> None:
    kept = Counter(example.answer for example in sample(STAGES, 50))
    assert sum(kept.values()) == 50
    assert abs(kept["Positive. N staging: N2"] - 15) <= 1


def test_a_smaller_sample_is_part_of_a_larger_one_and_order_does_not_matter() -> None:
    small, large = sample(STAGES, 20), sample(STAGES, 60)
    assert {example.id for example in small} < {example.id for example in large}
    assert sorted(e.id for e in sample(STAGES[::-1], 20)) == sorted(e.id for e in small)
    assert [e.id for e in small] == [e.id for e in STAGES if e in small]


def test_the_seed_changes_the_sample() -> None:
    assert sample(STAGES, 20, seed=1) != sample(STAGES, 20, seed=2)
    assert sample(STAGES, 20, seed=1) == sample(STAGES, 20, seed=1)


def test_the_limit_holds_for_each_task() -> None:
    both = [*STAGES, *(item("m_staging", number, "M0") for number in range(30))]
    assert Counter(example.task for example in sample(both, 40)) == {"n_staging": 40, "m_staging": 30}
    assert sample(both, None) == both


@given(st.lists(st.sampled_from(["M0", "M1"]), max_size=40), st.integers(1, 50))
@settings(max_examples=100)
def test_a_sample_has_as_many_items_as_asked_or_there_are(answers: list[str], limit: int) -> None:
    items = [item("m_staging", number, answer) for number, answer in enumerate(answers)]
    kept = sample(items, limit)
    assert len(kept) == min(limit, len(items)) == len({example.id for example in kept})


def test_a_limit_of_nothing_is_refused() -> None:
    with pytest.raises(UserError, match="limit"):
        sample(STAGES, 0)


def training(count: int = 60) -> list:  # type: ignore[type-arg]
    return [
        item(
            "m_staging", number, f"M{number % 2}", "train", inputs={"report": f"Report {number}. " * (1 + number % 30)}
        )
        for number in range(count)
    ]


def test_solved_examples_are_short_have_different_answers_and_follow_the_seed() -> None:
    train = training()
    [chosen] = Shots(3).pool(train, seed=5).values()
    assert len({example.id for example in chosen}) == 3
    assert {example.answer for example in chosen[:2]} == {"M0", "M1"}
    lengths = sorted(len(example.inputs["report"]) for example in train)
    assert max(len(example.inputs["report"]) for example in chosen) <= lengths[len(train) // 3]
    assert Shots(3).pool(train, seed=5)["m_staging"] == chosen
    assert any(Shots(3).pool(train, seed=seed)["m_staging"] != chosen for seed in range(5))


def test_solved_examples_come_from_training_data_only() -> None:
    with pytest.raises(UserError, match="give training data"):
        Shots(3).pool([*training(), item("m_staging", 1, "M0", "test")])


def test_too_few_training_examples_are_an_error() -> None:
    with pytest.raises(UserError, match="lower --shots"):
        Shots(3).pool(training(2))


def test_random_examples_have_the_answers_that_are_frequent() -> None:
    train = [item("m_staging", number, "M1" if number % 20 == 0 else "M0", "train") for number in range(300)]
    drawn = [Shots(3, "random").pool(train, seed)["m_staging"] for seed in range(40)]
    rare = sum(example.answer == "M1" for one in drawn for example in one)
    assert 0 < rare < 20  # 0.05 of 120 are 6; stratified they would be 40
    assert not Shots(0, "random").pool(train)


def test_the_nearest_examples_are_those_with_the_words_of_the_item() -> None:
    places = ("liver", "spine", "brain", "ovary")
    train = [
        item("m_staging", number, "M1", "train", inputs={"report": f"A lesion in the {places[number % 4]}."})
        for number in range(60)
    ]
    way = Shots.read("nearest:2")
    pool, choose = way.pool(train)["m_staging"], way.chooser()
    assert choose and len(pool) == 20
    for place in places:
        found = choose("m_staging", {"report": f"Seen: a {place} metastasis."}, pool)
        assert len(found) == 2 and all(place in example.inputs["report"] for example in found)
    assert len(choose("m_staging", {"report": "?"}, pool)) == 2


@pytest.mark.parametrize("text", ["", "many", "-1", "3.5", "near:3", "nearest:", ":3:", "1000000"])
def test_what_is_no_number_of_examples_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="no number of solved examples"):
        Shots.read(text)
