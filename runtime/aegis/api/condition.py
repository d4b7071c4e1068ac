"""Conditional requests: what If-Match and If-None-Match say about a record's revision."""

from __future__ import annotations

import re
from collections.abc import Mapping

from aegis.core.component import ModelSpec
from aegis.core.errors import BadRequestError, StaleError, UnconditionalError
from aegis.core.record import Record

_TAGS = re.compile(r'\s*(?P<tag>(?:W/)?"[^"]*")\s*(?:,|$)')


def _tags(name: str, value: str) -> list[str]:
    """The entity tags of a header, as they stand."""
    tags, at = [], 0
    while at < len(value):
        match = _TAGS.match(value, at)
        if match is None:
            raise BadRequestError(
                f"{name} holds no entity tag", hint='quote the revision, as in "3"', header=name
            )
        tags.append(match["tag"])
        at = match.end()
    return tags


def unchanged(headers: Mapping[str, str], record: Record) -> bool:
    """Whether the caller has this very revision already (If-None-Match)."""
    value = headers.get("if-none-match")
    if value is None:
        return False
    if value == record.etag or value.strip() == "*":
        return True
    return record.etag in [tag.removeprefix("W/") for tag in _tags("If-None-Match", value)]


def expected(headers: Mapping[str, str], spec: ModelSpec, record: Record) -> int | None:
    """The revision that a write is meant for, of those If-Match names; None takes any.

    `record` is the current one. Raises UnconditionalError without the header (unless the model's
    last write wins), StaleError when none of its tags is that of `record`, BadRequestError when
    it cannot be read.
    """
    value = headers.get("if-match")
    if value is None:
        if spec.last_wins:
            return None
        raise UnconditionalError(
            f"a change of {spec.name} {record.id} must name the revision it is meant for",
            hint="send the ETag of your last GET as If-Match",
        )
    if value.strip() == "*":
        return None
    # A weak tag never matches here (RFC 9110, 13.1.1).
    if record.etag in _tags("If-Match", value):
        return record.revision
    raise StaleError(
        f"{spec.name} {record.id} is at revision {record.revision}, If-Match names another",
        hint="get it again, and decide on what it holds now",
        revision=record.revision,
    )
