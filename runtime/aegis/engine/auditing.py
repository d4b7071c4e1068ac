"""Entries of the audit log, as whoever changes something commits them with the change."""

from __future__ import annotations

from typing import Any

from aegis.core.audit import Action, Audit
from aegis.core.component import Source
from aegis.engine.context import SOURCE
from aegis.protocols import Clock


def audited(
    clock: Clock,
    action: Action,
    about: str = "",
    *,
    who: str = "",
    of: Source | None = None,
    **said: Any,
) -> Audit:
    """An entry of now. Put it into the `audits` of the commit that does what it tells of.

    `about` is a component or a pattern, `of` the code that it is about, `who` whoever asked for it:
    where nobody said, where from the host was asked. `said` are further members of Audit.
    """
    if of is not None:
        about = about or of.name
        said = {
            "version": of.version,
            "address": of.origin,
            "resolved": of.resolved,
            "digest": of.digest,
            "key": "" if of.signed is None else of.signed.key,
        } | said
    return Audit(time=clock.stamp(), action=action, who=who or SOURCE.get(), about=about, **said)
