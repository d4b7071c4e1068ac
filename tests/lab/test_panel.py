"""The panel in a real JupyterLab: it leads to what is deployed and what failed, whatever happens."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.lab.jupyter import Jupyter, Kernel

pytestmark = pytest.mark.browser

MARKUP = "<img src=x onerror='window.broken = 1'>"
NAME = "🛒" * 5 + "x" * 195
SHOP = f'''\
%%component shop 1.0.0
"""Orders 🛒 and what is paid for them."""
from pathlib import Path
from typing import Protocol
from aegis import Event, Model, Refused, adapter, command, on, port

class Bank(Protocol):
    async def pay(self, name: str) -> None: ...

class Order(Model, endpoint="orders"):
    """A purchase 🛒 <b>of</b> {MARKUP}"""
    name: str
    paid: bool = False

    @port(consumes="order.created", produces="order.paid", retries=0)
    async def pay(self, bank: Bank = adapter()) -> "Order":
        await bank.pay(self.name)
        return self.update(paid=True)

    @command(produces="order.renamed")
    def rename(self, to: str) -> "Order":
        return self.update(name=to)

class Till(Bank):
    async def pay(self, name: str) -> None:
        if name == "broke":
            raise Refused("there is no money {MARKUP}")

@on("order.paid")
async def thank(event: Event):
    if Path("mute").exists():
        raise Refused("nobody hears {MARKUP}")
    print("thanked", event.subject)
'''
NOTES = """\
%%component notes 1.0.0
from aegis import Model

class Note(Model, endpoint="notes"):
    text: str
"""


class Panel:
    """The panel of a page, as a person uses it."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.node = page.locator("#aegis-panel")
        self.told = self.node.locator(".aegis-Told")
        self.hosts = self.node.locator(".aegis-Hosts")
        self.pulse = self.node.locator(".aegis-Pulse")
        self.banner = self.node.locator(".aegis-Head .aegis-Notice")

    def command(self, title: str) -> None:
        """Choose a command in the palette."""
        self.page.get_by_text("View", exact=True).click()
        self.page.get_by_text("Activate Command Palette").click()
        self.page.locator(".lm-CommandPalette-input").fill(title)
        item = self.page.locator(".lm-CommandPalette-item:not(.lm-mod-disabled)", has_text=title)
        item.first.click()

    def open(self) -> Panel:
        self.command("Open the Aegis panel")
        expect(self.node).to_be_visible()
        return self

    def section(self, name: str) -> Locator:
        """Open a section; its lines."""
        self.node.locator(f".aegis-Tab[data-section={name}]").click()
        page = self.node.locator(f"#aegis-page-{name}")
        expect(page).to_be_visible()
        return page

    def lines(self, section: str) -> Locator:
        return self.section(section).locator(".aegis-Line")

    def accept(self) -> None:
        """Answer the question that is asked with yes."""
        self.page.locator(".jp-Dialog .jp-mod-accept").click()

    def choose(self, document: str) -> None:
        option = self.hosts.locator("option", has_text=document)
        self.hosts.select_option(value=option.get_attribute("value"))


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
    page.locator("#jupyterlab-splash").wait_for(state="detached", timeout=60_000)
    return page


@pytest.fixture(scope="module")
def panel(page: Page) -> Panel:
    return Panel(page).open()


def test_it_shows_what_is_deployed_with_no_document_open(panel: Panel, kernel: Kernel) -> None:
    expect(panel.hosts.locator("option")).to_have_count(1)
    expect(panel.hosts).to_contain_text("shop.ipynb")
    shop = panel.lines("components")
    expect(shop).to_have_count(1)
    expect(shop).to_contain_text(re.compile(r"shop.*1\.1\.0.*failing", re.DOTALL))
    address = kernel.run("print(host.address)").strip()
    expect(panel.pulse).to_contain_text(address.removeprefix("http://"))
    expect(panel.page.locator(".aegis-StatusItem")).to_contain_text("problem")


def test_a_component_is_rolled_back(panel: Panel) -> None:
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
    chosen.get_by_label("Record").fill("first")
    chosen.get_by_label("Arguments").fill('{"to": 1}')
    chosen.get_by_role("button", name="Run").click()
    expect(panel.told).to_contain_text("Expected `str`")
    chosen.get_by_label("Arguments").fill('{"to": "second"}')
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
    steps = broke.locator(".aegis-Steps li")
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
    thanks.get_by_role("button", name="Retry").click()
    expect(panel.told).to_contain_text("failed again")
    expect(thanks).to_have_count(1)
    kernel.run("Path('mute').unlink()")
    thanks.get_by_role("button", name="Retry").click()
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


def test_the_log_has_what_components_print(panel: Panel) -> None:
    log = panel.section("log")
    expect(log.locator(".aegis-Line", has_text="thanked mute")).to_have_count(1)
    log.get_by_label("Least level").select_option("error")
    expect(log.locator(".aegis-Line", has_text="thanked")).to_have_count(0)
    log.get_by_label("Least level").select_option("debug")


def test_text_of_authors_is_never_markup(panel: Panel) -> None:
    for section in ("components", "graph", "events", "flows", "failed", "log"):
        panel.section(section)
        expect(panel.page.locator("img[src='x'], #aegis-panel b")).to_have_count(0)
    assert panel.page.evaluate("window.broken") is None


def test_it_answers_while_a_cell_runs(panel: Panel, kernel: Kernel) -> None:
    events = panel.section("events")
    kernel.send("import time; time.sleep(4); print('awake')")
    expect(panel.pulse).to_contain_text("a cell runs")
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
    expect(panel.pulse).to_contain_text("a cell runs")
    assert took < 1000


def test_two_notebooks_are_two_hosts(panel: Panel, start: Callable[..., Kernel]) -> None:
    other = start("notes.ipynb")
    other.run(NOTES)
    expect(panel.hosts.locator("option")).to_have_count(2)
    panel.choose("notes.ipynb")
    notes = panel.lines("components")
    expect(notes).to_have_count(1)
    expect(notes).to_contain_text("notes")
    notes.locator(".aegis-Line-head").click()
    notes.get_by_role("button", name="Undeploy").click()
    panel.accept()
    expect(panel.told).to_contain_text("notes is not served any more")
    expect(panel.section("components")).to_contain_text("Nothing is deployed yet")
    panel.choose("shop.ipynb")
    expect(panel.lines("components")).to_contain_text("shop")
    other.stop()
    expect(panel.hosts.locator("option")).to_have_count(1, timeout=20_000)


def test_a_kernel_that_dies_is_told_and_found_again(panel: Panel, kernel: Kernel) -> None:
    panel.page.evaluate("window.same = true")
    kernel.kill()
    expect(panel.banner).to_contain_text("Not connected", timeout=20_000)
    kernel.run(SHOP)
    expect(panel.banner).to_be_hidden(timeout=20_000)
    expect(panel.lines("components")).to_contain_text("shop")
    assert panel.page.evaluate("window.same"), "the page was loaded anew"


def test_a_restart_needs_no_reload(panel: Panel, kernel: Kernel) -> None:
    kernel.restart()
    expect(panel.section("components")).to_contain_text("Nothing is deployed yet", timeout=20_000)
    kernel.run(SHOP)
    expect(panel.lines("components")).to_contain_text("shop")
    expect(panel.banner).to_be_hidden()
    assert panel.page.evaluate("window.same"), "the page was loaded anew"


def test_it_is_there_after_a_reload(panel: Panel) -> None:
    panel.section("flows")
    panel.page.wait_for_timeout(1500)  # Lab remembers the layout a second after it changed
    panel.page.reload()
    panel.page.locator("#jupyterlab-splash").wait_for(state="detached", timeout=60_000)
    expect(panel.node).to_be_visible(timeout=20_000)
    expect(panel.lines("components")).to_contain_text("shop")
    expect(panel.lines("flows")).to_have_count(3)


def test_another_kernel_in_its_place_has_no_host(panel: Panel, kernel: Kernel) -> None:
    kernel.become("python3")
    expect(panel.node).to_contain_text("No host is running", timeout=20_000)
    kernel.run("%load_ext aegis_kernel")
