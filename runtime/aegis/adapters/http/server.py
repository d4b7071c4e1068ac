"""The HTTP server: Tornado reads requests and writes answers, the router decides all else."""

from __future__ import annotations

import asyncio
import errno
import logging
import re
import socket
from asyncio import Future
from collections.abc import Awaitable
from contextlib import aclosing
from email.utils import formatdate
from http import HTTPStatus
from time import time
from typing import cast

from tornado import httputil
from tornado.http1connection import (
    HTTP1Connection,
    HTTP1ConnectionParameters,
    HTTP1ServerConnection,
)
from tornado.iostream import IOStream, StreamClosedError
from tornado.tcpserver import TCPServer

from aegis.api.request import Hurry, Request
from aegis.api.response import Response, Stream
from aegis.api.router import Router
from aegis.core.errors import AegisError, ClosedError, TooLargeError

MAX_HEADERS = 32 * 1024
IDLE = 75.0  # seconds a connection may wait for its next request's head
READING = 60.0  # seconds a request's body may take
SENDING = 60.0  # seconds a piece of a stream may take to leave
SWEEP = 5.0  # seconds between looks at who is too slow
DRAIN = 16 * 1024 * 1024  # bytes of a refused body that pass by unkept, so that its sender looks up
BACKLOG = 1024
MAX_PORT = 65535
GRACE = 10.0  # seconds that requests under way get when the server closes

_log = logging.getLogger("aegis.http")

_LINES = {
    status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus
}
_BROKEN_HEADER = re.compile(r"[\r\n\0]")


class AddressInUseError(AegisError):
    """Another program listens there."""

    title = "Address in use"


class AddressError(AegisError):
    """This machine or this user cannot listen there."""

    title = "Bad address"


class _Exchange(httputil.HTTPMessageDelegate):
    """One request and its answer, on a connection that may carry further ones.

    It is idle until a head came, then reading, then answering, and done once its answer is handed
    to the connection; a refused one was answered before its body ended and lets the rest pass by.
    While an answer is a stream, it is sending when a piece is on its way to the client.
    """

    def __init__(self, server: Server, connection: HTTP1Connection, since: float) -> None:
        self._server = server
        self._connection = connection
        self._start: httputil.RequestStartLine | None = None
        self._headers: dict[str, str] = {}
        self._body = bytearray()
        self._most = server.router.max_body
        self._drained = 0
        self._hurries: list[Hurry] | None = None
        self._written: Future[None]
        self.state = "idle"
        self.since = since

    def headers_received(
        self,
        start_line: httputil.RequestStartLine | httputil.ResponseStartLine,
        headers: httputil.HTTPHeaders,
    ) -> None:
        self._start = cast(httputil.RequestStartLine, start_line)
        self.state = "reading"
        own = self._headers
        for name, value in headers.get_all():
            key = name.lower()
            own[key] = f"{own[key]}, {value}" if key in own else value
        length = own.get("content-length")
        if length is not None:
            self.since = self._server.now()
            most = self._most = self._server.router.most(self._start.path, own)
            # A length that is no number is Tornado's to refuse, before any of the body.
            if length.isdigit() and (len(length) > 18 or int(length) > most):
                self._refuse()
        elif "transfer-encoding" in own:
            self._most = self._server.router.most(self._start.path, own)
            self.since = self._server.now()

    def data_received(self, chunk: bytes) -> None:
        if self.state == "refused":
            # Many clients read no answer before they have sent all; a close would reset it away.
            self._drained += len(chunk)
            if self._drained > DRAIN:
                self._end()
            return
        self._body += chunk
        if len(self._body) > self._most:
            self._body.clear()
            self._refuse()

    def finish(self) -> None:
        if self.state == "refused":
            self._end()
            self._written.add_done_callback(lambda _: self._connection.close())
            return
        self.state = "answering"
        answer = self._server.router.handle(self._request())
        if isinstance(answer, Response) and answer.stream is None:
            self._write(answer)
            self._end()
        else:
            self._connection.set_close_callback(self.hurry)
            self._server.keep(asyncio.get_running_loop().create_task(self._answer(answer)))

    def on_connection_close(self) -> None:
        """The client went away while it sent its request."""
        self.state = "done"
        self.hurry()

    def hurry(self) -> None:
        """End what only waits: the client is gone, or the server is closing."""
        hurries, self._hurries = self._hurries, None
        for press in hurries or ():
            press()
        if self.state == "sending" and self._server.closing:
            self._connection.close()  # the client does not read, and comes again where it was

    def cut(self) -> None:
        """End it without an answer."""
        self.hurry()
        self._connection.close()

    def _on_hurry(self, press: Hurry) -> None:
        if self._hurries is None:
            self._hurries = []
        self._hurries.append(press)
        if self._server.closing or self._is_gone():
            self.hurry()

    def _is_gone(self) -> bool:
        # Tornado has no stream only where it was detached, and that is never done here.
        return self._connection.stream.closed()  # pyright: ignore[reportOptionalMemberAccess]

    def _request(self) -> Request:
        start = self._start
        assert start is not None  # noqa: S101 -- Tornado calls headers_received first
        path, _, query = start.path.partition("?")
        return Request(start.method, path, query, self._headers, bytes(self._body), self._on_hurry)

    async def _answer(self, answer: Response | Awaitable[Response]) -> None:
        response = answer if isinstance(answer, Response) else await answer
        if self._is_gone():
            return
        try:
            self._write(response)
            if response.stream is not None:
                await self._send(response.stream)
            self._end()
        except StreamClosedError:
            self.state = "done"
        except ClosedError:  # without an end, so that nobody takes it for whole
            self._connection.close()
        except Exception:  # noqa: BLE001 -- whatever it was, the client must not wait for ever
            _log.exception("an answer broke off")
            self._connection.close()

    def _refuse(self) -> None:
        """Answer 413 now; what follows is not kept."""
        most = self._most
        error = TooLargeError(f"the body is larger than {most} bytes", limit=most)
        answer = self._server.router.refuse(self._request(), error)
        self._written = self._write(answer, last=True)
        self.state = "refused"
        if "expect" in self._headers:
            self._end()  # the client waits for leave to send, and does not get it

    def _write(self, response: Response, *, last: bool = False) -> Future[None]:
        start = self._start
        assert start is not None  # noqa: S101 -- Tornado calls headers_received first
        text = self._server.encode(response, start, self._headers, last=last)
        return self._connection.write(text)

    async def _send(self, stream: Stream) -> None:
        """The pieces of a stream, each when the client's line took the one before."""
        start = self._start
        assert start is not None  # noqa: S101 -- Tornado calls headers_received first
        line = self._connection.stream
        assert line is not None  # noqa: S101 -- it is None where it was detached: never here
        chunked = start.version != "HTTP/1.0"
        if start.method != "HEAD":
            async with aclosing(stream()) as pieces:
                async for piece in pieces:
                    if self._server.closing:
                        break
                    self.state, self.since = "sending", self._server.now()
                    await line.write(b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece)
                    self.state = "answering"
            if chunked:
                await line.write(b"0\r\n\r\n")
        if not chunked:
            self._connection.close()

    def _end(self) -> None:
        self.state = "done"
        self._connection.finish()


class Server(TCPServer, httputil.HTTPServerConnectionDelegate):
    """Serves a router on one address until it is closed. Made by `start`."""

    def __init__(self, router: Router) -> None:
        super().__init__()
        self.router = router
        self.closing = False
        self.now = asyncio.get_running_loop().time
        self._parameters = HTTP1ConnectionParameters(
            max_header_size=MAX_HEADERS,
            # Ours is the limit that answers; Tornado's only closes the connection.
            max_body_size=1 << 62,
        )
        self._exchanges: dict[HTTP1ServerConnection, _Exchange] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._quiet = asyncio.Event()
        self._date = (0, b"")
        self._sweeping: asyncio.TimerHandle | None = None
        self._closed: asyncio.Task[None] | None = None
        self.host = ""
        self.port = 0

    @property
    def address(self) -> str:
        """Where to reach it from this machine, as `http://127.0.0.1:8123`."""
        name = {"0.0.0.0": "127.0.0.1", "::": "[::1]", "": "127.0.0.1"}.get(  # noqa: S104
            self.host, f"[{self.host}]" if ":" in self.host else self.host
        )
        return f"http://{name}:{self.port}"

    @property
    def token(self) -> str | None:
        """What callers must show; None lets everybody in."""
        return self.router.token

    def listen_on(self, host: str, port: int) -> None:
        """Bind and accept. Raises AddressInUseError, AddressError."""
        try:
            sockets = _bind(host, port)
        except OSError as error:
            raise _address_error(error, host, port) from error
        except OverflowError as error:
            raise AddressError(
                f"{port} is no port", hint="ports go from 1 to 65535; 0 takes a free one", port=port
            ) from error
        self.host, self.port = host, sockets[0].getsockname()[1]
        self.add_sockets(sockets)
        self._sweep()

    async def close(self, grace: float = GRACE) -> None:
        """Accept nothing more, end mere waits, let requests under way end within `grace` seconds.

        Safe to call twice; the second call waits for the first.
        """
        if self._closed is None:
            self._closed = asyncio.ensure_future(self._close(grace))
        await asyncio.shield(self._closed)

    async def _close(self, grace: float) -> None:
        self.closing = True
        self.stop()
        if self._sweeping is not None:
            self._sweeping.cancel()
        for exchange in list(self._exchanges.values()):
            exchange.hurry()
            if exchange.state == "idle":
                exchange.cut()
        self._look_quiet()
        try:
            async with asyncio.timeout(grace):
                await self._quiet.wait()
        except TimeoutError:
            for connection, exchange in list(self._exchanges.items()):
                _log.warning("cut off a request still %s after %.1f s", exchange.state, grace)
                exchange.cut()
                await connection.close()

    def _look_quiet(self) -> None:
        if self.closing and not self._exchanges and not self._tasks:
            self._quiet.set()

    def keep(self, task: asyncio.Task[None]) -> None:
        """Hold on to an answer in the making: it is made although its client may be gone."""
        self._tasks.add(task)
        task.add_done_callback(self._drop)

    def _drop(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._look_quiet()

    # --- what Tornado calls ---------------------------------------------------------------------

    def handle_stream(self, stream: IOStream, address: object) -> None:
        connection = HTTP1ServerConnection(stream, self._parameters)
        connection.start_serving(self)

    def start_request(
        self, server_conn: object, request_conn: httputil.HTTPConnection
    ) -> httputil.HTTPMessageDelegate:
        exchange = _Exchange(self, cast(HTTP1Connection, request_conn), self.now())
        self._exchanges[cast(HTTP1ServerConnection, server_conn)] = exchange
        if self.closing:
            exchange.cut()
        return exchange

    def on_close(self, server_conn: object) -> None:
        self._exchanges.pop(cast(HTTP1ServerConnection, server_conn), None)
        self._look_quiet()

    # --------------------------------------------------------------------------------------------

    def encode(
        self,
        response: Response,
        start: httputil.RequestStartLine,
        headers: dict[str, str],
        *,
        last: bool,
    ) -> bytes:
        """The answer's bytes: written as one piece, Tornado's own headers cost a third of a GET."""
        head = [_LINES.get(response.status) or b"HTTP/1.1 %d \r\n" % response.status]
        text = "".join([f"{name}: {value}\r\n" for name, value in response.headers])
        if text.count("\n") != len(response.headers) or "\0" in text:
            raise ValueError("a header of the answer holds a line break")
        head.append(text.encode("latin-1"))
        if response.status not in {204, 304}:
            if response.stream is None:
                length = len(response.body) if response.length is None else response.length
                head.append(b"Content-Length: %d\r\n" % length)
            elif start.version == "HTTP/1.0":
                last = True  # its end is the connection's
            else:
                head.append(b"Transfer-Encoding: chunked\r\n")
        connection = headers.get("connection")
        if last or self.closing or (connection is not None and connection.lower() == "close"):
            head.append(b"Connection: close\r\n")
        elif (
            start.version == "HTTP/1.0"
            and connection is not None
            and connection.lower() == "keep-alive"
        ):
            head.append(b"Connection: keep-alive\r\n")
        head.append(self._dated())
        head.append(response.body)
        return b"".join(head)

    def _dated(self) -> bytes:
        """The Date header and the end of the head, made once a second."""
        second = int(time())
        if second != self._date[0]:
            self._date = (second, f"Date: {formatdate(second, usegmt=True)}\r\n\r\n".encode())
        return self._date[1]

    def _sweep(self) -> None:
        """Close connections that are idle or slow for too long: one timer for all of them."""
        now = self.now()
        for exchange in list(self._exchanges.values()):
            allowed = {
                "idle": IDLE,
                "reading": READING,
                "refused": READING,
                "sending": SENDING,
            }.get(exchange.state)
            if allowed is not None and now - exchange.since > allowed:
                exchange.cut()
        self._sweeping = asyncio.get_running_loop().call_later(SWEEP, self._sweep)


async def start(router: Router, host: str, port: int) -> Server:
    """Serve `router` at `host` and `port` (0 takes a free one) on the running loop.

    Raises AddressInUseError, AddressError.
    """
    server = Server(router)
    server.listen_on(host, port)
    return server


def _bind(host: str, port: int) -> list[socket.socket]:
    """A listening socket for every address that `host` stands for, all on one port.

    Tornado's own function leaves a socket open when it fails.
    """
    if not 0 <= port <= MAX_PORT:
        raise AddressError(f"{port} is no port", hint="0, for a free one, to 65535", port=port)
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    sockets: list[socket.socket] = []
    try:
        for family, _, _, _, address in dict.fromkeys(found):
            place = (address[0], port or (sockets[0].getsockname()[1] if sockets else 0))
            try:
                sockets.append(socket.create_server(place, family=family, backlog=BACKLOG))
            except OSError as error:
                # `localhost` may stand for ::1 where there is no IPv6.
                if error.errno not in {errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT} or not sockets:
                    raise
            else:
                sockets[-1].setblocking(False)
    except BaseException:
        for opened in sockets:
            opened.close()
        raise
    return sockets


def _address_error(error: OSError, host: str, port: int) -> AegisError:
    if error.errno == errno.EADDRINUSE:
        return AddressInUseError(
            f"port {port} of {host} is in use",
            hint="stop the program that listens there, or take a free port with `--port 0`",
            port=port,
        )
    if error.errno == errno.EACCES:
        return AddressError(
            f"port {port} of {host} is reserved for the administrator",
            hint="take one above 1023, or a free one with `--port 0`",
            port=port,
        )
    if isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL:
        return AddressError(
            f"{host!r} is no address of this machine", hint="`--host 127.0.0.1` is", port=port
        )
    return AddressError(f"cannot listen on port {port} of {host}: {error.strerror}", port=port)
