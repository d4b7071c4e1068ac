"""Events from outside, as the HTTP binding of CloudEvents 1.0 has them, and undo on demand."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from aegis.api.body import decode
from aegis.api.records import flow_document
from aegis.api.request import Request
from aegis.api.response import Response, json_response
from aegis.core.errors import BadRequestError, InvalidError, NotFoundError
from aegis.core.event import event
from aegis.core.flow import FlowState
from aegis.engine.engine import OUTSIDE
from aegis.engine.host import Host

_Text = Annotated[str, msgspec.Meta(min_length=1, max_length=1000)]


class Given(msgspec.Struct, frozen=True):
    """An event in structured mode; whatever else an envelope may hold is passed over."""

    type: str
    source: _Text = OUTSIDE
    id: _Text | None = None
    subject: _Text | None = None
    data: dict[str, Any] = {}


class Undoing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How to undo: with `skip` an undo that stopped goes on behind the step it stopped at."""

    skip: bool = False


_GIVEN = msgspec.json.Decoder(Given)
_DATA = msgspec.json.Decoder(dict[str, Any])
_UNDOING = msgspec.json.Decoder(Undoing)


class Inbox:
    """Handlers of what others tell a host: events, and that a flow is to be undone."""

    def __init__(self, host: Host) -> None:
        self._host = host

    async def tell(self, request: Request) -> Response:
        """Take an event: 201 once it is durable, 200 when its sender told it before."""
        given = _read(request)
        said = event(given.type, given.subject)
        said = msgspec.structs.replace(said, data=given.data)
        told = await self._host.engine.publish(said, source=given.source, key=given.id)
        return json_response({"id": told.event}, status=200 if told.known else 201)

    async def undo(self, request: Request, id: str) -> Response:
        """Undo a flow that is under way, or go on with an undo that stopped: 202 once it begins."""
        undoing = decode(request, _UNDOING, ("skip",)) if request.body else Undoing()
        found = await self._host.flow(id)
        if found is None:
            raise NotFoundError(f"no flow has the id {id!r}", hint="`Aegis-Flow` names a new one's")
        if found[0].state is not FlowState.COMPENSATION_FAILED:
            await self._host.undo(id)
        elif undoing.skip:
            await self._host.skip_undo(id)
        else:
            await self._host.continue_undo(id)
        flow, steps = await self._host.flow(id) or found
        return json_response(flow_document(flow, steps), status=202)


def _read(request: Request) -> Given:
    """The event of a request in structured mode, or in binary mode, where headers name it."""
    headers = request.headers
    if "ce-type" not in headers:
        given: Given = decode(request, _GIVEN, Given.__struct_fields__)
        return given
    names = {"type": "ce-type", "source": "ce-source", "id": "ce-id", "subject": "ce-subject"}
    envelope: dict[str, Any] = {to: headers[name] for to, name in names.items() if name in headers}
    if not str(envelope["type"]).isprintable():
        raise BadRequestError("the header ce-type is no event name", header="ce-type")
    envelope["data"] = decode(request, _DATA, ()) if request.body else {}
    try:
        return msgspec.convert(envelope, Given)
    except msgspec.ValidationError as error:
        raise InvalidError(f"the event's envelope: {error}") from error
