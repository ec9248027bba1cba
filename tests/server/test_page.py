"""The page end to end: a real server with the demonstration model, a real Chromium."""

import csv
import io
import itertools
import json
import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from radlite.manifest import tuned_base
from radlite.routing.router import Calibration, Choice, Router
from radlite.runtime import gguf
from radlite.serving.asking import demonstration
from radlite.tasks import TASKS
from radlite.tasks.abnormality import CLASSES, STATES
from tests.chromium import chromium
from tests.server.process import Server

sync_api = pytest.importorskip("playwright.sync_api")
axe = pytest.importorskip("axe_core_python.base")

CHEST = """Procedure: XR chest PA and lateral.
Indication: 82F; increasing dyspnea. Rule out rib fracture.
Comparison: 09/18/2022.
Findings: No effusion is identified. Moderate lung edema. No lung mass. Stable displaced right sixth rib fracture.
The pneumonia within the left lower lobe has resolved. The hila are normal. No pleural thickening."""
BREAST = """Examination: Sonography of the breast
Clinical information: 57F, work-up of a mammographic finding.
FINDINGS: In the left breast there is a 2.2 cm complicated cyst with internal debris. BI-RADS 3.
IMPRESSION: Probably benign."""
HOSTILE = "<img src=x onerror=document.title='hit'></textarea></script><script>document.title='hit'</script>"
KEY = "k" * 40


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server whose router withholds every M stage."""
    folder = tmp_path_factory.mktemp("server")
    name = tuned_base(gguf.read(demonstration()).manifest or {})
    assert name
    sure = {task: Calibration(50.0, 1.0) if task == "m_staging" else Calibration() for task in TASKS}
    router = Router(
        {task: Choice(name, TASKS[task].metric, 0.5, 0.4, 0.6, 40, "the only one", sure[task]) for task in TASKS}
    )
    router.save(folder / "router.json")
    with Server(folder, "--model", demonstration(), "--router", folder / "router.json") as running:
        yield running


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    found = chromium()
    with sync_api.sync_playwright() as driver:
        running = driver.chromium.launch(executable_path=found, args=["--no-sandbox", "--disable-dev-shm-usage"])
        yield running
        running.close()


Open = Callable[..., Any]


class Pages:
    """Opens pages. The one that most tests need is loaded anew for each, which costs half of a new one."""

    def __init__(self, browser: Any, server: Server) -> None:
        self._browser, self._server = browser, server
        self.wrong: list[str] = []
        self._contexts: list[Any] = []
        self._page = self._new(server.url)
        self._page.on("dialog", lambda dialog: dialog.accept())

    def open(self, width: int = 0, address: str = "", ready: bool = True, fresh: bool = False, **how: Any) -> Any:
        """The page, once the server is ready; a new one where it is to be `fresh`, or not as most tests need it."""
        if width or address or how or fresh:
            how["viewport"] = {"width": width or 1280, "height": how.pop("height", 900)}
            page = self._new(address or self._server.url, **how)
            self._contexts.append(page.context)
        else:
            page = self._page
            page.goto("about:blank")
        page.goto(address or self._server.url)
        if ready:
            page.get_by_text("Ready: ").wait_for()
        return page

    def end(self) -> None:
        """Close what a test has opened, and take back what it has changed."""
        for context in self._contexts:
            context.close()
        self._contexts.clear()
        self._page.unroute_all(behavior="ignoreErrors")
        self._page.context.set_offline(False)
        self._page.emulate_media(media="screen", color_scheme="light", reduced_motion="no-preference")
        self._page.set_viewport_size({"width": 1280, "height": 900})
        self._page.mouse.move(0, 0)

    def _new(self, address: str, **how: Any) -> Any:
        context = self._browser.new_context(**how)
        context.add_init_script(
            "addEventListener('securitypolicyviolation', one => console.error(`policy: ${one.violatedDirective}`))"
        )
        page = context.new_page()
        page.set_default_timeout(20_000)
        wrong = self.wrong
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("console", lambda said: wrong.append(said.text) if "policy" in said.text.lower() else None)
        page.on("request", lambda asked: None if own(asked.url, address) else wrong.append(asked.url))
        return page


@pytest.fixture(scope="module")
def pages(browser: Any, server: Server) -> Pages:
    return Pages(browser, server)


@pytest.fixture
def opened(pages: Pages) -> Iterator[Open]:
    """Opens the page; in the end no script failed, the policy refused nothing, nothing was asked of another server."""
    pages.wrong.clear()
    yield pages.open
    pages.end()
    assert pages.wrong == []


def own(url: str, address: str) -> bool:
    return url.startswith((f"{address}/", f"blob:{address}/")) or url == "about:blank"


def write(page: Any, report: str) -> None:
    """Fill in a report, and wait for the proposal."""
    if page.locator("#edit").is_visible():
        page.click("#edit")
    with page.expect_response("**/v1/detect"):
        page.fill("#text", report)
    page.locator("#why[aria-busy=false]").wait_for(state="attached")


def read(page: Any, report: str = CHEST, tasks: tuple[str, ...] = ()) -> None:
    """Read a report, with these tasks or those that are proposed, and wait for all answers."""
    write(page, report)
    if tasks:
        choose(page, *tasks)
    page.click("#read")
    ended(page)


def choose(page: Any, *tasks: str) -> None:
    page.evaluate(
        "tasks => { for (const box of document.querySelectorAll('#tasks input'))"
        " if (box.checked !== tasks.includes(box.value)) box.click(); }",
        list(tasks),
    )


def ended(page: Any) -> None:
    page.locator("#progress", has_text="answers in").wait_for()


def card(page: Any, task: str) -> Any:
    return page.locator(f"[data-task={task}]")


def tab(page: Any, name: str) -> None:
    page.get_by_role("tab", name=name).click()


def test_a_pasted_report_is_read_into_cards_in_the_order_of_its_tasks(opened: Open, server: Server) -> None:
    page = opened()
    read(page, BREAST)
    said = server.read(BREAST, system="BI-RADS").json()
    assert page.locator("#system").input_value() == "BI-RADS" == said["system"]
    assert [one.get_attribute("data-task") for one in page.locator("#cards > article").all()] == said["tasks"]
    rads = next(one for one in said["answers"] if one["task"] == "rads_assignment")
    shown = card(page, "rads_assignment")
    assert shown.locator(".big").inner_text() == rads["answer"]["category"]
    assert f"Tier {rads['answer']['tier']} of 4" in shown.inner_text()
    # A report that is read again is computed with what is left of the first time: the last digits may differ.
    assert float(shown.locator(".bar.first .number").inner_text()) == pytest.approx(rads["confidence"], abs=0.05)
    told = (rads["answer"]["risk"].replace(">=", "≥"), rads["answer"]["management"])
    assert all(part in shown.inner_text() for part in told)
    numbers = [float(one) for one in shown.locator(".bar:not(.first) .number").all_inner_texts() if "<" not in one]
    assert numbers == sorted(numbers, reverse=True) and len(numbers) > 1


def test_findings_are_a_table_with_state_and_probability(opened: Open) -> None:
    page = opened()
    read(page, CHEST, ("abnormality_detection",))
    shown = card(page, "abnormality_detection")
    shown.locator("summary").click()
    rows = {row.locator("th").inner_text(): row.inner_text() for row in shown.locator("tbody tr").all()}
    assert rows.keys() == set(CLASSES)
    assert all(any(state in text for state in STATES) and re.search(r"\d\.\d\d$", text) for text in rows.values())


def test_marks_are_the_very_words_also_after_signs_beyond_the_first_plane(opened: Open) -> None:
    page = opened()
    read(page, CHEST.replace("Findings:", "Findings: \U0001fac1 \U0001fac1"), ("radiology_ner", "temporal_comparison"))
    parts = card(page, "radiology_ner").locator("button.part")
    assert parts.count() > 2
    for part in parts.all():
        marks = page.locator(f"#marked mark[data-keys~='{part.get_attribute('data-keys')}']").all_text_contents()
        assert "".join(marks).lower().split() == part.inner_text().lower().split()


def test_what_belongs_together_lights_up_on_both_sides(opened: Open) -> None:
    page = opened()
    read(page, CHEST, ("radiology_ner",))
    part = card(page, "radiology_ner").locator("button.part").first
    mark = page.locator(f"#marked mark[data-keys~='{part.get_attribute('data-keys')}']").first
    part.hover()
    assert "lit" in mark.get_attribute("class")
    page.mouse.move(0, 0)
    assert page.locator(".lit").count() == 0
    mark.hover()
    assert "lit" in part.get_attribute("class")
    page.mouse.move(0, 0)
    part.focus()
    assert "lit" in mark.get_attribute("class")
    part.click()
    assert mark.evaluate("node => node === document.activeElement") and "lit" in part.get_attribute("class")


def test_marks_and_answers_are_reached_by_keyboard_alone(opened: Open) -> None:
    page = opened()
    focused = "document.activeElement"
    for _ in range(12):
        page.keyboard.press("Tab")
        if page.evaluate(f"{focused}.id") == "text":
            break
    assert page.evaluate(f"{focused}.id") == "text"
    with page.expect_response("**/v1/detect"):
        page.keyboard.insert_text(CHEST)
    page.keyboard.press("Control+Enter")
    ended(page)
    assert page.evaluate(f"{focused}.id") == "marked"
    page.keyboard.press("Tab")
    first = page.evaluate(f"{focused}.dataset.start")
    assert page.evaluate(f"{focused}.tagName") == "MARK"
    page.keyboard.press("ArrowRight")
    assert int(page.evaluate(f"{focused}.dataset.start")) > int(first)
    page.keyboard.press("Enter")
    assert page.evaluate(f"{focused}.matches('#cards button.part.lit')")
    page.keyboard.press("Enter")
    assert page.evaluate(f"{focused}.tagName") == "MARK"
    page.get_by_role("tab", name="Reading").focus()
    page.keyboard.press("ArrowRight")
    assert page.locator("#batch").is_visible() and page.locator("#reading").is_hidden()
    page.keyboard.press("ArrowLeft")
    assert page.locator("#reading").is_visible()


def test_tasks_and_system_can_be_changed_and_texts_that_lack_are_asked_for(opened: Open) -> None:
    page = opened()
    write(page, BREAST)
    assert "breast ultrasound" in page.locator("#why").inner_text()
    page.select_option("#system", "LI-RADS")
    choose(page, "radiology_nli", "rads_assignment", "radiology_qa")
    page.click("#read")
    assert (
        "needs a hypothesis" in page.locator("#trouble").inner_text()
        or "needs a question" in page.locator("#trouble").inner_text()
    )
    page.fill("#hypothesis", "There is a cyst.")
    page.fill("#question", "Which breast?")
    page.click("#read")
    ended(page)
    assert card(page, "radiology_nli").locator(".bar").count() == 3
    assert card(page, "radiology_qa").locator(".prose, .plain").count() == 1
    assert (
        card(page, "rads_assignment")
        .locator(".big")
        .inner_text()
        .startswith(("LR-", "LI-RADS", "US-", "No applicable"))
    )
    write(page, f"{CHEST}\n")
    assert page.locator("#tasks input:checked").count() == 3
    assert "changed since" in page.locator("#progress").inner_text()
    with page.expect_response("**/v1/detect"):
        page.click("#propose")
    page.locator("#tasks input[value=temporal_comparison]:checked").wait_for()
    assert not page.locator("#tasks input[value=radiology_nli]").is_checked()


def test_stop_ends_a_reading_that_waits(opened: Open, server: Server) -> None:
    page = opened()
    write(page, CHEST)
    busy = [threading.Thread(target=server.read, args=(f"{number}. {CHEST}",)) for number in range(3)]
    for one in busy:
        one.start()
    page.click("#read")
    page.locator("#progress", has_text="Waiting").wait_for()
    page.keyboard.press("Escape")
    page.locator("#progress", has_text="Stopped after 0 of").wait_for()
    assert page.locator("#stop").is_disabled() and page.locator("#read").is_enabled()
    assert page.locator("#cards .plain").first.inner_text() == "Not answered."
    for one in busy:
        one.join()


def test_what_the_model_does_not_say_is_said_plainly(opened: Open) -> None:
    page = opened()
    read(page, f"{CHEST} Staging of lung cancer.", ("m_staging", "n_staging"))
    withheld = card(page, "m_staging")
    assert (
        "not sure enough" in withheld.inner_text() and "below the limit" in withheld.locator(".warnings").inner_text()
    )
    assert withheld.get_by_role("button", name="Accept").count() == 0
    assert card(page, "n_staging").locator(".big").inner_text().startswith("N")
    read(page, " ".join([CHEST] * 30), ("rads_assignment",))
    assert "Too long" in card(page, "rads_assignment").inner_text()


def test_answers_are_copied_as_text_json_and_fhir(opened: Open) -> None:
    page = opened(permissions=["clipboard-read", "clipboard-write"])
    read(page, BREAST)

    def copied(form: str) -> str:
        page.get_by_role("button", name=f"Copy as {form}").click()
        page.locator(f"[data-copy={form.lower()}]", has_text="Copied").wait_for()
        text: str = page.evaluate("navigator.clipboard.readText()")
        return text

    answers = json.loads(copied("JSON"))
    assert answers[0]["task"] == "rads_assignment"
    text = copied("text")
    assert f"RADS assignment: {answers[0]['rendered']}" in text and "not a medical device" in text
    bundle = json.loads(copied("FHIR"))
    assert bundle["resourceType"] == "Bundle"
    assert "DiagnosticReport" in {one["resource"]["resourceType"] for one in bundle["entry"]}

    page.evaluate("() => { navigator.clipboard.writeText = () => Promise.reject(new Error('refused')); }")
    page.click("[data-copy=fhir]")
    page.locator("#copy-dialog").wait_for()
    assert json.loads(page.evaluate("getSelection().toString()")) == bundle
    page.keyboard.press("Escape")
    assert page.locator("#copy-dialog").is_hidden()


def test_a_review_is_kept_and_exported(opened: Open) -> None:
    page = opened()
    read(page, BREAST, ("rads_assignment", "radiology_ner"))
    shown = card(page, "rads_assignment")
    shown.get_by_role("button", name="Correct").click()
    shown.get_by_label("Right answer").select_option("BI-RADS 3")
    shown.get_by_label("Note").fill("Complicated cyst.")
    shown.get_by_role("button", name="Send the correction").click()
    shown.get_by_text("Corrected: BI-RADS 3").wait_for()
    other = card(page, "radiology_ner")
    other.get_by_role("button", name="Correct").click()
    other.get_by_label("Right answer").fill("no such form")
    other.get_by_role("button", name="Send the correction").click()
    other.locator(".trouble:not([hidden])").wait_for()
    tab(page, "Reviews")
    page.locator("#reviews-said", has_text="1 corrected").wait_for()
    with page.expect_download() as loading:
        page.get_by_role("button", name="As JSON lines").click()
    rows = [json.loads(line) for line in Path(loading.value.path()).read_text("utf-8").splitlines()]
    assert any("BI-RADS 3" in row.values() and BREAST in row.values() for row in rows)


def test_a_table_goes_up_and_its_answers_come_down(opened: Open, tmp_path: Path) -> None:
    page = opened()
    table = tmp_path / f"{'<img src=x>'.replace('/', '')}.csv"
    with table.open("w", newline="", encoding="utf-8") as out:
        csv.writer(out).writerows([["<b>id</b>", "Text, long"], ["1", BREAST], ["2", CHEST]])
    tab(page, "Batch")
    page.set_input_files("#table", table)
    page.locator("#keep .chip", has_text="<b>id</b>").wait_for()
    page.get_by_label("Column of the reports").fill("Text, long")
    page.locator("#keep input").first.check()
    page.locator("#batch-tasks input[value=m_staging]").check()
    page.get_by_role("button", name="Start").click()
    job = page.locator(".job", has_text="<img src=x>").first
    job.get_by_role("button", name="Download").wait_for(timeout=120_000)
    assert "2 of 2 rows" in job.inner_text()
    with page.expect_download() as loading:
        job.get_by_role("button", name="Download").click()
    rows = list(csv.DictReader(io.StringIO(Path(loading.value.path()).read_text("utf-8-sig"))))
    assert [row["<b>id</b>"] for row in rows] == ["1", "2"] and {row["task"] for row in rows} == {"m_staging"}
    page.select_option("#job-status", "failed")
    assert job.count() == 0
    page.select_option("#job-status", "")
    job.get_by_role("button", name="Remove").click()
    page.locator("#jobs-said", has_text="no jobs").wait_for()


def test_a_button_of_a_job_keeps_the_focus_while_the_job_goes_on(opened: Open) -> None:
    page = opened(fresh=True)
    job = {"id": "0" * 32, "name": "reports.csv", "status": "running", "total": 100_000, "statuses": {},
           "created": "2026-01-01T00:00:00Z", "begun": None, "ended": None, "message": ""}  # fmt: skip
    rows = itertools.count(1)
    page.route("**/v1/batch", lambda route: route.fulfill(json={"jobs": [{**job, "rows": next(rows)}]}))
    page.clock.install()
    tab(page, "Batch")
    page.get_by_role("button", name="Cancel").focus()
    for number in (2, 3):
        page.clock.run_for(2000)
        page.get_by_text(re.compile(rf"^{number} of 100,000 rows, about \d+ hours left")).wait_for()
    assert page.evaluate("document.activeElement.textContent") == "Cancel"


def test_the_models_tab_tells_of_file_and_card(opened: Open, server: Server) -> None:
    page = opened()
    tab(page, "Models")
    page.get_by_text("No card lies beside this model").wait_for()
    loaded = server.client.get("/v1/models").json()["loaded"][0]
    assert loaded["sha256"] in page.locator("#models").inner_text()
    assert "not fit for any use" in page.locator(".standing").inner_text()


def test_scores_of_a_card_stand_with_interval_and_number(opened: Open) -> None:
    page = opened()
    row = {"task": "n_staging", "metric": "accuracy", "value": 0.7, "low": 0.61, "high": 0.78, "n": 120}
    model = {
        "name": HOSTILE,
        "base": None,
        "kind": "Q4_K_M",
        "bytes": 1,
        "sha256": "0",
        "context_tokens": 1,
        "engine": "x",
    }
    page.route("**/v1/models", lambda route: route.fulfill(json={"data": [], "loaded": [{**model, "card": [row]}]}))
    tab(page, "Models")
    page.get_by_role("cell", name="0.61–0.78").wait_for()
    assert "120" in page.locator("#models tbody").inner_text() and HOSTILE in page.locator("#models").inner_text()


def test_no_tab_is_wider_than_its_window(opened: Open) -> None:
    page = opened()
    read(page, f"{BREAST} {'x' * 300}")
    card(page, "rads_assignment").get_by_role("button", name="Correct").click()
    for name in ("Reading", "Batch", "Models", "Reviews"):
        tab(page, name)
        page.locator(f"#{name.lower()} h2").first.wait_for()
        for width in (320, 640, 1280, 3840):
            page.set_viewport_size({"width": width, "height": 1000})
            assert page.evaluate("document.documentElement.scrollWidth") <= width, name


@pytest.mark.slow
def test_cards_stand_below_each_other_without_holes_and_stay_in_their_columns(opened: Open) -> None:
    page = opened(reduced_motion="reduce")
    read(page, CHEST, (*TASKS.keys() - {"radiology_nli", "radiology_qa"},))
    gap = page.evaluate("parseFloat(getComputedStyle(document.getElementById('cards')).columnGap)")

    def columns() -> dict[float, list[str]]:
        placed: dict[float, list[tuple[float, float, str]]] = {}
        for one in page.locator("#cards > article").all():
            box = one.bounding_box()
            placed.setdefault(box["x"], []).append((box["y"], box["height"], one.get_attribute("data-task")))
        for column in map(sorted, placed.values()):
            for (top, height, _), (below, *_) in itertools.pairwise(column):
                assert gap <= below - top - height <= gap + 4
        return {left: [name for *_, name in sorted(column)] for left, column in placed.items()}

    before = columns()
    assert len(before) == 2
    card(page, "rads_assignment").get_by_role("button", name="Correct").click()
    card(page, "abnormality_detection").locator("summary").click()
    page.evaluate("new Promise(requestAnimationFrame)")
    assert columns() == before
    page.set_viewport_size({"width": 1920, "height": 1000})
    page.evaluate("new Promise(requestAnimationFrame)")
    assert len(columns()) == 3


@pytest.mark.slow
@pytest.mark.parametrize(("width", "height"), [(1280, 600), (390, 700)])
def test_read_and_the_standing_line_stay_in_sight(opened: Open, width: int, height: int) -> None:
    page = opened(width=width, height=height)
    write(page, BREAST)
    choose(page, "radiology_nli", "rads_assignment", "radiology_qa")
    sync_api.expect(page.locator("#read")).to_be_in_viewport(ratio=1)
    choose(page, *TASKS.keys() - {"radiology_nli", "radiology_qa"})
    page.click("#read")
    ended(page)
    sync_api.expect(page.locator("#answers-title")).to_be_in_viewport(ratio=1)
    if width > 1000:
        page.evaluate("scrollTo(0, 0)")
        sync_api.expect(page.locator("#read")).to_be_in_viewport(ratio=1)
    page.locator("#cards > article").last.scroll_into_view_if_needed()
    sync_api.expect(page.locator(".standing strong")).to_be_in_viewport(ratio=1)
    assert "Not a medical device" in page.locator(".standing strong").inner_text()


@pytest.mark.slow
def test_colours_follow_the_system_and_the_switch(opened: Open) -> None:
    ground = "getComputedStyle(document.body).backgroundColor"
    light, dark = opened(color_scheme="light"), opened(color_scheme="dark")
    assert light.evaluate(ground) != dark.evaluate(ground)
    light.select_option("#scheme", "dark")
    dark.select_option("#scheme", "light")
    assert light.evaluate(ground) != dark.evaluate(ground)


@pytest.mark.slow
def test_nothing_moves_where_motion_is_not_wanted(opened: Open) -> None:
    page = opened(reduced_motion="reduce")
    read(page, CHEST, ("m_staging",))
    assert page.evaluate("document.getAnimations().length") == 0


@pytest.mark.slow
def test_printed_it_is_report_and_answers(opened: Open) -> None:
    page = opened(color_scheme="dark")
    read(page, BREAST)
    page.emulate_media(media="print")
    assert page.locator("#marked").is_visible() and page.locator(".standing").is_visible()
    assert page.locator("#cards .big").first.is_visible()
    assert not any(page.locator(one).is_visible() for one in ("[role=tablist]", "#read", "#copies"))
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"


def test_axe_finds_no_violation_on_any_tab_in_light_and_dark(opened: Open) -> None:
    page = opened(color_scheme="light", reduced_motion="reduce")

    def in_both() -> list[Any]:
        page.emulate_media(color_scheme="light")
        found = violations(page)
        page.emulate_media(color_scheme="dark")
        return found + violations(page, "color-contrast")

    assert in_both() == []
    read(page, CHEST, (*TASKS.keys() - {"radiology_nli", "radiology_qa"},))
    card(page, "rads_assignment").get_by_role("button", name="Correct").click()
    card(page, "abnormality_detection").locator("summary").click()
    page.locator("#cards [data-keys]").last.focus()
    assert in_both() == []
    for name in ("Batch", "Models", "Reviews"):
        tab(page, name)
        page.locator(f"#{name.lower()} h2").first.wait_for()
        assert in_both() == []


def violations(page: Any, *rules: str) -> list[Any]:
    if not page.evaluate("typeof axe === 'object'"):
        page.evaluate(axe.AXE_SCRIPT)
    found = page.evaluate("rules => axe.run(rules.length ? {runOnly: rules} : {})", list(rules))["violations"]
    return [(one["id"], [node["html"][:200] for node in one["nodes"]]) for one in found]


def test_markup_in_reports_file_names_and_answers_stays_text(opened: Open, tmp_path: Path) -> None:
    page = opened()
    (tmp_path / "<img src=x onerror=alert(1)>.txt").write_text(f"{CHEST}\n{HOSTILE}", "utf-8")
    (tmp_path / "other.txt").write_text(BREAST, "utf-8")
    page.set_input_files("#files", sorted(tmp_path.iterdir()))
    sync_api.expect(page.locator("#which option").first).to_contain_text("onerror")
    page.locator("#tasks input:checked").first.wait_for()
    page.click("#read")
    ended(page)
    assert page.locator("#marked").text_content() == f"{CHEST}\n{HOSTILE}"
    answer = {"id": "0" * 32, "status": "ok", "text": HOSTILE, "rendered": HOSTILE, "confidence": 0.5, "evidence": [],
              "probabilities": {HOSTILE: 0.5, "<b>": 0.4}, "warnings": [HOSTILE], "model": HOSTILE, "wording": "",
              "stop_reason": "end", "tokens": {}, "seconds": 1.0}  # fmt: skip
    told = {
        "radiology_nli": {"label": HOSTILE},
        "radiology_qa": {"text": HOSTILE, "kind": "knowledge", "quote": None},
        "radiology_ner": {
            "entities": [{"text": HOSTILE, "label": HOSTILE, "start": None, "end": None}],
            "relations": [],
        },
    }
    events = [("begun", {"id": "0" * 32, "tasks": [*told], "system": None})]
    events += [("answer", {**answer, "task": task, "answer": one}) for task, one in told.items()]
    events.append(("done", {"seconds": 1.0, "fhir": None}))
    body = "".join(f"event: {name}\ndata: {json.dumps(data)}\n\n" for name, data in events)
    page.route("**/v1/read", lambda route: route.fulfill(body=body, content_type="text/event-stream"))
    page.click("#next")
    page.locator("#tasks input:checked").first.wait_for()
    page.click("#read")
    card(page, "radiology_ner").get_by_text(HOSTILE).first.wait_for()
    assert card(page, "radiology_nli").locator(".big").inner_text() == HOSTILE
    assert page.locator("#cards img, #cards script, #marked img, #which img").count() == 0 and page.title() == "RadLite"


def test_files_are_walked_through_and_each_keeps_its_answers(opened: Open, tmp_path: Path) -> None:
    page = opened()
    (tmp_path / "a.txt").write_bytes(BREAST.replace("\n", "\r\n").encode())
    (tmp_path / "b.txt").write_text(CHEST, "utf-8")
    (tmp_path / "c.txt").write_bytes("größer".encode("latin-1"))
    page.set_input_files("#files", sorted(tmp_path.iterdir()))
    page.get_by_text("c.txt is no text file in UTF-8").wait_for()
    assert page.locator("#which option").all_inner_texts() == ["1 of 2: a.txt", "2 of 2: b.txt"]
    page.keyboard.press("Control+Enter")
    ended(page)
    assert card(page, "rads_assignment").count() == 1
    page.click("#next")
    assert page.evaluate("document.activeElement.id") == "previous"
    assert page.locator("#cards > article").count() == 0 and page.locator("#text").input_value() == CHEST
    page.click("#previous")
    assert card(page, "rads_assignment").locator(".big").count() == 1
    page.click("#clear")
    assert page.locator("#walk").is_hidden() and page.locator("#text").input_value() == CHEST


def test_files_without_plain_text_are_named_with_the_reason(opened: Open, tmp_path: Path) -> None:
    page = opened()
    files = {
        "a.pdf": (b"%PDF-1.4 (Chest radiograph.)", "a.pdf is a PDF"),
        "b.rtf": (rb"{\rtf1 Chest radiograph.}", "b.rtf is rich text"),
        "c.dcm": (bytes(128) + b"DICM", "c.dcm is a DICOM file"),
        "d.docx": (b"PK\x03\x04", "d.docx is a document"),
        "e.csv": (b"report\nChest radiograph.", "e.csv is a table: use Batch"),
        "f.txt": (bytes(5 << 20), "f.txt is larger than 4 MiB"),
        "g.txt": (b"", "g.txt is empty"),
        "h.txt": (b"Chest\0", "h.txt is no text file"),
    }
    for name, (content, _) in files.items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "i.txt").write_bytes("\ufeffChest radiograph, größer.".encode("utf-16-le"))
    page.set_input_files("#files", sorted(tmp_path.iterdir()))
    sync_api.expect(page.locator("#trouble")).to_contain_text("Not opened")
    said = page.locator("#trouble").inner_text()
    assert [why for _, why in files.values() if why not in said] == []
    assert page.locator("#text").input_value() == "Chest radiograph, größer."


def test_all_files_are_read_one_after_the_other(opened: Open, tmp_path: Path) -> None:
    page = opened()
    for name, text in (("a.txt", BREAST), ("b.txt", "Milk and bread."), ("c.txt", CHEST)):
        (tmp_path / name).write_text(text, "utf-8")
    page.set_input_files("#files", sorted(tmp_path.iterdir()))
    page.get_by_role("button", name="Read all").click()
    page.locator("#read-all:enabled").wait_for()
    told = ["1 of 3: a.txt (read)", "2 of 3: b.txt", "3 of 3: c.txt (read)"]
    sync_api.expect(page.locator("#which option")).to_have_text(told)
    page.select_option("#which", index=2)
    assert page.locator("#cards > article").count() == page.locator("#tasks input:checked").count() > 1
    page.select_option("#which", index=1)
    sync_api.expect(page.locator("#why")).to_contain_text("Choose tasks by hand")


def test_what_lacks_is_told_and_gets_the_focus(opened: Open) -> None:
    page = opened()
    page.click("#read")
    assert "There is no report" in page.locator("#trouble").inner_text()
    focused = "document.activeElement"
    assert page.evaluate(f"{focused}.id") == "text"
    write(page, "Milk and bread.")
    page.click("#read")
    page.locator("#trouble", has_text="No task fits").wait_for()
    assert page.evaluate(f"{focused}.closest('#tasks') !== null")
    choose(page, "radiology_qa")
    page.click("#read")
    page.locator("#trouble", has_text="needs a question").wait_for()
    assert page.evaluate(f"{focused}.id") == "question"


@pytest.mark.slow
def test_a_report_that_is_refused_can_be_changed_at_once(opened: Open) -> None:
    page = opened()
    page.evaluate(
        "text => { const place = document.getElementById('text'); place.value = text;"
        " place.dispatchEvent(new Event('input')); }",
        f"{BREAST}\n" * 1000,
    )
    page.click("#read")
    page.locator("#trouble", has_text="has more than 100,000 characters").wait_for()
    assert page.locator("#text").is_visible() and page.locator("#progress").inner_text() == "Not read."
    read(page, BREAST, ("m_staging",))
    assert page.locator("#trouble").is_hidden()


def test_who_comes_for_the_first_time_is_shown_what_it_does(opened: Open) -> None:
    page = opened()
    assert page.locator("#about dt").count() == len(TASKS) and all(page.locator("#about dd").all_inner_texts())
    page.get_by_role("button", name="made-up report").click()
    page.locator("#tasks input:checked").first.wait_for()
    page.keyboard.press("Control+Enter")
    ended(page)
    assert page.locator("#intro").is_hidden() and page.locator("#example").is_hidden()
    assert "not a medical device" in page.locator("#origin").inner_text()
    page.click("#clear")
    assert page.locator("#intro").is_visible() and page.locator("#example").is_visible()


def test_keys_in_a_review_mean_the_review(opened: Open) -> None:
    page = opened()
    read(page, CHEST, ("n_staging",))
    shown = card(page, "n_staging")
    shown.get_by_role("button", name="Reject").click()
    page.keyboard.press("Escape")
    assert shown.locator("form").count() == 0
    shown.get_by_role("button", name="Correct").click()
    shown.get_by_label("Right answer").select_option("N2")
    page.keyboard.press("Control+Enter")
    shown.get_by_text("Corrected: N2").wait_for()


def test_a_warning_is_announced_with_its_answer(opened: Open) -> None:
    page = opened()
    page.evaluate(
        "() => { const place = document.getElementById('progress'); window.said = [];"
        " new MutationObserver(() => said.push(place.textContent)).observe(place, {childList: true}); }"
    )
    read(page, CHEST, ("m_staging",))
    assert "1 of 1 answers. M staging: abstained, with a warning" in page.evaluate("said")


@pytest.mark.slow
def test_back_goes_to_the_tab_before_and_a_reload_stays(opened: Open) -> None:
    page = opened(fresh=True)
    tab(page, "Batch")
    tab(page, "Models")
    page.go_back()
    assert page.locator("#batch").is_visible() and page.locator("#models").is_hidden()
    page.reload()
    page.locator("#batch h2").first.wait_for()
    assert page.locator("#tab-batch[aria-selected=true]").count() == 1
    page.go_back()
    assert page.locator("#reading").is_visible()


@pytest.mark.slow
def test_signs_that_turn_the_writing_have_no_effect_on_the_report_with_marks(opened: Open) -> None:
    page = opened()
    text = CHEST.replace("No effusion", "\u202eNo effusion")
    read(page, text, ("radiology_ner",))
    assert page.locator("#marked").text_content() == text
    assert page.locator("#controls").is_visible()
    left = """word => {
      const walk = document.createTreeWalker(document.getElementById('marked'), NodeFilter.SHOW_TEXT);
      for (let node = walk.nextNode(); node; node = walk.nextNode()) {
        const at = node.data.indexOf(word);
        if (at < 0) continue;
        const place = document.createRange();
        place.setStart(node, at);
        place.setEnd(node, at + 1);
        return place.getBoundingClientRect().left;
      }
    }"""
    assert page.evaluate(left, "No ") < page.evaluate(left, "ffusion is")
    read(page, CHEST, ("radiology_ner",))
    assert page.locator("#controls").is_hidden()


def test_text_that_would_be_lost_is_asked_about_and_nothing_is_kept(opened: Open) -> None:
    page = opened(fresh=True)
    read(page, CHEST, ("m_staging",))
    kept = page.evaluate("JSON.stringify([{...localStorage}, {...sessionStorage}, document.cookie])")
    assert kept == '[{},{},""]'
    asked = []
    page.on("dialog", lambda dialog: (asked.append(dialog.type), dialog.accept()))
    page.reload()
    assert asked == ["beforeunload"]
    assert page.locator("#text").input_value() == ""


@pytest.mark.slow
def test_a_key_is_asked_for_and_kept_in_memory_only(opened: Open, tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text(f"reader:{KEY}\n")
    keys.chmod(0o600)
    with Server(tmp_path, "--keys", keys) as locked:
        page = opened(address=locked.url, ready=False)
        page.get_by_label("API key").fill("wrong" * 10)
        page.get_by_role("button", name="Go on").click()
        page.get_by_text("does not know that key").wait_for()
        assert violations(page) == []
        page.get_by_label("API key").fill(KEY)
        page.get_by_role("button", name="Go on").click()
        page.get_by_text("Ready: ").wait_for()
        read(page, CHEST, ("m_staging",))
        assert (
            page.evaluate("JSON.stringify([{...localStorage}, {...sessionStorage}, document.cookie])") == '[{},{},""]'
        )
        assert KEY not in page.content()


def test_a_page_that_is_open_goes_on_once_the_model_is_there_again(opened: Open) -> None:
    page = opened(fresh=True)
    page.route("**/ready", lambda route: route.fulfill(status=503, json={"ready": False, "models": []}))
    page.clock.install()
    page.reload()
    page.get_by_text("The model is being loaded").wait_for()
    page.unroute("**/ready")
    page.clock.run_for(3000)
    page.get_by_text("Ready: demonstration").wait_for()
    assert page.locator("#tasks input").count() == len(TASKS)


@pytest.mark.slow
def test_it_works_below_a_prefix_that_a_proxy_takes_off(opened: Open, server: Server) -> None:
    page = opened(fresh=True)
    page.route("**/below/**", lambda on: on.fulfill(response=on.fetch(url=on.request.url.replace("/below/", "/"))))
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(f"{server.url}/below/")
    page.get_by_text("Ready: ").wait_for()
    read(page, CHEST, ("m_staging",))
    tab(page, "Models")
    page.get_by_text("No card lies beside this model").wait_for()
    assert {url.removeprefix(server.url).split("/")[1] for url in asked} == {"below"}


def test_a_server_that_is_gone_is_told(opened: Open) -> None:
    page = opened()
    write(page, CHEST)
    page.context.set_offline(True)
    page.click("#read")
    page.locator("#trouble", has_text="does not answer").wait_for()
    page.locator("#server", has_text="does not answer").wait_for()
    assert page.locator("#read").is_enabled()
    begun = f"event: begun\ndata: {json.dumps({'id': '', 'tasks': ['m_staging'], 'system': None})}\n\nevent: ans"
    page.route("**/v1/read", lambda route: route.fulfill(body=begun, content_type="text/event-stream"))
    page.click("#read")
    page.locator("#trouble", has_text="broke off").wait_for()
    assert card(page, "m_staging").inner_text().endswith("Not answered.")
