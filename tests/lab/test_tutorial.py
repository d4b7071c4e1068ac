"""The tutorial runs from top to bottom in a real JupyterLab, in a real browser."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from urllib.request import urlopen

import pytest
from playwright.sync_api import Page, expect

from tests.lab.jupyter import ROOT, Jupyter, Kernel, announced
from tests.lab.pages import Panel, ready

NOTEBOOK = "orders.ipynb"
# The cells that leave something failed: a flow that was declined, an event that nobody could take.
FAILING = [
    "configure",
    "component",
    "order-create",
    "flow",
    "api",
    "later",
    "declined",
    "file-write",
    "file-watch",
    "file-fails",
    "file-mend",
]
ORDERS = """
end = time.monotonic() + 20
while time.monotonic() < end:
    host.create(Order, items=[lamp], auto_checkout=True, **guest)
    time.sleep(0.1)
"""


@pytest.fixture
def partners(tmp_path: Path) -> Iterator[str]:
    process = subprocess.Popen(
        [
            sys.executable,
            str(ROOT / "notebooks" / "partners.py"),
            "--port",
            "0",
            "--ledger",
            str(tmp_path / "ledger"),
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        yield announced(process, r"http://[\d.]+:\d+")
        process.terminate()


@pytest.fixture
def notebook(jupyter: Jupyter, partners: str) -> Iterator[Path]:
    """A copy of the tutorial that knows these partners."""
    document = json.loads((ROOT / "notebooks" / NOTEBOOK).read_text())
    for cell in document["cells"]:
        if "parameters" in cell["metadata"].get("tags", ()):
            cell["source"] = f'partners = "{partners}"'
    path = jupyter.folder / NOTEBOOK
    path.write_text(json.dumps(document))
    yield path
    jupyter.started(NOTEBOOK).stop()


def _saved(notebook: Path, page: Page, count: int) -> list[dict[str, object]]:
    """What the cells of the saved notebook show, as soon as it has the output of cell `count`."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        # Jupyter writes over the file, so it may be read half written.
        with suppress(json.JSONDecodeError):
            cells = json.loads(notebook.read_text())["cells"]
            if any(cell.get("execution_count") == count for cell in cells):
                return [output for cell in cells for output in cell.get("outputs", ())]
        page.wait_for_timeout(50)
    raise AssertionError(f"cell {count} was not saved")


@pytest.mark.browser
def test_the_tutorial_runs_top_to_bottom_in_jupyterlab(
    open_page: Callable[[str], Page], jupyter: Jupyter, notebook: Path, pictures: Path
) -> None:
    page = open_page("tutorial")
    source = json.loads(notebook.read_text())["cells"]
    code = sum(cell["cell_type"] == "code" for cell in source)
    page.goto(jupyter.lab(NOTEBOOK, "tutorial"))
    page.get_by_text("Aegis | Idle").wait_for(timeout=60_000)
    page.get_by_text("Run", exact=True).first.click()
    page.get_by_text("Run All Cells", exact=True).click()
    last = page.locator(f".jp-InputPrompt:has-text('[{code}]:')")
    last.wait_for(timeout=60_000)
    page.screenshot(path=str(pictures / "lab-end.png"))
    page.keyboard.press("Control+s")
    outputs = _saved(notebook, page, code)
    errors = [output for output in outputs if output["output_type"] == "error"]
    assert not errors, errors
    graph = page.locator(".jp-OutputArea-output svg").first
    graph.scroll_into_view_if_needed()
    page.mouse.move(700, 500)
    page.mouse.wheel(0, 420)
    page.wait_for_timeout(300)
    expect(graph).to_be_visible()
    page.screenshot(path=str(pictures / "lab-graph.png"))
    address = re.search(r"http://127\.0\.0\.1:\d+", json.dumps(outputs))
    assert address, "no cell showed where the API is"
    with urlopen(f"{address[0]}/readyz") as answer:
        assert answer.status == 200


@pytest.mark.browser
@pytest.mark.skipif("AEGIS_PICTURES" not in os.environ, reason="AEGIS_PICTURES names no folder")
def test_a_picture_of_what_failed_beside_the_graph(
    open_page: Callable[[str], Page],
    jupyter: Jupyter,
    notebook: Path,
    start: Callable[..., Kernel],
    pictures: Path,
) -> None:
    """Orders go through while it is taken; the one in the list failed before the file was mended."""
    kernel = start(NOTEBOOK)
    cells = json.loads(notebook.read_text())["cells"]
    sources = {cell["id"]: cell["source"] for cell in cells}
    parameters = next(c["source"] for c in cells if "parameters" in c["metadata"].get("tags", ()))
    kernel.run(parameters, "import time", *("".join(sources[name]) for name in FAILING))
    page = open_page("picture")
    page.set_viewport_size({"width": 1250, "height": 900})
    page.goto(jupyter.lab(workspace="picture"))
    panel = Panel(ready(page))
    panel.open().section("graph").get_by_role("button", name="Open in a tab").click()
    kernel.send(ORDERS)
    thanks = panel.lines("failed").filter(has_text="order.completed \u2192 receipts.thank")
    thanks.locator(".aegis-Line-head").click()
    expect(thanks.locator(".aegis-Facts")).to_contain_text("KeyError")
    expect(thanks.get_by_role("button", name="Retry order.completed")).to_be_visible()
    page.locator(".jp-SideBar.jp-mod-left .lm-mod-current").click()  # the file browser, away
    graph = page.locator("#aegis-graph")
    graph.get_by_role("button", name="Fit").click()
    expect(graph.locator("[data-id='port:orders.Order.verify_delivery']")).to_contain_text("ms")
    expect(panel.pulse).to_contain_text(re.compile(r"[1-9]\d* events/s"))
    page.wait_for_timeout(4000)  # the figures of some more orders
    page.mouse.move(700, 880)
    page.screenshot(path=str(pictures / "panel.png"))
