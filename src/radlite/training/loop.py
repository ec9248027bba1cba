"""transformers' training loop with our loss, validation, log, checkpoints and progress."""

import functools
import importlib.util
import json
import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import rich.console
import rich.progress
import torch
import transformers
import transformers.integrations
import transformers.trainer_callback

from radlite import manifest
from radlite.errors import UserError
from radlite.training import batches, devices, lora, scores
from radlite.training.batches import Frame, Row, Sample
from radlite.training.best import Best
from radlite.training.config import TrainConfig

LOG = "log.jsonl"
"""Name of the training log: one JSON object a line, of a stretch of steps or of a measurement on validation."""

_LOG_EVERY = 10

_NAMED = 5
"""Rows that a sentence names at most."""


def tracker(config: TrainConfig) -> Any:
    """A callback that sends the numbers of a run to what `report_to` names; None if it names nothing.

    TensorBoard's files go into `OUT.tensorboard`, unless its variable says otherwise. Raises `UserError` if what it
    needs is not installed, and the callback does where it cannot begin. Failures later cost numbers and not the run.
    """
    name = config.report_to
    if name is None:
        return None
    if importlib.util.find_spec(name) is None:
        raise UserError(f"The setting report_to is {name}, which is not installed; run pip install {name}.")
    (kind,) = transformers.integrations.get_reporting_integration_callbacks([name])
    callback = kind()
    if name == "tensorboard" and callback.logging_dir is None:
        callback.logging_dir = str(config.out.with_name(f"{config.out.name}.tensorboard"))
    return _Guarded(name, callback)


class _Guarded:
    """transformers' integration of a tracker, which is code and often a service of others."""

    def __init__(self, name: str, callback: Any) -> None:
        self.name = name
        self.callback = callback
        self.broken = False

    def __getattr__(self, event: str) -> Callable[..., Any]:
        """The callback's method for this event."""
        return functools.partial(self._call, event)

    def _call(self, event: str, *given: Any, **named: Any) -> Any:
        if self.broken:
            return None
        try:
            return getattr(self.callback, event)(*given, **named)
        except Exception as error:  # of whatever kind they raise
            why = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
            if event == "on_train_begin":
                raise UserError(
                    f"{self.name} cannot take the numbers of this run ({why}); set it up as its documentation says, or "
                    "leave out report_to."
                ) from error
            self.broken = True
            told = f"{self.name} takes no more numbers ({why}); the run goes on, and its log has them all."
            rich.console.Console(stderr=True).print(told, markup=False, highlight=False)
            return None


def device() -> torch.device:
    """The first CUDA device, or the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def arguments(config: TrainConfig, work: Path, rows: int, validate: bool) -> Any:
    """transformers' settings of a run over so many packed rows, with checkpoints in the folder `work`."""
    cuda = device().type == "cuda"
    made = transformers.TrainingArguments(
        output_dir=str(work),
        max_steps=-(-rows // devices.rows_a_step(config)),
        per_device_train_batch_size=config.rows_per_step,
        gradient_accumulation_steps=config.gradient_accumulation,
        learning_rate=config.learning_rate,
        lr_scheduler_type="constant_with_warmup" if config.schedule == "constant" else config.schedule,
        warmup_steps=config.warmup,
        weight_decay=config.weight_decay,
        max_grad_norm=config.max_grad_norm,
        optim="adamw_torch_fused",
        seed=config.seed,
        train_sampling_strategy="sequential",
        logging_steps=_LOG_EVERY,
        logging_nan_inf_filter=False,
        eval_strategy="steps" if validate else "no",
        eval_steps=config.evaluate_every,
        save_steps=config.save_every,
        save_total_limit=2,
        report_to="none",  # but what `tracker` adds
        run_name=config.out.name,
        disable_tqdm=True,
        remove_unused_columns=False,
        dataloader_pin_memory=cuda,
        accelerator_config={"non_blocking": cuda},
        use_cpu=not cuda,
        average_tokens_across_devices=True,
        ddp_find_unused_parameters=False,
        ddp_broadcast_buffers=False,
        log_level="error",
        log_level_replica="error",
    )
    made._n_gpu = int(cuda)  # one device a process, however many the machine has
    return made


class Diverged(UserError):
    """A loss or a gradient is not finite."""


class Loop(devices.Trainer):
    """transformers' loop with our loss, our validation, our log and our progress bar."""

    loss_is_scaled_for_ga = True

    def __init__(
        self,
        model: Any,
        arguments: Any,
        rows: list[Row],
        validation: dict[str, list[Row]],
        *,
        shards: bool,
        frame: Frame | None,
        bf16: bool,
        run: str,
        progress: bool,
        best: Best,
        score: Callable[[], dict[str, float]] | None = None,
    ) -> None:
        super().__init__(
            model,
            arguments,
            data_collator=functools.partial(batches.collate, frame=frame),
            train_dataset=rows,
            eval_dataset=validation or None,
            callbacks=[_Journal(self)],
            shards=shards,
        )
        self.remove_callback(transformers.trainer_callback.PrinterCallback)
        self.frame = frame
        self.bf16 = bf16
        self.run = run
        self.best = best
        self.score = score
        self.fault: torch.Tensor | None = None
        """On a GPU the first step with a loss or gradient that is not finite; 0 as long as there is none."""
        self.lora_plus_ratio = 1.0
        self.tokens = 0
        self.idle_seconds = 0.0
        self.bar = rich.progress.Progress(
            rich.progress.BarColumn(16),
            rich.progress.TaskProgressColumn(),
            rich.progress.TimeRemainingColumn(),
            rich.progress.TextColumn("loss {task.fields[loss]:.3f}{task.fields[measured]}"),
            console=rich.console.Console(stderr=True),
            disable=not (progress and devices.first()),
        )
        self.line = self.bar.add_task("training", total=arguments.max_steps, loss=float("nan"), measured="")

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        """AdamW; with LoRA+ the matrices B have a rate of their own."""
        new = self.optimizer is None
        optimizer: torch.optim.Optimizer = super().create_optimizer(model)
        if new and self.lora_plus_ratio != 1:
            lora.quicken(optimizer, self.model if model is None else model, self.lora_plus_ratio)
        return optimizer

    def compute_loss(
        self, model: Any, inputs: Mapping[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> torch.Tensor:
        """The batch's share of the mean over all targets of the step, whatever the rows and passes it is cut into."""
        self.tokens += inputs["useful"]
        # Gradients are averaged over devices, but the targets were counted over all of them.
        share: float = self.accelerator.num_processes / num_items_in_batch
        loss = batches.loss(model, inputs, self.bf16) * share
        self.watch(loss.detach())
        return loss

    def _get_grad_norm(self, model: Any, grad_norm: Any = None) -> torch.Tensor:
        """The length of the gradient before it was clipped; told to `watch`, as a clip hides what is not finite."""
        norm = devices.whole(super()._get_grad_norm(model, grad_norm))
        self.watch(norm)
        return norm

    def watch(self, value: torch.Tensor) -> None:
        """Stop where a loss or a gradient is not finite; on a GPU, which would have to be waited for, note the step."""
        step = self.state.global_step + 1
        if value.is_cuda:
            first = self.fault if self.fault is not None else torch.zeros((), device=value.device)
            self.fault = torch.where((first > 0) | value.isfinite(), first, float(step))
        elif not value.isfinite():
            self.stop(step)

    def demand_sound(self) -> None:
        """Raise `Diverged` if a step so far had a loss or a gradient that is not finite, or left such weights."""
        if self.fault is not None and (step := int(self.fault.item())):
            self.stop(step)
        if not self._bounded():
            self.stop(self.state.global_step)

    def stop(self, step: int) -> NoReturn:
        """Raise `Diverged` that tells of this step, and of its rows those that do it alone."""
        size = self.args.per_device_train_batch_size * self.args.gradient_accumulation_steps * devices.count()
        rows = self.train_dataset[(step - 1) * size : step * size]
        samples = [sample for row in rows for sample in row]
        raise Diverged(f"Step {step} gives what is no finite number: {self._cause(samples)}. {self._kept()}")

    def _bounded(self) -> bool:
        """Whether all weights of the adapter are finite."""
        weights = (devices.own(weight) for weight in self.model.parameters() if weight.requires_grad)
        return bool(torch.stack([weight.isfinite().all() for weight in weights]).all())

    def _cause(self, samples: Sequence[Sample]) -> str:
        """What the samples have to do with it. The adapter's weights are of no use afterwards."""
        if devices.in_parts(self.model):  # the others do not come here, and a layer takes all of them
            return "which row does that shows in one process with shard: false; or lower learning_rate"
        grown = not self._bounded()
        if grown:  # by these very samples, perhaps: the base alone tells
            with torch.no_grad():
                for weight in self.model.parameters():
                    if weight.requires_grad:
                        weight.zero_()
        bad = [sample for sample in samples if not self._finite(sample)]
        if not bad:
            why = "the weights have grown beyond all bounds" if grown else "no row does that alone"
            return f"{why}; lower learning_rate"
        if len(bad) == len(samples) > 1:
            return "every row does that; get the base again, or lower learning_rate"
        names = ", ".join(f"{sample.task} {sample.id}" for sample in bad[:_NAMED])
        more = f" and {len(bad) - _NAMED} more" if len(bad) > _NAMED else ""
        return f"that comes from the rows {names}{more}; leave them out of the corpus, or mend the base"

    def _finite(self, sample: Sample) -> bool:
        """Whether this sample alone has a finite loss and gradient."""
        trained = [weight for weight in self.model.parameters() if weight.requires_grad]
        frame = batches.frame([(sample,)], 1, len(sample.ids)) if self.frame else None
        with torch.compiler.set_stance("force_eager"):
            batch = self._prepare_inputs(batches.collate([(sample,)], frame))
            loss = batches.loss(self.model, batch, self.bf16)
            # Not by backward(), at which the processes would exchange gradients.
            return bool(
                loss.isfinite() and torch.nn.utils.get_total_norm(torch.autograd.grad(loss, trained)).isfinite()
            )

    def _kept(self) -> str:
        """What is left on the disk."""
        marks = Path(self.args.output_dir).glob(f"checkpoint-*/{manifest.NAME}")
        steps = [int(mark.parent.name.rpartition("-")[2]) for mark in marks]
        return f"The checkpoint of step {max(steps)} is whole." if steps else "There is no checkpoint yet."

    def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
        """Measure the validation loss of each task, in nats a target token, and if asked for how well it answers.

        The weights are kept if they are the best so far; the run ends if there was no better measurement for long.
        """
        begun, step = time.perf_counter(), self.state.global_step
        found = {"loss": self._measure()}
        if self.score:
            found["score"] = self.score()
        macro = {kind: scores.macro(values) for kind, values in found.items() if values}
        if macro:
            names = {"loss": "validation", "score": "scores"}
            self.note({"step": step, **{names[kind]: values for kind, values in found.items()}, "macro": macro})
            if self.best.take(step, macro) and self.best.kept and devices.first():
                self.best.save(self.model, Path(self.args.output_dir))
            self.control.should_training_stop |= self.best.stopped
            told = "".join(f", {names[kind]} {value:.3f}" for kind, value in macro.items())
            self.bar.update(self.line, measured=f"{told}, best at {self.best.step}")
        self.idle_seconds += time.perf_counter() - begun
        flat = {f"eval_{task}_{kind}": value for kind, values in found.items() for task, value in values.items()}
        flat |= {f"eval_macro_{kind}": value for kind, value in macro.items()}
        self.log(dict(flat))
        self.callback_handler.on_evaluate(self.args, self.state, self.control, flat)
        return flat

    def _measure(self) -> dict[str, float]:
        self.model.eval()
        losses = {}
        # A frame has room for the rows of a step; without one, more rows at once would be no faster.
        size = self.args.per_device_train_batch_size if self.frame else 1
        begin, every = devices.rank() * size, devices.count() * size
        # A layer in parts keeps what it is put together in, and what inference mode makes cannot be trained with.
        with torch.no_grad() if self.shards else torch.inference_mode():
            for task, rows in (self.eval_dataset or {}).items():
                summed = sum(
                    batches.loss(self.model, self._prepare_inputs(self.data_collator(part)), self.bf16).item()
                    for part in (rows[at : at + size] for at in range(begin, begin + len(rows), every))
                )
                (summed,) = devices.total([summed])
                losses[task] = round(summed / sum(sample.targets for row in rows for sample in row), 6)
                if not math.isfinite(summed):
                    raise Diverged(
                        f"The validation loss of {task} is not finite after step {self.state.global_step}; lower "
                        f"learning_rate, or get the base again. {self._kept()}"
                    )
        self.model.train()
        return losses

    def note(self, entry: Mapping[str, Any]) -> None:
        """Append a line to the training log."""
        if not devices.first():
            return
        with (Path(self.args.output_dir) / LOG).open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")

    def close(self) -> None:
        """Leave the terminal as it was."""
        self.bar.stop()


class _Journal(transformers.TrainerCallback):  # type: ignore[misc]
    """Writes the log, moves the bar, and marks a checkpoint as whole once all of it is written."""

    def __init__(self, trainer: Loop) -> None:
        self.trainer = trainer
        self.since = (0.0, 0)

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.since = (time.perf_counter(), 0)
        self.trainer.bar.start()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if control.should_log or control.should_save:
            self.trainer.demand_sound()
        if state.global_step == state.max_steps:
            control.should_log = True
            control.should_evaluate = self.trainer.eval_dataset is not None
        self.trainer.bar.update(self.trainer.line, completed=state.global_step)

    def on_log(self, args: Any, state: Any, control: Any, logs: Mapping[str, float], **_: Any) -> None:
        if "loss" in logs:
            trainer = self.trainer
            now, seconds = time.perf_counter(), trainer.idle_seconds
            (tokens,) = devices.total([trainer.tokens - self.since[1]])
            speed = tokens / (now - self.since[0] - seconds)
            self.since, trainer.idle_seconds = (now, trainer.tokens), 0.0
            loss = round(logs["loss"], 6)
            trainer.bar.update(trainer.line, loss=loss)
            kept = {name: logs[name] for name in ("learning_rate", "grad_norm") if name in logs}
            entry = {"step": state.global_step, "loss": loss, **kept, "tokens_per_second": round(speed)}
            trainer.note(entry)

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        devices.meet()  # all have written their part
        if not devices.first():
            return
        folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        for path in folder.rglob("*"):
            if path.is_file():
                with path.open("rb+") as file:
                    os.fsync(file.fileno())
        rows = args.train_batch_size * args.gradient_accumulation_steps * devices.count()
        facts = {"run": self.trainer.run, "step": state.global_step, "rows_a_step": rows}
        manifest.write(folder, manifest.describe("checkpoint", **facts))
        self.trainer.best.settle(Path(args.output_dir))


class Watch(transformers.TrainerCallback):  # type: ignore[misc]
    """Times the steps of a rehearsal, all but the first, and ends it when it has taken long enough."""

    def __init__(self, tokens: Sequence[int], seconds: float) -> None:
        self.tokens = tokens
        self.seconds = seconds
        self.marks: list[float] = []
        self.validation_seconds = 0.0

    @property
    def timed(self) -> int:
        """Number of steps that count: those after the first, if there are such."""
        return max(1, len(self.marks) - 2)

    @property
    def tokens_per_second(self) -> float:
        """Of the steps that count."""
        made = len(self.marks) - 1
        seen = sum(self.tokens[made - self.timed : made])
        return seen / (self.marks[-1] - self.marks[made - self.timed])

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.marks.append(time.perf_counter())

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.marks.append(time.perf_counter())
        late = len(self.marks) > 2 and self.marks[-1] - self.marks[0] > self.seconds
        late = devices.total([late])[0] > 0  # else some would wait for others that have ended
        control.should_training_stop = control.should_evaluate = late or state.global_step == state.max_steps
        control.should_save = False

    def on_evaluate(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.validation_seconds = time.perf_counter() - self.marks[-1]
