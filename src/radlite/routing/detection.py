"""Which tasks make sense for a report, from the study it names and its sections.

A RADS system is proposed for the studies that its guideline covers (`radlite.rads.systems()` names the publications),
by modality, organ and reason. What an earlier study was, or what else the history tells, makes it no other study.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from radlite.sections import Name, Section, sections


@dataclass(frozen=True, slots=True)
class Proposal:
    """What may be asked of a text."""

    tasks: tuple[str, ...]
    """Names of tasks, the most specific first; empty where the text is no radiology report."""
    system: str | None
    """The RADS system whose guideline covers the study. None where `rads_assignment` is proposed all the same: one of
    the systems' organs is imaged, and `No applicable RADS` is the answer to expect."""
    why: tuple[str, ...]
    """Short reasons, without any of the report's text."""


def detect(text: str) -> Proposal:
    """The tasks that make sense for `text`. None that needs a second text (question, hypothesis) is among them."""
    report = _report(text)
    if not report:
        return Proposal((), None, ("this does not read as a radiology report",))
    kind = next((kind for kind in _KINDS if kind.covers(report)), None)
    reasons = [(task, why) for task, why in _reasons(report, kind) if why]
    tasks = tuple(task for task, _ in reasons)
    return Proposal(tasks, kind.system if kind else None, tuple(dict.fromkeys(why for _, why in reasons)))


@dataclass(frozen=True, slots=True)
class _Report:
    """A report in lower case. What it denies (`no cirrhosis`) is in `study` only."""

    study: str
    reason: str
    """Study, indication and technique."""
    request: str
    """The reason without what it tells of the past."""
    seen: str
    """Findings and impression."""
    unread: bool
    """There are findings without an impression."""
    compared: bool
    """An earlier study is named for comparison."""


@dataclass(frozen=True, slots=True)
class _Kind:
    """A kind of study that a system covers. All but the first two are regular expressions."""

    system: str
    name: str
    """What is given as the reason."""
    modality: str
    organ: str
    asked: str = ""
    """What the request must say."""
    told: str = ""
    """What the reason must say, the past included."""
    shown: str = ""
    """What the reason or the findings must say."""

    def covers(self, report: _Report) -> bool:
        """Whether the study is of this kind, and nothing puts it outside the system."""
        every = f"{report.reason}. {report.seen}"
        needed = (
            (self.modality, report.study),
            (self.organ, report.study),
            (self.asked, report.request),
            (self.told, report.reason),
            (self.shown, every),
        )
        barred = re.search(_GUIDED, report.study) or re.search(_OUTSIDE[self.system], every)
        return all(re.search(pattern, text) for pattern, text in needed) and not barred


def _report(text: str) -> _Report | None:
    """The parts of a report; None if `text` is none."""
    parts = sections(text)
    study = _study(text, parts)
    terms = {found[0] for found in _TERM.finditer(text.lower())}
    if len(text.split()) < 5 or len(terms) < (1 if re.search(_MODALITY, study) else 3):
        return None
    reason = f"{study}. {_affirmed(_bodies(text, parts, 'indication', 'technique', 'other'))}"
    seen = _affirmed(_bodies(text, parts, "findings", "impression", "other"))
    findings, impression, prior = (
        _bodies(text, parts, name).strip() for name in ("findings", "impression", "comparison")
    )
    return _Report(
        study=study,
        reason=reason,
        request=_PAST.sub("", reason),
        seen=seen,
        unread=bool(findings and not impression),
        compared=not _NO_PRIOR.match(prior) or bool(_COMPARED.search(seen)),
    )


def _bodies(text: str, parts: Sequence[Section], *names: Name) -> str:
    """The text of the sections of these names, without headings, in lower case."""
    return "\n".join(text[part.body : part.end] for part in parts if part.name in names).lower()


def _study(text: str, parts: Sequence[Section]) -> str:
    """What names the study: the examination and, where that says too little, title, technique and first findings."""
    opening = re.split(r"[.\n]", _bodies(text, parts[:1], "other")[:1000])
    title = next((line for line in opening if re.search(_MODALITY, line)), "")
    exam, technique, findings = (_bodies(text, parts, name) for name in _NAMING)
    study = ""
    for place in (exam, title, technique, findings):
        study = f"{study} {_EARLIER.split(place[:200])[0]}".strip()
        if re.search(_MODALITY, study) and re.search(f"{_COVERED}|{_ELSEWHERE}|{_MAMMOGRAPHY}", study):
            break
    return study


def _affirmed(text: str) -> str:
    """`text` without what it denies."""
    return _ABSENT.sub("", _DENIED.sub("", text))


def _reasons(report: _Report, kind: _Kind | None) -> Iterator[tuple[str, str]]:
    """The tasks, each with the reason to propose it; empty if there is none."""
    staging = re.search(_SOLID_CANCER, report.reason) and re.search(_STAGING, report.reason)
    yield "rads_assignment", kind.name if kind else _uncovered(report.study)
    yield "n_staging", "cancer staging is asked for" if staging else ""
    yield "m_staging", "cancer staging is asked for" if staging else ""
    yield "abnormality_detection", _chest(report.study)
    yield "impression_generation", "an impression is missing" if report.unread else ""
    yield "temporal_comparison", "a comparison is named" if report.compared else ""
    yield "radiology_ner", "findings are described"


def _uncovered(study: str) -> str:
    sectional = re.search(f"{_CT}|{_MRI}|{_US}|{_PET}", study)
    return "an organ that has a RADS system, in a study outside it" if sectional and re.search(_COVERED, study) else ""


def _chest(study: str) -> str:
    if not re.search(_CHEST, study):
        return ""
    return "chest CT" if re.search(_CT, study) else "chest radiograph" if re.search(_XRAY, study) else ""


_NAMING: Final[tuple[Name, ...]] = ("exam", "technique", "findings")

_CT: Final = r"\b(?:ce|nc|hr|ld|c)?cta?\b|\bct(?:ca|pa)\b|computed tomograph"
_MRI: Final = r"\b(?:mp|bp|ce)?-?mr[ita]\b|magnetic resonance|\bmr (?:imaging|scan|of|liver|breast|prostate|pelvis)"
_PRONOUN: Final = r"(?<!\b(?:to|of|by|at) )(?<!\b(?:let|for|see) )(?<!\b(?:with|call|from|tell|give) )(?<!\bcontact )"
_US: Final = rf"{_PRONOUN}\bus\b|\busg\b|\bsono|ultraso|\bceus\b|\btvu?s\b|doppler"
_MAMMOGRAPHY: Final = r"mammogr|\bmammo\b|tomosynthesis|\bdbt\b|\bcesm?\b"
_PET: Final = r"\bpet\b|\bfdg\b"
_XRAY: Final = r"radiograph|\bx-?rays?\b|\bc?xr\b|plain film|röntgen"
_OTHER: Final = r"fluorosc|barium|enema|swallow|angiogra|scintigra|bone scan|\bdexa?\b|densitometr"
_MODALITY: Final = "|".join((_CT, _MRI, _US, _MAMMOGRAPHY, _PET, _XRAY, _OTHER))

_CHEST: Final = (
    r"\bchest\b|\bthora(?:x|cic)\b(?! (?:spine|vertebra|outlet))|\blungs?\b|pulmonary(?! vein)"
    r"|\bcxr\b|\bctpa\b|\bhrct\b|\bldct\b"
)
_LIVER: Final = r"\bliver|hepat|leber"
_THYROID: Final = r"(?<!para)thyroid|schilddrüse"
_OVARY: Final = r"ovar(?:y|i)|adnex"
_BLADDER: Final = r"(?<!gall)(?<!gall )bladder|harnblase"
_GALLBLADDER: Final = r"gall ?bladder|gallenblase"
_HEART: Final = r"coronar|cardiac|heart|\bccta\b|\bctca\b"
_ABDOMEN: Final = r"abdom|upper quadrant|hepatobil|biliary"
_PELVIS: Final = r"pelvi|becken"
_NECK: Final = r"\bneck\b|laryn|pharyn|\boral\b|tongue|maxillofac|\bfac(?:e|ial)\b|paranasal|\bsinus"
_COVERED: Final = "|".join(
    (r"breast|prostat|urogra|urinary|coronar|cardiac|heart", _CHEST, _LIVER, "thyroid", _OVARY, "bladder", _GALLBLADDER,
     _ABDOMEN, _PELVIS, _NECK)
)  # fmt: skip
"""The organs of the systems, and the regions they are in."""
_ELSEWHERE: Final = (
    r"head|brain|skull|spin(?:e|al)|lumbar|cervical|hip|knee|shoulder|elbow|wrist|hand|finger|foot|ankle|femur|tibia"
    r"|bone|joint|kidney|renal|scrot|testic|carotid|aort|vein|venous|bowel|colon|rectum|soft tissue"
)

_CANCER: Final = (
    r"(?:cancer|carcinoma|malignan|tumou?r|neoplas|sarcoma|melanoma|mesothelioma|\bn?sclc\b|\bscc\b|karzinom)"
)
_RISK: Final = (
    r"cirrho|zirrhose|hepatitis b\b|\bhbv\b|\bhcc\b|hepatocellular|hepatoma"
    r"|(?:surveillance|screening)[^.]{0,25}liver|(?:liver|hepatic)[^.]{0,15}(?:surveillance|screening)"
)
"""Who LI-RADS is for: cirrhosis, chronic hepatitis B, present or treated hepatocellular carcinoma."""
_PHASES: Final = r"phas(?:e|ic)|arterial|dynamic|gado|liver protocol|washout|with and without|\bw(?:/| | and )w?/?o\b"
_NECK_SITE: Final = (
    r"(?:tongue|tonsil|laryn|glott|pharyn|\boral|mouth|buccal|gingiv|mandib|maxill|palat|parotid|saliva|nasal|sinus"
    r"|\blip\b|head[ -](?:and|&)[ -]neck|\bp16|\bhpv)"
)
_NECK_CANCER: Final = (
    rf"{_NECK_SITE}[^.]{{0,60}}{_CANCER}|{_CANCER}[^.]{{0,60}}{_NECK_SITE}|\bca (?:of )?(?:the )?{_NECK_SITE}|\bhnscc\b"
)
_TREATED: Final = r"\btreat|therapy|chemo|radiat|surveillance|\bs/p\b|\bpost|resect|ectomy\b|\bflap|recurren|surgery"
_THYROID_NODULE: Final = r"thyroid[^.]{0,60}nodul|nodul[^.]{0,60}thyroid"
_THICK_WALL: Final = r"gall ?bladder[^.]{0,80}(?:thicken|mass)|(?:thicken|mass)[^.]{0,60}gall ?bladder"


def _both(one: str, other: str) -> str:
    """A pattern for texts in which both are found."""
    return rf"(?s)\A(?=.*(?:{one})).*(?:{other})"


_SCREENED: Final = "CT for lung cancer screening"
_ADNEXA: Final = "pelvic ultrasound or MRI with the adnexa"
_AT_RISK: Final = "liver imaging at risk of hepatocellular carcinoma"
_AFTER: Final = "imaging after treatment of head and neck cancer"
_ANY: Final = ""
_WOMAN: Final = r"(?s)\A(?!.*(?:\bm(?:ale|an|en)\b|\b\d\d ?(?:y/?o )?m\b))"
_KINDS: Final = (
    # The first that fits counts: studies of the organ stand before those of its region.
    _Kind("Lung-RADS", _SCREENED, _CT, _both("screen", _CHEST)),
    _Kind("Lung-RADS", _SCREENED, r"low[ -]dose|\bldct\b", _CHEST, asked="screen"),
    _Kind("CAD-RADS", "coronary CT angiography", _CT, _both(r"angiogra|\bcc?ta\b|\bctca\b", _HEART)),
    _Kind("BI-RADS", "mammography", _MAMMOGRAPHY, _ANY),
    _Kind("BI-RADS", "breast ultrasound", _US, r"\bbreast", told=_WOMAN),
    _Kind("BI-RADS", "breast MRI", _MRI, r"\bbreast"),
    _Kind("TI-RADS", "thyroid ultrasound", _US, _THYROID),
    _Kind("PI-RADS", "prostate MRI", _MRI, "prostat"),
    _Kind("VI-RADS", "bladder MRI", _MRI, _BLADDER),
    _Kind("O-RADS", _ADNEXA, f"{_US}|{_MRI}", _OVARY),
    _Kind("LI-RADS", _AT_RISK, f"{_CT}|{_MRI}|{_US}", _LIVER, shown=_RISK),
    _Kind("GB-RADS", "gallbladder ultrasound", _US, _GALLBLADDER),
    _Kind("NI-RADS", _AFTER, f"{_CT}|{_MRI}|{_PET}", _NECK, told=_both(_TREATED, _NECK_CANCER)),
    _Kind("NI-RADS", _AFTER, _PET, "skull|whole[ -]body|vertex", told=_both(_TREATED, _NECK_CANCER)),
    _Kind("PI-RADS", "pelvic MRI for the prostate", _MRI, _PELVIS, asked=r"prostat|\bpsa\b"),
    _Kind(
        "VI-RADS", "pelvic MRI for the bladder", _MRI, _PELVIS, asked=rf"(?:{_BLADDER}) ?{_CANCER}|urothelial|\bturb"
    ),
    _Kind("O-RADS", _ADNEXA, f"{_US}|{_MRI}", rf"{_PELVIS}|vaginal|\btvu?s\b|gyn", shown=_OVARY),
    _Kind("LI-RADS", _AT_RISK, f"{_CT}|{_MRI}", _ABDOMEN, shown=_both(_PHASES, _RISK)),
    _Kind("LI-RADS", _AT_RISK, _US, _ABDOMEN, told=_RISK),
    _Kind("GB-RADS", "ultrasound of a thickened gallbladder wall", _US, _ABDOMEN, shown=_THICK_WALL),
    _Kind("TI-RADS", "neck ultrasound with a thyroid nodule", _US, _NECK, shown=_THYROID_NODULE),
)

_OUTSIDE: Final = {
    "Lung-RADS": r"screen\w* for (?!lung|cancer|early)|metasta",
    "CAD-RADS": r"\btav[ir]\b|pulmonary vein|left atrial append|congenital",
    "BI-RADS": r"implant (?:integrity|evaluation)|(?:suspect|possible|evaluat|question)[^.]{0,30}implant rupture",
    "TI-RADS": r"(?:total|completion|post|s/p|after|of)[ -](?:total )?thyroidectomy|thyroidectomy bed",
    # v2.1 is not for suspected recurrence after treatment.
    "PI-RADS": r"prostatectomy|brachytherapy|\bhifu\b|biochemical (?:recurrence|failure)|recurrent prostate"
    r"|(?:after|post|following|s/p|treated (?:with|by))[ -]"
    r"(?:\w+ ){0,3}(?:radiation|radiotherapy|therapy|treatment|ebrt|sbrt)\b",
    "VI-RADS": r"cystectomy|neobladder",
    "O-RADS": r"pregnan|gestation|\bhcg\b|ectopic|torsion|(?<!non-)\bacute|bilateral (?:salpingo-?)?oophorectomy"
    r"|(?:rectal|cervical|endometrial|anal) (?:cancer|carcinoma|fistula)",
    # Nodules of vascular and congenital disease only look like carcinoma (CT/MRI v2018).
    "LI-RADS": r"budd-?chiari|congenital hepatic fibrosis|\bhht\b|osler|cardiac cirrhosis|congestive hepatopathy",
    "NI-RADS": r"untreated|(?:before|prior to)(?: any)? (?:treatment|therapy)|pre-?treatment|newly (?:diagnosed|found)"
    r"|lymphoma|thyroid (?:cancer|carcinoma)",
    "GB-RADS": r"(?<!non-)\bacute|murphy[^.]{0,20}positive|positive[^.]{0,15}murphy|fever|emergency|cholecystectomy",
}
"""What puts a study of the right organ outside its system."""
_GUIDED: Final = r"\bguid(?:ed|ance)\b|\bneedle|\bfna\b|drainage|aspiration|locali[sz]ation"

_SOLID_CANCER: Final = rf"(?<!family history of ){_CANCER}(?! (?:screening|surveillance))|\blung mass"
"""A cancer that has N and M categories, known or suspected. Lymphoma has none."""
_STAGING: Final = (
    r"\b(?:re-?)?stag(?:e|ing)\b|metasta|newly (?:diagnosed|found)|biopsy[ -]proven|before treatment|pre-?treatment"
    r"|\blung (?:mass|tumou?r)"
)
_EARLIER: Final = re.compile(r"compar|\bprior\b|\bprevious|\bearlier")
_PAST: Final = re.compile(r"\b(?:past|prior|previous|earlier|other|further|additional|also known|history of)\b[^.;\n]*")
_NO_PRIOR: Final = re.compile(r"\W*(?:(?:none|no|nil|n/?a|not|unavailable|first|baseline)\b|kein|\Z)")
_COMPARED: Final = re.compile(
    r"compar(?:ed|ison) (?:to|with)|(?:since|from|than|to) (?:the |her |his )?(?:prior|previous|last)"
)
_DENIED: Final = re.compile(
    r"\b(?:no|not|without(?! (?:and with |iv |intravenous )*contrast)|negative for|denies|never|neither|absence of"
    r"|kein\w*)\b(?:[^.;\n]{0,200}\b(?:or|nor|oder)\b[^.,;\n]*|[^.,;\n]*)"
)
_ABSENT: Final = re.compile(
    r"[^.;,:\n]{1,60}(?:: none|: absent|: negative| (?:is |are |was |were )?(?:not seen|absent|excluded))\b"
)
_TERM: Final = re.compile(
    r"unremarkable|within normal limits|lesion|nodul|\bmass(?:es)?\b|\bcysts?\b|opacit|effusion|pneumothora|consolidat"
    r"|atelecta|fractur|enhanc|attenuat|echogen|echoic|intens|restricted diffusion|stenos[ei]s|lymph|\blobes?\b"
    r"|parenchym|calcif|dilat|thicken|\bo?edema|metasta|mediastin|pleura|\bhilar|hepat|gall ?bladder|uterus|ovar"
    r"|prostat|thyroid|ventric|carcinom|infiltrat|spleen|pancrea|kidney|\blungs?\b|asymmetr|distortion|\bdense?\b|fibroglandular"
    r"|axilla|tissue|thromb|patent|hernia|strictur|plaque|tumou?r|signal|osseous|\bbreast|implant|menisc|ligament|tendon|\bdis[ck]\b"
    r"|erguss|raumforderung|unauff|\d ?[mc]m\b"
)
