"""What the host knows of a model, a port, an event or a part: what `?` and `%aegis about` show."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any

import msgspec
from IPython.core.interactiveshell import InteractiveShell
from IPython.core.oinspect import InspectorHookData

from aegis.core.component import (
    MODULES,
    Call,
    CommandSpec,
    ListenerSpec,
    ModelSpec,
    Part,
    PortSpec,
    Revision,
)
from aegis.core.errors import NotFoundError, closest
from aegis.core.event import is_glob, matches
from aegis.core.graph import command_id, event_id, listener_id, part_id, port_id
from aegis.core.model import Model
from aegis.core.policy import Policies, Policy
from aegis.core.port import Command, Port
from aegis.core.registry import Registry
from aegis.core.relation import RelationSpec
from aegis.core.rule import unmarked
from aegis.core.wat import functions
from aegis.core.wire import Figure
from aegis_kernel.hosting import HostThread, NotebookHost

OWN = re.compile(re.escape(MODULES) + r"[\w.]*_r\d+\.")

# What is said of a thing: a heading and its text, in this order.
Sections = list[tuple[str, str]]


class About:
    """What a host knows, as a cell shows it."""

    def __init__(self, sections: Sections) -> None:
        self.sections = sections

    def __repr__(self) -> str:
        width = max(len(head) for head, _ in self.sections) + 2
        lines = []
        for head, body in self.sections:
            first, *rest = body.splitlines() or [""]
            lines.append(f"{head + ':':<{width}}{first}".rstrip())
            lines += [f"{'':<{width}}{line}" for line in rest]
        return "\n".join(lines)


class Knowledge:
    """Looks things up in the live components of the host in `thread`."""

    def __init__(self, thread: HostThread) -> None:
        self._thread = thread

    # --- by name --------------------------------------------------------------------------------

    def names(self) -> list[str]:
        """All that can be asked for by name."""
        if not self._thread.is_open:
            return []
        registry = self._thread.host.engine.registry
        found = dict.fromkeys([*registry.live, *sorted(known_events(registry))])
        for revision in registry.live.values():
            for spec in revision.models:
                found[spec.name] = None
                members = (*spec.ports, *spec.commands)
                found.update(dict.fromkeys(f"{spec.name}.{name}" for name in members))
            found.update(dict.fromkeys(part.name for part in revision.parts))
            found.update(dict.fromkeys(listener.name for listener in revision.listeners))
        return list(found)

    def named(self, name: str) -> About:
        """What is known by `name`: a component, model, port, command, part or event.

        Raises NotFoundError.
        """
        registry = self._thread.host.engine.registry
        sections = self._named(registry, name)
        if sections is None:
            hint = closest(name, self.names()) or "%aegis status shows what there is"
            raise NotFoundError(f"nothing here is called {name!r}", hint=hint)
        return About(sections)

    def _named(self, registry: Registry, name: str) -> Sections | None:
        if name in registry.live:
            return self._component(registry.live[name])
        for revision in registry.live.values():
            rest = name.removeprefix(f"{revision.name}.")
            for spec in revision.models:
                if rest == spec.name:
                    return self._model(revision, spec)
                member = rest.removeprefix(f"{spec.name}.")
                if member != rest and member in spec.ports:
                    return self._port(revision, spec, spec.ports[member])
                if member != rest and member in spec.commands:
                    return self._command(revision, spec, spec.commands[member])
            for part in revision.parts:
                if rest == part.name:
                    return self._part(registry, revision, part)
            for listener in revision.listeners:
                if rest == listener.name:
                    return self._listener(revision, listener)
        events = known_events(registry)
        if name in events or (is_glob(name) and any(matches(name, event) for event in events)):
            return self._event(registry, name)
        return None

    # --- by object ------------------------------------------------------------------------------

    def of(self, thing: Any) -> Sections | None:
        """What is known of an object that a component defines; None for any other."""
        if isinstance(thing, NotebookHost):
            return self._host(thing)
        if not self._thread.is_open:
            return None
        registry = self._thread.host.engine.registry
        for revision in registry.revisions():
            found = self._in(registry, revision, thing)
            if found is not None:
                return found
        return None

    def text_of(self, thing: Any, found: str | None) -> str | None:
        """The source text of what a component defines, where Python has `found` one.

        Of WebAssembly that is the component's, if it was written as text.
        """
        registry = self._thread.host.engine.registry
        for revision in registry.revisions():
            if revision.source.is_wasm and self._in(registry, revision, thing) is not None:
                return revision.source.text.strip() or None
        return found

    def _policy(self, said: Policies) -> Policy:
        return self._thread.host.engine.policy(said)

    def _in(self, registry: Registry, revision: Revision, thing: Any) -> Sections | None:
        fn = thing.fn if isinstance(thing, Port | Command) else getattr(thing, "__func__", thing)
        cls = type(thing) if isinstance(thing, Model) else thing
        for spec in revision.models:
            if spec.cls is cls:
                return self._model(revision, spec)
            for port in spec.ports.values():
                if port.call.fn is fn:
                    return self._port(revision, spec, port)
            for command in spec.commands.values():
                if command.call.fn is fn:
                    return self._command(revision, spec, command)
        for part in revision.parts:
            if part.cls is thing:
                return self._part(registry, revision, part)
        for listener in revision.listeners:
            if listener.call.fn is fn:
                return self._listener(revision, listener)
        return None

    # --- what is said ---------------------------------------------------------------------------

    def _host(self, host: NotebookHost) -> Sections:
        sections: Sections = [("Host", repr(host))]
        if self._thread.is_open:
            config = self._thread.config
            data = None if config is None else config.data
            sections.append(("Data", "nothing is kept on disk" if data is None else str(data)))
        sections.append(("Docstring", inspect.getdoc(host) or ""))
        return sections

    def _component(self, revision: Revision) -> Sections:
        return _told(
            ("Component", f"{revision.name} {revision.version} ({revision.digest[:8]})"),
            *(() if revision.guest is None else revision.guest.told.items()),
            ("May use", _table(self._needs(revision))),
            ("Docstring", _doc(revision)),
            ("Models", ", ".join(spec.name for spec in revision.models)),
            ("Parts", ", ".join(part.name for part in revision.parts)),
            ("Listeners", ", ".join(listener.name for listener in revision.listeners)),
            ("Defined in", revision.source.origin),
        )

    def _needs(self, revision: Revision) -> Iterator[tuple[str, str]]:
        """What its sandbox asks of the host, and whether it was granted."""
        grants = self._thread.host.engine.registry.grants
        for one in revision.needs:
            given = grants.gives(revision.name, one.owner, one.what, "write")
            yield str(one), "granted" if given else f'host.grant("{revision.name}", "{one}")'

    def _model(self, revision: Revision, spec: ModelSpec) -> Sections:
        ports = {port.name: _way(port) for port in spec.ports.values()}
        commands = {
            command.name: f"produces {command.produces}" for command in spec.commands.values()
        }
        relations = {one.name: _related(one) for one in spec.relations.values()}
        address = f"{self._thread.server.address}/aegis/api/models/{spec.endpoint}"
        return _told(
            ("Model", f"{spec.name} of {_component(revision)}"),
            ("Docstring", spec.doc),
            ("Fields", _table(_fields(spec.cls))),
            ("Ports", _table(ports)),
            ("Commands", _table(commands)),
            ("Relations", _table(relations)),
            ("Migrates", _migrates(spec)),
            ("Kept in", spec.store or ""),
            ("API", address if spec.endpoint is not None else ""),
            ("Events", f"{spec.created}, {spec.updated}, {spec.deleted}"),
            ("Defined in", _place(revision, spec.name)),
        )

    def _port(self, revision: Revision, spec: ModelSpec, port: PortSpec) -> Sections:
        undo = ""
        if port.undo is not None:
            undo = f"{port.undo.fn.__name__}, {_pace(self._policy(port.undo_policies))}"
        return _told(
            ("Port", f"{spec.name}.{port.name} of {_component(revision)}"),
            ("Signature", _signature(port.call, port.name)),
            ("Docstring", port.doc),
            ("Consumes", ", ".join(port.consumes)),
            ("Produces", port.produces or ""),
            ("By", f"the field {port.by} of the event" if port.by is not None else ""),
            ("When", "its condition on the record is true" if port.when is not None else ""),
            ("Adapters", _slots(port.call)),
            ("Policy", _pace(self._policy(port.policies))),
            ("Effect", "" if port.effect else "none: its adapters change nothing outside"),
            ("Undo", undo),
            ("Now", self._figures(port_id(spec, port))),
            ("Defined in", _place(revision, f"{spec.name}.{port.name}", port.call)),
        )

    def _command(self, revision: Revision, spec: ModelSpec, command: CommandSpec) -> Sections:
        return _told(
            ("Command", f"{spec.name}.{command.name} of {_component(revision)}"),
            ("Signature", _signature(command.call, command.name)),
            ("Docstring", command.doc),
            ("Produces", command.produces),
            ("Adapters", _slots(command.call)),
            ("Undo", "undoes whatever flow of the record is open" if command.undo else ""),
            ("Now", self._figures(command_id(spec, command))),
            ("Defined in", _place(revision, f"{spec.name}.{command.name}", command.call)),
        )

    def _listener(self, revision: Revision, listener: ListenerSpec) -> Sections:
        return _told(
            ("Listener", f"{listener.name} of {_component(revision)}"),
            ("Docstring", listener.doc),
            ("Consumes", ", ".join(listener.patterns)),
            ("Adapters", _slots(listener.call)),
            ("Policy", _pace(self._policy(listener.policies))),
            ("Now", self._figures(listener_id(revision, listener))),
            ("Defined in", _place(revision, listener.name, listener.call)),
        )

    def _part(self, registry: Registry, revision: Revision, part: Part) -> Sections:
        bound = [p.__name__ for p in part.protocols if registry.binding(revision, p) is part]
        settings = {setting.key: _type(setting.type) for setting in part.settings}
        services = ", ".join(
            f"{slot.parameter}: {slot.protocol.__name__}" for slot in part.services
        )
        return _told(
            ("Part", f"{part.name} of {_component(revision)}"),
            ("Docstring", inspect.cleandoc(vars(part.cls).get("__doc__") or "")),
            ("Does", ", ".join(protocol.__name__ for protocol in part.protocols)),
            ("Bound to", ", ".join(bound) or "nothing: another part was chosen"),
            ("Services", services),
            ("Settings", _table(settings)),
            ("Now", self._figures(part_id(revision, part))),
            ("Defined in", _place(revision, part.name)),
        )

    def _event(self, registry: Registry, name: str) -> Sections:
        names = [event for event in sorted(known_events(registry)) if matches(name, event)]
        return _told(
            ("Event", name),
            ("Names", "" if names == [name] else ", ".join(names)),
            ("Produced by", ", ".join(dict.fromkeys(_makers(registry, name))) or "nobody yet"),
            ("Consumed by", ", ".join(dict.fromkeys(_takers(registry, name))) or "nobody yet"),
            ("Now", self._figures(event_id(name))),
        )

    def _figures(self, node: str) -> str:
        """The live figures of a node: its own, or those of the edges that lead to it."""
        figures: Mapping[str, Figure] = self._thread.call(self._thread.host.monitor.figures)
        found = figures.get(node)
        if found is not None:
            return _said(found)
        edges = [figure for id, figure in figures.items() if id.endswith(f">{node}")]
        calls, errors = sum(f.calls for f in edges), sum(f.errors for f in edges)
        return _said(Figure(calls=calls, errors=errors)) if edges else ""


# --- attaching ----------------------------------------------------------------------------------


def attach(shell: InteractiveShell, knowledge: Knowledge) -> None:
    """Let `thing?` and the inspectors of frontends show what is known of it."""

    def inspected(data: InspectorHookData) -> Sections | None:
        try:
            sections = knowledge.of(data.obj)
        except Exception:  # noqa: BLE001 -- then IPython shows what it knows itself
            return None
        if not sections or not data.detail_level:
            return sections
        source = knowledge.text_of(data.obj, data.info_dict.get("source"))
        return [*sections, ("Source", source)] if source else sections

    shell.inspector.mime_hooks = {**shell.inspector.mime_hooks, "text/plain": inspected}


def detach(shell: InteractiveShell) -> None:
    """Take back what `attach` gave."""
    hooks = dict(shell.inspector.mime_hooks)
    hooks.pop("text/plain", None)
    shell.inspector.mime_hooks = hooks


# --- words --------------------------------------------------------------------------------------


def known_events(registry: Registry) -> frozenset[str]:
    """The names of events that are produced, or consumed by name."""
    consumed = {
        pattern
        for revision in registry.live.values()
        for patterns in (
            *(port.consumes for spec in revision.models for port in spec.ports.values()),
            *(listener.patterns for listener in revision.listeners),
        )
        for pattern in patterns
        if not is_glob(pattern)
    }
    return registry.produced() | consumed


def _makers(registry: Registry, name: str) -> Iterator[str]:
    for revision in registry.live.values():
        for spec in revision.models:
            if any(matches(name, each) for each in (spec.created, spec.updated, spec.deleted)):
                yield spec.key
            members: tuple[PortSpec | CommandSpec, ...] = (
                *spec.ports.values(),
                *spec.commands.values(),
            )
            for member in members:
                if member.produces is not None and matches(name, member.produces):
                    yield f"{spec.key}.{member.name}"
        if any(matches(name, emitted) for emitted in revision.emits):
            yield f"code of {revision.name}"


def _takers(registry: Registry, name: str) -> Iterator[str]:
    for revision in registry.live.values():
        for spec in revision.models:
            for port in spec.ports.values():
                if any(_meet(pattern, name) for pattern in port.consumes):
                    yield f"{spec.key}.{port.name}"
        for listener in revision.listeners:
            if any(_meet(pattern, name) for pattern in listener.patterns):
                yield f"{revision.name}.{listener.name}"


def _told(*sections: tuple[str, str]) -> Sections:
    return [(head, body) for head, body in sections if body]


def _component(revision: Revision) -> str:
    return f"component {revision.name} {revision.version}"


def _table(rows: Mapping[str, str] | Iterable[tuple[str, str]]) -> str:
    pairs = list(rows.items() if isinstance(rows, Mapping) else rows)
    width = max((len(name) for name, _ in pairs), default=0)
    return "\n".join(f"{name:<{width}}  {said}".rstrip() for name, said in pairs)


def _migrates(spec: ModelSpec) -> str:
    """Which ways records can go between this code and other versions."""
    ways = []
    if spec.migrate is not None:
        ways.append("records of other versions become its own by `migrate`")
    if spec.unmigrate is not None:
        ways.append("its own can be taken back by `unmigrate`")
    return ", ".join(ways)


def _fields(cls: type) -> Iterator[tuple[str, str]]:
    for item in msgspec.structs.fields(cls):
        default = "" if item.default is msgspec.NODEFAULT else f" = {item.default!r}"
        hint, marks = unmarked(item.type)
        yield item.name, _type(hint) + default + "".join(f", {mark}" for mark in marks)


def _type(hint: Any) -> str:
    return OWN.sub("", inspect.formatannotation(hint))


def _related(relation: RelationSpec) -> str:
    """What a relation leads to, and by what."""
    count = "many" if relation.many else "one"
    if relation.via is not None:
        return f"{count} {relation.target}, via {relation.via}"
    if relation.by is not None:
        return f"{count} {relation.target}, by its {relation.by}"
    return f"{count} {relation.target}, as the method says"


def _way(port: PortSpec) -> str:
    said = [f"consumes {', '.join(port.consumes)}"] if port.consumes else []
    said += [f"produces {port.produces}"] if port.produces is not None else []
    said += [f"undo {port.undo.fn.__name__}"] if port.undo is not None else []
    said += [f"fallback {port.fallback.fn.__name__}"] if port.fallback is not None else []
    return "; ".join(said) or "called directly"


def _signature(call: Call, name: str) -> str:
    # Classes of the component go by the name that its author knows.
    return OWN.sub("", f"{name}{inspect.signature(call.fn)}")


def _slots(call: Call) -> str:
    return ", ".join(f"{slot.parameter}: {slot.protocol.__name__}" for slot in call.adapters)


def _pace(policy: Policy) -> str:
    if not policy.retries:
        return f"timeout {policy.timeout:g} s, no retry"
    again = "retry" if policy.retries == 1 else "retries"
    pauses = f"{policy.backoff:g} s apart"
    if policy.retries > 1 and policy.factor > 1:
        pauses = f"after {policy.backoff:g} s, then {policy.factor:g} times that and so on"
    return f"timeout {policy.timeout:g} s, {policy.retries} {again}, {pauses}"


def _said(figure: Figure) -> str:
    said = f"{figure.calls} calls, {figure.errors} failed"
    if figure.p50 is not None:
        said += f", p50 {figure.p50:g} ms, p99 {figure.p99:g} ms"
    if figure.running:
        said += f", {figure.running} under way"
    return said if figure.error is None else f"{said}; last error: {figure.error}"


def _meet(pattern: str, name: str) -> bool:
    """Whether what a port consumes and what was asked for have events in common."""
    return matches(pattern, name) or matches(name, pattern)


def _place(revision: Revision, name: str, call: Call | None = None) -> str:
    """Where something is defined: `cell 4, line 12`."""
    line = None
    if revision.source.is_wasm:
        line = functions(revision.source.text).get(name)
    elif call is not None:
        line = inspect.unwrap(call.fn).__code__.co_firstlineno
    else:
        for statement in _module(revision.source.text).body:
            if isinstance(statement, ast.ClassDef) and statement.name == name:
                line = statement.lineno
    where = revision.source.origin or f"component {revision.name}"
    return where if line is None else f"{where}, line {line}"


def _doc(revision: Revision) -> str:
    """What a component says of itself."""
    if revision.source.is_wasm:
        return inspect.getdoc(revision.module) or ""
    return ast.get_docstring(_module(revision.source.text)) or ""


@lru_cache(maxsize=16)
def _module(text: str) -> ast.Module:
    return ast.parse(text)
