"""Low-rank adapters: attached by PEFT, kept as a folder with a manifest."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import peft
import torch

from radlite import manifest
from radlite.errors import UserError
from radlite.files import atomic_folder
from radlite.runtime.hf import keep_zero_rows


def attach(
    model: Any,
    rank: int,
    alpha: float,
    targets: Sequence[str],
    dropout: float = 0.0,
    rslora: bool = False,
    dora: bool = False,
) -> Any:
    """The model with a trainable fp32 adapter on the matrices named in `targets`; all else is frozen.

    The update is `alpha / rank * B A`, with `rslora` `alpha / sqrt(rank) * B A` (arXiv 2312.03732). With `dora` each
    row of the sum has a length of its own that is learned (arXiv 2402.09353). Raises `UserError` if the model has no
    matrix of that name.
    """
    # The output matrix, which is the embedding in small models, stands outside `base_model`: it is never tuned.
    have = {name.rpartition(".")[2] for name, part in model.base_model.named_modules() if hasattr(part, "in_features")}
    if unknown := [target for target in targets if target not in have]:
        raise UserError(f"The model has no matrix {unknown[0]!r} to tune; it has {', '.join(sorted(have))}.")
    settings = peft.LoraConfig(
        task_type="CAUSAL_LM",
        r=rank,
        lora_alpha=alpha,
        target_modules=list(targets),
        lora_dropout=dropout,
        use_rslora=rslora,
        use_dora=dora,
    )
    tuned = peft.get_peft_model(model, settings)
    keep_zero_rows(tuned)
    return tuned


def quicken(optimizer: torch.optim.Optimizer, model: Any, ratio: float) -> None:
    """Give the adapter's matrices B `ratio` times the rate that they have (LoRA+, arXiv 2402.12354).

    They come last in the optimizer's groups, so that the rate that is logged remains that of the rest.
    """
    late = {id(parameter) for name, parameter in model.named_parameters() if ".lora_B." in name}
    for group in list(optimizer.param_groups):
        own = [parameter for parameter in group["params"] if id(parameter) in late]
        if own:
            group["params"] = [parameter for parameter in group["params"] if id(parameter) not in late]
            optimizer.add_param_group({**group, "params": own, "lr": group["lr"] * ratio})


def save(
    model: Any,
    folder: Path,
    files: Mapping[str, str],
    facts: Mapping[str, Any],
    weights: Mapping[str, torch.Tensor] | None = None,
) -> None:
    """Write the adapter folder: PEFT's safetensors and configuration, `files` (name to text), the manifest of `facts`.

    `weights` are the trained parameters by name, of a model that holds but a part of them.
    The folder appears whole or not at all. Raises `UserError` if it cannot be written.
    """
    with atomic_folder(folder) as part:
        # `auto` would ask the hub whether the vocabulary was resized; it never is.
        model.save_pretrained(part, save_embedding_layers=False, state_dict=weights)
        (part / "README.md").unlink(missing_ok=True)  # PEFT's empty form of a model card
        for name, text in files.items():
            (part / name).write_text(text, "utf-8")
        manifest.write(part, manifest.describe("adapter", **facts))
