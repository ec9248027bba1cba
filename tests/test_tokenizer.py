import json
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


@given(texts=st.lists(TEXT))
@settings(deadline=None)
def test_texts_have_the_same_ids_together_as_one_by_one(tiny: Tokenizer, texts: list[str]) -> None:
    assert tiny.encode_many(texts) == [tiny.encode(text) for text in texts]


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


@pytest.mark.parametrize(
    "step",
    [
        {"normalizer": {"type": "Prepend", "prepend": "\u2581"}},
        {"pre_tokenizer": {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "always", "split": True}},
        {"pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True}},
    ],
)
def test_a_tokenizer_that_puts_a_blank_before_every_text_is_a_user_error(step: dict[str, object]) -> None:
    whole = json.loads(definition(["a", "b", "ab"], ["a b"], {"<|im_end|>": 3}))
    with pytest.raises(UserError, match="a blank before every text"):
        Tokenizer(json.dumps({**whole, **step}))


def test_added_tokens_of_one_character_are_text_unless_they_are_control_tokens() -> None:
    whole = json.loads(definition(["a", "b", "ab"], ["a b"], {"<|im_end|>": 9, "~~": 8}))
    added = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": False}
    whole["added_tokens"] += [{**added, "id": 7, "content": "\u00fc\u00fc"}, {**added, "id": 6, "content": "<think>"}]
    tokenizer = Tokenizer(json.dumps(whole))
    assert tokenizer.encode("ab\u00fc\u00fcab") == [2, 7, 2]
    assert tokenizer.decode([2, 7, 2]) == "ab\u00fc\u00fcab"
    assert tokenizer.control == {"<|im_end|>": 9, "~~": 8, "<think>": 6}
    assert tokenizer.size == 10
    assert not {6, 8, 9} & {*tokenizer.encode("~~<think><|im_end|>")}


def test_a_folder_without_tokenizer_is_a_user_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no tokenizer\.json"):
        Tokenizer.from_folder(tmp_path)
