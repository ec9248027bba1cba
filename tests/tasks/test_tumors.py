"""Tumors: their categories, the one a report is about, and the categories that it states."""

import csv
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from radlite.tasks.staging import M_STAGING, N_STAGING
from radlite.tasks.tumors import TUMORS, main, primary, stated

Axis = Literal["N", "M"]
EVERY = sorted(
    {("N", one) for tumor in TUMORS for one in tumor.n} | {("M", one) for tumor in TUMORS for one in tumor.m}
)


def site(text: str) -> str | None:
    tumor = primary(text)
    return tumor.site if tumor else None


def categories(text: str, axis: Axis) -> list[str]:
    return [one.category for one in stated(text, axis)]


def test_every_table_is_in_order_has_main_categories_and_no_mx() -> None:
    assert len({tumor.site for tumor in TUMORS}) == len(TUMORS)
    for tumor in TUMORS:
        for table in (tumor.n, tumor.m):
            known = [one for one in table if one != "NX"]
            assert known == sorted(set(known)) and {main(one) for one in known} <= set(known)
        assert "N0" in tumor.n and tumor.m[0] == "M0" and "MX" not in tumor.m and tumor.source
        assert not {one for one in tumor.n if "mi" in one or "(" in one}


@pytest.mark.parametrize(
    ("name", "n", "m"),
    [
        ("lung", "NX N0 N1 N2 N2a N2b N3", "M0 M1 M1a M1b M1c M1c1 M1c2"),
        ("breast", "NX N0 N1 N2 N2a N2b N3 N3a N3b N3c", "M0 M1"),
        ("colon and rectum", "NX N0 N1 N1a N1b N1c N2 N2a N2b", "M0 M1 M1a M1b M1c"),
        ("kidney", "NX N0 N1", "M0 M1"),
        ("prostate", "NX N0 N1", "M0 M1 M1a M1b M1c"),
        ("oropharynx (HPV-positive)", "NX N0 N1 N2 N3", "M0 M1"),
        ("melanoma", "NX N0 N1 N1b N1c N2 N2b N2c N3 N3b N3c", "M0 M1 M1a M1b M1c M1d"),
        ("soft tissue sarcoma", "N0 N1", "M0 M1"),
    ],
)
def test_the_tables_are_those_of_the_classification(name: str, n: str, m: str) -> None:
    tumor = next(tumor for tumor in TUMORS if tumor.site == name)
    assert (" ".join(tumor.n), " ".join(tumor.m)) == (n, m)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Staging of lung cancer.", "lung"),
        ("There is a 5 cm mass in the right upper\nlobe.", "lung"),
        ("Breast, left, excision: Infiltrating carcinoma.", "breast"),
        ("Tumor site: Stomach", "stomach"),
        ("Carcinoma of the upper third of the oesophagus", "esophagus"),
        ("Hepatocellular carcinoma in segment 8", "liver"),
        ("HCC", "liver"),
        ("intrahepatic cholangiocarcinoma", "intrahepatic bile ducts"),
        ("Klatskin tumor", "gallbladder and bile ducts"),
        ("carcinoma of the gall bladder", "gallbladder and bile ducts"),
        ("mass of the bladder", "bladder"),
        ("urothelial carcinoma of the right kidney", "ureter and renal pelvis"),
        ("cervical cancer", "cervix"),
        ("Squamous cell carcinoma of the tongue", "oral cavity"),
        ("Supraglottic carcinoma", "hypopharynx and larynx"),
        ("Malignant melanoma, nodular", "melanoma"),
        ("Hilar mass suspicious for lung cancer", "lung"),
        ("Retroperitoneal liposarcoma", "soft tissue sarcoma"),
        ("Triple-negative breast cancer", "breast"),
        ("Clinical history: lung cancer", "lung"),
        ("No change in the pancreatic mass.", "pancreas"),
    ],
)
def test_a_cancer_or_mass_of_an_organ_or_a_histology_names_the_tumor(text: str, expected: str) -> None:
    assert site(text) == expected
    assert site(text.upper()) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Lung cancer with multiple liver metastases.", "lung"),
        ("Liver lesions consistent with metastases from colon cancer.", "colon and rectum"),
        ("Left adrenal gland: metastatic renal cell carcinoma.", "kidney"),
        ("Metastatic breast cancer to the liver.", "breast"),
        ("Pancreatic head mass with liver metastases.", "pancreas"),
        ("Liver masses consistent with metastases.", None),
        ("Metastatic carcinoma in the liver.", None),
        ("Lung metastases of melanoma, brain metastases.", "melanoma"),
    ],
)
def test_metastases_do_not_count(text: str, expected: str | None) -> None:
    assert site(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("No evidence of breast cancer.", None),
        ("Negative for prostate carcinoma. Bladder cancer.", "bladder"),
        ("Renal carcinoma is not identified.", None),
        ("Lung cancer screening CT.", None),
        ("Ovarian cyst, risk of malignancy below 1%.", None),
        ("History of breast cancer. Rectal cancer.", "colon and rectum"),
        ("Past medical history: thyroid cancer.", None),
        ("Family history of ovarian cancer. Gastric cancer.", "stomach"),
        ("Prostate cancer 10 years ago. Esophageal cancer.", "esophagus"),
        ("Benign renal mass.", None),
        ("Lung mass with mass effect on the brain.", "lung"),
    ],
)
def test_negated_past_and_benign_tumors_do_not_count(text: str, expected: str | None) -> None:
    assert site(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "Lung cancer. Breast cancer.",
        "Lung and breast cancer.",
        "Renal mass. Liver mass.",
        "Breast cancer. Lymphoma.",
        "Neuroendocrine tumor of the pancreas.",
        "Uveal melanoma.",
        "Uterine leiomyosarcoma.",
        "Cholangiocarcinoma.",
        "Cervical mass.",
        "Glioblastoma.",
        "A mass.",
        "",
    ],
)
def test_two_primaries_and_tumors_without_a_table_give_none(text: str) -> None:
    assert primary(text) is None


def test_a_cancer_outweighs_a_mass_elsewhere() -> None:
    assert site("Known lung cancer. A thyroid mass is unchanged.") == "lung"


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ("p16 positive", "oropharynx (HPV-positive)"),
        ("HPV-related", "oropharynx (HPV-positive)"),
        ("p16+", "oropharynx (HPV-positive)"),
        ("HPV: negative", "oropharynx (HPV-negative)"),
        ("status unknown", None),
        ("p16 positive, HPV negative", None),
    ],
)
def test_a_cancer_of_the_oropharynx_needs_its_hpv_status(status: str, expected: str | None) -> None:
    assert site(f"Squamous cell carcinoma of the base of tongue, {status}.") == expected


@pytest.mark.parametrize(
    ("text", "n", "m"),
    [
        ("pT2 N1 M0", ["N1"], ["M0"]),
        ("cT3N2bM0", ["N2b"], ["M0"]),
        ("t2n0m0", ["N0"], ["M0"]),
        ("T4bN2aM1c2", ["N2a"], ["M1c2"]),
        ("T2/N0/M0/Gleason 7", ["N0"], ["M0"]),
        ("pT1mi(2), pN1a(sn)", ["N1a"], []),
        ("ypN0", ["N0"], []),
        ("N1mi, N1(mi)", ["N1mi", "N1mi"], []),
        ("N0(i+), pN0 (i-)(sn), pN0(mol+)", ["N0(i+)", "N0(i-)", "N0(mol+)"], []),
        ("cM0(i+)", [], ["M0(i+)"]),
        ("M1a(1)", [], ["M1a"]),
        ("stage N2; M1b.", ["N2"], ["M1b"]),
        ("N stage: 2. M-stage 1a", ["N2"], ["M1a"]),
        ("Regional nodes (pN): 1a", ["N1a"], []),
        ("p T 4, p N 0, M X, L 1", ["N0"], []),
        ("pT3 pNO MO", ["N0"], ["M0"]),
        ("T3 NO MX", ["N0"], []),
        ("T2 NX M0", ["NX"], ["M0"]),
        ("No lymphadenopathy, N0, no metastasis M0.", ["N0"], ["M0"]),
        ("N1/N2", ["N1", "N2"], []),
    ],
)
def test_stated_categories_are_read_in_the_forms_of_reports(text: str, n: list[str], m: list[str]) -> None:
    assert categories(text, "N") == n
    assert categories(text, "M") == m


@pytest.mark.parametrize("prefix", ["", "stage ", "c", "p", "yp", "T2", "T2 ", "cT1b c", "The stage is T4, "])
@pytest.mark.parametrize(("axis", "category"), EVERY)
def test_every_category_of_every_table_is_read_in_every_form(axis: Axis, category: str, prefix: str) -> None:
    assert categories(f"{prefix}{category}", axis) == [category]
    assert categories(f"Impression: {prefix}{category}.", axis) == [category]


@pytest.mark.parametrize(
    "text",
    [
        "T4 vertebra, L4/N5",
        "N 95 mask, N95",
        "M1 segment of the middle cerebral artery",
        "Occlusion of the left M1",
        "M2",
        "pMX, MX",
        "N. vagus, CN2 and CN 3",
        "stage NII, MI",
        "2N chromosomes",
        "N2O, CD20 N10, SNOMED M80703",
        "one lesion of 2 cm 1 mm, 2 CM 1 MM",
        "IN 1 OF 3 NODES, (pN): 1 of 3 nodes",
        "T2 NO EVIDENCE OF TUMOR, NO MORE, No mass",
        "Pn0, Pn1",
        "NI-RADS P2 N1",
        "No enlarged N2 or N3 nodes.",
        "N1: entire node, M1: block",
        "n2 or m1, n 1, N 2, N1.5, N1-2",
    ],
)
def test_what_only_looks_like_a_category_is_not_read(text: str) -> None:
    assert categories(text, "N") == categories(text, "M") == []


@pytest.mark.parametrize(
    ("text", "prior"),
    [
        ("Previously N1, now N2.", [True, False]),
        ("Downstaged from T3N2 to N1.", [True, False]),
        ("N2 on the prior study.", [True]),
        ("Initially staged as\nT2 N1 M0.", [True]),
        ("Compared with the prior CT, N2 disease is present.", [False]),
        ("INDICATION: T2N1 lung cancer.\n\nIMPRESSION: T2 N2 M0.", [True, False]),
        ("COMPARISON: CT of May, N1.\n\nIMPRESSION: N3.", [True, False]),
    ],
)
def test_what_is_said_of_an_earlier_time_is_marked(text: str, prior: list[bool]) -> None:
    assert [one.prior for one in stated(text, "N")] == prior


def test_main_categories_lose_their_subdivision() -> None:
    assert [main(one) for one in ("N2a", "N1mi", "N0(i+)", "NX", "M1c2")] == ["N2", "N1", "N0", "NX", "M1"]


FRAGMENTS = st.sampled_from(
    ["N1", "pN", "n0", "T2", "M1", "M0", "NO", "MX", "(sn)", "(i+)", "mi", " ", "\n", "\n\n", ".", ":", "/", "-",
     "lung", "cancer", "mass", "metastatic", "no", "of the", "base of tongue", "HPV", "stage ", "HISTORY:", "İ", "٣"]
)  # fmt: skip
HOSTILE = st.one_of(
    st.text(), st.lists(FRAGMENTS, max_size=60).map("".join), st.lists(FRAGMENTS, max_size=60).map(" ".join)
)


@settings(deadline=None)
@given(HOSTILE, st.sampled_from(["N", "M"]))
def test_any_text_is_read_with_right_places(text: str, axis: Axis) -> None:
    assert primary(text) is None or primary(text) in TUMORS
    end = 0
    for one in stated(text, axis):
        assert end <= one.start < one.end <= len(text)
        end = one.end
        written = text[one.start : one.end].upper().replace("O", "0")
        assert axis in written and one.category[1] in written
        assert one.category[0] == axis and main(one.category) in {"N0", "N1", "N2", "N3", "NX", "M0", "M1"}


@settings(deadline=None)
@given(st.text())
def test_main_of_main_is_main(category: str) -> None:
    assert main(main(category)) == main(category)


@settings(deadline=None)
@given(
    st.sampled_from(EVERY),
    st.sampled_from(["", "One. ", "Text before\n", "(", "A sign, "]),
    st.sampled_from(["", ".", ")", "\n", ", and"]),
)
def test_a_category_is_found_where_it_stands(one: tuple[Axis, str], before: str, after: str) -> None:
    axis, category = one
    found = stated(f"{before}c{category}{after}", axis)
    assert [(part.start, part.end) for part in found] == [(len(before), len(before) + 1 + len(category))]


PROJECTS = {
    "lung": "LUAD LUSC", "breast": "BRCA", "colon and rectum": "COAD READ", "stomach": "STAD", "esophagus": "ESCA",
    "liver": "LIHC", "intrahepatic bile ducts": "CHOL", "gallbladder and bile ducts": "CHOL", "pancreas": "PAAD",
    "kidney": "KIRC KIRP KICH", "bladder": "BLCA", "prostate": "PRAD", "testis": "TGCT", "cervix": "CESC",
    "thyroid": "THCA", "oral cavity": "HNSC", "oropharynx (HPV-positive)": "HNSC", "oropharynx (HPV-negative)": "HNSC",
    "hypopharynx and larynx": "HNSC", "melanoma": "SKCM", "pleura": "MESO",
}  # fmt: skip


def tcga(folder: Path, axis: Axis) -> Iterator[tuple[str, str, str]]:
    """Text, project and main category of the reports that have one."""
    name, column = {
        "N": ("TCGA_N03_patients.csv", "ajcc_pathologic_n"),
        "M": ("TCGA_M01_patients.csv", "ajcc_pathologic_m"),
    }[axis]
    with (folder / name).open(encoding="utf-8", newline="") as file:
        patients = {row["case_submitter_id"]: row for row in csv.DictReader(file)}
    with (folder / "T14_test.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            known = patients.get(row["patient_filename"].split(".")[0])
            if known:
                category = main(known[column].removeprefix("c"))
                yield row["text"], known["project_id"].removeprefix("TCGA-"), category


def test_the_tumor_of_a_real_report_is_that_of_its_study(shared: Path) -> None:
    named = [(site(text), project) for text, project, _ in tcga(shared / "tcga", "N")]
    right = Counter(project in PROJECTS.get(found, "").split() for found, project in named if found)
    assert len(named) == 826 and right.total() > 0.7 * 826
    assert right[True] > 0.99 * right.total()


@pytest.mark.parametrize(("axis", "share", "agreement"), [("N", 0.45, 0.97), ("M", 0.03, 0.85)])
def test_what_real_reports_state_agrees_with_the_registry(
    axis: Axis, share: float, agreement: float, shared: Path
) -> None:
    rows = list(tcga(shared / "tcga", axis))
    said = [
        ({main(one.category) for one in stated(text, axis) if not one.prior} - {"NX"}, truth) for text, _, truth in rows
    ]
    agreeing = [truth in some for some, truth in said if some]
    assert len(agreeing) > share * len(rows)
    assert sum(agreeing) > agreement * len(agreeing)


def test_probabilities_of_subdivisions_are_those_of_their_main_category() -> None:
    assert N_STAGING.probabilities and M_STAGING.probabilities
    spread = ({"M0": 0.25, "M1": 0.125, "M1a": 0.5, "M1b": 0.125},)
    assert M_STAGING.probabilities(spread) == {"M0": 0.25, "M1": 0.75}
    assert N_STAGING.probabilities(({"Positive. N staging: N2a": 0.5, "Positive. N staging: N2": 0.25},)) == {
        "N2": 0.75
    }
