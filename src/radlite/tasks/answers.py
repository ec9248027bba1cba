"""Parts that tasks share: reading an answer out of plain text, finding it in a report, judging it."""

import functools
import re
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping
from typing import Any

from radlite.tasks.grammar import Grammar, sequence
from radlite.tasks.task import Counts, Evidence


def squeeze(text: str) -> str:
    """White space folded to single blanks, none at the ends."""
    return " ".join(text.split())


def one_of(labels: Iterable[str]) -> Callable[[str], str | None]:
    """A reader for a closed set: the label as it is spelled in `labels`, or None."""
    spelled = {squeeze(label).casefold(): label for label in labels}

    def read(text: str) -> str | None:
        return spelled.get(squeeze(text).rstrip(".").casefold())

    return read


def free_text(text: str) -> str | None:
    """A reader for prose: the text, or None when there is none or it holds a stray control or think mark."""
    text = text.strip()
    return None if not text or re.search(r"</?think>|<\|[a-z_]+\|>", text) else text


def choice(labels: Iterable[str]) -> Callable[[Mapping[str, str]], Grammar]:
    """The grammar that allows exactly `labels`, whatever the inputs."""
    allowed = sequence(tuple(labels))
    return lambda inputs: allowed


def of_labels(alternatives: tuple[Mapping[str, float], ...]) -> dict[str, float]:
    """The probabilities of a reading whose grammar is `choice`: label to probability."""
    return dict(alternatives[0]) if alternatives else {}


def quote(text: str, start: int, end: int) -> Evidence:
    """The stretch of `text` from `start` to `end`."""
    return Evidence(text[start:end], start, end)


def place(words: str, text: str, begin: int = 0) -> tuple[int, int] | None:
    """Where `words` next stand in `text` as whole words, in any case and spacing; None if they do not."""
    found = _pattern(words).search(text, begin)
    return found and found.span()


@functools.lru_cache(maxsize=1024)
def _pattern(words: str) -> re.Pattern[str]:
    spaced = r"\s+".join(map(re.escape, words.split()))
    return re.compile(rf"(?<!\w){spaced}(?!\w)" if spaced else r"(?!)", re.IGNORECASE)


def one_label(answer: str | None, truth: str) -> Counts:
    """Counts of a task with one label an item."""
    counts = {truth: (float(answer == truth), float(answer == truth), 1.0)}
    return counts if answer in (None, truth) else {**counts, str(answer): (0.0, 1.0, 0.0)}


def overlap(found: Iterable[Hashable], true: Iterable[Hashable]) -> tuple[float, float, float]:
    """Precision, recall and F1 of two multisets; two empty ones agree perfectly."""
    found, true = Counter(found), Counter(true)
    if not found and not true:
        return 1.0, 1.0, 1.0
    both = (found & true).total()
    precision = both / found.total() if found else 0.0
    recall = both / true.total() if true else 0.0
    return precision, recall, 2 * both / (found.total() + true.total())


def tally(found: Iterable[tuple[str, Hashable]], true: Iterable[tuple[str, Hashable]]) -> Counts:
    """Counts by label of two multisets of (label, what is labelled)."""
    found, true = Counter(found), Counter(true)
    right, given, truly = (_by_label(part) for part in (found & true, found, true))
    return {label: (right[label], given[label], truly[label]) for label in {**given, **truly}}


def _by_label(pairs: Counter[tuple[str, Hashable]]) -> Counter[str]:
    sums: Counter[str] = Counter()
    for (label, _), number in pairs.items():
        sums[label] += number
    return sums


def words(text: str) -> list[str]:
    """Lower-case words and numbers, as SQuAD's and ROUGE's scorers cut them."""
    return re.findall(r"[a-z0-9]+", text.lower())


def rouge_l(candidate: str, reference: str) -> float:
    """ROUGE-L F1 (Lin, 2004) as `rouge-score` computes it, without stemming."""
    return float(_rouge().score(reference, candidate)["rougeL"].fmeasure)


@functools.cache
def _rouge() -> Any:
    from rouge_score.rouge_scorer import RougeScorer

    return RougeScorer(["rougeL"])
