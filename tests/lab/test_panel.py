"""The panel in a real JupyterLab: it leads to what is deployed and what failed, whatever happens."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.lab.jupyter import Jupyter, Kernel
from tests.lab.pages import MARKUP, NAME, SHOP, Document, Panel, barriers, ready

pytestmark = pytest.mark.browser

NOTES = """\
%%component notes 1.0.0
from aegis import Model

class Note(Model, endpoint="notes"):
    text: str
"""


@pytest.fixture(scope="module")
def notes(jupyter: Jupyter, page: Page) -> Iterator[Document]:
    jupyter.write("notes.ipynb", NOTES, "%load_ext aegis_kernel")
    page.get_by_role("button", name="Refresh the file browser").click()
    page.locator(".jp-DirListing-item", has_text="notes.ipynb").dblclick()
    yield Document(page)
    jupyter.started("notes.ipynb").stop()


@pytest.fixture(scope="module")
def kernel(start: Callable[..., Kernel]) -> Kernel:
    """A kernel with a shop, of a notebook that is open nowhere."""
    kernel = start("shop.ipynb")
    kernel.run(
        SHOP,
        SHOP.replace("1.0.0", "1.1.0"),
        f"""
first = host.create("Order", id="first", name={NAME!r})
host.wait(first)
broke = host.create("Order", id="b-{"0" * 190}", name="broke")
host.wait(broke)
""",
    )
    return kernel


@pytest.fixture(scope="module")
def page(open_page: Callable[[str], Page], jupyter: Jupyter, kernel: Kernel) -> Page:
    page = open_page("panel")
    page.goto(jupyter.lab(workspace="panel"))
    return ready(page)


@pytest.fixture(scope="module")
def panel(page: Page) -> Panel:
    return Panel(page).open()


def test_it_shows_what_is_deployed_with_no_document_open(panel: Panel, kernel: Kernel) -> None:
    expect(panel.hosts.locator("option")).to_have_count(1)
    expect(panel.hosts).to_contain_text("shop.ipynb")
    shop = panel.lines("components")
    expect(shop).to_have_count(1)
    version = kernel.run("print(host.status().components[0].version)").strip()
    expect(shop).to_contain_text(re.compile(rf"shop.*{version}.*cell \d", re.DOTALL))
    address = kernel.run("print(host.address)").strip()
    expect(panel.pulse).to_contain_text(address.removeprefix("http://"))
    expect(panel.page.locator(".aegis-StatusItem")).to_contain_text("problem")


def test_a_component_is_rolled_back(panel: Panel, kernel: Kernel) -> None:
    kernel.run(SHOP, SHOP.replace("1.0.0", "1.1.0"))
    shop = panel.lines("components")
    shop.locator(".aegis-Line-head").click()
    shop.get_by_role("button", name="Roll back").click()
    panel.accept()
    expect(panel.told).to_contain_text("shop 1.0.0 serves again")
    expect(shop).to_contain_text("1.0.0")


def test_a_command_is_run_from_the_graph(panel: Panel, kernel: Kernel) -> None:
    graph = panel.section("graph")
    node = graph.locator('[data-id="command:shop.Order.rename"]')
    node.click()
    chosen = graph.locator(".aegis-Chosen")
    expect(chosen).to_contain_text("rename")
    chosen.get_by_role("textbox", name="Record").fill("first")
    chosen.get_by_role("textbox", name="Arguments").fill('{"to": 1}')
    chosen.get_by_role("button", name="Run").click()
    expect(panel.told).to_contain_text("Expected `str`")
    chosen.get_by_role("textbox", name="Arguments").fill('{"to": "second"}')
    chosen.get_by_role("button", name="Run").click()
    expect(panel.told).to_contain_text("rename")
    assert kernel.run("print(host.get('Order', 'first').name)") == "second\n"


def test_events_are_filtered_and_one_is_read(panel: Panel, kernel: Kernel) -> None:
    kernel.run("host.call(host.get('Order', 'first'), 'rename', to='third')")
    events = panel.section("events")
    expect(events.locator(".aegis-Line").first).to_contain_text("order.renamed")
    before = events.locator(".aegis-Line").count()
    events.get_by_role("searchbox").fill("order.re*")
    events.get_by_role("searchbox").press("Enter")
    renamed = events.locator(".aegis-Line", has_text="order.renamed")
    expect(events.locator(".aegis-Line")).to_have_count(renamed.count())
    assert 0 < renamed.count() < before
    renamed.first.locator(".aegis-Line-head").click()
    expect(renamed.first.locator(".aegis-Json")).to_contain_text("third")
    renamed.first.locator(".aegis-Line-head").press("Escape")
    events.get_by_role("searchbox").fill("")
    events.get_by_role("searchbox").press("Enter")
    expect(events.locator(".aegis-Line")).to_have_count(before)


def test_a_flow_tells_its_steps_and_why_it_was_refused(panel: Panel) -> None:
    flows = panel.section("flows")
    flows.get_by_label("Which flows").select_option("failed")
    broke = flows.locator(".aegis-Line")
    expect(broke).to_have_count(1)
    broke.locator(".aegis-Line-head").click()
    steps = broke.locator(".aegis-Step")
    expect(steps).to_have_count(1)
    expect(steps).to_contain_text(re.compile(r"pay.*refused", re.DOTALL))
    expect(steps).to_contain_text(MARKUP)
    broke.get_by_role("button", name="Record and events").click()
    expect(broke.locator(".aegis-Json")).to_contain_text('"name": "broke"')
    flows.get_by_label("Which flows").select_option("all")


def test_what_failed_tells_why_and_is_tried_again(panel: Panel, kernel: Kernel) -> None:
    kernel.run(
        "from pathlib import Path; Path('mute').touch()",
        "mute = host.create('Order', id='mute', name='m'); host.wait(mute)",
    )
    failed = panel.section("failed")
    thanks = failed.locator(".aegis-Line", has_text="thank")
    expect(thanks).to_contain_text(f"nobody hears {MARKUP}")
    thanks.locator(".aegis-Line-head").click()
    expect(thanks.locator(".aegis-Facts")).to_contain_text("mute")
    thanks.get_by_role("button", name="Retry order.paid").click()
    expect(panel.told).to_contain_text("failed again")
    expect(thanks).to_have_count(1)
    kernel.run("Path('mute').unlink()")
    thanks.get_by_role("button", name="Retry order.paid").click()
    expect(thanks).to_have_count(0)


def test_what_failed_is_discarded(panel: Panel) -> None:
    failed = panel.section("failed")
    broke = failed.locator(".aegis-Line")
    expect(broke).to_have_count(1)
    broke.locator(".aegis-Line-head").click()
    broke.get_by_role("button", name="Discard").click()
    panel.accept()
    expect(broke).to_have_count(0)
    expect(failed).to_contain_text("Nothing has failed")


def test_the_log_has_what_components_log(panel: Panel, kernel: Kernel) -> None:
    kernel.run("logged = host.create('Order', id='logged', name='n'); host.wait(logged)")
    log = panel.section("log")
    line = log.locator(".aegis-Line", has_text="thanked logged").first
    expect(line).to_contain_text(re.compile(r"warning.*shop", re.DOTALL))
    log.get_by_label("Least level").select_option("error")
    expect(line).to_be_hidden()
    log.get_by_label("Least level").select_option("debug")
    expect(line).to_be_visible()


def test_text_of_authors_is_never_markup(panel: Panel) -> None:
    for section in ("components", "graph", "events", "flows", "failed", "log"):
        panel.section(section)
        expect(panel.page.locator("img[src='x'], #aegis-panel b")).to_have_count(0)
    assert panel.page.evaluate("window.broken") is None


@pytest.mark.parametrize("theme", ["Dark", "Light"])
def test_everybody_can_use_it(panel: Panel, pictures: Path, theme: str) -> None:
    panel.command(f"JupyterLab {theme}")
    for section in ("components", "graph", "events", "flows", "failed", "log"):
        panel.section(section)
        closed = panel.node.locator(".aegis-Line-head[aria-expanded=false]:visible")
        if closed.count() > 0:
            closed.first.click()
        panel.node.screenshot(path=str(pictures / f"panel-{section}-{theme.lower()}.png"))
        assert not barriers(panel.page, "#aegis-panel", ".aegis-StatusItem")
        # Events stand still while one is open.
        opened = panel.node.locator(".aegis-Line-head[aria-expanded=true]:visible")
        while opened.count() > 0:
            opened.first.press("Escape")


def test_it_answers_while_a_cell_runs(panel: Panel, kernel: Kernel) -> None:
    events = panel.section("events")
    kernel.send("import time; time.sleep(4); print('awake')")
    took = panel.page.evaluate(
        """async (list) => {
            const head = list.querySelector('.aegis-Line-head');
            const began = performance.now();
            head.click();
            while (!list.querySelector('.aegis-Json')) {
                await new Promise((done) => setTimeout(done, 1));
                if (performance.now() - began > 3000) break;
            }
            head.click();
            return performance.now() - began;
        }""",
        events.element_handle(),
    )
    assert kernel.is_busy
    assert took < 1000


def test_a_burst_of_events_keeps_nobody_waiting(panel: Panel, kernel: Kernel) -> None:
    events = panel.section("events")
    panel.page.evaluate(
        """() => {
            window.long = [];
            new PerformanceObserver((found) => {
                for (const { duration } of found.getEntries()) window.long.push(duration);
            }).observe({ type: 'longtask' });
        }"""
    )
    kernel.run(
        """
first = host.get("Order", "first")
for _ in range(20):
    host.call(first, "ring", times=2000)
host.wait(host.create("Order", id="last", name="n"))
"""
    )
    expect(events.locator(".aegis-Line").first).to_contain_text(re.compile("order.paid.*last"))
    expect(events.locator(".aegis-Note")).to_contain_text("not listed")
    # A task that a person notices; on a machine to itself none takes 50 ms.
    assert max(panel.page.evaluate("window.long"), default=0) < 250


def test_a_kernel_that_dies_is_told_and_found_again(panel: Panel, kernel: Kernel) -> None:
    panel.page.evaluate("window.same = true")
    kernel.kill()
    expect(panel.banner).to_contain_text("Not connected", timeout=20_000)
    kernel.run(SHOP)
    expect(panel.banner).to_be_hidden(timeout=20_000)
    expect(panel.lines("components")).to_contain_text("shop")
    assert panel.page.evaluate("window.same"), "the page was loaded anew"


def test_a_restart_needs_no_reload(panel: Panel, kernel: Kernel) -> None:
    panel.page.evaluate("window.same = true")
    kernel.restart()
    expect(panel.section("components")).to_contain_text("Nothing is deployed yet", timeout=20_000)
    kernel.run(SHOP)
    expect(panel.lines("components")).to_contain_text("shop")
    expect(panel.banner).to_be_hidden()
    assert panel.page.evaluate("window.same"), "the page was loaded anew"


def test_the_graph_has_a_tab_of_its_own(panel: Panel, kernel: Kernel) -> None:
    panel.section("graph").get_by_role("button", name="Open in a tab").click()
    tab = panel.page.locator("#aegis-graph")
    node = tab.locator('[data-id="command:shop.Order.rename"]')
    node.click()
    chosen = tab.locator(".aegis-Chosen")
    kernel.run("host.create('Order', id='tab', name='t')")
    chosen.get_by_role("textbox", name="Record").fill("tab")
    chosen.get_by_role("textbox", name="Arguments").fill('{"to": "u"}')
    chosen.get_by_role("button", name="Run").click()
    expect(panel.told).to_contain_text("rename")
    expect(node).to_contain_text(re.compile("[mµ]s"))
    assert not barriers(panel.page, "#aegis-graph")


def test_it_is_there_after_a_reload(panel: Panel) -> None:
    panel.section("flows")
    panel.page.wait_for_timeout(1500)  # Lab remembers the layout a second after it changed
    panel.page.reload()
    ready(panel.page)
    expect(panel.node).to_be_visible(timeout=20_000)
    expect(panel.lines("components")).to_contain_text("shop")
    expect(panel.lines("flows").first).to_contain_text("Order")
    tab = panel.page.locator("#aegis-graph")
    expect(tab.locator('[data-id="command:shop.Order.rename"]')).to_be_visible()
    tabs = panel.page.locator(".lm-DockPanel-tabBar .lm-TabBar-tab", has_text="Graph of")
    tabs.locator(".lm-TabBar-tabCloseIcon").click()
    expect(tab).to_have_count(0)


def test_two_notebooks_are_two_hosts(panel: Panel, notes: Document) -> None:
    notes.run(0)
    # The panel follows the notebook at hand.
    lines = panel.lines("components")
    expect(lines).to_have_count(1)
    expect(lines).to_contain_text("notes")
    expect(panel.hosts.locator("option")).to_have_count(2)
    panel.choose("shop.ipynb")
    expect(panel.lines("components")).to_contain_text("shop")
    panel.choose("notes.ipynb")
    expect(panel.lines("components")).to_contain_text("notes")


def test_a_component_is_undeployed(panel: Panel, notes: Document) -> None:
    notes.run(0)
    panel.choose("notes.ipynb")
    line = panel.lines("components")
    expect(line).to_contain_text("notes")
    line.locator(".aegis-Line-head").click()
    line.get_by_role("button", name="Undeploy").click()
    panel.accept()
    expect(panel.told).to_contain_text("notes is not served any more")
    expect(panel.section("components")).to_contain_text("Nothing is deployed yet")
    expect(panel.section("components")).to_contain_text("%%component")


def test_another_kernel_in_its_place_has_no_host_until_it_loads_one(
    panel: Panel, notes: Document
) -> None:
    notes.change_kernel("Python 3 (ipykernel)")
    expect(panel.hosts.locator("option")).to_have_count(1)
    expect(panel.lines("components")).to_contain_text("shop")
    notes.run(1)
    expect(panel.hosts.locator("option")).to_have_count(2)
    expect(panel.hosts.locator("option:checked")).to_have_text(re.compile("notes.ipynb"))
    expect(panel.section("components")).to_contain_text("Nothing is deployed yet")
    notes.run(0)
    expect(panel.lines("components")).to_contain_text("notes")
