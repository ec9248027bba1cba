"""Files in the shape of RadQA 1.0.0 (PhysioNet): SQuAD 2.0, with reports and questions of the synthesiser."""

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from radlite.data import sample
from radlite.tasks import Example
from radlite.tasks.qa import NOT_STATED

REPORTS_OF_A_PATIENT = 2


def write(folder: Path, count: int = 20, seed: int = 0) -> None:
    """The three files; `count` patients over all of them (at least one in each), each with two reports."""
    chance = random.Random(seed)
    texts = iter(sample.examples("radiology_qa", "train", 10 * (count + 3) * REPORTS_OF_A_PATIENT, seed))
    sizes = {"train": max(1, count - 2 * (count // 5)), "dev": max(1, count // 5), "test": max(1, count // 5)}
    total = sum(sizes.values()) * REPORTS_OF_A_PATIENT
    impressions = iter([text.answer for text in sample.examples("impression_generation", "train", total, seed)])
    subjects = iter(chance.sample(range(3, 99999), sum(sizes.values())))
    for part, size in sizes.items():
        data = [patient(next(subjects), texts, impressions, chance) for _ in range(size)]
        (folder / f"{part}.json").write_text(json.dumps({"version": "1.0.0", "data": data}))


def patient(
    subject: int, texts: Iterator[Example], impressions: Iterator[str], chance: random.Random
) -> dict[str, Any]:
    """A patient with reports; each has a paragraph of findings and one of the impression, asked the same question."""
    paragraphs = []
    for _ in range(REPORTS_OF_A_PATIENT):
        document, question = chance.randrange(10**6), f"{chance.getrandbits(48):012x}"
        text = next(text for text in texts if text.answer == NOT_STATED or text.answer in text.inputs["report"])
        context = f"[**Hospital 7**] REPORT.\n{text.inputs['report']}\n"
        paragraphs.append(paragraph(f"{document}_O", context, [ask(question, text, context)]))
        short = f"IMPRESSION:\n{next(impressions)}\nDiscussed with Dr. [**Last Name (STitle) {document}**].\n"
        paragraphs.append(paragraph(f"{document}_I", short, [ask(question, text, short)]))
    return {"title": str(subject), "paragraphs": paragraphs}


def paragraph(document: str, context: str, qas: list[dict[str, Any]]) -> dict[str, Any]:
    return {"document_id": document, "context": context, "qas": qas}


def ask(question: str, text: Example, context: str) -> dict[str, Any]:
    """A question; it is impossible where the context lacks the answer's words."""
    start = -1 if text.answer == NOT_STATED else context.find(text.answer)
    return {
        "id": question,
        "question": text.inputs["question"],
        "is_impossible": start < 0,
        "answers": [] if start < 0 else [{"text": text.answer, "answer_start": start}],
    }
