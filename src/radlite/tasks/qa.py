"""Radiology question answering: a short answer from the report, or that the report does not say."""

from radlite.tasks.answers import free_text, overlap, rouge_l, words
from radlite.tasks.task import Task

NOT_STATED = "Not stated in the report."


def judge(answer: str | None, truth: str) -> dict[str, float]:
    """Word F1 and exact match as in SQuAD 2.0, and ROUGE-L as the paper scores it."""
    if answer is None:
        return {"word_f1": 0.0, "exact_match": 0.0, "rouge_l": 0.0}
    return {
        "word_f1": overlap(words(answer), words(truth))[2],
        "exact_match": float(words(answer) == words(truth)),
        "rouge_l": rouge_l(answer, truth),
    }


QA = Task(
    name="radiology_qa",
    inputs=("report", "question"),
    cue="Answer the question.",
    instruction=f"Answer the question from the report, in a few words; if it does not say, answer '{NOT_STATED}'",
    read=free_text,
    render=str,
    judge=judge,
    metric="word_f1",
    max_tokens=96,
)
