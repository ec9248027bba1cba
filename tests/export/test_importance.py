"""Importance: measured on a corpus's training rows, written into the file, of use where scales are searched."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import gguf as package
import numpy as np
import pytest
from gguf import GGMLQuantizationType as Type

from radlite.data import corpus
from radlite.errors import UserError
from radlite.evaluation.selection import sample
from radlite.export import gguf, verify
from radlite.export.importance import ROWS, Importance, load, lost, measure, save
from radlite.manifest import weights_hash
from radlite.reader import Reader
from radlite.runtime import gguf as header
from radlite.runtime import hf, layout, wheel
from radlite.runtime.quantize import encode
from radlite.runtime.weights import read
from radlite.tasks import Example
from tests import lora
from tests.conftest import random_base
from tests.export.test_gguf import change, edit
from tests.test_cli import complains, radlite
from tests.training.conftest import examples

KINDS = [kind for kind in layout.KINDS if kind not in ("F32", "F16", "BF16", "Q8_0")]


@pytest.fixture
def copy(base: Path, tmp_path: Path) -> Path:
    return shutil.copytree(base, tmp_path / "model")


@pytest.fixture(scope="module")
def rows() -> list[Example]:
    return examples(4)


@pytest.fixture(scope="module")
def found(base: Path, rows: list[Example]) -> Importance:
    return measure(base, rows)


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus with more training rows of its task than are measured on."""
    folder = tmp_path_factory.mktemp("corpus") / "of-the-hospital"
    corpus.write(folder, [one for one in examples(ROWS + 3) if one.task == "n_staging"], {})
    return folder


def test_it_is_measured_on_whole_conversations_as_training_renders_them(
    base: Path, rows: list[Example], found: Importance
) -> None:
    from radlite.training.batches import encode as encoded

    model = hf.open_model(base)
    samples, _ = encoded(rows, model.renderer, 1024)
    assert found.rows == len(rows)
    assert found.tokens == sum(len(sample.ids) for sample in samples.values())
    asked = [
        (sample.ids.tolist(), [0] * (len(sample.ids) - sample.targets) + [1] * sample.targets)
        for sample in samples.values()
    ]
    expected = model.squares(asked)
    assert expected.keys() == found.sums.keys()
    for name, (squares, count) in expected.items():
        np.testing.assert_array_equal(found.sums[name][0], squares)
        assert (
            found.sums[name][1]
            == count
            == (found.tokens if name != "lm_head.weight" else sum(sample.targets for sample in samples.values()))
        )
        np.testing.assert_allclose(found.columns[name], squares / count, rtol=1e-6)


def test_the_digest_is_of_the_rows_and_rows_beyond_the_context_are_left_out(base: Path, rows: list[Example]) -> None:
    long = replace(rows[1], inputs={"report": "nodes " * 3000})
    assert measure(base, [rows[0], long]).data == measure(base, rows[:1]).data
    assert measure(base, rows[1:2]).data != measure(base, rows[:1]).data
    with pytest.raises(UserError, match="No training row fits"):
        measure(base, [long])


@pytest.mark.parametrize("kind", KINDS)
def test_every_matrix_is_encoded_by_its_own_columns_and_tied_embeddings_by_those_of_the_output(
    base: Path, tmp_path: Path, found: Importance, kind: str
) -> None:
    path = gguf.write(base, tmp_path / "model.gguf", kind, threads=1, importance=found)
    sources = gguf.tensors(base, layout.settings(base))
    other = 0
    for name, type, data in gguf.read(path):
        values = sources[name].read()
        of = "lm_head.weight" if name == "token_embd.weight" else sources[name].name
        assert (data == encode(values, type, found.columns.get(of))).all(), name
        other += bool((data != encode(values, type)).any())
    assert other == 15, "seven matrices in each of two layers, and the embeddings"


def test_untied_embeddings_are_looked_up_and_have_no_importance(
    copy: Path, tmp_path: Path, rows: list[Example]
) -> None:
    edit(copy, tie_word_embeddings=False)
    change(copy, lambda tensors: tensors.update({"lm_head.weight": tensors["model.embed_tokens.weight"].roll(1, 0)}))
    found = measure(copy, rows)
    path = gguf.write(copy, tmp_path / "model.gguf", "Q4_K_M", threads=1, importance=found)
    data = {name: (type, data) for name, type, data in gguf.read(path)}
    sources = read(copy)
    embedded, put_out = (sources[f"{name}.weight"].read() for name in ("model.embed_tokens", "lm_head"))
    assert (data["token_embd.weight"][1] == encode(embedded, Type.Q4_K)).all()
    assert (data["output.weight"][1] == encode(put_out, Type.Q6_K, found.columns["lm_head.weight"])).all()


def test_the_file_says_what_it_was_measured_on_and_nothing_of_the_text(
    base: Path, tmp_path: Path, found: Importance
) -> None:
    keys = header.read(gguf.write(base, tmp_path / "model.gguf", "Q4_K_M", threads=1, importance=found))
    assert keys.keys["quantize.imatrix.dataset"] == "radlite corpus"
    assert keys.keys["quantize.imatrix.entries_count"] == len(found.columns) == 15
    assert keys.keys["quantize.imatrix.chunks_count"] == found.rows
    assert keys.manifest and keys.manifest["importance"] == {
        "rows": found.rows, "tokens": found.tokens, "data": found.data
    }  # fmt: skip
    plain = header.read(gguf.write(base, tmp_path / "plain.gguf", "Q4_K_M", threads=1))
    assert plain.manifest and "importance" not in plain.manifest
    assert not any(name.startswith("quantize.") for name in plain.keys)


@pytest.mark.parametrize("kind", ["F32", "F16", "BF16", "Q8_0"])
def test_it_is_refused_where_no_scale_is_searched(base: Path, tmp_path: Path, found: Importance, kind: str) -> None:
    with pytest.raises(UserError, match=f"{kind} has no use for importance"):
        gguf.write(base, tmp_path / "model.gguf", kind, importance=found)
    assert not list(tmp_path.iterdir())


def test_threads_and_blocks_change_nothing(
    base: Path, tmp_path: Path, found: Importance, monkeypatch: pytest.MonkeyPatch
) -> None:
    from radlite.runtime import weights

    first = gguf.write(base, tmp_path / "a.gguf", "Q4_K_M", 1, found)
    whole = {name: data.tobytes() for name, _, data in gguf.read(first)}
    monkeypatch.setattr(weights, "_BLOCK", 7000)
    second = gguf.write(base, tmp_path / "b.gguf", "Q4_K_M", 3, found)
    assert whole == {name: data.tobytes() for name, _, data in gguf.read(second)}


@pytest.mark.parametrize("engine", ["wheel", "native"])
def test_a_tuned_model_so_written_passes_verification_and_answers_in_both_engines(
    tuned: Path, items: list[Example], engine: str, tmp_path: Path
) -> None:
    found = measure(tuned, items)
    path = gguf.write(tuned, tmp_path / "model.gguf", "Q4_K_M", threads=1, importance=found)
    if engine == "wheel":
        verified = verify.verify(path, tuned, items, threads=1)
        assert verified.passed, [check for check in verified.checks if not check.passed]
        model = wheel.open_model(path, threads=1)
    else:
        pytest.importorskip("llama_cpp", reason="the native engine is compiled by `make native`")
        from radlite.runtime import native

        model = native.open_model(path, threads=1)
    answers = [reading.text for reading in Reader(model).read_many((one.task, one.inputs) for one in items)]
    model.close()
    right = sum(answer == one.answer for answer, one in zip(answers, items, strict=True))
    assert right >= len(items) - 1


def test_what_the_model_computes_is_nearer_with_importance(tuned: Path, items: list[Example], tmp_path: Path) -> None:
    """The error of a layer's output on average over inputs, for inputs whose columns do not depend on each other."""
    found, config = measure(tuned, items), layout.settings(tuned)
    files = [gguf.write(tuned, tmp_path / f"{given is None}.gguf", "Q4_K_M", 1, given) for given in (None, found)]
    plain, heeding, exact = (
        lost(path, tuned, config, found) for path in (*files, gguf.write(tuned, tmp_path / "exact.gguf", "F32", 1))
    )
    assert exact == 0
    assert 0 < heeding < 0.95 * plain < 0.01


def test_what_is_stored_is_the_same_when_read_and_llama_cpp_can_read_it(
    base: Path, tmp_path: Path, found: Importance
) -> None:
    """Its reader wants these keys, and for each matrix a sum and a count, which it divides."""
    config = layout.settings(base)
    path = save(found, tmp_path / "importance.gguf", config)
    again = load(path, base, config)
    assert (again.rows, again.tokens, again.data, again.weights) == (
        found.rows, found.tokens, found.data, weights_hash(base)
    )  # fmt: skip
    assert again.sums.keys() == found.sums.keys()
    for name, (total, count) in found.sums.items():
        assert (again.sums[name][0] == total).all() and again.sums[name][1] == count
    first, second = (gguf.write(base, tmp_path / f"{name}.gguf", "Q4_K_M", 1, one) for name, one in (
        ("measured", found), ("stored", again)
    ))  # fmt: skip
    whole = [[data.tobytes() for _, _, data in gguf.read(one)] for one in (first, second)]
    assert whole[0] == whole[1]
    reader = package.GGUFReader(path)
    keys = {name: field.contents() for name, field in reader.fields.items()}
    assert keys["general.type"] == "imatrix" and keys["imatrix.datasets"] == ["radlite corpus"]
    assert keys["imatrix.chunk_count"] == found.rows and keys["imatrix.chunk_size"] > 0
    stored = {tensor.name: tensor for tensor in reader.tensors}
    for name in ("blk.1.ffn_down.weight", "token_embd.weight"):
        total, count = stored[f"{name}.in_sum2"], stored[f"{name}.counts"]
        of = {"token_embd.weight": "lm_head.weight"}.get(name, "model.layers.1.mlp.down_proj.weight")
        np.testing.assert_array_equal(total.data[0] / count.data[0, 0], found.columns[of])


def test_what_is_stored_is_refused_for_other_weights_and_where_it_is_damaged(
    base: Path, copy: Path, tmp_path: Path, found: Importance
) -> None:
    config = layout.settings(base)
    path = save(found, tmp_path / "importance.gguf", config)
    change(copy, lambda tensors: tensors["model.norm.weight"].mul_(1.5))
    with pytest.raises(UserError, match="measured on other weights"):
        load(path, copy, config)
    with pytest.raises(UserError, match="is a model, not importance"):
        load(gguf.write(base, tmp_path / "model.gguf", "F16", 1), base, config)
    data = path.read_bytes()
    for part in (data[:-64], data[:100], b""):
        path.write_bytes(part)
        with pytest.raises(UserError):
            load(path, base, config)
    start = header.read(save(found, path, config)).starts["blk.0.attn_q.weight.in_sum2"]
    for number in (np.nan, -1.0):
        path.write_bytes(data[:start] + np.float32(number).tobytes() + data[start + 4 :])
        with pytest.raises(UserError, match="is damaged"):
            load(path, base, config)


def test_the_command_measures_on_the_training_rows_of_the_corpus(tables: Path, tmp_path: Path) -> None:
    adapter = lora.write(random_base("qwen3", tmp_path / "base"), tmp_path / "adapter", 0.05)
    out, kept = tmp_path / "model.gguf", tmp_path / "importance.gguf"
    given = ("export", adapter, "--merged", tmp_path / "merged", "--importance")
    done = radlite(*given, tables, "--keep-importance", kept, "--out", out)
    assert done.returncode == 0, done.stderr
    assert b"importance" not in done.stderr, "a bar is for a terminal"
    chosen = sample(corpus.read(tables, split="train"), ROWS)
    assert len(chosen) == ROWS
    expected = measure(tmp_path / "merged", chosen)
    made = header.read(out).manifest
    assert made and made["importance"] == {"rows": ROWS, "tokens": expected.tokens, "data": expected.data}
    assert "of-the-hospital" not in json.dumps(header.read(out).keys, default=str)
    [(type, data)] = [(type, data) for name, type, data in gguf.read(out) if name == "blk.0.attn_q.weight"]
    name = "model.layers.0.self_attn.q_proj.weight"
    assert (data == encode(read(tmp_path / "merged")[name].read(), type, expected.columns[name])).all()
    done = radlite(*given, kept, "--out", tmp_path / "again.gguf")
    assert done.returncode == 0, done.stderr
    assert [data.tobytes() for _, _, data in gguf.read(out)] == [
        data.tobytes() for _, _, data in gguf.read(tmp_path / "again.gguf")
    ]


def test_nonsense_gets_one_sentence_before_anything_is_computed(tables: Path, small: Path, tmp_path: Path) -> None:
    base = random_base("qwen3", tmp_path / "base")
    export = ("export", base, "--out", tmp_path / "model.gguf", "--importance")
    complains(radlite(*export, tables, "--quantize", "Q8_0"), "Q8_0 has no use for importance")
    complains(radlite(*export, tables, "--adapter-only"), "--importance")
    complains(radlite(*export, base), "is not a corpus")
    complains(radlite(*export, base / "config.json"), "holds no GGUF")
    complains(radlite(*export, base / "config.json", "--keep-importance", tmp_path / "kept"), "name that with")
    complains(radlite(*export, small), "no train split")
    edit(base, use_sliding_window=True)
    complains(radlite(*export, tables), "use_sliding_window")
    assert not (tmp_path / "model.gguf").exists()


@pytest.fixture
def small(tmp_path: Path) -> Path:
    corpus.write(tmp_path / "test-only", examples(2, "test"), {})
    return tmp_path / "test-only"
