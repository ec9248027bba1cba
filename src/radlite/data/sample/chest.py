"""Chest radiographs and chest CT: findings are drawn, answers follow by rule, then the findings are put into words.

Six tasks, and reports for pretraining. A class, an entity or an impression follows from what the findings section says;
the history may name other findings, which never count.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from radlite.data.sample.chest_wordings import (
    ABSENT,
    ASKED,
    BOTH,
    CHANGED,
    COMPARED,
    EXAM_CT,
    EXAM_FILM,
    FORMER_SIZE,
    HISTORY,
    KINDS,
    LOBAR,
    LOBES,
    MARK,
    NORMAL,
    NORMAL_CT,
    NOUN,
    OWN_WORDS,
    PAST,
    PRESENT,
    QUESTIONS,
    REMARKS,
    RIB,
    SIDED,
    SYMPTOMS,
    TECHNIQUE_CT,
    TECHNIQUE_FILM,
    TIP,
    TIPS,
    UNCERTAIN,
)
from radlite.data.sample.item import Item, Maker
from radlite.data.sample.layout import Study, compose, patient
from radlite.data.sample.wording import Writer
from radlite.tasks.abnormality import CLASSES
from radlite.tasks.ner import LABELS as ENTITY_LABELS
from radlite.tasks.nli import LABELS as RELATIONS
from radlite.tasks.qa import NOT_STATED

State = Literal["present", "absent", "uncertain"]
_MARKS: Final = {"present": "+", "absent": "-", "uncertain": "?"}
_SINGLE = tuple(name for name, kind in KINDS.items() if kind.label)
_REGIONS = ("lung", "pleura", "heart", "bone", "device")
_GROUPS: Final = {
    group: tuple(name for name in _SINGLE if KINDS[name].region == KINDS[group].region)
    for group, kind in KINDS.items() if not kind.label
}  # fmt: skip
MOST_CHANGES = 5
MOST_ENTITIES = 14


@dataclass(frozen=True, slots=True)
class Finding:
    """One finding of a report; what is empty or 0 is not said of it."""

    kind: str
    state: State = "present"
    term: str = ""
    """The word the report uses; for a device, which one it is."""
    place: str = ""
    """A side, a lobe or a rib; for a device, where its tip is."""
    grade: str = ""
    size: int = 0
    """Millimetres."""
    former: int = 0
    """Millimetres on the prior study."""
    change: str = ""


# Rules: findings to answers.


def states(findings: Iterable[Finding]) -> dict[str, str]:
    """The fourteen CheXpert states: a class is what the report says of it by name.

    As in the CheXpert labeler a positive mention outweighs an uncertain one, and that a negative one. A resolved
    finding is negative. No Finding is positive if no class but Support Devices is positive or uncertain, else not mentioned.
    """
    found = dict.fromkeys(CLASSES, "not mentioned")
    rank = {"not mentioned": 0, "negative": 1, "uncertain": 2, "positive": 3}
    for finding in findings:
        label = KINDS[finding.kind].label
        state = {"present": "positive", "absent": "negative", "uncertain": "uncertain"}[finding.state]
        found[label] = max(found[label], state, key=rank.__getitem__)
    abnormal = any(rank[state] > 1 for label, state in found.items() if label != "Support Devices")
    return found if abnormal else found | {"No Finding": "positive"}


def conclude(findings: Iterable[Finding], ct: bool) -> list[str]:
    """The sentences of the impression: what is present or possible, the weightiest first, then what has resolved.

    Opens with "No acute cardiopulmonary abnormality." where none of it is acute. Nodules on CT are followed by size as
    the Fleischner Society advises for one solid nodule (2017: < 6 mm, 6-8 mm, > 8 mm), those on a radiograph by CT.
    Devices are left out.
    """
    kinds = list(KINDS)
    ranked = sorted((f for f in findings if f.kind != "device"), key=lambda finding: kinds.index(finding.kind))
    live = [finding for finding in ranked if finding.state != "absent"]
    sentences = [] if any(KINDS[f.kind].acute for f in live) else ["No acute cardiopulmonary abnormality."]
    for finding in live:
        sentences.append(_conclusion(finding))
        sentences += _advice(finding, ct)
    return sentences + [f"Resolved {_name(f)}." for f in ranked if f.change == "Resolved"]


def _conclusion(finding: Finding) -> str:
    ends = {"Worsened": ", increased", "Improved": ", decreased", "No Change": ", unchanged"}
    prefix = "possible " if finding.state == "uncertain" else "new " if finding.change == "New Finding" else ""
    return _capital(f"{prefix}{_grade(finding)}{_name(finding)}{ends.get(finding.change, '')}.")


def _name(finding: Finding) -> str:
    kind, place = KINDS[finding.kind], finding.place
    if finding.kind == "fracture" and place:
        return f"{place} fracture"
    return f"{place} {kind.name}".strip() + ("s" if place == "bilateral" else "")


def _advice(finding: Finding, ct: bool) -> list[str]:
    if finding.kind == "mass":
        return ["Tissue sampling is recommended."]
    if finding.kind != "nodule":
        return []
    if not ct or not finding.size:
        return ["Chest CT is recommended."]
    if finding.size < 6:
        return ["No routine follow-up is needed."]
    if finding.size <= 8:
        return ["Follow-up CT in 6 to 12 months is recommended."]
    return ["PET/CT or tissue sampling is recommended."]


def infer(premise: Iterable[Finding], claim: Finding) -> str:
    """Entailment, contradiction or neutral, for a report that names all it sees of the claimed kind.

    So another side, lobe, size or degree than the claimed one contradicts it; what is possible, not said, or said less
    exactly leaves it open. A claim about a group (`pleural abnormality`) is settled by any present member.
    """
    for fact in premise:
        if fact.kind != claim.kind and (fact.kind not in _GROUPS.get(claim.kind, ()) or fact.state == "absent"):
            continue
        if fact.state == "uncertain":
            return "neutral"
        if fact.state != claim.state:
            return "contradiction"
        return _settle(fact, claim) if claim.state == "present" else "entailment"
    return "neutral"


def _settle(fact: Finding, claim: Finding) -> str:
    pairs = [(getattr(fact, name), getattr(claim, name)) for name in ("grade", "size", "change", "place")]
    if fact.place == "bilateral" and claim.place in ("left", "right"):
        pairs[-1] = (claim.place, claim.place)
    pairs = [(said, claimed) for said, claimed in pairs if claimed]
    if any(said and said != claimed for said, claimed in pairs):
        return "contradiction"
    return "entailment" if all(said for said, _ in pairs) else "neutral"


def entities(marked: str) -> dict[str, list[str]]:
    """The marked entities by label, in the order of the text."""
    labels = dict(zip("a+-?", ENTITY_LABELS, strict=True))
    found: dict[str, list[str]] = {label: [] for label in ENTITY_LABELS}
    for text, mark in MARK.findall(marked):
        if mark in labels:
            found[labels[mark]].append(text)
    return {label: listed for label, listed in found.items() if listed}


def plain(marked: str) -> str:
    """The text without its marks."""
    return MARK.sub(r"\1", marked)


# Facts.


def _finding(writer: Writer, name: str, state: State, compared: bool = False) -> Finding:
    """A finding of this kind with what is usually said of it; `compared`: some say how they changed."""
    kind = KINDS[name]
    if name == "device":
        return _device(writer, state)
    term = writer.one(kind.terms)
    if state == "absent":
        resolved = compared and "Resolved" in kind.changes and writer.chance(0.12)
        place = writer.one(kind.places) if resolved and kind.places else ""
        return Finding(name, state, term, place, change="Resolved" if resolved else "")
    change, size, former = "", 0, 0
    if compared and state == "present" and writer.chance(0.65):
        change = writer.one([change for change in kind.changes if change != "Resolved"])
    if kind.millimetres:
        size = writer.random.randint(*kind.millimetres)
    if change and size and change != "New Finding" and writer.chance(0.5):
        former = _former(writer, size, change)
    return Finding(
        name,
        state,
        term,
        writer.one(kind.places) if kind.places and (kind.region != "pleura" or writer.chance(0.9)) else "",
        writer.one(kind.grades) if kind.grades and writer.chance(0.6) else "",
        size,
        former,
        change,
    )


def _former(writer: Writer, size: int, change: str) -> int:
    step = max(1, round(size * writer.random.uniform(0.25, 0.5)))
    return size + {"Worsened": -step, "Improved": step, "No Change": 0}[change]


def _device(writer: Writer, state: State) -> Finding:
    term = writer.one(KINDS["device"].terms)
    place = writer.one(TIPS[term]) if writer.chance(0.7) else ""
    return Finding("device", state, term, place if state == "present" else "")


def _draw(writer: Writer, compared: bool, most: int = 4, denied: int = 6, without: Sequence[str] = ()) -> list[Finding]:
    """Findings of one report, at most one of a kind, in no order. A third of the reports has no disease."""
    kinds = [name for name in _SINGLE if name not in without]
    writer.random.shuffle(kinds)
    live = 0 if writer.chance(0.3) else 1 + int(writer.random.random() ** 1.5 * most)
    doubtful = int(writer.random.random() * 2.5) if live and most > 2 else 0
    findings = [_finding(writer, name, "present", compared) for name in kinds[:live]]
    findings += [_finding(writer, name, "uncertain") for name in kinds[live : live + doubtful] if name != "device"]
    if not live and "device" not in without and writer.chance(0.3):
        findings.append(_device(writer, "present"))
    used = {finding.kind for finding in findings}
    if used & {name for name in _SINGLE if KINDS[name].region == "lung"}:
        used.add("opacity")  # lungs with another finding are not called clear
    denials = [_finding(writer, name, "absent", compared) for name in kinds if name not in used]
    return findings + denials[: writer.random.randint(2, denied)]


# Words.


def _capital(text: str) -> str:
    start = 1 if text.startswith("[") else 0
    return text[:start] + text[start].upper() + text[start + 1 :]


def _article(noun: str) -> str:
    word = noun.lstrip("[")
    return "an" if word[0] in "aeiou" or word.startswith(("8", "11 ", "18 ")) else "a"


def _spell(millimetres: int) -> str:
    return f"{millimetres} mm" if millimetres < 30 else f"{millimetres / 10:g} cm"


def _grade(finding: Finding) -> str:
    said = _spell(finding.size) if finding.size else finding.grade
    return f"{said} " if said else ""


def _noun(writer: Writer, finding: Finding) -> str:
    """The finding as a noun phrase without article, marked."""
    place = finding.place
    table = NOUN
    if place:
        table = BOTH if place == "bilateral" else LOBAR if place in LOBES else RIB if place[-3:] == "rib" else SIDED
    return writer.say(table, grade=_grade(finding), term=finding.term, mark=_MARKS[finding.state], place=place)


def _tell(writer: Writer, finding: Finding) -> str:
    """One or two marked sentences that say the finding, all of it."""
    if finding.kind == "device" and finding.state == "present":
        table = TIP if finding.place else OWN_WORDS["device", "present"]
        return _capital(writer.say(table, term=finding.term, tip=finding.place, an=_article(finding.term)))
    own = OWN_WORDS.get((finding.kind, finding.state))
    if own and not finding.change and (finding.kind == "device" or writer.chance(0.5)):
        adverb = f"{finding.grade}ly " if finding.grade else ""
        return _capital(writer.say(own, adverb=adverb))
    noun = _noun(writer, finding)
    plural = finding.place == "bilateral"
    article = f"{_article(noun)} " if KINDS[finding.kind].countable and not plural else ""
    if finding.change:
        table = CHANGED[finding.change]
    else:
        table = {"present": PRESENT, "uncertain": UNCERTAIN, "absent": ABSENT}[finding.state]
    sentence = _capital(
        writer.say(
            table,
            bare=noun,
            it=article + noun,
            a="a " if article else "",
            be="are" if plural else "is",
            have="have" if plural else "has",
        )
    )
    if finding.former:
        sentence += " " + _capital(writer.say(FORMER_SIZE, former=_spell(finding.former)))
    return sentence


def _tell_all(writer: Writer, findings: Sequence[Finding]) -> list[str]:
    """Marked sentences in the usual order of regions or another; what is denied may share a sentence."""
    order = list(_REGIONS)
    if writer.chance(0.3):
        writer.random.shuffle(order)
    ordered = sorted(findings, key=lambda finding: order.index(KINDS[finding.kind].region))
    told: list[str] = []
    denied: list[Finding] = []
    for finding in ordered:
        listable = finding.state == "absent" and not finding.change and finding.kind != "device"
        if listable and writer.chance(0.6):
            denied.append(finding)
        else:
            told.append(_tell(writer, finding))
    while denied:
        count = writer.random.randint(2, 3)
        group, denied = denied[:count], denied[count:]
        terms = [f"[{finding.term}|-]" for finding in group]
        listed = ", ".join(terms[:-1]) + f" or {terms[-1]}" if len(terms) > 1 else terms[0]
        sentence = _capital(writer.say(ABSENT, bare=listed))
        told.insert(int(writer.random.random() * (len(told) + 1)), sentence)
    return told


def _date(writer: Writer) -> str:
    draw = writer.random.randint
    return f"{draw(1, 12):02d}/{draw(1, 28):02d}/{draw(2015, 2025)}"


def _history(writer: Writer, distractors: bool = True) -> str:
    symptom, days = writer.one(SYMPTOMS), writer.random.randint(2, 20)
    who = _capital(patient(writer))
    history = [writer.say(HISTORY, who=who, symptom=symptom, first=_capital(symptom), days=days)]
    if distractors and writer.chance(0.5):
        history.append(writer.say(ASKED, what=KINDS[writer.one(_SINGLE[:-1])].name))
    if distractors and writer.chance(0.4):
        what, year = KINDS[writer.one(_SINGLE[:-1])].name, writer.random.randint(2005, 2024)
        history.append(writer.say(PAST, what=what, year=year))
    return " ".join(history)


def _marked_report(
    writer: Writer, sentences: list[str], ct: bool, compared: bool, impression: Sequence[str] = (), lean: bool = False
) -> str:
    """The report with its marks. Filled with normal statements to a drawn length; `lean`: with unmarked remarks."""
    study = Study(
        exam=writer.say(EXAM_CT if ct else EXAM_FILM),
        history=_history(writer, distractors=not lean),
        technique=writer.say(TECHNIQUE_CT if ct else TECHNIQUE_FILM),
        comparison=writer.say(COMPARED, date=_date(writer)) if compared else None,
    )
    lacking = 62 + writer.random.expovariate(1 / (15 if lean else 35))
    lacking -= sum(text.count(" ") + 1 for text in (study.exam, study.history, *sentences))
    normal = () if lean else NORMAL + NORMAL_CT if ct else NORMAL
    filled = list(sentences)
    remarks = writer.random.sample(REMARKS, len(REMARKS))
    for table in [*writer.random.sample(normal, len(normal)), *remarks]:
        if lacking <= 0:
            break
        extra = _capital(writer.say(table, size=writer.random.randint(4, 40)))
        lacking -= extra.count(" ") + 1
        filled.insert(0 if table in remarks else int(writer.random.random() * (len(filled) + 1)), extra)
    return compose(writer, study, filled, impression)


# Makers.


def _abnormality(writer: Writer) -> Item:
    ct, compared = writer.chance(0.3), writer.chance(0.4)
    findings = _draw(writer, compared, denied=9)
    impression = conclude(findings, ct) if writer.chance(0.4) else ()
    marked = _marked_report(writer, _tell_all(writer, findings), ct, compared, impression)
    return Item({"report": plain(marked)}, states(findings), (_modality(ct),))


def _temporal(writer: Writer) -> Item:
    ct, compared = writer.chance(0.3), writer.chance(0.85)
    findings = _draw(writer, compared, most=5)
    changed = [finding for finding in findings if finding.change][:MOST_CHANGES]
    findings = [finding for finding in findings if finding in changed or not finding.change]
    writer.random.shuffle(findings)
    told = [(_tell(writer, finding), finding.change) for finding in findings]
    marked = _marked_report(writer, [text for text, _ in told], ct, compared)
    answer = [_change(text, status) for text, status in told if status]
    return Item({"report": plain(marked)}, answer, (_modality(ct),))


def _change(marked: str, status: str) -> dict[str, str]:
    """Status, cue as written, and the noun of the finding as written."""
    marks = {mark: text for text, mark in reversed(MARK.findall(marked))}
    observation = next(marks[mark] for mark in "+-?" if mark in marks)
    return {"status": status, "cue": marks["c"].lower(), "finding": observation.split()[-1].lower()}


def _entities(writer: Writer) -> Item:
    ct = writer.chance(0.3)
    findings = _draw(writer, compared=False, most=3)[: (MOST_ENTITIES - 2) // 2]  # a finding has two entities at most
    sentences = _tell_all(writer, findings)
    for table in writer.random.sample(NORMAL, writer.random.randint(1, 3)):
        if sum(len(MARK.findall(text)) for text in sentences) <= MOST_ENTITIES - 2:
            sentences.append(_capital(writer.say(table)))
    writer.random.shuffle(sentences)
    marked = _marked_report(writer, sentences, ct, compared=False, lean=True)
    return Item({"report": plain(marked)}, entities(marked), (_modality(ct),))


def _inference(writer: Writer) -> Item:
    """The claim is drawn before the label and whatever the label, so that it alone says nothing of the label."""
    claim = _claim(writer)
    label = writer.one(RELATIONS)
    region = KINDS[claim.kind].region
    others = [name for name in _SINGLE if KINDS[name].region != region]
    while True:
        fact = _fact(writer, claim)
        facts = [_finding(writer, name, "present" if writer.chance(0.5) else "absent")
                 for name in writer.some(others, 0 if fact else 1, 2 if fact else 3)]  # fmt: skip
        if fact:
            facts.insert(int(writer.random.random() * (len(facts) + 1)), fact)
        if infer(facts, claim) == label:
            break
    premise = " ".join(_tell(writer, fact) for fact in facts)
    return Item({"premise": plain(premise), "hypothesis": plain(_tell(writer, claim))}, label, (claim.state,))


def _claim(writer: Writer) -> Finding:
    name = writer.one([name for name in KINDS if name != "device"])
    kind = KINDS[name]
    if writer.chance(0.3):
        return Finding(name, "absent", writer.one(kind.terms))
    lasting = [change for change in kind.changes if change in ("Worsened", "Improved", "No Change")]
    return Finding(
        name,
        "present",
        writer.one(kind.terms),
        writer.one(kind.places) if kind.places and writer.chance(0.5) else "",
        writer.one(kind.grades) if kind.grades and writer.chance(0.4) else "",
        writer.random.randint(*kind.millimetres) if kind.millimetres and writer.chance(0.4) else 0,
        change=writer.one(lasting) if lasting and writer.chance(0.25) else "",
    )


def _fact(writer: Writer, claim: Finding) -> Finding | None:
    """Something that bears on the claim: what it says, more, less, or other; None in one case of six."""
    if writer.chance(1 / 6):
        return None
    kinds = [claim.kind, *_GROUPS.get(claim.kind, ())]
    name = claim.kind if writer.chance(0.3) else writer.one(kinds)
    kind = KINDS[name]
    state: State = "present" if writer.chance(0.6) else "absent" if writer.chance(0.6) else "uncertain"
    term = writer.one(kind.terms)
    if state == "absent":
        return Finding(name, state, term)

    def near(claimed: str, options: Sequence[str]) -> str:
        if claimed and writer.chance(0.6):
            return claimed
        return writer.one(options) if options and writer.chance(0.6) else ""

    size = claim.size if claim.size and writer.chance(0.6) else 0
    if not size and kind.millimetres and writer.chance(0.5):
        size = writer.random.randint(*kind.millimetres)
    lasting = [change for change in kind.changes if change in ("Worsened", "Improved", "No Change")]
    change = near(claim.change, lasting) if state == "present" and (claim.change or writer.chance(0.2)) else ""
    return Finding(name, state, term, near(claim.place, kind.places), near(claim.grade, kind.grades), size, 0, change)


def _impression(writer: Writer) -> Item:
    ct, compared = writer.chance(0.4), writer.chance(0.4)
    findings = _draw(writer, compared)
    marked = _marked_report(writer, _tell_all(writer, findings), ct, compared)
    return Item({"report": plain(marked)}, " ".join(conclude(findings, ct)), (_modality(ct),))


def _question(writer: Writer) -> Item:
    kind = writer.one(tuple(QUESTIONS))
    stated = writer.chance(0.85)
    asked = _asked(writer, kind, stated)
    ct, compared = writer.chance(0.4), bool(asked.change) or writer.chance(0.3)
    # Neither a second lesion nor lungs called clear, so that one answer is right.
    findings = _draw(
        writer, compared, 3, without=(asked.kind, "opacity", *(("mass", "nodule") if "size" in kind else ()))
    )
    if kind != "presence" or stated:
        findings.append(asked)
    sentences = _tell_all(writer, findings)
    marked = _marked_report(writer, sentences, ct, compared)
    word = asked.term if asked.kind == "device" else KINDS[asked.kind].name
    question = writer.say(QUESTIONS[kind], it=word)
    if kind == "presence" and KINDS[asked.kind].countable:
        question = question.replace(f" {word}", f" {_article(word)} {word}")
    answer = answer_of(asked, kind, stated)
    if kind == "change" and stated:
        answer = next(_change(text, "")["cue"] for text in sentences if _speaks(text, asked))
    return Item({"report": plain(marked), "question": question}, answer, (_modality(ct), kind))


def _speaks(sentence: str, finding: Finding) -> bool:
    return "|c]" in sentence and f"[{finding.term}" in sentence


def answer_of(asked: Finding, kind: str, stated: bool) -> str:
    """The answer to a question of this kind about `asked`; `qa.NOT_STATED` where the report has none."""
    if not stated:
        return NOT_STATED
    if kind == "presence":
        return "Yes" if asked.state == "present" else "No"
    return {
        "size": _spell(asked.size),
        "former size": _spell(asked.former),
        "location": asked.place,
        "side": asked.place,
        "severity": asked.grade,
        "tip": plain(asked.place),
        "change": asked.change,
    }[kind]


def _asked(writer: Writer, kind: str, stated: bool) -> Finding:
    """The finding a question is about, with the fact that is asked for or, if not `stated`, without it."""
    draw = writer.random.randint
    if kind == "tip":
        term = writer.one(tuple(TIPS))
        return Finding("device", "present", term, writer.one(TIPS[term]) if stated else "")
    if kind == "presence":
        name = writer.one([name for name in _SINGLE if name not in ("device", "opacity")])
        return _finding(writer, name, "present" if writer.chance(0.5) else "absent")
    names = {
        "size": ("nodule",),
        "former size": ("nodule",),
        "location": ("consolidation", "nodule", "mass", "opacity", "atelectasis", "pneumonia"),
        "side": ("effusion", "pneumothorax", "thickening"),
        "severity": ("edema", "cardiomegaly", "mediastinum"),
        "change": ("effusion", "edema", "consolidation", "nodule", "atelectasis", "cardiomegaly", "thickening"),
    }[kind]
    name = writer.one(names)
    about = KINDS[name]
    change = writer.one(about.changes) if stated and kind == "change" else ""
    size = draw(*about.millimetres) if about.millimetres and (kind != "size" or stated) else 0
    former = 0
    if stated and (kind == "former size" or (kind == "size" and writer.chance(0.4))):
        change = writer.one(("Worsened", "Improved", "No Change"))
        former = _former(writer, size, change)
    resolved = change == "Resolved"
    said = {"location": "place", "side": "place", "severity": "grade"}.get(kind)
    return Finding(
        name,
        "absent" if resolved else "present",
        writer.one(about.terms),
        writer.one(about.places) if about.places and (said != "place" or stated) else "",
        writer.one(about.grades) if about.grades and not resolved and (said != "grade" or stated) else "",
        0 if resolved else size,
        former,
        change,
    )


def _modality(ct: bool) -> str:
    return "ct" if ct else "radiograph"


def report(writer: Writer) -> str:
    """A whole chest report with its impression."""
    ct, compared = writer.chance(0.35), writer.chance(0.4)
    findings = _draw(writer, compared)
    impression = conclude(findings, ct) if writer.chance(0.8) else ()
    return plain(_marked_report(writer, _tell_all(writer, findings), ct, compared, impression))


def sentence(writer: Writer) -> str:
    """One sentence of a chest report."""
    state: State = "present" if writer.chance(0.5) else "absent" if writer.chance(0.6) else "uncertain"
    name = writer.one(_SINGLE[:-1])
    return plain(_tell(writer, _finding(writer, name, state, compared=writer.chance(0.5))))


MAKERS: dict[str, Maker] = {
    "abnormality_detection": _abnormality,
    "temporal_comparison": _temporal,
    "radiology_ner": _entities,
    "radiology_nli": _inference,
    "impression_generation": _impression,
    "radiology_qa": _question,
}
