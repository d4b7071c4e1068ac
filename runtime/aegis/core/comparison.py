"""Two registries side by side: what is added, changed or gone, and whom that breaks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from types import CodeType
from typing import Any

import msgspec

from aegis.core.component import CommandSpec, ListenerSpec, ModelSpec, Part, PortSpec, Revision
from aegis.core.difference import Aspect, Break, How, Item, Kind, Standing
from aegis.core.event import is_glob, matches
from aegis.core.grant import spelled
from aegis.core.graph import (
    Graph,
    Node,
    command_id,
    event_id,
    graph_of,
    listener_id,
    model_id,
    part_id,
    port_id,
)
from aegis.core.manifest import Exports
from aegis.core.registry import Registry
from aegis.core.relation import RelationSpec
from aegis.core.schema import Schema, bare, described, kinds, narrowed, properties
from aegis.core.semver import breaking, is_version, newer

API = "/aegis/api/models"

_Props = Mapping[str, str | None]


class Comparison:
    """What it means to go from one registry to another. `names` are the components concerned."""

    def __init__(self, before: Registry, after: Registry, names: Iterable[str]) -> None:
        self.before = before
        self.after = after
        self.names = sorted(names)
        self._old, self._new = graph_of(before), graph_of(after)
        self.items: tuple[Item, ...] = tuple(
            item for name in self.names for item in self._component(name)
        ) + tuple(self._events())
        self.breaks: tuple[Break, ...] = tuple(
            dict.fromkeys(
                broken
                for name in self.names
                for broken in (*self._broken(name), *self._unheard(name))
            )
        )

    def standing(self, same: Iterable[str] = ()) -> tuple[Standing, ...]:
        """How each component stands before and after; those in `same` serve already."""
        return tuple(self._standing(name, name in {*same}) for name in self.names)

    def _standing(self, name: str, same: bool) -> Standing:  # noqa: FBT001 -- a private step
        old, new = self.before.live.get(name), self.after.live.get(name)
        needs = None
        if old is not None and new is not None and any(b.component == name for b in self.breaks):
            needs = _needed(old.version, new.version)
        how: Any = "same" if same else _how(old, new)
        return Standing(
            component=name,
            how=how,
            before=None if old is None else old.version,
            after=None if new is None else new.version,
            before_digest=None if old is None else old.digest,
            after_digest=None if new is None else new.digest,
            needs=needs,
        )

    # The picture

    def graph(self) -> Graph:
        """Both graphs in one: what is after, then what was only before."""
        known = {node.id for node in self._new.nodes}
        wired = {edge.id for edge in self._new.edges}
        gone = (node for node in self._old.nodes if node.id not in known)
        cut = (edge for edge in self._old.edges if edge.id not in wired)
        return Graph((*self._new.nodes, *gone), (*self._new.edges, *cut))

    def marks(self) -> dict[str, How]:
        """What became of each node and edge that is not in both, or not the same."""
        marks: dict[str, How] = {}
        for kind in ("nodes", "edges"):
            old: set[str] = {one.id for one in getattr(self._old, kind)}
            new: set[str] = {one.id for one in getattr(self._new, kind)}
            for id in new ^ old:
                marks[id] = "added" if id in new else "removed"
        # What has another name is there twice, once as changed and once as removed.
        marks |= {item.node: item.how for item in self.items if item.node is not None}
        known = {node.id for node in (*self._old.nodes, *self._new.nodes)}
        known |= {edge.id for edge in (*self._old.edges, *self._new.edges)}
        return {id: marks[id] for id in sorted(marks) if id in known}

    # What is different

    def _component(self, name: str) -> Iterator[Item]:
        old, new = self.before.live.get(name), self.after.live.get(name)
        if old is not None and new is not None and old is not new and old.digest == new.digest:
            return
        if old is not new:
            how = _how(old, new)
            aspects = tuple(_aspects(_told_component(old), _told_component(new)))
            if how != "changed":
                aspects = ()
            yield Item(kind="component", name=name, how=how, component=name, aspects=aspects)
        yield from self._models(name, old, new)
        yield from self._things(
            name,
            "listener",
            {} if old is None else {one.name: (old, one) for one in old.listeners},
            {} if new is None else {one.name: (new, one) for one in new.listeners},
            lambda one: listener_id(*one),
            lambda one: _told_listener(one[1]),
        )
        yield from self._parts(name, old, new)
        yield from self._declared(name, old, new)

    def _models(self, name: str, old: Revision | None, new: Revision | None) -> Iterator[Item]:
        was = {} if old is None else old.by_name
        now = {} if new is None else new.by_name
        yield from self._things(name, "model", was, now, model_id, _told_model)
        for model in {**was, **now}:
            before, after = was.get(model), now.get(model)
            yield from self._fields(name, before, after)
            yield from self._things(
                name, "relation", _members(before, "relations"), _members(after, "relations"),
                lambda _: None, lambda one: _told_relation(one[1]),
            )  # fmt: skip
            yield from self._things(
                name, "port", _members(before, "ports"), _members(after, "ports"),
                lambda one: port_id(*one), lambda one: _told_port(one[1]),
            )  # fmt: skip
            yield from self._things(
                name, "command", _members(before, "commands"), _members(after, "commands"),
                lambda one: command_id(*one), lambda one: _told_command(one[1]),
            )  # fmt: skip
        for model in {**was, **now}:
            routes = operations(was.get(model)), operations(now.get(model))
            for route in dict.fromkeys((*routes[0], *routes[1])):
                if (route in routes[0]) != (route in routes[1]):
                    how: How = "added" if route in routes[1] else "removed"
                    yield Item(kind="route", name=route, how=how, component=name)

    def _fields(
        self, name: str, before: ModelSpec | None, after: ModelSpec | None
    ) -> Iterator[Item]:
        was, now = _told_fields(before), _told_fields(after)
        spec = after or before
        if before is None or after is None or spec is None:
            return  # the model tells how many it has
        for field in {**was, **now}:
            aspects = tuple(_aspects(was.get(field, {}), now.get(field, {})))
            if aspects:
                how = _how(was.get(field), now.get(field))
                told = now.get(field) or was[field]
                yield Item(
                    kind="field",
                    name=f"{spec.key}.{field}",
                    how=how,
                    component=name,
                    detail="" if how == "changed" else str(told["takes"]),
                    aspects=aspects if how == "changed" else (),
                )

    def _parts(self, name: str, old: Revision | None, new: Revision | None) -> Iterator[Item]:
        was = {} if old is None else {part.name: (old, part) for part in old.parts}
        now = {} if new is None else {part.name: (new, part) for part in new.parts}
        services = {
            node.label
            for graph in (self._old, self._new)
            for node in graph.nodes
            if node.component == name and node.kind == "service"
        }
        sorts: tuple[Kind, ...] = ("adapter", "service")
        for kind in sorts:

            def mine(parts: Mapping[str, Any], kind: str = kind) -> dict[str, Any]:
                return {n: p for n, p in parts.items() if (n in services) == (kind == "service")}

            yield from self._things(
                name,
                kind,
                mine(was),
                mine(now),
                lambda one: part_id(*one),
                lambda one: _told_part(one[1]),
            )
        bound = _bound(self.before, old), _bound(self.after, new)
        for slot in {**bound[0], **bound[1]}:
            before, after = bound[0].get(slot), bound[1].get(slot)
            if old is not None and new is not None and before != after:
                yield Item(
                    kind="binding",
                    name=slot,
                    how=_how(before, after),
                    component=name,
                    node=None if after is None else f"part:{name}.{after}",
                    aspects=(Aspect("done by", before, after),),
                )

    def _declared(self, name: str, old: Revision | None, new: Revision | None) -> Iterator[Item]:
        """What the component's source says of itself: grants, exports, libraries."""
        sides: tuple[tuple[Kind, Callable[[Revision | None], Mapping[str, str]]], ...] = (
            ("grant", _grants),
            ("export", _exports),
            ("library", _libraries),
        )
        for kind, told in sides:
            was, now = told(old), told(new)
            for one in {**was, **now}:
                before, after = was.get(one), now.get(one)
                if before != after:
                    how = _how(before, after)
                    yield Item(
                        kind=kind,
                        name=one,
                        how=how,
                        component=name,
                        detail="" if how == "changed" else after or before or "",
                        aspects=(Aspect("version", before, after),) if how == "changed" else (),
                    )

    def _things(
        self,
        name: str,
        kind: Kind,
        was: Mapping[str, Any],
        now: Mapping[str, Any],
        node: Callable[[Any], str | None],
        told: Callable[[Any], _Props],
    ) -> Iterator[Item]:
        """The things of one kind that are not in both, or not the same, by what is `told` of one.

        The node's id says the full name.
        """
        renamed = {old: new for new, one in now.items() for old in _was(one) if old in was}
        for label in {**was, **now}:
            if label in renamed and label not in now:
                continue
            before, after = was.get(label), now.get(label)
            earlier = next((old for old, new in renamed.items() if new == label), None)
            if before is None and earlier is not None:
                before = was[earlier]
            aspects: tuple[Aspect, ...] = ()
            if before is not None and after is not None:
                aspects = tuple(_aspects(told(before), told(after)))
                if earlier is not None and earlier not in now:
                    aspects = (Aspect("name", earlier, label), *aspects)
                if not aspects:
                    continue
            one: Any = before if after is None else after
            id = node(one)
            full = f"{one[0].key}.{label}" if id is None else id.partition(":")[2]
            detail = "" if aspects else _detail(self._new if after is not None else self._old, id)
            how = _how(before, after)
            yield Item(
                kind=kind, name=full, how=how, component=name, node=id, detail=detail,
                aspects=aspects,
            )  # fmt: skip

    def _events(self) -> Iterator[Item]:
        """Event names that come, go, or are produced by somebody else."""
        was = {node.id: node for node in self._old.nodes if node.kind == "event"}
        now = {node.id: node for node in self._new.nodes if node.kind == "event"}
        for id in {**was, **now}:
            before, after = was.get(id), now.get(id)
            if before is not None and after is not None and before.component == after.component:
                continue
            node = after or before
            assert node is not None  # noqa: S101 -- it is in one of them
            aspects: tuple[Aspect, ...] = ()
            if before is not None and after is not None:
                aspects = (Aspect("produced by", _maker(before), _maker(after)),)
            yield Item(
                kind="event",
                name=node.label,
                how=_how(before, after),
                component=node.component,
                node=id,
                aspects=aspects,
            )

    # Whom it breaks

    def _broken(self, name: str) -> Iterator[Break]:
        old, new = self.before.live.get(name), self.after.live.get(name)
        if old is None:
            return

        def broken(text: str, node: str | None = None) -> Break:
            return Break(component=name, text=text, node=node)

        for before in old.models:
            after = None if new is None else new.by_name.get(before.name)
            if after is None:
                where = "" if before.endpoint is None else f", with all at {API}/{before.endpoint}"
                users = _so(", which {} relates to", self._related(before, apart=name))
                yield broken(f"model {before.key} is gone{where}{users}", model_id(before))
                continue
            yield from (broken(text, node) for text, node in _broken_model(before, after))
        if new is None:
            return
        gone = _exports(old).keys() - _exports(new).keys()
        opened = new.exports is None
        for export in sorted(gone) if not opened else ():
            users = _so(", which {} was granted", self._granted(name, export.rpartition(" ")[2]))
            yield broken(f"{export} is exported no more{users}")

    def _related(self, model: ModelSpec, apart: str) -> list[str]:
        return [
            f"{other.key}.{one.name}"
            for other in self.after.models.values()
            for one in other.relations.values()
            if one.target == model.key and other.component != apart
        ]

    def _granted(self, name: str, export: str) -> list[str]:
        return [
            other.name
            for other in self.after.live.values()
            if any(
                one.owner == name and _same(spelled(one.what, one.rights), export)
                for one in other.asks or ()
            )
        ]

    def _unheard(self, name: str) -> Iterator[Break]:
        """Events that `name` produced and nobody does any more, where somebody hears them."""
        old = self.before.live.get(name)
        if old is None:
            return
        left = self.after.produced()
        lost = sorted(_produced(old) - left)
        for event in lost:
            users = [
                user
                for user, pattern in _hearing(self.after)
                if matches(pattern, event)
                and not (is_glob(pattern) and any(matches(pattern, one) for one in left))
            ]
            if users:
                text = f"nobody produces {event} any more, which {_listed(users)} hears"
                yield Break(component=name, text=text, node=event_id(event))


def operations(model: ModelSpec | None) -> tuple[str, ...]:
    """The HTTP operations of a model: `POST /aegis/api/models/orders`."""
    if model is None or model.endpoint is None:
        return ()
    base = f"{API}/{model.endpoint}"
    one = f"{base}/{{id}}"
    related = (
        f"{method} {one}/related/{name}"
        for name, relation in model.relations.items()
        for method in (("GET", "POST") if relation.where is None else ("GET",))
    )
    return (
        f"GET {base}",
        f"POST {base}",
        f"GET {one}",
        f"PATCH {one}",
        f"DELETE {one}",
        f"GET {one}/flows",
        *related,
        *(f"POST {one}/commands/{name}" for name in model.commands),
        *(f"POST {one}/ports/{name}" for name in model.ports),
    )


def _needed(before: str, after: str) -> str | None:
    """The version that breaking changes ask for, None where `after` is as much."""
    if not (is_version(before) and is_version(after)):
        return None
    needed = breaking(before)
    return needed if newer(needed, after) else None


def _how(old: Any, new: Any) -> How:
    return "added" if old is None else "removed" if new is None else "changed"


def _aspects(was: _Props, now: _Props) -> Iterator[Aspect]:
    for name in {**was, **now}:
        before, after = was.get(name), now.get(name)
        if before != after:
            hidden = name in _HIDDEN
            yield Aspect(name, None, None) if hidden else Aspect(name, before, after)


# Of these it is only told that they are other ones.
_HIDDEN = frozenset({"code", "its condition"})


def _detail(graph: Graph, id: str | None) -> str:
    return next((node.detail for node in graph.nodes if node.id == id), "")


def _maker(node: Node) -> str | None:
    return node.component or None


def _members(model: ModelSpec | None, kind: str) -> dict[str, Any]:
    if model is None:
        return {}
    return {name: (model, one) for name, one in getattr(model, kind).items()}


def _was(one: Any) -> tuple[str, ...]:
    """What a thing was called before."""
    marked = one[1] if isinstance(one, tuple) else one
    return marked.was if isinstance(marked, PortSpec) else ()


# What is told of a thing, as text


def _told_component(revision: Revision | None) -> _Props:
    if revision is None:
        return {}
    return {
        "version": revision.version,
        "language": revision.source.language,
        "code": revision.digest,
    }


def _told_model(model: ModelSpec) -> _Props:
    return {
        "endpoint": model.endpoint,
        "kept in": model.store,
        "concurrency": "last-wins" if model.last_wins else None,
    }


def _told_relation(one: RelationSpec) -> _Props:
    return {
        "target": one.target,
        "via": one.via,
        "by": one.by,
        "many": "many" if one.many else "one",
        "optional": "optional" if one.optional else None,
        "on_delete": one.on_delete,
        "its condition": None if one.where is None else body(one.where),
    }


def _told_port(port: PortSpec) -> _Props:
    return {
        "takes": _taken(port.call.arguments),
        "consumes": ", ".join(port.consumes) or None,
        "produces": port.produces,
        "waits for": ", ".join(sorted(port.awaits)) or None,
        "by": port.by,
        "all of its events": "yes" if port.join else None,
        "effect": None if port.effect else "none",
        "undoes the flow": "yes" if port.undoes else None,
        "its condition": None if port.when is None else body(port.when),
        "undo": _named(port.undo),
        "fallback": _named(port.fallback),
        "answer": _named(port.answer),
        **_attempts(port.policies),
        "code": "\0".join(body(call.fn) for call in port.calls),
    }


def _told_command(command: CommandSpec) -> _Props:
    return {
        "takes": _taken(command.call.arguments),
        "produces": command.produces,
        "undoes the flow": "yes" if command.undo else None,
        **_attempts(command.policies),
        "code": body(command.call.fn),
    }


def _told_listener(listener: ListenerSpec) -> _Props:
    return {
        "hears": ", ".join(listener.patterns),
        "about": listener.subject,
        "order": listener.order,
        "once": "yes" if listener.once else None,
        "schedule": None if listener.schedule is None else listener.schedule.text,
        "its condition": None if listener.when is None else body(listener.when),
        **_attempts(listener.policies),
        "code": body(listener.call.fn),
    }


def _told_part(part: Part) -> _Props:
    own = [value for value in vars(part.cls).values() if callable(value)]
    return {
        "does": ", ".join(protocol.__name__ for protocol in part.protocols),
        "services": ", ".join(slot.protocol.__name__ for slot in part.services) or None,
        "configuration": ", ".join(sorted(one.key for one in part.settings)) or None,
        "code": "\0".join(body(fn) for fn in own),
    }


def _named(call: Any) -> str | None:
    return None if call is None else str(call.fn.__name__)


def _attempts(said: Any) -> _Props:
    return {
        name: None if (value := getattr(said, name)) is None else f"{value}"
        for name in ("timeout", "retries", "backoff", "factor", "backoff_most", "jitter", "breaker")
    }


def body(fn: Any) -> str:
    """What a function does, so that equal code is equal text wherever it stands."""
    code = getattr(getattr(fn, "__func__", fn), "__code__", None)
    return repr(_parts(code)) if isinstance(code, CodeType) else getattr(fn, "__qualname__", "")


def _parts(code: CodeType) -> tuple[Any, ...]:
    constants = (_parts(one) if isinstance(one, CodeType) else one for one in code.co_consts)
    known = (sorted(map(repr, one)) if isinstance(one, frozenset) else one for one in constants)
    return (code.co_code, code.co_names, code.co_varnames, tuple(known))


def _told_fields(model: ModelSpec | None) -> dict[str, _Props]:
    """What each field of a record takes, and its rules."""
    if model is None:
        return {}
    schema, definitions = model.outer_schema
    needed = properties_needed(model)
    rules = model.rules
    return {
        name: {
            "takes": described(bare(one)),
            "default": _default(one, name in needed),
            "rules": None if rules is None else _ruled(rules, name),
        }
        for name, one in properties(schema, definitions).items()
    }


def _default(schema: Schema, needed: bool) -> str | None:  # noqa: FBT001 -- a private step
    if needed:
        return "required"
    return msgspec.json.encode(schema["default"]).decode() if "default" in schema else None


def properties_needed(model: ModelSpec) -> frozenset[str]:
    """The fields that whoever creates a record must give."""
    fields = msgspec.structs.fields(model.create)
    return frozenset(field.encode_name for field in fields if field.required)


def _ruled(rules: Any, name: str) -> str | None:
    found = [rule for rule in _RULES if name in getattr(rules, rule)]
    if name in rules.sealed and name not in rules.private:
        found.append("encrypted")
    return ", ".join(rule.replace("_", " ") for rule in found) or None


_RULES = ("private", "frozen", "frozen_when", "required_when", "derived", "unique")


def _bound(registry: Registry, revision: Revision | None) -> dict[str, str]:
    """What does each Protocol that the code names, by `orders.Payments`."""
    if revision is None:
        return {}
    protocols = dict.fromkeys(one for part in revision.parts for one in part.protocols)
    found: dict[str, str] = {}
    for protocol in protocols:
        bound = registry.provider(revision, protocol)
        if bound is not None:
            owner, part = bound
            name = part.name if owner is revision else f"{owner.name}.{part.name}"
            found[f"{revision.name}.{protocol.__name__}"] = name
    return found


def _grants(revision: Revision | None) -> dict[str, str]:
    asks = () if revision is None else revision.asks or ()
    return {f"{one.owner} {spelled(one.what, one.rights)}": "asked for" for one in asks}


def _exports(revision: Revision | None) -> dict[str, str]:
    exports = None if revision is None else revision.exports
    if exports is None:
        return {}
    return {
        f"{kind[:-1]} {what}": "offered to others"
        for kind in Exports.__struct_fields__
        for what in getattr(exports, kind)
    }


def _libraries(revision: Revision | None) -> dict[str, str]:
    if revision is None:
        return {}
    return {library.name: library.version for library in revision.source.libraries}


# What callers of a model can do no more


def _broken_model(before: ModelSpec, after: ModelSpec) -> Iterator[tuple[str, str]]:
    node = model_id(before)
    if before.endpoint is not None and before.endpoint != after.endpoint:
        now = "no more" if after.endpoint is None else f"now at {API}/{after.endpoint}"
        yield f"{before.key} is {now}, and was at {API}/{before.endpoint}", node
    yield from ((text, node) for text in _broken_fields(before, after))
    for name, port in before.ports.items():
        if name in after.ports:
            continue
        new = next((one.name for one in after.ports.values() if name in one.was), None)
        where = "" if before.endpoint is None else f": nothing is at .../ports/{name} any more"
        what = "is gone" if new is None else f"is called {new} now"
        hint = " (if it was renamed, say so with was=)" if new is None else ""
        yield f"port {before.key}.{name} {what}{where}{hint}", port_id(before, port)
    for name, command in before.commands.items():
        if name not in after.commands:
            yield f"command {before.key}.{name} is gone", command_id(before, command)
    for name in before.relations:
        if name not in after.relations:
            yield f"relation {before.key}.{name} is gone", node
    for kind in ("ports", "commands"):
        for name, one in getattr(after, kind).items():
            earlier = getattr(before, kind).get(name)
            if earlier is not None:
                asked = _arguments(earlier.call.arguments), _arguments(one.call.arguments)
                where = port_id(after, one) if kind == "ports" else command_id(after, one)
                for text in narrowed(*asked):
                    yield f"{kind[:-1]} {after.key}.{name} {text}", where


def _arguments(struct: Any) -> Any:
    if struct is None:
        return {"type": "object", "properties": {}, "additionalProperties": False}
    (schema,), definitions = msgspec.json.schema_components([struct])
    name = str(schema["$ref"]).rsplit("/", 1)[-1]
    own = definitions[name]
    return bare({**own, "properties": properties(own, definitions), "additionalProperties": False})


def _taken(struct: Any) -> str | None:
    """The arguments of a call, for people."""
    if struct is None:
        return None
    whole = _arguments(struct)
    needed = whole.get("required", ())
    return ", ".join(
        f"{name}{'' if name in needed else '?'}: {described(schema)}"
        for name, schema in whole["properties"].items()
    )


def _broken_fields(before: ModelSpec, after: ModelSpec) -> Iterator[str]:
    was = {name: bare(one) for name, one in properties(*before.outer_schema).items()}
    now = {name: bare(one) for name, one in properties(*after.outer_schema).items()}
    hidden = frozenset[str]() if after.rules is None else after.rules.private
    shown = frozenset[str]() if before.rules is None else before.rules.private
    needed = properties_needed(after) - properties_needed(before)
    for name, old in was.items():
        field = f"field {before.key}.{name}"
        new = now.get(name)
        if new is None:
            yield f"{field} is gone"
            continue
        if name in hidden and name not in shown:
            yield f"{field} is private now: nobody is shown it"
        said = list(narrowed(old, new))
        yield from (f"{field} {text}" for text in said)
        more = sorted(kinds(new) - kinds(old))
        if more and not said and name not in hidden:
            yield f"{field} may be {' or '.join(more)} now, was {described(old)}"
        if name in needed:
            yield f"{field} is required now to create one"
        for rule, text in _STRICTER.items():
            asked = after.rules is not None and name in getattr(after.rules, rule)
            known = before.rules is not None and name in getattr(before.rules, rule)
            if asked and not known:
                yield f"{field} {text}"
    for name in now:
        if name not in was and name in needed:
            yield f"field {after.key}.{name} is new and required to create one"


_STRICTER = {
    "frozen": "is frozen now: it cannot be changed",
    "frozen_when": "is frozen now for some records",
    "required_when": "is required now of some records",
    "derived": "is derived now: nobody can give it",
    "unique": "is unique now",
}


# Who hears what


def _produced(revision: Revision) -> frozenset[str]:
    return Registry(live={revision.name: revision}).produced()


def _hearing(registry: Registry) -> Iterator[tuple[str, str]]:
    """Everything that hears events, with a pattern each."""
    for revision in registry.live.values():
        for model in revision.models:
            for port in model.ports.values():
                for pattern in (*port.consumes, *sorted(port.awaits)):
                    yield f"{model.key}.{port.name}", pattern
        for listener in revision.listeners:
            for pattern in listener.patterns:
                yield f"{revision.name}.{listener.name}", pattern


def _same(asked: str, export: str) -> bool:
    return asked == export or (is_glob(asked) and matches(asked, export))


def _listed(names: Iterable[str]) -> str:
    return " and ".join(dict.fromkeys(names))


def _so(text: str, names: list[str]) -> str:
    return text.format(_listed(names)) if names else ""
