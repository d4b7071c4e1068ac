"""Seals what should not lie about in the clear: AES-256-GCM, with a key from outside or a file."""

from __future__ import annotations

import base64
import binascii
import hashlib
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from aegis.core.errors import ConfigError, RecordingError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

FILE = "recordings.key"
BYTES = 32
NONCE = 12
# Randomness drawn at a time: who asks the system lets go of the interpreter, and waits for it.
POOL = 256 * NONCE
_FORM = b"\x01"  # the first byte of a sealed text, then the id of its key, then the nonce
_ID = 4

_log = logging.getLogger("aegis.host")


class AesCipher:
    """Seals with one key (see protocols.Cipher). `key` is asked for it at the first use."""

    def __init__(self, key: Callable[[], bytes]) -> None:
        self._key = key
        self._known: tuple[AESGCM, bytes] | None = None
        self._pid = 0
        self._pool = b""
        self._used = POOL

    def seal(self, data: bytes, about: bytes) -> bytes:
        """`data` so that only the key opens it, and only as what it is `about`."""
        aes, head = self._known or self._ready()
        if self._used == POOL or self._pid != os.getpid():  # a child has its parent's pool
            self._pid, self._pool, self._used = os.getpid(), os.urandom(POOL), 0
        nonce = self._pool[self._used : self._used + NONCE]
        self._used += NONCE
        return head + nonce + aes.encrypt(nonce, data, about)

    def open(self, sealed: bytes, about: bytes) -> bytes:
        """What was sealed. Raises RecordingError for another key, damage, or another `about`."""
        aes, head = self._known or self._ready()
        if len(sealed) < len(head) + NONCE or sealed[:1] != head[:1]:
            raise RecordingError("a recording is damaged: it has not the form of a sealed one")
        if sealed[: len(head)] != head:
            raise RecordingError(
                "a recording was sealed with another key",
                hint=f"give the key of then as keys.recordings, or as {FILE} in the data directory",
            )
        from cryptography.exceptions import InvalidTag

        nonce, rest = sealed[len(head) : len(head) + NONCE], sealed[len(head) + NONCE :]
        try:
            return aes.decrypt(nonce, rest, about)
        except InvalidTag as error:
            raise RecordingError("a recording is damaged: it does not open") from error

    def _ready(self) -> tuple[AESGCM, bytes]:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        key = self._key()
        # The id says which key it was, and nothing of it.
        id = hashlib.sha256(b"aegis recordings" + key).digest()[:_ID]
        self._known = (AESGCM(key), _FORM + id)
        return self._known


def random_key() -> Callable[[], bytes]:
    """A key that nobody else knows, for as long as the process lives."""
    key = os.urandom(BYTES)
    return lambda: key


def given_key(text: str, name: str = "keys.recordings") -> Callable[[], bytes]:
    """The key that a configuration says: 32 bytes in base64 or hex. Raises ConfigError."""
    key = b""
    try:
        hexed = len(text) == 2 * BYTES
        key = bytes.fromhex(text) if hexed else base64.b64decode(text, validate=True)
    except (ValueError, binascii.Error):
        pass
    if len(key) != BYTES:
        raise ConfigError(
            f"{name} is no key of 32 bytes in base64 or hex",
            hint="make one: openssl rand -base64 32",
        )
    return lambda: key


def kept_key(directory: Path) -> Callable[[], bytes]:
    """The key in a file of the data directory, private to its owner; made when there is none."""
    return lambda: _kept(directory / FILE)


def _kept(path: Path) -> bytes:
    try:
        key = path.read_bytes()
    except FileNotFoundError:
        return _made(path)
    if len(key) != BYTES:
        raise ConfigError(
            f"{path} is no key: it has {len(key)} bytes instead of {BYTES}",
            hint="restore it from a backup, or delete it: recordings made with it are lost then",
        )
    return key


def _made(path: Path) -> bytes:
    key = os.urandom(BYTES)
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        os.write(file, key)
        os.fsync(file)
    finally:
        os.close(file)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
    _log.warning("made %s, the key of what adapters answered: keep it as safe as the data", path)
    return key
