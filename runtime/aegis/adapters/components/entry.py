"""What is in a wheel, as `importlib.resources` walks it: files and folders in memory."""

from __future__ import annotations

import io
from collections.abc import Iterator
from importlib.resources.abc import Traversable
from pathlib import PurePosixPath
from typing import Any

from aegis.core.wheel import Wheel


def file_of(wheel: Wheel, path: str) -> str:
    """What tracebacks call a file of a wheel: `python_slugify-8.0.4.whl/slugify/special.py`."""
    return f"{wheel.info.removesuffix('.dist-info')}.whl/{path}"


class Entry(Traversable):
    """A file or a folder of a wheel, without a place on disk."""

    def __init__(self, wheel: Wheel, path: str) -> None:
        self._wheel = wheel
        self._path = path

    @property
    def name(self) -> str:
        """The last part of its path."""
        return PurePosixPath(self._path).name

    def __repr__(self) -> str:
        return f"Entry({file_of(self._wheel, self._path)!r})"

    __str__ = __repr__

    def iterdir(self) -> Iterator[Entry]:
        """What is in the folder."""
        above = f"{self._path}/" if self._path else ""
        inner = {
            path[len(above) :].partition("/")[0]
            for path in self._wheel.files
            if path.startswith(above)
        }
        return (Entry(self._wheel, above + name) for name in sorted(inner))

    def joinpath(self, *descendants: Any) -> Entry:
        """What is at a path from here, there or not."""
        return Entry(self._wheel, str(PurePosixPath(self._path, *map(str, descendants))))

    __truediv__ = joinpath

    def is_file(self) -> bool:
        """Whether it is a file."""
        return self._path in self._wheel.files

    def is_dir(self) -> bool:
        """Whether it is a folder."""
        return not self._path or any(p.startswith(f"{self._path}/") for p in self._wheel.files)

    def read_bytes(self) -> bytes:
        """The file's content. Raises FileNotFoundError."""
        if not self.is_file():
            raise FileNotFoundError(f"{self._wheel.label} has no file {self._path!r}")
        return self._wheel.files[self._path]

    def read_text(self, encoding: str | None = None) -> str:
        """The file's text. Raises FileNotFoundError."""
        return self.read_bytes().decode(encoding or "utf-8")

    def open(self, mode: str = "r", *args: Any, **named: Any) -> Any:
        """The file, for reading. Raises FileNotFoundError."""
        content = io.BytesIO(self.read_bytes())
        return content if "b" in mode else io.TextIOWrapper(content, *args, **named)
