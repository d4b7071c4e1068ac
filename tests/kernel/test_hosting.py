"""The doorway to a host: what crosses between threads, and that nothing stays behind."""

import asyncio
import inspect
import os
import signal
import socket
import threading
import traceback

import pytest

from aegis.adapters.http.server import AddressInUseError
from aegis.configuration import Config
from aegis.core.errors import AegisError, ClosedError, OwnedError
from aegis.engine.host import Host
from aegis_kernel.hosting import THREAD, VERBS, VIEWS, AioHost, HostThread, NotebookHost

NOTES = """
from aegis import Model, command

class Note(Model, endpoint="notes"):
    text: str = ""

    @command
    def spoil(self) -> "Note":
        raise ZeroDivisionError("spoilt")
"""


@pytest.fixture
def thread():
    with_host = HostThread()
    with_host.start(Config())
    yield with_host
    assert with_host.close()


@pytest.fixture
def host(thread):
    host = NotebookHost(thread)
    host.deploy("notes", "1.0.0", NOTES, origin="a test")
    return host


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == THREAD]


def listens(address: str) -> bool:
    name, port = address.removeprefix("http://").split(":")
    with socket.socket() as client:
        return client.connect_ex((name, int(port))) == 0


@pytest.mark.parametrize("verb", sorted(set(VERBS) - set(VIEWS)))
def test_a_verb_has_the_signature_and_the_docstring_of_the_hosts(verb):
    for cls in (NotebookHost, AioHost):
        assert inspect.signature(getattr(cls, verb)) == inspect.signature(getattr(Host, verb))
        assert getattr(cls, verb).__doc__ == getattr(Host, verb).__doc__
    assert not inspect.iscoroutinefunction(getattr(NotebookHost, verb))
    assert inspect.iscoroutinefunction(getattr(AioHost, verb))


def test_cells_get_what_a_host_does_but_not_its_opening_and_closing():
    assert {"create", "list", "call", "run", "wait", "deploy", "rollback", "graph"} <= set(VERBS)
    assert {"open", "close", "subscribe", "starting"} & set(VERBS) == set()


def test_verbs_block_and_answer(host):
    note = host.create("Note", text="milk")
    assert host.get("Note", note.id) == note
    assert [found.text for found in host.list("Note")] == ["milk"]


def test_a_query_shows_a_table_that_tells_where_it_goes_on(host):
    for text in ("milk", "bread", "oats"):
        host.create("Note", text=text)
    first = host.query("Note", text__ge="c", sort="text", limit=1)
    assert [note.text for note in first] == ["milk"]
    assert "<table" in first._repr_html_()
    assert [n.text for n in host.query("Note", text__ge="c", sort="text", cursor=first.next)] == [
        "oats"
    ]
    rows = host.query("Note", fields="text", sort="text")
    assert rows == [{"text": "bread"}, {"text": "milk"}, {"text": "oats"}]
    assert repr(rows) == "3 rows"
    assert "bread" in rows._repr_html_()
    assert host.count("Note", text="oats") == 1


async def test_the_coroutines_are_awaited_on_any_loop(thread):
    host = NotebookHost(thread)
    await host.aio.deploy("notes", "1.0.0", NOTES, origin="a test")
    made = await asyncio.gather(*(host.aio.create("Note", text=str(n)) for n in range(10)))
    assert {note.id for note in made} == {note.id for note in await host.aio.list("Note")}


async def test_cancelling_an_awaited_call_cancels_it_on_the_host(thread):
    ends = threading.Event()

    async def endless():
        try:
            await asyncio.sleep(3600)
        finally:
            ends.set()

    waiting = asyncio.create_task(thread.aio(endless))
    await asyncio.sleep(0.05)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert await asyncio.to_thread(ends.wait, 5)


def test_an_error_comes_with_the_line_of_the_component(host):
    note = host.create("Note")
    with pytest.raises(Exception, match="spoil raised ZeroDivisionError") as caught:
        host.call(note, "spoil")
    shown = "".join(traceback.format_exception(caught.value))
    assert 'raise ZeroDivisionError("spoilt")' in shown


def test_a_mistake_of_the_caller_comes_without_the_hosts_own_frames(host):
    with pytest.raises(AegisError) as caught:
        host.create("Noet")
    assert "did you mean 'Note'" in str(caught.value)
    files = [frame.filename for frame in traceback.extract_tb(caught.value.__traceback__)]
    assert not any(name.endswith("engine/host.py") for name in files)


def test_an_interrupt_ends_a_blocking_call_and_cancels_it_on_the_host(thread):
    ends = threading.Event()

    async def endless():
        threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGINT)).start()
        try:
            await asyncio.sleep(3600)
        finally:
            ends.set()

    with pytest.raises(KeyboardInterrupt):
        thread.call(endless)
    assert ends.wait(5)
    assert thread.call(lambda: "still there") == "still there"


def test_a_blocking_call_on_the_hosts_own_thread_is_refused(host, thread):
    with pytest.raises(ClosedError, match="wait for itself"):
        thread.call(lambda: host.list("Note"))


def test_close_leaves_neither_thread_nor_port():
    thread = HostThread()
    thread.start(Config())
    address = thread.server.address
    assert listens(address)
    assert threads() == [THREAD]
    assert thread.close()
    assert threads() == []
    assert not listens(address)
    assert thread.close()


def test_close_ends_calls_that_still_wait():
    thread = HostThread()
    thread.start(Config())
    begun = threading.Event()
    caught = []

    async def endless():
        begun.set()
        await asyncio.sleep(3600)

    def wait():
        try:
            thread.call(endless)
        except ClosedError as error:
            caught.append(str(error))

    waiter = threading.Thread(target=wait)
    waiter.start()
    assert begun.wait(5)
    assert thread.close()
    waiter.join(5)
    assert caught == ["the host was closed during the call"]
    with pytest.raises(ClosedError, match="the host is closed"):
        thread.call(lambda: None)


def test_a_port_in_use_is_told_and_leaves_nothing_behind(thread):
    port = int(thread.server.address.rsplit(":", 1)[1])
    second = HostThread()
    with pytest.raises(AddressInUseError, match=str(port)):
        second.start(Config(port=port))
    with pytest.raises(ClosedError, match=f"port {port} .* in use"):
        second.call(lambda: None)
    assert threads() == [THREAD]


def test_a_directory_of_another_host_is_told_and_another_one_can_be_taken(tmp_path):
    first, second = HostThread(), HostThread()
    first.start(Config(data=tmp_path / "one"))
    try:
        with pytest.raises(OwnedError, match=str(os.getpid())):
            second.start(Config(data=tmp_path / "one"))
        second.start(Config(data=tmp_path / "two"))
        assert second.is_open
        assert second.close()
    finally:
        assert first.close()


def test_a_debugger_passes_the_hosts_thread_by_unless_it_is_wanted():
    for debug in (False, True):
        thread = HostThread(debug=debug)
        thread.start(Config())
        (own,) = [found for found in threading.enumerate() if found.name == THREAD]
        assert getattr(own, "pydev_do_not_trace", False) is not debug
        assert thread.close()


def test_a_url_carries_the_token_and_the_address_does_not():
    thread = HostThread()
    thread.start(Config(token="s&cret"))
    host = NotebookHost(thread)
    assert host.token == "s&cret"
    assert host.url("/aegis/api/graph.svg").endswith("/aegis/api/graph.svg?token=s%26cret")
    assert "cret" not in host.address + repr(host) + (host._repr_html_() or "")
    assert thread.close()
