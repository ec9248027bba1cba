import json
import math
from pathlib import Path

import gguf as package
import numpy as np
import pytest
from gguf import GGMLQuantizationType as Type

from radlite.chat import Renderer, Turn
from radlite.demo import base_folder
from radlite.errors import UserError
from radlite.runtime import gguf, layout, shape, wheel

PARAMETERS = {
    "qwen2.5-0.5b": 494_032_768,
    "qwen2.5-3b": 3_085_938_688,
    "qwen3-0.6b": 596_049_920,
    "qwen3-4b": 4_022_468_096,
}
"""As the models' safetensors on the hub say."""


@pytest.fixture(scope="module")
def cut(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One layer of Qwen3-0.6B: both types of Q4_K_M's mixture are in it."""
    return shape.write("qwen3-0.6b", tmp_path_factory.mktemp("shape") / "cut.gguf", layers=1)


def test_the_shapes_have_as_many_parameters_as_the_models() -> None:
    for name, config in shape.SHAPES.items():
        assert sum(math.prod(size) for _, size in layout.tensors(config).values()) == PARAMETERS[name]


def test_a_shape_opens_renders_and_computes_numbers(cut: Path) -> None:
    model = wheel.open_model(cut, context_tokens=256, threads=1)
    prompt = model.renderer.prompt([Turn("system", "Answer."), Turn("user", "Small pleural effusion.")])
    assert prompt.text.endswith("<think>\n\n</think>\n\n")
    found = model.next_log_probabilities(prompt, 1000)
    model.close()
    assert len(found) == 1000
    # Of 151,936 tokens some are likely, as in a trained model, and none is alone.
    assert -4 < max(found.values()) < -0.01 and min(found.values()) > -20
    assert len({round(value, 3) for value in found.values()}) > 100


def test_the_header_is_that_of_the_true_model_and_says_that_the_weights_are_random(cut: Path) -> None:
    header = gguf.read(cut)
    assert header.keys["general.architecture"] == "qwen3"
    assert header.context_tokens == 40_960
    assert (header.keys["qwen3.attention.key_length"], header.keys["qwen3.rope.freq_base"]) == (128, 1e6)
    assert len(header.keys["tokenizer.ggml.tokens"]) == header.tensors["token_embd.weight"][1] == 151_936
    assert "output.weight" not in header.tensors  # tied
    assert header.manifest is not None
    said = {key: header.manifest[key] for key in ("kind", "weights", "shape", "layers", "seed", "quantization")}
    assert said == {"kind": "gguf", "weights": "random", "shape": "qwen3-0.6b", "layers": 1, "seed": 0,
                    "quantization": "Q4_K_M"}  # fmt: skip


def test_the_plan_is_the_header_of_what_is_written(cut: Path) -> None:
    planned, written = shape.plan("qwen3-0.6b", cut, layers=1), gguf.read(cut)
    assert (planned.path, planned.tensors, planned.types) == (written.path, written.tensors, written.types)
    assert planned.keys.keys() == written.keys.keys() and planned.context_tokens == written.context_tokens


def test_tensors_have_the_types_of_the_exported_mixture(cut: Path) -> None:
    types = {name: Type(number).name for name, number in gguf.read(cut).types.items()}
    matrices = {name: type for name, type in types.items() if "norm" not in name}
    assert matrices == {
        "token_embd.weight": "Q6_K",
        **{f"blk.0.{part}.weight": "Q4_K" for part in ("attn_q", "attn_k", "attn_output", "ffn_gate", "ffn_up")},
        **{f"blk.0.{part}.weight": "Q6_K" for part in ("attn_v", "ffn_down")},
    }
    assert {type for name, type in types.items() if "norm" in name} == {"F32"}


def test_weights_depend_on_the_seed_alone(cut: Path, tmp_path: Path) -> None:
    def tail(path: Path) -> bytes:
        with path.open("rb") as file:
            file.seek(-(1 << 22), 2)
            return file.read()

    same, other = (shape.write("qwen3-0.6b", tmp_path / f"{seed}.gguf", layers=1, seed=seed) for seed in (0, 1))
    assert tail(same) == tail(cut) != tail(other)


@pytest.mark.slow
def test_a_vocabulary_of_choice_gives_tokenizer_and_template(shared: Path, tmp_path: Path) -> None:
    real = shared / "qwen" / "ggml-vocab-qwen2.gguf"
    found = gguf.read(shape.write("qwen2.5-0.5b", tmp_path / "m.gguf", layers=1, vocabulary=real)).renderer()
    assert found.tokenizer.encode("Hello world") == [9707, 1879]
    assert found.template == gguf.read(real).renderer().template
    folder = base_folder("tiny-qwen3")
    found = gguf.read(shape.write("qwen2.5-0.5b", tmp_path / "m.gguf", layers=1, vocabulary=folder)).renderer()
    assert found.template == Renderer.from_folder(folder).template


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "qwen2.5-7b"}, r"no shape called 'qwen2.5-7b'; choose from qwen2.5-0.5b"),
        ({"quantization": "Q2_K"}, "no kind of GGUF called 'Q2_K'"),
        ({"layers": 0}, "cannot be cut to 0"),
        ({"layers": 37}, "has 36 layers, so it cannot be cut to 37"),
        ({"vocabulary": Path("absent.gguf")}, r"absent.gguf"),
    ],
)
def test_what_there_is_not_is_a_user_error_and_leaves_nothing(
    tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        shape.write(**{"name": "qwen2.5-3b", "path": tmp_path / "m.gguf", **changes})  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("qwen2.5-0.5b", "Q4_K_M"),
        *(pytest.param("qwen2.5-0.5b", kind, marks=pytest.mark.slow) for kind in layout.KINDS if kind != "Q4_K_M"),
        *(pytest.param("qwen3-0.6b", kind, marks=pytest.mark.slow) for kind in layout.KINDS),
    ],
)
def test_random_matrices_keep_the_length_of_what_they_multiply(name: str, kind: str, tmp_path: Path) -> None:
    path = shape.write(name, tmp_path / "m.gguf", kind, layers=1)
    header = gguf.read(path)
    sizes = {tensor: -(-header.size(tensor) // 32) * 32 for tensor in header.tensors}  # with what aligns the next
    offset = path.stat().st_size - sum(sizes.values())
    for tensor, (columns, *rows) in header.tensors.items():
        if rows:
            type = Type(header.types[tensor])
            data = np.fromfile(path, np.uint8, layout.size(64, columns, type), offset=offset)
            values = package.dequantize(data.reshape(64, -1), type)
            spread = float(values.std())
            assert 0.6 < spread * columns**0.5 < 1.5, tensor
            # Numbers of -16 to 15 have a mean of half a step.
            assert abs(float(values.mean())) < 0.1 * spread, tensor
        offset += sizes[tensor]


@pytest.mark.slow
@pytest.mark.parametrize("name", shape.SHAPES)
def test_the_whole_of_every_shape_runs(name: str, tmp_path: Path) -> None:
    path = shape.write(name, tmp_path / "m.gguf")
    model = wheel.open_model(path, context_tokens=256)
    prompt = model.renderer.prompt([Turn("system", "Answer."), Turn("user", "Small pleural effusion.")])
    found = model.next_log_probabilities(prompt, 151_936)
    model.close()
    assert len(found) == 151_936
    assert -5 < max(found.values()) < 0 and min(found.values()) > -80


def test_a_folder_of_a_shape_comes_in_files_as_on_the_hub_and_loads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from radlite.export import gguf as export
    from radlite.runtime import hf

    small = {"vocab_size": 4096, "hidden_size": 256, "intermediate_size": 256, "num_attention_heads": 4}
    monkeypatch.setitem(shape.SHAPES, "qwen3-small", shape.SHAPES["qwen3-4b"] | small | {"num_key_value_heads": 2})
    monkeypatch.setattr(shape, "_SHARD", 3_000_000)
    folder = shape.write_folder("qwen3-small", tmp_path / "model", layers=2)
    names = sorted(path.name for path in folder.glob("*.safetensors"))
    assert names == ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
    index = json.loads((folder / "model.safetensors.index.json").read_text())
    config = layout.settings(folder)
    sources = export.tensors(folder, config)
    assert index["weight_map"] == {tensor.name: tensor.path.name for tensor in sources.values()}
    assert index["metadata"]["total_size"] == sum(tensor.bytes for tensor in sources.values())
    values = sources["blk.1.ffn_up.weight"].read()
    assert abs(values.std() * 16 - 1) < 0.02 and (sources["blk.1.ffn_norm.weight"].read() == 1).all()
    model = hf.open_model(folder, device="cpu")
    prompt = model.renderer.prompt([Turn("user", "Small pleural effusion.")])
    assert len(model.next_log_probabilities(prompt, 100)) == 100
    model.close()
    again = shape.write_folder("qwen3-small", tmp_path / "again", layers=2)
    assert [(again / name).read_bytes() for name in names] == [(folder / name).read_bytes() for name in names]
