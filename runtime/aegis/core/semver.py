"""Version numbers and the ranges that are said of them, as npm reads both."""

from __future__ import annotations

from collections.abc import Iterable

from aegis.core.errors import InvalidError


def newest(versions: Iterable[str], wanted: str) -> str | None:
    """The newest of `versions` in a range, None when there is none; what is no version is not.

    Raises InvalidError for what is no range.
    """
    from semantic_version import Version

    fitting = [one for one in versions if is_version(one) and within(one, wanted)]
    return max(fitting, key=Version, default=None)


def newer(version: str, than: str) -> bool:
    """Whether a version comes after another; a pre-release comes before what it leads to."""
    from semantic_version import Version

    return bool(Version(version) > Version(than))


def breaking(version: str) -> str:
    """The next version that may break what `version` promised: a major, before 1.0.0 a minor."""
    from semantic_version import Version

    known = Version(version)
    return str(known.next_major() if known.major else known.next_minor())


def major(version: str) -> int:
    """The first number of a version: what is made for another one may not fit."""
    return int(version.partition(".")[0])


def is_range(text: str) -> bool:
    """Whether a ref says a range (`^1.2`, `1.x`, `>=1 <3`, `*`) or a version, and no other name."""
    from semantic_version import NpmSpec

    try:
        NpmSpec(text)
    except ValueError:
        return False
    return bool(text.strip())


def is_version(text: str) -> bool:
    """Whether a text is one whole version number."""
    from semantic_version import Version

    try:
        Version(text)
    except ValueError:
        return False
    return True


def within(version: str, wanted: str) -> bool:
    """Whether a version is in a range. Raises InvalidError for what is no range.

    A pre-release is only in a range that names a pre-release of the same three numbers.
    """
    from semantic_version import NpmSpec, Version

    try:
        spec = NpmSpec(wanted)
    except ValueError:
        raise InvalidError(
            f"{wanted!r} is no range of versions", hint="write it as ^1.2, ~1.2.3 or >=1.2 <2"
        ) from None
    return Version(version) in spec


def ordered(versions: Iterable[str]) -> list[str]:
    """Version numbers, oldest first; what is none is left out."""
    from semantic_version import Version

    return sorted((one for one in versions if is_version(one)), key=Version)
