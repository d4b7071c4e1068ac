"""What failed and can be tried again: events that a listener could not take, flows undone."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from aegis.core.component import ENCODER, ModelSpec
from aegis.core.errors import AegisError, ConflictError, InvalidError, NotFoundError, closest
from aegis.core.event import Event, decode_event
from aegis.core.flow import OPEN_FLOWS, Flow, FlowState
from aegis.core.serializer import text_of
from aegis.engine.lines import failed_line
from aegis.engine.outbox import PREFIX, Lane
from aegis.engine.undo import failure
from aegis.engine.work import Change, Work
from aegis.protocols import Cleared, Commit, Failed, Sent

if TYPE_CHECKING:
    from aegis.engine.deploys import Deploys
    from aegis.engine.ledger import Draft
    from aegis.engine.resident import Resident

HINT = "the list of what failed has the ids: it may have been dealt with meanwhile"
GROUP = "group"
MOST = 100  # failures of a group that are dealt with in one call

# What differs between failures of one cause: ids, hexadecimal or not, and numbers.
_UUID = r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"
_HEX = r"0x[0-9a-fA-F]+|\b(?=[0-9a-f]*\d)[0-9a-f]{12,}\b"
_VARYING = re.compile(rf"{_UUID}|{_HEX}|\d+(?:[.,:]\d+)*")


class FailedGroup(msgspec.Struct, frozen=True, kw_only=True):
    """Failures of one kind and thing, whose errors differ in ids and numbers only.

    `what` is the type of the event with its listener, or the flow's model; in `error` a `#` stands
    for what differs. `first` and `last` are times, `ids` those of the failures, oldest event first.
    """

    id: str
    kind: str
    what: str
    error: str
    count: int
    first: str
    last: str
    ids: tuple[str, ...]


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """What came of one failure: in words, and whether it is still on the failed list."""

    id: str
    text: str
    failed: bool


def groups_of(failed: Iterable[Failed]) -> list[FailedGroup]:
    """The failures in groups, the largest first."""
    found: dict[tuple[str, str, str], list[Failed]] = {}
    for one in failed:
        error = one.error.replace(one.subject, "#") if one.subject else one.error
        key = (one.kind, failed_line(one).what, _VARYING.sub("#", error))
        found.setdefault(key, []).append(one)
    groups = [
        FailedGroup(
            id=f"{GROUP}:{hashlib.sha256(chr(0).join(key).encode()).hexdigest()[:16]}",
            kind=key[0],
            what=key[1],
            error=key[2],
            count=len(ones),
            first=min(one.time for one in ones),
            last=max(one.time for one in ones),
            ids=tuple(one.id for one in ones),
        )
        for key, ones in found.items()
    ]
    return sorted(groups, key=lambda group: (-group.count, group.first, group.id))


class Failures:
    """The failed list's verbs. An id is that of a `Failed`, `listener:...` or `flow:...`."""

    def __init__(self, deploys: Deploys) -> None:
        self._deploys = deploys
        self._busy: set[str] = set()

    # What is on the list

    async def one(self, id: str) -> Failed:
        """A failure by its id. Raises NotFoundError."""
        kind, _, rest = id.partition(":")
        subscriber = rest.rpartition(":")[0] if kind == "listener" else id
        for one in await self._deploys.flows.ledger.store.failed_of(subscriber):
            if one.id == id:
                return one
        raise NotFoundError(f"{id!r} is not on the failed list", hint=HINT)

    async def input(self, failed: Failed) -> Event:
        """The event that it failed on, with the data that the next try gives it.

        Of a flow it is the event that began it. Raises NotFoundError when the journal has it no
        more.
        """
        entry = await self._deploys.flows.ledger.store.event(failed.event)
        if entry is None:
            raise NotFoundError(f"the event of {failed.id} is not in the journal any more")
        event = decode_event(entry.doc)
        return event if failed.data is None else msgspec.structs.replace(event, data=failed.data)

    async def groups(self) -> list[FailedGroup]:
        """What failed, grouped by kind, thing and error, the largest group first."""
        return groups_of(await self._deploys.flows.ledger.store.failed())

    async def group(self, id: str) -> FailedGroup:
        """A group as it is now, by its id. Raises NotFoundError."""
        for group in await self.groups():
            if group.id == id:
                return group
        raise NotFoundError(f"there is no group {id!r} of failures", hint=HINT)

    # One by one

    async def retry(self, id: str, *, data: Mapping[str, Any] | None = None) -> str:
        """Try again what failed; what came of it, in one line.

        An event is given to its listener once more, then what it held up; with `data` as its data,
        which the failure keeps should it fail again. The undo of a flow whose undo stopped goes on.
        A flow that was undone begins anew, as another flow of the same root event: the commit that
        begins it takes the old one off the list, and makes the changes to the flow's record that
        `data` says. An open flow that waits for code gets it loaded. Raises NotFoundError,
        ConflictError for what cannot be tried now, InvalidError for data that does not fit; then
        all is as it was.
        """
        given = None if data is None else _plain(data)
        return await self._once(id, lambda id: self._retry(id, given))

    async def discard(self, id: str) -> str:
        """Take something off the failed list for good. What an event held up is then delivered.

        Raises NotFoundError, and ConflictError for a flow that is open.
        """
        return await self._once(id, self._discard)

    async def each(
        self, ids: Collection[str], verb: Callable[[str], Awaitable[str]]
    ) -> Sequence[Told]:
        """Retry or discard many failures, one after the other, and tell of each."""
        told = []
        for id in ids:
            try:
                text = await verb(id) if await self.is_there(id) else "it was dealt with meanwhile"
            except AegisError as error:
                text = str(error)
            told.append(Told(id=id, text=text, failed=await self.is_there(id)))
        return told

    async def is_there(self, id: str) -> bool:
        """Whether a failure is on the list."""
        try:
            await self.one(id)
        except NotFoundError:
            return False
        return True

    async def _once(self, id: str, verb: Callable[[str], Awaitable[str]]) -> str:
        if id in self._busy:
            raise ConflictError(f"{id} is being dealt with", hint="wait for its end")
        self._busy.add(id)
        try:
            return await verb(id)
        finally:
            self._busy.discard(id)

    async def _retry(self, id: str, data: dict[str, Any] | None) -> str:
        kind, _, rest = id.partition(":")
        if kind == "listener":
            listener, seq = _parked(id, rest)
            if listener.startswith(PREFIX):
                return await self._write(listener, seq, data)
            return await self._deploys.broker.again(listener, seq, data=data)
        if kind == "answer":
            if data is not None:
                raise ConflictError(
                    f"{id} is what a partner said: it is given to its step as it came",
                    hint="discard it, and publish an event that says what it should have",
                )
            return await self._deploys.flows.answers.again(rest)
        if kind != "flow":
            raise NotFoundError(f"{id!r} names no failure", hint=HINT)
        flows = self._deploys.flows
        stored = await flows.ledger.store.flow(rest)
        if stored is None:
            raise NotFoundError(f"there is no flow {rest!r}", hint=HINT)
        flow, _ = stored
        if data is not None and flow.state is not FlowState.COMPENSATED:
            raise ConflictError(
                f"flow {rest!r} is {flow.state}: it goes on with its record as that is",
                hint="change the record itself, and retry without data",
            )
        if flow.state is FlowState.COMPENSATION_FAILED:
            await flows.undoing.resume(rest)
            return "its undo goes on"
        if flow.state in OPEN_FLOWS:
            resumed = await self._deploys.resume()
            return f"resumed {', '.join(resumed)}" if resumed else "it is under way"
        cleared = await self._failures_of(rest)
        entry = await flows.ledger.store.event(flow.root)
        if entry is None:
            raise NotFoundError(f"the event that began flow {rest!r} is not in the journal")
        edit = None if data is None else await self._edit(flow, data)
        began = await flows.again(flows.registry(), decode_event(entry.doc), cleared, edit)
        return f"tried again as flow {began}"

    async def _edit(self, flow: Flow, data: dict[str, Any]) -> tuple[Change, Resident]:
        """The change of a flow's record that `data` means, checked as a patch is."""
        engine = self._deploys.engine
        spec = engine.registry.models.get(flow.model)
        if spec is None:
            raise ConflictError(
                f"{flow.model} is not live: nothing knows its fields",
                hint=f"deploy {flow.component} first",
            )
        given = _patch(spec, data)
        record = await engine.fetch(spec, flow.record)
        before = spec.value(record)
        change = Change(
            spec=spec,
            id=flow.record,
            base=record,
            before=before,
            after=msgspec.structs.replace(before, **given),
            event=spec.updated,
        )
        return change, engine.resident(spec)

    async def _write(self, parked: str, seq: int, data: dict[str, Any] | None) -> str:
        """Write a change over what others made of its record, which it was in conflict with."""
        if data is not None:
            raise ConflictError(
                f"{parked} is a change that was made: it is written as it was",
                hint="discard it, and change the record itself",
            )
        key = parked.removeprefix(PREFIX)
        await self._lane(key).again(key)
        await self._unpark(parked, seq)
        return "it is written over what others wrote"

    async def _unpark(self, parked: str, seq: int) -> None:
        key = parked.removeprefix(PREFIX)
        lane = self._lane(key)
        sent = [Sent(row.key) for row in [lane.parked[key]]]
        await self._deploys.elsewhere.note(Commit(sent=sent, cleared=[Cleared(parked, seq)]))
        lane.parked.pop(key, None)

    def _lane(self, key: str) -> Lane:
        lane = self._deploys.elsewhere.holder(key)
        if lane is None:
            raise ConflictError(
                f"the datasource of {key} is not there",
                hint="deploy the component that brings it, or configure it",
            )
        return lane

    async def _discard(self, id: str) -> str:
        kind, _, rest = id.partition(":")
        if kind == "listener":
            listener, seq = _parked(id, rest)
            if listener.startswith(PREFIX):
                await self._unpark(listener, seq)
                return "what others wrote stays"
            return await self._deploys.broker.discard(listener, seq)
        if kind == "answer":
            return await self._deploys.flows.answers.discard(rest)
        if kind != "flow":
            raise NotFoundError(f"{id!r} names no failure", hint=HINT)
        flows = self._deploys.flows
        if flows.is_open(rest):
            raise ConflictError(f"flow {rest!r} is open", hint="wait for its end or cancel it")
        cleared = await self._failures_of(rest)

        def mark(draft: Draft) -> None:
            draft.commit.cleared += cleared

        work = Work(key=rest, label="host")
        await flows.ledger.settle(flows.registry(), work, locks=(rest,), mark=mark)
        return "discarded"

    async def _failures_of(self, flow: str) -> list[Cleared]:
        found = await self._deploys.flows.ledger.store.failed_of(failure(flow))
        if not found:
            raise NotFoundError(f"flow {flow!r} is not on the failed list", hint=HINT)
        return [Cleared(one.subscriber, one.seq) for one in found]


def _parked(id: str, rest: str) -> tuple[str, int]:
    """The listener and the event's number that an id names. Raises NotFoundError."""
    name, _, seq = rest.rpartition(":")
    if not name or not seq.isdecimal() or len(seq) > 18:
        raise NotFoundError(f"{id!r} names no failure", hint=HINT)
    return name, int(seq)


def _plain(data: Mapping[str, Any]) -> dict[str, Any]:
    """`data` as JSON has it. Raises InvalidError."""
    try:
        plain: dict[str, Any] = msgspec.json.decode(ENCODER.encode(data), type=dict[str, Any])
    except (TypeError, msgspec.MsgspecError) as error:
        raise InvalidError(f"the data is no JSON object: {error}") from None
    return plain


def _patch(spec: ModelSpec, data: dict[str, Any]) -> dict[str, Any]:
    """The fields of a model that `data` sets. Raises InvalidError."""
    try:
        changes = spec.patch_decoder.decode(text_of(data, spec.patch_decoder))
    except (msgspec.ValidationError, TypeError) as error:
        unknown = [name for name in data if name not in spec.fields]
        hint = closest(unknown[0], spec.fields) if unknown else None
        raise spec.invalid(error, hint=hint) from None
    given = {name: getattr(changes, name) for name in changes.__struct_fields__}
    return {name: value for name, value in given.items() if value is not msgspec.UNSET}
