"""What the words of a page of results mean, for those who do not measure models every day."""

from collections.abc import Iterator, Sequence
from typing import Final

from radlite.evaluation.metrics import FEW, Row
from radlite.evaluation.results import measured
from radlite.rads.severity import MEANING, SEVERITIES

METRICS: Final = {
    "accuracy": "Share of items whose answer is the true one.",
    "parent_accuracy": "Accuracy in which a category counts as right without its subdivision (BI-RADS 4 for 4A).",
    "system_accuracy": "Share of items whose answer names the right RADS system.",
    "sensitivity": "Of the items that call for a system's main action, such as biopsy, the share whose answer does.",
    "specificity": "Of the items that do not call for that action, the share whose answer does not either.",
    "kappa": "Agreement beyond chance where answers have an order; far errors weigh more. 1 is full, 0 is chance.",
    "rank_error": "By how many steps of the scale answers are off on average; 0 is best.",
    "exact_match": "Share of items whose whole answer is the true one.",
    "positive_accuracy": "Share of items in which spread or none (N0, M0) is told rightly.",
    "state_accuracy": "Share of findings whose state, also that of not being mentioned, is right.",
    "answerable_accuracy": "Share of items in which it is rightly told whether the report answers the question.",
    "mention_f1": "F1 of the findings that are mentioned, each with its state; mean over items.",
    "lexicon_finding_f1": "F1 of the findings, with side and denial, that a lexicon finds; mean over items.",
    "finding_f1": "F1 of the findings that have changed, whatever the change; mean over items.",
    "change_f1": "F1 of findings, each with its change; mean over items.",
    "jaccard": "Share of the lines of answer and truth that both have; mean over items.",
    "rouge_l": "F1 of the longest sequence of words that answer and truth have in common; mean over items.",
    "word_f1": "F1 of the words of the answer; mean over items.",
    "strict_f1": "F1 of entities with the right place and the right label; mean over items.",
    "type_f1": "F1 of entities with the right label that overlap a true one; mean over items.",
    "partial_f1": "F1 of entities in which one that overlaps a true one counts half; mean over items.",
    "text_f1": "F1 of entities by words and label, wherever they stand; mean over items.",
    "f1": "Of one label, the harmonic mean of two shares: of those given the right ones, of the true ones those given.",
    "macro_f1": "Mean of the F1 of all labels that occur: rare ones count as much as frequent ones.",
    "micro_f1": "F1 over all labels together: frequent ones count more.",
    "unreadable": "Share of items whose answer is in no form that can be read; they score 0.",
    "abstained": "Share of items whose answer was withheld as too unsure; they score 0.",
    "too_long": "Share of items whose report did not fit the model; they score 0.",
}
"""Metrics, each in a sentence."""

_WORDS: Final = {
    "[low, high]": "95 % interval: in 95 of 100 evaluations like this one it holds what endless items would give.",
    "n": "The number of items. All count, also those without an answer.",
    "(few)": f"Fewer than {FEW} items, which say little.",
    "p": "How likely a difference at least so large is if both are as good, adjusted for the number of tasks "
    "(Holm's method); below 0.05 it is told as a difference.",
    "baseline": "What answers without a language model: the most frequent answer (majority), a linear classifier of "
    "words (TF-IDF), rules.",
}


def lines(rows: Sequence[Row]) -> Iterator[tuple[str, str]]:
    """The words that a page of these rows needs, each with its meaning."""
    yield from _WORDS.items()
    there = {row["metric"].split(" ")[0] for row in rows}
    yield from ((measured(name), words) for name, words in METRICS.items() if name in there)
    seen = {row["metric"] for row in rows if row["value"]}
    for name in SEVERITIES:
        if f"severity {name}" in seen:
            yield name.replace("_", " "), f"RADS answer: {MEANING[name]}."
