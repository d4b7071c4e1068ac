"""aegis.lock: made for diffs, replaced as a whole, and never half of one thing and half of another."""

import asyncio
import fcntl
import os
import signal
import subprocess
import sys
import textwrap
import time
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aegis.adapters.components import lockfile
from aegis.adapters.components.lockfile import TomlLockfile, read_lock, written_lock
from aegis.core.component import Library
from aegis.core.errors import AegisError, ConfigError, NewerFormatError
from aegis.core.lock import Locked

ORDERS = Locked(
    source="github:acme/orders@^1.2",
    version="1.2.3",
    resolved="3f" * 20,
    digest="ab" * 32,
    libraries=(
        Library(name="slugify", version="8.0.4", sha256="01" * 32),
        Library(name="text-unidecode", version="1.3", sha256="02" * 32),
    ),
    locked="2026-11-27T04:10:00.000Z",
)

TEXT = """\
# What the components of aegis.toml came to: a start takes exactly these.
# `aegis lock` writes it; keep it with aegis.toml.

format = 1

[components.customers]
source = "./customers"
version = "1.0.0"
digest = "cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd"

[components.orders]
source = "github:acme/orders@^1.2"
version = "1.2.3"
resolved = "3f3f3f3f3f3f3f3f3f3f3f3f3f3f3f3f3f3f3f3f"
digest = "abababababababababababababababababababababababababababababababab"
libraries = [
    {name = "slugify", version = "8.0.4", sha256 = "0101010101010101010101010101010101010101010101010101010101010101"},
    {name = "text-unidecode", version = "1.3", sha256 = "0202020202020202020202020202020202020202020202020202020202020202"},
]
locked = "2026-11-27T04:10:00.000Z"
"""


def test_it_is_sorted_and_a_fact_a_line():
    customers = Locked(source="./customers", version="1.0.0", digest="cd" * 32)
    lock = {"orders": ORDERS, "customers": customers}
    assert written_lock(lock).decode() == TEXT
    assert read_lock(TEXT.encode(), "aegis.lock") == lock
    assert read_lock(written_lock({}), "aegis.lock") == {}


TEXTS = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=30)


@given(
    st.dictionaries(
        st.from_regex(r"^[a-z][a-z0-9_-]{0,8}$", fullmatch=True),
        st.builds(
            Locked,
            source=TEXTS,
            version=st.just("1.2.3"),
            digest=st.just("0" * 64),
            resolved=TEXTS,
            why=TEXTS,
            held=st.none() | st.just("2.0.0"),
            follow=st.none() | st.integers(1, 999).map(float),
        ),
        max_size=4,
    )
)
def test_whatever_is_written_is_read_again(lock):
    assert read_lock(written_lock(lock), "aegis.lock") == lock


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_whatever_is_in_it_is_read_or_refused(content):
    with suppress(ConfigError, NewerFormatError):
        assert isinstance(read_lock(content, "aegis.lock"), dict)


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("format = 1", "format = 2", "format 2"),
        ("format = 1", "", "says no format"),
        ("ab" * 32, "ab", "sha256"),
        ('version = "1.2.3"', 'version = "new"', "'new' is no version"),
        ('version = "1.2.3"', "", "version"),
        ("[components.orders]", "[component.orders]", "component"),
        ("]\nlocked", "\nlocked", "cannot be read"),
    ],
)
def test_a_mistake_is_told_with_the_file(before, after, said):
    assert before in TEXT
    with pytest.raises(AegisError, match=r"aegis\.lock") as caught:
        read_lock(TEXT.replace(before, after).encode(), "aegis.lock")
    assert said in str(caught.value)


async def test_many_writers_lose_nothing(tmp_path):
    path = tmp_path / "aegis.lock"
    files = [TomlLockfile(path) for _ in range(4)]
    names = [f"component{number}" for number in range(24)]
    await asyncio.gather(
        *(
            files[number % 4].write(lambda lock, name=name: {**lock, name: ORDERS})
            for number, name in enumerate(names)
        )
    )
    assert sorted(await files[0].read()) == sorted(names)
    assert [entry.name for entry in tmp_path.iterdir()] == ["aegis.lock"]


async def test_nothing_is_written_where_nothing_changes(tmp_path):
    path = tmp_path / "aegis.lock"
    file = TomlLockfile(path)
    assert await file.write(lambda lock: lock) == {}
    assert not path.exists()
    await file.write(lambda lock: {"orders": ORDERS})
    before = path.stat()
    await file.write(lambda lock: {"orders": ORDERS})
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


async def test_a_place_that_cannot_be_written_is_told(tmp_path):
    with pytest.raises(ConfigError, match=r"aegis\.lock cannot be written"):
        await TomlLockfile(tmp_path / "nowhere" / "aegis.lock").write(lambda _: {"orders": ORDERS})
    (tmp_path / "aegis.lock").mkdir()
    with pytest.raises(ConfigError, match=r"aegis\.lock cannot be read"):
        await TomlLockfile(tmp_path / "aegis.lock").write(lambda _: {"orders": ORDERS})


async def test_who_holds_the_folder_holds_nobody_up_for_ever(tmp_path, monkeypatch):
    monkeypatch.setattr(lockfile, "PATIENCE", 0.05)
    folder = os.open(tmp_path, os.O_RDONLY)
    file = TomlLockfile(tmp_path / "aegis.lock")
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        with pytest.raises(ConfigError, match="cannot be written"):
            await file.write(lambda _: {"orders": ORDERS})
    finally:
        os.close(folder)
    await file.write(lambda _: {"orders": ORDERS})
    assert await file.read() == {"orders": ORDERS}


WRITER = """
import asyncio, itertools, sys
from pathlib import Path
from aegis.adapters.components.lockfile import TomlLockfile
from aegis.core.lock import Locked

async def main():
    file = TomlLockfile(Path(sys.argv[1]))
    for number in itertools.count(1):
        one = Locked(source="x" * 2000, version=f"1.{number}.0", digest="0" * 64)
        await file.write(lambda lock: {f"part{n}": one for n in range(20)})
        print(number, flush=True)

asyncio.run(main())
"""


def test_a_writer_that_is_killed_leaves_a_whole_lock(tmp_path):
    path = tmp_path / "aegis.lock"
    script = tmp_path / "writer.py"
    script.write_text(textwrap.dedent(WRITER))
    last = 0
    for attempt in range(4):
        writer = subprocess.Popen(
            [sys.executable, str(script), str(path)], stdout=subprocess.PIPE, text=True
        )
        assert writer.stdout is not None
        assert writer.stdout.readline().strip() == "1"
        time.sleep(0.013 * attempt)
        os.kill(writer.pid, signal.SIGKILL)
        told = [int(line) for line in writer.stdout.read().split() if line.isdigit()]
        writer.stdout.close()
        writer.wait()
        lock = read_lock(path.read_bytes(), path.name)
        numbers = {one.version for one in lock.values()}
        assert len(lock) == 20
        assert len(numbers) == 1
        last = max([1, *told])
        assert int(numbers.pop().split(".")[1]) >= last
    # What the killed ones left is in nobody's way.
    asyncio.run(TomlLockfile(path).write(lambda _: {"orders": ORDERS}))
    left = {entry.name for entry in tmp_path.iterdir()}
    assert left == {"aegis.lock", "writer.py"}
