import dataclasses
import shutil
from pathlib import Path

import numpy as np
import peft
import pytest
import torch
import transformers

from radlite.chat import Prompt, Renderer, Turn
from radlite.errors import UserError
from radlite.runtime import hf
from radlite.runtime.hf import HfModel
from radlite.runtime.model import Completion, Request
from radlite.tasks import TASKS
from tests.runtime.answers import answers


@pytest.fixture(scope="module")
def model(base: Path) -> HfModel:
    return hf.open_model(base)


def requests(renderer: Renderer, count: int) -> list[Request]:
    """Prompts of very different lengths, free and constrained."""
    report = {"report": "Nodule."}
    grammars = [(), *(TASKS[name].grammar(report) for name in ("abnormality_detection", "rads_assignment")), ()]
    return [
        Request(
            renderer.prompt([Turn("user", f"{number} Nodule. " * (1 + 7 * number % 23)), Turn("user", "Answer.")]),
            8 + number,
            grammars[number % 4],
        )
        for number in range(count)
    ]


def plain(completion: Completion) -> Completion:
    return dataclasses.replace(completion, seconds=0.0, probability=None)


def test_answers_of_a_batch_are_the_answers_one_by_one(model: HfModel) -> None:
    asked = requests(model.renderer, 16)
    together, alone = list(answers(model, asked)), [next(answers(model, [request])) for request in asked]
    assert list(map(plain, together)) == list(map(plain, alone))
    for one, other in zip(together, alone, strict=True):
        assert (one.probability or 0) == pytest.approx(other.probability or 0, rel=1e-3)
    assert [completion.prompt_tokens for completion in together] == [len(request.prompt.ids) for request in asked]


def test_answers_come_in_order_while_later_windows_wait(base: Path) -> None:
    module = transformers.AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    model = HfModel("small", module, Renderer.from_folder(base), 1024, batch_size=1)
    asked = requests(model.renderer, 20)
    coming = answers(model, asked)
    first = next(coming)
    assert first.prompt_tokens == len(asked[0].prompt.ids)
    rest = list(coming)
    assert [completion.prompt_tokens for completion in rest] == [len(request.prompt.ids) for request in asked[1:]]


def test_the_greedy_answer_is_that_of_transformers_generate(model: HfModel, base: Path) -> None:
    module = transformers.AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    for request in requests(model.renderer, 9)[::4]:
        ids = torch.tensor([request.prompt.ids])
        out = module.generate(
            ids, attention_mask=torch.ones_like(ids), max_new_tokens=request.max_tokens, do_sample=False
        )
        [completion] = answers(model, [request])
        assert completion.text == model.renderer.tokenizer.decode(out[0, ids.shape[1] :].tolist())


def test_a_model_stops_at_its_end_of_turn(base: Path) -> None:
    module = transformers.AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    renderer = Renderer.from_folder(base)
    model = HfModel("ends", module, renderer, 1024)
    request = Request(renderer.prompt([Turn("user", "x")]), 8)
    [token] = model.next_log_probabilities(request.prompt, 1)
    with torch.no_grad():  # the likeliest token's row goes to the end of turn, in the tied head
        weights = module.get_output_embeddings().weight
        weights[renderer.end_id] = weights[token] * 2
    [completion] = answers(model, [request])
    assert (completion.text, completion.stop_reason, completion.generated_tokens) == ("", "end", 1)


def test_training_mode_and_gradients_come_back_after_evaluation(base: Path) -> None:
    module = transformers.AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    module.train()
    model = HfModel("training", module, Renderer.from_folder(base), 1024)
    list(answers(model, requests(model.renderer, 3)))
    assert module.training
    ids = torch.tensor([[1, 2, 3]])
    module(input_ids=ids, labels=ids).loss.backward()
    assert module.get_input_embeddings().weight.grad is not None


def test_an_adapter_changes_the_answers_as_it_does_in_memory(base: Path, tmp_path: Path) -> None:
    module = transformers.AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    tuned = peft.get_peft_model(module, peft.LoraConfig(r=4, target_modules=["q_proj", "down_proj"]))
    torch.manual_seed(0)
    for name, weight in tuned.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.1)
    tuned.save_pretrained(tmp_path / "night-shift")
    model = hf.open_model(base, tmp_path / "night-shift")
    assert model.name == "night-shift"
    prompt = model.renderer.prompt([Turn("user", "Nodule.")])
    loaded = model.next_log_probabilities(prompt, 448)
    memory = HfModel("memory", tuned, model.renderer, 1024).next_log_probabilities(prompt, 448)
    plain = hf.open_model(base).next_log_probabilities(prompt, 448)
    assert max(abs(loaded[token] - memory[token]) for token in loaded) < 1e-3
    assert max(abs(loaded[token] - plain[token]) for token in loaded) > 0.05


def test_the_context_is_the_models_own(model: HfModel) -> None:
    assert model.context_tokens == 1024


def test_probabilities_sum_to_one(model: HfModel) -> None:
    likely = model.next_log_probabilities(Prompt((1, 2, 3), ""), 448)
    assert torch.tensor(list(likely.values())).exp().sum().item() == pytest.approx(1, abs=1e-4)
    assert list(likely.values()) == sorted(likely.values(), reverse=True)


def test_what_is_no_model_folder_is_a_user_error(base: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no config\.json"):
        hf.open_model(tmp_path)
    with pytest.raises(UserError, match=r"no adapter_config\.json"):
        hf.open_model(base, tmp_path)


def test_a_damaged_model_is_a_user_error(base: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(base, tmp_path / "model")
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(UserError, match="Cannot load the model"):
        hf.open_model(folder)


def test_an_adapter_of_another_base_is_a_user_error(base: Path, tmp_path: Path) -> None:
    from radlite.training.base import Shape, new_model

    renderer = Renderer.from_folder(base)
    other = new_model("qwen2.5", Shape(hidden=128, layers=1), renderer.tokenizer, 0)
    peft.get_peft_model(other, peft.LoraConfig(r=4, target_modules=["q_proj"])).save_pretrained(tmp_path / "other")
    with pytest.raises(UserError, match="does not load"):
        hf.open_model(base, tmp_path / "other")


def test_squares_are_those_of_what_each_layer_is_given(base: Path) -> None:
    """Held against the states between layers that `transformers` tells, and against what feeds `down_proj`."""
    module = transformers.AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    rows = [(list(range(40, 40 + count)), [0] * (count - 3) + [1] * 3) for count in (30, 7, 11)]
    found = HfModel("small", module, Renderer.from_folder(base), 1024).squares(iter(rows))
    assert set(found) == {f"{name}.weight" for name, one in module.named_modules() if isinstance(one, torch.nn.Linear)}
    assert not any(one._forward_pre_hooks for one in module.modules())
    gated: list[torch.Tensor] = []
    last = module.model.layers[1]
    last.mlp.act_fn.register_forward_hook(lambda _module, _given, made: gated.append(made[0]))
    last.mlp.up_proj.register_forward_hook(lambda _module, _given, made: gated.append(gated.pop() * made[0]))
    expected: dict[str, list[torch.Tensor]] = {"lm_head.weight": []}
    with torch.no_grad():
        for ids, _ in rows:
            states = module(torch.tensor([ids]), output_hidden_states=True).hidden_states
            for number, layer in enumerate(module.model.layers):
                given = layer.input_layernorm(states[number])[0]
                for part in "qkv":
                    expected.setdefault(f"model.layers.{number}.self_attn.{part}_proj.weight", []).append(given)
            expected["lm_head.weight"].append(states[-1][0, -4:-1])  # the places before the last three
    expected["model.layers.1.mlp.down_proj.weight"] = gated
    for name, parts in expected.items():
        squares = torch.cat(parts).double().square().sum(0).numpy()
        total, count = found[name]
        assert (total.dtype, count) == (np.float32, sum(map(len, parts)))
        np.testing.assert_allclose(total, squares, rtol=1e-4, atol=1e-11)


def test_squares_leave_training_as_it_was_and_numbers_that_are_not_finite_are_told(base: Path) -> None:
    module = transformers.AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32).train()
    model = HfModel("broken", module, Renderer.from_folder(base), 1024)
    model.squares([([1, 2, 3], [0, 0, 1])])
    assert module.training
    with torch.no_grad():
        module.model.layers[1].mlp.up_proj.weight[7] = torch.inf
    with pytest.raises(UserError, match=r"broken computes .*layers\.1\.mlp\.down_proj\.weight"):
        model.squares([([1, 2, 3], [0, 0, 1])])
    assert not any(one._forward_pre_hooks for one in module.modules())
