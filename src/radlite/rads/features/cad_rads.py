"""Stenosis of the coronary arteries on CT, in percent or in grades."""

import re
from collections.abc import Iterator
from typing import Any, Final

from radlite.rads.features.said import Said, Words, first
from radlite.rads.rules.cad_rads import Coronaries

_ARTERIES: Final = {
    "left_main": r"\bleft main\b|\blmca\b|\blm\b",
    "lad": r"\blad\b|left anterior descending|\bdiagonal",
    "circumflex": r"circumflex|\blcx\b|\bcx\b|obtuse marginal",
    "right": r"right coronary|\brca\b",
}
_STENOSIS: Final = re.compile(
    r"(\d{1,3})\s?(?:%|percent)?\s?(?:-|to)\s?(\d{1,3})\s?(?:%|percent)|(\d{1,3})\s?(?:%|percent)"
)
_GRADES: Final[Words] = (
    (r"\b(?:total(?:ly)? |complete(?:ly)? )?occlu(?:sion|ded)", 100),
    (r"\bsevere\b", 80),
    (r"\bmoderate\b", 60),
    (r"\bmild\b", 30),
    (r"\bminimal\b", 10),
    (r"no (?:\w+ ){0,2}(?:stenosis|plaque)|free of (?:plaque|disease)|without (?:any )?plaque|\bnormal\b", 0),
)
_UNREADABLE: Final = r"non-?diagnostic|not assessable|(?:cannot|can not) be (?:evaluated|assessed)"


def records(said: Said) -> Iterator[Coronaries | None]:
    """One for the study, and None besides if not all four arteries are spoken of."""
    found: dict[str, Any] = {}
    nondiagnostic = False
    for sentence in said.findings:
        arteries = [name for name, pattern in _ARTERIES.items() if re.search(pattern, sentence)]
        if len(arteries) > 1 and len(_STENOSIS.findall(sentence)) > 1:
            yield None  # A pattern cannot tell which number is of which artery.
            return
        if arteries and re.search(_UNREADABLE, sentence):
            nondiagnostic = True
        elif (percent := _percent(sentence)) is not None:
            found |= {name: max(percent, found.get(name, 0)) for name in arteries}
    if not found:
        return
    plaque = any(found.values()) or any(re.search(r"(?<!no )(?<!any )\bplaque", text) for text in said.findings)
    yield Coronaries(**found, nondiagnostic=nondiagnostic, plaque=plaque)
    if found.keys() != _ARTERIES.keys():
        yield None


def _percent(sentence: str) -> int | None:
    """The greatest stenosis of a sentence in percent, from a number or, without one, from a grade."""
    numbers = [int(high or single) for _, high, single in _STENOSIS.findall(sentence)]
    percent = max((number for number in numbers if number <= 100), default=None)
    graded = first(sentence, _GRADES)
    if percent is None:
        return int(graded) if graded is not None and re.search(r"stenos|plaque|occlu|normal", sentence) else None
    return percent if re.search(r"stenos|narrow|plaque|occlu|lumin", sentence) else None
