"""Unique fields: one record has a value, whoever writes, and whatever was stored before."""

import asyncio

import pytest

from aegis.adapters.storage.memory import MemoryStore
from aegis.adapters.storage.sqlite import SqliteStore
from aegis.core.errors import ComponentError, DuplicateError
from aegis.testing import memory_host
from tests.fakes import ShelfDatasource

MARKED = """
from datetime import datetime
from decimal import Decimal
from typing import Annotated
from aegis import Model, command, unique

class User(Model, endpoint="users", concurrency="last-wins"):
    email: Annotated[str | None, unique] = None
    code: Annotated[Decimal | None, unique] = None
    since: Annotated[datetime | None, unique] = None
    name: str = ""

    @command
    def swap(self, email: str) -> "User":
        return self.update(email=email)
"""
PLAIN = MARKED.replace(", unique]", ", None]")
SAID = r"another User has this email: it is unique"


@pytest.fixture(params=["memory", "sqlite"])
async def host(request, tmp_path):
    store = MemoryStore() if request.param == "memory" else SqliteStore(tmp_path / "data")
    async with memory_host(store=store) as host:
        yield host


async def test_a_value_is_held_by_one_record_until_it_changes_or_goes(host):
    await host.deploy("users", "1.0.0", MARKED)
    one = await host.create("User", email="a@x", name="planted")
    with pytest.raises(DuplicateError, match=SAID) as told:
        await host.create("User", email="a@x")
    assert told.value.fields == {"model": "users.User", "field": "email"}
    assert told.value.status == 409
    assert "a@x" not in str(told.value)
    two = await host.create("User", email="b@x")
    for attempt in (host.update(two, email="a@x"), host.call(two, "swap", email="a@x")):
        with pytest.raises(DuplicateError, match=SAID):
            await attempt
    await host.create("User")
    await host.create("User", email=None)  # no value is nobody's
    one = await host.update(one, email="c@x")
    two = await host.update(two, email="a@x")
    await host.delete(one)
    await host.create("User", email="c@x")
    assert await host.count("User") == 4
    await host.reset("users")
    await host.create("User", email="a@x")
    with pytest.raises(DuplicateError):
        await host.create("User", email="a@x")


async def test_values_are_the_same_however_they_are_written(host):
    await host.deploy("users", "1.0.0", MARKED)
    await host.create("User", code="1.50", since="2026-01-01T10:00:00+02:00")
    for same in ({"code": "1.5"}, {"code": "15e-1"}, {"since": "2026-01-01T08:00:00Z"}):
        with pytest.raises(DuplicateError):
            await host.create("User", **same)
    await host.create("User", code="15", since="2026-01-01T08:00:00.000001Z")


async def test_one_of_many_at_once_wins(host):
    await host.deploy("users", "1.0.0", MARKED)
    made = [host.create("User", email="a@x", name=str(n)) for n in range(50)]
    found = await asyncio.gather(*made, return_exceptions=True)
    assert sum(isinstance(one, DuplicateError) for one in found) == 49
    assert await host.count("User") == 1


async def test_a_marker_holds_what_is_stored_already_and_its_removal_lets_go(host):
    await host.deploy("users", "1.0.0", PLAIN)
    for n in range(600):
        await host.create("User", id=f"u{n:03}", email=f"{n}@x")
    await host.deploy("users", "1.0.0", MARKED)
    with pytest.raises(DuplicateError):
        await host.create("User", email="599@x")
    await host.deploy("users", "1.0.0", PLAIN)
    again = await host.create("User", id="v", email="599@x")
    with pytest.raises(ComponentError) as refused:
        await host.deploy("users", "1.0.0", MARKED)
    assert "users.User.email cannot be unique: 1 stored record has the value" in str(refused.value)
    assert "'u599' and 'v'" in str(refused.value)
    third = await host.create("User", email="599@x")  # the old code serves as before
    await host.delete(again)
    await host.delete(third)
    await host.deploy("users", "1.0.0", MARKED)
    with pytest.raises(DuplicateError):
        await host.create("User", email="599@x")


async def test_the_rules_follow_the_code_that_is_live(host):
    await host.deploy("users", "1.0.0", PLAIN)
    await host.deploy("users", "1.0.0", MARKED)
    await host.create("User", email="a@x")
    await host.rollback("users")
    b = await host.create("User", email="b@x")
    await host.create("User", email="a@x", id="second")
    with pytest.raises(ComponentError, match="cannot be unique"):
        await host.rollback("users")
    await host.delete(await host.get("User", "second"))
    await host.update(b, email="c@x")
    await host.rollback("users")
    await host.create("User", email="b@x")
    for email in ("a@x", "c@x"):
        with pytest.raises(DuplicateError):
            await host.create("User", email=email)
    await host.undeploy("users")
    await host.deploy("users", "1.0.0", MARKED)
    with pytest.raises(DuplicateError):
        await host.create("User", email="c@x")


async def test_writes_beside_the_deploy_are_held_or_refuse_it(host):
    await host.deploy("users", "1.0.0", PLAIN)
    for n in range(300):
        await host.create("User", id=f"u{n:03}", email=f"{n}@x")
    going = True

    async def change(n):
        count = 0
        while going:
            count += 1
            user = await host.get("User", f"u{n:03}")
            await host.update(user, email=f"{n}-{count}@x")
            await asyncio.sleep(0)

    busy = [asyncio.create_task(change(n)) for n in range(0, 300, 30)]
    await host.deploy("users", "1.0.0", MARKED)
    going = False
    await asyncio.gather(*busy)
    users = await host.query("User", limit=1000)
    for user in users:
        with pytest.raises(DuplicateError):
            await host.create("User", email=user.email)
    await host.create("User", email="0@x")  # given up meanwhile, so it is free


async def test_an_import_keeps_values_unique(host, tmp_path):
    await host.deploy("users", "1.0.0", MARKED)
    user = await host.create("User", id="a", email="a@x")
    await host.export(str(tmp_path / "out"))
    await host.update(user, email="b@x")
    await host.create("User", id="c", email="a@x")
    with pytest.raises(DuplicateError, match=SAID):
        await host.import_(str(tmp_path / "out"), on_conflict="replace")
    assert (await host.get("User", "a")).email == "b@x"


async def test_what_is_held_outlives_the_process(tmp_path):
    for expected in (True, False):
        async with memory_host(store=SqliteStore(tmp_path / "data")) as host:
            await host.deploy("users", "1.0.0", MARKED)
            if expected:
                await host.create("User", email="a@x")
            else:
                with pytest.raises(DuplicateError):
                    await host.create("User", email="a@x")


async def test_what_is_kept_elsewhere_is_unique_from_its_first_record_on():
    shelf = ShelfDatasource()
    there, plain = (
        text.replace('"last-wins"', '"last-wins", store="shelf"') for text in (MARKED, PLAIN)
    )
    async with memory_host(datasources={"shelf": lambda: shelf}) as host:
        await host.deploy("users", "1.0.0", there)
        user = await host.create("User", email="a@x")
        with pytest.raises(DuplicateError):
            await host.create("User", email="a@x")
        await host.delete(user)
        await host.create("User", email="a@x")
        await host.reset("users")
        await host.deploy("users", "1.0.0", plain)
        await host.create("User", email="a@x")
        with pytest.raises(ComponentError, match="kept elsewhere, where others write too"):
            await host.deploy("users", "1.0.0", there)
