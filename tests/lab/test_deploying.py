"""From a file to what serves, by a person in a real JupyterLab: plan, gate, split, promote, back."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.lab.jupyter import Jupyter, Kernel
from tests.lab.pages import MARKUP, Panel, barriers, ready

pytestmark = pytest.mark.browser

STAMPS = """\
from aegis import Model, command, port

class Stamp(Model, endpoint="stamps"):
    text: str = ""
    cents: int = 80

    @port(consumes="stamp.created", produces="stamp.printed")
    def print(self) -> "Stamp":
        return self.update(text="for " + str(self.cents))

    @command(produces="stamp.burnt")
    def burn(self) -> "Stamp":
        return self.update(text="")
"""
# What is printed is otherwise, nothing is burnt any more, and each is sold.
NEXT = f"""\
__version__ = "1.1.0"
{STAMPS.partition("    @command")[0].replace('"for "', '"worth "')}
    @port(consumes=print, produces="stamp.sold")
    def sell(self) -> None:
        '''Sells it {MARKUP}'''
"""
PRINT = """
for n in range({first}, {first} + 20):
    host.wait(host.create("Stamp", id=f"s{{n}}"))
"""


@pytest.fixture(scope="module")
def kernel(start: Callable[..., Kernel], jupyter: Jupyter) -> Kernel:
    """A kernel that serves stamps 1.0.0 from a cell, beside a file with 1.1.0."""
    kernel = start("stamps.ipynb")
    kernel.run(f"%%component stamps 1.0.0\n{STAMPS}", PRINT.format(first=0))
    (jupyter.folder / "stamps.py").write_text(NEXT)
    return kernel


@pytest.fixture(scope="module")
def panel(open_page: Callable[[str], Page], jupyter: Jupyter, kernel: Kernel) -> Panel:
    page = open_page("deploying")
    page.goto(jupyter.lab(workspace="deploying"))
    return Panel(ready(page)).open()


def side(split: Locator, which: str, what: str) -> Locator:
    """A figure of one side of a split."""
    return split.locator(f"[data-side={which}][data-column={what}]")


def test_a_person_brings_a_new_version_by_degrees_and_back(
    panel: Panel, kernel: Kernel, pictures: Path
) -> None:
    page = panel.page
    components = panel.section("components")
    address = components.get_by_role("textbox", name="Source of a component")
    address.fill("./nowhere.py")
    address.press("Enter")
    expect(components.get_by_role("alert")).to_contain_text("nowhere.py")

    # What it would make different.
    address.fill("./stamps.py")
    address.press("Enter")
    plan = components.get_by_role("region", name="Plan", exact=True)
    expect(plan).to_contain_text("1.0.0 → 1.1.0")
    expect(plan.locator("[data-sign='!']").first).to_contain_text("stamps.Stamp.burn is gone")
    picture = plan.locator("svg")
    expect(picture.locator("g.node.removed").first).to_be_visible()
    expect(picture.locator("g.node.added").first).to_be_visible()
    page.screenshot(path=str(pictures / "plan.png"))
    for theme in ("Dark", "Light"):
        panel.command(f"JupyterLab {theme}")
        page.locator("#jupyterlab-splash").wait_for(state="detached")
        plan.screenshot(path=str(pictures / f"plan-{theme.lower()}.png"))
        assert barriers(page, "#aegis-panel") == []

    # What was recorded comes to something else; that is told while a cell runs.
    kernel.send("import time; time.sleep(3)")
    plan.get_by_role("button", name="Gate").click()
    gate = plan.get_by_role("group", name="Gate")
    expect(gate).to_contain_text(re.compile(r"the gate refuses it .*20 differ"))
    assert kernel.is_busy
    gate.locator("summary").first.click()
    expect(gate).to_contain_text("worth 80")
    page.screenshot(path=str(pictures / "gate.png"))

    # It is meant so: half of them, then some more.
    plan.get_by_role("spinbutton", name="Share").fill("50")
    plan.get_by_role("button", name="Split").click()
    expect(panel.told).to_contain_text("stamps 1.1.0 gets 50 %")
    split = components.get_by_role("group", name="Split of stamps")
    expect(side(split, "candidate", "version")).to_have_text("1.1.0")
    kernel.run(PRINT.format(first=100))
    expect(side(split, "candidate", "p99")).to_have_text(re.compile(r"\d"))
    expect(side(split, "live", "calls")).not_to_have_text("0")
    before = side(split, "candidate", "calls").inner_text()
    split.get_by_role("spinbutton", name="Share").fill("90")
    split.get_by_role("button", name="Set share").click()
    expect(side(split, "candidate", "share")).to_have_text("90 %")
    kernel.run(PRINT.format(first=200))
    expect(side(split, "candidate", "calls")).not_to_have_text(before)
    page.screenshot(path=str(pictures / "split.png"))
    assert barriers(page, "#aegis-panel") == []
    back = components.get_by_role("button", name="Roll back")
    expect(back).to_have_attribute("aria-disabled", "true")

    # For all, and back again.
    split.get_by_role("button", name="Promote").click()
    expect(panel.told).to_contain_text("stamps 1.1.0 serves all now")
    expect(split).to_have_count(0)
    page.screenshot(path=str(pictures / "promoted.png"))
    expect(components.locator(".aegis-Facts")).to_contain_text("by panel")
    back.click()
    panel.accept()
    expect(panel.told).to_contain_text("stamps 1.0.0 serves again")
    said = kernel.run('print(host.wait(host.create("Stamp")) and host.components())')
    assert "stamps 1.0.0" in said
    assert page.locator("img[src='x']").count() == 0
    assert page.evaluate("window.broken") is None
