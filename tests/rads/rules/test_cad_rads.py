"""CAD-RADS 2.0: stenosis, amount of plaque and modifiers."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from radlite.errors import UserError
from radlite.rads import systems
from radlite.rads.rules import cad_rads, decide
from radlite.rads.rules.cad_rads import Coronaries

UNREADABLE = {"nondiagnostic": True}
STENOSES = [
    ({}, "0"),
    ({"lad": 0.5}, "1"),
    ({"lad": 1}, "1"),
    ({"lad": 24.9}, "1"),
    ({"circumflex": 25}, "2"),
    ({"left_main": 49.9, "lad": 49.9}, "2"),
    ({"circumflex": 50}, "3"),
    ({"right": 69.9}, "3"),
    ({"right": 70}, "4A"),
    ({"right": 99.9}, "4A"),
    ({"lad": 70, "circumflex": 70, "right": 69.9}, "4A"),
    ({"lad": 70, "circumflex": 70, "right": 70}, "4B"),
    ({"left_main": 50}, "4B"),
    ({"left_main": 99.9}, "4B"),
    ({"left_main": 100}, "5"),
    ({"left_main": 50, "right": 100}, "5"),
    ({"lad": 100, "circumflex": 70, "right": 70}, "5"),
    (UNREADABLE, "N"),
    (UNREADABLE | {"lad": 49.9}, "N"),
    (UNREADABLE | {"lad": 50}, "3"),
    (UNREADABLE | {"left_main": 50}, "4B"),
    (UNREADABLE | {"lad": 100}, "5"),
]


@pytest.mark.parametrize(("features", "expected"), STENOSES)
def test_the_category_is_that_of_the_greatest_stenosis(features: dict[str, Any], expected: str) -> None:
    ruling = decide("CAD-RADS", features)
    assert ruling.category == f"CAD-RADS {expected}"
    assert ("N" in ruling.modifiers) == (features.get("nondiagnostic", False) and expected != "N")


@pytest.mark.parametrize(
    "features",
    [{"plaque": True}, {"calcium_score": 1}, {"segment_involvement": 1}, {"amounts": ["mild", "none", "none"]},
     {"high_risk": ["napkin-ring sign"]}],
)  # fmt: skip
def test_plaque_without_stenosis_is_1(features: dict[str, Any]) -> None:
    assert decide("CAD-RADS", features).category == "CAD-RADS 1"


BURDENS = [
    ({"calcium_score": 0}, None),
    ({"calcium_score": 1}, "P1"),
    ({"calcium_score": 100}, "P1"),
    ({"calcium_score": 101}, "P2"),
    ({"calcium_score": 300}, "P2"),
    ({"calcium_score": 301}, "P3"),
    ({"calcium_score": 999}, "P3"),
    ({"calcium_score": 1000}, "P4"),
    ({"segment_involvement": 0}, None),
    ({"segment_involvement": 1}, "P1"),
    ({"segment_involvement": 2}, "P1"),
    ({"segment_involvement": 3}, "P2"),
    ({"segment_involvement": 4}, "P2"),
    ({"segment_involvement": 5}, "P3"),
    ({"segment_involvement": 7}, "P3"),
    ({"segment_involvement": 8}, "P4"),
    ({"segment_involvement": 16}, "P4"),
    ({"amounts": ["none", "none", "none"]}, None),
    ({"amounts": ["mild", "none", "none"]}, "P1"),
    ({"amounts": ["mild", "none", "mild"]}, "P1"),
    ({"amounts": ["mild", "mild", "mild"]}, "P2"),
    ({"amounts": ["none", "moderate", "none"]}, "P2"),
    ({"amounts": ["moderate", "moderate", "mild"]}, "P2"),
    ({"amounts": ["moderate", "moderate", "moderate"]}, "P3"),
    ({"amounts": ["none", "none", "severe"]}, "P3"),
    ({"amounts": ["severe", "moderate", "moderate"]}, "P3"),
    ({"amounts": ["severe", "severe", "none"]}, "P4"),
    ({"amounts": ["severe", "severe", "severe"]}, "P4"),
    ({"calcium_score": 0, "segment_involvement": 5}, "P3"),
    ({"calcium_score": 400, "segment_involvement": 2}, "P3"),
]


@pytest.mark.parametrize(("features", "expected"), BURDENS)
def test_plaque_is_graded_by_calcium_segments_or_eye_and_the_highest_counts(
    features: dict[str, Any], expected: str | None
) -> None:
    assert decide("CAD-RADS", features | {"lad": 30}).modifiers == ((expected,) if expected else ())


def test_modifiers_come_in_the_order_of_the_paper() -> None:
    everything = UNREADABLE | {
        "exception": True, "graft": True, "stent": True, "ischemia": "positive", "calcium_score": 150, "lad": 75,
        "high_risk": ["low attenuation", "spotty calcification"],
    }  # fmt: skip
    ruling = decide("CAD-RADS", everything)
    assert ruling.category == "CAD-RADS 4A"
    assert ruling.modifiers == ("P2", "N", "HRP", "I+", "S", "G", "E")


@pytest.mark.parametrize(("ischemia", "expected"), [("positive", "I+"), ("negative", "I-"), ("indeterminate", "I±")])
def test_ischemia_has_a_sign(ischemia: str, expected: str) -> None:
    assert decide("CAD-RADS", {"lad": 60, "ischemia": ischemia}).modifiers == (expected,)


def test_high_risk_plaque_needs_two_different_features() -> None:
    assert decide("CAD-RADS", {"lad": 60, "high_risk": ["low attenuation"]}).modifiers == ()
    assert decide("CAD-RADS", {"lad": 60, "high_risk": ["low attenuation"] * 2}).modifiers == ()
    assert decide("CAD-RADS", {"lad": 60, "high_risk": ["low attenuation", "positive remodeling"]}).modifiers == (
        "HRP",
    )


def test_modifiers_are_known_to_the_table_of_systems() -> None:
    known = set(systems()["CAD-RADS"].modifiers)
    assert {"P1", "P2", "P3", "P4", "N", "HRP", "I+", "I-", "I±", "S", "G", "E"} == known


def test_below_50_percent_the_amount_of_plaque_says_how_much_prevention() -> None:
    advice = [decide("CAD-RADS", {"lad": 30, "calcium_score": score}).advice for score in (0, 50, 200, 500, 1500)]
    assert advice[0] == ""
    assert [text.split()[0] for text in advice[1:]] == ["Consider", "Risk", "Aggressive", "Aggressive"]
    assert decide("CAD-RADS", {"lad": 50, "calcium_score": 500}).advice == ""


def test_every_category_is_given() -> None:
    assert {f"CAD-RADS {row[1]}" for row in STENOSES} == set(systems()["CAD-RADS"].answers)


@pytest.mark.parametrize(
    "features",
    [
        {"lad": 107.25},
        {"lad": -7.25},
        {"lad": float("nan")},
        {"lad": "zork"},
        {"colour": "zork"},
        {"calcium_score": -7.25},
        {"calcium_score": float("inf")},
        {"segment_involvement": 17},
        {"segment_involvement": 7.25},
        {"amounts": ["mild", "mild"]},
        {"amounts": ["mild", "mild", "zork"]},
        {"high_risk": ["zork"]},
        {"ischemia": "zork"},
        "zork",
        None,
    ],
)
def test_nonsense_is_refused_without_repeating_it(features: Any) -> None:
    with pytest.raises(UserError) as refused:
        decide("CAD-RADS", features)
    assert not any(word in str(refused.value) for word in ("zork", "7.25"))


@settings(deadline=None)
@given(st.builds(Coronaries))
def test_every_record_has_a_category(coronaries: Coronaries) -> None:
    ruling = cad_rads.decide(coronaries)
    assert ruling.category in systems()["CAD-RADS"].answers
    assert set(ruling.modifiers) <= set(systems()["CAD-RADS"].modifiers)
