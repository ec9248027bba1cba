"""Files of sources: rows one by one, bad rows counted, wrong files named without quoting them."""

import gzip
import io
import json
import os
import re
import runpy
import tarfile
import tracemalloc
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from radlite.data.sources import SOURCES, Tally, json_values
from radlite.data.sources.files import (
    find,
    read_csv,
    read_json_entries,
    read_json_items,
    read_json_lines,
    read_members,
    read_parquet,
    read_workbook,
)
from radlite.data.sources.source import MAX_LISTED
from radlite.errors import UserError
from radlite.files import MAX_TEXT_BYTES
from radlite.tasks import TASKS

SECRET = "Mrs Example has a carcinoma"
GOOD = f"id,text\n1,{SECRET}\n2,other\n".encode()


def read(folder: Path, tally: Tally | None = None) -> list[dict[str, str]]:
    return [row for _, row in read_csv(folder, "reports.csv", ("id", "text"), tally or Tally())]


def test_every_source_says_what_it_is_and_how_to_get_it() -> None:
    for name, source in SOURCES.items():
        assert source.name == name and set(source.tasks) <= set(TASKS) and source.tasks
        assert source.licence and source.citation and source.how_to and source.title


@pytest.mark.parametrize(
    "data",
    [GOOD, gzip.compress(GOOD), b"\xef\xbb\xbf" + GOOD, GOOD.replace(b"\n", b"\r\n")],
    ids=["plain", "packed", "marked", "windows"],  # packed bytes hold the time: no name for a test
)
def test_a_csv_is_read_plain_packed_or_with_a_mark_in_front(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "reports.csv").write_bytes(data)
    assert read(tmp_path) == [{"id": "1", "text": SECRET}, {"id": "2", "text": "other"}]


def test_a_csv_with_gz_in_its_name_is_found(tmp_path: Path) -> None:
    (tmp_path / "reports.csv.gz").write_bytes(gzip.compress(GOOD))
    assert len(read(tmp_path)) == 2


WRONG = {
    "empty": b"",
    "a web page": b"\n<!DOCTYPE html><html><body>Log in</body></html>",
    "a Git LFS pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 3\n",
    "a zip archive": b"PK\x03\x04" + bytes(60),
    "binary": b"\x7fELF" + bytes(60),
    "UTF-16": "id,text\n1,a\n".encode("utf-16"),
    "incomplete gzip": gzip.compress(GOOD * 500)[:-30],
    "gzip file": gzip.compress(GOOD)[:14] + b"garbage",
    "lacks the column text": b"id,report\n1,a\n",
    "lacks the column id": f"{SECRET},x y\n1,a\n".encode(),
}


@pytest.mark.parametrize("kind", WRONG)
def test_a_wrong_file_gives_one_error_with_file_expected_and_found(kind: str, tmp_path: Path) -> None:
    (tmp_path / "reports.csv").write_bytes(WRONG[kind])
    with pytest.raises(UserError) as caught:
        read(tmp_path)
    message = str(caught.value)
    assert kind in message and "reports.csv" in message and "expected CSV with the columns id, text" in message
    assert SECRET not in message and "\n" not in message


def test_a_missing_file_is_named_with_what_lies_there(tmp_path: Path) -> None:
    (tmp_path / "report.csv").write_bytes(GOOD)
    with pytest.raises(UserError, match=r"has no reports\.csv .*found report\.csv"):
        read(tmp_path)


MALFORMED = {
    "3 fields instead of 2": b"7,a,b\n",
    "1 fields instead of 2": b"7\n",
    "no text": b"7,  \n",
    "not UTF-8": b"7,caf\xe9\n",
    "binary content": b"7,a\0b\n",
    "no valid CSV": b'7,"a"b\n',
}


@pytest.mark.parametrize("why", MALFORMED)
def test_a_malformed_row_is_skipped_and_listed_by_line(why: str, tmp_path: Path) -> None:
    good = b"".join(b"%d,a report\n" % number for number in range(500))
    (tmp_path / "reports.csv").write_bytes(b"id,text\n" + good + MALFORMED[why] + b"8,end\n")
    tally = Tally()
    assert len(read(tmp_path, tally)) == 501 and tally.rows == 502
    assert [(bad.file, bad.line) for bad in tally.malformed] == [("reports.csv", 502)]
    assert tally.malformed[0].why.startswith(why)


@pytest.mark.parametrize(
    "broken",
    [
        '3,"never closed\n4,a line that looks like a row\n',
        '3,"a "quote" in a report\nX1,a line that looks like a row\n"\n5,other\n',
    ],
)
def test_where_quotes_do_not_close_no_line_of_a_report_becomes_a_row(broken: str, tmp_path: Path) -> None:
    (tmp_path / "reports.csv").write_bytes(GOOD + broken.encode())
    with pytest.raises(UserError, match=r"Line 4 of .*quotes do not close"):
        read(tmp_path)


def test_a_column_that_is_there_twice_is_told(tmp_path: Path) -> None:
    (tmp_path / "reports.csv").write_text("id,text,text\n1,a,b\n")
    with pytest.raises(UserError, match="has the column text twice"):
        read(tmp_path)


def test_a_first_line_that_is_no_header_is_not_quoted(tmp_path: Path) -> None:
    (tmp_path / "reports.csv").write_text("r1,Mueller\n1,a\n")
    with pytest.raises(UserError, match=r"lacks the column id .*found 2 columns\.$"):
        read(tmp_path)


def test_a_workbook_that_states_too_small_a_size_is_read_whole(tmp_path: Path) -> None:
    import openpyxl

    book = openpyxl.Workbook()
    for cells in (("id", "text"), *((str(n), "a") for n in range(30))):
        book.active.append(cells)
    book.save(tmp_path / "whole.xlsx")
    with zipfile.ZipFile(tmp_path / "whole.xlsx") as whole, zipfile.ZipFile(tmp_path / "t.xlsx", "w") as cut:
        for entry in whole.infolist():
            content = whole.read(entry)
            if entry.filename == "xl/worksheets/sheet1.xml":
                content = re.sub(rb'<dimension ref="[^"]*"', b'<dimension ref="A1:B9"', content)
                assert b"A1:B9" in content
            cut.writestr(entry, content)
    (tmp_path / "whole.xlsx").unlink()
    assert len(list(read_workbook(tmp_path, "t.xlsx", ("id", "text"), Tally()))) == 30


LARGE = "x" * (MAX_TEXT_BYTES + 1)


def sheet(path: Path, *rows: bytes) -> None:
    """A workbook of one sheet whose rows, after the header id and text, are this XML."""
    import openpyxl

    book = openpyxl.Workbook()
    book.active.append(("id", "text"))
    book.save(path.with_suffix(".part"))
    with zipfile.ZipFile(path.with_suffix(".part")) as whole, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as made:
        for entry in whole.infolist():
            content = whole.read(entry)
            if entry.filename == "xl/worksheets/sheet1.xml":
                content = content.replace(b"</sheetData>", b"".join(rows) + b"</sheetData>")
            made.writestr(entry, content)
    path.with_suffix(".part").unlink()


def cells(number: int, *texts: str) -> bytes:
    inside = "".join(f'<c t="inlineStr"><is><t>{text}</t></is></c>' for text in texts)
    return f'<row r="{number}">{inside}</row>'.encode()


def rows_of(folder: Path, name: str, tally: Tally) -> Iterator[Any]:
    """The rows with id and text of a file, by the reader for it."""
    columns = ("id", "text")
    readers: dict[str, Callable[[], Iterator[Any]]] = {
        "a.csv": lambda: read_csv(folder, name, columns, tally),
        "a.jsonl": lambda: read_json_lines(folder, name, columns, tally),
        "a.json": lambda: ((number, value) for number, _, value in read_json_entries(folder, name, "reports", tally)),
        "items.json": lambda: read_json_items(folder, name, "data", "reports", tally),
        "a.xlsx": lambda: read_workbook(folder, name, columns, tally),
        "a.parquet": lambda: read_parquet(folder, name, columns, tally),
    }
    return readers[name]()


def write_three(folder: Path, name: str, text: str) -> list[int]:
    """A file with three rows, the second with this text; the numbers of the rows."""
    rows = [{"id": number, "text": text if number == "2" else "a"} for number in "123"]
    if name == "a.csv":
        (folder / name).write_text("id,text\n" + "".join(f"{row['id']},{row['text']}\n" for row in rows))
    elif name == "a.jsonl":
        (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    elif name == "a.json":
        (folder / name).write_text(json.dumps({row["id"]: row for row in rows}))
    elif name == "items.json":
        (folder / name).write_text(json.dumps({"version": [{}], "data": rows}))
    elif name == "a.xlsx":
        sheet(folder / name, *(cells(number, *row.values()) for number, row in enumerate(rows, start=2)))
    else:
        pq.write_table(pa.table({key: [row[key] for row in rows] for key in ("id", "text")}), folder / name)
    first = 2 if name in ("a.csv", "a.xlsx") else 1
    return [first, first + 1, first + 2]


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl", "a.json", "items.json", "a.xlsx", "a.parquet"])
def test_a_value_larger_than_a_report_may_be_is_one_malformed_row_in_every_format(name: str, tmp_path: Path) -> None:
    numbers = write_three(tmp_path, name, LARGE)
    tally = Tally()
    found = [(number, row["id"]) for number, row in rows_of(tmp_path, name, tally)]
    assert found == [(numbers[0], "1"), (numbers[2], "3")] and (tally.rows, tally.rejected) == (3, 1)
    assert (tally.malformed[0].file, tally.malformed[0].line) == (name, numbers[1])
    assert "larger than 4 MiB" in tally.malformed[0].why


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl", "a.json", "items.json"])
def test_no_more_of_a_file_is_held_than_a_report_may_have(name: str, tmp_path: Path) -> None:
    write_three(tmp_path, name, "middle")
    before, after = (tmp_path / name).read_bytes().split(b"middle")
    with gzip.open(tmp_path / f"{name}.gz", "wb", compresslevel=1) as file:
        file.write(before)
        for _ in range(64):
            file.write(b"x" * (1 << 20))
        file.write(after)
    (tmp_path / name).rename(tmp_path / "plain")
    tally = Tally()
    tracemalloc.start()
    try:
        assert [row["id"] for _, row in rows_of(tmp_path, name, tally)] == ["1", "3"]
        assert tracemalloc.get_traced_memory()[1] < 32 << 20
    finally:
        tracemalloc.stop()


def test_a_row_of_several_lines_that_is_too_large_is_told_as_its_end_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "reports.csv").write_text('id,text\n1,a\n2,"' + "a line\n" * (MAX_TEXT_BYTES // 7) + '"\n3,b\n')
    with pytest.raises(UserError, match=r"Line 3 of .*quotes do not close"):
        read(tmp_path)


def test_json_that_is_nested_deep_is_refused_and_takes_no_memory_for_it(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"1": {}, "2": ' + "[" * 100_000)
    (tmp_path / "items.json").write_text('{"data": [' + '{"a":' * 100_000)
    tracemalloc.start()
    try:
        for name in ("a.json", "items.json"):
            with pytest.raises(UserError, match=rf"{re.escape(name)} is no whole JSON file: it is nested too deep"):
                list(rows_of(tmp_path, name, Tally()))
        assert tracemalloc.get_traced_memory()[1] < 32 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("written", "why"), [(b'"caf\xe9"', "not UTF-8"), (rb'"a\ud800b"', "half of a surrogate pair")]
)
@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "items.json"])
def test_json_that_is_no_text_is_a_malformed_row(name: str, written: bytes, why: str, tmp_path: Path) -> None:
    write_three(tmp_path, name, "middle")
    (tmp_path / name).write_bytes((tmp_path / name).read_bytes().replace(b'"middle"', written))
    tally = Tally()
    assert [row["id"] for _, row in rows_of(tmp_path, name, tally)] == ["1", "3"]
    assert [(bad.line, bad.why) for bad in tally.malformed] == [(2, why)]


WORDS = st.text(st.sampled_from('a"\\[]{},:\u00e9\u2028\n'), max_size=12)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-99, 99) | st.floats(allow_nan=False, allow_infinity=False) | WORDS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(WORDS, inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    entries=st.dictionaries(WORDS, VALUES, min_size=1, max_size=5),
    indent=st.sampled_from([None, 1]),
    ascii_only=st.booleans(),
    piece=st.integers(1, 9),
)
def test_json_is_read_as_it_is_wherever_the_pieces_of_the_file_end(
    entries: dict[str, Any], indent: int | None, ascii_only: bool, piece: int, tmp_path: Path
) -> None:
    most = 80
    written = json.dumps(entries, indent=indent, ensure_ascii=ascii_only)
    (tmp_path / "a.json").write_text(written, "utf-8")
    tally = Tally()
    with mock.patch.multiple(json_values, _PIECE=piece, MAX_TEXT_BYTES=most):
        found = {key: value for _, key, value in read_json_entries(tmp_path, "a.json", "values", tally)}
    assert all(entries[key] == value for key, value in found.items())
    assert tally.rows == len(entries) == len(found) + tally.rejected
    assert indent or all(
        (key in found) == (len(json.dumps(value, ensure_ascii=ascii_only)) <= most) for key, value in entries.items()
    )


@pytest.mark.parametrize(
    ("content", "after"),
    [
        ('{"1": {"a": 2},', 1),
        ('{"1": {"a": 2}, "2": {"a" 3}}', 1),
        ('{"1": 2,}', 1),
        ('{"1": 2} {', 1),
        ('{"1": 2, 3: 4}', 1),
        ('{"1": {"a": x}, "2": "' + LARGE + '"}', 0),
        ('{"1": "' + LARGE, 0),
    ],
)
def test_json_that_ends_or_breaks_is_told_with_the_last_sound_entry(content: str, after: int, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(content)
    with pytest.raises(UserError, match=rf"is no whole JSON file: it .* after entry {after} "):
        list(rows_of(tmp_path, "a.json", Tally()))


def test_a_workbook_shows_a_thousand_columns_and_rows_end_where_the_header_does(tmp_path: Path) -> None:
    sheet(tmp_path / "t.xlsx", cells(2, "1", "a", *"b" * 3000))
    assert [row for _, row in read_workbook(tmp_path, "t.xlsx", ("id", "text"), Tally())] == [{"id": "1", "text": "a"}]


@pytest.mark.parametrize(
    "rows",
    [
        b"<row>" + b"<c/>" * (1 << 21) + b"</row>",
        b"<z/>" * (1 << 21),
        b"<row " + b" " * 2 * MAX_TEXT_BYTES + b"/>",
        b"<row/>" + b" " * (256 << 20),
    ],
    ids=["one row", "something else", "one tag", "bytes"],
)
def test_a_workbook_that_would_take_much_memory_is_refused_unread(rows: bytes, tmp_path: Path) -> None:
    sheet(tmp_path / "t.xlsx", rows)
    with pytest.raises(UserError, match=r"t\.xlsx is larger or has more rows than .*save its table as CSV"):
        list(read_workbook(tmp_path, "t.xlsx", ("id", "text"), Tally()))


def test_of_many_malformed_rows_some_are_listed_and_all_are_counted(tmp_path: Path) -> None:
    (tmp_path / "reports.csv").write_text("id,text\n" + "1\n" * (MAX_LISTED + 50))
    tally = Tally()
    assert not read(tmp_path, tally) and tally.rejected == MAX_LISTED + 50 and len(tally.malformed) == MAX_LISTED


NAMES = {"a\x1b[31m.xml": "a\\x1b[31m.xml", "a\nb.xml": "a\\nb.xml", os.fsdecode(b"caf\xe9.xml"): "caf\\udce9.xml"}


@pytest.mark.parametrize("packed", [True, False])
def test_members_that_are_too_large_or_have_names_that_cannot_be_printed_are_malformed(
    packed: bool, tmp_path: Path
) -> None:
    contents = {
        "sound.xml": b"<a/>",
        "large.xml": LARGE.encode(),
        "other.txt": LARGE.encode(),
        **dict.fromkeys(NAMES, b""),
    }
    if packed:
        with tarfile.open(tmp_path / "a.tgz", "w:gz") as tar:
            for name, content in contents.items():
                header = tarfile.TarInfo(name)
                header.size = len(content)
                tar.addfile(header, io.BytesIO(content))
    else:
        for name, content in contents.items():
            (tmp_path / name).write_bytes(content)
    tally = Tally()
    found = list(read_members(tmp_path, "a.tgz", ".xml", "XML", tally))
    assert found == [("sound.xml", b"<a/>")] and tally.rows == tally.rejected == 4
    assert {bad.file: bad.why for bad in tally.malformed} == {
        "large.xml": "larger than 4 MiB",
        **dict.fromkeys(NAMES.values(), "a name that cannot be printed"),
    }
    json.dumps([tally.files, [bad.file for bad in tally.malformed]], ensure_ascii=False).encode()


def test_a_header_of_a_tar_archive_is_not_held_where_it_is_large(tmp_path: Path) -> None:
    header = tarfile.TarInfo("a.xml")
    header.type, header.size = tarfile.XHDTYPE, 64 << 20
    with gzip.open(tmp_path / "a.tgz", "wb", compresslevel=1) as file:
        file.write(header.tobuf(tarfile.USTAR_FORMAT))
        for _ in range(64):
            file.write(bytes(1 << 20))
    tracemalloc.start()
    try:
        with pytest.raises(UserError, match=r"a\.tgz is damaged"):
            list(read_members(tmp_path, "a.tgz", ".xml", "XML", Tally()))
        assert tracemalloc.get_traced_memory()[1] < 32 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("make", "kind"),
    [
        (Path.mkdir, "is a folder"),
        (lambda path: os.mkfifo(path), "is a pipe or device"),
        (lambda path: path.symlink_to("nowhere"), "leads nowhere"),
    ],
)
def test_what_has_the_name_of_a_file_and_is_none_is_told_and_not_waited_for(
    make: Callable[[Path], None], kind: str, tmp_path: Path
) -> None:
    (tmp_path / "below").mkdir()
    make(tmp_path / "below" / "reports.csv")
    with pytest.raises(
        UserError, match=rf"has no reports\.csv \(expected CSV.*\); below/reports\.csv {kind}, and no file"
    ):
        read(tmp_path)
    make(tmp_path / "a.xml")
    with pytest.raises(UserError, match=r"has no a\.tgz"):
        list(read_members(tmp_path, "a.tgz", ".xml", "XML", Tally()))


def test_names_of_other_files_are_shown_on_one_line_with_escapes(tmp_path: Path) -> None:
    for name in NAMES:
        (tmp_path / name).touch()
    with pytest.raises(UserError) as caught:
        find(tmp_path, ("reports.csv",), "CSV")
    assert str(caught.value).endswith(f"found {', '.join(sorted(NAMES.values()))}.")


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.binary(max_size=200), headed=st.booleans())
def test_any_bytes_give_rows_or_one_user_error(data: bytes, headed: bool, tmp_path: Path) -> None:
    (tmp_path / "reports.csv").write_bytes((b"id,text\n" if headed else b"") + data)
    tally = Tally()
    try:
        rows = read(tmp_path, tally)
    except UserError:
        return
    assert len(rows) + len(tally.malformed) == tally.rows
    assert all(row["id"].strip() and row["text"].strip() for row in rows)


def test_the_data_card_is_that_of_the_adapters() -> None:
    root = Path(__file__).parents[2]
    card = runpy.run_path(str(root / "scripts" / "data_card.py"))["card"]()
    assert (root / "docs" / "data" / "sources.md").read_text("utf-8") == card, "run python scripts/data_card.py"


def test_a_large_value_that_a_dictionary_repeats_is_read_row_by_row(tmp_path: Path) -> None:
    values = pa.array(["x" * (5 << 20), "a report"])
    column = pa.DictionaryArray.from_arrays(pa.array([0, 1] * 200), values)
    pq.write_table(pa.table({"report": column}), tmp_path / "a.parquet", compression="zstd")
    tally = Tally()
    tracemalloc.start()
    rows = list(read_parquet(tmp_path, "a.parquet", ["report"], tally))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(rows) == tally.rejected == 200 and peak < 200 << 20
