"""Fairness between what runs and what wants to begin: newcomers wait in line for a turn."""

from __future__ import annotations

import asyncio
from collections import deque
from types import TracebackType

from aegis.core.errors import BusyError


class Turns:
    """Counts what keeps the loop busy; beyond `limit` whoever begins something new waits in line.

    Without it every request of a burst begins a flow at once, and each step of each of them waits
    for all the others. `line` is how many may wait.
    """

    def __init__(self, limit: int, line: int) -> None:
        self._limit = limit
        self._most = line
        self._moving = 0
        self._line: deque[asyncio.Future[None]] = deque()
        self._looking = False

    def began(self) -> None:
        """Something moves that needed no turn, as the next step of a flow does."""
        self._moving += 1

    def ended(self) -> None:
        """Something moves no more: it is done, or waits for others."""
        self._moving -= 1
        if self._line and not self._looking:
            # Not at once: what ends often goes on as the next thing within this turn of the loop.
            self._looking = True
            asyncio.get_running_loop().call_soon(self._let_in)

    async def __aenter__(self) -> None:
        """Wait for a turn. Raises BusyError when the line is too long."""
        if self._moving < self._limit and not self._line:
            self._moving += 1
            return
        if len(self._line) >= self._most:
            raise BusyError(f"{len(self._line)} calls wait for their turn, which is the limit")
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._line.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if not turn.cancelled():  # it had come meanwhile
                self.ended()
            raise

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.ended()

    def _let_in(self) -> None:
        self._looking = False
        while self._line and self._moving < self._limit:
            turn = self._line.popleft()
            if not turn.done():  # its caller was cancelled
                self._moving += 1
                turn.set_result(None)
