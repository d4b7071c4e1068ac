"""What was called while somebody traced: calls as values, and the sequence that they make."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import msgspec

# Who calls from outside the graph.
CELL = "cell"
HTTP = "http"


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """One call, delivery or publication between two nodes of the graph, `cell` or `http`.

    `began` and `ended` are seconds on one clock; `ended` is None for what was under way when the
    trace ended, and equals `began` for an event that was published. `kind` as an edge: call (a
    verb, port to adapter, adapter to service), consumes (event to port or listener), produces
    (model, port or command to event). `about` is the record or subject.
    """

    source: str
    target: str
    label: str
    kind: Literal["call", "consumes", "produces"]
    began: float
    ended: float | None = None
    error: str | None = None
    about: str | None = None


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """One arrow of a sequence. A `returns` goes back from the target of a call to its source.

    `at` is seconds since the first call. `took` and `error` are on the arrow of `returns`; nothing
    returns to an event, so there they are on the arrow of `consumes`.
    """

    source: str
    target: str
    label: str
    kind: Literal["call", "consumes", "produces", "returns"]
    at: float
    took: float | None = None
    error: str | None = None
    about: str | None = None


class Sequence(msgspec.Struct, frozen=True, kw_only=True):
    """Calls in the order they happened: who takes part, from left to right, and the arrows.

    `left_out` counts calls that came after the trace was full.
    """

    participants: tuple[str, ...] = ()
    messages: tuple[Message, ...] = ()
    left_out: int = 0


def sequence(calls: Iterable[Call], left_out: int = 0) -> Sequence:
    """The sequence of `calls`.

    Arrows are in order of time. Of those at the same moment what began comes before what ended,
    the outer call begins first and the inner one returns first.
    """
    # Sorting is stable, so calls that began together stay in the order they were recorded in.
    known = sorted(calls, key=lambda call: call.began)
    if not known:
        return Sequence(left_out=left_out)
    first = known[0].began
    arrows: list[tuple[tuple[float, int, int], Message]] = []
    for number, call in enumerate(known):
        heard = call.kind == "consumes"
        begin = Message(
            source=call.source,
            target=call.target,
            label=call.label,
            kind=call.kind,
            at=call.began - first,
            took=call.ended - call.began if heard and call.ended is not None else None,
            error=call.error if heard or call.ended is None else None,
            about=call.about,
        )
        arrows.append(((call.began, 0, number), begin))
        if call.ended is None or call.kind != "call":
            continue
        back = Message(
            source=call.target,
            target=call.source,
            label=call.label,
            kind="returns",
            at=call.ended - first,
            took=call.ended - call.began,
            error=call.error,
            about=call.about,
        )
        arrows.append(((call.ended, 1, -number), back))
    arrows.sort(key=lambda arrow: arrow[0])
    messages = tuple(message for _, message in arrows)
    ends = (end for message in messages for end in (message.source, message.target))
    return Sequence(participants=tuple(dict.fromkeys(ends)), messages=messages, left_out=left_out)
