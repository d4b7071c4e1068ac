"""The routes of splits: what is tried beside what, another weight, promote and drop."""

from __future__ import annotations

from typing import Any

import msgspec

from aegis.api.body import decode
from aegis.api.request import Request
from aegis.api.response import Response, json_response
from aegis.core.errors import BadRequestError, NotFoundError
from aegis.core.split import SplitStatus
from aegis.engine.host import Host

Json = dict[str, Any]


class Terms(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of a split. Without `source` that which is under way gets other terms.

    A `weight` that is not said is 10 percent, or as it was.
    """

    source: str | None = None
    weight: float | None = None
    by: str | None = None


_TERMS = msgspec.json.Decoder(Terms)


class SplitRoutes:
    """Handlers of the splits of one host."""

    def __init__(self, host: Host) -> None:
        self._host = host

    def list(self, request: Request) -> Response:
        """The components that are split, with the figures of both sides."""
        return json_response({"items": self._host.splits()})

    def get(self, request: Request, name: str) -> Response:
        """The split of one component."""
        return json_response(self._found(name))

    async def put(self, request: Request, name: str) -> Response:
        """Begin a split with the candidate at an address, or give it another weight."""
        terms: Terms = decode(request, _TERMS, Terms.__struct_encode_fields__)
        if terms.source is None:
            before = self._found(name).candidate.weight
            weight = before if terms.weight is None else terms.weight
            return json_response(await self._host.split(name, weight=weight, by=terms.by))
        source = await self._host.one(terms.source)
        if source.name != name:
            raise BadRequestError(
                f"{terms.source} has the component {source.name!r}, not {name!r}",
                pointer="/source",
            )
        weight = 10 if terms.weight is None else terms.weight
        return json_response(await self._host.split(source, weight=weight, by=terms.by))

    async def promote(self, request: Request, name: str) -> Response:
        """The candidate serves all from now on."""
        return json_response(await self._host.promote(name, who="http"))

    async def drop(self, request: Request, name: str) -> Response:
        """What is live serves all again."""
        await self._host.drop(name)
        return Response(204)

    def _found(self, name: str) -> SplitStatus:
        for split in self._host.splits():
            if split.component == name:
                return split
        raise NotFoundError(f"component {name!r} is not split")


# --- as OpenAPI says it --------------------------------------------------------------------------

_PROBLEM: Json = {"default": {"$ref": "#/components/responses/Problem"}}
_SPLIT: Json = {"$ref": "#/components/schemas/Split"}


def _json(description: str, schema: Json) -> Json:
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def _operation(verb: str, summary: str, ok: Json, **more: Any) -> Json:
    return {
        "operationId": f"host.split.{verb}",
        "tags": ["host"],
        "summary": summary,
        "responses": {**ok, **_PROBLEM},
        **more,
    }


def paths(prefix: str) -> Json:
    """The routes of splits, as OpenAPI describes them."""
    component: Json = {
        "name": "name",
        "in": "path",
        "required": True,
        "description": "That of a component.",
        "schema": {"type": "string"},
    }
    items: Json = {
        "type": "object",
        "properties": {"items": {"type": "array", "items": _SPLIT}},
        "required": ["items"],
    }
    terms = {
        "required": True,
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Terms"}}},
    }
    one = {"200": _json("The split, with its figures since it began.", _SPLIT)}
    return {
        f"{prefix}/splits": {
            "get": _operation(
                "list",
                "The components of which a candidate is tried beside what is live.",
                {"200": _json("All of them.", items)},
            )
        },
        f"{prefix}/components/{{name}}/split": {
            "parameters": [component],
            "get": _operation("get", "What is tried beside what is live.", one),
            "put": _operation(
                "put",
                "Try the candidate at an address, or give the one that is tried another weight.",
                one,
                requestBody=terms,
            ),
            "delete": _operation(
                "drop",
                "End it: what is live serves all again.",
                {"204": {"description": "It has ended."}},
            ),
        },
        f"{prefix}/components/{{name}}/split/promote": {
            "parameters": [component],
            "post": _operation(
                "promote",
                "End it: the candidate is live.",
                {"200": _json("Its deployment.", {"type": "object"})},
            ),
        },
    }


_ARM: Json = {
    "type": "object",
    "description": "One side: its share in percent, and its calls since the split began. Times are "
    "in milliseconds, null before a call.",
    "properties": {
        "version": {"type": "string"},
        "digest": {"type": "string"},
        "origin": {"type": "string"},
        "weight": {"type": "number"},
        "calls": {"type": "integer"},
        "errors": {"type": "integer"},
        "p50": {"type": ["number", "null"]},
        "p99": {"type": ["number", "null"]},
        "language": {"enum": ["python", "wasm"]},
    },
    "required": [
        *("version", "digest", "origin", "weight", "calls", "errors", "p50", "p99", "language"),
    ],
}

SCHEMAS: Json = {
    "Split": {
        "type": "object",
        "description": "A candidate beside the live revision of a component. `by` says what a key "
        "is: `record` its id, `header:NAME` what a request says there.",
        "properties": {
            "component": {"type": "string"},
            "by": {"type": "string"},
            "live": _ARM,
            "candidate": _ARM,
        },
        "required": ["component", "by", "live", "candidate"],
    },
    "Terms": {
        "type": "object",
        "description": "`source` is the address of a candidate; without, the one that is tried "
        "gets these terms.",
        "properties": {
            "source": {"type": ["string", "null"]},
            "weight": {"type": ["number", "null"], "minimum": 0, "maximum": 100},
            "by": {"type": ["string", "null"]},
        },
        "additionalProperties": False,
    },
}
