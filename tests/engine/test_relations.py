"""Models that relate: followed in one unit of work, kept whole, never passed by."""

import asyncio
from decimal import Decimal

import pytest

from aegis.adapters.storage.memory import MemoryStore
from aegis.adapters.storage.sqlite import SqliteStore
from aegis.core.errors import (
    BadRequestError,
    ClosedError,
    ComponentError,
    ConflictError,
    InvalidError,
    NotFoundError,
)
from aegis.testing import memory_host
from tests.engine.shop import quiet

CUSTOMERS = """
from aegis import Model, relation

class Customer(Model, endpoint="customers"):
    name: str
    city: str = "Wien"

    orders = relation("orders.Order", by="customer_id")
    profile = relation("Profile", by="customer_id", many=False, on_delete="cascade")

class Profile(Model):
    customer_id: str
    motto: str = ""
    customer = relation(Customer, via="customer_id")
"""
ORDERS = """
from dataclasses import dataclass
from decimal import Decimal
from typing import Protocol
from aegis import Clause, Model, Refused, all_of, command, emit, port, relation

class Person(Protocol):
    name: str

@dataclass
class Thing:
    id: str
    price: Decimal

@dataclass
class Line:
    item_id: str
    qty: int = 1

class Order(Model, endpoint="orders"):
    customer_id: str | None = None
    items: list[Line] = []
    tag_ids: list[str] = []
    name: str = ""
    total: Decimal = Decimal(0)
    seen: int = 0

    customer = relation("customers.Customer", Person, via="customer_id")
    things = relation("orders.Item", Thing, via="items.item_id", many=True)
    tags = relation("Tag", via="tag_ids", many=True, on_delete="clear")
    notes = relation("Note", by="order_id", on_delete="cascade")

    @relation("Order")
    def siblings(self) -> Clause:
        return all_of(customer_id=self.customer_id)

    @command
    async def copy(self) -> "Order":
        return self.update(name=(await self.customer()).name)

    @command
    async def link(self, name: str) -> "Order":
        customer = await self.customer.create(name=name)
        again = await self.update(customer_id=customer.id).customer()
        assert again.name == name, again
        return self.update(customer_id=customer.id, name=again.name)

    @command
    async def annotate(self, text: str, fail: bool = False) -> "Order":
        before = await self.notes.count()
        note = await self.notes.create(text=text)
        found = await self.notes(text__prefix=text[:1], sort="-text")
        assert note in found and await self.notes.count() == before + 1
        if fail:
            raise Refused("no")
        return self.update(seen=len(found))

    @command
    async def mark(self, ids: list[str]) -> None:
        for id in ids:
            await self.notes.create(id=id, text="mark")

    @command
    async def price(self) -> "Order":
        prices = {thing.id: thing.price for thing in await self.things()}
        return self.update(total=sum(prices[i.item_id] * i.qty for i in self.items))

    @port(consumes="order.created", produces="order.counted")
    async def look(self) -> "Order":
        return self.update(seen=len(await self.siblings()), name=(await self.customer()).name)

class Item(Model, endpoint="items"):
    price: Decimal
    orders = relation("Order", by="items.item_id")

class Tag(Model):
    text: str = ""

class Note(Model):
    order_id: str
    text: str
"""


@pytest.fixture(params=["memory", "sqlite"])
async def host(request, tmp_path):
    store = MemoryStore() if request.param == "memory" else SqliteStore(tmp_path)
    async with memory_host(store=store) as host:
        await host.deploy("customers", "1.0.0", CUSTOMERS)
        await host.deploy("orders", "1.0.0", ORDERS.replace('"order.created"', '"nobody.asks"'))
        yield host


async def test_a_port_reads_what_its_record_relates_to(host):
    ada = await host.create("Customer", name="Ada")
    order = await host.create("Order", customer_id=ada.id)
    assert (await host.call(order, "copy")).name == "Ada"
    guest = await host.create("Order")
    with pytest.raises(NotFoundError, match=r"no customers\.Customer, the customer of"):
        await host.call(guest, "copy")


async def test_what_is_created_through_a_relation_is_one_commit_with_what_is_returned(host):
    order = await host.create("Order")
    before = host.store.last_seq()
    linked = await host.call(order, "link", name="Bea")
    told = await host.events(after=before)
    assert [event.type for event in told] == ["order.updated", "customer.created"]
    assert (await host.get("Customer", linked.customer_id)).name == "Bea"
    await host.call(linked, "annotate", text="a")
    noted = await host.call(linked, "annotate", text="b")
    assert noted.seen == 1
    assert [note.text for note in await host.related(linked, "notes", sort="-text")] == ["b", "a"]


async def test_what_is_created_through_a_relation_has_the_id_that_it_is_given_once(host):
    order = await host.create("Order", customer_id=None)
    await host.call(order, "mark", ids=[order.id])
    assert (await host.get("Note", order.id)).order_id == order.id
    for ids, refusal in (
        ([order.id], "exists already"),
        (["x", "x"], "exists already"),
        (["a/b"], "is no id"),
    ):
        with pytest.raises((ConflictError, InvalidError), match=refusal):
            await host.call(order, "mark", ids=ids)
    assert await host.count("Note") == 1


async def test_what_a_refused_call_created_is_not_there(host):
    order = await host.create("Order")
    with pytest.raises(Exception, match="no"):
        await host.call(order, "annotate", text="x", fail=True)
    assert await host.count("Note") == 0
    with pytest.raises(InvalidError, match="Unicode text"):
        await host.call(order, "annotate", text="\ud800")


async def test_ids_in_a_list_of_objects_relate_both_ways(host):
    for id, price in (("cd-1", "2.50"), ('cd-"1', "1.00"), ("cd-ü", "4")):
        await host.create("Item", id=id, price=price)
    lines = [{"item_id": "cd-ü", "qty": 2}, {"item_id": "cd-1"}]
    order = await host.create("Order", items=lines)
    quoted = await host.create("Order", items=[{"item_id": 'cd-"1'}], name='"item_id":"cd-1"')
    assert (await host.call(order, "price")).total == Decimal("10.50")
    assert [thing.id for thing in await host.related(order, "things")] == ["cd-ü", "cd-1"]
    for item, its in (("cd-1", order), ("cd-ü", order), ('cd-"1', quoted)):
        found = await host.related(await host.get("Item", item), "orders")
        assert [one.id for one in found] == [its.id]


@pytest.mark.parametrize("many", [8, 80])
async def test_those_that_are_named_come_in_that_order_whatever_is_missing(host, many):
    text = ORDERS.replace('on_delete="clear"', 'on_delete="ignore"')
    await host.deploy("orders", "1.0.0", text.replace('"order.created"', '"nobody.asks"'))
    named = [f"t{n:02}" for n in reversed(range(many))]
    for id in named[1::2]:
        await host.create("Tag", id=id, text=id[-1])
    order = await host.create("Order", tag_ids=named)
    assert [tag.id for tag in await host.related(order, "tags", limit=3)] == named[1:6:2]
    found = await host.related(order, "tags", sort="id", limit=3)
    assert [tag.id for tag in found] == sorted(named[1::2])[:3]
    assert [tag.id for tag in await host.related(order, "tags", text="2")] == [
        id for id in named[1::2] if id[-1] == "2"
    ]


async def test_one_to_one_is_one_or_none(host):
    ada = await host.create("Customer", name="Ada")
    assert await host.related(ada, "profile") is None
    profile = await host.create("Profile", customer_id=ada.id, motto="m")
    assert await host.related(ada, "profile") == profile
    assert await host.related(profile, "customer") == ada
    await host.create("Profile", customer_id=ada.id)
    with pytest.raises(InvalidError, match="there are more"):
        await host.related(ada, "profile")


async def test_a_method_says_which_others_are_meant(host):
    ada = await host.create("Customer", name="Ada")
    orders = [await host.create("Order", customer_id=ada.id) for _ in range(3)]
    await host.create("Order")
    found = await host.related(orders[0], "siblings", sort="-id", limit=2)
    assert [one.id for one in found] == sorted((o.id for o in orders), reverse=True)[:2]


async def test_what_is_named_must_be_there(host):
    with pytest.raises(InvalidError, match=r"Order\.customer_id names 'c9'.*no such") as raised:
        await host.create("Order", customer_id="c9")
    assert raised.value.fields["field"] == "customer_id"
    order = await host.create("Order")
    with pytest.raises(InvalidError, match=r"Order\.tag_ids names 't9'"):
        await host.update(order, tag_ids=["t9"])
    assert await host.get("Order", order.id) == order


async def test_a_record_that_others_name_is_not_deleted(host):
    ada = await host.create("Customer", name="Ada")
    order = await host.create("Order", customer_id=ada.id)
    with pytest.raises(ConflictError, match=f"Order '{order.id}' names it as its customer_id"):
        await host.delete(ada)
    assert await host.get("Customer", ada.id) == ada
    await host.delete(order)
    await host.delete(ada)
    assert await host.count("Customer") == 0


async def test_a_relation_says_who_goes_along_and_who_forgets(host):
    tags = [await host.create("Tag", text=str(n)) for n in range(2)]
    order = await host.create("Order", tag_ids=[tag.id for tag in tags])
    for text in "ab":
        await host.create("Note", order_id=order.id, text=text)
    await host.delete(tags[0])
    assert (await host.get("Order", order.id)).tag_ids == [tags[1].id]
    before = host.store.last_seq()
    await host.delete(order)
    assert [event.type for event in await host.events(after=before)] == [
        "order.deleted", "note.deleted", "note.deleted",
    ]  # fmt: skip
    assert await host.count("Note") == 0


async def test_who_names_a_record_and_who_deletes_it_never_pass_each_other_by(host):
    for _ in range(30):
        ada = await host.create("Customer", name="Ada")
        naming = [host.create("Order", customer_id=ada.id) for _ in range(3)]
        results = await asyncio.gather(
            *naming, host.delete(ada), *naming[:0], return_exceptions=True
        )
        left = await host.count("Order", customer_id=ada.id)
        there = await host.count("Customer", id=ada.id)
        assert (left == 0) or there == 1, results
        made = [one for one in results[:3] if not isinstance(one, Exception)]
        assert len(made) == left
        for error in (one for one in results if isinstance(one, Exception)):
            assert isinstance(error, ConflictError | InvalidError)


async def test_what_is_loaded_later_and_what_is_missing(host):
    async with memory_host() as alone:
        await alone.deploy("orders", "1.0.0", ORDERS.replace('"order.created"', '"nobody.asks"'))
        order = await alone.create("Order", customer_id="anybody")
        with pytest.raises(ClosedError, match=r"customers\.Customer is not loaded"):
            await alone.related(order, "customer")
    with pytest.raises(NotFoundError, match=r"no relation 'custmer'.*customer"):
        await host.related(await host.create("Order"), "custmer")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("customers.Customer", "customers.Custmer"), "customers.Custmer, which is no model"),
        (("    name: str\n\n@dataclass", "    nam: str\n\n@dataclass"), "looks at 'nam'"),
        (('"Note", by="order_id"', '"Note", by="orde_id"'), "has no field 'orde_id'"),
        (('via="tag_ids"', 'via="tags_ids"'), "no field that holds ids: did you mean 'tag_ids'"),
        (('via="customer_id"', 'via="customer_id", many=True'), "holds one id"),
        (('via="tag_ids", many=True', 'via="tag_ids"'), "holds many ids"),
        (('on_delete="clear"', 'on_delete="clean"'), "on_delete is one of refuse"),
        (('by="order_id", on_delete="cascade"', 'by="order_id", on_delete="clear"'), "None"),
        (('via="customer_id"', 'via="seen"'), "no field that holds ids"),
    ],
)
async def test_a_mistake_is_told_at_install(host, change, said):
    text = ORDERS.replace(*change)
    assert text != ORDERS
    with pytest.raises(ComponentError) as raised:
        await host.deploy("orders", "1.0.1", text)
    assert said in str(raised.value)


async def test_a_field_that_another_component_looks_at_is_not_removed(host):
    text = CUSTOMERS.replace("name: str", "title: str")
    with pytest.raises(ComponentError, match=r"orders\.Order\.customer looks at 'name'"):
        await host.deploy("customers", "2.0.0", text)


async def test_a_replay_finds_what_was_found_then(host):
    await host.deploy("orders", "1.0.1", ORDERS)
    ada = await host.create("Customer", name="Ada")
    first = await host.create("Order", customer_id=ada.id)
    flow = await host.wait(first, 5)
    assert (await host.get("Order", first.id)).seen == 1
    await host.create("Order", customer_id=ada.id)
    await host.update(ada, name="Bea")
    await quiet(host)
    replay = await host.replay(flow.id)
    assert replay.same, replay


async def test_a_question_about_what_is_related_is_checked(host):
    order = await host.create("Order")
    with pytest.raises(BadRequestError, match="no field 'txt'"):
        await host.related(order, "notes", txt="x")
    with pytest.raises(BadRequestError, match="limit is 0 to"):
        await host.related(order, "notes", limit=-1)
    assert await host.related(order, "things") == []
