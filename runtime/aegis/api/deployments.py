"""The routes of deployments: plan or deploy what is at an address or was sent, take it back."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any

import msgspec

from aegis.api.body import decode, located
from aegis.api.idempotency import Once
from aegis.api.listing import DEFAULT_LIMIT, accepts, read_number
from aegis.api.request import Request
from aegis.api.response import LINES, VARY, Response, json_response
from aegis.core.component import Source
from aegis.core.errors import AegisError, BadRequestError, InvalidError, NotFoundError, closest
from aegis.core.manifest import NAME, VERSION, is_inside
from aegis.core.moving import Progress
from aegis.core.outcome import Asked, Problem, Result, Told
from aegis.core.query import MAX_LIMIT
from aegis.core.rehearsal import Gate
from aegis.engine.host import Host

Json = dict[str, Any]

MAX_BUNDLE = 32 << 20  # bytes of what may be sent
WHO = "http"
_ZIP = re.compile(r"application/zip\s*(?:;|$)", re.IGNORECASE)
_WASM = re.compile(r"application/wasm\s*(?:;|$)", re.IGNORECASE)
_LAST = 2**53
_PAGE = ("before", "component", "limit", "token")
_OPTIONS = ("differ", "gate", "last", "plan", "raises", "seconds", "split", "token")


class Deploying(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body: what is at an address, or a component by name, version and text with its imports.

    With `plan` nothing is deployed. `gate` true is one with its usual terms. With `split` it is a
    candidate for that share of the records, in percent.
    """

    source: str | None = None
    name: Annotated[str, msgspec.Meta(pattern=NAME.pattern)] | None = None
    version: Annotated[str, msgspec.Meta(pattern=VERSION.pattern)] | None = None
    text: str | None = None
    imports: Mapping[str, str] = {}
    gate: Gate | bool | None = None
    plan: bool = False
    split: float | None = None


_DECODER = msgspec.json.Decoder(Deploying)


@dataclass(frozen=True, kw_only=True)
class _Asking:
    """What was sent, and what is to be done with it."""

    sent: Deploying | Source | bytes
    gate: Gate | None
    plan: bool
    split: float | None


class DeploymentRoutes:
    """Handlers of the deployments of one host."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._once = Once(host.clock)
        self._under_way: set[asyncio.Task[Asked]] = set()

    # Asking for one

    def deploy(self, request: Request) -> Response | Awaitable[Response]:
        """Deploy a component: 201 with the deployment, 200 where it served already, or a plan."""
        return self._answer(request, _read(request))

    def plan(self, request: Request) -> Response | Awaitable[Response]:
        """Plan the same, and deploy nothing."""
        return self._answer(request, replace(_read(request), plan=True))

    def _answer(
        self,
        request: Request,
        asking: _Asking,
    ) -> Response | Awaitable[Response]:
        plan = asking.plan

        async def whole() -> Response:
            asked = await self._do(asking, lambda _: None)
            made = asked.deployment is not None and not asked.same
            headers: list[tuple[str, str]] = [VARY]
            if made and asked.deployment is not None:
                headers.append(("Location", f"{request.path}/{asked.deployment.number}"))
            return json_response(asked, *headers, status=201 if made else 200)

        if not accepts(request, LINES[1]):
            return whole() if plan else self._once.repeat(request, self._host.store, whole)
        if "idempotency-key" in request.headers and not plan:
            raise BadRequestError(
                "an answer in lines is not kept, so it takes no Idempotency-Key",
                hint="the same code again changes nothing; or accept application/json",
                header="Idempotency-Key",
            )
        return Response(200, (LINES, VARY), stream=lambda: self._lines(asking))

    async def _lines(
        self,
        asking: _Asking,
    ) -> AsyncGenerator[bytes]:
        """How far it is, a line each, and at last the answer. Who breaks off ends a gate, too."""
        changed, told = asyncio.Event(), dict[str, Told]()

        def tell(what: str) -> Progress:
            def hear(done: int, of: int) -> None:
                told[what] = Told(what=what, done=done, of=of)
                changed.set()

            return hear

        task = asyncio.ensure_future(self._do(asking, tell))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)
        task.add_done_callback(lambda _: changed.set())
        try:
            while not task.done():
                await changed.wait()
                changed.clear()
                pending, told = told, {}
                for line in pending.values():
                    yield _line(line)
            try:
                yield _line(Result(answer=await task))
            except AegisError as error:
                error = located(error) if isinstance(error, InvalidError) else error
                yield _line(Problem(problem=error.problem()))
        finally:
            task.cancel()

    async def _do(
        self,
        asking: _Asking,
        tell: Callable[[str], Progress | None],
    ) -> Asked:
        host, gate = self._host, asking.gate
        source = await self._source(asking.sent, tell("fetch"))
        if asking.plan:
            found = await host.plan(source)
            if gate is None or found.problems:
                return Asked(plan=found)
            return Asked(plan=found, rehearsal=await host.rehearse(source, gate, told=tell("gate")))
        rehearsal = None
        before = await self._live(source.name)
        if gate is not None:
            rehearsal = await host.through(gate, source, who=WHO, told=tell("gate"))
        if asking.split is not None:
            split = await host.split(source, weight=asking.split)
            return Asked(split=split, rehearsal=rehearsal)
        made = await host.deploy(source, who=WHO)
        return Asked(deployment=made, same=made.number == before, rehearsal=rehearsal)

    async def _source(self, sent: Deploying | Source | bytes, told: Progress | None) -> Source:
        host = self._host
        if isinstance(sent, bytes | Source):
            return await host.receive(sent, told=told, who=WHO)
        if sent.source is not None:
            return await host.one(sent.source, WHO, told=told)
        assert sent.name is not None  # noqa: S101 -- _read has looked
        assert sent.version is not None  # noqa: S101
        text = Source.of(
            sent.name,
            sent.version,
            sent.text or "",
            origin=f"upload:{sent.name}",
            imports=sent.imports,
        )
        return await host.receive(text, who=WHO)

    async def _live(self, name: str) -> int | None:
        """The number of the deployment that serves."""
        if name not in self._host.engine.registry.live:
            return None
        found = (one for one in await self._host.store.deployments() if one.component == name)
        return max((one.number for one in found if one.live), default=None)

    # The past

    async def list(self, request: Request) -> Response:
        """A page of what was deployed, the newest first; `next` is the `before` of the next."""
        given = _parameters(request, _PAGE)
        limit = max(1, read_number(given, "limit", DEFAULT_LIMIT, MAX_LIMIT))
        before = read_number(given, "before", _LAST, _LAST)
        found = [
            one
            for one in await self._host.store.deployments()
            if one.number < before and given.get("component", one.component) == one.component
        ]
        found.sort(key=lambda one: -one.number)
        following = found[limit - 1].number if len(found) > limit else None
        return json_response({"items": found[:limit], "next": following})

    async def get(self, request: Request, number: str) -> Response:
        """One deployment."""
        for one in await self._host.store.deployments():
            if str(one.number) == number:
                return json_response(one)
        raise NotFoundError(f"there is no deployment {number[:40]!r}")

    # Components

    async def rollback(self, request: Request, name: str) -> Response:
        """Serve the revision before this one again."""

        async def back() -> Response:
            return json_response(Asked(deployment=await self._host.rollback(name)))

        return await self._once.repeat(request, self._host.store, back)

    async def undeploy(self, request: Request, name: str) -> Response:
        """Stop serving a component; its records stay."""

        async def stop() -> Response:
            await self._host.undeploy(name)
            return Response(204)

        return await self._once.repeat(request, self._host.store, stop)


def _line(line: Told | Result | Problem) -> bytes:
    return json_response(line).body + b"\n"


def _read(request: Request) -> _Asking:
    """What was sent and is asked for. Raises BadRequestError, InvalidError."""
    if _ZIP.match(request.headers.get("content-type", "")):
        given = _parameters(request, _OPTIONS)
        if not request.body:
            raise BadRequestError("the body is empty", hint="send the zip of a component")
        return _Asking(
            sent=request.body,
            gate=_given_gate(given),
            plan=_flag(given, "plan"),
            split=_share(given),
        )
    if _WASM.match(request.headers.get("content-type", "")):
        given = _parameters(request, (*_OPTIONS, "name", "version"))
        return _Asking(
            sent=_module(given, request.body),
            gate=_given_gate(given),
            plan=_flag(given, "plan"),
            split=_share(given),
        )
    sent: Deploying = decode(request, _DECODER, Deploying.__struct_fields__)
    by_text = (sent.name, sent.version, sent.text)
    if (sent.source is None) == (None in by_text) or (sent.source is not None and any(by_text)):
        raise InvalidError(
            "a deploy has a `source`, or `name`, `version` and `text`",
            hint="or send a zip as application/zip",
            pointer="",
        )
    for path in sent.imports:
        if not (is_inside(path) and path.endswith(".py")):
            raise InvalidError(
                f"{path[:80]!r} is no Python file below the component's folder", pointer="/imports"
            )
    gate = Gate() if sent.gate is True else sent.gate or None
    return _Asking(sent=sent, gate=gate, plan=sent.plan, split=sent.split)


def _given_gate(given: Mapping[str, str]) -> Gate | None:
    """The gate that a query says: `gate=true`, or its terms."""
    terms = {name: given[name] for name in ("last", "differ", "raises", "seconds") if name in given}
    if not terms:
        return Gate() if _flag(given, "gate") else None
    try:
        return msgspec.convert(terms, Gate, strict=False)
    except msgspec.ValidationError as error:
        raise BadRequestError(f"the gate: {error}") from None


def _share(given: Mapping[str, str]) -> float | None:
    """The share of the records that a query says, for a candidate."""
    said = given.get("split")
    try:
        return None if said is None else float(said)
    except ValueError:
        raise BadRequestError(
            f"split is how many percent, not {said!r:.40}", parameter="split"
        ) from None


def _module(given: Mapping[str, str], body: bytes) -> Source:
    """A module in WebAssembly under the name it is sent by: it runs once that one is trusted."""
    for key, rule in (("name", NAME), ("version", VERSION)):
        if not rule.match(given.get(key, "")):
            raise BadRequestError(
                f"{given[key]!r:.60} is no {key}" if key in given else f"the {key} is missing",
                hint="?name=orders&version=1.2.0, as its describe() says",
                parameter=key,
            )
    if not body:
        raise BadRequestError("the body is empty", hint="send the .wasm itself")
    name = given["name"]
    return Source.of(name, given["version"], "", origin=f"upload:{name}", binary=body)


def _flag(given: Mapping[str, str], name: str) -> bool:
    said = given.get(name, "false")
    if said not in {"true", "false"}:
        raise BadRequestError(f"{name} is true or false, not {said[:40]!r}", parameter=name)
    return said == "true"


def _parameters(request: Request, known: tuple[str, ...]) -> dict[str, str]:
    given: dict[str, str] = {}
    for name, value in request.parameters():
        if name not in known:
            raise BadRequestError(
                f"there is no parameter {name!r:.60} here",
                hint=closest(name, known),
                parameter=name,
            )
        if name in given:
            raise BadRequestError(f"the parameter {name!r} is given twice", parameter=name)
        given[name] = value
    return given


# --- as OpenAPI says it --------------------------------------------------------------------------

_TEXT: Json = {"type": "string"}
_COUNT: Json = {"type": "integer", "minimum": 0}
_PROBLEM: Json = {"default": {"$ref": "#/components/responses/Problem"}}
_KEYED: list[Json] = [{"$ref": "#/components/parameters/IdempotencyKey"}]
_NAMED: Json = {
    "name": "name",
    "in": "path",
    "required": True,
    "description": "That of a component.",
    "schema": _TEXT,
}


def _ref(name: str) -> Json:
    return {"$ref": f"#/components/schemas/{name}"}


def _json(description: str, schema: Json, *also: str) -> Json:
    content = {kind: {"schema": schema} for kind in ("application/json", *also)}
    return {"description": description, "content": content}


def _operation(verb: str, summary: str, ok: Json, **more: Any) -> Json:
    return {
        "operationId": f"host.{verb}",
        "tags": ["host"],
        "summary": summary,
        "responses": {**ok, **_PROBLEM},
        **more,
    }


def _option(name: str, description: str, schema: Json) -> Json:
    return {"name": name, "in": "query", "description": description, "schema": schema}


def paths(prefix: str) -> Json:
    """The routes of deployments, as OpenAPI describes them."""
    asked = _json("What came of it.", _ref("Asked"), LINES[1])
    body: Json = {
        "required": True,
        "content": {
            "application/json": {"schema": _ref("Deploying")},
            "application/zip": {"schema": {"type": "string", "format": "binary"}},
            "application/wasm": {"schema": {"type": "string", "format": "binary"}},
        },
    }
    terms = [
        _option("name", "With a module in WebAssembly: that of the component.", _TEXT),
        _option("version", "With a module in WebAssembly: that of the component.", _TEXT),
        _option("gate", "With a file: try it on what was recorded first.", {"type": "boolean"}),
        *(
            _option(name, f"With a file: the `{name}` of its gate.", {"type": "number"})
            for name in ("last", "differ", "raises", "seconds")
        ),
    ]
    terms.append(
        _option("split", "With a file: try it on that share of the records.", {"type": "number"})
    )
    only_plan = _option("plan", "With a file: deploy nothing.", {"type": "boolean"})
    told = (
        "Who accepts application/x-ndjson hears how far it is: lines of `kind` progress (`what`, "
        "`done`, `of`), and at last one of `kind` result with the `answer`, or problem."
    )
    page = {
        "type": "object",
        "properties": {
            "items": {"type": "array", "items": _ref("Deployment")},
            "next": {"type": ["integer", "null"]},
        },
        "required": ["items", "next"],
    }
    component = f"{prefix}/components/{{name}}"
    return {
        f"{prefix}/deployments": {
            "get": _operation(
                "deployments",
                "What was deployed, the newest first.",
                {"200": _json("A page; `next` is the `before` of the one that follows.", page)},
                parameters=[
                    _option("component", "Only those of this one.", _TEXT),
                    _option("before", "Only those with a smaller number.", _COUNT),
                    {"$ref": "#/components/parameters/Limit"},
                ],
            ),
            "post": _operation(
                "deploy",
                "Deploy a component, or plan that; what is sent must be signed as from "
                "`upload:NAME`.",
                {"200": asked, "201": _json("It serves.", _ref("Asked"))},
                description=f"409 with a `rehearsal` where the gate refuses it. {told}",
                requestBody=body,
                parameters=[*_KEYED, only_plan, *terms],
            ),
        },
        f"{prefix}/deployments/plan": {
            "post": _operation(
                "plan",
                "What deploying a component would make different; nothing changes.",
                {"200": asked},
                description=told,
                requestBody=body,
                parameters=terms,
            )
        },
        f"{prefix}/deployments/{{number}}": {
            "parameters": [
                {"name": "number", "in": "path", "required": True, "schema": {"type": "integer"}}
            ],
            "get": _operation(
                "deployment", "One deployment.", {"200": _json("It.", _ref("Deployment"))}
            ),
        },
        component: {
            "parameters": [_NAMED],
            "delete": _operation(
                "undeploy",
                "Stop serving a component; its records stay.",
                {"204": {"description": "It serves no more."}},
                parameters=_KEYED,
            ),
        },
        f"{component}/rollback": {
            "parameters": [_NAMED],
            "post": _operation(
                "rollback",
                "Serve the revision before this one again.",
                {"200": _json("It serves.", _ref("Asked"))},
                parameters=_KEYED,
            ),
        },
    }


def _described(cls: type) -> Json:
    """The schemas of a value and of what is in it."""
    _, found = msgspec.json.schema_components([cls], ref_template="#/components/schemas/{name}")
    return dict(found)


_ASKED = _described(Asked)
SCHEMAS: Json = {
    **_ASKED,
    "Gate": {**_ASKED["Gate"], "description": "How much recorded work may come out otherwise."},
    "Deploying": {
        "type": "object",
        "description": "A `source`, or a component by `name`, `version` and `text`.",
        "properties": {
            "source": {**_TEXT, "description": "An address, as github:OWNER/REPO@^1.2"},
            "name": {**_TEXT, "pattern": NAME.pattern},
            "version": {**_TEXT, "pattern": VERSION.pattern},
            "text": _TEXT,
            "imports": {
                "type": "object",
                "additionalProperties": _TEXT,
                "description": "The files that the text imports, by path from its folder.",
            },
            "gate": {"anyOf": [_ref("Gate"), {"type": "boolean"}, {"type": "null"}]},
            "plan": {"type": "boolean", "default": False},
            "split": {"type": ["number", "null"], "minimum": 0, "maximum": 100},
        },
        "additionalProperties": False,
    },
}
