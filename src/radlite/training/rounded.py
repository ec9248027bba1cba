"""The frozen base rounded before training, so that the adapter learns around the rounding.

To a GGUF's kind: each matrix holds what the file would, decoded. To NF4 (QLoRA, Dettmers et al., 2023): the matrices of
the layers stay in four bits and are computed with by bitsandbytes, for small GPUs.
"""

import importlib.util
from pathlib import Path
from typing import Any

import torch
from rich.progress import Progress

from radlite.errors import UserError
from radlite.runtime import nf4, rounding, weights
from radlite.runtime.hf import round_weights
from radlite.runtime.rounding import NF4, Rounding
from radlite.runtime.weights import Tensor


def planned(folder: Path, kind: str | None) -> Rounding | None:
    """How the base in `folder` is rounded to `kind`; None if it is not.

    Raises `UserError` as `rounding.of` does, and for NF4 unless bitsandbytes is installed.
    """
    if kind == NF4 and importlib.util.find_spec("bitsandbytes") is None:
        raise UserError(
            "The setting 'base_quantized' is NF4, which needs bitsandbytes; run pip install 'radlite[qlora]'."
        )
    return rounding.of(folder, kind) if kind else None


def apply(model: Any, folder: Path, how: Rounding, device: torch.device, progress: Progress | None = None) -> None:
    """Round the weights of a loaded model, whose folder is `folder`, in place; it goes on computing in their type.

    In NF4 a weight takes half a byte, and each block of 64 four more; the matrices are put on `device` one at a time,
    so that the whole base never stands there in 16 bits. The numbers are `runtime.nf4`'s, not those of the encoder in
    bitsandbytes: the same to the bit on every device, and known to export. Raises `UserError` as `Rounding.read` does.
    """
    if how.kind != NF4:
        round_weights(model, folder, how, progress)
        return
    tensors = weights.read(folder)
    names = progress.track(how.types, description=f"rounding to {NF4}") if progress else how.types
    for name in names:
        place = name.removesuffix(".weight")
        parent, _, short = place.rpartition(".")
        setattr(model.get_submodule(parent), short, _in_four_bits(model.get_submodule(place), tensors[name], device))


def _in_four_bits(linear: torch.nn.Linear, tensor: Tensor, device: torch.device) -> torch.nn.Module:
    import bitsandbytes

    type = linear.weight.dtype
    pieces = [nf4.encode(tensor.read(*block)) for block in tensor.blocks()]
    codes = torch.cat([torch.from_numpy(piece[0]).flatten() for piece in pieces])[:, None]
    scales = torch.cat([torch.from_numpy(piece[1]).flatten() for piece in pieces])
    state = bitsandbytes.functional.QuantState(
        absmax=scales.to(device),
        shape=torch.Size(tensor.shape),
        code=torch.from_numpy(nf4.LEVELS.copy()).to(device),
        blocksize=nf4.BLOCK,
        quant_type="nf4",
        dtype=type,
    )
    with torch.device("meta"):
        layer = bitsandbytes.nn.Linear4bit(
            linear.in_features, linear.out_features, bias=False, compute_dtype=type, compress_statistics=False,
            quant_type="nf4",
        )  # fmt: skip
    layer.weight = bitsandbytes.nn.Params4bit(
        codes.to(device), requires_grad=False, quant_state=state, blocksize=nf4.BLOCK, compress_statistics=False,
        quant_type="nf4", module=layer, bnb_quantized=True,
    )  # fmt: skip
    layer.quant_state = state
    layer.bias = linear.bias
    # On some CPUs it would change the weights for faster answers at the first validation, and could train no more.
    layer.support_avx512bf16_for_cpu = False
    frozen: torch.nn.Module = layer.requires_grad_(False)
    return frozen
