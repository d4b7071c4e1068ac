"""A backup is what was there at one point, checked, and a data directory can be made of it."""

import json
import os
import signal
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from aegis.adapters.storage import backup as backups
from aegis.adapters.storage import sqlite
from aegis.adapters.storage.backup import back_up, restore
from aegis.adapters.storage.sqlite import SqliteStore
from aegis.core.errors import (
    ConflictError,
    CorruptError,
    NewerFormatError,
    OwnedError,
    StoreError,
)
from aegis.core.flow import FlowState
from tests.engine.shop import TEXT


def unheard(_done, _of):
    pass


def parts(folder):
    return sorted(path.name for path in folder.iterdir() if path.name.endswith(".part"))


def flip(path, place):
    with path.open("r+b") as file:
        file.seek(place)
        (byte,) = file.read(1)
        file.seek(place)
        file.write(bytes([byte ^ 4]))


async def test_a_restored_backup_is_the_same_data_and_its_host_goes_on(data, tmp_path, shop_on):
    heard = []
    made = back_up(data, tmp_path / "backup", lambda done, of: heard.append((done, of)))
    assert heard[-1][0] == heard[-1][1] == made.files[sqlite.NAME].bytes
    assert heard == sorted(heard)
    restore(tmp_path / "backup", tmp_path / "again", unheard)
    async with shop_on(tmp_path / "again") as host:
        await host.deploy("orders", "1.0.0", TEXT)
        assert len(await host.list("Order")) == 30
        assert host.store.last_seq() >= made.seq > 0
        order = await host.create("Order", total="7")
        assert (await host.wait(order)).state is FlowState.COMPLETED
    assert parts(tmp_path) == []


def test_the_key_goes_with_it_and_all_is_private(data, tmp_path):
    old = os.umask(0)
    try:
        made = back_up(data, tmp_path / "backup", unheard)
        restore(tmp_path / "backup", tmp_path / "again", unheard)
    finally:
        os.umask(old)
    assert set(made.files) == {sqlite.NAME, "recordings.key"}
    for folder in (tmp_path / "backup", tmp_path / "again"):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}
    key = (data / "recordings.key").read_bytes()
    assert (tmp_path / "again" / "recordings.key").read_bytes() == key


async def test_commits_go_on_during_a_backup_which_holds_one_point(data, tmp_path, shop_on):
    # The writer commits between any two steps of the copy: none of that may be in it.
    async with shop_on(data) as host:
        await host.deploy("orders", "1.0.0", TEXT)
        before = host.store.last_seq()
        stored = []

        def told(_done, _of):
            if len(stored) < 40:
                db = sqlite3.connect(data / sqlite.NAME, isolation_level=None)
                db.execute(
                    "INSERT INTO cursors (subscriber, seq) VALUES (?, 1)", (f"t{len(stored)}",)
                )
                db.close()
                stored.append(1)

        backups.PAGES, pages = 2, backups.PAGES
        try:
            made = await host.backup(str(tmp_path / "backup"), told=told)
        finally:
            backups.PAGES = pages
        order = await host.create("Order", total="7")
        await host.wait(order)
    assert len(stored) > 5
    assert made.seq == before
    db = sqlite3.connect(tmp_path / "backup" / sqlite.NAME)
    assert db.execute("SELECT count(*) FROM cursors WHERE subscriber LIKE 't%'").fetchone() == (0,)
    db.close()


async def test_a_host_in_memory_refuses(tmp_path, shop_on):
    async with shop_on(None) as host:
        with pytest.raises(ConflictError, match="keeps everything in memory"):
            await host.backup(str(tmp_path / "backup"))
    assert not (tmp_path / "backup").exists()


def test_what_exists_is_not_written_over(data, tmp_path):
    (tmp_path / "backup").mkdir()
    with pytest.raises(ConflictError, match="backup exists already"):
        back_up(data, tmp_path / "backup", unheard)
    back_up(data, tmp_path / "other", unheard)
    with pytest.raises(ConflictError, match="data exists already"):
        restore(tmp_path / "other", data, unheard)


async def test_a_directory_that_a_host_owns_is_not_restored_over(data, tmp_path):
    back_up(data, tmp_path / "backup", unheard)
    store = SqliteStore(data)
    await store.open()
    store.announce("http://127.0.0.1:9")
    with pytest.raises(OwnedError, match=f"process {os.getpid()} serving at http://127.0.0.1:9"):
        restore(tmp_path / "backup", data, unheard)
    await store.close()


@pytest.mark.parametrize("name", [sqlite.NAME, "recordings.key"])
def test_a_flipped_bit_in_a_backup_is_found_and_nothing_is_restored(data, tmp_path, name):
    back_up(data, tmp_path / "backup", unheard)
    flip(tmp_path / "backup" / name, 17)
    with pytest.raises(CorruptError, match=f"{name} is damaged: it is not what was backed up"):
        restore(tmp_path / "backup", tmp_path / "again", unheard)
    assert not (tmp_path / "again").exists()
    assert parts(tmp_path) == []


def test_a_backup_that_is_cut_off_or_lacks_a_file_is_refused(data, tmp_path):
    back_up(data, tmp_path / "backup", unheard)
    (tmp_path / "backup" / "recordings.key").unlink()
    with pytest.raises(StoreError, match=r"recordings\.key cannot be read"):
        restore(tmp_path / "backup", tmp_path / "again", unheard)
    os.truncate(tmp_path / "backup" / sqlite.NAME, 5000)
    with pytest.raises(CorruptError, match=r"aegis\.db is damaged"):
        restore(tmp_path / "backup", tmp_path / "again", unheard)
    assert not (tmp_path / "again").exists()


@pytest.mark.parametrize(
    ("change", "error", "match"),
    [
        ({"format": 9}, NewerFormatError, "newer than this one"),
        ({"store": 99}, NewerFormatError, "newer than this one"),
        ({"files": {}}, CorruptError, "no database"),
        ({"files": {"../x": {"bytes": 1, "sha256": ""}}}, CorruptError, r"\.\./x"),
        ({"files": {"..": {"bytes": 1, "sha256": ""}}}, CorruptError, r"\.\."),
        ({"seq": "many"}, CorruptError, "Expected `int`"),
        ({"aegis": "export"}, CorruptError, "damaged"),
    ],
)
def test_a_manifest_that_is_not_ours_is_refused(data, tmp_path, change, error, match):
    back_up(data, tmp_path / "backup", unheard)
    path = tmp_path / "backup" / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(error, match=match):
        restore(tmp_path / "backup", tmp_path / "again", unheard)
    assert not (tmp_path / "again").exists()


def test_what_is_no_backup_and_no_data_directory_is_refused(tmp_path):
    with pytest.raises(StoreError, match="is no backup"):
        restore(tmp_path, tmp_path / "again", unheard)
    with pytest.raises(StoreError, match="is no data directory"):
        back_up(tmp_path, tmp_path / "backup", unheard)
    (tmp_path / sqlite.NAME).write_bytes(b"something else " * 1000)
    with pytest.raises(CorruptError, match="file is not a database"):
        back_up(tmp_path, tmp_path / "backup", unheard)
    assert not (tmp_path / "backup").exists()


def test_a_damaged_row_is_no_backup(data, tmp_path, caplog):
    db = sqlite3.connect(data / sqlite.NAME)
    db.execute("UPDATE records SET doc = replace(doc, 'number 3', 'number 4') WHERE id = 'o03'")
    db.commit()
    db.close()
    with pytest.raises(CorruptError, match="nothing was backed up"):
        back_up(data, tmp_path / "backup", unheard)
    assert "'o03'" in caplog.text
    assert not (tmp_path / "backup").exists()
    assert parts(tmp_path) == []


async def test_a_damaged_log_is_no_backup_and_a_sound_one_is_left_as_it_is(data, tmp_path, shop_on):
    async with shop_on(data) as host:
        await host.deploy("orders", "1.0.0", TEXT)
        for _ in range(5):
            await host.wait(await host.create("Order", total="7"))
        cut = {path.name: path.read_bytes() for path in data.iterdir()}  # as a crash leaves it
    left = tmp_path / "left"
    left.mkdir()
    for name, content in cut.items():
        (left / name).write_bytes(content)
    log = bytearray(cut[f"{sqlite.NAME}-wal"])
    log[len(log) // 4] ^= 4
    (left / f"{sqlite.NAME}-wal").write_bytes(log)
    with pytest.raises(CorruptError, match=r"the log .*aegis\.db-wal is damaged"):
        back_up(left, tmp_path / "backup", unheard)
    assert not (tmp_path / "backup").exists()
    (left / f"{sqlite.NAME}-wal").write_bytes(cut[f"{sqlite.NAME}-wal"])
    back_up(left, tmp_path / "backup", unheard)
    assert (left / f"{sqlite.NAME}-wal").read_bytes() == cut[f"{sqlite.NAME}-wal"]
    assert (left / "owner.lock").stat().st_size > 0  # the next owner looks as after a crash
    restore(tmp_path / "backup", tmp_path / "again", unheard)
    async with shop_on(tmp_path / "again") as host:
        await host.deploy("orders", "1.0.0", TEXT)
        assert len(await host.list("Order")) == 35


def test_a_disk_that_is_full_leaves_nothing(data, tmp_path):
    # A limit on the size of files is what a process meets on a full disk: a write that fails.
    # -B: what is too long for the limit would be cut off, modules that are compiled too.
    code = (
        "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (40000, 40000));"
        "from aegis.cli import main; main(sys.argv[1:])"
    )
    words = [
        sys.executable,
        "-B",
        "-c",
        code,
        "data",
        "backup",
        str(data),
        str(tmp_path / "backup"),
    ]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    assert "the copy cannot be written" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "backup").exists()
    assert parts(tmp_path) == []


LOAD = """
import asyncio, sys
from pathlib import Path
from aegis.adapters.storage.sqlite import SqliteStore
from aegis.testing import EagerClock, memory_host
from tests.engine.shop import TEXT, Desk

async def main():
    store = SqliteStore(Path(sys.argv[1]))
    async with memory_host(store=store, values={"say": Desk()}, clock=EagerClock()) as host:
        await host.deploy("orders", "1.0.0", TEXT)
        async def one():
            while True:
                print((await host.create("Order", total="7")).id, flush=True)
        await asyncio.gather(*(one() for _ in range(8)))

asyncio.run(main())
"""


async def test_under_load_what_was_acknowledged_is_in_the_backup_and_flows_go_on(
    tmp_path, aegis, shop_on
):
    with subprocess.Popen(  # noqa: ASYNC220 -- nothing else runs on this loop
        [sys.executable, "-c", LOAD, str(tmp_path / "data")],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    ) as host:
        acknowledged = [host.stdout.readline().strip() for _ in range(200)]
        said = aegis("data", "backup", tmp_path / "data", tmp_path / "backup")
        more = [host.stdout.readline().strip() for _ in range(50)]  # it was not held up
        host.send_signal(signal.SIGKILL)
    # Nobody owns it now, and what was committed last is in the log only.
    aegis("data", "backup", tmp_path / "data", tmp_path / "last")
    assert "bytes as of event" in said
    assert all(more)
    for name, known in (("backup", acknowledged), ("last", acknowledged + more)):
        aegis("data", "restore", tmp_path / name, tmp_path / f"from {name}")
        async with shop_on(tmp_path / f"from {name}") as host:
            await host.deploy("orders", "1.0.0", TEXT)
            for id in known:
                order = await host.get("Order", id)
                assert (await host.wait(order, 30)).state is FlowState.COMPLETED
            assert await host.failed() == []
