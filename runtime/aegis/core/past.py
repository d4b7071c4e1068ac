"""A record and its flows as they were at a point of the journal."""

from __future__ import annotations

from typing import Any

import msgspec

from aegis.core.rule import masked
from aegis.core.why import SIGNS

# A step that had not ended at that time; which of waiting, ready and asked it was is not kept.
OPEN = "open"
# A step that had ended or not: it ended and was undone, and made no event that would tell when.
UNSURE = "unsure"


class PastStep(msgspec.Struct, frozen=True, kw_only=True):
    """A step as it was: `state` as StepState, or `open` or `unsure` where that is all that is kept.

    `cause` is the id of the event that set it off.
    """

    n: int
    model: str
    port: str
    record: str
    cause: str
    state: str
    error: str | None = None


class PastFlow(msgspec.Struct, frozen=True, kw_only=True):
    """A flow as it was, with the steps that existed then."""

    id: str
    root: str
    model: str
    record: str
    component: str
    version: str
    state: str
    steps: tuple[PastStep, ...] = ()


class Past(msgspec.Struct, frozen=True, kw_only=True):
    """A record and its flows as of event `seq` of the journal, at `time`.

    `record` is the author's value, None where the record was not there yet or no more; `revision`
    counts its changes up to then. Fields that newer code added have their default.
    """

    seq: int
    time: str
    model: str
    id: str
    record: Any = None
    revision: int = 0
    created: str | None = None
    updated: str | None = None
    flows: tuple[PastFlow, ...] = ()

    def __str__(self) -> str:
        rows = [f"{self.model} {self.id} at event {self.seq}, {self.time}"]
        if self.record is None:
            rows.append("  it was not there")
        else:
            fields = masked(self.record)
            rows.append(f"  revision {self.revision}")
            rows += [f"  {name} = {value!r}" for name, value in fields.items() if name != "id"]
        for flow in self.flows:
            steps = " ".join(f"{SIGNS.get(s.state, '?')} {s.port}" for s in flow.steps)
            rows.append(f"  flow {flow.id} {flow.state}: {steps}")
        return "\n".join(rows)
