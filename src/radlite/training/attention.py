"""Attention over packed rows: each sample attends to itself alone, by the best kernel that the device has."""

import inspect
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch.nn.attention import varlen as kernels
from transformers import AttentionInterface

from radlite.errors import UserError

BLOCK = 128
"""Queries of a block on a CPU: fewer make more products than pay, more compute more of what the mask hides."""

# Later releases of torch want to be told of heads in groups, which 2.11 passes through to its kernel.
_SETTINGS: dict[str, Any] = {"window_size": (-1, 0)}
if "enable_gqa" in inspect.signature(kernels.varlen_attn).parameters:
    _SETTINGS["enable_gqa"] = True


def chosen(attention: str, device: torch.device, bf16: bool) -> str:
    """The name in transformers of the function that the setting `attention` comes to.

    `auto` is row by row on a CPU, torch's variable-length kernel on a GPU that computes it rightly in bf16, and one
    mask over the pack otherwise. Raises `UserError` for `varlen` where there is no such kernel.
    """
    if attention == "segments" or (attention == "auto" and device.type != "cuda"):
        return "radlite_segments"
    if attention == "sdpa":
        return "sdpa"
    able = device.type == "cuda" and bf16
    name = next((name for name in ("radlite_varlen", "radlite_varlen_expanded") if able and _works(name, device)), None)
    if name is None and attention == "varlen":
        raise UserError(
            "The setting 'attention' is varlen, which needs bf16 on a CUDA device with torch's flash kernel; "
            "set it to auto."
        )
    return name or "sdpa"


def segments(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    lengths: Sequence[int],
    scaling: float | None = None,
    dropout: float = 0.0,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Causal attention inside each of the consecutive samples of `lengths`, for tensors (1, heads, tokens, size)."""
    parts = (torch.split(tensor, list(lengths), dim=2) for tensor in (query, key, value))
    outputs = []
    for q, k, v in zip(*parts, strict=True):
        if q.is_cpu and not dropout:
            outputs.append(blocks(q, k, v, q.shape[-1] ** -0.5 if scaling is None else scaling))
        else:
            outputs.append(
                F.scaled_dot_product_attention(
                    q, k, v, is_causal=True, scale=scaling, dropout_p=dropout, enable_gqa=True
                )
            )
    return torch.cat(outputs, dim=2).transpose(1, 2), None


def varlen(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    bounds: torch.Tensor,
    longest: int,
    scaling: float | None = None,
    dropout: float = 0.0,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """The same in one kernel: sample i is at `bounds[i]` to `bounds[i + 1]` (int32), of at most `longest` tokens."""
    if dropout:
        raise UserError("The base drops attention weights in training, which varlen cannot; set attention to sdpa.")
    q, k, v = (tensor[0].transpose(0, 1).contiguous() for tensor in (query, key, value))
    output: Any = kernels.varlen_attn(q, k, v, bounds, bounds, longest, longest, scale=scaling, **_SETTINGS)
    return output[None], None


def varlen_expanded(
    module: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor | None, **settings: Any
) -> tuple[torch.Tensor, None]:
    """`varlen` for kernels that take no groups: each key and value is repeated for the heads that share it."""
    heads = query.shape[1] // key.shape[1]
    key, value = (tensor.repeat_interleave(heads, dim=1) for tensor in (key, value))
    return varlen(module, query, key, value, mask, **settings)


def blocks(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scaling: float) -> torch.Tensor:
    """Causal attention of one sample by matrix products, for tensors (1, heads, tokens, size).

    Keys and values may have fewer heads, each for as many queries' heads in a row. In bf16 on a CPU it is up to 2.7
    times as fast as torch's fused kernel, whose backward pass is slow there; in fp32 less (docs/training.md). The
    shares of each block of queries are kept for the gradient: half of tokens² numbers a head.
    """
    output: torch.Tensor = _Blocks.apply(query, key, value, scaling)  # type: ignore[no-untyped-call]
    return output


class _Blocks(torch.autograd.Function):
    """A block of queries times all keys up to its end; the heads that share a key are one product."""

    @staticmethod
    def forward(ctx: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scaling: float) -> torch.Tensor:
        groups, tokens, size = key.shape[1:]
        q, k, v = (query * scaling).reshape(groups, -1, tokens, size), key[0], value[0]
        ahead = torch.full((BLOCK, BLOCK), -torch.inf, dtype=q.dtype).triu_(1)
        output, kept = torch.empty_like(q), []
        for begin in range(0, tokens, BLOCK):
            part = q[:, :, begin : begin + BLOCK]
            count, end = part.shape[2], begin + part.shape[2]
            scores = (part.reshape(groups, -1, size) @ k[:, :end].mT).view(groups, -1, count, end)
            scores[..., begin:] += ahead[:count, :count]
            shares = scores.softmax(-1).view(groups, -1, end)
            output[:, :, begin:end] = (shares @ v[:, :end]).view(part.shape)
            kept.append(shares)
        ctx.scaling = scaling
        ctx.save_for_backward(q, k, v, *kept)
        return output.view(query.shape)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, None]:
        q, k, v, *kept = ctx.saved_tensors
        groups, size = len(k), k.shape[-1]
        above, by_q = grad.reshape(q.shape), torch.empty_like(q)
        by_k, by_v = (k.new_zeros(k.shape) for _ in range(2))
        for begin, shares in zip(range(0, q.shape[2], BLOCK), kept, strict=True):
            end = shares.shape[-1]
            part, over = (tensor[:, :, begin:end].reshape(groups, -1, size) for tensor in (q, above))
            by_v[:, :end].baddbmm_(shares.mT, over)
            by_scores = torch._softmax_backward_data(over @ v[:, :end].mT, shares, -1, shares.dtype)
            by_q[:, :, begin:end] = (by_scores @ k[:, :end]).view(groups, -1, end - begin, size)
            by_k[:, :end].baddbmm_(by_scores.mT, part)
        return by_q.mul_(ctx.scaling).view(grad.shape), by_k[None], by_v[None], None


def _works(name: str, device: torch.device) -> bool:
    """Whether the kernel runs here and gives what `segments` gives, forward and backward, empty samples included."""
    lengths, ends = [40, 130, 6], [0, 40, 170, 176, 176]
    generator = torch.Generator().manual_seed(0)
    drawn = [torch.randn(1, heads, 176, 64, generator=generator) for heads in (4, 2, 2)]
    results: list[torch.Tensor] = []
    runs: list[tuple[str, dict[str, Any]]] = [
        (name, {"bounds": torch.tensor(ends, dtype=torch.int32, device=device), "longest": 130}),
        ("radlite_segments", {"lengths": lengths}),
    ]
    try:
        for function, settings in runs:
            inputs = [tensor.to(device, torch.bfloat16).requires_grad_() for tensor in drawn]
            output = _FUNCTIONS[function](None, *inputs, None, **settings)[0]
            gradients = torch.autograd.grad(output.float().square().sum(), inputs)
            results.append(torch.cat([tensor.float().flatten() for tensor in (output, *gradients)]))
    except (RuntimeError, ValueError, TypeError):  # no such kernel for this device, or not with these arguments
        return False
    return bool((results[0] - results[1]).norm() < 0.02 * results[1].norm())


_FUNCTIONS: dict[str, Any] = {
    "radlite_segments": segments,
    "radlite_varlen": varlen,
    "radlite_varlen_expanded": varlen_expanded,
}
# transformers makes no mask for an attention function that has no mask function of its own, and none is needed here.
for _name, _function in _FUNCTIONS.items():
    AttentionInterface.register(_name, _function)
