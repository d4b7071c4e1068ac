"""What records name of others: it must be there, and its end is refused, or taken further."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import msgspec

from aegis.core.errors import ConflictError
from aegis.core.record import Record
from aegis.core.registry import Registry
from aegis.core.relation import Pointer, ids
from aegis.engine.work import Change, Key, Work

if TYPE_CHECKING:
    from aegis.engine.reach import Reach

MOST = 1000  # records that go, or forget, with another


class Reference(msgspec.Struct, frozen=True):
    """A record that a change begins to name: in which `field`, of what (`where`, for people)."""

    key: Key
    field: str
    where: str


class References:
    """Keeps who names a record and who deletes it from passing each other by.

    A commit that names others waits while one of them is being deleted; a deletion waits for the
    commits under way that name its record, and looks for those that do after that.
    """

    def __init__(self) -> None:
        self._leaving: dict[Key, list[asyncio.Future[None]]] = {}
        self._naming: dict[Key, set[asyncio.Future[Any]]] = {}

    def named(self, registry: Registry, work: Work) -> Sequence[Reference]:
        """What the changes of `work` begin to name, of models that are loaded.

        An import is taken as it comes: what it names may come later.
        """
        found: list[Reference] = []
        for change in work.changes.values():
            if not change.spec.points or change.after is None or change.was is not None:
                continue
            for relation in change.spec.points:
                path = relation.via or ""
                if relation.on_delete == "ignore" or relation.target not in registry.models:
                    continue
                before = ids(change.before, path)
                found += [
                    Reference(
                        (relation.target, id),
                        path,
                        f"{change.spec.name}.{path}",
                    )
                    for id in ids(change.after, path)
                    if id not in before
                ]
        return found

    def line(self, named: Iterable[Reference]) -> list[asyncio.Future[None]] | None:
        """Where to wait for the end of a deletion, None when nothing of it is being deleted."""
        if not self._leaving:
            return None
        return next((self._leaving[one.key] for one in named if one.key in self._leaving), None)

    def follow(self, named: Iterable[Reference], commit: asyncio.Future[Any]) -> None:
        """Know that a commit that names records is under way."""
        for key in {one.key for one in named}:
            self._naming.setdefault(key, set()).add(commit)

            def ended(_: asyncio.Future[Any], key: Key = key) -> None:
                under_way = self._naming[key]
                under_way.discard(commit)
                if not under_way:
                    del self._naming[key]

            commit.add_done_callback(ended)

    @asynccontextmanager
    async def leaving(self, reach: Reach, work: Work) -> AsyncGenerator[None]:
        """While the records that `work` deletes go, nobody begins to name them.

        What becomes of those that do already is added to `work`. Raises ConflictError.
        """
        held: list[Key] = []
        try:
            ends = [change for change in work.changes.values() if change.after is None]
            while ends:
                change = ends.pop()
                pointers = reach.pointers(change.spec)
                if not pointers:
                    continue
                await self._hold(change.key, held)
                for pointer in pointers:
                    for record in await reach.pointing(pointer, change.id, MOST + 1):
                        ends += _ended(work, pointer, change, record)
                        if len(work.changes) > MOST:
                            raise ConflictError(
                                f"more than {MOST:,} records would go with {change.spec.name} "
                                f"{change.id!r}",
                                hint="delete them first, some at a time",
                            )
            yield
        finally:
            for key in held:
                for waiter in self._leaving.pop(key):
                    if not waiter.done():
                        waiter.set_result(None)

    async def _hold(self, key: Key, held: list[Key]) -> None:
        """Let nobody begin to name a record, and wait for those who are about to."""
        if key in self._leaving:
            raise ConflictError(f"{key[0]} {key[1]!r} is being deleted")
        self._leaving[key] = []
        held.append(key)
        while under_way := self._naming.get(key):
            await asyncio.wait(set(under_way))


def _ended(work: Work, pointer: Pointer, gone: Change, record: Record) -> list[Change]:
    """Add to `work` what the end of a record means for one that names it; what ends thereby."""
    spec, key = pointer.model, (pointer.model.key, record.id)
    known = work.changes.get(key)
    if pointer.on_delete == "refuse" and (known is None or known.after is not None):
        raise ConflictError(
            f"{gone.spec.name} {gone.id!r} cannot be deleted: {spec.name} {record.id!r} names it "
            f"as its {pointer.path}",
            hint="delete that first, or let the relation say on_delete=",
            model=spec.key,
            record=record.id,
        )
    if pointer.on_delete == "ignore" or (known is not None and known.after is None):
        return []
    value = spec.value(record)
    after = None
    if pointer.on_delete == "clear":
        after = _without(known.after if known is not None else value, pointer.path, gone.id)
    change = Change(
        spec=spec,
        id=record.id,
        base=record,
        before=value,
        after=after,
        event=spec.deleted if after is None else spec.updated,
        expected=record.revision,
    )
    work.changes[key] = change
    return [change] if after is None else []


def _without(value: Any, path: str, id: str) -> Any:
    """A value that names a record no more."""
    named = getattr(value, path)
    left = None if isinstance(named, str) else type(named)(one for one in named if one != id)
    return msgspec.structs.replace(value, **{path: left})
