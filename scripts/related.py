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
_WORDINGS = {
    "state": ("What of {it}?", "{it}: there or not?", "What is said about {it}?", "Status of {it}?",
              "Tell me about {it}.", "Which is it for {it}: seen, ruled out, perhaps?"),
    "place": ("Place of {it}?", "Where, for {it}?", "{it} sits where?", "Site of {it}?"),
    "extent": ("Extent of {it}?", "How much {it}?", "{it}, by size or degree?", "Amount of {it}?"),
    "former": ("Earlier extent of {it}?", "How much {it} in the past?", "{it}, by size or degree, before?"),
    "change": ("What became of {it}?", "Course of {it}?", "{it} against the last time?", "And {it} over time?"),
    "cue": ("Which word tells what became of {it}?", "In which words is the course of {it} given?",
            "Quote how {it} went on."),
    "compared": ("Name all that is compared with before.", "What is set against the last time, and how did it go?",
                 "List what has a course, with it."),
    "claim": ("Is this right?", "True, or not?", "Can one say this?", "Does the text bear this out?",
              "Hold this against the text."),
    "verdict": ("Is the last sentence right?", "Judge that sentence by the text.", "Does the text bear that out?",
                "How do the two go together?", "Compare the statements.", "Your verdict?"),
    "main": ("What matters most?", "The chief point?", "Say the most important thing.", "In one sentence?"),
    "besides": ("And besides?", "What else matters?", "Further points?", "The rest of it?"),
    "side": ("Side of the tumor?", "On which side is the cancer?", "The tumor: left or right?", "Cancer side?"),
    "lobe": ("Lobe of the tumor?", "Which lobe has the cancer?", "The tumor sits in which lobe?"),
    "width": ("Width of the {it} node?", "How wide is the {it} node?", "Short axis, {it} node?"),
    "sick": ("Is the {it} node sick?", "{it} node: involved?", "Would you call the {it} node diseased?"),
    "where": ("Where is the {it} node?", "Region of the {it} node?", "Seen from the tumor, where is the {it} node?"),
    "takes": ("How far does the {it} node take it?", "Reach by the {it} node alone?"),
    "spread": ("Spread: {it}?", "Metastasis in {it}?", "{it}: free or not?", "Has it gone to the {it}?"),
    "nodes": ("How far have the nodes been reached?", "Reach of the nodal disease?", "Nodes: how far?",
              "Which nodes are involved, by region?", "Lymph nodes, overall?", "Sum up the nodes."),
    "distant": ("Has it spread to other organs?", "Are there distant metastases?", "Beyond the chest and its nodes?",
                "Any disease far from the tumor?", "Metastases?", "Sum up the other organs."),
    "organ": ("What was looked at?", "Which organ is it about?", "Study of which organ?"),
    "grade": ("How bad is it, on the scale for this organ?", "Grade it.", "Which grade does this deserve?",
              "How suspicious, by the usual scale?", "Put it on the scale."),
    "decides": ("Copy what decides it.", "Quote the finding.", "Which sentences carry the grade?"),
}  # fmt: skip
_REPLY = ("Answer that.", "Reply in a few words.", "Your answer?", "Please answer from the text.")
_CODES = (*"ABCDEFGHXYZ", *"0123456789", "A1", "A2", "A3", "A4", "X0", "X1", "X2", "P1", "P2", "P3", "Q0", "Q1", "one",
          "two", "three", "four", "plus", "minus", "red", "blue", "green", "alpha", "beta", "gamma", "first",
          "second", "third", "open", "shut", "high", "low")  # fmt: skip
_YES_NO = ("yes", "no")
_ALONE_SHARE = 0.25  # share of the questions that are turns of their own
TURN = "\x1e"
"""Stands in a question between what are two turns of the user."""


def _ask(rng: random.Random, kind: str, it: str = "") -> str:
    """The question of this kind, in one of its wordings."""
    text = rng.choice(_WORDINGS[kind]).format(it=it)
    return text[0].upper() + text[1:]


def _about(rng: random.Random, finding: Finding) -> Iterable[Exercise]:
    name = finding.term if finding.kind == "device" else KINDS[finding.kind].name
    yield "state", _ask(rng, "state", name), _STATES[finding.state]
    if finding.state == "absent" and not finding.change:
        return
    for kind, answer in (
        ("place", finding.place.replace("[", "").replace("|a]", "")),
        ("extent", spell(finding.size) if finding.size else finding.grade),
        ("former", spell(finding.former) if finding.former else ""),
        ("change", _CHANGES.get(finding.change, "")),
    ):
        yield kind, _ask(rng, kind, name), answer or _UNSAID


def _order(finding: Finding, sentences: Sequence[str]) -> int:
    return next(n for n, text in enumerate(sentences) if chest.speaks(text, finding))


def _chest(rng: random.Random, writer: Writer) -> tuple[str, list[Exercise]]:
    """A chest report and all kinds of questions on what its findings are."""
    ct, compared = writer.chance(0.4), writer.chance(0.5)
    findings = draw_all(writer, compared)
    sentences = chest.tell_all(writer, findings)
    marked = chest.marked_report(writer, sentences, ct, compared)
    asked = [exercise for finding in findings for exercise in _about(rng, finding)]
    silent = [kind.name for name, kind in KINDS.items() if kind.label and name not in {f.kind for f in findings}]
    asked += [("state", _ask(rng, "state", name), _UNSAID) for name in rng.sample(silent, min(3, len(silent)))]
    asked = rng.sample(asked, min(len(asked), 9))
    changed = sorted((f for f in findings if f.change), key=lambda finding: _order(finding, sentences))
    cues = {f.kind: chest.change_of(sentences[_order(f, sentences)], f.change).cue for f in changed}
    asked += [("cue", _ask(rng, "cue", KINDS[f.kind].name), cues[f.kind]) for f in changed]
    compares = ", ".join(f"{f.term.split()[-1]} {_CHANGES[f.change]}" for f in changed)
    asked.append(("compared", _ask(rng, "compared"), compares or "nothing"))
    if writer.brief:  # else filling sentences, which carry no marks, would have entities too
        named = chest.entities(marked).entities
        asked += [("names", question, ", ".join(one.text for one in named if one.label == label) or "nothing")
                  for label, question in _KINDS.items()]  # fmt: skip
    asked += [_claim(rng, writer, findings) for _ in range(3)]
    first, *rest = conclude(findings, ct)
    asked.append(("sum", _ask(rng, "main"), first.rstrip(".")))
    asked.append(("sum", _ask(rng, "besides"), ", ".join(text.rstrip(".") for text in rest) or "no more"))
    return chest.plain(marked), asked


def _claim(rng: random.Random, writer: Writer, findings: Sequence[Finding]) -> Exercise:
    """A claim on the findings, as often true as false as open where they allow it."""
    wanted = writer.one(RELATIONS)
    for _ in range(100):
        claim = draw_claim(writer)
        if infer(findings, claim) == wanted:
            break
    return _judge(rng, chest.plain(chest.tell(writer, claim)), infer(findings, claim))


def _judge(rng: random.Random, sentence: str, relation: str) -> Exercise:
    """Whether a sentence is right; it stands in the question, or in a turn before it."""
    if rng.random() < 0.6:
        return "claim", f"{_ask(rng, 'claim')} {sentence}", _VERDICTS[relation]
    return "claim", f"{sentence}{TURN}{_ask(rng, 'verdict')}", _VERDICTS[relation]


def _premise(rng: random.Random, writer: Writer) -> tuple[str, list[Exercise]]:
    """A few sentences without a report around them, and claims on them."""
    if rng.random() < 0.5:
        item = chest.MAKERS["radiology_nli"](writer)
        return item.inputs["premise"], [_judge(rng, item.inputs["hypothesis"], item.answer.label)]
    findings = draw_all(writer, compared=rng.random() < 0.5, most=3, denied=2)
    text = chest.plain(" ".join(chest.tell(writer, finding) for finding in findings))
    return text, [_claim(rng, writer, findings) for _ in range(6)]


def _staging(rng: random.Random, writer: Writer) -> tuple[str, list[Exercise]]:
    """A staging CT: where the tumor is, which node counts, what has spread."""
    seen = staging.cancer(writer)
    asked = [("place", _ask(rng, "side"), seen.side), ("place", _ask(rng, "lobe"), seen.lobe)]
    for node in seen.nodes:
        place = f"{node.side} {node.station}".strip()
        sick = node.short_axis >= staging.ENLARGED and not node.benign
        asked.append(("node", _ask(rng, "width", place), f"{node.short_axis}"))
        asked.append(("node", _ask(rng, "sick", place), "yes" if sick else "no"))
        asked.append(("node", _ask(rng, "where", place), _whereabouts(seen.side, node)))
        asked.append(("node", _ask(rng, "takes", place), _REACH[staging.level_of(seen.side, node)]))
    spread = {finding.kind for finding in seen.distant if staging.is_metastasis(finding)}
    for organ, kinds in staging.ORGANS.items():
        asked.append(("spread", _ask(rng, "spread", organ), "yes" if spread & set(kinds) else "no"))
    reach = _REACH[staging.n_stage(seen.side, seen.nodes)]
    distant = "it has" if staging.m_stage(seen.distant) == "M1" else "it has not"
    asked.append(("nodes", _ask(rng, "nodes"), reach))
    asked.append(("distant", _ask(rng, "distant"), distant))
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
    asked = [("organ", _ask(rng, "organ"), _ORGANS[system])]
    if system != "none":
        level = case.category.split(",")[0].rsplit(" ", 1)[-1].rsplit("-", 1)[-1]
        asked.append(("grade", _ask(rng, "grade"), f"grade {level.lower()}"))
    if rng.random() < 0.2:
        asked.append(("copy", _ask(rng, "decides"), " ".join(case.findings)))
    return written(writer, case), asked


_MAKERS = {_chest: 0.3, _premise: 0.2, _staging: 0.2, _rads: 0.3}


_OPTIONS: dict[str, tuple[str, ...]] = {
    "state": (*_STATES.values(), _UNSAID), "change": (*_CHANGES.values(), _UNSAID), "claim": tuple(_VERDICTS.values()),
    "spread": _YES_NO, "nodes": tuple(_REACH.values()), "distant": ("it has", "it has not"),
    "organ": tuple(_ORGANS.values()),
    "grade": tuple(f"grade {level}" for level in ("0", "1", "2", "3", "4", "4a", "4b", "5")),
}  # fmt: skip
"""What may be answered, by kind."""


def _coded(rng: random.Random, exercise: Exercise) -> Exercise:
    """The same question, to be answered in codes that it gives: so that a model learns to follow any."""
    kind, question, answer = exercise
    others = [option for option in _OPTIONS[kind] if option != answer]
    options = [answer, *rng.sample(others, min(len(others), 4))]
    rng.shuffle(options)
    codes = dict(zip(options, rng.sample(_CODES, len(options)), strict=True))
    key = ", ".join(f"{code} for {option}" for option, code in codes.items())
    return f"{kind} coded", f"{question} {rng.choice(('Write', 'Answer', 'Use'))} {key}.", codes[answer]


def _alone(rng: random.Random, exercise: Exercise) -> Exercise:
    """A question that is a turn, or turns, of its own."""
    kind, question, answer = exercise
    if kind in _OPTIONS and rng.random() < 0.4:
        return _coded(rng, exercise)
    if TURN not in question and rng.random() < 0.5:
        return kind, f"{question}{TURN}{rng.choice(_REPLY)}", answer
    return exercise


def related(rng: random.Random, writer: Writer) -> tuple[str, list[list[Exercise]]]:
    """A report and questions on it, in turns of two to eight or alone."""
    make = rng.choices(list(_MAKERS), list(_MAKERS.values()))[0]
    text, asked = make(rng, writer)
    rng.shuffle(asked)
    alone = [exercise for exercise in asked if TURN in exercise[1] or rng.random() < _ALONE_SHARE]
    turns = [[_alone(rng, exercise)] for exercise in alone]
    together = [exercise for exercise in asked if exercise not in alone]
    while together:
        count = rng.randint(2, 8)
        turns.append(together[:count])
        together = together[count:]
    rng.shuffle(turns)
    return text, turns
