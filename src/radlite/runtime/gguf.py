"""What a GGUF file says of its model, read without its weights.

The format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md. The reader of the `gguf` package makes an array
object of each of 300,000 vocabulary entries (8 s for Qwen); this one takes the entries as text (a fraction of one).
"""

import json
import math
import mmap
import stat
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from radlite.chat import Renderer, Turn
from radlite.errors import UserError
from radlite.runtime import vocabulary
from radlite.tokenizer import Tokenizer

_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9


@dataclass(frozen=True)
class Header:
    """A GGUF's keys and values, its tensors' names with their shapes, innermost dimension first, and their types."""

    path: Path
    keys: dict[str, Any]
    tensors: dict[str, tuple[int, ...]]
    types: dict[str, int]
    """Names to the numbers of `gguf.GGMLQuantizationType`."""
    starts: dict[str, int] = field(default_factory=dict)
    """Names to the bytes of the file before the tensors' data."""
    value_types: dict[str, int] = field(default_factory=dict)
    """Keys to the numbers of `gguf.GGUFValueType`."""

    @property
    def manifest(self) -> dict[str, Any] | None:
        """How the file was made, if radlite made it."""
        try:
            manifest = json.loads(self.keys["radlite.manifest"])
        except (KeyError, TypeError, ValueError):
            return None
        return manifest if isinstance(manifest, dict) else None

    @property
    def context_tokens(self) -> int:
        """The context that the model was trained for."""
        length = self.keys.get(f"{self.keys.get('general.architecture')}.context_length")
        if not isinstance(length, int) or length < 1:
            raise UserError(f"{self.path} does not say its context length; export or download the model again.")
        return length

    def size(self, name: str) -> int:
        """Bytes of the data of the tensor `name`."""
        return _bytes(self.tensors[name], self.types[name])

    def renderer(self) -> Renderer:
        """The model's own tokenizer and chat template.

        A prompt begins with the file's first token, once, where llama.cpp's chat has it so. Raises `UserError` for a
        file without a template, and one whose vocabulary or whose way of answering is not known exactly.
        """
        template = self.keys.get("tokenizer.chat_template")
        if not isinstance(template, str) or not template:
            raise UserError(f"{self.path} has no chat template; use the GGUF of an instruction-tuned model.")
        tokens = self._list("tokenizer.ggml.tokens")
        special = {}
        for name in ("bos", "eos"):
            number = self.keys.get(f"tokenizer.ggml.{name}_token_id")
            if isinstance(number, int) and 0 <= number < len(tokens):
                special[f"{name}_token"] = str(tokens[number])
        renderer = Renderer(self.tokenizer(), template, special, vocabulary.first(self.path, self.keys))
        if renderer.tokenizer.opens_with_blank:
            renderer.prompt([Turn("user", "a")])  # which refuses where an answer would have to open with a blank
        return renderer

    def tokenizer(self) -> Tokenizer:
        """The tokenizer: the very tokenizer.json if the file carries it, else rebuilt from the vocabulary."""
        whole = self.keys.get("tokenizer.huggingface.json")
        if isinstance(whole, str):
            return Tokenizer(whole)
        return vocabulary.tokenizer(self.path, self.keys)

    def _list(self, key: str) -> list[Any]:
        value = self.keys.get(key)
        return value if isinstance(value, list) else []


def read(path: Path, kind: Literal["model", "adapter", "any"] = "model") -> Header:
    """Read the header of the GGUF file of a model, of an adapter, or of either.

    Raises `UserError` for a file that is missing, is no GGUF, ends before its last tensor does, or is of another kind.
    """
    header = _read(path, "model" if kind == "any" else kind)
    if kind == "any" or (header.keys.get("general.type") == "adapter") == (kind == "adapter"):
        return header
    if kind == "model":
        raise UserError(
            f"{path} is an adapter, not a model; give it as --adapter, and a GGUF of its base as the model."
        )
    raise UserError(f"{path} is no adapter; give what radlite export --adapter-only wrote.")


def _read(path: Path, kind: str) -> Header:
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # opening a pipe would wait for somebody to write into it
            raise UserError(f"{path} is no regular file; give the GGUF file of the {kind}.")
        with path.open("rb") as file:
            size = path.stat().st_size
            if size < 24 or file.read(4) != b"GGUF":
                raise UserError(f"{path} holds no GGUF; give the GGUF file of the {kind}.")
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                return _header(path, data)
    except OSError as error:
        raise UserError(f"Cannot read the {kind} {path}: {error.strerror}; check the path.") from error
    except (struct.error, LookupError, ValueError, TypeError, OverflowError, RecursionError) as error:
        raise UserError(f"{path} is damaged or cut short; export or download the {kind} again.") from error


def _header(path: Path, data: mmap.mmap) -> Header:
    version, tensor_count, key_count = struct.unpack_from("<IQQ", data, 4)
    if version not in (2, 3):
        raise UserError(f"{path} is GGUF version {version}, but 2 or 3 is needed; export or download it again.")
    take, offset = _reader(data, 24)
    keys: dict[str, Any] = {}
    kinds: dict[str, int] = {}
    for _ in range(key_count):
        key = take(_STRING)
        kinds[key] = take(4)
        keys[key] = take(kinds[key])
    tensors: dict[str, tuple[int, ...]] = {}
    types: dict[str, int] = {}
    starts: dict[str, int] = {}
    for _ in range(tensor_count):
        name = take(_STRING)
        tensors[name] = tuple(take(10) for _ in range(take(4)))
        types[name] = take(4)
        starts[name] = take(10)
    alignment = int(keys.get("general.alignment", 32)) or 1
    start = -(-offset() // alignment) * alignment
    end = max((at + _bytes(tensors[name], types[name]) for name, at in starts.items()), default=0)
    if tensors and start + end > len(data):
        raise UserError(f"{path} is cut short ({len(data):,} of {start + end:,} bytes); export or download it again.")
    return Header(path, keys, tensors, types, {name: start + at for name, at in starts.items()}, kinds)


def _bytes(shape: tuple[int, ...], kind: int) -> int:
    import gguf

    block: int
    size: int
    block, size = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType(kind)]
    return math.prod(shape) // block * size


def _reader(data: mmap.mmap, offset: int) -> tuple[Callable[[int], Any], Callable[[], int]]:
    """A function that takes the next value of a GGUF type, and one that tells the offset."""

    def take(kind: int) -> Any:
        nonlocal offset
        if kind == _STRING:
            return text()
        if kind == _ARRAY:
            inner, count = struct.unpack_from("<IQ", data, offset)
            offset += 12
            if inner in _SCALARS:
                values = struct.unpack_from(f"<{count}{_SCALARS[inner]}", data, offset)
                offset += struct.calcsize(f"<{count}{_SCALARS[inner]}")
                return list(values)
            return [take(inner) for _ in range(count)]
        (value,) = struct.unpack_from(f"<{_SCALARS[kind]}", data, offset)
        offset += struct.calcsize(f"<{_SCALARS[kind]}")
        return value

    length_of = struct.Struct("<Q").unpack_from

    def text() -> str:
        nonlocal offset
        (length,) = length_of(data, offset)
        start, offset = offset + 8, offset + 8 + length
        if offset > len(data):
            raise IndexError
        return data[start:offset].decode()

    return take, lambda: offset
