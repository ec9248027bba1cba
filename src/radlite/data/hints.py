"""Likely identifiers in report text, found by their form: dates, numbers, addresses, names after titles.

Hints, never a guarantee: a report without a hint may still name its patient, and what has the form of an identifier may
be none. Names without a title, places and relatives have no form that a pattern could know; the day and month of `3/12`
look like a fraction. Trained tools miss names, too: of five public ones the best had a micro-averaged F1 of 93.6 % on
radiology reports, but none had more than 50 % on patient names (Steinkamp et al., Radiology: Artificial Intelligence
2020;2(6):e190137, doi:10.1148/ryai.2020190137). Identifiers that were replaced by invented ones count as if they were
real; what stands for a removed one (`___`, `XXXX`, `[**2101-1-1**]`) does not.
"""

import re
from collections import Counter
from collections.abc import Iterable
from typing import Any

from radlite.tasks import Example

_MARK = re.compile(r"\[\*\*[^\[\]]{0,100}\*\*\]")
"""A removed identifier as MIMIC-III marks it: the brackets say what it was."""

_YEAR = "(?:19|20)[0-9]{2}"
_MONTH = (
    r"(?:jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sept?(?:ember)?|oct(?:ober)?"
    r"|nov(?:ember)?|dec(?:ember)?)"
)

# All patterns below begin with a set of characters, which is sought some times faster than `\b` or a lookbehind: what
# may stand before is asked after the first character.

_NUMBER = re.compile("[0-9]{2}(?:[0-9]+|(?<=9.))")
"""Three digits and more, or an age in the nineties."""

_FORM = re.compile(
    rf"""(?P<ssn>[0-9]{{3}}-[0-9]{{2}}-[0-9]{{4}}(?![0-9]))
    |(?P<phone>[0-9]{{3}}(?:\)\s?|[ .-])[0-9]{{3}}[.-][0-9]{{4}}(?![0-9]))
    |(?P<date>{_YEAR}([/.-])[01]?[0-9]\4[0-3]?[0-9](?![0-9]))
    |(?P<age>(?:9[0-9]|1[0-4][0-9])(?![0-9])[\s-]{{0,2}}
        (?:(?:years?|yrs?)[\s-]{{0,2}}(?:old|of\sage|male|female|man|woman|m\b|f\b)
        |y\.?\s?/?\s?o\b|y(?:rs?)?[\s/]?[mf]\b|[mf]\s(?:with|w/|s/p|h/o|p/w|presents|presenting|complaining)))""",
    re.IGNORECASE | re.VERBOSE,
)
"""What a number is by what follows it."""

_CONTEXT = re.compile(
    rf"""(?P<date>\b{_MONTH}\b[.,\s-]{{0,3}}(?:[0-3]?[0-9](?:st|nd|rd|th)?[,\s-]{{1,3}})?{_YEAR})\Z
    |(?P<age>\bage[ds]?(?:/sex)?[\s:=]{{1,3}}(?:of\s)?(?:9[0-9]|1[0-4][0-9]))\Z
    |(?P<phone>(?:\btel|phone|pager|\bfax|\bext|beeper|mobile)\b[\s.:#]{{0,3}}(?:(?:number|no|is)\b[\s.:]{{0,3}})?
        \(?[0-9]{{3,}})\Z
    |(?P<record>(?:\b(?:MRN|accession|(?:patient|exam|study|visit|case)\s?ID)\b
        |\b(?:record|patient|hospital|case|exam|examination|study|order|visit|specimen|chart|encounter|account|NHS|MR)
            \s?(?:number|num\b|nr\b|no[.:]|\#))
        [\s.:\#=(]{{0,3}}(?:(?:number|no|is|id)\b[\s.:\#=]{{0,3}}){{0,2}}[A-Z]{{0,4}}(?:[0-9]{{0,2}}-)?[0-9]{{3,}})\Z""",
    re.IGNORECASE | re.VERBOSE,
)
"""What a number is by what stands before it."""
_YOUNG = re.compile(r"[\s-]{0,2}(?:hours?|days?|weeks?|wks?|months?|mos?|%)", re.IGNORECASE)
"""What follows a number that is no age in years."""
_REACH = 50
"""Characters before a number that can say what it is."""

_DATE = re.compile(
    rf"""([/.-])(?<=[0-9].)(?:
    [0-9]{{1,2}}\1{_YEAR}(?![0-9])
    |(?i:{_MONTH})\1[0-9]{{2}}(?![0-9])
    |(?<=[01][0-9]/)(?<![0-9/.][0-9]{{2}}/){_YEAR}(?![0-9])
    |(?:(?<=[^0-9A-Za-z./-][0-9]/)|(?<=[^0-9A-Za-z./-][0-3][0-9]/)|(?<=\A[0-9]/)|(?<=\A[0-3][0-9]/))
        (?:[01]?[0-9]|(?<![23][0-9]/)[23][0-9])/[0-9]{{2}}(?![0-9/]|\.[0-9]))""",
    re.VERBOSE,
)
"""12/03/2019 and 12.3.2019, 12-Mar-19; 03/2019; 3/12/19 and 03/12/19. Found by the sign after the first number."""

_REST = "(?:anuary|ebruary|arch|pril|une|uly|ugust|eptember|ctober|ovember|ecember)"
_DAY = re.compile(
    rf"""[JFMASOND](?:
    (?:(?<=[0-9][ ].)|(?<=[0-9](?:st|nd|rd|th)[ ].)|(?<=[0-9](?:st|nd|rd|th)[ ]of[ ].)){_REST}\b(?![,\s]{{1,3}}{_YEAR})
    |(?<![A-Za-z].){_REST}[ ][0-3]?[0-9](?:st|nd|rd|th)?\b(?![,\s]{{1,3}}{_YEAR}))""",
    re.VERBOSE,
)
"""12 March, March 12, on one line. Short names and May need a year: these are words, too."""

_CAPITAL = "[A-ZÀ-ÖØ-ÞĀ-Ž]"
# Words that begin a sentence after one that ends with MR. (the modality), MS. (the disease) or DR. (the radiograph).
_NO_NAMES = (
    "(?:A|ALL|AN|AND|AS|AT|BRAIN|BY|CLINICAL|COMPARE|COMPARED|COMPARISON|CT|FINDINGS|FOR|FROM|HE|HISTORY|IMPRESSION|IN"
    "|INDICATION|IS|IT|LEFT|LUNGS|MILD|MULTIPLE|NAME|NEW|NO|NORMAL|NOT|OF|ON|OR|PATIENT|PLEASE|PRIOR|RECOMMEND"
    r"|REDACTED|RIGHT|SHE|STABLE|TECHNIQUE|THE|THERE|THIS|TO|UNCHANGED|WAS|WE|WITH)\b"
)
_NAME = re.compile(
    rf"""[DMP](?<![A-Za-z].)(?:
    (?:(?<=D)rs?|(?<=M)(?:rs?|s)|(?<=P)rof(?:essor)?)(?:\.\s{{0,3}}|\s{{1,2}})
        (?:(?:da|de|del|della|den|der|di|dos|du|la|le|ten|ter|van|von|zu)\s){{0,2}}(?:d['’])?
        (?!X{{2,}}|(?:NAME|REDACTED)\b){_CAPITAL}
    |(?:(?<=D)RS?|(?<=M)(?:RS?|S)|(?<=P)ROF)\.\s{{1,3}}(?!X{{2,}}|{_NO_NAMES}){_CAPITAL}['’]?{_CAPITAL}
    |\.?D\b(?:(?<=[A-Za-z],\sMD)|(?<=[A-Za-z],\sM\.D))(?<!XX,\sMD)(?<!XX,\sM\.D))""",
    re.VERBOSE,
)
"""Dr. Smith, Mrs van Dyke, DR. SMITH; Smith, MD."""

_ABROAD = re.compile(r"\+[1-9](?:[\s().-]{0,2}[0-9]){8,13}(?![0-9])")
"""A phone number with the code of a country."""
_EMAIL = re.compile(r"@(?<=[^\W_].)(?=[^\W_])[\w-]{1,64}(?:\.[\w-]{1,64}){0,8}\.[^\W\d_]{2}")
_URL = re.compile(r"[HhFfWw](?:(?:ttps?|TTPS?|tp|TP)://|(?:ww|WW)\.)[^\W_]")

_KINDS = {
    "ssn": "social security number", "phone": "phone number", "date": "date", "age": "age over 89",
    "record": "record number", "name": "name", "email": "e-mail address", "url": "URL",
}  # fmt: skip


def hints(text: str) -> Counter[str]:
    """Kind to the number of likely identifiers in `text`: dates (not years alone), record numbers (after a word such as
    accession, or 7 digits and more), phone numbers, e-mail addresses, URLs, names after titles, ages over 89, US social
    security numbers.

    Some 30,000 reports of 800 characters a second on one core.
    """
    if "[**" in text:
        text = _MARK.sub("___", text)
    counted: Counter[str] = Counter()
    for number in _NUMBER.finditer(text):
        if kind := _kind(text, number):
            counted[_KINDS[kind]] += 1
    searches = [("date", _DATE), ("date", _DAY), ("name", _NAME)]
    if "+" in text:
        searches.append(("phone", _ABROAD))
    if "@" in text:
        searches.append(("email", _EMAIL))
    if "://" in text or "www." in text or "WWW." in text:
        searches.append(("url", _URL))
    for kind, pattern in searches:
        if hits := sum(1 for _ in pattern.finditer(text)):
            counted[_KINDS[kind]] += hits
    return counted


def _kind(text: str, number: re.Match[str]) -> str | None:
    start, end = number.span()
    if found := _FORM.match(text, start):
        return found.lastgroup
    found = _CONTEXT.search(text, max(0, start - _REACH), end)
    if found and not (found.lastgroup == "age" and _YOUNG.match(text, end)):
        return found.lastgroup
    return "record" if end - start >= 7 else None


def scan(examples: Iterable[Example], most: int = 20) -> dict[str, dict[str, Any]]:
    """By source: `rows` scanned, `rows with a hint`, and `kinds`: of each its `hits`, `rows`, and `pointers` to at most
    `most` rows (`task/id`). Inputs and answers are scanned; no text is given back.
    """
    found: dict[str, dict[str, Any]] = {}
    for example in examples:
        entry = found.setdefault(example.source, {"rows": 0, "rows with a hint": 0, "kinds": {}})
        entry["rows"] += 1
        counted: Counter[str] = Counter()
        for text in (*example.inputs.values(), example.answer):
            counted.update(hints(text))
        entry["rows with a hint"] += bool(counted)
        for kind, hits in counted.items():
            of_kind = entry["kinds"].setdefault(kind, {"hits": 0, "rows": 0, "pointers": []})
            of_kind["hits"] += hits
            of_kind["rows"] += 1
            if len(of_kind["pointers"]) < most:
                of_kind["pointers"].append(f"{example.task}/{example.id}")
    return found
