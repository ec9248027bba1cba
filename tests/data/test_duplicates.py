"""Near-duplicates of test texts leave training and validation, and nothing else does."""

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from radlite.data.duplicates import jaccard, out
from radlite.tasks import Example
from tests.data.rows import row

VOCABULARY = [f"word{number}" for number in range(3000)]


def text(seed: int, length: int = 120) -> list[str]:
    return random.Random(seed).choices(VOCABULARY, k=length)


def placed(name: str, split: str, said: list[str]) -> Example:
    return row(name, split=split, inputs={"report": " ".join(said)})


def test_a_training_copy_with_one_word_changed_leaves_and_the_test_row_stays() -> None:
    said = text(1)
    kept, near = out([placed("test", "test", said), placed("train", "train", [*said[:60], "other", *said[61:]])])
    assert ([example.id for example in kept], [example.id for example in near]) == (["test"], ["train"])


def test_training_gives_way_to_validation_and_validation_to_test() -> None:
    rows = [placed(split, split, text(number)) for number, split in enumerate(("train", "validation", "test"))]
    copies = [placed("v/test", "validation", text(2)), placed("t/validation", "train", text(1))]
    kept, near = out([*rows, *copies])
    assert {example.id for example in kept} == {"train", "validation", "test"} and len(near) == 2


def test_near_duplicates_within_training_stay() -> None:
    rows = [placed(str(number), "train", text(1)) for number in range(3)]
    assert out(rows) == (rows, [])


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(0, 119), st.integers(0, 12))
def test_what_is_taken_out_is_what_the_exact_similarity_says(seed: int, start: int, changed: int) -> None:
    said = text(seed)
    other = [*said[:start], *(f"new{n}" for n in range(changed)), *said[start + changed :]]
    rows = [placed("test", "test", said), placed("train", "train", other)]
    _, near = out(rows)
    assert bool(near) == (jaccard(" ".join(said), " ".join(other)) >= 0.8)


def test_similarity_is_that_of_the_sets_of_five_word_runs() -> None:
    assert jaccard("a b c d e f", "a b c d e g") == 1 / 3
    assert jaccard("a b", "a b") == 1 and jaccard("a b", "b a") == 0


def test_no_copy_among_a_thousand_is_missed() -> None:
    rows = [placed(f"test {n}", "test", text(n)) for n in range(300)]
    copies = [placed(f"copy {n}", "train", [*text(n)[:-4], "a", "b", "c", "d"]) for n in range(300)]
    others = [placed(f"other {n}", "train", text(n + 5000)) for n in range(400)]
    _, near = out([*rows, *copies, *others])
    assert {example.id for example in near} == {example.id for example in copies}
