"""The routes of a model's records: list, create, get, change, delete, command, port, flows."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar
from urllib.parse import quote

import msgspec

from aegis.api.body import check_type, decode, decode_text
from aegis.api.condition import expected, unchanged
from aegis.api.expanding import expanded, read_tree
from aegis.api.idempotency import Once
from aegis.api.listing import Asked, accepts, next_link, read_number, read_query
from aegis.api.request import Request
from aegis.api.response import JSON, LINES, VARY, Headers, Response, json_response, record_response
from aegis.api.stream import LAST_SEQ
from aegis.core.component import Call, ModelSpec
from aegis.core.errors import BusyError, ClosedError, InvalidError, NotFoundError, closest
from aegis.core.flow import Flow, Step
from aegis.core.query import MAX_LIMIT, read_cursor
from aegis.core.record import Record
from aegis.core.sealing import Sealing
from aegis.engine.engine import Engine
from aegis.engine.history import record_of
from aegis.engine.host import Host
from aegis.engine.ledger import Answering, Outcome

MAX_WAIT = 600
FIRST = 100  # records in the first piece of a stream
PIECE = 256 * 1024  # bytes of each of the others
FLOW = "Aegis-Flow"
FLOW_STATE = "Aegis-Flow-State"

_WAIT = re.compile(r'(?:^|,)\s*wait\s*=\s*"?(?P<seconds>\d{1,9})"?\s*(?:[;,]|$)', re.IGNORECASE)

T = TypeVar("T")


class Records:
    """Handlers under `models/`. Each reads the host's engine once, so it sees one registry."""

    def __init__(self, host: Host, prefix: str) -> None:
        self._host = host
        self._prefix = prefix
        self._once = Once(host.clock)

    def _engine(self, request: Request, endpoint: str, id: str) -> Engine:
        """The engine for a record: where its component is split, that of the side which gets it."""
        engine = self._host.engine
        if not engine.arms:
            return engine
        spec = engine.registry.endpoints.get(endpoint)
        split = None if spec is None else engine.registry.splits.get(spec.component)
        if split is None:
            return engine
        said = None if split.header is None else request.headers.get(split.header)
        return engine.arm(split.component, said or id)

    def _model(self, engine: Engine, endpoint: str) -> ModelSpec:
        """The live model of an endpoint. Raises NotFoundError with the likely one.

        While the host starts, what is not there may be about to come: that is a BusyError.
        """
        spec = engine.registry.endpoints.get(endpoint)
        if spec is None and (starting := self._host.starting_with()):
            raise BusyError(f"the host is still starting: {', '.join(starting)}")
        return _named(engine.registry.endpoints, endpoint, "model") if spec is None else spec

    def _taking(self, engine: Engine, endpoint: str) -> ModelSpec:
        """As `_model`, for a request that may write: a migration comes before its body."""
        spec = self._model(engine, endpoint)
        engine.resident(spec)
        return spec

    def get(self, request: Request, endpoint: str, id: str) -> Response | Awaitable[Response]:
        """One record, or 304 when the caller has it; with `at` as it was then."""
        engine = self._engine(request, endpoint, id)
        spec = self._model(engine, endpoint)
        if "at=" in request.query and "at" in (given := dict(request.parameters())):
            return self._past(spec, id, given)
        if not engine.is_here(spec):
            return self._fetched(request, engine, spec, id)
        return self._shown(request, engine, spec, engine.get(spec, id))

    async def _fetched(
        self, request: Request, engine: Engine, spec: ModelSpec, id: str
    ) -> Response:
        shown = self._shown(request, engine, spec, await engine.fetch(spec, id))
        return shown if isinstance(shown, Response) else await shown

    def _shown(
        self, request: Request, engine: Engine, spec: ModelSpec, record: Record
    ) -> Response | Awaitable[Response]:
        if "if-none-match" in request.headers and unchanged(request.headers, record):
            return Response(304, (("ETag", record.etag),))
        if "expand=" in request.query and "expand" in (given := dict(request.parameters())):
            return self._expanded(engine, spec, record, given["expand"])
        return record_response(spec, record)

    async def _expanded(
        self, engine: Engine, spec: ModelSpec, record: Record, expand: str
    ) -> Response:
        """A record with what it relates to; without an ETag, which would be of the record alone."""
        tree = read_tree(engine, spec, expand)
        (body,) = await expanded(engine, spec, [record], tree)
        return Response(200, (JSON,), body)

    async def related(self, request: Request, endpoint: str, id: str, name: str) -> Response:
        """What a record relates to: one record, or a page of them."""
        engine = self._engine(request, endpoint, id)
        spec = self._model(engine, endpoint)
        relation = _named(spec.relations, name, f"relation of {spec.name}")
        value = spec.value(await engine.fetch(spec, id))
        target = engine.reach.target(relation)
        parameters = request.parameters()
        asked = read_query(target, parameters)
        condition = engine.reach.condition(relation, target, value)
        query = msgspec.structs.replace(asked.query, where=(condition, *asked.query.where))
        if not relation.many:
            found = await engine.list(target, query)
            if not found.items:
                raise NotFoundError(f"{spec.name} {id!r} has no {name}")
            (record,) = found.items[:1]
            tree = read_tree(engine, target, asked.expand)
            (body,) = await expanded(engine, target, [record], tree, asked.fields)
            return Response(200, (JSON,), body)
        return await self._page(
            request, engine, target, msgspec.structs.replace(asked, query=query)
        )

    async def relate(self, request: Request, endpoint: str, id: str, name: str) -> Response:
        """A new record that this one relates to: 201 once both are durable as they are then."""
        engine = self._engine(request, endpoint, id)
        spec = self._model(engine, endpoint)
        relation = _named(spec.relations, name, f"relation of {spec.name}")
        target = engine.reach.target(relation)
        check_type(request)
        given = decode_text(request.body, _FIELDS)
        text = msgspec.json.encode(engine.reach.filled(relation, target, id, given))
        data = decode_text(text, target.create_decoder, _fields(target.create), target.rules)

        def respond(outcome: Outcome) -> Response:
            made = "" if outcome.record is None else outcome.record.id
            headers: Headers = ()
            if target.endpoint is not None:
                place = f"{self._prefix}/models/{quote(target.endpoint, safe='')}"
                headers = (("Location", f"{place}/{quote(made, safe='')}"),)
            return _changed(target, outcome, *headers, status=201)

        return await self._do(
            request,
            engine,
            spec,
            lambda answering: engine.relate(spec, id, relation, data, answering=answering),
            respond,
            spec.sealing or target.sealing,
        )

    async def _past(self, spec: ModelSpec, id: str, given: Mapping[str, str]) -> Response:
        """A record as of a number of the journal; without an ETag: nothing can be changed there."""
        past = await self._host.at(read_number(given, "at", 0, LAST_SEQ), id, spec.key)
        return Response(200, (JSON,), spec.shown(record_of(past, spec)))

    async def list(self, request: Request, endpoint: str) -> Response:
        """A page of records, or a line for each of all there are."""
        engine = self._host.engine
        spec = self._model(engine, endpoint)
        parameters = request.parameters()
        if accepts(request, LINES[1]):
            asked = read_query(spec, parameters, whole=True)
            read_tree(engine, spec, asked.expand)
            return Response(
                200, (LINES, VARY), stream=lambda: self._lines(request, engine, spec, asked)
            )
        asked = read_query(spec, parameters)
        return await self._page(request, engine, spec, asked)

    async def _page(
        self, request: Request, engine: Engine, spec: ModelSpec, asked: Asked
    ) -> Response:
        tree, parameters = read_tree(engine, spec, asked.expand), request.parameters()
        page = await engine.list(spec, asked.query)
        items = b",".join(await expanded(engine, spec, page.items, tree, asked.fields))
        body = b'{"items":[%b],"next":%b' % (items, msgspec.json.encode(page.next))
        if asked.count:
            body += b',"count":%d' % await engine.count(spec, asked.query.where)
        body += b"}"
        if page.next is None:
            return Response(200, (JSON, VARY), body)
        link = next_link(request.path, parameters, page.next)
        return Response(200, (JSON, VARY, ("Link", link)), body)

    async def _lines(
        self, request: Request, engine: Engine, spec: ModelSpec, asked: Asked
    ) -> AsyncGenerator[bytes]:
        """All records of a query, a line of JSON each, in pieces of about `PIECE` bytes.

        A piece is read when the one before is on its way. Ends with ClosedError when the server
        closes: what is not whole must not look as if it were.
        """
        hurried = asyncio.Event()
        request.on_hurry(hurried.set)
        tree = read_tree(engine, spec, asked.expand)
        query, left, count = asked.query, asked.query.limit, FIRST
        while left:
            query = msgspec.structs.replace(query, limit=min(count, left))
            page = await engine.list(spec, query)
            if hurried.is_set():
                raise ClosedError("nobody takes the rest of the records")
            shown = await expanded(engine, spec, page.items, tree, asked.fields)
            piece = b"".join([text + b"\n" for text in shown])
            if piece:
                yield piece
            if page.next is None:
                return
            left -= len(page.items)
            count = max(1, min(MAX_LIMIT, PIECE * len(page.items) // len(piece)))
            query = msgspec.structs.replace(query, after=read_cursor(page.next, query.sort))

    async def create(self, request: Request, endpoint: str) -> Response:
        """A new record: 201 once it and its first event are durable."""
        engine, id = self._host.engine, None
        if engine.arms:
            id = engine.id()
            engine = self._engine(request, endpoint, id)
        spec = self._taking(engine, endpoint)
        data = decode(request, spec.create_decoder, _fields(spec.create), spec.rules)

        def respond(outcome: Outcome) -> Response:
            made = "" if outcome.record is None else outcome.record.id
            place = f"{self._prefix}/models/{quote(endpoint, safe='')}/{quote(made, safe='')}"
            return _changed(spec, outcome, ("Location", place), status=201)

        return await self._do(
            request,
            engine,
            spec,
            lambda answering: engine.create(spec, data, id=id, answering=answering),
            respond,
            spec.sealing,
        )

    async def patch(self, request: Request, endpoint: str, id: str) -> Response:
        """The record with the given fields changed; the others stay."""
        engine = self._engine(request, endpoint, id)
        spec = self._taking(engine, endpoint)
        changes = decode(request, spec.patch_decoder, _fields(spec.patch), spec.rules)
        revision = expected(request.headers, spec, await engine.fetch(spec, id))
        outcome = await engine.patch(spec, id, changes, expected=revision)
        return await self._settled(request, engine, spec, _changed(spec, outcome))

    async def delete(self, request: Request, endpoint: str, id: str) -> Response:
        """The end of a record: 204."""
        engine = self._engine(request, endpoint, id)
        spec = self._taking(engine, endpoint)
        revision = expected(request.headers, spec, await engine.stored(spec, id))
        await engine.delete(spec, id, expected=revision)
        return Response(204)

    async def command(self, request: Request, endpoint: str, id: str, name: str) -> Response:
        """A command of the record; the body holds its arguments."""
        engine = self._engine(request, endpoint, id)
        spec = self._taking(engine, endpoint)
        command = _named(spec.commands, name, f"command of {spec.name}")
        arguments = _arguments(request, command.call)
        return await self._do(
            request,
            engine,
            spec,
            lambda answering: engine.command(spec, id, command, arguments, answering=answering),
            partial(_changed, spec),
            spec.sealing,
        )

    async def port(self, request: Request, endpoint: str, id: str, name: str) -> Response:
        """One direct attempt of a port; the body holds its arguments."""
        engine = self._engine(request, endpoint, id)
        spec = self._taking(engine, endpoint)
        port = _named(spec.ports, name, f"port of {spec.name}")
        arguments = _arguments(request, port.call)
        return await self._do(
            request,
            engine,
            spec,
            lambda answering: engine.run(spec, id, port, arguments, answering=answering),
            partial(_changed, spec),
            spec.sealing,
        )

    async def flows(self, request: Request, endpoint: str, id: str) -> Response:
        """The flows about a record, oldest first."""
        engine = self._engine(request, endpoint, id)
        spec = self._model(engine, endpoint)
        found = await self._host.store.flows(spec.key, id)
        if not found:
            await engine.fetch(
                spec, id
            )  # a record that never was is 404; one deleted keeps its flows
        return json_response({"items": [flow_document(flow, steps) for flow, steps in found]})

    async def _do(
        self,
        request: Request,
        engine: Engine,
        spec: ModelSpec,
        run: Callable[[Answering | None], Awaitable[Outcome]],
        respond: Callable[[Outcome], Response],
        sealing: Sealing | None,
    ) -> Response:
        # Looking the key up takes a moment, in which a deploy may let go of this revision.
        resident = engine.resident(spec)
        resident.enter()
        try:
            response = await self._once.do(request, engine, run, respond, sealing)
        finally:
            resident.leave()
        return await self._settled(request, engine, spec, response)

    async def _settled(
        self, request: Request, engine: Engine, spec: ModelSpec, response: Response
    ) -> Response:
        """`response`, once its flow has ended or the caller's patience has (`Prefer: wait=N`)."""
        match = _WAIT.search(request.headers.get("prefer", ""))
        if match is None:
            return response
        seconds = min(int(match["seconds"]), MAX_WAIT)
        applied = ("Preference-Applied", f"wait={seconds}")
        flow_id = response.header(FLOW)
        if flow_id is None:
            return response.adding(applied)
        # What is durable is done; from here on only the waiting can be cut short.
        waiting = asyncio.ensure_future(self._host.wait(flow_id, float(seconds)))
        request.on_hurry(waiting.cancel)
        try:
            await asyncio.wait((waiting,))
        finally:
            waiting.cancel()
        flow = None if waiting.cancelled() else waiting.result()
        if flow is None:
            return response
        # The headers stay, but for the ETag, which is the current record's.
        kept = tuple(h for h in response.headers if h != JSON and h[0] != "ETag")
        kept += ((FLOW_STATE, flow.state.value), applied)
        try:
            record = await engine.fetch(spec, flow.record)
        except NotFoundError:
            return response.adding(*kept[-2:])
        return record_response(spec, record, *kept, status=response.status)


def flow_document(flow: Flow, steps: Sequence[Step]) -> dict[str, Any]:
    """A flow with its steps, as JSON shows it."""
    document: dict[str, Any] = msgspec.to_builtins(flow)
    document["steps"] = msgspec.to_builtins(steps)
    return document


def _named(known: Mapping[str, T], name: str, kind: str) -> T:
    found = known.get(name)
    if found is None:
        hint = closest(name, known)
        if hint is None:
            hint = f"there are: {', '.join(sorted(known))}" if known else "there is none at all"
        raise NotFoundError(f"no {kind} is called {name!r}", hint=hint)
    return found


def _changed(
    spec: ModelSpec, outcome: Outcome, *headers: tuple[str, str], status: int = 200
) -> Response:
    """What a write answers: the record as it is now, and the flow that it set off."""
    known: Headers = headers if outcome.flow is None else (*headers, (FLOW, outcome.flow))
    if outcome.record is None:
        return Response(204, known)
    return record_response(spec, outcome.record, *known, status=status)


def _fields(struct: type[msgspec.Struct]) -> tuple[str, ...]:
    return struct.__struct_encode_fields__


def _arguments(request: Request, call: Call) -> msgspec.Struct | None:
    """The arguments in the body, which may be left out when none is required."""
    if request.body:
        check_type(request)
    decoder, struct = call.decoder, call.arguments
    if decoder is None or struct is None:
        given = decode_text(request.body or b"{}", _OBJECT)
        if given:
            name = next(iter(given))
            raise InvalidError(f"it takes no argument {name!r}", pointer=f"/{name}")
        return None
    arguments: msgspec.Struct = decode_text(request.body or b"{}", decoder, _fields(struct))
    return arguments


_OBJECT = msgspec.json.Decoder(dict[str, Any])
_FIELDS = msgspec.json.Decoder(dict[str, msgspec.Raw])
