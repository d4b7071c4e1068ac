"""Signs a component: the digests of its files into its aegis.toml, a signature beside it."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING

import msgspec

from aegis.core.errors import ManifestError
from aegis.core.manifest import FILE, TABLE, read_manifest
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

    said = read_manifest(content)
    if said is None:
        raise ManifestError(
            f"{FILE} has no [{TABLE}]", hint="`aegis new` shows what a component says of itself"
        )
    digests = {path: hashlib.sha256(files[path]).hexdigest() for path in sorted(files)}
    if dict(said.files) == digests:
        return content
    wanted = msgspec.structs.replace(said, files=digests)
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
