"""Attention of packed training rows on a CPU: plain products against the fused kernel, by length of the samples.

`python benchmarks/attention.py` prints seconds forward and backward of both in one run, and their ratio. The shapes are
those of the tiny bases; `--heads 16 --groups 2 --size 128` are those of Qwen2.5-3B. `radlite.training.batches.SHORT` is
where the project changes from one to the other.
"""

import argparse
import statistics
import time

import torch

from radlite.training import batches


def seconds(lengths: list[int], heads: int, groups: int, size: int, short: int, repeats: int) -> float:
    """Median seconds of one pass, forward and backward, with plain products for samples of at most `short` tokens."""
    generator = torch.Generator().manual_seed(0)
    query, key, value = (
        torch.randn(1, count, sum(lengths), size, generator=generator).bfloat16().requires_grad_()
        for count in (heads, groups, groups)
    )
    usual, batches.SHORT = batches.SHORT, short
    times = []
    try:
        for _ in range(repeats + 1):
            begun = time.perf_counter()
            batches.segments(None, query, key, value, None, lengths=lengths)[0].sum().backward()
            times.append(time.perf_counter() - begun)
    finally:
        batches.SHORT = usual
    return statistics.median(times[1:])  # the first one warms up


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=int, default=2048, help="tokens of a packed row")
    parser.add_argument("--heads", type=int, default=4)
    parser.add_argument("--groups", type=int, default=2, help="heads of keys and values")
    parser.add_argument("--size", type=int, default=64, help="width of a head")
    parser.add_argument("--repeats", type=int, default=9)
    settings = parser.parse_args()
    print(f"{torch.get_num_threads()} threads, {settings.tokens} tokens in bf16, milliseconds forward and backward")
    print("tokens a sample    plain    fused    fused/plain")
    for length in (64, 128, 256, 512, 1024):
        lengths = [length] * (settings.tokens // length)
        shape = (settings.heads, settings.groups, settings.size)
        plain, fused = (seconds(lengths, *shape, short, settings.repeats) for short in (length, 0))
        print(f"{length:15d} {plain * 1e3:8.1f} {fused * 1e3:8.1f} {fused / plain:14.2f}")


if __name__ == "__main__":
    main()
