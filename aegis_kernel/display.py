"""How records, models, deployments and the host look in a notebook: HTML, and a line of text.

Data is never taken for HTML: every text goes through `cell` or `escape`.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Iterable
from html import escape
from typing import TYPE_CHECKING, Any, SupportsIndex, TypeVar, get_type_hints, overload

import msgspec

from aegis.core.component import Revision, noun
from aegis.core.deployment import Deployment
from aegis.core.errors import AegisError
from aegis.core.guest import Trap
from aegis.core.model import Model
from aegis.core.port import Command, Port
from aegis.core.query import Found
from aegis.core.rule import masked
from aegis.engine.host import HostStatus
from aegis_kernel.tables import BAD, DIM, ROWS, cell, codes, short, table
from aegis_kernel.traps import trap_html, trap_text

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

T = TypeVar("T")


class MissingPandasError(AegisError):
    """`.df()` was asked for where pandas is not installed."""

    title = "pandas is missing"


class Records(list[T]):
    """A list of records that shows itself as a table. Slices and sorted copies are Records too.

    `next` is the cursor of what follows what a query found, None when that is all.
    """

    next: str | None = None

    @classmethod
    def found(cls, found: Found) -> Records[Any]:
        """What a query found."""
        records = cls(found)
        records.next = found.next
        return records

    @classmethod
    def of_some(cls, value: Any) -> Any:
        """What a query found, anything else as it is."""
        return cls.found(value) if isinstance(value, Found) else value

    def __repr__(self) -> str:
        if not self:
            return "no records"
        if isinstance(self[0], dict):
            return f"{len(self)} row{'' if len(self) == 1 else 's'}"
        kinds = " and ".join(dict.fromkeys(type(record).__name__ for record in self))
        return f"{len(self)} record{'' if len(self) == 1 else 's'} of {kinds}"

    def _repr_html_(self) -> str:
        if not self:
            return f'<div style="{DIM}">no records</div>'
        shown = [_data(record) for record in self[:ROWS]]
        columns = list(dict.fromkeys(name for row in shown for name in row))
        rows = [[cell(row.get(name, "")) for name in columns] for row in shown]
        more = len(self) - len(shown)
        rest = f'<div style="{DIM}">and {more} more</div>' if more else ""
        return f'<div style="overflow-x:auto">{table(columns, rows)}{rest}</div>'

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


class DeploymentView:
    """One deployment: what now serves, where, and which events it takes part in."""

    def __init__(self, deployment: Deployment, revision: Revision, address: str = "") -> None:
        self.deployment = deployment
        self.kind = "" if revision.guest is None else revision.guest.told["Kind"]
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
            ["consumes", codes(self.consumed)],
            ["produces", codes(self.produced)],
            ["from", cell(deployment.origin)],
            *([["code", cell(self.kind, 100)]] if self.kind else []),
            ["at", cell(deployment.time)],
        ]
        return (
            f"<div><div><strong>{cell(deployment.component)} {cell(deployment.version)}</strong> "
            f"<code>{cell(deployment.digest[:8])}</code></div>{table([], rows)}</div>"
        )


def _unsigned(status: HostStatus) -> str:
    return f"takes unsigned components from {', '.join(status.unsigned)}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


class HostView:
    """The host at a glance: its components, where they answer, and what is wrong."""

    def __init__(self, status: HostStatus, address: str = "") -> None:
        self.status = status
        self.address = address

    def __repr__(self) -> str:
        status = self.status
        names = ", ".join(
            f"{item.name} {item.version}{' (wasm)' if item.language == 'wasm' else ''}"
            for item in status.components
        )
        said = [f"host {self.address}".rstrip(), names or "no component"]
        said += [_count(status.flows_open, "open flow")] if status.flows_open else []
        said += [f"{status.failed} failed (host.failed() lists it)"] if status.failed else []
        said += [f"waits for {', '.join(status.waiting)}"] if status.waiting else []
        said += [_unsigned(status)] if status.unsigned else []
        said += [_count(len(status.problems), "problem")] if status.problems else []
        return "\n  ".join((": ".join((said[0], "; ".join(said[1:]))), *status.problems))

    def _repr_html_(self) -> str:
        status = self.status
        link = ""
        if self.address:
            link = f'<a href="{escape(self.address)}" target="_blank">{escape(self.address)}</a>'
        rows = [
            [
                f"<strong>{cell(item.name)}</strong>"
                + (" <small>wasm</small>" if item.language == "wasm" else ""),
                cell(item.version),
                f"<code>{cell(item.digest[:8])}</code>",
                _links(item.endpoints, self.address),
                cell(item.origin),
            ]
            for item in status.components
        ]
        listed = (
            table(["component", "version", "digest", "endpoints", "from"], rows)
            if rows
            else f'<div style="{DIM}">no component yet: begin a cell with '
            "<code>%%component orders 1.0.0</code></div>"
        )
        counts = f"{_count(status.flows_open, 'open flow')}, {_count(status.events, 'event')}"
        if status.failed:
            counts += f", {status.failed} failed (<code>host.failed()</code>)"
        problems = "".join(
            f'<div style="color:{BAD}">\u26a0 {cell(problem, 400)}</div>'
            for problem in (
                *(f"flows wait for {w}" for w in status.waiting),
                *([_unsigned(status)] if status.unsigned else []),
                *status.problems,
            )
        )
        return (
            f"<div><div><strong>Aegis host</strong> {link} "
            f'<span style="{DIM}">{counts}</span></div>{listed}{problems}</div>'
        )


def record_html(record: Model) -> str:
    """One record as a small table of its fields, or as its author draws it."""
    own = getattr(type(record), "_repr_html_", None)
    if callable(own):
        return str(own(record))
    rows = [[cell(name), cell(value, 200)] for name, value in _data(record).items()]
    return f"<div><strong>{cell(type(record).__name__)}</strong>{table([], rows)}</div>"


def record_text(record: Model) -> str:
    """One record on one line, long values shortened."""
    data = ", ".join(f"{name}={short(repr(value))}" for name, value in _data(record).items())
    return f"{type(record).__name__}({data})"


def model_html(model: type[Model]) -> str:
    """A model: its endpoint, fields, ports and commands."""
    endpoint = getattr(model, "__aegis_endpoint__", None)
    where = f" <code>/{cell(endpoint)}</code>" if endpoint is not None else ""
    doc = model.__dict__.get("__doc__")
    said = f'<div style="{DIM}">{cell(inspect.cleandoc(doc), 300)}</div>' if doc else ""
    rows = [[cell(name), f"<code>{cell(kind)}</code>", ""] for name, kind in _fields(model)]
    marked = _marked(model)
    for name, port in marked.items():
        if isinstance(port, Port):
            takes = (item if isinstance(item, str) else item.name for item in port.consumes)
            undo = "undo " + port.undo_fn.__name__ if port.undo_fn is not None else ""
            way = f"{codes(takes)} \u2192 {codes([port.produces] if port.produces else [])}"
            rows.append([f"\u21e5 {cell(name)}", way, cell(undo)])
    for name, command in marked.items():
        if isinstance(command, Command):
            produces = [command.produces or f"{noun(model.__name__)}.updated"]
            undo = "undoes the open flow" if command.undo else ""
            rows.append([f"\u203a {cell(name)}", f"\u2192 {codes(produces)}", undo])
    return f"<div><strong>{cell(model.__name__)}</strong>{where}{said}{table([], rows)}</div>"


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
    html.for_type(Trap, trap_html)
    plain.for_type(Trap, lambda trap, printer, _: printer.text(trap_text(trap)))
    plain.for_type(Model, lambda record, printer, _: printer.text(record_text(record)))
    plain.for_type(type(Model), lambda model, printer, _: printer.text(model_text(model)))


def unregister(shell: InteractiveShell) -> None:
    """Take back what `register` gave."""
    for formatter in _formatters(shell):
        formatter.pop(Model, None)
        formatter.pop(type(Model), None)
        formatter.pop(Trap, None)


def _formatters(shell: InteractiveShell) -> tuple[Any, Any]:
    """IPython's formatters for HTML and for plain text."""
    display: Any = shell.display_formatter
    return display.formatters["text/html"], display.formatters["text/plain"]


def _data(record: Any) -> dict[str, Any]:
    """The fields of a record, values as they are; what is sealed is only named."""
    if isinstance(record, msgspec.Struct):
        return masked(record)
    return record if isinstance(record, dict) else {"value": record}


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


def _links(endpoints: Iterable[str], address: str) -> str:
    if not address:
        return codes(f"/{endpoint}" for endpoint in endpoints)
    return (
        ", ".join(
            f'<a href="{escape(f"{address}/aegis/api/models/{endpoint}")}" target="_blank">'
            f"/{cell(endpoint)}</a>"
            for endpoint in endpoints
        )
        or "nothing"
    )
