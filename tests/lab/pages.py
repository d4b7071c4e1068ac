"""Pages as a person uses them: the panel, a notebook; and the shop that they show."""

from __future__ import annotations

import re

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Locator, Page, TimeoutError, expect

from tests.lab.jupyter import until

MARKUP = "<img src=x onerror='window.broken = 1'>"
NAME = "🛒" * 5 + "x" * 195
SHOP = f'''\
%%component shop 1.0.0
"""Orders 🛒 and what is paid for them."""
import logging
from pathlib import Path
from typing import Protocol
from aegis import Event, Model, Refused, adapter, command, emit, on, port

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

    @command
    def ring(self, times: int) -> None:
        for n in range(times):
            emit("order.rang", n=n)

class Till(Bank):
    async def pay(self, name: str) -> None:
        if name == "broke":
            raise Refused("there is no money {MARKUP}")

@on("order.paid")
async def thank(event: Event):
    if Path("mute").exists():
        raise Refused("nobody hears {MARKUP}")
    logging.getLogger(__name__).warning("thanked %s", event.subject)
'''


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
        entry = self.page.locator(".lm-CommandPalette-input")
        item = self.page.locator(".lm-CommandPalette-item.lm-mod-active", has_text=title)

        def chosen() -> bool:
            # It goes away when something else takes the focus, as pages do while they load.
            self.page.get_by_text("View", exact=True).click()
            self.page.get_by_text("Activate Command Palette").click()
            try:
                entry.fill(title, timeout=3000)
                item.wait_for(timeout=3000)
                entry.press("Enter", timeout=3000)
            except TimeoutError:
                return False
            return True

        until(chosen, f"the palette does not open, or has no command {title!r}", 60)

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


class Document:
    """A notebook that is open in a page of Lab."""

    def __init__(self, page: Page) -> None:
        self._page = page
        self._node = page.locator(".jp-NotebookPanel:visible")
        self._idle("Aegis")

    def _idle(self, kernel: str) -> None:
        self._page.get_by_text(f"{kernel} | Idle").wait_for(timeout=30_000)

    def run(self, cell: int) -> None:
        """Run one of its cells, to its end."""
        node = self._node.locator(".jp-CodeCell").nth(cell)
        node.locator(".cm-content").click()
        before = node.locator(".jp-InputPrompt").first.inner_text()
        self._page.keyboard.press("Control+Enter")
        prompt = node.locator(".jp-InputPrompt").first
        expect(prompt).not_to_have_text(before)
        expect(prompt).to_have_text(re.compile(r"\[\d+\]:"), timeout=30_000)

    def save(self) -> None:
        self._page.keyboard.press("Control+s")
        expect(self._page.locator(".jp-mod-dirty")).to_have_count(0)

    def change_kernel(self, title: str) -> None:
        self._page.get_by_text("Kernel", exact=True).first.click()
        self._page.get_by_text("Change Kernel…").click()
        dialog = self._page.locator(".jp-Dialog")
        dialog.locator("select").select_option(label=title)
        dialog.locator(".jp-mod-accept").click()
        self._idle(title)
        # The new one counts from one again: what ran before shall not look like what runs next.
        self._page.get_by_text("Edit", exact=True).first.click()
        self._page.get_by_text("Clear Outputs of All Cells").click()


def ready(page: Page) -> Page:
    """A page of Lab, as soon as it is there."""
    page.locator("#jupyterlab-splash").wait_for(state="detached", timeout=60_000)
    return page


def barriers(page: Page, *places: str) -> list[str]:
    """What keeps people from using these parts of a page, as far as axe can tell."""
    found = Axe().run(page, context={"include": [[place] for place in places]})
    return [
        f"{rule['id']}: {node['html'][:200]} {node['failureSummary']}"
        for rule in found.response["violations"]
        if rule["impact"] in {"serious", "critical"}
        for node in rule["nodes"]
    ]
