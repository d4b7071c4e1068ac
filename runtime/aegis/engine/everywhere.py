"""All records as of one moment, for who asks in SQL or exports: those kept elsewhere, too."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import TypeVar

from aegis.core.record import Record
from aegis.core.registry import Registry
from aegis.engine.elsewhere import Elsewhere
from aegis.protocols import Entry, FlowSteps, Former, Sight, Store

T = TypeVar("T")

_Records = Mapping[str, Mapping[str, Record]]


class Everywhere:
    """Shows an analyst the store, and of what is kept elsewhere what was last read there.

    That is read when a question is about it, and kept until the next one: others may have changed
    it, and nothing tells of that.
    """

    def __init__(self, store: Store, elsewhere: Elsewhere) -> None:
        self._store = store
        self._elsewhere = elsewhere
        self._read: dict[str, dict[str, Record]] = {}
        self._changes = 0

    async def prepare(self, text: str, registry: Registry, *, whole: bool) -> None:
        """Read what a question may be about, everything when it is `whole`.

        Raises DatasourceError naming the one that does not answer.
        """
        places, said = self._elsewhere.places, text.lower()
        for key in [key for key in self._read if key not in places]:
            del self._read[key]
            self._changes += 1
        for key in [*places]:
            spec = registry.models.get(key)
            names = [] if spec is None else [spec.name, spec.endpoint or spec.name]
            if whole or any(name.lower() in said for name in names):
                records = {one.id: one for one in await self._elsewhere.scan(key)}
                if records != self._read.get(key):
                    self._read[key] = records
                    self._changes += 1

    async def look(self, question: Callable[[Sight], T]) -> T:
        """What `question` answers of all that is stored, as Store.look says."""
        if not self._read:
            return await self._store.look(question)
        read, changes = {key: dict(found) for key, found in self._read.items()}, self._changes
        return await self._store.look(lambda sight: question(_Sight(sight, read, changes)))


class _Sight:
    """A sight of the store with records from elsewhere (see protocols.Sight)."""

    def __init__(self, sight: Sight, records: _Records, changes: int) -> None:
        self.seq = sight.seq
        # Another number whenever either is another one.
        self.rewritten = hash((sight.rewritten, changes))
        self._sight = sight
        self._records = records

    def entries(self, after: int) -> Iterator[Entry]:
        return self._sight.entries(after)

    def record(self, model: str, id: str) -> Record | None:
        found = self._records.get(model)
        return self._sight.record(model, id) if found is None else found.get(id)

    def records(self, model: str) -> Iterator[Record]:
        found = self._records.get(model)
        return self._sight.records(model) if found is None else iter(found.values())

    def sealed(self, event: str) -> bytes | None:
        return self._sight.sealed(event)

    def formers(self, model: str) -> Iterator[Former]:
        """What is kept of a model's records as they were before its last migration."""
        return self._sight.formers(model)

    def flow(self, id: str) -> FlowSteps | None:
        return self._sight.flow(id)

    def open_flows(self) -> Sequence[str]:
        return self._sight.open_flows()

    def flows(self, after: str) -> Iterator[FlowSteps]:
        return self._sight.flows(after)


async def found(elsewhere: Elsewhere, models: Collection[str]) -> dict[str, Sequence[Record]]:
    """All records that are kept elsewhere of `models`, of all when none is named, by id."""
    keys = [key for key in elsewhere.places if not models or key in models]
    return {key: sorted(await elsewhere.scan(key), key=lambda record: record.id) for key in keys}
