"""The libraries of one revision: modules of wheels that it alone can import, and they each other.

A wheel is never installed. Its modules come from memory when they are first imported, below a name
that no other revision has (`aegis_components.orders_r3._libraries.slugify`), so that any number of
versions lives side by side and all leave with their revision. What reaches the whole process cannot
(core/footprint.py says how that is known): of such a library there is one copy in the process,
which all that want that very wheel share.
"""

from __future__ import annotations

import atexit
import builtins
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import logging
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from importlib.resources.abc import Traversable, TraversableResources
from types import CodeType, ModuleType
from typing import Any

from aegis.adapters.components.entry import Entry, file_of
from aegis.adapters.components.facade import Facades
from aegis.core.component import MODULES, Library
from aegis.core.errors import AegisError, ComponentError
from aegis.core.wheel import Wheel

FOLDER = "_libraries"
ONCE = f"{MODULES}once."

Import = Callable[..., ModuleType]
# Finds the wheel of a library by its digest. Raises AegisError when it cannot.
Shelf = Callable[[Library], Wheel]
# What a manifest says of whether a library may be there twice, by name.
Twice = Mapping[str, bool | None]

_log = logging.getLogger("aegis.components")


class Libraries:
    """The modules of some wheels, below the unique name `root`."""

    def __init__(self, root: str, wheels: Sequence[Wheel]) -> None:
        self.root = root
        self.wheels = tuple(wheels)
        self._places: dict[str, tuple[Wheel, str]] = {}
        self._folders: dict[str, Wheel] = {}
        self._names: dict[str, str] = {}
        self._atexit: list[tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]] = []
        for wheel in wheels:
            for name, path in wheel.modules.items():
                self._places.setdefault(name, (wheel, path))
            for name in wheel.folders:
                self._folders.setdefault(name, wheel)
            # As ever, the standard library goes before what is installed.
            tops = wheel.tops - sys.stdlib_module_names - {"aegis"}
            self._names.update((top, f"{root}.{top}") for top in tops)
        self._facades = Facades(self)
        self._builtins: dict[str, dict[str, Any]] = {}

    @property
    def names(self) -> Mapping[str, str]:
        """The full name of each module that an import statement can begin with."""
        return self._names

    def adopt(self, other: Libraries, wheel: Wheel) -> None:
        """Let what `wheel` has mean the modules that `other` has of it."""
        self._names.update((top, other.names[top]) for top in wheel.tops & other.names.keys())

    def begin(self) -> None:
        """Be found by imports from now on."""
        if _finder not in sys.meta_path:
            sys.meta_path.append(_finder)
            atexit.register(_leave)
        _found[self.root] = self
        # Python looks the first word of a name up as well; that package stays empty.
        for name in (MODULES.rstrip("."), self.root):
            if name not in sys.modules:
                sys.modules[name] = package = ModuleType(name)
                package.__path__ = []

    def forget(self) -> None:
        """Take all modules out of the process, with what they left to be done at its exit."""
        self.leave()
        _found.pop(self.root, None)
        for name in [name for name in sys.modules if is_below(name, self.root)]:
            del sys.modules[name]

    def importing(self, names: Mapping[str, str]) -> Import:
        """An `__import__` to which the first word of a name means what `names` says of it."""

        def import_(
            name: str,
            namespace: Mapping[str, Any] | None = None,
            local: Mapping[str, Any] | None = None,
            wanted: Sequence[str] | None = (),
            level: int = 0,
        ) -> ModuleType:
            __tracebackhide__ = True
            top = name.partition(".")[0]
            if not level and top in names:
                full = names[top] + name[len(top) :]
                importlib.import_module(full)
                if not wanted:
                    return sys.modules[names[top]]
                return builtins.__import__(full, namespace, local, wanted, 0)
            found = builtins.__import__(name, namespace, local, wanted or (), level)
            return found if level else self._facades.instead(found, name, of_names=bool(wanted))

        return import_

    def module(self, name: str) -> str:
        """The full name of module `name`, which is as it was where it is none of these."""
        top = name.partition(".")[0]
        return self._names[top] + name[len(top) :] if top in self._names else name

    def wheel(self, name: str) -> Wheel | None:
        """The wheel of a distribution's name."""
        from packaging.utils import canonicalize_name

        wanted = canonicalize_name(name)
        return next((wheel for wheel in self.wheels if wheel.name == wanted), None)

    def at_exit(self, work: Callable[..., Any], *args: Any, **named: Any) -> Callable[..., Any]:
        """What `atexit.register` is to these modules: their exit comes when they are forgotten."""
        self._atexit.append((work, args, named))
        return work

    def not_at_exit(self, work: Callable[..., Any]) -> None:
        """What `atexit.unregister` is to these modules."""
        self._atexit = [entry for entry in self._atexit if entry[0] != work]

    def leave(self) -> None:
        """Do what is to be done at their exit, the last first."""
        while self._atexit:
            work, args, named = self._atexit.pop()
            try:
                work(*args, **named)
            except Exception:  # noqa: BLE001 -- as at the exit of a process, the others follow
                _log.exception("a library of %s failed at its exit", self.root)

    def spec(self, full: str) -> importlib.machinery.ModuleSpec | None:
        """Where module `full` comes from, None when no wheel has it."""
        name = full[len(self.root) + 1 :]
        wheel, path = self._places.get(name, (self._folders.get(name), ""))
        if wheel is None:
            return None
        is_package = name in self._folders and (not path or path.endswith("__init__.py"))
        loader = _Loader(self, wheel, path or f"{name.replace('.', '/')}/")
        spec = importlib.machinery.ModuleSpec(full, loader, is_package=is_package)
        if path:
            spec.origin = file_of(wheel, path)
            spec.has_location = True
        if is_package:
            spec.submodule_search_locations = [file_of(wheel, name.replace(".", "/"))]
        return spec

    def builtins(self, wheel: Wheel) -> dict[str, Any]:
        """What a wheel's modules have for builtins: functions keep those of their module."""
        if wheel.name not in self._builtins:
            names = self._names
            if wheel.is_shared:
                (folder,) = wheel.tops
                beside = {
                    inner.partition(".")[0]
                    for name in (*wheel.modules, *wheel.folders)
                    for inner in [name.partition(".")[2]]
                    if inner
                }
                names = {**names, **{top: f"{self.root}.{folder}.{top}" for top in beside}}
            self._builtins[wheel.name] = {**vars(builtins), "__import__": self.importing(names)}
        return self._builtins[wheel.name]


# What imports can find now, by its root.
_found: dict[str, Libraries] = {}
# The libraries that are there once in this process, by name, and which component had each first.
_once: dict[str, tuple[Libraries, Wheel, str]] = {}
_lock = threading.Lock()


def provided(
    component: str, root: str, libraries: Sequence[Library], shelf: Shelf | None, twice: Twice
) -> Libraries:
    """The libraries of a revision, ready to be imported below `root`.

    Raises ComponentError for one that is not there, and for one that can be there once only and
    another component has in another version.
    """
    if shelf is None:
        names = ", ".join(library.name for library in libraries)
        raise ComponentError(component, [f"this host has no libraries, and it wants {names}"])
    try:
        wheels = [shelf(library) for library in libraries]
    except AegisError as error:
        raise ComponentError(component, [error.detail], hint=error.hint) from None
    found = Libraries(f"{root}.{FOLDER}", wheels)
    for wheel in wheels:
        said = twice.get(wheel.name)
        if said is False or (said is None and wheel.footprint is not None):
            found.adopt(_shared(component, wheel, wheels), wheel)
    found.begin()
    return found


def _shared(component: str, wheel: Wheel, wheels: Sequence[Wheel]) -> Libraries:
    """The one copy in this process of a library that can be there once. Raises ComponentError."""
    with _lock:
        if wheel.name not in _once:
            # What it needs it has for itself, so that it keeps no revision in memory.
            libraries = Libraries(f"{ONCE}{wheel.name.replace('-', '_')}", wheels)
            libraries.begin()
            _once[wheel.name] = (libraries, wheel, component)
        libraries, first, other = _once[wheel.name]
    if first.sha256 != wheel.sha256:
        why = wheel.footprint or first.footprint or "the manifest says so"
        said = (
            f"{component} needs {wheel.label} and {other} {first.label}, which cannot be there "
            f"twice in one process: {why}"
        )
        hint = f"let both ask for one version of {wheel.name}, or start the host anew"
        raise ComponentError(component, [said], hint=hint)
    return libraries


def forget(root: str) -> None:
    """Take the libraries of the revision `root` out of the process, if it has some."""
    found = _found.get(f"{root}.{FOLDER}")
    if found is not None:
        found.forget()


def _leave() -> None:
    """The process ends, and with it all libraries that are still there."""
    for libraries in list(_found.values()):
        libraries.leave()


def is_below(name: str, root: str) -> bool:
    """Whether `name` is the module `root` or one below it."""
    return name == root or name.startswith(f"{root}.")


def is_of_others(name: str) -> bool:
    """Whether a module is one of a wheel that somebody else made, and no component's own."""
    module = sys.modules.get(name)
    loader = getattr(getattr(module, "__spec__", None), "loader", None)
    return isinstance(loader, _Loader) and not loader.wheel.is_shared


class _Finder(importlib.abc.MetaPathFinder):
    """Finds the modules of wheels, all of which have names that begin with a known root."""

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None = None,
        target: ModuleType | None = None,
    ) -> importlib.machinery.ModuleSpec | None:
        if not fullname.startswith(MODULES):
            return None
        parts = fullname.split(".")
        libraries = _found.get(".".join(parts[:3]))
        return None if libraries is None else libraries.spec(fullname)


_finder = _Finder()


class _Loader(importlib.abc.InspectLoader):
    """Runs a file of a wheel; `path` ends with a slash where it is a folder without code."""

    def __init__(self, libraries: Libraries, wheel: Wheel, path: str) -> None:
        self.wheel = wheel
        self.path = path
        self._libraries = libraries

    def exec_module(self, module: ModuleType) -> None:
        __tracebackhide__ = True
        vars(module)["__builtins__"] = self._libraries.builtins(self.wheel)
        code = self.get_code(module.__name__)
        if code is not None:
            exec(code, vars(module))  # noqa: S102 -- the library's own code

    def get_code(self, fullname: str) -> CodeType | None:
        if self.path.endswith("/"):
            return None
        codes = self.wheel.codes
        if self.path not in codes:
            # Tracebacks name the wheel and no revision, so all that have it share the code.
            codes[self.path] = compile(
                self.wheel.files[self.path],
                file_of(self.wheel, self.path),
                "exec",
                dont_inherit=True,
            )
        return codes[self.path]

    def get_source(self, fullname: str) -> str | None:
        if self.path.endswith("/"):
            return None
        return importlib.util.decode_source(self.wheel.files[self.path])

    def is_package(self, fullname: str) -> bool:
        return self.path.endswith(("/", "__init__.py"))

    def get_filename(self, fullname: str) -> str:
        return file_of(self.wheel, self.path)

    def get_data(self, path: str) -> bytes:
        """What `pkgutil.get_data` asks: a file by its path from `__file__`."""
        inside = path.replace("\\", "/").removeprefix(file_of(self.wheel, ""))
        try:
            return self.wheel.files[inside]
        except KeyError:
            raise FileNotFoundError(f"{self.wheel.label} has no file {inside!r}") from None

    def get_resource_reader(self, fullname: str) -> TraversableResources:
        return _Resources(self.wheel, self.path.rpartition("/")[0])


class _Resources(TraversableResources):
    """What `importlib.resources` reads of a package."""

    def __init__(self, wheel: Wheel, folder: str) -> None:
        self._entry = Entry(wheel, folder)

    def files(self) -> Traversable:
        return self._entry
