"""What happened: the CloudEvents envelope, and how event names are matched."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

import msgspec

from aegis.core.errors import InvalidError

NAME = re.compile(r"^[a-z][a-z0-9_-]*(\.[a-z][a-z0-9_-]*)+$")
PATTERN = re.compile(r"^[a-z*][a-z0-9_*-]*(\.[a-z*][a-z0-9_*-]*)*$")


class Event(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Something that happened, as a CloudEvents 1.0 envelope; `data` holds JSON values only.

    `cause` is the id of the event that led to this one, `flow` the flow it belongs to, `step` the
    number of the flow's step that produced it, `revision` the component revision that did
    (`orders@1.2.0+3fa9c1d2`). `origin` says what set it off where no step's port did: `http`,
    `cell`, `schedule`, `outside`, `import`, `migration`, a listener (`listener:orders.heard`),
    or `undo` of its step.
    """

    id: str
    source: str
    type: str
    subject: str | None = None
    time: str
    data: dict[str, Any] = {}
    cause: str | None = None
    flow: str | None = None
    step: int | None = None
    revision: str | None = None
    origin: str | None = None
    specversion: str = "1.0"


# How the sources of events begin that components of this host tell.
OURS = "/aegis/components/"
# The origin of what the undo of a step did.
UNDO = "undo"
# The origin of a record that came from another host: it sets no step off, now or later.
IMPORT = "import"
# The origin of what a migration did to a record, which sets no step off either.
MIGRATION = "migration"

_DECODER = msgspec.json.Decoder(Event)


def decode_event(doc: bytes) -> Event:
    """The event of a journal entry."""
    return _DECODER.decode(doc)


class Emission(msgspec.Struct, frozen=True, gc=False):
    """An event that somebody asked for, before the host gives it id, time and cause.

    `source` is where it comes from when that is outside of the host.
    """

    type: str
    data: dict[str, Any]
    subject: str | None = None
    source: str | None = None


def teller(source: str) -> str | None:
    """The component that an event is of, by its source; None of one from outside."""
    return source.split("/")[3] if source.startswith(OURS) else None


def event(name: str, subject: str | None = None, /, **data: Any) -> Emission:
    """An event to pass on, as in `raise Refused("short", emit=event("inventory.low", item="x"))`.

    Raises InvalidError when `name` is not of the form `noun.verbed`, and for a subject or data that
    JSON cannot hold.
    """
    if not NAME.match(name):
        raise InvalidError(f"{name!r} is no event name", hint="use the form 'noun.verbed'")
    if not isinstance(subject, str | None):
        raise InvalidError(
            f"the subject of {name!r} is {type(subject).__name__}: it is a text",
            hint="most often the id of a record, as in order.id",
        )
    try:
        plain = msgspec.to_builtins(data)
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidError(f"the data of {name!r} cannot be told: {error}") from None
    return Emission(type=name, data=plain, subject=subject)


def is_glob(pattern: str) -> bool:
    """Whether `pattern` names many events (`order.*`, `*.created`, `*`)."""
    return "*" in pattern


@lru_cache(maxsize=4096)
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(re.escape(pattern).replace(r"\*", ".*") + r"\Z")


def matches(pattern: str, name: str) -> bool:
    """Whether the event `name` is meant by `pattern`; `*` stands for any text, dots included."""
    return pattern == name or (is_glob(pattern) and _compiled(pattern).match(name) is not None)
