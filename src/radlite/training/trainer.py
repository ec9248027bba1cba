"""The training run: a recipe and a corpus in, an adapter folder out; it can be killed at any time and resumed."""

import contextlib
import functools
import itertools
import json
import shutil
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import peft
import peft.helpers
import rich.console
import torch
import transformers
from safetensors import SafetensorError
from safetensors.torch import load_file

from radlite import manifest
from radlite.chat import Renderer
from radlite.data import corpus
from radlite.errors import UserError
from radlite.files import atomic, exclusive, front_matter, told
from radlite.hub import base_folder
from radlite.runtime import memory
from radlite.runtime.rounding import NF4, Rounding
from radlite.tasks import named
from radlite.training import attention, batches, devices, layers, lora, outlook, plan, rounded, scores
from radlite.training.batches import Row
from radlite.training.best import Best, forget
from radlite.training.config import TrainConfig
from radlite.training.loop import LOG, Loop, Watch, arguments, device, tracker
from radlite.training.outlook import Needs, Outlook, Rehearsal
from radlite.training.plan import Plan

EXCLUDED = "excluded.json"
"""Name of the list of rows that were left out for their length."""

_NO_ROOM = 64 << 20
"""Bytes left on a disk at which a checkpoint that could not be written is put down to it."""

_REHEARSED = 4
"""Steps of a rehearsal, but for the first, in which layers are compiled and memory is had."""

_REHEARSAL_SECONDS = 60.0
"""After which no further step of a rehearsal is begun."""


@dataclass(frozen=True, slots=True)
class _Start:
    """A recipe held against this machine and what stands on its disk."""

    base: Path
    facts: dict[str, Any]
    bf16: bool
    attended: str
    rounding: Rounding | None
    run: str
    work: Path


def train(config: TrainConfig, resume: bool = False, progress: bool = True) -> Path:
    """Tune an adapter as the recipe says and return its folder, `config.out`.

    With `resume` an unfinished run of the same recipe goes on from its newest whole checkpoint; on a CPU with the same
    number of threads the adapter is the same, bit for bit, as if nothing had happened. A finished one is returned.
    Raises `UserError` if the recipe does not fit the base, the corpus, this machine, or what stands in `config.out`,
    and if another process trains into the same place. Processes that torchrun started train one adapter together.
    """
    with devices.joined(), exclusive(config.out) if devices.first() else contextlib.nullcontext(), _quiet():
        start = _start(config)
        if devices.of_first(lambda: _finished(config.out, start.run, resume)):
            return config.out
        work = start.work
        whole = devices.of_first(lambda: _whole(work, start.run, resume))
        checkpoint, step = whole[-1][::-1] if whole else (None, 0)
        devices.demand_same(start.run, checkpoint)
        config = _as_begun(config, checkpoint)
        planned, _ = _planned(config, start)
        progress = progress and devices.first()
        if progress:
            plan.show(planned.mixture, rich.console.Console(stderr=True))
        model = _model(config, start, progress)
        devices.of_first(lambda: _open_work(work, step))
        with _faults(work), told(work):
            steps, best = fit(
                model,
                config,
                work,
                planned.rows,
                planned.validation,
                start.bf16,
                start.run,
                checkpoint,
                progress,
                score=_score(model, planned, start),
            )
            if best.kept and devices.first():
                best.load(model, work)
        weights = devices.gathered(model) if config.shard else None
        if not devices.first():
            devices.meet()
            return config.out
        facts = start.facts | {
            "run": start.run,
            "devices": devices.count(),
            "steps": steps,
            **_measured(work / LOG, best.step if best.kept else steps),
            "excluded": dict(Counter(row["task"] for row in planned.excluded)),
            "mixture": planned.mixture,
            "sources": planned.sources,
        }
        if best.kept:
            facts["kept"] = {"step": best.step, "by": best.by, "value": best.value}
        files = {LOG: (work / LOG).read_text("utf-8"), EXCLUDED: json.dumps(planned.excluded, indent=1) + "\n"}
        lora.save(model, config.out, files, facts, weights)
        shutil.rmtree(work)
        devices.meet()
    return config.out


def rehearse(config: TrainConfig, resume: bool = False, progress: bool = True) -> Outlook:
    """What the run will need and take, by a few of its real steps, in memory; no file stays.

    Raises `UserError` for all that `train` would refuse, and where memory does not suffice for the steps.
    """
    with devices.joined(), _quiet():
        start = _start(config)
        _finished(config.out, start.run, False)
        whole = _whole(start.work, start.run, resume)
        devices.demand_same(start.run, None)
        config = _as_begun(config, whole[-1][1] if whole else None)
        planned, found = _planned(config, start, keep=False)
        room, before = outlook.free_memory(device().type == "cuda"), memory.peak()
        model = _model(config, start, progress)
        return Outlook(
            config=config,
            plan=planned,
            needs=found,
            rehearsal=_rehearsed(model, config, planned, start, before, progress),
            device=torch.cuda.get_device_name()
            if device().type == "cuda"
            else f"CPU, {torch.get_num_threads()} threads",
            precision="bf16" if start.bf16 else "fp32",
            attention=start.attended.removeprefix("radlite_"),
            free_memory=room,
            free_disk=outlook.free_disk(config.out),
            done=whole[-1][0] if whole else 0,
        )


def _start(config: TrainConfig) -> _Start:
    """What the run is made from; raises `UserError` where that is not there or does not fit this machine."""
    if config.threads:
        torch.set_num_threads(config.threads)
    base = base_folder(config.base)
    facts: dict[str, Any] = {
        "base": config.base,
        "base_hash": manifest.weights_hash(base),
        "template_hash": Renderer.from_folder(base).hash,
        "corpus": corpus.describe(config.corpus).get("data"),
        "wording": {task: named(task).wording for task in corpus.tasks(config.corpus)},
        "recipe": config.model_dump(mode="json"),
        "base_quantized": config.base_quantized,
        **_about(config.base, base),
    }
    bf16 = config.precision == "bf16" or (config.precision == "auto" and _has_bf16())
    attended = attention.chosen(config.attention, device(), bf16)
    how = rounded.planned(base, config.base_quantized)
    run = _identity(config, facts, bf16, attended)
    return _Start(base, facts, bf16, attended, how, run, config.out.with_name(f"{config.out.name}.training"))


def _planned(config: TrainConfig, start: _Start, keep: bool = True) -> tuple[Plan, Needs]:
    """The plan of the run and its needs; raises `UserError` for what would fail later."""
    cuda = device().type == "cuda"
    outlook.free_disk(config.out)
    tracker(config)
    planned = plan.draw(config, start.base, keep)
    found = outlook.needs(config, start.base, planned.rows, start.bf16, cuda, start.rounding)
    outlook.demand(found, config.out, start.work, config, cuda)
    return planned, found


def _model(config: TrainConfig, start: _Start, progress: bool) -> Any:
    """The base, rounded if the recipe says so, with the recipe's adapter at its start, which the seed decides."""
    transformers.set_seed(config.seed)
    dtype = torch.bfloat16 if start.bf16 else torch.float32
    model = plan.loaded(transformers.AutoModelForCausalLM, start.base, dtype=dtype, attn_implementation=start.attended)
    if start.rounding:
        console = rich.console.Console(stderr=True)
        with rich.progress.Progress(console=console, disable=not progress, transient=True) as bar:
            rounded.apply(model, start.base, start.rounding, device(), bar)
    return prepare(model, config)


def prepare(model: Any, config: TrainConfig) -> Any:
    """The loaded base with the recipe's adapter and fused updates; on a GPU with layers that compile at first use.

    Raises `UserError` if the recipe names a matrix that the base lacks, demands to compile where that does not pay, or
    Liger's kernels where they cannot be had.
    """
    kind = model.config._attn_implementation
    able = device().type == "cuda" and kind != "radlite_segments"
    if config.compile is True and not able:
        raise UserError(
            "The setting 'compile' is true, which needs a CUDA device and attention other than segments; "
            "set it to auto."
        )
    if config.liger:
        layers.liger(model, gpu=device().type == "cuda", compiled=bool(able and config.compile))
    model = lora.attach(model, config.rank, config.alpha, config.targets, config.dropout, config.rslora, config.dora)
    layers.fuse(model)
    if able and config.compile and config.base_quantized != NF4:
        # Else the first layer, whose input has no gradient, would be compiled a second time.
        model.enable_input_require_grads()
        layers.compile_layers(model)
    else:
        layers.narrow(model)
    if config.shard and torch.distributed.is_initialized():
        devices.shard(model)
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
    watch: transformers.TrainerCallback | None = None,
    score: Callable[[], dict[str, float]] | None = None,
) -> tuple[int, Best]:
    """Tune a prepared model on packed rows, in this order; return how many steps were made, and what was best.

    Log and checkpoints go into the folder `work`; `checkpoint` is one of them to go on from. `watch` is told of each
    step beside the log; `score` tells at each measurement how well each task is answered.
    """
    frame = None
    if device().type == "cuda" and model.config._attn_implementation != "radlite_segments":
        every = itertools.chain(rows, *validation.values())
        frame = batches.frame(every, config.rows_per_step, config.pack_tokens)
    best = Best(config.keep_best or "loss", config.patience, kept=bool(config.keep_best))
    if checkpoint:
        best.replay(work / LOG)
        if best.stopped:  # and the run ended before its adapter was written
            peft.set_peft_model_state_dict(model, load_file(checkpoint / "adapter_model.safetensors"))
            return int(manifest.read(checkpoint)["step"]), best
    settings = arguments(config, work, len(rows), bool(validation))
    if devices.count() > 1:  # all take part in each pass, whether or not there are rows left
        rows = rows + [()] * (-len(rows) % (config.rows_per_step * devices.count()))
    trainer = Loop(
        model,
        settings,
        rows,
        validation,
        shards=config.shard,
        frame=frame,
        bf16=bf16,
        run=run,
        progress=progress,
        best=best,
        score=score,
    )
    trainer.lora_plus_ratio = config.lora_plus_ratio
    if devices.rank():  # the base and the adapter's start are the same everywhere; what is dropped need not be
        torch.manual_seed(config.seed + devices.rank())
    for callback in filter(None, (watch, tracker(config))):
        trainer.add_callback(callback)
    try:
        # Autocast gives each matrix its type; PEFT's own casts, to fp32 and back, would cost 6-9 % of the time.
        with peft.helpers.disable_input_dtype_casting(trainer.model, active=bf16):
            trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    finally:
        trainer.close()
    return int(trainer.state.global_step), best


def _rehearsed(
    model: Any, config: TrainConfig, planned: Plan, start: _Start, before: int | None, progress: bool
) -> Rehearsal:
    """Make a few steps, the largest of the run first, and one measurement on validation.

    `before` is what the process had held at most when the base was not there yet, in bytes.
    """
    size = devices.rows_a_step(config)
    every = [planned.rows[at : at + size] for at in range(0, len(planned.rows), size)]
    whole = [rows for rows in every if len(rows) == size] or every
    chosen = [max(whole, key=outlook.tokens), *(whole[len(whole) * part // _REHEARSED] for part in range(_REHEARSED))]
    rows = [row for step in chosen for row in step]
    watch = Watch(list(map(outlook.tokens, chosen)), _REHEARSAL_SECONDS)
    cuda = device().type == "cuda"
    if cuda:
        torch.cuda.reset_peak_memory_stats()
    with tempfile.TemporaryDirectory(prefix="radlite-") as room, _faults(Path(room)):
        fit(
            model,
            config.model_copy(update={"report_to": None}),
            Path(room),
            rows,
            planned.validation,
            start.bf16,
            progress=progress,
            watch=watch,
            score=_score(model, planned, start),
        )
    peak = torch.cuda.max_memory_allocated() if cuda else memory.peak()
    grown = peak if cuda or peak is None or before is None else peak - before
    return Rehearsal(watch.timed, watch.tokens_per_second, watch.validation_seconds, grown)


def _about(name: str, folder: Path) -> dict[str, Any]:
    """What a card of the tuned model says of its base: its name on the hub, if it was got there, and its licence."""
    head = front_matter(folder / "README.md")
    licence = {key: head[key] for key in ("license", "license_name", "license_link") if isinstance(head.get(key), str)}
    return {"base_model": None if Path(name).is_dir() else name, "base_licence": licence}


def _identity(config: TrainConfig, facts: Mapping[str, Any], bf16: bool, attended: str) -> str:
    """Digest of all that the weights depend on; where things stand and how many threads work is not part of it."""
    settings = config.model_dump(mode="json", exclude={"base", "corpus", "out", "threads", "report_to"})
    return manifest.text_hash(
        [settings, facts["base_hash"], facts["template_hash"], facts["corpus"], facts["wording"], bf16, attended]
    )


def _score(model: Any, planned: Plan, start: _Start) -> Callable[[], dict[str, float]] | None:
    """What measures how well the model answers, if it is asked anything."""
    if not planned.asked:
        return None
    return functools.partial(scores.measure, model, Renderer.from_folder(start.base), planned.asked, start.bf16)


def _measured(log: Path, step: int) -> dict[str, Any]:
    """The last losses and scores of the log up to this step, whichever process wrote them."""
    entries = [json.loads(line) for line in log.read_text("utf-8").splitlines()]
    names = ("loss", "validation", "scores")
    last = {name: entry[name] for entry in entries if entry["step"] <= step for name in names if name in entry}
    losses = {"training": last.get("loss"), "validation": last.get("validation", {})}
    return {"losses": losses, **({"scores": last["scores"]} if "scores" in last else {})}


def _finished(out: Path, run: str, resume: bool) -> bool:
    if not out.exists():
        return False
    if resume and manifest.read(out, "adapter").get("run") == run:
        return True
    raise UserError(f"{out} exists already; choose another out or delete it.")


def _whole(work: Path, run: str, resume: bool) -> list[tuple[int, Path]]:
    """The whole checkpoints of an unfinished run with their steps, the newest last."""
    if not resume and work.exists():
        raise UserError(f"{work} holds an unfinished run; go on with --resume, or delete the folder.")
    whole = []
    for folder in work.glob("checkpoint-*"):
        # The manifest is written last: a checkpoint without one was cut off.
        if (folder / manifest.NAME).is_file():
            made = manifest.read(folder, "checkpoint", ("run", "step"))
            if made["run"] != run:
                raise UserError(
                    f"{work} is a run of another recipe, base or corpus; restore these, or delete the folder."
                )
            whole.append((int(made["step"]), folder))
    return sorted(whole)


def _as_begun(config: TrainConfig, checkpoint: Path | None) -> TrainConfig:
    """The recipe for these processes, with steps of as many rows as those that led to the checkpoint."""
    return devices.shared_out(config, manifest.read(checkpoint).get("rows_a_step")) if checkpoint else config


def _open_work(work: Path, step: int) -> None:
    """Keep what the log says of the steps up to `step`, which are made again, and no checkpoint that was cut off."""
    try:
        work.mkdir(parents=True, exist_ok=True)
        for folder in work.glob("checkpoint-*"):
            if not (folder / manifest.NAME).is_file():
                shutil.rmtree(folder)
        for part in work.glob(".*.part"):  # of a file that was being written
            part.unlink()
        forget(work, step)
        log = work / LOG
        lines = log.read_text("utf-8").splitlines(keepends=True) if log.is_file() else []
        kept = [line for line in lines if line.endswith("\n") and json.loads(line)["step"] <= step]
        # At once or not at all: what is best so far is read from it.
        with atomic(log) as written:
            written.write_text("".join(kept), "utf-8")
    except OSError as error:
        raise UserError(f"Cannot write {work}: {error.strerror}. Choose another out.") from error


def _has_bf16() -> bool:
    if torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported())
    able: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(able.get("avx512_bf16") or able.get("amx_bf16"))


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


@contextlib.contextmanager
def _faults(work: Path) -> Iterator[None]:
    """Errors of the libraries beneath that mean a full disk or too little memory, as sentences."""
    try:
        yield
    except (SafetensorError, RuntimeError) as error:
        if isinstance(error, torch.OutOfMemoryError) or "allocate memory" in str(error):
            raise UserError(
                "The memory does not suffice for a step; lower pack_tokens, rows_per_step or rank, or take a smaller "
                "base, then begin anew."
            ) from error
        # The writers of checkpoints have errors of their own for a full disk, and RuntimeError means much else.
        if shutil.disk_usage(work).free > _NO_ROOM:
            raise
        raise UserError(f"The disk of {work} is full; free some space, then go on with --resume.") from error
