"""A server that is killed again and again, while orders of all kinds meet partners of all moods.

What is checked afterwards is in the clients' and in the partners' ledger, never in the host's own
data. `AEGIS_KILLS` says how often the server is killed, `AEGIS_SEED` repeats the choices of a run
(not its timing); the seed is printed when the test fails.
"""

from __future__ import annotations

import os
import random
import time
from collections import Counter
from typing import Any

import pytest

from tests.orders.audit import Asked, End, complaints, read_end, read_partners
from tests.orders.clients import Book, Clients, Said
from tests.orders.sandbox import DOES, PORTS, UNDOES, hasty, notebook, partners
from tests.orders.served import Served

KILLS = int(os.environ.get("AEGIS_KILLS", "20"))
SEED = os.environ.get("AEGIS_SEED") or str(random.randrange(1_000_000))
CROWD = 10
IMPATIENT = {
    "ports.timeout": 1,
    "ports.backoff": 0.05,
    "ports.breaker": {"pause": 0.2, "longest": 0.5},
}


def mood(sandbox, dice) -> set[str]:
    """Let partners be slow, fail or babble until the next kill; the undos that are set to fail."""
    sandbox.well()
    for partner in ("address", "payment", "inventory", "warehouse", "carrier", "proof"):
        slow = dice.random() < 0.3
        tells = dice.choice(("once", "twice", "backwards"))
        later = dice.choice((0, 0.02, 0.3))
        sandbox.set(partner, delay=dice.uniform(0, 0.3) if slow else 0, tells=tells, later=later)
    fails: dict[str, Any] = {"times": dice.randrange(1, 6), "delay": dice.uniform(0, 0.1)}
    for operation in dice.sample(DOES, 2):
        sandbox.set(operation, fail=dice.choice(("error", "silent")), **fails)
    if dice.random() < 0.4:
        sandbox.set(
            dice.choice(("payment/authorize", "inventory/reserve")), fail="decline", **fails
        )
    if dice.random() < 0.4:
        sandbox.set("carrier/ship", fail=dice.choice(("silent", "mute")), **fails)
    undos = set(dice.sample(sorted(UNDOES.values()), 2))
    for undo in undos:
        sandbox.set(undo, fail=dice.choice(("error", "silent")), times=dice.randrange(1, 20))
    return undos


def kill(served, dice) -> None:
    """Kill the server at some moment of its life: while it starts, or while it serves."""
    if dice.random() < 0.2:
        time.sleep(dice.uniform(0.2, 1.2))
    else:
        served.wait()
        time.sleep(dice.uniform(0, 0.7))
    served.kill()


def rest(served, orders) -> dict[str, End]:
    """How all orders stand when no flow is open any more, or when it takes too long."""
    deadline = time.monotonic() + 60
    while served.ask("GET", "/aegis/api/components")[1]["flows_open"]:
        if time.monotonic() > deadline:
            break
        time.sleep(0.1)
    return {order: read_end(served, order) for order in orders}


def test_orders_of_all_kinds_survive_a_server_that_is_killed_at_random_moments(tmp_path):
    ordeal(tmp_path, notebook(tmp_path / "orders.ipynb", hasty(), IMPATIENT), KILLS)


def ordeal(tmp_path, program, kills, crowd=CROWD) -> None:
    """Kill the server of a notebook so often, and compare what everybody knows afterwards."""
    print(f"AEGIS_SEED={SEED} AEGIS_KILLS={kills}")
    dice = random.Random(SEED)
    ledger, book = tmp_path / "partners.ledger", Book(tmp_path / "clients.ledger")
    failing: set[str] = set()
    with (
        partners(ledger) as sandbox,
        Served(tmp_path / "data", sandbox, tmp_path / "log", notebook=program) as served,
    ):
        clients = Clients(served, book, dice, crowd=crowd)
        clients.start()
        for _ in range(kills):
            failing |= mood(sandbox, dice)
            kill(served, dice)
            clients.check()
            served.launch()
        served.wait()
        sandbox.well()
        clients.stop()
        clients.remember()

        orders = {said.order for said in book.read()}
        ends = rest(served, orders)
        flows = [flow for end in ends.values() for flow in end.flows]
        stopped = [flow for flow in flows if flow["state"] == "compensation failed"]
        for flow in stopped:
            (port,) = [step["port"] for step in flow["steps"] if step["state"] == "undo failed"]
            assert port in flow["error"]
            assert UNDOES[DOES[PORTS.index(port)]] in failing, flow
            assert served.ask("POST", f"/aegis/api/flows/{flow['id']}/undo")[0] == 202
        ends = rest(served, orders)
        assert served.ask("GET", "/readyz")[0] == 200
        assert sandbox.summary()["double"] == 0
        repeats = sandbox.summary()["repeats"]

    said = book.read()
    found = list(complaints(said, read_partners(ledger), ends))
    states = Counter(end.status for end in ends.values())
    print(
        f"{kills} kills, {len(orders)} orders {dict(states)}, {len(said)} acknowledgements, "
        f"{sum(one.tries - 1 for one in said)} sent again, {repeats} repeats at partners, "
        f"{len(stopped)} undos stopped and continued"
    )
    assert not found, "\n".join(found)


def _example() -> tuple[list[Said], dict[str, list[Asked]], dict[str, End]]:
    """Two orders as they should end: one complete, one canceled behind the payment."""
    flow = {"id": "f", "state": "completed", "error": None, "steps": []}
    undone = {**flow, "state": "compensated", "error": "undone by cancel"}
    said = [
        Said("create", "a", "1", "2.00", 201, 1, 1),
        Said("create", "b", "2", "3.00", 201, 1, 1),
        Said("cancel", "b!cancel", "2", "3.00", 200, 3, 2),
    ]
    asked = [Asked(operation, operation, "done", "2.00") for operation in DOES]
    void = Asked("payment/void", DOES[1], "undone", "3.00")
    ends = {"1": End("COMPLETE", 9, [flow]), "2": End("CANCELED", 5, [undone, flow])}
    return said, {"1": asked, "2": [*asked[:2], void]}, ends


def _off(change) -> list[str]:
    """What the check says of the example after `change(said, asked, ends)`."""
    said, asked, ends = _example()
    change(said, asked, ends)
    return list(complaints(said, asked, ends))


def _end(ends, order, **changes):
    ends[order] = ends[order]._replace(**changes)


OFF = {
    "an order is lost": lambda s, a, e: _end(e, "1", status="lost", revision=0, flows=[]),
    "a change is lost": lambda s, a, e: _end(e, "2", revision=2),
    "a cancel is lost": lambda s, a, e: s.append(s[2]._replace(order="1", key="a!cancel")),
    "an approval is lost": lambda s, a, e: s.append(s[0]._replace(what="approve", status=409)),
    "a key makes two orders": lambda s, a, e: s.append(s[0]._replace(order="2")),
    "an answer is odd": lambda s, a, e: s.append(s[0]._replace(status=500)),
    "a stranger is served": lambda s, a, e: a.update({"3": a["1"]}),
    "an effect comes twice": lambda s, a, e: a["1"].append(a["1"][-1]),
    "a repeat has another key": lambda s, a, e: a["1"].append(
        a["1"][-1]._replace(outcome="repeat", key="x")
    ),
    "an undo has another key": lambda s, a, e: a["2"].append(a["2"].pop()._replace(key="x")),
    "a step was left out": lambda s, a, e: a["1"].pop(3),
    "a complete order is undone": lambda s, a, e: a["1"].append(a["2"][-1]),
    "another amount is captured": lambda s, a, e: a["1"].append(
        a["1"].pop()._replace(amount="2.01")
    ),
    "something still stands": lambda s, a, e: a["2"].pop(),
    "an order never ends": lambda s, a, e: _end(e, "2", status="PENDING"),
    "a flow never ends": lambda s, a, e: _end(
        e, "2", flows=[{**e["2"].flows[0], "state": "running"}, e["2"].flows[1]]
    ),
    "a step is open": lambda s, a, e: (
        e["1"].flows[0]["steps"].append({"port": "p", "state": "asked"})
    ),
}


def test_an_order_that_is_complete_and_one_that_is_canceled_are_as_promised():
    assert _off(lambda *_: None) == []


@pytest.mark.parametrize("change", OFF.values(), ids=OFF)
def test_whatever_is_off_is_found(change):
    assert _off(change)
