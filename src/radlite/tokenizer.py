"""Text to token ids, with control tokens kept apart: text can never become one."""

import heapq
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tokenizers

from radlite.errors import UserError
from radlite.files import MAX_MODEL_TEXT_BYTES, read_text

# The pattern by which Qwen2, Qwen2.5 and Qwen3 cut text before BPE (their tokenizer.json; llama.cpp calls it "qwen2").
QWEN_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)

_BLANK = "\u2581"


@dataclass(frozen=True, slots=True)
class Cut:
    """How a BPE cuts text before it merges."""

    patterns: tuple[str, ...]
    """Each cuts the pieces that those before it left."""
    composed: bool = False
    """Text is brought into Unicode's composed form (NFC) first."""
    whole: bool = False
    """A piece that is a token as it stands is not merged together."""
    characters: bool = False
    """Characters are merged, not bytes; those that are no token become bytes. Blanks are written U+2581 (Gemma 4)."""

    @property
    def steps(self) -> dict[str, Any]:
        """The parts of a `tokenizer.json` that stand around its model."""
        splits = [
            {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}
            for pattern in self.patterns
        ]
        if self.characters:
            blank = {"type": "Replace", "pattern": {"String": _BLANK}, "content": " "}
            return {
                "normalizer": {"type": "Replace", "pattern": {"String": " "}, "content": _BLANK},
                "pre_tokenizer": {"type": "Sequence", "pretokenizers": splits},
                "decoder": {"type": "Sequence", "decoders": [blank, {"type": "ByteFallback"}, {"type": "Fuse"}]},
            }
        level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False}
        return {
            "normalizer": {"type": "NFC"} if self.composed else None,
            "pre_tokenizer": {"type": "Sequence", "pretokenizers": [*splits, level]},
            "decoder": level,
        }


QWEN = Cut((QWEN_PATTERN,), composed=True)
# Answers are tokenised piece by piece: a blank that the tokenizer adds would stand before each piece.
_OPENS_WITH_BLANK = (
    '"type": "Prepend"', '"prepend_scheme": "first"', '"prepend_scheme": "always"', '"add_prefix_space": true'
)  # fmt: skip
_AS_IT_STANDS = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}


def is_text(name: str) -> bool:
    """Whether a token that was added to a vocabulary, but not as a control token, is text: one character, once or
    repeated ("ü", a run of blanks). No token that a template needs is called so."""
    return len({*name}) == 1


class Tokenizer:
    """A byte-level BPE tokenizer read from the text of a Hugging Face `tokenizer.json`.

    `encode` never yields a control token: it runs on the vocabulary without the added tokens, so that `<|im_end|>` in
    a report is eleven or so ordinary tokens. Control tokens are reached by name alone, through `control`. Added tokens
    that are text (`is_text`) are text here too.
    """

    opens_with_blank = False
    """Whether text at the beginning or after a control token is tokenised as if a blank stood before it."""

    def __init__(self, definition: str, lost: frozenset[int] = frozenset()) -> None:
        try:
            parts: dict[str, Any] = json.loads(definition)
            added = parts["added_tokens"]
            plain = [{**one, **_AS_IT_STANDS} for one in added if not one.get("special") and is_text(one["content"])]
            self._names: dict[int, str] = {token["id"]: token["content"] for token in added}
            texts = {token["content"] for token in plain}
            self.control: Mapping[str, int] = {
                name: number for number, name in self._names.items() if name not in texts
            }
            _check_merges(parts["model"])
            vocabulary: dict[str, int] = parts["model"]["vocab"]
            vocabulary |= {token["content"]: token["id"] for token in plain}  # the library would number them anew
            self._size = max({*vocabulary.values(), *self._names} - lost) + 1
            self._lost = lost
            parts |= {"added_tokens": plain, "post_processor": None}
            self._bpe = tokenizers.Tokenizer.from_str(json.dumps(parts))
        except Exception as error:  # the library raises bare Exception
            raise UserError("The tokenizer.json of this model cannot be read; get the model again.") from error
        steps = json.dumps([parts.get("normalizer"), parts.get("pre_tokenizer")])
        if any(setting in steps for setting in _OPENS_WITH_BLANK):
            raise UserError(
                "This model's tokenizer.json puts a blank before every text, so that no answer can go on from another "
                "text; use another model, or its GGUF."
            )
        self.definition = definition

    @classmethod
    def from_folder(cls, folder: Path) -> "Tokenizer":
        """The tokenizer of a Hugging Face model folder."""
        path = folder / "tokenizer.json"
        if not path.is_file():
            raise UserError(f"{folder} has no tokenizer.json; give a folder with a whole model.")
        return cls(read_text(path, "tokenizer", MAX_MODEL_TEXT_BYTES))

    @classmethod
    def from_vocabulary(
        cls,
        vocabulary: Mapping[str, int],
        merges: list[str],
        control: Mapping[str, int],
        plain: Mapping[str, int],
        cut: Cut,
    ) -> "Tokenizer":
        """Rebuild a BPE from what a GGUF holds: ids of the tokens by name, merges `"a b"`.

        `plain` are the added tokens that are text. A byte that no token stands for is left out of the ids, as llama.cpp
        leaves it out.
        """
        missing = () if cut.characters else {*tokenizers.pre_tokenizers.ByteLevel.alphabet()} - vocabulary.keys()
        # They get ids of their own on the way, so that what stands before such a byte does not merge with what follows.
        beyond = max([*vocabulary.values(), *control.values(), *plain.values()]) + 1
        lost = {byte: beyond + number for number, byte in enumerate(sorted(missing))}
        return cls(_definition({**lost, **vocabulary}, merges, control, plain, cut), frozenset(lost.values()))

    @property
    def size(self) -> int:
        """Number of ids, control tokens included."""
        size: int = self._size
        return size

    def encode(self, text: str, opening: bool = False) -> list[int]:
        """Ids of `text`, every character of it ordinary text.

        `opening`: it stands at the beginning or after a control token, and does not go on from other text.
        """
        return self._kept(self._bpe.encode(text, add_special_tokens=False).ids)

    def encode_many(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of each of `texts` as `encode` gives them, together faster than one by one."""
        return [self._kept(one.ids) for one in self._bpe.encode_batch_fast(list(texts), add_special_tokens=False)]

    def _kept(self, ids: list[int]) -> list[int]:
        return [number for number in ids if number not in self._lost] if self._lost else ids

    def decode(self, ids: Iterable[int]) -> str:
        """Text of `ids`; control tokens are spelled out, invalid UTF-8 becomes U+FFFD."""
        pieces: list[str] = []
        run: list[int] = []
        for number in ids:
            if number in self._names:
                pieces += [self._text(run), self._names[number]]
                run = []
            else:
                run.append(number)
        return "".join([*pieces, self._text(run)])

    def _text(self, ids: list[int]) -> str:
        text: str = self._bpe.decode(ids, skip_special_tokens=False)
        return text


class SentencePiece(Tokenizer):
    """A BPE of SentencePiece: of all neighbours whose union is a token, those of the highest score become one, the
    left-most first; a character that is no token becomes bytes. Blanks are written U+2581.

    `pieces` are the ordinary tokens with id and score, `bytes_` the ids of the 256 bytes, `plain` the added tokens that
    are text. This is what SentencePiece and llama.cpp compute. The library's BPE is not used: it gives each pair of
    neighbours a rank of its own, whereas here all pairs that make one token have the same.
    """

    def __init__(
        self,
        pieces: Mapping[str, tuple[int, float]],
        bytes_: list[int],
        control: Mapping[str, int],
        plain: Mapping[str, int],
        opens_with_blank: bool,
    ) -> None:
        self.definition = "{}"  # no tokenizer.json tells all of it
        self.opens_with_blank = opens_with_blank
        self.control = control
        self._names = {number: name for name, number in {**control, **plain}.items()}
        self._pieces, self._bytes, self._plain = pieces, bytes_, plain
        self._size = max(*bytes_, *self._names, *(number for number, _ in pieces.values())) + 1
        self._spelled = {number: name.replace(_BLANK, " ").encode() for name, (number, _) in pieces.items()}
        self._spelled |= {number: bytes([value]) for value, number in enumerate(bytes_)}
        names = sorted(plain, key=len, reverse=True)
        self._split = re.compile(f"({'|'.join(map(re.escape, names))})") if names else None
        # Nothing merges across a border that no token has inside, so words can be merged by themselves.
        inside = any(_BLANK in name.lstrip(_BLANK) for name in pieces)
        self._word = re.compile(".+" if inside else f"{_BLANK}+[^{_BLANK}]*|[^{_BLANK}]+", re.DOTALL)
        self._known: dict[str, list[int]] = {}

    def encode(self, text: str, opening: bool = False) -> list[int]:
        ids: list[int] = []
        for part in filter(None, self._split.split(text) if self._split else [text]):
            if part in self._plain:
                ids.append(self._plain[part])
                opening = True
                continue
            blank = " " if opening and self.opens_with_blank else ""
            for word in self._word.findall((blank + part).replace(" ", _BLANK)):
                ids += self._merged(word)
        return ids

    def encode_many(self, texts: Sequence[str]) -> list[list[int]]:
        return [self.encode(text) for text in texts]

    def _text(self, ids: list[int]) -> str:
        return b"".join(self._spelled.get(number, b"") for number in ids).decode("utf-8", "replace")

    def _merged(self, word: str) -> list[int]:
        if word not in self._known:
            if len(word) > 64:
                return [*self._merge(word)]
            if len(self._known) > 50_000:
                self._known.clear()
            self._known[word] = [*self._merge(word)]
        return self._known[word]

    def _merge(self, word: str) -> Iterator[int]:
        parts = [*word]
        before, after = [*range(-1, len(parts) - 1)], [*range(1, len(parts) + 1)]
        queue: list[tuple[float, int, int, int]] = []

        def offer(left: int, right: int) -> None:
            if left >= 0 and right < len(parts):
                piece = self._pieces.get(parts[left] + parts[right])
                if piece:
                    heapq.heappush(queue, (-piece[1], left, right, len(parts[left]) + len(parts[right])))

        for right in range(1, len(parts)):
            offer(right - 1, right)
        while queue:
            _, left, right, length = heapq.heappop(queue)
            if not parts[left] or not parts[right] or len(parts[left]) + len(parts[right]) != length:
                continue  # one of them has become part of another meanwhile
            parts[left], parts[right] = parts[left] + parts[right], ""
            after[left] = after[right]
            if after[left] < len(parts):
                before[after[left]] = left
            offer(before[left], left)
            offer(left, after[left])
        for part in filter(None, parts):
            if part in self._pieces:
                yield self._pieces[part][0]
            else:
                yield from (self._bytes[value] for value in part.encode())


def _check_merges(model: Mapping[str, Any]) -> None:
    """Raise `KeyError` if a merge makes a token that the vocabulary lacks: the library panics at it."""
    vocabulary = model["vocab"]
    for merge in model["merges"]:
        vocabulary[merge.replace(" ", "", 1) if isinstance(merge, str) else "".join(merge)]


def definition(tokens: list[str], merges: list[str], control: Mapping[str, int]) -> str:
    """The `tokenizer.json` of a Qwen tokenizer with this vocabulary."""
    vocabulary = {token: number for number, token in enumerate(tokens) if token not in control}
    return _definition(vocabulary, merges, control, {}, QWEN)


def _definition(
    vocabulary: Mapping[str, int], merges: list[str], control: Mapping[str, int], plain: Mapping[str, int], cut: Cut
) -> str:
    return json.dumps(
        {
            "version": "1.0",
            "truncation": None,
            "padding": None,
            "added_tokens": [
                {"id": number, "content": name, "single_word": False, "lstrip": False, "rstrip": False,
                 "normalized": False, "special": name in control}
                for name, number in sorted({**control, **plain}.items(), key=lambda item: item[1])
            ],
            **cut.steps,
            "post_processor": None,
            "model": {
                "type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": "",
                "end_of_word_suffix": "", "fuse_unk": False, "byte_fallback": cut.characters,
                "ignore_merges": cut.whole, "vocab": dict(vocabulary), "merges": merges,
            },
        },
        ensure_ascii=False,
    )  # fmt: skip
