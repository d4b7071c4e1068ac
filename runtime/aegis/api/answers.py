"""What a host answers to each verb of a view: pictures, events, flows, and what steers it."""

from __future__ import annotations

import asyncio
import base64
import zlib
from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import Any

import msgspec

from aegis.api.body import decode_text
from aegis.api.openapi import openapi
from aegis.api.rehearsals import Rehearsals
from aegis.core import why as causes
from aegis.core.component import ENCODER, Call, Source
from aegis.core.difference import Difference
from aegis.core.errors import ConflictError, InvalidError, NotFoundError, closest
from aegis.core.event import decode_event
from aegis.core.flow import FlowState
from aegis.core.graph import Graph
from aegis.core.guest import TrapOutcome
from aegis.core.record import Record
from aegis.core.replay import Pair
from aegis.core.rule import ruled_before
from aegis.core.sealing import unsealed
from aegis.core.split import SplitStatus
from aegis.core.wire import (
    CancelGateAsk,
    ContinueAsk,
    DeployAsk,
    Description,
    DescriptionAsk,
    DiscardAsk,
    DiscardGroupAsk,
    Done,
    DropAsk,
    EventAsk,
    EventDetail,
    FailedAsk,
    FailedDetail,
    FlowAsk,
    FlowDetail,
    GateAsk,
    Groups,
    GroupsAsk,
    InvokeAsk,
    LogAsk,
    LogDetail,
    Part,
    Picture,
    PictureAsk,
    Plan,
    PlanAsk,
    PlanLine,
    PromoteAsk,
    Replay,
    ReplayAsk,
    ReplayRow,
    ReplayTrapAsk,
    ResumeAsk,
    RetryAsk,
    RetryGroupAsk,
    RollbackAsk,
    SkipAsk,
    SplitAsk,
    UndeployAsk,
    Verb,
    WeighAsk,
    Why,
    WhyAsk,
)
from aegis.engine.engine import named
from aegis.engine.failures import Told
from aegis.engine.host import Host
from aegis.engine.lines import event_line, failed_line
from aegis.protocols import Entry, Failed

PICTURES = 4
PAGE = 1000
PAGES = 10
GROUPED = 200
HINT = "it may have been dealt with meanwhile"
# Who deploys, where a person does so in a view.
WHO = "panel"


class Answers:
    """Answers of one host, on its loop. `render` draws a graph: once, however many views ask.

    `tree` draws what led to what, `compare` what a deploy would make different.
    """

    def __init__(
        self,
        host: Host,
        render: Callable[[Graph], str] | None,
        tree: Callable[[causes.Why], str] | None = None,
        compare: Callable[[Difference], str] | None = None,
    ) -> None:
        self._host = host
        self._render = render
        self._tree = tree
        self._compare = compare
        self._rehearsals = Rehearsals(host, WHO)
        self._drawn: dict[str, asyncio.Task[Picture]] = {}

    def to(self, ask: Verb) -> Coroutine[Any, Any, msgspec.Struct]:
        """The answer, of the type that the verb names. Raises AegisError when awaited."""
        if isinstance(ask, PictureAsk):
            return self._picture()
        if isinstance(ask, WhyAsk):
            return self._why(ask.id)
        if isinstance(ask, PlanAsk):
            return self._plan(ask.source)
        if isinstance(ask, GateAsk):
            return self._gate(ask)
        if isinstance(ask, CancelGateAsk):
            return self._cancel_gate(ask)
        return _ANSWERS[type(ask)](self._host, ask)

    def close(self) -> None:
        """End what goes on by itself."""
        self._rehearsals.close()

    async def _picture(self) -> Picture:
        if self._render is None:
            raise NotFoundError("this host draws no graphs")
        graph = self._host.graph()
        drawing = self._drawn.get(graph.digest)
        if drawing is None:
            drawing = asyncio.create_task(asyncio.to_thread(_draw, self._render, graph))
            self._drawn[graph.digest] = drawing
            while len(self._drawn) > PICTURES:
                del self._drawn[next(iter(self._drawn))]
        try:
            return await asyncio.shield(drawing)
        except Exception:
            self._drawn.pop(graph.digest, None)
            raise

    async def _why(self, id: str) -> Why:
        why = await self._host.why(id)
        drawn = None if self._tree is None else await asyncio.to_thread(self._tree, why)
        return Why(id=id, text=str(why), data=None if drawn is None else _packed(drawn))

    async def _plan(self, address: str) -> Plan:
        source = await self._host.one(address)
        found = await self._host.plan(source)
        drawn = None
        if self._compare is not None and found.marks:
            drawn = await asyncio.to_thread(self._compare, found)
        live = self._host.engine.registry.live.get(source.name)
        return Plan(
            source=address,
            component=source.name,
            version=source.version,
            digest=source.digest,
            before=None if live is None else live.version,
            fits=found.fits,
            nothing=found.is_nothing,
            lines=tuple(PlanLine(sign=sign, text=text) for sign, text in found.lines()),
            data=None if drawn is None else _packed(drawn),
        )

    async def _gate(self, ask: GateAsk) -> Done:
        source = await _source(self._host, ask.source, ask.digest)
        self._rehearsals.begin(source, ask.source, deploy=ask.deploy)
        return Done(text=f"what was recorded is tried on {source.name} {source.version}")

    async def _cancel_gate(self, ask: CancelGateAsk) -> Done:
        self._rehearsals.cancel(ask.component)
        return Done(text=f"the gate of {ask.component} has ended")


def _draw(render: Callable[[Graph], str], graph: Graph) -> Picture:
    return Picture(digest=graph.digest, data=_packed(render(graph)))


def _packed(svg: str) -> str:
    return base64.b64encode(zlib.compress(svg.encode())).decode()


async def _event(host: Host, ask: EventAsk) -> EventDetail:
    seq = ask.seq
    entries = await host.store.events(seq - 1, 1) if 0 < seq <= host.store.last_seq() else []
    if not entries or entries[0].seq != seq:
        raise NotFoundError(f"there is no event {seq}")
    return EventDetail(line=event_line(entries[0], seq), data=decode_event(entries[0].doc).data)


async def _flow(host: Host, ask: FlowAsk) -> FlowDetail:
    found = await host.store.flow(ask.id)
    if found is None:
        raise NotFoundError(f"there is no flow {ask.id[:80]!r}")
    flow, steps = found
    record = await host.engine.find(flow.model, flow.record)
    return FlowDetail(
        flow=host.monitor.flow_line(flow, steps),
        record=None if record is None else await _shown(host, record.sound()),
        events=tuple(
            event_line(entry, entry.seq)
            for entry in await _entries(host, flow.id, flow.root, [step.cause for step in steps])
        ),
    )


async def _shown(host: Host, record: Record) -> Any:
    """A record as it may leave; one whose model is not loaded without its sealed fields."""
    spec = host.engine.registry.models.get(record.model)
    if spec is not None:
        return msgspec.json.decode(spec.shown(record))
    sealed = ruled_before(await host.store.schema(record.model), "sealed")
    doc = unsealed(record.doc, sealed) if sealed else record.doc
    return msgspec.json.decode(msgspec.structs.replace(record, doc=doc).representation())


async def _description(host: Host, _: DescriptionAsk) -> Description:
    return Description(document=msgspec.json.decode(openapi(host.engine.registry)))


async def _entries(host: Host, flow: str, root: str, causes: Iterable[str]) -> list[Entry]:
    """The events of a flow, from its root on.

    The journal knows events by number and by id only: what came long after the flow began, with
    ten thousand events of others between, is found where it caused a step.
    """
    found: dict[int, Entry] = {}
    for id in dict.fromkeys([root, *causes]):
        entry = await host.store.event(id)
        if entry is not None:
            found[entry.seq] = entry
    after = min(found, default=host.store.last_seq())
    for _ in range(PAGES):
        page = await host.store.events(after, PAGE)
        if not page:
            break
        after = page[-1].seq
        found.update((entry.seq, entry) for entry in page if entry.flow == flow)
    return [found[seq] for seq in sorted(found)]


async def _log(host: Host, ask: LogAsk) -> LogDetail:
    text = host.monitor.traceback(ask.n)
    if text is None:
        raise NotFoundError(f"there is no traceback of line {ask.n}", hint="it may be too long ago")
    return LogDetail(text=text)


async def _failed(host: Host, ask: FailedAsk) -> FailedDetail:
    kind, _, rest = ask.id.partition(":")
    subscriber = ask.id if kind == "flow" else rest.rpartition(":")[0]
    found = [one for one in await host.store.failed_of(subscriber) if one.id == ask.id]
    if not found:
        raise NotFoundError(f"{ask.id[:120]!r} is not on the failed list", hint=HINT)
    (failed,) = found
    stored = await host.store.flow(rest) if failed.kind == "flow" else None
    return FailedDetail(
        line=failed_line(failed),
        input=await input_of(host, failed),
        flow=None if stored is None else host.monitor.flow_line(*stored),
    )


async def input_of(host: Host, failed: Failed) -> dict[str, Any] | None:
    """What a retry of a failure is given: the data of its event, or the record of its flow.

    None where there is nothing to edit: the event has left the journal, the record is deleted, or
    the undo has stopped, with which a retry goes on.
    """
    if failed.kind == "listener":
        try:
            return (await host.input(failed)).data
        except NotFoundError:
            return None
    stored = await host.store.flow(failed.id.partition(":")[2])
    if stored is None or stored[0].state is not FlowState.COMPENSATED:
        return None
    record = await host.engine.find(stored[0].model, stored[0].record)
    if record is None:
        return None
    shown: dict[str, Any] = await _shown(host, record.sound())
    del shown["_meta"]
    spec = host.engine.registry.models.get(record.model)
    derived = () if spec is None or spec.rules is None else spec.rules.derived
    return {name: value for name, value in shown.items() if name not in derived}


async def _groups(host: Host, _: GroupsAsk) -> Groups:
    groups = await host.failed_groups()
    shown = [msgspec.structs.replace(group, ids=group.ids[-GROUPED:]) for group in groups]
    return msgspec.convert({"groups": shown}, Groups, from_attributes=True)


async def _retry_group(host: Host, ask: RetryGroupAsk) -> Done:
    return _each(await host.retry_all(ask.id), "tried again")


async def _discard_group(host: Host, ask: DiscardGroupAsk) -> Done:
    return _each(await host.discard_all(ask.id), "discarded")


def _each(told: Sequence[Told], done: str) -> Done:
    """What came of each of a group, in one line; the first reason of those that stayed."""
    stayed = [one.text for one in told if one.failed]
    text = f"{len(told) - len(stayed)} of {len(told)} {done}"
    return Done(text=f"{text}; {stayed[0]}" if stayed else text)


async def _replay(host: Host, ask: ReplayAsk) -> Replay:
    replay = await host.replay(ask.id)
    parts: dict[Part, tuple[Pair, ...]] = {
        "steps": replay.steps,
        "events": replay.events,
        "state": replay.state,
    }
    return Replay(
        id=ask.id,
        flow=replay.flow,
        revision=replay.revision,
        same=replay.same,
        stopped=replay.stopped,
        reason=replay.reason,
        compared=sum(map(len, parts.values())),
        rows=tuple(
            ReplayRow(part=part, what=pair.name, then=_side(pair.then), now=_side(pair.now))
            for part, pairs in parts.items()
            for pair in pairs
            if not pair.same
        ),
        notes=replay.notes,
    )


def _side(value: Any) -> str | None:
    """One side of what is different, a member in a line."""
    if isinstance(value, dict):
        return "\n".join(f"{name}: {said}" for name, said in value.items())
    return None if value is None else str(value)


async def _replay_trap(host: Host, ask: ReplayTrapAsk) -> TrapOutcome:
    return await host.replay_trap(ask.component, ask.n)


async def _continue(host: Host, ask: ContinueAsk) -> Done:
    await host.continue_undo(ask.id)
    return Done(text="its undo goes on")


async def _skip(host: Host, ask: SkipAsk) -> Done:
    await host.skip_undo(ask.id)
    return Done(text="the step is left as it is, and its undo goes on")


async def _retry(host: Host, ask: RetryAsk) -> Done:
    return Done(text=await host.retry(ask.id, data=ask.data))


async def _discard(host: Host, ask: DiscardAsk) -> Done:
    return Done(text=await host.discard(ask.id))


async def _resume(host: Host, _: ResumeAsk) -> Done:
    resumed = await host.resume()
    return Done(text=f"resumed {', '.join(resumed)}" if resumed else "no flow waits for code")


async def _source(host: Host, address: str, digest: str | None) -> Source:
    """What is at an address. Raises ConflictError where that is not what somebody looked at."""
    source = await host.one(address)
    if digest is not None and source.digest != digest:
        raise ConflictError(
            f"{address} has other code now: {source.name} {source.version} ({source.digest[:8]})",
            hint="plan it again",
        )
    return source


async def _deploy(host: Host, ask: DeployAsk) -> Done:
    source = await _source(host, ask.source, ask.digest)
    deployment = await host.deploy(source, who=WHO)
    return Done(text=f"{deployment.component} {deployment.version} serves now")


async def _split(host: Host, ask: SplitAsk) -> Done:
    source = await _source(host, ask.source, ask.digest)
    return _shares(await host.split(source, weight=ask.weight, by=ask.by))


async def _weigh(host: Host, ask: WeighAsk) -> Done:
    if all(split.component != ask.component for split in host.splits()):
        raise NotFoundError(f"component {ask.component[:80]!r} is not split", hint=HINT)
    return _shares(await host.split(ask.component, weight=ask.weight))


def _shares(split: SplitStatus) -> Done:
    live, candidate = split.live, split.candidate
    return Done(
        text=f"{split.component} {candidate.version} gets {candidate.weight:g} %, "
        f"{live.version} the rest"
    )


async def _promote(host: Host, ask: PromoteAsk) -> Done:
    deployment = await host.promote(ask.component, who=WHO)
    return Done(text=f"{ask.component} {deployment.version} serves all now")


async def _drop(host: Host, ask: DropAsk) -> Done:
    await host.drop(ask.component)
    live = host.engine.registry.live[ask.component]
    return Done(text=f"{ask.component} {live.version} serves all again")


async def _rollback(host: Host, ask: RollbackAsk) -> Done:
    deployment = await host.rollback(ask.component)
    return Done(text=f"{ask.component} {deployment.version} serves again")


async def _undeploy(host: Host, ask: UndeployAsk) -> Done:
    await host.undeploy(ask.component)
    return Done(text=f"{ask.component} is not served any more")


async def _invoke(host: Host, ask: InvokeAsk) -> Done:
    engine = host.engine
    kind, _, path = ask.target.partition(":")
    model, _, name = path.rpartition(".")
    spec = engine.registry.models.get(model)
    if kind not in {"port", "command"} or spec is None:
        known = [f"{kind}:{key}.{name}" for key in engine.registry.models]
        raise NotFoundError(
            f"{ask.target[:120]!r} is no port and no command of a live model",
            hint=closest(ask.target, known),
        )
    if kind == "port":
        port = named(spec, "port", spec.ports, name)
        outcome = await engine.run(spec, ask.record, port, _arguments(port.call, ask.arguments))
    else:
        command = named(spec, "command", spec.commands, name)
        arguments = _arguments(command.call, ask.arguments)
        outcome = await engine.command(spec, ask.record, command, arguments)
    if outcome.record is None:
        return Done(text=f"{name}: the {spec.name} is gone")
    return Done(text=f"{name}: the {spec.name} is at revision {outcome.record.revision}")


def _arguments(call: Call, given: dict[str, Any]) -> msgspec.Struct | None:
    """What a call gets of `given`, checked as the API checks a body."""
    if call.decoder is None or call.arguments is None:
        if given:
            name = next(iter(given))
            raise InvalidError(f"it takes no argument {name!r}", pointer=f"/{name}")
        return None
    fields = call.arguments.__struct_encode_fields__
    arguments: msgspec.Struct = decode_text(ENCODER.encode(given), call.decoder, fields)
    return arguments


_ANSWERS: dict[type[Verb], Callable[[Host, Any], Coroutine[Any, Any, msgspec.Struct]]] = {
    EventAsk: _event,
    FlowAsk: _flow,
    DescriptionAsk: _description,
    LogAsk: _log,
    FailedAsk: _failed,
    GroupsAsk: _groups,
    ReplayAsk: _replay,
    ReplayTrapAsk: _replay_trap,
    ContinueAsk: _continue,
    SkipAsk: _skip,
    RetryAsk: _retry,
    DiscardAsk: _discard,
    RetryGroupAsk: _retry_group,
    DiscardGroupAsk: _discard_group,
    ResumeAsk: _resume,
    DeployAsk: _deploy,
    SplitAsk: _split,
    WeighAsk: _weigh,
    PromoteAsk: _promote,
    DropAsk: _drop,
    RollbackAsk: _rollback,
    UndeployAsk: _undeploy,
    InvokeAsk: _invoke,
}
