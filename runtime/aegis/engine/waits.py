"""Which steps wait for a partner's answer, and which answers wait for a step."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from aegis.core.event import Event, teller
from aegis.core.flow import Step, Wait

if TYPE_CHECKING:
    from aegis.engine.run import Run

# How long an answer that no step waits for is kept before it is a failure.
KEPT = timedelta(hours=1)

_log = logging.getLogger("aegis.host")


class Waits:
    """The steps that were asked, by what they wait for, and the events that nobody claimed yet."""

    def __init__(self, hears: Callable[[Run, Step, str, str], bool]) -> None:
        # Whether a step may hear an event of a component, by that one's name and the event's.
        self.hears = hears
        # Event name -> field that holds the record's id (None: the subject) -> id -> steps.
        self._steps: dict[str, dict[str | None, dict[str, list[tuple[Run, int]]]]] = {}
        self._unclaimed: dict[str, dict[str, Event]] = {}

    def __bool__(self) -> bool:
        return bool(self._steps)

    def add(self, run: Run, step: Step) -> None:
        """A step was asked, and waits from now on."""
        for by, record, table in self._tables(step, make=True):
            table.setdefault(by, {}).setdefault(record, []).append((run, step.n))

    def remove(self, run: Run, step: Step) -> None:
        """It waits no more."""
        for by, record, table in self._tables(step, make=False):
            known = table.get(by, {}).get(record)
            if known is None:
                continue
            known[:] = [(other, n) for other, n in known if other is not run or n != step.n]
            if not known:
                del table[by][record]
                if not table[by]:
                    del table[by]
        for name in () if step.wait is None else step.wait.events:
            if not self._steps.get(name, True):
                del self._steps[name]

    def _tables(self, step: Step, *, make: bool) -> Iterator[tuple[str | None, str, Any]]:
        if step.wait is None:
            return
        for name in step.wait.events:
            table = self._steps.setdefault(name, {}) if make else self._steps.get(name)
            if table is not None:
                yield step.wait.by, step.record, table

    def is_awaited(self, type: str) -> bool:
        """Whether any step waits for events of that name."""
        return type in self._steps

    def who(
        self, type: str, subject: str | None, data: dict[str, Any], told: str | None = None
    ) -> tuple[Run, Step] | None:
        """The step that waits longest for such an event, and may hear it; `told` is whose it is."""
        for by, records in self._steps.get(type, {}).items():
            record = named(by, subject, data)
            found = None if record is None else records.get(record)
            for run, n in found or ():
                if told is None or self.hears(run, run.steps[n], told, type):
                    return run, run.steps[n]
        return None

    # Answers that came before anybody waited for them

    @property
    def kept(self) -> int:
        """How many answers nobody has claimed."""
        return sum(map(len, self._unclaimed.values()))

    def keep(self, event: Event) -> None:
        """Keep an answer that no step waits for yet."""
        self._unclaimed.setdefault(event.type, {})[event.id] = event

    def claim(self, run: Run, step: Step) -> Event | None:
        """The oldest kept answer that a step which was asked waits for; it is kept no more."""
        if step.wait is None:
            return None
        for name in step.wait.events:
            for event in self._unclaimed.get(name, {}).values():
                told = teller(event.source)
                if fits(step.wait, step.record, event) and (
                    told is None or self.hears(run, step, told, name)
                ):
                    return self.lose(event.type, event.id)
        return None

    def lose(self, type: str, id: str) -> Event | None:
        """Keep an answer no more."""
        kept = self._unclaimed.get(type, {})
        event = kept.pop(id, None)
        if not kept:
            self._unclaimed.pop(type, None)
        return event


def fits(wait: Wait, record: str, event: Event) -> bool:
    """Whether `event` is what a step of `record` waits for."""
    return event.type in wait.events and named(wait.by, event.subject, event.data) == record


def named(by: str | None, subject: str | None, data: dict[str, Any]) -> str | None:
    """The id of the record that an event names in its field `by`, or as its subject."""
    if by is None:
        return subject
    found = data.get(by)
    if found is None:
        changed = data.get("changed")
        found = changed.get(by) if isinstance(changed, dict) else None
    return found if isinstance(found, str) else None
