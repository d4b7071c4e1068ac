"""What recorded flows and requests came to on a candidate, and how much of that a deploy bears."""

from __future__ import annotations

from typing import Literal

import msgspec

from aegis.core.errors import GateError, InvalidError
from aegis.core.replay import Pair, told

SHOWN = 50  # flows and requests that are told of one by one
LINES = 5  # differences of one that are told


class Gate(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The last `last` flows and requests are tried on the candidate, for `seconds` at most.

    A deploy is refused when more than `differ` of them come to something else, or more than
    `raises` end in an error that there was not.
    """

    last: int = 500
    differ: int = 0
    raises: int = 0
    seconds: float = 30.0

    def __post_init__(self) -> None:
        if self.last < 1 or self.differ < 0 or self.raises < 0 or not 0 < self.seconds <= 86400:
            raise InvalidError(
                "a gate tries 1 flow or more, allows 0 or more, and ends within a day",
                hint="as in Gate(last=500, differ=0, raises=0, seconds=30)",
            )


class Divergence(msgspec.Struct, frozen=True, kw_only=True):
    """A flow, by its id, or a request, by that of its event, that did not come to the same.

    `error` is what was raised, or why it could not go on; `differences` are what is otherwise.
    """

    id: str
    kind: Literal["flow", "request"]
    name: str
    verdict: Literal["differs", "raises"]
    error: str | None = None
    differences: tuple[Pair, ...] = ()

    def __str__(self) -> str:
        rows = [f"{self.kind} {self.id} ({self.name}) {self.verdict}"]
        rows[0] += f": {self.error}" if self.error else ""
        for pair in self.differences[:LINES]:
            rows += [f"  {pair.name}", f"    - {told(pair.then)}", f"    + {told(pair.now)}"]
        more = len(self.differences) - LINES
        rows += [f"  and {more} more differences"] if more > 0 else []
        return "\n".join(rows)


class Rehearsal(msgspec.Struct, frozen=True, kw_only=True):
    """How recorded flows and requests fare on a candidate: `412 same, 3 differ, 1 raises`.

    `unsteady` never come to the same, on the code that serves either: by them nothing is told.
    `skipped` cannot be tried, with the reasons in `notes`; for `unreached` there was no time.
    `diverging` has the first of those that differ or raise; `seconds` is how long it took.
    """

    components: tuple[str, ...]
    gate: Gate
    same: int = 0
    differ: int = 0
    raises: int = 0
    unsteady: int = 0
    skipped: int = 0
    unreached: int = 0
    seconds: float = 0.0
    diverging: tuple[Divergence, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def tried(self) -> int:
        """How many it is told of."""
        return self.same + self.differ + self.raises

    @property
    def passes(self) -> bool:
        """Whether the gate lets the candidate through."""
        return self.differ <= self.gate.differ and self.raises <= self.gate.raises

    def check(self) -> None:
        """Raise GateError unless the gate lets the candidate through."""
        if not self.passes:
            names = ", ".join(self.components)
            raise GateError(f"the gate refuses {names}: {self.figures()}", rehearsal=self)

    def figures(self) -> str:
        """The verdict in a line."""
        if not (self.tried or self.unsteady or self.skipped or self.unreached):
            return "nothing recorded"
        raised = "raises" if self.raises == 1 else "raise"
        said = [f"{self.same} same", f"{self.differ} differ", f"{self.raises} {raised}"]
        said += [f"{self.unsteady} never the same"] if self.unsteady else []
        said += [f"{self.skipped} cannot be tried"] if self.skipped else []
        said += [f"{self.unreached} not reached in time"] if self.unreached else []
        return ", ".join(said)

    def __str__(self) -> str:
        rows = [self.figures(), *map(str, self.diverging)]
        more = self.differ + self.raises - len(self.diverging)
        rows += [f"and {more} more"] if more > 0 else []
        return "\n".join([*rows, *(f"note: {note}" for note in self.notes)])
