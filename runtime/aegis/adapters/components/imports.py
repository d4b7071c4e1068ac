"""The modules of one revision: its own text, the files it imports and its libraries.

Nobody else sees them.
"""

from __future__ import annotations

import builtins
import linecache
import logging
import re
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import PurePath, PurePosixPath
from types import CodeType, ModuleType
from typing import Any

from aegis.adapters.components import libraries
from aegis.adapters.components.libraries import Import, Libraries, Shelf, is_below, provided
from aegis.core.component import MODULES, Source

RELATIVE = re.compile(r"^\s*from\s+\.", re.MULTILINE)


class Modules:
    """Makes the modules of a revision, all below the unique name `root`.

    The component is a package to its own files: `import pricing`, `from . import pricing` and a
    circular `import orders` find them. What is not among them is looked for in its libraries, and
    imported as ever where those have none of that name.
    """

    def __init__(self, source: Source, root: str, shelf: Shelf | None = None) -> None:
        self.root = root
        self.tag = root.rsplit(".", 1)[-1]
        self.filename = source.file or f"<{source.origin or source.name} {self.tag}>"
        self._source = source
        self._shelf = shelf
        self._libraries: Libraries | None = None
        self._outer: Import | None = None
        self._paths = {_dotted(path): path for path in source.imports}
        self._folders = {
            ".".join(name.split(".")[:count])
            for name in self._paths
            for count in range(1, name.count(".") + 1)
        }
        self._stems = {source.name.replace("-", "_"), PurePath(source.origin).stem}
        self._codes: dict[str, CodeType] = {}
        # A port in a thread of the pool may be the first to import a file, as may the loop.
        self._lock = threading.RLock()
        # Functions keep the builtins of their module, so a copy with another `__import__` is an
        # importer of our own. A component without files beside it goes on with Python's.
        self._builtins = None
        if self._paths or source.libraries or RELATIVE.search(source.text):
            self._builtins = {**vars(builtins), "__import__": self._import}

    def provide(self) -> None:
        """Have the libraries of the source ready. Raises ComponentError for one that is not."""
        source = self._source
        if source.libraries:
            said = {} if source.manifest is None else source.manifest.dependencies
            self._libraries = provided(
                source.name,
                self.root,
                source.libraries,
                self._shelf,
                {name: one.twice for name, one in said.items()},
            )
            self._outer = self._libraries.importing(self._libraries.names)

    def compile(self) -> CodeType:
        """The component's own code. All files are compiled, whoever imports them when."""
        for name, path in self._paths.items():
            self._codes[name] = self._compiled(self._source.imports[path], self.filename_of(path))
        return self._compiled(self._source.text, self.filename)

    def own(self) -> ModuleType:
        """The component's own module, not run yet."""
        module = self._module(self.root, self.filename, folder=True)
        module.__doc__ = f"Component {self._source.name} {self._source.version}."
        vars(module)["__aegis_origin__"] = self._source.origin  # what people call it
        return module

    def codes(self) -> Sequence[CodeType]:
        """The code of every imported file, and of what it imported of other components."""
        wheels = () if self._libraries is None else self._libraries.wheels
        shared = [code for one in wheels if one.is_shared for code in one.codes.values()]
        return [*self._codes.values(), *shared]

    def filename_of(self, path: str) -> str:
        """What tracebacks call an imported file: `<pricing.py orders_r3>`."""
        return f"<{path} {self.tag}>"

    def files(self) -> Mapping[str, str | None]:
        """What people call each file, by what tracebacks call it; the component's own is None."""
        return {self.filename: None, **{self.filename_of(p): p for p in self._source.imports}}

    def texts(self) -> Mapping[str, str]:
        """The text of each file, by what tracebacks call it."""
        imports = self._source.imports
        return {
            filename: self._source.text if path is None else imports[path]
            for filename, path in self.files().items()
        }

    def forget(self) -> None:
        """Take the modules, their lines and their loggers out of the process."""
        libraries.forget(self.root)
        for name in [name for name in sys.modules if self._is_ours(name)]:
            del sys.modules[name]
        for filename in self.files():
            if not self._is_shared(filename):
                linecache.cache.pop(filename, None)
        # Libraries that make code name its lines after the class that they make it for.
        for filename in [name for name in list(linecache.cache) if f"{self.root}." in name]:
            linecache.cache.pop(filename, None)
        _forget_loggers(self.root)

    def _compiled(self, text: str, filename: str) -> CodeType:
        lines = text.splitlines(keepends=True)
        linecache.cache[filename] = (len(text), None, lines, filename)
        return compile(text, filename, "exec", dont_inherit=True)

    def _module(self, name: str, filename: str | None, *, folder: bool) -> ModuleType:
        module = ModuleType(name)
        module.__file__ = filename
        module.__package__ = name if folder else name.rpartition(".")[0]
        if folder:
            module.__path__ = []
        if self._builtins is not None:
            vars(module)["__builtins__"] = self._builtins
        # Forward references of a class are looked up in sys.modules while the class is used.
        sys.modules[name] = module
        return module

    def _is_shared(self, filename: str) -> bool:
        """Whether another loaded revision has that very file: its name tells its text, then."""
        return filename == self._source.file and any(
            getattr(module, "__file__", None) == filename
            for name, module in list(sys.modules.items())
            if name.startswith(MODULES)
        )

    def _is_ours(self, name: str) -> bool:
        return is_below(name, self.root)

    def _import(
        self,
        name: str,
        namespace: Mapping[str, Any] | None = None,
        local: Mapping[str, Any] | None = None,
        wanted: Sequence[str] | None = (),
        level: int = 0,
    ) -> ModuleType:
        """What an `import` statement in one of our files calls."""
        __tracebackhide__ = True
        package = str((namespace or {}).get("__package__") or "")
        if level and self._is_ours(package):
            bits = package.split(".")
            base = ".".join(bits[: len(bits) - level + 1])
            if not self._is_ours(base):
                raise ImportError("a relative import leads out of the component's folder")
            full = f"{base}.{name}" if name else base
        elif not level and self._is_here(name.partition(".")[0]):
            full = f"{self.root}.{name}"
        else:
            outer = self._outer or builtins.__import__
            return outer(name, namespace, local, wanted or (), level)
        with self._lock:
            module = self._found(full)
            if not wanted:
                return self._found(f"{self.root}.{name.partition('.')[0]}")
            names = getattr(module, "__all__", ()) if "*" in wanted else wanted
            for item in names:
                if not hasattr(module, item) and self._has(f"{full}.{item}"):
                    self._found(f"{full}.{item}")
        return module

    def _is_here(self, top: str) -> bool:
        return top in self._paths or top in self._folders or self._is_self(top)

    def _is_self(self, top: str) -> bool:
        """Whether a file beside the component means the component itself by `top`."""
        if not self._paths or top not in self._stems or top in sys.stdlib_module_names:
            return False
        return self._libraries is None or top not in self._libraries.names

    def _has(self, full: str) -> bool:
        name = full[len(self.root) + 1 :]
        return name in self._paths or name in self._folders

    def _found(self, full: str) -> ModuleType:
        """The module `full`, run when nobody imported it before."""
        __tracebackhide__ = True
        name = full[len(self.root) + 1 :]
        if full == self.root or (self._is_self(name) and name not in self._paths):
            return sys.modules[self.root]
        if full in sys.modules:
            return sys.modules[full]
        if not self._has(full):
            raise ModuleNotFoundError(f"No module named {name!r} in the component's folder")
        above, _, last = name.rpartition(".")
        parent = self._found(f"{self.root}.{above}") if above else None
        if full in sys.modules:  # the package imports it itself
            return sys.modules[full]
        path = self._paths.get(name)
        filename = None if path is None else self.filename_of(path)
        is_folder = name in self._folders or (path or "").endswith("__init__.py")
        module = self._module(full, filename, folder=is_folder)
        if name in self._codes:
            try:
                exec(self._codes[name], vars(module))  # noqa: S102 -- the component's own code
            except BaseException:
                sys.modules.pop(full, None)
                raise
        if parent is not None:
            setattr(parent, last, module)
        return module


def _forget_loggers(root: str) -> None:
    """Drop the loggers that modules below `root` made: logging keeps every name for ever."""
    known = logging.root.manager.loggerDict
    above = known.get(MODULES.rstrip("."))
    for name in [name for name in list(known) if is_below(name, root)]:
        logger = known.pop(name, None)
        if isinstance(above, logging.PlaceHolder) and isinstance(logger, logging.Logger):
            above.loggerMap.pop(logger, None)


def _dotted(path: str) -> str:
    """`rates/__init__.py` is module `rates`, `rates/eu.py` is `rates.eu`."""
    parts = PurePosixPath(path).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
