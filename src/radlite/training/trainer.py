"""The training run: a recipe and a corpus in, an adapter folder out; it can be killed at any time and resumed."""

import contextlib
import itertools
import json
import shutil
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import peft.helpers
import torch
import transformers
from safetensors import SafetensorError

from radlite import manifest
from radlite.chat import Renderer
from radlite.data import corpus
from radlite.errors import UserError
from radlite.files import exclusive, front_matter, told
from radlite.hub import base_folder
from radlite.tasks import named
from radlite.training import attention, batches, layers, lora, plan
from radlite.training.batches import Row
from radlite.training.config import TrainConfig
from radlite.training.loop import LOG, Loop, arguments, device

EXCLUDED = "excluded.json"
"""Name of the list of rows that were left out for their length."""

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
        attended = attention.chosen(config.attention, device(), bf16)
        run = _identity(config, facts, bf16, attended)
        if _finished(config.out, run, resume):
            return config.out
        work = config.out.with_name(f"{config.out.name}.training")
        checkpoint, step = _newest(work, run, resume)
        planned = plan.draw(config, base)
        if progress:
            plan.show(planned.mixture)
        transformers.set_seed(config.seed)
        model = plan.loaded(
            transformers.AutoModelForCausalLM,
            base,
            dtype=torch.bfloat16 if bf16 else torch.float32,
            attn_implementation=attended,
        )
        model = prepare(model, config, bf16)
        _open_log(work, step)
        try:
            with told(work):
                steps = fit(model, config, work, planned.rows, planned.validation, bf16, run, checkpoint, progress)
        except (SafetensorError, RuntimeError) as error:
            # The writers of checkpoints have errors of their own for a full disk, and RuntimeError means much else.
            if shutil.disk_usage(work).free > _NO_ROOM:
                raise
            raise UserError(f"The disk of {work} is full; free some space, then go on with --resume.") from error
        facts |= {
            "run": run,
            "steps": steps,
            "losses": _last_losses(work / LOG),
            "excluded": dict(Counter(row["task"] for row in planned.excluded)),
            "mixture": planned.mixture,
            "sources": planned.sources,
        }
        files = {LOG: (work / LOG).read_text("utf-8"), EXCLUDED: json.dumps(planned.excluded, indent=1) + "\n"}
        lora.save(model, config.out, files, facts)
    shutil.rmtree(work)
    return config.out


def prepare(model: Any, config: TrainConfig, bf16: bool) -> Any:
    """The loaded base with the recipe's adapter; on a GPU with fused updates and layers that compile at first use.

    Raises `UserError` if the recipe names a matrix that the base lacks, or demands to compile where that does not pay.
    """
    kind = model.config._attn_implementation
    able = device().type == "cuda" and kind != "radlite_segments"
    if config.compile is True and not able:
        raise UserError(
            "The setting 'compile' is true, which needs a CUDA device and attention other than segments; "
            "set it to auto."
        )
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
    if device().type == "cuda" and model.config._attn_implementation != "radlite_segments":
        every = itertools.chain(rows, *validation.values())
        frame = batches.frame(every, config.rows_per_step, config.pack_tokens)
    settings = arguments(config, work, len(rows), bool(validation))
    trainer = Loop(model, settings, rows, validation, frame=frame, bf16=bf16, run=run, progress=progress)
    try:
        # Autocast gives each matrix its type; PEFT's own casts, to fp32 and back, would cost 6-9 % of the time.
        with peft.helpers.disable_input_dtype_casting(trainer.model, active=bf16):
            trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    finally:
        trainer.close()
    return int(trainer.state.global_step)


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
