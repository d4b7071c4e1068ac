"""Signs a component: the digests of its files into its aegis.toml, a signature beside it."""

from __future__ import annotations

import base64
import hashlib
import os
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from aegis.core.bundle import belonging
from aegis.core.code import Folder, text_of
from aegis.core.errors import ConfigError, ManifestError, NotFoundError
from aegis.core.manifest import FILE, SIGNATURE, TABLE, Manifest, manifest_of, read_manifest
from aegis.core.signature import FORMAT, Signature, Statement, key_text

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

FILES = "files"


def described(content: bytes, files: Mapping[str, bytes]) -> bytes:
    """An aegis.toml with the digests of `files`, and all else in it as its author wrote it.

    Raises ManifestError for one without a `[component]`, or of which that cannot be made.
    """
    import tomlkit
    from tomlkit.exceptions import TOMLKitError

    digests = {path: hashlib.sha256(files[path]).hexdigest() for path in sorted(files)}
    wanted = msgspec.structs.replace(undigested(content), files=digests)
    try:
        document = tomlkit.parse(content)
        table = document[TABLE]
        is_new = FILES not in table
        if is_new:
            table[FILES] = tomlkit.table()
        known = table[FILES]
        for path in [*known]:
            if path not in digests:
                del known[path]
        for path, digest in digests.items():
            if known.get(path) != digest:
                known[path] = digest
        if is_new:
            known.add(tomlkit.nl())  # before what follows
        made = tomlkit.dumps(document).encode()
        found = read_manifest(made)
    except (TOMLKitError, ManifestError, KeyError, TypeError, ValueError) as error:
        raise _unwritable(str(error)) from None
    if found != wanted:
        raise _unwritable("it would say something else then")
    return made.rstrip(b"\n") + b"\n" if is_new else made


def undigested(content: bytes, where: str = FILE) -> Manifest:
    """The manifest in an aegis.toml without its digests, which may be of other files by now.

    Raises ManifestError.
    """
    try:
        table = tomllib.loads(content.decode("utf-8")).get(TABLE)
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        raise ManifestError(f"{where} cannot be read: {error}") from None
    if not isinstance(table, dict):
        raise ManifestError(
            f"{where} has no [{TABLE}]", hint="it says name, version and models = [...]"
        )
    return manifest_of({key: said for key, said in table.items() if key != FILES}, where)


def signature_of(
    key: Ed25519PrivateKey, manifest: bytes, *, signed: str, expires: str | None = None
) -> Signature:
    """The signature of an aegis.toml, made at a time and good until another (RFC 3339, ms, Z)."""
    statement = Statement(
        format=FORMAT,
        key=key_text(key.public_key().public_bytes_raw()),
        signed=signed,
        expires=expires,
    )
    value = base64.b64encode(key.sign(statement.message(manifest))).decode()
    return Signature(**msgspec.structs.asdict(statement), signature=value)


def _unwritable(why: str) -> ManifestError:
    return ManifestError(
        f"{FILE}: [{TABLE}.{FILES}] cannot be written into it: {why}",
        hint=f"write [{TABLE}] as a table with a line for each value",
    )


@dataclass(frozen=True, kw_only=True)
class Done:
    """What was signed: a component, and the paths of the files whose digests are."""

    name: str
    version: str
    files: Sequence[str]
    signature: Signature


def sign(
    folder: Path, key: Ed25519PrivateKey, *, signed: datetime, expires: datetime | None = None
) -> Done:
    """Write the digests of a component's files into its aegis.toml, and aegis.sig beside it.

    These are the files that whoever fetches it takes: those that the manifest names, what they
    import from the folder, and wheels in it. Raises ManifestError, NotFoundError, ComponentError
    for a file that is no text, ConfigError for one that cannot be written.
    """
    if folder.is_file():
        raise ManifestError(
            f"{folder} is a file, and it is its {FILE} that is signed",
            hint=f"sign {folder.parent}, where an {FILE} names it",
        )
    path = folder / FILE
    content = _read(path)
    manifest = undigested(content, str(path))
    names = belonging(manifest, _Directory(folder), str(folder))
    files = {name: _read(folder / name) for name in names}
    made = described(content, files)
    signature = signature_of(
        key, made, signed=stamp(signed), expires=None if expires is None else stamp(expires)
    )
    if made != content:
        _replace(path, made)
    _replace(folder / SIGNATURE, signature.document())
    return Done(
        name=manifest.name, version=manifest.version, files=sorted(files), signature=signature
    )


class _Directory(Folder):
    """The folder of a component."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def is_file(self, path: str) -> bool:
        """Whether there is such a file."""
        return (self._root / path).is_file()

    def is_folder(self, path: str) -> bool:
        """Whether there is such a folder."""
        return (self._root / path).is_dir()

    def text(self, path: str) -> str:
        """Its text. Raises ComponentError, NotFoundError."""
        return text_of(_read(self._root / path), path)


def stamp(time: datetime) -> str:
    """A time as a signature says it."""
    return time.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise NotFoundError(f"{path} cannot be read: {error.strerror}") from None


def _replace(path: Path, content: bytes) -> None:
    """Write a file whole or not at all. Raises ConfigError."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        mode = path.stat().st_mode & 0o777 if path.exists() else 0o644
        part.write_bytes(content)
        part.chmod(mode)
        part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise ConfigError(f"{path} cannot be written: {error.strerror}") from None
