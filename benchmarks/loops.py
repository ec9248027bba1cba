"""Whole training loops on the same rows: `radlite train`'s, transformers' padded Trainer, and TRL's SFTTrainer.

`python benchmarks/training.py --loops all` runs each loop in a process of its own, in turns, over several rounds. All
start from one model of random weights with one adapter, see the same rows once, and have the same rate and about as
many tokens a step. Measured between the third pass and the last: useful tokens a second by the clock and by the
processor's time (which other programs on the machine do not take part in), peak memory, and at the end the loss of
rows that none of them has seen, by one function for all. Ids are drawn unevenly, so that there is something to learn.
"""

import dataclasses
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import peft
import torch
import transformers

from radlite.training import attention, batches, lora, trainer
from radlite.training.batches import Sample
from radlite.training.config import PROJECTIONS, TrainConfig
from training import LONGEST, PADDED_ROWS, SHAPES, matrix_peak, padded, samples

RATE = 1e-3
PACK = 2048
PACKS = 2
"""Packs of a step; the padded loops have as many rows as come to about as many tokens."""

WARM = 3
HELD_OUT = 64


def ours(model: Any, rows: list[Sample], work: Path, bf16: bool) -> None:
    config = TrainConfig(
        base="-", corpus=Path("-"), out=work, rank=64, alpha=128, learning_rate=RATE, schedule="constant", warmup=0,
        pack_tokens=PACK, max_tokens=LONGEST, rows_per_step=PACKS,
    )  # fmt: skip
    model = trainer.prepare(model, config)
    trainer.fit(watched(model), config, work, batches.pack(rows, PACK), {}, bf16)


def trainer_of(model: Any, rows: list[Sample], work: Path, bf16: bool, sampling: str) -> None:
    model = lora.attach(model, 64, 128, PROJECTIONS, 0.0, False)
    arguments = transformers.TrainingArguments(
        **common(work, bf16), per_device_train_batch_size=PADDED_ROWS, train_sampling_strategy=sampling,
        remove_unused_columns=False, length_column_name="length",
    )  # fmt: skip
    data = [{"sample": row, "length": len(row.ids), "input_ids": row.ids} for row in rows]

    def collate(items: list[dict[str, Any]]) -> dict[str, Any]:
        batch = padded([item["sample"] for item in items])
        batch["input_ids"] *= batch["attention_mask"]
        return {name: value for name, value in batch.items() if name != "useful"}

    transformers.Trainer(watched(model), arguments, data_collator=collate, train_dataset=data).train()


def random_order(model: Any, rows: list[Sample], work: Path, bf16: bool) -> None:
    trainer_of(model, rows, work, bf16, "random")


def by_length(model: Any, rows: list[Sample], work: Path, bf16: bool) -> None:
    trainer_of(model, rows, work, bf16, "group_by_length")


def trl_loop(model: Any, rows: list[Sample], work: Path, bf16: bool, **settings: Any) -> None:
    """TRL without checkpointing, the output matrix at targets alone, which is how it computes its loss."""
    import datasets
    import trl

    made = trl.SFTConfig(**common(work, bf16), max_length=PACK, gradient_checkpointing=False, **settings)
    columns = {
        "input_ids": [row.ids.tolist() for row in rows],
        "labels": [[batches.IGNORED] * (len(row.ids) - row.targets) + row.ids[-row.targets :].tolist() for row in rows],
    }
    base = Path(__file__).parents[1] / "src" / "radlite" / "models" / "tiny-qwen3"
    tokenizer = transformers.AutoTokenizer.from_pretrained(base)
    adapter = peft.LoraConfig(task_type="CAUSAL_LM", r=64, lora_alpha=128, target_modules=list(PROJECTIONS))
    loop = trl.SFTTrainer(
        model, args=made, train_dataset=datasets.Dataset.from_dict(columns), processing_class=tokenizer,
        peft_config=adapter,
    )  # fmt: skip
    watched(loop.model)
    loop.train()


def trl_packed(model: Any, rows: list[Sample], work: Path, bf16: bool) -> None:
    # One pack at a time: with its mask over the whole pass, two at once would cost twice as much attention a token.
    trl_loop(
        model, rows, work, bf16, packing=True, packing_strategy="bfd", per_device_train_batch_size=1,
        gradient_accumulation_steps=PACKS,
    )  # fmt: skip


def trl_by_length(model: Any, rows: list[Sample], work: Path, bf16: bool) -> None:
    trl_loop(
        model, rows, work, bf16, per_device_train_batch_size=PADDED_ROWS, train_sampling_strategy="group_by_length"
    )


LOOPS: dict[str, Callable[[Any, list[Sample], Path, bool], None]] = {
    "ours": ours,
    "padded": random_order,
    "padded by length": by_length,
    "trl packed": trl_packed,
    "trl by length": trl_by_length,
}


def common(work: Path, bf16: bool) -> dict[str, Any]:
    return {
        "output_dir": str(work), "num_train_epochs": 1, "learning_rate": RATE, "lr_scheduler_type": "constant",
        "weight_decay": 0.0, "bf16": bf16, "optim": "adamw_torch_fused", "save_strategy": "no", "report_to": "none",
        "disable_tqdm": True, "use_cpu": not torch.cuda.is_available(), "logging_steps": 1000, "max_grad_norm": 1.0,
    }  # fmt: skip


marks: list[tuple[float, float, int]] = []
"""At the start of each pass: the clock, the processor's time, and the pass's useful tokens."""


def watched(model: Any) -> Any:
    """The model, whose passes leave marks."""

    def mark(_: Any, given: tuple[Any, ...], named: dict[str, Any]) -> None:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        ids = named["input_ids"] if "input_ids" in named else given[0]
        mask = named.get("attention_mask")
        useful = mask if mask is not None else ids != 0  # packed: what fills a frame is zeros
        marks.append((time.perf_counter(), time.process_time(), int(useful.sum())))

    model.register_forward_pre_hook(mark, with_kwargs=True)
    return model


def uneven(rows: list[Sample], vocabulary: int) -> list[Sample]:
    """The rows with small ids often and large ones rarely, as words are; 0 is the padding's."""
    return [
        dataclasses.replace(row, ids=(1 + (row.ids / vocabulary) ** 6 * (vocabulary - 2)).astype("int32"))
        for row in rows
    ]


def held_out_loss(model: Any, rows: list[Sample], bf16: bool) -> float:
    """In nats a target; the loops leave the model as they made it, so attention is set anew."""
    model.config._attn_implementation = "radlite_segments"
    model.eval()
    with torch.no_grad():
        whole = sum(
            batches.loss(model, {k: moved(v) for k, v in batches.collate([(row,)]).items()}, bf16).item()
            for row in rows
        )
    return whole / sum(row.targets for row in rows)


def moved(value: Any) -> Any:
    return value.cuda() if isinstance(value, torch.Tensor) and torch.cuda.is_available() else value


def memory(reset: bool = False) -> float:
    """The most memory of this process in bytes, since the last reset where the system can tell that (Linux)."""
    if torch.cuda.is_available():
        if reset:
            torch.cuda.reset_peak_memory_stats()
        return float(torch.cuda.max_memory_allocated())
    try:
        if reset:
            Path("/proc/self/clear_refs").write_text("5")
        lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines() if ":" in line)
        return float(lines["VmHWM"].split()[0]) * 1024
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024.0


def child(name: str, shape: str, count: int, cut: int | None, precision: str, spread: float | None) -> None:
    """Run one loop in this process and print what was measured as the last line."""
    warnings.filterwarnings("ignore")
    transformers.logging.set_verbosity_error()
    bf16 = trainer._has_bf16() if precision == "auto" else precision == "bf16"
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    family, sizes = SHAPES[shape]
    if cut:
        sizes = {**sizes, "num_hidden_layers": cut}
    config = transformers.AutoConfig.for_model(family, **sizes, max_position_embeddings=32_768)
    kernel = attention.chosen("auto", device, bf16) if name == "ours" else "sdpa"
    torch.manual_seed(0)
    with torch.device(device):
        model = transformers.AutoModelForCausalLM.from_config(
            config, dtype=torch.bfloat16 if bf16 else torch.float32, attn_implementation=kernel
        )
    every = uneven(samples(config.vocab_size, count + HELD_OUT, spread), config.vocab_size)
    rows, held = every[:count], every[count:]
    before = held_out_loss(model, held, bf16)
    model.config._attn_implementation = kernel
    torch.manual_seed(0)
    model.train()
    start = memory(reset=True)
    with tempfile.TemporaryDirectory() as work:
        LOOPS[name](model, rows, Path(work), bf16)
    peak = memory()
    (began, spent, _), (ended, used, _) = marks[WARM], marks[-1]
    tokens = sum(one[2] for one in marks[WARM:-1])
    found = {
        "tokens_per_second": tokens / (ended - began), "tokens_per_cpu_second": tokens / (used - spent),
        "tokens": sum(one[2] for one in marks), "passes": len(marks), "peak_gb": peak / 1e9, "start_gb": start / 1e9,
        "loss_before": before, "loss": held_out_loss(model, held, bf16), "bf16": bf16,
    }  # fmt: skip
    print(json.dumps(found))


def compare(settings: Any) -> None:
    """Run the loops in turns and print a table; each ratio is within a round."""
    names = list(LOOPS) if settings.loops == "all" else settings.loops.split(",")
    try:
        import trl

        version = trl.__version__
    except ImportError:
        version = None
        names = [name for name in names if not name.startswith("trl")]
        print("TRL is left out: it is not installed (pip install trl datasets).")
    made: dict[str, Any] = {
        "shape": settings.shape, "layers": settings.layers, "rows": settings.rows, "spread": settings.spread,
        "torch": torch.__version__,
        "transformers": transformers.__version__, "peft": peft.__version__, "trl": version,
        "threads": torch.get_num_threads(), "peak_tflops": matrix_peak(torch.device("cpu")) / 1e12,
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu", "rounds": [],
    }  # fmt: skip
    begun = time.perf_counter()
    for number in range(settings.rounds):
        turn: dict[str, Any] = {}
        for name in names[number % len(names) :] + names[: number % len(names)]:
            if time.perf_counter() - begun > settings.seconds:
                print(f"{name}, round {number + 1}: not begun, the time is over", flush=True)
                continue
            turn[name] = run(name, settings)
            print(f"{name}, round {number + 1}: {json.dumps(turn[name])}", flush=True)
        made["rounds"].append(turn)
        if settings.out:
            settings.out.write_text(json.dumps(made, indent=1) + "\n", "utf-8")
    print(f"{made['device']}, {made['threads']} threads, load {os.getloadavg()[0]:.1f} at the end")
    print(table(made, names))


def run(name: str, settings: Any) -> dict[str, Any]:
    command = [sys.executable, __file__, name, settings.shape, str(settings.rows), str(settings.layers or 0)]
    command += [settings.precision, "" if settings.spread is None else str(settings.spread)]
    # radlite lets its threads sleep soon, kinder to neighbours and slower alone; the other loops have no part in it.
    environment = dict(os.environ)
    if name != "ours" and environment.get("GOMP_SPINCOUNT") == "1000":
        del environment["GOMP_SPINCOUNT"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode:
        return {"failed": done.stderr.strip().splitlines()[-1][:200] if done.stderr.strip() else str(done.returncode)}
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def table(made: dict[str, Any], names: list[str]) -> str:
    lines = [
        "loop              tokens/s  a CPU second        range  n  ours is so many times as fast  memory, GB   loss"
    ]
    for name in names:
        turns = [turn for turn in made["rounds"] if "tokens" in turn.get(name, {})]
        if not turns:
            lines.append(f"{name:16} {[turn[name]['failed'] for turn in made['rounds'] if name in turn][:1]}")
            continue
        clock, spent, peak, loss = (
            [turn[name][key] for turn in turns]
            for key in ("tokens_per_second", "tokens_per_cpu_second", "peak_gb", "loss")
        )
        both = [turn for turn in turns if "tokens" in turn.get("ours", {})]
        ratios = [turn["ours"]["tokens_per_second"] / turn[name]["tokens_per_second"] for turn in both]
        by_cpu = [turn["ours"]["tokens_per_cpu_second"] / turn[name]["tokens_per_cpu_second"] for turn in both]
        ratio = ""
        if both:
            ratio = f"{statistics.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})"
            ratio += f", CPU {statistics.median(by_cpu):.2f}"
        lines.append(
            f"{name:16} {statistics.median(clock):9,.0f} {statistics.median(spent):13,.0f} "
            f"{min(clock):6,.0f}-{max(clock):6,.0f} {len(turns):2} {ratio:>30} {statistics.median(peak):11.2f} "
            f"{statistics.median(loss):6.3f}"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    loop, shape, rows, cut, precision, spread = sys.argv[1:]
    child(loop, shape, int(rows), int(cut) or None, precision, float(spread) if spread else None)
