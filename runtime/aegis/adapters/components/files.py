"""Component files on this machine: reads one with the files beside it that belong to it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from aegis.core.code import (
    SAYS_VERSION,
    Closure,
    Folder,
    may_be_module,
    named,
    parsed,
    text_of,
    version_of,
)
from aegis.core.component import Source
from aegis.core.errors import ComponentError
from aegis.core.manifest import WASM
from aegis.protocols import Loader


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


def read_component(
    path: Path, name: str | None = None, version: str | None = None, *, loader: Loader | None = None
) -> Reading:
    """Read the component in `path`: named after the file, with the `__version__` it assigns.

    `name` and `version` go before what the file says. Nothing of it is run, but for a module in
    WebAssembly: `loader` asks it what it is.
    """
    path = path.absolute()
    if path.suffix in WASM:
        return _read_module(path, name, version, loader)
    name = name or path.stem
    here = _Directory(path.parent)
    here.paths |= {path, path.resolve()}
    source = error = None
    try:
        text = _text(path, name)
        tree = parsed(text, name, _shown(path))
        imports = Closure(here, path.stem)
        imports.follow(tree)
        source = Source.of(
            named(name, _shown(path)),
            version or version_of(tree, name, _shown(path)),
            text,
            origin=_shown(path),
            imports=imports.files,
        )
    except ComponentError as refusal:
        error = refusal
    return Reading(source=source, error=error, paths=frozenset(here.paths))


def _read_module(
    path: Path, name: str | None, version: str | None, loader: Loader | None
) -> Reading:
    """Read the component in a module, which is all there is of it."""
    shown = _shown(path)
    paths = frozenset({path, path.resolve()})
    try:
        if loader is None:
            raise ComponentError(shown, ["nothing here reads WebAssembly"])
        text, binary = "", _content(path, shown)
        if path.suffix == WASM[1]:
            text = text_of(binary, shown)
            binary = loader.assemble(text, name or path.stem, version or "")
        said = loader.describe(binary, shown)
    except ComponentError as error:
        return Reading(source=None, error=error, paths=paths)
    source = Source.of(
        name or said.name, version or said.version, text, origin=shown, binary=binary
    )
    return Reading(source=source, error=None, paths=paths)


def read_imports(text: str, folder: Path) -> tuple[dict[str, str], frozenset[Path]]:
    """The files in `folder` that a component's `text` imports, and those that they import.

    Their texts by path, and the paths that this depends on. What cannot be parsed imports nothing:
    loading it says what is wrong.
    """
    here = _Directory(folder.absolute())
    return dict(Closure(here).of(text)), frozenset(here.paths)


def component_files(folder: Path) -> list[Path]:
    """The component files in a folder, by name: .py that assign a `__version__`, and modules.

    Of a .wat and the .wasm that it became, which have one stem, only the text counts.
    """
    found = []
    for path in sorted(folder.glob("*.*")):
        is_module = path.suffix in WASM
        if path.name[0] in "._" or not (is_module or path.suffix == ".py"):
            continue
        if path.suffix == WASM[0] and path.with_suffix(WASM[1]).exists():
            continue
        try:
            content = path.read_bytes()
        except OSError:  # it went away, or is a folder, or may not be read
            continue
        if is_module:
            is_component = may_be_module(content)
        else:
            is_component = bool(SAYS_VERSION.search(content.decode("utf-8", "replace")))
        if is_component:
            found.append(path)
    return found


class _Directory(Folder):
    """A folder on this machine; `paths` are those that were asked for, with what they led to."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.paths: set[Path] = set()

    def is_file(self, path: str) -> bool:
        """Whether it is there now; it is noted, for a time when it is."""
        self.paths.add(self.root / path)
        return (self.root / path).is_file()

    def is_folder(self, path: str) -> bool:
        """Whether it is there now."""
        return (self.root / path).is_dir()

    def text(self, path: str) -> str:
        """Its text. Raises ComponentError."""
        self.paths.add((self.root / path).resolve())
        return _text(self.root / path, path)


def _text(path: Path, what: str) -> str:
    """The text of a Python file, in the encoding that it says. Raises ComponentError."""
    return text_of(_content(path, what), _shown(path), what)


def _content(path: Path, what: str) -> bytes:
    """The bytes of a file. Raises ComponentError."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise ComponentError(what, [f"{_shown(path)} cannot be read: {error.strerror}"]) from None


def _shown(path: Path) -> str:
    """A path as people write it: from the working directory when it is in there."""
    try:
        return str(path.relative_to(Path.cwd()))
    except (ValueError, OSError):
        return os.fspath(path)
