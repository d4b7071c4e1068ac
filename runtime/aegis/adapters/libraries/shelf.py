"""Where wheels are kept: by the SHA-256 of their bytes, in the data directory or in memory."""

from __future__ import annotations

import hashlib
import os
import tempfile
import threading
from pathlib import Path
from weakref import WeakValueDictionary

from aegis.core.component import Library
from aegis.core.errors import DigestError, SourceError
from aegis.core.wheel import Wheel, read_wheel


class Shelf:
    """Keeps wheels; in memory when there is no `folder`. All methods may be called in any thread.

    What is read from disk is checked against its name first, whoever wrote there meanwhile. Wheels
    that revisions use are not read again.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._kept: dict[str, bytes] = {}
        self._open: WeakValueDictionary[str, Wheel] = WeakValueDictionary()
        self._lock = threading.Lock()

    def find(self, sha256: str) -> Wheel | None:
        """The wheel with that digest, None when there is none or only a damaged one."""
        with self._lock:
            wheel = self._open.get(sha256)
            if wheel is None:
                data = self._read(sha256)
                if data is not None and hashlib.sha256(data).hexdigest() == sha256:
                    wheel = self._open[sha256] = read_wheel(data, f"the library {sha256[:12]}")
            return wheel

    def wheel(self, library: Library) -> Wheel:
        """The wheel of a library that was provided once. Raises SourceError, DigestError."""
        wheel = self.find(library.sha256)
        if wheel is not None:
            return wheel
        what = f"the wheel of {library.name} {library.version} (sha256 {library.sha256[:12]}…)"
        again = "deploy the component from its source again, which fetches it"
        if self._read(library.sha256) is None:
            raise SourceError(f"{what} is not kept here", hint=again)
        raise DigestError(f"{what} is damaged: {self._path(library.sha256)}", hint=again)

    def put(self, data: bytes, where: str) -> Wheel:
        """Keep a wheel. Raises SourceError naming `where` for what is no wheel of pure Python."""
        wheel = read_wheel(data, where)
        with self._lock:
            known = self._open.setdefault(wheel.sha256, wheel)
            if self._folder is None:
                self._kept[wheel.sha256] = data
            else:
                self._write(self._folder, wheel.sha256, data)
        return known

    def _read(self, sha256: str) -> bytes | None:
        if self._folder is None:
            return self._kept.get(sha256)
        try:
            return self._path(sha256).read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise SourceError(f"{self._path(sha256)} cannot be read: {error.strerror}") from None

    def _write(self, folder: Path, sha256: str, data: bytes) -> None:
        """Write the file whole or not at all, whatever ends the process."""
        try:
            folder.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(dir=folder, prefix=".", suffix=".part")
            try:
                with os.fdopen(handle, "wb") as file:
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())
                Path(name).replace(self._path(sha256))
            except BaseException:
                Path(name).unlink(missing_ok=True)
                raise
        except OSError as error:
            raise SourceError(f"{folder} cannot be written: {error.strerror}") from None

    def _path(self, sha256: str) -> Path:
        return (self._folder or Path()) / f"{sha256}.whl"
