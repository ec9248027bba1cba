"""How much each column of a matrix matters to what the model computes, over conversations of its own tasks.

What a rounded weight does to an output is its error times the input of its column. The mean square of that input is the
column's importance, by which llama.cpp weighs errors where it chooses the scales of K-quants and their like
(its "importance matrix").
"""

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from rich.progress import Progress

from radlite.errors import UserError
from radlite.manifest import text_hash
from radlite.reader import turns
from radlite.runtime import layout
from radlite.runtime.quantize import WEIGHED
from radlite.runtime.weights import Array, Tensor
from radlite.tasks import Example, named

ROWS: Final = 32
"""Rows of each task that are enough: with nine tasks some 80,000 tokens."""

_EMBEDDINGS, _OUTPUT = "model.embed_tokens.weight", "lm_head.weight"


@dataclass(frozen=True, slots=True)
class Importance:
    """Mean square of what each matrix is multiplied with, and what it was measured on."""

    columns: Mapping[str, Array]
    """Name of the matrix in the model folder to (columns)."""
    rows: int
    tokens: int
    data: str
    """Digest of the rows."""

    def of(self, tensor: Tensor, tied: bool) -> Array | None:
        """Of a tensor's columns; None for vectors, and for embeddings unless they are `tied`: the output matrix too."""
        return self.columns.get(_OUTPUT if tied and tensor.name == _EMBEDDINGS else tensor.name)

    def made(self) -> dict[str, Any]:
        """What manifests say of it."""
        return {"rows": self.rows, "tokens": self.tokens, "data": self.data}

    def keys(self) -> dict[str, Any]:
        """What a GGUF says of it, by the names that `llama-quantize` uses."""
        return {
            "quantize.imatrix.dataset": "radlite corpus",
            "quantize.imatrix.entries_count": len(self.columns),
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
        columns = model.mean_squares(progress.track(rows, description="importance") if progress else rows)
    return Importance(columns, len(rows), sum(len(ids) for ids, _ in rows), text_hash(used))
