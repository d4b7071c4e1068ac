"""All installed components as one immutable value, and what is wrong with them together."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from difflib import SequenceMatcher
from functools import cached_property
from types import MappingProxyType

from aegis.core.component import ModelSpec, Part, PortSpec, Revision, Slot
from aegis.core.errors import closest
from aegis.core.event import is_glob, matches
from aegis.core.fitting import misfits
from aegis.core.grant import Access, Grants, Party, Use
from aegis.core.policy import Policy
from aegis.core.relation import OnDelete, Pointer, RelationSpec, clearable, place, viewed
from aegis.core.schedule import FIRED
from aegis.core.split import Split

# How much alike two nouns are (1 is the same) of which one is a misspelling of the other.
SLIP = 0.75


@dataclass(frozen=True, kw_only=True, eq=False)
class Consumer:
    """A port that a certain event sets off, with the model and the code it belongs to.

    `pattern` is what it names of the event.
    """

    revision: Revision
    model: ModelSpec
    port: PortSpec
    pattern: str


@dataclass(frozen=True, kw_only=True, eq=False)
class Registry:
    """The live revision of each component, and those still loaded besides.

    `bindings` chooses among several adapters: `{"orders.Payments": "CardPayments"}`. `defaults` is
    how ports are attempted that say nothing themselves. `grants` are what the operator lets
    components reach of each other. `splits` are the components of which a
    candidate, retained, serves beside what is live.
    """

    live: Mapping[str, Revision] = field(default_factory=lambda: MappingProxyType({}))
    retained: tuple[Revision, ...] = ()
    bindings: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    defaults: Policy = Policy()
    grants: Grants = field(default_factory=Grants)
    splits: Mapping[str, Split] = field(default_factory=lambda: MappingProxyType({}))

    def with_component(self, revision: Revision) -> Registry:
        """This registry with `revision` live; the one it replaces is retained."""
        old = self.live.get(revision.name)
        kept = tuple(r for r in self.retained if r is not revision)
        return replace(
            self,
            live=MappingProxyType({**self.live, revision.name: revision}),
            retained=kept if old is None or old is revision else (*kept, old),
            splits=self._unsplit(revision.name),
        )

    def _unsplit(self, name: str) -> Mapping[str, Split]:
        if name not in self.splits:
            return self.splits
        return MappingProxyType({key: one for key, one in self.splits.items() if key != name})

    def splitting(self, split: Split) -> Registry:
        """This registry with a candidate beside the live revision of its component."""
        kept = tuple(r for r in self.retained if r is not split.candidate)
        return replace(
            self,
            retained=(*kept, split.candidate),
            splits=MappingProxyType({**self.splits, split.component: split}),
        )

    def unsplit(self, name: str) -> Registry:
        """This registry with all of a component going to its live revision."""
        return replace(self, splits=self._unsplit(name))

    def taking(self, component: str, key: str | None) -> Revision | None:
        """The revision of a component that gets a key (see Split), None when none is live."""
        if self.splits:
            split = self.splits.get(component)
            if split is not None and split.takes(key):
                return split.candidate
        return self.live.get(component)

    def serving(self) -> Iterator[Revision]:
        """The revisions that get calls and events: the live ones, then candidates."""
        yield from self.live.values()
        for split in self.splits.values():
            yield split.candidate

    def without(self, name: str) -> Registry:
        """This registry with no live revision of `name`; the one it had is retained."""
        live = dict(self.live)
        old = live.pop(name)
        return replace(
            self,
            live=MappingProxyType(live),
            retained=(*self.retained, old),
            splits=self._unsplit(name),
        )

    def retaining(self, *revisions: Revision) -> Registry:
        """This registry with exactly `revisions` loaded besides the live ones."""
        return replace(self, retained=revisions)

    @cached_property
    def models(self) -> Mapping[str, ModelSpec]:
        """The live models by key."""
        return MappingProxyType(
            {spec.key: spec for revision in self.live.values() for spec in revision.models}
        )

    @cached_property
    def endpoints(self) -> Mapping[str, ModelSpec]:
        """The live models by endpoint."""
        return MappingProxyType(
            {spec.endpoint: spec for spec in self.models.values() if spec.endpoint is not None}
        )

    def revisions(self) -> Iterator[Revision]:
        """All loaded revisions, live ones first."""
        yield from self.live.values()
        yield from self.retained

    def revision(self, component: str, version: str) -> Revision | None:
        """The code that a flow of that component and version number takes its next step on.

        The live one when it carries this number, else the newest with it that was retained (the
        one that flows were healed with); None when none is loaded.
        """
        live = self.live.get(component)
        if live is not None and live.version == version:
            return live
        others = [r for r in self.retained if r.name == component and r.version == version]
        return others[-1] if others else None

    @cached_property
    def _exact(self) -> Mapping[str, tuple[Consumer, ...]]:
        found: dict[str, list[Consumer]] = {}
        for consumer, pattern in self._consumptions():
            if not is_glob(pattern):
                found.setdefault(pattern, []).append(consumer)
        return {name: tuple(consumers) for name, consumers in found.items()}

    @cached_property
    def _globbed(self) -> tuple[tuple[str, Consumer], ...]:
        return tuple((p, consumer) for consumer, p in self._consumptions() if is_glob(p))

    def _consumptions(self) -> Iterator[tuple[Consumer, str]]:
        for revision in self.revisions():
            for model in revision.models:
                for port in model.ports.values():
                    for pattern in port.consumes:
                        found = Consumer(revision=revision, model=model, port=port, pattern=pattern)
                        yield found, pattern

    @cached_property
    def _consumers(self) -> dict[str, tuple[Consumer, ...]]:
        return {}

    def consumers(self, name: str) -> tuple[Consumer, ...]:
        """Every loaded port that the event `name` sets off, of any revision."""
        known = self._consumers.get(name)
        if known is None:
            found = list(self._exact.get(name, ()))
            for pattern, consumer in self._globbed:
                same = any(c.port is consumer.port for c in found)
                if not same and matches(pattern, name):
                    found.append(consumer)
            known = tuple(found)
            if len(self._consumers) < 4096:
                self._consumers[name] = known
        return known

    @cached_property
    def awaits(self) -> Mapping[str, tuple[tuple[ModelSpec, PortSpec], ...]]:
        """The loaded ports that may wait for an answer, by the name of the event."""
        found: dict[str, list[tuple[ModelSpec, PortSpec]]] = {}
        for revision in self.revisions():
            for model in revision.models:
                for port in model.ports.values():
                    for name in port.awaits:
                        found.setdefault(name, []).append((model, port))
        return MappingProxyType({name: tuple(ports) for name, ports in found.items()})

    @cached_property
    def has_joins(self) -> bool:
        """Whether any loaded port needs several events."""
        return any(consumer.port.join for consumer, _ in self._consumptions())

    def joins(self, name: str) -> tuple[Consumer, ...]:
        """The loaded ports that need the event `name` besides others."""
        if not self.has_joins:
            return ()
        return tuple(consumer for consumer in self.consumers(name) if consumer.port.join)

    @cached_property
    def _pointers(self) -> Mapping[str, tuple[Pointer, ...]]:
        said: dict[str, dict[tuple[str, str], list[RelationSpec]]] = {}
        for model in self.models.values():
            for one in model.relations.values():
                if one.via is not None:
                    said.setdefault(one.target, {}).setdefault((model.key, one.via), []).append(one)
                elif one.by is not None:
                    counted = one if self._may_end(one) else replace(one, on_delete=None)
                    of = said.setdefault(model.key, {})
                    of.setdefault((one.target, one.by), []).append(counted)
        return {
            key: tuple(
                Pointer(
                    model=self.models[model],
                    path=path,
                    on_delete=_on_delete(ones),
                )
                for (model, path), ones in fields.items()
                if model in self.models
            )
            for key, fields in said.items()
        }

    def _may_end(self, one: RelationSpec) -> bool:
        """Whether what a relation says of the end of records counts for those of its target."""
        return not one.crosses or self.access.may(
            one.user, one.component, "models", one.target.partition(".")[2], "write"
        )

    def pointers(self, key: str) -> tuple[Pointer, ...]:
        """The fields of live models that name records of the model `key`."""
        return self._pointers.get(key, ())

    @cached_property
    def access(self) -> Access:
        """Who may reach what of whom."""
        parties = {one.name: _party(one) for one in self.live.values()}
        told: dict[str, set[str]] = {}
        for spec in self.models.values():
            for name in spec.events:
                told.setdefault(name, set()).add(spec.component)
        return Access(
            owners=parties,
            users={one.label: _party(one) for one in self.revisions()} | parties,
            grants=self.grants,
            told={name: frozenset(components) for name, components in told.items()},
        )

    @cached_property
    def is_closed(self) -> bool:
        """Whether any loaded code says what it exports or asks for: else all is open."""
        return self.access.is_closed

    def candidates(self, revision: Revision, protocol: type) -> tuple[Part, ...]:
        """The parts of `revision` that do `protocol`."""
        return tuple(part for part in revision.parts if protocol in part.protocols)

    def binding(self, revision: Revision, protocol: type) -> Part | None:
        """The part bound to `protocol`: the only one that does it, or the one that was chosen."""
        parts = self.candidates(revision, protocol)
        chosen = self.bindings.get(f"{revision.name}.{protocol.__name__}")
        if chosen is not None:
            return next((part for part in parts if part.name == chosen), None)
        return parts[0] if len(parts) == 1 else None

    def provider(self, revision: Revision, protocol: type) -> tuple[Revision, Part] | None:
        """What is bound to `protocol`, and whose it is: that of another may be chosen by name."""
        chosen = self._borrowed(revision, protocol)
        if chosen is None:
            part = self.binding(revision, protocol)
            return None if part is None else (revision, part)
        owner = self.live.get(chosen[0])
        parts = () if owner is None else owner.parts
        found = next((part for part in parts if part.name == chosen[1]), None)
        return None if owner is None or found is None else (owner, found)

    def _borrowed(self, revision: Revision, protocol: type) -> tuple[str, str] | None:
        """The component and the class that were chosen for a Protocol, if not its own."""
        chosen = self.bindings.get(f"{revision.name}.{protocol.__name__}", "")
        owner, dot, name = chosen.partition(".")
        return (owner, name) if dot and owner != revision.name else None

    def borrowing(self, owner: str) -> Iterator[tuple[Revision, str, Slot, str]]:
        """Who uses adapters of a component: whose code, where in it, for what, and which."""
        for revision in self.live.values() if self.bindings else ():
            for user, slot in _slots(revision):
                chosen = self._borrowed(revision, slot.protocol)
                if chosen is not None and chosen[0] == owner:
                    yield revision, user, slot, chosen[1]

    def produced(self) -> frozenset[str]:
        """The names of all events that live components are known to produce."""
        names: set[str] = set()
        for revision in self.live.values():
            names |= revision.emits
            if any(listener.schedule is not None for listener in revision.listeners):
                names.add(FIRED)
            for model in revision.models:
                names |= model.events
        return frozenset(names)

    def uses(self, revision: Revision) -> Iterator[Use]:
        """What the code of `revision` goes by of other components, as far as that is written."""
        for model in revision.models:
            for one in model.relations.values():
                if not one.crosses:
                    continue
                ends = one.by is not None and one.on_delete in {"cascade", "clear"}
                yield Use(
                    where=f"{model.key}.{one.name} relates to {one.target}",
                    owner=one.component,
                    kind="models",
                    what=one.target.partition(".")[2],
                    rights=("write",) if ends else ("read", "write"),
                )
            for port in model.ports.values():
                for name in (*port.consumes, *sorted(port.awaits)):
                    yield from self._hearing(revision, f"{model.key}.{port.name}", name)
                yield from self._telling(revision, f"{model.key}.{port.name}", port.produces)
            for command in model.commands.values():
                where = f"{model.key}.{command.name}"
                yield from self._telling(revision, where, command.produces)
            component, dot, name = (model.store or "").partition(".")
            if dot and component != revision.name:
                yield Use(
                    where=f"{model.key} is kept in {model.store}",
                    owner=component,
                    kind="datasources",
                    what=name,
                    rights=("write",),
                )
        for listener in revision.listeners:
            for name in listener.patterns:
                yield from self._hearing(revision, f"{revision.name}.{listener.name}", name)

    def _hearing(self, revision: Revision, where: str, name: str) -> Iterator[Use]:
        """Of whom it hears an event, if nobody but one other component produces that."""
        owners = () if is_glob(name) else self._producers.get(name, ())
        if len(owners) == 1 and revision.name not in owners:
            yield Use(where=f"{where} hears {name!r}", owner=owners[0], kind="events", what=name)

    def _telling(self, revision: Revision, where: str, name: str | None) -> Iterator[Use]:
        """Whose events a port or command would tell; a noun may be that of several models."""
        owners = self.access.told.get(name or "", frozenset())
        if revision.name in {
            spec.component for spec in revision.models if name and spec.noun == name.split(".")[0]
        }:
            return
        for owner in sorted(owners - {revision.name}):
            yield Use(
                where=f"{where} produces {name!r}",
                owner=owner,
                kind="events",
                what=name or "",
                rights=("write",),
            )

    @cached_property
    def _producers(self) -> Mapping[str, tuple[str, ...]]:
        """The live components that are known to produce an event."""
        found: dict[str, set[str]] = {}
        for revision in self.live.values():
            names = set(revision.emits).union(*(spec.events for spec in revision.models))
            for name in names:
                found.setdefault(name, set()).add(revision.name)
        return {name: tuple(sorted(components)) for name, components in found.items()}

    def denied(self, revision: Revision) -> Iterator[tuple[Use, str]]:
        """What `revision` goes by of live components and may not, with the reason and the fix."""
        if not self.is_closed:
            return
        for use in self.uses(revision):
            missing = [
                self.access.missing(revision.label, use.owner, use.kind, use.what, right)
                for right in use.rights
            ]
            if None not in missing:
                reason, hint = missing[0] or ("", "")
                yield use, f"{reason}: {hint}"

    def problems(self, name: str) -> list[str]:
        """What keeps the live revision of component `name` from serving, with the likely fix."""
        revision = self.live[name]
        found = list(self._endpoint_problems(revision))
        found += self._binding_problems(revision)
        found += self._event_problems(revision)
        found += self._cycle_problems(revision)
        found += self._relation_problems(revision)
        found += self._grant_problems(revision)
        for user, where, slot, _ in self.borrowing(name):
            found += self._lending_problems(user, where, slot)
        return list(dict.fromkeys(found))

    def _grant_problems(self, revision: Revision) -> Iterator[str]:
        """What it asks for and may not reach, and what it reaches for without having asked."""
        lacking: set[tuple[str, str]] = set()
        for grant, fix in self.access.unmet(revision.name):
            lacking.add((grant.owner, grant.what))
            yield f"it asks for {grant}, and nobody granted it: {fix}"
        for use, reason in self.denied(revision):
            if (use.owner, use.what) not in lacking:
                yield f"{use.where}: {reason}"

    def warnings(self) -> list[str]:
        """What looks wrong without keeping anything from serving."""
        produced = self.produced()
        return [
            *(
                f"{use.where}: {reason}"
                for revision in self.live.values()
                for use, reason in self.denied(revision)
            ),
            *self._unheard(produced),
        ]

    def _unheard(self, produced: Collection[str]) -> list[str]:
        return [
            f"{model.key}.{port.name} consumes {pattern!r}, which nobody produces yet"
            for revision in self.live.values()
            for model in revision.models
            for port in model.ports.values()
            for pattern in port.consumes
            if pattern not in produced
            and not (is_glob(pattern) and any(matches(pattern, known) for known in produced))
        ]

    def _endpoint_problems(self, revision: Revision) -> Iterator[str]:
        for other in self.live.values():
            for theirs in other.models:
                for ours in revision.models:
                    if ours is theirs or ours.endpoint is None or ours.endpoint != theirs.endpoint:
                        continue
                    if other is revision and ours.name > theirs.name:
                        continue
                    yield (
                        f"endpoint {ours.endpoint!r} of {ours.key} is also that of {theirs.key}: "
                        "give one of them another"
                    )

    def _binding_problems(self, revision: Revision) -> Iterator[str]:
        seen: set[tuple[str, type]] = set()
        for user, slot in _slots(revision):
            if (user, slot.protocol) in seen:
                continue
            seen.add((user, slot.protocol))
            yield from self._slot_problems(revision, user, slot)
        for part in revision.parts:
            chain = self._service_cycle(revision, part, ())
            if chain is not None and chain[0] == min(chain):
                yield f"services need each other in a circle: {' -> '.join((*chain, chain[0]))}"

    def _slot_problems(self, revision: Revision, user: str, slot: Slot) -> Iterator[str]:
        protocol = slot.protocol.__name__
        if self._borrowed(revision, slot.protocol) is not None:
            yield from self._lending_problems(revision, user, slot)
            return
        parts = self.candidates(revision, slot.protocol)
        chosen = self.bindings.get(f"{revision.name}.{protocol}")
        if chosen is not None:
            if all(part.name != chosen for part in parts):
                doing = [part.name for part in parts]
                hint = closest(chosen, doing) or f"{', '.join(doing) or 'nothing'} does"
                yield (
                    f"{revision.name}.{protocol} is bound to {chosen!r}, which does not do it "
                    f"({hint})"
                )
        elif not parts:
            fix = f"write `class My{protocol}({protocol})` in the component"
            if revision.source.is_wasm:
                bound = f"{revision.name}.{protocol}"
                fix = f'describe one, or bind another\'s: host.bind("{bound}", "partners.Theirs")'
            yield f"{user} needs an adapter for {protocol}, and no class does it: {fix}"
        elif len(parts) > 1:
            names = ", ".join(part.name for part in parts)
            yield (
                f"{user} needs an adapter for {protocol}, and {names} all do it: choose with "
                f'`host.bind("{revision.name}.{protocol}", "{parts[0].name}")` or in aegis.toml'
            )

    def _lending_problems(self, revision: Revision, user: str, slot: Slot) -> Iterator[str]:
        """What keeps code from using the adapter of another component that was chosen for it."""
        owner, name = self._borrowed(revision, slot.protocol) or ("", "")
        where = f"{revision.name}.{slot.protocol.__name__} is bound to {owner}.{name}"
        lender = self.live.get(owner)
        if lender is None:
            yield f"{where}, and {owner} is not there: deploy it first ({user} needs it)"
            return
        part = next((part for part in lender.parts if part.name == name), None)
        if part is None:
            hint = closest(name, [one.name for one in lender.parts])
            yield f"{where}, which is no adapter of it" + _so(hint)
            return
        missing = self.access.missing(revision.label, owner, "adapters", name, "write")
        if missing is not None:
            yield f"{where}: {missing[0]}: {missing[1]}"
        for misfit in misfits(part.cls, slot.protocol):
            yield f"{where}, which does not do it: {misfit}"
        if revision.name in self._lenders(owner, {revision.name}):
            yield f"{where}, and {owner} uses adapters of {revision.name}, in a circle"

    def _lenders(self, name: str, seen: set[str]) -> set[str]:
        """The components whose adapters one uses, and those that these use."""
        revision, found = self.live.get(name), set[str]()
        for _, slot in () if revision is None else _slots(revision):
            chosen = self._borrowed(revision, slot.protocol) if revision is not None else None
            if chosen is not None and chosen[0] not in found:
                found.add(chosen[0])
                if chosen[0] not in seen:
                    found |= self._lenders(chosen[0], seen | {chosen[0]})
        return found

    def _service_cycle(
        self, revision: Revision, part: Part, path: tuple[str, ...]
    ) -> tuple[str, ...] | None:
        if part.name in path:
            return path[path.index(part.name) :]
        for slot in part.services:
            bound = self.binding(revision, slot.protocol)
            if bound is not None:
                cycle = self._service_cycle(revision, bound, (*path, part.name))
                if cycle is not None:
                    return cycle
        return None

    def _event_problems(self, revision: Revision) -> Iterator[str]:
        produced = self.produced()
        for model in revision.models:
            own = {
                model.created,
                model.updated,
                model.deleted,
                model.compensated,
                model.compensation_failed,
                *(p.produces for p in model.ports.values()),
                *(c.produces for c in model.commands.values()),
                *revision.emits,
            }
            for port in model.ports.values():
                for pattern in port.consumes:
                    if is_glob(pattern):
                        continue
                    where = f"{model.key}.{port.name} consumes {pattern!r}"
                    if pattern not in produced:
                        # What begins otherwise is no slip of the pen: it comes from outside.
                        hint = closest(pattern, [n for n in produced if _alike(n, pattern)])
                        if hint is not None:
                            yield f"{where}, which nobody produces: {hint}"
                    elif pattern not in own and port.by is None:
                        yield (
                            f"{where}, an event of another model, without `by`: name the field of "
                            f"the event's data that holds the id of the {model.name}"
                        )

    def _relation_problems(self, revision: Revision) -> Iterator[str]:
        """What is wrong with its relations, and with those that others have to its models."""
        for live in self.live.values():
            for model in live.models:
                for one in model.relations.values():
                    if revision.name in (live.name, one.component):
                        yield from self._related_problems(model, one)

    def _related_problems(self, model: ModelSpec, one: RelationSpec) -> Iterator[str]:
        where = f"{model.key}.{one.name}"
        target = self.models.get(one.target)
        yield from _sealed(where, model, one.via)
        if target is None:
            # A component that is not there may come later, and those that are need each other.
            if one.component in self.live:
                hint = closest(one.target, self.models)
                yield f"{where} relates to {one.target}, which is no model" + _so(hint)
            return
        yield from _sealed(where, target, one.by)
        if one.by is not None and place(target.cls, one.by) is None:
            hint = closest(one.by, target.fields)
            yield f"{where}: {target.key} has no field {one.by!r} that could hold an id" + _so(hint)
        clears = one.on_delete == "clear"
        if clears and one.by is not None and not clearable(target.cls, one.by):
            yield f"{where}: on_delete='clear' needs {target.key}.{one.by} to be able to be None"
        for name in viewed(one.view):
            if name not in target.fields:
                hint = closest(name, target.fields)
                yield f"{where} looks at {name!r}, which {target.key} does not have" + _so(hint)

    def _cycle_problems(self, revision: Revision) -> Iterator[str]:
        follows = {
            f"{model.key}.{port.name}": list(self._set_off(model, port))
            for live in self.live.values()
            for model in live.models
            for port in model.ports.values()
        }
        own = {f"{model.key}.{name}" for model in revision.models for name in model.ports}
        for start in own:
            cycle = _cycle(follows, start)
            if cycle is not None and start == min(own.intersection(cycle)):
                models = sorted({name.rpartition(".")[0] for name in cycle})
                if len(models) == 1:
                    cycle = tuple(name.rpartition(".")[2] for name in cycle)
                circle = " -> ".join((*cycle, cycle[0]))
                yield f"ports of {' and '.join(models)} set each other off for ever: {circle}"

    def _set_off(self, model: ModelSpec, port: PortSpec) -> Iterator[str]:
        """The ports that what `port` produces sets off, of its own record or by one it names."""
        for consumer in () if port.produces is None else self.consumers(port.produces):
            if self.live.get(consumer.revision.name) is consumer.revision and (
                consumer.model is model or consumer.port.by is not None
            ):
                yield f"{consumer.model.key}.{consumer.port.name}"


def _party(revision: Revision) -> Party:
    return Party(exports=revision.exports, asks=revision.asks, needs=revision.needs)


def _sealed(where: str, model: ModelSpec, path: str | None) -> Iterator[str]:
    """What is wrong with a relation that goes by a field of `model` which is sealed."""
    if path is not None and model.rules is not None:
        name = path.partition(".")[0]
        if name in model.rules.sealed:
            yield f"{where} goes by {model.key}.{name}, which is sealed: a relation would show it"


def _on_delete(relations: Iterable[RelationSpec]) -> OnDelete:
    """What relations by the same field say, at either end, of the end of what it names."""
    said: list[OnDelete] = [one.on_delete for one in relations if one.on_delete is not None]
    return said[0] if said else "refuse"


def _so(hint: str | None) -> str:
    return "" if hint is None else f": {hint}"


def _alike(one: str, other: str) -> bool:
    """Whether the nouns of two event names are the same but for a slip.

    Two letters in another order are one; `shipment` and `payment` are two words.
    """
    nouns = (one.partition(".")[0], other.partition(".")[0])
    return SequenceMatcher(None, *nouns).ratio() >= SLIP


def _cycle(follows: Mapping[str, list[str]], start: str) -> tuple[str, ...] | None:
    """The path from `start` back to it, if there is one."""
    paths: list[tuple[str, ...]] = [(start,)]
    seen: set[str] = set()
    while paths:
        path = paths.pop()
        for name in follows[path[-1]]:
            if name == start:
                return path
            if name not in seen:
                seen.add(name)
                paths.append((*path, name))
    return None


def _slots(revision: Revision) -> Iterator[tuple[str, Slot]]:
    """Every place of `revision` that takes an adapter or a service, with who takes it."""
    for model in revision.models:
        for port in model.ports.values():
            for call in port.calls:
                for slot in call.adapters:
                    yield f"{model.key}.{port.name}", slot
        for command in model.commands.values():
            for slot in command.call.adapters:
                yield f"{model.key}.{command.name}", slot
    for listener in revision.listeners:
        for slot in listener.call.adapters:
            yield f"{revision.name}.{listener.name}", slot
    for part in revision.parts:
        for slot in part.services:
            yield f"{revision.name}.{part.name}", slot
