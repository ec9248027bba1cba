"""The forms of identifiers are found wherever they stand; marks of removed ones and radiology's numbers are not."""

import json
import time

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from radlite.data.hints import hints, scan
from tests.data.rows import row

PLANTED = {
    "date": [
        "12/03/2019", "3/12/2019", "03/12/19", "3/2/19", "25/12/19", "2019-03-12", "2019/3/12", "2019.03.12",
        "12.3.2019", "12-03-2019", "12 March 2019", "12th of March 2019", "12 mar 2019", "12-Mar-2019", "12-Mar-19",
        "Mar 12, 2019", "March 12, 2019", "MARCH 12 2019", "Sept. 3rd, 2019", "may 5, 2019", "March 2019", "03/2019",
        "March 12", "12 March", "3rd of June", "2019-03-12T10:15",
    ],
    "record number": [
        "MRN 123456", "MRN: 123", "mrn#00123", "MRN (12345)", "Accession No. 4451", "accession number: RA19-004512",
        "accession number is 8812", "Patient ID: 99812", "patient id 4452", "Case no. 1234", "case number 1234",
        "Medical Record Number: A-123456", "NHS number 943 476 5919", "Exam #5521", "1234567", "A1234567",
        "20190312",
    ],
    "phone number": [
        "555-123-4567", "(555) 123-4567", "(555)123-4567", "555.123.4567", "1-800-555-1234", "+44 20 7946 0958",
        "+49 (0)30 1234567", "pager 12345", "Tel. 555 1234", "phone: 555-1234", "ext. 4432", "Pager number 5512",
    ],
    "e-mail address": ["jane.doe@example.org", "J_DOE+x@mail.example.co.uk", "a@b.de"],
    "URL": ["https://example.org/a?b=1", "http://10.0.0.1/x", "www.example.org", "WWW.EXAMPLE.ORG", "ftp://a.b"],
    "name": [
        "Dr. Smith", "Dr Smith", "Dr. X", "Dr.Smith", "Drs. Smith and Lee", "Dr. J. O'Neil", "Dr. O'Neil",
        "Dr. van der Berg", "Dr. d'Souza", "Dr. Öztürk", "Dr. Łukasz", "DR. SMITH", "DR. O'NEIL", "Mr. Smith",
        "Mr Smith", "MR. SMITH", "Mrs Smith", "Mrs. Smith", "Ms. Smith", "Ms Smith", "Prof. Smith", "Professor Smith",
        "PROF. SMITH", "Jane Smith, MD", "SMITH, M.D.", "Prof. Dr. Smith", "Dr.\nSmith",
    ],
    "age over 89": [
        "92-year-old", "92 years old", "93 y/o", "93yo", "93 y.o.", "90-yr-old", "101-year-old", "97M with pain",
        "aged 91", "Age: 91", "age of 99", "AGE 104", "91 years of age", "95 year female", "Age/Sex: 91",
    ],
    "social security number": ["123-45-6789", "SSN: 123-45-6789", "000-00-0000"],
}  # fmt: skip
ALL = [(kind, text) for kind, texts in PLANTED.items() for text in texts]

PHRASES = [
    "Degenerative change from T12-L1 to L5-S1.", "Disc bulge at C5/6 and C6/7, worst at L4/5/S1.",
    "Motor strength 3/5, grade 2/3, 12/12 ribs.", "A nodule of 2.5 x 3.1 cm, formerly 2.3 x 2.9 x 1.8 cm.",
    "LR-5 observation in segment 7/8.", "Contrast medium 100 mL at 5 mL/s, 350 mg/mL.",
    "TR 2500 ms, TE 102 ms, TI 2200.", "BI-RADS 4, PI-RADS 4/5, TI-RADS TR4 (5 points).",
    "b = 50, 400, 800, 1400 s/mm2.", "b values of 0-1000 and 800-1400.", "SUV 3.2-4.1, SUVmax 12.4.",
    "7/10 nodes are enlarged, the greatest 12/8 mm.", "Dr to review.", "Discuss with the Dr in charge.",
    "Series 4, image 123; series 601/45.", "Compared with 2019.", "Studies from 2017, 2018 and 2019.",
    "DLP 1234 mGy*cm.", "CTDIvol 12.3 mGy, 120 kV, 250-300 mAs.", "A T1-weighted 256 x 256 matrix, FOV 240 mm.",
    "Cobb angle 12-15 degrees.", "Heart rate 95/min, blood pressure 190/95 mmHg.",
    "HU of 91 before and 120 after contrast.", "Score 1200 (Agatston).",
    "Oxygen saturation is 92 %, temperature 98.6 F.", "A 45-year-old woman with cough.", "An 89-year-old man.",
    "Aged 54, smoker of 100 pack-years.", "Gestational age 91 days.", "An infant of age 95 days.", "Average 92 HU.",
    "LAD stenosis 50-69 %, RCA 1-24 %, CAD-RADS 3/S.", "Stage pT2 pN1 (2/14) M0, FIGO 2018.",
    "Fracture of ribs 5-7/8.", "T2/T3 hyperintense lesion, C4/5/6 stenosis.", "There may be 2 small cysts.",
    "May represent a cyst; may 5 mm.", "Decreased from 12 to 5 mm in 3-4 weeks.",
    "Compared with prior MR. Findings are stable.", "History of MS. Multiple plaques.",
    "COMPARED WITH MR. THE LESION IS UNCHANGED.", "HISTORY OF MS. NO NEW LESION.", "Flow 1.2-1.5 m/s, RI 0.65/0.71.",
    "MR spectroscopy, MRS at 135 ms, DR of the chest.", "12 mm @ 3 o'clock, 4 cm FN.", "T8 10/11/120.",
    "Lung-RADS 4A/4B.", "In this case no 200 mm lesion.", "Case 3 of 5.", "O-RADS 3, IOTA 2/10.",
    "Kellgren-Lawrence 3/4.", "Score 10/12.", "AP/PA/lateral views x 3.", "HIP: 110-120/60-70 degrees.",
    "Prescribed ms and mr. stable.", "ACR 2023, v2022.", "Prof review.", "Mar margin 12.", "Marked 12, 2019 too.",
    "and/or 1/2/3.", "Ratio 1:2, 1/2.", "5th/6th/7th rib.", "Lesion 2/10/1 of the list.",
    "ETT 4.5 cm above the carina.", "Gleason 3+4=7 (10+20 %).", "PET+ 12.5, SUV +1.2.",
]  # fmt: skip

MARKS = [
    "___", "Dr. ___", "Dr. XXXX", "XXXX-year-old", "Mr. XXXX and Mrs. XXXXXXX", "DR. XXXX", "XXXX, MD", "___, M.D.",
    "MRN: ___", "[**2101-1-1**]", "[**2101-12-31**] at 10:15", "Dr. [**Last Name (STitle) 1234567**]",
    "[**Telephone/Fax (1) 5551234**]", "[**Hospital1 18**]", "Mr. [**Known lastname 12345**]", "___-year-old",
    "XX/XX/XXXX", "___/___/2019", "Accession: XXXX", "___@___.___", "http://___", "[NAME]", "Dr. [NAME]",
    "Dr. <NAME>", "Dr. NAME", "DR. REDACTED", "Tel. ___", "SSN: ___-__-____", "age ___", "aged XXXX",
    "March ___, ___", "[** 12/03/2019 **]", "Ms. ___ is", "Dr ___",
]  # fmt: skip

LEFT = st.sampled_from(["", " ", "\n", "\t", " (", ", ", ": ", "; ", "___ "])
RIGHT = st.sampled_from(["", " ", "\n", "\t", ")", ", ", ". ", ".\n", ";", " ___"])
AROUND = st.one_of(st.text(), st.text("0123456789/.-: ,()+@DrMXagey_\n", max_size=60), st.sampled_from(PHRASES + MARKS))


@pytest.mark.parametrize(("kind", "text"), ALL)
def test_an_identifier_is_found_by_its_form(kind: str, text: str) -> None:
    assert kind in hints(text), text
    assert kind in hints(f"Seen on the prior study: {text}. No change.")


@given(planted=st.sampled_from(ALL), before=AROUND, after=AROUND, left=LEFT, right=RIGHT)
def test_an_identifier_is_found_whatever_stands_around_it(
    planted: tuple[str, str], before: str, after: str, left: str, right: str
) -> None:
    kind, text = planted
    whole = (before + left if left else "") + text + (right + after if right else "")
    assume("[**" not in before or "**]" in before)
    assert kind in hints(whole)


@pytest.mark.parametrize("phrase", PHRASES)
def test_numbers_and_words_of_radiology_are_no_hint(phrase: str) -> None:
    assert not hints(phrase)


@pytest.mark.parametrize("mark", MARKS)
def test_marks_of_removed_identifiers_are_no_hint(mark: str) -> None:
    assert not hints(mark) and not hints(f"Read with {mark}, no change.")


@given(st.lists(st.sampled_from([*MARKS, *PHRASES]), max_size=8))
def test_marks_and_phrases_one_after_another_are_no_hint(parts: list[str]) -> None:
    assert not hints("\n".join(parts))


@given(AROUND)
def test_any_text_can_be_scanned(text: str) -> None:
    assert all(hits > 0 for hits in hints(text).values())


@pytest.mark.parametrize(
    "piece", ["a", "1", "9 ", "1/", "1-", "Dr. ", "@a", "a.", "www.", "+1 ", "[**", "age ", " ", "d'"]
)
def test_the_time_grows_with_the_length_of_the_text(piece: str) -> None:
    start = time.perf_counter()
    hints(piece * (400_000 // len(piece)))
    assert time.perf_counter() - start < 5


def test_each_identifier_counts_once() -> None:
    text = (
        "MRN 123-456-789, seen 12 March 2019 and 2019-03-12 by Dr. Smith (555-123-4567); then March 12 and on 03/2018."
    )
    assert hints(text) == {"record number": 1, "date": 4, "name": 1, "phone number": 1}


def test_a_scan_counts_by_source_and_points_to_rows_without_their_text() -> None:
    rows = [
        row("a", inputs={"report": "Seen by Dr. Smithson on 12/03/2019 and 13/03/2019."}),
        row("b"),
        row("c", "radiology_qa", "Dr. Smithson.", inputs={"report": "None.", "question": "Who?"}),
        row("d", source="there"),
    ]
    found = scan(rows)
    assert found == {
        "here": {
            "rows": 3,
            "rows with a hint": 2,
            "kinds": {
                "name": {"hits": 2, "rows": 2, "pointers": ["n_staging/a", "radiology_qa/c"]},
                "date": {"hits": 2, "rows": 1, "pointers": ["n_staging/a"]},
            },
        },
        "there": {"rows": 1, "rows with a hint": 0, "kinds": {}},
    }
    assert "Smithson" not in json.dumps(found)


def test_a_scan_points_to_a_limited_number_of_rows_and_counts_all() -> None:
    found = scan((row(str(n), inputs={"report": "Dr. Smith."}) for n in range(9)), most=3)["here"]
    assert found["rows with a hint"] == found["kinds"]["name"]["rows"] == 9
    assert found["kinds"]["name"]["pointers"] == ["n_staging/0", "n_staging/1", "n_staging/2"]
    assert scan([]) == {}
