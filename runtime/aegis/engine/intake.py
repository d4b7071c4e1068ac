"""Takes records in that were exported elsewhere: checked as any write, and setting nothing off."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from pathlib import Path
from typing import Any, Literal

import msgspec

from aegis.core.component import ModelSpec
from aegis.core.errors import (
    AegisError,
    ConflictError,
    CorruptError,
    DuplicateError,
    InvalidError,
    MigratingError,
    NotFoundError,
    StaleError,
    TooLargeError,
    closest,
)
from aegis.core.event import IMPORT
from aegis.core.graph import model_id
from aegis.core.moving import MAX_LINE, Header, Line, Moved, Progress, digest, read
from aegis.core.record import ID, Record
from aegis.engine.engine import Engine
from aegis.engine.ledger import Draft, Ledger
from aegis.engine.work import Change, Work, encode
from aegis.protocols import Store

OnConflict = Literal["fail", "skip", "replace"]

BATCH = 250  # records of one model, stored together or not at all
BATCH_BYTES = 512 * 1024  # of their lines; a longer one is a batch of its own
TRIES = 5  # of a batch of which a record was changed meanwhile


class Imported(msgspec.Struct, frozen=True, kw_only=True):
    """What an import came to, in records. `line` is the last line that is stored.

    `known` are those that were here already, as they are there.
    """

    created: int = 0
    replaced: int = 0
    skipped: int = 0
    known: int = 0
    line: int = 1

    def __add__(self, more: Imported) -> Imported:
        return Imported(
            created=self.created + more.created,
            replaced=self.replaced + more.replaced,
            skipped=self.skipped + more.skipped,
            known=self.known + more.known,
            line=max(self.line, more.line),
        )


@dataclass(frozen=True, kw_only=True)
class Terms:
    """How records are taken in.

    `on_conflict` says what becomes of one whose id is there with other data. With `other_schema`
    records may have been stored with another schema: then each need only fit the model.
    """

    on_conflict: OnConflict = "fail"
    other_schema: bool = False


class Intake:
    """The import of one host. A batch is one commit; its events say `<noun>.imported`."""

    def __init__(self, store: Store, ledger: Ledger, engine: Callable[[], Engine]) -> None:
        self._store = store
        self._ledger = ledger
        self._engine = engine

    async def take(
        self, header: Header, batch: Sequence[tuple[int, Moved]], terms: Terms
    ) -> Imported:
        """Store a batch, all or nothing.

        Raises the error of its first bad line, with its number and field; then nothing is stored.
        """
        while True:
            try:
                return await self._take(header, batch, terms)
            except MigratingError as error:
                await self._ledger.flows.boundary.passed(error.component)

    async def _take(
        self, header: Header, batch: Sequence[tuple[int, Moved]], terms: Terms
    ) -> Imported:
        engine = self._engine()
        model = batch[0][1].model
        spec = engine.registry.models.get(model)
        if spec is None:
            raise NotFoundError(
                f"line {batch[0][0]}: there is no model {model!r} here",
                hint=closest(model, engine.registry.models) or "deploy its component first",
                line=batch[0][0],
            )
        resident = engine.resident(spec)
        resident.enter()
        try:
            await self._check_schema(spec, header, terms)
            tries = TRIES
            while True:
                with self._ledger.elsewhere.holding() as hold:
                    await hold((spec.key, moved.id) for _, moved in batch)
                    work, done = self._work(engine, spec, batch, terms)
                if not work.changes:
                    return done
                try:
                    await self._ledger.settle(
                        engine.registry, work, resident=resident, mark=_setting_nothing_off
                    )
                    return done
                except TooLargeError as error:  # such a line is a batch of its own
                    raise _at(batch[0][0], error) from error
                except (DuplicateError, MigratingError):
                    raise
                except (ConflictError, StaleError, NotFoundError):
                    tries -= 1  # looked at anew: it may be another case now
                    if not tries:
                        raise
        finally:
            resident.leave()

    async def _check_schema(self, spec: ModelSpec, header: Header, terms: Terms) -> None:
        part = header.models.get(spec.key)
        if part is None:
            raise InvalidError(f"the first line does not name {spec.key!r}", line=1)
        here = digest(await self._store.schema(spec.key))
        if part.schema not in (None, here) and not terms.other_schema:
            raise ConflictError(
                f"{spec.key} was exported with another schema than it has here",
                hint="deploy the version that it was exported from, or allow another schema: then "
                "each record need only fit the model",
                model=spec.key,
            )

    def _work(
        self, engine: Engine, spec: ModelSpec, batch: Sequence[tuple[int, Moved]], terms: Terms
    ) -> tuple[Work, Imported]:
        work = Work(
            key=self._ledger.clock.id(),
            label=engine.registry.live[spec.component].label,
            model=spec.key,
            actor=model_id(spec),
            origin=IMPORT,
        )
        done = Imported(line=batch[-1][0])
        for n, moved in batch:
            try:
                change, what = self._change(spec, moved, terms)
                if (spec.key, moved.id) in work.changes:
                    raise ConflictError(f"{spec.name} {moved.id!r} is there twice")
            except AegisError as error:
                raise _at(n, error) from error
            done += Imported(**{what: 1})
            if change is not None:
                work.changes[change.key] = change
        return work, done

    def _change(self, spec: ModelSpec, moved: Moved, terms: Terms) -> tuple[Change | None, str]:
        """What a record changes here, None when nothing, and how that is called."""
        value, doc = _checked(spec, moved)
        current = self._ledger.records.get(spec.key, moved.id)
        if current is not None:
            if _same(spec, current, doc, value):
                return None, "known"
            if terms.on_conflict == "skip":
                return None, "skipped"
            if terms.on_conflict == "fail":
                raise ConflictError(
                    f"{spec.name} {moved.id!r} is here already, with other data",
                    hint="skip or replace those that are here",
                )
        change = Change(
            spec=spec,
            id=moved.id,
            base=current,
            before=None,
            after=value,
            event=spec.imported,
            expected=None if current is None else current.revision,
            was=Record(
                model=spec.key,
                id=moved.id,
                revision=moved.revision,
                created=moved.created,
                updated=moved.updated,
                doc=doc,
            ),
        )
        return change, "created" if current is None else "replaced"

    async def file(
        self,
        path: Path,
        terms: Terms,
        *,
        edited: bool = False,
        after: int = 0,
        told: Progress,
    ) -> Imported:
        """Take in the export `path`, batch by batch, from the line behind `after` on.

        All of it is read, and its checksum compared, before anything is stored. An error says how
        far the batches before it came, as `stored`.
        """
        header = await asyncio.to_thread(check, path, edited=edited)
        done = Imported(line=after)
        seen = max(0, after - 1)
        told(seen, header.total)
        with closing(batches(path, after)) as source:
            while batch := await asyncio.to_thread(next, source, None):
                try:
                    numbered = [(line.n, line.record) for line in batch]
                    done += await self.take(header, numbered, terms)
                except AegisError as error:
                    error.fields["stored"] = done.line
                    raise
                seen += len(batch)
                told(seen, header.total)
        return done


def check(path: Path, *, edited: bool) -> Header:
    """Read all of an export; its header. Raises InvalidError naming the line, NotFoundError."""
    with closing(_lines(path)) as lines:
        header, records = read(lines, edited=edited)
        for _ in records:
            pass
    return header


def batches(path: Path, after: int) -> Generator[list[Line]]:
    """The records of an export that was checked, behind line `after`, as they are stored."""
    with closing(_lines(path)) as lines:
        _, records = read(lines, edited=True)
        wanted = (line for line in records if line.n > after)
        for _, ofmodel in groupby(wanted, lambda line: line.record.model):
            yield from _cut(ofmodel)


def _cut(lines: Iterable[Line]) -> Iterator[list[Line]]:
    batch: list[Line] = []
    size = 0
    for line in lines:
        if batch and (len(batch) == BATCH or size + len(line.text) > BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(line)
        size += len(line.text)
    if batch:
        yield batch


def _lines(path: Path) -> Generator[bytes]:
    try:
        file = path.open("rb")
    except OSError as error:
        raise NotFoundError(f"{path} cannot be read: {error.strerror}") from error
    with file:
        # One byte more than may be: so that it is seen that it is too long.
        while line := file.readline(MAX_LINE + 1):
            yield line


def _checked(spec: ModelSpec, moved: Moved) -> tuple[Any, bytes]:
    """The value of an exported record and its document. Raises InvalidError naming the field."""
    if not ID.fullmatch(moved.id):
        raise InvalidError(f"{spec.name}: {moved.id[:80]!r} is no id", field="id")
    for name, time in (("created", moved.created), ("updated", moved.updated)):
        _check_time(name, time)
    try:
        fields = msgspec.json.decode(moved.data, type=dict[str, msgspec.Raw])
        data = bytes(moved.data)
        if spec.sealing is not None:
            data = spec.sealing.opened(moved.id, data)
        value = spec.decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise spec.invalid(error) from error
    unknown = [name for name in fields if name not in spec.fields]
    if unknown:
        raise InvalidError(
            f"{spec.name} has no field {unknown[0]!r}",
            hint=closest(unknown[0], spec.fields),
            field=unknown[0],
        )
    if value.id != moved.id:
        raise InvalidError(f"{spec.name}: data is of {value.id!r}, not {moved.id!r}", field="id")
    doc, value = encode(spec, value, dict.fromkeys(spec.fields))
    return value, doc


def _same(spec: ModelSpec, current: Record, doc: bytes, value: Any) -> bool:
    """Whether a record has this value already: what a set holds has no order in a document."""
    known = spec.opened(current)
    if known == doc:
        return True
    try:
        return len(known) == len(doc) and bool(spec.value(current) == value)
    except CorruptError:
        return False


def _check_time(name: str, time: str) -> None:
    try:
        zoned = datetime.fromisoformat(time).tzinfo is not None and time.endswith("Z")
    except ValueError:
        zoned = False
    if not zoned:
        raise InvalidError(f"{name} is no time of RFC 3339 with Z: {time[:80]!r}", field=name)


def _at(n: int, error: AegisError) -> AegisError:
    """`error` as one of line `n`."""
    return type(error)(f"line {n}: {error.detail}", hint=error.hint, **{**error.fields, "line": n})


def _setting_nothing_off(draft: Draft) -> None:
    draft.inert = True
