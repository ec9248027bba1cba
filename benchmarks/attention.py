"""Attention on a CPU, forward and backward: in blocks of queries against all at once and against torch's fused kernel.

`python benchmarks/attention.py` computes the attention of one sample of random numbers with the heads of several
models, in bf16 and fp32 where asked, in turns and in one process. It prints how many times as fast as the fused kernel
each block size is, by the processor's time, and the error of output and gradients against fp64.
"""

import argparse
import itertools
import statistics
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F

from radlite.training import attention

HEADS = {"tiny-qwen3": (4, 2, 64), "qwen2.5-3b": (16, 2, 128), "qwen3-4b": (32, 8, 128)}
"""Of queries, of keys, and the size of one."""

WAYS = {"fused": 0, "blocks of 64": 64, "blocks of 128": 128, "blocks of 256": 256, "one block": 1 << 20}

Kernel = Callable[[torch.Tensor, torch.Tensor, torch.Tensor, float], torch.Tensor]


def fused(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, scaling: float) -> torch.Tensor:
    return F.scaled_dot_product_attention(q, k, v, is_causal=True, scale=scaling, enable_gqa=True)


def computed(kernel: Kernel, inputs: list[torch.Tensor], over: torch.Tensor) -> tuple[float, torch.Tensor]:
    """Processor's seconds, and output and gradients as one vector."""
    begun = time.process_time()
    output = kernel(inputs[0], inputs[1], inputs[2], inputs[0].shape[-1] ** -0.5)
    gradients = torch.autograd.grad(output, inputs, over)
    spent = time.process_time() - begun
    return spent, torch.cat([tensor.detach().double().flatten() for tensor in (output, *gradients)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=int, nargs="+", default=[128, 400, 1000, 2000])
    parser.add_argument("--precision", nargs="+", choices=("bfloat16", "float32"), default=["bfloat16"])
    parser.add_argument("--repeats", type=int, default=7)
    settings = parser.parse_args()
    print(f"{torch.get_num_threads()} threads, median of {settings.repeats} ratios; error against fp64\n")
    print(f"| heads of | | tokens | fused, ms | {' | '.join(list(WAYS)[1:])} |")
    print("|---" * (4 + len(WAYS) - 1) + "|")
    for precision, (name, (heads, groups, size)), tokens in itertools.product(
        settings.precision, HEADS.items(), settings.tokens
    ):
        torch.manual_seed(0)
        inputs = [
            torch.randn(1, tokens, count, size).to(getattr(torch, precision)).transpose(1, 2).requires_grad_()
            for count in (heads, groups, groups)
        ]
        over = torch.randn(1, heads, tokens, size).to(inputs[0].dtype)
        _, exact = computed(fused, [tensor.detach().double().requires_grad_() for tensor in inputs], over.double())
        times: dict[str, list[float]] = {way: [] for way in WAYS}
        errors = {}
        for turn in range(1 + settings.repeats):
            for way, block in WAYS.items():
                attention.BLOCK = min(block, tokens)
                spent, found = computed(attention.blocks if block else fused, inputs, over)
                errors[way] = float((found - exact).norm() / exact.norm())
                if turn:  # the first warms up
                    times[way].append(spent)
        cells = [f"{1000 * statistics.median(times['fused']):.1f} ({errors['fused']:.0e})"]
        for way in list(WAYS)[1:]:
            ratios = [one / other for one, other in zip(times["fused"], times[way], strict=True)]
            cells.append(f"{statistics.median(ratios):.2f} ({errors[way]:.0e})")
        print(f"| {name} | {precision} | {tokens} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
