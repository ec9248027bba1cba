"""Files of sources: rows one by one, bad rows counted, wrong files named without quoting them."""

import gzip
import re
import runpy
import zipfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from radlite.data.sources import SOURCES, Tally
from radlite.data.sources.files import read_csv, read_workbook
from radlite.errors import UserError
from radlite.tasks import TASKS

SECRET = "Mrs Example has a carcinoma"
GOOD = f"id,text\n1,{SECRET}\n2,other\n".encode()


def read(folder: Path, tally: Tally | None = None) -> list[dict[str, str]]:
    return [row for _, row in read_csv(folder, "reports.csv", ("id", "text"), tally or Tally())]


def test_every_source_says_what_it_is_and_how_to_get_it() -> None:
    for name, source in SOURCES.items():
        assert source.name == name and set(source.tasks) <= set(TASKS) and source.tasks
        assert source.licence and source.citation and source.how_to and source.title


@pytest.mark.parametrize("data", [GOOD, b"\xef\xbb\xbf" + GOOD, gzip.compress(GOOD), GOOD.replace(b"\n", b"\r\n")])
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
