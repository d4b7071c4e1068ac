"""Who hears events only while they happen: subscriptions with a bounded queue, inline listeners."""

from __future__ import annotations

import asyncio
import copy
import inspect
import logging
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, Literal, get_args

import msgspec

from aegis.core.errors import ClosedError, ExpectedError, InvalidError, OverrunError
from aegis.core.event import Event, decode_event, matches
from aegis.protocols import Entry

# What a full subscription does with one more event.
Overflow = Literal["drop-oldest", "drop-newest", "end"]
When = Callable[[Event], bool]
Callback = Callable[[Event], object]

ROUTES = 4096  # event types of which it is known who hears them

_log = logging.getLogger("aegis.host")


class Subscription:
    """An ephemeral listener: iterate it for events; `stop()` ends it.

    It holds `limit` events at most. When it is full, `overflow` says what happens: the oldest or
    the newest is dropped, which `dropped` counts, or it ends, and iterating it raises OverrunError
    after what it holds. Of the events that match it hears those for which `when(event)` is true,
    with `once` only the first.
    """

    def __init__(
        self,
        pattern: str,
        stop: Callable[[Subscription], None],
        *,
        limit: int = 1000,
        overflow: Overflow = "drop-oldest",
        when: When | None = None,
        once: bool = False,
    ) -> None:
        if limit < 1:
            raise InvalidError(f"limit must be 1 or more, not {limit}")
        if overflow not in get_args(Overflow):
            known = ", ".join(repr(name) for name in get_args(Overflow))
            raise InvalidError(f"overflow must be one of {known}, not {overflow!r}")
        self.pattern = pattern
        self.dropped = 0
        self._queue: deque[Entry] = deque()
        self._limit = limit
        self._overflow = overflow
        self._when = when
        self._once = once
        self._stop = stop
        self._wake = asyncio.Event()
        self._ended = False
        self._overrun = False

    def offer(self, entry: Entry, event: Event) -> None:
        """Take one event, or do what the policy says when full."""
        if self._ended or not self._wants(event):
            return
        if len(self._queue) < self._limit:
            self._queue.append(entry)
        elif self._overflow == "end":
            self._overrun = True
            self.stop()
        else:
            self.dropped += 1
            if self._overflow == "drop-oldest":
                self._queue.popleft()
                self._queue.append(entry)
        self._wake.set()
        if self._once:
            self.stop()

    def _wants(self, event: Event) -> bool:
        if self._when is None:
            return True
        try:
            return bool(self._when(event))
        except Exception:
            _log.exception(
                "the condition of the subscription to %r raised: it does not hear %s",
                self.pattern,
                event.type,
            )
            return False

    def stop(self) -> None:
        """End the subscription; iteration ends after what is queued."""
        if not self._ended:
            self._ended = True
            self._stop(self)
        self._wake.set()

    async def __aiter__(self) -> AsyncIterator[Event]:
        while True:
            while self._queue:
                yield decode_event(self._queue.popleft().doc)
            if self._overrun:
                raise OverrunError(
                    f"the subscription to {self.pattern!r} ended: more than {self._limit} events "
                    "waited in it",
                    hint="take them faster, give it a higher limit=, or overflow='drop-oldest'",
                )
            if self._ended:
                return
            self._wake.clear()
            await self._wake.wait()


class Inline:
    """A function of the host's code that is called with each event as it happens; see `stop`."""

    def __init__(self, pattern: str, callback: Callback, stop: Callable[[Inline], None]) -> None:
        self.pattern = pattern
        self.callback = callback
        self._stop = stop

    def stop(self) -> None:
        """Call it no more."""
        self._stop(self)

    @property
    def name(self) -> str:
        """What the log calls it."""
        module = getattr(self.callback, "__module__", None)
        named = getattr(self.callback, "__qualname__", None) or repr(self.callback)
        return f"{module}.{named}" if module else named


class Audience:
    """All ephemeral listeners of a host, and who of them hears which type of event."""

    def __init__(self) -> None:
        self._subscriptions: list[Subscription] = []
        self._inline: list[Inline] = []
        self._expected: set[asyncio.Future[Event]] = set()
        self._routes: dict[str, tuple[Callback, ...]] = {}
        self.is_there = False  # whether anybody listens

    def _changed(self) -> None:
        self._routes.clear()
        self.is_there = bool(self._subscriptions or self._inline)

    def subscribe(self, pattern: str, **options: Any) -> Subscription:
        """A new subscription; the options are those of Subscription."""
        made = Subscription(pattern, self._unsubscribe, **options)
        self._subscriptions.append(made)
        self._changed()
        return made

    def listen(self, pattern: str, callback: Callback) -> Inline:
        """Call `callback` with each event that matches. Raises InvalidError for a coroutine."""
        if inspect.iscoroutinefunction(callback):
            raise InvalidError(
                "an inline listener is a plain function, and this one is async",
                hint="iterate host.subscribe(...) instead, or mark a component's function with @on",
            )
        made = Inline(pattern, callback, self._leave)
        self._inline.append(made)
        self._changed()
        return made

    async def expect(self, pattern: str, when: When | None, timeout: float | None) -> Event:
        """The next event that matches. Raises ExpectedError, and what its condition raises."""
        found: asyncio.Future[Event] = asyncio.get_running_loop().create_future()

        def hear(event: Event) -> None:
            if found.done():
                return
            try:
                if when is None or when(event):
                    found.set_result(event)
            except Exception as error:
                found.set_exception(error)

        heard = self.listen(pattern, hear)
        self._expected.add(found)
        try:
            event = await asyncio.wait_for(found, timeout)
        except TimeoutError:
            raise ExpectedError(
                f"no event {pattern!r} came within {timeout:g} s",
                hint="it hears what happens from now on: expect it before you set it off",
            ) from None
        finally:
            heard.stop()
            self._expected.discard(found)
        return msgspec.structs.replace(event, data=copy.deepcopy(event.data))

    def _unsubscribe(self, one: Subscription) -> None:
        if one in self._subscriptions:
            self._subscriptions.remove(one)
            self._changed()

    def _leave(self, one: Inline) -> None:
        if one in self._inline:
            self._inline.remove(one)
            self._changed()

    def close(self) -> None:
        """End every subscription."""
        for one in list(self._subscriptions):
            one.stop()
        for found in self._expected:
            if not found.done():
                found.set_exception(ClosedError("the host was closed before the event came"))
        self._inline.clear()
        self._changed()

    def hear(self, entries: Sequence[Entry], events: Sequence[tuple[Event, Any]]) -> None:
        """Give stored events to whoever listens: inline ones now, subscriptions for later."""
        routes = self._routes
        for event, _ in events:
            callbacks = routes.get(event.type)
            if callbacks is None:
                callbacks = self._route(event.type)
            for callback in callbacks:
                try:
                    callback(event)
                except Exception:
                    self._broke(callback, event)
        if self._subscriptions:
            for entry, (event, _) in zip(entries, events, strict=True):
                for subscription in self._subscribed(event.type):
                    subscription.offer(entry, event)

    def _route(self, type: str) -> tuple[Callback, ...]:
        if len(self._routes) >= ROUTES:
            self._routes.clear()
        found = tuple(one.callback for one in self._inline if matches(one.pattern, type))
        self._routes[type] = found
        return found

    def _subscribed(self, type: str) -> list[Subscription]:
        return [one for one in self._subscriptions if matches(one.pattern, type)]

    def _broke(self, callback: Callback, event: Event) -> None:
        name = next((one.name for one in self._inline if one.callback == callback), repr(callback))
        _log.exception("the inline listener %s raised on %s", name, event.type)
