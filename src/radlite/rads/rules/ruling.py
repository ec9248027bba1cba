"""What a guideline's rule says of a set of findings."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Ruling:
    """A category and why. `rule` is one sentence a radiologist can check against the published table."""

    category: str
    """Canonical spelling, as in `radlite.rads.labels()`."""
    rule: str
    advice: str = ""
    """What the guideline recommends, where that depends on more than the category (a size, the number of nodules)."""
    modifiers: tuple[str, ...] = ()
    """What stands beside the category, in the guideline's order: (`P2`, `HRP`)."""
