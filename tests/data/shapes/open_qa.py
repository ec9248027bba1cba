"""Files in the shape of MedMCQA: the original JSON lines (cop from 1) and the hub's Parquet (cop from 0)."""

import json
import random
import uuid
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

ASKED = ["gallstones", "acute stroke", "a torn meniscus", "pleural effusion", "renal colic", "an aortic dissection"]
METHODS = ["Ultrasound", "Plain radiograph", "CT with contrast", "MRI", "Scintigraphy", "Barium swallow", "PET-CT"]
OTHERS = ["Anatomy", "Dental", "Gynaecology & Obstetrics", "Medicine"]
SCHEMA = pa.schema(
    [
        *((key, pa.string()) for key in ("id", "question", "opa", "opb", "opc", "opd")),
        ("cop", pa.int64()),
        *((key, pa.string()) for key in ("choice_type", "exp", "subject_name", "topic_name")),
    ]
)


def write(folder: Path, count: int = 20, seed: int = 0) -> None:
    """train.json and dev.json, each with `count` questions on radiology and as many on other subjects."""
    for name, rows in _parts(count, seed, base=1).items():
        lines(folder / f"{name}.json", rows)


def write_parquet(folder: Path, count: int = 20, seed: int = 0) -> None:
    """The same questions as the hub has them, in data/, with the test part whose answers are hidden (cop -1)."""
    (folder / "data").mkdir()
    parts = _parts(count, seed, base=0)
    names = {"train": "train", "dev": "validation"}
    for name, rows in parts.items():
        parquet(folder / "data" / f"{names[name]}-00000-of-00001.parquet", rows)
    parquet(folder / "data" / "test-00000-of-00001.parquet", [row | {"cop": -1} for row in parts["dev"]])


def lines(path: Path, rows: list[dict[str, Any]]) -> None:
    """One JSON mapping a line."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def parquet(path: Path, rows: list[dict[str, Any]]) -> None:
    """Parquet with the hub's columns and types."""
    pq.write_table(pa.Table.from_pylist(rows, SCHEMA), path)


def _parts(count: int, seed: int, base: int) -> dict[str, list[dict[str, Any]]]:
    chance = random.Random(seed)
    return {name: [_row(chance, number, base) for number in range(2 * count)] for name in ("train", "dev")}


def _row(chance: random.Random, number: int, base: int) -> dict[str, Any]:
    """Every other question is on radiology; each index is the right one in turn."""
    options = chance.sample(METHODS, 4)
    radiology = number % 2 == 0
    return {
        "id": str(uuid.UUID(int=chance.getrandbits(128))),
        "question": f"Investigation of choice for  {chance.choice(ASKED)} (case {number}) is:",
        **dict(zip(("opa", "opb", "opc", "opd"), options, strict=True)),
        "cop": base + (number // 2) % 4,
        "choice_type": "single" if number % 3 else "multi",
        "exp": None if number % 5 == 0 else f"Ref: a textbook, p {number}",
        "subject_name": "Radiology" if radiology else OTHERS[number % len(OTHERS)],
        "topic_name": None if number % 4 == 0 else "Miscellaneous",
    }
