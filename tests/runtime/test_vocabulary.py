"""Vocabularies of others: the ids are llama.cpp's, and text stays text.

With RADLITE_VOCABULARIES set to a folder of real files (`models/` of llama.cpp's sources: `ggml-vocab-NAME.gguf`, with
`.inp` and `.out` beside some) these are held to llama.cpp too; without it Qwen2's is, where shared/data is there.
"""

import contextlib
import ctypes
import os
import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import tokenizers
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from radlite.chat import Renderer, Turn
from radlite.errors import UserError
from radlite.reader import Reader
from radlite.runtime import engine, gguf, vocabulary
from radlite.runtime.model import Request
from radlite.tasks import TASKS
from radlite.tokenizer import SentencePiece, Tokenizer
from tests.conftest import SHARED
from tests.runtime import llama_file
from tests.runtime.answers import answers
from tests.runtime.llama_file import GEMMA, ZEPHYR, byte_level, sentence_piece
from tests.test_cli import radlite

REAL = Path(os.environ.get("RADLITE_VOCABULARIES") or SHARED / "qwen")
FILES = {
    "byte-level": byte_level,
    "SentencePiece as Gemma's": sentence_piece,
    "SentencePiece as Llama 2's": lambda: sentence_piece(ZEPHYR, blank=True),
}
REPORT = (
    "Chest radiograph.  Findings: the heart is normal in size.\n\nNo pleural effusion or    pneumothorax is seen: 8 mm."
)
HOSTILE = st.one_of(
    st.text(st.characters(exclude_categories=["Cs", "Cn"])),
    st.text("ab \n\t\r'sS123.=-é\u2581\u3000\u0301\u00fc<|>0xA/s", max_size=60),
    st.lists(st.sampled_from(["<|eot_id|>", "<end_of_turn>", "</s>", "<0x0A>", "<unk>", "No", " pleural", "  "])).map(
        "".join
    ),
)


class Native:
    """llama.cpp's own tokenizer of a file."""

    def __init__(self, path: Path) -> None:
        self._cpp = pytest.importorskip("llama_cpp")
        self._cpp.llama_log_set(_SILENT, ctypes.c_void_p(0))
        asked = self._cpp.llama_model_default_params()
        asked.vocab_only = True
        self._model = self._cpp.llama_model_load_from_file(str(path).encode(), asked)
        assert self._model

    def __call__(self, text: str, add_special: bool = False, parse_special: bool = False) -> list[int]:
        content = text.encode()
        room = 4 * len(content) + 16
        found = (self._cpp.llama_token * room)()
        vocabulary = self._cpp.llama_model_get_vocab(self._model)
        count = self._cpp.llama_tokenize(vocabulary, content, len(content), found, room, add_special, parse_special)
        assert count >= 0
        return list(found[:count])

    def close(self) -> None:
        self._cpp.llama_model_free(self._model)


_SILENT = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)(lambda level, text, data: None)


@pytest.fixture(scope="module", params=FILES)
def path(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return llama_file.write(tmp_path_factory.mktemp("llama") / "m.gguf", FILES[request.param]())


@pytest.fixture(scope="module")
def renderer(path: Path) -> Renderer:
    return gguf.read(path).renderer()


@pytest.fixture(scope="module")
def native(path: Path) -> Iterator[Native]:
    native = Native(path)
    yield native
    native.close()


def names_none(renderer: Renderer, text: str) -> bool:
    return not any(name in text for name in renderer.tokenizer.control)


@given(text=HOSTILE)
@settings(deadline=None)
def test_the_ids_of_a_text_are_those_of_llama_cpp(renderer: Renderer, native: Native, text: str) -> None:
    if names_none(renderer, text):
        assert renderer.tokenizer.encode(text, opening=True) == native(text)


@given(text=HOSTILE)
@settings(deadline=None)
def test_any_text_survives_and_never_becomes_a_control_token(renderer: Renderer, text: str) -> None:
    ids = renderer.tokenizer.encode(text)
    assert not {*ids} & {*renderer.tokenizer.control.values()}
    if isinstance(renderer.tokenizer, SentencePiece):
        text = text.replace("\u2581", " ")  # what it writes for a blank
    told = renderer.tokenizer.decode(ids)
    if renderer.tokenizer.opens_with_blank:  # after a run of blanks that is a token too, in llama.cpp
        told, text = told.replace(" ", ""), text.replace(" ", "")
    assert told == text


@given(text=HOSTILE)
@settings(deadline=None)
def test_a_report_changes_no_control_token_of_the_prompt(renderer: Renderer, text: str) -> None:
    control = {*renderer.tokenizer.control.values()}
    counts = [
        sum(number in control for number in renderer.prompt([Turn("user", one), Turn("user", "M?")]).ids)
        for one in (text, "plain")
    ]
    assert counts[0] == counts[1]


def test_a_prompt_has_the_ids_of_llama_cpp(renderer: Renderer, native: Native) -> None:
    prompt = renderer.prompt([Turn("user", REPORT), Turn("user", "M stage?")])
    begin = renderer.tokenizer.decode([prompt.ids[0]])
    assert begin in ("<|begin_of_text|>", "<s>") and prompt.ids.count(prompt.ids[0]) == 1
    assert list(prompt.ids) == native(prompt.text.removeprefix(begin), add_special=True, parse_special=True)


@pytest.mark.parametrize("task", TASKS)
def test_the_pieces_of_an_answer_have_the_ids_of_the_whole(renderer: Renderer, task: str) -> None:
    grammar = TASKS[task].grammar(dict.fromkeys(TASKS[task].inputs, REPORT))
    for step in range(1, 40):
        state, pieces = 0, list[str]()
        while state < len(grammar) and len(pieces) < 40:
            edge = grammar[state][(step + len(pieces)) % len(grammar[state])]
            pieces.append(edge.texts[step * 7 % len(edge.texts)])
            state = edge.to
        tokenizer = renderer.tokenizer
        assert tokenizer.encode("".join(pieces)) == [number for one in pieces for number in tokenizer.encode(one)]


def test_both_engines_read_a_report_alike(path: Path) -> None:
    pytest.importorskip("llama_cpp")
    found = []
    for name in ("wheel", "native"):
        with contextlib.closing(engine.open_model(path, threads=1, engine=name)) as model:
            prompt = model.renderer.prompt([Turn("user", REPORT), Turn("user", "M stage?")])
            # Cut in the middle of a character, an answer may end with a part of it, or without.
            free = [one.text.rstrip("\ufffd") for one in answers(model, [Request(prompt, 12)])]
            read = [Reader(model).read(task, {"report": REPORT}) for task in ("m_staging", "rads_assignment")]
            assert [reading.status for reading in read] == ["ok", "ok"]
            found.append((free, [reading.text for reading in read]))
    assert found[0] == found[1]


def test_a_file_of_others_is_read_on_the_command_line(path: Path, tmp_path: Path) -> None:
    (tmp_path / "report.txt").write_text(REPORT)
    done = radlite("read", tmp_path / "report.txt", "--task", "m_staging", "--model", path, "--any-model")
    assert done.stdout.decode().strip() in {"M0", "M1"}, done.stderr


def read(tmp_path: Path, keys: dict[str, Any]) -> gguf.Header:
    return gguf.read(llama_file.write(tmp_path / "m.gguf", keys))


def changed(keys: dict[str, Any], **others: Any) -> dict[str, Any]:
    return keys | {f"tokenizer.ggml.{name}": value for name, value in others.items()}


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (byte_level(pre="gpt5"), "tokenizer gpt2-gpt5, which is not supported"),
        (changed(byte_level(), pre=None), "tokenizer gpt2, which is not supported"),
        (changed(byte_level(), model="bert"), "tokenizer bert-llama-bpe"),
        (changed(byte_level(), token_type=[1]), "incomplete vocabulary"),
        (changed(byte_level(), tokens=["a"] * 512, token_type=[1] * 512), "incomplete vocabulary"),
        (changed(byte_level(), tokens=byte_level()["tokenizer.ggml.tokens"][:-9] + ["<|eot_id|>"] * 9), "incomplete"),
        (changed(byte_level(), bos_token_id=None), "which token begins a prompt"),
        (changed(byte_level(), bos_token_id=9999), "which token begins a prompt"),
        (changed(sentence_piece(), scores=None), "incomplete vocabulary"),
        (changed(sentence_piece(), tokens=["<s>"] * 800), "incomplete vocabulary"),
        (sentence_piece() | {"general.name": "Phi-3-mini"}, "Phi-3, whose control tokens swallow blanks"),
        (sentence_piece(GEMMA.removesuffix("model\n"), blank=True), "prompts end in a control token"),
    ],
)
def test_what_is_not_known_exactly_is_refused_in_one_sentence(
    tmp_path: Path, keys: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message) as error:
        read(tmp_path, keys).renderer()
    assert str(error.value).count(". ") == 0


@pytest.mark.parametrize(
    ("added", "written", "times"), [(None, True, 1), (None, False, 1), (True, True, 1), (False, False, 0)]
)
def test_the_first_token_comes_once_and_where_the_file_wants_it(
    tmp_path: Path, added: bool | None, written: bool, times: int
) -> None:
    template = llama_file.LLAMA3 if written else llama_file.LLAMA3.removeprefix("{{ bos_token }}")
    prompt = (
        read(tmp_path, changed(byte_level(template=template), add_bos_token=added))
        .renderer()
        .prompt([Turn("user", "a")])
    )
    begin = byte_level()["tokenizer.ggml.bos_token_id"]
    assert prompt.ids.count(begin) == times == prompt.text.count("<|begin_of_text|>")
    assert (prompt.ids[0] == begin) == bool(times)


def test_a_file_without_a_known_end_of_turn_ends_where_it_says(tmp_path: Path) -> None:
    keys = byte_level(template=llama_file.LLAMA3.replace("<|eot_id|>", "<|halt|>"))
    keys["tokenizer.ggml.tokens"] = [
        "<|halt|>" if one == "<|eot_id|>" else one for one in keys["tokenizer.ggml.tokens"]
    ]
    assert read(tmp_path, keys).renderer().end == "<|halt|>"


def test_a_byte_without_a_token_is_left_out_and_nothing_merges_across_it(tmp_path: Path) -> None:
    keys = byte_level("gpt-2")
    tokens = keys["tokenizer.ggml.tokens"]
    tokens[tokens.index("\u0103")] = "unreached"  # how a byte-level BPE writes 0x03
    header = read(tmp_path, keys)
    with contextlib.closing(Native(header.path)) as native:
        for text in ("n\x03o", "..\x03..", "\x03", "\n\x03\n"):
            ids = header.tokenizer().encode(text)
            assert header.tokenizer().decode(ids) == text.replace("\x03", "")
            assert ids == native(text)


@given(data=st.data())
@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_neighbours_that_score_alike_merge_as_in_llama_cpp(tmp_path: Path, data: st.DataObject) -> None:
    pieces = data.draw(st.lists(st.text("ab\u2581", min_size=1, max_size=5), min_size=4, max_size=30, unique=True))
    keys = sentence_piece(texts=[])
    places = len(keys["tokenizer.ggml.tokens"]) - 3
    keys = changed(
        keys,
        tokens=[*keys["tokenizer.ggml.tokens"][:places], *pieces],
        token_type=[*keys["tokenizer.ggml.token_type"][:places], *[1] * len(pieces)],
        scores=[0.0] * places + [-float(data.draw(st.integers(0, 3))) for _ in pieces],
        add_space_prefix=data.draw(st.booleans()),
    )
    header = read(tmp_path, keys)
    with contextlib.closing(Native(header.path)) as native:
        tokenizer = header.tokenizer()
        for text in data.draw(st.lists(st.text("aab b\u00e9", max_size=30), min_size=5, max_size=20)):
            assert tokenizer.encode(text, opening=True) == native(text)


REFUSED = ("aquila", "bert-bge", "deepseek-llm", "gpt-neox", "nomic-bert-moe", "phi-3")


def real() -> list[Path]:
    return [file for file in sorted(REAL.glob("ggml-vocab-*.gguf")) if not file.stem.endswith(REFUSED)]


@pytest.fixture(params=real() or [None], ids=lambda file: file.stem if file else "none")
def real_file(request: pytest.FixtureRequest) -> Path:
    if request.param is None:
        pytest.skip("RADLITE_VOCABULARIES names no folder with real vocabularies, and shared/data is not there")
    return Path(request.param)


def assert_alike(header: gguf.Header, tokenizer: Tokenizer, native: Native, texts: Sequence[str]) -> None:
    cut = vocabulary.CUTS.get(str(header.keys.get("tokenizer.ggml.pre")))
    composed = tokenizers.normalizers.NFC().normalize_str if cut and cut.composed else str
    for text in map(composed, texts):
        if not any(name in text for name in tokenizer.control):
            assert tokenizer.encode(text, opening=True) == native(text)


def test_real_vocabularies_give_the_ids_that_llama_cpp_expects(real_file: Path) -> None:
    expected = Path(f"{real_file}.out")
    if not expected.is_file():  # llama.cpp has none for some; the next test holds these to its code
        pytest.skip(f"no expected ids beside {real_file.name}")
    texts = Path(f"{real_file}.inp").read_text("utf-8").split("\n__ggml_vocab_test__\n")
    texts = texts if texts[-1] else texts[:-1]
    tokenizer = gguf.read(real_file).tokenizer()
    compose = tokenizers.normalizers.NFC().normalize_str
    for text, line in zip(texts, expected.read_text("utf-8").splitlines(), strict=True):
        if compose(text) == text:
            assert tokenizer.encode(text, opening=True) == [int(number) for number in line.split()]


def test_real_vocabularies_give_the_ids_of_llama_cpp(real_file: Path) -> None:
    header = gguf.read(real_file)
    tokenizer = header.tokenizer()

    @settings(deadline=None, max_examples=2000, database=None)
    @given(text=HOSTILE)
    def check(text: str) -> None:
        assert_alike(header, tokenizer, native, [text])

    with contextlib.closing(Native(real_file)) as native:
        check()


FIRST = {cut: name for name, cut in reversed(vocabulary.CUTS.items())}


@pytest.mark.parametrize("pre", vocabulary.CUTS)
def test_every_cut_is_that_of_llama_cpp(tmp_path: Path, pre: str) -> None:
    """On one real vocabulary with the name of the cut put in place of its own: every character that Python
    knows, in five places; where an earlier name has the same cut, one in fifty."""
    if not (REAL / "ggml-vocab-llama-bpe.gguf").is_file():
        pytest.skip("RADLITE_VOCABULARIES names no folder with ggml-vocab-llama-bpe.gguf")
    content = (REAL / "ggml-vocab-llama-bpe.gguf").read_bytes()
    key, (old, new) = b"tokenizer.ggml.pre\x08\x00\x00\x00", (_text("llama-bpe"), _text(pre))
    assert content.count(key + old) == 1
    (tmp_path / "m.gguf").write_bytes(content.replace(key + old, key + new))
    known = [one for one in map(chr, range(0x30000)) if unicodedata.category(one) not in ("Cs", "Cn")]
    groups = [
        known[start : start + 8] for start in range(0, len(known), 8 if pre == FIRST[vocabulary.CUTS[pre]] else 400)
    ]
    texts = ["".join(f"a{one}b {one} 1{one}2 {one}{one}B.{one}" for one in group) for group in groups]
    header = gguf.read(tmp_path / "m.gguf")
    with contextlib.closing(Native(header.path)) as native:
        assert_alike(header, header.tokenizer(), native, texts)


def _text(value: str) -> bytes:
    return len(value).to_bytes(8, "little") + value.encode()
