"""Which cell the main thread is in, for whoever watches it from another thread."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from types import FrameType

from IPython.core.interactiveshell import InteractiveShell


def cell_label(shell: InteractiveShell) -> str:
    """The cell that runs, or ran last, as the number beside it says."""
    return f"cell {len(shell.user_ns['In']) - 1}"


def running_cell(shell: InteractiveShell) -> Callable[[], str | None]:
    """What names the cell that runs, and its line, as `cell 7 (line 3)`; None between cells."""
    ident = threading.main_thread().ident or 0

    def name() -> str | None:
        frames = sys._current_frames()  # noqa: SLF001 -- the documented way
        frame: FrameType | None = frames.get(ident)
        line = None
        while frame is not None:  # the outermost is the cell's own, whatever it calls
            if frame.f_globals is shell.user_global_ns:
                line = frame.f_lineno
            frame = frame.f_back
        return None if line is None else f"{cell_label(shell)} (line {line})"

    return name
