"""What a report says in the words of a guideline's decision table, as far as a light extractor can tell.

A check of a model's answer, never an answer: where a fact that the table needs is not found, there is no ruling.
"""

import itertools
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from radlite.errors import UserError
from radlite.rads.rules import Ruling, cad_rads, gb_rads, li_rads, lung_rads, ti_rads
from radlite.rads.severity import parent
from radlite.rads.table import category
from radlite.sections import sections


@dataclass(frozen=True, slots=True)
class Check:
    """The gravest ruling that the findings of a report reach."""

    ruling: Ruling
    complete: bool
    """Every lesion that was seen has a ruling; else the category may be higher, but not lower."""


def check(report: str, system: str) -> Check | None:
    """What the rule of `system` makes of the findings in `report`; None where too little of them is found."""
    if system not in _EXTRACTORS:
        return None
    records = list(_EXTRACTORS[system](_findings(report)))
    rulings = [ruling for record in records if record and (ruling := _ruled(*record))]
    if not rulings:
        return None
    gravest = max(rulings, key=lambda ruling: _order(ruling.category))
    return Check(gravest, len(rulings) == len(records))


def disagreement(report: str, answer: str) -> Ruling | None:
    """The ruling that differs from the category `answer` in what is done next; None if there is none, or no ruling."""
    given = category(answer)
    found = check(report, given.system) if given else None
    ruled = found and category(found.ruling.category)
    if not found or not given or not ruled or given.scale != ruled.scale or parent(answer) == parent(ruled.code):
        return None
    differs = given.tier < ruled.tier or (found.complete and given.tier != ruled.tier)
    return found.ruling if differs else None


Record = tuple[Callable[[Any], Ruling], Any]
"""A system's `decide` and the record for it."""
Extractor = Callable[[Sequence[str]], Iterator[Record | None]]
"""Lower-case sentences to a record for each lesion, None for one of which too little is said."""


def _ruled(decide: Callable[[Any], Ruling], record: Any) -> Ruling | None:
    try:
        return decide(record)
    except UserError:  # what was found contradicts itself
        return None


def _order(code: str) -> tuple[int, int]:
    found = category(code)
    return (found.tier, found.rank or 0) if found else (-1, 0)


_ELSEWHERE: Final = frozenset(("exam", "indication", "technique", "comparison", "recommendation"))


def _findings(report: str) -> list[str]:
    """The sentences of the report's own findings and conclusions, in lower case."""
    kept = (report[part.body : part.end] for part in sections(report) if part.name not in _ELSEWHERE)
    pieces = (re.split(r"(?<=[.!?])\s+|\n+", text) for text in kept)
    return [piece.lower().strip() for piece in itertools.chain.from_iterable(pieces) if piece.strip()]


_SIZE: Final = re.compile(r"(\d+(?:\.\d+)?)(?:\s?(?:mm|cm)?\s?[x×]\s?\d+(?:\.\d+)?){0,2}\s?(mm|cm)\b")


def _size(text: str) -> float | None:
    """The largest length in `text`, in mm; of `12 x 9 mm` the first is taken for the longest."""
    found = [float(number) * (10 if unit == "cm" else 1) for number, unit in _SIZE.findall(text)]
    return max(found, default=None)


def _first(text: str, words: Sequence[tuple[str, Any]]) -> Any:
    """The value of the first pattern that `text` has; None if it has none."""
    return next((value for pattern, value in words if re.search(pattern, text)), None)


def _lesions(said: Sequence[str], begins: str, near: int = 3) -> Iterator[str]:
    """Each sentence that matches `begins` with up to `near` sentences after it, as long as none begins another."""
    for number, sentence in enumerate(said):
        if re.search(begins, sentence):
            after = itertools.takewhile(lambda text: not re.search(begins, text), said[number + 1 : number + 1 + near])
            yield " ".join((sentence, *after))


_COMPOSITION: Final = (
    ("spongiform", "spongiform"),
    (r"mixed|partially (?:cystic|solid)|predominantly (?:cystic|solid)|cystic and solid|solid and cystic",
     "mixed cystic and solid"),
    (r"\bsolid", "solid"),
    (r"\bcyst", "cystic"),
)  # fmt: skip
_ECHOGENICITY: Final = (
    (r"(?:very|markedly) hypo-?echoic", "very hypoechoic"),
    (r"hypo-?echoic", "hypoechoic"),
    (r"hyper-?echoic", "hyperechoic"),
    (r"iso-?echoic", "isoechoic"),
    (r"an-?echoic", "anechoic"),
)
_SHAPE: Final = (
    (r"taller[- ]than[- ]wide", "taller than wide"),
    (r"wider[- ]than[- ]tall", "wider than tall"),
)
_MARGIN: Final = (
    (r"(?<!no )(?<!without )extra-?thyroidal extension", "extrathyroidal extension"),
    (r"lobulated", "lobulated"),
    (r"irregular (?:margin|border)|margins?:? (?:is |are )?irregular", "irregular"),
    (r"ill-?\s?defined", "ill-defined"),
    (r"smooth|well[- ](?:defined|circumscribed)", "smooth"),
)
_NO_FOCI: Final = r"(?:no|without) (?:\w+ )?(?:echogenic foc|(?:micro|macro)?-?calcification)"
_FOCI: Final = (
    (r"punctate|(?<!no )(?<!without )microcalcification", "punctate echogenic foci"),
    (r"(?:rim|peripheral|eggshell) calcification", "rim calcifications"),
    (r"macro-?calcification|coarse calcification", "macrocalcifications"),
    (r"comet[- ]tail", "large comet-tail artifacts"),
)


def _thyroid(said: Sequence[str]) -> Iterator[Record | None]:
    for lesion in _lesions(said, r"\bnodules?\b"):
        if re.search(r"\bno (?:\w+ ){0,3}nodules?\b", lesion):
            continue
        composition = _first(lesion, _COMPOSITION)
        if composition in ("spongiform", "cystic"):
            yield ti_rads.decide, ti_rads.Nodule(composition, "anechoic", "wider than tall", "smooth")
            continue
        echogenicity, shape, margin = (_first(lesion, words) for words in (_ECHOGENICITY, _SHAPE, _MARGIN))
        foci: tuple[Any, ...] = tuple(value for pattern, value in _FOCI if re.search(pattern, lesion))
        # Where some foci are denied and others named, a pattern cannot tell which.
        if composition and echogenicity and shape and margin and bool(foci) != bool(re.search(_NO_FOCI, lesion)):
            yield ti_rads.decide, ti_rads.Nodule(composition, echogenicity, shape, margin, foci)
        else:
            yield None


_INTERFACE: Final = (
    (r"(?<!no )(?<!without )(?:direct )?(?:invasion|invad)", "invaded"),
    (r"indistinct|ill-?defined|(?:loss|lost) of (?:the )?(?:fat )?(?:plane|interface)", "indistinct"),
    (r"(?:sharp|preserved|intact|clear|maintained)[\w ]{0,12} (?:interface|plane)|interface[\w ]{0,20}"
     r"(?:sharp|preserved|intact|clear|maintained)", "preserved"),
)  # fmt: skip


def _gallbladder(said: Sequence[str]) -> Iterator[Record | None]:
    about = re.compile(r"gallbladder|\bwall\b|layer|interface|intramural")
    text = " ".join(sentence for sentence in said if about.search(sentence))
    if "acute cholecystitis" in text or not re.search("gallbladder|wall", text):
        return
    size = _size(text)
    if size is not None and size <= gb_rads.NORMAL_WALL:
        yield gb_rads.decide, gb_rads.Gallbladder(size)
        return
    interface = _first(text, _INTERFACE)
    extent = _first(text, ((r"focal", "focal"), (r"circumferential|diffuse", "symmetric circumferential")))
    layers = _first(text, ((r"(?:loss|lost) of (?:the )?layer|not layered", False), (r"preserved layer|layered", True)))
    foci = _first(text, ((r"no (?:intramural|cysts)", False), (r"intramural (?:cyst|echogenic)", True)))
    if size and interface and extent and layers is not None and foci is not None:
        yield gb_rads.decide, gb_rads.Gallbladder(size, True, extent, layers, foci, interface)
    else:
        yield None


_ARTERIES: Final = {
    "left_main": r"\bleft main\b|\blmca\b|\blm\b",
    "lad": r"\blad\b|left anterior descending|\bdiagonal",
    "circumflex": r"circumflex|\blcx\b|\bcx\b|obtuse marginal",
    "right": r"right coronary|\brca\b",
}
_STENOSIS: Final = re.compile(
    r"(\d{1,3})\s?(?:%|percent)?\s?(?:-|\u2013|to)\s?(\d{1,3})\s?(?:%|percent)|(\d{1,3})\s?(?:%|percent)"
)
_GRADES: Final = (
    (r"\b(?:total(?:ly)? |complete(?:ly)? )?occlu(?:sion|ded)", 100),
    (r"\bsevere\b", 80),
    (r"\bmoderate\b", 60),
    (r"\bmild\b", 30),
    (r"\bminimal\b", 10),
    (r"no (?:\w+ ){0,2}(?:stenosis|plaque)|free of (?:plaque|disease)|without (?:any )?plaque|\bnormal\b", 0),
)
_UNREADABLE: Final = r"non-?diagnostic|not assessable|(?:cannot|can not) be (?:evaluated|assessed)"


def _coronary(said: Sequence[str]) -> Iterator[Record | None]:
    """One record for the study; complete only if all four arteries are spoken of."""
    found: dict[str, Any] = {}
    nondiagnostic = False
    for sentence in said:
        arteries = [name for name, pattern in _ARTERIES.items() if re.search(pattern, sentence)]
        if len(arteries) > 1 and len(_STENOSIS.findall(sentence)) > 1:
            yield None  # a pattern cannot tell which number is of which artery
            return
        if arteries and re.search(_UNREADABLE, sentence):
            nondiagnostic = True
        elif (percent := _percent(sentence)) is not None:
            found |= {name: max(percent, found.get(name, 0)) for name in arteries}
    if not found:
        return
    plaque = any(found.values()) or any(re.search(r"(?<!no )(?<!any )\bplaque", text) for text in said)
    yield cad_rads.decide, cad_rads.Coronaries(**found, nondiagnostic=nondiagnostic, plaque=plaque)
    if found.keys() != _ARTERIES.keys():
        yield None


def _percent(sentence: str) -> int | None:
    """The greatest stenosis of a sentence in percent, from a number or, without one, from a grade."""
    numbers = [int(high or single) for _, high, single in _STENOSIS.findall(sentence)]
    percent = max((number for number in numbers if number <= 100), default=None)
    graded = _first(sentence, _GRADES)
    if percent is None:
        return int(graded) if graded is not None and re.search(r"stenos|plaque|occlu|normal", sentence) else None
    return percent if re.search(r"stenos|narrow|plaque|occlu|lumin", sentence) else None


_KIND: Final = (
    (r"part-?\s?solid|sub-?solid", "part-solid"),
    (r"ground[- ]glass|\bggn\b|\bggo\b|non-?solid", "ground-glass"),
    (r"calcified|granuloma|\bfat\b|popcorn", "benign"),
    (r"\bsolid\b", "solid"),
)
_COURSE: Final = (
    (r"slow(?:ly)? grow", "slowly growing"),
    (r"\bnew\b|newly", "new"),
    (r"growing|\bgrown\b|increased|enlarg(?:ed|ing) (?:since|from)|larger", "growing"),
    (r"stable|unchanged|no (?:interval )?(?:change|growth)|decreased|smaller", "stable"),
    (r"baseline|first screening|no prior", "baseline"),
)
_PART: Final = r"solid (?:component|part|portion|core)"
_CORE: Final = rf"{_PART}[^.;]*?(\d+(?:\.\d+)?)\s?mm|(\d+(?:\.\d+)?)\s?mm {_PART}"


def _screening(said: Sequence[str]) -> Iterator[Record | None]:
    whole = " ".join(said)
    if re.search(
        r"cannot be evaluated|incompletely|infect|pneumonia|inflammat|tree-in-bud|cyst wall|endobronchial", whole
    ):
        return
    nodules = [lesion for lesion in _lesions(said, r"\bnodules?\b|granuloma", near=0)
               if not re.search(r"\bno (?:\w+ ){0,3}nodules?\b|free of nodule|no nodule|neither", lesion)]  # fmt: skip
    for lesion in nodules:
        kind, course, size = _first(lesion, _KIND), _first(lesion, _COURSE), _size(re.sub(_CORE, " ", lesion))
        core = re.search(_CORE, lesion)
        suspicious = bool(re.search(r"spiculat|enlarged (?:mediastinal|hilar)", lesion))
        if kind == "benign":
            yield lung_rads.decide, lung_rads.Screening("benign")
        elif kind and course and size and (kind != "part-solid" or core):
            thickness = float(core[1] or core[2]) if core else 0.0
            yield lung_rads.decide, lung_rads.Screening(kind, size, thickness, course, suspicious=suspicious)
        else:
            yield None
    if not nodules and re.search(r"\bno (?:\w+ ){0,3}nodules?\b|free of nodules|neither lung shows a nodule", whole):
        yield lung_rads.decide, lung_rads.Screening()


_MAJOR: Final = {
    "hyperenhancement": r"arterial (?:phase )?(?:hyper-?)?enhancement|\baphe\b|arterially (?:hyper-?)?enhancing",
    "washout": r"wash-?out",
    "capsule": r"capsule",
    "growth": r"threshold growth",
}
_DENIED: Final = r"(?:\bno\b|\bwithout\b|\babsent\b|\bneither\b|\bnor\b)[\w -]{0,24}$"


def _liver(said: Sequence[str]) -> Iterator[Record | None]:
    """Observations whose major features are all spoken of; treated ones and those of another nature are left alone."""
    for lesion in _lesions(said, r"\bobservation|\blesion\b|\bnodule\b|\bmass\b"):
        if re.search(r"treated|ablat|embolization|targetoid|\brim\b|vein|cyst|hemangioma|perfusion|distinct", lesion):
            yield None
            continue
        features: dict[str, Any] = {name: _stated(lesion, pattern) for name, pattern in _MAJOR.items()}
        size = _size(lesion)
        if size and None not in features.values():
            yield li_rads.decide, li_rads.Observation("CT/MRI", "cirrhosis", size, **features)
        else:
            yield None


def _stated(text: str, pattern: str) -> bool | None:
    """Whether a feature is there, as said where it is first named; None if it is not named."""
    found = re.search(pattern, text)
    if not found:
        return None
    before = re.split(r"[.;:,]|\band\b|\bwith\b", text[: found.start()])[-1]
    return not re.search(_DENIED, before)


_EXTRACTORS: Final[dict[str, Extractor]] = {
    "TI-RADS": _thyroid,
    "GB-RADS": _gallbladder,
    "CAD-RADS": _coronary,
    "Lung-RADS": _screening,
    "LI-RADS": _liver,
}
"""Systems whose reports name the facts of the table in words that a pattern can find."""
