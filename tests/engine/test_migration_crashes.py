"""A migration on a disk that fails at its k-th write or sync: all is as it was, or all is new."""

import json
import os
import random

from aegis.adapters.storage.sqlite import SqliteStore
from aegis.core.errors import AegisError, StoreError
from aegis.testing import memory_host
from tests.disk import Disk
from tests.engine.ledgers import BOTH, V1, still
from tests.engine.shop import Desk

ALL = os.environ.get("AEGIS_CRASHES") == "all"
CUTS = 4 if ALL else 2
IDS = ("a", "b", "c")


async def life(disk, directory, desk, come):
    """Three orders that wait in the middle of their flows, migrated, and taken back."""
    with disk.mounted():
        try:
            async with memory_host(values={"say": desk}, store=SqliteStore(directory)) as host:
                await host.deploy("orders", "1.0.0", V1)
                for id in IDS:
                    await host.create("Order", id=id, total=f"{ord(id)}.00")
                await still(host)
                come.append(("ready", disk.operations))
                await host.deploy("orders", "2.0.0", BOTH)
                come.append(("migrated", disk.operations))
                await host.update(await host.get("Order", "b"), note="later")
                come.append(("changed", disk.operations))
                await host.rollback("orders")
                come.append(("back", disk.operations))
        except (StoreError, AegisError, TimeoutError):
            assert disk.broken


async def form(directory):
    """Which form all that is stored has; everything must agree on it."""
    store = SqliteStore(directory)
    await store.open()
    docs = [json.loads(store.get("orders.Order", id).sound().doc) for id in IDS]
    (live,) = [one for one in await store.deployments() if one.live]
    flows = await store.open_flows()
    schema = json.loads(await store.schema("orders.Order"))["schema"]["properties"]
    formers = await store.look(lambda sight: list(sight.formers("orders.Order")))
    told = [e for e in await store.events(0, 1000) if e.type == "order.migrated"]
    await store.close()
    new = live.version == "2.0.0"
    assert all(("cents" in doc, "total" in doc) == (new, not new) for doc in docs)
    assert ("cents" in schema, "total" in schema) == (new, not new)
    assert {flow.version for flow, _ in flows} == {live.version}
    assert len(flows) == 3
    assert len(formers) == (3 if new else 0)
    times = 0 if live.migrated is None else 2 if live.migrated.back else 1
    assert len(told) == 3 * times
    return times


async def crash(tmp_path, k, cut):
    first, come = Disk(tmp_path / "a", fails=k), []
    await life(first, tmp_path / "a", Desk(), come)
    left = tmp_path / "left"
    first.image(left, random.Random(f"{k} {cut}"))
    reached = dict(come)
    times = await form(left)
    assert times >= ("migrated" in reached) + ("back" in reached)
    # Whatever it was, it goes on from there.
    desk = Desk()
    async with memory_host(values={"say": desk}, store=SqliteStore(left)) as host:
        await host.deploy("orders", "2.0.0", BOTH)
        await still(host)
        assert [(await host.get("Order", id)).cents for id in IDS] == [9700, 9800, 9900]
        for id in IDS:
            order = await host.get("Order", id)
            await host.call(order, "release")
            assert (await host.wait(order, 5)).version == "2.0.0"
        assert (await host.get("Order", "b")).shipped == "ok"


async def test_all_is_old_or_all_is_new_wherever_the_disk_ends(tmp_path):
    whole, come = Disk(tmp_path / "whole"), []
    await life(whole, tmp_path / "whole", Desk(), come)
    assert [name for name, _ in come] == ["ready", "migrated", "changed", "back"]
    begin, end = come[0][1], come[-1][1]
    assert end - begin > 10  # there is something to cut
    for k in range(begin, end + 2):
        for cut in range(CUTS):
            (tmp_path / f"{k}-{cut}").mkdir()
            await crash(tmp_path / f"{k}-{cut}", k, cut)
