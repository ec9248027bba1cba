"""A task of n rows contributes n times its weight, the same for the same seed."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from radlite.data.mixture import Balance, mix
from radlite.errors import UserError
from radlite.tasks import Example
from tests.data.rows import row

N = [row(f"n{number}") for number in range(10)]
M = [row(f"m{number}", "m_staging", "M0") for number in range(4)]


def test_weight_three_gives_each_row_three_times() -> None:
    assert set(Counter(example.id for example in mix({"n_staging": N}, {"n_staging": 3}, 0)).values()) == {3}


def test_weight_one_half_gives_a_half_drawn_by_the_seed() -> None:
    halves = {frozenset(example.id for example in mix({"n_staging": N}, {"n_staging": 0.5}, seed)) for seed in range(9)}
    assert {len(half) for half in halves} == {5} and len(halves) > 1


def test_weight_one_and_a_half_gives_every_row_once_and_a_half_of_them_twice() -> None:
    counts = Counter(example.id for example in mix({"n_staging": N}, {"n_staging": 1.5}, 0))
    assert Counter(counts.values()) == {1: 5, 2: 5}


def test_a_task_without_a_weight_comes_once_and_weight_zero_leaves_a_task_out() -> None:
    assert Counter(example.task for example in mix({"n_staging": N, "m_staging": M}, {"m_staging": 0}, 0)) == {
        "n_staging": 10
    }


@given(st.floats(0, 4), st.integers(0, 50), st.integers(1, 40))
def test_the_size_is_n_times_the_weight_and_no_row_is_seen_two_times_more_than_another(
    weight: float, seed: int, size: int
) -> None:
    rows = [row(str(number)) for number in range(size)]
    mixed = mix({"n_staging": rows, "m_staging": M}, {"n_staging": weight}, seed)
    counts = Counter(example.id for example in mixed if example.task == "n_staging")
    assert abs(sum(counts.values()) - weight * size) <= 0.5 + 1e-6
    assert max(counts[example.id] for example in rows) - min(counts[example.id] for example in rows) <= 1


def test_the_same_seed_gives_the_same_order_and_tasks_are_mixed() -> None:
    one, two, other = (mix({"m_staging": M, "n_staging": N}, {}, seed) for seed in (1, 1, 2))
    assert one == two and one != other
    assert [example.task for example in one] not in (["m_staging"] * 4 + ["n_staging"] * 10,)


def test_the_order_in_which_tasks_are_given_changes_nothing() -> None:
    assert mix({"m_staging": M, "n_staging": N}, {}, 1) == mix({"n_staging": N, "m_staging": M}, {}, 1)


@pytest.mark.parametrize("weight", [-1.0, float("nan"), float("inf")])
def test_a_weight_that_is_no_amount_is_refused(weight: float) -> None:
    with pytest.raises(UserError, match="give a number of 0 or more"):
        mix({"n_staging": N}, {"n_staging": weight}, 0)


def test_a_weight_for_a_task_without_rows_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(UserError, match="did you mean n_staging"):
        mix({"n_staging": N}, {"n_stagin": 2}, 0)


def test_an_empty_mixture_is_refused() -> None:
    with pytest.raises(UserError, match="empty"):
        mix({"n_staging": N}, {"n_staging": 0}, 0)


def labelled(**counts: int) -> list[Example]:
    return [row(f"{label} {n}", answer=label) for label, count in counts.items() for n in range(count)]


def shown(rows: list[Example], size: float, balance: Balance) -> Counter[str]:
    return Counter(one.answer[-2:] for one in mix({"n_staging": rows}, {"n_staging": size}, 0, balance))


def test_a_temperature_evens_tasks_out_and_keeps_the_size_of_the_epoch() -> None:
    by_task = {
        "n_staging": [row(f"n{n}") for n in range(900)],
        "m_staging": [row(f"m{n}", "m_staging", "M0") for n in range(100)],
    }
    counts = Counter(one.task for one in mix(by_task, {}, 0, Balance(temperature=2)))
    assert counts == {"n_staging": 750, "m_staging": 250}


def test_a_cap_bounds_what_an_epoch_shows_of_a_task() -> None:
    assert len(mix({"n_staging": N, "m_staging": M}, {"n_staging": 3}, 0, Balance(cap=12))) == 12 + 4


def test_labels_come_alike_often_and_the_task_keeps_its_size() -> None:
    rows = labelled(N0=80, N1=16, N2=4)
    assert shown(rows, 1, Balance(labels=1)) == {"N0": 33, "N1": 33, "N2": 33}
    assert shown(rows, 1, Balance(labels=0.5)) == {"N0": 60, "N1": 27, "N2": 13}


def test_what_a_rare_label_may_not_repeat_goes_to_the_others() -> None:
    counts = shown(labelled(N0=80, N1=16, N2=4), 1, Balance(labels=1, repeats=2))
    assert counts == {"N0": 60, "N1": 32, "N2": 8}


def test_no_row_is_shown_more_often_than_allowed() -> None:
    mixed = mix({"m_staging": M}, {"m_staging": 9}, 0, Balance(repeats=4))
    assert set(Counter(one.id for one in mixed).values()) == {4}


@given(
    st.dictionaries(st.sampled_from(["N0", "N1", "N2", "N3"]), st.integers(1, 30), min_size=1),
    st.floats(0, 3), st.floats(0, 1), st.integers(1, 3), st.integers(1, 60), st.floats(1, 5),
)  # fmt: skip
def test_whatever_the_balance_limits_hold_and_the_seed_decides(
    counts: dict[str, int], weight: float, labels: float, repeats: int, cap: int, temperature: float
) -> None:
    rows, balance = labelled(**counts), Balance(temperature, cap, labels, repeats)
    try:
        one, two = (mix({"n_staging": rows, "m_staging": M}, {"n_staging": weight}, 3, balance) for _ in range(2))
    except UserError:
        return
    assert one == two and max(Counter(row.id for row in one).values()) <= repeats + 1
    assert sum(row.task == "n_staging" for row in one) <= cap + len(counts)
