"""ReXGradient: one impression a study, changes of pairs by rule, sections that say None are empty, official splits."""

import gzip
import tracemalloc
from pathlib import Path

import pytest

from radlite.data.sources import Tally
from radlite.data.sources.rexgradient import REXGRADIENT, Pairs, Report
from radlite.errors import UserError
from radlite.tasks import Example, named
from radlite.tasks.grammar import spans
from tests.data.shapes import rexgradient as shape

SPLITS = ("train", "valid", "test")
TEMPORAL = named("temporal_comparison")


def read(folder: Path, most: float = 0.01) -> tuple[list[Example], Tally]:
    tally = Tally()
    return list(REXGRADIENT.read(folder, tally, most)), tally


def of(rows: list[Example], task: str) -> list[Example]:
    return [row for row in rows if row.task == task]


def counted(tally: Tally, task: str) -> int:
    """Rows of a task that were not used."""
    return sum(number for why, number in tally.dropped.items() if why.startswith(f"{task}: "))


def tables(folder: Path, *rows: tuple[str, ...]) -> Path:
    """Train has `rows`, the others are empty."""
    for split in SPLITS:
        shape.table(folder, split, rows if split == "train" else [])
    return folder


def test_every_row_of_the_official_shape_is_read_or_counted(tmp_path: Path) -> None:
    shape.write(tmp_path)
    found, tally = read(tmp_path)
    assert not tally.malformed and {row.split for row in found} == {"train", "validation", "test"}
    impressions, changes = of(found, "impression_generation"), of(found, TEMPORAL.name)
    assert len(impressions) + counted(tally, "impression_generation") == tally.rows == 20
    assert len(changes) + counted(tally, TEMPORAL.name) == 10 and len(changes) >= 4
    for row in found:
        assert named(row.task).read(row.answer) is not None
        assert set(row.inputs) == {"report"} and row.inputs["report"].strip()
        assert row.tier == ("gold" if row.task == "impression_generation" else "silver")
    assert len({row.id for row in found}) == len(found) > len({row.patient for row in found})


def test_a_study_becomes_its_impression_and_what_stands_before_it(tmp_path: Path) -> None:
    tables(tmp_path, shape.row("GRDN1", "1.2.3", "Cough.", "None", "Lungs are\nclear.", "1. Normal.\n2. No change."))
    (row,), _ = read(tmp_path)
    assert row.inputs == {"report": "INDICATION: Cough.\nFINDINGS: Lungs are\nclear."}
    assert row.answer == "Normal.\nNo change."
    assert (row.id, row.patient, row.study, row.split) == ("1.2.3", "rexgradient:GRDN1", "rexgradient:1.2.3", "train")


@pytest.mark.parametrize("nothing", ["None", "none.", "", " ", "nan"])
def test_studies_without_findings_or_impression_are_dropped_and_counted(nothing: str, tmp_path: Path) -> None:
    tables(
        tmp_path,
        shape.row("G1", "1.1", "a", "b", nothing, "Normal."),
        shape.row("G2", "1.2", "a", "b", "Clear.", nothing),
    )
    found, tally = read(tmp_path)
    assert not found and not tally.malformed
    assert tally.dropped == {"impression_generation: no findings": 1, "impression_generation: no impression": 1}


def test_a_section_that_only_begins_with_none_is_kept(tmp_path: Path) -> None:
    tables(tmp_path, shape.row("G1", "1.1", "", "None available.", "Clear.", "None of the above."))
    (row,), _ = read(tmp_path)
    assert row.inputs["report"].startswith("COMPARISON: None available.") and row.answer == "None of the above."


def test_a_study_that_comes_again_in_any_split_is_read_once(tmp_path: Path) -> None:
    good = shape.row("G1", "1.1", "", "", "Clear.", "Normal.")
    tables(tmp_path, good, good)
    shape.table(tmp_path, "test", [good])
    found, tally = read(tmp_path)
    assert [row.split for row in found] == ["train"] and tally.dropped["another row of a study"] == 2


def test_malformed_rows_are_counted_with_file_and_line(tmp_path: Path) -> None:
    good = shape.row("G1", "1.1", "", "", "Clear.", "Normal.")
    tables(tmp_path, good, shape.row("", "1.2", "", "", "Clear.", "Normal."), good[:-1])
    found, tally = read(tmp_path, most=1.0)
    assert [row.split for row in found] == ["train"]
    assert [(row.file, row.line, row.why) for row in tally.malformed] == [
        ("train_metadata.csv", 3, "no PatientID"),
        ("train_metadata.csv", 4, "11 fields instead of 12"),
    ]


@pytest.mark.parametrize("split", SPLITS)
def test_each_file_is_missed_and_each_wrong_one_refused(split: str, tmp_path: Path) -> None:
    shape.write(tmp_path)
    path = tmp_path / "metadata" / f"{split}_metadata.csv"
    content = path.read_bytes()
    path.unlink()
    with pytest.raises(UserError, match=f"has no metadata/{split}_metadata.csv"):
        read(tmp_path)
    path.write_text("<!DOCTYPE html><html>Log in</html>")
    with pytest.raises(UserError, match="a web page"):
        read(tmp_path)
    path.write_bytes(content.replace(b"Findings", b"findings_text", 1))
    with pytest.raises(UserError, match="lacks the column Findings"):
        read(tmp_path)
    path.unlink()
    path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(content)[:-9])
    with pytest.raises(UserError, match="incomplete gzip"):
        read(tmp_path)


def study(number: int, date: str, findings: str, impression: str = "", patient: str = "G1") -> tuple[str, ...]:
    return shape.row(patient, f"1.{number}", "Cough.", "None", findings, impression, date)


def pairs(folder: Path, *rows: tuple[str, ...]) -> tuple[list[Example], Tally]:
    """The examples of change of a train table of `rows`."""
    found, tally = read(tables(folder, *rows))
    return of(found, TEMPORAL.name), tally


def answer_of(folder: Path, findings: str, impression: str = "") -> list[str]:
    """The lines of the answer where these are the current report; none if there is no pair."""
    found, _ = pairs(folder, study(1, "20200101", "Prior."), study(2, "20200102", findings, impression))
    return [line for row in found for line in row.answer.splitlines()]


def test_a_study_and_the_one_before_it_give_the_changes_that_the_current_report_states(tmp_path: Path) -> None:
    (row,), _ = pairs(
        tmp_path,
        study(1, "20200131", "Small left pleural effusion.", "Effusion."),
        study(
            2, "20200203", "The left pleural effusion\nhas increased. Heart size is normal.", "1. Stable cardiomegaly."
        ),
    )
    assert row.inputs == {
        "report": "PRIOR FINDINGS: Small left pleural effusion.\nPRIOR IMPRESSION: Effusion.\n"
        "CURRENT FINDINGS: The left pleural effusion\nhas increased. Heart size is normal.\n"
        "CURRENT IMPRESSION: 1. Stable cardiomegaly."
    }
    assert row.answer == (
        "- [Worsened] increased (related to: pleural effusion)\n- [No Change] stable (related to: cardiomegaly)"
    )
    assert (row.id, row.patient, row.study, row.split) == ("1.2/pair", "rexgradient:G1", "rexgradient:1.2", "train")
    assert (row.tier, row.tags) == ("silver", ("rule_labelled",))


def test_each_change_stands_in_a_sentence_of_the_report_and_the_grammar_can_write_it(tmp_path: Path) -> None:
    shape.write(tmp_path, 60, 3)
    found, tally = read(tmp_path)
    assert not tally.malformed and len(of(found, TEMPORAL.name)) > 12
    for row in of(found, TEMPORAL.name):
        answer = TEMPORAL.read(row.answer)
        assert answer is not None and answer.changes
        grounded = TEMPORAL.ground(answer, row.inputs)
        assert not grounded.warnings and all(one.start is not None for one in grounded.answer.changes)
        written = set(spans(row.inputs["report"].lower(), 4))
        assert all({f" {one.finding}", f" {one.cue}"} <= written for one in answer.changes)


def test_studies_are_ordered_by_date_and_not_by_row(tmp_path: Path) -> None:
    found, _ = pairs(
        tmp_path,
        study(3, "20210101", "Third: the effusion has decreased."),
        study(9, "20200601", "Of another: new opacity.", patient="G2"),
        study(1, "20191231", "First: new effusion."),
        study(2, "20200101.0", "Second: the effusion has increased."),
    )
    said = {row.id: (row.inputs["report"], row.answer) for row in found}
    assert said == {
        "1.2/pair": (
            "PRIOR FINDINGS: First: new effusion.\nCURRENT FINDINGS: Second: the effusion has increased.",
            "- [Worsened] increased (related to: effusion)",
        ),
        "1.3/pair": (
            "PRIOR FINDINGS: Second: the effusion has increased.\nCURRENT FINDINGS: Third: the effusion has decreased.",
            "- [Improved] decreased (related to: effusion)",
        ),
    }


def test_studies_on_one_day_have_no_order_and_give_no_pair(tmp_path: Path) -> None:
    found, tally = pairs(
        tmp_path,
        *(study(n, day, "Stable effusion.") for n, day in enumerate(("20200101", "20200102", "20200102", "20200103"))),
        *(study(n, "20200101", "Stable effusion.", patient="G2") for n in (7, 8)),
    )
    assert not found and tally.dropped[f"{TEMPORAL.name}: several studies on one day, of unknown order"] == 4


@pytest.mark.parametrize("date", ["", "None", "20200230", "2020011", "01/02/2020", "20200102.5"])
def test_a_study_without_a_date_is_in_no_pair(date: str, tmp_path: Path) -> None:
    found, tally = read(
        tables(
            tmp_path,
            study(1, "20200101", "Small effusion.", "Effusion."),
            study(2, date, "Larger effusion.", "Larger effusion."),
            study(3, "20200103", "Stable effusion.", "Stable effusion."),
        )
    )
    assert [row.id for row in of(found, "impression_generation")] == ["1.1", "1.2", "1.3"]
    assert {row.patient for row in found} == {"rexgradient:G1"}
    (row,) = of(found, TEMPORAL.name)
    assert row.id == "1.3/pair" and row.inputs["report"].startswith("PRIOR FINDINGS: Small effusion.")
    assert tally.dropped == {f"{TEMPORAL.name}: a study without a date": 1}


def test_no_pair_goes_across_splits_and_rows_are_counted_once(tmp_path: Path) -> None:
    tables(tmp_path, study(1, "20200101", "Small effusion."), study(2, "20200102", "Stable effusion."))
    shape.table(tmp_path, "valid", [study(3, "20200103", "Increased effusion.")])
    # A study that comes again is no study before another one.
    shape.table(tmp_path, "test", [study(2, "20200102", "Stable effusion."), study(4, "20200104", "New effusion.")])
    found, tally = read(tmp_path)
    assert [(row.id, row.split) for row in of(found, TEMPORAL.name)] == [("1.2/pair", "train")]
    assert tally.rows == 5 and tally.dropped["another row of a study"] == 1


def test_malformed_rows_are_listed_once_and_are_in_no_pair(tmp_path: Path) -> None:
    good = [study(1, "20200101", "Small effusion."), study(3, "20200103", "Stable effusion.")]
    found, tally = read(tables(tmp_path, good[0], study(2, "20200102", "New opacity.")[:-1], good[1]), most=1)
    assert [row.id for row in found] == ["1.3/pair"] and len(tally.malformed) == 1 and tally.rows == 3


def test_a_pair_that_lacks_a_report_or_tells_of_no_change_is_dropped_and_counted(tmp_path: Path) -> None:
    found, tally = pairs(
        tmp_path,
        study(1, "20200101", "None", "nan"),
        study(2, "20200102", "Stable effusion."),
        study(3, "20200103", "Small effusion. No pneumothorax."),
        study(4, "20200104", "None", "None"),
    )
    assert not found
    assert tally.dropped[f"{TEMPORAL.name}: no report of one of the studies"] == 2
    assert tally.dropped[f"{TEMPORAL.name}: no change that the current report states"] == 1


@pytest.mark.parametrize(
    "denied",
    [
        "No new effusion or pneumothorax.",
        "There is no evidence of worsening edema.",
        "No significant interval increase in effusion.",
        "Without new or enlarging nodule.",
        "No pneumothorax, unchanged.",
        "Possible new pneumonia.",
        "Effusion has not resolved.",
        "Recommend follow-up to document resolution of pneumonia.",
        "Bilateral effusions, right greater than left.",
        "The opacity is better seen on the lateral view.",
        "Stable to slightly increased effusion.",
        "Decreased but persistent effusion.",
        "Small left effusion, heart size is stable.",
        "Decreased lung volumes with atelectasis.",
        "Increased interstitial markings.",
        "The endotracheal tube is unchanged in position.",
        "No significant interval change.",
        "Pneumonia has nearly resolved.",
        "No effusion and edema has resolved.",
        "stable effusion, " * 2_000,
    ],
)
def test_what_is_denied_in_doubt_or_of_no_finding_is_no_change(denied: str, tmp_path: Path) -> None:
    assert answer_of(tmp_path, denied) == []


@pytest.mark.parametrize(
    ("said", "changes"),
    [
        (
            "Stable cardiomegaly with new right effusion.",
            ["[No Change] stable: cardiomegaly", "[New Finding] new: effusion"],
        ),
        ("Effusion increased, edema is unchanged.", ["[Worsened] increased: effusion", "[No Change] unchanged: edema"]),
        ("The effusion and edema have improved.", ["[Improved] improved: effusion", "[Improved] improved: edema"]),
        (
            "Unchanged effusion, edema, and atelectasis.",
            ["[No Change] unchanged: effusion", "[No Change] unchanged: edema", "[No Change] unchanged: atelectasis"],
        ),
        ("The effusion has increased and there is atelectasis.", ["[Worsened] increased: effusion"]),
        ("Increased opacities may represent pneumonia.", ["[Worsened] increased: opacities"]),
        ("Small effusion, which has decreased.", ["[Improved] decreased: effusion"]),
        ("Large effusion obscuring stable cardiomegaly.", ["[No Change] stable: cardiomegaly"]),
        ("No significant change in the effusion.", ["[No Change] no significant change: effusion"]),
        ("Edema has resolved without effusion.", ["[Resolved] resolved: edema"]),
        ("The pneumothorax is no longer seen.", ["[Resolved] no longer seen: pneumothorax"]),
        ("Interval development of a small effusion.", ["[New Finding] interval development: effusion"]),
        ("Hydropneumothorax is new.", ["[New Finding] new: hydropneumothorax"]),
        ("The EFFUSION is Larger.", ["[Worsened] larger: effusion"]),
    ],
)
def test_words_of_change_belong_to_the_findings_that_they_speak_of(
    said: str, changes: list[str], tmp_path: Path
) -> None:
    parts = (one.rpartition(": ") for one in changes)
    assert answer_of(tmp_path, said) == [f"- {cue} (related to: {finding})" for cue, _, finding in parts]


def test_what_the_impression_says_again_is_one_change(tmp_path: Path) -> None:
    said = answer_of(tmp_path, "The left pleural effusion has increased.", "Worsening effusion. New opacity.")
    assert said == [
        "- [Worsened] increased (related to: pleural effusion)",
        "- [New Finding] new (related to: opacity)",
    ]


def test_reports_are_held_only_until_their_pairs_are_complete() -> None:
    made, reports = Pairs({"b": "a", "c": "b", "y": "x"}), {name: Report(name, "") for name in "abcxyz"}
    steps = [(name, [one[0] for one in made.add(name, reports[name])], sorted(made.held)) for name in "zcabyx"]
    assert steps == [
        ("z", [], []),
        ("c", [], ["c"]),
        ("a", [], ["a", "c"]),
        ("b", ["b", "c"], []),
        ("y", [], ["y"]),
        ("x", ["y"], []),
    ]
    made = Pairs({"b": "a"})
    made.add("a", reports["a"])
    assert made.add("b", reports["b"]) == [("b", reports["a"], reports["b"])]


def test_memory_does_not_grow_with_the_texts_of_a_table(tmp_path: Path) -> None:
    text = "Stable effusion. " + "x" * 50_000
    tables(tmp_path, *(study(n, f"2020010{n % 2 + 1}", text, patient=f"G{n // 2}") for n in range(100)))
    tracemalloc.start()
    try:
        number = sum(1 for row in REXGRADIENT.read(tmp_path, Tally()) if row.task == TEMPORAL.name)
        assert number == 50 and tracemalloc.get_traced_memory()[1] < 2_500_000
    finally:
        tracemalloc.stop()
