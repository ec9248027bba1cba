"""Training steps on a CPU with plain attention for short samples against the fused kernel for all.

`python benchmarks/attention.py` runs the same packed rows of the sample corpus through tiny-qwen3 with a LoRA adapter,
forward and backward, for several values of `radlite.training.attention.SHORT`, in turn and in one process, and prints
the seconds of a row of 2,048 tokens and the ratio to the fused kernel alone (SHORT = 0).
"""

import argparse
import random
import statistics
import time

import peft.helpers
import torch
import transformers

from radlite.chat import Renderer
from radlite.data import sample
from radlite.demo import base_folder
from radlite.tasks import TASKS
from radlite.training import attention, batches, lora
from radlite.training.config import PROJECTIONS

VALUES = (0, 128, 256, 512, 1024)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=14, help="packed rows")
    parser.add_argument("--repeats", type=int, default=3)
    settings = parser.parse_args()
    base = base_folder("tiny-qwen3")
    examples = [example for task in TASKS for example in sample.examples(task, "train", 60)]
    random.Random(0).shuffle(examples)
    samples, _ = batches.encode(examples, Renderer.from_folder(base), 1024)
    rows = batches.pack(list(samples.values()), 2048)[: settings.rows]
    model = transformers.AutoModelForCausalLM.from_pretrained(
        base, dtype=torch.bfloat16, attn_implementation="radlite_segments"
    )
    model = lora.attach(model, 64, 128, PROJECTIONS, 0.0, False).train()

    def seconds(row: batches.Row, short: int) -> float:
        attention.SHORT = short
        begun = time.perf_counter()
        batches.loss(model, batches.collate([row]), bf16=True).backward()
        model.zero_grad()
        return time.perf_counter() - begun

    times: dict[int, list[float]] = {short: [] for short in VALUES}
    with peft.helpers.disable_input_dtype_casting(model, active=True):
        for short in VALUES:  # warms up
            seconds(rows[0], short)
        for _ in range(settings.repeats):
            for row in rows:
                for short in VALUES:
                    times[short].append(seconds(row, short))
    fused = statistics.median(times[0])
    print(f"{torch.get_num_threads()} threads, {len(rows)} rows of up to 2,048 tokens, {settings.repeats} times each")
    for short in VALUES:
        median = statistics.median(times[short])
        print(f"SHORT = {short:4d}: {median:.3f} s a row, {fused / median:.2f} times as fast as the fused kernel alone")


if __name__ == "__main__":
    main()
