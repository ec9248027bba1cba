import json
import os
import random
import struct
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from radlite.chat import Renderer
from radlite.errors import UserError
from radlite.runtime import gguf
from tests.runtime import gguf_file

TEXT = "Nodule of 8 mm\n\n(RUL);\t12.5 % é e\u0301 <|im_end|> 日本"


def test_the_header_tells_tokenizer_template_context_and_manifest(base: Path, model_file: Path) -> None:
    header, renderer = gguf.read(model_file), Renderer.from_folder(base)
    assert header.renderer().template == renderer.template
    assert header.tokenizer().definition == renderer.tokenizer.definition
    assert header.context_tokens == 1024
    assert header.manifest == {"kind": "gguf"}
    assert header.tensors["token_embd.weight"][0] == 256


def test_the_tokenizer_is_rebuilt_from_the_vocabulary_without_the_padding(base: Path, tmp_path: Path) -> None:
    path = gguf_file.write(base, tmp_path / "m.gguf", {"tokenizer.huggingface.json": None})
    rebuilt, original = gguf.read(path).tokenizer(), Renderer.from_folder(base).tokenizer
    assert rebuilt.control == original.control
    assert rebuilt.size == original.size
    assert rebuilt.encode(TEXT) == original.encode(TEXT)


def test_the_real_vocabulary_is_read_without_its_padding(shared: Path) -> None:
    tokenizer = gguf.read(shared / "qwen" / "ggml-vocab-qwen2.gguf").tokenizer()
    assert set(tokenizer.control) == {"<|endoftext|>", "<|im_start|>", "<|im_end|>"}
    assert tokenizer.encode("Hello world") == [9707, 1879]  # known from Qwen's own tokenizer


@pytest.mark.parametrize("manifest", [None, "{", "[]"])
def test_a_model_of_someone_else_has_no_manifest(base: Path, tmp_path: Path, manifest: str | None) -> None:
    path = gguf_file.write(base, tmp_path / "m.gguf", {"radlite.manifest": manifest})
    assert gguf.read(path).manifest is None


@pytest.mark.parametrize("content", [b"", b"GGUF", b"A report about a chest.\n" * 9, b"GGML" + bytes(99)])
def test_a_file_that_is_no_model_is_a_user_error(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "m.gguf").write_bytes(content)
    with pytest.raises(UserError, match="holds no GGUF"):
        gguf.read(tmp_path / "m.gguf")


def test_a_missing_file_a_folder_or_a_pipe_is_a_user_error(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.gguf")
    for path, why in (
        (tmp_path, "no regular file"),
        (tmp_path / "pipe.gguf", "no regular"),
        (tmp_path / "x", "Cannot"),
    ):
        with pytest.raises(UserError, match=why):
            gguf.read(path)


def test_an_unknown_version_is_a_user_error(tmp_path: Path) -> None:
    (tmp_path / "m.gguf").write_bytes(struct.pack("<4sIQQ", b"GGUF", 9, 0, 0))
    with pytest.raises(UserError, match="version 9"):
        gguf.read(tmp_path / "m.gguf")


def test_weights_cut_short_are_a_user_error_that_tells_the_sizes(model_file: Path, tmp_path: Path) -> None:
    content = model_file.read_bytes()
    (tmp_path / "m.gguf").write_bytes(content[:-100])
    with pytest.raises(UserError, match=rf"cut short \({len(content) - 100:,} of"):
        gguf.read(tmp_path / "m.gguf")


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("tokenizer.chat_template", None, "no chat template"),
        ("tokenizer.chat_template", "", "no chat template"),
        ("tokenizer.huggingface.json", "{}", "tokenizer.json"),
        ("general.architecture", "mamba", "context length"),
    ],
)
def test_a_model_that_lacks_what_a_reader_needs_is_a_user_error(
    base: Path, tmp_path: Path, key: str, value: str | None, message: str
) -> None:
    header = gguf.read(gguf_file.write(base, tmp_path / "m.gguf", {key: value}))
    with pytest.raises(UserError, match=message):
        header.renderer()
        _ = header.context_tokens


def test_a_tokenizer_that_is_not_known_is_a_user_error(base: Path, tmp_path: Path) -> None:
    path = gguf_file.write(base, tmp_path / "m.gguf", {"tokenizer.huggingface.json": None})
    content = path.read_bytes()
    key = b"tokenizer.ggml.pre" + struct.pack("<IQ", 8, 5) + b"qwen2"
    assert content.count(key) == 1
    path.write_bytes(content.replace(key, key.replace(b"qwen2", b"qwen9")))
    with pytest.raises(UserError, match=r"tokenizer gpt2-qwen9, which is not supported; .*other-models\.md"):
        gguf.read(path).tokenizer()


@given(data=st.data())
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_damaged_header_is_a_user_error_and_nothing_worse(small: bytes, tmp_path: Path, data: st.DataObject) -> None:
    content = bytearray(small)
    if data.draw(st.booleans()):
        del content[data.draw(st.integers(0, len(content) - 1)) :]
    for place in data.draw(st.lists(st.integers(0, len(content)), max_size=4)):
        content[place : place + 1] = data.draw(st.binary(min_size=1, max_size=8))
    path = tmp_path / "m.gguf"
    path.write_bytes(content)
    try:
        header = gguf.read(path)
        header.renderer()
        json.dumps(header.manifest)
        _ = header.context_tokens
    except UserError as error:
        assert str(error).count("m.gguf") <= 1


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The header of a GGUF with a vocabulary of a few tokens, and no tensors."""
    from gguf import GGUFWriter

    path = tmp_path_factory.mktemp("small") / "m.gguf"
    writer = GGUFWriter(path, "qwen2")
    writer.add_context_length(64)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(["a", "b", "ab", "<|im_end|>", "[PAD4]"])
    writer.add_token_types([1, 1, 1, 3, 5])
    writer.add_token_merges(["a b"])
    writer.add_chat_template("{% for m in messages %}{{ m.content }}<|im_end|>{% endfor %}")
    writer.add_float32("x.y", random.Random(0).random())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    writer.close()
    return path.read_bytes()
