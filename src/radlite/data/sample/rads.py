"""RADS assignment: a category is drawn, then findings that the system's rule maps to exactly that category."""

from radlite.data.sample import (
    rads_breast,
    rads_gallbladder,
    rads_liver,
    rads_neck,
    rads_ovary,
    rads_pelvis,
    rads_thorax,
)
from radlite.data.sample.item import Item, Maker
from radlite.data.sample.rads_case import Case, Draw, written
from radlite.data.sample.rads_none import no_rads
from radlite.data.sample.wording import Writer
from radlite.rads import NO_RADS
from radlite.tasks.rads import assignment

SYSTEMS: dict[str, tuple[tuple[str, ...], Draw]] = {
    "BI-RADS": (rads_breast.CATEGORIES, rads_breast.bi_rads),
    "TI-RADS": (rads_neck.TI_CATEGORIES, rads_neck.ti_rads),
    "LI-RADS": (rads_liver.LI_CATEGORIES, rads_liver.li_rads),
    "PI-RADS": (rads_pelvis.PI_CATEGORIES, rads_pelvis.pi_rads),
    "VI-RADS": (rads_pelvis.VI_CATEGORIES, rads_pelvis.vi_rads),
    "O-RADS": (rads_ovary.CATEGORIES, rads_ovary.o_rads),
    "CAD-RADS": (rads_thorax.CAD_CATEGORIES, rads_thorax.cad_rads),
    "Lung-RADS": (rads_thorax.LUNG_CATEGORIES, rads_thorax.lung_rads),
    "NI-RADS": (rads_neck.NI_CATEGORIES, rads_neck.ni_rads),
    "GB-RADS": (rads_gallbladder.CATEGORIES, rads_gallbladder.gb_rads),
}
"""System to its categories in the sample and to what draws a case of one of them."""
OUTSIDE = 0.1
"""Share of studies to which no system applies."""


def case(writer: Writer) -> tuple[str, Case]:
    """A system (`none` for none) and a case: systems alike likely, and the categories within one."""
    if writer.chance(OUTSIDE):
        return "none", no_rads(writer, NO_RADS)
    system = writer.one(tuple(SYSTEMS))
    categories, draw = SYSTEMS[system]
    return system, draw(writer, writer.one(categories))


def rads_assignment(writer: Writer) -> Item:
    """A report and its category; tagged with the system."""
    system, drawn = case(writer)
    return Item({"report": written(writer, drawn)}, assignment(drawn.category), (f"system:{system}",))


def report(writer: Writer) -> str:
    """The report of any case, without the answer."""
    return written(writer, case(writer)[1])


MAKERS: dict[str, Maker] = {"rads_assignment": rads_assignment}
