"""Orders in Python and shipping in a component of its own, in whatever language that is written.

The orders are the tutorial's, without the ports of shipping; shipping borrows the adapters of
`partners`, which are the tutorial's, too.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec

from aegis.adapters.clock import SystemClock
from aegis.adapters.components.python import PythonLoader
from aegis.adapters.components.wasm.instance import World
from aegis.adapters.components.wasm.loader import WasmLoader
from aegis.adapters.components.wasm.machine import Compiled, Machine
from aegis.bootstrap import start_server
from aegis.configuration import Config
from aegis.core.component import Revision, Source
from aegis.core.description import Description
from aegis.engine.host import Host
from aegis.protocols import Store
from aegis.testing import memory_host
from tests.orders.sandbox import Sandbox, hasty, notebook
from tests.wasm.samples import BUILDER, built

BINDINGS = {
    "shipping.Warehouse": "partners.Pickers",
    "shipping.Carrier": "partners.Parcels",
    "shipping.Deliveries": "partners.Signatures",
}
GRANTS = {"shipping": ["host.wasi"]}  # what Go's runtime wants

# What orders do in the place of ports 3 to 6.
SENDING = """
    shipments = relation("shipping.Shipment", by="order_id")

    @port(consumes=check_inventory, produces="order.sent")
    async def send(self) -> None:
        await self.shipments.create(id=self.id, address=self.shipping_address or "")

    @port(consumes="order.picked", by="order_id")
    def picked(self, event: Event) -> "Order":
        return self.update(pickup_address=event.data["pickup_address"])

    @port(consumes="order.shipped", by="order_id")
    def shipped(self, event: Event) -> "Order":
        status = "SHIPPING" if self.status == "APPROVED" else self.status
        return self.update(shipment=event.data["shipment"], status=status)

    @port(consumes="order.delivered", by="order_id")
    def delivered(self, event: Event) -> "Order":
        data = event.data
        return self.update(tracking=data["tracking"], tracking_status=data["tracking_status"])

    @port(consumes="delivery.verified", by="order_id", produces="order.completed")
    async def complete_payment(self, event: Event, payments: Payments = adapter()) -> "Order":
        confirmation = await payments.capture(self.id)
        return self.update(
            proof=event.data["proof"], confirmation=confirmation, status="COMPLETE"
        )

"""


def orders(text: str | None = None) -> str:
    """The text of the tutorial's component without the ports of shipping."""
    text = hasty() if text is None else text
    before, first, rest = text.partition("    @port(consumes=check_inventory, produces=")
    _, last, after = rest.partition("    @complete_payment.undo")
    assert first
    assert last
    return before + SENDING + last + after


def partners() -> str:
    """The text of the tutorial's adapters alone."""
    before, models, rest = hasty().partition("# --- The models")
    _, adapters, after = rest.partition("# --- The adapters")
    assert models
    assert adapters
    return before + adapters + after


class HastyLoader(WasmLoader):
    """Takes guests for more impatient than they say: split seconds instead of seconds."""

    def describe(self, source: Source) -> tuple[Description, Compiled, World]:
        """What a guest says of itself, but of attempts; it has the version it is said to have."""
        said, compiled, world = super().describe(source)
        models: dict[str, Any] = {}
        for name, model in said.models.items():
            ports = {
                one: msgspec.structs.replace(port, timeout=0.8, backoff=0.05)
                if one == "ship_order"
                else port
                for one, port in model.ports.items()
            }
            models[name] = msgspec.structs.replace(model, ports=ports)
        said = msgspec.structs.replace(said, models=models, version=source.version)
        return said, compiled, world


class Hasty:
    """Loads both, the guests as hasty as the orders are."""

    def __init__(self) -> None:
        self._python = PythonLoader()
        self._wasm = HastyLoader(Machine(BUILDER.BUILT / ".compiled"))

    def load(self, source: Source) -> Revision:
        """The surveyed component."""
        return self._wasm.load(source) if source.is_wasm else self._python.load(source)

    def unload(self, revision: Revision) -> None:
        """Forget it."""
        (self._wasm if revision.source.is_wasm else self._python).unload(revision)


def shipping(name: str, version: str = "1.0.0") -> Source:
    """Shipping in a language, as hasty as the orders are where that is Python."""
    source = built(name, version)
    if source.is_wasm:
        return source
    text = source.text.replace(
        "timeout=2, retries=2, backoff=1", "timeout=0.8, backoff=0.05, retries=2"
    )
    assert text != source.text
    return Source.of(source.name, version, text, origin=name)


@asynccontextmanager
async def apart(
    sandbox: Sandbox, store: Store | None = None, values: Mapping[str, object] | None = None
) -> AsyncIterator[tuple[Host, str]]:
    """A host and its address: it serves, with partners deployed; shipping and then orders are still to come."""
    known = {"partners.url": sandbox.url, "host.token": "sesame", **(values or {})}
    async with memory_host(
        store=store,
        clock=SystemClock(),
        values=known,
        bindings=BINDINGS,
        grants=GRANTS,
        loader=Hasty(),
    ) as host:
        server = await start_server(host, Config(token="sesame", port=0))
        await host.deploy("partners", "1.0.0", partners())
        yield host, server.address
        await server.close()


TOML = "\n".join(
    [
        "[bind]",
        *(f'"{slot}" = "{part}"' for slot, part in BINDINGS.items()),
        "[grants]",
        *(f"{name} = {json.dumps(granted)}" for name, granted in GRANTS.items()),
        "",
    ]
)


def program(folder: Path, name: str, settings: Mapping[str, object]) -> Path:
    """A notebook in `folder` with shipping in a language, beside partners and orders."""
    shutil.copy(BUILDER.build(name), folder / "shipping.wasm")
    (folder / "aegis.toml").write_text(TOML)
    path = notebook(folder / "orders.ipynb", orders(), settings)
    document = json.loads(path.read_text())
    cells = document["cells"]
    place = next(
        n for n, one in enumerate(cells) if "".join(one["source"]).startswith("%%component orders")
    )
    for text in ('host.deploy("./shipping.wasm")', f"%%component partners 1.0.0\n{partners()}"):
        cells.insert(place, {**cells[place], "id": f"cell-{len(cells)}", "source": text})
    path.write_text(json.dumps(document))
    return path
