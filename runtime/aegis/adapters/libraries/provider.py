"""Provides a component with the libraries that its manifest names and the host has not."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from aegis.adapters.libraries.index import File, Index, is_pure
from aegis.adapters.libraries.resolution import Resolution, Wish, host_version, is_in, wish_of
from aegis.adapters.libraries.shelf import Shelf
from aegis.core.address import parse
from aegis.core.bundle import Bundle
from aegis.core.component import Library
from aegis.core.errors import ComponentError, DigestError, InvalidError, SourceError
from aegis.core.manifest import Dependency
from aegis.core.moving import Progress
from aegis.core.semver import newest, within
from aegis.core.wheel import Wheel, shared_wheel
from aegis.protocols import Sources, Trust


@dataclass(frozen=True, kw_only=True)
class _Wanted:
    """All that a bundle depends on, and the sources that it shares with others in turn.

    `wheels` are what those sources came to; `named` says of every other library who names it how.
    """

    wheels: dict[str, Wheel] = field(default_factory=dict)
    named: list[tuple[Wish, Dependency, Bundle]] = field(default_factory=list)


class WheelLibraries:
    """Does `protocols.Libraries` with wheels of pure Python, kept on a shelf.

    `index` is where they are looked for that a manifest does not place (None: as pip does).
    `sources` and `trust` are for dependencies that are sources themselves.
    """

    def __init__(
        self,
        shelf: Shelf,
        *,
        index: str | None = None,
        sources: Sources | None = None,
        trust: Trust | None = None,
    ) -> None:
        self._shelf = shelf
        self._address = index
        self._sources = sources
        self._trust = trust
        # What was resolved once stays so: the same source is the same revision.
        self._resolved: dict[bytes, tuple[Library, ...]] = {}

    async def provide(self, bundle: Bundle, *, told: Progress | None = None) -> Sequence[Library]:
        """What the dependencies of a bundle come to, each kept by its digest.

        Those of a bundle that is not local must be named with their sha256. Raises SourceError,
        DigestError, and ComponentError naming what cannot be used, and why.
        """
        manifest = bundle.manifest
        if not manifest.dependencies:
            return ()
        wanted = _Wanted()
        await self._gather(bundle, wanted, (manifest.name,), told)
        digests = [wheel.sha256 for wheel in wanted.wheels.values()]
        what = (manifest.name, bundle.is_local, manifest.dependencies, digests)
        key = msgspec.json.encode(what, order="deterministic")
        known = self._resolved.get(key, ())
        if not known or not await asyncio.to_thread(self._has, known):
            work = asyncio.to_thread(self._provide, bundle, wanted, _here(told))
            self._resolved[key] = tuple(wheel.library for wheel in await work)
        return self._resolved[key]

    def _has(self, libraries: Sequence[Library]) -> bool:
        return all(self._shelf.find(one.sha256) is not None for one in libraries)

    async def _gather(
        self, bundle: Bundle, wanted: _Wanted, path: tuple[str, ...], told: Progress | None
    ) -> None:
        """Take in what a bundle depends on, and what the sources among that do."""
        component = path[0]
        for name, dependency in bundle.manifest.dependencies.items():
            if dependency.source is None:
                wish = wish_of(component, name, dependency.version, by=bundle.manifest.name)
                wanted.named.append((wish, dependency, bundle))
                continue
            if name in path:
                around = " -> ".join((*path[path.index(name) :], name))
                raise ComponentError(component, [f"sources depend on each other: {around}"])
            kept = await asyncio.to_thread(self._locked, name, dependency)
            if kept is not None:
                wanted.wheels[name] = kept  # what it needs in turn is locked as well
                continue
            address = _place(bundle, dependency.source)
            found = await self._fetched(component, name, dependency, address, told)
            if found.manifest.wasm:
                raise ComponentError(
                    component,
                    [f"{name} from {address} is in WebAssembly: there is nothing to import"],
                    hint="deploy it beside this one, and bind an adapter that it exports",
                )
            files = {path: found.files[path] for path in found.paths}
            data = shared_wheel(name, found.manifest.version, files, found.manifest.code)
            wheel = await asyncio.to_thread(self._shelf.put, data, dependency.source)
            if dependency.sha256 not in {None, found.digest, wheel.sha256}:
                raise DigestError(
                    f"{dependency.source} is not what {component} depends on: its sha256"
                )
            before = wanted.wheels.setdefault(name, wheel)
            if before.sha256 != wheel.sha256:
                raise ComponentError(
                    component,
                    [f"it depends on {before.label} and, by {path[-1]}, on {wheel.label}"],
                    hint="let both ask for one version",
                )
            await self._gather(found, wanted, (*path, name), told)

    async def _fetched(
        self,
        component: str,
        name: str,
        dependency: Dependency,
        address: str,
        told: Progress | None,
    ) -> Bundle:
        """The source that is meant by a dependency, checked as a component's would be."""
        if self._sources is None:
            raise SourceError(f"this host fetches nothing, and {component} depends on {address}")
        version, asked = dependency.version.removeprefix("=="), address
        place, mark, choice = address.partition("#")
        if version != "*" and "@" not in place.rpartition("/")[2]:
            offers = [offer.version for offer in await self._sources.offers(address)]
            if offers:
                if newest(offers, version) is None:
                    raise ComponentError(
                        component,
                        [f"{address} has no {name} {version}, but {', '.join(offers[-5:])}"],
                    )
                asked = f"{place}@{version}{mark}{choice}"
        bundles = await self._sources.fetch(asked, told=told)
        found = next((one for one in bundles if one.manifest.name == name), None)
        if found is None:
            names = ", ".join(one.manifest.name for one in bundles)
            raise ComponentError(
                component,
                [f"{address} has {names or 'no component'}, and no {name!r}"],
                hint="a dependency that is a source has the name of its component",
            )
        if self._trust is not None and dependency.sha256 is None:
            # Where it is named by its digest, whoever was trusted for that name has said so.
            await self._trust.check(found, datetime.now(UTC))
        if not within(found.manifest.version, version):
            raise ComponentError(
                component,
                [f"{address} is {name} {found.manifest.version}, and {version} is wanted"],
            )
        return found

    def _locked(self, name: str, dependency: Dependency) -> Wheel | None:
        """The source that a lock names by the digest of the wheel that was made of it."""
        kept = None if dependency.sha256 is None else self._shelf.find(dependency.sha256)
        return kept if kept is not None and kept.is_shared and kept.name == name else None

    def _provide(
        self, bundle: Bundle, wanted: _Wanted, told: Callable[[int, int], object] | None
    ) -> list[Wheel]:
        component = bundle.manifest.name
        index = Index(self._address)
        given: dict[str, Wheel | File] = {}
        for wish, dependency, owner in wanted.named:
            installed = host_version(wish.name)
            if installed is not None and is_in(installed, wish.requirement.specifier):
                continue
            one = self._given(wish, dependency, owner, index, told)
            if one is None:
                continue
            before = given.setdefault(wish.name, one)
            if before.sha256 != one.sha256:
                raise ComponentError(component, [f"{wish.name} is named with two digests"])
        resolution = Resolution(
            component,
            index,
            given=given,
            is_open=bundle.is_local,
            fetch=lambda file: self._kept(component, file, told),
        )
        wheels = resolution.wheels(wish for wish, _, _ in wanted.named)
        for wheel in wheels:
            self._check_beside_host(component, wheel, wanted)
        return [*wanted.wheels.values(), *wheels]

    def _given(
        self,
        wish: Wish,
        dependency: Dependency,
        owner: Bundle,
        index: Index,
        told: Callable[[int, int], object] | None,
    ) -> Wheel | File | None:
        """The wheel that a manifest names, None when it names none."""
        from aegis.adapters.libraries.transport import fetched

        component, sha256, place = owner.manifest.name, dependency.sha256, dependency.wheel
        kept = None if sha256 is None else self._shelf.find(sha256)
        if kept is not None:
            return _named(component, wish, kept)
        if place is None:
            if sha256 is None:
                return None
            for file in index.listing(wish.name).files:
                if file.sha256 == sha256:
                    return file
            raise ComponentError(
                component,
                [f"the index has no wheel of pure Python of {wish.name} with sha256 {sha256}"],
                hint="name where it is: wheel = ",
            )
        filename = place.partition("?")[0].rpartition("/")[2]
        if not is_pure(filename):
            raise ComponentError(
                component,
                [f"{filename} is no wheel of pure Python, which alone a component can have"],
                hint=f"install {wish.name} where the host runs: components use the host's copy",
            )
        if "://" not in place:
            if place not in owner.files:
                raise SourceError(f"{owner.address}: there is no {place!r}, which aegis.toml names")
            data = owner.files[place]
            if sha256 is not None and hashlib.sha256(data).hexdigest() != sha256:
                raise DigestError(f"{owner.address}: {place} is not what is named: its sha256")
        elif sha256 is None and not owner.is_local:
            raise ComponentError(
                component,
                [f"{filename} comes from elsewhere, and its sha256 is not named"],
                hint="name it: what is signed covers it then",
            )
        else:
            data = fetched(place, sha256, told=told)
        return _named(component, wish, self._shelf.put(data, filename))

    def _kept(self, component: str, file: File, told: Callable[[int, int], object] | None) -> Wheel:
        """The wheel of an index's file, fetched when it is not here."""
        from aegis.adapters.libraries.transport import fetched

        wheel = self._shelf.find(file.sha256)
        if wheel is None:
            wheel = self._shelf.put(fetched(file.url, file.sha256, told=told), file.filename)
        if (wheel.name, wheel.version) != (file.name, str(file.version)):
            raise ComponentError(component, [f"{file.filename} says that it is {wheel.label}"])
        return wheel

    def _check_beside_host(self, component: str, wheel: Wheel, wanted: _Wanted) -> None:
        """Raise ComponentError when the host has a library that can be there once only."""
        installed = host_version(wheel.name)
        if installed is None:
            return
        named = [(wish, one) for wish, one, _ in wanted.named if wish.name == wheel.name]
        twice = next((one.twice for _, one in named if one.twice is not None), None)
        if twice or (twice is None and wheel.footprint is None):
            return
        asked = named[0][0].requirement if named else wheel.label
        said = (
            f"{component} wants {asked}, the host has {wheel.name} {installed}, and two of it "
            f"cannot be in one process: {wheel.footprint or 'the manifest says so'}"
        )
        raise ComponentError(
            component,
            [said],
            hint=f"widen the range, or install {wheel.label} where the host runs",
        )


def _named(component: str, wish: Wish, wheel: Wheel) -> Wheel:
    """`wheel`, if it is of the library that is meant."""
    if wheel.name != wish.name:
        raise ComponentError(component, [f"the wheel named for {wish.name} is {wheel.label}"])
    return wheel


def _place(bundle: Bundle, address: str) -> str:
    """Where a source is that a bundle depends on; a path begins where the bundle is.

    Raises ComponentError for a path in what comes from elsewhere: it would be one of this machine.
    """
    try:
        said = parse(address)
        is_path = said.kind == "file"
    except InvalidError:  # it may begin with a name that this host's configuration gives
        return address
    if said.kind not in {"file", "cell"} or (bundle.is_local and not is_path):
        return address
    if not bundle.is_local:
        raise ComponentError(
            bundle.manifest.name,
            [f"it comes from elsewhere, and depends on {address}, which is on this machine"],
        )
    beside = Path(parse(bundle.address).place)
    folder = beside if beside.is_dir() else beside.parent
    return str(replace(said, scheme="", place=str(folder / said.place)))


def _here(told: Progress | None) -> Callable[[int, int], object] | None:
    """`told` for other threads: it is called on this loop."""
    if told is None:
        return None
    loop = asyncio.get_running_loop()
    return lambda so_far, of: loop.call_soon_threadsafe(told, so_far, of)
