"""A small model of each family that has learned a few answers by heart, and its GGUF files."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import gguf as package
import numpy as np
import pytest

from radlite.export import gguf
from radlite.tasks import TASKS, Example

_REPORTS = ("Small left pleural effusion, increased.", "The heart is normal. No pneumothorax.", "Lung nodule, N2, M1.")
_ANSWERS = {
    "radiology_nli": ("entailment", "contradiction", "neutral"),
    "n_staging": ("N0", "N0", "N2"),
    "impression_generation": ("Small left pleural effusion.", "Normal heart.", "Lung nodule with M1."),
}


def examples() -> list[Example]:
    """Three examples of three tasks."""
    return [
        Example(
            id=f"{task}-{number}",
            task=task,
            inputs={"report": report, "premise": report, "hypothesis": "Effusion is seen."},
            answer=TASKS[task].render(TASKS[task].read(answer)),
            source="test",
            tier="synthetic",
            patient=str(number),
            study=str(number),
            split="test",
            licence="none",
        )
        for task, answers in _ANSWERS.items()
        for number, (report, answer) in enumerate(zip(_REPORTS, answers, strict=True))
    ]


@pytest.fixture(scope="session")
def items() -> list[Example]:
    return examples()


_TUNED: dict[str, Path] = {}


@pytest.fixture(scope="session")
def tuned(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`base`, trained until it knows the examples by heart: its distributions are peaked, so that damage shows.

    Trained once for each family, although pytest sets a fixture with parameters up again and again.
    """
    family = json.loads((base / "config.json").read_text())["model_type"]
    if family not in _TUNED:
        _TUNED[family] = _train(base, tmp_path_factory.mktemp("tuned") / family)
    return _TUNED[family]


def _train(base: Path, folder: Path) -> Path:
    import torch
    import transformers

    from radlite.chat import Renderer
    from radlite.reader import turns
    from radlite.tokenizer import Tokenizer
    from radlite.training.base import save

    renderer = Renderer.from_folder(base)
    model = transformers.AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    generator = torch.Generator().manual_seed(0)
    for name, parameter in model.named_parameters():
        if name.endswith(".bias"):  # they are born zero, and a dropped zero is no damage
            parameter.data.normal_(0, 0.5, generator=generator)
    rows = [
        renderer.training(renderer.prompt(turns(TASKS[example.task], example.inputs)), example.answer)
        for example in examples()
    ]
    width = max(len(ids) for ids, _ in rows)
    ids = torch.tensor([row + [0] * (width - len(row)) for row, _ in rows])
    mask = torch.tensor([row + [0] * (width - len(row)) for _, row in rows])
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    for _ in range(150):
        loss = model(input_ids=ids, labels=ids.masked_fill(mask == 0, -100)).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        if loss.item() < 0.02:
            break
    save(model, Tokenizer.from_folder(base), "qwen3" if folder.name == "qwen3" else "qwen2.5", folder)
    return folder


@pytest.fixture(scope="session", params=["F16", "Q4_K_M"])
def file(request: pytest.FixtureRequest, tuned: Path) -> Path:
    """The tuned model as a GGUF, exact and quantised."""
    return gguf.write(tuned, tuned.with_suffix(f".{request.param}.gguf"), request.param, threads=1)


@pytest.fixture(scope="session")
def exact(tuned: Path) -> Path:
    """The tuned model as a GGUF in F16."""
    return gguf.write(tuned, tuned.with_suffix(".exact.gguf"), "F16", threads=1)


Tensors = dict[str, tuple[np.ndarray[Any, Any], package.GGMLQuantizationType]]


def rewritten(
    path: Path, out: Path, keys: Mapping[str, Any] | None = None, change: Callable[[Tensors], None] | None = None
) -> Path:
    """A copy of a GGUF with other `keys`, and its tensors as `change` leaves them."""
    reader = package.GGUFReader(path)
    writer = package.GGUFWriter(out, reader.fields["general.architecture"].contents())
    for name, field in reader.fields.items():
        if name.startswith("GGUF.") or name == "general.architecture":
            continue
        value = (keys or {}).get(name, field.contents())
        if value is not None:
            writer.add_key_value(name, value, field.types[0], field.types[1] if len(field.types) > 1 else None)
    tensors = {tensor.name: (np.array(tensor.data), tensor.tensor_type) for tensor in reader.tensors}
    if change:
        change(tensors)
    for name, (data, kind) in tensors.items():
        writer.add_tensor(name, data, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return out
