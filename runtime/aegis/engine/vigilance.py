"""Tells the audit log whom a host trusts, from when and until when."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from aegis.core.audit import Action, Audit
from aegis.core.errors import ConfigError, StoreError
from aegis.core.trust import ENDS, Ground, Trusted
from aegis.engine.auditing import audited
from aegis.protocols import Clock, Commit, Store, Trust

PAGE = 1000  # entries of the audit log read at once

_log = logging.getLogger("aegis.host")


class Vigilance:
    """Compares what a host goes by with what the audit log says that it does.

    Pins change in files that others write, while the host runs and while it does not.
    """

    def __init__(self, trust: Trust | None, store: Store, clock: Clock) -> None:
        self._trust = trust
        self._store = store
        self._clock = clock
        self._seen: Trusted | None = None
        self._told: frozenset[Ground] | None = None
        self._is_open = False

    @property
    def unsigned(self) -> Sequence[str]:
        """The patterns of addresses from which nothing has to be signed."""
        return () if self._seen is None else self._seen.unsigned

    async def open(self) -> None:
        """Look once; what cannot be read is named in the log, and again by whoever fetches."""
        self._is_open = True
        try:
            await self.look()
        except (ConfigError, StoreError) as error:
            _log.error("what this host trusts cannot be told: %s", error)
        for pattern in self.unsigned:
            _log.warning("nothing from %s has to be signed: [trust] unsigned says so", pattern)

    async def look(self) -> None:
        """Tell what has changed. Raises ConfigError, StoreError."""
        if self._trust is None or not self._is_open:
            return
        trusted = self._trust.trusted()
        if trusted == self._seen:
            return
        if self._told is None:
            self._told = await self._known()
        now, who = trusted.grounds(), self._trust.by()
        entries = [self._entry(ENDS[one.action], one, who) for one in sorted(self._told - now)]
        entries += [self._entry(one.action, one, who) for one in sorted(now - self._told)]
        if entries:
            await self._store.commit(Commit(audits=entries))
        self._seen, self._told = trusted, now

    async def tell(self, entry: Audit) -> None:
        """Store an entry by itself. A host that was never opened (`aegis lock`) keeps no log."""
        if self._is_open:
            await self._store.commit(Commit(audits=[entry]))

    def _entry(self, action: Action, ground: Ground, who: str) -> Audit:
        component = {"component": ground.component} if ground.component else {}
        return audited(
            self._clock,
            action,
            ground.about,
            who=who or "configuration",
            key=ground.key,
            version=ground.version,
            fields=component,
        )

    async def _known(self) -> frozenset[Ground]:
        """What the audit log says that the host goes by."""
        found: set[Ground] = set()
        for begin, end in ENDS.items():
            entries = [*await self._all(begin), *await self._all(end)]
            for one in sorted(entries, key=lambda entry: entry.n):
                ground = Ground(
                    begin, one.about, one.fields.get("component", ""), one.version, one.key
                )
                if one.action is begin:
                    found.add(ground)
                else:
                    found.discard(ground)
        return frozenset(found)

    async def _all(self, action: Action) -> list[Audit]:
        found: list[Audit] = []
        while page := await self._store.audits(found[-1].n if found else 0, PAGE, action):
            found += page
        return found
