"""The pins of one host: a file of its data directory that the command `aegis keys` writes."""

from __future__ import annotations

import fcntl
import os
import stat
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from aegis.core.errors import ConfigError, InvalidError, NotFoundError, closest
from aegis.core.trust import Allowed, Trusted

NAME = "trust.json"
MOST = 1 << 20  # bytes

_Stamp = tuple[int, int, int]


class _File(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the file says; `by` is whoever wrote it last."""

    format: int = 1
    by: str = ""
    pins: dict[str, tuple[str, ...]] = {}
    older: tuple[Allowed, ...] = ()


class PinFile:
    """The pins in a data directory. Many may write it, one after the other; a host rereads it."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / NAME
        self._known: tuple[_Stamp | None, _File] | None = None

    def read(self) -> Trusted:
        """What the file says now, nothing without one. Raises ConfigError naming what is wrong."""
        said = self._read()
        return Trusted(pins=said.pins, older=said.older)

    @property
    def by(self) -> str:
        """Whoever wrote it last."""
        return self._read().by

    def pin(self, source: str, key: str, by: str) -> None:
        """Let a key sign what comes from a source. Raises InvalidError, ConfigError."""
        Trusted(pins={source: (key,)}).check()

        def change(said: _File) -> _File:
            keys = tuple(dict.fromkeys((*said.pins.get(source, ()), key)))
            return msgspec.structs.replace(said, by=by, pins={**said.pins, source: keys})

        self._change(change)

    def unpin(self, source: str, key: str, by: str) -> None:
        """Let it do so no more. Raises NotFoundError for a pin that there is not, ConfigError."""

        def change(said: _File) -> _File:
            if key not in said.pins.get(source, ()):
                raise NotFoundError(
                    f"{key} is not pinned for {source!r}", hint=closest(source, said.pins)
                )
            left = tuple(one for one in said.pins[source] if one != key)
            pins = {name: keys for name, keys in said.pins.items() if name != source}
            return msgspec.structs.replace(
                said, by=by, pins={**pins, source: left} if left else pins
            )

        self._change(change)

    def allow(self, one: Allowed, by: str) -> None:
        """Let an older version be deployed. Raises InvalidError, ConfigError."""
        Trusted(older=(one,)).check()
        self._change(
            lambda said: msgspec.structs.replace(
                said, by=by, older=tuple(dict.fromkeys((*said.older, one)))
            )
        )

    def disallow(self, one: Allowed, by: str) -> None:
        """Do not let it be any more. Raises NotFoundError, ConfigError."""

        def change(said: _File) -> _File:
            if one not in said.older:
                raise NotFoundError(f"{one.component}@{one.version} of {one.source} is not allowed")
            left = tuple(other for other in said.older if other != one)
            return msgspec.structs.replace(said, by=by, older=left)

        self._change(change)

    def _read(self) -> _File:
        try:
            file = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return _File()
        except OSError as error:
            raise ConfigError(f"{self.path} cannot be read: {error.strerror}") from None
        with os.fdopen(file, "rb") as read:
            found = os.fstat(file)
            stamp = (found.st_ino, found.st_size, found.st_mtime_ns)
            if self._known is not None and self._known[0] == stamp:
                return self._known[1]
            mode = stat.S_IMODE(found.st_mode)
            if mode & 0o077:
                raise ConfigError(
                    f"{self.path} has mode {mode:04o}: others may change whom this host trusts",
                    hint=f"chmod 600 {self.path}",
                )
            text = read.read(MOST + 1)
        said = self._decoded(text)
        self._known = (stamp, said)
        return said

    def _decoded(self, text: bytes) -> _File:
        hint = "restore it from a backup, or delete it and pin the keys anew"
        try:
            if len(text) > MOST:
                raise ValueError(f"it is larger than {MOST >> 20} MiB")
            said = msgspec.json.decode(text, type=_File)
            Trusted(pins=said.pins, older=said.older).check()
        except (msgspec.DecodeError, ValueError, InvalidError, RecursionError) as error:
            raise ConfigError(f"{self.path} is damaged: {error}", hint=hint) from None
        if said.format != 1:
            raise ConfigError(f"{self.path} has format {said.format}", hint="update aegis-kernel")
        return said

    def _change(self, change: Callable[[_File], _File]) -> None:
        try:
            with self._alone():
                text = msgspec.json.format(msgspec.json.encode(change(self._read())), indent=2)
                part = self.path.with_name(f".{NAME}.{os.getpid()}.part")
                file = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
                with os.fdopen(file, "wb") as write:
                    write.write(text + b"\n")
                    write.flush()
                    os.fsync(write.fileno())
                part.rename(self.path)
        except OSError as error:
            raise ConfigError(f"{self.path} cannot be written: {error.strerror}") from None

    @contextmanager
    def _alone(self) -> Generator[None]:
        """While nobody else changes it; durable when that ends."""
        folder = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)
            yield
            os.fsync(folder)
        finally:
            os.close(folder)
