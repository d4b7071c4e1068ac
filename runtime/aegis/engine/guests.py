"""The sandboxes of one host as operators see them: what was stopped in them, and one call again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import msgspec

from aegis.core.component import Revision
from aegis.core.errors import GuestError, NotFoundError, clipped, closest
from aegis.core.grant import HOST
from aegis.core.guest import Guest, GuestStatus, Trap, TrapReplay
from aegis.core.registry import Registry
from aegis.core.wire import GuestLine
from aegis.engine.lines import trap_line

if TYPE_CHECKING:
    from aegis.engine.deploys import Deploys


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


class Guests:
    """What the sandboxes of one host stopped. Calls that are made again go one at a time."""

    def __init__(self, deploys: Deploys) -> None:
        self._deploys = deploys
        self._replaying = asyncio.Lock()

    def traps(self, component: str) -> Sequence[Trap]:
        """The last calls that were stopped, the newest last; see Host.traps."""
        return traps_of(self._known(component), component)

    async def replay(self, component: str, n: int) -> TrapReplay:
        """Make a stopped call again; see Host.replay_trap."""
        for guest in _guests(self._known(component), component):
            for trap in tuple(guest.traps):
                if trap.n == n:
                    async with self._replaying:
                        return await asyncio.to_thread(_again, guest, trap)
        raise NotFoundError(
            f"{component} has no stopped call {n}", hint="only the last ones of each code are kept"
        )

    def _known(self, component: str) -> Registry:
        """The registry that has code of a component. Raises NotFoundError."""
        registry = self._deploys.engine.registry
        names = [one.name for one in (*registry.serving(), *registry.retained)]
        if component not in names:
            raise NotFoundError(
                f"there is no component {component!r}", hint=closest(component, names)
            )
        return registry


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


def _again(guest: Guest, trap: Trap) -> TrapReplay:
    """Make a call again, on this thread."""
    told = TrapReplay(n=trap.n, revision=trap.label, function=trap.function, outcome="passed")
    try:
        guest.replay(trap)
    except GuestError as error:
        again: Trap | None = error.trap
        return msgspec.structs.replace(
            told,
            outcome="error" if again is None else "stopped",
            reason=clipped(error.detail if again is None else again.reason),
            hint=error.hint,
            frames=() if again is None else again.frames,
        )
    return told
