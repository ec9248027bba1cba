"""VI-RADS: the structural category, and how the three sequences combine."""

import itertools
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from radlite.errors import UserError
from radlite.rads import systems
from radlite.rads.rules import decide, vi_rads
from radlite.rads.rules.vi_rads import Tumor

SCORES = range(1, 6)
SESSILE = {"form": "sessile"}

STRUCTURAL = [
    ({"size": 9.9}, 1),
    ({"size": 9.9, "stalk": True}, 1),
    ({"size": 9.9, "inner_layer": True}, 1),
    (SESSILE | {"size": 9.9, "inner_layer": True}, 1),
    (SESSILE | {"size": 9.9}, 3),
    ({"size": 10, "stalk": True}, 2),
    ({"size": 10, "inner_layer": True}, 2),
    ({"size": 10, "stalk": True, "inner_layer": True}, 2),
    (SESSILE | {"size": 10, "inner_layer": True}, 2),
    ({"size": 10}, 3),
    (SESSILE | {"size": 10}, 3),
    ({"size": 9.9, "stalk": True, "muscle": "interrupted"}, 4),
    ({"muscle": "interrupted"}, 4),
    ({"size": 9.9, "stalk": True, "muscle": "extravesical"}, 5),
    ({"muscle": "extravesical"}, 5),
]


def score(features: dict[str, Any]) -> int:
    return int(decide("VI-RADS", features).category.removeprefix("VI-RADS "))


@pytest.mark.parametrize(("features", "expected"), STRUCTURAL)
def test_structure_asks_for_muscle_then_size_then_stalk_or_inner_layer(features: dict[str, Any], expected: int) -> None:
    assert score(features) == expected
    same = features | {"diffusion": expected, "enhancement": expected}
    assert score(same) == expected


# (T2, diffusion, contrast series) to the score, as published.
PUBLISHED = [
    *((one, one, one, one) for one in SCORES),
    (3, 2, 2, 2),
    (3, 3, 2, 3), (3, 2, 3, 3),
    (4, 4, 3, 4), (4, 3, 4, 4), (3, 4, 4, 4),
    (5, 5, 4, 5), (5, 4, 5, 5),
]  # fmt: skip


@pytest.mark.parametrize(("t2", "diffusion", "enhancement", "expected"), PUBLISHED)
def test_the_published_combinations_are_kept(t2: int, diffusion: int, enhancement: int, expected: int) -> None:
    assert score({"structural": t2, "diffusion": diffusion, "enhancement": enhancement}) == expected


def test_diffusion_decides_and_is_lifted_by_one_at_most() -> None:
    for t2, diffusion, enhancement in itertools.product(SCORES, repeat=3):
        found = score({"structural": t2, "diffusion": diffusion, "enhancement": enhancement})
        assert found == diffusion + (min(t2, enhancement) > diffusion)
        assert score({"structural": t2, "diffusion": diffusion}) == diffusion


def test_the_contrast_series_stands_in_for_inadequate_diffusion() -> None:
    for t2, enhancement in itertools.product(SCORES, repeat=2):
        assert score({"structural": t2, "enhancement": enhancement}) == enhancement
        assert score({"structural": t2}) == t2


def test_every_category_is_given() -> None:
    found = {decide("VI-RADS", {"structural": t2}).category for t2 in SCORES}
    assert found == set(systems()["VI-RADS"].answers)


@pytest.mark.parametrize(
    "features",
    [
        {},
        {"stalk": True},
        {"diffusion": 4},
        SESSILE | {"size": 12, "stalk": True},
        {"structural": 2, "muscle": "interrupted"},
        {"structural": 4, "muscle": "extravesical"},
        {"structural": 6},
        {"structural": "zork"},
        {"size": -7.25},
        {"size": 0},
        {"size": float("inf")},
        {"size": 12, "muscle": "zork"},
        {"size": 12, "colour": "zork"},
        "zork",
        None,
    ],
)
def test_nonsense_is_refused_without_repeating_it(features: Any) -> None:
    with pytest.raises(UserError) as refused:
        decide("VI-RADS", features)
    assert not any(word in str(refused.value) for word in ("zork", "7.25"))


@settings(deadline=None)
@given(st.builds(Tumor))
def test_every_record_has_a_category_or_a_reason_to_be_refused(tumor: Tumor) -> None:
    try:
        assert vi_rads.decide(tumor).category in systems()["VI-RADS"].answers
    except UserError as refused:
        assert any(word in str(refused) for word in ("size", "stalk", "muscle"))
