"""Training throughput on one device: the path of `radlite train`, its levers left out in turn, and a padded loop.

`python benchmarks/training.py --shape qwen2.5-3b` makes a model of that shape with random weights on the GPU, and rows
of random ids with the lengths of the sample corpus, scaled to a mean of 400 tokens of which 15 % are targets. It checks
that packed and padded rows have one loss and one gradient, and that a packed row moves no other; then it measures
useful tokens a second (tokens of rows, not of filling), memory, and the share of the matrix products' peak, which is
measured in the same run. The weights mean nothing; time and memory are true. `--shape tiny` runs on a CPU.
"""

import argparse
import contextlib
import dataclasses
import itertools
import json
import math
import statistics
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import peft.helpers
import torch
import transformers

from radlite.chat import Renderer
from radlite.data import sample
from radlite.tasks import TASKS
from radlite.training import attention, batches, layers, loop, trainer
from radlite.training.batches import Row, Sample
from radlite.training.config import TrainConfig

COMMON = {"vocab_size": 151_936, "num_hidden_layers": 36, "tie_word_embeddings": True, "rms_norm_eps": 1e-6}
SHAPES: dict[str, tuple[str, dict[str, Any]]] = {
    "qwen2.5-3b": (
        "qwen2",
        {
            **COMMON, "hidden_size": 2048, "intermediate_size": 11_008, "num_attention_heads": 16,
            "num_key_value_heads": 2,
        },
    ),
    "qwen3-4b": (
        "qwen3",
        {
            **COMMON, "hidden_size": 2560, "intermediate_size": 9728, "num_attention_heads": 32,
            "num_key_value_heads": 8, "head_dim": 128,
        },
    ),
    "qwen2.5-0.5b": (
        "qwen2",
        {
            **COMMON, "num_hidden_layers": 24, "hidden_size": 896, "intermediate_size": 4864, "num_attention_heads": 14,
            "num_key_value_heads": 2,
        },
    ),
    "tiny": (
        "qwen3",
        {
            **COMMON, "vocab_size": 4096, "num_hidden_layers": 4, "hidden_size": 256, "intermediate_size": 768,
            "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 64,
        },
    ),
}  # fmt: skip
LONGEST = 2048
WARM = 3
STRETCHES = 4
PADDED_ROWS = 8


@dataclasses.dataclass(frozen=True)
class Variant:
    """What is measured: all levers, or all but one."""

    compile: bool = True
    attention: str = "auto"
    constant: bool = True
    targets_only: bool = True
    fused: bool = True
    size: float = 1
    loop: str = "own"


VARIANTS = {
    "ours": Variant(),
    "padded": Variant(loop="padded"),
    "trainer": Variant(loop="trainer"),
    "no compile": Variant(compile=False),
    "all logits": Variant(targets_only=False),
    "double batch": Variant(size=2),
    "PEFT's LoRA": Variant(fused=False),
    "mask for varlen": Variant(attention="sdpa"),
    "lengths vary": Variant(constant=False),
}


class Bench:
    """One model of a shape, measured in several ways."""

    def __init__(self, shape: str, tokens: int, steps: int, device: torch.device, peak: float) -> None:
        self.shape, self.tokens, self.steps, self.device, self.peak = shape, tokens, steps, device, peak
        family, sizes = SHAPES[shape]
        config = transformers.AutoConfig.for_model(family, **sizes, max_position_embeddings=32_768)
        self.bf16 = device.type == "cuda"
        self.kernel = attention.chosen("auto", device, self.bf16)
        with torch.device(device):
            torch.manual_seed(0)
            model = transformers.AutoModelForCausalLM.from_config(
                config, dtype=torch.bfloat16 if self.bf16 else torch.float32, attn_implementation=self.kernel
            )
            # The trainer's own way to an adapter; levers are then set one by one.
            self.model = trainer.prepare(model, self.recipe(tokens))
        for name, weight in self.model.named_parameters():
            if "lora_B" in name:  # zeros at first, with which half of the gradient would be 0
                torch.nn.init.normal_(weight, std=0.01)
        self.start = {
            name: weight.detach().clone() for name, weight in self.model.named_parameters() if weight.requires_grad
        }
        self.rows = samples(config.vocab_size)
        self.compiled: Variant | None = None
        self.targets = sum(one.targets for one in self.rows) / sum(len(one.ids) for one in self.rows)
        self.variant = Variant()

    def recipe(self, tokens: int, **settings: Any) -> TrainConfig:
        return TrainConfig(
            base="-", corpus=Path("-"), out=Path("-"), pack_tokens=tokens, max_tokens=LONGEST, rows_per_step=1,
            schedule="constant", warmup=0, compile="auto" if self.bf16 else False, **settings,
        )  # fmt: skip

    @property
    def flops(self) -> float:
        """Operations of a useful token that LoRA cannot do without: the output matrix at targets, no gradient of W."""
        output = self.model.get_output_embeddings().weight.numel()
        trained = sum(weight.numel() for weight in self.start.values())
        body = sum(weight.numel() for weight in self.model.parameters()) - trained - output
        return 4.0 * body + 6.0 * trained + 4.0 * output * self.targets

    def set(self, variant: Variant) -> None:
        """Turn levers on and off, and start from the same adapter."""
        self.variant = variant
        ours = variant.loop != "padded"
        for module in self.model.modules():
            module._compiled_call_impl = None
            if isinstance(module, layers.FusedLinear):
                module.__class__ = peft.tuners.lora.Linear
        base = self.model.get_base_model()
        base.config._attn_implementation = "sdpa" if not ours or variant.attention == "sdpa" else self.kernel
        if ours and variant.fused:
            layers.fuse(self.model)
        if ours and variant.compile and self.bf16:
            # What other levers have no part in was compiled by the variant before.
            key = dataclasses.replace(variant, size=1, loop="own", targets_only=True)
            if key != self.compiled:
                torch._dynamo.reset()
            self.compiled = key
            layers.compile_layers(self.model, dynamic=not variant.constant)
        with torch.no_grad():
            for name, weight in self.model.named_parameters():
                if name in self.start:
                    weight.copy_(self.start[name])
                    weight.grad = None
        self.model.train()

    def plan(self) -> list[Row]:
        """The packs of the variant that is set, as many as the trainer's loop needs."""
        return batches.pack(self.rows, int(self.tokens * self.variant.size))[: 10 * STRETCHES]

    def batches(self) -> Iterator[dict[str, Any]]:
        """Batches on the device, each laid out as the variant says, without end."""
        if self.variant.loop == "padded":
            for at in itertools.cycle(range(0, len(self.rows), PADDED_ROWS)):
                yield self.move(padded(self.rows[at : at + PADDED_ROWS]))
        for row in itertools.cycle(self.plan()):
            yield self.move(self.collate([row]))

    def collate(self, rows: list[Row]) -> dict[str, Any]:
        if not self.bf16 and self.variant.attention == "auto":
            return batches.collate(rows)
        frame = batches.frame(self.plan(), 1, int(self.tokens * self.variant.size))
        return batches.collate(rows, frame if self.variant.constant else dataclasses.replace(frame, tokens=1))

    def move(self, batch: dict[str, Any]) -> dict[str, Any]:
        """The batch on the device; the copies wait for nothing that the device has yet to do."""
        if self.device.type != "cuda":
            return batch
        return {
            name: value.pin_memory().to(self.device, non_blocking=True) if isinstance(value, torch.Tensor) else value
            for name, value in batch.items()
        }

    def loss(self, batch: dict[str, Any]) -> torch.Tensor:
        """Summed cross entropy of the batch's targets."""
        if self.variant.loop == "padded":
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
                inputs = {name: batch[name] for name in ("input_ids", "attention_mask", "labels")}
                loss: torch.Tensor = self.model(**inputs, use_cache=False, num_items_in_batch=1).loss
            return loss
        if self.variant.targets_only:
            return batches.loss(self.model, batch, self.bf16)
        apart = {name: batch[name] for name in ("lengths", "bounds", "longest") if name in batch}
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
            logits = self.model(
                input_ids=batch["input_ids"], position_ids=batch["position_ids"], use_cache=False, **apart
            ).logits
        return torch.nn.functional.cross_entropy(logits[0, :-1].float(), batch["labels"][0, 1:], reduction="sum")

    @contextlib.contextmanager
    def casting(self) -> Iterator[None]:
        """PEFT's casts of types, as the trainer has them: off, except in the padded loop."""
        with peft.helpers.disable_input_dtype_casting(self.model, active=self.bf16 and self.variant.loop != "padded"):
            yield

    def step(self, batch: dict[str, Any], optimizer: torch.optim.Optimizer) -> None:
        targets = (batch["labels"] != batches.IGNORED).sum()
        (self.loss(batch) / targets).backward()
        torch.nn.utils.clip_grad_norm_(list(self.parameters()), 1.0)
        optimizer.step()
        optimizer.zero_grad()

    def parameters(self) -> Iterator[torch.nn.Parameter]:
        return (weight for weight in self.model.parameters() if weight.requires_grad)

    def measure(self, profile: bool = False) -> dict[str, Any]:
        """Seconds of single steps after the warm-up, useful tokens a second, and memory, of the variant that is set."""
        optimizer = torch.optim.AdamW(list(self.parameters()), lr=2e-4, weight_decay=0.0, fused=True)
        reset(self.device)
        begun = time.perf_counter()
        drawn = self.batches()
        marks, useful, computed = [], [], []
        with self.casting():
            for number in range(WARM + self.steps):
                batch = next(drawn)
                if number >= WARM:
                    marks.append(mark(self.device))
                    useful.append(batch["useful"])
                    computed.append(batch["input_ids"].numel())
                self.step(batch, optimizer)
                if number == WARM - 1:
                    wait(self.device)
                    warm = time.perf_counter() - begun
            marks.append(mark(self.device))
            wait(self.device)
            memory = peak_memory(self.device)
            if profile:
                attempt("profile", lambda: profiled(lambda: self.step(next(drawn), optimizer)))
        seconds = [between(one, two) for one, two in itertools.pairwise(marks)]
        rates = [tokens / second for tokens, second in zip(useful, seconds, strict=True)]
        return self.summary(rates, sum(useful) / sum(computed), memory) | {
            "step_seconds": round(statistics.median(seconds), 4), "warm_up_seconds": round(warm, 1),
            "tokens_per_step": round(statistics.mean(computed)),
        }  # fmt: skip

    def summary(self, rates: list[float], full: float, memory: float) -> dict[str, Any]:
        middle = statistics.median(rates)
        return {
            "tokens_per_second": round(middle), "range": [round(min(rates)), round(max(rates))], "n": len(rates),
            "share_of_peak": round(middle * self.flops / self.peak, 4), "useful_share": round(full, 4),
            "peak_memory_gb": round(memory / 1e9, 2),
        }  # fmt: skip

    def measure_trainer(self) -> dict[str, Any]:
        """Useful tokens a second by the log of `trainer.fit`: transformers' loop, data loader, clipping and log."""
        config = self.recipe(self.tokens, max_steps=10 * STRETCHES)
        packed = self.plan()
        useful = sum(len(one.ids) for row in packed for one in row) / (self.tokens * len(packed))
        reset(self.device)
        with tempfile.TemporaryDirectory() as folder:
            trainer.fit(self.model, config, Path(folder), packed, {}, self.bf16)
            log = [json.loads(line) for line in (Path(folder) / loop.LOG).read_text("utf-8").splitlines()]
        # The first ten steps compile.
        return self.summary([line["tokens_per_second"] for line in log[1:]], useful, peak_memory(self.device))

    def isolation(self) -> dict[str, float]:
        """How far changing the first packed row moves the logits of the others (not at all), and its own."""
        self.set(Variant(compile=False))
        self.model.eval()
        parts = list(self.plan()[0][:4])
        changed = dataclasses.replace(parts[0], ids=parts[0].ids[::-1].copy())
        with torch.no_grad(), self.casting(), torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
            before, after = (self.logits(self.collate([tuple(rows)])) for rows in (parts, [changed, *parts[1:]]))
        end, useful = len(parts[0].ids), sum(len(one.ids) for one in parts)
        apart = (before - after).abs()
        found = {"others": apart[end:useful].max().item(), "changed": apart[:end].max().item()}
        if found["others"] != 0 or not found["changed"] > 0.01 or not bool(torch.isfinite(before).all()):
            raise AssertionError(f"packed rows are not apart: {found}")
        return found

    def logits(self, batch: dict[str, Any]) -> torch.Tensor:
        moved = self.move(batch)
        inputs = {
            name: moved[name] for name in ("input_ids", "position_ids", "lengths", "bounds", "longest") if name in moved
        }
        logits: torch.Tensor = self.model(**inputs, use_cache=False).logits[0]
        return logits.float()

    def agreement(self) -> dict[str, float]:
        """Loss a target of the same rows, packed by our path and padded; how far the two gradients are apart."""
        found, gradients = {}, {}
        rows = list(self.plan()[0][:PADDED_ROWS])
        for name in ("ours", "padded"):
            self.set(VARIANTS[name])
            batch = self.move(padded(rows) if name == "padded" else self.collate([tuple(rows)]))
            with self.casting():
                loss = self.loss(batch) / sum(one.targets for one in rows)
                loss.backward()
            found[name] = loss.item()
            gradients[name] = torch.cat(
                [weight.grad.flatten() for weight in self.parameters() if weight.grad is not None]
            )
        apart = (gradients["ours"] - gradients["padded"]).norm() / gradients["padded"].norm()
        found["gradients_apart"] = apart.item()
        # Of 8 bits of mantissa, over all layers; in fp32 the two agree to rounding.
        near, close = (0.01, 0.1) if self.bf16 else (1e-5, 1e-3)
        if not (abs(found["ours"] / found["padded"] - 1) < near and found["gradients_apart"] < close):
            raise AssertionError(f"packed and padded differ: {found}")
        return found


def samples(vocabulary: int, count: int = 3000, spread: float | None = None) -> list[Sample]:
    """Rows of random ids with lengths and targets of the sample corpus, scaled to means of 400 and 60 tokens.

    Each length is then changed by up to 40 %, or with `spread` by a log-normal factor of that coefficient of variation.
    """
    examples = [example for task in TASKS for example in sample.examples(task, "train", 60)]
    base = Path(str(resources.files("radlite") / "models" / "tiny-qwen3"))
    encoded = list(batches.encode(examples, Renderer.from_folder(base), LONGEST)[0].values())
    wider = 400 / statistics.mean(len(one.ids) for one in encoded)
    more = 60 / statistics.mean(one.targets for one in encoded)
    draw = np.random.default_rng(0)
    made = []
    for number, at in enumerate(draw.integers(0, len(encoded), count)):
        sigma = math.sqrt(math.log1p((spread or 0) ** 2))
        factor = draw.uniform(0.6, 1.4) if spread is None else draw.lognormal(-(sigma**2) / 2, sigma)
        length = max(8, min(LONGEST, round(len(encoded[at].ids) * wider * factor)))
        targets = min(length - 1, max(1, round(encoded[at].targets * more)))
        ids = draw.integers(vocabulary // 100, vocabulary, length).astype(np.int32)
        made.append(Sample(str(number), encoded[at].task, ids, targets))
    return made


def padded(rows: list[Sample]) -> dict[str, Any]:
    """Rows side by side, each padded to the longest, as most training loops have them."""
    longest = max(len(row.ids) for row in rows)
    ids, labels = np.ones((len(rows), longest), np.int64), np.full((len(rows), longest), batches.IGNORED, np.int64)
    mask = np.zeros((len(rows), longest), np.int64)
    for at, row in enumerate(rows):
        ids[at, : len(row.ids)] = row.ids
        mask[at, : len(row.ids)] = 1
        labels[at, len(row.ids) - row.targets : len(row.ids)] = row.ids[-row.targets :]
    tensors = {"input_ids": ids, "attention_mask": mask, "labels": labels}
    return {**{name: torch.from_numpy(made) for name, made in tensors.items()}, "useful": int(mask.sum())}


def matrix_peak(device: torch.device) -> float:
    """Operations a second of a bf16 matrix product, 8192 wide on a GPU, on random numbers; the median of ten."""
    size = 8192 if device.type == "cuda" else 1024
    left, right = (torch.randn(size, size, device=device).to(torch.bfloat16) for _ in range(2))
    for _ in range(3):
        left @ right
    wait(device)
    marks = [mark(device)]
    for _ in range(10):
        left @ right
        marks.append(mark(device))
    wait(device)
    return 2 * size**3 / statistics.median(between(one, two) for one, two in itertools.pairwise(marks))


def mark(device: torch.device) -> Any:
    if device.type != "cuda":
        return time.perf_counter()
    event = torch.cuda.Event(enable_timing=True)
    event.record()
    return event


def between(one: Any, two: Any) -> float:
    """Seconds between two marks."""
    return float(two - one if isinstance(one, float) else one.elapsed_time(two) / 1000)


def wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def reset(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def peak_memory(device: torch.device) -> float:
    return float(torch.cuda.max_memory_allocated()) if device.type == "cuda" else float("nan")


def profiled(step: Callable[[], None]) -> None:
    """Print the kernels that take most of two steps."""
    from torch.profiler import ProfilerActivity, profile

    activities = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * torch.cuda.is_available()
    with profile(activities=activities) as found:
        step()
        step()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
    on_gpu = torch.cuda.is_available()
    cost = {one.key: one.self_device_time_total if on_gpu else one.self_cpu_time_total for one in found.key_averages()}
    if on_gpu:  # what runs on the device, without the operations that start it
        kernels = {one.name for one in found.events() if one.device_type == torch.autograd.DeviceType.CUDA}
        cost = {name: value for name, value in cost.items() if name in kernels}
    whole = sum(cost.values())
    for name, value in sorted(cost.items(), key=lambda item: -item[1])[:15]:
        print(f"  {value / whole:6.1%} {value / 2000:9.2f} ms a step  {name[:110]}")


def attempt(name: str, made: Callable[[], Any]) -> Any:
    """The result, or what went wrong: one failure shall not lose the rest."""
    started = time.perf_counter()
    try:
        result = made()
    except Exception as error:
        traceback.print_exc()
        result = {"failed": f"{type(error).__name__}: {error}"[:300]}
    print(f"{name} [{time.perf_counter() - started:.0f} s]: {json.dumps(result)}", flush=True)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=SHAPES, default="qwen2.5-3b")
    parser.add_argument("--variants", default=",".join(VARIANTS), help=f"names with commas: {', '.join(VARIANTS)}")
    parser.add_argument("--tokens", type=int, default=8192, help="tokens that pass the model at once")
    parser.add_argument("--steps", type=int, default=12, help="steps that are timed, after three that are not")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="begin no variant after this time")
    parser.add_argument("--profile", action="store_true", help="print the costliest kernels of the first variant")
    parser.add_argument("--out", type=Path, help="file for the results as JSON")
    parser.add_argument("--loops", help="whole loops instead (benchmarks/loops.py): all, or names with commas")
    parser.add_argument("--rows", type=int, default=400, help="rows that each loop sees once")
    parser.add_argument("--rounds", type=int, default=3, help="turns of each loop")
    parser.add_argument("--spread", type=float, help="of lengths in the loops; 1,034 reports of TCGA have 0.84")
    parser.add_argument("--layers", type=int, help="cut the shape to so many layers, for the loops")
    parser.add_argument("--precision", choices=("auto", "bf16", "fp32"), default="auto", help="of the loops")
    settings = parser.parse_args()
    if settings.tokens < LONGEST:
        parser.error(f"--tokens: rows have up to {LONGEST}; give as many or more.")
    if unknown := [name for name in settings.variants.split(",") if name not in VARIANTS]:
        parser.error(f"--variants: there is no {unknown[0]!r}.")
    if settings.loops:
        import loops

        loops.compare(settings)
        return
    begun = time.perf_counter()
    transformers.logging.set_verbosity_error()
    warnings.filterwarnings("ignore")
    torch._dynamo.config.recompile_limit = 64  # each variant compiles the same code with other settings
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    results: dict[str, Any] = {
        "shape": settings.shape, "torch": torch.__version__, "transformers": transformers.__version__,
        "peft": peft.__version__, "device": torch.cuda.get_device_name() if device.type == "cuda" else "cpu",
        "peak_tflops": round(matrix_peak(device) / 1e12, 1), "variants": {},
    }  # fmt: skip
    bench = Bench(settings.shape, settings.tokens, settings.steps, device, results["peak_tflops"] * 1e12)
    results |= {
        "attention": bench.kernel,
        "gflop_per_token": round(bench.flops / 1e9, 2),
        "targets": round(bench.targets, 4),
    }
    print(json.dumps({**results, "made_after": round(time.perf_counter() - begun, 1)}), flush=True)

    def measured(variant: Variant, profile: bool) -> dict[str, Any]:
        bench.set(variant)
        return bench.measure_trainer() if variant.loop == "trainer" else bench.measure(profile)

    results["isolation"] = attempt("isolation", bench.isolation)
    results["agreement"] = attempt("agreement", bench.agreement)
    for name in settings.variants.split(","):
        if time.perf_counter() - begun > settings.seconds:
            print(f"{name}: not begun, the time is over", flush=True)
            continue
        profile = settings.profile and name == settings.variants.split(",")[0]
        results["variants"][name] = attempt(name, lambda name=name, profile=profile: measured(VARIANTS[name], profile))
        if settings.out:
            settings.out.write_text(json.dumps(results, indent=1) + "\n", "utf-8")
    print(table(results))


def table(results: dict[str, Any]) -> str:
    lines = ["variant            tokens/s        range  n  of peak  times padded  memory, GB  step, s  start, s"]
    padded = results["variants"].get("padded", {}).get("tokens_per_second", float("nan"))
    for name, one in results["variants"].items():
        if "failed" in one:
            lines.append(f"{name:16} failed: {one['failed'][:90]}")
            continue
        low, high = one["range"]
        lines.append(
            f"{name:16} {one['tokens_per_second']:10,} {low:6,}-{high:6,} {one['n']:2} {one['share_of_peak']:8.1%} "
            f"{one['tokens_per_second'] / padded:13.2f} {one['peak_memory_gb']:11.1f} "
            f"{one.get('step_seconds', float('nan')):8.3f} {one.get('warm_up_seconds', float('nan')):9.1f}"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
