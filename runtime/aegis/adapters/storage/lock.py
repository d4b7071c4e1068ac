"""The owner of a data directory: a lock that ends with its process and says who holds it."""

from __future__ import annotations

import fcntl
import os
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from aegis.core.errors import OwnedError, StoreError

NAME = "owner.lock"


class Owner(msgspec.Struct):
    """Who holds a data directory. `address` is empty until its server listens."""

    pid: int
    started: str
    address: str = ""


def owner(directory: Path) -> OwnedError | None:
    """Who owns a data directory, as whoever wants it too is told; None when nobody does."""
    lock = OwnerLock(directory)
    try:
        lock.release(clean=lock.acquire())
    except OwnedError as owned:
        return owned
    return None


class OwnerLock:
    """The exclusive right to one data directory, held by an flock on `owner.lock` in it.

    The kernel lets go of it when the process ends, however it ends. What the file holds is for
    people, and tells the next owner whether the last one got as far as `release`.
    """

    def __init__(self, directory: Path) -> None:
        self._path = directory / NAME
        self._file = -1
        self._owner = Owner(pid=os.getpid(), started="")

    def acquire(self) -> bool:
        """Take the directory; whether its last owner released it (a new one counts as released).

        Raises OwnedError naming the owner, StoreError when the file cannot be locked.
        """
        try:
            file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StoreError(f"cannot open {self._path}: {error.strerror}") from error
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            released = os.fstat(file).st_size == 0
        except OSError as error:
            about = os.pread(file, 4096, 0)
            os.close(file)
            if isinstance(error, BlockingIOError):
                raise self._owned(about) from None
            raise StoreError(f"cannot lock {self._path}: {error.strerror}") from error
        self._file = file
        self._owner = Owner(
            pid=os.getpid(), started=datetime.now(UTC).isoformat(timespec="seconds")
        )
        self._write()
        os.fsync(file)  # a power cut must not make the next owner think that all was well
        return released

    def announce(self, address: str) -> None:
        """Add the address of the owner's server."""
        self._owner.address = address
        if self._file >= 0:
            self._write()

    def release(self, *, clean: bool) -> None:
        """Let go; `clean` when nothing was left half done. Safe to call twice."""
        file, self._file = self._file, -1
        if file >= 0:
            if clean:
                os.ftruncate(file, 0)
            fcntl.flock(file, fcntl.LOCK_UN)  # closing is not enough while a forked child lives
            os.close(file)

    def _write(self) -> None:
        text = msgspec.json.encode(self._owner) + b"\n"
        os.pwrite(self._file, text, 0)
        os.ftruncate(self._file, len(text))

    def _owned(self, about: bytes) -> OwnedError:
        directory = self._path.parent
        hint = "stop that host, or choose another data directory"
        try:
            owner = msgspec.json.decode(about, type=Owner)
        except msgspec.DecodeError:  # it has the lock and has not yet written its name
            return OwnedError(f"{directory} is in use by another process", hint=hint)
        where = f" serving at {owner.address}" if owner.address else ""
        return OwnedError(
            f"{directory} is in use by process {owner.pid}{where}, since {owner.started}",
            hint=hint,
            pid=owner.pid,
            address=owner.address,
        )
