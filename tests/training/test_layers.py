import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import transformers
from torch import library
from torch._dynamo.testing import CompileCounter

from radlite.errors import UserError
from radlite.training import attention, batches, layers, lora
from radlite.training.batches import Frame, Sample, collate, frame
from radlite.training.config import PROJECTIONS, TrainConfig
from radlite.training.trainer import prepare

gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


def sample(number: int, size: int, targets: int = 3) -> Sample:
    return Sample(str(number), "n_staging", (np.arange(size, dtype=np.int32) * 7 + number) % 250 + 1, targets)


ROWS = [(sample(5, 30), sample(60, 21)), (sample(90, 40, 12),)]


def model_of(base: Path, kind: str = "sdpa", dtype: torch.dtype = torch.float32, dropout: float = 0.0) -> Any:
    model = transformers.AutoModelForCausalLM.from_pretrained(base, dtype=dtype, attn_implementation=kind)
    model = lora.attach(model, 4, 8, PROJECTIONS, dropout, False)
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.05, generator=torch.Generator().manual_seed(len(name)))
    return model


def learned(model: Any, batch: dict[str, Any], bf16: bool = False) -> tuple[float, torch.Tensor]:
    """The loss of a batch, and its gradient as one vector."""
    model.zero_grad()
    loss = batches.loss(model, batch, bf16)
    loss.backward()
    return loss.item(), torch.cat([weight.grad.flatten() for weight in model.parameters() if weight.requires_grad])


def apart(one: torch.Tensor, two: torch.Tensor) -> float:
    return float((one - two).norm() / two.norm())


def test_a_frame_gives_all_batches_the_same_sizes() -> None:
    held = frame(ROWS, 1, 100)
    assert held == Frame(tokens=100, slots=2 + 3, longest=40)
    for row in ROWS:
        batch = collate([row], held)
        bounds = batch["bounds"].tolist()
        lengths = [end - begin for begin, end in itertools.pairwise(bounds)]
        assert batch["input_ids"].shape == batch["labels"].shape == batch["weights"].shape == (1, 100)
        assert len(lengths) == held.slots and bounds[-1] == 100 and max(lengths) <= held.longest
        assert lengths[: len(row)] == [len(part.ids) for part in row]
        assert batch["useful"] == sum(len(part.ids) for part in row)
        assert (batch["labels"] != batches.IGNORED).sum() == sum(part.targets for part in row)
        positions = [place for length in lengths for place in range(length)]
        assert batch["position_ids"].tolist() == [positions]


def test_a_frame_has_room_for_the_worst_batch_and_for_an_empty_one() -> None:
    row = tuple(sample(number, 10) for number in range(10))
    held = frame([*ROWS, row], 2, 100)
    for rows in ([row, row], [ROWS[1]], [(sample(1, 1, 1),)]):
        bounds = collate(rows, held)["bounds"]
        assert len(bounds) == held.slots + 1 and bounds[-1] == 200
        assert bounds.diff().max() <= held.longest
    with pytest.raises(ValueError, match="longer than its frame"):
        collate([(sample(1, 41),)], held)


@pytest.mark.parametrize("base", ["qwen2.5", "qwen3"], indirect=True)
def test_filling_a_batch_changes_neither_loss_nor_gradient(base: Path) -> None:
    model = model_of(base)
    for row in ROWS:
        loss, gradient = learned(model, collate([row]))
        filled, other = learned(model, collate([row], frame(ROWS, 1, 100)))
        assert filled == pytest.approx(loss, rel=1e-5)
        assert apart(other, gradient) < 1e-4


@pytest.mark.parametrize("base", ["qwen2.5", "qwen3"], indirect=True)
@pytest.mark.parametrize("bf16", [False, True])
def test_a_fused_update_has_the_loss_and_gradient_of_pefts_own(base: Path, bf16: bool) -> None:
    model = model_of(base, dtype=torch.bfloat16 if bf16 else torch.float32)
    batch = collate(ROWS)
    loss, gradient = learned(model, batch, bf16)
    names = set(model.state_dict())
    assert layers.fuse(model) == 7 * model.config.num_hidden_layers
    fused, other = learned(model, batch, bf16)
    assert fused == pytest.approx(loss, rel=3e-3 if bf16 else 1e-5)
    assert apart(other, gradient) < (0.05 if bf16 else 1e-4)
    assert set(model.state_dict()) == names and all(weight.dtype == torch.float32 for weight in trained(model))
    with model.disable_adapter():
        alone = batches.loss(model, batch, bf16).item()
    assert alone != pytest.approx(loss, rel=1e-4)


@pytest.mark.parametrize("base", ["qwen2.5", "qwen3"], indirect=True)
def test_a_narrow_last_layer_has_the_loss_and_gradient_of_a_whole_one(base: Path) -> None:
    model = model_of(base)
    layers.fuse(model)
    batches_of = [collate(ROWS), collate(ROWS[:1])]
    expected = [learned(model, batch) for batch in batches_of]
    whole = model(batches_of[0]["input_ids"], use_cache=False, lengths=batches_of[0]["lengths"]).logits
    layers.narrow(model)
    seen = []
    model.get_base_model().model.layers[-1].mlp.up_proj.register_forward_hook(lambda *_: seen.append(_[2].shape[1]))
    found = [learned(model, batch) for batch in batches_of]
    assert seen == [len(batch["at"]) for batch in batches_of]
    for (loss, gradient), (other, wanted) in zip(found, expected, strict=True):
        assert loss == pytest.approx(other, rel=1e-5) and apart(gradient, wanted) < 1e-4
    asked = model(batches_of[0]["input_ids"], use_cache=False, lengths=batches_of[0]["lengths"]).logits
    assert torch.equal(asked, whole)


def trained(model: Any) -> list[torch.Tensor]:
    return [weight for weight in model.parameters() if weight.requires_grad]


@pytest.mark.parametrize("base", ["qwen3"], indirect=True)
def test_an_update_with_dropout_is_left_to_peft(base: Path) -> None:
    assert layers.fuse(model_of(base, dropout=0.1)) == 0


def test_the_fused_operation_is_one_that_a_compiler_may_use() -> None:
    x, a, b = (torch.randn(*shape, requires_grad=True) for shape in ((1, 5, 6), (2, 6), (8, 2)))
    for bias in (torch.randn(8), None):
        library.opcheck(layers.low_rank_linear, (x, torch.randn(8, 6), bias, a, b, 0.5))


@pytest.mark.parametrize("base", ["qwen2.5", "qwen3"], indirect=True)
def test_one_graph_serves_all_layers_and_all_batches_of_a_frame(base: Path) -> None:
    model = model_of(base)
    layers.fuse(model)
    expected = [learned(model, collate([row], frame(ROWS, 1, 100)))[1] for row in ROWS]
    model.enable_input_require_grads()
    torch._dynamo.reset()
    counter = CompileCounter()
    for layer in model.get_base_model().model.layers:
        layer.compile(dynamic=False, fullgraph=True, backend=counter)
    found = [learned(model, collate([row], frame(ROWS, 1, 100)))[1] for row in ROWS]
    torch._dynamo.reset()
    assert counter.frame_count == 1
    assert all(apart(one, two) < 1e-4 for one, two in zip(found, expected, strict=True))


@pytest.mark.parametrize("tokens", [1, attention.BLOCK, 2 * attention.BLOCK + 3])
@pytest.mark.parametrize(("heads", "groups"), [(4, 4), (6, 2), (3, 1)])
def test_attention_in_blocks_has_the_value_and_gradient_of_torchs_own(tokens: int, heads: int, groups: int) -> None:
    torch.manual_seed(tokens)
    q, k, v, over = (
        torch.randn(1, tokens, count, 8, dtype=torch.float64).transpose(1, 2).requires_grad_()
        for count in (heads, groups, groups, heads)
    )
    own = F.scaled_dot_product_attention(q, k, v, is_causal=True, scale=0.3, enable_gqa=True)
    ours = attention.blocks(q, k, v, 0.3)
    found, wanted = (torch.autograd.grad(made, (q, k, v), over) for made in (ours, own))
    assert torch.allclose(ours, own, atol=1e-12)
    assert all(torch.allclose(one, other, atol=1e-12) for one, other in zip(found, wanted, strict=True))


@pytest.mark.parametrize("rows", [1, 5, 2500])
def test_cross_entropy_in_parts_has_the_value_and_gradient_of_the_whole(rows: int) -> None:
    generator = torch.Generator().manual_seed(rows)
    logits = torch.randn(rows, 40, generator=generator) * 4
    targets = torch.randint(0, 40, (rows,), generator=generator)
    weights = torch.rand(rows, generator=generator)
    whole = logits.clone().requires_grad_()
    expected = (F.cross_entropy(whole, targets, reduction="none") * weights).sum()
    (expected * 0.5).backward()
    leaf = logits.clone().requires_grad_()
    found = batches.cross_entropy(leaf * 1.0, targets, weights)
    assert found.item() == pytest.approx(expected.item(), rel=1e-5)
    (found * 0.5).backward()
    assert torch.allclose(leaf.grad, whole.grad, atol=1e-6)


def test_auto_is_row_by_row_on_a_cpu_where_varlen_is_refused() -> None:
    cpu = torch.device("cpu")
    assert attention.chosen("auto", cpu, True) == "radlite_segments"
    assert attention.chosen("sdpa", cpu, True) == "sdpa"
    with pytest.raises(UserError, match=r"'attention' is varlen, which needs bf16 on a CUDA device .* set it to auto"):
        attention.chosen("varlen", cpu, True)


@pytest.mark.parametrize("base", ["qwen3"], indirect=True)
def test_compiling_without_a_gpu_is_refused_and_auto_leaves_it_out(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)  # as on a machine without one

    def made(**settings: Any) -> Any:
        model = transformers.AutoModelForCausalLM.from_pretrained(base, attn_implementation="radlite_segments")
        config = TrainConfig(base=str(base), corpus=Path("c"), out=Path("o"), **settings)
        return prepare(model, config)

    with pytest.raises(UserError, match="'compile' is true, which needs a CUDA device"):
        made(compile=True)
    assert all(module._compiled_call_impl is None for module in made().modules())


@pytest.mark.parametrize("base", ["qwen3"], indirect=True)
def test_ligers_kernels_are_refused_where_they_cannot_be_had(base: Path) -> None:
    model = model_of(base)
    with pytest.raises(UserError, match="'liger' is true, which needs a CUDA device; see to that or set it to false"):
        layers.liger(model, gpu=False, compiled=False)
    with pytest.raises(UserError, match=r"needs layers that are not compiled \(compile: false\)"):
        layers.liger(model, gpu=True, compiled=True)
    model.config.model_type = "llama"
    with pytest.raises(UserError, match=r"needs (the package liger-kernel|a base of the kind qwen2 or qwen3)"):
        layers.liger(model, gpu=True, compiled=False)


@pytest.mark.gpu
@gpu
@pytest.mark.parametrize("base", ["qwen2.5", "qwen3"], indirect=True)
def test_on_a_gpu_ligers_kernels_have_the_loss_and_gradient_of_transformers(base: Path) -> None:
    pytest.importorskip("liger_kernel", reason="liger-kernel is not installed")
    batch = {name: move(value) for name, value in collate(ROWS).items()}
    expected, other = learned(model_of(base, "radlite_segments", torch.bfloat16).cuda(), batch, True)
    model = model_of(base, "radlite_segments", torch.bfloat16).cuda()
    layers.liger(model, gpu=True, compiled=False)
    loss, gradient = learned(model, batch, True)
    assert loss == pytest.approx(expected, rel=0.01)
    assert apart(gradient, other) < 0.05


@pytest.mark.gpu
@gpu
@pytest.mark.parametrize("base", ["qwen2.5", "qwen3"], indirect=True)
def test_on_a_gpu_one_kernel_attends_as_row_by_row_and_keeps_rows_apart(base: Path) -> None:
    device = torch.device("cuda")
    kind = attention.chosen("auto", device, True)
    held = frame(ROWS, 2, 100)
    batch = {name: move(value) for name, value in collate(ROWS, held).items()}
    loss, gradient = learned(model_of(base, kind, torch.bfloat16).to(device), batch, True)
    plain = {name: move(value) for name, value in collate(ROWS).items()}
    expected, other = learned(model_of(base, "radlite_segments", torch.bfloat16).to(device), plain, True)
    assert loss == pytest.approx(expected, rel=0.01)
    assert apart(gradient, other) < 0.05


def move(value: Any) -> Any:
    return value.cuda() if isinstance(value, torch.Tensor) else value
