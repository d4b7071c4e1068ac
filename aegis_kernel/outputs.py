"""Leads what component code prints and displays to the cell that set it off, or to the log."""

from __future__ import annotations

import functools
import logging
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, ParamSpec, TypeVar

from aegis.core.component import MODULES
from aegis.core.wire import Level
from aegis.engine.host import Host
from aegis_kernel.silence import silence

P = ParamSpec("P")
T = TypeVar("T")

Parent = dict[str, Any]
Note = Callable[[Level, str, str], None]

# The key in a parent's header that says: to no cell but the log, as said by this.
LOG = "aegis_log"

_pinned: ContextVar[Parent | None] = ContextVar("aegis_pinned", default=None)


class Outputs:
    """The outputs of one kernel. Each belongs to a parent: the message that ran its cell.

    ipykernel keeps the parent of a thread or a task in context variables, which are copied along
    some ways (tasks) and not along others (threads, callbacks from other threads). So it is set
    anew wherever component code begins: a call, a step, a listener, a thread of the pool. What
    belongs to no cell has a parent of our own making; what comes under that one goes to `note`.

    Beyond reach: threads that a component starts itself, and what is written to the process's file
    descriptors (by C libraries). ipykernel shows those in the cell that ran last.
    """

    def __init__(self, shell: Any) -> None:
        self.note: Note = _unheard
        self._shell = shell
        self._cells: dict[str, Parent] = {}
        self._logs: dict[str, Parent] = {}
        streams: tuple[Any, ...] = (sys.stdout, sys.stderr)
        self._streams = [stream for stream in streams if hasattr(stream, "register_hook")]

    @contextmanager
    def serving(self, host: Host) -> Generator[None, None, None]:
        """Lead the outputs of `host`, whose thread this is, from before it opens to its end."""
        self.enter_thread()
        self._schedule("register_hook")
        self.note = host.monitor.note
        host.lead(self.pin)
        last = logging.lastResort
        if last is not None:
            last.addFilter(self._is_shown)
        try:
            with silence(self.note):
                yield
        finally:
            if last is not None:
                last.removeFilter(self._is_shown)
            self.note = _unheard
            self._schedule("unregister_hook")

    def _schedule(self, verb: str) -> None:
        for stream in self._streams:
            # Hooks belong to the thread that sends.
            stream.pub_thread.schedule(functools.partial(getattr(stream, verb), self._divert))

    # --- whose output it is ---------------------------------------------------------------------

    def began(self) -> None:
        """A cell begins. What its earlier runs set off shows there too: their own place is gone."""
        parent = self._shell.get_parent()
        if (cell := _cell(parent)) is not None:
            self._cells[cell] = parent

    def caller(self) -> Parent | None:
        """The cell that the calling thread or task belongs to."""
        return self._shell.get_parent() or None

    def pin(self, caller: Parent | None, label: str) -> Callable[[], None]:
        """Lead the output of this task to `caller` or the log, until what this gives is called."""
        parent = self._of(caller, label)
        if _pinned.get() is parent:
            return _nothing
        token = _pinned.set(parent)
        tokens = self._shell.set_thread_parent(parent)

        def unpin() -> None:
            self._shell.reset_thread_parent(tokens)
            _pinned.reset(token)

        return unpin

    def _of(self, caller: Parent | None, label: str) -> Parent:
        if caller is not None:
            return self._cells.get(_cell(caller) or "", caller)
        for handler in logging.getLogger().handlers:  # a cell may have added one just now
            if getattr(handler, "stream", None) in self._streams:
                handler.addFilter(self._is_shown)
        name = label.partition("@")[0]
        if name not in self._logs:
            self._logs[name] = {"header": {"msg_id": "", LOG: name}}
        return self._logs[name]

    def enter_thread(self) -> None:
        """Make the calling thread one of the host's: what it shows by itself goes to the log."""
        self._shell.display_pub.register_hook(self._divert)
        self._shell.set_thread_parent(self._of(None, "host"))

    def carried(self, fn: Callable[P, T]) -> Callable[P, T]:
        """`fn` for another thread, with the parent of this task."""
        parent = _pinned.get() or self._of(None, "host")

        def run(*args: P.args, **kwargs: P.kwargs) -> T:
            tokens = self._shell.set_thread_parent(parent)
            try:
                return fn(*args, **kwargs)
            finally:
                self._shell.reset_thread_parent(tokens)

        return run

    # --- the log --------------------------------------------------------------------------------

    def _divert(self, message: dict[str, Any]) -> dict[str, Any] | None:
        """A message about to be sent; None when it went to the log instead."""
        name = message["parent_header"].get(LOG)
        if name is None:
            return message
        content = message["content"]
        text = content.get("text") or content.get("data", {}).get("text/plain", "")
        if text.strip():
            level: Level = "warning" if content.get("name") == "stderr" else "info"
            self.note(level, name, text.rstrip())
        return None

    def _is_shown(self, record: logging.LogRecord) -> bool:
        """Whether a cell shows what a component logged: the log has it by itself already."""
        if not record.name.startswith(MODULES):
            return True
        return self._shell.get_parent().get("header", {}).get(LOG) is None


def _cell(parent: Parent) -> str | None:
    """The id of the cell that a message ran, as frontends tell it."""
    found = parent.get("metadata", {}).get("cellId")
    return found if isinstance(found, str) else None


def _unheard(level: Level, source: str, text: str) -> None:
    """Where the log goes while no host is open: to where the process began."""
    print(f"{level}: {source}: {text}", file=sys.__stderr__)


def _nothing() -> None:
    """What ends a pin that was there before."""
