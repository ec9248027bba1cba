"""Radiology question answering: words of the report, knowledge, or that the report does not say."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final, Literal

from radlite.tasks.answers import free_text, overlap, place, quote, rouge_l, squeeze, words
from radlite.tasks.prompts import cue, instruction
from radlite.tasks.task import Evidence, Grounded, Task

NOT_STATED: Final = "Not stated in the report."

Kind = Literal["extractive", "knowledge", "unanswerable"]


@dataclass(frozen=True, slots=True)
class Reply:
    """The answer. Kind and quote come from holding it against the report, not from the model."""

    text: str
    kind: Kind = field(default="knowledge", compare=False)
    """`extractive`: words of the report; `unanswerable`: the report does not say; `knowledge`: anything else."""
    quote: Evidence | None = field(default=None, compare=False)


def read(text: str) -> Reply | None:
    """The answer; None when there is none."""
    prose = free_text(text)
    return Reply(prose, "unanswerable" if _unanswerable(prose) else "knowledge") if prose else None


def render(reply: Reply) -> str:
    """The answer's text."""
    return reply.text


def ground(reply: Reply, inputs: Mapping[str, str]) -> Grounded:
    """Where the answer's words stand in the report, if they do."""
    if reply.kind == "unanswerable":
        return Grounded(reply)
    found = place(reply.text.rstrip("."), inputs["report"])
    if not found:
        return Grounded(reply)
    evidence = quote(inputs["report"], *found)
    return Grounded(replace(reply, kind="extractive", quote=evidence), (evidence,))


def judge(answer: Reply | None, truth: Reply) -> dict[str, float]:
    """Word F1 and exact match as in SQuAD 2.0, whether it is answerable, and ROUGE-L as the paper scores it."""
    said = answer.text if answer else ""
    return {
        "word_f1": overlap(words(said), words(truth.text))[2] if answer else 0.0,
        "exact_match": float(answer is not None and words(said) == words(truth.text)),
        "answerable_accuracy": float(answer is not None and _unanswerable(said) == _unanswerable(truth.text)),
        "rouge_l": rouge_l(said, truth.text),
    }


def _unanswerable(text: str) -> bool:
    return squeeze(text).rstrip(".").casefold() == NOT_STATED.rstrip(".").casefold()


QA = Task(
    name="radiology_qa",
    inputs=("report", "question"),
    cue=cue("radiology_qa"),
    instruction=instruction("radiology_qa"),
    form=Reply,
    read=read,
    render=render,
    judge=judge,
    metric="word_f1",
    max_tokens=96,
    ground=ground,
)
