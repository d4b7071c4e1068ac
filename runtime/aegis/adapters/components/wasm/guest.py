"""The sandbox of one revision: threads of its own, on which its code runs when it is called."""

from __future__ import annotations

import asyncio
import json
import logging
import queue
import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from datetime import UTC, datetime
from typing import Any

import msgspec

from aegis.adapters.components.wasm.instance import Instance, StoppedError, Template, World
from aegis.adapters.components.wasm.machine import COMPONENT, Compiled, Limits, Machine, ticks
from aegis.adapters.components.wasm.stopped import read
from aegis.core.component import Source
from aegis.core.errors import AegisError, GuestError
from aegis.core.guest import Asked, Trap
from aegis.core.wat import functions

# Threads of one guest: one computes, the others have asked the host something and wait.
MOST = 16
IDLE = 10.0  # seconds after which all threads but one end that nobody needs
TRAPS = 20  # stopped calls that are kept, to be made again
MIB = 1 << 20
LOGGED = 4096  # characters of a line in the log

# Answers what a call asks, on the loop: `host.call` and so on, with its arguments.
Serve = Callable[[str, tuple[Any, ...]], Awaitable[str]]

_LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}


class Call:
    """One call of a guest, as its thread and the caller's loop see it.

    `settings` are what it may read, by key; `serve` answers what it asks, on the loop.
    """

    def __init__(
        self,
        export: str,
        texts: tuple[str, ...],
        settings: Mapping[str, Any],
        tell: Callable[[Call], None],
    ) -> None:
        self.export = export
        self.texts = texts
        self.settings = settings
        self.tell = tell
        self.emitted: list[tuple[str, str | None, str]] = []
        self.asked: list[Asked] = []
        self.question: tuple[str, tuple[Any, ...]] | None = None
        self.answer: queue.SimpleQueue[tuple[str, bool]] = queue.SimpleQueue()
        self.given_up = False
        self.result: tuple[str, bool] | None = None
        self.error: GuestError | None = None
        self.script: deque[Asked] | None = None


class WasmGuest:
    """Runs the code of one revision within its limits; see core.guest.Guest.

    One thread computes at a time. While a call waits for the host, another one may begin, on a
    thread and in an instance of its own: nothing that code keeps in memory is sure to be there the
    next time. An instance that was stopped is never used again.
    """

    def __init__(
        self,
        machine: Machine,
        compiled: Compiled,
        world: World,
        limits: Limits,
        source: Source,
        *,
        inline: bool = False,
        fresh: bool = False,
    ) -> None:
        self.limits = limits
        self.label = f"{source.name}@{source.version}+{source.digest[:8]}"
        self.traps: deque[Trap] = deque(maxlen=TRAPS)
        self.settings: Mapping[str, Any] = {}
        self._may: Callable[[str], None] | None = None
        self._machine = machine
        self._inline = inline
        self._fresh = fresh
        self._template = Template(machine, compiled, world, limits, self._answered)
        self._now = threading.local()
        self._turn = threading.Lock()
        self._todo: queue.SimpleQueue[Call | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._threads = self._busy = self._waiting = self._queued = 0
        self._closed = False
        self._inlined: Instance | None = None
        self._source = source
        self._log = logging.getLogger(f"aegis.{self.label}")

    def open(self, settings: Mapping[str, Any], may: Callable[[str], None]) -> None:
        """See core.guest.Guest."""
        self.settings = settings
        self._may = may

    @property
    def told(self) -> Mapping[str, str]:
        """See core.guest.Guest."""
        limits = self.limits
        may = [f"{limits.seconds:g} s of computing", f"{limits.memory / MIB:,.4g} MiB of memory"]
        may.append(f"answers of {limits.output / MIB:,.4g} MiB")
        may += [f"{limits.fuel:,} units of fuel"] if limits.fuel is not None else []
        may += ["on the host's own thread"] if self._inline else []
        may += ["a new instance for every call"] if self._fresh else []
        source = self._source
        kind = "component" if source.binary.startswith(COMPONENT) else "module"
        text = ", from text" if source.text else ""
        return {
            "Kind": f"a {kind} in WebAssembly, {len(source.binary):,} bytes{text}",
            "Limits": ", ".join(may),
        }

    def check(self, what: str) -> None:
        """Raise GrantError unless its code may do `what`. While it is not open it may nothing."""
        if self._may is None:
            raise AegisError(f"{self.label} is not open: it may not use {what}")
        self._may(what)

    # Called by the host

    async def call(
        self, function: str, text: str, serve: Serve, settings: Mapping[str, Any] | None = None
    ) -> tuple[str, bool, Sequence[tuple[str, str | None, str]]]:
        """What `invoke` gives, whether it is an error, and what it emitted.

        `serve` answers what the guest asks, here on the loop and in the caller's task. Raises
        GuestError when it is stopped.
        """
        if self._inline:
            call = Call("invoke", (function, text), settings or {}, lambda _: None)
            self._inlined = self._run(call, self._inlined, alone=True)
            return (*_outcome(call), call.emitted)
        loop = asyncio.get_running_loop()
        told = loop.create_future()

        def wake() -> None:
            if not told.done():
                told.set_result(None)

        def tell(_: Call) -> None:
            with suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(wake)

        call = Call("invoke", (function, text), settings or {}, tell)
        self._submit(call)
        try:
            while True:
                await told
                if call.question is None:
                    return (*_outcome(call), call.emitted)
                told = loop.create_future()
                what, asked = call.question
                call.question = None
                try:
                    answer = (await serve(what, asked), False)
                except AegisError as error:
                    answer = (error.detail, True)
                except Exception as error:  # noqa: BLE001 -- whatever an adapter raises is told
                    answer = (f"{type(error).__name__}: {error}", True)
                call.answer.put(answer)
        finally:
            # Nobody waits for it any more: what it asks from now on stops it.
            call.given_up = True
            call.answer.put(("", True))

    def call_now(self, export: str, *texts: str) -> tuple[str, bool]:
        """What an export gives, for callers off the loop who wait for it; it may ask nothing.

        Raises GuestError when it is stopped.
        """
        done = threading.Event()
        call = Call(export, texts, {}, lambda _: done.set())
        call.script = deque()
        if self._inline:
            self._run(call, None, alone=True)
        else:
            self._submit(call)
            done.wait()
        return _outcome(call)

    def replay(self, trap: Trap) -> str:
        """See core.guest.Guest."""
        call = Call(trap.export, (trap.function, trap.input), self.settings, lambda _: None)
        call.script = deque(trap.asked)
        self._run(call, None, alone=True)
        text, failed = _outcome(call)
        if failed:
            raise GuestError(f"{self.label} {trap.function}: {text}")
        return text

    def close(self) -> None:
        """See core.guest.Guest."""
        with self._lock:
            self._closed = True
            threads = self._threads
        for _ in range(threads):
            self._todo.put(None)
        self._inlined = None

    # On the guest's threads

    def _submit(self, call: Call) -> None:
        with self._lock:
            if self._closed:
                raise GuestError(f"{self.label} is unloaded")
            self._queued += 1
            self._todo.put(call)
            self._staff()

    def _staff(self) -> None:
        """Begin a thread where one is needed: something is to do, and all that there are wait."""
        if self._queued and self._busy == self._waiting == self._threads < MOST:
            self._threads += 1
            threading.Thread(
                target=self._work,
                kwargs={"stays": self._threads == 1},
                name=f"aegis-{self.label}",
                daemon=True,
            ).start()

    def _work(self, *, stays: bool) -> None:
        instance: Instance | None = None
        while True:
            try:
                call = self._todo.get(timeout=None if stays else IDLE)
            except queue.Empty:
                with self._lock:
                    if not self._queued:
                        self._threads -= 1
                        return
                continue
            if call is None:
                return
            with self._lock:
                self._queued -= 1
                self._busy += 1
            instance = self._run(call, instance)
            with self._lock:
                self._busy -= 1
            call.tell(call)
            del call

    def _run(
        self, call: Call, instance: Instance | None, *, alone: bool = False
    ) -> Instance | None:
        """Run one call to its end; the instance for the next one, None when it cannot be used.

        `alone` it takes no turn: nobody else uses this instance, and it asks nothing.
        """
        if call.given_up:
            return instance
        turn: AbstractContextManager[Any] = nullcontext() if alone else self._turn
        with turn, self._machine.ticking():
            self._now.call, self._now.left = call, self.limits.seconds
            try:
                if instance is None:
                    instance = self._template.instance()
                self._now.instance, self._now.since = instance, time.monotonic()
                instance.store.set_epoch_deadline(ticks(self.limits.seconds))
                if self.limits.fuel is not None:
                    instance.store.set_fuel(self.limits.fuel)
                call.result = instance.call(call.export, *call.texts)
            except Exception as error:  # noqa: BLE001 -- whatever it was, it is not to be trusted
                call.error = self._stopped(call, error)
                return None
            finally:
                self._now.call = self._now.instance = None
        return None if self._fresh else instance

    def _stopped(self, call: Call, error: Exception) -> GuestError:
        """What to raise of a call that was stopped; it is kept, to be made again."""
        said = str(error) if isinstance(error, StoppedError) else f"{type(error).__name__}: {error}"
        reason, hint, frames = read(said, self.limits.seconds)
        if call.given_up:
            reason, hint = "nobody waits for it any more", None
        name = call.texts[0] if call.texts else call.export
        trap = Trap(
            label=self.label,
            function=name,
            input=call.texts[-1] if len(call.texts) > 1 else "",
            reason=reason,
            export=call.export,
            time=datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            frames=frames,
            lines=self._lines(frames),
            origin=self._source.origin,
            asked=tuple(call.asked),
        )
        if not call.given_up and call.script is None:
            self.traps.append(trap)
        where = f", in {frames[0]}" if frames else ""
        return GuestError(f"{self.label} {name} was stopped: {reason}{where}", hint=hint, trap=trap)

    def _lines(self, frames: Sequence[str]) -> tuple[int, ...]:
        """Where functions begin, of a module that was written as text."""
        if not self._source.text:
            return ()
        known = functions(self._source.text)
        return tuple(known.get(name, 0) for name in frames)

    def _answered(self, interface: str, name: str, arguments: tuple[Any, ...]) -> Any:
        """Answer what the guest asks, on its thread. It must never raise: see instance.py."""
        call: Call | None = getattr(self._now, "call", None)
        what = f"{interface}.{name}"
        if call is None:
            return _nothing(what)
        if what == "host.log":
            level, message = arguments
            self._log.log(_LEVELS.get(level, 20), "%s", message[:LOGGED])
            return None
        if what == "host.emit":
            call.emitted.append(arguments)
            return "", False
        text, failed = self._asked(call, what, arguments)
        if what == "clock.now":
            return 0 if failed else int(text)
        if what == "random.bytes":
            return bytes(arguments[0]) if failed else bytes.fromhex(text)
        return text, failed

    def _asked(self, call: Call, what: str, arguments: tuple[Any, ...]) -> tuple[str, bool]:
        """What the host answers; the guest's time stands still meanwhile."""
        text = json.dumps(arguments)
        if call.script is not None:
            said = call.script.popleft() if call.script else None
            if said is None or (said.what, said.input) != (what, text):
                return "the host was not asked that, then", True
            return said.answer, said.failed
        if what == "host.config":
            answer = _configured(call.settings, *arguments)
        else:
            answer = self._waited(call, what, arguments)
        call.asked.append(Asked(what=what, input=text, answer=answer[0], failed=answer[1]))
        return answer

    def _waited(self, call: Call, what: str, arguments: tuple[Any, ...]) -> tuple[str, bool]:
        if self._inline:
            return "a component that runs inline can ask nothing that takes time", True
        store: Any = self._now.instance.store
        self._now.left -= time.monotonic() - self._now.since
        with self._lock:
            self._waiting += 1
            self._staff()
        self._turn.release()
        try:
            call.question = (what, arguments)
            call.tell(call)
            answer = call.answer.get()
        finally:
            self._turn.acquire()
            with self._lock:
                self._waiting -= 1
            self._now.since = time.monotonic()
            # One whose caller has gone is stopped at the next step it takes.
            store.set_epoch_deadline(0 if call.given_up else ticks(max(0.0, self._now.left)))
        return answer


def _outcome(call: Call) -> tuple[str, bool]:
    if call.error is not None:
        raise call.error
    if call.result is None:
        raise GuestError("a call ended without a result")
    return call.result


def _configured(settings: Mapping[str, Any], key: str) -> tuple[str, bool]:
    """A configuration value as JSON."""
    if key not in settings:
        return f"no configuration value {key!r} is described for this call", True
    return msgspec.json.encode(settings[key]).decode(), False


def _nothing(what: str) -> Any:
    """What is answered where nobody has granted anything: while a guest describes itself."""
    return {"host.log": None, "clock.now": 0, "random.bytes": b""}.get(
        what, ("nothing is granted here", True)
    )
