"""Questions on the same kind of reports as the nine tasks, in other words and with other answers.

A real base model has met most of what a radiology task asks for in some form. So has a tiny base: it learns here what
the reports mean. What it does not meet are the tasks themselves: their tags, instructions, labels and answer forms.

Every fact that a report was made from is asked for: a report answers ten to twenty questions here and one in a task.
That is what makes a few million tokens enough.
"""

import random
from collections.abc import Iterable, Sequence

from radlite.data.sample import chest, rads, staging
from radlite.data.sample.chest_findings import Finding, conclude, draw_all, draw_claim, infer, spell
from radlite.data.sample.chest_wordings import KINDS
from radlite.data.sample.rads_case import written
from radlite.data.sample.wording import Writer
from radlite.tasks.nli import LABELS as RELATIONS

Exercise = tuple[str, str, str]
"""Kind, question, answer."""

_ORGANS = {
    "BI-RADS": "breast", "TI-RADS": "thyroid", "LI-RADS": "liver", "PI-RADS": "prostate", "VI-RADS": "bladder",
    "O-RADS": "ovary", "CAD-RADS": "heart vessels", "Lung-RADS": "lung screening", "NI-RADS": "treated neck",
    "GB-RADS": "gallbladder", "none": "something else",
}  # fmt: skip
_CHANGES = {
    "New Finding": "came up", "Worsened": "grew", "Improved": "shrank", "Resolved": "went away", "No Change": "stayed",
}  # fmt: skip
_STATES = {"present": "seen", "absent": "ruled out", "uncertain": "perhaps"}
_VERDICTS = {"entailment": "so it is", "contradiction": "wrong", "neutral": "one cannot know"}
_REACH = {"N0": "nowhere", "N1": "near the tumor", "N2": "the middle of the chest", "N3": "the other side or the neck"}
_KINDS = {
    "Anatomy": "Which body parts are named?", "Observation (Present)": "What is there?",
    "Observation (Absent)": "What is not there?", "Observation (Uncertain)": "What is doubtful?",
}  # fmt: skip
_UNSAID = "nothing said"


def _about(finding: Finding) -> Iterable[Exercise]:
    name = finding.term if finding.kind == "device" else KINDS[finding.kind].name
    yield "state", f"What of {name}?", _STATES[finding.state]
    if finding.state == "absent" and not finding.change:
        return
    for kind, question, answer in (
        ("place", f"Place of {name}?", finding.place.replace("[", "").replace("|a]", "")),
        ("extent", f"Extent of {name}?", spell(finding.size) if finding.size else finding.grade),
        ("extent", f"Earlier extent of {name}?", spell(finding.former) if finding.former else ""),
        ("change", f"What became of {name}?", _CHANGES.get(finding.change, "")),
    ):
        yield kind, question, answer or _UNSAID


def _order(finding: Finding, sentences: Sequence[str]) -> int:
    return next(n for n, text in enumerate(sentences) if chest.speaks(text, finding))


def _chest(rng: random.Random, writer: Writer) -> tuple[str, list[Exercise]]:
    """A chest report and all kinds of questions on what its findings are."""
    ct, compared = writer.chance(0.4), writer.chance(0.5)
    findings = draw_all(writer, compared)
    sentences = chest.tell_all(writer, findings)
    marked = chest.marked_report(writer, sentences, ct, compared)
    asked = [exercise for finding in findings for exercise in _about(finding)]
    silent = [kind.name for name, kind in KINDS.items() if kind.label and name not in {f.kind for f in findings}]
    asked += [("state", f"What of {name}?", _UNSAID) for name in rng.sample(silent, min(3, len(silent)))]
    asked = rng.sample(asked, min(len(asked), 9))
    changed = sorted((f for f in findings if f.change), key=lambda finding: _order(finding, sentences))
    cues = {f.kind: chest.change_of(sentences[_order(f, sentences)], "")["cue"] for f in changed}
    asked += [("cue", f"Which word tells what became of {KINDS[f.kind].name}?", cues[f.kind]) for f in changed]
    compares = ", ".join(f"{f.term.split()[-1]} {_CHANGES[f.change]}" for f in changed)
    asked.append(("compared", "Name all that is compared with before.", compares or "nothing"))
    if writer.brief:  # else filling sentences, which carry no marks, would have entities too
        named = chest.entities(marked)
        asked += [("names", question, ", ".join(named.get(label, [])) or "nothing")
                  for label, question in _KINDS.items()]  # fmt: skip
    asked += [_claim(writer, findings) for _ in range(3)]
    first, *rest = conclude(findings, ct)
    asked.append(("sum", "What matters most?", first.rstrip(".")))
    asked.append(("sum", "And besides?", ", ".join(text.rstrip(".") for text in rest) or "no more"))
    return chest.plain(marked), asked


def _claim(writer: Writer, findings: Sequence[Finding]) -> Exercise:
    """A claim on the findings, as often true as false as open where they allow it."""
    wanted = writer.one(RELATIONS)
    for _ in range(100):
        claim = draw_claim(writer)
        if infer(findings, claim) == wanted:
            break
    return "claim", f"Is this right? {chest.plain(chest.tell(writer, claim))}", _VERDICTS[infer(findings, claim)]


def _premise(rng: random.Random, writer: Writer) -> tuple[str, list[Exercise]]:
    """A few sentences without a report around them, and claims on them."""
    if rng.random() < 0.5:
        item = chest.MAKERS["radiology_nli"](writer)
        asked = [("claim", f"Is this right? {item.inputs['hypothesis']}", _VERDICTS[str(item.answer)])]
        return item.inputs["premise"], asked
    findings = draw_all(writer, compared=rng.random() < 0.5, most=3, denied=2)
    text = chest.plain(" ".join(chest.tell(writer, finding) for finding in findings))
    return text, [_claim(writer, findings) for _ in range(6)]


def _staging(rng: random.Random, writer: Writer) -> tuple[str, list[Exercise]]:
    """A staging CT: where the tumor is, which node counts, what has spread."""
    seen = staging.cancer(writer)
    asked = [("place", "Side of the tumor?", seen.side), ("place", "Lobe of the tumor?", seen.lobe)]
    for node in seen.nodes:
        place = f"{node.side} {node.station}".strip()
        asked.append(("node", f"Width of the {place} node?", f"{node.short_axis}"))
        sick = node.short_axis >= staging.ENLARGED and not node.benign
        asked.append(("node", f"Is the {place} node sick?", "yes" if sick else "no"))
        asked.append(("node", f"Where is the {place} node?", _whereabouts(seen.side, node)))
        asked.append(("node", f"How far does the {place} node take it?", _REACH[staging.level_of(seen.side, node)]))
    spread = {finding.kind for finding in seen.distant if staging.is_metastasis(finding)}
    for organ, kinds in staging.ORGANS.items():
        asked.append(("spread", f"Spread: {organ}?", "yes" if spread & set(kinds) else "no"))
    asked.append(("nodes", "How far have the nodes been reached?", _REACH[staging.n_stage(seen.side, seen.nodes)]))
    distant = staging.m_stage(seen.distant) == "M1"
    asked.append(("distant", "Has it spread to other organs?", "it has" if distant else "it has not"))
    return staging.describe(writer, seen), asked


def _whereabouts(side: str, node: staging.Node) -> str:
    if node.station in staging.ELSEWHERE:
        return "elsewhere"
    if node.station in staging.NECK:
        return "neck"
    place = "close by" if node.station in staging.NEAR else "middle"
    return place if node.side in ("", side) else f"{place}, other side"


def _rads(rng: random.Random, writer: Writer) -> tuple[str, list[Exercise]]:
    """A study of one of ten organs: which it is, and how bad."""
    system, case = rads.case(writer)
    asked = [("organ", "What was looked at?", _ORGANS[system])]
    if system != "none":
        level = case.category.split(",")[0].rsplit(" ", 1)[-1].rsplit("-", 1)[-1]
        asked.append(("grade", "How bad is it, on the scale for this organ?", f"grade {level.lower()}"))
    if rng.random() < 0.2:
        asked.append(("copy", "Copy what decides it.", " ".join(case.findings)))
    return written(writer, case), asked


_MAKERS = {_chest: 0.3, _premise: 0.2, _staging: 0.2, _rads: 0.3}


def related(rng: random.Random, writer: Writer) -> tuple[str, list[list[Exercise]]]:
    """A report and turns of two to eight questions on it."""
    make = rng.choices(list(_MAKERS), list(_MAKERS.values()))[0]
    text, asked = make(rng, writer)
    rng.shuffle(asked)
    turns = []
    while asked:
        count = rng.randint(2, 8)
        turns.append(asked[:count])
        asked = asked[count:]
    return text, turns
