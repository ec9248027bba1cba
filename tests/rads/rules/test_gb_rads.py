"""GB-RADS: the rows of the consensus table of 2022."""

from typing import Any

import pytest

from radlite.errors import UserError
from radlite.rads import NO_RADS, systems
from radlite.rads.rules import decide

ROUND, UNEVEN, FOCAL = "symmetric circumferential", "asymmetric circumferential", "focal"

# (extent, layered, intramural, interface) to level, of a wall of 8 mm.
THICKENED = [
    (ROUND, True, True, "preserved", 2), (ROUND, True, False, "preserved", 2), (ROUND, False, True, "preserved", 2),
    (ROUND, False, False, "preserved", 3), (UNEVEN, True, True, "preserved", 3), (UNEVEN, False, False, "preserved", 3),
    (FOCAL, True, False, "preserved", 3), (FOCAL, False, True, "preserved", 3), (FOCAL, True, True, "preserved", 3),
    (FOCAL, False, False, "preserved", 4),
    (ROUND, False, False, "indistinct", 4), (FOCAL, False, False, "indistinct", 4),
    (ROUND, True, False, "indistinct", 4),
    (ROUND, False, False, "invaded", 5), (FOCAL, False, False, "invaded", 5),
]  # fmt: skip


@pytest.mark.parametrize(("extent", "layered", "intramural", "interface", "level"), THICKENED)
def test_a_thick_wall_is_judged_by_interface_extent_layers_and_intramural_features(
    extent: str, layered: bool, intramural: bool, interface: str, level: int
) -> None:
    facts = {"extent": extent, "layered": layered, "intramural": intramural, "interface": interface}
    assert decide("GB-RADS", {"wall": 8, **facts}).category == f"GB-RADS {level}"


def test_a_wall_is_normal_up_to_3_mm() -> None:
    assert decide("GB-RADS", {"wall": 3, "extent": "focal"}).category == "GB-RADS 1"
    assert decide("GB-RADS", {"wall": 3.1, "layered": True}).category == "GB-RADS 2"


def test_a_wall_that_cannot_be_assessed_is_0_whatever_its_thickness() -> None:
    assert decide("GB-RADS", {"assessable": False}).category == "GB-RADS 0"
    assert decide("GB-RADS", {"assessable": False, "wall": 9, "interface": "invaded"}).category == "GB-RADS 0"


def test_the_system_is_not_used_in_acute_disease() -> None:
    assert decide("GB-RADS", {"wall": 9, "acute": True}).category == NO_RADS


def test_every_category_is_given() -> None:
    given = {f"GB-RADS {row[-1]}" for row in THICKENED} | {"GB-RADS 0", "GB-RADS 1"}
    assert given == set(systems()["GB-RADS"].answers)


@pytest.mark.parametrize(
    "features",
    [
        {},
        {"wall": -7.25},
        {"wall": float("nan")},
        {"wall": float("inf")},
        {"wall": "zork"},
        {"wall": 8, "extent": "zork"},
        {"wall": 8, "colour": "zork"},
        {"wall": 2.75, "interface": "invaded"},
        {"wall": 2.75, "interface": "indistinct"},
        "zork",
        None,
    ],
)
def test_nonsense_is_refused_without_repeating_it(features: Any) -> None:
    with pytest.raises(UserError) as refused:
        decide("GB-RADS", features)
    assert not any(word in str(refused.value) for word in ("zork", "7.25", "2.75", "nan", "inf"))
