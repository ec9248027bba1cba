"""Findings of the breast on mammography, ultrasound or MRI, in the words of the lexicon."""

import re
from collections.abc import Callable, Iterator
from typing import Any, Final

from radlite.rads.features.said import Said, Words, first, lesions, only, stated
from radlite.rads.rules.bi_rads import Mammogram, Mri, Ultrasound

_MODALITIES: Final[Words] = (
    (r"mammogra|tomosynthesis", "mammography"),
    (r"ultraso|sonogra|\bus\b", "ultrasound"),
    (r"\bmri?\b|magnetic", "MRI"),
)
_FINDING: Final = (
    r"\bmass(?:es)?\b|calcification|asymmetr|distortion|\bcysts?\b|\bfocus\b|lymph node|\bimplant|\bscar\b|carcinoma|"
    r"\bcancer\b|malignan|hamartoma|fibroadenoma|fat necrosis|collection"
)
_NONE: Final = (
    r"\bno (?:suspicious )?(?:mass|finding)|without (?:any )?(?:mass|abnormality)|neither breast|nothing abnormal|"
    r"no (?:\w+ )?(?:mass|abnormality|finding)"
)
_ELSEWHERE: Final = r"axilla|(?<!to the )\bskin|chest wall|nipple|pectoral|bi-?rads"
_PROVEN: Final = (
    r"(?:biopsy|histolog\w+|patholog\w+)[- ](?:proven|confirmed)|"
    r"\b(?:known|proven) (?:[\w.]+ ){0,4}(?:carcinoma|cancer|malignancy)"
)
_SHAPE: Final[Words] = (
    (r"irregular(?! margin| border)", "irregular"), (r"\boval\b", "oval"), (r"\bround\b", "round"),
)  # fmt: skip
_CIRCUMSCRIBED: Final = r"(?<!not )(?<!non-)(?<!non)(?<!un)circumscribed|well[- ]defined"
_MARGIN: Final[Words] = (
    (_CIRCUMSCRIBED, "circumscribed"), (r"obscured", "obscured"), (r"micro-?lobulated", "microlobulated"),
    (r"indistinct|ill-?defined", "indistinct"), (r"spiculat", "spiculated"), (r"\bangular", "angular"),
)  # fmt: skip
_DENSITY: Final[Words] = (
    (r"fat-containing|contains fat", "fat-containing"), (r"low[- ]density|density low|low in density", "low"),
    (r"(?:equal|iso)[- ]?dens", "equal"), (r"high[- ]density|hyperdens", "high"),
)  # fmt: skip
_MORPHOLOGY: Final[Words] = (
    (r"amorphous", "amorphous"), (r"coarse heterogeneous", "coarse heterogeneous"),
    (r"fine[- ]linear", "fine linear branching"), (r"pleomorphic", "fine pleomorphic"), (r"punctate", "punctate"),
    (r"vascular|popcorn|rod-like|\brim\b|dystrophic|layering|milk of calcium|\bskin\b|suture|benign",
     "typically benign"),
)  # fmt: skip
_DISTRIBUTION: Final[Words] = (
    (r"\bdiffuse", "diffuse"), (r"\bregional", "regional"), (r"grouped|cluster", "grouped"),
    (r"segmental", "segmental"), (r"\blinear(?! branching)(?<!fine linear)(?<!fine-linear)", "linear"),
)  # fmt: skip
_COURSE: Final[Words] = (
    (r"(?:unchanged|stable) (?:for|over|since) (?:more than |at least |over )?(?:two|three|four|five|[2-9]|\d\d) years",
     "stable"),
    (r"larger|increas|\bgrown\b|\bnew\b|enlarg|developing", "growing"),
    (r"no (?:earlier|prior|previous)|first (?:study|examination)|baseline", "first"),
)  # fmt: skip
_UNTIMED: Final = r"unchanged|stable|no (?:interval )?change"
_BENIGN: Final = (
    r"(?<!complicated )(?<!complex )\bsimple cysts?|intra-?mammary lymph node|oil cyst|hamartoma|post-?surgical|"
    r"calcified fibroadenoma|\bimplant|non-?enhancing (?:[\w-]+ )?(?:cyst|scar)|fat necrosis|"
    r"dark non-?enhancing (?:internal )?septations"
)


def records(said: Said) -> Iterator[Mammogram | Ultrasound | Mri | None]:
    """One for each finding, or one for a study without any. Nothing where the exam is of several kinds."""
    modality = only(said.exam, _MODALITIES)
    if not modality:
        return
    seen = [text for text in lesions(said, _FINDING, near=2, apart=_ELSEWHERE, unless=rf"{_NONE}|{_ELSEWHERE}")
            if stated(text, _FINDING) is not False]  # fmt: skip
    for text in seen:
        yield _EXTRACTORS[modality](said, text)
    if not seen and re.search(_NONE, said.whole):
        yield _RECORDS[modality](modality, "none")


def _mammographic(said: Said, text: str) -> Mammogram | None:
    if re.search(_PROVEN, text):
        return Mammogram("mammography", known_cancer=True)
    if re.search(_BENIGN, text):
        return Mammogram("mammography", "benign")
    screening = bool(re.search(r"screening", said.exam))
    facts: dict[str, Any] = {"screening": screening, "course": only(text, _COURSE)}
    if "calcification" in text:
        morphology, distribution = first(text, _MORPHOLOGY), only(text, _DISTRIBUTION)
        if morphology == "typically benign":
            return Mammogram("mammography", "calcifications", morphology=morphology)
        known = morphology and distribution and (morphology != "punctate" or _timed(text, facts["course"]))
        found = Mammogram("mammography", "calcifications", morphology=morphology, distribution=distribution, **facts)
        return found if known and _purpose(said) else None
    if not _purpose(said):
        return None
    if re.search(r"focal asymmetry", text):
        return Mammogram("mammography", "focal asymmetry", **facts) if _timed(text, facts["course"]) else None
    if re.search(r"architectural distortion", text) and not re.search(r"surg|scar|biopsy|trauma", text):
        return Mammogram("mammography", "architectural distortion", **facts)
    shape, margin = only(text, _SHAPE), only(text, _MARGIN)
    if "mass" not in text or not shape or not margin or not _timed(text, facts["course"]):
        return None
    return Mammogram("mammography", "mass", shape, margin, only(text, _DENSITY), **facts)


def _purpose(said: Said) -> bool:
    """Whether the report says if this is screening or work-up, on which the category of what is found depends."""
    return bool(re.search(r"screening|diagnostic|spot|magnification|work-?up|additional views", said.exam))


def _timed(text: str, course: str | None) -> bool:
    """Whether the course is clear; stable without a time is not."""
    return course is not None or not re.search(_UNTIMED, text)


def _sonographic(said: Said, text: str) -> Ultrasound | None:
    if re.search(_PROVEN, text):
        return Ultrasound("ultrasound", known_cancer=True)
    course: Any = only(text, _COURSE)
    if not _timed(text, course):
        return None
    if re.search(r"complex cystic and solid|complex (?:cyst|mass)", text):
        return Ultrasound("ultrasound", "complex mass", course=course)
    if re.search(r"complicated cyst", text):
        return Ultrasound("ultrasound", "complicated cyst", course=course)
    if re.search(rf"{_BENIGN}|cluster of (?:simple )?cysts", text):
        return Ultrasound("ultrasound", "benign")
    shape, margin = only(text, _SHAPE), only(text, _MARGIN)
    parallel = first(
        text, ((r"not parallel|non-?parallel|anti-?parallel|taller than wide", False), (r"parallel", True))
    )
    shadowing = stated(text, r"shadowing")
    if "mass" not in text or not shape or not margin or parallel is None or (shadowing is None and "shadow" in text):
        return None
    return Ultrasound("ultrasound", "mass", shape, margin, parallel, bool(shadowing), course=course)


_PATTERN: Final[Words] = (
    (r"clustered ring", "clustered ring"), (r"clumped", "clumped"), (r"heterogeneous", "heterogeneous"),
    (r"\bhomogeneous", "homogeneous"), (r"\brim\b", "rim"), (r"dark (?:internal )?septations", "dark septations"),
)  # fmt: skip
_AREA: Final[Words] = (
    (r"multiple regions", "multiple regions"), (r"\bdiffuse", "diffuse"), (r"segmental", "segmental"),
    (r"\blinear", "linear"), (r"\bregional", "regional"), (r"\bfocal\b", "focal"),
)  # fmt: skip
_MAGNETIC_MARGIN: Final[Words] = (
    (r"spiculat", "spiculated"),
    (r"(?:not|non-?|un)[ -]?circumscribed|irregular margin|margins? irregular|indistinct", "not circumscribed"),
    (_CIRCUMSCRIBED, "circumscribed"),
)


def _magnetic(said: Said, text: str) -> Mri | None:
    if re.search(_PROVEN, text):
        return Mri("MRI", known_cancer=True)
    if re.search(_BENIGN, text):
        return Mri("MRI", "benign")
    course, washout = only(text, _COURSE), stated(text, r"wash-?out")
    if not _timed(text, course) or (washout is None and re.search(r"wash-?out", text)):
        return None
    facts: dict[str, Any] = {"washout": bool(washout), "course": course}
    pattern = only(text, _PATTERN)
    if re.search(r"non-?\s?mass", text):
        area = only(text, _AREA)
        found = Mri("MRI", "non-mass enhancement", enhancement=pattern, distribution=area, **facts)
        return found if pattern and area else None
    shape, margin = only(text, _SHAPE), first(text, _MAGNETIC_MARGIN)
    return (
        Mri("MRI", "mass", shape, margin, pattern, **facts) if shape and margin and pattern and "mass" in text else None
    )


_EXTRACTORS: Final[dict[str, Callable[[Said, str], Mammogram | Ultrasound | Mri | None]]] = {
    "mammography": _mammographic,
    "ultrasound": _sonographic,
    "MRI": _magnetic,
}
_RECORDS: Final[dict[str, Any]] = {"mammography": Mammogram, "ultrasound": Ultrasound, "MRI": Mri}
