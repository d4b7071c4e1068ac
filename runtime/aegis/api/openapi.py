"""The OpenAPI 3.1 description of what is installed: the same components give the same bytes."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any
from weakref import WeakKeyDictionary

import msgspec

from aegis.api import audit, deployments, failed, following, grants, intake, splits, traps
from aegis.api.listing import RESERVED
from aegis.api.response import LINES
from aegis.core.column import Column
from aegis.core.component import ENCODER, CommandSpec, ModelSpec, PortSpec
from aegis.core.query import MAX_LIMIT
from aegis.core.reading import OPERATORS
from aegis.core.registry import Registry
from aegis.core.relation import RelationSpec
from aegis.core.rule import Rules
from aegis.core.serializer import schema_of, shape_of
from aegis.engine.host import HostStatus

PREFIX = "/aegis/api"
_SCHEMAS = "#/components/schemas/"
_UNFIT = re.compile(r"[^A-Za-z0-9._-]")

Json = dict[str, Any]

_DOCUMENTS: WeakKeyDictionary[Registry, bytes] = WeakKeyDictionary()


def openapi(registry: Registry) -> bytes:
    """The document as JSON, with sorted keys; nothing in it depends on where or when it is made."""
    known = _DOCUMENTS.get(registry)
    if known is None:
        known = ENCODER.encode(_plain(_document(registry)))
        _DOCUMENTS[registry] = known
    return known


def _plain(value: Any) -> Any:
    """`value` with its keys sorted."""
    if isinstance(value, Mapping):
        return {key: _plain(value[key]) for key in sorted(value)}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


def _document(registry: Registry) -> Json:
    specs = [registry.endpoints[name] for name in sorted(registry.endpoints)]
    paths: Json = {**_host_paths(), **intake.paths(PREFIX)}
    schemas: Json = dict(_SHARED)
    for routes in (audit, deployments, failed, following, grants, splits, traps):
        paths |= routes.paths(PREFIX)
        schemas |= routes.SCHEMAS
    for spec in specs:
        paths.update(_model_paths(spec))
        schemas.update(_model_schemas(spec))
        for relation in spec.relations.values():
            target = registry.models.get(relation.target)
            if target is not None:
                paths.update(_relation_paths(spec, relation, target))
                schemas.update(_model_schemas(target))
                schemas[spec.key]["properties"][relation.name] = _related(relation, target)
    versions = [f"{name} {registry.live[name].version}" for name in sorted(registry.live)]
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Aegis",
            "version": "1",
            "description": f"Components: {', '.join(versions) or 'none'}.",
        },
        "tags": [
            *({"name": spec.key, "description": spec.doc} for spec in specs),
            {"name": "host", "description": "The host and what is installed in it."},
        ],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "responses": {"Problem": _PROBLEM},
            "parameters": _PARAMETERS,
            "headers": _HEADERS,
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "query": {"type": "apiKey", "in": "query", "name": "token"},
            },
        },
        "security": [{"bearer": []}, {"query": []}],
    }


# --- schemas -----------------------------------------------------------------------------------


def _model_schemas(spec: ModelSpec) -> Iterator[tuple[str, Json]]:
    """The schemas of a model: its record, what creates and changes one, arguments, nested types."""
    schema, definitions = spec.outer_schema
    record = _moved(spec, dict(schema))
    record["title"] = spec.name
    properties = dict(record.get("properties", {}))
    rules = spec.rules or Rules(model=spec.name)
    for name in rules.private:
        properties.pop(name, None)
    for name in rules.derived:
        properties[name] = {**properties[name], "readOnly": True}
    record["properties"] = {**properties, "_meta": _ref("Meta")}
    record["required"] = [n for n in record.get("required", ()) if n not in rules.private]
    record["required"].append("_meta")
    if "id" not in record["required"]:
        record["required"].insert(0, "id")
    if spec.doc:
        record["description"] = spec.doc
    yield spec.key, record
    listed = _page(_ref(spec.key), {"type": ["string", "null"]})
    listed["properties"]["count"] = {"type": "integer", "description": "With `count=true`."}
    yield f"{spec.key}.List", listed
    for name, schema in definitions.items():
        yield _nested(spec, name), _moved(spec, schema)
    for kind, struct in (("Create", spec.create), ("Patch", spec.patch)):
        for name, schema in _struct_schemas(spec, f"{spec.key}.{kind}", struct):
            own = name == f"{spec.key}.{kind}"
            yield name, _writing(schema, rules) if own else schema
    for kind, calls in (("commands", spec.commands), ("ports", spec.ports)):
        for name, marked in calls.items():
            if marked.call.arguments is not None:
                yield from _struct_schemas(spec, f"{spec.key}.{kind}.{name}", marked.call.arguments)


def _writing(schema: Json, rules: Rules) -> Json:
    """The schema of what a caller sends: what is private is only ever sent."""
    properties = {
        name: {**one, "writeOnly": True} if name in rules.private else one
        for name, one in schema.get("properties", {}).items()
    }
    return {**schema, "properties": properties} if rules.private else schema


def _struct_schemas(
    spec: ModelSpec, name: str, struct: type[msgspec.Struct]
) -> Iterator[tuple[str, Json]]:
    """The schema of `struct` under `name`, and those of the types within it."""
    own, nested = schema_of(shape_of(struct, "network"))
    schema = _moved(spec, own)
    schema["title"] = name.removeprefix(f"{spec.component}.")
    yield name, schema
    for key, inner in nested.items():
        yield _nested(spec, key), _moved(spec, inner)


def _nested(spec: ModelSpec, name: str) -> str:
    """The name of a type within a model's data: not that of a model, nor of its module."""
    module = _UNFIT.sub("_", spec.cls.__module__)
    fit = _UNFIT.sub("_", name)
    for prefix in (f"{module}.", f"{module.replace('.', '_')}_"):
        fit = fit.removeprefix(prefix)
    return f"{spec.component}.types.{fit}"


def _moved(spec: ModelSpec, schema: Any) -> Any:
    """`schema` with its references leading to where its types stand in this document."""
    if isinstance(schema, Mapping):
        return {
            key: _SCHEMAS + _nested(spec, value.rsplit("/", 1)[-1])
            if key == "$ref" and isinstance(value, str)
            else _moved(spec, value)
            for key, value in schema.items()
        }
    return [_moved(spec, item) for item in schema] if isinstance(schema, list | tuple) else schema


def _ref(name: str, kind: str = "schemas") -> Json:
    return {"$ref": f"#/components/{kind}/{name}"}


def _page(item: Json, next_: Json, **more: Json) -> Json:
    return {
        "type": "object",
        "properties": {"items": {"type": "array", "items": item}, "next": next_, **more},
        "required": ["items", "next", *more],
    }


# --- paths -------------------------------------------------------------------------------------


def _model_paths(spec: ModelSpec) -> Iterator[tuple[str, Json]]:
    """The routes of a model, with its own endpoint, commands and ports written out."""
    base = f"{PREFIX}/models/{spec.endpoint}"
    one = f"{base}/{{id}}"
    written = {"200": _record(spec, "The record as it is now."), "default": _PROBLEM_REF}
    condition = [_ref("IfMatch", "parameters")]
    yield (
        base,
        {
            "get": _operation(
                spec,
                "list",
                f"A page of {spec.name} records.",
                parameters=_list_parameters(spec),
                responses={
                    "200": _lined(spec, _json("The page.", _ref(f"{spec.key}.List"), ("Link",))),
                    "default": _PROBLEM_REF,
                },
            ),
            "post": _operation(
                spec,
                "create",
                f"A new {spec.name}.",
                parameters=_POSTED,
                body=_ref(f"{spec.key}.Create"),
                responses={
                    "201": _record(spec, "It is durable.", ("Location", *_WRITTEN)),
                    "default": _PROBLEM_REF,
                },
            ),
        },
    )
    yield (
        one,
        {
            "parameters": [_ref("Id", "parameters")],
            "get": _operation(
                spec,
                "get",
                f"One {spec.name}.",
                parameters=[
                    _ref("IfNoneMatch", "parameters"),
                    _ref("At", "parameters"),
                    *_expand(spec),
                ],
                responses={
                    "200": _record(spec, "The record.", ("ETag",)),
                    "304": {"description": "The caller has it.", "headers": _headers("ETag")},
                    "default": _PROBLEM_REF,
                },
            ),
            "patch": _operation(
                spec,
                "patch",
                f"Change the given fields of a {spec.name}.",
                parameters=[*condition, _ref("Prefer", "parameters")],
                body=_ref(f"{spec.key}.Patch"),
                responses=written,
            ),
            "delete": _operation(
                spec,
                "delete",
                f"Delete a {spec.name}.",
                parameters=condition,
                responses={"204": {"description": "It is gone."}, "default": _PROBLEM_REF},
            ),
        },
    )
    yield (
        f"{one}/flows",
        {
            "parameters": [_ref("Id", "parameters")],
            "get": _operation(
                spec,
                "flows",
                f"The flows about a {spec.name}, oldest first.",
                responses={
                    "200": _json("The flows with their steps.", _ref("Flows")),
                    "default": _PROBLEM_REF,
                },
            ),
        },
    )
    kinds: tuple[tuple[str, Mapping[str, CommandSpec | PortSpec]], ...] = (
        ("commands", spec.commands),
        ("ports", spec.ports),
    )
    for kind, calls in kinds:
        for name, marked in calls.items():
            yield (
                f"{one}/{kind}/{name}",
                {
                    "parameters": [_ref("Id", "parameters")],
                    "post": _call(spec, kind, marked, written),
                },
            )


def _related(relation: RelationSpec, target: ModelSpec) -> Json:
    """The schema of what `expand` puts into a record."""
    one = _ref(target.key)
    shape = {"type": "array", "items": one} if relation.many else {"anyOf": [one, {"type": "null"}]}
    return {**shape, "description": f"With `expand={relation.name}`. {relation.doc}".strip()}


def _relation_paths(
    spec: ModelSpec, relation: RelationSpec, target: ModelSpec
) -> Iterator[tuple[str, Json]]:
    name = f"related.{relation.name}"
    whole = _json("The page.", _ref(f"{target.key}.List"), ("Link",))
    routes = {
        "parameters": [_ref("Id", "parameters")],
        "get": _operation(
            spec,
            name,
            f"The {relation.name} of a {spec.name}.",
            description=relation.doc,
            parameters=_list_parameters(target),
            responses={
                "200": whole if relation.many else _json("It.", _ref(target.key)),
                "default": _PROBLEM_REF,
            },
        ),
        "post": _operation(
            spec,
            f"{name}.create",
            f"A new {target.name}, as {relation.name} of a {spec.name}.",
            parameters=_POSTED,
            body=_creation(target, relation.by),
            responses={
                "201": _record(target, "Both are durable.", ("Location", *_WRITTEN)),
                "default": _PROBLEM_REF,
            },
        ),
    }
    if relation.where is not None:
        del routes["post"]
    yield f"{PREFIX}/models/{spec.endpoint}/{{id}}/related/{relation.name}", routes


def _creation(target: ModelSpec, filled: str | None) -> Json:
    """What creates a record through a relation: the host fills in the field with the id."""
    whole = _ref(f"{target.key}.Create")
    if filled is None:
        return whole
    return {"type": "object", "description": f"A {target.key}.Create, without `{filled}`."}


def _call(spec: ModelSpec, kind: str, marked: CommandSpec | PortSpec, responses: Json) -> Json:
    arguments = marked.call.arguments
    word = "command" if kind == "commands" else "port"
    return _operation(
        spec,
        f"{kind}.{marked.name}",
        f"The {word} {marked.name}.",
        description=marked.doc,
        parameters=_POSTED,
        body=None if arguments is None else _ref(f"{spec.key}.{kind}.{marked.name}"),
        required=arguments is not None and _needs(arguments),
        responses=responses,
    )


def _needs(arguments: type[msgspec.Struct]) -> bool:
    return any(field.required for field in msgspec.structs.fields(arguments))


def _operation(
    spec: ModelSpec,
    name: str,
    summary: str,
    *,
    responses: Json,
    parameters: list[Json] | None = None,
    body: Json | None = None,
    required: bool = True,
    description: str = "",
) -> Json:
    operation: Json = {
        "operationId": f"{spec.key}.{name}",
        "tags": [spec.key],
        "summary": summary,
        "responses": responses,
    }
    if description:
        operation["description"] = description
    if parameters:
        operation["parameters"] = parameters
    if body is not None:
        operation["requestBody"] = {
            "required": required,
            "content": {"application/json": {"schema": body}},
        }
    return operation


def _list_parameters(spec: ModelSpec) -> list[Json]:
    """A filter for each field that can be asked, the order and the page."""
    properties = spec.outer_schema[0].get("properties", {})
    filters: list[Json] = []
    for path, column in spec.public_columns.known.items():
        if column.shape == "other" or (column.sealed and column.shape != "one"):
            continue
        schema = properties.get(path) if column.shape == "one" else None
        schema = _inline(column) if schema is None else _moved(spec, _bare(schema))
        name = f"{path}.eq" if path in RESERVED else path
        said = f"Only records whose {path} is this; `null` where it may be null."
        others = [op for op in OPERATORS if column.text or op not in {"prefix", "contains"}]
        if column.sealed:
            others = ["ne", "in", "exists"]
        if column.shape == "list":
            name, said = f"{path}.contains", f"Only records that have this among their {path}."
            others = ["exists"]
        also = ", ".join(f"`{path}.{op}`" for op in others if op != "eq")
        filters.append(
            {"name": name, "in": "query", "description": f"{said} Also {also}.", "schema": schema}
        )
    shared = ("Where", "Sort", "Limit", "Cursor", "Fields", "Count")
    return [*filters, *(_ref(name, "parameters") for name in shared), *_expand(spec)]


def _expand(spec: ModelSpec) -> list[Json]:
    names = ", ".join(f"`{name}`" for name in spec.relations)
    said = f"Relations to put into each record, with commas between them: {names}."
    return [_query("expand", said, _TEXT)] if names else []


def _inline(column: Column) -> Json:
    """The schema of a field's values without references."""
    schema = msgspec.json.schema(column.type if column.asked is None else column.asked.type)
    inner: Json = schema.pop("$defs", {})
    found = inner.get(schema["$ref"].rsplit("/", 1)[-1], {}) if "$ref" in schema else schema
    return {} if "$ref" in str(found) else dict(found)


def _bare(schema: Mapping[str, Any]) -> Json:
    """A field's schema as a filter's: a left out filter has no default."""
    return {key: value for key, value in schema.items() if key != "default"}


def _json(description: str, schema: Json, headers: tuple[str, ...] = ()) -> Json:
    response: Json = {
        "description": description,
        "content": {"application/json": {"schema": schema}},
    }
    if headers:
        response["headers"] = _headers(*headers)
    return response


def _lined(spec: ModelSpec, response: Json) -> Json:
    """`response`, which comes as a line of JSON for each record to who accepts that."""
    line = {LINES[1]: {"schema": _ref(spec.key)}}
    return {**response, "content": {**response["content"], **line}}


def _streamed(response: Json) -> Json:
    """`response`, which comes as a stream to who accepts one."""
    return {**response, "content": {**response["content"], "text/event-stream": {"schema": _TEXT}}}


def _headers(*names: str) -> Json:
    return {name: _ref(name, "headers") for name in names}


def _record(spec: ModelSpec, description: str, headers: tuple[str, ...] | None = None) -> Json:
    return _json(description, _ref(spec.key), _WRITTEN if headers is None else headers)


def _host_paths() -> Json:
    """The routes that belong to no model."""

    def get(name: str, summary: str, ok: Json, **more: Any) -> Json:
        responses = {"200": ok, **more.pop("responses", {})}
        return {
            "get": {
                "operationId": f"host.{name}",
                "tags": ["host"],
                "summary": summary,
                "responses": responses,
                **more,
            }
        }

    anything: Json = {"type": "object"}
    problem = {"default": _PROBLEM_REF}
    svg = {"description": "The picture.", "content": {"image/svg+xml": {}}}
    return {
        "/healthz": get("health", "Whether it lives.", _json("It does.", anything), security=[]),
        "/readyz": get(
            "ready",
            "Whether every component serves.",
            _json("They do.", _ref("Ready")),
            responses={"503": _json("Not yet.", _ref("Ready"))},
            security=[],
        ),
        f"{PREFIX}/flows/{{id}}": get(
            "flow",
            "One flow with its steps.",
            _json("The flow.", _ref("Flow")),
            parameters=[_ref("Id", "parameters")],
            responses=problem,
        ),
        f"{PREFIX}/replays": {
            "post": {
                "operationId": "host.replay",
                "tags": ["host"],
                "summary": "Run a flow again on a fork of the data, with recorded answers.",
                "requestBody": _body(_ref("Replaying")),
                "responses": {"200": _json("The differences.", _ref("Replay")), **problem},
            }
        },
        f"{PREFIX}/why/{{id}}": get(
            "why",
            "What led to what, from the request to each change.",
            _json("The tree, its lines in the order of reading.", _ref("Why")),
            parameters=[_ref("Id", "parameters"), _ref("Model", "parameters")],
            responses=problem,
        ),
        f"{PREFIX}/flows/{{id}}/undo": {
            "post": {
                "operationId": "host.undo",
                "tags": ["host"],
                "summary": "Undo a flow that is under way, or go on with an undo that stopped.",
                "parameters": [_ref("Id", "parameters")],
                "requestBody": _body(_ref("Undoing"), required=False),
                "responses": {"202": _json("It begins.", _ref("Flow")), **problem},
            }
        },
        f"{PREFIX}/events": _told(problem)
        | get(
            "events",
            "A page of the journal, or what comes as server-sent events.",
            _streamed(
                _json(
                    "The page; `next` is the `after` of the following one, `last` the newest "
                    "event. `forgotten` is there where `after` lies before events that are gone: "
                    "the last one that may be. Or the stream, which ends when the server does: "
                    "each event with its `seq` as `id`, its type as `event` and itself as `data`; "
                    "an `aegis.forgotten` without `id` tells the same at its beginning.",
                    _journal(),
                )
            ),
            parameters=[
                _ref(name, "parameters")
                for name in ("After", "LastEventId", "Limit", "Subject", "Type")
            ],
            responses=problem,
        ),
        f"{PREFIX}/components": get(
            "components",
            "What is installed, and how it stands.",
            _json("It.", _ref("HostStatus")),
            responses=problem,
        ),
        f"{PREFIX}/openapi.json": get(
            "openapi", "This document.", _json("It.", anything), responses=problem
        ),
        f"{PREFIX}/graph.json": get(
            "graph", "The graph as nodes and edges.", _json("It.", anything), responses=problem
        ),
        f"{PREFIX}/graph.svg": get("picture", "The graph as SVG.", svg, responses=problem),
    }


def _journal() -> Json:
    number: Json = {"type": "integer"}
    page = _page(_ref("Event"), {"type": ["integer", "null"]}, last=number)
    return {**page, "properties": {**page["properties"], "forgotten": number}}


def _body(schema: Json, *, required: bool = True) -> Json:
    return {"required": required, "content": {"application/json": {"schema": schema}}}


def _told(problem: Json) -> Json:
    """How an event from outside comes in."""
    body = _body(_ref("Told"))
    body["content"]["application/cloudevents+json"] = body["content"]["application/json"]
    taken = {
        "type": "object",
        "description": "The id that the event has here.",
        "properties": {"id": _TEXT},
        "required": ["id"],
    }
    return {
        "post": {
            "operationId": "host.tell",
            "tags": ["host"],
            "summary": "An event from outside, as a partner's answer.",
            "description": "A CloudEvent, structured or binary. Told again with the same `source` "
            "and `id` it has no further effect.",
            "requestBody": body,
            "responses": {
                "201": _json("It is durable.", taken),
                "200": _json("It was told before.", taken),
                **problem,
            },
        }
    }


# --- what all models share ---------------------------------------------------------------------

_TEXT: Json = {"type": "string"}
_PROBLEM_REF = _ref("Problem", "responses")
_WRITTEN = ("ETag", "Aegis-Flow", "Aegis-Flow-State", "Preference-Applied")

_, _STATUS = msgspec.json.schema_components(
    [HostStatus], ref_template="#/components/schemas/{name}"
)
_SHARED: Json = {
    **_STATUS,
    "Meta": {
        "type": "object",
        "description": "The record's revision, which is its ETag, and its times.",
        "properties": {
            "revision": {"type": "integer", "minimum": 1},
            "created": {"type": "string", "format": "date-time"},
            "updated": {"type": "string", "format": "date-time"},
        },
        "required": ["revision", "created", "updated"],
    },
    "Problem": {
        "type": "object",
        "description": "RFC 9457. `pointer` is the JSON pointer of the field at fault.",
        "properties": {
            "type": _TEXT,
            "title": _TEXT,
            "status": {"type": "integer"},
            "detail": _TEXT,
            "hint": _TEXT,
            "pointer": _TEXT,
        },
        "required": ["type", "title", "status", "detail"],
    },
    "Ready": {
        "type": "object",
        "properties": {"status": _TEXT, "missing": {"type": "array", "items": _TEXT}},
        "required": ["status", "missing"],
    },
    "Flow": {
        "type": "object",
        "properties": {
            "id": _TEXT,
            "state": _TEXT,
            "model": _TEXT,
            "record": _TEXT,
            "error": {"type": ["string", "null"]},
            "steps": {"type": "array", "items": {"type": "object"}},
        },
        "required": ["id", "state", "model", "record", "steps"],
    },
    "Undoing": {
        "type": "object",
        "description": "With `skip` the undo goes on behind the step that it stopped at.",
        "properties": {"skip": {"type": "boolean", "default": False}},
        "additionalProperties": False,
    },
    "Told": {
        "type": "object",
        "properties": {
            "type": _TEXT,
            "source": {**_TEXT, "default": "/aegis/api"},
            "id": {**_TEXT, "description": "The sender's id of it."},
            "subject": _TEXT,
            "data": {"type": "object"},
        },
        "required": ["type"],
    },
    "Flows": {
        "type": "object",
        "properties": {"items": {"type": "array", "items": _ref("Flow")}},
        "required": ["items"],
    },
    "Replaying": {
        "type": "object",
        "description": "A flow, or one of its events by id or number; the deployed code it runs "
        "on, as a label or a version: what is live when it is left out.",
        "properties": {"id": _TEXT, "revision": {"type": ["string", "null"]}},
        "required": ["id"],
    },
    "Pair": {
        "type": "object",
        "description": "One thing then and now; of two objects the members that differ.",
        "properties": {"name": _TEXT, "then": {}, "now": {}, "same": {"type": "boolean"}},
        "required": ["name", "then", "now", "same"],
    },
    "Replay": {
        "type": "object",
        "description": "What a flow came to with recorded answers, beside what it came to then.",
        "properties": {
            "asked": _TEXT,
            "flow": _TEXT,
            "revision": _TEXT,
            "same": {"type": "boolean"},
            "reason": _TEXT,
            "stopped": {"type": "boolean"},
            "steps": {"type": "array", "items": _ref("Pair")},
            "events": {"type": "array", "items": _ref("Pair")},
            "state": {"type": "array", "items": _ref("Pair")},
            "notes": {"type": "array", "items": _TEXT},
        },
        "required": ["asked", "flow", "revision", "same", "reason", "stopped"],
    },
    "Why": {
        "type": "object",
        "description": "What an event, its number, a flow, a record or a failed line came from, "
        "and all that it led to: a line of depth n + 1 was led to by the last one of depth n.",
        "properties": {
            "asked": _TEXT,
            "lines": {
                "type": "array",
                "items": {
                    "type": "object",
                    "properties": {
                        "depth": {"type": "integer"},
                        "kind": {"enum": ["event", "step", "listener"]},
                        "name": _TEXT,
                        "time": _TEXT,
                        "by": _TEXT,
                        "state": _TEXT,
                        "error": _TEXT,
                    },
                    "required": ["depth", "kind", "name", "time"],
                },
            },
            "cut": {"type": ["string", "null"]},
            "left_out": {"type": "integer"},
        },
        "required": ["asked", "lines", "cut", "left_out"],
    },
    "Event": {
        "type": "object",
        "description": "A CloudEvents 1.0 envelope; `seq` is its place in the journal.",
        "properties": {
            "id": _TEXT,
            "type": _TEXT,
            "source": _TEXT,
            "subject": {"type": ["string", "null"]},
            "time": {"type": "string", "format": "date-time"},
            "data": {"type": "object"},
            "seq": {"type": "integer"},
        },
        "required": ["id", "type", "source", "seq"],
    },
}

_PROBLEM: Json = {
    "description": "What went wrong, and the likely fix.",
    "content": {"application/problem+json": {"schema": _ref("Problem")}},
}


def _query(name: str, description: str, schema: Json) -> Json:
    return {"name": name, "in": "query", "description": description, "schema": schema}


def _header(name: str, description: str) -> Json:
    return {"name": name, "in": "header", "description": description, "schema": _TEXT}


_PARAMETERS: Json = {
    "Id": {"name": "id", "in": "path", "required": True, "schema": _TEXT},
    "Sort": _query("sort", "Fields in their order, `-` before one for descending.", _TEXT),
    "Limit": _query(
        "limit",
        "The most items of a page.",
        {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": 100},
    ),
    "Where": _query(
        "where",
        "A JSON object of further conditions, where all others must hold too. Its members are as "
        "the filters; `any`, `all` and `not` hold objects or lists of them: "
        '`{"any": [{"total.ge": 100}, {"not": {"status.in": ["NEW", "PAID"]}}]}`.',
        _TEXT,
    ),
    "Fields": _query("fields", "Each item is only these fields, `_created`, `_updated`.", _TEXT),
    "Count": _query(
        "count",
        "Tell how many records there are for these filters, on all pages.",
        {"type": "boolean", "default": False},
    ),
    "Cursor": _query("cursor", "`next` of the page before.", _TEXT),
    "At": _query(
        "at",
        "The record as it was after this event, by its place in the journal.",
        {"type": "integer", "minimum": 1},
    ),
    "Model": _query("model", "The model, as `orders.Order`, of the record that is meant.", _TEXT),
    "After": _query(
        "after",
        "Only events after this place in the journal: 0 is its beginning, which is where a page "
        "begins without it; a stream begins at the end.",
        {"type": "integer", "minimum": 0},
    ),
    "Subject": _query("subject", "Only events about the record of this id.", _TEXT),
    "LastEventId": _header(
        "Last-Event-ID", "The `id` of the last event that was heard: takes the place of `after`."
    ),
    "Type": _query("type", "An event name or a glob, as `order.*`.", _TEXT),
    "IfMatch": _header(
        "If-Match", "The ETag of the revision the change is meant for, or `*`; 428 without."
    ),
    "IfNoneMatch": _header("If-None-Match", "The ETag the caller has."),
    "Prefer": _header("Prefer", "`wait=N`: answer at the flow's end, within N seconds (to 600)."),
    "IdempotencyKey": _header(
        "Idempotency-Key", "Sent again with the same key, the request is done once."
    ),
}
_POSTED = [_ref("Prefer", "parameters"), _ref("IdempotencyKey", "parameters")]

_HEADERS: Json = {
    name: {"description": description, "schema": _TEXT}
    for name, description in {
        "ETag": "The record's revision.",
        "Location": "Where the new record is.",
        "Link": 'The next page, as rel="next".',
        "Aegis-Flow": "The id of the flow that this set off.",
        "Aegis-Flow-State": "The flow's state, when it was waited for.",
        "Preference-Applied": "What of Prefer was followed.",
    }.items()
}
