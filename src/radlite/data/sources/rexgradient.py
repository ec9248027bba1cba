"""ReXGradient-160K: chest radiograph reports of 79 sites, one row a study.

A section may be the text `None`, which is read as empty. The official splits, made by patient, are kept.

Patients with several dated studies in a split give pairs: a study and the one before it. Nobody has labelled what
changed between them. The answers are those of a rule (silver): sentences of the current report that have words of
change and a finding. It prefers to leave a change out over a wrong one, so that an answer may lack some that the report
states. Devices are left out, as in Chest ImaGenome, and so is what is denied or in doubt; what has resolved must be
denied. A pair whose current report states no change is left out, for it does not say that nothing changed.

Assumed, for it was seen only of the JSON files beside them: the tables train_metadata.csv, valid_metadata.csv and
test_metadata.csv have the columns PatientID, StudyInstanceUid, StudyDate (YYYYMMDD, perhaps empty or with `.0`),
Indication, Comparison, Findings and Impression. A table without them is refused by name. Also assumed: the current
report speaks of the study before it in the table, although its radiologist may have compared another one.
"""

import itertools
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Final

from radlite.data.sources import construct
from radlite.data.sources.chest_imagenome import cues
from radlite.data.sources.files import read_csv
from radlite.data.sources.source import Source, Tally
from radlite.sections import Sentence, sentences
from radlite.tasks import Example, named
from radlite.tasks.answers import squeeze
from radlite.tasks.findings import Finding, findings
from radlite.tasks.grammar import spans
from radlite.tasks.temporal import Change, Changes, Status

_FILES = {
    "train": "metadata/train_metadata.csv",
    "validation": "metadata/valid_metadata.csv",
    "test": "metadata/test_metadata.csv",
}
_SECTIONS = ("Indication", "Comparison", "Findings", "Impression")
_IMPRESSION, _TEMPORAL = "impression_generation", "temporal_comparison"


@dataclass(frozen=True, slots=True)
class Report:
    """What a pair needs of a report."""

    findings: str
    impression: str


class Pairs:
    """Pairs of a study and the one before it; reports are held until the pairs that they belong to are complete."""

    def __init__(self, before: Mapping[str, str]) -> None:
        """`before`: studies to the ones before them, each of which comes before one study only."""
        self._before = dict(before)
        self._after = {earlier: study for study, earlier in before.items()}
        self.held: dict[str, Report] = {}
        """Reports by study."""

    def add(self, study: str, report: Report) -> list[tuple[str, Report, Report]]:
        """(study, report before, its report) of the pairs that this report completes."""
        self.held[study] = report
        found = []
        for current in (study, self._after.get(study, "")):
            earlier = self._before.get(current, "")
            if current in self.held and earlier in self.held:
                found.append((current, self.held[earlier], self.held[current]))
                del self._before[current], self._after[earlier]
                self._free(earlier)
                self._free(current)
        self._free(study)
        return found

    def _free(self, study: str) -> None:
        if study not in self._before and study not in self._after:
            self.held.pop(study, None)


def rows(folder: Path, tally: Tally) -> Iterator[Example]:
    """The impression of each study that has one and has findings; after the later row of a pair its changes."""
    seen: set[str] = set()
    for split, name in _FILES.items():
        pairs = Pairs(_before(folder, name, seen, tally))
        for patient, study, row in _studies(folder, name, tally):
            if study in seen:
                tally.dropped["another row of a study"] += 1
                continue
            seen.add(study)
            sections = {column.upper(): _said(row[column]) for column in _SECTIONS}
            for current, before, now in pairs.add(study, Report(sections["FINDINGS"], sections["IMPRESSION"])):
                yield from _comparison(patient, current, before, now, split, tally)
            answer = construct.impression(sections.pop("IMPRESSION"))
            if not answer or not sections["FINDINGS"]:
                tally.dropped[f"{_IMPRESSION}: no {'findings' if answer else 'impression'}"] += 1
                continue
            yield REXGRADIENT.example(
                task=_IMPRESSION,
                id=study,
                inputs={"report": construct.report(sections)},
                answer=answer,
                patient=f"rexgradient:{patient}",
                study=f"rexgradient:{study}",
                split=split,
                tags=("section:findings",),
            )


def _studies(folder: Path, name: str, tally: Tally) -> Iterator[tuple[str, str, dict[str, str]]]:
    """(patient, study, row) of a table."""
    columns = ("PatientID", "StudyInstanceUid", "StudyDate", *_SECTIONS)
    for _, row in read_csv(folder, name, columns, tally, blank=("StudyDate", *_SECTIONS)):
        yield row["PatientID"].strip(), row["StudyInstanceUid"].strip(), row


def _said(text: str) -> str:
    """The text of a section; nothing if it says that there is none."""
    return "" if text.strip().rstrip(".").casefold() in ("none", "nan") else text.strip()


def _before(folder: Path, name: str, seen: set[str], tally: Tally) -> dict[str, str]:
    """Studies of a table, without those `seen` in others, to the study of the patient before them."""
    days: dict[str, list[tuple[str, str]]] = {}
    known: set[str] = set()
    # The table is read again for its texts: only then its rows are counted.
    for patient, study, row in _studies(folder, name, Tally()):
        if study in seen or study in known:
            continue
        known.add(study)
        if day := _day(row["StudyDate"]):
            days.setdefault(patient, []).append((day, study))
        else:
            tally.dropped[f"{_TEMPORAL}: a study without a date"] += 1
    found = {}
    for studies in days.values():
        times = Counter(day for day, _ in studies)
        for (earlier, before), (later, study) in itertools.pairwise(sorted(studies)):
            if times[earlier] == times[later] == 1:
                found[study] = before
            else:
                tally.dropped[f"{_TEMPORAL}: several studies on one day, of unknown order"] += 1
    return found


def _day(text: str) -> str:
    """A date as eight digits; empty if it is none."""
    # A column of whole numbers with gaps is written with a decimal.
    found = re.fullmatch(r"([0-9]{8})(?:\.0)?", text.strip())
    try:
        return date.fromisoformat(found[1]).strftime("%Y%m%d") if found else ""
    except ValueError:
        return ""


def _comparison(patient: str, study: str, before: Report, now: Report, split: str, tally: Tally) -> Iterator[Example]:
    """The changes that the current report states, if it states any."""
    if not any((before.findings, before.impression)) or not any((now.findings, now.impression)):
        tally.dropped[f"{_TEMPORAL}: no report of one of the studies"] += 1
        return
    report = construct.report(
        {
            "PRIOR FINDINGS": before.findings,
            "PRIOR IMPRESSION": before.impression,
            "CURRENT FINDINGS": now.findings,
            "CURRENT IMPRESSION": now.impression,
        }
    )
    changes, task = _changes(now, tally), named(_TEMPORAL)
    answer = task.render(changes)
    if not changes.changes:
        tally.dropped[f"{_TEMPORAL}: no change that the current report states"] += 1
    elif task.read(answer) != changes or task.ground(changes, {"report": report}).warnings:
        tally.dropped[f"{_TEMPORAL}: a change that the plain form cannot carry"] += 1
    else:
        yield REXGRADIENT.example(
            _TEMPORAL, f"{study}/pair", {"report": report}, answer, f"rexgradient:{patient}", f"rexgradient:{study}",
            split, ("rule_labelled",), "silver",
        )  # fmt: skip


# The rule. Findings that are listed together (`effusion, edema and atelectasis`) share what is said of one of them.
# Words of change belong to findings with nothing between that begins something else: a comma, `and`, `with`.

_LONGEST: Final = 4
"""Words of a finding or cue that the task's grammar can write."""
_ENDLESS: Final = 1000
"""Characters: a longer sentence lacks the punctuation that the rule goes by."""
_NOT_FOLLOWED: Final = frozenset(("No Finding", "Support Devices"))


def _words(words: str) -> str:
    return rf"(?<!\w)(?:{words})(?!\w)"


_BREAK: Final = re.compile(
    r"[,;:()]|"
    + _words(
        "and|or|but|with|without|while|whereas|although|though|however|which|except|versus|vs|than|given|because|due"
        "|from|since|after|before|compared|setting|there"
    ),
    re.IGNORECASE,
)
_VERB: Final = r"is|are|was|were|be|been|has|have|had|may|might|could|appears?|seems?|looks?"
_COPULA: Final = re.compile(_words(_VERB), re.IGNORECASE)
_OTHER: Final = re.compile(
    _words(
        rf"{_VERB}|causing|obscuring|represent\w*|reflect\w*|suggest\w*|likely|aeration|volumes?|inspirat\w+|rotation"
        r"|position\w*|technique|exposure|penetration"
    ),
    re.IGNORECASE,
)
"""Words after which a cue before them no longer speaks of the finding that follows."""
_DENIAL: Final = r"no(?!\s+longer)|not|without|neither|nor|never|cannot"
_LIST: Final = re.compile(
    rf"""(?:\s*(?P<comma>,)\s*(?:(?P<also>and|or)\s+)?|\s+(?P<and>and|or|and/or|as\s+well\s+as)\s+)
    (?:(?!(?:{_VERB}|{_DENIAL}|with|there|likely|possibl[ey]|probabl[ey])\b)[\w/-]+\s+){{0,4}}""",
    re.IGNORECASE | re.VERBOSE,
)
_APPOSED: Final = re.compile(
    r"\s*,\s*(?:(?:which|that|has|have|is|are|been|now|also|again|not|overall|\w+ly)\s+){0,4}", re.IGNORECASE
)
"""What may stand between a finding and its cue besides a comma: `effusion, which has slightly increased`."""
_DENIED: Final = re.compile(
    rf"(?:{_words(_DENIAL)}|n't)\s+(?:(?:evidence|signs?|of|any|\w+ly|significant|substantial|definite|interval|major|"
    r"relevant|further|additional|convincing|acute|focal|much|other|overall|new|been|or)\s+){0,5}\Z",
    re.IGNORECASE,
)
_ALTERNATIVE: Final = re.compile(r"\s*(?:to|or|but|versus|vs\.?|/|-)\s*(?:\w+ly\s+|perhaps\s+){0,2}", re.IGNORECASE)
"""`Stable to slightly increased` and `decreased but persistent` are neither."""
_ASIDE: Final = re.compile(
    r"\s+than\s+(?:(?:on|in|at)\s+)?(?:the\s+)?(?:left|right|\d)|\s+(?:on|in|at)\s+the\s+(?:left|right)(?!\w)",
    re.IGNORECASE,
)
"""After a comparative: it compares sides or sizes, not studies."""
_BETTER: Final = re.compile(
    r"\s+(?:seen|visuali[sz]ed|appreciated|evaluated|demonstrated|assessed|characteri[sz]ed|delineated|defined|inspir)",
    re.IGNORECASE,
)
_COMPARATIVE: Final = re.compile(r"greater|larger|smaller|worse|better|(?:more|less)\s+\w+", re.IGNORECASE)
_ADVICE: Final = re.compile(
    _words(r"recommend\w*|advis\w+|follow-?\s?up|ensure|document|confirm|until|should|if|consider"), re.IGNORECASE
)
"""A sentence that tells what to do speaks of changes to come."""


@dataclass(frozen=True, slots=True)
class _Cue:
    """Words of change: `text[start:end]`."""

    start: int
    end: int
    status: Status


def _changes(report: Report, tally: Tally) -> Changes:
    """The changes in the order of the report; what its impression says again is one change."""
    found: list[Change] = []
    told: set[tuple[str, Status]] = set()
    for text in (construct.plain(report.findings), construct.plain(report.impression)):
        for finding, change in _stated(text, tally):
            keys = {(finding, change.status), (change.finding, change.status)}
            if not keys & told:
                found.append(change)
            told |= keys
    return Changes(tuple(found))


def _stated(text: str, tally: Tally) -> Iterator[tuple[str, Change]]:
    """(name of the finding, change) for each change that a sentence states."""
    told = [(one, said) for one in sentences(text) if (said := _cues(text, one, tally))]
    # A haemopneumothorax is two findings in one place.
    mentions = {(one.start, one.end): one for one in reversed(findings(text))} if told else {}
    for sentence, said in told:
        here = [mentions[place] for place in sorted(mentions) if sentence.start <= place[0] < sentence.end]
        # "Increased interstitial markings" and "the heart remains enlarged" are findings, words of change and all.
        apart = [one for one in said if all(one.end <= other.start or other.end <= one.start for other in here)]
        groups = _listed(text, here, apart)
        writable = set(spans(text[sentence.start : sentence.end].lower(), _LONGEST))
        changes: list[tuple[Finding, Change]] = []
        for one in apart:
            if group := _spoken_of(text, one, apart, groups):
                changes += _of_group(text, sentence, one, group, writable, tally)
            else:
                tally.dropped["change left out: of no finding"] += 1
        yield from ((finding.name, change) for finding, change in sorted(changes, key=lambda pair: pair[0].start))


def _cues(text: str, sentence: Sentence, tally: Tally) -> list[_Cue]:
    """The words of change in a sentence that do compare studies."""
    said = text[sentence.start : sentence.end]
    found = [one for one in cues(said) if not _denied(said[: one[0]]) and not _compares_sides(said, *one[:2])]
    if found and len(said) > _ENDLESS:
        tally.dropped["change left out: in a sentence without an end"] += len(found)
        return []
    if found and _ADVICE.search(said):
        tally.dropped["change left out: in advice"] += len(found)
        return []
    doubtful = {
        one
        for pair in itertools.pairwise(found)
        if pair[0][2] != pair[1][2] and _ALTERNATIVE.fullmatch(said, pair[0][1], pair[1][0])
        for one in pair
    }
    if doubtful:
        tally.dropped["change left out: of two kinds"] += len(doubtful)
    return [_Cue(sentence.start + a, sentence.start + b, what) for a, b, what in found if (a, b, what) not in doubtful]


def _denied(before: str) -> bool:
    # Looking at no more keeps the work linear where a sentence is endless.
    return bool(_DENIED.search(before[-200:]))


def _compares_sides(said: str, start: int, end: int) -> bool:
    if not _COMPARATIVE.fullmatch(said, start, end):
        return False
    before = said[max(0, start - 20) : start].lower().split()[-1:]
    better = said[start:end].lower() == "better" and _BETTER.match(said, end)
    return before == ["the"] or bool(better or _ASIDE.match(said, end))


def _listed(text: str, here: list[Finding], said: list[_Cue]) -> list[list[Finding]]:
    """The findings of a sentence, those together that are listed together.

    A list ends in `and` or `or`; a comma alone may as well begin something else.
    """
    links = [_link(text, one.end, other.start, said) for one, other in itertools.pairwise(here)]
    for number in reversed(range(len(links))):
        if links[number] == "," and (number + 1 == len(links) or not links[number + 1]):
            links[number] = ""
    groups: list[list[Finding]] = []
    for one, link in zip(here, ["", *links], strict=False):
        if link:
            groups[-1].append(one)
        else:
            groups.append([one])
    return groups


def _link(text: str, start: int, end: int, said: list[_Cue]) -> str:
    """How the findings that end and begin here are joined: `and`, a comma, or not at all."""
    found = _LIST.fullmatch(text, start, end) if start <= end else None
    if not found or any(start <= one.start < end for one in said):
        return ""
    return "and" if found["and"] or found["also"] else ","


def _spoken_of(text: str, one: _Cue, said: list[_Cue], groups: list[list[Finding]]) -> list[Finding] | None:
    """The findings that words of change speak of."""
    before = next((group for group in reversed(groups) if group[-1].end <= one.start), None)
    after = next((group for group in groups if group[0].start >= one.end), None)
    if before and any(before[-1].end <= other.start < one.start for other in said):
        before = None
    if after and any(one.end <= other.start < after[0].start for other in said):
        after = None
    between = text[before[-1].end : one.start] if before else ""
    whole = before and not _BREAK.search(between)
    if whole and (not between.strip() or _COPULA.search(between)):
        return before  # The effusion has increased.
    following = text[one.end : after[0].start] if after else ""
    if after and len(following.split()) <= 9 and not _BREAK.search(following) and not _OTHER.search(following):
        return after  # Increased left effusion.
    head, comma, _ = between.rpartition(",")
    apposed = comma and not _BREAK.search(head) and _APPOSED.fullmatch(between[len(head) :])
    return before if whole or apposed else None  # Effusion at the base unchanged. Effusion, unchanged.


def _of_group(
    text: str, sentence: Sentence, one: _Cue, group: list[Finding], writable: set[str], tally: Tally
) -> Iterator[tuple[Finding, Change]]:
    words = squeeze(text[one.start : one.end]).lower()
    # What "no effusion" denies has not resolved.
    start = max(
        (found.end() for found in _CLAUSE.finditer(text, sentence.start, group[0].start)), default=sentence.start
    )
    denied = _NEGATION.search(text, start, group[0].start)
    state = "negative" if one.status == "resolved" else "positive"
    for finding in group:
        name = squeeze(text[finding.start : finding.end]).lower()
        if finding.name in _NOT_FOLLOWED:
            tally.dropped["change left out: of a device or of no finding"] += 1
        elif finding.state != state or (denied and state == "negative"):
            tally.dropped["change left out: of a finding denied or in doubt"] += 1
        elif f" {words}" not in writable or f" {name}" not in writable:
            tally.dropped["change left out: in words that the task cannot write"] += 1
        else:
            yield finding, Change(name, one.status, words)


_CLAUSE: Final = re.compile(r"[,;:]|" + _words("but|while|whereas|although|though|however"), re.IGNORECASE)
_NEGATION: Final = re.compile(_words(rf"{_DENIAL}|free|negative|absent|absence"), re.IGNORECASE)


REXGRADIENT = Source(
    name="rexgradient",
    title="ReXGradient-160K: chest radiograph reports, and pairs of studies of a patient",
    licence="ReXGradient-160K agreement of Harvard and Gradient: non-commercial; read locally, do not redistribute",
    access="registration",
    tier="gold",
    citation=(
        "X. Zhang, J. N. Acosta, J. Miller, O. Huang, P. Rajpurkar: ReXGradient-160K: a large-scale publicly available "
        "dataset of chest radiographs with free-text reports. arXiv:2505.00228, 2025."
    ),
    tasks=(_IMPRESSION, _TEMPORAL),
    how_to=(
        "1. Log in to huggingface.co and accept the agreement of the data set rajpurkarlab/ReXGradient-160K.\n"
        "2. Download train_metadata.csv, valid_metadata.csv and test_metadata.csv from its folder metadata; the images "
        "are not needed. Pairs of studies are made of the same tables, by PatientID and StudyDate.\n"
        "3. Put them into one folder and run: radlite data build --source rexgradient=FOLDER --out corpus"
    ),
    rows=rows,
)
