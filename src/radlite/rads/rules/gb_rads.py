"""GB-RADS 2022: the gallbladder wall on ultrasound, outside acute disease.

Source: Gupta et al., Abdom Radiol 2022;47:554-565.
"""

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Ge

from radlite.errors import UserError
from radlite.rads.rules.ruling import Ruling
from radlite.rads.table import NO_RADS

Interface = Literal["preserved", "indistinct", "invaded"]
"""With the liver; `invaded`: also direct spread to bile ducts or vessels."""
NORMAL_WALL = 3
"""Greatest thickness of a normal wall, in mm."""


@dataclass(frozen=True, slots=True)
class Gallbladder:
    """A gallbladder wall on ultrasound."""

    wall: Annotated[float, Ge(0)] | None = None
    """Greatest thickness, in mm; None only if the wall cannot be assessed."""
    assessable: bool = True
    """False for a contracted gallbladder, or one that stones hide."""
    extent: Literal["symmetric circumferential", "asymmetric circumferential", "focal"] = "symmetric circumferential"
    layered: bool = False
    """The layers of the wall can be told apart."""
    intramural: bool = False
    """Intramural cysts or echogenic foci."""
    interface: Interface = "preserved"
    acute: bool = False
    """Acute disease, in which the system is not used."""


Features = Gallbladder


def decide(features: Gallbladder) -> Ruling:
    """The category of a gallbladder wall.

    Raises `UserError` for a wall without thickness, and for a normal one with signs of spread.
    """
    if features.acute:
        return Ruling(NO_RADS, "GB-RADS is for wall thickening outside acute disease.")
    if not features.assessable:
        return Ruling("GB-RADS 0", "The wall cannot be assessed.")
    if features.wall is None:
        raise UserError("The gallbladder wall has no thickness; give it in mm, or say that it cannot be assessed.")
    if features.wall <= NORMAL_WALL:
        if features.interface != "preserved":
            raise UserError("A wall of at most 3 mm cannot spread into the liver; check the thickness.")
        return Ruling("GB-RADS 1", "A wall of at most 3 mm is normal.")
    return _thickened(features)


def _thickened(wall: Gallbladder) -> Ruling:
    if wall.interface == "invaded":
        return Ruling("GB-RADS 5", "Thickening over 3 mm with invasion of liver, bile ducts or vessels.")
    if wall.interface == "indistinct":
        return Ruling("GB-RADS 4", "Thickening over 3 mm with indistinct interface with the liver.")
    if wall.extent == "focal":
        if wall.layered or wall.intramural:
            return Ruling("GB-RADS 3", "Focal thickening over 3 mm with layering or intramural cysts or foci.")
        return Ruling("GB-RADS 4", "Focal thickening over 3 mm without layering, intramural cysts or foci.")
    if not (wall.layered or wall.intramural):
        return Ruling("GB-RADS 3", "Circumferential thickening over 3 mm without layering, intramural cysts or foci.")
    if wall.extent == "symmetric circumferential":
        return Ruling(
            "GB-RADS 2", "Symmetric circumferential thickening over 3 mm with layering or intramural cysts or foci."
        )
    # The consensus calls benign what is symmetric, and likely malignant what has lost its layers.
    return Ruling("GB-RADS 3", "Circumferential thickening over 3 mm that is not symmetric.")
