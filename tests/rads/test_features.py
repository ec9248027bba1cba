"""Claims about the light extractor: what it reaches is right, and it warns of a wrong tier and of nothing else."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from radlite.data import sample
from radlite.rads import category, labels, systems
from radlite.rads.features import check, disagreement

MEASURED = {"TI-RADS": 0.8, "GB-RADS": 0.7, "CAD-RADS": 0.9, "Lung-RADS": 0.8, "LI-RADS": 0.1}
"""System to the share of sample reports, at least, in which the extractor reaches a ruling (validation split)."""


def reports(system: str, split: str, count: int = 2000) -> list[tuple[str, str]]:
    made = sample.examples("rads_assignment", split, count)
    return [(one.inputs["report"], one.answer) for one in made if one.tags[0] == f"system:{system}"]


@pytest.mark.parametrize("system", MEASURED)
def test_a_complete_ruling_is_in_the_tier_that_is_right_and_often_reached(system: str) -> None:
    items = reports(system, "validation")
    found = [(check(report, system), truth) for report, truth in items]
    assert sum(one is not None for one, _ in found) >= MEASURED[system] * len(items)
    for one, truth in found:
        ruled, right = one and category(one.ruling.category), category(truth)
        if one and one.complete and ruled and right:
            assert (ruled.scale, ruled.tier) == (right.scale, right.tier)


@pytest.mark.parametrize("system", MEASURED)
def test_a_right_category_is_never_warned_of_in_any_wording(system: str) -> None:
    for split in ("validation", "test"):
        assert [truth for report, truth in reports(system, split) if disagreement(report, truth)] == []


@pytest.mark.parametrize("system", ["TI-RADS", "CAD-RADS", "Lung-RADS"])
def test_a_category_of_another_tier_is_warned_of_where_a_ruling_is_complete(system: str) -> None:
    warned, wrong = 0, 0
    for report, truth in reports(system, "validation", 600):
        one, right = check(report, system), category(truth)
        for code in systems()[system].answers if one and one.complete else ():
            other = category(code)
            if other and right and other.tier != right.tier:
                wrong += 1
                warned += disagreement(report, code) is not None
    assert wrong > 100 and warned == wrong


CASES = [
    ("TI-RADS", "Left lobe nodule 2.1 cm. It is mixed cystic and solid, isoechoic and wider than tall. "
     "Margins are smooth. No echogenic foci.", "TI-RADS 2"),
    ("TI-RADS", "Spongiform nodule of 14 mm.", "TI-RADS 1"),
    ("TI-RADS", "A solid nodule is seen.", None),
    ("TI-RADS", "No thyroid nodule.", None),
    ("CAD-RADS", "Left main: normal, no plaque. LAD: mixed plaque with 50-69% stenosis. "
     "LCx: minimal plaque, stenosis 10%. RCA: no stenosis.", "CAD-RADS 3"),
    ("CAD-RADS", "Left main 55 % stenosis. LAD, circumflex and RCA without plaque.", "CAD-RADS 4B"),
    ("CAD-RADS", "The RCA is occluded. LM normal. LAD normal. Circumflex normal.", "CAD-RADS 5"),
    ("CAD-RADS", "LAD 75 % stenosis, circumflex 30 % stenosis, RCA 20 % stenosis. Left main normal.", None),
    ("TI-RADS", "Nodule 9 mm: solid, isoechoic, wider than tall, smooth; no macrocalcifications, punctate foci.", None),
    ("TI-RADS", "Nodule 9 mm: solid, isoechoic, wider than tall, smooth; no microcalcifications.", "TI-RADS 3"),
    ("CAD-RADS", "The heart is normal.", None),
    ("Lung-RADS", "New solid nodule of 7 mm in the right upper lobe.", "Lung-RADS 4A"),
    ("Lung-RADS", "Baseline part-solid nodule, 9 mm, with a solid component of 6 mm.", "Lung-RADS 4A"),
    ("Lung-RADS", "Baseline solid nodule, 16 mm, spiculated.", "Lung-RADS 4X"),
    ("Lung-RADS", "No pulmonary nodule.", "Lung-RADS 1"),
    ("Lung-RADS", "Solid nodule of 7 mm.", None),
    ("GB-RADS", "Gallbladder wall 2.5 mm, not thickened.", "GB-RADS 1"),
    ("GB-RADS", "Focal thickening of the gallbladder wall, 9 mm, loss of layering, no intramural cysts, "
     "indistinct interface with the liver.", "GB-RADS 4"),
    ("LI-RADS", "Observation of 22 mm in segment 5 with arterial phase hyperenhancement and nonperipheral washout, "
     "no capsule, no threshold growth.", "LR-5"),
    ("LI-RADS", "Observation of 12 mm: no arterial phase hyperenhancement, no washout, no capsule, "
     "no threshold growth.", "LR-3"),
]  # fmt: skip


@pytest.mark.parametrize(("system", "findings", "expected"), CASES)
def test_findings_in_other_words_reach_their_category(system: str, findings: str, expected: str | None) -> None:
    found = check(f"INDICATION: Earlier nodule of 30 mm, 90 % stenosis.\nFINDINGS: {findings}\n", system)
    assert (found and found.ruling.category) == expected


@given(text=st.text() | st.text("nodule solid 12mm%.,;-stenosis LAD\n"), answer=st.sampled_from(labels()))
@settings(deadline=None)
def test_any_text_gives_a_ruling_of_the_system_or_none(text: str, answer: str) -> None:
    for system in MEASURED:
        found = check(text, system)
        assert found is None or found.ruling.category in (*systems()[system].answers, "No applicable RADS")
    disagreement(text, answer)


def test_hostile_text_of_a_megabyte_is_read_to_its_end() -> None:
    for unit, system in itertools.product(
        ("nodule ", "1 mm x ", "solid component ", "no ", "stenosis 5 % - "), MEASURED
    ):
        check(unit * (200_000 // len(unit)), system)
