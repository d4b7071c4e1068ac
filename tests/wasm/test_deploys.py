"""A guest is planned, swapped, split, tried, migrated and taken back like a component in Python."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator
from decimal import Decimal
from typing import Any

import pytest

from aegis.core.component import Source
from aegis.core.errors import ComponentError, GateError
from aegis.core.rehearsal import Gate
from aegis.core.split import BUCKETS, bucket
from aegis.engine.host import Host
from aegis.testing import memory_host
from tests.engine.shop import quiet
from tests.wasm.talking import Talk

TEXT = {"type": "string"}
FIELDS: dict[str, Any] = {
    "order_id": {**TEXT, "default": ""},
    "status": {"enum": ["NEW", "SHIPPED", "DELIVERED"], "default": "NEW"},
    "by": {**TEXT, "default": ""},
}
SHIP = {"consumes": ["shipment.created"], "produces": "shipment.shipped"}
TRACK = {
    "consumes": ["shipment.shipped"],
    "produces": "shipment.delivered",
    "answer": {"events": ["carrier.delivered"]},
}
PORTS: dict[str, Any] = {"ship": SHIP, "track": TRACK}
PYTHON = """
from typing import Literal
from aegis import Event, Model, Waiting, command, port, waiting

class Shipment(Model, endpoint="shipments"):
    order_id: str = ""
    status: Literal["NEW", "SHIPPED", "DELIVERED"] = "NEW"
    by: str = ""

    @port(consumes="shipment.created", produces="shipment.shipped")
    def ship(self) -> "Shipment":
        return self.update(status="SHIPPED")

    @port(consumes=ship, produces="shipment.delivered")
    def track(self) -> Waiting:
        return waiting("carrier.delivered", by="id", deadline=3600)

    @track.answer
    def delivered(self, event: Event) -> "Shipment":
        return self.update(status="DELIVERED", by="python")

    @command
    def touch(self) -> "Shipment":
        return self.update(by="python")
"""


def shipping(
    version: str,
    by: str = "",
    *,
    fields: dict[str, Any] | None = None,
    ports: dict[str, Any] | None = None,
    functions: str = "",
    talk: Talk | None = None,
    answers: dict[str, str] | None = None,
    model: dict[str, Any] | None = None,
    **more: Any,
) -> Source:
    """Shipping as a guest, which signs what it delivers."""
    description = {
        "name": "shipping",
        "version": version,
        "models": {
            "Shipment": {
                "endpoint": "shipments",
                "fields": {**FIELDS, **(fields or {})},
                "ports": PORTS if ports is None else ports,
                "commands": {"touch": {}},
                **(model or {}),
            }
        },
        **more,
    }
    by = by or version
    wait = '{"wait":{"events":["carrier.delivered"],"by":"id","deadline":3600}}'
    said = {
        "Shipment.ship": '{"record":{"status":"SHIPPED"}}',
        "Shipment.track": wait,
        "Shipment.track.answer": f'{{"record":{{"status":"DELIVERED","by":"{by}"}}}}',
        "Shipment.touch": f'{{"record":{{"by":"{by}"}}}}',
    }
    return (talk or Talk()).source(description, {**said, **(answers or {})}, functions=functions)


@pytest.fixture
async def host() -> AsyncGenerator[Host]:
    async with memory_host() as host:
        yield host


async def waiting(host: Host, count: int = 1) -> list[str]:
    """New shipments, which wait in `track`."""
    ids = [(await host.create("Shipment")).id for _ in range(count)]
    async with asyncio.timeout(10):
        for id in ids:
            while True:
                flow = (await host.flows(await host.get("Shipment", id)))[0]
                if any(step.wait is not None for step in flow[1]):
                    break
                await asyncio.sleep(0.005)
    return ids


async def delivered(host: Host, *ids: str) -> list[str]:
    """By whom they are delivered when the carrier says that they are."""
    for id in ids:
        await host.publish("carrier.delivered", id=id)
    by = []
    async with asyncio.timeout(10):
        for id in ids:
            while (one := await host.get("Shipment", id)).status != "DELIVERED":  # noqa: ASYNC110 -- it tells no Event
                await asyncio.sleep(0.005)
            by.append(one.by)
    return by


async def test_a_plan_tells_what_a_guest_would_make_different(host: Host) -> None:
    await host.deploy(shipping("1.0.0"))
    more = {"weight": {"type": "integer", "minimum": 1, "default": 1}}
    ports = {"ship": {**SHIP, "timeout": 3}, "track": TRACK, "weigh": {}}
    told = await host.plan(
        shipping(
            "1.1.0", fields=more, ports=ports, grants={"scales": ["Scale:read"]}, emits=["a.b"]
        )
    )
    lines = "\n".join(line for _, line in told.lines())
    for words in ("weight", "weigh", "1.1.0", "scales", "timeout"):
        assert words in lines, lines
    less = await host.plan(shipping("1.0.1", ports={"ship": SHIP}))
    text = "\n".join(line for _, line in less.lines())
    assert "breaking" in text
    assert "track" in text
    changed = shipping("1.2.0", answers={"Shipment.touch": ""})
    assert "touch" not in "\n".join(line for _, line in (await host.plan(changed)).lines())


async def test_a_guest_is_swapped_under_load_and_no_call_fails(host: Host) -> None:
    await host.deploy(shipping("1.0.0", ports={}))
    answers: Counter[str] = Counter()
    record = await host.create("Shipment")
    closing = False

    async def call() -> None:
        while not closing:
            answers[(await host.call(record, "touch")).by] += 1

    callers = [asyncio.create_task(call()) for _ in range(4)]
    for n in range(1, 21):
        await host.deploy(shipping(f"1.0.{n}", ports={}))
        await asyncio.sleep(0.01)
    closing = True
    await asyncio.gather(*callers)
    assert answers.total() > 100
    assert len(answers) > 10
    assert list(host.engine.registry.live["shipping"].guest.traps) == []  # type: ignore[union-attr]


async def test_python_is_replaced_by_a_guest_and_takes_its_place_back(host: Host) -> None:
    await host.deploy("shipping", "1.0.0", PYTHON)
    first, second = await waiting(host, 2)
    told = await host.plan(shipping("2.0.0"))
    assert told.fits
    assert told.breaks == ()
    await host.deploy(shipping("2.0.0"))
    # A flow of its own ends on the version number that it began on.
    assert await delivered(host, first) == ["python"]
    (third,) = await waiting(host)
    assert (await host.call(await host.get("Shipment", third), "touch")).by == "2.0.0"
    await host.rollback("shipping")
    assert await delivered(host, third, second) == ["2.0.0", "python"]
    (fourth,) = await waiting(host)
    # The same number and other code: an edited cell, in another language.
    await host.deploy(shipping("1.0.0", "guest"))
    assert await delivered(host, fourth) == ["guest"]


async def test_two_guests_serve_side_by_side_by_the_id_of_a_record(host: Host) -> None:
    await host.deploy(shipping("1.0.0"))
    await host.split(shipping("1.1.0"), weight=50)
    ids = await waiting(host, 12)
    sides = ["1.1.0" if bucket("shipping", id) < BUCKETS / 2 else "1.0.0" for id in ids]
    assert set(sides) == {"1.0.0", "1.1.0"}
    assert await delivered(host, *ids) == sides
    split = host.splits()[0]
    assert (split.live.errors, split.candidate.errors) == (0, 0)
    assert split.candidate.calls > 0
    await host.promote("shipping")
    assert await delivered(host, *await waiting(host, 2)) == ["1.1.0"] * 2
    await host.rollback("shipping")
    assert await delivered(host, *await waiting(host, 2)) == ["1.0.0"] * 2


async def test_a_gate_refuses_a_guest_that_does_otherwise(host: Host) -> None:
    await host.deploy(shipping("1.0.0", "same"))
    await delivered(host, *await waiting(host, 3))
    await quiet(host)
    with pytest.raises(GateError, match="3 differ"):
        await host.deploy(shipping("1.0.1", "other"), gate=Gate())
    made = await host.deploy(shipping("1.0.1", "same"), gate=Gate())
    assert made.version == "1.0.1"


async def test_a_port_for_which_flows_wait_is_not_taken_away(host: Host) -> None:
    await host.deploy(shipping("1.0.0"))
    await waiting(host)
    with pytest.raises(ComponentError, match="track"):
        await host.deploy(shipping("1.0.0", ports={"ship": SHIP}))
    was = {"ship": SHIP, "follow": {**TRACK, "was": ["track"]}}
    answer = '{"record":{"status":"DELIVERED","by":"follow"}}'
    (other,) = await waiting(host)
    await host.deploy(shipping("1.0.0", ports=was, answers={"Shipment.follow.answer": answer}))
    assert await delivered(host, other) == ["follow"]


async def test_a_field_with_a_default_is_written_into_the_records_there_are(host: Host) -> None:
    await host.deploy(shipping("1.0.0"))
    (id,) = await waiting(host)
    more = {
        "price": {"type": "string", "format": "decimal", "default": "2.50"},
        "tags": {"type": "array", "items": TEXT, "default": ["new"]},
    }
    await host.deploy(shipping("1.1.0", fields=more))
    found = await host.get("Shipment", id)
    assert (found.price, found.tags) == (Decimal("2.50"), ["new"])
    await host.rollback("shipping")
    assert await delivered(host, id) == ["1.0.0"]
    with pytest.raises(ComponentError, match="weight"):
        await host.deploy(shipping("1.2.0", fields={"weight": {"type": "integer"}}))


# --- Migrations --------------------------------------------------------------------------------

KINDS = {"fields": {"kind": {"enum": ["PARCEL", "LETTER"]}}}


def migrating(said: str, **more: Any) -> Source:
    """A guest that makes this of each record that older code stored."""
    talk = Talk()
    function = f"""(func (export "aegis_migrate") (param i32 i32 i32 i32) (result i64)
        {talk.give(said) if said[:1] != "!" else f"(call $fail {talk.give(said[1:])})"})"""
    return shipping(
        "2.0.0",
        fields={"kind": {"enum": ["PARCEL", "LETTER"]}},
        functions=function,
        talk=talk,
        model={"migrate": True, "unmigrate": True},
        answers={"Shipment.unmigrate": '{"status":"SHIPPED","by":"unmigrated","order_id":""}'},
        **more,
    )


async def test_a_guest_takes_over_the_records_and_flows_of_older_code(host: Host) -> None:
    await host.deploy("shipping", "1.0.0", PYTHON)
    first, second = await waiting(host, 2)
    with pytest.raises(ComponentError, match="kind"):
        await host.deploy(shipping("2.0.0", fields={"kind": {"enum": ["PARCEL"]}}))
    source = migrating('{"status":"SHIPPED","kind":"PARCEL","by":"migrated"}')
    found = await host.preview(source)
    assert found.fits, found
    assert found.flows == 2
    assert (await host.get("Shipment", first)).by == ""
    await host.deploy(source)
    assert [(await host.get("Shipment", id)).kind for id in (first, second)] == ["PARCEL"] * 2
    assert len(await host.events("shipment.migrated")) == 2
    assert await delivered(host, first) == ["2.0.0"]
    await host.rollback("shipping")
    changed, kept = [await host.get("Shipment", id) for id in (first, second)]
    # What nobody changed gets back what it was; of the other `unmigrate` made it.
    assert (changed.by, kept.by) == ("unmigrated", "")
    assert await delivered(host, second) == ["python"]


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("!cannot read it", "cannot read it"),
        ('{"kind":"BARREL"}', "kind"),
        ('{"kind":"PARCEL","colour":"red"}', "'colour', which is no field"),
        ('{"id":"another","kind":"PARCEL"}', "changed the id"),
        ("[]", "no record"),
        ("", "no record"),
    ],
)
async def test_what_a_guest_cannot_take_over_stays_as_it_is(
    host: Host, said: str, words: str
) -> None:
    await host.deploy("shipping", "1.0.0", PYTHON)
    (id,) = await waiting(host)
    found = await host.preview(migrating(said))
    assert not found.fits
    with pytest.raises(ComponentError) as caught:
        await host.deploy(migrating(said))
    assert words in str(caught.value), str(caught.value)
    assert "line " not in str(caught.value)
    assert await delivered(host, id) == ["python"]
