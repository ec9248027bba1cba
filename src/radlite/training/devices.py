"""One run on many devices: the processes that torchrun, or a launcher like it, has started, one a device."""

import contextlib
import datetime
import gc
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch
import torch.distributed as dist
import transformers
from torch.distributed.checkpoint import state_dict_loader, state_dict_saver
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_state_dict,
    set_state_dict,
)
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor

from radlite.errors import UserError
from radlite.training.config import TrainConfig

SHARDS = "shards"
"""Name of a checkpoint's folder with weights and optimiser in parts, as torch.distributed.checkpoint writes them."""

_PATIENCE = datetime.timedelta(minutes=30)
"""How long a process waits for another that is alive but silent."""

T = TypeVar("T")


@contextlib.contextmanager
def joined() -> Iterator[None]:
    """Join the processes of this run for the block, if a launcher has started them (it sets RANK and the like).

    Raises `UserError` if another of them is lost while this one waits for it.
    """
    own = "RANK" in os.environ and not dist.is_initialized()
    if own:
        if torch.cuda.is_available():
            torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
        # Small messages go by gloo on any machine, which notices at once that a process has gone.
        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
        dist.init_process_group(backend, timeout=_PATIENCE)
    try:
        yield
    except RuntimeError as error:
        if not _of_a_lost_process(error):
            raise
        raise UserError("Another process of this run has ended; start all of them again with --resume.") from error
    if own:
        gc.collect()  # what holds the group in a cycle would outlast it, up to the end of the interpreter
        dist.destroy_process_group()


@contextlib.contextmanager
def one_voice() -> Iterator[None]:
    """Join the processes; of an error that ends them, let the first that has one tell it, and the others end silent."""
    with joined():
        try:
            yield
        except UserError:
            if dist.is_initialized() and not _is_first_to_tell():
                raise SystemExit(2) from None
            raise


def _is_first_to_tell() -> bool:
    store: Any = dist.distributed_c10d._get_default_store()
    try:
        return bool(store.add("radlite/told", 1) == 1)
    except RuntimeError:  # it was kept by a process that has gone
        return True


def _of_a_lost_process(error: RuntimeError) -> bool:
    return isinstance(error, dist.DistError) or "gloo" in str(error)


def count() -> int:
    """How many processes train together."""
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    """Which of them this one is, from 0."""
    return dist.get_rank() if dist.is_initialized() else 0


def first() -> bool:
    """Whether this is the process that prints and writes."""
    return rank() == 0


def beside() -> int:
    """How many of them are on this machine."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1")) if dist.is_initialized() else 1


def of_first(work: Callable[[], T]) -> T:
    """What `work` returns, or the `UserError` that it raises, in the first process, for all of them."""
    if count() == 1:
        return work()
    outcome: list[Any] = [None, None]
    if first():
        try:
            outcome[0] = work()
        except UserError as error:
            outcome[1] = str(error)
    dist.broadcast_object_list(outcome, src=0)
    if outcome[1] is not None:
        raise UserError(outcome[1])
    found: T = outcome[0]
    return found


def total(values: Sequence[float]) -> list[float]:
    """Each value, summed over the processes, which wait for each other here."""
    if count() == 1:
        return list(values)
    tensor = torch.tensor(values, dtype=torch.float64, device="cuda" if torch.cuda.is_available() else "cpu")
    dist.all_reduce(tensor)
    return tensor.tolist()


def pooled(parts: list[T]) -> list[T]:
    """The lists of all processes as one, in all of them."""
    if count() == 1:
        return parts
    found: list[Any] = [None] * count()
    dist.all_gather_object(found, parts)
    return [part for its in found for part in its]


def meet() -> None:
    """Wait until all processes have come here."""
    total([0.0])


def demand_same(run: str, checkpoint: Path | None) -> None:
    """Raise `UserError` unless the processes have one recipe, base and corpus, and all see the checkpoint."""
    if count() == 1:
        return
    seen = checkpoint is None or checkpoint.is_dir()
    found: list[Any] = [None] * count()
    dist.all_gather_object(found, (run, seen))
    for number, (its_run, its_seen) in enumerate(found):
        if its_run != run:
            raise UserError(
                f"Process {number} has another recipe, base, corpus or kind of device than process {rank()}; give "
                "all of them the same."
            )
        if not its_seen:
            raise UserError(
                f"Process {number} does not see {checkpoint}; put out on a file system that all machines share."
            )


def rows_a_step(config: TrainConfig) -> int:
    """Packed rows of a step, over all processes and passes."""
    return config.rows_per_step * config.gradient_accumulation * count()


def shared_out(config: TrainConfig, rows: int | None) -> TrainConfig:
    """The recipe with rows and passes by which the processes take steps of `rows` packed rows, if that is given.

    So a run that was begun on other devices goes on with steps of the same rows; no more of them at once than the
    recipe says. Raises `UserError` if the processes cannot share a step alike.
    """
    if rows is None or rows == rows_a_step(config):
        return config
    if rows % count():
        raise UserError(
            f"A step of this run has {rows} packed rows, which {count()} processes cannot share alike; go on with a "
            "number of processes that divides it."
        )
    each = rows // count()
    at_once = max(size for size in range(1, config.rows_per_step + 1) if each % size == 0)
    return config.model_copy(update={"rows_per_step": at_once, "gradient_accumulation": each // at_once})


def shard(model: Any) -> None:
    """Let each process hold a part of each parameter; a layer is put together while it computes (FSDP2).

    The parts stand on the devices afterwards; a layer at a time goes there whole.
    """
    kinds = set(model._no_split_modules or ())
    mesh = init_device_mesh("cuda" if torch.cuda.is_available() else "cpu", (count(),))
    for module in list(model.modules()):
        if type(module).__name__ in kinds:
            fully_shard(module, mesh=mesh)
    fully_shard(model, mesh=mesh)
    # accelerate's own way to FSDP2 does nothing on a CPU, where tests run; so told, it leaves the model as it is.
    model._is_accelerate_prepared = True


def in_parts(model: Any) -> bool:
    """Whether each process holds a part of the model."""
    return isinstance(model, FSDPModule)


def whole(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor put together from its parts, if it is in parts; all processes take part."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def own(tensor: torch.Tensor) -> torch.Tensor:
    """This process's part of the tensor, or the tensor if it is not in parts."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def gathered(model: Any) -> dict[str, torch.Tensor]:
    """The trained parameters of a sharded model, whole and on the CPU, in the first process; nothing in the others."""
    options = StateDictOptions(full_state_dict=True, cpu_offload=True, ignore_frozen_params=True)
    found: dict[str, Any] = get_model_state_dict(model, options=options)
    return found


class Trainer(transformers.Trainer):  # type: ignore[misc]
    """transformers' Trainer for models of which each process holds a part, with checkpoints in parts.

    Such a checkpoint can be gone on from with any number of processes. Without `shards` nothing is changed.
    """

    def __init__(self, *given: Any, shards: bool, **named: Any) -> None:
        self.shards = shards
        super().__init__(*given, **named)

    def _move_model_to_device(self, model: Any, device: torch.device) -> None:
        if not in_parts(model):
            super()._move_model_to_device(model, device)

    def training_step(self, model: Any, *given: Any, **named: Any) -> torch.Tensor:
        """A pass forward and backward; gradients are exchanged in the last pass of a step."""
        if in_parts(model):
            model.set_requires_gradient_sync(self.accelerator.sync_gradients)
        loss: torch.Tensor = super().training_step(model, *given, **named)
        return loss

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Write the adapter, or with `shards` each process's part of it and of the optimiser."""
        if not self.shards:
            super().save_model(output_dir, _internal_call)
            return
        folder = Path(output_dir or self.args.output_dir) / SHARDS
        state_dict_saver.save(self._state(), checkpoint_id=folder, no_dist=not dist.is_initialized())

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        if not self.shards:
            super()._save_optimizer_and_scheduler(output_dir)
        elif first():
            torch.save(self.lr_scheduler.state_dict(), Path(output_dir) / "scheduler.pt")

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        if not self.shards:
            super()._load_from_checkpoint(resume_from_checkpoint, model)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        if not self.shards or checkpoint is None:
            super()._load_optimizer_and_scheduler(checkpoint)
            return
        state = self._state()
        state_dict_loader.load(state, checkpoint_id=Path(checkpoint) / SHARDS, no_dist=not dist.is_initialized())
        set_state_dict(
            self.model,
            self.optimizer.optimizer,
            model_state_dict=state["model"],
            optim_state_dict=state["optimizer"],
            options=StateDictOptions(ignore_frozen_params=True, strict=False),
        )
        self.lr_scheduler.load_state_dict(torch.load(Path(checkpoint) / "scheduler.pt", weights_only=True))

    def _state(self) -> dict[str, Any]:
        options = StateDictOptions(ignore_frozen_params=True)
        model, optimizer = get_state_dict(self.model, self.optimizer.optimizer, options=options)
        return {"model": model, "optimizer": optimizer}
