"""An adapter's GGUF over the base's is the merged model, and what a merge refuses it refuses."""

import contextlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gguf import GGMLQuantizationType as Type
from safetensors.torch import load_file, save_file

from radlite import manifest
from radlite.chat import Turn
from radlite.errors import UserError
from radlite.export import adapter, gguf, verify
from radlite.export.merge import merge
from radlite.runtime import engine, weights
from radlite.runtime import gguf as header
from radlite.tasks import Example
from tests import lora
from tests.export.conftest import Tensors, rewritten

BOUND = 0.02
"""Nats. Float32 and F16 differ by up to 0.011 in the two implementations of one model."""

ALL = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
TURNS = [Turn("system", "You read reports."), Turn("user", "Small left pleural effusion."), Turn("user", "N stage.")]


@pytest.fixture(scope="module")
def exact_base(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return lora.in_float32(base, tmp_path_factory.mktemp("exact") / base.name)


def likely(name: str, path: Path, over: Path | None = None) -> dict[int, float]:
    with contextlib.closing(engine.open_model(path, threads=1, engine=name, adapter=over)) as model:
        found: dict[int, float] = model.next_log_probabilities(model.renderer.prompt(TURNS), 448)
        return found


def apart(one: dict[int, float], other: dict[int, float]) -> float:
    assert one.keys() == other.keys() and len(one) == 448
    return max(abs(one[token] - other[token]) for token in one)


@pytest.mark.parametrize("kind", ["F32", "F16"])
@pytest.mark.parametrize("name", ["native", "wheel"])
@pytest.mark.parametrize("rslora", [False, True], ids=["plain", "rslora"])
def test_base_and_adapter_at_run_time_are_the_merged_model(
    exact_base: Path, tmp_path: Path, name: str, rslora: bool, kind: str
) -> None:
    if name == "native":
        pytest.importorskip("llama_cpp", reason="the native engine is compiled by `make native`")
    made = lora.write(exact_base, tmp_path / "adapter", 0.05, use_rslora=rslora, target_modules=ALL)
    over = adapter.write(made, tmp_path / "adapter.gguf")
    plain = gguf.write(exact_base, tmp_path / "base.gguf", kind, threads=1)
    merged = gguf.write(merge(made, tmp_path / "merged"), tmp_path / "merged.gguf", kind, threads=1)
    expected = likely(name, merged)
    assert apart(likely(name, plain, over), expected) < BOUND
    assert apart(likely(name, plain), expected) > 5 * BOUND
    if rslora:  # PEFT's own alpha, as llama.cpp's converter writes it, is another model
        raw = rewritten(over, tmp_path / "raw.gguf", {"adapter.lora.alpha": 16.0})
        assert apart(likely(name, plain, raw), expected) > 5 * BOUND


@pytest.mark.parametrize("rslora", [False, True])
def test_the_file_holds_the_tensors_and_the_scale_by_llama_cpps_names(base: Path, tmp_path: Path, rslora: bool) -> None:
    made = lora.write(base, tmp_path / "adapter", use_rslora=rslora)
    found = header.read(adapter.write(made, tmp_path / "adapter.gguf"), "adapter")
    family = json.loads((base / "config.json").read_text())["model_type"]
    assert (found.keys["general.architecture"], found.keys["adapter.type"]) == (family, "lora")
    assert found.keys["adapter.lora.alpha"] == (32.0 if rslora else 16.0)  # 16 * sqrt(4); divided by 4 when used
    assert len(found.tensors) == 2 * 3 * 2
    columns, rank = found.tensors["blk.1.ffn_down.weight.lora_a"]
    assert (columns, rank, found.tensors["blk.1.ffn_down.weight.lora_b"]) == (256, 4, (4, 256))
    source = load_file(made / "adapter_model.safetensors")
    stored = {name: data.view(np.float16) for name, _, data in gguf.read(tmp_path / "adapter.gguf", "adapter")}
    expected = source["base_model.model.model.layers.1.self_attn.q_proj.lora_B.weight"].numpy().astype(np.float16)
    assert np.array_equal(stored["blk.1.attn_q.weight.lora_b"], expected)
    assert set(found.types.values()) == {int(Type.F16)}


def test_the_manifest_says_base_recipe_and_wording_and_no_place_on_this_machine(base: Path, tmp_path: Path) -> None:
    made = lora.write(base, tmp_path / "adapter", facts={"wording": {"n_staging": "abc"}})
    found = header.read(adapter.write(made, tmp_path / "adapter.gguf"), "adapter").manifest
    assert found and found["base"] == {"name": base.name, "hash": manifest.weights_hash(base)}
    assert found["adapter"]["recipe"] == {"rank": 4} and found["scale"] == 4.0
    assert manifest.tuned_base(found) == base.name
    assert manifest.tuned_wording(found) == {"n_staging": "abc"}
    assert str(tmp_path) not in json.dumps(found) and str(base) not in json.dumps(found)


@pytest.mark.filterwarnings("ignore::UserWarning")  # PEFT has doubts about these too
@pytest.mark.parametrize("settings", lora.REFUSED, ids=lambda settings: next(iter(settings)))
def test_what_a_merge_refuses_is_refused_by_name(base: Path, tmp_path: Path, settings: dict[str, Any]) -> None:
    made = lora.write(base, tmp_path / "adapter", **settings)
    with pytest.raises(UserError, match=next(iter(settings)) if "init" not in str(settings) else "pissa"):
        adapter.write(made, tmp_path / "adapter.gguf")
    assert not (tmp_path / "adapter.gguf").exists()


@pytest.mark.parametrize(
    ("name", "value"), [("r", "4"), ("r", 0), ("r", None), ("lora_alpha", "16"), ("lora_alpha", None)]
)
def test_a_rank_or_alpha_that_is_no_number_is_refused(base: Path, tmp_path: Path, name: str, value: Any) -> None:
    made = lora.write(base, tmp_path / "adapter")
    settings = json.loads((made / "adapter_config.json").read_text())
    (made / "adapter_config.json").write_text(json.dumps({**settings, name: value}))
    with pytest.raises(UserError, match="no usable rank or alpha"):
        adapter.write(made, tmp_path / "adapter.gguf")


def test_another_base_is_refused(base: Path, exact_base: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="trained on other weights"):
        adapter.write(lora.write(base, tmp_path / "adapter"), tmp_path / "adapter.gguf", exact_base)


def test_a_weight_that_is_no_number_is_refused_and_leaves_nothing(base: Path, tmp_path: Path) -> None:
    made = lora.write(base, tmp_path / "adapter")
    tensors = load_file(made / "adapter_model.safetensors")
    name = next(name for name in tensors if "lora_B" in name)
    tensors[name][0, 0] = float("nan")
    save_file(tensors, made / "adapter_model.safetensors")
    with pytest.raises(UserError, match=r"lora_B.*no finite number"):
        adapter.write(made, tmp_path / "out" / "adapter.gguf")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("factor", "type"), [(1e7, Type.F32), (1e-6, Type.F32), (1e-2, Type.F16), (0.0, Type.F16)])
def test_what_half_precision_cannot_hold_is_written_in_float32(
    base: Path, tmp_path: Path, factor: float, type: Type
) -> None:
    made = lora.write(base, tmp_path / "adapter")
    tensors = load_file(made / "adapter_model.safetensors")
    name = "base_model.model.model.layers.0.self_attn.v_proj.lora_B.weight"
    tensors[name] *= factor
    save_file(tensors, made / "adapter_model.safetensors")
    found = {
        name: (type, data) for name, type, data in gguf.read(adapter.write(made, tmp_path / "adapter.gguf"), "adapter")
    }
    assert found["blk.0.attn_v.weight.lora_b"][0] == type
    assert found["blk.1.attn_v.weight.lora_b"][0] == Type.F16
    if type == Type.F32:
        assert np.array_equal(found["blk.0.attn_v.weight.lora_b"][1].view(np.float32), tensors[name].numpy())


def test_blocks_change_nothing(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = lora.write(base, tmp_path / "adapter")
    whole = [(name, data.tobytes()) for name, _, data in gguf.read(adapter.write(made, tmp_path / "a.gguf"), "adapter")]
    monkeypatch.setattr(weights, "_BLOCK", 700)
    assert whole == [
        (name, data.tobytes()) for name, _, data in gguf.read(adapter.write(made, tmp_path / "b.gguf"), "adapter")
    ]


# Verification


@pytest.fixture
def pair(tuned: Path, tmp_path: Path) -> tuple[Path, Path, Path]:
    """An adapter over a model with peaked distributions: its folder, its GGUF, and that of its base."""
    made = lora.write(tuned, tmp_path / "adapter", use_rslora=True, target_modules=ALL)
    return made, adapter.write(made, tmp_path / "adapter.gguf"), gguf.write(tuned, tmp_path / "base.gguf", "F16", 1)


def failed(found: verify.Verification) -> set[str]:
    return {check.name for check in found.checks if not check.passed}


def test_a_faithful_adapter_passes_its_verification(pair: tuple[Path, Path, Path], items: list[Example]) -> None:
    made, over, plain = pair
    found = verify.verify(plain, made, items, threads=1, adapter=over)
    assert found.passed, [(check.name, check.measured) for check in found.checks if not check.passed]
    assert {"adapter", "tensors", "log-probabilities", "greedy answers"} <= {check.name for check in found.checks}


def swap(tensors: Tensors) -> None:
    one, other = "blk.0.ffn_gate.weight.lora_b", "blk.0.ffn_up.weight.lora_b"
    tensors[one], tensors[other] = tensors[other], tensors[one]


def drop(tensors: Tensors) -> None:
    del tensors["blk.1.attn_q.weight.lora_a"], tensors["blk.1.attn_q.weight.lora_b"]


@pytest.mark.parametrize(("keys", "change"), [({"adapter.lora.alpha": 16.0}, None), ({}, swap), ({}, drop)])
def test_a_damaged_adapter_is_caught(
    pair: tuple[Path, Path, Path],
    items: list[Example],
    tmp_path: Path,
    keys: dict[str, Any],
    change: Callable[[Tensors], None] | None,
) -> None:
    made, over, plain = pair
    damaged = rewritten(over, tmp_path / "damaged.gguf", keys, change)
    found = failed(verify.verify(plain, made, items, threads=1, adapter=damaged))
    assert "adapter" in found
    if keys:
        assert "log-probabilities" in found
