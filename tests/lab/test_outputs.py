"""What cells show of a host: alive in JupyterLab and Notebook 7, after a reload and a restart too."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.lab.jupyter import Jupyter, Kernel
from tests.lab.pages import MARKUP, SHOP, Document, Panel, barriers, ready

pytestmark = pytest.mark.browser

LIVE = "live.ipynb"
CELLS = (
    SHOP,
    "host.graph()",
    "host.ports()",
    'host.events("order.*")',
    'order = host.create("Order", id="one", name="broke")\nhost.wait(order)\nhost.flow(order)',
    "host.components()",
    'with host.trace():\n    host.wait(host.create("Order", id="two", name="n"))',
)
VIEWS = ("graph", "ports", "events", "flow", "components", "trace")


class Outputs:
    """The views in the outputs of a notebook."""

    def __init__(self, page: Page) -> None:
        self.page = page

    def __getitem__(self, view: str) -> Locator:
        return self.page.locator(f".jp-Notebook .aegis-Output[data-view={view}]")

    @property
    def created(self) -> Locator:
        """The node of the event that every new order sets off, as a screen reader says it."""
        return self["graph"].locator('[data-id="event:order.created"]')

    def are_alive(self, kernel: Kernel, id: str) -> None:
        """Another order shows in all of them."""
        for view in ("graph", "ports", "events", "components"):
            expect(self[view]).to_be_visible(timeout=20_000)
            expect(self[view]).to_have_attribute("data-link", "live", timeout=20_000)
        kernel.run(f'host.wait(host.create("Order", id={id!r}, name="n"))')
        orders = kernel.run('print(host.graph().figures["event:order.created"].calls)').strip()
        expect(self.created).to_have_attribute("aria-label", re.compile(rf"\b{orders} so far"))
        expect(self["ports"]).to_contain_text("pay")
        expect(self["events"]).to_contain_text(id)
        expect(self["components"]).to_contain_text("shop")


@pytest.fixture(scope="module")
def page(open_page: Callable[[str], Page], jupyter: Jupyter) -> Iterator[Page]:
    jupyter.write(LIVE, *CELLS)
    page = open_page("outputs")
    page.goto(jupyter.lab(LIVE, "outputs"))
    yield ready(page)
    jupyter.started(LIVE).stop()


@pytest.fixture(scope="module")
def document(page: Page) -> Document:
    document = Document(page)
    for cell in range(len(CELLS)):
        document.run(cell)
    document.save()
    return document


@pytest.fixture(scope="module")
def kernel(jupyter: Jupyter, document: Document) -> Kernel:
    return jupyter.started(LIVE)


@pytest.fixture(scope="module")
def outputs(document: Document, page: Page) -> Outputs:
    return Outputs(page)


def test_they_are_drawn_and_go_on(outputs: Outputs, kernel: Kernel) -> None:
    for view in VIEWS:
        expect(outputs[view]).to_have_count(1)
    expect(outputs["flow"]).to_contain_text(MARKUP)
    expect(outputs["trace"].locator("svg")).to_be_visible()
    outputs.are_alive(kernel, "three")
    expect(outputs.page.locator("img[src='x']")).to_have_count(0)
    assert outputs.page.evaluate("window.broken") is None


@pytest.mark.parametrize("theme", ["Dark", "Light"])
def test_everybody_can_use_them(outputs: Outputs, pictures: Path, theme: str) -> None:
    Panel(outputs.page).command(f"JupyterLab {theme}")
    for view in VIEWS:
        outputs[view].scroll_into_view_if_needed()
        outputs[view].screenshot(path=str(pictures / f"output-{view}-{theme.lower()}.png"))
    assert not barriers(outputs.page, ".aegis-Output")


def test_they_are_alive_after_a_reload(outputs: Outputs, kernel: Kernel) -> None:
    ready(outputs.page).reload()
    ready(outputs.page)
    outputs.are_alive(kernel, "four")


def test_they_are_alive_after_a_restart_without_a_reload(outputs: Outputs, kernel: Kernel) -> None:
    outputs.page.evaluate("window.same = true")
    kernel.restart()
    kernel.run(SHOP)
    outputs.are_alive(kernel, "five")
    assert outputs.page.evaluate("window.same"), "the page was loaded anew"


def test_they_and_the_panel_are_in_notebook_7(
    jupyter: Jupyter, open_page: Callable[[str], Page], kernel: Kernel, pictures: Path
) -> None:
    page = open_page("notebook")
    page.goto(jupyter.notebook(LIVE))
    outputs = Outputs(page)
    outputs.are_alive(kernel, "six")
    panel = Panel(page).open()
    expect(panel.lines("components")).to_contain_text("shop")
    page.screenshot(path=str(pictures / "notebook.png"))
    assert not barriers(page, "#aegis-panel")
