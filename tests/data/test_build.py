"""From files to a corpus without leaks, with every left-out row accounted for."""

import json
import os
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from radlite.data import corpus
from radlite.data.build import build
from radlite.data.sources import SOURCES, Source, Tally
from radlite.data.split import SPLITS
from radlite.data.texts import jaccard, shingles, words
from radlite.errors import UserError
from radlite.tasks import Example, named
from tests.data.rows import leaks, row
from tests.data.test_tcga_tnm import tables


def count(text: str) -> int:
    return len(re.findall(r"\w+|[^\w\s]", text))


def everything(folder: Path) -> list[Example]:
    files = {file.split("/")[1] for file in corpus.describe(folder)["files"]}
    return [example for split in SPLITS if f"{split}.parquet" in files for example in corpus.read(folder, split=split)]


def source(name: str, rows: list[Example]) -> Source:
    def yielded(folder: Path, tally: Tally) -> Iterator[Example]:
        tally.rows += len(rows)
        yield from rows

    return Source(
        name=name, title=name, licence="CC0", access="generated", tier="gold", citation="none", tasks=("n_staging",),
        how_to="Nothing to get.", rows=yielded, needs_folder=False,
    )  # fmt: skip


def test_real_reports_become_a_corpus_without_leaks_in_which_every_row_is_accounted_for(
    shared: Path, tmp_path: Path
) -> None:
    made = build({"tcga_tnm": shared / "tcga"}, tmp_path / "corpus", seed=3)
    rows = everything(tmp_path / "corpus")
    removed = sum(sum(places.values()) for places in made["removed"].values())
    assert len(rows) + removed == 826 + 659 and leaks(rows) == []
    for task in ("n_staging", "m_staging"):
        counts = {split: made["counts"][task][split] for split in SPLITS}
        total = sum(part["rows"] for part in counts.values())
        for label in named(task).labels:
            whole = sum(part["labels"].get(label, 0) for part in counts.values())
            for split, share in zip(SPLITS, (0.70, 0.15, 0.15), strict=True):
                assert abs(counts[split]["labels"].get(label, 0) - share * whole) <= 2
        assert abs(counts["train"]["rows"] - 0.7 * total) <= 4
    assert made["sources"]["tcga_tnm"]["dropped"] == {
        "n_staging: no known stage": 208,
        "m_staging: no known stage": 375,
    }
    assert json.loads((tmp_path / "corpus" / "corpus.json").read_text()) == made


def test_the_same_seed_makes_the_same_corpus_and_another_seed_another(shared: Path, tmp_path: Path) -> None:
    one, two, other = (
        build({"tcga_tnm": shared / "tcga"}, tmp_path / str(number), seed=seed) for number, seed in enumerate((1, 1, 2))
    )
    assert one["data"] == two["data"] != other["data"]


def test_reports_that_are_too_long_are_condensed_tagged_and_counted(shared: Path, tmp_path: Path) -> None:
    made = build({"tcga_tnm": shared / "tcga"}, tmp_path / "corpus", max_tokens=300, count=count)
    rows = everything(tmp_path / "corpus")
    assert made["max_tokens"] == 300 and max(count(example.inputs["report"]) for example in rows) <= 300
    condensed = [example for example in rows if "condensed" in example.tags]
    assert all("[...]" in example.inputs["report"] for example in condensed)
    for task in ("n_staging", "m_staging"):
        counted = made["condensed"][task]
        assert counted["condensed"] == sum(example.task == task for example in condensed) > 100
        assert sum(number for tag, number in counted.items() if tag.startswith("kept_")) == counted["condensed"]


def test_a_long_text_that_no_source_may_condense_is_excluded_and_counted(tmp_path: Path) -> None:
    rows = [row(str(n)) for n in range(9)] + [row("long", inputs={"report": "Node. " * 99})]
    made = build({"s": None}, tmp_path / "c", max_tokens=50, count=count, known={"s": source("s", rows)})
    assert made["rows"] == 9 and made["sources"]["s"]["dropped"] == {"n_staging: longer than 50 tokens": 1}


def test_near_duplicates_and_leaks_of_given_splits_are_removed_and_counted_by_place(tmp_path: Path) -> None:
    said = [f"w{number}" for number in range(60)]
    rows = [
        row("test", split="test", inputs={"report": " ".join(said)}),
        row("near", split="train", inputs={"report": " ".join([*said[:-1], "end"])}),
        row("same patient", split="train", patient="patient test"),
        row("fine", split="train"),
    ]
    made = build({"s": None}, tmp_path / "c", known={"s": source("s", rows)})
    assert {example.id for example in everything(tmp_path / "c")} == {"test", "fine"}
    assert made["removed"] == {
        "leaks between given splits": {"n_staging/train/here": 1},
        "near-duplicates of a stronger split": {"n_staging/train/here": 1},
    }


def test_no_near_duplicate_of_a_real_test_report_is_trained_on(shared: Path, tmp_path: Path) -> None:
    build({"tcga_tnm": shared / "tcga"}, tmp_path / "corpus")
    test, train = (
        [shingles(words(row.inputs["report"])) for row in corpus.read(tmp_path / "corpus", "m_staging", split)]
        for split in ("test", "train")
    )
    assert max(jaccard(one, train).max() for one in test) < 0.8


def test_one_patient_of_two_sources_is_on_one_side(tmp_path: Path) -> None:
    known = {
        "a": source("a", [row(f"a{n}", patient=str(n)) for n in range(40)]),
        "b": source("b", [row(f"b{n}", "m_staging", "M0", patient=str(n), source="b") for n in range(40)]),
    }
    build({"a": None, "b": None}, tmp_path / "c", known=known)
    rows = everything(tmp_path / "c")
    assert len(rows) == 80 and leaks(rows) == []


def test_a_build_that_fails_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "files").mkdir()
    tables(tmp_path / "files", ["?"] * 9, ["M0"], ["a b"] * 9)
    with pytest.raises(UserError, match="malformed"):
        build({"tcga_tnm": tmp_path / "files"}, tmp_path / "out" / "corpus")
    assert list((tmp_path / "out").iterdir()) == []


def test_an_unknown_source_and_a_limit_without_a_tokenizer_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no source 'tcga'; choose from tcga_tnm"):
        build({"tcga": tmp_path}, tmp_path / "c", known={"tcga_tnm": SOURCES["tcga_tnm"]})
    with pytest.raises(UserError, match="tokenizer"):
        build({"tcga_tnm": tmp_path}, tmp_path / "c", max_tokens=10)


def test_a_place_that_holds_something_else_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(UserError, match=r"thesis\.txt"):
        build({"tcga_tnm": tmp_path / "nowhere"}, tmp_path)


def test_a_place_inside_the_files_of_a_source_is_refused(tmp_path: Path) -> None:
    tables(tmp_path, ["N0"] * 9, ["M0"] * 9, ["a b"] * 9)
    with pytest.raises(UserError, match="lies in the folder of the source tcga_tnm; choose a place outside"):
        build({"tcga_tnm": tmp_path}, tmp_path / "corpus")


def test_a_corpus_that_would_be_empty_is_told_with_what_became_of_the_rows(tmp_path: Path) -> None:
    def dropping(_: Path, tally: Tally) -> Iterator[Example]:
        tally.rows, tally.dropped["n_staging: no known stage"] = 7, 7
        yield from ()

    known = {"none": replace(source("none", []), rows=dropping)}
    with pytest.raises(UserError, match=r"empty: none has 7 rows, of which 0 are malformed, 7 left out \(n_staging"):
        build({"none": None}, tmp_path / "corpus", known=known)


def test_files_whose_names_are_not_utf_8_are_no_hindrance(tmp_path: Path) -> None:
    files = tmp_path / "files"
    files.mkdir()
    tables(files, ["N0"] * 9, ["M0"] * 9, [f"a b {n}" for n in range(9)])
    (files / os.fsdecode(b"caf\xe9.csv")).write_text("mine")
    assert build({"tcga_tnm": files}, tmp_path / "corpus")["rows"] == 18


def test_no_text_of_a_report_reaches_the_manifest_or_the_terminal(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "files").mkdir()
    secret = "Zebra carcinoma of Mrs Example."
    tables(tmp_path / "files", ["N1"] * 300, ["M0"], [f"{secret} {n} nodes." for n in range(300)])
    with (tmp_path / "files" / "T14_test.csv").open("a") as file:
        file.write(f'{secret},0,"{secret}"x\n')
    build({"tcga_tnm": tmp_path / "files"}, tmp_path / "c", max_tokens=9, count=count)
    said = (tmp_path / "c" / "corpus.json").read_text() + "".join(capfd.readouterr())
    assert "Zebra" not in said and "no valid CSV" in said
