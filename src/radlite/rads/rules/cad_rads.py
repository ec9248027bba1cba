"""CAD-RADS 2.0: coronary CT angiography, from the greatest stenosis, the amount of plaque and the modifiers.

Source: Cury et al., J Cardiovasc Comput Tomogr 2022;16:536-557.
"""

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Ge, Le

from radlite.rads.rules.ruling import Ruling

Percent = Annotated[float, Ge(0), Le(100)]
Amount = Literal["none", "mild", "moderate", "severe"]

ISCHEMIA = {"positive": "I+", "negative": "I-", "indeterminate": "I±"}
PREVENTION = {
    1: "Consider risk factor modification and preventive drugs.",
    2: "Risk factor modification and preventive drugs.",
    3: "Aggressive risk factor modification and preventive drugs.",
    4: "Aggressive risk factor modification and preventive drugs.",
}
"""What the amount of plaque, P1 to P4, calls for where no stenosis reaches 50 %."""


@dataclass(frozen=True, slots=True)
class Coronaries:
    """The greatest stenosis of each artery with its branches, in percent of the diameter; 100 is an occlusion.

    Vessels of at least 1.5 mm count.
    """

    left_main: Percent = 0
    lad: Percent = 0
    circumflex: Percent = 0
    right: Percent = 0
    nondiagnostic: bool = False
    """A segment cannot be judged."""
    plaque: bool = False
    """Any plaque, also without stenosis. A stenosis implies it, and so do the following four."""
    calcium_score: Annotated[float, Ge(0)] | None = None
    """Agatston units."""
    segment_involvement: Annotated[int, Ge(0), Le(16)] | None = None
    """Segment involvement score: number of segments with plaque."""
    amounts: tuple[Amount, Amount, Amount] | None = None
    """Visual amount of plaque in LAD, circumflex and right coronary artery."""
    high_risk: tuple[
        Literal["positive remodeling", "low attenuation", "spotty calcification", "napkin-ring sign"], ...
    ] = ()
    """Features of high-risk plaque; two different ones in a plaque make the modifier HRP."""
    ischemia: Literal["positive", "negative", "indeterminate"] | None = None
    """CT-FFR or CT perfusion; None: not done."""
    stent: bool = False
    graft: bool = False
    """A bypass graft."""
    exception: bool = False
    """A finding that is not atherosclerosis, such as dissection or anomalous origin."""


Features = Coronaries


def decide(features: Coronaries) -> Ruling:
    """The category of the greatest stenosis; the modifiers stand beside it."""
    burden = plaque_burden(features)
    plaque = features.plaque or burden > 0 or bool(features.high_risk)
    category, rule = _stenosis(features, plaque)
    advice = PREVENTION.get(burden, "") if category in ("CAD-RADS 1", "CAD-RADS 2") else ""
    return Ruling(category, rule, advice, _modifiers(features, burden, category))


def plaque_burden(seen: Coronaries) -> int:
    """1 to 4 for P1 to P4, 0 without plaque or if its amount is not given; the highest of the ways to tell it."""
    return max(_by_calcium(seen.calcium_score or 0), _by_segments(seen.segment_involvement or 0), _by_eye(seen.amounts))


def _stenosis(seen: Coronaries, plaque: bool) -> tuple[str, str]:
    worst = max(seen.left_main, seen.lad, seen.circumflex, seen.right)
    if worst >= 100:
        return "CAD-RADS 5", "Total occlusion."
    if seen.left_main >= 50:
        return "CAD-RADS 4B", "Left main stenosis of 50 % or more."
    if min(seen.lad, seen.circumflex, seen.right) >= 70:
        return "CAD-RADS 4B", "Stenosis of 70 % or more in three vessels."
    if worst >= 70:
        return "CAD-RADS 4A", "Stenosis of 70 to 99 % in one or two vessels."
    if worst >= 50:
        return "CAD-RADS 3", "Stenosis of 50 to 69 %."
    if seen.nondiagnostic:
        return "CAD-RADS N", "A segment is nondiagnostic and no stenosis of 50 % or more is seen elsewhere."
    if worst >= 25:
        return "CAD-RADS 2", "Stenosis of 25 to 49 %."
    if worst > 0 or plaque:
        return "CAD-RADS 1", "Stenosis of 1 to 24 %, or plaque without stenosis."
    return "CAD-RADS 0", "Neither plaque nor stenosis."


def _by_calcium(score: float) -> int:
    if score > 300:
        return 4 if score >= 1000 else 3
    if score > 100:
        return 2
    return 1 if score > 0 else 0


def _by_segments(count: int) -> int:
    if count >= 5:
        return 4 if count >= 8 else 3
    if count >= 3:
        return 2
    return 1 if count else 0


def _by_eye(amounts: tuple[Amount, Amount, Amount] | None) -> int:
    if amounts is None:
        return 0
    severe, moderate, vessels = amounts.count("severe"), amounts.count("moderate"), 3 - amounts.count("none")
    if severe:
        return 4 if severe >= 2 else 3
    if moderate:
        return 3 if moderate == 3 else 2
    return 2 if vessels == 3 else 1 if vessels else 0


def _modifiers(seen: Coronaries, burden: int, category: str) -> tuple[str, ...]:
    """In the order of the paper: plaque, then N, HRP, I, S, G, E."""
    present = (
        (f"P{burden}", burden > 0),
        ("N", seen.nondiagnostic and category != "CAD-RADS N"),
        ("HRP", len(set(seen.high_risk)) >= 2),
        (ISCHEMIA.get(seen.ischemia or "", ""), seen.ischemia is not None),
        ("S", seen.stent),
        ("G", seen.graft),
        ("E", seen.exception),
    )
    return tuple(name for name, there in present if there)
