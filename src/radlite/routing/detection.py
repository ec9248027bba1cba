"""Which tasks make sense for a report, from the study it names and its sections.

A RADS system is proposed for the studies that its guideline covers (`radlite.rads.systems()` names the publications), by
modality, organ and reason. What an earlier study was, or what else the history tells, never makes it another study.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from radlite.sections import Section, sections


@dataclass(frozen=True, slots=True)
class Proposal:
    """What may be asked of a text."""

    tasks: tuple[str, ...]
    """Names of tasks, the most specific first; empty where the text is no radiology report."""
    system: str | None
    """The RADS system whose guideline covers the study. None with the task `rads_assignment`: one of the organs is
    imaged, and `No applicable RADS` is the expected answer."""
    why: tuple[str, ...]
    """Short reasons, without any of the report's text."""


def detect(text: str) -> Proposal:
    """The tasks that make sense for `text`. None that needs a second text (a question, a hypothesis) is among them."""
    report = _Report.of(text)
    if not report.is_one:
        return Proposal((), None, ("this does not read as a radiology report",))
    kind = next((kind for kind in _KINDS if kind.covers(report)), None)
    reasons = [(task, why) for task, why in _reasons(report, kind) if why]
    tasks = tuple(task for task, _ in reasons)
    return Proposal(tasks, kind.system if kind else None, tuple(dict.fromkeys(why for _, why in reasons)))


@dataclass(frozen=True, slots=True)
class _Report:
    """A text in lower case; what is denied (`no cirrhosis`) is left out of `reason` and `seen`."""

    study: str
    reason: str
    """Study, indication and technique."""
    request: str
    """The reason without what it tells of the past."""
    seen: str
    """Findings and impression."""
    is_one: bool
    unread: bool
    """Findings without an impression."""
    compared: bool

    @classmethod
    def of(cls, text: str) -> "_Report":
        parts = sections(text)
        study = _study(text, parts)
        seen = _affirmed(_bodies(text, parts, "findings", "impression", "other"))
        reason = f"{study}. {_affirmed(_bodies(text, parts, 'indication', 'technique', 'other'))}"
        compared = _NO_PRIOR.match(prior) is None if (prior := _bodies(text, parts, "comparison").strip()) else False
        return cls(
            study=study,
            reason=reason,
            request=_PAST.sub("", reason),
            seen=seen,
            is_one=_is_report(text, study),
            unread=bool(_bodies(text, parts, "findings").strip() and not _bodies(text, parts, "impression").strip()),
            compared=compared or bool(_COMPARED.search(seen)),
        )


@dataclass(frozen=True, slots=True)
class _Kind:
    """A kind of study that a system covers. All fields but the first two are regular expressions."""

    system: str
    name: str
    """What is told as the reason."""
    modality: str
    organ: str
    asked: str = ""
    """What the request must say."""
    told: str = ""
    """What the reason must say, the past included."""
    shown: str = ""
    """What the reason or the findings must say."""

    def covers(self, report: _Report) -> bool:
        every = f"{report.reason}. {report.seen}"
        return bool(
            re.search(self.modality, report.study)
            and re.search(self.organ, report.study)
            and re.search(self.asked, report.request)
            and re.search(self.told, report.reason)
            and re.search(self.shown, every)
            and not re.search(_GUIDED, report.study)
            and not re.search(_OUTSIDE.get(self.system, "(?!)"), every)
        )


_CT: Final = r"\b(?:ce|nc|hr|ld|c)?cta?\b|\bct(?:ca|pa)\b|computed tomograph"
_MRI: Final = (
    r"\b(?:mp|bp|ce)?-?mr[ita]\b|magnetic resonance|\bmr (?:imaging|scan|exam|of|liver|breast|prostate|pelvis)"
)
_PRONOUN: Final = r"(?<!\b(?:to|of|by|at) )(?<!\b(?:let|for|see) )(?<!\b(?:with|call|from|tell|give) )(?<!\bcontact )"
_US: Final = rf"{_PRONOUN}\bus\b|\busg\b|\bsono|ultraso|\bceus\b|\btv(?:u?s)\b|doppler"
_MAMMOGRAPHY: Final = r"mammogr|\bmammo\b|tomosynthesis|\bdbt\b|\bcesm?\b"
_PET: Final = r"\bpet\b|\bfdg\b"
_XRAY: Final = r"radiograph|\bx-?rays?\b|\bc?xr\b|plain film|röntgen"
_OTHER: Final = r"fluorosc|barium|enema|swallow|angiogra|scintigra|bone scan|\bdexa?\b|densitometr"
_CHEST: Final = (
    r"\bchest\b|\bthora(?:x|cic)\b(?! (?:spine|vertebra|outlet))|\blungs?\b|pulmonary(?! vein)"
    r"|\bcxr\b|\bctpa\b|\bhrct\b|\bldct\b"
)
_ABDOMEN: Final = r"abdom|upper quadrant|hepatobil|biliary"
_PELVIS: Final = r"pelvi|becken"
_NECK: Final = r"\bneck\b|laryn|pharyn|\boral\b|tongue|maxillofac|\bfac(?:e|ial)\b|paranasal|\bsinus"
_BLADDER: Final = r"(?<!gall)(?<!gall )bladder|harnblase"
_GALLBLADDER: Final = r"gall ?bladder|gallenblase"

_RISK: Final = (
    r"cirrho|hepatitis b\b|\bhbv\b|\bhcc\b|hepatocellular|hepatoma|zirrhose"
    r"|(?:liver|hepatic) (?:cancer )?(?:surveillance|screening)|surveillance[^.]{0,25}liver|liver[^.]{0,15}surveillance"
)
_PHASES: Final = r"phas(?:e|ic)|arterial|dynamic|gado|liver protocol|washout"
_CANCER: Final = (
    r"(?:cancer|carcinoma|malignan|tumou?r|neoplas|sarcoma|melanoma|mesothelioma|\b[sn]s?cl?cc?\b|karzinom)"
)
_NECK_SITE: Final = (
    r"(?:tongue|tonsil|laryn|glott|pharyn|\boral|mouth|buccal|gingiv|mandib|maxill|palat|parotid|saliva|nasal|sinus|\blip\b"
    r"|head[ -](?:and|&)[ -]neck|h&n|p16|\bhpv)"
)
_TREATED_NECK: Final = (
    rf"(?s)\A(?=.*(?:\btreat|therapy|chemo|radiat|irradiat|surveillance|\bs/p\b|\bpost|resect|ectomy|\bflap|recurren|surgery))"
    rf".*(?:{_NECK_SITE}[^.]{{0,60}}{_CANCER}|{_CANCER}[^.]{{0,60}}{_NECK_SITE}|\bhnscc\b)"
)
_ANGIOGRAPHY: Final = r"angiogra|\bcc?ta\b|\bctca\b"
_OVARY: Final = r"ovar(?:y|i)|adnex"

# The first kind that fits counts: organs by name stand before regions.
_KINDS: Final = (
    _Kind("Lung-RADS", "CT for lung cancer screening", _CT, rf"(?s)\A(?=.*screen).*(?:{_CHEST})"),
    _Kind("Lung-RADS", "CT for lung cancer screening", r"low[ -]dose|\bldct\b", _CHEST, asked="screen"),
    _Kind("CAD-RADS", "coronary CT angiography", _CT, rf"(?s)\A(?=.*(?:{_ANGIOGRAPHY})).*(?:coronar|cardiac|heart|cc?ta\b|ctca)"),
    _Kind("BI-RADS", "mammography", _MAMMOGRAPHY, ""),
    _Kind("BI-RADS", "breast ultrasound", _US, r"\bbreast", told=r"(?s)\A(?!.*(?:\bm(?:ale|an|en)\b|\b\d\d ?(?:y/?o )?m\b))"),
    _Kind("BI-RADS", "breast MRI", _MRI, r"\bbreast"),
    _Kind("TI-RADS", "thyroid ultrasound", _US, "(?<!para)thyroid|schilddrüse"),
    _Kind("PI-RADS", "prostate MRI", _MRI, "prostat"),
    _Kind("VI-RADS", "bladder MRI", _MRI, _BLADDER),
    _Kind("O-RADS", "pelvic ultrasound or MRI with the adnexa", f"{_US}|{_MRI}", _OVARY),
    _Kind("LI-RADS", "liver imaging at risk of hepatocellular carcinoma", f"{_CT}|{_MRI}|{_US}", r"\bliver|hepat|leber", shown=_RISK),
    _Kind("GB-RADS", "gallbladder ultrasound", _US, _GALLBLADDER),
    _Kind("NI-RADS", "neck imaging after treatment of cancer", f"{_CT}|{_MRI}|{_PET}", _NECK, told=_TREATED_NECK),
    _Kind("NI-RADS", "PET/CT after treatment of head and neck cancer", _PET, "skull|whole[ -]body|vertex", told=_TREATED_NECK),
    _Kind("PI-RADS", "pelvic MRI for the prostate", _MRI, _PELVIS, asked=r"prostat|\bpsa\b"),
    _Kind("VI-RADS", "pelvic MRI for the bladder", _MRI, _PELVIS, asked=rf"(?:{_BLADDER}) ?{_CANCER}|urothelial|\bturbt?\b"),
    _Kind("O-RADS", "pelvic ultrasound or MRI with the adnexa", f"{_US}|{_MRI}", rf"{_PELVIS}|vaginal|\btvu?s\b|gyn", shown=_OVARY),
    _Kind("LI-RADS", "multiphase abdominal imaging at risk of hepatocellular carcinoma", f"{_CT}|{_MRI}", _ABDOMEN,
          shown=rf"(?s)\A(?=.*(?:{_PHASES})).*(?:{_RISK})"),
    _Kind("LI-RADS", "abdominal ultrasound at risk of hepatocellular carcinoma", _US, _ABDOMEN, told=_RISK),
    _Kind("GB-RADS", "ultrasound of a thickened gallbladder wall", _US, _ABDOMEN,
          shown=r"gall ?bladder[^.]{0,80}(?:thicken|mass)|(?:thicken|mass)[^.]{0,60}gall ?bladder"),
    _Kind("TI-RADS", "neck ultrasound with a thyroid nodule", _US, _NECK, shown=r"thyroid[^.]{0,60}nodul|nodul[^.]{0,60}thyroid"),
)  # fmt: skip

_OUTSIDE: Final = {
    "Lung-RADS": r"screen\w* for (?!lung|cancer|early)|metasta",
    "CAD-RADS": r"\btav[ir]\b|pulmonary vein|left atrial append|congenital",
    "BI-RADS": r"implant (?:integrity|evaluation)|(?:suspected|possible|evaluate|assess|question of) [^.]{0,30}implant rupture",
    "TI-RADS": r"(?:total|completion|post|s/p|after|of)[ -](?:total )?thyroidectomy|thyroidectomy bed",
    # Of any treatment: PI-RADS v2.1 is not for suspected recurrence.
    "PI-RADS": r"prostatectomy|brachytherapy|\bhifu\b|biochemical (?:recurrence|failure)|recurrent prostate"
    r"|(?:after|post|following|s/p|treated (?:with|by))[ -](?:\w+ ){0,3}(?:radiation|radiotherapy|therapy|treatment|ebrt)",
    "VI-RADS": r"cystectomy|neobladder",
    "O-RADS": r"pregnan|gestation|\bhcg\b|ectopic|torsion|(?<!non-)\bacute|bilateral (?:salpingo-?)?oophorectomy"
    r"|(?:rectal|cervical|endometrial|anal) (?:cancer|carcinoma|fistula)",
    # Vascular and congenital causes make nodules that are not HCC (CT/MRI v2018).
    "LI-RADS": r"budd-?chiari|congenital hepatic fibrosis|\bhht\b|osler|cardiac cirrhosis|congestive hepatopathy",
    "NI-RADS": r"untreated|(?:before|prior to)(?: any)? (?:treatment|therapy)|pre-?treatment|newly (?:diagnosed|found)|lymphoma"
    r"|thyroid (?:cancer|carcinoma)",
    "GB-RADS": r"(?<!non-)\bacute|murphy[^.]{0,20}positive|positive[^.]{0,15}murphy|fever|emergency|cholecystectomy",
}
"""By system: what puts a study of the right organ outside its guideline."""
_GUIDED: Final = r"\bguid(?:ed|ance)\b|\bneedle|\bfna\b|drainage|aspiration|locali[sz]ation"
_COVERED: Final = "|".join(
    ("breast|thyroid|liver|hepat|urogra|urinary|bladder|prostat|coronar|cardiac|heart", _OVARY, _GALLBLADDER, _ABDOMEN,
     _PELVIS, _NECK, _CHEST)
)  # fmt: skip
"""The organs of the systems, and the regions that contain them."""
_ELSEWHERE: Final = (
    r"head|brain|skull|spin(?:e|al)|lumbar|cervical|hip|knee|shoulder|elbow|wrist|hand|finger|foot|ankle|femur|tibia|bone"
    r"|joint|kidney|renal|scrot|testic|carotid|aort|vein|venous|bowel|colon|rectum|soft tissue"
)

_SOLID: Final = rf"(?<!family history of ){_CANCER}(?! (?:screening|surveillance))|\blung mass"
"""A cancer that has N and M categories, known or suspected. Lymphoma has none."""
_STAGING: Final = (
    r"\b(?:re-?)?stag(?:e|ing)\b|metasta|newly (?:diagnosed|found)|biopsy[ -]proven|before treatment|pre-?treatment"
    r"|\blung (?:mass|tumou?r)"
)
_COMPARED: Final = re.compile(
    r"compar(?:ed|ison) (?:to|with)|(?:since|from|than|to) (?:the |her |his )?(?:prior|previous|last)"
)
_PAST: Final = re.compile(r"\b(?:past|prior|previous|earlier|other|further|additional|also known|history of)\b[^.;\n]*")
_NO_PRIOR: Final = re.compile(
    r"\W*(?:none|no\b|nil\b|n/?a\b|not\b|unavailable|first|baseline|kein)|\W*$", re.IGNORECASE
)

_DENIED: Final = re.compile(
    r"\b(?:no|not|without(?! (?:and with |iv |intravenous )*contrast)|negative for|denies|never|neither|absence of|kein\w*)\b"
    r"(?:[^.;\n]{0,200}\b(?:or|nor|oder)\b[^.,;\n]*|[^.,;\n]*)"
)
_ABSENT: Final = re.compile(
    r"[^.;,:\n]{1,60}(?:: none|: absent|: negative| (?:is |are |was |were )?(?:not seen|absent|excluded))\b"
)
_TERM: Final = re.compile(
    r"unremarkable|within normal limits|lesion|nodul|\bmass(?:es)?\b|\bcysts?\b|opacit|effusion|pneumothora|consolidat"
    r"|atelecta|fractur|enhanc|attenuat|echogen|echoic|intens|restricted diffusion|stenos[ei]s|lymph|\blobes?\b|parenchym"
    r"|calcif|dilat|thicken|\bo?edema|metasta|mediastin|pleura|\bhilar|hepat|gall ?bladder|uterus|ovar|prostat|thyroid"
    r"|ventric|carcinom|infiltrat|spleen|pancrea|kidney|\blungs?\b|asymmetr|distortion|\bdense?\b|fibroglandular|axilla|tissue|hernia|\bbreast|implant|menisc|ligament|tendon|\bdis[ck]\b|strictur|plaque|tumou?r|signal|osseous|erguss|raumforderung|unauff|\d ?[mc]m\b"
)


def _bodies(text: str, parts: list[Section], *names: str) -> str:
    """The text of the sections of these names, without headings, in lower case."""
    return "\n".join(text[part.body : part.end] for part in parts if part.name in names).lower()


def _study(text: str, parts: list[Section]) -> str:
    """What names the study: the examination; where that says too little also title, technique and first findings."""
    title = next(filter(_modality, re.split(r"[.\n]", _bodies(text, parts[:1], "other")[:1000])), "")
    study = ""
    for place in (
        _bodies(text, parts, "exam"),
        title,
        _bodies(text, parts, "technique"),
        _bodies(text, parts, "findings"),
    ):
        study = f"{study} {_EARLIER.split(place[:200])[0]}".strip()
        if _modality(study) and re.search(f"{_COVERED}|{_ELSEWHERE}|{_MAMMOGRAPHY}", study):
            break
    return study


_EARLIER: Final = re.compile(r"compar|\bprior\b|\bprevious|\bearlier")


def _modality(study: str) -> bool:
    return bool(re.search("|".join((_CT, _MRI, _US, _MAMMOGRAPHY, _PET, _XRAY, _OTHER)), study))


def _affirmed(text: str) -> str:
    """`text` without what it denies."""
    return _ABSENT.sub("", _DENIED.sub("", text))


def _is_report(text: str, study: str) -> bool:
    terms = {found[0] for found in _TERM.finditer(text.lower())}
    return len(text.split()) >= 5 and len(terms) >= (1 if _modality(study) else 3)


def _reasons(report: _Report, kind: _Kind | None) -> Iterator[tuple[str, str]]:
    """The tasks, each with the reason to propose it; empty if there is none."""
    staging = re.search(_SOLID, report.reason) and re.search(_STAGING, report.reason)
    yield "rads_assignment", kind.name if kind else _uncovered(report.study)
    yield "n_staging", "cancer staging is asked for" if staging else ""
    yield "m_staging", "cancer staging is asked for" if staging else ""
    yield "abnormality_detection", _chest(report.study)
    yield "impression_generation", "an impression is missing" if report.unread else ""
    yield "temporal_comparison", "a comparison is named" if report.compared else ""
    yield "radiology_ner", "findings are described"


def _uncovered(study: str) -> str:
    sectional = re.search("|".join((_CT, _MRI, _US, _PET)), study)
    return "an organ with a RADS system, in a study outside it" if sectional and re.search(_COVERED, study) else ""


def _chest(study: str) -> str:
    if not re.search(_CHEST, study):
        return ""
    return "chest CT" if re.search(_CT, study) else "chest radiograph" if re.search(_XRAY, study) else ""
