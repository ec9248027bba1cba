"""Chest radiographs and chest CT: findings are drawn, answers follow by rule, then the findings are put into words.

Six tasks, and reports for pretraining. A class, an entity or an impression follows from what the findings section says;
the history may name other findings, which never count.
"""

from collections.abc import Sequence
from typing import Final

from radlite.data.sample.chest_findings import (
    SINGLE,
    Finding,
    State,
    answer_of,
    capital,
    conclude,
    draw_all,
    draw_asked,
    draw_claim,
    draw_fact,
    drawn,
    grade_of,
    infer,
    spell,
    states,
)
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
    NORMAL_FILM,
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
    UNCERTAIN,
)
from radlite.data.sample.item import Item, Maker
from radlite.data.sample.layout import BOILERPLATE, Study, compose, length, patient
from radlite.data.sample.wording import Writer
from radlite.tasks.abnormality import Abnormalities
from radlite.tasks.impression import Conclusion, Impression
from radlite.tasks.ner import LABELS as ENTITY_LABELS
from radlite.tasks.ner import Entities, Entity
from radlite.tasks.nli import LABELS as RELATIONS
from radlite.tasks.nli import Relation
from radlite.tasks.qa import Reply
from radlite.tasks.temporal import WORDING, Change, Changes

_MARKS: Final = {"present": "+", "absent": "-", "uncertain": "?"}
_REGIONS: Final = ("lung", "pleura", "heart", "bone", "device")
_MOST_CHANGES: Final = 5
_MOST_ENTITIES: Final = 14


def entities(marked: str) -> Entities:
    """The marked entities, label by label in the order of the text."""
    labels = dict(zip("a+-?mc", ENTITY_LABELS, strict=True))
    found = [Entity(text, labels[mark]) for text, mark in MARK.findall(marked)]
    return Entities(tuple(sorted(found, key=lambda entity: ENTITY_LABELS.index(entity.label))))


def plain(marked: str) -> str:
    """The text without its marks."""
    return MARK.sub(r"\1", marked)


def _article(noun: str) -> str:
    word = noun.lstrip("[")
    return "an" if word[0] in "aeiou" or word.startswith(("8", "11 ", "18 ")) else "a"


def _noun(writer: Writer, finding: Finding) -> str:
    """The finding as a noun phrase without article, marked."""
    place = finding.place
    table = NOUN
    if place:
        table = BOTH if place == "bilateral" else LOBAR if place in LOBES else RIB if place[-3:] == "rib" else SIDED
    return writer.say(table, grade=grade_of(finding, "m"), term=finding.term, mark=_MARKS[finding.state], place=place)


def tell(writer: Writer, finding: Finding) -> str:
    """One or two marked sentences that say the finding, all of it."""
    if finding.kind == "device" and finding.state == "present":
        table = TIP if finding.place else OWN_WORDS["device", "present"]
        return capital(writer.say(table, term=finding.term, tip=finding.place, an=_article(finding.term)))
    own = OWN_WORDS.get((finding.kind, finding.state))
    if own and not finding.change and (finding.kind == "device" or writer.chance(0.5)):
        adverb = f"{finding.grade}ly " if finding.grade else ""
        return capital(writer.say(own, adverb=adverb))
    noun = _noun(writer, finding)
    plural = finding.place == "bilateral"
    article = f"{_article(noun)} " if KINDS[finding.kind].countable and not plural else ""
    if finding.change:
        table = CHANGED[finding.change]
    else:
        table = {"present": PRESENT, "uncertain": UNCERTAIN, "absent": ABSENT}[finding.state]
    sentence = capital(
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
        sentence += " " + capital(writer.say(FORMER_SIZE, former=f"[{spell(finding.former)}|m]"))
    return sentence


def tell_all(writer: Writer, findings: Sequence[Finding]) -> list[str]:
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
            told.append(tell(writer, finding))
    while denied:
        count = writer.random.randint(2, 3)
        group, denied = denied[:count], denied[count:]
        terms = [f"[{finding.term}|-]" for finding in group]
        listed = ", ".join(terms[:-1]) + f" or {terms[-1]}" if len(terms) > 1 else terms[0]
        sentence = capital(writer.say(ABSENT, bare=listed))
        told.insert(int(writer.random.random() * (len(told) + 1)), sentence)
    return told


def _date(writer: Writer) -> str:
    draw = writer.random.randint
    return f"{draw(1, 12):02d}/{draw(1, 28):02d}/{draw(2015, 2025)}"


def _history(writer: Writer, distractors: bool = True) -> str:
    symptom, days = writer.one(SYMPTOMS), writer.random.randint(2, 20)
    who = capital(patient(writer))
    history = [writer.say(HISTORY, who=who, symptom=symptom, first=capital(symptom), days=days)]
    if distractors and writer.chance(0.5):
        history.append(writer.say(ASKED, what=KINDS[writer.one(SINGLE[:-1])].name))
    if distractors and writer.chance(0.4):
        what, year = KINDS[writer.one(SINGLE[:-1])].name, writer.random.randint(2005, 2024)
        history.append(writer.say(PAST, what=what, year=year))
    return " ".join(history)


def marked_report(
    writer: Writer, sentences: list[str], ct: bool, compared: bool, impression: Sequence[str] = (), lean: bool = False
) -> str:
    """The report with its marks. Filled with normal statements to a drawn length; `lean`: with unmarked remarks."""
    study = Study(
        exam=writer.say(EXAM_CT if ct else EXAM_FILM),
        history=_history(writer, distractors=not lean),
        technique=writer.say(TECHNIQUE_CT if ct else TECHNIQUE_FILM),
        comparison=writer.say(COMPARED, date=_date(writer)) if compared else None,
    )
    lacking = length(writer)
    lacking -= sum(text.count(" ") + 1 for text in (study.exam, study.history, *sentences))
    normal = () if lean else NORMAL_CT if ct else NORMAL_FILM
    filled = list(sentences)
    remarks = [*writer.random.sample(REMARKS, len(REMARKS)), *writer.random.sample(BOILERPLATE, len(BOILERPLATE))]
    for table in [*writer.random.sample(normal, len(normal)), *remarks]:
        if lacking <= 0 or writer.brief:
            break
        extra = capital(writer.say(table, size=writer.random.randint(4, 40)))
        lacking -= extra.count(" ") + 1
        filled.insert(0 if table in remarks else int(writer.random.random() * (len(filled) + 1)), extra)
    return compose(writer, study, filled, impression)


def _abnormality(writer: Writer) -> Item:
    ct, compared = writer.chance(0.3), writer.chance(0.4)
    findings = draw_all(writer, compared, denied=9)
    impression = conclude(findings, ct) if writer.chance(0.4) else ()
    marked = marked_report(writer, tell_all(writer, findings), ct, compared, impression)
    return Item({"report": plain(marked)}, Abnormalities(states(findings)), (_modality(ct),))


def _temporal(writer: Writer) -> Item:
    ct, compared = writer.chance(0.3), writer.chance(0.85)
    findings = draw_all(writer, compared, most=5)
    if compared and not any(finding.change for finding in findings):
        findings = draw_all(writer, compared, most=5)
    changed = [finding for finding in findings if finding.change][:_MOST_CHANGES]
    findings = [finding for finding in findings if finding in changed or not finding.change]
    writer.random.shuffle(findings)
    told = [(tell(writer, finding), finding.change) for finding in findings]
    marked = marked_report(writer, [text for text, _ in told], ct, compared)
    answer = Changes(tuple(change_of(text, status) for text, status in told if status))
    return Item({"report": plain(marked)}, answer, (_modality(ct),))


def change_of(marked: str, change: str) -> Change:
    """Status, cue as written, and the noun of the finding as written."""
    marks = {mark: text for text, mark in reversed(MARK.findall(marked))}
    observation = next(marks[mark] for mark in "+-?" if mark in marks)
    status = next(status for status, word in WORDING.items() if word == change)
    return Change(observation.split()[-1].lower(), status, marks["c"].lower())


def _entities(writer: Writer) -> Item:
    ct, compared = writer.chance(0.3), writer.chance(0.4)
    sentences = tell_all(writer, draw_all(writer, compared, most=3))
    while sum(len(MARK.findall(text)) for text in sentences) > _MOST_ENTITIES:
        sentences.pop()
    for table in writer.random.sample(NORMAL, writer.random.randint(1, 3)):
        if sum(len(MARK.findall(text)) for text in sentences) <= _MOST_ENTITIES - 2:
            sentences.append(capital(writer.say(table)))
    writer.random.shuffle(sentences)
    marked = marked_report(writer, sentences, ct, compared, lean=True)
    return Item({"report": plain(marked)}, entities(marked), (_modality(ct),))


def _inference(writer: Writer) -> Item:
    """The claim is drawn before the label and whatever the label, so that it alone says nothing of the label."""
    claim = draw_claim(writer)
    label = writer.one(RELATIONS)
    region = KINDS[claim.kind].region
    others = [name for name in SINGLE if KINDS[name].region != region and name != "opacity"]
    while True:
        fact = draw_fact(writer, claim)
        facts = [drawn(writer, name, "present" if writer.chance(0.5) else "absent")
                 for name in writer.some(others, 0 if fact else 1, 2 if fact else 3)]  # fmt: skip
        if fact:
            facts.insert(int(writer.random.random() * (len(facts) + 1)), fact)
        if infer(facts, claim) == label:
            break
    premise = " ".join(tell(writer, fact) for fact in facts)
    return Item({"premise": plain(premise), "hypothesis": plain(tell(writer, claim))}, Relation(label), (claim.state,))


def _impression(writer: Writer) -> Item:
    ct, compared = writer.chance(0.4), writer.chance(0.4)
    findings = draw_all(writer, compared)
    marked = marked_report(writer, tell_all(writer, findings), ct, compared)
    answer = Impression(tuple(map(Conclusion, conclude(findings, ct))))
    return Item({"report": plain(marked)}, answer, (_modality(ct),))


def _question(writer: Writer) -> Item:
    kind = writer.one(tuple(QUESTIONS))
    stated = writer.chance(0.85)
    asked = draw_asked(writer, kind, stated)
    ct, compared = writer.chance(0.4), bool(asked.change) or writer.chance(0.3)
    # Neither a second lesion nor lungs called clear, so that one answer is right.
    findings = draw_all(
        writer, compared, 3, without=(asked.kind, "opacity", *(("mass", "nodule") if "size" in kind else ()))
    )
    if kind != "presence" or stated:
        findings.append(asked)
    sentences = tell_all(writer, findings)
    marked = marked_report(writer, sentences, ct, compared)
    word = asked.term if asked.kind == "device" else KINDS[asked.kind].name
    question = writer.say(QUESTIONS[kind], it=word)
    if kind == "presence" and KINDS[asked.kind].countable:
        question = question.replace(f" {word}", f" {_article(word)} {word}")
    answer = answer_of(asked, kind, stated)
    if kind == "change" and stated:
        answer = next(change_of(text, asked.change).cue for text in sentences if speaks(text, asked))
    return Item({"report": plain(marked), "question": question}, Reply(answer), (_modality(ct), kind))


def speaks(sentence: str, finding: Finding) -> bool:
    """Whether the marked sentence is the one that says how the finding changed."""
    return "|c]" in sentence and f"[{finding.term}" in sentence.lower()


def _modality(ct: bool) -> str:
    return "ct" if ct else "radiograph"


def report(writer: Writer) -> str:
    """A whole chest report with its impression."""
    ct, compared = writer.chance(0.35), writer.chance(0.4)
    findings = draw_all(writer, compared)
    impression = conclude(findings, ct) if writer.chance(0.8) else ()
    return plain(marked_report(writer, tell_all(writer, findings), ct, compared, impression))


def sentence(writer: Writer) -> str:
    """One sentence of a chest report."""
    state: State = "present" if writer.chance(0.5) else "absent" if writer.chance(0.6) else "uncertain"
    name = writer.one(SINGLE[:-1])
    return plain(tell(writer, drawn(writer, name, state, compared=writer.chance(0.5))))


MAKERS: dict[str, Maker] = {
    "abnormality_detection": _abnormality,
    "temporal_comparison": _temporal,
    "radiology_ner": _entities,
    "radiology_nli": _inference,
    "impression_generation": _impression,
    "radiology_qa": _question,
}
