"""What becomes of an address before it is deployed: fetched, trusted, provided with libraries."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from aegis.core.bundle import Bundle, Offer
from aegis.core.component import Library, Source
from aegis.core.errors import SourceError
from aegis.core.moving import Progress
from aegis.protocols import Libraries, Sources, Trust


@dataclass(frozen=True, kw_only=True)
class Fetched:
    """A bundle that is trusted, and what a loader makes a revision of."""

    bundle: Bundle
    source: Source


class Fetching:
    """Fetches components for one host. Without `sources` it knows no address."""

    def __init__(
        self, sources: Sources | None, trust: Trust | None, libraries: Libraries | None
    ) -> None:
        self._sources = sources
        self._trust = trust
        self._libraries = libraries

    async def fetch(self, address: str, *, told: Progress | None = None) -> Sequence[Fetched]:
        """The components at an address; nothing of them has run.

        Raises InvalidError for what is no address, SourceError, ManifestError, TrustError.
        """
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

    def _known(self) -> Sources:
        if self._sources is None:
            raise SourceError("this host fetches nothing: it was built without sources")
        return self._sources
