"""A signature beside a manifest: what aegis.sig says, and which bytes it is made of."""

from __future__ import annotations

import base64
import binascii
import re
from datetime import datetime

import msgspec

from aegis.core.errors import InvalidError, TrustError
from aegis.core.manifest import SIGNATURE

FORMAT = 1
KIND = "ed25519"
KEY_BYTES = 32
SIGNATURE_BYTES = 64
MOST = 4096  # bytes of an aegis.sig

# Nothing else that such a key may sign begins like this.
_DOMAIN = b"aegis component manifest and its signature\n"
_STAMP = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$")


class Statement(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a signature says besides its manifest: by which key, made when, and until when.

    Times are RFC 3339 with milliseconds and Z. Without `expires` it is good for ever.
    """

    format: int
    key: str
    signed: str
    expires: str | None

    def message(self, manifest: bytes) -> bytes:
        """The bytes that are signed: these fields and the whole aegis.toml, byte for byte."""
        return _DOMAIN + msgspec.json.encode(self) + b"\n" + manifest


class Signature(Statement, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A statement and its signature, in base64: all that an aegis.sig says."""

    signature: str

    @property
    def statement(self) -> Statement:
        """What the signature is of."""
        return Statement(format=self.format, key=self.key, signed=self.signed, expires=self.expires)

    @property
    def value(self) -> bytes:
        """The bytes of the signature."""
        return base64.b64decode(self.signature)

    def document(self) -> bytes:
        """The one text that says this."""
        return msgspec.json.format(msgspec.json.encode(self), indent=2) + b"\n"


class Signed(msgspec.Struct, frozen=True, kw_only=True):
    """By which key and when something that was fetched was signed.

    `older` says that an operator lets this version be deployed although a newer one was.
    """

    key: str
    time: str
    older: bool = False


def read_signature(content: bytes, where: str) -> Signature:
    """What an aegis.sig says. Raises TrustError naming `where` and what is wrong with it.

    There is one text for each signature and no other is taken, so that nobody can change a byte.
    """
    hint = "its owner writes it anew with `aegis sign`"
    if len(content) > MOST:
        raise TrustError(f"{where}: {SIGNATURE} is larger than {MOST:,} bytes", hint=hint)
    try:
        found = msgspec.json.decode(content, type=_Begin)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise TrustError(f"{where}: {SIGNATURE} cannot be read: {error}", hint=hint) from None
    if found.format != FORMAT:
        raise TrustError(
            f"{where}: {SIGNATURE} has format {found.format}, this Aegis reads {FORMAT}",
            hint="update aegis-kernel",
        )
    try:
        signature = msgspec.json.decode(content, type=Signature)
        key_bytes(signature.key)
        value = base64.b64decode(signature.signature, validate=True)
    except (msgspec.DecodeError, InvalidError, binascii.Error, ValueError) as error:
        raise TrustError(f"{where}: {SIGNATURE} cannot be read: {error}", hint=hint) from None
    if len(value) != SIGNATURE_BYTES:
        raise TrustError(
            f"{where}: the signature in {SIGNATURE} has {len(value)} bytes, not {SIGNATURE_BYTES}",
            hint=hint,
        )
    for time in (signature.signed, signature.expires):
        if time is not None:
            _check_time(time, where, hint)
    exact = msgspec.structs.replace(signature, signature=base64.b64encode(value).decode())
    if exact.document() != content:
        raise TrustError(f"{where}: {SIGNATURE} is not written as `aegis sign` does", hint=hint)
    return signature


class _Begin(msgspec.Struct, frozen=True):
    """What every format has."""

    format: int


def _check_time(time: str, where: str, hint: str) -> None:
    try:
        if not _STAMP.match(time):
            raise ValueError("milliseconds and Z")
        datetime.fromisoformat(time)
    except ValueError:
        raise TrustError(f"{where}: {time[:40]!r} in {SIGNATURE} is no time", hint=hint) from None


def key_text(key: bytes) -> str:
    """A public key as it is written, shown and compared: `ed25519:` and base64 without padding."""
    return f"{KIND}:{base64.urlsafe_b64encode(key).rstrip(b'=').decode()}"


def key_bytes(text: str) -> bytes:
    """The bytes of a public key. Raises InvalidError for what is none, or another way to write it.

    A key is as short as a fingerprint of it would be, so there is none.
    """
    kind, _, encoded = text.partition(":")
    if kind != KIND:
        raise InvalidError(
            f"{text[:80]!r} is no key that Aegis knows", hint=f"keys are written {KIND}:..."
        )
    try:
        key = base64.b64decode(encoded + "=" * (-len(encoded) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != KEY_BYTES or key_text(key) != text:
        raise InvalidError(
            f"{text[:80]!r} is no {KIND} key",
            hint=f"43 characters follow {KIND}: -- `aegis keys show` writes them",
        )
    return key
