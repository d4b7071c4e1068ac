"""The one doorway to a host: its thread and event loop, and the blocking face that cells use."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import functools
import inspect
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple, ParamSpec, TypeVar, overload
from urllib.parse import quote

import aegis
from aegis.bootstrap import build_host, build_watcher, start_server
from aegis.configuration import Config
from aegis.core.errors import AegisError, ClosedError, PortError
from aegis.engine.context import CALLER
from aegis.engine.host import Host
from aegis_kernel import failures, flows, past, plans, tracing, traps, views
from aegis_kernel.audit import AuditTable
from aegis_kernel.display import HostView, Records
from aegis_kernel.failures import FailedGroups
from aegis_kernel.fetched import FetchedView
from aegis_kernel.migration import MigrationView
from aegis_kernel.splits import SplitView
from aegis_kernel.sql import SqlTable
from aegis_kernel.versions import FollowingView, VersionsView

if TYPE_CHECKING:
    from aegis.adapters.components.watch import Watcher
    from aegis.adapters.http.server import Server
    from aegis.engine.watchdog import Who
    from aegis_kernel.comms import Comms
    from aegis_kernel.outputs import Outputs, Parent

P = ParamSpec("P")
T = TypeVar("T")

THREAD = "aegis-host"
OTHERS = ("aegis-store", "aegis-watchdog")
OURS = (str(Path(aegis.__file__).parent), str(Path(__file__).parent))


class _Running(NamedTuple):
    """What exists while a host is open."""

    host: Host
    server: Server
    loop: asyncio.AbstractEventLoop
    stop: asyncio.Event
    stack: AsyncExitStack


class HostThread:
    """A host and its HTTP server on a daemon thread with an event loop of their own.

    Cells, signals and IPython keep the main thread; whatever they want of the host goes through
    `call` (blocks) or `aio` (is awaited). One `HostThread` may be started again after `close`.
    With `debug` a debugger stops in component code too, and serving stops with it. `outputs` leads
    what components print to the cell that set it off, where there are cells.
    """

    def __init__(self, *, debug: bool = False) -> None:
        self.debug = debug
        self.outputs: Outputs | None = None
        self.config: Config | None = None
        self.failure: BaseException | None = None
        self.comms: Comms | None = None  # what brings views to the host, if anything does
        self._thread: threading.Thread | None = None
        self._pool: _Pool | None = None
        self._who: Who | None = None
        self._running: _Running | None = None
        self._watcher: Watcher | None = None

    # --- life -----------------------------------------------------------------------------------

    def start(self, config: Config, before: Callable[[Host], object] | None = None) -> None:
        """Build and open the host and start its server; back when it answers.

        `before` is called with the open host on its own thread before its server listens.
        Whatever keeps it from starting is raised here (a port in use, a data directory that
        another host owns or that is damaged), and told by every later call.
        """
        if self._thread is not None:
            raise ClosedError("this host runs already", hint="close it first")
        self.config, self.failure = config, None
        begun: concurrent.futures.Future[_Running] = concurrent.futures.Future()
        thread = threading.Thread(
            # An empty context: what the host itself does belongs to no cell.
            target=contextvars.Context().run,
            args=(self._main, config, before, begun),
            name=THREAD,
            daemon=True,
        )
        if not self.debug:
            tracing.pass_by(thread)
        self._thread = thread
        thread.start()
        try:
            self._running = begun.result()
        except BaseException as error:
            self.failure = error
            if not begun.done():  # interrupted: what is half open must not stay
                begun.add_done_callback(_stop_late)
            self._thread = None
            raise

    def close(self, timeout: float = 10.0) -> bool:
        """Drain the host and join the thread; whether that was done within `timeout` seconds.

        Refuses new calls at once, lets the server answer what it took, ends attempts under way,
        closes adapters and the store. Safe to call twice.
        """
        thread, running = self._thread, self._running
        self._running = None
        if thread is None:
            return True
        if thread is threading.current_thread():
            raise ClosedError("the host cannot close itself from its own thread")
        if running is not None:
            running.loop.call_soon_threadsafe(running.stop.set)
        thread.join(timeout)
        if thread.is_alive():
            return False
        self._thread = None
        return True

    def _main(
        self,
        config: Config,
        before: Callable[[Host], object] | None,
        begun: concurrent.futures.Future[_Running],
    ) -> None:
        try:
            with asyncio.Runner() as runner:
                runner.run(self._serve(config, before, begun))
        except BaseException as error:  # noqa: BLE001 -- it is raised where it was asked for
            if not begun.done():
                begun.set_exception(error)
            else:
                self.failure = error

    async def _serve(
        self,
        config: Config,
        before: Callable[[Host], object] | None,
        begun: concurrent.futures.Future[_Running],
    ) -> None:
        async with AsyncExitStack() as stack:
            host = build_host(config)
            self._make_pool()
            if self._who is not None:
                host.monitor.watch(self._who)
            if self.outputs is not None:
                stack.enter_context(self.outputs.serving(host))
            await stack.enter_async_context(host)
            for thread in threading.enumerate():
                if thread.name.startswith(OTHERS):  # the store's and the watchdog
                    tracing.pass_by(thread)
            if before is not None:
                before(host)
            server = await start_server(host, config)
            stack.push_async_callback(server.close)
            if self.comms is not None:
                stack.enter_context(self.comms.serving(host))
            self._watcher = None
            await host.begin()
            stop = asyncio.Event()
            begun.set_result(_Running(host, server, asyncio.get_running_loop(), stop, stack))
            await stop.wait()

    def _make_pool(self) -> None:
        """Give the loop threads for what blocks, which show their output where it belongs."""
        before = self._pool
        self._pool = _Pool(self)
        asyncio.get_running_loop().set_default_executor(self._pool)
        if before is not None:
            before.shutdown(wait=False)

    def blame(self, who: Who) -> None:
        """Name by `who` what holds the interpreter when the host cannot go on."""
        self._who = who
        if self._running is not None:
            self._running.host.monitor.watch(who)

    def let_debug(self, on: bool) -> None:  # noqa: FBT001 -- what it is about
        """Let a debugger stop in component code, or pass by it, from now on."""
        self.debug = on

        def switch() -> None:
            tracing.trace(on)
            self._make_pool()  # its threads begin anew

        self.call(switch)

    # --- the doorway ----------------------------------------------------------------------------

    async def _run(
        self, caller: Parent | None, fn: Callable[..., Any], args: Any, kwargs: dict[str, Any]
    ) -> Any:
        """What `fn(...)` gives, for `caller`, whose task this is."""
        __tracebackhide__ = True
        CALLER.set(caller)
        if caller is not None and self.outputs is not None:
            self.outputs.pin(caller, "host")
        result = fn(*args, **kwargs)
        return await result if inspect.iscoroutine(result) else result

    @property
    def host(self) -> Host:
        """The host itself, for reading its values; its verbs belong to its own thread."""
        return self._open().host

    @property
    def server(self) -> Server:
        """The HTTP server: its address and token."""
        return self._open().server

    def watcher(self) -> Watcher:
        """What follows component files; made when it is first asked for, on the host's loop."""
        running = self._open()
        if self._watcher is None:
            self._watcher = build_watcher(running.host)
            running.stack.push_async_callback(self._watcher.close)
        return self._watcher

    @property
    def is_open(self) -> bool:
        """Whether a host answers."""
        return self._running is not None

    @overload
    def call(
        self, fn: Callable[P, Coroutine[Any, Any, T]], /, *args: P.args, **kwargs: P.kwargs
    ) -> T: ...
    @overload
    def call(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T: ...
    def call(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """What `fn(...)` gives, run on the host's loop; its error with its traceback.

        Blocks the calling thread. An interrupt (Ctrl-C, the stop button) cancels what was called
        and is raised here. Refused on the host's own thread, where it would wait for itself.
        """
        __tracebackhide__ = True  # IPython leaves this frame out: the error is the callee's
        if threading.current_thread() is self._thread:
            raise ClosedError(
                "a blocking call on the host's own thread would wait for itself",
                hint="component code awaits the coroutine instead",
            )
        future = self._submit(fn, args, kwargs)
        try:
            error = future.exception()
        except concurrent.futures.CancelledError:
            raise ClosedError("the host was closed during the call") from None
        except BaseException:  # this thread was interrupted while it waited
            future.cancel()
            raise
        if error is None:
            return future.result()
        try:
            raise _without_ours(error)
        finally:
            del error, future  # else the error and this frame would keep each other

    async def aio(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """As `call`, for a coroutine on any event loop; cancelling it cancels what was called."""
        __tracebackhide__ = True
        try:
            return await asyncio.wrap_future(self._submit(fn, args, kwargs))
        except AegisError as error:
            raise _without_ours(error)  # noqa: B904 -- it is the same one

    def _open(self) -> _Running:
        running = self._running
        if running is not None:
            return running
        raise self.closed()

    def closed(self) -> ClosedError:
        """Why nothing answers: what the start failed with, or that it was closed."""
        if self.failure is None:
            return ClosedError("the host is closed")
        detail = getattr(self.failure, "detail", None) or str(self.failure)
        hint = getattr(self.failure, "hint", None)
        return ClosedError(f"no host is running: {detail}", hint=hint)

    def _submit(
        self, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> concurrent.futures.Future[Any]:
        running = self._open()
        caller = None if self.outputs is None else self.outputs.caller()
        work = self._run(caller, fn, args, kwargs)
        try:
            return asyncio.run_coroutine_threadsafe(work, running.loop)
        except RuntimeError:  # the loop was closed this very moment
            work.close()
            raise ClosedError("the host is closed") from None


class _Pool(ThreadPoolExecutor):
    """The threads of the host's loop: what they print goes where the output of their task goes."""

    def __init__(self, thread: HostThread) -> None:
        super().__init__(thread_name_prefix="aegis-pool", initializer=self._begin)
        self._debug = thread.debug
        self._outputs = thread.outputs

    def _begin(self) -> None:
        tracing.trace(self._debug)
        if self._outputs is not None:
            self._outputs.enter_thread()

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """As any pool does."""
        if self._outputs is not None:
            fn = self._outputs.carried(fn)
        return super().submit(fn, *args, **kwargs)


def _without_ours(error: BaseException) -> BaseException:
    """A mistake of the caller or of a port without our frames above the component's, if any."""
    if isinstance(error, PortError) and error.__cause__ is not None:
        error.__cause__.__traceback__ = _past_ours(error.__cause__.__traceback__)
    if isinstance(error, PortError) or (isinstance(error, AegisError) and error.status < 500):
        return error.with_traceback(_past_ours(error.__traceback__))
    return error


def _past_ours(step: TracebackType | None) -> TracebackType | None:
    while step is not None and step.tb_frame.f_code.co_filename.startswith(OURS):
        step = step.tb_next
    return step


def _stop_late(begun: concurrent.futures.Future[_Running]) -> None:
    """Close a host that came up after nobody waited for it any more."""
    if begun.exception() is None:
        begun.result().stop.set()


# What whoever embeds a host does, not a cell.
NO_VERBS = {"open", "close", "begin", "change", "one", "receive", "through"}
# What of a host is offered to cells: all that its own loop may do, but opening and closing it.
VERBS = tuple(
    name
    for name, verb in vars(Host).items()
    if name in {"followed", "graph", "status", "missing", "splits"}
    or (inspect.iscoroutinefunction(verb) and name[0] != "_" and name not in NO_VERBS)
)
# How a cell sees what a verb gives.
SHOWN: dict[str, Callable[[Any], Any]] = {
    "audit": AuditTable,
    "failed_groups": FailedGroups,
    "fetch": FetchedView,
    "list": Records.found,
    "plan": plans.PlanView,
    "preview": MigrationView,
    "query": Records.found,
    "related": Records.of_some,
    "split": SplitView,
    "splits": SplitView,
    "sql": SqlTable,
    "followed": FollowingView,
    "versions": VersionsView,
}
# What a cell gets instead of a verb of the host, or beside them: views, made on the host's loop.
VIEWS: dict[str, Callable[..., Coroutine[Any, Any, Any]]] = {
    "components": views.components,
    "graph": views.graph,
    "ports": views.ports,
    "events": views.events,
    "flow": flows.flow,
    "flows": flows.flows,
    "failed": failures.failed,
    "why": past.why,
    "at": past.at,
    "replay": past.replay,
    "traps": traps.traps,
    "deploy": plans.deploy,
    "rehearse": plans.rehearse,
}


class _Verbs:
    """One method per verb of `Host`, with its signature and its docstring."""

    def __init__(self, thread: HostThread) -> None:
        self._thread = thread

    def trace(self, *, wait: float = 2.0) -> views.TraceView:
        """What is called inside `with host.trace():`, as a sequence diagram below the cell.

        The block ends when what it set off has come to rest, after `wait` seconds at most.
        """
        return views.TraceView(self._thread, wait)


def _verb(name: str) -> Callable[..., Any]:
    """The verb of that name as a function of the host."""
    return VIEWS.get(name) or getattr(Host, name)


def _as_is(value: Any) -> Any:
    return value


def _blocking(name: str) -> Callable[..., Any]:
    fn, shown = _verb(name), SHOWN.get(name, _as_is)

    @functools.wraps(fn)
    def verb(self: _Verbs, /, *args: Any, **kwargs: Any) -> Any:
        __tracebackhide__ = True
        thread = self._thread
        return views.led(shown(thread.call(fn, thread.host, *args, **kwargs)), thread)

    return verb


def _awaited(name: str) -> Callable[..., Any]:
    fn, shown = _verb(name), SHOWN.get(name, _as_is)

    @functools.wraps(fn)
    async def verb(self: _Verbs, /, *args: Any, **kwargs: Any) -> Any:
        __tracebackhide__ = True
        thread = self._thread
        return views.led(shown(await thread.aio(fn, thread.host, *args, **kwargs)), thread)

    return verb


class AioHost(_Verbs):
    """The verbs of the host as coroutines: `await host.aio.get(Order, id)`."""

    def __repr__(self) -> str:
        return "<the verbs of the host, to be awaited>"


class NotebookHost(_Verbs):
    """The host of this notebook. Every verb is a plain blocking call that can be interrupted.

    `host.create(Order, total="9.50")` waits for the answer; `await host.aio.create(...)` does not
    block the notebook's event loop. `host.address` is where its HTTP API answers.
    """

    def __init__(self, thread: HostThread) -> None:
        super().__init__(thread)
        self.aio = AioHost(thread)

    def move_to(self, thread: HostThread) -> None:
        """Mean the host of another thread from now on."""
        self._thread = self.aio._thread = thread  # noqa: SLF001 -- two faces of one thing

    @property
    def address(self) -> str:
        """Where the HTTP API answers, as `http://127.0.0.1:8123`."""
        return self._thread.server.address

    @property
    def token(self) -> str | None:
        """What the HTTP API wants to see (`Authorization: Bearer ...`); None when it is open."""
        return self._thread.server.token

    def _view(self) -> HostView:
        return HostView(self._thread.call(self._thread.host.status), self.address)

    def __repr__(self) -> str:
        return repr(self._view()) if self._thread.is_open else str(self._thread.closed())

    def _repr_html_(self) -> str | None:
        return self._view()._repr_html_() if self._thread.is_open else None

    def url(self, path: str = "/") -> str:
        """The address of `path` with the token in it, for a browser. Whoever has it, has access."""
        address = f"{self.address}/{path.lstrip('/')}"
        if self.token is None:
            return address
        return f"{address}{'&' if '?' in path else '?'}token={quote(self.token)}"


for _name in dict.fromkeys((*VERBS, *VIEWS)):
    setattr(NotebookHost, _name, _blocking(_name))
    setattr(AioHost, _name, _awaited(_name))
