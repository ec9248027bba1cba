"""The sections of a report, by headings British, American and German in the usual layouts, and its sentences."""

import functools
import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal, cast

Name = Literal[
    "other", "exam", "indication", "technique", "comparison", "findings", "impression", "recommendation", "addendum"
]


@dataclass(frozen=True, slots=True)
class Section:
    """A stretch of a report. `text[start:end]` with its heading, `text[body:end]` without."""

    name: Name
    start: int
    body: int
    end: int


@dataclass(frozen=True, slots=True)
class Sentence:
    """A sentence: `text[start:end]`."""

    start: int
    end: int


REMEMBERED: Final = 16
"""Texts whose parts are remembered: several tasks look at one report, and an answer is held against it more than once.
So few, that no report stays in memory for long."""


@functools.lru_cache(REMEMBERED)
def sections(text: str) -> tuple[Section, ...]:
    """The sections in the order of the text; together they cover all of it. What no heading names is `other`.

    A heading begins a line, has it to itself or ends in a colon, and may be numbered, bold or a Markdown heading.
    Within a line it has a colon and follows the end of a sentence, or is all in capitals. Other words with a colon
    (`Liver:`) are no heading. An empty text has no sections.
    """
    found = list(_HEADING.finditer(f"\n{text}"))  # The line break before a heading makes up for the one put in front.
    starts = [heading.start() for heading in found] + [len(text)]
    result = [Section("other", 0, 0, starts[0])] if starts[0] else []
    for heading, end in zip(found, starts[1:], strict=True):
        result.append(Section(cast(Name, heading.lastgroup), heading.start(), heading.end() - 1, end))
    return tuple(result)


@functools.lru_cache(REMEMBERED)
def sentences(text: str) -> tuple[Sentence, ...]:
    """The sentences in order; together they hold everything that is not blank. A heading is one of its own.

    A line break ends a sentence unless it merely wraps the line. Abbreviations, decimals and list marks do not.
    """
    cuts = sorted({at for part in sections(text) for at in (part.start, part.body)} | {0, len(text)})
    return tuple(one for start, end in itertools.pairwise(cuts) for one in _cut(text, start, end))


_KIND: Final = r"""(?:final|overall|main|key|other|additional|incidental|relevant|pertinent|significant|positive
    |radiolog(?:ical|ic|ist'?s)|radiographic|imaging|sonographic|ultrasound|mammographic|x-?ray|cta?|mr[ai]?|us|pet|usg
    |chest|abdom(?:en|inal)|pelvi[sc]|brain|head|neck|spine|breast|(?:non|extra)?-?cardiac|(?:extra)?-?coronary)[ ]"""
_EARLIER: Final = r"(?:prior|previous)[ ](?:relevant[ ])?(?:stud(?:y|ies)|imaging|exam(?:ination)?s?|reports?)"
_REASON: Final = r"reason[ ]for[ ](?:the[ ])?(?:exam(?:ination)?|study|scan|test|request|referral|visit|procedure)"

# Longer names first where one begins another. `Clinical impression` and the like are the referring physician's.
_NAMES: Final[dict[Name, str]] = {
    "indication": rf"""(?:clinical[ ])?indications?|(?:clinical|medical|past[ ]medical|patient|relevant)?[ ]?history
        |clinical[ ](?:information|info|details|data|question|background|context|presentation|notes|summary|diagnosis
        |impression|findings)|(?:provisional|referring|admitting|working)[ ]diagnosis|{_REASON}
        |history[ ]of[ ]present(?:ing)?[ ]illness|(?:rechtfertigende[ ])?indikation|klinische[ ](?:angaben
        |fragestellung)|klinik|fragestellung|anamnese""",
    "exam": r"""(?:type[ ]of[ ])?(?:exam(?:ination)?s?|study|procedures?)(?:[ ](?:type|performed))?
        |(?:study[ ]|report[ ])?title|untersuchung(?:sart)?""",
    "technique": r"(?:(?:scan|imaging)[ ])?(?:technique|protocol)s?|contrast|(?:untersuchungs)?technik|methodik",
    "comparison": rf"""comparisons?(?:[ ](?:made[ ])?(?:with|to|stud(?:y|ies)|exam(?:ination)?s?))?
        |compared[ ](?:with|to)|{_EARLIER}|vergleich|voruntersuchung(?:en)?|voraufnahmen?""",
    # A section of both is where the conclusion stands.
    "impression": rf"""(?:findings?[ ]?(?:and|&|/)[ ]?)?(?:{_KIND})?(?:impressions?|conclusions?|opinion|summary
        |assessment(?:[ ]categor(?:y|ies))?|diagnos[ie]s|interpretation)|beurteilung|zusammenfassung""",
    "findings": rf"(?:{_KIND}){{0,2}}(?:findings?|observations)|report|body(?:[ ]of[ ](?:the[ ])?report)?|befunde?",
    "recommendation": r"(?:follow-?up[ ])?recommendations?|advice|empfehlung(?:en)?",
    "addendum": r"(?:addend(?:um|a)|nachtrag)(?:[ ]\#?[\d./-]{1,10}+)?",
}
_GROUPS: Final = "|".join(f"(?P<{name}>{words})" for name, words in _NAMES.items())

_MARK: Final = r"(?:[#*_=>\[•-]{1,6}+[ \t]*+)?(?:\(?\d{1,2}[.):][ \t]*+)?[*_]{0,3}+"
_PLACE: Final = (
    r"""(?:[ \t]?\([^()\r\n]{1,60}\)|[ \t]?/[ \t]?[A-Za-z]{2,20}+|[ \t](?:and|AND|und|UND|&)[ \t][A-Za-z]{2,20}+)"""
)
"""`FINDINGS (CHEST)`, `HISTORY/INDICATION`, `Impression and plan`."""
_PLACE_WITH_COLON: Final = r"[ \t](?:[-–][ \t])?(?:[A-Z][A-Z ]{1,40}+|[A-Z][a-z]{2,20}+)(?=[ \t*_]*+:)"
"""`FINDINGS CHEST:`, `Findings - Chest:`. Without the colon it would be the section's text."""
_HEADING: Final = re.compile(
    rf"""(?:(?P<line>[\r\n][ \t]*+{_MARK}(?=[A-ZÄÖÜ]))
        # A line that ends in such a word or mark goes on in the next one.
        |[\r\n](?<!\b(?:the|and)\n)(?<!\b(?:of|to|in|no)\n)(?<!\bwith\n)(?<!,\n)[ \t]*+{_MARK}
        |[ \t](?:(?=[*_]{{0,3}}+[A-Z][A-Z ]{{3,30}}+[^a-z])(?<=[^A-Z\s][ \t])|(?<=[.;!?)\]][ \t])[ \t]*+)[*_]{{0,3}}+)
    (?=[^:：.;\r\n–-]{{2,80}}+(?:[:：\r\n–-]|\.\d|\Z))  # Spares most sentences the names.
    (?i:{_GROUPS})(?:{_PLACE}|{_PLACE_WITH_COLON})?[*_\]]{{0,3}}+
    (?:[ \t\xa0]*+[:：][*_]{{0,3}}-?|(?(line)(?:[*_=#\t\xa0 -]*+(?=[\r\n]|\Z)|[ ][-–][ ])|(?!)))""",
    re.VERBOSE,
)

_END: Final = re.compile(
    r"""(?P<stop>[.!?]++["')\]]*+)(?:(?=\s|\Z)|(?<=[a-z)][.])(?=[A-Z][a-z]))|(?P<line>(?:\r\n?|\n)\s*+)"""
)
_TITLE: Final = re.compile(
    r"(?<!\w)(?:(?:dr|prof)\.\s\w|dr|prof|mr|mrs|ms|vs|e\.?g|i\.?e|cf|approx|figs?|st)\.\Z", re.IGNORECASE
)
_SHORT: Final = re.compile(
    r"(?<!\w)(?:cm|mm|ml|no|nr|ser|im|img|max|min|avg|ca|incl|resp|diam|lat|post|ant|sup|inf|bilat|est)\.\Z",
    re.IGNORECASE,
)
"""Abbreviations that may also end a sentence."""
_LIST_MARK: Final = re.compile(r"\W*(?:\d{1,2}\.)?")
_UNFINISHED: Final = re.compile(
    r"(?:,|\b(?:a|an|and|at|for|in|is|no|of|on|or|the|to|with|without))[ \t]*\Z|(?P<word>[^.:;!?\s][ \t]*\Z)",
    re.IGNORECASE,
)


def _cut(text: str, start: int, end: int) -> Iterator[Sentence]:
    begin = start
    for found in _END.finditer(text, start, end):
        at = found.end("stop") if found["stop"] else found.start()
        if not (_within if found["stop"] else _wrapped)(text, begin, found):
            yield from _stripped(text, begin, at)
            begin = at
    yield from _stripped(text, begin, end)


def _within(text: str, begin: int, stop: re.Match[str]) -> bool:
    """Whether this stop belongs to an abbreviation, a list mark or what follows."""
    if stop.end() - begin < 8 and _LIST_MARK.fullmatch(text, begin, stop.end()):
        return True
    if stop["stop"] != ".":
        return False
    said, following = text[max(begin, stop.start() - 10) : stop.end()], text[stop.end() + 1 : stop.end() + 2]
    goes_on = following.islower() or following.isdigit()
    return bool(_TITLE.search(said) or (goes_on and _SHORT.search(said)))


def _wrapped(text: str, begin: int, line: re.Match[str]) -> bool:
    """Whether this line break merely wraps a sentence: that is unfinished, or goes on in lower case."""
    if line[0].count("\n") > 1 or line[0].count("\r") > 1:
        return False
    before = _UNFINISHED.search(text[max(begin, line.start() - 20) : line.start()])
    return before is not None and (not before["word"] or text[line.end() : line.end() + 1].islower())


def _stripped(text: str, start: int, end: int) -> Iterator[Sentence]:
    part = text[start:end]
    if words := part.strip():
        start += len(part) - len(part.lstrip())
        yield Sentence(start, start + len(words))
