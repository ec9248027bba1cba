"""The file: what is in it, what llama.cpp makes of it, and what is refused."""

import json
import resource
import shutil
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gguf as package
import numpy as np
import pytest
import torch
import xllamacpp
from gguf import GGMLQuantizationType as Type
from safetensors.torch import load_file, save_file

from radlite.chat import Prompt, Renderer, Turn
from radlite.errors import UserError
from radlite.export import gguf
from radlite.runtime import gguf as header
from radlite.runtime import layout, wheel
from radlite.tokenizer import Tokenizer

TURNS = [Turn("system", "Answer."), Turn("user", "Small left <|im_end|> pleural effusion, N2 — 3.5 cm\n\n «µ» 肺")]


@pytest.fixture
def copy(base: Path, tmp_path: Path) -> Path:
    return shutil.copytree(base, tmp_path / "model")


def edit(folder: Path, **changes: Any) -> Path:
    """Change config.json; None removes a key."""
    config = {**json.loads((folder / "config.json").read_text()), **changes}
    config = {name: value for name, value in config.items() if value is not None}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def change(folder: Path, alter: Callable[[dict[str, torch.Tensor]], object]) -> Path:
    """Change the weights."""
    tensors = load_file(folder / "model.safetensors")
    alter(tensors)
    save_file(tensors, folder / "model.safetensors")
    return folder


def test_the_file_says_what_llama_cpp_and_the_runtime_need(base: Path, tmp_path: Path) -> None:
    found = header.read(gguf.write(base, tmp_path / "model.gguf", threads=1))
    family = json.loads((base / "config.json").read_text())["model_type"]
    head_size = 64
    expected = {
        "general.architecture": family,
        "general.type": "model",
        "general.file_type": 1,
        f"{family}.block_count": 2,
        f"{family}.context_length": 1024,
        f"{family}.embedding_length": 256,
        f"{family}.feed_forward_length": 256,
        f"{family}.attention.head_count": 4,
        f"{family}.attention.head_count_kv": 2,
        f"{family}.attention.key_length": head_size,
        f"{family}.attention.value_length": head_size,
        f"{family}.rope.freq_base": 10_000.0,
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "qwen2",
        "tokenizer.ggml.add_bos_token": False,
    }
    assert {name: found.keys[name] for name in expected} == expected
    assert found.keys[f"{family}.attention.layer_norm_rms_epsilon"] == pytest.approx(1e-6)
    control = Tokenizer.from_folder(base).control
    assert found.keys["tokenizer.ggml.eos_token_id"] == control["<|im_end|>"]
    assert found.keys["tokenizer.ggml.padding_token_id"] == control["<|endoftext|>"]
    assert "general.quantization_version" not in found.keys


def test_the_vocabulary_is_filled_up_to_the_rows_of_the_model(base: Path, tmp_path: Path) -> None:
    keys = header.read(gguf.write(base, tmp_path / "model.gguf", threads=1)).keys
    size = json.loads((base / "config.json").read_text())["vocab_size"]
    tokens, types = keys["tokenizer.ggml.tokens"], keys["tokenizer.ggml.token_type"]
    used = Tokenizer.from_folder(base).size
    assert len(tokens) == len(set(tokens)) == len(types) == size > used
    assert tokens[used:] == [f"[PAD{number}]" for number in range(used, size)]
    assert set(types[used:]) == {package.TokenType.UNUSED}
    assert types[tokens.index("<|im_end|>")] == package.TokenType.CONTROL
    assert types[0] == package.TokenType.NORMAL
    assert all(len(merge.split(" ")) == 2 for merge in keys["tokenizer.ggml.merges"])


def test_the_template_the_tokenizer_and_the_manifest_travel_inside(base: Path, tmp_path: Path) -> None:
    found = header.read(gguf.write(base, tmp_path / "model.gguf", "Q4_K_M", threads=1))
    assert found.renderer().template == Renderer.from_folder(base).template
    assert found.keys["tokenizer.huggingface.json"] == (base / "tokenizer.json").read_text()
    made = found.manifest
    assert made and made["kind"] == "gguf" and made["quantization"] == "Q4_K_M"
    assert made["template_hash"] == Renderer.from_folder(base).hash
    assert str(base) not in json.dumps(made)


def test_the_prompt_has_the_same_ids_in_the_folder_in_the_file_and_in_llama_cpp(base: Path, tmp_path: Path) -> None:
    path = gguf.write(base, tmp_path / "model.gguf", "F32", threads=1)
    prompt = Renderer.from_folder(base).prompt(TURNS)
    assert header.read(path).renderer().prompt(TURNS) == prompt
    plain = [Turn("user", "Small left pleural effusion, N2, don't re-biopsy: 3.5 cm\n\n \tBI-RADS 4A — «µ» 肺")]
    prompt = Renderer.from_folder(base).prompt(plain)  # without control tokens in its text, which llama.cpp would obey
    server = xllamacpp.Server(wheel.parameters(path, 1024, 1, "127.0.0.1"))
    whole = f"root ::= <[{Tokenizer.from_folder(base).encode('.')[0]}]>"
    # Probabilities come with whole characters only; the grammar has one written after they are taken.
    question = {"max_tokens": 1, "n_probs": 5, "cache_prompt": False, "temperature": 0.0, "grammar": whole}
    answers = [server.handle_completions({"prompt": asked, **question}) for asked in (list(prompt.ids), prompt.text)]
    assert answers[1]["usage"]["prompt_tokens"] == len(prompt.ids)
    likely = [answer["choices"][0]["logprobs"]["content"][0]["top_logprobs"] for answer in answers]
    assert likely[0] == likely[1]


def test_probabilities_are_told_also_where_half_a_character_is_likeliest(base: Path, tmp_path: Path) -> None:
    """A random model often continues with the first byte of several, for which llama.cpp tells none by itself."""
    from radlite.runtime import hf

    source = hf.open_model(base, device="cpu")
    model = wheel.open_model(gguf.write(base, tmp_path / "model.gguf", "F32", threads=1), threads=1)
    tokens = json.loads(source.renderer.tokenizer.definition)["model"]["vocab"]
    first_bytes = {tokens[chr(byte)] for byte in range(0xC2, 0xF5)}  # byte-level BPE writes these as themselves
    met = 0
    begin = source.renderer.prompt([Turn("user", "Small left pleural effusion.")])
    for token in range(60, 140):
        prompt = Prompt((*begin.ids, token), begin.text)
        expected, found = (engine.next_log_probabilities(prompt, 448) for engine in (source, model))
        assert max(abs(expected[token] - found[token]) for token in expected) < 0.02
        met += next(iter(expected)) in first_bytes
    model.close()
    assert met


def test_vectors_stay_in_float32_and_tied_embeddings_are_written_once(base: Path, tmp_path: Path) -> None:
    found = {name: type for name, type, _ in gguf.read(gguf.write(base, tmp_path / "model.gguf", "F16", threads=1))}
    assert "output.weight" not in found
    assert {name.rsplit(".", 1)[1] for name in found} <= {"weight", "bias"}
    for name, type in found.items():
        vector = name.endswith(("_norm.weight", ".bias"))
        assert type == (Type.F32 if vector else Type.F16)
    family = "bias" if "qwen2" in (base / "config.json").read_text() else "attn_q_norm"
    assert any(family in name for name in found)


@pytest.mark.parametrize("kind", ["F16", "Q4_K_M"])
def test_an_untied_model_with_old_settings_is_written_and_runs(copy: Path, tmp_path: Path, kind: str) -> None:
    from radlite.runtime import hf

    edit(copy, tie_word_embeddings=False, rope_parameters=None, rope_theta=1e6)
    change(copy, lambda tensors: tensors.update({"lm_head.weight": tensors["model.embed_tokens.weight"].roll(1, 0)}))
    path = gguf.write(copy, tmp_path / "model.gguf", kind, threads=1)
    types = {name: type for name, type, _ in gguf.read(path)}
    assert types["output.weight"] == (Type.F16 if kind == "F16" else Type.Q6_K)
    assert types["token_embd.weight"] == (Type.F16 if kind == "F16" else Type.Q4_K)
    model, source = wheel.open_model(path, threads=1), hf.open_model(copy, device="cpu")
    prompt = source.renderer.prompt(TURNS)
    first, second = (engine.next_log_probabilities(prompt, 448) for engine in (source, model))
    model.close()
    assert max(abs(first[token] - second[token]) for token in first) < (0.02 if kind == "F16" else 0.5)


def test_an_output_matrix_that_repeats_tied_embeddings_is_left_out(copy: Path, tmp_path: Path) -> None:
    change(copy, lambda tensors: tensors.update({"lm_head.weight": tensors["model.embed_tokens.weight"].clone()}))
    names = {name for name, _, _ in gguf.read(gguf.write(copy, tmp_path / "model.gguf", threads=1))}
    assert "output.weight" not in names and "token_embd.weight" in names


@pytest.mark.parametrize("kind", layout.KINDS)
def test_threads_and_blocks_change_nothing(
    base: Path, tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from radlite.runtime import weights

    whole = {name: data.tobytes() for name, _, data in gguf.read(gguf.write(base, tmp_path / "a.gguf", kind, 1))}
    monkeypatch.setattr(weights, "_BLOCK", 7000)
    parts = {name: data.tobytes() for name, _, data in gguf.read(gguf.write(base, tmp_path / "b.gguf", kind, 3))}
    assert whole == parts


def test_memory_does_not_grow_with_a_tensor(copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from radlite.runtime import weights

    monkeypatch.setattr(weights, "_BLOCK", 1 << 18)
    rows = 60_000
    edit(copy, vocab_size=rows)
    change(copy, lambda tensors: tensors.update({"model.embed_tokens.weight": torch.ones(rows, 256).bfloat16()}))
    tracemalloc.start()
    gguf.write(copy, tmp_path / "model.gguf", "Q8_0", threads=1)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < rows * 256 * 4 / 2, "less than half the one tensor in float32"


@pytest.mark.parametrize("kind", ["F16", "Q4_K_M"])
def test_a_weight_that_is_not_finite_is_refused_by_its_name(copy: Path, tmp_path: Path, kind: str) -> None:
    change(copy, lambda tensors: tensors["model.layers.1.mlp.up_proj.weight"].view(-1)[77:78].fill_(float("inf")))
    with pytest.raises(UserError, match=r"layers\.1\.mlp\.up_proj\.weight"):
        gguf.write(copy, tmp_path / "out" / "model.gguf", kind, threads=1)
    assert not list((tmp_path / "out").iterdir())


def test_what_half_precision_cannot_hold_is_refused_and_bfloat16_holds_it(copy: Path, tmp_path: Path) -> None:
    change(copy, lambda tensors: tensors["model.layers.1.mlp.up_proj.weight"].view(-1)[77:78].fill_(7e4))
    with pytest.raises(UserError, match=r"layers\.1\.mlp\.up_proj\.weight .*BF16"):
        gguf.write(copy, tmp_path / "model.gguf", "F16", threads=1)
    assert gguf.write(copy, tmp_path / "model.gguf", "BF16", threads=1).exists()


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"architectures": ["LlamaForCausalLM"]}, "LlamaForCausalLM; only Qwen2"),
        ({"architectures": None}, "unnamed; only Qwen2"),
        ({"rope_parameters": {"rope_type": "yarn", "rope_theta": 1e6, "factor": 4.0}}, "rope_type"),
        ({"rope_parameters": None, "rope_theta": 1e6, "rope_scaling": {"type": "yarn"}}, "rope_type"),
        ({"rope_parameters": None}, "incomplete .*rope_theta"),
        ({"use_sliding_window": True}, "use_sliding_window"),
        ({"quantization_config": {"bits": 4}}, "quantization_config"),
        ({"hidden_size": None}, "incomplete"),
        ({"num_hidden_layers": 3}, "has no model.layers.2"),
        ({"num_hidden_layers": 1}, "has model.layers.1"),
        ({"intermediate_size": 512}, "config.json implies"),
        ({"tie_word_embeddings": False}, "has no lm_head"),
        ({"vocab_size": 300}, "300 rows|implies"),
    ],
)
def test_a_model_that_is_not_as_it_says_is_refused(
    copy: Path, tmp_path: Path, changes: dict[str, Any], complaint: str
) -> None:
    if changes.get("architectures", "") is None or "hidden_size" in changes:
        edit(copy, head_dim=None)
    with pytest.raises(UserError, match=complaint):
        gguf.write(edit(copy, **changes), tmp_path / "model.gguf", threads=1)
    assert not (tmp_path / "model.gguf").exists()


def cut(path: Path, keep: int) -> None:
    path.write_bytes(path.read_bytes()[:keep])


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: cut(folder / "model.safetensors", -100),
        lambda folder: cut(folder / "model.safetensors", 1000),
        lambda folder: cut(folder / "model.safetensors", 4),
        lambda folder: (folder / "model.safetensors").write_bytes(b"\xff" * 64),
        lambda folder: (folder / "model.safetensors").unlink(),
        lambda folder: (folder / "config.json").unlink(),
        lambda folder: (folder / "config.json").write_text("{"),
        lambda folder: (folder / "tokenizer.json").unlink(),
        lambda folder: (folder / "tokenizer_config.json").unlink(),
        lambda folder: shutil.copy(folder / "model.safetensors", folder / "model-2.safetensors"),
        lambda folder: change(folder, lambda tensors: tensors.update(extra=torch.ones(3))),
        lambda folder: change(folder, lambda tensors: tensors.pop("model.layers.0.self_attn.v_proj.weight")),
        lambda folder: change(folder, lambda tensors: tensors.update({"model.norm.weight": torch.ones(256).int()})),
    ],
)
def test_a_damaged_folder_is_refused_in_one_sentence(
    copy: Path, tmp_path: Path, damage: Callable[[Path], object]
) -> None:
    damage(copy)
    with pytest.raises(UserError) as error:
        gguf.write(copy, tmp_path / "model.gguf", threads=1)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "model.gguf").exists()


def test_another_tokenizer_is_refused(copy: Path, tmp_path: Path) -> None:
    text = (copy / "tokenizer.json").read_text()
    (copy / "tokenizer.json").write_text(text.replace(r"\\p{N}|", r"\\p{N}{1,3}|"))
    with pytest.raises(UserError, match="does not cut text"):
        gguf.write(copy, tmp_path / "model.gguf", threads=1)


def test_an_unknown_kind_is_refused_with_the_choice(base: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="Q4_K_M"):
        gguf.write(base, tmp_path / "model.gguf", "Q4_K_XXL")


@pytest.fixture
def small_disk() -> Iterator[None]:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_a_full_disk_leaves_the_earlier_file_as_it_was(base: Path, tmp_path: Path, small_disk: None) -> None:
    (tmp_path / "model.gguf").write_bytes(b"earlier")
    with pytest.raises(UserError, match="Cannot write"):
        gguf.write(base, tmp_path / "model.gguf", threads=1)
    assert [path.name for path in tmp_path.iterdir()] == ["model.gguf"]
    assert (tmp_path / "model.gguf").read_bytes() == b"earlier"


def test_the_real_vocabulary_is_found_again(shared: Path) -> None:
    """llama.cpp's own vocabulary file of Qwen2, through a tokenizer.json and back."""
    found = header.read(shared / "qwen" / "ggml-vocab-qwen2.gguf")
    real, folder_definition = found.keys, json.loads(found.tokenizer().definition)
    made = layout._vocabulary(shared, folder_definition, 151_936)
    count = len(real["tokenizer.ggml.tokens"])
    normal = [number for number, type in enumerate(real["tokenizer.ggml.token_type"]) if type != 5]
    assert count <= 151_936 and len(normal) > 151_000
    for number in normal:
        assert made["tokenizer.ggml.tokens"][number] == real["tokenizer.ggml.tokens"][number]
    assert made["tokenizer.ggml.merges"] == real["tokenizer.ggml.merges"]
    assert np.unique(made["tokenizer.ggml.tokens"]).size == 151_936
