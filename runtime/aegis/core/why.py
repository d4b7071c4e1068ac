"""What led to what: the tree from a request to each change, as a value and as text."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import msgspec

# How the state of a step is told by one character.
SIGNS = {
    "waiting": "\u2026",
    "ready": "\u25b6",
    "asked": "\u25d4",
    "done": "\u2713",
    "refused": "\u2717",
    "failed": "\u2717",
    "unknown": "?",
    "dropped": "\u2013",
    "undone": "\u21b6",
    "undo failed": "\u21b6\u2717",
    "undo skipped": "\u21b6\u2013",
}
CHANGED = 60  # characters of what an event changed, in a line of text
ERROR = 160


class Line(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One line of the tree: an event with what made it, or what ended without one.

    `kind` is event, step (a port that made no event) or listener (one that failed on an event).
    `name` is the event's type, the port or the listener, `about` the record or subject. Below a
    line of depth n stands what it led to, with depth n + 1.

    An event has `seq` and `id`, `changed` is what it carries. `by` is what made it: a port
    (`orders.Order.pay`), `undo of` one, a listener or a command of the graph
    (`listener:orders.heard`), or who asked: `http`, `cell`, `schedule`, `outside`. `flow`, `n`,
    `state`, `attempts` (those that failed) and `error` are of the step, as they are now; `waits`
    is what it waits for, `answers` the port whose question an event answered.
    """

    depth: int
    kind: Literal["event", "step", "listener"]
    name: str
    time: str
    about: str | None = None
    component: str = ""
    seq: int | None = None
    id: str | None = None
    by: str | None = None
    changed: dict[str, Any] | None = None
    flow: str | None = None
    n: int | None = None
    state: str | None = None
    attempts: int = 0
    error: str | None = None
    waits: str | None = None
    answers: str | None = None

    @property
    def went_wrong(self) -> bool:
        """Whether what it tells of failed, or its outcome is unknown."""
        return self.kind == "listener" or self.state in {
            "refused",
            "failed",
            "unknown",
            "undo failed",
        }

    @property
    def sign(self) -> str:
        """Its state in one character or two; an event of a step that is done needs none."""
        if self.kind == "listener":
            return SIGNS["failed"]
        if self.kind == "event" and self.state == "done":
            return ""
        return SIGNS.get(self.state or "", "")

    @property
    def made(self) -> str:
        """What made an event, or how a step stands, in words for people."""
        words = []
        if self.kind == "event":
            if self.by is not None:
                words.append(f"by {self.by}")
            if self.answers is not None:
                words.append(f"answers {self.answers}")
            if self.state not in {None, "done"}:
                words.append(str(self.state))
        else:
            words.append("failed" if self.kind == "listener" else str(self.state))
        if self.waits is not None:
            words.append(f"waits for {self.waits}")
        if self.attempts:
            words.append(f"{self.attempts} failed attempt{'' if self.attempts == 1 else 's'}")
        return ", ".join(words)

    @property
    def carried(self) -> str:
        """What the event carries, in at most CHANGED characters."""
        text = ", ".join(f"{name}={value}" for name, value in (self.changed or {}).items())
        text = " ".join(text.split())
        return text if len(text) <= CHANGED else f"{text[: CHANGED - 1]}\u2026"


class Why(msgspec.Struct, frozen=True, kw_only=True):
    """What led to what, from the requests on: `str()` is the tree as text.

    `lines` stand in the order of reading, each below what led to it; there may be several roots.
    `asked` is what was asked for. `cut` says what led to the first line and is not in the journal
    any more; `left_out` counts the events that are not shown, at least, and is 0 for a whole tree.
    """

    asked: str
    lines: tuple[Line, ...] = ()
    cut: str | None = None
    left_out: int = 0

    def __str__(self) -> str:
        rows = [f"\u2026 {self.cut}"] if self.cut is not None else []
        root = None
        for branch, line in branches(self.lines):
            if line.depth == 0:
                root = line.about
            named = line.about is not None and (line.about != root or line.depth == 0)
            about = f" of {line.about}" if named else ""
            place = "" if line.seq is None else f" #{line.seq}"
            sign = f"{line.sign} " if line.sign else ""
            told = [f"{branch}{sign}{line.name}{place}{about}"]
            told += [line.made] if line.made else []
            text = "  ".join(told)
            if line.carried:
                text += f"  {line.carried}"
            if line.error:
                text += f"  {' '.join(line.error.split())[:ERROR]}"
            if line.depth == 0:
                text += f"  {line.time}"
            rows.append(text)
        if self.left_out:
            rows.append(f"and {self.left_out} more events at least")
        return "\n".join(rows) or "nothing is known of it"


def branches(lines: tuple[Line, ...]) -> Iterator[tuple[str, Line]]:
    """Each line with what is drawn before it: the branches of the tree."""
    follows = [False] * len(lines)  # whether another of the same depth comes under the same parent
    last: dict[int, int] = {}
    for number, line in enumerate(lines):
        if line.depth in last:
            follows[last[line.depth]] = True
        last = {depth: n for depth, n in last.items() if depth < line.depth}
        last[line.depth] = number
    open_: list[bool] = []
    for number, line in enumerate(lines):
        del open_[line.depth :]
        trunk = "".join("\u2502  " if more else "   " for more in open_[1:])
        corner = "" if line.depth == 0 else "\u251c\u2500 " if follows[number] else "\u2514\u2500 "
        yield f"{trunk}{corner}", line
        open_.append(follows[number])
