"""The training run: a recipe and a corpus in, an adapter folder out; it can be killed at any time and resumed."""

import contextlib
import functools
import itertools
import json
import random
import shutil
import time
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import peft.helpers
import rich.box
import rich.console
import rich.progress
import rich.table
import torch
import transformers
import transformers.trainer_callback
from safetensors import SafetensorError

from radlite import manifest
from radlite.chat import Renderer
from radlite.data import corpus
from radlite.data.mixture import Balance, mix
from radlite.errors import UserError
from radlite.files import exclusive, front_matter, told
from radlite.tasks import Example, named
from radlite.training import attention, batches, cache, layers, lora
from radlite.training.batches import Frame, Row, Sample
from radlite.training.config import TrainConfig

LOG = "log.jsonl"
"""Name of the training log: one JSON object a line, of a stretch of steps or of a measurement on validation."""

EXCLUDED = "excluded.json"
"""Name of the list of rows that were left out for their length."""

VALIDATION_ITEMS = 32
"""Rows of each task by which the validation loss is measured; enough to see a trend, cheap enough to look often."""

_LOG_EVERY = 10

_NO_ROOM = 64 << 20
"""Bytes left on a disk at which a checkpoint that could not be written is put down to it."""


def train(config: TrainConfig, resume: bool = False, progress: bool = True) -> Path:
    """Tune an adapter as the recipe says and return its folder, `config.out`.

    With `resume` an unfinished run of the same recipe goes on from its newest whole checkpoint; on a CPU with the same
    number of threads the adapter is the same, bit for bit, as if nothing had happened. A finished one is returned.
    Raises `UserError` if the recipe does not fit the base, the corpus, or what stands in `config.out`, and if another
    process trains into the same place.
    """
    if config.threads:
        torch.set_num_threads(config.threads)
    with exclusive(config.out), _quiet():
        base = base_folder(config.base)
        facts: dict[str, Any] = {
            "base": config.base,
            "base_hash": manifest.weights_hash(base),
            "template_hash": Renderer.from_folder(base).hash,
            "corpus": corpus.describe(config.corpus).get("data"),
            "wording": {task: named(task).wording for task in corpus.tasks(config.corpus)},
            "recipe": config.model_dump(mode="json"),
            **_about(config.base, base),
        }
        bf16 = config.precision == "bf16" or (config.precision == "auto" and _has_bf16())
        attended = attention.chosen(config.attention, _device(), bf16)
        run = _identity(config, facts, bf16, attended)
        if _finished(config.out, run, resume):
            return config.out
        work = config.out.with_name(f"{config.out.name}.training")
        checkpoint, step = _newest(work, run, resume)
        rows, validation, excluded, sources = _data(config, base)
        mixture = _shares(rows)
        if progress:
            _show(mixture)
        transformers.set_seed(config.seed)
        model = _loaded(
            transformers.AutoModelForCausalLM,
            base,
            dtype=torch.bfloat16 if bf16 else torch.float32,
            attn_implementation=attended,
        )
        model = prepare(model, config, bf16)
        _open_log(work, step)
        try:
            with told(work):
                steps = fit(model, config, work, rows, validation, bf16, run, checkpoint, progress)
        except (SafetensorError, RuntimeError) as error:
            # The writers of checkpoints have errors of their own for a full disk, and RuntimeError means much else.
            if shutil.disk_usage(work).free > _NO_ROOM:
                raise
            raise UserError(f"The disk of {work} is full; free some space, then go on with --resume.") from error
        facts |= {
            "run": run,
            "steps": steps,
            "losses": _last_losses(work / LOG),
            "excluded": dict(Counter(row["task"] for row in excluded)),
            "mixture": mixture,
            "sources": sources,
        }
        files = {LOG: (work / LOG).read_text("utf-8"), EXCLUDED: json.dumps(excluded, indent=1) + "\n"}
        lora.save(model, config.out, files, facts)
    shutil.rmtree(work)
    return config.out


def prepare(model: Any, config: TrainConfig, bf16: bool) -> Any:
    """The loaded base with the recipe's adapter; on a GPU with fused updates and layers that compile at first use.

    Raises `UserError` if the recipe names a matrix that the base lacks, demands to compile where that does not pay, or
    Liger's kernels where they cannot be had.
    """
    kind = model.config._attn_implementation
    able = _device().type == "cuda" and kind != "radlite_segments"
    if config.compile is True and not able:
        raise UserError(
            "The setting 'compile' is true, which needs a CUDA device and attention other than segments; "
            "set it to auto."
        )
    if config.liger:
        layers.liger(model, gpu=_device().type == "cuda", compiled=bool(able and config.compile))
    model = lora.attach(model, config.rank, config.alpha, config.targets, config.dropout, config.rslora)
    if able and bf16:
        layers.fuse(model)
    if able and config.compile:
        # Else the first layer, whose input has no gradient, would be compiled a second time.
        model.enable_input_require_grads()
        layers.compile_layers(model)
    return model


def fit(
    model: Any,
    config: TrainConfig,
    work: Path,
    rows: list[Row],
    validation: dict[str, list[Row]],
    bf16: bool,
    run: str = "",
    checkpoint: Path | None = None,
    progress: bool = False,
) -> int:
    """Tune a prepared model on packed rows, in this order, and return how many steps were made.

    Log and checkpoints go into the folder `work`; `checkpoint` is one of them to go on from.
    """
    frame = None
    if _device().type == "cuda" and model.config._attn_implementation != "radlite_segments":
        every = itertools.chain(rows, *validation.values())
        frame = batches.frame(every, config.rows_per_step, config.pack_tokens)
    arguments = _arguments(config, work, len(rows), bool(validation))
    trainer = _Trainer(model, arguments, rows, validation, frame=frame, bf16=bf16, run=run, progress=progress)
    try:
        # Autocast gives each matrix its type; PEFT's own casts, to fp32 and back, would cost 6-9 % of the time.
        with peft.helpers.disable_input_dtype_casting(trainer.model, active=bf16):
            trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    finally:
        trainer.close()
    return int(trainer.state.global_step)


def base_folder(base: str) -> Path:
    """The folder of a base model: `base` itself, or the hub's model of that name (safetensors, JSON, template)."""
    if Path(base).is_dir():
        if not (Path(base) / "config.json").is_file():
            raise UserError(f"The base folder {base!r} has no config.json; give the folder of a Hugging Face model.")
        return Path(base)
    import huggingface_hub

    wanted = ["*.safetensors", "*.json", "*.jinja", "README.md", "LICENSE", "NOTICE"]
    try:
        return Path(huggingface_hub.snapshot_download(base, allow_patterns=wanted))
    except Exception as error:  # the hub's client raises of many kinds: name, network, rights, disk
        raise UserError(
            f"The base {base} is no folder here, and it cannot be had from the Hugging Face hub "
            f"({type(error).__name__}); give a local model folder, or set HF_ENDPOINT to a mirror."
        ) from error


def _about(name: str, folder: Path) -> dict[str, Any]:
    """What a card of the tuned model says of its base: its name on the hub, if it was got there, and its licence."""
    head = front_matter(folder / "README.md")
    licence = {key: head[key] for key in ("license", "license_name", "license_link") if isinstance(head.get(key), str)}
    return {"base_model": None if Path(name).is_dir() else name, "base_licence": licence}


def _identity(config: TrainConfig, facts: Mapping[str, Any], bf16: bool, attended: str) -> str:
    """Digest of all that the weights depend on; where things stand and how many threads work is not part of it."""
    settings = config.model_dump(mode="json", exclude={"base", "corpus", "out", "threads"})
    return manifest.text_hash(
        [settings, facts["base_hash"], facts["template_hash"], facts["corpus"], facts["wording"], bf16, attended]
    )


def _last_losses(log: Path) -> dict[str, Any]:
    """The last training loss and the last validation losses of the log, whichever process wrote them."""
    entries = [json.loads(line) for line in log.read_text("utf-8").splitlines()]
    last = {name: entry[name] for entry in entries for name in ("loss", "validation") if name in entry}
    return {"training": last.get("loss"), "validation": last.get("validation", {})}


def _finished(out: Path, run: str, resume: bool) -> bool:
    if not out.exists():
        return False
    if resume and manifest.read(out, "adapter").get("run") == run:
        return True
    raise UserError(f"{out} exists already; choose another out or delete it.")


def _newest(work: Path, run: str, resume: bool) -> tuple[Path | None, int]:
    """The newest whole checkpoint of an unfinished run and its step; (None, 0) if there is none."""
    if not resume and work.exists():
        raise UserError(f"{work} holds an unfinished run; go on with --resume, or delete the folder.")
    whole: dict[int, Path] = {}
    for folder in work.glob("checkpoint-*"):
        # The manifest is written last: a checkpoint without one was cut off.
        if not (folder / manifest.NAME).is_file():
            shutil.rmtree(folder)
            continue
        made = manifest.read(folder, "checkpoint", ("run", "step"))
        if made["run"] != run:
            raise UserError(f"{work} is a run of another recipe, base or corpus; restore these, or delete the folder.")
        whole[made["step"]] = folder
    step = max(whole, default=0)
    return whole.get(step), step


def _open_log(work: Path, step: int) -> None:
    """Keep what the log says of the steps up to `step`; the others are made again."""
    try:
        work.mkdir(parents=True, exist_ok=True)
        log = work / LOG
        lines = log.read_text("utf-8").splitlines(keepends=True) if log.is_file() else []
        kept = [line for line in lines if line.endswith("\n") and json.loads(line)["step"] <= step]
        log.write_text("".join(kept), "utf-8")
    except OSError as error:
        raise UserError(f"Cannot write {work}: {error.strerror}. Choose another out.") from error


def _data(
    config: TrainConfig, base: Path
) -> tuple[list[Row], dict[str, list[Row]], list[dict[str, Any]], list[dict[str, Any]]]:
    """Packed rows of the whole run in their order, validation rows by task, the excluded rows, and the sources."""
    weights = config.tasks
    if "tasks" not in config.model_fields_set:
        weights = {task: weight for task, weight in weights.items() if task in corpus.tasks(config.corpus)}
    renderer = Renderer.from_folder(base)
    context = _loaded(transformers.AutoConfig, base).max_position_embeddings
    longest = min(config.max_tokens, context)
    examples = [row for task in weights for row in _some(config, task, "train", config.limit_per_task)]
    samples, excluded = cache.encode(config.corpus, examples, renderer, longest)
    by_task: dict[str, list[Example]] = defaultdict(list)
    for example in examples:
        if (example.task, example.id) in samples:
            by_task[example.task].append(example)
    if empty := next((task for task in weights if task not in by_task), None):
        raise UserError(
            f"Every row of {empty} is longer than {longest} tokens, or of no tier in tiers; raise max_tokens, use a "
            "base with a longer context, allow more tiers, or leave the task out."
        )
    validation = {}
    for task in weights:
        if f"{task}/validation.parquet" in corpus.describe(config.corpus)["files"]:
            some = _some(config, task, "validation", VALIDATION_ITEMS)
            held, _ = cache.encode(config.corpus, some, renderer, longest)
            if held:
                validation[task] = batches.pack(list(held.values()), config.pack_tokens)
    rows = _plan(config, by_task, weights, batches.balance(samples, config.length_balance))
    used = (row for of_task in by_task.values() for row in of_task)
    return rows, validation, excluded, _sources(used, corpus.describe(config.corpus).get("sources", {}))


def _sources(examples: Iterable[Example], known: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Where the rows learned from come from, under which terms, and how many there are of each kind."""
    counted = Counter((row.source, row.tier, row.licence) for row in examples)
    lines = []
    for (source, tier, licence), count in sorted(counted.items()):
        about = known.get(source, {})
        names = {"source": source, "title": about.get("title", ""), "access": about.get("access", "")}
        lines.append({**names, "tier": tier, "licence": licence, "rows": count})
    return lines


def _some(config: TrainConfig, task: str, split: str, limit: int | None) -> list[Example]:
    rows = [row for row in corpus.scan(config.corpus, task, split) if row.tier in config.tiers]
    return rows if limit is None or limit >= len(rows) else random.Random(f"{config.seed}/{task}").sample(rows, limit)


def _plan(
    config: TrainConfig,
    by_task: Mapping[str, Sequence[Example]],
    weights: Mapping[str, float],
    samples: Mapping[tuple[str, str], Sample],
) -> list[Row]:
    """Packed rows of epoch after epoch; each epoch is drawn, shuffled and packed anew."""
    wanted = config.max_steps and config.max_steps * config.rows_per_step * config.gradient_accumulation
    rows: list[Row] = []
    balance = Balance(config.temperature, config.cap_per_task, config.label_balance, config.max_repeats)
    epoch = 0
    while len(rows) < wanted if wanted else epoch < config.epochs:
        seed = config.seed + epoch
        drawn = mix(by_task, weights, seed, balance)
        rows += batches.pack([samples[example.task, example.id] for example in drawn], config.pack_tokens, seed)
        epoch += 1
    return rows[:wanted]


def _shares(rows: Sequence[Row]) -> dict[str, dict[str, float]]:
    """What the run shows of each task: samples, tokens that are learned, and their share by weight in the gradient."""
    found: dict[str, dict[str, float]] = {}
    for sample in (sample for row in rows for sample in row):
        one = found.setdefault(sample.task, {"samples": 0, "answer_tokens": 0, "gradient_share": 0.0})
        one["samples"] += 1
        one["answer_tokens"] += sample.targets
        one["gradient_share"] += sample.targets * sample.weight
    total = sum(one["gradient_share"] for one in found.values())
    return {
        task: {**one, "gradient_share": round(one["gradient_share"] / total, 4)} for task, one in sorted(found.items())
    }


def _show(mixture: Mapping[str, Mapping[str, float]]) -> None:
    """Print the realised shares of the tasks."""
    table = rich.table.Table("task", box=rich.box.SIMPLE_HEAD, pad_edge=False)
    totals = {name: sum(one[name] for one in mixture.values()) for name in ("samples", "answer_tokens")}
    for title in ("samples", "share", "answer tokens", "share", "share of the gradient"):
        table.add_column(title, justify="right")
    for task, one in mixture.items():
        counts = [text for name, total in totals.items() for text in (f"{one[name]:,}", f"{one[name] / total:.1%}")]
        table.add_row(task, *counts, f"{one['gradient_share']:.1%}")
    rich.console.Console(stderr=True).print(table)


def _loaded(kind: Any, base: Path, **settings: Any) -> Any:
    try:
        return kind.from_pretrained(base, local_files_only=True, **settings)
    except Exception as error:  # the libraries below raise anything for a damaged file, bare Exception included
        raise UserError(f"Cannot load the base in {base} ({type(error).__name__}); get it again.") from error


def _arguments(config: TrainConfig, work: Path, rows: int, validate: bool) -> Any:
    cuda = _device().type == "cuda"
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


def _device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def _has_bf16() -> bool:
    if torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported())
    able: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(able.get("avx512_bf16") or able.get("amx_bf16"))


class _Trainer(transformers.Trainer):  # type: ignore[misc]
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

    def __init__(self, trainer: _Trainer) -> None:
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


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """No progress bars, advice or deprecations of the libraries beneath; ours are errors or nothing."""
    verbosity = transformers.logging.get_verbosity()
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            for package in ("transformers", "peft", "accelerate", "torch"):
                warnings.filterwarnings("ignore", module=rf"{package}\b")
            yield
    finally:
        transformers.logging.set_verbosity(verbosity)
        transformers.logging.enable_progress_bar()
