"""RadGraph and its kin: entities at their places, changes from relations, no silver report of a gold patient."""

import gzip
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from radlite.data.sources.radgraph import RADGRAPH, RADGRAPH2, RADGRAPH_XL
from radlite.data.sources.source import Source, Tally
from radlite.errors import UserError
from radlite.tasks import Example, named
from radlite.tasks.temporal import Change
from tests.data.shapes import radgraph as shape

WRITE: dict[str, tuple[Source, Callable[[Path], None]]] = {
    "radgraph": (RADGRAPH, shape.write),
    "radgraph2": (RADGRAPH2, shape.write_second),
    "radgraph_xl": (RADGRAPH_XL, shape.write_xl),
}


def read(source: Source, folder: Path, most: float = 0.01) -> tuple[list[Example], Tally]:
    tally = Tally()
    return list(source.read(folder, tally, most)), tally


def one(folder: Path, graph: dict[str, Any], source: Source = RADGRAPH2, name: str = "train.json") -> list[Example]:
    """The examples of one report."""
    shape.save(folder / name, {shape.mimic(10_000_032, 50_414_267): graph})
    return read(source, folder, most=1)[0]


def places(graph: dict[str, Any], report: str) -> set[tuple[int, int]]:
    """Where the entities of a file stand in the report, found without the reader."""
    at, tokens = 0, []
    for token in graph["text"].split(" "):
        at = report.index(token, at)
        tokens.append((at, at + len(token)))
        at += len(token)
    return {(tokens[one["start_ix"]][0], tokens[one["end_ix"]][1]) for one in graph["entities"].values()}


@pytest.mark.parametrize("name", WRITE)
def test_every_example_is_of_its_task_and_ids_are_unique(name: str, tmp_path: Path) -> None:
    source, write = WRITE[name]
    write(tmp_path)
    rows, tally = read(source, tmp_path)
    assert not tally.malformed and {row.task for row in rows} == set(source.tasks)
    assert len({(row.task, row.id) for row in rows}) == len(rows)
    for row in rows:
        assert named(row.task).read(row.answer) is not None
        assert row.inputs.keys() == {"report"} and row.inputs["report"].strip()
        assert (row.split, row.tier) in {("train", "gold"), ("validation", "gold"), ("test", "gold"), ("", "silver")}
    assert {row.split for row in rows} >= {"train", "validation", "test"}


def test_entities_are_read_label_by_label_and_the_last_token_is_part_of_them(tmp_path: Path) -> None:
    rows = one(tmp_path, shape.graph(shape.STATIC))
    assert rows[0].inputs["report"] == (
        "FINAL REPORT EXAMINATION: CHEST (PA AND LAT) COMPARISON: ___. FINDINGS: The heart is mildly enlarged. "
        "There is no pneumothorax. Possible pneumonia (right lung base). Mr. ___'s spine shows degenerative disease."
    )
    assert rows[0].answer == (
        "Anatomy: heart; right lung base; spine\n"
        "Observation (Present): mildly; enlarged; degenerative disease\n"
        "Observation (Absent): pneumothorax\n"
        "Observation (Uncertain): pneumonia"
    )
    assert (rows[0].patient, rows[0].study, rows[0].split) == ("mimic:10000032", "mimic:s50414267", "train")


def test_each_entity_is_grounded_at_its_place(tmp_path: Path) -> None:
    shape.write_second(tmp_path, 12)
    rows = {row.id: row for row in read(RADGRAPH2, tmp_path)[0] if row.task == "radiology_ner"}
    task, seen = named("radiology_ner"), 0
    for name in ("radgraph2_train.json", "radgraph2_test.json", "inference.json"):
        for key, graph in json.loads((tmp_path / name).read_text()).items():
            row = rows[f"radgraph2:{key}"]
            found = task.ground(task.read(row.answer), row.inputs)
            assert not found.warnings
            assert {(e.start, e.end) for e in found.answer.entities} == places(graph, row.inputs["report"])
            seen += 1
    assert seen == 12 + 7 + 13


def test_the_first_annotator_of_the_test_set_counts(tmp_path: Path) -> None:
    shape.write(tmp_path)
    test = [row for row in read(RADGRAPH, tmp_path)[0] if row.split == "test"]
    assert len(test) == 7 and all("labelers:2" in row.tags and row.answer != "No entities." for row in test)


def test_chexpert_keys_tell_the_patient_only_where_they_have_one(tmp_path: Path) -> None:
    shape.write(tmp_path)
    rows = {row.id.removeprefix("radgraph:"): row for row in read(RADGRAPH, tmp_path)[0]}
    assert (rows["8"].patient, rows["8"].study, rows["8"].tags) == ("", "", ("labelers:2",))
    assert rows["patient42142_study5"].patient == "chexpert:patient42142"
    assert rows["patient42142_study5"].study == "chexpert:patient42142/study5"
    assert "chexpert" in rows["patient42142_study5"].tags


def test_silver_leaves_out_gold_reports_and_the_patients_of_dev_and_test(tmp_path: Path) -> None:
    shape.write(tmp_path, 20)
    rows, tally = read(RADGRAPH, tmp_path)
    silver = [row for row in rows if row.tier == "silver"]
    assert len(silver) == 20 + 3 and all(row.split == "" for row in silver)
    assert tally.dropped["silver: the report is in a gold file"] == 20 + 4 + 4
    assert tally.dropped["silver: the patient is in a gold dev or test file"] == 1
    held = {row.patient for row in rows if row.split in ("validation", "test")}
    assert held.isdisjoint(row.patient for row in silver)


def test_a_broken_gold_report_still_keeps_its_patient_out_of_silver(tmp_path: Path) -> None:
    shape.save(tmp_path / "test.json", {shape.mimic(10_000_001, 50_000_001): {"text": "", "entities": {}}})
    shape.save(tmp_path / "silver.json", {shape.mimic(10_000_001, 50_000_002): shape.graph(shape.STATIC)})
    rows, tally = read(RADGRAPH2, tmp_path, most=1)
    assert not rows and len(tally.malformed) == 1
    assert tally.dropped["silver: the patient is in a gold dev or test file"] == 1


def test_gold_alone_is_enough(tmp_path: Path) -> None:
    shape.write(tmp_path)
    (tmp_path / "MIMIC-CXR_graphs.json").unlink()
    (tmp_path / "CheXpert_graphs.json").unlink()
    rows, tally = read(RADGRAPH, tmp_path)
    assert Counter(row.split for row in rows) == {"train": 20, "validation": 4, "test": 7}
    assert set(tally.files) == {"train.json", "dev.json", "test.json"}


def test_changes_come_with_status_cue_and_finding_and_devices_are_left_out(tmp_path: Path) -> None:
    tally = Tally()
    shape.save(tmp_path / "train.json", {shape.mimic(10_000_032, 50_414_267): shape.graph(shape.CHANGES)})
    row = next(row for row in RADGRAPH2.read(tmp_path, tally) if row.task == "temporal_comparison")
    assert row.answer == (
        "- [No Change] unchanged (related to: effusion)\n"
        "- [New Finding] new (related to: opacity)\n"
        "- [Worsened] worsened (related to: edema)\n"  # here the relation goes from the finding to the change
        "- [Improved] improvement (related to: atelectasis)\n"
        "- [Resolved] resolved (related to: consolidation)"
    )
    assert tally.dropped["change left out: of a device"] == 1
    grounded = named(row.task).ground(named(row.task).read(row.answer), row.inputs)
    assert not grounded.warnings


def test_change_words_are_entities_too(tmp_path: Path) -> None:
    rows = one(tmp_path, shape.graph(shape.CHANGES))
    assert rows[0].answer.splitlines()[-1] == "Change: unchanged; New; worsened; improvement; resolved; placed"


def test_a_change_of_nothing_or_of_an_absent_finding_is_left_out_and_does_not_become_no_comparison(
    tmp_path: Path,
) -> None:
    lone: shape.Sentence = ("Stable examination .", [(0, 0, "CHAN-NC", [])])
    absent: shape.Sentence = ("No new edema .", [(1, 1, "CHAN-CON-AP", [("modify", 1)]), (2, 2, "OBS-DA", [])])
    shape.save(tmp_path / "train.json", {"a": shape.graph([lone]), "b": shape.graph([absent])})
    rows, tally = read(RADGRAPH2, tmp_path)
    assert {row.task for row in rows} == {"radiology_ner"}
    assert tally.dropped["change left out: of nothing in particular"] == 1
    assert tally.dropped["change left out: of an absent finding"] == 1
    assert tally.dropped["temporal_comparison: no change of a known kind and finding"] == 2


def test_a_change_that_is_said_twice_is_one(tmp_path: Path) -> None:
    row = one(tmp_path, shape.graph([shape.CHANGES[0], shape.CHANGES[0]]))[1]
    assert named(row.task).read(row.answer).changes == (Change("effusion", "unchanged", "unchanged"),)


def test_that_nothing_is_compared_is_believed_of_experts_only(tmp_path: Path) -> None:
    shape.write_second(tmp_path)
    rows, tally = read(RADGRAPH2, tmp_path)
    none = [row for row in rows if row.answer == "No comparison."]
    assert {row.split for row in none} == {"train", "validation", "test"} and {row.tier for row in none} == {"gold"}
    assert tally.dropped["temporal_comparison: no change in a silver report"] >= 1


def test_a_json_file_of_another_kind_is_left_out_and_counted(tmp_path: Path) -> None:
    shape.write_second(tmp_path)
    assert read(RADGRAPH2, tmp_path)[1].dropped["config.json: a file of another kind"] == 1
    for path in tmp_path.glob("*.json"):
        path.unlink()
    with pytest.raises(UserError, match=r"No file in .* is of the right kind"):
        read(RADGRAPH2, tmp_path)


@pytest.mark.parametrize(
    ("name", "split"),
    [("gold_train.json", "train"), ("RadGraph2-valid.json", "validation"), ("dev.json", "validation"),
     ("test_set.json", "test"), ("latest.json", ""), ("silver.json", "")],
)  # fmt: skip
def test_the_name_of_a_file_tells_its_split(name: str, split: str, tmp_path: Path) -> None:
    row = one(tmp_path, shape.graph(shape.STATIC), name=name)[0]
    assert (row.split, row.tier) == (split, "gold" if split else "silver")


def test_xl_is_read_as_mapping_and_as_json_lines_whatever_the_name(tmp_path: Path) -> None:
    shape.write_xl(tmp_path)
    (tmp_path / "dev.jsonl").rename(tmp_path / "dev.json")
    (tmp_path / "test.jsonl.gz").write_bytes(gzip.compress((tmp_path / "test.jsonl").read_bytes()))
    (tmp_path / "test.jsonl").unlink()
    rows, _ = read(RADGRAPH_XL, tmp_path)
    assert Counter(row.split for row in rows) == {"train": 20, "validation": 4, "test": 7}
    for split in ("train", "validation", "test"):
        answer = next(row.answer for row in rows if row.split == split)
        assert "\nMeasurement: 2.3 x 1 cm; 2 cm above" in answer and "carina" in answer.splitlines()[0]


def test_a_line_and_a_mapping_of_the_same_report_give_the_same_answer(tmp_path: Path) -> None:
    sentences = [*map(shape._xl, shape.STATIC), shape.MEASURED]
    shape.save(tmp_path / "a" / "x.json", {"k": shape.graph(sentences)})
    shape.save(tmp_path / "b" / "x.json", shape.dygie("k", sentences))
    first, second = (read(RADGRAPH_XL, tmp_path / part)[0] for part in "ab")
    assert first == second and first[0].split == "" and first[0].tier == "gold"


@pytest.mark.parametrize("word", ["clear;", "a;b"])
def test_an_entity_that_the_plain_form_cannot_carry_drops_the_example(word: str, tmp_path: Path) -> None:
    shape.save(tmp_path / "train.json", {"k": shape.graph([(f"Lungs {word} .", [(1, 1, "OBS-DP", [])])])})
    rows, tally = read(RADGRAPH2, tmp_path)
    assert [row.task for row in rows] == ["temporal_comparison"]
    assert tally.dropped["radiology_ner: an entity that the plain form cannot carry"] == 1


def test_an_entity_that_is_a_part_of_a_word_drops_the_example_as_it_could_not_be_found(tmp_path: Path) -> None:
    shape.save(tmp_path / "train.json", {"k": shape.graph([("Loss of 50 % .", [(3, 3, "OBS-DP", [])])])})
    rows, tally = read(RADGRAPH2, tmp_path)
    assert [row.task for row in rows] == ["temporal_comparison"]
    assert tally.dropped["radiology_ner: an entity that the plain form cannot carry"] == 1


def entity(**changed: Any) -> dict[str, Any]:
    good = {"tokens": "heart", "label": "ANAT-DP", "start_ix": 1, "end_ix": 1, "relations": []}
    return {"text": "The heart is secret .", "entities": {"1": {**good, **changed}}}


MALFORMED = {
    "no text": {"entities": {}},
    "no entities": {"text": "The heart"},
    "no mapping": ["The heart"],
    "labeler_1 is no mapping": {"text": "The heart", "labeler_1": []},
    "an entity is no mapping": {"text": "The heart", "entities": {"1": "heart"}},
    "an entity with an unknown label": entity(label="secret"),
    "an entity outside the text": entity(end_ix=5),
    "an entity whose words are not at its place": entity(end_ix=2),
    "a relation is no pair": entity(relations=["modify"]),
}


@pytest.mark.parametrize("why", MALFORMED)
def test_a_malformed_report_is_listed_by_file_and_number_and_not_quoted(why: str, tmp_path: Path) -> None:
    shape.write(tmp_path, 200)
    good = json.loads((tmp_path / "train.json").read_text())
    shape.save(tmp_path / "train.json", {**good, "bad": MALFORMED[why]})
    rows, tally = read(RADGRAPH, tmp_path)
    assert [(bad.file, bad.line, bad.why) for bad in tally.malformed] == [("train.json", 201, why)]
    assert sum(row.split == "train" for row in rows) == 200


def test_a_key_that_repeats_is_malformed(tmp_path: Path) -> None:
    value = json.dumps(shape.graph(shape.STATIC))
    (tmp_path / "train.json").write_text(f'{{"k": {value}, "k": {value}}}')
    rows, tally = read(RADGRAPH2, tmp_path, most=1)
    assert Counter(row.task for row in rows)["radiology_ner"] == 1 and tally.malformed[0].why == "a repeated key"


WRONG: dict[str, tuple[bytes, str]] = {
    "a web page": (b"<!DOCTYPE html><html>Log in</html>", "a web page"),
    "empty": (b"", "is empty"),
    "a broken gzip": (gzip.compress(json.dumps({"k": entity()}).encode())[:-12], "damaged or incomplete gzip"),
    "cut short": (json.dumps({"k": entity(), "l": entity()}).encode()[:-30], "ends or breaks after entry"),
    "a list": (b"[1]", "has no entries"),
    "without the key text": (json.dumps({"k": {"entities": {}}}).encode(), r"line 1 \(no text\)"),
    "another mapping": (b'{"hidden_size": 768}', r"line 1 \(no mapping\)"),
}  # fmt: skip


@pytest.mark.parametrize("name", ["train.json", "dev.json", "test.json", "MIMIC-CXR_graphs.json"])
@pytest.mark.parametrize("kind", WRONG)
def test_a_wrong_file_is_named(kind: str, name: str, tmp_path: Path) -> None:
    shape.write(tmp_path, 4)
    data, message = WRONG[kind]
    (tmp_path / name).write_bytes(data)
    with pytest.raises(UserError, match=message) as caught:
        read(RADGRAPH, tmp_path)
    assert name in str(caught.value) and "secret" not in str(caught.value)


@pytest.mark.parametrize("name", ["train.json", "dev.json", "test.json"])
def test_a_missing_gold_file_is_named(name: str, tmp_path: Path) -> None:
    shape.write(tmp_path, 4)
    (tmp_path / name).unlink()
    with pytest.raises(UserError, match=f"has no {name}"):
        read(RADGRAPH, tmp_path)


@pytest.mark.parametrize("source", [RADGRAPH2, RADGRAPH_XL])
@pytest.mark.parametrize("kind", ["a web page", "a broken gzip", "a list"])
def test_a_wrong_file_among_those_found_is_named_too(source: Source, kind: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"has no \*\.json"):
        read(source, tmp_path)
    (tmp_path / "train.json").write_bytes(WRONG[kind][0])
    with pytest.raises(UserError, match=r"train\.json"):
        read(source, tmp_path)


def test_a_line_without_the_key_ner_is_no_report(tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").write_text('{"doc_key": "k", "sentences": [["The", "heart"]]}\n')
    with pytest.raises(UserError, match=r"train\.jsonl is not .*without ner"):
        read(RADGRAPH_XL, tmp_path)
    (tmp_path / "train.jsonl").write_text('{"doc_key": "k", "sentences": [["The", "heart"]], "ner": [[7]]}\n')
    assert read(RADGRAPH_XL, tmp_path, most=1)[1].malformed[0].why == "sentences or ner of another shape"
