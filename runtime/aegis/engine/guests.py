"""The sandboxes of one host as operators see them: what they are, cost, and stopped."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import msgspec

from aegis.core.component import Revision
from aegis.core.grant import HOST
from aegis.core.guest import Guest, GuestStatus, Trap
from aegis.core.registry import Registry
from aegis.core.wire import GuestLine
from aegis.engine.lines import trap_line


def guest_status(registry: Registry, revision: Revision) -> GuestStatus | None:
    """What the sandbox of a revision is, and has of the host; None for Python."""
    if revision.guest is None:
        return None
    given = registry.grants.gives
    return msgspec.structs.replace(
        revision.guest.status,
        needs=tuple(need.what for need in revision.needs),
        granted=tuple(
            need.what for need in revision.needs if given(revision.name, HOST, need.what, "write")
        ),
    )


def traps_of(registry: Registry, component: str) -> Sequence[Trap]:
    """The last stopped calls of all code of a component that is loaded, the newest last."""
    found = (trap for guest in _guests(registry, component) for trap in tuple(guest.traps))
    return sorted(found, key=lambda trap: trap.n)


def _guests(registry: Registry, component: str) -> Iterator[Guest]:
    for revision in dict.fromkeys((*registry.serving(), *registry.retained)):
        if revision.name == component and revision.guest is not None:
            yield revision.guest


class GuestLines:
    """What views are told of sandboxes, numbered: these tell nobody by themselves what they did."""

    def __init__(self) -> None:
        # By component: when its cost changed, when its traps did, and both.
        self._known: dict[str, tuple[int, int, GuestLine]] = {}

    def look(self, registry: Registry, touch: Callable[[], int]) -> None:
        """See what is otherwise; `touch` gives a change its number."""
        live = {name: one.guest for name, one in registry.live.items() if one.guest is not None}
        for gone in self._known.keys() - live.keys():
            del self._known[gone]
        for name, guest in live.items():
            cost, traps = guest.cost, traps_of(registry, name)
            _, trapped, line = self._known.get(name, (0, 0, None))
            was = () if line is None or line.traps is None else line.traps
            is_other = line is None or [one.n for one in was] != [one.n for one in traps]
            if line is not None and line.cost == cost and not is_other:
                continue
            changed = touch()
            shown = tuple(map(trap_line, traps)) if is_other else was
            self._known[name] = (
                changed,
                changed if is_other else trapped,
                GuestLine(component=name, cost=cost, traps=shown),
            )

    def since(self, cursor: int) -> Iterator[GuestLine]:
        """What changed after `cursor`."""
        for weighed, trapped, line in self._known.values():
            if trapped > cursor:
                yield line
            elif weighed > cursor:
                yield msgspec.structs.replace(line, traps=None)
