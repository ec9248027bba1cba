"""No patient and no text on two sides, whatever the rows, the order and the seed."""

import random
import re
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from radlite.data.split import SPLITS, person
from radlite.tasks import Example
from tests.data.rows import assign, keys, leaks, row


@st.composite
def corpora(draw: st.DrawFn, given_splits: bool = True) -> list[Example]:
    """Rows of two tasks with few patients and few texts, so that they are linked in every way."""
    rows = []
    for number in range(draw(st.integers(1, 40))):
        task = draw(st.sampled_from(["n_staging", "m_staging"]))
        rows.append(
            row(
                str(number),
                task,
                draw(st.sampled_from(["N0", "N1"] if task == "n_staging" else ["M0", "M1"])),
                patient=draw(st.sampled_from(["", "a", "b", "c", "d", "e", f"own {number}"])),
                inputs={"report": f"Text {draw(st.integers(0, 30))}."},
                split=draw(st.sampled_from(["", "", *SPLITS])) if given_splits else "",
            )
        )
    return rows


@given(corpora(), st.integers(0, 3))
def test_no_patient_and_no_text_is_in_two_splits(rows: list[Example], seed: int) -> None:
    assigned = assign(rows, seed=seed)
    assert leaks(assigned) == []
    assert {example.split for example in assigned} <= set(SPLITS)


@given(corpora(), st.integers(0, 3))
def test_official_splits_are_kept_and_the_official_test_set_stays_whole(rows: list[Example], seed: int) -> None:
    given_split = {example.id: example.split for example in rows}
    assigned = assign(rows, seed=seed)
    assert all(given_split[example.id] in ("", example.split) for example in assigned)
    tested = {example.id for example in assigned if example.split == "test"}
    assert tested >= {name for name, split in given_split.items() if split == "test"}


@given(corpora(), st.integers(0, 3))
def test_a_row_is_left_out_only_where_given_splits_disagree(rows: list[Example], seed: int) -> None:
    left_out = {example.id for example in rows} - {example.id for example in assign(rows, seed=seed)}
    if len({example.split for example in rows if example.split}) < 2:
        assert not left_out


@given(corpora(), st.integers(0, 3), st.randoms(use_true_random=False))
def test_the_order_of_rows_does_not_matter(rows: list[Example], seed: int, shuffler: random.Random) -> None:
    shuffled = rows[:]
    shuffler.shuffle(shuffled)
    assert {e.id: e.split for e in assign(rows, seed=seed)} == {e.id: e.split for e in assign(shuffled, seed=seed)}


@given(corpora(given_splits=False), st.integers(0, 3))
def test_rows_that_are_linked_through_others_stay_together(rows: list[Example], seed: int) -> None:
    place = {key: example.split for example in assign(rows, seed=seed) for key in keys(example)}
    for example in rows:
        assert len({place[key] for key in keys(example)}) == 1


def test_every_label_is_shared_out_70_15_15() -> None:
    rows = [row(str(n), answer=["N0", "N0", "N0", "N1", "N1", "N2"][n % 6]) for n in range(1200)]
    counts = Counter((example.split, example.answer[-2:]) for example in assign(rows, seed=4))
    for label, size in (("N0", 600), ("N1", 400), ("N2", 200)):
        assert [counts[split, label] for split in SPLITS] == [0.7 * size, 0.15 * size, 0.15 * size]


def test_a_rare_label_reaches_every_split() -> None:
    rows = [row(str(n), answer="N3" if n < 4 else "N0") for n in range(500)]
    assert {example.split for example in assign(rows) if example.answer.endswith("N3")} == set(SPLITS)


def test_patients_with_many_rows_are_shared_out_like_the_others() -> None:
    rows = [row(f"{n}/{r}", patient=str(n)) for n in range(400) for r in range(3 if n < 100 else 1)]
    many = Counter(example.split for example in assign(rows, seed=1) if int(example.patient) < 100)
    assert all(abs(many[split] - share * 300) <= 9 for split, share in zip(SPLITS, (0.7, 0.15, 0.15), strict=True))


def test_another_seed_gives_another_split() -> None:
    rows = [row(str(n)) for n in range(60)]
    assert assign(rows, seed=0) != assign(rows, seed=1) and assign(rows, seed=0) == assign(rows, seed=0)


def test_texts_that_differ_in_case_spacing_and_punctuation_are_one_text() -> None:
    rows = [
        row("1", inputs={"report": "No NODES,  seen."}, split="train"),
        row("2", inputs={"report": "no no\u00addes\nse\u200ben"}, split="test"),
    ]
    assert [kind for kind, _ in leaks(rows)] == ["text"]
    assert [example.id for example in assign(rows)] == ["2"]


def test_a_recurring_question_or_an_unknown_patient_ties_nothing() -> None:
    rows = [
        row(
            str(n),
            "radiology_qa",
            "yes",
            patient="",
            inputs={"report": f"Report number {n}.", "question": "Is there an effusion?"},
        )
        for n in range(40)
    ]
    assert {example.split for example in assign(rows)} == set(SPLITS)


def test_rows_of_one_patient_stay_together_across_tasks() -> None:
    rows = [row(f"n{n}", patient=str(n)) for n in range(50)]
    rows += [row(f"m{n}", "m_staging", "M0", patient=str(n)) for n in range(50)]
    place = {(example.task, example.patient): example.split for example in assign(rows)}
    assert all(place["n_staging", str(n)] == place["m_staging", str(n)] for n in range(50))


@pytest.mark.parametrize(
    "spellings",
    [
        ("here:12", "here:12.0", "here:0012", "here: 12"),
        ("P\u00a0 7", "P 7", "p 7"),
        ("here:Ren\u00e9", "here:Rene\u0301", "here:Ren\u00e9\u200b"),
        ("P-7", "P\u20117", "P-\u0667", "P\u00ad-7"),
        ("S 1:7", "S  1:7", "S 1: 7.0"),
        ("-7", "-7.0"),
    ],
)
def test_spellings_of_one_patient_id_are_one_patient(spellings: tuple[str, ...]) -> None:
    def numbered(one: str, n: int) -> str:
        return re.sub("12|[7\u0667]|Ren", lambda found: f"{found[0]}{n}" if found[0] != "Ren" else f"R{n}n", one)

    rows = [row(f"{n}-{at}", patient=numbered(one, n)) for n in range(40) for at, one in enumerate(spellings)]
    place: dict[str, set[str]] = {}
    for example in assign(rows):
        place.setdefault(example.id.split("-")[0], set()).add(example.split)
    assert all(len(splits) == 1 for splits in place.values()) and len(set.union(*place.values())) == 3


def test_different_patient_ids_stay_different() -> None:
    ids = ["12", "112", "1.2", "1.20", "here:12", "there:12", "12a", "a12", "a012", "-12", "0", "12.5"]
    assert len({person(one) for one in ids}) == len(ids)


def test_a_leak_is_found() -> None:
    rows = [row("1", split="train"), replace(row("2", split="test"), patient="patient 1")]
    assert leaks(rows) == [("patient", "patient 1")]
