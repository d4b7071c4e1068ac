"""Where calls and steps of a component wait while its records and flows move to other code."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from contextlib import contextmanager
from typing import TYPE_CHECKING
from weakref import WeakSet

if TYPE_CHECKING:
    from collections.abc import Generator

    from aegis.core.component import ModelSpec
    from aegis.engine.engine import Engine


class Boundary:
    """The step boundary of one host. `shut` are the components at which nothing new begins.

    First no call that writes and no step begins any more, and what runs ends. Then the components
    move: nothing of them is read either, until the new engine serves. Who is refused by a
    MigratingError waits here and begins anew. `outdated` are models as code knows them whose
    records have another form by now.
    """

    def __init__(self) -> None:
        self.shut: frozenset[str] = frozenset()
        self.outdated: WeakSet[ModelSpec] = WeakSet()
        self._engines: WeakSet[Engine] = WeakSet()
        self._lifted = asyncio.Event()

    def follow(self, engine: Engine) -> None:
        """Have `engine` refuse what it is bound to and is no more."""
        self._engines.add(engine)

    @contextmanager
    def closed(self, components: Iterable[str]) -> Generator[None]:
        """Let nothing of `components` begin inside, or until `lift`."""
        self.shut = frozenset(components)
        self._lifted.clear()
        try:
            yield
        finally:
            self.lift()

    def lift(self) -> None:
        """Let all go on, with the engine that serves now."""
        self.shut = frozenset()
        self._lifted.set()

    async def passed(self, component: str) -> None:
        """Return when calls and steps of `component` may begin."""
        while component in self.shut:
            await self._lifted.wait()

    @contextmanager
    def moving(
        self, components: Iterable[str], before: Iterable[ModelSpec], after: Iterable[ModelSpec]
    ) -> Generator[None]:
        """Let every engine that is refuse to read `components`, for good unless this fails.

        `before` are what loaded code takes their records for, `after` what they will be.
        """
        names = frozenset(components)
        engines = [engine for engine in self._engines if not names & engine.outdated]
        outdated = list(self.outdated)
        for engine in engines:
            engine.outdated |= names
        self.outdated.update(before)
        self.outdated.difference_update(after)
        try:
            yield
        except BaseException:
            for engine in engines:
                engine.outdated -= names
            self.outdated.clear()
            self.outdated.update(outdated)
            raise
