"""RadNLP 2024: N and M of each English report, from the files of the hub or the package of the task."""

import csv
import gzip
from collections import Counter
from pathlib import Path

import pytest

from radlite.data.sources import Tally
from radlite.data.sources.radnlp2024 import RADNLP2024
from radlite.errors import UserError
from radlite.files import MAX_TEXT_BYTES
from radlite.tasks import Example, named
from tests.data.shapes import radnlp2024 as shape

SECRET = "Mrs Example has a carcinoma"
LUNG = "A mass in the right upper lobe is a lung cancer. Nodes are enlarged."


def read(folder: Path, most: float = 1.0) -> tuple[list[Example], Tally]:
    tally = Tally()
    return list(RADNLP2024.read(folder, tally, most)), tally


def hub(folder: Path, *rows: tuple[str, ...], header: tuple[str, ...] = ("id", "text", "t", "n", "m")) -> Path:
    """The three files; the rows are those of the training reports."""
    for split in shape.SPLITS:
        with (folder / f"english_{split}.csv").open("w", newline="") as file:
            table = csv.writer(file)
            table.writerow(header)
            table.writerows(rows if split == "train" else ())
    return folder


def test_each_report_of_the_hub_gives_n_and_m_in_its_official_split(tmp_path: Path) -> None:
    shape.write(tmp_path)
    rows, tally = read(tmp_path)
    assert Counter((row.task, row.split) for row in rows) == {
        (task, split): number
        for task in ("n_staging", "m_staging")
        for split, number in (("train", 10), ("validation", 5), ("test", 5))
    }
    assert not tally.malformed and not tally.dropped and tally.rows == 20
    assert tally.files.keys() == {"english_train.csv", "english_val.csv", "english_test.csv"}
    fourth = [row for row in rows if row.id == "10023757"]
    assert [(row.task, row.answer) for row in fourth] == [
        ("n_staging", "Positive. N staging: N3"),
        ("m_staging", "M1c"),
    ]
    assert {row.study for row in fourth} == {"radnlp2024:10023757"} and {row.patient for row in rows} == {""}
    assert "Enlarged left supraclavicular lymph nodes.\nMetastases of" in fourth[0].inputs["report"]


def test_every_row_is_gold_and_one_that_the_task_and_its_grammar_allow(tmp_path: Path) -> None:
    shape.write(tmp_path, seed=1)
    rows, _ = read(tmp_path)
    assert len({(row.task, row.id) for row in rows}) == len(rows) == 40
    for row in rows:
        assert named(row.task).read(row.answer) is not None and row.tier == "gold"
        assert set(row.inputs) == {"report"} and row.inputs["report"].strip()
        choices = {text for state in named(row.task).grammar(row.inputs) for edge in state for text in edge.texts}
        assert row.answer in choices


def test_the_package_gives_the_english_main_task_and_nothing_else(tmp_path: Path) -> None:
    shape.write_package(tmp_path)
    rows, tally = read(tmp_path)
    assert Counter(row.split for row in rows) == {"train": 20, "validation": 20} and not tally.malformed
    assert all("lung cancer" in row.inputs["report"] for row in rows)
    assert {"train/label.csv", "val/label.csv", "train/10000000.txt"} < tally.files.keys()
    assert len(tally.files) == 22


def test_package_and_hub_files_give_the_same_rows_and_the_folder_may_be_any_above_the_files(tmp_path: Path) -> None:
    shape.write_package(tmp_path)
    above, _ = read(tmp_path)
    inside, _ = read(tmp_path / "radnlp_2024_train_val_20240731" / "en" / "main_task")
    for split in shape.SPLITS[:2]:
        with (tmp_path / f"english_{split}.csv").open("w", newline="") as file:
            csv.writer(file).writerows([("id", "text", "t", "n", "m"), *shape.entries(split, 10, 0)])
    (tmp_path / "english_test.csv").write_text("id,text,t,n,m\n")
    assert above == inside == read(tmp_path)[0]


@pytest.mark.parametrize("header", [("ID", "TEXT", "T", "N", "M"), ("Id", "Text", "T", "n", "M")])
def test_columns_are_found_in_any_letter_case_and_order(header: tuple[str, ...], tmp_path: Path) -> None:
    hub(tmp_path, ("1", LUNG, "T2a", "N2", "M1b"), header=header)
    assert [row.answer for row in read(tmp_path)[0]] == ["Positive. N staging: N2", "M1b"]
    turned = ("M1b", "1", "N2", LUNG, "T2a")
    hub(tmp_path, turned, header=tuple(header[at] for at in (4, 0, 3, 1, 2)))
    assert [row.answer for row in read(tmp_path)[0]] == ["Positive. N staging: N2", "M1b"]


def test_a_subdivision_is_kept_in_lung_cancer_and_is_the_main_category_where_the_tumor_is_not_sure(
    tmp_path: Path,
) -> None:
    rows, _ = read(hub(tmp_path, ("1", LUNG, "T1a", "N2a", "M1c2"), ("2", "A mass of 3 cm.", "T2a", "N0", "M1c")))
    assert [(row.answer, row.tags) for row in rows] == [
        ("Positive. N staging: N2a", ("no_stated_stage",)),
        ("M1c2", ("no_stated_stage",)),
        ("Negative. N staging: N0", ("no_stated_stage",)),
        ("M1", ("no_stated_stage", "main_category")),
    ]


def test_a_report_that_states_its_stage_is_tagged(tmp_path: Path) -> None:
    rows, _ = read(hub(tmp_path, ("1", f"{LUNG} cT2a N2 M0.", "T2a", "N2", "M0")))
    assert [row.tags for row in rows] == [("stated_stage",), ("stated_stage",)]


def test_a_blank_stage_is_dropped_and_counted(tmp_path: Path) -> None:
    rows, tally = read(hub(tmp_path, ("1", LUNG, "", "", "M0")))
    assert [row.task for row in rows] == ["m_staging"] and not tally.malformed
    assert tally.dropped == {"n_staging: no stage": 1}


def test_a_malformed_row_is_named_and_not_quoted(tmp_path: Path) -> None:
    hub(
        tmp_path, ("1", LUNG, "T1", "N0", "M0"), ("1", LUNG, "T1", "N0", "M0"), ("2", LUNG, "T1", SECRET, "M0"),
        ("3", "", "T1", "N0", "M0"),
    )  # fmt: skip
    rows, tally = read(tmp_path)
    assert [(row.id, row.task) for row in rows] == [("1", "n_staging"), ("1", "m_staging"), ("2", "m_staging")]
    assert [(bad.file, bad.line, bad.why) for bad in tally.malformed] == [
        ("english_train.csv", 3, "a repeated id"),
        ("english_train.csv", 4, "n is no stage"),
        ("english_train.csv", 5, "no text"),
    ]
    with pytest.raises(UserError, match=r"malformed, the first in english_train\.csv line 3") as caught:
        read(tmp_path, most=0.01)
    assert SECRET not in str(caught.value)


def test_a_missing_empty_large_or_misnamed_text_of_the_package_is_malformed(tmp_path: Path) -> None:
    shape.write_package(tmp_path, 12)
    place = tmp_path / "radnlp_2024_train_val_20240731" / "en" / "main_task" / "train"
    (place / "10000000.txt").unlink()
    (place / "10007919.txt").write_text(" \n")
    (place / "10015838.txt").write_bytes(b"Gr\xf6\xdfe")
    (place / "large.txt").write_text("x" * (MAX_TEXT_BYTES + 1))
    with (place / "label.csv").open("a") as file:
        for id in ("../val/20000000", "a" * 300, "a\x1b", "large"):
            file.write(f"{id},T1a,N0,M0\n")
    rows, tally = read(tmp_path)
    assert [(bad.file, bad.line, bad.why) for bad in tally.malformed] == [
        ("label.csv", 2, "no text file of this id"),
        ("label.csv", 3, "an empty text file"),
        ("label.csv", 4, "a text file that is not UTF-8"),
        *(("label.csv", line, "an id that is no name of a file") for line in (8, 9, 10)),
        ("label.csv", 11, "a text file larger than 4 MiB"),
    ]
    assert len(rows) == 18


def test_the_files_may_be_packed(tmp_path: Path) -> None:
    shape.write(tmp_path)
    expected, _ = read(tmp_path)
    for path in [*tmp_path.iterdir()]:
        (tmp_path / f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
    assert read(tmp_path)[0] == expected


WRONG = {
    "a web page": b"<!DOCTYPE html><html>Log in</html>",
    "lacks the column n": b"id,text,t,m\n1,A mass.,T1,M0\n",
    "damaged or incomplete gzip": gzip.compress(b"id,text,t,n,m\n1,A mass.,T1,N0,M0\n" * 99)[:-9],
    "is empty": b"",
}


@pytest.mark.parametrize("split", shape.SPLITS)
@pytest.mark.parametrize("kind", WRONG)
def test_a_wrong_file_is_named(kind: str, split: str, tmp_path: Path) -> None:
    shape.write(tmp_path)
    (tmp_path / f"english_{split}.csv").write_bytes(WRONG[kind])
    with pytest.raises(UserError, match=rf"english_{split}\.csv .*{kind}"):
        read(tmp_path)


@pytest.mark.parametrize("split", shape.SPLITS)
def test_a_missing_file_is_named(split: str, tmp_path: Path) -> None:
    shape.write(tmp_path)
    (tmp_path / f"english_{split}.csv").unlink()
    with pytest.raises(UserError, match=rf"has no english_{split}\.csv \(expected CSV with the columns id, text"):
        read(tmp_path)


def test_a_wrong_table_of_the_package_is_named(tmp_path: Path) -> None:
    shape.write_package(tmp_path)
    place = tmp_path / "radnlp_2024_train_val_20240731" / "en" / "main_task" / "val" / "label.csv"
    place.write_text("id,t,n\n1,T1,N0\n")
    with pytest.raises(UserError, match=r"label\.csv lacks the column m"):
        read(tmp_path)
