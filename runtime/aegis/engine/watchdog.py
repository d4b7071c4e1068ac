"""Watches the host's loop from a thread of its own, and names the component code that blocks it."""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType

from aegis.core.component import MODULES

_log = logging.getLogger("aegis.host")

# What share of a delay this process must have computed, to be what was late, and not the machine.
BUSY = 0.3

# Told of every sign of life: how late it was (seconds), and who is to blame for a lag.
Tell = Callable[[float, str | None], None]
# Names what runs beside the loop and may hold the interpreter (a cell), None when nothing does.
Who = Callable[[], str | None]


class Watchdog:
    """Asks the loop for a sign of life every `limit` seconds; one that is late is a lag.

    Blamed is the component code that is found on the loop's thread; else, when the interpreter was
    kept busy all the while so that nothing else could run, what `who` names.
    """

    def __init__(self, limit: float, tell: Tell) -> None:
        self.who: Who = _nobody
        self._tell = tell
        self._limit = limit
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Watch the running loop."""
        loop, ident = asyncio.get_running_loop(), threading.get_ident()
        self._thread = threading.Thread(
            target=self._watch, args=(loop, ident), name="aegis-watchdog", daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        """Watch no more."""
        self._stop.set()
        if self._thread is not None:
            # It may be waiting for a sign of the very loop that calls this: it sees the stop soon.
            self._thread.join(timeout=2 * self._limit)
            self._thread = None

    def _watch(self, loop: asyncio.AbstractEventLoop, ident: int) -> None:
        alive = threading.Event()
        while True:
            computed, began = time.process_time(), time.monotonic()
            if self._stop.wait(self._limit):
                return
            # When this thread too comes late, a call in C has kept the whole interpreter.
            held = time.monotonic() - began - self._limit
            culprit = _culprit(ident) if held > self._limit else None
            named = self._named() if held > self._limit else None
            alive.clear()
            asked = began = time.monotonic()
            try:
                loop.call_soon_threadsafe(alive.set)
            except RuntimeError:
                return  # the loop is closed
            while True:
                answered = alive.wait(self._limit)
                held = max(held, time.monotonic() - began - self._limit)
                if held > self._limit:
                    named = named or self._named()
                if answered or self._stop.is_set():
                    break
                culprit = culprit or _culprit(ident)
                began = time.monotonic()
            late = max(held, time.monotonic() - asked)
            busy = time.process_time() - computed > BUSY * late
            said = None
            if late > self._limit and culprit is not None:
                said = f"{culprit} blocked the host for {late:.1f} s"
                _log.error("%s: await what waits, or mark the method @blocking", said)
            elif held > self._limit and busy and named is not None:
                said = f"{named} held the interpreter for {late:.1f} s"
                _log.error("%s: run what computes in C for so long in another process", said)
            self._tell(late, said)

    def _named(self) -> str | None:
        try:
            return self.who()
        except Exception:
            _log.exception("what runs beside the host cannot be named")
            return None


def _nobody() -> str | None:
    return None


def _culprit(ident: int) -> str | None:
    """Where component code is, on the thread `ident`: component, function and line."""
    frame: FrameType | None = sys._current_frames().get(ident)  # noqa: SLF001 -- the documented way
    while frame is not None:
        module = frame.f_globals.get("__name__", "")
        if module.startswith(MODULES):
            code = frame.f_code
            component = module.removeprefix(MODULES).rsplit("_r", 1)[0]
            where = code.co_filename.strip("<>").rsplit(" ", 1)[0]
            where = frame.f_globals.get("__aegis_origin__") or where
            return f"{component}: {code.co_qualname} (line {frame.f_lineno} of {where})"
        frame = frame.f_back
    return None
