"""RadQA: questions that physicians asked of radiology reports of MIMIC-III, with the words that answer them.

Files in SQuAD 2.0's form. Each question is asked of the findings and of the impression apart, so that ids of questions
recur; the id of an example holds the document and the paragraph besides. Of several answers the first is taken.

Assumed, as the files are restricted: `document_id` of a paragraph may be missing; a `title` of one to five digits is
the subject of MIMIC-III, and any other title tells no patient; `answer_start` counts characters.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from radlite.data.sources.construct import plain
from radlite.data.sources.files import read_json_items
from radlite.data.sources.source import Source, Tally
from radlite.tasks import Example
from radlite.tasks.answers import squeeze
from radlite.tasks.qa import NOT_STATED, read, render

_FILES = {"train": "train", "dev": "validation", "test": "test"}


class _Asked(NamedTuple):
    """A question and what it is asked of; `question` is None where the file is not in SQuAD 2.0's form."""

    place: str
    """Where in the document, for messages."""
    document: str
    """Name of the text, unique in the file together with the paragraph's number, which it ends in."""
    context: str
    question: Any


def rows(folder: Path, tally: Tally) -> Iterator[Example]:
    """One example a question and paragraph; a question that a paragraph does not answer has `NOT_STATED`."""
    seen: set[str] = set()
    for part, split in _FILES.items():
        path = folder / f"{part}.json"
        for number, document in read_json_items(folder, path.name, "data", "documents with paragraphs", tally):
            tally.rows -= 1  # its questions are the rows
            for asked in _questions(document, f"{part}-{number}"):
                tally.rows += 1
                answer, why = _answer(asked.question, asked.context)
                id = "" if why else f"{asked.document}/{asked.question['id']}"
                if why or id in seen:
                    tally.reject(path, number, f"{asked.place}: {why or 'a repeated id'}")
                    continue
                seen.add(id)
                yield RADQA.example(
                    task="radiology_qa",
                    id=id,
                    inputs={"report": plain(asked.context), "question": squeeze(asked.question["question"])},
                    answer=answer,
                    patient=_patient(document),
                    study=f"radqa:{asked.document.rpartition('.')[0]}",
                    split=split,
                    tags=("unanswerable" if answer == NOT_STATED else "answerable",),
                )


def _questions(document: Any, fallback: str) -> Iterator[_Asked]:
    paragraphs = document.get("paragraphs") if isinstance(document, dict) else None
    if not isinstance(paragraphs, list):
        yield _Asked("the document", "", "", None)
        return
    for index, paragraph in enumerate(paragraphs, start=1):
        if not _is_paragraph(paragraph):
            yield _Asked(f"paragraph {index}", "", "", None)
            continue
        name = str(paragraph.get("document_id") or document.get("title") or fallback).strip()
        for position, question in enumerate(paragraph["qas"], start=1):
            place = f"question {position} of paragraph {index}"
            yield _Asked(place, f"{name}.{index}", paragraph["context"], question)


def _patient(document: Mapping[str, Any]) -> str:
    title = str(document.get("title") or "").strip()
    return f"mimic3:{int(title)}" if re.fullmatch("[0-9]{1,5}", title) else ""


def _is_paragraph(paragraph: Any) -> bool:
    if not isinstance(paragraph, dict) or not isinstance(paragraph.get("qas"), list):
        return False
    return isinstance(paragraph.get("context"), str) and bool(paragraph["context"].strip())


def _answer(question: Any, context: str) -> tuple[str, str]:
    """The answer, or why there is none."""
    if not isinstance(question, dict):
        return "", "not in the form of SQuAD 2.0"
    if blank := [key for key in ("id", "question") if not str(question.get(key) or "").strip()]:
        return "", f"no {blank[0]}"
    if question.get("is_impossible") is True:
        return NOT_STATED, ""
    if question.get("is_impossible") is not False:
        return "", "is_impossible is neither true nor false"
    answers = question.get("answers")
    first = answers[0] if isinstance(answers, list) and answers else None
    if not isinstance(first, dict) or not isinstance(first.get("text"), str) or not first["text"].strip():
        return "", "answerable, but without an answer"
    text, start = first["text"], first.get("answer_start")
    if not isinstance(start, int) or start < 0 or context[start : start + len(text)] != text:
        return "", "the answer is not at its place in the context"
    reply = read(squeeze(text))
    return (render(reply), "") if reply else ("", "the answer is no text")


RADQA = Source(
    name="radqa",
    title="RadQA: physicians' questions on radiology reports (MIMIC-III), answered by words of the report",
    licence="PhysioNet Credentialed Health Data License",
    access="credentialed",
    tier="gold",
    citation=(
        "S. Soni, M. Gudala, A. Pajouhi, K. Roberts: RadQA, a question answering dataset to improve comprehension of "
        "radiology reports. LREC, 2022, 6250-6259. RadQA 1.0.0, PhysioNet, doi 10.13026/ckkp-6y19."
    ),
    tasks=("radiology_qa",),
    how_to=(
        "1. Become a credentialed user of PhysioNet (physionet.org): training in human research and an application.\n"
        "2. Sign the data use agreement of physionet.org/content/radqa/1.0.0.\n"
        "3. Download train.json, dev.json and test.json there.\n"
        "4. Put them into one folder and run: radlite data build --source radqa=FOLDER --out corpus"
    ),
    rows=rows,
)
