"""Liver observations: on CT or MRI those that the table of major features decides or whose nature is named, treated
ones, and those of surveillance ultrasound. Contrast-enhanced ultrasound is not read."""

import re
from collections.abc import Iterator
from typing import Any, Final

from radlite.rads.features.said import Said, Words, first, lesions, only, size, stated
from radlite.rads.rules.li_rads import Nonradiation, Observation, Radiation, Surveillance

_OBSERVATION: Final = (
    r"\bobservation|\blesion\b|\bnodule\b|\bmass\b|\bcysts?\b|hemangioma|perfusion|targetoid|\bvein\b|treated|"
    r"treatment zone|ablation (?:zone|cavity)|\bafter (?:[\w-]+ ){0,3}\w*(?:ablation|embolization|radiotherapy)"
)
_OTHER_ORGAN: Final = r"kidney|renal|spleen|splenic|pancrea|adrenal|gallbladder|\blung|ovar"
_MAJOR: Final = {
    "hyperenhancement": r"arterial (?:phase )?(?:hyper-?)?enhancement|\baphe\b|arterially (?:hyper-?)?enhancing",
    "washout": r"wash-?out",
    "capsule": r"capsule",
    "growth": r"threshold growth",
}
_NATURE: Final[Words] = (
    (r"simple (?:\w+ )?cyst|non-?enhancing (?:\w+ )?cyst|cyst without enhancement|hemangioma", "definitely benign"),
    (r"perfusion (?:alteration|anomal|difference)|altered perfusion", "probably benign"),
    (r"targetoid|(?<!non-)\brim (?:arterial )?(?:phase )?(?:hyper-?)?enhancement", "targetoid"),
)
_IN_VEIN: Final = (
    r"tumou?r in (?:the )?(?:\w+ )*vein|enhancing (?:soft )?tissue (?:with)?in (?:to )?the [\w ]*vein|"
    r"enhancing tissue (?:in|into|fills) the [\w ]*vein|vein is expanded by enhancing"
)
_RADIATION: Final = r"radio-?embolization|yttrium|\by-?90\b|\btare\b|\bsbrt\b|radiotherapy|radiation"
_OTHER_THERAPY: Final = r"ablation|chemo-?embolization|\btace\b|\brfa\b|\bmwa\b|resection|ethanol"
_ENHANCEMENT: Final[Words] = (
    (r"uncertain|indeterminate|may or may not|cannot be classed|unclear", "uncertain"),
    (r"no (?:\w+ ){0,3}enhanc|without (?:\w+ )?enhanc|absence of enhancement|nothing masslike", "none"),
    (r"(?:has )?not grown|no larger|unchanged|stable", "stable"),
    (r"\bnew\b|growing|increased in size|larger|has grown", "growing"),
)


def records(said: Said) -> Iterator[Observation | Nonradiation | Radiation | Surveillance | None]:
    """One for each observation; on ultrasound one for the study."""
    ultrasound = bool(re.search(r"ultraso|sonogra|transducer|\bus\b", said.exam))
    if ultrasound and re.search(r"\bceus\b|contrast-enhanced|microbubble|sulfur hexafluoride", said.exam):
        return
    near = 0 if ultrasound else 2
    seen = list(lesions(said, _OBSERVATION, near, apart=_OTHER_ORGAN, unless=_OTHER_ORGAN))
    if ultrasound:
        yield _surveillance(said, seen)
        return
    for lesion in seen:
        if re.search(r"\bno (?:\w+ ){0,3}(?:observation|lesion|nodule|mass)\b", lesion):
            continue
        yield _treated(said, lesion) if re.search(rf"treat|{_RADIATION}|{_OTHER_THERAPY}", lesion) else _seen(lesion)


def _seen(lesion: str) -> Observation | None:
    if re.search(_IN_VEIN, lesion) and stated(lesion, _IN_VEIN):
        return Observation("CT/MRI", "cirrhosis", tumor_in_vein=True)
    if "vein" in lesion:
        return None
    features: dict[str, Any] = {name: stated(lesion, pattern) for name, pattern in _MAJOR.items()}
    nature = only(lesion, _NATURE)
    if nature and not (features["washout"] or features["capsule"]):
        return Observation("CT/MRI", "cirrhosis", size(lesion), appearance=nature)
    length = size(lesion)
    if first(lesion, _NATURE) or re.search(r"\brim\b|distinct", lesion) or not length or None in features.values():
        return None
    return Observation("CT/MRI", "cirrhosis", length, **features)


def _treated(said: Said, lesion: str) -> Nonradiation | Radiation | None:
    place = next((text for text in (lesion, said.reason) if re.search(rf"{_RADIATION}|{_OTHER_THERAPY}", text)), "")
    radiation, other = bool(re.search(_RADIATION, place)), bool(re.search(_OTHER_THERAPY, place))
    found = first(lesion, _ENHANCEMENT)
    if radiation == other or not found:
        return None
    if radiation:
        kinds: dict[str, Any] = {"none": "none", "stable": "not larger", "growing": "new or larger"}
        return Radiation("radiation", kinds[found]) if found in kinds else None
    if found in ("none", "uncertain"):
        return Nonradiation("nonradiation", found)
    return Nonradiation("nonradiation", "masslike") if "masslike" in lesion else None


def _surveillance(said: Said, seen: list[str]) -> Surveillance | None:
    thrombus = stated(said.whole, r"thromb(?:us|osis)")
    if thrombus and re.search(r"\bnew(?:ly)?\b[\w ]{0,30}thromb|thromb\w+[\w ]{0,30}\bnew(?:ly)?\b", said.whole):
        return Surveillance("ultrasound", "cirrhosis", thrombus=True)
    if re.search("thromb", said.whole) and thrombus is not False:
        return None
    shown = [
        text for text in seen if not re.search(r"\bno (?:\w+ ){0,3}(?:observation|lesion|nodule|mass)|without", text)
    ]
    other = [text for text in shown if not re.search(r"cyst|hemangioma|\bvein\b", text)]
    if other:
        lengths = [size(text) for text in other]
        largest = max(filter(None, lengths), default=None)
        return None if largest is None else Surveillance("ultrasound", "cirrhosis", "other", largest)
    if shown:
        return Surveillance("ultrasound", "cirrhosis", "definitely benign")
    return Surveillance("ultrasound", "cirrhosis") if seen else None
