"""The routes of calls that a sandbox stopped: the last ones of a component, and one again."""

from __future__ import annotations

from typing import Any

import msgspec

from aegis.api.request import Request
from aegis.api.response import Response, json_response
from aegis.core.errors import NotFoundError
from aegis.core.guest import TrapOutcome
from aegis.core.wire import TrapLine
from aegis.engine.host import Host
from aegis.engine.lines import trap_line

Json = dict[str, Any]

_LONGEST = 18  # digits of a number of a call


class Traps(msgspec.Struct, frozen=True):
    """The last stopped calls of a component, the newest last."""

    items: tuple[TrapLine, ...]


class TrapRoutes:
    """Handlers of the stopped calls of one host."""

    def __init__(self, host: Host) -> None:
        self._host = host

    async def list(self, request: Request, name: str) -> Response:
        """The last stopped calls of a component."""
        return json_response(Traps(tuple(map(trap_line, await self._host.traps(name)))))

    async def replay(self, request: Request, name: str, number: str) -> Response:
        """A stopped call made again on the live code, on a thread beside the loop."""
        if not (number.isascii() and number.isdigit() and len(number) <= _LONGEST):
            raise NotFoundError(f"{number[:80]!r} is no number of a call")
        return json_response(await self._host.replay_trap(name, int(number)))


# --- as OpenAPI says it --------------------------------------------------------------------------

_TEXT: Json = {"type": "string"}


def _operation(verb: str, summary: str, description: str, schema: Json) -> Json:
    content = {"application/json": {"schema": schema}}
    return {
        "operationId": f"host.trap.{verb}",
        "tags": ["host"],
        "summary": summary,
        "responses": {
            "200": {"description": description, "content": content},
            "default": {"$ref": "#/components/responses/Problem"},
        },
    }


def paths(prefix: str) -> Json:
    """The routes of stopped calls, as OpenAPI describes them."""
    name: Json = {
        "name": "name",
        "in": "path",
        "required": True,
        "description": "That of a component.",
        "schema": _TEXT,
    }
    number: Json = {
        "name": "number",
        "in": "path",
        "required": True,
        "description": "The `n` of a stopped call.",
        "schema": {"type": "integer", "minimum": 1},
    }
    stopped = f"{prefix}/components/{{name}}/traps"
    return {
        stopped: {
            "parameters": [name],
            "get": _operation(
                "list",
                "The last calls of a component that its sandbox stopped; Python has no sandbox.",
                "The newest last.",
                {"$ref": "#/components/schemas/Traps"},
            ),
        },
        f"{stopped}/{{number}}/replay": {
            "parameters": [name, number],
            "post": _operation(
                "replay",
                "Make a stopped call again on the live code, with the answers of then; nothing "
                "real is touched.",
                "What became of it.",
                {"$ref": "#/components/schemas/TrapOutcome"},
            ),
        },
    }


_, _DESCRIBED = msgspec.json.schema_components(
    [Traps, TrapOutcome], ref_template="#/components/schemas/{name}"
)
SCHEMAS: Json = dict(_DESCRIBED)
