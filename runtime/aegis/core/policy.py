"""How a port is attempted: timeout, retries and the pause between them."""

from __future__ import annotations

import msgspec


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """`timeout` (seconds) cancels an attempt; `retries` more follow, `backoff` seconds apart."""

    timeout: float = 30.0
    retries: int = 3
    backoff: float = 1.0

    def pause(self, attempts: int) -> float | None:
        """Seconds to wait after `attempts` failed ones before the next, or None when exhausted."""
        return self.backoff if attempts <= self.retries else None
