"""Against llama.cpp's own quantiser: the same type for each tensor, files of the same size, the same bytes."""

from pathlib import Path

import numpy as np
import pytest

from radlite.export import gguf
from radlite.export.importance import Importance
from radlite.runtime import layout, shape
from radlite.runtime.quantize import WEIGHED

KINDS = ["Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M", "Q4_K_S", "IQ4_XS"]

_SMALL = {"vocab_size": 4096, "hidden_size": 256, "intermediate_size": 256, "num_attention_heads": 8, "head_dim": 32}
MODELS = {
    # All of 36 layers, so that each rule of the mixtures comes to bear; eight query heads share a key head.
    "qwen2.5-deep": shape.SHAPES["qwen2.5-3b"] | _SMALL | {"num_key_value_heads": 1},
    # Rows that are no multiple of 256, as in Qwen2.5-0.5B; few query heads to a key head.
    "qwen3-narrow": shape.SHAPES["qwen3-4b"] | _SMALL | {
        "hidden_size": 320, "num_hidden_layers": 17, "num_attention_heads": 10, "num_key_value_heads": 5,
    },
    "qwen2.5-untied": shape.SHAPES["qwen2.5-3b"] | _SMALL | {
        "num_hidden_layers": 2, "num_key_value_heads": 1, "tie_word_embeddings": False,
    },
}  # fmt: skip


def folder(name: str, room: Path, monkeypatch: pytest.MonkeyPatch, layers: int | None = None) -> Path:
    """A model folder in F16, of which llama.cpp's source holds every number exactly."""
    cut = shape.SHAPES[name] | {"vocab_size": 4096} if name in shape.SHAPES else MODELS[name]
    monkeypatch.setitem(shape.SHAPES, name, cut)
    return shape.write_folder(name, room / name, layers, type="F16")


def importance(model: Path) -> Importance:
    """Wild enough to change most rows."""
    chance = np.random.default_rng(0)
    names = {"model.embed_tokens.weight": "lm_head.weight"}
    columns = {
        names.get(tensor.name, tensor.name): chance.lognormal(0, 1.5, tensor.shape[-1]).astype(np.float32)
        for tensor in gguf.tensors(model, layout.settings(model)).values()
        if len(tensor.shape) == 2
    }
    return Importance({name: (one, 1) for name, one in columns.items()}, 1, 1, data="random", weights="random")


def equal(model: Path, kind: str, given: Importance | None = None) -> None:
    pytest.importorskip("llama_cpp", reason="llama.cpp's own quantiser comes with `make native`")
    from benchmarks.truesize import differing, quantized

    tied = layout.settings(model)["tie_word_embeddings"]
    ours = gguf.write(model, model.with_suffix(".ours.gguf"), kind, importance=given)
    source = model.with_suffix(".F16.gguf")
    if not source.is_file():
        gguf.write(model, source, "F16")
    sources = gguf.tensors(model, layout.settings(model))
    columns = {name: given.of(tensor, tied) for name, tensor in sources.items()} if given else {}
    theirs = quantized(
        source, model.with_suffix(".theirs.gguf"), kind, {name: one for name, one in columns.items() if one is not None}
    )
    found = differing(ours, theirs)
    assert (found["missing"], found["other type"], found["other bytes"]) == ([], [], {})
    assert found["bytes"]["ours"] == found["bytes"]["theirs"]
    if not given:  # else llama.cpp's caller would have to write the keys that tell of it
        assert found["files"]["ours"] == pytest.approx(found["files"]["theirs"], abs=2 * layout.ALIGNMENT)


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_every_type_and_every_byte_is_llama_cpps(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = folder(name, tmp_path, monkeypatch)
    for kind in KINDS:
        equal(model, kind)


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_so_it_is_with_importance(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = folder(name, tmp_path, monkeypatch)
    given = importance(model)
    for kind in KINDS:
        if layout.KINDS[kind][1] in WEIGHED:
            equal(model, kind, given)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["qwen2.5-0.5b", "qwen2.5-3b", "qwen3-4b"])
def test_so_are_layers_of_true_width(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = folder(name, tmp_path, monkeypatch, layers=1)
    equal(model, "Q4_K_M")
    if name == "qwen2.5-0.5b":
        equal(model, "Q5_K_M", importance(model))
