"""A user's own tables: what the mapping says is what comes out, and a mapping that says nonsense is told so."""

import gzip
import json
import re
from collections import Counter
from dataclasses import fields
from pathlib import Path
from typing import Any

import openpyxl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from radlite.data.sources import Tally
from radlite.data.sources.table import TABLE, _Rows
from radlite.errors import UserError
from radlite.tasks import TASKS, Example, named
from tests.data.shapes import table as shape

DOCUMENT = (Path(__file__).parents[3] / "docs" / "own-data.md").read_text("utf-8")
SECRET = "Mrs Example has a carcinoma"
KEYS: dict[str, Any] = {"file": "a.csv", "task": "rads_assignment", "report": "text", "answer": "code"}


def read(folder: Path, most: float = 1.0) -> tuple[list[Example], Tally]:
    tally = Tally()
    return list(TABLE.read(folder, tally, most)), tally


def mapped(folder: Path, *tables: dict[str, Any], head: str = "") -> Path:
    """Write table.toml with these tables; strings and mappings of strings are all that occurs."""

    def toml(value: Any) -> str:
        return json.dumps(value) if isinstance(value, str) else (
            "{ " + ", ".join(f"{json.dumps(key)} = {json.dumps(one)}" for key, one in value.items()) + " }"
        )  # fmt: skip

    blocks = ["[[rows]]\n" + "".join(f"{key} = {toml(value)}\n" for key, value in one.items()) for one in tables]
    (folder / "table.toml").write_text(f"{head}\n" + "\n".join(blocks))
    return folder


def csv(folder: Path, *lines: str, **keys: Any) -> Path:
    """a.csv with these lines and its mapping: `KEYS` with the changes `keys` (None takes a key out)."""
    (folder / "a.csv").write_text("\n".join(lines) + "\n")
    return mapped(folder, {key: value for key, value in {**KEYS, **keys}.items() if value is not None})


def abnormal(**keys: Any) -> dict[str, Any]:
    return {"task": "abnormality_detection", "answer": None, **keys}


def test_the_example_of_the_documentation_gives_the_rows_that_it_shows(tmp_path: Path) -> None:
    for name, content in re.findall(r"`my-data/([\w.]+)`[^\n]*:\n\n```\w*\n(.*?)```", DOCUMENT, re.DOTALL):
        (tmp_path / name).write_text(content)
    rows, tally = read(tmp_path)
    shown = re.findall(r"^\| (\w+) \| ([\w/]+) \| (clinic:\w+) \| (\w*) \| ([^|]+) \|$", DOCUMENT, re.MULTILINE)
    assert len(shown) == 7 and not tally.malformed
    assert [(row.task, row.id, row.patient, row.split, _brief(row)) for row in rows] == shown
    assert +tally.dropped == {"rads_assignment: no answer": 1, "abnormality_detection: no state": 1}
    assert {row.licence for row in rows} == {"internal use"}
    assert {row.task: row.tier for row in rows}["abnormality_detection"] == "silver"


def _brief(row: Example) -> str:
    lines = (line.removeprefix("- ") for line in row.answer.splitlines() if not line.endswith("not mentioned"))
    return ", ".join(lines)


def test_every_key_is_documented_and_no_other() -> None:
    table = DOCUMENT[DOCUMENT.index("## Keys of") : DOCUMENT.index("## What is checked")]
    named_there = {
        key for line in re.findall(r"^\| (`.*?) \|", table, re.MULTILINE) for key in re.findall(r"`(\w+)`", line)
    }
    inline = {"indication", "technique", "comparison"}
    assert named_there | inline == {one.name for one in fields(_Rows)} and all(f"`{key}`" in table for key in inline)


def test_all_formats_and_tasks_are_read_with_patients_splits_and_licence(tmp_path: Path) -> None:
    shape.write(tmp_path)
    rows, tally = read(tmp_path)
    assert Counter(row.task for row in rows) == dict.fromkeys(TASKS, 20) and set(TABLE.tasks) == set(TASKS)
    assert not tally.malformed and not +tally.dropped and tally.rows == 180 and len(tally.files) == 9
    assert Counter(row.split for row in rows if row.task == "rads_assignment") == {
        "train": 8, "validation": 6, "test": 6,
    }  # fmt: skip
    assert {row.licence for row in rows} == {"internal use"}
    third = next(row for row in rows if row.task == "rads_assignment" and row.id == "A3")
    assert (third.patient, third.study, third.tags) == ("clinic:1", "clinic:A3", ("table:rads",))
    # Numbers that Excel and Parquet hold are written without a point, as a CSV has them.
    assert {row.patient for row in rows if row.task == "n_staging"} == {f"clinic:{1000 + n}" for n in range(10)}
    assert {row.patient for row in rows if row.task == "radiology_qa"} == {f"clinic:{n}" for n in range(10)}
    assert {row.tier for row in rows if row.task == "radiology_ner"} == {"silver"}


def test_every_row_is_one_that_the_task_reads(tmp_path: Path) -> None:
    shape.write(tmp_path, seed=1)
    rows, _ = read(tmp_path)
    assert len({(row.task, row.id) for row in rows}) == len(rows)
    for row in rows:
        task = named(row.task)
        assert task.read(row.answer) is not None and set(row.inputs) == set(task.inputs)
        assert all(text.strip() for text in row.inputs.values())


def test_labels_translate_answers_and_leave_rows_out(tmp_path: Path) -> None:
    lines = ("text,code", "One.,four b", "Two.,BI-RADS 2", "Three.,unclear", "Four.,")
    rows, tally = read(csv(tmp_path, *lines, labels={"four b": "BI-RADS 4B", "unclear": ""}))
    assert [row.answer for row in rows] == ["BI-RADS 4B", "BI-RADS 2"] and not tally.malformed
    assert tally.dropped == {"rads_assignment: no answer": 2}


def test_an_answer_in_another_form_is_malformed_and_not_quoted(tmp_path: Path) -> None:
    csv(tmp_path, "text,code", "One.,BI-RADS 2", f"Two.,{SECRET}")
    rows, tally = read(tmp_path)
    assert len(rows) == 1
    assert [(bad.file, bad.line, bad.why) for bad in tally.malformed] == [
        ("a.csv", 3, "the answer is not in the form of rads_assignment")
    ]
    with pytest.raises(UserError, match=r"malformed, the first in a\.csv line 3") as caught:
        read(tmp_path, most=0.01)
    assert SECRET not in str(caught.value)


def test_splits_have_the_usual_names(tmp_path: Path) -> None:
    given = ("train", "Train", "validation", "valid", "val", "dev", "TEST", "")
    lines = [f"Report {index}.,BI-RADS 2,{name}" for index, name in enumerate(given)]
    rows, _ = read(csv(tmp_path, "text,code,set", *lines, split="set"))
    assert [row.split for row in rows] == ["train"] * 2 + ["validation"] * 4 + ["test", ""]
    _, tally = read(csv(tmp_path, "text,code,set", "One.,BI-RADS 2,holdout", split="set"))
    assert [bad.why for bad in tally.malformed] == ["the split is none of train, validation and test"]


def test_ids_are_those_of_the_column_or_title_and_line_and_none_comes_twice(tmp_path: Path) -> None:
    lines = ("text,code,n", "One.,BI-RADS 2,x1", "Two.,BI-RADS 2,x1", "Three.,BI-RADS 2,")
    rows, tally = read(csv(tmp_path, *lines, id="n"))
    assert [row.id for row in rows] == ["x1"]
    assert [(bad.line, bad.why) for bad in tally.malformed] == [(3, "a repeated id"), (4, "no n")]
    rows, _ = read(csv(tmp_path, *lines))
    assert [row.id for row in rows] == ["a/2", "a/3", "a/4"]
    rows, _ = read(csv(tmp_path, *lines, title="breast north"))
    assert [row.id for row in rows] == ["breast north/2", "breast north/3", "breast north/4"]
    assert {row.tags for row in rows} == {("table:breast north",)}


def test_one_file_may_serve_several_tables(tmp_path: Path) -> None:
    csv(tmp_path, "text,q1,a1,q2,a2", "A nodule.,Where?,Right.,How large?,5 mm.")
    tables = [
        {
            "file": "a.csv",
            "task": "radiology_qa",
            "report": "text",
            "question": f"q{n}",
            "answer": f"a{n}",
            "title": f"t{n}",
        }
        for n in (1, 2)
    ]
    rows, _ = read(mapped(tmp_path, *tables))
    assert [(row.id, row.inputs["question"], row.answer) for row in rows] == [
        ("t1/2", "Where?", "Right."),
        ("t2/2", "How large?", "5 mm."),
    ]


def test_what_holds_for_all_tables_holds_unless_a_table_says_otherwise(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("text,code,p\nOne.,BI-RADS 2,7\n")
    other = {**KEYS, "title": "b", "tier": "proxy", "licence": "CC0", "patients": "mimic"}
    mapped(tmp_path, {**KEYS, "patient": "p"}, {**other, "patient": "p"}, head='tier = "silver"\npatients = "north"')
    rows, _ = read(tmp_path)
    assert [(row.patient, row.tier, row.licence, row.tags) for row in rows] == [
        ("north:7", "silver", "own data", ("table:a",)),
        ("mimic:7", "proxy", "CC0", ("table:b", "proxy")),
    ]
    rows, _ = read(mapped(tmp_path, {**KEYS, "patient": "p"}))
    assert (rows[0].patient, rows[0].tier) == ("table:7", "gold")


def test_an_impression_is_drawn_from_the_sections_before_it(tmp_path: Path) -> None:
    keys = {"indication": "why", "comparison": "old", "findings": "found", "impression": "said"}
    lines = ("why,old,found,said", 'Cough.,,"A nodule,\nnew.","1. Nodule. 2. Follow up."')
    rows, _ = read(csv(tmp_path, *lines, task="impression_generation", report=None, answer=None, **keys))
    assert [(row.inputs["report"], row.answer) for row in rows] == [
        ("INDICATION: Cough.\nFINDINGS: A nodule,\nnew.", "Nodule.\nFollow up.")
    ]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (",Nodule.", "no findings"),
        ("A nodule.,", "no impression"),
        ("A nodule. IMPRESSION: Nodule.,Nodule.", "an impression in the findings"),
    ],
)
def test_findings_without_impression_or_with_one_inside_are_left_out_and_counted(
    line: str, reason: str, tmp_path: Path
) -> None:
    keys = {"task": "impression_generation", "findings": "found", "impression": "said"}
    rows, tally = read(csv(tmp_path, "found,said", line, report=None, answer=None, **keys))
    assert not rows and tally.dropped == {f"impression_generation: {reason}": 1} and not tally.malformed


def test_whole_reports_with_answers_serve_impressions_too(tmp_path: Path) -> None:
    lines = ("text,said", "Findings: A nodule.,- Nodule.", "Findings: A nodule. Impression: Nodule.,Nodule.")
    rows, tally = read(csv(tmp_path, *lines, task="impression_generation", answer="said"))
    assert [row.answer for row in rows] == ["Nodule."]
    assert tally.dropped == {"impression_generation: an impression in the findings": 1}


def test_states_are_numbers_and_classes_without_a_column_come_from_the_lexicon_and_make_the_row_silver(
    tmp_path: Path,
) -> None:
    report = "Cardiomegaly. No edema. Possible effusion."
    lines = ("text,e,p,o", f"{report},1,-1.0,0", f"{report},,,")
    states = {"Edema": "e", "Pneumonia": "p", "Lung Opacity": "o"}
    rows, tally = read(csv(tmp_path, *lines, **abnormal(states=states)))
    assert _brief(rows[0]) == (
        "Cardiomegaly: positive, Edema: positive, Lung Opacity: negative, Pleural Effusion: uncertain, "
        "Pneumonia: uncertain"
    )
    assert rows[0].tier == "silver" and rows[0].tags == ("table:a", "partly_lexicon")
    assert len(rows) == 1 and tally.dropped == {"abnormality_detection: no state": 1}


def test_no_finding_does_not_stand_beside_a_finding_of_the_table(tmp_path: Path) -> None:
    lines = ("text,e", "The lungs are clear. No effusion.,1", "The lungs are clear. No effusion.,0")
    rows, _ = read(csv(tmp_path, *lines, **abnormal(states={"Edema": "e"})))
    assert ["- No Finding: positive" in row.answer for row in rows] == [False, True]


def test_a_state_in_another_form_is_malformed(tmp_path: Path) -> None:
    _, tally = read(csv(tmp_path, "text,e", "Report.,yes", **abnormal(states={"Edema": "e"})))
    assert [bad.why for bad in tally.malformed] == ["Edema is none of 1, 0, -1 and nothing"]


def test_a_row_without_a_text_is_left_out_and_counted(tmp_path: Path) -> None:
    rows, tally = read(csv(tmp_path, "text,code", " ,BI-RADS 2", "One.,BI-RADS 2"))
    assert len(rows) == 1 and tally.dropped == {"rads_assignment: no report": 1}


def test_json_null_numbers_and_lists_are_told_apart(tmp_path: Path) -> None:
    lines = [
        {"text": "One.", "code": "BI-RADS 2", "p": 7},
        {"text": "Two.", "code": "BI-RADS 2", "p": None},
        {"text": ["a"], "code": "x", "p": 1},
    ]
    (tmp_path / "a.ndjson").write_text("\n".join(map(json.dumps, lines)))
    rows, tally = read(mapped(tmp_path, {**KEYS, "file": "a.ndjson", "patient": "p"}))
    assert [row.patient for row in rows] == ["table:7", ""]
    assert [(bad.line, bad.why) for bad in tally.malformed] == [(3, "text is neither text nor a number")]


def test_line_breaks_of_excel_and_nan_of_parquet_are_read(tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    for row in (["text", "code"], ["One._x000D_\nTwo.", "BI-RADS 2"]):
        book.active.append(row)
    book.save(tmp_path / "a.xlsx")
    pq.write_table(
        pa.table({"text": ["a\r\nb"], "code": ["BI-RADS 2"], "p": [float("nan")], "s": [True]}), tmp_path / "b.parquet"
    )
    parquet = {**KEYS, "file": "b.parquet", "patient": "p", "study": "s"}
    rows, _ = read(mapped(tmp_path, {**KEYS, "file": "a.xlsx"}, parquet))
    assert [(row.inputs["report"], row.patient, row.study) for row in rows] == [
        ("One.\nTwo.", "", ""),
        ("a\nb", "", "table:1"),
    ]


def test_tabs_semicolons_packed_files_and_folders_below_are_read(tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "a.tsv").write_text("text\tcode\nOne, two.\tBI-RADS 2\n")
    (tmp_path / "b.csv.gz").write_bytes(gzip.compress(b"text;code\nOne, two.;BI-RADS 2\n"))
    semicolon = {**KEYS, "file": "b.csv.gz", "delimiter": ";"}
    rows, _ = read(mapped(tmp_path, {**KEYS, "file": "below/a.tsv"}, semicolon))
    assert [row.inputs["report"] for row in rows] == ["One, two."] * 2
    assert [row.tags for row in rows] == [("table:a",), ("table:b",)]


MAPPINGS = {
    r"rows\.1\.reprot is no key; did you mean report\?": {"reprot": "text"},
    r"rows\.1\.zzz is no key; choose from file, task": {"zzz": "text"},
    r"rows\.1: There is no task 'rads_asignment'; did you mean rads_assignment\?": {"task": "rads_asignment"},
    r"rows\.1: rads_assignment needs the column of the report": {"report": None},
    r"rows\.1: rads_assignment needs the column of the answer": {"answer": None},
    r"rows\.1: rads_assignment has no use for question beside answer and report": {"question": "text"},
    r"rows\.1: radiology_nli needs the column of the hypothesis": {
        "task": "radiology_nli", "report": None, "premise": "text",
    },
    r"rows\.1: sections and impression are for impression_generation, not": {"findings": "text"},
    r"rows\.1: impression_generation needs the column of the findings": {
        "task": "impression_generation", "report": None, "answer": None, "impression": "code",
    },
    r"rows\.1: impression_generation has no use for answer": {
        "task": "impression_generation", "report": None, "findings": "text", "impression": "code",
    },
    r"rows\.1: states are for abnormality_detection, not for": {"answer": None, "states": {"Edema": "code"}},
    r"rows\.1: abnormality_detection has no use for answer": {
        "task": "abnormality_detection", "states": {"Edema": "code"},
    },
    r"rows\.1: states\.Oedema is no class; did you mean Edema\?": abnormal(states={"Oedema": "code"}),
    r"rows\.1: labels give 'BI-RADS 7', which is no answer": {"labels": {"7": "BI-RADS 7"}},
    r"rows\.1: the file a\.doc ends in none of \.csv": {"file": "a.doc"},
    r"rows\.1: the file has a name that cannot be printed": {"file": "a\x1b.csv"},
    r"rows\.1: the file has a name that .*longer than 255 bytes": {"file": "a" * 300 + ".csv"},
    r"rows\.1: delimiter is one character, and for CSV only": {"file": "a.jsonl", "delimiter": ";"},
    r"rows\.1\.tier: Input should be 'gold'": {"tier": "best"},
    r"rows\.1\.encoding: Input should be 'utf-8'": {"encoding": "latin-1"},
    r"a\.csv lacks the column tekst \(expected CSV with the columns tekst, code\)": {"report": "tekst"},
    r"b\.csv is not there": {"file": "b.csv"},
}  # fmt: skip


def test_a_column_that_is_missing_is_named_on_one_line(tmp_path: Path) -> None:
    csv(tmp_path, "text,code", "One.,BI-RADS 2", report="te\nxt\x1b")
    with pytest.raises(UserError, match=r"lacks the column te\\nxt\\x1b \(") as caught:
        read(tmp_path)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("message", MAPPINGS)
def test_a_mapping_that_cannot_be_used_says_where_and_why(message: str, tmp_path: Path) -> None:
    csv(tmp_path, "text,code", "One.,BI-RADS 2", **MAPPINGS[message])
    with pytest.raises(UserError, match=message) as caught:
        read(tmp_path)
    assert str(tmp_path) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("rows = 3", r"table\.toml cannot be used: rows: Input should be a valid list"),
        ('patient = "a"\nrows = []', r"patient is no key; did you mean patients\?"),
        ("", r"rows: Field required"),
        ("[[rows]\n", r"table\.toml is not TOML"),
        ("[[rows]]\nfile = 3\n", r"rows\.1\.file: Input should be a valid string"),
        ('"\\u001b[31m" = 1\nrows = []', r"cannot be used: \\x1b\[31m is no key"),
        ("rows = " + "[" * 100_000, r"is not TOML: it is nested too deep"),
        ("rows = " + "{a=" * 100_000, r"is not TOML: it is nested too deep"),
        ("rows = 1" + "0" * 5000, r"is not TOML: "),
        ("\na" + ".a" * 100_000 + " = 1", r"has more than 100 dots in line 2; make that line shorter"),
        ("#" * (1 << 20) + "\n", r"is larger than 1 MiB"),
    ],
)
def test_a_mapping_in_another_form_is_told_so(content: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "table.toml").write_text(content)
    with pytest.raises(UserError, match=message):
        read(tmp_path)


def test_a_folder_without_a_mapping_names_the_documentation(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"has no table\.toml.*docs/own-data\.md"):
        read(tmp_path)


PAGE = b"<!DOCTYPE html><html>Log in</html>"
WRONG = {
    "a.csv": (PAGE, "a web page"),
    "a.csv.gz": (gzip.compress(b"text,code\n" * 99)[:-9], "a damaged or incomplete gzip"),
    "a.jsonl": (PAGE, "a web page"),
    "a.parquet": (PAGE, "a web page"),
    "a.xlsx": (PAGE, "a web page"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_file_is_named(name: str, tmp_path: Path) -> None:
    content, kind = WRONG[name]
    (tmp_path / name).write_bytes(content)
    mapped(tmp_path, {**KEYS, "file": name})
    with pytest.raises(UserError, match=rf"{re.escape(name)} is {kind}"):
        read(tmp_path)


def test_a_key_that_json_lines_lack_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "One."}\n')
    with pytest.raises(UserError, match=r"a\.jsonl is not .*: line 1 is without code"):
        read(mapped(tmp_path, {**KEYS, "file": "a.jsonl"}))


def test_a_column_that_parquet_or_excel_lacks_is_named(tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": ["One."]}), tmp_path / "a.parquet")
    openpyxl.Workbook().save(tmp_path / "a.xlsx")
    for name in ("a.parquet", "a.xlsx"):
        with pytest.raises(UserError, match=rf"{name} lacks the column"):
            read(mapped(tmp_path, {**KEYS, "file": name}))
