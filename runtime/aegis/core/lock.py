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
COMMIT = re.compile(r"^[0-9a-f]{40}([0-9a-f]{24})?$")

# Addresses of these kinds end with a ref where they name one: `github:acme/orders@^1.2`.
_WITH_REF = re.compile(r"^(github|gitlab|git)(\+https?)?:")

Seconds = Annotated[float, msgspec.Meta(ge=1, le=86400)]


class Wanted(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A component that `[components]` wants: its address, and whether newer versions come.

    `every` is how often its source is asked, in seconds, None leaves it to the host.
    """

    source: str
    follow: bool = False
    every: Seconds | None = None


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

    @property
    def address(self) -> str:
        """The address of exactly this: its commit where it has one, else its version number."""
        place, ref = split(self.source)
        if COMMIT.match(self.resolved) and _WITH_REF.match(self.source):
            return f"{place}@{self.resolved}"
        return f"{place}@{self.version}" if is_range(ref) else self.source

    def fits(self, address: str) -> bool:
        """Whether this is one of those that `address` means now."""
        place, ref = split(address)
        if place != split(self.source)[0]:
            return False
        if is_range(ref):
            return is_version(self.version) and within(self.version, ref)
        return address == self.source or (bool(ref) and ref == self.resolved)


Lock = Mapping[str, Locked]


def split(address: str) -> tuple[str, str]:
    """An address without its ref, and the ref; empty where it names none."""
    if not _WITH_REF.match(address):
        return address, ""
    place, at, ref = address.partition("@")
    return (place, ref) if at else (address, "")


def with_ref(address: str, ref: str) -> str:
    """An address with another ref."""
    return f"{split(address)[0]}@{ref}"


def is_local(address: str) -> bool:
    """Whether an address is on this machine: what is there may change at any time, unlocked."""
    return not re.match(r"^(?!file:)[a-z][a-z0-9+]+:", address)
