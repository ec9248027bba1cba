"""O-RADS: adnexal lesions on ultrasound (v2022) and on MRI.

Sources: Strachowski et al., Radiology 2023;308:e230685 (ultrasound); Reinhold et al., J Am Coll Radiol
2021;18:713-729 (MRI).
"""

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Ge, Gt

from radlite.errors import UserError
from radlite.rads.rules.ruling import Ruling

Menopause = Literal["premenopausal", "early postmenopausal", "late postmenopausal"]
"""`early`: less than five years after menopause."""

PHYSIOLOGIC = 30
"""Greatest diameter, in mm, of a follicle or corpus luteum."""
LARGE = 100
"""Diameter, in mm, from which on a benign lesion is watched more closely."""
EXTRAOVARIAN = frozenset(("paraovarian cyst", "peritoneal inclusion cyst", "hydrosalpinx"))
"""Typical lesions that are benign at any size."""
_NAMES = {"simple cyst": "Simple cyst", "unilocular": "Smooth unilocular cyst", "bilocular": "Smooth bilocular cyst"}


@dataclass(frozen=True, slots=True)
class Ultrasound:
    """An adnexal lesion on ultrasound."""

    study: Literal["ultrasound"]
    lesion: Literal[
        "not assessable", "normal", "follicle", "corpus luteum", "simple cyst", "hemorrhagic cyst", "dermoid cyst",
        "endometrioma", "paraovarian cyst", "peritoneal inclusion cyst", "hydrosalpinx", "unilocular", "bilocular",
        "multilocular", "solid",
    ]  # fmt: skip
    """From `hemorrhagic cyst` to `hydrosalpinx`: with its typical features. `unilocular`: not simple. `solid`: 80 % or
    more. `not assessable`: the study is incomplete."""
    size: Annotated[float, Gt(0)] | None = None
    """Greatest diameter, in mm."""
    menopause: Menopause = "premenopausal"
    irregular: bool = False
    """Inner wall or septa of a cyst (irregularities under 3 mm), or outer contour of a solid lesion."""
    solid_component: bool = False
    """A solid component of 3 mm or more in a cyst."""
    projections: Annotated[int, Ge(0)] = 0
    """Papillary projections; they are solid components."""
    shadowing: bool = False
    """Acoustic shadowing of a solid lesion."""
    flow: Literal[1, 2, 3, 4] | None = None
    """Color score, from no flow to very strong flow."""
    ascites: bool = False
    """More than physiologic fluid."""
    peritoneal_nodules: bool = False


@dataclass(frozen=True, slots=True)
class Mri:
    """An adnexal lesion on MRI."""

    study: Literal["MRI"]
    lesion: Literal[
        "not assessable", "normal", "follicle", "hemorrhagic follicle", "corpus luteum", "unilocular", "multilocular",
        "lipid", "dilated tube", "paraovarian cyst", "solid",
    ]  # fmt: skip
    """`lipid`: a lesion with lipid content; `solid`: a solid, or a cystic and solid, lesion without lipid;
    `not assessable`: the study is incomplete."""
    size: Annotated[float, Gt(0)] | None = None
    """Greatest diameter, in mm. None for a follicle or corpus luteum: at most 30 mm."""
    menopause: Menopause = "premenopausal"
    fluid: Literal["simple", "endometriotic", "hemorrhagic", "proteinaceous", "mucinous"] | None = None
    """Of a unilocular cyst or a tube."""
    enhancing_wall: bool | None = None
    """The wall of a unilocular cyst enhances; it is smooth."""
    thick_wall: bool = False
    """Wall or folds of a dilated tube are thick; they are smooth."""
    solid_tissue: Literal["none", "dark", "enhancing"] = "none"
    """`dark`: homogeneously hypointense on T2 and on diffusion at high b value; `enhancing`: any other solid tissue
    that enhances (projection, nodule, irregular septum or wall), in a lesion with lipid only a large volume of it."""
    curve: Literal["low-risk", "intermediate-risk", "high-risk"] | None = None
    """Time-intensity curve of the enhancing tissue; None: no dynamic perfusion."""
    early_enhancement: Literal["at most myometrium", "more than myometrium"] | None = None
    """Of the enhancing tissue 30 to 40 s after injection; counts where there is no curve."""
    peritoneal_nodules: bool = False
    """Nodules or irregular thickening of peritoneum, mesentery or omentum."""


Features = Ultrasound | Mri


def decide(features: Ultrasound | Mri) -> Ruling:
    """The level of a lesion.

    Raises `UserError` for a record that contradicts itself, or lacks the size, color score or other fact that its row
    of the table asks for.
    """
    if isinstance(features, Ultrasound):
        return _ultrasound(features)
    level, rule = _mri(features)
    return Ruling(f"O-RADS MRI {level}", rule)


def _ultrasound(seen: Ultrasound) -> Ruling:
    if seen.lesion == "not assessable":
        return Ruling("O-RADS US 0", "Incomplete study.")
    if seen.projections and not seen.solid_component:
        raise UserError("Papillary projections are solid components; mark the solid component too.")
    level, rule, advice = _lesion(seen)
    if not (seen.ascites or seen.peritoneal_nodules):
        return Ruling(f"O-RADS US {level}", rule, advice)
    if level >= 3:
        return Ruling("O-RADS US 5", f"Ascites or peritoneal nodules with a lesion of level 3 or more. {rule}")
    cause = "Consider another cause of the ascites or nodules: the lesion does not explain it."
    return Ruling(f"O-RADS US {level}", rule, f"{advice} {cause}".lstrip())


def _lesion(seen: Ultrasound) -> tuple[int, str, str]:
    """Level, rule and advice without regard to ascites and peritoneum."""
    lesion = seen.lesion
    if lesion == "normal":
        return 1, "Normal ovaries.", ""
    if lesion in ("follicle", "corpus luteum"):
        if seen.menopause == "premenopausal" and _at_most(seen.size, PHYSIOLOGIC):
            return 1, f"{lesion.capitalize()} of at most 3 cm before menopause.", ""
        lesion = "simple cyst" if lesion == "follicle" else "hemorrhagic cyst"
    if lesion in EXTRAOVARIAN:
        return 2, f"Typical {lesion}, any size.", ""
    if lesion == "solid":
        return _solid(seen)
    if seen.solid_component:
        return _with_solid_component(seen)
    if lesion == "multilocular":
        return _multilocular(seen)
    if seen.irregular and lesion == "unilocular":
        return 3, "Unilocular cyst with irregular inner wall, any size.", ""
    if seen.irregular and lesion == "bilocular":
        return 4, "Bilocular cyst with irregular inner wall or septum, any size.", ""
    return _benign(seen, lesion)


def _solid(seen: Ultrasound) -> tuple[int, str, str]:
    if seen.irregular:
        return 5, "Solid lesion with irregular contour, any color score.", ""
    flow = _flow(seen)
    if flow == 4:
        return 5, "Smooth solid lesion, color score 4.", ""
    if flow == 1:
        return 3, "Smooth solid lesion, color score 1.", ""
    if seen.shadowing:
        return 3, "Smooth solid lesion with shadowing, color score 2 or 3.", ""
    return 4, "Smooth solid lesion without shadowing, color score 2 or 3.", ""


def _with_solid_component(seen: Ultrasound) -> tuple[int, str, str]:
    if seen.lesion == "unilocular":
        if seen.projections >= 4:
            return 5, "Unilocular cyst with 4 or more papillary projections, any color score.", ""
        return 4, "Unilocular cyst with solid component, fewer than 4 papillary projections, any color score.", ""
    if seen.lesion not in ("bilocular", "multilocular"):
        raise UserError("A typical benign lesion has no solid component; describe the lesion as a cyst by its locules.")
    if _flow(seen) >= 3:
        return 5, "Bi- or multilocular cyst with solid component, color score 3 or 4.", ""
    return 4, "Bi- or multilocular cyst with solid component, color score 1 or 2.", ""


def _multilocular(seen: Ultrasound) -> tuple[int, str, str]:
    if seen.irregular:
        return 4, "Multilocular cyst with irregular inner wall or septa, any color score.", ""
    if _flow(seen) == 4:
        return 4, "Smooth multilocular cyst, color score 4.", ""
    if _size(seen) >= LARGE:
        return 4, "Smooth multilocular cyst of 10 cm or more, color score 1 to 3.", ""
    return 3, "Smooth multilocular cyst under 10 cm, color score 1 to 3.", ""


def _benign(seen: Ultrasound, lesion: str) -> tuple[int, str, str]:
    """A simple or smooth cyst, or a typical lesion of the ovary."""
    if seen.irregular:
        raise UserError("A typical benign lesion is not irregular; describe the lesion as a cyst by its locules.")
    if lesion == "hemorrhagic cyst" and seen.menopause == "late postmenopausal":
        raise UserError("Hemorrhagic cysts end five years after menopause; describe the lesion by its other features.")
    size = _size(seen)
    name = _NAMES.get(lesion) or f"Typical {lesion}"
    if size >= LARGE:
        return 3, f"{name} of 10 cm or more.", ""
    return 2, f"{name} under 10 cm.", _follow_up(lesion, size, seen.menopause)


def _follow_up(lesion: str, size: float, menopause: str) -> str:
    """What v2022 recommends for a lesion of level 2, under 10 cm."""
    before = menopause == "premenopausal"
    if lesion == "simple cyst":
        return "Ultrasound in 12 months." if size > (50 if before else 30) else "No follow-up."
    if lesion in ("unilocular", "bilocular"):
        return "No follow-up." if before and size <= 30 else "Ultrasound in 6 months."
    if lesion == "dermoid cyst":
        return "Ultrasound in 12 months, unless excised." if size > 30 else "Ultrasound in 12 months may be considered."
    if not before:
        return "Confirm by ultrasound in 2 to 3 months, an ultrasound specialist or MRI."
    if lesion == "hemorrhagic cyst":
        return "Ultrasound in 2 to 3 months." if size > 50 else "No follow-up."
    return "Ultrasound in 12 months, unless excised."


def _mri(seen: Mri) -> tuple[int, str]:
    """Level and rule."""
    if seen.lesion == "not assessable":
        return 0, "Incomplete study."
    if seen.peritoneal_nodules:
        return 5, "Nodules or irregular thickening of peritoneum, mesentery or omentum."
    if seen.lesion == "normal":
        return 1, "Normal ovaries."
    if seen.solid_tissue == "dark":
        return 2, "Solid tissue homogeneously dark on T2 and diffusion."
    if seen.solid_tissue == "enhancing":
        return _enhancing(seen)
    if seen.lesion == "solid":
        raise UserError("A solid lesion has solid tissue; say whether it is dark or enhancing.")
    return _cystic(seen)


def _enhancing(seen: Mri) -> tuple[int, str]:
    if seen.lesion == "lipid":
        return 4, "Lesion with lipid and a large volume of enhancing solid tissue."
    if seen.curve:
        level = {"low-risk": 3, "intermediate-risk": 4, "high-risk": 5}[seen.curve]
        return level, f"Enhancing solid tissue with {seen.curve} time-intensity curve."
    if seen.early_enhancement is None:
        raise UserError("Enhancing tissue needs a time-intensity curve, or its early enhancement against myometrium.")
    level = 5 if seen.early_enhancement == "more than myometrium" else 4
    return level, f"Solid tissue enhancing {seen.early_enhancement} at 30 to 40 s, without dynamic perfusion."


def _cystic(seen: Mri) -> tuple[int, str]:
    """A lesion without solid tissue."""
    if seen.lesion == "lipid":
        return 2, "Lesion with lipid, without enhancing solid tissue."
    if seen.lesion == "paraovarian cyst":
        return 2, "Paraovarian cyst with thin smooth wall, any fluid, without enhancing solid tissue."
    if seen.lesion == "multilocular":
        return 3, "Multilocular cyst without lipid, smooth septa and wall, without enhancing solid tissue."
    if seen.lesion == "dilated tube":
        if _known_fluid(seen) == "simple" and not seen.thick_wall:
            return 2, "Dilated tube with simple fluid and thin smooth wall."
        return 3, "Dilated tube with non-simple fluid or thick smooth wall."
    if seen.lesion == "unilocular":
        return _unilocular(seen)
    if seen.menopause == "premenopausal" and _at_most(seen.size, PHYSIOLOGIC):
        return 1, f"{seen.lesion.capitalize()} of at most 3 cm before menopause."
    raise UserError(
        "A follicle or corpus luteum is at most 3 cm and premenopausal; describe the lesion as unilocular cyst."
    )


def _unilocular(seen: Mri) -> tuple[int, str]:
    if seen.enhancing_wall is None:
        raise UserError("A unilocular cyst needs to be told whether its wall enhances; give `enhancing_wall`.")
    if not seen.enhancing_wall:
        return 2, "Unilocular cyst without wall enhancement, any fluid."
    if _known_fluid(seen) in ("simple", "endometriotic"):
        return 2, "Unilocular cyst with simple or endometriotic fluid and smooth enhancing wall."
    return 3, "Unilocular cyst with proteinaceous, hemorrhagic or mucinous fluid and smooth enhancing wall."


def _at_most(size: float | None, limit: float) -> bool:
    return size is None or size <= limit


def _size(seen: Ultrasound) -> float:
    if seen.size is None:
        raise UserError("The level of this lesion depends on its size; give its greatest diameter in mm.")
    return seen.size


def _flow(seen: Ultrasound) -> int:
    if seen.flow is None:
        raise UserError("The level of this lesion depends on its color score; give `flow` from 1 to 4.")
    return seen.flow


def _known_fluid(seen: Mri) -> str:
    if seen.fluid is None:
        raise UserError("The level of this lesion depends on its fluid; give `fluid`.")
    return seen.fluid
