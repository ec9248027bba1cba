"""PI-RADS v2.1: the tables of both zones, with and without each sequence."""

import itertools
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from radlite.errors import UserError
from radlite.rads import systems
from radlite.rads.rules import decide, pi_rads
from radlite.rads.rules.pi_rads import DIFFUSION, T2, Lesion

PERIPHERAL, TRANSITION = {"zone": "peripheral"}, {"zone": "transition"}
SCORES = range(1, 6)


def score(features: dict[str, Any]) -> int:
    return int(decide("PI-RADS", features).category.removeprefix("PI-RADS "))


@pytest.mark.parametrize("enhancement", [True, False, None])
@pytest.mark.parametrize("diffusion", SCORES)
def test_diffusion_decides_in_the_peripheral_zone_and_early_enhancement_lifts_only_a_3(
    diffusion: int, enhancement: bool | None
) -> None:
    expected = 4 if diffusion == 3 and enhancement else diffusion
    for t2 in (None, *SCORES):
        features = PERIPHERAL | {"diffusion": diffusion, "early_enhancement": enhancement, "t2": t2}
        assert score(features) == expected


@pytest.mark.parametrize("enhancement", [True, False, None])
@pytest.mark.parametrize("t2", SCORES)
def test_t2_stands_in_for_inadequate_diffusion_in_the_peripheral_zone(t2: int, enhancement: bool | None) -> None:
    expected = 4 if t2 == 3 and enhancement else t2
    assert score(PERIPHERAL | {"t2": t2, "early_enhancement": enhancement}) == expected


def test_t2_decides_in_the_transition_zone_and_diffusion_lifts_2_and_3() -> None:
    given_scores = {
        (t2, diffusion): score(TRANSITION | {"t2": t2, "diffusion": diffusion, "early_enhancement": enhancement})
        for t2, diffusion, enhancement in itertools.product(SCORES, SCORES, (True, False, None))
    }
    lifted = {key: value for key, value in given_scores.items() if value != key[0]}
    assert lifted == {(2, 4): 3, (2, 5): 3, (3, 5): 4}


@pytest.mark.parametrize("t2", SCORES)
def test_t2_alone_decides_in_the_transition_zone_without_diffusion(t2: int) -> None:
    assert score(TRANSITION | {"t2": t2, "early_enhancement": True}) == t2


def test_without_the_sequence_that_decides_the_category_is_x() -> None:
    assert decide("PI-RADS", PERIPHERAL | {"early_enhancement": True}).category == "PI-RADS X"
    assert decide("PI-RADS", TRANSITION | {"diffusion": 4}).category == "PI-RADS X"


@pytest.mark.parametrize(("zone", "t2"), [(zone, look) for zone in T2 for look in T2[zone]])
def test_every_t2_appearance_has_its_score_in_its_own_zone_only(zone: str, t2: str) -> None:
    assert score({"zone": zone, "t2": t2, "size": 10}) == T2[zone][t2]
    other = next(one for one in T2 if one != zone)
    with pytest.raises(UserError, match="other zone"):
        decide("PI-RADS", {"zone": other, "t2": t2, "size": 10})


def test_appearances_of_diffusion_have_the_scores_1_to_4() -> None:
    assert [score(PERIPHERAL | {"diffusion": look, "size": 10}) for look in DIFFUSION] == [1, 2, 3, 4]


@pytest.mark.parametrize(
    "marked", [PERIPHERAL | {"diffusion": "focal and marked"}, PERIPHERAL | {"t2": "circumscribed and homogeneous"},
               TRANSITION | {"t2": "lenticular or not circumscribed, homogeneous"}]
)  # fmt: skip
def test_a_marked_lesion_is_5_from_15_mm_or_with_extension(marked: dict[str, Any]) -> None:
    assert [score(marked | {"size": size}) for size in (14.9, 15)] == [4, 5]
    assert score(marked | {"size": 8, "extension": True}) == 5
    assert score(marked | {"extension": True}) == 5


def test_size_and_extension_lift_no_lower_score() -> None:
    assert score(PERIPHERAL | {"diffusion": "focal", "size": 30, "extension": True}) == 3


def test_marked_diffusion_of_an_atypical_nodule_counts_by_its_size() -> None:
    obscured = TRANSITION | {"t2": "heterogeneous with obscured margins", "diffusion": "focal and marked"}
    assert [score(obscured | {"size": size}) for size in (14.9, 15)] == [3, 4]


def test_every_category_is_given() -> None:
    found = {decide("PI-RADS", PERIPHERAL | {"diffusion": diffusion}).category for diffusion in (None, *SCORES)}
    assert found == set(systems()["PI-RADS"].answers)


@pytest.mark.parametrize(
    "features",
    [
        {},
        {"zone": "zork"},
        PERIPHERAL | {"diffusion": "focal and marked"},
        PERIPHERAL | {"diffusion": 4, "size": 17.25},
        PERIPHERAL | {"diffusion": 5, "size": 7.25},
        PERIPHERAL | {"diffusion": 4, "extension": True},
        TRANSITION | {"t2": 5, "size": 7.25},
        PERIPHERAL | {"diffusion": 6},
        PERIPHERAL | {"diffusion": 0},
        PERIPHERAL | {"diffusion": "zork"},
        PERIPHERAL | {"diffusion": 3, "size": -7.25},
        PERIPHERAL | {"diffusion": 3, "size": float("nan")},
        PERIPHERAL | {"diffusion": 3, "colour": "zork"},
        "zork",
        None,
    ],
)
def test_nonsense_is_refused_without_repeating_it(features: Any) -> None:
    with pytest.raises(UserError) as refused:
        decide("PI-RADS", features)
    assert not any(word in str(refused.value) for word in ("zork", "7.25"))


def test_a_score_may_disagree_with_the_size_on_a_sequence_that_does_not_decide() -> None:
    # The size is measured on the sequence that decides.
    assert score(PERIPHERAL | {"diffusion": 5, "t2": 4, "size": 15}) == 5


@settings(deadline=None)
@given(st.builds(Lesion))
def test_every_record_has_a_category_or_a_reason_to_be_refused(lesion: Lesion) -> None:
    try:
        assert pi_rads.decide(lesion).category in systems()["PI-RADS"].answers
    except UserError as refused:
        assert any(word in str(refused) for word in ("zone", "size"))
