"""Lung-RADS v2022: every row of the table and both sides of each size."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from radlite.errors import UserError
from radlite.rads import systems
from radlite.rads.rules import decide, lung_rads
from radlite.rads.rules.lung_rads import Screening, growth


def category(features: dict[str, Any]) -> str:
    return decide("Lung-RADS", features).category.removeprefix("Lung-RADS ")


SOLID = [
    ("baseline", 5.9, "2"), ("baseline", 6, "3"), ("baseline", 7.9, "3"), ("baseline", 8, "4A"),
    ("baseline", 14.9, "4A"), ("baseline", 15, "4B"),
    ("new", 3.9, "2"), ("new", 4, "3"), ("new", 5.9, "3"), ("new", 6, "4A"), ("new", 7.9, "4A"), ("new", 8, "4B"),
    ("growing", 3, "4A"), ("growing", 7.9, "4A"), ("growing", 8, "4B"),
    ("slowly growing", 3, "4B"), ("slowly growing", 20, "4B"),
    ("stable", 5.9, "2"), ("stable", 6, "2"), ("stable", 7.9, "2"), ("stable", 8, "3"), ("stable", 14.9, "3"),
    ("stable", 15, "4B"),
]  # fmt: skip


@pytest.mark.parametrize(("course", "size", "expected"), SOLID)
def test_a_solid_nodule_goes_by_size_and_course(course: str, size: float, expected: str) -> None:
    assert category({"kind": "solid", "size": size, "course": course}) == expected


PART_SOLID = [
    ("baseline", 5.9, 5, "2"), ("baseline", 6, 5.9, "3"), ("baseline", 30, 5.9, "3"), ("baseline", 9, 6, "4A"),
    ("baseline", 9, 7.9, "4A"), ("baseline", 9, 8, "4B"),
    ("new", 5.9, 3.9, "3"), ("new", 6, 3.9, "4A"), ("new", 9, 4, "4B"), ("new", 5.9, 4, "4B"),
    ("growing", 5.9, 3.9, "4A"), ("growing", 6, 3.9, "4A"), ("growing", 9, 4, "4B"),
    ("slowly growing", 5.9, 2, "4B"),
    ("stable", 5.9, 5, "2"), ("stable", 6, 5.9, "2"), ("stable", 9, 6, "3"), ("stable", 9, 8, "4B"),
]  # fmt: skip


@pytest.mark.parametrize(("course", "size", "core", "expected"), PART_SOLID)
def test_a_part_solid_nodule_goes_by_its_solid_component(course: str, size: float, core: float, expected: str) -> None:
    assert category({"kind": "part-solid", "size": size, "core": core, "course": course}) == expected


GROUND_GLASS = [
    ("baseline", 29.9, "2"), ("new", 29.9, "2"), ("growing", 29.9, "2"), ("stable", 29.9, "2"),
    ("slowly growing", 29.9, "2"),
    ("baseline", 30, "3"), ("new", 30, "3"), ("growing", 30, "3"), ("stable", 30, "2"), ("slowly growing", 30, "2"),
]  # fmt: skip


@pytest.mark.parametrize(("course", "size", "expected"), GROUND_GLASS)
def test_a_ground_glass_nodule_is_2_below_30_mm_or_if_it_hardly_changes(
    course: str, size: float, expected: str
) -> None:
    assert category({"kind": "ground-glass", "size": size, "course": course}) == expected


JUXTAPLEURAL = [
    ("baseline", 9.9, "2"), ("new", 9.9, "2"), ("stable", 9.9, "2"), ("baseline", 10, "4A"), ("new", 10, "4B"),
    ("growing", 7.9, "4A"), ("growing", 9.9, "4B"),
]  # fmt: skip


@pytest.mark.parametrize(("course", "size", "expected"), JUXTAPLEURAL)
def test_a_juxtapleural_nodule_is_2_below_10_mm_unless_it_grows(course: str, size: float, expected: str) -> None:
    assert category({"kind": "solid", "juxtapleural": True, "size": size, "course": course}) == expected


AIRWAY_OR_CYST = [
    ("subsegmental airway", "baseline", "2"), ("subsegmental airway", "new", "2"),
    ("subsegmental airway", "stable", "2"),
    ("proximal airway", "baseline", "4A"), ("proximal airway", "new", "4A"), ("proximal airway", "stable", "4B"),
    ("proximal airway", "growing", "4B"), ("proximal airway", "slowly growing", "4B"),
    ("thin-walled cyst", "baseline", "1"), ("thin-walled cyst", "stable", "1"), ("thin-walled cyst", "growing", "1"),
    ("thick-walled cyst", "baseline", "4A"), ("thick-walled cyst", "growing", "3"),
    ("thick-walled cyst", "thicker wall", "4B"), ("thick-walled cyst", "stable", "3"),
    ("multilocular cyst", "baseline", "4A"), ("multilocular cyst", "now multilocular", "4A"),
    ("multilocular cyst", "growing", "4B"), ("multilocular cyst", "denser or more locules", "4B"),
    ("multilocular cyst", "stable", "3"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "course", "expected"), AIRWAY_OR_CYST)
def test_airway_nodules_and_cysts_go_by_kind_and_course(kind: str, course: str, expected: str) -> None:
    assert category({"kind": kind, "course": course}) == expected


def test_without_nodule_or_with_a_benign_one_it_is_1() -> None:
    assert category({}) == "1"
    assert category({"kind": "benign", "size": 18}) == "1"
    assert category({"kind": "benign", "size": 18, "suspicious": True}) == "1"


@pytest.mark.parametrize("reason", ["prior awaited", "not evaluable", "infection"])
def test_an_incomplete_study_is_0_whatever_else_is_seen(reason: str) -> None:
    found = {
        decide("Lung-RADS", nodule | {"incomplete": reason})
        for nodule in ({}, {"kind": "solid", "size": 20, "suspicious": True}, {"kind": "solid"})
    }
    assert {ruling.category for ruling in found} == {"Lung-RADS 0"}
    assert len(found) == 1


def test_stepped_management_asks_for_the_interval_of_the_earlier_category() -> None:
    nodule = {"kind": "solid", "size": 7, "course": "stable"}
    assert category(nodule | {"months": 6}) == "2"
    assert category(nodule | {"months": 5.9}) == "3"
    assert category(nodule | {"previous": "4A", "months": 3}) == "3"
    assert category(nodule | {"previous": "4A", "months": 2.9}) == "4A"
    assert category(nodule | {"previous": "3"}) == "2"
    assert category(nodule | {"previous": "2"}) == "2"
    assert category(nodule | {"previous": "4B"}) == "4B"


def test_what_was_shown_to_be_benign_is_2() -> None:
    assert category({"kind": "solid", "size": 20, "proven_benign": True}) == "2"
    assert category({"kind": "solid", "size": 20, "proven_benign": True, "suspicious": True}) == "2"


def test_suspicious_features_lift_3_and_4_only() -> None:
    for size, alone, lifted in ((5, "2", "2"), (6, "3", "4X"), (8, "4A", "4X"), (15, "4B", "4X")):
        assert category({"kind": "solid", "size": size}) == alone
        assert category({"kind": "solid", "size": size, "suspicious": True}) == lifted


def test_growth_is_more_than_1_5_mm_within_12_months() -> None:
    assert [growth(size, 6, 12) for size in (4, 7.5, 7.6)] == ["stable", "stable", "growing"]
    assert growth(7.6, 6, 3) == "growing"
    assert growth(7.6, 6, 24) == "slowly growing"
    assert growth(9.1, 6, 24) == "growing"
    # The difference counts to one decimal: 7.6 - 6.1 is less than 1.5 in binary, 1.1 + 1.5 more than 2.6.
    assert [growth(7.6, 6.1, 12), growth(2.6, 1.1, 12)] == ["stable", "stable"]


def test_two_sizes_give_the_course() -> None:
    grown = {"kind": "solid", "size": 7.6, "earlier_size": 6, "months": 12}
    assert category(grown) == category(grown | {"course": "growing"}) == "4A"
    assert category(grown | {"earlier_size": 6.1}) == "2"
    assert category(grown | {"earlier_size": 6.1, "months": 3}) == "3"
    assert category(grown | {"months": 24}) == "4B"


def test_diameters_count_to_one_decimal() -> None:
    assert [category({"kind": "solid", "size": size}) for size in (5.94, 5.96)] == ["2", "3"]
    assert [category({"kind": "part-solid", "size": 9, "core": core}) for core in (5.94, 5.96)] == ["3", "4A"]


def test_significant_other_findings_add_s_to_any_category() -> None:
    for features in ({}, {"incomplete": "infection"}, {"kind": "solid", "size": 9}):
        plain, marked = (decide("Lung-RADS", features | {"significant": flag}) for flag in (False, True))
        assert (plain.category, plain.modifiers, marked.modifiers) == (marked.category, (), ("S",))


def test_pet_is_advised_from_a_solid_part_of_8_mm() -> None:
    part_solid = {"kind": "part-solid", "size": 12}
    assert "PET" not in decide("Lung-RADS", part_solid | {"core": 7.9}).advice
    assert "PET" in decide("Lung-RADS", part_solid | {"core": 8}).advice
    assert "PET" in decide("Lung-RADS", {"kind": "solid", "size": 8}).advice
    assert "PET" not in decide("Lung-RADS", {"kind": "solid", "size": 7.9, "course": "new"}).advice
    assert decide("Lung-RADS", {"kind": "solid", "size": 7}).advice == ""


def test_every_category_is_given() -> None:
    found = {f"Lung-RADS {row[-1]}" for row in (*SOLID, *AIRWAY_OR_CYST)} | {"Lung-RADS 0", "Lung-RADS 4X"}
    assert found == set(systems()["Lung-RADS"].answers)


@pytest.mark.parametrize(
    "features",
    [
        {"kind": "zork"},
        {"kind": "solid"},
        {"kind": "solid", "size": -7.25},
        {"kind": "solid", "size": 0},
        {"kind": "solid", "size": float("nan")},
        {"kind": "solid", "size": float("inf")},
        {"kind": "solid", "size": 12, "core": 7.25},
        {"kind": "solid", "size": 12, "colour": "zork"},
        {"kind": "solid", "size": 12, "course": "zork"},
        {"kind": "solid", "size": 12, "course": "now multilocular"},
        {"kind": "part-solid", "size": 12},
        {"kind": "part-solid", "size": 7.25, "core": 7.5},
        {"kind": "ground-glass", "size": 12, "juxtapleural": True},
        {"kind": "subsegmental airway", "course": "growing"},
        {"kind": "thin-walled cyst", "course": "now multilocular"},
        {"kind": "proximal airway", "course": "thicker wall"},
        {"kind": "solid", "size": 12, "earlier_size": 7.25},
        {"kind": "proximal airway", "earlier_size": 7.25, "months": 6},
        {"kind": "solid", "size": 12, "earlier_size": 7.25, "months": 6, "course": "stable"},
        {"kind": "solid", "size": 12, "course": "stable", "months": -7.25},
        {"incomplete": "zork"},
        "zork",
        None,
    ],
)
def test_nonsense_is_refused_without_repeating_it(features: Any) -> None:
    with pytest.raises(UserError) as refused:
        decide("Lung-RADS", features)
    assert not any(word in str(refused.value) for word in ("zork", "7.25"))


@settings(deadline=None)
@given(st.builds(Screening))
def test_every_record_has_a_category_or_a_reason_to_be_refused(screening: Screening) -> None:
    try:
        assert lung_rads.decide(screening).category in systems()["Lung-RADS"].answers
    except UserError as refused:
        assert any(word in str(refused) for word in ("size", "solid", "course"))
