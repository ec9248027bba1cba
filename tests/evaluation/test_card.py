"""The model card: its numbers are those of the summary, it is of this very file, and it repeats no report."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from radlite.cli import app
from radlite.data import corpus, sample
from radlite.data.build import build
from radlite.data.sources.sample import source
from radlite.errors import UserError
from radlite.evaluation.metrics import Setup, rows_of
from radlite.evaluation.report import read_rows, write_summary
from radlite.evaluation.run import evaluate, file_identity, runs
from radlite.files import front_matter, sha256
from radlite.reader import Reader
from radlite.runtime import gguf
from radlite.runtime.scripted import ScriptedModel
from radlite.serving.asking import demonstration
from radlite.tasks import TASKS, Example, named
from radlite.tasks.prompting import Prompts
from tests.evaluation.items import item
from tests.export.conftest import rewritten

ASKED = ("m_staging", "radiology_nli", "radiology_qa")
CODES = ("TI-RADS 3", "TI-RADS 4", "LR-5", "BI-RADS 4B")


def radlite(*arguments: object) -> str:
    done = CliRunner().invoke(app, [str(one) for one in arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


def carded(place: Path, model: Path, results: Path, *more: object) -> str:
    radlite("card", model, "--results", results, "--out", place / "README.md", *more)
    return (place / "README.md").read_text("utf-8")


def tables(card: str) -> list[list[list[str]]]:
    """The cells of every Markdown table."""
    found = re.findall(r"(?:^\|.*\|$\n?)+", card, re.MULTILINE)
    return [[re.split(r" ?(?<!\\)\| ?", line)[1:-1] for line in table.strip().split("\n")] for table in found]


def cells(card: str, *heads: str) -> dict[str, list[str]]:
    """The rows, by their first cell, of the table that begins with these heads."""
    [found] = [table for table in tables(card) if table[0][: len(heads)] == list(heads)]
    assert {len(line) for line in found} == {len(found[0])}
    return {line[0]: line[1:] for line in found[2:]}


@pytest.fixture(scope="module")
def items(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small corpus of synthetic reports."""
    folder = tmp_path_factory.mktemp("data") / "corpus"
    build({"sample": None}, folder, known={"sample": source({"train": 12, "validation": 2, "test": 6})})
    return folder


@pytest.fixture(scope="module")
def results(items: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the demonstration model answers, asked by the command line."""
    out = tmp_path_factory.mktemp("out") / "results"
    radlite("evaluate", demonstration(), "--corpus", items, "--out", out, "--tasks", ",".join(ASKED))
    return out


def test_the_numbers_of_the_card_are_those_of_the_summary(results: Path, tmp_path: Path) -> None:
    card = carded(tmp_path, demonstration(), results)
    [index] = front_matter(tmp_path / "README.md")["model-index"]
    assert index["name"] == "demonstration"
    told = {one["task"]["name"]: one["metrics"][0] for one in index["results"]}
    shown = cells(card, "task", "metric", "n", "model", "majority")
    rows = {(row["task"], row["metric"], row["stage"]): row for row in read_rows(results) if row["slice"] == "all"}
    assert told.keys() == shown.keys() == set(ASKED)
    for task in ASKED:
        metric = named(task).metric
        row = rows[task, metric, "quantized"]
        assert told[task]["value"] == pytest.approx(row["value"], abs=5e-5)
        assert told[task]["name"] == f"{metric}, n=6, 95 % interval {row['low']:.2f} to {row['high']:.2f}"
        assert shown[task][:3] == [metric, "6", "tiny-qwen3"]
        base = rows[task, metric, "baseline"]
        for value in (row, base):
            assert any(f"{value['value']:.2f}" in cell and f"{value['low']:.2f}–" in cell for cell in shown[task][3:])
    assert "**All of these items are synthetic" in card
    assert "**Tuned for, but not evaluated:** abnormality_detection" in card


def test_the_metadata_has_the_hubs_form(results: Path, tmp_path: Path) -> None:
    hub = pytest.importorskip("huggingface_hub")
    carded(tmp_path, demonstration(), results)
    data = hub.ModelCard.load(tmp_path / "README.md").data
    told = data.to_dict()
    assert [one.task_name for one in data.eval_results] == list(ASKED)
    assert {one.dataset_split for one in data.eval_results} == {"test"}
    expected = {"language": "en", "pipeline_tag": "text-generation", "base_model": "tiny-qwen3", "library_name": "gguf"}
    assert {name: told[name] for name in expected} == expected
    assert data.license is None  # the file was made before training recorded it


def test_no_text_of_a_report_or_of_the_model_is_in_the_card(items: Path, results: Path, tmp_path: Path) -> None:
    card = " ".join(carded(tmp_path, demonstration(), results).split())
    texts = [text for task in ASKED for row in corpus.read(items, task, "test") for text in row.inputs.values()]
    for path in results.glob("*/*.jsonl"):
        texts += [json.loads(line)["text"] for line in path.read_text("utf-8").split("\n")[1:-1]]
    pieces = [words[at : at + 4] for words in map(str.split, texts) for at in range(len(words) - 3)]
    assert len(pieces) > 500
    assert [piece for piece in pieces if " ".join(piece) in card] == []


def test_the_same_inputs_make_the_same_card_and_an_earlier_one_is_replaced(results: Path, tmp_path: Path) -> None:
    card = carded(tmp_path, demonstration(), results)
    assert carded(tmp_path, demonstration(), results) == card
    [run] = [path for path in results.iterdir() if path.is_dir()]
    assert carded(tmp_path, demonstration(), run) == card
    assert [path.name for path in tmp_path.iterdir()] == ["README.md"]


@pytest.mark.parametrize("content", ["# My thesis\n", "---\ntags: [mine]\n---\n", "---\n- [\n---\n", "\x00"])
def test_a_readme_of_someone_else_is_left_alone(results: Path, tmp_path: Path, content: str) -> None:
    (tmp_path / "README.md").write_text(content)
    with pytest.raises(UserError, match="not written by radlite card; choose another place"):
        carded(tmp_path, demonstration(), results)
    assert (tmp_path / "README.md").read_text() == content


def test_answers_of_another_file_are_refused(results: Path, tmp_path: Path) -> None:
    other = tmp_path / "demonstration.gguf"
    content = bytearray(demonstration().read_bytes())
    content[-1] ^= 1
    other.write_bytes(content)
    with pytest.raises(
        UserError, match=r"holds no answers of .*demonstration\.gguf, only of other models; run radlite"
    ):
        carded(tmp_path, other, results)
    assert not (tmp_path / "README.md").exists()


@pytest.mark.parametrize("content", [b"", b"not a model", b"GGUF" + bytes(100)])
def test_a_damaged_file_is_named(results: Path, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "odd.gguf").write_bytes(content)
    with pytest.raises(UserError, match=r"odd\.gguf"):
        carded(tmp_path, tmp_path / "odd.gguf", results)
    (tmp_path / "odd.gguf").write_bytes(demonstration().read_bytes()[:-100_000])
    with pytest.raises(UserError, match="cut short"):
        carded(tmp_path, tmp_path / "odd.gguf", results)


@pytest.mark.parametrize("name", ['a"b: [x](y) | <b>`*', "- --- #", "two\nlines\x1b[31m", "'%@!{}&$~", "no\udcff utf"])
def test_a_name_means_nothing_to_yaml_or_markdown(results: Path, tmp_path: Path, name: str) -> None:
    model = Path(shutil.copy(demonstration(), tmp_path / f"{name}.gguf"))
    card = carded(tmp_path, model, results)
    [index] = front_matter(tmp_path / "README.md")["model-index"]
    assert "\n" not in index["name"] and "\x1b" not in card
    [title] = [line for line in card.split("\n") if line.startswith("# ")]
    assert not re.search(r"(?<!\\)[<|`*\[#]", title[2:])
    assert cells(card, "", "")["file"][0].endswith(".gguf")
    assert len(re.findall(r"^## ", card, re.MULTILINE)) == 7


# Answers of a scripted model in the name of the demonstration file


def examples(split: str = "test", count: int = 40) -> list[Example]:
    return [
        *(item("rads_assignment", n, CODES[n % 4], split) for n in range(count)),
        *(item("radiology_nli", n, ("neutral", "entailment")[n % 4 == 0], split) for n in range(count)),
    ]


def asked(folder: Path, say: Callable[[str], str], rows: list[Example], model: Path | None = None, **how: Any) -> Path:
    """A run in which `say` answers; `how` may hold `shots`, `prompts`."""
    reader = Reader(ScriptedModel(say), prompts=how.get("prompts", Prompts()))
    setup = Setup("tiny-qwen3", "quantized", how.get("shots", 0))
    evaluate(reader, rows, folder, sha256(model or demonstration()), setup=setup)
    return folder


def wrong(prompt: str) -> str:
    """Never LR-5, which it calls BI-RADS 2, and every relation neutral, where it can be read."""
    if "radiology_nli" in prompt:
        return "perhaps" if "item 7 " in prompt else "neutral"
    return next((code for code in CODES if code.split()[0].lower() in prompt and code != "LR-5"), "BI-RADS 2")


def test_failures_are_named_with_their_numbers(tmp_path: Path) -> None:
    rows = examples()
    asked(tmp_path / "out" / "run", wrong, rows)
    card = carded(tmp_path, demonstration(), tmp_path / "out")
    classes = cells(card, "class")
    assert classes["wrong_system"][1] == "10" and classes["wrong_system"][2].startswith("0.25 (")
    worst = [line for table in tables(card) if table[0][:2] == ["task", "label"] for line in table[2:]]
    assert ["radiology_nli", "entailment", "10", "0.00 (0.00 to 0.28) (few)"] in worst
    lower = [line for table in tables(card) if table[0][:2] == ["task", "slice"] for line in table[2:]]
    assert [line[:3] for line in lower if line[1] == "LI-RADS"] == [["rads_assignment", "LI-RADS", "10"]]
    assert "rads_assignment: LI-RADS (10)" in card
    [lost] = [line for table in tables(card) if table[0][:2] == ["task", "answer"] for line in table[2:]]
    assert lost == ["radiology_nli", "could not be read", "1", "40"]
    assert "No baselines on the same items were at hand for radiology_nli, rads_assignment" in card


def test_other_splits_shots_and_prompts_are_no_headline_and_told_in_a_line(tmp_path: Path) -> None:
    out = tmp_path / "out"
    asked(out / "few", wrong, examples(), shots=3)
    asked(out / "first", wrong, examples(), prompts=Prompts("task-first"))
    asked(out / "valid", wrong, examples("validation"))
    with pytest.raises(UserError, match="none to the test split in the usual prompts"):
        carded(tmp_path, demonstration(), out)
    asked(out / "usual", lambda _: "?", examples())
    card = carded(tmp_path, demonstration(), out)
    for way in ("test split, 3 solved examples", "test split, no solved examples, other prompts", "validation split"):
        assert way in card
    assert {
        one["metrics"][0]["value"] for one in front_matter(tmp_path / "README.md")["model-index"][0]["results"]
    } == {0}
    asked(out / "again", wrong, examples())
    with pytest.raises(UserError, match=r"several runs of .* \(again, usual\); give the folder of one"):
        carded(tmp_path, demonstration(), out)


def test_baselines_of_other_items_are_left_out(results: Path, tmp_path: Path) -> None:
    shutil.copytree(results, tmp_path / "out")
    path = tmp_path / "out" / "summary.json"
    summary = json.loads(path.read_text("utf-8"))
    for row in summary["rows"]:
        if row["task"] == "m_staging":
            row["n"] += 1
    path.write_text(json.dumps(summary))
    card = carded(tmp_path, demonstration(), tmp_path / "out")
    shown = cells(card, "task", "metric", "n", "model", "majority")
    assert shown["m_staging"][3] == "" and shown["radiology_nli"][3] != ""
    assert "No baselines on the same items were at hand for m_staging." in card


def test_the_base_as_it_is_stands_beside_the_tuned_model(tmp_path: Path) -> None:
    out = tmp_path / "out"
    asked(out / "run", wrong, examples())
    [run] = runs(out)
    base = Setup("tiny-qwen3", "base")
    others = [Setup("tiny-qwen3", "base", 3), Setup("elsewhere", "base"), Setup("elsewhere", "tuned")]
    rows = [row for setup in (run.setup, base, *others) for row in rows_of(run.answered, setup)]
    write_summary(out, rows, {})
    card = carded(tmp_path, demonstration(), out)
    [heads] = [table[0] for table in tables(card) if table[0][:4] == ["task", "metric", "n", "model"]]
    assert heads[4:] == ["base", "tuned quantized"]
    assert "elsewhere" not in card


def test_a_run_of_two_models_is_refused(tmp_path: Path) -> None:
    folder = asked(tmp_path / "out" / "run", wrong, examples())
    path = folder / "radiology_nli.jsonl"
    path.write_text(path.read_text("utf-8").replace(sha256(demonstration()), "0" * 64, 1))
    with pytest.raises(UserError, match="answers of several models"):
        carded(tmp_path, demonstration(), tmp_path / "out")


HOSTILE = "x\n---\n| <script> ]( `"


def remade(tmp_path: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    """The demonstration file with another manifest, and answers of it in `out`."""
    made = json.loads(json.dumps(gguf.read(demonstration()).manifest))
    change(made)
    model = rewritten(demonstration(), tmp_path / "model.gguf", {"radlite.manifest": json.dumps(made)})
    asked(tmp_path / "out" / "run", wrong, examples(), model)
    return model


def test_sources_and_licences_stand_as_training_recorded_them(tmp_path: Path) -> None:
    def change(made: dict[str, Any]) -> None:
        made["source"]["base"]["name"] = HOSTILE
        made["source"]["adapter"] |= {
            "sources": [
                {
                    "source": "openi",
                    "title": HOSTILE,
                    "access": "open",
                    "tier": "silver",
                    "licence": "a: b",
                    "rows": 9000,
                },
                {"source": "own"},
                "odd",
            ],
            "base_model": "Qwen/Qwen3-4B",
            "base_licence": {"license": "other", "license_name": "some-licence", "license_link": "LICENSE: 'x'"},
        }

    card = carded(tmp_path, remade(tmp_path, change), tmp_path / "out")
    head = front_matter(tmp_path / "README.md")
    assert (head["base_model"], head["license"], head["license_name"]) == ("Qwen/Qwen3-4B", "other", "some-licence")
    assert head["license_link"] == "LICENSE: 'x'"
    learned = cells(card, "source", "what")
    assert learned["openi"][1:] == ["open", "silver", "a: b", "9,000"]
    assert learned["own"][0] == "not recorded in the file"
    assert "<script>" not in card.replace(r"\<script", "") and ": some-licence." in card
    assert yaml.safe_load(card.split("\n---\n")[0].removeprefix("---\n"))["tags"] == ["radlite", "radiology", "gguf"]


@pytest.mark.parametrize(
    "wrong_part",
    [{"source": None}, {"source": {"kind": "merged", "base": {"name": 3}, "adapter": [1]}}, {"kind": "other"},
     {"quantization": {"a": 1}, "created": [], "versions": "none"}],
)  # fmt: skip
def test_a_manifest_that_tells_little_or_nonsense_is_said_to_tell_nothing(
    tmp_path: Path, wrong_part: dict[str, Any]
) -> None:
    card = carded(tmp_path, remade(tmp_path, lambda made: made.update(wrong_part)), tmp_path / "out")
    assert "not recorded in the file" in card
    assert cells(card, "task", "metric", "n", "model").keys() == {"rads_assignment", "radiology_nli"}


def test_a_file_that_radlite_did_not_make_is_told_as_such(tmp_path: Path) -> None:
    model = rewritten(demonstration(), tmp_path / "model.gguf", {"radlite.manifest": "[]"})
    asked(tmp_path / "out" / "run", wrong, examples(), model)
    card = carded(tmp_path, model, tmp_path / "out")
    assert "which radlite did not tune" in card and "base_model" not in front_matter(tmp_path / "README.md")


def test_the_identity_of_an_adapter_is_of_both_files(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_bytes(b"1")
    two.write_bytes(b"2")
    assert len({file_identity(one), file_identity(one, two), file_identity(two, one)}) == 3


def test_every_task_of_ours_can_be_in_a_card(tmp_path: Path) -> None:
    rows = [row for task in TASKS for row in sample.examples(task, "test", 3)]
    asked(tmp_path / "out" / "run", lambda _: "M0", rows)
    card = carded(tmp_path, demonstration(), tmp_path / "out")
    assert cells(card, "task", "metric", "n", "model").keys() == set(TASKS)
    assert "not evaluated" not in card.lower()
