"""A bladder tumor on MRI: scores of the sequences where they are given, else size, stalk, inner layer and muscle."""

import re
from collections.abc import Iterator
from typing import Any, Final

from radlite.rads.features.said import Said, Words, lesions, only, size, stated
from radlite.rads.rules.vi_rads import Tumor

_TUMOR: Final = r"\btumou?rs?\b|\bmass\b|\bpolyp|papillary lesion"
_MUSCLE: Final[Words] = (
    (r"musc\w+[\w -]{0,24}? (?:intact|preserved|uninterrupted|continuous)|(?:intact|preserved|uninterrupted|continuous)"
     r"[\w -]{0,24}? musc", "intact"),
    (r"musc\w+[\w -]{0,12}? (?:is |are )?(?:interrupted|disrupted)|(?<!no )(?<!without )(?:interruption|disruption) of "
     r"the [\w -]{0,24}?musc", "interrupted"),
    (r"(?:into|reaches|invades|involves) the (?:\w+ )?(?:perivesical |surrounding )?fat|(?<!no )(?<!without )"
     r"extra-?vesical (?:extension|spread|growth)", "extravesical"),
)  # fmt: skip
_SCORE: Final = (
    r"(?:[- ]?weighted)?(?: imaging| images)?(?: score| category)?(?: of| is)? ?[:=]? ?([1-5])(?![\d.%]| ?[mc]m)"
)
_SERIES: Final = {
    "structural": rf"\bt2w?i?{_SCORE}|\bstructural{_SCORE}",
    "diffusion": rf"\b(?:dwi|diffusion){_SCORE}",
    "enhancement": rf"\b(?:dce|contrast){_SCORE}",
}


def records(said: Said) -> Iterator[Tumor | None]:
    """One for each tumor."""
    for text in lesions(said, _TUMOR, near=3, apart=r"\bnodes?\b|\bbones?\b|prostate|uterus|vi-?rads"):
        if not re.search(rf"\b(?:no|without) (?:\w+ ){{0,3}}(?:{_TUMOR})", text):
            yield _tumor(text)


def _tumor(text: str) -> Tumor | None:
    scores: dict[str, Any] = {name: _score(text, pattern) for name, pattern in _SERIES.items()}
    if scores["diffusion"]:
        return Tumor(**scores) if scores["structural"] else None
    if any(scores.values()):
        return None
    muscle, length, stalk = only(text, _MUSCLE), size(text), stated(text, r"\bstalk|pedunculated")
    layer = stated(text, r"inner layer")
    form = only(text, ((r"exophytic|papillary|pedunculated", "exophytic"), (r"sessile|broad-based|flat", "sessile")))
    if muscle in ("interrupted", "extravesical"):
        return Tumor(length, "exophytic", muscle=muscle)
    if not muscle or not length or stalk is None or layer is None:
        return None
    if not form and not stalk and not layer and length < 10:
        return None  # The only case in which the form decides.
    return Tumor(length, form or ("exophytic" if stalk else "sessile"), stalk, layer, muscle)


def _score(text: str, pattern: str) -> int | None:
    found = {int(digit) for groups in re.findall(pattern, text) for digit in groups if digit}
    return found.pop() if len(found) == 1 else None
