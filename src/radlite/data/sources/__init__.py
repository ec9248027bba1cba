"""The sources that a corpus can be built from, by name."""

from radlite.data.sources import sample
from radlite.data.sources.chest_imagenome import CHEST_IMAGENOME
from radlite.data.sources.chexpert_plus import CHEXPERT_PLUS
from radlite.data.sources.ct_rate import CT_RATE
from radlite.data.sources.merlin import MERLIN
from radlite.data.sources.mimic_cxr import MIMIC_CXR
from radlite.data.sources.mimic_iv_note import MIMIC_IV_NOTE
from radlite.data.sources.ms_cxr_t import MS_CXR_T
from radlite.data.sources.nli import MEDNLI, RADNLI
from radlite.data.sources.open_qa import MEDMCQA
from radlite.data.sources.openi import OPENI
from radlite.data.sources.radgraph import RADGRAPH, RADGRAPH2, RADGRAPH_XL
from radlite.data.sources.radnlp2024 import RADNLP2024
from radlite.data.sources.radqa import RADQA
from radlite.data.sources.rads import RADS
from radlite.data.sources.rexgradient import REXGRADIENT
from radlite.data.sources.source import Malformed, Source, Tally
from radlite.data.sources.table import TABLE
from radlite.data.sources.tcga_tnm import TCGA_TNM

__all__ = ["SOURCES", "Malformed", "Source", "Tally"]

SOURCES = {
    source.name: source
    for source in (
        sample.source(), MIMIC_CXR, MIMIC_IV_NOTE, RADGRAPH, RADGRAPH2, RADGRAPH_XL, CHEST_IMAGENOME, MS_CXR_T,
        RADNLI, MEDNLI, RADQA, CHEXPERT_PLUS, MERLIN, REXGRADIENT, CT_RATE, OPENI, RADS, RADNLP2024, MEDMCQA,
        TCGA_TNM, TABLE,
    )
}  # fmt: skip
