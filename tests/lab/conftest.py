"""What the browser tests share: one Jupyter server, one browser for each module, pages of it."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, sync_playwright

from tests.lab.jupyter import Jupyter, Kernel

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
# What Jupyter and the browser say by themselves. A notebook's own connection to its kernel hears
# when a kernel ends a comm of ours, and says that it does not know it.
NOT_OURS = re.compile(
    r"Comm not found|reading 'schema'|filebrowser:open-path"
    r"|Failed to load resource|WebSocket connection to .* failed|ResizeObserver|net::ERR_"
)


@pytest.fixture(scope="session")
def jupyter(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Jupyter]:
    """JupyterLab 4 and Notebook 7."""
    server = Jupyter(tmp_path_factory.mktemp("jupyter"))
    yield server
    server.close()


# No longer than a module: while Playwright runs, its event loop counts as that of the thread.
@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=CALM)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where screenshots go: the folder AEGIS_PICTURES names, for whoever wants to look at them."""
    folder = Path(os.environ.get("AEGIS_PICTURES") or tmp_path_factory.mktemp("pictures"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


class Complaints(list[str]):
    """What pages say on their consoles that is wrong."""

    def watch(self, page: Page) -> Page:
        page.on("console", self._read)
        page.on("pageerror", lambda error: self._hear(str(error)))
        return page

    def _read(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self._hear(f"{message.text} {message.location}")

    def _hear(self, text: str) -> None:
        if not NOT_OURS.search(text):
            self.append(text)


@pytest.fixture(scope="module")
def complaints() -> Iterator[Complaints]:
    complaints = Complaints()
    yield complaints
    assert not complaints


@pytest.fixture(scope="module")
def open_page(
    browser: Browser, complaints: Complaints, pictures: Path
) -> Iterator[Callable[[str], Page]]:
    """Makes pages, each in a browser profile of its own; their last sight is kept under a name."""
    pages: dict[str, Page] = {}

    def make(name: str) -> Page:
        context = browser.new_context(viewport={"width": 1400, "height": 1000})
        pages[name] = complaints.watch(context.new_page())
        return pages[name]

    yield make
    for name, page in pages.items():
        page.screenshot(path=str(pictures / f"{name}-last.png"))
        page.context.close()


@pytest.fixture(scope="module")
def start(jupyter: Jupyter) -> Iterator[Callable[..., Kernel]]:
    """Starts kernels without a document, that end with the module."""
    kernels = []

    def start(document: str, kernel: str = "aegis") -> Kernel:
        kernels.append(jupyter.start(document, kernel))
        return kernels[-1]

    yield start
    for kernel in kernels:
        kernel.stop()
