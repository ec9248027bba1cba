"""RADS categories as reports write them: every spelling, version, range and modifier, to canonical codes and back.

The spellings are those of the systems' own publications (`systems.json`), of their earlier editions where reports still
use them (LR-5V, CAD-RADS modifier V), and of everyday dictation. Only a number or letter beside a system's name counts:
words alone (`probably benign`) are no mention.
"""

import re
from bisect import bisect
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

from radlite.rads.table import category, systems
from radlite.sections import sections


@dataclass(frozen=True, slots=True)
class Mention:
    """A category that a text states."""

    system: str
    category: str
    """Canonical code, of a range the higher end; loose where the text is (`O-RADS 3`, `NI-RADS 2b`)."""
    modifiers: tuple[str, ...]
    """CAD-RADS: plaque, then N, HRP, I, S, G, E. Lung-RADS: S. LI-RADS: visualization of a surveillance study."""
    start: int
    end: int
    """`text[start:end]` goes from the system's name to the last modifier. Later items of a list (`right 2, left 4A`)
    begin at their value."""
    prior: bool
    """Stated for an earlier study, or in indication, technique or comparison."""
    range: bool
    """More than one category: `3-4`, `4A/4B`, `2 to 3`."""
    low: str | None
    """The lower end of a range."""


@dataclass(frozen=True, slots=True)
class _Span:
    """A stretch that names a category; `high` is None where the system has no such one (Lung-RADS 4, EU-TIRADS 4)."""

    system: str
    start: int
    end: int
    high: str | None
    low: str | None = None
    modifiers: tuple[str, ...] = ()
    kind: str = ""
    """`us` or `mri`: part of the code in O-RADS and in LI-RADS surveillance."""
    places: tuple[tuple[int, int], ...] = ()
    """Where sides or lesions stand between name and value."""
    lead: str | None = None
    """What stands before a later item of a list; None where the name is there."""


def find(text: str) -> list[Mention]:
    """The mentions in the order of the text; they do not overlap."""
    folded = _fold(text)
    found = [span for span in _spans(folded) if span.high]
    if not found:
        return []
    mentions: list[Mention] = []
    for span, name in zip(found, _names(text, [span.start for span in found]), strict=True):
        prior = name in _BACKGROUND or (_prior(folded, span) if span.lead is None else _inherited(span.lead, mentions))
        mentions.append(_mention(span, prior))
    return mentions


def canonical(text: str) -> str:
    """`text` with every mention in canonical spelling, the side or lesion inside one before it.

    A range reads `PI-RADS 3-4`, modifiers `CAD-RADS 4A/P2/HRP`, `Lung-RADS 4A S`, `US-2 VIS-B`. A text in which a
    spelling would run into its neighbours, so that another category were read, stays as it is.
    """
    spans = [span for span in _spans(_fold(text)) if span.high]
    spelled = _replaced(text, [(span.start, span.end, _apart(text, span, _spelled(text, span))) for span in spans])
    return spelled if _said(_spans(_fold(spelled))) == _said(spans) else text


def mask(text: str, token: str = "") -> str:
    """`text` without any mention, nor any category of systems alike (EU-TIRADS); `token` takes their place.

    Serves to test inference rather than extraction: `find(mask(text))` is empty.
    """
    gap = token
    while spans := _spans(_fold(text)):
        text = _replaced(text, [(*_widened(text, span, gap), gap) for span in spans])
        gap = "\n\n"  # What removal has brought together is removed with a gap that no mention can bridge.
    return text


def stated(text: str, system: str | None = None) -> Mention | None:
    """The category that this report itself gives, of `system` if named; None if it gives none.

    One in the impression before one elsewhere; of several the one of the highest tier, then rank. Never a prior one.
    """
    own = [one for one in find(text) if not one.prior and system in (None, one.system)]
    if not own:
        return None
    names = _names(text, [one.start for one in own])
    final = [one for one, name in zip(own, names, strict=True) if name == "impression"]
    return max(final or own, key=lambda one: _order(one.category)[:2])


def _names(text: str, starts: list[int]) -> list[str]:
    """The name of the section around each offset."""
    parts = sections(text)
    edges = [part.start for part in parts]
    return [parts[bisect(edges, start) - 1].name for start in starts]


_BACKGROUND: Final = {"indication", "technique", "comparison"}

# One character for one, so that offsets stay. U+0130 is the only character whose lower case is longer.
_ODD: Final = (
    {chr(code): chr(code - 0xFEE0) for code in range(0xFF01, 0xFF5F)}  # full width
    | {chr(start + number): str(number + 1) for start in (0x2160, 0x2170) for number in range(6)}  # Roman
    | dict.fromkeys("\u00ad\u2010\u2011\u2012\u2013\u2212\ufe58\ufe63\uff0d", "-")
    | dict.fromkeys("\u2014\u2015", "—")
    | dict.fromkeys("\t\r\v\f\x1c\x1d\x1e\x1f\x85\xa0\u1680\u2028\u2029\u202f\u205f\u2060\u3000\ufeff®™©", " ")
    | {chr(code): " " for code in range(0x2000, 0x200E)}
    | dict.fromkeys("“”„‟«»", '"')
    | dict.fromkeys("‘’‚‛`´", "'")
    | dict.fromkeys("→⇒➔➜➡", ">")
    | {"\u0130": "i", "×": "x"}
)
_ODD_ONE: Final = re.compile("[" + re.escape("".join(_ODD)) + "]")


def _fold(text: str) -> str:
    """Lower case with plain hyphens, blanks, digits and quotes; as long as `text`."""
    return _ODD_ONE.sub(lambda odd: _ODD[odd[0]], text).lower()


_NAMES: Final = {name.lower().split("-")[0]: name for name in systems()}
_SHORT: Final = {"lr": "LI-RADS", "us": "LI-RADS", "tr": "TI-RADS"}
_RADS: Final = r"[ ]?[-—_]?\s?rads?(?:tm|\((?:tm|r)\))?(?![^\W_])"
_OTHER: Final = r"(?:eu|european|k|kwak|korean|c|chinese|ai)"
_ANCHOR: Final = re.compile(
    rf"""\b(?:(?P<other>{_OTHER})[ -]{{1,2}}ti{_RADS}
    | (?:acr[ -])?(?:(?P<modality>us|ultrasound|mri?)[ -](?=(?:li|o)[ ]?[-—_]?\s?rad))?
      (?P<name>{"|".join(_NAMES)}){_RADS}
    | (?P<short>lr|us|(?<!lr[ -])tr)(?=[ :=—-]{{0,3}}[0-9ivmnt]) )""",
    re.VERBOSE,
)

_SIDE: Final = r"(?:right|left|bilateral|both|rt|lt|[rl])(?![a-z])\.?(?:[ ]breasts?(?![a-z]))?"
_PLACE: Final = rf"(?:{_SIDE}|(?:index[ ]lesion|(?:lesion|nodule|observation|target)[ ]?\#?[0-9]{{1,2}})(?=[ ]?[:=—-]))"
_VERSION: Final = r"""(?:v(?:er(?:sion)?)?\.?[ ]?[0-9]+(?:\.[0-9x]+)?|(?:19|20)[0-9]{2}|[0-9]\.[0-9]+
    |(?:[0-9][ ]?(?:st|nd|rd|th)|fourth|fifth|sixth)[ ]ed(?:ition|n)?\.?)(?![^\W_])"""
_WORDS: Final = r"""category|categories|cat|score|scores|grade|level|assessment|assessed|assigned|final|overall|
    classification|class|code|rating|is|was|as|of|for|the|in|on|at|remains|now|breasts?|side|
    site|acr|impression|mri|mr|us|ceus|ct|ultrasound|sonographic|mammographic|mammography|diagnostic|
    surveillance|eu|kwak|korean"""
_FILL: Final = rf"""(?:[ ]*\n?[ ]*(?:[:=(\[{{"'*|\#)\]}}_—-]|{_PLACE}|{_VERSION}|(?:{_WORDS})(?![a-z])\.?
    |,(?=[ ](?:category|cat|score|final|assessment)\b))){{0,14}}+[ ]*+\n?[ ]*+"""
_FILLER: Final = re.compile(_FILL, re.VERBOSE)
_PLACES: Final = re.compile(rf"(?<![^\W_]){_PLACE}", re.VERBOSE)

_UNITS: Final = r"""mm|cm|ms|msec|ml|cc|mg|ng|months?|mos?|weeks?|wks?|days?|years?|yrs?|hours?|hrs?|min|points?|pts?|
    o'?clock|percent|st|nd|rd|th|fold|t|tesla"""
_END: Final = rf"""(?!(?!s\b)[^\W_]|[.,][0-9]|:[0-9]{{2}}|[ ]?%|[ ]?[x*][ ]?[0-9]|/[0-9]{{2}}|/[0-9]{{1,2}}/[0-9]
    |[ ]?-?[ ]?(?:{_UNITS})\b|[ ]?[-—_]?\s?rad)"""
"""A number before it is no measure, date, decimal or time, nor a name (VI-RADS); the s of Lung-RADS 2S may touch it."""
_STOP: Final = r"(?=[ ]*(?:[.,;:)\]\n/]|$))"
_LETTER: Final = rf"""(?:(?P<glued>-?(?:[abcx]|(?:v|g|us)(?![^\W_])))|[ ]?\([ ]?[abcx][ ]?\)
    |[ ]?[-—]?[ ]?(?:[bc]|[ax]{_STOP})(?!/[lw]\b|-[a-z]|'))(?!(?!s\b)[^\W_])"""
"""The split of a category. A lone `a` after a blank may be the article, `c/w` and `b/l` are words."""
_ROMAN: Final = r"iv|vi?|i(?:ii?)?(?![ ](?:recommend|suggest|would|think|believe|agree|have|see|am|can|do)\b|')"
_NUMBER: Final = rf"(?P<number>[0-6]|{_ROMAN})(?P<letter>{_LETTER})?{_END}"
_RESPONSE: Final = r"""(?:tr|treated|treatment[ ]response)[ ,:(—-]{0,3}(?:category[ :]{1,2})?
    (?P<response>(?:non[ -]?)?viable|equivocal|non[ -]?progressing|non[ -]?evaluable)(?![^\W_])"""


def _pattern(short: str, alone: str) -> re.Pattern[str]:
    return re.compile(rf"{short}(?:{_NUMBER}|(?P<alone>{alone})(?![^\W_]|[ ]?=))", re.VERBOSE)


_VALUES: Final = {name: _pattern("", "[xn]") for name in _NAMES.values()} | {
    "LI-RADS": re.compile(
        rf"(?:(?:lr|us)[ :=—-]{{0,3}})?(?:{_RESPONSE}|{_NUMBER}|(?P<alone>m|tiv|nc)(?![^\W_]))", re.VERBOSE
    ),
    "TI-RADS": _pattern("(?:tr[ :=—-]{0,3})?", "(?!)"),
}
_DIGITS: Final = {"i": "1", "ii": "2", "iii": "3", "iv": "4", "v": "5", "vi": "6"}
_MAXIMUM: Final = {"BI-RADS": 6, "TI-RADS": 5, "PI-RADS": 5, "VI-RADS": 5, "O-RADS": 5, "CAD-RADS": 5, "Lung-RADS": 4,
                   "GB-RADS": 5}  # fmt: skip
"""What a fraction may have as denominator. LR-4/5 is a range."""
_FRACTION: Final = re.compile(r"[ ]?(?:/|(?:out )?of)[ ]?([0-9])(?!(?!s\b)[^\W_]|[.,/][0-9])")
_THROUGH: Final = re.compile(r"[ ]?(?:[-—/]|(?:to|or|through)\b)[ ]?")
_SPLIT: Final = re.compile(r"[-/]([abcx])(?![^\W_])")


def _codes() -> dict[tuple[str, str], str]:
    """System and what a value looks like without hyphens and blanks to the canonical code."""
    found = {}
    for system in systems().values():
        for one in (one for scale in system.scales if not scale.half for one in scale.categories):
            found[system.name, _bare(one.code.removeprefix(f"{system.name} ").removeprefix("LR-").lower())] = one.code
    # The two kinds of BI-RADS 0 since 2025; before 2017 LR-5V was tumor in vein and LR-5g, LR-5us kinds of LR-5.
    found |= {("BI-RADS", "0a"): "BI-RADS 0", ("BI-RADS", "0b"): "BI-RADS 0"}
    return found | {("LI-RADS", "5v"): "LR-TIV", ("LI-RADS", "5g"): "LR-5", ("LI-RADS", "5us"): "LR-5"}


def _bare(value: str) -> str:
    return re.sub(r"[^a-z0-9]", "", value)


_CODES: Final = _codes()
_LIVER: Final = re.compile(
    r"liver|hepat|\bhcc\b|cirrho|\bli[ ]?[-—_]?\s?rads?|\blr[ :=—-]{0,3}(?:[1-5mi]|v|nc|t)|\bvis[ -]?[abc]\b"
)
_THYROID: Final = re.compile(r"thyroid|\bti[ ]?[-—_]?\s?rads?")
_OTHERS: Final = re.compile(r"\b(?:eu|kwak|korean)\b")


def _spans(folded: str) -> list[_Span]:
    """Every stretch that names a category, in order."""
    spans: list[_Span] = []
    contexts: dict[str, bool] = {}
    at = 0
    while anchor := _ANCHOR.search(folded, at):
        at = anchor.end()
        short = anchor["short"] or ""
        words = {"us": _LIVER, "tr": _THYROID}.get(short)
        if words and short not in contexts:
            contexts[short] = bool(words.search(folded))
        if contexts.get(short, True) and (found := _read(folded, anchor, spans[-1].end if spans else 0)):
            spans += [found, *_listed(folded, found)]
            at = spans[-1].end
    return spans


def _read(folded: str, anchor: re.Match[str], floor: int) -> _Span | None:
    """The span that begins at an anchor, after `floor`."""
    start, end = anchor.span()
    if short := anchor["short"]:
        found = _entry(folded, _SHORT[short], start, start, "us" if short == "us" else "")
        # After a blank it is the study (`on US 2 nodules`), unless visualization follows.
        study = short == "us" and folded[end] in " :=" and found and not found.modifiers
        time = short == "tr" and found and _SECONDS.match(folded, found.end)
        return None if study or time else found
    filler = _FILLER.match(folded, end)
    assert filler
    if filler[0].count("\n") > 1:
        return None
    system = _NAMES.get(anchor["name"] or "", "TI-RADS")
    kind = _kind(system, f"{anchor['modality'] or ''} {filler[0]}")
    found = _neck(folded, start, filler.end(), floor) if system == "NI-RADS" else None
    found = found or _entry(folded, system, start, filler.end(), kind)
    if not found or ("\n" in filler[0] and _BULLET.match(folded, found.end)):
        return None
    start, end = _balanced(folded, found.start, found.end, floor)
    foreign = anchor["other"] or (system == "TI-RADS" and _OTHERS.search(filler[0]))
    places = tuple(place.span() for place in _PLACES.finditer(folded, filler.start(), filler.end()))
    return replace(found, start=start, end=end, places=places, high=None if foreign else found.high)


_SECONDS: Final = re.compile(r"[ ]?(?:s|sec|seconds?)\b")
_BULLET: Final = re.compile(r"[.)][ ][a-z]")
"""A number at the start of a line before it counts the lines."""


def _kind(system: str, words: str) -> str:
    found = re.search(r"\b(?:(us|ultrasound|sonographic)|mri?)\b", words) if system in ("O-RADS", "LI-RADS") else None
    return "" if not found else "us" if found[1] else "mri"


def _balanced(folded: str, start: int, end: int, floor: int) -> tuple[int, int]:
    """The span with the partner of a bracket or quote that is inside."""
    inside = folded[start:end]
    for opening, closing in ("()", "[]", "{}"):
        surplus = inside.count(opening) - inside.count(closing)
        if surplus > 0 and (partner := re.compile(rf"[ ]?\{closing}").match(folded, end)):
            end = partner.end()
        if surplus < 0 and start > floor and folded[start - 1] == opening:
            start -= 1
    return start, end + (inside.count('"') % 2 and folded[end : end + 1] == '"')


def _entry(folded: str, system: str, start: int, at: int, kind: str) -> _Span | None:
    """The span from `start` whose value is at `at`: one category, fraction or range, and its modifiers."""
    value = _VALUES[system].match(folded, at)
    if not value:
        return None
    high, end = _code(system, value, kind)
    low = None
    fraction = _FRACTION.match(folded, end)
    if fraction and int(fraction[1]) == _MAXIMUM.get(system) and value.start("number") == value.start():
        end = fraction.end()
    elif not _CHANGED.search(folded, max(0, start - 30), start) and (
        further := _further(folded, system, value, end, kind)
    ):
        other, end = further
        ends = sorted({high, other}, key=_order) if high and other else [None]
        low, high = (ends[0], ends[-1]) if len(ends) == 2 else (None, ends[0])
    if not high and not value["number"]:
        return None
    modifiers, end = _modifiers(folded, system, high, end)
    return _Span(system, start, end, high, low, modifiers, kind)


_CHANGED: Final = re.compile(
    r"(?:graded|changed|increased|decreased|progressed|up|down) from (?:the )?(?:prior |previous )?$"
)
"""`from 3 to 4` after it is no range."""


def _code(system: str, value: re.Match[str], kind: str) -> tuple[str | None, int]:
    """The category of a value, None if the system has no such one, and where it ends."""
    parts = value.groupdict()
    if parts.get("response"):
        return _CODES["LI-RADS", "tr" + _bare(value["response"])], value.end()
    number = _DIGITS.get(value["number"] or "", value["number"]) or value["alone"]
    for letter, end in ((value["letter"] or "", value.end()), ("", value.end("number"))):
        key = number + _bare(letter)
        code = _CODES.get((system, kind + key)) or _CODES.get((system, key))
        if code or parts.get("glued"):
            return code, end
    return None, value.end()


def _further(folded: str, system: str, first: re.Match[str], end: int, kind: str) -> tuple[str | None, int] | None:
    """The other end of a range, and where it ends; None if what follows is no such."""
    code, _ = _code(system, first, kind)
    if first["letter"] and (split := _SPLIT.match(folded, end)):
        number = _DIGITS.get(first["number"], first["number"])
        return _CODES.get((system, kind + number + split[1])) or _CODES.get((system, number + split[1])), split.end()
    through = _THROUGH.match(folded, end)
    second = through and _VALUES[system].match(folded, through.end())
    if not second:
        return None
    # CAD-RADS 3/N and 3/V are modifiers.
    if system != "LI-RADS" and (first["number"] or "n").isdigit() != (second["number"] or "n").isdigit():
        return None
    other, end = _code(system, second, kind)
    one, two = category(code or ""), category(other or "")
    return None if one and two and one.scale != two.scale else (other, end)


def _order(code: str | None) -> tuple[int, int, str]:
    """Tier, rank, and the code, so that ends of one rank (LR-5, LR-M) have an order too."""
    found = category(code or "")
    return (found.tier, found.rank or 0, found.code) if found else (0, 0, "")


_CAD: Final = re.compile(
    r"""(?:[ ]?[/&,(+-][ ]?|[ ])(?:(?:with[ ])?modifiers?[ :]{1,2})?(?P<long>p[0-4]|hrp)(?![^\W_])
    |[ ]?[/&,(][ ]?(?P<flow>i(?:\+/?-|[+±-]))(?![^\W_])|[ ]?[/&(-][ ]?(?P<one>[nvsge])(?![^\W_]|/p\b|\.[a-z])""",
    re.VERBOSE,
)
_LUNG: Final = re.compile(
    r"(?:[ ]?[-/(+,]?[ ]?|[ ](?:with[ ])?(?:the[ ])?modifiers?[ :]{1,2})s(?:[ ]modifier)?(?![^\W_]|[/'])"
)
_VISIBLE: Final = re.compile(
    r"[\s,;./(—-]{0,4}(?:with )?vis(?:uali[sz]ation)?(?: (?:score|category|grade|is)){0,2}[ :=-]{0,3}([abc])(?![^\W_])"
)
_CAD_ORDER: Final = ("P1", "P2", "P3", "P4", "N", "HRP", "I+", "I-", "I±", "S", "G", "E")
_CAD_FORMER: Final = {"V": "HRP", "I+-": "I±", "I+/-": "I±"}
"""Modifier V of CAD-RADS 1.0, and ways to write the sign."""


def _modifiers(folded: str, system: str, code: str | None, end: int) -> tuple[tuple[str, ...], int]:
    """The modifiers from `end` on, in canonical order, and where they end."""
    if system == "CAD-RADS":
        said = set()
        while one := _CAD.match(folded, end):
            name = (one["long"] or one["flow"] or one["one"]).upper()
            said.add(_CAD_FORMER.get(name, name))
            end = one.end()
        return tuple(name for name in _CAD_ORDER if name in said), end
    if system == "Lung-RADS" and (significant := _LUNG.match(folded, end)):
        return ("S",), significant.end()
    if (code or "").startswith("US-") and (visible := _VISIBLE.match(folded, end)):
        return (f"VIS-{visible[1].upper()}",), visible.end()
    return (), end


_AFTER: Final = rf"[ ]\(?(?:(?:on|in|for)[ ])?(?:the[ ])?{_SIDE}\)?"
_ALONE: Final = re.compile(r"(?=[ ]*(?:[.,;:)\]\n/&(—-]|and\b|$))")
_NEXT: Final = re.compile(
    rf"""(?:{_AFTER})?[ ]?[,;/&(]?[ ]?\n?[ ]?(?:(?:and|but)[ ])?
    (?P<lead>{_PLACE}|now|today|currently|previously|formerly|prior|was|-{{0,2}}>|=>
        |(?:(?:(?:up|down)graded|changed)[ ])?to){_FILL}
    |(?:{_AFTER})[ ]?(?:[,;/&]|and\b)[ ]?""",
    re.VERBOSE,
)
_SIDED: Final = re.compile(_AFTER, re.VERBOSE)
_NOW: Final = re.compile(r"now|today|currently|.*(?:>|to)$")
_THEN: Final = re.compile(r"previously|formerly|prior|was")


def _listed(folded: str, head: _Span) -> Iterator[_Span]:
    """The items that follow in a list: `right 2, left 4A`; `previous BI-RADS 3, now 2`."""
    while between := _NEXT.match(folded, head.end):
        at = between.end()
        found = _entry(folded, head.system, at, at, head.kind) if between[0].count("\n") < 2 else None
        if not found or not (_ALONE if between["lead"] else _SIDED).match(folded, found.end):
            return
        yield (head := replace(found, lead=between["lead"] or ""))


_SITE: Final = r"""(?:(?:primary(?:[ ](?:site|tumou?r(?:[ ](?:site|bed))?))?
    |neck(?:[ ](?:lymph[ ])?(?:nodes?|nodal|site))?|nod(?:es|al))(?![a-z])|[pn](?=[ ]?[:=-]?[ ]?[0-4x]))"""
_GRADE: Final = rf"(?:{_NUMBER}|(?P<alone>x)(?![^\W_]))"
_ITEM: Final = re.compile(rf"(?<![^\W_])(?P<site>{_SITE})(?P<filler>{_FILL}(?:ni{_RADS}{_FILL})?){_GRADE}", re.VERBOSE)
_TRAIL: Final = rf"[ ]?\(?[ ]?(?:(?:at|in|for|of)[ ])?(?:the[ ])?(?P<site>{_SITE})(?![^\W_])\)?"
_SITED: Final = re.compile(_TRAIL, re.VERBOSE)
_SECOND: Final = re.compile(rf"[ ]?[,;/&]?[ ]?(?:and[ ])?{_GRADE}{_TRAIL}", re.VERBOSE)
_SLASHED: Final = re.compile(rf"[ ]?(?://?|\|)[ ]?{_GRADE}", re.VERBOSE)
_BEFORE: Final = re.compile(
    rf"(?<![^\W_])(?<!ct[ ])(?<!mri[ ])(?<!the[ ])(?P<site>{_SITE})[ ]?(?:[:=—-]|(?:is|category|score)\b)?[ ]?\(?$",
    re.VERBOSE,
)
_TIGHT: Final = re.compile(r"[\s,;./&|—-]{0,5}(?:(?:and|with)\s)?(?:the\s)?")


def _neck(folded: str, start: int, at: int, floor: int) -> _Span | None:
    """NI-RADS with its sites named, or both in order (`2b // 1`); None where a plain value follows."""
    end = at
    if item := _ITEM.match(folded, at):
        first, end = item, item.end()
    elif value := _VALUES["NI-RADS"].match(folded, at):
        slashed = _SLASHED.match(folded, value.end())
        if slashed and not slashed["glued"]:
            return _both(start, slashed.end(), {"p": value, "n": slashed})
        first = value
        near = max(floor, start - 40)
        if sited := _SITED.match(folded, value.end()):
            item, end = sited, sited.end()
            if (second := _SECOND.match(folded, end)) and second["site"][0] != sited["site"][0]:
                return _both(start, second.end(), {sited["site"][0]: value, second["site"][0]: second})
        elif sited := _BEFORE.search(folded[near:start]):
            item, start, end = sited, near + sited.start(), value.end()
    if not item:
        return None
    sites = {item["site"][0]: first}
    other = _ITEM.search(folded, end, end + 200)
    if other and other["site"][0] not in sites and _near(folded[end : other.start()], other):
        sites[other["site"][0]] = other
        end = other.end()
    return _both(start, end, sites)


def _near(gap: str, item: re.Match[str]) -> bool:
    """Whether the other site, after `gap`, belongs to the same statement: in the same or the next sentence."""
    if "\n\n" in gap or "rads" in gap or len(re.findall(r"[.!?]\s", gap)) > 1:
        return False
    named = len(item["site"]) > 1 and re.search(r"[:a-z]", item["filler"])
    return bool(_TIGHT.fullmatch(gap) or (named and len(gap) <= 120))


def _both(start: int, end: int, sites: dict[str, re.Match[str]]) -> _Span:
    """The pair or the one site; a loose category, the worse one, where a site's has no code (primary 2)."""
    said = {"p" if site == "p" else "n": _bare(_grade(value)) for site, value in sites.items()}
    primary, neck = said.get("p"), said.get("n")
    if neck:
        neck = neck[0] if neck[0].isdigit() else neck  # only the primary site has 2a and 2b
    parts = [f"{name} {_cased(one)}" for name, one in (("primary", primary), ("neck", neck)) if one]
    code: str | None = "NI-RADS " + ", ".join(parts)
    if not category(code or ""):
        loose = [f"NI-RADS {_cased(one)}" for one in (primary, neck) if one]
        code = max((one for one in loose if category(one)), key=_order, default=None)
    return _Span("NI-RADS", start, end, code)


def _grade(value: re.Match[str]) -> str:
    number = value["number"]
    return _DIGITS.get(number, number) + (value["letter"] or "") if number else str(value["alone"])


def _cased(value: str) -> str:
    return value.upper() if value == "x" else value


_CLAUSE: Final = re.compile(r"[.;!?\n>]|(?<![0-9]{4}),|\bto[ ]$|\b(?:but|now|currently|today)\b")
_STUDY: Final = r"""(?:exam|examination|study|studies|mammogra[a-z]+|ultrasound|us|mri?|ct|pet|scan|report|read|reading
    |imaging|images?|films?|hospital|facility|institution|assessment|score|category|screening|visit|year|month|time)"""
_DIRECT: Final = re.compile(
    r"""\b(?:prior|previous(?:ly)?|earlier|former(?:ly)?|last|outside|was|(?<!ranging[ ])(?<!range[ ])from)
    (?:[ ](?:an?|the|known|final|overall))?[ :("]*$""",
    re.VERBOSE,
)
_EVENTS: Final = r"""to|biops|surg|lumpect|mastect|prostatect|thyroidect|neck|resect|excis|radi|treat|therap|ablat|embol
    |tace|turb?t?p?|granul|infect|inflamm|hemorr|stent|cabg|bypass|infarct|trauma|augment|reduc|procedur|cancer"""
_EARLIER: Final = re.compile(
    rf"""\b(?:(?<!no[ ])(?:prior|previous(?:ly)?|formerly)\b(?![ ](?:{_EVENTS}))|history[ ]of
    |(?:last|outside|earlier|former)[ ](?:[a-z]+[ ])?{_STUDY}|in[ ](?:[a-z]+\.?[ ])?(?:19|20)[0-9]{{2}})(?![^\W_])""",
    re.VERBOSE,
)
_COMPARED: Final = re.compile(
    r"\b(?:compar[a-z]*|since|than|versus|vs|unchanged|stable|similar|relative|increased|decreased|interval)\b"
)
_DATE: Final = r"(?:(?:[a-z]{3,9}\.?[ ]|[0-9]{1,2}[/.-]|[0-9]{1,2},?[ ]){0,3}(?:19|20)[0-9]{2})"
_LATER: Final = re.compile(
    rf"""[ ]?(?:(?:\(|(?:lesion|mass|nodule|observation)[ ])?(?:
        (?:on|at|in|by|from|per)[ ](?:(?:the|her|his|an?)[ ])?(?:(?:prior|previous)\b(?![ ](?:{_EVENTS}))
            |(?:last|outside|earlier|former)[ ](?:[a-z]+[ ])?{_STUDY}\b)
        |(?:in|from|on|dated)[ ]{_DATE}\b|(?:previously|formerly)(?=[ ]*(?:[.,;)\n]|$)))
    |\({_DATE}\)|-{{0,2}}>|=>|,?[ ]?(?:(?:was|is|has[ ]been)[ ])?(?:(?:up|down)graded|changed)[ ]to\b)""",
    re.VERBOSE,
)


def _prior(folded: str, span: _Span) -> bool:
    """Whether the clause says that the category is one of an earlier study."""
    clause = _CLAUSE.split(folded[max(0, span.start - 120) : span.start])[-1]
    if _DIRECT.search(clause) or _LATER.match(folded, span.end):
        return True
    earlier = _EARLIER.search(clause)
    return bool(earlier and not _COMPARED.search(clause, 0, earlier.start()))


def _inherited(lead: str, mentions: list[Mention]) -> bool:
    """The same for a later item of a list."""
    if _NOW.match(lead) or _THEN.match(lead):
        return bool(_THEN.match(lead))
    return bool(mentions and mentions[-1].prior)


def _mention(span: _Span, prior: bool) -> Mention:
    assert span.high
    return Mention(
        span.system, span.high, span.modifiers, span.start, span.end, prior, span.low is not None, span.low
    )  # fmt: skip


def _said(spans: list[_Span]) -> list[tuple[str, str, str | None, tuple[str, ...]]]:
    return [(span.system, span.high, span.low, span.modifiers) for span in spans if span.high]


def _spelled(text: str, span: _Span) -> str:
    """The canonical spelling of a span of `text`."""
    assert span.high
    places = "".join(f"{text[start:end]} " for start, end in span.places)
    # Away from its system's name, US-3 could be a study.
    name = "LI-RADS " if span.high.startswith("US-") and "rads" in text[span.start : span.end].lower() else ""
    codes = span.high
    if span.low:
        codes = f"{span.low}-{re.split('[ -]', span.high.removeprefix(span.system))[-1]}"
    joint = "/" if span.system == "CAD-RADS" else " "
    return places + name + joint.join((codes, *span.modifiers))


def _apart(text: str, span: _Span, spelling: str) -> str:
    """A spelling with a blank where a bracket or quote kept the span from its neighbour."""
    before = " " if span.start and text[span.start - 1].isalnum() else ""
    after = " " if text[span.end : span.end + 1].isalnum() and not text[span.end - 1].isalnum() else ""
    return before + spelling + after


def _replaced(text: str, pieces: list[tuple[int, int, str]]) -> str:
    parts = []
    at = 0
    for start, end, piece in pieces:
        parts += [text[at:start], piece]
        at = end
    return "".join((*parts, text[at:]))


def _widened(text: str, span: _Span, gap: str) -> tuple[int, int]:
    """The span with brackets that hold nothing else, colon and blank too many, if nothing takes its place."""
    start, end = span.start, span.end
    if gap:
        return start, end
    while start and text[start - 1] + text[end : end + 1] in ("()", "[]", '""'):
        start, end = start - 1, end + 1
    if text[end : end + 1] == ":":
        end += 1
    if start and text[start - 1] == " " and text[end : end + 1] in ("", " ", ".", ",", ";", "\n"):
        start -= 1
    return start, end
