"""The datasource that forgets: plain dicts."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence

from aegis.core.matching import counted, gathered
from aegis.core.query import Condition, Index, Page, Query
from aegis.core.record import Record
from aegis.protocols import Datasource, Held, Write, Written


class MemoryDatasource(Datasource):
    """Keeps records as long as the process lives (see protocols.Datasource)."""

    def __init__(self) -> None:
        self._records: dict[str, dict[str, tuple[Record, str]]] = {}

    async def open(self) -> None:
        """Nothing to do."""

    async def close(self) -> None:
        """What is kept stays: the process is not over."""

    async def get(self, model: str, id: str) -> Record | None:
        """The record as last written."""
        found = self._records.get(model, {}).get(id)
        return None if found is None else found[0]

    async def list(self, model: str, query: Query) -> Page:
        """The page that `query` means."""
        return gathered(self._of(model), query)

    async def count(self, model: str, where: tuple[Condition, ...] = ()) -> int:
        """How many records there are for which all of `where` holds."""
        return counted(self._of(model), where) if where else len(self._records.get(model, {}))

    async def scan(self, model: str) -> AsyncIterator[Record]:
        """All records of a model."""
        for record in self._of(model):
            yield record

    async def index(self, component: str, indexes: Mapping[str, Sequence[Index]]) -> None:
        """Nothing to do: every query looks at all records of its model."""

    async def write(self, writes: Sequence[Write]) -> Sequence[Written]:
        """Do each of `writes`."""
        return [self._write(write) for write in writes]

    async def clear(self, component: str) -> int:
        """Drop the records of a component."""
        models = [model for model in self._records if model.startswith(f"{component}.")]
        return sum(len(self._records.pop(model)) for model in models)

    def _of(self, model: str) -> Sequence[Record]:
        return [record for record, _ in self._records.get(model, {}).values()]

    def _write(self, write: Write) -> Written:
        records = self._records.setdefault(write.model, {})
        record, key = records.get(write.id, (None, ""))
        if (0 if record is None else record.revision) == write.expected:
            if write.record is not None:
                records[write.id] = (write.record, write.key)
            elif record is not None:
                del records[write.id]
            return None
        if key == write.key or (write.record is record is None):
            return None
        return Held(record, key)
