"""The file aegis.lock: sorted TOML made for diffs, replaced as a whole."""

from __future__ import annotations

import asyncio
import fcntl
import os
import threading
import time
import tomllib
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from aegis.core.errors import ConfigError, NewerFormatError
from aegis.core.lock import Lock, Locked

FORMAT = 1
PATIENCE = 3.0  # seconds that another process may hold the folder
HEAD = (
    "What the components of aegis.toml came to: a start takes exactly these.",
    "`aegis lock` writes it; keep it with aegis.toml.",
)


class TomlLockfile:
    """The lock of the folder that `path` is in. Hosts of one folder share it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._turn = threading.Lock()  # between the threads of one process

    async def read(self) -> Lock:
        """What is locked, by component. Raises ConfigError."""
        return await asyncio.to_thread(self._read)

    async def write(self, change: Callable[[Lock], Lock]) -> Lock:
        """Make of what is locked what `change` makes of it. Raises ConfigError."""
        return await asyncio.to_thread(self._write, change)

    def _read(self) -> Lock:
        try:
            content = self._path.read_bytes()
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise ConfigError(f"{self._path} cannot be read: {error.strerror}") from None
        return read_lock(content, self._path.name)

    def _write(self, change: Callable[[Lock], Lock]) -> Lock:
        try:
            with self._turn, _held(self._path.parent):
                before = self._read()
                after = change(before)
                if after != before:
                    _replace(self._path, written_lock(after))
                return after
        except OSError as error:
            raise ConfigError(f"{self._path} cannot be written: {error.strerror}") from None


def read_lock(content: bytes, name: str) -> dict[str, Locked]:
    """The components of a lock. Raises ConfigError naming the file and what is wrong in it."""
    hint = "mend it, or remove it and let `aegis lock` write another"
    try:
        document = tomllib.loads(content.decode("utf-8"))
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        raise ConfigError(f"{name} cannot be read: {error}", hint=hint) from None
    form = document.pop("format", None)
    if isinstance(form, int) and form > FORMAT:
        raise NewerFormatError(f"{name} has format {form}, and this Aegis knows {FORMAT}")
    try:
        if form != FORMAT:
            raise ConfigError(f"{name} says no format = {FORMAT}", hint=hint)
        return msgspec.convert(document, _Document).components
    except (msgspec.ValidationError, RecursionError) as error:
        raise ConfigError(f"{name}: {error}", hint=hint) from None


class _Document(msgspec.Struct, forbid_unknown_fields=True):
    """All of a lock but its format."""

    components: dict[str, Locked] = {}


def written_lock(lock: Lock) -> bytes:
    """The text of a lock, the same for the same one."""
    import tomlkit

    document = tomlkit.document()
    for line in HEAD:
        document.add(tomlkit.comment(line))
    document.add(tomlkit.nl())
    document.add("format", tomlkit.item(FORMAT))
    components = tomlkit.table(is_super_table=True)
    for name in sorted(lock):
        components.add(name, _table(msgspec.to_builtins(lock[name])))
    if lock:
        document.add("components", components)
    return tomlkit.dumps(document).encode()


def _table(plain: Mapping[str, Any]) -> Any:
    """A component's table, one library a line."""
    import tomlkit

    table = tomlkit.table()
    for key, value in plain.items():
        if key != "libraries":
            table.add(key, value)
            continue
        lines = tomlkit.array()
        for library in sorted(value, key=lambda one: (one["name"], one["sha256"])):
            line = tomlkit.inline_table()
            line.update(library)
            lines.append(line)
        table.add(key, lines.multiline(True))
    return table


@contextmanager
def _held(folder: Path) -> Generator[None, None, None]:
    """Keep other processes from writing a lock in this folder. Raises OSError."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    end = time.monotonic() + PATIENCE
    try:
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.01)
        yield
    finally:
        os.close(descriptor)


def _replace(path: Path, content: bytes) -> None:
    """Put `content` in the place of a file: whoever reads sees the old or the new one, whole."""
    # One name for all, and the folder is held: a process that is killed leaves one file at most.
    new = path.with_name(f".{path.name}.new")
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW
    try:
        with os.fdopen(os.open(new, flags, 0o644), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)
    except BaseException:
        new.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
