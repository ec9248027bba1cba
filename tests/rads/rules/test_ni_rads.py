"""NI-RADS: the descriptors of the white paper of 2018, for the primary site and the neck."""

from typing import Any

import pytest

from radlite.errors import UserError
from radlite.rads import systems
from radlite.rads.rules import decide

CLEAR = {"finding": "expected change"}
NORMAL = {"finding": "normal"}
PRIMARY = [
    ({"finding": "expected change"}, "1"), ({"finding": "expected change", "uptake": "none"}, "1"),
    ({"finding": "expected change", "uptake": "mild"}, "1"),
    ({"finding": "mucosal abnormality"}, "2a"), ({"finding": "mucosal abnormality", "uptake": "mild"}, "2a"),
    ({"finding": "mucosal abnormality", "uptake": "intense"}, "3"),
    ({"finding": "ill-defined tissue"}, "2b"), ({"finding": "ill-defined tissue", "uptake": "mild"}, "2b"),
    ({"finding": "ill-defined tissue", "uptake": "intense"}, "3"),
    ({"finding": "discrete mass"}, "2b"), ({"finding": "discrete mass", "progressing": True}, "3"),
    ({"finding": "discrete mass", "intense_enhancement": True}, "3"),
    ({"finding": "discrete mass", "progressing": True, "uptake": "none"}, "2b"),
    ({"finding": "discrete mass", "progressing": True, "uptake": "mild"}, "2b"),
    ({"finding": "discrete mass", "uptake": "intense"}, "3"),
    ({"finding": "discrete mass", "recurrence": True}, "4"), ({"recurrence": True, "assessable": False}, "4"),
    ({"assessable": False}, "X"),
]  # fmt: skip
NECK = [
    ({"finding": "normal"}, "1"), ({"finding": "normal", "uptake": "none"}, "1"),
    ({"finding": "residual", "uptake": "none"}, "1"), ({"finding": "residual"}, "2"),
    ({"finding": "residual", "uptake": "mild"}, "2"), ({"finding": "residual", "uptake": "intense"}, "3"),
    ({"finding": "residual", "abnormal": True}, "3"),
    ({"finding": "residual", "abnormal": True, "uptake": "none"}, "2"),
    ({"finding": "enlarging"}, "2"), ({"finding": "enlarging", "uptake": "none"}, "2"),
    ({"finding": "enlarging", "uptake": "mild"}, "2"), ({"finding": "enlarging", "uptake": "intense"}, "3"),
    ({"finding": "enlarging", "abnormal": True}, "3"),
    ({"finding": "enlarging", "abnormal": True, "uptake": "mild"}, "2"),
    ({"finding": "enlarging", "abnormal": True, "uptake": "intense"}, "3"),
    ({"recurrence": True}, "4"), ({"assessable": False}, "X"),
]  # fmt: skip


@pytest.mark.parametrize(("primary", "category"), PRIMARY)
def test_the_primary_site_is_judged_by_depth_mass_and_uptake(primary: dict[str, Any], category: str) -> None:
    ruling = decide("NI-RADS", {"primary": primary, "neck": NORMAL})
    assert ruling.category == f"NI-RADS primary {category}, neck 1"
    assert ruling.rule.startswith(f"Primary {category}: ")


@pytest.mark.parametrize(("neck", "category"), NECK)
def test_the_neck_is_judged_by_growth_necrosis_and_uptake(neck: dict[str, Any], category: str) -> None:
    ruling = decide("NI-RADS", {"primary": CLEAR, "neck": neck})
    assert ruling.category == f"NI-RADS primary 1, neck {category}"
    assert f"Neck {category}: " in ruling.rule


def test_awaited_priors_make_0_of_both_sites_but_not_of_a_proven_recurrence() -> None:
    sites = {"primary": {"finding": "discrete mass"}, "neck": NORMAL, "priors_awaited": True}
    assert decide("NI-RADS", sites).category == "NI-RADS primary 0, neck 0"
    assert decide("NI-RADS", sites | {"neck": {"recurrence": True}}).category == "NI-RADS primary 0, neck 4"


def test_every_pair_of_categories_is_given() -> None:
    given = {
        decide("NI-RADS", {"primary": primary, "neck": neck, "priors_awaited": awaited}).category
        for primary, _ in PRIMARY
        for neck, _ in NECK
        for awaited in (False, True)
    }
    apart = {
        tuple(code.removeprefix("NI-RADS primary ").split(", neck ")) for code in systems()["NI-RADS"].answers
    }  # fmt: skip
    # Awaited priors are awaited for both sites: a final category of one excludes 0 of the other.
    possible = {pair for pair in apart if pair.count("0") != 1 or set(pair) & {"4", "X"}}
    assert given == {f"NI-RADS primary {primary}, neck {neck}" for primary, neck in possible}


@pytest.mark.parametrize(
    "features",
    [
        {},
        {"primary": CLEAR},
        {"primary": {}, "neck": NORMAL},
        {"primary": CLEAR, "neck": {}},
        {"primary": CLEAR | {"uptake": "intense"}, "neck": NORMAL},
        {"primary": CLEAR | {"progressing": True}, "neck": NORMAL},
        {"primary": CLEAR, "neck": NORMAL | {"uptake": "mild"}},
        {"primary": CLEAR, "neck": NORMAL | {"abnormal": True}},
        {"primary": CLEAR, "neck": {"finding": "zork"}},
        {"primary": CLEAR, "neck": NORMAL, "colour": "zork"},
        {"primary": CLEAR | {"size": -7.25}, "neck": NORMAL},
        {"primary": "zork", "neck": NORMAL},
        7.25,
    ],
)
def test_nonsense_is_refused_without_repeating_it(features: Any) -> None:
    with pytest.raises(UserError) as refused:
        decide("NI-RADS", features)
    assert not any(word in str(refused.value) for word in ("zork", "7.25"))
