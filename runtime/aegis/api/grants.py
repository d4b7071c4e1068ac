"""The routes of grants: what components may reach of each other, given and taken."""

from __future__ import annotations

from typing import Any

import msgspec

from aegis.api.body import decode
from aegis.api.request import Request
from aegis.api.response import Response, json_response
from aegis.core.errors import InvalidError
from aegis.engine.host import Host

Json = dict[str, Any]


class Granting(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body: what a component may reach from now on, and what no more."""

    grant: tuple[str, ...] = ()
    revoke: tuple[str, ...] = ()


_GRANTING = msgspec.json.Decoder(Granting)


class GrantRoutes:
    """Handlers of what the components of one host may reach."""

    def __init__(self, host: Host) -> None:
        self._host = host

    def list(self, request: Request) -> Response:
        """What each live component exports, asks for and was granted."""
        return json_response({"items": self._host.access()})

    async def change(self, request: Request, name: str) -> Response:
        """Give to a component, or take from it; it counts from its next call on."""
        said: Granting = decode(request, _GRANTING, Granting.__struct_encode_fields__)
        if bool(said.grant) == bool(said.revoke):
            raise InvalidError("either `grant` or `revoke` says what", pointer="")
        if said.grant:
            return json_response(await self._host.grant(name, *said.grant, who="http"))
        return json_response(await self._host.revoke(name, *said.revoke, who="http"))


# --- as OpenAPI says it --------------------------------------------------------------------------

_PROBLEM: Json = {"default": {"$ref": "#/components/responses/Problem"}}
_ACCESS: Json = {"$ref": "#/components/schemas/Access"}
_NAMES: Json = {"type": "array", "items": {"type": "string"}}


def _json(description: str, schema: Json) -> Json:
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def paths(prefix: str) -> Json:
    """The routes of grants, as OpenAPI describes them."""
    items: Json = {
        "type": "object",
        "properties": {"items": {"type": "array", "items": _ACCESS}},
        "required": ["items"],
    }
    component: Json = {
        "name": "name",
        "in": "path",
        "required": True,
        "description": "That of a component, deployed or not yet.",
        "schema": {"type": "string"},
    }
    body: Json = {"$ref": "#/components/schemas/Granting"}
    return {
        f"{prefix}/access": {
            "get": {
                "operationId": "host.access",
                "tags": ["host"],
                "summary": "What each live component exports, asks for and was granted.",
                "responses": {"200": _json("All of them.", items), **_PROBLEM},
            }
        },
        f"{prefix}/components/{{name}}/grants": {
            "parameters": [component],
            "post": {
                "operationId": "host.grant",
                "tags": ["host"],
                "summary": "Give to a component what others export, or take it; its next call "
                "goes by that.",
                "requestBody": {
                    "required": True,
                    "content": {"application/json": {"schema": body}},
                },
                "responses": {"200": _json("What it has now.", _ACCESS), **_PROBLEM},
            },
        },
    }


SCHEMAS: Json = {
    "Access": {
        "type": "object",
        "description": "Names as `orders.Order:read`, `orders:order.*` and `host.clock`; null is "
        "everything.",
        "properties": {
            "component": {"type": "string"},
            "exports": {"anyOf": [_NAMES, {"type": "null"}]},
            "asked": {"anyOf": [_NAMES, {"type": "null"}]},
            "granted": _NAMES,
        },
        "required": ["component", "exports", "asked", "granted"],
    },
    "Granting": {
        "type": "object",
        "description": "Either what is granted or what is revoked, as `orders.Order:read`.",
        "properties": {"grant": _NAMES, "revoke": _NAMES},
        "additionalProperties": False,
    },
}
