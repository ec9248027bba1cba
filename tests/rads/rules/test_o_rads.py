"""O-RADS: the risk tables of ultrasound v2022 and of MRI."""

from typing import Any

import pytest

from radlite.errors import UserError
from radlite.rads import systems
from radlite.rads.rules import decide


def us(lesion: str, **facts: Any) -> dict[str, Any]:
    return {"study": "ultrasound", "lesion": lesion, **facts}


def mri(lesion: str, **facts: Any) -> dict[str, Any]:
    return {"study": "MRI", "lesion": lesion, **facts}


CONFIRM = "Confirm by ultrasound in 2 to 3 months, an ultrasound specialist or MRI."
POST = {"menopause": "early postmenopausal"}
ULTRASOUND = [
    (us("not assessable"), 0),
    (us("normal"), 1), (us("normal", **POST), 1), (us("follicle"), 1), (us("follicle", size=30), 1),
    (us("follicle", size=30.1), 2), (us("follicle", size=20, **POST), 2),
    (us("corpus luteum", size=30), 1), (us("corpus luteum", size=31), 2), (us("corpus luteum", size=20, **POST), 2),
    *((us(lesion, size=size), level)
      for lesion in ("simple cyst", "unilocular", "bilocular", "hemorrhagic cyst", "dermoid cyst", "endometrioma")
      for size, level in ((99.9, 2), (100, 3))),
    *((us(lesion, **facts), 2) for lesion in ("paraovarian cyst", "peritoneal inclusion cyst", "hydrosalpinx")
      for facts in ({}, {"size": 150})),
    (us("unilocular", size=20, irregular=True), 3), (us("unilocular", size=150, irregular=True), 3),
    (us("bilocular", size=20, irregular=True), 4), (us("bilocular", size=150, irregular=True), 4),
    (us("bilocular", size=99, flow=4), 2),
    *((us("multilocular", size=99.9, flow=flow), 3) for flow in (1, 2, 3)),
    *((us("multilocular", size=100, flow=flow), 4) for flow in (1, 2, 3)),
    (us("multilocular", size=99.9, flow=4), 4), (us("multilocular", size=100, flow=4), 4),
    (us("multilocular", irregular=True), 4),
    *((us("unilocular", solid_component=True, projections=count), level)
      for count, level in ((0, 4), (1, 4), (3, 4), (4, 5), (9, 5))),
    *((us(lesion, solid_component=True, flow=flow), 4 if flow < 3 else 5)
      for lesion in ("bilocular", "multilocular") for flow in (1, 2, 3, 4)),
    *((us("solid", flow=1, shadowing=shadowing), 3) for shadowing in (False, True)),
    *((us("solid", flow=flow, shadowing=True), 3) for flow in (2, 3)),
    *((us("solid", flow=flow), 4) for flow in (2, 3)),
    *((us("solid", flow=4, shadowing=shadowing), 5) for shadowing in (False, True)),
    (us("solid", irregular=True), 5), (us("solid", irregular=True, flow=1, shadowing=True), 5),
]  # fmt: skip


@pytest.mark.parametrize(("features", "level"), ULTRASOUND)
def test_ultrasound_follows_the_table_of_v2022(features: dict[str, Any], level: int) -> None:
    assert decide("O-RADS", features).category == f"O-RADS US {level}"


@pytest.mark.parametrize("sign", ["ascites", "peritoneal_nodules"])
@pytest.mark.parametrize(("features", "level"), ULTRASOUND)
def test_ascites_or_peritoneal_nodules_make_5_of_level_3_and_more_only(
    features: dict[str, Any], level: int, sign: str
) -> None:
    ruling = decide("O-RADS", features | {sign: True})
    assert ruling.category == f"O-RADS US {5 if level >= 3 else level}"
    assert ("another cause" in ruling.advice) == (level in (1, 2))


@pytest.mark.parametrize(
    ("features", "advice"),
    [
        (us("simple cyst", size=50), "No follow-up."), (us("simple cyst", size=50.1), "Ultrasound in 12 months."),
        (us("simple cyst", size=30, **POST), "No follow-up."),
        (us("simple cyst", size=30.1, **POST), "Ultrasound in 12 months."),
        *((us(lesion, **facts), advice) for lesion in ("unilocular", "bilocular") for facts, advice in (
            ({"size": 30}, "No follow-up."), ({"size": 30.1}, "Ultrasound in 6 months."),
            ({"size": 30, **POST}, "Ultrasound in 6 months."))),
        (us("hemorrhagic cyst", size=50), "No follow-up."),
        (us("hemorrhagic cyst", size=50.1), "Ultrasound in 2 to 3 months."),
        (us("hemorrhagic cyst", size=20, **POST), CONFIRM),
        (us("dermoid cyst", size=30), "Ultrasound in 12 months may be considered."),
        (us("dermoid cyst", size=30.1), "Ultrasound in 12 months, unless excised."),
        (us("endometrioma", size=30), "Ultrasound in 12 months, unless excised."),
        (us("endometrioma", size=30, **POST), CONFIRM),
    ],
)  # fmt: skip
def test_follow_up_of_level_2_depends_on_size_and_menopause(features: dict[str, Any], advice: str) -> None:
    ruling = decide("O-RADS", features)
    assert (ruling.category, ruling.advice) == ("O-RADS US 2", advice)


CURVES = {"low-risk": 3, "intermediate-risk": 4, "high-risk": 5}
MAGNETIC = [
    (mri("not assessable"), 0),
    (mri("normal"), 1),
    *((mri(lesion, **facts), 1) for lesion in ("follicle", "hemorrhagic follicle", "corpus luteum")
      for facts in ({}, {"size": 30})),
    *((mri("unilocular", fluid=fluid, enhancing_wall=False), 2)
      for fluid in ("simple", "endometriotic", "hemorrhagic", "proteinaceous", "mucinous", None)),
    *((mri("unilocular", fluid=fluid, enhancing_wall=True), level) for fluid, level in (
        ("simple", 2), ("endometriotic", 2), ("hemorrhagic", 3), ("proteinaceous", 3), ("mucinous", 3))),
    (mri("multilocular"), 3), (mri("lipid"), 2), (mri("paraovarian cyst", fluid="hemorrhagic"), 2),
    (mri("dilated tube", fluid="simple"), 2), (mri("dilated tube", fluid="simple", thick_wall=True), 3),
    (mri("dilated tube", fluid="hemorrhagic"), 3), (mri("dilated tube", fluid="proteinaceous", thick_wall=True), 3),
    (mri("solid", solid_tissue="dark"), 2), (mri("solid", solid_tissue="dark", curve="high-risk"), 2),
    *((mri(lesion, solid_tissue="enhancing", curve=curve), level)
      for lesion in ("solid", "unilocular", "multilocular") for curve, level in CURVES.items()),
    (mri("solid", solid_tissue="enhancing", early_enhancement="at most myometrium"), 4),
    (mri("solid", solid_tissue="enhancing", early_enhancement="more than myometrium"), 5),
    (mri("solid", solid_tissue="enhancing", early_enhancement="more than myometrium", curve="low-risk"), 3),
    (mri("lipid", solid_tissue="enhancing"), 4),
    (mri("multilocular", peritoneal_nodules=True), 5),
    (mri("solid", solid_tissue="enhancing", curve="low-risk", peritoneal_nodules=True), 5),
]  # fmt: skip


@pytest.mark.parametrize(("features", "level"), MAGNETIC)
def test_mri_follows_the_risk_table(features: dict[str, Any], level: int) -> None:
    assert decide("O-RADS", features).category == f"O-RADS MRI {level}"


def test_every_category_is_given() -> None:
    given = {decide("O-RADS", features).category for features, _ in ULTRASOUND + MAGNETIC}
    assert given == set(systems()["O-RADS"].answers)


@pytest.mark.parametrize(
    "features",
    [
        {},
        {"study": "zork", "lesion": "normal"},
        us("zork"),
        us("normal", colour="zork"),
        us("simple cyst", size=-7.25),
        us("simple cyst", size=float("inf")),
        us("simple cyst"),
        us("simple cyst", size=40, irregular=True),
        us("endometrioma", size=40, solid_component=True),
        us("hemorrhagic cyst", size=40, menopause="late postmenopausal"),
        us("unilocular", size=40, projections=2),
        us("unilocular", size=40, solid_component=True, projections=-725),
        us("multilocular", size=40),
        us("multilocular", flow=2),
        us("multilocular", solid_component=True),
        us("solid"),
        us("solid", flow=725),
        mri("solid"),
        mri("solid", solid_tissue="enhancing"),
        mri("unilocular", fluid="simple"),
        mri("unilocular", enhancing_wall=True),
        mri("dilated tube"),
        mri("follicle", size=30.725),
        mri("follicle", size=20, menopause="late postmenopausal"),
        mri("normal", flow=1),
        "zork",
    ],
)
def test_nonsense_is_refused_without_repeating_it(features: Any) -> None:
    with pytest.raises(UserError) as refused:
        decide("O-RADS", features)
    assert not any(word in str(refused.value) for word in ("zork", "7.25", "725"))
