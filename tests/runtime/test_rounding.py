"""A rounded base: for a GGUF's kind what the file holds, for NF4 what bitsandbytes computes with."""

import json
import shutil
from pathlib import Path

import gguf as package
import numpy as np
import pytest
from numpy.typing import NDArray

from radlite.errors import UserError
from radlite.export import gguf
from radlite.runtime import layout, nf4, rounding, weights

SUBNORMAL = [3, 4]
"""Rows of `values` below what float32 and bfloat16 hold in full, which the processor may take for zero."""


def values(rows: int = 64, columns: int = 512) -> NDArray[np.float32]:
    """Rows as in a model, with hostile ones: outliers, zeros, subnormals, huge numbers, numbers between two levels."""
    found = np.random.default_rng(0).standard_t(3, (rows, columns)) * 0.02
    found[1], found[2, :64] = 0, 0
    found[3] *= 1e-37
    found[4, :64] = 1e-42
    found[5] *= 1e38
    middles = (nf4.LEVELS[:-1] + nf4.LEVELS[1:]) / 2
    found[6, :64] = np.concatenate([middles, -middles, nf4.LEVELS, -nf4.LEVELS, [1, -1]])
    return found.astype(np.float32)


def test_a_number_in_nf4_becomes_the_nearest_level_of_its_block() -> None:
    given = values()
    codes, scales = nf4.encode(given)
    assert codes.shape == (64, 256) and codes.dtype == np.uint8 and scales.shape == (64, 8)
    assert np.array_equal(scales, np.abs(given.reshape(64, 8, 64)).max(axis=2))
    decoded = nf4.decode(codes, scales)
    assert decoded.dtype == np.float32
    normal = np.abs(given) > 1e-30
    blocks = scales.repeat(64, axis=1)[..., None].astype(np.float64)
    nearest = np.abs(given[..., None] - blocks * nf4.LEVELS).min(axis=2)
    error = np.abs(given.astype(np.float64) - decoded)
    assert (error <= nearest + 1e-6 * blocks[..., 0])[normal].all()
    assert not decoded[1].any()
    again = nf4.decode(*nf4.encode(decoded))
    assert np.array_equal(np.delete(again, SUBNORMAL, 0), np.delete(decoded, SUBNORMAL, 0))  # twice is once


def test_rows_that_are_no_whole_blocks_are_not_cut_into_nf4() -> None:
    with pytest.raises(ValueError, match="96 columns are no multiple of 64"):
        nf4.encode(np.zeros((2, 96), np.float32))


def test_nf4_is_to_the_bit_what_bitsandbytes_has() -> None:
    functional = pytest.importorskip("bitsandbytes", reason="needs radlite[qlora]; make test-qlora").functional
    import torch

    for type in (torch.float32, torch.bfloat16):
        given = torch.from_numpy(values()).to(type)
        theirs, state = functional.quantize_4bit(given, blocksize=64, quant_type="nf4", compress_statistics=False)
        codes, scales = nf4.encode(given.float().numpy())
        assert np.array_equal(codes.ravel(), theirs.numpy().ravel())
        assert np.array_equal(scales.ravel(), state.absmax.numpy())
        decoded = torch.from_numpy(nf4.decode(codes, scales)).to(type)
        kept = np.delete(np.arange(len(given)), SUBNORMAL if type == torch.bfloat16 else [])
        assert torch.equal(decoded[kept], functional.dequantize_4bit(theirs, state)[kept])


@pytest.mark.parametrize("kind", [kind for kind in rounding.KINDS if kind != rounding.NF4])
def test_a_base_rounded_to_a_gguf_kind_is_what_its_file_holds(base: Path, tmp_path: Path, kind: str) -> None:
    how = rounding.of(base, kind)
    names = {short: name for name, (short, _) in layout.tensors(layout.settings(base)).items()}
    tensors = weights.read(base)
    path = gguf.write(base, tmp_path / "base.gguf", kind)
    changed = set()
    for short, type, data in gguf.read(path):
        tensor = tensors[names[short]]
        held = package.dequantize(data, type).reshape(tensor.rows, -1)
        assert np.array_equal(how.read(tensor), held)
        assert len(held) == 1 or np.array_equal(how.read(tensor, 1, 2), held[1:2])
        changed |= {tensor.name} if not np.array_equal(held, tensor.read()) else set()
    assert changed == {name for name, tensor in tensors.items() if len(tensor.shape) == 2} - {"lm_head.weight"}


def test_nf4_rounds_the_matrices_of_the_layers_and_nothing_else(base: Path) -> None:
    how = rounding.of(base, "NF4")
    for name, tensor in weights.read(base).items():
        inside = ".layers." in name and len(tensor.shape) == 2
        expected = nf4.decode(*nf4.encode(tensor.read())) if inside else tensor.read()
        assert np.array_equal(how.read(tensor), expected)


def test_what_cannot_be_rounded_is_told(base: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"cannot be rounded to 'Q2_K'; choose from Q4_K_M, .*, NF4"):
        rounding.of(base, "Q2_K")
    for name, value in (("hidden_size", 96), ("architectures", ["LlamaForCausalLM"])):
        odd = tmp_path / name
        shutil.copytree(base, odd)
        config = json.loads((odd / "config.json").read_text())
        (odd / "config.json").write_text(json.dumps(config | {name: value}))
        with pytest.raises(UserError, match=r"no multiple of 64, as NF4 needs|only Qwen2ForCausalLM and Qwen3"):
            rounding.of(odd, "NF4")


def test_only_the_levels_that_the_base_was_rounded_to_swallow_what_is_added() -> None:
    lost = {(base, kind) for base in rounding.KINDS for kind in layout.KINDS if not rounding.survives(base, kind)}
    k_quants = ("Q4_K_M", "Q4_K_S")
    assert lost == {(one, other) for one in k_quants for other in k_quants} | {("IQ4_XS", "IQ4_XS")}
