"""Runs a notebook's cells in this process, without a kernel: what `aegis-serve` serves."""

from __future__ import annotations

import atexit
import os
import signal
import sys
import threading
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from types import FrameType
from typing import Any

from IPython.core.displayhook import DisplayHook
from IPython.core.interactiveshell import InteractiveShell
from traitlets import Type
from traitlets.config import Config as Traits

from aegis.adapters.sources.notebook import Cell, running
from aegis.core.errors import AegisError
from aegis_kernel.ipynb import Stopped, parameter_cell

GRACE_SECONDS = 3.0


@dataclass(frozen=True, kw_only=True)
class Given:
    """What the command line says about cells: their parameters, and how long one may take."""

    values: Mapping[str, Any]
    timeout: float


class CellError(AegisError):
    """A cell failed. `text` is its traceback as IPython shows it."""

    title = "Cell failed"

    def __init__(self, detail: str, text: str = "") -> None:
        super().__init__(detail)
        self.text = text


class Overdue(BaseException):  # no `except Exception` of a cell may stop it
    """Raised in a cell that did not end in time."""


class PlainDisplay(DisplayHook):
    """Prints what a cell's last line gives, without `Out[3]:` before it."""

    def write_output_prompt(self) -> None:
        """Nothing: standard output is no dialogue."""


class HeadlessShell(InteractiveShell):
    """IPython with nobody in front: no prompts, no windows; tracebacks are kept."""

    displayhook_class = Type(PlainDisplay)
    last_traceback = ""

    def _showtraceback(self, etype: type, evalue: BaseException, stb: list[str]) -> None:
        self.last_traceback = self.InteractiveTB.stb2text(stb)

    def show_usage_error(self, exc: BaseException) -> None:
        """Keep the one line that a magic refuses its arguments with."""
        self.last_traceback = f"UsageError: {exc}"

    def enable_gui(self, gui: str | None = None) -> None:
        """Nobody is there to see a window."""

    def enable_matplotlib(self, gui: str | None = None) -> tuple[str, str]:
        """`%matplotlib inline` and its like: plots are drawn in memory (MPLBACKEND=Agg)."""
        return "agg", "agg"


def leave_input() -> None:
    """Leave this process no standard input: what asks a question gets an end of file at once."""
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)


def make_shell() -> HeadlessShell:
    """An IPython shell with a namespace of its own, which is the process's from now on.

    It has no history file and no colours.
    """
    os.environ["MPLBACKEND"] = "Agg"
    traits = Traits()
    traits.HistoryManager.enabled = False
    traits.InteractiveShell.colors = "nocolor"
    traits.InteractiveShell.enable_tip = False
    shell = HeadlessShell(config=traits)  # type: ignore[no-untyped-call]
    # It has nothing to save and nothing to put back at the end. It may have to leave before, and
    # what it would put back is the namespace of the shell before it, with all that is in there.
    atexit.unregister(shell.atexit_operations)
    shell._orig_sys_module_state = {}  # noqa: SLF001 -- nobody else lets go of it
    shell._orig_sys_modules_main_mod = None  # noqa: SLF001 -- as above
    make_current(shell)
    return shell


def make_current(shell: HeadlessShell) -> None:
    """Let `get_ipython()` and `display()` mean `shell`, and `__main__` its namespace."""
    for kind in HeadlessShell._walk_mro():  # noqa: SLF001 -- as its `instance()` does
        kind._instance = shell  # type: ignore[assignment]  # noqa: SLF001
    sys.modules["__main__"] = shell.user_module


def run_cells(
    shell: HeadlessShell,
    cells: Sequence[Cell],
    given: Given,
    *,
    around: Callable[[Cell], AbstractContextManager[None]] = lambda _: nullcontext(),
    stuck: Callable[[str], None] | None = None,
) -> None:
    """Run the cells that are to be run, from top to bottom.

    `around` is entered for each. Raises CellError for the first that fails, and Stopped.
    """
    parameters = parameter_cell(cells, given.values)
    for cell in running(cells):
        with around(cell):
            run_cell(shell, cell, given.timeout, stuck)
        if cell is parameters:
            shell.user_ns.update(given.values)


def run_cell(
    shell: HeadlessShell, cell: Cell, timeout: float, stuck: Callable[[str], None] | None = None
) -> None:
    """Run one cell. Raises CellError when it fails or takes over `timeout` seconds, and Stopped."""
    history = shell.user_ns["In"]
    history.extend("" for _ in range(cell.number - len(history)))  # what was left out has a number
    shell.execution_count = cell.number
    shell.last_traceback = ""
    with deadline(timeout, cell.label, stuck):
        result = shell.run_cell(  # type: ignore[no-untyped-call]
            cell.source, store_history=True, cell_id=cell.id or None
        )
    error = result.error_before_exec or result.error_in_exec
    if isinstance(error, Stopped):
        raise error
    if isinstance(error, Overdue):
        where = _where(error, cell)  # the traceback would show what waits, down to the threads
        raise CellError(
            f"{cell.label} did not end within {timeout:g} s{where} (--timeout gives more)"
        )
    if error is not None and "raises-exception" not in cell.tags:
        where = _where(error, cell)
        raise CellError(f"{cell.label} failed{where}", shell.last_traceback) from error
    if shell.last_traceback:
        print(shell.last_traceback, file=sys.stderr)


def _where(error: BaseException, cell: Cell) -> str:
    """`at line 2: x = 1 / 0`, as far as it is known."""
    line = getattr(error, "fields", {}).get("line")  # of a component, counted as the cell shows it
    if isinstance(error, SyntaxError):
        line = error.lineno
    step = error.__traceback__
    while step is not None and line is None:
        if step.tb_frame.f_code.co_filename.startswith("<ipython-input-"):
            line = step.tb_lineno
        step = step.tb_next
    lines = cell.source.splitlines()
    if line is None or not 0 < line <= len(lines):
        return ""
    place = f"line {line}" if cell.line is None else f"line {cell.line + line - 1} of the file"
    return f" at {place}: {lines[line - 1].strip()}"


@contextmanager
def deadline(
    seconds: float, label: str, stuck: Callable[[str], None] | None = None
) -> Generator[None, None, None]:
    """Raise Overdue in the block after `seconds`, and again until it ends.

    Main thread only. A long call into C hears no signal, so a second clock stands behind the first:
    it ends the process, or says to `stuck` what cannot be interrupted.
    """

    def ring(_number: int, _frame: FrameType | None) -> None:
        raise Overdue

    def give_up() -> None:
        said = f"{label} did not end within {seconds:g} s and cannot be interrupted"
        if stuck is not None:
            stuck(said)
            return
        sys.stderr.write(f"aegis-serve: {said}\n")
        sys.stderr.flush()
        os._exit(1)

    last = threading.Timer(seconds + GRACE_SECONDS, give_up)
    last.daemon = True
    last.start()
    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds, GRACE_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        last.cancel()
