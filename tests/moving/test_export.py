"""An export is every record of one point, a line each, whoever owns the directory."""

import json
import os
import sqlite3
import stat
import subprocess
import sys
import termios
from decimal import Decimal

import pytest

from aegis.adapters.storage import sqlite
from aegis.core.errors import ConflictError, CorruptError, NotFoundError
from tests.engine.shop import TEXT


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


async def test_the_file_holds_every_record_as_it_is_stored(data, tmp_path, aegis, shop_on):
    said = aegis("data", "export", data, tmp_path / "orders.ndjson")
    header, *records, end = lines(tmp_path / "orders.ndjson")
    assert "30 records as of event" in said
    assert header["models"]["orders.Order"]["records"] == end["end"] == len(records) == 30
    async with shop_on(data) as host:
        assert header["seq"] == host.store.last_seq()
        await host.deploy("orders", "1.0.0", TEXT)
        for moved in records:
            stored = host.store.get("orders.Order", moved["id"])
            assert json.loads(stored.doc) == moved["data"]
            assert (moved["revision"], moved["created"], moved["updated"]) == (
                stored.revision, stored.created, stored.updated,
            )  # fmt: skip
    assert [Decimal(moved["data"]["total"]) for moved in records][:2] == [
        Decimal("0.10"), Decimal("1.10"),
    ]  # fmt: skip
    assert records[3]["data"]["total"] == "3.10"
    assert stat.S_IMODE((tmp_path / "orders.ndjson").stat().st_mode) == 0o600


async def test_a_running_host_and_the_command_beside_it_write_the_same(
    data, tmp_path, aegis, shop_on
):
    async with shop_on(data) as host:
        await host.deploy("orders", "1.0.0", TEXT)
        heard = []
        header = await host.export(
            str(tmp_path / "a"), "Order", told=lambda done, of: heard.append((done, of))
        )
        aegis("data", "export", data, tmp_path / "b", "--model", "orders.Order")
        assert (header.total, heard[-1]) == (30, (30, 30))
    assert lines(tmp_path / "a")[1:-1] == lines(tmp_path / "b")[1:-1]


async def test_a_host_in_memory_exports_too(tmp_path, shop_on):
    async with shop_on(None) as host:
        await host.deploy("orders", "1.0.0", TEXT)
        await host.create("Order", id="b", total="1.50", approved=False)
        await host.create("Order", id="a", total="2.50", approved=False)
        await host.export(str(tmp_path / "orders.ndjson"))
    _, *records, _ = lines(tmp_path / "orders.ndjson")
    assert [record["id"] for record in records] == ["a", "b"]


async def test_what_cannot_be_exported_is_told_and_leaves_no_file(data, tmp_path, aegis, shop_on):
    said = aegis("data", "export", data, tmp_path / "x", "--model", "orders.Ordr", expect=2)
    assert "there is no model 'orders.Ordr' here (did you mean 'orders.Order'?)" in said
    said = aegis("data", "export", tmp_path, tmp_path / "x", expect=2)
    assert "is no data directory" in said
    async with shop_on(None) as host:
        with pytest.raises(NotFoundError):
            await host.export(str(tmp_path / "x"), "orders.Order")
    db = sqlite3.connect(data / sqlite.NAME)
    db.execute("UPDATE records SET doc = replace(doc, 'number 3', 'number 4') WHERE id = 'o03'")
    db.commit()
    db.close()
    async with shop_on(data) as host:
        with pytest.raises(CorruptError, match=r"the stored orders\.Order 'o03' is damaged"):
            await host.export(str(tmp_path / "x"))
        assert [path.name for path in tmp_path.iterdir()] == ["data"]
        (tmp_path / "x").touch()
        with pytest.raises(ConflictError, match="x exists already"):
            await host.export(str(tmp_path / "x"))


def test_it_can_be_piped_to_somebody_who_reads_all_or_some_of_it(data, tmp_path, aegis):
    words = [sys.executable, "-m", "aegis.cli", "data", "export", str(data), "-"]
    piped = subprocess.run(words, capture_output=True, check=True).stdout
    aegis("data", "export", data, tmp_path / "orders.ndjson")
    written = (tmp_path / "orders.ndjson").read_bytes()
    assert piped.splitlines()[1:-1] == written.splitlines()[1:-1]
    ours, its = os.pipe()
    os.close(ours)
    done = subprocess.run(words, stdout=its, stderr=subprocess.PIPE, check=False)
    os.close(its)
    assert (done.returncode, done.stderr) == (2, b"")


def test_a_terminal_shows_how_far_it_is(data, tmp_path):
    ours, its = os.openpty()
    termios.tcsetwinsize(its, (24, 100))
    words = ["data", "export", data, tmp_path / "orders.ndjson"]
    done = subprocess.run([sys.executable, "-m", "aegis.cli", *words], stderr=its, check=False)
    shown = os.read(ours, 65536).decode()
    os.close(its)
    os.close(ours)
    assert done.returncode == 0
    assert "export:" in shown
    assert "30/30" in shown
