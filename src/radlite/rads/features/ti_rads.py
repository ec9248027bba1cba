"""Thyroid nodules on ultrasound: the five properties that give points."""

import re
from collections.abc import Iterator
from typing import Any, Final

from radlite.rads.features.said import Said, Words, first, lesions
from radlite.rads.rules.ti_rads import Nodule

_COMPOSITION: Final[Words] = (
    ("spongiform", "spongiform"),
    (r"mixed|partially (?:cystic|solid)|predominantly (?:cystic|solid)|cystic and solid|solid and cystic",
     "mixed cystic and solid"),
    (r"\bsolid", "solid"),
    (r"\bcyst", "cystic"),
)  # fmt: skip
_ECHOGENICITY: Final[Words] = (
    (r"(?:very|markedly) hypo-?echoic", "very hypoechoic"),
    (r"hypo-?echoic", "hypoechoic"),
    (r"hyper-?echoic", "hyperechoic"),
    (r"iso-?echoic", "isoechoic"),
    (r"an-?echoic", "anechoic"),
)
_SHAPE: Final[Words] = (
    (r"taller[- ]than[- ]wide", "taller than wide"),
    (r"wider[- ]than[- ]tall", "wider than tall"),
)
_MARGIN: Final[Words] = (
    (r"(?<!no )(?<!without )extra-?thyroidal extension", "extrathyroidal extension"),
    (r"lobulated", "lobulated"),
    (r"irregular (?:margin|border)|margins?:? (?:is |are )?irregular", "irregular"),
    (r"ill-?\s?defined", "ill-defined"),
    (r"smooth|well[- ](?:defined|circumscribed)", "smooth"),
)
_NO_FOCI: Final = r"(?:no|without) (?:\w+ )?(?:echogenic foc|(?:micro|macro)?-?calcification)"
_FOCI: Final[Words] = (
    (r"punctate|(?<!no )(?<!without )microcalcification", "punctate echogenic foci"),
    (r"(?:rim|peripheral|eggshell) calcification", "rim calcifications"),
    (r"macro-?calcification|coarse calcification", "macrocalcifications"),
    (r"comet[- ]tail", "large comet-tail artifacts"),
)


def records(said: Said) -> Iterator[Nodule | None]:
    """One for each nodule."""
    for lesion in lesions(said, r"\bnodules?\b"):
        if re.search(r"\bno (?:\w+ ){0,3}nodules?\b", lesion):
            continue
        composition = first(lesion, _COMPOSITION)
        if composition in ("spongiform", "cystic"):
            yield Nodule(composition, "anechoic", "wider than tall", "smooth")
            continue
        echogenicity, shape, margin = (first(lesion, words) for words in (_ECHOGENICITY, _SHAPE, _MARGIN))
        foci: tuple[Any, ...] = tuple(value for pattern, value in _FOCI if re.search(pattern, lesion))
        # Where some foci are denied and others named, a pattern cannot tell which.
        if composition and echogenicity and shape and margin and bool(foci) != bool(re.search(_NO_FOCI, lesion)):
            yield Nodule(composition, echogenicity, shape, margin, foci)
        else:
            yield None
