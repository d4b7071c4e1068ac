"""HTTP for guests: to the origins that a description names, within limits, and nowhere else."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

import msgspec

from aegis.core.errors import InvalidError, PortError, TooLargeError, closest

if TYPE_CHECKING:
    import httpx

BODY = 1 << 20  # bytes, of a request and of an answer
HEADERS = 16 << 10  # bytes of all headers of a request
URL = 8 << 10  # characters
CONNECT = 10.0  # seconds; how long an answer may take is the port's to say
CONNECTIONS = 16

_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_VALUE = re.compile(r"[\t\x20-\x7e]*")
# What the connection is made of is the host's, and nothing may come packed: its length says nothing
# of what it becomes.
_OURS = frozenset(
    {"host", "content-length", "transfer-encoding", "connection", "keep-alive", "upgrade"}
    | {"te", "trailer", "expect", "accept-encoding"}
)
_ASKING = {"Accept-Encoding": "identity", "User-Agent": "aegis"}


class Request(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a guest wants to send."""

    url: str
    method: str = "GET"
    headers: dict[str, str] = {}
    body: str = ""

    def check(self) -> None:
        """Raise InvalidError, TooLargeError for what is not sent, whoever gets it."""
        if self.method not in _METHODS:
            hint = closest(self.method.upper(), _METHODS) or f"one of {', '.join(_METHODS)}"
            raise InvalidError(f"http: {self.method[:20]!r} is no method", hint=hint)
        if len(self.url) > URL:
            raise TooLargeError(f"http: a URL has {URL:,} characters at most")
        for name, value in self.headers.items():
            if not _NAME.fullmatch(name) or not _VALUE.fullmatch(value):
                raise InvalidError(f"http: the header {name[:40]!r} cannot be sent as it is")
            if name.lower() in _OURS or name.lower().startswith("proxy-"):
                raise InvalidError(f"http: the header {name!r} is the host's to say")
        if sum(len(name) + len(value) for name, value in self.headers.items()) > HEADERS:
            raise TooLargeError(f"http: headers have {HEADERS:,} bytes at most")
        if len(self.body) > BODY or len(self.body.encode()) > BODY:
            raise TooLargeError(f"http: a body has {BODY:,} bytes at most")


class Response(msgspec.Struct, frozen=True):
    """What was answered; the names of headers are lower case."""

    status: int
    headers: dict[str, str]
    body: str


class Outbound:
    """The connections of one guest to `origins`.

    No redirect is followed, no cookie kept, no proxy asked; nothing of the environment counts but
    which certificates are believed. It is open from the first request until whoever began to use
    it has left. It is made off the loop: what it imports takes a while. Raises InvalidError for an
    origin that is none.
    """

    def __init__(self, origins: Iterable[str]) -> None:
        import httpx

        self._said = tuple(origins)
        self._origins: dict[str, str] = {}
        for said in self._said:
            try:
                self._origins[_origin(httpx.URL(said))] = said
            except (httpx.InvalidURL, ValueError) as error:
                raise InvalidError(f"http: {said!r} is no origin: {error}") from None
        self._transport: httpx.AsyncHTTPTransport | None = None
        self._opening: asyncio.Lock | None = None
        self._users = 0

    def enter(self) -> None:
        """One more uses it."""
        self._users += 1

    async def leave(self) -> None:
        """One less; after the last one all connections are closed."""
        self._users -= 1
        if self._users <= 0 and self._transport is not None:
            transport, self._transport, self._opening = self._transport, None, None
            await transport.aclose()

    def origin(self, request: Request) -> str:
        """The described origin that a request goes to. Raises InvalidError for any other."""
        request.check()
        import httpx

        try:
            url = httpx.URL(request.url)
            origin = _origin(url)
        except (httpx.InvalidURL, ValueError) as error:
            raise InvalidError(f"http: this is no URL: {error}") from None
        if url.userinfo:
            raise InvalidError("http: a URL names no user", hint="say it in a header")
        said = self._origins.get(origin)
        if said is None:
            raise InvalidError(
                f"http: its description does not name the origin {origin!r}",
                hint=f"it names {', '.join(self._said) or 'none'}",
            )
        return said

    async def fetch(self, request: Request) -> Response:
        """The answer to a request whose `origin` is one of those.

        Raises PortError where the server does not answer, or answers what cannot be taken. Who is
        cancelled meanwhile has the connection closed.
        """
        import httpx

        transport = await self._open()
        has_body = request.body or request.method in {"POST", "PUT", "PATCH"}
        asking = httpx.Request(
            request.method,
            httpx.URL(request.url),
            headers={**_ASKING, **request.headers},
            content=request.body.encode() if has_body else None,
            extensions={"timeout": {"connect": CONNECT, "read": None, "write": None, "pool": None}},
        )
        where = _origin(asking.url)
        try:
            answer = await transport.handle_async_request(asking)
            try:
                return await self._read(where, answer)
            finally:
                await answer.aclose()
        except httpx.TimeoutException:
            raise PortError(f"{where} does not answer") from None
        except (httpx.HTTPError, httpx.StreamError, OSError) as error:
            raise PortError(
                f"{where} cannot be asked: {str(error) or type(error).__name__}"
            ) from None

    async def _read(self, where: str, answer: httpx.Response) -> Response:
        if answer.headers.get("content-encoding", "identity").lower() != "identity":
            raise PortError(f"{where} packs its answer, which nobody asked for")
        content = bytearray()
        async for chunk in answer.aiter_raw():
            content += chunk
            if len(content) > BODY:
                raise PortError(f"{where} answers with more than {BODY:,} bytes")
        try:
            body = content.decode(answer.charset_encoding or "utf-8")
        except (UnicodeDecodeError, LookupError):
            raise PortError(f"{where} answers what is no text", hint="bodies are text") from None
        headers = {name.lower(): value for name, value in answer.headers.items()}
        return Response(answer.status_code, headers, body)

    async def _open(self) -> httpx.AsyncHTTPTransport:
        if self._opening is None:
            self._opening = asyncio.Lock()
        async with self._opening:
            if self._transport is None:
                # To read the certificates of the machine takes a while.
                self._transport = await asyncio.to_thread(_transport)
        return self._transport


def _transport() -> httpx.AsyncHTTPTransport:
    import httpx

    limits = httpx.Limits(
        max_connections=CONNECTIONS, max_keepalive_connections=CONNECTIONS, keepalive_expiry=30.0
    )
    return httpx.AsyncHTTPTransport(limits=limits)


def _origin(url: httpx.URL) -> str:
    """Scheme, host and port as one text, however they were written. Raises ValueError."""
    if url.scheme not in {"http", "https"} or not url.host:
        raise ValueError(f"write https://..., not {str(url)[:40]!r}")
    host = url.raw_host.decode("ascii")
    host = f"[{host}]" if ":" in host else host
    usual = {"http": 80, "https": 443}[url.scheme]
    return f"{url.scheme}://{host}" + ("" if url.port in {None, usual} else f":{url.port}")
