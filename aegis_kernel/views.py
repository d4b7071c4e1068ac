"""What a cell shows of a running host: components, graph, ports, events, what a block called.

Each is a plain value with the figures of the moment, and shows itself in three ways at once: data
for our extension, which draws it live; HTML without scripts for wherever that is not (a saved
notebook, papermill, nbconvert); a line of text. `widget` is the same for other frontends.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from functools import cached_property
from html import escape
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Self, TypeVar

import msgspec

from aegis.adapters.graph.figures import (
    FAILING,
    HALF_OPEN,
    OPEN,
    SIGNS,
    compact,
    explained,
    latency,
)
from aegis.core.event import Event
from aegis.core.graph import Graph
from aegis.core.trace import Call, sequence
from aegis.core.wire import Arm, Component, Figure, Split
from aegis.engine.context import CALLER
from aegis.engine.monitor import Trace
from aegis_kernel.tables import BAD, BUSY, DIM, GOOD, QUIET, ROWS, after, cell, codes, moment, table

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from aegis.engine.host import Host
    from aegis_kernel.hosting import HostThread

T = TypeVar("T")

VIEW = "application/vnd.aegis.view+json"
WIDGET = "application/vnd.jupyter.widget-view+json"
# A larger picture is stored once only: notebooks should stay small enough to open.
HEAVY = 400_000
# A trace ends when nothing was called for so long.
QUIET_SECONDS = 0.1


class Live:
    """A view of a host: a value, and how it is shown. `thread` leads to the host, where one is."""

    thread: HostThread | None = None

    def seen(self) -> dict[str, Any]:
        """What our extension and the widget draw: the view's name, and what is known now."""
        raise NotImplementedError

    def html(self) -> str:
        """The same for the eye, without scripts, from nowhere else."""
        raise NotImplementedError

    @property
    def svg(self) -> str | None:
        """The picture, where the view is one."""
        return None

    @cached_property
    def widget(self) -> Any:
        """The view as an anywidget, to be put beside others (`ipywidgets.VBox`)."""
        from aegis_kernel.widgets import widget_of

        return widget_of(self)

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        from aegis_kernel.widgets import needed

        bundle: dict[str, Any] = {VIEW: self.seen(), "text/plain": repr(self)}
        svg = self.svg
        if svg is not None:
            bundle["image/svg+xml"] = svg
        if svg is None or len(svg) < HEAVY:
            bundle["text/html"] = self.html()
        if needed(self.thread):
            bundle[WIDGET] = {
                "version_major": 2,
                "version_minor": 0,
                "model_id": self.widget.model_id,
            }
        return bundle


class GraphView(Live):
    """The graph as a picture with its figures; `data` is the value behind it."""

    def __init__(self, graph: Graph, figures: Mapping[str, Figure] | None = None) -> None:
        self.data = graph
        self.figures = dict(figures or {})

    def seen(self) -> dict[str, Any]:
        """The figures; the picture itself stands beside them."""
        return {"view": "graph", "graph": self.data.digest, "figures": _plain(self.figures)}

    @property
    def svg(self) -> str:
        """The picture as the API serves it, with the figures of this moment."""
        return self._svg

    @cached_property
    def _svg(self) -> str:
        from aegis.adapters.graph.svg import render

        return render(self.data, self.figures)

    def html(self) -> str:
        """The picture; a narrow place scrolls it."""
        return f'<div style="overflow-x:auto">{self.svg}</div>'

    def __repr__(self) -> str:
        """What is connected to what, a line for each node that leads anywhere."""
        if not self.data.nodes:
            return "an empty graph: nothing is deployed"
        leads: dict[str, dict[str, list[str]]] = {}
        for edge in self.data.edges:
            leads.setdefault(edge.source, {}).setdefault(edge.kind, []).append(edge.target)
        lines = [f"{len(self.data.nodes)} nodes, {len(self.data.edges)} edges"]
        for node in self.data.nodes:
            ways = leads.get(node.id, {})
            rest = "; ".join(f"{kind} {', '.join(targets)}" for kind, targets in ways.items())
            if rest or node.kind == "model":
                lines.append(f"{node.id}: {rest}" if rest else node.id)
        return "\n".join(lines)


class PortLine(msgspec.Struct, frozen=True, kw_only=True):
    """A port or listener: what sets it off, what it gives, and its figures."""

    id: str
    name: str
    component: str
    consumes: tuple[str, ...]
    produces: tuple[str, ...]
    figure: Figure = Figure()


class PortsView(Live, list[PortLine]):
    """Ports and listeners with their figures, those that fail first."""

    def seen(self) -> dict[str, Any]:
        """The rows."""
        return {"view": "ports", "ports": _plain(list(self))}

    def html(self) -> str:
        """A table."""
        if not self:
            return f'<div style="{DIM}">no ports: nothing is deployed</div>'
        rows = [
            [
                _state(line.figure),
                cell(line.name),
                cell(line.component),
                f"{codes(line.consumes)} \u2192 {codes(line.produces)}",
                compact(line.figure.calls),
                compact(line.figure.errors),
                compact(line.figure.running),
                _ms(line.figure.p50),
                _ms(line.figure.p99),
                cell(line.figure.error or "", 120),
            ]
            for line in self
        ]
        columns = [
            "",
            "port",
            "component",
            "consumes \u2192 produces",
            "calls",
            "errors",
            "running",
            "p50",
            "p99",
            "last error",
        ]
        return f'<div style="overflow-x:auto">{table(columns, rows)}</div>'

    def __repr__(self) -> str:
        lines = [
            f"{line.name}: {explained(line.figure) or 'idle'} ({line.component})" for line in self
        ]
        return "\n".join(lines) or "no ports: nothing is deployed"


class ComponentsView(Live, list[Component]):
    """Live components, with the candidates that are tried beside them (`splits`)."""

    splits: tuple[Split, ...] = ()

    def seen(self) -> dict[str, Any]:
        """The rows."""
        return {
            "view": "components",
            "components": _plain(list(self)),
            "splits": _plain(self.splits),
        }

    def html(self) -> str:
        """A table, a candidate below what it is tried beside."""
        if not self:
            return f'<div style="{DIM}">nothing is deployed yet</div>'
        rows = []
        for one in self:
            split = self._split_of(one)
            rows.append(
                [
                    f"<strong>{cell(one.name)}</strong>",
                    cell(one.version),
                    _health(one),
                    *_figures(None if split is None else split.live),
                    cell(one.origin),
                    moment(f"{one.since} {one.who}".strip(), one.since[11:19]),
                    cell("; ".join(_notes(one)), 120),
                ]
            )
            if split is not None:
                tried = split.candidate
                by = "" if split.by == "record" else f"by {split.by}"
                named = ["", cell(tried.version), "candidate"]
                rows.append([*named, *_figures(tried), cell(tried.origin), "", cell(by)])
        columns = ["component", "version", "state", "share", "calls", "errors", "p50", "p99"]
        columns += ["source", "since", "to know"]
        return f'<div style="overflow-x:auto">{table(columns, rows)}</div>'

    def __repr__(self) -> str:
        lines = []
        for one in self:
            notes = "".join(f"; {note}" for note in _notes(one))
            lines.append(f"{one.name} {one.version} ({one.digest[:8]}) from {one.origin}{notes}")
            split = self._split_of(one)
            if split is not None:
                tried = split.candidate
                lines.append(f"  {tried.version} gets {tried.weight:g} %: {tried.calls:,} calls")
        return "\n".join(lines) or "nothing is deployed yet"

    def _split_of(self, component: Component) -> Split | None:
        return next((one for one in self.splits if one.component == component.name), None)


class EventsView(Live, list[Event]):
    """Events in the order they happened; shown newest first, and live with those that follow."""

    pattern = "*"

    def seen(self) -> dict[str, Any]:
        """The newest events, without what they carry."""
        lines = [
            {
                "id": event.id,
                "type": event.type,
                "subject": event.subject,
                "time": event.time,
                "component": _component(event),
                "flow": event.flow,
                "cause": event.cause,
            }
            for event in self[-ROWS:]
        ]
        return {"view": "events", "pattern": self.pattern, "events": lines, "count": len(self)}

    def html(self) -> str:
        """A table, the newest on top, each with how long it was after the one before."""
        if not self:
            return f'<div style="{DIM}">no events of {cell(self.pattern)}</div>'
        shown = self[-ROWS:]
        rows = [
            [
                moment(event.time, event.time[11:23]),
                "" if before is None else escape(after(event.time, before.time)),
                f"<code>{cell(event.type)}</code>",
                cell(event.subject or ""),
                cell(_component(event)),
            ]
            for before, event in reversed(list(pairwise([None, *shown])))
            if event is not None
        ]
        more = len(self) - len(shown)
        rest = f'<div style="{DIM}">and {more} before</div>' if more else ""
        head = f'<div style="{DIM}">{cell(self.pattern)}, up to {cell(shown[-1].time)}</div>'
        columns = ["time", "after", "event", "subject", "component"]
        return f'<div style="overflow-x:auto">{head}{table(columns, rows)}{rest}</div>'

    def __repr__(self) -> str:
        lines = [f"{event.time} {event.type} {event.subject or ''}".rstrip() for event in self]
        if len(lines) > ROWS:
            lines = [f"{len(lines) - ROWS} before", *lines[-ROWS:]]
        return "\n".join(lines) or f"no events of {self.pattern}"

    def __getitem__(self, index: Any) -> Any:
        found = super().__getitem__(index)
        return list(found) if isinstance(index, slice) else found


class TraceView(Live):
    """What was called inside a `with host.trace()`, as a sequence diagram.

    `calls` are the calls as values, `svg` the picture, `mermaid` the same as text.
    """

    def __init__(self, thread: HostThread | None = None, wait: float = 2.0) -> None:
        self.thread = thread
        self.wait = wait
        self.calls: tuple[Call, ...] = ()
        self.left_out = 0
        self._tracing: tuple[AbstractContextManager[Trace], Trace] | None = None

    def __enter__(self) -> Self:
        if self.thread is not None:
            self._tracing = self.thread.call(_begin, self.thread.host)
        self.__dict__.pop("sequence", None)
        return self

    def __exit__(self, *error: object) -> None:
        if self.thread is not None and self._tracing is not None:
            tracing, self._tracing = self._tracing, None
            # What failed inside is what one wants to see; only there is nothing to wait for.
            wait = self.wait if error[0] is None else 0.0
            self.calls, self.left_out = self.thread.call(_end, *tracing, wait)
        _show(self)

    async def __aenter__(self) -> Self:
        if self.thread is not None:
            self._tracing = await self.thread.aio(_begin, self.thread.host)
        self.__dict__.pop("sequence", None)
        return self

    async def __aexit__(self, *error: object) -> None:
        if self.thread is not None and self._tracing is not None:
            tracing, self._tracing = self._tracing, None
            wait = self.wait if error[0] is None else 0.0
            self.calls, self.left_out = await self.thread.aio(_end, *tracing, wait)
        _show(self)

    @cached_property
    def sequence(self) -> Any:
        """Who took part, and the arrows between them."""
        return sequence(self.calls, self.left_out)

    @property
    def svg(self) -> str:
        """The diagram."""
        from aegis.adapters.graph.sequence import render

        return render(self.sequence)

    @property
    def mermaid(self) -> str:
        """The diagram as Mermaid's text, for Markdown."""
        from aegis.adapters.graph.sequence import mermaid

        return mermaid(self.sequence)

    def seen(self) -> dict[str, Any]:
        """Only that the picture beside it is a trace."""
        return {"view": "trace", "calls": len(self.calls)}

    def html(self) -> str:
        """The diagram; a narrow place scrolls it."""
        return f'<div style="overflow-x:auto">{self.svg}</div>'

    def __repr__(self) -> str:
        lines = []
        for message in self.sequence.messages[:ROWS]:
            took = "" if message.took is None else f" {latency(message.took * 1e3)}"
            failed = f" failed: {message.error}" if message.error else ""
            way = "<-" if message.kind == "returns" else "->"
            lines.append(
                f"{message.at * 1e3:8.1f} ms  {message.source} {way} {message.target}: "
                f"{message.label}{took}{failed}"
            )
        more = len(self.sequence.messages) - len(lines) + self.left_out
        return "\n".join([*lines, *([f"and {more} more"] if more else [])]) or "nothing was called"


def led(value: T, thread: HostThread) -> T:
    """`value` as it is; a view of a host knows then where its host is."""
    if isinstance(value, Live):
        value.thread = thread
    return value


# --- what asks the host, on its loop --------------------------------------------------------------


async def graph(host: Host) -> GraphView:
    """The graph of all live components as a picture, with what it did so far."""
    return GraphView(host.graph(), host.monitor.figures())


async def components(host: Host) -> ComponentsView:
    """What is deployed: each component with its source, and the candidate tried beside it."""
    found = ComponentsView(host.monitor.status().components)
    found.splits = host.monitor.splits()
    return found


async def ports(host: Host) -> PortsView:
    """Every port and listener: what sets it off, what it gives, and how its calls went."""
    figures, found = host.monitor.figures(), host.graph()
    labels = {node.id: node.label for node in found.nodes}
    consumes: dict[str, list[str]] = {}
    produces: dict[str, list[str]] = {}
    for edge in found.edges:
        if edge.kind == "consumes":
            consumes.setdefault(edge.target, []).append(labels[edge.source])
        elif edge.kind == "produces":
            produces.setdefault(edge.source, []).append(labels[edge.target])
    lines = [
        PortLine(
            id=node.id,
            name=node.id.partition(":")[2].removeprefix(f"{node.component}."),
            component=node.component,
            consumes=tuple(consumes.get(node.id, ())),
            produces=tuple(produces.get(node.id, ())),
            figure=figures.get(node.id, Figure()),
        )
        for node in found.nodes
        if node.kind in {"port", "listener"}
    ]
    return PortsView(sorted(lines, key=lambda line: line.figure.state not in SIGNS))


async def events(
    host: Host, pattern: str = "*", *, after: int | None = None, limit: int = 100
) -> EventsView:
    """Events from the journal whose name matches, in order: the newest ones.

    With `after`, a sequence number, the first ones past it.
    """
    found = EventsView(await host.events(pattern, after=after, limit=limit))
    found.pattern = pattern
    return found


def _begin(host: Host) -> tuple[AbstractContextManager[Trace], Trace]:
    tracing = host.monitor.trace(CALLER.get())
    return tracing, tracing.__enter__()


async def _end(
    tracing: AbstractContextManager[Trace], trace: Trace, wait: float
) -> tuple[tuple[Call, ...], int]:
    """End a trace when what was set off inside has come to rest, after `wait` seconds at most."""
    loop = asyncio.get_running_loop()
    until, before = loop.time() + wait, -1
    while loop.time() < until:
        calls = trace.calls
        known = len(calls) + trace.left_out
        if known == before and all(call.ended is not None for call in calls):
            break
        before = known
        await asyncio.sleep(QUIET_SECONDS)
    tracing.__exit__(None, None, None)
    return trace.calls, trace.left_out


# --- how it is shown ------------------------------------------------------------------------------


def _show(view: Live) -> None:
    """Show a view in the cell that runs, where there is one."""
    from IPython.core.getipython import get_ipython
    from IPython.display import display

    shell = get_ipython()
    if shell is not None and hasattr(shell, "kernel"):
        display(view)


def _plain(value: Any) -> Any:
    return msgspec.to_builtins(value)


def _component(event: Event) -> str:
    parts = event.source.split("/")
    return parts[3] if len(parts) > 3 else ""


def _ms(value: float | None) -> str:
    return "" if value is None else latency(value)


def _state(figure: Figure) -> str:
    sign, colour = {
        "idle": ("\u00b7", QUIET),
        "ok": ("\u2713", GOOD),
        "failing": (FAILING, BAD),
        "open": (OPEN, BAD),
        "half-open": (HALF_OPEN, BUSY),
    }[figure.state]
    said = escape(explained(figure))
    return f'<span style="color:{colour}" title="{said}">{sign} {figure.state}</span>'


def _health(component: Component) -> str:
    sign, colour = ("\u2713", GOOD) if component.health == "ok" else (FAILING, BAD)
    return f'<span style="color:{colour}">{sign} {component.health}</span>'


def _figures(arm: Arm | None) -> tuple[str, ...]:
    """Share, calls, errors, p50 and p99 of one side of a split, as HTML."""
    if arm is None:
        return ("",) * 5
    errors = f"{arm.errors:,}"
    if arm.errors:
        errors = f'<span style="color:{BAD}">{errors}</span>'
    return (f"{arm.weight:g} %", f"{arm.calls:,}", errors, _ms(arm.p50), _ms(arm.p99))


def _notes(component: Component) -> list[str]:
    """What else is to know of a component."""
    followed = component.followed
    return [
        *([component.problem] if component.problem else []),
        *(["WebAssembly"] if component.language == "wasm" else []),
        *([f"{followed.held} is held: {followed.why}"] if followed and followed.held else []),
        *([followed.problem] if followed and followed.problem else []),
        *([f"before it {component.previous}"] if component.previous else []),
        *(f"{older.revision} ends {older.flows} flows" for older in component.older),
    ]
