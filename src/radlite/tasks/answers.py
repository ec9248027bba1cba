"""Parts that tasks share: reading an answer out of plain text, judging it, describing a closed set as grammar."""

import re
from collections import Counter
from collections.abc import Callable, Hashable, Iterable

from radlite.tasks.task import Answer, Grammar


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


def choice(labels: Iterable[str]) -> Grammar:
    """The grammar that allows exactly `labels`."""
    return (tuple(labels),)


def exact(answer: Answer | None, truth: Answer) -> dict[str, float]:
    """Judge a label: right or not."""
    return {"accuracy": float(answer == truth)}


def overlap(found: Iterable[Hashable], true: Iterable[Hashable]) -> tuple[float, float, float]:
    """Precision, recall and F1 of two multisets; two empty ones agree perfectly."""
    found, true = Counter(found), Counter(true)
    if not found and not true:
        return 1.0, 1.0, 1.0
    both = (found & true).total()
    precision = both / found.total() if found else 0.0
    recall = both / true.total() if true else 0.0
    return precision, recall, 2 * both / (found.total() + true.total())


def words(text: str) -> list[str]:
    """Lower-case words and numbers, as SQuAD's and ROUGE's scorers cut them."""
    return re.findall(r"[a-z0-9]+", text.lower())


def rouge_l(candidate: str, reference: str) -> float:
    """ROUGE-L F1 over words (Lin, 2004), from the longest common subsequence."""
    left, right = words(candidate), words(reference)
    if not left or not right:
        return float(left == right)
    row = [0] * (len(right) + 1)
    for word in left:
        diagonal = 0
        for column, other in enumerate(right, start=1):
            diagonal, row[column] = row[column], diagonal + 1 if word == other else max(row[column], row[column - 1])
    return 2 * row[-1] / (len(left) + len(right))
