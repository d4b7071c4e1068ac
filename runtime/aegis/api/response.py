"""What goes out over HTTP, and how records and errors become it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from typing import Any

import msgspec

from aegis.core.component import ModelSpec
from aegis.core.errors import AegisError, BusyError, MethodNotAllowedError, UnauthorizedError
from aegis.core.record import Record

Headers = tuple[tuple[str, str], ...]
Stream = Callable[[], AsyncGenerator[bytes]]

JSON = ("Content-Type", "application/json")
LINES = ("Content-Type", "application/x-ndjson")
VARY = ("Vary", "Accept")
PROBLEM = ("Content-Type", "application/problem+json")
REPLAYED = ("Idempotency-Replayed", "true")

# Decimal as text, like everything stored; an error's fields may hold whatever an author raised.
_ENCODER = msgspec.json.Encoder(decimal_format="string", enc_hook=str)


class Response(msgspec.Struct, frozen=True):
    """One answer; the server adds Date and Content-Length (`length` where HEAD leaves the body).

    `stream` makes a body without a known end: the server takes a piece when the one before is on
    its way, and closes the generator when nobody takes any more. HEAD never starts it.
    """

    status: int
    headers: Headers = ()
    body: bytes = b""
    length: int | None = None
    stream: Stream | None = None

    def header(self, name: str) -> str | None:
        """The first header of that name, in the case we write it."""
        return next((value for key, value in self.headers if key == name), None)

    def adding(self, *headers: tuple[str, str]) -> Response:
        """This answer with further headers."""
        return Response(self.status, self.headers + headers, self.body, self.length, self.stream)

    def bodiless(self) -> Response:
        """What HEAD gets: everything but the body."""
        length = len(self.body) if self.length is None else self.length
        return Response(self.status, self.headers, b"", length, self.stream)


def json_response(value: Any, *headers: tuple[str, str], status: int = 200) -> Response:
    """`value` as JSON."""
    return Response(status, (JSON, *headers), _ENCODER.encode(value))


def record_response(
    spec: ModelSpec, record: Record, *headers: tuple[str, str], status: int = 200
) -> Response:
    """A record with its revision as ETag."""
    return Response(status, (JSON, ("ETag", record.etag), *headers), spec.shown(record))


def problem_response(error: AegisError) -> Response:
    """An error as an RFC 9457 problem document, with the headers that its status calls for."""
    headers: Headers = (PROBLEM,)
    if isinstance(error, UnauthorizedError):
        headers += (("WWW-Authenticate", 'Bearer realm="aegis"'),)
    elif isinstance(error, BusyError):
        headers += (("Retry-After", str(error.retry_after)),)
    elif isinstance(error, MethodNotAllowedError):
        headers += (("Allow", ", ".join(error.fields.get("allow", ()))),)
    return Response(error.status, headers, _ENCODER.encode(error.problem()))
