"""What was fetched once: kept by the SHA-256 of its bytes, and checked again when it is read."""

from __future__ import annotations

import hashlib
import secrets
from collections import OrderedDict
from pathlib import Path

from aegis.core.errors import StoreError
from aegis.core.manifest import DIGEST

MOST = 128 << 20  # bytes that are kept in memory


class Cache:
    """Bytes by their digest, and the digest of what was at an address that never changes.

    They are in files of `folder`, which may be deleted at any time, or in memory without one.
    What is damaged there is not found.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        self._kept: OrderedDict[str, bytes] = OrderedDict()

    def get(self, digest: str) -> bytes | None:
        """The bytes with a digest, None when they are not here."""
        content = self._read(digest)
        if content is None or hashlib.sha256(content).hexdigest() != digest:
            return None
        return content

    def put(self, content: bytes) -> str:
        """Keep bytes; their digest. Raises StoreError."""
        digest = hashlib.sha256(content).hexdigest()
        self._write(digest, content)
        return digest

    def found(self, url: str) -> bytes | None:
        """What was at an address that never changes, None when that is not here."""
        said = self._read(_key(url))
        digest = b"" if said is None else said
        text = digest.decode("ascii", "replace")
        return self.get(text) if DIGEST.match(text) else None

    def had(self, what: str) -> bool:
        """Whether something of a digest or an address is here, be it damaged or not."""
        return self._read(what if DIGEST.match(what) else _key(what)) is not None

    def note(self, url: str, content: bytes) -> None:
        """Keep what is at an address that never changes. Raises StoreError."""
        self._write(_key(url), self.put(content).encode())

    def _read(self, name: str) -> bytes | None:
        if self._folder is None:
            if name in self._kept:
                self._kept.move_to_end(name)
            return self._kept.get(name)
        try:
            return (self._folder / name).read_bytes()
        except OSError:
            return None

    def _write(self, name: str, content: bytes) -> None:
        if self._folder is None:
            self._kept[name] = content
            self._kept.move_to_end(name)
            while sum(map(len, self._kept.values())) > MOST:
                self._kept.popitem(last=False)
            return
        # Whoever reads meanwhile, in whichever process, sees all of it or nothing.
        part = self._folder / f"{name}.{secrets.token_hex(8)}"
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            try:
                part.write_bytes(content)
                part.replace(self._folder / name)
            finally:
                part.unlink(missing_ok=True)
        except OSError as error:
            raise StoreError(
                f"what was fetched cannot be kept in {self._folder}: {error.strerror}"
            ) from error


def _key(url: str) -> str:
    return f"at-{hashlib.sha256(url.encode()).hexdigest()}"
