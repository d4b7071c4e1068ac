"""What a host is to have is there after its start, exactly as it is locked, or it is named."""

import asyncio

import pytest

from aegis.core.component import Library
from aegis.core.errors import ConfigError, DigestError
from aegis.core.lock import Locked, Wanted
from aegis.core.manifest import Exports
from aegis.engine import startup
from aegis.testing import EagerClock, memory_host
from tests.engine.shop import quiet, until
from tests.fakes import ShelfLockfile, ShelfSources, SteppedClock

NOTE = """
from aegis import Model

class {model}(Model, endpoint="{endpoint}"):
    text: str = "{text}"
"""

ORDERS, SHIPPING = "github:acme/orders", "github:acme/shipping"


def code(model="Order", text="", endpoint=None):
    return NOTE.format(model=model, text=text, endpoint=endpoint or f"{model.lower()}s")


@pytest.fixture
def sources():
    shelf = ShelfSources()
    shelf.release(ORDERS, "1.2.0", code(text="1.2.0"))
    shelf.release(ORDERS, "1.3.0", code(text="1.3.0"))
    shelf.release(ORDERS, "2.0.0", code(text="2.0.0"))
    shelf.release(SHIPPING, "0.1.0", code("Parcel"))
    return shelf


def begun(sources, lockfile=None, clock=None, **components):
    wanted = {
        name: Wanted(source=said) if isinstance(said, str) else said
        for name, said in components.items()
    }
    return memory_host(
        sources=sources, lockfile=lockfile, components=wanted, clock=clock or EagerClock()
    )


def live(host):
    return {name: revision.version for name, revision in host.engine.registry.live.items()}


async def test_what_is_wanted_is_deployed_and_locked(sources):
    lockfile = ShelfLockfile()
    async with begun(sources, lockfile, orders=f"{ORDERS}@^1.2", shipping=SHIPPING) as host:
        await host.begin()
        assert live(host) == {"orders": "1.3.0", "shipping": "0.1.0"}
        assert host.missing() == []
        # All of them came in one swap.
        assert [one.who for one in await host.store.deployments()] == ["start", "start"]
    bundle = sources.places[ORDERS]["1.3.0"]
    locked = lockfile.lock["orders"]
    assert locked.source == f"{ORDERS}@^1.2"
    assert locked.code == ("1.3.0", bundle.resolved, bundle.digest, ())
    assert lockfile.writes == 1


async def test_a_start_takes_what_is_locked_and_not_what_is_new(sources):
    lockfile = ShelfLockfile()
    async with begun(sources, lockfile, orders=f"{ORDERS}@^1.2") as host:
        await host.begin()
    locked = lockfile.lock["orders"]
    sources.release(ORDERS, "1.4.0", code(text="1.4.0"))
    sources.asked.clear()
    async with begun(sources, lockfile, orders=f"{ORDERS}@^1.2") as host:
        await host.begin()
        assert live(host) == {"orders": "1.3.0"}
    assert sources.asked == [(f"{ORDERS}@^1.2", locked.resolved)]
    assert lockfile.lock["orders"] == locked
    assert lockfile.writes == 1


async def test_a_range_that_the_lock_no_longer_fits_is_looked_up_anew(sources):
    lockfile = ShelfLockfile()
    async with begun(sources, lockfile, orders=f"{ORDERS}@~1.2") as host:
        await host.begin()
        assert live(host) == {"orders": "1.2.0"}
    async with begun(sources, lockfile, orders=f"{ORDERS}@^2") as host:
        await host.begin()
        assert live(host) == {"orders": "2.0.0"}
    assert lockfile.lock["orders"].source == f"{ORDERS}@^2"
    sources.release("github:other/orders", "9.0.0", code(text="other"))
    async with begun(sources, lockfile, orders="github:other/orders") as host:
        await host.begin()
        assert live(host) == {"orders": "9.0.0"}


async def test_another_digest_is_refused_with_both(sources):
    lockfile = ShelfLockfile()
    async with begun(sources, lockfile, orders=f"{ORDERS}@^1.2") as host:
        await host.begin()
    locked = lockfile.lock["orders"]
    forged = sources.release(ORDERS, "1.3.0", code(text="forged"))
    clock = SteppedClock()
    async with begun(sources, lockfile, clock, orders=f"{ORDERS}@^1.2") as host:
        await host.begin()
        (missing,) = host.missing()
        assert "orders" in missing
        assert locked.digest in missing
        assert forged.digest in missing
        assert "aegis lock --upgrade orders" in missing
        assert live(host) == {}
        with pytest.raises(DigestError):
            await host._upkeep.locking.fetch("orders")
    assert lockfile.lock["orders"] == locked


async def test_another_library_is_refused(sources):
    class Wheels:
        sha = "a" * 64
        seen = None

        async def provide(self, bundle, *, told=None):
            self.seen = bundle.manifest.dependencies
            return [Library(name="slugify", version="8.0.4", sha256=self.sha)]

    lockfile, wheels = ShelfLockfile(), Wheels()
    wanted = {"orders": Wanted(source=f"{ORDERS}@^1.2")}
    more = {"sources": sources, "lockfile": lockfile, "components": wanted, "libraries": wheels}
    async with memory_host(**more) as host:
        await host.lock()
        (first,) = await host.fetch(f"{ORDERS}@^1.2")
    assert [library.name for library in lockfile.lock["orders"].libraries] == ["slugify"]
    async with memory_host(**more) as host:
        await host.lock()
        found = await host._upkeep.locking.fetch("orders")
        # Exactly the locked one is asked for, and the code has the same digest as before.
        assert wheels.seen["slugify"].version == "==8.0.4"
        assert wheels.seen["slugify"].sha256 == "a" * 64
        assert found.source.digest == first.source.digest
        wheels.sha = "b" * 64
        with pytest.raises(DigestError, match=r"'orders'.*slugify") as refused:
            await host._upkeep.locking.fetch("orders")
        assert "a" * 64 in str(refused.value)
        assert "b" * 64 in str(refused.value)


async def test_a_source_that_is_down_is_named_and_comes_when_it_is_there(sources):
    sources.away.add(SHIPPING)
    clock = SteppedClock()
    async with begun(
        sources, ShelfLockfile(), clock, orders=f"{ORDERS}@^1.2", shipping=SHIPPING
    ) as host:
        await host.begin()
        assert live(host) == {"orders": "1.3.0"}
        assert host.missing() == [f"component shipping: {SHIPPING} does not answer"]
        assert any("shipping" in problem for problem in host.status().problems)
        pauses = []
        for _ in range(12):
            await until(lambda: clock.sleeping)
            pauses.append((clock.sleeping[0] - clock.now()).total_seconds())
            clock.advance(pauses[-1])
            await quiet_loop()
        assert all(0.5 <= pause <= startup.MOST for pause in pauses)
        assert max(pauses) > 60
        sources.away.clear()
        clock.advance(startup.MOST)
        await until(lambda: not host.missing())
        assert live(host) == {"orders": "1.3.0", "shipping": "0.1.0"}
        assert not any("shipping" in problem for problem in host.status().problems)


async def quiet_loop():
    for _ in range(20):
        await asyncio.sleep(0)


async def test_a_source_that_never_answers_does_not_hang_the_start(sources, monkeypatch):
    monkeypatch.setattr(startup, "PATIENCE", 0.05)
    sources.stalled.add(SHIPPING)
    async with begun(
        sources, ShelfLockfile(), SteppedClock(), orders=f"{ORDERS}@^1.2", shipping=SHIPPING
    ) as host:
        await asyncio.wait_for(host.begin(), 5)
        await until(lambda: live(host) == {"orders": "1.3.0"})
        assert host.missing() == ["component shipping: it is being fetched"]


async def test_code_that_takes_its_time_does_not_hang_the_start(sources, monkeypatch):
    monkeypatch.setattr(startup, "PATIENCE", 0.05)
    sources.release(ORDERS, "1.9.0", "import time\ntime.sleep(0.4)\n" + code(text="1.9.0"))
    async with begun(sources, ShelfLockfile(), SteppedClock(), orders=f"{ORDERS}@^1.2") as host:
        await host.begin()
        assert host.missing() == ["component orders: it is being fetched"]
        await until(lambda: not host.missing())
        assert live(host) == {"orders": "1.9.0"}


async def test_one_that_is_broken_does_not_keep_the_others_away(sources):
    sources.release(SHIPPING, "0.2.0", "1 / 0")
    async with begun(
        sources, ShelfLockfile(), SteppedClock(), orders=f"{ORDERS}@^1.2", shipping=SHIPPING
    ) as host:
        await host.begin()
        assert live(host) == {"orders": "1.3.0"}
        (missing,) = host.missing()
        assert "shipping" in missing
        assert "ZeroDivisionError" in missing


CUSTOMER = """
from aegis import Model, relation

class Customer(Model, endpoint="customers"):
    name: str = ""
    orders = relation("orders.Order", by="customer_id")

__exports__ = ["Customer"]
__grants__ = {"orders": ["Order"]}
"""

ORDER = """
from aegis import Model, relation

class Order(Model, endpoint="orders"):
    customer_id: str = ""
    customer = relation("customers.Customer", via="customer_id")

__exports__ = ["Order"]
__grants__ = {"customers": ["Customer"]}
"""


async def test_components_that_need_each_other_come_together_however_late(sources):
    customers = "github:acme/customers"
    sources.release(
        ORDERS,
        "1.9.0",
        ORDER,
        exports=Exports(models=("Order",)),
        grants={"customers": ("Customer",)},
    )
    sources.release(
        customers,
        "1.0.0",
        CUSTOMER,
        exports=Exports(models=("Customer",)),
        grants={"orders": ("Order",)},
    )
    sources.away |= {ORDERS, customers}
    clock = SteppedClock()
    async with memory_host(
        sources=sources,
        clock=clock,
        components={"orders": Wanted(source=f"{ORDERS}@^1"), "customers": Wanted(source=customers)},
        grants={"orders": ("customers.Customer",), "customers": ("orders.Order",)},
    ) as host:
        await host.grant("orders", "customers.Customer")
        await host.grant("customers", "orders.Order")
        await host.begin()
        assert live(host) == {}
        sources.away.remove(ORDERS)
        for _ in range(3):
            clock.advance(10)
            await quiet_loop()
        await until(lambda: "customers" in str(host.missing()))
        sources.away.clear()
        for _ in range(20):
            clock.advance(300)
            await asyncio.sleep(0.01)
            if not host.missing():
                break
        assert live(host) == {"orders": "1.9.0", "customers": "1.0.0"}


async def test_only_what_is_locked_may_be_all_that_is_taken(sources):
    wanted = {"orders": Wanted(source=f"{ORDERS}@^1.2"), "shipping": Wanted(source=SHIPPING)}
    lockfile = ShelfLockfile()
    more = {"sources": sources, "lockfile": lockfile, "components": wanted}
    async with memory_host(**more, locked=True) as host:
        with pytest.raises(ConfigError, match=r"orders \(github:acme/orders@\^1\.2\), shipping"):
            await host.begin()
    async with memory_host(**more) as host:
        await host.begin()
    before = dict(lockfile.lock)
    async with memory_host(**more, locked=True) as host:
        await host.begin()
        assert live(host) == {"orders": "1.3.0", "shipping": "0.1.0"}
        await host.deploy(f"{ORDERS}@1.2.0")
    assert lockfile.lock == before


async def test_a_host_that_takes_only_what_is_locked_can_be_told_to_lock(sources):
    lockfile, wanted = ShelfLockfile(), {"orders": Wanted(source=f"{ORDERS}@^1.2")}
    more = {"sources": sources, "lockfile": lockfile, "components": wanted}
    async with memory_host(**more, locked=True) as host:
        assert (await host.lock())["orders"].version == "1.3.0"
        await host.begin()
        assert live(host) == {"orders": "1.3.0"}
        # What somebody else wrote into the file meanwhile counts.
        lockfile.lock = {}
        sources.release(ORDERS, "1.4.0", code(text="1.4.0"))
        assert (await host.lock())["orders"].version == "1.4.0"


async def test_a_lock_that_cannot_be_written_is_told_and_no_more(sources, caplog):
    lockfile = ShelfLockfile()
    lockfile.fails = "aegis.lock cannot be written: Read-only file system"
    async with begun(sources, lockfile, orders=f"{ORDERS}@^1.2", shipping=SHIPPING) as host:
        await host.begin()
        await until(lambda: any("Read-only" in text for text in host.status().problems))
        assert host.missing() == []
        assert "Read-only file system" in caplog.text
        lockfile.fails = None
        await host.deploy(f"{ORDERS}@1.2.0")
        await until(lambda: lockfile.writes)
        # What could not be written then is now.
        assert set(lockfile.lock) == {"orders", "shipping"}
        assert lockfile.lock["orders"].version == "1.2.0"
        await until(lambda: not any("Read-only" in text for text in host.status().problems))


async def test_the_lock_follows_what_serves(sources):
    lockfile = ShelfLockfile()
    async with begun(sources, lockfile, orders=f"{ORDERS}@^1.2") as host:
        await host.begin()
        await host.deploy(f"{ORDERS}@1.2.0")
        await until(lambda: lockfile.lock["orders"].version == "1.2.0")
        await host.rollback("orders")
        await until(lambda: lockfile.lock["orders"].version == "1.3.0")
        # What aegis.toml does not want is not for the next start.
        await host.deploy(f"{ORDERS}@2.0.0")
        await host.deploy("orders", "1.9.9", code(text="a cell"))
    assert lockfile.lock["orders"].version == "1.3.0"


async def test_a_lock_is_renewed_by_name_or_whole(sources):
    lockfile = ShelfLockfile()
    async with begun(sources, lockfile, orders=f"{ORDERS}@^1.2", shipping=SHIPPING) as host:
        await host.begin()
    sources.release(ORDERS, "1.4.0", code(text="1.4.0"))
    sources.release(SHIPPING, "0.2.0", code("Parcel"))
    lockfile.lock["gone"] = Locked(source="github:acme/gone", version="1.0.0", digest="0" * 64)
    async with begun(sources, lockfile, orders=f"{ORDERS}@^1.2", shipping=SHIPPING) as host:
        await host.begin()
        versions = {name: one.version for name, one in (await host.lock()).items()}
        assert versions == {"orders": "1.3.0", "shipping": "0.1.0"}
        await host.lock(["orders"])
        assert lockfile.lock["orders"].version == "1.4.0"
        assert lockfile.lock["shipping"].version == "0.1.0"
        await host.lock(None)
        assert lockfile.lock["shipping"].version == "0.2.0"
        assert live(host) == {"orders": "1.3.0", "shipping": "0.1.0"}
        await host.deploy("other", "1.0.0", code("Other"))
    # What serves was not locked again in the place of what was asked for.
    assert lockfile.lock["orders"].version == "1.4.0"


async def test_what_somebody_deployed_meanwhile_is_not_missing(sources):
    sources.away.add(ORDERS)
    clock = SteppedClock()
    async with begun(sources, ShelfLockfile(), clock, orders=ORDERS) as host:
        await host.begin()
        assert host.missing()
        await host.deploy("orders", "7.0.0", code(text="a cell"))
        assert host.missing() == []
        sources.away.clear()
        clock.advance(600)
        await quiet_loop()
        await quiet(host)
        assert live(host) == {"orders": "7.0.0"}


async def test_the_address_of_another_component_is_told(sources):
    async with begun(sources, ShelfLockfile(), SteppedClock(), orders=SHIPPING) as host:
        await host.begin()
        (missing,) = host.missing()
        assert "no component 'orders', but shipping" in missing


async def test_a_range_without_a_match_is_told_with_the_versions_there_are(sources):
    async with begun(sources, ShelfLockfile(), SteppedClock(), orders=f"{ORDERS}@^7") as host:
        await host.begin()
        (missing,) = host.missing()
        assert "^7" in missing
        assert "1.2.0, 1.3.0, 2.0.0" in missing
