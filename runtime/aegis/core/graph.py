"""The graph of all live components as a value: what there is, and which way things flow between."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from functools import cached_property

import msgspec

from aegis.core.component import (
    Call,
    CommandSpec,
    Language,
    ListenerSpec,
    ModelSpec,
    Part,
    PortSpec,
    Revision,
)
from aegis.core.event import is_glob, matches
from aegis.core.policy import Policy
from aegis.core.registry import Registry

STORE = "store"


class Node(msgspec.Struct, frozen=True):
    """One thing in the graph.

    `id` is stable and readable (`port:orders.Order.authorize`, `event:order.created`, `store`),
    `kind` one of model, port, command, event, adapter, service, store, listener. `component` is
    empty for the store and for an event that no live component produces; `detail` is one line
    for people. `language` is what its code is (python or wasm), empty where there is none.
    """

    id: str
    kind: str
    label: str
    component: str
    detail: str = ""
    language: str = ""


class Edge(msgspec.Struct, frozen=True):
    """One connection between two node ids, pointing the way things flow.

    has: model to port or command. produces: model, port or command to event. consumes: event to
    port or listener. uses: port, command, listener, adapter or service to the part it calls.
    undo: port to the part that its undo calls, or to its model when it calls none; a command that
    undoes to its model. stores: model to the store.
    """

    source: str
    target: str
    kind: str

    @property
    def id(self) -> str:
        """`consumes:event:order.created>port:orders.Order.authorize`, unique in a graph."""
        return f"{self.kind}:{self.source}>{self.target}"


class Graph(msgspec.Struct, frozen=True, dict=True):
    """Nodes and edges in a fixed order: the same components give the same graph, byte for byte."""

    nodes: tuple[Node, ...] = ()
    edges: tuple[Edge, ...] = ()

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the graph's canonical JSON, hex."""
        return hashlib.sha256(msgspec.json.encode(self, order="deterministic")).hexdigest()


def graph_of(registry: Registry) -> Graph:
    """The graph of the live components, by name; inside each in the order of its text."""
    revisions = [registry.live[name] for name in sorted(registry.live)]
    nodes = [*_things(registry, revisions)]
    edges = dict.fromkeys(
        edge for revision in revisions for edge in _connections(registry, revision)
    )
    nodes += _events(revisions, edges)
    if any(edge.kind == "stores" for edge in edges):
        nodes.append(Node(STORE, "store", "store", "", "records, events and flows, in one commit"))
    return Graph(tuple(nodes), tuple(edges))


def _things(registry: Registry, revisions: Iterable[Revision]) -> Iterator[Node]:
    for revision in revisions:
        home = (revision.name, revision.source.language)
        for model in revision.models:
            yield _node(model_id(model), "model", model.name, home, _model_detail(model))
            for port in model.ports.values():
                detail = _port_detail(port, registry.defaults)
                yield _node(port_id(model, port), "port", port.name, home, detail)
            for command in model.commands.values():
                detail = _join(command.doc, "undoes the open flow" if command.undo else "")
                yield _node(command_id(model, command), "command", command.name, home, detail)
        for listener in revision.listeners:
            detail = _join(
                listener.doc,
                "" if listener.schedule is None else listener.schedule.text,
                "hears one event" if listener.once else "",
                _pace(listener.policies.over(registry.defaults)),
            )
            yield _node(listener_id(revision, listener), "listener", listener.name, home, detail)
        for part, kind in _bound(registry, revision).items():
            does = ", ".join(protocol.__name__ for protocol in part.protocols)
            yield _node(part_id(revision, part), kind, part.name, home, f"does {does}")


def _node(id: str, kind: str, label: str, home: tuple[str, Language], detail: str) -> Node:
    """A node of code; `home` is its component and what that is."""
    component, language = home
    return Node(id, kind, label, component, detail, language)


def _connections(registry: Registry, revision: Revision) -> Iterator[Edge]:
    for model in revision.models:
        me = model_id(model)
        yield Edge(me, STORE, "stores")
        yield Edge(me, event_id(model.created), "produces")
        for port in model.ports.values():
            step = port_id(model, port)
            yield Edge(me, step, "has")
            heard = (*port.consumes, *sorted(port.awaits - {*port.consumes}))
            yield from (Edge(event_id(pattern), step, "consumes") for pattern in heard)
            if port.produces is not None:
                yield Edge(step, event_id(port.produces), "produces")
            for call in port.calls:
                if call is not port.undo:
                    yield from _asks(registry, revision, step, call, "uses")
            if port.undo is not None:
                yield from [*_asks(registry, revision, step, port.undo, "undo")] or [
                    Edge(step, me, "undo")
                ]
        for command in model.commands.values():
            change = command_id(model, command)
            yield Edge(me, change, "has")
            yield Edge(change, event_id(command.produces), "produces")
            yield from _asks(registry, revision, change, command.call, "uses")
            if command.undo:
                yield Edge(change, me, "undo")
    for listener in revision.listeners:
        ear = listener_id(revision, listener)
        yield from (Edge(event_id(pattern), ear, "consumes") for pattern in listener.patterns)
        yield from _asks(registry, revision, ear, listener.call, "uses")
    for part in _bound(registry, revision):
        for slot in part.services:
            service = registry.provider(revision, slot.protocol)
            if service is not None:
                yield Edge(part_id(revision, part), part_id(*service), "uses")


def _asks(
    registry: Registry, revision: Revision, source: str, call: Call, kind: str
) -> Iterator[Edge]:
    for slot in call.adapters:
        part = registry.provider(revision, slot.protocol)
        if part is not None:
            yield Edge(source, part_id(*part), kind)


def _events(revisions: list[Revision], edges: Iterable[Edge]) -> Iterator[Node]:
    """One node per event name, in the component that first produces it."""
    prefix = event_id("")
    ends = (end for edge in edges for end in (edge.source, edge.target))
    names = dict.fromkeys(end.removeprefix(prefix) for end in ends if end.startswith(prefix))
    homes: dict[str, str] = {}
    for revision in revisions:
        for model in revision.models:
            homes.setdefault(model.created, revision.name)
            ports, commands = model.ports.values(), model.commands.values()
            for name in [*(port.produces for port in ports), *(c.produces for c in commands)]:
                if name is not None:
                    homes.setdefault(name, revision.name)
    for revision in revisions:
        for model in revision.models:
            for name in (
                model.updated,
                model.deleted,
                model.compensated,
                model.compensation_failed,
            ):
                homes.setdefault(name, revision.name)
        # A name that code spells is taken as emitted there, unless it is spelt to be consumed.
        for name in sorted(revision.emits - _consumed(revision)):
            homes.setdefault(name, revision.name)
    for name in names:
        yield Node(event_id(name), "event", name, homes.get(name, ""), _meant(name, names))


def _consumed(revision: Revision) -> set[str]:
    ports = (port for model in revision.models for port in model.ports.values())
    return {
        *(pattern for port in ports for pattern in (*port.consumes, *port.awaits)),
        *(pattern for listener in revision.listeners for pattern in listener.patterns),
    }


def _meant(pattern: str, names: Iterable[str]) -> str:
    """What a glob stands for, for people."""
    if not is_glob(pattern):
        return ""
    known = [name for name in names if not is_glob(name) and matches(pattern, name)]
    return f"any of {', '.join(known)}" if known else "any event of that form"


def _bound(registry: Registry, revision: Revision) -> dict[Part, str]:
    """The parts that something is bound to, with their kind, in the order of the text."""
    calls = [listener.call for listener in revision.listeners]
    for model in revision.models:
        calls += [command.call for command in model.commands.values()]
        for port in model.ports.values():
            calls += port.calls
    asked = [slot.protocol for call in calls for slot in call.adapters]
    kinds: dict[Part, str] = {}
    kind = "adapter"
    while asked:
        parts = [registry.binding(revision, protocol) for protocol in dict.fromkeys(asked)]
        new = [part for part in parts if part is not None and part not in kinds]
        kinds |= dict.fromkeys(new, kind)
        asked = [slot.protocol for part in new for slot in part.services]
        kind = "service"
    lent = {name for *_, name in registry.borrowing(revision.name)}
    kinds |= {part: "adapter" for part in revision.parts if part.name in lent}
    return {part: kinds[part] for part in revision.parts if part in kinds}


def _model_detail(model: ModelSpec) -> str:
    many = len(model.fields)
    return _join(
        "" if model.endpoint is None else f"/{model.endpoint}",
        f"{many} field{'' if many == 1 else 's'}",
        "" if model.store is None else f"kept in {model.store}",
    )


def _port_detail(port: PortSpec, defaults: Policy) -> str:
    return _join(
        _pace(port.policies.over(defaults)),
        "" if port.when is None else "when its condition holds",
        "" if port.by is None else f"by {port.by}",
        "all of its events" if port.join else "",
        f"waits for {', '.join(sorted(port.awaits))}" if port.awaits else "",
        "undoes the flow" if port.undoes else "",
        "" if port.undo is None else f"undo {port.undo.fn.__name__}",
        "" if port.fallback is None else f"fallback {port.fallback.fn.__name__}",
        "" if port.effect else "no effect outside",
    )


def _pace(policy: Policy) -> str:
    retries = f"{policy.retries} retr{'y' if policy.retries == 1 else 'ies'}"
    return f"{policy.timeout:g} s, {retries}"


def _join(*texts: str) -> str:
    # A docstring may hold half a surrogate pair, which no JSON can.
    line = " · ".join(" ".join(text.split()) for text in texts if text)
    return line.encode(errors="replace").decode()


def model_id(model: ModelSpec) -> str:
    """The node of a model: `model:orders.Order`."""
    return f"model:{model.key}"


def port_id(model: ModelSpec, port: PortSpec) -> str:
    """The node of a port: `port:orders.Order.authorize`."""
    return f"port:{model.key}.{port.name}"


def command_id(model: ModelSpec, command: CommandSpec) -> str:
    """The node of a command: `command:orders.Order.cancel`."""
    return f"command:{model.key}.{command.name}"


def listener_id(revision: Revision, listener: ListenerSpec) -> str:
    """The node of a listener: `listener:orders.remind`."""
    return f"listener:{revision.name}.{listener.name}"


def part_id(revision: Revision, part: Part) -> str:
    """The node of an adapter or a service: `part:orders.CardPayments`."""
    return f"part:{revision.name}.{part.name}"


def event_id(name: str) -> str:
    """The node of an event name or glob: `event:order.created`."""
    return f"event:{name}"
