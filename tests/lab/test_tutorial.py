"""The tutorial runs from top to bottom in a real JupyterLab, in a real browser."""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import pytest
from playwright.sync_api import Page, expect, sync_playwright

ROOT = Path(__file__).parents[2]
CHROMIUM = next(
    (
        path
        for name in ("chromium", "chromium-browser", "google-chrome")
        if (path := shutil.which(name)) is not None
    ),
    None,
)
CALM = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def _until_announced(process: subprocess.Popen[str], pattern: str) -> str:
    """Read what a program prints until it says where it listens."""
    assert process.stdout is not None
    for line in process.stdout:
        found = re.search(pattern, line)
        if found:
            return found[0]
    raise AssertionError(f"{process.args} ended without saying where it listens")


def _until_answers(address: str) -> None:
    """A server may say where it listens a moment before it does."""
    deadline = time.monotonic() + 30
    while True:
        try:
            urlopen(address).close()
        except URLError:
            assert time.monotonic() < deadline, f"{address} does not answer"
            time.sleep(0.1)
        else:
            return


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
        yield _until_announced(process, r"http://[\d.]+:\d+")
        process.terminate()


@pytest.fixture
def lab(tmp_path: Path, partners: str) -> Iterator[str]:
    """The address of a JupyterLab over a copy of the tutorial that knows these partners."""
    notebook = json.loads((ROOT / "notebooks" / "orders.ipynb").read_text())
    for cell in notebook["cells"]:
        if "parameters" in cell["metadata"].get("tags", ()):
            cell["source"] = f'partners = "{partners}"'
    work = tmp_path / "notebooks"
    work.mkdir()
    (work / "orders.ipynb").write_text(json.dumps(notebook))
    # Lab asks once whether it may fetch news; whoever looks at the picture wants to see it all.
    news = tmp_path / "settings" / "@jupyterlab" / "apputils-extension"
    news.mkdir(parents=True)
    (news / "notification.jupyterlab-settings").write_text('{"fetchNews": "false"}')
    token = secrets.token_hex()
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "jupyterlab",
            "--no-browser",
            "--allow-root",
            "--ServerApp.port=0",
            f"--IdentityProvider.token={token}",
            f"--ServerApp.root_dir={work}",
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        env={
            **os.environ,
            "JUPYTER_CONFIG_DIR": str(tmp_path / "config"),
            "JUPYTERLAB_SETTINGS_DIR": str(tmp_path / "settings"),
        },
    )
    with process:
        address = _until_announced(process, r"http://(localhost|127\.0\.0\.1):\d+")
        _until_answers(f"{address}/api")
        yield f"{address}/lab/tree/orders.ipynb?token={token}"
        process.send_signal(signal.SIGTERM)
        assert process.stdout is not None
        process.stdout.read()


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Page]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=CALM)
        page = browser.new_page(viewport={"width": 1400, "height": 1000})
        yield page
        page.screenshot(path=str(_pictures(tmp_path) / "lab-last.png"))
        browser.close()


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
    page: Page, lab: str, tmp_path: Path
) -> None:
    notebook = tmp_path / "notebooks" / "orders.ipynb"
    source = json.loads(notebook.read_text())["cells"]
    code = sum(cell["cell_type"] == "code" for cell in source)
    page.goto(lab)
    page.get_by_text("Aegis | Idle").wait_for(timeout=60_000)
    page.get_by_text("Run", exact=True).first.click()
    page.get_by_text("Run All Cells", exact=True).click()
    last = page.locator(f".jp-InputPrompt:has-text('[{code}]:')")
    last.wait_for(timeout=60_000)
    page.screenshot(path=str(_pictures(tmp_path) / "lab-end.png"))
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
    page.screenshot(path=str(_pictures(tmp_path) / "lab-graph.png"))
    address = re.search(r"http://127\.0\.0\.1:\d+", json.dumps(outputs))
    assert address, "no cell showed where the API is"
    with urlopen(f"{address[0]}/readyz") as answer:
        assert answer.status == 200


def _pictures(tmp_path: Path) -> Path:
    """Where screenshots go: the folder AEGIS_PICTURES names, for whoever wants to look at them."""
    folder = Path(os.environ.get("AEGIS_PICTURES", tmp_path))
    folder.mkdir(parents=True, exist_ok=True)
    return folder
