"""Real purchases through a real server: every one complete, every cent captured, nothing twice.

The checks read what a client was answered and what the partners' ledger says, never the host's
own data. `AEGIS_PURCHASES` says how many purchases are sent (6919 are all), `AEGIS_KILLS` how often
the server is killed meanwhile.
"""

from __future__ import annotations

import os
import random
import sys
import time
from decimal import Decimal
from importlib import util

import pytest

from tests.orders.sandbox import DOES, NOTEBOOKS, partners
from tests.orders.served import Served

PURCHASES = int(os.environ.get("AEGIS_PURCHASES", "400"))
KILLS = int(os.environ.get("AEGIS_KILLS", "5"))
PER_KILL = 60  # so many purchases, at the least, come between a kill and the next

GUEST = {
    "items": [{"item_id": "lamp", "price": "329.95"}, {"item_id": "bulb", "price": "59", "qty": 4}],
    "shipping_address": "7 mill lane",
    "card": "test-card-1",
    "auto_checkout": True,
}
ORDERS = "/aegis/api/models/orders"


@pytest.fixture(scope="module")
def program():
    """The program `purchases.py` as a module."""
    spec = util.spec_from_file_location("purchases", NOTEBOOKS / "purchases.py")
    module = util.module_from_spec(spec)
    sys.modules["purchases"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    yield module
    del sys.modules["purchases"]


@pytest.fixture
def sandbox(tmp_path):
    with partners(tmp_path / "partners.ledger") as running:
        yield running


@pytest.fixture
def served(tmp_path, sandbox):
    with Served(tmp_path / "data", sandbox, tmp_path / "serve.log") as running:
        yield running


def test_the_file_holds_what_it_is_said_to_hold(program):
    purchases = program.read_purchases()
    assert len(purchases) == 6919
    assert len({purchase.customer for purchase in purchases}) == 2357
    assert sum(purchase.amount for purchase in purchases) == Decimal("244091.94")
    assert sum(purchase.amount == 0 for purchase in purchases) == 8


def test_made_up_details_are_the_same_for_the_same_customer(program):
    assert program.made_up("0001") == program.made_up("0001") != program.made_up("0002")


def test_the_program_complains_of_anything_that_is_off(program):
    purchases = program.read_purchases()[:2]
    good = {"captured": "59.06", "double": 0, "effects": dict.fromkeys(DOES, 2)}
    shop = program.Shop("", "")
    shop.states["COMPLETE"] = 2
    shop.orders = ["a", "b"]
    assert list(program.complaints(shop, purchases, good)) == []
    for change in (
        {"captured": "59.07"},
        {"double": 1},
        {"effects": {**good["effects"], "payment/capture": 3}},
    ):
        assert len(list(program.complaints(shop, purchases, {**good, **change}))) == 1
    shop.orders = ["a", "a"]
    shop.states.update(COMPLETE=-1, PENDING=1)
    assert len(list(program.complaints(shop, purchases, good))) == 2


def test_purchases_through_a_served_notebook_all_complete_and_sending_them_again_buys_nothing(
    program, served, sandbox
):
    total = sum(purchase.amount for purchase in program.read_purchases()[:PURCHASES])
    for _ in range(2):
        sending = served.purchases(PURCHASES)
        said, _ = sending.communicate(timeout=500)
        assert sending.returncode == 0, said
        assert f"{PURCHASES:,} of {PURCHASES:,} orders are COMPLETE" in said
    summary = sandbox.summary()
    assert Decimal(summary["captured"]) == Decimal(summary["charged"]) == total
    assert summary["effects"] == dict.fromkeys(sorted(DOES), PURCHASES)
    assert (summary["orders"], summary["double"], summary["repeats"]) == (PURCHASES, 0, 0)
    assert served.stop() == 0


def test_a_server_killed_at_random_moments_loses_nothing_and_does_nothing_twice(
    program, served, sandbox
):
    limit = min(6919, max(PER_KILL * KILLS, int(os.environ.get("AEGIS_PURCHASES", "0"))))
    total = sum(purchase.amount for purchase in program.read_purchases()[:limit])
    dice = random.Random()
    sending = served.purchases(limit)
    try:
        for kill in range(KILLS):
            moment = dice.uniform(kill, kill + 1) / (KILLS + 1) * len(DOES) * limit
            while sum(sandbox.summary()["effects"].values()) < moment:
                assert sending.poll() is None, sending.communicate()[0]
                time.sleep(0.03)
            served.kill()
            served.start()
        said, _ = sending.communicate(timeout=500)
    finally:
        sending.kill()
        sending.wait()
    assert sending.returncode == 0, said
    summary = sandbox.summary()
    assert Decimal(summary["captured"]) == Decimal(summary["charged"]) == total, said
    assert summary["effects"] == dict.fromkeys(sorted(DOES), limit)
    assert (summary["orders"], summary["double"]) == (limit, 0)
    assert not summary["undone"]


def test_a_crash_in_the_middle_of_a_step_costs_one_repeat_with_the_same_key(served, sandbox):
    orders = {}
    # The carrier comes last, because its port does not wait long.
    for operation in sorted(DOES, key="carrier/ship".__eq__):
        sandbox.well()
        sandbox.set(operation, delay=30)
        status, order = served.ask("POST", ORDERS, GUEST, Idempotency_Key=operation)
        assert status == 201
        orders[operation] = order["id"]
        deadline = time.monotonic() + 20
        while operation not in sandbox.done(order["id"]):
            assert time.monotonic() < deadline, operation
            time.sleep(0.02)
    served.kill()
    sandbox.well()
    served.start()
    deadline = time.monotonic() + 30
    for operation, order in orders.items():
        while served.ask("GET", f"{ORDERS}/{order}")[1]["status"] != "COMPLETE":
            assert time.monotonic() < deadline, operation
            time.sleep(0.02)
        expected = [(name, "done") for name in DOES]
        expected.insert(DOES.index(operation) + 1, (operation, "repeat"))
        assert sandbox.entries(order) == expected
        again, answer = served.ask("POST", ORDERS, GUEST, Idempotency_Key=operation)
        assert (again, answer["id"]) == (201, order)
