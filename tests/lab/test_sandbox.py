"""A component in WebAssembly in a real JupyterLab: what it may and costs, stopped calls, and again."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.lab.jupyter import Jupyter, Kernel
from tests.lab.pages import Panel, barriers, ready
from tests.wasm.modules import module

pytestmark = pytest.mark.browser

BANK = module(
    {
        "name": "bank",
        "version": "1.0.0",
        "limits": {"seconds": 0.1},
        "models": {
            "Account": {
                "endpoint": "accounts",
                "fields": {"owner": {"type": "string", "default": "Ada"}},
                "ports": {"audit": {"consumes": ["account.created"]}},
                "commands": {"close": {}, "open": {}, "once": {}},
            }
        },
    },
    {"Account.close": "!it is not empty", "Account.audit": "null"},
    imports='(import "aegis:component/clock@0.1.0" "now" (func $now (result i64)))',
    functions="""
        (global $asked (mut i32) (i32.const 0))
        (func $once (result i64)
          (if (global.get $asked) (then unreachable))
          (global.set $asked (i32.const 1))
          (i64.const 0))
        (func $count_for_ever (result i64) (loop br 0) (i64.const 0))
        (func $vault (result i64) call $count_for_ever)
    """,
    bodies={"Account.open": "(call $vault)", "Account.once": "(call $once)"},
)
# The backtrace of `open`, with where each function begins.
NAMED = [
    re.compile(rf"^{name} bank\.wat, line \d+$") for name in ("count_for_ever", "vault", "invoke")
]
DEPLOY = f"""
import wasmtime
from aegis.core.component import Source
wat = {BANK!r}
binary = bytes(wasmtime.wat2wasm(wat))
host.grant("bank", "host.clock")
host.deploy(Source.of("bank", "1.0.0", wat, origin="bank.wat", binary=binary))
account = host.create("Account")
def stopped(name):
    try:
        host.call(account, name)
    except Exception as error:
        print(error)
"""
NOTES = """%%component notes 1.0.0
from aegis import Model

class Note(Model):
    text: str = ""
"""


@pytest.fixture(scope="module")
def kernel(start: Callable[..., Kernel]) -> Kernel:
    kernel = start("bank.ipynb")
    kernel.run(NOTES, DEPLOY)
    return kernel


@pytest.fixture(scope="module")
def panel(open_page: Callable[[str], Page], jupyter: Jupyter, kernel: Kernel) -> Panel:
    page = open_page("sandbox")
    page.goto(jupyter.lab(workspace="sandbox"))
    return Panel(ready(page)).open()


def test_a_person_sees_what_a_sandbox_stopped_and_makes_that_call_again(
    panel: Panel, kernel: Kernel, pictures: Path
) -> None:
    page = panel.page
    components = panel.section("components")
    badges = components.locator(".aegis-Language")
    expect(badges).to_have_text(["Wasm", "Python"])
    components.locator(".aegis-Line-head", has_text="bank").click()
    sandbox = components.get_by_role("group", name="Sandbox of bank")
    expect(sandbox).to_contain_text("0.1 s of computing")
    expect(sandbox).to_contain_text("clock: granted")
    expect(sandbox).to_contain_text("No call was stopped.")

    # What happens comes by itself.
    kernel.run('stopped("open")', 'stopped("once"); stopped("once")')
    lines = sandbox.locator(".aegis-Line-head")
    expect(lines).to_have_count(2)
    expect(lines.nth(0)).to_contain_text("Account.once")
    expect(sandbox).to_contain_text("computed for too long: 1")

    # By keyboard alone: to the other one, open it, on to its button.
    lines.nth(0).focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    trace = sandbox.get_by_role("list", name="Backtrace")
    expect(trace.locator("li")).to_have_text(NAMED)
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    expect(sandbox.get_by_role("button", name="Replay")).to_be_focused()
    page.keyboard.press("Enter")
    outcome = sandbox.get_by_role("status")
    expect(outcome).to_contain_text("stopped as then")
    expect(outcome.locator("li")).to_have_text(NAMED)
    page.screenshot(path=str(pictures / "sandbox.png"))
    for theme in ("Dark", "Light"):
        panel.command(f"JupyterLab {theme}")
        page.locator("#jupyterlab-splash").wait_for(state="detached")
        assert barriers(page, "#aegis-panel") == []
        components.screenshot(path=str(pictures / f"sandbox-{theme.lower()}.png"))

    # What hung on its instance passes in a new one.
    lines.nth(1).click()
    lines.nth(0).click()
    sandbox.get_by_role("button", name="Replay").click()
    expect(outcome).to_contain_text("it passes now")

    picture = panel.section("graph").locator("svg.aegis-graph")
    expect(picture.locator("text.language")).to_have_text("wasm")
    expect(picture.locator("g.node[data-language=wasm]")).to_have_count(5)
    page.screenshot(path=str(pictures / "sandbox-graph.png"))
