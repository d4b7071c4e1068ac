"""What views are told that the steps of a flow wait for."""

from types import SimpleNamespace

import pytest

from aegis.core.flow import Flow, FlowState, Step, StepState, Wait
from aegis.engine.lines import flow_line

FLOW = Flow(
    id="f",
    root="e1",
    component="orders",
    version="1.0.0",
    digest="d",
    model="orders.Order",
    record="o",
    state=FlowState.RUNNING,
    created="2026-01-01T00:00:00.000Z",
    updated="2026-01-01T00:00:00.000Z",
    canceled=True,
)
DUE = "2026-01-01T00:01:00.000Z"


def step(state, **more):
    return Step(
        flow="f",
        n=1,
        model="orders.Order",
        port="pick",
        record="o",
        **{"cause": "e1", "key": "f.1", "state": state, **more},
    )


def port(*consumes):
    return lambda flow, step: SimpleNamespace(port=SimpleNamespace(consumes=consumes))


def waits(step, locate=None):
    (line,) = flow_line(FLOW, [step], None, locate).steps
    return line.waits, line.due


def test_a_step_that_was_asked_names_the_answer_and_its_deadline():
    wait = Wait(events=("warehouse.picked", "warehouse.failed"), by="order_id")
    asked = step(StepState.ASKED, wait=wait, due=DUE)
    assert waits(asked) == ("warehouse.picked or warehouse.failed", DUE)
    assert waits(step(StepState.ASKED, wait=wait)) == (
        "warehouse.picked or warehouse.failed",
        None,
    )


def test_a_step_that_pauses_says_when_it_is_attempted_next():
    assert waits(step(StepState.READY, due=DUE)) == ("its next attempt", DUE)
    assert waits(step(StepState.READY)) == (None, None)


def test_a_step_whose_condition_does_not_hold_says_so():
    assert waits(step(StepState.WAITING)) == ("its condition", None)


@pytest.mark.parametrize(
    ("joined", "said"),
    [
        ({"order.paid": "e1"}, "invoice.sent, order.packed (1 of 3 events came)"),
        ({"order.paid": "e1", "order.packed": "e2"}, "invoice.sent (2 of 3 events came)"),
        ({"order.paid": "e1", "order.packed": "e2", "invoice.sent": "e3"}, "its condition"),
    ],
)
def test_a_step_of_a_join_names_the_events_that_have_not_come(joined, said):
    locate = port("order.paid", "invoice.sent", "order.packed")
    assert waits(step(StepState.WAITING, joined=joined), locate) == (said, None)


def test_a_join_whose_code_is_not_loaded_waits_all_the_same():
    joined = step(StepState.WAITING, joined={"order.paid": "e1"})
    assert waits(joined, lambda flow, step: None) == ("the other events of its join", None)


def test_a_step_that_has_ended_waits_for_nothing():
    done = step(StepState.DONE, wait=Wait(events=("warehouse.picked",)), due=DUE)
    assert waits(done) == (None, None)


def test_a_flow_tells_its_root_and_whether_its_undo_was_asked_for():
    line = flow_line(FLOW, [], "component orders")
    assert (line.root, line.canceled, line.waits) == ("e1", True, "component orders")
