"""Component files: what one says of itself, and the files beside it that belong to it."""

from __future__ import annotations

import ast
import importlib.util
import os
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aegis.core.component import Source
from aegis.core.errors import ComponentError
from aegis.core.manifest import NAME, VERSION

# A file that says a version is a component; the others of a folder are imported by components.
SAYS_VERSION = re.compile(r"^__version__\s*(:[^=\n]+)?=", re.MULTILINE)
# Never meant by an absolute import, whatever the file beside the component is called.
ELSEWHERE = sys.stdlib_module_names | {"aegis"}


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What reading a component file came to: its source or why there is none.

    `paths` are all that it depends on, whether they exist or not yet.
    """

    source: Source | None
    error: ComponentError | None
    paths: frozenset[Path]

    def result(self) -> Source:
        """The source. Raises ComponentError."""
        if self.source is None:
            raise self.error or ComponentError("?", ["it was not read"])
        return self.source


def read_component(path: Path, name: str | None = None, version: str | None = None) -> Reading:
    """Read the component in `path`: named after the file, with the `__version__` it assigns.

    `name` and `version` go before what the file says. Nothing of it is run.
    """
    path = path.absolute()
    name = name or path.stem
    imports = _Imports(path.parent, path.stem)
    imports.paths |= {path, path.resolve()}
    source = error = None
    try:
        text = _text(path, name)
        tree = _parsed(text, name, path)
        imports.follow(tree, ())
        source = Source.of(
            _checked(name, path),
            version or _version(tree, name, path),
            text,
            origin=_shown(path),
            imports=imports.files,
        )
    except ComponentError as refusal:
        error = refusal
    return Reading(source=source, error=error, paths=frozenset(imports.paths))


def read_imports(text: str, folder: Path) -> tuple[dict[str, str], frozenset[Path]]:
    """The files in `folder` that a component's `text` imports, and those that they import.

    Their texts by path, and the paths that this depends on. What cannot be parsed imports nothing:
    loading it says what is wrong.
    """
    imports = _Imports(folder.absolute(), "")
    try:
        imports.follow(ast.parse(text), ())
    except (SyntaxError, ValueError):
        return {}, frozenset()
    return imports.files, frozenset(imports.paths)


def component_files(folder: Path) -> list[Path]:
    """The component files in a folder, by name: its .py files that assign a `__version__`."""
    found = []
    for path in sorted(folder.glob("*.py")):
        if path.name[0] in "._":
            continue
        try:
            text = path.read_bytes().decode("utf-8", "replace")
        except OSError:  # it went away, or is a folder, or may not be read
            continue
        if SAYS_VERSION.search(text):
            found.append(path)
    return found


@dataclass
class _Imports:
    """Collects what is imported from `folder`, by whatever the files say that are there."""

    folder: Path
    own: str
    files: dict[str, str] = field(default_factory=dict)
    paths: set[Path] = field(default_factory=set)

    def follow(self, tree: ast.AST, package: tuple[str, ...]) -> None:
        """Take in all that a file of `package` imports."""
        for names in _imported(tree, package):
            self._take(names)

    def _take(self, names: tuple[str, ...]) -> None:
        """Take in the module `names` with the packages above it, as far as they are here."""
        for count in range(1, len(names) + 1):
            part = names[:count]
            if part == (self.own,):
                return
            stem = self.folder.joinpath(*part)
            package, module = stem / "__init__.py", stem.with_suffix(".py")
            self.paths |= {package, module}
            if package.is_file():
                self._read(package, part)
            elif module.is_file():
                self._read(module, part[:-1])
                return
            elif not stem.is_dir():
                return

    def _read(self, path: Path, package: tuple[str, ...]) -> None:
        key = path.relative_to(self.folder).as_posix()
        if key in self.files:
            return
        self.paths.add(path.resolve())
        self.files[key] = text = _text(path, key)
        try:
            tree = ast.parse(text)
        except (SyntaxError, ValueError):
            return  # loading it says what is wrong
        self.follow(tree, package)


def _imported(tree: ast.AST, package: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """The modules that the import statements of a file may mean, inside functions too."""
    todo: list[Any] = [tree]
    while todo:
        node = todo.pop()
        if isinstance(node, ast.Import):
            for alias in node.names:
                names = tuple(alias.name.split("."))
                if names[0] not in ELSEWHERE:
                    yield names
        elif isinstance(node, ast.ImportFrom):
            names = tuple(node.module.split(".")) if node.module else ()
            if node.level:
                above = len(package) - node.level + 1
                if above < 0:
                    continue
                names = (*package[:above], *names)
            elif not names or names[0] in ELSEWHERE:
                continue
            if names:
                yield names
            for alias in node.names:
                yield (*names, alias.name)
        elif isinstance(node, ast.If) and _is_for_checkers(node.test):
            todo += node.orelse
        else:  # only statements hold statements, so expressions need no look
            for part in ("body", "orelse", "finalbody", "handlers", "cases"):
                todo += getattr(node, part, ())


def _is_for_checkers(test: ast.expr) -> bool:
    """Whether `if test:` is `if TYPE_CHECKING:`, which no run enters."""
    return "TYPE_CHECKING" in {getattr(test, "id", None), getattr(test, "attr", None)}


def _text(path: Path, what: str) -> str:
    """The text of a Python file, in the encoding that it says. Raises ComponentError."""
    try:
        return importlib.util.decode_source(path.read_bytes())
    except OSError as error:
        raise ComponentError(what, [f"{_shown(path)} cannot be read: {error.strerror}"]) from None
    except (UnicodeDecodeError, SyntaxError) as error:
        raise ComponentError(
            what,
            [f"{_shown(path)} has no text in the encoding that it says: {error}"],
            hint="save it as UTF-8",
        ) from None


def _parsed(text: str, name: str, path: Path) -> ast.Module:
    filename = f"<{_shown(path)}>"
    if not text.strip():
        raise ComponentError(name, [f"{_shown(path)} is empty"])
    try:
        return ast.parse(text, filename)
    except SyntaxError as error:
        line = (error.text or "").strip()
        refusal = ComponentError(
            name, [f"line {error.lineno}: {error.msg}: {line}"], line=error.lineno
        )
        refusal.texts = {filename: text}
        raise refusal from error
    except ValueError as error:  # it holds a null byte
        raise ComponentError(name, [f"{_shown(path)} is no Python: {error}"]) from None


def _checked(name: str, path: Path) -> str:
    if NAME.match(name):
        return name
    raise ComponentError(
        name,
        [f"{_shown(path)}: a component's name is lower case letters, digits, - and _"],
        hint="rename the file, or give NAME VERSION",
    )


def _version(tree: ast.Module, name: str, path: Path) -> str:
    """What the file assigns to `__version__` at its top level."""
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
        [f"{_shown(path)} says no version"],
        hint='write __version__ = "1.0.0" at its top, or give NAME VERSION',
    )


def _shown(path: Path) -> str:
    """A path as people write it: from the working directory when it is in there."""
    try:
        return str(path.relative_to(Path.cwd()))
    except (ValueError, OSError):
        return os.fspath(path)
