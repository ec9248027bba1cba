"""The wall of the gallbladder on ultrasound."""

import re
from collections.abc import Iterator
from typing import Final

from radlite.rads.features.said import Said, Words, first, size
from radlite.rads.rules.gb_rads import NORMAL_WALL, Gallbladder

_INTERFACE: Final[Words] = (
    (r"(?<!no )(?<!without )(?:direct )?(?:invasion|invad)", "invaded"),
    (r"indistinct|ill-?defined|(?:loss|lost) of (?:the )?(?:fat )?(?:plane|interface)", "indistinct"),
    (r"(?:sharp|preserved|intact|clear|maintained)[\w ]{0,12} (?:interface|plane)|interface[\w ]{0,20}"
     r"(?:sharp|preserved|intact|clear|maintained)", "preserved"),
)  # fmt: skip
_EXTENT: Final[Words] = ((r"focal", "focal"), (r"circumferential|diffuse", "symmetric circumferential"))
_LAYERS: Final[Words] = ((r"(?:loss|lost) of (?:the )?layer|not layered", False), (r"preserved layer|layered", True))
_FOCI: Final[Words] = ((r"no (?:intramural|cysts)", False), (r"intramural (?:cyst|echogenic)", True))


def records(said: Said) -> Iterator[Gallbladder | None]:
    """One for the wall."""
    about = re.compile(r"gallbladder|\bwall\b|layer|interface|intramural")
    text = " ".join(filter(about.search, said.findings))
    if "acute cholecystitis" in text or not re.search("gallbladder|wall", text):
        return
    thickness = size(text)
    if thickness is not None and thickness <= NORMAL_WALL:
        yield Gallbladder(thickness)
        return
    interface, extent, layers, foci = (first(text, words) for words in (_INTERFACE, _EXTENT, _LAYERS, _FOCI))
    if thickness and interface and extent and layers is not None and foci is not None:
        yield Gallbladder(thickness, True, extent, layers, foci, interface)
    else:
        yield None
