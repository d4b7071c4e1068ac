"""What is followed comes by itself when it is newer and fits, and nothing else does."""

import asyncio

import pytest

from aegis.core.component import Source
from aegis.core.errors import ConflictError, InvalidError, NotFoundError, TrustError
from aegis.core.lock import Wanted
from aegis.core.rehearsal import Gate
from aegis.engine import following
from aegis.testing import Trusting, memory_host
from tests.engine.shop import quiet, until
from tests.engine.test_startup import ORDERS, SHIPPING, code, live, quiet_loop
from tests.fakes import ShelfLockfile, ShelfSources, SteppedClock

RANGE = f"{ORDERS}@^1.2"


@pytest.fixture
def sources():
    shelf = ShelfSources()
    shelf.release(ORDERS, "1.2.0", code(text="1.2.0"))
    return shelf


@pytest.fixture
def lockfile():
    return ShelfLockfile()


@pytest.fixture
def clock():
    return SteppedClock()


def following_host(sources, lockfile, clock, *, every=60, source=RANGE):
    wanted = {"orders": Wanted(source=source, follow=True, every=every)}
    return memory_host(sources=sources, lockfile=lockfile, components=wanted, clock=clock)


async def looks(sources, clock, seconds=60):
    """Let the time come for one more look, and that look end."""
    before = len(sources.looks)
    clock.advance(seconds)
    await until(lambda: len(sources.looks) > before)
    await until(lambda: clock.sleeping)


async def test_a_newer_version_in_range_comes_by_itself(sources, lockfile, clock):
    async with following_host(sources, lockfile, clock) as host:
        await host.begin()
        assert live(host) == {"orders": "1.2.0"}
        sources.release(ORDERS, "1.3.0", code(text="1.3.0"))
        await looks(sources, clock)
        assert live(host) == {"orders": "1.3.0"}
        (deployment,) = [one for one in await host.store.deployments() if one.live]
        assert deployment.who == "follow"
        (followed,) = host.status().followed
        assert (followed.serves, followed.newest, followed.held) == ("1.3.0", "1.3.0", None)
    assert lockfile.lock["orders"].version == "1.3.0"


@pytest.mark.parametrize("version", ["2.0.0", "1.3.0-rc.1", "1.1.9", "1.2.0", "0.9.0"])
@pytest.mark.parametrize("address", [RANGE, ORDERS, f"{ORDERS}@*", f"{ORDERS}@>=1"])
async def test_majors_pre_releases_and_older_ones_do_not_come(
    sources, lockfile, clock, version, address
):
    async with following_host(sources, lockfile, clock, source=address) as host:
        await host.begin()
        sources.release(ORDERS, version, code(text="other"))
        await looks(sources, clock)
        assert live(host) == {"orders": "1.2.0"}
        assert len(sources.asked) == 1
        assert host.followed()[0].held is None


async def test_what_the_gate_refuses_is_held_until_a_newer_one_comes(sources, lockfile, clock):
    seen = []

    async def gate(source):
        seen.append(source.version)
        if source.version == "1.3.0":
            raise ConflictError("3 of 412 recorded flows differ")

    async with following_host(sources, lockfile, clock) as host:
        host.guard(gate)
        await host.begin()
        sources.release(ORDERS, "1.3.0", code(text="1.3.0"))
        await looks(sources, clock)
        await looks(sources, clock)
        await looks(sources, clock)
        assert seen == ["1.3.0"]
        assert live(host) == {"orders": "1.2.0"}
        (followed,) = host.followed()
        assert followed.held == "1.3.0"
        assert "3 of 412" in followed.why
        assert any("1.3.0 is there, and does not serve" in text for text in host.status().problems)
        await until_event(host, "component.held")
        (event,) = await host.events("component.held")
        assert event.subject == "orders"
        assert event.data["version"] == "1.3.0"
        assert event.data["serves"] == "1.2.0"
        assert "3 of 412" in event.data["why"]
        sources.release(ORDERS, "1.3.1", code(text="1.3.1"))
        await looks(sources, clock)
        assert seen == ["1.3.0", "1.3.1"]
        assert live(host) == {"orders": "1.3.1"}
        assert host.followed()[0].held is None
        assert not any("does not serve" in text for text in host.status().problems)


async def test_a_component_may_be_followed_without_a_gate(sources, lockfile, clock):
    async def gate(source):
        raise ConflictError("never")

    wanted = {"orders": Wanted(source=RANGE, follow=True, every=60, gate=False)}
    async with memory_host(
        sources=sources, lockfile=lockfile, components=wanted, clock=clock
    ) as host:
        host.guard(gate)
        await host.begin()
        sources.release(ORDERS, "1.3.0", code(text="1.3.0"))
        await looks(sources, clock)
        assert live(host) == {"orders": "1.3.0"}


COUNTED = """
from aegis import Model, port

class Order(Model, endpoint="orders"):
    total: int = 0

    @port(consumes="order.created", produces="order.counted")
    def count(self) -> "Order":
        return self.update(total=self.total + {step})
"""


async def test_what_recorded_flows_come_to_decides(lockfile, clock):
    sources = ShelfSources()
    sources.release(ORDERS, "1.2.0", COUNTED.format(step=1))
    async with following_host(sources, lockfile, clock) as host:
        host.guard(Gate())
        await host.begin()
        for _ in range(3):
            await host.create("Order")
        await quiet(host)
        sources.release(ORDERS, "1.3.0", COUNTED.format(step=2))
        await looks(sources, clock)
        assert live(host) == {"orders": "1.2.0"}
        assert "3 differ" in host.followed()[0].why
        sources.release(ORDERS, "1.3.1", COUNTED.format(step="1 + 0"))
        await looks(sources, clock)
        assert live(host) == {"orders": "1.3.1"}


async def until_event(host, name):
    for _ in range(200):
        if await host.events(name):
            return
        await asyncio.sleep(0.01)
    raise AssertionError(f"no {name}")


async def test_what_is_broken_is_held_and_the_old_version_serves(sources, lockfile, clock):
    async with following_host(sources, lockfile, clock) as host:
        await host.begin()
        await host.create("Order", text="mine")
        sources.release(ORDERS, "1.3.0", "1 / 0")
        await looks(sources, clock)
        await looks(sources, clock)
        assert sources.asked.count(f"{ORDERS}@1.3.0") == 1
        assert live(host) == {"orders": "1.2.0"}
        assert "ZeroDivisionError" in host.followed()[0].why
        assert (await host.list("Order"))[0].text == "mine"


async def test_what_is_not_trusted_is_held(sources, lockfile, clock):
    class Suspicious(Trusting):
        async def check(self, bundle, now):
            if bundle.manifest.version != "1.2.0":
                raise TrustError("nobody who is trusted signed it")

    wanted = {"orders": Wanted(source=RANGE, follow=True, every=60)}
    async with memory_host(
        sources=sources, lockfile=lockfile, components=wanted, clock=clock, trust=Suspicious()
    ) as host:
        await host.begin()
        sources.release(ORDERS, "1.3.0", code(text="forged"))
        await looks(sources, clock)
        assert live(host) == {"orders": "1.2.0"}
        assert host.followed()[0].held == "1.3.0"


async def test_what_was_held_stays_held_after_a_restart(sources, lockfile, clock):
    async with following_host(sources, lockfile, clock) as host:
        await host.begin()
        sources.release(ORDERS, "1.3.0", "1 / 0")
        await looks(sources, clock)
    assert lockfile.lock["orders"].held == "1.3.0"
    asked = len(sources.asked)
    async with following_host(sources, lockfile, clock) as host:
        await host.begin()
        await until(lambda: clock.sleeping)
        assert live(host) == {"orders": "1.2.0"}
        assert host.followed()[0].held == "1.3.0"
        assert len(sources.asked) == asked + 1
        sources.release(ORDERS, "1.3.1", code(text="1.3.1"))
        await looks(sources, clock)
        assert live(host) == {"orders": "1.3.1"}
    assert lockfile.lock["orders"].held is None


async def test_what_was_rolled_back_does_not_come_again(sources, lockfile, clock):
    async with following_host(sources, lockfile, clock) as host:
        await host.begin()
        sources.release(ORDERS, "1.3.0", code(text="1.3.0"))
        await looks(sources, clock)
        await host.rollback("orders")
        await looks(sources, clock)
        await looks(sources, clock)
        assert live(host) == {"orders": "1.2.0"}
        assert host.followed()[0].held == "1.3.0"
        assert host.followed()[0].why == "somebody went back to 1.2.0"
        assert host.status().problems == ()
    # Nor does it at the next start.
    async with following_host(sources, lockfile, clock) as host:
        await host.begin()
        await until(lambda: clock.sleeping)
        assert live(host) == {"orders": "1.2.0"}
        sources.release(ORDERS, "1.4.0", code(text="1.4.0"))
        await looks(sources, clock)
        assert live(host) == {"orders": "1.4.0"}


async def test_who_deploys_what_is_held_by_hand_gets_it(sources, lockfile, clock):
    async with following_host(sources, lockfile, clock) as host:
        await host.begin()
        sources.release(ORDERS, "1.3.0", code(text="1.3.0"))
        await looks(sources, clock)
        await host.rollback("orders")
        await host.deploy(f"{ORDERS}@1.3.0")
        assert live(host) == {"orders": "1.3.0"}
        assert host.followed()[0].held is None
    assert (lockfile.lock["orders"].version, lockfile.lock["orders"].held) == ("1.3.0", None)


async def test_a_source_that_is_down_is_asked_more_and_more_seldom(sources, lockfile, clock):
    async with following_host(sources, lockfile, clock) as host:
        await host.begin()
        await until(lambda: clock.sleeping)
        sources.away.add(ORDERS)
        pauses = []
        for _ in range(9):
            pauses.append((clock.sleeping[0] - clock.now()).total_seconds())
            await looks(sources, clock, pauses[-1])
        assert pauses[0] <= 60
        assert all(54 <= pause <= following.MOST for pause in pauses)
        assert pauses[-1] > 1800
        assert "does not answer" in host.followed()[0].problem
        assert any("orders" in text for text in host.status().problems)
        assert host.missing() == []
        sources.away.clear()
        sources.release(ORDERS, "1.3.0", code(text="1.3.0"))
        await looks(sources, clock, 3600)
        assert live(host) == {"orders": "1.3.0"}
        assert host.followed()[0].problem is None
        assert host.status().problems == ()
        assert (clock.sleeping[0] - clock.now()).total_seconds() <= 60


async def test_what_somebody_deploys_while_the_gate_looks_stays(sources, lockfile, clock):
    looking, go = asyncio.Event(), asyncio.Event()

    async def gate(source):
        looking.set()
        await go.wait()

    async with following_host(sources, lockfile, clock) as host:
        host.guard(gate)
        await host.begin()
        await until(lambda: clock.sleeping)
        sources.release(ORDERS, "1.3.0", code(text="1.3.0"))
        clock.advance(60)
        await looking.wait()
        sources.release(ORDERS, "1.4.0", code(text="1.4.0"))
        await host.deploy(f"{ORDERS}@1.4.0")
        go.set()
        await until(lambda: clock.sleeping)
        assert live(host) == {"orders": "1.4.0"}
        assert host.followed()[0].held is None
    assert lockfile.lock["orders"].version == "1.4.0"


async def test_what_passes_is_not_held(sources, lockfile, clock):
    """That a split is under way says nothing of this version."""
    async with following_host(sources, lockfile, clock) as host:
        await host.begin()
        await host.split(Source.of("orders", "1.2.5", code(text="tried")), weight=10)
        sources.release(ORDERS, "1.3.0", code(text="1.3.0"))
        await looks(sources, clock)
        assert live(host) == {"orders": "1.2.0"}
        assert host.followed()[0].held is None
        assert "split" in host.followed()[0].problem
        await host.drop("orders")
        await looks(sources, clock, 120)
        assert live(host) == {"orders": "1.3.0"}


async def test_what_somebody_said_to_the_host_survives_a_restart(sources, lockfile, clock):
    async with memory_host(sources=sources, lockfile=lockfile, clock=clock) as host:
        await host.begin()
        followed = await host.follow("orders", RANGE, every=30)
        assert (followed.serves, followed.every) == ("1.2.0", 30)
        assert live(host) == {"orders": "1.2.0"}
    assert lockfile.lock["orders"].follow == 30
    async with memory_host(sources=sources, lockfile=lockfile, clock=clock) as host:
        await host.begin()
        assert live(host) == {"orders": "1.2.0"}
        sources.release(ORDERS, "1.3.0", code(text="1.3.0"))
        await looks(sources, clock, 30)
        assert live(host) == {"orders": "1.3.0"}
        await host.unfollow("orders")
        assert host.followed() == []
        assert live(host) == {"orders": "1.3.0"}
    assert lockfile.lock == {}


async def test_a_component_that_was_deployed_from_an_address_needs_no_other(
    sources, lockfile, clock
):
    async with memory_host(sources=sources, lockfile=lockfile, clock=clock) as host:
        await host.begin()
        await host.deploy(f"{ORDERS}@^1")
        assert lockfile.lock == {}
        followed = await host.follow("orders")
        assert followed.address == f"{ORDERS}@^1"
        assert followed.range == "^1"
    assert lockfile.lock["orders"].version == "1.2.0"
    assert lockfile.lock["orders"].follow == following.EVERY


async def test_what_cannot_be_followed_is_told(sources, lockfile, clock):
    async with following_host(sources, lockfile, clock) as host:
        await host.begin()
        with pytest.raises(ConflictError, match=r"aegis\.toml"):
            await host.follow("orders", f"{ORDERS}@^2")
        with pytest.raises(InvalidError, match=r"\^1\.2\.0"):
            await host.follow("other", f"{ORDERS}@1.2.0")
        with pytest.raises(InvalidError, match="watch"):
            await host.follow("other", "./orders")
        with pytest.raises(NotFoundError, match="did you mean 'orders'"):
            await host.follow("order")
        with pytest.raises(NotFoundError, match="did you mean 'orders'"):
            await host.unfollow("order")
        assert [one.name for one in host.followed()] == ["orders"]
        followed = await host.follow("shipping", SHIPPING)
        assert "nothing is at" in followed.problem


async def test_what_has_no_versions_is_followed_by_its_own_number(lockfile, clock):
    place = "https://example.org/orders"
    sources = ShelfSources()
    sources.release(place, "1.2.0", code(text="1.2.0"), name="orders")
    async with following_host(sources, lockfile, clock, source=place) as host:
        await host.begin()
        sources.release(place, "1.2.1", code(text="1.2.1"), name="orders")
        await looks(sources, clock)
        assert live(host) == {"orders": "1.2.1"}


async def test_what_is_undeployed_is_followed_no_more(sources, lockfile, clock):
    async with following_host(sources, lockfile, clock) as host:
        await host.begin()
        await host.undeploy("orders")
        assert host.followed() == []
        sources.release(ORDERS, "1.3.0", code(text="1.3.0"))
        clock.advance(600)
        await quiet_loop()
        assert live(host) == {}
        await host.follow("shipping", ORDERS.replace("orders", "shipping"))
        sources.release(SHIPPING, "1.0.0", code("Parcel"))
        await looks(sources, clock, 600)
        await until(lambda: "shipping" in lockfile.lock)
        assert lockfile.lock["shipping"].follow == following.EVERY
        await host.undeploy("shipping")
    assert set(lockfile.lock) == {"orders"}


async def test_a_host_that_takes_only_what_is_locked_follows_nothing(sources, lockfile, clock):
    async with following_host(sources, lockfile, clock) as host:
        await host.begin()
    wanted = {"orders": Wanted(source=RANGE, follow=True, every=60)}
    async with memory_host(
        sources=sources, lockfile=lockfile, components=wanted, clock=clock, locked=True
    ) as host:
        await host.begin()
        assert host.followed() == []
        with pytest.raises(ConflictError, match="only what is locked"):
            await host.follow("orders")


async def test_the_versions_of_a_component(sources, lockfile, clock):
    async with following_host(sources, lockfile, clock) as host:
        await host.begin()
        sources.release(ORDERS, "1.3.0", code(text="1.3.0"))
        await looks(sources, clock)
        sources.release(ORDERS, "2.0.0", code(text="2.0.0"))
        found = await host.versions("orders")
        assert found.serves.startswith("orders@1.3.0+")
        assert found.previous.startswith("orders@1.2.0+")
        assert found.offers == ("2.0.0", "1.3.0", "1.2.0")
        assert found.address == RANGE
        told = [(one.number, one.version, one.who, one.live) for one in found.deployments]
        assert told == [(2, "1.3.0", "follow", True), (1, "1.2.0", "start", False)]
        assert found.deployments[0].resolved == sources.places[ORDERS]["1.3.0"].resolved
        assert found.locked.version == "1.3.0"
        assert found.followed.serves == "1.3.0"
        sources.away.add(ORDERS)
        found = await host.versions("orders")
        assert found.offers == ()
        assert "does not answer" in found.problem
        await host.deploy("notes", "1.0.0", code("Note"))
        found = await host.versions("notes")
        assert (found.address, found.offers, found.problem) == (None, (), None)
        with pytest.raises(NotFoundError, match="did you mean 'orders'"):
            await host.versions("order")
