"""Headings of every layout are found, words that only look like one are not, and no text breaks the cover."""

import itertools

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from radlite.sections import sections, sentences

HEADINGS = {
    "exam": "EXAM|EXAMINATION|Study|PROCEDURE|TITLE|Exam type|PROCEDURE PERFORMED|Untersuchung",
    "indication": "INDICATION|Indications|CLINICAL HISTORY|Clinical information|HISTORY|Reason for exam|"
    "REASON FOR EXAMINATION|Clinical details|Clinical indication|Past medical history|Provisional diagnosis|"
    "CLINICAL IMPRESSION|HISTORY/INDICATION|Klinische Angaben|Fragestellung|Rechtfertigende Indikation",
    "technique": "TECHNIQUE|Protocol|CONTRAST|Imaging technique|Technik|Untersuchungstechnik",
    "comparison": "COMPARISON|Comparisons|Prior studies|PREVIOUS EXAMINATION|Comparison study|Previous imaging|"
    "Vergleich|Voruntersuchungen",
    "findings": "FINDINGS|Finding|REPORT|Body|Observations|FINDINGS (CHEST)|FINDINGS CHEST|Findings - Abdomen|"
    "CT FINDINGS|Additional findings|EXTRACARDIAC FINDINGS|Befund|BEFUNDE",
    "impression": "IMPRESSION|Impressions|CONCLUSION|Opinion|SUMMARY|ASSESSMENT|Diagnosis|Final diagnosis|"
    "OVERALL IMPRESSION|Radiologist's impression|ASSESSMENT CATEGORY|IMPRESSION AND PLAN|IMPRESSION (CT)|"
    "FINDINGS AND IMPRESSION|Impression / Recommendations|Beurteilung|Zusammenfassung",
    "recommendation": "RECOMMENDATION|Recommendations|Follow-up recommendations|Empfehlung",
    "addendum": "ADDENDUM|Addenda|ADDENDUM 2|Addendum #1|Nachtrag",
}
NAMED = [(name, heading) for name, headings in HEADINGS.items() for heading in headings.split("|")]
NO_PLACE = [(name, heading) for name, heading in NAMED if " CHEST" not in heading and " - " not in heading]


def names(text: str) -> list[str]:
    return [part.name for part in sections(text)]


def bodies(text: str) -> list[tuple[str, str]]:
    return [(part.name, text[part.body : part.end].strip()) for part in sections(text)]


@pytest.mark.parametrize(("name", "heading"), NAMED)
@pytest.mark.parametrize(
    "style", ["{}: ", "{}:\n", "  {} :", "**{}:** ", "**{}**: ", "1. {}: ", "\r\n{}:\r\n", "{}:- "]
)
def test_a_heading_with_colon_begins_a_section_in_any_case(name: str, heading: str, style: str) -> None:
    lower = [heading.lower()] if (name, heading) in NO_PLACE else []
    for written in (heading, heading.upper(), *lower):
        text = f"Report text before it.\n{style.format(written)}Lungs clear."
        assert bodies(text) == [("other", "Report text before it."), (name, "Lungs clear.")], written


@pytest.mark.parametrize(("name", "heading"), NO_PLACE)
@pytest.mark.parametrize(
    "style", ["{}\n", "## {}\n", "**{}**\n", "__{}__\r\n", "=== {} ===\n", "[{}]\n", "2) {}  \n", "{} - "]
)
def test_a_line_of_its_own_needs_no_colon(name: str, heading: str, style: str) -> None:
    text = f"Before it.\n\n{style.format(heading)}Lungs clear."
    assert bodies(text) == [("other", "Before it."), (name, "Lungs clear.")]


@pytest.mark.parametrize(
    "text",
    [
        "Lungs clear. No effusion is seen. IMPRESSION: Normal.",
        "Lungs clear. No effusion is seen. Impression: Normal.",
        "Lungs clear. No effusion is seen. **Impression:** Normal.",
        "lungs clear. no effusion is seen. impression: normal.",
        "Lungs clear (both).  IMPRESSION: Normal.",
        "Comparison none, lungs clear IMPRESSION: Normal.",
    ],
)
def test_a_heading_after_a_sentence_or_in_capitals_needs_no_line(text: str) -> None:
    assert names(text) == ["other", "impression"]
    assert bodies(text)[1][1].lower() == "normal."


@pytest.mark.parametrize(
    "text",
    [
        "",
        " \n\t\r\n",
        "There are the findings: a cyst and a stone.",
        "In summary: the findings: none.",
        "Mass effect with impression of the mass on the bladder dome.",
        "Impression of the mass on the bladder is seen.\nHistory of stones is known.",
        "Findings consistent with pneumonia\nConclusions cannot be drawn",
        "These are the\nfindings: a cyst.",
        "There is no\nhistory of stones, and no\nreport of them.",
        "no change since the previous\nstudy\nof 2019",
        "Liver: normal.\nSPLEEN: normal.\nDIFFERENTIAL DIAGNOSIS: abscess.\nSocial history: none.",
        "IMPRESSIONISTIC: x\nREPORTED BY: A\nHISTORYLESS\nCONTRASTED: y",
        "Fixation of the femur, study:",
    ],
)
def test_words_of_a_sentence_and_unknown_headings_begin_no_section(text: str) -> None:
    assert names(text) == ["other"] * bool(text)


def test_subheadings_stay_in_their_section() -> None:
    text = (
        "FINDINGS:\nLIVER: Normal.\nKidneys:\nNo stones.\nBones\nNo fracture.\nIMPRESSION:\n1. Normal.\n2. No stones."
    )
    assert bodies(text) == [
        ("findings", "LIVER: Normal.\nKidneys:\nNo stones.\nBones\nNo fracture."),
        ("impression", "1. Normal.\n2. No stones."),
    ]


def test_repeated_sections_are_several_sections() -> None:
    text = (
        "CT CHEST\nFINDINGS (CHEST): a\nFINDINGS (ABDOMEN): b\nIMPRESSION: c\nIMPRESSION: d\n"
        "ADDENDUM 1: e\nADDENDUM 2: f"
    )
    assert names(text) == ["other", "findings", "findings", "impression", "impression", "addendum", "addendum"]


def test_text_in_capitals_without_colon_is_not_taken_into_the_heading() -> None:
    assert bodies("HISTORY - CHEST PAIN\nIMPRESSION - NORMAL CHEST") == [
        ("indication", "CHEST PAIN"),
        ("impression", "NORMAL CHEST"),
    ]
    assert names("IMPRESSION NORMAL CHEST") == ["other"]


def test_a_german_report_has_its_sections() -> None:
    text = (
        "CT Thorax\nKlinische Angaben: Husten.\nTechnik: nativ.\nBefund:\nKein Erguss.\nBeurteilung:\nKein Infiltrat."
    )
    assert names(text) == ["other", "indication", "technique", "findings", "impression"]


def test_a_section_keeps_its_heading_apart_from_its_text() -> None:
    text = "Chest.\n  **FINDINGS (CHEST):** Clear."
    first, second = sections(text)
    assert text[first.start : first.end] == "Chest.\n"
    assert text[second.start : second.body] == "  **FINDINGS (CHEST):**"
    assert text[second.body : second.end] == " Clear."


PIECES = st.sampled_from(
    ["FINDINGS", "findings", "Impression", "HISTORY", ":", ": ", "\n", "\r", "\r\n", ". ", " ", "\t", "(", ")", "**",
     "# ", "1. ", "the ", "- ", "/", "and", "CHEST", "\u2028", "\xa0", "İ", "ſ", "：", "\x00", "\ud800"]
)  # fmt: skip


@settings(deadline=None, max_examples=400)
@given(st.one_of(st.text(), st.lists(PIECES, max_size=30).map("".join)))
@example(":" * 10_000)
@example("\n" * 10_000)
@example(" \n" * 10_000)
@example("FINDINGS:" * 2_000)
@example("\nFINDINGS (" * 2_000)
def test_sections_cover_any_text_without_gap_or_overlap(text: str) -> None:
    found = sections(text)
    assert "".join(text[part.start : part.end] for part in found) == text
    assert [part.start for part in found] == [0, *(part.end for part in found)][: len(found)]
    assert all(part.start <= part.body <= part.end and part.start < part.end for part in found)
    assert all((part.body > part.start) == (part.name != "other") for part in found)
    assert all(part.name != "other" for part in found[1:])


def parts(text: str) -> list[str]:
    return [text[one.start : one.end] for one in sentences(text)]


def test_sentences_end_neither_at_abbreviations_nor_at_decimals_nor_at_list_marks() -> None:
    text = (
        "Dr. J. Smith was told. It measures approx. 3 cm. in length (Fig. 2, ser. 3). Value 1.5 cm.\n"
        "FINDINGS:\n1. Edema.\n2. Pneumonia vs. atelectasis in the\nright lobe.\n- nodule\nHeart normal.Lungs clear."
    )
    assert parts(text) == [
        "Dr. J. Smith was told.", "It measures approx. 3 cm. in length (Fig. 2, ser. 3).", "Value 1.5 cm.",
        "FINDINGS:", "1. Edema.", "2. Pneumonia vs. atelectasis in the\nright lobe.", "- nodule", "Heart normal.",
        "Lungs clear.",
    ]  # fmt: skip


@settings(deadline=None)
@given(st.one_of(st.text(), st.lists(PIECES, max_size=30).map("".join)))
def test_sentences_hold_all_that_is_not_blank_in_order(text: str) -> None:
    found = sentences(text)
    assert "".join("".join(part.split()) for part in parts(text)) == "".join(text.split())
    assert all(one.end <= other.start for one, other in itertools.pairwise(found))
    assert all(part == part.strip() and part for part in parts(text))
