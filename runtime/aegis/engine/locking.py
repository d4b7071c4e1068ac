"""Fetches what is locked, exactly that, and keeps the lock at what serves."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial, reduce
from typing import Any

import msgspec

from aegis.core.errors import (
    AegisError,
    ConfigError,
    DigestError,
    ManifestError,
    NotFoundError,
    closest,
)
from aegis.core.lock import FILE, Lock, Locked, Wanted, is_local, with_ref
from aegis.core.registry import Registry
from aegis.engine.fetching import Fetched, Fetching
from aegis.engine.monitor import Monitor
from aegis.protocols import Clock, Lockfile

Change = Callable[[Lock], Lock]

KNOWN = 64  # fetched versions of one component that are remembered

_log = logging.getLogger("aegis.host")
_SOURCE = "lock"


class Locking:
    """The lock of one host: of what `[components]` wants, and of what is followed.

    `wanted` are the addresses by component, and change when one is followed. With `only` exactly
    what is locked is taken, and nothing is written. Without a `lockfile` it lasts as long as the
    host.
    """

    def __init__(
        self,
        fetching: Fetching,
        lockfile: Lockfile | None,
        clock: Clock,
        monitor: Monitor,
        components: Mapping[str, Wanted],
        *,
        only: bool = False,
    ) -> None:
        self.only = only
        self.wanted = {name: one.source for name, one in components.items()}
        self.lock: Lock = {}
        # What is followed as somebody said to the running host, and how often it is asked.
        self.followed: dict[str, float] = {}
        self._components = components
        self._fetching = fetching
        self._lockfile = lockfile
        self._clock = clock
        self._monitor = monitor
        # What was fetched, by the digest of its code: how a live revision is known again.
        self._fetched: dict[str, dict[str, Locked]] = {}
        self._live: dict[str, str] = {}
        self._changes: list[Change] = []
        self._writing: asyncio.Task[None] | None = None

    async def read(self) -> None:
        """Read the lock. Raises ConfigError for a broken one."""
        if self._lockfile is not None:
            self.lock = _changed(self._changes, await self._lockfile.read())
        for name, one in self.lock.items():
            if one.follow is not None:
                self.wanted.setdefault(name, one.source)
                self.followed[name] = one.follow

    def check(self) -> None:
        """Raise ConfigError when only what is locked may be taken and something is not."""
        lacking = [
            f"{name} ({one.source})"
            for name, one in self._components.items()
            if not is_local(one.source) and self.entry(name) is None
        ]
        if self.only and lacking:
            raise ConfigError(
                f"{FILE} does not have {', '.join(lacking)}", hint="`aegis lock` adds them"
            )

    async def written(self) -> None:
        """Return when the file has what is locked, or that it cannot have it was told."""
        if self._writing is not None:
            await asyncio.wait([self._writing])

    def entry(self, name: str) -> Locked | None:
        """What a component is locked at, if that is still one of those that are wanted."""
        locked, address = self.lock.get(name), self.wanted.get(name)
        return locked if locked is not None and address and locked.fits(address) else None

    # Fetching

    async def fetch(self, name: str) -> Fetched:
        """The component `name` as it is locked, else the newest that its address means.

        Raises DigestError naming it when what is locked is not what is there, NotFoundError for a
        component that is not wanted, and what `Fetching.fetch` does.
        """
        locked = self.entry(name)
        if locked is None:
            return await self.newest(name)
        try:
            found = await self._fetching.fetch(
                locked.source, at=locked.resolved, libraries=locked.libraries
            )
        except DigestError as error:
            raise DigestError(f"component {name!r}: {error.detail}", hint=_hint(name)) from None
        one = named(name, locked.source, found)
        _refuse_other(name, locked, _facts(one, locked.source))
        return one

    async def newest(self, name: str) -> Fetched:
        """What the address of a component means now, locked or not. Raises as `fetch` does."""
        address = self._address(name)
        return named(name, address, await self._fetching.fetch(address))

    async def fetch_version(self, name: str, version: str) -> Fetched:
        """One version of a component that is wanted. Raises as `fetch` does."""
        address = with_ref(self._address(name), version)
        return named(name, address, await self._fetching.fetch(address))

    def _address(self, name: str) -> str:
        address = self.wanted.get(name)
        if address is None:
            raise NotFoundError(
                f"no address is known for component {name!r}",
                hint=closest(name, self.wanted) or "[components] in aegis.toml says one",
            )
        return address

    async def renew(self, upgrade: Collection[str] | None = ()) -> Lock:
        """Lock what `[components]` wants and is not locked yet, and forget what it wants no more.

        Those of `upgrade`, None for all, are looked for anew. What runs is not touched. Raises
        NotFoundError for one that is not wanted, and what `fetch` does, then nothing has changed.
        """
        await self.read()
        for name in upgrade or ():
            self._address(name)
        names = [
            name
            for name, address in self.wanted.items()
            if not is_local(address)
            and (upgrade is None or name in upgrade or self.entry(name) is None)
        ]
        found = await asyncio.gather(*(self._look_up(name) for name in names))
        fresh = dict(zip(names, found, strict=True))

        def change(lock: Lock) -> Lock:
            kept = {
                name: lock[name]
                for name, address in self.wanted.items()
                if name in lock and not is_local(address)
            }
            for name, locked in fresh.items():
                dated = self._dated(name, locked, kept.get(name))
                # Somebody wants it now, whatever hindered it to come by itself.
                kept[name] = msgspec.structs.replace(dated, held=None, why="")
            return kept

        await self._write(change)
        return self.lock

    async def _look_up(self, name: str) -> Locked:
        return _facts(await self.newest(name), self._address(name))

    # What serves

    def heard(self, fetched: Fetched) -> None:
        """Something was fetched, which may serve soon."""
        if fetched.bundle.is_local:
            return
        known = self._fetched.setdefault(fetched.source.name, {})
        known[fetched.source.digest] = _facts(fetched, fetched.bundle.address)
        if len(known) > KNOWN:
            del known[next(iter(known))]

    def origin(self, name: str, digest: str) -> str | None:
        """The address that this code of a component was fetched from, as far as that is known."""
        known = self._fetched.get(name, {}).get(digest)
        return None if known is None else known.source

    def swapped(self, registry: Registry) -> None:
        """Other components are live: lock those that are wanted at what they are now."""
        for name, address in self.wanted.items():
            revision = registry.live.get(name)
            if revision is None or self._live.get(name) == revision.digest:
                continue
            self._live[name] = revision.digest
            known = self._fetched.get(name, {}).get(revision.digest)
            if known is not None and known.fits(address):
                self.put(name, msgspec.structs.replace(known, source=address))

    def follow(self, name: str, address: str, every: float, registry: Registry) -> None:
        """Want a component from an address and follow it, at the next start as well."""
        self.wanted[name] = address
        self.followed[name] = every
        self.say(name, follow=every)
        self._live.pop(name, None)
        self.swapped(registry)

    def unfollow(self, name: str) -> None:
        """Follow it no more; what aegis.toml does not want either is locked no more."""
        self.followed.pop(name, None)
        self.say(name, follow=None)
        if name not in self._components and self.wanted.pop(name, None) is not None:
            self._change(lambda lock: {key: lock[key] for key in lock if key != name})

    def keep(self, name: str, fetched: Fetched) -> None:
        """Lock a component at what came by itself, which may be beside the ref of its address."""
        if not fetched.bundle.is_local:
            self.put(name, _facts(fetched, self._address(name)))

    def put(self, name: str, locked: Locked) -> None:
        """Have a component locked so from now on; what is said of following it stays."""
        self._change(lambda lock: {**lock, name: self._dated(name, locked, lock.get(name))})

    def say(self, name: str, **said: Any) -> None:
        """Say of a component that is locked: `follow`, or `held` and `why`."""

        def change(lock: Lock) -> Lock:
            if name not in lock:
                return lock
            return {**lock, name: msgspec.structs.replace(lock[name], **said)}

        self._change(change)

    def _dated(self, name: str, locked: Locked, before: Locked | None) -> Locked:
        """`locked` with the time, and with what was said of the one before."""
        said = locked if before is None else before
        return msgspec.structs.replace(
            locked,
            locked=said.locked if said.code == locked.code and said.locked else self._clock.stamp(),
            follow=self.followed.get(name, said.follow),
            held=said.held,
            why=said.why,
        )

    def _change(self, change: Change) -> None:
        """Change the lock at once, and the file soon."""
        if self.only:
            return
        self.lock = change(self.lock)
        if self._lockfile is None:
            return
        self._changes.append(change)
        if self._writing is None or self._writing.done():
            self._writing = asyncio.create_task(self._write_all())

    async def _write_all(self) -> None:
        while self._changes:
            changes, self._changes = self._changes, []
            try:
                await self._write(partial(_changed, changes))
            except AegisError as error:
                _log.warning("%s; the next start may take other versions", error)
                self._monitor.report(_SOURCE, str(error))
                self._changes = changes + self._changes
                return  # the next change brings them
            self._monitor.clear(_SOURCE)

    async def _write(self, change: Change) -> None:
        if self._lockfile is None:
            self.lock = change(self.lock)
        else:
            # What was said since is not in the file yet.
            self.lock = _changed(self._changes, await self._lockfile.write(change))


def _changed(changes: Sequence[Change], lock: Lock) -> Lock:
    return reduce(lambda lock, change: change(lock), changes, lock)


def named(name: str, address: str, found: Sequence[Fetched]) -> Fetched:
    """The component of that name among those at an address. Raises ManifestError."""
    for one in found:
        if one.source.name == name:
            return one
    names = ", ".join(one.source.name for one in found) or "none"
    raise ManifestError(
        f"{address} has no component {name!r}, but {names}",
        hint="what is wanted as `name = address` is the component of that name",
    )


def _facts(fetched: Fetched, address: str) -> Locked:
    bundle, source = fetched.bundle, fetched.source
    return Locked(
        source=address,
        version=source.version,
        resolved=bundle.resolved,
        digest=bundle.digest,
        libraries=tuple(sorted(source.libraries, key=lambda one: (one.name, one.sha256))),
    )


def _hint(name: str) -> str:
    return f"`aegis lock --upgrade {name}` takes what is there, if that is meant"


def _refuse_other(name: str, locked: Locked, found: Locked) -> None:
    """Raise DigestError unless what was found is what is locked."""
    hint = _hint(name)
    if found.digest != locked.digest:
        raise DigestError(
            f"component {name!r}: {locked.source} has the digest {found.digest} ({found.version}), "
            f"and {FILE} says {locked.digest} ({locked.version})",
            hint=hint,
        )
    said = {library.name: library.sha256 for library in locked.libraries}
    for library in found.libraries:
        if said.get(library.name) == library.sha256:
            continue
        known = said.get(library.name)
        raise DigestError(
            f"component {name!r}: its library {library.name} {library.version} has the digest "
            f"{library.sha256}, and {FILE} "
            + (f"says {known}" if known else "has no such library"),
            hint=hint,
        )
