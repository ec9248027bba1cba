"""Lesions of ovary and adnexa on ultrasound or MRI."""

import re
from collections.abc import Iterator
from typing import Any, Final

from radlite.rads.features.said import Said, Words, first, lesions, only, size, stated
from radlite.rads.rules.o_rads import Mri, Ultrasound

_SITE: Final = r"ovar(?:y|ies|ian)|adnex"
_NORMAL: Final = (
    r"normal ovaries|ovaries (?:are )?(?:of )?normal|\bno (?:ovarian or )?adnexal (?:lesion|mass)|neither ovary|"
    r"without (?:cyst or )?mass|no (?:adnexal|ovarian) (?:lesion|mass|cyst)"
)
_ELSEWHERE: Final = r"uter|endometri|cervi|vagina|fibroid|nabothian|bartholin|gartner|bladder|rect|o-?rads"
_LESION: Final = r"cyst|lesion|mass|dermoid|endometrioma|follicle|corpus luteum|hydrosalpinx|teratoma"
_ASCITES: Final = r"\bascites\b"
_PERITONEUM: Final = (
    r"peritoneal (?:nodul|thicken|implant)|nodules of the peritoneum|peritoneum is nodular|omental (?:cak|nodul)"
)
_LOCULES: Final[Words] = ((r"unilocular", "unilocular"), (r"bilocular", "bilocular"), (r"multilocular", "multilocular"))
_TYPICAL: Final[Words] = (
    (r"(?<!para)(?<!para-)\bsimple (?:\w+ ){0,2}cyst", "simple cyst"),
    (r"(?:typical|classic) dermoid", "dermoid cyst"),
    (r"(?:typical|classic) endometrioma", "endometrioma"),
    (r"(?:typical|classic) hemorrhagic cyst", "hemorrhagic cyst"),
    (r"par(?:a-?)?ovarian cyst", "paraovarian cyst"),
    (r"peritoneal inclusion cyst", "peritoneal inclusion cyst"),
    (r"(?:typical|classic|simple) hydrosalpinx", "hydrosalpinx"),
)
_SOLID_PART: Final = r"solid (?:component|nodule|part|portion|tissue)|papillary projection|mural nodule"
_FLOW: Final[Words] = (
    (r"colou?r score (?:of )?:? ?1", 1), (r"colou?r score (?:of )?:? ?2", 2),
    (r"colou?r score (?:of )?:? ?3", 3), (r"colou?r score (?:of )?:? ?4", 4),
)  # fmt: skip
_CONTOUR: Final[Words] = (
    (r"irregular[\w ]{0,16}(?:wall|contour|margin|septa)|(?:wall|contour|septa)\w*[\w ]{0,6} irregular", True),
    (r"smooth[\w ]{0,16}(?:wall|contour|margin|septa)|(?:wall|contour|septa)\w*[\w ]{0,6} smooth", False),
)
_NUMBERS: Final = ("one", "two", "three", "four", "five", "six", "seven", "eight")
_PROJECTIONS: Final = re.compile(rf"(\d+|{'|'.join(_NUMBERS)}) papillary projections?")
_CURVE: Final[Words] = tuple(
    (rf"{risk}[- ]risk (?:time-intensity )?curve|{risk}[- ]risk tic\b", f"{risk}-risk")
    for risk in ("low", "intermediate", "high")
)
_ENHANCING: Final = (
    r"enhancing (?:solid tissue|(?:mural )?nodule|papillary|solid component)|solid tissue (?:that )?enhanc"
)
_DARK: Final = (
    r"(?:homogeneously )?(?:dark|hypointense) on t2(?:-weighted)?(?: images)? and (?:on )?(?:diffusion|dwi|high)"
)
_FLUID: Final[Words] = tuple(
    (pattern, fluid)
    for fluid, pattern in {
        "simple": r"simple fluid", "endometriotic": r"endometriotic|endometrioma", "hemorrhagic": r"hemorrhagic",
        "proteinaceous": r"proteinaceous", "mucinous": r"mucinous",
    }.items()
)  # fmt: skip
_WALL: Final[Words] = (
    (r"(?:no|without) (?:\w+ )?(?:wall|mural) enhancement|wall does not enhance|non-?enhancing wall", False),
    (r"(?<!non)(?<!non-)enhancing wall|wall enhances", True),
)  # fmt: skip

_EARLY: Final[Words] = (
    (r"(?:less|later|slower|not more) than (?:the )?(?:outer )?myometrium", "at most myometrium"),
    (r"(?:more|earlier|faster) than (?:the )?(?:outer )?myometrium", "more than myometrium"),
)


def records(said: Said) -> Iterator[Ultrasound | Mri | None]:
    """One for each lesion, or one for normal ovaries. Nothing where ultrasound and MRI cannot be told apart."""
    magnetic = bool(re.search(r"\bmri?\b|magnetic", said.exam))
    if magnetic == bool(re.search(r"ultraso|sonogra|doppler|transvaginal|\bus\b", said.exam)):
        return
    spread: dict[str, Any] = {
        "ascites": stated(said.whole, _ASCITES) or False,
        "peritoneal_nodules": stated(said.whole, _PERITONEUM) or False,
    }
    if magnetic:
        del spread["ascites"]
    found = False
    begins = rf"(?=.*(?:{_SITE}))(?=.*(?:{_LESION}))"
    for text in lesions(said, begins, near=2, apart=rf"{_SITE}|{_ELSEWHERE}|{_PERITONEUM}", unless=_NORMAL):
        found = True
        yield _magnetic(said, text, spread) if magnetic else _sonographic(said, text, spread)
    if not found and re.search(_NORMAL, said.whole):
        yield Mri("MRI", "normal", **spread) if magnetic else Ultrasound("ultrasound", "normal", **spread)


def _follicle(said: Said, text: str) -> Any:
    """A follicle or corpus luteum; not after menopause, when the level depends on its years."""
    if re.search(r"post-?menopaus", f"{said.reason} {said.whole}") or (size(text) or 0) > 30:
        return None
    return first(text, ((r"physiologic|follicle", "follicle"), (r"corpus luteum", "corpus luteum")))


def _sonographic(said: Said, text: str, spread: dict[str, Any]) -> Ultrasound | None:
    late = bool(re.search(r"post-?menopaus", f"{said.reason} {said.whole}"))
    lesion: Any = _follicle(said, text)
    if lesion:
        return Ultrasound("ultrasound", lesion, size(text), **spread)
    part, irregular, flow = stated(text, _SOLID_PART), only(text, _CONTOUR), only(text, _FLOW)
    lesion = only(text, _TYPICAL)
    if lesion and not part and not irregular and not (late and lesion == "hemorrhagic cyst"):
        return Ultrasound("ultrasound", lesion, size(text), **spread)
    lesion = only(text, _LOCULES)
    if not lesion:
        shadowing = stated(text, r"shadowing")
        if (
            not re.search(r"\bsolid (?:ovarian |adnexal )?(?:lesion|mass)", text)
            or irregular is None
            or shadowing is None
        ):
            return None
        return Ultrasound(
            "ultrasound", "solid", size(text), irregular=irregular, shadowing=shadowing, flow=flow, **spread
        )
    if part is None or (not part and irregular is None):
        return None
    projections = _PROJECTIONS.search(text)
    count = 0 if not projections or not part else _number(projections[1])
    if part and "papillary" in text and not count:
        return None
    return Ultrasound("ultrasound", lesion, size(text), irregular=bool(irregular) and not part, solid_component=part,
                      projections=count, flow=flow, **spread)  # fmt: skip


def _number(word: str) -> int:
    return int(word[:4]) if word.isdecimal() else _NUMBERS.index(word) + 1


def _magnetic(said: Said, text: str, spread: dict[str, Any]) -> Mri | None:
    if follicle := _follicle(said, text):
        return Mri("MRI", follicle, size(text), **spread)
    if re.search(_DARK, text):
        return Mri("MRI", "solid", size(text), solid_tissue="dark", **spread)
    tissue = stated(text, _ENHANCING)
    if tissue is None:
        tissue = stated(text, r"solid tissue")
    lipid = re.search(r"lipid|dermoid|teratoma|fat-containing|macroscopic fat", text)
    if tissue:
        facts = {"curve": only(text, _CURVE), "early_enhancement": first(text, _EARLY), **spread}
        return Mri("MRI", "lipid" if lipid else "solid", size(text), solid_tissue="enhancing", **facts)
    if lipid and tissue is False:
        return Mri("MRI", "lipid", size(text), **spread)
    if re.search(r"multilocular", text):
        return Mri("MRI", "multilocular", size(text), **spread) if tissue is False else None
    wall, fluid = only(text, _WALL), only(text, _FLUID)
    if wall is None or "cyst" not in text or "bilocular" in text:
        return None
    return Mri("MRI", "unilocular", size(text), fluid=fluid, enhancing_wall=wall, **spread)
