"""A revision that is loaded: its adapters and services are open, its calls are counted."""

from __future__ import annotations

import asyncio
import functools
import inspect
import logging
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from aegis.core.breaker import Breaking
from aegis.core.component import Call, ModelSpec, Part, Revision, Slot
from aegis.core.errors import ComponentError
from aegis.core.graph import Edge, command_id, listener_id, part_id, port_id
from aegis.core.guest import Guest
from aegis.core.policy import KEYS, TABLE, Policy, usual
from aegis.core.port import REQUIRED, Secret
from aegis.core.registry import Registry
from aegis.engine.context import CALLER, Outlet
from aegis.engine.gate import Gate, Said
from aegis.engine.lending import Lender, lent
from aegis.engine.meter import metered
from aegis.engine.tally import Tally

if TYPE_CHECKING:
    from aegis.engine.monitor import Monitor

OPEN_TIMEOUT = 15.0
Lookup = Callable[[str], Any]

_log = logging.getLogger("aegis.host")


class Resident:
    """One loaded revision with one instance of each adapter and service it binds."""

    def __init__(
        self,
        revision: Revision,
        filled: Mapping[int, Mapping[str, Any]],
        opened: list[Any],
        settings: Mapping[str, Any],
        gates: Mapping[int, tuple[Gate, ...]],
    ) -> None:
        self.revision = revision
        self.settings = settings
        self.caller = CALLER.get()  # who deployed it
        self.outlet: Outlet | None = None
        self.newer: frozenset[str] = frozenset()
        self.calls = 0
        self.tally: Tally | None = None  # while its component is split
        self.parts: _Parts | None = None
        self.guest: Guest | None = None
        self._opened = opened
        self._idle: asyncio.Future[None] | None = None
        self._filled = filled
        self._gates = gates

    def adapters(self, call: Call) -> Mapping[str, Any]:
        """The adapters of `call` by parameter name."""
        return self._filled[id(call)]

    def gates(self, call: Call) -> tuple[Gate, ...]:
        """The circuit breakers of `call`, one for each partner."""
        return self._gates[id(call)]

    def tune(self, defaults: Policy) -> None:
        """Let the breakers go by the numbers of `defaults` where the author said no other."""
        for gate in {gate for gates in self._gates.values() for gate in gates}:
            gate.tune(defaults.breaker)

    def keep(self, spec: ModelSpec, doc: bytes | None) -> bytes | None:
        """`doc` when newer code may have put fields in it that this code does not know."""
        return doc if spec.key in self.newer else None

    @property
    def loans(self) -> Sequence[Resident]:
        """The residents of other components whose adapters it uses."""
        return () if self.parts is None else self.parts.loans

    def enter(self) -> None:
        """One more call is in flight on this revision."""
        self.calls += 1

    def leave(self) -> None:
        """One less."""
        self.calls -= 1
        if self.calls == 0 and self._idle is not None and not self._idle.done():
            self._idle.set_result(None)

    def pin(self, caller: Any) -> Callable[[], Callable[[], None]] | None:
        """What leads its output to `caller`, or to who deployed it when nobody set it off."""
        if self.outlet is None:
            return None
        return functools.partial(self.outlet, caller or self.caller, self.revision.label)

    async def drained(self) -> None:
        """Return when no call is in flight."""
        while self.calls:
            if self._idle is None or self._idle.done():
                self._idle = asyncio.get_running_loop().create_future()
            await self._idle

    async def close(self) -> None:
        """Close adapters and services, the last opened first; a failing one is logged by name."""
        for gates in self._gates.values():
            for gate in gates:
                gate.close()
        pin = self.pin(CALLER.get())
        unpin = None if pin is None else pin()
        try:
            while self._opened:
                await self._close(self._opened.pop())
        finally:
            if unpin is not None:
                unpin()
        guest, self.guest = self.guest, None
        if guest is not None:
            await guest.leave()
        self._filled = {}
        while self.parts is not None and self.parts.loans:
            self.parts.loans.pop().leave()

    async def _close(self, instance: Any) -> None:
        close = getattr(instance, "close", None)
        if close is None:
            return
        try:
            async with asyncio.timeout(OPEN_TIMEOUT):
                result = close()
                if inspect.isawaitable(result):
                    await result
        except (Exception, SystemExit):
            _log.exception("%s.%s did not close", self.revision.label, type(instance).__name__)


def calls(revision: Revision) -> Iterator[tuple[Call, str, str, Said]]:
    """Every call of `revision`: its node of the graph, the kind of its edges, their breakers."""
    for listener in revision.listeners:
        yield listener.call, listener_id(revision, listener), "uses", listener.policies.breaker
    for model in revision.models:
        for port in model.ports.values():
            for call in port.calls:
                kind = "undo" if call is port.undo else "uses"
                yield call, port_id(model, port), kind, port.policies.breaker
        for command in model.commands.values():
            yield command.call, command_id(model, command), "uses", command.policies.breaker


def settings_of(revision: Revision, lookup: Lookup) -> dict[str, Any]:
    """The configuration values that `revision`'s bound parts ask for, by key, converted.

    Raises ComponentError naming every missing or mistyped one.
    """
    values: dict[str, Any] = {}
    problems = []
    for part in revision.parts:
        for setting in part.settings:
            value = lookup(setting.key)
            if value is REQUIRED:
                value = setting.default
            if value is REQUIRED:
                environment = "AEGIS_" + setting.key.upper().replace(".", "_").replace("-", "_")
                problems.append(
                    f"{part.name} needs the configuration value {setting.key!r}: set it in "
                    f"aegis.toml, as {environment}, or with host.configure"
                    f"({{{setting.key!r}: ...}})"
                )
                continue
            if setting.type is Secret:
                values[setting.key] = (
                    value if isinstance(value, Secret) or value is None else Secret(str(value))
                )
                continue
            try:
                values[setting.key] = msgspec.convert(value, setting.type, strict=False)
            except (msgspec.ValidationError, TypeError) as error:
                problems.append(f"{part.name}: configuration value {setting.key!r}: {error}")
    if problems:
        raise ComponentError(revision.name, problems)
    return values


def defaults_of(lookup: Lookup, base: Policy) -> Policy:
    """How ports are attempted that say nothing themselves: `base` with what `ports.*` say.

    Raises ConfigError naming the key at fault.
    """
    said = {key: lookup(f"{TABLE}.{key}") for key in KEYS}
    return usual({key: value for key, value in said.items() if value is not REQUIRED}, base)


class _Guards:
    """The circuit breakers of a revision. A port and its undo share that of their partner."""

    def __init__(self, monitor: Monitor, label: str, usual: Breaking | None) -> None:
        self._monitor = monitor
        self._label = label
        self._usual = usual
        self._known: dict[tuple[str, str], Gate] = {}

    def gate(self, user: str, part: str, kind: str, said: Said) -> Gate | None:
        """The breaker between a user and a part, always the same one; None where it is `False`."""
        if said is False:
            return None
        found = self._known.get((user, part))
        if found is None:
            edge = Edge(user, part, kind).id
            found = Gate(self._monitor, said, self._label, user, part, edge)
            found.tune(self._usual)
            self._known[user, part] = found
        return found


class _Parts:
    """The adapters and services of one revision: each is made and opened once, when it is needed.

    It outlives the registry that it is made in, and so keeps none.

    `loans` are the residents of other components whose parts are used.
    """

    def __init__(self, revision: Revision, settings: Mapping[str, Any], monitor: Monitor) -> None:
        self.opened: list[Any] = []
        self.loans: list[Resident] = []
        self._revision = revision
        self._settings = settings
        self._monitor = monitor
        self._made: dict[str, Any] = {}

    def bound(self, registry: Registry, slot: Slot) -> tuple[Revision, Part]:
        """What does a Protocol, and whose it is."""
        found = registry.provider(self._revision, slot.protocol)
        if found is None:
            said = f"nothing does {slot.protocol.__name__}"
            raise ComponentError(self._revision.name, [said])
        return found

    async def make(self, registry: Registry, lender: Lender, part: Part) -> Any:
        """The one instance of a part."""
        if part.name in self._made:
            return self._made[part.name]
        name, user = self._revision.name, part_id(self._revision, part)
        arguments = {s.parameter: self._settings[s.key] for s in part.settings}
        for slot in part.services:
            arguments[slot.parameter] = await self.give(registry, lender, slot, user, "uses")
        try:
            async with asyncio.timeout(OPEN_TIMEOUT):
                instance = part.cls(**arguments)
                opening = getattr(instance, "open", None)
                if opening is not None:
                    self.opened.append(instance)
                    result = opening()
                    if inspect.isawaitable(result):
                        await result
                else:
                    self.opened.append(instance)
        except TimeoutError as error:
            raise ComponentError(
                name, [f"{part.name} did not open within {OPEN_TIMEOUT:.0f} s"]
            ) from error
        except (Exception, SystemExit) as error:
            raise ComponentError(
                name, [f"{part.name} cannot open: {type(error).__name__}: {error}"]
            ) from error
        self._made[part.name] = instance
        return instance

    async def give(
        self,
        registry: Registry,
        lender: Lender,
        slot: Slot,
        user: str,
        kind: str,
        gate: Gate | None = None,
        *,
        recorded: bool = False,
    ) -> Any:
        """What does the Protocol of `slot`, as its user gets it: each sees a view of its own."""
        owner, part = self.bound(registry, slot)
        meter = self._monitor.edge(user, part_id(owner, part), kind)
        if owner is self._revision:
            instance = await self.make(registry, lender, part)
        else:
            instance = await self._borrow(registry, lender, owner, part, slot.protocol)
        return metered(instance, slot.protocol, meter, gate, recorded=recorded)

    async def _borrow(
        self, registry: Registry, lender: Lender, owner: Revision, part: Part, protocol: type
    ) -> Any:
        """A part of another component. That stays open as long as this one may call it."""
        resident = await lender.resident(owner)
        if resident.parts is None:
            raise ComponentError(self._revision.name, [f"{owner.name} lends no adapters here"])
        instance = await resident.parts.make(registry, lender, part)
        if resident not in self.loans:
            resident.enter()
            self.loans.append(resident)
        return lent(instance, protocol, lender.guard(self._revision, owner, part))


Stage = Callable[[Registry, Revision, Lookup, "Monitor", Lender], Awaitable[Resident]]


async def stage(
    registry: Registry, revision: Revision, lookup: Lookup, monitor: Monitor, lender: Lender
) -> Resident:
    """Make and open every adapter and service that `revision` binds, measured by `monitor`.

    Those of other components are had of `lender`. Raises ComponentError naming the one that cannot
    be made or opened; what was opened before it is closed again.
    """
    settings = settings_of(revision, lookup)
    parts = _Parts(revision, settings, monitor)
    filled: dict[int, dict[str, Any]] = {}
    gates: dict[int, tuple[Gate, ...]] = {}
    guards = _Guards(monitor, revision.label, registry.defaults.breaker)
    resident = Resident(revision, filled, parts.opened, settings, gates)
    resident.parts = parts
    if revision.guest is not None:
        revision.guest.open(settings)
        resident.guest = revision.guest
    try:
        for call, user, kind, said in calls(revision):
            mine = [
                guards.gate(user, part_id(*parts.bound(registry, slot)), kind, said)
                for slot in call.adapters
            ]
            filled[id(call)] = {
                slot.parameter: await parts.give(
                    registry, lender, slot, user, kind, gate, recorded=True
                )
                for slot, gate in zip(call.adapters, mine, strict=True)
            }
            gates[id(call)] = tuple({gate: None for gate in mine if gate is not None})
    except BaseException:
        await resident.close()
        raise
    return resident
