"""An adapter added into the weights it was trained on: W + scale * B A (Hu et al., 2021); with DoRA each row of that is
brought to the length that was learned (Liu et al., 2024)."""

import math
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from radlite import manifest
from radlite.chat import demand_base
from radlite.errors import UserError
from radlite.files import atomic_folder, read_json
from radlite.runtime import rounding, weights
from radlite.runtime.layout import FLOATS, KINDS
from radlite.runtime.rounding import Rounding
from radlite.runtime.weights import Array, Tensor

# Settings of PEFT that a plain merge honours, or that do not change the sum. Any other that is set is refused, so that
# a method which is not known here, or not yet invented, cannot be merged wrongly.
_PLAIN = {
    "auto_mapping", "base_model_name_or_path", "exclude_modules", "inference_mode", "layers_pattern",
    "layers_to_transform", "lora_alpha", "lora_dropout", "megatron_core", "peft_type", "peft_version",
    "qalora_group_size", "r", "revision", "runtime_config", "target_modules", "task_type", "use_dora", "use_rslora",
}  # fmt: skip
_UNCHANGED_BASE = (True, "gaussian", "orthogonal", "eva")
"""Initialisations of PEFT that leave the base as it is; PiSSA and its like train on a changed one."""

_PARTNER = re.compile(r"base_model\.model\.(.+)\.(?:lora_([AB])\.weight|lora_magnitude_vector(?:\.weight)?)")
_COPIED = (
    "config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja",
    "special_tokens_map.json", "added_tokens.json", "vocab.json", "merges.txt", "model.safetensors.index.json",
    "LICENSE", "NOTICE",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Change:
    """What an adapter does to its base: it adds `scale * B A` to each matrix that it names, then sets `lengths`."""

    facts: dict[str, Any]
    """The adapter's manifest."""
    base: Path
    sources: dict[str, Tensor]
    """The base's tensors."""
    scale: float
    rank: int
    pairs: dict[str, tuple[Tensor, Tensor]]
    """A (rank, columns) and B (rows, rank) by the name of the base's matrix."""
    lengths: dict[str, Tensor] = field(default_factory=dict)
    """With DoRA the Euclidean length (rows) that each row of the sum is brought to, by the same names."""
    rounding: Rounding | None = None
    """How the base was rounded on which it was trained."""

    @property
    def made(self) -> dict[str, Any]:
        """What manifests say of it, without paths, which mean nothing elsewhere and tell of the machine."""
        name = Path(self.facts["base"]).name or self.base.resolve().name
        return {
            "base": {"name": name, "hash": self.facts["base_hash"]},
            "adapter": manifest.without_places(self.facts),
            "scale": self.scale,
        }


def change(adapter: Path, base: Path | None = None) -> Change:
    """The change that the adapter folder makes. `base` is where the manifest says unless given.

    Raises `UserError` for another base or template than those trained on, and for an adapter that this cannot
    express (trained biases or embeddings, ranks that differ).
    """
    facts = manifest.read(adapter, "adapter", manifest.ADAPTER)
    base = base or _base(facts["base"])
    sources = weights.read(base)
    demand_base(facts, adapter, base)
    scale, rank = scaling(adapter)
    fitting = _fitting(adapter, sources, rank)
    pairs = {name: (part["A"], part["B"]) for name, part in fitting.items()}
    lengths = {name: part["length"] for name, part in fitting.items() if "length" in part}
    kind = manifest.base_quantized(facts)
    return Change(facts, base, sources, scale, rank, pairs, lengths, rounding.of(base, kind) if kind else None)


def merge(adapter: Path, out: Path, base: Path | None = None, kind: str = "F16", rounded: bool | None = None) -> Path:
    """Write the model folder `out`: the base with the adapter's change added, in the base's types and files.

    The sum is made in float32, then rounded once. A base that was rounded for the training is rounded here too, and the
    merged model is the one that was trained; unless it is to become a GGUF of a `kind` in which that would be lost
    (`rounding.survives`). Then the base is taken as it is, and the manifest tells how far that leads away (`unrounded`,
    see `_apart`). `rounded` says which in place of this rule. Memory: a block of one tensor. The folder appears whole
    or not at all; an earlier merge at `out` is replaced. Raises `UserError` as `change` does, and for `rounded` where
    training rounded nothing.
    """
    found = change(adapter, base)
    if rounded is not None and not found.rounding:
        raise UserError(f"{adapter} was trained on its base as it is; leave out --rounded and --unrounded.")
    _vacant(out, (adapter, found.base))
    how = found.rounding
    if how and not (rounding.survives(how.kind, kind) if rounded is None else rounded):
        how = None
    made = {**found.made, **({} if how == found.rounding else {"unrounded": _apart(found)})}
    with atomic_folder(out) as part:
        for path in sorted({tensor.path for tensor in found.sources.values()}):
            with (part / path.name).open("wb") as file:
                file.write(weights.header(path))
                for tensor in found.sources.values():
                    if tensor.path == path:
                        _write(file, tensor, found, how)
        for name in _COPIED:
            if (found.base / name).is_file():
                shutil.copyfile(found.base / name, part / name)
        manifest.write(part, manifest.describe("merged", **made))
    return out


def note(made: Mapping[str, Any], kind: str = "") -> str:
    """What to know of a file of `kind` that was made from this merged folder, or of an adapter's own, if no `kind`.

    Empty unless the adapter was trained on a rounded base, where files differ in how near they are to what was trained.
    """
    rounded = manifest.base_quantized(made)
    if not rounded:
        return ""
    if not kind:
        if rounded == rounding.NF4:
            return "It was trained on NF4, which no GGUF of the base has; as trained is what is merged, in F16 or Q8_0."
        exact = f"radlite export BASE --quantize {rounded} --out base.gguf, without importance"
        return f"It is as trained over its base in {rounded} alone: {exact}."
    if apart := made.get("unrounded"):
        told = (
            f"Merged onto the base as it is, not in {rounded} as trained: of the tuned matrices' norm, that rounding "
            f"had moved {apart['rounding']:.2%}, the adapter {apart['adapter']:.2%}."
        )
    elif KINDS[kind][1] in FLOATS:
        return f"It is as trained: merged onto the base in {rounded}."
    else:
        told = f"It is as trained, merged onto the base in {rounded}, but for the rounding to {kind}."
        if not rounding.survives(rounded, kind):
            told = f"Rounded to {rounded} before the merge and to {kind} after it, it lost what learning moved little."
    other = "a file of more bits, such as Q8_0" if rounded == rounding.NF4 else "the adapter alone (--adapter-only)"
    return told if rounding.survives(rounded, kind) and not apart else f"{told} Nearer to what was trained: {other}."


def _base(name: str) -> Path:
    """The folder of a base that is named by its place, or by its name on the hub."""
    if Path(name).is_dir():
        return Path(name)
    from radlite.hub import base_folder

    return base_folder(name)


def scaling(adapter: Path) -> tuple[float, int]:
    """Scale of the change, and rank. Raises `UserError` for an adapter that a merge cannot express."""
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
    if not (isinstance(rank, int) and rank > 0 and isinstance(alpha, int | float) and math.isfinite(alpha)):
        raise UserError(f"{adapter} has no usable rank or alpha in adapter_config.json; train it again.")
    return float(alpha / (math.sqrt(rank) if settings.get("use_rslora") else rank)), int(rank)


def parts(adapter: Path) -> dict[str, dict[str, Tensor]]:
    """`A`, `B` and, with DoRA, `length` by the name of the base's matrix. Raises `UserError` for any other tensor."""
    found: dict[str, dict[str, Tensor]] = {}
    for name, tensor in weights.read(adapter).items():
        match = _PARTNER.fullmatch(name)
        if not match:
            raise UserError(f"{adapter} changes {name}, which the base does not have as a matrix of its own.")
        found.setdefault(f"{match[1]}.weight", {})[match[2] or "length"] = tensor
    return found


def _fitting(adapter: Path, sources: dict[str, Tensor], rank: int) -> dict[str, dict[str, Tensor]]:
    """The parts, if they fit the base's matrices."""
    dora = bool(read_json(adapter / "adapter_config.json", "adapter settings").get("use_dora"))
    found = parts(adapter)
    for name, part in found.items():
        if name not in sources or len(sources[name].shape) != 2:
            raise UserError(f"{adapter} changes {name}, which the base does not have as a matrix of its own.")
        rows, columns = sources[name].rows, sources[name].shape[-1]
        wanted = {"A": (rank, columns), "B": (rows, rank), **({"length": (rows,)} if dora else {})}
        if {key: tensor.shape for key, tensor in part.items()} != wanted:
            raise UserError(f"{adapter} does not fit {name} of the base; give the base it was trained on.")
    return found


def _write(file: BinaryIO, tensor: Tensor, change: Change, how: Rounding | None) -> None:
    pair = change.pairs.get(tensor.name)
    right: Array | None = pair[0].read() if pair else None
    lengths = change.lengths[tensor.name].read()[0] if tensor.name in change.lengths else None
    for begin, end in tensor.blocks():
        values = how.read(tensor, begin, end) if how else tensor.read(begin, end)
        if pair and right is not None:
            values = values + change.scale * (pair[1].read(begin, end) @ right)
        if lengths is not None:
            found = np.linalg.norm(values, axis=1)
            # A row of zeros has no direction and stays as it is.
            factors = np.divide(lengths[begin:end], found, out=np.zeros_like(found), where=found > 0)
            values = values * factors[:, None]
        file.write(weights.stored(values, tensor.type))


def _apart(found: Change) -> dict[str, float]:
    """How much of the tuned matrices, by Euclidean norm, the rounding moved, and how much the adapter does.

    A merge that leaves out a rounding which is not small beside the adapter's change is another model than was trained.
    """
    moved, changed, whole = (0.0, 0.0, 0.0)
    assert found.rounding
    for name, (a, b) in found.pairs.items():
        tensor, right = found.sources[name], a.read()
        for begin, end in tensor.blocks():
            values = tensor.read(begin, end)
            moved += _square(found.rounding.read(tensor, begin, end) - values)
            changed += _square(found.scale * (b.read(begin, end) @ right))
            whole += _square(values)
    shares = {"rounding": moved, "adapter": changed}
    return {name: round(math.sqrt(share / whole), 5) if whole else 0.0 for name, share in shares.items()}


def _square(values: Array) -> float:
    return float(np.square(values, dtype=np.float64).sum())


def _vacant(out: Path, sources: tuple[Path, ...]) -> None:
    """Raise `UserError` unless `out` is absent, empty or an earlier merge, and none of the sources."""
    if any(out.resolve() == source.resolve() for source in sources):
        raise UserError(f"{out} is what the merge is made from; choose another --out.")
    if out.is_dir() and any(out.iterdir()):
        manifest.read(out, "merged")
    elif out.exists() and not out.is_dir():
        raise UserError(f"{out} is a file, not a folder; choose another --out.")
