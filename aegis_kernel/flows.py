"""What a cell shows of flows: their steps, what these wait for and until when, and their undo."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

import msgspec

from aegis.adapters.graph.figures import clock
from aegis.core.flow import Flow, FlowState, Step, StepState
from aegis.core.wire import FlowLine, StepLine
from aegis.engine.lines import flow_line
from aegis_kernel.tables import BAD, BUSY, DIM, GOOD, QUIET, after, cell, moment, table
from aegis_kernel.views import Live

if TYPE_CHECKING:
    from aegis.engine.host import Host


class FlowView(Live):
    """One flow with its steps: states, what they wait for, failed attempts, errors, and its undo.

    `line` is how the host tells of it, which knows what its code waits for.
    """

    COLOURS = {  # noqa: RUF012 -- a table, never changed
        FlowState.RUNNING: BUSY,
        FlowState.COMPENSATING: BUSY,
        FlowState.COMPLETED: GOOD,
        FlowState.COMPENSATED: QUIET,
        FlowState.COMPENSATION_FAILED: BAD,
        StepState.WAITING: QUIET,
        StepState.READY: BUSY,
        StepState.ASKED: BUSY,
        StepState.DONE: GOOD,
        StepState.REFUSED: BAD,
        StepState.FAILED: BAD,
        StepState.UNKNOWN: BAD,
        StepState.DROPPED: QUIET,
        StepState.UNDONE: QUIET,
        StepState.UNDO_FAILED: BAD,
        StepState.UNDO_SKIPPED: BAD,
    }
    SIGNS = {  # noqa: RUF012 -- as COLOURS: colour is never the only sign
        StepState.WAITING: "\u2026",
        StepState.READY: "\u25b6",
        StepState.ASKED: "\u25d4",
        StepState.DONE: "\u2713",
        StepState.REFUSED: "\u2717",
        StepState.FAILED: "\u2717",
        StepState.UNKNOWN: "?",
        StepState.DROPPED: "\u2013",
        StepState.UNDONE: "\u21b6",
        StepState.UNDO_FAILED: "\u21b6\u2717",
        StepState.UNDO_SKIPPED: "\u21b6\u2013",
    }

    def __init__(self, flow: Flow, steps: Sequence[Step], line: FlowLine | None = None) -> None:
        self.flow = flow
        self.steps = sorted(steps, key=lambda step: step.n)
        self.line = line or flow_line(flow, steps)

    @property
    def stopped(self) -> str | None:
        """The port at which the undo of the flow has stopped."""
        if self.flow.state is not FlowState.COMPENSATION_FAILED:
            return None
        return next((s.port for s in self.steps if s.state is StepState.UNDO_FAILED), None)

    def seen(self) -> dict[str, Any]:
        """The flow as a line of the wire."""
        return {"view": "flow", "flow": self.flow.id, "flows": [msgspec.to_builtins(self.line)]}

    def html(self) -> str:
        """The steps as a table; what was undone shows the way back."""
        flow, waits = self.flow, self.line.waits
        state = f'<span style="color:{self.COLOURS[flow.state]}">{cell(self._standing())}</span>'
        head = (
            f"<div><strong>{cell(flow.model)}</strong> <code>{cell(flow.record)}</code> {state}"
            f"{f' waits for {cell(waits)},' if waits else ''} "
            f'<span style="{DIM}">{cell(flow.component)} {cell(flow.version)}, '
            f"flow <code>{cell(flow.id)}</code></span></div>"
        )
        error = f'<div style="color:{BAD}">{cell(flow.error, 400)}</div>' if flow.error else ""
        rows = [
            [
                str(step.n),
                cell(step.port),
                self._state(step.state),
                cell(waiting(line), 160),
                str(step.attempts) if step.attempts else "",
                cell(step.error or "", 160),
                moment(step.updated, after(step.updated, flow.created)),
            ]
            for step, line in zip(self.steps, self.line.steps, strict=True)
        ]
        columns = ["", "port", "state", "waits for", "failed attempts", "error", "changed"]
        undone = [step for step in reversed(self.steps) if step.state in _BACK]
        back = " \u2190 ".join(f"{self.SIGNS[step.state]} {cell(step.port)}" for step in undone)
        undo = f'<div style="{DIM}">undo: {back}</div>' if back else ""
        return f"<div>{head}{error}{table(columns, rows)}{undo}{self._ways_on()}</div>"

    def __repr__(self) -> str:
        steps = " ".join(map(self._said, self.steps, self.line.steps))
        error = f" ({self.flow.error})" if self.flow.error else ""
        waits = f" waits for {self.line.waits}" if self.line.waits else ""
        about = f"flow of {self.flow.model} {self.flow.record}"
        return f"{about}: {self._standing()}{waits}{error}: {steps}"

    def __iter__(self) -> Iterator[Any]:
        """`for flow, steps in host.flows(order)`."""
        return iter((self.flow, self.steps))

    def _standing(self) -> str:
        """Its state, with the port where its undo stopped, and whether somebody asked for it."""
        if self.stopped is not None:
            return f"{self.flow.state} at {self.stopped}"
        return f"{self.flow.state}, canceled" if self.flow.canceled else str(self.flow.state)

    def _said(self, step: Step, line: StepLine) -> str:
        waits = waiting(line)
        return f"{self.SIGNS[step.state]} {step.port}" + (f" ({waits})" if waits else "")

    def _state(self, state: StepState) -> str:
        said = f"{self.SIGNS[state]} {escape(state)}"
        return f'<span style="color:{self.COLOURS[state]}">{said}</span>'

    def _ways_on(self) -> str:
        """What may be done about an undo that has stopped."""
        if self.stopped is None:
            return ""
        id, port = cell(self.flow.id), cell(self.stopped)
        return (
            f'<div style="{DIM}"><code>host.continue_undo("{id}")</code> tries the undo of {port} '
            f'again, <code>host.skip_undo("{id}")</code> leaves {port} as it is; both then go on '
            "with the steps before it.</div>"
        )


class FlowList(Live, list[FlowView]):
    """Flows one below the other."""

    def seen(self) -> dict[str, Any]:
        """All of them."""
        return {"view": "flow", "flows": [line for flow in self for line in flow.seen()["flows"]]}

    def html(self) -> str:
        """All of them."""
        shown = "".join(flow.html() for flow in self)
        return f"<div>{shown}</div>" if shown else f'<div style="{DIM}">no flows</div>'

    def __repr__(self) -> str:
        return "\n".join(map(repr, self)) or "no flows"


# --- what asks the host, on its loop --------------------------------------------------------------


async def flow(host: Host, of: Any) -> FlowView | None:
    """The last flow about a record, or the flow of that id; None when there is none."""
    if isinstance(of, str):
        one = await host.flow(of)
        return None if one is None else _view(host, *one)
    found = await host.flows(of)
    return _view(host, *found[-1]) if found else None


async def flows(host: Host, record: Any) -> FlowList:
    """The flows about a record with their steps, oldest first."""
    return FlowList(_view(host, *found) for found in await host.flows(record))


def _view(host: Host, flow: Flow, steps: Sequence[Step]) -> FlowView:
    return FlowView(flow, steps, host.monitor.flow_line(flow, steps))


# --- how it is shown ------------------------------------------------------------------------------

_BACK = frozenset({StepState.UNDONE, StepState.UNDO_FAILED, StepState.UNDO_SKIPPED})


def waiting(step: StepLine) -> str:
    """What a step waits for, and until when: `warehouse.picked until 14:05:10Z`; else nothing."""
    if step.waits is None:
        return ""
    if step.due is None:
        return step.waits
    word = "until" if step.state == StepState.ASKED else "at"
    # A deadline may be days ahead.
    day = "" if step.due[:10] == step.updated[:10] else f"{step.due[:10]} "
    return f"{step.waits} {word} {day}{clock(step.due)}"
