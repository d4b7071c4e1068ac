"""Which versions of a component there are: here, in the past of a host, and where it comes from."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from aegis.core.deployment import Deployment
from aegis.core.lock import Locked
from aegis.core.semver import is_version, major, newer, newest


class Followed(msgspec.Struct, frozen=True, kw_only=True):
    """An address that is followed for a component, and what came of that.

    It is asked every `every` seconds, for versions in `range`. `serves` is the version that serves,
    `newest` the newest in the range that there is. `held` does not come by itself, `why` says what
    hinders it; the next newer one is tried. `problem` is why the address does not answer, `looked`
    when it was asked last (RFC 3339).
    """

    name: str
    address: str
    range: str
    every: float
    serves: str | None = None
    newest: str | None = None
    held: str | None = None
    why: str = ""
    problem: str | None = None
    looked: str | None = None

    def __str__(self) -> str:
        text = f"{self.name} {self.serves or '-'} follows {self.address} ({self.range}) "
        return "; ".join((f"{text}every {self.every:g} s", *self.ails))

    @property
    def ails(self) -> tuple[str, ...]:
        """What hinders newer versions, in words."""
        held = () if self.held is None else (f"{self.held} is held: {self.why}",)
        return held if self.problem is None else (*held, self.problem)


class Versions(msgspec.Struct, frozen=True, kw_only=True):
    """The versions of one component, by label (`orders@1.2.0+3fa9c1d2`) where they are loaded.

    `serves` is the live revision, `previous` the one that a rollback brings back, `loaded` are
    others that open flows need. `deployments` are all that this host had, the newest first.
    `address` is where it comes from, if that is known; `offers` are the versions there, the newest
    first, and `problem` says why they are not known.
    """

    name: str
    serves: str | None = None
    previous: str | None = None
    loaded: tuple[str, ...] = ()
    deployments: tuple[Deployment, ...] = ()
    address: str | None = None
    offers: tuple[str, ...] = ()
    problem: str | None = None
    locked: Locked | None = None
    followed: Followed | None = None

    def __str__(self) -> str:
        lines = [f"{self.name}: {self.serves or 'nothing'} serves"]
        lines += [f"  before: {self.previous}"] if self.previous is not None else []
        lines += [f"  for open flows: {', '.join(self.loaded)}"] if self.loaded else []
        lines += [
            f"{'*' if one.live else ' '} {one.number:>3} {one.version} ({one.digest[:8]}) "
            f"{one.time} {one.who} {one.origin} {one.resolved[:12]}".rstrip()
            for one in self.deployments
        ]
        lines += [f"{self.address}: {self.offered}"] if self.address is not None else []
        lines += [str(self.followed)] if self.followed is not None else []
        return "\n".join(lines)

    @property
    def offered(self) -> str:
        """What its source offers, in words."""
        return ", ".join(self.offers) or self.problem or "it has no versions of its own"


def coming(
    versions: Iterable[str], wanted: str, *, serves: str | None = None, held: str | None = None
) -> str | None:
    """The version that comes by itself: the newest in the range, if it is newer than what serves.

    No pre-release comes so, nothing with another major number than what serves, and nothing that
    is not newer than what is `held`. Raises InvalidError for what is no range.
    """
    steady = [one for one in versions if is_version(one) and "-" not in one.partition("+")[0]]
    found = newest((one for one in steady if serves is None or major(one) == major(serves)), wanted)
    if found is None or any(old is not None and not newer(found, old) for old in (serves, held)):
        return None
    return found


def usual(version: str | None) -> str:
    """The range of what comes by itself after a version, where nobody says one."""
    return "*" if version is None or not is_version(version) else f"^{version}"
