"""Private keys of those who sign: a file each, for its owner's eyes only."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from aegis.core.errors import ConfigError, ConflictError, InvalidError, NotFoundError, closest
from aegis.core.signature import key_text

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

ENDING = ".pem"
MOST = 1 << 16  # bytes of a key file
_NAME = re.compile(r"^[a-z0-9][a-z0-9_-]{0,63}$")


class Key(msgspec.Struct, frozen=True, kw_only=True):
    """A key as it is listed; `public` is None where a passphrase hides it."""

    name: str
    public: str | None


def directory_of(environment: dict[str, str] | None = None) -> Path:
    """Where a person's keys are: `aegis/keys` in the folder for configuration."""
    said = dict(os.environ) if environment is None else environment
    config = Path(said.get("XDG_CONFIG_HOME", ""))
    base = config if config.is_absolute() else Path.home() / ".config"
    return base / "aegis" / "keys"


class KeyFiles:
    """The private keys in a directory, each in PKCS 8 in a file of its own, of mode 0600."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def new(self, name: str, passphrase: str | None = None) -> str:
        """Make a key; its public half. Raises ConflictError when there is one, ConfigError."""
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        path = self._path(name)
        key = Ed25519PrivateKey.generate()
        lock: serialization.KeySerializationEncryption = serialization.NoEncryption()
        if passphrase is not None:
            if not passphrase:
                raise InvalidError("an empty passphrase hides nothing")
            lock = serialization.BestAvailableEncryption(passphrase.encode())
        text = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, lock
        )
        try:
            self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except FileExistsError:
            raise ConflictError(f"there is a key {name!r} already", hint=str(path)) from None
        except OSError as error:
            raise ConfigError(f"{path} cannot be written: {error.strerror}") from None
        with os.fdopen(file, "wb") as out:
            out.write(text)
            out.flush()
            os.fsync(out.fileno())
        return _public(key)

    def open(self, name: str, passphrase: str | None = None) -> Ed25519PrivateKey:
        """A private key. Raises NotFoundError, ConfigError, InvalidError for a wrong passphrase."""
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
        from cryptography.hazmat.primitives.serialization import load_pem_private_key

        path = self._path(name)
        text = self._read(name, path)
        secret = None if passphrase is None else passphrase.encode()
        try:
            key = load_pem_private_key(text, secret)
        except TypeError:
            if passphrase is None:
                raise LockedError(
                    f"the key {name!r} has a passphrase", hint="say it in AEGIS_KEY_PASSPHRASE"
                ) from None
            return self.open(name)  # it has none, and that is no mistake
        except (ValueError, UnsupportedAlgorithm) as error:
            if passphrase is not None and b"ENCRYPTED" in text:
                raise InvalidError(f"the passphrase of the key {name!r} is another one") from None
            raise ConfigError(f"{path} is no private key: {error}") from None
        if not isinstance(key, Ed25519PrivateKey):
            raise ConfigError(f"{path} is a key of another kind: only Ed25519 signs components")
        return key

    def names(self) -> list[str]:
        """The names of the keys there are, sorted."""
        found = self.directory.glob(f"*{ENDING}")
        return sorted(path.stem for path in found if _NAME.match(path.stem))

    def only(self) -> str:
        """The name of the one key there is. Raises NotFoundError, InvalidError."""
        names = self.names()
        if not names:
            raise NotFoundError(
                f"there is no key in {self.directory}", hint="`aegis keys new NAME` makes one"
            )
        if len(names) > 1:
            raise InvalidError("there are several keys", hint=f"--key is one of {', '.join(names)}")
        return names[0]

    def listed(self) -> list[Key]:
        """The keys there are, by name. Raises ConfigError for one that others may read."""
        found = []
        for name in self.names():
            try:
                public: str | None = self.public(name)
            except LockedError:
                public = None
            found.append(Key(name=name, public=public))
        return found

    def public(self, name: str, passphrase: str | None = None) -> str:
        """The public half of a key. Raises what `open` does."""
        return _public(self.open(name, passphrase))

    def _path(self, name: str) -> Path:
        if not _NAME.match(name):
            raise InvalidError(
                f"{name[:80]!r} is no name of a key", hint="lower case letters, digits, - and _"
            )
        return self.directory / f"{name}{ENDING}"

    def _read(self, name: str, path: Path) -> bytes:
        try:
            file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            raise NotFoundError(
                f"there is no key {name!r} in {self.directory}",
                hint=closest(name, self.names()) or f"`aegis keys new {name}` makes it",
            ) from None
        except OSError as error:
            raise ConfigError(f"{path} cannot be read: {error.strerror}") from None
        with os.fdopen(file, "rb") as read:
            mode = stat.S_IMODE(os.fstat(file).st_mode)
            if mode & 0o077:
                raise ConfigError(
                    f"{path} has mode {mode:04o}: others may read the key in it",
                    hint=f"chmod 600 {path}",
                )
            return read.read(MOST)


class LockedError(InvalidError):
    """A key file needs a passphrase and none was given."""

    title = "Key locked"


def _public(key: Ed25519PrivateKey) -> str:
    return key_text(key.public_key().public_bytes_raw())
