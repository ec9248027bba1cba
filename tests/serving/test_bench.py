"""What `radlite bench` measures of a model and of a shape, with both engines; no test says how fast it has to be."""

import dataclasses
import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from typer.testing import CliRunner

from radlite.cli import app
from radlite.errors import UserError
from radlite.runtime import gguf, machine, memory, shape, tuning
from radlite.serving import asking, bench
from radlite.serving.bench import Bench
from tests.test_cli import complains, radlite

ENGINES = ["native", "wheel"]


@pytest.fixture(scope="module", params=ENGINES)
def found(request: pytest.FixtureRequest) -> Bench:
    """The demonstration model, measured with no time to spare: one report, a batch of two."""
    if request.param == "native":
        pytest.importorskip("llama_cpp", reason="the native engine is compiled by `make native`")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(machine, "_SECONDS", 0.0)
        return bench.measure(asking.demonstration(), request.param, threads=1, seconds=0.0)


def spreads(value: Any) -> list[bench.Spread]:
    if isinstance(value, bench.Spread):
        return [value]
    parts: list[Any] = []
    if isinstance(value, dict):
        parts = list(value.values())
    elif dataclasses.is_dataclass(value):
        parts = [getattr(value, field.name) for field in dataclasses.fields(value)]
    return [spread for part in parts for spread in spreads(part)]


def test_every_number_has_a_spread_and_says_of_how_many(found: Bench) -> None:
    assert len(spreads(found)) == 3 + 3 * len(bench.PANEL) + 3 + 2
    for one in spreads(found):
        assert 0 <= one.least <= one.median <= one.most and one.n >= 1


def test_one_report_is_read_however_short_the_time_each_task_alone_and_all_together(found: Bench) -> None:
    assert tuple(found.tasks) == bench.PANEL
    for task in found.tasks.values():
        assert task.seconds.n == 1 and task.written >= 1
        assert task.prefill.median > 0
        assert task.prefill.median + task.decode.median == pytest.approx(task.seconds.median)
        assert 150 <= task.read < 600  # the whole report: nothing of it was there from the task before
    assert found.single.seconds.median == pytest.approx(sum(task.seconds.median for task in found.tasks.values()))
    assert found.gain.median == pytest.approx(found.single.seconds.median / found.panel.median)
    assert found.batch.reports == 2
    assert found.batch.hourly == pytest.approx(3600 * 2 / found.batch.seconds)


def test_a_task_alone_reads_its_whole_report(found: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    header = gguf.read(asking.demonstration())
    native = found.engine == "native"
    model = bench._opened(header, native, None, 1, tuning.Settings(1))
    subject = bench._Subject(model, native, header)
    cached: list[int] = []
    complete = model.complete

    def watched(*arguments: Any) -> Any:
        for number, done in complete(*arguments):
            cached.append(done.cached_tokens)
            yield number, done

    monkeypatch.setattr(model, "complete", watched)
    [asked] = subject.requests(bench.PANEL, 1, seed=0)
    report = 150  # tokens at least
    for request in asked.values():
        subject.forget()
        subject.ask([request])
        assert cached[-1] < report / 2
    cached.clear()
    subject.ask(list(asked.values()))
    assert sum(count > report for count in cached) >= len(asked) - 1
    model.close()


def test_rates_are_held_against_what_the_machine_can_do(found: Bench) -> None:
    assert list(found.prefill) == [256, 1024]
    assert found.decode.limit == pytest.approx(found.bandwidth / found.model.read_bytes)
    assert found.prefill[256].limit == pytest.approx(found.compute.rate / found.model.multiply_adds)
    for rate in (*found.prefill.values(), found.decode):
        assert rate.share == pytest.approx(rate.tokens.median / rate.limit)
    assert found.settings and found.settings.threads == 1 and found.chosen == "given"
    assert found.peak_bytes is None or found.peak_bytes > found.model.file_bytes
    assert found.needed_bytes > found.model.read_bytes


def test_work_of_a_token_comes_from_the_tensors(tmp_path: Path) -> None:
    tied = bench._about(gguf.read(shape.write("qwen3-0.6b", tmp_path / "one.gguf", "Q8_0", layers=1)))
    hidden, wide, query, key = 1024, 3072, 16 * 128, 8 * 128
    assert tied.multiply_adds == hidden * (query + 2 * key + query + 3 * wide)
    matrices = tied.multiply_adds + 151_936 * hidden
    assert tied.parameters == matrices + 3 * hidden + 2 * 128
    assert tied.read_bytes == matrices // 32 * 34 + 4 * (3 * hidden + 2 * 128)
    shapes = {"blk.0.attn_q.weight.lora_a": (hidden, 64), "blk.0.attn_q.weight.lora_b": (64, query)}
    over = gguf.Header(tmp_path / "one.gguf", {}, shapes, dict.fromkeys(shapes, 1))
    added = bench._about(gguf.read(tmp_path / "one.gguf"), over)
    assert added.multiply_adds - tied.multiply_adds == 64 * (hidden + query)
    assert added.read_bytes - tied.read_bytes == 2 * 64 * (hidden + query)
    assert added.name == "one+one" and added.file_bytes == 2 * tied.file_bytes
    assert tied.random and tied.quantization == "Q8_0" and tied.name == "one"
    loose = gguf.read(asking.demonstration())
    loose = dataclasses.replace(
        loose,
        tensors={**loose.tensors, "output.weight": loose.tensors["token_embd.weight"]},
        types={**loose.types, "output.weight": loose.types["token_embd.weight"]},
    )
    assert bench._about(loose).read_bytes == bench._about(gguf.read(asking.demonstration())).read_bytes


def test_reports_have_the_length_of_reports_and_answers_that_of_true_ones() -> None:
    renderer = gguf.read(asking.demonstration()).renderer()
    found = bench.items(renderer, bench.PANEL, 5, seed=0)
    assert found == bench.items(renderer, bench.PANEL, 5, seed=0) != bench.items(renderer, bench.PANEL, 5, seed=1)
    assert len({items[0][1] for items in found}) == 5
    for items in found:
        assert [task for task, _, _ in items] == list(bench.PANEL)
        assert 150 <= len(renderer.tokenizer.encode(items[0][1])) <= 350
        assert all(1 <= tokens <= 200 for _, _, tokens in items)


def test_the_picture_shows_each_task_with_prefill_and_decode(found: Bench, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="pictures need the extra data")
    bench.draw(found, tmp_path / "p.svg")
    bench.draw(found, tmp_path / "p.PNG")
    drawn = (tmp_path / "p.svg").read_text()
    for text in (*bench.PANEL, bench.ONE_BY_ONE, bench.TOGETHER, "prefill", "decode"):
        assert text in drawn
    assert (tmp_path / "p.PNG").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_a_shape_is_measured_like_a_model_and_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench.tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(machine, "_SECONDS", 0.0)
    monkeypatch.setattr(bench, "_TIMES", 1)
    told: list[str] = []
    with bench.shape_file("qwen3-0.6b", layers=1, told=told.append) as path:
        [asked] = bench.items(gguf.read(path).renderer(), bench.PANEL, 1, seed=0)
        found = bench.measure(path, context=1024, threads=1, seconds=0.0, told=told.append)
    assert found.model.random and found.model.quantization == "Q4_K_M"
    assert list(found.prefill) == [256]  # 1,024 do not fit
    assert [found.tasks[task].written for task in bench.FREE] == [
        tokens for task, _, tokens in asked if task in bench.FREE
    ]  # as long as true answers: noise does not end by itself
    assert told[0].startswith("writing 0.2 GB of random weights")
    assert list(tmp_path.iterdir()) == []


def test_the_command_prints_one_json_document_or_tables(tmp_path: Path) -> None:
    done = radlite("bench", "--reports", 1, "--threads", 1, "--json", "--plot", tmp_path / "p.svg")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert list(told["tasks"]) == list(bench.PANEL) and told["batch"]["reports"] == bench.BATCH_REPORTS
    assert not told["model"]["random"] and b"demonstration" in done.stderr
    assert (tmp_path / "p.svg").is_file()


def test_the_trials_of_the_tuning_are_shown_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("llama_cpp", reason="the native engine is compiled by `make native`")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(machine, "_SECONDS", 0.0)
    monkeypatch.setattr(machine, "cores", lambda *_: 1)
    measured = tuning.measure
    monkeypatch.setattr(tuning, "measure", lambda header: measured(header, seconds=0.0))
    found = bench.measure(asking.demonstration(), "native", tune=True, seconds=0.0)
    assert found.chosen == "measured" and found.trials == tuning.stored(gguf.read(asking.demonstration()))
    assert found.settings == found.trials[0].settings
    bench.show(found, Console(file=(printed := io.StringIO()), width=120))
    for words in ("(measured)", "Settings that were tried", "2 reports in", "int8", "decode", *bench.PANEL):
        assert words in printed.getvalue()
    assert "random" not in printed.getvalue()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ended_it_leaves_nothing_behind(number: int, tmp_path: Path) -> None:
    command = [sys.executable, "-c", "from radlite.cli import main; main()", "bench", "--shape", "qwen3-4b"]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={**os.environ, "TMPDIR": str(tmp_path)},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    while process.poll() is None and not list(tmp_path.glob("*/.*.part")):
        time.sleep(0.02)
    process.send_signal(number)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 128 + number and b"Traceback" not in told
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--shape", "qwen9"], ["qwen9", "qwen2.5-3b"]),
        (["--shape", "qwen2.5-3b", "--quantization", "Q1"], ["Q1", "Q4_K_M"]),
        (["--shape", "qwen2.5-3b", "--layers", "99"], ["36 layers"]),
        (["--shape", "qwen2.5-3b", "--vocabulary", "none.gguf"], ["none.gguf"]),
        (["none.gguf"], ["none.gguf"]),
        (["none.gguf", "--shape", "qwen2.5-3b"], ["not both"]),
        (["--layers", "1"], ["--shape"]),
        (["--adapter", "a.gguf"], ["one model"]),
        (["--shape", "qwen3-4b", "--adapter", "a.gguf"], ["one model"]),
        (["--keep", "x.gguf"], ["--shape"]),
        (["--engine", "fast"], ["fast", "native"]),
        (["--engine", "wheel", "--tune"], ["--tune", "--engine native"]),
        (["--threads", "1", "--tune"], ["--tune", "--threads"]),
        (["--plot", "x.pdf"], [".png", ".svg"]),
        (["--context", "9999"], ["2,048 tokens of context"]),
        (["--context", "256", "--engine", "wheel"], ["needs", "--context"]),
    ],
)
def test_what_cannot_be_measured_gets_one_sentence(arguments: list[str], words: list[str]) -> None:
    done = CliRunner().invoke(app, ["bench", *arguments])
    assert isinstance(done.exception, UserError) and done.stdout == ""
    assert all(word in str(done.exception) for word in words)


def test_a_file_that_is_there_is_not_written_over(tmp_path: Path) -> None:
    keep = tmp_path / "mine.gguf"
    keep.write_text("mine")
    complains(radlite("bench", "--shape", "qwen3-0.6b", "--layers", 1, "--keep", keep), "there already", "mine.gguf")
    assert keep.read_text() == "mine"


@pytest.mark.parametrize("what", ["disk", "memory"])
def test_a_shape_that_does_not_fit_is_refused_before_it_is_written(
    what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep = tmp_path / "new" / "kept.gguf"
    if what == "disk":
        monkeypatch.setattr(bench.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 10**9}))
    else:
        monkeypatch.setattr(memory, "available", lambda *_: 10**9)
    with pytest.raises(UserError, match=r"1\.0 GB (are )?free"), bench.shape_file("qwen3-4b", keep):
        pytest.fail("it was written")
    assert list(tmp_path.iterdir()) == []


def test_a_shape_that_is_kept_is_there_afterwards(tmp_path: Path) -> None:
    with bench.shape_file("qwen3-0.6b", tmp_path / "new" / "kept.gguf", layers=1) as path:
        pass
    assert gguf.read(path).path == tmp_path / "new" / "kept.gguf"
