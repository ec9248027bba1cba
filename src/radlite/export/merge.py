"""An adapter added into the weights it was trained on: W + scale * B A (Hu et al., 2021)."""

import math
import re
import shutil
from pathlib import Path
from typing import Any, BinaryIO

from radlite import manifest
from radlite.chat import demand_base
from radlite.errors import UserError
from radlite.export import weights
from radlite.export.weights import Array, Tensor
from radlite.files import atomic_folder, read_json

# Settings of PEFT that a plain merge honours, or that do not change the sum. Any other that is set is refused, so that
# a method which is not known here, or not yet invented, cannot be merged wrongly.
_PLAIN = {
    "auto_mapping", "base_model_name_or_path", "exclude_modules", "inference_mode", "layers_pattern",
    "layers_to_transform", "lora_alpha", "lora_dropout", "megatron_core", "peft_type", "peft_version",
    "qalora_group_size", "r", "revision", "runtime_config", "target_modules", "task_type", "use_rslora",
}  # fmt: skip
_UNCHANGED_BASE = (True, "gaussian", "orthogonal", "eva")
"""Initialisations of PEFT that leave the base as it is; PiSSA and its like train on a changed one."""

_PARTNER = re.compile(r"base_model\.model\.(.+)\.lora_([AB])\.weight")
_COPIED = (
    "config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja",
    "special_tokens_map.json", "added_tokens.json", "vocab.json", "merges.txt", "model.safetensors.index.json",
    "LICENSE", "NOTICE",
)  # fmt: skip


def merge(adapter: Path, out: Path, base: Path | None = None) -> Path:
    """Write the model folder `out`: the base with the adapter's change added, in the base's types and files.

    `base` is where the manifest says unless given; either way its weights must be those trained on. The sum is made
    in float32, then rounded once. Memory: a block of one tensor. The folder appears whole or not at all; an earlier
    merge at `out` is replaced. Raises `UserError` for another base or template, and for an adapter that a plain merge
    cannot express (DoRA, trained biases or embeddings, ranks that differ).
    """
    facts = manifest.read(adapter, "adapter", manifest.ADAPTER)
    base = base or _base(facts["base"])
    sources = weights.read(base)
    demand_base(facts, adapter, base)
    scale = _scale(adapter)
    changes = _changes(adapter, sources)
    _vacant(out, (adapter, base))
    with atomic_folder(out) as part:
        for path in sorted({tensor.path for tensor in sources.values()}):
            with (part / path.name).open("wb") as file:
                file.write(weights.header(path))
                for tensor in sources.values():
                    if tensor.path == path:
                        _write(file, tensor, changes.get(tensor.name), scale)
        for name in _COPIED:
            if (base / name).is_file():
                shutil.copyfile(base / name, part / name)
        origin = {"name": Path(facts["base"]).name or base.resolve().name, "hash": facts["base_hash"]}
        manifest.write(part, manifest.describe("merged", base=origin, adapter=_without_places(facts), scale=scale))
    return out


def _base(name: str) -> Path:
    """The folder of a base that is named by its place, or by its name on the hub."""
    if Path(name).is_dir():
        return Path(name)
    from radlite.training.trainer import base_folder

    return base_folder(name)


def _without_places(facts: dict[str, Any]) -> dict[str, Any]:
    """The adapter's manifest without paths, which mean nothing elsewhere and tell of the machine."""
    kept = {name: fact for name, fact in facts.items() if name != "base"}
    if isinstance(kept.get("recipe"), dict):
        kept["recipe"] = {
            name: value for name, value in kept["recipe"].items() if name not in ("base", "corpus", "out")
        }
    return kept


def _scale(adapter: Path) -> float:
    settings = read_json(adapter / "adapter_config.json", "adapter settings", ("r", "lora_alpha"))
    method = settings.get("peft_type")
    if method != "LORA":
        raise UserError(f"{adapter} is a {method} adapter; only LoRA can be merged.")
    if settings.get("init_lora_weights", True) not in _UNCHANGED_BASE:
        raise UserError(f"{adapter} changed its base when it began ({settings['init_lora_weights']}); it cannot merge.")
    neutral = {"bias": "none", "init_lora_weights": settings.get("init_lora_weights")}
    for name, value in settings.items():
        if name not in _PLAIN and value and value != neutral.get(name):
            raise UserError(f"{adapter} uses {name}, which a plain merge cannot express; train without it.")
    rank, alpha = settings["r"], settings["lora_alpha"]
    return float(alpha / (math.sqrt(rank) if settings.get("use_rslora") else rank))


def _changes(adapter: Path, sources: dict[str, Tensor]) -> dict[str, tuple[Tensor, Tensor]]:
    """A (rank, columns) and B (rows, rank) for each name of the base that the adapter changes."""
    found: dict[str, dict[str, Tensor]] = {}
    for name, tensor in weights.read(adapter).items():
        match = _PARTNER.fullmatch(name)
        if not match or f"{match[1]}.weight" not in sources:
            raise UserError(f"{adapter} changes {name}, which the base does not have as a matrix of its own.")
        found.setdefault(f"{match[1]}.weight", {})[match[2]] = tensor
    rank = read_json(adapter / "adapter_config.json", "adapter settings", ("r",))["r"]
    changes = {}
    for name, pair in found.items():
        rows, columns = sources[name].shape
        if {key: tensor.shape for key, tensor in pair.items()} != {"A": (rank, columns), "B": (rows, rank)}:
            raise UserError(f"{adapter} does not fit {name} of the base; give the base it was trained on.")
        changes[name] = pair["A"], pair["B"]
    return changes


def _write(file: BinaryIO, tensor: Tensor, change: tuple[Tensor, Tensor] | None, scale: float) -> None:
    right: Array | None = change[0].read() if change else None
    for begin, end in tensor.blocks():
        values = tensor.read(begin, end)
        if change and right is not None:
            values = values + scale * (change[1].read(begin, end) @ right)
        file.write(weights.stored(values, tensor.type))


def _vacant(out: Path, sources: tuple[Path, ...]) -> None:
    """Raise `UserError` unless `out` is absent, empty or an earlier merge, and none of the sources."""
    if any(out.resolve() == source.resolve() for source in sources):
        raise UserError(f"{out} is what the merge is made from; choose another --out.")
    if out.is_dir() and any(out.iterdir()):
        manifest.read(out, "merged")
    elif out.exists() and not out.is_dir():
        raise UserError(f"{out} is a file, not a folder; choose another --out.")
