"""Orders, moods, answers, edits and kills in any order that Hypothesis comes up with."""

import json
from datetime import timedelta

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from aegis.core.flow import FlowState, StepState
from aegis.engine.patrol import Patrol
from tests.engine.life import Life, SlowStore
from tests.engine.partner import MOODS, UNDO, Partner
from tests.examples import machine
from tests.fakes import SteppedClock

TEXT = """
from typing import Protocol

from aegis import Event, Model, Refused, Waiting, adapter, command, config, idempotency_key, port
from aegis import waiting


class Partner(Protocol):
    async def do(self, what: str, order: str) -> str: ...


class Caller(Partner):
    def __init__(self, say: object = config("say")) -> None:
        self.say = say

    async def do(self, what: str, order: str) -> str:
        return await self.say(what, order, idempotency_key())


class Order(Model, endpoint="orders"):
    approved: bool = True
    status: str = "PENDING"
    paid: str | None = None
    packed: str | None = None

    @port(consumes="order.created", produces="order.paid", retries=1, backoff=5)
    async def pay(self, partner: Partner = adapter()) -> "Order":
        return self.update(paid=await partner.do("pay", self.id))

    @pay.undo(retries=1, backoff=5)
    async def refund(self, partner: Partner = adapter()) -> "Order":
        await partner.do("refund", self.id)
        return self.update(paid=None)

    @port(
        consumes=pay,
        produces="order.packed",
        retries=1,
        backoff=5,
        when=lambda order: order.approved,
    )
    async def pack(self, partner: Partner = adapter()) -> Waiting:
        await partner.do("pack", self.id)
        return waiting("warehouse.packed", by="order_id", deadline=20)

    @pack.answer
    def box(self, event: Event) -> "Order":
        return self.update(packed=event.data["box"])

    @pack.undo(retries=0)
    async def unpack(self, partner: Partner = adapter()) -> "Order":
        await partner.do("unpack", self.id)
        return self.update(packed=None)

    @port(consumes=pack, produces="order.shipped", retries=0)
    async def ship(self, partner: Partner = adapter()) -> "Order":
        await partner.do("ship", self.id)
        return self.update(status="COMPLETE")

    @ship.undo(retries=0)
    async def recall(self, partner: Partner = adapter()) -> None:
        await partner.do("recall", self.id)

    @port(consumes="order.compensated")
    def close(self) -> "Order":
        return self.update(status="CANCELED")

    @command
    def approve(self) -> "Order":
        return self.update(approved=True)

    @command(undo=True)
    def cancel(self) -> None:
        if self.status in ("COMPLETE", "CANCELED"):
            raise Refused("too late")
"""
# What the author types next: nothing new, a mistake, another version.
EDITS = {
    "as it was": ("1.0.0", TEXT),
    "a comment": ("1.0.0", TEXT + "# edited\n"),
    "a mistake": ("1.0.0", TEXT.replace('partner.do("ship"', 'partner.od("ship"')),
    "a version": ("1.1.0", TEXT),
}
MODEL = "orders.Order"
DOES = ["pay", "pack", "ship"]
ORDERS = ("o-1", "o-2", "o-3")
# What is deployed when a host is back, if anything, and how many seconds it was away.
BACK = st.sampled_from(["as it was", "as it was", *EDITS, None])
AWAY = st.sampled_from([0, 0, 1, 25])


class Orders(RuleBasedStateMachine):
    """Who looks from outside knows what was acknowledged and what the partner did."""

    def __init__(self):
        super().__init__()
        self.partner = Partner()
        self.created, self.approved, self.canceled = set(), set(), set()
        self.skipped = set()
        self.life = None

    @initialize(pause=st.tuples(st.integers(0, 3), st.integers(0, 3)), turns=st.integers(0, 60))
    def begins(self, pause, turns):
        store = SlowStore()
        store.turns = pause
        self.life = Life(store, SteppedClock().now(), self.partner)
        self._bring("as it was")
        self.create("o-1", approved=True, turns=turns)

    # What clients do

    @precondition(lambda self: self.life.is_deployed)
    @rule(order=st.sampled_from(ORDERS), approved=st.booleans(), turns=st.integers(0, 30))
    def create(self, order, approved, turns):
        made = self.life.host.create(MODEL, id=order, approved=approved)
        self.life.start(made, lambda _: self.created.add(order))
        self.life.turn(turns)

    @precondition(lambda self: self.life.is_deployed and self.created)
    @rule(data=st.data(), name=st.sampled_from(["approve", "cancel"]), turns=st.integers(0, 30))
    def command(self, data, name, turns):
        order = data.draw(st.sampled_from(sorted(self.created)))
        self._command(order, name)
        self.life.turn(turns)

    def _command(self, order, name):
        taken = self.approved if name == "approve" else self.canceled
        self.life.start(_call(self.life.host, order, name), lambda no: no or taken.add(order))

    # What partners do

    @rule(what=st.sampled_from([*UNDO, *UNDO.values()]), mood=st.sampled_from(MOODS))
    def mood(self, what, mood):
        self.partner.moods[what] = mood

    @precondition(lambda self: self.partner.hanging)
    @rule(data=st.data(), works=st.booleans())
    def let_go(self, data, works):
        call = data.draw(st.sampled_from(self.partner.hanging))
        if not call.done():
            if works:
                call.set_result(None)
            else:
                call.set_exception(OSError("it gave up"))
        self.life.turn(1)

    @rule(order=st.sampled_from(ORDERS), key=st.sampled_from("ab"), turns=st.integers(0, 10))
    def tell(self, order, key, turns):
        """Early, late, twice: as partners do."""
        said = self.life.host.publish(
            "warehouse.packed", key=f"{order}-{key}", source="/warehouse", order_id=order, box=key
        )
        self.life.start(said, lambda _: None)
        self.life.turn(turns)

    # What happens to the host

    @rule(seconds=st.sampled_from([1, 6, 25]))
    def time_passes(self, seconds):
        self.life.clock.advance(seconds)
        self.life.settle()

    @rule(edit=st.sampled_from(sorted(EDITS)))
    def deploy(self, edit):
        self._bring(edit)

    def _bring(self, edit):
        self.life.deploy("orders", *EDITS[edit])

    @rule(edit=BACK, away=AWAY)
    def killed(self, edit, away):
        self._begin_anew(self.life.kill(), edit, away)
        for order in self.created:
            record = self.life.store.get(MODEL, order)
            assert record is not None, f"{order} is lost"
            assert order not in self.approved or json.loads(record.doc)["approved"]
            ((flow, _), *_) = self._flows(order)
            assert order not in self.canceled or flow.state is not FlowState.RUNNING

    @rule(edit=BACK, away=AWAY)
    def restarted(self, edit, away):
        # A call that hangs would be waited for.
        for call in self.partner.hanging:
            if not call.done():
                call.set_exception(OSError("the host goes"))
        self._begin_anew(self.life.close(), edit, away)

    def _begin_anew(self, store, edit, away):
        now = self.life.clock.now() + timedelta(seconds=away)
        self.life = Life(store, now, self.partner)
        if edit is not None:
            self._bring(edit)

    @precondition(lambda self: self._stopped())
    @rule(data=st.data(), skip=st.booleans())
    def someone_looks_at_an_undo(self, data, skip):
        flow, step = data.draw(st.sampled_from(self._stopped()))
        self._go_on(flow, step, skip=skip)
        self.life.settle()

    def _go_on(self, flow, step, *, skip):
        host = self.life.host
        if skip:
            self.skipped.add((flow.record, step.port))
        self.life.run(host.skip_undo(flow.id) if skip else host.continue_undo(flow.id))

    def _stopped(self):
        """The flows whose undo failed, each with the step where it did."""
        return [
            (flow, next(step for step in steps if step.state is StepState.UNDO_FAILED))
            for order in ORDERS
            for flow, steps in self._flows(order)
            if flow.state is FlowState.COMPENSATION_FAILED
        ]

    def _flows(self, order):
        return self.life.run(self.life.store.flows(MODEL, order))

    # What holds at any moment

    @invariant()
    def nothing_is_done_twice_and_a_step_keeps_its_key(self):
        for order in ORDERS:
            log = self.partner.log[order]
            assert len(set(log)) == len(log)
        assert all(len(keys) == 1 for keys in self.partner.keys.values())

    @invariant()
    def what_has_ended_is_whole(self):
        if self.life is None:
            return
        for order in ORDERS:
            if found := self._flows(order):
                flow, steps = found[0]
                self._is_whole(order, flow, {step.port: step.state for step in steps})

    def _is_whole(self, order, flow, steps):
        log, standing = self.partner.log[order], self.partner.standing(order)
        if flow.state is FlowState.COMPLETED:
            assert log == DOES
            assert set(steps.values()) == {StepState.DONE}
            assert order not in self.canceled
        if flow.state in {FlowState.COMPENSATED, FlowState.COMPENSATION_FAILED}:
            undone = [UNDO[what] for what in log if what in UNDO]
            assert undone == [what for what in reversed(DOES) if what in undone]
            failed = [port for port, state in steps.items() if state is StepState.UNDO_FAILED]
            skipped = {port for record, port in self.skipped if record == order}
            if flow.state is FlowState.COMPENSATED:
                assert not failed
                assert set(standing) <= skipped
                assert not {StepState.DONE, StepState.UNKNOWN} & set(steps.values())
            else:
                (stopped,) = failed
                assert f"undo of {stopped}" in flow.error
                behind = DOES[: DOES.index(stopped) + 1]
                assert set(standing) <= skipped | set(behind)

    @rule()
    def nothing_is_stranded(self):
        self.life.settle()
        patrol = Patrol(self.life.host._deploys.flows, 3600)
        patrol.look()
        patrol.look()
        assert patrol.stranded == {}

    def teardown(self):
        if self.life is not None:
            try:
                self._come_to_rest()
            finally:
                self.life.end()

    def _come_to_rest(self):
        """With everybody well and somebody who looks after it, every flow ends."""
        self.partner.moods.clear()
        self._bring("as it was")
        orders = [order for order in ORDERS if self.life.store.get(MODEL, order) is not None]
        for order in orders:
            self._command(order, "approve")
        for _ in range(12):
            self.life.settle()
            for call in self.partner.hanging:
                if not call.done():
                    call.set_result(None)
            self.life.settle()
            for order in ORDERS:
                self.tell(order, "a", 0)
            for flow, step in self._stopped():
                self._go_on(flow, step, skip=False)
            self.life.run(self.life.host.resume())
            self.life.clock.advance(30)
        self.life.settle()
        assert self.life.host.status().flows_open == 0
        self.nothing_is_done_twice_and_a_step_keeps_its_key()
        self.what_has_ended_is_whole()
        for order in orders:
            record = json.loads(self.life.store.get(MODEL, order).doc)
            assert record["status"] in {"COMPLETE", "CANCELED"}
            assert (record["status"] == "CANCELED") >= (order in self.canceled)


async def _call(host, order, name):
    await host.call(await host.get("Order", order), name)


TestOrders = Orders.TestCase
TestOrders.settings = machine(30, 30)
