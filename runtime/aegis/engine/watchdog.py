"""Watches the host's loop from a thread of its own, and names the component code that blocks it."""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
import time
from collections import deque
from types import FrameType

from aegis.core.component import MODULES

KEPT = 20

_log = logging.getLogger("aegis.host")


class Watchdog:
    """Asks the loop for a sign of life every `limit` seconds; one that is late is a lag.

    `said` keeps the last lags that component code caused, as people read them.
    """

    def __init__(self, limit: float) -> None:
        self.said: deque[str] = deque(maxlen=KEPT)
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
        while not self._stop.wait(self._limit):
            alive.clear()
            asked = time.monotonic()
            try:
                loop.call_soon_threadsafe(alive.set)
            except RuntimeError:
                return  # the loop is closed
            if alive.wait(self._limit):
                continue
            culprit = _culprit(ident)
            while not alive.wait(self._limit) and not self._stop.is_set():
                culprit = culprit or _culprit(ident)
            if culprit is not None:
                said = f"{culprit} blocked the host for {time.monotonic() - asked:.1f} s"
                self.said.append(said)
                _log.error("%s: await what waits, or mark the method @blocking", said)


def _culprit(ident: int) -> str | None:
    """Where component code is, on the thread `ident`: component, function and line."""
    frame: FrameType | None = sys._current_frames().get(ident)  # noqa: SLF001 -- the documented way
    while frame is not None:
        module = frame.f_globals.get("__name__", "")
        if module.startswith(MODULES):
            code = frame.f_code
            component = module.removeprefix(MODULES).rsplit("_r", 1)[0]
            where = code.co_filename.strip("<>").rsplit(" ", 1)[0]
            return f"{component}: {code.co_qualname} (line {frame.f_lineno} of {where})"
        frame = frame.f_back
    return None
