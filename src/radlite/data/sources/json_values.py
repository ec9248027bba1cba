"""JSON files that are too large to be held: value by value, none of them larger than `MAX_TEXT_BYTES` characters."""

import json
import re
from collections.abc import Iterator
from typing import Any, Final, TextIO

from radlite.files import MAX_TEXT_BYTES

TOO_LARGE: Final = f"larger than {MAX_TEXT_BYTES >> 20} MiB"

_PIECE: Final = 1 << 18
_BLANKS = re.compile(r"[ \t\r\n]*")
_AFTER = frozenset(" \t\r\n,:]}")
_MARKS = re.compile(r'\\.|["\[\]{}]', re.DOTALL)
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
_decode = json.JSONDecoder().raw_decode


class Broken(Exception):
    """Why a file cannot be read on: what it does, without its content."""


class JsonValues:
    """What is still to be read of a JSON file, which the methods go through from value to value.

    They raise `Broken` where it is no JSON, or not all of it.
    """

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._text = ""
        self._at = 0

    def next(self) -> str:
        """The next character but for blanks; empty at the end of the file."""
        while True:
            self._at = _BLANKS.match(self._text, self._at).end()  # type: ignore[union-attr]  # it matches anywhere
            if self._at < len(self._text):
                return self._text[self._at]
            if not self._more(_PIECE):
                return ""

    def parts(self, brackets: str) -> Iterator[str]:
        """The keys of the mapping (`{}`) or an empty one for each item of the list (`[]`) that comes next.

        Whoever takes a key has to read its value before the next one.
        """
        opening, closing = tuple(brackets)
        self._demand(opening)
        going_on = self.next() != closing
        while going_on:
            yield self._key() if opening == "{" else ""
            if going_on := self.next() == ",":
                self._at += 1
        self._demand(closing)

    def value(self) -> tuple[Any, str]:
        """The value that comes next, or why it is none that can be used; it is past in either case."""
        self.next()
        while True:
            try:
                value, end = _decode(self._text, self._at)
            except RecursionError as error:
                raise Broken("is nested too deep") from error
            except ValueError:  # broken, or not all of it is here
                end = len(self._text)
            # A number may go on where the text ends: 0 is the beginning of 0.5.
            if self._text[end : end + 1] in _AFTER:
                raw, self._at = self._text[self._at : end], end
                why = unsound(raw, value)
                return (None, why) if why else (value, "")
            held = len(self._text) - self._at
            if held > MAX_TEXT_BYTES:
                self._skip()
                return None, TOO_LARGE
            # Twice as much each time, so that what is read again and again does not add up.
            if not self._more(min(max(_PIECE, held), MAX_TEXT_BYTES + 1 - held)):
                raise Broken("ends or breaks")

    def _key(self) -> str:
        key, _ = self.value()
        if not isinstance(key, str):
            raise Broken("ends or breaks")
        self._demand(":")
        return key

    def _demand(self, mark: str) -> None:
        if self.next() != mark:
            raise Broken("ends or breaks")
        self._at += 1

    def _more(self, size: int) -> bool:
        piece = self._file.read(size)
        self._text, self._at = self._text[self._at :] + piece, 0
        return bool(piece)

    def _skip(self) -> None:
        """Go past a value of which more is held than may be. Raises `Broken` if it ends before: it is no JSON then."""
        least, depth, quoted = self._at + MAX_TEXT_BYTES, 0, False
        while self._text:
            past = self._at
            for mark in _MARKS.finditer(self._text, self._at):
                past = mark.end()
                if mark[0] == '"':
                    quoted = not quoted
                elif not quoted:
                    depth += {"[": 1, "{": 1, "]": -1, "}": -1}.get(mark[0], 0)
                if not quoted and depth <= 0 and len(mark[0]) == 1:
                    if depth < 0 or past <= least:
                        raise Broken("ends or breaks")
                    self._at = past
                    return
            escape = "\\" if self._text.endswith("\\") and past < len(self._text) else ""
            piece = self._file.read(_PIECE)
            self._text, self._at, least = escape + piece if piece else "", 0, 0
        raise Broken("ends or breaks")


def unsound(raw: str, value: Any) -> str:
    """Why a value that JSON allows is not a text for a corpus, from how it is written; empty if it is one."""
    if not raw.isascii() and any("\udc80" <= character <= "\udcff" for character in raw):
        return "not UTF-8"
    try:
        half = _SURROGATE.search(raw) and re.search("[\ud800-\udfff]", json.dumps(value, ensure_ascii=False))
    except RecursionError:
        return "nested too deep"
    return "half of a surrogate pair" if half else ""
