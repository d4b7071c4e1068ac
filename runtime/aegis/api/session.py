"""The sessions of views with a host: what `core/wire.py` says, kept, over whatever carries text.

The exchange, which a view's client follows:

1. The view says `Open`. It hears `Hello` and at once the first `Frame`; or `Skew`, and then nothing
   until it opens again. An `Open` in an open session begins it anew, with a new capability; what
   was asked before and is under way gets its `Reply` first, with a problem.
2. A frame is whole (`reset`) unless `Open` named the `boot` of this run and a `cursor` it had
   reached with the same topics and pattern; then it is what changed since.
3. The view says `Ack` with the cursor of each frame that it has taken. No frame leaves before that
   of the last one came, however long it takes: nothing piles up, the next frame holds what changed
   meanwhile. Frames are 0.1 s apart at least, large ones more (`BYTES_A_SECOND`). A frame may have
   nothing but a new `rate`: it says that the events have calmed down. A carrier may lose a frame
   (jupyter-server does when a cell floods it), and then both would wait for ever: a view that has
   heard nothing for some 20 s says its last `Ack` again (of 0 when it had no frame), and gets what
   it lacks from there.
4. Each `Ask` gets exactly one `Reply` of its `id`, in whatever order they are done. A view numbers
   its asks from 1.
5. A `Reply` with the id 0 answers no ask: its problem says what was wrong with another message, or
   why there is no session (no host is running, too many views). Who heard it instead of `Hello`
   may wait: where the carrier stays open, `Hello` follows when a host is there.
6. Whatever this host does not know of a newer view gets a problem or a `Skew`; both say what to
   update. Neither ends the session.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable, Iterable
from typing import Any

import msgspec

import aegis
from aegis.api.answers import Answers
from aegis.api.body import located
from aegis.api.policy import ForbiddenError
from aegis.core.difference import Difference
from aegis.core.errors import (
    AegisError,
    BadRequestError,
    BusyError,
    ClosedError,
    InvalidError,
    TooLargeError,
    UnauthorizedError,
)
from aegis.core.event import PATTERN
from aegis.core.graph import Graph
from aegis.core.why import Why
from aegis.core.wire import (
    PROTOCOL,
    Ack,
    Ask,
    Frame,
    FromHost,
    Hello,
    Open,
    Reply,
    Right,
    Skew,
)
from aegis.engine.host import Host

SESSIONS = 32
ASKS = 32
MAX_MESSAGE = 1 << 20
PAUSE = 0.1
# For all sessions: jupyter-server drops what is over a million, a cell's own output with it.
BYTES_A_SECOND = 600_000
# After so many seconds an `Ack` of an earlier frame says that the last one was lost.
LOST = 5.0
# Who has taken no frame for so long may have to make room: browsers leave without a word.
STALLED = 15.0

Send = Callable[[bytes], object]
Ended = Callable[[str], object]

_log = logging.getLogger("aegis.host")
_ENCODER = msgspec.json.Encoder(decimal_format="string", enc_hook=str)


class Outline(msgspec.Struct):
    """What can be said of any message before it is known to be right."""

    kind: Any = None
    id: Any = None
    protocol: Any = None


_OUTLINE = msgspec.json.Decoder(Outline)
_OPEN = msgspec.json.Decoder(Open)
_ACK = msgspec.json.Decoder(Ack)
_ASK = msgspec.json.Decoder(Ask)


class Sessions:
    """The sessions of one host, on its loop.

    `render` draws its graph, once for all of them, `tree` what led to what, `compare` what a deploy
    would make different.
    """

    def __init__(
        self,
        host: Host,
        render: Callable[[Graph], str] | None = None,
        tree: Callable[[Why], str] | None = None,
        compare: Callable[[Difference], str] | None = None,
    ) -> None:
        self.host = host
        self.answers = Answers(host, render, tree, compare)
        self._open: dict[Session, None] = {}
        self._closed: str | None = None

    def __len__(self) -> int:
        return len(self._open)

    def begin(self, send: Send, *, rights: Iterable[Right], ended: Ended | None = None) -> Session:
        """A session for a view; `send` takes JSON, `ended` hears why the host ended it.

        Raises BusyError when there are too many and none has stalled, ClosedError after `close`.
        """
        if self._closed is not None:
            raise ClosedError(self._closed)
        if len(self._open) >= SESSIONS:
            idle = [session for session in self._open if session.stalled >= STALLED]
            if not idle:
                raise BusyError(f"{SESSIONS} views watch this host already", retry_after=15)
            max(idle, key=lambda session: session.stalled).end("another view took the place")
        session = Session(self, send, rights=rights, ended=ended)
        self._open[session] = None
        return session

    def pause(self, size: int) -> float:
        """Seconds to the next frame of a session after one of `size` bytes."""
        awake = sum(session.stalled < STALLED for session in self._open)
        return PAUSE + awake * size / BYTES_A_SECOND

    def close(self, reason: str) -> None:
        """End all sessions, telling why, and begin no others."""
        self._closed = reason
        self.answers.close()
        for session in list(self._open):
            session.end(reason)

    def left(self, session: Session) -> None:
        """It is closed."""
        self._open.pop(session, None)


class Session:
    """One view's session with a host, on the host's loop. See the module for what is said in it.

    `Sessions.begin` makes them. `rights` is what the carrier grants; the session has what of it
    the view asks for.
    """

    def __init__(
        self, among: Sessions, send: Send, *, rights: Iterable[Right], ended: Ended | None
    ) -> None:
        self.opening: Open | None = None
        self.rights: tuple[Right, ...] = ()
        self._among = among
        self._host = among.host
        self._loop = asyncio.get_running_loop()
        self._send = send
        self._granted = frozenset(rights)
        self._ended = ended
        self._capability = ""
        self._closed = False
        self._frames: asyncio.Task[None] | None = None
        self._asks: dict[asyncio.Task[None], Ask] = {}
        self._acked = asyncio.Event()
        self._unacked: int | None = None
        self._lost: int | None = None  # the cursor that a view is at which lost a frame
        self._sent = self._framed = self._loop.time()

    # --- life -----------------------------------------------------------------------------------

    @property
    def stalled(self) -> float:
        """Seconds that an `Ack`, or the `Open` that never came, has been waited for.

        Any thread may ask.
        """
        if self.opening is not None and self._unacked is None:
            return 0.0
        return self._loop.time() - self._sent

    def close(self) -> None:
        """The view is gone. What it had begun to change goes on, and nobody hears of it."""
        if self._closed:
            return
        self._closed = True
        self._pause()
        self._among.left(self)

    def end(self, reason: str) -> None:
        """End the session from this side; the view is told why."""
        if not self._closed:
            self.close()
            if self._ended is not None:
                self._ended(reason)

    # --- what the view says ---------------------------------------------------------------------

    def receive(self, text: bytes) -> None:
        """Take a message of the view. Never raises: what is wrong with it is answered."""
        if self._closed:
            return
        seen = Outline()
        try:
            if len(text) > MAX_MESSAGE:
                raise TooLargeError(f"a message has {MAX_MESSAGE} bytes at most")
            seen = _decoded(_OUTLINE, text)
            self._take(seen, text)
        except AegisError as error:
            self._tell(_refused(seen, error))

    def _take(self, seen: Outline, text: bytes) -> None:
        match seen.kind:
            case "open":
                if seen.protocol != PROTOCOL:
                    self._pause()
                    self._tell(_skew(seen.protocol))
                    return
                self._begin(_decoded(_OPEN, text))
            case "ack":
                ack = _decoded(_ACK, text)
                if self._unacked is None:
                    return
                if ack.cursor < self._unacked:
                    if self._loop.time() - self._framed < LOST:
                        return  # it may be under way
                    self._lost = ack.cursor
                self._unacked = None
                self._acked.set()
            case "ask":
                self._ask(_decoded(_ASK, text))
            case str():
                self._tell(_skew(seen.protocol, seen.kind))
            case _:
                raise BadRequestError("the message has no `kind`", hint="open, ack or ask")

    def _begin(self, opening: Open) -> None:
        if not PATTERN.match(opening.pattern):
            raise BadRequestError(
                f"{opening.pattern[:80]!r} is no event name or glob", hint="as in `order.*`"
            )
        self._pause()
        self.opening = opening
        self.rights = tuple(r for r in dict.fromkeys(opening.rights) if r in self._granted)
        self._capability = secrets.token_urlsafe(32)
        monitor = self._host.monitor
        self._tell(
            Hello(
                protocol=PROTOCOL,
                version=aegis.__version__,
                boot=monitor.boot,
                capability=self._capability,
                rights=self.rights,
            )
        )
        goes_on = opening.boot == monitor.boot and 0 < opening.cursor <= monitor.cursor
        self._frames = asyncio.create_task(
            self._watch(opening, opening.cursor if goes_on else 0, reset=not goes_on)
        )
        self._frames.add_done_callback(self._frames_ended)

    def _pause(self) -> None:
        """No more frames and no answers for what was open. What changes something goes on."""
        if self._frames is not None:
            self._frames.cancel()
        for task, ask in self._asks.items():
            if ask.capability == self._capability:
                error = ClosedError("the view began anew", hint="what it asked for may yet be done")
                self._tell(Reply(id=ask.id, problem=_problem(error)))
            if ask.ask.right == "view":
                task.cancel()
        self._frames = self.opening = self._unacked = self._lost = None
        self._capability = ""

    # --- frames ---------------------------------------------------------------------------------

    async def _watch(self, opening: Open, cursor: int, *, reset: bool) -> None:
        monitor, loop = self._host.monitor, self._loop
        topics = frozenset(opening.topics)
        known: float | None = None  # the rate that the view has heard of
        told = cursor
        while True:
            frame = monitor.frame(cursor, topics, opening.pattern, reset=reset)
            cursor, reset, size = frame.cursor, False, 0
            if _says(frame) or frame.rate != known:
                known = frame.rate
                self._acked.clear()
                self._unacked = cursor
                # Frames that had nothing for this view were left out: it is where the last one was.
                size = self._tell(msgspec.structs.replace(frame, since=told))
                told = cursor
                self._framed = loop.time()
            again = loop.time() + self._among.pause(size)
            if size:
                await self._acked.wait()
            await asyncio.sleep(again - loop.time())
            if self._lost is not None:
                cursor = told = self._lost
                known = self._lost = None
            else:
                await monitor.changed(cursor)

    def _frames_ended(self, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if error is not None:
            _log.error("the frames of a view failed", exc_info=error)
            self.end("the host could not go on; its log tells more")

    # --- asks -----------------------------------------------------------------------------------

    def _ask(self, ask: Ask) -> None:
        if self.opening is None:
            raise UnauthorizedError("no session is open", hint="say `open` first")
        if not secrets.compare_digest(ask.capability.encode(), self._capability.encode()):
            raise UnauthorizedError("not the capability of this session", hint="`hello` has it")
        if ask.ask.right not in self.rights:
            raise ForbiddenError(
                f"this session may not {ask.ask.right}", hint="name the right in `open`"
            )
        if len(self._asks) >= ASKS:
            raise BusyError(f"{ASKS} asks of this view are under way")
        task = asyncio.create_task(self._answer(ask))
        self._asks[task] = ask
        task.add_done_callback(self._asks.pop)

    async def _answer(self, ask: Ask) -> None:
        try:
            reply = Reply(id=ask.id, value=await self._among.answers.to(ask.ask))
        except AegisError as error:
            if error.status >= 500:
                _log.warning("%s of a view: %s", _verb(ask), error, exc_info=error.__cause__)
            reply = Reply(id=ask.id, problem=_problem(error))
        except Exception as error:  # noqa: BLE001 -- whatever it was, the view gets its reply
            id = self._host.clock.id()
            _log.error("%s of a view failed, id %s", _verb(ask), id, exc_info=error)
            reply = Reply(id=ask.id, problem=_problem(_broken(id)))
        if ask.capability == self._capability:  # else it was answered when the view began anew
            self._tell(reply)

    # --- to the view ----------------------------------------------------------------------------

    def _tell(self, message: FromHost) -> int:
        """Send a message; its size in bytes."""
        if self._closed:
            return 0
        self._sent = self._loop.time()
        text = _ENCODER.encode(message)
        self._send(text)
        return len(text)


# --- what is said ---------------------------------------------------------------------------------


def outline(text: bytes) -> Outline:
    """What a message seems to be; an empty outline when it is none at all."""
    try:
        found: Outline = _OUTLINE.decode(text)
    except (ValueError, RecursionError):
        return Outline()
    return found


def refusal(text: bytes, error: AegisError) -> bytes:
    """The answer to a message that no session takes, as JSON."""
    return _ENCODER.encode(_refused(outline(text), error))


def _refused(seen: Outline, error: AegisError) -> Reply:
    about = seen.id if seen.kind == "ask" and type(seen.id) is int else 0
    return Reply(id=about, problem=_problem(error))


def _decoded(decoder: msgspec.json.Decoder[Any], text: bytes) -> Any:
    try:
        return decoder.decode(text)
    except msgspec.ValidationError as error:
        raise BadRequestError(
            f"the message is not understood: {error}",
            hint=f"this is Aegis {aegis.__version__}; update the view",
        ) from error
    except (ValueError, RecursionError) as error:
        raise BadRequestError(f"the message is no JSON: {error}") from error


def _skew(protocol: Any, kind: str | None = None) -> Skew:
    spoken = f"speaks protocol {protocol}" if type(protocol) is int else "names no protocol"
    if kind is not None:
        spoken = f"says {kind[:40]!r}, which is not in it"
    if type(protocol) is int and protocol < PROTOCOL:
        do = "reload the page, and if that does not help, update the Aegis extension of Jupyter"
    else:
        do = "update aegis-kernel where the kernel runs, and restart the kernel"
    version = aegis.__version__
    text = f"This host (Aegis {version}) speaks protocol {PROTOCOL}, the view {spoken}: {do}."
    return Skew(protocol=PROTOCOL, version=version, text=text)


def _says(frame: Frame) -> bool:
    """Whether there is anything in a frame but its cursor and its rate."""
    return bool(
        frame.status is not None
        or frame.figures
        or frame.events
        or frame.skipped
        or frame.flows
        or frame.failed is not None
        or frame.log
        or frame.splits is not None
        or frame.gates
        or frame.guests
    )


def _problem(error: AegisError) -> dict[str, Any]:
    return (located(error) if isinstance(error, InvalidError) else error).problem()


def _broken(id: str) -> AegisError:
    return AegisError(f"something broke; the host's log tells more under {id}", id=id)


def _verb(ask: Ask) -> str:
    return type(ask.ask).__name__
