"""What a host is to have from its start (`[components]`), and what that came to (aegis.lock)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated

import msgspec

from aegis.core.component import Library
from aegis.core.manifest import DIGEST
from aegis.core.semver import is_range, is_version, within

FILE = "aegis.lock"

# What an address begins with that ends with a ref where it names one: `github:acme/orders@^1.2`.
_WITH_REF = re.compile(r"^(?!(https?|file|cell):)[a-z][a-z0-9_+-]+:")
_LOCAL = re.compile(r"^((file|cell):|(?![a-z][a-z0-9_+-]+:))")

Seconds = Annotated[float, msgspec.Meta(ge=1, le=86400)]


class Wanted(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A component that `[components]` wants: its address, and whether newer versions come.

    `every` is how often its source is asked, in seconds, None leaves it to the host. With `gate`
    they are tried on recorded flows before they serve.
    """

    source: str
    follow: bool = False
    every: Seconds | None = None
    gate: bool = True


class Locked(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What an address came to: the version, its commit or address, and the digests of its code.

    `source` is the address as it was wanted, `digest` that of the bundle, `locked` when this was
    written down (RFC 3339). `follow` is how often the address is asked for newer versions (seconds)
    when somebody said so to a running host. `held` is a version that is not to come by itself, and
    `why` the reason.
    """

    source: str
    version: str
    resolved: str = ""
    digest: str
    libraries: tuple[Library, ...] = ()
    locked: str = ""
    follow: Seconds | None = None
    held: str | None = None
    why: str = ""

    def __post_init__(self) -> None:
        for version in (self.version, self.held):
            if version is not None and not is_version(version):
                raise ValueError(f"{version!r} is no version")
        if not DIGEST.match(self.digest):
            raise ValueError(f"{self.digest!r} is no sha256: 64 hex digits")

    @property
    def code(self) -> tuple[str, str, str, tuple[Library, ...]]:
        """What tells two locked versions apart, whenever and why they were locked."""
        return (self.version, self.resolved, self.digest, self.libraries)

    def fits(self, address: str) -> bool:
        """Whether this is one of those that `address` means now."""
        ref = ref_of(address)
        if place_of(address) != place_of(self.source):
            return False
        if is_range(ref):
            return within(self.version, ref)
        return address == self.source or (bool(ref) and ref == self.resolved)


Lock = Mapping[str, Locked]


def place_of(address: str) -> str:
    """An address without its ref: what stays the same over all versions."""
    place, _, choice = _split(address)
    return f"{place}{choice}"


def ref_of(address: str) -> str:
    """The ref of an address, empty where it names none."""
    return _split(address)[1]


def with_ref(address: str, ref: str) -> str:
    """An address with another ref."""
    place, _, choice = _split(address)
    return f"{place}@{ref}{choice}"


def is_local(address: str) -> bool:
    """Whether an address is on this machine: what is there may change at any time, unlocked."""
    return _LOCAL.match(address) is not None


def _split(address: str) -> tuple[str, str, str]:
    """An address up to its ref, the ref, and what is chosen there (`#orders`)."""
    if not _WITH_REF.match(address):
        return address, "", ""
    rest, mark, choice = address.partition("#")
    place, _, ref = rest.partition("@")
    return place, ref, f"{mark}{choice}"
