"""VI-RADS: how likely a bladder tumor on MRI invades muscle.

Source: Panebianco et al., Eur Urol 2018;74:294-306.
"""

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Gt

from radlite.errors import UserError
from radlite.rads.rules.ruling import Ruling

Score = Literal[1, 2, 3, 4, 5]
Muscle = Literal["intact", "interrupted", "extravesical"]

INVADED = {"interrupted": 4, "extravesical": 5}
"""Structural category of a muscle line that is not intact."""


@dataclass(frozen=True, slots=True)
class Tumor:
    """A bladder tumor."""

    size: Annotated[float, Gt(0)] | None = None
    """Greatest diameter, in mm."""
    form: Literal["exophytic", "sessile"] = "exophytic"
    """`sessile`: broad-based."""
    stalk: bool = False
    inner_layer: bool = False
    """Thickened inner layer, bright on T2."""
    muscle: Muscle = "intact"
    """Dark line of the muscularis propria on T2; `extravesical`: the tumor reaches the fat around the bladder."""
    structural: Score | None = None
    """Structural (T2) category, if it is stated; otherwise size, form, stalk, layer and muscle give it."""
    diffusion: Score | None = None
    """None: not stated, or inadequate."""
    enhancement: Score | None = None
    """Dynamic contrast-enhanced category. None: not stated, or inadequate."""


Features = Tumor


def decide(features: Tumor) -> Ruling:
    """The score of a tumor.

    Raises `UserError` for a sessile tumor with a stalk, a muscle line that contradicts the structural category, and a
    missing size.
    """
    structural, why = _structural(features)
    diffusion, enhancement = features.diffusion, features.enhancement
    if diffusion is None:
        if enhancement is None:
            return Ruling(f"VI-RADS {structural}", f"T2 {structural} ({why}).")
        return Ruling(
            f"VI-RADS {enhancement}", f"Contrast series {enhancement}, as diffusion is inadequate; T2 {structural}."
        )
    # The published combinations leave diffusion only where T2 and contrast agree on one step more.
    if enhancement is not None and min(structural, enhancement) > diffusion:
        return Ruling(
            f"VI-RADS {diffusion + 1}",
            f"T2 {structural} and contrast series {enhancement} lift diffusion {diffusion} by one.",
        )
    return Ruling(f"VI-RADS {diffusion}", f"Diffusion {diffusion}, which decides; T2 {structural} ({why}).")


def _structural(tumor: Tumor) -> tuple[int, str]:
    if tumor.stalk and tumor.form == "sessile":
        raise UserError("A sessile bladder tumor has no stalk; check its form.")
    if tumor.structural is not None:
        if tumor.structural != INVADED.get(tumor.muscle, tumor.structural):
            raise UserError("The muscle line contradicts the structural category of the bladder tumor; check both.")
        return tumor.structural, "as stated"
    if tumor.muscle != "intact":
        return INVADED[tumor.muscle], f"muscle line {tumor.muscle}"
    if tumor.size is None:
        raise UserError("The bladder tumor has no size; give it in mm, or its structural category.")
    if tumor.size < 10 and (tumor.form == "exophytic" or tumor.inner_layer):
        return 1, "muscle line intact, under 10 mm"
    if tumor.stalk or tumor.inner_layer:
        return 2, "muscle line intact, 10 mm or more, with stalk or thickened inner layer"
    return 3, "muscle line intact, neither stalk nor thickened inner layer"
