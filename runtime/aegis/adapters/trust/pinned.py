"""Trusts what is signed by a key that is pinned for where it comes from, and nothing else."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta

from aegis.adapters.trust.pins import PinFile
from aegis.core.bundle import Bundle
from aegis.core.errors import TrustError, closest
from aegis.core.manifest import FILE, SIGNATURE, read_manifest
from aegis.core.signature import Signature, Signed, key_bytes, read_signature
from aegis.core.trust import Trusted, names_content, source_of
from aegis.protocols import Trust

# How far the clock of who signs may be before the host's.
SKEW = timedelta(minutes=5)


class PinnedTrust(Trust):
    """What the configuration and the data directory pin, together (see protocols.Trust)."""

    def __init__(self, configured: Trusted, file: PinFile | None = None) -> None:
        self._configured = configured
        self._file = file

    def trusted(self) -> Trusted:
        """What it goes by now. Raises ConfigError for pins that cannot be read."""
        if self._file is None:
            return self._configured
        return self._configured.joined(self._file.read())

    def by(self) -> str:
        """Whoever changed the pins last, empty where only the configuration has some."""
        return "" if self._file is None else self._file.by

    async def check(self, bundle: Bundle, now: datetime) -> Signed | None:
        """Who signed `bundle` and when, None where nobody needs to (see protocols.Trust)."""
        if bundle.is_local:
            return None
        trusted = self.trusted()
        # All of it is read for its digests.
        return await asyncio.to_thread(_check, bundle, trusted, now)


def _check(bundle: Bundle, trusted: Trusted, now: datetime) -> Signed | None:
    source, said = source_of(bundle.address), bundle.manifest
    where = f"{bundle.address} ({said.name} {said.version})"
    if names_content(bundle.address):
        return None  # whoever fetched it has compared: the address names this content and no other
    if trusted.needs_none(source):
        if said.files:
            bundle.check()
        return None
    keys = trusted.keys(source)
    if not keys:
        raise TrustError(
            f"{where}: nobody is trusted for what comes from {source}",
            hint=closest(source, trusted.pins) or f"`aegis keys pin {source} KEY` pins its owner's",
        )
    content = bundle.files.get(FILE)
    if content is None or bundle.is_derived:
        raise TrustError(
            f"{where}: it has no {FILE} that says what it is",
            hint="its owner writes one, and signs it with `aegis sign`",
        )
    if bundle.signature is None:
        raise TrustError(
            f"{where}: it is not signed: there is no {SIGNATURE}",
            hint="its owner signs it with `aegis sign`, or the address names its #sha256=",
        )
    signature = read_signature(bundle.signature, where)
    if signature.key not in keys:
        raise TrustError(
            f"{where}: it is signed by {signature.key}, which is not pinned for {source}",
            hint=f"ask its owner whether that is the key, then `aegis keys pin {source} KEY`",
        )
    _verify(signature, content, where)
    if read_manifest(content, where) != said:
        raise TrustError(f"{where}: its manifest is not the one that was signed")
    _check_times(signature, said.expires, now, where)
    bundle.check()
    older = trusted.lets_older(source, said.name, said.version)
    return Signed(key=signature.key, time=signature.signed, older=older)


def _verify(signature: Signature, manifest: bytes, where: str) -> None:
    """Raise TrustError unless its key made it of these very bytes."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        key = Ed25519PublicKey.from_public_bytes(key_bytes(signature.key))
        key.verify(signature.value, signature.statement.message(manifest))
    except InvalidSignature:
        raise TrustError(
            f"{where}: its signature is wrong: it is not of this {FILE}",
            hint="it was changed after it was signed: `aegis sign` signs it anew",
        ) from None


def _check_times(
    signature: Signature, manifest_expires: str | None, now: datetime, where: str
) -> None:
    """Raise TrustError unless it was signed before now and is good still."""
    if datetime.fromisoformat(signature.signed) > now + SKEW:
        raise TrustError(
            f"{where}: it was signed at {signature.signed}, which is still to come",
            hint="look at this machine's clock",
        )
    for what, expires in (("signature", signature.expires), ("manifest", manifest_expires)):
        if expires is None:
            continue
        try:
            end = datetime.fromisoformat(expires)
        except ValueError:
            end = None
        if end is None or end.tzinfo is None:
            raise TrustError(
                f"{where}: {expires[:40]!r}, when its {what} expires, is no time",
                hint="write it as 2027-01-31T00:00:00Z",
            )
        if end <= now:
            raise TrustError(
                f"{where}: its {what} has expired at {expires}",
                hint="its owner signs it anew, or signs a newer version",
            )
