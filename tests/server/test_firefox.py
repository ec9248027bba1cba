"""The page in a real Firefox, driven over Marionette, Mozilla's own protocol: once through all of it."""

import csv
import io
import shutil
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.server.process import Server

axe = pytest.importorskip("axe_core_python.base")
driver = pytest.importorskip("marionette_driver.marionette")
wait = pytest.importorskip("marionette_driver.wait")

pytestmark = [
    pytest.mark.slow,
    # The driver leaves sockets open while it waits for Firefox.
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"),
]

REPORT = """XR chest of a 67-year-old. Comparison: 09/18/2022.
Findings: \U0001fac1 Moderate lung edema. Stable displaced right sixth rib fracture.
The pneumonia within the left lower lobe has resolved. No pleural thickening."""
TAB, ENTER, RIGHT, CONTROL = "\ue004", "\ue007", "\ue014", "\ue009"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("server")) as running:
        yield running


class Page:
    """What a user does and sees; elements are told by CSS selectors."""

    def __init__(self, firefox: Any) -> None:
        self.firefox = firefox

    def all(self, selector: str) -> list[Any]:
        found: list[Any] = self.firefox.find_elements("css selector", selector)
        return found

    def one(self, selector: str) -> Any:
        return self.firefox.find_element("css selector", selector)

    def until(self, told: Callable[[], Any]) -> Any:
        return wait.Wait(self.firefox, timeout=60).until(lambda _: told())

    def press(self, *keys: str) -> None:
        """Press keys where the focus is: the last one while the others are held."""
        actions = self.firefox.actions.sequence("key", "keyboard")
        for key in keys:
            actions = actions.key_down(key)
        for key in reversed(keys):
            actions = actions.key_up(key)
        actions.perform()

    def run(self, script: str, *arguments: Any) -> Any:
        return self.firefox.execute_script(script, script_args=arguments)

    def violations(self) -> Any:
        """What axe finds."""
        found = "axe.run(document).then(said => said.violations.map(one => [one.id, one.nodes.map(node => node.html)]))"
        return self.firefox.execute_async_script(f"{axe.AXE_SCRIPT}; {found}.then(arguments[0], arguments[0])")


@pytest.fixture
def page(server: Server, tmp_path: Path) -> Iterator[Page]:
    found = next(filter(None, map(shutil.which, ("firefox-esr", "firefox"))), None)
    if not found:
        pytest.skip("needs Firefox: apt-get install firefox-esr")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    prefs = {"browser.download.folderList": 2, "browser.download.dir": str(tmp_path), "ui.prefersReducedMotion": 1}
    kept = {"prefs": prefs, "workspace": str(tmp_path), "gecko_log": str(tmp_path / "gecko.log")}
    firefox = driver.Marionette(bin=found, headless=True, port=port, startup_timeout=120, **kept)
    try:
        firefox.start_session(timeout=120)
        firefox.set_window_rect(width=1280, height=1000)
        firefox.navigate(server.url)
        shown = Page(firefox)
        shown.until(lambda: "Ready" in shown.one("#server").text)
        yield shown
        asked = shown.run("return performance.getEntriesByType('resource').map(one => one.name)")
        assert asked and [url for url in asked if not url.startswith(("blob:", f"{server.url}/"))] == []
    finally:
        firefox.cleanup()


def test_a_report_is_read_marked_and_reviewed_and_a_table_too(page: Page, tmp_path: Path) -> None:
    assert page.violations() == []

    page.one("#text").click()
    page.run("document.execCommand('insertText', false, arguments[0])", REPORT)
    page.until(lambda: page.all("#tasks input:checked"))
    page.press(CONTROL, ENTER)
    page.until(lambda: "answers in" in page.one("#progress").text)
    assert page.one("#marked").get_property("textContent") == REPORT
    assert len(page.all("#cards article")) == len(page.all("#tasks input:checked"))
    boxes = [one.rect for one in page.all("#cards article")]
    assert len({box["x"] for box in boxes}) == 2, "cards in two columns"
    assert max(box["y"] + box["height"] for box in boxes) < sum(box["height"] for box in boxes) + 200
    assert page.violations() == []

    assert page.run("return document.activeElement.id") == "marked"
    page.press(TAB)
    page.press(RIGHT)
    mark = page.run("return document.activeElement.outerHTML")
    assert mark.startswith("<mark") and len(page.all("#cards .lit")) >= 1
    page.press(ENTER)
    assert page.run("return document.activeElement.matches('#cards button.part.lit')")
    page.press(ENTER)
    assert page.run("return document.activeElement.matches('#marked mark.lit')")
    pairs = page.run(
        "return [...document.querySelectorAll('[data-task=radiology_ner] button.part')].map(part => [part.textContent,"
        " [...document.querySelectorAll(`#marked mark[data-keys~='${part.dataset.keys}']`)]"
        ".map(mark => mark.textContent).join('')])"
    )
    assert pairs and all(part.lower().split() == marks.lower().split() for part, marks in pairs)

    card = "[data-task=temporal_comparison]"
    page.one(f"{card} footer .row button:nth-child(3)").click()
    page.run("document.execCommand('insertText', false, 'Not new.')")
    page.press(CONTROL, ENTER)
    page.until(lambda: "Rejected" in page.one(f"{card} [role=status]").text)

    table = tmp_path / "reports.csv"
    with table.open("w", newline="", encoding="utf-8") as out:
        csv.writer(out).writerows([["id", "report"], ["1", REPORT], ["2", REPORT]])
    page.one("#tab-batch").click()
    page.one("#table").send_keys(str(table))
    page.until(lambda: page.all("#keep input"))
    page.one("#keep input[value=id]").click()
    page.one("#batch-tasks input[value=m_staging]").click()
    page.one("#order [type=submit]").click()
    page.until(lambda: page.all(".job .main"))
    page.one(".job .main").click()
    page.until(lambda: [one for one in tmp_path.glob("reports*answers*.csv") if one.stat().st_size])
    result = next(tmp_path.glob("reports*answers*.csv")).read_text("utf-8-sig")
    assert [row["id"] for row in csv.DictReader(io.StringIO(result))] == ["1", "2"]
    assert page.violations() == []

    page.one("#tab-models").click()
    page.until(lambda: "No card lies beside this model" in page.one("#models").text)
    page.firefox.go_back()
    assert page.one("#batch").is_displayed()
    page.one("#tab-reviews").click()
    page.until(lambda: "1 rejected" in page.one("#reviews-said").text)

    ground = "return getComputedStyle(document.body).backgroundColor"
    light = page.run(ground)
    page.run(
        "const one = document.getElementById('scheme'); one.value = 'dark'; one.dispatchEvent(new Event('change'))"
    )
    assert page.run(ground) != light
    page.one("#tab-reading").click()
    assert page.violations() == []
    for width in (500, 2560):
        page.firefox.set_window_rect(width=width, height=1000)
        page.until(lambda width=width: page.run("return innerWidth") == width)
        assert page.run("return document.documentElement.scrollWidth <= innerWidth")
