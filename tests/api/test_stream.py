"""The journal as server-sent events, by values: what is sent, from where on, to how many."""

import asyncio
import json
from contextlib import asynccontextmanager
from itertools import pairwise

import msgspec
import pytest

from aegis.api import stream as streams
from aegis.api.request import Request
from aegis.api.router import Router
from aegis.core.keep import Keep
from aegis.protocols import Commit

EVENTS = "/aegis/api/events"
NOTES = "/aegis/api/models/notes"
SSE = "text/event-stream"


class Heard:
    """What a client makes of a stream, by the rules of the standard."""

    def __init__(self, pieces):
        self._pieces = pieces
        self._rest = b""
        self.events = []
        self.comments = 0
        self.last = None
        self.retry = None
        self.forgotten = None

    async def until(self, count):
        """Hear on until `count` events came."""
        async with asyncio.timeout(10):
            while len(self.events) < count:
                await self.piece()

    async def piece(self):
        self._rest += await anext(self._pieces)
        *blocks, self._rest = self._rest.split(b"\n\n")
        for block in blocks:
            fields = [line.partition(":") for line in block.decode().split("\n")]
            found = {name: value.removeprefix(" ") for name, _, value in fields if name}
            self.comments += sum(not name for name, _, _ in fields)
            self.last = int(found.get("id", self.last))
            self.retry = found.get("retry", self.retry)
            if found.get("event") == "aegis.forgotten":
                self.forgotten = json.loads(found["data"])["forgotten"]
            elif "data" in found:
                event = json.loads(found["data"])
                assert (found["event"], int(found["id"])) == (event["type"], event["seq"])
                self.events.append(event)
        self.comments += self._rest.count(b":\n")

    async def end(self):
        async with asyncio.timeout(10):
            assert [piece async for piece in self._pieces] == []


class Line:
    """A connection as a request knows it."""

    def __init__(self):
        self.press = None

    def on_hurry(self, press):
        self.press = press


@pytest.fixture
def router(host):
    return Router(host, token=None)


@asynccontextmanager
async def following(router, query="", last=None):
    line = Line()
    headers = {"host": "localhost", "accept": SSE}
    if last is not None:
        headers["last-event-id"] = str(last)
    response = router.handle(Request("GET", EVENTS, query, headers, b"", line.on_hurry))
    assert response.status == 200, response.body
    pieces = response.stream()
    heard = Heard(pieces)
    heard.line = line
    try:
        await heard.piece()
        yield heard
    finally:
        await pieces.aclose()


async def write(host, count=1, text="x"):
    return [await host.create("Note", text=text) for _ in range(count)]


async def test_who_accepts_a_stream_gets_one_and_all_others_pages(call, host):
    await write(host)
    page = await call("GET", EVENTS)
    assert (page.headers["Content-Type"], page.headers["Vary"]) == ("application/json", "Accept")
    for accept in ("*/*", "application/json", f"{SSE};q=0", f"{SSE};q=0.0, */*"):
        assert (await call("GET", EVENTS, accept=accept)).json == page.json
    for accept in (SSE, f"application/json;q=0.1, {SSE.upper()}; q=0.9"):
        stream = await call("GET", EVENTS, accept=accept)
        assert (stream.headers["Content-Type"], stream.headers["Vary"]) == (SSE, "Accept")
        assert (stream.headers["Cache-Control"], stream.body) == ("no-store", b"")


async def test_it_begins_now_and_goes_on(router, host):
    await write(host, 3)
    async with following(router) as heard:
        assert (heard.last, heard.retry) == (3, str(streams.RETRY))
        (note,) = await write(host)
        await heard.until(1)
        (event,) = heard.events
        page = await host.events(after=3)
        assert (event["id"], event["seq"], event["subject"]) == (page[0].id, 4, note.id)
        assert event["data"]["id"] == note.id
        await write(host, 5)
        await heard.until(6)
        assert [event["seq"] for event in heard.events] == list(range(4, 10))


@pytest.mark.parametrize(("query", "last"), [("after=0", None), ("", 0), ("after=2", 0)])
async def test_it_begins_where_it_is_told_to(router, host, query, last):
    await write(host, 3)
    async with following(router, query, last) as heard:
        await heard.until(3)
        assert [event["seq"] for event in heard.events] == [1, 2, 3]


async def test_the_header_of_a_client_that_comes_again_counts_more_than_its_address(router, host):
    await write(host, 5)
    async with following(router, "after=0", 4) as heard:
        await heard.until(1)
        assert [event["seq"] for event in heard.events] == [5]


async def test_page_and_stream_take_the_same_filter(router, host, call):
    note, other = await write(host, 2)
    note = await host.update(note, text="y")
    await host.update(other, text="y")
    await host.update(note, text="z")
    query = f"after=0&type=note.*ed&subject={note.id}"
    page = (await call("GET", f"{EVENTS}?{query}")).json
    assert [event["seq"] for event in page["items"]] == [1, 3, 5]
    async with following(router, query) as heard:
        await heard.until(3)
        assert heard.events == page["items"]
    async with following(router, f"after=0&type=note.created&subject={other.id}") as heard:
        await heard.until(1)
        assert [event["seq"] for event in heard.events] == [2]


@pytest.mark.parametrize(
    ("query", "last", "at_fault"),
    [
        ("after=x", None, "after"),
        ("after=-1", None, "after"),
        ("after=9007199254740993", None, "after"),
        ("after=4", None, "after"),
        ("", "x", "Last-Event-ID"),
        ("after=0", "4", "Last-Event-ID"),
        ("type=%20", None, "type"),
        ("type=", None, "type"),
        ("limit=5", None, "limit"),
        ("aftr=1", None, "aftr"),
    ],
)
async def test_what_it_does_not_know_is_refused_before_it_begins(call, host, query, last, at_fault):
    await write(host, 3)
    given = {} if last is None else {"last_event_id": last}
    refused = await call("GET", f"{EVENTS}?{query}", accept=SSE, **given)
    assert (refused.status, refused.json["parameter"]) == (400, at_fault)


async def test_a_token_comes_in_the_query_as_browsers_can_send_no_header(host, caller):
    call = caller(Router(host, token="hush"))
    assert (await call("GET", EVENTS, accept=SSE)).status == 401
    assert (await call("GET", f"{EVENTS}?token=hush", accept=SSE)).status == 200


async def test_head_and_options_begin_no_stream(call, host):
    head = await call("HEAD", EVENTS, accept=SSE)
    assert (head.status, head.body, head.headers["Content-Type"]) == (200, b"", SSE)
    options = await call("OPTIONS", EVENTS, accept=SSE)
    assert options.headers["Allow"] == "GET, POST, HEAD, OPTIONS"
    assert (await call("DELETE", EVENTS, {}, accept=SSE)).status == 405


async def test_there_is_room_for_so_many_and_again_when_one_left(router, call, monkeypatch):
    monkeypatch.setattr(streams, "STREAMS", 2)
    async with following(router):
        async with following(router):
            full = Router.handle(router, Request("GET", EVENTS, "", {"accept": SSE}))
            assert (full.status, full.header("Retry-After")) == (503, "1")
        async with following(router):
            pass


@pytest.mark.parametrize("first", [0, 3])
async def test_it_ends_when_the_client_is_gone_or_the_server_closes(router, host, first):
    await write(host, first)
    async with following(router, "after=0") as heard:
        await heard.until(first)
        heard.line.press()
        await heard.end()
    assert not host._deploys.broker._woken


async def test_who_hears_nothing_is_told_that_all_is_well_and_where_to_come_again(
    router, host, monkeypatch
):
    monkeypatch.setattr(streams, "HEARTBEAT", 0.05)
    async with following(router, "type=order.*") as heard:
        await heard.piece()
        assert (heard.comments, heard.last) == (1, 0)
        await write(host, 3)
        async with asyncio.timeout(10):
            while heard.last != 3:
                await heard.piece()
        assert heard.events == []
    async with following(router, "type=order.*", heard.last) as heard:
        assert heard.last == 3


async def test_a_search_through_a_long_journal_stops_nobody(router, host, monkeypatch):
    monkeypatch.setattr(streams, "HEARTBEAT", 0.02)
    await write(host)
    (first,) = await host.store.events(0, 1)
    copies = [msgspec.structs.replace(first, id=str(seq)) for seq in range(2, 100_001)]
    await host.store.commit(Commit(events=copies))
    beats, loop = [], asyncio.get_running_loop()

    async def others():
        while True:
            beats.append(loop.time())
            await asyncio.sleep(0)

    turning = asyncio.create_task(others())
    try:
        async with following(router, "after=0&type=order.none") as heard:
            began = loop.time()
            async with asyncio.timeout(20):
                while heard.last < 100_000:
                    await heard.piece()
            took = loop.time() - began
    finally:
        turning.cancel()
    stops = [later - earlier for earlier, later in pairwise(beats)]
    assert max(stops) < max(0.1, took / 4), f"the loop stood still for {max(stops):.3f} s"
    assert heard.events == []


async def test_a_piece_is_bounded_whatever_the_events_are(router, host, monkeypatch):
    monkeypatch.setattr(streams, "PIECE", 1000)
    await write(host, 20, text="x" * 400)
    async with following(router, "after=0") as heard:
        sizes = []
        while len(heard.events) < 20:
            before = len(heard.events)
            await heard.piece()
            sizes.append(len(heard.events) - before)
        assert max(sizes) <= 3
        assert [event["seq"] for event in heard.events] == list(range(1, 21))


async def test_of_large_events_few_are_held_for_a_client_and_of_small_ones_many(
    router, host, monkeypatch
):
    asked = []
    events = host.store.events

    async def counting(after, limit):
        asked.append(limit)
        return await events(after, limit)

    monkeypatch.setattr(host.store, "events", counting)
    await write(host, 40, "x" * 200_000)
    async with following(router, "after=0") as heard:
        await heard.until(40)
        assert asked[0] == 32
        assert max(asked[1:3]) <= 5
        await write(host, 200)
        await heard.until(240)
        assert asked[-1] > 100


async def test_who_begins_before_events_that_are_gone_is_told_and_goes_on(router, host, call):
    await write(host, 5)
    host._deploys.retention._keep = Keep(events_most=2)
    await host._deploys.retention.run()
    async with following(router, "after=3") as heard:
        await heard.until(2)
        assert heard.forgotten is None  # it has missed nothing
    async with following(router, "", 1) as heard:
        await heard.until(2)
        assert (heard.forgotten, heard.last) == (3, 5)
        assert [event["seq"] for event in heard.events] == [4, 5]
    page = (await call("GET", f"{EVENTS}?after=1")).json
    assert ([event["seq"] for event in page["items"]], page["forgotten"]) == ([4, 5], 3)
    assert "forgotten" not in (await call("GET", f"{EVENTS}?after=3")).json
