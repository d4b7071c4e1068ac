"""What the text of a component's file says: its version, and which files beside it it imports."""

from __future__ import annotations

import ast
import importlib.util
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any, Protocol

from aegis.core.errors import ComponentError
from aegis.core.manifest import NAME, VERSION

# A file that says a version is a component; the others of a folder are imported by components.
SAYS_VERSION = re.compile(r"^__version__\s*(:[^=\n]+)?=", re.MULTILINE)
# Never meant by an absolute import, whatever the file beside the component is called.
ELSEWHERE = sys.stdlib_module_names | {"aegis"}


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
        try:
            self.follow(ast.parse(text), ())
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return {}
        return self.files

    def follow(self, tree: ast.AST, package: tuple[str, ...]) -> None:
        """Take in all that a file of `package` imports."""
        todo = [(tree, package)]
        while todo:  # an import chain may be longer than the stack is deep
            tree, package = todo.pop()
            for names in _imported(tree, package):
                todo += self._taken(names)

    def _taken(self, names: tuple[str, ...]) -> Iterator[tuple[ast.AST, tuple[str, ...]]]:
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
    ) -> Iterator[tuple[ast.AST, tuple[str, ...]]]:
        if path in self.files:
            return
        self.files[path] = text = self.folder.text(path)
        try:
            yield ast.parse(text), package
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return  # loading it says what is wrong


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


def text_of(content: bytes, shown: str, what: str | None = None) -> str:
    """The text of a Python file, in the encoding that it says. Raises ComponentError of `what`."""
    try:
        return importlib.util.decode_source(content)
    except (UnicodeDecodeError, SyntaxError) as error:
        raise ComponentError(
            what or shown,
            [f"{shown} has no text in the encoding that it says: {error}"],
            hint="save it as UTF-8",
        ) from None


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
