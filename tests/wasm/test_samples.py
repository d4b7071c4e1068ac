"""Each sample is built from source, is deployed, and does what it says."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any

import pytest

from aegis.core.errors import ComponentError, GuestError, InvalidError, Refused
from aegis.engine.host import Host
from aegis.testing import memory_host
from tests.engine.shop import quiet, until
from tests.wasm.modules import module, source
from tests.wasm.samples import FOLDER, built, loader

PARTNERS = '''
"""Partners that note what they are asked, and fail as often as they are told to."""

from typing import Protocol

from aegis import Refused, event, idempotency_key

ASKED = []
FAILS = {}


class Partner(Protocol):
    async def pick(self, order_id: str) -> None: ...


class Everybody(Partner):
    async def note(self, what: str, order_id: str) -> None:
        ASKED.append((what, order_id, idempotency_key()))
        if FAILS.get(what) == "declines":
            raise Refused(f"{what}: no", emit=event("partner.declined", order_id, what=what))
        if FAILS.get(what):
            FAILS[what] -= 1
            raise RuntimeError(f"{what} is out of order")

    async def pick(self, order_id: str) -> None:
        await self.note("pick", order_id)

    async def recall(self, order_id: str) -> None:
        await self.note("recall", order_id)

    async def ship(self, order_id: str, address: str) -> None:
        await self.note(f"ship to {address}", order_id)

    async def bring_back(self, order_id: str) -> None:
        await self.note("bring_back", order_id)

    async def track(self, order_id: str) -> None:
        await self.note("track", order_id)

    async def proof(self, order_id: str) -> None:
        await self.note("proof", order_id)

    async def collect(self, order_id: str) -> None:
        await self.note("collect", order_id)
'''
BINDINGS = dict.fromkeys(
    ("shipping.Warehouse", "shipping.Carrier", "shipping.Deliveries"), "partners.Everybody"
)
GRANTS = {"shipping": ["host.wasi"]}  # what Go's runtime wants
SHIPPING = ["python/shipping", "javascript/shipping", "go/shipping"]


class Shipments:
    """A host with shipping and its partners, and what both do."""

    def __init__(self, host: Host) -> None:
        self.host = host
        partners = host.engine.registry.live["partners"].module
        self.asked: list[tuple[str, str, str]] = partners.ASKED
        self.fails: dict[str, Any] = partners.FAILS

    async def create(self) -> str:
        shipment = await self.host.create("Shipment", order_id="o-1", address="High Street 1")
        return str(shipment.id)

    async def was_asked(self, *what: str) -> None:
        await until(lambda: tuple(one[0] for one in self.asked) == what)

    async def story(self) -> list[tuple[str, str | None, dict[str, Any]]]:
        return [(one.type, one.subject, dict(one.data)) for one in await self.host.events()]


@asynccontextmanager
async def shipping(name: str) -> AsyncIterator[Shipments]:
    async with memory_host(bindings=BINDINGS, grants=GRANTS, loader=loader()) as host:
        await host.deploy("partners", "1.0.0", PARTNERS)
        await host.deploy(built(name))
        yield Shipments(host)


ANSWERS = (
    ("pick", "warehouse.picked", {"address": "Dock 4"}),
    ("ship to High Street 1", "carrier.shipped", {"shipment": "S-7"}),
    ("track", "carrier.tracked", {"tracking": "T-7", "status": "out_for_delivery"}),
    (None, "carrier.tracked", {"tracking": "T-7", "status": "delivered"}),
    ("proof", "delivery.proven", {"proof": "signed"}),
)


async def answered(shipments: Shipments, id: str, count: int) -> None:
    """The first `count` answers of the partners, each when it was asked for."""
    asked: list[str] = []
    for what, name, data in ANSWERS[:count]:
        if what is not None:
            asked.append(what)
        await shipments.was_asked(*asked)
        await shipments.host.publish(name, order_id=id, **data)


@pytest.mark.parametrize("name", SHIPPING)
async def test_a_shipment_goes_from_the_warehouse_to_the_proof(name: str) -> None:
    async with shipping(name) as shipments:
        id = await shipments.create()
        await answered(shipments, id, len(ANSWERS))
        await quiet(shipments.host)
        shipment = await shipments.host.get("Shipment", id)
        told = [one for one in await shipments.story() if not one[0].startswith(("w", "c"))]
    assert (shipment.order_id, shipment.status) == ("o-1", "COMPLETE")
    assert (shipment.pickup_address, shipment.shipment, shipment.proof) == (
        *("Dock 4", "S-7"),
        "signed",
    )
    assert (shipment.tracking, shipment.tracking_status) == ("T-7", "delivered")
    assert len({key for _, _, key in shipments.asked}) == 4
    assert [(name, subject) for name, subject, _ in told if name != "delivery.proven"] == [
        ("shipment.created", id),
        *(("shipment.picked", id), ("order.picked", "o-1")),
        *(("shipment.shipped", id), ("order.shipped", "o-1")),
        *(("shipment.updated", id),),
        *(("shipment.delivered", id), ("order.delivered", "o-1")),
        *(("shipment.verified", id), ("delivery.verified", "o-1")),
    ]
    assert told[-1][2] == {"order_id": "o-1", "proof": "signed"}


@pytest.mark.parametrize("name", SHIPPING)
async def test_what_was_done_for_a_shipment_is_undone_when_a_partner_refuses(name: str) -> None:
    async with shipping(name) as shipments:
        shipments.fails["proof"] = "declines"
        id = await shipments.create()
        await answered(shipments, id, len(ANSWERS) - 1)
        await quiet(shipments.host)
        shipment = await shipments.host.get("Shipment", id)
        told = await shipments.story()
    done, undone = shipments.asked[:4], shipments.asked[4:]
    # Each undo comes with the key of what it takes back; what was refused needs none.
    assert [(what, key) for what, _, key in undone] == [
        ("bring_back", done[1][2]),
        ("recall", done[0][2]),
    ]
    assert ("partner.declined", id, {"what": "proof"}) in told
    assert (shipment.status, shipment.shipment, shipment.pickup_address) == ("NEW", None, None)


@pytest.mark.parametrize("name", SHIPPING)
async def test_an_answer_that_says_less_than_it_must_is_named_and_the_shipment_undone(
    name: str,
) -> None:
    async with shipping(name) as shipments:
        id = await shipments.create()
        await shipments.was_asked("pick")
        await shipments.host.publish("warehouse.picked", order_id=id)
        await quiet(shipments.host)
        assert (await shipments.host.get("Shipment", id)).status == "NEW"
        (failure,) = await shipments.host.failed()
    assert "address" in str(failure.error)
    assert shipments.asked[-1][0] == "recall"


PARCELS = """
from decimal import Decimal
from typing import Protocol

from aegis import Model, adapter, command


class Tariff(Protocol):
    async def fee(self, grams: int, country: str) -> Decimal: ...


class Parcel(Model):
    grams: int
    country: str = "AT"
    fee: Decimal = Decimal(0)

    @command
    async def price(self, tariff: Tariff = adapter()) -> "Parcel":
        return self.update(fee=await tariff.fee(self.grams, self.country))
"""


@asynccontextmanager
async def parcels(**values: Any) -> AsyncIterator[Host]:
    bindings = {"parcels.Tariff": "tariff.ByWeight"}
    async with memory_host(bindings=bindings, values=values, loader=loader()) as host:
        await host.deploy(built("c/tariff"))
        await host.deploy("parcels", "1.0.0", PARCELS)
        yield host


async def test_a_port_in_python_is_bound_to_an_adapter_in_c() -> None:
    async with parcels(**{"tariff.kilo": 200}) as host:
        for grams, country, fee in (
            (1, "AT", "5.90"),
            (1000, "AT", "5.90"),
            (1001, "AT", "7.90"),
            (2500, "DE", "19.80"),
            (100_000_000, "AT", "200003.90"),
        ):
            parcel = await host.create("Parcel", grams=grams, country=country)
            assert (await host.call(parcel, "price")).fee == Decimal(fee)


@pytest.mark.parametrize("grams", [0, -5, 10**12])
async def test_an_adapter_in_c_refuses_what_weighs_nothing(grams: int) -> None:
    async with parcels() as host:
        parcel = await host.create("Parcel", grams=grams)
        with pytest.raises(Refused, match="weighs more than nothing"):
            await host.call(parcel, "price")


SHOP = """
import msgspec
from decimal import Decimal

from aegis import Model


class Item(msgspec.Struct):
    item_id: str
    price: Decimal
    qty: int = 1


class Order(Model):
    items: list[Item]
    customer_id: str | None = None
"""


@asynccontextmanager
async def shop() -> AsyncIterator[Host]:
    grants = {"fraud": ["host.keys"]}
    async with memory_host(grants=grants, loader=loader()) as host:
        await host.deploy("shop", "1.0.0", SHOP)
        await host.deploy(built("assemblyscript/fraud"))
        yield host


def heard(host: Host, listener: str) -> int:
    """How many events a listener is done with."""
    figure = host.monitor.figures()[f"listener:{listener}"]
    return figure.calls - figure.running


async def test_a_listener_in_assemblyscript_tells_of_orders_that_look_like_fraud() -> None:
    async with shop() as host:
        lamp = {"item_id": 'a "lamp" \\ \u00e4\n', "price": "329.95"}
        for n, (qty, customer) in enumerate(
            ((1, None), (3, None), (6, None), (7, "ada"), (7, "bea"), (1, "bea"), (4, "bea"))
        ):
            items = [{**lamp, "qty": qty}]
            await host.create("Order", id=f"o-{n}", items=items, customer_id=customer)
            await until(lambda n=n: heard(host, "fraud.score") == n + 1)
        assert [(one.subject, one.data) for one in await host.events("fraud.*")] == [
            ("o-2", {"score": 100}),
            ("o-3", {"score": 70}),
            ("o-4", {"score": 70}),
            ("o-6", {"score": 60}),
        ]


async def test_what_a_listener_in_assemblyscript_cannot_read_is_on_the_list_of_what_failed() -> (
    None
):
    async with shop() as host:
        await host.create("Order", items=[])
        await until(lambda: host.status().failed)
        (failure,) = await host.failed()
        assert "without items" in str(failure.error)


async def test_a_model_in_wat_prints_what_is_created_and_refuses_the_rest() -> None:
    async with memory_host(loader=loader()) as host:
        await host.deploy(built("wat/labels"))
        label = await host.create("Label", order_id="o-1")
        await quiet(host)
        printed = await host.get("Label", label.id)
        assert (printed.order_id, printed.status) == ("o-1", "PRINTED")
        with pytest.raises(Refused, match="stays printed"):
            await host.call(printed, "void")
        with pytest.raises(InvalidError, match="status"):
            await host.create("Label", order_id="o-2", status="TORN")


async def test_the_description_that_the_readme_shows_is_one() -> None:
    text = (FOLDER / "README.md").read_text()
    said = json.loads(text.partition("```json\n")[2].partition("```")[0])
    async with memory_host(grants={"parcels": ["orders:order.completed"]}) as host:
        await host.deploy(source("parcels", module(said, {"Parcel.hurry": "", "Bikes.ship": ""})))
        (parcel,) = host.engine.registry.live["parcels"].models
        assert set(parcel.ports) == {"ship"}
        assert (await host.create("Parcel", order_id="o-1")).status == "NEW"


@pytest.mark.parametrize(
    ("name", "right"), [("go/shipping", "host.wasi"), ("assemblyscript/fraud", "host.keys")]
)
async def test_a_sample_that_nobody_granted_what_it_imports_is_refused(
    name: str, right: str
) -> None:
    async with memory_host(loader=loader(), bindings=BINDINGS) as host:
        await host.deploy("partners", "1.0.0", PARTNERS)
        with pytest.raises(ComponentError, match=f"it asks for {right}, and nobody granted it"):
            await host.deploy(built(name))
        assert list(host.engine.registry.live) == ["partners"]


HELLO = ["javascript/hello", "go/hello", "assemblyscript/hello", "c/hello"]


@asynccontextmanager
async def hello(name: str, **values: Any) -> AsyncIterator[Host]:
    grants = {"hello": ["host.wasi"]} if name.startswith("go/") else {}
    async with memory_host(values=values, grants=grants, loader=loader()) as host:
        await host.deploy(built(name))
        yield host


@pytest.mark.parametrize("name", HELLO)
async def test_a_binding_reaches_all_that_the_host_offers(
    name: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "aegis")
    who = 'Zo\u00eb "Q" \\ \U0001f98a\n'
    async with hello(name, **{"hello.word": "Gr\u00fcezi"}) as host:
        for text in (who, "x" * 100_000):
            guest = await host.create("Guest", name=text)
            assert (await host.call(guest, "greet")).greeting == f"Gr\u00fcezi, {text}!"
        await until(lambda: heard(host, "hello.welcome") == 2)
        (told, _) = await host.events("guest.greeted")
        assert (told.subject is not None, told.data) == (True, {"greeting": f"Gr\u00fcezi, {who}!"})
    assert any("said Gr\u00fcezi, Zo\u00eb" in record.getMessage() for record in caplog.records)


@pytest.mark.parametrize("name", HELLO)
async def test_an_error_of_an_adapter_comes_through_a_command_as_it_was(name: str) -> None:
    async with hello(name) as host:
        nobody = await host.create("Guest", name="")
        with pytest.raises(Refused, match=r"^nobody is called so$"):
            await host.call(nobody, "greet")
        assert [one.type for one in await host.events("guest.*")] == [
            *("guest.created", "guest.unknown"),
        ]
        asked = await host.create("Guest", name="?")
        with pytest.raises(GuestError, match="say who it is"):
            await host.call(asked, "greet")
        assert (await host.get("Guest", asked.id)).greeting is None
        assert not await host.events("guest.greeted")
