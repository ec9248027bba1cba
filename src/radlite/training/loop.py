"""transformers' training loop with our loss, validation, log, checkpoints and progress."""

import functools
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import rich.console
import rich.progress
import torch
import transformers
import transformers.trainer_callback

from radlite import manifest
from radlite.training import batches
from radlite.training.batches import Frame, Row
from radlite.training.config import TrainConfig

LOG = "log.jsonl"
"""Name of the training log: one JSON object a line, of a stretch of steps or of a measurement on validation."""

_LOG_EVERY = 10


def device() -> torch.device:
    """The first CUDA device, or the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def arguments(config: TrainConfig, work: Path, rows: int, validate: bool) -> Any:
    """transformers' settings of a run over so many packed rows, with checkpoints in the folder `work`."""
    cuda = device().type == "cuda"
    return transformers.TrainingArguments(
        output_dir=str(work),
        max_steps=-(-rows // (config.rows_per_step * config.gradient_accumulation)),
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
        report_to="none",
        disable_tqdm=True,
        remove_unused_columns=False,
        dataloader_pin_memory=cuda,
        accelerator_config={"non_blocking": cuda},
        use_cpu=not cuda,
    )


class Loop(transformers.Trainer):  # type: ignore[misc]
    """transformers' loop with our loss, our validation, our log and our progress bar."""

    loss_is_scaled_for_ga = True

    def __init__(
        self,
        model: Any,
        arguments: Any,
        rows: list[Row],
        validation: dict[str, list[Row]],
        *,
        frame: Frame | None,
        bf16: bool,
        run: str,
        progress: bool,
    ) -> None:
        super().__init__(
            model,
            arguments,
            data_collator=functools.partial(batches.collate, frame=frame),
            train_dataset=rows,
            eval_dataset=validation or None,
            callbacks=[_Journal(self)],
        )
        self.remove_callback(transformers.trainer_callback.PrinterCallback)
        self.frame = frame
        self.bf16 = bf16
        self.run = run
        self.validation_losses: dict[str, float] = {}
        self.tokens = 0
        self.idle_seconds = 0.0
        self.bar = rich.progress.Progress(
            *rich.progress.Progress.get_default_columns(),
            rich.progress.TextColumn("loss {task.fields[loss]:.3f}"),
            console=rich.console.Console(stderr=True),
            disable=not progress,
        )
        self.line = self.bar.add_task("training", total=arguments.max_steps, loss=float("nan"))

    def compute_loss(
        self, model: Any, inputs: Mapping[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> torch.Tensor:
        """The batch's share of the mean over all targets of the step, whatever the rows and passes it is cut into."""
        self.tokens += inputs["useful"]
        # Gradients are averaged over devices, but the targets were counted over all of them.
        share: float = self.accelerator.num_processes / num_items_in_batch
        return batches.loss(model, inputs, self.bf16) * share

    def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
        """Measure the validation loss of each task, in nats a target token."""
        begun = time.perf_counter()
        self.validation_losses = self._measure()
        losses = {f"eval_{task}_loss": value for task, value in self.validation_losses.items()}
        self.idle_seconds += time.perf_counter() - begun
        self.log(dict(losses))
        self.callback_handler.on_evaluate(self.args, self.state, self.control, losses)
        return losses

    def _measure(self) -> dict[str, float]:
        self.model.eval()
        losses = {}
        # A frame has room for the rows of a step; without one, more rows at once would be no faster.
        size = self.args.per_device_train_batch_size if self.frame else 1
        with torch.inference_mode():
            for task, rows in (self.eval_dataset or {}).items():
                summed = sum(
                    batches.loss(self.model, self._prepare_inputs(self.data_collator(part)), self.bf16).item()
                    for part in (rows[at : at + size] for at in range(0, len(rows), size))
                )
                losses[task] = round(summed / sum(sample.targets for row in rows for sample in row), 6)
        self.model.train()
        return losses

    def note(self, entry: Mapping[str, Any]) -> None:
        """Append a line to the training log."""
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
        if state.global_step == state.max_steps:
            control.should_log = True
            control.should_evaluate = self.trainer.eval_dataset is not None
        self.trainer.bar.update(self.trainer.line, completed=state.global_step)

    def on_log(self, args: Any, state: Any, control: Any, logs: Mapping[str, float], **_: Any) -> None:
        if "loss" in logs:
            trainer = self.trainer
            now, seconds = time.perf_counter(), trainer.idle_seconds
            speed = (trainer.tokens - self.since[1]) / (now - self.since[0] - seconds)
            self.since, trainer.idle_seconds = (now, trainer.tokens), 0.0
            loss = round(logs["loss"], 6)
            trainer.bar.update(trainer.line, loss=loss)
            kept = {name: logs[name] for name in ("learning_rate", "grad_norm") if name in logs}
            entry = {"step": state.global_step, "loss": loss, **kept, "tokens_per_second": round(speed)}
            trainer.note(entry)
        elif losses := {name[5:-5]: value for name, value in logs.items() if name.startswith("eval_")}:
            self.trainer.note({"step": state.global_step, "validation": losses})

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        manifest.write(folder, manifest.describe("checkpoint", run=self.trainer.run, step=state.global_step))


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
        control.should_training_stop = control.should_evaluate = late or state.global_step == state.max_steps
        control.should_save = False

    def on_evaluate(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.validation_seconds = time.perf_counter() - self.marks[-1]
