"""Plays the partners in a replay: adapters that answer what was recorded, and nothing else."""

from __future__ import annotations

import asyncio
import builtins
import collections.abc
import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NoReturn, get_args, get_origin, get_type_hints

import msgspec

from aegis.core import errors
from aegis.core.component import PortSpec, Revision, Slot
from aegis.core.errors import AegisError, RecordingError, Refused
from aegis.core.event import Emission
from aegis.core.graph import port_id
from aegis.core.registry import Registry
from aegis.engine.attempt import late
from aegis.engine.context import WORK
from aegis.engine.meter import methods
from aegis.engine.recorder import Answered, Raised, plain
from aegis.engine.resident import Lookup, Resident, calls

if TYPE_CHECKING:
    from aegis.engine.work import Work

SHOWN = 300  # characters of a call in a message


@dataclass
class Scene:
    """One recorded call: of which port and record, when, and whether it was asked for again."""

    call: Answered
    time: str
    played: bool = False


@dataclass
class Script:
    """All that was recorded of some flows. `stopped` says why it cannot go on, once it cannot."""

    heard: Callable[[str], None]
    scenes: dict[tuple[str, str], list[Scene]] = field(default_factory=dict)
    born: dict[str, list[str]] = field(default_factory=dict)
    stopped: str | None = None
    hanging: int = 0

    def id_of(self, model: str) -> str | None:
        """The id that the next record of a model got then which a step created, if there is one."""
        ids = self.born.get(model)
        return ids.pop(0) if ids else None

    def add(self, port: str, record: str, time: str, calls: Iterable[Answered]) -> None:
        """Know what a port of a record was answered, in the order of time."""
        scenes = self.scenes.setdefault((port, record), [])
        scenes += [Scene(call, time) for call in calls]

    async def stage(
        self, registry: Registry, revision: Revision, _lookup: Lookup, _monitor: Any, _lender: Any
    ) -> Resident:
        """`revision` with recorded answers in the place of its adapters; see resident.stage."""
        ports = {
            port_id(model, port): (f"{model.key}.", port)
            for model in revision.models
            for port in model.ports.values()
        }
        filled: dict[int, dict[str, Any]] = {}
        gates: dict[int, tuple[Any, ...]] = {}
        for call, user, *_ in calls(revision):
            gates[id(call)] = ()
            model, port = ports.get(user, ("", None))
            said = None if port is None else port.policies
            if port is not None and call is port.undo:
                said = port.undo_policies
            timeout = 0.0 if said is None else said.over(registry.defaults).timeout
            filled[id(call)] = {
                slot.parameter: _partner(self, revision, model, port, slot, timeout)
                for slot in call.adapters
            }
        return Resident(revision, filled, [], {}, gates)

    def find(
        self, names: Iterable[str], record: str, call: Answered, fn: Callable[..., Any]
    ) -> Answered | str:
        """The next recorded call of `fn` that is equal; else what is known instead, for people."""
        known = [scene for name in names for scene in self.scenes.get((name, record), ())]
        meant = _meant(call, fn)
        for scene in known:
            if not scene.played and _meant(scene.call, fn) == meant:
                scene.played = True
                self.heard(scene.time)
                return scene.call
        if any(_meant(scene.call, fn) == meant for scene in known):
            return "it was asked less often then"
        said = [_told(scene.call) for scene in known]
        return f"recorded are: {'; '.join(said)}" if said else "nothing is recorded of that step"

    async def followed(self, work: Work, call: Answered) -> Any:
        """What a step found by a relation, as JSON; without a recording nothing goes on."""
        try:
            found = self.answered(work, call, "followed")
        except RecordingError:
            await self.hang()
        return msgspec.json.decode(bytes(found.value))

    def answered(self, work: Work, call: Answered, verb: str) -> Answered:
        """What a step was answered that asked the host. Raises RecordingError; nothing goes on."""
        port, record = (work.actor or "").removeprefix("port:"), work.subject or ""
        found = self.find([port], record, call, _asked)
        if isinstance(found, str):
            said = f"{port} of {record} {verb} {_told(call)}, which was not recorded: {found}"
            self.stopped = self.stopped or said
            raise RecordingError(said)
        return found

    async def hang(self) -> NoReturn:
        """Answer never."""
        self.hanging += 1
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            self.hanging -= 1
        raise AssertionError("unreachable: nobody resolves it")


def _asked(_: Any, query: Any) -> None:
    """How the following of a relation is called, and what the host is asked by a sandbox."""


def _meant(call: Answered, fn: Callable[..., Any]) -> Any:
    """A call so that equal ones are equal, whether its arguments were named or not."""
    named: Mapping[str, Any] = {}
    try:
        named = inspect.signature(fn).bind(None, *call.arguments, **call.named).arguments
    except TypeError:  # it took other arguments then
        named = {**{str(n): raw for n, raw in enumerate(call.arguments)}, **call.named}
    return call.protocol, call.method, {name: plain(value) for name, value in named.items()}


def _told(call: Answered) -> str:
    given = [bytes(raw).decode() for raw in call.arguments]
    given += [f"{name}={bytes(raw).decode()}" for name, raw in call.named.items()]
    text = f"{call.protocol}.{call.method}({', '.join(given)})"
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 1]}\u2026"


# --- the partners ---------------------------------------------------------------------------------


def _partner(
    script: Script,
    revision: Revision,
    model: str,
    port: PortSpec | None,
    slot: Slot,
    timeout: float,
) -> Any:
    """An object that does a Protocol by what is recorded for a port."""
    protocol = slot.protocol
    namespace: dict[str, Any] = {"__module__": protocol.__module__}
    for name in dict.fromkeys(methods(protocol)):
        fn = getattr(protocol, name)
        part = _Method(script, revision, model, port, timeout, protocol, name, fn)
        namespace[name] = part.method()

    def missing(_: Any, name: str) -> Any:
        if name[:2] == "__":
            raise AttributeError(name)
        where = f"{model}{port.name}" if port is not None else revision.label
        script.stopped = script.stopped or (
            f"{where} read {protocol.__name__}.{name}: only calls of methods are recorded"
        )
        raise RecordingError(script.stopped)

    namespace["__getattr__"] = missing
    return type(protocol.__name__, (protocol,), namespace)()


@dataclass(kw_only=False)
class _Method:
    """A method of a Protocol, as a port finds it in a replay."""

    script: Script
    revision: Revision
    model: str
    port: PortSpec | None
    timeout: float
    protocol: type
    name: str
    fn: Any

    def method(self) -> Callable[..., Any]:
        """It as a function: awaited where the Protocol says so."""
        returns = self._returns()
        if get_origin(returns) in {
            collections.abc.Awaitable,
            collections.abc.Coroutine,
        }:
            returns = get_args(returns)[-1]
        elif not inspect.iscoroutinefunction(self.fn):
            return lambda _, /, *args, **kwargs: self._at_once(args, kwargs, returns)

        async def asked(_: Any, /, *args: Any, **kwargs: Any) -> Any:
            return await self._later(args, kwargs, returns)

        return asked

    def _returns(self) -> Any:
        try:
            return get_type_hints(self.fn, include_extras=True).get("return", Any)
        except Exception:
            return Any

    async def _later(self, args: Any, kwargs: Any, returns: Any) -> Any:
        try:
            call = self._find(args, kwargs)
            if call.outcome == "cut":
                await self.script.hang()
            return self._give(call, returns)
        except RecordingError:
            # The port must not go on with it, nor be attempted again.
            await self.script.hang()

    def _at_once(self, args: Any, kwargs: Any, returns: Any) -> Any:
        return self._give(self._find(args, kwargs), returns)

    def _find(self, args: Any, kwargs: Any) -> Answered:
        """What is recorded of a call. Raises RecordingError, and nothing goes on after that."""
        work = WORK.get()
        record = "" if work is None or work.subject is None else work.subject
        asked = Answered(
            self.protocol.__name__,
            self.name,
            [plain(arg) or _NULL for arg in args],
            {name: plain(arg) or _NULL for name, arg in kwargs.items()},
            "returned",
            _NULL,
        )
        if self.port is None:
            self._stop(f"{self.revision.label} called {_told(asked)} outside of a step")
        names = [f"{self.model}{name}" for name in (self.port.name, *self.port.was)]
        found = self.script.find(names, record, asked, self.fn)
        if isinstance(found, str):
            called = f"{names[0]} of {record} called {_told(asked)}"
            self._stop(f"{called}, which was not recorded: {found}")
        return found

    def _give(self, call: Answered, returns: Any) -> Any:
        """What the call came to. Raises what it raised then."""
        if call.outcome == "returned":
            if returns is None or returns is type(None):
                return None
            try:
                return msgspec.json.decode(bytes(call.value), type=returns)
            except (msgspec.MsgspecError, TypeError) as error:
                said = bytes(call.value).decode()[:SHOWN]
                self._stop(
                    f"{self._where()} called {_told(call)}: its recorded answer {said} is not what "
                    f"{self.protocol.__name__}.{self.name} says it returns: {error}"
                )
        if call.outcome == "raised":
            raise error_of(msgspec.json.decode(bytes(call.value), type=Raised), self.revision)
        if call.outcome == "timeout":
            name = "" if self.port is None else self.port.name
            raise late(name, self.timeout)
        if call.outcome == "cut":
            self._stop(f"{self._where()} called {_told(call)}, which was cut before it answered")
        why = msgspec.json.decode(bytes(call.value), type=str)
        return self._stop(f"{self._where()} called {_told(call)}, which cannot be replayed: {why}")

    def _where(self) -> str:
        return self.revision.label if self.port is None else f"{self.model}{self.port.name}"

    def _stop(self, why: str) -> NoReturn:
        self.script.stopped = self.script.stopped or why
        raise RecordingError(why)


_NULL = msgspec.Raw(b"null")


def error_of(raised: Raised, revision: Revision | None = None) -> BaseException:
    """The exception that was raised then, of the class that the code of now has for it."""
    kind: Any = None
    if revision is not None:
        kind = revision.names.get(raised.type) or getattr(revision.module, raised.type, None)
    kind = kind or getattr(errors, raised.type, None) or getattr(builtins, raised.type, None)
    if not (isinstance(kind, type) and issubclass(kind, Exception)):
        return AegisError(f"{raised.type}: {raised.text}")
    error: Exception = kind.__new__(kind, *raised.args)
    error.args = tuple(raised.args)
    for name, value in raised.attributes.items():
        setattr(error, name, value)
    if isinstance(error, Refused):
        emit: Mapping[str, Any] | None = raised.attributes.get("emit")
        error.emit = None if emit is None else msgspec.convert(emit, Emission)
    return error
