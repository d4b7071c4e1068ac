"""What components miss while they are away after a restart, and how they hear of it then."""

from __future__ import annotations

import logging
from collections.abc import Callable

from aegis.core.component import Revision
from aegis.core.deployment import Deployment
from aegis.core.errors import StoreError
from aegis.core.registry import Registry
from aegis.engine.flows import Flows
from aegis.engine.steps import STALLED
from aegis.protocols import Clock, Commit, Cursor, Store

_log = logging.getLogger("aegis.host")


class Absence:
    """The components that were live before the restart and are not back: `away`, by name."""

    def __init__(
        self, store: Store, clock: Clock, flows: Flows, is_closed: Callable[[], bool]
    ) -> None:
        self.away: dict[str, Deployment] = {}
        self._store = store
        self._clock = clock
        self._flows = flows
        self._is_closed = is_closed

    async def begin(self) -> None:
        """Store from where on each of them misses events."""
        seq = self._store.last_seq()
        absent = []
        for name in self.away:
            since = await self._store.cursor(_cursor(name))
            if since is None or since < 0:
                absent.append(Cursor(_cursor(name), seq))
        if absent:
            await self._store.commit(Commit(cursors=absent))

    async def end(self, registry: Registry) -> None:
        """Give those that are live again the events they missed meanwhile."""
        for name, revision in registry.live.items():
            while name in self.away:
                try:
                    await self._replay(registry, revision)
                except StoreError:
                    _log.exception("%s has not heard yet what it missed", revision.label)
                    if self._is_closed():
                        raise
                    await self._clock.sleep(STALLED)
                else:
                    del self.away[name]

    async def _replay(self, registry: Registry, revision: Revision) -> None:
        name = _cursor(revision.name)
        seq = await self._store.cursor(name) or 0
        while entries := await self._store.events(seq, 500):
            for entry in entries:
                await self._flows.replay(registry, revision, entry, Cursor(name, entry.seq))
            seq = entries[-1].seq
        await self._store.commit(Commit(cursors=[Cursor(name, -1)]))


def _cursor(component: str) -> str:
    """The cursor that tells since when a component misses events; negative when it misses none."""
    return f"absent:{component}"
