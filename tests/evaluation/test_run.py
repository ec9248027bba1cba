"""Evaluation runs: every answer on disk as it comes, continued after any interruption, nothing leaks."""

import dataclasses
import json
import shutil
import threading
import zlib
from pathlib import Path
from typing import Any

import pytest

from radlite import manifest
from radlite.chat import Renderer
from radlite.data import corpus
from radlite.errors import UserError
from radlite.evaluation import selection
from radlite.evaluation.metrics import Row, Setup, rows, rows_of
from radlite.evaluation.run import Run, evaluate, evaluate_models, open_model, runs
from radlite.evaluation.selection import Shots
from radlite.reader import Asked, Reader
from radlite.runtime.scripted import ScriptedModel
from radlite.tasks import Example
from radlite.tasks.prompting import OURS, Prompts
from tests.evaluation.items import item

SAID = ("M0", "M1", "not sure", "M0 \u2028 é")
LONG = "The report goes on and on. " * 200


def items(count: int = 7) -> list[Example]:
    texts = [LONG if number == 2 else f"Report {number}: " + "no change. " * number for number in range(count)]
    return [
        item("m_staging", number, f"M{number % 2}", inputs={"report": text}) for number, text in enumerate(texts)
    ] + [item("radiology_qa", number, "Left lung.") for number in range(2)]


def scripted(interrupted_after: int = 10**9) -> ScriptedModel:
    """Answers by the prompt, sometimes in no readable form; the interrupt comes where an engine is at work."""

    def answer(prompt: str) -> str:
        if len(model.prompts) > interrupted_after:
            raise KeyboardInterrupt
        return SAID[zlib.crc32(prompt.encode()) % len(SAID)]

    model = ScriptedModel(answer, context_tokens=1_000)
    return model


def reader(interrupted_after: int = 10**9) -> Reader:
    return Reader(scripted(interrupted_after))


def test_every_item_is_answered_judged_and_counted(tmp_path: Path) -> None:
    answered = evaluate(reader(), items(), tmp_path)
    assert [(answer.task, answer.id) for answer in answered] == [(one.task, one.id) for one in items()]
    assert {answer.status for answer in answered} == {"ok", "unreadable", "too_long"}
    assert answered[2].status == "too_long"
    found = rows(answered[:7], "a", "base")
    [lost] = [row for row in found if (row["metric"], row["slice"]) == ("too_long", "all")]
    assert (lost["value"], lost["n"]) == (pytest.approx(1 / 7), 7)


def test_the_files_hold_the_answers_but_no_report(tmp_path: Path) -> None:
    answered = evaluate(reader(), items(), tmp_path)
    lines = [
        json.loads(line)
        for task in ("m_staging", "radiology_qa")
        for line in (tmp_path / f"{task}.jsonl").read_text("utf-8").split("\n")[1:-1]
    ]
    assert lines == [json.loads(json.dumps(dataclasses.asdict(answer))) for answer in answered]
    text = (tmp_path / "m_staging.jsonl").read_text("utf-8")
    assert "no change" not in text and "goes on" not in text
    assert json.loads(text.splitlines()[1])["id"] == "test-0"


@pytest.mark.slow
def test_cut_at_any_byte_the_file_is_completed_to_the_same_bytes(tmp_path: Path) -> None:
    questions = items()[1:4]
    path = tmp_path / "m_staging.jsonl"
    expected = evaluate(reader(), questions, tmp_path)
    whole = path.read_bytes()
    for length in range(len(whole) + 1):
        path.write_bytes(whole[:length])
        assert evaluate(reader(), questions, tmp_path) == expected
        assert path.read_bytes() == whole


def test_a_tail_of_zeros_after_a_power_cut_is_dropped(tmp_path: Path) -> None:
    evaluate(reader(), items(), tmp_path)
    path = tmp_path / "m_staging.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2] + bytes(300))
    evaluate(reader(), items(), tmp_path)
    assert path.read_bytes() == whole


@pytest.mark.parametrize("after", [0, 1, 4, 6, 7])
def test_an_interrupted_run_goes_on_where_it_stood(tmp_path: Path, after: int) -> None:
    expected = evaluate(reader(), items(), tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        evaluate(reader(interrupted_after=after), items(), tmp_path / "cut")
    assert evaluate(reader(), items(), tmp_path / "cut") == expected
    for name in ("m_staging.jsonl", "radiology_qa.jsonl"):
        assert (tmp_path / "cut" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_prompts_of_the_next_block_are_made_while_the_model_works_and_none_further_ahead(tmp_path: Path) -> None:
    asked, begun = [item("m_staging", number, "M0") for number in range(200)], threading.Event()

    def answer(prompt: str) -> str:
        assert begun.wait(20)  # the model's first answer comes only after the second block's prompts are begun
        return "M0"

    answered_by_then: list[int] = []

    class Watched(Reader):
        def asked(self, questions: Any) -> Asked:
            answered_by_then.append(len(self.model.prompts))  # type: ignore[attr-defined]
            if len(answered_by_then) == 2:
                begun.set()
            return super().asked(questions)

    assert len(evaluate(Watched(ScriptedModel(answer, context_tokens=1_000)), asked, tmp_path)) == len(asked)
    assert len(answered_by_then) == 4
    assert all(done >= 64 * at for at, done in enumerate(answered_by_then[1:]))


def test_a_finished_run_asks_nothing_again(tmp_path: Path) -> None:
    expected = evaluate(reader(), items(), tmp_path)
    again = scripted()
    assert evaluate(Reader(again), items(), tmp_path) == expected
    assert not again.prompts


def test_a_continued_run_asks_its_block_from_the_beginning_and_no_earlier_one(tmp_path: Path) -> None:
    questions = [item("m_staging", number, "M0") for number in range(150)]
    with pytest.raises(KeyboardInterrupt):
        evaluate(reader(interrupted_after=140), questions, tmp_path)
    again = scripted()
    evaluate(Reader(again), questions, tmp_path)
    assert len(again.prompts) == 150 - 128


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ("model", "model"),
        ("identity", "identity"),
        ("style", "style"),
        ("shots", "shots"),
        ("answers", "data"),
        ("fewer", "items"),
    ],
)
def test_answers_of_another_evaluation_are_never_continued(tmp_path: Path, change: str, named: str) -> None:
    evaluate(reader(), items(), tmp_path, "abc")
    before = (tmp_path / "m_staging.jsonl").read_bytes()
    other, questions = reader(), items()
    if change == "model":
        other.model.name = "other"
    elif change == "style":
        other.style = "instruction"
    elif change == "shots":
        other.shots = {"m_staging": [item("m_staging", 1, "M0", "train")]}
    elif change == "answers":
        questions[0] = dataclasses.replace(questions[0], answer="M1")
    elif change == "fewer":
        questions = questions[1:]
    with pytest.raises(UserError, match=f"different .*{named}.*choose another --out"):
        evaluate(other, questions, tmp_path, "xyz" if change == "identity" else "abc")
    assert (tmp_path / "m_staging.jsonl").read_bytes() == before


@pytest.mark.parametrize("content", [b"notes of mine", b"notes\nof mine\n", b"{}\n", b"[1]\n", b"\xff\x00\n"])
def test_a_file_that_is_not_ours_is_left_alone(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "m_staging.jsonl"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"m_staging\.jsonl"):
        evaluate(reader(), items(), tmp_path)
    assert path.read_bytes() == content


def test_a_line_damaged_in_the_middle_is_named(tmp_path: Path) -> None:
    evaluate(reader(), items(), tmp_path)
    path = tmp_path / "m_staging.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    for damage in (b"{]\n", b"{}\n", b"3\n", b"\n"):
        path.write_bytes(b"".join([*lines[:3], damage, *lines[4:]]))
        with pytest.raises(UserError, match="Line 4"):
            evaluate(reader(), items(), tmp_path)
    path.write_bytes(b"".join([*lines[:3], *lines[4:]]))
    with pytest.raises(UserError, match="other items"):
        evaluate(reader(), items(), tmp_path)


@pytest.mark.parametrize(
    "change",
    [{"values": {"accuracy": float("nan")}}, {"values": {}}, {"values": None}, {"values": {"accuracy": 2}},
     {"counts": []}, {"counts": {"M0": [1]}}, {"counts": {"M0": [float("inf"), 0, 0]}}, {"probabilities": {"M0": -1}},
     {"probabilities": []}, {"id": ["x"]}, {"id": "m_staging-1"}, {"task": "n_staging"}, {"truth": None}],
    ids=str,
)  # fmt: skip
def test_an_answer_that_cannot_be_is_named_and_counts_nowhere(tmp_path: Path, change: dict[str, Any]) -> None:
    evaluate(reader(), items(), tmp_path / "run")
    path = tmp_path / "run" / "m_staging.jsonl"
    lines = path.read_text("utf-8").split("\n")
    assert json.loads(lines[2])["id"] == items()[1].id
    lines[3] = json.dumps({**json.loads(lines[3]), **change, **({"id": items()[1].id} if "id" in change else {})})
    if change.get("id") == ["x"]:
        lines[3] = json.dumps({**json.loads(lines[3]), **change})
    path.write_text("\n".join(lines), "utf-8")
    with pytest.raises(UserError, match=r"Line 4 of .* is damaged"):
        runs(tmp_path)
    with pytest.raises(UserError, match=r"Line 4 of .* is damaged"):
        evaluate(reader(), items(), tmp_path / "run")


@pytest.mark.parametrize("header", [b"[" * 100_000, b"{}", b'{"task": []}', b"\xff", b"x" * (2 << 20)])
def test_a_first_line_that_cannot_be_is_told(tmp_path: Path, header: bytes) -> None:
    path = tmp_path / "run" / "m_staging.jsonl"
    path.parent.mkdir()
    path.write_bytes(header + b"\n")
    with pytest.raises(UserError, match="no file of answers"):
        runs(tmp_path)
    with pytest.raises(UserError, match=r"m_staging\.jsonl"):
        evaluate(reader(), items(), tmp_path / "run")


def test_what_a_model_is_called_may_change_between_two_calls(tmp_path: Path) -> None:
    before = evaluate(reader(), items(), tmp_path / "run", setup=Setup("one"))
    asked = reader()
    assert evaluate(asked, items(), tmp_path / "run", setup=Setup("other")) == before
    assert not asked.model.prompts and {run.setup.name for run in runs(tmp_path)} == {"other"}  # type: ignore[attr-defined]


def test_a_place_that_cannot_be_written_is_a_user_error(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a file")
    with pytest.raises(UserError, match="--out"):
        evaluate(reader(), items(), tmp_path / "out")


def test_a_full_disk_is_a_user_error_and_the_run_can_go_on(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    expected = evaluate(reader(), items(), tmp_path / "whole")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1500, limits[1]))
    try:
        with pytest.raises(UserError, match=r"Cannot write .* run the same again"):
            evaluate(reader(), items(), tmp_path / "full")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert evaluate(reader(), items(), tmp_path / "full") == expected


def test_a_solved_example_is_never_an_item_under_evaluation(tmp_path: Path) -> None:
    questions = items()
    same_text = dataclasses.replace(questions[1], id="train-9", split="train")
    for shot in (questions[1], same_text):
        leaking = Reader(scripted(), shots={"m_staging": [shot]})
        with pytest.raises(UserError, match="among the items evaluated"):
            evaluate(leaking, questions, tmp_path)
    assert not list(tmp_path.iterdir())


def test_two_items_with_one_id_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="different ids"):
        evaluate(reader(), [items()[0], items()[0]], tmp_path)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    splits = {"train": 12, "validation": 4, "test": 6}
    staged = [
        item("m_staging", number, f"M{number % 2}", split, inputs={"report": f"{split} chest, case {number}."},
             patient=f"{split}{number}", study=f"{split}{number}")
        for split, count in splits.items() for number in range(count)
    ]  # fmt: skip
    asked = [
        item("radiology_qa", number, "Left lung.", split, patient=f"q{split}", study=f"q{split}{number}",
             inputs={"report": f"{split} knee, case {number}.", "question": "Where?"})
        for split in splits for number in range(3)
    ]  # fmt: skip
    corpus.write(tmp_path / "corpus", [*staged, *asked], {})
    return tmp_path / "corpus"


def evaluated(
    places: list[str], data: Path, out: Path, tasks: tuple[str, ...] = ("m_staging",), shots: int = 0, limit: int = 4
) -> list[Row]:
    asked = selection.sample([row for task in tasks for row in corpus.read(data, task, "test")], limit)
    known = [row for task in tasks for row in corpus.read(data, task, "train")]
    return results(evaluate_models(places, asked, out, known, [Shots(shots)]))


def results(runs: list[Run]) -> list[Row]:
    return [row for run in runs for row in rows_of(run.answered, run.setup)]


def test_a_model_folder_is_evaluated_without_and_with_solved_examples(base: Path, data: Path, tmp_path: Path) -> None:
    for shots in (0, 3):
        found = evaluated([str(base)], data, tmp_path / "out", shots=shots)
        [accuracy] = [row for row in found if (row["metric"], row["slice"]) == ("accuracy", "all")]
        assert (accuracy["stage"], accuracy["shots"], accuracy["split"], accuracy["n"]) == ("base", shots, "test", 4)
        [unreadable] = [row for row in found if (row["metric"], row["slice"]) == ("unreadable", "all")]
        assert unreadable["value"] == 0
    assert len(list((tmp_path / "out").iterdir())) == 2


def test_every_way_of_asking_has_its_own_rows_and_answers(base: Path, data: Path, tmp_path: Path) -> None:
    asked = corpus.read(data, "m_staging", "test")
    known = list(corpus.read(data, "m_staging", "train"))
    ways = [Shots.read(text) for text in ("0", "2", "nearest:2", "random:2")]
    found = results(
        evaluate_models([str(base)], list(asked)[:4], tmp_path / "out", known, ways, [OURS, Prompts("task-first")])
    )
    told = {(row["shots"], row["asked"]) for row in found}
    assert told == {
        (0, ""), (2, ""), (2, "nearest"), (2, "random"),
        (0, "task-first"), (2, "task-first"), (2, "task-first nearest"), (2, "task-first random"),
    }  # fmt: skip
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert len(names) == 8 and f"{base.name}-base-2-task-first-nearest-test" in names


def test_two_models_of_one_base_are_told_apart_and_one_given_twice_is_refused(
    base: Path, data: Path, tmp_path: Path
) -> None:
    for name in ("one", "two"):
        shutil.copytree(base, tmp_path / name)
        made = manifest.describe("merged", base={"name": "the-base", "hash": "0"}, adapter={})
        manifest.write(tmp_path / name, made)
    places = [str(tmp_path / "one"), str(tmp_path / "two")]
    found = evaluated(places, data, tmp_path / "out", limit=2)
    assert {(row["model"], row["stage"]) for row in found} == {("the-base", "tuned"), ("two", "tuned")}
    with pytest.raises(UserError, match="twice"):
        evaluated([*places, places[1]], data, tmp_path / "again", limit=2)


def test_what_was_tuned_is_asked_by_cue_and_named_after_its_base(base: Path, tmp_path: Path) -> None:
    import peft
    import transformers

    from radlite.training import lora

    model = transformers.AutoModelForCausalLM.from_pretrained(base)
    adapter = tmp_path / "adapter"
    tuned = lora.attach(model, 4, 8, ["q_proj"], 0.0, False)
    assert isinstance(tuned, peft.PeftModel)
    facts = {"base_hash": manifest.weights_hash(base), "template_hash": Renderer.from_folder(base).hash}
    lora.save(tuned, adapter, {}, {"base": str(base), **facts})
    for place in (str(adapter), f"{base}+{adapter}"):
        opened = open_model(place)
        assert (opened.name, opened.stage, opened.style) == (base.name, "tuned", "cue")
    assert opened.identity != open_model(str(base)).identity
    merged = shutil.copytree(base, tmp_path / "merged")
    manifest.write(merged, manifest.describe("merged", base={"name": "the-base", "hash": "0"}, adapter={}))
    opened = open_model(str(merged))
    assert (opened.name, opened.stage, opened.style) == ("the-base", "tuned", "cue")
    manifest.write(adapter, {**manifest.read(adapter), "base_hash": "another"})
    with pytest.raises(UserError, match="other weights"):
        open_model(str(adapter))
    manifest.write(adapter, {**manifest.read(adapter), "base": str(tmp_path / "gone")})
    with pytest.raises(UserError, match=r"BASE\+ADAPTER"):
        open_model(str(adapter))


@pytest.mark.parametrize(("kind", "stage"), [("F16", "tuned"), ("Q4_K_M", "quantized")])
def test_a_gguf_is_evaluated_at_the_stage_it_was_exported_at(
    base: Path, data: Path, tmp_path: Path, kind: str, stage: str
) -> None:
    from radlite.export import gguf

    folder = shutil.copytree(base, tmp_path / "folder")
    gguf.write(folder, tmp_path / f"plain-{kind}.gguf", kind)
    manifest.write(folder, manifest.describe("merged", base={"name": "the-base", "hash": "0"}, adapter={}))
    gguf.write(folder, tmp_path / f"tuned-{kind}.gguf", kind)
    for name, expected in (("plain", (f"plain-{kind}", "base")), ("tuned", ("the-base", stage))):
        found = evaluated([str(tmp_path / f"{name}-{kind}.gguf")], data, tmp_path / "out", limit=2)
        assert {(row["model"], row["stage"]) for row in found} == {expected}


@pytest.mark.parametrize("place", ["nothing/here", "a+b", ""])
def test_what_is_no_model_is_a_user_error(place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError):
        open_model(place)
