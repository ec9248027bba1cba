"""Lesions of the prostate on MRI: zone, scores or looks of the sequences, size."""

import re
from collections.abc import Iterator
from typing import Any, Final

from radlite.rads.features.said import Said, Words, first, lesions, only, size, stated
from radlite.rads.rules.pi_rads import Lesion

_ZONES: Final[Words] = ((r"peripheral zone|\bpz\b", "peripheral"), (r"transition(?:al)? zone|\btz\b", "transition"))
_ZONE: Final = "|".join(pattern for pattern, _ in _ZONES)
_ELSEWHERE: Final = (
    r"gland|volume|\bpsa\b|seminal|bladder|\bnodes?\b|\bbones?\b|rectum|normal|unremarkable|no focal|pi-?rads"
)
_CLEAN: Final = (
    r"\b(?:no|without)\b[\w ,-]{0,20}\b(?:focal|suspicious)[\w ]{0,12} (?:lesion|abnormality)|neither zone has|"
    r"(?:zones?|gland) (?:is|are) normal"
)
_SCORE: Final = (
    r"(?: ?/ ?adc)?(?:[- ]?weighted)?(?: imaging| images)?(?: score)?(?: of| is)? ?[:=]? ?([1-5])(?![\d.%]| ?[mc]m)"
)
_T2_SCORE: Final = re.compile(rf"\bt2w?i?{_SCORE}")
_DIFFUSION_SCORE: Final = re.compile(rf"\b(?:dwi|diffusion){_SCORE}")
_DIFFUSION: Final[Words] = (
    (r"\bno (?:\w+ )?(?:restrict|diffusion restrict)|without (?:\w+ )?restrict", "no abnormality"),
    (r"linear|wedge-shaped", "linear or wedge-shaped"),
    (r"marked(?:ly)?(?: \w+){0,2} (?:dark|hypointens|restrict|low signal|bright|hyperintens)", "focal and marked"),
    (r"mild(?:ly)?(?: \w+){0,2} (?:dark|hypointens|restrict|low signal|bright|hyperintens)", "focal"),
)
_T2: Final[Words] = (
    (r"lenticular|(?:ill|non|un|not)[- ]?circumscribed[\w ,]{0,20}homogeneous",
     "lenticular or not circumscribed, homogeneous"),
    (r"heterogeneous[\w ]{0,16} (?:with )?obscured margins?", "heterogeneous with obscured margins"),
    (r"mostly encapsulated|homogeneous[\w ]{0,12} circumscribed[\w ]{0,12} nodule without encapsulation",
     "mostly encapsulated, circumscribed or mild"),
    (r"(?:completely|fully) encapsulated|typical (?:bph )?nodule", "normal or completely encapsulated"),
)  # fmt: skip
_EARLY: Final[Words] = (
    (r"\bno (?:\w+ ){0,2}(?:early )?enhancement|does not enhance|\bdce[: ]+(?:is )?negative", False),
    (r"(?<!no )(?<!no focal )\b(?:early|contemporaneous)[\w ]{0,16}enhanc|\bdce[: ]+(?:is )?positive", True),
)  # fmt: skip
_EXTENSION: Final = (
    r"extra-?prostatic extension|extra-?capsular extension|\bepe\b|(?:invasion of|invades) the seminal|"
    r"seminal vesicle invasion"
)


def records(said: Said) -> Iterator[Lesion | None]:
    """One for each lesion, or one for a prostate without any."""
    seen = list(lesions(said, _ZONE, near=2, apart=_ELSEWHERE, unless=_CLEAN))
    for text in seen:
        yield _lesion(text)
    if not seen and any(re.search(_ZONE, text) and re.search(_CLEAN, text) for text in said.findings):
        yield Lesion("peripheral", diffusion="no abnormality")
    elsewhere = re.search(_EXTENSION, said.whole) and not any(re.search(_EXTENSION, text) for text in seen)
    if elsewhere and stated(said.whole, _EXTENSION) is not False:
        yield None  # Of which lesion it is, is not said.


def _lesion(text: str) -> Lesion | None:
    zone, extension = only(text, _ZONES), stated(text, _EXTENSION)
    if not zone or (extension is None and re.search(_EXTENSION, text)):
        return None
    diffusion, t2 = _score(text, _DIFFUSION_SCORE), _score(text, _T2_SCORE)
    diffusion = diffusion or only(text, _DIFFUSION)
    facts: dict[str, Any] = {"size": size(text), "extension": bool(extension)}
    if zone == "peripheral":
        early = first(text, _EARLY)
        # Only the middle score depends on the contrast series.
        if not diffusion or (diffusion in ("focal", 3) and early is None):
            return None
        return Lesion(zone, diffusion=diffusion, early_enhancement=early, **facts)
    t2 = t2 or only(text, _T2)
    deciding = (2, 3, "heterogeneous with obscured margins", "mostly encapsulated, circumscribed or mild")
    if not t2 or (t2 in deciding and not diffusion):
        return None
    return Lesion(zone, t2, diffusion, **facts)


def _score(text: str, pattern: re.Pattern[str]) -> Any:
    found = {int(digit) for digit in pattern.findall(text)}
    return found.pop() if len(found) == 1 else None
