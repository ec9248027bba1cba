"""Chest ImaGenome: changes from relationships, in words of the phrases, one example a study."""

import gzip
import json
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from radlite.data.sources.chest_imagenome import CHEST_IMAGENOME, cue, mention
from radlite.data.sources.source import Tally
from radlite.errors import UserError
from radlite.tasks import Example, named
from tests.data.shapes import chest_imagenome as shape

TASK = named("temporal_comparison")
SPLITS = "silver_dataset/splits"


def read(folder: Path, most: float = 0.01) -> tuple[list[Example], Tally]:
    tally = Tally()
    return list(CHEST_IMAGENOME.read(folder, tally, most)), tally


def alone(folder: Path, *graphs: dict[str, Any]) -> tuple[list[Example], Tally]:
    """What becomes of these graphs, which are in no split."""
    shape.write(folder, 10)
    shape.archive(folder, {graph["image_id"]: graph for graph in graphs})
    return read(folder, most=1)


def graph(*said: shape.Said, image: str = "a", study: int = 59_000_000) -> dict[str, Any]:
    return shape.graph(image, 19_000_000, study, list(said))


def test_every_example_is_of_its_task_and_its_changes_are_in_the_report(tmp_path: Path) -> None:
    shape.write(tmp_path)
    rows, tally = read(tmp_path)
    assert not tally.malformed and tally.rows == 40 + 40 + 1 and len({row.id for row in rows}) == len(rows)
    for row in rows:
        answer = TASK.read(row.answer)
        assert answer is not None and answer.changes and row.inputs.keys() == {"report"}
        grounded = TASK.ground(answer, row.inputs)
        assert not grounded.warnings and all(one.start is not None for one in grounded.answer.changes)
        assert row.tier == "silver" and row.id == row.study.replace("mimic", "chest_imagenome")


def test_changes_and_phrases_come_in_the_order_of_the_report(tmp_path: Path) -> None:
    row = alone(tmp_path, graph(*shape.PHRASES))[0][0]
    assert row.inputs["report"] == (
        "The lungs are well expanded.\n"
        "Small left pleural effusion has increased.\n"
        "Cardiomegaly is unchanged.\n"
        "Pulmonary edema has improved since ___.\n"
        "No interval change of the pneumonia."
    )
    assert row.answer == (
        "- [Worsened] increased (related to: pleural effusion)\n"
        "- [No Change] unchanged (related to: cardiomegaly)\n"
        "- [Improved] improved (related to: pulmonary edema)\n"
        "- [No Change] no interval change (related to: pneumonia)"
    )
    assert (row.patient, row.study, row.id, row.split) == (
        "mimic:19000000",
        "mimic:s59000000",
        "chest_imagenome:s59000000",
        "",
    )


def test_without_numbers_phrases_stand_in_the_order_of_the_graph(tmp_path: Path) -> None:
    made = graph(*shape.PHRASES[:2])
    for one in made["attributes"]:
        del one["phrase_IDs"]
    row = alone(tmp_path, made)[0][0]
    assert row.inputs["report"] == "Small left pleural effusion has increased.\nThe lungs are well expanded."


def test_a_study_with_several_images_gives_one_example(tmp_path: Path) -> None:
    shape.write(tmp_path)
    rows, tally = read(tmp_path)
    assert len(rows) == tally.dropped["temporal_comparison: another image of the study"] == 18
    assert Counter(row.split for row in rows) == {"train": 12, "validation": 4, "test": 2}
    patients = Counter(row.patient for row in rows)
    assert patients["mimic:10000000"] == 2


def test_the_second_image_stands_in_where_the_first_has_no_comparison(tmp_path: Path) -> None:
    rows, tally = alone(tmp_path, graph(shape.PHRASES[0], image="a"), graph(*shape.PHRASES, image="b"))
    assert len(rows) == 1
    assert tally.dropped["temporal_comparison: an image without a change that a phrase states"] == 1


def test_images_to_avoid_are_left_out_with_the_others_of_their_study(tmp_path: Path) -> None:
    shape.write(tmp_path)
    rows, tally = read(tmp_path)
    assert "mimic:s50000018" not in {row.study for row in rows}
    assert tally.dropped["temporal_comparison: an image to avoid"] == 2


def test_a_region_more_is_not_a_change_more(tmp_path: Path) -> None:
    phrase = "Bilateral pleural effusions have decreased."
    said = [(phrase, region, "anatomicalfinding|yes|pleural effusion", "comparison|yes|improved") for region in "LR"]
    row = alone(tmp_path, graph(*said))[0][0]
    assert row.answer == "- [Improved] decreased (related to: pleural effusions)"
    assert row.inputs["report"] == phrase


LEFT_OUT: dict[str, shape.Said] = {
    "no word of the change in the phrase": (
        "A pneumothorax has newly occurred.", "left lung", "anatomicalfinding|yes|pneumothorax",
        "comparison|yes|worsened"),
    "no word of the finding in the phrase": (
        "The base has worsened.", "left lung", "anatomicalfinding|yes|pneumothorax", "comparison|yes|worsened"),
    "of no finding": ("No worse pneumothorax.", "left lung", "anatomicalfinding|no|pneumothorax",
                      "comparison|yes|worsened"),
    "of no known kind": ("Edema is unchanged.", "left lung", "anatomicalfinding|yes|atelectasis", "comparison|yes|odd"),
}  # fmt: skip


@pytest.mark.parametrize("why", LEFT_OUT)
def test_a_change_that_the_phrase_does_not_state_is_left_out(why: str, tmp_path: Path) -> None:
    rows, tally = alone(tmp_path, graph(LEFT_OUT[why]))
    assert not rows and tally.dropped[f"change left out: {why}"] == 1


def test_a_relationship_that_goes_both_ways_is_left_out(tmp_path: Path) -> None:
    made = graph(shape.PHRASES[1])
    made["relationships"][0]["relationship_names"].append("comparison|yes|improved")
    rows, tally = alone(tmp_path, made)
    assert not rows and tally.dropped["change left out: both ways"] == 1


def test_an_unpacked_folder_is_read_as_the_archive_is(tmp_path: Path) -> None:
    shape.write(tmp_path)
    packed = read(tmp_path)[0]
    with zipfile.ZipFile(tmp_path / "silver_dataset/scene_graph.zip") as archive:
        archive.extractall(tmp_path / "silver_dataset")
    (tmp_path / "silver_dataset/scene_graph.zip").unlink()
    assert {row.id: row.answer for row in read(tmp_path)[0]} == {row.id: row.answer for row in packed}


@pytest.mark.parametrize(
    ("course", "sentence", "words"),
    [
        ("worsened", "Edema is slightly worse.", "worse"),
        ("worsened", "No increase in the effusion.", ""),
        ("worsened", "More extensive opacities.", "more extensive"),
        ("unchanged", "There is no significant interval change.", "no significant interval change"),
        ("unchanged", "Changed.", ""),
        ("improved", "The effusion is smaller.", "smaller"),
        ("improved", "No interval improvement.", ""),
        ("improved", "Unimproved.", ""),
    ],
)
def test_the_cue_is_what_the_sentence_says_of_the_course(course: Any, sentence: str, words: str) -> None:
    assert cue(course, sentence) == words


@pytest.mark.parametrize(
    ("finding", "sentence", "words"),
    [
        ("pleural effusion", "Left effusion grew.", "effusion"),
        ("mass/nodule (not otherwise specified)", "The nodules are stable.", "nodules"),
        ("rib fracture", "Rib fractures again.", "rib fractures"),
        ("lung opacity", "Opacities at the base.", "opacities"),
        ("some new name (x)", "Some new name here.", "some new name"),
        ("cyst/bullae", "Bullae again.", "bullae"),
        ("pleural/parenchymal scarring", "Pleural effusion is stable.", ""),
        ("enlarged cardiac silhouette", "Heart failure has worsened.", ""),
        ("pneumothorax", "No change.", ""),
    ],
)
def test_a_finding_is_named_in_the_words_of_the_sentence(finding: str, sentence: str, words: str) -> None:
    assert mention(finding, sentence) == words


def without(key: str) -> bytes:
    made = graph(*shape.PHRASES)
    del made[key]
    return json.dumps(made).encode()


def changed(**values: Any) -> bytes:
    return json.dumps({**graph(*shape.PHRASES), **values}).encode()


MALFORMED = {
    "no JSON": b"{secret",
    "no JSON mapping": b"[]",
    "without patient_id": without("patient_id"),
    "without study_id": without("study_id"),
    "without attributes": without("attributes"),
    "without relationships": without("relationships"),
    "patient_id or study_id is no number of eight digits": changed(patient_id="secret"),
    "relationships or attributes of another shape": changed(relationships=["secret"]),
}


@pytest.mark.parametrize("why", MALFORMED)
def test_a_malformed_graph_is_listed_by_file(why: str, tmp_path: Path) -> None:
    shape.write(tmp_path, 60)
    with zipfile.ZipFile(tmp_path / "silver_dataset/scene_graph.zip", "a") as archive:
        archive.writestr("scene_graph/bad_SceneGraph.json", MALFORMED[why])
    rows, tally = read(tmp_path)
    assert [(bad.file, bad.why) for bad in tally.malformed] == [("bad_SceneGraph.json", why)] and len(rows) == 58


@pytest.mark.parametrize(
    "value",
    [{"attributes": [{"phrases": "x"}]}, {"attributes": {}}, {"relationships": [{"relationship_names": "x"}]}],
)
def test_a_graph_of_another_shape_is_malformed(value: dict[str, Any], tmp_path: Path) -> None:
    made = {**graph(*shape.PHRASES), **value}
    assert alone(tmp_path, made)[1].malformed[0].why == "relationships or attributes of another shape"


@pytest.mark.parametrize("name", ["train.csv", "valid.csv", "test.csv", "images_to_avoid.csv"])
def test_a_wrong_table_is_named(name: str, tmp_path: Path) -> None:
    shape.write(tmp_path, 10)
    path = tmp_path / SPLITS / name
    good = path.read_bytes()
    path.write_bytes(b"<!DOCTYPE html><html>Log in</html>")
    with pytest.raises(UserError, match=rf"{name} is a web page"):
        read(tmp_path)
    path.write_bytes(good.replace(b"dicom_id", b"image"))
    with pytest.raises(UserError, match=rf"{name} lacks the column dicom_id"):
        read(tmp_path)
    path.write_bytes(gzip.compress(good * 50)[:-20])
    with pytest.raises(UserError, match=rf"{name} is a damaged or incomplete gzip"):
        read(tmp_path)
    path.unlink()
    with pytest.raises(UserError, match=rf"has no silver_dataset/splits/{name}"):
        read(tmp_path)


def test_a_wrong_archive_is_named(tmp_path: Path) -> None:
    shape.write(tmp_path, 10)
    path = tmp_path / "silver_dataset/scene_graph.zip"
    good = path.read_bytes()
    for data in (b"<!DOCTYPE html><html>Log in</html>", good[:-30], gzip.compress(good)[:-20]):
        path.write_bytes(data)
        with pytest.raises(UserError, match=r"scene_graph\.zip is .*expected the scene graphs"):
            read(tmp_path)
    path.unlink()
    with pytest.raises(UserError, match=r"has no silver_dataset/scene_graph\.zip or scene_graph\.zip"):
        read(tmp_path)
