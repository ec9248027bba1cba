"""The findings of a chest report, drawn at random, and the rules that lead from findings to answers."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from radlite.data.sample.chest_wordings import KINDS, MARK, TIPS
from radlite.data.sample.wording import Writer
from radlite.tasks import abnormality
from radlite.tasks.abnormality import CLASSES
from radlite.tasks.qa import NOT_STATED

State = Literal["present", "absent", "uncertain"]
_STATES: Final[dict[State, abnormality.State]] = {
    "present": "positive",
    "absent": "negative",
    "uncertain": "uncertain",
}
SINGLE: Final = tuple(name for name, kind in KINDS.items() if kind.label)
"""The kinds that are one finding and not a group of them."""
GROUPS: Final = {
    # Not opacity, whose absence is said as "the lungs are clear" and would settle more than itself.
    group: tuple(name for name in SINGLE if KINDS[name].region == KINDS[group].region and name != "opacity")
    for group, kind in KINDS.items() if not kind.label
}  # fmt: skip


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


def states(findings: Iterable[Finding]) -> dict[str, abnormality.State]:
    """The fourteen CheXpert states: a class is what the report says of it by name.

    As in the CheXpert labeler a positive mention outweighs an uncertain one, and that a negative one. A resolved
    finding is negative. No Finding is positive if no class but Support Devices is positive or uncertain, else
    not mentioned.
    """
    found: dict[str, abnormality.State] = dict.fromkeys(CLASSES, "not mentioned")
    rank = {"not mentioned": 0, "negative": 1, "uncertain": 2, "positive": 3}
    for finding in findings:
        label = KINDS[finding.kind].label
        state = _STATES[finding.state]
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
    return capital(f"{prefix}{grade_of(finding)}{_name(finding)}{ends.get(finding.change, '')}.")


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
    members = GROUPS.get(claim.kind, ())
    verdicts = [
        _verdict(fact, claim)
        for fact in premise
        if fact.kind == claim.kind or (fact.kind in members and fact.state != "absent")
    ]
    return next((label for label in ("entailment", "contradiction") if label in verdicts), "neutral")


def _verdict(fact: Finding, claim: Finding) -> str:
    if fact.state == "uncertain":
        return "neutral"
    if fact.state != claim.state:
        return "contradiction"
    return _settle(fact, claim) if claim.state == "present" else "entailment"


def _settle(fact: Finding, claim: Finding) -> str:
    pairs = [(getattr(fact, name), getattr(claim, name)) for name in ("grade", "size", "change", "place")]
    if fact.place == "bilateral" and claim.place in ("left", "right"):
        pairs[-1] = (claim.place, claim.place)
    pairs = [(said, claimed) for said, claimed in pairs if claimed]
    if any(said and said != claimed for said, claimed in pairs):
        return "contradiction"
    return "entailment" if all(said for said, _ in pairs) else "neutral"


def spell(millimetres: int) -> str:
    """`8 mm`, and from 30 mm on `3.4 cm`."""
    return f"{millimetres} mm" if millimetres < 30 else f"{millimetres / 10:g} cm"


def grade_of(finding: Finding, mark: str = "") -> str:
    """Its size, marked with `mark` if given, or else its grade; with a blank after it if there is one."""
    if finding.size:
        return f"[{spell(finding.size)}|{mark}] " if mark else f"{spell(finding.size)} "
    return f"{finding.grade} " if finding.grade else ""


def capital(text: str) -> str:
    """The text with its first letter in upper case, be it marked or not."""
    start = 1 if text.startswith("[") else 0
    return text[:start] + text[start].upper() + text[start + 1 :]


def drawn(writer: Writer, name: str, state: State, compared: bool = False) -> Finding:
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
        former = former_size(writer, size, change)
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


def former_size(writer: Writer, size: int, change: str) -> int:
    """A prior size in millimetres that agrees with how a lesion of this size changed."""
    step = max(1, round(size * writer.random.uniform(0.25, 0.5)))
    return size + {"Worsened": -step, "Improved": step, "No Change": 0}[change]


def _device(writer: Writer, state: State) -> Finding:
    term = writer.one(KINDS["device"].terms)
    place = writer.one(TIPS[term]) if writer.chance(0.7) else ""
    return Finding("device", state, term, place if state == "present" else "")


def draw_all(
    writer: Writer, compared: bool, most: int = 4, denied: int = 6, without: Sequence[str] = ()
) -> list[Finding]:
    """Findings of one report, at most one of a kind, in no order. A third of the reports has no disease."""
    kinds = [name for name in SINGLE if name not in without]
    writer.random.shuffle(kinds)
    live = 0 if writer.chance(0.3) else 1 + int(writer.random.random() ** 1.5 * most)
    doubtful = int(writer.random.random() * 2.5) if live and most > 2 else 0
    findings = [drawn(writer, name, "present", compared) for name in kinds[:live]]
    findings += [drawn(writer, name, "uncertain") for name in kinds[live : live + doubtful] if name != "device"]
    if not live and "device" not in without and writer.chance(0.3):
        findings.append(_device(writer, "present"))
    used = {finding.kind for finding in findings}
    if used & {name for name in SINGLE if KINDS[name].region == "lung"}:
        used.add("opacity")  # lungs with another finding are not called clear
    denials = [drawn(writer, name, "absent", compared) for name in kinds if name not in used]
    return findings + denials[: writer.random.randint(2, denied)]


def draw_claim(writer: Writer) -> Finding:
    """What a hypothesis claims: that something is absent (three in ten) or present, more or less exactly."""
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


def draw_fact(writer: Writer, claim: Finding) -> Finding | None:
    """Something that bears on the claim: what it says, more, less, or other; None in one case of six."""
    if writer.chance(1 / 6):
        return None
    kinds = [claim.kind, *GROUPS.get(claim.kind, ())]
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


def answer_of(asked: Finding, kind: str, stated: bool) -> str:
    """The answer to a question of this kind about `asked`; `qa.NOT_STATED` where the report has none."""
    if not stated:
        return NOT_STATED
    if kind == "presence":
        return "Yes" if asked.state == "present" else "No"
    return {
        "size": spell(asked.size),
        "former size": spell(asked.former),
        "location": asked.place,
        "side": asked.place,
        "severity": asked.grade,
        "tip": MARK.sub(r"\1", asked.place),
        "change": asked.change,
    }[kind]


def draw_asked(writer: Writer, kind: str, stated: bool) -> Finding:
    """The finding a question is about, with the fact that is asked for or, if not `stated`, without it."""
    draw = writer.random.randint
    if kind == "tip":
        term = writer.one(tuple(TIPS))
        return Finding("device", "present", term, writer.one(TIPS[term]) if stated else "")
    if kind == "presence":
        name = writer.one([name for name in SINGLE if name not in ("device", "opacity")])
        return drawn(writer, name, "present" if writer.chance(0.5) else "absent")
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
        former = former_size(writer, size, change)
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
