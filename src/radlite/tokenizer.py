"""Text to token ids, with control tokens kept apart: text can never become one."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import tokenizers

from radlite.errors import UserError
from radlite.files import MAX_MODEL_TEXT_BYTES, read_text

# The pattern by which Qwen2, Qwen2.5 and Qwen3 cut text before BPE (their tokenizer.json; llama.cpp calls it "qwen2").
QWEN_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


class Tokenizer:
    """A byte-level BPE tokenizer read from the text of a Hugging Face `tokenizer.json`.

    `encode` never yields a control token: it runs on the vocabulary without the added tokens, so that `<|im_end|>` in
    a report is eleven or so ordinary tokens. Control tokens are reached by name alone, through `control`.
    """

    def __init__(self, definition: str) -> None:
        try:
            parts: dict[str, Any] = json.loads(definition)
            added = parts["added_tokens"]
            self.control: Mapping[str, int] = {token["content"]: token["id"] for token in added}
            _check_merges(parts["model"])
            self._bpe = tokenizers.Tokenizer.from_str(json.dumps({**parts, "added_tokens": [], "post_processor": None}))
        except Exception as error:  # the library raises bare Exception
            raise UserError("The tokenizer.json of this model cannot be read; get the model again.") from error
        self.definition = definition
        self._names = {number: name for name, number in self.control.items()}

    @classmethod
    def from_folder(cls, folder: Path) -> "Tokenizer":
        """The tokenizer of a Hugging Face model folder."""
        path = folder / "tokenizer.json"
        if not path.is_file():
            raise UserError(f"{folder} has no tokenizer.json; give a folder with a whole model.")
        return cls(read_text(path, "tokenizer", MAX_MODEL_TEXT_BYTES))

    @classmethod
    def from_vocabulary(cls, tokens: list[str], merges: list[str], control: Mapping[str, int]) -> "Tokenizer":
        """Rebuild a Qwen tokenizer from what a GGUF holds: tokens by id, merges `"a b"`, control tokens by name."""
        return cls(definition(tokens, merges, control))

    @property
    def size(self) -> int:
        """Number of ids, control tokens included."""
        return max(self._bpe.get_vocab_size() - 1, *self.control.values()) + 1

    def encode(self, text: str) -> list[int]:
        """Ids of `text`, every character of it ordinary text."""
        ids: list[int] = self._bpe.encode(text, add_special_tokens=False).ids
        return ids

    def decode(self, ids: Iterable[int]) -> str:
        """Text of `ids`; control tokens are spelled out, invalid UTF-8 becomes U+FFFD."""
        pieces: list[str] = []
        run: list[int] = []
        for number in ids:
            if number in self._names:
                pieces += [self._bpe.decode(run, skip_special_tokens=False), self._names[number]]
                run = []
            else:
                run.append(number)
        return "".join([*pieces, self._bpe.decode(run, skip_special_tokens=False)])


def _check_merges(model: Mapping[str, Any]) -> None:
    """Raise `KeyError` if a merge makes a token that the vocabulary lacks: the library panics at it."""
    vocabulary = model["vocab"]
    for merge in model["merges"]:
        vocabulary[merge.replace(" ", "", 1) if isinstance(merge, str) else "".join(merge)]


def definition(tokens: list[str], merges: list[str], control: Mapping[str, int]) -> str:
    """The `tokenizer.json` of a Qwen tokenizer with this vocabulary."""
    vocabulary = {token: number for number, token in enumerate(tokens) if token not in control}
    return json.dumps(
        {
            "version": "1.0",
            "truncation": None,
            "padding": None,
            "added_tokens": [
                {"id": number, "content": name, "single_word": False, "lstrip": False, "rstrip": False,
                 "normalized": False, "special": True}
                for name, number in sorted(control.items(), key=lambda item: item[1])
            ],
            "normalizer": {"type": "NFC"},
            "pre_tokenizer": {
                "type": "Sequence",
                "pretokenizers": [
                    {"type": "Split", "pattern": {"Regex": QWEN_PATTERN}, "behavior": "Isolated", "invert": False},
                    {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False},
                ],
            },
            "post_processor": None,
            "decoder": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False},
            "model": {
                "type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": "",
                "end_of_word_suffix": "", "fuse_unk": False, "byte_fallback": False, "ignore_merges": False,
                "vocab": vocabulary, "merges": merges,
            },
        },
        ensure_ascii=False,
    )  # fmt: skip
