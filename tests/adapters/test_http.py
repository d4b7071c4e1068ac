"""The HTTP server on a loopback socket: real requests, broken ones, clients that leave, closing."""

import asyncio
import logging
import socket
from contextlib import asynccontextmanager

import httpx
import msgspec
import pytest

from aegis.adapters.clock import SystemClock
from aegis.adapters.components.python import PythonLoader
from aegis.adapters.http import server as serving
from aegis.adapters.http.server import AddressError, AddressInUseError, start
from aegis.adapters.storage.memory import MemoryStore
from aegis.api import stream as streams
from aegis.api.policy import Access, hosts_of
from aegis.api.response import Response
from aegis.api.router import Route, Router
from aegis.engine.deploys import Limits
from aegis.engine.host import Host
from aegis.protocols import Commit

NOTES = "/aegis/api/models/notes"
TASKS = "/aegis/api/models/tasks"

TEXT = """
import asyncio
from typing import Protocol
from aegis import Model, adapter, port

class Worker(Protocol):
    async def work(self, seconds: float) -> None: ...

class Note(Model, endpoint="notes"):
    text: str

class Task(Model, endpoint="tasks"):
    seconds: float
    done: bool = False

    @port(consumes="task.created", produces="task.done", timeout=3600)
    async def do(self, worker: Worker = adapter()) -> "Task":
        await worker.work(self.seconds)
        return self.update(done=True)

class Sleeper(Worker):
    async def work(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
"""


@pytest.fixture
async def host():
    parts = {"store": MemoryStore(), "clock": SystemClock(), "loader": PythonLoader()}
    async with Host(**parts, limits=Limits(grace=0.1)) as host:
        await host.deploy("desk", "1.0.0", TEXT)
        yield host


@asynccontextmanager
async def serve(host, **options):
    options = {"token": None, "hosts": hosts_of("127.0.0.1"), **options}
    server = await start(Router(host, **options), "127.0.0.1", 0)
    try:
        yield server
    finally:
        await server.close(grace=0.1)


@pytest.fixture
async def server(host):
    async with serve(host) as server:
        yield server


@pytest.fixture
async def client(server):
    async with httpx.AsyncClient(base_url=server.address) as client:
        yield client


async def talk(server, text, *, until=None):
    """What the server answers to raw bytes, until it closes (a reset is a close) or says `until`."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    answered = b""
    try:
        async with asyncio.timeout(10):
            writer.write(text)
            while until is None or until not in answered:
                piece = await reader.read(65536)
                if not piece:
                    break
                answered += piece
    except ConnectionError:
        pass
    finally:
        writer.close()
    return answered


async def settle(condition):
    """Wait until `condition()` holds; the test's own patience is the limit."""
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 -- of what happens inside nobody sends word
            await asyncio.sleep(0.005)


async def test_a_record_goes_in_and_comes_out(client):
    made = await client.post(NOTES, json={"text": "tea"})
    assert made.status_code == 201
    got = await client.get(made.headers["location"])
    assert (got.status_code, got.json()) == (200, made.json())
    assert got.headers["content-type"] == "application/json"
    assert got.headers["date"].endswith("GMT")
    assert int(got.headers["content-length"]) == len(got.content)
    again = await client.get(
        made.headers["location"], headers={"If-None-Match": got.headers["etag"]}
    )
    assert (again.status_code, again.content) == (304, b"")
    assert "content-length" not in again.headers
    head = await client.head(made.headers["location"])
    assert head.headers["content-length"] == got.headers["content-length"]
    assert head.content == b""
    changed = await client.patch(
        made.headers["location"], json={"text": "coffee"}, headers={"If-Match": '"1"'}
    )
    assert changed.json()["text"] == "coffee"
    gone = await client.delete(made.headers["location"], headers={"If-Match": '"2"'})
    assert (gone.status_code, gone.content) == (204, b"")


async def test_the_token_is_asked_for(host):
    async with serve(host, token="hush") as server, httpx.AsyncClient() as client:
        assert server.token == "hush"
        url = server.address + NOTES
        assert (await client.get(url)).status_code == 401
        assert (await client.get(url, headers={"Authorization": "Bearer hush"})).status_code == 200
        assert (await client.get(url + "?token=hush")).status_code == 200
        assert (await client.get(server.address + "/healthz")).status_code == 200


async def test_a_name_that_resolves_here_by_a_trick_is_refused(client):
    refused = await client.get(NOTES, headers={"Host": "evil.example"})
    assert refused.status_code == 403


async def test_one_connection_carries_many_requests(server):
    get = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
    last = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    answered = await talk(server, get * 3 + last)
    assert answered.count(b"HTTP/1.1 200 OK\r\n") == 4
    assert answered.count(b"Connection: close\r\n") == 1


async def test_http_1_0_is_answered_and_closed_unless_it_asks_to_stay(server):
    answered = await talk(server, b"GET /healthz HTTP/1.0\r\nHost: localhost\r\n\r\n")
    assert answered.endswith(b'{"status":"ok"}')
    asked = b"GET /healthz HTTP/1.0\r\nHost: localhost\r\nConnection: keep-alive\r\n\r\n"
    answered = await talk(server, asked, until=b"ok")
    assert b"Connection: keep-alive\r\n" in answered


@pytest.mark.parametrize(
    "text",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET / HTTP/2.0\r\n\r\n",
        b"GET / HTTP/1.1\r\nno colon\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\n folded: x\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: two\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        b"POST / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: gzip\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    ],
    ids=lambda text: repr(text[:70]),
)
async def test_what_is_no_http_is_refused_and_the_connection_closed(server, client, text):
    answered = await talk(server, text)
    assert answered.startswith(b"HTTP/1.1 400 ")
    assert (await client.get("/healthz")).status_code == 200


async def test_a_head_beyond_the_limit_is_cut_off(server, client):
    endless = b"GET / HTTP/1.1\r\nX: " + b"x" * (serving.MAX_HEADERS + 10)
    assert await talk(server, endless) == b""
    assert (await client.get("/healthz")).status_code == 200


# --- bodies ------------------------------------------------------------------------------------


def posted(body, *headers):
    return b"\r\n".join(
        (
            f"POST {NOTES} HTTP/1.1".encode(),
            b"Host: localhost",
            b"Content-Type: application/json",
            *headers,
            b"",
            body,
        )
    )


def chunked(*pieces):
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in (*pieces, b""))


async def test_a_body_in_chunks_is_one_body(server):
    body = chunked(b'{"te', b'xt":', b'"tea"}')
    answered = await talk(server, posted(body, b"Transfer-Encoding: chunked", b"Connection: close"))
    assert answered.startswith(b"HTTP/1.1 201 Created\r\n")
    assert b'"text":"tea"' in answered


async def test_a_body_that_trickles_in_is_one_body(server):
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    body = b'{"text":"tea"}'
    writer.write(posted(b"", b"Content-Length: %d" % len(body), b"Connection: close"))
    for n in range(len(body)):
        writer.write(body[n : n + 1])
        await writer.drain()
        await asyncio.sleep(0)
    assert b'"text":"tea"' in await reader.read()
    writer.close()


async def test_a_body_of_the_greatest_size_is_taken(client):
    text = "x" * ((1 << 20) - len('{"text":""}'))
    assert (await client.post(NOTES, json={"text": text})).status_code == 201


async def test_ten_megabytes_are_refused_in_words_and_not_kept(server, client):
    json = {"Content-Type": "application/json"}
    body = b'{"text":"' + b"x" * 10_000_000 + b'"}'
    writing = asyncio.create_task(client.post(NOTES, content=body, headers=json))
    await settle(lambda: any(e.state == "refused" for e in server._exchanges.values()))
    assert all(not e._body for e in server._exchanges.values())
    refused = await writing
    assert refused.status_code == 413
    assert refused.json()["limit"] == 1 << 20
    assert (await client.get(NOTES)).json()["items"] == []


async def test_a_body_far_beyond_the_limit_is_cut_off(server, client):
    sent = []
    _reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(posted(b"", b"Content-Length: 1000000000"))

    async def pour():
        while len(sent) < 200:
            writer.write(b"x" * 1_000_000)
            await writer.drain()
            sent.append(1_000_000)

    with pytest.raises(ConnectionError):
        await pour()
    writer.close()
    assert sum(sent) < 60_000_000
    assert (await client.get("/healthz")).status_code == 200


async def test_ten_megabytes_that_are_only_announced_are_refused_at_once(server):
    announced = posted(b"", b"Content-Length: 10000000")
    answered = await talk(server, announced, until=b"}")
    assert answered.startswith(b"HTTP/1.1 413 ")
    assert b"Connection: close\r\n" in answered


@pytest.mark.parametrize("length", [1 << 63, 10**400], ids=["big", "absurd"])
async def test_an_absurd_length_is_refused(server, length):
    answered = await talk(server, posted(b"", b"Content-Length: %d" % length), until=b"}")
    assert answered.startswith((b"HTTP/1.1 413 ", b"HTTP/1.1 400 "))


async def test_a_body_in_chunks_without_end_is_refused_on_the_way(server, client):
    pieces = [b"x" * 65536] * 160
    answered = await talk(server, posted(chunked(*pieces), b"Transfer-Encoding: chunked"))
    assert answered.startswith(b"HTTP/1.1 413 ")
    assert (await client.get("/healthz")).status_code == 200


async def test_a_client_that_asks_first_is_told_no_before_it_sends(server):
    asked = posted(b"", b"Content-Length: 10000000", b"Expect: 100-continue")
    answered = await talk(server, asked)
    assert answered.startswith(b"HTTP/1.1 413 ")
    assert b"100" not in answered.split(b"\r\n", 1)[0]
    assert b"HTTP/1.1 100" not in answered


async def test_a_client_that_asks_first_is_told_to_go_on(server):
    asked = posted(
        b'{"text":"tea"}', b"Content-Length: 14", b"Expect: 100-continue", b"Connection: close"
    )
    answered = await talk(server, asked)
    assert answered.startswith(b"HTTP/1.1 100 ")
    assert b"HTTP/1.1 201 Created" in answered


# --- clients that leave ------------------------------------------------------------------------


async def test_a_client_that_leaves_a_wait_loses_the_answer_and_not_the_work(server, host):
    _reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    body = b'{"seconds":0.3}'
    head = b"Content-Length: %d" % len(body)
    writer.write(posted(body, head, b"Prefer: wait=600").replace(NOTES.encode(), TASKS.encode()))
    await settle(lambda: server._tasks and host.status().flows_open)
    writer.close()
    await settle(lambda: not server._tasks)
    assert host.status().flows_open == 1, "the wait outlived its client"
    (task,) = await host.list("Task")
    assert (await host.wait(task, 10)).state == "completed"
    assert (await host.get("Task", task.id)).done


async def test_a_client_that_leaves_in_the_middle_of_its_body_leaves_nothing(server, client):
    _reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(posted(b'{"text"', b"Content-Length: 14"))
    await settle(lambda: any(e.state == "reading" for e in server._exchanges.values()))
    writer.close()
    await settle(lambda: not server._exchanges)
    assert (await client.get(NOTES)).json()["items"] == []


async def test_work_goes_on_when_its_client_left(host):
    begun, may_end, ended = asyncio.Event(), asyncio.Event(), []

    async def slow(request):
        begun.set()
        await may_end.wait()
        ended.append(True)
        return Response(200)

    route = Route(path="/slow", access=Access.PUBLIC, methods={"POST": slow})
    async with serve(host, routes=(route,)) as server:
        _reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(b"POST /slow HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n")
        await begun.wait()
        writer.close()
        await settle(lambda: not server._exchanges)
        assert ended == []
        may_end.set()
        await settle(lambda: not server._tasks)
    assert ended == [True]


@pytest.mark.parametrize(
    ("text", "limit"),
    [(b"", "IDLE"), (b"GET / HT", "IDLE"), (posted(b"{", b"Content-Length: 14"), "READING")],
    ids=["silent", "slow head", "slow body"],
)
async def test_a_client_that_is_too_slow_is_cut_off(host, monkeypatch, text, limit):
    monkeypatch.setattr(serving, limit, 0.05)
    monkeypatch.setattr(serving, "SWEEP", 0.01)
    async with serve(host) as server:
        assert await talk(server, text) == b""


async def test_a_client_that_waits_for_an_answer_is_not_too_slow(host, monkeypatch):
    monkeypatch.setattr(serving, "IDLE", 0.02)
    monkeypatch.setattr(serving, "READING", 0.02)
    monkeypatch.setattr(serving, "SWEEP", 0.01)
    async with serve(host) as server, httpx.AsyncClient(base_url=server.address) as client:
        made = await client.post(TASKS, json={"seconds": 0.2}, headers={"Prefer": "wait=10"})
        assert made.json()["done"] is True


# --- answers that cannot be written ------------------------------------------------------------


@pytest.mark.parametrize("value", ["a\r\nSet-Cookie: x=1", "a\0", "\u2615"], ids=ascii)
@pytest.mark.parametrize("later", [False, True])
async def test_a_header_that_would_break_the_answer_is_not_sent(host, caplog, value, later):
    answer = Response(200, (("X", value),))

    async def coming(request):
        return answer

    route = Route(
        path="/bad",
        access=Access.PUBLIC,
        methods={"GET": coming if later else lambda request: answer},
    )
    async with serve(host, routes=(route,)) as server:
        with caplog.at_level(logging.ERROR):
            answered = await talk(server, b"GET /bad HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert answered == b""
        assert "ValueError" in caplog.text or "UnicodeEncodeError" in caplog.text


# --- starting and closing ----------------------------------------------------------------------


async def test_a_port_in_use_names_it_and_the_way_out(host, server):
    with pytest.raises(AddressInUseError) as caught:
        await start(Router(host, token=None), "127.0.0.1", server.port)
    assert str(server.port) in str(caught.value)
    assert "--port 0" in caught.value.hint


@pytest.mark.parametrize("name", ["192.0.2.1", "no-such-host.invalid"])
async def test_an_address_that_is_not_of_this_machine_is_named(host, name):
    with pytest.raises(AddressError, match=name.replace(".", r"\.")):
        await start(Router(host, token=None), name, 0)


async def test_the_address_is_one_to_open(host):
    server = await start(Router(host, token=None), "0.0.0.0", 0)
    assert server.address == f"http://127.0.0.1:{server.port}"
    assert server.port > 0
    await server.close()


async def test_closing_ends_waits_answers_what_is_under_way_and_refuses_the_rest(host):
    server = await start(Router(host, token=None), "127.0.0.1", 0)
    async with httpx.AsyncClient(base_url=server.address) as client:
        await client.get("/healthz")  # an idle connection stays behind
        waiting = asyncio.create_task(
            client.post(TASKS, json={"seconds": 30}, headers={"Prefer": "wait=600"})
        )
        await settle(lambda: host.status().flows_open)
        await server.close(grace=10)
        made = await waiting
        assert (made.status_code, made.json()["done"]) == (201, False)
        assert made.headers["connection"] == "close"
        with pytest.raises(httpx.ConnectError):
            await client.get("/healthz")
    await server.close()


async def test_closing_gives_requests_under_way_their_time_and_no_more(host, caplog):
    begun = asyncio.Event()

    async def stuck(request):
        begun.set()
        try:
            await asyncio.sleep(0.5)
        finally:
            ended.append(True)
        return Response(200)

    ended = []
    route = Route(path="/stuck", access=Access.PUBLIC, methods={"GET": stuck})
    server = await start(Router(host, token=None, routes=(route,)), "127.0.0.1", 0)
    get = b"GET /stuck HTTP/1.1\r\nHost: localhost\r\n\r\n"
    talking = asyncio.create_task(talk(server, get))
    await begun.wait()
    with caplog.at_level(logging.WARNING):
        await server.close(grace=0.01)
    assert "cut off" in caplog.text
    assert await talking == b""
    await settle(lambda: ended)


async def test_a_request_that_arrives_while_closing_finds_no_listener(host):
    server = await start(Router(host, token=None), "127.0.0.1", 0)
    await asyncio.gather(server.close(), server.close())
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", server.port)) != 0


async def test_a_port_that_cannot_be_is_told(host):
    with pytest.raises(AddressError, match="99999 is no port"):
        await start(Router(host, token=None), "127.0.0.1", 99999)


# --- streams -----------------------------------------------------------------------------------


class Follower:
    """A client of the event stream that reads as slowly as it is asked to."""

    def __init__(self, server):
        self._server = server
        self._rest = b""
        self.seqs = []

    async def follow(self, query="", *, last=None, version=b"1.1", room=None):
        """Ask for the stream, from where it broke off when it did."""
        line = socket.create_connection(("127.0.0.1", self._server.port))
        if room is not None:
            line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, room)
        line.setblocking(False)
        self._reader, self.writer = await asyncio.open_connection(sock=line, limit=room or 65536)
        again = b"" if last is None else b"Last-Event-ID: %d\r\n" % last
        self.writer.write(
            b"GET /aegis/api/events?%b HTTP/%b\r\nHost: localhost\r\nAccept: text/event-stream\r\n"
            b"%b\r\n" % (query.encode(), version, again)
        )
        self._chunked, self._rest = version == b"1.1", b""
        self.head = await self._reader.readuntil(b"\r\n\r\n")
        return self

    async def read(self):
        """One chunk more; False at the end."""
        if not self._chunked:
            piece = await self._reader.read(65536)
        else:
            size = int(await self._reader.readuntil(b"\r\n"), 16)
            piece = (await self._reader.readexactly(size + 2))[:-2]
        *blocks, self._rest = (self._rest + piece).split(b"\n\n")
        self.seqs += [int(b[4 : b.index(b"\n")]) for b in blocks if b"\ndata: " in b]
        return bool(piece)

    async def until(self, seq):
        async with asyncio.timeout(30):
            while not self.seqs or self.seqs[-1] < seq:
                assert await self.read()


@pytest.fixture
async def follow():
    """Follow a server's events; see `Follower.follow`."""
    followers = []

    async def follow(server, *arguments, **options):
        followers.append(Follower(server))
        return await followers[-1].follow(*arguments, **options)

    yield follow
    for follower in followers:
        follower.writer.transport.abort()
    await asyncio.sleep(0)


async def burst(host, count):
    """`count` events more in the journal, nearly all by one commit."""
    await host.create("Note", text="tea")
    (first,) = await host.store.events(0, 1)
    copies = [msgspec.structs.replace(first, id=str(n)) for n in range(count - 2)]
    await host.store.commit(Commit(events=copies))
    await host.create("Note", text="tea")


async def test_a_client_that_is_cut_off_again_and_again_hears_every_event_once(
    host, server, follow
):
    follower = await follow(server)
    writing = True

    async def write():
        for _ in range(300):
            await host.create("Note", text="tea")
            await asyncio.sleep(0.001)

    writer, cuts = asyncio.create_task(write()), 0
    async with asyncio.timeout(30):
        while writing:
            writing = not writer.done()
            for _ in range(3):
                if follower.seqs[-1:] != [300]:
                    await follower.read()
            # In the middle of whatever is on its way.
            follower.writer.transport.abort()
            await follower.follow(last=follower.seqs[-1] if follower.seqs else 0)
            cuts += 1
        await follower.until(300)
    assert follower.seqs == list(range(1, 301))
    assert cuts > 2
    follower.writer.close()
    await settle(lambda: not server._tasks)


async def test_a_slow_client_lags_only_itself_and_costs_one_piece(host, server, follow):
    slow = await follow(server, room=1 << 16)
    (exchange,) = server._exchanges.values()
    quick = await follow(server)
    count = 100_000
    await burst(host, count)
    kept = []

    async def watch():
        while True:
            kept.append(len(exchange._connection.stream._write_buffer))
            await asyncio.sleep(0.001)

    watching = asyncio.create_task(watch())
    await quick.until(count)
    assert not slow.seqs
    assert exchange.state == "sending"
    assert max(kept) > 0
    await slow.until(count)
    watching.cancel()
    for one in (quick, slow):
        assert one.seqs == list(range(1, count + 1))
    assert max(kept) <= streams.PIECE + 4096


async def test_a_stream_ends_when_the_server_closes_and_holds_nothing_up(host, follow):
    server = await start(Router(host, token=None), "127.0.0.1", 0)
    quiet, stuck = await follow(server), await follow(server, room=1 << 16)
    await burst(host, 20_000)
    await quiet.until(20_000)
    await settle(lambda: any(e.state == "sending" for e in server._exchanges.values()))
    began = asyncio.get_running_loop().time()
    await server.close(grace=10)
    assert asyncio.get_running_loop().time() - began < 2
    assert not await quiet.read(), "its end was not said"
    with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
        await stuck.until(20_000)


async def test_a_client_of_a_stream_that_leaves_is_noticed_although_nothing_happens(server, follow):
    follower = await follow(server)
    await follower.read()
    assert server._tasks
    follower.writer.close()
    await settle(lambda: not server._tasks and not server._exchanges)


async def test_a_stream_to_http_1_0_comes_in_no_chunks_and_ends_with_its_connection(host, follow):
    async with serve(host) as server:
        follower = await follow(server, "after=0", version=b"1.0")
        assert b"chunked" not in follower.head
        assert b"Connection: close\r\n" in follower.head
        await host.create("Note", text="tea")
        await follower.until(1)
    assert not await follower.read()


async def test_the_head_of_a_stream_leaves_the_connection_to_the_next_request(server):
    head = b"HEAD /aegis/api/events HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n"
    last = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    answered = await talk(server, head + b"\r\n" + last)
    assert answered.count(b"HTTP/1.1 200 OK\r\n") == 2
    assert b"\r\n\r\nHTTP/1.1" in answered
    assert answered.endswith(b'{"status":"ok"}')
    assert not server._tasks


async def test_a_client_that_takes_nothing_for_a_minute_is_cut_off(host, monkeypatch, follow):
    monkeypatch.setattr(serving, "SENDING", 0.05)
    monkeypatch.setattr(serving, "SWEEP", 0.01)
    async with serve(host) as server:
        await follow(server, room=1 << 16)
        await burst(host, 20_000)
        await settle(lambda: not server._exchanges)


async def test_a_store_that_breaks_ends_the_stream_without_its_end(host, caplog, follow):
    async with serve(host) as server:
        follower = await follow(server)
        await follower.read()
        host.store.events = None
        await host.create("Note", text="tea")
        with pytest.raises(asyncio.IncompleteReadError):
            await follower.until(1)
    assert "broke off" in caplog.text
