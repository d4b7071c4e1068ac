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

    `label` is the code (`shipping@1.0.0+3fa9c1d2`), `function` and `input` what it was called with
    through `export`, `asked` what the host had answered it so far, `reason` why it was stopped,
    `frames` the guest's functions from the innermost one, `lines` where each begins in a text that
    is from `origin`, 0 where that is not known, `settings` the configuration that it could read.
    Input and answers may hold what is private, so a trap does not show them by itself.
    """

    label: str
    function: str
    input: str
    reason: str
    export: str = "invoke"
    time: str = ""
    frames: tuple[str, ...] = ()
    lines: tuple[int, ...] = ()
    origin: str = ""
    settings: Mapping[str, Any] = {}
    asked: tuple[Asked, ...] = ()

    @property
    def component(self) -> str:
        """The component whose code it was."""
        return self.label.partition("@")[0]

    @property
    def backtrace(self) -> tuple[tuple[str, str], ...]:
        """Each function, the innermost first, and where it begins: `cell 4, line 17`, or not."""
        lines = self.lines or (0,) * len(self.frames)
        places = (f"{self.origin}, line {line}" if line else "" for line in lines)
        return tuple(zip(self.frames, places, strict=False))

    def __repr__(self) -> str:
        """Without what it was called with: it may be private."""
        where = f", in {self.frames[0]}" if self.frames else ""
        return f"{self.time} {self.label} {self.function}: {self.reason}{where}".lstrip()


class TrapReplay(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a stopped call that was made again, on the code `label`.

    It was stopped `again`, or the guest gave an `error`, or an `answer`.
    """

    trap: Trap
    label: str
    again: Trap | None = None
    error: str | None = None
    answer: str | None = None

    @property
    def same(self) -> bool:
        """Whether it was stopped as it was then: for that reason, and there."""
        again = self.again
        return again is not None and (again.reason, again.frames) == (
            self.trap.reason,
            self.trap.frames,
        )

    @property
    def verdict(self) -> str:
        """What came of it, in a sentence; an answer may hold what is private."""
        if self.again is not None:
            where = f", in {self.again.frames[0]}" if self.again.frames else ""
            how = "as then" if self.same else "otherwise"
            return f"stopped {how}: {self.again.reason}{where}"
        if self.error is not None:
            return f"it gives an error now: {self.error}"
        return f"it gives an answer now, of {len(self.answer or '')} characters (.answer)"

    def __repr__(self) -> str:
        return f"{self.trap.function} on {self.label}: {self.verdict}"


class Guest(Protocol):
    """The sandbox of one revision. It lives from load to unload, whoever calls it."""

    @property
    def told(self) -> Mapping[str, str]:
        """What it is and what it may use, in words for people."""
        ...

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
