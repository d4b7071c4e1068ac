"""Values that components keep by key: read in a unit of work, and written with its commit."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aegis.core.errors import ConflictError, InvalidError, TooLargeError
from aegis.protocols import Commit, Keeping, Store

if TYPE_CHECKING:
    from aegis.engine.work import Work

KEY = 256  # bytes of a key
VALUE = 64 << 10  # bytes of a value
MOST = 10_000  # keys of a component
AT_ONCE = 4 << 20  # bytes of the values of one unit of work


def check_key(key: str) -> None:
    """Raise InvalidError for what is no key."""
    if not key:
        raise InvalidError("a key is not empty")
    check_prefix(key)


def check_prefix(text: str) -> None:
    """Raise TooLargeError for what no key begins with."""
    if len(text.encode()) > KEY:
        raise TooLargeError(f"a key has {KEY} bytes at most, and {text[:20]!r}... has more")


async def put(work: Work, store: Store, component: str, key: str, value: str | None) -> None:
    """Keep `value` under a key, or forget it, when `work` is committed.

    Raises InvalidError, TooLargeError; then it is as before.
    """
    check_key(key)
    kept = {} if work.keeping is None else work.keeping
    if value is not None:
        if (size := len(value.encode())) > VALUE:
            raise TooLargeError(
                f"the value of {key!r} has {size:,} bytes, and {VALUE:,} are the most",
                hint="keep it in a record, or in parts",
            )
        others = (text for place, text in kept.items() if place != (component, key) and text)
        if sum(map(len, others)) + size > AT_ONCE:
            raise TooLargeError(f"one unit of work sets {AT_ONCE:,} bytes of values at most")
        if kept.get((component, key)) is None and store.kept(component, key) is None:
            there = await store.count_keys(component)
            there += sum(
                (text is not None) - (store.kept(*place) is not None)
                for place, text in kept.items()
                if place[0] == component
            )
            if there >= MOST:
                raise TooLargeError(
                    f"{component} has {MOST:,} keys, and that is the most",
                    hint="forget some, or keep them as records",
                )
    if work.keeping is None:
        work.keeping = {}
    work.keeping[component, key] = value


def listed(work: Work, component: str, prefix: str, stored: list[str], limit: int) -> list[str]:
    """The first keys that begin with `prefix`: those that are stored, and what `work` changed."""
    names = set(stored)
    for (owner, key), value in (work.keeping or {}).items():
        if owner == component and key.startswith(prefix):
            (names.discard if value is None else names.add)(key)
    return sorted(names)[:limit]


def settle(work: Work, store: Store, commit: Commit, *, checks: bool = True) -> None:
    """Add to `commit` what `work` keeps. No other commit of these keys is under way meanwhile.

    Raises ConflictError where a key that it read before it set it has another value since, unless
    nobody `checks`.
    """
    for place, value in (work.keeping or {}).items():
        known = work.known or {}
        if checks and place in known and store.kept(*place) != known[place]:
            raise ConflictError(f"{place[0]}: the key {place[1]!r} was set by another meanwhile")
        commit.keeping.append(Keeping(*place, value))
