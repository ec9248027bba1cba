"""The settings of a training run, each written once: its default, its unit, and what it does."""

import difflib
import types
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import pydantic
import yaml
from pydantic import Field

from radlite.errors import UserError
from radlite.files import read_text
from radlite.runtime.rounding import NF4, Kind
from radlite.tasks import TASKS, named

PAPER_WEIGHTS = {
    **dict.fromkeys(TASKS, 1.0),
    "radiology_qa": 0.5,
    "temporal_comparison": 1.5,
    "impression_generation": 1.5,
    "rads_assignment": 3.0,
    "radiology_nli": 3.0,
}
"""How often an epoch of the paper shows each row of a task."""

PROJECTIONS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
"""The seven matrices of a Qwen layer."""

_COMMAND_LINE = "the command line"

_RENAMED = {"length_balance": "loss_norm"}
"""Settings of earlier recipes, and what has taken their place."""


class TrainConfig(pydantic.BaseModel):
    """A training recipe. Paths are relative to the working directory."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    base: str = Field(description="Model to tune: a folder with safetensors, or a name on the Hugging Face hub.")
    corpus: Path = Field(description="Corpus folder; its splits train and validation are used.")
    out: Path = Field(description="Adapter folder to make; checkpoints stand beside it until it is finished.")
    tasks: dict[str, float] = Field(
        PAPER_WEIGHTS,
        description="Weight of each task: how often an epoch shows each of its rows. Unset: the paper's weights for "
        "the tasks that the corpus has; set: the tasks named, and no others.",
    )
    temperature: float = Field(
        1.0,
        ge=1,
        description="A task of n rows counts as n^(1/temperature) of them in an epoch, whose size stays: 1 by their "
        "number, higher evens tasks out.",
    )
    cap_per_task: int | None = Field(None, ge=1, description="Rows of a task that an epoch shows at most; unset: all.")
    label_balance: float = Field(
        0.0, ge=0, le=1, description="0: labels, or RADS systems, as often as they occur in a task; 1: alike often."
    )
    max_repeats: int | None = Field(
        None, ge=1, description="How often an epoch shows one row at most; unset: as often as weight and balance say."
    )
    tiers: tuple[Literal["gold", "silver", "synthetic", "proxy"], ...] = Field(
        ("gold", "silver", "synthetic", "proxy"),
        min_length=1,
        description="Rows to learn from by who answered them: experts, programs, the synthesiser, or stand-ins.",
    )
    limit_per_task: int | None = Field(None, ge=1, description="Rows of each task to use at most; unset: all.")
    rank: int = Field(64, ge=1, description="Rank of the low-rank update of each matrix.")
    alpha: float = Field(128, gt=0, description="The update is scaled by alpha / rank (rsLoRA: alpha / sqrt(rank)).")
    rslora: bool = Field(False, description="Scale by alpha / sqrt(rank), so that a change of rank keeps the rate.")
    dora: bool = Field(
        False, description="DoRA: learn the length of each matrix row apart from its direction; slower steps."
    )
    dropout: float = Field(0.0, ge=0, lt=1, description="Share of the update's inputs that is dropped in training.")
    base_quantized: Kind | None = Field(
        None,
        description="Round the frozen base to this kind before training, so that the adapter learns around the "
        "rounding; NF4: QLoRA, the matrices stay in four bits in memory (pip install 'radlite[qlora]'); unset: no.",
    )
    targets: tuple[str, ...] = Field(PROJECTIONS, min_length=1, description="Names of the matrices that are tuned.")
    learning_rate: float = Field(2e-4, gt=0, description="Peak rate of AdamW, reached after the warm-up.")
    lora_plus_ratio: float = Field(
        1.0, ge=1, description="LoRA+: the rate of the matrices B, which start at zero, is this times the peak rate."
    )
    schedule: Literal["cosine", "linear", "constant"] = Field(
        "cosine", description="How the rate falls after the warm-up; cosine and linear end at 0."
    )
    warmup: float = Field(0.03, ge=0, lt=1, description="Share of the steps in which the rate rises from 0.")
    weight_decay: float = Field(0.0, ge=0, description="Decoupled weight decay of AdamW.")
    max_grad_norm: float = Field(1.0, gt=0, description="A gradient longer than this is scaled down to it.")
    epochs: int = Field(2, ge=1, description="Passes over the mixture.")
    max_steps: int | None = Field(None, ge=1, description="Optimiser steps to make in place of `epochs`.")
    max_tokens: int = Field(2048, ge=8, description="Longest row, in tokens; longer ones are left out, never cut.")
    pack_tokens: int = Field(2048, ge=8, description="Tokens of a packed row: whole rows side by side, at most this.")
    rows_per_step: int = Field(4, ge=1, description="Packed rows that pass the model at once, on each device.")
    gradient_accumulation: int = Field(1, ge=1, description="Passes whose gradients are added up for one step.")
    loss_norm: Literal["token", "sample", "sqrt", "task"] = Field(
        "sqrt",
        description="What counts alike in the loss: token: each token of an answer, so that long answers rule; sample: "
        "each answer; sqrt: halfway, by the root of its length; task: each task, whatever its rows and their length.",
    )
    evaluate_every: int = Field(200, ge=1, description="Steps between two measurements on validation.")
    generate_items: int = Field(
        0,
        ge=0,
        description="Validation items of each task that the model answers at each measurement, for a score by the "
        "task's own metric; 0: none.",
    )
    keep_best: Literal["loss", "score"] | None = Field(
        None,
        description="Adapter to keep: that of the measurement with the lowest validation loss or the highest score, "
        "as a mean over tasks; unset: the last one.",
    )
    patience: int | None = Field(
        None,
        ge=1,
        description="Measurements in a row without a better one (by keep_best, else by loss) that end the run; unset: "
        "it goes to its end.",
    )
    save_every: int = Field(200, ge=1, description="Steps between two checkpoints; the last two are kept.")
    report_to: Literal["tensorboard", "mlflow", "wandb", "trackio"] | None = Field(
        None,
        description="Where losses, scores and rates are sent besides the log, with transformers' own settings and the "
        "base's configuration; unset: nowhere.",
    )
    precision: Literal["auto", "bf16", "fp32"] = Field(
        "auto", description="Arithmetic of the model; auto: bf16 where the processor has it. The adapter is fp32."
    )
    attention: Literal["auto", "segments", "varlen", "sdpa"] = Field(
        "auto",
        description="How packed rows are kept apart: segments attends to each by itself, varlen to all in one GPU "
        "kernel, sdpa masks the whole pack; auto: varlen on a GPU, segments on a CPU.",
    )
    compile: Literal["auto", True, False] = Field(
        "auto", description="Compile the layers at the start, a minute or two, for faster steps; auto: on a GPU."
    )
    shard: bool = Field(
        False,
        description="With several processes: false: each holds the whole base; true: each holds a part (FSDP2), for "
        "a base that does not fit one device.",
    )
    liger: bool = Field(
        False,
        description="Liger's kernels (liger-kernel) for norms, rotary positions and SwiGLU, on a GPU with compile: "
        "false.",
    )
    threads: int | None = Field(None, ge=1, description="CPU threads; unset: PyTorch's own choice.")
    seed: int = Field(
        0, ge=0, le=2**32 - 1, description="Seed of the adapter's start, the order of the rows and the dropout."
    )

    @pydantic.field_validator("*", mode="before")
    @classmethod
    def _no_truth_values(cls, value: Any, info: pydantic.ValidationInfo) -> Any:
        # YAML reads `yes` and `on` as true, which pydantic would take for the number 1.
        if isinstance(value, bool) and info.field_name not in ("rslora", "dora", "compile", "shard", "liger"):
            raise ValueError("a truth value is no number")
        return value

    @pydantic.field_validator("tasks")
    @classmethod
    def _known_tasks(cls, weights: dict[str, float]) -> dict[str, float]:
        for task, weight in weights.items():
            named(task)
            if weight <= 0:
                raise UserError(f"The weight of {task} is {weight:g}; give one above 0, or leave the task out.")
        if not weights:
            raise UserError("The setting 'tasks' names no task; name one or leave the setting out.")
        return weights

    @pydantic.model_validator(mode="after")
    def _scores_are_measured_where_they_decide(self) -> "TrainConfig":
        if self.keep_best == "score" and not self.generate_items:
            raise UserError(
                "The adapter with the best score is to be kept (keep_best), but no scores are measured; set "
                "generate_items, for instance to 16, or keep_best to loss."
            )
        return self

    @pydantic.model_validator(mode="after")
    def _a_model_in_parts_only_learns(self) -> "TrainConfig":
        for name in ("generate_items", "keep_best", "patience"):
            if self.shard and getattr(self, name):
                raise UserError(
                    f"The setting {name!r} needs a whole model in each process; leave it out, or set shard to false."
                )
        return self

    @pydantic.model_validator(mode="after")
    def _a_rounded_base_is_plain(self) -> "TrainConfig":
        if self.base_quantized and self.dora:
            raise UserError("DoRA learns lengths of the exact matrices; leave out dora, or base_quantized.")
        if self.base_quantized == NF4 and self.shard:
            raise UserError("Matrices in four bits cannot be held in parts; set shard to false, or leave out NF4.")
        return self

    @pydantic.model_validator(mode="after")
    def _longest_row_fits_a_pack(self) -> "TrainConfig":
        if self.max_tokens > self.pack_tokens:
            raise UserError(
                f"A row may have {self.max_tokens} tokens (max_tokens), but a pack holds {self.pack_tokens} "
                "(pack_tokens); raise pack_tokens or lower max_tokens."
            )
        return self

    @pydantic.model_validator(mode="after")
    def _four_bits_are_not_compiled(self) -> "TrainConfig":
        if self.base_quantized == NF4 and self.compile is True:
            raise UserError("Layers in NF4 are not compiled; set compile to auto, or base_quantized to another kind.")
        return self


def load(path: Path, overrides: Sequence[str] = ()) -> TrainConfig:
    """The recipe in the YAML file `path`, with `key=value` from the command line over it.

    Raises `UserError` in one sentence for a file that is no YAML mapping, a key that is unknown, missing or given
    twice, and a value of the wrong kind.
    """
    values = _mapping(path)
    sources = dict.fromkeys(values, str(path))
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals:
            raise UserError(f"Cannot read {override!r} on {_COMMAND_LINE}; write a setting as key=value.")
        try:
            values[key.strip()] = yaml.safe_load(text)
        except (yaml.YAMLError, ValueError, RecursionError) as error:
            raise UserError(f"Cannot read the value of {key!r} on {_COMMAND_LINE}; write it as in YAML.") from error
        sources[key.strip()] = _COMMAND_LINE
    try:
        return TrainConfig(**values)
    except pydantic.ValidationError as error:
        raise UserError(_sentence(error.errors()[0], sources, path)) from error


def describe() -> str:
    """All settings as a Markdown table, from the fields themselves."""
    lines = ["| setting | default | meaning |", "|---|---|---|"]
    for name, field in TrainConfig.model_fields.items():
        lines.append(f"| `{name}` | {_default(name, field)} | {field.description} |")
    return "\n".join(lines) + "\n"


def _default(name: str, field: pydantic.fields.FieldInfo) -> str:
    if field.is_required():
        return "required"
    if name == "tasks":
        return ", ".join(f"{task} {weight:g}" for task, weight in PAPER_WEIGHTS.items())
    if name == "targets":
        return "all seven projections"
    return "unset" if field.default is None else str(field.default).lower()


def _mapping(path: Path) -> dict[str, Any]:
    text = read_text(path, "recipe")
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        values = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f" (line {mark.line + 1})" if mark else ""
        raise UserError(f"The recipe {path} is not valid YAML{where}; mend that line.") from error
    if not isinstance(node, yaml.MappingNode) or not all(isinstance(key, str) for key in values):
        raise UserError(f"The recipe {path} is not a mapping; write one `setting: value` a line.")
    keys = [key.value for key, _ in node.value]
    if twice := next((key for key in keys if keys.count(key) > 1), None):
        raise UserError(f"The setting {twice!r} stands twice in {path}; keep one.")
    return dict(values)


def _sentence(problem: Any, sources: dict[str, str], path: Path) -> str:
    """One sentence on the first thing that pydantic found wrong."""
    key = str(problem["loc"][0])
    where = sources.get(key, str(path))
    if problem["type"] == "extra_forbidden":
        near = difflib.get_close_matches(_RENAMED.get(key, key), TrainConfig.model_fields, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]!r}?" if near else f"the settings are {', '.join(TrainConfig.model_fields)}."
        return f"unknown setting {key!r} in {where}; {hint}"
    if problem["type"] == "missing":
        return f"The setting {key!r} is missing in {where}; add it, or give {key}=... on {_COMMAND_LINE}."
    if problem["type"] == "too_short":
        return f"The setting {key!r} in {where} must name at least one, but it is an empty list."
    if limit := _limit(problem):
        return f"The setting {key!r} in {where} must be {limit}, but it is {problem['input']!r}."
    expected = _kind(TrainConfig.model_fields[key].annotation)
    return f"The setting {key!r} in {where} must be {expected}, but it is {_found(problem['input'])}."


def _limit(problem: Any) -> str:
    words = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}
    context = problem.get("ctx", {})
    return next((f"{word} {context[name]:g}" for name, word in words.items() if name in context), "")


def _kind(annotation: Any) -> str:
    """What a value of this annotation is called: 'a whole number', 'one of auto, bf16, fp32'."""
    names = {
        int: "a whole number", float: "a number", bool: "true or false", str: "a text", Path: "a path",
        type(None): "unset (null)", dict: "a mapping of names to numbers", tuple: "a list of texts",
    }  # fmt: skip
    origin = typing.get_origin(annotation)
    if origin is Literal:
        named = (choice if isinstance(choice, str) else str(choice).lower() for choice in typing.get_args(annotation))
        return f"one of {', '.join(named)}"
    if origin in (types.UnionType, typing.Union):
        return " or ".join(map(_kind, typing.get_args(annotation)))
    return names[origin or annotation]


def _found(value: Any) -> str:
    kinds = {str: "the text", bool: "the truth value", int: "the number", float: "the number", list: "a list"}
    if value is None:
        return "empty"
    kind = kinds.get(type(value), "a mapping" if isinstance(value, dict) else f"a {type(value).__name__}")
    return f"{kind} {value!r}" if isinstance(value, str | int | float) else kind
