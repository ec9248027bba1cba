"""The page of results: whole, silent about reports unless asked, and loading nothing."""

import html.parser
from pathlib import Path
from typing import Any

import pytest

from radlite.evaluation import page
from radlite.evaluation.baselines import rows_of_all
from radlite.evaluation.metrics import Answered, Row, Setup, grade, rows_of
from radlite.evaluation.run import Run
from radlite.tasks import Example
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
    run(Setup("tiny", "quantized", size=2_000_000), 5),
    run(Setup("other", "quantized", size=3_000_000), 7),
]


@pytest.fixture(scope="module")
def found() -> list[Row]:
    made = rows_of_all(data("train"), data("test"))
    return made + [row for one in RUNS for row in rows_of(one.answered, one.setup)]


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
    page.write(tmp_path / "report.html", found, RUNS, {"Command": "radlite evaluate <b>"})
    source = (tmp_path / "report.html").read_text("utf-8")
    read = Reading(source)
    assert not read.open and not read.elsewhere and len(read.ids) == len(set(read.ids))
    assert read.headings == [
        "Results",
        "All tasks at a glance",
        "Before and after tuning",
        "RADS: how grave the errors are",
        "RADS by system",
        "Solved examples in the prompt",
        "Size and quality",
        "Beside the published values",
        "rads assignment",
        "m staging",
        "radiology qa",
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
