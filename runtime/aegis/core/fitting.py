"""Whether a class does a Protocol: it has the methods, and they take what they are given."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import Any, Protocol

from aegis.core.errors import closest


def is_protocol(cls: type) -> bool:
    """Whether a class is a Protocol itself, and not one that does it."""
    return bool(vars(cls).get("_is_protocol", False)) and cls is not Protocol


def asked_methods(protocol: type) -> tuple[str, ...]:
    """The names of the methods that a Protocol asks for."""
    return tuple(
        name
        for cls in protocol.__mro__
        if is_protocol(cls)
        for name, value in vars(cls).items()
        if not name.startswith("_") and callable(value)
    )


def misfits(cls: type, protocol: type) -> Iterator[str]:
    """What keeps `cls` from doing `protocol`, with the likely fix."""
    for name in asked_methods(protocol):
        owner = next((c for c in cls.__mro__ if name in vars(c)), None)
        if owner is None or is_protocol(owner):
            written = [n for n in vars(cls) if not n.startswith("_")]
            hint = closest(name, written) or f"write `{name}` in {cls.__name__}"
            yield f"{cls.__name__} misses the method {name!r} of {protocol.__name__}: {hint}"
            continue
        asked, given = getattr(protocol, name), getattr(cls, name)
        if callable(given):
            yield from _mismatch(f"{cls.__name__}.{name}", asked, given, protocol.__name__)


def _mismatch(
    where: str, asked: Callable[..., Any], given: Callable[..., Any], protocol: str
) -> Iterator[str]:
    """What of a method's signature does not fit."""
    if inspect.iscoroutinefunction(asked) and not (
        inspect.iscoroutinefunction(given) or inspect.isasyncgenfunction(given)
    ):
        yield (
            f"{where} is a plain method, and {protocol} says async: write `async def`, or mark "
            "it @blocking"
        )
    names = inspect.signature(asked).parameters
    theirs = inspect.signature(given).parameters
    if any(p.kind is p.VAR_KEYWORD for p in theirs.values()):
        return
    missing = [n for n in names if n not in theirs]
    missing = missing or [
        name
        for name, other in zip(names, (n for n in theirs if n in names), strict=False)
        if name != other and names[name].kind is not inspect.Parameter.KEYWORD_ONLY
    ]
    extra = [
        p.name
        for p in theirs.values()
        if p.name not in names and p.default is p.empty and p.kind is not p.VAR_POSITIONAL
    ]
    if missing or extra:
        yield (
            f"{where} takes {inspect.signature(given)}, and {protocol} says "
            f"{inspect.signature(asked)}"
        )
