"""PI-RADS v2.1: one lesion of the prostate on MRI, from the scores of the sequences.

Source: Turkbey et al., Eur Urol 2019;76:340-351.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Gt

from radlite.errors import UserError
from radlite.rads.rules.ruling import Ruling

Score = Literal[1, 2, 3, 4, 5]
Diffusion = Literal["no abnormality", "linear or wedge-shaped", "focal", "focal and marked"]
LookT2 = Literal[
    "uniformly bright", "linear, wedge-shaped or diffusely mild", "heterogeneous or not circumscribed",
    "circumscribed and homogeneous",
    "normal or completely encapsulated", "mostly encapsulated, circumscribed or mild",
    "heterogeneous with obscured margins", "lenticular or not circumscribed, homogeneous",
]  # fmt: skip

DIFFUSION: dict[str, int] = {"no abnormality": 1, "linear or wedge-shaped": 2, "focal": 3, "focal and marked": 4}
T2 = {
    "peripheral": {
        "uniformly bright": 1,
        "linear, wedge-shaped or diffusely mild": 2,
        "heterogeneous or not circumscribed": 3,
        "circumscribed and homogeneous": 4,
    },
    "transition": {
        "normal or completely encapsulated": 1,
        "mostly encapsulated, circumscribed or mild": 2,
        "heterogeneous with obscured margins": 3,
        "lenticular or not circumscribed, homogeneous": 4,
    },
}
"""Zone to what a lesion looks like and its score. A score of 4 becomes 5 by size or extension, see `LARGE`."""
LARGE = 15
"""Size, in mm, from which on a lesion of score 4 has score 5."""


@dataclass(frozen=True, slots=True)
class Lesion:
    """A lesion of the prostate. A sequence has what it shows, or its score; None: it is absent or inadequate."""

    zone: Literal["peripheral", "transition"]
    """Of the central zone and the anterior stroma: the zone from which the lesion most likely comes."""
    t2: Literal[Score, LookT2] | None = None
    """Low signal on T2-weighted images. The first four are of the peripheral, the last four of the transition zone."""
    diffusion: Literal[Score, Diffusion] | None = None
    """`focal and marked`: markedly dark on ADC and markedly bright at high b-value; `focal`: at most one of these."""
    early_enhancement: bool | None = None
    """Focal, early or contemporaneous, and at the site of a finding on T2 or diffusion images."""
    size: Annotated[float, Gt(0)] | None = None
    """Greatest diameter, in mm, on the sequence that decides in the zone."""
    extension: bool = False
    """Definite extraprostatic extension or invasive behavior."""


Features = Lesion


def decide(features: Lesion) -> Ruling:
    """The category of a lesion.

    Raises `UserError` for a T2 appearance of the other zone, a lesion of 4 or 5 without size, and a score that
    contradicts the size.
    """
    diffusion = _score(features, features.diffusion, DIFFUSION, "diffusion")
    t2 = _score(features, features.t2, T2[features.zone], "T2")
    peripheral = features.zone == "peripheral"
    _check(features, (diffusion if peripheral else t2), features.diffusion if peripheral else features.t2)
    return _peripheral(diffusion, t2, features.early_enhancement) if peripheral else _transition(t2, diffusion)


def _score(lesion: Lesion, look: str | int | None, table: Mapping[str, int], sequence: str) -> int | None:
    if look is None or isinstance(look, int):
        return look
    if look not in table:
        raise UserError(f"The {sequence} appearance is one of the other zone; take one of the {lesion.zone} zone.")
    return _marked(lesion) if table[look] == 4 else table[look]


def _marked(lesion: Lesion) -> int:
    if lesion.extension:
        return 5
    if lesion.size is None:
        raise UserError("A marked lesion of the prostate scores 4 or 5 by its size; give it in mm.")
    return 5 if lesion.size >= LARGE else 4


def _check(lesion: Lesion, score: int | None, given: str | int | None) -> None:
    known = lesion.extension or lesion.size is not None
    if isinstance(given, int) and given >= 4 and known and score != _marked(lesion):
        raise UserError(
            "Score and size of the prostate lesion disagree: 5 is from 15 mm or with extension; check both."
        )


def _peripheral(diffusion: int | None, t2: int | None, enhancement: bool | None) -> Ruling:
    score, sequence = (diffusion, "diffusion") if diffusion is not None else (t2, "T2, as diffusion is inadequate,")
    if score is None:
        return Ruling("PI-RADS X", "Neither diffusion nor T2 is adequate.")
    if score == 3 and enhancement:
        return Ruling("PI-RADS 4", f"Peripheral zone: {sequence} 3, lifted to 4 by early enhancement.")
    return Ruling(f"PI-RADS {score}", f"Peripheral zone: {sequence} {score}.")


def _transition(t2: int | None, diffusion: int | None) -> Ruling:
    if t2 is None:
        return Ruling("PI-RADS X", "Transition zone: T2, which decides there, is inadequate.")
    if diffusion is not None and ((t2 == 2 and diffusion >= 4) or (t2 == 3 and diffusion == 5)):
        return Ruling(f"PI-RADS {t2 + 1}", f"Transition zone: T2 {t2}, lifted to {t2 + 1} by diffusion {diffusion}.")
    return Ruling(f"PI-RADS {t2}", f"Transition zone: T2 {t2}.")
