"""The tasks of a text: the system that covers the study, what the sections ask for, nothing for what is no report."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from radlite.data.sample import examples
from radlite.rads import systems
from radlite.routing.detection import Proposal, detect
from radlite.tasks import TASKS

FLOOR = 0.98
"""Measured on 300 items of validation, and on as many of the other splits: 1.0."""

COVERED = [
    (
        "Lung-RADS",
        "CT CHEST LOW DOSE LUNG SCREENING\n\nHISTORY: 62M, current smoker, 40 pack years.\nFINDINGS: 5 mm "
        "nodule in the RUL. Mild emphysema.\nIMPRESSION: Benign appearing nodule.",
    ),
    (
        "Lung-RADS",
        "EXAM: LDCT thorax\nCLINICAL INDICATION: Annual lung cancer screening, asymptomatic.\nFINDINGS:\n"
        "Lungs: No nodules.\nPleura: No effusion.",
    ),
    (
        "Lung-RADS",
        "Low-dose chest CT without contrast.\nIndication: Three-month follow-up of a screen-detected "
        "nodule.\nFindings: The part-solid nodule has resolved.",
    ),
    (
        "CAD-RADS",
        "CCTA\nIndication: atypical chest pain.\nFindings: LAD with calcified plaque, 30 % stenosis. RCA and "
        "LCx normal.\nConclusion: Nonobstructive disease.",
    ),
    (
        "CAD-RADS",
        "EXAM: CT HEART W CONTRAST, CORONARY CTA\nFINDINGS: Right dominant. No plaque or stenosis.\n"
        "IMPRESSION: Normal.",
    ),
    (
        "CAD-RADS",
        "Study: CTCA\nClinical details: Chest pain, family history of IHD.\nReport: Calcium score 120. Mixed "
        "plaque in the proximal LAD with moderate stenosis.\nOpinion: CT-FFR advised.",
    ),
    (
        "BI-RADS",
        "BILATERAL DIGITAL SCREENING MAMMOGRAM WITH CAD\nComparison: 2022, 2021.\nFindings: Scattered "
        "fibroglandular densities. No suspicious mass, calcification or distortion.\nImpression: Negative.",
    ),
    (
        "BI-RADS",
        "Exam: US BREAST LEFT LIMITED\nReason for exam: 41F palpable lump at 3 o'clock.\nFindings: Oval "
        "circumscribed hypoechoic mass of 14 mm.\nAssessment: Probably benign.",
    ),
    (
        "BI-RADS",
        "MRI BREASTS\nHistory: BRCA1 carrier, high risk screening. Bilateral implants.\nTechnique: Dynamic "
        "contrast enhanced.\nFindings: Marked background enhancement. No suspicious enhancement. Implants "
        "intact.\nImpression: Benign.",
    ),
    (
        "BI-RADS",
        "Contrast-enhanced mammography (CEM)\nIndication: Recall from screening.\nFindings: 9 mm enhancing "
        "irregular mass.",
    ),
    (
        "BI-RADS",
        "Study: Sonomammography\nFindings: Both breasts show dense parenchyma. No focal lesion.\nImpression: Normal.",
    ),
    (
        "BI-RADS",
        "Digital breast tomosynthesis, right, diagnostic. Focal asymmetry persists on spot views.",
    ),
    (
        "TI-RADS",
        "USG THYROID\nClinical history: Swelling.\nFindings: Right lobe: solid hypoechoic nodule of 2.1 cm, "
        "taller than wide. Isthmus normal.\nImpression: Suspicious nodule.",
    ),
    (
        "TI-RADS",
        "Exam: US soft tissue head and neck\nIndication: Thyroid nodule on CT.\nFindings: The left thyroid "
        "lobe contains a spongiform nodule. No cervical adenopathy.\nImpression: Benign.",
    ),
    (
        "TI-RADS",
        "Procedure: THYROID SONOGRAM\nHistory: Right hemithyroidectomy in 2015 for goitre.\nFindings: Left "
        "lobe has a 6 mm cyst.\nImpression: Cyst.",
    ),
    (
        "LI-RADS",
        "MRI ABDOMEN WITH AND WITHOUT CONTRAST\nHISTORY: HCV cirrhosis, rising AFP.\nTECHNIQUE: Multiphasic "
        "with gadoxetate.\nFINDINGS: Segment 8: 2.2 cm observation with APHE and washout.\nIMPRESSION: HCC.",
    ),
    (
        "LI-RADS",
        "CT abdomen triple phase\nClinical details: Chronic hepatitis B. ?HCC\nReport: 14 mm arterially "
        "enhancing focus in segment 4, no washout.\nConclusion: Indeterminate.",
    ),
    (
        "LI-RADS",
        "Examination: CT liver multiphase\nIndication: HCC post TACE, assess response.\nFindings: No nodular "
        "enhancement at the treated site.",
    ),
    (
        "LI-RADS",
        "Exam: US ABDOMEN LIMITED\nReason for study: Cirrhosis, HCC surveillance.\nFindings: Coarse liver. "
        "No focal lesion. Gallbladder wall thickening.",
    ),
    (
        "LI-RADS",
        "CEUS liver\nIndication: Nodule in alcoholic cirrhosis.\nFindings: Arterial hyperenhancement, mild "
        "late washout.",
    ),
    (
        "PI-RADS",
        "MP-MRI PROSTATE\nIndication: PSA 7.2, biopsy naive.\nFindings: 35 cc gland. PZ lesion, left mid, "
        "1.1 cm, marked restricted diffusion.\nImpression: One suspicious lesion.",
    ),
    (
        "PI-RADS",
        "Exam: MRI PELVIS W WO CONTRAST\nIndication: Elevated PSA 9.1 ng/mL.\nFindings: Prostate measures 5 "
        "x 4 x 4 cm. Transition zone nodules.\nImpression: No suspicious lesion.",
    ),
    (
        "PI-RADS",
        "Biparametric MRI of the prostate\nClinical: Active surveillance, Gleason 3+3.\nFindings: Stable 6 mm focus.",
    ),
    (
        "PI-RADS",
        "MRT der Prostata\nKlinische Angaben: PSA 8.\nBefund: Herd in der peripheren Zone mit 8 mm.\n"
        "Beurteilung: Suspekt.",
    ),
    (
        "VI-RADS",
        "MRI URINARY BLADDER\nHistory: Hematuria; cystoscopy shows a mass.\nFindings: 3 cm papillary tumor, "
        "left wall. Low SI line of the muscularis intact.\nImpression: No muscle invasion.",
    ),
    (
        "VI-RADS",
        "Examination: Multiparametric MRI pelvis\nIndication: Bladder carcinoma before TURBT.\nFindings: "
        "Sessile 4 cm lesion at the trigone with interrupted muscle layer.",
    ),
    (
        "O-RADS",
        "US PELVIS TRANSVAGINAL\nLMP: day 10.\nIndication: 34F, irregular cycles.\nFindings: Uterus normal. "
        "Right ovary: 4 cm unilocular cyst. Left ovary normal.\nImpression: Simple cyst.",
    ),
    (
        "O-RADS",
        "TVS\nFindings: Left adnexal multilocular lesion with papillary projections, colour score 3.\n"
        "Impression: Suspicious.",
    ),
    (
        "O-RADS",
        "MRI pelvis with contrast\nReason: Characterise adnexal mass seen on ultrasound.\nFindings: Right "
        "ovarian cystic lesion with enhancing solid tissue, low risk curve.\nImpression: Probably benign.",
    ),
    (
        "NI-RADS",
        "CT NECK SOFT TISSUE W CONTRAST\nHistory: SCC of the larynx, s/p chemoradiation 2021, surveillance.\n"
        "Findings: Post-treatment edema. No nodes.\nImpression: No recurrence.",
    ),
    (
        "NI-RADS",
        "FDG PET/CT skull base to mid thigh\nIndication: Oropharyngeal carcinoma, p16 positive, 12 weeks "
        "after chemoradiotherapy.\nFindings: Mild diffuse uptake, no focal lesion.\nImpression: Complete "
        "response.",
    ),
    (
        "NI-RADS",
        "MRI face and neck\nClinical: Resected tongue cancer with flap reconstruction, follow up.\nFindings: "
        "New nodule at the flap margin, 9 mm, enhancing.",
    ),
    (
        "GB-RADS",
        "Ultrasound gall bladder\nIndication: Chronic dyspepsia.\nFindings: Asymmetric wall thickening of 9 "
        "mm at the fundus, loss of layering.\nImpression: Suspicious.",
    ),
    (
        "GB-RADS",
        "USG WHOLE ABDOMEN\nClinical: Weight loss.\nFindings: Liver normal. Gallbladder shows diffuse wall "
        "thickening with intramural cysts. Spleen normal.\nImpression: Adenomyomatosis.",
    ),
    (
        "GB-RADS",
        "US right upper quadrant\nHistory: Biliary colic, non-acute.\nFindings: Thickened gallbladder wall, "
        "6 mm, layers preserved. No Murphy sign. No evidence of acute cholecystitis.",
    ),
    (
        "CAD-RADS",
        "Cardiac CT with coronary angiography. Clinical: CABG 2012. Findings: LIMA to LAD patent. Impression: "
        "Patent grafts.",
    ),
    (
        "LI-RADS",
        "MRI ABDOMEN W WO\nIndication: HBV carrier, nodule on US.\nFindings: Siderotic nodules. No arterial "
        "hyperenhancement.",
    ),
    (
        "NI-RADS",
        "CECT NECK\nClinical: Ca buccal mucosa, post op and post RT, routine follow up\nFindings: Post surgical "
        "changes. No enhancing mass.",
    ),
    # What earlier studies were does not decide.
    (
        "TI-RADS",
        "Thyroid ultrasound\nHistory: Prior prostate MRI PI-RADS 4, low-dose CT Lung-RADS 2.\nComparison: CT "
        "chest 2020.\nFindings: 1 cm cyst, left lobe.",
    ),
    (
        "Lung-RADS",
        "CT chest, low dose, lung screening\nHistory: Breast cancer screening mammogram BI-RADS 2. Coronary "
        "CTA 2020.\nFindings: No nodule.",
    ),
]

UNCOVERED = [
    "MRI PELVIS PROSTATE\nHistory: prostate cancer s/p EBRT 2018, PSA rising.\nFindings: Early enhancement.",
    "Lower limb venous Doppler\nFindings: Thrombus in the left popliteal vein.",
    "CT UROGRAPHY\nIndication: Hematuria.\nFindings: 2 cm enhancing mass of the left bladder wall.\n"
    "Impression: Bladder tumor.",
    "CT CHEST WITH CONTRAST\nIndication: Trauma.\nFindings: Incidental 7 mm nodule in the left lower "
    "lobe.\nImpression: Nodule.",
    "Exam: CTPA\nHistory: Dyspnea. Lung cancer screening up to date.\nFindings: No embolus. 5 mm "
    "nodule.\nImpression: No PE.",
    "CT neck with contrast\nIndication: Abscess?\nFindings: 1.8 cm hypodense thyroid nodule.\n"
    "Impression: Thyroid nodule.",
    "MRI LIVER\nHistory: 30F on oral contraceptives, no cirrhosis, hepatitis or malignancy.\nFindings: 4 "
    "cm mass with central scar, arterial enhancement, no washout.\nImpression: FNH.",
    "CT abdomen and pelvis, portal venous phase\nIndication: Colon cancer follow-up.\nFindings: "
    "Hypodense liver lesion, 2 cm.",
    "Liver MRI, dynamic\nIndication: Cirrhosis due to Budd-Chiari syndrome.\nFindings: Multiple enhancing nodules.",
    "US gallbladder\nIndication: Acute RUQ pain and fever.\nFindings: Wall thickening, stone in the "
    "neck, positive Murphy sign.",
    "Abdominal ultrasound\nIndication: Pain.\nFindings: Gallbladder with stones, wall thin. Liver and "
    "spleen unremarkable.",
    "US abdomen\nHistory: Cholecystectomy 2010. Pain.\nFindings: Gallbladder bed without mass or fluid. Liver normal.",
    "CT NECK W CONTRAST\nIndication: Newly diagnosed tonsil carcinoma, staging.\nFindings: 3 cm "
    "enhancing mass. Level II nodes.",
    "CT angiography of the neck\nIndication: Stroke.\nFindings: No stenosis. Incidental node.\n"
    "Impression: Normal arteries.",
    "CT neck\nHistory: Non-Hodgkin lymphoma treated with chemotherapy, tonsil disease.\nFindings: No lymphadenopathy.",
    "Ultrasound right breast\nIndication: 45M, tender swelling behind the nipple.\nFindings: "
    "Flame-shaped tissue, gynecomastia.",
    "Breast ultrasound\nHistory: Male, 60 years, lump.\nFindings: 1 cm hypoechoic mass.",
    "MRI BREAST WITHOUT CONTRAST\nIndication: Evaluate for implant rupture.\nFindings: Linguine sign on the left.",
    "Thyroid ultrasound\nHistory: Papillary carcinoma, status post total thyroidectomy.\nFindings: No "
    "residual tissue. Normal nodes.",
    "US PARATHYROID\nIndication: Hypercalcemia.\nFindings: 9 mm hypoechoic lesion below the left lobe.",
    "MRI prostate\nHistory: Rising PSA after radical prostatectomy.\nFindings: Enhancing nodule at the anastomosis.",
    "Prostate MRI\nIndication: Biochemical recurrence after radiation therapy.\nFindings: Focal "
    "enhancement in the left apex.",
    "CT pelvis\nIndication: Prostate enlargement.\nFindings: Prostate measures 6 cm.",
    "US pelvis transvaginal\nIndication: Acute pelvic pain, rule out torsion.\nFindings: Enlarged right "
    "ovary with cyst of 6 cm.",
    "Obstetric ultrasound, transvaginal\nIndication: Early pregnancy.\nFindings: Single gestation sac. Ovaries normal.",
    "US pelvis\nIndication: Urinary retention, 70M.\nFindings: Bladder volume 600 ml. Prostate enlarged.",
    "MRI pelvis\nIndication: Rectal cancer, staging.\nFindings: T3 tumor, 7 cm from the verge. Uterus "
    "and ovaries normal.",
    "CT coronary calcium score\nIndication: Risk assessment, lung screening declined.\nFindings: "
    "Agatston score 230. No mass.",
    "CT heart, TAVI planning, angiography\nIndication: Aortic stenosis.\nFindings: Annulus area 480 mm2. "
    "Coronary heights adequate.",
    "Ultrasound-guided FNA of a thyroid nodule\nFindings: Three passes into the 2 cm nodule of the right "
    "lobe. No hematoma.",
    "CT-guided liver biopsy, needle 18 G\nIndication: Cirrhosis, HCC.\nFindings: Three cores of the "
    "lesion in segment 6.",
    "MRI HEAD\nHistory: Breast cancer. Prior coronary CTA.\nFindings: No enhancing lesion.\nImpression: No metastasis.",
    "XR KNEE LEFT, 2 views\nFindings: No fracture. Small effusion.\nImpression: No acute bony injury.",
    "MRI lumbar spine\nHistory: Liver cirrhosis, prostate MRI PI-RADS 3.\nFindings: Disc herniation L4/5 "
    "with stenosis.",
    "Chest x-ray PA\nIndication: Lung cancer screening CT showed a nodule.\nFindings: No nodule seen. No effusion.",
    "Barium swallow\nIndication: Dysphagia.\nFindings: No stricture or mass of the esophagus. Hiatal "
    "hernia with reflux.",
    "CTA CHEST AND ABDOMEN\nIndication: Aortic aneurysm.\nFindings: Infrarenal aorta 5.2 cm with mural "
    "thrombus. No dissection.",
    "CTA HEAD AND NECK\nIndication: TIA.\nFindings: Left ICA stenosis of 60 %. No aneurysm.",
]

NO_REPORTS = [
    "",
    " \n\t\n",
    "Normal chest radiograph.",
    "Shall I compare thee to a summer's day?\nThou art more lovely and more temperate:\nRough winds do "
    "shake the buds of May,",
    "def detect(text):\n    findings = [one for one in text if one]\n    return findings  # impression: none\n",
    "Summary: The committee met on Monday.\nConclusion: The budget was agreed upon.\nRecommendation: "
    "Meet again in May.",
    "Dear colleague, thank you for your letter about the thyroid. Please contact us in six weeks. Kind regards.",
    "lorem ipsum " * 200,
    ": : : : : : : :",
]


def tasks(text: str) -> set[str]:
    return set(detect(text).tasks)


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_the_system_of_a_sample_report_is_found(split: str) -> None:
    items = list(examples("rads_assignment", split, 300))
    truth = [next(tag[7:] for tag in item.tags if tag.startswith("system:")) for item in items]
    found = [detect(item.inputs["report"]).system or "none" for item in items]
    assert sum(map(str.__eq__, truth, found)) / len(items) >= FLOOR


@pytest.mark.parametrize(("system", "text"), COVERED)
def test_a_study_that_a_guideline_covers_gets_its_system(system: str, text: str) -> None:
    proposal = detect(text)
    assert (proposal.system, proposal.tasks[0]) == (system, "rads_assignment")
    assert detect(text.replace("\n", "\r\n")).system == detect(text.upper()).system == system


@pytest.mark.parametrize("text", UNCOVERED)
def test_a_study_outside_every_guideline_gets_no_system(text: str) -> None:
    proposal = detect(text)
    assert proposal.system is None
    assert "radiology_ner" in proposal.tasks


def test_every_system_is_found_at_least_twice_in_hand_written_reports() -> None:
    named = [system for system, _ in COVERED]
    assert all(named.count(system) >= 2 for system in systems())


@pytest.mark.parametrize("text", NO_REPORTS)
def test_what_is_no_report_gets_no_task(text: str) -> None:
    assert detect(text) == Proposal((), None, ("this does not read as a radiology report",))


CHEST = "CXR PA AND LATERAL\nINDICATION: Cough.\n{}FINDINGS: Lungs clear. No effusion.\n{}"


def test_chest_studies_are_searched_for_abnormalities_and_others_are_not() -> None:
    for study in (
        "Chest radiograph",
        "Portable chest x-ray",
        "CT thorax",
        "HRCT",
        "CT chest, abdomen and pelvis",
        "CTPA",
    ):
        assert "abnormality_detection" in tasks(f"EXAM: {study}\nFINDINGS: No effusion or consolidation. No nodule.")
    for study in (
        "Thoracic spine radiograph",
        "CT abdomen",
        "MRI chest wall",
        "Coronary CTA",
        "Ultrasound of the chest",
    ):
        assert "abnormality_detection" not in tasks(f"EXAM: {study}\nFINDINGS: No effusion or lesion. No nodule.")


def test_an_impression_is_proposed_only_where_findings_have_none() -> None:
    assert "impression_generation" in tasks(CHEST.format("", ""))
    assert "impression_generation" in tasks(CHEST.format("", "IMPRESSION:\n"))
    for ending in ("IMPRESSION: Normal.", "Conclusion - Normal.", "OPINION\nNormal."):
        assert "impression_generation" not in tasks(CHEST.format("", ending))
    assert "impression_generation" not in tasks("EXAM: Chest radiograph\nIMPRESSION: Left effusion, no pneumothorax.")


@pytest.mark.parametrize("prior", ["CT of 2021.", "03/2020", "Prior radiograph.", "Chest x-ray two days ago"])
def test_a_named_comparison_proposes_changes_over_time(prior: str) -> None:
    assert "temporal_comparison" in tasks(CHEST.format(f"COMPARISON: {prior}\n", ""))


@pytest.mark.parametrize(
    "prior", ["None.", "none available", "No prior studies.", "N/A", "Not available", "", "Nil", "-"]
)
def test_a_comparison_with_nothing_proposes_none(prior: str) -> None:
    assert "temporal_comparison" not in tasks(CHEST.format(f"COMPARISON: {prior}\n", ""))


def test_a_comparison_may_stand_in_the_findings_and_may_be_denied_there() -> None:
    assert "temporal_comparison" in tasks(CHEST.format("", "Compared with the radiograph of May, effusion is smaller."))
    assert "temporal_comparison" not in tasks(
        CHEST.format("", "There are no images to be compared with the current ones.")
    )


@pytest.mark.parametrize(
    "history",
    [
        "Newly diagnosed lung cancer.",
        "Staging of a sigmoid carcinoma.",
        "Melanoma, metastases?",
        "Biopsy-proven adenocarcinoma of the pancreas.",
        "Lung mass on radiograph.",
        "NSCLC, restaging after two cycles.",
    ],
)
def test_staging_is_proposed_where_cancer_and_its_stage_are_at_issue(history: str) -> None:
    found = tasks(f"CT chest and abdomen\nINDICATION: {history}\nFINDINGS: 4 cm mass, hilar lymph nodes.")
    assert found >= {"n_staging", "m_staging"}


@pytest.mark.parametrize(
    "history",
    [
        "Chronic kidney disease, stage 3.",
        "Sarcoidosis stage II.",
        "Lymphoma, staging.",
        "Family history of lung cancer, cough.",
        "Lung cancer screening.",
        "No known malignancy, staging of fibrosis.",
        "Breast cancer in 2002, now cough.",
        "Cough and fever.",
    ],
)
def test_staging_is_not_proposed_without_cancer_or_without_the_question(history: str) -> None:
    found = tasks(f"CT chest and abdomen\nINDICATION: {history}\nFINDINGS: 4 mm nodule, normal lymph nodes.")
    assert not found & {"n_staging", "m_staging"}


def test_tasks_are_known_unique_and_never_need_a_second_text() -> None:
    for text in [text for _, text in COVERED] + UNCOVERED:
        proposal = detect(text)
        assert len(set(proposal.tasks)) == len(proposal.tasks)
        assert all(TASKS[name].inputs == ("report",) for name in proposal.tasks)


def test_the_most_specific_task_comes_first_and_the_general_one_last() -> None:
    text = (
        "EXAM: CT chest\nINDICATION: Lung cancer, staging.\nCOMPARISON: 2020.\nFINDINGS: 3 cm mass. Hilar lymph nodes."
    )
    assert detect(text).tasks == (
        "rads_assignment",
        "n_staging",
        "m_staging",
        "abnormality_detection",
        "impression_generation",
        "temporal_comparison",
        "radiology_ner",
    )


def test_no_applicable_system_is_proposed_only_where_an_organ_of_one_is_imaged() -> None:
    assert "rads_assignment" in tasks("CT urography\nFINDINGS: Enhancing bladder lesion of 2 cm.")
    assert "rads_assignment" not in tasks("MRI lumbar spine\nFINDINGS: Disc herniation with stenosis at L4/5.")
    assert "rads_assignment" not in tasks("Chest radiograph\nFINDINGS: Lungs clear. No effusion.")


def test_reasons_are_short_and_the_same_whatever_the_report_says() -> None:
    told = {why for _, text in COVERED for why in detect(text).why} | {
        why for text in UNCOVERED for why in detect(text).why
    }
    assert len(told) <= 30
    assert all(len(why) < 70 and not any(character.isdigit() for character in why) for why in told)


@settings(deadline=None, max_examples=200)
@given(
    st.one_of(
        st.text(), st.lists(st.sampled_from([text for _, text in COVERED] + UNCOVERED + NO_REPORTS)).map("\n".join)
    )
)
@example("no " * 20_000)
@example("thyroid " * 20_000)
@example("EXAM: US neck\nFINDINGS: " + "cancer tongue treated " * 5_000)
@example("\n" * 20_000)
@example("İ" * 100 + " CT chest nodule")
def test_any_text_gets_a_proposal(text: str) -> None:
    proposal = detect(text)
    assert set(proposal.tasks) <= TASKS.keys()
    assert proposal.system in {None, *systems()}
    assert proposal.why
    assert proposal.system is None or "rads_assignment" in proposal.tasks
