"""Sealed fields: how a document holds what is private or encrypted, and how it is opened again.

Where a value was, the stored document has an object: `k` the id of the key, `c` nonce and sealed
value in base64, `h` a keyed hash of the value, by which equal ones are found. Null stays null.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from typing import Any, Protocol

import msgspec

from aegis.core.canonical import canonical
from aegis.core.errors import CorruptError
from aegis.core.rule import Rules


class Vault(Protocol):
    """Keys that seal fields. Whatever is sealed opens only as what it is `about`."""

    def ready(self, *, make: bool) -> None:
        """Have the keys at hand, with `make` new ones where there are none. Raises ConfigError."""

    def seal(self, data: bytes, about: bytes) -> tuple[str, bytes]:
        """The id of the key that is current, and `data` sealed with it."""
        ...

    def open(self, key: str, sealed: bytes, about: bytes) -> bytes:
        """What was sealed. Raises SealError for another key, damage, another `about`."""
        ...

    def token(self, data: bytes, about: bytes) -> str:
        """What stands for `data` where it must not be seen; new keys change nothing of it."""
        ...

    def rotate(self) -> str:
        """Seal with a new key from now on, whose id is returned; what was sealed still opens."""
        ...


class _Seal(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The object in the place of a value."""

    k: str
    h: str
    c: str


_DOCUMENT = msgspec.json.Decoder(dict[str, msgspec.Raw])
_SEAL = msgspec.json.Decoder(_Seal)
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.decode


class Sealing:
    """Seals and opens the documents of one model, `key` (`users.User`), by its rules."""

    def __init__(self, key: str, rules: Rules, vault: Vault) -> None:
        self._key = key
        self._rules = rules
        self._vault = vault

    def sealed(self, id: str, doc: bytes) -> bytes:
        """The document of record `id` as it is stored, of one in the clear."""
        fields = _DOCUMENT.decode(doc)
        for name in self._rules.sealed:
            raw = fields.get(name)
            if raw is not None and bytes(raw) != b"null":
                fields[name] = msgspec.Raw(_encode(self._seal(id, name, bytes(raw))))
        return _encode(fields)

    def opened(self, id: str, doc: bytes) -> bytes:
        """The document in the clear of a stored one. Raises SealError, CorruptError."""
        fields = _DOCUMENT.decode(doc)
        for name in self._rules.sealed:
            raw = fields.get(name)
            if raw is not None and (seal := _seal_of(raw)) is not None:
                fields[name] = msgspec.Raw(self._open(id, name, seal))
        return _encode(fields)

    def keys(self, doc: bytes) -> set[str]:
        """The ids of the keys that a stored document is sealed with."""
        fields = _DOCUMENT.decode(doc)
        seals = (_seal_of(fields[name]) for name in self._rules.sealed if name in fields)
        return {seal.k for seal in seals if seal is not None}

    def shown(self, id: str, doc: bytes) -> bytes:
        """What of a stored document may leave: in the clear, without what is private."""
        fields = _DOCUMENT.decode(self.opened(id, doc))
        return _encode({n: raw for n, raw in fields.items() if n not in self._rules.private})

    def token(self, name: str, value: Any) -> str:
        """What stands for a value of a field, as JSON has it, in a stored document."""
        text = canonical(self._rules.sealed[name], value)
        return self._vault.token(text, self._about(name))

    def beside(self, event: str, changed: Mapping[str, Any]) -> bytes:
        """What an event does not tell, for where it is kept beside it."""
        return self.kept(f"event {event}", _encode(changed))

    def whole(self, event: str, beside: bytes) -> dict[str, Any]:
        """The fields that were sealed beside an event. Raises SealError."""
        data = self.given(f"event {event}", beside)
        fields: dict[str, Any] = _decode(data, type=dict[str, Any])
        return fields

    def kept(self, what: str, data: bytes) -> bytes:
        """`data` sealed as something of this model, its name is `what`."""
        key, text = self._vault.seal(data, self._about(what))
        return _encode([key, base64.b64encode(text).decode()])

    def given(self, what: str, kept: bytes) -> bytes:
        """What was `kept`. Raises SealError."""
        key, text = _decode(kept, type=tuple[str, str])
        return self._vault.open(key, base64.b64decode(text), self._about(what))

    def mark(self, data: bytes) -> str:
        """What `data` of a caller is known by again."""
        return self._vault.token(data, self._about(""))

    def _seal(self, id: str, name: str, raw: bytes) -> _Seal:
        key, text = self._vault.seal(raw, self._about(name, id))
        return _Seal(key, self.token(name, _decode(raw)), base64.b64encode(text).decode())

    def _open(self, id: str, name: str, seal: _Seal) -> bytes:
        try:
            text = base64.b64decode(seal.c, validate=True)
        except ValueError as error:
            raise CorruptError(f"{self._key} {id!r}: {name} is damaged") from error
        raw = self._vault.open(seal.k, text, self._about(name, id))
        if self.token(name, _decode(raw)) != seal.h:
            raise CorruptError(f"{self._key} {id!r}: {name} and its hash do not fit each other")
        return raw

    def _about(self, *names: str) -> bytes:
        return "\0".join((self._key, *names)).encode()


def _seal_of(raw: msgspec.Raw) -> _Seal | None:
    """The seal that stands in a document, None where there is something else."""
    try:
        return _SEAL.decode(raw)
    except msgspec.DecodeError:
        return None


def unsealed(doc: bytes, names: Iterable[str]) -> bytes:
    """A stored document without the fields `names`, for who has no key to them."""
    fields = _DOCUMENT.decode(doc)
    return _encode({name: raw for name, raw in fields.items() if name not in set(names)})
