"""What was deployed from elsewhere and signed: nothing older is, from then on."""

from __future__ import annotations

from datetime import datetime

from aegis.core.deployment import Deployment
from aegis.core.errors import TrustError
from aegis.core.semver import is_version, newer
from aegis.core.signature import Signed
from aegis.core.trust import remembered_as, source_of


class Provenance:
    """The newest signed version of each component by its source and by its key.

    It is made of the deployments that are stored, so it is as durable as they are.
    """

    def __init__(self) -> None:
        self._newest: dict[tuple[str, str], str] = {}
        self._live: dict[str, Deployment] = {}
        self._latest = ""

    def learn(self, deployment: Deployment) -> None:
        """Take in a deployment that is stored; in the order of their numbers."""
        self._latest = max(self._latest, deployment.time)
        signed, component, version = deployment.signed, deployment.component, deployment.version
        if deployment.live:
            self._live[component] = deployment
        if signed is None:
            return
        for place in _places(deployment.origin, component, signed):
            known = self._newest.get(place)
            if known is None or newer(version, known):
                self._newest[place] = version

    def gone(self, component: str) -> None:
        """A component was undeployed: to deploy it again is a deploy as any other."""
        self._live.pop(component, None)

    def live(self, component: str, version: str, signed: Signed | None) -> bool:
        """Whether that version with that very signature is what was deployed last."""
        live = self._live.get(component)
        return (
            live is not None
            and live.version == version
            and live.signed is not None
            and signed is not None
            and (live.signed.key, live.signed.time) == (signed.key, signed.time)
        )

    def since(self, component: str, version: str) -> datetime | None:
        """When a version was deployed that was signed, and is what was deployed last."""
        live = self._live.get(component)
        if live is None or live.signed is None or live.version != version:
            return None
        return datetime.fromisoformat(live.time)

    def check(self, component: str, version: str, origin: str, signed: Signed | None) -> None:
        """Raise TrustError for what is older than what was deployed before.

        What serves now may be deployed again, although a rollback led to it.
        """
        if signed is None:
            return
        if not is_version(version):
            raise TrustError(f"{origin}: {version!r} cannot be told from older versions")
        if signed.older or self.live(component, version, signed):
            return
        for place in _places(origin, component, signed):
            known = self._newest.get(place)
            if known is not None and newer(known, version):
                raise TrustError(
                    f"{origin}: {component} {version} is older than {known}, which was deployed "
                    "from there",
                    hint="`host.rollback` takes back what served; `aegis keys allow-older "
                    f"{source_of(origin)} {component}@{version}` lets this one in",
                )

    def now(self, now: datetime) -> datetime:
        """The time, which does not go back behind what happened already."""
        return max(now, datetime.fromisoformat(self._latest)) if self._latest else now


def _places(origin: str, component: str, signed: Signed) -> tuple[tuple[str, str], ...]:
    """Under what a version is remembered: what a new key signs is compared as well, and so is what
    comes by another address.
    """
    return ((remembered_as(source_of(origin)), component), (signed.key, component))
