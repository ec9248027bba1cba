"""What a wrong RADS category would do to a patient: exhaustive and exclusive classes, all items in the denominator."""

from collections.abc import Mapping
from typing import Final, Literal, get_args

from radlite.rads.table import NO_RADS, Category, category, scale

Severity = Literal[
    "exact",
    "exact_at_parent",
    "lateral",
    "overcall_minor",
    "undercall_minor",
    "false_incomplete",
    "false_closure",
    "overcall_major",
    "undercall_major",
    "wrong_system",
    "false_rads",
    "missed_rads",
    "abstained",
    "invalid",
]
"""What became of one item.

`exact_at_parent`: BI-RADS 4 for 4B or the reverse. `lateral`: another label of the same rank (LR-5, LR-M).
`minor`: another rank, the same tier, so that the same is done next; `major`: another tier. `false_closure`: a final
category where the study is incomplete; `false_incomplete`: the reverse. `wrong_system`: one of another system, or
of another scale of the same one (LR-5 for LR-TR Viable, O-RADS MRI for US). `false_rads`: a category where no system
applies; `missed_rads`: the reverse. `invalid`: no category at all. `abstained` is for answers that are withheld, which
nothing does yet.
"""

SEVERITIES: Final[tuple[Severity, ...]] = get_args(Severity)
"""All classes. Where a NI-RADS pair has two errors, the one that stands later here counts."""

MEANING: Final[Mapping[Severity, str]] = {
    "exact": "the true category",
    "exact_at_parent": "right but for the subdivision",
    "lateral": "another category of the same rank",
    "overcall_minor": "too high; the same is done next",
    "undercall_minor": "too low; the same is done next",
    "false_incomplete": "incomplete, where a category is due",
    "false_closure": "a final category, where the study is incomplete",
    "overcall_major": "too high; another step follows",
    "undercall_major": "too low; another step follows",
    "wrong_system": "a category of another system or scale",
    "false_rads": "a category, where no system applies",
    "missed_rads": "no category, where one is due",
    "abstained": "withheld",
    "invalid": "no category at all",
}
"""What an answer of each class was, for people."""


def severity(answer: str | None, truth: str) -> Severity:
    """The class of `answer` (None: there is none) where `truth` is right. Both in canonical spelling."""
    if answer == truth:
        return "exact"
    if answer == NO_RADS:
        return "missed_rads"
    given, right = category(answer or ""), category(truth)
    if given is None:
        return "invalid"
    if right is None:
        return "false_rads"
    if given.scale != right.scale and given.code != right.parent and given.parent != right.code:
        return "wrong_system"
    halves = zip(sites(given), sites(right), strict=True)
    return max((_compare(one, other) for one, other in halves), key=SEVERITIES.index)


def sites(found: Category) -> tuple[Category, ...]:
    """The parts of a NI-RADS pair, primary site and neck; of any other category itself."""
    parts = (category(code) for code in found.code.replace(", ", ", NI-RADS ").split(", "))
    return tuple(part for part in parts if part)


def parent(code: str) -> str:
    """The category without its subdivision: `BI-RADS 4` for 4A, 4B and 4C."""
    found = category(code)
    return (found and found.parent) or code


def acts(code: str) -> bool | None:
    """Whether a category calls for its system's main action, such as biopsy; None where it is outside the order."""
    found = category(code)
    if not found:
        return None
    ranks = [(site.rank, scale(site.scale).threshold) for site in sites(found)]
    known = [rank >= threshold for rank, threshold in ranks if rank is not None]
    return any(known) if known else None


def _compare(given: Category, right: Category) -> Severity:
    if given.code == right.code:
        return "exact"
    if given.code == right.parent or right.code == given.parent:
        return "exact_at_parent"
    if (given.tier == 0) != (right.tier == 0):
        return "false_incomplete" if given.tier == 0 else "false_closure"
    if given.tier != right.tier:
        return "overcall_major" if given.tier > right.tier else "undercall_major"
    if given.rank == right.rank:
        return "lateral"
    return "overcall_minor" if (given.rank or 0) > (right.rank or 0) else "undercall_minor"
