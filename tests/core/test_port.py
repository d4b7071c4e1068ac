"""Decorators only mark: outside a host a port is the plain method that was written."""

import asyncio
import inspect
import pickle
import threading
from typing import Protocol

import msgspec
import pytest

from aegis import (
    Model,
    Refused,
    Secret,
    adapter,
    blocking,
    command,
    config,
    emit,
    idempotency_key,
    log,
    on,
    port,
    service,
)
from aegis.core.errors import AegisError, InvalidError
from aegis.core.port import Port


class Payments(Protocol):
    async def authorize(self, id: str) -> str: ...


class Sandbox(Payments):
    async def authorize(self, id: str) -> str:
        return f"auth-{id}"


class Order(Model, endpoint="orders"):
    auth: str | None = None
    status: str = "PENDING"

    @port(consumes="order.created", produces="payment.authorized", timeout=5, retries=2)
    async def authorize(self, payments: Payments = adapter()) -> "Order":
        """Ask the bank."""
        return self.update(auth=await payments.authorize(self.id))

    @authorize.undo(retries=7)
    async def void(self) -> "Order":
        return self.update(auth=None)

    @command
    def cancel(self, why: str = "") -> "Order":
        return self.update(status="CANCELED" + why)


async def test_a_port_is_a_plain_method_outside_a_host():
    order = await Order(id="1").authorize(Sandbox())
    assert order.auth == "auth-1"
    assert (await order.void()).auth is None
    assert order.cancel(why="!").status == "CANCELED!"


def test_the_mark_keeps_what_the_author_said():
    mark = Order.authorize
    assert isinstance(mark, Port)
    assert (mark.name, mark.produces, mark.consumes) == (
        "authorize",
        "payment.authorized",
        ("order.created",),
    )
    assert (mark.policies.timeout, mark.policies.retries, mark.policies.backoff) == (5, 2, None)
    assert mark.undo_policies.retries == 7
    assert mark.__doc__ == "Ask the bank."
    assert inspect.iscoroutinefunction(Order.void)


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"timeout": 0}, "timeout must be above 0"),
        ({"retries": -1}, "retries must be 0 or more"),
        ({"backoff": -0.1}, "backoff must be 0 seconds"),
        ({"consumes": "Order Created"}, "no event name"),
        ({"consumes": ["order.created", "x y"]}, "no event name"),
    ],
)
def test_a_mark_that_makes_no_sense_is_refused_where_it_is_written(said, words):
    with pytest.raises(InvalidError, match=words):
        port(**said)


def test_a_port_has_one_undo():
    with pytest.raises(InvalidError, match="already has an undo"):
        Order.authorize.undo(lambda self: None)


def test_a_listener_names_its_events():
    with pytest.raises(InvalidError, match="at least one"):
        on()
    with pytest.raises(InvalidError, match="no event name"):
        on("Order!")


async def test_a_blocking_method_runs_beside_the_loop():
    class Bank:
        @blocking
        def ask(self, what: str) -> tuple[str, int]:
            return what, threading.get_ident()

    what, thread = await asyncio.wait_for(Bank().ask("rate"), 5)
    assert what == "rate"
    assert thread != threading.get_ident()


def test_what_the_host_fills_in_says_so_when_it_was_not_filled_in():
    for need in (adapter(), service(), config("bank.key")):
        with pytest.raises(AegisError, match="was not filled in"):
            _ = need.authorize
        assert not hasattr(need, "__aegis_on__")


def test_a_secret_never_prints_and_is_never_stored():
    secret = Secret("hunter2")
    assert "hunter2" not in f"{secret} {secret!r} {[secret]}"
    assert secret.reveal() == "hunter2"
    with pytest.raises(TypeError, match="never stored"):
        pickle.dumps(secret)
    with pytest.raises(TypeError):
        msgspec.json.encode(secret)


def test_what_belongs_to_a_unit_of_work_says_so_outside_one():
    for call in (lambda: emit("order.seen"), idempotency_key):
        with pytest.raises(AegisError, match="inside a port, command or listener"):
            call()
    log("outside a host this goes to the log")


def test_a_refusal_carries_its_reason_and_event():
    refusal = Refused("short", emit="x")
    assert (str(refusal), refusal.emit, refusal.status) == ("short", "x", 409)
