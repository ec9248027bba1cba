"""LI-RADS: the tables of CT/MRI v2018 and CEUS v2017, treatment response and surveillance v2024."""

import itertools
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from radlite.errors import UserError
from radlite.rads import NO_RADS, systems
from radlite.rads.rules import decide
from radlite.rads.rules.li_rads import Nodule, Nonradiation, Observation, Radiation, Surveillance

CT = {"study": "CT/MRI", "risk": "cirrhosis"}
APHE = CT | {"hyperenhancement": True}
CEUS = {"study": "CEUS", "risk": "cirrhosis"}
US = {"study": "ultrasound", "risk": "cirrhosis"}
FURTHER = ("washout", "capsule", "growth")


def category(features: dict[str, Any]) -> str:
    return decide("LI-RADS", features).category


# (hyperenhancement, sizes, category with 0, 1, 2 and 3 of washout, capsule, growth); one cell is tested below.
TABLE = [
    (False, (1, 9.9, 10, 19.9), ("LR-3", "LR-3", "LR-4", "LR-4")),
    (False, (20, 80), ("LR-3", "LR-4", "LR-4", "LR-4")),
    (True, (1, 9.9), ("LR-3", "LR-4", "LR-4", "LR-4")),
    (True, (10, 19.9), ("LR-3", None, "LR-5", "LR-5")),
    (True, (20, 80), ("LR-4", "LR-5", "LR-5", "LR-5")),
]


@pytest.mark.parametrize(("hyperenhancement", "sizes", "row"), TABLE)
def test_ct_and_mri_follow_the_diagnostic_table(
    hyperenhancement: bool, sizes: tuple[float, ...], row: tuple[str | None, ...]
) -> None:
    for size, flags in itertools.product(sizes, itertools.product((False, True), repeat=3)):
        features = CT | {"hyperenhancement": hyperenhancement, "size": size} | dict(zip(FURTHER, flags, strict=True))
        expected = row[sum(flags)]
        if expected is not None:
            assert category(features) == expected


@pytest.mark.parametrize("size", [10, 19.9])
def test_from_10_to_19_mm_one_more_feature_is_lr_5_unless_it_is_the_capsule(size: float) -> None:
    assert category(APHE | {"size": size, "washout": True}) == "LR-5"
    assert category(APHE | {"size": size, "growth": True}) == "LR-5"
    assert category(APHE | {"size": size, "capsule": True}) == "LR-4"
    assert "capsule alone" in decide("LI-RADS", APHE | {"size": size, "capsule": True}).rule


def test_the_algorithm_asks_in_the_published_order() -> None:
    asked = [
        ({"evaluable": False}, "LR-NC"),
        ({"tumor_in_vein": True}, "LR-TIV"),
        ({"appearance": "definitely benign"}, "LR-1"),
        ({"appearance": "probably benign"}, "LR-2"),
        ({"appearance": "targetoid"}, "LR-M"),
        ({}, "LR-5"),
    ]
    major = APHE | {"size": 25, "washout": True}
    for number, (_, expected) in enumerate(asked):
        later: dict[str, Any] = {}
        for features, _ in reversed(asked[number:]):
            later |= features
        assert category(major | later) == expected


def test_a_distinctive_nodule_is_lr_2_under_20_mm_and_without_feature_of_malignancy() -> None:
    nodule = CT | {"appearance": "distinctive nodule"}
    assert category(nodule | {"size": 19.9}) == "LR-2"
    assert category(nodule | {"size": 20}) == "LR-3"
    assert category(nodule | {"size": 12, "hyperenhancement": True}) == "LR-3"
    assert category(nodule | {"size": 12, "capsule": True}) == "LR-3"
    assert category(nodule | {"size": 12, "malignant_ancillary": True}) == "LR-4"


def test_what_is_not_targetoid_is_lr_m_unless_it_meets_lr_5() -> None:
    mass = APHE | {"appearance": "malignant, not HCC", "size": 20}
    assert category(mass) == "LR-M"
    assert category(mass | {"washout": True}) == "LR-5"


ANCILLARY = [
    (CT | {"appearance": "definitely benign"}, "LR-1", "LR-2", "LR-1"),
    (CT | {"appearance": "probably benign"}, "LR-2", "LR-3", "LR-1"),
    (CT | {"size": 12}, "LR-3", "LR-4", "LR-2"),
    (APHE | {"size": 20}, "LR-4", "LR-4", "LR-3"),
    (APHE | {"size": 20, "washout": True}, "LR-5", "LR-5", "LR-4"),
    (CT | {"appearance": "targetoid"}, "LR-M", "LR-M", "LR-M"),
    (CT | {"tumor_in_vein": True}, "LR-TIV", "LR-TIV", "LR-TIV"),
    (CT | {"evaluable": False}, "LR-NC", "LR-NC", "LR-NC"),
    (CEUS | {"size": 12, "arterial": "hyperenhancement"}, "LR-4", "LR-4", "LR-3"),
    (CEUS | {"size": 12}, "LR-3", "LR-4", "LR-2"),
]


@pytest.mark.parametrize(("features", "alone", "up", "down"), ANCILLARY)
def test_ancillary_features_move_by_one_and_up_to_lr_4_at_most(
    features: dict[str, Any], alone: str, up: str, down: str
) -> None:
    assert category(features) == alone
    assert category(features | {"malignant_ancillary": True}) == up
    assert category(features | {"benign_ancillary": True}) == down
    assert category(features | {"malignant_ancillary": True, "benign_ancillary": True}) == alone


# (arterial phase, sizes, category without and with late and mild washout), CEUS v2017.
CONTRAST = [
    ("hypoenhancement", (5, 19.9), "LR-3", "LR-3"),
    ("hypoenhancement", (20, 60), "LR-3", "LR-4"),
    ("globular", (20,), "LR-3", "LR-4"),
    ("isoenhancement", (10, 19.9), "LR-3", "LR-3"),
    ("isoenhancement", (20,), "LR-3", "LR-4"),
    ("isoenhancement", (9.9,), "LR-2", "LR-3"),
    ("hyperenhancement", (5, 9.9), "LR-3", "LR-4"),
    ("hyperenhancement", (10, 19, 60), "LR-4", "LR-5"),
]


@pytest.mark.parametrize(("arterial", "sizes", "without", "late"), CONTRAST)
def test_contrast_ultrasound_follows_its_table(
    arterial: str, sizes: tuple[float, ...], without: str, late: str
) -> None:
    for size in sizes:
        features = CEUS | {"arterial": arterial, "size": size}
        assert category(features) == without
        assert category(features | {"washout": "late and mild"}) == late
        assert category(features | {"washout": "early"}) == "LR-M"
        assert category(features | {"washout": "marked"}) == "LR-M"


def test_rim_enhancement_on_contrast_ultrasound_is_lr_m_and_tumor_in_vein_goes_first() -> None:
    rim = CEUS | {"arterial": "rim"}
    assert category(rim) == "LR-M"
    assert category(rim | {"tumor_in_vein": True}) == "LR-TIV"
    assert category(rim | {"appearance": "definitely benign"}) == "LR-1"
    assert category(rim | {"appearance": "probably benign"}) == "LR-2"
    assert category(rim | {"evaluable": False}) == "LR-NC"


RESPONSE = [
    ("nonradiation", "none", "Nonviable", "Nonviable"),
    ("nonradiation", "uncertain", "Equivocal", "Viable"),
    ("nonradiation", "masslike", "Viable", "Viable"),
    ("radiation", "none", "Nonviable", "Nonviable"),
    ("radiation", "not larger", "Nonprogressing", "Viable"),
    ("radiation", "new or larger", "Viable", "Viable"),
]


@pytest.mark.parametrize(("study", "enhancement", "alone", "with_ancillary"), RESPONSE)
def test_masslike_enhancement_that_does_not_grow_is_tolerated_after_radiation_only(
    study: str, enhancement: str, alone: str, with_ancillary: str
) -> None:
    features = {"study": study, "enhancement": enhancement}
    assert category(features) == f"LR-TR {alone}"
    assert category(features | {"ancillary": True}) == f"LR-TR {with_ancillary}"
    assert category(features | {"evaluable": False}) == "LR-TR Nonevaluable"


SURVEILLANCE = [
    ({}, "US-1"),
    ({"observation": "definitely benign", "size": 30}, "US-1"),
    ({"observation": "definitely benign"}, "US-1"),
    ({"observation": "other", "size": 9.9}, "US-2"),
    ({"observation": "other", "size": 10}, "US-3"),
    ({"thrombus": True}, "US-3"),
    ({"observation": "definitely benign", "size": 30, "thrombus": True}, "US-3"),
]


@pytest.mark.parametrize(("features", "expected"), SURVEILLANCE)
def test_surveillance_is_positive_from_10_mm_or_with_new_thrombus(features: dict[str, Any], expected: str) -> None:
    assert category(US | features) == expected
    for visualization in "ABC":
        ruling = decide("LI-RADS", US | features | {"visualization": visualization})
        assert (ruling.category, ruling.modifiers) == (expected, (f"VIS-{visualization}",))


def test_poor_visualization_shortens_the_interval_of_a_negative_study_only() -> None:
    advice = {grade: decide("LI-RADS", US | {"visualization": grade}).advice for grade in "ABC"}
    assert advice["A"] == advice["B"] == decide("LI-RADS", US).advice == "Ultrasound in 6 months."
    assert "3 months" in advice["C"]
    assert decide("LI-RADS", US | {"thrombus": True, "visualization": "C"}).advice == ""


@pytest.mark.parametrize("study", [CT | {"size": 12}, CEUS | {"size": 12}, US])
def test_it_applies_to_adults_at_risk_only(study: dict[str, Any]) -> None:
    for risk in ("cirrhosis", "chronic hepatitis B", "hepatocellular carcinoma"):
        assert category(study | {"risk": risk, "age": 18}) != NO_RADS
    assert category(study | {"risk": "none"}) == NO_RADS
    assert category(study | {"age": 17.9}) == NO_RADS


@pytest.mark.parametrize("study", [CT | {"size": 12}, CEUS | {"size": 12}])
def test_diagnosis_leaves_out_vascular_and_congenital_causes_and_what_is_proven(study: dict[str, Any]) -> None:
    assert category(study | {"risk": "vascular cirrhosis"}) == NO_RADS
    assert category(study | {"risk": "congenital hepatic fibrosis"}) == NO_RADS
    assert category(study | {"proven": True}) == NO_RADS


def test_every_category_is_given() -> None:
    given_here = {row for _, _, cells in TABLE for row in cells if row} | {row[1] for row in ANCILLARY}
    given_here |= {f"LR-TR {row[2]}" for row in RESPONSE} | {row[1] for row in SURVEILLANCE} | {"LR-TR Nonevaluable"}
    assert given_here == set(systems()["LI-RADS"].answers)


@pytest.mark.parametrize(
    "features",
    [
        {},
        {"study": "zork"},
        {"study": "CT/MRI"},
        {"study": "CT/MRI", "risk": "zork"},
        CT,
        CT | {"appearance": "distinctive nodule"},
        CT | {"size": -7.25},
        CT | {"size": 0},
        CT | {"size": float("nan")},
        CT | {"size": float("inf")},
        CT | {"size": 12, "age": -7.25},
        CT | {"size": 12, "colour": "zork"},
        CT | {"size": 12, "washout": "zork"},
        CT | {"size": 12, "arterial": "rim"},
        CEUS,
        CEUS | {"size": 12, "washout": "zork"},
        CEUS | {"size": -7.25},
        US | {"observation": "other"},
        US | {"size": -7.25},
        US | {"visualization": "zork"},
        {"study": "radiation", "enhancement": "uncertain"},
        {"study": "nonradiation", "enhancement": "not larger"},
        "zork",
        None,
    ],
)
def test_nonsense_is_refused_without_repeating_it(features: Any) -> None:
    with pytest.raises(UserError) as refused:
        decide("LI-RADS", features)
    assert not any(word in str(refused.value) for word in ("zork", "7.25"))


@settings(deadline=None)
@given(st.from_type(Observation | Nodule | Nonradiation | Radiation | Surveillance))
def test_every_record_has_a_category_or_a_reason_to_be_refused(features: Any) -> None:
    from radlite.rads.rules import li_rads

    try:
        assert li_rads.decide(features).category in (*systems()["LI-RADS"].answers, NO_RADS)
    except UserError:
        assert features.size is None
