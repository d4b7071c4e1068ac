"""The routes of versions: which there are of a component, and whether newer ones come."""

from __future__ import annotations

from typing import Any

import msgspec

from aegis.api.body import decode
from aegis.api.request import Request
from aegis.api.response import Response, json_response
from aegis.core.errors import NotFoundError
from aegis.core.lock import Seconds
from aegis.engine.host import Host

Json = dict[str, Any]


class Follow(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of a follow. Without `address` it is what the component is from."""

    address: str | None = None
    every: Seconds | None = None


_FOLLOW = msgspec.json.Decoder(Follow)


class FollowingRoutes:
    """Handlers of what one host follows, and of the versions of its components."""

    def __init__(self, host: Host) -> None:
        self._host = host

    def list(self, request: Request) -> Response:
        """All that is followed."""
        return json_response({"items": self._host.followed()})

    def get(self, request: Request, name: str) -> Response:
        """What is followed for one component."""
        for one in self._host.followed():
            if one.name == name:
                return json_response(one)
        raise NotFoundError(f"nothing is followed for component {name!r}")

    async def put(self, request: Request, name: str) -> Response:
        """Let newer versions of a component come by themselves."""
        said: Follow = decode(request, _FOLLOW, Follow.__struct_encode_fields__)
        return json_response(await self._host.follow(name, said.address, every=said.every))

    async def delete(self, request: Request, name: str) -> Response:
        """Let no version of a component come by itself any more."""
        await self._host.unfollow(name)
        return Response(204)

    async def versions(self, request: Request, name: str) -> Response:
        """Which versions of a component there are, here and where it comes from."""
        return json_response(await self._host.versions(name))


# --- as OpenAPI says it --------------------------------------------------------------------------

_PROBLEM: Json = {"default": {"$ref": "#/components/responses/Problem"}}
_TEXT: Json = {"type": "string"}
_MAYBE: Json = {"type": ["string", "null"]}


def _json(description: str, schema: Json) -> Json:
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def _named(name: str) -> Json:
    return {"$ref": f"#/components/schemas/{name}"}


def _operation(name: str, summary: str, ok: Json, **more: Any) -> Json:
    return {
        "operationId": f"host.{name}",
        "tags": ["host"],
        "summary": summary,
        "responses": {**ok, **_PROBLEM},
        **more,
    }


def paths(prefix: str) -> Json:
    """The routes of versions, as OpenAPI describes them."""
    component: Json = {
        "name": "name",
        "in": "path",
        "required": True,
        "description": "That of a component.",
        "schema": _TEXT,
    }
    items: Json = {
        "type": "object",
        "properties": {"items": {"type": "array", "items": _named("Followed")}},
        "required": ["items"],
    }
    said: Json = {
        "required": True,
        "content": {"application/json": {"schema": _named("Follow")}},
    }
    one = {"200": _json("What is followed, and what came of that.", _named("Followed"))}
    return {
        f"{prefix}/followed": {
            "get": _operation(
                "followed",
                "The addresses whose newer versions deploy by themselves.",
                {"200": _json("All of them, by component.", items)},
            )
        },
        f"{prefix}/components/{{name}}/follow": {
            "parameters": [component],
            "get": _operation("follow.get", "What is followed for a component.", one),
            "put": _operation(
                "follow.put",
                "Let newer versions in a range deploy by themselves, no pre-release and no other "
                "major one; answered after the first look.",
                one,
                requestBody=said,
            ),
            "delete": _operation(
                "follow.end",
                "Let no version come by itself any more; what serves goes on.",
                {"204": {"description": "It is followed no more."}},
            ),
        },
        f"{prefix}/components/{{name}}/versions": {
            "parameters": [component],
            "get": _operation(
                "versions",
                "What serves, what is loaded, all deployments, and what the source offers.",
                {"200": _json("The versions.", _named("Versions"))},
            ),
        },
    }


SCHEMAS: Json = {
    "Follow": {
        "type": "object",
        "description": "`address` may end with a range, as `@^1.2`; without one it is what the "
        "component is from. It is asked every `every` seconds.",
        "properties": {
            "address": _MAYBE,
            "every": {"type": ["number", "null"], "minimum": 1, "maximum": 86400},
        },
        "additionalProperties": False,
    },
    "Followed": {
        "type": "object",
        "description": "`held` is a version that does not come by itself, `why` says what hinders "
        "it; `problem` is why the address does not answer.",
        "properties": {
            "name": _TEXT,
            "address": _TEXT,
            "range": _TEXT,
            "every": {"type": "number"},
            "serves": _MAYBE,
            "newest": _MAYBE,
            "held": _MAYBE,
            "why": _TEXT,
            "problem": _MAYBE,
            "looked": _MAYBE,
        },
        "required": ["name", "address", "range", "every", "serves", "held", "why", "problem"],
    },
    "Versions": {
        "type": "object",
        "description": "`serves`, `previous` and `loaded` are revisions in memory, `deployments` "
        "and `offers` have the newest first. `problem` says why the source tells no offers.",
        "properties": {
            "name": _TEXT,
            "serves": _MAYBE,
            "previous": _MAYBE,
            "loaded": {"type": "array", "items": _TEXT},
            "deployments": {"type": "array", "items": {"type": "object"}},
            "address": _MAYBE,
            "offers": {"type": "array", "items": _TEXT},
            "problem": _MAYBE,
            "locked": {"type": ["object", "null"]},
            "followed": {"anyOf": [_named("Followed"), {"type": "null"}]},
        },
        "required": ["name", "serves", "previous", "loaded", "deployments", "offers"],
    },
}
