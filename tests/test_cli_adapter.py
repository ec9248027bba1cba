"""Adapters on the command line: exported alone, used over their base, in one report, in tables, in evaluation."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from radlite import manifest
from radlite.errors import UserError
from radlite.routing.router import Choice, Router
from radlite.runtime import gguf as header
from radlite.runtime import layout
from radlite.serving.batch import run
from radlite.serving.engines import Engine
from radlite.tasks import TASKS
from tests import lora
from tests.conftest import random_base
from tests.runtime import gguf_file
from tests.serving.test_batch import interrupted, job, read, reports, write
from tests.test_cli import REPORT, complains, radlite

COST = "slower than a merged file"


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the command exports: base.gguf, tuned.gguf (the adapter) and merged.gguf, all as exact as can be."""
    room = tmp_path_factory.mktemp("room")
    base = lora.in_float32(random_base("qwen3", tmp_path_factory.mktemp("random")), room / "base")
    (base / manifest.NAME).unlink(missing_ok=True)  # as a model of the hub has none
    wording = {name: task.wording for name, task in TASKS.items()} | {"n_staging": "another"}
    made = lora.write(base, room / "adapter", 0.05, {"wording": wording}, use_rslora=True)
    for arguments in (
        (base, "--quantize", "F32", "--out", room / "base.gguf"),
        (made, "--quantize", "F32", "--out", room / "merged.gguf"),
        (made, "--adapter-only", "--out", room / "tuned.gguf"),
    ):
        done = radlite("export", *arguments)
        assert done.returncode == 0, done.stderr
    return room


@pytest.fixture
def report(tmp_path: Path) -> Path:
    (tmp_path / "report.txt").write_text(REPORT)
    return tmp_path / "report.txt"


def over(room: Path) -> tuple[object, ...]:
    return "--model", room / "base.gguf", "--adapter", room / "tuned.gguf"


@pytest.mark.parametrize("engine", ["native", "wheel"])
def test_an_adapter_over_its_base_answers_as_the_merged_model(room: Path, report: Path, engine: str) -> None:
    if engine == "native":
        pytest.importorskip("llama_cpp", reason="the native engine is compiled by `make native`")
    asked = ("read", report, "--task", "m_staging,n_staging,radiology_ner", "--engine", engine, "--json")
    done = radlite(*asked, *over(room))
    assert done.returncode in (0, 1) and COST in done.stderr.decode()
    found, expected = json.loads(done.stdout), json.loads(radlite(*asked, "--model", room / "merged.gguf").stdout)
    for one, other in zip(found, expected, strict=True):
        assert (one["text"], one["warnings"]) == (other["text"], other["warnings"])
        assert one["tokens"]["prompt"] == other["tokens"]["prompt"]  # asked as it was tuned: by cue
        assert one["probabilities"] == pytest.approx(other["probabilities"], abs=0.02)
        assert (one["model"], other["model"]) == ("base+tuned", "merged")
    assert any("another wording" in warning for warning in found[1]["warnings"]) and not found[0]["warnings"]
    untuned = radlite(*asked, "--model", room / "base.gguf")
    assert COST not in untuned.stderr.decode()
    alone = json.loads(untuned.stdout)
    assert alone[0]["tokens"]["prompt"] > found[0]["tokens"]["prompt"]
    assert [one["probabilities"] for one in alone] != [one["probabilities"] for one in found]


def test_a_router_names_an_adapter_by_its_base(room: Path, report: Path, tmp_path: Path) -> None:
    Router({"m_staging": Choice("base", "accuracy", 1.0, 0.9, 1.0, 9, "the only one")}).save(tmp_path / "router.json")
    done = radlite("read", report, "--task", "m_staging", *over(room), "--router", tmp_path / "router.json", "--json")
    assert json.loads(done.stdout)["model"] == "base+tuned"


def test_what_does_not_belong_together_gets_one_sentence(room: Path, report: Path, tmp_path: Path) -> None:
    read = ("read", report, "--task", "m_staging")
    base, tuned, merged = (room / f"{name}.gguf" for name in ("base", "tuned", "merged"))
    complains(radlite(*read, "--adapter", tuned), "one model")
    complains(radlite(*read, *over(room), "--model", merged), "one model")
    complains(radlite(*read, "--model", tuned), "tuned.gguf is an adapter")
    complains(radlite(*read, "--model", base, "--adapter", merged), "merged.gguf is no adapter")
    complains(radlite(*read, "--model", merged, "--adapter", tuned), "trained on other weights")
    complains(radlite(*read, "--model", base, "--adapter", tmp_path / "none.gguf"), "none.gguf")
    complains(radlite("batch", report, tmp_path / "out.csv", "--task", "m_staging", "--adapter", tuned), "one model")
    made = room / "adapter"
    for option in (("--quantize", "Q8_0"), ("--merged", tmp_path / "merged")):
        complains(radlite("export", made, "--adapter-only", *option, "--out", tmp_path / "a.gguf"), "--quantize")
    complains(radlite("export", room / "base", "--adapter-only", "--out", tmp_path / "a.gguf"), "radlite.json")
    complains(radlite("verify", base, "--base", room / "base", "--against", made, "--corpus", room), "--adapter")
    complains(radlite("verify", base, "--against", room / "base"), "--corpus", "--file-only")
    complains(radlite("verify", base, "--against", room / "base", "--corpus", room, "--file-only"), "or else")
    alone = radlite("verify", base, "--against", room / "base", "--file-only", "--json")
    assert alone.returncode == 0 and len(json.loads(alone.stdout)["checks"]) == 3
    assert not (tmp_path / "a.gguf").exists()


def test_files_of_others_are_refused_unless_asked_for(room: Path, report: Path, tmp_path: Path) -> None:
    read = ("read", report, "--task", "m_staging")
    foreign = gguf_file.write(room / "base", tmp_path / "foreign.gguf")
    both = ("--model", foreign, "--adapter", room / "tuned.gguf")
    complains(radlite(*read, *both), "foreign.gguf was not made by radlite", "--any-model")
    assert radlite(*read, *both, "--any-model").stdout.decode().strip() in {"M0", "M1"}


def test_a_table_is_read_with_an_adapter_which_its_journal_depends_on(
    room: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table, out = write(tmp_path / "in.csv", reports(6)), tmp_path / "out.jsonl"
    plain = Engine(room / "base.gguf", threads=1)
    tuned = replace(plain, adapter=room / "tuned.gguf")
    with interrupted(monkeypatch, after=3):
        run(job(table, out), tuned)
    other = shutil.copy(room / "tuned.gguf", tmp_path / "other.gguf")
    with Path(other).open("ab") as file:
        file.write(b"\0")
    for engine in (plain, replace(plain, adapter=Path(other))):
        with pytest.raises(UserError, match="different adapter"):
            run(job(table, out), engine)
    run(job(table, out), tuned)
    run(job(table, tmp_path / "merged.jsonl"), replace(plain, path=room / "merged.gguf"))

    def told(path: Path) -> list[tuple[Any, ...]]:
        return [(row["row"], row["status"], row["answer"]) for row in read(path)]

    assert told(out) == told(tmp_path / "merged.jsonl")
    assert {row["model"] for row in read(out)} == {"base+tuned"}


def test_two_gguf_files_are_evaluated_as_the_tuned_model_that_they_are(room: Path) -> None:
    from radlite.evaluation.run import open_model

    found, merged = open_model(f"{room / 'base.gguf'}+{room / 'tuned.gguf'}"), open_model(str(room / "merged.gguf"))
    assert (found.name, found.stage, found.style) == (merged.name, merged.stage, merged.style)
    assert (found.stage, found.style) == ("tuned", "cue")
    assert len({one.identity for one in (found, merged, open_model(str(room / "base.gguf")))}) == 3
    for one in (found, merged):
        one.model.close()


def test_a_card_is_of_the_adapter_and_its_base_together(room: Path, tmp_path: Path) -> None:
    from radlite.evaluation.metrics import Setup
    from radlite.evaluation.run import evaluate, file_identity
    from radlite.files import front_matter
    from radlite.reader import Reader
    from radlite.runtime.scripted import ScriptedModel
    from tests.evaluation.items import item

    base, tuned, out = room / "base.gguf", room / "tuned.gguf", tmp_path / "README.md"
    rows, setup = [item("m_staging", number, "M0") for number in range(3)], Setup("base", "tuned")
    evaluate(Reader(ScriptedModel(lambda _: "M0")), rows, tmp_path / "run", file_identity(base, tuned), setup=setup)
    asked = ("--results", tmp_path / "run", "--out", out)
    complains(radlite("card", base, *asked), "holds no answers of", "base.gguf")
    done = radlite("card", base, "--adapter", tuned, *asked)
    assert done.returncode == 0, done.stderr
    head = front_matter(out)
    assert (head["base_model"], head["base_model_relation"]) == ("base", "adapter")
    assert head["model-index"][0]["name"] == "tuned"
    assert "--model base.gguf --adapter tuned.gguf" in out.read_text("utf-8")


def test_a_base_without_a_manifest_is_exported_as_it_is(room: Path) -> None:
    made = header.read(room / "base.gguf").manifest
    assert made and made["weights_hash"] == manifest.weights_hash(room / "base") and made["source"] is None
    assert manifest.tuned_base(made) is None
    assert layout.settings(room / "base")["architectures"] == ["Qwen3ForCausalLM"]
