"""Cancer reports that are longer than a model's window: their sentences on diagnosis, nodes, metastasis and stage."""

import re
from collections.abc import Callable, Sequence

OMITTED = "[...]"
"""Stands in the place of the sentences that were left out."""

# Optical character recognition ends lines with stray full stops: a sentence ends only where no small letter follows.
_END = re.compile(r"(?<=[.!?])\s+(?=[^a-z\s])|\s*\n\s*")
_STAGE = re.compile(r"(?<![A-Za-z])[aAcCpPrRyY]{0,3}[TNM] ?[0-4XxO](?![\d.])|\bTNM\b|\bAJCC\b|\b[Ss][Tt][Aa][Gg][Ee]")
_SPREAD = re.compile(r"lymph|\bnod(?:e|es|al)\b|metasta|\bdistant\b|extranodal|extracapsular", re.IGNORECASE)
_DIAGNOSIS = re.compile(
    r"diagnos|tumou?r|carcinoma|sarcoma|melanoma|lymphoma|neoplas|malignan|cancer|invasi|involv", re.IGNORECASE
)
_HANDLING = re.compile(
    r"submitted|cassette|bisected|serially|sectioned|received|labell?ed|inked|fixed in|confidential", re.IGNORECASE
)


def condense(report: str, budget: int, count: Callable[[str], int]) -> str:
    """The report if `count(report) <= budget`, else whole sentences of it that together stay within the budget.

    Sentences are taken in this order until no more fits: those that state a stage; those on lymph nodes and
    metastasis; those that directly follow one of these (a heading's content); those on the diagnosis; the rest; those
    on how a specimen was handled; repetitions. What is taken keeps the report's order; `[...]` stands where something
    is left out. Nothing is ever cut within a sentence. The result is empty if not one sentence fits.
    """
    if count(report) <= budget:
        return report
    sentences = split_sentences(report)
    costs = [count(f" {sentence}") for sentence in sentences]
    mark = count(f" {OMITTED}")
    ranks = rank(sentences)
    order = sorted(range(len(sentences)), key=lambda number: (ranks[number], number))
    kept: set[int] = set()
    taken: list[int] = []
    used = mark
    for number in order:
        beside = [number == 0 or number - 1 in kept, number == len(sentences) - 1 or number + 1 in kept]
        cost = costs[number] + mark * (1 - sum(beside))
        if used + cost <= budget:
            kept.add(number)
            taken.append(number)
            used += cost
    # A tokenizer may need a little more for the whole than for its parts.
    while kept and count(_join(sentences, kept)) > budget:
        kept.remove(taken.pop())
    return _join(sentences, kept) if kept else ""


def split_sentences(report: str) -> list[str]:
    """The report in sentences and lines; a list number or letter stays with what it numbers."""
    sentences: list[str] = []
    start = ""
    for piece in filter(None, _END.split(report.strip())):
        start = f"{start} {piece}" if start else piece
        if re.search(r"[^\W\d_]{2}", piece):
            sentences.append(start)
            start = ""
    return [*sentences, start] if start else sentences


def rank(sentences: Sequence[str]) -> list[int]:
    """How early each sentence is taken, 0 first."""
    ranks: list[int] = []
    seen: set[str] = set()
    for number, sentence in enumerate(sentences):
        if sentence in seen:
            ranks.append(6)
        elif _STAGE.search(sentence):
            ranks.append(0)
        elif _HANDLING.search(sentence):
            ranks.append(5)
        elif _SPREAD.search(sentence):
            ranks.append(1)
        elif number and ranks[number - 1] < 2:
            ranks.append(2)
        else:
            ranks.append(3 if _DIAGNOSIS.search(sentence) else 4)
        seen.add(sentence)
    return ranks


def _join(sentences: Sequence[str], kept: set[int]) -> str:
    parts: list[str] = []
    for number, sentence in enumerate(sentences):
        if number in kept:
            parts.append(sentence)
        elif not parts or parts[-1] != OMITTED:
            parts.append(OMITTED)
    return " ".join(parts)
