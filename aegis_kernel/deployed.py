"""What a deploy came to, as its cell shows it: the change, and what its code will miss."""

from __future__ import annotations

import ast
import builtins
import dis
import html
from collections.abc import Iterator
from dataclasses import dataclass
from types import CodeType

from aegis.core.component import Revision
from aegis.core.graph import Graph
from aegis_kernel.display import DeploymentView


@dataclass(frozen=True, kw_only=True)
class Deployed:
    """What a deploy came to, as its cell shows it. Without an address it is a rehearsal."""

    view: DeploymentView
    changes: tuple[str, ...]
    notes: tuple[str, ...]

    def __repr__(self) -> str:
        notes = (f"note: {note}" for note in self.notes)
        if not self.view.address:
            deployment = self.view.deployment
            what = f"{deployment.component} {deployment.version} ({deployment.digest[:8]})"
            return "\n  ".join((f"{what} is tried beside what serves", *notes))
        return "\n  ".join((f"{self.view!r} at {self.view.address}", *self.changes, *notes))

    def _repr_html_(self) -> str:
        lines = [html.escape(change) for change in self.changes]
        lines += [f"<strong>Note</strong> {html.escape(note)}" for note in self.notes]
        return f"<div>{self.view._repr_html_()}{'<br>'.join(lines)}</div>"


def changes_of(
    before: Revision | None, after: Revision, old: Graph, new: Graph, limit: int = 8
) -> tuple[str, ...]:
    """What a deploy changed, a line each."""
    if before is None:
        return ()
    if before.digest == after.digest:
        return ("nothing changed: this very code served already",)
    was, now = {node.id: node for node in old.nodes}, {node.id: node for node in new.nodes}
    lines = [f"- {_said(node.id)}" for node in old.nodes if node.id not in now]
    lines += [f"+ {_said(node.id)}" for node in new.nodes if node.id not in was]
    lines += [
        f"~ {_said(id)}: {was[id].detail} -> {node.detail}"
        for id, node in now.items()
        if id in was and was[id].detail != node.detail
    ]
    # An edge of a node that came or went goes without saying.
    for sign, edges, others in (("-", old.edges, new.edges), ("+", new.edges, old.edges)):
        lines += [
            f"{sign} {_said(edge.source)} {edge.kind} {_said(edge.target)}"
            for edge in edges
            if edge not in others and {edge.source, edge.target} <= was.keys() & now.keys()
        ]
    if not lines:
        lines = [f"new code, same graph (was {before.digest[:8]})"]
    if before.version != after.version:
        lines.insert(0, f"{before.version} -> {after.version}")
    more = len(lines) - limit
    return (*lines[:limit], f"and {more} more") if more > 0 else tuple(lines)


def _said(id: str) -> str:
    """`port:orders.Order.pick` as `port orders.Order.pick`."""
    return id.replace(":", " ", 1)


def defines(text: str, name: str) -> bool:
    """Whether a cell binds `name` at its top level."""
    try:
        body = ast.parse(text).body
    except SyntaxError:
        return False
    for statement in body:
        if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            if statement.name == name:
                return True
            continue
        for node in ast.walk(statement):
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) and node.id == name:
                return True
            if isinstance(node, ast.alias) and (node.asname or node.name.split(".")[0]) == name:
                return True
    return False


def missing(revision: Revision) -> Iterator[tuple[str, int]]:
    """Names that a component's functions use and nobody defines, with the line of the first use.

    Only running them would tell otherwise, maybe days later in a flow.
    """
    module = revision.module
    if module is None or revision.source.is_wasm:
        return
    known = vars(module).keys() | vars(builtins).keys()
    seen: set[str] = set()
    for name, line in _globals(compile(revision.source.text, "", "exec", dont_inherit=True)):
        if name not in known and name not in seen:
            seen.add(name)
            yield name, line


def _globals(code: CodeType) -> Iterator[tuple[str, int]]:
    line = code.co_firstlineno
    for step in dis.get_instructions(code):
        line = step.starts_line or line
        if step.opname == "LOAD_GLOBAL":
            yield step.argval, line
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _globals(constant)
