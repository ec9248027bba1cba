"""The layers of a model with an adapter, made fast: one operation for matrix and update, on a GPU compiled layers."""

import importlib.util
from typing import Any

import peft.tuners.lora
import torch
import torch.nn.functional as F
from torch import library

from radlite.errors import UserError

ADAPTER = "default"
"""PEFT's name of an adapter that was given none."""


@library.custom_op("radlite::low_rank_linear", mutates_args=())
def low_rank_linear(
    x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, a: torch.Tensor, b: torch.Tensor, scale: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """x Wᵀ + bias + scale (x Aᵀ) Bᵀ and x Aᵀ, for x (..., in), W (out, in), A (rank, in), B (out, rank) of one type.

    The update is added by the matrix product itself, onto the output in place. As separate operations it is written
    and read again twice, which takes longer than its arithmetic. An operation of its own keeps a compiler from undoing
    that.
    """
    rows = x.reshape(-1, x.shape[-1])
    inner = rows @ a.T
    output = F.linear(rows, weight, bias)
    output.addmm_(inner, b.T, alpha=scale)
    return output.view(*x.shape[:-1], -1), inner


@low_rank_linear.register_fake
def _(x: torch.Tensor, weight: torch.Tensor, _: Any, a: torch.Tensor, *__: Any) -> tuple[torch.Tensor, torch.Tensor]:
    rows = x.numel() // x.shape[-1]
    return x.new_empty(*x.shape[:-1], weight.shape[0]), x.new_empty(rows, a.shape[0])


@library.custom_op("radlite::low_rank_linear_backward", mutates_args=())
def _gradients(
    grad: torch.Tensor,
    x: torch.Tensor,
    inner: torch.Tensor,
    weight: torch.Tensor,
    a: torch.Tensor,
    b: torch.Tensor,
    scale: float,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Gradients by x, A and B."""
    rows, above = x.reshape(-1, x.shape[-1]), grad.reshape(-1, grad.shape[-1])
    between = (above @ b).mul_(scale)
    by_x = above @ weight
    by_x.addmm_(between, a)
    return by_x.view(x.shape), between.T @ rows, (above.T @ inner).mul_(scale)


@_gradients.register_fake
def _(*given: Any) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    _, x, _, _, a, b, _ = given
    return x.new_empty(x.shape), a.new_empty(a.shape), b.new_empty(b.shape)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[torch.Tensor, torch.Tensor]) -> None:
    x, weight, _, a, b, ctx.scale = inputs
    ctx.save_for_backward(x, output[1], weight, a, b)


def _backward(ctx: Any, grad: torch.Tensor, _: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
    by_x, by_a, by_b = _gradients(grad, *ctx.saved_tensors, ctx.scale)
    return by_x, None, None, by_a, by_b, None


low_rank_linear.register_autograd(_backward, setup_context=_keep)


class FusedLinear(peft.tuners.lora.Linear):  # type: ignore[misc]
    """PEFT's matrix with an adapter, computed by `low_rank_linear` in the type of its input."""

    def forward(self, x: torch.Tensor, *arguments: Any, **settings: Any) -> torch.Tensor:
        """The matrix and its update applied to x (..., in)."""
        if self.merged or self.disable_adapters:
            result: torch.Tensor = super().forward(x, *arguments, **settings)
            return result
        a, b = (part[ADAPTER].weight.to(x.dtype) for part in (self.lora_A, self.lora_B))
        base = self.base_layer
        output: torch.Tensor = low_rank_linear(x, base.weight, base.bias, a, b, self.scaling[ADAPTER])[0]
        return output


def fuse(model: Any) -> int:
    """Let the model's plain LoRA matrices without dropout compute as `FusedLinear`, and return how many do.

    The parameters, their names and what is saved stay as they are. The matrices' type must be that of their inputs.
    """
    found = [module for module in model.modules() if type(module) is peft.tuners.lora.Linear and _plain(module)]
    for module in found:
        module.__class__ = FusedLinear
    return len(found)


def narrow(model: Any) -> None:
    """Let the last layer's MLP compute at the positions alone whose logits are asked for by `logits_to_keep`.

    Nothing else is made of what it would compute at the others. Not for layers that are compiled, as the number of
    positions changes with each batch.
    """
    base = model.get_base_model()
    mlp = base.model.layers[-1].mlp
    everywhere, kept = mlp.forward, None

    def note(_: Any, __: Any, settings: dict[str, Any]) -> None:
        nonlocal kept
        asked = settings.get("logits_to_keep")
        kept = asked if isinstance(asked, torch.Tensor) else None

    def forward(x: torch.Tensor) -> torch.Tensor:
        if kept is None:
            result: torch.Tensor = everywhere(x)
            return result
        return torch.zeros_like(x).index_copy(1, kept, everywhere(x[:, kept]))

    base.register_forward_pre_hook(note, with_kwargs=True)
    mlp.forward = forward


def compile_layers(model: Any, dynamic: bool = False) -> None:
    """Compile each layer of the model when it is first used; one compilation serves all that are alike.

    Layers, not the model: the output matrix sees another number of targets in each step, and starting takes seconds
    rather than minutes. With `dynamic` False each new number of tokens is compiled anew.
    """
    kinds = set(model._no_split_modules or ())
    for module in model.modules():
        if type(module).__name__ in kinds:
            module.compile(dynamic=dynamic)


def liger(model: Any, gpu: bool, compiled: bool) -> None:
    """Let the model's norms, rotary positions and SwiGLU compute by Liger's kernels; the loss stays ours.

    Raises `UserError` without a GPU, without the package, for other models, and where layers are compiled, since the
    compiler fuses the same operations.
    """
    needs = {
        "a CUDA device": gpu,
        "layers that are not compiled (compile: false)": not compiled,
        "the package liger-kernel (pip install liger-kernel)": importlib.util.find_spec("liger_kernel") is not None,
        "a base of the kind qwen2 or qwen3": model.config.model_type in ("qwen2", "qwen3"),
    }
    if lacking := next((need for need, met in needs.items() if not met), None):
        raise UserError(f"The setting 'liger' is true, which needs {lacking}; see to that or set it to false.")
    from transformers.integrations.liger import apply_liger_kernel

    parts = {"rope": True, "rms_norm": True, "swiglu": True}
    apply_liger_kernel(model, {**parts, "cross_entropy": False, "fused_linear_cross_entropy": False})


def _plain(module: Any) -> bool:
    """Whether a PEFT matrix has one LoRA adapter and nothing else: no dropout, no DoRA, no bias in the update."""
    return (
        list(module.lora_A) == [ADAPTER]
        and isinstance(module.lora_dropout[ADAPTER], torch.nn.Identity)
        and not module.lora_variant
        and module.lora_B[ADAPTER].bias is None
        and type(module.base_layer) is torch.nn.Linear
    )
