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
from aegis.core.errors import InvalidError, NotFoundError, closest
from aegis.core.event import decode_event
from aegis.core.graph import Graph
from aegis.core.wire import (
    Description,
    DescriptionAsk,
    DiscardAsk,
    Done,
    EventAsk,
    EventDetail,
    FlowAsk,
    FlowDetail,
    InvokeAsk,
    Picture,
    PictureAsk,
    ResumeAsk,
    RetryAsk,
    RollbackAsk,
    UndeployAsk,
    Verb,
)
from aegis.engine.engine import named
from aegis.engine.host import Host
from aegis.engine.monitor import event_line, flow_line
from aegis.protocols import Entry

PICTURES = 4
PAGE = 1000
PAGES = 10


class Answers:
    """Answers of one host, on its loop. `render` draws a graph: once, however many views ask."""

    def __init__(self, host: Host, render: Callable[[Graph], str] | None) -> None:
        self._host = host
        self._render = render
        self._drawn: dict[str, asyncio.Task[Picture]] = {}

    def to(self, ask: Verb) -> Coroutine[Any, Any, msgspec.Struct]:
        """The answer, of the type that the verb names. Raises AegisError when awaited."""
        host = self._host
        match ask:
            case PictureAsk():
                return self._picture()
            case EventAsk():
                return _event(host, ask.seq)
            case FlowAsk():
                return _flow(host, ask.id)
            case DescriptionAsk():
                return _description(host)
            case RetryAsk():
                return _retry(host, ask.id)
            case DiscardAsk():
                return _discard(host, ask.id)
            case ResumeAsk():
                return _resume(host)
            case RollbackAsk():
                return _rollback(host, ask.component)
            case UndeployAsk():
                return _undeploy(host, ask.component)
            case InvokeAsk():
                return _invoke(host, ask)

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
    packed = base64.b64encode(zlib.compress(render(graph).encode()))
    return Picture(digest=graph.digest, data=packed.decode())


async def _event(host: Host, seq: int) -> EventDetail:
    entries = await host.store.events(seq - 1, 1) if 0 < seq <= host.store.last_seq() else []
    if not entries or entries[0].seq != seq:
        raise NotFoundError(f"there is no event {seq}")
    return EventDetail(line=event_line(entries[0], seq), data=decode_event(entries[0].doc).data)


async def _flow(host: Host, id: str) -> FlowDetail:
    found = await host.store.flow(id)
    if found is None:
        raise NotFoundError(f"there is no flow {id[:80]!r}")
    flow, steps = found
    record = host.store.get(flow.model, flow.record)
    return FlowDetail(
        flow=flow_line(flow, steps, host.monitor.waits(id)),
        record=None if record is None else msgspec.json.decode(record.sound().representation()),
        events=tuple(
            event_line(entry, entry.seq)
            for entry in await _entries(host, id, flow.root, [step.cause for step in steps])
        ),
    )


async def _description(host: Host) -> Description:
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


async def _retry(host: Host, id: str) -> Done:
    return Done(text=await host.retry(id))


async def _discard(host: Host, id: str) -> Done:
    return Done(text=await host.discard(id))


async def _resume(host: Host) -> Done:
    resumed = await host.resume()
    return Done(text=f"resumed {', '.join(resumed)}" if resumed else "no flow waits for code")


async def _rollback(host: Host, component: str) -> Done:
    deployment = await host.rollback(component)
    return Done(text=f"{component} {deployment.version} serves again")


async def _undeploy(host: Host, component: str) -> Done:
    await host.undeploy(component)
    return Done(text=f"{component} is not served any more")


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
