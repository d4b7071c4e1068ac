"""What a host is asked in Python: conditions, an order, pages, fields, a count."""

from decimal import Decimal

import pytest

from aegis import all_of, any_of, not_
from aegis.core.errors import BadRequestError
from aegis.testing import memory_host

TEXT = """
from dataclasses import dataclass
from decimal import Decimal
from aegis import Model

@dataclass
class Place:
    city: str

class Order(Model, index="status,-total"):
    total: Decimal
    status: str = "PENDING"
    place: Place | None = None
"""
ORDERS = [
    ("a", 50, "PENDING"),
    ("b", 100, "APPROVED"),
    ("c", 150, "PENDING"),
    ("d", 200, "SHIPPED"),
]


@pytest.fixture
async def host():
    async with memory_host() as host:
        await host.deploy("orders", "1.0.0", TEXT)
        for id, total, status in ORDERS:
            place = {"city": "Wien"} if id == "a" else None
            await host.create("Order", id=id, total=total, status=status, place=place)
        yield host


def ids(found):
    return "".join(order.id for order in found)


async def test_filters_are_fields_with_operators_and_all_must_be_true(host):
    found = await host.query(
        "Order", total__ge=100, status__in=["PENDING", "APPROVED"], sort="-total", limit=50
    )
    assert (ids(found), found.next) == ("cb", None)
    assert found[0].total == Decimal(150)
    assert ids(await host.query("Order", place__city="Wien")) == "a"
    assert ids(await host.query("Order", _created__ge="2020-01-01", id__gt="b")) == "cd"
    assert ids(await host.list("Order", status="PENDING", sort="-id")) == "ca"


async def test_clauses_say_any_and_not(host):
    asked = any_of(status="SHIPPED", total__lt=100)
    assert ids(await host.query("Order", asked)) == "ad"
    assert ids(await host.query("Order", not_(asked), total__ge=120)) == "c"
    both = any_of(all_of(status="PENDING", total__ge=100), all_of(status="APPROVED"))
    assert ids(await host.query("Order", both)) == "bc"
    assert await host.count("Order", both) == 2
    assert await host.count("Order", both, id="b") == 1
    assert await host.count("Order") == 4


async def test_pages_go_on_where_the_one_before_ended(host):
    cursor, seen = None, ""
    while True:
        page = await host.query("Order", total__ge=60, sort="-total", limit=2, cursor=cursor)
        seen += ids(page)
        cursor = page.next
        if cursor is None:
            break
    assert seen == "dcb"
    page = await host.query("Order", limit=1, sort="total")
    with pytest.raises(BadRequestError, match="another query"):
        await host.query("Order", limit=1, cursor=page.next)


async def test_with_fields_each_is_a_dict_of_these_as_they_are_typed(host):
    rows = await host.query("Order", fields="total,id", status="PENDING", limit=1)
    assert rows == [{"total": Decimal(50), "id": "a"}]
    assert rows.next is not None
    (row,) = await host.query("Order", fields=["_created"], id="a")
    assert row["_created"].endswith("Z")


@pytest.mark.parametrize(
    ("asked", "parameter"),
    [
        ({"totl__ge": 1}, "totl__ge"),
        ({"total__ge": "much"}, "total__ge"),
        ({"sort": "created"}, "created"),
        ({"sort": "place"}, "place"),
        ({"fields": "id,created"}, "fields"),
        ({"limit": -1}, "limit"),
    ],
)
async def test_what_cannot_be_asked_is_named(host, asked, parameter):
    with pytest.raises(BadRequestError) as refused:
        await host.query("Order", **asked)
    assert refused.value.fields["parameter"] == parameter
