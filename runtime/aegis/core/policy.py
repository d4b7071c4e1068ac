"""How a port is attempted: timeout, retries and the pause between them, and its breaker."""

from __future__ import annotations

import msgspec

from aegis.core.breaker import Breaking


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """`timeout` (seconds) cancels an attempt; `retries` more follow, `backoff` seconds apart.

    `breaker` has the numbers of the circuit breaker of each partner, None when there is none.
    """

    timeout: float = 30.0
    retries: int = 3
    backoff: float = 1.0
    breaker: Breaking | None = Breaking()

    def pause(self, attempts: int) -> float | None:
        """Seconds to wait after `attempts` failed ones before the next, or None when exhausted."""
        return self.backoff if attempts <= self.retries else None
