"""The page of results: whole, silent about reports unless asked, and loading nothing."""

import functools
import html
import html.parser
import http.server
import json
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from radlite.evaluation import ensembles, page
from radlite.evaluation.baselines import rows_of_all
from radlite.evaluation.metrics import Answered, Row, Setup, grade, rows_of
from radlite.evaluation.run import Run
from radlite.routing.router import Choice, Router
from radlite.tasks import Example, named
from tests.evaluation.items import item, said

SECRET = "Mrs Example <script>alert(1)</script> has cysts."
CODES = ("TI-RADS 3", "TI-RADS 4", "LR-5", "BI-RADS 4B")


def data(split: str, count: int = 40) -> list[Example]:
    report = {"report": f"{SECRET} Report of {split}."}
    return [
        *(
            item("rads_assignment", n, CODES[n % 4], split, inputs={"report": f"{n}. {report['report']}"})
            for n in range(count)
        ),
        *(
            item("m_staging", n, f"M{n % 2}", split, inputs={"report": f"{n}. {report['report']}"})
            for n in range(count)
        ),
        *(item("radiology_qa", n, "Left lung.", split) for n in range(5)),
    ]


def run(setup: Setup, wrong: int) -> Run:
    """A run in which every so-manieth answer is another item's."""
    items = data("test")
    answered = []
    for at, one in enumerate(items):
        text = items[at - 1].answer if at % wrong == 0 and items[at - 1].task == one.task else one.answer
        found = grade(one, said(one.task, text))
        likely = {found.label: 0.8} if found.label else {}
        answered.append(Answered(**{**{name: getattr(found, name) for name in found.__slots__},
                                    "probabilities": likely, "seconds": 0.5}))  # fmt: skip
    return Run(Path("x"), setup, tuple(answered), {})


RUNS = [
    run(Setup("tiny", "base"), 2),
    run(Setup("tiny", "base", 3), 4),
    run(Setup("tiny", "tuned", size=8_000_000, kind="F16"), 9),
    run(Setup("tiny", "quantized", size=2_000_000, kind="Q4_K_M"), 5),
    run(Setup("other", "quantized", size=3_000_000, kind="Q4_K_M"), 7),
]


ROUTER = Router({task: Choice("other", named(task).metric, 0.9, 0.8, 1.0, 40, "the only one")
                 for task in ("rads_assignment", "m_staging", "radiology_qa")})  # fmt: skip


@pytest.fixture(scope="module")
def found() -> list[Row]:
    made = rows_of_all(data("train"), data("test"))
    made += [row for one in RUNS for row in rows_of(one.answered, one.setup)]
    return made + ensembles.rows_of_all(RUNS, ROUTER)


class Reading(html.parser.HTMLParser):
    """What a browser would see: open elements, references to elsewhere, the text."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elsewhere: list[str] = []
        self.headings: list[str] = []
        self.ids: list[str] = []
        self.feed(source)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        if tag not in ("meta", "br"):
            self.open.append(tag)
        known = dict(attrs)
        self.ids += [known["id"]] if "id" in known else []
        self.elsewhere += [value for name, value in attrs if name in ("src", "href") and not value.startswith("#")]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_startendtag(self, tag: str, attrs: Any) -> None:
        known = dict(attrs)
        self.ids += [known["id"]] if "id" in known else []

    def handle_data(self, text: str) -> None:
        if self.open and self.open[-1] == "h2":
            self.headings.append(text)


def test_the_page_has_every_part_and_loads_nothing(found: list[Row], tmp_path: Path) -> None:
    page.write(tmp_path / "report.html", found, RUNS, {"Command": "radlite evaluate <b>"}, router=ROUTER)
    source = (tmp_path / "report.html").read_text("utf-8")
    read = Reading(source)
    assert not read.open and not read.elsewhere and len(read.ids) == len(set(read.ids))
    assert read.headings == [
        "Results",
        "All tasks at a glance",
        "Before and after tuning",
        "What tuning changed",
        "RADS: how grave the errors are",
        "RADS by system",
        "Solved examples in the prompt",
        "What quantising changed",
        "Size and quality",
        "Kinds of weights",
        "Router and ensembles",
        "Where all models agree",
        "Beside the published values",
        "rads assignment",
        "m staging",
        "radiology qa",
        "Models",
        "How this was made",
    ]
    assert "radlite evaluate &lt;b&gt;" in source and "not a medical device" in source
    assert "Mrs Example" not in source and "<script" not in source


def test_reports_stand_beside_wrong_answers_only_when_they_are_asked_for(found: list[Row], tmp_path: Path) -> None:
    texts = {(one.task, one.id): one for one in data("test")}
    page.write(tmp_path / "report.html", found, RUNS, {}, texts)
    source = (tmp_path / "report.html").read_text("utf-8")
    assert "Mrs Example &lt;script&gt;" in source and "<script" not in source
    assert not Reading(source).open


def test_the_worst_errors_stand_first(tmp_path: Path) -> None:
    answers = {"LR-5": "LR-2", "TI-RADS 3": "TI-RADS 4", "BI-RADS 4B": "BI-RADS 4C"}
    answered = [
        grade(item("rads_assignment", number, truth), said("rads_assignment", text))
        for number, (truth, text) in enumerate(answers.items())
    ]
    one = Run(Path("x"), Setup("tiny", "tuned"), tuple(answered), {})
    page.write(tmp_path / "report.html", rows_of(answered, one.setup), [one], {})
    source = (tmp_path / "report.html").read_text("utf-8")
    worst = source[source.index("worst errors") :]
    assert worst.index("undercall_major") < worst.index("overcall")


def test_a_page_of_baselines_alone_is_whole(tmp_path: Path) -> None:
    made = rows_of_all(data("train"), data("test"))
    page.write(tmp_path / "report.html", made, [], {})
    assert not Reading((tmp_path / "report.html").read_text("utf-8")).open


def test_the_markdown_twin_says_the_same_without_pictures(found: list[Row], tmp_path: Path) -> None:
    page.write(tmp_path / "report.html", found, RUNS, {"Command": "radlite evaluate a|b *c*"}, router=ROUTER)
    source, twin = ((tmp_path / name).read_text("utf-8") for name in ("report.html", "report.md"))
    assert [line[3:] for line in twin.splitlines() if line.startswith("## ")] == Reading(source).headings
    assert r"a\|b \*c\*" in twin and "Mrs Example" not in twin
    cells = {line.count("|") - line.count(r"\|") for line in twin.splitlines() if line.startswith("| rads assignment")}
    assert len(cells) > 1 and "<" not in twin.replace(r"\<", "")


WINDOW = """<!DOCTYPE html><body><iframe src="report.html" style="border:0;width:%dpx;height:900px"></iframe><script>
onload = () => {
  const page = document.querySelector("iframe").contentDocument, root = page.documentElement
  page.querySelectorAll("details").forEach(one => one.open = true)
  const outside = [...page.querySelectorAll("body *")].filter(one => !one.closest(".wide"))
  const wide = outside.filter(one => one.scrollWidth > root.clientWidth)
  const size = svg => { const box = svg.getBoundingClientRect(); return [box.width, box.height] }
  document.body.textContent = JSON.stringify({
    sideways: root.scrollWidth - root.clientWidth, wide: wide.map(one => one.tagName),
    pictures: [...page.querySelectorAll("svg")].map(size),
    hidden: [...page.querySelectorAll("table")].filter(one => !one.getBoundingClientRect().height).length,
    ink: getComputedStyle(page.body).color, ground: getComputedStyle(page.body).backgroundColor,
  })
}</script>"""


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[str, list[str]]]:
    """The address of a folder on a server of this machine, and the paths that were asked for."""
    asked: list[str] = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_request(self, code: Any = "-", size: Any = "-") -> None:
            asked.append(self.path)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    own = functools.partial(Handler, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), own) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", asked
        server.shutdown()


def browser() -> str:
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    return found or pytest.skip("needs Chromium: apt-get install chromium")


def chromium(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    own = (
        "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking",
        "--disable-component-update", "--no-first-run", "--enable-logging=stderr", f"--user-data-dir={folder}",
    )  # fmt: skip
    return subprocess.run([browser(), *own, *arguments], capture_output=True, text=True, timeout=120, check=True)


@pytest.mark.parametrize("width", [360, 1200])
def test_in_a_browser_the_page_fits_its_window_and_asks_for_nothing_else(
    width: int, found: list[Row], tmp_path: Path, served: tuple[str, list[str]]
) -> None:
    address, asked = served
    page.write(tmp_path / "report.html", found, RUNS, {"Command": "radlite evaluate " + "x" * 300}, router=ROUTER)
    (tmp_path / "window.html").write_text(WINDOW % width)
    ran = chromium("--dump-dom", "--virtual-time-budget=10000", f"{address}/window.html", folder=tmp_path / "profile")
    seen = json.loads(html.unescape(re.sub(r"<[^>]*>", "", ran.stdout[ran.stdout.index("<body") :])))
    assert seen["sideways"] == 0 and not seen["wide"] and not seen["hidden"]
    assert len(seen["pictures"]) > 8 and all(width > 300 and height > 90 for width, height in seen["pictures"])
    assert seen["ink"] != seen["ground"]
    assert "CONSOLE" not in ran.stderr
    assert set(asked) <= {"/window.html", "/report.html", "/favicon.ico"}


def test_printed_the_page_shows_what_a_screen_hides_until_it_is_opened(found: list[Row], tmp_path: Path) -> None:
    import pypdf

    page.write(tmp_path / "report.html", found, RUNS, {}, router=ROUTER)
    chromium(
        f"--print-to-pdf={tmp_path / 'page.pdf'}", (tmp_path / "report.html").as_uri(), folder=tmp_path / "profile"
    )
    text = "".join(sheet.extract_text() for sheet in pypdf.PdfReader(tmp_path / "page.pdf").pages)
    assert "worst errors" in text and "sensitivity" in text and "undercall_major" in text
