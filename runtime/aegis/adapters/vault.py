"""Keys of sealed fields: AES-256-GCM with keys from a file beside the data, or of this process."""

from __future__ import annotations

import base64
import hashlib
import hmac
import logging
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import msgspec

from aegis.core.errors import ConfigError, SealError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

FILE = "fields.key"
KEY = "keys.fields"
BYTES = 32
NONCE = 12
_ID = 4  # bytes of a key's id
_ABOUT = b"aegis fields.key"

_log = logging.getLogger("aegis.host")


class Ring(msgspec.Struct, frozen=True):
    """All keys: `index` makes hashes and never changes, `keys` seal, of them the `current` one."""

    index: bytes
    keys: dict[str, bytes]
    current: str


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The key file: a ring, or one that opens with the key that the configuration names."""

    ring: Ring | None = None
    locked: bytes | None = None


class Keeper(Protocol):
    """Where the keys of a vault are kept."""

    def load(self) -> Ring | None:
        """The keys, None when there are none yet. Raises ConfigError."""
        ...

    def save(self, ring: Ring) -> None:
        """Keep these, durably, in the place of what was there. Raises ConfigError."""


class AesVault:
    """Seals fields (see core.sealing.Vault) with keys that are asked for at the first use."""

    def __init__(self, keeper: Keeper) -> None:
        self._keeper = keeper
        self._ring: Ring | None = None
        self._known: dict[str, AESGCM] = {}

    def ready(self, *, make: bool) -> None:
        """Have the keys at hand, with `make` new ones where there are none. Raises ConfigError."""
        if self._ring is not None:
            return
        ring = self._keeper.load()
        if ring is None:
            if not make:
                raise ConfigError(
                    f"there is no {FILE}, the keys that stored fields were sealed with",
                    hint="restore it from a backup: without it they cannot be read",
                )
            id, key = _made()
            ring = Ring(os.urandom(BYTES), {id: key}, id)
            self._keeper.save(ring)
        self._ring = ring

    def seal(self, data: bytes, about: bytes) -> tuple[str, bytes]:
        """The id of the key that is current, and `data` sealed with it."""
        ring = self._asked()
        nonce = os.urandom(NONCE)
        return ring.current, nonce + self._aes(ring.current).encrypt(nonce, data, about)

    def open(self, key: str, sealed: bytes, about: bytes) -> bytes:
        """What was sealed. Raises SealError for another key, damage, another `about`."""
        from cryptography.exceptions import InvalidTag

        if key not in self._asked().keys:
            raise SealError(
                f"a field was sealed with the key {key}, which is not in {FILE}",
                hint="restore the file of then, or import on the host that it was exported from",
                key=key,
            )
        try:
            return self._aes(key).decrypt(sealed[:NONCE], sealed[NONCE:], about)
        except InvalidTag as error:
            raise SealError(
                "a sealed field does not open: it is damaged, or was sealed for another place"
            ) from error

    def token(self, data: bytes, about: bytes) -> str:
        """What stands for `data` where it must not be seen; new keys change nothing of it."""
        text = len(about).to_bytes(4) + about + data
        return base64.b64encode(hmac.digest(self._asked().index, text, "sha256")).decode()

    def rotate(self) -> str:
        """Seal with a new key from now on, whose id is returned; what was sealed still opens."""
        ring = self._asked()
        id, key = _made()
        changed = Ring(ring.index, {**ring.keys, id: key}, id)
        self._keeper.save(changed)
        self._ring = changed
        return id

    def _asked(self) -> Ring:
        if self._ring is None:
            self.ready(make=False)
        assert self._ring is not None  # noqa: S101 -- ready() has seen to it, or raised
        return self._ring

    def _aes(self, id: str) -> AESGCM:
        known = self._known.get(id)
        if known is None:
            from cryptography.hazmat.primitives.ciphers.aead import AESGCM

            known = self._known[id] = AESGCM(self._asked().keys[id])
        return known


def _made() -> tuple[str, bytes]:
    """A new key; its id says which it is, and nothing of it."""
    key = os.urandom(BYTES)
    return hashlib.sha256(b"aegis fields" + key).hexdigest()[: 2 * _ID], key


class MemoryKeeper:
    """Keys that nobody else knows, for as long as the process lives."""

    def __init__(self) -> None:
        self._ring: Ring | None = None

    def load(self) -> Ring | None:
        """The keys, None when there are none yet."""
        return self._ring

    def save(self, ring: Ring) -> None:
        """Keep these."""
        self._ring = ring


class FileKeeper:
    """Keys in a file of the data directory, private to its owner.

    With `lock`, a key of 32 bytes, what is in the file opens with that only.
    """

    def __init__(self, directory: Path, lock: Callable[[], bytes] | None = None) -> None:
        self._path = directory / FILE
        self._lock = lock

    def load(self) -> Ring | None:
        """The keys, None when there is no file. Raises ConfigError naming it."""
        try:
            file = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise ConfigError(f"{self._path} cannot be read: {error.strerror}") from error
        with os.fdopen(file, "rb") as read:
            mode = stat.S_IMODE(os.fstat(file).st_mode)
            if mode & 0o077:
                raise ConfigError(
                    f"{self._path} has mode {mode:04o}: others may read the keys in it",
                    hint=f"chmod 600 {self._path}",
                )
            text = read.read()
        try:
            found = msgspec.json.decode(text, type=_File)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise self._wrong("is damaged") from error
        if found.locked is not None:
            return self._unlocked(found.locked)
        if found.ring is None or found.ring.current not in found.ring.keys:
            raise self._wrong("is damaged")
        if self._lock is not None:
            self.save(found.ring)  # from now on it needs the key of the configuration
        return found.ring

    def save(self, ring: Ring) -> None:
        """Write a new file in the place of the old one. Raises ConfigError."""
        is_new = not self._path.exists()
        part = self._path.with_name(f".{FILE}.{os.getpid()}.part")
        try:
            file = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            with os.fdopen(file, "wb") as write:
                write.write(self._text(ring))
                write.flush()
                os.fsync(write.fileno())
            part.rename(self._path)
            folder = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        except OSError as error:
            raise ConfigError(f"{self._path} cannot be written: {error.strerror}") from error
        if is_new:
            _log.warning("made %s, the keys of sealed fields: they are lost without it", self._path)

    def _text(self, ring: Ring) -> bytes:
        if self._lock is None:
            return msgspec.json.encode(_File(ring=ring))
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        nonce = os.urandom(NONCE)
        locked = nonce + AESGCM(self._lock()).encrypt(nonce, msgspec.json.encode(ring), _ABOUT)
        return msgspec.json.encode(_File(locked=locked))

    def _unlocked(self, locked: bytes) -> Ring:
        from cryptography.exceptions import InvalidTag
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        if self._lock is None:
            raise self._wrong(f"is locked: the configuration must name its key as {KEY}")
        try:
            text = AESGCM(self._lock()).decrypt(locked[:NONCE], locked[NONCE:], _ABOUT)
        except (InvalidTag, ValueError) as error:
            raise self._wrong(f"does not open with the key that {KEY} is") from error
        return msgspec.json.decode(text, type=Ring)

    def _wrong(self, what: str) -> ConfigError:
        return ConfigError(
            f"{self._path} {what}",
            hint="give the key of then, or restore the file from a backup: without the keys in it "
            "sealed fields cannot be read",
        )
