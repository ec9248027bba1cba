"""Claims about the light extractor: what it reaches is right, and it warns of a wrong tier and of nothing else."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from radlite.data import sample
from radlite.rads import category, labels, systems
from radlite.rads.features import check, disagreement

MEASURED = {
    "BI-RADS": 0.8, "TI-RADS": 0.8, "LI-RADS": 0.6, "PI-RADS": 0.8, "VI-RADS": 0.8, "O-RADS": 0.8, "CAD-RADS": 0.9,
    "Lung-RADS": 0.8, "NI-RADS": 0.7, "GB-RADS": 0.7,
}  # fmt: skip
"""System to the share of sample reports, at least, in which the extractor reaches a ruling (validation split)."""


def reports(system: str, split: str, count: int = 2000) -> list[tuple[str, str]]:
    made = sample.examples("rads_assignment", split, count)
    return [(one.inputs["report"], one.answer) for one in made if one.tags[0] == f"system:{system}"]


def scale_of(code: str) -> str | None:
    found = category(code)
    return found.scale if found else None


@pytest.mark.parametrize("system", MEASURED)
def test_a_complete_ruling_is_in_the_tier_that_is_right_and_often_reached(system: str) -> None:
    items = reports(system, "validation")
    found = [(check(report, system, scale_of(truth)), truth) for report, truth in items]
    assert sum(one is not None for one, _ in found) >= MEASURED[system] * len(items)
    for one, truth in found:
        ruled, right = one and category(one.ruling.category), category(truth)
        if one and one.complete and ruled and right:
            assert ruled.tier == right.tier


@pytest.mark.parametrize("system", MEASURED)
def test_a_right_category_is_never_warned_of_in_any_wording(system: str) -> None:
    for split in ("validation", "test"):
        assert [truth for report, truth in reports(system, split) if disagreement(report, truth)] == []


@pytest.mark.parametrize("system", [system for system in MEASURED if system != "LI-RADS"])
def test_a_category_of_another_tier_is_warned_of_where_a_ruling_is_complete(system: str) -> None:
    warned, wrong = 0, 0
    for report, truth in reports(system, "validation", 600):
        one, right = check(report, system), category(truth)
        for code in systems()[system].answers if one and one.complete else ():
            other = category(code)
            if other and right and other.scale == right.scale and other.tier != right.tier:
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
    ("PI-RADS", "Left midgland peripheral zone: 17 mm lesion, markedly hypointense on ADC and markedly hyperintense on "
     "high b-value images, focal early enhancement. No extraprostatic extension.", "PI-RADS 5"),
    ("PI-RADS", "Right PZ lesion, 9 mm. T2 score 3, DWI score 4, DCE positive.", "PI-RADS 4"),
    ("PI-RADS", "Right PZ lesion, 9 mm. T2 score 4, DWI score 3.", None),
    ("PI-RADS", "Right PZ lesion, 9 mm. T2 score 4, DWI score 3, DCE negative.", "PI-RADS 3"),
    ("PI-RADS", "Left transition zone, 12 mm mostly encapsulated nodule with marked restricted diffusion.",
     "PI-RADS 3"),
    ("PI-RADS", "Left transition zone, 12 mm mostly encapsulated nodule.", None),
    ("PI-RADS", "No focal abnormality in the peripheral zone or transition zone.", "PI-RADS 1"),
    ("PI-RADS", "Peripheral zone lesion of 9 mm, markedly hypointense on ADC, possible extraprostatic extension.",
     None),
    ("VI-RADS", "Pedunculated tumor of 24 mm at the left lateral wall with a stalk, no thickened inner layer. "
     "The muscle "
     "line is preserved.", "VI-RADS 2"),
    ("VI-RADS", "Bladder tumor of 30 mm. Disruption of the low-signal muscularis line.", "VI-RADS 4"),
    ("VI-RADS", "Bladder tumor of 30 mm without disruption of the muscularis.", None),
    ("VI-RADS", "Tumor of 35 mm with invasion into the perivesical fat.", "VI-RADS 5"),
    ("VI-RADS", "Bladder tumor, 21 mm. T2 score 3, DWI score 4, DCE score 4.", "VI-RADS 4"),
    ("VI-RADS", "No bladder tumor.", None),
    ("NI-RADS", "Post-treatment changes at the base of tongue without FDG uptake. No enlarged cervical lymph node.",
     "NI-RADS primary 1, neck 1"),
    ("NI-RADS", "New discrete mass of 14 mm at the larynx with intense uptake. Residual level III node with "
     "mild uptake, "
     "no necrosis.", "NI-RADS primary 3, neck 2"),
    ("NI-RADS", "Post-treatment changes at the base of tongue without FDG uptake.", None),
    ("LI-RADS", "Observation of 22 mm with no arterial phase hyperenhancement, washout, an enhancing capsule, "
     "no threshold growth.", None),
    ("LI-RADS", "Simple cyst of 12 mm in segment 4.", "LR-1"),
    ("LI-RADS", "Treated lesion in segment 6 after microwave ablation, 30 mm: no enhancement.", "LR-TR Nonviable"),
    ("LI-RADS", "Treated lesion in segment 6 after microwave ablation, 30 mm: new masslike enhancement.",
     "LR-TR Viable"),
    ("LI-RADS", "Treated lesion in segment 6 after SBRT, 30 mm: masslike enhancement, unchanged.",
     "LR-TR Nonprogressing"),
    ("LI-RADS", "Simple cyst of the right kidney, 30 mm.", None),
]  # fmt: skip

OF_AN_EXAM = [
    ("O-RADS", "Transvaginal ultrasound", "Left ovary: multilocular cyst of 6 cm, smooth inner walls, no "
     "solid component, "
     "color score 2.", "O-RADS US 3"),
    ("O-RADS", "Transvaginal ultrasound", "Left ovary: unilocular cyst of 6 cm with five papillary projections.",
     "O-RADS US 5"),
    ("O-RADS", "Transvaginal ultrasound", "Left adnexa: solid lesion with irregular contour, 4 cm, no "
     "shadowing. Ascites.",
     "O-RADS US 5"),
    ("O-RADS", "Transvaginal ultrasound", "Left ovary: unilocular cyst of 6 cm.", None),
    ("O-RADS", "Transvaginal ultrasound", "Normal ovaries on both sides.", "O-RADS US 1"),
    ("O-RADS", "MRI of the pelvis", "Right ovary: cystic and solid mass with enhancing solid tissue and a high-risk "
     "time-intensity curve.", "O-RADS MRI 5"),
    ("O-RADS", "MRI of the pelvis", "Right ovary: multilocular cyst of 5 cm, no enhancing solid tissue.",
     "O-RADS MRI 3"),
    ("O-RADS", "CT of the pelvis", "Right ovary: multilocular cyst of 5 cm, no enhancing solid tissue.", None),
    ("BI-RADS", "Diagnostic mammogram", "Irregular mass with spiculated margins and high density, 14 mm.", "BI-RADS 5"),
    ("BI-RADS", "Screening mammogram", "Irregular mass with spiculated margins and high density, 14 mm.", "BI-RADS 0"),
    ("BI-RADS", "Mammogram", "Irregular mass with spiculated margins and high density, 14 mm.", None),
    ("BI-RADS", "Screening mammogram", "No mass, suspicious calcification or distortion.", "BI-RADS 1"),
    ("BI-RADS", "Diagnostic mammogram", "Oval circumscribed mass of equal density, stable.", None),
    ("BI-RADS", "Diagnostic mammogram", "Oval circumscribed mass of equal density, stable for 3 years.", "BI-RADS 2"),
    ("BI-RADS", "Diagnostic mammogram", "Fine linear branching calcifications in segmental distribution.", "BI-RADS 5"),
    ("BI-RADS", "Breast ultrasound", "Oval circumscribed mass, parallel orientation, no posterior shadowing.",
     "BI-RADS 3"),
    ("BI-RADS", "Breast ultrasound", "Irregular mass with angular margins, not parallel, posterior shadowing.",
     "BI-RADS 4C"),
    ("BI-RADS", "Breast MRI", "Clumped non-mass enhancement in segmental distribution.", "BI-RADS 4"),
    ("BI-RADS", "Breast MRI", "Irregular mass with spiculated margin and rim enhancement.", "BI-RADS 5"),
    ("BI-RADS", "Breast MRI and mammogram", "Irregular mass with spiculated margin and rim enhancement.", None),
    ("LI-RADS", "Liver ultrasound, surveillance", "Hypoechoic observation of 14 mm in segment 3.", "US-3"),
    ("LI-RADS", "Liver ultrasound, surveillance", "No focal observation in the liver.", "US-1"),
]  # fmt: skip


@pytest.mark.parametrize(("system", "exam", "findings", "expected"), OF_AN_EXAM)
def test_the_exam_says_by_which_table_findings_are_judged(
    system: str, exam: str, findings: str, expected: str | None
) -> None:
    found = check(f"EXAM: {exam}\nFINDINGS: {findings}\n", system)
    assert (found and found.ruling.category) == expected


@pytest.mark.parametrize(("system", "findings", "expected"), CASES)
def test_findings_in_other_words_reach_their_category(system: str, findings: str, expected: str | None) -> None:
    found = check(f"INDICATION: Earlier nodule of 30 mm, 90 % stenosis.\nFINDINGS: {findings}\n", system)
    assert (found and found.ruling.category) == expected


WORDS = st.sampled_from(
    ["EXAM: mammogram\nFINDINGS:", "EXAM: breast ultrasound\nFINDINGS:", "EXAM: pelvic MRI\nFINDINGS:",
     "nodule", "mass", "cyst", "ovary", "peripheral zone", "dwi 4", "tumor", "stalk", "muscle intact", "node",
     "level II", "tongue", "no", "not", "without", "solid", "12 mm", "3 cm", "0 mm", "%", ",", ".", ";", "and",
     "new", "irregular", "oval", "circumscribed", "spiculated", "enhancing", "washout", "capsule", "possible",
     "stenosis", "LAD", "9 papillary projections", "99999999 papillary projections", "color score 4", "uptake",
     "biopsy-proven", "-"]
)  # fmt: skip


@given(text=st.text() | st.lists(WORDS, max_size=30).map(" ".join), answer=st.sampled_from(labels()))
@settings(deadline=None)
def test_any_text_gives_a_ruling_of_the_system_or_none(text: str, answer: str) -> None:
    for system in MEASURED:
        found = check(text, system)
        assert found is None or found.ruling.category in (*systems()[system].answers, "No applicable RADS")
    disagreement(text, answer)


def test_hostile_text_of_a_megabyte_is_read_to_its_end() -> None:
    for unit, system in itertools.product(
        ("nodule ", "1 mm x ", "solid component ", "no ", "stenosis 5 % - ", "ovary cyst ", "no mass, ", "pz dwi "),
        MEASURED,
    ):
        check(unit * (200_000 // len(unit)), system)
