"""How much each column of a matrix matters to what the model computes, over conversations of its own tasks.

What a rounded weight does to an output is its error times the input of its column. The mean square of that input is the
column's importance, by which llama.cpp weighs errors where it chooses the scales of K-quants and their like
(its "importance matrix").
"""

import contextlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from gguf import GGMLQuantizationType as Type
from rich.progress import Progress

from radlite import manifest
from radlite.errors import UserError
from radlite.files import atomic
from radlite.manifest import text_hash, weights_hash
from radlite.reader import turns
from radlite.runtime import gguf as header
from radlite.runtime import layout
from radlite.runtime.quantize import WEIGHED, decode
from radlite.runtime.weights import Array, Tensor
from radlite.tasks import Example, named

ROWS: Final = 32
"""Rows of each task that are enough: with nine tasks some 80,000 tokens."""

_KIND: Final = "imatrix"
"""What `general.type` says of llama.cpp's importance matrices."""

_EMBEDDINGS, _OUTPUT = "model.embed_tokens.weight", "lm_head.weight"


@dataclass(frozen=True, slots=True)
class Importance:
    """Mean square of what each matrix is multiplied with, and what it was measured on."""

    sums: Mapping[str, tuple[Array, int]]
    """Name of the matrix in the model folder to the sum of squares, (columns), and the number of tokens in it."""
    rows: int
    tokens: int
    data: str
    """Digest of the rows."""
    weights: str
    """Digest of the model's weights, to which it belongs."""

    def of(self, tensor: Tensor, tied: bool) -> Array | None:
        """Of a tensor's columns; None for vectors, and for embeddings unless they are `tied`: the output matrix too."""
        return self.columns.get(_OUTPUT if tied and tensor.name == _EMBEDDINGS else tensor.name)

    @property
    def columns(self) -> dict[str, Array]:
        """Name of the matrix in the model folder to the mean squares, (columns)."""
        return {name: total / np.float32(max(1, count)) for name, (total, count) in self.sums.items()}

    def made(self) -> dict[str, Any]:
        """What manifests say of it."""
        return {"rows": self.rows, "tokens": self.tokens, "data": self.data}

    def keys(self) -> dict[str, Any]:
        """What a GGUF says of it, by the names that `llama-quantize` uses."""
        return {
            "quantize.imatrix.dataset": "radlite corpus",
            "quantize.imatrix.entries_count": len(self.sums),
            "quantize.imatrix.chunks_count": self.rows,
        }


def demand_use(kind: str) -> None:
    """Raise `UserError` unless files of `kind` are rounded by importance."""
    layout.demand_kind(kind)
    if layout.KINDS[kind][1] not in WEIGHED:
        raise UserError(f"{kind} has no use for importance: no scale is searched there; leave --importance out.")


def measure(folder: Path, examples: Sequence[Example], progress: Progress | None = None) -> Importance:
    """Measure importance in the model `folder` over whole conversations: the examples' prompts and true answers.

    They are rendered as in training; what does not fit the model's context is left out. Memory: the model by
    `transformers`, on a CPU in float32, twice the size of its weights in 16 bits, which is freed at the end. Raises
    `UserError` as `hf.open_model` does, and if no example fits.
    """
    from radlite.runtime import hf

    weights = weights_hash(folder)
    with contextlib.closing(hf.open_model(folder)) as model:
        used, rows = [], []
        for example in examples:
            prompt = model.renderer.prompt(turns(named(example.task), example.inputs))
            row = model.renderer.training(prompt, example.answer)
            if len(row[0]) <= model.context_tokens:
                used.append({**asdict(example), "inputs": dict(example.inputs)})
                rows.append(row)
        if not rows:
            raise UserError("No training row fits the model's context; give a corpus with shorter reports.")
        sums = model.squares(progress.track(rows, description="importance") if progress else rows)
    return Importance(sums, len(rows), sum(len(ids) for ids, _ in rows), text_hash(used), weights)


def save(found: Importance, path: Path, config: Mapping[str, Any]) -> Path:
    """Write `found` as a GGUF that llama.cpp's tools read as an importance matrix, and return its path.

    `config` is the model's, as from `layout.settings`. Form: tools/imatrix in llama.cpp; NAME.in_sum2 (1, columns)
    holds the sums, NAME.counts (1, 1) the number of tokens, both in F32. The file appears whole or not at all.
    """
    data: dict[str, Array] = {}
    for source, (name, _) in _matrices(config).items():
        if source in found.sums:
            total, count = found.sums[source]
            data[f"{name}.in_sum2"] = total.reshape(1, -1)
            data[f"{name}.counts"] = np.array([[count]], np.float32)
    keys = {
        "general.architecture": layout.FAMILIES[config["architectures"][0]],
        "general.type": _KIND,
        "imatrix.datasets": ["radlite corpus"],
        "imatrix.chunk_count": found.rows,
        "imatrix.chunk_size": max(1, found.tokens // found.rows),
        "radlite.manifest": json.dumps(manifest.describe("importance", **found.made(), weights_hash=found.weights)),
    }
    with atomic(path) as part:
        layout.write_head(part, keys, {name: one.shape for name, one in data.items()}, dict.fromkeys(data, Type.F32))
        with part.open("ab") as file:
            for one in data.values():
                file.write(bytes(-file.tell() % layout.ALIGNMENT))
                file.write(np.ascontiguousarray(one, "<f4").data)
            file.write(bytes(-file.tell() % layout.ALIGNMENT))
    return path


def load(path: Path, folder: Path, config: Mapping[str, Any]) -> Importance:
    """What `save` wrote, for the model in `folder`, whose settings are `config`.

    Raises `UserError` for a file that is damaged, that radlite did not write, or that was measured on other weights.
    """
    found = check(path)
    made = found.manifest or {}
    if made.get("weights_hash") != weights_hash(folder):
        raise UserError(
            f"The importance in {path} was measured on other weights than this model's; "
            "measure it again, with a corpus for --importance."
        )
    stored = {source: _stored(path, found, *matrix) for source, matrix in _matrices(config).items()}
    sums = {source: one for source, one in stored.items() if one}
    if not sums:
        raise _damaged(path)
    return Importance(sums, made["rows"], made["tokens"], made["data"], made["weights_hash"])


def check(path: Path) -> header.Header:
    """The header of a file that `save` wrote; `UserError` for any other."""
    found = header.read(path)
    made = found.manifest or {}
    if found.keys.get("general.type") != _KIND:
        raise UserError(f"{path} is a model, not importance; give a corpus, or what --keep-importance wrote.")
    if not all(name in made for name in ("rows", "tokens", "data", "weights_hash")):
        raise UserError(f"{path} does not tell on which weights it was measured; measure it with radlite.")
    return found


def lost(path: Path, folder: Path, config: Mapping[str, Any], found: Importance) -> float:
    """The weighted error of the GGUF at `path`, made from `folder`: of each matrix the squares of its errors times the
    importance of their columns, as a share of the same sum over its weights; on average over the matrices."""
    from radlite.export import gguf

    sources, tied, shares = gguf.tensors(folder, dict(config)), bool(config.get("tie_word_embeddings")), []
    for name, type, data in gguf.read(path):
        columns = found.of(sources[name], tied)
        if columns is None:
            continue
        error = whole = 0.0
        for begin, end in sources[name].blocks():
            values = sources[name].read(begin, end)
            error += float((np.square(decode(data[begin:end], type) - values).sum(0, np.float64) * columns).sum())
            whole += float((np.square(values).sum(0, np.float64) * columns).sum())
        shares.append(error / whole if whole else 0.0)
    return float(np.mean(shares))


def _stored(path: Path, found: header.Header, name: str, columns: int) -> tuple[Array, int] | None:
    """Sum and count of the matrix that the GGUF calls `name`; None if it is not there."""
    places = f"{name}.in_sum2", f"{name}.counts"
    if not any(place in found.tensors for place in places):
        return None
    if [(found.tensors.get(place), found.types.get(place)) for place in places] != [
        ((columns, 1), Type.F32),
        ((1, 1), Type.F32),
    ]:
        raise _damaged(path)
    total, [count] = (
        np.fromfile(path, "<f4", found.tensors[place][0], offset=found.starts[place]).astype(np.float32)
        for place in places
    )
    if not (np.isfinite(total).all() and (total >= 0).all() and 0 <= count < 2**31):
        raise _damaged(path)
    return total, int(count)


def _damaged(path: Path) -> UserError:
    return UserError(f"The importance in {path} is damaged; measure it again, with a corpus for --importance.")


def _matrices(config: Mapping[str, Any]) -> dict[str, tuple[str, int]]:
    """Each matrix that something is multiplied with to its name in a GGUF and its columns; tied embeddings are the
    output's."""
    found = {source: (name, shape[1]) for source, (name, shape) in layout.tensors(config).items() if len(shape) == 2}
    embeddings = found.pop(_EMBEDDINGS)
    return found | ({_OUTPUT: embeddings} if config.get("tie_word_embeddings") else {})
