"""Merging: the sum that PEFT makes, on the base trained on and no other."""

import json
import resource
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from radlite import manifest
from radlite.chat import Renderer
from radlite.errors import UserError
from radlite.export.merge import merge
from radlite.runtime import weights
from tests import lora

MakeAdapter = Callable[..., Path]


@pytest.fixture
def adapter(base: Path, tmp_path: Path) -> MakeAdapter:
    """Make an adapter folder with random weights, as training writes it."""

    def make(base: Path = base, name: str = "adapter", **settings: Any) -> Path:
        return lora.write(base, tmp_path / name, **settings)

    return make


def peft_merged(base: Path, adapter: Path) -> dict[str, torch.Tensor]:
    import peft

    model = transformers.AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    return dict(peft.PeftModel.from_pretrained(model, str(adapter)).merge_and_unload().state_dict())


@pytest.mark.parametrize("rslora", [False, True])
def test_the_merged_weights_are_those_of_peft_in_float32_rounded_once(
    base: Path, adapter: MakeAdapter, tmp_path: Path, rslora: bool
) -> None:
    made = adapter(use_rslora=rslora)
    merged = load_file(merge(made, tmp_path / "merged") / "model.safetensors")
    before, expected = load_file(base / "model.safetensors"), peft_merged(base, made)
    assert merged.keys() == before.keys()
    for name, tensor in merged.items():
        assert tensor.dtype == before[name].dtype == torch.bfloat16
        if any(target in name for target in ("q_proj.weight", "v_proj.weight", "down_proj.weight")):
            assert not torch.equal(tensor, before[name])
            torch.testing.assert_close(tensor.float(), expected[name], rtol=2**-8, atol=1e-8)
        else:
            assert torch.equal(tensor, before[name])


def test_the_merged_model_loads_and_speaks_as_base_and_adapter_do(
    base: Path, adapter: MakeAdapter, tmp_path: Path
) -> None:
    from radlite.chat import Turn
    from radlite.runtime import hf

    made = adapter()
    out = merge(made, tmp_path / "merged")
    models = [hf.open_model(base, made, device="cpu"), hf.open_model(out, device="cpu")]
    prompt = models[0].renderer.prompt([Turn("user", "Small pleural effusion.")])
    assert models[1].renderer.prompt([Turn("user", "Small pleural effusion.")]) == prompt
    first, second = (model.next_log_probabilities(prompt, 400) for model in models)
    assert max(abs(first[token] - second[token]) for token in first.keys() & second.keys()) < 0.02


def test_a_base_in_several_files_stays_so_and_the_sum_does_not_depend_on_blocks(
    base: Path, adapter: MakeAdapter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = load_file(merge(adapter(), tmp_path / "merged") / "model.safetensors")
    split = shutil.copytree(base, tmp_path / "split")
    (split / "model.safetensors").unlink()
    transformers.AutoModelForCausalLM.from_pretrained(base).save_pretrained(split, max_shard_size="500KB")
    made = adapter(split, "other")
    monkeypatch.setattr(weights, "_BLOCK", 1000)
    out = merge(made, tmp_path / "merged-split")
    found = {name: tensor for file in sorted(out.glob("*.safetensors")) for name, tensor in load_file(file).items()}
    assert {file.name for file in out.glob("*.safetensors")} == {file.name for file in split.glob("*.safetensors")}
    assert len(list(out.glob("*.safetensors"))) > 1
    assert found.keys() == whole.keys()
    for name, tensor in found.items():
        torch.testing.assert_close(tensor, whole[name], rtol=2**-8, atol=1e-8)


def test_the_manifest_says_what_was_merged_and_names_no_place_on_this_machine(
    base: Path, adapter: MakeAdapter, tmp_path: Path
) -> None:
    out = merge(adapter(), tmp_path / "merged")
    made = manifest.read(out, "merged")
    assert made["base"] == {"name": base.name, "hash": manifest.weights_hash(base)}
    assert made["adapter"]["recipe"] == {"rank": 4} and made["scale"] == 4.0
    assert str(tmp_path) not in json.dumps(made) and str(base) not in json.dumps(made)
    assert Renderer.from_folder(out).template == Renderer.from_folder(base).template


def test_another_base_is_refused(base: Path, adapter: MakeAdapter, tmp_path: Path) -> None:
    other = shutil.copytree(base, tmp_path / "other")
    tensors = load_file(other / "model.safetensors")
    tensors["model.norm.weight"][0] += 1
    save_file(tensors, other / "model.safetensors")
    with pytest.raises(UserError, match="trained on other weights"):
        merge(adapter(), tmp_path / "merged", other)
    assert not (tmp_path / "merged").exists()


def test_another_chat_template_is_refused(base: Path, adapter: MakeAdapter, tmp_path: Path) -> None:
    other = shutil.copytree(base, tmp_path / "other")
    (other / "chat_template.jinja").write_text(Renderer.from_folder(base).template + " ")
    with pytest.raises(UserError, match="another chat template"):
        merge(adapter(), tmp_path / "merged", other)


@pytest.mark.filterwarnings("ignore::UserWarning")  # PEFT has doubts about these too
@pytest.mark.parametrize("settings", lora.REFUSED, ids=lambda settings: next(iter(settings)))
def test_what_a_plain_merge_cannot_express_is_refused_by_name(
    adapter: MakeAdapter, tmp_path: Path, settings: dict[str, Any]
) -> None:
    with pytest.raises(UserError, match=next(iter(settings)) if "init" not in str(settings) else "pissa"):
        merge(adapter(**settings), tmp_path / "merged")


def test_a_method_from_the_future_is_refused(adapter: MakeAdapter, tmp_path: Path) -> None:
    made = adapter()
    settings = json.loads((made / "adapter_config.json").read_text())
    (made / "adapter_config.json").write_text(json.dumps({**settings, "use_better_lora": {"power": 9}}))
    with pytest.raises(UserError, match="use_better_lora"):
        merge(made, tmp_path / "merged")


@pytest.mark.filterwarnings("ignore:Model has `tie_word_embeddings")
def test_an_adapter_on_embeddings_or_of_another_size_is_refused(adapter: MakeAdapter, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="embed_tokens"):
        merge(adapter(target_modules=["embed_tokens"]), tmp_path / "merged")
    made = adapter(name="resized")
    tensors = load_file(made / "adapter_model.safetensors")
    save_file({name: tensor[:3].contiguous() for name, tensor in tensors.items()}, made / "adapter_model.safetensors")
    with pytest.raises(UserError, match="does not fit model"):
        merge(made, tmp_path / "merged")


def test_an_adapter_that_diverged_in_training_is_refused_by_tensor(adapter: MakeAdapter, tmp_path: Path) -> None:
    made = adapter()
    tensors = load_file(made / "adapter_model.safetensors")
    name = next(name for name in tensors if "lora_B" in name)
    tensors[name][0, 0] = float("nan")
    save_file(tensors, made / "adapter_model.safetensors")
    with pytest.raises(UserError, match=r"lora_B.*no finite number"):
        merge(made, tmp_path / "merged")
    assert [path.name for path in tmp_path.iterdir()] == ["adapter"]


def test_only_an_earlier_merge_is_replaced(base: Path, adapter: MakeAdapter, tmp_path: Path) -> None:
    made, out = adapter(), tmp_path / "merged"
    merge(made, out)
    (out / "model.safetensors").write_bytes(b"old")
    assert weights.read(merge(made, out))
    for place in (base, made):
        with pytest.raises(UserError, match="what the merge is made from"):
            merge(made, place)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("three years of work")
    with pytest.raises(UserError):
        merge(made, tmp_path / "mine")
    assert (tmp_path / "mine" / "thesis.txt").exists()


@pytest.fixture
def small_disk() -> Iterator[None]:
    """Files may not grow beyond 100 kB, which a write sees as it sees a full disk."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_a_full_disk_leaves_nothing_behind(
    adapter: MakeAdapter, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    made = adapter()
    request.getfixturevalue("small_disk")
    with pytest.raises(UserError, match="Cannot write"):
        merge(made, tmp_path / "merged")
    assert [path.name for path in tmp_path.iterdir()] == ["adapter"]


def test_bfloat16_is_rounded_as_torch_rounds_it() -> None:
    values = np.random.default_rng(0).normal(size=(64, 64)).astype(np.float32)
    values[0, :3] = 1 + 2**-8, 1 + 3 * 2**-8, 1e-42
    expected = torch.from_numpy(values).bfloat16().view(torch.int16).numpy().tobytes()
    assert weights.stored(values, "BF16") == expected
