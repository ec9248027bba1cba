"""All engines on one random model: the same greedy text, free or within a grammar."""

import dataclasses
import importlib.util
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from radlite.chat import Prompt, Turn
from radlite.runtime import hf, native, wheel
from radlite.runtime.answer import Answer
from radlite.runtime.hf import HfModel
from radlite.runtime.model import Completion, Model, Request
from radlite.runtime.native import NativeModel
from radlite.runtime.wheel import WheelModel
from radlite.tasks import TASKS, Grammar, Task
from radlite.tasks.grammar import sequence
from tests.runtime.answers import answers

TIE = 0.02
"""Nats. The wheel engine keeps its KV state in 16 bits; ids that are nearer than this may change places."""


@pytest.fixture(scope="module")
def wheel_model(model_file: Path) -> Iterator[WheelModel]:
    model = wheel.open_model(model_file, threads=1)
    yield model
    model.close()


@pytest.fixture(scope="module")
def native_or_none(model_file: Path) -> Iterator[NativeModel | None]:
    if not importlib.util.find_spec("llama_cpp"):
        yield None
        return
    model = native.open_model(model_file, threads=1)
    yield model
    model.close()


@pytest.fixture
def native_model(native_or_none: NativeModel | None) -> NativeModel:
    return there(native_or_none)


def there(model: NativeModel | None) -> NativeModel:
    """The model of the native engine, which `make test` does without."""
    return model or pytest.skip("the native engine is not installed; make native compiles it")


@pytest.fixture(scope="module")
def hf_model(base: Path) -> HfModel:
    return hf.open_model(base)


def prompt(model: Model, number: int) -> Prompt:
    report = f"Chest radiograph {number}. " + "No pleural effusion is seen. " * (number % 5)
    return model.renderer.prompt([Turn("system", "You read reports."), Turn("user", report), Turn("user", "M stage.")])


def grammar_of(task: Task) -> Grammar:
    return task.grammar(dict.fromkeys(task.inputs, "The effusion has increased. Small nodule in the left lung."))


def requests(model: Model) -> list[Request]:
    asked = [Request(prompt(model, number), 16 + number) for number in range(12)]
    asked.append(Request(prompt(model, 2), 9, sequence(["\u00e9", "\u00e8", "\u4e0d"])))
    for number, task in enumerate(task for task in TASKS.values() if grammar_of(task)):
        asked += [Request(prompt(model, number), 400, grammar_of(task)), Request(prompt(model, 3), 3, grammar_of(task))]
    return asked


def plain(completion: Completion) -> Completion:
    return dataclasses.replace(completion, seconds=0.0, cached_tokens=0, probability=None, alternatives=())


@pytest.fixture(params=["wheel", "native"])
def cpu_model(
    request: pytest.FixtureRequest, wheel_model: WheelModel, native_or_none: NativeModel | None
) -> WheelModel | NativeModel:
    return wheel_model if request.param == "wheel" else there(native_or_none)


def test_all_engines_give_the_same_answers(cpu_model: WheelModel | NativeModel, hf_model: HfModel) -> None:
    asked = requests(hf_model)
    for request, one, other in zip(asked, answers(cpu_model, asked), answers(hf_model, asked), strict=True):
        if plain(one) != plain(other):
            assert_tie(hf_model, request, one.text, other.text)


def assert_tie(model: HfModel | NativeModel, request: Request, one: str, other: str) -> None:
    """Where the two answers part, the model hardly prefers one."""
    left, right = (model.renderer.tokenizer.encode(text) for text in (one, other))
    shared = next(i for i, pair in enumerate(zip(left, right, strict=False)) if pair[0] != pair[1])
    ids = (*request.prompt.ids, *left[:shared])
    likely = model.next_log_probabilities(Prompt(ids, ""), 1 << 20)
    assert abs(likely[left[shared]] - likely[right[shared]]) < TIE


def test_all_engines_give_the_same_probabilities(cpu_model: WheelModel | NativeModel, hf_model: HfModel) -> None:
    for number in range(3):
        asked = prompt(hf_model, number)
        one, other = (model.next_log_probabilities(asked, 448) for model in (cpu_model, hf_model))
        assert one.keys() == other.keys() == set(range(448))
        assert max(abs(one[token] - other[token]) for token in one) < TIE
        assert list(hf_model.next_log_probabilities(asked, 3).values()) == sorted(other.values(), reverse=True)[:3]
        assert len(cpu_model.next_log_probabilities(asked, 3)) == 3


@pytest.fixture(params=["wheel", "native", "hf"])
def model(
    request: pytest.FixtureRequest, wheel_model: WheelModel, native_or_none: NativeModel | None, hf_model: HfModel
) -> Model:
    if request.param == "native":
        return there(native_or_none)
    return wheel_model if request.param == "wheel" else hf_model


def test_an_answer_within_a_grammar_is_one_of_its_labels(model: Model) -> None:
    for task in (TASKS["rads_assignment"], TASKS["m_staging"], TASKS["abnormality_detection"]):
        [completion] = answers(model, [Request(prompt(model, 1), 400, grammar_of(task))])
        assert completion.stop_reason == "end"
        assert task.read(completion.text) is not None
        ids = model.renderer.tokenizer.encode(completion.text)
        assert completion.generated_tokens == len(ids) + 1


def test_an_answer_is_cut_at_its_token_limit(model: Model) -> None:
    free, constrained, whole = answers(
        model,
        [
            Request(prompt(model, 0), 5),
            Request(prompt(model, 0), 5, grammar_of(TASKS["abnormality_detection"])),
            Request(prompt(model, 0), 2, sequence(["M", "M0"])),
        ],
    )
    assert (free.stop_reason, free.generated_tokens) == ("length", 5)
    assert (constrained.stop_reason, constrained.generated_tokens) == ("length", 5)
    assert "- Atelectasis: negative".startswith(constrained.text[:10])
    assert whole.text.startswith("M")


def test_an_answer_that_is_wholly_forced_needs_no_model(model: Model) -> None:
    [completion] = answers(model, [Request(prompt(model, 0), 50, sequence(["M0"]))])
    assert (completion.text, completion.stop_reason) == ("M0", "end")


def test_a_choice_between_pieces_of_a_character_is_made_as_any_other(model: Model) -> None:
    slots = (("\u00e9", "\u00e8", "\u4e0d"), ("", " \u00df", "\u00df"))
    grammar = sequence(*slots)
    found = {
        completion.text for completion in answers(model, [Request(prompt(model, n), 9, grammar) for n in range(5)])
    }
    assert found <= {first + second for first in slots[0] for second in slots[1]}


def test_the_same_requests_give_the_same_answers_again(model: Model) -> None:
    asked = requests(model)[::3]
    first, second = ([plain(completion) for completion in answers(model, asked)] for _ in range(2))
    assert first == second


def test_closing_twice_does_nothing(base: Path, model_file: Path) -> None:
    engines: list[Model] = [wheel.open_model(model_file, threads=1), hf.open_model(base)]
    if importlib.util.find_spec("llama_cpp"):
        engines.append(native.open_model(model_file))
    for model in engines:
        model.close()
        model.close()


def test_the_alternatives_of_an_answer_are_as_likely_as_the_model_says(model: Model, hf_model: HfModel) -> None:
    labels = ["Negative. N0", "Positive. N1", "Positive. N2", "Positive. N2a"]
    asked = prompt(model, 1)
    [completion] = answers(model, [Request(asked, 40, sequence(labels), alternatives=True)])
    [spread] = completion.alternatives
    assert list(spread) == labels
    assert sum(spread.values()) == pytest.approx(1)
    assert completion.probability == pytest.approx(spread[completion.text], abs=TIE)
    # Of two that part at one place, as likely to each other as the model finds the ids there.
    shared = model.renderer.tokenizer.encode("Positive. N")
    likely = hf_model.next_log_probabilities(Prompt((*asked.ids, *shared), ""), 1 << 20)
    one, two = (model.renderer.tokenizer.encode(digit)[0] for digit in "12")
    twos = spread["Positive. N2"] + spread["Positive. N2a"]
    assert spread["Positive. N1"] / twos == pytest.approx(math.exp(likely[one] - likely[two]), rel=2 * TIE)


def test_every_label_of_every_closed_set_is_as_likely_to_all_engines(
    cpu_model: WheelModel | NativeModel, hf_model: HfModel
) -> None:
    closed = [task for task in TASKS.values() if task.labels]
    asked = [Request(prompt(hf_model, 1), 40, grammar_of(task), alternatives=True, least=0.0) for task in closed]
    for task, one, other in zip(closed, answers(cpu_model, asked), answers(hf_model, asked), strict=True):
        [left], [right] = one.alternatives, other.alternatives
        assert {task.label(task.read(text)) for text in left} == set(task.labels)
        assert left.keys() == right.keys()
        assert sum(left.values()) == pytest.approx(1)
        assert max(abs(math.log(left[text]) - math.log(right[text])) for text in left) < 0.1
        assert left[one.text] == max(left.values()) == pytest.approx(one.probability)
        assert one.text == other.text or abs(math.log(left[one.text] / left[other.text])) < 2 * TIE


def test_all_labels_of_a_closed_set_take_one_step(native_model: NativeModel) -> None:
    rads = Request(prompt(native_model, 1), 40, grammar_of(TASKS["rads_assignment"]), alternatives=True, least=0.0)
    answer = Answer(rads, native_model.renderer)
    asked = answer.asks(0.0)
    for beginning in asked:
        answer.tell(beginning, np.zeros(native_model.renderer.tokenizer.size, np.float32))
    answer.settle()
    assert (
        answer.stop_reason == "end"
        and len(asked) > 20
        and len(answer.alternatives[0]) == len(TASKS["rads_assignment"].labels)
    )


def test_a_choice_of_many_ids_is_made_among_all_of_them(model: Model, hf_model: HfModel) -> None:
    letters = [chr(code) for code in range(33, 127)]
    asked = prompt(model, 2)
    [completion] = answers(model, [Request(asked, 4, sequence(letters))])
    likely = hf_model.next_log_probabilities(asked, 1 << 20)
    ids = {model.renderer.tokenizer.encode(letter)[0]: letter for letter in letters}
    best = max(ids, key=likely.__getitem__)
    assert likely[best] - likely[model.renderer.tokenizer.encode(completion.text)[0]] < TIE
    mass = sum(math.exp(likely[token]) for token in ids)
    assert completion.probability == pytest.approx(math.exp(likely[best]) / mass, rel=2 * TIE)


@pytest.mark.parametrize("name", ["", "abnormality_detection"])
def test_an_answer_is_cut_at_its_limit_of_time(name: str, cpu_model: WheelModel | NativeModel) -> None:
    grammar = grammar_of(TASKS[name]) if name else ()
    [cut] = answers(cpu_model, [Request(prompt(cpu_model, 1), 400, grammar, alternatives=bool(name), seconds=0.0)])
    assert cut.stop_reason == "time" and cut.generated_tokens < 100
    [whole] = answers(cpu_model, [Request(prompt(cpu_model, 1), 400, grammar, seconds=1e9)])
    assert whole.text.startswith(cut.text.rstrip("\ufffd")) and whole.stop_reason != "time"


def test_work_ends_within_a_step_once_it_is_stopped(model: Model) -> None:
    asked = [Request(prompt(model, number), 200) for number in range(40)]
    calls = []

    def stop() -> bool:
        calls.append(1)
        return len(calls) > 2

    done = list(model.complete(asked, stop))
    assert len(done) < len(asked) and len(calls) <= 4
    assert len(list(model.complete(asked[:2]))) == 2
