"""Gives stored records the form of other code, on a copy: what an author's `migrate` makes of them.

The copy is brought up to date as often as it takes; only then is it stored, by whoever asked.
"""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from aegis.core.component import ENCODER, ModelSpec
from aegis.core.errors import AegisError, GuestError, InvalidError
from aegis.core.event import MIGRATION, Event
from aegis.core.migration import Failing, ModelMigration, Sample
from aegis.core.record import Record
from aegis.engine.uniques import held
from aegis.engine.work import Key, encode
from aegis.protocols import (
    Clock,
    Commit,
    Converted,
    Entry,
    Former,
    Holding,
    Release,
    Sealed,
    Sight,
    Store,
)

IDS = 5  # of records that fail in one way
SAMPLES = 5
# Exceptions whose words are of names and types; those of others may hold a value.
_NAMING = (AttributeError, KeyError, NameError, TypeError)

_FIELDS = msgspec.json.Decoder(dict[str, msgspec.Raw])


class Unconvertible(Exception):  # noqa: N818 -- one record's, told of with its like
    """A record that cannot get the other form."""


@dataclass(frozen=True, kw_only=True)
class Way:
    """How the records of a model get another form: that of `spec`. `label` is the code's.

    With `back` they had that form before: `live` is the model as the code knows it that they have
    now. Else `live` only shows what they were; None when no such code is loaded.
    """

    spec: ModelSpec
    label: str
    live: ModelSpec | None = None
    back: bool = False

    def doc(self, record: Record, former: Former | None) -> bytes:
        """The document of `record` in the form of `spec`, in the clear. Raises Unconvertible."""
        if not record.doc:
            raise Unconvertible("it is damaged: it is not what was written")
        try:
            if not self.back:
                return self._forward(record)
            if former is not None and former.revision == record.revision:
                return self.spec.opened(msgspec.structs.replace(record, doc=former.doc))
            return self._backward(record)
        except AegisError as error:  # a key is missing, or it is damaged
            raise Unconvertible(error.detail) from error

    def opened(self, record: Record) -> bytes:
        """The document, in the clear, of a record that has the form which is left."""
        return (self.spec if self.live is None else self.live).opened(record)

    def _forward(self, record: Record) -> bytes:
        migrate = self.spec.migrate
        assert migrate is not None  # noqa: S101 -- the plan asks for one
        value: Any = _called(migrate, self.opened(record))
        if not isinstance(value, self.spec.cls):
            raise Unconvertible(
                f"migrate returned {type(value).__name__}, and not a {self.spec.name}"
            )
        new: Any = value
        if new.id == "":
            new = msgspec.structs.replace(new, id=record.id)
        if new.id != record.id:
            raise Unconvertible("migrate changed the id")
        return self._encoded(new)

    def _backward(self, record: Record) -> bytes:
        unmigrate = None if self.live is None else self.live.unmigrate
        if unmigrate is None:
            raise Unconvertible(
                "it was stored or changed since the migration: write `unmigrate` in "
                f"{self.spec.name} of the version that serves, or delete it"
            )
        old = _called(unmigrate, self.opened(record))
        if not isinstance(old, dict):
            raise Unconvertible(f"unmigrate returned {type(old).__name__}, and not a dict")
        if old.setdefault("id", record.id) != record.id:
            raise Unconvertible("unmigrate changed the id")
        try:
            value = self.spec.decoder.decode(ENCODER.encode(old))
        except (msgspec.DecodeError, TypeError) as error:
            raise Unconvertible(self.spec.invalid(error).detail) from error
        return self._encoded(value)

    def _encoded(self, value: Any) -> bytes:
        try:
            return encode(self.spec, value, dict.fromkeys(self.spec.fields))[0]
        except InvalidError as error:
            raise Unconvertible(error.detail) from error


class _Made(msgspec.Struct, frozen=True, gc=False):
    """What became of a record: `converted`, or why not.

    With it come the values of unique fields that it releases and holds, and what its event does not
    tell itself.
    """

    record: Record
    converted: Converted | None = None
    error: str = ""
    released: tuple[Release, ...] = ()
    held: tuple[Holding, ...] = ()
    sealed: Sealed | None = None


class Conversion:
    """The copy of all records that get another form, by `ways` of their models.

    `keep` is the number of the deployment that keeps what they were, 0 for none.
    """

    def __init__(
        self, store: Store, clock: Clock, ways: Mapping[str, Way], *, keep: Mapping[str, int]
    ) -> None:
        self.seq = 0
        self.ways = ways
        self._keep = keep
        self._store = store
        self._clock = clock
        self._made: dict[Key, _Made] = {}
        self._formers: dict[Key, Former] = {}
        self._rewritten: int | None = None

    async def catch_up(self) -> int:
        """Take in what was stored since the last time; of how many records that was.

        Off the loop, and with the author's code: who deploys leads its output.
        """
        changed, gone = await self._store.look(self._look)
        for key in gone:
            self._made.pop(key, None)
        await asyncio.to_thread(self._convert, changed)
        return len(changed) + len(gone)

    def fill(self, commit: Commit) -> None:
        """Have `commit` store what was made. Only when none fails."""
        commit.outdated += self.ways
        for made in self._made.values():
            if made.converted is not None:
                commit.converted.append(made.converted)
                commit.released += made.released
                commit.held += made.held
                if made.sealed is not None:
                    commit.sealed.append(made.sealed)

    def __len__(self) -> int:
        return len(self._made)

    def problems(self) -> Iterator[str]:
        """What keeps records from getting the other form, a line for each way to fail."""
        for model in self.ways:
            for group in self._failing(model):
                some = ", ".join(group.ids) + (", ..." if group.records > len(group.ids) else "")
                count = f"{group.records} record{'' if group.records == 1 else 's'}"
                verb = "cannot be taken back" if self.ways[model].back else "cannot be migrated"
                yield f"{count} of {model} {verb}: {group.error} ({some})"

    def described(self) -> Iterator[ModelMigration]:
        """What becomes of the records of each model."""
        for model, way in self.ways.items():
            fields: dict[str, dict[str, int]] = {"added": {}, "removed": {}, "changed": {}}
            samples: list[Sample] = []
            mine = [made for key, made in sorted(self._made.items()) if key[0] == model]
            for made in mine:
                if made.converted is None:
                    continue
                after = way.spec.opened(made.converted.after)
                for kind, name in _differences(way.opened(made.record), after):
                    fields[kind][name] = fields[kind].get(name, 0) + 1
                if len(samples) < SAMPLES:
                    samples.append(_sample(way, made.converted))
            yield ModelMigration(
                model=model,
                records=len(mine),
                failing=tuple(self._failing(model)),
                samples=tuple(samples),
                **fields,
            )

    def _failing(self, model: str) -> list[Failing]:
        groups: dict[str, list[str]] = {}
        failed = [made for made in self._made.values() if made.converted is None]
        for made in sorted(failed, key=lambda made: made.record.id):
            if made.record.model == model:
                groups.setdefault(made.error, []).append(made.record.id)
        found = [Failing(error, len(ids), tuple(ids[:IDS])) for error, ids in groups.items()]
        return sorted(found, key=lambda group: -group.records)

    # In a thread

    def _look(self, sight: Sight) -> tuple[list[Record], list[Key]]:
        """The records that are not as they were when last looked at, and those that are gone."""
        if self._rewritten is None:
            for model, way in self.ways.items():
                if way.back:
                    self._formers |= {(model, one.id): one for one in sight.formers(model)}
        if self._rewritten == sight.rewritten:
            subjects = {e.subject for e in sight.entries(self.seq) if e.subject is not None}
            keys = [(model, id) for model in self.ways for id in sorted(subjects)]
            now = {key: sight.record(*key) for key in keys}
        else:  # it may have changed without an event, or its event may be forgotten
            now = {
                (model, record.id): record for model in self.ways for record in sight.records(model)
            }
            now |= dict.fromkeys(self._made.keys() - now.keys())
        self.seq, self._rewritten = sight.seq, sight.rewritten
        changed = [
            record
            for key, record in now.items()
            if record is not None and (key not in self._made or self._made[key].record != record)
        ]
        return changed, [key for key, record in now.items() if record is None and key in self._made]

    def _convert(self, records: Iterable[Record]) -> None:
        for record in records:
            key = (record.model, record.id)
            way = self.ways[record.model]
            try:
                doc = way.doc(record, self._formers.get(key))
            except Unconvertible as error:
                self._made[key] = _Made(record, error=str(error))
            else:
                self._made[key] = self._converted(way, record, doc)

    def _converted(self, way: Way, record: Record, plain: bytes) -> _Made:
        """What is to be stored of a record whose document becomes `plain`."""
        spec, rules, sealing = way.spec, way.spec.rules, way.spec.sealing
        doc = plain if sealing is None else sealing.sealed(record.id, plain)
        told, hidden = spec.told(_FIELDS.decode(plain))
        told.pop("id", None)
        now = self._clock.stamp()
        after = msgspec.structs.replace(record, revision=record.revision + 1, updated=now, doc=doc)
        event = Event(
            id=self._clock.id(),
            source=f"/aegis/components/{spec.component}/models/{spec.name}",
            type=spec.migrated,
            subject=record.id,
            time=now,
            data={
                "id": record.id,
                "revision": after.revision,
                "changed": told,
                "created": after.created,
                "updated": after.updated,
            },
            revision=way.label,
            origin=MIGRATION,
        )
        entry = Entry(event.id, event.type, event.subject, None, now, ENCODER.encode(event))
        old = {} if rules is None else held(rules, record)
        new = {} if rules is None else held(rules, after)
        beside = None if sealing is None or not hidden else sealing.beside(event.id, hidden)
        return _Made(
            record,
            Converted(record, after, entry, self._keep.get(record.model, 0)),
            released=tuple(Release(spec.key, *one, record.id) for one in old.items()),
            held=tuple(Holding(spec.key, *one, record.id) for one in new.items()),
            sealed=None if beside is None else Sealed(event.id, beside),
        )


def _called(method: Callable[[dict[str, Any]], Any], doc: bytes) -> Any:
    """What an author's method makes of a record. Raises Unconvertible, without a private value."""
    try:
        data = msgspec.json.decode(doc, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Unconvertible("it is damaged: it is no JSON") from error
    try:
        return method(data)
    except (Exception, SystemExit) as error:
        frames = traceback.extract_tb(error.__traceback__)
        said = type(error).__name__
        text = error.detail if isinstance(error, AegisError) else str(error)
        if isinstance(error, (*_NAMING, AegisError)) and text and not _tells(text, doc):
            said = f"{said}: {text}"
        if isinstance(error, GuestError):  # whose lines are not of a text that anybody has
            raise Unconvertible(said.removeprefix("GuestError: ")) from error
        code = getattr(method, "__code__", None) or getattr(method, "__func__", method).__code__
        own = [frame.lineno for frame in frames if frame.filename == code.co_filename]
        raise Unconvertible(f"line {own[-1]}: {said}" if own else said) from error


def _tells(text: str, doc: bytes) -> bool:
    """Whether a value of the document is in the text."""

    def leaves(value: Any) -> Iterator[str]:
        if isinstance(value, dict):
            value = list(value.values())
        if isinstance(value, list):
            for item in value:
                yield from leaves(item)
        elif value is not None and not isinstance(value, bool) and value != "":
            yield str(value)

    return any(leaf in text for leaf in leaves(msgspec.json.decode(doc)))


def _differences(old: bytes, new: bytes) -> Iterator[tuple[str, str]]:
    """The fields that came, went or got another value between two documents."""
    before, after = _FIELDS.decode(old), _FIELDS.decode(new)
    for name, raw in after.items():
        if name not in before:
            yield "added", name
        elif bytes(before[name]) != bytes(raw):
            yield "changed", name
    for name in before:
        if name not in after:
            yield "removed", name


def _sample(way: Way, one: Converted) -> Sample:
    """A record as it left the host, and as it would."""
    before = None if way.live is None else _shown(way.live, one.before)
    return Sample(one.before.id, before, _shown(way.spec, one.after))


def _shown(spec: ModelSpec, record: Record) -> dict[str, Any]:
    shown: dict[str, Any] = msgspec.json.decode(spec.shown(record))
    shown.pop("_meta", None)
    return shown
