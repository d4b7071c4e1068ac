"""Measures calls: how many, how many failed, how long the last ones took."""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import aclosing
from threading import get_ident
from time import perf_counter
from typing import TYPE_CHECKING, Any, Generic, Literal, Protocol

from aegis.core.breaker import State
from aegis.core.errors import AegisError, Refused
from aegis.core.wire import Breaker, Figure
from aegis.engine import recorder
from aegis.engine.context import WORK

if TYPE_CHECKING:
    from aegis.engine.gate import Gate
    from aegis.engine.monitor import Monitor
    from aegis.engine.tally import Tally
    from aegis.engine.work import Work

# The last calls, of which p50 and p99 are told.
TIMED = 128
# So many failures one after the other, or all calls so far, make a state of `failing`.
FAILING = 3
# An error is told in this many characters.
SAID = 300
# What a breaker hears of a call that was cancelled at its timeout, whatever it said after that.
LATE = "it gave no answer in time"


class Meter:
    """What one node or edge of the graph did; `source` and `target` are its ends in a trace.

    `changed` is the monitor's number of its last change.
    """

    __slots__ = (
        "calls",
        "changed",
        "error",
        "errors",
        "guards",
        "id",
        "label",
        "monitor",
        "row",
        "running",
        "source",
        "target",
        "times",
    )

    def __init__(self, monitor: Monitor, id: str, source: str, target: str, label: str) -> None:
        self.monitor = monitor
        self.id = id
        self.source = source
        self.target = target
        self.label = label
        self.calls = 0
        self.errors = 0
        self.running = 0
        self.row = 0  # failures since the last call that did not fail
        self.error: str | None = None
        self.changed = 0
        self.times: deque[float] | None = None
        # The breakers here that are not closed.
        self.guards: dict[Gate, State] = {}

    def begin(
        self,
        source: str | None = None,
        label: str | None = None,
        about: str | None = None,
        gate: Gate | None = None,
        tally: Tally | None = None,
    ) -> Span:
        """A call begins, whose end `gate` hears of; end the span that this gives. Any thread.

        A `tally` counts it, too; then it is called on the host's loop.
        """
        span = Span(self, gate, tally)
        monitor = self.monitor
        if get_ident() == monitor.thread:
            self.running += 1
            self.changed = monitor.cursor = monitor.cursor + 1
            if monitor.waiters:
                monitor.wake()
            if monitor.traces:
                span.describe(source, label, about)
                monitor.record(span)
        else:
            # What a @blocking method calls is called on a thread of its own.
            span.describe(source, label, about)
            monitor.soon(span.began_here)
        return span

    def count(self) -> None:
        """Something happened here that takes no time."""
        self.calls += 1
        self.changed = self.monitor.touch()

    def guard(self, gate: Gate, state: State | None) -> None:
        """A breaker here is in `state`, None when it is closed."""
        if self.guards.get(gate) is state:
            return
        if state is None:
            del self.guards[gate]
        else:
            self.guards[gate] = state
        self.changed = self.monitor.touch()

    @property
    def failing(self) -> bool:
        """Whether the newest calls all failed."""
        return self.row >= FAILING or self.row == self.calls > 0

    def figure(self) -> Figure:
        """The figures as they are now."""
        p50 = p99 = None
        if self.times:
            times = sorted(self.times)
            p50 = round(times[len(times) // 2] * 1e3, 3)
            p99 = round(times[len(times) * 99 // 100] * 1e3, 3)
        return Figure(
            calls=self.calls,
            errors=self.errors,
            running=self.running,
            p50=p50,
            p99=p99,
            state=self._state(),
            error=self.error,
            breaker=self._breaker(),
        )

    def _breaker(self) -> Breaker | None:
        """What keeps callers of this waiting longest, of the breakers that are not closed."""
        if not self.guards:
            return None
        return max((gate.standing for gate in self.guards), key=lambda known: known.until or "")

    def _state(self) -> Literal["idle", "ok", "failing", "open", "half-open"]:
        if self.guards:
            return "open" if State.OPEN in self.guards.values() else "half-open"
        return "failing" if self.failing else "ok" if self.calls else "idle"


class Span:
    """One call under way, measured; for traces also what it is called and what it is about."""

    __slots__ = ("about", "began", "ended", "error", "gate", "label", "meter", "source", "tally")

    def __init__(self, meter: Meter, gate: Gate | None = None, tally: Tally | None = None) -> None:
        self.meter = meter
        self.gate = gate
        self.tally = tally
        self.began = perf_counter()

    def describe(self, source: str | None, label: str | None, about: str | None) -> None:
        """Say what a trace shows of it; without one nobody asks."""
        self.source = source
        self.label = label
        self.about = about
        self.ended: float | None = None
        self.error: str | None = None

    def end(self, error: BaseException | None = None) -> None:
        """The call has ended, well or with `error`. From the thread it began on."""
        ended = self.ended = perf_counter()
        meter = self.meter
        monitor = meter.monitor
        if self.tally is not None:
            self.tally.ended(ended - self.began, failed=error is not None)
            self.tally.changed = monitor.cursor + 1  # which is what this call's own change gets
        if get_ident() != monitor.thread:
            # The error stays here: its traceback would keep the frames of component code.
            said = None if error is None else told(error)
            kind = None if error is None else type(error)
            monitor.soon(self.ended_here, said, kind, WORK.get())
        elif error is not None:
            self.ended_here(told(error), type(error), WORK.get())
        else:
            meter.running -= 1
            meter.calls += 1
            meter.row = 0
            times = meter.times
            if times is None:
                times = meter.times = deque(maxlen=TIMED)
            times.append(ended - self.began)
            meter.changed = monitor.cursor = monitor.cursor + 1
            if monitor.waiters:
                monitor.wake()
            gate = self.gate
            if gate is not None:
                breaker, work = gate.breaker, WORK.get()
                late = work is not None and work.expired
                if breaker.state is State.CLOSED and not late:
                    breaker.outcomes.append((ended, False))
                else:
                    gate.heard(ended, work, LATE if late else None)

    def began_here(self) -> None:
        """Count on the host's loop that it began elsewhere."""
        meter = self.meter
        meter.running += 1
        meter.changed = meter.monitor.touch()
        meter.monitor.record(self)

    def ended_here(
        self, said: str | None, kind: type[BaseException] | None, work: Work | None
    ) -> None:
        """Count on the host's loop how it ended: with an error of this kind, or well."""
        meter = self.meter
        meter.running -= 1
        meter.changed = meter.monitor.touch()
        self.error = said
        late = work is not None and work.expired
        if kind is not None:
            if issubclass(kind, asyncio.CancelledError | GeneratorExit):
                # It was cut: whether it would have worked nobody knows, unless its time was up.
                if self.gate is not None and late:
                    self.gate.heard(perf_counter(), work, LATE)
                return
            meter.error = said
            meter.errors += 1
        # A refusal is an answer: whoever gave it works.
        answered = kind is None or issubclass(kind, Refused)
        meter.row = 0 if answered else meter.row + 1
        if self.gate is not None:
            self.gate.heard(perf_counter(), work, LATE if late else None if answered else said)
        meter.calls += 1
        if meter.times is None:
            meter.times = deque(maxlen=TIMED)
        if self.ended is not None:
            meter.times.append(self.ended - self.began)


def told(error: BaseException) -> str:
    """An error in one line."""
    try:
        text = " ".join(str(error).split())[:SAID]
    except Exception:
        text = ""
    if isinstance(error, AegisError):
        return text or type(error).__name__
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


# --- adapters and services ------------------------------------------------------------------------


def metered(
    instance: Any,
    protocol: type,
    meter: Meter,
    gate: Gate | None = None,
    *,
    recorded: bool = False,
) -> Any:
    """`instance` as one caller of it sees it: calls of the Protocol's methods are measured.

    `gate` hears how they ended; where they are `recorded` a step that calls keeps the answers.

    The view is an object of a subclass that shares the attributes of the instance: isinstance,
    properties and dunder methods go on working, and what the instance calls on itself is not
    counted. What has no `__dict__` to share (slots, a subclass of a builtin or of a Struct), or
    wants to hear of its subclasses, is given out as it is, and not measured.
    """
    cls = type(instance)
    if any(_closed(base) for base in cls.__mro__) or not hasattr(instance, "__dict__"):
        return instance
    namespace: dict[str, Any] = {
        "__slots__": (),
        "__module__": cls.__module__,
        "__qualname__": cls.__qualname__,
        "__doc__": cls.__doc__,
    }
    for name in methods(protocol):
        fn = getattr(cls, name, None)
        if inspect.isroutine(fn):
            of = protocol.__name__ if recorded else None
            namespace[name] = _measured(fn, instance, name, meter, gate, of)
    make: Any = type(cls)
    try:
        view = object.__new__(make(cls.__name__, (cls,), namespace))
        view.__dict__ = instance.__dict__
    except TypeError:
        return instance
    return view


def _closed(base: type) -> bool:
    """Whether a class keeps attributes outside `__dict__`, or does something when inherited."""
    if base in _OPEN:
        return False
    own = vars(base)
    return bool(own.get("__slots__")) or "__init_subclass__" in own


_OPEN = (object, Generic, Protocol)


def methods(protocol: type) -> Iterator[str]:
    """The names of the methods that a Protocol asks for."""
    for base in protocol.__mro__:
        if base not in _OPEN:
            for name, value in vars(base).items():
                if inspect.isroutine(value) and (name == "__call__" or name[:2] != "__"):
                    yield name


def _measured(
    fn: Any, instance: Any, name: str, meter: Meter, gate: Gate | None, of: str | None
) -> Callable[..., Any]:
    """The method `name` of `instance`, measured, for a class of which `instance` is none.

    Calls by steps are recorded as calls of the Protocol `of`, where there is one.
    """
    if inspect.iscoroutinefunction(fn):
        return functools.wraps(fn)(_measured_coroutine(instance, name, meter, gate, of))
    if inspect.isasyncgenfunction(fn):
        return functools.wraps(fn)(_measured_generator(instance, name, meter, gate, of))
    return functools.wraps(fn)(_measured_call(instance, name, meter, gate, of))


def _measured_coroutine(
    instance: Any, name: str, meter: Meter, gate: Gate | None, of: str | None
) -> Callable[..., Any]:
    async def measured(_: Any, /, *args: Any, **kwargs: Any) -> Any:
        __tracebackhide__ = True  # IPython leaves it out: the error is of the adapter
        span = meter.begin(label=name, gate=gate)
        try:
            result = await getattr(instance, name)(*args, **kwargs)
        except BaseException as error:
            span.end(error)
            if of is not None:
                recorder.raised(of, name, args, kwargs, error)
            raise
        span.end()
        if of is not None:
            recorder.answered(of, name, args, kwargs, result)
        return result

    return measured


def _measured_generator(
    instance: Any, name: str, meter: Meter, gate: Gate | None, of: str | None
) -> Callable[..., Any]:
    async def measured(_: Any, /, *args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        __tracebackhide__ = True  # IPython leaves it out: the error is of the adapter
        span = meter.begin(label=name, gate=gate)
        if of is not None:
            recorder.streamed(of, name, args, kwargs)
        try:
            async with aclosing(getattr(instance, name)(*args, **kwargs)) as items:
                async for item in items:
                    yield item
        except BaseException as error:
            span.end(error)
            raise
        span.end()

    return measured


def _measured_call(
    instance: Any, name: str, meter: Meter, gate: Gate | None, of: str | None
) -> Callable[..., Any]:
    def measured(_: Any, /, *args: Any, **kwargs: Any) -> Any:
        __tracebackhide__ = True  # IPython leaves it out: the error is of the adapter
        span = meter.begin(label=name, gate=gate)
        try:
            result = getattr(instance, name)(*args, **kwargs)
        except BaseException as error:
            span.end(error)
            if of is not None:
                recorder.raised(of, name, args, kwargs, error)
            raise
        if isinstance(result, asyncio.Future):
            result.add_done_callback(lambda done: span.end(_error(done)))
            return result if of is None else _recorded(result, of, name, args, kwargs)
        if inspect.isawaitable(result):
            later = _awaited(result, span)
            return later if of is None else _recorded(later, of, name, args, kwargs)
        span.end()
        if of is None:
            return result
        if inspect.isasyncgen(result) or inspect.isgenerator(result):
            recorder.streamed(of, name, args, kwargs)
        else:
            recorder.answered(of, name, args, kwargs, result)
        return result

    return measured


async def _recorded(
    result: Awaitable[Any], of: str, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    try:
        value = await result
    except BaseException as error:
        recorder.raised(of, name, args, kwargs, error)
        raise
    recorder.answered(of, name, args, kwargs, value)
    return value


async def _awaited(result: Awaitable[Any], span: Span) -> Any:
    try:
        value = await result
    except BaseException as error:
        span.end(error)
        raise
    span.end()
    return value


def _error(done: asyncio.Future[Any]) -> BaseException | None:
    return asyncio.CancelledError() if done.cancelled() else done.exception()
