"""The route of the audit log: who changed what runs here."""

from __future__ import annotations

from typing import Any

import msgspec

from aegis.api.listing import DEFAULT_LIMIT, LAST, read_number
from aegis.api.request import Request
from aegis.api.response import Response, json_response
from aegis.core.audit import Action
from aegis.core.errors import BadRequestError, closest
from aegis.core.query import MAX_LIMIT
from aegis.engine.host import Host

Json = dict[str, Any]

_KNOWN = ("action", "after", "limit", "token")


class AuditRoutes:
    """Handlers of the audit log of one host."""

    def __init__(self, host: Host) -> None:
        self._host = host

    async def list(self, request: Request) -> Response:
        """The newest entries in order, or with `after` a page of those behind that number.

        `next` is the `after` of the page that follows, null at the end of the log.
        """
        given: dict[str, str] = {}
        for name, value in request.parameters():
            if name not in _KNOWN:
                raise BadRequestError(
                    f"the audit log takes no parameter {name!r:.60}",
                    hint=closest(name, _KNOWN),
                    parameter=name,
                )
            if name in given:
                raise BadRequestError(f"the parameter {name!r} is given twice", parameter=name)
            given[name] = value
        limit = max(1, read_number(given, "limit", DEFAULT_LIMIT, MAX_LIMIT))
        after = read_number(given, "after", 0, LAST) if "after" in given else None
        action = given.get("action")
        more = 0 if after is None else 1  # whether there is any more
        found = await self._host.audit(limit + more, after=after, action=action)
        page = found[:limit]
        following = page[-1].n if len(found) > limit else None
        return json_response(
            {"items": [msgspec.to_builtins(one) for one in page], "next": following}
        )


# --- as OpenAPI says it --------------------------------------------------------------------------


def paths(prefix: str) -> Json:
    """The route of the audit log, as OpenAPI describes it."""
    number: Json = {"type": "integer", "minimum": 0}
    listed = {
        "type": "object",
        "properties": {
            "items": {"type": "array", "items": {"$ref": "#/components/schemas/Audit"}},
            "next": {"type": ["integer", "null"], "description": "The `after` of the next page."},
        },
        "required": ["items", "next"],
    }
    return {
        f"{prefix}/audit": {
            "get": {
                "operationId": "host.audit",
                "tags": ["host"],
                "summary": "Who changed what runs here: the newest entries, or those after one.",
                "parameters": [
                    {"$ref": "#/components/parameters/Limit"},
                    {"name": "after", "in": "query", "schema": number},
                    {
                        "name": "action",
                        "in": "query",
                        "schema": {"type": "string", "enum": [*Action]},
                    },
                ],
                "responses": {
                    "200": {
                        "description": "Entries in order.",
                        "content": {"application/json": {"schema": listed}},
                    },
                    "default": {"$ref": "#/components/responses/Problem"},
                },
            }
        }
    }


_TEXT: Json = {"type": "string"}
SCHEMAS: Json = {
    "Audit": {
        "type": "object",
        "description": "What was changed or refused. Members that say nothing are left out.",
        "properties": {
            "n": {"type": "integer", "minimum": 1},
            "time": {"type": "string", "format": "date-time"},
            "action": {"type": "string", "enum": [*Action]},
            **dict.fromkeys(
                ("who", "about", "version", "address", "resolved", "digest", "key", "detail"), _TEXT
            ),
            "fields": {"type": "object", "additionalProperties": _TEXT},
        },
        "required": ["n", "time", "action"],
        "additionalProperties": False,
    }
}
