"""Questions on the same kind of reports as the nine tasks, in other words and with other answers.

A real base model has met most of what a radiology task asks for in some form. So has a tiny base: it learns here what
the reports mean. What it does not meet are the tasks themselves: their tags, instructions, labels and answer forms.
"""

import random
from collections.abc import Callable

from radlite.data.sample import MAKERS
from radlite.data.sample.item import Item
from radlite.data.sample.wording import Writer

Questions = list[tuple[str, str]]

_ORGANS = {
    "BI-RADS": "breast", "TI-RADS": "thyroid", "LI-RADS": "liver", "PI-RADS": "prostate", "VI-RADS": "bladder",
    "O-RADS": "ovary", "CAD-RADS": "heart vessels", "Lung-RADS": "lung screening", "NI-RADS": "treated neck",
    "GB-RADS": "gallbladder", "none": "something else",
}  # fmt: skip
_CHANGES = {
    "New Finding": "came up", "Worsened": "grew", "Improved": "shrank", "Resolved": "went away", "No Change": "stayed",
}  # fmt: skip
_STATES = {"positive": "seen", "negative": "ruled out", "uncertain": "perhaps", "not mentioned": "nothing said"}
_REACH = {"N0": "nowhere", "N1": "near the tumor", "N2": "the middle of the chest", "N3": "the other side or the neck"}
_KINDS = {
    "Anatomy": "Which body parts are named?", "Observation (Present)": "What is there?",
    "Observation (Absent)": "What is not there?", "Observation (Uncertain)": "What is doubtful?",
}  # fmt: skip


def _abnormality(rng: random.Random, item: Item) -> Questions:
    said = [name for name, state in item.answer.items() if state != "not mentioned"]
    names = rng.sample(said, min(len(said), 4)) + rng.sample(sorted(item.answer), 2)
    return [(f"What of {name.lower()}?", _STATES[item.answer[name]]) for name in names]


def _temporal(rng: random.Random, item: Item) -> Questions:
    asked = [(f"What became of the {change['finding']}?", _CHANGES[change["status"]]) for change in item.answer]
    listed = [change["finding"] for change in item.answer]
    asked.append(("Name all that is compared with before.", ", ".join(listed) or "nothing"))
    words = [change["cue"] for change in item.answer]
    return [*asked, ("By which words?", ", ".join(words) or "none")]


def _ner(rng: random.Random, item: Item) -> Questions:
    return [(question, ", ".join(item.answer.get(label, [])) or "nothing") for label, question in _KINDS.items()]


def _nli(rng: random.Random, item: Item) -> Questions:
    verdict = {"entailment": "so it is", "contradiction": "wrong", "neutral": "one cannot know"}[item.answer]
    return [(f"Is this right? {item.inputs['hypothesis']}", verdict)]


def _impression(rng: random.Random, item: Item) -> Questions:
    first, *rest = item.answer.split(". ")
    return [("What matters most?", first.rstrip(".")), ("And besides?", ", ".join(rest).rstrip(".") or "no more")]


def _n_stage(rng: random.Random, item: Item) -> Questions:
    return [("How far have the nodes been reached?", _REACH[item.answer])]


def _m_stage(rng: random.Random, item: Item) -> Questions:
    return [("Has it spread to other organs?", "it has" if item.answer == "M1" else "it has not")]


def _rads(rng: random.Random, item: Item) -> Questions:
    system = next(tag for tag in item.tags if tag.startswith("system:")).removeprefix("system:")
    asked = [("What was looked at?", _ORGANS[system])]
    level = item.answer.split(",")[0].rsplit(" ", 1)[-1].rsplit("-", 1)[-1]
    if system != "none":
        asked.append(("Which grade would you give it, of all there are?", f"grade {level.lower()}"))
    return asked


_ASKED: dict[str, Callable[[random.Random, Item], Questions]] = {
    "abnormality_detection": _abnormality, "temporal_comparison": _temporal, "radiology_ner": _ner,
    "radiology_nli": _nli, "impression_generation": _impression, "n_staging": _n_stage, "m_staging": _m_stage,
    "rads_assignment": _rads,
}  # fmt: skip


def related(rng: random.Random, writer: Writer) -> tuple[str, list[tuple[str, str, str]]]:
    """A report and questions on it as (kind, question, answer)."""
    task = rng.choice(["rads_assignment", "n_staging", *_ASKED])  # the two hardest twice
    item = MAKERS[task](writer)
    text = item.inputs.get("report") or item.inputs["premise"]
    asked = _ASKED[task](rng, item)
    rng.shuffle(asked)
    return text, [(f"about {task}", question, answer) for question, answer in asked]
