"""Examples to batches: encoded by the one renderer, packed into rows, laid out for the device."""

import itertools
import math
import random
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from radlite.chat import Renderer
from radlite.reader import turns
from radlite.tasks import Example, named

IGNORED = -100
"""Label of a position that nothing is learned from."""

_STRENGTH = {"token": 0.0, "sqrt": 0.5, "sample": 1.0}
"""A target's weight is the number of its sample's targets to the power of minus this."""

_OPEN_ROWS = 16

_CHUNK = 1024
"""Rows of logits that are held in fp32 at once on a GPU: 0.6 GB with Qwen's vocabulary."""


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


@dataclass(frozen=True, slots=True)
class Frame:
    """The sizes that all batches of a run have in common, so that what is compiled for one fits all."""

    tokens: int
    """Of a batch; what samples leave of it is filled."""

    slots: int
    """Samples of a batch, the filling included."""

    longest: int
    """Tokens of the longest sample."""


def encode(
    examples: Iterable[Example], renderer: Renderer, max_tokens: int
) -> tuple[dict[tuple[str, str], Sample], list[dict[str, Any]]]:
    """Samples by (task, id), and a list `{id, task, tokens}` of the examples that are longer than `max_tokens`.

    What is too long is left out whole: a cut row would lose its answer, or teach from half a report.
    """
    return within((encoded(example, renderer) for example in examples), max_tokens)


def encoded(example: Example, renderer: Renderer) -> Sample:
    """The example as ids: the prompt that the reader sends, then its answer."""
    prompt = renderer.prompt(turns(named(example.task), example.inputs))
    ids, mask = renderer.training(prompt, example.answer)
    return Sample(example.id, example.task, np.array(ids, np.int32), sum(mask))


def within(samples: Iterable[Sample], max_tokens: int) -> tuple[dict[tuple[str, str], Sample], list[dict[str, Any]]]:
    """The samples of at most `max_tokens` by (task, id), and the list of the others, as `encode` returns them."""
    kept, excluded = {}, []
    for sample in samples:
        if len(sample.ids) > max_tokens:
            excluded.append({"id": sample.id, "task": sample.task, "tokens": len(sample.ids)})
        else:
            kept[sample.task, sample.id] = sample
    return kept, excluded


def balance(rows: Iterable[Row], norm: str) -> list[Row]:
    """The packed rows with targets weighted such that over all of them what `norm` names has the same sum of weights.

    `token`: each target; `sample`: each sample; `sqrt`: halfway, a sample by the root of its targets; `task`: each
    task, and within it each target. The mean weight of a target is 1.
    """
    rows = list(rows)
    of_task: Counter[str] = Counter()
    for sample in itertools.chain(*rows):
        of_task[sample.task] += sample.targets

    def plain(sample: Sample) -> float:
        if norm == "task":
            return 1 / of_task[sample.task]
        return float(sample.targets ** -_STRENGTH[norm])

    shares = math.fsum(sample.targets * plain(sample) for sample in itertools.chain(*rows))
    scale = of_task.total() / shares if shares else 1.0
    return [tuple(replace(sample, weight=scale * plain(sample)) for sample in row) for row in rows]


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


def frame(rows: Iterable[Row], rows_per_step: int, pack_tokens: int) -> Frame:
    """The smallest frame that holds any `rows_per_step` of the packed rows, and a whole batch of filling."""
    longest = most = 1
    for row in rows:
        longest = max(longest, *(len(sample.ids) for sample in row))
        most = max(most, len(row))
    tokens = rows_per_step * pack_tokens
    return Frame(tokens, rows_per_step * most + -(-tokens // longest), longest)


def collate(rows: Sequence[Row], frame: Frame | None = None) -> dict[str, Any]:
    """One batch of shape (1, tokens) from packed rows, without padding: rows are laid end to end.

    `position_ids` restart with each sample, `labels` are `IGNORED` but for targets (not shifted), `weights` has one
    number for each token, `at` are the positions before a target, `useful` is the number of tokens of samples.
    `lengths` are the samples' token counts, by which attention is kept inside a sample. With a frame there are `bounds`
    in its place, where samples begin and end (slots + 1), and `longest`; the batch is filled up with samples of zeros
    without targets, none of them longer than the longest. Raises ValueError for a sample longer than that.
    A batch of no sample, for a device that has none left to do, is a token of filling.
    """
    samples = [sample for row in rows for sample in row]
    useful = sum(len(sample.ids) for sample in samples)
    if not samples and not frame:
        samples = [Sample("", "", np.zeros(1, np.int32), 0)]
    if frame:
        for begin in range(useful, frame.tokens, frame.longest):
            size = min(frame.longest, frame.tokens - begin)
            samples.append(Sample("", "", np.zeros(size, np.int32), 0))
    lengths = [len(sample.ids) for sample in samples]
    labels = [np.full(length, IGNORED) for length in lengths]
    for sample, label in zip(samples, labels, strict=True):
        if sample.targets:
            label[-sample.targets :] = sample.ids[-sample.targets :]
    batch: dict[str, Any] = {
        "input_ids": _row(sample.ids for sample in samples),
        "position_ids": _row(np.arange(len(sample.ids)) for sample in samples),
        "labels": _row(labels),
        "weights": torch.tensor([sample.weight for sample in samples]).repeat_interleave(torch.tensor(lengths))[None],
        "useful": useful,
    }
    # Found here, not on the device, which would have to wait for all that it has been given.
    batch["at"] = (batch["labels"][0, 1:] != IGNORED).nonzero()[:, 0]
    if frame is None:
        return {**batch, "lengths": lengths}
    if max(lengths) > frame.longest:
        raise ValueError("a sample is longer than its frame, so that the kernel would leave its end out")
    ends = np.full(max(frame.slots, len(lengths)) + 1, sum(lengths), np.int32)
    ends[: len(lengths)] = np.cumsum([0, *lengths[:-1]])
    return {**batch, "bounds": torch.from_numpy(ends), "longest": frame.longest}


def _row(parts: Iterable[NDArray[Any]]) -> torch.Tensor:
    return torch.from_numpy(np.concatenate([part.astype(np.int64) for part in parts]))[None]


def loss(model: Any, batch: Mapping[str, Any], bf16: bool = False) -> torch.Tensor:
    """Weighted sum of the cross entropy of a batch's targets, in nats; logits are computed at targets alone.

    `use_cache=False` matters: with a cache, transformers takes packed positions for one sequence and samples would see
    each other.
    """
    at = batch["at"]
    apart = {name: batch[name] for name in ("lengths", "bounds", "longest") if name in batch}
    with torch.autocast(at.device.type, torch.bfloat16, enabled=bf16):
        logits = model(
            input_ids=batch["input_ids"],
            position_ids=batch["position_ids"],
            logits_to_keep=at,
            use_cache=False,
            **apart,
        ).logits[0]
    targets, weights = batch["labels"][0, 1:][at], batch["weights"][0, 1:][at]
    if logits.is_cuda:
        return cross_entropy(logits, targets, weights)
    losses: torch.Tensor = F.cross_entropy(logits.float(), targets, reduction="none")
    total: torch.Tensor = (losses * weights).sum()
    return total


def cross_entropy(logits: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Weighted sum of the cross entropy in fp32, a part of the rows at a time; `logits` (rows, ids) are used up.

    The gradient is computed with the loss and takes the place of the logits, so that there is no second matrix of their
    size. It can be asked for once.
    """
    total: torch.Tensor = _CrossEntropy.apply(logits, targets, weights)  # type: ignore[no-untyped-call]
    return total


class _CrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        gradient = logits.detach()
        total = torch.zeros((), device=logits.device)
        parts = (torch.split(tensor, _CHUNK) for tensor in (gradient, targets[:, None], weights[:, None].float()))
        for part, right, weight in zip(*parts, strict=True):
            shares = part.float()
            shares -= shares.logsumexp(-1, keepdim=True)
            total -= (shares.gather(1, right) * weight).sum()
            shares.exp_().scatter_add_(1, right, shares.new_full(right.shape, -1.0))
            part.copy_(shares.mul_(weight))
        ctx.gradient = gradient
        return total

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, scale: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        gradient, ctx.gradient = ctx.gradient, None
        return gradient.mul_(scale), None, None
