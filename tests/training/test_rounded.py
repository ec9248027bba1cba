"""An adapter on a rounded base: trained, answering and merged on the very same numbers."""

import _thread
import contextlib
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from typer.testing import CliRunner

from radlite import manifest
from radlite.cli import app
from radlite.errors import UserError
from radlite.export import adapter as adapters
from radlite.export import gguf
from radlite.export.merge import merge, note
from radlite.export.verify import Engine
from radlite.runtime import engine, hf, nf4, rounding, weights
from radlite.training import rounded
from radlite.training.config import TrainConfig
from radlite.training.trainer import train
from tests import lora
from tests.training.test_trainer import qwen3, same
from tests.training.test_trainer import weights as trained

Recipe = Callable[..., TrainConfig]
PROMPT = tuple(range(40, 90))


def following(model: Engine) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Log-probabilities after a prompt, by id."""
    from radlite.chat import Prompt

    with contextlib.closing(model):
        found = model.next_log_probabilities(Prompt(PROMPT, ""), 512)
    return np.array([found[token] for token in sorted(found)])


def bitsandbytes() -> None:
    pytest.importorskip("bitsandbytes", reason="needs radlite[qlora]; make test-qlora")


@pytest.mark.parametrize("kind", ["Q4_K_M", "IQ4_XS"])
def test_training_sees_the_numbers_of_the_rounded_base(base: Path, kind: str) -> None:
    model = transformers.AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    how = rounded.planned(base, kind)
    assert how
    rounded.apply(model, base, how, torch.device("cpu"))
    held = dict(model.named_parameters())
    for name, tensor in weights.read(base).items():
        if name in held:
            assert np.array_equal(held[name].detach().numpy().reshape(tensor.rows, -1), how.read(tensor))


@pytest.mark.parametrize("kind", ["Q4_K_M", "NF4"])
def test_a_merge_is_the_model_that_was_trained_and_unrounded_is_not(base: Path, tmp_path: Path, kind: str) -> None:
    exact = lora.in_float32(base, tmp_path / "base")
    adapter = lora.write(exact, tmp_path / "adapter", facts={"base_quantized": kind})
    merged = merge(adapter, tmp_path / "merged")
    loose = merge(adapter, tmp_path / "loose", rounded=False)
    expected = following(hf.open_model(exact, adapter))
    assert np.abs(following(hf.open_model(merged)) - expected).max() < 1e-4
    assert np.abs(following(hf.open_model(loose)) - expected).max() > 0.01
    apart = manifest.read(loose)["unrounded"]
    how, change, error, norm = rounding.of(exact, kind), 0.0, 0.0, 0.0
    tensors, summed = weights.read(exact), weights.read(loose)
    for name in ("q_proj", "v_proj", "down_proj"):
        for tensor in (one for place, one in tensors.items() if name in place and len(one.shape) == 2):
            change += float(np.square(summed[tensor.name].read() - tensor.read()).sum())
            error += float(np.square(how.read(tensor) - tensor.read()).sum())
            norm += float(np.square(tensor.read()).sum())
    assert apart == pytest.approx({"rounding": (error / norm) ** 0.5, "adapter": (change / norm) ** 0.5}, rel=1e-3)


def test_over_the_bases_file_of_its_kind_an_adapter_is_as_trained_and_merged_it_is_rounded_twice(
    base: Path, tmp_path: Path
) -> None:
    adapter = lora.write(base, tmp_path / "adapter", facts={"base_quantized": "Q4_K_M"})
    small = gguf.write(base, tmp_path / "base.gguf", "Q4_K_M")
    alone = adapters.write(adapter, tmp_path / "mine.gguf")
    twice, once = (
        gguf.write(merge(adapter, tmp_path / f"merged-{name}", rounded=name), tmp_path / f"{name}.gguf", "Q4_K_M")
        for name in (True, False)
    )
    expected = following(hf.open_model(base, adapter))

    def apart(path: Path, over: Path | None = None) -> float:
        found = following(engine.open_model(path, remembered=0, adapter=over))
        return float(np.exp(expected) @ (expected - found))

    near = apart(small, alone)
    assert near < 1e-4 and 10 * near < min(apart(once), apart(twice))


def test_an_adapter_that_saw_no_rounding_is_merged_as_ever(base: Path, tmp_path: Path) -> None:
    adapter = lora.write(base, tmp_path / "adapter")
    with pytest.raises(UserError, match="on its base as it is; leave out --rounded and --unrounded"):
        merge(adapter, tmp_path / "merged", rounded=False)
    assert "unrounded" not in manifest.read(merge(adapter, tmp_path / "merged"))
    assert note(manifest.read(tmp_path / "merged"), "Q4_K_M") == ""
    strange = lora.write(base, tmp_path / "strange", facts={"base_quantized": "Q1_0"})
    for use in (lambda: merge(strange, tmp_path / "other"), lambda: hf.open_model(base, strange)):
        with pytest.raises(UserError, match="cannot be rounded to 'Q1_0'"):
            use()


@qwen3
def test_a_rounded_run_that_was_interrupted_ends_with_the_same_weights(recipe: Recipe, tmp_path: Path) -> None:
    resumed_like_new(recipe(max_steps=12, save_every=3, base_quantized="Q4_K_M"), tmp_path)


def test_in_four_bits_it_is_trained_on_the_same_numbers_and_resumed_to_the_bit(recipe: Recipe, tmp_path: Path) -> None:
    bitsandbytes()
    config = recipe(max_steps=12, save_every=3, evaluate_every=5, base_quantized="NF4")
    resumed_like_new(config, tmp_path)
    made = manifest.read(config.out)
    assert made["base_quantized"] == "NF4"
    # The same run over plain matrices with these numbers: only the order of additions differs.
    folder = lora.in_float32(Path(config.base), tmp_path / "base")
    how = rounding.of(folder, "NF4")
    from safetensors.numpy import save_file

    tensors = {tensor.name: how.read(tensor).reshape(tensor.shape) for tensor in weights.read(folder).values()}
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    plain = train(config.model_copy(update={"base": str(folder), "base_quantized": None, "out": tmp_path / "plain"}))
    assert manifest.read(plain)["losses"]["training"] == pytest.approx(made["losses"]["training"], abs=1e-4)
    assert manifest.read(plain)["losses"]["validation"] == pytest.approx(made["losses"]["validation"], abs=1e-4)


def test_four_bits_are_what_the_model_holds(base: Path) -> None:
    bitsandbytes()
    model = transformers.AutoModelForCausalLM.from_pretrained(base, dtype=torch.bfloat16)
    whole = {name: part.weight.nbytes for name, part in model.named_modules() if isinstance(part, torch.nn.Linear)}
    how = rounded.planned(base, "NF4")
    assert how
    rounded.apply(model, base, how, torch.device("cpu"))
    inside = {name: part for name, part in model.named_modules() if "layers" in name and name in whole}
    assert len(inside) == 14
    for name, part in inside.items():
        assert part.weight.nbytes * 4 == whole[name] and part.quant_state.absmax.nbytes * 8 == part.weight.nbytes
        codes, scales = nf4.encode(weights.read(base)[f"{name}.weight"].read())
        decoded = torch.from_numpy(nf4.decode(codes, scales)).bfloat16()
        x = torch.randn(3, part.in_features, dtype=torch.bfloat16)
        assert torch.allclose(part(x), torch.nn.functional.linear(x, decoded, part.bias), atol=0.02)
    assert not any(parameter.requires_grad for part in inside.values() for parameter in part.parameters())


def resumed_like_new(config: TrainConfig, room: Path) -> None:
    """Train `config` whole, and again interrupted after a checkpoint and resumed; the weights must be equal."""
    whole = train(config.model_copy(update={"out": room / "whole"}), progress=False)
    work = config.out.with_name(f"{config.out.name}.training")

    def interrupt() -> None:
        while not any(work.glob(f"checkpoint-*/{manifest.NAME}")):
            time.sleep(0.002)
        _thread.interrupt_main()

    # Where tests run in the background, the shell has had it ignored.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    threading.Thread(target=interrupt, daemon=True).start()
    try:
        with pytest.raises(KeyboardInterrupt):
            train(config, progress=False)
    finally:
        signal.signal(signal.SIGINT, before)
    assert not config.out.exists()
    assert same(train(config, resume=True, progress=False), whole)
    assert any(tensor.any() for name, tensor in trained(whole).items() if "lora_B" in name)


@qwen3
def test_without_bitsandbytes_nf4_names_the_command_that_gets_it(
    recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"needs bitsandbytes; run pip install 'radlite\[qlora\]'"):
        train(recipe(base_quantized="NF4"), progress=False)


@qwen3
def test_settings_that_do_not_go_with_rounding_are_told(recipe: Recipe) -> None:
    with pytest.raises(UserError, match="Layers in NF4 are not compiled"):
        recipe(base_quantized="NF4", compile=True)


@qwen3
def test_export_says_which_file_is_as_trained(base: Path, tmp_path: Path) -> None:
    rounded_on = lora.write(base, tmp_path / "adapter", facts={"base_quantized": "Q4_K_M"})
    out = tmp_path / "model.gguf"

    def told(*arguments: object) -> str:
        return (
            CliRunner().invoke(app, ["export", *map(str, arguments), "--out", str(out)], catch_exceptions=False).output
        )

    assert "that rounding had moved" in (usual := told(rounded_on, "--merged", tmp_path / "merged"))
    assert "Nearer to what was trained: the adapter alone (--adapter-only)." in usual
    assert "it lost what learning moved little" not in usual
    assert "it lost what learning moved little" in told(rounded_on, "--rounded")
    assert "It is as trained: merged onto the base in Q4_K_M." in told(rounded_on, "--quantize", "F16")
    assert "as trained, merged onto the base in Q4_K_M, but for" in told(rounded_on, "--quantize", "Q8_0")
    assert set(manifest.read(tmp_path / "merged")["unrounded"]) == {"rounding", "adapter"}
    assert "over its base in Q4_K_M alone: radlite export BASE --quantize Q4_K_M" in told(rounded_on, "--adapter-only")
    with pytest.raises(UserError, match=r"nothing is merged; leave out --rounded"):
        told(base, "--unrounded")
    with pytest.raises(UserError, match=r"neither merged nor quantised; leave out .*--rounded"):
        told(rounded_on, "--adapter-only", "--unrounded")
