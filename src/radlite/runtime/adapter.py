"""A LoRA adapter in a GGUF of its own, over the GGUF of its base: what has to fit before llama.cpp reads it.

llama.cpp ends the process over some files (a key of another type), and ignores what it does not know; here each gets
its sentence.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from radlite.errors import UserError
from radlite.manifest import text_hash
from radlite.runtime import gguf
from radlite.runtime.gguf import Header

_FLOAT32, _UINT32 = 6, 4
_TYPES: Final = {0, 1, 8, 30}
"""F32, F16, Q8_0, BF16: what adapters are written in."""


def read(path: Path, base: Header) -> Header:
    """The header of an adapter GGUF that fits the model of `base`.

    Raises `UserError` for a file that is damaged or no adapter, for another method than LoRA, another architecture,
    tensors that do not fit, and, as far as the manifests of both tell, for other weights or another chat template than
    it was trained on.
    """
    header = gguf.read(path, "adapter")
    _demand_lora(header)
    family, of = (one.keys.get("general.architecture") for one in (header, base))
    if family != of:
        raise UserError(
            f"{path} is an adapter for a {family}, but {base.path} is a {of}; give its own base as --model."
        )
    _demand_fit(header, base)
    _demand_trained_on(header, base)
    return header


def name(model: Path, adapter: Path | None) -> str:
    """What a model is called in readings: by its file, and by that of the adapter over it."""
    return f"{model.stem}+{adapter.stem}" if adapter else model.stem


def shown(model: Path, adapter: Path | None) -> str:
    """The files of a model, for errors."""
    return f"{model} with {adapter}" if adapter else str(model)


def damaged(model: Path, adapter: Path | None) -> UserError:
    """The error for what loads and computes no numbers."""
    return UserError(
        f"{shown(model, adapter)} is damaged: it computes no answer; export or download "
        f"the {'adapter' if adapter else 'model'} again."
    )


def _demand_lora(header: Header) -> None:
    keys, kinds = header.keys, header.value_types
    if keys.get("adapter.type") != "lora":
        raise UserError(f"{header.path} is no LoRA adapter, which is the only kind that can be used; export it again.")
    if late := next((key for key in keys if key.startswith("adapter.alora.")), None):
        raise UserError(f"{header.path} has {late}: it works only after certain tokens; use a plain LoRA adapter.")
    known = kinds.get("adapter.lora.alpha") == _FLOAT32 and kinds.get("general.alignment", _UINT32) == _UINT32
    if not (known and 0 < keys["adapter.lora.alpha"] < math.inf):
        raise UserError(f"{header.path} does not say its scale as llama.cpp reads it; export the adapter again.")


def _demand_fit(header: Header, base: Header) -> None:
    """A (rank, columns) and B (rows, rank) for each, and only for matrices of the base that are multiplied with."""
    ranks: dict[str, dict[str, int]] = {}
    for tensor, shape in header.tensors.items():
        target, _, part = tensor.rpartition(".")
        whole = base.tensors.get(target, ())
        if len(whole) != 2 or part not in ("lora_a", "lora_b") or target == "token_embd.weight":
            raise UserError(f"{header.path} changes {tensor}, which {base.path} does not have as a matrix; merge it.")
        at = 0 if part == "lora_a" else 1
        if header.types[tensor] not in _TYPES or len(shape) != 2 or shape[at] != whole[at] or not shape[1 - at]:
            raise UserError(f"{tensor} in {header.path} does not fit {base.path}; give its own base as --model.")
        ranks.setdefault(target, {})[part] = shape[1 - at]
    for target, found in ranks.items():
        if len(found) != 2 or found["lora_a"] != found["lora_b"]:
            raise UserError(f"{header.path} has no whole pair for {target}; export the adapter again.")
    if not ranks:
        raise UserError(f"{header.path} changes nothing; export the adapter again.")


def _demand_trained_on(header: Header, base: Header) -> None:
    made, of = header.manifest or {}, base.manifest or {}
    trained, weights = _facts(made, "base").get("hash"), of.get("weights_hash")
    if trained and weights and trained != weights:
        raise UserError(
            f"{header.path} was trained on other weights than {base.path} was made from; give a GGUF of its own base "
            "as --model (radlite export BASE --out base.gguf)."
        )
    template = _facts(made, "adapter").get("template_hash")
    if template and template != text_hash(str(base.keys.get("tokenizer.chat_template"))):
        raise UserError(
            f"{header.path} was trained with another chat template than {base.path} has; give a GGUF of its own base "
            "as --model (radlite export BASE --out base.gguf)."
        )


def _facts(made: Mapping[str, Any], part: str) -> Mapping[str, Any]:
    found = made.get(part)
    return found if isinstance(found, Mapping) else {}
