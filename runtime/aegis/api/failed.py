"""The routes of the failed list: what is on it, its input, and what is done about it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from aegis.api.body import decode
from aegis.api.listing import DEFAULT_LIMIT, next_link, read_number
from aegis.api.request import Request
from aegis.api.response import Response, json_response
from aegis.core.errors import BadRequestError, closest
from aegis.core.query import MAX_LIMIT, decode_cursor, encode_cursor
from aegis.engine.failures import GROUP, FailedGroup, Told
from aegis.engine.host import Host
from aegis.engine.lines import failed_line
from aegis.protocols import Failed

Json = dict[str, Any]


class Edit(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of a retry. `data` is the event's data instead of its own, or a flow's changes."""

    data: dict[str, Any] | None = None


_EDITS = msgspec.json.Decoder(Edit)
_NO_EDIT = Edit()
_KNOWN = ("cursor", "group", "limit", "token")


class FailedRoutes:
    """Handlers of the failed list of one host."""

    def __init__(self, host: Host) -> None:
        self._host = host

    async def list(self, request: Request) -> Response:
        """A page of what failed, oldest event first; with `group=error` of groups."""
        parameters = _parameters(request)
        limit = max(1, read_number(parameters, "limit", DEFAULT_LIMIT, MAX_LIMIT))
        grouped = parameters.get("group")
        if grouped not in {None, "error"}:
            raise BadRequestError(
                f"what failed is grouped by `error`, not by {grouped!r:.60}", parameter="group"
            )
        if grouped is not None:
            return self._groups(await self._host.failed_groups(), parameters, limit, request)
        failed = await self._host.failed()
        after = _position(parameters, (int, str))
        rest = [one for one in failed if after is None or _place(one) > after]
        page = rest[:limit]
        following = encode_cursor(_place(page[-1])) if len(rest) > limit else None
        return _page([_line(one) for one in page], following, len(failed), request)

    def _groups(
        self,
        groups: Sequence[FailedGroup],
        parameters: Mapping[str, str],
        limit: int,
        request: Request,
    ) -> Response:
        after = _position(parameters, (int, str, str))
        rest = [group for group in groups if after is None or _rank(group) > after]
        page = rest[:limit]
        following = encode_cursor(_rank(page[-1])) if len(rest) > limit else None
        return _page([_group(group) for group in page], following, len(groups), request)

    async def get(self, request: Request, id: str) -> Response:
        """One failure with the event it failed on, or one group."""
        failures = self._host.failures
        if id.startswith(f"{GROUP}:"):
            return json_response(msgspec.to_builtins(await failures.group(id)))
        failed = await failures.one(id)
        entry = await self._host.store.event(failed.event)
        event = (
            None if entry is None else msgspec.Raw(b'%b,"seq":%d}' % (entry.doc[:-1], entry.seq))
        )
        return json_response({**_line(failed), "data": failed.data, "about": event})

    async def retry(self, request: Request, id: str) -> Response:
        """Try one failure again, or all of a group; what came of each."""
        edit = decode(request, _EDITS, ("data",)) if request.body else _NO_EDIT
        host = self._host
        if not id.startswith(f"{GROUP}:"):
            return await self._one(id, await host.retry(id, data=edit.data))
        if edit.data is not None:
            raise BadRequestError(
                "data is for one failure, not for a group", hint="retry its failures one by one"
            )
        return _told(await host.retry_all(id))

    async def discard(self, request: Request, id: str) -> Response:
        """Take one failure off the list for good, or all of a group; what came of each."""
        if id.startswith(f"{GROUP}:"):
            return _told(await self._host.discard_all(id))
        return await self._one(id, await self._host.discard(id))

    async def _one(self, id: str, text: str) -> Response:
        return _told([Told(id=id, text=text, failed=await self._host.failures.is_there(id))])


def _parameters(request: Request) -> dict[str, str]:
    given: dict[str, str] = {}
    for name, value in request.parameters():
        if name not in _KNOWN:
            raise BadRequestError(
                f"the failed list takes no parameter {name!r:.60}",
                hint=closest(name, _KNOWN),
                parameter=name,
            )
        if name in given:
            raise BadRequestError(f"the parameter {name!r} is given twice", parameter=name)
        given[name] = value
    return given


def _position(parameters: Mapping[str, str], types: tuple[type, ...]) -> tuple[Any, ...] | None:
    """Where the page before ended. Raises BadRequestError."""
    cursor = parameters.get("cursor")
    if cursor is None:
        return None
    position = decode_cursor(cursor, len(types))
    if not all(isinstance(value, type) for value, type in zip(position, types, strict=True)):
        raise BadRequestError("the cursor is not one of ours", hint="use `next` as given")
    return position


def _place(failed: Failed) -> tuple[int, str]:
    return (failed.seq, failed.subscriber)


def _rank(group: FailedGroup) -> tuple[int, str, str]:
    return (-group.count, group.first, group.id)


def _line(failed: Failed) -> Json:
    """A failure as the list has it."""
    line: Json = msgspec.to_builtins(failed_line(failed))
    line.pop("type", None)
    return {**line, "edited": failed.data is not None}


def _group(group: FailedGroup) -> Json:
    """A group as the list has it: the ids of its failures are for who asks for one."""
    known: Json = msgspec.to_builtins(group)
    del known["ids"]
    return known


def _page(items: Sequence[Json], following: str | None, total: int, request: Request) -> Response:
    page = {"items": items, "next": following, "total": total}
    if following is None:
        return json_response(page)
    return json_response(page, ("Link", next_link(request.path, request.parameters(), following)))


def _told(told: Sequence[Told]) -> Response:
    return json_response({"items": [msgspec.to_builtins(one) for one in told]})


# --- as OpenAPI says it --------------------------------------------------------------------------

_TEXT: Json = {"type": "string"}
_PROBLEM: Json = {"default": {"$ref": "#/components/responses/Problem"}}
_ID: Json = {
    "name": "id",
    "in": "path",
    "required": True,
    "description": "That of a failure, `listener:...`, `flow:...` or `answer:...`, or of a group, "
    "`group:...`.",
    "schema": _TEXT,
}


def _json(description: str, schema: Json) -> Json:
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def _named(name: str) -> Json:
    return {"$ref": f"#/components/schemas/{name}"}


def _either(one: str, other: str) -> Json:
    return {"anyOf": [_named(one), _named(other)]}


def _operation(name: str, summary: str, ok: Json, **more: Any) -> Json:
    return {
        "operationId": f"host.failed.{name}",
        "tags": ["host"],
        "summary": summary,
        "responses": {"200": ok, **_PROBLEM},
        **more,
    }


def paths(prefix: str) -> Json:
    """The routes of the failed list, as OpenAPI describes them."""
    told = _json("What came of each.", _named("Told"))
    edit = {"content": {"application/json": {"schema": _named("Edit")}}}
    listed = {
        "type": "object",
        "properties": {
            "items": {"type": "array", "items": _either("Failed", "FailedGroup")},
            "next": {"type": ["string", "null"]},
            "total": {"type": "integer"},
        },
        "required": ["items", "next", "total"],
    }
    grouped = {
        "name": "group",
        "in": "query",
        "description": "`error`: groups of failures whose errors differ in ids and numbers only.",
        "schema": {"type": "string", "enum": ["error"]},
    }
    page = [{"$ref": f"#/components/parameters/{name}"} for name in ("Limit", "Cursor")]
    retry = _operation("retry", "Try it again, or up to 100 of a group.", told, requestBody=edit)
    return {
        f"{prefix}/failed": {
            "get": _operation(
                "list",
                "A page of what failed, oldest event first, or of groups, the largest first.",
                _json("The page.", listed),
                parameters=[*page, grouped],
            )
        },
        f"{prefix}/failed/{{id}}": {
            "parameters": [_ID],
            "get": _operation(
                "get",
                "A failure with its input, or a group with the ids of its failures.",
                _json("It.", _either("Failed", "FailedGroup")),
            ),
            "delete": _operation(
                "discard", "Take it off the list for good, or up to 100 of a group.", told
            ),
        },
        f"{prefix}/failed/{{id}}/retry": {"parameters": [_ID], "post": retry},
    }


SCHEMAS: Json = {
    "Failed": {
        "type": "object",
        "description": "Something that failed and can be tried again. `about` is the event that "
        "it failed on, for who asks for one; `data` what was given for the event's data last.",
        "properties": {
            "id": _TEXT,
            "kind": _TEXT,
            "what": _TEXT,
            "subject": {"type": ["string", "null"]},
            "error": _TEXT,
            "attempts": {"type": "integer"},
            "time": {"type": "string", "format": "date-time"},
            "held": {"type": "boolean", "description": "It waits behind an earlier failure."},
            "edited": {"type": "boolean"},
            "data": {"type": ["object", "null"]},
            "event": {"type": "string"},
            "about": {"anyOf": [_named("Event"), {"type": "null"}]},
        },
        "required": ["id", "kind", "what", "error", "attempts", "time", "held", "edited"],
    },
    "FailedGroup": {
        "type": "object",
        "description": "Failures of one cause; a `#` in `error` is an id or a number.",
        "properties": {
            "id": _TEXT,
            "kind": _TEXT,
            "what": _TEXT,
            "error": _TEXT,
            "count": {"type": "integer"},
            "first": {"type": "string", "format": "date-time"},
            "last": {"type": "string", "format": "date-time"},
            "ids": {"type": "array", "items": _TEXT},
        },
        "required": ["id", "kind", "what", "error", "count", "first", "last"],
    },
    "Edit": {
        "type": "object",
        "description": "Of an event for a listener its `data` anew, of a flow changes of its "
        "record, made as the flow begins anew.",
        "properties": {"data": {"type": ["object", "null"]}},
        "additionalProperties": False,
    },
    "Told": {
        "type": "object",
        "properties": {
            "items": {
                "type": "array",
                "items": {
                    "type": "object",
                    "properties": {"id": _TEXT, "text": _TEXT, "failed": {"type": "boolean"}},
                    "required": ["id", "text", "failed"],
                },
            }
        },
        "required": ["items"],
    },
}
