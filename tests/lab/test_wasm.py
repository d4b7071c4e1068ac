"""The chapter on WebAssembly in a real JupyterLab: what a cell shows of a guest that was stopped."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.lab.jupyter import ROOT, Jupyter

NOTEBOOK = "wasm.ipynb"


@pytest.fixture
def notebook(jupyter: Jupyter) -> Iterator[Path]:
    """A copy of the chapter, beside the samples that it builds."""
    (jupyter.folder / "wasm").symlink_to(ROOT / "notebooks" / "wasm")
    path = jupyter.folder / NOTEBOOK
    path.write_text((ROOT / "notebooks" / NOTEBOOK).read_text())
    yield path
    jupyter.started(NOTEBOOK).stop()


@pytest.mark.browser
def test_the_chapter_runs_top_to_bottom_and_shows_where_a_guest_was_stopped(
    open_page: Callable[[str], Page], jupyter: Jupyter, notebook: Path, pictures: Path
) -> None:
    cells = json.loads(notebook.read_text())["cells"]
    places = {cell["id"]: n for n, cell in enumerate(cells)}
    code = sum(cell["cell_type"] == "code" for cell in cells)
    page = open_page("wasm")
    page.set_viewport_size({"width": 1250, "height": 1000})
    page.goto(jupyter.lab(NOTEBOOK, "wasm"))
    page.get_by_text("Aegis | Idle").wait_for(timeout=60_000)
    page.get_by_text("Run", exact=True).first.click()
    page.get_by_text("Run All Cells", exact=True).click()
    page.locator(f".jp-InputPrompt:has-text('[{code}]:')").wait_for(timeout=60_000)

    def output(name: str) -> Locator:
        cell = page.locator(f".jp-Notebook .jp-Cell[data-windowed-list-index='{places[name]}']")
        while not cell.count():  # what is far away is not drawn
            page.mouse.wheel(0, -600)
            page.wait_for_timeout(50)
        found = cell.locator(".jp-OutputArea-output").last
        found.scroll_into_view_if_needed()
        return found

    page.mouse.move(700, 500)
    expect(output("graph").locator("svg").first).to_be_visible()
    page.screenshot(path=str(pictures / "wasm-graph.png"))
    expect(output("shipment")).to_contain_text("signed by Ada")
    expect(output("closed")).to_have_text(re.compile(r"^\s*\{201: \d+\}\s*$"))
    expect(output("then")).to_contain_text("stopped as then")
    page.screenshot(path=str(pictures / "wasm-mended.png"))
    expect(output("replay")).to_contain_text("stopped as then")
    page.screenshot(path=str(pictures / "wasm-trap.png"))
    trap = output("trap")
    expect(trap).to_contain_text("it divided by zero, in each")
    expect(trap).to_contain_text("cell 1, line 20")
    expect(trap).not_to_contain_text(".py")
    expect(output("wat")).to_contain_text("a module in WebAssembly")
    page.screenshot(path=str(pictures / "wasm-cell.png"))
