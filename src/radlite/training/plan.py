"""What a run is going to learn, drawn before it begins: packed rows in their order, validation, sources, shares."""

import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import rich.box
import rich.console
import rich.table
import transformers

from radlite.chat import Renderer
from radlite.data import corpus
from radlite.data.mixture import Balance, mix
from radlite.errors import UserError
from radlite.evaluation import selection
from radlite.tasks import Example
from radlite.training import batches, cache, devices
from radlite.training.batches import Row, Sample
from radlite.training.config import TrainConfig

VALIDATION_ITEMS = 32
"""Rows of each task by which the validation loss is measured; enough to see a trend, cheap enough to look often."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run shows to the model, in which order."""

    rows: list[Row]
    """Packed rows of the whole run."""

    validation: dict[str, list[Row]]
    """Task to packed rows that are measured and never learned."""

    asked: list[Example]
    """Of validation, what the model is asked at each measurement."""

    excluded: list[dict[str, Any]]
    """`{id, task, tokens}` of the rows that are too long."""

    sources: list[dict[str, Any]]
    """Where the rows come from, and under which terms."""

    mixture: dict[str, dict[str, float]]
    """What the run shows of each task."""


def draw(config: TrainConfig, base: Path, keep: bool = True) -> Plan:
    """The plan of this recipe with the base in this folder; `keep` the ids of rows in the corpus, for later runs.

    Raises `UserError` if the corpus lacks a task, or has no row of it that can be learned from.
    """
    weights = config.tasks
    if "tasks" not in config.model_fields_set:
        weights = {task: weight for task, weight in weights.items() if task in corpus.tasks(config.corpus)}
    renderer = Renderer.from_folder(base)
    sizes = loaded(transformers.AutoConfig, base)
    longest = min(config.max_tokens, sizes.max_position_embeddings)
    examples = [row for task in weights for row in _some(config, task, "train", config.limit_per_task)]
    samples, excluded = cache.encode(config.corpus, examples, renderer, longest, keep)
    for sample in samples.values():
        if (largest := int(sample.ids.max())) >= sizes.vocab_size:
            raise UserError(
                f"The row {sample.id} of {sample.task} has a token with the number {largest:,}, but the base knows "
                f"{sizes.vocab_size:,}: its tokenizer does not fit its weights. Get the base again."
            )
    by_task: dict[str, list[Example]] = defaultdict(list)
    for example in examples:
        if (example.task, example.id) in samples:
            by_task[example.task].append(example)
    if empty := next((task for task in weights if task not in by_task), None):
        raise UserError(
            f"Every row of {empty} is longer than {longest} tokens, or of no tier in tiers; raise max_tokens, use a "
            "base with a longer context, allow more tiers, or leave the task out."
        )
    validation, asked = {}, []
    for task in weights:
        if corpus.has(config.corpus, task, "validation"):
            given = _some(config, task, "validation", None)
            some = _sampled(config, task, given, VALIDATION_ITEMS)
            held, _ = cache.encode(config.corpus, some, renderer, longest, keep)
            if held:
                validation[task] = batches.pack(list(held.values()), config.pack_tokens)
            if config.generate_items:
                asked += selection.sample(given, config.generate_items, config.seed)
    if not validation and (config.keep_best or config.patience):
        raise UserError(
            "keep_best and patience go by rows of validation, of which the corpus has none for these tasks; build it "
            "with more rows, or leave both unset."
        )
    rows = batches.balance(_drawn(config, by_task, weights, samples), config.loss_norm)
    used = (row for of_task in by_task.values() for row in of_task)
    sources = _sources(used, corpus.describe(config.corpus).get("sources", {}))
    return Plan(rows, validation, asked, excluded, sources, _shares(rows))


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
    return _sampled(config, task, rows, limit)


def _sampled(config: TrainConfig, task: str, rows: list[Example], limit: int | None) -> list[Example]:
    return rows if limit is None or limit >= len(rows) else random.Random(f"{config.seed}/{task}").sample(rows, limit)


def _drawn(
    config: TrainConfig,
    by_task: Mapping[str, Sequence[Example]],
    weights: Mapping[str, float],
    samples: Mapping[tuple[str, str], Sample],
) -> list[Row]:
    """Packed rows of epoch after epoch; each epoch is drawn, shuffled and packed anew."""
    wanted = config.max_steps and config.max_steps * devices.rows_a_step(config)
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


def show(mixture: Mapping[str, Mapping[str, float]], console: rich.console.Console) -> None:
    """Print the realised shares of the tasks."""
    table = rich.table.Table("task", box=rich.box.SIMPLE_HEAD, pad_edge=False)
    totals = {name: sum(one[name] for one in mixture.values()) for name in ("samples", "answer_tokens")}
    for title in ("samples", "share", "answer tokens", "share", "share of the gradient"):
        table.add_column(title, justify="right")
    for task, one in mixture.items():
        counts = [text for name, total in totals.items() for text in (f"{one[name]:,}", f"{one[name] / total:.1%}")]
        table.add_row(task, *counts, f"{one['gradient_share']:.1%}")
    console.print(table)


def loaded(kind: Any, base: Path, **settings: Any) -> Any:
    """What transformers' class `kind` makes of the base; `UserError` if it cannot be loaded."""
    try:
        return kind.from_pretrained(base, local_files_only=True, **settings)
    except Exception as error:  # the libraries below raise anything for a damaged file, bare Exception included
        raise UserError(f"Cannot load the base in {base} ({type(error).__name__}); get it again.") from error
