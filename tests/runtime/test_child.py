"""An engine that ends, for whatever reason, costs the answer in hand a second try and nothing else."""

import os
import shutil
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from radlite.chat import Prompt, Turn
from radlite.demo import base_folder
from radlite.errors import UserError
from radlite.runtime import child, engine
from radlite.runtime.child import ChildModel
from radlite.runtime.model import Completion, Request
from radlite.tasks.grammar import sequence
from tests.runtime.answers import answers

POISON = Prompt((1 << 30, 1, 2), "")
"""No vocabulary has this id: llama.cpp refuses it."""


@pytest.fixture(scope="module", params=["wheel", "native"])
def name(request: pytest.FixtureRequest) -> str:
    if request.param == "native":
        pytest.importorskip("llama_cpp", reason="the native engine is compiled by `make native`")
    return str(request.param)


@pytest.fixture(scope="module")
def file() -> Path:
    return base_folder("tiny-qwen3").with_name("demonstration.gguf")


@pytest.fixture(scope="module")
def model(file: Path, name: str) -> Iterator[ChildModel]:
    opened = child.open_model(file, threads=1, engine=name)
    yield opened
    opened.close()


LABELS = ["Mild effusion", "Severe effusion"]


def requests(model: ChildModel, count: int = 4) -> list[Request]:
    def prompt(number: int) -> Prompt:
        turns = [Turn("system", "Read."), Turn("user", f"Report {number}. No effusion."), Turn("user", "M stage.")]
        return model.renderer.prompt(turns)

    return [Request(prompt(number), 30, sequence(LABELS), alternatives=True) for number in range(count)]


def assert_same(one: Sequence[Completion], other: Sequence[Completion]) -> None:
    """The same answers, as likely; batches of other sizes round in another way."""
    for left, right in zip(one, other, strict=True):
        assert left.alternatives[0] == pytest.approx(right.alternatives[0], abs=0.03)
        assert left.text == right.text or left.probability == pytest.approx(0.5, abs=0.03)


def processes() -> list[psutil.Process]:
    return [one for one in psutil.Process().children() if "spawn_main" in " ".join(one.cmdline())]


def test_its_answers_are_those_of_the_engine_itself(model: ChildModel, file: Path, name: str) -> None:
    asked = requests(model)
    own = engine.open_model(file, threads=1, engine=name)
    expected = list(answers(own, asked))
    own.close()
    assert_same(list(answers(model, asked)), expected)


def test_an_engine_that_is_killed_costs_nothing_but_time(model: ChildModel) -> None:
    asked = requests(model, 12)
    expected = list(answers(model, asked))
    for kill_at in (0, 1, 5):
        before, found = model.restarts, {}
        for number, completion in model.complete(asked):
            found[number] = completion
            if len(found) == kill_at + 1:
                model._process.kill()
        assert_same([found[number] for number in range(len(asked))], expected)
        assert model.restarts <= before + 2  # one may be of a kill that came after the last answer


def test_an_end_before_requests_are_taken_up_costs_them_no_try(model: ChildModel) -> None:
    def halt() -> None:
        """Killed while it is not looking, as by the kernel between two pieces of work."""
        os.kill(model._process.pid, signal.SIGSTOP)
        threading.Timer(0.2, model._process.kill).start()

    asked = requests(model, 12)
    expected, found = list(answers(model, asked)), {}
    halt()
    for number, completion in model.complete(asked):
        found[number] = completion
        if len(found) == 1:
            halt()
    assert_same([found[number] for number in range(len(asked))], expected)


def test_a_request_that_always_ends_the_engine_fails_and_the_others_do_not(model: ChildModel) -> None:
    asked = requests(model)
    expected = list(answers(model, asked))
    mixed = [*asked[:2], Request(POISON, 4), *asked[2:]]
    found = list(answers(model, mixed))
    assert found[2].stop_reason == "failed" and found[2].text == ""
    assert_same(found[:2] + found[3:], expected)


def test_a_stop_ends_the_work_and_the_next_call_is_sound(model: ChildModel) -> None:
    asked = [replace(one, grammar=(), alternatives=False, max_tokens=200) for one in requests(model, 12)]
    begun = threading.Event()

    def stop() -> bool:
        return begun.is_set()

    found = []
    for one in model.complete(asked, stop):
        found.append(one)
        begun.set()
    assert len(found) < len(asked)
    coming = model.complete(asked)
    next(coming)
    coming.close()  # type: ignore[attr-defined]
    assert_same(list(answers(model, requests(model))), list(answers(model, requests(model))))


def test_an_engine_that_hangs_is_ended_and_the_next_call_is_answered(
    model: ChildModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(child, "_STEP", 0.3)
    asked = requests(model)
    expected = list(answers(model, asked))
    before = model.restarts
    os.kill(model._process.pid, signal.SIGSTOP)
    assert list(model.complete(asked, lambda: True)) == []
    assert list(model.complete(asked, lambda: True)) == []  # the one who waits may leave meanwhile
    assert_same(list(answers(model, asked)), expected)
    assert model.restarts == before + 1


def test_an_engine_is_started_again_with_the_very_files_and_no_others(file: Path, tmp_path: Path, name: str) -> None:
    own = tmp_path / "model.gguf"
    shutil.copy(file, own)
    opened = child.open_model(own, threads=1, engine=name)
    asked = requests(opened)
    own.rename(tmp_path / "aside")
    list(answers(opened, asked))  # what is loaded goes on
    os.kill(opened._process.pid, signal.SIGKILL)
    for there in (False, True):
        if there:
            shutil.copy(file, own)
        with pytest.raises(UserError, match="replaced or changed"):
            list(answers(opened, asked))
        with pytest.raises(UserError, match="replaced or changed"):
            opened.revive()
        assert "replaced or changed" in opened.broken
    (tmp_path / "aside").replace(own)
    opened.revive()
    assert (opened.broken, opened.restarts) == ("", 1)
    assert list(answers(opened, asked))
    opened.close()


def test_the_process_ends_with_its_model_and_with_its_parent(file: Path, name: str) -> None:
    opened = child.open_model(file, threads=1, engine=name)
    process = psutil.Process(opened._process.pid)
    opened.close()
    opened.close()
    assert psutil.wait_procs([process], timeout=20)[1] == []
    reader, writer = os.pipe()
    if not (pid := os.fork()):
        try:
            os.close(reader)
            other = child.open_model(file, threads=1, engine=name)
            os.write(writer, str(other._process.pid).encode())
            time.sleep(60)
        finally:
            os._exit(1)
    os.close(writer)
    process = psutil.Process(int(os.read(reader, 20)))
    os.close(reader)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    assert psutil.wait_procs([process], timeout=20)[1] == []


def test_a_file_that_is_no_model_is_told_in_one_sentence(file: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / "no.gguf").write_bytes(b"GGUF" + b"\0" * 100)
    before = len(processes())
    with pytest.raises(UserError, match=r"no\.gguf"):
        child.open_model(tmp_path / "no.gguf", engine=name)
    with pytest.raises(UserError, match="no engine 'fast'"):
        base = child.open_model(
            Path(str(Path(child.__file__).parents[1] / "models" / "demonstration.gguf")), engine="fast"
        )
        base.close()
    assert len(processes()) == before
