"""The page on a corpus shows its counts and no text of reports, needs nothing besides itself, and trusts no name."""

import html
import re
import struct
import sys
import zlib
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from radlite.data import corpus, pictures, stats
from radlite.errors import UserError
from radlite.tasks import Example
from tests.data.rows import row

HOSTILE = ['<script>alert("1")</script>', "a $x^{2$ & 'b'", "漢字 \x1b[31m\u202e\n", "x" * 300, "a/b"]
PICTURES = ["overview", "lengths", "splits", "removed", "licences", "labels"]
RADS = [("BI-RADS 4", 5), ("BI-RADS 2", 1), ("LR-5", 3)]


def rows(source: str = "here") -> list[Example]:
    made = [row(f"n{at}", answer=f"N{at % 4}", split="train", source=source) for at in range(1234)]
    made += [row(f"t{at}", split="test", source=source, tier="silver") for at in range(56)]
    for at in range(78):
        inputs = {"report": f"Secretword {at}.", "question": "Is it?"}
        made.append(row(f"q{at}", "radiology_qa", "Yes.", inputs=inputs, split="train"))
    made += [
        row(f"{code}{at}", "rads_assignment", code, split="validation") for code, number in RADS for at in range(number)
    ]
    return made


FACTS: dict[str, Any] = {
    "sources": {
        "here": {
            "title": "The set", "licence": "CC0", "access": "open", "tier": "gold", "rows": 2000,
            "dropped": {"n_staging: no nodes": 345},
            "malformed": [{"file": "a.csv", "line": 3, "why": "no id"}, {"file": "a.csv", "line": 4, "why": "no id"}],
        }
    },
    "removed": {
        "leaks between given splits": {"n_staging/train/here": 67},
        "near-duplicates of a stronger split": {"n_staging/train/here": 89},
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("stats")
    corpus.write(folder / "corpus", rows(), FACTS)
    return stats.write(folder / "corpus", folder / "out" / "page.html", {"n_staging": 1.5, "radiology_qa": 0.5})


class Page(HTMLParser):
    """Tags with their attributes, ids, and the text of each table row."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.cells: list[list[str]] = []
        self.open: list[str] = []
        self.feed(path.read_text("utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag == "tr":
            self.cells.append([])
        if tag in ("td", "th"):
            self.cells[-1].append("")
        if tag in ("td", "th", "table"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th", "table"):
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] in ("td", "th"):
            self.cells[-1][-1] += data


def size(png: bytes) -> tuple[int, int]:
    """Width and height of a PNG, all of whose chunks are sound."""
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    at, kinds = 8, []
    while at < len(png):
        (length,) = struct.unpack(">I", png[at : at + 4])
        kind, data = png[at + 4 : at + 8], png[at + 8 : at + 8 + length]
        assert zlib.crc32(kind + data) == struct.unpack(">I", png[at + 8 + length : at + 12 + length])[0]
        kinds.append(kind)
        at += 12 + length
    assert kinds[0] == b"IHDR" and kinds[-1] == b"IEND"
    width, height = struct.unpack(">II", png[16:24])
    return width, height


def alone(page: Page) -> None:
    """Assert that the page asks for nothing from anywhere and runs nothing."""
    for tag, attributes in page.tags:
        assert tag not in ("script", "iframe", "object", "link", "base", "img", "image", "foreignobject", "b", "i")
        for name, value in attributes.items():
            assert not name.startswith("on")
            if name in ("src", "href", "xlink:href", "style"):
                assert not re.search(r"(?:https?:|file:|data:|javascript:|^/|//)", value or "")
                assert all(inner.startswith("#") for inner in re.findall(r"url\(([^)]*)", value or ""))


def test_one_page_and_one_png_for_each_picture_are_written(written: list[Path]) -> None:
    assert [path.name for path in written] == ["page.html", *(f"page-{name}.png" for name in PICTURES)]
    assert sorted(written[0].parent.iterdir()) == sorted(written)


def test_each_png_is_sound_and_of_a_size_for_print(written: list[Path]) -> None:
    for path in written[1:]:
        width, height = size(path.read_bytes())
        assert width == 1400 and 150 < height < 3000


def test_the_page_needs_no_network_and_no_script(written: list[Path]) -> None:
    text = written[0].read_text("utf-8")
    assert "<script" not in text and "@import" not in text
    assert not re.search(r"(?:src|href)\s*=\s*[\"']?\s*(?:https?:)?//", text) and "http://" not in text
    alone(Page(written[0]))


def test_every_picture_has_an_alternative_text_a_table_and_its_number_of_rows(written: list[Path]) -> None:
    page = Page(written[0])
    images = [attributes for tag, attributes in page.tags if tag == "svg"]
    assert len(images) == len(PICTURES) and all(one["role"] == "img" and one["aria-label"] for one in images)
    assert sum(tag == "table" for tag, _ in page.tags) == len(PICTURES) + 1
    drawn = re.findall(r"<text[^>]*>([^<]*)</text>", written[0].read_text("utf-8"))
    titles = [text for text in drawn if re.search(r"\(n = [0-9,]+( rows)?\)$", text)]
    assert len(titles) >= len(PICTURES)


def test_ids_of_the_pictures_do_not_clash_and_all_that_is_referred_to_is_there(written: list[Path]) -> None:
    page = Page(written[0])
    ids = Counter(attributes["id"] for _, attributes in page.tags if "id" in attributes)
    assert set(ids.values()) == {1}
    text = written[0].read_text("utf-8")
    assert {*re.findall(r'href="#([^"]+)"', text), *re.findall(r"url\(#([^)]+)\)", text)} <= ids.keys()


def test_text_and_axes_follow_the_scheme_of_the_reader(written: list[Path]) -> None:
    drawn = "".join(re.findall(r"<svg.*?</svg>", written[0].read_text("utf-8"), re.DOTALL))
    assert "prefers-color-scheme:dark" in written[0].read_text("utf-8")
    assert "currentColor" in drawn and pictures.INK not in drawn and "#ffffff" not in drawn
    assert all("fill" in style for style in re.findall(r'<text[^>]*style="([^"]*)"', drawn))


def test_all_tasks_and_counts_stand_in_the_tables(written: list[Path]) -> None:
    cells = Page(written[0]).cells
    for expected in (
        ["here", "The set", "CC0", "open", "gold", "1,377"],
        ["task, training rows", "n_staging", "1,234", "1.5", "1,851"],
        ["task, training rows", "radiology_qa", "78", "0.5", "39"],
        ["task, training rows", "rads_assignment", "0", "1", "0"],
        ["split", "train", "1,312", "", ""],
        ["RADS system", "BI-RADS", "6", "", ""],
        ["RADS system", "LI-RADS", "3", "", ""],
        ["n_staging", "1,290", "6", "6", "6", "6", "6"],
        ["radiology_qa", "78", "4", "4", "4", "4", "4"],
        ["n_staging", "1,234", "0", "56", "1,290"],
        ["rads_assignment", "0", "9", "0", "9"],
        ["here", "not used", "n_staging: no nodes", "345"],
        ["here", "malformed", "a.csv", "2"],
        ["here", "leaks between given splits", "n_staging, train", "67"],
        ["here", "near-duplicates of a stronger split", "n_staging, train", "89"],
        ["Licences", "CC0", "1,377", "100.0 %"],
        ["Tiers", "silver", "56", "4.1 %"],
        ["n_staging", "N0", "365", "28.3 %"],
        ["rads_assignment", "BI-RADS", "6", "66.7 %"],
    ):
        assert expected in cells, expected


def test_no_text_of_reports_is_written(written: list[Path]) -> None:
    for path in written:
        assert b"Secretword" not in path.read_bytes() and b"Lymph nodes" not in path.read_bytes()


def test_lengths_are_counted_in_tokens_where_there_is_a_tokenizer(tmp_path: Path) -> None:
    corpus.write(tmp_path / "corpus", [row("a", split="train"), row("bcd", split="train")], {})
    page, *_ = stats.write(tmp_path / "corpus", tmp_path / "page.html", {}, tokens=len)
    assert ["n_staging", "2", "36", "36", "38", "38", "38"] in Page(page).cells
    text = page.read_text("utf-8")
    assert "Length of the inputs in tokens (n = 2 rows)" in text and "inputs in words" not in text


def test_hostile_names_and_tags_are_only_text(tmp_path: Path) -> None:
    made = [
        row(f"{at}/{number}", split="train", source=name, licence=name, tags=(name,))
        for at, name in enumerate(HOSTILE) for number in range(3)
    ]  # fmt: skip
    facts = {
        "sources": {
            name: {"title": name, "licence": name, "access": name, "tier": name, "dropped": {name: 4},
                   "malformed": [{"file": name, "line": 1, "why": name}]}
            for name in HOSTILE
        },
        "removed": {"leaks <i>": {f"n_staging/train/{name}": 2 for name in HOSTILE}},
    }  # fmt: skip
    corpus.write(tmp_path / "<b>corpus", made, facts)
    page, *pngs = stats.write(tmp_path / "<b>corpus", tmp_path / 'a "<b>" #1?.html', {})
    found = Page(page)
    alone(found)
    assert "<script" not in page.read_text("utf-8") and "\x1b" not in page.read_text("utf-8")
    assert [HOSTILE[0], HOSTILE[0], HOSTILE[0], HOSTILE[0], HOSTILE[0], "3"] in found.cells
    assert [HOSTILE[4], "leaks <i>", "n_staging, train", "2"] in found.cells
    assert html.escape(HOSTILE[1]) in page.read_text("utf-8")
    assert all(size(path.read_bytes())[0] == 1400 for path in pngs)


def test_a_corpus_of_one_task_without_labels_or_training_rows_works(tmp_path: Path) -> None:
    corpus.write(
        tmp_path / "corpus",
        [row("a", "radiology_qa", "No.", inputs={"report": "R.", "question": "Q?"}, split="test")],
        {},
    )
    written = stats.write(tmp_path / "corpus", tmp_path / "page.html", {"radiology_qa": 0.5})
    assert [path.name for path in written] == ["page.html", *(f"page-{name}.png" for name in PICTURES[:-1])]
    cells = Page(written[0]).cells
    assert ["radiology_qa", "0", "0", "1", "1"] in cells
    assert ["all", "", "nothing was taken out", "0"] in cells


def test_beyond_twenty_labels_the_rest_is_summed(tmp_path: Path) -> None:
    made = [row(f"{at}/{n}", split="train", licence=f"L{at:02}") for at in range(25) for n in range(1 + (at < 20))]
    corpus.write(tmp_path / "corpus", made, {})
    page, *_ = stats.write(tmp_path / "corpus", tmp_path / "page.html", {})
    cells = [line for line in Page(page).cells if line[0] == "Licences"]
    assert len(cells) == 21 and cells[-1] == ["Licences", "5 others", "5", "11.1 %"]


def test_the_same_corpus_makes_the_same_pictures(written: list[Path], tmp_path: Path) -> None:
    folder = written[0].parents[1] / "corpus"
    again = stats.write(folder, tmp_path / "page.html", {"n_staging": 1.5, "radiology_qa": 0.5})
    assert [path.read_bytes() for path in again] == [path.read_bytes() for path in written]


def test_without_matplotlib_the_command_to_install_it_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(UserError, match=r"need matplotlib; install it with: pip install 'radlite\[data\]'"):
        stats.write(tmp_path, tmp_path / "page.html", {})


def test_what_is_no_corpus_and_a_place_that_cannot_be_written_are_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="not a corpus"):
        stats.write(tmp_path, tmp_path / "page.html", {})
    corpus.write(tmp_path / "corpus", [row("a", split="train")], {})
    with pytest.raises(UserError, match="lies in the corpus"):
        stats.write(tmp_path / "corpus", tmp_path / "corpus" / "page.html", {})
    with pytest.raises(UserError, match="is there and is no file"):
        stats.write(tmp_path / "corpus", tmp_path / "corpus" / "..", {})
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UserError, match="Cannot write"):
        stats.write(tmp_path / "corpus", tmp_path / "file" / "page.html", {})
    assert (tmp_path / "file").read_text() == "mine" and sorted(path.name for path in tmp_path.iterdir()) == [
        "corpus",
        "file",
    ]


@pytest.mark.parametrize(("least", "greatest"), [(1, 1), (1, 2), (7, 7), (4, 400), (1, 3_000_000)])
def test_the_bins_of_lengths_take_in_all_of_them(least: int, greatest: int) -> None:
    edges = stats._edges(least, greatest)
    assert edges[0] <= least and greatest < edges[-1] and edges == sorted(set(edges)) and len(edges) > 1
    lengths = Counter({least: 2, greatest: 3})
    assert sum(stats._binned(lengths, edges)) == lengths.total()
