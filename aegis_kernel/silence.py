"""Keeps what a host's services have to say out of the cells: it goes to the host's log."""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
import traceback
from collections.abc import Callable, Generator
from contextlib import contextmanager
from types import TracebackType
from typing import Any

from aegis.core.component import MODULES
from aegis.core.wire import Level

Note = Callable[[Level, str, str], None]

# All of the host's threads have names that begin so.
THREADS = "aegis-"
# Libraries that the host's thread shares with that of the cells.
SHARED = ("asyncio", "tornado.access", "tornado.application", "tornado.general")


@contextmanager
def silence(note: Note) -> Generator[None, None, None]:
    """Lead to `note` what the running loop, its thread and its libraries would print.

    What the host itself logs gets there anyway, and from here on nowhere else.
    """
    shared, aegis = _Shared(note), logging.getLogger("aegis")
    propagated = aegis.propagate
    unraisable, in_thread = sys.unraisablehook, threading.excepthook

    def on_unraisable(found: Any) -> None:
        if not _ours(threading.current_thread(), found.exc_traceback):
            unraisable(found)
            return
        said = found.err_msg or "Exception ignored in"
        note("error", "host", f"{said} {found.object!r}\n{_shown(found)}")

    def on_thread(found: Any) -> None:
        if found.thread is None or not _ours(found.thread, found.exc_traceback):
            in_thread(found)
            return
        note("error", "host", f"thread {found.thread.name} ended\n{_shown(found)}")

    asyncio.get_running_loop().set_exception_handler(lambda _, found: note(*_complaint(found)))
    aegis.propagate = False
    for name in SHARED:
        logging.getLogger(name).addFilter(shared)
    sys.unraisablehook, threading.excepthook = on_unraisable, on_thread
    try:
        yield
    finally:
        if sys.unraisablehook is on_unraisable:
            sys.unraisablehook = unraisable
        if threading.excepthook is on_thread:
            threading.excepthook = in_thread
        for name in SHARED:
            logging.getLogger(name).removeFilter(shared)
        aegis.propagate = propagated


class _Shared(logging.Filter):
    """Takes what a shared library logs on a thread of the host, and nothing of other threads."""

    def __init__(self, note: Note) -> None:
        super().__init__()
        self._note = note

    def filter(self, record: logging.LogRecord) -> bool:
        if not (record.threadName or "").startswith(THREADS):
            return True
        self._note(_level(record), record.name, logging.Formatter().format(record))
        return False


def _level(record: logging.LogRecord) -> Level:
    if record.levelno >= logging.ERROR:
        return "error"
    if record.levelno >= logging.WARNING:
        return "warning"
    return "info" if record.levelno >= logging.INFO else "debug"


def _ours(thread: threading.Thread, step: TracebackType | None) -> bool:
    """Whether an error belongs to the host: raised on its threads, or in a component's code."""
    if thread.name.startswith(THREADS):
        return True
    frames = traceback.walk_tb(step)
    return any(frame.f_globals.get("__name__", "").startswith(MODULES) for frame, _ in frames)


def _shown(found: Any) -> str:
    lines = traceback.format_exception(found.exc_type, found.exc_value, found.exc_traceback)
    return "".join(lines).rstrip()


def _complaint(found: dict[str, Any]) -> tuple[Level, str, str]:
    """What an event loop complains of: a task whose error nobody fetched, a broken callback."""
    text = str(found.get("message") or "an error in the event loop")
    task = found.get("task") or found.get("future") or found.get("handle")
    if task is not None:
        text += f": {task!r}"
    error = found.get("exception")
    if isinstance(error, BaseException):
        text += "\n" + "".join(traceback.format_exception(error)).rstrip()
    return "error", "host", text
