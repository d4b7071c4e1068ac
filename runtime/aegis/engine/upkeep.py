"""The components that a host has from elsewhere: at its start, and as newer versions come."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence

from aegis.core.component import Revision
from aegis.core.errors import AegisError, ConflictError, InvalidError, NotFoundError, closest
from aegis.core.lock import Lock, Wanted, is_local, place_of, ref_of
from aegis.core.semver import is_range, is_version
from aegis.core.versions import Followed, Versions
from aegis.engine.deploys import Deploys
from aegis.engine.fetching import Fetched, Fetching
from aegis.engine.following import EVERY, Following
from aegis.engine.locking import Locking
from aegis.engine.plan import Change
from aegis.engine.startup import Startup
from aegis.protocols import Clock, Lockfile, Store

ASKED = 5.0  # seconds that who asks for versions waits for their source
DEPLOYMENTS = 200  # of one component that are told


class Upkeep:
    """Deploys what `components` wants, keeps it locked, and follows what is to be followed.

    With `only` a start takes what is locked and nothing else, and nothing is followed.
    """

    def __init__(
        self,
        deploys: Deploys,
        fetching: Fetching,
        store: Store,
        clock: Clock,
        *,
        components: Mapping[str, Wanted],
        lockfile: Lockfile | None,
        only: bool,
    ) -> None:
        self._deploys = deploys
        self._fetching = fetching
        self._store = store
        self._components = components
        self.locking = Locking(fetching, lockfile, clock, deploys.monitor, components, only=only)
        told = (clock, deploys.monitor, self._deploy, lambda: deploys.engine.registry)
        turn = asyncio.Lock()
        self.startup = Startup(self.locking, *told, turn)
        self.following = Following(fetching, self.locking, *told, turn)
        fetching.heard = self.locking.heard
        deploys.monitor.followed = self.following.state
        deploys.on_swap += [self.locking.swapped, self.following.swapped]

    async def begin(self) -> None:
        """Deploy what is wanted; back when each was tried once, after some seconds at most.

        What cannot be had is tried again until it can, and missing until then. Raises ConfigError
        for a lock that is broken, or that lacks something where nothing else may be taken.
        """
        locking = self.locking
        await locking.read()
        locking.check()
        await self.startup.begin(list(locking.wanted))
        await locking.written()
        if locking.only:
            return
        for name, one in self._components.items():
            if one.follow:
                self.following.begin(name, one.source, one.every, guarded=one.gate)
        for name, every in locking.followed.items():
            if self.following.state(name) is None:
                self.following.begin(name, locking.wanted[name], every)

    async def close(self) -> None:
        """Try and follow nothing any more."""
        await self.startup.close()
        await self.following.close()
        await self.locking.written()

    async def _deploy(self, fetched: Sequence[Fetched], who: str) -> None:
        await self._deploys.change(Change(sources=tuple(one.source for one in fetched)), who=who)

    async def renew(self, upgrade: Collection[str] | None = ()) -> Lock:
        """Lock what is wanted, see `Locking.renew`; also on a host that is not open."""
        return await self.locking.renew(upgrade)

    async def follow(self, name: str, address: str | None, every: float | None) -> Followed:
        """Follow an address, see `Host.follow`."""
        self._deploys.check_open()
        if address is None:
            address = self._origin(name)
        _check(name, address, self._components.get(name))
        if self.locking.only:
            raise ConflictError("this host takes only what is locked", hint="it was started so")
        said = every or EVERY
        self.locking.follow(name, address, said, self._deploys.engine.registry)
        wanted = self._components.get(name)
        guarded = wanted is None or wanted.gate
        self.following.begin(name, address, said, guarded=guarded)
        followed = await self.following.looked(name)
        await self.locking.written()
        return followed

    async def unfollow(self, name: str) -> None:
        """Follow a component no more. Raises NotFoundError."""
        self.following.end(name)
        self.locking.unfollow(name)
        await self.locking.written()

    def _origin(self, name: str) -> str:
        """The address a component is from. Raises NotFoundError."""
        address = self._address(name)
        if address is None:
            known = {*self.locking.wanted, *self._deploys.engine.registry.live}
            raise NotFoundError(
                f"no address is known that component {name!r} is from",
                hint=closest(name, known - {name}) or "say the address, too",
            )
        return address

    def _address(self, name: str) -> str | None:
        live = self._deploys.engine.registry.live.get(name)
        if name in self.locking.wanted or live is None:
            return self.locking.wanted.get(name)
        return self.locking.origin(name, live.digest)

    async def versions(self, name: str) -> Versions:
        """Which versions of a component there are, see `Host.versions`."""
        self._deploys.check_open()
        registry, address = self._deploys.engine.registry, self._address(name)
        live, previous = registry.live.get(name), self._deploys.previous.get(name)
        deployments = [one for one in await self._store.deployments() if one.component == name]
        if not deployments and address is None:
            known = {one.component for one in await self._store.deployments()}
            raise NotFoundError(
                f"there is no component {name!r}", hint=closest(name, {*known, *registry.live})
            )
        offers, problem = await self._offers(address)
        shown = {live, previous}
        return Versions(
            name=name,
            serves=_label(live),
            previous=_label(previous),
            loaded=tuple(
                revision.label
                for revision in registry.retained
                if revision.name == name and revision not in shown
            ),
            deployments=tuple(reversed(deployments[-DEPLOYMENTS:])),
            address=address,
            offers=offers,
            problem=problem,
            locked=self.locking.lock.get(name),
            followed=self.following.state(name),
        )

    async def _offers(self, address: str | None) -> tuple[tuple[str, ...], str | None]:
        """The versions at an address, the newest first, or why they are not known."""
        if address is None:
            return (), None
        try:
            async with asyncio.timeout(ASKED):
                found = await self._fetching.offers(place_of(address))
        except TimeoutError:
            return (), f"it does not answer within {ASKED:g} s"
        except AegisError as error:
            return (), str(error)
        return tuple(offer.version for offer in reversed(found)), None


def _label(revision: Revision | None) -> str | None:
    return None if revision is None else revision.label


def _check(name: str, address: str, wanted: Wanted | None) -> None:
    """Raise unless an address can be followed for a component that is `wanted` or is not."""
    if wanted is not None and address != wanted.source:
        raise ConflictError(
            f"[components] in aegis.toml says that {name!r} is {wanted.source}",
            hint="change it there",
        )
    if is_local(address):
        raise InvalidError(
            f"{address} is on this machine: it has no versions to follow",
            hint="`%aegis watch` deploys a file whenever it is saved",
        )
    ref = ref_of(address)
    if is_range(ref) and is_version(ref):
        raise InvalidError(
            f"{address} is one version: no newer one comes", hint=f"write it as ^{ref}"
        )
