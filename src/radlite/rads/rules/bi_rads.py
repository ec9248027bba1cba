"""BI-RADS: mammography, ultrasound, MRI and contrast-enhanced mammography, where the lexicon decides.

Source: American College of Radiology, BI-RADS v2025 and 5th edition (2013). The atlas leaves the bands of category 4
to the reader; here they follow the published positive predictive values of the descriptors. Calcifications (atlas,
5th edition): coarse heterogeneous 13 %, amorphous 21 %, fine pleomorphic 29 %, fine linear branching 70 %; grouped
31 %, linear 60 %, segmental 62 %. Masses and distortion: Liberman et al., AJR 1998;171:35-40 (irregular 73 %,
spiculated 81 %, indistinct 44 %); Bahl et al., AJR 2015;205:1339-1345.
"""

from dataclasses import dataclass
from typing import Literal

from radlite.errors import UserError
from radlite.rads.rules.ruling import Ruling

Course = Literal["first", "stable", "growing"]
"""Against earlier studies: nothing to compare; unchanged for two years or more; new, larger or more.

Where a report does not say, nothing is taken to be compared."""
Missing = Literal["additional imaging", "prior studies"]
Shape = Literal["oval", "round", "irregular"]
Density = Literal["fat-containing", "low", "equal", "high"]
MammographicMargin = Literal["circumscribed", "obscured", "microlobulated", "indistinct", "spiculated"]
Morphology = Literal[
    "typically benign", "punctate", "amorphous", "coarse heterogeneous", "fine pleomorphic", "fine linear branching",
]  # fmt: skip
"""Typically benign: skin, vascular, coarse, large rod-like, rim, dystrophic, milk of calcium, suture. `punctate`
includes small round ones."""
CalcificationDistribution = Literal["diffuse", "regional", "grouped", "linear", "segmental"]
SonographicMargin = Literal["circumscribed", "indistinct", "angular", "microlobulated", "spiculated"]
MagneticMargin = Literal["circumscribed", "not circumscribed", "spiculated"]
Enhancement = Literal["homogeneous", "heterogeneous", "rim", "dark septations", "clumped", "clustered ring"]
"""Internal: dark septations and rim are of a mass, clumped and clustered ring of non-mass enhancement."""
EnhancementDistribution = Literal["focal", "linear", "segmental", "regional", "multiple regions", "diffuse"]


@dataclass(frozen=True, slots=True)
class Mammogram:
    """A finding on mammography or tomosynthesis, the most suspicious one."""

    study: Literal["mammography"]
    finding: (
        Literal[
            "none", "benign", "mass", "calcifications", "asymmetry", "global asymmetry", "focal asymmetry",
            "architectural distortion",
        ]
        | None
    ) = None  # fmt: skip
    """None only for a proven cancer or an incomplete study. `benign`: typically so, such as an intramammary node, oil
    cyst, scar of known surgery, implant, skin lesion. `asymmetry`: on one view only."""
    shape: Shape | None = None
    """Of a mass; an irregular one is more suspicious than its margin alone."""
    margin: MammographicMargin | None = None
    """Of a mass; v2025 no longer has `microlobulated`."""
    density: Density | None = None
    """Of a mass."""
    morphology: Morphology | None = None
    """Of calcifications."""
    distribution: CalcificationDistribution | None = None
    """Of calcifications."""
    multiple: bool = False
    """Several similar circumscribed masses, in both breasts."""
    course: Course | None = None
    screening: bool = False
    """A screening study: what needs work-up gets its final category later."""
    known_cancer: bool = False
    """The finding is a cancer proven by biopsy."""
    incomplete: Missing | None = None


@dataclass(frozen=True, slots=True)
class Ultrasound:
    """A finding on breast ultrasound, the most suspicious one."""

    study: Literal["ultrasound"]
    finding: Literal["none", "benign", "complicated cyst", "complex mass", "mass"] | None = None
    """`benign`: typically so, such as a simple cyst, clustered simple cysts, intramammary node, implant, postsurgical
    collection. `complex mass`: cystic and solid."""
    shape: Shape | None = None
    """Of a solid mass."""
    margin: SonographicMargin | None = None
    parallel: bool | None = None
    """Orientation of a solid mass to the skin."""
    shadowing: bool = False
    """Posterior shadowing of a solid mass."""
    multiple: bool = False
    """Several similar complicated cysts or circumscribed masses, in both breasts."""
    course: Course | None = None
    known_cancer: bool = False
    """The finding is a cancer proven by biopsy."""
    incomplete: Missing | None = None


@dataclass(frozen=True, slots=True)
class Mri:
    """A finding on breast MRI, the most suspicious one."""

    study: Literal["MRI"]
    finding: Literal["none", "benign", "focus", "mass", "non-mass enhancement"] | None = None
    """`benign`: typically so, such as a nonenhancing cyst or scar, intramammary node, fat necrosis."""
    shape: Shape | None = None
    """Of a mass."""
    margin: MagneticMargin | None = None
    """Of a mass."""
    enhancement: Enhancement | None = None
    """Of a mass or of non-mass enhancement."""
    distribution: EnhancementDistribution | None = None
    """Of non-mass enhancement."""
    washout: bool = False
    """Delayed phase of the kinetic curve."""
    course: Course | None = None
    known_cancer: bool = False
    """The finding is a cancer proven by biopsy."""
    incomplete: Missing | None = None


@dataclass(frozen=True, slots=True)
class Cem:
    """Contrast-enhanced mammography: the low-energy image and the recombined one, judged in the words of MRI."""

    study: Literal["CEM"]
    low_energy: Mammogram
    recombined: Mri


Features = Mammogram | Ultrasound | Mri | Cem

SEVERITY = ("1", "2", "3", "0", "4A", "4", "4B", "4C", "5", "6")
"""Which of the two images of contrast-enhanced mammography decides: the later one here."""


def decide(features: Mammogram | Ultrasound | Mri | Cem) -> Ruling:
    """The category of a finding.

    Raises `UserError` for a record that lacks a descriptor that its rule asks for, or has one of another finding.
    """
    category, rule = _category(features)
    return Ruling(f"BI-RADS {category}", rule)


def _category(seen: Mammogram | Ultrasound | Mri | Cem) -> tuple[str, str]:
    """Category without the name of the system, and the rule."""
    if isinstance(seen, Cem):
        return max(_category(seen.low_energy), _category(seen.recombined), key=lambda ruling: SEVERITY.index(ruling[0]))
    if seen.known_cancer:
        return "6", "Cancer proven by biopsy."
    if seen.incomplete:
        return "0", f"Incomplete: needs {seen.incomplete}."
    if seen.finding is None:
        raise UserError("The breast study has no finding; give one, or say that there is none.")
    if seen.finding == "none":
        return "1", "No finding."
    if seen.finding == "benign":
        return "2", "Typically benign finding."
    if isinstance(seen, Ultrasound):
        return _ultrasound(seen)
    if isinstance(seen, Mri):
        return _mri(seen)
    category, rule = _mammographic(seen)
    if seen.screening and category != "2":
        return "0", f"Screening: needs additional imaging. {rule}"
    return category, rule


def _mammographic(seen: Mammogram) -> tuple[str, str]:
    if seen.finding == "calcifications":
        return _calcifications(seen)
    if seen.finding == "mass":
        return _mammographic_mass(seen)
    if seen.finding == "asymmetry":
        return "0", "An asymmetry on one view only needs additional imaging."
    if seen.finding == "global asymmetry":
        return ("4B", "Developing asymmetry.") if seen.course == "growing" else ("2", "Global asymmetry.")
    if seen.finding == "focal asymmetry":
        return _by_course(seen.course, "Focal asymmetry", growing="4B")
    return "4C", "Architectural distortion without known surgery or trauma."


def _mammographic_mass(seen: Mammogram) -> tuple[str, str]:
    if seen.density == "fat-containing":
        return "2", "Mass that contains fat."
    if seen.shape is None or seen.margin is None:
        raise UserError("A mass on mammography needs shape and margin; give both.")
    irregular = seen.shape == "irregular"
    if seen.margin == "circumscribed" and not irregular:
        if seen.multiple and seen.course != "growing":
            return "2", "Several similar circumscribed masses in both breasts."
        return _by_course(seen.course, "Oval or round circumscribed mass", growing="4A")
    if seen.margin in ("circumscribed", "obscured"):
        return ("4B", "Irregular mass.") if irregular else ("4A", "Oval or round mass with obscured margin.")
    if seen.margin == "spiculated":
        if irregular and seen.density == "high":
            return "5", "Irregular spiculated mass of high density."
        return "4C", "Spiculated mass that is not irregular with high density."
    if irregular:
        return "4C", f"Irregular mass with {seen.margin} margin."
    return "4B", f"Oval or round mass with {seen.margin} margin."


def _calcifications(seen: Mammogram) -> tuple[str, str]:
    if seen.morphology == "typically benign":
        return "2", "Typically benign calcifications."
    if seen.morphology is None or seen.distribution is None:
        raise UserError("Calcifications need morphology and distribution; give both.")
    ductal = seen.distribution in ("linear", "segmental")
    rule = f"{seen.morphology.capitalize()} calcifications in {seen.distribution} distribution."
    if seen.morphology == "punctate":
        if ductal:
            return "4B", rule
        if seen.distribution == "grouped":
            return _by_course(seen.course, "Grouped punctate calcifications", growing="4A")
        return ("4A", f"New or more: {rule}") if seen.course == "growing" else ("2", rule)
    if seen.morphology == "fine linear branching":
        return ("5" if ductal else "4C"), rule
    if seen.morphology == "fine pleomorphic" and ductal:
        return "4C", rule
    return "4B", rule


def _ultrasound(seen: Ultrasound) -> tuple[str, str]:
    if seen.finding == "complicated cyst":
        if seen.multiple and seen.course != "growing":
            return "2", "Several complicated cysts in both breasts."
        return _by_course(seen.course, "Complicated cyst", growing="4A")
    if seen.finding == "complex mass":
        return "4B", "Complex cystic and solid mass."
    if seen.shape is None or seen.margin is None or seen.parallel is None:
        raise UserError("A solid mass on ultrasound needs shape, margin and orientation; give all three.")
    irregular = seen.shape == "irregular"
    if seen.margin == "circumscribed":
        if seen.shape == "oval" and seen.parallel and not seen.shadowing:
            if seen.multiple and seen.course != "growing":
                return "2", "Several similar oval circumscribed masses in both breasts."
            return _by_course(seen.course, "Oval circumscribed parallel mass", growing="4A")
        if irregular:
            return "4B", "Irregular mass."
        return "4A", "Circumscribed mass that is round, not parallel or shadowing."
    worst = irregular and (seen.shadowing or not seen.parallel)
    detail = "irregular, not parallel or shadowing" if worst else "not irregular, or parallel without shadowing"
    if seen.margin == "spiculated":
        return ("5" if worst else "4C"), f"Spiculated mass, {detail}."
    return ("4C" if worst else "4B"), f"Mass with {seen.margin} margin, {detail}."


def _mri(seen: Mri) -> tuple[str, str]:
    if seen.finding == "focus":
        return _magnetic_course(seen, "Focus")
    if seen.finding == "non-mass enhancement":
        return _non_mass(seen)
    if seen.shape is None or seen.margin is None or seen.enhancement is None:
        raise UserError("A mass on MRI needs shape, margin and internal enhancement; give all three.")
    if seen.enhancement in ("clumped", "clustered ring"):
        raise UserError("Clumped and clustered ring are patterns of non-mass enhancement; check the finding.")
    if seen.margin == "circumscribed" and seen.shape != "irregular":
        if seen.enhancement == "dark septations" and not seen.washout and seen.course != "growing":
            return "2", "Circumscribed mass with dark nonenhancing septations."
        if seen.enhancement in ("homogeneous", "dark septations"):
            return _magnetic_course(
                seen, "Oval or round circumscribed mass, enhancing homogeneously or with septations"
            )
        return "4", f"Circumscribed mass with {seen.enhancement} enhancement."
    if (seen.shape, seen.margin, seen.enhancement) == ("irregular", "spiculated", "rim"):
        return "5", "Irregular spiculated mass with rim enhancement."
    return "4", "Irregular or not circumscribed mass, without all of irregular shape, spiculation and rim enhancement."


def _non_mass(seen: Mri) -> tuple[str, str]:
    if seen.enhancement is None or seen.distribution is None:
        raise UserError("Non-mass enhancement needs distribution and internal pattern; give both.")
    if seen.enhancement in ("rim", "dark septations"):
        raise UserError("Rim enhancement and dark septations are of a mass; check the finding.")
    if seen.distribution in ("multiple regions", "diffuse") and seen.enhancement == "homogeneous":
        return _magnetic_course(seen, "Homogeneous non-mass enhancement, diffuse or in multiple regions")
    return "4", f"Non-mass enhancement, {seen.enhancement} and {seen.distribution}."


def _magnetic_course(seen: Mri, finding: str) -> tuple[str, str]:
    if seen.washout:
        return "4", f"{finding}, with washout."
    return _by_course(seen.course, finding, growing="4")


def _by_course(course: Course | None, finding: str, growing: str) -> tuple[str, str]:
    """Probably benign at first sight, benign if stable for two years, suspicious if new or growing."""
    if course == "stable":
        return "2", f"{finding}, unchanged for two years or more."
    if course == "growing":
        return growing, f"{finding}, new or growing."
    return "3", f"{finding}, nothing to compare with: probably benign."
