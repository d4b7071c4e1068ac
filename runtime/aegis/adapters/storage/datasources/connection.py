"""A connection to a database in a file, on a thread of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, Protocol, TypeVar

T = TypeVar("T")


class Closing(Protocol):
    """What has an end."""

    def close(self) -> object:
        """Let go of what is held."""


C = TypeVar("C", bound=Closing)


class Connection(Generic[C]):
    """Opened by `connect` at the first use, and again after it was closed.

    `translated` makes an error of ours of what the database raises, None of any other.
    """

    def __init__(
        self, connect: Callable[[], C], translated: Callable[[Exception], Exception | None]
    ) -> None:
        self._connect = connect
        self._translated = translated
        self._held: C | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="aegis-datasource")

    async def do(self, work: Callable[[C], T]) -> T:
        """What `work` makes of the connection, one after the other."""

        def do() -> T:
            try:
                if self._held is None:
                    self._held = self._connect()
                return work(self._held)
            except Exception as error:
                known = self._translated(error)
                if known is None:
                    raise
                raise known from error

        return await asyncio.get_running_loop().run_in_executor(self._thread, do)

    async def close(self) -> None:
        """Close it, if it is open."""

        def close() -> None:
            held, self._held = self._held, None
            if held is not None:
                held.close()

        await asyncio.get_running_loop().run_in_executor(self._thread, close)
