"""What the order tests run against: the sandbox partners as a process, and the notebook's text."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

ROOT = Path(__file__).parents[2]
NOTEBOOKS = ROOT / "notebooks"
NOTEBOOK = NOTEBOOKS / "orders.ipynb"

DOES = (
    "address/validate",
    "payment/authorize",
    "inventory/reserve",
    "warehouse/pick",
    "carrier/ship",
    "carrier/track",
    "proof/fetch",
    "payment/capture",
)
"""The operation behind each port, by the port's number."""

PORTS = (
    "validate_address",
    "authorize_payment",
    "check_inventory",
    "pick_order",
    "ship_order",
    "track_shipment",
    "verify_delivery",
    "complete_payment",
)

TELLS = {
    "warehouse/pick": ["warehouse.picked"],
    "carrier/ship": ["carrier.shipped"],
    "carrier/track": ["carrier.tracked", "carrier.tracked"],
    "proof/fetch": ["delivery.proven"],
}
"""The events that answer later, by what was asked."""

UNDOES = {
    "payment/authorize": "payment/void",
    "inventory/reserve": "inventory/return",
    "warehouse/pick": "warehouse/recall",
    "carrier/ship": "carrier/return_shipment",
    "proof/fetch": "proof/return_delivery",
    "payment/capture": "payment/refund",
}


def component_text() -> str:
    """The text of the tutorial's component, as its cell has it."""
    cells = json.loads(NOTEBOOK.read_text())["cells"]
    (text,) = (
        "".join(cell["source"])
        for cell in cells
        if "".join(cell["source"]).startswith("%%component orders ")
    )
    return text.partition("\n")[2]


def hasty() -> str:
    """The same component, impatient: time-outs and pauses of split seconds instead of seconds."""
    text = component_text()
    hasty = {
        "timeout=2, retries=2, backoff=1": "timeout=0.5, retries=2, backoff=0.05",
        "deadline=2)": "deadline=0.5)",
        "@ship_order.undo": "@ship_order.undo(retries=1, backoff=0.05)",
    }
    for patient, impatient in hasty.items():
        assert text.count(patient) == 1, patient
        text = text.replace(patient, impatient)
    return text


def notebook(path: Path, text: str, settings: Mapping[str, object]) -> Path:
    """The tutorial's notebook at `path` with another text of its component, and configured so."""
    document = json.loads(NOTEBOOK.read_text())
    for cell in document["cells"]:
        source = "".join(cell["source"])
        if source.startswith("%%component orders "):
            cell["source"] = source.partition("\n")[0] + "\n" + text
        elif source.startswith("host.configure("):
            cell["source"] = f"{source}\nhost.configure({dict(settings)!r})"
    path.write_text(json.dumps(document))
    return path


def ask(
    method: str, url: str, value: object = None, headers: dict[str, str] | None = None
) -> tuple[int, Any]:
    """Status and decoded JSON of one request."""
    body = None if value is None else json.dumps(value).encode()
    request = Request(
        url, body, {"Content-Type": "application/json", **(headers or {})}, method=method
    )
    try:
        with urlopen(request, timeout=30) as answer:
            return answer.status, json.load(answer)
    except HTTPError as error:
        with error:
            return error.code, json.load(error)


class Sandbox:
    """The running partners, as their settings and their ledger show them."""

    def __init__(self, url: str) -> None:
        self.url = url

    def set(self, name: str, **setting: object) -> None:
        """Let a partner, or one of its operations, be slow or fail from now on."""
        status, answer = ask("PUT", f"{self.url}/settings/{name}", setting)
        assert status == 200, answer

    def well(self) -> None:
        """Let all partners work again as they should."""
        ask("DELETE", f"{self.url}/settings")

    def post(self, operation: str, key: str, **body: object) -> tuple[int, Any]:
        """Ask a partner as an adapter would."""
        return ask("POST", f"{self.url}/{operation}", body, {"Idempotency-Key": key})

    def entries(self, order: str) -> list[tuple[str, str]]:
        """Operation and outcome of everything the ledger has of an order, in sequence."""
        _, entries = ask("GET", f"{self.url}/ledger?order={order}")
        return [(entry["operation"], entry["outcome"]) for entry in entries]

    def done(self, order: str) -> list[str]:
        """The operations that had an effect for an order, in sequence."""
        return [name for name, outcome in self.entries(order) if outcome == "done"]

    def undone(self, order: str) -> list[str]:
        """The operations that took an effect back, in sequence."""
        return [name for name, outcome in self.entries(order) if outcome == "undone"]

    def summary(self, orders: Sequence[str] | None = None) -> dict[str, Any]:
        """The totals of the ledger, of all orders or of some."""
        if orders is None:
            _, summary = ask("GET", f"{self.url}/ledger/summary")
        else:
            _, summary = ask("POST", f"{self.url}/ledger/summary", {"orders": list(orders)})
        return dict(summary)


@contextmanager
def partners(ledger: Path) -> Iterator[Sandbox]:
    """The partners, running on a free port until the block ends; `ledger` stays."""
    process = subprocess.Popen(
        [sys.executable, NOTEBOOKS / "partners.py", "--port", "0", "--ledger", ledger],
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line, "the partners did not start"
            yield Sandbox(line.split()[-1])
        finally:
            process.terminate()
            process.wait(10)
