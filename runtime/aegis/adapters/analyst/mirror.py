"""All that is stored, as tables of a DuckDB in memory, brought up to date by what has changed."""

# ruff: noqa: S608 -- values are bound; what statements are put together from are names of ours

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import TypeVar

import duckdb
import msgspec

from aegis.adapters.analyst.columns import OWN, Column, columns_of, document, quoted
from aegis.adapters.analyst.past import past
from aegis.core.component import ENCODER, ModelSpec
from aegis.core.errors import SqlError
from aegis.core.event import decode_event
from aegis.core.flow import FlowState
from aegis.core.record import Record
from aegis.engine.triggers import about
from aegis.protocols import Entry, FlowSteps, Sight

BATCH = 10_000  # rows handed to DuckDB at once
STALE = 100_000  # deleted rows that a table may drag along

# No file, no network, no extension, no variable of Python's; and nothing of that can be unlocked.
SETTINGS: dict[str, str | bool | int | float | list[str]] = {
    "allow_community_extensions": "false",
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "enable_external_access": "false",
    "lock_configuration": "true",
    "memory_limit": "2GB",
    "python_enable_replacements": "false",
    "temp_directory": "",
}

_MODEL = (
    "CASE WHEN len(string_split(source, '/')) = 6 "
    "THEN split_part(source, '/', 4) || '.' || split_part(source, '/', 6) END"
)


def _columns(*lines: str) -> Mapping[str, str]:
    """Columns and their types, as SQL lists them."""
    parts = (part.partition(" ") for line in lines for part in line.split(", "))
    return {name: type for name, _, type in parts}


# Columns of what is no model, by their type; what none of them names is not shown.
_EVENTS = _columns(
    "id VARCHAR, type VARCHAR, source VARCHAR, subject VARCHAR, time TIMESTAMP, cause VARCHAR",
    "flow VARCHAR, step INTEGER, revision VARCHAR, origin VARCHAR, data JSON",
)
_FLOWS = _columns(
    "id VARCHAR, root VARCHAR, component VARCHAR, version VARCHAR, model VARCHAR, record VARCHAR",
    "state VARCHAR, created TIMESTAMP, updated TIMESTAMP, error VARCHAR, canceled BOOLEAN",
)
_STEPS = _columns(
    "flow VARCHAR, n INTEGER, model VARCHAR, port VARCHAR, record VARCHAR, cause VARCHAR",
    "state VARCHAR, attempts INTEGER, updated TIMESTAMP, due TIMESTAMP, error VARCHAR",
)
_ENDED = (FlowState.COMPLETED, FlowState.COMPENSATED)  # an undo that stopped may go on

T = TypeVar("T")
Names = Mapping[str, tuple[str, ...]]  # of a model's table, see `names_of`


class Misfit(Exception):  # noqa: N818 -- no mistake of anybody's: a table is made anew
    """Some records do not fit the columns that their table has; they fit these."""

    def __init__(self, columns: tuple[Column, ...]) -> None:
        super().__init__()
        self.columns = columns


class Mirror:
    """The tables. It is brought up to date by one thread at a time, and read by cursors of `db`.

    When a refresh fails the mirror is good for nothing any more.
    """

    def __init__(self) -> None:
        self.db = duckdb.connect(":memory:", config=SETTINGS)
        self.halted = False
        self._rewritten: int | None = None
        self._seq = 0
        self._flow = ""  # the highest id: those of later flows are above it
        self._unended: set[str] = set()
        self._columns: dict[str, tuple[Column, ...]] = {}  # of a model's table, by its key
        self._shapes: dict[str, tuple[Column, ...]] = {}  # as its code says them
        self._names: dict[str, tuple[str, ...]] = {}
        self._stale: dict[str, int] = {}
        self.db.execute("CREATE SCHEMA aegis; CREATE TABLE aegis.point AS SELECT 0::BIGINT AS seq")

    def refresh(self, sight: Sight, specs: Mapping[str, ModelSpec], names: Names) -> None:
        """Become what `sight` sees, for the models `specs` and what their tables are called."""
        self.db.execute("BEGIN")
        if self._rewritten != sight.rewritten:
            self._begin_anew()
        self._rewritten = sight.rewritten
        shapes = {key: columns_of(spec) for key, spec in specs.items()}
        for key in [*self._columns]:
            if shapes.get(key) != self._shapes[key] or names.get(key) != self._names[key]:
                self._drop(key)
        known = frozenset(self._columns)
        touched, flows = self._add_events(sight, known)
        for key, spec in specs.items():
            if key not in known:
                self._shapes[key], self._names[key] = shapes[key], names[key]
                self._build(sight, spec, shapes[key])
            elif key in touched:
                self._change(sight, spec, touched[key])
        self._change_flows(sight, flows)
        self.db.execute("UPDATE aegis.point SET seq = $seq", {"seq": sight.seq})
        self.db.execute("COMMIT")
        self._seq = sight.seq
        self._compact()

    def become(self, sight: Sight, seq: int, specs: Mapping[str, ModelSpec], names: Names) -> None:
        """Become what was stored as of event `seq`, once; without flows. See `past`."""
        self.refresh(past(sight, seq, specs, self._check), specs, names)
        self.db.execute("DROP TABLE flows; DROP TABLE steps")

    def halt(self) -> None:
        """Let a refresh under way end with an error."""
        self.halted = True

    def close(self) -> None:
        """Give the memory back. The database ends with the last answer, which is a cursor of it."""
        for name in [*map(quoted, self._columns), *OWN]:
            self.db.execute(f"DROP TABLE IF EXISTS {name}")

    # --- models ---------------------------------------------------------------------------------

    def _build(self, sight: Sight, spec: ModelSpec, columns: tuple[Column, ...]) -> None:
        """Make a model's table with all its records, and columns into which they fit."""
        while True:
            self._make(spec.key, columns)
            try:
                for records in _batched(sight.records(spec.key), BATCH):
                    self._insert(spec, records)
            except Misfit as misfit:
                columns = misfit.columns
            else:
                return

    def _change(self, sight: Sight, spec: ModelSpec, ids: Iterable[str]) -> None:
        """Bring records up to date that may have changed, or may be gone."""
        try:
            for some in _batched(ids, BATCH):
                self._delete(quoted(spec.key), "id", some)
                found = (sight.record(spec.key, id) for id in some)
                self._insert(spec, [record for record in found if record is not None])
        except Misfit as misfit:
            self._build(sight, spec, misfit.columns)

    def _make(self, key: str, columns: tuple[Column, ...]) -> None:
        """An empty table for a model, and its other names."""
        self._columns[key] = columns
        parts = [f"{quoted(column.name)} {column.sql_type}" for column in columns]
        parts += ["_revision BIGINT", "_created TIMESTAMP", "_updated TIMESTAMP"]
        self.db.execute(f"CREATE OR REPLACE TABLE {quoted(key)} ({', '.join(parts)})")
        for name in self._names[key]:
            if name != quoted(key):
                schema, dot, _ = name.rpartition(".")
                if dot:
                    self.db.execute(f"CREATE SCHEMA IF NOT EXISTS {schema}")
                self.db.execute(f"CREATE OR REPLACE VIEW {name} AS FROM {quoted(key)}")

    def _drop(self, key: str) -> None:
        for name in self._names.pop(key):
            if name != quoted(key):
                self.db.execute(f"DROP VIEW IF EXISTS {name}")
        self.db.execute(f"DROP TABLE {quoted(key)}")
        del self._columns[key], self._shapes[key]

    def _insert(self, spec: ModelSpec, records: Sequence[Record]) -> None:
        """Add rows for `records`, as the model's code reads them. Raises Misfit."""
        self._check()
        if not records:
            return
        columns = self._columns[spec.key]
        values = [spec.stored(record) for record in records]
        sealed = () if spec.rules is None else spec.rules.sealed
        fitting = tuple(
            column.holding([getattr(value, column.attribute) for value in values])
            for column in columns
        )
        if fitting != columns:
            raise Misfit(fitting)
        rows = {
            "docs": [document(value, columns, sealed) for value in values],
            "revisions": [record.revision for record in records],
            "created": [record.created for record in records],
            "updated": [record.updated for record in records],
        }
        self.db.execute(
            "CREATE OR REPLACE TEMP TABLE staged AS SELECT unnest($docs::VARCHAR[]) AS doc, "
            "unnest($revisions::BIGINT[]) AS revision, "
            "unnest($created::VARCHAR[])::TIMESTAMP AS created, "
            "unnest($updated::VARCHAR[])::TIMESTAMP AS updated",
            rows,
        )
        parts = ", ".join(column.expression for column in columns)
        self.db.execute(
            f"INSERT INTO {quoted(spec.key)} SELECT {parts}, revision, created, updated FROM staged"
        )

    # --- the journal ----------------------------------------------------------------------------

    def _add_events(
        self, sight: Sight, known: frozenset[str]
    ) -> tuple[Mapping[str, set[str]], set[str]]:
        """Add what the journal has more; of which records of `known` models and flows that tells.

        A change of a record has an event about it in the same commit. Others may say to be about
        it, too: it is read again then, and found as it was.
        """
        touched: dict[str, set[str]] = {}
        flows: set[str] = set()
        for entries in _batched(sight.entries(self._seq), BATCH):
            self._check()
            self._insert_events(entries)
            flows.update(entry.flow for entry in entries if entry.flow is not None)
            for entry in entries if known else ():
                model = about(decode_event(entry.doc))
                if model in known and entry.subject is not None:
                    touched.setdefault(model, set()).add(entry.subject)
        return touched, flows

    def _insert_events(self, entries: Sequence[Entry]) -> None:
        docs = [_text(entry.doc) for entry in entries]
        self.db.execute(
            f"INSERT INTO events SELECT seq, {', '.join(_EVENTS)}, {_MODEL} FROM ("
            "SELECT seq, unnest(json_transform(doc, $shape)) FROM ("
            "SELECT unnest($seqs::BIGINT[]) AS seq, unnest($docs::VARCHAR[]) AS doc))",
            {"seqs": [entry.seq for entry in entries], "docs": docs, "shape": _shape(_EVENTS)},
        )

    # --- flows ----------------------------------------------------------------------------------

    def _change_flows(self, sight: Sight, told: set[str]) -> None:
        """Bring flows up to date: those `told` of, the new ones, and those that had not ended."""
        again = {*told, *self._unended, *sight.open_flows()}
        before = self._flow
        for flows in _batched(sight.flows(before), BATCH // 10):
            self._put_flows(flows)
            self._flow = flows[-1][0].id
        for ids in _batched(sorted(id for id in again if id <= before), BATCH // 10):
            self._delete("flows", "id", ids)
            self._delete("steps", "flow", ids)
            self._unended.difference_update(ids)
            found = (sight.flow(id) for id in ids)
            self._put_flows([flow for flow in found if flow is not None])

    def _put_flows(self, flows: Sequence[FlowSteps]) -> None:
        self._check()
        self._unended.update(flow.id for flow, _ in flows if flow.state not in _ENDED)
        for table, columns, values in (
            ("flows", _FLOWS, [flow for flow, _ in flows]),
            ("steps", _STEPS, [step for _, steps in flows for step in steps]),
        ):
            if values:
                self.db.execute(
                    f"INSERT INTO {table} SELECT unnest(json_transform(doc, $shape)) FROM "
                    "(SELECT unnest($docs::VARCHAR[]) AS doc)",
                    {
                        "docs": [ENCODER.encode(value).decode() for value in values],
                        "shape": _shape(columns),
                    },
                )

    # --- all tables -----------------------------------------------------------------------------

    def _begin_anew(self) -> None:
        for key in [*self._columns]:
            self._drop(key)
        self._seq, self._flow = 0, ""
        self._unended.clear()
        self._stale.clear()
        for name, columns in (
            ("events", {"seq": "BIGINT", **_EVENTS, "model": "VARCHAR"}),
            ("flows", _FLOWS),
            ("steps", _STEPS),
        ):
            parts = ", ".join(f"{quoted(column)} {type}" for column, type in columns.items())
            self.db.execute(f"CREATE OR REPLACE TABLE {name} ({parts})")

    def _delete(self, table: str, column: str, keys: Sequence[str]) -> None:
        gone = self.db.execute(
            f"DELETE FROM {table} WHERE {column} IN (SELECT unnest($keys::VARCHAR[]))",
            {"keys": list(keys)},
        ).fetchall()
        self._stale[table] = self._stale.get(table, 0) + int(gone[0][0])

    def _compact(self) -> None:
        """Write tables anew that have more deleted rows than others: DuckDB keeps those."""
        for table, stale in self._stale.items():
            if stale > STALE:
                count = self.db.execute(f"SELECT count(*) FROM {table}").fetchall()[0][0]
                if stale > count:
                    self.db.execute(f"CREATE OR REPLACE TABLE {table} AS FROM {table}")
                    self._stale[table] = 0

    def _check(self) -> None:
        if self.halted:
            raise SqlError("it was interrupted")


def _batched(items: Iterable[T], size: int) -> Iterator[list[T]]:
    # `itertools.batched` came with Python 3.12.
    source = iter(items)
    while batch := list(islice(source, size)):
        yield batch


def _shape(columns: Mapping[str, str]) -> str:
    return msgspec.json.encode(columns).decode()


def _text(doc: bytes | str) -> str:
    """A document as DuckDB takes it; SQLite gives text already."""
    return doc if isinstance(doc, str) else doc.decode()
