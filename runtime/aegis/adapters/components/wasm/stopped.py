"""Reads what wasmtime says of a guest that it stopped: why, and where the guest was."""

from __future__ import annotations

import re
from itertools import islice

from aegis.core.guest import Stop

_FRAME = re.compile(r"^\s*\d+:\s+(?:0x[0-9a-f]+\s+-\s+)?(.+?)\s*$", re.MULTILINE)
_NUMBERED = re.compile(r"^\d+:\s*")
SHOWN = 32  # frames that are kept: a recursion has thousands
SAID = 1000  # characters of a cause that has no name here
LONG = 200  # characters of a name, which is the guest's to choose

# What wasmtime calls them, and what they are called here, with the likely fix.
_REASONS = (
    ("all fuel consumed", "it used up its fuel", "raise fuel in limits, or do less in one call"),
    (
        "wasm trap: interrupt",
        "it computed for longer than {seconds:g} s",
        "raise seconds in limits, or do less in one call",
    ),
    ("call stack exhausted", "its stack is exhausted", "does it call itself without end?"),
    ("unreachable", "it ended itself: `unreachable` was reached", "most often a failed assertion"),
    ("out of bounds memory access", "it reached outside of its memory", None),
    ("undefined element: out of bounds table", "it called through a wrong index", None),
    ("uninitialized element", "it called through an empty index", None),
    ("integer divide by zero", "it divided by zero", None),
    ("indirect call type mismatch", "it called a function by another type", None),
)


def read(message: str, seconds: float) -> tuple[str, str | None, tuple[str, ...]]:
    """Why a guest was stopped, the likely fix, and its functions from the innermost one."""
    # Names come before the cause, so none of them can pretend to be one.
    head, _, cause = message.rpartition("Caused by:")
    if not head:
        head, cause = message, message
    frames = tuple(
        found[1].removeprefix("<unknown>!")[:LONG] for found in islice(_FRAME.finditer(head), SHOWN)
    )
    for words, reason, hint in _REASONS:
        if words in cause:
            return reason.format(seconds=seconds), hint, frames
    said = " ".join(_NUMBERED.sub("", line.strip()) for line in cause.split("\n"))
    return said.strip().removeprefix("wasm trap: ")[:SAID] or "it was stopped", None, frames


# What stopped a guest in a word, by what is told of it: of wasmtime, and of the sandbox itself.
_KINDS: tuple[tuple[str, Stop], ...] = (
    ("computed for longer", "time"),
    ("fuel", "fuel"),
    ("stack", "stack"),
    ("`unreachable`", "unreachable"),
    ("memory", "memory"),
    ("gave a text of", "output"),
    (" index", "index"),
    ("divided by zero", "division"),
    ("another type", "type"),
    ("nobody waits", "unheard"),
)


def kind_of(reason: str) -> Stop:
    """The word for a reason that `read` gives."""
    for words, kind in _KINDS:
        if words in reason:
            return kind
    return "other"
