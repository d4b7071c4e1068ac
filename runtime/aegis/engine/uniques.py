"""The unique fields of a host's models: each write holds its values, each deploy what is stored."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from typing import TYPE_CHECKING

import msgspec

from aegis.core.canonical import canonical
from aegis.core.component import ModelSpec, Revision
from aegis.core.errors import ComponentError, DuplicateError
from aegis.core.query import Query, read_cursor
from aegis.core.record import Record
from aegis.core.rule import Rules, ruled_before
from aegis.engine.work import Key
from aegis.protocols import Commit, Holding, Release, Store

if TYPE_CHECKING:
    from aegis.engine.ledger import Draft, Ledger

BATCH = 250  # records whose values are held in one commit

Away = Callable[[str], Awaitable[int | None]]

_FIELDS = msgspec.json.Decoder()


class Uniques:
    """Whose values are held, by model: the rules of the live code, for whichever code writes."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._rules: dict[str, Rules] = {}

    def __bool__(self) -> bool:
        return bool(self._rules)

    def follow(self, commit: Commit, key: Key, before: Record | None, after: Record | None) -> None:
        """Let `commit` hold what a record has after it, and release what it has no more."""
        rules = self._rules.get(key[0])
        if rules is None:
            return
        model, id = key
        old = {} if before is None else held(rules, before)
        new = {} if after is None else held(rules, after)
        commit.released += [
            Release(model, name, value, id) for name, value in old.items() if new.get(name) != value
        ]
        commit.held += [
            Holding(model, name, value, id) for name, value in new.items() if old.get(name) != value
        ]

    async def prepare(
        self, ledger: Ledger, revisions: Iterable[Revision], away: Away
    ) -> list[Release]:
        """Hold the values of stored records in fields that become unique with `revisions`.

        From then on every write holds its own, whatever code it comes from. What is to be released
        when the revisions are stored is returned. Raises ComponentError naming the field where two
        records have one value; then all is as it was. `away` counts the records of a model that
        are kept elsewhere.
        """
        released: list[Release] = []
        before = dict(self._rules)
        try:
            for revision in revisions:
                for spec in revision.models:
                    released += await self._prepare(ledger, revision.name, spec, away)
        except BaseException:
            self._rules = before
            raise
        return released

    def settle(self, revisions: Iterable[Revision]) -> None:
        """Go by the rules of `revisions` from now on: they are stored."""
        for spec in (spec for revision in revisions for spec in revision.models):
            if spec.rules is not None and spec.rules.unique:
                self._rules[spec.key] = spec.rules
            else:
                self._rules.pop(spec.key, None)

    async def _prepare(
        self, ledger: Ledger, component: str, spec: ModelSpec, away: Away
    ) -> list[Release]:
        known = ruled_before(await self._store.schema(spec.key), "unique")
        wanted = () if spec.rules is None else tuple(spec.rules.unique)
        gone = [Release(spec.key, name) for name in known if name not in wanted]
        new = [name for name in wanted if name not in known]
        if spec.rules is None or not new:
            return gone
        if await away(spec.key):
            raise ComponentError(
                component,
                [
                    f"{spec.key}.{name} cannot become unique: its records are kept elsewhere, "
                    f"where others write too; drop them with `%aegis reset {component}`, or give "
                    "the field another name"
                    for name in new
                ],
            )
        # What an attempt that was cut off has left.
        await self._store.commit(Commit(released=[Release(spec.key, name) for name in new]))
        self._rules[spec.key] = spec.rules

        def hold(draft: Draft, record: Record) -> None:
            draft.commit.held += [
                Holding(spec.key, name, value, record.id)
                for name, value in held(spec.rules, record).items()  # type: ignore[arg-type]
            ]

        try:
            async for records in self._stored(spec.key):
                await ledger.rewrite([(spec.key, record.id) for record in records], hold)
        except DuplicateError as error:
            raise ComponentError(component, await self._told(spec.key, spec.rules, new)) from error
        return gone

    async def _told(self, model: str, rules: Rules, names: Sequence[str]) -> list[str]:
        """What keeps fields from being unique: how many records, and two of them."""
        found: dict[str, dict[str, str]] = {name: {} for name in names}
        pairs: dict[str, tuple[str, str]] = {}
        counts = dict.fromkeys(names, 0)
        async for records in self._stored(model):
            for record in records:
                for name, value in held(rules, record).items():
                    if name not in found:
                        continue
                    first = found[name].setdefault(value, record.id)
                    if first != record.id:
                        counts[name] += 1
                        pairs.setdefault(name, (first, record.id))
        return [
            f"{model}.{name} cannot be unique: {counts[name]} stored "
            f"record{'s have' if counts[name] != 1 else ' has'} the value of another, as {one!r} "
            f"and {other!r}: change or delete them first"
            for name, (one, other) in pairs.items()
        ] or [f"{model}.{names[0]} cannot be unique: two records had one value just now"]

    async def _stored(self, model: str) -> AsyncIterator[list[Record]]:
        after = None
        while True:
            page = await self._store.list(model, Query(limit=BATCH, after=after))
            if page.items:
                yield list(page.items)
            if page.next is None:
                return
            after = read_cursor(page.next, ())


def held(rules: Rules, record: Record) -> dict[str, str]:
    """What a stored record holds: a key of the value of each unique field that has one."""
    fields = _FIELDS.decode(record.sound().doc)
    found = {}
    for name, column in rules.unique.items():
        value = fields.get(name)
        if value is None:
            continue
        if name in rules.sealed:
            found[name] = value["h"]
        else:
            found[name] = hashlib.sha256(canonical(column, value)).hexdigest()
    return found
