"""O-RADS: ultrasound (v2022) and MRI."""

from dataclasses import dataclass

from radlite.data.sample.rads_case import Case, Region, size, until, upper
from radlite.data.sample.wording import Writer, wordings

ULTRASOUND = tuple(f"O-RADS US {level}" for level in range(1, 6))
MAGNETIC = tuple(f"O-RADS MRI {level}" for level in range(1, 6))
CATEGORIES = (*ULTRASOUND, *MAGNETIC)
TYPICAL = ("dermoid cyst", "endometrioma", "hemorrhagic cyst")


@dataclass(frozen=True, slots=True)
class Mass:
    """An adnexal lesion on ultrasound. `size` in mm, `flow` the color score 1 to 4.

    `kind`: `normal` ovary, `follicle`, `simple` cyst, one of `TYPICAL`, `unilocular`, `bilocular`, `multilocular` or
    `solid`.
    """

    kind: str
    size: int = 0
    irregular: bool = False
    """Inner wall of a cyst, or outer contour of a solid lesion."""
    solid_part: bool = False
    """A solid component in a cyst."""
    projections: int = 0
    """Papillary projections of a unilocular cyst; they are its solid component."""
    shadowing: bool = False
    flow: int = 1
    ascites: bool = False
    """Ascites or peritoneal nodules not explained otherwise."""


def ultrasound_level(mass: Mass) -> int:
    """O-RADS US v2022 level, 1 to 5; ascites or peritoneal nodules make 5 of what is 3 or more without them."""
    level = _lesion_level(mass)
    return 5 if mass.ascites and level >= 3 else level


def _lesion_level(mass: Mass) -> int:
    if mass.kind in ("normal", "follicle"):
        return 1
    if mass.kind in ("simple", *TYPICAL):
        return 2 if mass.size < 100 else 3
    if mass.kind == "solid":
        if mass.irregular or mass.flow == 4:
            return 5
        return 3 if mass.flow == 1 or mass.shadowing else 4
    if mass.kind == "unilocular":
        if mass.solid_part:
            return 5 if mass.projections >= 4 else 4
        return 3 if mass.irregular or mass.size >= 100 else 2
    if mass.solid_part:
        return 5 if mass.flow >= 3 else 4
    if mass.irregular:
        return 4
    if mass.kind == "bilocular":
        return 2 if mass.size < 100 else 3
    return 4 if mass.flow == 4 or mass.size >= 100 else 3


@dataclass(frozen=True, slots=True)
class Signal:
    """An adnexal lesion on MRI.

    `kind`: `normal`, `follicle`, `simple` cyst, `endometrioma`, `dermoid`, `hemorrhagic` (smooth enhancing wall),
    `multilocular` (without solid tissue), `dark` (solid, dark on T2 and diffusion), `solid`.
    """

    kind: str
    curve: str = ""
    """Time-intensity curve of enhancing solid tissue: `low-risk`, `intermediate-risk`, `high-risk`."""
    peritoneal: bool = False


def mri_level(lesion: Signal) -> int:
    """O-RADS MRI level, 1 to 5."""
    if lesion.peritoneal:
        return 5
    if lesion.kind in ("normal", "follicle"):
        return 1
    if lesion.kind in ("simple", "endometrioma", "dermoid", "dark"):
        return 2
    if lesion.kind in ("hemorrhagic", "multilocular"):
        return 3
    return {"low-risk": 3, "intermediate-risk": 4, "high-risk": 5}[lesion.curve]


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
_SIGNALS = {
    "simple": ("unilocular cyst", ", simple fluid, no wall enhancement"),
    "endometrioma": ("cyst", " with endometriotic fluid and no wall enhancement"),
    "dermoid": ("lipid-containing lesion", " without enhancing solid tissue"),
    "dark": ("solid lesion", ", homogeneously dark on T2 and diffusion"),
    "hemorrhagic": ("unilocular cyst", " with hemorrhagic fluid and a smooth enhancing wall, no solid tissue"),
    "multilocular": ("multilocular cyst", " without enhancing solid tissue"),
    "solid": ("cystic and solid mass", ", enhancing solid tissue with {curve} time-intensity curve"),
}


def o_rads(writer: Writer, category: str) -> Case:
    """A pelvic ultrasound or MRI, premenopausal."""
    side = writer.one(("right", "left"))
    facts = {"side": side, "Side": upper(side)}
    on_ultrasound = category in ULTRASOUND
    describe = _ultrasound if on_ultrasound else _mri
    findings = describe(writer, int(category[-1]), facts)
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


def _draw(writer: Writer) -> Mass:
    kind = writer.one(("normal", "follicle", "simple", "typical", "unilocular", "bilocular", "multilocular", "solid"))
    length = writer.random.randint(30, 99) if writer.chance(0.65) else writer.random.randint(100, 160)
    if kind == "normal":
        return Mass(kind)
    if kind == "follicle":
        return Mass(kind, writer.random.randint(11, 29))
    if kind in ("simple", "typical"):
        return Mass(writer.one(TYPICAL) if kind == "typical" else kind, length)
    flow = writer.random.randint(1, 4)
    if kind == "solid":
        shadowing = writer.chance(0.4)
        return Mass(kind, length, writer.chance(0.3), shadowing=shadowing, flow=flow, ascites=writer.chance(0.1))
    solid_part = writer.chance(0.35)
    projections = writer.random.randint(1, 6) if solid_part and kind == "unilocular" else 0
    irregular = not solid_part and writer.chance(0.35)
    return Mass(kind, length, irregular, solid_part, projections, flow=flow, ascites=solid_part and writer.chance(0.15))


def _ultrasound(writer: Writer, level: int, facts: dict[str, str]) -> list[str]:
    mass = until(lambda: _draw(writer), lambda drawn: ultrasound_level(drawn) == level)
    if mass.kind == "normal":
        return [writer.say(NORMAL)]
    if mass.kind == "follicle":
        return [writer.say(FOLLICLE, size=size(writer, mass.size), **facts)]
    flow = f"color score {mass.flow}"
    if mass.kind in TYPICAL:
        what, detail = f"typical {mass.kind}", ""
    elif mass.kind == "simple":
        what, detail = "simple cyst", ""
    elif mass.kind == "solid":
        what = f"solid lesion with {'irregular' if mass.irregular else 'smooth'} contour"
        detail = f", {'with' if mass.shadowing else 'no'} acoustic shadowing, {flow}"
    else:
        what = f"{mass.kind} cyst"
        if mass.projections:
            word = "projection" if mass.projections == 1 else "projections"
            detail = f" with {mass.projections} papillary {word}, {flow}"
        elif mass.solid_part:
            detail = f" with a solid component, {flow}"
        else:
            detail = f" with {'irregular' if mass.irregular else 'smooth'} inner wall, no solid component, {flow}"
    text = writer.say(LESION, what=what, detail=detail, size=size(writer, mass.size), **facts)
    return [text, writer.say(PERITONEUM)] if mass.ascites else [text]


def _mri(writer: Writer, level: int, facts: dict[str, str]) -> list[str]:
    def draw() -> Signal:
        kind = writer.one(("normal", "follicle", *_SIGNALS, "solid", "solid"))
        curve = writer.one(("low-risk", "intermediate-risk", "high-risk")) if kind == "solid" else ""
        return Signal(kind, curve, kind == "solid" and writer.chance(0.2))

    lesion = until(draw, lambda drawn: mri_level(drawn) == level)
    if lesion.kind == "normal":
        return [writer.say(NORMAL)]
    length = writer.random.randint(11, 29) if lesion.kind == "follicle" else writer.random.randint(22, 130)
    if lesion.kind == "follicle":
        return [writer.say(FOLLICLE, size=size(writer, length), **facts)]
    what, detail = _SIGNALS[lesion.kind]
    detail = detail.format(curve=lesion.curve)
    text = writer.say(LESION, what=what, detail=detail, size=size(writer, length), **facts)
    return [text, writer.say(PERITONEUM)] if lesion.peritoneal else [text]
