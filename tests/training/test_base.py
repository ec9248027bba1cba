"""New small models: their shapes, and heads that start by looking back."""

import pytest
import torch

from radlite.training.base import CONTROL, Family, Shape, learn_tokenizer, look_back, new_model

SHAPE = Shape(hidden=256, feed_forward=256, layers=2, context=256)


@pytest.mark.parametrize("family", ["qwen2.5", "qwen3"])
def test_a_head_that_looks_back_sees_the_token_before_whatever_it_is(family: Family) -> None:
    model = new_model(family, SHAPE, learn_tokenizer(["effusion"], 300), seed=0)
    look_back(model)
    model.set_attn_implementation("eager")
    ids = torch.randint(0, 200, (1, 200), generator=torch.Generator().manual_seed(0))
    attention = model(ids, output_attentions=True, use_cache=False).attentions[0][0]
    for head, offset in ((0, 1), (1, 2)):
        assert attention[head].diagonal(-offset).mean() > 0.9


@pytest.mark.parametrize("family", ["qwen2.5", "qwen3"])
def test_looking_back_shifts_all_logits_alike(family: Family) -> None:
    """The shared direction of the embeddings favours no token, as they are also the output layer."""
    tokenizer = learn_tokenizer(["effusion"], 300)
    model = new_model(family, SHAPE, tokenizer, seed=0)
    before = model.get_input_embeddings().weight.detach().clone()
    look_back(model)
    added = model.get_input_embeddings().weight.detach() - before
    assert torch.allclose(added, added[0].expand_as(added), atol=1e-6)


def test_a_learned_tokenizer_has_every_control_token_behind_its_vocabulary() -> None:
    tokenizer = learn_tokenizer(["pleural effusion"] * 9, 400)
    assert list(tokenizer.control) == list(CONTROL)
    assert min(tokenizer.control.values()) == tokenizer.size - len(CONTROL)
