"""A file that is no adapter for this model is told in one sentence before llama.cpp reads it."""

import dataclasses
import json
import shutil
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import ANY

import gguf as package
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from radlite.chat import Prompt, Renderer, Turn
from radlite.errors import UserError
from radlite.runtime import adapter, child, engine, gguf, memory
from radlite.runtime.model import Request
from tests.runtime import gguf_file
from tests.runtime.answers import answers

Change = Callable[[dict[str, Any], dict[str, "np.ndarray[Any, Any]"]], object]


def nothing(keys: dict[str, Any], tensors: dict[str, "np.ndarray[Any, Any]"]) -> None:
    pass


def write(path: Path, base: Path, change: Change = nothing) -> Path:
    """A random adapter of rank 4 on two matrices of each layer of the GGUF `base`, with keys and tensors changed."""
    header, chance = gguf.read(base), np.random.default_rng(0)
    tensors = {}
    for name, shape in header.tensors.items():
        if name.endswith(("attn_q.weight", "ffn_down.weight")):
            tensors[f"{name}.lora_a"] = chance.normal(0, 0.1, (4, shape[0])).astype(np.float16)
            tensors[f"{name}.lora_b"] = chance.normal(0, 0.1, (shape[1], 4)).astype(np.float16)
    keys = {
        "general.architecture": header.keys["general.architecture"], "general.type": "adapter",
        "adapter.type": "lora", "adapter.lora.alpha": np.float32(8),
        "radlite.manifest": json.dumps({"kind": "adapter gguf", "base": {"name": "tiny"}, "adapter": {}}),
    }  # fmt: skip
    change(keys, tensors)
    writer = package.GGUFWriter(path, keys.pop("general.architecture"))
    for name, value in keys.items():
        kinds = {str: "string", int: "uint32", np.float32: "float32", float: "float64", list: "array"}
        getattr(writer, f"add_{kinds[type(value)]}")(name, float(value) if isinstance(value, np.float32) else value)
    for name, data in tensors.items():
        writer.add_tensor(name, data)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.fixture(params=["native", "wheel"])
def name(request: pytest.FixtureRequest) -> str:
    if request.param == "native":
        pytest.importorskip("llama_cpp", reason="the native engine is compiled by `make native`")
    return str(request.param)


def prompt(model: Any) -> Prompt:
    found: Prompt = model.renderer.prompt([Turn("system", "You read reports."), Turn("user", "No effusion.")])
    return found


def test_an_adapter_changes_what_is_answered_in_either_engine_and_in_a_process_of_its_own(
    model_file: Path, tmp_path: Path, name: str
) -> None:
    over = write(tmp_path / "tuned.gguf", model_file)
    found = []
    for path in (None, over):
        model = engine.open_model(model_file, threads=1, engine=name, adapter=path)
        found.append(model.next_log_probabilities(prompt(model), 5))
        text = next(answers(model, [Request(prompt(model), 8)])).text
        model.close()
    assert max(abs(found[0].get(token, -99) - value) for token, value in found[1].items()) > 0.1
    assert model.name == f"{model_file.stem}+tuned"
    assert model.manifest["kind"] == "adapter gguf"
    apart = child.open_model(model_file, threads=1, engine=name, adapter=over)
    assert next(answers(apart, [Request(prompt(apart), 8)])).text == text
    assert (apart.name, apart.manifest) == (model.name, model.manifest)
    apart.close()


def drop_half(keys: dict[str, Any], tensors: dict[str, Any]) -> None:
    del tensors["blk.1.attn_q.weight.lora_a"]


def retarget(to: str) -> Change:
    def change(keys: dict[str, Any], tensors: dict[str, Any]) -> None:
        for part in ("lora_a", "lora_b"):
            tensors[f"{to}.{part}"] = tensors.pop(f"blk.1.attn_q.weight.{part}")

    return change


def put(**own: Any) -> Change:
    return lambda keys, tensors: keys.update({name.replace("__", "."): value for name, value in own.items()})


def shape(name: str, *rows_and_columns: int) -> Change:
    return lambda keys, tensors: tensors.update({name: np.zeros(rows_and_columns, np.float16)})


Q_A, Q_B = "blk.0.attn_q.weight.lora_a", "blk.0.attn_q.weight.lora_b"


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (put(general__type="model"), "no adapter"),
        (lambda keys, tensors: keys.pop("general.type"), "no adapter"),
        (put(adapter__type="control_vector"), "no LoRA adapter"),
        (lambda keys, tensors: keys.pop("adapter.type"), "no LoRA adapter"),
        (put(general__architecture="llama"), "for a llama"),
        (lambda keys, tensors: keys.pop("adapter.lora.alpha"), "scale"),
        (put(adapter__lora__alpha=8.0), "scale"),  # a 64-bit float, over which llama.cpp ends the process
        (put(adapter__lora__alpha="8"), "scale"),
        (put(adapter__lora__alpha=8), "scale"),
        (put(adapter__lora__alpha=np.float32("nan")), "scale"),
        (put(adapter__lora__alpha=np.float32("inf")), "scale"),
        (put(adapter__lora__alpha=np.float32(0)), "scale"),
        (put(general__alignment="32"), "scale|damaged"),
        (put(adapter__alora__invocation_tokens=[1, 2]), "plain LoRA"),
        (drop_half, "no whole pair"),
        (retarget("blk.9.attn_q.weight"), r"blk\.9"),
        (retarget("blk.1.attn_norm.weight"), r"attn_norm"),
        (retarget("token_embd.weight"), "token_embd"),
        (retarget("blk.1.attn_q.weight.lora_a"), "does not have"),
        (lambda keys, tensors: tensors.update({"blk.1.attn_norm.weight": np.ones(256, np.float32)}), "attn_norm"),
        (lambda keys, tensors: tensors.clear(), "changes nothing"),
        (shape(Q_A, 4, 128), "does not fit"),
        (shape(Q_B, 128, 4), "does not fit"),
        (shape(Q_B, 256, 8), "no whole pair"),
        (shape(Q_A, 256, 4), "does not fit"),
        (shape(Q_A, 1, 4, 256), "does not fit"),
        (lambda keys, tensors: tensors.update({Q_A: np.zeros((4, 256), np.float64)}), "does not fit"),
    ],
)
def test_what_is_no_adapter_for_this_model_gets_its_sentence(
    model_file: Path, tmp_path: Path, change: Change, complaint: str
) -> None:
    path = write(tmp_path / "a.gguf", model_file, change)
    with pytest.raises(UserError, match=complaint) as told:
        adapter.read(path, gguf.read(model_file))
    assert "\n" not in str(told.value) and "a.gguf" in str(told.value)
    with pytest.raises(UserError):
        child.open_model(model_file, threads=1, adapter=path)


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"",
        lambda content: content[:10],
        lambda content: content[:-100],
        lambda content: content[: len(content) // 2],
        lambda content: np.random.default_rng(0).bytes(len(content)),
        lambda content: b"GGUF" + np.random.default_rng(0).bytes(len(content)),
        lambda content: content[:8] + struct.pack("<Q", 1 << 62) + content[16:],
        lambda content: content[:16] + struct.pack("<Q", 1 << 62) + content[24:],
        lambda content: content[:24] + struct.pack("<Q", 1 << 62) + content[32:],
    ],
)
def test_a_damaged_file_is_refused_whatever_it_says_of_its_sizes(
    model_file: Path, tmp_path: Path, damage: Callable[[bytes], bytes]
) -> None:
    path = write(tmp_path / "a.gguf", model_file)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(UserError, match=r"a\.gguf"):
        adapter.read(path, gguf.read(model_file))


def test_weights_that_are_no_numbers_are_refused_by_the_adapters_name(
    model_file: Path, tmp_path: Path, name: str
) -> None:
    for value in (np.nan, np.inf):
        path = write(tmp_path / "a.gguf", model_file, lambda keys, tensors, value=value: tensors[Q_B].fill(value))
        with pytest.raises(UserError, match=r"with .*a\.gguf is damaged"):
            engine.open_model(model_file, threads=1, engine=name, adapter=path)


@given(data=st.data())
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_damaged_header_is_a_user_error_and_nothing_worse(
    model_file: Path, small: bytes, tmp_path: Path, data: st.DataObject
) -> None:
    content = bytearray(small)
    for place in data.draw(st.lists(st.integers(0, 2000), min_size=1, max_size=4)):
        content[place : place + 1] = data.draw(st.binary(min_size=1, max_size=8))
    (tmp_path / "a.gguf").write_bytes(content)
    try:
        found = adapter.read(tmp_path / "a.gguf", gguf.read(model_file))
    except UserError:
        return
    assert found.keys["adapter.type"] == "lora"


@pytest.fixture
def small(model_file: Path, tmp_path: Path) -> bytes:
    return write(tmp_path / "small.gguf", model_file).read_bytes()


def test_a_model_and_an_adapter_in_each_others_place_are_told(model_file: Path, tmp_path: Path) -> None:
    over = write(tmp_path / "a.gguf", model_file)
    with pytest.raises(UserError, match=r"is no adapter; give what radlite export --adapter-only wrote"):
        engine.open_model(model_file, adapter=model_file)
    for open_model in (engine.open_model, child.open_model):
        with pytest.raises(UserError, match=r"a\.gguf is an adapter, not a model; give it as --adapter"):
            open_model(over)


def test_other_weights_or_another_template_than_trained_on_are_refused_where_they_are_known(
    base: Path, tmp_path: Path
) -> None:
    template = Renderer.from_folder(base).hash

    def made(weights: str | None, template: str) -> Change:
        said = {"kind": "adapter gguf", "base": {"hash": weights}, "adapter": {"template_hash": template}}
        return lambda keys, tensors: keys.update({"radlite.manifest": json.dumps(said)})

    known = gguf_file.write(base, tmp_path / "m.gguf", {"radlite.manifest": '{"kind": "gguf", "weights_hash": "one"}'})
    unknown = gguf_file.write(base, tmp_path / "foreign.gguf")
    own = write(tmp_path / "own.gguf", known, made("one", template))
    other = write(tmp_path / "other.gguf", known, made("two", template))
    reworded = write(tmp_path / "reworded.gguf", known, made("one", "0" * 16))
    for path in (known, unknown):
        assert adapter.read(own, gguf.read(path)).manifest
        with pytest.raises(UserError, match="another chat template"):
            adapter.read(reworded, gguf.read(path))
    assert adapter.read(other, gguf.read(unknown)).manifest
    with pytest.raises(UserError, match=r"other weights .*radlite export BASE"):
        adapter.read(other, gguf.read(known))


@pytest.mark.parametrize("manifest", ["{", "[]", '{"base": 3, "adapter": "x"}', '{"base": {"hash": []}}'])
def test_a_manifest_that_says_nothing_of_use_is_as_none(model_file: Path, tmp_path: Path, manifest: str) -> None:
    path = write(tmp_path / "a.gguf", model_file, put(radlite__manifest=manifest))
    assert adapter.read(path, gguf.read(model_file)).path == path


def test_the_memory_of_an_adapter_is_reckoned(model_file: Path, tmp_path: Path) -> None:
    base = gguf.read(model_file)
    over = adapter.read(write(tmp_path / "a.gguf", model_file), base)
    size = sum(map(over.size, over.tensors))
    assert memory.needed(base, 512, adapter=over) - memory.needed(base, 512) == size > 10_000
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text("")
    (tmp_path / "proc/meminfo").write_text(f"MemTotal: 9999999 kB\nMemAvailable: {memory.needed(base, 512) >> 10} kB\n")
    with pytest.raises(UserError, match="needs"):
        memory.demand(base, 512, root=tmp_path, adapter=over)


@pytest.fixture
def own_file(model_file: Path, tmp_path: Path) -> Iterator[Path]:
    yield Path(shutil.copy(model_file, tmp_path / "model.gguf"))


def test_the_saved_state_of_the_system_prompt_is_another_with_an_adapter(own_file: Path, tmp_path: Path) -> None:
    pytest.importorskip("llama_cpp", reason="the native engine is compiled by `make native`")
    from radlite.runtime import native

    one, two = write(tmp_path / "one.gguf", own_file), write(tmp_path / "two.gguf", own_file)
    write(two, own_file, lambda keys, tensors: [tensor.__imul__(2) for tensor in tensors.values()])

    def opened(over: Path | None, after: float) -> list[Any]:
        model = native.open_model(own_file, threads=1, save_after=after, adapter=over)
        found = [dataclasses.replace(each, seconds=ANY) for each in answers(model, [Request(prompt(model), 8)])]
        found.append(model.next_log_probabilities(prompt(model), 3))
        model.close()
        return found

    alone = [opened(over, float("inf")) for over in (None, one, two)]
    assert alone[0] != alone[1] != alone[2]
    saved = [opened(over, 0) for over in (None, one, two)]  # writes
    assert saved == alone
    states = [path.with_name(f"{path.name}.prefix").read_bytes() for path in (own_file, one, two)]
    assert len({state[:32] for state in states}) == len({state[64:] for state in states}) == 3
    assert [opened(over, 0) for over in (None, one, two)] == alone  # reads
    one.with_name("one.gguf.prefix").write_bytes(states[0])  # of the model alone: not trusted
    assert opened(one, 0) == alone[1]
    assert one.with_name("one.gguf.prefix").read_bytes() == states[1]
