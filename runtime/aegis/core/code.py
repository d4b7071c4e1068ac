"""What the text of a component's file says: its version, and which files beside it it imports."""

from __future__ import annotations

import ast
import importlib.util
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import PurePosixPath
from typing import Any, Protocol

from aegis.core.errors import ComponentError
from aegis.core.manifest import NAME, VERSION

# A file that says a version is a component; the others of a folder are imported by components.
SAYS_VERSION = re.compile(r"^__version__\s*(:[^=\n]+)?=", re.MULTILINE)
# What a module in WebAssembly exports that is a component, by either way to call it.
EXPORTS = (b"describe", b"invoke")
# How a text of WebAssembly that is no whole module says its version (core/wat.py).
SAYS_IN_WAT = re.compile(rb"^;;\s*version\s*=", re.MULTILINE)
MOST = 4 << 20  # bytes of a file of code
# Never meant by an absolute import, whatever the file beside the component is called.
ELSEWHERE = sys.stdlib_module_names | {"aegis"}

# Import statements: how many dots, the module, and what is imported from it.
Imports = tuple[tuple[int, str, tuple[str, ...]], ...]


class Folder(Protocol):
    """Where a component's file is: what is beside it and below. Paths are relative, with `/`."""

    def is_file(self, path: str) -> bool:
        """Whether there is such a file."""
        ...

    def is_folder(self, path: str) -> bool:
        """Whether there is such a folder."""
        ...

    def text(self, path: str) -> str:
        """The text of a Python file. Raises AegisError naming it."""
        ...


class Files(Folder):
    """A folder whose files are at hand, as bytes by path."""

    def __init__(self, files: Mapping[str, bytes]) -> None:
        self._files = files
        self._folders = {str(above) for path in files for above in PurePosixPath(path).parents}

    def is_file(self, path: str) -> bool:
        """Whether it is one of them."""
        return path in self._files

    def is_folder(self, path: str) -> bool:
        """Whether one of them is in it."""
        return path in self._folders

    def text(self, path: str) -> str:
        """Its text. Raises ComponentError."""
        return text_of(self._files[path], path)


@dataclass
class Closure:
    """Collects what is imported from `folder`, by whatever the files say that are there.

    `files` are the texts by path. `own` is what the component itself is called in there.
    """

    folder: Folder
    own: str = ""
    files: dict[str, str] = field(default_factory=dict)

    def of(self, text: str) -> Mapping[str, str]:
        """All that `text` imports, and what that imports.

        What cannot be parsed imports nothing: loading it says what is wrong.
        """
        self._follow(_imports_of(text))
        return self.files

    def follow(self, tree: ast.AST) -> None:
        """Take in all that a component's file imports, by its syntax tree."""
        self._follow(_imports(tree))

    def _follow(self, imports: Imports) -> None:
        todo: list[tuple[Imports, tuple[str, ...]]] = [(imports, ())]
        while todo:  # an import chain may be longer than the stack is deep
            imports, package = todo.pop()
            for names in _meant(imports, package):
                todo += self._taken(names)

    def _taken(self, names: tuple[str, ...]) -> Iterator[tuple[Imports, tuple[str, ...]]]:
        """Take in the module `names` with the packages above it, as far as they are here."""
        for count in range(1, len(names) + 1):
            part = names[:count]
            if part == (self.own,):
                return
            stem = "/".join(part)
            package, module = f"{stem}/__init__.py", f"{stem}.py"
            has_package, has_module = self.folder.is_file(package), self.folder.is_file(module)
            if has_package:
                yield from self._read(package, part)
            elif has_module:
                yield from self._read(module, part[:-1])
                return
            elif not self.folder.is_folder(stem):
                return

    def _read(
        self, path: str, package: tuple[str, ...]
    ) -> Iterator[tuple[Imports, tuple[str, ...]]]:
        if path not in self.files:
            self.files[path] = text = self.folder.text(path)
            yield _imports_of(text), package


@lru_cache(maxsize=64)  # a source's files are looked through when they are fetched and when loaded
def _imports_of(text: str) -> Imports:
    """The import statements of a text; none of what is no Python."""
    if "import" not in text:  # a table of figures may be long
        return ()
    try:
        return _imports(ast.parse(text))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return ()


def _imports(tree: ast.AST) -> Imports:
    """The import statements of a file: level, module and names, inside functions too."""
    found: list[tuple[int, str, tuple[str, ...]]] = []
    todo: list[Any] = [tree]
    while todo:
        node = todo.pop()
        kind = type(node)
        if kind is ast.Import:
            found += ((0, alias.name, ()) for alias in node.names)
        elif kind is ast.ImportFrom:
            names = tuple(alias.name for alias in node.names)
            found.append((node.level, node.module or "", names))
        elif kind is ast.If and _is_for_checkers(node.test):
            todo += node.orelse
        elif kind in _HOLDING:  # only statements hold statements
            for part in _PARTS:
                todo += getattr(node, part, ())
    return tuple(found)


def _meant(imports: Imports, package: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """The modules that the import statements of a file of `package` may mean."""
    for level, module, aliases in imports:
        names = tuple(module.split(".")) if module else ()
        if level:
            above = len(package) - level + 1
            if above < 0:
                continue
            names = (*package[:above], *names)
        elif module.partition(".")[0] in ELSEWHERE:
            continue
        if names:
            yield names
        for alias in aliases:
            yield (*names, alias)


_PARTS = ("body", "orelse", "finalbody", "handlers", "cases")
_HOLDING = frozenset(
    kind
    for kind in vars(ast).values()
    if isinstance(kind, type) and set(_PARTS) & set(getattr(kind, "_fields", ()))
) - {ast.Lambda, ast.IfExp}


def _is_for_checkers(test: ast.expr) -> bool:
    """Whether `if test:` is `if TYPE_CHECKING:`, which no run enters."""
    return "TYPE_CHECKING" in {getattr(test, "id", None), getattr(test, "attr", None)}


def text_of(content: bytes, shown: str, what: str | None = None) -> str:
    """The text of a file of code, in the encoding it says. Raises ComponentError of `what`."""
    if len(content) > MOST:  # its syntax tree takes a hundred times as much
        raise ComponentError(
            what or shown, [f"{shown} is larger than {MOST >> 20} MiB: no code is"]
        )
    try:
        return importlib.util.decode_source(content)
    except (UnicodeDecodeError, SyntaxError) as error:
        raise ComponentError(
            what or shown,
            [f"{shown} has no text in the encoding that it says: {error}"],
            hint="save it as UTF-8",
        ) from None


def may_be_module(content: bytes) -> bool:
    """Whether a .wasm or .wat looks like a component; only running its code tells."""
    return all(export in content for export in EXPORTS) or bool(SAYS_IN_WAT.search(content))


def parsed(text: str, name: str, shown: str) -> ast.Module:
    """The syntax tree of a component's file. Raises ComponentError with the line at fault."""
    filename = f"<{shown}>"
    if not text.strip():
        raise ComponentError(name, [f"{shown} is empty"])
    try:
        return ast.parse(text, filename)
    except SyntaxError as error:
        line = (error.text or "").strip()
        refusal = ComponentError(
            name, [f"line {error.lineno}: {error.msg}: {line}"], line=error.lineno
        )
        refusal.texts = {filename: text}
        raise refusal from error
    except (ValueError, RecursionError, MemoryError) as error:  # a null byte; nested too deep
        raise ComponentError(name, [f"{shown} is no Python: {error}"]) from None


def named(name: str, shown: str) -> str:
    """A component's name. Raises ComponentError for what is none."""
    if NAME.match(name):
        return name
    raise ComponentError(
        name,
        [f"{shown}: a component's name is lower case letters, digits, - and _"],
        hint="rename the file, or give NAME VERSION",
    )


def version_of(tree: ast.Module, name: str, shown: str) -> str:
    """What a file assigns to `__version__` at its top level. Raises ComponentError."""
    for node in reversed(tree.body):
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        if all(getattr(target, "id", None) != "__version__" for target in targets):
            continue
        value = getattr(node, "value", None)
        if isinstance(value, ast.Constant) and VERSION.match(str(value.value)):
            return str(value.value)
        raise ComponentError(
            name,
            [f"line {node.lineno}: __version__ is no version"],
            hint='write it as __version__ = "1.2.0"',
            line=node.lineno,
        )
    raise ComponentError(
        name,
        [f"{shown} says no version"],
        hint='write __version__ = "1.0.0" at its top, or give NAME VERSION',
    )
