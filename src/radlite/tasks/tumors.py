"""Primary tumors: their N and M categories, which of them a report is about, and which category it states itself."""

import itertools
import re
from bisect import bisect_right
from dataclasses import dataclass
from typing import Final, Literal

from radlite.sections import sections


@dataclass(frozen=True, slots=True)
class Tumor:
    """A primary tumor with the categories that imaging can give it, mildest first.

    A main category stands before its subdivisions, as it is given where they cannot be told apart. Subdivisions that
    need a microscope (N1mi, N0(i+), melanoma's occult N1a) are left out. There is no MX since the 7th edition.
    """

    site: str
    n: tuple[str, ...]
    m: tuple[str, ...]
    source: str
    """Edition of the classification."""


_AJCC8 = "AJCC 8th edition 2017"


def _tumor(site: str, n: str, m: str = "M0 M1", source: str = _AJCC8) -> Tumor:
    return Tumor(site, tuple(n.split()), tuple(m.split()), source)


_HEAD_AND_NECK = "NX N0 N1 N2 N2a N2b N2c N3 N3a N3b"

TUMORS: Final = (
    _tumor("lung", "NX N0 N1 N2 N2a N2b N3", "M0 M1 M1a M1b M1c M1c1 M1c2", "TNM 9th edition 2024/25"),
    _tumor("pleura", "NX N0 N1 N2"),
    _tumor("breast", "NX N0 N1 N2 N2a N2b N3 N3a N3b N3c"),
    _tumor("colon and rectum", "NX N0 N1 N1a N1b N1c N2 N2a N2b", "M0 M1 M1a M1b M1c"),
    _tumor("anus", "NX N0 N1 N1a N1b N1c"),
    _tumor("stomach", "NX N0 N1 N2 N3 N3a N3b"),
    _tumor("esophagus", "NX N0 N1 N2 N3"),
    _tumor("liver", "NX N0 N1"),
    _tumor("intrahepatic bile ducts", "NX N0 N1"),
    _tumor("gallbladder and bile ducts", "NX N0 N1 N2"),
    _tumor("pancreas", "NX N0 N1 N2"),
    _tumor("kidney", "NX N0 N1"),
    _tumor("bladder", "NX N0 N1 N2 N3", "M0 M1 M1a M1b"),
    _tumor("ureter and renal pelvis", "NX N0 N1 N2"),
    _tumor("prostate", "NX N0 N1", "M0 M1 M1a M1b M1c"),
    _tumor("testis", "NX N0 N1 N2 N3", "M0 M1 M1a M1b"),
    _tumor("penis", "NX N0 N1 N2 N3"),
    _tumor("cervix", "NX N0 N1 N2", source="AJCC version 9, 2021"),
    _tumor("endometrium", "NX N0 N1 N2"),
    _tumor("ovary", "NX N0 N1 N1a N1b", "M0 M1 M1a M1b"),
    _tumor("vulva", "NX N0 N1 N1a N1b N2 N2a N2b N2c N3"),
    _tumor("thyroid", "NX N0 N1 N1a N1b"),
    _tumor("oral cavity", _HEAD_AND_NECK),
    _tumor("oropharynx (HPV-positive)", "NX N0 N1 N2 N3"),
    _tumor("oropharynx (HPV-negative)", _HEAD_AND_NECK),
    _tumor("hypopharynx and larynx", _HEAD_AND_NECK),
    _tumor("nasopharynx", "NX N0 N1 N2 N3", "M0 M1 M1a M1b", "AJCC version 9, 2025"),
    _tumor("melanoma", "NX N0 N1 N1b N1c N2 N2b N2c N3 N3b N3c", "M0 M1 M1a M1b M1c M1d"),
    # Unknown nodes count as N0: this classification has no NX.
    _tumor("soft tissue sarcoma", "N0 N1"),
)
"""The common tumors. Where primaries share a set (gallbladder, perihilar and distal bile duct), they are one row."""

_BY_SITE = {tumor.site: tumor for tumor in TUMORS}

# How reports name a site. Sites without a row stand here so that their tumors are not taken for those of another.
_NAMES = {
    "lung": "lung, lungs, pulmonary, bronchogenic, bronchial, upper lobe, middle lobe, lower lobe, lingula, lingular",
    "breast": "breast, breasts, mammary",
    "colon and rectum": "colon, colonic, colorectal, rectum, rectal, rectosigmoid, sigmoid, cecum, cecal, caecum, "
    "caecal, hepatic flexure, splenic flexure",
    "anus": "anus, anal, anal canal",
    "stomach": "stomach, gastric",
    "esophagus": "esophagus, esophageal, oesophagus, oesophageal",
    "liver": "liver, hepatic",
    "gallbladder and bile ducts": "gallbladder, gall bladder, bile duct, bile ducts, common duct",
    "intrahepatic bile ducts": "intrahepatic, intrahepatic bile duct, intrahepatic bile ducts",
    "pancreas": "pancreas, pancreatic",
    "kidney": "kidney, kidneys, renal",
    "bladder": "bladder, vesical",
    "ureter and renal pelvis": "ureter, ureters, ureteral, ureteric, renal pelvis, renal pelvic, "
    "upper tract, upper urinary tract",
    "prostate": "prostate, prostatic",
    "testis": "testis, testes, testicle, testicles, testicular",
    "penis": "penis, penile",
    "cervix": "cervix, cervix uteri, endocervix, endocervical, uterine cervix, cervical cancer, cervical carcinoma, "
    "cervical adenocarcinoma, cervical squamous",
    "endometrium": "endometrium, endometrial",
    "ovary": "ovary, ovaries, ovarian, fallopian tube, fallopian tubes",
    "vulva": "vulva, vulvar, vulval",
    "thyroid": "thyroid",
    "oral cavity": "oral cavity, oral, tongue, oral tongue, floor of mouth, buccal, gingiva, gingival, alveolar ridge, "
    "hard palate, retromolar, lip",
    "oropharynx": "oropharynx, oropharyngeal, tonsil, tonsils, tonsillar, base of tongue, tongue base, soft palate",
    "hypopharynx and larynx": "larynx, laryngeal, glottic, glottis, supraglottic, supraglottis, subglottic, "
    "subglottis, transglottic, vocal cord, vocal cords, epiglottis, hypopharynx, hypopharyngeal, pyriform sinus, "
    "piriform sinus",
    "nasopharynx": "nasopharynx, nasopharyngeal",
    "soft tissue": "soft tissue, thigh, calf, buttock, extremity, retroperitoneum, retroperitoneal, "
    "pleomorphic sarcoma, synovial sarcoma",
    "outside the liver": "hilar, perihilar, extrahepatic",
    "serosa": "pleura, pleural",
    "skin": "skin, cutaneous",
    "elsewhere": "eye, ocular, uveal, choroid, choroidal, ciliochoroidal, ciliary, iris, conjunctival, mucosal, brain, "
    "intracranial, bone, osseous, osteogenic, ewing, kaposi, adrenal, adrenocortical, thymus, thymic, duodenum, "
    "duodenal, ampulla, ampullary, appendix, appendiceal, jejunum, jejunal, ileum, ileal, small bowel, basal cell, "
    "parotid, salivary, parathyroid, sinonasal, maxillary sinus, nasal cavity, peritoneum, peritoneal, mediastinum, "
    "mediastinal, uterus, uterine, myometrial, vagina, vaginal, urethra, urethral, spleen, splenic, pericardial, "
    "cardiac, gastroesophageal, gastroesophageal junction, ge junction, thyroid cartilage",
}
_SITES = {tuple(name.split()): site for site, names in _NAMES.items() for name in names.split(", ")}
_FIRST_WORDS = {name[0] for name in _SITES}

# Histology, and what it makes of the site that it is tied to: "" where there is none, "*" any other than those named.
_ELSEWHERE = {"": "elsewhere", "*": "elsewhere"}
_RULES: Final[tuple[tuple[str, dict[str, str]], ...]] = (
    ("hepatocellular, hepatoma, hcc", {"": "liver", "*": "liver"}),
    ("nsclc, sclc", {"": "lung", "*": "lung"}),
    ("rcc", {"": "kidney", "*": "kidney"}),
    ("pdac", {"": "pancreas", "*": "pancreas"}),
    ("klatskin", {"": "gallbladder and bile ducts", "*": "gallbladder and bile ducts"}),
    ("cholangiocarcinoma", {"liver": "intrahepatic bile ducts", "outside the liver": "gallbladder and bile ducts"}),
    # An adenocarcinoma in the liver is not the liver's own, and could be of any organ.
    ("adenocarcinoma, adenocarcinomas", {"liver": ""}),
    ("lobular", {"": "breast"}),
    ("urothelial, transitional", {"kidney": "ureter and renal pelvis"}),
    ("melanoma", {"": "melanoma", "*": "melanoma", "elsewhere": "elsewhere"}),
    ("mesothelioma", {"": "pleura", "*": "pleura", "elsewhere": "elsewhere"}),
    ("seminoma", {"": "testis", "*": "testis", "elsewhere": "elsewhere"}),
    (
        "liposarcoma, leiomyosarcoma, rhabdomyosarcoma, fibrosarcoma, angiosarcoma",
        {"": "soft tissue sarcoma", "*": "soft tissue sarcoma", "elsewhere": "elsewhere"},
    ),
    ("sarcoma", _ELSEWHERE | {"soft tissue": "soft tissue sarcoma"}),
    # The lung has one classification for all its carcinomas; other organs have one of their own for these.
    ("neuroendocrine, carcinoid, carcinoids", _ELSEWHERE | {"lung": "lung"}),
    (
        "lymphoma, leukemia, myeloma, gist, gastrointestinal, thymoma, glioma, glioblastoma, astrocytoma, "
        "osteosarcoma, chondrosarcoma, neuroblastoma, wilms, merkel",
        _ELSEWHERE,
    ),
)
_HISTOLOGY = {word: rule for words, rule in _RULES for word in words.split(", ")}

_MODIFIERS = {"hepatocellular", "lobular", "urothelial", "transitional", "neuroendocrine",
              "gastrointestinal", "klatskin", "wilms", "merkel"}  # fmt: skip
_CANCER = {"cancer", "cancers", "carcinoma", "carcinomas", "malignancy", "ca",
           *(_HISTOLOGY.keys() - _MODIFIERS)}  # fmt: skip
_MASS = {"mass", "masses", "tumor", "tumors", "tumour", "tumours", "neoplasm", "neoplasms"}
_SPREAD = {"metastasis", "metastases", "metastatic", "metastasized", "metastasised", "mets"}
_BENIGN = {"benign", "cyst", "cysts", "cystic", "hemangioma", "hemangiomas", "lipoma", "adenoma", "fibroadenoma",
           "angiomyolipoma", "fibroid", "fibroids"}  # fmt: skip
_TAKEN_FOR = {"consistent", "compatible", "suspicious", "concerning", "worrisome", "suggestive", "likely",
              "representing", "represent", "represents"}  # fmt: skip
_NO_TUMOR = {"screening", "risk", "syndrome", "gene", "center", "antigen", "marker", "markers", "thrombus", "board",
             "effect", "protocol"}  # fmt: skip
_NEGATED = {"no", "not", "without", "negative for", "denies", "absence", "exclude", "excluded", "r/o", "free",
            "risk of", "likelihood of"}  # fmt: skip
_PAST = {"history", "hx", "h/o", "prior", "previous", "previously", "remote", "former", "s/p", "status post",
         "resected", "family", "mother", "father", "past"}  # fmt: skip
_AFFIRMED = {"change", "changes", "increase", "decrease", "growth", "progression", "significant", "but", "however", ","}
_FOUND = {"identified", "seen", "present", "evident", "found", "detected"}
_LINKS = {"of", "in", "within", "at", "from", "arising", "originating", "centered", "site", "location"}
_UNTIED = {"from", "to", "with", "in", "into", "on", "than", ":"}
_ENDS = {".", ";", "!", "?", "\n"}

# The end of a sentence, of a paragraph or of a list's point; a lone line break is only a wrapped line.
_WORD = re.compile(
    r"h/o|s/p|r/o|status post|negative for|risk of|likelihood of|ca[ -]?\d+|[a-z]+|[,:]|[.;!?](?=\s|$)"
    r"|\n(?=[^\S\n]*(?:\n|[-*\u2022]|\d{1,2}[.)]))"
)
_HPV = re.compile(
    r"\b(?:hpv|p16)\b[^.;\n]{0,30}?(?:(?P<yes>\bpositive|\+|[- ](?:related|associated|mediated))|\bnegative|\(-\))"
)


def primary(text: str) -> Tumor | None:
    """The tumor that a report is about; None unless it is surely one, and one of `TUMORS`.

    A cancer of an organ outweighs a mass or tumor of another. What is negated, past, screened for, or a metastasis does
    not count. An oropharyngeal cancer needs its HPV or p16 status, as the two kinds have different categories.
    """
    lowered = text.lower()
    words = _WORD.findall(lowered)
    sites = _sites(words)
    cancers: set[str] = set()
    masses: set[str] = set()
    for at, word in enumerate(words):
        if word in _CANCER and _meant(words, at):
            cancers |= _tied(words, sites, at)
        elif word in _MASS and _meant(words, at) and not _secondary_or_benign(words, at):
            masses |= _tied(words, sites, at)
    found = cancers or masses
    site = found.pop() if len(found) == 1 else ""
    return _BY_SITE.get(_oropharynx(lowered) if site == "oropharynx" else site)


def _sites(words: list[str]) -> list[str]:
    """The site named by the phrase that ends at each word; empty where none does."""
    sites = [""] * len(words)
    at = 0
    while at < len(words):
        name = _longest_name(words, at) if words[at] in _FIRST_WORDS else ()
        at += len(name) or 1
        sites[at - 1] = _SITES.get(name, "")
    return sites


def _longest_name(words: list[str], at: int) -> tuple[str, ...]:
    names = (tuple(words[at : at + length]) for length in (3, 2, 1))
    return next((name for name in names if name in _SITES), ())


def _meant(words: list[str], at: int) -> bool:
    """Whether the cancer or mass at a word is said to be there now."""
    after = _phrase(words[at + 1 : at + 5])
    if after and after[0] in _NO_TUMOR:
        return False
    if "absent" in after or "ago" in after or ("not" in after and not _FOUND.isdisjoint(after)):
        return False
    for back in range(at - 1, max(-1, at - 8), -1):
        if words[back] in _ENDS or words[back] in _AFFIRMED:
            return True
        # "History: lung cancer" is a heading, "history of lung cancer" is past.
        if words[back] in _NEGATED or (words[back] in _PAST and words[back + 1] != ":"):
            return False
    return True


def _secondary_or_benign(words: list[str], at: int) -> bool:
    other = _SPREAD | _BENIGN
    after = _phrase(words[at + 1 : at + 8])
    if not _TAKEN_FOR.isdisjoint(after) and not other.isdisjoint(after):
        return True
    return not other.isdisjoint(words[_reach(words, at, 4, _ENDS | {","}) : at]) or after[:1] == ["metastases"]


def _tied(words: list[str], sites: list[str], at: int) -> set[str]:
    """The sites of the cancer or mass at a word: `lung cancer`, else `cancer of the lung`, else `Lung: cancer`."""
    start = _reach(words, at, 6, _UNTIED | _SPREAD | _MASS | _ENDS)
    secondary = start > 0 and words[start - 1] in _SPREAD
    tied = {site for site in sites[start : at + 1] if site}
    tied = tied or _after(words, sites, at, {"from"} if secondary else _LINKS)
    if not tied and not secondary:
        tied = _heading(words, sites, at)
    rule = next((_HISTOLOGY[word] for word in words[start : at + 1] if word in _HISTOLOGY), {})
    if not tied:
        return {rule[""]} if "" in rule else set()
    return {rule.get(site, rule.get("*", site)) for site in tied} - {""}


def _after(words: list[str], sites: list[str], at: int, links: set[str]) -> set[str]:
    linked = words[at] == "ca" or (at + 1 < len(words) and words[at + 1] in links)
    reach = len(_phrase(words[at + 1 : at + 10])) if linked else 0
    first = next((site for site in sites[at + 1 : at + 1 + reach] if site), "")
    return {first} if first else set()


def _heading(words: list[str], sites: list[str], at: int) -> set[str]:
    """The one site named before a colon that the word stands behind."""
    colon = _reach(words, at, 30, _ENDS | {":"}) - 1
    if colon < 0 or words[colon] != ":":
        return set()
    named = {site for site in sites[_reach(words, colon, 15, _ENDS) : colon] if site}
    return named if len(named) == 1 else set()


def _phrase(words: list[str]) -> list[str]:
    """The words up to the end of the sentence."""
    return list(itertools.takewhile(lambda word: word not in _ENDS, words))


def _reach(words: list[str], end: int, most: int, stops: set[str]) -> int:
    """Where the stretch of at most `most` words before `end` begins that holds none of `stops`."""
    start = end
    while start > max(0, end - most) and words[start - 1] not in stops:
        start -= 1
    return start


def _oropharynx(text: str) -> str:
    statuses = {bool(found["yes"]) for found in _HPV.finditer(text)}
    if len(statuses) != 1:
        return ""
    return f"oropharynx (HPV-{'positive' if statuses.pop() else 'negative'})"


@dataclass(frozen=True, slots=True)
class StatedStage:
    """A category that stands at `text[start:end]`, as `N2a`, `N1mi`, `N0(i+)`, `NX`; (sn) and (f) are left off."""

    category: str
    start: int
    end: int
    prior: bool
    """Said of an earlier time, or in the indication, history or comparison."""


_GAP = r"[\s,;:/.()_-]{0,3}"
_PREFIX = r"[ryaRYA]{0,2}[cpuCPU] ?"
_T = rf"(?:{_PREFIX})?[Tt] ?(?:[0-4][a-d]?(?:mi)?[1-3]?|is|a|[xX])(?: ?\((?:m|s|is|\d{{1,2}})\))?"
_SUFFIX = r"(?: ?\((?:sn|f|(?:i|mol) ?[+-])\)){0,2}"
_LABEL = r"[ -](?:stage|staging|category|classification)(?: is)?[ :=]{1,3}"
_END = r"(?![^\W_])(?!\.\d)(?![-/]\d)"
_N = rf"[Nn](?P<gap>{_LABEL}|\)?[:=] ?| ?)(?P<digit>[0-3OoXx])(?P<sub>[a-cA-C]|mi|MI|\(mi\))?(?P<suffix>{_SUFFIX})"
_M = rf"[Mm](?P<gap>{_LABEL}|\)?[:=] ?| ?)(?P<digit>[01OoXx])(?P<sub>[a-dA-D][12]?)?(?P<suffix>(?: ?\((?:i\+|[01])\))?)"
_ANY_N = r"[Nn][ :=]?[0-3OXx](?:[a-cA-C]|mi)?" + _SUFFIX
_ANY_M = r"[Mm][ :=]?[01OXx]"
_STATED: Final = {
    "N": re.compile(
        rf"(?<![^\W_])(?:{_T}(?P<between>{_GAP}))?(?P<category>(?P<prefix>{_PREFIX})?{_N})"
        rf"(?:{_END}|(?=(?:{_PREFIX})?[Mm] ?[01OXx]))(?P<beside>(?={_GAP}(?:{_PREFIX})?{_ANY_M}(?![^\W_])))?"
    ),
    "M": re.compile(
        rf"(?<![^\W_])(?:{_T}(?P<between>{_GAP}))?(?P<beside>(?:{_PREFIX})?{_ANY_N}{_GAP})?"
        rf"(?P<category>(?P<prefix>{_PREFIX})?{_M}){_END}"
    ),
}

_SENTENCE = re.compile(r"[.;!?]\s|\n\s*\n")
_SINCE = re.compile(r"\b(?:now|current(?:ly)?|today|present(?:ly)?)\b|\bcompar[^,.]{0,40},", re.IGNORECASE)
_EARLIER = re.compile(
    r"\b(?:previous(?:ly)?|prior|initial(?:ly)?|former(?:ly)?|original(?:ly)?|earlier|history of|h/o|known|before"
    r"|baseline|at (?:diagnosis|presentation)|pre-?treatment|status post|s/p)\b|\bfrom (?:stage )?$",
    re.IGNORECASE,
)
_LATER_SAID = re.compile(
    r"[^.;\n]{0,12}?\b(?:(?:on|at|in) (?:the )?(?:prior|previous|initial|earlier|baseline|diagnosis)"
    r"|previously|initially)\b",
    re.IGNORECASE,
)
# What M1 is besides: a segment of an artery, the motor cortex, a kind of cell.
_NO_M1 = re.compile(
    r"\b(?:MCA|cerebral|segments?|occlu\w*|stenos\w*|thromb\w*|aneurysm\w*|branch\w*|insular?|A1|P1|M2|M3|M4|motor|macrophages?)\b",
    re.IGNORECASE,
)
_NO_N = re.compile(r"\bP(?:rimary )?[0-4][ab]?[\s,/]{1,2}$|NI-?RADS[^.\n]{0,12}$|\bliquid $")
_DENIED = re.compile(
    r"\b(?:no|without|absence of|negative for|rule out|r/o)\s(?:[a-z]+\s){0,3}"
    r"(?:[NM][0-3][a-c]?(?:,| or| and|/)\s?){0,3}$",
    re.IGNORECASE,
)

_COUNT = re.compile(r"\s?(?:of|out|nodes?|lymph|positive)\b", re.IGNORECASE)
_CODE = re.compile(r"\s?:|\s?-\s?[a-z]")

_EARLIER_PARTS = {"indication", "comparison"}


def stated(text: str, axis: Literal["N", "M"]) -> list[StatedStage]:
    """The categories of one axis that the text itself states, in its order; MX is none."""
    found = [one for one in _STATED[axis].finditer(text) if _is_stage(one, axis)]
    if not found:
        return []
    parts = sections(text)
    starts = [part.start for part in parts]
    return [
        StatedStage(
            _category(one, axis),
            *one.span("category"),
            prior=parts[bisect_right(starts, one.start()) - 1].name in _EARLIER_PARTS or _said_of_earlier(one),
        )
        for one in found
    ]


def _category(one: re.Match[str], axis: str) -> str:
    digit = one["digit"].upper().replace("O", "0")
    cells = re.search(r"\((?:i|mol) ?[+-]\)", one["suffix"])
    return f"{axis}{digit}{(one['sub'] or '').strip('()').lower()}{cells[0].replace(' ', '') if cells else ''}"


def _is_stage(one: re.Match[str], axis: str) -> bool:
    """Whether the letter and digit are a category: with T, N or M beside them, a prefix or label, or in capitals."""
    digit, gap, prefix = one["digit"], one["gap"], (one["prefix"] or "").strip()
    letter = one["category"][len(one["prefix"] or "")]
    beside = one["beside"] is not None
    company = beside or one["between"] is not None
    # Pn is perineural invasion, CN a cranial nerve.
    if (axis == "M" and digit in "Xx") or prefix + letter == "Pn" or (prefix + letter == "CN" and not company):
        return False
    if gap[-5:].strip(" -:=)"):
        return digit not in "Oo"
    if gap and _COUNT.match(one.string, one.end("category")):
        return False
    marked = prefix[-1:].islower()
    if digit in "Oo":
        joined = digit == "O" and (beside or one["between"] == "")
        return letter.isupper() and not gap and (marked or joined)
    if letter.islower():
        return company and not gap
    return company or marked or (not gap and (bool(prefix) or _stands_alone(one, axis)))


def _stands_alone(one: re.Match[str], axis: str) -> bool:
    """Whether a bare `N2` or `M1` is a category rather than something else of that name, or denied."""
    before, after = _around(one)
    if _CODE.match(after) or one["digit"] == "x":
        return False
    if one["category"] == "M1":
        return not _NO_M1.search(before + after) and not _DENIED.search(before)
    return one["digit"] in "0X" or not ((axis == "N" and _NO_N.search(before)) or _DENIED.search(before))


def _said_of_earlier(one: re.Match[str]) -> bool:
    before, after = _around(one)
    return bool(_EARLIER.search(_SINCE.split(before)[-1]) or _LATER_SAID.match(after))


def _around(one: re.Match[str]) -> tuple[str, str]:
    """What stands within 60 characters in the same sentence."""
    before = one.string[max(0, one.start() - 60) : one.start()]
    after = one.string[one.end() : one.end() + 60]
    return _SENTENCE.split(before)[-1], _SENTENCE.split(after)[0]


def main(category: str) -> str:
    """The category without its subdivision: `N2` for `N2a`, `N0` for `N0(i+)`."""
    return category[:2]
