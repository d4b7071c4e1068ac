"""How records, models, flows, the graph and the host look in a notebook: HTML, and a line of text.

Data is never taken for HTML: every text goes through `_cell` or `escape`. Colours are JupyterLab's
variables with fallbacks, so a saved notebook looks the same elsewhere.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from html import escape
from typing import TYPE_CHECKING, Any, SupportsIndex, TypeVar, get_type_hints, overload

import msgspec

from aegis.core.component import Revision, noun
from aegis.core.deployment import Deployment
from aegis.core.errors import AegisError
from aegis.core.flow import Flow, FlowState, Step, StepState
from aegis.core.graph import Graph
from aegis.core.model import Model
from aegis.core.port import Command, Port
from aegis.engine.host import HostStatus

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

T = TypeVar("T")

ROWS = 50  # of a table; more do not help a reader and make the notebook heavy
CHARACTERS = 60  # of a value in a table; the tooltip has more
TOOLTIP = 600

_BORDER = "1px solid var(--jp-border-color2,#d5dae0)"
_DIM = "color:var(--jp-content-font-color2,#66727f)"
_INK = "color:var(--jp-content-font-color1,inherit);font-size:inherit"
_TABLE = f"border-collapse:collapse;border:{_BORDER};margin:4px 0;{_INK}"
_CELL = f"text-align:left;vertical-align:top;padding:3px 10px;border-bottom:{_BORDER}"
_BAD = "var(--jp-error-color1,#c62828)"
_GOOD = "var(--jp-success-color1,#2e7d32)"
_BUSY = "var(--jp-brand-color1,#1976d2)"
_QUIET = "var(--jp-content-font-color2,#66727f)"


class MissingPandasError(AegisError):
    """`.df()` was asked for where pandas is not installed."""

    title = "pandas is missing"


class Records(list[T]):
    """A list of records that shows itself as a table. Slices and sorted copies are Records too."""

    def __repr__(self) -> str:
        if not self:
            return "no records"
        kinds = " and ".join(dict.fromkeys(type(record).__name__ for record in self))
        return f"{len(self)} record{'' if len(self) == 1 else 's'} of {kinds}"

    def _repr_html_(self) -> str:
        if not self:
            return f'<div style="{_DIM}">no records</div>'
        shown = [_data(record) for record in self[:ROWS]]
        columns = list(dict.fromkeys(name for row in shown for name in row))
        rows = [[_cell(row.get(name, "")) for name in columns] for row in shown]
        more = len(self) - len(shown)
        rest = f'<div style="{_DIM}">and {more} more</div>' if more else ""
        return f'<div style="overflow-x:auto">{_table(columns, rows)}{rest}</div>'

    def df(self) -> Any:
        """A pandas DataFrame, one row a record. Raises MissingPandasError without pandas."""
        try:
            pandas: Any = importlib.import_module("pandas")
        except ImportError as error:
            raise MissingPandasError(
                "a DataFrame needs pandas", hint="install it: %pip install pandas"
            ) from error
        return pandas.DataFrame([_data(record) for record in self])

    @overload
    def __getitem__(self, index: SupportsIndex) -> T: ...
    @overload
    def __getitem__(self, index: slice) -> Records[T]: ...
    def __getitem__(self, index: SupportsIndex | slice) -> T | Records[T]:
        found = super().__getitem__(index)
        return Records(found) if isinstance(index, slice) and isinstance(found, list) else found  # type: ignore[return-value]


class GraphView:
    """The graph as a picture; `data` is the value behind it."""

    def __init__(self, graph: Graph) -> None:
        self.data = graph

    @cached_property
    def svg(self) -> str:
        """The picture, as the API serves it."""
        from aegis.adapters.graph.svg import render

        return render(self.data)

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

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        return {
            "text/plain": repr(self),
            "text/html": f'<div style="overflow-x:auto">{self.svg}</div>',
            "image/svg+xml": self.svg,
        }


class FlowView:
    """One flow with its steps: states, failed attempts, errors, and what was undone."""

    COLOURS = {  # noqa: RUF012 -- a table, never changed
        FlowState.RUNNING: _BUSY,
        FlowState.COMPENSATING: _BUSY,
        FlowState.COMPLETED: _GOOD,
        FlowState.COMPENSATED: _QUIET,
        FlowState.COMPENSATION_FAILED: _BAD,
        StepState.WAITING: _QUIET,
        StepState.READY: _BUSY,
        StepState.DONE: _GOOD,
        StepState.REFUSED: _BAD,
        StepState.FAILED: _BAD,
        StepState.UNKNOWN: _BAD,
        StepState.DROPPED: _QUIET,
        StepState.UNDONE: _QUIET,
        StepState.UNDO_FAILED: _BAD,
    }
    SIGNS = {  # noqa: RUF012 -- as COLOURS: colour is never the only sign
        StepState.WAITING: "\u2026",
        StepState.READY: "\u25b6",
        StepState.DONE: "\u2713",
        StepState.REFUSED: "\u2717",
        StepState.FAILED: "\u2717",
        StepState.UNKNOWN: "?",
        StepState.DROPPED: "\u2013",
        StepState.UNDONE: "\u21b6",
        StepState.UNDO_FAILED: "\u21b6\u2717",
    }

    def __init__(self, flow: Flow, steps: Sequence[Step]) -> None:
        self.flow = flow
        self.steps = sorted(steps, key=lambda step: step.n)

    def __repr__(self) -> str:
        steps = " ".join(f"{self.SIGNS[step.state]} {step.port}" for step in self.steps)
        error = f" ({self.flow.error})" if self.flow.error else ""
        return f"flow of {self.flow.model} {self.flow.record}: {self.flow.state}{error}: {steps}"

    def _repr_html_(self) -> str:
        flow = self.flow
        head = (
            f"<div><strong>{_cell(flow.model)}</strong> <code>{_cell(flow.record)}</code> "
            f"{self._state(flow.state)} "
            f'<span style="{_DIM}">{_cell(flow.component)} {_cell(flow.version)}, '
            f"flow <code>{_cell(flow.id)}</code></span></div>"
        )
        error = f'<div style="color:{_BAD}">{_cell(flow.error, 400)}</div>' if flow.error else ""
        rows = [
            [
                str(step.n),
                _cell(step.port),
                self._state(step.state),
                str(step.attempts) if step.attempts else "",
                _cell(step.error or "", 160),
                _cell(step.updated),
            ]
            for step in self.steps
        ]
        columns = ["", "port", "state", "failed attempts", "error", "changed"]
        return f"<div>{head}{error}{_table(columns, rows)}</div>"

    def __iter__(self) -> Iterator[Any]:
        """`for flow, steps in host.flows(order)`."""
        return iter((self.flow, self.steps))

    def _state(self, state: FlowState | StepState) -> str:
        sign = f"{self.SIGNS[state]} " if isinstance(state, StepState) else ""
        return f'<span style="color:{self.COLOURS[state]}">{sign}{escape(state)}</span>'


class FlowList(list[FlowView]):
    """Flows one below the other."""

    def __repr__(self) -> str:
        return "\n".join(map(repr, self)) or "no flows"

    def _repr_html_(self) -> str:
        shown = "".join(flow._repr_html_() for flow in self)
        return f"<div>{shown}</div>" if shown else f'<div style="{_DIM}">no flows</div>'


class DeploymentView:
    """One deployment: what now serves, where, and which events it takes part in."""

    def __init__(self, deployment: Deployment, revision: Revision, address: str = "") -> None:
        self.deployment = deployment
        self.endpoints = [spec.endpoint for spec in revision.models if spec.endpoint is not None]
        self.address = address
        ports = [port for spec in revision.models for port in spec.ports.values()]
        commands = [command for spec in revision.models for command in spec.commands.values()]
        self.consumed = dict.fromkeys(
            pattern
            for patterns in (
                *(port.consumes for port in ports),
                *(listener.patterns for listener in revision.listeners),
            )
            for pattern in patterns
        )
        self.produced = dict.fromkeys(
            [
                *(spec.created for spec in revision.models),
                *(port.produces for port in ports if port.produces is not None),
                *(command.produces for command in commands),
            ]
        )

    def __repr__(self) -> str:
        deployment = self.deployment
        serves = ", ".join(f"/{endpoint}" for endpoint in self.endpoints) or "no endpoint"
        return (
            f"{deployment.component} {deployment.version} ({deployment.digest[:8]}) serves {serves}"
        )

    def _repr_html_(self) -> str:
        deployment = self.deployment
        rows = [
            ["endpoints", _links(self.endpoints, self.address)],
            ["consumes", _codes(self.consumed)],
            ["produces", _codes(self.produced)],
            ["from", _cell(deployment.origin)],
            ["at", _cell(deployment.time)],
        ]
        return (
            f"<div><div><strong>{_cell(deployment.component)} {_cell(deployment.version)}</strong> "
            f"<code>{_cell(deployment.digest[:8])}</code></div>{_table([], rows)}</div>"
        )


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


class HostView:
    """The host at a glance: its components, where they answer, and what is wrong."""

    def __init__(self, status: HostStatus, address: str = "") -> None:
        self.status = status
        self.address = address

    def __repr__(self) -> str:
        status = self.status
        names = ", ".join(f"{item.name} {item.version}" for item in status.components)
        said = [f"host {self.address}".rstrip(), names or "no component"]
        said += [_count(status.flows_open, "open flow")] if status.flows_open else []
        said += [f"waits for {', '.join(status.waiting)}"] if status.waiting else []
        said += [_count(len(status.problems), "problem")] if status.problems else []
        return "\n  ".join((": ".join((said[0], "; ".join(said[1:]))), *status.problems))

    def _repr_html_(self) -> str:
        status = self.status
        link = ""
        if self.address:
            link = f'<a href="{escape(self.address)}" target="_blank">{escape(self.address)}</a>'
        rows = [
            [
                f"<strong>{_cell(item.name)}</strong>",
                _cell(item.version),
                f"<code>{_cell(item.digest[:8])}</code>",
                _links(item.endpoints, self.address),
                _cell(item.origin),
            ]
            for item in status.components
        ]
        table = (
            _table(["component", "version", "digest", "endpoints", "from"], rows)
            if rows
            else f'<div style="{_DIM}">no component yet: begin a cell with '
            "<code>%%component orders 1.0.0</code></div>"
        )
        counts = f"{_count(status.flows_open, 'open flow')}, {_count(status.events, 'event')}"
        problems = "".join(
            f'<div style="color:{_BAD}">\u26a0 {_cell(problem, 400)}</div>'
            for problem in (*(f"flows wait for {w}" for w in status.waiting), *status.problems)
        )
        return (
            f"<div><div><strong>Aegis host</strong> {link} "
            f'<span style="{_DIM}">{counts}</span></div>{table}{problems}</div>'
        )


def record_html(record: Model) -> str:
    """One record as a small table of its fields, or as its author draws it."""
    own = getattr(type(record), "_repr_html_", None)
    if callable(own):
        return str(own(record))
    rows = [[_cell(name), _cell(value, 200)] for name, value in _data(record).items()]
    return f"<div><strong>{_cell(type(record).__name__)}</strong>{_table([], rows)}</div>"


def record_text(record: Model) -> str:
    """One record on one line, long values shortened."""
    data = ", ".join(f"{name}={_short(repr(value))}" for name, value in _data(record).items())
    return f"{type(record).__name__}({data})"


def model_html(model: type[Model]) -> str:
    """A model: its endpoint, fields, ports and commands."""
    endpoint = getattr(model, "__aegis_endpoint__", None)
    where = f" <code>/{_cell(endpoint)}</code>" if endpoint is not None else ""
    doc = model.__dict__.get("__doc__")
    said = f'<div style="{_DIM}">{_cell(inspect.cleandoc(doc), 300)}</div>' if doc else ""
    rows = [[_cell(name), f"<code>{_cell(kind)}</code>", ""] for name, kind in _fields(model)]
    marked = _marked(model)
    for name, port in marked.items():
        if isinstance(port, Port):
            takes = (item if isinstance(item, str) else item.name for item in port.consumes)
            undo = "undo " + port.undo_fn.__name__ if port.undo_fn is not None else ""
            way = f"{_codes(takes)} \u2192 {_codes([port.produces] if port.produces else [])}"
            rows.append([f"\u21e5 {_cell(name)}", way, _cell(undo)])
    for name, command in marked.items():
        if isinstance(command, Command):
            produces = [command.produces or f"{noun(model.__name__)}.updated"]
            undo = "undoes the open flow" if command.undo else ""
            rows.append([f"\u203a {_cell(name)}", f"\u2192 {_codes(produces)}", undo])
    return f"<div><strong>{_cell(model.__name__)}</strong>{where}{said}{_table([], rows)}</div>"


def model_text(model: type[Model]) -> str:
    """A model on one line."""
    marked = _marked(model)
    ports = ", ".join(name for name, value in marked.items() if isinstance(value, Port))
    commands = ", ".join(name for name, value in marked.items() if isinstance(value, Command))
    said = [f"model {model.__name__}", f"fields {', '.join(name for name, _ in _fields(model))}"]
    said += [f"ports {ports}"] if ports else []
    said += [f"commands {commands}"] if commands else []
    return "; ".join(said)


def register(shell: InteractiveShell) -> None:
    """Let `shell` show records and models of every revision: all inherit from Model."""
    html, plain = _formatters(shell)
    html.for_type(Model, record_html)
    html.for_type(type(Model), model_html)
    plain.for_type(Model, lambda record, printer, _: printer.text(record_text(record)))
    plain.for_type(type(Model), lambda model, printer, _: printer.text(model_text(model)))


def unregister(shell: InteractiveShell) -> None:
    """Take back what `register` gave."""
    for formatter in _formatters(shell):
        formatter.pop(Model, None)
        formatter.pop(type(Model), None)


def _formatters(shell: InteractiveShell) -> tuple[Any, Any]:
    """IPython's formatters for HTML and for plain text."""
    display: Any = shell.display_formatter
    return display.formatters["text/html"], display.formatters["text/plain"]


def _data(record: Any) -> dict[str, Any]:
    """The fields of a record, values as they are."""
    if isinstance(record, msgspec.Struct):
        return msgspec.structs.asdict(record)
    return {"value": record}


def _fields(model: type[Any]) -> list[tuple[str, str]]:
    try:
        hints = get_type_hints(model, include_extras=False)
    except (NameError, TypeError, AttributeError):  # of a revision that is gone
        hints = {}
    names = (field.encode_name for field in msgspec.structs.fields(model))
    return [(name, inspect.formatannotation(hints.get(name, Any))) for name in names]


def _marked(model: type) -> dict[str, Port[Any, Any, Any] | Command[Any, Any, Any]]:
    return {
        name: value
        for cls in reversed(model.__mro__)
        for name, value in vars(cls).items()
        if isinstance(value, Port | Command)
    }


def _short(text: str, most: int = CHARACTERS) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}\u2026"


def _cell(value: object, most: int = CHARACTERS) -> str:
    """A value as escaped text; when it is cut, a tooltip has more of it."""
    if value is None:
        return f'<span style="{_DIM}">None</span>'
    text = str(value)
    if len(text) <= most:
        return escape(text)
    return f'<span title="{escape(_short(text, TOOLTIP))}">{escape(_short(text, most))}</span>'


def _codes(names: Iterable[str]) -> str:
    return ", ".join(f"<code>{_cell(name)}</code>" for name in names) or "nothing"


def _links(endpoints: Iterable[str], address: str) -> str:
    if not address:
        return _codes(f"/{endpoint}" for endpoint in endpoints)
    return (
        ", ".join(
            f'<a href="{escape(f"{address}/aegis/api/models/{endpoint}")}" target="_blank">'
            f"/{_cell(endpoint)}</a>"
            for endpoint in endpoints
        )
        or "nothing"
    )


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; `columns` are text, the cells of `rows` are HTML made by this module."""
    head = "".join(f'<th style="{_CELL}">{escape(name)}</th>' for name in columns)
    lines = ("".join(f'<td style="{_CELL}">{cell}</td>' for cell in row) for row in rows)
    body = "".join(f"<tr>{line}</tr>" for line in lines)
    top = f"<thead><tr>{head}</tr></thead>" if head else ""
    return f'<table style="{_TABLE}">{top}<tbody>{body}</tbody></table>'
