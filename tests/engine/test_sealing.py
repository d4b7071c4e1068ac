"""Sealed fields on disk: whose key opens them, when keys change, and what is refused."""

import asyncio
import contextlib
import json
import os
import re
import sqlite3

import msgspec
import pytest

from aegis.adapters.storage.memory import MemoryStore
from aegis.adapters.storage.sqlite import NAME, SqliteStore
from aegis.adapters.storage.table import checksum
from aegis.adapters.storage.tables import RECORDS
from aegis.adapters.vault import FILE, FileKeeper, MemoryKeeper
from aegis.bootstrap import build_host
from aegis.configuration import Config
from aegis.core.errors import (
    ComponentError,
    ConfigError,
    ConflictError,
    CorruptError,
    DuplicateError,
    SealError,
)
from aegis.core.query import Query
from aegis.testing import memory_host
from tests.fakes import ShelfDatasource

TEXT = """
from typing import Annotated
from aegis import Model, encrypted, private, unique

class User(Model, endpoint="users"):
    name: str
    ssn: Annotated[str, private, unique]
    card: Annotated[str | None, encrypted] = None
"""
OPEN = TEXT.replace(", private, unique]", ", None]").replace(", encrypted]", ", None]")


@contextlib.asynccontextmanager
async def opened(data, text=TEXT, lock=None):
    keeper = FileKeeper(data, lock)
    async with memory_host(store=SqliteStore(data), keeper=keeper) as host:
        if text is not None:
            await host.deploy("users", "1.0.0", text)
        yield host


async def filled(host, count=3):
    for n in range(count):
        await host.create("User", id=f"u{n:03}", name=f"n{n}", ssn=f"s{n}", card=f"c{n}")


def stored(host, count=3):
    return [json.loads(host.store.get("users.User", f"u{n:03}").doc) for n in range(count)]


async def test_a_field_is_an_object_with_its_key_and_equal_values_differ_but_for_the_hash(tmp_path):
    async with opened(tmp_path) as host:
        await host.create("User", id="a", name="x", ssn="1", card="same")
        await host.create("User", id="b", name="x", ssn="2", card="same")
        await host.create("User", id="c", name="x", ssn="3")
        a, b, c = (json.loads(host.store.get("users.User", id).doc) for id in "abc")
        assert set(a["card"]) == {"k", "h", "c"}
        assert (a["card"]["h"], a["card"]["k"]) == (b["card"]["h"], b["card"]["k"])
        assert a["card"]["c"] != b["card"]["c"]
        assert c["card"] is None
        assert (await host.get("User", "b")).card == "same"
        assert (tmp_path / FILE).stat().st_mode & 0o777 == 0o600


async def test_no_keys_are_made_for_models_that_seal_nothing(tmp_path):
    async with opened(tmp_path, OPEN) as host:
        await filled(host)
    assert not (tmp_path / FILE).exists()


async def test_keys_open_what_they_sealed_after_a_restart(tmp_path):
    async with opened(tmp_path) as host:
        await filled(host)
    async with opened(tmp_path) as host:
        assert (await host.get("User", "u001")).ssn == "s1"
        assert [user.id for user in await host.query("User", ssn="s2")] == ["u002"]
        with pytest.raises(DuplicateError):
            await host.create("User", name="x", ssn="s1")
        past = await host.at(1, "u000", "User")
        assert past.record.ssn == "s0"


@pytest.mark.parametrize("what", ["missing", "other", "damaged", "index", "open"])
async def test_without_the_right_keys_nothing_is_deployed(tmp_path, what):
    async with opened(tmp_path / "data") as host:
        await filled(host)
    async with opened(tmp_path / "else"):
        pass
    path = tmp_path / "data" / FILE
    other = json.loads((tmp_path / "else" / FILE).read_bytes())
    ours = json.loads(path.read_bytes())
    if what == "missing":
        path.unlink()
    elif what == "other":
        path.write_text(json.dumps(other))
    elif what == "damaged":
        path.write_bytes(path.read_bytes()[:-9])
    elif what == "index":
        ours["ring"]["index"] = other["ring"]["index"]
        path.write_text(json.dumps(ours))
    else:
        path.chmod(0o644)
    before = path.read_bytes() if path.exists() else None
    with pytest.raises(ConfigError, match=re.escape(FILE)) as refused:
        async with opened(tmp_path / "data"):
            pass
    assert refused.value.hint
    assert (path.read_bytes() if path.exists() else None) == before


async def test_a_key_of_the_configuration_locks_the_file(tmp_path):
    one, two = os.urandom(32), os.urandom(32)
    async with opened(tmp_path) as host:  # not locked yet
        await filled(host)
    ring = json.loads((tmp_path / FILE).read_bytes())["ring"]
    async with opened(tmp_path, lock=lambda: one) as host:
        assert (await host.get("User", "u001")).ssn == "s1"
        await host.rotate_keys()
    text = (tmp_path / FILE).read_text()
    assert ring["index"] not in text
    assert "ring" not in text
    for lock, said in ((lambda: two, "does not open with the key"), (None, "is locked")):
        with pytest.raises(ConfigError, match=said):
            async with opened(tmp_path, lock=lock):
                pass
    async with opened(tmp_path, lock=lambda: one) as host:
        assert (await host.get("User", "u001")).ssn == "s1"


async def test_a_host_is_built_with_the_keys_that_its_configuration_names(tmp_path):
    overrides = {"keys.fields": os.urandom(32).hex()}
    config = Config(data=tmp_path, overrides=overrides)
    async with build_host(config) as host:
        await host.deploy("users", "1.0.0", TEXT)
        await filled(host)
    assert "locked" in json.loads((tmp_path / FILE).read_bytes())
    assert "keys" not in str(config.lookup("keys.fields"))
    with pytest.raises(ConfigError, match="is locked: the configuration must name"):
        async with build_host(Config(data=tmp_path)) as host:
            await host.deploy("users", "1.0.0", TEXT)
    with pytest.raises(ConfigError, match=r"keys\.fields is no key of 32 bytes"):
        build_host(Config(data=tmp_path, overrides={"keys.fields": "short"}))


async def test_new_keys_seal_all_records_while_others_write(tmp_path):
    told = []
    async with opened(tmp_path) as host:
        await filled(host, 350)
        before = {n: host.store.get("users.User", f"u{n:03}") for n in range(350)}
        old = {doc["ssn"]["k"] for doc in stored(host, 350)}
        going = True

        async def write(n):
            count = 0
            while going:
                count += 1
                user = await host.get("User", f"u{n:03}")
                await host.update(user, card=f"{n}-{count}")
                await asyncio.sleep(0)
            return count

        busy = [asyncio.create_task(write(n)) for n in range(0, 350, 50)]
        made = await host.rotate_keys(told=lambda done, of: told.append((done, of)))
        going = False
        counts = dict(zip(range(0, 350, 50), await asyncio.gather(*busy), strict=True))
        assert {doc["ssn"]["k"] for doc in stored(host, 350)} == {made.key} != old
        for n, was in before.items():
            now = host.store.get("users.User", was.id)
            assert now.revision == was.revision + counts.get(n, 0)
            if n not in counts:
                assert (now.updated, host.spec("User").opened(now)) == (
                    was.updated,
                    host.spec("User").opened(was),
                )
        assert told[-1] == (350, 350)
        assert told == sorted(told)
        assert made.records >= 350 - len(busy)
        with pytest.raises(DuplicateError):
            await host.create("User", name="x", ssn="s7")
        assert len(await host.query("User", ssn__in=["s1", "s2"])) == 2
        assert (await host.at(1, "u000", "User")).record.ssn == "s0"  # sealed with the old key
    async with opened(tmp_path) as host:
        assert (await host.get("User", "u001")).ssn == "s1"
        assert (await host.at(1, "u000", "User")).record.ssn == "s0"


async def test_a_change_of_keys_that_is_cut_off_loses_nothing(tmp_path):
    async with opened(tmp_path) as host:
        await filled(host, 350)
        seen = asyncio.Event()
        rotating = asyncio.create_task(host.rotate_keys(told=lambda *_: seen.set()))
        await seen.wait()
        with pytest.raises(ConflictError, match="the keys are being changed"):
            await host.rotate_keys()
        rotating.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await rotating
        assert len({doc["ssn"]["k"] for doc in stored(host, 350)}) == 2
    async with opened(tmp_path) as host:
        assert [(await host.get("User", f"u{n:03}")).ssn for n in (0, 349)] == ["s0", "s349"]
        made = await host.rotate_keys()
        assert made.records == 350
        assert {doc["ssn"]["k"] for doc in stored(host, 350)} == {made.key}


async def test_there_must_be_something_to_seal_anew(tmp_path):
    async with opened(tmp_path, OPEN) as host:
        with pytest.raises(
            ConflictError, match="no model that is live and kept here has sealed fields"
        ):
            await host.rotate_keys()


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (lambda a, b: a.update(ssn=b["ssn"]), SealError),  # of another record
        (lambda a, b: a.update(card=a["ssn"]), SealError),  # of another field
        (lambda a, b: a["ssn"].update(h=b["ssn"]["h"]), CorruptError),
        (lambda a, b: a["ssn"].update(c=a["ssn"]["c"][:-8] + "AAAAAAA="), SealError),
        (lambda a, b: a["ssn"].update(c="no base64"), CorruptError),
        (lambda a, b: a["ssn"].update(k="00000000"), SealError),
    ],
    ids=["record", "field", "hash", "text", "base64", "key"],
)
async def test_what_was_sealed_opens_in_its_place_only(tmp_path, change, error):
    async with opened(tmp_path) as host:
        await filled(host)
        a, b, _ = stored(host)
        change(a, b)
        record = host.store.get("users.User", "u000")
    with contextlib.closing(sqlite3.connect(tmp_path / NAME)) as db, db:
        doc = msgspec.json.encode(a)
        row = RECORDS.row(record.model, record.id, 1, record.created, record.updated, doc=doc)
        db.create_function("checksum", -1, checksum, deterministic=True)
        db.execute(f"REPLACE INTO records VALUES ({', '.join('?' * len(row))})", row)
    async with opened(tmp_path, None) as host:
        with contextlib.suppress(ConfigError):  # the oldest record is tried at once
            await host.deploy("users", "1.0.0", TEXT)
        if "users" in {one.name for one in host.status().components}:
            with pytest.raises(error):
                await host.get("User", "u000")
        else:
            with pytest.raises(ConfigError, match=r"users\.User 'u000' was sealed with other keys"):
                await host.deploy("users", "1.0.0", TEXT)


async def test_an_export_goes_back_in_where_its_keys_are_and_nowhere_else(tmp_path):
    path = str(tmp_path / "export")
    async with opened(tmp_path / "data") as host:
        await filled(host)
        users = await host.list("User", sort="id")
        await host.export(path)
        assert (await host.import_(path)).known == 3
        for user in users:
            await host.delete(user)
        assert (await host.import_(path)).created == 3
        assert await host.list("User", sort="id") == users
    async with opened(tmp_path / "else") as host:
        with pytest.raises(SealError, match=r"line 2: .* not in fields\.key") as refused:
            await host.import_(path)
        assert refused.value.fields["line"] == 2
        assert await host.count("User") == 0


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        (OPEN, TEXT, "users.User.ssn stands open in 3 records"),
        (TEXT, OPEN, "users.User.ssn is sealed in 3 records"),
    ],
)
async def test_a_marker_comes_and_goes_only_while_there_are_no_records(
    tmp_path, before, after, said
):
    async with opened(tmp_path, before) as host:
        await filled(host)
        with pytest.raises(ComponentError, match=said) as refused:
            await host.deploy("users", "1.0.0", after)
        assert "%aegis reset users" in str(refused.value)
        assert (await host.get("User", "u000")).ssn == "s0"
        await host.reset("users")
        await host.deploy("users", "1.0.0", after)
        await filled(host)
        assert (await host.get("User", "u000")).ssn == "s0"


async def test_what_was_private_may_be_encrypted_from_now_on_and_back(tmp_path):
    async with opened(tmp_path) as host:
        await filled(host)
        await host.deploy("users", "1.0.0", TEXT.replace("private, unique", "encrypted, unique"))
        assert (await host.get("User", "u000")).ssn == "s0"
        await host.deploy("users", "1.0.0", TEXT)
        assert (await host.get("User", "u000")).ssn == "s0"


async def test_a_sealed_field_that_is_new_is_its_default_in_records_of_before(tmp_path):
    more = TEXT + '    pin: Annotated[str, private] = "none"\n    tag: str = "t"\n'
    async with opened(tmp_path) as host:
        await filled(host)
        await host.deploy("users", "1.0.0", more)
        user = await host.get("User", "u000")
        assert (user.pin, user.tag) == ("none", "t")
        assert (await host.update(user, pin="1234")).pin == "1234"
        assert "1234" not in str(stored(host))


async def test_a_host_without_keys_refuses_models_with_sealed_fields():
    async with memory_host() as host:
        host._deploys.vault = None
        with pytest.raises(ComponentError, match="User has sealed fields, and this host has no"):
            await host.deploy("users", "1.0.0", TEXT)


async def test_what_is_kept_elsewhere_is_sealed_there_and_needs_its_keys():
    shelf, keeper, store = ShelfDatasource(), MemoryKeeper(), MemoryStore()
    text = TEXT.replace('"users"', '"users", store="shelf"')
    made = {"shelf": lambda: shelf}
    async with memory_host(datasources=made, keeper=keeper, store=store) as host:
        await host.deploy("users", "1.0.0", text)
        await filled(host)
        assert [user.id for user in await host.query("User", ssn="s1")] == ["u001"]
        assert [user.ssn for user in await host.list("User", sort="id")] == ["s0", "s1", "s2"]
        (page,) = [await shelf.list("users.User", Query(limit=9))]
        assert len(page.items) == 3
        assert not any(b'"s1"' in record.doc or b'"c1"' in record.doc for record in page.items)
    with pytest.raises(ConfigError, match=r"fields\.key"):
        async with memory_host(datasources=made, store=store) as host:
            await host.deploy("users", "1.0.0", text)
    async with memory_host(datasources=made, keeper=keeper, store=store) as host:
        await host.deploy("users", "1.0.0", text)
        assert (await host.get("User", "u001")).ssn == "s1"
