"""What becomes of an address before it is deployed: fetched, trusted, provided with libraries."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from aegis.core.address import parse
from aegis.core.bundle import Bundle, Offer
from aegis.core.component import Library, Revision, Source
from aegis.core.errors import InvalidError, SourceError, closest
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

    async def fetch(self, address: str, *, told: Progress | None = None) -> Sequence[Fetched]:
        """The components at an address; nothing of them has run.

        Raises InvalidError for what is no address, SourceError, ManifestError, TrustError.
        """
        if address.startswith(CELL):
            return [self._cell(address)]
        found = []
        for bundle in await self._known().fetch(address, told=told):
            if self._trust is not None:
                await self._trust.check(bundle)
            libraries: Sequence[Library] = ()
            if self._libraries is not None:
                libraries = await self._libraries.provide(bundle, told=told)
            found.append(Fetched(bundle=bundle, source=bundle.source(libraries)))
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
