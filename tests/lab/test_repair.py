"""What waits, what stopped and what failed, seen and mended by a person in a real JupyterLab."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.lab.jupyter import Jupyter, Kernel
from tests.lab.pages import MARKUP, Panel, barriers, ready

pytestmark = pytest.mark.browser

DEPOT = f"""\
%%component depot 1.0.0
from pathlib import Path
from typing import Protocol
from aegis import Event, Model, Refused, Waiting, adapter, command, on, port, waiting

class Van(Protocol):
    async def load(self, what: str) -> None: ...
    async def unload(self, what: str) -> None: ...
    async def drive(self, what: str) -> None: ...

class Parcel(Model, endpoint="parcels"):
    name: str
    weight: int = 1
    shelf: str | None = None

    @port(consumes="parcel.created", produces="parcel.loaded", retries=0)
    async def load(self, van: Van = adapter()) -> None:
        await van.load(self.name)

    @load.undo(retries=0)
    async def unload(self, van: Van = adapter()) -> None:
        await van.unload(self.name)

    @port(consumes=load, produces="parcel.picked")
    async def pick(self) -> "Parcel | Waiting":
        return waiting("warehouse.picked", by="parcel", deadline=3600)

    @pick.answer
    def picked(self, event: Event) -> "Parcel":
        return self.update(shelf=event.data["shelf"])

    @port(consumes=pick, produces="parcel.driven", retries=0,
          breaker={{"volume": 2, "window": 4, "pause": 600, "longest": 600}})
    async def drive(self, van: Van = adapter()) -> None:
        await van.drive(self.name)

    @command
    async def honk(self, van: Van = adapter()) -> None:
        await van.drive(self.name)

class Truck(Van):
    async def load(self, what: str) -> None: ...

    async def unload(self, what: str) -> None:
        if not Path("crane").exists():
            raise Refused("there is no crane {MARKUP}")

    async def drive(self, what: str) -> None:
        if what == "heavy":
            raise Refused("too heavy {MARKUP}")
        if what == "flat":
            raise OSError("a flat tyre")

@on("parcel.created", retries=0)
async def weigh(event: Event) -> None:
    if event.data["changed"]["weight"] > 100:
        raise Refused(f"{{event.subject}} is over 100 {MARKUP}")
"""


@pytest.fixture(scope="module")
def kernel(start: Callable[..., Kernel]) -> Kernel:
    """A kernel with a parcel that waits, one that failed and cannot be undone, and heavy ones."""
    kernel = start("depot.ipynb")
    kernel.run(
        DEPOT,
        """
for id in ("waits", "heavy", "flat-1", "flat-2", "flat-3"):
    parcel = host.create("Parcel", id=id, name=id.partition("-")[0])
for id in ("heavy", "flat-1", "flat-2", "flat-3"):
    host.publish("warehouse.picked", parcel=id, shelf="A1")
host.wait(host.get("Parcel", "heavy"))
for n in range(3):
    host.create("Parcel", id=f"fat-{n}", name="fat", weight=100 + n + 1)
""",
    )
    return kernel


@pytest.fixture(scope="module")
def page(open_page: Callable[[str], Page], jupyter: Jupyter, kernel: Kernel) -> Page:
    page = open_page("repair")
    page.goto(jupyter.lab(workspace="repair"))
    return ready(page)


@pytest.fixture(scope="module")
def panel(page: Page) -> Panel:
    return Panel(page).open()


def test_a_flow_that_waits_says_for_what_and_for_how_long(panel: Panel, pictures: Path) -> None:
    flows = panel.section("flows")
    waits = flows.locator(".aegis-Line", has=panel.page.get_by_title("waits", exact=True))
    expect(waits).to_contain_text("waits for warehouse.picked")
    waits.first.locator(".aegis-Line-head").click()
    note = waits.first.locator(".aegis-Step-waits").last
    expect(note).to_have_text(re.compile(r"waits for warehouse\.picked · \d+:\d\d left"))
    before = note.inner_text()
    expect(note).not_to_have_text(before)
    panel.page.screenshot(path=str(pictures / "waits.png"))


def test_an_undo_that_stopped_is_continued_and_skipped(
    panel: Panel, kernel: Kernel, pictures: Path
) -> None:
    flows = panel.section("flows")
    heavy = flows.locator(".aegis-Line", has=panel.page.get_by_title("heavy", exact=True))
    expect(heavy).to_contain_text("compensation failed at load")
    heavy.locator(".aegis-Line-head").click()
    stopped = heavy.locator(".aegis-Stopped")
    expect(stopped).to_contain_text(f"there is no crane {MARKUP}")
    panel.page.screenshot(path=str(pictures / "stopped.png"))
    stopped.get_by_role("button", name="Continue").click()
    expect(panel.told).to_contain_text("goes on")
    expect(stopped).to_be_visible()
    stopped.get_by_role("button", name="Skip").click()
    dialog = panel.page.locator(".jp-Dialog")
    expect(dialog).to_contain_text("What load did at its partner stays as it is")
    panel.page.screenshot(path=str(pictures / "skip.png"))
    panel.accept()
    expect(heavy).to_contain_text("compensated")
    expect(stopped).to_have_count(0)
    told = kernel.run(
        "print([s.state for _, ss in host.flows(host.get('Parcel', 'heavy')) for s in ss])"
    )
    assert "undo skipped" in str(told)


def test_failures_stand_in_groups_and_their_input_is_edited(panel: Panel, pictures: Path) -> None:
    failed = panel.section("failed")
    groups = failed.locator(".aegis-Section > .aegis-List-frame > .aegis-List > .aegis-Line")
    weighed = groups.filter(has_text="weigh")
    group = weighed.filter(has_text="3 failures")
    expect(group).to_contain_text("# is over # <img src=x")
    group.locator(".aegis-Line-head").first.click()
    one = group.locator(".aegis-Line").first
    one.locator(".aegis-Line-head").click()
    box = one.get_by_label("Data of the event, as JSON")
    expect(box).to_have_value(re.compile('"weight": 101'))
    box.fill("{")
    one.get_by_role("button", name="Retry with this input").click()
    expect(one.locator("form .aegis-Problem")).to_contain_text("This is no JSON")
    panel.page.screenshot(path=str(pictures / "group.png"))
    for theme in ("Dark", "Light"):
        panel.command(f"JupyterLab {theme}")
        assert barriers(panel.page, "#aegis-panel") == []
    one.get_by_role("button", name="Reset").click()
    box.fill(box.input_value().replace('"weight": 101', '"weight": 99'))
    one.get_by_role("button", name="Retry with this input").click()
    expect(panel.told).to_contain_text("1 event taken")
    expect(group).to_have_count(0)
    group = weighed.filter(has_text="2 failures")
    group.get_by_role("button", name="Discard all").click()
    panel.accept()
    expect(weighed).to_have_count(0)


def test_why_is_followed_from_a_flow(panel: Panel, pictures: Path) -> None:
    flows = panel.section("flows")
    flows.locator(".aegis-Line-head").first.click()
    flows.get_by_role("button", name="Why").first.click()
    history = panel.node.locator("#aegis-page-history")
    expect(history.locator("details pre")).to_contain_text("parcel.created")
    expect(history.locator("svg")).to_be_visible()
    panel.page.screenshot(path=str(pictures / "why.png"))
    assert barriers(panel.page, "#aegis-panel") == []
    history.get_by_role("button", name="Open in a tab").click()
    tab = panel.page.locator("#aegis-history")
    expect(tab.locator("svg.aegis-tree")).to_be_visible()
    tab.get_by_role("button", name="Replay").click()
    expect(tab.locator(".aegis-Badge")).to_have_text("The same comes out")
    expect(tab).to_contain_text("on depot@1.0.0")
    panel.page.screenshot(path=str(pictures / "replay.png"))
    assert barriers(panel.page, "#aegis-history") == []
    panel.page.locator(".lm-TabBar-tab", has_text="History of").locator(
        ".lm-TabBar-tabCloseIcon"
    ).click()
    expect(tab).to_have_count(0)


def test_an_open_breaker_says_how_long_its_partner_is_left_alone(
    panel: Panel, pictures: Path
) -> None:
    graph = panel.section("graph")
    graph.get_by_label("As a table").check()
    drive = graph.locator("tr", has_text="Parcel.drive")
    expect(drive.locator("td").first).to_have_text(re.compile(r"⊘ open · \d:\d\d left"))
    drive.get_by_role("button").click()
    expect(graph.locator(".aegis-Chosen")).to_contain_text("asks again:")
    panel.page.screenshot(path=str(pictures / "breaker.png"))
    graph.get_by_label("As a table").uncheck()
