"""The mean of adapters is the mean of what they add, as PEFT's own; only adapters of one model have one."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from radlite import manifest
from radlite.cli import app
from radlite.errors import UserError
from radlite.export.average import average
from radlite.export.merge import change, merge
from tests import lora

pytestmark = pytest.mark.parametrize("base", ["qwen3"], indirect=True)

Changes = dict[str, np.ndarray[Any, Any]]


def changes(adapter: Path) -> Changes:
    """What an adapter adds, by matrix."""
    found = change(adapter)
    return {name: found.scale * (b.read() @ a.read()) for name, (a, b) in found.pairs.items()}


def different(base: Path, folder: Path, seed: int, **own: Any) -> Path:
    """An adapter with weights of its own, A and B."""
    made = lora.write(base, folder, **own)
    tensors = load_file(made / "adapter_model.safetensors")
    generator = torch.Generator().manual_seed(seed)
    for tensor in tensors.values():
        tensor.normal_(0, 0.05, generator=generator)
    save_file(tensors, made / "adapter_model.safetensors")
    return made


@pytest.fixture(scope="module")
def three(base: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Adapters of different rank, scale and matrices."""
    room = tmp_path_factory.mktemp("three")
    return [
        different(base, room / "a", 1),
        different(base, room / "b", 2, r=8, use_rslora=True),
        different(base, room / "c", 3, target_modules=["q_proj", "up_proj"]),
    ]


def mean(adapters: list[Path], shares: list[float]) -> Changes:
    total: Changes = {}
    for adapter, share in zip(adapters, shares, strict=True):
        for name, value in changes(adapter).items():
            total[name] = total.get(name, 0) + share * value
    return total


def test_the_mean_of_products_is_exact_at_the_sum_of_ranks(three: list[Path], tmp_path: Path) -> None:
    made = average(three, tmp_path / "mean", [2, 1, 1])
    assert (made.rank, made.kept) == (16, 1.0)
    expected, found = mean(three, [0.5, 0.25, 0.25]), changes(tmp_path / "mean")
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=0, atol=1e-6 * np.abs(value).max())
    assert list(tmp_path.iterdir()) == [tmp_path / "mean"]


@pytest.mark.parametrize("rank", [None, 5])
def test_it_is_the_mean_that_peft_makes_and_peft_loads_it(base: Path, tmp_path: Path, rank: int | None) -> None:
    import peft

    pair = [different(base, tmp_path / name, seed) for seed, name in enumerate("ab")]
    out = tmp_path / "mean"
    made = average(pair, out, [3, 1], rank)
    model = peft.PeftModel.from_pretrained(
        transformers.AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32), str(pair[0]), adapter_name="a"
    )
    model.load_adapter(str(pair[1]), "b")
    kind = "cat" if rank is None else "svd"
    model.add_weighted_adapter(["a", "b"], [0.75, 0.25], "mean", kind, svd_rank=rank)
    model.load_adapter(str(out), "ours")
    norm = kept = 0.0
    for module in model.modules():
        if isinstance(module, peft.tuners.lora.Linear):
            theirs, ours = module.get_delta_weight("mean"), module.get_delta_weight("ours")
            torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5 * float(theirs.abs().max()))
            exact = 0.75 * module.get_delta_weight("a") + 0.25 * module.get_delta_weight("b")
            norm, kept = norm + float(exact.square().sum()), kept + float(ours.square().sum())
    assert made.kept == pytest.approx(kept / norm, abs=1e-5)
    assert made.kept == 1 if rank is None else 0.5 < made.kept < 0.95


def test_the_manifest_tells_what_was_averaged_and_the_mean_merges(
    base: Path, three: list[Path], tmp_path: Path
) -> None:
    average(three, tmp_path / "mean")
    made = manifest.read(tmp_path / "mean", "adapter")
    assert made["base_hash"] == manifest.weights_hash(base)
    assert [one["share"] for one in made["averaged"]] == pytest.approx([1 / 3] * 3)
    assert str(three[0].parent) not in json.dumps(made)
    merged = load_file(merge(tmp_path / "mean", tmp_path / "merged") / "model.safetensors")
    before = load_file(base / "model.safetensors")
    assert {name for name in merged if not torch.equal(merged[name], before[name])} == set(changes(tmp_path / "mean"))


def test_sources_are_told_once_and_rows_only_where_all_agree(base: Path, tmp_path: Path) -> None:
    def source(name: str, rows: int) -> dict[str, Any]:
        return {"source": name, "tier": "gold", "licence": "CC0-1.0", "rows": rows}

    first = lora.write(base, tmp_path / "a", facts={"sources": [source("x", 3), source("y", 5)], "corpus": "1"})
    second = lora.write(base, tmp_path / "b", facts={"sources": [source("x", 3), source("y", 6)], "corpus": "1"})
    average([first, second], tmp_path / "mean")
    made = manifest.read(tmp_path / "mean")
    assert [(one["source"], one["rows"]) for one in made["sources"]] == [("x", 3), ("y", None)]
    assert made["corpus"] == "1"


def changed(adapter: Path, out: Path, **facts: Any) -> Path:
    shutil.copytree(adapter, out)
    manifest.write(out, {**manifest.read(adapter), **facts})
    return out


def test_adapters_of_different_models_have_no_mean(base: Path, three: list[Path], tmp_path: Path) -> None:
    first = changed(three[0], tmp_path / "first", wording={"n_staging": "1"})
    for facts, said in (
        ({"base_hash": "other"}, "trained on another base"),
        ({"base_quantized": "Q4_K_M"}, "trained on another base"),
        ({"template_hash": "other"}, "another chat template"),
        ({"wording": {"n_staging": "2"}}, "other words for n_staging"),
    ):
        other = changed(three[0], tmp_path / next(iter(facts)), **facts)
        with pytest.raises(UserError, match=said):
            average([first, other], tmp_path / "mean")
    dora = lora.write(base, tmp_path / "dora", use_dora=True)
    with pytest.raises(UserError, match="DoRA adapter"):
        average([first, dora], tmp_path / "mean")
    cut = changed(three[0], tmp_path / "cut")
    tensors = load_file(cut / "adapter_model.safetensors")
    name = next(name for name in tensors if "lora_B" in name)
    save_file({**tensors, name: tensors[name][1:].contiguous()}, cut / "adapter_model.safetensors")
    with pytest.raises(UserError, match="does not fit the others"):
        average([first, cut], tmp_path / "mean")
    save_file({key: value for key, value in tensors.items() if key != name}, cut / "adapter_model.safetensors")
    with pytest.raises(UserError, match="is damaged at"):
        average([first, cut], tmp_path / "mean")
    save_file({**tensors, name: tensors[name] * torch.inf}, cut / "adapter_model.safetensors")
    with pytest.raises(UserError, match="no finite number"):
        average([first, cut], tmp_path / "mean")
    with pytest.raises(UserError, match="needed here"):
        average([first, changed(three[0], tmp_path / "merged", kind="merged")], tmp_path / "mean")
    assert not (tmp_path / "mean").exists()


def test_shares_ranks_and_places_that_make_no_sense_are_told(three: list[Path], tmp_path: Path) -> None:
    for given, said in (
        ((three[:1],), "two adapters or more"),
        ((three[:2], [1]), "2 adapters but 1 weights"),
        ((three[:2], [1, 0]), "above 0"),
        ((three[:2], [1, float("nan")]), "above 0"),
        ((three[:2], None, 13), "12 ranks together; give a --rank of 1 to 12"),
        ((three[:2], None, 0), "12 ranks together"),
    ):
        with pytest.raises(UserError, match=said):
            average(given[0], tmp_path / "mean", *given[1:])
    (tmp_path / "mine").mkdir()
    with pytest.raises(UserError, match="exists already"):
        average(three, tmp_path / "mine")
    assert list(tmp_path.iterdir()) == [tmp_path / "mine"]


def test_the_verb_says_what_was_kept(three: list[Path], tmp_path: Path) -> None:
    names = [str(folder) for folder in three]
    told = CliRunner().invoke(app, ["average", *names, "--out", str(tmp_path / "mean")], catch_exceptions=False)
    assert told.stdout == f"Adapter: {tmp_path / 'mean'}, rank 16, exact.\n"
    less = ["average", *names, "--out", str(tmp_path / "less"), "--rank", "4", "--weights", "2,1,1"]
    told = CliRunner().invoke(app, less, catch_exceptions=False)
    assert "rank 4, " in told.stdout and "% of the change's squared norm." in told.stdout
    with pytest.raises(UserError, match="Cannot read the weights"):
        CliRunner().invoke(app, [*less[:-1], "2;1"], catch_exceptions=False)
