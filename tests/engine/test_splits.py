"""Two versions side by side: the same key has the same side, and nothing is lost when it ends."""

import asyncio
import gc
import weakref

import pytest

from aegis.adapters.storage.sqlite import SqliteStore
from aegis.core.component import Source
from aegis.core.errors import AegisError, ComponentError, ConflictError, InvalidError, NotFoundError
from aegis.core.split import BUCKETS, bucket
from aegis.testing import memory_host
from tests.engine.shop import until

SHIPPING = """
from aegis import Event, Model, command, on, port

class Parcel(Model, endpoint="parcels"):
    by: str = ""
    steps: int = 0

    @port(consumes="parcel.created", produces="parcel.packed")
    def pack(self) -> "Parcel":
        return self.update(by="VERSION", steps=self.steps + 1)

    @port(consumes=pack, produces="parcel.shipped")
    def ship(self) -> "Parcel":
        return self.update(by=self.by + " VERSION", steps=self.steps + 1)

    @command
    def who(self) -> "Parcel":
        return self.update(by="VERSION")

class Heard(Model):
    what: str = ""
    by: str = ""

"""


def shipping(version, text=SHIPPING):
    return Source.of("shipping", version, text.replace("VERSION", version))


def candidates(weight, ids, name="shipping"):
    """The ids of which a candidate with a weight has the records."""
    return {id for id in ids if bucket(name, id) < weight * BUCKETS / 100}


@pytest.fixture
async def host():
    async with memory_host() as host:
        await host.deploy(shipping("1.0.0"))
        yield host


IDS = [f"p{n}" for n in range(200)]


async def settled(host, id):
    for flow, _ in await host.flows(await host.get("Parcel", id)):
        await host.wait(flow.id, timeout=5)
    return await host.get("Parcel", id)


async def test_each_record_is_created_stepped_and_commanded_by_its_own_side(host):
    await host.split(shipping("1.1.0"), weight=30)
    for id in IDS:
        await host.create("Parcel", id=id)
    mine = candidates(30, IDS)
    assert 30 < len(mine) < 90
    for id in IDS:
        version = "1.1.0" if id in mine else "1.0.0"
        parcel = await settled(host, id)
        assert parcel.by == f"{version} {version}"
        assert (await host.call(parcel, "who")).by == version
    (told,) = host.splits()
    # Of each: created, two steps, one command.
    assert (told.candidate.calls, told.live.calls) == (4 * len(mine), 4 * (200 - len(mine)))
    assert (told.candidate.errors, told.live.errors) == (0, 0)
    assert told.candidate.weight == 30
    assert told.live.weight == 70
    assert told.candidate.p50 <= told.candidate.p99


async def test_a_larger_weight_takes_no_record_away_from_the_candidate(host):
    await host.split(shipping("1.1.0"), weight=10)
    for id in IDS:
        await host.create("Parcel", id=id)
    for weight in (10, 35, 80, 100, 0):
        told = await host.split("shipping", weight=weight)
        assert told.candidate.weight == weight
        mine = candidates(weight, IDS)
        for id in IDS[:60]:
            parcel = await host.call(await settled(host, id), "who")
            assert parcel.by == ("1.1.0" if id in mine else "1.0.0")
    assert candidates(10, IDS) < candidates(35, IDS) < candidates(80, IDS)


async def test_what_is_promoted_serves_all_and_what_was_live_can_come_back(host):
    await host.split(shipping("1.1.0"), weight=50)
    deployment = await host.promote("shipping", who="test")
    assert (deployment.version, deployment.live, deployment.who) == ("1.1.0", True, "test")
    assert host.splits() == []
    assert host.engine.arms == {}
    for id in IDS[:20]:
        await host.create("Parcel", id=id)
        assert (await settled(host, id)).by == "1.1.0 1.1.0"
    assert (await host.rollback("shipping")).version == "1.0.0"
    assert (await host.call(await host.get("Parcel", IDS[0]), "who")).by == "1.0.0"


async def test_a_candidate_that_is_dropped_leaves_memory_and_what_is_live_has_all(host):
    await host.split(shipping("1.1.0"), weight=100)
    await host.create("Parcel", id="a")
    assert (await settled(host, "a")).by == "1.1.0 1.1.0"
    gone = weakref.ref(host.engine.registry.splits["shipping"].candidate.by_name["Parcel"].cls)
    await host.drop("shipping")
    parcel = await host.call(await host.get("Parcel", "a"), "who")
    assert parcel.by == "1.0.0"
    for _ in range(100):
        if gone() is None:
            break
        gc.collect()
        await asyncio.sleep(0.01)
    assert gone() is None
    assert [r.label for r in host.engine.registry.revisions()] == [
        host.engine.registry.live["shipping"].label
    ]


WAITING = """
from aegis import Event, Model, Waiting, port, waiting

class Parcel(Model, endpoint="parcels"):
    by: str = ""

    @port(consumes="parcel.created", produces="parcel.delivered")
    def track(self) -> "Parcel | Waiting":
        return waiting("carrier.delivered", by="id", deadline=3600)

    @track.answer
    def delivered(self, event: Event) -> "Parcel":
        return self.update(by="VERSION")
"""


@pytest.mark.parametrize("end", ["promote", "drop"])
async def test_flows_end_on_the_side_they_began_on_however_the_split_ends(host, end):
    await host.undeploy("shipping")
    await host.deploy(Source.of("track", "1.0.0", WAITING.replace("VERSION", "1.0.0")))
    await host.split(Source.of("track", "1.1.0", WAITING.replace("VERSION", "1.1.0")), weight=50)
    ids = IDS[:40]
    for id in ids:
        await host.create("track.Parcel", id=id)
    mine = candidates(50, ids, "track")
    await getattr(host, end)("track")
    for id in ids:
        await host.publish("carrier.delivered", id=id)
    for id in ids:
        (flow, _) = (await host.flows(await host.get("track.Parcel", id)))[0]
        await host.wait(flow.id, timeout=5)
        assert (await host.get("track.Parcel", id)).by == ("1.1.0" if id in mine else "1.0.0")
    # Nothing needs the other one any more but, after a promotion, the way back.
    await asyncio.sleep(0.05)
    assert len(list(host.engine.registry.revisions())) == (2 if end == "promote" else 1)


ORDERS = """
from aegis import Model, command

class Order(Model, endpoint="orders"):
    parcel: str = ""
    @command(produces="order.paid")
    def pay(self) -> "Order":
        return self.update(parcel="paid")
"""

CARRIER = """
from aegis import Event, Model, emit, on, port

class Trip(Model, endpoint="trips"):
    by: str = ""
    @port(consumes="order.paid", by="id", produces="trip.begun")
    def begin(self) -> "Trip":
        return self.update(by="VERSION")
    @port(consumes=begin, produces="trip.ended", NEW=1)
    def end(self) -> "Trip":
        return self.update(by=self.by + " VERSION")

seen = []
@on("order.paid")
async def note(event: Event) -> None:
    emit("note.taken", by="VERSION", order=event.subject)
"""


async def test_steps_and_listeners_set_off_by_another_component_go_by_the_record_too(host):
    text = CARRIER.replace(", NEW=1", "")
    await host.deploy("orders", "1.0.0", ORDERS)
    await host.deploy("carrier", "1.0.0", text.replace("VERSION", "1.0.0"))
    await host.split(Source.of("carrier", "1.1.0", text.replace("VERSION", "1.1.0")), weight=40)
    mine = candidates(40, IDS[:50], "carrier")
    heard = host.subscribe("note.taken")
    for id in IDS[:50]:
        await host.create("Trip", id=id)
        order = await host.create("Order", id=id)
        await host.call(order, "pay")
    notes = {}
    async with asyncio.timeout(5):
        async for event in heard:
            notes[event.data["order"]] = event.data["by"]
            if len(notes) == 50:
                break
    for id in IDS[:50]:
        version = "1.1.0" if id in mine else "1.0.0"
        for flow, _ in await host.flows(await host.get("Order", id)):
            await host.wait(flow.id, timeout=5)
        for flow, _ in await host.flows(await host.get("Trip", id)):
            await host.wait(flow.id, timeout=5)
        assert (await host.get("Trip", id)).by == f"{version} {version}"
        assert notes[id] == version


REFUSED = {
    "the same number": (shipping("1.0.0", SHIPPING + "# other\n"), "version number 1.0.0"),
    "a field is gone": (
        shipping(
            "1.1.0",
            SHIPPING.replace("    steps: int = 0\n", "").replace(", steps=self.steps + 1", ""),
        ),
        r"shipping.Parcel.steps was removed: both versions read the same records",
    ),
    "another type": (
        shipping("1.1.0", SHIPPING.replace("steps: int = 0", "steps: float = 0")),
        "shipping.Parcel.steps has another type",
    ),
    "a field that must be given": (
        shipping(
            "1.1.0",
            SHIPPING.replace(
                '    by: str = ""\n    steps', '    who_: str\n    by: str = ""\n    steps', 1
            ),
        ),
        "who_ is new and has no default",
    ),
    "a syntax error": (shipping("1.1.0", "class Parcel("), "line 1"),
    "an import error": (shipping("1.1.0", "import nothing_there"), "nothing_there"),
}


@pytest.mark.parametrize(("source", "said"), REFUSED.values(), ids=REFUSED)
async def test_a_candidate_that_cannot_serve_the_same_records_is_refused_by_name(
    host, source, said
):
    before = host.engine
    with pytest.raises(ComponentError, match=said):
        await host.split(source)
    assert host.engine is before
    assert host.splits() == []
    await host.create("Parcel", id="a")
    assert (await settled(host, "a")).by == "1.0.0 1.0.0"


async def test_a_field_that_only_the_candidate_knows_stays_whoever_writes(host):
    text = SHIPPING.replace("steps: int = 0\n", 'steps: int = 0\n    tag: str = "new"\n').replace(
        'self.update(by="VERSION")', 'self.update(by="VERSION", tag="mine")'
    )
    await host.create("Parcel", id="old")
    await host.split(shipping("1.1.0", text), weight=100)
    assert (await host.get("Parcel", "old")).tag == "new"
    tagged = await host.call(await host.get("Parcel", "old"), "who")
    assert tagged.tag == "mine"
    await host.split("shipping", weight=0)
    old = await host.get("Parcel", "old")
    assert not hasattr(old, "tag")
    await host.update(old, steps=9)
    await host.split("shipping", weight=100)
    assert (await host.get("Parcel", "old")).tag == "mine"
    await host.promote("shipping")
    assert (await host.get("Parcel", "old")).tag == "mine"
    await host.create("Parcel", id="late")
    assert {one.tag for one in await host.query("Parcel", sort="id")} == {"mine", "new"}


async def test_while_a_candidate_is_tried_other_changes_of_the_component_are_refused(host):
    await host.split(shipping("1.1.0"))
    for change in (
        host.deploy(shipping("1.2.0")),
        host.split(shipping("1.2.0")),
        host.rollback("shipping"),
    ):
        with pytest.raises(ConflictError, match=r"1\.1\.0 is tried beside 1\.0\.0"):
            await change
    await host.undeploy("shipping")
    assert host.splits() == []


async def test_bad_terms_are_refused_by_name(host):
    for weight in (-1, 101, float("nan")):
        with pytest.raises(InvalidError, match="percent"):
            await host.split(shipping("1.1.0"), weight=weight)
    with pytest.raises(InvalidError, match="does not go by 'mood'"):
        await host.split(shipping("1.1.0"), by="mood")
    with pytest.raises(InvalidError, match="this very code"):
        await host.split(shipping("1.0.0"))
    for verb in (host.promote, host.drop):
        with pytest.raises(NotFoundError, match="is not split"):
            await verb("shipping")
        with pytest.raises(NotFoundError, match="there is no component"):
            await verb("shiping")


async def test_errors_count_on_the_side_they_happened(host):
    failing = SHIPPING.replace(
        '        return self.update(by="VERSION")\n\nclass',
        '        raise ValueError("no")\n\nclass',
    )
    await host.split(shipping("1.1.0", failing), weight=50)
    for id in IDS[:30]:
        await settled(host, (await host.create("Parcel", id=id)).id)
    mine = candidates(50, IDS[:30])
    for id in IDS[:30]:
        parcel = await host.get("Parcel", id)
        if id in mine:
            with pytest.raises(AegisError):
                await host.call(parcel, "who")
        else:
            await host.call(parcel, "who")
    (told,) = host.splits()
    assert told.candidate.errors == len(mine)
    assert told.live.errors == 0


async def test_no_call_fails_while_splits_begin_move_and_end_under_load(host):
    done, stop = 0, False

    async def load(n):
        nonlocal done
        while not stop:
            parcel = await host.create("Parcel", id=f"{n}-{done}")
            done += 1
            await host.call(parcel, "who")
            assert await host.get("Parcel", parcel.id)

    tasks = [asyncio.create_task(load(n)) for n in range(8)]
    for n in range(1, 16):
        await host.split(shipping(f"1.{n}.0"), weight=10)
        await asyncio.sleep(0.01)
        await host.split("shipping", weight=60)
        await asyncio.sleep(0.01)
        await (host.promote if n % 2 else host.drop)("shipping")
    stop = True
    await asyncio.gather(*tasks)
    assert done > 50


async def test_flows_of_a_candidate_go_on_after_a_restart_and_the_split_has_ended(tmp_path):
    old = Source.of("track", "1.0.0", WAITING.replace("VERSION", "1.0.0"))
    new = Source.of("track", "1.1.0", WAITING.replace("VERSION", "1.1.0"))
    async with memory_host(store=SqliteStore(tmp_path / "data")) as host:
        await host.deploy(old)
        await host.split(new, weight=100)
        await host.create("Parcel", id="a")
        await until(lambda: host.status().flows_open == 1)
    async with memory_host(store=SqliteStore(tmp_path / "data")) as host:
        await host.deploy(old)
        assert host.splits() == []
        assert "track@1.1.0" in str(host.missing())
        assert [label.partition("+")[0] for label in await host.resume()] == ["track@1.1.0"]
        await host.publish("carrier.delivered", id="a")
        (flow, _) = (await host.flows(await host.get("Parcel", "a")))[0]
        await host.wait(flow.id, timeout=5)
        assert (await host.get("Parcel", "a")).by == "1.1.0"
        await host.create("Parcel", id="b")
        assert host.engine.registry.live["track"].version == "1.0.0"
