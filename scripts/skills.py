"""General reading exercises over a text: what the tiny bases are pretrained to do, and none of the nine tasks.

Every exercise is mechanical (copy, find, compare, list), so that its answer follows from the text without any
radiology, and in another form than the nine tasks use.
"""

import random
import re
from collections.abc import Callable

Exercise = tuple[str, str]
"""Question and answer."""

_SIDES = {"left": "right", "right": "left", "Left": "Right", "Right": "Left"}
_STOP = {
    "the",
    "and",
    "for",
    "with",
    "are",
    "was",
    "has",
    "have",
    "been",
    "this",
    "that",
    "from",
    "not",
    "there",
    "which",
}


class Text:
    """A report taken apart once for many exercises."""

    def __init__(self, report: str) -> None:
        self.report = report
        self.lines = [line for line in report.split("\n") if line.strip()]
        self.sentences = [
            sentence
            for sentence in re.split(r"(?<=[.:])\s+|\n", report)
            if 3 <= len(sentence.split()) <= 30 and report.count(sentence) == 1
        ] or [self.lines[0]]
        self.words = re.findall(r"[A-Za-z]{4,}", report)
        self.content = sorted({word for word in self.words if word.lower() not in _STOP}) or ["report"]
        self.sizes = re.findall(r"\d+(?:\.\d+)? (?:mm|cm)\b", report)


def _find(rng: random.Random, text: Text) -> Exercise:
    sentence = rng.choice(text.sentences)
    words = [word for word in re.findall(r"[A-Za-z]{4,}", sentence) if text.words.count(word) == 1]
    if not words:
        return _repeat(rng, text)
    word = rng.choice(words)
    return rng.choice((f"Copy the sentence with the word {word}.", f"Which sentence says {word}?")), sentence


def _repeat(rng: random.Random, text: Text) -> Exercise:
    if rng.random() < 0.5:
        return "Copy the last sentence.", text.sentences[-1]
    number = rng.randrange(min(4, len(text.sentences)))
    return f"Copy the {('first', 'second', 'third', 'fourth')[number]} sentence.", text.sentences[number]


def _complete(rng: random.Random, text: Text) -> Exercise:
    words = rng.choice(text.sentences).split()
    cut = rng.randint(1, max(1, len(words) - 2))
    return f"Complete from the text: {' '.join(words[:cut])} ...", " ".join(words[cut:])


def _blank(rng: random.Random, text: Text) -> Exercise:
    words = rng.choice(text.sentences).split()
    at = rng.randrange(len(words))
    return f"Which word is missing? {' '.join([*words[:at], '___', *words[at + 1 :]])}", words[at].strip(".,:;")


def _mentions(rng: random.Random, text: Text, others: list[str]) -> Exercise:
    count = rng.randint(1, 7)
    words = [rng.choice(text.content if rng.random() < 0.5 else others) for _ in range(count)]
    if count == 1:
        return f"Is the word {words[0]} in the text?", "yes" if words[0] in text.report else "no"
    lines = [f"{word} = {'yes' if word in text.report else 'no'}" for word in words]
    return f"Which of these words are in the text? {', '.join(words)}", "\n".join(lines)


def _section(rng: random.Random, text: Text) -> Exercise:
    headed = [line for line in text.lines if re.match(r"[A-Za-z ]{4,25}: \S", line) and len(line.split()) < 40]
    if not headed:
        return _repeat(rng, text)
    head, _, body = rng.choice(headed).partition(": ")
    if rng.random() < 0.5:
        return f"Copy what stands under {head}.", body
    start = " ".join(body.split()[:6])
    return f"Under which heading stands: {start}", head


def _sizes(rng: random.Random, text: Text) -> Exercise:
    found = text.sizes[:8]
    if found and rng.random() < 0.5:
        size = rng.choice(found)
        after = text.report.split(size, 1)[1].split()[:2]
        return f"Which words follow {size}?", " ".join(after) or "none"
    return "List every size in the text.", ", ".join(found) or "none"


def _size(rng: random.Random) -> tuple[str, float]:
    if rng.random() < 0.3:
        value = rng.randint(10, 60) / 10
        return f"{value} cm", value * 10
    number = rng.randint(2, 40)
    return f"{number} mm", number


def _compare(rng: random.Random, text: Text) -> Exercise:
    (left, a), (right, b) = _size(rng), _size(rng)
    kind = rng.randrange(4)
    if kind == 0:
        return f"Which is larger, {left} or {right}?", left if a > b else right if b > a else "equal"
    if kind == 1:
        return f"Is {left} at least {right}?", "yes" if a >= b else "no"
    if kind == 2:
        return f"It was {left} and is now {right}. Larger or smaller?", (
            "larger" if b > a else "smaller" if b < a else "equal"
        )
    percent = rng.randint(0, 100)
    low, high = sorted((rng.randint(0, 100), rng.randint(0, 100)))
    return f"Is {percent}% between {low}% and {high}%?", "yes" if low <= percent <= high else "no"


def _order(rng: random.Random, text: Text) -> Exercise:
    first, second = rng.choice(text.content), rng.choice(text.content)
    if first == second:
        return _repeat(rng, text)
    earlier = first if text.report.index(first) < text.report.index(second) else second
    return f"Which stands first, {first} or {second}?", earlier


def _beside(rng: random.Random, text: Text) -> Exercise:
    words = re.findall(r"[A-Za-z]+", rng.choice(text.sentences))
    if not words:
        return _repeat(rng, text)
    at = rng.randrange(len(words))
    if at + 1 < len(words) and rng.random() < 0.5:
        return f"Which word follows {' '.join(words[max(0, at - 1) : at + 1])}?", words[at + 1]
    return f"Which word stands before {' '.join(words[at : at + 2])}?", words[at - 1] if at else "none"


def _negated(rng: random.Random, text: Text) -> Exercise:
    marks = r"\b(?:[Nn]o|[Nn]ot|[Ww]ithout|[Nn]one|absent|negative)\b"
    if rng.random() < 0.5:
        found = [sentence for sentence in text.sentences if re.search(marks, sentence)][:4]
        return "Copy the sentences that deny something.", "\n".join(found) or "none"
    sentence = rng.choice(text.sentences)
    return f"Does this deny something? {sentence}", "yes" if re.search(marks, sentence) else "no"


def _swap(rng: random.Random, text: Text) -> Exercise:
    sentence = rng.choice([s for s in text.sentences if re.search(r"\b(left|right)\b", s, re.I)] or text.sentences)
    swapped = re.sub(r"\b(left|right)\b", lambda found: _SIDES.get(found[0], found[0]), sentence, flags=re.I)
    return f"Write it with left and right exchanged: {sentence}", swapped


def _same(rng: random.Random, text: Text) -> Exercise:
    sentence = rng.choice(text.sentences)
    words = sentence.split()
    if rng.random() < 0.5:
        return f"Does the text say this? {sentence}", "yes"
    at = rng.randrange(len(words))
    changed = _SIDES.get(words[at], rng.choice(text.content))
    words[at] = changed
    return f"Does the text say this? {' '.join(words)}", "yes" if " ".join(words) in text.report else "no"


def _starts(rng: random.Random, text: Text) -> Exercise:
    chosen = text.sentences[: rng.randint(2, 8)]
    if rng.random() < 0.5:
        return f"Give the first two words of {len(chosen)} sentences.", "; ".join(
            " ".join(s.split()[:2]) for s in chosen
        )
    return f"Give the last word of {len(chosen)} sentences.", "; ".join(s.split()[-1].strip(".:,") for s in chosen)


def _where(rng: random.Random, text: Text) -> Exercise:
    word = rng.choice(text.content)
    found = [s for s in text.sentences if re.search(rf"\b{word}\b", s)]
    sides = sorted({side.lower() for s in found for side in re.findall(r"\b(left|right|bilateral)\b", s, re.I)})
    return f"Which side words stand with {word}?", ", ".join(sides) or "none"


EXERCISES: dict[str, Callable[[random.Random, Text], Exercise]] = {
    "find": _find, "repeat": _repeat, "complete": _complete, "blank": _blank, "section": _section, "sizes": _sizes,
    "compare": _compare, "order": _order, "beside": _beside, "negated": _negated, "swap": _swap, "same": _same,
    "starts": _starts, "where": _where,
}  # fmt: skip


def drill(rng: random.Random, words: list[str]) -> tuple[str, list[tuple[str, str, str]]]:
    """A text of random words or of keys with values, and exercises on it: dense practice in copying and looking up.

    Sentences of reports are predictable without reading; here only attention to the text gives the answer.
    """
    if rng.random() < 0.5:
        text = " ".join(rng.choice(words) if rng.random() < 0.8 else _size(rng)[0] for _ in range(rng.randint(8, 60)))
        return text, [("echo", "Repeat the text.", text)]
    keys = list(dict.fromkeys(rng.choice(words) for _ in range(rng.randint(3, 12))))
    values = {key: _size(rng)[0] if rng.random() < 0.3 else rng.choice(words) for key in keys}
    asked = [rng.choice(keys) for _ in range(rng.randint(4, 10))]
    text = rng.choice(("; ", "\n", ". ")).join(f"{key}: {value}" for key, value in values.items())
    return text, [("lookup", f"What is the {key}?", values[key]) for key in asked]


def excerpt(rng: random.Random, report: str) -> str:
    """Two to nine consecutive pieces of a report, cut at lines and sentences: more answers for each token read."""
    pieces = re.split(r"(?<=[.:])(?= )|(?<=\n)", report)
    first = rng.randrange(max(1, len(pieces) - 3))
    part = "".join(pieces[first : first + rng.randint(2, 9)]).strip()
    return part if len(re.findall(r"[A-Za-z]{4,}", part)) >= 4 else report


def exercises(rng: random.Random, report: str, others: list[str], count: int) -> list[tuple[str, str, str]]:
    """`count` exercises on one report as (kind, question, answer); `others` are words it may or may not contain."""
    text = Text(report)
    kinds = [*EXERCISES, "mentions", "mentions"]
    made = []
    for _ in range(count):
        kind = rng.choice(kinds)
        question, answer = _mentions(rng, text, others) if kind == "mentions" else EXERCISES[kind](rng, text)
        made.append((kind, question, answer))
    return made
