"""A flow has three ends and no way around them."""

from aegis.core.flow import (
    FLOW_CHANGES,
    NEEDS_UNDO,
    OPEN_FLOWS,
    OPEN_STEPS,
    STEP_CHANGES,
    FlowState,
    StepState,
)


def reachable(changes, start):
    found, todo = set(), [start]
    while todo:
        state = todo.pop()
        if state not in found:
            found.add(state)
            todo += changes[state]
    return found


def test_every_state_says_what_may_follow_it():
    assert set(FLOW_CHANGES) == set(FlowState)
    assert set(STEP_CHANGES) == set(StepState)
    assert reachable(FLOW_CHANGES, FlowState.RUNNING) == set(FlowState)
    assert reachable(STEP_CHANGES, StepState.WAITING) == set(StepState)


def test_a_flow_that_is_not_open_has_ended_or_stopped_where_it_can_be_continued():
    ended = {state for state in FlowState if not FLOW_CHANGES[state]}
    assert ended == {FlowState.COMPLETED, FlowState.COMPENSATED}
    assert set(FlowState) - OPEN_FLOWS - ended == {FlowState.COMPENSATION_FAILED}
    assert FLOW_CHANGES[FlowState.COMPENSATION_FAILED] == {FlowState.COMPENSATING}


def test_an_undo_never_ends_in_completed():
    assert FlowState.COMPLETED not in reachable(FLOW_CHANGES, FlowState.COMPENSATING)


def test_every_step_that_needs_undo_can_be_undone_and_no_open_step_can():
    for state in NEEDS_UNDO:
        assert StepState.UNDONE in STEP_CHANGES[state]
    for state in OPEN_STEPS:
        assert StepState.UNDONE not in STEP_CHANGES[state]


def test_what_was_attempted_without_an_answer_is_never_taken_for_nothing():
    after = STEP_CHANGES[StepState.UNKNOWN]
    assert after == {StepState.UNDONE, StepState.UNDO_FAILED}
