"""What a host answers to each verb of a view: pictures, events, flows, and what steers it."""

from __future__ import annotations

import asyncio
import base64
import zlib
from collections.abc import Callable, Coroutine, Iterable
from typing import Any

import msgspec

from aegis.api.body import decode_text
from aegis.api.openapi import openapi
from aegis.core.component import ENCODER, Call
from aegis.core.errors import AegisError, InvalidError, NotFoundError, closest
from aegis.core.event import decode_event
from aegis.core.flow import FlowState
from aegis.core.graph import Graph
from aegis.core.wire import (
    ContinueAsk,
    Description,
    DescriptionAsk,
    DiscardAsk,
    DiscardGroupAsk,
    Done,
    EventAsk,
    EventDetail,
    FailedAsk,
    FailedDetail,
    FailedGroup,
    FlowAsk,
    FlowDetail,
    Groups,
    GroupsAsk,
    InvokeAsk,
    Picture,
    PictureAsk,
    Replay,
    ReplayAsk,
    ReplayRow,
    ResumeAsk,
    RetryAsk,
    RetryGroupAsk,
    RollbackAsk,
    SkipAsk,
    UndeployAsk,
    Verb,
    Why,
    WhyAsk,
)
from aegis.engine.engine import named
from aegis.engine.host import Host
from aegis.engine.lines import event_line, failed_line
from aegis.protocols import Entry

PICTURES = 4
PAGE = 1000
PAGES = 10
GROUPED = 200
HINT = "it may have been dealt with meanwhile"


class Answers:
    """Answers of one host, on its loop. `render` draws a graph: once, however many views ask."""

    def __init__(self, host: Host, render: Callable[[Graph], str] | None) -> None:
        self._host = host
        self._render = render
        self._drawn: dict[str, asyncio.Task[Picture]] = {}

    def to(self, ask: Verb) -> Coroutine[Any, Any, msgspec.Struct]:
        """The answer, of the type that the verb names. Raises AegisError when awaited."""
        if isinstance(ask, PictureAsk):
            return self._picture()
        return _ANSWERS[type(ask)](self._host, ask)

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
    record = host.store.get(flow.model, flow.record)
    return FlowDetail(
        flow=host.monitor.flow_line(flow, steps),
        record=None if record is None else msgspec.json.decode(record.sound().representation()),
        events=tuple(
            event_line(entry, entry.seq)
            for entry in await _entries(host, flow.id, flow.root, [step.cause for step in steps])
        ),
    )


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


async def _failed(host: Host, ask: FailedAsk) -> FailedDetail:
    kind, _, rest = ask.id.partition(":")
    subscriber = ask.id if kind == "flow" else rest.rpartition(":")[0]
    found = [one for one in await host.store.failed_of(subscriber) if one.id == ask.id]
    if not found:
        raise NotFoundError(f"{ask.id[:120]!r} is not on the failed list", hint=HINT)
    (failed,) = found
    if failed.kind == "listener":
        entry = await host.store.event(failed.event)
        data = None if entry is None else decode_event(entry.doc).data
        return FailedDetail(line=failed_line(failed), input=data)
    stored = await host.store.flow(rest)
    if stored is None:
        return FailedDetail(line=failed_line(failed), input=None)
    flow, steps = stored
    # Where its undo has stopped, a retry goes on with that, and takes no input.
    record = host.store.get(flow.model, flow.record)
    if flow.state is not FlowState.COMPENSATED:
        record = None
    return FailedDetail(
        line=failed_line(failed),
        input=None if record is None else msgspec.json.decode(record.sound().doc),
        flow=host.monitor.flow_line(flow, steps),
    )


async def _groups(host: Any, _: GroupsAsk) -> Groups:
    groups = [
        FailedGroup(
            kind=group.kind,
            what=group.what,
            error=group.error,
            count=group.count,
            first=group.first,
            last=group.last,
            ids=tuple(group.ids[-GROUPED:]),
        )
        for group in await host.failed_groups()
    ]
    return Groups(groups=tuple(sorted(groups, key=lambda group: -group.count)))


async def _group(host: Any, ask: RetryGroupAsk | DiscardGroupAsk) -> Done:
    """Do the same to all of a group, whatever becomes of one; the first reason is told."""
    retries = isinstance(ask, RetryGroupAsk)
    verb, done = (host.retry, "tried again") if retries else (host.discard, "discarded")
    wanted = (ask.kind, ask.what, ask.error)
    groups = await host.failed_groups()
    ids = [id for g in groups if (g.kind, g.what, g.error) == wanted for id in g.ids]
    if not ids:
        raise NotFoundError("there is no such group of failures", hint=HINT)
    went, why = 0, ""
    for id in ids:
        try:
            await verb(id)
            went += 1
        except NotFoundError:
            went += 1  # it was held behind one that went before
        except AegisError as error:
            why = why or f"; {error}"
    return Done(text=f"{went} of {len(ids)} {done}{why}")


async def _why(host: Any, ask: WhyAsk) -> Why:
    why = await host.why(ask.id)
    return Why(id=ask.id, text=why.text, data=_packed(why.svg))


async def _replay(host: Any, ask: ReplayAsk) -> Replay:
    replay = await host.replay(ask.id)
    rows = (ReplayRow(what=row.what, then=row.then, now=row.now) for row in replay.diff)
    return Replay(id=ask.id, same=replay.same, rows=tuple(rows), stopped=replay.stopped)


async def _continue(host: Host, ask: ContinueAsk) -> Done:
    await host.continue_undo(ask.id)
    return Done(text="its undo goes on")


async def _skip(host: Any, ask: SkipAsk) -> Done:
    await host.skip_undo(ask.id)
    return Done(text="the step is left as it is, and its undo goes on")


async def _retry(host: Any, ask: RetryAsk) -> Done:
    given = () if ask.data is None else (ask.data,)
    return Done(text=await host.retry(ask.id, *given))


async def _discard(host: Host, ask: DiscardAsk) -> Done:
    return Done(text=await host.discard(ask.id))


async def _resume(host: Host, _: ResumeAsk) -> Done:
    resumed = await host.resume()
    return Done(text=f"resumed {', '.join(resumed)}" if resumed else "no flow waits for code")


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
    FailedAsk: _failed,
    GroupsAsk: _groups,
    WhyAsk: _why,
    ReplayAsk: _replay,
    ContinueAsk: _continue,
    SkipAsk: _skip,
    RetryAsk: _retry,
    DiscardAsk: _discard,
    RetryGroupAsk: _group,
    DiscardGroupAsk: _group,
    ResumeAsk: _resume,
    RollbackAsk: _rollback,
    UndeployAsk: _undeploy,
    InvokeAsk: _invoke,
}
