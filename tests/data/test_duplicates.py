"""Near-duplicates of test texts leave training and validation, and nothing else does."""

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from radlite.data.duplicates import near
from radlite.data.texts import BANDS, Shingles, bands, jaccard, shingles, signature

VOCABULARY = [f"word{number}" for number in range(3000)]


def text(seed: int, length: int = 120) -> list[str]:
    return random.Random(seed).choices(VOCABULARY, k=length)


def leaving(texts: list[tuple[str, list[str]]]) -> list[int]:
    """Numbers of the texts, each with its split, that have to leave."""
    found = [shingles(said) for _, said in texts]
    split = np.array([("train", "validation", "test").index(name) for name, _ in texts], np.int8)
    return np.flatnonzero(near(np.stack([signature(one) for one in found]), split, found.__getitem__)).tolist()


def similarity(one: str, other: str) -> float:
    return float(jaccard(shingles(one.split()), [shingles(other.split())])[0])


def test_a_training_copy_with_one_word_changed_leaves_and_the_test_row_stays() -> None:
    said = text(1)
    assert leaving([("test", said), ("train", [*said[:60], "other", *said[61:]])]) == [1]


def test_training_gives_way_to_validation_and_validation_to_test() -> None:
    rows = [(split, text(number)) for number, split in enumerate(("train", "validation", "test"))]
    assert leaving([*rows, ("validation", text(2)), ("train", text(1))]) == [3, 4]


def test_near_duplicates_within_training_stay() -> None:
    assert leaving([("train", text(1))] * 3) == []


def test_what_is_near_only_to_a_text_that_leaves_stays() -> None:
    said = text(3)
    further = [*said[:10], *text(4)[:8], *said[18:]]
    beyond = [*further[:60], *text(5)[:8], *further[68:]]
    assert leaving([("test", said), ("validation", further), ("train", beyond)]) == [1]


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(0, 119), st.integers(0, 12))
def test_what_is_taken_out_is_what_the_exact_similarity_says(seed: int, start: int, changed: int) -> None:
    said = text(seed)
    other = [*said[:start], *(f"new{n}" for n in range(changed)), *said[start + changed :]]
    exact = (
        {tuple(said[n : n + 5]) for n in range(len(said) - 4)},
        {tuple(other[n : n + 5]) for n in range(len(other) - 4)},
    )
    share = len(exact[0] & exact[1]) / len(exact[0] | exact[1])
    assert similarity(" ".join(said), " ".join(other)) == pytest.approx(share)
    assert bool(leaving([("test", said), ("train", other)])) == (share >= 0.8)


def test_similarity_is_that_of_the_sets_of_five_word_runs() -> None:
    assert similarity("a b c d e f", "a b c d e g") == 1 / 3
    assert similarity("a b", "a b") == 1 and similarity("a b", "b a") == 0


def test_no_copy_among_a_thousand_is_missed() -> None:
    rows = [("test", text(n)) for n in range(300)]
    copies = [("train", [*text(n)[:-4], "a", "b", "c", "d"]) for n in range(300)]
    others = [("train", text(n + 5000)) for n in range(400)]
    assert leaving([*rows, *copies, *others]) == list(range(300, 600))


@given(st.lists(st.text(max_size=3), max_size=12))
def test_any_words_have_shingles_and_bands(said: list[str]) -> None:
    found: Shingles = shingles(said)
    assert (
        len(found) and (np.diff(found.astype(np.int64)) > 0).all() and bands(signature(found)[None]).shape == (1, BANDS)
    )


def test_in_a_crowd_of_one_template_those_near_a_test_text_are_found() -> None:
    draw, template = random.Random(7), text(9)

    def variant() -> list[str]:
        said = [*template]
        for at in draw.sample(range(120), 3):
            said[at] = draw.choice(VOCABULARY)
        return said

    rows = [(split, variant()) for split in ("train",) * 2000 + ("test",) * 1000]
    found = [shingles(said) for _, said in rows]
    exact = {number for number in range(2000) if jaccard(found[number], found[2000:]).max() >= 0.8}
    left = set(leaving(rows))
    assert 20 < len(exact) < 1000 and left <= exact and len(left) >= 0.95 * len(exact)
