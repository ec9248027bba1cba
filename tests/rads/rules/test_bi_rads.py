"""BI-RADS: where the lexicon decides, by study."""

import itertools
from typing import Any

import pytest

from radlite.errors import UserError
from radlite.rads import systems
from radlite.rads.rules import decide


def mammogram(finding: str | None, **facts: Any) -> dict[str, Any]:
    return {"study": "mammography", "finding": finding, **facts}


def mass(shape: str, margin: str, density: str | None = None, **facts: Any) -> dict[str, Any]:
    return mammogram("mass", shape=shape, margin=margin, density=density, **facts)


def calcifications(morphology: str, distribution: str | None = None, **facts: Any) -> dict[str, Any]:
    return mammogram("calcifications", morphology=morphology, distribution=distribution, **facts)


def us(finding: str | None, **facts: Any) -> dict[str, Any]:
    return {"study": "ultrasound", "finding": finding, **facts}


def us_mass(shape: str, margin: str, parallel: bool, **facts: Any) -> dict[str, Any]:
    return us("mass", shape=shape, margin=margin, parallel=parallel, **facts)


def mri(finding: str | None, **facts: Any) -> dict[str, Any]:
    return {"study": "MRI", "finding": finding, **facts}


def mri_mass(shape: str, margin: str, enhancement: str, **facts: Any) -> dict[str, Any]:
    return mri("mass", shape=shape, margin=margin, enhancement=enhancement, **facts)


def non_mass(enhancement: str, distribution: str, **facts: Any) -> dict[str, Any]:
    return mri("non-mass enhancement", enhancement=enhancement, distribution=distribution, **facts)


MAMMOGRAMS = [
    (mammogram("none"), "1"), (mammogram("benign"), "2"),
    (mammogram(None, known_cancer=True), "6"), (mammogram("mass", known_cancer=True), "6"),
    (mammogram(None, incomplete="additional imaging"), "0"), (mammogram("none", incomplete="prior studies"), "0"),
    (mammogram("asymmetry"), "0"),
    (mammogram("global asymmetry"), "2"), (mammogram("global asymmetry", course="growing"), "4B"),
    (mammogram("focal asymmetry"), "3"), (mammogram("focal asymmetry", course="first"), "3"),
    (mammogram("focal asymmetry", course="stable"), "2"), (mammogram("focal asymmetry", course="growing"), "4B"),
    (mammogram("architectural distortion"), "4C"),
    (mammogram("mass", density="fat-containing"), "2"),
    *((mass(shape, "circumscribed", **facts), category) for shape in ("oval", "round") for facts, category in (
        ({}, "3"), ({"course": "first"}, "3"), ({"course": "stable"}, "2"), ({"course": "growing"}, "4A"),
        ({"multiple": True}, "2"), ({"multiple": True, "course": "growing"}, "4A"))),
    *((mass(shape, margin, density), category) for shape in ("oval", "round") for density in ("equal", "high", None)
      for margin, category in (("obscured", "4A"), ("microlobulated", "4B"), ("indistinct", "4B"),
      ("spiculated", "4C"))),
    *((mass("irregular", margin, "high"), category) for margin, category in (
        ("circumscribed", "4B"), ("obscured", "4B"), ("microlobulated", "4C"), ("indistinct", "4C"),
        ("spiculated", "5"))),
    *((mass("irregular", "spiculated", density), "4C") for density in ("equal", "low", None)),
    (calcifications("typically benign"), "2"),
    (calcifications("punctate", "diffuse"), "2"), (calcifications("punctate", "regional"), "2"),
    (calcifications("punctate", "regional", course="growing"), "4A"),
    (calcifications("punctate", "grouped"), "3"), (calcifications("punctate", "grouped", course="stable"), "2"),
    (calcifications("punctate", "grouped", course="growing"), "4A"),
    (calcifications("punctate", "linear"), "4B"), (calcifications("punctate", "segmental"), "4B"),
    *((calcifications(form, spread), "4B") for form in ("amorphous", "coarse heterogeneous")
      for spread in ("diffuse", "regional", "grouped", "linear", "segmental")),
    *((calcifications("fine pleomorphic", spread), category) for spread, category in (
        ("diffuse", "4B"), ("regional", "4B"), ("grouped", "4B"), ("linear", "4C"), ("segmental", "4C"))),
    *((calcifications("fine linear branching", spread), category) for spread, category in (
        ("diffuse", "4C"), ("regional", "4C"), ("grouped", "4C"), ("linear", "5"), ("segmental", "5"))),
]  # fmt: skip
ULTRASOUNDS = [
    (us("none"), "1"), (us("benign"), "2"), (us(None, known_cancer=True), "6"),
    (us(None, incomplete="additional imaging"), "0"),
    (us("complicated cyst"), "3"), (us("complicated cyst", course="stable"), "2"),
    (us("complicated cyst", course="growing"), "4A"), (us("complicated cyst", multiple=True), "2"),
    (us("complicated cyst", multiple=True, course="growing"), "4A"), (us("complex mass"), "4B"),
    (us_mass("oval", "circumscribed", True), "3"), (us_mass("oval", "circumscribed", True, course="stable"), "2"),
    (us_mass("oval", "circumscribed", True, course="growing"), "4A"),
    (us_mass("oval", "circumscribed", True, multiple=True), "2"),
    (us_mass("oval", "circumscribed", True, multiple=True, course="growing"), "4A"),
    (us_mass("oval", "circumscribed", True, shadowing=True), "4A"), (us_mass("oval", "circumscribed", False), "4A"),
    (us_mass("round", "circumscribed", True), "4A"), (us_mass("irregular", "circumscribed", True), "4B"),
    *((us_mass(shape, margin, parallel, shadowing=shadowing), "4B")
      for shape, margin, parallel, shadowing in itertools.product(
          ("oval", "round"), ("indistinct", "angular", "microlobulated"), (True, False), (True, False))),
    *((us_mass("irregular", margin, parallel, shadowing=shadowing), "4C" if shadowing or not parallel else "4B")
      for margin, parallel, shadowing in itertools.product(
          ("indistinct", "angular", "microlobulated"), (True, False), (True, False))),
    (us_mass("oval", "spiculated", False), "4C"), (us_mass("irregular", "spiculated", True), "4C"),
    (us_mass("irregular", "spiculated", False), "5"), (us_mass("irregular", "spiculated", True, shadowing=True), "5"),
]  # fmt: skip
MAGNETIC = [
    (mri("none"), "1"), (mri("benign"), "2"), (mri(None, known_cancer=True), "6"),
    (mri(None, incomplete="additional imaging"), "0"),
    (mri("focus"), "3"), (mri("focus", course="stable"), "2"), (mri("focus", course="growing"), "4"),
    (mri("focus", washout=True), "4"),
    *((mri_mass(shape, "circumscribed", "homogeneous", **facts), category) for shape in ("oval", "round")
      for facts, category in (({}, "3"), ({"course": "stable"}, "2"), ({"course": "growing"}, "4"),
                              ({"washout": True}, "4"))),
    (mri_mass("oval", "circumscribed", "dark septations"), "2"),
    (mri_mass("oval", "circumscribed", "dark septations", washout=True), "4"),
    (mri_mass("oval", "circumscribed", "dark septations", course="growing"), "4"),
    (mri_mass("oval", "circumscribed", "heterogeneous"), "4"), (mri_mass("round", "circumscribed", "rim"), "4"),
    (mri_mass("irregular", "circumscribed", "homogeneous"), "4"),
    *((mri_mass(*facts), "5" if facts == ("irregular", "spiculated", "rim") else "4") for facts in itertools.product(
        ("oval", "round", "irregular"), ("not circumscribed", "spiculated"),
        ("homogeneous", "heterogeneous", "rim", "dark septations"))),
    *((non_mass(*facts), "4") for facts in itertools.product(
        ("heterogeneous", "clumped", "clustered ring"),
        ("focal", "linear", "segmental", "regional", "multiple regions", "diffuse"))),
    *((non_mass("homogeneous", spread), category) for spread, category in (
        ("focal", "4"), ("linear", "4"), ("segmental", "4"), ("regional", "4"), ("multiple regions", "3"),
        ("diffuse", "3"))),
    (non_mass("homogeneous", "diffuse", course="stable"), "2"),
    (non_mass("homogeneous", "diffuse", washout=True), "4"),
]  # fmt: skip


@pytest.mark.parametrize(("features", "category"), MAMMOGRAMS + ULTRASOUNDS + MAGNETIC)
def test_the_descriptors_of_the_lexicon_decide(features: dict[str, Any], category: str) -> None:
    assert decide("BI-RADS", features).category == f"BI-RADS {category}"


@pytest.mark.parametrize(("features", "category"), MAMMOGRAMS)
def test_on_a_screening_study_what_needs_work_up_is_0(features: dict[str, Any], category: str) -> None:
    screened = decide("BI-RADS", features | {"screening": True})
    assert screened.category == f"BI-RADS {category if category in ('1', '2', '6') else '0'}"


def test_the_rule_says_what_an_incomplete_study_needs() -> None:
    for needed in ("additional imaging", "prior studies"):
        assert needed in decide("BI-RADS", mammogram(None, incomplete=needed)).rule


@pytest.mark.parametrize(
    ("low_energy", "recombined", "category"),
    [
        (mammogram("none"), mri("none"), "1"), (mammogram("benign"), mri("none"), "2"),
        (mammogram("none"), mri("focus"), "3"), (mammogram("none"), mri_mass("oval", "circumscribed", "rim"), "4"),
        (calcifications("fine pleomorphic", "segmental"), mri("none"), "4C"),
        (mass("oval", "obscured"), mri("none"), "4A"),
        (mass("oval", "obscured"), mri_mass("oval", "circumscribed", "rim"), "4"),
        (mass("oval", "indistinct"), mri_mass("oval", "circumscribed", "rim"), "4B"),
        (mass("oval", "spiculated"), mri_mass("irregular", "spiculated", "rim"), "5"),
        (mammogram("asymmetry"), mri("focus"), "0"),
        (mammogram("asymmetry"), mri_mass("oval", "spiculated", "rim"), "4"),
        (mammogram(None, known_cancer=True), mri_mass("irregular", "spiculated", "rim"), "6"),
    ],
)  # fmt: skip
def test_the_more_suspicious_image_of_contrast_mammography_decides(
    low_energy: dict[str, Any], recombined: dict[str, Any], category: str
) -> None:
    ruling = decide("BI-RADS", {"study": "CEM", "low_energy": low_energy, "recombined": recombined})
    assert ruling.category == f"BI-RADS {category}"


def test_every_category_is_given_and_mri_does_not_subdivide_4() -> None:
    given = {f"BI-RADS {category}" for _, category in MAMMOGRAMS + ULTRASOUNDS + MAGNETIC}
    assert given == set(systems()["BI-RADS"].answers)
    assert {category for _, category in MAGNETIC} == {"0", "1", "2", "3", "4", "5", "6"}


@pytest.mark.parametrize(
    "features",
    [
        {},
        {"study": "zork", "finding": "none"},
        mammogram("zork"),
        mammogram(None),
        mammogram("none", colour="zork"),
        mammogram("none", incomplete="zork"),
        mammogram("none", size=-7.25),
        mammogram("mass", shape="oval"),
        mammogram("mass", margin="spiculated"),
        mammogram("calcifications", morphology="amorphous"),
        mammogram("calcifications", distribution="grouped"),
        us(None),
        us("mass", shape="oval", margin="circumscribed"),
        us("none", screening=True),
        mri(None),
        mri("mass", shape="oval", margin="circumscribed"),
        mri_mass("oval", "circumscribed", "clumped"),
        non_mass("rim", "focal"),
        non_mass("dark septations", "focal"),
        mri("non-mass enhancement", distribution="focal"),
        {"study": "CEM", "low_energy": mammogram("none")},
        {"study": "CEM", "low_energy": mammogram("none", colour="zork"), "recombined": mri("none")},
        {"study": "CEM", "low_energy": mri("none"), "recombined": mri("none")},
        "zork",
        None,
    ],
)
def test_nonsense_is_refused_without_repeating_it(features: Any) -> None:
    with pytest.raises(UserError) as refused:
        decide("BI-RADS", features)
    assert not any(word in str(refused.value) for word in ("zork", "7.25"))
