"""Takes batches of exported records in, as `aegis data import` sends them."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from aegis.api.body import decode
from aegis.api.request import Request
from aegis.api.response import Response, json_response
from aegis.core.errors import InvalidError
from aegis.core.moving import Header, Moved
from aegis.engine.host import Host
from aegis.engine.intake import OnConflict, Terms

Json = dict[str, Any]


class Batch(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Lines of an export, each with its number; `header` is what its first line says.

    They are of one model, and stored all or not at all.
    """

    header: Header
    records: Annotated[list[tuple[int, Moved]], msgspec.Meta(min_length=1)]
    on_conflict: OnConflict = "fail"
    other_schema: bool = False


_BATCH = msgspec.json.Decoder(Batch)


class IntakeRoutes:
    """The handler of what was exported elsewhere."""

    def __init__(self, host: Host) -> None:
        self._host = host

    async def take(self, request: Request) -> Response:
        """Store a batch: 200 with what came of it, once it is durable."""
        batch: Batch = decode(request, _BATCH, Batch.__struct_fields__)
        if len({moved.model for _, moved in batch.records}) > 1:
            raise InvalidError("a batch holds records of one model", pointer="/records")
        terms = Terms(on_conflict=batch.on_conflict, other_schema=batch.other_schema)
        done = await self._host.intake.take(batch.header, batch.records, terms)
        return json_response(msgspec.to_builtins(done))


def paths(prefix: str) -> Json:
    """The route as OpenAPI has it."""
    number = {"type": "integer", "minimum": 0}
    text = {"type": "string"}
    moved = {
        "type": "object",
        "properties": {
            **dict.fromkeys(("model", "id", "created", "updated"), text),
            "revision": {"type": "integer", "minimum": 1},
            "data": {"type": "object"},
        },
        "required": ["model", "id", "revision", "created", "updated", "data"],
        "additionalProperties": False,
    }
    numbered = {"type": "array", "prefixItems": [number, moved], "minItems": 2, "maxItems": 2}
    body = {
        "type": "object",
        "properties": {
            "header": {"type": "object", "description": "The first line of the export."},
            "records": {"type": "array", "items": numbered, "minItems": 1},
            "on_conflict": {"enum": ["fail", "skip", "replace"], "default": "fail"},
            "other_schema": {"type": "boolean", "default": False},
        },
        "required": ["header", "records"],
        "additionalProperties": False,
    }
    counts = ("created", "replaced", "skipped", "known", "line")
    answer = {
        "type": "object",
        "properties": dict.fromkeys(counts, number),
        "required": list(counts),
    }
    return {
        f"{prefix}/import": {
            "post": {
                "operationId": "host.import",
                "tags": ["host"],
                "summary": "Take in lines of an export, all or none; no flow is set off.",
                "requestBody": {
                    "required": True,
                    "content": {"application/json": {"schema": body}},
                },
                "responses": {
                    "200": {
                        "description": "They are durable: how many were new, replaced, left as "
                        "they are, known already; and the number of the last line.",
                        "content": {"application/json": {"schema": answer}},
                    },
                    "default": {"$ref": "#/components/responses/Problem"},
                },
            }
        }
    }
