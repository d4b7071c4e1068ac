"""Whom a host trusts for what comes from where: address patterns, keys, and what they match."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from urllib.parse import unquote

import msgspec

from aegis.core.audit import Action
from aegis.core.errors import InvalidError
from aegis.core.manifest import DIGEST, NAME
from aegis.core.semver import is_version
from aegis.core.signature import key_bytes

MOST = 2048  # characters of a pattern
ANY = "*"
_WEB = frozenset({"http:", "https:"})
_HOST = 3  # the place of the host among the segments of a URL


class Allowed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One version that may be deployed from an address although a newer one was."""

    source: str
    component: str
    version: str


class Trusted(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a host goes by.

    `pins` are the keys that may sign what comes from addresses of a pattern; `unsigned` the
    patterns of which nothing has to be signed. A pattern is an address without its ref
    (`github:acme/orders`, `https://example.com/components/`) and means all below it as well;
    `github:acme/*` means only what is below. Of a URL's port `*` means any.
    """

    pins: Mapping[str, tuple[str, ...]] = MappingProxyType({})
    unsigned: tuple[str, ...] = ()
    older: tuple[Allowed, ...] = ()

    def check(self) -> None:
        """Raise InvalidError naming the pattern, key or version that is none."""
        for pattern, keys in self.pins.items():
            check_pattern(pattern)
            for key in keys:
                key_bytes(key)
        for pattern in self.unsigned:
            check_pattern(pattern)
        for one in self.older:
            check_pattern(one.source)
            if not NAME.match(one.component) or not is_version(one.version):
                raise InvalidError(
                    f"{one.component}@{one.version} is no version of a component",
                    hint="write it as orders@1.2.0",
                )

    def keys(self, source: str) -> tuple[str, ...]:
        """The keys that may sign what comes from a source: those of the most specific pattern."""
        pattern = closest_pattern(self.pins, source)
        return () if pattern is None else self.pins[pattern]

    def needs_none(self, source: str) -> bool:
        """Whether what comes from a source need not be signed.

        A pin that is more specific goes before that.
        """
        pattern = closest_pattern(self.unsigned, source)
        if pattern is None:
            return False
        pinned = closest_pattern(self.pins, source)
        return pinned is None or _rank(pattern) > _rank(pinned)

    def lets_older(self, source: str, component: str, version: str) -> bool:
        """Whether one older version may be deployed."""
        return any(
            (one.component, one.version) == (component, version) and matches(one.source, source)
            for one in self.older
        )

    def joined(self, other: Trusted) -> Trusted:
        """What both say."""
        pins = {
            pattern: tuple(
                dict.fromkeys((*self.pins.get(pattern, ()), *other.pins.get(pattern, ())))
            )
            for pattern in (*self.pins, *other.pins)
        }
        return Trusted(
            pins=pins,
            unsigned=tuple(dict.fromkeys((*self.unsigned, *other.unsigned))),
            older=tuple(dict.fromkeys((*self.older, *other.older))),
        )

    def grounds(self) -> frozenset[Ground]:
        """All that it says, one by one."""
        return frozenset(
            [
                *(
                    Ground(Action.PIN, pattern, key=key)
                    for pattern, keys in self.pins.items()
                    for key in keys
                ),
                *(Ground(Action.TRUST, pattern) for pattern in self.unsigned),
                *(
                    Ground(Action.ALLOW, one.source, one.component, one.version)
                    for one in self.older
                ),
            ]
        )


class Ground(msgspec.Struct, frozen=True, order=True):
    """One thing that a host goes by, as the audit log tells that it is and that it is no more."""

    action: Action
    about: str
    component: str = ""
    version: str = ""
    key: str = ""


# What ends what.
ENDS: Mapping[Action, Action] = MappingProxyType(
    {Action.PIN: Action.UNPIN, Action.TRUST: Action.DISTRUST, Action.ALLOW: Action.DISALLOW}
)


def source_of(address: str) -> str:
    """An address without its ref, its choice and its digest: the same for all its versions."""
    place = address.partition("#")[0]
    if not place.startswith(("http:", "https:")):
        place = place.partition("@")[0]
    return place.rstrip("/")


def names_content(address: str) -> bool:
    """Whether an address says the SHA-256 of what is there: it can mean nothing else then."""
    choices = address.partition("#")[2].split("&")
    return any(one.startswith("sha256=") and DIGEST.match(one[7:]) for one in choices)


def remembered_as(source: str) -> str:
    """A source where the spelling does not count: two that may be one are one."""
    return unquote(source).casefold().rstrip("/")


def matches(pattern: str, source: str) -> bool:
    """Whether a source is what a pattern means; letter by letter, and whole segments only."""
    meant, found = _segments(pattern), _segments(source)
    if not _is_plain(found):
        return False
    below = meant[-1] == ANY
    if below:
        meant = meant[:-1]
    if len(found) < len(meant) + below:
        return False
    return all(
        one == other or (place == _HOST and _is_port_of(one, other))
        for place, (one, other) in enumerate(zip(meant, found, strict=False))
    )


def closest_pattern(patterns: Iterable[str], source: str) -> str | None:
    """The most specific of `patterns` that a source matches, None when it matches none."""
    return max((one for one in patterns if matches(one, source)), key=_rank, default=None)


def check_pattern(pattern: str) -> None:
    """Raise InvalidError for what no address could match, or any."""
    segments = _segments(pattern)
    scheme, *rest = segments
    is_web = scheme in _WEB
    if is_web:
        names_something = len(segments) > _HOST and segments[_HOST] not in {"", ANY}
        names_something = names_something and segments[1] == segments[2] == ""
    else:
        names_something = bool(scheme.rstrip(":")) and rest[0] != ""
    if not names_something or len(pattern) > MOST:
        raise InvalidError(
            f"{pattern[:80]!r} is no pattern of addresses",
            hint="write it as github:acme/*, or https://example.com/components/",
        )
    stars = [place for place, one in enumerate(segments) if ANY in one]
    last = len(segments) - 1
    for place in stars:
        is_last = place == last and segments[place] == ANY
        if not is_last and not (is_web and place == _HOST and _is_any_port(segments[place])):
            raise InvalidError(
                f"{pattern[:80]!r} has a * where none can be",
                hint="it stands for all below, at the end, or for any port of a host",
            )
    if not _is_plain([one for one in segments if one != ANY]):
        raise InvalidError(
            f"{pattern[:80]!r} is no plain address",
            hint="no @ref and no #, ASCII only, and no . or .. between slashes",
        )
    if "#" in pattern or (not is_web and "@" in pattern):
        raise InvalidError(
            f"{pattern[:80]!r} says a version", hint="a pin is for all versions: leave out @ and #"
        )


def _segments(text: str) -> list[str]:
    scheme, _, rest = text.rstrip("/").partition(":")
    return [f"{scheme}:", *rest.split("/")]


def _is_plain(segments: Iterable[str]) -> bool:
    """Whether no segment could be read as another one, or lead out of those before it."""
    for segment in segments:
        meant = unquote(segment)
        if meant in {".", ".."} or any(one in meant for one in "/\\?#"):
            return False
        if not (segment.isascii() and segment.isprintable()) or " " in segment:
            return False
        if meant != segment and not meant.isprintable():
            return False
    return True


def _is_any_port(host: str) -> bool:
    return host.endswith(f":{ANY}") and ANY not in host[: -len(ANY)] and len(host) > len(ANY) + 1


def _is_port_of(pattern: str, host: str) -> bool:
    if not _is_any_port(pattern):
        return False
    name, _, port = host.rpartition(":")
    return name == pattern.removesuffix(f":{ANY}") and port.isdigit()


def _rank(pattern: str) -> tuple[int, bool, bool]:
    segments = _segments(pattern)
    return (
        len(segments) - (segments[-1] == ANY),
        segments[-1] != ANY,
        not any(_is_any_port(one) for one in segments),
    )
