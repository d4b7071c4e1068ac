"""Adapters that a component uses of another: whose instance it is, and what its user sees of it."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aegis.core.component import Part, Revision
from aegis.engine.meter import methods

if TYPE_CHECKING:
    from aegis.core.registry import Registry
    from aegis.engine.resident import Resident


@dataclass(frozen=True, kw_only=True)
class Lender:
    """What a revision that comes to be needs for adapters of others.

    `resident` finds who lends one; `current` gives the registry that is so from then on.
    """

    current: Callable[[], Registry]
    resident: Callable[[Revision], Awaitable[Resident]]

    def guard(self, user: Revision, owner: Revision, part: Part) -> Callable[[], None]:
        """What raises GrantError once a part of another component may not be used.

        It lives as long as the adapter, so it knows no code.
        """
        current, label, component, name = self.current, user.label, owner.name, part.name

        def check() -> None:
            registry = current()
            if registry.is_closed:
                registry.access.check(label, component, "adapters", name, "write")

        return check


def lent(instance: Any, protocol: type, check: Callable[[], None]) -> Any:
    """`instance` as another component sees it: the methods of its Protocol and nothing else.

    Each call begins with `check`, which raises when it is not granted any more.
    """
    seen = {name: _checked(getattr(instance, name), check) for name in methods(protocol)}
    return object.__new__(type(type(instance).__name__, (protocol,), seen))


def _checked(fn: Callable[..., Any], check: Callable[[], None]) -> Callable[..., Any]:
    """A method of a class in whose place `fn`, which is bound, is called."""
    if inspect.iscoroutinefunction(fn):

        @functools.wraps(fn)
        async def call(_: Any, *args: Any, **kwargs: Any) -> Any:
            check()
            return await fn(*args, **kwargs)

        return call
    if inspect.isasyncgenfunction(fn):

        @functools.wraps(fn)
        async def each(_: Any, *args: Any, **kwargs: Any) -> Any:
            check()
            async for one in fn(*args, **kwargs):
                yield one

        return each

    @functools.wraps(fn)
    def plain(_: Any, *args: Any, **kwargs: Any) -> Any:
        check()
        return fn(*args, **kwargs)

    return plain
