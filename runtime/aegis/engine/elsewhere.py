"""The models that are kept elsewhere than in the host's store: where, and how they are read."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import msgspec

from aegis.core.component import ModelSpec, Revision
from aegis.core.errors import AegisError, ComponentError, ConfigError, GrantError, closest
from aegis.core.query import Condition, Page, Query
from aegis.core.record import Record
from aegis.core.registry import Registry
from aegis.engine.outbox import PREFIX, Lane
from aegis.engine.work import Key
from aegis.protocols import Clock, Commit, Datasource, Fill, Outgoing, Place, Store, Write

if TYPE_CHECKING:
    from aegis.engine.monitor import Monitor

HERE = ""  # the host's own store, where others are named
LONG = 1_000  # changes on their way to one datasource that are worth a word
SCANNED = 600.0  # seconds that reading all records of a model may take
FILLED = 500  # records that get a new field at once

Make = Callable[[], Datasource]
Datasources = Mapping[str, Make]

_log = logging.getLogger("aegis.host")
_FIELDS = msgspec.json.Decoder(dict[str, msgspec.Raw])


class _Pin:
    """A record as it was fetched, for as long as somebody goes by it."""

    __slots__ = ("holders", "record")

    def __init__(self, record: Record | None) -> None:
        self.record = record
        self.holders = 0


class _Fetch:
    """A record that is being fetched; `landed` is what this host wrote there meanwhile."""

    __slots__ = ("landed", "overtaken")

    def __init__(self) -> None:
        self.landed: Record | None = None
        self.overtaken = False


class Elsewhere:
    """Where models are kept, for the ledger and the engine.

    `made` makes a datasource by its name, `chosen` says what the configuration does: a name by
    model. Without `made` all models are in the host's store, whatever they say.
    """

    def __init__(
        self,
        store: Store,
        clock: Clock,
        made: Datasources | None = None,
        chosen: Mapping[str, str] | None = None,
    ) -> None:
        self.store = store
        self.clock = clock
        self.monitor: Monitor
        # By model; empty in most hosts, which is all that those ask.
        self.places: dict[str, Lane] = {}
        # Models whose datasource is another component's, and not granted any more.
        self.barred: Mapping[str, GrantError] = {}
        self.lanes: dict[str, Lane] = {}
        self._made = made
        self._chosen = chosen or {}
        self._homeless: list[Outgoing] = []  # for a datasource that a component brings
        self._coming: dict[str, Datasource] = {}  # newer code of what components bring
        self._stored: dict[str, str] = {}  # by model, as the store has it
        self._pins: dict[Key, _Pin] = {}
        self._fetches: dict[Key, list[_Fetch]] = {}
        self.noted: Callable[[Commit], Any]

    # Opening and closing

    async def open(self) -> None:
        """Go on with what an earlier run left on its way."""
        self._stored = dict(await self.store.places())
        rows = await self.store.outgoing()
        if not rows:
            return
        failed = {one.subscriber for one in await self.store.failed()}
        for row in rows:
            if row.datasource not in (self._made or {}):
                self._homeless.append(row)
                self.monitor.report(
                    f"datasource:{row.datasource}",
                    f"changes wait for datasource {row.datasource!r}, which is not there",
                )
                continue
            lane = await self._lane(row.datasource)
            if PREFIX + row.key in failed:
                lane.parked[row.key] = row
            else:
                # Until its component is there, only this knows where it belongs.
                self.places.setdefault(row.model, lane)
                lane.add(row)

    async def close(self, grace: float) -> None:
        """Write what can be written soon, and close all datasources."""
        await asyncio.gather(*(lane.close(grace) for lane in self.lanes.values()))

    async def _lane(self, name: str) -> Lane:
        lane = self.lanes.get(name)
        if lane is None:
            made = (self._made or {}).get(name)
            if made is None:
                raise ConfigError(
                    f"there is no datasource {name!r}",
                    hint=closest(name, self._made or {}) or f"name it in [datasources.{name}]",
                )
            datasource = await asyncio.to_thread(made)
            await datasource.open()
            lane = self.lanes.setdefault(name, Lane(name, datasource, self))
        return lane

    # Where a model is

    def named(self, spec: ModelSpec, revision: Revision) -> str:
        """The datasource of a model, HERE for the host's store."""
        if self._made is None:
            return HERE
        name = self._chosen.get(spec.key, spec.store) or HERE
        own = revision.names.get(name) if name else None
        if isinstance(own, type) and name not in self._made:
            return f"{revision.name}.{name}"
        return name

    async def settle(
        self, revisions: Sequence[Revision], settings: Callable[[Revision], Mapping[str, Any]]
    ) -> tuple[dict[str, str], list[Place]]:
        """Where the models of `revisions` will be, and what of that is new.

        Opens what they name; `settings` gives the configuration of a revision. Raises
        ComponentError naming every problem.
        """
        homes: dict[str, str] = {}
        places: list[Place] = []
        problems: dict[str, list[str]] = {}
        for revision in revisions:
            for spec in revision.models:
                try:
                    name = self.named(spec, revision)
                    if name != HERE:
                        await self._ready(name, revision, settings)
                    before = self._stored.get(spec.key, HERE)
                    if name != before:
                        await self._check_moved(spec, before, name)
                        places.append(Place(spec.key, name))
                    homes[spec.key] = name
                except (AegisError, ImportError) as error:
                    hint = getattr(error, "hint", None)
                    said = getattr(error, "detail", str(error))
                    text = f"{spec.name}: {said}" + (f" ({hint})" if hint else "")
                    problems.setdefault(revision.name, []).append(text)
        if problems:
            first = next(iter(problems))
            raise ComponentError(first, [text for found in problems.values() for text in found])
        return homes, places

    async def _ready(
        self, name: str, revision: Revision, settings: Callable[[Revision], Mapping[str, Any]]
    ) -> None:
        """Have a lane for a datasource; one that a component brings is made of its newest class."""
        component, dot, cls = name.partition(".")
        if name in (self._made or {}) or not dot or component != revision.name:
            await self._lane(name)
            return
        lane = self.lanes.get(name)
        made = revision.names[cls]
        if lane is not None and type(lane.datasource) is made:
            return
        missing = [
            method
            for method in ("open", "close", "get", "list", "count", "scan", "write", "clear")
            if not callable(getattr(made, method, None))
        ]
        if missing:
            raise ConfigError(
                f"{cls} is no datasource: it has no {', '.join(missing)}",
                hint="let it inherit aegis.protocols.Datasource",
            )
        try:
            part = next((part for part in revision.parts if part.cls is made), None)
            values = settings(revision) if part is not None and part.settings else {}
            arguments = {s.parameter: values[s.key] for s in part.settings} if part else {}
            datasource: Datasource = made(**arguments)
            await datasource.open()
        except AegisError:
            raise
        except Exception as error:
            raise ConfigError(f"datasource {cls} does not open: {error!r}") from error
        if lane is None:
            lane = self.lanes[name] = Lane(name, datasource, self)
            waiting, self._homeless = self._homeless, []
            failed = {one.subscriber for one in await self.store.failed()} if waiting else set()
            for row in waiting:
                if row.datasource != name:
                    self._homeless.append(row)
                elif PREFIX + row.key in failed:
                    lane.parked[row.key] = row
                else:
                    lane.add(row)
            return
        if name in self._coming:
            await self._coming[name].close()  # of a deploy that failed
        self._coming[name] = datasource

    async def _check_moved(self, spec: ModelSpec, before: str, name: str) -> None:
        """Refuse to look for records in another place than where they are."""
        if before == HERE:
            count = await self.store.count(spec.key)
        else:
            lane = self.lanes.get(before)
            if lane is None:
                lane = await self._lane(before)
            await lane.written(spec.key)
            count = await lane.ask(lane.datasource.count(spec.key))
        if count:
            raise ConfigError(
                f"{count:,} records are {_place(before)}, and it says they are {_place(name)}",
                hint="`host.export` them, `%aegis reset` the component, deploy it anew and "
                "`aegis data import`; or leave them where they are",
            )

    async def become(self, homes: Mapping[str, str], places: Sequence[Place]) -> None:
        """Go by what was settled and is stored now."""
        for model, name in homes.items():
            if name == HERE:
                self.places.pop(model, None)
            else:
                self.places[model] = self.lanes[name]
        self._stored.update((place.model, place.datasource) for place in places)
        coming, self._coming = self._coming, {}
        for name, datasource in coming.items():
            await self.lanes[name].replace(datasource)

    async def index(self, revision: Revision, homes: Mapping[str, str]) -> None:
        """Have the datasources make the indexes that models want."""
        by_name: dict[str, dict[str, Any]] = {}
        for spec in revision.models:
            if homes.get(spec.key):
                by_name.setdefault(homes[spec.key], {})[spec.key] = spec.indexes
        for name, indexes in by_name.items():
            if not any(indexes.values()):
                continue
            lane = self.lanes[name]
            await lane.ask(lane.datasource.index(revision.name, indexes))

    async def counted(self, model: str, homes: Mapping[str, str]) -> int | None:
        """How many records of a model a datasource has, None when it is in the host's store."""
        name = homes.get(model, HERE)
        if name == HERE:
            return None
        lane = self.lanes[name]
        await lane.written(model)
        return await lane.ask(lane.datasource.count(model))

    async def asked(self, model: str, query: Query, homes: Mapping[str, str]) -> Page | None:
        """What a datasource answers of a model, None when that is in the host's store."""
        name = homes.get(model, HERE)
        if name == HERE:
            return None
        lane = self.lanes[name]
        await lane.written(model)
        return await lane.ask(lane.datasource.list(model, query))

    async def fill(self, fill: Fill, name: str) -> None:
        """Write the default of a new field into the records that a datasource has of a model."""
        lane = self.lanes[name]
        await lane.written(fill.model)
        batch: list[Write] = []

        async def flush() -> None:
            await lane.ask(lane.datasource.write(batch))  # what others changed has it, or gets it
            batch.clear()

        async for record in lane.datasource.scan(fill.model):
            fields = _FIELDS.decode(record.doc)
            if fill.field in fields:
                continue
            fields[fill.field] = msgspec.Raw(fill.value)
            filled = msgspec.structs.replace(record, doc=msgspec.json.encode(fields))
            batch.append(
                Write(
                    key=self.clock.id(),
                    model=record.model,
                    id=record.id,
                    expected=record.revision,
                    record=filled,
                )
            )
            if len(batch) == FILLED:
                await flush()
        if batch:
            await flush()

    async def clear(self, component: str) -> int:
        """Drop what datasources have of a component; how many records that were."""
        names = {
            name for model, name in self._stored.items() if model.startswith(f"{component}.")
        } - {HERE}
        dropped = 0
        for name in names:
            lane = self.lanes.get(name)
            if lane is None:
                lane = await self._lane(name)
            dropped += await lane.clear(component)
        return dropped

    def guard(self, registry: Registry) -> None:
        """Go by what is granted now of the datasources that other components bring."""
        self.barred = {
            spec.key: refused
            for spec in (registry.models.values() if registry.is_closed else ())
            if (refused := self._refusal(registry, spec)) is not None
        }

    def _refusal(self, registry: Registry, spec: ModelSpec) -> GrantError | None:
        lane = self.places.get(spec.key)
        owner, dot, name = ("" if lane is None else lane.name).partition(".")
        if not dot or owner == spec.component:
            return None
        if self._chosen.get(spec.key) == f"{owner}.{name}":
            return None  # whoever configures the host said so
        if registry.access.may(spec.component, owner, "datasources", name, "write"):
            return None
        return registry.access.refusal(spec.component, owner, "datasources", name, "write")

    def _check(self, model: str) -> None:
        refused = self.barred.get(model)
        if refused is not None:
            raise GrantError(refused.detail, hint=refused.hint, **refused.fields)

    # Reading

    def known(self, key: Key) -> Record | None:
        """A record that is at hand: on its way, or fetched for who asks."""
        rows = self.places[key[0]].pending.get(key)
        if rows:
            return rows[-1].record
        pin = self._pins.get(key)
        if pin is None:
            raise AegisError(f"{key[0]} {key[1]!r} was not fetched")
        return pin.record

    def is_at_hand(self, key: Key) -> bool:
        """Whether `known` knows a record; one in the host's own store is always at hand."""
        lane = self.places.get(key[0])
        return lane is None or key in lane.pending or key in self._pins

    async def fetch(self, key: Key) -> Record | None:
        """The record as this host left it or, when it has nothing on its way, as it is there.

        Raises CorruptError, DatasourceError.
        """
        if self.barred:
            self._check(key[0])
        lane = self.places[key[0]]
        rows = lane.pending.get(key)
        if rows:
            return rows[-1].record
        fetch = _Fetch()
        self._fetches.setdefault(key, []).append(fetch)
        try:
            record = await lane.ask(lane.datasource.get(*key))
        finally:
            fetches = self._fetches[key]
            fetches.remove(fetch)
            if not fetches:
                del self._fetches[key]
        rows = lane.pending.get(key)
        if rows:
            return rows[-1].record
        return fetch.landed if fetch.overtaken else record

    async def pin(self, keys: Iterable[Key]) -> list[Key]:
        """Fetch those of `keys` that are kept elsewhere, and keep them at hand until `unpin`."""
        pinned: list[Key] = []
        try:
            for key in keys:
                if key[0] in self.places:
                    record = await self.fetch(key)
                    pin = self._pins.setdefault(key, _Pin(record))
                    pin.record = record
                    pin.holders += 1
                    pinned.append(key)
        except BaseException:
            self.unpin(pinned)
            raise
        return pinned

    def unpin(self, keys: Iterable[Key]) -> None:
        """Let go of what `pin` gave."""
        for key in keys:
            pin = self._pins[key]
            pin.holders -= 1
            if not pin.holders:
                del self._pins[key]

    @contextmanager
    def holding(self) -> Generator[Callable[[Iterable[Key]], Awaitable[None]]]:
        """Gives what fetches records, and keeps them at hand while inside."""
        held: list[Key] = []

        async def hold(keys: Iterable[Key]) -> None:
            if self.places:
                held.extend(await self.pin(keys))

        try:
            yield hold
        finally:
            self.unpin(held)

    def landed(self, key: Key, record: Record | None) -> None:
        """A record was written: who has an earlier one at hand has this one now."""
        pin = self._pins.get(key)
        if pin is not None:
            pin.record = record
        for fetch in self._fetches.get(key, ()):
            fetch.landed, fetch.overtaken = record, True

    async def list(self, model: str, query: Query) -> Page:
        """The page that `query` means, with all that was written before."""
        if self.barred:
            self._check(model)
        lane = self.places[model]
        await lane.written(model)
        return await lane.ask(lane.datasource.list(model, query))

    async def count(self, model: str, where: tuple[Condition, ...]) -> int:
        """How many records there are for which all of `where` holds."""
        if self.barred:
            self._check(model)
        lane = self.places[model]
        await lane.written(model)
        return await lane.ask(lane.datasource.count(model, where))

    async def scan(self, model: str) -> Sequence[Record]:
        """All records of a model, with all that was written before."""
        lane = self.places[model]
        await lane.written(model)

        async def scan() -> Sequence[Record]:
            return [record.sound() async for record in lane.datasource.scan(model)]

        return await lane.ask(scan(), patience=SCANNED)

    # Writing

    def take(self, outgoing: Sequence[Outgoing]) -> None:
        """Write what a commit stored, but for what waits for a decision."""
        for row in outgoing:
            lane = self.lanes[row.datasource]
            if row.key not in lane.parked:
                lane.add(row)

    async def note(self, commit: Commit) -> None:
        """Store what concerns no record, and let the views know."""
        await self.noted(commit)

    def holder(self, key: str) -> Lane | None:
        """The lane in which a write waits for a decision."""
        return next((lane for lane in self.lanes.values() if key in lane.parked), None)

    # How it stands

    def tell(self, lane: Lane) -> None:
        """Report a lane that does not move, and that it does again."""
        source = f"datasource:{lane.name}"
        if lane.trouble is not None:
            waits = f"; {lane.rows:,} changes wait for it" if lane.rows else ""
            self.monitor.report(source, f"{lane.trouble}{waits}")
        elif lane.rows >= LONG:
            self.monitor.report(source, f"{lane.rows:,} changes wait for datasource {lane.name!r}")
        else:
            self.monitor.clear(source)


def _place(name: str) -> str:
    return f"in datasource {name!r}" if name else "in the host's own store"
