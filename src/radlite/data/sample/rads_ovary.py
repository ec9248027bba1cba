"""O-RADS: ultrasound (v2022) and MRI."""

from dataclasses import replace
from typing import Literal

from radlite.data.sample.rads_case import Case, Region, size, until, upper
from radlite.data.sample.wording import Writer, wordings
from radlite.rads.rules.o_rads import Mri, Ultrasound, decide

ULTRASOUND = tuple(f"O-RADS US {level}" for level in range(1, 6))
MAGNETIC = tuple(f"O-RADS MRI {level}" for level in range(1, 6))
CATEGORIES = (*ULTRASOUND, *MAGNETIC)
TYPICAL: tuple[Literal["dermoid cyst", "endometrioma", "hemorrhagic cyst"], ...] = (
    "dermoid cyst",
    "endometrioma",
    "hemorrhagic cyst",
)


US_EXAM = wordings(
    "Transvaginal pelvic ultrasound", "Ultrasound of the pelvis, transvaginal", "Pelvic ultrasound, adnexa",
    "Transabdominal and transvaginal ultrasound", "Pelvic sonogram",
)  # fmt: skip
US_TECHNIQUE = wordings(
    "Transvaginal gray-scale and color Doppler.", "Transabdominal and transvaginal scanning with Doppler.",
    "Endovaginal probe with color Doppler scoring.", "Gray-scale, cine clips and power Doppler.",
)  # fmt: skip
MR_EXAM = wordings(
    "MRI of the pelvis with and without contrast", "Pelvic MRI, adnexal protocol", "MRI female pelvis with gadolinium",
    "Dynamic contrast-enhanced MRI of the pelvis", "Magnetic resonance imaging of the adnexa",
)  # fmt: skip
MR_TECHNIQUE = wordings(
    "T2, fat-suppressed T1, diffusion and dynamic perfusion with time-intensity curves.",
    "Multiplanar T2, DWI and dynamic series with perfusion analysis.",
    "T1, T2, diffusion-weighted and dynamic contrast images.",
    "Pelvic coil; T2, T1 with fat saturation, DWI, dynamic perfusion.",
)
NORMAL = wordings(
    "Both ovaries are of normal size with small follicles.", "Normal ovaries on both sides, no adnexal lesion.",
    "No adnexal lesion; both ovaries normal.", "Ovaries normal, without cyst or mass.",
    "Neither ovary contains a lesion.",
)  # fmt: skip
FOLLICLE = wordings(
    "Follicle of {size} in the {side} ovary, physiologic.", "In the {side} ovary a physiologic follicle of {size}.",
    "The {side} ovary contains a {size} corpus luteum.", "A {size} physiologic follicle in the {side} ovary.",
)  # fmt: skip
LESION = wordings(
    "{Side} adnexa: {what} of {size}{detail}.", "There is a {size} {what} of the {side} ovary{detail}.",
    "In the {side} adnexa a {what} measuring {size}{detail}.",
    "A {what} of {size} arises from the {side} ovary{detail}.",
    "The {side} ovary contains a {what}, {size}{detail}.", "{Side} ovary, {what} of {size}{detail}.",
)  # fmt: skip
PERITONEUM = wordings(
    "Ascites and peritoneal nodules are present.", "There are peritoneal nodules with ascites.",
    "Peritoneal nodularity and ascites.", "Nodules of the peritoneum and ascites.",
    "The peritoneum is nodular, with ascites.",
)  # fmt: skip
FEMALE_PELVIS = Region(
    organs=("uterus", "endometrium", "cervix", "urinary bladder", "rectum", "distal ureters", "vagina", "myometrium"),
    absent=("hydrosalpinx", "endometrial polyp", "hydroureter", "bladder wall thickening", "pelvic hernia",
            "uterine malformation", "retained device", "pelvic congestion"),
    incidental=("intramural fibroid", "subserosal fibroid", "Nabothian cyst", "Bartholin cyst", "Gartner duct cyst"),
)  # fmt: skip
_REASONS = ("pelvic pain", "adnexal lesion on CT", "irregular bleeding", "palpable adnexal fullness",
            "bloating", "follow-up of an ovarian cyst")  # fmt: skip
_KINDS: tuple[
    Literal["normal", "follicle", "simple cyst", "typical", "unilocular", "bilocular", "multilocular", "solid"], ...
] = (
    "normal", "follicle", "simple cyst", "typical", "unilocular", "bilocular", "multilocular", "solid",
)  # fmt: skip
_FLOWS: tuple[Literal[1, 2, 3, 4], ...] = (1, 2, 3, 4)
_CURVES: tuple[Literal["low-risk", "intermediate-risk", "high-risk"], ...] = (
    "low-risk", "intermediate-risk", "high-risk",
)  # fmt: skip
_SIGNALS = {
    "normal": (Mri("MRI", "normal"), "", ""),
    "follicle": (Mri("MRI", "follicle"), "", ""),
    "simple": (
        Mri("MRI", "unilocular", fluid="simple", enhancing_wall=False),
        "unilocular cyst", ", simple fluid, no wall enhancement",
    ),
    "endometrioma": (
        Mri("MRI", "unilocular", fluid="endometriotic", enhancing_wall=False),
        "cyst", " with endometriotic fluid and no wall enhancement",
    ),
    "dermoid": (Mri("MRI", "lipid"), "lipid-containing lesion", " without enhancing solid tissue"),
    "dark": (
        Mri("MRI", "solid", solid_tissue="dark"), "solid lesion", ", homogeneously dark on T2 and diffusion",
    ),
    "hemorrhagic": (
        Mri("MRI", "unilocular", fluid="hemorrhagic", enhancing_wall=True),
        "unilocular cyst", " with hemorrhagic fluid and a smooth enhancing wall, no solid tissue",
    ),
    "multilocular": (Mri("MRI", "multilocular"), "multilocular cyst", " without enhancing solid tissue"),
    "solid": (
        Mri("MRI", "solid", solid_tissue="enhancing"),
        "cystic and solid mass", ", enhancing solid tissue with {curve} time-intensity curve",
    ),
}  # fmt: skip
"""Kind to its record, and what it is called, and how described."""


def o_rads(writer: Writer, category: str) -> Case:
    """A pelvic ultrasound or MRI, premenopausal."""
    side = writer.one(("right", "left"))
    facts = {"side": side, "Side": upper(side)}
    on_ultrasound = category in ULTRASOUND
    describe = _ultrasound if on_ultrasound else _mri
    findings = describe(writer, category, facts)
    if category[-1] != "1" and writer.chance(0.3):
        other = "left" if side == "right" else "right"
        findings.append(writer.say(FOLLICLE, side=other, size=size(writer, writer.random.randint(11, 28))))
    return Case(
        category,
        US_EXAM if on_ultrasound else MR_EXAM,
        US_TECHNIQUE if on_ultrasound else MR_TECHNIQUE,
        writer.one(_REASONS),
        findings,
        FEMALE_PELVIS,
        sex="female",
        ages=(20, 47),
        prior="pelvic ultrasound",
        priors=ULTRASOUND[1:4],
    )


def _draw(writer: Writer) -> Ultrasound:
    kind = writer.one(_KINDS)
    length = writer.random.randint(30, 99) if writer.chance(0.65) else writer.random.randint(100, 160)
    if kind == "normal":
        return Ultrasound("ultrasound", kind)
    if kind == "follicle":
        return Ultrasound("ultrasound", kind, writer.random.randint(11, 29))
    if kind == "simple cyst":
        return Ultrasound("ultrasound", kind, length)
    if kind == "typical":
        return Ultrasound("ultrasound", writer.one(TYPICAL), length)
    flow = writer.random.choice(_FLOWS)
    if kind == "solid":
        shadowing, irregular, spread = writer.chance(0.4), writer.chance(0.3), writer.chance(0.1)
        return Ultrasound("ultrasound", kind, length, irregular=irregular, shadowing=shadowing, flow=flow,
                          ascites=spread, peritoneal_nodules=spread)  # fmt: skip
    solid = writer.chance(0.35)
    projections = writer.random.randint(1, 6) if solid and kind == "unilocular" else 0
    irregular = not solid and writer.chance(0.35)
    spread = solid and writer.chance(0.15)
    return Ultrasound("ultrasound", kind, length, irregular=irregular, solid_component=solid, projections=projections,
                      flow=flow, ascites=spread, peritoneal_nodules=spread)  # fmt: skip


def _ultrasound(writer: Writer, category: str, facts: dict[str, str]) -> list[str]:
    mass = until(lambda: _draw(writer), lambda drawn: decide(drawn).category == category)
    if mass.size is None:
        return [writer.say(NORMAL)]
    length = size(writer, mass.size)
    if mass.lesion == "follicle":
        return [writer.say(FOLLICLE, size=length, **facts)]
    what, detail = _described(mass)
    text = writer.say(LESION, what=what, detail=detail, size=length, **facts)
    return [text, writer.say(PERITONEUM)] if mass.ascites else [text]


def _described(mass: Ultrasound) -> tuple[str, str]:
    flow = f"color score {mass.flow}"
    if mass.lesion in TYPICAL:
        return f"typical {mass.lesion}", ""
    if mass.lesion == "simple cyst":
        return mass.lesion, ""
    contour = "irregular" if mass.irregular else "smooth"
    if mass.lesion == "solid":
        shadowing = "with" if mass.shadowing else "no"
        return f"solid lesion with {contour} contour", f", {shadowing} acoustic shadowing, {flow}"
    what = f"{mass.lesion} cyst"
    if mass.projections:
        word = "projection" if mass.projections == 1 else "projections"
        return what, f" with {mass.projections} papillary {word}, {flow}"
    if mass.solid_component:
        return what, f" with a solid component, {flow}"
    return what, f" with {contour} inner wall, no solid component, {flow}"


def _mri(writer: Writer, category: str, facts: dict[str, str]) -> list[str]:
    def draw() -> tuple[str, Mri]:
        kind = writer.one((*_SIGNALS, "solid", "solid"))
        record = _SIGNALS[kind][0]
        if kind != "solid":
            return kind, record
        curve = writer.one(_CURVES)
        return kind, replace(record, curve=curve, peritoneal_nodules=writer.chance(0.2))

    kind, lesion = until(draw, lambda drawn: decide(drawn[1]).category == category)
    if kind == "normal":
        return [writer.say(NORMAL)]
    length = writer.random.randint(11, 29) if kind == "follicle" else writer.random.randint(22, 130)
    if kind == "follicle":
        return [writer.say(FOLLICLE, size=size(writer, length), **facts)]
    _, what, detail = _SIGNALS[kind]
    detail = detail.format(curve=lesion.curve)
    text = writer.say(LESION, what=what, detail=detail, size=size(writer, length), **facts)
    return [text, writer.say(PERITONEUM)] if lesion.peritoneal_nodules else [text]
