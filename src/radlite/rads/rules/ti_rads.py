"""ACR TI-RADS 2017: points of a thyroid nodule, its level, and what its size calls for.

Source: Tessler et al., J Am Coll Radiol 2017;14:587-595.
"""

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Gt

from radlite.errors import UserError
from radlite.rads.rules.ruling import Ruling

Composition = Literal["cystic", "spongiform", "mixed cystic and solid", "solid", "cannot be determined"]
"""`cystic` and `solid` include the almost completely so; it cannot be determined because of calcification."""
Echogenicity = Literal["anechoic", "hyperechoic", "isoechoic", "hypoechoic", "very hypoechoic", "cannot be determined"]
"""Of the solid component, if there is one."""
Shape = Literal["wider than tall", "taller than wide"]
Margin = Literal["smooth", "ill-defined", "cannot be determined", "lobulated", "irregular", "extrathyroidal extension"]
Focus = Literal["large comet-tail artifacts", "macrocalcifications", "rim calcifications", "punctate echogenic foci"]

COMPOSITION: dict[Composition, int] = {
    "cystic": 0, "spongiform": 0, "mixed cystic and solid": 1, "solid": 2, "cannot be determined": 2,
}  # fmt: skip
ECHOGENICITY: dict[Echogenicity, int] = {
    "anechoic": 0, "hyperechoic": 1, "isoechoic": 1, "hypoechoic": 2, "very hypoechoic": 3, "cannot be determined": 1,
}  # fmt: skip
SHAPE: dict[Shape, int] = {"wider than tall": 0, "taller than wide": 3}
MARGIN: dict[Margin, int] = {
    "smooth": 0, "ill-defined": 0, "cannot be determined": 0, "lobulated": 2, "irregular": 2,
    "extrathyroidal extension": 3,
}  # fmt: skip
FOCI: dict[Focus, int] = {
    "large comet-tail artifacts": 0, "macrocalcifications": 1, "rim calcifications": 2, "punctate echogenic foci": 3,
}  # fmt: skip
GATES = {
    "TI-RADS 3": (25, 15, "after 1, 3 and 5 years"),
    "TI-RADS 4": (15, 10, "after 1, 2, 3 and 5 years"),
    "TI-RADS 5": (10, 5, "each year for 5 years"),
}
"""Category to the greatest diameter, in mm, from which on to aspirate and to follow up, and when."""


@dataclass(frozen=True, slots=True)
class Nodule:
    """A thyroid nodule in the words of the ACR lexicon."""

    composition: Composition
    echogenicity: Echogenicity
    shape: Shape
    margin: Margin
    foci: tuple[Focus, ...] = ()
    """All echogenic foci that apply."""
    size: Annotated[float, Gt(0)] | None = None
    """Greatest diameter, in mm. It changes the advice only."""


Features = Nodule


def points(nodule: Nodule) -> int:
    """The ACR points, 0 to 17. A spongiform nodule gets none for anything else; each kind of focus counts once."""
    if nodule.composition == "spongiform":
        return 0
    return (
        COMPOSITION[nodule.composition]
        + ECHOGENICITY[nodule.echogenicity]
        + SHAPE[nodule.shape]
        + MARGIN[nodule.margin]
        + sum(map(FOCI.__getitem__, set(nodule.foci)))
    )


def decide(features: Nodule) -> Ruling:
    """The level of a nodule. Raises `UserError` for an anechoic solid one."""
    if features.composition == "solid" and features.echogenicity == "anechoic":
        raise UserError("A solid nodule cannot be anechoic; check composition and echogenicity.")
    category, rule = _level(points(features), features.composition == "spongiform")
    return Ruling(category, rule, _advice(category, features.size))


def _level(total: int, spongiform: bool) -> tuple[str, str]:
    if spongiform:
        return "TI-RADS 1", "Spongiform: 0 points, none for other features."
    if total >= 7:
        return "TI-RADS 5", f"{total} points: 7 or more."
    if total >= 4:
        return "TI-RADS 4", f"{total} points: 4 to 6."
    if total >= 2:
        return f"TI-RADS {total}", f"{total} points."
    if total == 1:
        return "TI-RADS 1", "1 point, for which the paper has no level: counted as 0 points."
    return "TI-RADS 1", "0 points."


def _advice(category: str, size: float | None) -> str:
    if category not in GATES:
        return ""
    aspirate, follow, when = GATES[category]
    if size is None:
        return f"Fine-needle aspiration from {aspirate} mm, ultrasound {when} from {follow} mm; no size is given."
    if size >= aspirate:
        return f"Fine-needle aspiration: {aspirate} mm or more."
    if size >= follow:
        return f"Ultrasound {when}: {follow} mm or more, under {aspirate} mm."
    return f"No aspiration or follow-up: under {follow} mm."
