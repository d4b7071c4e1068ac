"""Code in a sandbox: what the host may ask of it, and what is told when the sandbox stops it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import msgspec


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What a guest asked of the host during one call, and the answer; `failed` says it was none."""

    what: str
    input: str
    answer: str
    failed: bool = False

    def __repr__(self) -> str:
        """Without what was said: it may be private."""
        return f"Asked({self.what!r})"


class Trap(msgspec.Struct, frozen=True, kw_only=True):
    """One call that the sandbox stopped: all that it needs to happen again.

    `label` is the code (`shipping@1.0.0+3fa9c1d2`), `function` and `input` what it was called with,
    `asked` what the host had answered it so far, `reason` why it was stopped, `frames` the guest's
    functions from the innermost one.
    """

    label: str
    function: str
    input: str
    reason: str
    time: str = ""
    frames: tuple[str, ...] = ()
    asked: tuple[Asked, ...] = ()

    def __repr__(self) -> str:
        """Without what it was called with: it may be private."""
        return f"Trap({self.label!r}, {self.function!r}, {self.reason!r})"


class Guest(Protocol):
    """The sandbox of one revision. It lives from load to unload, whoever calls it."""

    @property
    def traps(self) -> Sequence[Trap]:
        """The last calls that it stopped, the newest last."""
        ...

    def open(self, settings: Mapping[str, Any]) -> None:
        """Give its code configuration values; called for each that uses it, who then `leave`s."""

    async def leave(self) -> None:
        """One less uses it; after the last one it has no connections."""

    def replay(self, trap: Trap) -> str:
        """Make a stopped call again, in an instance of its own and with the answers of then.

        What it gives; it is called off the host's loop. Raises GuestError when it is stopped again.
        """
        ...

    def close(self) -> None:
        """Let go of its threads and memory. Safe to call twice."""
