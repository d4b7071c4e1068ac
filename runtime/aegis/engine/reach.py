"""Where the code of a unit of work can reach: the records that its own relate to."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import cmp_to_key
from typing import TYPE_CHECKING, Any

import msgspec

from aegis.core.clause import Clause
from aegis.core.component import ENCODER, ModelSpec
from aegis.core.errors import (
    BadRequestError,
    ClosedError,
    ConflictError,
    GrantError,
    InvalidError,
    NotFoundError,
)
from aegis.core.grant import Right
from aegis.core.matching import compare, data_of, holds, position
from aegis.core.query import MAX_LIMIT, Condition, Every, Query, Some, Term, read_cursor
from aegis.core.reading import Reading
from aegis.core.record import ID, Record
from aegis.core.relation import Pointer, RelationSpec, ids, naming
from aegis.engine.recorder import Answered, answered
from aegis.engine.work import Change, Work, checked, encode

if TYPE_CHECKING:
    from aegis.engine.engine import Engine
    from aegis.engine.powers import Powers

NOTHING = Some(())  # holds for no record
RELATION = "relation"  # where a recorded call has its Protocol
MOST = 10_000  # records that one relation brings at a time
FEW = 20  # ids that are looked for one by one: a cache may have them
AT_ONCE = 500  # ids of one query


class Reach:
    """Follows relations, in one graph of components."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    @property
    def powers(self) -> Powers:
        """What sandboxes may do of the host."""
        return self._engine.powers

    def target(self, relation: RelationSpec, right: Right = "read", user: str = "") -> ModelSpec:
        """The live model that is related to, to be read or written by `user`, a label.

        Raises ClosedError when it is not loaded, GrantError.
        """
        spec = self._engine.registry.models.get(relation.target)
        if spec is None:
            raise ClosedError(
                f"{relation.target} is not loaded, and the relation {relation.name!r} leads there",
                hint=f"deploy component {relation.component!r}",
            )
        if relation.crosses:
            self._check(user or relation.user, spec, right)
        return spec

    def _check(self, user: str, spec: ModelSpec, right: Right) -> None:
        """Raise GrantError unless code may read or write a model of another component.

        What was taken from it counts at once, also for calls that began before.
        """
        registry, now = self._engine.registry, self._engine.now
        if not registry.is_closed:
            return
        registry.access.check(user, spec.component, "models", spec.name, right)
        if now is not registry and spec.component in now.live:
            now.access.check(user, spec.component, "models", spec.name, right)

    def telling(self, user: str, type: str) -> GrantError | None:
        """What to raise when code would tell an event of another component's models."""
        registry = self._engine.now
        return registry.access.telling(user, type) if registry.is_closed else None

    # Inside of a unit of work

    async def one(self, work: Work, relation: RelationSpec, record: Any) -> Any:
        """The related record; None where there may be none. Raises NotFoundError."""
        found = await self.many(work, relation, record, (), {}, None, 2)
        if len(found) > 1:
            raise InvalidError(
                f"{relation.name} of {record.id!r} is one {relation.target}, and there are more",
                hint=f"several have it as {relation.by!r}: say many=True, or mend the data",
            )
        if not found and not relation.optional:
            raise NotFoundError(
                f"there is no {relation.target}, the {relation.name} of {record.id!r}"
            )
        return found[0] if found else None

    async def many(
        self,
        work: Work,
        relation: RelationSpec,
        record: Any,
        clauses: Sequence[Clause],
        filters: Mapping[str, Any],
        sort: str | None,
        limit: int,
    ) -> list[Any]:
        """The related records, those that `work` creates among them, as the author views them."""
        spec = self.target(relation, user=work.label)
        where = (self.condition(relation, spec, record), *_asked(spec, clauses, filters))
        terms = spec.columns.sort(sort)
        limit = _limited(limit)
        named = [] if relation.via is None or sort is not None else ids(record, relation.via)
        # Those that are named come in that order, so which are the first is known when all are.
        query = Query(where=where, sort=terms, limit=min(len(named), MOST) if named else limit)

        async def ask() -> list[Record]:
            if clauses or filters or not 0 < len(named) <= FEW:
                return await self._all(spec, query)
            return await self._named(spec, named)

        said = await self._told(work, relation, query, ask)
        found = [one if isinstance(one, Record) else msgspec.convert(one, Record) for one in said]
        found += self._made(work, spec, where)
        if named:
            order = {id: n for n, id in enumerate(named)}
            found.sort(key=lambda one: order[one.id])
        elif sort is not None:
            places = {one.id: position(one, data_of(one), terms) for one in found}

            def before(one: Record, other: Record) -> int:
                return compare(places[one.id], places[other.id], terms)

            found.sort(key=cmp_to_key(before))
        return [_viewed(spec, relation, one) for one in found[:limit]]

    async def count(
        self,
        work: Work,
        relation: RelationSpec,
        record: Any,
        clauses: Sequence[Clause],
        filters: Mapping[str, Any],
    ) -> int:
        """How many there are, those that `work` creates among them."""
        spec = self.target(relation, user=work.label)
        where = (self.condition(relation, spec, record), *_asked(spec, clauses, filters))

        async def ask() -> int:
            return await self._engine.count(spec, where)

        stored: int = await self._told(work, relation, Query(where=where, limit=0), ask)
        return stored + len(self._made(work, spec, where))

    async def _told(
        self, work: Work, relation: RelationSpec, query: Query, ask: Callable[[], Awaitable[Any]]
    ) -> Any:
        """What `ask` answers, recorded for a replay; in one what was recorded."""
        if self._engine.script is not None:
            asked = Answered(RELATION, relation.name, [_json(query)], {}, "returned", _json(None))
            return await self._engine.script.followed(work, asked)
        found = await ask()
        answered(RELATION, relation.name, (query,), {}, found)
        return found

    def create(
        self, work: Work, relation: RelationSpec, record: Any, data: Mapping[str, Any]
    ) -> Any:
        """A new related record, which is stored with what `work` comes to.

        `data` may say its id, which is then that of no other. Raises InvalidError.
        """
        spec = self.target(relation, "write", work.label)
        given = self.filled(relation, spec, record.id, data)
        id = given.pop("id", None)
        if id is not None and (not isinstance(id, str) or ID.fullmatch(id) is None):
            raise InvalidError(f"{spec.name}: {str(id)[:80]!r} is no id", field="id")
        change = self.made(spec, checked(spec, spec.create_decoder, given), id)
        if change.key in work.changes:
            raise ConflictError(f"{spec.name} {id!r} exists already")
        work.changes[change.key] = change
        return _viewed(spec, relation, _record(change))

    # For whoever asks from outside

    def filled(
        self, relation: RelationSpec, spec: ModelSpec, id: str, data: Mapping[str, Any]
    ) -> dict[str, Any]:
        """What creates a record that the record `id` relates to: `data` with that id filled in.

        Values may be JSON still. Raises InvalidError where another id is given.
        """
        if relation.by is None:
            if relation.via is None:
                said = f"the relation {relation.name!r} is a question: create no record"
                raise InvalidError(said)
            return dict(data)
        if "." in relation.by:
            raise InvalidError(
                f"{relation.by!r} of a {spec.name} is in a list: create it with that list"
            )
        given = data.get(relation.by, id)
        if isinstance(given, msgspec.Raw):
            given = msgspec.json.decode(given)
        if given != id:
            raise InvalidError(f"{spec.name}: {relation.by!r} is filled in", field=relation.by)
        return {**data, relation.by: id}

    def made(self, spec: ModelSpec, fields: msgspec.Struct, id: str | None = None) -> Change:
        """The creation of a record of `fields` (a `spec.create`); without `id` with a new one."""
        script = self._engine.script
        known = None if script is None else script.id_of(spec.key)
        id = id or known or self._engine.id()
        value = spec.cls(id=id, **{n: getattr(fields, n) for n in fields.__struct_fields__})
        if spec.rules is not None:
            value = spec.rules.settled(None, value)
        _, value = encode(spec, value, dict.fromkeys(spec.fields))
        return Change(spec=spec, id=id, base=None, before=None, after=value, event=spec.created)

    def linked(self, relation: RelationSpec, record: Any, id: str) -> Any:
        """`record` naming a new one, too; None where it is the other side that names."""
        if relation.via is None:
            return None
        if "." in relation.via:
            raise InvalidError(
                f"{relation.via!r} is in a list: create {relation.target}, then change it"
            )
        named = getattr(record, relation.via)
        new = type(named)([*named, id]) if relation.many else id
        return msgspec.structs.replace(record, **{relation.via: new})

    def condition(self, relation: RelationSpec, spec: ModelSpec, record: Any) -> Condition:
        """Holds for the records of `spec` that `record` relates to."""
        if relation.via is not None:
            named = ids(record, relation.via)
            return Term("id", tuple(named), op="in") if named else NOTHING
        if relation.by is not None:
            return naming(spec.columns, relation.by, (record.id,))
        if relation.where is None:
            raise InvalidError(f"the relation {relation.name!r} says nothing")
        clause = relation.where(record)
        return Every(Reading(spec.columns).where((clause,), {}))

    async def each(
        self, relation: RelationSpec, records: Sequence[Any]
    ) -> tuple[ModelSpec, list[list[Record]]]:
        """The related records of each of `records`, by one query for all of them.

        One for each 500 ids, to be exact. Raises BadRequestError when they are too many.
        """
        spec = self.target(relation)
        found: list[list[Record]] = [[] for _ in records]
        if relation.via is not None:
            pointed = [ids(record, relation.via) for record in records]
            wanted = list(dict.fromkeys(id for named in pointed for id in named))
            known: dict[str, Record] = {}
            for some in _cut(wanted):
                where = (Term("id", tuple(some), op="in"),)
                known.update((one.id, one) for one in await self._bounded(relation, spec, where))
            return spec, [[known[id] for id in named if id in known] for named in pointed]
        if relation.by is not None:
            places = {record.id: n for n, record in enumerate(records)}
            for some in _cut(list(places)):
                where_by = (naming(spec.columns, relation.by, some),)
                for one in await self._bounded(relation, spec, where_by):
                    for id in ids(msgspec.json.decode(one.doc), relation.by):
                        if id in places:
                            found[places[id]].append(one)
            return spec, found
        asked = [self.condition(relation, spec, record) for record in records]
        for start in range(0, len(asked), AT_ONCE):
            some_asked = asked[start : start + AT_ONCE]
            for one in await self._bounded(relation, spec, (Some(tuple(some_asked)),)):
                data = data_of(one)
                for n, condition in enumerate(some_asked, start):
                    if holds(condition, data):
                        found[n].append(one)
        return spec, found

    def pointers(self, spec: ModelSpec) -> tuple[Pointer, ...]:
        """The fields of live models that name records of `spec`."""
        return self._engine.registry.pointers(spec.key)

    async def pointing(self, pointer: Pointer, id: str, most: int) -> list[Record]:
        """The records of which a field names the record `id`, up to so many."""
        where = (naming(pointer.model.columns, pointer.path, (id,)),)
        return await self._all(pointer.model, Query(where=where, limit=most))

    async def _named(self, spec: ModelSpec, named: Sequence[str]) -> list[Record]:
        """Those of the records that are there."""
        found: list[Record] = []
        for id in named:
            try:
                found.append(await self._engine.fetch(spec, id))
            except NotFoundError:
                continue
        return found

    async def _bounded(
        self, relation: RelationSpec, spec: ModelSpec, where: tuple[Condition, ...]
    ) -> list[Record]:
        found = await self._all(spec, Query(where=where, limit=MOST + 1))
        if len(found) > MOST:
            raise BadRequestError(
                f"{relation.name} would bring more than {MOST:,} records",
                hint=f"ask {spec.name} for them, page by page",
                parameter="expand",
            )
        return found

    async def _all(self, spec: ModelSpec, query: Query) -> list[Record]:
        """What a query finds, in pages as a store gives them."""
        found: list[Record] = []
        if NOTHING in query.where:
            return found
        left = query.limit
        while left > 0:
            page = await self._engine.list(
                spec, msgspec.structs.replace(query, limit=min(left, MAX_LIMIT))
            )
            found += page.items
            left -= len(page.items)
            if page.next is None:
                break
            query = msgspec.structs.replace(query, after=read_cursor(page.next, query.sort))
        return found

    def _made(self, work: Work, spec: ModelSpec, where: Sequence[Condition]) -> list[Record]:
        """What `work` creates of that: nobody but itself sees it yet."""
        made = [_record(one) for one in work.changes.values() if one.spec.key == spec.key]
        return [one for one in made if all(holds(part, data_of(one)) for part in where)]


def _json(value: Any) -> msgspec.Raw:
    return msgspec.Raw(ENCODER.encode(value))


def _record(change: Change) -> Record:
    """A record that is being created, as a query sees it."""
    doc, _ = encode(change.spec, change.after, dict.fromkeys(change.spec.fields))
    if change.spec.sealing is not None:
        doc = change.spec.sealing.sealed(change.id, doc)
    return Record(model=change.spec.key, id=change.id, revision=1, created="", updated="", doc=doc)


def _asked(
    spec: ModelSpec, clauses: Sequence[Clause], filters: Mapping[str, Any]
) -> tuple[Condition, ...]:
    return Reading(spec.columns).where(clauses, filters)


def _limited(limit: int) -> int:
    if not 0 <= limit <= MOST:
        raise BadRequestError(f"limit is 0 to {MOST:,}, not {limit}", parameter="limit")
    return limit


def _viewed(spec: ModelSpec, relation: RelationSpec, record: Record) -> Any:
    """A record as the author of the relation wants to see it."""
    value = spec.value(record)
    view = relation.view
    if view is None or getattr(view, "_is_protocol", False):
        return value
    try:
        return msgspec.convert(value, view, from_attributes=True)
    except msgspec.ValidationError as error:
        raise InvalidError(
            f"{relation.target} cannot be seen as {view.__name__}: {spec.said(error)}",
            hint="its fields have other types there",
        ) from error


def _cut(wanted: Sequence[str]) -> list[Sequence[str]]:
    return [wanted[n : n + AT_ONCE] for n in range(0, len(wanted), AT_ONCE)]
