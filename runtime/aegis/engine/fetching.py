"""What becomes of an address before it is deployed: fetched, trusted, provided with libraries."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import msgspec

from aegis.core.address import parse
from aegis.core.bundle import Bundle, Offer
from aegis.core.component import Library, Revision, Source
from aegis.core.errors import InvalidError, SourceError, closest
from aegis.core.manifest import Dependency
from aegis.core.moving import Progress
from aegis.protocols import Libraries, Sources, Trust

CELL = "cell:"


@dataclass(frozen=True, kw_only=True)
class Fetched:
    """A bundle that is trusted, and what a loader makes a revision of."""

    bundle: Bundle
    source: Source


class Fetching:
    """Fetches components for one host. Without `sources` it knows no address."""

    def __init__(
        self,
        sources: Sources | None,
        trust: Trust | None,
        libraries: Libraries | None,
        live: Callable[[], Mapping[str, Revision]],
    ) -> None:
        self._sources = sources
        self._trust = trust
        self._libraries = libraries
        self._live = live
        # Told of all that is fetched.
        self.heard: Callable[[Fetched], None] | None = None

    async def fetch(
        self,
        address: str,
        *,
        at: str = "",
        libraries: Sequence[Library] | None = None,
        told: Progress | None = None,
    ) -> Sequence[Fetched]:
        """The components at an address; nothing of them has run.

        `at` is what the address was resolved to before, to have exactly that again; with
        `libraries` they get these and no others. Raises InvalidError for what is no address,
        SourceError, ManifestError, TrustError.
        """
        if address.startswith(CELL):
            return [self._cell(address)]
        found = []
        for bundle in await self._known().fetch(address, at=at, told=told):
            if self._trust is not None:
                await self._trust.check(bundle)
            provided: Sequence[Library] = ()
            if self._libraries is not None:
                asked = bundle if libraries is None else pinned(bundle, libraries)
                provided = await self._libraries.provide(asked, told=told)
            one = Fetched(bundle=bundle, source=bundle.source(provided))
            found.append(one)
            if self.heard is not None:
                self.heard(one)
        return found

    async def offers(self, address: str) -> Sequence[Offer]:
        """The versions that an address offers, oldest first. Raises InvalidError, SourceError."""
        return await self._known().offers(address)

    def _cell(self, address: str) -> Fetched:
        """The component of a cell, or of whatever else it is live from: it has been trusted."""
        name, live = parse(address).place, self._live()
        if name not in live:
            raise InvalidError(f"no component {name!r} is live here", hint=closest(name, live))
        source = live[name].source
        return Fetched(bundle=Bundle.of(source, address), source=source)

    def _known(self) -> Sources:
        if self._sources is None:
            raise SourceError("this host fetches nothing: it was built without sources")
        return self._sources


def pinned(bundle: Bundle, libraries: Sequence[Library]) -> Bundle:
    """A bundle that depends on these very libraries, and none that it would choose anew."""
    said = bundle.manifest.dependencies
    exact = {
        one.name: msgspec.structs.replace(
            said.get(one.name, Dependency()), version=f"=={one.version}", sha256=one.sha256
        )
        for one in libraries
    }
    manifest = msgspec.structs.replace(bundle.manifest, dependencies={**said, **exact})
    return replace(bundle, manifest=manifest)
