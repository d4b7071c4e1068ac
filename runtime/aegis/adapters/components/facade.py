"""`importlib`, `pkgutil` and `atexit` as private modules see them: names mean what they import.

These modules of the standard library take names as text, or keep things for the process. In a
private module they go first by the libraries of its revision, and then as ever.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import inspect
import sys
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import TYPE_CHECKING, Any

from aegis.adapters.components.entry import Entry

if TYPE_CHECKING:
    from aegis.adapters.components.libraries import Libraries
    from aegis.core.wheel import Wheel

# Functions whose first argument is the name of a module, or of a package that has it.
NAMED = {
    "importlib": ("import_module",),
    "importlib.util": ("find_spec",),
    "importlib.resources": (
        "contents",
        "files",
        "is_resource",
        "open_binary",
        "open_text",
        "path",
        "read_binary",
        "read_text",
    ),
    "pkgutil": ("get_data",),
}
FACED = (*NAMED, "importlib.metadata", "atexit")


class Facades:
    """The facades of one revision, made when they are first imported."""

    def __init__(self, libraries: Libraries) -> None:
        self._libraries = libraries
        self._made: dict[str, ModuleType] = {}

    def instead(self, found: ModuleType, name: str, *, of_names: bool) -> ModuleType:
        """What an import of `name` gives that found a module, which is mostly that module."""
        real = name if of_names else name.partition(".")[0]
        if real not in FACED or getattr(found, "__name__", None) != real:
            return found
        return self.face(real)

    def face(self, name: str) -> ModuleType:
        """The facade of a module that is imported already."""
        if name not in self._made:
            self._made[name] = _Facade(sys.modules[name], self._instead(name), self)
        return self._made[name]

    def _instead(self, name: str) -> Mapping[str, Any]:
        libraries = self._libraries
        if name == "atexit":
            return {"register": libraries.at_exit, "unregister": libraries.not_at_exit}
        if name == "importlib.metadata":
            return self._metadata()
        real = sys.modules[name]
        return {fn: self._named(getattr(real, fn)) for fn in NAMED[name] if hasattr(real, fn)}

    def _named(self, fn: Callable[..., Any]) -> Callable[..., Any]:
        """`fn`, to which names mean what they mean to an import statement here."""
        libraries = self._libraries
        first = next(iter(inspect.signature(fn).parameters))

        def call(*args: Any, **named: Any) -> Any:
            if first in named:
                args = (named.pop(first), *args)
            meant = [libraries.module(a) if isinstance(a, str) else a for a in args[:2]]
            if fn.__name__ not in {"import_module", "find_spec"}:
                meant[1:] = args[1:2]  # the second one is a file
            if isinstance(named.get("package"), str):
                named["package"] = libraries.module(named["package"])
            return fn(*meant, *args[2:], **named)

        return call

    def _metadata(self) -> Mapping[str, Any]:
        real, libraries = importlib.metadata, self._libraries

        def distribution(name: str) -> importlib.metadata.Distribution:
            wheel = libraries.wheel(name)
            return real.distribution(name) if wheel is None else _Distribution(wheel)

        return {
            "distribution": distribution,
            "files": lambda name: distribution(name).files,
            "metadata": lambda name: distribution(name).metadata,
            "requires": lambda name: distribution(name).requires,
            "version": lambda name: distribution(name).version,
        }


class _Facade(ModuleType):
    """A module in which some names mean something else."""

    def __init__(self, real: ModuleType, instead: Mapping[str, Any], facades: Facades) -> None:
        super().__init__(real.__name__, real.__doc__)
        vars(self).update(instead, _real=real, _facades=facades)

    def __getattr__(self, name: str) -> Any:
        full = f"{self.__name__}.{name}"
        if full in FACED and full in sys.modules:
            return self._facades.face(full)
        return getattr(self._real, name)


class _Distribution(importlib.metadata.Distribution):
    """What a wheel says of itself."""

    def __init__(self, wheel: Wheel) -> None:
        self._wheel = wheel

    def read_text(self, filename: str) -> str | None:
        content = self._wheel.files.get(f"{self._wheel.info}/{filename}")
        return None if content is None else content.decode("utf-8", "replace")

    def locate_file(self, path: Any) -> Any:
        return Entry(self._wheel, str(path))
