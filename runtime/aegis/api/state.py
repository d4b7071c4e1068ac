"""The routes of the host itself: health, flows, events, components, graph, its description."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from weakref import WeakKeyDictionary

import msgspec

from aegis.api.body import decode
from aegis.api.listing import read_number
from aegis.api.openapi import openapi
from aegis.api.records import flow_document
from aegis.api.request import Request
from aegis.api.response import JSON, Response, json_response
from aegis.api.stream import LAST_SEQ, Selection, Streams, read_selection, wants_stream
from aegis.core.errors import InvalidError, NotFoundError
from aegis.core.graph import Graph
from aegis.core.query import MAX_LIMIT
from aegis.core.registry import Registry
from aegis.engine.host import Host

PAGE = 1000
PAGES = 10

# Labels are the author's words; an SVG opened by itself must not run or load anything.
_SVG = (
    ("Content-Type", "image/svg+xml"),
    ("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'"),
    ("X-Content-Type-Options", "nosniff"),
)


class Replaying(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a caller sends to replay a flow, or the flow of an event, on live or deployed code."""

    id: str
    revision: str | None = None


_REPLAYING = msgspec.json.Decoder(Replaying)


class State:
    """Handlers of what belongs to no model."""

    def __init__(self, host: Host, render: Callable[[Graph], str] | None) -> None:
        self._host = host
        self._render = render
        self._streams = Streams(host)
        self._pictures: WeakKeyDictionary[Registry, asyncio.Task[bytes]] = WeakKeyDictionary()

    def health(self, request: Request) -> Response:
        """200 as long as there is somebody to answer."""
        return json_response({"status": "ok"})

    def ready(self, request: Request) -> Response:
        """200 when nothing is missing, else 503 with what is."""
        missing = self._host.missing()
        return json_response(
            {"status": "waiting" if missing else "ready", "missing": missing},
            status=503 if missing else 200,
        )

    async def flow(self, request: Request, id: str) -> Response:
        """One flow with its steps."""
        found = await self._host.store.flow(id)
        if found is None:
            raise NotFoundError(f"no flow has the id {id!r}", hint="`Aegis-Flow` names a new one's")
        return json_response(flow_document(*found))

    async def why(self, request: Request, id: str) -> Response:
        """What led to what, from the request to each change, of an event, flow or record."""
        model = dict(request.parameters()).get("model")
        return json_response(await self._host.why(id, model))

    async def replay(self, request: Request) -> Response:
        """A flow run again on a fork of the data, with recorded answers."""
        wanted: Replaying = decode(request, _REPLAYING, Replaying.__struct_encode_fields__)
        if wanted.revision is not None and "\n" in wanted.revision:
            # A token lets a caller use what is installed, not bring code of his own.
            raise InvalidError(
                "a revision is named here by its label or version",
                hint="replay a component's text from a cell",
                pointer="/revision",
            )
        return json_response(await self._host.replay(wanted.id, wanted.revision))

    def events(self, request: Request) -> Response | Awaitable[Response]:
        """A page of the journal, or a stream for who accepts one."""
        return self._streams.answer(request) if wants_stream(request) else self._page(request)

    async def _page(self, request: Request) -> Response:
        """A page of the journal. `next` is the `after` of the following page, null at its end;

        `last` the newest event's number, from which to ask again later. `forgotten` is there when
        `after` lies before events that are gone: the number of the last one that may be.
        """
        selection, parameters = read_selection(request, _EVENT_PARAMETERS)
        seq = after = read_number(parameters, "after", 0, LAST_SEQ)
        limit = max(1, read_number(parameters, "limit", 100, MAX_LIMIT))
        store, items = self._host.store, list[bytes]()
        # A rare type may be far off: look through some pages, then let the caller come again.
        for _ in range(PAGES):
            entries = await store.events(seq, limit if selection == _EVERYTHING else PAGE)
            for entry in entries:
                seq = entry.seq
                if selection.has(entry):
                    items.append(b'%b,"seq":%d}' % (entry.doc[:-1], entry.seq))
                    if len(items) == limit:
                        break
            if len(items) == limit or not entries:
                break
        last = store.last_seq()
        following = b"%d" % seq if seq < last else b"null"
        forgotten = self._host.forgotten
        gone = b',"forgotten":%d' % forgotten if after < forgotten else b""
        page = b'{"items":[%b],"next":%b,"last":%d%b}' % (b",".join(items), following, last, gone)
        return Response(200, (JSON, ("Vary", "Accept")), page)

    def components(self, request: Request) -> Response:
        """What is installed and how it stands."""
        return json_response(self._host.status())

    def description(self, request: Request) -> Response:
        """The OpenAPI document."""
        return Response(200, (JSON,), openapi(self._host.engine.registry))

    def graph(self, request: Request) -> Response:
        """The graph as nodes and edges."""
        return Response(200, (JSON,), msgspec.json.encode(self._host.graph()))

    async def picture(self, request: Request) -> Response:
        """The graph as SVG, drawn once per registry and off the loop."""
        if self._render is None:
            raise NotFoundError("this host draws no graphs", hint="graph.json has the same as data")
        registry = self._host.engine.registry
        drawing = self._pictures.get(registry)
        if drawing is None:
            drawing = asyncio.ensure_future(self._draw(self._render, self._host.graph()))
            self._pictures[registry] = drawing
        try:
            svg = await asyncio.shield(drawing)
        except Exception:
            self._pictures.pop(registry, None)
            raise
        return Response(200, _SVG, svg)

    async def _draw(self, render: Callable[[Graph], str], graph: Graph) -> bytes:
        return (await asyncio.to_thread(render, graph)).encode()


_EVENT_PARAMETERS = ("after", "limit", "subject", "token", "type")
_EVERYTHING = Selection()
