"""Files in the shape of RadNLI 1.0.0 and MedNLI 1.0.0 (PhysioNet), with sentences of the synthesiser."""

import json
import random
import uuid
from collections.abc import Iterable, Mapping
from pathlib import Path

from radlite.data import sample
from radlite.tasks import Example

PAIRS_OF_A_PREMISE = 3


def write(folder: Path, count: int = 20, seed: int = 0) -> None:
    """The two files of RadNLI and the three of MedNLI, each with `count` pairs."""
    chance = random.Random(seed)
    pairs = iter(list(sample.examples("radiology_nli", "train", 5 * count, seed)))
    for part in ("dev", "test"):
        rows = [radnli(f"{part}{number}", next(pairs)) for number in range(count)]
        lines(folder / f"radnli_{part}_v1.jsonl", rows)
    for part in ("train", "dev", "test"):
        texts = [next(pairs) for _ in range(count)]
        rows = [
            mednli(chance, texts[number - number % PAIRS_OF_A_PREMISE].inputs["premise"], text)
            for number, text in enumerate(texts)
        ]
        lines(folder / f"mli_{part}_v1.jsonl", rows)


def radnli(pair: str, text: Example) -> dict[str, str]:
    """A row of RadNLI: its id is spelled pair_id."""
    return {
        "pair_id": pair,
        "gold_label": text.answer,
        "sentence1": text.inputs["premise"],
        "sentence2": text.inputs["hypothesis"],
    }


def mednli(chance: random.Random, premise: str, text: Example) -> dict[str, str]:
    """A row of MedNLI: its id is spelled pairID, and it carries two parses of each sentence."""
    premise = f"Seen at [**Hospital 12**] on [**2101-3-5**]: {premise}"
    hypothesis = text.inputs["hypothesis"]
    return {
        "gold_label": text.answer,
        "sentence1": premise,
        "sentence1_binary_parse": f"( {premise} )",
        "sentence1_parse": f"(ROOT (S {premise}))",
        "sentence2": hypothesis,
        "sentence2_binary_parse": f"( {hypothesis} )",
        "sentence2_parse": f"(ROOT (S {hypothesis}))",
        "pairID": str(uuid.UUID(int=chance.getrandbits(128))),
    }


def lines(path: Path, rows: Iterable[Mapping[str, object]]) -> None:
    """One JSON mapping a line."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
