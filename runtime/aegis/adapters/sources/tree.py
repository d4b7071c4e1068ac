"""The files that a source has, by path: at hand in memory, or in a folder of this machine."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Protocol

import msgspec

from aegis.core.code import Folder, text_of
from aegis.core.errors import ManifestError, SourceError
from aegis.core.manifest import WASM, is_inside

# Files that are a component, or several.
WHOLE = (".whl", ".zip", *WASM)


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """How much a source may be: files, bytes of one and of all, and how far they may be packed.

    A whole component in one file (a zip, a wheel, a module) may be as large as all files together.

    `connect` and `read` are seconds without an answer, `deadline` those for one fetch in all;
    `pages` of lists are read at most, `hops` of redirects are followed, `at_once` files asked for.
    """

    files: int = 10_000
    file: int = 16 << 20
    total: int = 64 << 20
    ratio: int = 200
    connect: float = 10.0
    read: float = 20.0
    deadline: float = 300.0
    pages: int = 20
    hops: int = 5
    at_once: int = 6


class Tree(Folder, Protocol):
    """A folder with the bytes of its files."""

    def content(self, path: str) -> bytes:
        """The bytes of a file. Raises SourceError, ManifestError."""
        ...

    def names(self) -> Sequence[str]:
        """The files right in it, sorted."""
        ...

    def below(self, path: str) -> Tree:
        """One of its folders as a tree of its own."""
        ...


class MemoryTree(Tree):
    """Files at hand. `refused` are paths that a source has and nobody may use, and why."""

    def __init__(
        self, files: Mapping[str, bytes], refused: Mapping[str, str] | None = None, where: str = ""
    ) -> None:
        self._files = files
        self._refused = refused or {}
        self._where = where
        self._folders = {str(above) for path in files for above in PurePosixPath(path).parents}

    def is_file(self, path: str) -> bool:
        """Whether it is one of them. Raises ManifestError for what is refused."""
        self._check(path)
        return path in self._files

    def is_folder(self, path: str) -> bool:
        """Whether one of them is in it. Raises ManifestError for what is refused."""
        self._check(path)
        return path in self._folders

    def text(self, path: str) -> str:
        """Its text. Raises ComponentError."""
        return text_of(self.content(path), path)

    def content(self, path: str) -> bytes:
        """Its bytes. Raises SourceError, and ManifestError for what is refused."""
        if not self.is_file(path):
            raise SourceError(f"{self._where}: there is no file {path!r}")
        return self._files[path]

    def names(self) -> Sequence[str]:
        """The files right in it."""
        return sorted(path for path in self._files if "/" not in path)

    def below(self, path: str) -> MemoryTree:
        """One of its folders. Raises SourceError."""
        if not path:
            return self
        if not self.is_folder(path):
            raise SourceError(f"{self._where}: there is no folder {path!r}")
        start = f"{path}/"
        return MemoryTree(
            {k[len(start) :]: v for k, v in self._files.items() if k.startswith(start)},
            {k[len(start) :]: v for k, v in self._refused.items() if k.startswith(start)},
            self._where,
        )

    @property
    def folders(self) -> Sequence[str]:
        """The folders right in it, sorted."""
        return sorted({path.split("/")[0] for path in self._files if "/" in path})

    def _check(self, path: str) -> None:
        if not self._refused:
            return
        parts = path.split("/")
        for count in range(1, len(parts) + 1):
            part = "/".join(parts[:count])
            if part in self._refused:
                raise ManifestError(f"{self._where}: {part} {self._refused[part]}")


class Directory(Tree):
    """A folder of this machine, read file by file as they are asked for."""

    def __init__(self, root: Path, limits: Limits) -> None:
        self._root = root
        self._limits = limits

    def is_file(self, path: str) -> bool:
        """Whether it is a file now; links on one's own machine are one's own."""
        return (self._root / path).is_file()

    def is_folder(self, path: str) -> bool:
        """Whether it is a folder now."""
        return (self._root / path).is_dir()

    def text(self, path: str) -> str:
        """Its text. Raises SourceError, ComponentError."""
        return text_of(self.content(path), path)

    def content(self, path: str) -> bytes:
        """Its bytes. Raises SourceError."""
        file = self._root / path
        if not file.is_file():
            raise SourceError(f"there is no file {file}")
        most = self._limits.total if path.endswith(WHOLE) else self._limits.file
        try:
            with file.open("rb") as opened:
                content = opened.read(most + 1)
        except OSError as error:
            raise SourceError(f"{file} cannot be read: {error.strerror}") from None
        if len(content) > most:
            raise ManifestError(f"{file} is larger than {most >> 20} MiB")
        return content

    def names(self) -> Sequence[str]:
        """The files right in it. Raises SourceError."""
        try:
            with os.scandir(self._root) as entries:
                return sorted(entry.name for entry in entries if entry.is_file())
        except OSError as error:
            raise SourceError(f"{self._root} cannot be read: {error.strerror}") from None

    def below(self, path: str) -> Directory:
        """One of its folders."""
        return Directory(self._root / path, self._limits)


class Taking:
    """Takes in the files of an archive, within limits, and none that would lead out of its folder.

    With `strict` a link, or a name that another one has in other case, refuses the archive;
    without, only whoever uses it is refused.
    """

    def __init__(self, where: str, limits: Limits, *, strict: bool) -> None:
        self._where = where
        self._limits = limits
        self._strict = strict
        self._left = limits.total
        self._folded: dict[str, str] = {}
        self._files: dict[str, bytes] = {}
        self._refused: dict[str, str] = {}

    def name(self, path: str) -> str:
        """A path that may be taken. Raises ManifestError for one that leads elsewhere."""
        if not is_inside(path):
            raise self.error(f"{path[:200]!r} leads out of its folder, or is no path anywhere")
        if len(self._folded) >= self._limits.files:
            raise self.error(f"has more than {self._limits.files:,} files")
        folded = unicodedata.normalize("NFC", path).casefold()
        if folded in self._folded:
            other = self._folded[folded]
            if path == other:
                raise self.error(f"has {path!r} twice")
            self.refuse(path, f"and {other} are the same where case does not matter")
            self._refused.setdefault(other, f"and {path} are the same where case does not matter")
        self._folded.setdefault(folded, path)
        return path

    def room(self, path: str, size: int) -> bool:
        """Whether a file of `size` bytes may be taken. Raises ManifestError."""
        if size > self._left:
            raise self.error(f"is more than {self._limits.total >> 20} MiB unpacked")
        if size > self._limits.file and not path.endswith(WASM):
            self.refuse(path, f"is larger than {self._limits.file >> 20} MiB")
            return False
        return path not in self._refused

    def take(self, path: str, content: bytes) -> None:
        """Take in a file."""
        self._left -= len(content)
        self._files[path] = content

    def refuse(self, path: str, why: str) -> None:
        """Refuse what is at a path. Raises ManifestError where all of it is refused with it."""
        if self._strict:
            raise self.error(f"{path} {why}")
        self._refused[path] = why

    def error(self, what: str) -> ManifestError:
        """What to raise of the archive."""
        return ManifestError(f"{self._where}: {what}")

    def tree(self) -> MemoryTree:
        """What was taken. Raises ManifestError for a file that is a folder, too."""
        tree = MemoryTree(self._files, self._refused, self._where)
        for path in self._files:
            for above in PurePosixPath(path).parents:
                if str(above) in self._files:
                    raise self.error(f"{above} is a file and a folder")
        return tree
