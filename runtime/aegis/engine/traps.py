"""Calls that a sandbox stopped: the last ones of each component, and one of them made again."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from aegis.core.component import Revision, Source
from aegis.core.errors import ClosedError, ConflictError, GuestError, NotFoundError, closest
from aegis.core.guest import Trap, TrapReplay
from aegis.engine.deploys import Deploys
from aegis.protocols import Loader, Store


class Traps:
    """The stopped calls of one host. They are in memory, with the code that is loaded."""

    def __init__(self, *, deploys: Deploys, store: Store, loader: Loader) -> None:
        self._deploys = deploys
        self._store = store
        self._loader = loader
        self._replaying = asyncio.Lock()  # they go one at a time: each may compute to its limit

    def last(self, component: str | None) -> Sequence[Trap]:
        """Those of a component, or of all, the newest last. Raises NotFoundError."""
        registry = self._deploys.engine.registry
        found = [one for one in registry.revisions() if component in {None, one.name}]
        if component is not None and not found:
            raise NotFoundError(
                f"component {component!r} is not loaded", hint=closest(component, registry.live)
            )
        traps = (trap for one in found if one.guest is not None for trap in tuple(one.guest.traps))
        return sorted(traps, key=lambda trap: trap.n)

    def numbered(self, component: str, n: int) -> Trap:
        """The one of a number. Raises NotFoundError."""
        for trap in self.last(component):
            if trap.n == n:
                return trap
        raise NotFoundError(
            f"{component} has no stopped call {n}", hint="only the last ones of each code are kept"
        )

    async def replay(self, trap: Trap, revision: str | None) -> TrapReplay:
        """Make a stopped call again; see Host.replay."""
        async with self._replaying:
            return await self._replayed(trap, revision)

    async def _replayed(self, trap: Trap, revision: str | None) -> TrapReplay:
        found = self._found(trap.component, revision)
        if found is not None:
            return await _made(trap, found)
        source = await self._stored(trap.component, str(revision))
        loaded = await asyncio.to_thread(self._loader.load, source)
        try:
            return await _made(trap, loaded)
        finally:
            self._loader.unload(loaded)

    def _found(self, name: str, revision: str | None) -> Revision | None:
        """The code that is live, or what is loaded of that which `revision` names."""
        registry = self._deploys.engine.registry
        if revision is None and name not in registry.live:
            raise ClosedError(
                f"component {name!r} is not loaded",
                hint="deploy it, or say which revision to replay on",
            )
        for one in registry.revisions():
            if one.name == name and (revision is None or revision in _names(one.source)):
                return one
        return None

    async def _stored(self, name: str, revision: str) -> Source:
        for deployment in reversed(await self._store.deployments()):
            if deployment.component == name:
                source = await self._store.source(deployment.digest)
                if source is not None and revision in _names(source):
                    return source
        raise NotFoundError(
            f"there is no revision {revision[:80]!r} of {name}",
            hint="a label as shipping@1.0.0+3fa9c1d2 of a deployment, or a version",
        )


async def _made(trap: Trap, revision: Revision) -> TrapReplay:
    """The call, made again on a revision; off the loop, since it may compute to its limit."""
    if revision.guest is None:
        raise ConflictError(f"{revision.label} is not in WebAssembly: it cannot take this call")
    try:
        answer = await asyncio.to_thread(revision.guest.replay, trap)
    except GuestError as error:
        own = error.detail.removeprefix(f"{revision.label} {trap.function}: ")
        said = own if error.trap is None else None
        return TrapReplay(
            trap=trap, label=revision.label, again=error.trap, error=said, hint=error.hint
        )
    return TrapReplay(trap=trap, label=revision.label, answer=answer)


def _names(source: Source) -> frozenset[str]:
    """What a revision may be called."""
    short = source.digest[:8]
    versioned = f"{source.name}@{source.version}"
    return frozenset({source.digest, short, source.version, versioned, f"{versioned}+{short}"})
