"""A bad disk: whatever bit of a database flips, it is detected or harms nothing."""

import asyncio
import contextlib
import logging
import os
import random
import shutil

import pytest

from aegis.adapters.storage import sqlite
from aegis.adapters.storage.sqlite import SqliteStore
from aegis.core.errors import AegisError, CorruptError
from aegis.core.query import Query, decode_cursor
from aegis.protocols import Commit, Cursor, Entry, Put, Taken, Unclaimed
from tests.adapters.test_sqlite import NOW, purchase, record

FLIPS = int(os.environ.get("AEGIS_FLIPS", "300"))
PARTS = 10
ORDERS = 120


def order(n):
    """An order with three events that caused one another, and what else is kept of it."""
    commit = purchase(f"{n:04}")
    id = f"{n:04}"
    commit.puts[0] = Put(record(id, note=f"note {n} " * 9), 0)
    cause = commit.events[0].id
    for k in range(2):
        doc = b'{"id":"%d-%d","data":{"n":%d}}' % (n, k, n)
        commit.events.append(Entry(f"event-{id}-{k}", "m.paid", id, None, NOW, doc, 0, cause))
    commit.cursors.append(Cursor(f"listener {id}", n))
    commit.taken.append(Taken(f"/out {id}", cause, NOW))
    commit.unclaimed.append(Unclaimed(cause, "m.created", NOW))
    return commit


async def everything(store):
    """All that can be read of the orders: a name, and how to read it as a dict."""
    ids = [f"{n:04}" for n in range(ORDERS)]

    async def records():
        return {id: found.sound() for id in ids if (found := store.get("m.M", id))}

    async def listed():
        found, after = {}, None
        while True:
            page = await store.list("m.M", Query(limit=50, after=after))
            found |= {one.id: one.sound() for one in page.items}
            if page.next is None:
                return found
            after = decode_cursor(page.next, 1)

    async def journal():
        return {one.seq: one for one in await store.events(0, 10_000)}

    async def by_id():
        return {id: found for id in ids if (found := await store.event(f"event-{id}"))}

    async def by_subject():
        return {(id, e.seq): e for id in ids for e in await store.events_of(id, 0, 99)}

    async def by_cause():
        return {(id, e.seq): e for id in ids for e in await store.caused_by(f"event-{id}", 99)}

    async def flows():
        return {one[0].id: one for one in await store.open_flows()}

    async def flows_of():
        return {(id, one[0].id): one for id in ids for one in await store.flows("m.M", id)}

    async def cursors():
        return {id: n for id in ids if (n := await store.cursor(f"listener {id}")) is not None}

    async def taken():
        return {id: e for id in ids if (e := store.taken(f"/out {id}"))}

    async def unclaimed():
        return {one.event: one for one in await store.unclaimed()}

    async def last():
        return {"last": store.last_seq()}

    return [
        *(records, listed, journal, by_id, by_subject, by_cause),
        *(flows, flows_of, cursors, taken, unclaimed, last),
    ]


@pytest.fixture(scope="module")
def database(tmp_path_factory):
    """The bytes of a filled database, and all that is read of it."""
    directory = tmp_path_factory.mktemp("flips")

    async def fill():
        store = SqliteStore(directory)
        await store.open()
        await store.commit(Commit(puts=[Put(record("zz", note="x" * 9000), 0)]))  # overflow pages
        for n in range(ORDERS):
            await store.commit(order(n))
        found = {read.__name__: await read() for read in await everything(store)}
        await store.close()
        return found

    found = asyncio.run(fill())
    assert all(found.values())
    return (directory / sqlite.NAME).read_bytes(), found


@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize("end", ["a crash", "a clean close"])
async def test_a_flipped_bit_is_detected_or_harmless(tmp_path, database, part, end, caplog):
    content, expected = database
    dice = random.Random(f"{part} {end}")
    for number in range(FLIPS // PARTS // 2):
        at, bit = dice.randrange(len(content)), dice.randrange(8)
        damaged = bytearray(content)
        damaged[at] ^= 1 << bit
        directory = tmp_path / str(number)
        directory.mkdir()
        (directory / sqlite.NAME).write_bytes(damaged)
        if end == "a crash":
            (directory / "owner.lock").write_text('{"pid":1,"started":""}\n')
        caplog.clear()
        about = f"bit {bit} of byte {at} (page {at // 4096 + 1}), after {end}"
        await look(directory, expected, caplog, about, end)
        (directory / sqlite.NAME).unlink()


async def look(directory, expected, caplog, about, end="a crash"):
    """Open the store and read all of it: nothing wrong is served, nothing missing goes untold."""
    store = SqliteStore(directory)
    try:
        await store.open()
    except AegisError:
        return
    told, missing = [], []
    try:
        for read in await everything(store):
            try:
                found = await read()
            except AegisError as error:
                told.append(error)
                continue
            wanted = expected[read.__name__]
            wrong = {key: value for key, value in found.items() if wanted.get(key) != value}
            short = {
                key for key, value in wrong.items() if isinstance(value, tuple) and not value[1]
            }
            if short and end != "a crash":  # a flow whose only step is damaged beyond knowing it
                missing.append(read.__name__)
                wrong = {key: value for key, value in wrong.items() if key not in short}
            assert not wrong, f"{about}: {read.__name__} served {wrong}"
            if len(found) < len(wanted):
                missing.append(read.__name__)
        with contextlib.suppress(AegisError):
            await store.audit()
    finally:
        await store.close()
    told += [one for one in caplog.records if one.levelno >= logging.ERROR]
    assert told or not missing, f"{about}: {missing} lack something, and nobody was told"


async def test_a_schema_that_is_no_text_any_more_is_called_damaged(tmp_path, database):
    content, _ = database
    at = content.index(b"CREATE TABLE records")
    damaged = content[: at + 20] + b"\xea" + content[at + 21 :]
    (tmp_path / sqlite.NAME).write_bytes(damaged)
    with pytest.raises(CorruptError, match="is damaged"):
        await SqliteStore(tmp_path).open()


async def logged(directory, count):
    """The files of a store that was cut off after `count` commits that are in its log only."""
    live, left = directory / "live", directory / "left"
    left.mkdir()
    store = SqliteStore(live)
    await store.open()
    await store.close()
    await store.open()
    for n in range(count):
        await store.commit(order(n))
    content = {path.name: path.read_bytes() for path in live.iterdir()}
    await store.close()
    for name, data in content.items():
        (left / name).write_bytes(data)
    return left, left / f"{sqlite.NAME}-wal"


async def test_damage_in_the_middle_of_the_log_is_told_as_often_as_one_asks(tmp_path):
    directory, log = await logged(tmp_path, 20)
    content = log.read_bytes()
    dice = random.Random(7)
    for _ in range(20):
        damaged = bytearray(content)
        damaged[dice.randrange(32, len(content) // 2)] ^= 1 << dice.randrange(8)
        log.write_bytes(damaged)
        for _ in range(2):
            with pytest.raises(CorruptError, match=r"aegis\.db-wal is damaged"):
                await SqliteStore(directory).open()
    log.write_bytes(content)
    store = SqliteStore(directory)
    await store.open()
    assert store.last_seq() == 60
    await store.close()


async def test_a_log_that_ends_in_what_a_power_cut_left_is_no_damage(tmp_path):
    directory, log = await logged(tmp_path, 20)
    content, frame = log.read_bytes(), 24 + 4096
    commits = [at for at in range(32, len(content), frame) if content[at + 4 : at + 8] != bytes(4)]
    # Of the last commit some frames are there, and torn ones, but not all of it.
    last = bytearray(content)
    last[commits[-2] + frame + 100] ^= 1
    for left in (content, content[: commits[-1]], content[: commits[-1] + 99], bytes(last)):
        for path in directory.iterdir():
            if path.name.endswith("-shm"):
                path.unlink()
        log.write_bytes(left)
        copied = tmp_path / f"copy-{len(left)}-{left == content}"
        shutil.copytree(directory, copied)
        store = SqliteStore(copied)
        await store.open()
        assert store.last_seq() == (60 if left == content else 57)
        await store.close()


async def test_a_torn_last_page_is_detected_or_harmless(tmp_path, database, caplog):
    content, expected = database
    for cut in (1, 100, 4095, 4096, 5000):
        directory = tmp_path / str(cut)
        directory.mkdir()
        (directory / sqlite.NAME).write_bytes(content[:-cut])
        await look(directory, expected, caplog, f"{cut} bytes missing at the end")


async def test_damage_found_while_running_makes_the_next_start_look_first(
    tmp_path, database, caplog
):
    content, expected = database
    at = content.index(b"m.M0007flow-0007")
    (tmp_path / sqlite.NAME).write_bytes(content[:at] + b"m.M0008" + content[at + 7 :])
    store = SqliteStore(tmp_path)
    for life in range(2):
        caplog.clear()
        await store.open()
        assert ("made anew" in caplog.text) is (life == 1)
        await store.audit()
        assert ("aegis.db is damaged: row " in caplog.text) is (life == 0)
        await store.close()
    await store.open()
    for read in await everything(store):
        assert await read() == expected[read.__name__]
    await store.close()


async def test_damaged_indexes_are_made_anew_after_a_crash(tmp_path, database, caplog):
    content, expected = database
    at = content.index(b"m.M0007flow-0007")
    damaged = content[:at] + b"m.M0008" + content[at + 7 :]
    (tmp_path / sqlite.NAME).write_bytes(damaged)
    (tmp_path / "owner.lock").write_text('{"pid":1,"started":""}\n')
    store = SqliteStore(tmp_path)
    await store.open()
    assert "the indexes of the database were damaged (row " in caplog.text
    for read in await everything(store):
        assert await read() == expected[read.__name__]
    await store.close()


async def test_a_damaged_row_is_named_in_the_log_after_a_crash(tmp_path, database, caplog):
    content, _ = database
    damaged = content.replace(b"note 77 note", b"note 76 note")
    assert damaged != content
    (tmp_path / sqlite.NAME).write_bytes(damaged)
    (tmp_path / "owner.lock").write_text('{"pid":1,"started":""}\n')
    store = SqliteStore(tmp_path)
    await store.open()
    assert "the row 'm.M', '0077' of records is damaged" in caplog.text
    with pytest.raises(CorruptError, match=r"m\.M '0077' is damaged"):
        store.get("m.M", "0077").sound()
    await store.close()
