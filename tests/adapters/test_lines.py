"""A whole answer as lines over a socket: at the client's pace, and no further than the client."""

import asyncio
import json
from contextlib import asynccontextmanager

import httpx
import pytest

from aegis.adapters.http.server import start
from aegis.adapters.storage.memory import MemoryStore
from aegis.adapters.storage.sqlite import SqliteStore
from aegis.api import records
from aegis.api.policy import hosts_of
from aegis.api.router import Router
from aegis.core.record import Record
from aegis.protocols import Commit, Put
from aegis.testing import memory_host

NOTES = "/aegis/api/models/notes"
COUNT = 2_000
TEXT = """
from aegis import Model

class Note(Model, endpoint="notes"):
    text: str
"""
LINES = {"Accept": "application/x-ndjson"}
ASKED = f"GET {NOTES} HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: application/x-ndjson\r\n\r\n".encode()


class Pages(list):
    """The queries of the pages that a store was asked for; `may_come` holds their answers back."""

    def __init__(self):
        super().__init__()
        self.may_come = asyncio.Event()
        self.may_come.set()
        self.held = False


@asynccontextmanager
async def serving(kept):
    """A server of some 8 MB of notes, and the pages that its store was asked for."""
    pages = Pages()

    class Counting(type(kept)):
        async def list(self, model, query):
            pages.append(query)
            page = await super().list(model, query)
            pages.held = not pages.may_come.is_set()
            await pages.may_come.wait()
            return page

    kept.__class__ = Counting
    async with memory_host(store=kept) as host:
        await host.deploy("notes", "1.0.0", TEXT)
        now = host.clock.stamp()
        puts = [
            Put(
                Record(
                    model="notes.Note", id=f"{n:05}", revision=1, created=now, updated=now,
                    doc=b'{"id":"%05d","text":"%b"}' % (n, b"x" * 4_000),
                ),
                0,
            )
            for n in range(COUNT)
        ]  # fmt: skip
        await kept.commit(Commit(puts=puts))
        router = Router(host, token=None, hosts=hosts_of("127.0.0.1"))
        server = await start(router, "127.0.0.1", 0)
        try:
            yield server, pages
        finally:
            await server.close(grace=0.1)


@pytest.fixture(params=["memory", "sqlite"])
def kept(request, tmp_path):
    return MemoryStore() if request.param == "memory" else SqliteStore(tmp_path)


async def settle(condition):
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 -- of what happens inside nobody sends word
            await asyncio.sleep(0.005)


async def test_all_records_come_as_lines(kept):
    async with serving(kept) as (server, pages):
        async with httpx.AsyncClient(base_url=server.address) as client:
            async with client.stream("GET", NOTES, headers=LINES) as answer:
                assert answer.headers["content-type"] == "application/x-ndjson"
                ids = [json.loads(line)["id"] async for line in answer.aiter_lines()]
            head = await client.head(NOTES, headers=LINES)
        assert ids == [f"{n:05}" for n in range(COUNT)]
        assert head.headers["content-type"] == "application/x-ndjson"
        most = records.PIECE // 4_000
        assert len(pages) >= COUNT // most
        assert max(query.limit for query in pages) <= max(most, records.FIRST)


async def test_a_client_that_does_not_read_holds_the_query_up_and_one_that_leaves_ends_it(kept):
    async with serving(kept) as (server, pages):
        _reader, writer = await asyncio.open_connection("127.0.0.1", server.port, limit=1024)
        writer.write(ASKED)
        await settle(lambda: any(one.state == "sending" for one in server._exchanges.values()))
        before = -1
        while before != len(pages):  # until the sockets are full
            before = len(pages)
            await asyncio.sleep(0.1)
        assert 0 < before < COUNT * 4_000 // records.PIECE
        writer.transport.abort()
        await settle(lambda: not server._exchanges and not server._tasks)
        assert len(pages) <= before + 1


async def test_a_server_that_closes_leaves_the_answer_without_an_end(kept):
    async with serving(kept) as (server, pages):
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(ASKED)
        answered = await reader.readuntil(b"\r\n\r\n")
        pages.may_come.clear()
        reading = asyncio.ensure_future(reader.read())
        await settle(lambda: pages.held)
        closing = asyncio.ensure_future(server.close(grace=10))
        await settle(lambda: server.closing)
        pages.may_come.set()
        answered += await reading
        await closing
        writer.close()
    assert answered.startswith(b"HTTP/1.1 200 OK\r\n")
    assert answered.count(b'"id"') < COUNT
    assert not answered.endswith(b"0\r\n\r\n")
