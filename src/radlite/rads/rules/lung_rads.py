"""Lung-RADS v2022: low-dose CT for lung cancer screening, from the finding that is most suspicious.

Sources: American College of Radiology, Lung-RADS v2022; Christensen et al., J Am Coll Radiol 2024;21:473-488.
"""

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Ge, Gt

from radlite.errors import UserError
from radlite.rads.rules.ruling import Ruling

Kind = Literal[
    "none", "benign", "solid", "part-solid", "ground-glass", "subsegmental airway", "proximal airway",
    "thin-walled cyst", "thick-walled cyst", "multilocular cyst",
]  # fmt: skip
Course = Literal[
    "baseline", "new", "stable", "growing", "slowly growing", "thicker wall", "now multilocular",
    "denser or more locules",
]  # fmt: skip

INCOMPLETE = {
    "prior awaited": ("Earlier chest CT is being located.", "Comparison with the earlier CT."),
    "not evaluable": ("Part or all of the lungs cannot be evaluated.", "Additional low-dose CT."),
    "infection": ("Findings suggest an inflammatory or infectious process.", "Low-dose CT in 1 to 3 months."),
}
"""Why the category is 0, and what is done."""
CYST_COURSES = ("thicker wall", "now multilocular", "denser or more locules")
SUBSEGMENTAL = ("2", "Subsegmental airway nodule at baseline, new or stable.")
PROXIMAL = ("4A", "Segmental or more proximal airway nodule at baseline.")
PERSISTENT = ("4B", "Segmental or more proximal airway nodule, stable or growing.")
THIN = ("1", "A thin-walled cyst does not count.")
THICK = ("4A", "Thick-walled cyst.")
MULTILOCULAR = ("4A", "Multilocular cyst.")
AIRWAY_OR_CYST: dict[tuple[str, Course], tuple[str, str]] = {
    ("subsegmental airway", "baseline"): SUBSEGMENTAL,
    ("subsegmental airway", "new"): SUBSEGMENTAL,
    ("subsegmental airway", "stable"): SUBSEGMENTAL,
    ("proximal airway", "baseline"): PROXIMAL,
    ("proximal airway", "new"): PROXIMAL,
    ("proximal airway", "stable"): PERSISTENT,
    ("proximal airway", "growing"): PERSISTENT,
    ("proximal airway", "slowly growing"): PERSISTENT,
    ("thin-walled cyst", "baseline"): THIN,
    ("thin-walled cyst", "new"): THIN,
    ("thin-walled cyst", "growing"): THIN,
    ("thin-walled cyst", "slowly growing"): THIN,
    ("thick-walled cyst", "baseline"): THICK,
    ("thick-walled cyst", "new"): THICK,
    ("thick-walled cyst", "growing"): ("3", "Growing cystic component of a thick-walled cyst."),
    ("thick-walled cyst", "thicker wall"): ("4B", "Thick-walled cyst with growing wall thickness or nodularity."),
    ("multilocular cyst", "baseline"): MULTILOCULAR,
    ("multilocular cyst", "new"): MULTILOCULAR,
    ("multilocular cyst", "now multilocular"): ("4A", "Cyst that has become multilocular."),
    ("multilocular cyst", "growing"): ("4B", "Growing multilocular cyst."),
    ("multilocular cyst", "denser or more locules"): (
        "4B", "Multilocular cyst with increased loculation or new or increased opacity."
    ),
}  # fmt: skip
"""The rows of the table that do not ask for a size."""


@dataclass(frozen=True, slots=True)
class Screening:
    """A screening CT and the most suspicious nodule, airway nodule or cyst on it. Diameters are means, in mm.

    A mean diameter is that of long and short axis; it counts to one decimal.
    """

    kind: Kind = "none"
    """`benign`: with complete, central, popcorn or concentric ring calcification, or fat. `proximal airway`: segmental
    or more proximal. A cyst with a nodule, or a cavitary nodule, is the nodule."""
    size: Annotated[float, Gt(0)] | None = None
    """Mean diameter; needed for solid, part-solid and ground-glass nodules."""
    core: Annotated[float, Ge(0)] = 0
    """Mean diameter of the solid component of a part-solid nodule."""
    course: Course = "baseline"
    """`growing`: by more than 1.5 mm within 12 months; `slowly growing`: over several studies, but less than that;
    `stable`: neither, or smaller. For cysts also wall, locules and opacity; `growing` is then the whole cyst."""
    earlier_size: Annotated[float, Gt(0)] | None = None
    """Mean diameter at the earlier study, `months` ago; the course follows from it."""
    months: Annotated[float, Gt(0)] | None = None
    """Since the earlier study. None: as long as follow-up of the earlier category asks for."""
    previous: Literal["2", "3", "4A", "4B"] | None = None
    """Category of a stable nodule at the earlier study; None: the one that its size has at baseline."""
    juxtapleural: bool = False
    """A solid nodule at the pleura, smooth, and oval, lentiform or triangular."""
    suspicious: bool = False
    """Spiculation, lymphadenopathy, metastases, ground-glass that doubles in a year, or the like."""
    proven_benign: bool = False
    """Shown to be benign by diagnostic workup."""
    incomplete: Literal["prior awaited", "not evaluable", "infection"] | None = None
    significant: bool = False
    """A clinically significant finding that is no lung cancer; modifier S."""


Features = Screening


def decide(features: Screening) -> Ruling:
    """The category of a screening CT.

    Raises `UserError` for a missing or contradictory size, solid component or course.
    """
    modifiers = ("S",) if features.significant else ()
    if features.incomplete:
        rule, advice = INCOMPLETE[features.incomplete]
        return Ruling("Lung-RADS 0", rule, advice, modifiers)
    _check(features)
    category, rule = _nodule(features)
    if features.suspicious and category in ("3", "4A", "4B"):
        category, rule = "4X", f"{rule} Features that raise suspicion lift {category} to 4X."
    return Ruling(f"Lung-RADS {category}", rule, _advice(features, category), modifiers)


def growth(size: float, earlier_size: float, months: float) -> Course:
    """The course of a nodule from its mean diameters, in mm, and the months between."""
    gain = round(size - earlier_size, 1)
    if gain <= 1.5:
        return "stable"
    return "growing" if gain * 12 / max(months, 12) > 1.5 else "slowly growing"


def _check(seen: Screening) -> None:
    if seen.kind in ("solid", "part-solid", "ground-glass") and seen.size is None:
        raise UserError("The lung nodule has no size; give its mean diameter in mm.")
    if (seen.kind == "part-solid") != (seen.core > 0):
        raise UserError("A part-solid lung nodule, and no other, has a solid component; give its mean diameter in mm.")
    if seen.size is not None and seen.core > seen.size:
        raise UserError("The solid component is larger than the lung nodule; check both diameters.")
    if seen.juxtapleural and seen.kind != "solid":
        raise UserError("A juxtapleural lung nodule is a solid one; check its kind.")


def _nodule(seen: Screening) -> tuple[str, str]:
    if seen.kind == "none":
        return "1", "No lung nodule."
    if seen.kind == "benign":
        return "1", "Nodule with benign calcification or fat."
    if seen.proven_benign:
        return "2", "Proven benign by diagnostic workup."
    course = _course(seen)
    if course == "stable" and seen.kind != "proximal airway":
        return _stepped(seen)
    return _row(seen, course)


def _course(seen: Screening) -> Course:
    if seen.earlier_size is None:
        return seen.course
    if seen.size is None or seen.months is None:
        raise UserError("An earlier size of a lung nodule needs its size now and the months between; give both.")
    measured = growth(seen.size, seen.earlier_size, seen.months)
    if seen.course not in ("baseline", measured):
        raise UserError("The course of the lung nodule contradicts its two sizes; check them.")
    return measured


def _stepped(seen: Screening) -> tuple[str, str]:
    """Stepped management: what is stable at its follow-up goes one category down."""
    earlier = seen.previous or _row(seen, "baseline")[0]
    if earlier == "3" and (seen.kind == "ground-glass" or seen.months is None or seen.months >= 6):
        return "2", "Category 3 that is stable or smaller at 6 months."
    if earlier == "4A" and (seen.months is None or seen.months >= 3):
        return "3", "Category 4A that is stable or smaller at 3 months."
    if earlier in ("3", "4A"):
        return earlier, f"Category {earlier} that is stable, but sooner than at its follow-up."
    return earlier, f"Category {earlier} that is stable."


def _row(seen: Screening, course: Course) -> tuple[str, str]:
    """The row of the table for a nodule of that course."""
    if seen.kind in ("solid", "part-solid", "ground-glass") and course in CYST_COURSES:
        raise UserError("The course of the lung nodule is that of a cyst; check its kind.")
    size, core = round(seen.size or 0, 1), round(seen.core, 1)
    if seen.kind == "solid":
        return _solid(size, course, seen.juxtapleural)
    if seen.kind == "part-solid":
        return _part_solid(size, core, course)
    if seen.kind == "ground-glass":
        return _ground_glass(size, course)
    if (seen.kind, course) not in AIRWAY_OR_CYST:
        raise UserError("Lung-RADS has no row for this course of an airway nodule or cyst; check kind and course.")
    return AIRWAY_OR_CYST[seen.kind, course]


def _solid(size: float, course: Course, juxtapleural: bool) -> tuple[str, str]:
    if course == "slowly growing":
        return "4B", "Slowly growing solid nodule."
    if course == "growing":
        return ("4A", "Growing solid nodule under 8 mm.") if size < 8 else ("4B", "Growing solid nodule, 8 mm or more.")
    if juxtapleural and size < 10:
        return "2", "Juxtapleural nodule under 10 mm."
    if course == "new":
        if size < 4:
            return "2", "New solid nodule under 4 mm."
        if size < 6:
            return "3", "New solid nodule, 4 to under 6 mm."
        return ("4A", "New solid nodule, 6 to under 8 mm.") if size < 8 else ("4B", "New solid nodule, 8 mm or more.")
    if size < 6:
        return "2", "Solid nodule under 6 mm."
    if size < 8:
        return "3", "Solid nodule, 6 to under 8 mm."
    return ("4A", "Solid nodule, 8 to under 15 mm.") if size < 15 else ("4B", "Solid nodule, 15 mm or more.")


def _part_solid(size: float, core: float, course: Course) -> tuple[str, str]:
    if course == "slowly growing":
        return "4B", "Slowly growing part-solid nodule."
    if course in ("new", "growing"):
        if core >= 4:
            return "4B", f"Part-solid nodule, {course}, solid component 4 mm or more."
        if course == "new" and size < 6:
            return "3", "New part-solid nodule under 6 mm."
        return "4A", f"Part-solid nodule, {course}, solid component under 4 mm."
    if size < 6:
        return "2", "Part-solid nodule under 6 mm."
    if core < 6:
        return "3", "Part-solid nodule, 6 mm or more, solid component under 6 mm."
    if core < 8:
        return "4A", "Part-solid nodule, solid component 6 to under 8 mm."
    return "4B", "Part-solid nodule, solid component 8 mm or more."


def _ground_glass(size: float, course: Course) -> tuple[str, str]:
    if size < 30:
        return "2", "Ground-glass nodule under 30 mm."
    if course == "slowly growing":
        return "2", "Ground-glass nodule of 30 mm or more, slowly growing."
    return "3", "Ground-glass nodule of 30 mm or more."


def _advice(seen: Screening, category: str) -> str:
    if category not in ("4A", "4B", "4X"):
        return ""
    solid = seen.core if seen.kind == "part-solid" else seen.size if seen.kind == "solid" else None
    positron = "; PET/CT may be considered: solid part of 8 mm or more." if round(solid or 0, 1) >= 8 else "."
    return f"{'Low-dose CT in 3 months' if category == '4A' else 'Referral for further clinical evaluation'}{positron}"
