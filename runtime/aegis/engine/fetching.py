"""What becomes of an address before it is deployed: fetched, trusted, provided with libraries."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from aegis.core.address import parse
from aegis.core.audit import Action
from aegis.core.bundle import UPLOAD, Bundle, Offer
from aegis.core.component import Library, Revision, Source
from aegis.core.errors import InvalidError, SourceError, TrustError, closest
from aegis.core.manifest import Dependency
from aegis.core.moving import Progress
from aegis.core.signature import Signed
from aegis.engine.auditing import audited
from aegis.engine.provenance import Provenance
from aegis.engine.vigilance import Vigilance
from aegis.protocols import Clock, Libraries, Sources, Store, Trust

CELL = "cell:"


@dataclass(frozen=True, kw_only=True)
class Fetched:
    """A bundle that is trusted, and what a loader makes a revision of."""

    bundle: Bundle
    source: Source


class Fetching:
    """Fetches components for one host. Without `sources` it knows no address.

    Without `trust` only what is local is trusted.
    """

    def __init__(
        self,
        sources: Sources | None,
        trust: Trust | None,
        libraries: Libraries | None,
        *,
        store: Store,
        clock: Clock,
        provenance: Provenance,
        live: Callable[[], Mapping[str, Revision]],
    ) -> None:
        self._sources = sources
        self._trust = trust
        self._libraries = libraries
        self._clock = clock
        self._provenance = provenance
        self.vigilance = Vigilance(trust, store, clock)
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
        who: str = "",
    ) -> Sequence[Fetched]:
        """The components at an address; nothing of them has run.

        `at` is what the address was resolved to before, to have exactly that again; with
        `libraries` they get these and no others. The audit log is told of what is not trusted.
        Raises InvalidError for what is no address, SourceError, ManifestError, TrustError.
        """
        if address.startswith(CELL):
            return [self._cell(address)]
        found = []
        async with self._telling(who, address=address):
            bundles = await self._known().fetch(address, at=at, told=told)
        for bundle in bundles:
            one = await self._provided(bundle, libraries, told, who)
            found.append(one)
            if self.heard is not None:
                self.heard(one)
        return found

    async def _provided(
        self,
        bundle: Bundle,
        libraries: Sequence[Library] | None,
        told: Progress | None,
        who: str,
    ) -> Fetched:
        """A bundle that is trusted, with the libraries that it needs."""
        async with self._telling(who, bundle):
            signed = await self._trusted(bundle)
            provided: Sequence[Library] = ()
            if self._libraries is not None:
                asked = bundle if libraries is None else pinned(bundle, libraries)
                provided = await self._libraries.provide(asked, told=told)
        return Fetched(bundle=bundle, source=replace(bundle.source(provided), signed=signed))

    async def receive(
        self, sent: bytes | Source, *, told: Progress | None = None, who: str = ""
    ) -> Source:
        """The one component in a zip that somebody sent, or of a text; nothing of it has run.

        Raises TrustError unless what is sent under that name may be deployed here, InvalidError
        for more than one, and what `fetch` raises.
        """
        if isinstance(sent, Source):
            bundle = replace(Bundle.of(sent, f"{UPLOAD}{sent.name}"), is_local=False)
            async with self._telling(who, bundle):
                return replace(sent, signed=await self._trusted(bundle))
        async with self._telling(who, address=UPLOAD):
            bundles = await self._known().unpack(sent)
        if len(bundles) != 1:
            names = ", ".join(bundle.manifest.name for bundle in bundles)
            raise InvalidError(
                f"what was sent has {len(bundles)} components: {names}", hint="send each by itself"
            )
        return (await self._provided(bundles[0], None, told, who)).source

    @asynccontextmanager
    async def _telling(
        self, who: str, bundle: Bundle | None = None, *, address: str = ""
    ) -> AsyncGenerator[None]:
        """Tell the audit log of what is not trusted meanwhile, and why."""
        try:
            yield
        except TrustError as error:
            said: dict[str, Any] = {"address": address}
            if bundle is not None:
                said = {
                    "about": bundle.manifest.name,
                    "version": bundle.manifest.version,
                    "address": bundle.address,
                    "resolved": bundle.resolved,
                    "digest": bundle.digest,
                }
            await self.vigilance.tell(
                audited(self._clock, Action.REFUSE, who=who, detail=str(error), **said)
            )
            raise

    async def _trusted(self, bundle: Bundle) -> Signed | None:
        if bundle.is_local:
            return None
        if self._trust is None:
            raise TrustError(
                f"{bundle.address}: this host trusts nothing that is not on this machine",
                hint="it was built without trust",
            )
        await self.vigilance.look()
        return await self._checked(bundle, self._trust)

    async def _checked(self, bundle: Bundle, trust: Trust) -> Signed | None:
        """Who signed a bundle. What was deployed when its signature was good may serve on."""
        said, provenance = bundle.manifest, self._provenance
        since = provenance.since(said.name, said.version)
        if since is not None:
            with suppress(TrustError):  # told below, where it is another one
                signed = await trust.check(bundle, since)
                if provenance.live(said.name, said.version, signed):
                    return signed
        signed = await trust.check(bundle, provenance.now(self._clock.now()))
        provenance.check(said.name, said.version, bundle.address, signed)
        return signed

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
