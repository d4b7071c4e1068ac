"""The journal as server-sent events: each client is read to at its own pace, and misses nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable, Iterator, Mapping, Sequence

import msgspec

from aegis.api.listing import accepts, read_number
from aegis.api.request import Request
from aegis.api.response import Response
from aegis.core.errors import BadRequestError, BusyError, closest
from aegis.core.event import PATTERN, matches
from aegis.engine.host import Host
from aegis.protocols import Entry

STREAMS = 100  # clients that may follow a host at once
PAGE = 256  # events read at once for one client, fewer where they are large
PAGE_BYTES = 1 << 20  # about what such a page may take
PIECE = 256 * 1024  # bytes handed to the connection at once, an event more at most
PAUSE = 0.05  # seconds between looks at a journal that grows, so that a burst costs few of them
HEARTBEAT = 15.0  # seconds after which a client that hears nothing is told that all is well
RETRY = 2000  # milliseconds after which a client that lost us comes again
LAST_SEQ = 2**53  # numbers beyond it are not whole in JavaScript

# Told to a client that begins before events which are gone; it goes on with those that are left.
GONE = b'event: aegis.forgotten\ndata: {"forgotten":%d}\n\n'

_TYPE = "text/event-stream"
_PARAMETERS = ("after", "subject", "type", "token")
_HEADERS = (
    ("Content-Type", _TYPE),
    ("Vary", "Accept"),
    ("Cache-Control", "no-store"),
    # Proxies of the nginx family would keep events back until they have a bufferful.
    ("X-Accel-Buffering", "no"),
)


class Selection(msgspec.Struct, frozen=True):
    """The events that a caller asks for: a name or glob, and the record they are about."""

    pattern: str = "*"
    subject: str | None = None

    def has(self, entry: Entry) -> bool:
        """Whether `entry` is asked for."""
        return (self.subject is None or self.subject == entry.subject) and (
            self.pattern == "*" or matches(self.pattern, entry.type)
        )


def read_selection(request: Request, known: Sequence[str]) -> tuple[Selection, dict[str, str]]:
    """What the query asks for, and its parameters, which must be `known`.

    Raises BadRequestError.
    """
    parameters = dict(request.parameters())
    for name in parameters:
        if name not in known:
            raise BadRequestError(
                f"events takes no parameter {name!r} here",
                hint=closest(name, known),
                parameter=name,
            )
    pattern = parameters.get("type", "*")
    if not PATTERN.match(pattern):
        raise BadRequestError(
            f"{pattern[:80]!r} is no event name or glob", hint="as in `order.*`", parameter="type"
        )
    return Selection(pattern, parameters.get("subject")), parameters


def wants_stream(request: Request) -> bool:
    """Whether the caller accepts server-sent events by name: who accepts anything gets a page."""
    return accepts(request, _TYPE)


class Streams:
    """The clients that follow the events of a host."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self.open = 0

    def answer(self, request: Request) -> Response:
        """A stream of the events that the query asks for, from the cursor on.

        Raises BadRequestError, and BusyError when there are too many.
        """
        selection, parameters = read_selection(request, _PARAMETERS)
        after = self._after(request.headers, parameters)
        if self.open >= STREAMS:
            raise BusyError(f"{STREAMS} clients follow this host, which is its limit")
        return Response(200, _HEADERS, stream=lambda: self._follow(request, selection, after))

    def _after(self, headers: Mapping[str, str], parameters: Mapping[str, str]) -> int:
        """Where to begin. A client that comes again says so in its header, at the same address."""
        given = headers.get("last-event-id") or None
        name = "after" if given is None else "Last-Event-ID"
        last = self._host.store.last_seq()
        after = read_number(parameters if given is None else {name: given}, name, last, LAST_SEQ)
        if after > last:
            # Waiting for a number of another journal would pass over all that comes before it.
            raise BadRequestError(
                f"{name} is {after}, and the journal ends at {last}",
                hint="`after=0` begins at its beginning",
                parameter=name,
            )
        return after

    async def _follow(
        self, request: Request, selection: Selection, seq: int
    ) -> AsyncGenerator[bytes]:
        """The stream's pieces, until the client is gone or the server closes.

        Nothing is kept for a client but the page it is being sent: whoever takes the pieces takes
        the next one when this one is on its way.
        """
        wake = asyncio.Event()
        ended = asyncio.Event()

        def end() -> None:
            ended.set()
            wake.set()

        request.on_hurry(end)
        now = asyncio.get_running_loop().time
        self.open += 1
        try:
            with self._host.woken(wake):
                # A client that breaks off before its first event comes again to this place.
                yield b"retry: %d\nid: %d\n\n" % (RETRY, seq)
                if seq < self._host.forgotten:
                    yield GONE % self._host.forgotten
                told, quiet, count = seq, now() + HEARTBEAT, PAGE // 8
                while not ended.is_set():
                    wake.clear()
                    page = await self._host.store.events(seq, count)
                    for piece in _pieces(filter(selection.has, page)):
                        yield piece
                        told, quiet = page[-1].seq, now() + HEARTBEAT
                    if page:
                        seq = page[-1].seq
                    if now() >= quiet:
                        # A block without data is no event; its id is where to come again.
                        yield b"id: %d\n\n" % seq if seq > told else b":\n"
                        told, quiet = seq, now() + HEARTBEAT
                    if page:
                        # Some stores answer at once: a long search lets others have their turn.
                        await asyncio.sleep(0 if len(page) == count else PAUSE)
                        count = _fitting(page)
                    else:
                        await _wait(wake, quiet - now())
        finally:
            self.open -= 1


def _fitting(page: Sequence[Entry]) -> int:
    """How many events a page may have, if the next ones are as large as these."""
    size = sum(len(entry.doc) for entry in page)
    return max(1, min(PAGE, PAGE_BYTES * len(page) // max(size, 1)))


async def _wait(wake: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await wake.wait()
    except TimeoutError:
        pass


def _pieces(entries: Iterable[Entry]) -> Iterator[bytes]:
    """The entries as they go over the wire, in pieces of a size that a slow line can take."""
    blocks, size = list[bytes](), 0
    for entry in entries:
        # Stored documents are JSON without line breaks, so one line of data holds the whole event.
        blocks.append(
            b'id: %d\nevent: %b\ndata: %b,"seq":%d}\n\n'
            % (entry.seq, entry.type.encode(), entry.doc[:-1], entry.seq)
        )
        size += len(blocks[-1])
        if size >= PIECE:
            yield b"".join(blocks)
            blocks, size = [], 0
    if blocks:
        yield b"".join(blocks)
