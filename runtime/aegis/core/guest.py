"""Code in a sandbox: what the host may ask of it, and what is told when the sandbox stops it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Protocol

import msgspec

from aegis.core.errors import clipped

# What stopped a call, in a word: `other` is what has none.
Stop = Literal[
    "time",
    "fuel",
    "memory",
    "stack",
    "output",
    "unreachable",
    "index",
    "division",
    "type",
    "unheard",
    "other",
]


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

    `n` is its number among those that are kept in this process, 0 where it is not kept. `label` is
    the code (`shipping@1.0.0+3fa9c1d2`), `function` and `input` what it was called with through
    `export`, `asked` what the host had answered it so far, `reason` why it was stopped, `frames`
    the guest's functions from the innermost one, `lines` where each begins in a text that is from
    `origin`, 0 where that is not known, `settings` the configuration that it could read, `printed`
    what it had printed. Input and answers may hold what is private, so a trap does not show them by
    itself.
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
    printed: str = ""
    n: int = 0

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

    It was stopped `again`, or the guest gave an `error`, or an `answer`; `hint` is the likely fix.
    """

    trap: Trap
    label: str
    again: Trap | None = None
    error: str | None = None
    answer: str | None = None
    hint: str | None = None

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

    @property
    def outcome(self) -> TrapOutcome:
        """It without what the guest gave, which may be private."""
        told = TrapOutcome(
            n=self.trap.n,
            revision=self.label,
            function=self.trap.function,
            outcome="passed",
            same=self.same,
        )
        if self.again is not None:
            return msgspec.structs.replace(
                told,
                outcome="stopped",
                reason=clipped(self.again.reason),
                hint=self.hint,
                frames=self.again.frames,
                places=tuple(place for _, place in self.again.backtrace),
            )
        if self.error is not None:
            return msgspec.structs.replace(
                told, outcome="error", reason=clipped(self.error), hint=self.hint
            )
        return told

    def __repr__(self) -> str:
        return f"{self.trap.function} on {self.label}: {self.verdict}"


class TrapOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a stopped call that was made again on the code `revision`.

    It `passed`, it was `stopped` again, in the `same` way or otherwise, or the guest itself gave an
    `error`: then `reason`, `hint` and `frames` say why and where, as in a Trap, and `places` where
    each of these begins. What the guest gave is left out: that may be private.
    """

    n: int
    revision: str
    function: str
    outcome: Literal["passed", "stopped", "error"]
    same: bool = False
    reason: str = ""
    hint: str | None = None
    frames: tuple[str, ...] = ()
    places: tuple[str, ...] = ()


class GuestLimits(msgspec.Struct, frozen=True, kw_only=True):
    """What one call may use: seconds of computing, and fuel where it is counted; and one instance,
    in bytes of memory and of one answer.
    """

    seconds: float
    memory: int
    output: int
    fuel: int | None = None


class GuestStatus(msgspec.Struct, frozen=True, kw_only=True):
    """What a sandbox is. `size` is bytes of its module, `digest` their SHA-256.

    `kind` is which of both ways its code has to the host, `contract` the version that it was built
    for, `imports` what it imports of that; `needs` of these is what a host grants, and `granted` is
    what this one did, which the engine knows. `inline` runs on the host's own thread, `fresh` has a
    new instance for every call.
    """

    kind: Literal["component", "module"]
    size: int
    digest: str
    contract: str
    imports: tuple[str, ...]
    limits: GuestLimits
    inline: bool = False
    fresh: bool = False
    needs: tuple[str, ...] = ()
    granted: tuple[str, ...] = ()


class GuestCost(msgspec.Struct, frozen=True, kw_only=True):
    """What a sandbox cost since it was loaded, and costs now.

    `seconds` are those that its `calls` computed, `stopped` counts those that were, by what stopped
    them, a `Stop`. `queued` wait for their turn; `wait_p50` and `wait_p99` are how long the last
    ones did, in milliseconds, None before there was one. `memory` is bytes of all its `instances`
    after the last call of each, None where the sandbox does not tell: a component keeps that to
    itself.
    """

    calls: int = 0
    seconds: float = 0.0
    stopped: Mapping[str, int] = {}
    queued: int = 0
    wait_p50: float | None = None
    wait_p99: float | None = None
    threads: int = 0
    instances: int = 0
    memory: int | None = None


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

    @property
    def status(self) -> GuestStatus:
        """What it is; it does not change while it lives."""
        ...

    @property
    def cost(self) -> GuestCost:
        """What it cost so far, and costs now. Any thread may ask."""
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
