"""The page of results: whole, silent about reports unless asked, and loading nothing."""

import functools
import html
import html.parser
import http.server
import json
import re
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from radlite.data import sample
from radlite.evaluation import ensembles, figures, glossary, page
from radlite.evaluation.baselines import answers_of_all
from radlite.evaluation.calibration import Kept
from radlite.evaluation.choosing import Withheld
from radlite.evaluation.comparison import compare
from radlite.evaluation.estimate import proportion
from radlite.evaluation.metrics import Answered, Row, Setup, grade, rows_of, rows_of_all
from radlite.evaluation.run import Run
from radlite.rads.severity import SEVERITIES
from radlite.routing.router import Choice, Router
from radlite.tasks import TASKS, Example, named
from tests.chromium import chromium
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
    made = rows_of_all(answers_of_all(data("train"), data("test")), "baseline")
    made += [row for one in RUNS for row in rows_of(one.answered, one.setup)]
    return made + rows_of_all(ensembles.answers_of_all(RUNS, ROUTER), "ensemble")


OTHERS = answers_of_all(data("train"), data("test"))
WITHHELD = Withheld("m_staging", "other", 0.1, Kept(0.8, proportion(30, 40), proportion(2, 30)))


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


def lines(folder: Path, heading: str) -> list[list[str]]:
    """The table under a heading of the Markdown twin, head and rule of dashes left out."""
    twin = (folder / "report.md").read_text("utf-8").replace("\\", "")
    part = twin[twin.index(f"\n## {heading}\n") :].split("\n\n")[1]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in part.splitlines()[2:]]


def test_the_page_has_every_part_and_loads_nothing(found: list[Row], tmp_path: Path) -> None:
    page.write(
        tmp_path / "report.html", found, RUNS, {"Command": "radlite evaluate <b>"}, router=ROUTER, withheld=[WITHHELD],
        others=OTHERS,
    )  # fmt: skip
    source = (tmp_path / "report.html").read_text("utf-8")
    read = Reading(source)
    assert not read.open and not read.elsewhere and len(read.ids) == len(set(read.ids))
    assert [one.partition(":")[0] for one in read.headings] == [
        "Models",
        "Which model for what",
        "Results",
        "All tasks at a glance",
        "Before and after tuning",
        "What tuning changed",
        "RADS",
        "RADS by system",
        "Solved examples in the prompt",
        "What quantising changed",
        "Size and quality",
        "Kinds of weights",
        "Router and ensembles",
        "Where all models agree",
        "Answers withheld by the router",
        "Beside the published values",
        "RADS assignment",
        "M staging",
        "Radiology QA",
        "How this was made",
        "Words",
    ]
    assert "<h1>Evaluation, test split</h1>" in source and "<title>Evaluation, test split</title>" in source
    assert "radlite evaluate &lt;b&gt;" in source and "not a medical device" in source
    assert "Mrs Example" not in source and "<script" not in source
    assert lines(tmp_path, "Answers withheld by the router") == [
        ["M staging", "other", "0.80", "30 of 40", "0.07 [0.02, 0.21]", "0.10", "not told: below it within chance"]
    ]


def written(folder: Path, runs: list[Run], baselines: tuple[str, ...] = ("majority", "tfidf", "rules")) -> str:
    """The page of some runs beside baselines."""
    others = {name: OTHERS[name] for name in baselines}
    made = rows_of_all(others, "baseline")
    made += [row for one in runs for row in rows_of(one.answered, one.setup)]
    page.write(folder / "report.html", made, runs, {}, others=others)
    return (folder / "report.html").read_text("utf-8")


def test_the_best_model_of_each_task_is_held_against_baseline_and_next_model(tmp_path: Path) -> None:
    good, poor = run(Setup("good", "tuned"), 20), run(Setup("poor", "tuned"), 2)
    written(tmp_path, [poor, good], ("majority",))
    told = {line[0]: line for line in lines(tmp_path, "Which model for what")}
    for name, task in (("RADS assignment", "rads_assignment"), ("M staging", "m_staging")):
        held = {one.task: one for one in compare(good.answered, poor.answered)}[task]
        assert (
            told[name][2] == "good, tuned" and f"p={held.adjusted:.3f}".replace("p=0.000", "p<0.001") in told[name][-1]
        )
        assert told[name][-1].startswith(f"poor, tuned: {held.difference.value:+.2f}") and "higher" in told[name][-1]
    assert told["M staging"][1] == "above every baseline" and "majority: +0.4" in told["M staging"][-2]
    assert told["Radiology QA"][1] == "not told apart from majority"


def test_a_model_below_a_baseline_is_told_so(tmp_path: Path) -> None:
    written(tmp_path, [run(Setup("poor", "tuned"), 1)])
    told = {line[0]: line[1] for line in lines(tmp_path, "Which model for what")}
    assert told["RADS assignment"] == "below TF-IDF"


def test_values_without_their_answers_are_not_compared(found: list[Row], tmp_path: Path) -> None:
    page.write(tmp_path / "report.html", found, RUNS, {}, router=ROUTER)
    told = {line[1].split(" with ")[0] for line in lines(tmp_path, "Which model for what")}
    assert told == {"not compared"}


def test_results_have_every_stage_with_what_has_no_answer(tmp_path: Path) -> None:
    answered = list(run(Setup("tiny", "tuned"), 9).answered)
    answered[0] = grade(data("test")[0], said("rads_assignment", "", "unreadable"))
    answered[1] = grade(data("test")[1], said("rads_assignment", "", "abstained"))
    written(tmp_path, [run(Setup("tiny", "base"), 2), Run(Path("x"), Setup("tiny", "tuned"), tuple(answered), {})])
    told = lines(tmp_path, "Results")
    assert told[0][0].startswith("**RADS assignment, accuracy; best baseline:")
    names = [line[0] for line in told[1:6]]
    assert names == ["majority", "TF-IDF", "rules", "tiny, base", "tiny, tuned"]
    assert told[5][2] == "40" and "1 unread" in told[5][3]


def test_a_stage_that_is_not_known_is_a_model_of_its_own(tmp_path: Path) -> None:
    source = written(tmp_path, [run(Setup("tiny", "tuned"), 9), run(Setup("tiny", "served"), 3)])  # type: ignore[arg-type]
    assert "Before and after tuning" not in source and "What quantising changed" not in source
    assert {line[0] for line in lines(tmp_path, "Results")} >= {"tiny, served", "tiny, tuned"}
    told = {line[0]: line for line in lines(tmp_path, "Which model for what")}
    assert told["RADS assignment"][2] == "tiny, tuned" and told["RADS assignment"][-1].startswith("tiny, served: +")


def test_a_section_without_content_is_left_out(tmp_path: Path) -> None:
    few = [run(Setup("a", "quantized", size=2_000_000), 3), run(Setup("b", "quantized", size=2_100_000), 5)]
    source = written(tmp_path, few)
    for heading in (
        "Size and quality",
        "Kinds of weights",
        "Router",
        "Ensembles",
        "withheld by",
        "Weights and prompts",
    ):
        assert f"<h2>{heading}" not in source
    assert "at the rim" in source
    many = [run(Setup(f"model {number}", "tuned"), number + 2) for number in range(6)]
    assert "at the rim" not in written(tmp_path, many)


def test_labels_that_no_item_has_and_errors_that_nobody_made_have_no_line(tmp_path: Path) -> None:
    one = run(Setup("tiny", "tuned"), 9)
    wrong = grade(data("test")[0], said("rads_assignment", "PI-RADS 5"))
    written(tmp_path, [Run(Path("x"), one.setup, (wrong, *one.answered[1:]), {})])
    twin = (tmp_path / "report.md").read_text("utf-8")
    assert "| F1 LR-5 |" in twin and "F1 PI-RADS" not in twin
    assert "| wrong system |" in twin and "| lateral |" not in twin


def test_values_of_synthetic_items_are_not_called_comparable_with_published_ones(tmp_path: Path) -> None:
    written(tmp_path, [run(Setup("tiny", "tuned"), 9), run(Setup("tiny", "quantized"), 9)])
    told = lines(tmp_path, "Beside the published values")
    assert told and all("not comparable" in line[3] for line in told)
    assert all("tiny, tuned quantized" in line[2] and "tiny, tuned 0" not in line[2] for line in told)


def test_every_metric_is_in_the_glossary_and_every_class_of_errors_has_a_colour() -> None:
    used = {"f1", "macro_f1", "micro_f1", "kappa", "rank_error", "unreadable", "too_long"}
    for name, task in TASKS.items():
        for example in sample.examples(name, "test", 30):
            used |= set(task.judge(None, task.ground(task.read(example.answer), example.inputs).answer))
    used -= {metric for metric in used if metric.startswith("severity ")}
    assert used <= set(glossary.METRICS)
    assert set(figures.SEVERITIES) == set(SEVERITIES) and len(set(figures.SEVERITIES.values())) == len(SEVERITIES)


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
    assert worst.index("undercall major") < worst.index("overcall")


def test_an_error_in_free_text_is_told_by_its_item_and_its_score(found: list[Row], tmp_path: Path) -> None:
    answered = [
        grade(item("radiology_qa", n, "Left lung."), said("radiology_qa", "Secret of the left")) for n in range(3)
    ]
    one = Run(Path("x"), Setup("tiny", "tuned"), tuple(answered), {})
    page.write(tmp_path / "report.html", rows_of(answered, one.setup), [one], {})
    twin = (tmp_path / "report.md").read_text("utf-8")
    assert f"| item | score |\n|---|---|\n| test-0 | {answered[0].values['word_f1']:.2f} |" in twin
    assert "Secret" not in twin


def test_a_page_of_baselines_alone_is_whole(tmp_path: Path) -> None:
    made = rows_of_all(answers_of_all(data("train"), data("test")), "baseline")
    page.write(tmp_path / "report.html", made, [], {})
    assert not Reading((tmp_path / "report.html").read_text("utf-8")).open


def test_the_markdown_twin_says_the_same_without_pictures(found: list[Row], tmp_path: Path) -> None:
    page.write(tmp_path / "report.html", found, RUNS, {"Command": "radlite evaluate a|b *c*"}, router=ROUTER)
    source, twin = ((tmp_path / name).read_text("utf-8") for name in ("report.html", "report.md"))
    assert [line[3:] for line in twin.splitlines() if line.startswith("## ")] == [
        one.replace("[", r"\[").replace("]", r"\]") for one in Reading(source).headings
    ]
    assert r"a\|b \*c\*" in twin and "Mrs Example" not in twin
    tables = re.findall(r"(?:^\|.*\n)+", twin, re.M)
    cells = [{line.count("|") - line.count(r"\|") for line in table.splitlines()} for table in tables]
    assert len(cells) > 10 and all(len(counts) == 1 for counts in cells) and "<" not in twin.replace(r"\<", "")


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


def browse(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    own = (
        "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking",
        "--disable-component-update", "--no-first-run", "--enable-logging=stderr", f"--user-data-dir={folder}",
    )  # fmt: skip
    return subprocess.run([chromium(), *own, *arguments], capture_output=True, text=True, timeout=120, check=True)


@pytest.mark.parametrize("width", [360, pytest.param(1200, marks=pytest.mark.slow)])
def test_in_a_browser_the_page_fits_its_window_and_asks_for_nothing_else(
    width: int, found: list[Row], tmp_path: Path, served: tuple[str, list[str]]
) -> None:
    address, asked = served
    long = [run(Setup(f"{'model' * 9}-{number}", "tuned"), 3) for number in range(5)]
    page.write(
        tmp_path / "report.html", found + [row for one in long for row in rows_of(one.answered, one.setup)],
        [*RUNS, *long], {"Command": "radlite evaluate " + "x" * 300}, router=ROUTER, withheld=[WITHHELD], others=OTHERS,
    )  # fmt: skip
    (tmp_path / "window.html").write_text(WINDOW % width)
    ran = browse("--dump-dom", "--virtual-time-budget=10000", f"{address}/window.html", folder=tmp_path / "profile")
    seen = json.loads(html.unescape(re.sub(r"<[^>]*>", "", ran.stdout[ran.stdout.index("<body") :])))
    assert seen["sideways"] == 0 and not seen["wide"] and not seen["hidden"]
    assert len(seen["pictures"]) > 8 and all(width > 300 and height > 90 for width, height in seen["pictures"])
    assert seen["ink"] != seen["ground"]
    assert "CONSOLE" not in ran.stderr
    assert set(asked) <= {"/window.html", "/report.html", "/favicon.ico"}


@pytest.mark.slow
def test_what_is_closed_is_not_printed_and_nothing_is_cut_off(found: list[Row], tmp_path: Path) -> None:
    import pypdf

    place = tmp_path / "report.html"
    page.write(place, found, RUNS, {}, router=ROUTER, others=OTHERS)
    for name in ("closed", "open"):
        if name == "open":
            place.write_text(place.read_text("utf-8").replace("<details>", "<details open>"), "utf-8")
        browse(f"--print-to-pdf={tmp_path / name}.pdf", place.as_uri(), folder=tmp_path / "profile")
    closed, opened = (
        " ".join("".join(sheet.extract_text() for sheet in pypdf.PdfReader(tmp_path / f"{name}.pdf").pages).split())
        for name in ("closed", "open")
    )
    assert "worst errors" not in closed and "numbers as a table" not in closed
    assert "Which model for what" in closed and "How this was made" in closed and "What tuning changed" in closed
    assert "worst errors" in opened and "undercall major" in opened
