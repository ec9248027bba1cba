"""BI-RADS: mammography, ultrasound, MRI."""

import functools
import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from radlite.data.sample.rads_case import Case, Region, grouped, pick, size, upper
from radlite.data.sample.wording import Writer, wordings
from radlite.rads.rules.bi_rads import Mammogram, Mri, Ultrasound, decide

CATEGORIES = ("BI-RADS 0", "BI-RADS 1", "BI-RADS 2", "BI-RADS 3", "BI-RADS 4", "BI-RADS 4A", "BI-RADS 4B",
              "BI-RADS 4C", "BI-RADS 5", "BI-RADS 6")  # fmt: skip


@dataclass(frozen=True, slots=True)
class Seen:
    """What was seen; `name` is what something typically benign is called."""

    features: Mammogram | Ultrasound | Mri
    name: str = ""


def _every(record: type[Any], study: str, finding: str, **words: tuple[Any, ...]) -> Iterator[Seen]:
    """All combinations of the words, which are those of the record's lexicon."""
    for facts in itertools.product(*words.values()):
        yield Seen(record(study, finding, **dict(zip(words, facts, strict=True))))


_MAMMOGRAPHIC = [
    Seen(Mammogram("mammography", "none")),
    *(
        Seen(Mammogram("mammography", "calcifications", morphology="typically benign"), f"{word} calcifications")
        for word in ("vascular", "coarse popcorn-like", "large rod-like", "rim", "dystrophic", "layering", "skin")
    ),
    *(
        Seen(Mammogram("mammography", "benign"), name)
        for name in ("an oil cyst", "a fat-containing hamartoma", "an intramammary lymph node with a fatty hilum",
                     "a postsurgical scar", "a calcified fibroadenoma")
    ),
    *_every(
        Mammogram, "mammography", "calcifications",
        morphology=("amorphous", "coarse heterogeneous", "fine pleomorphic", "fine linear branching"),
        distribution=("grouped", "segmental", "linear"),
    ),
    Seen(Mammogram("mammography", "calcifications", morphology="punctate", distribution="grouped")),
    *_every(Mammogram, "mammography", "focal asymmetry", course=("stable", "first", "growing")),
    *_every(
        Mammogram, "mammography", "mass",
        shape=("oval", "round"), margin=("circumscribed",), density=("equal", "low"),
        course=("stable", "first", "growing"),
    ),
    *_every(
        Mammogram, "mammography", "mass",
        shape=("oval", "round", "irregular"), margin=("obscured", "indistinct", "spiculated"),
        density=("equal", "high"),
    ),
]  # fmt: skip
_SONOGRAPHIC = [
    Seen(Ultrasound("ultrasound", "none")),
    *(
        Seen(Ultrasound("ultrasound", "benign"), name)
        for name in ("an anechoic simple cyst with posterior enhancement",
                     "an intramammary lymph node with a fatty hilum", "a postsurgical fluid collection",
                     "an intact implant", "a cluster of simple cysts")
    ),
    Seen(Ultrasound("ultrasound", "complicated cyst")),
    *_every(
        Ultrasound, "ultrasound", "mass",
        shape=("oval", "round"), margin=("circumscribed",), parallel=(True, False),
    ),
    *_every(
        Ultrasound, "ultrasound", "mass",
        shape=("oval", "irregular"), margin=("microlobulated", "indistinct", "spiculated"), parallel=(True, False),
    ),
]  # fmt: skip
_MAGNETIC = [
    Seen(Mri("MRI", "none")),
    *(
        Seen(Mri("MRI", "benign"), name)
        for name in ("a nonenhancing cyst bright on T2-weighted images",
                     "a mass with dark nonenhancing internal septations", "a nonenhancing scar",
                     "fat necrosis with central fat", "an intramammary lymph node with a fatty hilum")
    ),
    *_every(
        Mri, "MRI", "mass",
        shape=("oval", "round"), margin=("circumscribed",), enhancement=("homogeneous", "heterogeneous"),
    ),
    *_every(
        Mri, "MRI", "mass",
        shape=("irregular",), margin=("not circumscribed", "spiculated"),
        enhancement=("homogeneous", "heterogeneous", "rim"),
    ),
    *_every(
        Mri, "MRI", "non-mass enhancement",
        enhancement=("clumped", "clustered ring", "heterogeneous"), distribution=("focal", "linear", "segmental"),
    ),
]  # fmt: skip
_SCREENED = [
    Seen(replace(seen.features, screening=True), seen.name)
    for seen in _MAMMOGRAPHIC
    if isinstance(seen.features, Mammogram)
]
_KNOWN = Seen(Mammogram("mammography", known_cancer=True))


@functools.cache
def tables() -> dict[str, dict[str, list[list[Seen]]]]:
    """Study to category to what was seen, by kind."""

    def kind(seen: Seen) -> tuple[str | None, str | None]:
        features = seen.features
        return ("benign", None) if seen.name else (features.finding, features.margin)

    studies = {
        "screening mammogram": _SCREENED, "diagnostic mammogram": _MAMMOGRAPHIC,
        "breast ultrasound": _SONOGRAPHIC, "breast MRI": _MAGNETIC,
    }  # fmt: skip
    return {study: grouped(pool, lambda seen: decide(seen.features).category, kind) for study, pool in studies.items()}


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
_TABLES = {
    "none": CLEAN, "calcifications": CALCIFICATIONS, "focal asymmetry": ASYMMETRY, "mass": MASS,
    "complicated cyst": COMPLICATED, "non-mass enhancement": NON_MASS, None: KNOWN,
}  # fmt: skip
_COURSE = {
    "stable": "unchanged for more than two years",
    "growing": "larger than on the prior study",
    "first": "no earlier study for comparison",
}
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
    known = category == decide(_KNOWN.features).category
    fitting = [study for study, table in tables().items() if category in table]
    study = writer.one(["diagnostic mammogram", "breast ultrasound", "breast MRI"] if known else fitting)
    place = f"{writer.one(('upper', 'lower'))} {writer.one(('outer', 'inner'))} quadrant of the " + writer.one(
        ("right breast", "left breast")
    )
    seen = _KNOWN if known else pick(writer, tables()[study][category])
    findings = [_describe(writer, seen, place)]
    if category not in ("BI-RADS 1", "BI-RADS 2") and writer.chance(0.25):
        findings.insert(writer.random.randint(0, 1), writer.say(BENIGN_TOO, side=writer.one(("right", "left"))))
    course = seen.features.course
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
        compared=course and course != "first",
    )


def _describe(writer: Writer, seen: Seen, place: str) -> str:
    features = seen.features
    form, extra = _words(features)
    course = _COURSE[features.course] if features.course else ""
    return writer.say(
        BENIGN if seen.name else _TABLES[features.finding],
        form=seen.name or form,
        Form=upper(seen.name or form),
        margin=features.margin,
        extra=extra,
        Extra=upper(extra),
        course=f", {course}" if course and features.finding == "mass" else course,
        place=place,
        size=size(writer, writer.random.randint(6, 38)),
    )


def _words(features: Mammogram | Ultrasound | Mri) -> tuple[str, str]:
    """Shape, morphology or pattern, and what is said besides."""
    if isinstance(features, Ultrasound):
        return features.shape or "", "parallel orientation" if features.parallel else "not parallel to the skin"
    if isinstance(features, Mri):
        if features.finding == "mass":
            return features.shape or "", f"{features.enhancement} enhancement"
        return features.enhancement or "", features.distribution or ""
    if features.finding == "mass":
        return features.shape or "", f"{features.density} density"
    return features.morphology or "", features.distribution or ""
