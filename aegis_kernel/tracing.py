"""Whether a debugger stops the calling thread: those of the host it passes by, unless asked."""

from __future__ import annotations

import sys
import threading
from typing import Any


def pass_by(thread: threading.Thread) -> None:
    """Let debugpy neither trace a thread nor stop it while a cell is at a breakpoint."""
    vars(thread).update(pydev_do_not_trace=True, is_pydev_daemon_thread=True)


def trace(on: bool) -> None:  # noqa: FBT001 -- what it is about
    """Let the debugger stop the calling thread at breakpoints, or pass it by, from now on."""
    thread = threading.current_thread()
    if on:
        vars(thread).update(pydev_do_not_trace=False, is_pydev_daemon_thread=False)
    else:
        pass_by(thread)
    # ipykernel imports it where it is installed; a session that begins later reads the marks.
    debugpy: Any = sys.modules.get("debugpy")
    if debugpy is not None and debugpy.is_client_connected():
        debugpy.trace_this_thread(on)
