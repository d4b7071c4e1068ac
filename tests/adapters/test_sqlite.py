"""The embedded store when things go wrong: killed, shared, damaged, full, newer."""

import asyncio
import contextlib
import inspect
import json
import os
import random
import resource
import signal
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import msgspec
import pytest

from aegis.adapters.storage import sqlite
from aegis.adapters.storage.sqlite import SqliteStore
from aegis.api.request import Request
from aegis.api.router import Router
from aegis.core.errors import (
    BadRequestError,
    ConflictError,
    CorruptError,
    OwnedError,
    StoreError,
)
from aegis.core.flow import Flow, FlowState, Step, StepState
from aegis.core.query import Query, Term
from aegis.core.record import Record
from aegis.protocols import Commit, Cursor, Drop, Entry, Put
from aegis.testing import memory_host

NOW = "2026-11-23T10:00:00.000Z"

# Another process: commits until it is killed, and says which are acknowledged.
WRITER = """
import asyncio, sys
from pathlib import Path
from aegis.adapters.storage.sqlite import SqliteStore
from tests.adapters.test_sqlite import purchase

async def main():
    store = SqliteStore(Path(sys.argv[1]))
    await store.open()
    store.announce("http://127.0.0.1:8123")
    print("open", flush=True)

    async def client(name):
        number = 0
        while True:
            await store.commit(purchase(f"{name}-{number}"))
            print(f"{name}-{number}", flush=True)
            number += 1

    await asyncio.gather(*(client(f"{sys.argv[2]}-{n}") for n in range(8)))

asyncio.run(main())
"""


def record(id, revision=1, note=""):
    doc = json.dumps({"id": id, "note": note}).encode()
    return Record(model="m.M", id=id, revision=revision, created=NOW, updated=NOW, doc=doc)


def new(id, note=""):
    return Commit(puts=[Put(record(id, note=note), 0)])


def purchase(id):
    """A record with its event, a flow and a step, as a host commits them."""
    flow = Flow(
        id=f"flow-{id}",
        root=f"event-{id}",
        component="m",
        version="1.0.0",
        digest="d",
        model="m.M",
        record=id,
        state=FlowState.RUNNING,
        created=NOW,
        updated=NOW,
    )
    step = Step(
        flow=flow.id,
        n=1,
        model="m.M",
        port="pay",
        record=id,
        cause="e",
        key=id,
        state=StepState.READY,
    )
    event = Entry(f"event-{id}", "m.created", id, flow.id, NOW, b"{}")
    return Commit(puts=[Put(record(id), 0)], events=[event], flows=[flow], steps=[step])


async def opened(directory, **options):
    store = SqliteStore(directory, **options)
    await store.open()
    return store


async def filled(directory, records, note="x" * 300):
    store = await opened(directory)
    for start in range(0, records, 500):
        puts = [
            Put(record(f"{n:06}", note=note), 0) for n in range(start, min(start + 500, records))
        ]
        await store.commit(Commit(puts=puts))
    return store


def other_process(directory, name):
    """A running WRITER, once it has opened its store."""
    root = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": f"{root / 'runtime'}{os.pathsep}{root}"}
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(directory), name],
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    )
    assert process.stdout.readline() == "open\n"
    return process


async def outcome(answer):
    try:
        return await answer
    except StoreError as error:
        return error
    except ConflictError as error:
        return error


# --- durability


async def test_what_was_acknowledged_survives_kill_9(tmp_path):
    acknowledged = []
    for life in range(3):
        with other_process(tmp_path, f"life{life}") as process:
            mine = [process.stdout.readline().strip() for _ in range(random.randint(1, 600))]
            process.send_signal(signal.SIGKILL)
            rest = process.stdout.read().split("\n")
        acknowledged += mine + rest[:-1]  # the last line may be cut in two
    store = await opened(tmp_path)
    assert [id for id in acknowledged if store.get("m.M", id) is None] == []
    flows = await store.open_flows()
    count = await store.count("m.M")
    # Of what was under way, all or nothing.
    assert count == store.last_seq() == len(await store.events(0, 10**6)) == len(flows)
    assert all(len(steps) == 1 for _, steps in flows)
    await store.close()


async def test_a_resolved_commit_is_seen_by_every_kind_of_read(tmp_path):
    store = await opened(tmp_path)
    for n in range(50):
        await store.commit(purchase(f"{n:02}"))
        assert store.get("m.M", f"{n:02}") is not None
        assert store.last_seq() == n + 1
        assert (await store.event(f"event-{n:02}")).seq == n + 1
        assert await store.count("m.M") == len(await store.open_flows()) == n + 1
    await store.close()


async def test_close_finishes_what_was_committed(tmp_path):
    store = await opened(tmp_path)
    answers = [store.commit(new(f"{n}")) for n in range(1000)]
    await store.close()
    assert [await answer for answer in answers] == [0] * 1000
    assert sorted(path.name for path in tmp_path.iterdir()) == ["aegis.db", "owner.lock"]
    assert (tmp_path / "owner.lock").read_bytes() == b""
    store = await opened(tmp_path)
    assert await store.count("m.M") == 1000
    await store.close()


async def test_a_caller_that_is_cancelled_has_committed_and_harms_nobody(tmp_path):
    store = await opened(tmp_path)

    async def caller(id):
        await store.commit(new(id))

    gone, there = asyncio.create_task(caller("a")), asyncio.create_task(caller("b"))
    await asyncio.sleep(0)
    gone.cancel()
    await there
    assert store.get("m.M", "a") is not None
    await store.close()


async def test_the_directory_and_its_files_are_private(tmp_path):
    old = os.umask(0o022)
    try:
        store = await opened(tmp_path / "a" / "b")
        await store.commit(new("a"))
        assert (tmp_path / "a" / "b").stat().st_mode & 0o777 == 0o700
        modes = {
            path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "a" / "b").iterdir()
        }
        assert modes == dict.fromkeys(
            ("aegis.db", "aegis.db-wal", "aegis.db-shm", "owner.lock"), 0o600
        )
        await store.close()
    finally:
        os.umask(old)


# --- groups


async def test_commits_in_flight_share_transactions(tmp_path):
    store = await opened(tmp_path)
    await asyncio.gather(*(store.commit(new(f"{n}")) for n in range(sqlite.GROUP * 4)))
    assert (store.commits, store.batches) == (sqlite.GROUP * 4, 4)
    await store.close()


async def test_bad_commits_fail_alone_among_their_neighbours(tmp_path):
    store = await opened(tmp_path)
    await store.commit(purchase("old"))
    commits = {f"{n:02}": purchase(f"{n:02}") for n in range(40)}
    commits["07"].puts[0] = Put(record("old"), 0)
    commits["11"].events[0] = Entry("event-old", "m.created", "11", None, NOW, b"{}")
    commits["13"].drops.append(Drop("m.M", "missing", 1))
    commits["17"].steps[0].n = 2**70
    answers = {id: store.commit(commit) for id, commit in commits.items()}
    outcomes = {id: await outcome(answer) for id, answer in answers.items()}
    assert store.batches == 2
    failed = {id: one for id, one in outcomes.items() if isinstance(one, Exception)}
    assert {id: type(one) for id, one in failed.items()} == {
        "07": ConflictError,
        "11": ConflictError,
        "13": ConflictError,
        "17": StoreError,
    }
    assert "old is at revision 1, expected to be new" in str(failed["07"])
    assert "event-old" in str(failed["11"])
    assert "missing does not exist, expected revision 1" in str(failed["13"])
    # Those that failed left no gap in the journal, and the others are all there.
    seqs = [one for one in outcomes.values() if isinstance(one, int)]
    assert seqs == list(range(2, 38))
    assert store.last_seq() == 37
    assert await store.count("m.M") == len(await store.open_flows()) == 37
    await store.close()


async def test_a_value_that_cannot_be_stored_is_told_to_its_own_caller(tmp_path):
    store = await opened(tmp_path)
    unreadable = msgspec.structs.replace(record("bad"), doc=b"\xff")
    bad = [
        Commit(cursors=[Cursor("half a pair \ud800", 1)]),
        Commit(puts=[Put(unreadable, 0)]),
        Commit(cursors=[Cursor("mail", 2**70)]),
    ]
    answers = [store.commit(new(f"{n}")) for n in range(10)]
    refused = [store.commit(commit) for commit in bad]
    answers += [store.commit(new(f"{n}")) for n in range(10, 20)]
    for answer in refused:
        with pytest.raises(StoreError):
            await answer
    assert [await answer for answer in answers] == [0] * 20
    assert store.get("m.M", "\ud800") is None
    await store.close()


# --- no room, no access


async def test_a_full_disk_fails_what_does_not_fit_and_nothing_else(tmp_path):
    store = await opened(tmp_path)
    await store.commit(new("before"))
    pages = store._writer.execute("PRAGMA page_count").fetchone()[0]
    store._writer.execute(f"PRAGMA max_page_count = {pages + 5}")
    answers = [
        store.commit(new("small-1")),
        store.commit(new("huge", note="x" * 10**6)),
        store.commit(new("small-2")),
    ]
    first, huge, second = [await outcome(answer) for answer in answers]
    assert (first, second) == (0, 0)
    assert isinstance(huge, StoreError)
    assert "full" in str(huge)
    store._writer.execute("PRAGMA max_page_count = 1000000")
    await store.commit(new("huge", note="x" * 10**6))
    assert await store.count("m.M") == 4
    await store.close()


async def test_a_disk_that_refuses_to_grow_leaves_the_store_as_it_was(tmp_path):
    """The operating system itself refuses here: no file of this process may grow beyond 256 KiB."""
    store = await opened(tmp_path)
    await store.commit(new("before"))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (256 * 1024, limits[1]))
    try:
        failed = await outcome(store.commit(new("huge", note="x" * 10**6)))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, ignored)
    assert isinstance(failed, StoreError)
    assert store.get("m.M", "huge") is None
    await store.commit(new("after"))
    await store.close()
    store = await opened(tmp_path)
    assert [item.id for item in (await store.list("m.M", Query())).items] == ["after", "before"]
    await store.close()


async def test_another_program_that_locks_the_database_delays_nobody_for_ever(tmp_path):
    store = await opened(tmp_path, busy_timeout=0.05)
    other = sqlite3.connect(tmp_path / sqlite.NAME, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    outcomes = [await outcome(answer) for answer in [store.commit(new(f"{n}")) for n in range(20)]]
    assert all(isinstance(one, StoreError) and "locked" in str(one) for one in outcomes)
    other.execute("ROLLBACK")
    other.close()
    await store.commit(new("after"))
    assert await store.count("m.M") == 1
    await store.close()


async def test_a_directory_that_cannot_be_made_says_why(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match=r"cannot make the directory .*file/data"):
        await opened(tmp_path / "file" / "data")


async def test_a_writer_that_dies_fails_every_commit_and_closes(tmp_path, monkeypatch):
    store = await opened(tmp_path)
    await store.commit(new("before"))

    def die(works):
        raise SystemExit("out of memory")

    monkeypatch.setattr(store, "_land", die)
    answers = [store.commit(new(f"{n}")) for n in range(sqlite.GROUP + 10)]
    outcomes = [await outcome(answer) for answer in answers]
    assert all(isinstance(one, StoreError) and "out of memory" in str(one) for one in outcomes)
    with pytest.raises(StoreError, match="died"):
        await store.commit(new("later"))
    assert store.get("m.M", "before") is not None
    await store.close()
    monkeypatch.undo()
    await store.open()
    await store.commit(new("later"))
    await store.close()


async def test_nothing_is_left_running_after_close(tmp_path):
    before = {thread.name for thread in threading.enumerate()}
    store = await opened(tmp_path)
    await asyncio.gather(*(store.count("m.M") for _ in range(8)))
    await store.close()
    after = {thread.name for thread in threading.enumerate()} - before
    assert [name for name in after if name.startswith("aegis")] == []


# --- one owner


async def test_a_second_process_is_told_who_owns_the_directory(tmp_path):
    with other_process(tmp_path, "owner") as process:
        process.stdout.readline()
        with pytest.raises(OwnedError) as refused:
            await opened(tmp_path)
        process.kill()
        process.stdout.read()
    assert f"process {process.pid} serving at http://127.0.0.1:8123" in str(refused.value)
    assert refused.value.fields == {"pid": process.pid, "address": "http://127.0.0.1:8123"}
    store = await opened(tmp_path)  # the dead own nothing
    await store.close()


async def test_a_second_store_in_the_same_process_is_refused_too(tmp_path):
    store = await opened(tmp_path)
    with pytest.raises(OwnedError, match=f"process {os.getpid()}, since"):
        await opened(tmp_path)
    await store.commit(new("a"))
    await store.close()
    await (await opened(tmp_path)).close()


# --- damage


@pytest.mark.parametrize(
    "head", [b"this is no database at all" * 99, b"SQLite format 3\0" + b"\xff" * 4080]
)
async def test_a_file_with_a_broken_head_is_called_damaged(tmp_path, head):
    await (await filled(tmp_path, 1000)).close()
    with (tmp_path / sqlite.NAME).open("r+b") as file:
        file.write(head)
    with pytest.raises(CorruptError, match=r"aegis\.db is damaged.*restore"):
        await opened(tmp_path)
    # The lock is free again: a directory put right opens.
    (tmp_path / sqlite.NAME).unlink()
    await (await opened(tmp_path)).close()


async def test_a_file_cut_short_is_called_damaged(tmp_path):
    await (await filled(tmp_path, 1000)).close()
    os.truncate(tmp_path / sqlite.NAME, 100_000)
    with pytest.raises(CorruptError):
        await opened(tmp_path)


async def test_damage_in_the_middle_is_found_when_it_is_read(tmp_path):
    await (await filled(tmp_path, 1000)).close()
    damage(tmp_path)
    store = await opened(tmp_path)  # the last close was clean, so nobody looked
    with pytest.raises(CorruptError, match="restore"):
        await store.list("m.M", Query(where=(Term("note", "y"),)))
    with pytest.raises(CorruptError):
        [store.get("m.M", f"{n:06}") for n in range(1000)]
    await store.close()


async def test_damage_in_the_middle_is_found_at_the_start_after_a_crash(tmp_path):
    await (await filled(tmp_path, 1000)).close()
    damage(tmp_path)
    (tmp_path / "owner.lock").write_text('{"pid":1,"started":""}\n')
    for _ in range(2):  # the next one looks as closely
        with pytest.raises(CorruptError, match="restore"):
            await opened(tmp_path)


def damage(directory):
    """Flips every byte of a quarter of the file, in its middle."""
    path = directory / sqlite.NAME
    content = bytearray(path.read_bytes())
    start, end = len(content) * 3 // 8 // 4096 * 4096, len(content) * 5 // 8
    content[start:end] = bytes(byte ^ 0xFF for byte in content[start:end])
    path.write_bytes(content)


# --- speed, as far as it is structure


async def test_opening_after_a_clean_close_reads_hardly_any_of_the_file(tmp_path):
    await (await filled(tmp_path, 20_000)).close()
    size = (tmp_path / sqlite.NAME).stat().st_size
    before = bytes_read()
    store = await opened(tmp_path)
    assert bytes_read() - before < 200_000 < size / 20
    await store.close()


def bytes_read():
    """How many bytes this process has read from files, cached or not."""
    (line,) = [line for line in Path("/proc/self/io").read_text().splitlines() if "rchar" in line]
    return int(line.split()[1])


async def test_hot_reads_use_an_index(tmp_path):
    store = await opened(tmp_path)
    seen = []
    store._reader.set_trace_callback(seen.append)
    store.get("m.M", "a")
    await store.event("e")
    connections = [store._idle.get() for _ in range(sqlite.READERS)]
    for db in connections:
        db.set_trace_callback(seen.append)
        store._idle.put(db)
    await store.list("m.M", Query(after=("a",)))
    await store.events(5, 5)
    await store.open_flows()
    await store.flows("m.M", "a")
    await store.flow("f")
    await store.events_of("a", 3, 5)
    await store.caused_by("e", 5)
    store.taken("k")
    await store.recordings("f")
    await store.failed_of("mail")
    await store.failed(5)
    plans = {sql: store._writer.execute(f"EXPLAIN QUERY PLAN {sql}").fetchall() for sql in seen}
    assert len(plans) == 13
    scans = [row[3] for plan in plans.values() for row in plan if row[3].startswith("SCAN")]
    assert sorted(scans) == [
        "SCAN f USING INDEX flows_open",
        "SCAN failed USING INDEX failed_by_seq",  # in its order, so no further than the limit
        "SCAN led",  # what was found so far
        "SCAN led",
    ]
    await store.close()


async def test_a_scan_does_not_hold_up_the_loop(tmp_path):
    store = await filled(tmp_path, 500)
    gate = threading.Event()
    for _ in range(sqlite.READERS - 1):
        db = store._idle.get()
        db.create_function("json_extract", 2, lambda doc, path: gate.wait(30) and None)
        store._idle.put(db)
    last = store._idle.get()
    last.create_function("json_extract", 2, lambda doc, path: gate.wait(30) and None)
    store._idle.put(last)
    scan = asyncio.ensure_future(store.list("m.M", Query(where=(Term("note", "y"),))))
    await store.commit(new("meanwhile"))
    assert store.get("m.M", "meanwhile") is not None
    assert not scan.done()
    gate.set()
    assert (await scan).items == []
    await store.close()


async def test_a_cursor_that_no_record_can_have_is_a_bad_request(tmp_path):
    store = await opened(tmp_path)
    with pytest.raises(BadRequestError):
        await store.list("m.M", Query(after=("\ud800",)))
    await store.close()


async def test_a_damaged_record_is_named_never_served_and_can_be_deleted(tmp_path):
    text = """
from aegis import Model, command

class Note(Model, endpoint="notes"):
    text: str

    @command
    def shout(self) -> "Note":
        return self.update(text=self.text.upper())
"""
    async with memory_host(store=SqliteStore(tmp_path)) as host:
        await host.deploy("notes", "1.0.0", text)
        note = await host.create("Note", text="hello")
    with contextlib.closing(sqlite3.connect(tmp_path / sqlite.NAME)) as db, db:
        db.execute("""UPDATE records SET doc = replace(doc, '"hello"', '')""")
    async with memory_host(store=SqliteStore(tmp_path)) as host:
        await host.deploy("notes", "1.0.0", text)
        for reading in (host.get("Note", note.id), host.list("Note"), host.call(note, "shout")):
            with pytest.raises(CorruptError, match=rf"notes.Note '{note.id}' is damaged"):
                await reading
        router, path = Router(host, token=None), f"/aegis/api/models/notes/{note.id}"

        async def ask(method, **headers):
            known = {"host": "localhost", **headers}
            answer = router.handle(Request(method, path, "", known, b""))
            return await answer if inspect.isawaitable(answer) else answer

        answer = await ask("GET")
        assert answer.status == 500
        assert f"notes.Note '{note.id}' is damaged".encode() in answer.body
        assert (await ask("DELETE", **{"if-match": '"1"'})).status == 204
        assert await host.list("Note") == []
