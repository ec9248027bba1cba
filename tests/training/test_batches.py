from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import transformers
from hypothesis import given
from hypothesis import strategies as st

from radlite.chat import Renderer
from radlite.reader import turns
from radlite.tasks import named
from radlite.training import attention, batches
from radlite.training.batches import IGNORED, Sample, balance, collate, encode, pack
from tests.training.conftest import example, examples

ATTENTION = {"segments": "radlite_segments", "sdpa": "sdpa"}


def sample(number: int, size: int, targets: int = 2) -> Sample:
    return Sample(str(number), "n_staging", (np.arange(size, dtype=np.int32) + number) % 250, targets)


def model_of(base: Path, kind: str) -> Any:
    model = transformers.AutoModelForCausalLM.from_pretrained(
        base, dtype=torch.float32, attn_implementation=ATTENTION[kind]
    )
    for parameter in model.parameters():  # random weights of this size make near-uniform logits; larger ones do not
        if parameter.ndim == 2:
            parameter.data *= 3
    return model


def logits(model: Any, samples: list[Sample]) -> torch.Tensor:
    batch = collate([tuple(samples)])
    del batch["labels"]
    with torch.no_grad():
        return model(**batch, use_cache=False).logits[0]


def alone_logits(base: Path, part: Sample) -> torch.Tensor:
    """The logits of one sample in transformers' plain forward: no packing, no code of ours."""
    with torch.no_grad():
        return model_of(base, "sdpa")(torch.tensor(part.ids[None], dtype=torch.long)).logits[0]


def test_a_sample_is_what_the_renderer_trains_on(base: Path) -> None:
    renderer = Renderer.from_folder(base)
    row = examples(1)[0]
    encoded, excluded = encode([row], renderer, 512)
    ids, mask = renderer.training(renderer.prompt(turns(named(row.task), row.inputs)), row.answer)
    made = encoded[row.task, row.id]
    assert made.ids.tolist() == ids
    assert made.targets == sum(mask) and mask[-made.targets :] == [1] * made.targets
    assert not excluded


def test_a_row_whose_target_would_be_cut_is_excluded_and_listed(base: Path) -> None:
    renderer = Renderer.from_folder(base)
    long = example("m_staging", 1, {"report": "nodes " * 400}, "M1")
    short = example("m_staging", 2, {"report": "nodes"}, "M0")
    encoded, excluded = encode([long, short], renderer, 512)
    tokens = len(renderer.training(renderer.prompt(turns(named("m_staging"), long.inputs)), long.answer)[0])
    assert list(encoded) == [("m_staging", short.id)]
    assert excluded == [{"id": long.id, "task": "m_staging", "tokens": tokens}]
    whole, _ = encode([long], renderer, tokens)
    assert len(whole["m_staging", long.id].ids) == tokens


def test_positions_restart_and_labels_are_the_targets_alone() -> None:
    batch = collate([(sample(10, 4), sample(20, 3)), (sample(30, 5, 3),)])
    assert batch["input_ids"].tolist() == [[10, 11, 12, 13, 20, 21, 22, 30, 31, 32, 33, 34]]
    assert batch["position_ids"].tolist() == [[0, 1, 2, 3, 0, 1, 2, 0, 1, 2, 3, 4]]
    no = IGNORED
    assert batch["labels"].tolist() == [[no, no, 12, 13, no, 21, 22, no, no, 32, 33, 34]]
    assert batch["lengths"] == [4, 3, 5]


@given(sizes=st.lists(st.integers(3, 40), max_size=200), seed=st.integers(0, 9))
def test_packing_keeps_every_sample_once_and_no_row_is_too_long(sizes: list[int], seed: int) -> None:
    samples = [sample(number, size) for number, size in enumerate(sizes)]
    rows = pack(samples, 40, seed)
    assert sorted(part.id for row in rows for part in row) == sorted(part.id for part in samples)
    assert all(sum(len(part.ids) for part in row) <= 40 for row in rows)
    assert [[part.id for part in row] for row in rows] == [[part.id for part in row] for row in pack(samples, 40, seed)]


def test_packed_rows_are_nearly_full() -> None:
    sizes = np.random.default_rng(0).integers(60, 400, 2000)
    rows = pack([sample(number, size) for number, size in enumerate(sizes)], 2048)
    assert sizes.sum() / (2048 * len(rows)) > 0.95


@pytest.mark.parametrize("kind", ATTENTION)
@pytest.mark.parametrize("training", [True, False])
def test_changing_one_packed_sample_leaves_the_others_logits_unmoved(base: Path, kind: str, training: bool) -> None:
    model = model_of(base, kind).train(training)
    first, other, last = sample(5, 30), sample(200, 30), sample(90, 40)
    before, after = logits(model, [first, last, sample(7, 9)]), logits(model, [other, last, sample(7, 9)])
    assert torch.equal(before[30:], after[30:])
    assert (before[:30] - after[:30]).abs().max() > 0.1


@pytest.mark.parametrize("kind", ATTENTION)
def test_a_packed_sample_has_the_logits_it_has_alone(base: Path, kind: str) -> None:
    model = model_of(base, kind)
    samples = [sample(5, 30), sample(200, 7), sample(90, attention.BLOCK + 1), sample(7, 2 * attention.BLOCK)]
    alone = torch.cat([alone_logits(base, part) for part in samples])
    assert (logits(model, samples) - alone).abs().max() < 1e-4


def test_the_loss_is_the_cross_entropy_of_the_targets(base: Path) -> None:
    model = model_of(base, "segments")
    samples = [sample(5, 30, 4), sample(200, 7, 1), sample(90, 40, 12)]
    expected = sum(
        F.cross_entropy(
            alone_logits(base, part)[-part.targets - 1 : -1],
            torch.tensor(part.ids[-part.targets :], dtype=torch.long),
            reduction="sum",
        )
        for part in samples
    )
    assert batches.loss(model, collate([tuple(samples)])).item() == pytest.approx(float(expected), rel=1e-5)


def test_loss_norm_evens_out_what_it_names_and_keeps_the_scale() -> None:
    def one(task: str, targets: int) -> Sample:
        return Sample(f"{task}-{targets}", task, np.arange(80, dtype=np.int32), targets)

    rows = [(one("n_staging", 3), one("n_staging", 5)), (one("abnormality_detection", 60),), (one("n_staging", 3),)]
    shares = {}
    for norm in ("token", "sample", "sqrt", "task"):
        found = [sample for row in balance(rows, norm) for sample in row]
        assert [len(row) for row in balance(rows, norm)] == [2, 1, 1]
        shares[norm] = [sample.targets * sample.weight for sample in found]
        assert sum(shares[norm]) == pytest.approx(3 + 5 + 60 + 3)
    assert shares["token"] == pytest.approx([3, 5, 60, 3])
    assert shares["sample"] == pytest.approx([71 / 4] * 4)
    assert shares["sqrt"] == pytest.approx(
        [71 * root / sum(x**0.5 for x in (3, 5, 60, 3)) for root in (3**0.5, 5**0.5, 60**0.5, 3**0.5)]
    )
    assert shares["task"] == pytest.approx([71 / 2 * 3 / 11, 71 / 2 * 5 / 11, 71 / 2, 71 / 2 * 3 / 11])
    batch = collate(balance(rows, "task"))
    assert batch["weights"].shape == batch["labels"].shape
