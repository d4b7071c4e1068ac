"""What was stored as of an earlier event, read back from the journal."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import takewhile

from aegis.core.component import ModelSpec
from aegis.core.errors import ConflictError, InvalidError
from aegis.core.event import decode_event
from aegis.core.record import Record
from aegis.engine.history import folded, is_migration, other_form
from aegis.engine.triggers import about
from aegis.protocols import Entry, FlowSteps, Former, Sight

Records = Mapping[str, dict[str, Record | None]]  # by model and id


class PastSight:
    """Records and events as of event `seq` (see protocols.Sight). It has no flows."""

    rewritten = 0

    def __init__(self, sight: Sight, seq: int, records: Records) -> None:
        self.seq = seq
        self._sight = sight
        self._records = records

    def entries(self, after: int) -> Iterator[Entry]:
        """The journal after a seq, in order."""
        return takewhile(lambda entry: entry.seq <= self.seq, self._sight.entries(after))

    def sealed(self, event: str) -> bytes | None:
        """What is sealed beside an event."""
        return self._sight.sealed(event)

    def record(self, model: str, id: str) -> Record | None:
        """One record, None when there was none."""
        return self._records[model].get(id)

    def records(self, model: str) -> Iterator[Record]:
        """All records of a model."""
        return (record for record in self._records[model].values() if record is not None)

    def formers(self, model: str) -> Iterator[Former]:
        """None: only the last ones are kept."""
        return iter(())

    def flow(self, id: str) -> FlowSteps | None:
        """None: what flows were is not kept for all of them."""

    def open_flows(self) -> Sequence[str]:
        """None."""
        return ()

    def flows(self, after: str) -> Iterator[FlowSteps]:
        """None."""
        return iter(())


def past(
    sight: Sight, seq: int, specs: Mapping[str, ModelSpec], check: Callable[[], None]
) -> PastSight:
    """What the models `specs` had as of event `seq`; `check` is called now and then.

    The journal is read to its end: where that does not lead to what is stored now, it does not tell
    the whole story, and ConflictError says so, as it does of what had another form. Raises
    InvalidError for a `seq` it has not reached, NotFoundError for a record whose first events it
    does not hold.
    """
    if not 0 < seq <= sight.seq:
        raise InvalidError(f"the journal has no event {seq}", hint=f"the last one is {sight.seq}")
    now: Records = {key: {} for key in specs}
    then: Records = {key: {} for key in specs}
    for entry in sight.entries(0):
        check()
        event = decode_event(entry.doc)
        spec = specs.get(about(event) or "")
        if spec is None or entry.subject is None:
            continue
        if spec.sealing is not None:
            event = spec.whole(event, sight.sealed(event.id))
        if entry.seq > seq and is_migration(spec, event):
            raise other_form(spec, entry)
        record = folded(spec, now[spec.key].get(entry.subject), event, entry)
        now[spec.key][entry.subject] = record
        if entry.seq <= seq:
            then[spec.key][entry.subject] = record
    for key, records in now.items():
        told = {id: record.revision for id, record in records.items() if record is not None}
        if told != {record.id: record.revision for record in sight.records(key)}:
            raise ConflictError(
                f"what the journal tells of {key} is not what is stored",
                hint="its data was reset, or events older than what is kept are gone",
            )
    return PastSight(sight, seq, then)
