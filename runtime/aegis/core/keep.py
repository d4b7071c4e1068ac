"""How long a host keeps what it no longer needs."""

from __future__ import annotations

from typing import Annotated

import msgspec

Span = Annotated[float, msgspec.Meta(gt=0)]
Most = Annotated[int, msgspec.Meta(ge=1)]


class Keep(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Table `[keep]` of aegis.toml; None keeps for ever.

    `events_days` and `events_most` bound the journal, and the flows that ended go with their
    events; `failed_days` and `failed_most` the failed list, whose lines are then discarded;
    `recordings_days` what adapters answered, `taken_days` the marks of events from outside (the
    same one is taken again later), `answers_hours` the answers of Idempotency-Keys.
    """

    events_days: Span | None = None
    events_most: Most | None = None
    failed_days: Span | None = None
    failed_most: Most | None = None
    recordings_days: Span = 7.0
    taken_days: Span = 7.0
    answers_hours: Span = 24.0
