"""Nodules of a lung screening CT: kind, size, solid part and course."""

import re
from collections.abc import Iterator
from typing import Final

from radlite.rads.features.said import Said, Words, first, lesions, size
from radlite.rads.rules.lung_rads import Screening

_KIND: Final[Words] = (
    (r"part-?\s?solid|sub-?solid", "part-solid"),
    (r"ground[- ]glass|\bggn\b|\bggo\b|non-?solid", "ground-glass"),
    (r"calcified|granuloma|\bfat\b|popcorn", "benign"),
    (r"\bsolid\b", "solid"),
)
_COURSE: Final[Words] = (
    (r"slow(?:ly)? grow", "slowly growing"),
    (r"\bnew\b|newly", "new"),
    (r"growing|\bgrown\b|increased|enlarg(?:ed|ing) (?:since|from)|larger", "growing"),
    (r"stable|unchanged|no (?:interval )?(?:change|growth)|decreased|smaller", "stable"),
    (r"baseline|first screening|no prior", "baseline"),
)
_PART: Final = r"solid (?:component|part|portion|core)"
_CORE: Final = rf"{_PART}[^.;]*?(\d+(?:\.\d+)?)\s?mm|(\d+(?:\.\d+)?)\s?mm {_PART}"
_NOT_BY_SIZE: Final = r"cannot be evaluated|incompletely|infect|pneumonia|inflammat|tree-in-bud|cyst wall|endobronchial"
_NONE: Final = r"\bno (?:\w+ ){0,3}nodules?\b|free of nodules?|neither lung shows a nodule"


def records(said: Said) -> Iterator[Screening | None]:
    """One for each nodule, or one for lungs without any. Nothing where more than the table of nodules decides."""
    if re.search(_NOT_BY_SIZE, said.whole):
        return
    nodules = [lesion for lesion in lesions(said, r"\bnodules?\b|granuloma", near=0)
               if not re.search(rf"{_NONE}|no nodule|neither", lesion)]  # fmt: skip
    for lesion in nodules:
        kind, course, length = first(lesion, _KIND), first(lesion, _COURSE), size(re.sub(_CORE, " ", lesion))
        core = re.search(_CORE, lesion)
        suspicious = bool(re.search(r"spiculat|enlarged (?:mediastinal|hilar)", lesion))
        if kind == "benign":
            yield Screening("benign")
        elif kind and course and length and (kind != "part-solid" or core):
            thickness = float(core[1] or core[2]) if core else 0.0
            yield Screening(kind, length, thickness, course, suspicious=suspicious)
        else:
            yield None
    if not nodules and re.search(_NONE, said.whole):
        yield Screening()
