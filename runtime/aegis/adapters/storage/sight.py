"""What is stored as of one moment, for whoever reads much of it while others commit."""

# ruff: noqa: S608 -- values are bound; what statements are put together from are names of ours

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence

from aegis.adapters.storage import tables, values
from aegis.core.flow import OPEN_FLOWS, Flow, Step
from aegis.core.record import Record
from aegis.protocols import Entry, FlowSteps, Former

PAGE = 1000  # flows read at once

_RECORD = f"{tables.RECORDS.select} WHERE model = ? AND id = ?"
_PAGE = (
    f"SELECT {tables.FLOWS.read('f')}, {tables.STEPS.read('s')} "
    "FROM (SELECT * FROM flows WHERE id > ? ORDER BY id LIMIT ?) f "
    "LEFT JOIN steps s ON s.flow = f.id ORDER BY f.id, s.n"
)


class SqliteSight:
    """What a transaction of SQLite sees (see protocols.Sight)."""

    def __init__(self, db: sqlite3.Connection, rewritten: int) -> None:
        (seq,) = db.execute("SELECT max(seq) FROM events").fetchone()
        self.seq: int = seq or 0
        self.rewritten = rewritten
        self._db = db

    def entries(self, after: int) -> Iterator[Entry]:
        """The journal after a seq, in order."""
        sql = f"{tables.EVENTS.select} WHERE seq > ? ORDER BY seq"
        return map(values.entry, self._db.execute(sql, (after,)))

    def sealed(self, event: str) -> bytes | None:
        """What is sealed beside an event."""
        row = self._db.execute(f"{tables.SEALED.select} WHERE event = ?", (event,)).fetchone()
        return None if row is None else tables.SEALED.checked(row)[-1]

    def record(self, model: str, id: str) -> Record | None:
        """One record, None when there is none."""
        row = self._db.execute(_RECORD, (model, id)).fetchone()
        return None if row is None else values.record(row)

    def records(self, model: str) -> Iterator[Record]:
        """All records of a model."""
        sql = f"{tables.RECORDS.select} WHERE model = ?"
        return map(values.record, self._db.execute(sql, (model,)))

    def formers(self, model: str) -> Iterator[Former]:
        """What is kept of a model's records as they were before its last migration."""
        sql = f"{tables.FORMERS.select} WHERE model = ?"
        return map(values.former, self._db.execute(sql, (model,)))

    def flow(self, id: str) -> FlowSteps | None:
        """One flow with its steps, None when there is none."""
        rows = self._db.execute(tables.FLOWS_WHERE.format("id = ?"), (id,))
        return next(iter(values.flows(rows)), None)

    def open_flows(self) -> Sequence[str]:
        """The ids of the flows that have not ended."""
        return [id for (id,) in self._db.execute(f"SELECT id FROM flows WHERE {tables.OPEN}")]

    def flows(self, after: str) -> Iterator[FlowSteps]:
        """The flows with an id above `after`, by id."""
        while True:
            page = values.flows(self._db.execute(_PAGE, (after, PAGE)))
            yield from page
            if len(page) < PAGE:
                return
            after = page[-1][0].id


class MemorySight:
    """What dicts held when they were copied (see protocols.Sight)."""

    def __init__(
        self,
        seq: int,
        rewritten: int,
        journal: Sequence[Entry],
        records: Mapping[str, Mapping[str, Record]],
        flows: Mapping[str, tuple[Flow, Mapping[int, Step]]],
        sealed: Mapping[str, bytes],
        formers: Mapping[str, Mapping[str, Former]],
    ) -> None:
        self.seq = seq
        self.rewritten = rewritten
        self._journal = journal
        self._records = records
        self._flows = flows
        self._sealed = sealed
        self._formers = formers

    def entries(self, after: int) -> Iterator[Entry]:
        """The journal after a seq, in order."""
        return (entry for entry in self._journal if entry.seq > after)

    def sealed(self, event: str) -> bytes | None:
        """What is sealed beside an event."""
        return self._sealed.get(event)

    def record(self, model: str, id: str) -> Record | None:
        """One record, None when there is none."""
        return self._records.get(model, {}).get(id)

    def records(self, model: str) -> Iterator[Record]:
        """All records of a model."""
        return iter(self._records.get(model, {}).values())

    def formers(self, model: str) -> Iterator[Former]:
        """What is kept of a model's records as they were before its last migration."""
        return iter(self._formers.get(model, {}).values())

    def flow(self, id: str) -> FlowSteps | None:
        """One flow with its steps, None when there is none."""
        found = self._flows.get(id)
        return None if found is None else (found[0], [step for _, step in sorted(found[1].items())])

    def open_flows(self) -> Sequence[str]:
        """The ids of the flows that have not ended."""
        return [id for id, (flow, _) in self._flows.items() if flow.state in OPEN_FLOWS]

    def flows(self, after: str) -> Iterator[FlowSteps]:
        """The flows with an id above `after`, by id."""
        for id in sorted(id for id in self._flows if id > after):
            found = self.flow(id)
            if found is not None:
                yield found
