"""Entries of the audit log, as whoever changes something commits them with the change."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from aegis.core.audit import Action, Audit
from aegis.core.component import Source
from aegis.engine.context import SOURCE
from aegis.protocols import Clock

NOTHING: Mapping[str, str] = {}


def audited(
    clock: Clock,
    action: Action,
    about: str = "",
    *,
    who: str = "",
    of: Source | None = None,
    key: str = "",
    detail: str = "",
    fields: Mapping[str, str] = NOTHING,
) -> Audit:
    """An entry of now. Put it into the `audits` of the commit that does what it tells of.

    `about` is a component or a pattern, `of` the code that it is about, `who` whoever asked for it:
    where nobody said, where from the host was asked.
    """
    entry = Audit(
        time=clock.stamp(),
        action=action,
        who=who or SOURCE.get(),
        about=about,
        key=key,
        detail=detail,
        fields=fields,
    )
    if of is None:
        return entry
    return msgspec.structs.replace(
        entry,
        about=about or of.name,
        version=of.version,
        address=of.origin,
        resolved=of.resolved,
        digest=of.digest,
        key=key or ("" if of.signed is None else of.signed.key),
    )
