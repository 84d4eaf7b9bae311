"""The report in a real browser, Debian's chromium: it draws, answers the mouse, fits the screen, fetches nothing."""

import shutil

import pytest
from playwright.sync_api import sync_playwright

from orchestrator.ledger import DriverWriter
from orchestrator.report import write_report
from tests.limits import HANG_S
from tests.orchestrator.helpers import make_spec, write_sweep

CHROMIUM = shutil.which("chromium")
CANARY = "<script>alert(1)</script>"
WIDTHS = {"phone": 390, "desk": 1280}
ALL_DRAWN = "() => [...document.querySelectorAll('.plot')].every(plot => plot.dataset.drawn)"

pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="no chromium (apt-get install chromium)")]


class Visit:
    """One page open in the browser, and what it said and asked for."""

    def __init__(self, browser, url, width):
        self.said, self.requests = [], []
        self.page = browser.new_page(viewport={"width": width, "height": 900})
        self.page.on("console", lambda message: self.said.append(f"{message.type}: {message.text}"))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("dialog", lambda dialog: (self.said.append(f"dialog: {dialog.message}"), dialog.dismiss()))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.set_default_timeout(1000 * HANG_S)
        self.page.goto(url)
        self.page.wait_for_function(ALL_DRAWN)


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    ledger = write_sweep(tmp_path_factory.mktemp("page"), make_spec(name="page", search={"trials": 8}))
    text = {
        "forget_set": "verses",
        "replicate": 0,
        "example_id": "verses-000000",
        "prompt": CANARY,
        "completion": CANARY,
    }
    DriverWriter(ledger).publish_forget_examples([text])
    return f"file://{write_report(ledger)}"


@pytest.fixture(scope="module")
def browser():
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"], timeout=1000 * HANG_S)
        yield browser
        browser.close()


@pytest.fixture(scope="module", params=WIDTHS.values(), ids=WIDTHS)
def visit(request, browser, url):
    return Visit(browser, url, request.param)


def test_every_plot_draws_marks(visit):
    plots = visit.page.locator(".plot").all()
    assert len(plots) > 10
    for plot in plots:
        assert plot.locator("svg.marks").count() == 1
        assert plot.locator(".mark-symbol path, .mark-rect path, .mark-line path").count() > 0
        assert plot.bounding_box()["height"] > 100


def test_hovering_over_a_point_tells_its_trial_and_a_click_pins_the_command(visit, url):
    panel = visit.page.locator("#frontier .panel").first
    point = panel.locator(".mark-symbol.role-mark").nth(1).locator("path").first  # the best unlearned Pareto point
    point.hover(force=True)
    tooltip = visit.page.locator("#vg-tooltip-element.visible")
    tooltip.wait_for()
    box, width = tooltip.bounding_box(), visit.page.viewport_size["width"]
    assert 0 <= box["x"] < box["x"] + box["width"] <= width, "all of it is on the screen"
    trial_id = tooltip.locator("tr", has_text="trial").locator(".value").first.inner_text()
    assert len(trial_id) == 16
    assert f"trial_id = '{trial_id}'" in tooltip.inner_text().replace("\n", " ")
    point.click(force=True)
    pinned = panel.locator(".picked").inner_text()
    assert pinned.startswith("unlearn-sweep query ")
    assert trial_id in pinned


def test_nothing_overflows_the_screen(visit):
    overflow = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    visit.page.evaluate("document.querySelectorAll('details').forEach(details => { details.open = true })")
    assert visit.page.evaluate(overflow) == 0
    wide = """[...document.querySelectorAll('.plot svg')].filter(
        svg => svg.getBoundingClientRect().right > document.documentElement.clientWidth).length"""
    assert visit.page.evaluate(wide) == 0


def test_a_table_wider_than_the_screen_scrolls_by_itself(visit):
    widths = visit.page.locator("#points .scroll").first.evaluate("e => [e.scrollWidth, e.clientWidth]")
    assert visit.page.locator("#points td code").first.evaluate("e => e.getClientRects().length") == 1, "one line"
    assert (widths[0] > widths[1]) == (visit.page.viewport_size["width"] == WIDTHS["phone"])


def test_a_price_and_its_range_fold_rather_than_widen_the_table(visit):
    cells = visit.page.locator("#price .scroll").first.locator("td.n")
    assert set(cells.evaluate_all("cells => cells.map(e => getComputedStyle(e).whiteSpace)")) == {"normal"}


def test_print_keeps_every_panel_and_table_within_the_paper(browser, url):
    a4 = Visit(browser, url, WIDTHS["desk"]).page
    a4.emulate_media(media="print")
    a4.set_viewport_size({"width": 710, "height": 1000})  # A4 less its margins, at 96 pixels an inch
    beyond = (
        "[...document.querySelectorAll('svg.marks, table')].filter(e => e.getBoundingClientRect().right > 711).length"
    )
    assert a4.evaluate(beyond) == 0
    assert a4.locator("nav").is_hidden()


def test_hostile_text_shows_as_text(visit):
    visit.page.evaluate("document.querySelectorAll('details').forEach(details => { details.open = true })")
    assert visit.page.locator("td.text", has_text=CANARY).count() == 2
    assert visit.page.locator("td.text", has_text=CANARY).first.inner_text() == CANARY


def test_it_says_nothing_to_the_console_and_fetches_nothing(visit, url):
    assert visit.said == []
    assert [request for request in visit.requests if not request.startswith(("data:", "blob:"))] == [url]
