"""Bounds how long the code of a component may run while it is imported."""

from __future__ import annotations

import contextvars
import ctypes
import sys
import threading
import time
import traceback
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")

# Seconds in which what is to end may still end by itself, and between two tries to end it.
GRACE = 1.0
PAUSE = 0.1


class Endless(BaseException):
    """Work did not end in time. `stack` says where it was then: file and line, outermost first.

    `goes_on` is true when it could not be interrupted either: it runs until the process ends.
    """

    def __init__(self, seconds: float, stack: list[tuple[str, int]], *, goes_on: bool) -> None:
        super().__init__(f"it did not end within {seconds:g} s")
        self.seconds = seconds
        self.stack = stack
        self.goes_on = goes_on


class _Interrupted(BaseException):
    """What is raised in the thread of work that does not end."""


class _Work(threading.Thread, Generic[T]):
    """Runs `work` in a thread that does not keep the process from ending."""

    def __init__(self, work: Callable[[], T]) -> None:
        super().__init__(name="aegis-import", daemon=True)
        self._work = work
        self._context = contextvars.copy_context()
        self.result: list[T] = []
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            self.result.append(self._context.run(self._work))
        except BaseException as error:  # noqa: BLE001 -- told to who waits for it
            self.error = error


def bounded(work: Callable[[], T], seconds: float) -> T:
    """What `work` gives, run in a thread of its own. Raises what it raises, and Endless.

    While a debugger is attached there is no bound: somebody may be looking.
    """
    thread = _Work(work)
    thread.start()
    thread.join(seconds)
    while thread.is_alive() and _is_debugged():
        thread.join(PAUSE)
    if thread.is_alive():
        stack = _stack(thread)
        raise Endless(seconds, stack, goes_on=not _interrupt(thread))
    try:
        if thread.error is not None:
            raise thread.error
        return thread.result[0]
    finally:
        thread.error = None  # its traceback holds this frame


def _interrupt(thread: threading.Thread) -> bool:
    """Raise an exception in a thread, again and again for a while; whether it ended."""
    until = time.monotonic() + GRACE
    while thread.is_alive() and time.monotonic() < until:
        ctypes.pythonapi.PyThreadState_SetAsyncExc(
            ctypes.c_ulong(thread.ident or 0), ctypes.py_object(_Interrupted)
        )
        thread.join(PAUSE)
    return not thread.is_alive()


def _stack(thread: threading.Thread) -> list[tuple[str, int]]:
    frame = sys._current_frames().get(thread.ident or 0)  # noqa: SLF001 -- documented all the same
    if frame is None:
        return []
    return [(one.filename, one.lineno or 0) for one in traceback.extract_stack(frame)]


def _is_debugged() -> bool:
    if "pydevd" not in sys.modules:
        return False
    monitoring = getattr(sys, "monitoring", None)
    if monitoring is not None and monitoring.get_tool(monitoring.DEBUGGER_ID) is not None:
        return True
    return threading.gettrace() is not None
