"""BI-RADS: mammography, ultrasound, MRI. Rules from the descriptors of the ACR atlas and their predictive values."""

import functools
import itertools
from dataclasses import dataclass

from radlite.data.sample.rads_case import Case, Region, grouped, pick, size
from radlite.data.sample.wording import Writer, wordings

CATEGORIES = ("BI-RADS 0", "BI-RADS 1", "BI-RADS 2", "BI-RADS 3", "BI-RADS 4", "BI-RADS 4A", "BI-RADS 4B",
              "BI-RADS 4C", "BI-RADS 5", "BI-RADS 6")  # fmt: skip
BENIGN_CALCIFICATIONS = ("vascular", "coarse popcorn-like", "large rod-like", "rim", "dystrophic", "layering", "skin")


@dataclass(frozen=True, slots=True)
class Lesion:
    """What was seen. `kind` says which of the other fields count."""

    kind: str
    form: str = ""
    """Shape of a mass, morphology of calcifications, pattern of non-mass enhancement."""
    margin: str = ""
    extra: str = ""
    """Density, orientation or enhancement of a mass; distribution of calcifications or enhancement."""
    course: str = ""
    """Against earlier studies: `stable` (two years or more), `growing`, `first` (nothing to compare)."""


def mammography(lesion: Lesion, screening: bool = False, known_cancer: bool = False) -> str:
    """Category of a mammogram. What would need a work-up is 0 on a screening study and gets its final one later."""
    if known_cancer:
        return "BI-RADS 6"
    category = _mammographic(lesion)
    return "BI-RADS 0" if screening and category not in ("BI-RADS 1", "BI-RADS 2") else category


def _mammographic(lesion: Lesion) -> str:
    if lesion.kind == "none":
        return "BI-RADS 1"
    if lesion.kind == "benign":
        return "BI-RADS 2"
    if lesion.kind == "calcifications":
        if lesion.form == "punctate":
            return "BI-RADS 3"
        spread = lesion.extra in ("segmental", "linear")
        if lesion.form == "fine linear branching":
            return "BI-RADS 5" if spread else "BI-RADS 4C"
        return "BI-RADS 4C" if lesion.form == "fine pleomorphic" and spread else "BI-RADS 4B"
    if lesion.kind == "asymmetry":
        return {"stable": "BI-RADS 2", "first": "BI-RADS 3", "growing": "BI-RADS 4B"}[lesion.course]
    if lesion.margin == "circumscribed":
        return {"stable": "BI-RADS 2", "first": "BI-RADS 3", "growing": "BI-RADS 4A"}[lesion.course]
    if lesion.margin == "obscured":
        return "BI-RADS 4A"
    irregular = lesion.form == "irregular"
    if lesion.margin == "indistinct":
        return "BI-RADS 4C" if irregular else "BI-RADS 4B"
    return "BI-RADS 5" if irregular and lesion.extra == "high density" else "BI-RADS 4C"


def ultrasound(lesion: Lesion, known_cancer: bool = False) -> str:
    """Category of a breast ultrasound."""
    if known_cancer:
        return "BI-RADS 6"
    if lesion.kind in ("none", "benign", "complicated cyst"):
        return {"none": "BI-RADS 1", "benign": "BI-RADS 2"}.get(lesion.kind, "BI-RADS 3")
    upright = lesion.extra == "not parallel"
    if lesion.margin == "circumscribed":
        return "BI-RADS 3" if lesion.form == "oval" and not upright else "BI-RADS 4A"
    worst = lesion.form == "irregular" and upright
    if lesion.margin == "spiculated":
        return "BI-RADS 5" if worst else "BI-RADS 4C"
    return "BI-RADS 4C" if worst else "BI-RADS 4B"


def mri(lesion: Lesion, known_cancer: bool = False) -> str:
    """Category of a breast MRI, where category 4 is not subdivided."""
    if known_cancer:
        return "BI-RADS 6"
    if lesion.kind in ("none", "benign"):
        return {"none": "BI-RADS 1", "benign": "BI-RADS 2"}[lesion.kind]
    if lesion.kind == "non-mass":
        return "BI-RADS 4"
    if lesion.margin == "circumscribed":
        return "BI-RADS 3" if lesion.extra == "homogeneous" else "BI-RADS 4"
    return "BI-RADS 5" if lesion.margin == "spiculated" and lesion.extra == "rim" else "BI-RADS 4"


_NONE = [Lesion("none")]
_MAMMOGRAPHIC = [
    *_NONE,
    *(Lesion("benign", form) for form in (*(f"{word} calcifications" for word in BENIGN_CALCIFICATIONS),
      "an oil cyst", "a fat-containing hamartoma", "an intramammary lymph node with a fatty hilum",
      "a postsurgical scar", "a calcified fibroadenoma")),
    *(Lesion("calcifications", *facts) for facts in itertools.product(
        ("amorphous", "coarse heterogeneous", "fine pleomorphic", "fine linear branching"), ("",),
        ("grouped", "segmental", "linear"))),
    Lesion("calcifications", "punctate", "", "grouped"),
    *(Lesion("asymmetry", course=course) for course in ("stable", "first", "growing")),
    *(Lesion("mass", *facts) for facts in itertools.product(
        ("oval", "round"), ("circumscribed",), ("equal density", "low density"), ("stable", "first", "growing"))),
    *(Lesion("mass", *facts) for facts in itertools.product(
        ("oval", "round", "irregular"), ("obscured", "indistinct", "spiculated"), ("equal density", "high density"))),
]  # fmt: skip
_SONOGRAPHIC = [
    *_NONE,
    *(Lesion("benign", form) for form in ("an anechoic simple cyst with posterior enhancement",
      "an intramammary lymph node with a fatty hilum", "a postsurgical fluid collection", "an intact implant",
      "a cluster of simple cysts")),
    Lesion("complicated cyst"),
    *(Lesion("mass", *facts) for facts in itertools.product(("oval", "round"), ("circumscribed",),
                                                            ("parallel", "not parallel"))),
    *(Lesion("mass", *facts) for facts in itertools.product(
        ("oval", "irregular"), ("microlobulated", "indistinct", "spiculated"), ("parallel", "not parallel"))),
]  # fmt: skip
_MAGNETIC = [
    *_NONE,
    *(Lesion("benign", form) for form in ("a nonenhancing cyst bright on T2-weighted images",
      "a mass with dark nonenhancing internal septations", "a nonenhancing scar", "fat necrosis with central fat",
      "an intramammary lymph node with a fatty hilum")),
    *(Lesion("mass", *facts) for facts in itertools.product(("oval", "round"), ("circumscribed",),
                                                            ("homogeneous", "heterogeneous"))),
    *(Lesion("mass", *facts) for facts in itertools.product(("irregular",), ("not circumscribed", "spiculated"),
                                                            ("homogeneous", "heterogeneous", "rim"))),
    *(Lesion("non-mass", form, "", extra) for form, extra in itertools.product(
        ("clumped", "clustered ring", "heterogeneous"), ("focal", "linear", "segmental"))),
]  # fmt: skip


@functools.cache
def _tables() -> dict[str, dict[str, list[list[Lesion]]]]:
    """Study to category to lesions, by kind."""

    def kind(lesion: Lesion) -> str:
        return f"{lesion.kind} {lesion.margin}"

    return {
        "screening mammogram": grouped(_MAMMOGRAPHIC, lambda lesion: mammography(lesion, screening=True), kind),
        "diagnostic mammogram": grouped(_MAMMOGRAPHIC, mammography, kind),
        "breast ultrasound": grouped(_SONOGRAPHIC, ultrasound, kind),
        "breast MRI": grouped(_MAGNETIC, mri, kind),
    }


EXAMS = {
    "screening mammogram": wordings(
        "Bilateral screening mammogram", "Screening mammography with tomosynthesis", "Digital screening mammogram",
        "Mammography, screening, both breasts", "Routine two-view screening mammogram",
    ),
    "diagnostic mammogram": wordings(
        "Diagnostic mammogram with spot compression", "Bilateral diagnostic mammography", "Diagnostic mammogram",
        "Mammography, diagnostic, with additional views", "Mammogram, diagnostic work-up",
    ),
    "breast ultrasound": wordings(
        "Breast ultrasound", "Targeted ultrasound of the breast", "Ultrasound, both breasts",
        "Sonography of the breast", "Breast sonogram",
    ),
    "breast MRI": wordings(
        "MRI of the breasts with and without contrast", "Breast MRI", "Bilateral contrast-enhanced breast MRI",
        "Dynamic MRI of both breasts", "Magnetic resonance imaging of the breasts",
    ),
}  # fmt: skip
TECHNIQUES = {
    "screening mammogram": wordings(
        "Craniocaudal and mediolateral oblique views.", "Standard CC and MLO views with tomosynthesis.",
        "Full-field digital two-view mammography.", "CC and MLO projections of each breast.",
    ),
    "diagnostic mammogram": wordings(
        "CC, MLO, true lateral and spot magnification views.",
        "Standard views with spot compression and magnification.",
        "Full-field digital mammography with additional spot views.", "Two standard views, lateral and spot views.",
    ),
    "breast ultrasound": wordings(
        "High-frequency linear transducer, radial and antiradial planes.", "Linear 12 MHz probe with color Doppler.",
        "Real-time gray-scale scanning with Doppler.", "Hand-held scanning with a linear high-frequency probe.",
    ),
    "breast MRI": wordings(
        "T2-weighted and dynamic T1-weighted sequences before and after gadolinium.",
        "Axial STIR, diffusion and dynamic contrast series with subtraction.",
        "Dedicated breast coil, dynamic series after gadolinium.",
        "Multiparametric protocol with subtracted dynamic contrast images.",
    ),
}  # fmt: skip
_REASONS = {
    "screening mammogram": ("routine screening", "annual screening, no symptoms", "screening, mother had breast cancer",
                            "asymptomatic, screening invitation"),
    "diagnostic mammogram": ("palpable lump", "surveillance after breast-conserving surgery for cancer",
    "recall from screening", "focal breast pain", "work-up of a screening recall"),
    "breast ultrasound": ("palpable lump", "work-up of a mammographic finding", "focal breast pain",
                          "supplementary study in dense breasts"),
    "breast MRI": ("high-risk screening, BRCA1 mutation", "strong family history", "problem solving after mammography",
                   "high-risk surveillance"),
}  # fmt: skip
_KNOWN_REASONS = ("neoadjuvant chemotherapy for biopsy-proven breast cancer", "biopsy-proven carcinoma before surgery",
                  "histologically confirmed breast cancer, extent of disease")  # fmt: skip

CLEAN = wordings(
    "No mass, suspicious calcification or distortion in either breast.",
    "Both breasts are symmetric, without mass, calcification or distortion.",
    "Neither breast shows any mass or other finding.",
    "No finding in the right or left breast.",
    "Right and left breast without any abnormality.",
    "Nothing abnormal is seen in the breast tissue of either side.",
)
BENIGN = wordings(
    "{Form} seen in the {place}.", "In the {place} there is {form}.", "{Form} in the {place}, as only finding.",
    "The {place} shows {form}.", "Note of {form} in the {place}.", "Only {form} in the {place}; nothing else.",
)  # fmt: skip
CALCIFICATIONS = wordings(
    "{Form} calcifications in {extra} distribution in the {place}, spanning {size}.",
    "There are {form} calcifications, {extra}, over {size} in the {place}.",
    "In the {place} {size} of {form} microcalcifications with {extra} distribution.",
    "Calcifications of {form} morphology and {extra} distribution in the {place}, {size}.",
    "The {place} contains {form} calcifications ({extra}, {size}).",
    "A {size} area in the {place} has {form} calcifications, arrangement {extra}.",
)
ASYMMETRY = wordings(
    "Focal asymmetry of {size} in the {place}, {course}.",
    "In the {place} there is a {size} focal asymmetry, {course}.",
    "A {size} focal asymmetry is seen in the {place}; {course}.",
    "The {place} has a focal asymmetry ({size}), {course}.",
    "Focal asymmetry, {size}, {place}: {course}.",
)
MASS = wordings(
    "{Form} mass of {size} with {margin} margins and {extra} in the {place}{course}.",
    "There is a {size} {form} mass in the {place} with {margin} margins, {extra}{course}.",
    "In the {place} a {form} mass, margins {margin}, {extra}, {size}{course}.",
    "A mass in the {place} measures {size}: {form} shape, {margin} margins, {extra}{course}.",
    "Mass in the {place}, {size}. Shape {form}, margins {margin}, {extra}{course}.",
    "The {place} contains a {form} {size} mass, {margin} at its border, {extra}{course}.",
)
COMPLICATED = wordings(
    "Complicated cyst of {size} with low-level echoes in the {place}.",
    "In the {place} there is a {size} complicated cyst with internal debris.",
    "A {size} cyst with homogeneous low-level echoes and no solid part in the {place}, a complicated cyst.",
    "The {place} shows a complicated cyst, {size}.",
)
NON_MASS = wordings(
    "{Extra} non-mass enhancement with {form} pattern in the {place}, {size}.",
    "In the {place} there is {extra} non-mass enhancement of {size}, {form}.",
    "Non-mass enhancement, {form} and {extra}, extends over {size} in the {place}.",
    "The {place} has {size} of {form} non-mass enhancement in {extra} distribution.",
    "An area of non-mass enhancement ({extra}, {form}) in the {place} measures {size}.",
)
BENIGN_TOO = wordings(
    "Vascular calcifications in the {side} breast.", "Benign intramammary lymph node in the {side} breast.",
    "The {side} breast also has a simple cyst.", "A calcified fibroadenoma is seen in the {side} breast.",
    "The {side} breast also shows vascular calcifications.",
)  # fmt: skip
KNOWN = wordings(
    "The biopsy-proven carcinoma in the {place} measures {size}.",
    "Known carcinoma in the {place}, {size}, with a clip marker.",
    "In the {place} the histologically proven cancer, now {size}, with biopsy clip.",
    "Biopsy clip within the known {size} malignancy of the {place}.",
    "The {place} contains the proven {size} cancer.",
)
_COURSE = {
    "stable": "unchanged for more than two years",
    "growing": "larger than on the prior study",
    "first": "no earlier study for comparison",
}
_EXTRA = {
    "parallel": "parallel orientation", "not parallel": "not parallel to the skin",
    "homogeneous": "homogeneous enhancement", "heterogeneous": "heterogeneous enhancement", "rim": "rim enhancement",
}  # fmt: skip
REGION = Region(
    organs=("skin", "nipple-areolar complex on the right", "nipple-areolar complex on the left", "pectoral muscle",
            "right axilla", "left axilla", "subcutaneous fat", "chest wall"),
    absent=("skin thickening", "nipple retraction", "enlarged axillary lymph node", "duct ectasia", "breast edema",
            "axillary mass", "skin retraction"),
    incidental=("sebaceous cyst of the skin", "lipoma of the chest wall", "skin mole", "epidermal inclusion cyst",
                "axillary lymph node with a fatty hilum"),
)  # fmt: skip


def bi_rads(writer: Writer, category: str) -> Case:
    """A breast study of this category."""
    known = category == "BI-RADS 6"
    fitting = [study for study, table in _tables().items() if category in table]
    study = writer.one(["diagnostic mammogram", "breast ultrasound", "breast MRI"] if known else fitting)
    place = f"{writer.one(('upper', 'lower'))} {writer.one(('outer', 'inner'))} quadrant of the " + writer.one(
        ("right breast", "left breast")
    )
    lesion = Lesion("known") if known else pick(writer, _tables()[study][category])
    findings = [_describe(writer, lesion, place)]
    if category not in ("BI-RADS 1", "BI-RADS 2") and writer.chance(0.25):
        findings.insert(writer.random.randint(0, 1), writer.say(BENIGN_TOO, side=writer.one(("right", "left"))))
    course = {"stable": True, "growing": True, "first": False}.get(lesion.course)
    return Case(
        category,
        EXAMS[study],
        TECHNIQUES[study],
        writer.one(_KNOWN_REASONS if known else _REASONS[study]),
        findings,
        REGION,
        sex="female",
        prior="mammogram" if "mammogram" in study else study,
        priors=("BI-RADS 1", "BI-RADS 2", "BI-RADS 3"),
        compared=course,
    )


def _describe(writer: Writer, lesion: Lesion, place: str) -> str:
    tables = {
        "none": CLEAN, "benign": BENIGN, "calcifications": CALCIFICATIONS, "asymmetry": ASYMMETRY, "mass": MASS,
        "complicated cyst": COMPLICATED, "non-mass": NON_MASS, "known": KNOWN,
    }  # fmt: skip
    extra = _EXTRA.get(lesion.extra, lesion.extra) if lesion.kind == "mass" else lesion.extra
    course = _COURSE.get(lesion.course, "")
    return writer.say(
        tables[lesion.kind],
        form=lesion.form,
        Form=lesion.form[:1].upper() + lesion.form[1:],
        margin=lesion.margin,
        extra=extra,
        Extra=extra[:1].upper() + extra[1:],
        course=f", {course}" if course and lesion.kind == "mass" else course,
        place=place,
        size=size(writer, writer.random.randint(6, 38)),
    )
