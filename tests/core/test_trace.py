"""Calls become a sequence: in the order of time, the outer call around the inner one."""

from aegis.core.trace import CELL, Call, sequence


def call(source, target, began, ended, kind="call", **about):
    return Call(
        source=source, target=target, label="x", kind=kind, began=began, ended=ended, **about
    )


def arrows(found):
    return [(m.kind, m.source, m.target) for m in found.messages]


def test_an_inner_call_begins_and_returns_within_the_outer_one():
    outer, inner = call(CELL, "a", 10.0, 14.0), call("a", "b", 11.0, 13.0)
    found = sequence([inner, outer])
    assert arrows(found) == [
        ("call", CELL, "a"),
        ("call", "a", "b"),
        ("returns", "b", "a"),
        ("returns", "a", CELL),
    ]
    assert found.participants == (CELL, "a", "b")
    assert [m.at for m in found.messages] == [0.0, 1.0, 3.0, 4.0]
    assert [m.took for m in found.messages] == [None, None, 2.0, 4.0]


def test_calls_of_the_same_moment_stay_nested():
    found = sequence([call(CELL, "a", 1.0, 1.0), call("a", "b", 1.0, 1.0)])
    assert arrows(found)[2:] == [("returns", "b", "a"), ("returns", "a", CELL)]


def test_nothing_returns_to_an_event_and_nothing_from_one():
    found = sequence(
        [
            call("port:a", "event:e", 1.0, 1.0, "produces"),
            call("event:e", "port:b", 2.0, 5.0, "consumes", error="no"),
        ]
    )
    assert arrows(found) == [
        ("produces", "port:a", "event:e"),
        ("consumes", "event:e", "port:b"),
    ]
    heard = found.messages[1]
    assert (heard.took, heard.error) == (3.0, "no")


def test_a_call_that_had_not_ended_has_no_return():
    found = sequence([call(CELL, "a", 1.0, None)], left_out=3)
    assert arrows(found) == [("call", CELL, "a")]
    assert found.left_out == 3


def test_no_calls_make_no_sequence():
    assert sequence([], left_out=2).messages == ()
