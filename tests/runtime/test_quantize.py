"""Encoders within the bounds that verify holds files to, and llama.cpp's mixtures of types."""

import numpy as np
import pytest
from gguf import GGMLQuantizationType as Type
from hypothesis import given, settings
from hypothesis import strategies as st

from radlite.errors import UserError
from radlite.runtime import quantize
from radlite.runtime.layout import size, tensor_type
from radlite.runtime.quantize import LOSS, decode, encode, excess


@pytest.mark.parametrize("type", LOSS, ids=lambda type: type.name)
def test_every_type_stays_within_its_bound_on_ordinary_and_on_hostile_rows(type: Type) -> None:
    generator = np.random.default_rng(0)
    rows = generator.normal(0, 0.02, (64, 1024))
    rows[8:16] = generator.standard_t(2, (8, 1024)) * 0.02
    rows[16:24, 7] = 2  # an outlier
    rows[24:32] = np.abs(rows[24:32]) + 0.1
    rows[32:40] *= 1e-5
    rows[40] = 0
    rows[41:48, ::33] = -1
    rows[48:56] *= generator.lognormal(0, 2, (8, 1024))
    values = rows.astype(np.float32)
    data = encode(values, type)
    assert data.shape == (64, size(1, 1024, type))
    assert excess(values, decode(data, type), type) <= 1


@settings(deadline=None, max_examples=60)
@given(
    st.sampled_from([Type.Q4_K, Type.Q5_K, Type.Q6_K, Type.Q8_0, Type.IQ4_XS, Type.F16]),
    st.integers(0, 2**32 - 1),
    st.floats(-8, 3),
    st.floats(0, 2),
)
def test_no_scale_and_no_spread_leaves_the_bound(type: Type, seed: int, scale: float, spread: float) -> None:
    generator = np.random.default_rng(seed)
    values = generator.normal(size=(2, 512)) * 10**scale * generator.lognormal(0, spread, (2, 512))
    values = np.clip(values, -60000, 60000).astype(np.float32)
    assert excess(values, decode(encode(values, type), type), type) <= 1


@pytest.mark.parametrize("type", LOSS, ids=lambda type: type.name)
def test_one_wrong_row_is_seen(type: Type) -> None:
    values = np.random.default_rng(0).normal(0, 0.02, (512, 1024)).astype(np.float32)
    decoded = decode(encode(values, type), type)
    for damage in (
        lambda row: -row,
        np.zeros_like,
        lambda row: row[::-1],
        lambda row: row * 2,
        lambda row: row * np.nan,
    ):
        wrong = decoded.copy()
        wrong[300] = damage(wrong[300])
        assert excess(values, wrong, type) > 1


@pytest.mark.parametrize("type", [Type.Q8_0, Type.Q5_0, Type.Q5_1])
def test_llama_cpp_and_the_gguf_package_encode_alike(type: Type) -> None:
    values = np.random.default_rng(0).normal(0, 0.02, (16, 1024)).astype(np.float32)
    theirs = decode(quantize._encoder(type)(values), type)
    np.testing.assert_allclose(theirs, decode(encode(values, type), type), atol=2e-5)


_HEEDING = sorted(quantize.WEIGHED)


def wild(columns: int, seed: int = 0, spread: float = 1.5) -> np.ndarray:
    return np.random.default_rng(seed).lognormal(0, spread, columns).astype(np.float32)


@pytest.mark.parametrize("type", _HEEDING, ids=lambda type: type.name)
def test_importance_lowers_the_error_where_it_counts_and_keeps_the_bound(type: Type) -> None:
    values = np.random.default_rng(1).normal(0, 0.02, (64, 1024)).astype(np.float32)
    importance = wild(1024)
    plain, heeding = (decode(encode(values, type, given), type) for given in (None, importance))
    lost = [float((importance * (decoded - values) ** 2).sum(dtype=np.float64)) for decoded in (plain, heeding)]
    assert lost[1] < 0.95 * lost[0]
    assert excess(values, heeding, type) <= 1


@pytest.mark.parametrize("type", sorted(set(LOSS) - quantize.WEIGHED), ids=lambda type: type.name)
def test_types_that_search_no_scale_are_the_same_with_importance(type: Type) -> None:
    values = np.random.default_rng(1).normal(0, 0.02, (4, 512)).astype(np.float32)
    assert (encode(values, type, wild(512)) == encode(values, type)).all()


@pytest.mark.parametrize("type", _HEEDING, ids=lambda type: type.name)
@pytest.mark.parametrize("scale", [1e-20, 1.0, 1e20])
def test_columns_without_input_and_wild_importance_break_no_row(type: Type, scale: float) -> None:
    values = np.random.default_rng(1).normal(0, 0.02, (16, 1024)).astype(np.float32)
    values[8:, 100] = 1
    values[12] *= 1e-4
    values[15] = 0
    none, single, blocks, peaks = wild(1024), np.zeros(1024, np.float32), wild(1024), wild(1024, spread=0.1)
    none[::3] = 0
    single[77] = 1
    blocks[256:512] = 0
    blocks[608:640] = 0
    peaks[[5, 300]] = 1e12
    for importance in (none, single, blocks, peaks):
        decoded = decode(encode(values, type, importance * np.float32(scale)), type)
        assert excess(values, decoded, type) <= 1
        assert (np.linalg.norm(decoded[:12, 256:512], axis=1) > 0).all(), "a block without input is no block of zeros"


@pytest.mark.parametrize("type", _HEEDING, ids=lambda type: type.name)
def test_importance_counts_by_its_shares_and_none_at_all_is_as_not_given(type: Type) -> None:
    values = np.random.default_rng(1).normal(0, 0.02, (4, 512)).astype(np.float32)
    importance = wild(512)
    assert (encode(values, type, importance) == encode(values, type, importance * np.float32(2**20))).all()
    assert (encode(values, type, np.zeros(512, np.float32)) == encode(values, type)).all()


def test_a_row_that_importance_would_spoil_is_encoded_without() -> None:
    """One column of each block counts, and is worth 0.6 of a step: made a whole one, it would clip the others."""
    values = np.random.default_rng(1).uniform(-1, 1, (8, 256)).astype(np.float32)
    values[:, 1::16] = 1
    values[:4, ::16] = 0.6 / 32
    importance = np.full(256, 1e-6, np.float32)
    importance[::16] = 1
    spoiled = decode(quantize._encoder(Type.Q6_K)(values, importance), Type.Q6_K)
    assert excess(values[:4], spoiled[:4], Type.Q6_K) > 1
    found = encode(values, Type.Q6_K, importance)
    assert (found[:4] == encode(values[:4], Type.Q6_K)).all()
    assert excess(values, decode(found, Type.Q6_K), Type.Q6_K) <= 1


@pytest.mark.parametrize("columns", [255, 257, 0])
def test_importance_of_another_number_of_columns_is_never_read(columns: int) -> None:
    with pytest.raises(ValueError, match="256 columns"):
        encode(np.zeros((2, 256), np.float32), Type.Q4_K, np.ones(columns, np.float32))


def test_a_library_without_encoder_is_named_with_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    import json

    quantize._encoder.cache_clear()
    monkeypatch.setattr(quantize.importlib, "import_module", lambda name: json)
    with pytest.raises(UserError, match=r"cannot encode Q4_K; export as Q8_0"):
        encode(np.zeros((1, 256), np.float32), Type.Q4_K)


def types(kind: str, layers: int = 36, group: int = 8, tied: bool = True, columns: int = 2048) -> dict[str, Type]:
    names = ["token_embd.weight", "output.weight", "output_norm.weight"]
    parts = ("attn_v.weight", "attn_v.bias", "attn_k.weight", "attn_q_norm.weight", "ffn_down.weight", "ffn_up.weight")
    names += [f"blk.{layer}.{part}" for layer in range(layers) for part in parts]
    return {name: tensor_type(name, columns, kind, layers, group, tied) for name in names}


def test_q4_k_m_of_36_layers_is_the_mixture_of_llama_cpp() -> None:
    found = types("Q4_K_M")
    more = {0, 1, 2, 3, 6, 9, 12, 15, 18, 21, 24, 27, 30, 31, 32, 33, 34, 35}
    for layer in range(36):
        for part in ("attn_v", "ffn_down"):
            assert found[f"blk.{layer}.{part}.weight"] == (Type.Q6_K if layer in more else Type.Q4_K)
        assert found[f"blk.{layer}.attn_k.weight"] == found[f"blk.{layer}.ffn_up.weight"] == Type.Q4_K
        assert found[f"blk.{layer}.attn_v.bias"] == found[f"blk.{layer}.attn_q_norm.weight"] == Type.F32
    assert found["token_embd.weight"] == found["output.weight"] == Type.Q6_K
    assert found["output_norm.weight"] == Type.F32


def test_untied_embeddings_get_no_extra_bits() -> None:
    found = types("Q4_K_M", tied=False)
    assert (found["token_embd.weight"], found["output.weight"]) == (Type.Q4_K, Type.Q6_K)


def test_the_other_mixtures_are_those_of_llama_cpp() -> None:
    assert {types("Q8_0")[name] for name in ("token_embd.weight", "blk.0.ffn_down.weight")} == {Type.Q8_0}
    assert {types("Q6_K")[name] for name in ("token_embd.weight", "blk.0.ffn_down.weight")} == {Type.Q6_K}
    assert types("Q5_K_M")["blk.5.ffn_down.weight"] == Type.Q5_K
    small = types("Q4_K_S")
    assert [small[f"blk.{layer}.attn_v.weight"] for layer in (3, 4)] == [Type.Q5_K, Type.Q4_K]
    assert [small[f"blk.{layer}.ffn_down.weight"] for layer in (3, 4, 35)] == [Type.Q5_K, Type.Q4_K, Type.Q4_K]
    assert types("IQ4_XS", group=2)["blk.9.attn_v.weight"] == Type.IQ4_XS
    assert types("IQ4_XS", group=4)["blk.9.attn_v.weight"] == Type.Q5_K


def test_rows_that_no_block_of_256_fits_fall_back_as_in_llama_cpp() -> None:
    narrow = types("Q4_K_M", columns=896)
    assert narrow["token_embd.weight"] == Type.Q8_0
    assert narrow["blk.0.ffn_down.weight"] == Type.Q8_0
    assert narrow["blk.0.ffn_up.weight"] == Type.Q5_0
    assert types("Q5_K_M", columns=896)["blk.0.ffn_up.weight"] == Type.Q5_1
    assert types("IQ4_XS", columns=896)["blk.0.ffn_up.weight"] == Type.IQ4_NL
    assert types("Q4_K_M", columns=100)["blk.0.ffn_up.weight"] == Type.F16


def test_iq4_xs_gives_the_first_layers_no_more_bits_where_importance_chooses() -> None:
    name = "blk.0.ffn_down.weight"
    found = [tensor_type(name, 2048, "IQ4_XS", 36, 8, True, weighed) for weighed in (False, True)]
    assert found == [Type.Q5_K, Type.IQ4_XS]
