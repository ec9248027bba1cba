"""What a run will need and take, told before it begins: parameters, memory, disk, steps and time."""

import math
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import rich.box
import rich.console
import rich.table
import torch
import transformers

from radlite.errors import UserError
from radlite.runtime import memory, nf4, weights
from radlite.runtime.rounding import NF4, Rounding
from radlite.training import attention, devices, lora
from radlite.training.batches import Row
from radlite.training.config import TrainConfig
from radlite.training.plan import Plan, loaded

_SURE = 0.8
"""Share of the estimated memory without which no run is begun: the estimate may be so much too high, and no more."""

_CHECKPOINTS = 3
"""On the disk at once: two are kept while the next is written."""


@dataclass(frozen=True, slots=True)
class Needs:
    """What a run takes for certain (parameters, disk) and by estimate (memory); sizes in bytes."""

    parameters: int
    """Of base and adapter."""

    trained: int
    """Of the adapter."""

    weights: int
    """The base and the adapter with its gradient and the optimiser's two moments."""

    activations: int
    """What a step keeps for the backward pass, and the logits; of the largest step there is."""

    disk: int
    """Checkpoints at their most, and the adapter."""

    @property
    def memory(self) -> int:
        """Weights and activations together."""
        return self.weights + self.activations


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """What a few real steps took."""

    steps: int
    """How many were timed."""

    tokens_per_second: float
    validation_seconds: float
    """Of one measurement on validation."""

    memory: int | None
    """Bytes on the device at most, where that is known; on a CPU those by which the process grew."""


@dataclass(frozen=True, slots=True)
class Outlook:
    """All that `radlite train --dry-run` tells."""

    config: TrainConfig
    plan: Plan
    needs: Needs
    rehearsal: Rehearsal
    device: str
    precision: str
    attention: str
    free_memory: int | None
    free_disk: int
    done: int
    """Steps that an unfinished run has behind it."""

    @property
    def tokens(self) -> int:
        """Of all rows of the run."""
        return tokens(self.plan.rows)

    @property
    def steps(self) -> int:
        """Optimiser steps of the whole run."""
        return -(-len(self.plan.rows) // devices.rows_a_step(self.config))

    @property
    def seconds(self) -> float:
        """What is left of the run will take, by the rehearsal."""
        left = 1 - self.done / self.steps
        measured = self.steps // self.config.evaluate_every + bool(self.steps % self.config.evaluate_every)
        learning = self.tokens / self.rehearsal.tokens_per_second
        return left * (learning + measured * self.rehearsal.validation_seconds)


def needs(
    config: TrainConfig, base: Path, rows: Sequence[Row], bf16: bool, cuda: bool, rounding: Rounding | None = None
) -> Needs:
    """What a run over these packed rows needs, from the base's configuration alone; rounded to NF4 it takes less.

    Raises `UserError` as `lora.attach` does, before any weights are read.
    """
    settings = loaded(transformers.AutoConfig, base)
    with torch.device("meta"):
        model = transformers.AutoModelForCausalLM.from_config(settings)
        model = lora.attach(
            model, config.rank, config.alpha, config.targets, config.dropout, config.rslora, config.dora
        )
    total = sum(weight.numel() for weight in model.parameters())
    trained = sum(weight.numel() for weight in model.parameters() if weight.requires_grad)
    size = 2 if bf16 else 4
    frozen = (total - trained) * size
    if rounding and rounding.kind == NF4:
        tensors = weights.read(base)
        frozen -= round(sum(math.prod(tensors[name].shape) for name in rounding.types) * (size - nf4.BYTES))
    batches = [rows[at : at + config.rows_per_step] for at in range(0, len(rows), config.rows_per_step)]
    activations = max(_activations(settings, batch, config, size, cuda) for batch in batches)
    if config.dora:
        activations += _dora(model, max(_computed(batch, config, cuda) for batch in batches), size)
    return Needs(
        parameters=total,
        trained=trained,
        weights=(frozen + 16 * trained) // (devices.count() if config.shard else 1),
        activations=activations,
        disk=(12 * _CHECKPOINTS + 4) * trained,
    )


def _activations(settings: Any, batch: Sequence[Row], config: TrainConfig, size: int, cuda: bool) -> int:
    """Bytes that a pass over this batch keeps, by what a layer of the two families saves for its backward pass."""
    samples = [sample for row in batch for sample in row]
    tokens = _computed(batch, config, cuda)
    targets = sum(sample.targets for sample in samples)
    heads, layers = settings.num_attention_heads, settings.num_hidden_layers
    wide = heads * (getattr(settings, "head_dim", None) or settings.hidden_size // heads)
    # The gate, what it becomes, the other branch, their product; of the last layer, where it is narrow, at targets.
    inside = size * 4 * settings.intermediate_size * (layers * tokens - (0 if cuda else tokens - targets))
    # Queries and outputs before and after; norms in fp32.
    kept = size * (5 * wide + 2 * settings.hidden_size) + 8 * settings.hidden_size
    scores = 0
    if not cuda:  # attention in blocks keeps the shares of each head
        scores = sum(len(sample.ids) * (len(sample.ids) + attention.BLOCK) for sample in samples) * heads * size // 2
    # On a GPU the gradient takes the place of the logits; on a CPU there are the logits, their fp32 copy, and two more.
    logits = settings.vocab_size * (size * targets + 8 * min(targets, 1024) if cuda else (size + 12) * targets)
    return int(layers * (tokens * kept + scores) + inside + logits)


def _dora(model: Any, tokens: int, size: int) -> int:
    """Bytes that DoRA adds to a pass of so many tokens: by each matrix what base and update gave, to learn its lengths.

    While one matrix is measured, there are also the update as a matrix, and the sum with the base and its squares.
    """
    shapes = [part.weight.shape for part in model.modules() if getattr(part, "lora_magnitude_vector", None)]
    return int(size * (2 * tokens * sum(out for out, _ in shapes) + 3 * max(map(math.prod, shapes))))


def _computed(batch: Sequence[Row], config: TrainConfig, cuda: bool) -> int:
    """Tokens of a pass over this batch: those of its rows, on a GPU those of the frame that they are laid into."""
    return config.rows_per_step * config.pack_tokens if cuda else tokens(batch)


def demand(found: Needs, out: Path, work: Path, config: TrainConfig, cuda: bool) -> None:
    """Raise `UserError` if what is free, on the disk of `out` or in memory, is less than the run needs for certain."""
    free = free_disk(out)
    there = sum(path.stat().st_size for path in work.rglob("*") if path.is_file())
    if free + there < found.disk:
        raise UserError(
            f"The run needs {_bytes(found.disk)} for checkpoints and adapter, but {_bytes(free + there)} are free on "
            f"the disk of {out}; free some space, choose another out, or lower the rank."
        )
    room = free_memory(cuda)
    if room is not None and room < _SURE * found.memory:
        raise UserError(
            f"The run needs about {_bytes(found.memory)} of {'GPU ' if cuda else ''}memory ({_bytes(found.weights)} "
            f"for weights, {_bytes(found.activations)} for a step of {config.rows_per_step} x {config.pack_tokens:,} "
            f"tokens), but {_bytes(room)} are free; lower pack_tokens, rows_per_step or rank, or take a smaller base."
        )


def free_disk(out: Path) -> int:
    """Bytes that are free where `out` is going to be; `UserError` if nothing can be made there."""
    place = next(place for place in out.absolute().parents if place.exists())
    if not place.is_dir() or not os.access(place, os.W_OK):
        raise UserError(f"Cannot write {out}: {place} is no folder that can be written to. Choose another out.")
    return shutil.disk_usage(place).free


def free_memory(cuda: bool) -> int | None:
    """Bytes that are free on the device, for each process that shares it; None where that is not known."""
    if cuda:
        return torch.cuda.mem_get_info()[0]
    room = memory.available()
    return None if room is None else room // devices.beside()


def show(found: Outlook, console: rich.console.Console) -> None:
    """Print it as a table."""
    config, needed, tried = found.config, found.needs, found.rehearsal
    table = rich.table.Table(box=None, show_header=False, pad_edge=False)
    answers = sum(int(one["answer_tokens"]) for one in found.plan.mixture.values())
    share = f"{needed.trained / needed.parameters:.2%}"
    measured = f"; {_bytes(tried.memory)} seen in the rehearsal" if tried.memory else ""
    room = "" if found.free_memory is None else f"; {_bytes(found.free_memory)} free"
    rate = f"{tried.tokens_per_second:,.0f} tokens/s, n = {tried.steps} steps"
    each = f"{devices.count()} x " if devices.count() > 1 else ""
    lines = {
        "base": config.base,
        "device": f"{each}{found.device}, {found.precision}, attention {found.attention}",
        "parameters": f"{needed.parameters:,}, of which {needed.trained:,} are trained ({share})",
        "rows": f"{sum(map(len, found.plan.rows)):,} in {len(found.plan.rows):,} packs; "
        f"{len(found.plan.excluded):,} left out as too long",
        "tokens": f"{found.tokens:,}, of which {answers:,} are learned",
        "steps": f"{found.steps:,} of {devices.rows_a_step(config)} x {config.pack_tokens:,} tokens at most"
        + (f"; {found.done:,} are done" if found.done else ""),
        "validation": ", ".join(found.plan.validation) or "none: the corpus has no such rows",
        "memory": f"about {_bytes(needed.memory)}: weights {_bytes(needed.weights)}, a step "
        f"{_bytes(needed.activations)}{measured}{room}",
        "disk": f"{_bytes(needed.disk)} at most; {_bytes(found.free_disk)} free",
        "time": f"about {_duration(found.seconds)} ({rate}; a validation takes {tried.validation_seconds:.1f} s)",
    }
    for name, text in lines.items():
        table.add_row(name, text)
    console.print(table)


def tokens(rows: Sequence[Row]) -> int:
    """Of all samples of these packed rows."""
    return sum(len(sample.ids) for row in rows for sample in row)


def _bytes(count: int) -> str:
    return f"{count / 1e9:,.1f} GB" if count >= 1e9 else f"{count / 1e6:,.0f} MB"


def _duration(seconds: float) -> str:
    minutes = seconds / 60
    if minutes < 2:
        return f"{seconds:.0f} s"
    return f"{minutes:.0f} min" if minutes < 120 else f"{minutes / 60:.1f} h"
