"""What a change of components comes to: the registry after it, what is stored, objections."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import msgspec

from aegis.core.component import ENCODER, Revision, Source
from aegis.core.deployment import schema_problems
from aegis.core.errors import ComponentError
from aegis.core.flow import NEEDS_UNDO, OPEN_STEPS, Flow, Step
from aegis.core.grant import Grants
from aegis.core.registry import Registry
from aegis.core.rule import ruled_before
from aegis.engine.broker import subscriber
from aegis.engine.run import Located, Run
from aegis.engine.schedules import beginnings
from aegis.protocols import Cursor, Fill, Schema, Store

Locate = Callable[[Flow, Step], Located | None]


@dataclass(frozen=True, kw_only=True)
class Change:
    """What shall be different in a host: all of it happens at once, or nothing.

    `sources` are to be live, components named in `gone` no longer. `values` (configuration by
    dotted key), `bindings` and `grants` replace those that were set before; None leaves them.
    """

    sources: tuple[Source, ...] = ()
    gone: frozenset[str] = frozenset()
    values: Mapping[str, Any] | None = None
    bindings: Mapping[str, str] | None = None
    grants: Grants | None = None


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A change that can be made: `registry` is what it leads to, the rest is stored with it.

    `newer` are the models of which stored records have fields that the new code does not know,
    `migrating` those of which they get the form of the new code; with them all open flows of their
    components move to it.
    """

    registry: Registry
    schemas: Sequence[Schema]
    fills: Sequence[Fill]
    cursors: Sequence[Cursor]
    newer: frozenset[str]
    migrating: frozenset[str]

    @property
    def moving(self) -> frozenset[str]:
        """The components that move to the new code with all that is open."""
        return frozenset(key.partition(".")[0] for key in self.migrating)


@dataclass(frozen=True, kw_only=True)
class Sketch:
    """What a change comes to if its `problems`, by component, were none."""

    plan: Plan
    problems: Mapping[str, list[str]]


async def plan(
    before: Registry, revisions: Sequence[Revision], change: Change, **more: Any
) -> Plan:
    """How a change comes to be (see `sketch`). Raises ComponentError naming every problem."""
    found = await sketch(before, revisions, change, **more)
    _refuse(found.problems)
    return found.plan


async def sketch(
    before: Registry,
    revisions: Sequence[Revision],
    change: Change,
    *,
    store: Store,
    count: Callable[[str], Awaitable[int]],
    now: datetime,
    runs: Iterable[Run],
    locate: Locate,
    back: Collection[Revision] = (),
    returned: Collection[str] = (),
    away: Collection[str] = (),
) -> Sketch:
    """How `revisions`, the new ones of `change`, come to live in `before`.

    `count` counts the records of a model; those of `away` are kept elsewhere. Revisions in `back`
    were live before; models that are `returned` have another form since then.
    """
    registry = before
    if change.bindings is not None:
        registry = replace(registry, bindings=dict(change.bindings))
    if change.grants is not None:
        registry = replace(registry, grants=change.grants)
    for name in sorted(change.gone):
        registry = registry.without(name)
    for revision in revisions:
        registry = registry.with_component(revision)
    new = {revision.name for revision in revisions}
    problems = {
        name: registry.problems(name)
        for name in sorted(new | rebound(before, registry))
        if name in registry.live
    }
    for name in sorted(change.gone):
        problems[name] = [
            f"{user.name} uses its adapter {part} as {slot.protocol.__name__}: undeploy "
            f"{user.name} first, or bind another"
            for user, _, slot, part in registry.borrowing(name)
        ]
    schemas = _Schemas(store, count, returned, away)
    stranding = _Stranding(runs, locate)
    for revision in revisions:
        unfit = await schemas.take(revision, is_back=revision in back)
        moves = any(key in schemas.migrating for key in revision.schemas)
        problems[revision.name] += stranding.problems(revision, moves=moves)
        problems[revision.name] += unfit
        problems[revision.name] += _withdrawn(before, registry, revision, new)
    drawn = Plan(
        registry=registry,
        schemas=schemas.changed,
        fills=schemas.fills,
        cursors=[
            cursor
            for revision in revisions
            for cursor in (
                *await _cursors(revision, store),
                *await beginnings(revision, before.live.get(revision.name), store, now),
            )
        ],
        newer=frozenset(schemas.newer),
        migrating=frozenset(schemas.migrating),
    )
    return Sketch(plan=drawn, problems={name: found for name, found in problems.items() if found})


def _withdrawn(
    before: Registry, after: Registry, revision: Revision, new: Collection[str]
) -> Iterator[str]:
    """What `revision` exports no longer and others that stay go by."""
    if revision.name not in before.live:
        return
    for user in after.live.values():
        if user.name in new or user not in before.live.values():
            continue
        denied = {(use.where, use.what) for use, _ in before.denied(user)}
        for use, reason in after.denied(user):
            if use.owner == revision.name and (use.where, use.what) not in denied:
                yield f"{user.name} goes by what it exports no longer: {use.where}, and {reason}"


def refuse_stranding(
    revisions: Iterable[Revision], planned: Plan, runs: Iterable[Run], locate: Locate
) -> None:
    """Look at the open flows once more. Raises ComponentError naming what they would miss."""
    stranding = _Stranding(runs, locate)
    found = {
        revision.name: stranding.problems(revision, moves=revision.name in planned.moving)
        for revision in revisions
    }
    _refuse({name: problems for name, problems in found.items() if problems})


def refuse_leaving(live: Revision, runs: Iterable[Run], locate: Locate) -> None:
    """Raise ComponentError naming what open flows of others would miss with only `live` there."""
    _refuse(
        {live.name: found}
        if (found := _Stranding(runs, locate).problems(live, moves=False))
        else {}
    )


def rebound(before: Registry, after: Registry) -> set[str]:
    """The components of which another adapter was chosen for a Protocol."""
    changed = before.bindings.items() ^ after.bindings.items()
    return {slot.split(".", 1)[0] for slot, _ in changed}


def _refuse(problems: Mapping[str, list[str]]) -> None:
    """Raise what is wrong, with all components at fault in one error."""
    if not problems:
        return
    first, *others = problems
    raise ComponentError(
        first,
        [
            *problems[first],
            *(f"component {name!r}: {problem}" for name in others for problem in problems[name]),
        ],
    )


async def _cursors(revision: Revision, store: Store) -> list[Cursor]:
    """Where the listeners that are new with `revision` begin: now."""
    names = [subscriber(revision, listener) for listener in revision.listeners]
    new = [name for name in names if await store.cursor(name) is None]
    return [Cursor(name, store.last_seq()) for name in new]


class _Schemas:
    """Compares the models of revisions with the records that are stored of them."""

    def __init__(
        self,
        store: Store,
        count: Callable[[str], Awaitable[int]],
        returned: Collection[str],
        away: Collection[str],
    ) -> None:
        self.migrating: set[str] = set()
        self._count = count
        self._returned = returned
        self._away = away
        self.changed: list[Schema] = []
        self.fills: list[Fill] = []
        self.newer: set[str] = set()
        self._store = store

    async def take(self, revision: Revision, *, is_back: bool) -> list[str]:
        """Note what is stored with `revision`; what keeps its records from fitting."""
        problems: list[str] = []
        for key, schema in revision.schemas.items():
            stored = await self._store.schema(key)
            if stored == schema:
                continue
            records = await self._count(key)
            if stored is not None:
                if records and (found := _resealed(key, stored, schema, records)):
                    problems += found
                    continue
                if records and key in self._returned:
                    self.migrating.add(key)
                    problems += [*self._misplaced(key), *_reheld(key, stored, schema)]
                    self.changed.append(Schema(key, schema))
                    continue
                if is_back and records and not schema_problems(key, schema, stored, records):
                    # Older code again: what it does not know stays in the records, unread.
                    self.newer.add(key)
                    self.changed += _ruled(key, stored, schema)
                    continue
                found = schema_problems(key, stored, schema, records)
                if found and revision.by_name[key.split(".", 1)[1]].migrate is not None:
                    self.migrating.add(key)
                    problems += [*self._misplaced(key), *_reheld(key, stored, schema)]
                else:
                    problems += found
                if records and not found:
                    self.fills += _fills(revision, key, stored)
            self.changed.append(Schema(key, schema))
        return problems

    def _misplaced(self, key: str) -> list[str]:
        """What keeps a model from being migrated that is kept elsewhere."""
        if key not in self._away:
            return []
        return [f"{key} is kept elsewhere than in the host's store: it cannot be migrated yet"]


def _resealed(key: str, stored: bytes, schema: bytes, records: int) -> list[str]:
    """Which fields of stored records are sealed and should not be, or the other way round."""
    before, now = (set(ruled_before(doc, "sealed")) for doc in (stored, schema))
    there = msgspec.json.decode(stored)["schema"].get("properties", {})
    name = key.split(".", 1)[0]
    count = f"{records} record{'s' if records != 1 else ''}"
    ways = f"give the field another name, or drop the data with `%aegis reset {name}`"
    return [
        f"{key}.{field} is sealed in {count}, and their past: keep its marker, {ways}"
        for field in sorted(before - now)
    ] + [
        f"{key}.{field} stands open in {count}, and in their past, which a marker does not seal "
        f"any more: {ways}"
        for field in sorted(now - before)
        if field in there
    ]


def _reheld(key: str, stored: bytes, schema: bytes) -> list[str]:
    """Which fields become unique, or another thing that is unique, while records are migrated."""
    before, now = (set(ruled_before(doc, "unique")) for doc in (stored, schema))
    types = [msgspec.json.decode(doc)["schema"].get("properties", {}) for doc in (stored, schema)]
    other = {name for name in before & now if types[0].get(name) != types[1].get(name)}
    return [
        f"{key}.{name} is unique, and what is unique cannot change in a migration yet: migrate "
        "first, and change it with another deploy"
        for name in sorted((before ^ now) | other)
    ]


def _ruled(key: str, stored: bytes, schema: bytes) -> list[Schema]:
    """The stored schema with the rules of code that came back, when these are others."""
    known, new = msgspec.json.decode(stored), msgspec.json.decode(schema).get("rules", {})
    if known.get("rules", {}) == new:
        return []
    doc = {**known, "rules": new}
    return [Schema(key, msgspec.json.encode(doc, order="deterministic"))]


def _fills(revision: Revision, key: str, stored: bytes) -> list[Fill]:
    """The defaults of the fields that `revision` adds to the stored records of a model."""
    spec = revision.by_name[key.split(".", 1)[1]]
    known = msgspec.json.decode(stored)["schema"].get("properties", {})
    fills = []
    sealed = () if spec.rules is None else spec.rules.sealed
    for item in msgspec.structs.fields(spec.shape):
        # A value that is sealed is another one in each record: until it is set it is the default.
        if item.name in known or item.name in sealed:
            continue
        if item.default is not msgspec.NODEFAULT:
            fills.append(Fill(key, item.name, ENCODER.encode(item.default)))
        elif item.default_factory is not msgspec.NODEFAULT:
            fills.append(Fill(key, item.name, ENCODER.encode(item.default_factory())))
    return fills


class _Stranding:
    """Finds ports and undos that new code drops although open flows wait for or may need them."""

    def __init__(self, runs: Iterable[Run], locate: Locate) -> None:
        self._runs = list(runs)
        self._locate = locate

    def problems(self, revision: Revision, *, moves: bool) -> list[str]:
        """What `revision` drops, with the number of flows. With `moves` it gets all of them."""
        ways = (
            "keep it, or say what it is called now (`was=`): they move with their records"
            if moves
            else "keep it, say what it is called now (`was=`), or give the component another "
            "version number so that they end on the old one"
        )
        lost: dict[str, int] = {}
        for run in self._runs:
            for step in run.steps.values():
                gone = self._lost(revision, run.flow, step, moves=moves)
                if gone is not None:
                    lost[gone] = lost.get(gone, 0) + 1
        return [
            gone.format(f"{count} open flow{'s' if count != 1 else ''} wait") + f": {ways}"
            for gone, count in lost.items()
        ]

    def _lost(self, revision: Revision, flow: Flow, step: Step, *, moves: bool) -> str | None:
        """What a step would miss in `revision`, with a gap for the number of flows."""
        component, _, name = step.model.partition(".")
        if component != revision.name:
            return None
        if flow.component == component and flow.version != revision.version and not moves:
            return None
        model = revision.by_name.get(name)
        port = None if model is None else model.port(step.port)
        if step.state in OPEN_STEPS and port is None:
            return f"port {step.model}.{step.port} is gone, and {{}} for it"
        answered = port is not None and port.answer is not None
        if step.wait is not None and step.state in OPEN_STEPS and not answered:
            return f"the answer of {step.model}.{step.port} is gone, and {{}} for one"
        old = self._locate(flow, step)
        # Of code that is not loaded nobody knows.
        undo = moves and port is None if old is None else old.port.undo is not None
        if step.state in NEEDS_UNDO and undo and (port is None or port.undo is None):
            return f"the undo of {step.model}.{step.port} is gone, and {{}} to undo it"
        return None
