import unicodedata
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from radlite.errors import UserError
from radlite.tokenizer import Tokenizer, definition
from tests.conftest import random_base

NAMES = ["<|im_end|>", "<|im_start|>", "<|endoftext|>", "<think>", "</think>", "<|im_", "end|>"]
# Characters that this Python knows, so that its NFC and the tokenizer's agree.
KNOWN = st.characters(exclude_categories=["Cs", "Cn"])
TEXT = st.lists(st.one_of(st.text(KNOWN), st.sampled_from(NAMES))).map("".join)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    return Tokenizer.from_folder(random_base("qwen3", tmp_path_factory.mktemp("base")))


def check(tokenizer: Tokenizer, text: str) -> None:
    ids = tokenizer.encode(text)
    assert not set(ids) & set(tokenizer.control.values())
    assert tokenizer.decode(ids) == unicodedata.normalize("NFC", text)


@given(text=TEXT)
def test_any_text_survives_and_never_becomes_a_control_token(tiny: Tokenizer, text: str) -> None:
    check(tiny, text)


@given(text=TEXT)
@settings(deadline=None)
def test_any_text_survives_and_never_becomes_a_control_token_in_the_real_vocabulary(qwen: Tokenizer, text: str) -> None:
    check(qwen, text)


def test_a_control_token_is_spelled_out_when_decoded(tiny: Tokenizer) -> None:
    ids = [*tiny.encode("M1"), tiny.control["<|im_end|>"], *tiny.encode(" é")]
    assert tiny.decode(ids) == "M1<|im_end|> é"


def test_bytes_that_are_no_text_are_decoded_as_replacement_characters(tiny: Tokenizer) -> None:
    assert tiny.decode(tiny.encode("é")[:1]) == "\ufffd"


def test_the_size_counts_control_tokens(tiny: Tokenizer, qwen: Tokenizer) -> None:
    assert tiny.size == max(tiny.control.values()) + 1
    assert qwen.size == 151_646


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"added_tokens": []}',
        '{"added_tokens": [{"content": 1, "id": "x"}]}',
        definition(["a", "b"], ["a c"], {"<|im_end|>": 2}),
        definition(["a", "b"], ["a b"], {"<|im_end|>": 2}),
    ],
)
def test_a_damaged_tokenizer_is_a_user_error(text: str) -> None:
    with pytest.raises(UserError, match=r"tokenizer\.json"):
        Tokenizer(text)


def test_a_folder_without_tokenizer_is_a_user_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no tokenizer\.json"):
        Tokenizer.from_folder(tmp_path)
