"""The sources that a corpus can be built from, by name."""

from radlite.data.sources import sample
from radlite.data.sources.source import Malformed, Source, Tally
from radlite.data.sources.tcga_tnm import TCGA_TNM

__all__ = ["SOURCES", "Malformed", "Source", "Tally"]

SOURCES = {source.name: source for source in (sample.source(), TCGA_TNM)}
