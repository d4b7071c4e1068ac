"""A page of a browser follows a host's events, over breaks of the line, with its own EventSource."""

import pytest
from playwright.async_api import async_playwright

from aegis.adapters.http.server import start
from aegis.api.router import Router
from tests.lab.conftest import CALM, CHROMIUM

pytestmark = pytest.mark.browser

NOTES = 'from aegis import Model\nclass Note(Model, endpoint="notes"):\n    text: str\n'
FOLLOW = """() => {
    window.seen = [];
    window.opened = 0;
    const source = new EventSource('/aegis/api/events?token=hush&type=note.*');
    source.onopen = () => window.opened++;
    source.onmessage = () => window.seen.push('an event without its type');
    source.addEventListener('note.created', ({ data, lastEventId }) => {
        const { seq } = JSON.parse(data);
        window.seen.push(seq === Number(lastEventId) ? seq : lastEventId);
    });
}"""


async def test_an_event_source_misses_nothing_and_hears_nothing_twice(host):
    await host.deploy("notes", "1.0.0", NOTES)
    server = await start(Router(host, token="hush"), "127.0.0.1", 0)
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=CALM)
        page = await browser.new_page()
        await page.goto(f"{server.address}/healthz")
        await page.evaluate(FOLLOW)
        await page.wait_for_function("opened === 1")
        # The first break comes before there was any event to come again after.
        for seq in (3, 6):
            await server.close()
            for _ in range(2):
                await host.create("Note", text="while it is away")
            server = await start(Router(host, token="hush"), "127.0.0.1", server.port)
            await page.wait_for_function(f"seen.length === {seq - 1}")
            await host.create("Note", text="while it is there")
            await page.wait_for_function(f"seen.length === {seq}")
        assert await page.evaluate("seen") == [1, 2, 3, 4, 5, 6]
        await browser.close()
    await server.close()
