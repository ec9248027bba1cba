"""Every source in its official shape goes into one corpus together, without a leak, and every row is accounted for."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from radlite.data import corpus
from radlite.data.build import build
from radlite.data.check import check
from radlite.data.sources import SOURCES, Tally
from radlite.errors import UserError
from radlite.tasks import named
from tests.data.shapes import (
    chest_imagenome,
    chexpert_plus,
    ct_rate,
    merlin,
    mimic_cxr,
    mimic_iv_note,
    ms_cxr_t,
    nli,
    open_qa,
    openi,
    radgraph,
    radnlp2024,
    radqa,
    rads,
    rexgradient,
    table,
)  # fmt: skip
from tests.data.test_tcga_tnm import tables


def tcga(folder: Path) -> None:
    tables(
        folder, ["N0", "N1", "N2"] * 8, ["M0", "M1"] * 12, [f"Report {n} of nodes, not like others." for n in range(24)]
    )


WRITERS: dict[str, Callable[..., Any]] = {
    "mimic_cxr": mimic_cxr.write, "mimic_iv_note": mimic_iv_note.write, "radgraph": radgraph.write,
    "radgraph2": radgraph.write_second, "radgraph_xl": radgraph.write_xl, "chest_imagenome": chest_imagenome.write,
    "ms_cxr_t": ms_cxr_t.write, "radnli": nli.write, "mednli": nli.write, "radqa": radqa.write,
    "chexpert_plus": chexpert_plus.write, "merlin": merlin.write, "rexgradient": rexgradient.write,
    "ct_rate": ct_rate.write, "openi": openi.write, "rads": rads.write, "radnlp2024": radnlp2024.write,
    "medmcqa": open_qa.write, "table": table.write, "tcga_tnm": tcga,
}  # fmt: skip


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    found = {}
    for name, write in WRITERS.items():
        found[name] = tmp_path_factory.mktemp(name)
        write(found[name])
    return found


def test_every_source_has_a_fixture_in_its_official_shape() -> None:
    assert WRITERS.keys() == SOURCES.keys() - {"sample"}


@pytest.mark.parametrize("name", WRITERS)
def test_a_source_gives_readable_examples_of_the_tasks_it_names(name: str, folders: dict[str, Path]) -> None:
    tally, source = Tally(), SOURCES[name]
    rows = list(source.read(folders[name], tally))
    assert {row.task for row in rows} == set(source.tasks) and not tally.malformed and tally.files
    for row in rows:
        task = named(row.task)
        assert set(row.inputs) == set(task.inputs) and all(map(str.strip, row.inputs.values()))
        assert (answer := task.read(row.answer)) is not None and task.read(task.render(answer)) == answer
        assert row.source == name and row.licence and row.split in ("", "train", "validation", "test")
    assert len({(row.task, row.id) for row in rows}) == len(rows)


def test_all_sources_together_make_a_corpus_without_a_leak(folders: dict[str, Path], tmp_path: Path) -> None:
    made = build({**folders, "sample": None}, tmp_path / "c", known={**SOURCES, "sample": _few()})
    assert check(tmp_path / "c") == []
    for name, facts in made["sources"].items():
        kept = sum(number for place, number in made["kept"].items() if place.endswith(f"/{name}"))
        removed = sum(
            number
            for places in made["removed"].values()
            for place, number in places.items()
            if place.endswith(f"/{name}")
        )
        assert kept + removed == sum(facts["examples"].values()) and facts["files" if name != "sample" else "title"]


def test_official_test_rows_of_experts_stay_and_their_patients_leave_silver(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    build({name: folders[name] for name in ("mimic_cxr", "radgraph", "mimic_iv_note")}, tmp_path / "c")
    rows = list(corpus.scan(tmp_path / "c"))
    tested = {row.patient for row in rows if row.split != "train" and row.patient}
    assert tested and not [row.id for row in rows if row.split == "train" and row.patient in tested]
    gold = {row.task for row in rows if row.tier == "gold" and row.split == "test"}
    silver = [row for row in rows if row.tier == "silver" and row.split == "test" and row.task in gold]
    assert "radiology_ner" in gold and not [row.id for row in silver if row.source == "radgraph"]


def test_rows_with_a_tag_can_be_held_out(folders: dict[str, Path], tmp_path: Path) -> None:
    made = build({"rads": folders["rads"]}, tmp_path / "c", hold_out=["profile:3"])
    held = [row for row in corpus.scan(tmp_path / "c") if "profile:3" in row.tags]
    assert held and {row.split for row in held} == {"test"} and made["hold_out"] == ["profile:3"]


def test_a_tag_to_hold_out_that_no_row_has_is_told(folders: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="No row has the tag 'profile:9'"):
        build({"rads": folders["rads"]}, tmp_path / "c", hold_out=["profile:3", "profile:9"])


def _few() -> Any:
    from radlite.data.sources.sample import source

    return source({"train": 20, "validation": 5, "test": 5})
