"""A treated head and neck cancer on CT with or without PET: the site of the tumor and the nodes of the neck."""

import re
from collections.abc import Iterator
from typing import Any, Final

from radlite.rads.features.said import Said, Words, first, only, stated
from radlite.rads.rules.ni_rads import Neck, Primary, Surveillance

_NODES: Final = r"\bnod(?:e|es|al)\b|adenopath|\blevel (?:[iv]+|[1-7])[ab]?\b"
_SITES: Final = (
    r"tonsil|tongue|laryn|pharyn|oral|floor of mouth|glott|palate|buccal|retromolar|gingiv|maxill|mandib|"
    r"\bprimary\b|surgical bed|treatment (?:site|bed)|treated (?:site|tumou?r)|\bflap\b"
)
_PROVEN: Final = (
    r"(?:biopsy|patholog\w+|histolog\w+|cytolog\w+)[- ](?:proven|confirmed)|"
    r"(?:proven|confirmed) by (?:\w+ )?(?:biopsy|aspiration)"
)
_TISSUE: Final[Words] = (
    (r"(?<!no )(?<!without )discrete [\w -]{0,24}?(?:mass|nodule)", "discrete mass"),
    (r"(?:ill|poorly)[- ]defined", "ill-defined tissue"),
    (r"mucosal (?:surface|nodularity|enhancement)|superficial (?:mucosal )?(?:enhancement|nodul)",
     "mucosal abnormality"),
    (r"(?:expected|treatment|post-?treatment|post-?radiation|post-?operative) changes?|diffuse (?:[\w-]+ ){0,2}edema|"
     r"no abnormal enhancement", "expected change"),
)  # fmt: skip
_UPTAKE: Final[Words] = (
    (r"\b(?:no|without)\b[\w -]{0,40}?(?:uptake|avid)|\bnot (?:fdg[- ])?avid|without uptake", "none"),
    (r"intense\w*[\w -]{0,24}?(?:uptake|avid)", "intense"),
    (r"(?:mild\w*|low-grade|faint\w*|moderate\w*)[\w -]{0,36}?(?:uptake|avid)", "mild"),
)
_NORMAL_NODES: Final = (
    r"\bno (?:[\w-]+ ){0,4}(?:lymph )?nodes?\b|no (?:\w+ )?(?:lymph)?adenopathy|nodes (?:are )?(?:all )?small|"
    r"nodes (?:are )?(?:all )?normal|free of (?:abnormal|enlarged)|normal (?:cervical )?(?:lymph )?nodes"
)
_GROWING: Final = r"\bnew\b|enlarging|has grown|have grown|has appeared|increased in size|larger than"


def records(said: Said) -> Iterator[Surveillance | None]:
    """One for the study; None if either site is not fully described, or described more than once."""
    pet = bool(re.search(r"\bpet\b|fdg", f"{said.exam} {said.whole}"))
    nodes = [text for text in said.findings if re.search(_NODES, text)]
    sites = [text for text in said.findings if text not in nodes and re.search(_SITES, text) and _described(text)]
    if len(nodes) == 1 and len(sites) == 1:
        primary, neck = _primary(sites[0], pet), _neck(nodes[0], pet)
        yield Surveillance(primary, neck) if primary and neck else None
    elif nodes or sites:
        yield None


def _described(text: str) -> bool:
    return bool(re.search(_PROVEN, text) or first(text, _TISSUE))


def _primary(text: str, pet: bool) -> Primary | None:
    if stated(text, _PROVEN):
        return Primary(recurrence=True)
    tissue: Any = first(text, _TISSUE)
    uptake = only(text, _UPTAKE)
    if tissue == "expected change" and uptake in (None, "none"):
        return Primary(tissue, uptake)
    if not tissue or (pet and not uptake):
        return None
    intense = bool(re.search(r"intense(?:ly)? (?:\w+ )?enhanc", text))
    return Primary(tissue, uptake, intense, bool(re.search(_GROWING, text)))


def _neck(text: str, pet: bool) -> Neck | None:
    if stated(text, _PROVEN):
        return Neck(recurrence=True)
    if re.search(_NORMAL_NODES, text):
        return Neck("normal", "none" if pet else None)
    uptake, necrosis = only(text, _UPTAKE), stated(text, r"necro|extra-?nodal extension")
    if re.search(_GROWING, text):
        finding: Any = "enlarging"
    elif re.search(r"residual|remains|treated", text):
        finding = "residual"
    else:
        return None
    if (pet and not uptake) or (necrosis is None and "necro" in text):
        return None
    return Neck(finding, uptake, bool(necrosis))
