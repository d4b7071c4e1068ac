"""What a flow came to when it was run again with recorded answers, beside what it came to then."""

from __future__ import annotations

from typing import Any

import msgspec


class Pair(msgspec.Struct, frozen=True, kw_only=True):
    """One thing then and now, as JSON has it; None where it was not, or is not, there."""

    name: str
    then: Any = None
    now: Any = None
    same: bool = True


class Replay(msgspec.Struct, frozen=True, kw_only=True):
    """A flow run again on a fork of the data; `str()` tells the differences.

    `revision` is the code that ran, `reason` why it ended. `stopped` says that it could not be run
    to its end: a call was not recorded, or its recorded answer cannot be given. `steps` are what
    each step changed and how it stands, `events` what each carries, `state` the records and the
    flow at the end. `notes` are what else is to know.
    """

    asked: str
    flow: str
    revision: str
    same: bool
    reason: str
    stopped: bool = False
    steps: tuple[Pair, ...] = ()
    events: tuple[Pair, ...] = ()
    state: tuple[Pair, ...] = ()
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        verdict = "the same" if self.same else "stopped" if self.stopped else "different"
        rows = [f"replay of flow {self.flow} on {self.revision}: {verdict}; {self.reason}"]
        rows += [f"note: {note}" for note in self.notes]
        for title, pairs in (("steps", self.steps), ("events", self.events), ("state", self.state)):
            same = sum(pair.same for pair in pairs)
            rows.append(f"{title}: {same} of {len(pairs)} the same")
            for pair in pairs:
                if not pair.same:
                    rows.append(f"  {pair.name}")
                    rows.append(f"    - {told(pair.then)}")
                    rows.append(f"    + {told(pair.now)}")
        return "\n".join(rows)


def pair(name: str, then: Any, now: Any) -> Pair:
    """Something then and now; of two objects only the members that differ are kept."""
    same = bool(then == now)
    if not same and isinstance(then, dict) and isinstance(now, dict):
        names = [key for key in {**then, **now} if then.get(key) != now.get(key)]
        then = {key: then[key] for key in names if key in then}
        now = {key: now[key] for key in names if key in now}
    return Pair(name=name, then=then, now=now, same=same)


def told(value: Any) -> str:
    """One side of a pair, in a line."""
    if value is None:
        return "(not there)"
    if isinstance(value, dict):
        return ", ".join(f"{key}={item}" for key, item in value.items()) or "(nothing)"
    return str(value)
