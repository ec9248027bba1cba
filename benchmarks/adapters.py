"""What a LoRA adapter costs at run time: the same model with it and without it, which is as fast as a merged file.

    radlite bench --shape qwen2.5-3b --layers 4 --keep cut.gguf
    python benchmarks/adapters.py cut.gguf

Without an ADAPTER.gguf one is made: random, rank 64, F16, on all seven matrices of each layer. Both are open in one
process and take turns with 256 tokens of a prompt and with 32 tokens of one answer, so that what else the machine does
falls on both alike; what is printed are ratios within a turn. The output matrix has no adapter. It is a larger part of
a model that is cut to a few layers, so that the whole model's writing pays rather more than is printed.
"""

import argparse
import contextlib
import json
import math
import random
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from gguf import GGMLQuantizationType as Type

from radlite import manifest
from radlite.chat import Prompt
from radlite.files import atomic
from radlite.runtime import gguf, layout, machine, native, wheel
from radlite.runtime.model import Request, in_order
from radlite.runtime.tuning import Settings

READ, WRITTEN = 256, 32
MATRICES = ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down")


def write(base: gguf.Header, path: Path, rank: int) -> Path:
    """A random adapter that fits the model and changes it little."""
    chance = np.random.default_rng(0)
    shapes: dict[str, tuple[int, ...]] = {}
    for name, (columns, *rows) in base.tensors.items():
        if any(name.endswith(f".{matrix}.weight") for matrix in MATRICES):
            shapes |= {f"{name}.lora_a": (rank, columns), f"{name}.lora_b": (rows[0], rank)}
    keys = {
        "general.architecture": base.keys["general.architecture"],
        "general.type": "adapter",
        "adapter.type": "lora",
        "adapter.lora.alpha": float(rank),
        "radlite.manifest": json.dumps(manifest.describe("adapter gguf", weights="random", rank=rank)),
    }
    with atomic(path) as part:
        layout.write_head(part, keys, shapes, dict.fromkeys(shapes, Type.F16))
        with part.open("ab") as file:
            for name, shape in shapes.items():
                deviation = 1e-3 if name.endswith("_b") else shape[1] ** -0.5
                file.write(bytes(-file.tell() % layout.ALIGNMENT))
                file.write((chance.standard_normal(shape, np.float32) * deviation).astype("<f2").data)
            file.write(bytes(-file.tell() % layout.ALIGNMENT))
    return path


def opened(path: Path, engine: str, threads: int, adapter: Path | None) -> Any:
    """The model; `repacked` is the native engine with weights in the order of llama.cpp's older kernels."""
    if engine == "wheel":
        return wheel.open_model(path, threads=threads, adapter=adapter)
    chosen = Settings(threads, repack="on" if engine == "repacked" else "off")
    return native.open_model(path, remembered=0, guesses=False, save_after=math.inf, chosen=chosen, adapter=adapter)


def seconds(model: Any, ids: tuple[int, ...], tokens: int) -> tuple[float, int]:
    """Seconds of one answer of at most so many tokens, and how many it has."""
    begun = time.perf_counter()
    [done] = in_order(model.complete([Request(Prompt(ids, ""), tokens)]))
    return time.perf_counter() - begun, done.generated_tokens


def rates(model: Any, chance: random.Random) -> tuple[float, float]:
    """Tokens a second read and written."""
    every = range(model.renderer.tokenizer.size)
    reading = READ / seconds(model, tuple(chance.choices(every, k=READ)), 1)[0]
    written, taken = 0, 0.0
    while written < WRITTEN:  # a random model may end its turn anywhere
        more, count = seconds(model, (chance.choice(every),), WRITTEN)
        written, taken = written + count, taken + more
    return reading, written / taken


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("adapter", type=Path, nargs="?")
    parser.add_argument("--engines", default="native,repacked,wheel")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--rank", type=int, default=64, help="of the random adapter")
    parser.add_argument("--threads", type=int, default=machine.cores())
    given = parser.parse_args()
    base = gguf.read(given.model)
    with tempfile.TemporaryDirectory() as room:
        adapter = given.adapter or write(base, Path(room) / "random.gguf", given.rank)
        sizes = [given.model.stat().st_size, adapter.stat().st_size]
        output = base.size("output.weight" if "output.weight" in base.tensors else "token_embd.weight")
        print(
            f"{given.model.name}: {sizes[0] / 1e6:,.0f} MB, of which the output matrix {output / 1e6:,.0f}; "
            f"adapter {sizes[1] / 1e6:,.0f} MB; {given.threads} threads, {given.rounds} rounds",
            flush=True,
        )
        for engine in given.engines.split(","):
            with (
                contextlib.closing(opened(given.model, engine, given.threads, None)) as plain,
                contextlib.closing(opened(given.model, engine, given.threads, adapter)) as with_adapter,
            ):
                found = []
                for number in range(given.rounds + 1):
                    turns = [plain, with_adapter][:: 1 if number % 2 else -1]
                    one, other = [rates(model, random.Random(number)) for model in turns][:: 1 if number % 2 else -1]
                    found.append([other[at] / one[at] for at in (0, 1)])
                for what, ratios in zip(("reading", "writing"), zip(*found[1:], strict=True), strict=True):
                    print(
                        f"{engine}: {what} {100 * (statistics.median(ratios) - 1):+.0f} % "
                        f"({100 * (min(ratios) - 1):+.0f} to {100 * (max(ratios) - 1):+.0f}, n={len(ratios)})",
                        flush=True,
                    )


if __name__ == "__main__":
    main()
