"""A revision that is loaded: its adapters and services are open, its calls are counted."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from aegis.core.component import Call, ModelSpec, Part, Revision, Slot
from aegis.core.errors import ComponentError
from aegis.core.port import REQUIRED, Secret
from aegis.core.registry import Registry

OPEN_TIMEOUT = 15.0
Lookup = Callable[[str], Any]

_log = logging.getLogger("aegis.host")


class Resident:
    """One loaded revision with one instance of each adapter and service it binds."""

    def __init__(
        self,
        revision: Revision,
        instances: Mapping[type, Any],
        opened: list[Any],
        settings: Mapping[str, Any],
    ) -> None:
        self.revision = revision
        self.settings = settings
        self.newer: frozenset[str] = frozenset()
        self.calls = 0
        self._opened = opened
        self._idle: asyncio.Future[None] | None = None
        self._filled = {
            id(call): {slot.parameter: instances[slot.protocol] for slot in call.adapters}
            for call in _calls(revision)
        }

    def adapters(self, call: Call) -> Mapping[str, Any]:
        """The adapters of `call` by parameter name."""
        return self._filled[id(call)]

    def keep(self, spec: ModelSpec, doc: bytes | None) -> bytes | None:
        """`doc` when newer code may have put fields in it that this code does not know."""
        return doc if spec.key in self.newer else None

    def enter(self) -> None:
        """One more call is in flight on this revision."""
        self.calls += 1

    def leave(self) -> None:
        """One less."""
        self.calls -= 1
        if self.calls == 0 and self._idle is not None and not self._idle.done():
            self._idle.set_result(None)

    async def drained(self) -> None:
        """Return when no call is in flight."""
        while self.calls:
            if self._idle is None or self._idle.done():
                self._idle = asyncio.get_running_loop().create_future()
            await self._idle

    async def close(self) -> None:
        """Close adapters and services, the last opened first; a failing one is logged by name."""
        while self._opened:
            instance = self._opened.pop()
            close = getattr(instance, "close", None)
            if close is None:
                continue
            try:
                async with asyncio.timeout(OPEN_TIMEOUT):
                    result = close()
                    if inspect.isawaitable(result):
                        await result
            except (Exception, SystemExit):
                _log.exception("%s.%s did not close", self.revision.label, type(instance).__name__)
        self._filled = {}


def _calls(revision: Revision) -> list[Call]:
    calls = [listener.call for listener in revision.listeners]
    for model in revision.models:
        for port in model.ports.values():
            calls.append(port.call)
            if port.undo is not None:
                calls.append(port.undo)
        calls += [command.call for command in model.commands.values()]
    return calls


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


async def stage(registry: Registry, revision: Revision, lookup: Lookup) -> Resident:
    """Make and open every adapter and service that `revision` binds.

    Raises ComponentError naming the one that cannot be made or opened; what was opened before
    it is closed again.
    """
    settings = settings_of(revision, lookup)
    made: dict[str, Any] = {}
    opened: list[Any] = []

    def bound(slot: Slot) -> Part:
        part = registry.binding(revision, slot.protocol)
        if part is None:
            raise ComponentError(revision.name, [f"nothing does {slot.protocol.__name__}"])
        return part

    async def make(part: Part) -> Any:
        if part.name in made:
            return made[part.name]
        arguments = {s.parameter: settings[s.key] for s in part.settings}
        for slot in part.services:
            arguments[slot.parameter] = await make(bound(slot))
        try:
            async with asyncio.timeout(OPEN_TIMEOUT):
                instance = part.cls(**arguments)
                opening = getattr(instance, "open", None)
                if opening is not None:
                    opened.append(instance)
                    result = opening()
                    if inspect.isawaitable(result):
                        await result
                else:
                    opened.append(instance)
        except TimeoutError as error:
            raise ComponentError(
                revision.name, [f"{part.name} did not open within {OPEN_TIMEOUT:.0f} s"]
            ) from error
        except (Exception, SystemExit) as error:
            raise ComponentError(
                revision.name, [f"{part.name} cannot open: {type(error).__name__}: {error}"]
            ) from error
        made[part.name] = instance
        return instance

    instances: dict[type, Any] = {}
    try:
        for call in _calls(revision):
            for slot in call.adapters:
                if slot.protocol not in instances:
                    instances[slot.protocol] = await make(bound(slot))
    except BaseException:
        await Resident(revision, _Anything(), opened, settings).close()
        raise
    return Resident(revision, instances, opened, settings)


class _Anything(dict[type, Any]):
    """Stands in for the instances of a revision that is given up."""

    def __missing__(self, key: type) -> None:
        return None
