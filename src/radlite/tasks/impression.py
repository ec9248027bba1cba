"""Impression generation: the conclusion that follows from the findings. The answer is a text."""

from radlite.tasks.answers import free_text, overlap, rouge_l, words
from radlite.tasks.task import Task


def judge(answer: str | None, truth: str) -> dict[str, float]:
    """ROUGE-L and word F1; both reward wording more than truth, which is why later metrics look at findings."""
    if answer is None:
        return {"rouge_l": 0.0, "word_f1": 0.0}
    return {"rouge_l": rouge_l(answer, truth), "word_f1": overlap(words(answer), words(truth))[2]}


IMPRESSION = Task(
    name="impression_generation",
    inputs=("report",),
    cue="Write the impression.",
    instruction="Write the impression of this report: the conclusions that matter, most important first, and no more.",
    read=free_text,
    render=str,
    judge=judge,
    metric="rouge_l",
    max_tokens=256,
)
