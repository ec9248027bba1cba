"""Several adapters over one base as one: the mean of what they add, not of their matrices A and B.

The mean of products is no product of means: A and B of two runs may differ by any change of coordinates between them,
and averaging them apart adds what does not belong together. Side by side, [B1 B2] [A1; A2], the sum of products is
exact, at the sum of the ranks; the nearest one of a lower rank is its truncated singular value decomposition (Eckart
and Young, 1936).
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.progress import Progress

from radlite import manifest
from radlite.errors import UserError
from radlite.export import merge
from radlite.files import atomic_folder, exclusive, write_json
from radlite.runtime import weights
from radlite.runtime.weights import Array, Tensor

_NAME = "base_model.model.{}.lora_{}.weight"


@dataclass(frozen=True, slots=True)
class Averaged:
    """What came of it."""

    rank: int
    kept: float
    """Share of the change's squared norm, over all matrices: 1 if the rank is the sum of the ranks."""


@dataclass(frozen=True, slots=True)
class _Adapter:
    folder: Path
    facts: dict[str, Any]
    share: float
    scale: float
    rank: int
    parts: dict[str, dict[str, Tensor]]


def average(
    adapters: Sequence[Path],
    out: Path,
    shares: Sequence[float] | None = None,
    rank: int | None = None,
    progress: Progress | None = None,
) -> Averaged:
    """Write the adapter folder `out`: the mean of the changes that `adapters` make, weighted by `shares`, else equally.

    Shares are scaled to a sum of 1; a matrix that an adapter does not change it changes by 0. Without `rank` the mean
    is exact but for float32, and its rank the sum of theirs; with it, it is the nearest of that rank, matrix by matrix.
    The base is not read. Memory: the parts of one matrix. The folder appears whole or not at all.

    Raises `UserError` for adapters of different bases, templates or wordings, for one that a sum cannot express (DoRA),
    and for a rank beyond the sum of theirs.
    """
    with exclusive(out):
        if out.exists():
            raise UserError(f"{out} exists already; choose another --out or delete it.")
        found = _read(adapters, _normed(shares, len(adapters)))
        _demand_one_model(found)
        sizes = _sizes(found)
        total = sum(one.rank for one in found)
        if rank is not None and not 1 <= rank <= total:
            raise UserError(
                f"The adapters have {total} ranks together; give a --rank of 1 to {total}, or leave it out."
            )
        rank = rank or total
        norms = [0.0, 0.0]
        with atomic_folder(out) as part:
            shapes = {
                _NAME.format(name.removesuffix(".weight"), letter): shape
                for name, (rows, columns) in sizes.items()
                for letter, shape in (("A", (rank, columns)), ("B", (rows, rank)))
            }
            weights.write(part / "adapter_model.safetensors", shapes, _values(found, sizes, rank, norms, progress))
            write_json(part / "adapter_config.json", _settings(found[0], sizes, rank))
            manifest.write(part, manifest.describe("adapter", **_facts(found)))
    return Averaged(rank, norms[0] / norms[1] if norms[1] else 1.0)


def _normed(shares: Sequence[float] | None, count: int) -> list[float]:
    if count < 2:
        raise UserError("A mean takes two adapters or more; name them one after the other.")
    shares = [1.0] * count if shares is None else list(shares)
    if len(shares) != count:
        raise UserError(f"There are {count} adapters but {len(shares)} weights; give one of each.")
    if not all(math.isfinite(share) and share > 0 for share in shares):
        raise UserError("A weight must be a number above 0; leave out the adapter that is not to count.")
    return [share / math.fsum(shares) for share in shares]


def _read(adapters: Sequence[Path], shares: Sequence[float]) -> list[_Adapter]:
    found = []
    for folder, share in zip(adapters, shares, strict=True):
        facts = manifest.read(folder, "adapter", manifest.ADAPTER)
        scale, rank = merge.scaling(folder)
        parts = merge.parts(folder)
        for name, part in parts.items():
            if "length" in part:
                raise UserError(
                    f"{folder} is a DoRA adapter, whose lengths a mean of sums cannot express; leave it out."
                )
            shapes = {letter: tensor.shape for letter, tensor in part.items()}
            if shapes.keys() != {"A", "B"} or shapes["A"][:1] != (rank,) or shapes["B"][1:] != (rank,):
                raise UserError(f"{folder} is damaged at {name}; train the adapter again.")
        found.append(_Adapter(folder, facts, share, scale, rank, parts))
    return found


def _demand_one_model(found: Sequence[_Adapter]) -> None:
    first = found[0]
    wordings: dict[str, tuple[Path, Any]] = {}
    for one in found:
        if any(one.facts.get(name) != first.facts.get(name) for name in ("base_hash", "base_quantized")):
            raise UserError(f"{one.folder} was trained on another base than {first.folder}; take adapters of one base.")
        if one.facts["template_hash"] != first.facts["template_hash"]:
            raise UserError(f"{one.folder} was trained with another chat template than {first.folder}; train it anew.")
        for task, digest in manifest.tuned_wording(one.facts).items():
            other, known = wordings.setdefault(task, (one.folder, digest))
            if known != digest:
                raise UserError(f"{one.folder} was trained with other words for {task} than {other}; train one anew.")


def _sizes(found: Sequence[_Adapter]) -> dict[str, tuple[int, int]]:
    """(rows, columns) of each matrix that any of them changes."""
    sizes: dict[str, tuple[int, int]] = {}
    for one in found:
        for name, part in one.parts.items():
            size = (part["B"].rows, part["A"].shape[-1])
            if sizes.setdefault(name, size) != size:
                raise UserError(f"{one.folder} does not fit the others at {name}; it is damaged or of another base.")
    return sizes


def _values(
    found: Sequence[_Adapter],
    sizes: Mapping[str, tuple[int, int]],
    rank: int,
    norms: list[float],
    progress: Progress | None,
) -> Iterator[Array]:
    """A and B of matrix after matrix; to `norms` are added the squared norms of what is written and what is meant."""
    line = progress.add_task("averaging", total=len(sizes)) if progress else None
    for name, (rows, columns) in sizes.items():
        pairs = [
            (one.parts[name]["A"].read(), one.share * one.scale * one.parts[name]["B"].read())
            if name in one.parts
            else (np.zeros((one.rank, columns), np.float32), np.zeros((rows, one.rank), np.float32))
            for one in found
        ]
        a, b = np.concatenate([pair[0] for pair in pairs]), np.concatenate([pair[1] for pair in pairs], axis=1)
        if rank < len(a):
            a, b, kept, meant = _truncated(a, b, rank)
            norms[0] += kept
            norms[1] += meant
        yield a
        yield b.astype(np.float32, copy=False)
        if progress and line is not None:
            progress.advance(line)


def _truncated(a: Array, b: Array, rank: int) -> tuple[Array, Array, float, float]:
    """The nearest product of `rank` to B A, both factors of like size, and the squared norms of it and of B A.

    The large matrix is never made: B = Q R and Aᵀ = P S give B A = Q (R Sᵀ) Pᵀ, whose middle has the ranks' size.
    """
    q, r = np.linalg.qr(b.astype(np.float64))
    p, s = np.linalg.qr(a.T.astype(np.float64))
    left, values, right = np.linalg.svd(r @ s.T, full_matrices=False)
    count = min(rank, len(values))
    roots: NDArray[np.float64] = np.sqrt(values[:count])
    near_a, near_b = np.zeros((rank, a.shape[1]), np.float32), np.zeros((len(b), rank), np.float32)
    near_a[:count] = (p @ right[:count].T * roots).T
    near_b[:, :count] = q @ left[:, :count] * roots
    return near_a, near_b, float(np.sum(values[:count] ** 2)), float(np.sum(values**2))


def _settings(first: _Adapter, sizes: Mapping[str, tuple[int, int]], rank: int) -> dict[str, Any]:
    """PEFT's: alpha is the rank, so that the change is B A."""
    return {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": first.facts["base"],
        "r": rank,
        "lora_alpha": rank,
        "lora_dropout": 0.0,
        "use_rslora": False,
        "bias": "none",
        "target_modules": sorted({name.split(".")[-2] for name in sizes}),
        "inference_mode": True,
    }


def _facts(found: Sequence[_Adapter]) -> dict[str, Any]:
    """What the manifest says: of the base what all say, of each adapter its own, without paths."""
    first = found[0].facts
    of_base = (*manifest.ADAPTER, "base_model", "base_licence", "base_quantized")
    corpora = {one.facts.get("corpus") for one in found}
    return {
        **{name: first[name] for name in of_base if name in first},
        "corpus": corpora.pop() if len(corpora) == 1 else None,
        "wording": {task: digest for one in found for task, digest in manifest.tuned_wording(one.facts).items()},
        "sources": _sources(found),
        "averaged": [{"share": one.share, **manifest.without_places(one.facts)} for one in found],
    }


def _sources(found: Sequence[_Adapter]) -> list[dict[str, Any]]:
    """Where the rows of all come from; how many rows only where all say the same, as some may be counted twice."""
    lines: dict[tuple[Any, ...], dict[str, Any]] = {}
    for one in found:
        for line in one.facts.get("sources", ()):
            key = tuple(line.get(name) for name in ("source", "tier", "licence"))
            known = lines.setdefault(key, dict(line))
            if known.get("rows") != line.get("rows"):
                known["rows"] = None
    return list(lines.values())
