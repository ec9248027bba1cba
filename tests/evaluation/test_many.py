"""Evaluation by several engines: what one process finds, in files that one process would write."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from radlite.data import corpus, sample
from radlite.demo import base_folder
from radlite.errors import UserError
from radlite.evaluation.metrics import Answered, rows
from radlite.evaluation.run import Add, evaluate, evaluate_models
from radlite.evaluation.selection import Shots
from radlite.runtime import engine
from radlite.serving import asking
from radlite.serving.engines import Engine
from radlite.tasks import Example
from tests.evaluation.items import item, said
from tests.evaluation.test_run import items, reader
from tests.test_cli import complains, radlite

MODEL = str(asking.demonstration())
FOLDER = str(base_folder("tiny-qwen3"))
TASKS = ("m_staging", "radiology_nli")
ITEMS = 100
"""Of each task: a whole block, and one that is not."""


def sampled(count: int, split: str = "test") -> list[Example]:
    return [example for task in TASKS for example in sample.examples(task, split, count)]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "corpus"
    corpus.write(folder, [*sampled(12, "train"), *sampled(ITEMS)], {})
    return folder


def given(data: Path, out: Path, *arguments: object) -> list[str]:
    return ["evaluate", MODEL, "--corpus", str(data), "--out", str(out), *map(str, arguments)]


def command(data: Path, out: Path, *arguments: object) -> list[str]:
    return [sys.executable, "-c", "from radlite.cli import main; main()", *given(data, out, *arguments)]


def lines(out: Path) -> dict[str, list[dict[str, object]]]:
    """What all files of answers hold, but for the seconds."""
    return {
        path.relative_to(out).as_posix(): [
            {name: value for name, value in json.loads(line).items() if name != "seconds"}
            for line in path.read_text("utf-8").splitlines()
        ]
        for path in sorted(out.rglob("*.jsonl"))
    }


def answers(out: Path) -> int:
    """How many answers are written."""
    return sum(max(0, path.read_bytes().count(b"\n") - 1) for path in out.rglob("*.jsonl"))


def assert_same(one: Sequence[Answered], other: Sequence[Answered]) -> None:
    """The same answers, as likely; engines with other numbers of threads round in another way."""
    assert [(each.task, each.id, each.status) for each in one] == [(each.task, each.id, each.status) for each in other]
    for left, right in zip(one, other, strict=True):
        assert dict(left.probabilities) == pytest.approx(dict(right.probabilities), abs=0.03)
        assert left.text == right.text or max(left.probabilities.values()) < 0.55


def test_two_engines_answer_what_one_does_in_this_process(tmp_path: Path) -> None:
    asked, train = sampled(ITEMS), sampled(12, "train")
    way = Shots.read("nearest:1")
    [there] = evaluate_models([MODEL], asked, tmp_path / "there", train, [way], workers=2)
    with contextlib.closing(engine.open_model(Path(MODEL), threads=1, remembered=0)) as model:
        own = asking.reader(model, shots=way.pool(train), choose=way.chooser())
        assert_same(evaluate(own, asked, tmp_path / "here"), there.answered)


@pytest.mark.slow
def test_a_run_of_two_engines_that_is_killed_ends_as_one_that_was_left_alone(data: Path, tmp_path: Path) -> None:
    pytest.importorskip("llama_cpp", reason="the other engine keeps what it read, which rounding depends on")
    alone, cut = tmp_path / "alone", tmp_path / "cut"
    subprocess.run(command(data, alone, "--workers", 2), check=True, capture_output=True)
    process = subprocess.Popen(
        command(data, cut, "--workers", 2), start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        while answers(cut) < 40:
            assert process.poll() is None
            time.sleep(0.005)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert answers(cut) < 2 * ITEMS
    subprocess.run(command(data, cut, "--workers", 2), check=True, capture_output=True)
    assert lines(cut) == lines(alone)
    assert answers(cut) == 2 * ITEMS


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), pytest.param(signal.SIGTERM, 143, marks=pytest.mark.slow)]
)
def test_who_interrupts_keeps_what_is_written_and_no_process_stays(
    number: int, code: int, data: Path, tmp_path: Path
) -> None:
    process = subprocess.Popen(command(data, tmp_path, "--workers", 2), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    while answers(tmp_path) < 20:
        assert process.poll() is None
        time.sleep(0.005)
    started = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(number)
    _, told = process.communicate(timeout=60)
    assert process.returncode == code and b"Traceback" not in told
    assert started and psutil.wait_procs(started, timeout=20)[1] == []
    assert 20 <= answers(tmp_path) < 2 * ITEMS
    assert all(found[1:] for found in lines(tmp_path).values() if len(found) > 1)  # every line is whole


def test_answers_that_come_in_any_order_are_written_in_that_of_the_items(tmp_path: Path) -> None:
    asked = [*(item("m_staging", number, "M0") for number in range(150)), *items()[7:]]
    expected = evaluate(reader(), asked, tmp_path / "here")
    whole = {path.name: path.read_bytes() for path in (tmp_path / "here").iterdir()}

    def ask(work: Iterable[Sequence[Example]], add: Add) -> None:
        blocks = list(work)
        assert [len(block) for block in blocks] == [64, 64, 22, 2]

        def answer(block: Sequence[Example]) -> None:
            readings = list(reader().read_many((example.task, example.inputs) for example in block))
            for example, reading in reversed(list(zip(block, readings, strict=True))):
                add(example, reading)
                add(example, replace(reading, text="said a second time"))
                for path in (tmp_path / "there").iterdir():
                    assert whole[path.name].startswith(path.read_bytes())

        with ThreadPoolExecutor(3) as pool:
            list(pool.map(answer, reversed(blocks)))

    assert evaluate(reader(), asked, tmp_path / "there", ask=ask) == expected
    assert {path.name: path.read_bytes() for path in (tmp_path / "there").iterdir()} == whole


def test_what_came_before_its_turn_is_asked_again_after_an_interruption(tmp_path: Path) -> None:
    asked = [item("m_staging", number, "M0") for number in range(150)]
    expected = evaluate(reader(), asked, tmp_path / "here")
    readings = dict(
        zip([one.id for one in asked], reader().read_many((one.task, one.inputs) for one in asked), strict=True)
    )

    def ask(work: Iterable[Sequence[Example]], add: Add) -> None:
        first, second, _ = work
        for example in (*second, *first[:10]):
            add(example, readings[example.id])
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluate(reader(), asked, tmp_path / "there", ask=ask)
    assert answers(tmp_path / "there") == 10
    assert evaluate(reader(), asked, tmp_path / "there") == expected
    assert lines(tmp_path / "there") == lines(tmp_path / "here")


def test_an_item_over_which_an_engine_ended_is_one_without_an_answer(tmp_path: Path) -> None:
    asked = [item("m_staging", number, "M0") for number in range(4)]

    def ask(work: Iterable[Sequence[Example]], add: Add) -> None:
        [block] = work
        for example in block:
            add(example, said("m_staging", "M0", "failed" if example.id == "test-2" else None))

    answered = evaluate(reader(), asked, tmp_path, ask=ask)
    [accuracy] = [row for row in rows(answered, "a", "base") if (row["metric"], row["slice"]) == ("accuracy", "all")]
    assert (accuracy["value"], accuracy["n"]) == (0.75, 4)
    assert answered[2].status == "failed" and answered[2].label is None


def test_what_one_process_finished_opens_no_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    [first] = evaluate_models([MODEL], sampled(2), tmp_path)
    monkeypatch.setattr(Engine, "open", None)
    [again] = evaluate_models([MODEL], sampled(2), tmp_path, workers=2)
    assert again == first


@pytest.mark.parametrize("where", [{"workers": 2}, {"ray": "local"}])
@pytest.mark.parametrize(
    "place",
    [FOLDER, f"{MODEL}+{FOLDER}", "openai:http://127.0.0.1:1/v1#m", "none.gguf"],
    ids=["folder", "file+folder", "server", "missing"],
)
def test_only_gguf_files_are_asked_by_several_engines(place: str, where: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"--workers and --ray take GGUF files only"):
        evaluate_models([MODEL, place], sampled(2), tmp_path / "out", **where)
    assert not (tmp_path / "out").exists()


def test_a_folder_of_a_model_with_workers_is_refused_at_once(tmp_path: Path) -> None:
    done = radlite("evaluate", FOLDER, "--corpus", tmp_path / "none", "--out", tmp_path / "out", "--workers", 2)
    complains(done, "--workers and --ray take GGUF files only", "radlite export")


def test_an_engine_that_cannot_be_opened_is_told_in_one_sentence(tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.gguf"
    content = Path(MODEL).read_bytes()
    damaged.write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match=r"damaged\.gguf"):
        evaluate_models([str(damaged)], sampled(2), tmp_path / "out", workers=2)


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_a_cluster_answers_what_two_engines_do_and_says_what_is_wrong(tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="the extra `ray` is not installed")
    asked, train = sampled(ITEMS), sampled(12, "train")
    ways = [Shots(), Shots.read("nearest:1")]
    here = evaluate_models([MODEL], asked, tmp_path / "here", train, ways, workers=2)
    there = evaluate_models([MODEL], asked, tmp_path / "there", train, ways, workers=2, ray="local")
    for one, other in zip(here, there, strict=True):
        assert one.setup == other.setup
        assert_same(one.answered, other.answered)
    with pytest.raises(UserError, match="cannot be reached"):
        evaluate_models([MODEL], asked, tmp_path / "none", ray="127.0.0.1:1")


def test_reports_that_are_all_to_be_measured_on_need_no_training_rows(tmp_path: Path) -> None:
    corpus.write(tmp_path / "own", sampled(8), {})
    out = tmp_path / "out"
    done = radlite("evaluate", MODEL, "--corpus", tmp_path / "own", "--out", out, "--json")
    assert done.returncode == 0 and b"no training rows of m_staging, radiology_nli" in done.stderr
    found = json.loads(done.stdout)
    assert {row["model"] for row in found} == {"tiny-qwen3"} and {row["n"] for row in found if row["slice"] == "all"}
    lacking = radlite("evaluate", MODEL, "--corpus", tmp_path / "own", "--out", out, "--shots", "2")
    complains(lacking, "no training rows", "leave out --shots")


@pytest.mark.slow
def test_each_split_has_pages_of_its_own_and_train_is_none_to_measure_on(tmp_path: Path) -> None:
    corpus.write(tmp_path / "data", [*sampled(6, "train"), *sampled(6), *sampled(6, "validation")], {})
    out = tmp_path / "out"
    for split in ("test", "validation"):
        done = radlite("evaluate", MODEL, "--corpus", tmp_path / "data", "--out", out, "--split", split)
        assert done.returncode == 0, done.stderr
    assert {path.name for path in out.iterdir() if path.is_file()} - {".lock"} == {
        f"{name}{split}.{kind}" for split in ("", "-validation")
        for name, kind in (("report", "html"), ("report", "md"), ("summary", "json"), ("summary", "md"))
    }  # fmt: skip
    assert b"report-validation.html" in done.stdout
    complains(radlite("evaluate", MODEL, "--corpus", tmp_path / "data", "--out", out, "--split", "train"), "--split")
