"""What is stored: the author's data as JSON, with its revision and times."""

from __future__ import annotations

import re

import msgspec

from aegis.core.errors import CorruptError

# What decoding a document raises: it is none, no text, or a bomb of brackets.
UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)

# An id stands in paths of the API as it is.
ID = re.compile(r"[^\s/?#%\x00-\x1f\x7f]{1,200}")


class Record(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One stored record. `model` is `component.Model`; `doc` the author's data as JSON with the id.

    `revision` counts the changes of the author's data from 1 and is the ETag; times are RFC 3339.
    A store gives an empty `doc` where it found something else than what was written.
    """

    model: str
    id: str
    revision: int
    created: str
    updated: str
    doc: bytes

    @property
    def etag(self) -> str:
        """The revision as an HTTP entity tag."""
        return f'"{self.revision}"'

    def representation(self) -> bytes:
        """The JSON that leaves the host: the author's data and `_meta` (revision and times)."""
        return b'%b,"_meta":{"revision":%d,"created":"%b","updated":"%b"}}' % (
            self.doc[:-1],
            self.revision,
            self.created.encode(),
            self.updated.encode(),
        )

    def only(self, names: tuple[str, ...]) -> bytes:
        """These of the author's fields, `_created` and `_updated` as JSON, in that order."""
        fields = _DOCUMENT.decode(self.doc)
        times = {"_created": self.created, "_updated": self.updated}
        return _encode({name: times[name] if name in times else fields.get(name) for name in names})

    def is_sound(self) -> bool:
        """Whether its document is JSON."""
        try:
            _DOCUMENT.decode(self.doc)
        except UNREADABLE:
            return False
        return True

    def sound(self) -> Record:
        """This record, whose document is JSON. Raises CorruptError when it is not."""
        try:
            _DOCUMENT.decode(self.doc)
        except UNREADABLE as error:
            raise damaged(self, error) from error
        return self


_encode = msgspec.json.Encoder().encode
_DOCUMENT = msgspec.json.Decoder(dict[str, msgspec.Raw])


def damaged(record: Record, error: Exception) -> CorruptError:
    """What to raise of a record that cannot be read."""
    reason = error if record.doc else "it is not what was written"
    return CorruptError(
        f"the stored {record.model} {record.id!r} is damaged: {reason}",
        hint="restore a backup, or delete it",
    )
