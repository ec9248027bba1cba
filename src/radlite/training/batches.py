"""Examples to batches: encoded by the one renderer, packed into rows, kept apart in attention."""

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from transformers import AttentionInterface

from radlite.chat import Renderer
from radlite.reader import turns
from radlite.tasks import Example, named

IGNORED = -100
"""Label of a position that nothing is learned from."""

_OPEN_ROWS = 16

SHORT = 512
"""Tokens up to which plain products are faster on a CPU than the fused kernel, whose backward pass is slow there."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One example as ids; the last `targets` of them are learned: the answer and the end of the turn."""

    id: str
    task: str
    ids: NDArray[np.int32]
    targets: int
    weight: float = 1.0
    """Of each target in the loss."""


Row = tuple[Sample, ...]
"""A packed row: whole samples side by side."""


def encode(
    examples: Iterable[Example], renderer: Renderer, max_tokens: int
) -> tuple[dict[tuple[str, str], Sample], list[dict[str, Any]]]:
    """Samples by (task, id), and a list `{id, task, tokens}` of the examples that are longer than `max_tokens`.

    What is too long is left out whole: a cut row would lose its answer, or teach from half a report.
    """
    samples, excluded = {}, []
    for example in examples:
        prompt = renderer.prompt(turns(named(example.task), example.inputs))
        ids, mask = renderer.training(prompt, example.answer)
        if len(ids) > max_tokens:
            excluded.append({"id": example.id, "task": example.task, "tokens": len(ids)})
        else:
            sample = Sample(example.id, example.task, np.array(ids, np.int32), sum(mask))
            samples[example.task, example.id] = sample
    return samples, excluded


def balance(samples: Mapping[tuple[str, str], Sample], strength: float) -> dict[tuple[str, str], Sample]:
    """The samples with targets weighted by (number of targets) ^ -strength, such that the mean weight is 1.

    0: each token of an answer counts alike, so that long answers rule; 1: each answer does.
    """
    total = sum(sample.targets for sample in samples.values())
    mean = sum(sample.targets ** (1 - strength) for sample in samples.values()) / max(1, total)
    return {key: replace(sample, weight=sample.targets**-strength / mean) for key, sample in samples.items()}


def pack(samples: Sequence[Sample], tokens: int, seed: int = 0) -> list[Row]:
    """Rows of at most `tokens` tokens: each sample goes into the first open row that has room.

    Samples are taken in the order given, which the caller has shuffled, and no more than a few rows are open at once:
    sorting by length first would pack a little tighter but put rows of one task into one step.
    """
    rows: list[Row] = []
    open_rows: list[list[Sample]] = []
    rooms: list[int] = []
    for sample in samples:
        at = next((at for at, room in enumerate(rooms) if room >= len(sample.ids)), None)
        if at is None:
            if len(open_rows) == _OPEN_ROWS:
                fullest = rooms.index(min(rooms))
                rows.append(tuple(open_rows.pop(fullest)))
                rooms.pop(fullest)
            at = len(open_rows)
            open_rows.append([])
            rooms.append(tokens)
        open_rows[at].append(sample)
        rooms[at] -= len(sample.ids)
    rows += map(tuple, open_rows)
    # The rows left open to the end are the emptiest; they belong anywhere.
    random.Random(seed).shuffle(rows)
    return rows


def collate(rows: Sequence[Row]) -> dict[str, Any]:
    """One batch of shape (1, tokens) from packed rows, without padding: rows are laid end to end.

    `position_ids` restart with each sample, `labels` are `IGNORED` but for targets (not shifted), `lengths` are the
    samples' token counts, by which attention is kept inside a sample; `weights` has one number for each token.
    """
    samples = [sample for row in rows for sample in row]
    lengths = [len(sample.ids) for sample in samples]
    labels = [np.full(length, IGNORED) for length in lengths]
    for sample, label in zip(samples, labels, strict=True):
        label[-sample.targets :] = sample.ids[-sample.targets :]
    return {
        "input_ids": _row(sample.ids for sample in samples),
        "position_ids": _row(np.arange(len(sample.ids)) for sample in samples),
        "labels": _row(labels),
        "weights": torch.tensor([sample.weight for sample in samples]).repeat_interleave(torch.tensor(lengths))[None],
        "lengths": lengths,
    }


def _row(parts: Iterable[NDArray[Any]]) -> torch.Tensor:
    return torch.from_numpy(np.concatenate([part.astype(np.int64) for part in parts]))[None]


def loss(model: Any, batch: Mapping[str, Any], bf16: bool = False) -> torch.Tensor:
    """Weighted sum of the cross entropy of a batch's targets, in nats; logits are computed at targets alone.

    `use_cache=False` matters: with a cache, transformers takes packed positions for one sequence and samples would see
    each other.
    """
    targets = batch["labels"][0, 1:]
    at = (targets != IGNORED).nonzero()[:, 0]
    with torch.autocast(targets.device.type, torch.bfloat16, enabled=bf16):
        logits = model(
            input_ids=batch["input_ids"],
            position_ids=batch["position_ids"],
            lengths=batch["lengths"],
            logits_to_keep=at,
            use_cache=False,
        ).logits
    losses: torch.Tensor = F.cross_entropy(logits[0].float(), targets[at], reduction="none")
    weights: torch.Tensor = batch["weights"][0, 1:]
    return (losses * weights[at]).sum()


def segments(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    lengths: Sequence[int],
    scaling: float | None = None,
    dropout: float = 0.0,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Causal attention inside each of the consecutive samples of `lengths`, for tensors (1, heads, tokens, size)."""
    parts = (torch.split(tensor, list(lengths), dim=2) for tensor in (query, key, value))
    outputs = []
    for q, k, v in zip(*parts, strict=True):
        if q.is_cpu and not dropout and q.shape[2] <= SHORT:
            outputs.append(_plain(q, k, v, q.shape[-1] ** -0.5 if scaling is None else scaling))
        else:
            outputs.append(
                F.scaled_dot_product_attention(
                    q, k, v, is_causal=True, scale=scaling, dropout_p=dropout, enable_gqa=True
                )
            )
    return torch.cat(outputs, dim=2).transpose(1, 2), None


def _plain(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scaling: float) -> torch.Tensor:
    """Causal attention of one sample by plain matrix products: the heads that share a key are one product."""
    _, heads, tokens, size = query.shape
    groups = key.shape[1]
    ahead = torch.full((tokens, tokens), -torch.inf, dtype=query.dtype).triu_(1)
    scores = (query * scaling).reshape(groups, -1, size) @ key[0].transpose(1, 2)
    shares = (scores.view(heads, tokens, tokens) + ahead).softmax(-1)
    return (shares.view(groups, -1, tokens) @ value[0]).view(1, heads, tokens, size)


# transformers makes no mask for an attention function that has no mask function of its own, and none is needed here.
AttentionInterface.register("radlite_segments", segments)
