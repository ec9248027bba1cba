"""From what sources hold to the inputs and answers of tasks, the same way for all of them."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from radlite.tasks import named
from radlite.tasks.abnormality import CLASSES, Abnormalities
from radlite.tasks.findings import states as states_of

_MARK = re.compile(r"\(?\d{1,2}[.)]\s+|[-*\u2022]\s+")


def plain(text: str) -> str:
    """The text without the line breaks that only wrap it, and without blanks at the ends of lines.

    Blank lines, list items and headings keep a line of their own.
    """
    lines: list[str] = []
    for line in text.replace("\r\n", "\n").replace("\r", "\n").split("\n"):
        words = " ".join(line.split())
        goes_on = lines and lines[-1] and words and not _MARK.match(words)
        if goes_on and len(lines[-1]) > 40 and not lines[-1].endswith((".", ":", "!", "?")):
            lines[-1] += f" {words}"
        else:
            lines.append(words)
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()


def report(sections: Mapping[str, str]) -> str:
    """A report of the sections that say something, `INDICATION: ...`, in the order given."""
    filled = {name: plain(text) for name, text in sections.items()}
    return "\n".join(f"{name}: {text}" for name, text in filled.items() if text)


def impression(text: str) -> str | None:
    """The answer of impression generation, one conclusion a line; None if nothing readable is left."""
    pieces = (
        re.split(rf"(?:(?<=[.;:])\s+|^|\n)(?={_MARK.pattern})", plain(text)) if _MARK.match(text.strip()) else [text]
    )
    task = named("impression_generation")
    answer = task.read("\n".join(plain(piece) for piece in pieces))
    return task.render(answer) if answer else None


def abnormalities(known: Mapping[str, Any], text: str = "") -> str:
    """The answer of abnormality detection from the classes that a source labels, `known`.

    Where `text` is given, classes that the source does not label are filled from it by the lexicon of findings;
    otherwise they are not mentioned.
    """
    filled: dict[str, Any] = states_of(text) if text else dict.fromkeys(CLASSES, "not mentioned")
    return named("abnormality_detection").render(
        Abnormalities({name: known.get(name, filled[name]) for name in CLASSES})
    )


def joined(tokens: Sequence[str]) -> tuple[str, list[tuple[int, int]]]:
    """A text of tokens as one would write it, and where each token stands in it."""
    text, places = "", []
    for token in tokens:
        if text and token not in _CLOSING and not text.endswith(_OPENING):
            text += " "
        places.append((len(text), len(text) + len(token)))
        text += token
    return text, places


_CLOSING = frozenset((".", ",", ";", ":", "!", "?", ")", "]", "%", "'s"))
_OPENING = ("(", "[")
