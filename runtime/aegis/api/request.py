"""What came in over HTTP, whatever server parsed it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from urllib.parse import parse_qsl

import msgspec

from aegis.core.errors import BadRequestError

MAX_PARAMETERS = 100

Hurry = Callable[[], object]


def _never(_hurry: Hurry) -> None:
    """Nobody will ever press: what a parser without a connection passes."""


class Request(msgspec.Struct, frozen=True):
    """One request, read whole.

    `path` as sent (percent-encoded, without the query), `query` the text after `?`, `headers` by
    lower-case name (repeated ones joined by `, `). `on_hurry` takes a callback that ends a wait
    early: it is called when the client is gone or the server is closing, and never touches work
    that must become durable.
    """

    method: str
    path: str
    query: str = ""
    headers: Mapping[str, str] = {}
    body: bytes = b""
    on_hurry: Callable[[Hurry], None] = _never

    def parameters(self) -> list[tuple[str, str]]:
        """The query's parameters, decoded, in order. Raises BadRequestError."""
        try:
            return parse_qsl(
                self.query,
                keep_blank_values=True,
                max_num_fields=MAX_PARAMETERS,
                errors="strict",
            )
        except UnicodeDecodeError as error:
            raise BadRequestError("the query is not UTF-8 in percent-encoding") from error
        except ValueError as error:
            raise BadRequestError(f"the query has more than {MAX_PARAMETERS} parameters") from error
