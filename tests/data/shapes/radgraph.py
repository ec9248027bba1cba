"""The files of RadGraph, RadGraph2 and RadGraph-XL in their official shapes, with sentences of our own.

Sentences of the synthesiser follow them, without entities, so that no two reports are alike.
"""

import functools
import json
import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from radlite.data import sample
from radlite.sections import sentences

HEAD = "FINAL REPORT EXAMINATION : CHEST ( PA AND LAT ) COMPARISON : ___ . FINDINGS :"

# Tokens, then (first, last, label, what it modifies or is located at by its number in this list).
Sentence = tuple[str, list[tuple[int, int, str, list[tuple[str, int]]]]]

STATIC: list[Sentence] = [
    ("The heart is mildly enlarged .",
     [(1, 1, "ANAT-DP", []), (3, 3, "OBS-DP", [("modify", 2)]), (4, 4, "OBS-DP", [("located_at", 0)])]),
    ("There is no pneumothorax .", [(3, 3, "OBS-DA", [])]),
    ("Possible pneumonia ( right lung base ) .",
     [(1, 1, "OBS-U", [("located_at", 1)]), (3, 5, "ANAT-DP", [])]),
    ("Mr. ___ 's spine shows degenerative disease .", [(3, 3, "ANAT-DP", []), (5, 6, "OBS-DP", [("located_at", 0)])]),
]  # fmt: skip
CHANGES: list[Sentence] = [
    ("A left pleural effusion is unchanged .",
     [(1, 2, "ANAT-DP", []), (3, 3, "OBS-DP", [("located_at", 0)]), (5, 5, "CHAN-NC", [("modify", 1)])]),
    ("A New opacity is seen .", [(1, 1, "CHAN-CON-AP", [("modify", 1)]), (2, 2, "OBS-DP", [])]),
    ("Edema has worsened .", [(0, 0, "OBS-DP", [("modify", 1)]), (2, 2, "CHAN-CON-WOR", [])]),
    ("Interval improvement of the atelectasis .", [(1, 1, "CHAN-CON-IMP", [("modify", 1)]), (4, 4, "OBS-DP", [])]),
    ("The consolidation has resolved .", [(1, 1, "OBS-DA", []), (3, 3, "CHAN-CON-RES", [("modify", 0)])]),
    ("A chest tube was placed .", [(1, 2, "OBS-DP", []), (4, 4, "CHAN-DEV-PLACE", [("modify", 0)])]),
]  # fmt: skip
XL = {
    "ANAT-DP": "Anatomy::definitely present",
    "OBS-DP": "Observation::definitely present",
    "OBS-DA": "Observation::definitely absent",
    "OBS-U": "Observation::uncertain",
}
MEASURED: Sentence = (
    "A cyst of 2.3 x 1 cm is 2 cm above the carina .",
    [
        (1, 1, "Observation::definitely present", []),
        (3, 6, "Observation::measurement::definitely present", [("modify", 0)]),
        (8, 10, "Anatomy::measurement::definitely present", [("modify", 3)]),
        (12, 12, "Anatomy::definitely present", []),
    ],
)


def graph(sentences: list[Sentence], head: str = HEAD) -> dict[str, Any]:
    """A report with entities in the official shape: indices of tokens, the last one included, relations inside."""
    tokens, entities = head.split(), {}
    for text, marks in sentences:
        base, first = len(tokens), len(entities) + 1
        tokens += text.split()
        for start, end, label, relations in marks:
            entities[str(len(entities) + 1)] = {
                "tokens": " ".join(tokens[base + start : base + end + 1]),
                "label": label,
                "start_ix": base + start,
                "end_ix": base + end,
                "relations": [[kind, str(first + other)] for kind, other in relations],
            }
    return {"text": " ".join(tokens), "entities": entities}


@functools.cache
def _sentences() -> list[str]:
    """Sentences of the synthesiser; those with a semicolon or a heading would be something else as tokens."""
    texts = [row.inputs["report"] for row in sample.examples("radiology_ner", "train", 25)]
    said = (text[one.start : one.end] for text in texts for one in sentences(text))
    return sorted({one for one in said if not re.search(r"[;:]", one)})


def filler(rng: random.Random) -> Iterator[list[str]]:
    """Some sentences for each report."""
    while True:
        yield rng.sample(_sentences(), 8)


def filled(rng: random.Random, pool: list[Sentence], more: Iterator[list[str]]) -> list[Sentence]:
    """Some sentences with entities, then some without."""
    words = [re.findall(r"\w+(?:[-/.']\w+)*|[^\w\s]", one) for one in next(more)]
    return [*_some(rng, pool), *((" ".join(one), []) for one in words)]


def mimic(patient: int, study: int) -> str:
    """A key of MIMIC-CXR."""
    return f"p{patient // 1_000_000}/p{patient}/s{study}.txt"


def save(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))


def write(folder: Path, count: int = 20, seed: int = 0) -> None:
    """RadGraph 1.0.0: gold and silver; some silver reports are gold ones or of patients in dev or test."""
    rng = random.Random(seed)
    more = filler(rng)
    parts = _parts(count)
    for name, keys in parts.items():
        graphs = {key: _dressed(graph(filled(rng, STATIC, more)), key, name) for key in keys}
        if name == "test":
            graphs = {key: _twice(value) for key, value in graphs.items()}
        save(folder / f"{name}.json", graphs)
    silver = {mimic(10_900_000 + n // 2, 59_000_000 + n): graph(filled(rng, STATIC, more)) for n in range(count)}
    again = {mimic(10_200_000, 58_000_000): graph(filled(rng, STATIC, more)) for _ in range(1)}
    old = {key: graph(filled(rng, STATIC, more)) for keys in parts.values() for key in keys if "/" in key}
    save(folder / "MIMIC-CXR_graphs.json", {**silver, **again, **old})
    save(folder / "CheXpert_graphs.json", {f"patient{n:05}_study1": graph(filled(rng, STATIC, more)) for n in range(3)})


def write_second(folder: Path, count: int = 20, seed: int = 0) -> None:
    """RadGraph2: the same shape with changes, under names of our own, besides a model's settings."""
    rng = random.Random(seed)
    more = filler(rng)
    for name, keys in _parts(count).items():
        graphs = {key: _dressed(graph(_some(rng, STATIC) + filled(rng, CHANGES, more)), key, name) for key in keys}
        graphs[next(iter(graphs))] = graph(STATIC)
        save(folder / f"radgraph2_{name}.json", graphs)
    silver = {
        mimic(10_900_000 + n // 2, 59_000_000 + n): graph(filled(rng, STATIC + CHANGES, more)) for n in range(count)
    }
    save(folder / "inference.json", silver | {mimic(10_999_999, 58_888_888): graph(STATIC)})
    save(folder / "model" / "config.json", {"hidden_size": 768, "labels": ["CHAN-NC"]})


def write_xl(folder: Path, count: int = 20, seed: int = 0) -> None:
    """RadGraph-XL: a mapping for train, DyGIE's JSON lines for dev and test."""
    rng = random.Random(seed)
    more = filler(rng)
    parts = _parts(count)
    save(
        folder / "train.json", {key: graph([MEASURED, *map(_xl, filled(rng, STATIC, more))]) for key in parts["train"]}
    )
    for name in ("dev", "test"):
        lines = [json.dumps(dygie(key, [MEASURED, *map(_xl, filled(rng, STATIC, more))])) for key in parts[name]]
        (folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n")


def dygie(key: str, sentences: list[Sentence]) -> dict[str, Any]:
    """A line of DyGIE's: indices run over the whole document."""
    row: dict[str, Any] = {"doc_key": key, "sentences": [HEAD.split()], "ner": [[]], "relations": [[]]}
    base = len(HEAD.split())
    for text, marks in sentences:
        row["sentences"].append(text.split())
        row["ner"].append([[base + start, base + end, label] for start, end, label, _ in marks])
        row["relations"].append([])
        base += len(text.split())
    return row


def _parts(count: int) -> dict[str, list[str]]:
    """Keys: two studies a patient; the second half of test is CheXpert's, with short keys."""
    return {
        "train": [mimic(10_100_000 + n // 2, 51_000_000 + n) for n in range(count)],
        "dev": [mimic(10_200_000 + n // 2, 52_000_000 + n) for n in range(4)],
        "test": [*(mimic(10_300_000 + n // 2, 53_000_000 + n) for n in range(4)), "8", "17", "patient42142_study5"],
    }


def _some(rng: random.Random, sentences: list[Sentence]) -> list[Sentence]:
    return [sentences[n] for n in sorted(rng.sample(range(len(sentences)), rng.randint(2, len(sentences))))]


def _dressed(value: dict[str, Any], key: str, split: str) -> dict[str, Any]:
    return {**value, "data_source": "MIMIC-CXR" if "/" in key else "CheXpert", "data_split": split}


def _twice(value: dict[str, Any]) -> dict[str, Any]:
    """As in test: each annotator's entities by themselves; the second sees less."""
    facts = {key: value[key] for key in ("data_source", "data_split")}
    return {
        "text": value["text"],
        "labeler_1": {"entities": value["entities"], **facts},
        "labeler_2": {"entities": {}, **facts},
    }


def _xl(sentence: Sentence) -> Sentence:
    text, marks = sentence
    return text, [(start, end, XL[label], relations) for start, end, label, relations in marks]
