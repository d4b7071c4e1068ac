"""The sandbox of one revision: threads of its own, on which its code runs when it is called."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import queue
import re
import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from contextvars import ContextVar
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, NamedTuple

from wasmtime.component import Component

from aegis.adapters.components.wasm.capabilities import AT_ONCE, AtOnce
from aegis.adapters.components.wasm.cost import Cost
from aegis.adapters.components.wasm.instance import Instance, Template, World
from aegis.adapters.components.wasm.machine import COMPONENT, Compiled, Limits, Machine
from aegis.adapters.components.wasm.native import StoppedError
from aegis.adapters.components.wasm.outbound import Outbound
from aegis.adapters.components.wasm.printed import Printed, cause
from aegis.adapters.components.wasm.stopped import kind_of, read
from aegis.core.component import ENCODER, Source
from aegis.core.errors import (
    AegisError,
    GrantError,
    GuestError,
    PortTimeoutError,
    RecordingError,
)
from aegis.core.guest import Asked, GuestCost, GuestLimits, GuestStatus, Trap
from aegis.core.port import Secret
from aegis.core.wat import functions

# Threads of one guest for calls of one depth: one computes, the others have asked the host
# something and wait.
MOST = 16
# A call that is made while another guest's call waits for it is deeper. It gets threads of its own:
# else those that wait could be all there are, and none be left for what they wait for.
DEEPEST = 4
IDLE = 10.0  # seconds after which all threads but one end that nobody needs
MIB = 1 << 20
TRAPS = 20  # stopped calls that are kept, to be made again
LOST = 16  # calls that have not come back, with which it is called no more

# What one call may do beside computing.
ASKS = 10_000
EMITS = 1_000
TOLD = 32 << 20  # bytes of all questions and answers, which may be recorded
KEPT = 1 << 20  # bytes of questions and answers that are kept for a trap
ERROR = 1 << 16  # characters of an error
LINES = 200  # lines a second that one guest may log, and as many at once
RANDOM = 1 << 16  # bytes, as the contract says

# Answers what a call asks, on the loop: `host.call` and so on, with its arguments.
Serve = Callable[[str, tuple[Any, ...]], Awaitable[str]]

_LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}
# One line of a guest is one line of the log, whatever it writes.
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029]+")
_OVER = "wasm trap: interrupt"  # as wasmtime says that a time is over
_UNHEARD = "nobody waits for it any more"
_DEPTH: ContextVar[int] = ContextVar("aegis_guest_depth", default=0)


class Given(NamedTuple):
    """What a call gave, whether that is an error, and what it emitted.

    `denied` is why it may not use something that it asked for, None where it may.
    """

    text: str
    failed: bool
    emitted: Sequence[tuple[str, str | None, str]]
    denied: GrantError | None


class Call:
    """One call of a guest, as its thread and the caller's loop see it.

    `settings` are what it may read, by key; `tell` says that there is a question or the end;
    `lost` goes on without its thread; `script` has the answers where nobody is there to ask.
    `at_once` answers, on its own thread, what takes no time. `denied` is that it asked for what it
    has no right to (any more).
    """

    __slots__ = (
        "answer",
        "asked",
        "asks",
        "at_once",
        "began",
        "computed",
        "denied",
        "due",
        "emitted",
        "error",
        "export",
        "given_up",
        "is_lost",
        "is_running",
        "kept",
        "lane",
        "lost",
        "made",
        "question",
        "result",
        "script",
        "settings",
        "tell",
        "texts",
    )

    def __init__(
        self,
        export: str,
        texts: tuple[str, ...],
        settings: Mapping[str, Any],
        tell: Callable[[], None],
        script: Sequence[Asked] | None = None,
        at_once: AtOnce | None = None,
    ) -> None:
        self.export = export
        self.texts = texts
        self.settings = settings
        self.tell = tell
        self.script = None if script is None else deque(script)
        self.at_once = at_once
        self.denied: GrantError | None = None
        self.emitted: list[tuple[str, str | None, str]] = []
        self.asked: list[Asked] = []
        self.asks = self.kept = 0
        self.question: tuple[str, tuple[Any, ...]] | None = None
        self.answer: queue.SimpleQueue[tuple[str, bool]] = queue.SimpleQueue()
        self.given_up = ""  # why
        self.result: tuple[str, bool] | None = None
        self.error: GuestError | None = None
        self.due = 0.0
        self.made = self.began = time.monotonic()
        self.computed = 0.0  # seconds
        self.is_running = self.is_lost = False
        self.lane: Lane | None = None
        self.lost: Callable[[Call], None] | None = None

    def lose(self) -> None:
        """See machine.Run."""
        if self.lost is not None:
            self.lost(self)

    def give_up(self, why: str) -> None:
        """What it asks from now on stops it."""
        self.given_up = self.given_up or why
        self.answer.put(("", True))

    @property
    def outcome(self) -> tuple[str, bool]:
        """What it gave, and whether that is an error. Raises GuestError when it was stopped.

        GrantError when it was after it asked for what it may not use.
        """
        if self.error is not None:
            if self.denied is not None:
                raise denial(self.denied, self.error.detail) from self.error
            raise self.error
        if self.result is None:
            raise GuestError("a call ended without a result")
        return self.result


class Lane:
    """The threads for calls of one depth, and the calls that wait for one."""

    def __init__(self, *, stays: bool) -> None:
        self.todo: queue.SimpleQueue[Call | None] = queue.SimpleQueue()
        self.stays = stays  # one of its threads, whatever happens
        self.threads = self.busy = self.waiting = self.queued = 0


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
        outbound: Outbound | None = None,
    ) -> None:
        self.limits = limits
        self.label = f"{source.name}@{source.version}+{source.digest[:8]}"
        self.settings: Mapping[str, Any] = {}
        self._traps: deque[Trap] = deque(maxlen=TRAPS)
        self.outbound = outbound
        self.is_inline = inline
        self._machine = machine
        self._compiled, self._world, self._binary = compiled, world, source.binary
        self._cost = Cost()
        self._fresh = fresh
        self._template = Template(machine, compiled, world, limits, self._answered)
        self._now = threading.local()
        self._turn = threading.Lock()
        self._lock = threading.Lock()  # of what follows
        self._lanes = [Lane(stays=not depth) for depth in range(DEEPEST)]
        self._waits: set[Call] = set()  # for an answer of the host
        self._lost = 0
        self._closed = False
        # Instances for callers that wait on a thread of their own: on the loop, and off it.
        self._inlined: Instance | None = None
        self._aside: Instance | None = None
        self._alone = threading.Lock()
        self._source = source
        # One for all revisions: the process keeps every logger that it was ever asked for.
        self._log = logging.getLogger(f"aegis.guest.{source.name}")
        self._lines, self._filled, self._unsaid = float(LINES), time.monotonic(), 0

    @property
    def traps(self) -> Sequence[Trap]:
        """See core.guest.Guest."""
        with self._lock:
            return tuple(self._traps)

    @cached_property
    def status(self) -> GuestStatus:
        """See core.guest.Guest."""
        limits = self.limits
        return GuestStatus(
            kind="component" if isinstance(self._compiled, Component) else "module",
            size=len(self._binary),
            digest=hashlib.sha256(self._binary).hexdigest(),
            contract=max(self._world.versions.values(), default=""),
            imports=tuple(sorted(self._world.imports)),
            limits=GuestLimits(
                seconds=limits.seconds,
                memory=limits.memory,
                output=limits.output,
                fuel=limits.fuel,
            ),
            inline=self.is_inline,
            fresh=self._fresh,
        )

    @property
    def cost(self) -> GuestCost:
        """See core.guest.Guest."""
        return self._cost.told(
            queued=sum(lane.queued for lane in self._lanes),
            threads=sum(lane.threads for lane in self._lanes),
        )

    def open(self, settings: Mapping[str, Any]) -> None:
        """See core.guest.Guest."""
        self.settings = settings
        if self.outbound is not None:
            self.outbound.enter()

    @property
    def told(self) -> Mapping[str, str]:
        """See core.guest.Guest."""
        limits = self.limits
        may = [f"{limits.seconds:g} s of computing", f"{limits.memory / MIB:,.4g} MiB of memory"]
        may.append(f"answers of {limits.output / MIB:,.4g} MiB")
        may += [f"{limits.fuel:,} units of fuel"] if limits.fuel is not None else []
        may += ["on the host's own thread"] if self.is_inline else []
        may += ["a new instance for every call"] if self._fresh else []
        source = self._source
        kind = "component" if source.binary.startswith(COMPONENT) else "module"
        text = ", from text" if source.text else ""
        return {
            "Kind": f"a {kind} in WebAssembly, {len(source.binary):,} bytes{text}",
            "Limits": ", ".join(may),
        }

    async def leave(self) -> None:
        """See core.guest.Guest."""
        if self.outbound is not None:
            await self.outbound.leave()

    # Called by the host

    async def call(
        self,
        function: str,
        text: str,
        serve: Serve,
        settings: Mapping[str, Any] | None = None,
        at_once: AtOnce | None = None,
    ) -> Given:
        """What `invoke` gives.

        `serve` answers what the guest asks, here on the loop and in the caller's task, `at_once`
        where that takes no time. Raises GuestError when it is stopped, GrantError when it is after
        it asked for what it may not use.
        """
        texts, known = (function, text), settings or {}
        if self.is_inline:
            call = Call("invoke", texts, known, _nobody, at_once=at_once)
            if self._closed:
                raise self._gone()
            self._inlined = self._run(call, self._inlined)
            return Given(*call.outcome, call.emitted, call.denied)
        loop = asyncio.get_running_loop()
        told = loop.create_future()

        def wake() -> None:
            if not told.done():
                told.set_result(None)

        def tell() -> None:
            with suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(wake)

        call = Call("invoke", texts, known, tell, at_once=at_once)
        depth = _DEPTH.get()
        self._submit(call, depth)
        try:
            while True:
                await told
                if call.question is None:
                    return Given(*call.outcome, call.emitted, call.denied)
                told = loop.create_future()
                what, asked = call.question
                call.question = None
                _DEPTH.set(depth + 1)
                try:
                    answer = (await serve(what, asked), False)
                except (PortTimeoutError, RecordingError):
                    raise  # its time is up, or a replay cannot go on: it is told nothing more
                except AegisError as error:
                    answer = _refused(call, error)
                except Exception as error:  # noqa: BLE001 -- whatever an adapter raises is told
                    answer = (f"{type(error).__name__}: {error}", True)
                finally:
                    _DEPTH.set(depth)
                call.answer.put(answer)
        finally:
            call.give_up(_UNHEARD)

    def call_now(self, export: str, *texts: str, at_once: AtOnce | None = None) -> tuple[str, bool]:
        """What an export gives, for callers off the loop who wait for it; it may ask nothing else.

        Raises GuestError when it is stopped.
        """
        call = Call(export, texts, {}, _nobody, (), at_once)
        with self._alone:
            if self._closed:
                raise self._gone()
            self._aside = self._waited_for(call, self._aside)
        return call.outcome

    def replay(self, trap: Trap) -> str:
        """See core.guest.Guest."""
        settings = {**self.settings, **trap.settings}
        call = Call(trap.export, (trap.function, trap.input), settings, _nobody, trap.asked)
        self._waited_for(call, None)
        text, failed = call.outcome
        if failed:
            raise GuestError(f"{self.label} {trap.function}: {text}")
        return text

    def close(self) -> None:
        """See core.guest.Guest."""
        with self._lock:
            self._closed = True
            for lane in self._lanes:
                with suppress(queue.Empty):
                    while True:
                        call = lane.todo.get_nowait()
                        if call is not None:
                            lane.queued -= 1
                            call.error = self._gone()
                            call.tell()
                for _ in range(lane.threads):
                    lane.todo.put(None)
            for call in self._waits:
                call.give_up("its component was unloaded")
        self._inlined = self._aside = None

    def _gone(self) -> GuestError:
        return GuestError(f"{self.label} is unloaded")

    # On the guest's threads

    def _submit(self, call: Call, depth: int) -> None:
        lane = call.lane = self._lanes[min(depth, DEEPEST - 1)]
        if self._template.has_wasi:  # nothing else keeps a thread for long
            call.lost = self._lose
        with self._lock:
            if self._closed:
                raise self._gone()
            if self._lost >= LOST:
                raise GuestError(
                    f"{LOST} calls of {self.label} have not come back from WASI: no more is begun",
                    hint="it may not sleep or wait there; deploy code that does not",
                )
            lane.queued += 1
            try:
                self._staff(lane)
            except RuntimeError as error:  # the process may have no more threads
                if not lane.threads:
                    lane.queued -= 1
                    raise GuestError(f"{self.label} cannot be called: {error}") from None
            lane.todo.put(call)

    def _staff(self, lane: Lane) -> None:
        """Begin a thread where one is needed: something is to do, and all that there are wait."""
        if lane.queued and lane.busy == lane.waiting == lane.threads < MOST:
            stays = lane.stays and not lane.threads
            threading.Thread(
                target=self._work, args=(lane, stays), name=f"aegis-{self.label}", daemon=True
            ).start()
            lane.threads += 1

    def _work(self, lane: Lane, stays: bool) -> None:  # noqa: FBT001 -- threading gives it so
        instance: Instance | None = None
        while True:
            try:
                call = lane.todo.get(timeout=None if stays else IDLE)
            except queue.Empty:
                with self._lock:
                    if not lane.queued:
                        lane.threads -= 1
                        return
                continue
            if call is None:
                with self._lock:
                    lane.threads -= 1
                return
            with self._lock:
                lane.queued -= 1
                lane.busy += 1
            if not call.given_up:
                self._turn.acquire()
                instance = self._run(call, instance)
                if call.is_lost:  # this thread counts no more, and its turn is another's
                    with self._lock:
                        self._lost -= 1
                    return
                self._turn.release()
            with self._lock:
                lane.busy -= 1
            call.tell()
            del call

    def _waited_for(self, call: Call, instance: Instance | None) -> Instance | None:
        """Run a call whose caller waits for it, on this thread; the instance for the next one.

        WASI could keep this thread for ever, so what has that runs on one that can be left behind.
        """
        if not self._template.has_wasi:
            return self._run(call, instance)
        done = threading.Event()
        call.tell = done.set
        self._submit(call, 0)
        done.wait()
        return None

    def _run(self, call: Call, instance: Instance | None) -> Instance | None:
        """Run one call to its end; the instance for the next one, None when it cannot be used."""
        limits, now = self.limits, self._now
        now.call, now.has_begun = call, instance is not None
        printed = None if instance is None else instance.printed
        result = error = None
        waited = 0.0
        try:
            self._begin(call, limits.seconds)
            waited = call.began - call.made
            if instance is None:
                printed = Printed() if self._template.has_wasi else None
                instance = self._template.instance(limits.seconds, printed)
                now.has_begun = True
                # What it took to begin is part of its time.
                instance.arm(max(0.0, call.due - time.monotonic()), limits.fuel)
            else:
                instance.arm(limits.seconds, limits.fuel)
            now.instance = instance
            text, failed = instance.call(call.export, call.texts, limits.output)
            result = (text[:ERROR] if failed else text, failed)
        except Exception as stopped:  # noqa: BLE001 -- whatever it was, it is not to be trusted
            said = "" if printed is None else self._shown(printed)
            error, instance = self._stopped(call, stopped, said), None
        finally:
            now.call = now.instance = None
        if printed is not None:
            self._shown(printed)
        kept = None if self._fresh else instance
        if self._end(call):
            call.result, call.error = result, error
            if call.script is None:
                self._cost.ended(call.computed, waited, kept)
        return kept

    def _begin(self, call: Call, seconds: float) -> None:
        """It computes from now on, for so long at most."""
        call.began = time.monotonic()
        call.due = call.began + seconds
        call.is_running = True
        self._machine.begin(call)

    def _end(self, call: Call) -> bool:
        """It does not compute any more. Whether anybody still counts on it: see `_lose`."""
        self._machine.end(call)
        call.computed += time.monotonic() - call.began
        with self._lock:
            call.is_running = False
            return not call.is_lost

    def _lose(self, call: Call) -> None:
        """Go on without a thread that does not come back. By the machine's clock."""
        lane = call.lane
        with self._lock:
            if lane is None or not call.is_running or time.monotonic() < call.due:
                return
            call.is_lost = True
            call.error = GuestError(
                f"{self.label} {call.texts[0] if call.texts else call.export} was stopped: it did "
                f"not come back from WASI within {self.limits.seconds:g} s",
                hint="it may not sleep or wait there",
            )
            self._lost += 1
            self._cost.stopped("time")
            self._cost.ended(self.limits.seconds, 0.0, None)
            lane.threads -= 1
            lane.busy -= 1
            self._turn.release()
            with suppress(RuntimeError):
                self._staff(lane)
        call.tell()

    def _shown(self, printed: Printed) -> str:
        """Write to the log what was printed; it."""
        text = printed.take()
        for line in text.splitlines():
            self._say("info", line)
        return text

    def _stopped(self, call: Call, error: Exception, printed: str) -> GuestError:
        """What to raise of a call that was stopped; it is kept, to be made again."""
        said = str(error) if isinstance(error, StoppedError) else f"{type(error).__name__}: {error}"
        reason, hint, frames = read(said, self.limits.seconds)
        if call.given_up:
            reason, hint = call.given_up, None
        name = call.texts[0] if call.texts else call.export
        is_kept = not call.given_up and call.script is None and call.denied is None
        trap = Trap(
            n=next(self._machine.numbers) if is_kept else 0,
            label=self.label,
            function=name,
            input=call.texts[-1] if len(call.texts) > 1 else "",
            reason=reason,
            export=call.export,
            time=datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            frames=frames,
            lines=self._places(frames),
            origin=self._source.origin,
            settings=call.settings,
            asked=tuple(call.asked),
            printed=printed,
        )
        if is_kept:
            with self._lock:
                self._traps.append(trap)
        if call.script is None:
            self._cost.stopped(kind_of(reason))
        where = f", in {frames[0]}" if frames else ""
        if why := cause(printed):
            where += f": {why}"
        return GuestError(f"{self.label} {name} was stopped: {reason}{where}", hint=hint, trap=trap)

    def _places(self, frames: Sequence[str]) -> tuple[int, ...]:
        """The lines where functions begin, of a module that was written as text."""
        if not self._source.text:
            return ()
        known = functions(self._source.text)
        return tuple(known.get(name, 0) for name in frames)

    # What it asks, on its threads; what is raised here stops it

    def _answered(self, interface: str, name: str, arguments: tuple[Any, ...]) -> Any:
        """What the guest asks. Raises StoppedError to stop it."""
        call: Call = self._now.call
        what = f"{interface}.{name}"
        if time.monotonic() > call.due:  # no epoch may have gone by between two questions
            raise StoppedError(_OVER)
        if what == "host.log":
            self._say(*arguments)
            return None
        if not self._now.has_begun:
            raise StoppedError(f"it calls {what} before it has begun")
        if what == "host.config":
            (key,) = arguments
            if key not in call.settings:
                return f"no configuration value {key!r} is described for this call", True
            value = call.settings[key]
            value = value.reveal() if isinstance(value, Secret) else value
            return ENCODER.encode(value).decode(), False
        if what == "host.emit":
            call.kept += sum(len(one or "") for one in arguments)
            if len(call.emitted) >= EMITS or call.kept > self.limits.output:
                raise StoppedError("it emits too much in one call")
            call.emitted.append(arguments)
            return "", False
        if what == "random.bytes" and arguments[0] > RANDOM:
            raise StoppedError(f"it asks for {arguments[0]} random bytes, and {RANDOM} are allowed")
        text, failed = self._asked(call, what, arguments)
        if what not in AT_ONCE:
            return text, failed
        if failed:  # it cannot be told, and must not go on with a wrong time or chance
            raise StoppedError(text)
        return int(text) if what == "clock.now" else bytes.fromhex(text)

    def _say(self, level: str, message: str) -> None:
        """Write a line to the log, unless there were too many."""
        now = time.monotonic()
        self._lines = min(float(LINES), self._lines + (now - self._filled) * LINES)
        self._filled = now
        if self._lines < 1:
            self._unsaid += 1
            return
        self._lines -= 1
        if self._unsaid:
            self._log.warning("%s: left out here: %d of its lines", self.label, self._unsaid)
            self._unsaid = 0
        self._log.log(_LEVELS.get(level, 20), "%s", _CONTROL.sub(" ", message))

    def _asked(self, call: Call, what: str, arguments: tuple[Any, ...]) -> tuple[str, bool]:
        """What the host answers; the guest's time stands still meanwhile."""
        call.asks += 1
        if call.asks > ASKS:
            raise StoppedError(f"it asks the host more than {ASKS:,} times in one call")
        text = json.dumps(arguments)
        if call.at_once is not None and what in AT_ONCE:
            try:
                answer = (call.at_once(what, arguments), False)
            except AegisError as error:
                answer = _refused(call, error)
        elif call.script is not None:
            said = call.script.popleft() if call.script else None
            if said is None or (said.what, said.input) != (what, text):
                return "the host was not asked that, then", True
            return said.answer, said.failed
        else:
            answer = self._waited(call, what, arguments)
        call.kept += len(text) + len(answer[0])
        if call.kept > TOLD:
            raise StoppedError(f"it was answered more than {TOLD >> 20} MiB in one call")
        if call.kept <= KEPT:
            call.asked.append(Asked(what=what, input=text, answer=answer[0], failed=answer[1]))
        return answer

    def _waited(self, call: Call, what: str, arguments: tuple[Any, ...]) -> tuple[str, bool]:
        lane = call.lane
        if lane is None:
            return "a component that runs inline can ask nothing that takes time", True
        left = call.due - time.monotonic()
        if not self._end(call):
            raise StoppedError(_OVER)  # and nobody is there to hear it
        with self._lock:
            if self._closed:
                call.given_up = call.given_up or "its component was unloaded"
            self._waits.add(call)
            lane.waiting += 1
            with suppress(RuntimeError):
                self._staff(lane)
        self._turn.release()
        if not call.given_up:
            call.question = (what, arguments)
            call.tell()
        answer = ("", True) if call.given_up else call.answer.get()
        self._turn.acquire()
        with self._lock:
            self._waits.discard(call)
            lane.waiting -= 1
        self._begin(call, left)
        if call.given_up:
            raise StoppedError(call.given_up)
        self._now.instance.arm(left)
        return answer


def _nobody() -> None:
    """Whom to tell where the caller waits for it."""


def _refused(call: Call, error: AegisError) -> tuple[str, bool]:
    """What a guest is told of an error of the host."""
    if isinstance(error, GrantError):
        call.denied = error
    return error.detail, True


def denial(denied: GrantError, text: str) -> GrantError:
    """What to raise of a call that failed after it was denied something: nobody tries it again."""
    said = text if denied.detail in text else f"{denied.detail}; then {text}"
    return GrantError(said, hint=denied.hint, **denied.fields)
