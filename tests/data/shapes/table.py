"""Tables of a user's own: one folder with all four formats, all nine tasks and a mapping."""

import csv
import json
from pathlib import Path
from typing import Any

from radlite.data import sample
from radlite.sections import sections
from radlite.tasks import named
from radlite.tasks.abnormality import CLASSES

MAPPING = """\
licence = "internal use"
patients = "clinic"

[[rows]]
file = "rads.csv"
delimiter = ";"
task = "rads_assignment"
report = "Report text"
answer = "Category"
id = "Accession"
patient = "MRN"
study = "Accession"
split = "Set"

[[rows]]
file = "staging.xlsx"
task = "n_staging"
report = "Report"
answer = "N"
patient = "Person"

[[rows]]
file = "staging.xlsx"
task = "m_staging"
report = "Report"
answer = "M"
patient = "Person"

[[rows]]
file = "pairs.jsonl"
task = "radiology_nli"
premise = "first"
hypothesis = "second"
answer = "relation"
labels = { "yes" = "entailment", "no" = "contradiction", "open" = "neutral" }
id = "number"

[[rows]]
file = "entities.jsonl"
task = "radiology_ner"
report = "text"
answer = "entities"
tier = "silver"

[[rows]]
file = "changes.tsv"
task = "temporal_comparison"
report = "text"
answer = "changes"

[[rows]]
file = "questions.parquet"
task = "radiology_qa"
report = "text"
question = "question"
answer = "reply"
patient = "person"

[[rows]]
file = "chest.parquet"
task = "abnormality_detection"
report = "text"
patient = "person"
states = { STATES }

[[rows]]
file = "chest_texts.csv"
task = "impression_generation"
indication = "Reason"
findings = "Findings"
impression = "Impression"
patient = "Person"
"""

_NUMBERS = {"positive": 1.0, "negative": 0.0, "uncertain": -1.0, "not mentioned": None}


def write(folder: Path, count: int = 20, seed: int = 0) -> None:
    """The mapping, and `count` rows for each task; every person has two rows of a table."""
    states = ", ".join(f'"{name}" = "{name}"' for name in CLASSES)
    (folder / "table.toml").write_text(MAPPING.replace("STATES", states))

    def made(task: str) -> list[tuple[int, dict[str, str], str]]:
        rows = sample.examples(task, "train", count, sample.SEED + seed)
        return [(index, dict(row.inputs), row.answer) for index, row in enumerate(rows)]

    sets = ("train", "train", "valid", "valid", "test", "test")
    _csv(
        folder / "rads.csv", ";", ["Accession", "MRN", "Set", "Report text", "Category", "Site"],
        [[f"A{i}", i // 2, sets[i % 6], row["report"], answer, "north"] for i, row, answer in made("rads_assignment")],
    )  # fmt: skip
    _workbook(
        folder / "staging.xlsx", ["Person", "Report", "N", "M"],
        [
            [1000 + i // 2, row["report"], named("n_staging").read(answer).category, other]
            for (i, row, answer), (_, _, other) in zip(made("n_staging"), made("m_staging"), strict=True)
        ],
    )  # fmt: skip
    word = {"entailment": "yes", "contradiction": "no", "neutral": "open"}
    _json_lines(folder / "pairs.jsonl", [
        {"number": i, "first": row["premise"], "second": row["hypothesis"], "relation": word[answer]}
        for i, row, answer in made("radiology_nli")
    ])  # fmt: skip
    _json_lines(
        folder / "entities.jsonl",
        [{"text": row["report"], "entities": answer} for _, row, answer in made("radiology_ner")],
    )
    changes = [[row["report"], answer] for _, row, answer in made("temporal_comparison")]
    _csv(folder / "changes.tsv", "\t", ["text", "changes"], changes)
    _parquet(folder / "questions.parquet", [
        {"person": float(i // 2), "text": row["report"], "question": row["question"], "reply": answer}
        for i, row, answer in made("radiology_qa")
    ])  # fmt: skip
    abnormal = named("abnormality_detection")
    _parquet(folder / "chest.parquet", [
        {"person": i // 2, "text": row["report"]}
        | {name: _NUMBERS[state] for name, state in abnormal.read(answer).states.items()}
        for i, row, answer in made("abnormality_detection")
    ])  # fmt: skip
    _csv(
        folder / "chest_texts.csv", ",", ["Person", "Reason", "Findings", "Impression"],
        [[i // 2, "", _findings(row["report"]), answer] for i, row, answer in made("impression_generation")],
    )  # fmt: skip


def _findings(report: str) -> str:
    return " ".join(report[part.body : part.end].strip() for part in sections(report) if part.name == "findings")


def _csv(path: Path, delimiter: str, header: list[str], rows: list[list[Any]]) -> None:
    with path.open("w", newline="", encoding="utf-8-sig") as file:
        csv.writer(file, delimiter=delimiter).writerows([header, *rows])


def _json_lines(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def _workbook(path: Path, header: list[str], rows: list[list[Any]]) -> None:
    import openpyxl

    book = openpyxl.Workbook()
    for row in [header, *rows]:
        book.active.append(row)
    book.save(path)


def _parquet(path: Path, rows: list[dict[str, Any]]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.Table.from_pylist(rows), path)
