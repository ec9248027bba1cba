"""The native engine computes what prompts share once, and neither sharing, guessing nor stopping changes an answer."""

import dataclasses
import math
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, get_args
from unittest.mock import ANY

import pytest

from radlite.chat import Prompt, Turn
from radlite.errors import UserError
from radlite.runtime import engine, gguf, memory, native
from radlite.runtime.model import Completion, Request, in_order
from radlite.runtime.native import NativeModel
from radlite.runtime.tuning import Repack, Settings
from radlite.tasks import SYSTEM, TASKS
from radlite.tasks.grammar import sequence
from tests.runtime.answers import answers
from tests.runtime.test_engines import TIE, assert_tie

pytest.importorskip("llama_cpp", reason="the native engine is compiled by `make native`")

REPORT = "FINDINGS: The heart is enlarged. A new left effusion has increased. No pneumothorax. "
LABELS = sequence(["Negative. N0", "Positive. N1", "Positive. N2", "Positive. N2a"])


@pytest.fixture(scope="module", params=get_args(Repack))
def model(request: pytest.FixtureRequest, model_file: Path) -> Iterator[NativeModel]:
    opened = native.open_model(model_file, chosen=Settings(1, request.param))
    assert len(opened._caches) == 1 + (request.param == "answers")
    yield opened
    opened.close()


def ask(model: NativeModel, report: str, task: str) -> Prompt:
    return model.renderer.prompt([Turn("system", "You read reports."), Turn("user", report), Turn("user", task)])


def mixed(model: NativeModel, reports: int = 3) -> list[Request]:
    """Several tasks on several reports: free text, labels with probabilities, lines, spans of the report."""
    asked = []
    for number in range(reports):
        report = f"Report {number}. " + REPORT * (1 + number % 4)
        grammar = TASKS["radiology_ner"].grammar({"report": report})
        asked += [
            Request(ask(model, report, "Impression."), 12, kind="free"),
            Request(ask(model, report, "N stage."), 20, LABELS, alternatives=True, kind="label"),
            Request(ask(model, report, "Entities."), 40, grammar, kind="spans"),
            Request(
                ask(model, report, "States."),
                160,
                TASKS["abnormality_detection"].grammar({}),
                alternatives=True,
                draft=TASKS["abnormality_detection"].draft({"report": report}),
                kind="lines",
            ),
        ]
    return asked


def alone(model: NativeModel, asked: Sequence[Request]) -> list[Completion]:
    return [next(answers(model, [request])) for request in asked]


def assert_same(
    model: NativeModel, asked: Sequence[Request], one: Sequence[Completion], other: Sequence[Completion]
) -> None:
    """The same answers, but where the model hardly prefers one: batches of other sizes round in another way."""
    for request, left, right in zip(asked, one, other, strict=True):
        if left.text != right.text:
            assert_tie(model, request, left.text, right.text)


def test_answers_together_are_those_of_each_alone(model: NativeModel) -> None:
    asked = mixed(model)
    assert_same(model, asked, list(answers(model, asked)), alone(model, asked))


def test_other_kernels_for_prompts_than_for_answers_change_nothing(model_file: Path) -> None:
    """What long prompts come to is moved from one context into the other, also where both are nearly full."""
    found = []
    for repack in get_args(Repack):
        model = native.open_model(model_file, context_tokens=512, chosen=Settings(1, repack))
        asked = mixed(model, 6)
        new: list[int] = []
        if repack == "answers":
            ahead = model._caches[1]

            def counted(tokens: Any, read: Any = ahead.read, new: list[int] = new) -> None:
                new.append(len(tokens))
                read(tokens)

            ahead.read = counted  # type: ignore[method-assign]
        found.append([*answers(model, asked), *alone(model, asked[:4])])
        assert_same(model, [*asked, *asked[:4]], found[0], found[-1])
        for one, other in zip(found[0], found[-1], strict=True):
            assert one.cached_tokens == other.cached_tokens
            if one.text == other.text and one.probability:
                assert abs(math.log(one.probability) - math.log(other.probability or 0)) < 0.1 * len(one.text)
        if repack == "answers":
            assert min(new) >= native._MANY and sum(new) > max(len(one.prompt.ids) for one in asked)
            assert sorted([*model._free, *model._kept.values(), model._pin]) == list(range(256))
            before, ahead.cells = len(new), native._MANY  # with no room there, all goes one way
            assert_same(model, asked, found[0][: len(asked)], list(answers(model, asked)))
            assert len(new) == before
        model.close()


def test_a_second_context_is_opened_only_where_memory_suffices(
    model_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    header, both = gguf.read(model_file), Settings(1, "answers")
    for free, contexts in (
        (memory.needed(header, 1024, rows=256), 1),
        (memory.needed(header, **native.rooms(512, 1024, both)), 2),
    ):
        monkeypatch.setattr(memory, "available", lambda *_, free=free: free)
        model = native.open_model(model_file, context_tokens=512, chosen=both)
        assert len(model._caches) == contexts
        model.close()


def test_an_interrupt_while_weights_are_copied_ends_the_loading(
    model_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(native._Loading, "_ask", interrupt)
    with pytest.raises(KeyboardInterrupt):
        native.open_model(model_file, chosen=Settings(1, "on"))
    native.open_model(model_file, chosen=Settings(1, "off")).close()


def test_guesses_change_nothing_but_the_number_of_steps(model_file: Path) -> None:
    found, steps = [], []
    for guesses in (True, False):
        model = native.open_model(model_file, threads=1, guesses=guesses)
        read, count = model._cache.read, [0]

        def counted(tokens: Any, read: Any = read, count: list[int] = count) -> None:
            count[0] += 1
            read(tokens)

        model._cache.read = counted  # type: ignore[method-assign]
        found.append(list(answers(model, mixed(model))))
        steps.append(count[0])
        model._cache.read = read  # type: ignore[method-assign]
        assert_same(model, mixed(model), found[0], found[-1])
        model.close()
    assert steps[0] <= steps[1]


def test_a_report_is_computed_once_for_all_its_tasks_and_kept_for_the_next_question(model: NativeModel) -> None:
    report = "A report of its own. " + REPORT * 3
    first, second, third = answers(model, [Request(ask(model, report, task), 4) for task in ("A.", "B.", "C.")])
    assert first.cached_tokens < first.prompt_tokens / 2
    assert min(second.cached_tokens, third.cached_tokens) > 0.8 * second.prompt_tokens
    [later] = answers(model, [Request(ask(model, report, "D."), 4)])
    assert later.cached_tokens > 0.8 * later.prompt_tokens


def test_a_report_that_only_begins_like_another_is_read_with_the_kernels_for_prompts(model_file: Path) -> None:
    model = native.open_model(model_file, chosen=Settings(1, "answers"))

    def asked(report: str, task: str) -> Completion:
        turns = [Turn("system", SYSTEM), Turn("user", report), Turn("user", task)]
        return next(answers(model, [Request(model.renderer.prompt(turns), 4)]))

    for report in ("CT CHEST. " + REPORT * 2, "CT CHEST. Another one. " + REPORT * 3):
        assert asked(report, "A.").cached_tokens == len(model._pinned)
    same = asked(report, "B.")
    assert same.cached_tokens > 0.8 * same.prompt_tokens
    model.close()


def test_nothing_is_kept_where_nothing_shall_be_remembered(model_file: Path) -> None:
    model = native.open_model(model_file, threads=1, remembered=0)
    asked = mixed(model, 1)
    first, second = (list(answers(model, asked)) for _ in range(2))
    assert [one.cached_tokens for one in first] == [one.cached_tokens for one in second]
    assert [one.probability for one in first] == [one.probability for one in second]
    model.close()


def test_more_reports_than_there_is_room_for_are_read_one_after_another(model_file: Path) -> None:
    model = native.open_model(model_file, context_tokens=512, threads=1)
    asked = mixed(model, 12)
    large = native.open_model(model_file, threads=1)
    assert_same(large, asked, list(answers(model, asked)), list(answers(large, asked)))
    model.close()
    large.close()


def test_a_prompt_longer_than_a_batch_is_read(model: NativeModel) -> None:
    prompt = ask(model, REPORT * 20, "M stage.")
    assert len(prompt.ids) > native._BATCH
    letters = {model.renderer.tokenizer.encode(letter)[0]: letter for letter in "ABCDEFGH"}
    [completion] = answers(model, [Request(prompt, 4, sequence(list(letters.values())))])
    likely = model.next_log_probabilities(prompt, 1 << 20)
    chosen = next(number for number, letter in letters.items() if letter == completion.text)
    assert max(likely[number] for number in letters) - likely[chosen] < TIE


def test_answers_come_as_they_are_ready(model: NativeModel) -> None:
    long, short = Request(ask(model, REPORT, "Long."), 40), Request(ask(model, REPORT, "Short."), 2)
    numbers = [number for number, _ in model.complete([long, short])]
    assert sorted(numbers) == [0, 1] and numbers[0] == 1


def test_closing_the_iterator_ends_the_work_and_leaves_the_model_sound(model: NativeModel) -> None:
    asked = mixed(model)
    before = list(answers(model, asked))
    free = len(model._free) + len(model._kept)
    assert free == native._SEQUENCES - 1  # but for the one that all prompts begin with
    for stop_after in (1, 3):
        coming = model.complete(asked)
        for _ in range(stop_after):
            next(coming)
        coming.close()  # type: ignore[attr-defined]
        assert len(model._free) + len(model._kept) == free
    assert_same(model, asked, list(answers(model, asked)), before)


def test_the_probabilities_of_labels_are_those_of_asking_step_by_step(model: NativeModel) -> None:
    prompt = ask(model, REPORT, "N stage.")
    [completion] = answers(model, [Request(prompt, 20, LABELS, alternatives=True)])
    [spread] = completion.alternatives
    assert sum(spread.values()) == pytest.approx(1)
    assert completion.probability == pytest.approx(spread[completion.text])
    first = model.next_log_probabilities(prompt, 1 << 20)
    one, two = (model.renderer.tokenizer.encode(text)[0] for text in ("Negative", "Positive"))
    assert spread["Negative. N0"] / (1 - spread["Negative. N0"]) == pytest.approx(
        2.718281828 ** (first[one] - first[two]), rel=2 * TIE
    )


def test_the_state_of_the_system_prompt_is_saved_and_used_and_never_trusted_blindly(
    model_file: Path, tmp_path: Path
) -> None:
    path = tmp_path / "model.gguf"
    shutil.copy(model_file, path)
    saved = path.with_name("model.gguf.prefix")

    def opened() -> tuple[list[Completion], int]:
        model = native.open_model(path, threads=1, save_after=0)
        found, pinned = list(answers(model, mixed(model, 1))), len(model._pinned)
        model.close()
        return found, pinned

    first, pinned = opened()
    content = saved.read_bytes()
    assert pinned > 4 and opened()[0] == [dataclasses.replace(one, seconds=ANY) for one in first]
    assert saved.read_bytes() == content
    for damage in (b"", content[:-1], content[:40] + b"\0" + content[41:], content[:100] + b"\0" * 50 + content[150:]):
        saved.write_bytes(damage)
        assert opened()[0] == [dataclasses.replace(one, seconds=ANY) for one in first]
        assert saved.read_bytes() == content
    with path.open("r+b") as file:  # other weights
        file.seek(-100, 2)
        file.write(b"\1\2\3")
    opened()
    assert saved.read_bytes()[:32] != content[:32]


def test_threads_wait_for_each_other(model: NativeModel) -> None:
    asked = mixed(model, 2)
    expected, found = list(answers(model, asked)), {}

    def run(number: int) -> None:
        found[number] = list(answers(model, asked))

    threads = [threading.Thread(target=run, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for one in found.values():
        assert_same(model, asked, one, expected)
    assert len(found) == 3


def test_a_closed_model_says_so(model_file: Path) -> None:
    opened = native.open_model(model_file, threads=1)
    opened.close()
    with pytest.raises(RuntimeError, match="closed"):
        list(opened.complete([Request(Prompt((1, 2), ""), 4)]))


def test_the_engine_is_chosen_by_name(model_file: Path) -> None:
    for name in ("auto", "native", "wheel"):
        model = engine.open_model(model_file, threads=1, engine=name)
        assert type(model).__name__ == ("WheelModel" if name == "wheel" else "NativeModel")
        model.close()
    with pytest.raises(UserError, match="no engine 'fast'; choose from auto, native, wheel"):
        engine.open_model(model_file, engine="fast")


def test_a_window_beyond_the_models_is_refused(model_file: Path) -> None:
    with pytest.raises(UserError, match="ask for no more"):
        native.open_model(model_file, context_tokens=1 << 20)


def test_both_engines_live_in_one_process_and_say_nothing(model_file: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from radlite.runtime import native, wheel\n"
        "for open_model in (native.open_model, wheel.open_model) * 2:\n"
        "    model = open_model(Path(sys.argv[1]), threads=1)\n"
        "    model.next_log_probabilities(__import__('radlite.chat').chat.Prompt((1, 2), ''), 1)\n"
        "    model.close()\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(model_file)], capture_output=True, timeout=120)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_completions_are_put_in_order() -> None:
    assert list(in_order([(2, "c"), (0, "a"), (1, "b")])) == ["a", "b", "c"]
