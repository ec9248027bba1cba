"""ACR TI-RADS: points, levels and size gates of the white paper of 2017."""

from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from radlite.errors import UserError
from radlite.rads import systems
from radlite.rads.rules import decide
from radlite.rads.rules.ti_rads import Composition, Echogenicity, Focus, Margin, Nodule, Shape, points

PLAIN = {"composition": "cystic", "echogenicity": "anechoic", "shape": "wider than tall", "margin": "smooth"}
POINTS = [
    ("composition", "cystic", 0), ("composition", "mixed cystic and solid", 1),
    ("composition", "cannot be determined", 2),
    ("echogenicity", "anechoic", 0), ("echogenicity", "hyperechoic", 1), ("echogenicity", "isoechoic", 1),
    ("echogenicity", "cannot be determined", 1), ("echogenicity", "hypoechoic", 2),
    ("echogenicity", "very hypoechoic", 3),
    ("shape", "wider than tall", 0), ("shape", "taller than wide", 3),
    ("margin", "smooth", 0), ("margin", "ill-defined", 0), ("margin", "cannot be determined", 0),
    ("margin", "lobulated", 2), ("margin", "irregular", 2), ("margin", "extrathyroidal extension", 3),
    ("foci", (), 0), ("foci", ("large comet-tail artifacts",), 0), ("foci", ("macrocalcifications",), 1),
    ("foci", ("rim calcifications",), 2), ("foci", ("punctate echogenic foci",), 3),
    ("foci", ("macrocalcifications", "rim calcifications", "punctate echogenic foci"), 6),
    ("foci", ("macrocalcifications", "macrocalcifications"), 1),
]  # fmt: skip
SOLID = {"composition": "solid", "echogenicity": "isoechoic", "shape": "wider than tall", "margin": "smooth"}
# A nodule of each number of points around the boundaries.
TOTALS = {
    0: PLAIN,
    1: PLAIN | {"composition": "mixed cystic and solid"},
    2: PLAIN | {"margin": "lobulated"},
    3: SOLID,
    4: SOLID | {"echogenicity": "hypoechoic"},
    6: SOLID | {"echogenicity": "hypoechoic", "margin": "irregular"},
    7: SOLID | {"echogenicity": "very hypoechoic", "margin": "irregular"},
    17: SOLID | {
        "echogenicity": "very hypoechoic", "shape": "taller than wide", "margin": "extrathyroidal extension",
        "foci": ["punctate echogenic foci", "rim calcifications", "macrocalcifications"],
    },
}  # fmt: skip


@pytest.mark.parametrize(("field", "word", "expected"), POINTS)
def test_each_word_of_the_lexicon_has_its_points(field: str, word: Any, expected: int) -> None:
    assert points(Nodule(**(PLAIN | {field: word}))) == expected
    assert points(Nodule(**(PLAIN | {"composition": "spongiform", field: word}))) == (
        expected if field == "composition" else 0
    )


def test_a_solid_nodule_has_two_points_for_its_composition() -> None:
    assert points(Nodule("solid", "hypoechoic", "wider than tall", "smooth")) == 2 + 2


@pytest.mark.parametrize(
    ("total", "level"), [(0, 1), (1, 1), (2, 2), (3, 3), (4, 4), (6, 4), (7, 5), (17, 5)]
)  # fmt: skip
def test_levels_change_at_2_3_4_and_7_points(total: int, level: int) -> None:
    ruling = decide("TI-RADS", TOTALS[total])
    assert ruling.category == f"TI-RADS {level}"
    assert ruling.rule.startswith(f"{total} point")


def test_one_point_has_no_level_in_the_paper_and_the_rule_says_so() -> None:
    assert "no level" in decide("TI-RADS", TOTALS[1]).rule


def test_a_spongiform_nodule_is_1_whatever_else_it_has() -> None:
    worst = TOTALS[17] | {"composition": "spongiform"}
    assert decide("TI-RADS", worst).category == "TI-RADS 1"


@pytest.mark.parametrize(
    ("total", "size", "words"),
    [
        (3, 25, "Fine-needle aspiration: 25 mm"), (3, 24.9, "after 1, 3 and 5 years"),
        (3, 15, "after 1, 3 and 5 years"),
        (3, 14.9, "No aspiration or follow-up"),
        (4, 15, "Fine-needle aspiration: 15 mm"), (4, 14.9, "after 1, 2, 3 and 5 years"),
        (4, 10, "after 1, 2, 3 and 5 years"), (4, 9.9, "No aspiration or follow-up"),
        (7, 10, "Fine-needle aspiration: 10 mm"), (7, 9.9, "each year for 5 years"), (7, 5, "each year for 5 years"),
        (7, 4.9, "No aspiration or follow-up"),
    ],
)  # fmt: skip
def test_size_gates_aspiration_and_follow_up_and_nothing_else(total: int, size: float, words: str) -> None:
    ruling, sizeless = (decide("TI-RADS", TOTALS[total] | extra) for extra in ({"size": size}, {}))
    assert words in ruling.advice
    assert (ruling.category, ruling.rule) == (sizeless.category, sizeless.rule)
    assert "no size is given" in sizeless.advice


def test_levels_1_and_2_need_nothing_at_any_size() -> None:
    assert [decide("TI-RADS", TOTALS[total] | {"size": 80}).advice for total in (0, 2)] == ["", ""]


@settings(deadline=None)
@given(
    st.builds(
        Nodule,
        *(st.sampled_from(get_args(words)) for words in (Composition, Echogenicity, Shape, Margin)),
        st.lists(st.sampled_from(get_args(Focus))).map(tuple),
    ).filter(lambda nodule: (nodule.composition, nodule.echogenicity) != ("solid", "anechoic"))
)
def test_every_nodule_has_a_level_of_its_points(nodule: Nodule) -> None:
    total = points(nodule)
    expected = max(level for level, least in ((1, 0), (2, 2), (3, 3), (4, 4), (5, 7)) if total >= least)
    assert decide("TI-RADS", nodule).category == f"TI-RADS {expected}"


def test_every_category_is_given() -> None:
    given = {decide("TI-RADS", nodule).category for nodule in TOTALS.values()}
    assert given == set(systems()["TI-RADS"].answers)


@pytest.mark.parametrize(
    "features",
    [
        {},
        SOLID | {"echogenicity": "anechoic"},
        SOLID | {"size": -7.25},
        SOLID | {"size": 0},
        SOLID | {"size": float("inf")},
        SOLID | {"margin": "zork"},
        SOLID | {"foci": ["zork"]},
        SOLID | {"foci": "zork"},
        SOLID | {"colour": "zork"},
        {name: word for name, word in SOLID.items() if name != "shape"},
        ["zork"],
    ],
)
def test_nonsense_is_refused_without_repeating_it(features: Any) -> None:
    with pytest.raises(UserError) as refused:
        decide("TI-RADS", features)
    assert not any(word in str(refused.value) for word in ("zork", "7.25"))
