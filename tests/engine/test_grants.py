"""What components reach of each other: nothing that is not exported, asked for and granted."""

import asyncio
import re

import pytest

from aegis.adapters.storage.memory import MemoryStore
from aegis.adapters.storage.sqlite import SqliteStore
from aegis.core.component import Source
from aegis.core.errors import (
    ComponentError,
    ConflictError,
    GrantError,
    InvalidError,
    NotFoundError,
)
from aegis.core.manifest import Exports, Manifest
from aegis.testing import memory_host
from tests.engine.shop import quiet

ORDERS = """
from aegis import Model, command, emit, port

class Order(Model, endpoint="orders"):
    name: str = ""
    parcels: int = 0

    @command
    def shout(self, name: str) -> "Order":
        emit(name, shouted=True)
        return self.update(name="shouted")

    @port(consumes="parcel.packed", by="order_id")
    def packed(self) -> "Order":
        return self.update(parcels=self.parcels + 1)
"""
SHIPPING = """
from aegis import Event, Model, Refused, command, emit, event, on, port, relation, waiting

HEARD = []

class Shipment(Model, endpoint="shipments"):
    order_id: str | None = None
    name: str = ""
    told: str = ""

    order = relation("orders.Order", via="order_id")

    @command
    async def look(self) -> "Shipment":
        return self.update(name=(await self.order()).name)

    @command
    async def order_one(self, name: str) -> "Shipment":
        return self.update(order_id=(await self.order.create(name=name)).id)

    @command
    def pretend(self, name: str) -> "Shipment":
        emit(name)
        return self.update(name=name)

class Track(Model, endpoint="tracks"):
    order_id: str | None = None
    seen: str = ""
    order = relation("orders.Order", via="order_id")

    @port(consumes="track.created", produces="track.seen", retries=3)
    async def see(self) -> "Track":
        return self.update(seen=(await self.order()).name)

@on("*")
def hears(event: Event) -> None:
    HEARD.append((event.type, event.source.split("/")[3] if "/components/" in event.source else ""))
"""
EXPORTS = '\n__exports__ = ["Order", "order.*"]\n'
ASKS = '\n__grants__ = {"orders": ["Order", "order.*"]}\n'
GRANTED = ("orders.Order", "orders:order.*")


def heard(host):
    return host.engine.registry.live["shipping"].module.HEARD


async def strict(host, exports=EXPORTS, asks=ASKS, granted=GRANTED):
    await host.deploy("orders", "1.0.0", ORDERS + exports)
    return await host.deploy("shipping", "1.0.0", SHIPPING + asks, grants=granted)


async def test_cells_that_say_nothing_reach_each_other_as_ever():
    async with memory_host() as host:
        await strict(host, "", "", ())
        assert not host.engine.registry.is_closed
        shipment = await host.create("Shipment")
        shipment = await host.call(shipment, "order_one", name="a")
        assert (await host.call(shipment, "look")).name == "a"
        await host.call(shipment, "pretend", name="order.created")


async def test_with_all_three_said_everything_is_reached():
    async with memory_host() as host:
        await strict(host)
        shipment = await host.create("Shipment")
        shipment = await host.call(shipment, "order_one", name="a")
        assert (await host.call(shipment, "look")).name == "a"
        track = await host.create("Track", order_id=shipment.order_id)
        await quiet(host)
        assert (await host.get("Track", track.id)).seen == "a"
        assert ("order.created", "orders") in heard(host)


REFUSED = [
    (
        "\n__exports__ = []\n",
        ASKS,
        GRANTED,
        'orders does not export Order:read: say exports.models = ["Order:read"]',
    ),
    (EXPORTS, "\n__grants__ = {}\n", GRANTED, "shipping does not ask for Order:read of orders"),
    (
        EXPORTS,
        ASKS,
        ("orders:order.*",),
        'it asks for orders.Order, and nobody granted it: host.grant("shipping", "orders.Order")',
    ),
    (
        EXPORTS,
        ASKS,
        ("orders.Order:read", "orders:order.*"),
        'asks for orders.Order:write, and nobody granted it: host.grant("shipping", "orders.Order',
    ),
    (EXPORTS, ASKS, ("orders.Order",), 'host.grant("shipping", "orders:order.*")'),
]


@pytest.mark.parametrize(("exports", "asks", "granted", "said"), REFUSED)
async def test_a_deploy_that_lacks_one_of_the_three_is_refused_with_the_fix(
    exports, asks, granted, said
):
    async with memory_host() as host:
        with pytest.raises(ComponentError, match=re.escape(said)):
            await strict(host, exports, asks, granted)
        assert "shipping" not in host.engine.registry.live
        assert list(host.engine.registry.grants.kept) == []  # nothing was half done


async def test_what_is_written_wrong_is_told_by_name():
    async with memory_host() as host:
        for line, said in (
            ('__exports__ = ["Ordr"]', "did you mean 'Order'"),
            ('__exports__ = "Order"', "__exports__ is a list"),
            ('__exports__ = ["Order:own"]', "names nothing of a component"),
            ('__grants__ = ["Order"]', "__grants__ is a dict"),
            ('__grants__ = {"customers": ["Cust omer"]}', "names nothing of a component"),
            ('__grants__ = {"Cust": ["Customer"]}', "no name of a component"),
        ):
            with pytest.raises(ComponentError, match=said):
                await host.deploy("orders", "1.0.0", f"{ORDERS}\n{line}\n")


def elsewhere(name, text, exports=None, grants=None):
    manifest = Manifest(name=name, version="1.0.0", exports=exports, grants=grants or {})
    return Source.of(name, "1.0.0", text, manifest=manifest, is_local=False)


async def test_what_is_from_elsewhere_exports_nothing_and_reaches_nothing_unsaid():
    async with memory_host() as host:
        await host.deploy("orders", "1.0.0", ORDERS)
        with pytest.raises(ComponentError, match="shipping does not ask for Order:read of orders"):
            await host.deploy(elsewhere("shipping", SHIPPING))
        grants = {"orders": ("Order:read",)}
        with pytest.raises(ComponentError, match="nobody granted it"):
            await host.deploy(elsewhere("shipping", SHIPPING, grants=grants))
        await host.grant("shipping", "orders.Order:read")
        await host.deploy(elsewhere("shipping", SHIPPING, grants=grants))
        order = await host.create("Order", name="a")
        shipment = await host.create("Shipment", order_id=order.id)
        assert (await host.call(shipment, "look")).name == "a"
        with pytest.raises(GrantError, match="shipping may not write Order of orders"):
            await host.call(shipment, "order_one", name="b")
        assert await host.count("Order") == 1
        await quiet(host)
        assert {component for _, component in heard(host)} <= {"shipping"}
        # The author's own cell does not ask, but what is from elsewhere lets nobody in.
        peek = """
from aegis import Model, relation
class Peek(Model):
    shipment_id: str
    shipment = relation("shipping.Shipment", via="shipment_id")
"""
        with pytest.raises(ComponentError, match="shipping does not export Shipment"):
            await host.deploy("peek", "1.0.0", peek)


async def test_the_same_code_from_elsewhere_is_other_code_than_a_local_one():
    local = Source.of("a", "1.0.0", "x")
    assert local.digest != Source.of("a", "1.0.0", "x", is_local=False).digest


async def test_a_revoke_counts_at_the_next_call_and_a_grant_again():
    async with memory_host() as host:
        await strict(host)
        order = await host.create("Order", name="a")
        shipment = await host.create("Shipment", order_id=order.id)
        await host.call(shipment, "look")
        status = await host.revoke("shipping", "orders.Order:read")
        assert status.granted == ("orders.Order:write", "orders:order.*")
        with pytest.raises(GrantError, match=r"shipping may not read Order of orders") as told:
            await host.call(shipment, "look")
        assert told.value.status == 403
        assert told.value.hint == 'host.grant("shipping", "orders.Order:read")'
        await host.call(shipment, "order_one", name="b")
        with pytest.raises(GrantError):
            await host.related(shipment, "order")
        assert any("shipping.Shipment.order relates" in one for one in host.status().problems) is (
            False  # it may write still
        )
        await host.grant("shipping", "orders.Order:read")
        await host.call(shipment, "look")
        assert [one.action.value for one in await host.audit(100)].count("revoke") == 1


async def test_an_open_component_loses_what_is_revoked_too():
    async with memory_host() as host:
        await strict(host, "", "", ())
        order = await host.create("Order", name="a")
        shipment = await host.create("Shipment", order_id=order.id)
        await host.revoke("shipping", "orders.Order")
        with pytest.raises(GrantError, match="that right was taken from it"):
            await host.call(shipment, "look")
        await host.grant("shipping", "orders.Order")
        await host.call(shipment, "look")


async def test_a_step_that_may_not_is_not_retried_and_its_flow_is_on_the_failed_list():
    async with memory_host() as host:
        await strict(host)
        order = await host.create("Order", name="a")
        await host.revoke("shipping", "orders.Order")
        track = await host.create("Track", order_id=order.id)
        await quiet(host)
        ((flow, steps),) = await host.flows(track)
        assert flow.state.value == "compensated"
        assert [step.attempts for step in steps] == [1]
        (failed,) = await host.failed()
        assert "shipping may not read Order of orders" in failed.error
        assert (await host.get("Track", track.id)).seen == ""
        await host.grant("shipping", "orders.Order")
        await host.retry(failed)
        await quiet(host)
        assert (await host.get("Track", track.id)).seen == "a"


async def test_a_call_that_began_before_a_revoke_is_refused_after_it():
    slow = SHIPPING.replace(
        "return self.update(name=(await self.order()).name)",
        """await self.order()
        ENTERED.set()
        await GO.wait()
        await self.order()
        return self.update(name="done")""",
    )
    slow += "\nimport asyncio\nENTERED, GO = asyncio.Event(), asyncio.Event()\n"
    async with memory_host() as host:
        await host.deploy("orders", "1.0.0", ORDERS + EXPORTS)
        await host.deploy("shipping", "1.0.0", slow + ASKS, grants=GRANTED)
        order = await host.create("Order", name="a")
        shipment = await host.create("Shipment", order_id=order.id)
        module = host.engine.registry.live["shipping"].module
        call = asyncio.create_task(host.call(shipment, "look"))
        await module.ENTERED.wait()
        await host.revoke("shipping", "orders.Order")
        module.GO.set()
        with pytest.raises(GrantError):
            await call
        assert (await host.get("Shipment", shipment.id)).name == ""


async def test_a_glob_hears_what_is_granted_and_passes_over_the_rest():
    async with memory_host() as host:
        await strict(
            host,
            '\n__exports__ = ["Order", "order.created", "order.updated"]\n',
            '\n__grants__ = {"orders": ["Order", "order.created"]}\n',
            ("orders.Order", "orders:order.created"),
        )
        order = await host.create("Order", name="a")
        await host.update(order, name="b")
        await host.publish("weather.changed")
        await quiet(host)
        mine = [(kind, who) for kind, who in heard(host) if who != "shipping"]
        assert mine == [("order.created", "orders"), ("weather.changed", "")]
        await host.revoke("shipping", "orders:order.created")
        await host.create("Order")
        await host.create("Shipment")
        await quiet(host)
        assert heard(host)[-1] == ("shipment.created", "shipping")
        assert len([1 for kind, _ in heard(host) if kind == "order.created"]) == 1


PACKER = """
from aegis import Model, port
class Parcel(Model, endpoint="parcels"):
    order_id: str
    @port(consumes="parcel.created", produces="parcel.packed")
    def pack(self) -> "Parcel":
        return self.update(order_id=self.order_id)
"""


@pytest.mark.parametrize(("exports", "parcels"), [('["parcel.*"]', 1), ("[]", 0)])
async def test_a_port_is_set_off_only_by_an_event_that_is_exported(exports, parcels):
    async with memory_host() as host:
        await host.deploy("orders", "1.0.0", ORDERS)
        await host.deploy("packing", "1.0.0", f"{PACKER}\n__exports__ = {exports}\n")
        order = await host.create("Order")
        # The field of an event that others change must be in what it tells of.
        parcel = await host.create("Parcel", order_id=order.id)
        await quiet(host)
        assert (await host.get("Parcel", parcel.id)).order_id == order.id
        told = [e.type for e in await host.events("parcel.*")]
        assert told == ["parcel.created", "parcel.packed"]
        problems = "\n".join(host.status().problems)
        assert ("hears 'parcel.packed': packing does not export" in problems) is (parcels == 0)


async def test_nobody_tells_the_events_of_another_unless_that_is_granted():
    async with memory_host() as host:
        await strict(
            host,
            '\n__exports__ = ["Order", "order.*", "order.updated:write"]\n',
            '\n__grants__ = {"orders": ["Order", "order.*", "order.updated:write"]}\n',
            (*GRANTED, "orders:order.updated:write"),
        )
        shipment = await host.create("Shipment")
        with pytest.raises(GrantError, match=r"shipping may not tell order\.created of orders"):
            await host.call(shipment, "pretend", name="order.created")
        await host.call(shipment, "pretend", name="order.updated")
        await host.call(shipment, "pretend", name="nobodys.event")
        order = await host.create("Order")
        await host.call(order, "shout", name="order.created")
        told = [(e.type, e.source.split("/")[3]) for e in await host.events("order.created")]
        assert told == [("order.created", "orders")] * 2


async def test_a_port_that_would_produce_the_event_of_another_is_refused():
    text = """
from aegis import Model, port
class Crate(Model):
    @port(consumes="crate.created", produces="order.updated")
    def pretend(self) -> "Crate":
        return self
"""
    async with memory_host() as host:
        await host.deploy("orders", "1.0.0", ORDERS + EXPORTS)
        with pytest.raises(ComponentError, match=r"order\.updated"):
            await host.deploy("crates", "1.0.0", text)


WAITER = """
from aegis import Event, Model, port, waiting
class Errand(Model, endpoint="errands"):
    done: bool = False
    @port(consumes="errand.created", produces="errand.done")
    def go(self) -> "Errand":
        return waiting("depot.answered", by="errand", deadline=3600)
    @go.answer
    def answered(self, event: Event) -> "Errand":
        return self.update(done=True)
"""
DEPOT = """
from aegis import Model, command, emit
class Depot(Model, endpoint="depots"):
    name: str = ""
    @command
    def answer(self, errand: str) -> "Depot":
        emit("depot.answered", errand=errand)
        return self.update(name=errand)
"""


@pytest.mark.parametrize("first", ["the question", "the answer"])
async def test_an_answer_is_taken_only_of_whom_one_may_hear(first):
    asks = '\n__grants__ = {"depot": ["depot.answered"]}\n'
    async with memory_host() as host:
        await host.deploy("depot", "1.0.0", DEPOT + '\n__exports__ = ["depot.*"]\n')
        await host.deploy("errands", "1.0.0", WAITER + asks, grants=["depot:depot.*"])
        await host.revoke("errands", "depot:depot.answered")
        depot = await host.create("Depot")
        if first == "the question":
            errand = await host.create("Errand")
            await asyncio.sleep(0.02)
        else:
            errand = await host.create("Errand", id="e1")
        await host.call(depot, "answer", errand=errand.id)
        await asyncio.sleep(0.02)
        assert not (await host.get("Errand", errand.id)).done
        await host.grant("errands", "depot:depot.answered")
        await host.call(depot, "answer", errand=errand.id)
        await quiet(host)
        assert (await host.get("Errand", errand.id)).done


@pytest.mark.parametrize("kind", [MemoryStore, SqliteStore])
async def test_grants_and_revokes_survive_a_restart(kind, tmp_path):
    store = kind() if kind is MemoryStore else kind(tmp_path)
    async with memory_host(store=store, grants={"shipping": ("orders:order.*",)}) as host:
        await strict(host)
        await host.revoke("shipping", "orders.Order:write", "orders:order.deleted")
    store = store if kind is MemoryStore else kind(tmp_path)
    async with memory_host(store=store, grants={"shipping": ("orders:order.*",)}) as host:
        assert host.engine.registry.grants.gives("shipping", "orders", "Order", "read")
        assert host.engine.registry.grants.takes("shipping", "orders", "Order", "write")
        assert host.engine.registry.grants.takes("shipping", "orders", "order.deleted", "read")
        with pytest.raises(ComponentError, match=r"orders\.Order:write, and nobody granted"):
            await strict(host, granted=())
        await strict(host, granted=("orders.Order",))


async def test_an_export_in_use_cannot_be_withdrawn_and_the_old_one_serves_on():
    async with memory_host() as host:
        await strict(host)
        with pytest.raises(
            ComponentError,
            match=r"shipping goes by what it exports no longer: shipping\.Shipment\.order relates",
        ):
            await host.deploy("orders", "2.0.0", ORDERS + '\n__exports__ = ["order.*"]\n')
        order = await host.create("Order", name="a")
        shipment = await host.create("Shipment", order_id=order.id)
        assert (await host.call(shipment, "look")).name == "a"
        await host.undeploy("shipping")
        await host.deploy("orders", "2.0.0", ORDERS + '\n__exports__ = ["order.*"]\n')


async def test_an_owner_that_comes_later_and_exports_nothing_is_let_in_and_told_of():
    async with memory_host() as host:
        await host.deploy("shipping", "1.0.0", SHIPPING + ASKS, grants=GRANTED)
        await host.deploy("orders", "1.0.0", ORDERS + "\n__exports__ = []\n")
        assert any("orders does not export Order" in one for one in host.status().problems)
        shipment = await host.create("Shipment")
        with pytest.raises(GrantError, match="orders does not export Order:write"):
            await host.call(shipment, "order_one", name="a")


async def test_a_revoke_under_load_ends_every_call_whole_or_not_at_all():
    async with memory_host() as host:
        await strict(host)
        shipments = [await host.create("Shipment") for _ in range(20)]
        stop = asyncio.Event()
        made, refused = [], []

        async def caller(shipment):
            while not stop.is_set():
                try:
                    made.append((await host.call(shipment, "order_one", name="x")).order_id)
                except GrantError:
                    refused.append(shipment.id)
                await asyncio.sleep(0)

        callers = [asyncio.create_task(caller(one)) for one in shipments]
        for _ in range(10):
            await asyncio.sleep(0.01)
            await host.revoke("shipping", "orders.Order:write")
            count = len(made)
            await asyncio.sleep(0.01)
            assert len(made) - count <= len(shipments)  # those that had created theirs
            await host.grant("shipping", "orders.Order:write")
        stop.set()
        await asyncio.gather(*callers)
        assert made
        assert refused
        assert await host.count("Order") == len(made)


async def test_a_grant_that_is_none_is_refused():
    async with memory_host() as host:
        for texts in ((), ("Order",), ("orders",)):
            with pytest.raises(InvalidError):
                await host.grant("shipping", *texts)
            with pytest.raises(InvalidError):
                await host.revoke("shipping", *texts)
        with pytest.raises(InvalidError):
            await host.grant("Not a name", "orders.Order")
        with pytest.raises(NotFoundError):
            host.access("nobody")


async def test_what_is_exported_asked_and_granted_is_told():
    async with memory_host() as host:
        await strict(host)
        orders, shipping = host.access()
        assert orders.exports == ("Order", "order.*")
        assert orders.asked is None
        assert shipping.exports is None
        assert shipping.asked == shipping.granted == ("orders.Order", "orders:order.*")


async def test_a_manifest_says_it_for_a_local_folder():
    async with memory_host() as host:
        manifest = Manifest(name="orders", version="1.0.0", exports=Exports(events=("order.*",)))
        await host.deploy(Source.of("orders", "1.0.0", ORDERS, manifest=manifest))
        with pytest.raises(ComponentError, match="orders does not export Order:read"):
            await host.deploy("shipping", "1.0.0", SHIPPING)


async def test_an_import_of_another_component_says_what_to_do_instead():
    async with memory_host() as host:
        await host.deploy("orders", "1.0.0", ORDERS)
        with pytest.raises(ComponentError, match="do not see each other's code: relate"):
            await host.deploy("spy", "1.0.0", "from orders import Order")


async def test_a_replay_goes_by_the_grants_of_its_host():
    async with memory_host() as host:
        await strict(host)
        order = await host.create("Order", name="a")
        track = await host.create("Track", order_id=order.id)
        await quiet(host)
        assert (await host.replay(track)).same


ARCHIVE = """
from aegis import Model
from aegis.adapters.storage.datasources.memory import MemoryDatasource

class Archive(MemoryDatasource):
    pass

class Paper(Model, store="Archive"):
    title: str = ""
"""
NOTES = """
from aegis import Model
class Note(Model, store="archive.Archive"):
    title: str = ""
"""


async def test_a_datasource_of_another_is_used_only_while_that_is_granted():
    asks = '\n__grants__ = {"archive": ["Archive"]}\n'
    async with memory_host() as host:
        await host.deploy("archive", "1.0.0", ARCHIVE + "\n__exports__ = []\n")
        with pytest.raises(ComponentError, match="archive does not export Archive"):
            await host.deploy("notes", "1.0.0", NOTES + asks, grants=["archive.Archive"])
        await host.deploy("archive", "1.0.1", ARCHIVE + '\n__exports__ = ["Archive"]\n')
        with pytest.raises(ComponentError, match="nobody granted it"):
            await host.deploy("notes", "1.0.0", NOTES + asks)
        await host.deploy("notes", "1.0.0", NOTES + asks, grants=["archive.Archive"])
        note = await host.create("Note", title="a")
        await host.revoke("notes", "archive.Archive")
        for verb in (
            lambda: host.get("Note", note.id),
            lambda: host.list("Note"),
            lambda: host.count("Note"),
            lambda: host.create("Note", title="b"),
            lambda: host.update(note, title="c"),
            lambda: host.delete(note),
        ):
            with pytest.raises(GrantError, match="notes may not use Archive of archive"):
                await verb()
        await host.grant("notes", "archive.Archive")
        assert [one.title for one in await host.list("Note")] == ["a"]


async def test_the_end_of_a_record_takes_others_along_only_with_the_right_to_write():
    orders = ORDERS + "\nclass Line(Model):\n    shipment_id: str\n"
    lines = """
from aegis import Model, relation
class Shipment(Model):
    lines = relation("orders.Line", by="shipment_id", on_delete="cascade")
"""
    asks = '\n__grants__ = {"orders": ["Line:read"]}\n'
    async with memory_host(grants={"shipping": ("orders.Line:read",)}) as host:
        await host.deploy("orders", "1.0.0", orders)
        with pytest.raises(ComponentError, match="does not ask for Line:write of orders"):
            await host.deploy("shipping", "1.0.0", lines + asks)
        await host.deploy(
            "shipping", "1.0.0", lines + asks.replace(":read", ""), grants=["orders.Line"]
        )
        shipment = await host.create("Shipment")
        await host.create("Line", shipment_id=shipment.id)
        await host.revoke("shipping", "orders.Line:write")
        with pytest.raises(ConflictError, match="cannot be deleted"):
            await host.delete(shipment)
        await host.grant("shipping", "orders.Line:write")
        await host.delete(shipment)
        assert await host.count("Line") == 0
